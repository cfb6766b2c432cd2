//! What a table says about checkpoints, against what the files contain.
//!
//! Claims are rows with a path and any number of keys, written as TOML (`[[claim]]` tables), as Markdown tables or
//! as CSV. A file's own name is a claim too: `grpo_epoch3` promises phase and epoch.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::Value;

use super::facts::Facts;
use super::find::named;
use super::lookup::{agrees, stated};
use super::read;
use crate::spec::files;
use crate::spec::key_called;

/// Claims about one checkpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    /// Line of the claims file, 1-based.
    pub line: usize,
    /// As written.
    pub path: String,
    /// Keys (lower case) and values, as written.
    pub values: Vec<(String, String)>,
}

/// One thing that is not as it was said to be.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Disagreement {
    /// The file it is about.
    pub path: PathBuf,
    pub key: String,
    pub claimed: String,
    pub found: String,
}

/// The outcome of [`check`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Verdict {
    /// Statements compared.
    pub checked: usize,
    pub disagreements: Vec<Disagreement>,
    /// Columns that say nothing about a checkpoint as far as this program knows.
    pub ignored: BTreeSet<String>,
    /// Claims that count epochs from 0, as PyTorch files do.
    pub counted_from_zero: usize,
}

/// A claims file that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum ClaimsError {
    #[error("{0}")]
    Io(std::io::Error),
    #[error("`{}` is not valid TOML: {error}", path.display())]
    Toml { path: PathBuf, error: Box<toml::de::Error> },
    #[error("`{}` is not valid CSV: {error}", path.display())]
    Csv { path: PathBuf, error: csv::Error },
    #[error("`{}`: {what}\nhint: {hint}", path.display())]
    Shape { path: PathBuf, what: String, hint: &'static str },
}

const EXAMPLE: &str = "claims are rows with a column `path` and columns like kl_beta, epoch, phase, lr; in TOML: [[claim]] path = \"epoch5.pt\", kl_beta = 0.15";

/// Reads a claims file; its extension (`.toml`, `.md`, `.csv`) says how.
///
/// # Errors
/// Unreadable files, other extensions, and files without a single claim.
pub fn read_claims(path: &Path) -> Result<Vec<Claim>, ClaimsError> {
    let shape = |what: String| ClaimsError::Shape { path: path.to_path_buf(), what, hint: EXAMPLE };
    let text = fs_err::read_to_string(path).map_err(ClaimsError::Io)?;
    let claims = match path.extension().and_then(|extension| extension.to_str()) {
        Some("toml") => from_toml(path, &text)?,
        Some("md" | "markdown") => from_markdown(&text),
        Some("csv") => from_csv(path, &text)?,
        _ => {
            return Err(shape("expected a `.toml`, `.md` or `.csv` file, or a results directory".into()));
        }
    };
    if claims.is_empty() {
        return Err(shape("it makes no claim about a checkpoint".into()));
    }
    Ok(claims)
}

fn from_toml(path: &Path, text: &str) -> Result<Vec<Claim>, ClaimsError> {
    let table: toml::Table = toml::from_str(text)
        .map_err(|error| ClaimsError::Toml { path: path.to_path_buf(), error: Box::new(error) })?;
    let shape = |what: String| ClaimsError::Shape { path: path.to_path_buf(), what, hint: EXAMPLE };
    let mut claims = Vec::new();
    for (name, value) in &table {
        let rows = value.as_array().ok_or_else(|| shape(format!("`{name}` is not a list of tables")))?;
        for (index, row) in rows.iter().enumerate() {
            let row =
                row.as_table().ok_or_else(|| shape(format!("`{name}` holds something other than tables")))?;
            let cells = row.iter().map(|(key, value)| (canonical(key), toml_text(value)));
            let claim = claim(index + 1, cells.collect())
                .ok_or_else(|| shape(format!("claim {} of `{name}` has no `path`", index + 1)))?;
            if let Some((key, _)) = claim.values.iter().find(|(key, _)| !plausible(key)) {
                let near = stated().into_iter().find(|known| strsim::damerau_levenshtein(known, key) <= 2);
                let near = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
                return Err(shape(format!(
                    "claim {} of `{name}` has the unknown key `{key}`{near}",
                    index + 1
                )));
            }
            claims.push(claim);
        }
    }
    Ok(claims)
}

fn toml_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => number.to_string(),
        other => other.to_string(),
    }
}

/// Every table that has a path column.
fn from_markdown(text: &str) -> Vec<Claim> {
    let mut claims = Vec::new();
    let mut header: Option<Vec<String>> = None;
    let mut before: Option<Vec<String>> = None;
    for (number, line) in text.lines().enumerate() {
        let Some(cells) = markdown_cells(line) else {
            (header, before) = (None, None);
            continue;
        };
        if cells.iter().all(|cell| !cell.is_empty() && cell.chars().all(|letter| "-: ".contains(letter))) {
            header = before.take().map(|names| names.iter().map(|name| canonical(name)).collect());
        } else if let Some(header) = &header {
            claims.extend(claim(number + 1, header.iter().cloned().zip(cells).collect()));
        } else {
            before = Some(cells);
        }
    }
    claims
}

/// The cells of a table row, without decoration (`code`, **bold**, [text](target) -> target).
fn markdown_cells(line: &str) -> Option<Vec<String>> {
    let line = line.trim();
    let inner = line.strip_prefix('|')?;
    let inner = inner.strip_suffix('|').unwrap_or(inner);
    let plain = |cell: &str| {
        let cell = cell.trim().trim_matches(['`', '*']).trim();
        let target = cell.strip_suffix(')').and_then(|cell| cell.split_once("](")).map(|(_, target)| target);
        target.unwrap_or(cell).trim_matches('`').to_string()
    };
    Some(inner.split('|').map(plain).collect())
}

fn from_csv(path: &Path, text: &str) -> Result<Vec<Claim>, ClaimsError> {
    let wrong = |error| ClaimsError::Csv { path: path.to_path_buf(), error };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header: Vec<String> = reader.headers().map_err(wrong)?.iter().map(canonical).collect();
    let mut claims = Vec::new();
    for record in reader.records() {
        let record = record.map_err(wrong)?;
        let line = record.position().map_or(0, |position| position.line() as usize);
        claims.extend(claim(line, header.iter().cloned().zip(record.iter().map(str::to_string)).collect()));
    }
    Ok(claims)
}

/// A column's title as a key: `KL_BETA`, `KL beta` -> `kl_beta`; every word for the file itself -> `path`.
fn canonical(title: &str) -> String {
    let title = title.trim().trim_matches(['`', '*']).to_ascii_lowercase().replace([' ', '-'], "_");
    match title.as_str() {
        "checkpoint" | "ckpt" | "file" | "ckpt_path" | "checkpoint_path" => "path".into(),
        "learning_rate" => "lr".into(),
        _ => title,
    }
}

/// Splits the path from the rest; empty cells claim nothing.
fn claim(line: usize, cells: Vec<(String, String)>) -> Option<Claim> {
    let path = cells.iter().find(|(key, value)| key == "path" && !value.is_empty())?.1.clone();
    let said = |(key, value): &(String, String)| key != "path" && !value.is_empty() && value != "-";
    Some(Claim { line, path, values: cells.into_iter().filter(said).collect() })
}

/// Whether some checkpoint could say something about `key`: in a TOML file, anything else is a slip of the pen.
fn plausible(key: &str) -> bool {
    let configured = || key_called(key).is_some_and(|key| key.is_axis());
    let others = files().any(|files| {
        let named = |list: &[(&str, &str)]| list.iter().any(|(name, _)| *name == key);
        named(files.switches) || named(files.renamed) || files.stated.contains(&key)
    });
    stated().contains(&key) || key == "global_step" || others || configured()
}

/// Holds every claim against its file. Relative paths count from `base` (the claims file's directory), else from
/// the current directory.
pub fn check(claims: &[Claim], base: &Path) -> Verdict {
    let mut verdict = Verdict::default();
    let mut unknown = BTreeSet::new();
    let mut known = BTreeSet::new();
    for claim in claims {
        let beside = base.join(&claim.path);
        let path = if beside.exists() { beside } else { PathBuf::from(&claim.path) };
        let facts = match read(&path) {
            Ok(checkpoint) => checkpoint.facts,
            Err(error) => {
                let found = if path.exists() { error.to_string() } else { "no such file".into() };
                let found = found.lines().next().unwrap_or_default().to_string();
                verdict.disagree(Path::new(&claim.path), "file", "a checkpoint", &found);
                continue;
            }
        };
        verdict.check_name(Path::new(&claim.path), &facts);
        for (key, written) in &claim.values {
            match facts.value(key) {
                Some(stated) => {
                    known.insert(key.clone());
                    verdict.check_value(Path::new(&claim.path), key, written, &stated, &facts);
                }
                None if plausible(key) => {
                    known.insert(key.clone());
                    verdict.checked += 1;
                    verdict.disagree(Path::new(&claim.path), key, written, "the file does not say");
                }
                None => _ = unknown.insert(key.clone()),
            }
        }
    }
    verdict.ignored = unknown.difference(&known).cloned().collect();
    verdict
}

impl Verdict {
    fn check_value(&mut self, path: &Path, key: &str, written: &str, stated: &Value, facts: &Facts) {
        self.checked += 1;
        let stored = facts.stored_epoch.filter(|_| key == "epoch");
        if agrees(stated, written) {
            return;
        }
        if stored.is_some_and(|stored| agrees(&stored.into(), written)) {
            self.counted_from_zero += 1;
            return;
        }
        let stored =
            stored.map(|stored| format!(" (stored as {stored}, counted from 0)")).unwrap_or_default();
        self.disagree(path, key, written, &format!("{}{stored}", plain(stated)));
    }

    /// The name `grpo_epoch3` against the facts.
    pub(crate) fn check_name(&mut self, path: &Path, facts: &Facts) {
        let Some((phase, epoch)) = named(path) else { return };
        if let Some(stated) = &facts.phase {
            self.checked += 1;
            if *stated != phase {
                self.disagree(path, "phase", &format!("{phase} (its name)"), &stated.to_string());
            }
        }
        if let Some(stated) = facts.epoch {
            self.checked += 1;
            if stated != epoch {
                self.disagree(path, "epoch", &format!("{epoch} (its name)"), &stated.to_string());
            }
        }
    }

    pub(crate) fn disagree(&mut self, path: &Path, key: &str, claimed: &str, found: &str) {
        self.disagreements.push(Disagreement {
            path: path.to_path_buf(),
            key: key.into(),
            claimed: claimed.into(),
            found: found.into(),
        });
    }
}

/// A value for people: texts without quotes.
pub fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "none".into(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(claim: &Claim) -> Vec<(&str, &str)> {
        claim.values.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect()
    }

    #[test]
    fn tables_are_read_in_all_three_forms() {
        let toml = "[[claim]]\npath = \"a.pt\"\nKL_BETA = 0.15\nepoch = 5\n";
        let markdown = "text | with a bar\n\n| Checkpoint | KL beta | epoch | Shot 1 |\n|---|:-:|--:|---|\n| [best](a.pt) | **0.15** | 5 | 58.8 |\n| | 0.1 | - | |\n\nend\n";
        let csv = "file, KL_BETA, epoch\na.pt, 0.15, 5\n";
        let expected = [("kl_beta", "0.15"), ("epoch", "5")];
        let path = Path::new("claims");
        for claims in [from_toml(path, toml).unwrap(), from_csv(path, csv).unwrap()] {
            assert_eq!((claims[0].path.as_str(), pairs(&claims[0])), ("a.pt", expected.to_vec()));
        }
        let claims = from_markdown(markdown);
        assert_eq!(claims.len(), 1, "a row without a path claims nothing");
        assert_eq!((claims[0].line, claims[0].path.as_str()), (5, "a.pt"));
        assert_eq!(pairs(&claims[0]), [expected[0], expected[1], ("shot_1", "58.8")]);
    }

    #[test]
    fn a_slip_in_toml_is_an_error() {
        let error =
            from_toml(Path::new("c.toml"), "[[claim]]\npath = \"a.pt\"\nkl_beat = 0.15\n").unwrap_err();
        let error = error.to_string();
        assert!(error.contains("unknown key `kl_beat`; did you mean `kl_beta`?"), "{error}");
        let error = from_toml(Path::new("c.toml"), "[[claim]]\nkl_beta = 0.15\n").unwrap_err().to_string();
        assert!(error.contains("claim 1 of `claim` has no `path`"), "{error}");
    }

    #[test]
    fn the_golden_checkpoint_against_true_and_false_claims() {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        let check = |line: &str| {
            check(
                &from_csv(Path::new("c"), &format!("path,kl_beta,epoch,phase,shot 1\n{line}\n")).unwrap(),
                &base,
            )
        };
        let fine = check("init.pt,0.15,5,RCE,58.8");
        assert_eq!((fine.checked, fine.disagreements.len()), (3, 0));
        assert_eq!(fine.ignored, ["shot_1".to_string()].into());
        assert_eq!(check("init.pt,0.15,4,rce,").counted_from_zero, 1);
        let wrong = check("init.pt,0.1,3,grpo,").disagreements;
        let said: Vec<_> =
            wrong.iter().map(|d| (d.key.as_str(), d.claimed.as_str(), d.found.as_str())).collect();
        assert_eq!(
            said,
            [
                ("kl_beta", "0.1", "0.15"),
                ("epoch", "3", "5 (stored as 4, counted from 0)"),
                ("phase", "grpo", "rce")
            ]
        );
        assert_eq!(check("init.safetensors,0.15,,,").disagreements[0].found, "the file does not say");
        assert_eq!(check("gone.pt,0.15,,,").disagreements[0].found, "no such file");
    }
}
