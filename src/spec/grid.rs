//! [`Draft`] -> rows: which combination of values each point has. Values are interned per column, so that a row
//! is a few small numbers and comparing, excluding and hashing rows costs next to nothing.

use std::collections::{HashMap, HashSet};

use super::document::{AxisGroup, Condition, Draft, value_list};
use super::error::Diagnostic;
use super::keys::Key;
use super::read::Given;
use crate::text::thousands;

/// More points than this need the user's consent.
pub const POINT_LIMIT: u64 = 100_000;
/// More points than this are refused even then: they would not fit into memory.
pub const HARD_POINT_LIMIT: u64 = 20_000_000;

/// Every point of a sweep, as indices into columns of values.
#[derive(Debug)]
pub(super) struct Grid {
    /// One per key that the grid or an `[[include]]` names, in the order of the file.
    pub columns: Vec<Column>,
    /// Row after row, one index per column.
    cells: Vec<u32>,
}

/// A key and the values that points give it.
#[derive(Debug)]
pub(super) struct Column {
    pub key: &'static Key,
    /// Distinct.
    pub values: Vec<Given>,
    /// Whether `[grid]` names it; else only an `[[include]]` does.
    pub in_grid: bool,
    /// Index of each value by its identity.
    index: HashMap<String, u32>,
}

impl Column {
    fn new(key: &'static Key, in_grid: bool) -> Self {
        Self { key, values: Vec::new(), in_grid, index: HashMap::new() }
    }

    /// The index of a value, and whether it was there before.
    fn intern(&mut self, given: &Given) -> (u32, bool) {
        let next = self.values.len() as u32;
        let index = *self.index.entry(given.value.identity()).or_insert(next);
        if index == next {
            self.values.push(given.clone());
        }
        (index, index != next)
    }

    /// Which of the column's values are among `wanted`.
    pub fn mask(&self, wanted: &[Given]) -> Vec<bool> {
        let mut mask = vec![false; self.values.len()];
        for index in wanted.iter().filter_map(|given| self.index.get(&given.value.identity())) {
            mask[*index as usize] = true;
        }
        mask
    }
}

/// A condition on rows: for each column named, the values that will do.
#[derive(Debug)]
pub(super) struct Matcher(pub Vec<(usize, Vec<bool>)>);

impl Matcher {
    pub fn matches(&self, row: &[u32]) -> bool {
        self.0.iter().all(|(column, mask)| mask[row[*column] as usize])
    }
}

/// An axis group with its values as indices: `digits[k]` is what the columns get at the k-th value.
struct Wheel {
    columns: Vec<usize>,
    digits: Vec<Vec<u32>>,
}

impl Grid {
    /// The rows of the points, in grid order: the product of the axes, the last one fastest, less what is
    /// excluded; then what is included.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        // A grid without columns has one point, which no cell stands for: `cells` then holds one filler.
        self.cells.chunks_exact(self.columns.len().max(1))
    }

    /// The column over `key` and its position.
    pub fn column(&self, key: &Key) -> Option<(usize, &Column)> {
        self.columns.iter().enumerate().find(|(_, column)| column.key == key)
    }

    /// The values of the column at `position` that points have, in the column's order.
    pub fn used(&self, position: usize) -> Vec<&Given> {
        let column = &self.columns[position];
        let mut used = vec![false; column.values.len()];
        for row in self.rows() {
            used[row[position] as usize] = true;
        }
        column.values.iter().zip(used).filter(|(_, used)| *used).map(|(given, _)| given).collect()
    }

    /// For each column, whether its value differs between points.
    pub fn varying(&self) -> Vec<bool> {
        let mut varying = vec![false; self.columns.len()];
        if let Some(first) = self.rows().next() {
            for row in self.rows() {
                for (column, varies) in varying.iter_mut().enumerate() {
                    *varies |= row[column] != first[column];
                }
            }
        }
        varying
    }
}

/// How many points the product of the axes has, and includes add.
fn count(draft: &Draft) -> u128 {
    let product = draft
        .groups
        .iter()
        .map(|group| group.axes.first().map_or(1, |axis| axis.values.len() as u128))
        .fold(1u128, u128::saturating_mul);
    let included = draft.includes.iter().map(|include| {
        include.terms.iter().map(|term| term.values.len() as u128).fold(1, u128::saturating_mul)
    });
    product.saturating_add(included.fold(0, u128::saturating_add))
}

fn check_size(draft: &Draft, allow_huge: bool) -> Result<(), Diagnostic> {
    let points = count(draft);
    let limit = if allow_huge { HARD_POINT_LIMIT } else { POINT_LIMIT };
    if points <= u128::from(limit) {
        return Ok(());
    }
    let axes: Vec<String> = draft
        .groups
        .iter()
        .filter_map(|group| Some((group.axes.first()?.values.len(), group)))
        .map(|(length, group)| {
            let names: Vec<&str> = group.axes.iter().map(|axis| axis.key.name).collect();
            format!("{} {}", thousands(length), names.join("+"))
        })
        .collect();
    let message = format!("the grid has {} points ({})", thousands(points), axes.join(" x "));
    let hint = if allow_huge {
        format!("more than {} do not fit into memory: split the sweep", thousands(limit))
    } else {
        format!("more than {} need --yes, if they are meant", thousands(limit))
    };
    let origin = draft.table("grid").unwrap_or(&draft.whole);
    Err(Diagnostic::new(message).at(origin).hint(hint))
}

/// Composes the rows of all points.
///
/// `overridden`: keys that `--set` has fixed; what the file says of them may then match nothing, or collapse.
///
/// # Errors
/// Too many points, duplicate values, conditions on keys that are no axes or that match nothing, identical
/// points, no points.
pub(super) fn compose(draft: &Draft, overridden: &[&Key], allow_huge: bool) -> Result<Grid, Diagnostic> {
    check_size(draft, allow_huge)?;
    let mut grid = Grid { columns: Vec::new(), cells: Vec::new() };
    let wheels = draft.groups.iter().map(|group| wheel(&mut grid, group)).collect::<Result<Vec<_>, _>>()?;
    let excludes = draft
        .excludes
        .iter()
        .map(|exclude| exclude_matcher(&grid, exclude))
        .collect::<Result<Vec<_>, Diagnostic>>()?;
    add_included_columns(&mut grid, draft);
    product(&mut grid, draft, &wheels, &excludes, overridden)?;
    include(&mut grid, draft, !overridden.is_empty())?;
    if grid.cells.is_empty() {
        let origin = draft.excludes.first().map_or(&draft.whole, |exclude| &exclude.origin);
        let message = "no point is left: the [[exclude]] tables drop the whole grid";
        return Err(Diagnostic::new(message).at(origin).hint("exclude less, or add points with [[include]]"));
    }
    Ok(grid)
}

/// Interns the values of a group; a value (or tuple of zipped values) that comes twice is an error.
fn wheel(grid: &mut Grid, group: &AxisGroup) -> Result<Wheel, Diagnostic> {
    let start = grid.columns.len();
    let mut digits: Vec<Vec<u32>> = Vec::new();
    for axis in &group.axes {
        let mut column = Column::new(axis.key, true);
        digits.resize(axis.values.len(), Vec::new());
        for (value, digit) in axis.values.iter().zip(&mut digits) {
            digit.push(column.intern(value).0);
        }
        grid.columns.push(column);
    }
    let mut seen = HashMap::new();
    for (position, digit) in digits.iter().enumerate() {
        if let Some(first) = seen.insert(digit, position) {
            let values: Vec<String> = group
                .axes
                .iter()
                .filter_map(|axis| {
                    Some(format!("`{}` = {}", axis.key.dotted(), axis.values.get(position)?.value))
                })
                .collect();
            let message = format!(
                "duplicate value {} (number {} and number {} of the list)",
                values.join(", "),
                first + 1,
                position + 1
            );
            let place = group.axes.first().and_then(|axis| axis.values.get(position));
            let origin = place.map_or(&group.origin, |given| &given.origin);
            return Err(Diagnostic::new(message)
                .at(origin)
                .hint("remove one: the points would be identical"));
        }
    }
    Ok(Wheel { columns: (start..grid.columns.len()).collect(), digits })
}

fn exclude_matcher(grid: &Grid, exclude: &Condition) -> Result<Matcher, Diagnostic> {
    let mut terms = Vec::new();
    for term in &exclude.terms {
        let Some((position, column)) = grid.column(term.key) else {
            let axes: Vec<String> = grid.columns.iter().map(|column| column.key.name.to_owned()).collect();
            let hint = match axes.is_empty() {
                true => "there is no [grid] to exclude from".to_owned(),
                false => format!("axes of this grid: {}", axes.join(", ")),
            };
            let message = format!("[[exclude]] names `{}`, which is no axis of the grid", term.key.dotted());
            return Err(Diagnostic::new(message).at(&term.origin).hint(hint));
        };
        terms.push((position, column.mask(&term.values)));
    }
    Ok(Matcher(terms))
}

/// Keys that only an `[[include]]` names become columns, whose first value is the base's.
fn add_included_columns(grid: &mut Grid, draft: &Draft) {
    for term in draft.includes.iter().flat_map(|include| &include.terms) {
        if grid.column(term.key).is_none() {
            let mut column = Column::new(term.key, false);
            column.intern(&base_value(draft, term.key));
            grid.columns.push(column);
        }
    }
}

/// What points get that do not say otherwise.
fn base_value(draft: &Draft, key: &'static Key) -> Given {
    draft
        .given(key)
        .cloned()
        .unwrap_or_else(|| Given { value: draft.settings.get(key), origin: draft.whole.clone() })
}

fn product(
    grid: &mut Grid,
    draft: &Draft,
    wheels: &[Wheel],
    excludes: &[Matcher],
    overridden: &[&Key],
) -> Result<(), Diagnostic> {
    let total: usize = wheels.iter().map(|wheel| wheel.digits.len()).product();
    let mut row = vec![0; grid.columns.len().max(1)];
    let mut hit = vec![false; excludes.len()];
    grid.cells.reserve(total * row.len());
    for number in 0..total {
        let mut rest = number;
        for wheel in wheels.iter().rev() {
            let digit = &wheel.digits[rest % wheel.digits.len()];
            rest /= wheel.digits.len();
            for (column, index) in wheel.columns.iter().zip(digit) {
                row[*column] = *index;
            }
        }
        let mut excluded = false;
        for (exclude, hit) in excludes.iter().zip(&mut hit) {
            if exclude.matches(&row) {
                *hit = true;
                excluded = true;
            }
        }
        if !excluded {
            grid.cells.extend_from_slice(&row);
        }
    }
    let idle =
        draft.excludes.iter().zip(&hit).find(|(exclude, hit)| {
            !**hit && !exclude.terms.iter().any(|term| overridden.contains(&term.key))
        });
    match idle {
        Some((exclude, _)) => Err(idle_exclude(grid, exclude)),
        None => Ok(()),
    }
}

fn idle_exclude(grid: &Grid, exclude: &Condition) -> Diagnostic {
    for term in &exclude.terms {
        if let Some((_, column)) = grid.column(term.key)
            && !column.mask(&term.values).contains(&true)
        {
            let message = format!(
                "[[exclude]] matches no point: axis `{}` never is {}",
                term.key.dotted(),
                value_list(&term.values)
            );
            let origin = term.values.first().map_or(&term.origin, |given| &given.origin);
            return Diagnostic::new(message)
                .at(origin)
                .hint(format!("its values are {}", value_list(&column.values)));
        }
    }
    Diagnostic::new("[[exclude]] matches no point: its values never occur together")
        .at(&exclude.origin)
        .hint("zipped axes only meet at equal positions of their lists")
}

/// Adds the points of every `[[include]]`. With `collapse` points that are there already are skipped.
fn include(grid: &mut Grid, draft: &Draft, collapse: bool) -> Result<(), Diagnostic> {
    if draft.includes.is_empty() {
        return Ok(());
    }
    let mut base = Vec::new();
    for column in &mut grid.columns {
        base.push(column.intern(&base_value(draft, column.key)).0);
    }
    let mut seen: HashSet<Vec<u32>> = grid.rows().map(<[u32]>::to_vec).collect();
    for include in &draft.includes {
        let mut rows = vec![base.clone()];
        for term in &include.terms {
            let Some(position) = grid.columns.iter().position(|column| column.key == term.key) else {
                continue;
            };
            let mut next = Vec::new();
            for row in &rows {
                for value in &term.values {
                    let mut row = row.clone();
                    row[position] = grid.columns[position].intern(value).0;
                    next.push(row);
                }
            }
            rows = next;
        }
        for mut row in rows {
            row.resize(row.len().max(1), 0);
            if seen.insert(row.clone()) {
                grid.cells.extend_from_slice(&row);
            } else if !collapse {
                return Err(identical(draft, grid, (include, &row)));
            }
        }
    }
    Ok(())
}

fn identical(draft: &Draft, grid: &Grid, (include, row): (&Condition, &[u32])) -> Diagnostic {
    let values: Vec<String> = grid
        .columns
        .iter()
        .zip(row)
        .map(|(column, index)| format!("{} = {}", column.key.name, column.values[*index as usize].value))
        .collect();
    let tables: Vec<String> = (draft.schema.tables.iter().filter(|table| table.axes))
        .map(|table| format!("[{}]", table.name))
        .collect();
    let hint = format!(
        "keys that an [[include]] does not name have the value of {}, not of the grid",
        tables.join(", ")
    );
    Diagnostic::new(format!("[[include]] adds a point that is there already: {}", values.join(", ")))
        .at(&include.origin)
        .hint(hint)
}
