//! How an answer is judged: scores of a text against the accepted answers.

mod score;

pub use score::{exact_match, normalize, token_f1, vqa_accuracy, vqa_correct};

#[cfg(test)]
mod tests;
