//! The matrix on the page: configurations where several seeds were run, and every point with every figure; sortable
//! and filterable. Rows that choose alike are one row that opens, without a script and by keyboard.

use std::fmt::Write;

use crate::report::alike::{Group, groups, what};
use crate::report::figures::{Curve, curves};
use crate::report::layout::{Detail, percent, shot_title, signed, verdict_text};
use crate::report::matrix::{Matrix, Row};
use crate::report::notes;
use crate::report::render::html_escape as escape;
use crate::report::stats::Interval;
use crate::report::svg::shade;
use crate::text::thousands;

/// The section of the matrix.
pub fn section(matrix: &Matrix) -> String {
    let mut text = String::from(
        "<section id=\"matrix\"><h2>Matrix</h2>\n<p class=\"control\"><label>Filter <input type=\"search\" id=\"filter\" placeholder=\"parts of names, values\" autocomplete=\"off\"></label> <span id=\"count\" class=\"soft\" role=\"status\"></span></p>\n",
    );
    if !matrix.configurations.is_empty() {
        text += "<h3>Configurations, averaged over seeds</h3>\n";
        text += &rows_table(matrix, "configurations", &matrix.configurations, None);
        text += "<h3>Every point</h3>\n";
    }
    text += &rows_table(matrix, "points", &matrix.points, Some(&curves(matrix)));
    text += "<ul class=\"soft\">\n";
    for note in notes::notes_without_groups(matrix, matrix.main_rows(), Detail::Full) {
        let _ = writeln!(text, "<li>{}</li>", escape(&note));
    }
    text + "</ul>\n" + COLUMNS + "</section>\n"
}

/// A cell: what is shown, and the number behind it.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    text: String,
    /// What it is sorted by; words by themselves.
    value: Option<f64>,
    /// Its place in the range of its column, 0 to 1, where cells are shaded.
    shade: Option<f64>,
}

impl Cell {
    fn words(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| Self { text: text.to_owned(), value: None, shade: None })
    }

    fn figure(value: Option<f64>, text: &str) -> Option<Self> {
        value.map(|value| Self { text: text.to_owned(), value: Some(value), shade: None })
    }

    fn shaded(self, range: (f64, f64)) -> Self {
        Self { shade: self.value.map(|value| shade(value, range)), ..self }
    }

    fn html(&self) -> String {
        let text = escape(&self.text);
        match (self.value, self.shade) {
            (Some(value), Some(shade)) => {
                format!("<td class=\"n v\" style=\"--v:{shade:.2}\" data-v=\"{value}\">{text}</td>")
            }
            (Some(value), None) => format!("<td class=\"n\" data-v=\"{value}\">{text}</td>"),
            (None, _) => format!("<td data-v=\"{text}\">{text}</td>"),
        }
    }
}

/// A row's cells, `None` where there is nothing to show.
type Cells = Vec<Option<Cell>>;

/// One table: `rows` and the references, with ticks that switch curves where there are `looks`. Columns in which
/// nothing stands are left out.
fn rows_table(matrix: &Matrix, id: &str, rows: &[Row], looks: Option<&[Curve]>) -> String {
    let references = &matrix.references;
    let ranges = shaded_ranges(matrix, rows);
    let shaded = |cells: Cells| -> Cells {
        let ranges = ranges.iter().copied().map(Some).chain(std::iter::repeat(None));
        let pairs = cells.into_iter().zip(ranges);
        pairs
            .map(|(cell, range)| range.map_or(cell.clone(), |range| cell.map(|cell| cell.shaded(range))))
            .collect()
    };
    let cells: Vec<Cells> = rows.iter().map(|row| shaded(cells_of(matrix, row))).collect();
    let frame: Vec<Cells> = references.iter().map(|row| cells_of(matrix, row)).collect();
    let columns = columns(matrix, looks.is_some());
    let is_used = |column: &usize| cells.iter().chain(&frame).any(|row| row[*column].is_some());
    let used: Vec<usize> = (0..columns.len()).filter(is_used).collect();
    let line = |tick: &str, class: &str, name: &str, cells: &Cells| {
        let mut text = format!("<tr{class}>{tick}<th scope=\"row\">{name}</th>");
        for &column in &used {
            text += &cells[column].as_ref().map_or_else(|| "<td></td>".to_owned(), Cell::html);
        }
        text + "</tr>\n"
    };
    let ticks = |index: usize| {
        looks.map_or_else(String::new, |looks| tick(index, &rows[index], looks.get(index).copied()))
    };
    let no_tick = if looks.is_some() { "<td></td>" } else { "" };
    let called = what(matrix, rows);
    let mut text = head(id, looks.is_some(), used.iter().map(|&column| &columns[column]));
    for group in groups(matrix, rows) {
        text += if group.is_several() { "<tbody class=\"group\">\n" } else { "<tbody>\n" };
        if group.is_several() {
            let class =
                if rows[group.first].is_baseline { " class=\"group baseline\"" } else { " class=\"group\"" };
            let name = format!(
                "<label><input type=\"checkbox\" class=\"open\"> {}</label>",
                escape(&group.place.sentence(called))
            );
            text += &line(no_tick, class, &name, &together(matrix, rows, &group, &cells));
        }
        for &index in &group.members {
            let classes = [("member", group.is_several()), ("baseline", rows[index].is_baseline)];
            let classes: Vec<&str> = classes.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
            let class =
                if classes.is_empty() { String::new() } else { format!(" class=\"{}\"", classes.join(" ")) };
            text += &line(&ticks(index), &class, &escape(&rows[index].name), &cells[index]);
        }
        text += "</tbody>\n";
    }
    text += "<tbody class=\"references\">\n";
    for (row, cells) in references.iter().zip(&frame) {
        text += &line(no_tick, " class=\"reference\"", &escape(&row.name), cells);
    }
    text + "</tbody></table></div>\n"
}

fn head<'a>(id: &str, points: bool, columns: impl Iterator<Item = &'a (String, bool)>) -> String {
    let mut text = format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{id}\"><table id=\"{id}\" class=\"results\"><thead><tr>{}<th scope=\"col\"><button type=\"button\">{}</button></th>",
        if points { "<th scope=\"col\">curve</th>" } else { "" },
        if points { "point" } else { "configuration" }
    );
    for (title, numeric) in columns {
        let class = if *numeric { " class=\"n\"" } else { "" };
        let _ =
            write!(text, "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>", escape(title));
    }
    text + "</tr></thead>\n"
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

/// Ranges of the columns whose cells are shaded: the shots and the average, which come first.
fn shaded_ranges(matrix: &Matrix, rows: &[Row]) -> Vec<(f64, f64)> {
    let range = |figure: &dyn Fn(&Row) -> Option<f64>| {
        let ends = (f64::INFINITY, f64::NEG_INFINITY);
        rows.iter().filter_map(figure).fold(ends, |(low, high), value| (low.min(value), high.max(value)))
    };
    let shots = (0..matrix.shots.len()).map(|shot| range(&|row: &Row| row.shots[shot]));
    shots.chain([range(&|row: &Row| row.average)]).collect()
}

/// Titles of [`cells_of`], and whether they are numbers. What is compared comes first, so that narrow screens show
/// it.
fn columns(matrix: &Matrix, points: bool) -> Vec<(String, bool)> {
    let mut columns: Vec<(String, bool)> = matrix.shots.iter().map(|shot| (shot_title(shot), true)).collect();
    let figures = [
        ("average", true),
        ("95 % interval", true),
        ("vs baseline", true),
        ("its interval", true),
        ("p (Holm)", true),
        ("verdict", false),
        ("same", false),
        ("changed %", true),
        ("moved %", true),
        ("val_loss", true),
        ("KL", true),
        ("trainable", true),
    ];
    columns.extend(figures.map(|(title, numeric)| (title.to_owned(), numeric)));
    columns.extend(matrix.axes.iter().map(|axis| match axis.as_str() {
        "seed" if !points => ("seeds".to_owned(), true),
        _ => (axis.clone(), false),
    }));
    columns
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
    let mut cells: Cells = row.shots.iter().map(|score| share(*score, 1)).collect();
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

/// The cell of a table that switches a point's curves; a reference has none.
fn tick(index: usize, row: &Row, look: Option<Curve>) -> String {
    look.map_or_else(
        || "<td></td>".to_owned(),
        |look| {
            format!(
                "<td><input type=\"checkbox\" data-point=\"{index}\"{} aria-label=\"curves of {}\"></td>",
                if look.shown { " checked data-first" } else { "" },
                escape(&row.name)
            )
        },
    )
}

/// Explains the columns to those who see such a table for the first time.
const COLUMNS: &str = "<details><summary>What the columns mean</summary><dl>
<dt>Shot n, average</dt><dd>accuracy in percent with n demonstrations, and the mean of these</dd>
<dt>95 % interval</dt><dd>of the average, by bootstrap over the queries (and seeds)</dd>
<dt>vs baseline, its interval</dt><dd>difference to the baseline in points, query by query; an interval that holds 0 means that it may be noise</dd>
<dt>p (Holm)</dt><dd>probability of a difference at least as large without any true one, corrected for the number of rows</dd>
<dt>same</dt><dd>rows of a table with the same letter choose exactly the same demonstrations: they are one result, and one row that opens</dd>
<dt>changed %</dt><dd>share of queries and shot counts whose selection differs from the baseline's</dd>
<dt>moved %</dt><dd>relative change of all parameters in the last phase of training</dd>
<dt>val_loss, KL</dt><dd>of the last epoch; of a row that opens, from the lowest to the highest</dd>
<dt>trainable</dt><dd>parameters that were not frozen in the last phase</dd>
</dl></details>
";
