//! The sentences below a table: what its numbers can and cannot bear.

use super::judged;
use super::matrix::{LEVEL, Matrix, Row, RowStatus, Verdict};
pub use super::words::list;
use super::words::{Detail, names, signed, what_is_chosen};
use crate::spec::Columns;
use crate::text::thousands;

/// The notes for `rows` of `matrix`, shown with as much `detail`. A function of the matrix alone, so that tables
/// read from `matrix.csv` say the same as the run did.
pub fn notes(matrix: &Matrix, rows: &[Row], detail: Detail) -> Vec<String> {
    all(matrix, rows, detail, identical(rows, what_is_chosen(&matrix.score_columns)))
}

/// [`notes`] for a table that has one row for all rows that choose alike.
pub fn notes_without_groups(matrix: &Matrix, rows: &[Row], detail: Detail) -> Vec<String> {
    all(matrix, rows, detail, Vec::new())
}

/// What must be said even where there is little room: what the differences can bear, and what is missing.
pub fn brief(matrix: &Matrix, rows: &[Row]) -> Vec<String> {
    verdicts(rows, matrix.comparisons_of(rows), names(&matrix.score_columns))
        .into_iter()
        .chain(unfinished(rows))
        .chain(judged::missing(rows))
        .collect()
}

fn all(matrix: &Matrix, rows: &[Row], detail: Detail, groups: Vec<String>) -> Vec<String> {
    let mut notes = Vec::new();
    notes.extend(explanation(matrix, rows, detail));
    notes.extend(verdicts(rows, matrix.comparisons_of(rows), names(&matrix.score_columns)));
    notes.extend(groups);
    notes.extend(unfinished(rows));
    notes.extend(judged::notes(matrix, rows));
    notes.extend(hardly_moved(rows));
    notes
}

/// What the columns mean, and only those that are there.
fn explanation(matrix: &Matrix, rows: &[Row], detail: Detail) -> Option<String> {
    let queries = matrix.queries()?;
    let baseline: Vec<&str> =
        rows.iter().filter(|row| row.is_baseline).map(|row| row.name.as_str()).collect();
    let [_, several] = names(&matrix.score_columns).inputs;
    let mut text = format!("Accuracy in percent on {} evaluation {several}", thousands(queries));
    if rows.iter().any(|row| row.seeds > 1) {
        text += ", averaged over seeds";
        if detail < Detail::Narrow {
            text += " (± half the 95 % interval)";
        }
    }
    if !baseline.is_empty() {
        text += &format!("; differences to the baseline ({}) in points", list(&baseline));
        if detail < Detail::Short {
            text += ", their 95 % intervals by paired bootstrap";
        }
    }
    text += ".";
    if detail >= Detail::Short {
        let which = if detail == Detail::Narrow { "Intervals" } else { "Intervals of the differences" };
        text += &format!(" {which} need a wider terminal, or `--format md`.");
    }
    Some(text)
}

fn verdicts(rows: &[Row], compared: usize, names: Columns) -> Option<String> {
    let with = |verdict: Verdict| rows.iter().filter(|row| row.verdict() == verdict).collect::<Vec<&Row>>();
    let (better, worse, unclear) = (with(Verdict::Better), with(Verdict::Worse), with(Verdict::Unclear));
    if better.len() + worse.len() + unclear.len() == 0 {
        return None;
    }
    let mut sentences = Vec::new();
    for (group, word) in [(&better, "better"), (&worse, "worse")] {
        if !group.is_empty() {
            let names: Vec<&str> = group.iter().map(|row| row.name.as_str()).collect();
            let verb = if group.len() == 1 { "is" } else { "are" };
            sentences.push(format!("{} {verb} {word} than the baseline.", list(&names)));
        }
    }
    if !unclear.is_empty() {
        let what = match (unclear.len(), better.len() + worse.len()) {
            (1, _) => unclear[0].name.clone() + " cannot be told apart from the baseline.",
            (count, 0) => format!(
                "None of {count} rows can be told apart from the baseline: the differences may be noise."
            ),
            (count, _) => format!("{count} rows cannot be told apart from the baseline."),
        };
        sentences.push(what);
        sentences.extend(seems_apart(&unclear, compared));
        sentences.extend(need(&unclear, names));
    }
    let correction = if compared > 1 {
        format!(" (level {:.0} %, Holm's correction over {compared} comparisons)", 100.0 * LEVEL)
    } else {
        format!(" (level {:.0} %)", 100.0 * LEVEL)
    };
    let text = sentences.join(" ");
    Some(text.trim_end_matches('.').to_owned() + &correction + ".")
}

/// Why an interval that leaves out 0 may stand beside "cannot tell".
fn seems_apart(unclear: &[&Row], compared: usize) -> Option<String> {
    let leaves_out_zero = |row: &&&Row| row.delta_interval.is_some_and(|of| of.low > 0.0 || of.high < 0.0);
    let names: Vec<&str> = unclear.iter().filter(leaves_out_zero).map(|row| row.name.as_str()).collect();
    if names.is_empty() {
        return None;
    }
    let what = match names.len() {
        1 => format!("The interval of {} leaves out 0", names[0]),
        _ => format!("The intervals of {} leave out 0", list(&names)),
    };
    let cause = match compared > 1 {
        true => {
            format!("an interval is about one comparison, and among {compared} some seem large by chance")
        }
        false => "interval and test are two methods, and this is a borderline case".to_owned(),
    };
    Some(format!("{what}, and still it cannot be told: {cause}."))
}

/// What it would take to tell the largest of the unclear differences.
fn need(unclear: &[&Row], names: Columns) -> Option<String> {
    let size = |row: &&&Row| row.delta.unwrap_or_default().abs();
    let row = unclear.iter().max_by(|a, b| size(a).total_cmp(&size(b)))?;
    let more = match (row.more_queries, row.more_seeds) {
        (Some(queries), _) => format!("{} more {}", rounded(queries), names.inputs[1]),
        (None, Some(seeds)) if seeds > 0 => format!("{} more seeds", rounded(seeds)),
        (None, _) => return None,
    };
    Some(format!(
        "To tell the largest of these differences ({}: {}), about {more} would be needed.",
        row.name,
        signed(row.delta?, 2)
    ))
}

/// Two significant digits: it is an estimate.
fn rounded(count: usize) -> String {
    let magnitude = 10_usize.pow(count.max(1).ilog10().saturating_sub(1));
    thousands(count.div_ceil(magnitude) * magnitude)
}

/// Groups that are spelled out; a large grid has many.
const GROUPS: usize = 5;

fn identical(rows: &[Row], what: &str) -> Vec<String> {
    let mut letters: Vec<&str> = Vec::new();
    let shown: Vec<&str> = rows.iter().filter_map(|row| row.identical.as_deref()).collect();
    for &letter in &shown {
        // Of a group that a filter has left one row of there is nothing to say.
        if !letters.contains(&letter) && shown.iter().filter(|other| **other == letter).count() > 1 {
            letters.push(letter);
        }
    }
    let mut notes: Vec<String> =
        letters.iter().take(GROUPS).map(|letter| group_sentence(letter, rows, what)).collect();
    if let Some(more) = letters.len().checked_sub(GROUPS).filter(|more| *more > 0) {
        notes.push(format!("{more} more groups of rows that choose alike: see the letters."));
    }
    notes
}

fn group_sentence(letter: &str, rows: &[Row], what: &str) -> String {
    let members: Vec<&Row> = rows.iter().filter(|row| row.identical.as_deref() == Some(letter)).collect();
    let names: Vec<&str> =
        members.iter().filter(|row| !row.is_baseline).map(|row| row.name.as_str()).collect();
    let baseline = members.iter().any(|row| row.is_baseline);
    let like = if baseline { " as the baseline" } else { "" };
    format!("{letter}: {} exactly the same {what}{like} ({}).", choose(names.len()), list(&names))
}

fn choose(count: usize) -> String {
    if count == 1 { "1 row chooses".to_owned() } else { format!("{count} rows choose") }
}

fn unfinished(rows: &[Row]) -> Vec<String> {
    let mut notes = Vec::new();
    for status in [RowStatus::Failed, RowStatus::Infeasible] {
        let members: Vec<String> = rows
            .iter()
            .filter(|row| row.status == status)
            .map(|row| match &row.error {
                Some(error) => format!("{} ({})", row.name, error.replace('\n', " ")),
                None => row.name.clone(),
            })
            .collect();
        if !members.is_empty() {
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            notes.push(format!("{} {}: {}.", members.len(), status.name(), list(&members)));
        }
    }
    let pending = rows.iter().filter(|row| row.status == RowStatus::Pending).count();
    if pending > 0 {
        notes.push(format!("{pending} of {} rows are not finished.", rows.len()));
    }
    notes
}

fn hardly_moved(rows: &[Row]) -> Option<String> {
    let still: Vec<&Row> = rows.iter().filter(|row| row.warning.is_some()).collect();
    let first = still.first()?;
    let warning = first.warning.as_deref().unwrap_or_default();
    if still.len() == 1 {
        return Some(format!("{} hardly changed its parameters ({warning}).", first.name));
    }
    let names: Vec<&str> = still.iter().map(|row| row.name.as_str()).collect();
    Some(format!(
        "{} rows hardly changed their parameters (less than 0.1 %): {}; {} {warning}.",
        still.len(),
        list(&names),
        first.name
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::stats::Interval;

    fn unclear(name: &str, (low, high): (f64, f64)) -> Row {
        let delta_interval = Some(Interval { low, high });
        let p = (Some(0.03), Some(0.2));
        let delta = Some((low + high) / 2.0);
        Row { delta, delta_interval, p_value: p.0, p_holm: p.1, ..Row::named(name, RowStatus::Done) }
    }

    #[test]
    fn an_interval_that_leaves_out_zero_beside_cannot_tell_is_explained() {
        let rows = [unclear("a", (0.001, 0.03)), unclear("b", (-0.01, 0.03)), unclear("c", (-0.03, -0.001))];
        let text = verdicts(&rows, 12, Columns::NUMBERED).unwrap();
        let expected = "The intervals of a, c leave out 0, and still it cannot be told: an interval is about one \
                        comparison, and among 12 some seem large by chance (";
        assert!(text.contains(expected), "{text}");
        assert!(
            verdicts(&rows[..1], 1, Columns::NUMBERED).unwrap().contains("borderline"),
            "without a correction"
        );
        assert!(
            !verdicts(&rows[1..2], 12, Columns::NUMBERED).unwrap().contains("out 0"),
            "only where it happens"
        );
    }
}
