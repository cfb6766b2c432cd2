//! Validation scores of members in training.

use rayon::prelude::*;

use super::cohort::HostCohort;
use super::evaluate::{Pools, Projection, scores};
use super::forward::Parameters;
use crate::selector::learn::Query;

impl HostCohort<'_> {
    /// Scores of the validation groups under each of `members`.
    pub fn validation_scores(&mut self, members: &[usize]) -> Vec<Vec<Vec<f32>>> {
        let (embeddings, temperature) = (self.params.embeddings, self.params.model.temperature);
        let queries: Vec<Query> = self.params.validation.iter().map(Query::of_group).collect();
        let pools = self.validation.take().unwrap_or_else(|| Pools::new(embeddings, &queries));
        let fixed = self.frozen.cand_proj && (self.frozen.input_proj || self.layout.input_proj.is_none());
        for share in self.shares.iter_mut().filter(|share| fixed && share.evaluation.is_none()) {
            let (layout, frozen) = (&self.layout, &self.frozen);
            let parameters = Parameters { layout, own: &[], shared: &share.start, frozen };
            share.evaluation = Some(Projection::new(&parameters, &pools, rayon::current_num_threads()));
        }
        let this = &*self;
        let threads = rayon::current_num_threads() / members.len().max(1);
        let one = |&member: &usize| {
            let parameters = this.parameters(member);
            let own;
            let projection = match &this.shares[this.members[member].share].evaluation {
                Some(shared) => shared,
                None => {
                    own = Projection::new(&parameters, &pools, threads);
                    &own
                }
            };
            scores(&parameters, (&pools, projection), embeddings, &queries, temperature)
        };
        let scores = members.par_iter().map(one).collect();
        self.validation = Some(pools);
        scores
    }
}
