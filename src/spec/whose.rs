//! Which experiment a sweep file is of: the one that it names, else the program's first, unless it speaks another's
//! language.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{Diagnostic, Source};
use super::keys::closest;
use super::read::{Reader, entries, listed};
use super::registry::known;
use super::schema::Schema;

/// So many words that this program does not know are no slips of the pen.
const STRANGE: usize = 2;

/// The schema that the file whose tables `root` has is written in.
///
/// # Errors
/// It is of an experiment that this program does not have.
pub(super) fn schema_of_file(reader: &Reader, root: &DeTable) -> Result<&'static Schema, Diagnostic> {
    let named = root.iter().find(|(name, _)| name.get_ref() == "experiment");
    let has: Vec<String> = known().iter().map(|schema| schema.name.to_owned()).collect();
    let has = format!("it has {}; another experiment is in a program of its own", listed(&has, "and"));
    let Some((text, item)) = named.and_then(|(_, item)| Some((item.get_ref().as_str()?, item))) else {
        let first = known().first().copied();
        let first =
            first.ok_or_else(|| Diagnostic::new("this program has no experiment").at(&reader.whole()))?;
        return match strange_words(first, root) {
            Some(strange) => Err(of_another(first, &strange).at(&reader.origin(&strange[0]))),
            None => Ok(first),
        };
    };
    known().iter().copied().find(|schema| schema.name == text).ok_or_else(|| {
        let message = format!("this program has no experiment `{text}`");
        Diagnostic::new(message).at(&reader.origin(item)).hint(has)
    })
}

fn of_another(schema: &Schema, strange: &[Spanned<String>]) -> Diagnostic {
    let words: Vec<String> = strange.iter().take(3).map(|word| format!("`{}`", word.get_ref())).collect();
    let more = match strange.len() - words.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let words = words.join(", ") + &more;
    let message = format!(
        "this is a sweep file of another experiment than `{}`, which this program has: {words} mean nothing to it",
        schema.name
    );
    Diagnostic::new(message).hint(format!(
        "run it with the program of its experiment; if it is meant for `{0}`, write `experiment = \"{0}\"` above the first table, and each key is explained",
        schema.name
    ))
}

/// The words of the file that mean nothing to `schema` and are near nothing that does, if they say that it is of another
/// experiment: there are several, and what `schema` cannot do without is not there.
fn strange_words(schema: &'static Schema, root: &DeTable) -> Option<Vec<Spanned<String>>> {
    let (mut strange, mut has_needed) = (Vec::new(), false);
    for (name, item) in entries(root) {
        let Some(table) = item.get_ref().as_table() else { continue };
        let own = schema.table(name.get_ref());
        if own.is_none() && name.get_ref() != "grid" && name.get_ref() != "baseline" {
            strange
                .extend(Some(name).filter(|name| is_strange_table(schema, name.get_ref())).map(shown_table));
        }
        if own.is_some_and(|own| !own.is_own()) {
            continue;
        }
        for (key, item) in entries(table) {
            has_needed |= own.is_some_and(|own| {
                schema.keys_of(own).any(|known| known.is_required() && known.name == key.get_ref())
            });
            let inner = matches!(item.get_ref(), DeValue::Table(_) | DeValue::Array(_))
                && key.get_ref() == "zip"
                || schema.table(key.get_ref()).is_some();
            if !inner && is_strange_key(schema, key.get_ref()) {
                strange.push(Spanned::new(key.span(), key.get_ref().to_string()));
            }
        }
    }
    let needs = schema.keys.iter().any(|key| key.is_required());
    (strange.len() >= STRANGE && needs && !has_needed).then_some(strange)
}

fn shown_table(name: &Spanned<std::borrow::Cow<str>>) -> Spanned<String> {
    Spanned::new(name.span(), format!("[{}]", name.get_ref()))
}

fn is_strange_table(schema: &'static Schema, name: &str) -> bool {
    let tables = ["grid", "exclude", "include", "baseline"].into_iter();
    let tables = tables.chain(schema.all_tables().map(super::Table::name)).filter(|table| !table.is_empty());
    closest(name, tables).is_none()
}

fn is_strange_key(schema: &'static Schema, name: &str) -> bool {
    let bare = name.rsplit('.').next().unwrap_or(name);
    let is_part = |key: &super::Key| key.name.split('_').any(|word| word == bare);
    schema.lab_key(bare).is_none()
        && !schema.all_keys().any(is_part)
        && closest(bare, schema.all_keys().map(|key| key.name)).is_none()
}

/// Takes those of `files` out that are of an experiment which this program does not have, with what they say.
pub fn of_other_programs(files: &mut Vec<PathBuf>) -> Vec<(PathBuf, String)> {
    let others: Vec<(PathBuf, String)> =
        files.iter().filter_map(|path| Some((path.clone(), says_another(path)?))).collect();
    files.retain(|file| !others.iter().any(|(other, _)| other == file));
    others
}

/// Why the file is passed over; `None` where it is not, or is no file that can be read.
fn says_another(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let root = DeTable::parse(&text).ok()?;
    let source = Rc::new(Source { name: path.display().to_string(), text: text.clone(), is_file: true });
    let reader = Reader { source, offset: 0, dir: PathBuf::new() };
    schema_of_file(&reader, root.get_ref()).err().map(|problem| problem.message)
}
