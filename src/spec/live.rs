//! `[eval.endpoint]` and `[eval.command]`: judges that are asked while a sweep runs.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::choice::choice;

/// `[eval.endpoint]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointParams {
    pub url: String,
    pub model: String,
    pub api: JudgeApi,
    pub system: Option<String>,
    pub demonstration: String,
    pub query: String,
    pub max_tokens: u32,
    pub stop: Vec<String>,
    pub logprobs: bool,
    /// A JSON object.
    pub fields: Option<String>,
    pub max_image_bytes: u64,
    pub concurrency: usize,
    /// Seconds.
    pub timeout: f64,
    pub retries: u32,
    pub key_env: Option<String>,
}

impl Default for EndpointParams {
    fn default() -> Self {
        Self {
            url: String::new(),
            model: String::new(),
            api: JudgeApi::Chat,
            system: None,
            demonstration: "Q: {question}\nA: {answer}\n".to_owned(),
            query: "Q: {question}\nA:".to_owned(),
            max_tokens: 16,
            stop: Vec::new(),
            logprobs: false,
            fields: None,
            max_image_bytes: 20 << 20,
            concurrency: 16,
            timeout: 120.0,
            retries: 5,
            key_env: None,
        }
    }
}

choice! {
    /// Which of the protocol's two ways of asking.
    JudgeApi {
        Chat = "chat",
        Completions = "completions",
    }
}

/// `[eval.command]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CommandParams {
    pub program: Vec<String>,
    pub version: Option<String>,
    pub batch: usize,
    /// Seconds.
    pub patience: f64,
    /// Where it runs: the sweep file's directory.
    pub directory: PathBuf,
}

impl Default for CommandParams {
    fn default() -> Self {
        Self { program: Vec::new(), version: None, batch: 16, patience: 600.0, directory: PathBuf::new() }
    }
}
