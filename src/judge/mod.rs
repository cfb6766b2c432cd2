//! How an answer is got and judged: who is asked, what was asked before, scores of a text against the accepted answers.
//!
//! ```text
//! Question -> identity -> cache (segments on disk) -> asker (threads) -> form (endpoint or command) -> Answer -> score
//! ```
//! A question is asked once, ever: its identity is the hash of the request's exact body and of who answers, never of an
//! address, a key or a time. What enters the cache is whole: a fault ([`FaultKind`]) is counted and never kept.

mod asker;
mod cache;
mod command;
mod embedding;
mod endpoint;
mod fault;
mod form;
mod gather;
mod http;
mod image;
mod items;
mod question;
mod score;
mod segment;

pub use asker::{Asker, Pace, Progress, Reply, SecondAnswers, ask_again};
pub use cache::{Cache, Claim, Contents};
pub use command::{Command, CommandSettings};
pub use embedding::{Embedded, Embedder, EmbeddingSettings};
pub use endpoint::{Api, Endpoint, EndpointSettings, Template};
pub use fault::{Counted, Fault, FaultKind, Tally};
pub use form::{Asked, Form, Judge};
pub use gather::Gathering;
pub use http::{Client, Secret};
pub use items::{Item, Items, ItemsError};
pub use question::{Answer, Identity, Question, Wanted};
pub use score::{exact_match, normalize, relevance, token_f1, vqa_accuracy, vqa_correct};
pub use segment::Id;

#[cfg(test)]
mod tests;
