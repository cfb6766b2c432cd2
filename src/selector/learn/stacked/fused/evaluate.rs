//! Scores in evaluation mode, by the kernels that train: every query is a member, and all have the same parameters.

use cubecl::prelude::*;

use super::super::evaluate::BATCH_BYTES;
use super::device::{Accelerator, Buffer, View, cube};
use super::forward::{Dropout, Forward, Source};
use super::head;
use super::kernels::{Finish, Place};
use super::places::Places;
use crate::selector::learn::{Layout, Query};

/// A model on the device.
struct Model<'a> {
    layout: &'a Layout,
    /// All parameters, and the two projections that see all candidates.
    flat: Buffer,
    input: Option<Buffer>,
    cand: Buffer,
    inverse_temperature: f32,
}

impl<R: Runtime> Accelerator<R> {
    /// Scores `[K]` of every query under the parameters `flat`; `table` holds the embeddings `[N, d]`.
    pub fn scores(
        &self,
        layout: &Layout,
        flat: &[f32],
        table: &Buffer,
        queries: &[Query],
        temperature: f64,
    ) -> Vec<Vec<f32>> {
        let (h, d) = (layout.shape.hidden, layout.shape.dim);
        let part = |first: usize, len: usize| self.upload(&flat[first..first + len]);
        let model = Model {
            layout,
            flat: self.upload(flat),
            input: layout.input_proj.map(|offset| part(offset, h * d)),
            cand: part(layout.cand_proj, h * h),
            inverse_temperature: (1.0 / temperature) as f32,
        };
        let pool = widest(queries);
        let places = Places::new(layout, pool);
        let bytes = 4 * (pool * (d + 2 * h) + places.width as usize);
        // A query is a cube on the second axis of a launch.
        let most = (BATCH_BYTES / bytes).clamp(1, usize::from(u16::MAX));
        queries.chunks(most).flat_map(|some| self.batch(&model, (&places, pool), table, some)).collect()
    }

    fn batch(
        &self,
        model: &Model,
        (places, pool): (&Places, usize),
        table: &Buffer,
        queries: &[Query],
    ) -> Vec<Vec<f32>> {
        let layout = model.layout;
        let (h, d, count) = (layout.shape.hidden, layout.shape.dim, queries.len());
        let index = self.upload(&index(queries, pool));
        let (work, masks) = (self.empty(count * places.width as usize), self.empty(1));
        let embeddings = self.empty(count * pool * d);
        let candidates =
            if model.input.is_some() { self.empty(count * pool * h) } else { embeddings.clone() };
        // One set of parameters: whatever row the owner has, it begins at 0.
        let source =
            |offset: usize| Source { weights: &model.flat, owner: &index, stride: 0, offset: offset as u32 };
        let members = count as u32;
        let (width, hidden, pool_size) = (places.width, h as u32, pool as u32);
        let forward = Forward {
            device: self,
            layout,
            places,
            source: &source,
            work: &work,
            index: &index,
            masks: &masks,
            candidates: (&candidates, false),
            counts: members,
            at: Place { step: 0, lanes: members, members, width, hidden, pool: pool_size, masks: 0, mask: 0 },
            dropout: Dropout { vectors: false, attention: false },
        };
        forward.gather(table, (3 * members, count), d, &embeddings);
        let query = if model.input.is_some() { places.embedding } else { places.layers[0].input };
        forward.load_query(table, 2 * members, (d, query));
        if let (Some(weights), Some(offset)) = (&model.input, layout.input_proj) {
            self.multiply(
                &View::new(&embeddings, &[1, count * pool, d]),
                &View::new(weights, &[1, h, d]).transposed(),
                &View::new(&candidates, &[1, count * pool, h]),
            );
            forward.project_query(offset);
        }
        let keys = self.empty(count * pool * h);
        self.multiply(
            &View::new(&candidates, &[1, count * pool, h]),
            &View::new(&model.cand, &[1, h, h]).transposed(),
            &View::new(&keys, &[1, count * pool, h]),
        );
        for l in 0..forward.layers() {
            forward.attend(l);
        }
        let job = forward.whole(source(layout.query_proj), places.dropped, places.query);
        forward.product(job, Finish::Scale);
        let out = self.empty(count * pool);
        head::scores::launch::<R>(
            &self.client,
            forward.cubes(1, 1),
            cube(),
            keys.arg(),
            work.arg(),
            out.arg(),
            forward.at.arg(),
            places.query,
            model.inverse_temperature,
            pool,
        );
        let values = self.read(&out);
        values.chunks(pool).zip(queries).map(|(row, query)| row[..query.pool.len()].to_vec()).collect()
    }
}

/// Candidates of the largest pool; at least one.
fn widest(queries: &[Query]) -> usize {
    queries.iter().map(|query| query.pool.len()).max().unwrap_or(1).max(1)
}

/// Every query's lane, which is its own, number of candidates, row, and candidates' rows padded to `pool`.
fn index(queries: &[Query], pool: usize) -> Vec<u32> {
    let mut index: Vec<u32> = (0..queries.len() as u32).collect();
    index.extend(queries.iter().map(|query| query.pool.len() as u32));
    index.extend(queries.iter().map(|query| query.row as u32));
    for query in queries {
        index.extend(query.pool.iter().copied().chain(std::iter::repeat_n(0, pool - query.pool.len())));
    }
    index
}
