//! A judge: one of the forms, its items, and the cache that keeps what it said.

use std::path::Path;
use std::sync::Arc;

use super::cache::{Cache, Claim};
use super::command::Command;
use super::endpoint::Endpoint;
use super::fault::{Fault, FaultKind};
use super::items::Items;
use super::question::{Answer, Identity, Question};
use super::segment::Id;

/// How a judge is asked.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per judge, and behind a reference")]
pub enum Form {
    Endpoint(Endpoint),
    Command(Command),
}

impl Form {
    /// Who answers.
    pub fn identity(&self) -> Identity {
        match self {
            Self::Endpoint(endpoint) => endpoint.identity(),
            Self::Command(command) => command.identity(),
        }
    }

    /// Keeps what a program says on stderr at `path`.
    pub fn keep_stderr(&self, path: &Path) {
        if let Self::Command(command) = self {
            command.keep_stderr(path);
        }
    }
}

/// A judge with its cache.
#[derive(Debug)]
pub struct Judge {
    form: Arc<Form>,
    items: Arc<Items>,
    cache: Cache,
    identity: Identity,
    id: Id,
}

/// What became of a question.
#[derive(Clone, Debug)]
pub enum Asked {
    Answered(Answer),
    /// It had been answered already, by this process or another.
    Known(Answer),
    /// Another process is asking it now.
    Elsewhere,
}

impl Judge {
    /// `cache`: the directory that keeps answers.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub fn new(form: Arc<Form>, items: Arc<Items>, cache: &Path) -> std::io::Result<Self> {
        let identity = form.identity();
        Ok(Self { id: identity.id(), identity, form, items, cache: Cache::open(cache)? })
    }

    /// Who answers.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// A short name of [`Judge::identity`].
    pub fn id(&self) -> Id {
        self.id
    }

    /// What it keeps.
    pub fn cache(&self) -> &Cache {
        &self.cache
    }

    /// The items that questions are made of; empty for a command, which has its own.
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// The prompt as people read it; what a command is told.
    ///
    /// # Errors
    /// A question that cannot be put.
    pub fn prompt(&self, question: &Question) -> Result<String, Fault> {
        match &*self.form {
            Form::Endpoint(endpoint) => endpoint.prompt_text(question, &self.items),
            Form::Command(_) => Ok(String::from_utf8_lossy(&Command::body(question)).into_owned()),
        }
    }

    /// The identity of a question.
    ///
    /// # Errors
    /// A question that cannot be put: an item or an image is missing.
    pub fn question(&self, question: &Question) -> Result<Id, Fault> {
        let body = match &*self.form {
            Form::Endpoint(endpoint) => endpoint.body(question, &self.items)?,
            Form::Command(_) => Command::body(question),
        };
        Ok(self.identity.question(&body))
    }

    /// What has been answered before.
    pub fn known(&self, id: Id) -> Option<Answer> {
        serde_json::from_slice(&self.cache.get(id)?).ok()
    }

    /// Asks once, without the cache: a second time.
    ///
    /// # Errors
    /// Whatever keeps the answer from being whole.
    pub fn ask_again(&self, question: &Question) -> Result<Answer, Fault> {
        let answer = match &*self.form {
            Form::Endpoint(endpoint) => endpoint.ask(question, &self.items),
            Form::Command(command) => command.ask(question),
        }?;
        Ok(Answer { judge: self.id.to_string(), ..answer })
    }

    /// Claims a question for this process.
    ///
    /// # Errors
    /// A cache that cannot be used.
    pub fn claim(&self, id: Id) -> Result<Option<Asked>, Fault> {
        let cannot = |error: std::io::Error| Fault::new(FaultKind::Cache, error.to_string());
        match self.cache.claim(id).map_err(cannot)? {
            Claim::Mine => Ok(None),
            Claim::Theirs => Ok(Some(Asked::Elsewhere)),
            Claim::Answered(bytes) => Ok(serde_json::from_slice(&bytes).ok().map(Asked::Known)),
        }
    }

    /// Asks a question that was claimed and keeps the answer.
    ///
    /// # Errors
    /// Whatever keeps the answer from being whole; nothing is kept then.
    pub fn ask(&self, id: Id, question: &Question) -> Result<Answer, Fault> {
        let answer = self.ask_again(question)?;
        let bytes = serde_json::to_vec(&answer).unwrap_or_default();
        let identity = serde_json::to_vec(&self.identity).unwrap_or_default();
        let kept = self.cache.describe(self.id, &identity).and_then(|()| self.cache.put(id, &bytes));
        kept.map_err(|error| Fault::new(FaultKind::Cache, error.to_string()))?;
        Ok(answer)
    }

    /// Says that a claimed question has no answer.
    pub fn give_up(&self, id: Id) {
        // Should it not be said, others wait until this process ends.
        let _ = self.cache.give_up(id);
    }
}
