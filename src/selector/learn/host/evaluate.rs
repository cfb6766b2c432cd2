//! Scores in evaluation mode. Without dropout a candidate's projections depend only on its id, so each id is
//! projected once, however many pools it is in.

use rayon::prelude::*;

use super::forward::{Masks, Parameters, Trace, attend, score};
use super::frozen::Frozen;
use super::kernels::{Operand, matmul, matvec, normalize_rows};
use crate::selector::data::Embeddings;
use crate::selector::learn::{Layout, Query, Shape};

/// The embeddings that some queries' pools use, each once.
#[derive(Debug)]
pub struct Pools {
    /// Row of each global id; `u32::MAX` for ids that no query uses.
    row_of: Vec<u32>,
    /// `[U, d]`
    rows: Vec<f32>,
}

impl Pools {
    pub fn new(embeddings: &Embeddings, queries: &[Query]) -> Self {
        let mut row_of = vec![u32::MAX; embeddings.rows];
        let mut rows = Vec::new();
        for id in queries.iter().flat_map(|query| query.pool.iter().copied()) {
            if row_of[id as usize] == u32::MAX {
                row_of[id as usize] = (rows.len() / embeddings.dim) as u32;
                rows.extend_from_slice(embeddings.row(id as usize));
            }
        }
        Self { row_of, rows }
    }

    fn gather(&self, pool: &[u32], width: usize, source: &[f32], out: &mut Vec<f32>) {
        out.clear();
        for &id in pool {
            let row = self.row_of[id as usize] as usize * width;
            out.extend_from_slice(&source[row..row + width]);
        }
    }
}

/// The rows of [`Pools`] through both projections of the candidates.
#[derive(Debug)]
pub struct Projection {
    /// `[U, h]`; empty where there is no `input_proj`.
    projected: Vec<f32>,
    /// After `cand_proj` and normalisation `[U, h]`.
    unit: Vec<f32>,
}

impl Projection {
    /// Projects every row, on up to `threads` cores.
    pub fn new(parameters: &Parameters, pools: &Pools, threads: usize) -> Self {
        let Shape { hidden: h, dim: d, .. } = parameters.layout.shape;
        let count = pools.rows.len() / d;
        let project = |rows: &[f32], width: usize, weight: &[f32]| {
            let mut out = vec![0.0; count * h];
            let weight = Operand::transposed(weight, width);
            matmul((count, h, width), Operand::plain(rows, width), weight, &mut out, threads);
            out
        };
        let projected =
            parameters.input_proj().map(|weight| project(&pools.rows, d, weight)).unwrap_or_default();
        let rows = if projected.is_empty() { &pools.rows } else { &projected };
        let mut unit = project(rows, h, parameters.cand_proj());
        let mut norms = vec![0.0; count];
        normalize_rows(&mut unit, h, &mut norms);
        Self { projected, unit }
    }
}

/// Scores `[K]` of every query.
pub fn scores(
    parameters: &Parameters,
    (pools, projection): (&Pools, &Projection),
    embeddings: &Embeddings,
    queries: &[Query],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let h = parameters.layout.shape.hidden;
    let rows = if projection.projected.is_empty() { &pools.rows } else { &projection.projected };
    let one = |(trace, projected, unit): &mut (Trace, Vec<f32>, Vec<f32>), query: &Query| {
        pools.gather(query.pool, h, rows, projected);
        pools.gather(query.pool, h, &projection.unit, unit);
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
    let pools = Pools::new(embeddings, queries);
    let projection = Projection::new(&parameters, &pools, rayon::current_num_threads());
    scores(&parameters, (&pools, &projection), embeddings, queries, temperature)
}
