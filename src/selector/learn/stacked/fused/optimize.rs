//! The last launches of a step: norm, clip, AdamW and decay.

use cubecl::prelude::*;

use super::device::{Buffer, cube};
use super::program::Moments;
use super::step::Step;
use super::update::{self, BLOCK, DenseLaunch};

impl<R: Runtime> Step<'_, R> {
    fn dense(&self, own: &Moments, columns: usize, partial: u32) -> DenseLaunch<R> {
        let places = &self.fused.places;
        let (left, right) = (places.layers[0].flow, places.embedding);
        let partials = self.partials();
        DenseLaunch::new(own.size as u32, columns as u32, places.width, left, right, partial, partials)
    }

    fn partials(&self) -> u32 {
        self.fused.partials(self.loaded.input.as_ref(), self.loaded.cand.as_ref())
    }

    /// Matrices with a stored gradient: their rows, the gradient, columns, whether an outer product is added.
    fn matrices(&self) -> Vec<(&Moments, &Buffer, usize, bool)> {
        let (h, d, ..) = self.sizes();
        let loaded = self.loaded;
        let input = loaded.input.as_ref().map(|own| (own, &loaded.input_gradient, d, true));
        let cand = loaded.cand.as_ref().map(|own| (own, &loaded.cand_gradient, h, false));
        input.into_iter().chain(cand).collect()
    }

    /// Norm, clip, AdamW and decay.
    pub fn update(&self) {
        self.gradient_norm();
        self.adamw();
    }

    /// The gradient's norm per member, and the factor that clips it.
    fn gradient_norm(&self) {
        let (client, loaded, epoch) = (self.forward.client(), self.loaded, self.epoch);
        let places = &self.fused.places;
        let (_, factors) = self.fused.factors.counts();
        let partials = self.partials();
        if factors > 0 {
            let (work, table, out) = (loaded.work.arg(), self.fused.factor_table.arg(), loaded.partial.arg());
            let count = self.forward.cubes(factors as usize, 1);
            update::outer_squares::launch::<R>(
                client,
                count,
                cube(),
                work,
                table,
                out,
                places.width,
                partials,
            );
        }
        let mut partial = factors;
        for (own, gradient, columns, outer) in self.matrices() {
            let count = own.size.div_ceil(BLOCK as usize);
            let (work, dense, out) = (loaded.work.arg(), gradient.arg(), loaded.partial.arg());
            let at = self.dense(own, columns, partial);
            update::dense_squares::launch::<R>(
                client,
                self.forward.cubes(count, 1),
                cube(),
                work,
                dense,
                out,
                at,
                outer,
            );
            partial += count as u32;
        }
        let (sums, constants) = (loaded.partial.arg(), epoch.constants.arg());
        let (work, log, books) = (loaded.work.arg(), epoch.log.arg(), self.books());
        let (count, width, clip) = (self.forward.cubes(1, 1), places.width, places.clip);
        update::finish_norm::launch::<R>(
            client,
            count,
            cube(),
            sums,
            constants,
            work,
            log,
            books,
            width,
            clip,
            partials,
        );
    }

    /// Clip, AdamW and decay of everything that is trained.
    fn adamw(&self) {
        let (client, loaded) = (self.forward.client(), self.loaded);
        let (width, clip) = (self.fused.places.width, self.fused.places.clip);
        let (blocks, _) = self.fused.factors.counts();
        if blocks > 0 {
            let rest = &loaded.rest;
            let (parameters, first, second) = (rest.parameters.arg(), rest.first.arg(), rest.second.arg());
            let (work, table) = (loaded.work.arg(), self.fused.block_table.arg());
            let facts = self.chunk.facts.arg();
            let (count, size) = (self.forward.cubes(blocks as usize, 1), rest.size as u32);
            update::update_outer::launch::<R>(
                client,
                count,
                cube(),
                parameters,
                first,
                second,
                work,
                table,
                facts,
                self.books(),
                size,
                width,
                clip,
            );
        }
        for (own, gradient, columns, outer) in self.matrices() {
            let (parameters, first, second) = (own.parameters.arg(), own.first.arg(), own.second.arg());
            let (work, dense) = (loaded.work.arg(), gradient.arg());
            let facts = self.chunk.facts.arg();
            let count = self.forward.cubes(own.size.div_ceil(BLOCK as usize), 1);
            let at = self.dense(own, columns, 0);
            update::update_dense::launch::<R>(
                client,
                count,
                cube(),
                parameters,
                first,
                second,
                work,
                dense,
                facts,
                self.books(),
                at,
                clip,
                outer,
            );
        }
    }
}
