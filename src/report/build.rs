//! [`SweepResults`] -> [`Matrix`]: every figure of a results table, computed once.

use std::collections::BTreeMap;

use super::axes::{AxisLabels, configuration_name};
use super::groups;
use super::hints;
use super::matrix::{Comparisons, Matrix, MatrixOptions, Row, RowStatus, Verdict};
use super::panel::{Panel, Samples, Scores, difference, mean_row};
use super::stats::{Bootstrap, crossed_test, holm, mean, more_units, sign_flip, variance};
use crate::spec::{columns_of, groups_of};
use crate::store::{PointResult, PointStatus, SweepResults};

/// Computes the matrix. Points that have no results yet have rows without figures.
pub fn matrix(results: &SweepResults, options: &MatrixOptions) -> Matrix {
    Build::new(results, options).matrix()
}

/// What the rows are computed from.
struct Build<'a> {
    results: &'a SweepResults,
    panel: Option<Panel>,
    /// Queries behind averages and differences.
    queries: usize,
    bootstrap: Bootstrap,
    labels: AxisLabels,
    scores: Vec<Option<Scores>>,
    /// One figure per query, see [`Scores::by_query`].
    rows: Vec<Option<Vec<f64>>>,
    fingerprints: Vec<Option<[u8; 32]>>,
}

impl<'a> Build<'a> {
    fn new(results: &'a SweepResults, options: &MatrixOptions) -> Self {
        let panel = Panel::of(results);
        let queries = panel.as_ref().map_or(0, Panel::widest);
        let scores: Vec<Option<Scores>> =
            results.points.iter().map(|point| panel.as_ref().and_then(|panel| panel.point(point))).collect();
        let rows =
            scores.iter().map(|scores| scores.as_ref().map(|scores| scores.by_query(queries))).collect();
        Self {
            results,
            queries,
            bootstrap: Bootstrap::new(queries, options.resamples, options.seed),
            labels: AxisLabels::of(results),
            scores,
            rows,
            fingerprints: results.points.iter().map(groups::fingerprint).collect(),
            panel,
        }
    }

    fn matrix(&self) -> Matrix {
        let points = self.points();
        let configurations = self.configurations(&points);
        Matrix {
            comparisons: Comparisons::count(&points, &configurations),
            judge: self.results.judge.clone(),
            name: self.results.name.clone(),
            axes: self.labels.names.clone(),
            score_columns: self.score_columns(),
            groups: groups_of(&self.results.experiment).iter().map(|group| group.name.to_owned()).collect(),
            configurations,
            references: self.references(),
            points,
        }
    }

    /// `shot_1` ..., or one set per sample count where there are several.
    fn score_columns(&self) -> Vec<String> {
        let samples = self.results.samples();
        let columns = self.results.columns();
        let label = |count: Samples| match count {
            _ if samples.len() < 2 => String::new(),
            Some(count) => format!("@{count}"),
            None => "@all".to_owned(),
        };
        let id = columns_of(&self.results.experiment).id;
        let per_column = |samples| columns.iter().map(move |column| id(*column) + &label(samples));
        samples.iter().flat_map(|samples| per_column(*samples)).collect()
    }

    /// Accuracies in the order of [`Build::score_columns`].
    fn accuracies(&self, scores: Option<&Scores>) -> Vec<Option<f64>> {
        let Some(panel) = &self.panel else { return vec![None; self.score_columns().len()] };
        let mut cells = Vec::new();
        for samples in &panel.samples {
            for column in 0..panel.columns.len() {
                cells.push(scores.and_then(|scores| scores.accuracy(column, panel.cut(*samples))));
            }
        }
        cells
    }

    /// The baseline points that `point` is compared with: the one of its seed if there is one.
    fn baselines_of(&self, point: &PointResult) -> Vec<usize> {
        let scored = |&&index: &&usize| self.rows[index].is_some();
        let seed = |index: usize| self.results.points[index].config.seed();
        let same: Vec<usize> = self
            .results
            .baseline
            .iter()
            .filter(|index| seed(**index) == point.config.seed())
            .copied()
            .collect();
        let all = if same.is_empty() { &self.results.baseline } else { &same };
        all.iter().filter(scored).copied().collect()
    }

    fn baseline_row(&self, indices: &[usize]) -> Option<Vec<f64>> {
        let rows: Vec<&[f64]> = indices.iter().filter_map(|&index| self.rows[index].as_deref()).collect();
        mean_row(&rows)
    }

    fn average(&self, index: usize) -> Option<f64> {
        self.scores[index].as_ref()?.average(self.queries)
    }

    fn baseline_average(&self, indices: &[usize]) -> Option<f64> {
        let averages: Vec<f64> = indices.iter().filter_map(|&index| self.average(index)).collect();
        mean(&averages)
    }

    fn points(&self) -> Vec<Row> {
        let mut rows: Vec<Row> =
            self.results.points.iter().enumerate().map(|(index, _)| self.describe(index)).collect();
        for (row, letter) in rows.iter_mut().zip(groups::letters(&self.fingerprints)) {
            row.identical = letter;
        }
        let compared: Vec<(usize, Vec<f64>, Vec<f64>)> = self
            .rows
            .iter()
            .enumerate()
            .filter_map(|(index, scores)| {
                let scores = scores.clone()?;
                let differences = self.difference_of(index).unwrap_or_default();
                Some((index, scores, differences))
            })
            .collect();
        self.fill_intervals(&mut rows, &compared);
        correct(&mut rows);
        for (index, _, differences) in &compared {
            estimate_need(&mut rows[*index], differences, compared.len());
        }
        rows
    }

    /// Intervals, differences and p-values of the points (or references) in `compared`: (row, scores per
    /// query, differences per query or nothing).
    fn fill_intervals(&self, rows: &mut [Row], compared: &[(usize, Vec<f64>, Vec<f64>)]) {
        let averages: Vec<Vec<f64>> = compared.iter().map(|(_, scores, _)| scores.clone()).collect();
        for ((index, _, _), interval) in compared.iter().zip(self.bootstrap.intervals(&averages)) {
            rows[*index].average_interval = Some(interval);
        }
        let with_base: Vec<(usize, Vec<f64>)> = compared
            .iter()
            .filter(|(index, _, differences)| !differences.is_empty() && !rows[*index].is_baseline)
            .map(|(index, _, differences)| (*index, differences.clone()))
            .collect();
        let differences: Vec<Vec<f64>> = with_base.iter().map(|(_, column)| column.clone()).collect();
        for ((index, column), interval) in with_base.iter().zip(self.bootstrap.intervals(&differences)) {
            rows[*index].delta_interval = Some(interval);
            rows[*index].p_value = Some(sign_flip(column));
        }
    }

    /// Everything about a point that needs no resampling.
    fn describe(&self, index: usize) -> Row {
        let point = &self.results.points[index];
        let baselines = self.baselines_of(point);
        let average = self.average(index);
        let is_baseline = self.results.baseline.contains(&index);
        let base = if is_baseline { average } else { self.baseline_average(&baselines) };
        let ended = point.status != PointStatus::Pending;
        let mut row = Row::named(&point.name, point.status.into());
        row.axes = self.labels.texts(index);
        row.seeds = usize::from(point.status == PointStatus::Done);
        row.scores = self.accuracies(self.scores[index].as_ref());
        row.average = average;
        row.delta = average.zip(base).map(|(average, base)| average - base);
        let lacks = |at: &usize| !self.results.points[*at].unanswered.is_empty();
        if !is_baseline && std::iter::once(&index).chain(&baselines).any(lacks) {
            row.delta = self.difference_of(index).and_then(|differences| mean(&differences));
        }
        row.trainable = ended.then_some(point.trainable).filter(|_| point.total > 0);
        row.total = ended.then_some(point.total).filter(|total| *total > 0);
        row.val_loss = point.metrics.iter().rev().find_map(|epoch| epoch.get("val_loss"));
        row.kl = point.metrics.last().and_then(|epoch| epoch.get("kl"));
        row.changed_share = baselines
            .first()
            .filter(|_| average.is_some())
            .and_then(|&base| groups::changed_share(point, &self.results.points[base]));
        let movement = |name: &str| point.movement.get(name).map(|share| share.get());
        row.movement = movement("all");
        row.group_movement =
            (groups_of(&self.results.experiment).iter()).map(|group| movement(group.name)).collect();
        row.queries = average.map(|_| self.queries);
        row.unanswered = point.unanswered.len();
        row.is_baseline = is_baseline;
        row.warning = hints::hardly_moved(point, self.results.health.as_ref());
        row.error = point.error.clone().filter(|_| point.status != PointStatus::Done);
        row
    }

    fn references(&self) -> Vec<Row> {
        let base_row = self.baseline_row(&self.results.baseline);
        let base_average = self.baseline_average(&self.results.baseline);
        let mut rows = Vec::new();
        let mut compared = Vec::new();
        for (index, reference) in self.results.references.iter().enumerate() {
            let scores = self.panel.as_ref().and_then(|panel| panel.reference(reference));
            let average = scores.as_ref().and_then(|scores| scores.average(self.queries));
            let mut row = Row::named(&reference.name, RowStatus::Reference);
            row.axes = vec![String::new(); self.labels.names.len()];
            row.scores = self.accuracies(scores.as_ref());
            row.group_movement = vec![None; groups_of(&self.results.experiment).len()];
            row.average = average;
            row.delta = average.zip(base_average).map(|(average, base)| average - base);
            row.queries = average.map(|_| self.queries);
            rows.push(row);
            if let Some(scores) = scores {
                let column = scores.by_query(self.queries);
                let differences = base_row.as_ref().map(|base| difference(&column, base)).unwrap_or_default();
                compared.push((index, column, differences));
            }
        }
        self.fill_intervals(&mut rows, &compared);
        rows
    }

    /// Points grouped by everything but their seed, in order of first appearance.
    fn configurations(&self, points: &[Row]) -> Vec<Row> {
        let Some(seed_axis) = self.results.axes.iter().position(|axis| axis == "train.seed") else {
            return Vec::new();
        };
        let mut place: BTreeMap<String, usize> = BTreeMap::new();
        let mut members: Vec<Vec<usize>> = Vec::new();
        for (index, point) in self.results.points.iter().enumerate() {
            let key: Vec<_> = point.axes.iter().filter(|(axis, _)| axis != "train.seed").collect();
            let next = members.len();
            let slot = *place.entry(format!("{key:?}")).or_insert(next);
            if slot == next {
                members.push(Vec::new());
            }
            members[slot].push(index);
        }
        let mut rows: Vec<Row> =
            members.iter().map(|members| self.configuration(members, points, seed_axis)).collect();
        let prints: Vec<Option<Vec<_>>> = members
            .iter()
            .map(|members| {
                let seed = |index: usize| self.results.points[index].config.seed();
                members.iter().map(|&index| Some((seed(index), self.fingerprints[index]?))).collect()
            })
            .collect();
        for (row, letter) in rows.iter_mut().zip(groups::letters(&prints)) {
            row.identical = letter;
        }
        correct(&mut rows);
        let comparisons = rows.iter().filter(|row| row.p_value.is_some()).count();
        for (row, members) in rows.iter_mut().zip(&members) {
            self.estimate_need_of_seeds(row, members, comparisons);
        }
        rows
    }

    fn configuration(&self, members: &[usize], points: &[Row], seed_axis: usize) -> Row {
        let of = |figure: &dyn Fn(&Row) -> Option<f64>| {
            let present: Vec<f64> = members.iter().filter_map(|&index| figure(&points[index])).collect();
            mean(&present)
        };
        let first = &points[members[0]];
        let mut row = Row::named(
            &configuration_name(self.results, &self.results.points[members[0]]),
            self.status_of(members),
        );
        row.axes.clone_from(&first.axes);
        row.axes[seed_axis].clear();
        row.seeds = members.iter().filter(|&&index| points[index].status == RowStatus::Done).count();
        row.scores = (0..first.scores.len()).map(|column| of(&|row| row.scores[column])).collect();
        row.average = of(&|row| row.average);
        row.delta = of(&|row| row.delta);
        row.trainable = members.iter().find_map(|&index| points[index].trainable);
        row.total = members.iter().find_map(|&index| points[index].total);
        row.val_loss = of(&|row| row.val_loss);
        row.kl = of(&|row| row.kl);
        row.changed_share = of(&|row| row.changed_share);
        row.movement = of(&|row| row.movement);
        let groups = groups_of(&self.results.experiment).len();
        row.group_movement = (0..groups).map(|group| of(&|row: &Row| row.group_movement[group])).collect();
        row.queries = members.iter().find_map(|&index| points[index].queries);
        row.unanswered = members.iter().map(|&index| points[index].unanswered).sum();
        row.is_baseline = members.iter().any(|&index| points[index].is_baseline);
        row.warning = members.iter().find_map(|&index| points[index].warning.clone());
        row.error = members.iter().find_map(|&index| points[index].error.clone());
        self.fill_seeds(&mut row, members);
        row
    }

    fn fill_seeds(&self, row: &mut Row, members: &[usize]) {
        let values: Vec<Vec<f64>> = members.iter().filter_map(|&index| self.rows[index].clone()).collect();
        if values.len() < 2 {
            let column: Vec<Vec<f64>> = values;
            row.average_interval = self.bootstrap.intervals(&column).into_iter().next();
        } else if let Some(test) = crossed_test(&values) {
            row.average_interval = self.bootstrap.hierarchical(&values, test.stretch);
        }
        let differences = self.differences(members);
        if row.is_baseline || differences.is_empty() {
            return;
        }
        if differences.len() == 1 {
            row.delta_interval = self.bootstrap.intervals(&differences).into_iter().next();
            row.p_value = Some(sign_flip(&differences[0]));
        } else if let Some(test) = crossed_test(&differences) {
            row.delta_interval = self.bootstrap.hierarchical(&differences, test.stretch);
            row.p_value = Some(test.p_value);
        }
    }

    /// Per finished seed, the differences to the baseline (of the same seed where there is one).
    fn differences(&self, members: &[usize]) -> Vec<Vec<f64>> {
        members.iter().filter_map(|&index| self.difference_of(index)).collect()
    }

    /// A point's differences to its baseline, query by query; over the scores that both have.
    fn difference_of(&self, index: usize) -> Option<Vec<f64>> {
        let baselines = self.baselines_of(&self.results.points[index]);
        let complete = |index: &usize| self.results.points[*index].unanswered.is_empty();
        if complete(&index) && baselines.iter().all(complete) {
            let base = self.baseline_row(&baselines)?;
            return Some(difference(self.rows[index].as_ref()?, &base));
        }
        let own = self.scores[index].as_ref()?;
        let others: Vec<&Scores> = baselines.iter().filter_map(|&base| self.scores[base].as_ref()).collect();
        let common = others.iter().fold(own.clone(), |common, other| common.where_in(other));
        let rows: Vec<Vec<f64>> =
            others.iter().map(|other| other.where_in(&common).by_query(self.queries)).collect();
        let rows: Vec<&[f64]> = rows.iter().map(Vec::as_slice).collect();
        Some(difference(&common.by_query(self.queries), &mean_row(&rows)?))
    }

    /// More seeds where they are the larger source of doubt, else more queries.
    fn estimate_need_of_seeds(&self, row: &mut Row, members: &[usize], comparisons: usize) {
        if row.verdict() != Verdict::Unclear {
            return;
        }
        let differences = self.differences(members);
        let (Some(test), Some(delta)) = (crossed_test(&differences), row.delta) else { return };
        if test.seed_error > test.query_error {
            row.more_seeds = more_units(delta, test.seed_error, differences.len(), comparisons);
        } else {
            row.more_queries = more_units(delta, test.query_error, self.queries, comparisons);
        }
    }

    fn status_of(&self, members: &[usize]) -> RowStatus {
        let all = |status| members.iter().all(|&index| self.results.points[index].status == status);
        let any = |status| members.iter().any(|&index| self.results.points[index].status == status);
        if all(PointStatus::Done) {
            RowStatus::Done
        } else if any(PointStatus::Pending) {
            RowStatus::Pending
        } else if any(PointStatus::Failed) {
            RowStatus::Failed
        } else {
            RowStatus::Infeasible
        }
    }
}

/// Holm's correction over the rows that were compared with the baseline.
fn correct(rows: &mut [Row]) {
    let family: Vec<usize> = (0..rows.len()).filter(|&index| rows[index].p_value.is_some()).collect();
    let p_values: Vec<f64> = family.iter().filter_map(|&index| rows[index].p_value).collect();
    for (index, corrected) in family.into_iter().zip(holm(&p_values)) {
        rows[index].p_holm = Some(corrected);
    }
}

fn estimate_need(row: &mut Row, differences: &[f64], rows: usize) {
    if row.verdict() == Verdict::Unclear {
        let error = (variance(differences) / differences.len().max(1) as f64).sqrt();
        let comparisons = rows.saturating_sub(1);
        row.more_queries =
            row.delta.and_then(|delta| more_units(delta, error, differences.len(), comparisons));
    }
}
