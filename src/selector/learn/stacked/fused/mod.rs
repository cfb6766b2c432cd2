//! The steps of a cohort as hand-written kernels, for every device of CubeCL (CUDA, and with wgpu Vulkan, Metal and
//! DirectX 12): about 20 launches with a frozen backbone and 30 without, whatever the width, where burn's autodiff
//! needs hundreds (`benches/results/counts-wgpu.md`).
//!
//! The gradients are derived by hand as in the CPU engine. With one query nearly every weight gradient is an outer
//! product, which is never stored: the optimizer's kernel reads its two factors, so that it moves 24 bytes per
//! parameter. The two projections that see all candidates have stored gradients (36 bytes) by matrix products of
//! `cubek`, burn's own, in f32 or, where `--precision tf32` asks for it, in TF32.
//!
//! All vectors of a member are in its row of one buffer ([`places`]); the rows of the members on the device are those
//! that take part in the epoch.

#![allow(clippy::too_many_arguments, reason = "a kernel's arguments are its buffers; a launch has them all")]

mod attention;
mod device;
mod evaluate;
mod forward;
mod head;
mod kernels;
mod optimize;
mod places;
mod program;
mod step;
#[cfg(test)]
mod tests;
mod update;
mod upload;

use burn::DispatchDevice;
use cubecl::Runtime;

use self::device::Accelerator;
use self::program::Fused;
use super::{Kernels, Program, StackedCohort};
use crate::device::Precision;
use crate::selector::data::Embeddings;
use crate::selector::learn::{Layout, Query};

/// The kernels for `device`; `None` for those that are not CubeCL's.
pub fn kernels(device: &DispatchDevice, precision: Precision) -> Option<Box<dyn Kernels>> {
    fn on<R: Runtime>(device: &R::Device, precision: Precision) -> Option<Box<dyn Kernels>> {
        Some(Box::new(Accelerator::<R> { client: R::client(device), precision }))
    }
    match device {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cuda(device) => on::<cubecl::cuda::CudaRuntime>(device, precision),
        #[cfg(feature = "wgpu")]
        DispatchDevice::Wgpu(device) => on::<cubecl::wgpu::WgpuRuntime>(device, precision),
        _ => None,
    }
}

impl<R: Runtime> Kernels for Accelerator<R> {
    fn program(&self, cohort: &StackedCohort) -> Option<Box<dyn Program>> {
        Some(Box::new(Fused::new(self.clone(), cohort)?))
    }

    fn scores_of(
        &self,
        layout: &Layout,
        flat: &[f32],
        embeddings: &Embeddings,
        queries: &[Query],
        temperature: f64,
    ) -> Option<Vec<Vec<f32>>> {
        let pool = queries.iter().map(|query| query.pool.len()).max()?;
        if !self.has_room(pool, 0) || layout.shape.layers == 0 {
            return None;
        }
        let table = self.upload(&embeddings.values);
        Some(self.scores(layout, flat, &table, queries, temperature))
    }
}
