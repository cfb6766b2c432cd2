//! `--set key=value`, `--where key=value` and every other place of the command line that names values of keys.
//!
//! One grammar for all: the key bare, dotted or as the lab writes it; the value as in a sweep file, with the liberties of
//! a command line (no quotes, `.5`, `True`); `key=a,b` are alternatives, and so is a key that is given again; a list is
//! written with brackets, `freeze=[]` is the empty one; quotes hold commas together.

use std::path::Path;
use std::rc::Rc;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Axis, AxisGroup, Draft, value_list, way_out_of_axes};
use super::error::{Diagnostic, Origin, Source};
use super::grid::{Grid, Matcher};
use super::keys::{Key, LabForm, closest};
use super::kind::Kind;
use super::read::listed;
use super::read::{Given, Reader};
use super::registry::known;
use super::schema::{Schema, Unresolved};
use super::value::Value;

/// One `key=value` of the command line, split.
struct Argument<'a> {
    /// `--set` or `--where`
    option: &'static str,
    key: &'a str,
    value: &'a str,
    reader: Reader,
}

impl<'a> Argument<'a> {
    fn split(option: &'static str, text: &'a str, dir: &Path) -> Result<Self, Diagnostic> {
        let source = Rc::new(Source { name: option.to_owned(), text: text.to_owned(), is_file: false });
        let reader = Reader { source, offset: 0, dir: dir.to_owned() };
        match text.split_once('=') {
            Some((key, value)) if !key.trim().is_empty() => {
                let leading = value.len() - value.trim_start().len();
                let reader = Reader { offset: key.len() + 1 + leading, ..reader };
                Ok(Self { option, key: key.trim(), value: value.trim(), reader })
            }
            _ => {
                let origin = Origin { span: 0..text.len(), source: reader.source };
                Err(Diagnostic::new(format!("{option} takes `key=value`, but is given `{text}`"))
                    .at(&origin)
                    .hint(format!("write, for example, {option} kl_beta=0.1")))
            }
        }
    }

    fn key_origin(&self) -> Origin {
        let start = self.reader.source.text.find(self.key).unwrap_or(0);
        Origin { source: Rc::clone(&self.reader.source), span: start..start + self.key.len() }
    }

    fn resolve(&self, schema: &'static Schema) -> Result<(&'static Key, LabForm), Diagnostic> {
        match schema.resolve(self.key, |_| true) {
            Ok(key) => Ok((key, LabForm::Same)),
            Err(Unresolved::Ambiguous(meanings)) => {
                let problem = Diagnostic::new(format!("`{}` could be more than one key", self.key));
                Err(problem.at(&self.key_origin()).hint(format!("write {}", listed(&meanings, "or"))))
            }
            Err(Unresolved::Unknown) => schema.lab_key(self.key).ok_or_else(|| {
                let bare = self.key.rsplit('.').next().unwrap_or(self.key);
                let meant = closest(bare, schema.all_keys().map(|key| key.name));
                let hint = meant.map_or_else(
                    || way_out_of_axes(schema, bare),
                    |meant| format!("did you mean `{meant}`?"),
                );
                Diagnostic::new(format!("unknown key `{}` in {}", self.key, self.option))
                    .at(&self.key_origin())
                    .hint(hint)
            }),
        }
    }

    /// One value of `key`, written as `text`, under a name of the given form.
    fn value(&self, key: &'static Key, form: LabForm, text: &str, base: &Value) -> Result<Given, Diagnostic> {
        let origin = self.origin_of(text);
        let toml = match form {
            LabForm::Same => toml_text(key.kind, text),
            LabForm::Inverted => return Ok(Given { value: Value::Flag(!self.flag(text)?), origin }),
            LabForm::Switch(off, on) => quote(if self.flag(text)? { on } else { off }),
            LabForm::Element(position) => replaced(base, position, text),
        };
        let item = DeValue::parse(&toml).unwrap_or_else(|_| Spanned::new(0..0, DeValue::String(text.into())));
        // The caret goes below what was typed, whatever TOML it became.
        let item = Spanned::new(0..text.len(), item.into_inner());
        Ok(Given { origin, ..self.reader.value(key, &item)? })
    }

    /// Where the value, or `part` of it, stands.
    fn origin_of(&self, part: &str) -> Origin {
        let start = self.reader.offset + self.value.find(part).unwrap_or(0);
        Origin { source: Rc::clone(&self.reader.source), span: start..start + part.len() }
    }

    fn flag(&self, text: &str) -> Result<bool, Diagnostic> {
        flag(text).ok_or_else(|| {
            Diagnostic::new(format!("`{}` must be true or false, but is `{text}`", self.key))
                .at(&self.origin_of(text))
        })
    }
}

/// A key and its value, from a name (the lab's, or a key's, dotted or bare) and a text as a command line has it.
/// `so_far` is the value that the key has already: the lab names halves of pairs. `None`: the name is no key.
///
/// # Errors
/// The text is no value of the key; the message is for the user.
pub fn setting(
    schema: &'static Schema,
    name: &str,
    text: &str,
    so_far: impl Fn(&Key) -> Option<Value>,
) -> Option<Result<(&'static Key, Value), String>> {
    let (key, form) = schema
        .lab_key(name)
        .or_else(|| Some((schema.resolve(name, |key| key.table.is_own()).ok()?, LabForm::Same)))?;
    let whole = format!("{name}={text}");
    let value = Argument::split("--set", &whole, Path::new("")).and_then(|argument| {
        let base = so_far(key).or_else(|| key.default()).unwrap_or(Value::Text(String::new()));
        argument.value(key, form, text, &base)
    });
    Some(value.map(|given| (key, given.value)).map_err(|problem| problem.message))
}

/// The text of a pair of which one element is `text`.
fn replaced(base: &Value, position: usize, text: &str) -> String {
    let mut elements: Vec<String> = match base {
        Value::Numbers(numbers) => numbers.iter().map(f64::to_string).collect(),
        Value::Counts(counts) => counts.iter().map(u64::to_string).collect(),
        _ => Vec::new(),
    };
    if let Some(element) = elements.get_mut(position) {
        text.clone_into(element);
    }
    format!("[{}]", elements.join(", "))
}

/// The switches of shells and of Python.
fn flag(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// `text` as TOML, with the liberties of a command line: texts without quotes, `.5`, `True`, lists without brackets.
fn toml_text(kind: Kind, text: &str) -> String {
    let kind_of = |text: &str| DeValue::parse(text).ok().map(|item| item.get_ref().type_str());
    let listed = format!("[{text}]");
    let number = || Some(format!("{:e}", text.parse::<f64>().ok()?));
    match (kind, kind_of(text)) {
        (Kind::Flag, _) => flag(text).map(|flag| flag.to_string()),
        (Kind::Number(_), None) => number(),
        (Kind::Samples, Some("integer")) => Some(text.to_owned()),
        (_, Some("array")) if kind.is_list() => Some(text.to_owned()),
        (_, found)
            if kind_of(&listed).is_some() && (kind.is_list() || found.is_none() && text.contains(',')) =>
        {
            Some(listed)
        }
        (Kind::Number(_) | Kind::Count { .. } | Kind::Patience, Some(_)) | (_, Some("string")) => {
            Some(text.to_owned())
        }
        _ => None,
    }
    .unwrap_or_else(|| match kind {
        Kind::Set(_) => quote(text.trim_start_matches('[').trim_end_matches(']')),
        Kind::Choices(_) => {
            format!("[{}]", text.split(',').map(|name| quote(name.trim())).collect::<Vec<_>>().join(", "))
        }
        Kind::Texts => format!("[{}]", quote(text)),
        _ => quote(text),
    })
}

/// Applies every `--set` to the draft; returns the keys that they fix. Of two for one key the later one counts.
pub(super) fn set(
    draft: &mut Draft,
    arguments: &[String],
    dir: &Path,
) -> Result<Vec<&'static Key>, Vec<Diagnostic>> {
    let mut fixed: Vec<&'static Key> = Vec::new();
    let mut problems = Vec::new();
    for text in arguments {
        match set_one(draft, text, dir) {
            Ok(Some(key)) => fixed.push(key),
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(fixed) } else { Err(problems) }
}

fn set_one(draft: &mut Draft, text: &str, dir: &Path) -> Result<Option<&'static Key>, Diagnostic> {
    let argument = Argument::split("--set", text, dir)?;
    if argument.key.eq_ignore_ascii_case("batch_size") {
        return match argument.value {
            "1" => Ok(None),
            other => Err(Diagnostic::new(format!("batch size {other} is not possible"))
                .at(&argument.origin_of(other))
                .hint("a training step is always one query group, as in the lab's runs: leave it out, or 1")),
        };
    }
    let (key, form) = argument.resolve(draft.schema)?;
    let base = draft.settings.get(key);
    let given = argument.value(key, form, argument.value, &base)?;
    draft.set(key, &given);
    fix_axis(draft, key, &given);
    Ok(key.is_axis().then_some(key))
}

/// The key has one value from now on, whatever the file says of it: in the grid, in `[[include]]`, as the baseline.
fn fix_axis(draft: &mut Draft, key: &'static Key, given: &Given) {
    let Some(position) = draft.groups.iter().position(|group| group.axes.iter().any(|axis| axis.key == key))
    else {
        forget(draft, key);
        return;
    };
    let group = &mut draft.groups[position];
    let origin = group.origin.clone();
    group.axes.retain(|axis| axis.key != key);
    if group.axes.is_empty() {
        draft.groups.remove(position);
    } else {
        drop_repeated(group);
    }
    let axis = Axis { key, origin: origin.clone(), values: vec![given.clone()] };
    draft.groups.insert(position, AxisGroup { origin, axes: vec![axis] });
    forget(draft, key);
}

fn forget(draft: &mut Draft, key: &'static Key) {
    for include in &mut draft.includes {
        include.terms.retain(|term| term.key != key);
    }
    draft.includes.retain(|include| !include.terms.is_empty());
    if let Some(baseline) = &mut draft.baseline {
        baseline.terms.retain(|term| term.key != key);
    }
}

/// Zipped axes without one of them may take the same values twice.
fn drop_repeated(group: &mut AxisGroup) {
    let length = group.axes.first().map_or(0, |axis| axis.values.len());
    let mut seen = std::collections::HashSet::new();
    let keep: Vec<bool> = (0..length)
        .map(|position| {
            let texts: Vec<String> =
                group.axes.iter().map(|axis| axis.values[position].value.to_string()).collect();
            seen.insert(texts)
        })
        .collect();
    for axis in &mut group.axes {
        let mut keep = keep.iter();
        axis.values.retain(|_| keep.next().copied().unwrap_or(true));
    }
}

/// Which rows every `--where` lets through.
///
/// # Errors
/// Unknown keys, values that no point has, filters that leave nothing.
pub(super) fn filter(
    draft: &Draft,
    grid: &Grid,
    arguments: &[String],
    dir: &Path,
) -> Result<Vec<bool>, Diagnostic> {
    let mut terms = Vec::new();
    for text in arguments {
        let argument = Argument::split("--where", text, dir)?;
        let (key, form) = argument.resolve(draft.schema)?;
        if matches!(form, LabForm::Element(_)) {
            let problem = Diagnostic::new(format!("`{}` is one half of `{}`", argument.key, key.dotted()));
            let hint = format!("filter by both, such as --where {}={}", key.name, draft.settings.get(key));
            return Err(problem.at(&argument.key_origin()).hint(hint));
        }
        if !key.table.is_own() {
            let problem = Diagnostic::new(format!("points do not differ in `{}`", key.dotted()));
            let hint = format!("filter by keys of {}", draft.schema.own_tables(|_| true));
            return Err(problem.at(&argument.key_origin()).hint(hint));
        }
        let Some((column, mask)) = term(draft, grid, &argument, key, form)? else { continue };
        match terms.iter_mut().find(|(known, _): &&mut (usize, Vec<bool>)| *known == column) {
            // A key that is given again: either will do.
            Some((_, known)) => known.iter_mut().zip(mask).for_each(|(known, more)| *known |= more),
            None => terms.push((column, mask)),
        }
    }
    let matcher = Matcher(terms);
    let keep: Vec<bool> = grid.rows().map(|row| matcher.matches(row)).collect();
    if keep.contains(&true) {
        return Ok(keep);
    }
    let axes = matcher.0.iter().map(|(position, _)| {
        format!("`{}` is one of {}", grid.columns[*position].key.name, value_list(grid.used(*position)))
    });
    Err(Diagnostic::new(format!("no point matches --where {}", arguments.join(" --where ")))
        .hint(axes.collect::<Vec<_>>().join("; ")))
}

/// The values any of which will do.
fn wanted(
    argument: &Argument,
    key: &'static Key,
    form: LabForm,
    base: &Value,
) -> Result<Vec<Given>, Diagnostic> {
    let many = !key.kind.is_list() && !argument.value.starts_with(['[', '"']);
    if many {
        let parts = argument.value.split(',');
        parts.map(|part| argument.value(key, form, part.trim(), base)).collect()
    } else if argument.value.starts_with('[') && form == LabForm::Same {
        let toml = toml_text(key.kind, argument.value);
        let item = DeValue::parse(&toml).unwrap_or_else(|_| Spanned::new(0..0, DeValue::Boolean(false)));
        argument.reader.any_of(key, &item)
    } else {
        Ok(vec![argument.value(key, form, argument.value, base)?])
    }
}

/// `key=value` on results, read as `--where` reads it on a sweep file: the dotted key and the values any of which will
/// do, as results keep them. `None` where it is not of this form or names no key of this program.
pub fn condition(text: &str) -> Option<(String, Vec<serde_json::Value>)> {
    let argument = Argument::split("--where", text, Path::new("")).ok()?;
    let (key, form) = known().iter().find_map(|schema| argument.resolve(schema).ok())?;
    let values = wanted(&argument, key, form, &key.default()?).ok()?;
    Some((key.dotted(), values.iter().map(|given| given.value.json()).collect()))
}

/// The conditions of a list such as `kl_beta=0.1,0.15,freeze=[]`: cut at the commas before a `key=`.
pub fn split_conditions(text: &str) -> Vec<String> {
    let (mut parts, mut depth, mut quoted, mut start) = (Vec::new(), 0u32, false, 0);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '[' if !quoted => depth += 1,
            ']' if !quoted => depth = depth.saturating_sub(1),
            ',' if !quoted && depth == 0 => {
                let rest = &text[at + 1..];
                let next = rest.find([',', '[', '"']).map_or(rest, |end| &rest[..end]);
                if next.contains('=') {
                    parts.push(text[start..at].trim().to_owned());
                    start = at + 1;
                }
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim().to_owned());
    parts
}

/// The condition of one `--where`; `None` when it holds for every point.
fn term(
    draft: &Draft,
    grid: &Grid,
    argument: &Argument,
    key: &'static Key,
    form: LabForm,
) -> Result<Option<(usize, Vec<bool>)>, Diagnostic> {
    let base = draft.settings.get(key);
    let wanted = wanted(argument, key, form, &base)?;
    let (mask, have) = match grid.column(key) {
        Some((position, column)) => (Some((position, column.mask(&wanted))), value_list(grid.used(position))),
        None => (None, draft.given(key).map_or(base, |given| given.value.clone()).to_string()),
    };
    let found = match &mask {
        Some((position, _)) => {
            grid.used(*position).iter().any(|have| wanted.iter().any(|w| w.value == have.value))
        }
        None => wanted.iter().any(|given| given.value.to_string() == have),
    };
    if found {
        return Ok(mask);
    }
    let origin = argument.origin_of(argument.value);
    let hint = match mask {
        Some(_) => format!("`{}` is one of {have}", key.name),
        None => format!("`{}` is {have} in every point", key.name),
    };
    let message = format!("no point has `{}` = {}", key.dotted(), value_list(&wanted));
    Err(Diagnostic::new(message).at(&origin).hint(hint))
}
