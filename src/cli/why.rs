//! `sweep why`: where one cell of a table comes from.

use std::path::PathBuf;

use super::lab::COLUMN;
use super::output;
use crate::judge::{Judge, Question};
use crate::report::{Answer, At, Why, points_named, why};
use crate::run::Session;
use crate::spec::columns_of;
use crate::store::SweepResults;
use crate::text::plural;

/// Show where one cell of a table comes from
///
/// Prints the point's configuration, its checkpoint, the queries it got right and wrong, and where it differs
/// from the baseline.
#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// Results directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Name of the point or configuration, as tables print it, or key=value,...; of a configuration, each seed is shown
    #[arg(long)]
    point: String,
    /// Which score column, by its number (of demonstrations); needed where points have several
    #[arg(long, visible_alias = COLUMN, value_name = "N")]
    column: Option<usize>,
    /// Only this query; where a judge was asked, with the whole prompt
    #[arg(long, value_name = "ID")]
    query: Option<u64>,
    /// Every answer that is better or worse than the baseline's
    #[arg(long)]
    all: bool,
    /// Print JSON: every query with its selection and scores
    #[arg(long)]
    json: bool,
}

/// Runs `sweep why`.
///
/// # Errors
/// No results, an unknown point or score column, a point that has not been evaluated.
pub fn run(args: &WhyArgs) -> anyhow::Result<u8> {
    let results = SweepResults::read(&args.dir)?;
    let points = points_named(&results, &args.point)?;
    let columns = results.columns();
    let names = columns_of(&results.experiment);
    let column = match (args.column, &columns[..]) {
        (Some(column), _) => column,
        (None, [only]) => *only,
        (None, _) => {
            let columns: Vec<String> = columns.iter().map(usize::to_string).collect();
            anyhow::bail!("which score?\nhint: add `--{} N`, one of {}", names.field, columns.join(", "))
        }
    };
    let one = |at: &usize| why(&results, &results.points[*at], column);
    let mut found = points.iter().map(one).collect::<Result<Vec<Why>, _>>()?;
    if let Some(query) = args.query {
        for one in &mut found {
            one.answers.retain(|answer| answer.query_id == query);
            one.unanswered.retain(|id| *id == query);
        }
    }
    let asked = Interviewed::of(&args.dir);
    let printed = match &found[..] {
        [only] if args.json => serde_json::to_string_pretty(only)? + "\n",
        all if args.json => serde_json::to_string_pretty(all)? + "\n",
        all => {
            let one =
                |one: &Why| text(one, args) + &asked.iter().map(|asked| asked.text(one)).collect::<String>();
            all.iter().map(one).collect::<Vec<_>>().join("\n")
        }
    };
    output::result(&printed);
    Ok(0)
}

fn text(found: &Why, args: &WhyArgs) -> String {
    let At { column, names } = found.at;
    let what = match names.unit.is_empty() {
        true => (names.title)(column),
        false => format!("at {}", plural(column, names.field)),
    };
    let mut text = format!("{} {what}: {:.2} %\n\n", found.point, 100.0 * found.accuracy);
    for (key, value) in &found.axes {
        text += &format!("  {key} = {value}\n");
    }
    if found.total > 0 {
        let share = 100.0 * found.trainable as f64 / found.total as f64;
        text += &format!("  trained parameters: {} / {} ({share:.1} %)\n", found.trainable, found.total);
    }
    if let Some(checkpoint) = &found.checkpoint {
        text += &format!("  checkpoint: {}\n", args.dir.join(checkpoint).display());
    }
    if let Some(epoch) = &found.last_epoch_text {
        text += &format!("  last epoch: {epoch}\n");
    }
    text + &answers(found) + &comparison(found, if args.all { usize::MAX } else { SHOWN })
}

/// What the judge was asked and what would have been right, as far as the sweep's inputs are still there.
pub(super) struct Interviewed {
    session: Session,
    judge: Judge,
}

impl Interviewed {
    /// Of the results in `dir`; `None` where no judge was asked.
    pub fn of(dir: &std::path::Path) -> Option<Self> {
        let (session, judge) = crate::run::judge_of(dir)?;
        Some(Self { session, judge })
    }

    /// What was asked about the query `id` with the candidates `selection`; `None` where it cannot be told.
    pub fn prompt(&self, id: u64, selection: &[u32]) -> Option<String> {
        self.judge.prompt(&self.question(id, selection)?).ok()
    }

    fn question(&self, id: u64, selection: &[u32]) -> Option<Question> {
        self.session.asked()?.question(id, selection)
    }

    /// The accepted answers, with bars between them; `None` where the judge has its own.
    pub fn accepted(&self, id: u64) -> Option<String> {
        self.judge.items().get(id).map(|item| item.answers.join(" | "))
    }

    /// Answers and accepted answers; with one query the prompt.
    fn text(&self, found: &Why) -> String {
        let mut text = String::new();
        if let Some(judge) = &found.judge {
            text += &format!("\nJudge {}: {}\n", judge.judge, judge.identity);
        }
        for answer in &found.answers {
            let accepted = self.accepted(answer.query_id).unwrap_or_default();
            let said = answer.answer.as_deref().unwrap_or_default();
            text += &format!(
                "  query {}: answered {said:?}, accepted: {accepted}, scores {}\n",
                answer.query_id, answer.score
            );
            let question = self.question(answer.query_id, &answer.selection);
            if let ([_], Some(question)) = (&found.answers[..], question) {
                match self.judge.prompt(&question) {
                    Ok(prompt) => text += &format!("\nPrompt:\n{prompt}\n"),
                    Err(fault) => text += &format!("\nThe prompt cannot be shown: {fault}\n"),
                }
            }
        }
        if !found.unanswered.is_empty() {
            text += &format!("  without an answer: {:?}\n", found.unanswered);
        }
        text
    }
}

fn answers(found: &Why) -> String {
    let mut text = String::new();
    for (word, lowest, highest) in [
        ("right", 1.0, f64::INFINITY),
        ("partly right", f64::MIN_POSITIVE, 1.0),
        ("wrong", f64::NEG_INFINITY, f64::MIN_POSITIVE),
    ] {
        let ids: Vec<String> = found
            .answers
            .iter()
            .filter(|answer| (lowest..highest).contains(&answer.score))
            .map(|answer| answer.query_id.to_string())
            .collect();
        if !ids.is_empty() {
            text += &format!("\n{} {word}: {}\n", ids.len(), ids.join(" "));
        }
    }
    text
}

/// More changed answers than this are only counted.
const SHOWN: usize = 20;

fn comparison(found: &Why, most: usize) -> String {
    let Some(against) = &found.comparison else { return String::new() };
    let mut text = format!(
        "\nAgainst the baseline {} ({:.2} %): {} of {} {} chosen differently, {} better, {} worse",
        against.baseline,
        100.0 * against.baseline_accuracy,
        against.chosen_differently,
        found.answers.len(),
        found.at.names.inputs[1],
        against.better,
        against.worse
    );
    text += &against.mcnemar_p.map_or_else(String::new, |p| format!(" (McNemar's exact test: p = {p:.3})"));
    text += "\n";
    let changed = |answer: &&Answer| answer.baseline_score.is_some_and(|other| other != answer.score);
    for answer in found.answers.iter().filter(changed).take(most) {
        text += &format!(
            "  {} {}: {:?} scores {}, baseline {:?} scores {}\n",
            found.at.names.inputs[0],
            answer.query_id,
            answer.selection,
            answer.score,
            answer.baseline_selection.as_deref().unwrap_or_default(),
            answer.baseline_score.unwrap_or_default()
        );
    }
    let more = found.answers.iter().filter(changed).count().saturating_sub(most);
    if more > 0 {
        text += &format!("  and {more} more: `--all` shows them\n");
    }
    text
}
