//! What an experiment calls things in files of weights, so that files of other programs are understood too.

use super::kind::Kind;
use super::schema::{key_called, known, schema_of};
use super::set::Chosen;

/// Parameters that can be left as they are together, and whose movement is told together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// In sweep files and tables.
    pub name: &'static str,
    /// The first part of its parameters' names, up to the dot.
    pub prefix: &'static str,
    /// Whether it belongs to the backbone; the rest is the head.
    pub is_backbone: bool,
}

/// What an experiment calls things in files of weights.
#[derive(Debug)]
pub struct Files {
    /// What weights are trained by, in this order; the file after an epoch is called `<phase>_epoch<N>`.
    pub phases: &'static [&'static str],
    /// Groups of parameters, in the order of the model.
    pub groups: &'static [Group],
    /// Parameters that all its models have: a file with these is one of its checkpoints, whoever wrote it.
    pub always: &'static [&'static str],
    /// What precedes the parameters' names where its model is part of a larger one.
    pub nested: &'static str,
    /// The key that says which groups are left as they are; in headers too.
    pub frozen: &'static str,
    /// Switches of older scripts that stand for a set of groups: their name, and the set's.
    pub switches: &'static [(&'static str, &'static str)],
    /// Keys of older scripts, and what they are called now.
    pub renamed: &'static [(&'static str, &'static str)],
    /// Figures that files of older scripts state.
    pub stated: &'static [&'static str],
}

impl Files {
    /// Of an experiment that has written all its files itself.
    pub const PLAIN: Files = Files {
        phases: &[],
        groups: &[],
        always: &[],
        nested: "",
        frozen: "frozen",
        switches: &[],
        renamed: &[],
        stated: &[],
    };
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

/// The key that says which groups of parameters are left as they are.
pub fn frozen_key() -> &'static str {
    files().next().unwrap_or(&Files::PLAIN).frozen
}

/// Whether the axis `name` says which groups are left as they are.
pub fn is_frozen_key(name: &str) -> bool {
    files().any(|files| files.frozen == name)
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
