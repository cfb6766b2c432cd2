//! Rows that choose alike are one result: one row, and a sentence about where it holds.

use super::layout::{Detail, LayoutOptions, SIGNS, Table, fitting, layout_rows};
use super::matrix::{Matrix, Row};
use super::notes;
use super::select::Metric;

/// Rows with one and the same result.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// Their places among the rows that were grouped, ascending.
    pub members: Vec<usize>,
    /// The row that stands for all: the baseline if it is one of them, else the first.
    pub row: Row,
}

impl Group {
    /// Rows beside the one that stands for all.
    pub fn others(&self) -> usize {
        self.members.len() - 1
    }
}

/// Groups `rows` of one matrix, in the order of their first members. Rows without selections stand alone.
pub fn groups(rows: &[Row]) -> Vec<Group> {
    let mut found: Vec<Group> = Vec::new();
    let mut places = std::collections::HashMap::new();
    for (index, row) in rows.iter().enumerate() {
        let place = row.identical.as_deref().map(|letter| *places.entry(letter).or_insert(found.len()));
        match place.and_then(|place| found.get_mut(place)) {
            Some(group) => {
                group.members.push(index);
                if row.is_baseline {
                    group.row = row.clone();
                }
            }
            None => found.push(Group { members: vec![index], row: row.clone() }),
        }
    }
    found
}

/// Where a group's result holds: `kl_beta 0.1 to 0.18, freeze backbone: 4 configurations`. Axes on which the group
/// has every value there is are left out; a group that has gaps in the ranges says how many rows lie in them.
pub fn description(matrix: &Matrix, rows: &[Row], group: &Group) -> String {
    let values = |axis: usize, members: &mut dyn Iterator<Item = &Row>| {
        let mut values: Vec<String> = Vec::new();
        for row in members {
            if let Some(text) = row.axes.get(axis).filter(|text| !text.is_empty() && !values.contains(text)) {
                values.push(text.clone());
            }
        }
        values
    };
    let own: Vec<Vec<String>> = (0..matrix.axes.len())
        .map(|axis| values(axis, &mut group.members.iter().map(|&index| &rows[index])))
        .collect();
    let mut parts = Vec::new();
    for (axis, own) in own.iter().enumerate() {
        let all = values(axis, &mut rows.iter());
        if own.len() < all.len() {
            parts.push(format!("{} {}", matrix.axes[axis], range(own, &all)));
        }
    }
    let inside = |row: &&Row| {
        own.iter().zip(&row.axes).all(|(own, text)| own.is_empty() || text.is_empty() || own.contains(text))
    };
    let inside = rows.iter().filter(inside).count();
    let count = group.members.len();
    let what =
        if rows.first().is_some_and(|row| matrix.points.contains(row)) && !matrix.configurations.is_empty() {
            "points"
        } else {
            "configurations"
        };
    let how_many = if count < inside { format!("{count} of {inside}") } else { count.to_string() };
    let place = if parts.is_empty() { String::new() } else { format!("{}: ", parts.join(", ")) };
    format!("{place}{how_many} {what}")
}

/// `0.1 to 0.18` where the numbers have no gap among all that were tried, else `0.1/0.18`.
fn range(own: &[String], all: &[String]) -> String {
    let numbers =
        |texts: &[String]| texts.iter().map(|text| text.parse::<f64>().ok()).collect::<Option<Vec<f64>>>();
    let (Some(mine), Some(tried)) = (numbers(own), numbers(all)) else { return own.join("/") };
    let at = |least: bool| {
        let order = |a: &&usize, b: &&usize| mine[**a].total_cmp(&mine[**b]);
        let places: Vec<usize> = (0..mine.len()).collect();
        let end = if least { places.iter().min_by(order) } else { places.iter().max_by(order) };
        end.copied()
    };
    let (Some(low), Some(high)) = (at(true), at(false)) else { return own.join("/") };
    let between = tried.iter().filter(|value| (mine[low]..=mine[high]).contains(value)).count();
    if own.len() > 2 && between == own.len() {
        format!("{} to {}", own[low], own[high])
    } else {
        own.join("/")
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

/// Lines that something else needs: head, rule, prompt.
const FRAME: usize = 4;
/// Rows that are shown however small the screen is.
const LEAST: usize = 3;

/// The table of the groups of `rows`, and no more of them than the screen has lines for: the best, in the order of
/// `rows`, and the baseline. A last note says what is not shown.
pub fn first_screen(matrix: &Matrix, rows: &[Row], options: &LayoutOptions, screen: Screen) -> Table {
    let found = groups(rows);
    let lay_out = |detail| {
        let mut room =
            screen.height.map(|height| usize::from(height).saturating_sub(FRAME + matrix.references.len()));
        // Notes take lines too, and how many depends on the rows shown.
        loop {
            let shown = best_groups(matrix, &found, room);
            let table = grouped_table(matrix, rows, (&found, &shown), options, detail);
            let (Some(height), Some(left)) = (screen.height, room) else { return table };
            let lines = table.to_terminal(screen.width, false).lines().count();
            let over = (lines + 1).saturating_sub(usize::from(height));
            if over == 0 || left <= LEAST {
                return table;
            }
            room = Some(left.min(shown.len()).saturating_sub(over).max(LEAST));
        }
    };
    fitting(screen.width, lay_out)
}

/// The `room` best of `found` and the baseline's, by their places.
fn best_groups(matrix: &Matrix, found: &[Group], room: Option<usize>) -> Vec<usize> {
    let Some(room) = room.filter(|room| *room < found.len()) else { return (0..found.len()).collect() };
    let mut ranking: Vec<Row> = found.iter().map(|group| group.row.clone()).collect();
    Metric::default_of(matrix).sort(&mut ranking);
    ranking.truncate(room);
    let names: std::collections::HashSet<&str> = ranking.iter().map(|row| row.name.as_str()).collect();
    let shown =
        |index: &usize| found[*index].row.is_baseline || names.contains(found[*index].row.name.as_str());
    (0..found.len()).filter(shown).collect()
}

fn grouped_table(
    matrix: &Matrix,
    rows: &[Row],
    (found, shown): (&[Group], &[usize]),
    options: &LayoutOptions,
    detail: Detail,
) -> Table {
    let stand_ins: Vec<Row> = shown
        .iter()
        .map(|&index| {
            let Group { row, .. } = &found[index];
            match found[index].others() {
                0 => row.clone(),
                others => Row { name: format!("{} +{others}", row.name), ..row.clone() },
            }
        })
        .collect();
    let options = LayoutOptions { detail, ..options.clone() };
    let mut table = layout_rows(matrix, &stand_ins, &LayoutOptions { notes: false, ..options.clone() });
    if options.notes {
        if detail > Detail::Full && stand_ins.iter().any(|row| row.delta.is_some()) {
            table.notes.push(SIGNS.to_owned());
        }
        table.notes.extend(notes::notes_without_groups(matrix, rows, detail));
        let alike = shown.iter().map(|&index| &found[index]).filter(|group| group.others() > 0);
        for group in alike {
            let letter = group.row.identical.as_deref().unwrap_or_default();
            let baseline = if group.row.is_baseline { ", the baseline among them" } else { "" };
            let place = description(matrix, rows, group);
            table.notes.push(format!("{letter}: one result of {place}{baseline}."));
        }
    }
    if shown.len() < found.len() || found.len() < rows.len() {
        let hidden = match found.len() - shown.len() {
            0 => String::new(),
            hidden => format!("{hidden} more results are not shown. "),
        };
        table
            .notes
            .push(format!("{hidden}`sweep table DIR --all` shows every row, `sweep report DIR` draws them."));
    }
    table
}
