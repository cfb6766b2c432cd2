//! The page, and the short table, of two sweeps side by side.

use maud::{PreEscaped, html};
use serde_json::{Value, json};

use super::table::{Cell, Cells, Column, FILTER, Grid, Kind};
use super::{Frame, data};
use crate::report::columns::{self, Line, Table, percent, signed, verdict_text};
use crate::report::compare::{Before, Compared};
use crate::report::forest::forest;
use crate::report::matrix::Row;
use crate::report::notes;
use crate::report::stats::Interval;
use crate::report::svg::rounded;
use crate::text::plural;

/// The title of the difference.
const MOVED: &str = "moved";

/// What the page of a comparison is made from.
pub struct Comparison<'a> {
    pub compared: &'a Compared,
    /// Of each of the two, the command that shows the answers of the point that follows; nothing where there are none.
    pub commands: [Option<String>; 2],
}

impl Comparison<'_> {
    /// The whole file.
    pub fn html(&self) -> String {
        let Compared { matrix, names, only, .. } = self.compared;
        let figure = forest(matrix);
        let svg = figure.map(|figure| figure.svg.replace("Average against the baseline, points", TITLE));
        let missing = || names.iter().zip(only).filter(|(_, only)| !only.is_empty());
        let grid = self.grid();
        let main = html! {
            div id="picture" class="two" { "\n"
                @if let Some(svg) = svg {
                    section id="best" { h2 { "What moved?" } "\n"
                        div class="figures" { figure id="fig-forest" { (PreEscaped(svg)) } } "\n"
                        p class="soft" {
                            "Lines are 95 % intervals, paired over the queries that both have. Filled green is better than before, filled orange worse; hollow cannot be told apart once all comparisons are counted."
                        }
                    } "\n"
                }
                section id="findings" { h2 { "Findings" } "\n"
                    ul { "\n"
                        @for sentence in sentences(self.compared) { li { (sentence) } "\n" }
                    } "\n"
                    @for (name, only) in missing() {
                        details {
                            summary { (plural(only.len(), "point")) " only in " (name) }
                            p { (only.join(", ")) }
                        } "\n"
                    }
                } "\n"
            } "\n"
            section id="matrix" hidden[matrix.points.is_empty()] { h2 { "Points in both" } "\n"
                p class="control" { (FILTER) } "\n"
                (grid.html())
            } "\n"
        };
        let frame = Frame {
            title: &matrix.name,
            follow: None,
            headline: html! {
                p class="headline" { (headline(self.compared)) } "\n"
                p class="soft" { (sides(names)) } "\n"
            },
            links: vec![("picture", "Picture"), ("findings", "Findings"), ("matrix", "Points")],
        };
        frame.around(&main, &self.known(&grid))
    }

    fn known(&self, grid: &Grid) -> Value {
        let compared = self.compared;
        let rows = &compared.matrix.points;
        let mut known = data::of_rows(&compared.matrix);
        let commands = |(row, before): (&Row, &Before)| -> Vec<String> {
            let names = [&before.name, &row.name];
            let both = self.commands.iter().zip(names);
            both.filter_map(|(command, name)| Some(format!("{} --point {name}", command.as_ref()?))).collect()
        };
        if let Some(forest) = known.get_mut("forest") {
            data::merge(forest, json!({ "title": TITLE, "value": MOVED }));
        }
        let queries = rows.iter().find_map(|row| row.queries);
        data::merge(
            &mut known,
            json!({
                "tables": { "points": grid.data() },
                "columns": compared.columns,
                "queries": queries,
                "isLoss": compared.matrix.score_columns.is_empty(),
                "mapped": rows.iter().map(|row| row.average.map(|value| rounded(100.0 * value))).collect::<Vec<_>>(),
                "others": rows.iter().zip(&compared.before).map(commands).collect::<Vec<_>>(),
            }),
        );
        known
    }

    fn grid(&self) -> Grid<'_> {
        let compared = self.compared;
        let matrix = &compared.matrix;
        let titles = COLUMNS.iter().map(|(title, kind)| Column { title: (*title).to_owned(), kind: *kind });
        let axes = matrix.axes.iter().map(|axis| Column { title: axis.clone(), kind: Kind::Words });
        let cells = (0..matrix.points.len()).map(|index| {
            let figures = figures(compared, index).into_iter();
            let words = matrix.points[index].axes.iter().map(|axis| Cell::words(axis));
            figures
                .map(|(value, text)| match value {
                    Some(_) => Cell::figure(value, &text),
                    None => Cell::words(&text),
                })
                .chain(words)
                .collect::<Cells>()
        });
        Grid::with(matrix, "points", &matrix.points, titles.chain(axes).collect(), cells.collect())
    }
}

const TITLE: &str = "The second against the first, points";

const COLUMNS: [(&str, Kind); 9] = [
    ("first", Kind::Number),
    ("second", Kind::Number),
    (MOVED, Kind::Number),
    ("its interval", Kind::Number),
    ("p (Holm)", Kind::Number),
    ("verdict", Kind::Words),
    ("changed %", Kind::Number),
    ("val_loss, first", Kind::Number),
    ("val_loss, second", Kind::Number),
];

/// The cells under [`COLUMNS`]: figure and text.
fn figures(compared: &Compared, index: usize) -> [(Option<f64>, String); 9] {
    let (row, before) = (&compared.matrix.points[index], &compared.before[index]);
    let share = |value: Option<f64>, digits| (value, percent(value, digits).text);
    let loss = |value: Option<f64>| (value, value.map(|value| format!("{value:.4}")).unwrap_or_default());
    let between = |of: Interval| format!("{} to {}", signed(of.low, 1), signed(of.high, 1));
    [
        share(before.average, 2),
        share(row.average, 2),
        (row.delta, row.delta.map(|delta| signed(delta, 2)).unwrap_or_default()),
        (row.delta_interval.map(|of| of.low), row.delta_interval.map(between).unwrap_or_default()),
        (row.p_holm, row.p_holm.map(|p| format!("{p:.3}")).unwrap_or_default()),
        (None, verdict_text(row)),
        share(row.changed_share, 1),
        loss(before.val_loss),
        loss(row.val_loss),
    ]
}

fn sides([first, second]: &[String; 2]) -> String {
    format!("First: {first}. Second: {second}.")
}

fn headline(compared: &Compared) -> String {
    let [better, worse, same] = compared.counts();
    let all = compared.matrix.points.len();
    let paired = compared.matrix.points.iter().any(|row| row.delta_interval.is_some());
    match () {
        () if all == 0 => "No point is in both.".to_owned(),
        () if !paired => format!("{} in both; none can be compared query by query.", plural(all, "point")),
        () if same == all => format!("All {} choose exactly as before.", plural(all, "point")),
        () if better + worse == 0 => {
            format!("Of {} in both none moved further than noise.", plural(all, "point"))
        }
        () => format!("Of {} in both {better} got better and {worse} worse.", plural(all, "point")),
    }
}

/// What there is to say besides the points one by one.
fn sentences(compared: &Compared) -> Vec<String> {
    let mut found = Vec::new();
    if let Some((delta, interval, p)) = compared.together {
        found.push(format!(
            "All points in both together: {} points [{}, {}], p = {p:.3}, over {} queries.",
            signed(delta, 2),
            signed(interval.low, 2),
            signed(interval.high, 2),
            compared.matrix.points.iter().find_map(|row| row.queries).unwrap_or_default()
        ));
        let [_, _, same] = compared.counts();
        found.push(format!(
            "{same} of {} choose exactly as before.",
            plural(compared.matrix.points.len(), "point")
        ));
    }
    let rows = compared.matrix.points.iter().zip(&compared.before);
    let is_bare = |(row, before): &(&Row, &Before)| row.average.is_some() != before.average.is_some();
    match rows.filter(is_bare).count() {
        0 => {}
        bare => found.push(format!("{} in both have been evaluated in one only.", plural(bare, "point"))),
    }
    for (name, only) in compared.names.iter().zip(&compared.only).filter(|(_, only)| !only.is_empty()) {
        let names: Vec<&str> = only.iter().map(String::as_str).collect();
        found.push(format!("{} only in {name}: {}.", plural(only.len(), "point"), notes::list(&names)));
    }
    found.extend(compared.remarks.iter().cloned());
    found
}

impl Compared {
    /// The comparison as a table, those that moved furthest first; of many points no more than `most`.
    pub fn table(&self, most: Option<usize>) -> Table {
        let rows = &self.matrix.points;
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let moved = |index: usize| rows[index].delta.map_or(-1.0, f64::abs);
        let p = |index: usize| rows[index].p_holm.unwrap_or(1.0);
        order.sort_by(|&a, &b| p(a).total_cmp(&p(b)).then(moved(b).total_cmp(&moved(a))));
        let shown = &order[..most.unwrap_or(order.len()).min(order.len())];
        let used: Vec<usize> = (0..COLUMNS.len())
            .filter(|&column| {
                rows.iter().enumerate().any(|(index, _)| !figures(self, index)[column].1.is_empty())
            })
            .collect();
        let column = |&column: &usize| columns::Column {
            title: COLUMNS[column].0.to_owned(),
            numeric: COLUMNS[column].1 != Kind::Words,
        };
        let name = columns::Column { title: "point".to_owned(), numeric: false };
        let line = |&index: &usize| {
            let cells = figures(self, index);
            let cell = |&column: &usize| {
                let (value, text) = cells[column].clone();
                // Of an interval the text is both ends.
                let value = value.filter(|_| COLUMNS[column].0 != "its interval");
                columns::Cell { value, ..columns::Cell::text(text) }
            };
            let before = &self.before[index].name;
            let name = &rows[index].name;
            let name = if before == name { name.clone() } else { format!("{name} ({before})") };
            Line {
                cells: [columns::Cell::text(name)].into_iter().chain(used.iter().map(cell)).collect(),
                reference: false,
            }
        };
        let mut notes = vec![headline(self), sides(&self.names)];
        notes.extend(sentences(self));
        if shown.len() < rows.len() {
            notes.push(format!("{} of {} are shown.", shown.len(), plural(rows.len(), "point")));
        }
        Table {
            title: self.matrix.name.clone(),
            columns: [name].into_iter().chain(used.iter().map(column)).collect(),
            rows: shown.iter().map(line).collect(),
            notes,
        }
    }
}
