//! Text -> [`SweepSpec`]: the steps in order.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::check::{self, Input};
use super::config::{Composer, Own, recorded};
use super::document::{self, Draft};
use super::error::{Diagnostic, Diagnostics, SpecError};
use super::grid::{self, Column, Grid};
use super::read::is_name;
use super::table::Table;
use super::{LoadOptions, Point, SweepSpec, baseline, evaluation, names, overrides};

/// Everything that [`super::parse`] does, and the files that the sweep will read.
pub(super) fn compose(
    text: &str,
    path: &Path,
    options: &LoadOptions,
) -> Result<(SweepSpec, Vec<Input>), SpecError> {
    let dir = path.parent().unwrap_or(Path::new("")).to_owned();
    let mut draft = document::read(text, &path.display().to_string(), dir.clone()).map_err(several)?;
    let overridden = overrides::set(&mut draft, &options.set, &dir).map_err(several)?;
    let missing = check::missing(&draft);
    if !missing.is_empty() {
        return Err(several(missing));
    }
    let mistakes = evaluation::mistakes(&draft);
    if !mistakes.is_empty() {
        return Err(several(mistakes));
    }
    let name = sweep_name(&draft, path)?;
    let grid = grid::compose(&draft, &overridden, options.allow_huge)?;
    let baseline = baseline::rows(&draft, &grid)?;
    let varying = grid.varying();
    let points = points(&draft, &grid, &varying)?;
    let keys: Vec<_> =
        grid.columns.iter().zip(&varying).filter(|(_, varies)| **varies).map(|(c, _)| c.key).collect();
    let mut spec = SweepSpec {
        name,
        schema: draft.schema,
        path: path.to_owned(),
        source: text.to_owned(),
        axes: keys.iter().map(|key| key.dotted()).collect(),
        warnings: (draft.schema.idle)(&points, &keys),
        points,
        baseline,
        eval: evaluation::params(&draft, &dir),
        build: evaluation::build(&draft, &dir),
        export: draft.settings.core.export.formats.clone(),
        keep: draft.settings.core.keep,
        slurm: draft.uses(Table::Slurm).then(|| draft.settings.core.slurm.clone()),
    };
    if !options.filter.is_empty() {
        let keep = overrides::filter(&draft, &grid, &options.filter, &dir)?;
        keep_points(&mut spec, &keep);
    }
    let inputs = check::inputs(&draft, &grid);
    Ok((spec, inputs))
}

/// Mistakes in the order of the file.
pub(super) fn several(mut problems: Vec<Diagnostic>) -> SpecError {
    problems.sort_by_key(Diagnostic::order);
    SpecError::Invalid(Diagnostics(problems))
}

/// `name`, or the file's name without its extension.
fn sweep_name(draft: &Draft, path: &Path) -> Result<String, Diagnostic> {
    if !draft.settings.core.name.is_empty() {
        return Ok(draft.settings.core.name.clone());
    }
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    if is_name(&stem) {
        return Ok(stem);
    }
    Err(Diagnostic::new(format!("the sweep has no `name`, and the file's name `{stem}` cannot serve as one"))
        .at(&draft.whole)
        .hint("add `name = \"...\"` as the first line"))
}

/// The points in grid order, each composed and checked.
fn points(draft: &Draft, grid: &Grid, varying: &[bool]) -> Result<Vec<Point>, Diagnostic> {
    let names = names::names(grid, varying);
    let axes: Vec<(String, Vec<serde_json::Value>)> = grid
        .columns
        .iter()
        .map(|column| (column.key.dotted(), column.values.iter().map(|given| given.value.json()).collect()))
        .collect();
    let composer = Composer::new(&draft.settings.own);
    // For each column its place among the values of a point, and what records have for each of its values.
    let mut columns: Vec<(u32, usize, Vec<Own>)> = Vec::new();
    for (at, column) in grid.columns.iter().enumerate() {
        let values =
            column.values.iter().map(|given| recorded(column.key, &given.value).map(Arc::new)).collect();
        columns.extend(composer.place(column.key).map(|place| (place, at, values)));
    }
    columns.sort_by_key(|(place, ..)| *place);
    let mut points = Vec::with_capacity(names.len());
    for (row, name) in grid.rows().zip(names) {
        let own = columns.iter().map(|(place, at, values)| (*place, values[row[*at] as usize].clone()));
        let config = composer.point(own.collect());
        let axes = axes
            .iter()
            .zip(row)
            .zip(varying)
            .filter(|(_, varies)| **varies)
            .map(|(((key, values), index), _)| (key.clone(), values[*index as usize].clone()))
            .collect();
        points.push(Point { name, axes, config });
    }
    match clash(draft, grid, &points) {
        Some(problem) => Err(problem),
        None => Ok(points),
    }
}

/// The first point that cannot be. Of points that are equal in all that is at stake one is looked at.
fn clash(draft: &Draft, grid: &Grid, points: &[Point]) -> Option<Diagnostic> {
    let schema = draft.schema;
    let at_stake = |column: &Column| schema.clashing.contains(&column.key.dotted().as_str());
    let columns: Vec<usize> =
        grid.columns.iter().enumerate().filter(|(_, column)| at_stake(column)).map(|(at, _)| at).collect();
    let mut seen: HashSet<Vec<u32>> = HashSet::new();
    grid.rows().zip(points).find_map(|(row, point)| {
        if !seen.insert(columns.iter().map(|column| row[*column]).collect()) {
            return None;
        }
        let clash = (schema.clash)(&point.config)?;
        Some(check::clash_in(draft, grid, row, &point.name, &clash))
    })
}

/// Leaves the points that `keep` marks, and the baseline among them.
fn keep_points(spec: &mut SweepSpec, keep: &[bool]) {
    let mut position = 0;
    let moved: Vec<Option<usize>> = keep
        .iter()
        .map(|keep| {
            keep.then(|| {
                position += 1;
                position - 1
            })
        })
        .collect();
    spec.baseline = spec.baseline.iter().filter_map(|row| moved[*row]).collect();
    let mut keep = keep.iter();
    spec.points.retain(|_| keep.next().copied().unwrap_or(false));
}
