//! The matrix on the page: configurations where several seeds were run, and every point with every figure; sortable
//! and filterable. Rows that choose alike are one row that opens, without a script and by keyboard.

use maud::{Markup, PreEscaped, html};
use serde_json::{Value, json};

use super::meanings::meanings;
use crate::report::alike::{Group, groups, what};
use crate::report::columns::{Detail, column_title, percent, signed, verdict_text};
use crate::report::curves::{Curve, curves};
use crate::report::matrix::{Matrix, Row};
use crate::report::notes;
use crate::report::select::Metric;
use crate::report::stats::Interval;
use crate::report::svg::{rounded, shade};
use crate::report::words::only_score;
use crate::text::{plural, thousands};

/// Rows of a table that are all on the page as it is written. Of a larger one only the best are, without the members of
/// groups: a browser takes long to lay out thousands of rows that nobody looks at, and makes them when it is asked to.
const WHOLE: usize = 400;
/// Rows of a larger table that are there without a script.
const FIRST: usize = 150;

/// The field that filters rows, and how many are left.
pub const FILTER: PreEscaped<&str> = PreEscaped(
    "<label>Filter <input type=\"search\" id=\"filter\" placeholder=\"parts of names, values\" autocomplete=\"off\"></label> <span id=\"count\" class=\"soft\" role=\"status\"></span>",
);

/// The section of the matrix.
pub fn section(matrix: &Matrix, tables: &[Grid]) -> Markup {
    let title = |table: &Grid| match table.looks {
        Some(_) => "Every point",
        None => "Configurations, averaged over seeds",
    };
    html! {
        section id="matrix" { h2 { "Matrix" } "\n"
            p class="control" {
                (FILTER) " "
                span class="soft hint" {
                    "A click on a row shows its answers; so does Enter, and arrows go from cell to cell."
                }
            } "\n"
            @for table in tables {
                @if tables.len() > 1 { h3 { (title(table)) } "\n" }
                (table.html())
            }
            ul class="soft" { "\n"
                @for note in notes::notes_without_groups(matrix, matrix.main_rows(), Detail::Full) {
                    li { (note) } "\n"
                }
            } "\n"
            (meanings(matrix))
        } "\n"
    }
}

/// The tables of the page: configurations where several seeds were run, and every point.
pub fn tables(matrix: &Matrix) -> Vec<Grid<'_>> {
    let configurations = Grid::of(matrix, "configurations", &matrix.configurations, None);
    let points = Grid::of(matrix, "points", &matrix.points, Some(curves(matrix)));
    [configurations, points]
        .into_iter()
        .filter(|table| !table.rows.is_empty() || table.id == "points")
        .collect()
}

/// A cell: what is shown, and the number behind it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    /// Of figures; words have none.
    value: Option<f64>,
    /// Its place in the range of its column, 0 to 1, where cells are shaded.
    shade: Option<f64>,
}

impl Cell {
    pub fn words(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self { text: text.to_owned(), value: None, shade: None })
    }

    pub fn figure(value: Option<f64>, text: &str) -> Option<Self> {
        value.map(|value| Self { text: text.to_owned(), value: Some(value), shade: None })
    }

    fn shaded(self, range: (f64, f64)) -> Self {
        Self { shade: self.value.map(|value| shade(value, range)), ..self }
    }

    fn html(&self) -> Markup {
        html! {
            @match (self.value, self.shade) {
                (Some(_), Some(shade)) => {
                    td class="n v" style={ "--v:" (format_args!("{shade:.2}")) } { (self.text) }
                }
                (Some(_), None) => td class="n" { (self.text) },
                (None, _) => td { (self.text) },
            }
        }
    }
}

/// A row's cells, `None` where there is nothing to show.
pub type Cells = Vec<Option<Cell>>;

/// One table: `rows` and the references, with ticks that switch curves where there are `looks`. Columns in which
/// nothing stands are left out.
pub struct Grid<'a> {
    matrix: &'a Matrix,
    pub id: &'static str,
    pub rows: &'a [Row],
    looks: Option<Vec<Curve>>,
    groups: Vec<Group>,
    columns: Vec<Column>,
    used: Vec<usize>,
    cells: Vec<Cells>,
    /// Cells of the references.
    frame: Vec<Cells>,
    /// Of the shaded columns, which come first.
    ranges: Vec<(f64, f64)>,
}

impl<'a> Grid<'a> {
    fn of(matrix: &'a Matrix, id: &'static str, rows: &'a [Row], looks: Option<Vec<Curve>>) -> Self {
        let ranges = shaded_ranges(matrix, rows);
        let shaded = |cells: Cells| -> Cells {
            let ranges = ranges.iter().copied().map(Some).chain(std::iter::repeat(None));
            let shade = |(cell, range): (Option<Cell>, Option<(f64, f64)>)| match range {
                Some(range) => cell.map(|cell| cell.shaded(range)),
                None => cell,
            };
            cells.into_iter().zip(ranges).map(shade).collect()
        };
        let cells: Vec<Cells> = rows.iter().map(|row| shaded(cells_of(matrix, row))).collect();
        let frame: Vec<Cells> = matrix.references.iter().map(|row| cells_of(matrix, row)).collect();
        let columns = columns(matrix, looks.is_some());
        let is_used = |column: &usize| cells.iter().chain(&frame).any(|row| row[*column].is_some());
        let used = (0..columns.len()).filter(is_used).collect();
        Self { matrix, id, rows, looks, groups: groups(matrix, rows), columns, used, cells, frame, ranges }
    }

    /// A table of `rows` with columns of its own, of which the last are the axes.
    pub fn with(
        matrix: &'a Matrix,
        id: &'static str,
        rows: &'a [Row],
        columns: Vec<Column>,
        cells: Vec<Cells>,
    ) -> Self {
        let used =
            (0..columns.len()).filter(|column| cells.iter().any(|row| row[*column].is_some())).collect();
        let groups = groups(matrix, rows);
        Self {
            matrix,
            id,
            rows,
            looks: None,
            groups,
            columns,
            used,
            cells,
            frame: Vec::new(),
            ranges: Vec::new(),
        }
    }

    /// Whether every row is on the page as it is written.
    fn is_whole(&self) -> bool {
        self.rows.len() + self.groups.len() <= WHOLE
    }

    /// Places of the groups on the page as it is written: all in their order, or of many the best and the baseline's.
    fn first(&self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.groups.len()).collect();
        if self.is_whole() {
            return all;
        }
        let row = |place: usize| &self.rows[self.groups[place].first];
        let metric = Metric::default_of(self.matrix);
        let mut best = all;
        best.sort_by(|a, b| metric.order(row(*a), row(*b)));
        let baseline = best.iter().skip(FIRST).copied().find(|&place| row(place).is_baseline);
        best.truncate(FIRST);
        best.into_iter().chain(baseline).collect()
    }

    /// The table as it is written.
    pub fn html(&self) -> Markup {
        let first = self.first();
        let region = html! {
            table id=(self.id) class="results" {
                (self.head()) "\n"
                @for &place in &first { (self.group(place)) }
                tbody class="references" { "\n"
                    @for (row, cells) in self.matrix.references.iter().zip(&self.frame) {
                        (self.line(&self.no_tick(), Some("reference"), None, &html! { (row.name) }, cells))
                    }
                }
            }
        };
        html! {
            div class="scroll" tabindex="0" role="region" aria-label=(self.id) { (region) } "\n"
            @if !self.is_whole() {
                noscript {
                    p class="soft" {
                        (first.len()) " of " (plural(self.rows.len(), "row"))
                        " are shown, the best first. With scripts the page has all of them; so have `matrix.csv` and `matrix.md` in the results directory."
                    }
                } "\n"
                p class="control" { button type="button" id={ "more-" (self.id) } hidden {} } "\n"
            }
        }
    }

    fn head(&self) -> Markup {
        let title = if self.id == "points" { "point" } else { "configuration" };
        html! {
            thead {
                tr {
                    @if self.looks.is_some() { th scope="col" { "curve" } }
                    th scope="col" { button type="button" { (title) } }
                    @for Column { title, kind } in self.used.iter().map(|&column| &self.columns[column]) {
                        th scope="col" class=[(*kind != Kind::Words).then_some("n")] {
                            button type="button" { (title) }
                        }
                    }
                }
            }
        }
    }

    /// A group's own row, where it has several, and those of its members.
    fn group(&self, place: usize) -> Markup {
        let group = &self.groups[place];
        let called = what(self.matrix, self.rows);
        let name = || {
            html! {
                label { input type="checkbox" class="open"; " " (group.place.sentence(called)) }
            }
        };
        let class = if self.rows[group.first].is_baseline { "group baseline" } else { "group" };
        html! {
            tbody class=[group.is_several().then_some("group")] data-group=(place) { "\n"
                @if group.is_several() {
                    @let cells = together(self.matrix, self.rows, group, &self.cells);
                    (self.line(&self.no_tick(), Some(class), None, &name(), &cells))
                }
                @if self.is_whole() || !group.is_several() {
                    @for &row in &group.members { (self.row(row, group.is_several())) }
                }
            } "\n"
        }
    }

    fn row(&self, index: usize, is_member: bool) -> Markup {
        let row = &self.rows[index];
        let class = match (is_member, row.is_baseline) {
            (true, true) => Some("member baseline"),
            (true, false) => Some("member"),
            (false, true) => Some("baseline"),
            (false, false) => None,
        };
        let tick = self.looks.as_ref().map(|looks| tick(index, row, looks[index])).unwrap_or_default();
        self.line(&tick, class, Some(index), &html! { (row.name) }, &self.cells[index])
    }

    /// Stands below the ticks in rows that have none.
    fn no_tick(&self) -> Markup {
        html! { @if self.looks.is_some() { td {} } }
    }

    fn line(
        &self,
        tick: &Markup,
        class: Option<&str>,
        row: Option<usize>,
        name: &Markup,
        cells: &Cells,
    ) -> Markup {
        html! {
            tr class=[class] data-row=[row] {
                (tick)
                th scope="row" { (name) }
                @for &column in &self.used {
                    @match &cells[column] {
                        Some(cell) => (cell.html()),
                        None => td {},
                    }
                }
            } "\n"
        }
    }

    /// What the page's script needs to draw the table: columns, every row and group as texts, ranges of colours in the
    /// numbers of the texts, and by what it is sorted at first.
    pub fn data(&self) -> Value {
        let called = what(self.matrix, self.rows);
        let texts = |cells: &Cells| -> Vec<String> {
            let text =
                |&column: &usize| cells[column].as_ref().map_or_else(String::new, |cell| cell.text.clone());
            self.used.iter().map(text).collect()
        };
        let named = |(row, cells): (&Row, &Cells)| [vec![row.name.clone()], texts(cells)].concat();
        let group = |group: &Group| {
            if !group.is_several() {
                return json!(group.first);
            }
            let cells = texts(&together(self.matrix, self.rows, group, &self.cells));
            json!([group.members, group.first, group.place.sentence(called), cells])
        };
        let column =
            |&column: &usize| json!([self.columns[column].title, self.columns[column].kind as usize]);
        let shade = |&column: &usize| {
            self.ranges.get(column).map(|(low, high)| [100.0 * low, 100.0 * high].map(rounded))
        };
        let metric = Metric::default_of(self.matrix);
        let order = if metric.larger_is_better() { "descending" } else { "ascending" };
        let name = match only_score(&self.matrix.score_columns).filter(|_| matches!(metric, Metric::Average))
        {
            Some(only) => column_title(only),
            None => metric.name(self.matrix),
        };
        let has = self.used.iter().any(|&column| self.columns[column].title == name);
        let sorted = (!self.is_whole() && has).then_some([name, order.to_owned()]);
        json!({
            "columns": self.used.iter().map(column).collect::<Vec<_>>(),
            "rows": self.rows.iter().zip(&self.cells).map(named).collect::<Vec<_>>(),
            "references": self.matrix.references.iter().zip(&self.frame).map(named).collect::<Vec<_>>(),
            "groups": self.groups.iter().map(group).collect::<Vec<_>>(),
            "shade": self.used.iter().map(shade).collect::<Vec<_>>(),
            "sorted": sorted,
            "whole": self.is_whole(),
        })
    }
}

/// How the texts of a column are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Words = 0,
    /// By their first number.
    Number = 1,
    /// Intervals by their width.
    Width = 2,
}

/// A column of a [`Grid`].
pub struct Column {
    pub title: String,
    pub kind: Kind,
}

/// The cells of the row that stands for `group`: its values on the axes, and figures that differ as their range.
fn together(matrix: &Matrix, rows: &[Row], group: &Group, cells: &[Cells]) -> Cells {
    let first = &cells[group.first];
    let axes = first.len() - matrix.axes.len();
    let column = |column: usize| {
        if column >= axes {
            return Cell::words(&group.place.axes[column - axes]).or_else(|| first[column].clone());
        }
        let is_like_first = |index: &usize| cells[*index][column] == first[column];
        // Of the baseline's group, what is said against the baseline is said of itself.
        let is_baseline = first[column].as_ref().is_none_or(|cell| cell.text == "baseline");
        if group.members.iter().all(is_like_first) || (rows[group.first].is_baseline && is_baseline) {
            return first[column].clone();
        }
        let shown: Vec<&Cell> =
            group.members.iter().filter_map(|&index| cells[index][column].as_ref()).collect();
        if shown.iter().any(|cell| cell.value.is_none()) {
            return first[column].clone();
        }
        let order =
            |a: &&&Cell, b: &&&Cell| a.value.partial_cmp(&b.value).unwrap_or(std::cmp::Ordering::Equal);
        let (low, high) = (shown.iter().min_by(order)?, shown.iter().max_by(order)?);
        let text =
            if low.text == high.text { low.text.clone() } else { format!("{} to {}", low.text, high.text) };
        Some(Cell { text, value: low.value, shade: None })
    };
    (0..first.len()).map(column).collect()
}

/// Ranges of the columns whose cells are shaded: the score columns and the average, which come first.
fn shaded_ranges(matrix: &Matrix, rows: &[Row]) -> Vec<(f64, f64)> {
    let range = |figure: &dyn Fn(&Row) -> Option<f64>| {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        rows.iter().filter_map(figure).fold(ends, |(low, high), value| (low.min(value), high.max(value)))
    };
    let scores = (0..shown_scores(matrix)).map(|column| range(&|row: &Row| row.scores[column]));
    scores.chain([range(&|row: &Row| row.average)]).collect()
}

/// Score columns before the average: none where there is one score, which the average is.
fn shown_scores(matrix: &Matrix) -> usize {
    only_score(&matrix.score_columns).map_or(matrix.score_columns.len(), |_| 0)
}

/// The columns of [`cells_of`]. What is compared comes first, so that narrow screens show it.
fn columns(matrix: &Matrix, points: bool) -> Vec<Column> {
    let column = |(title, kind): (&str, Kind)| Column { title: title.to_owned(), kind };
    let scores = matrix
        .score_columns
        .iter()
        .take(shown_scores(matrix))
        .map(|column| Column { title: column_title(column), kind: Kind::Number });
    let average =
        only_score(&matrix.score_columns).map_or_else(|| "average".to_owned(), |only| column_title(only));
    let figures = [
        (average.as_str(), Kind::Number),
        ("95 % interval", Kind::Width),
        ("vs baseline", Kind::Number),
        ("its interval", Kind::Number),
        ("p (Holm)", Kind::Number),
        ("verdict", Kind::Words),
        ("same", Kind::Words),
        ("changed %", Kind::Number),
        ("moved %", Kind::Number),
        ("val_loss", Kind::Number),
        ("KL", Kind::Number),
        ("trainable", Kind::Number),
    ];
    let axes = matrix.axes.iter().map(|axis| match axis.as_str() {
        "seed" if !points => ("seeds", Kind::Number),
        axis => (axis, Kind::Words),
    });
    scores.chain(figures.map(column)).chain(axes.map(column)).collect()
}

/// A row's cells in the order of [`columns`].
fn cells_of(matrix: &Matrix, row: &Row) -> Cells {
    let between = |interval: Interval| format!("{:.1} to {:.1}", 100.0 * interval.low, 100.0 * interval.high);
    let apart = |interval: Interval| format!("{} to {}", signed(interval.low, 1), signed(interval.high, 1));
    let number = |value: Option<f64>, digits: usize| {
        value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
    };
    let share = |value: Option<f64>, digits: usize| Cell::figure(value, &percent(value, digits).text);
    let delta = row.delta.map(|delta| signed(delta, 2)).unwrap_or_default();
    let average = row.average_interval;
    let mut cells: Cells =
        row.scores.iter().take(shown_scores(matrix)).map(|score| share(*score, 1)).collect();
    cells.extend([
        share(row.average, 2),
        Cell::figure(average.map(|of| of.high - of.low), &average.map(between).unwrap_or_default()),
        Cell::figure(row.delta, if row.is_baseline { "baseline" } else { &delta }),
        Cell::figure(row.delta_interval.map(|of| of.low), &row.delta_interval.map(apart).unwrap_or_default()),
        Cell::figure(row.p_holm, &number(row.p_holm, 3)),
        Cell::words(&verdict_text(row)),
        Cell::words(row.identical.as_deref().unwrap_or_default()),
        share(row.changed_share, 1),
        share(row.movement, 3),
        Cell::figure(row.val_loss, &number(row.val_loss, 4)),
        Cell::figure(row.kl, &number(row.kl, 4)),
        Cell::figure(
            row.trainable.map(|trainable| trainable as f64),
            &row.trainable.map(thousands).unwrap_or_default(),
        ),
    ]);
    cells.extend(matrix.axes.iter().zip(&row.axes).map(|(name, axis)| match row.seeds {
        seeds if seeds > 1 && name == "seed" => Cell::figure(Some(seeds as f64), &seeds.to_string()),
        _ => Cell::words(axis),
    }));
    cells
}

/// The cell of a table that switches a point's curves.
fn tick(index: usize, row: &Row, look: Curve) -> Markup {
    html! {
        td {
            input type="checkbox" data-point=(index) checked[look.shown] aria-label={ "curves of " (row.name) };
        }
    }
}
