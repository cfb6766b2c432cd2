//! What a sweep file may say: the program's own tables and keys, and those of the experiment that it names.

use super::Point;
use super::config::Config;
use super::files::Files;
use super::keys::{KEYS, Key, LabForm};
use super::table::{OwnTable, Table};
use crate::figure::EpochFigure;

/// The tables and keys of an experiment.
#[derive(Debug)]
pub struct Schema {
    /// What sweep files call the experiment.
    pub name: &'static str,
    /// Whether results that name no experiment are of it: it was there before there were others.
    pub nameless: bool,
    /// Its tables, in the order in which they are documented.
    pub tables: &'static [&'static OwnTable],
    /// Its keys, table after table.
    pub keys: &'static [Key],
    /// Keys that are named as examples of axes.
    pub axes: &'static [&'static str],
    /// What its epochs report, in the order of `metrics.csv`: a new figure comes last.
    pub figures: &'static [EpochFigure],
    /// How its score columns are called.
    pub columns: Columns,
    /// The program's own tables that mean something to it besides `[export]`, `[keep]` and `[slurm]`.
    pub shares: &'static [Table],
    /// What its training learns from, one of it: the health of this signal is told in such.
    pub signal: &'static str,
    /// What it calls things in files of weights.
    pub files: &'static Files,
    /// What values say together that cannot be.
    pub clash: fn(&Config) -> Option<Clash>,
    /// The keys (dotted) that `clash` looks at.
    pub clashing: &'static [&'static str],
    /// What is allowed and probably not meant, a sentence each, of points in which these keys vary.
    pub idle: fn(&[Point], &[&'static Key]) -> Vec<String>,
}

/// How the score columns of an experiment are called, by their numbers.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    /// In files: `shot_2`.
    pub id: fn(usize) -> String,
    /// For people: `Shot 2`.
    pub title: fn(usize) -> String,
    /// What the numbers count, as a chart over them says it.
    pub unit: &'static str,
    /// What has the number, in one word: the field of a row, an option of a command.
    pub field: &'static str,
    /// The same in a sentence: `at every shot count`.
    pub noun: &'static str,
    /// What is examined, one and several: `query`, `queries`.
    pub inputs: [&'static str; 2],
    /// What is chosen: rows that choose the same have the same of these.
    pub chosen: &'static str,
    /// The field of a row that says which of the logged choices was made, where choices are logged.
    pub logged: &'static str,
}

impl Columns {
    /// `1 query`, `640 queries`.
    pub fn counted(&self, count: usize) -> String {
        format!("{} {}", crate::text::thousands(count), self.inputs[usize::from(count != 1)])
    }

    /// Columns that have nothing but a number.
    pub const NUMBERED: Columns = Columns {
        id: |number| format!("score_{number}"),
        title: |number| format!("Score {number}"),
        unit: "",
        field: "column",
        noun: "score column",
        inputs: ["unit", "units"],
        chosen: "answers",
        logged: "logged",
    };
}

/// What cannot be within one point: message, way out, and the keys (dotted) it is about.
pub struct Clash {
    pub message: String,
    pub hint: &'static str,
    pub keys: &'static [&'static str],
}

/// For [`Schema::clash`] where no two keys contradict each other.
pub fn no_clash(_: &Config) -> Option<Clash> {
    None
}

/// For [`Schema::idle`] where there is nothing to say.
pub fn nothing_idle(_: &[Point], _: &[&'static Key]) -> Vec<String> {
    Vec::new()
}

/// Why a name is no key.
#[derive(Debug, PartialEq)]
pub(super) enum Unresolved {
    Unknown,
    /// The dotted names it could mean.
    Ambiguous(Vec<String>),
}

impl Schema {
    /// One without tables of the program's, in which any values go together.
    pub const fn new(
        name: &'static str,
        tables: &'static [&'static OwnTable],
        keys: &'static [Key],
        figures: &'static [EpochFigure],
        columns: Columns,
    ) -> Self {
        let (shares, clashing): (&[Table], &[&str]) = (&[], &[]);
        Self {
            name,
            nameless: false,
            tables,
            keys,
            axes: &["lr", "seed"],
            figures,
            columns,
            shares,
            signal: "value",
            files: &Files::PLAIN,
            clash: no_clash,
            clashing,
            idle: nothing_idle,
        }
    }

    /// All tables, in the order in which they are documented: the top, the experiment's, the program's.
    pub fn all_tables(&'static self) -> impl Iterator<Item = Table> {
        let core =
            Table::CORE.iter().copied().filter(|table| table.is_everywhere() || self.shares.contains(table));
        let inside = |own: &OwnTable| {
            let inner: Vec<Table> =
                core.clone().filter(|table| table.name().starts_with(&format!("{}.", own.name))).collect();
            inner
        };
        let own: Vec<Table> = (self.tables.iter().copied())
            .flat_map(|own| std::iter::once(Table::Own(own)).chain(inside(own)))
            .collect();
        let rest: Vec<Table> = core.filter(|table| !own.contains(table)).collect();
        std::iter::once(Table::Top).chain(own).chain(rest)
    }

    /// The tables inside `table`.
    pub fn inner(&'static self, table: Table) -> Vec<Table> {
        let prefix = format!("{}.", table.name());
        self.all_tables().filter(|inner| table != Table::Top && inner.name().starts_with(&prefix)).collect()
    }

    /// The table called `name` in the file.
    pub fn table(&'static self, name: &str) -> Option<Table> {
        self.all_tables().find(|table| *table != Table::Top && table.name() == name)
    }

    /// All keys, table after table.
    pub fn all_keys(&'static self) -> impl Iterator<Item = &'static Key> {
        self.all_tables().flat_map(|table| self.keys_of(table))
    }

    /// The keys of one table.
    pub fn keys_of(&'static self, table: Table) -> impl Iterator<Item = &'static Key> {
        KEYS.iter().chain(self.keys).filter(move |key| key.table == table)
    }

    /// The key called `name`, dotted or bare, among those that `accept` lets through.
    pub(super) fn resolve(
        &'static self,
        name: &str,
        accept: impl Fn(&Key) -> bool,
    ) -> Result<&'static Key, Unresolved> {
        let candidates: Vec<&'static Key> = (KEYS.iter().chain(self.keys))
            .filter(|key| accept(key) && (key.is_called(name) || is_bare(key, name)))
            .filter(|key| self.has(key.table))
            .collect();
        match candidates[..] {
            [key] => Ok(key),
            [] => Err(Unresolved::Unknown),
            _ => Err(Unresolved::Ambiguous(candidates.iter().map(|key| key.dotted()).collect())),
        }
    }

    fn has(&'static self, table: Table) -> bool {
        match table {
            Table::Top | Table::Own(_) => true,
            core => core.is_everywhere() || self.shares.contains(&core),
        }
    }

    /// The key that the lab calls `name`, in any case of letters.
    pub(super) fn lab_key(&'static self, name: &str) -> Option<(&'static Key, LabForm)> {
        self.keys.iter().find_map(|key| {
            let lab = key.lab.iter().find(|lab| lab.name.eq_ignore_ascii_case(name))?;
            Some((key, lab.form))
        })
    }

    /// The experiment's tables whose keys may be axes, as a sentence has them: `[reward], [model] and [train]`.
    pub(super) fn axis_tables(&self) -> String {
        self.own_tables(|table| table.axes)
    }

    /// Some of the experiment's tables, as a sentence has them.
    pub(super) fn own_tables(&self, which: fn(&OwnTable) -> bool) -> String {
        let names: Vec<String> = self
            .tables
            .iter()
            .filter(|table| which(table))
            .map(|table| format!("[{}]", table.name))
            .collect();
        match names.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
            _ => names.concat(),
        }
    }
}

/// Whether `name` alone is enough. Names of a table inside another one are short, and none of them may take a name from
/// another table.
fn is_bare(key: &Key, name: &str) -> bool {
    key.name == name && key.table != Table::Build
}
