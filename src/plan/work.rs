//! What the core must know of a kind of training. Everything else about it is the experiment's.

use serde::{Deserialize, Serialize};

/// The phase of a work that trains nothing: it is where chains begin.
pub const INIT: &str = "init";

/// One kind of training that points ask for, described by the experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    /// All that decides its result besides the stages that it starts from and is measured against, as canonical JSON:
    /// equal values are the same work. A value that was added later is left out at its default, so that results outlive
    /// versions.
    pub values: String,
    pub traits: Traits,
}

/// What is done with a work's results, whatever it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traits {
    /// Names its files and its rows; [`INIT`] where nothing is trained.
    pub phase: String,
    /// What works must have equal to train side by side, and to take about equally long: any text.
    pub lane: String,
    /// The number of epochs where it is part of the work; `None` where a run of more epochs begins with this one, so that
    /// it can go on from where this one ends.
    pub whole: Option<u32>,
    /// Parameters that it leaves as they are: the first parts of their names (up to a dot).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frozen: Vec<String>,
}

impl Work {
    /// One of `phase` that `values` decide, side by side with others of `lane`. It freezes nothing, and a run of more epochs
    /// begins with it: where that is otherwise, change its traits.
    pub fn new(phase: &str, values: &serde_json::Value, lane: String) -> Self {
        let traits = Traits { phase: phase.to_owned(), lane, whole: None, frozen: Vec::new() };
        Self { values: values.to_string(), traits }
    }

    /// The same, which leaves the parameters whose names begin with these as they are.
    #[must_use]
    pub fn freezing(mut self, frozen: &[String]) -> Self {
        self.traits.frozen = frozen.to_vec();
        self
    }
}

impl Traits {
    /// Whether it trains anything.
    pub fn trains(&self) -> bool {
        self.phase != INIT
    }

    /// Whether a run of more epochs begins with this one.
    pub fn can_grow(&self) -> bool {
        self.whole.is_none()
    }

    /// Whether the parameter called `name` stays as it is.
    pub fn freezes(&self, name: &str) -> bool {
        name.split('.').next().is_some_and(|first| self.frozen.iter().any(|frozen| frozen == first))
    }
}

impl Link {
    /// `epochs` of `work`, measured against nothing.
    pub fn to(work: usize, epochs: u32) -> Self {
        Self { work, epochs, reference: None }
    }
}

/// A step of a point's chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Index into the list of works.
    pub work: usize,
    /// How many epochs of it the point asks for; 0 where nothing is trained.
    pub epochs: u32,
    /// The earlier step of the chain that it is measured against.
    pub reference: Option<usize>,
}
