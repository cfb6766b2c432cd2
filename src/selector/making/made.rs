//! What is there already: by which settings it was made, and whether it is whole.

use std::path::Path;

use serde_json::{Value, json};

use super::error::MakingError;
use super::recipe::Recipe;

/// Of the form of what is made: a later version that makes other bytes of the same settings counts on.
pub(super) const FORMAT: u32 = 1;
/// How a file of ours is known.
pub(super) const MADE_BY: &str = "sweep data build";

impl Recipe {
    /// Whether the files are there, made of these settings and whole.
    ///
    /// # Errors
    /// Files that are there and were made otherwise; [`MakingError::Other`] says in what.
    pub fn is_made(&self) -> Result<bool, MakingError> {
        let path = &self.trajectories;
        if !path.exists() {
            return Ok(false);
        }
        let other = |difference: String| MakingError::Other { path: path.clone(), difference };
        let meta = meta_of(path)?.ok_or_else(|| other("`sweep data build` did not write it".to_owned()))?;
        let settings = self.settings()?;
        if meta["hash"] != json!(hash_of(&settings)) {
            return Err(other(difference(&meta["settings"], &settings)));
        }
        let evaluation = self.params.eval_file.as_ref().is_none_or(|file| is_the_one(&meta, file));
        Ok(is_complete(&meta) && evaluation)
    }

    /// Whether the files are there, whatever they hold.
    pub fn is_there(&self) -> bool {
        self.trajectories.exists() && self.params.eval_file.as_ref().is_none_or(|file| file.exists())
    }

    /// Whether `path` holds what these settings made when answers were missing: it may be completed.
    pub(super) fn is_unfinished(&self, path: &Path, settings: &Value) -> bool {
        let Ok(Some(meta)) = meta_of(&self.trajectories) else { return false };
        let ours = path == self.trajectories || is_the_one(&meta, path);
        ours && meta["hash"] == json!(hash_of(settings)) && !is_complete(&meta)
    }
}

/// Whether every question had an answer.
fn is_complete(meta: &Value) -> bool {
    meta["questions"]["unanswered"].as_u64().unwrap_or(0) == 0
}

/// Whether `file` is the evaluation file that was written with `meta`.
fn is_the_one(meta: &Value, file: &Path) -> bool {
    fs_err::read(file).is_ok_and(|bytes| meta["evaluation"]["hash"] == json!(hash_bytes(&bytes)))
}

pub(super) fn hash_bytes(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex()[..32].to_owned()
}

pub(super) fn hash_of(settings: &Value) -> String {
    hash_bytes(json!([FORMAT, settings]).to_string().as_bytes())
}

/// `_meta` of the trajectory JSON at `path`, where `sweep data build` wrote it.
fn meta_of(path: &Path) -> Result<Option<Value>, MakingError> {
    let bytes = fs_err::read(path)?;
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // It is the first line, whose object goes on.
    let text = first.strip_suffix(b",").or_else(|| first.strip_suffix(b"}")).unwrap_or(first);
    let whole = [text, b"}"].concat();
    let meta = serde_json::from_slice::<Value>(&whole).ok().map(|value| value["_meta"].clone());
    Ok(meta.filter(|meta| meta["made_by"] == json!(MADE_BY)))
}

/// The settings in which two differ, in words.
fn difference(before: &Value, now: &Value) -> String {
    let (Some(before), Some(now)) = (before.as_object(), now.as_object()) else {
        return "by another version".to_owned();
    };
    let differ = |key: &&String| before.get(*key) != now.get(*key);
    let keys: Vec<String> =
        now.keys().chain(before.keys()).filter(differ).map(|key| format!("`{key}`")).collect();
    let mut keys = keys;
    keys.dedup();
    if keys.is_empty() { "by another version".to_owned() } else { format!("other {}", keys.join(", ")) }
}
