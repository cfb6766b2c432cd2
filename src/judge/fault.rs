//! Why a question has no answer, by kind; counted, with the first of each kind spelled out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong with a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// No connection, or one that was dropped.
    Connection,
    /// A certificate that is not trusted, or no TLS at all.
    Certificate,
    /// Nothing came in time.
    Timeout,
    /// The judge asks to be left alone for a while (429, 503).
    Busy,
    /// The judge failed (5xx).
    Server,
    /// The judge will not answer this question (4xx).
    Refused,
    /// The key or the address is wrong (401, 403, 404, a redirection): no question will be answered.
    Denied,
    /// No JSON, half of it, not UTF-8, or JSON of another form.
    Unreadable,
    /// More than anybody would call an answer.
    TooLarge,
    /// Another model than the one asked for.
    WrongModel,
    /// Cut by the judge's own limit, not by `max_tokens`.
    Cut,
    /// The judge's program ended, or could not be started.
    Program,
    /// The question cannot be put: an image or an item is missing.
    Question,
    /// The cache cannot be read or written.
    Cache,
    /// Not asked: the judge had stopped answering.
    NotAsked,
}

impl FaultKind {
    /// In words, to follow a count.
    pub fn words(self) -> &'static str {
        match self {
            Self::Connection => "without a connection",
            Self::Certificate => "without a trusted certificate",
            Self::Timeout => "not answered in time",
            Self::Busy => "put off by a busy judge",
            Self::Server => "failed in the judge",
            Self::Refused => "refused",
            Self::Denied => "denied",
            Self::Unreadable => "answered unreadably",
            Self::TooLarge => "answered at too great a length",
            Self::WrongModel => "answered by another model",
            Self::Cut => "cut by the judge's own limit",
            Self::Program => "lost with the judge's program",
            Self::Question => "impossible to put",
            Self::Cache => "that could not be kept",
            Self::NotAsked => "not asked",
        }
    }

    /// Whether asking again may help.
    pub fn may_pass(self) -> bool {
        matches!(
            self,
            Self::Connection | Self::Timeout | Self::Busy | Self::Server | Self::Unreadable | Self::Program
        )
    }

    /// Whether no other question will fare better.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Certificate | Self::Denied | Self::WrongModel | Self::Cache)
    }
}

/// Why a question has no answer. Its text never holds a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Fault {
    pub kind: FaultKind,
    pub message: String,
    /// How long the judge asks to be left alone.
    pub wait: Option<std::time::Duration>,
}

impl Fault {
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), wait: None }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Faults by kind: how many, and the first one with the query it happened to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(pub BTreeMap<FaultKind, Counted>);

/// The faults of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub count: usize,
    /// Of the first one.
    pub query_id: u64,
    pub message: String,
}

impl Tally {
    /// Counts `fault`, which happened to a question about `query_id`.
    pub fn add(&mut self, fault: &Fault, query_id: u64) {
        let message = fault.message.clone();
        self.0.entry(fault.kind).or_insert(Counted { count: 0, query_id, message }).count += 1;
    }

    /// Number of faults.
    pub fn total(&self) -> usize {
        self.0.values().map(|counted| counted.count).sum()
    }

    /// One sentence for each kind.
    pub fn sentences(&self) -> Vec<String> {
        let one = |(kind, counted): (&FaultKind, &Counted)| {
            let Counted { count, query_id, message } = counted;
            format!("{count} {}: query {query_id}: {message}", kind.words())
        };
        self.0.iter().map(one).collect()
    }
}
