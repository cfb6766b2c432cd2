//! How many members fit into a device's memory.

use super::chunk::CHUNK_BYTES;
use super::evaluate::BATCH_BYTES;
use super::pieces::{Role, pieces};
use crate::device::Device;
use crate::selector::ParamGroup;
use crate::selector::learn::{EngineParams, Layout};

/// Share of the free memory that a cohort may take: the rest is for what the allocator rounds up, for the driver,
/// and for another process on the card.
const SHARE: f64 = 0.8;

/// Bytes on the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Whatever the width: embeddings, chunks of steps, a batch of queries.
    pub fixed: u64,
    /// Of every member.
    pub member: u64,
}

impl Need {
    /// Of a cohort with these `params`.
    pub fn of(params: &EngineParams) -> Self {
        let layout = Layout::new(params.shape);
        let (h, d, heads) = (params.shape.hidden, params.shape.dim, params.shape.heads);
        let pool = params.train.iter().map(|group| group.pool.len()).max().unwrap_or(1);
        let trained = layout.trainable(params.freeze);
        let dense: usize = pieces(&layout, params.freeze)
            .iter()
            .filter(|piece| piece.role != Role::Frozen)
            .filter(|piece| Some(piece.offset) == layout.input_proj || piece.offset == layout.cand_proj)
            .map(|piece| piece.size())
            .sum();
        let vectors = params.shape.layers * (16 * h + 4 * heads * h + 3 * heads * pool) + 6 * h + d;
        let candidates = if dense > 0 { 5 * pool * h + pool * d } else { 0 };
        let frozen = if trained < layout.total { layout.total } else { 0 };
        let projected = params.freeze.contains(ParamGroup::InputProj) || layout.input_proj.is_none();
        let table = params.embeddings.rows * (d + if projected { h } else { 0 });
        Self {
            fixed: (4 * table + 2 * CHUNK_BYTES + BATCH_BYTES) as u64,
            member: 4 * (3 * trained + dense + vectors + candidates + frozen) as u64,
        }
    }

    /// How many members fit into `free` bytes; at least one, which is to be tried in any case.
    pub fn members(&self, free: u64) -> usize {
        let room = (free as f64 * SHARE) as u64;
        usize::try_from(room.saturating_sub(self.fixed) / self.member.max(1)).unwrap_or(usize::MAX).max(1)
    }
}

/// Most members of a cohort with these `params` that `device` has memory for, as far as its driver says.
pub fn members_that_fit(params: &EngineParams, device: Device) -> usize {
    device.free_memory().map_or(usize::MAX, |free| Need::of(params).members(free))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_more_needs_room_and_one_is_always_tried() {
        let need = Need { fixed: 1000, member: 100 };
        assert_eq!(need.members(0), 1);
        assert_eq!(need.members(1250), 1);
        assert_eq!(need.members(1500), 2);
        assert_eq!(need.members(12_500), 90);
        assert!(Need { fixed: 0, member: 0 }.members(u64::MAX) > 1 << 60, "no division by nothing");
    }
}
