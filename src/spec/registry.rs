//! The experiments of this program, by their names and by what they call things.

use std::sync::OnceLock;

use super::files::{Files, Group};
use super::keys::Key;
use super::kind::Kind;
use super::schema::{Columns, Schema};
use super::set::Chosen;
use crate::figure::EpochFigure;

static KNOWN: OnceLock<Vec<&'static Schema>> = OnceLock::new();

/// Says once, as the program begins, which experiments it has; what came first stays. Of sweep files that name none the
/// first is meant.
pub fn know(schemas: Vec<&'static Schema>) {
    KNOWN.get_or_init(|| schemas);
}

/// The experiments that this program has.
pub fn known() -> &'static [&'static Schema] {
    #[cfg(test)]
    tests::know_one();
    KNOWN.get().map_or(&[], Vec::as_slice)
}

/// The experiment called `name`.
pub fn schema_of(name: &str) -> Option<&'static Schema> {
    known().iter().find(|schema| schema.name == name).copied()
}

/// The figures of the experiment called `name`; none where this program does not have it.
pub fn figures_of(name: &str) -> &'static [EpochFigure] {
    schema_of(name).map_or(&[], |schema| schema.figures)
}

/// How the score columns of the experiment called `name` are called; of one that this program does not have by their
/// numbers.
pub fn columns_of(name: &str) -> Columns {
    schema_of(name).map_or(Columns::NUMBERED, |schema| schema.columns)
}

/// The experiment that results without a name are of; empty where this program does not have it.
pub fn nameless() -> &'static str {
    known().iter().find(|schema| schema.nameless).map_or("", |schema| schema.name)
}

/// What the training of the experiment called `name` learns from, one of it.
pub fn signal_of(name: &str) -> &'static str {
    schema_of(name).map_or("value", |schema| schema.signal)
}

/// How the score column called `id` is called by the experiment that has one of this name.
pub fn columns_with(id: &str) -> Columns {
    let number = id.rsplit(|c: char| !c.is_ascii_digit()).next().and_then(|digits| digits.parse().ok());
    let is_of = |schema: &&&Schema| (schema.columns.id)(number.unwrap_or(0)) == id;
    known().iter().find(is_of).map_or(Columns::NUMBERED, |schema| schema.columns)
}

/// The key called `name` (bare, dotted, or as a column of a table has it) of any experiment of this program.
pub fn key_called(name: &str) -> Option<&'static Key> {
    let bare = name.rsplit('.').next().unwrap_or(name);
    let keys = || known().iter().flat_map(|schema| schema.keys);
    keys().find(|key| key.is_called(name)).or_else(|| keys().find(|key| key.name == bare))
}

/// Whether the key called `dotted` of any experiment of this program names a file.
pub fn is_path(dotted: &str) -> bool {
    key_called(dotted).is_some_and(|key| matches!(key.kind, Kind::Path | Kind::OptionalPath))
}

/// Those of all experiments of this program.
pub fn files() -> impl Iterator<Item = &'static Files> {
    known().iter().map(|schema| schema.files)
}

/// All groups of parameters that the experiments of this program have.
pub fn groups() -> impl Iterator<Item = &'static Group> {
    files().flat_map(|files| files.groups)
}

/// The group that the parameter `name` (as in checkpoints) belongs to, if it has one.
pub fn group_of(name: &str) -> Option<&'static Group> {
    let first = name.split('.').next()?;
    groups().find(|group| group.prefix == first)
}

/// The key that says which groups of parameters are left as they are, of the first experiment that has such groups.
pub fn frozen_key() -> &'static str {
    files().find(|files| !files.groups.is_empty()).unwrap_or(&Files::PLAIN).frozen
}

/// Whether the key called `name` takes a set of names, such as the layers that are frozen: reports draw its values apart.
pub fn is_set(name: &str) -> bool {
    key_called(name).is_some_and(|key| matches!(key.kind, Kind::Set(_)))
}

/// The groups of parameters of the experiment called `name`.
pub fn groups_of(name: &str) -> &'static [Group] {
    schema_of(name).map_or(&[], |schema| schema.files.groups)
}

/// The groups called `names` (also by an alias) as the key of frozen groups takes them; `None` where one is no such.
pub fn frozen_groups<'n>(names: impl IntoIterator<Item = &'n str>) -> Option<Chosen> {
    match key_called(frozen_key())?.kind {
        Kind::Set(known) => known.choose(names).ok(),
        _ => None,
    }
}

/// The place of the phase called `name` in the order of training; `None` where no experiment has it.
pub fn phase_order(name: &str) -> Option<usize> {
    files().find_map(|files| files.phases.iter().position(|phase| *phase == name))
}

#[cfg(test)]
mod tests {
    /// Unit tests run in a program that has the first experiment.
    pub fn know_one() {
        super::know(vec![&crate::selector::SCHEMA]);
    }
}
