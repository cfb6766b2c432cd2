//! What a step needs before any member is computed, and what members have in common: the group's embeddings,
//! the dropout masks of each seed, and the candidates under frozen projections.

use super::super::Phase;
use super::super::random::{Purpose, Stream};
use super::super::task::EpochTask;
use super::HostCohort;
use super::kernels::{Operand, matmul, multiply, normalize_rows};

/// Which members walk through the groups together (equal seed, equal order), and which of those also share
/// frozen parameters.
#[derive(Debug, Default)]
pub struct Bundle {
    /// Per bundle: its seed and order.
    walks: Vec<(u64, Vec<u32>)>,
    /// Distinct (bundle, share) pairs.
    pairs: Vec<(usize, usize)>,
    /// Per member: its bundle and its pair (unused entries for idle members).
    pub place: Vec<(usize, usize)>,
}

impl Bundle {
    /// Groups the tasks of an epoch.
    pub fn of_tasks(tasks: &[Option<EpochTask>], share_of: impl Fn(usize) -> usize) -> Self {
        let mut all = Self::default();
        for (member, task) in tasks.iter().enumerate() {
            let place = match task {
                None => (0, 0),
                Some(task) => {
                    let same = |walk: &(u64, Vec<u32>)| walk.0 == task.seed && walk.1 == task.order;
                    let bundle = position_or_push(&mut all.walks, same, || (task.seed, task.order.clone()));
                    let pair = (bundle, share_of(member));
                    (bundle, position_or_push(&mut all.pairs, |known| *known == pair, || pair))
                }
            };
            all.place.push(place);
        }
        all
    }
}

fn position_or_push<T>(list: &mut Vec<T>, same: impl FnMut(&T) -> bool, make: impl FnOnce() -> T) -> usize {
    list.iter().position(same).unwrap_or_else(|| {
        list.push(make());
        list.len() - 1
    })
}

/// Data of one step; two of them alternate, so that the next step is prepared while one is computed.
#[derive(Debug, Default)]
pub struct Prepared {
    pub bundles: Vec<BundleData>,
    pub shared: Vec<SharedCandidates>,
}

/// What the members of a bundle have in common in one step.
#[derive(Debug, Default)]
pub struct BundleData {
    /// Index of the training group.
    pub group: usize,
    /// `[K, d]`, filled only when some member projects its own candidates.
    pub embeddings: Vec<f32>,
    /// Dropout factors `[K, h]`, `[h]`, `[layers * heads * K]`; empty at rate 0.
    pub candidate_mask: Vec<f32>,
    pub query_mask: Vec<f32>,
    pub attention_mask: Vec<f32>,
}

/// The candidates of one step under frozen projections; empty where they depend on the member.
#[derive(Debug, Default)]
pub struct SharedCandidates {
    /// `[K, h]`
    pub projected: Vec<f32>,
    /// `[K, h]`
    pub dropped: Vec<f32>,
    /// `[K, h]` and `[K]`
    pub unit: Vec<f32>,
    pub norms: Vec<f32>,
}

impl HostCohort<'_> {
    /// Fills `prepared` for one step.
    pub(super) fn prepare(
        &self,
        (phase, epoch, step): (Phase, u32, usize),
        bundles: &Bundle,
        out: &mut Prepared,
    ) {
        out.bundles.resize_with(bundles.walks.len(), Default::default);
        out.shared.resize_with(bundles.pairs.len(), Default::default);
        for (data, (seed, order)) in out.bundles.iter_mut().zip(&bundles.walks) {
            let purpose = Purpose::Dropout { phase, epoch, step: step as u32 };
            data.group = order[step] as usize;
            self.fill_bundle(data, Stream::new(*seed, purpose));
        }
        for (shared, (bundle, share)) in out.shared.iter_mut().zip(&bundles.pairs) {
            self.fill_shared(shared, &out.bundles[*bundle], *share);
        }
    }

    fn fill_bundle(&self, data: &mut BundleData, mut stream: Stream) {
        let group = &self.params.train[data.group];
        let (shape, model) = (self.layout.shape, self.params.model);
        let (count, hidden) = (group.pool.len(), shape.hidden);
        let mut draw = |rate: f64, mask: &mut Vec<f32>, len: usize| {
            mask.resize(if rate > 0.0 { len } else { 0 }, 0.0);
            stream.dropout(rate, mask);
        };
        draw(model.dropout, &mut data.query_mask, hidden);
        draw(model.attn_dropout, &mut data.attention_mask, shape.layers * shape.heads * count);
        draw(model.dropout, &mut data.candidate_mask, count * hidden);
        data.embeddings.clear();
        if shape.has_input_proj() && !self.frozen.input_proj {
            for &id in &group.pool {
                data.embeddings.extend_from_slice(self.params.embeddings.row(id as usize));
            }
        }
    }

    fn fill_shared(&self, out: &mut SharedCandidates, bundle: &BundleData, share: usize) {
        let h = self.layout.shape.hidden;
        let share = &self.shares[share];
        if share.projected.is_empty() {
            return;
        }
        let group = &self.params.train[bundle.group];
        let count = group.pool.len();
        out.projected.clear();
        for &id in &group.pool {
            out.projected.extend_from_slice(&share.projected[id as usize * h..(id as usize + 1) * h]);
        }
        out.dropped.clear();
        out.dropped.extend_from_slice(&out.projected);
        if !bundle.candidate_mask.is_empty() {
            multiply(&out.projected, &bundle.candidate_mask, &mut out.dropped);
        }
        if self.frozen.cand_proj {
            let weight = &share.start[self.layout.cand_proj..self.layout.cand_proj + h * h];
            out.unit.resize(count * h, 0.0);
            out.norms.resize(count, 0.0);
            let dropped = Operand::plain(&out.dropped, h);
            matmul((count, h, h), dropped, Operand::transposed(weight, h), &mut out.unit, 1);
            normalize_rows(&mut out.unit, h, &mut out.norms);
        }
    }
}
