//! Rows that choose alike are one result: one row that says where it holds.

use std::collections::HashMap;

use super::columns::{Detail, LayoutOptions, SIGNS, Table, layout_rows};
use super::matrix::{Matrix, Row};
use super::notes;
use super::select::Metric;
use crate::spec::{Key, Kind, key_called};

/// Rows with one and the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their places among the rows that were grouped, ascending.
    pub members: Vec<usize>,
    /// The place of the row that stands for all: the baseline if it is one of them, else the first.
    pub first: usize,
    /// Where the result holds.
    pub place: Place,
}

impl Group {
    /// Whether it is more than one row.
    pub fn is_several(&self) -> bool {
        self.members.len() > 1
    }
}

/// Where a group's result holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The values of every axis of the matrix: `0.1-0.18`, `5e-6/2e-5`; empty where the rows have none.
    pub axes: Vec<String>,
    /// All axes in the words of the rows' names: `kl 0.1-0.18, lr 5e-6, frozen`.
    pub words: String,
    /// Rows of the group, and all rows that lie in these ranges.
    pub rows: usize,
    pub inside: usize,
}

impl Place {
    /// `4`, or `8 of 16` where other rows lie in the same ranges.
    pub fn count(&self) -> String {
        if self.rows < self.inside {
            format!("{} of {}", self.rows, self.inside)
        } else {
            self.rows.to_string()
        }
    }

    /// `kl 0.1-0.18, lr 5e-6, frozen: 4 configurations`
    pub fn sentence(&self, what: &str) -> String {
        format!("{}: {} {what}", self.words, self.count())
    }

    /// `kl 0.1-0.18, lr 5e-6, frozen (4)`, where there is little room.
    pub fn short(&self) -> String {
        format!("{} ({})", self.words, self.count())
    }
}

/// What the rows of `matrix` are called: averages over seeds are configurations.
pub fn what(matrix: &Matrix, rows: &[Row]) -> &'static str {
    let is_point = |row: &Row| matrix.points.iter().any(|point| point.name == row.name);
    match rows.first().is_some_and(is_point) && !matrix.configurations.is_empty() {
        true => "points",
        false => "configurations",
    }
}

/// Groups `rows` of `matrix`, in the order of their first members. Rows without selections stand alone.
pub fn groups(matrix: &Matrix, rows: &[Row]) -> Vec<Group> {
    let mut members: Vec<Vec<usize>> = Vec::new();
    let mut letters = HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let next = members.len();
        // Points of two seeds may choose alike, and yet be compared with baselines that do not.
        let key = row.identical.as_deref().map(|letter| (letter, row.delta.map(f64::to_bits)));
        let place = key.map_or(next, |key| *letters.entry(key).or_insert(next));
        if place == next {
            members.push(Vec::new());
        }
        members[place].push(index);
    }
    let tried = Tried::of(matrix, rows);
    let group = |members: Vec<usize>| {
        let first = members.iter().copied().find(|&index| rows[index].is_baseline).unwrap_or(members[0]);
        let place = match members.len() {
            1 => {
                Place { axes: rows[first].axes.clone(), words: rows[first].name.clone(), rows: 1, inside: 1 }
            }
            _ => tried.place(matrix, &members),
        };
        Group { members, first, place }
    };
    members.into_iter().map(group).collect()
}

/// The values that rows have on the axes, by number: a large sweep has many groups, and each is held against all rows.
struct Tried<'a> {
    /// Per axis, the texts in order of appearance.
    values: Vec<Vec<&'a str>>,
    /// Per row and axis, the place among `values`; `None` where the row has none.
    rows: Vec<Vec<Option<usize>>>,
}

impl<'a> Tried<'a> {
    fn of(matrix: &Matrix, rows: &'a [Row]) -> Self {
        let mut values: Vec<Vec<&str>> = vec![Vec::new(); matrix.axes.len()];
        let place = |(axis, values): (usize, &mut Vec<&'a str>), row: &'a Row| {
            let text = row.axes.get(axis).filter(|text| !text.is_empty())?.as_str();
            Some(values.iter().position(|other| *other == text).unwrap_or_else(|| {
                values.push(text);
                values.len() - 1
            }))
        };
        let rows =
            rows.iter().map(|row| values.iter_mut().enumerate().map(|axis| place(axis, row)).collect());
        let rows = rows.collect();
        Self { values, rows }
    }

    fn place(&self, matrix: &Matrix, members: &[usize]) -> Place {
        let mut is_own: Vec<Vec<bool>> = self.values.iter().map(|values| vec![false; values.len()]).collect();
        let mut own: Vec<Vec<&str>> = vec![Vec::new(); self.values.len()];
        for &member in members {
            for (axis, value) in self.rows[member].iter().enumerate() {
                if let Some(value) = value.filter(|value| !is_own[axis][*value]) {
                    is_own[axis][value] = true;
                    own[axis].push(self.values[axis][value]);
                }
            }
        }
        let inside = |row: &&Vec<Option<usize>>| {
            let mut axes = row.iter().zip(&is_own).zip(&own);
            axes.all(|((value, is_own), own)| own.is_empty() || value.is_some_and(|value| is_own[value]))
        };
        let axes: Vec<String> = own.iter().zip(&self.values).map(|(own, tried)| range(own, tried)).collect();
        let parts = matrix.axes.iter().zip(&own).zip(&axes).filter(|((_, own), _)| !own.is_empty());
        let words: Vec<String> = parts.map(|((axis, own), range)| in_words(axis, own, range)).collect();
        Place {
            words: words.join(", "),
            rows: members.len(),
            inside: self.rows.iter().filter(inside).count(),
            axes,
        }
    }
}

/// `kl 0.1-0.18` as the names of points call the key, `frozen/unfrozen`, `reward_form gain`.
fn in_words(axis: &str, own: &[&str], range: &str) -> String {
    match key_called(axis) {
        Some(Key { kind: Kind::Set(names), .. }) => {
            own.iter().map(|text| names.label(text)).collect::<Vec<_>>().join("/")
        }
        Some(key) if !key.short.is_empty() => format!("{} {range}", key.short),
        _ => format!("{axis} {range}"),
    }
}

/// `0.1-0.18` where the numbers have no gap among all that were tried, else `0.1/0.18`.
fn range(own: &[&str], tried: &[&str]) -> String {
    let numbers = |texts: &[&str]| texts.iter().map(|text| text.parse().ok()).collect::<Option<Vec<f64>>>();
    let listed = own.join("/");
    let (Some(mine), Some(tried)) = (numbers(own), numbers(tried)) else { return listed };
    let order = |a: &usize, b: &usize| mine[*a].total_cmp(&mine[*b]);
    let (low, high) = ((0..mine.len()).min_by(order), (0..mine.len()).max_by(order));
    let (Some(low), Some(high)) = (low, high) else { return listed };
    let between = tried.iter().filter(|value| (mine[low]..=mine[high]).contains(value)).count();
    match own.len() > 1 && between == own.len() {
        // A dash between exponents or signs reads as one more of them.
        true if [own[low], own[high]].iter().any(|text| text.contains(['e', '-'])) => {
            format!("{} to {}", own[low], own[high])
        }
        true => format!("{}-{}", own[low], own[high]),
        false => listed,
    }
}

/// What a terminal shows of `rows`.
#[derive(Clone, Copy, Debug)]
pub struct Screen {
    /// Columns.
    pub width: u16,
    /// Lines; `None` shows every group.
    pub height: Option<u16>,
}

/// Lines that something else needs: head, rules, prompt.
const FRAME: usize = 4;
/// Rows that are shown however small the screen is.
const LEAST: usize = 3;

/// How the row of a group is called.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Called {
    /// By its range and the number of rows in words.
    Sentence,
    Range,
    /// By its first row; where it holds is said below the table.
    First,
}

/// From the most that is said of a row to the least.
const LAYOUTS: [(Detail, Called); 6] = [
    (Detail::Full, Called::Sentence),
    (Detail::Signs, Called::Sentence),
    (Detail::Signs, Called::Range),
    (Detail::Short, Called::Range),
    (Detail::Narrow, Called::Range),
    (Detail::Narrow, Called::First),
];

/// The table of the groups of `rows`, and no more of them than the screen has lines for: then the best and the
/// baseline, best first. A last note says what is not shown, and ends with the sentence `more`.
pub fn first_screen(
    matrix: &Matrix,
    rows: &[Row],
    options: &LayoutOptions,
    screen: Screen,
    more: &str,
) -> Table {
    let shown = Shown { matrix, rows, options, more, groups: groups(matrix, rows) };
    // With a column per axis, these say the ranges, and what is left of a name is a letter for the notes.
    let called = |called| if options.axis_columns { Called::First } else { called };
    let tables = LAYOUTS.map(|(detail, name)| (detail, called(name)));
    let fits = |table: &Table| table.terminal_width() <= usize::from(screen.width);
    let mut tables =
        tables.into_iter().map(|(detail, called)| shown.fitting(screen, detail, called)).peekable();
    loop {
        let table = tables.next().expect("there is a narrowest");
        if fits(&table) || tables.peek().is_none() {
            return table;
        }
    }
}

/// Rows in groups, and how they are shown.
struct Shown<'a> {
    matrix: &'a Matrix,
    rows: &'a [Row],
    options: &'a LayoutOptions,
    more: &'a str,
    groups: Vec<Group>,
}

impl Shown<'_> {
    /// As many groups as the screen has lines for; where not all have room, the notes that matter most.
    fn fitting(&self, screen: Screen, detail: Detail, called: Called) -> Table {
        let whole = || self.table(&self.best(None), detail, called, false);
        let Some(height) = screen.height.map(usize::from) else { return whole() };
        // The prompt needs a line too.
        let over = |table: &Table| {
            (table.to_terminal(screen.width, false).lines().count() + 1).saturating_sub(height)
        };
        if self.groups.len() < height {
            let whole = whole();
            if over(&whole) == 0 {
                return whole;
            }
        }
        let mut room = height.saturating_sub(FRAME + self.matrix.references.len());
        loop {
            let shown = self.best(Some(room));
            let mut table = self.table(&shown, detail, called, true);
            let lines = over(&table);
            if lines > 0 && room > LEAST {
                room = room.min(shown.len()).saturating_sub(lines).max(LEAST);
                continue;
            }
            // The last note says how to see the others.
            while over(&table) > 0 && table.notes.len() > 1 {
                table.notes.remove(table.notes.len() - 2);
            }
            return table;
        }
    }

    /// All groups in their order, or the `room` best and the baseline's, best first.
    fn best(&self, room: Option<usize>) -> Vec<usize> {
        let all = 0..self.groups.len();
        let Some(room) = room.filter(|room| *room < self.groups.len()) else { return all.collect() };
        let row = |group: usize| &self.rows[self.groups[group].first];
        let metric = Metric::default_of(self.matrix);
        let mut ranking: Vec<usize> = all.collect();
        ranking.sort_by(|a, b| metric.order(row(*a), row(*b)));
        let baseline = ranking.iter().copied().skip(room).filter(|&group| row(group).is_baseline);
        ranking.iter().copied().take(room).chain(baseline).collect()
    }

    fn table(&self, shown: &[usize], detail: Detail, called: Called, brief: bool) -> Table {
        let Self { matrix, rows, groups, .. } = self;
        let stand_ins: Vec<Row> = shown.iter().map(|&group| self.stand_in(&groups[group], called)).collect();
        let options = LayoutOptions { detail, ..self.options.clone() };
        let mut table = layout_rows(matrix, &stand_ins, &LayoutOptions { notes: false, ..options.clone() });
        if options.notes {
            if detail > Detail::Full && stand_ins.iter().any(|row| row.delta.is_some()) {
                table.notes.push(SIGNS.to_owned());
            }
            table.notes.extend(match brief {
                true => notes::brief(matrix, rows),
                false => notes::notes_without_groups(matrix, rows, detail),
            });
            let several = || shown.iter().map(|&group| &groups[group]).filter(|group| group.is_several());
            match called {
                Called::First => table.notes.extend(several().map(|group| self.sentence(group))),
                Called::Range if several().next().is_some() => {
                    let what = what(matrix, rows);
                    table.notes.push(format!("(4): so many {what} choose exactly alike and are one result."));
                }
                Called::Range | Called::Sentence => {}
            }
        }
        if groups.len() < rows.len() || shown.len() < groups.len() {
            let hidden = match groups.len() - shown.len() {
                0 => String::new(),
                _ => format!("{} of {} results are shown, best first. ", shown.len(), groups.len()),
            };
            table.notes.push(hidden + self.more);
        }
        table
    }

    /// The row that stands for `group`.
    fn stand_in(&self, group: &Group, called: Called) -> Row {
        let row = self.rows[group.first].clone();
        let Group { place, members, .. } = group;
        match called {
            _ if !group.is_several() => Row { identical: None, ..row },
            Called::Sentence => {
                let name = place.sentence(what(self.matrix, self.rows));
                Row { name, identical: None, ..row }
            }
            Called::Range => Row { name: place.short(), identical: None, ..row },
            Called::First => {
                let name = format!("{} +{}", row.name, members.len() - 1);
                Row { name, axes: place.axes.clone(), ..row }
            }
        }
    }

    /// `A: one result of kl 0.1-0.18, frozen: 4 configurations, the baseline among them.`
    fn sentence(&self, group: &Group) -> String {
        let row = &self.rows[group.first];
        let letter = row.identical.as_deref().unwrap_or_default();
        let baseline = if row.is_baseline { ", the baseline among them" } else { "" };
        format!("{letter}: one result of {}{baseline}.", group.place.sentence(what(self.matrix, self.rows)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_without_a_gap_are_a_range() {
        let tried = ["0.1", "0.12", "0.15", "0.18"];
        assert_eq!(range(&tried, &tried), "0.1-0.18");
        assert_eq!(range(&["0.15", "0.12"], &tried), "0.12-0.15", "in whatever order");
        assert_eq!(range(&["0.1", "0.15"], &tried), "0.1/0.15", "0.12 has another result");
        assert_eq!(range(&["0.15"], &tried), "0.15");
        assert_eq!(range(&["5e-6", "1e-5"], &["5e-6", "1e-5", "2e-5"]), "5e-6 to 1e-5");
        assert_eq!(range(&["-2", "-1"], &["-2", "-1", "0"]), "-2 to -1");
        assert_eq!(range(&["none", "0.5"], &["none", "0.5"]), "none/0.5");
        assert_eq!(range(&[], &tried), "");
    }

    #[test]
    fn axes_are_called_as_in_the_names_of_points() {
        assert_eq!(in_words("kl_beta", &["0.1"], "0.1"), "kl 0.1");
        assert_eq!(in_words("train.freeze", &["backbone", "none"], "backbone/none"), "frozen/unfrozen");
        assert_eq!(in_words("freeze", &["head"], "head"), "head");
        assert_eq!(in_words("rce_reward", &["raw"], "raw"), "rce_reward raw", "without a short name");
    }
}
