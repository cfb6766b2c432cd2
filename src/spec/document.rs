//! TOML text -> [`Draft`]: every key checked on its own, nothing combined yet. Collects all mistakes it can find.

use std::path::PathBuf;
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Diagnostic, Origin, Source};
use super::keys::{Key, closest};
use super::read::{Entry, Given, Reader, entries, listed, shown};
use super::schema::{Schema, Unresolved};
use super::table::Table;
use super::values::Values;
use super::whose::schema_of_file;

/// A sweep file, key by key.
#[derive(Debug)]
pub(super) struct Draft {
    /// What the file may say.
    pub schema: &'static Schema,
    /// Defaults and what the file sets outside the grid.
    pub settings: Values,
    /// What was given outside the grid, and where; the last one of a key counts.
    pub given: Vec<(&'static Key, Given)>,
    /// Tables that are present (by name, also `grid`), and where.
    pub tables: Vec<(String, Origin)>,
    /// The grid, in the order of the file.
    pub groups: Vec<AxisGroup>,
    pub excludes: Vec<Condition>,
    pub includes: Vec<Condition>,
    pub baseline: Option<Condition>,
    /// The file as a whole, for what is missing in it.
    pub whole: Origin,
}

/// One axis, or several that advance together.
#[derive(Clone, Debug)]
pub(super) struct AxisGroup {
    /// Where the group begins.
    pub origin: Origin,
    /// All with equally many values.
    pub axes: Vec<Axis>,
}

/// A key and the values it takes.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub key: &'static Key,
    /// Where the key is named.
    pub origin: Origin,
    pub values: Vec<Given>,
}

/// `[[exclude]]`, `[[include]]` or `[baseline]`: values of some keys. For each key, any of its values will do.
#[derive(Clone, Debug)]
pub(super) struct Condition {
    pub origin: Origin,
    pub terms: Vec<Axis>,
}

impl Draft {
    /// What was given for `key` outside the grid.
    pub fn given(&self, key: &Key) -> Option<&Given> {
        self.given.iter().rev().find(|(given, _)| *given == key).map(|(_, given)| given)
    }

    /// Whether the table called `name` is there.
    pub fn table(&self, name: &str) -> Option<&Origin> {
        self.tables.iter().find(|(table, _)| table == name).map(|(_, origin)| origin)
    }

    /// Whether the sweep has `table`: its header is there, or `--set` gave one of its keys.
    pub fn uses(&self, table: Table) -> bool {
        self.table(table.name()).is_some() || self.given.iter().any(|(key, _)| key.table == table)
    }

    /// Sets `key` outside the grid.
    pub fn set(&mut self, key: &'static Key, given: &Given) {
        self.settings.set(key, &given.value);
        self.given.push((key, given.clone()));
    }
}

/// Walks one file.
struct Walk {
    reader: Reader,
    draft: Draft,
    problems: Vec<Diagnostic>,
}

/// Reads `text`, the contents of the sweep file called `file`, whose paths are relative to `dir`.
///
/// # Errors
/// Every mistake that can be seen in one key alone; a syntax error alone.
pub(super) fn read(text: &str, file: &str, dir: PathBuf) -> Result<Draft, Vec<Diagnostic>> {
    let source = Rc::new(Source { name: file.to_owned(), text: text.to_owned(), is_file: true });
    let reader = Reader { source, offset: 0, dir };
    let root = DeTable::parse(text).map_err(|error| vec![syntax(&reader, &error)])?;
    let schema = schema_of_file(&reader, root.get_ref()).map_err(|problem| vec![problem])?;
    let draft = Draft {
        schema,
        settings: Values::of(schema),
        given: Vec::new(),
        tables: Vec::new(),
        groups: Vec::new(),
        excludes: Vec::new(),
        includes: Vec::new(),
        baseline: None,
        whole: reader.whole(),
    };
    let mut walk = Walk { reader, draft, problems: Vec::new() };
    walk.root(root.get_ref());
    if walk.problems.is_empty() { Ok(walk.draft) } else { Err(walk.problems) }
}

fn syntax(reader: &Reader, error: &toml::de::Error) -> Diagnostic {
    let diagnostic = Diagnostic::new(format!("not valid TOML: {}", error.message()));
    match error.span() {
        Some(span) => diagnostic.at(&reader.origin(&Spanned::new(span, ()))),
        None => diagnostic,
    }
}

impl Walk {
    fn root(&mut self, root: &DeTable) {
        for (name, item) in entries(root) {
            let origin = self.reader.origin(name);
            match name.get_ref().as_ref() {
                "grid" => {
                    if let Some(table) = self.expect_table(name, item) {
                        self.grid(table);
                    }
                }
                "exclude" => self.draft.excludes = self.conditions(name, item),
                "include" => self.draft.includes = self.conditions(name, item),
                "baseline" => {
                    if let Some(table) = self.expect_table(name, item) {
                        self.baseline(origin.clone(), table);
                    }
                }
                other => match self.draft.schema.table(other).filter(|table| !table.is_inner()) {
                    Some(section) => {
                        if let Some(table) = self.expect_table(name, item) {
                            self.section(section, table);
                        }
                    }
                    None => {
                        self.plain(Table::Top, name, item);
                        continue;
                    }
                },
            }
            self.draft.tables.push((name.get_ref().to_string(), origin));
        }
    }

    fn expect_table<'t, 'i>(
        &mut self,
        name: &Spanned<std::borrow::Cow<'i, str>>,
        item: &'t Spanned<DeValue<'i>>,
    ) -> Option<&'t DeTable<'i>> {
        let table = item.get_ref().as_table();
        if table.is_none() {
            let many = matches!(item.get_ref(), DeValue::Array(items) if items.iter().all(|i| i.get_ref().is_table()));
            let message = if many {
                format!("`{name}` is given as a list of tables, but there is only one of it")
            } else {
                format!("`{name}` must be a table, but is {}", shown(item.get_ref()))
            };
            let diagnostic = Diagnostic::new(message).at(&self.reader.origin(name));
            self.problems.push(diagnostic.hint(format!("write `[{name}]` on a line of its own")));
        }
        table
    }

    fn section(&mut self, section: Table, table: &DeTable) {
        for (name, item) in entries(table) {
            let full = format!("{}.{}", section.name(), name.get_ref());
            match self.draft.schema.inner(section).into_iter().find(|inner| inner.name() == full) {
                None => self.plain(section, name, item),
                Some(inner) => {
                    let origin = self.reader.origin(name);
                    if let Some(table) = self.expect_table(name, item) {
                        self.section(inner, table);
                    }
                    self.draft.tables.push((full, origin));
                }
            }
        }
    }

    /// `name = item` in a table of plain keys.
    fn plain(&mut self, table: Table, name: &Spanned<std::borrow::Cow<str>>, item: &Spanned<DeValue>) {
        let schema = self.draft.schema;
        let Some(key) = schema.keys_of(table).find(|key| key.name == name.get_ref()) else {
            let message = match table {
                Table::Top if item.get_ref().is_table() => format!("unknown table `[{name}]`"),
                Table::Top => format!("unknown key `{name}` above the first table"),
                table => format!("unknown key `{name}` in [{}]", table.name()),
            };
            let diagnostic = Diagnostic::new(message).at(&self.reader.origin(name)).hint(way_out(
                schema,
                name.get_ref(),
                table,
            ));
            self.problems.push(diagnostic);
            return;
        };
        match self.reader.value(key, item) {
            Ok(given) => self.draft.set(key, &given),
            Err(problem) => self.problems.push(problem),
        }
    }

    fn grid(&mut self, table: &DeTable) {
        let zips = table.get("zip");
        let axes = self.axes_of(table, "[grid]", &["zip"], Reader::axis);
        let mut groups: Vec<AxisGroup> = axes
            .into_iter()
            .map(|axis| AxisGroup { origin: axis.origin.clone(), axes: vec![axis] })
            .collect();
        match zips.map(|item| (item, item.get_ref())) {
            None => {}
            Some((_, DeValue::Array(items))) if items.iter().all(|item| item.get_ref().is_table()) => {
                for item in items.iter() {
                    if let DeValue::Table(table) = item.get_ref() {
                        groups.extend(self.zip(table, self.reader.origin(item)));
                    }
                }
            }
            Some((item, other)) => {
                let message = format!("`zip` must be a list of tables, but is {}", shown(other));
                let diagnostic = Diagnostic::new(message).at(&self.reader.origin(item));
                self.problems
                    .push(diagnostic.hint("write `[[grid.zip]]` above the axes that advance together"));
            }
        }
        groups.sort_by_key(|group| group.origin.span.start);
        self.check_axes_once(&groups);
        self.draft.groups = groups;
    }

    /// One `[[grid.zip]]`.
    fn zip(&mut self, table: &DeTable, header: Origin) -> Option<AxisGroup> {
        let mistakes = self.problems.len();
        let axes = self.axes_of(table, "[[grid.zip]]", &[], Reader::axis);
        if self.problems.len() > mistakes {
            return None;
        }
        let Some(first) = axes.first() else {
            let diagnostic = Diagnostic::new("[[grid.zip]] names no axis").at(&header);
            self.problems.push(diagnostic.hint("give it two or more keys with equally long lists"));
            return None;
        };
        if let Some(other) = axes.iter().find(|axis| axis.values.len() != first.values.len()) {
            let message = format!(
                "axes that advance together need equally many values: `{}` has {}, `{}` has {}",
                first.key.dotted(),
                first.values.len(),
                other.key.dotted(),
                other.values.len()
            );
            let diagnostic = Diagnostic::new(message).at(&other.origin);
            self.problems.push(diagnostic.hint("mend one of the lists, or move an axis to [grid]"));
            return None;
        }
        Some(AxisGroup { origin: first.origin.clone(), axes })
    }

    fn check_axes_once(&mut self, groups: &[AxisGroup]) {
        let mut seen: Vec<&Axis> = Vec::new();
        for axis in groups.iter().flat_map(|group| &group.axes) {
            match seen.iter().find(|earlier| earlier.key == axis.key) {
                None => seen.push(axis),
                Some(earlier) => {
                    let message = format!(
                        "axis `{}` is given twice, first at {}",
                        axis.key.dotted(),
                        earlier.origin.brief()
                    );
                    let diagnostic = Diagnostic::new(message).at(&axis.origin);
                    self.problems.push(diagnostic.hint("put all its values into one list"));
                }
            }
        }
    }

    /// `[[exclude]]` or `[[include]]`.
    fn conditions(
        &mut self,
        name: &Spanned<std::borrow::Cow<str>>,
        item: &Spanned<DeValue>,
    ) -> Vec<Condition> {
        let header = self.reader.origin(name);
        let DeValue::Array(items) = item.get_ref() else {
            let message = format!("`{name}` must be a list of tables, but is {}", shown(item.get_ref()));
            let diagnostic = Diagnostic::new(message).at(&header);
            self.problems.push(diagnostic.hint(format!("write `[[{name}]]`, with two brackets")));
            return Vec::new();
        };
        let mut conditions = Vec::new();
        for item in items.iter() {
            let origin = self.reader.origin(item);
            let DeValue::Table(table) = item.get_ref() else {
                let message =
                    format!("`{name}` must be a list of tables, but holds {}", shown(item.get_ref()));
                let diagnostic = Diagnostic::new(message).at(&origin);
                self.problems.push(diagnostic.hint(format!("write `[[{name}]]`, and keys below it")));
                continue;
            };
            let terms = self.axes_of(table, &format!("[[{name}]]"), &[], Reader::any_of);
            if table.is_empty() {
                let diagnostic = Diagnostic::new(format!("[[{name}]] is empty")).at(&origin);
                self.problems.push(diagnostic.hint("name at least one key with the value it is about"));
            }
            conditions.push(Condition { origin, terms });
        }
        conditions
    }

    fn baseline(&mut self, origin: Origin, table: &DeTable) {
        let one = |reader: &Reader, key: &Key, item: &Spanned<DeValue>| {
            reader.value(key, item).map(|given| vec![given])
        };
        let terms = self.axes_of(table, "[baseline]", &[], one);
        self.draft.baseline = Some(Condition { origin, terms });
    }

    /// Every `key = ...` of a table whose keys are axes, with or without the name of their own table.
    fn axes_of(
        &mut self,
        table: &DeTable,
        place: &str,
        skip: &[&str],
        read: impl Fn(&Reader, &Key, &Spanned<DeValue>) -> Result<Vec<Given>, Diagnostic>,
    ) -> Vec<Axis> {
        let mut axes = Vec::new();
        for (name, item) in entries(table) {
            let schema = self.draft.schema;
            let nested = schema.table(name.get_ref()).zip(item.get_ref().as_table());
            let named: Vec<(String, Entry)> = match nested {
                Some((section, inner)) => entries(inner)
                    .into_iter()
                    .map(|entry| (format!("{}.{}", section.name(), entry.0), entry))
                    .collect(),
                None if skip.contains(&name.get_ref().as_ref()) => continue,
                None => vec![(name.get_ref().to_string(), (name, item))],
            };
            for (full, (name, item)) in named {
                let origin = self.reader.origin(name);
                let axis = axis_key(schema, &full, place)
                    .map_err(|problem| problem.at(&origin))
                    .and_then(|key| Ok(Axis { key, origin, values: read(&self.reader, key, item)? }));
                match axis {
                    Ok(axis) => axes.push(axis),
                    Err(problem) => self.problems.push(problem),
                }
            }
        }
        axes
    }
}

/// The key called `name`, which must be one that can vary.
fn axis_key(schema: &'static Schema, name: &str, place: &str) -> Result<&'static Key, Diagnostic> {
    match schema.resolve(name, Key::is_axis) {
        Ok(key) => Ok(key),
        Err(Unresolved::Ambiguous(meanings)) => {
            let diagnostic = Diagnostic::new(format!("`{name}` in {place} could be more than one key"));
            Err(diagnostic.hint(format!("write {}", listed(&meanings, "or"))))
        }
        Err(Unresolved::Unknown) => match schema.resolve(name, |_| true) {
            Ok(key) => {
                let diagnostic = Diagnostic::new(format!("`{}` cannot be used in {place}", key.dotted()));
                Err(diagnostic
                    .hint(format!("only keys of {} can vary within one sweep", schema.axis_tables())))
            }
            Err(_) => Err(Diagnostic::new(format!("unknown key `{name}` in {place}"))
                .hint(way_out_of_axes(schema, name))),
        },
    }
}

/// What a user who wrote the unknown key `name` in `table` may have meant.
fn way_out(schema: &'static Schema, name: &str, table: Table) -> String {
    if let Some(key) = schema.all_keys().find(|key| key.name == name) {
        return format!("`{name}` belongs in {}", place_of(key));
    }
    if let Some((key, _)) = schema.lab_key(name) {
        return format!("it is called `{}` here{}", key.name, elsewhere(key, table));
    }
    if name.eq_ignore_ascii_case("batch_size") {
        return "remove it: a training step is always one query group".to_owned();
    }
    if let Some(meant) = closest(name, schema.keys_of(table).map(|key| key.name)) {
        return format!("did you mean `{meant}`?");
    }
    if table == Table::Top {
        let tables = ["grid", "exclude", "include", "baseline"]
            .into_iter()
            .chain(schema.all_tables().map(Table::name));
        if let Some(meant) = closest(name, tables.filter(|table| !table.is_empty())) {
            return format!("did you mean [{meant}]?");
        }
    }
    if let Some(key) = closest(name, schema.all_keys().map(|key| key.name))
        .and_then(|name| schema.resolve(name, |_| true).ok())
    {
        return format!("did you mean `{}`? it belongs in {}", key.name, place_of(key));
    }
    let containing = containing(name, schema.keys_of(table));
    if !containing.is_empty() {
        return format!("did you mean {}?", listed(&containing, "or"));
    }
    let names: Vec<&str> = schema.keys_of(table).map(|key| key.name).collect();
    match table {
        Table::Top => "above the first table there is only `name`; all else is in tables".to_owned(),
        table => format!("keys of [{}]: {}", table.name(), names.join(", ")),
    }
}

/// What a user who wrote the unknown axis `name` may have meant.
pub(super) fn way_out_of_axes(schema: &'static Schema, name: &str) -> String {
    if let Some((key, _)) = schema.lab_key(name) {
        return format!("it is called `{}` here", key.name);
    }
    let bare = name.rsplit('.').next().unwrap_or(name);
    if let Some(meant) = closest(bare, schema.all_keys().filter(|key| key.is_axis()).map(|key| key.name)) {
        return format!("did you mean `{meant}`?");
    }
    let containing = containing(bare, schema.all_keys().filter(|key| key.is_axis()));
    if !containing.is_empty() {
        return format!("did you mean {}?", listed(&containing, "or"));
    }
    let axes = || schema.all_keys().filter(|key| key.is_axis());
    let mut some: Vec<&str> = schema.axes.to_vec();
    some.retain(|name| axes().any(|key| key.name == *name));
    if some.is_empty() {
        some = axes().map(|key| key.name).take(5).collect();
    }
    let some: Vec<String> = some.iter().map(|name| format!("`{name}`")).collect();
    format!("any key of {} can be used, such as {}", schema.axis_tables(), some.join(", "))
}

/// Keys whose name has `part` as one of its words: `lr` is part of `rce_lr` and `grpo_lr`.
fn containing(part: &str, keys: impl Iterator<Item = &'static Key>) -> Vec<String> {
    keys.filter(|key| key.name.split('_').any(|word| word == part)).map(|key| key.name.to_owned()).collect()
}

fn place_of(key: &Key) -> String {
    match key.table {
        Table::Top => "the lines above the first table".to_owned(),
        table => format!("[{}]", table.name()),
    }
}

fn elsewhere(key: &Key, table: Table) -> String {
    if key.table == table { String::new() } else { format!(", in {}", place_of(key)) }
}

/// Values as the text of a list: `0.1, 0.12, 0.15`, shortened in the middle.
pub(super) fn value_list<'a>(values: impl IntoIterator<Item = &'a Given>) -> String {
    let texts: Vec<String> = values.into_iter().map(|given| given.value.to_string()).collect();
    match texts.split_last() {
        Some((last, rest)) if rest.len() >= 12 => {
            format!("{}, ... {last} ({} values)", rest[..10].join(", "), texts.len())
        }
        _ => texts.join(", "),
    }
}
