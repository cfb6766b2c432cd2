//! Two sweeps, or two states of one: the points that both have, and what moved.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use serde_json::Value;

use super::build::matrix;
use super::error::ReportError;
use super::groups;
use super::load::{load, stored};
use super::matrix::{Comparisons, Matrix, MatrixOptions, Row, RowStatus, Verdict};
use super::merge::add_missing;
use super::panel::{Panel, Scores, difference, mean_row};
use super::stats::{Bootstrap, Interval, holm, mean, sign_flip};
use crate::spec::{columns_of, is_path};
use crate::store::{PointResult, PointStatus, SweepResults, read_resolved};
use crate::text::plural;

/// One of the two.
pub struct Side {
    /// How it is called: its directory as it was given.
    pub name: String,
    pub matrix: Matrix,
    /// `None` of a directory that keeps only its matrix.
    pub results: Option<SweepResults>,
    /// Content hashes of the inputs, and the version that wrote the results, as far as they are known.
    pub inputs: BTreeMap<String, String>,
    pub version: Option<String>,
}

impl Side {
    /// Reads the results in `dir`, which are called `name`. A matrix without results will do.
    ///
    /// # Errors
    /// A directory that holds neither results nor a matrix, files that cannot be read.
    pub fn read(dir: &Path, name: &str) -> Result<Self, ReportError> {
        let has_matrix = dir.join("matrix.csv").is_file();
        let resolved = if dir.join("resolved.json").is_file() { Some(read_resolved(dir)?) } else { None };
        let results = match resolved {
            None => None,
            Some(_) => Some(SweepResults::read(dir)?),
        };
        // A repository may keep what was asked for, and of the results only the matrix.
        let is_kept =
            |results: &SweepResults| results.points.iter().any(|point| point.status != PointStatus::Pending);
        let results = results.filter(|results| !has_matrix || is_kept(results));
        let found = match &results {
            Some(results) => stored(dir)?.unwrap_or_else(|| matrix(results, &MatrixOptions::default())),
            None => load(dir)?,
        };
        let version = resolved.as_ref().map(|resolved| resolved.version.clone());
        let inputs = resolved.map(|resolved| resolved.inputs).unwrap_or_default();
        Ok(Self { name: name.to_owned(), matrix: found, results, inputs, version })
    }

    /// What decides the result of point `index`: its configuration, with contents in the place of paths.
    fn configuration(&self, index: usize) -> Option<Value> {
        let point = self.results.as_ref()?.points.get(index)?;
        let mut config = point.config.clone();
        for (key, path) in config.paths(is_path) {
            // The inputs of all points are compared by themselves.
            let content = self.inputs.get(&format!("{key}:{}", path.display()));
            config.set(&key, content.map_or(Value::Null, |content| content.clone().into()));
        }
        Some(config.json())
    }
}

/// Two sweeps side by side.
pub struct Compared {
    pub names: [String; 2],
    /// A row per point in both: the figures of the second, its differences to the first, and what they can bear.
    pub matrix: Matrix,
    /// Per row, the first's average, validation loss and name.
    pub before: Vec<Before>,
    /// Names of the points that only one has.
    pub only: [Vec<String>; 2],
    /// What a reader must know: how points were matched, what differs besides them.
    pub remarks: Vec<String>,
    /// The mean over all points in both: difference, interval, p-value.
    pub together: Option<(f64, Interval, f64)>,
    /// Shot counts of the comparison.
    pub columns: Vec<usize>,
}

/// A point in the first of the two.
#[derive(Clone, Debug, PartialEq)]
pub struct Before {
    pub name: String,
    pub average: Option<f64>,
    pub val_loss: Option<f64>,
}

impl Compared {
    /// Matches the points of `first` and `second` by their configurations, or by their names where one of them keeps
    /// only its matrix, and compares them over the queries that both have.
    pub fn of(first: &Side, second: &Side) -> Self {
        let mut remarks = Vec::new();
        let pairs = match_points(first, second, &mut remarks);
        let panel = paired_panel(first, second, &mut remarks);
        remarks.extend(inputs_that_differ(first, second));
        let mut axes = second.matrix.axes.clone();
        add_missing(&mut axes, &first.matrix.axes);
        let queries = panel.as_ref().map_or(0, Panel::widest);
        let mut rows = Vec::new();
        let mut before = Vec::new();
        let mut differences: Vec<Option<Vec<f64>>> = Vec::new();
        for &(at, to) in &pairs {
            let (left, right) = (&first.matrix.points[at], &second.matrix.points[to]);
            let scores = panel.as_ref().and_then(|panel| both(panel, point(first, at)?, point(second, to)?));
            let mut row = moved(left, right, scores.as_ref(), queries);
            row.axes = axes
                .iter()
                .map(|axis| {
                    value(axis, right, second).or_else(|| value(axis, left, first)).unwrap_or_default()
                })
                .collect();
            row.changed_share =
                point(first, at).zip(point(second, to)).and_then(|(a, b)| groups::changed_share(b, a));
            // What chooses as before is one result: nothing moved.
            row.identical = row.changed_share.filter(|share| *share == 0.0).map(|_| "same".to_owned());
            before.push(Before {
                name: left.name.clone(),
                average: row.average.zip(row.delta).map(|(average, delta)| average - delta).or(left.average),
                val_loss: left.val_loss,
            });
            differences.push(scores.map(|[a, b]| difference(&b.by_query(queries), &a.by_query(queries))));
            rows.push(row);
        }
        let together = fill_intervals(&mut rows, &differences, queries);
        let (matched, other): (BTreeSet<usize>, BTreeSet<usize>) = pairs.iter().copied().unzip();
        let only = |side: &Side, matched: &BTreeSet<usize>| {
            let rows = side.matrix.points.iter().enumerate();
            rows.filter(|(index, _)| !matched.contains(index)).map(|(_, row)| row.name.clone()).collect()
        };
        let is_evaluated = rows.iter().any(|row| row.average.is_some());
        Self {
            names: [first.name.clone(), second.name.clone()],
            only: [only(first, &matched), only(second, &other)],
            matrix: Matrix {
                judge: None,
                name: format!("{} against {}", second.name, first.name),
                axes,
                // Of the columns of accuracies only that there are some matters.
                score_columns: if is_evaluated { second.matrix.score_columns.clone() } else { Vec::new() },
                groups: Vec::new(),
                comparisons: Comparisons::count(&rows, &[]),
                points: rows,
                configurations: Vec::new(),
                references: Vec::new(),
            },
            before,
            remarks,
            together,
            columns: panel.map(|panel| panel.columns).unwrap_or_default(),
        }
    }

    /// Points that can be told to be better, and worse, than they were, and those that choose exactly as before.
    pub fn counts(&self) -> [usize; 3] {
        let count = |verdict| self.matrix.points.iter().filter(|row| row.verdict() == verdict).count();
        [count(Verdict::Better), count(Verdict::Worse), count(Verdict::Same)]
    }
}

fn point(side: &Side, index: usize) -> Option<&PointResult> {
    side.results.as_ref()?.points.get(index)
}

fn value(axis: &str, row: &Row, side: &Side) -> Option<String> {
    let place = side.matrix.axes.iter().position(|other| other == axis)?;
    row.axes.get(place).cloned()
}

/// Pairs of places, in the order of the second.
fn match_points(first: &Side, second: &Side, remarks: &mut Vec<String>) -> Vec<(usize, usize)> {
    let named: HashMap<&str, usize> =
        first.matrix.points.iter().enumerate().map(|(index, row)| (row.name.as_str(), index)).collect();
    let by_name = |(index, row): (usize, &Row)| Some((*named.get(row.name.as_str())?, index));
    if first.results.is_none() || second.results.is_none() {
        let bare = if first.results.is_none() { first } else { second };
        remarks.push(format!(
            "`{}` keeps only its matrix: points are matched by their names, and without the answers there are no intervals.",
            bare.name
        ));
        return second.matrix.points.iter().enumerate().filter_map(by_name).collect();
    }
    let places = 0..first.matrix.points.len();
    let known: HashMap<String, usize> =
        places.filter_map(|index| Some((first.configuration(index)?.to_string(), index))).collect();
    let by_configuration =
        |index: usize| Some((*known.get(&second.configuration(index)?.to_string())?, index));
    let pairs: Vec<(usize, usize)> = (0..second.matrix.points.len()).filter_map(by_configuration).collect();
    let taken: BTreeSet<usize> = pairs.iter().map(|(_, to)| *to).collect();
    let namesakes: Vec<(usize, usize)> = second
        .matrix
        .points
        .iter()
        .enumerate()
        .filter(|(index, _)| !taken.contains(index))
        .filter_map(by_name)
        .collect();
    let mut keys: BTreeMap<String, (Value, Value)> = BTreeMap::new();
    for &(at, to) in &namesakes {
        if let (Some(left), Some(right)) = (first.configuration(at), second.configuration(to)) {
            differing("", &left, &right, &mut keys);
        }
    }
    if !namesakes.is_empty() {
        let listed: Vec<String> =
            keys.iter().take(4).map(|(key, (left, right))| format!("{key} {left} and {right}")).collect();
        remarks.push(format!(
            "{} of the same name in both {} another configuration ({}): not compared.",
            plural(namesakes.len(), "point"),
            if namesakes.len() == 1 { "has" } else { "have" },
            listed.join(", ")
        ));
    }
    pairs
}

/// The dotted keys at which two configurations differ.
fn differing(key: &str, left: &Value, right: &Value, found: &mut BTreeMap<String, (Value, Value)>) {
    match (left, right) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for name in keys {
                let inner = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differing(&inner, &of(a), &of(b), found);
            }
        }
        _ if left != right => {
            found.entry(key.to_owned()).or_insert_with(|| (left.clone(), right.clone()));
        }
        _ => {}
    }
}

/// What pairs the scores of both; `None`, with the reason among `remarks`, where they cannot be paired.
fn paired_panel(first: &Side, second: &Side, remarks: &mut Vec<String>) -> Option<Panel> {
    let (left, right) = (first.results.as_ref()?, second.results.as_ref()?);
    if left.columns().is_empty() || right.columns().is_empty() {
        return None;
    }
    let score = |results: &SweepResults| results.eval.as_ref().map(|eval| eval.score);
    // Of an experiment that says nothing of its evaluation all inputs count.
    let of_evaluation = |key: &&String| left.eval.is_none() || *key == "eval.logged";
    let keys = first.inputs.keys().chain(second.inputs.keys()).filter(of_evaluation);
    let mut hashes = keys.map(|key| (first.inputs.get(key), second.inputs.get(key)));
    if score(left) != score(right) || hashes.any(|(a, b)| a != b) {
        remarks.push(
            "The evaluation data differ: averages are of different questions, and no difference has an interval.".to_owned(),
        );
        return None;
    }
    let panel = Panel::of_both(left, right);
    let noun = columns_of(&left.experiment).noun;
    if panel.is_none() {
        remarks.push(format!("No {noun} was evaluated in both: no difference has an interval."));
    } else if left.columns() != right.columns() {
        remarks.push(format!("Not every {noun} was evaluated in both: compared are those that were."));
    }
    panel
}

/// Inputs and versions that are not the same.
fn inputs_that_differ(first: &Side, second: &Side) -> Vec<String> {
    let keys: BTreeSet<&String> = first.inputs.keys().chain(second.inputs.keys()).collect();
    // The hash of both data files together says nothing that theirs do not say.
    let differ =
        |key: &&&String| key.as_str() != "data" && first.inputs.get(**key) != second.inputs.get(**key);
    let differing: Vec<&str> = keys.iter().filter(differ).map(|key| key.as_str()).collect();
    let mut found = Vec::new();
    if !differing.is_empty() && first.results.is_some() && second.results.is_some() {
        found.push(format!("Inputs with other contents: {}.", differing.join(", ")));
    }
    match (&first.version, &second.version) {
        (Some(a), Some(b)) if a != b => found.push(format!("Written by sweep {a} and {b}.")),
        _ => {}
    }
    found
}

/// The scores of both over the queries that both have.
fn both(panel: &Panel, left: &PointResult, right: &PointResult) -> Option<[Scores; 2]> {
    let (mut left, mut right) = (panel.point(left)?, panel.point(right)?);
    left.keep_common(&mut right);
    Some([left, right])
}

/// The row of the second with its difference to the first.
fn moved(left: &Row, right: &Row, scores: Option<&[Scores; 2]>, queries: usize) -> Row {
    let average = |scores: &Scores| scores.average(queries);
    let (before, after) = match scores {
        Some([a, b]) => (average(a), average(b)),
        None => (left.average, right.average),
    };
    let mut row = Row::named(&right.name, right.status);
    if left.status != RowStatus::Done {
        row.status = left.status;
    }
    row.seeds = right.seeds;
    row.average = after;
    row.delta = after.zip(before).map(|(after, before)| after - before);
    row.val_loss = right.val_loss;
    row.kl = right.kl;
    row.queries = scores.map(|_| queries);
    row
}

/// Intervals and corrected p-values, and those of the mean over all rows.
fn fill_intervals(
    rows: &mut [Row],
    differences: &[Option<Vec<f64>>],
    queries: usize,
) -> Option<(f64, Interval, f64)> {
    let compared: Vec<(usize, Vec<f64>)> =
        differences.iter().enumerate().filter_map(|(index, row)| Some((index, row.clone()?))).collect();
    if compared.is_empty() {
        return None;
    }
    let options = MatrixOptions::default();
    let bootstrap = Bootstrap::new(queries, options.resamples, options.seed);
    let columns: Vec<Vec<f64>> = compared.iter().map(|(_, column)| column.clone()).collect();
    for ((index, column), interval) in compared.iter().zip(bootstrap.intervals(&columns)) {
        rows[*index].delta_interval = Some(interval);
        rows[*index].p_value = Some(sign_flip(column));
    }
    // What chooses as before is no comparison that luck could win.
    let differ: Vec<usize> = compared
        .iter()
        .map(|(index, _)| *index)
        .filter(|&index| rows[index].changed_share != Some(0.0))
        .collect();
    let p_values: Vec<f64> = differ.iter().filter_map(|&index| rows[index].p_value).collect();
    for (index, corrected) in differ.into_iter().zip(holm(&p_values)) {
        rows[index].p_holm = Some(corrected);
    }
    let all: Vec<&[f64]> = columns.iter().map(Vec::as_slice).collect();
    let middle = mean_row(&all)?;
    let interval = bootstrap.intervals(std::slice::from_ref(&middle)).into_iter().next()?;
    Some((mean(&middle)?, interval, sign_flip(&middle)))
}
