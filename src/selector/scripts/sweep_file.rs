//! Points -> the text of sweep files, one per data set and start.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

use super::grid::{Form, Row, form};
use super::point::Point;
use super::shell::normal;
use crate::selector::SCHEMA;
use crate::spec::{self, Key, Kind, LoadOptions, Value};

/// A sweep file that is not written yet.
#[derive(Clone, Debug)]
pub struct SweepFile {
    /// Without `.toml`.
    pub name: String,
    pub text: String,
    pub points: usize,
    /// Keys of paths that have to be set, and what they are now.
    pub missing: Vec<(String, String)>,
    /// Scripts that are one point, in words.
    pub same: Vec<String>,
}

/// What stands for a path that no script names.
const UNNAMED: &str = "SET-THIS-PATH";

/// The sweep files, to lie in `directory` (absolute), that give exactly `points`.
///
/// # Errors
/// Points that no sweep can have (a message of the sweep file's own check).
pub fn sweep_files(
    points: &[Point],
    directory: &Path,
    exists: impl Fn(&Path) -> bool,
) -> Result<Vec<SweepFile>, String> {
    let mut groups: BTreeMap<Vec<Option<String>>, Vec<&Point>> = BTreeMap::new();
    for point in points {
        let start = shared_keys().map(|key| value(point, key).map(|value| value.to_string())).collect();
        groups.entry(start).or_default().push(point);
    }
    let mut files: Vec<SweepFile> = Vec::new();
    for points in groups.values() {
        let base = name(points);
        let taken = |name: &str| files.iter().any(|file| file.name == name);
        let name = match taken(&base) {
            false => base,
            true => (2..).map(|n| format!("{base}-{n}")).find(|name| !taken(name)).unwrap_or(base),
        };
        files.push(file(&name, points, directory, &exists)?);
    }
    Ok(files)
}

/// Whether `key` says where the data come from.
fn is_data(key: &Key) -> bool {
    key.table.is_own() && !key.is_axis()
}

/// Keys that all points of a file have in common: the data, and the checkpoint to start from.
fn shared_keys() -> impl Iterator<Item = &'static Key> {
    SCHEMA.all_keys().filter(|key| is_data(key) || key.kind == Kind::OptionalPath)
}

fn value<'p>(point: &'p Point, key: &Key) -> Option<&'p Value> {
    point.settings.iter().find(|setting| setting.key == key).map(|setting| &setting.value)
}

fn file(
    name: &str,
    points: &[&Point],
    directory: &Path,
    exists: &impl Fn(&Path) -> bool,
) -> Result<SweepFile, String> {
    let keys: Vec<&'static Key> = SCHEMA
        .all_keys()
        .filter(|key| key.is_required() && is_data(key) || points.iter().any(|p| value(p, key).is_some()))
        .collect();
    let text_of = |point: &Point, key: &Key| match value(point, key) {
        Some(value) => shown(value, directory),
        None => key.default().map_or_else(|| format!("{UNNAMED:?}"), |value| value.to_string()),
    };
    let mut axes: Vec<(&'static Key, Vec<String>)> = Vec::new();
    let mut fixed: Vec<(&'static Key, String)> = Vec::new();
    for key in keys {
        let mut values: Vec<(Option<f64>, String)> = Vec::new();
        for point in points {
            let text = text_of(point, key);
            if !values.iter().any(|(_, known)| *known == text) {
                values.push((text.parse().ok(), text));
            }
        }
        if values.iter().all(|(number, _)| number.is_some()) {
            values.sort_by(|a, b| a.0.unwrap_or_default().total_cmp(&b.0.unwrap_or_default()));
        }
        let mut texts: Vec<String> = values.into_iter().map(|(_, text)| text).collect();
        match texts.len() {
            1 => fixed.push((key, texts.swap_remove(0))),
            _ => axes.push((key, texts)),
        }
    }
    let row = |point: &Point| -> Row {
        axes.iter()
            .map(|(key, texts)| {
                let text = text_of(point, key);
                texts.iter().position(|known| *known == text).unwrap_or_default()
            })
            .collect()
    };
    let mut rows: Vec<Row> = Vec::new();
    let mut first: Vec<&Point> = Vec::new();
    let mut same = Vec::new();
    for point in points {
        let row = row(point);
        match rows.iter().position(|known| *known == row) {
            Some(position) => same.push(alike(first[position], point)),
            None => {
                rows.push(row);
                first.push(point);
            }
        }
    }
    let form = form(&rows);
    let mut text = heading(name, points);
    text += &tables(&axes, &fixed, &form, &rows);
    let missing = missing(points[0], directory, exists);
    check(name, &text, directory, &axes, &rows)?;
    Ok(SweepFile { name: name.to_owned(), text, points: rows.len(), missing, same })
}

fn alike(first: &Point, second: &Point) -> String {
    let place = |point: &Point| format!("{}:{}", point.script, point.line);
    let flags = |a: &Point, b: &Point| {
        a.other.iter().filter(|flag| !b.other.contains(flag)).cloned().collect::<Vec<_>>()
    };
    let differ = [flags(first, second), flags(second, first)].concat();
    let differ = match differ.is_empty() {
        true => String::new(),
        false => format!(" (they differ in what is no key: {})", differ.join(", ")),
    };
    format!("{} and {} are the same point{differ}", place(first), place(second))
}

/// The file's head: which script is which point, and where its values stand.
fn heading(name: &str, points: &[&Point]) -> String {
    let mut text = String::from(
        "# Written by `sweep import-scripts`. What no script sets has its default.\n#\n# The points by script (line of the training command), and the line of each value:\n",
    );
    for point in points {
        text += &format!("#   {}:{}\n", comment(&point.script), point.line);
        let values: Vec<String> = point
            .settings
            .iter()
            .filter(|setting| setting.key.is_axis() && !matches!(setting.key.kind, Kind::OptionalPath))
            .map(|setting| format!("{} = {} (line {})", setting.key.name, setting.value, setting.line))
            .collect();
        if !values.is_empty() {
            text += &format!("#     {}\n", comment(&values.join(", ")));
        }
    }
    text + &format!("\nname = \"{name}\"\n")
}

/// Without control characters, which end a comment.
fn comment(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

fn tables(
    axes: &[(&'static Key, Vec<String>)],
    fixed: &[(&'static Key, String)],
    form: &Form,
    rows: &[Row],
) -> String {
    let mut text = String::new();
    let turning: Vec<usize> = form
        .wheels
        .iter()
        .filter(|(_, values)| values.len() > 1)
        .flat_map(|(group, _)| group.clone())
        .collect();
    let start = |axis: usize| {
        let single =
            form.wheels.iter().find(|(group, _)| group.contains(&axis)).map(|(group, values)| {
                values[0][group.iter().position(|one| *one == axis).unwrap_or_default()]
            });
        single.unwrap_or_else(|| rows[0][axis])
    };
    for table in SCHEMA.all_tables() {
        let fixed = fixed.iter().filter(|(key, _)| key.table == table).map(|(key, value)| {
            let unnamed = if value.contains(UNNAMED) { "   # no script names it" } else { "" };
            format!("{} = {value}{unnamed}\n", key.name)
        });
        let still =
            axes.iter().enumerate().filter(|(axis, (key, _))| key.table == table && !turning.contains(axis));
        let still = still.map(|(axis, (key, values))| format!("{} = {}\n", key.name, values[start(axis)]));
        let lines: String = fixed.chain(still).collect();
        if !lines.is_empty() {
            text += &format!("\n[{}]\n{lines}", table.name());
        }
    }
    let list = |axis: usize, values: Vec<usize>| {
        let (key, texts) = &axes[axis];
        let values: Vec<&str> = values.into_iter().map(|value| texts[value].as_str()).collect();
        format!("{} = [{}]\n", key.name, values.join(", "))
    };
    let several: Vec<_> = form.wheels.iter().filter(|(_, values)| values.len() > 1).collect();
    if !several.is_empty() {
        text += "\n[grid]\n";
        for (group, values) in several.iter().filter(|(group, _)| group.len() == 1) {
            text += &list(group[0], values.iter().map(|value| value[0]).collect());
        }
        for (group, values) in several.iter().filter(|(group, _)| group.len() > 1) {
            text += "\n[[grid.zip]]\n";
            for (position, axis) in group.iter().enumerate() {
                text += &list(*axis, values.iter().map(|value| value[position]).collect());
            }
        }
    }
    let condition = |header: &str, terms: &[(usize, usize)]| {
        let terms: String = terms
            .iter()
            .map(|(axis, value)| format!("{} = {}\n", axes[*axis].0.name, axes[*axis].1[*value]))
            .collect();
        format!("\n[[{header}]]\n{terms}")
    };
    for terms in &form.excludes {
        text += &condition("exclude", terms);
    }
    for row in &form.includes {
        let terms: Vec<(usize, usize)> = row.iter().copied().enumerate().collect();
        text += &condition("include", &terms);
    }
    text
}

/// The paths that are not there.
fn missing(point: &Point, directory: &Path, exists: &impl Fn(&Path) -> bool) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for key in shared_keys().filter(|key| matches!(key.kind, Kind::Path | Kind::OptionalPath)) {
        match value(point, key) {
            Some(Value::Path { resolved, .. }) if !exists(resolved) => {
                missing.push((key.dotted(), relative(resolved, directory).display().to_string()));
            }
            None if key.is_required() => missing.push((key.dotted(), UNNAMED.to_owned())),
            _ => {}
        }
    }
    missing
}

/// Reads the text back: exactly the rows, or it is not written.
fn check(
    name: &str,
    text: &str,
    directory: &Path,
    axes: &[(&'static Key, Vec<String>)],
    rows: &[Row],
) -> Result<(), String> {
    let path = directory.join(format!("{name}.toml"));
    let options = LoadOptions { allow_huge: true, ..LoadOptions::default() };
    let spec = spec::parse(text, &path, &options).map_err(|error| error.to_string())?;
    let given: BTreeSet<String> = spec
        .points
        .iter()
        .map(|point| {
            let of =
                |key: &Key| point.axes.iter().find(|(name, _)| *name == key.dotted()).map(|(_, value)| value);
            axes.iter().map(|(key, _)| format!("{:?} ", of(key).map(plain))).collect()
        })
        .collect();
    let meant: BTreeSet<String> = rows
        .iter()
        .map(|row| {
            let text = |axis: usize| toml_json(&axes[axis].1[row[axis]]);
            (0..axes.len()).map(|axis| format!("{:?} ", text(axis).as_ref().map(plain))).collect()
        })
        .collect();
    match given == meant && spec.points.len() == rows.len() {
        true => Ok(()),
        false => Err(format!("the {} points of {name} cannot be written as one sweep file", rows.len())),
    }
}

/// JSON without the difference of 1 and 1.0, and with freeze sets in one spelling.
fn plain(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Number(number) => {
            number.as_f64().map_or_else(|| number.to_string(), spec::number_text)
        }
        serde_json::Value::Array(all) => all.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

fn toml_json(text: &str) -> Option<serde_json::Value> {
    let table: toml::Table = format!("v = {text}").parse().ok()?;
    serde_json::to_value(table.get("v")?).ok()
}

/// As TOML; paths relative to `directory`.
fn shown(value: &Value, directory: &Path) -> String {
    match value {
        Value::Path { resolved, .. } => {
            toml::Value::String(relative(resolved, directory).display().to_string()).to_string()
        }
        other => other.to_string(),
    }
}

/// `path` from `directory`, both absolute; as it is where they share nothing.
fn relative(path: &Path, directory: &Path) -> PathBuf {
    let (path, directory) = (normal(path), normal(directory));
    let shared = path.components().zip(directory.components()).take_while(|(a, b)| a == b).count();
    if shared <= 1 {
        return path;
    }
    let up = directory.components().skip(shared).map(|_| Component::ParentDir);
    up.chain(path.components().skip(shared)).collect()
}

/// What the names of the scripts begin with, all of them.
fn name(points: &[&Point]) -> String {
    let stem = |point: &&Point| {
        let name = point.script.rsplit('/').next().unwrap_or_default();
        name.strip_suffix(".sh").unwrap_or(name).to_owned()
    };
    let stems: BTreeSet<String> = points.iter().map(stem).collect();
    let first = stems.first().cloned().unwrap_or_default();
    let mut common = first;
    while !stems.iter().all(|stem| stem.starts_with(&common)) {
        common.pop();
    }
    let ends_a_word = |stem: &String| stem[common.len()..].starts_with(['_', '-']) || *stem == common;
    if !stems.iter().all(ends_a_word) {
        // Half a value (`kl01` of kl012 and kl015) says something wrong.
        common.truncate(common.rfind(['_', '-']).unwrap_or(0));
    }
    let name: String = common
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "_-.".contains(letter) { letter } else { '_' })
        .take(90)
        .collect();
    let name = name.trim_matches(['.', '-', '_']);
    if name.is_empty() { "scripts".to_owned() } else { name.to_owned() }
}
