//! Scores in evaluation mode. Without dropout a candidate's projections depend only on its id, so each id is
//! projected once, however many pools it is in.

use rayon::prelude::*;

use super::forward::{Masks, Parameters, Trace, attend, score};
use super::kernels::{Operand, matmul, matvec, normalize_rows};
use super::{Frozen, HostCohort};
use crate::data::Embeddings;
use crate::learn::{Layout, Query};

/// Embeddings through both projections of the candidates.
#[derive(Debug)]
pub struct Projection {
    /// Row of each global id; `u32::MAX` for ids that no query uses.
    row_of: Vec<u32>,
    /// Projected `[U, h]`, and after `cand_proj` and normalisation `[U, h]`.
    projected: Vec<f32>,
    unit: Vec<f32>,
}

impl Projection {
    /// Projects every id that `queries` use.
    pub fn new(parameters: &Parameters, embeddings: &Embeddings, queries: &[Query]) -> Self {
        let mut row_of = vec![u32::MAX; embeddings.rows];
        let mut rows = Vec::new();
        for id in queries.iter().flat_map(|query| query.pool.iter().copied()) {
            if row_of[id as usize] == u32::MAX {
                row_of[id as usize] = (rows.len() / embeddings.dim) as u32;
                rows.extend_from_slice(embeddings.row(id as usize));
            }
        }
        let (h, d) = (parameters.layout.shape.hidden, embeddings.dim);
        let count = rows.len() / d;
        let threads = rayon::current_num_threads();
        let projected = match parameters.input_proj() {
            None => rows,
            Some(weight) => {
                let mut projected = vec![0.0; count * h];
                let weight = Operand::transposed(weight, d);
                matmul((count, h, d), Operand::plain(&rows, d), weight, &mut projected, threads);
                projected
            }
        };
        let mut unit = vec![0.0; count * h];
        let weight = Operand::transposed(parameters.cand_proj(), h);
        matmul((count, h, h), Operand::plain(&projected, h), weight, &mut unit, threads);
        let mut norms = vec![0.0; count];
        normalize_rows(&mut unit, h, &mut norms);
        Self { row_of, projected, unit }
    }

    fn gather(&self, pool: &[u32], width: usize, source: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for &id in pool {
            let row = self.row_of[id as usize] as usize * width;
            out.extend_from_slice(&source[row..row + width]);
        }
    }
}

/// Scores `[K]` of every query.
pub fn scores(
    parameters: &Parameters,
    projection: &Projection,
    embeddings: &Embeddings,
    queries: &[Query],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let h = parameters.layout.shape.hidden;
    let one = |(trace, projected, unit): &mut (Trace, Vec<f32>, Vec<f32>), query: &Query| {
        projection.gather(query.pool, h, &projection.projected, projected);
        projection.gather(query.pool, h, &projection.unit, unit);
        let embedding = embeddings.row(query.row);
        match parameters.input_proj() {
            Some(weight) => matvec(weight, embedding, &mut trace.output),
            None => trace.output.copy_from_slice(embedding),
        }
        attend(parameters, projected, Masks::NONE, trace);
        score(parameters, unit, Masks::NONE, temperature as f32, trace);
        trace.scores.clone()
    };
    let fresh = || (Trace::new(parameters.layout), Vec::new(), Vec::new());
    queries.par_iter().with_min_len(8).map_init(fresh, one).collect()
}

/// Scores of a model given by its flat parameters.
pub fn scores_of(
    layout: &Layout,
    flat: &[f32],
    embeddings: &Embeddings,
    queries: &[Query],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let frozen = Frozen::new(&Default::default());
    let parameters = Parameters { layout, own: flat, shared: &[], frozen: &frozen };
    let projection = Projection::new(&parameters, embeddings, queries);
    scores(&parameters, &projection, embeddings, queries, temperature)
}

impl HostCohort<'_> {
    /// Scores of the validation groups under each of `members`.
    pub fn validation_scores(&mut self, members: &[usize]) -> Vec<Vec<Vec<f32>>> {
        let queries: Vec<Query> = self.params.validation.iter().map(Query::of_group).collect();
        let fixed = self.frozen.cand_proj && (self.frozen.input_proj || self.layout.input_proj.is_none());
        if fixed {
            for share in 0..self.shares.len() {
                if self.shares[share].evaluation.is_none() {
                    let start = self.shares[share].start.as_slice();
                    let parameters =
                        Parameters { layout: &self.layout, own: &[], shared: start, frozen: &self.frozen };
                    let projection = Projection::new(&parameters, self.params.embeddings, &queries);
                    self.shares[share].evaluation = Some(projection);
                }
            }
        }
        let this = &*self;
        let one = |&member: &usize| {
            let parameters = this.parameters(member);
            let own;
            let projection = match &this.shares[this.members[member].share].evaluation {
                Some(shared) => shared,
                None => {
                    own = Projection::new(&parameters, this.params.embeddings, &queries);
                    &own
                }
            };
            let temperature = this.params.model.temperature;
            scores(&parameters, projection, this.params.embeddings, &queries, temperature)
        };
        members.par_iter().map(one).collect()
    }
}
