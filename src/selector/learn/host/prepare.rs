//! Fills [`Prepared`] for the next steps.

use super::super::Phase;
use super::super::random::{Purpose, Stream};
use super::super::walks::Walks;
use super::bundle::{BundleData, Prepared, SharedCandidates};
use super::cohort::HostCohort;
use super::kernels::{Operand, multiply, normalize_rows, project, transpose};

impl HostCohort<'_> {
    /// Fills `prepared` for one step.
    pub(super) fn prepare(
        &self,
        (phase, epoch, step): (Phase, u32, usize),
        walks: &Walks,
        out: &mut Prepared,
    ) {
        out.bundles.resize_with(walks.walks.len(), Default::default);
        out.shared.resize_with(walks.pairs.len(), Default::default);
        for (data, (seed, order)) in out.bundles.iter_mut().zip(&walks.walks) {
            let purpose = Purpose::Dropout { phase, epoch, step: step as u32 };
            data.group = order[step] as usize;
            self.fill_bundle(data, Stream::new(*seed, purpose));
        }
        for (shared, (bundle, share)) in out.shared.iter_mut().zip(&walks.pairs) {
            self.fill_shared(shared, &out.bundles[*bundle], *share);
        }
    }

    fn fill_bundle(&self, data: &mut BundleData, stream: Stream) {
        let group = &self.params.train[data.group];
        let shape = self.layout.shape;
        data.masks.draw(stream, shape, self.params.model, group.pool.len());
        data.embeddings.clear();
        if shape.has_input_proj() && !self.frozen.input_proj {
            for &id in &group.pool {
                data.embeddings.extend_from_slice(self.params.embeddings.row(id as usize));
            }
            columns_of(&data.embeddings, shape.dim, &mut data.embedding_columns);
        }
        columns_of(&data.masks.candidates, shape.hidden, &mut data.mask_columns);
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
        let dropout = !bundle.mask_columns.is_empty();
        columns_of(&out.projected, h, if dropout { &mut out.columns } else { &mut out.dropped });
        if dropout {
            out.dropped.resize(count * h, 0.0);
            multiply(&out.columns, &bundle.mask_columns, &mut out.dropped);
        }
        if self.frozen.cand_proj {
            let weight = &share.start[self.layout.cand_proj..self.layout.cand_proj + h * h];
            let dropped = Operand::plain(&out.dropped, count);
            project((dropped, count), (weight, h), &mut out.columns, &mut out.unit, 1);
            out.norms.resize(count, 0.0);
            normalize_rows(&mut out.unit, h, &mut out.norms);
        }
    }
}

/// The transpose of `rows` `[.., width]`.
fn columns_of(rows: &[f32], width: usize, out: &mut Vec<f32>) {
    out.resize(rows.len(), 0.0);
    transpose(rows, width, out);
}
