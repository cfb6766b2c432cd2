//! Which kinds of stages can train together: same model, phase and frozen parameters.

use std::collections::HashMap;

use super::stage::{Phase, StageKind};
use crate::spec::{FreezeSet, ModelParams};

/// Numbers the kinds of stages that can train together while a plan is built. A plan has one data set.
#[derive(Debug, Default)]
pub struct Classes {
    /// The different models: width of the embeddings, and shape.
    models: Vec<(usize, ModelParams)>,
    known: HashMap<(Option<Phase>, FreezeSet, usize), usize>,
    /// Per stage, the number of its model.
    model_of: Vec<usize>,
}

impl Classes {
    /// The class of the next stage of the plan, which continues `parent`.
    pub fn of(&mut self, kind: &StageKind, parent: Option<usize>) -> usize {
        let model = match (parent, kind) {
            (Some(parent), _) => self.model_of[parent],
            (None, StageKind::Init { dim, model, .. }) => self.model(*dim, model),
            (None, _) => unreachable!("a chain begins with an Init stage"),
        };
        self.model_of.push(model);
        let next = self.known.len();
        *self.known.entry((kind.phase(), kind.frozen(), model)).or_insert(next)
    }

    fn model(&mut self, dim: usize, model: &ModelParams) -> usize {
        let known = self.models.iter().position(|(wide, known)| *wide == dim && known == model);
        known.unwrap_or_else(|| {
            self.models.push((dim, model.clone()));
            self.models.len() - 1
        })
    }
}
