//! The items that questions are made of: texts, accepted answers, images.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// One item.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    pub question: String,
    /// Never empty.
    pub answers: Vec<String>,
    /// A path, made absolute against the items' file, or an address.
    pub image: Option<String>,
    /// What it is for, where the file says so: a query or a demonstration.
    pub split: Option<String>,
}

impl Item {
    /// The answer that a demonstration gives: the one that most annotators gave, of equally frequent ones the first.
    pub fn answer(&self) -> &str {
        let count = |text: &String| self.answers.iter().filter(|other| *other == text).count();
        let mut best = (0, "");
        for answer in &self.answers {
            let count = count(answer);
            if count > best.0 {
                best = (count, answer);
            }
        }
        best.1
    }
}

/// All items by id.
#[derive(Clone, Debug, Default)]
pub struct Items {
    items: HashMap<u64, Item>,
    path: PathBuf,
    hash: String,
}

/// Why a file of items cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ItemsError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("`{}`:{line}: {message}\nhint: one JSON object a line, with `id`, `question`, `answers` (a list of texts) and, if there is one, `image`", path.display())]
    Line { path: PathBuf, line: usize, message: String },
    #[error("`{}` has no item {id}, which the {what} need\nhint: every query and every candidate needs a line", path.display())]
    Missing { path: PathBuf, id: u64, what: &'static str },
}

#[derive(Deserialize)]
#[serde(expecting = "an item (an object)")]
struct Line {
    id: u64,
    #[serde(default)]
    question: String,
    answers: Vec<String>,
    #[serde(default)]
    image: Option<String>,
    #[serde(default)]
    split: Option<String>,
}

impl Items {
    /// Reads the JSON lines of `path`.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is no item, an id that occurs twice.
    pub fn load(path: &Path) -> Result<Self, ItemsError> {
        let bytes = fs_err::read(path)?;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut items = HashMap::new();
        for (index, text) in bytes.split(|byte| *byte == b'\n').enumerate() {
            if text.trim_ascii().is_empty() {
                continue;
            }
            let wrong =
                |message: String| ItemsError::Line { path: path.to_owned(), line: index + 1, message };
            let line: Line = serde_json::from_slice(text).map_err(|error| wrong(plain(&error)))?;
            if line.answers.is_empty() {
                return Err(wrong(format!("item {} has no answers", line.id)));
            }
            let image = line.image.map(|image| place(&image, folder));
            let item = Item { question: line.question, answers: line.answers, image, split: line.split };
            if items.insert(line.id, item).is_some() {
                return Err(wrong(format!("item {} is there a second time", line.id)));
            }
        }
        Ok(Self { items, path: path.to_owned(), hash: blake3::hash(&bytes).to_hex().to_string() })
    }

    /// blake3 (hex) of the file's contents.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The item `id`.
    pub fn get(&self, id: u64) -> Option<&Item> {
        self.items.get(&id)
    }

    /// All ids, ascending.
    pub fn ids(&self) -> Vec<u64> {
        let mut ids: Vec<u64> = self.items.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Checks that every one of `ids` is there; `what` needs them.
    ///
    /// # Errors
    /// The first that is not.
    pub fn check(&self, ids: impl IntoIterator<Item = u64>, what: &'static str) -> Result<(), ItemsError> {
        match ids.into_iter().find(|id| !self.items.contains_key(id)) {
            None => Ok(()),
            Some(id) => Err(ItemsError::Missing { path: self.path.clone(), id, what }),
        }
    }
}

/// The message of a JSON error without its place, which is that of the line.
fn plain(error: &serde_json::Error) -> String {
    let message = error.to_string();
    message[..message.rfind(" at line ").unwrap_or(message.len())].to_owned()
}

/// Addresses stay as they are.
fn place(image: &str, folder: &Path) -> String {
    let is_address = ["http://", "https://", "data:"].iter().any(|scheme| image.starts_with(scheme));
    if is_address { image.to_owned() } else { folder.join(image).display().to_string() }
}
