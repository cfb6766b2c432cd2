//! Choosing rows and figures by name: conditions, metrics, another baseline.

use std::cmp::Ordering;

use super::axes::{AxisLabels, axis_text, configuration_name};
use super::columns::{Cell, percent, signed};
use super::error::{ReportError, did_you_mean};
use super::matrix::{Matrix, Row};
use crate::spec::{condition, split_conditions};
use crate::store::SweepResults;

/// `key=value`: the rows of which something is asked. The grammar is that of `--where` on a sweep file.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub key: String,
    /// Any of them will do; as tables show them.
    pub values: Vec<String>,
}

impl Condition {
    /// Parses `kl_beta=0.15`; keys may be dotted, or in the lab's capitals. What this program's keys cannot read is taken
    /// as it stands, for results of other versions.
    ///
    /// # Errors
    /// Text without `=`.
    pub fn parse(text: &str) -> Result<Self, ReportError> {
        if let Some((key, values)) = condition(text) {
            let values = values.iter().map(|value| axis_text(&key, value)).collect();
            return Ok(Self { key, values });
        }
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let value = value.trim().trim_matches('"').to_owned();
                Ok(Self { key: key.trim().to_lowercase(), values: vec![value] })
            }
            _ => Err(ReportError::NotCondition(text.to_owned())),
        }
    }

    fn holds(&self, text: &str) -> bool {
        self.values.iter().any(|value| is_value(text, value))
    }
}

/// Whether `wanted` means the value shown as `text`: numbers by their value, paths by their ends.
fn is_value(text: &str, wanted: &str) -> bool {
    let number = || matches!((text.parse::<f64>(), wanted.parse::<f64>()), (Ok(a), Ok(b)) if a == b);
    let path = || !text.is_empty() && wanted.contains('/') && std::path::Path::new(wanted).ends_with(text);
    text == wanted || number() || path()
}

impl Matrix {
    /// Index of the axis called `key` (bare or dotted).
    ///
    /// # Errors
    /// A key that is no axis, with the closest one.
    pub fn axis(&self, key: &str) -> Result<usize, ReportError> {
        find_axis(&self.axes, key, &self.name)
    }

    /// Keeps the rows that satisfy `conditions`: values of one key are alternatives, keys must all agree.
    /// Reference rows stay.
    ///
    /// # Errors
    /// Unknown keys, values that no row has, conditions that exclude every row.
    pub fn keep(&mut self, conditions: &[Condition]) -> Result<(), ReportError> {
        let columns: Vec<usize> =
            conditions.iter().map(|condition| self.axis(&condition.key)).collect::<Result<_, _>>()?;
        for (condition, &column) in conditions.iter().zip(&columns) {
            let unknown =
                |wanted: &&String| !self.points.iter().any(|row| is_value(&row.axes[column], wanted));
            if let Some(value) = condition.values.iter().find(unknown) {
                return Err(ReportError::UnknownValue {
                    sweep: self.name.clone(),
                    key: self.axes[column].clone(),
                    value: value.clone(),
                    values: self.values(column).join(", "),
                });
            }
        }
        let wanted = |row: &Row| {
            columns.iter().all(|column| {
                let alternatives = conditions.iter().zip(&columns).filter(|(_, other)| *other == column);
                alternatives.into_iter().any(|(condition, _)| condition.holds(&row.axes[*column]))
            })
        };
        self.points.retain(wanted);
        // A configuration has no seed of its own: it stays when one of its points does.
        let left: Vec<&Row> = self.points.iter().collect();
        self.configurations.retain(|row| {
            left.iter().any(|point| {
                row.axes.iter().zip(&point.axes).all(|(text, other)| text.is_empty() || text == other)
            })
        });
        if self.points.is_empty() { Err(ReportError::NothingSelected(self.name.clone())) } else { Ok(()) }
    }

    /// Values of an axis in order of appearance.
    pub fn values(&self, axis: usize) -> Vec<String> {
        let mut values: Vec<String> = Vec::new();
        for row in &self.points {
            if !values.contains(&row.axes[axis]) {
                values.push(row.axes[axis].clone());
            }
        }
        values
    }
}

fn find_axis(axes: &[String], key: &str, sweep: &str) -> Result<usize, ReportError> {
    let bare = key.rsplit('.').next().unwrap_or(key);
    let exact = axes.iter().position(|axis| axis == key);
    exact.or_else(|| axes.iter().position(|axis| axis == bare)).ok_or_else(|| ReportError::UnknownAxis {
        key: key.to_owned(),
        sweep: sweep.to_owned(),
        axes: if axes.is_empty() { "none".to_owned() } else { axes.join(", ") },
        hint: did_you_mean(bare, axes.iter().map(String::as_str)),
    })
}

/// A figure of a row that tables can be sorted by, or show in a pivot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Average,
    /// Index into [`Matrix::score_columns`].
    Score(usize),
    Delta,
    ValLoss,
    Kl,
    Movement,
    ChangedShare,
    PValue,
}

impl Metric {
    const FIXED: [(&'static str, Metric); 7] = [
        ("average", Self::Average),
        ("delta", Self::Delta),
        ("val_loss", Self::ValLoss),
        ("kl", Self::Kl),
        ("movement", Self::Movement),
        ("changed_share", Self::ChangedShare),
        ("p_holm", Self::PValue),
    ];

    /// The metric called `name`, as the column of `matrix.csv` is.
    ///
    /// # Errors
    /// A name that is no such column.
    pub fn parse(name: &str, matrix: &Matrix) -> Result<Self, ReportError> {
        if let Some(column) = matrix.score_columns.iter().position(|column| column == name) {
            return Ok(Self::Score(column));
        }
        Self::FIXED.into_iter().find(|(known, _)| *known == name).map(|(_, metric)| metric).ok_or_else(|| {
            let fixed = Self::FIXED.iter().map(|(known, _)| (*known).to_owned());
            let known: Vec<String> = matrix.score_columns.iter().cloned().chain(fixed).collect();
            ReportError::UnknownMetric { name: name.to_owned(), known: known.join(", ") }
        })
    }

    /// What rows are compared by when nobody says otherwise: accuracy, or val_loss without evaluation.
    pub fn default_of(matrix: &Matrix) -> Self {
        if matrix.score_columns.is_empty() { Self::ValLoss } else { Self::Average }
    }

    /// The figure of `row`.
    pub fn of(self, row: &Row) -> Option<f64> {
        match self {
            Self::Average => row.average,
            Self::Score(column) => row.scores.get(column).copied().flatten(),
            Self::Delta => row.delta,
            Self::ValLoss => row.val_loss,
            Self::Kl => row.kl,
            Self::Movement => row.movement,
            Self::ChangedShare => row.changed_share,
            Self::PValue => row.p_holm,
        }
    }

    /// Whether large values are good.
    pub fn larger_is_better(self) -> bool {
        !matches!(self, Self::ValLoss | Self::Kl | Self::PValue)
    }

    /// Name of the column in `matrix.csv`.
    pub fn name(self, matrix: &Matrix) -> String {
        match self {
            Self::Score(column) => matrix.score_columns[column].clone(),
            _ => {
                Self::FIXED.iter().find(|(_, metric)| *metric == self).map_or("", |(name, _)| name).to_owned()
            }
        }
    }

    /// The figure as text: percent for shares, plain numbers otherwise.
    pub fn cell(self, value: Option<f64>, precision: usize) -> Cell {
        match (self, value) {
            (_, None) => Cell::default(),
            (Self::Average, _) => percent(value, precision + 1),
            (Self::Score(_) | Self::ChangedShare, _) => percent(value, precision),
            (Self::Movement, _) => percent(value, 3),
            (Self::Delta, Some(delta)) => Cell { value, ..Cell::text(signed(delta, precision + 1)) },
            (Self::ValLoss | Self::Kl | Self::PValue, Some(figure)) => {
                Cell { value, ..Cell::text(format!("{figure:.4}")) }
            }
        }
    }

    /// Sorts rows from best to worst; rows without the figure come last, ties stay in order.
    pub fn sort(self, rows: &mut [Row]) {
        rows.sort_by(|a, b| self.order(a, b));
    }

    /// The better row is the lesser one; a row without the figure is the greatest.
    pub fn order(self, a: &Row, b: &Row) -> Ordering {
        match (self.of(a), self.of(b)) {
            (Some(a), Some(b)) if self.larger_is_better() => b.total_cmp(&a),
            (Some(a), Some(b)) => a.total_cmp(&b),
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    }
}

/// Makes the points that `text` names (see [`points_named`]) the baseline of `results`. The seed may be left open: every
/// seed is then compared with its own.
///
/// # Errors
/// As [`points_named`].
pub fn set_baseline(results: &mut SweepResults, text: &str) -> Result<(), ReportError> {
    results.baseline = points_named(results, text)?;
    Ok(())
}

/// The point that `text` names (see [`points_named`]).
///
/// # Errors
/// As [`points_named`], and where several seeds are left.
pub fn point_named(results: &SweepResults, text: &str) -> Result<usize, ReportError> {
    match points_named(results, text)?[..] {
        [point] => Ok(point),
        ref several => Err(ReportError::AmbiguousPoint {
            text: text.to_owned(),
            points: several.iter().map(|&at| results.points[at].name.as_str()).collect::<Vec<_>>().join(", "),
        }),
    }
}

/// The points that `text` names: a point or a configuration by its name, or `key=value,...`. Only the seed may be left
/// open.
///
/// # Errors
/// Unknown names, keys or values, conditions that leave more than the seed open.
pub fn points_named(results: &SweepResults, text: &str) -> Result<Vec<usize>, ReportError> {
    let all = 0..results.points.len();
    if !text.contains('=') {
        let named = |index: &usize| {
            let point = &results.points[*index];
            point.name == text || configuration_name(results, point) == text
        };
        // A point's own name comes before that of a configuration.
        let named: Vec<usize> = match all.clone().find(|index| results.points[*index].name == text) {
            Some(point) if configuration_name(results, &results.points[point]) != text => vec![point],
            _ => all.filter(named).collect(),
        };
        return if named.is_empty() { Err(ReportError::unknown_point(results, text)) } else { Ok(named) };
    }
    let names = AxisLabels::of(results).names;
    let mut given = Vec::new();
    let mut left: Vec<usize> = all.clone().collect();
    for condition in split_conditions(text) {
        let condition = Condition::parse(&condition)?;
        let axis = find_axis(&names, &condition.key, &results.name)?;
        let value = |index: usize| {
            let (key, value) = &results.points[index].axes[axis];
            axis_text(key, value)
        };
        let matching = |index: &usize| condition.holds(&value(*index));
        if !all.clone().any(|index| matching(&index)) {
            let mut values: Vec<String> = all.clone().map(value).collect();
            values.dedup();
            return Err(ReportError::UnknownValue {
                sweep: results.name.clone(),
                key: names[axis].clone(),
                value: condition.values.join(", "),
                values: values.join(", "),
            });
        }
        left.retain(matching);
        given.push(axis);
    }
    let open: Vec<&str> = (0..names.len())
        .filter(|axis| !given.contains(axis) && results.axes[*axis] != "train.seed")
        .map(|axis| names[axis].as_str())
        .collect();
    match left.len() {
        0 => Err(ReportError::NothingSelected(results.name.clone())),
        count if count == 1 || open.is_empty() => Ok(left),
        count => Err(ReportError::AmbiguousBaseline {
            text: text.to_owned(),
            sweep: results.name.clone(),
            count,
            missing: open.join(", "),
        }),
    }
}
