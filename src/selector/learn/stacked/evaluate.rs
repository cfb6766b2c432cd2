//! Scores in evaluation mode, one member at a time: by the kernels, or with burn's operators in batches of queries.

use burn::DispatchDevice;
use burn::tensor::{Tensor, TensorData};

use super::forward::{Inputs, Keys, scores};
use super::pieces::{ModelTensors, pieces, trained};
use super::{Ids, Plane, Stack, StackedCohort, kernels, may_round, read_floats};
use crate::device::Device;
use crate::selector::FreezeSet;
use crate::selector::data::Embeddings;
use crate::selector::learn::{Layout, Query};

/// Device memory of one batch of queries: a single buffer of it stays below what Vulkan guarantees.
pub const BATCH_BYTES: usize = 128 << 20;

/// Queries with their pools padded to the longest one, K, on the device.
struct Batch {
    /// Rows of the queries and of their candidates, query by query.
    queries: Ids,
    pools: Ids,
    /// `[Q, 1, K]`; absent when all pools have K candidates.
    padding: Option<Stack>,
    sizes: Vec<usize>,
    width: usize,
}

impl Batch {
    /// Splits `queries` so that a batch's candidates and what is computed from them fit the memory.
    fn all(queries: &[Query], layout: &Layout, device: &DispatchDevice) -> Vec<Self> {
        let widest = queries.iter().map(|query| query.pool.len()).max().unwrap_or(1).max(1);
        let bytes = 4 * widest * (3 * layout.shape.hidden + layout.shape.dim);
        queries.chunks((BATCH_BYTES / bytes).max(1)).map(|some| Self::new(some, device)).collect()
    }

    fn new(queries: &[Query], device: &DispatchDevice) -> Self {
        let sizes: Vec<usize> = queries.iter().map(|query| query.pool.len()).collect();
        let width = sizes.iter().copied().max().unwrap_or(1).max(1);
        let mut pools: Vec<i32> = Vec::with_capacity(queries.len() * width);
        let mut padding = vec![0.0f32; queries.len() * width];
        for (i, query) in queries.iter().enumerate() {
            pools.extend(query.pool.iter().map(|&id| id as i32));
            pools.resize((i + 1) * width, 0);
            padding[i * width + query.pool.len()..(i + 1) * width].fill(-1e30);
        }
        let ragged = sizes.iter().any(|&size| size < width);
        let ids = |ids: Vec<i32>| {
            let count = ids.len();
            Ids::from_data(TensorData::new(ids, [count]), device)
        };
        Self {
            queries: ids(queries.iter().map(|query| query.row as i32).collect()),
            pools: ids(pools),
            padding: ragged
                .then(|| Tensor::from_data(TensorData::new(padding, [queries.len(), 1, width]), device)),
            sizes,
            width,
        }
    }
}

/// Scores `[K]` of every query of `batches` under one model; `table` holds the embeddings, projected where
/// the weights have no `input_proj`.
fn evaluate(
    layout: &Layout,
    weights: &ModelTensors,
    table: &Plane,
    batches: &[Batch],
    temperature: f64,
) -> Vec<Vec<f32>> {
    let width = table.dims()[1];
    let one = |batch: &Batch| {
        let count = batch.sizes.len();
        let inputs = Inputs {
            queries: table.clone().select(0, batch.queries.clone()).reshape([count, 1, width]),
            candidates: table.clone().select(0, batch.pools.clone()).reshape([count, batch.width, width]),
            keys: Keys::Raw(None),
            query_mask: None,
            attention_mask: None,
            padding: batch.padding.clone(),
        };
        scores(layout.shape, weights, inputs, temperature)
    };
    let on_device: Vec<Stack> = batches.iter().map(one).collect();
    let mut all = Vec::new();
    for (scores, batch) in on_device.into_iter().zip(batches) {
        let values = read_floats(scores);
        let rows = values.chunks(batch.width).zip(&batch.sizes);
        all.extend(rows.map(|(row, &size)| row[..size].to_vec()));
    }
    all
}

/// Scores `[K]` of every query under a model given by its flat parameters, on `device`; `None` as for
/// [`StackedCohort::new`].
pub fn scores_of(
    device: Device,
    layout: &Layout,
    flat: &[f32],
    embeddings: &Embeddings,
    queries: &[Query],
    temperature: f64,
) -> Option<Vec<Vec<f32>>> {
    let own = kernels(device).and_then(|own| own.scores_of(layout, flat, embeddings, queries, temperature));
    if own.is_some() || may_round(device) {
        return own;
    }
    let device = &device.burn_device()?;
    let pieces = pieces(layout, &FreezeSet::default());
    let parameters = Tensor::from_data(TensorData::new(flat.to_vec(), [1, flat.len()]), device);
    let weights = ModelTensors::gather(layout, &pieces, &[], &trained(&pieces, &parameters));
    let values = TensorData::new(embeddings.values.clone(), [embeddings.rows, embeddings.dim]);
    let table = Tensor::from_data(values, device);
    Some(evaluate(layout, &weights, &table, &Batch::all(queries, layout, device), temperature))
}

impl StackedCohort<'_> {
    /// Scores of the validation groups under each of `members`.
    pub fn validation_scores(&mut self, members: &[usize]) -> Vec<Vec<Vec<f32>>> {
        let queries: Vec<Query> = self.params.validation.iter().map(Query::of_group).collect();
        if queries.is_empty() {
            return vec![Vec::new(); members.len()];
        }
        if let (Some(program), Some(states)) = (&self.program, &self.states) {
            let one = |&member: &usize| program.scores(self, &states[member].parameters, &queries);
            return members.iter().map(one).collect();
        }
        let batches = Batch::all(&queries, &self.layout, &self.device);
        let temperature = self.params.model.temperature;
        let one = |&member: &usize| {
            let share = self.share_of[member];
            let frozen: Vec<Stack> =
                self.frozen.iter().map(|tensor| tensor.clone().narrow(0, share, 1)).collect();
            let own = trained(&self.pieces, &self.rows.parameters.clone().narrow(0, member, 1));
            let mut weights = ModelTensors::gather(&self.layout, &self.pieces, &frozen, &own);
            let mut table = self.table.clone();
            if self.projected {
                weights.input_proj = None;
                let first = self.table_offset(share);
                table = table.narrow(0, first, self.params.embeddings.rows);
            }
            evaluate(&self.layout, &weights, &table, &batches, temperature)
        };
        members.iter().map(one).collect()
    }
}
