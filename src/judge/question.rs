//! What is asked, what comes back, and who answers.

use serde::{Deserialize, Serialize};

use super::segment::Id;
use crate::finite::Finite;

/// What is wanted of the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Wanted {
    /// Its answer.
    Answer,
    /// How probable it finds the accepted answer.
    Probability,
}

/// A question about one query, with demonstrations before it. The order of questions is that of their demonstrations:
/// prompts with equal beginnings stand together, for judges that remember how a prompt began.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// Global ids, in the order of the prompt.
    pub demonstrations: Vec<u64>,
    pub query_id: u64,
    pub wanted: Wanted,
}

/// What a judge said. Only whole, successful answers become one.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// An empty text is an answer.
    #[serde(default)]
    pub text: String,
    /// Where the judge scores its answers itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Finite>,
    /// Mean log-probability per token of the accepted answer, where that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub log_prob: Option<Finite>,
    /// The judge that answered.
    #[serde(default)]
    pub judge: String,
}

/// Who answers: everything that can change an answer, and no address, key or time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// `endpoint` or `command`
    pub form: String,
    /// The model as the server names it, or the command.
    pub model: String,
    /// blake3 (hex, shortened) of the prompt's template; empty without one.
    #[serde(default)]
    pub template: String,
    /// Everything else that is sent along.
    #[serde(default)]
    pub settings: serde_json::Value,
}

impl Identity {
    /// A hash of all of it.
    pub fn id(&self) -> Id {
        Id::of(&blake3::hash(&serde_json::to_vec(self).unwrap_or_default()))
    }

    /// The identity of a question of this judge: that of the request's exact body and of who answers.
    pub fn question(&self, body: &[u8]) -> Id {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(self.form.as_bytes())
            .update(&[0])
            .update(self.model.as_bytes())
            .update(&[0])
            .update(body);
        Id::of(&hasher.finalize())
    }
}
