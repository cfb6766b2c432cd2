//! Checks that need more than one key, and the files that a sweep reads.

use std::path::Path;

use super::document::Draft;
use super::error::{Diagnostic, Origin};
use super::grid::Grid;
use super::keys::{Key, closest};
use super::kind::Kind;
use super::read::Given;
use super::schema::Clash;
use super::table::Table;
use super::{BuildSpec, Value};

/// The message for `clash` in the point called `name` with the values `row`.
pub(super) fn clash_in(draft: &Draft, grid: &Grid, row: &[u32], name: &str, clash: &Clash) -> Diagnostic {
    let origin = clash.keys.iter().find_map(|key| {
        let key = draft.schema.resolve(key, |_| true).ok()?;
        match grid.column(key) {
            Some((position, column)) => Some(&column.values[row[position] as usize].origin),
            None => draft.given(key).map(|given| &given.origin),
        }
    });
    let message = match grid.rows().len() {
        1 => clash.message.clone(),
        _ => format!("point `{name}`: {}", clash.message),
    };
    Diagnostic::new(message).at(origin.unwrap_or(&draft.whole)).hint(clash.hint)
}

/// Keys that must be given and are not.
pub(super) fn missing(draft: &Draft) -> Vec<Diagnostic> {
    let schema = draft.schema;
    let needed = |table: Table| table.is_own() || draft.uses(table);
    schema
        .all_tables()
        .filter(|table| needed(*table))
        .flat_map(|table| schema.keys_of(table))
        .filter(|key| key.is_required() && draft.given(key).is_none())
        .map(|key| {
            let table = key.table.name();
            let origin = draft.table(table).unwrap_or(&draft.whole);
            let place = if key.kind == Kind::Path { ", relative to the sweep file" } else { "" };
            Diagnostic::new(format!("`{}` is missing", key.dotted()))
                .at(origin)
                .hint(format!("add `{} = \"...\"` to [{table}]{place}", key.name))
        })
        .collect()
}

/// A file that the sweep reads.
#[derive(Debug)]
pub(super) struct Input {
    pub key: &'static Key,
    pub given: Given,
}

/// All files that the points and the evaluation read.
pub(super) fn inputs(draft: &Draft, grid: &Grid) -> Vec<Input> {
    let mut inputs = Vec::new();
    let paths = draft.schema.all_keys();
    for key in paths.filter(|key| matches!(key.kind, Kind::Path | Kind::OptionalPath)) {
        let given: Vec<&Given> = match grid.column(key) {
            Some((position, _)) => grid.used(position),
            None => draft.given(key).into_iter().collect(),
        };
        inputs.extend(given.into_iter().map(|given| Input { key, given: given.clone() }));
    }
    inputs
}

/// Whether `input` is a file that `build` makes: it may be missing.
pub(super) fn is_made(input: &Input, build: Option<&BuildSpec>) -> bool {
    let (Some(build), Value::Path { resolved, .. }) = (build, &input.given.value) else { return false };
    let is = |table: &str, name: &str| input.key.table.name() == table && input.key.name == name;
    let also = build.params.eval_file.as_ref() == Some(resolved);
    is("data", "trajectories") || is("data.build", "eval_file") || (is("eval", "logged") && also)
}

/// Checks that `input` is a file. Reads the file system, nothing else here does.
pub(super) fn exists(input: &Input) -> Option<Diagnostic> {
    let Value::Path { written, resolved } = &input.given.value else { return None };
    let origin = &input.given.origin;
    let problem = |what: &str| Diagnostic::new(format!("`{}`: {what}", input.key.dotted())).at(origin);
    match std::fs::metadata(resolved) {
        Ok(metadata) if metadata.is_file() => None,
        Ok(_) => {
            Some(problem(&format!("`{}` is not a file", resolved.display())).hint("name the file itself"))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let diagnostic = problem(&format!("there is no file `{}`", resolved.display()));
            Some(diagnostic.hint(way_to_file(written, resolved, origin)))
        }
        Err(error) => Some(problem(&format!("cannot read `{}`: {error}", resolved.display()))),
    }
}

fn way_to_file(written: &str, resolved: &Path, origin: &Origin) -> String {
    let wanted = resolved.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let siblings = files_beside(resolved);
    if let Some(meant) = closest(&wanted, siblings.iter().map(String::as_str)) {
        return format!("did you mean `{}`?", Path::new(written).with_file_name(meant).display());
    }
    if written.starts_with('~') {
        return "write the whole path: `~` means nothing here".to_owned();
    }
    let base = if origin.source.is_file { "paths are" } else { "paths given with --set, too, are" };
    let mut hint = format!("{base} relative to the directory of the sweep file");
    if Path::new(written).is_file() {
        hint.push_str(", but this one exists in the current directory");
    }
    hint
}

/// Names of the files in the directory of `path`.
pub(super) fn files_beside(path: &Path) -> Vec<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.path().is_file())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}
