//! `[baseline]`: which points tables compare against.

use super::document::{Condition, Draft, value_list};
use super::error::Diagnostic;
use super::grid::{Grid, Matcher};
use super::keys::Key;
use super::read::Given;
use super::read::listed;
use super::value::Value;

/// The rows that `[baseline]` means: one, or one per seed when it leaves the seed open. Empty without `[baseline]`.
///
/// # Errors
/// It matches no point, or several of one seed.
pub(super) fn rows(draft: &Draft, grid: &Grid) -> Result<Vec<usize>, Diagnostic> {
    let Some(baseline) = &draft.baseline else { return Ok(Vec::new()) };
    let mut terms = Vec::new();
    for term in &baseline.terms {
        match grid.column(term.key) {
            Some((position, column)) => terms.push((position, column.mask(&term.values))),
            None => check_constant(draft, term.key, &term.values)?,
        }
    }
    // What only an [[include]] varies has the base's value (the column's first) where nothing is said.
    for (position, column) in grid.columns.iter().enumerate() {
        if !column.in_grid
            && !is_seed(column.key)
            && !baseline.terms.iter().any(|term| term.key == column.key)
        {
            terms.push((position, (0..column.values.len()).map(|index| index == 0).collect()));
        }
    }
    let matcher = Matcher(terms);
    let matching: Vec<(usize, &[u32])> =
        grid.rows().enumerate().filter(|(_, row)| matcher.matches(row)).collect();
    if matching.is_empty() {
        return Err(not_in_grid(grid, baseline));
    }
    let open = open_axes(grid, baseline, &matching);
    if !open.is_empty() {
        let (dotted, bare): (Vec<String>, Vec<String>) =
            open.iter().map(|key| (key.dotted(), key.name.to_owned())).unzip();
        let message =
            format!("[baseline] means {} points: it leaves {} open", matching.len(), listed(&dotted, "and"));
        let hint = format!("name {} as well (only `seed` may be left open)", listed(&bare, "and"));
        return Err(Diagnostic::new(message).at(&baseline.origin).hint(hint));
    }
    Ok(matching.into_iter().map(|(row, _)| row).collect())
}

fn is_seed(key: &Key) -> bool {
    key.table.is_own() && key.name == "seed"
}

/// Columns other than the seed that differ between the matching rows.
fn open_axes(grid: &Grid, baseline: &Condition, matching: &[(usize, &[u32])]) -> Vec<&'static Key> {
    let Some((_, first)) = matching.first() else { return Vec::new() };
    let open = grid.columns.iter().enumerate().filter(|(position, column)| {
        let named = baseline.terms.iter().any(|term| term.key == column.key);
        !named && !is_seed(column.key) && matching.iter().any(|(_, row)| row[*position] != first[*position])
    });
    open.map(|(_, column)| column.key).collect()
}

/// A key that no point varies can only be named with the value that all points have.
fn check_constant(draft: &Draft, key: &'static Key, values: &[Given]) -> Result<(), Diagnostic> {
    let have: Value = draft.given(key).map_or_else(|| draft.settings.get(key), |given| given.value.clone());
    let Some(wrong) = values.iter().find(|given| given.value != have) else { return Ok(()) };
    let message = format!("the baseline is not in the grid: `{}` = {} there", key.dotted(), wrong.value);
    let hint = format!("it is {have} in every point; add an axis in [grid], or mend [baseline]");
    Err(Diagnostic::new(message).at(&wrong.origin).hint(hint))
}

fn not_in_grid(grid: &Grid, baseline: &Condition) -> Diagnostic {
    for term in &baseline.terms {
        let Some((position, _)) = grid.column(term.key) else { continue };
        let used = grid.used(position);
        if let Some(wrong) =
            term.values.iter().find(|given| used.iter().all(|have| have.value != given.value))
        {
            let message = format!(
                "the baseline is not in the grid: no point has `{}` = {}",
                term.key.dotted(),
                wrong.value
            );
            return Diagnostic::new(message)
                .at(&wrong.origin)
                .hint(format!("values in the grid: {}", value_list(used)));
        }
    }
    Diagnostic::new("the baseline is not in the grid: no point has all these values together")
        .at(&baseline.origin)
        .hint("an [[exclude]] may drop it; an [[include]] with the same values can add it")
}
