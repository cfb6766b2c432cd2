//! The structure of the program, held against its source: which room may import which, no circle between files.
//!
//! The table below is the one that `src/lib.rs` draws. An arrow that is not in it, and two files that import each
//! other however far the way round, fail this test with the lines that make them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::sandbox::repository;

/// Every room (a folder or a file of `src`) and the rooms it may import, from the top floor down.
const ROOMS: &[(&str, &str)] = &[
    ("main", "cli selector"),
    (
        "cli",
        "run report selector judge store experiment plan checkpoint spec device panics disk record event figure text finite",
    ),
    (
        "run",
        "report judge store experiment plan checkpoint spec device panics disk record event figure text finite",
    ),
    ("report", "store spec disk record figure text finite"),
    ("selector", "judge experiment plan checkpoint spec device panics disk record event figure text finite"),
    ("store", "experiment plan checkpoint spec disk record event figure text finite"),
    ("modules", "experiment plan checkpoint spec device panics record figure finite"),
    ("experiment", "plan judge checkpoint spec device panics disk record figure finite"),
    ("judge", "disk event finite"),
    ("plan", ""),
    ("checkpoint", "spec disk text"),
    ("spec", "figure text"),
    ("device", "text"),
    ("panics", ""),
    ("disk", ""),
    ("record", "finite"),
    ("event", "finite"),
    ("figure", "finite"),
    ("text", ""),
    ("finite", ""),
];

/// Words of what is trained, which no room but [`THEIR_ROOMS`] knows.
const WORDS: &[&str] = &["rce", "grpo", "shot", "reward", "trajectory", "freeze", "selector"];
/// The experiment, its commands, and the program that has it.
const THEIR_ROOMS: &[&str] = &["selector", "cli/lab", "main"];

/// A source file: its module path (`["plan", "tree"]`), and its text without test modules and comments.
struct Source {
    path: Vec<String>,
    text: String,
}

/// The sources of a tree, by module path.
struct House(Vec<Source>);

impl House {
    fn read(src: &Path) -> Self {
        let entries =
            walkdir::WalkDir::new(src).sort_by_file_name().into_iter().map(|entry| entry.expect("listed"));
        let is_code = |path: &PathBuf| {
            path.extension().is_some_and(|end| end == "rs")
                && !path.components().any(|part| part.as_os_str() == "tests")
                && !path.ends_with("tests.rs")
        };
        let sources = entries.map(|entry| entry.path().to_owned()).filter(is_code).map(|path| {
            let inside = path.strip_prefix(src).expect("below").with_extension("");
            let mut module: Vec<String> =
                inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
            if module.last().is_some_and(|last| last == "mod") {
                module.pop();
            }
            Source { path: module, text: code(&std::fs::read_to_string(&path).expect("text")) }
        });
        Self(sources.filter(|source| source.path != ["lib"]).collect())
    }

    /// The file that the path `at` (of a module, or of something in it) is defined in. Names that a module only
    /// passes on (`pub use`) are looked for where they come from.
    fn file_of(&self, at: &[String]) -> Option<usize> {
        let longest = (1..=at.len()).rev().find_map(|length| {
            let index = self.0.iter().position(|source| source.path == at[..length])?;
            Some((index, length))
        });
        let (index, length) = longest?;
        let Some(name) = at.get(length) else { return Some(index) };
        let passed_on = uses(&self.0[index], "pub use ").into_iter().find(|used| used.last() == Some(name));
        match passed_on {
            Some(from) if from != at => self.file_of(&from).or(Some(index)),
            _ => Some(index),
        }
    }

    /// Which files each file imports something from. What a module passes on from its own parts is no import.
    fn arrows(&self) -> BTreeMap<usize, BTreeSet<usize>> {
        let of = |(index, source): (usize, &Source)| {
            let passed: BTreeSet<Vec<String>> = uses(source, "pub use ").into_iter().collect();
            let used = uses(source, "use ").into_iter().filter(|used| !passed.contains(used));
            let files = used.filter_map(|used| self.file_of(&used)).filter(|file| *file != index);
            (index, files.collect())
        };
        self.0.iter().enumerate().map(of).collect()
    }

    fn name(&self, index: usize) -> String {
        self.0[index].path.join("/")
    }

    /// Arrows between rooms that the table does not have.
    fn forbidden(&self, rooms: &[(&str, &str)]) -> Vec<String> {
        let mut found = Vec::new();
        for (from, files) in self.arrows() {
            let room = self.0[from].path[0].as_str();
            let allowed = rooms.iter().find(|(name, _)| *name == room).map(|(_, allowed)| *allowed);
            let Some(allowed) = allowed else {
                found.push(format!("`{room}` is not a room of the table"));
                continue;
            };
            for to in files {
                let other = self.0[to].path[0].as_str();
                if other != room && !allowed.split(' ').any(|name| name == other) {
                    found.push(format!("{} imports {}", self.name(from), self.name(to)));
                }
            }
        }
        found.dedup();
        found
    }

    /// Files that can be reached from themselves.
    fn circles(&self) -> Vec<String> {
        let arrows = self.arrows();
        let reached = |start: usize| {
            let (mut seen, mut left) = (BTreeSet::new(), vec![start]);
            while let Some(at) = left.pop() {
                left.extend(arrows[&at].iter().copied().filter(|next| seen.insert(*next)));
            }
            seen
        };
        let reach: Vec<BTreeSet<usize>> = (0..self.0.len()).map(reached).collect();
        // The stacked engine is one program over shared tensors, in several files.
        let apart = |file: usize| !self.name(file).starts_with("selector/learn/stacked");
        let in_circle = (0..self.0.len()).filter(|&file| reach[file].contains(&file) && apart(file));
        in_circle
            .map(|file| {
                let others =
                    reach[file].iter().filter(|other| reach[**other].contains(&file) && **other != file);
                let others: Vec<String> = others.map(|&other| self.name(other)).collect();
                format!("{} with {}", self.name(file), others.join(", "))
            })
            .collect()
    }

    /// Words of [`WORDS`] in rooms that must not know them.
    fn words(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (index, source) in self.0.iter().enumerate() {
            let name = self.name(index);
            if !THEIR_ROOMS.iter().any(|room| Path::new(&name).starts_with(room)) {
                let text = source.text.to_lowercase();
                let spoken =
                    text.split(|c: char| !c.is_ascii_alphabetic()).filter(|word| WORDS.contains(word));
                found.extend(spoken.map(|word| format!("{name} says `{word}`")));
            }
        }
        found
    }
}

/// The text without comments and without what stands behind `#[cfg(test)]` (test modules come last).
fn code(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths of a file's `use` declarations, whole from the crate's root; those of other crates are left out.
/// With `pub use `, only what is passed on.
fn uses(source: &Source, keyword: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut rest = source.text.as_str();
    while let Some(at) = rest.find(keyword) {
        let starts_line = rest[..at].lines().last().is_none_or(|line| {
            let line = line.trim();
            rest[..at].ends_with('\n')
                || line.is_empty()
                || matches!(line, "pub" | "pub(crate)" | "pub(super)")
        });
        rest = &rest[at + keyword.len()..];
        if starts_line && let Some(end) = rest.find(';') {
            let text = rest[..end].split_whitespace().collect::<Vec<_>>().join(" ");
            expand(&text, &mut Vec::new(), &mut |path| found.extend(whole(source, path)));
        }
    }
    found
}

/// Calls `each` with every path in a `use` tree such as `a::{b, c::{d}}`.
fn expand(tree: &str, before: &mut Vec<String>, each: &mut dyn FnMut(&[String])) {
    let depth = before.len();
    let mut rest = tree.trim();
    loop {
        match (rest.find("::"), rest.find('{')) {
            (_, Some(0)) => {
                for part in split(&rest[1..rest.len() - 1]) {
                    expand(part, before, each);
                }
                break;
            }
            (Some(at), _) => {
                before.push(rest[..at].to_owned());
                rest = &rest[at + 2..];
            }
            (None, _) => {
                before.push(rest.split(" as ").next().unwrap_or(rest).trim().to_owned());
                each(before);
                break;
            }
        }
    }
    before.truncate(depth);
}

/// The parts of a list, at commas outside of braces.
fn split(list: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[start..]);
    parts.into_iter().filter(|part| !part.trim().is_empty()).collect()
}

/// `path` from the crate's root; `None` for other crates.
fn whole(source: &Source, path: &[String]) -> Option<Vec<String>> {
    let own = |name: &String| name != "self" && name != "*";
    let mut base = source.path.clone();
    let rest = match path.first().map(String::as_str) {
        Some("crate" | "sweep") => {
            base.clear();
            &path[1..]
        }
        Some("self") => &path[1..],
        Some("super") => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            base.truncate(base.len().saturating_sub(ups));
            &path[ups..]
        }
        // `pub use part::Thing` in a module names its own part.
        Some(_) if source.text.contains(&format!("mod {};", path[0])) => path,
        _ => return None,
    };
    base.extend(rest.iter().filter(|name| own(name)).cloned());
    Some(base)
}

#[test]
fn imports_go_down() {
    let house = House::read(&repository("src"));
    assert_eq!(
        house.forbidden(ROOMS),
        Vec::<String>::new(),
        "the rooms and their arrows stand in {}",
        file!()
    );
    for (index, (room, allowed)) in ROOMS.iter().enumerate() {
        let below = |other: &str| ROOMS[index + 1..].iter().any(|(name, _)| *name == other);
        assert!(allowed.split_whitespace().all(below), "`{room}` may import what is above it");
    }
}

#[test]
fn no_two_files_import_each_other() {
    let house = House::read(&repository("src"));
    assert_eq!(house.circles(), Vec::<String>::new());
}

#[test]
fn low_rooms_know_nothing_of_what_is_trained() {
    assert_eq!(House::read(&repository("src")).words(), Vec::<String>::new());
}

/// The test of the test: each kind of fault, planted.
#[test]
fn planted_faults_are_found() {
    let source = |path: &str, text: &str| Source {
        path: path.split('/').map(str::to_owned).collect(),
        text: code(text),
    };
    let rooms: &[(&str, &str)] = &[("cli", "disk"), ("disk", "")];
    let house = House(vec![
        source("cli", "mod a;\nmod b;\npub use a::A;\n"),
        source("cli/a", "use super::b::{\n    B,\n    other::{C},\n};\n"),
        source("cli/b", "use super::A;\n// use crate::disk::no;\nlet reuse = 1;\n"),
        source("disk", "use crate::cli::A;\nfn shot() {}\n"),
    ]);
    assert_eq!(house.forbidden(rooms), ["disk imports cli/a"]);
    assert_eq!(house.circles(), ["cli/a with cli/b", "cli/b with cli/a"]);
    assert_eq!(house.words(), ["disk says `shot`"]);
}
