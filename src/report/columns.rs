//! [`Matrix`] -> [`Table`]: which rows and columns people see, with which texts.

use super::matrix::{Matrix, Row, RowStatus, Verdict};
use super::notes;
pub use super::words::{Detail, signed};
use super::words::{only_score, unsigned_zero};
use crate::text::{capitalized, thousands};

/// A table as people read it, before it becomes Markdown, LaTeX, HTML or a terminal's boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    pub title: String,
    pub columns: Vec<Column>,
    pub rows: Vec<Line>,
    /// Sentences below the table.
    pub notes: Vec<String>,
}

/// One column of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub title: String,
    /// Numbers are aligned to the right.
    pub numeric: bool,
}

/// One row of a [`Table`].
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    pub cells: Vec<Cell>,
    /// A reference policy, set apart from what was trained.
    pub reference: bool,
}

/// One cell of a [`Table`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    pub text: String,
    /// The figure behind the text, for JSON and CSV.
    pub value: Option<f64>,
    /// Best of its column.
    pub best: bool,
}

impl Cell {
    /// A cell that is only text.
    pub fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }
}

/// What a table shows.
#[derive(Clone, Debug)]
pub struct LayoutOptions {
    /// One row per point, even where several seeds could be averaged.
    pub every_point: bool,
    /// A column per axis that varies among the rows, instead of the configuration's name.
    pub axis_columns: bool,
    /// A first column with the first axis: the sweep, in a table of several.
    pub sweep_column: bool,
    /// Decimals of accuracies in percent; averages and differences have one more.
    pub precision: usize,
    pub notes: bool,
    /// How much a row says: narrow terminals get less.
    pub detail: Detail,
}

impl Default for LayoutOptions {
    fn default() -> Self {
        Self {
            every_point: false,
            axis_columns: false,
            sweep_column: false,
            precision: 1,
            notes: true,
            detail: Detail::Full,
        }
    }
}

impl Detail {
    /// From the most to the least.
    pub const ALL: [Detail; 4] = [Self::Full, Self::Signs, Self::Short, Self::Narrow];
}

/// Lays out the lab's table: configuration, accuracy per score, average, difference to the baseline.
pub fn layout(matrix: &Matrix, options: &LayoutOptions) -> Table {
    let rows = if options.every_point { &matrix.points } else { matrix.main_rows() };
    layout_rows(matrix, rows, options)
}

/// The most detailed table of `lay_out` whose rows fit `width` columns; the narrowest if none does.
pub fn fitting(width: u16, lay_out: impl Fn(Detail) -> Table) -> Table {
    let fits = |table: &Table| table.terminal_width() <= usize::from(width);
    Detail::ALL.into_iter().map(&lay_out).find(fits).unwrap_or_else(|| lay_out(Detail::Narrow))
}

/// [`layout`] of chosen rows of the matrix.
pub fn layout_rows(matrix: &Matrix, rows: &[Row], options: &LayoutOptions) -> Table {
    let shown: Vec<&Row> = rows.iter().chain(&matrix.references).collect();
    let columns = visible_columns(matrix, rows, options);
    let mut table = Table {
        title: matrix.name.clone(),
        columns: columns.iter().map(|column| column.head(matrix, options.detail)).collect(),
        rows: shown
            .iter()
            .map(|row| Line {
                cells: columns.iter().map(|column| column.cell(row, options)).collect(),
                reference: row.status == RowStatus::Reference,
            })
            .collect(),
        // Those of several sweeps are told one by one, see `merged_notes`.
        notes: if options.notes && !options.sweep_column {
            notes::notes(matrix, rows, options.detail)
        } else {
            Vec::new()
        },
    };
    for (index, column) in columns.iter().enumerate() {
        if let Some(larger) = column.larger_is_better() {
            mark_best(&mut table, index, larger);
        }
    }
    if options.notes && options.detail > Detail::Full && columns.contains(&Kind::Verdict) {
        table.notes.insert(0, SIGNS.to_owned());
    }
    table
}

/// The signs of [`Detail::Signs`].
pub(super) const SIGNS: &str =
    "Against the baseline: + better, - worse, ~ cannot be told apart, = chooses the same.";

/// A column that tables may have.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Name,
    Axis(usize),
    Seeds,
    Score(usize),
    Average,
    Delta,
    Verdict,
    ValLoss,
    Trainable,
    Movement,
    Identical,
}

fn visible_columns(matrix: &Matrix, rows: &[Row], options: &LayoutOptions) -> Vec<Kind> {
    let mut columns = Vec::new();
    let varies = |axis: usize| {
        let first = rows.first().and_then(|row| row.axes.get(axis));
        rows.iter().any(|row| row.axes.get(axis) != first)
    };
    if options.sweep_column && !options.axis_columns {
        columns.push(Kind::Axis(0));
    }
    if options.axis_columns {
        columns.extend((0..matrix.axes.len()).filter(|&axis| varies(axis)).map(Kind::Axis));
    }
    if columns.is_empty() || (options.sweep_column && !options.axis_columns) {
        columns.push(Kind::Name);
    }
    if options.detail < Detail::Narrow && rows.iter().any(|row| row.seeds > 1) {
        columns.push(Kind::Seeds);
    }
    if only_score(&matrix.score_columns).is_none() {
        columns.extend((0..matrix.score_columns.len()).map(Kind::Score));
    }
    if !matrix.score_columns.is_empty() {
        columns.push(Kind::Average);
    }
    if rows.iter().any(|row| row.delta.is_some()) {
        columns.extend([Kind::Delta, Kind::Verdict]);
    }
    if matrix.score_columns.is_empty() {
        // Without evaluation, what the points can be compared by is the validation loss.
        columns.extend([Kind::ValLoss, Kind::Trainable]);
        if rows.iter().any(|row| row.movement.is_some()) {
            columns.push(Kind::Movement);
        }
    }
    if rows.iter().any(|row| row.identical.is_some()) {
        columns.push(Kind::Identical);
    }
    columns
}

impl Kind {
    fn head(self, matrix: &Matrix, detail: Detail) -> Column {
        let title = match self {
            Self::Name => "configuration".to_owned(),
            Self::Axis(axis) => matrix.axes[axis].clone(),
            Self::Seeds => "seeds".to_owned(),
            Self::Score(score) if detail >= Detail::Short => {
                initial(&column_title(&matrix.score_columns[score]))
            }
            Self::Score(score) => column_title(&matrix.score_columns[score]),
            Self::Average => match only_score(&matrix.score_columns) {
                Some(only) => column_title(only),
                None if detail == Detail::Narrow => "avg".to_owned(),
                None => "average".to_owned(),
            },
            Self::Delta if detail == Detail::Narrow => "vs base".to_owned(),
            Self::Delta => "vs baseline".to_owned(),
            Self::Verdict if detail > Detail::Full => String::new(),
            Self::Verdict => "verdict".to_owned(),
            Self::ValLoss => "val_loss".to_owned(),
            Self::Trainable => "trainable".to_owned(),
            Self::Movement => "moved".to_owned(),
            Self::Identical if detail == Detail::Narrow => String::new(),
            Self::Identical => "same".to_owned(),
        };
        let numeric = match self {
            Self::Name | Self::Verdict | Self::Identical => false,
            Self::Axis(axis) => matrix.values(axis).iter().all(|value| value.parse::<f64>().is_ok()),
            _ => true,
        };
        Column { title, numeric }
    }

    fn cell(self, row: &Row, options: &LayoutOptions) -> Cell {
        let LayoutOptions { precision, detail, .. } = *options;
        match self {
            Self::Name => Cell::text(&row.name),
            Self::Axis(0) if row.status == RowStatus::Reference && !options.sweep_column => {
                Cell::text(&row.name)
            }
            Self::Axis(axis) => Cell::text(row.axes.get(axis).cloned().unwrap_or_default()),
            Self::Seeds if row.seeds > 0 => {
                Cell { value: Some(row.seeds as f64), ..Cell::text(row.seeds.to_string()) }
            }
            Self::Seeds => Cell::default(),
            Self::Score(score) => percent(row.scores.get(score).copied().flatten(), precision),
            Self::Average if detail == Detail::Narrow => percent(row.average, precision + 1),
            Self::Average => average(row, precision + 1),
            Self::Delta if detail == Detail::Narrow && row.is_baseline => Cell::text("base"),
            Self::Delta => delta(row, precision + 1, detail < Detail::Short),
            Self::Verdict if detail > Detail::Full => Cell::text(verdict_sign(row)),
            Self::Verdict => Cell::text(verdict_text(row)),
            Self::ValLoss => number(row.val_loss, 4),
            Self::Trainable => trainable(row),
            Self::Movement => percent(row.movement, 3),
            Self::Identical => Cell::text(row.identical.clone().unwrap_or_default()),
        }
    }

    fn larger_is_better(self) -> Option<bool> {
        match self {
            Self::Score(_) | Self::Average => Some(true),
            Self::ValLoss => Some(false),
            _ => None,
        }
    }
}

/// `Shot 2` -> `S2`; other titles stay what they are.
fn initial(title: &str) -> String {
    let first = title.chars().next();
    let short = title.split_once(' ').filter(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
    short.zip(first).map_or_else(|| title.to_owned(), |((_, rest), first)| format!("{first}{rest}"))
}

/// `shot_2@200` -> `Shot 2 (200)`
pub fn column_title(column: &str) -> String {
    let (name, samples) = column.split_once('@').map_or((column, None), |(name, count)| (name, Some(count)));
    // As the experiment calls it: `shot_2` is `Shot 2`.
    let title = capitalized(&name.replace('_', " "));
    match samples {
        Some(samples) => format!("{title} ({samples})"),
        None => title,
    }
}

/// A fraction as percent with `precision` decimals; empty for nothing.
pub fn percent(value: Option<f64>, precision: usize) -> Cell {
    number(value.map(|value| 100.0 * value), precision).with_value(value)
}

fn number(value: Option<f64>, precision: usize) -> Cell {
    match value {
        Some(number) => {
            Cell { value, ..Cell::text(format!("{:.precision$}", unsigned_zero(number, precision))) }
        }
        None => Cell::default(),
    }
}

impl Cell {
    fn with_value(mut self, value: Option<f64>) -> Self {
        self.value = value;
        self
    }
}

fn average(row: &Row, precision: usize) -> Cell {
    let mut cell = percent(row.average, precision);
    if row.seeds > 1
        && let Some(interval) = row.average_interval
    {
        let half = 50.0 * (interval.high - interval.low);
        cell.text = format!("{} ± {half:.1}", cell.text);
    }
    cell
}

fn delta(row: &Row, precision: usize, with_interval: bool) -> Cell {
    if row.is_baseline {
        return Cell { value: row.delta, ..Cell::text("baseline") };
    }
    let Some(delta) = row.delta else { return Cell::default() };
    let mut text = signed(delta, precision);
    if let Some(interval) = row.delta_interval.filter(|_| with_interval) {
        text += &format!(" [{}, {}]", signed(interval.low, 1), signed(interval.high, 1));
    }
    Cell { value: row.delta, ..Cell::text(text) }
}

/// The verdict of a row in words; a row without results says why.
pub fn verdict_text(row: &Row) -> String {
    match row.status {
        RowStatus::Failed | RowStatus::Infeasible | RowStatus::Pending => row.status.name().to_owned(),
        RowStatus::Done | RowStatus::Reference => match row.verdict() {
            Verdict::Baseline | Verdict::Unknown => String::new(),
            Verdict::Same => "identical".to_owned(),
            Verdict::Better => "better".to_owned(),
            Verdict::Worse => "worse".to_owned(),
            Verdict::Unclear => "cannot tell".to_owned(),
        },
    }
}

fn verdict_sign(row: &Row) -> &'static str {
    match row.status {
        RowStatus::Failed | RowStatus::Infeasible | RowStatus::Pending => row.status.name(),
        RowStatus::Done | RowStatus::Reference => match row.verdict() {
            Verdict::Baseline | Verdict::Unknown => "",
            Verdict::Same => "=",
            Verdict::Better => "+",
            Verdict::Worse => "-",
            Verdict::Unclear => "~",
        },
    }
}

fn trainable(row: &Row) -> Cell {
    match (row.trainable, row.total) {
        (Some(trainable), Some(total)) if total > 0 => {
            let share = 100.0 * trainable as f64 / total as f64;
            Cell {
                value: Some(trainable as f64),
                ..Cell::text(format!("{} ({share:.1}%)", thousands(trainable)))
            }
        }
        _ => Cell::default(),
    }
}

/// Marks every trained row that shows the best figure of a column. References only frame the range.
fn mark_best(table: &mut Table, column: usize, larger: bool) {
    let candidates = table.rows.iter().filter(|line| !line.reference);
    let values = candidates.filter_map(|line| line.cells[column].value);
    let best = if larger { values.reduce(f64::max) } else { values.reduce(f64::min) };
    let Some(best) = best else { return };
    for line in table.rows.iter_mut().filter(|line| !line.reference) {
        let cell = &mut line.cells[column];
        cell.best = cell.value.is_some_and(|value| (value - best).abs() < 1e-12);
    }
}
