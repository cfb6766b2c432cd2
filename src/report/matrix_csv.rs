//! `matrix.csv` and `configurations.csv`: the matrix as tidy rows, and back.
//!
//! The files hold every figure of a table, so that tables of large or pruned sweeps need nothing else.

use std::collections::HashMap;

use super::matrix::{Comparisons, Matrix, Row, RowStatus};
use super::stats::Interval;
use super::words::names;

/// Columns between the axes and the scores.
const STATUS: &str = "status";
/// Columns after the scores, in order; later versions add at the end.
const FIGURES: [&str; 16] = [
    "average",
    "delta",
    "trainable",
    "total",
    "val_loss",
    "kl",
    "delta_low",
    "delta_high",
    "p_value",
    "p_holm",
    "average_low",
    "average_high",
    "identical",
    "changed_share",
    "seeds",
    "movement",
];
/// The last column, where some of a judge's answers are missing.
const UNANSWERED: &str = "unanswered";
/// Columns after the movement per group.
const LAST: [&str; 6] = ["queries", "more_queries", "more_seeds", "baseline", "warning", "error"];

/// Why a matrix file cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum MatrixFileError {
    #[error("not a CSV file: {0}")]
    Csv(#[from] csv::Error),
    #[error("column `{0}` is missing")]
    Missing(&'static str),
    #[error("line {line}: `{value}` is not a value of column `{column}`")]
    Value { line: usize, column: String, value: String },
}

impl Matrix {
    /// `matrix.csv`: one row per point in grid order, then the reference rows. Full precision, empty where
    /// there is no figure, the same bytes on every machine.
    pub fn to_csv(&self) -> Vec<u8> {
        self.rows_csv("point", self.points.iter().chain(&self.references))
    }

    /// `configurations.csv`: the rows averaged over seeds, in the columns of `matrix.csv`; `None` unless the
    /// seed is an axis.
    pub fn configurations_csv(&self) -> Option<Vec<u8>> {
        (!self.configurations.is_empty()).then(|| self.rows_csv("configuration", self.configurations.iter()))
    }

    /// `rows` of this matrix, and its references, in the columns of `matrix.csv`.
    pub fn csv_of(&self, rows: &[Row]) -> Vec<u8> {
        self.rows_csv("point", rows.iter().chain(&self.references))
    }

    /// The same as JSON: one object per row, without the keys that have no value.
    pub fn json_of(&self, rows: &[Row]) -> serde_json::Value {
        let header = self.header("point");
        let objects: Vec<serde_json::Value> = rows
            .iter()
            .chain(&self.references)
            .map(|row| {
                let cells = header.iter().zip(self.record(row)).filter(|(_, text)| !text.is_empty());
                let object: serde_json::Map<_, _> = cells
                    .enumerate()
                    .map(|(index, (key, text))| (key.clone(), json_value(index == 0, text)))
                    .collect();
                serde_json::Value::Object(object)
            })
            .collect();
        let scores = format!("{}s", names(&self.score_columns).field);
        serde_json::json!({ "sweep": self.name, "axes": self.axes, scores: self.score_columns, "rows": objects })
    }

    fn rows_csv<'a>(&'a self, first: &str, rows: impl Iterator<Item = &'a Row>) -> Vec<u8> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        let impossible = "writing to memory does not fail";
        writer.write_record(self.header(first)).expect(impossible);
        for row in rows {
            writer.write_record(self.record(row)).expect(impossible);
        }
        writer.into_inner().expect(impossible)
    }

    fn header(&self, first: &str) -> Vec<String> {
        let mut header = vec![first.to_owned()];
        header.extend(self.axes.iter().cloned());
        header.push(STATUS.to_owned());
        header.extend(self.score_columns.iter().cloned());
        header.extend(FIGURES.iter().filter(|name| self.has(name)).map(|&name| name.to_owned()));
        header.extend(self.groups.iter().map(|group| format!("{MOVEMENT}{group}")));
        header.extend(LAST.map(str::to_owned));
        if self.lacks_answers() {
            header.push(UNANSWERED.to_owned());
        }
        header
    }

    /// Whether there is a column for the figure `name`. A model without groups of parameters has the divergence only
    /// where one of its points has it.
    fn has(&self, name: &str) -> bool {
        name != "kl" || !self.groups.is_empty() || self.points.iter().any(|row| row.kl.is_some())
    }

    /// Only then is there a column for it: other matrices stay as they were.
    fn lacks_answers(&self) -> bool {
        self.points.iter().chain(&self.configurations).any(|row| row.unanswered > 0)
    }

    fn record(&self, row: &Row) -> Vec<String> {
        let mut record = vec![row.name.clone()];
        record.extend(row.axes.iter().cloned());
        record.push(row.status.name().to_owned());
        record.extend(row.scores.iter().map(|score| text(*score)));
        let (delta, average) = (row.delta_interval, row.average_interval);
        let figures = [
            text(row.average),
            text(row.delta),
            text(row.trainable),
            text(row.total),
            text(row.val_loss),
            text(row.kl),
            text(delta.map(|interval| interval.low)),
            text(delta.map(|interval| interval.high)),
            text(row.p_value),
            text(row.p_holm),
            text(average.map(|interval| interval.low)),
            text(average.map(|interval| interval.high)),
            text(row.identical.as_deref()),
            text(row.changed_share),
            text(Some(row.seeds).filter(|_| row.status != RowStatus::Reference)),
            text(row.movement),
        ];
        record.extend(FIGURES.iter().zip(figures).filter(|(name, _)| self.has(name)).map(|(_, text)| text));
        record.extend(row.group_movement.iter().map(|share| text(*share)));
        record.extend([
            text(row.queries),
            text(row.more_queries),
            text(row.more_seeds),
            text(row.is_baseline.then_some("true")),
            text(row.warning.as_deref()),
            text(row.error.as_deref().map(|error| error.replace('\n', " ")).as_deref()),
        ]);
        if self.lacks_answers() {
            record.push(text(Some(row.unanswered).filter(|count| *count > 0)));
        }
        record
    }

    /// Reads back what [`Matrix::to_csv`] and [`Matrix::configurations_csv`] wrote.
    ///
    /// # Errors
    /// Text that is no CSV, a missing column, a cell that is no value of its column.
    pub fn from_csv(
        name: &str,
        points: &[u8],
        configurations: Option<&[u8]>,
    ) -> Result<Self, MatrixFileError> {
        let Read { axes, score_columns, groups, rows } = read_rows(points)?;
        let configurations =
            configurations.map_or(Ok(Vec::new()), |bytes| read_rows(bytes).map(|read| read.rows));
        let (references, points): (Vec<Row>, Vec<Row>) =
            rows.into_iter().partition(|row| row.status == RowStatus::Reference);
        let configurations: Vec<Row> = configurations?;
        Ok(Self {
            comparisons: Comparisons::count(&points, &configurations),
            name: name.to_owned(),
            axes,
            score_columns,
            groups,
            points,
            configurations,
            references,
            judge: None,
        })
    }
}

/// A cell as a JSON number or boolean where it reads as one; names stay text.
fn json_value(is_name: bool, text: String) -> serde_json::Value {
    match serde_json::from_str(&text) {
        Ok(value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_))) if !is_name => value,
        _ => serde_json::Value::String(text),
    }
}

/// What the column of a group's movement is called, before the group.
const MOVEMENT: &str = "movement_";

/// The shortest text that reads back as the same value; empty for nothing.
fn text<T: ToString>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// What one file holds.
struct Read {
    axes: Vec<String>,
    score_columns: Vec<String>,
    groups: Vec<String>,
    rows: Vec<Row>,
}

fn read_rows(bytes: &[u8]) -> Result<Read, MatrixFileError> {
    let mut reader = csv::Reader::from_reader(bytes);
    let header: Vec<String> = reader.headers()?.iter().map(str::to_owned).collect();
    let status = header.iter().position(|name| name == STATUS).ok_or(MatrixFileError::Missing(STATUS))?;
    let average =
        header.iter().position(|name| name == "average").ok_or(MatrixFileError::Missing("average"))?;
    if status == 0 || average <= status {
        return Err(MatrixFileError::Missing("point"));
    }
    let place: HashMap<&str, usize> =
        header.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
    let groups: Vec<String> =
        header.iter().filter_map(|name| name.strip_prefix(MOVEMENT)).map(str::to_owned).collect();
    let mut rows = Vec::new();
    for (index, record) in reader.records().enumerate() {
        let cells = Cells { record: record?, place: &place, line: index + 2 };
        rows.push(cells.row(status, average, &groups)?);
    }
    Ok(Read {
        axes: header[1..status].to_vec(),
        score_columns: header[status + 1..average].to_vec(),
        groups,
        rows,
    })
}

/// One line of the file by column name.
struct Cells<'a> {
    record: csv::StringRecord,
    place: &'a HashMap<&'a str, usize>,
    line: usize,
}

impl Cells<'_> {
    fn row(&self, status: usize, average: usize, groups: &[String]) -> Result<Row, MatrixFileError> {
        let cell = |index: usize| self.record.get(index).unwrap_or_default();
        let state = RowStatus::parse(cell(status)).ok_or_else(|| self.wrong(STATUS, cell(status)))?;
        let mut row = Row::named(cell(0), state);
        row.axes = (1..status).map(|index| cell(index).to_owned()).collect();
        row.scores = (status + 1..average)
            .map(|index| parse(cell(index)).map_err(|()| self.wrong("score", cell(index))))
            .collect::<Result<_, _>>()?;
        row.average = self.get("average")?;
        row.delta = self.get("delta")?;
        row.trainable = self.get("trainable")?;
        row.total = self.get("total")?;
        row.val_loss = self.get("val_loss")?;
        row.kl = self.get("kl")?;
        row.delta_interval = self.interval("delta_low", "delta_high")?;
        row.p_value = self.get("p_value")?;
        row.p_holm = self.get("p_holm")?;
        row.average_interval = self.interval("average_low", "average_high")?;
        row.identical = self.get("identical")?;
        row.changed_share = self.get("changed_share")?;
        row.seeds = self.get("seeds")?.unwrap_or(0);
        row.movement = self.get("movement")?;
        row.group_movement =
            groups.iter().map(|group| self.get(&format!("{MOVEMENT}{group}"))).collect::<Result<_, _>>()?;
        row.queries = self.get("queries")?;
        row.more_queries = self.get("more_queries")?;
        row.more_seeds = self.get("more_seeds")?;
        row.is_baseline = self.get("baseline")?.unwrap_or(false);
        row.warning = self.get("warning")?;
        row.error = self.get("error")?;
        row.unanswered = self.get(UNANSWERED)?.unwrap_or(0);
        Ok(row)
    }

    /// The cell in `column`; `None` where it is empty, or where an older file has no such column.
    fn get<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, MatrixFileError> {
        let value = self.place.get(column).and_then(|&index| self.record.get(index)).unwrap_or_default();
        parse(value).map_err(|()| self.wrong(column, value))
    }

    fn interval(&self, low: &str, high: &str) -> Result<Option<Interval>, MatrixFileError> {
        Ok(self.get(low)?.zip(self.get(high)?).map(|(low, high)| Interval { low, high }))
    }

    fn wrong(&self, column: &str, value: &str) -> MatrixFileError {
        MatrixFileError::Value { line: self.line, column: column.to_owned(), value: value.to_owned() }
    }
}

fn parse<T: std::str::FromStr>(value: &str) -> Result<Option<T>, ()> {
    if value.is_empty() { Ok(None) } else { value.parse().map(Some).map_err(|_| ()) }
}
