//! The steps of a cohort as hand-written kernels, for every device of CubeCL (CUDA, and with wgpu Vulkan, Metal and
//! DirectX 12): about 20 launches with a frozen backbone and 30 without, whatever the width, where burn's autodiff
//! needs hundreds.
//!
//! The gradients are derived by hand as in the CPU engine. With one query nearly every weight gradient is an outer
//! product, which is never stored: the optimizer's kernel reads its two factors, so that it moves 24 bytes per
//! parameter. The two projections that see all candidates have stored gradients (36 bytes) by matrix products of
//! `cubek`, burn's own, in f32.
//!
//! All vectors of a member are in its row of one buffer ([`places`]); the rows of the members on the device are those
//! that take part in the epoch.

#![allow(clippy::too_many_arguments, reason = "a kernel's arguments are its buffers; a launch has them all")]

mod attention;
mod device;
mod head;
mod kernels;
mod optimize;
mod places;
mod program;
mod step;
mod update;
mod upload;

use burn::DispatchDevice;
use cubecl::Runtime;

use self::program::Fused;
use super::{Program, StackedCohort};

/// The kernels for `cohort` on its device; `None` where burn's operators have to do: on the CPU, or where the
/// device or the model does not fit them.
pub fn program(cohort: &StackedCohort) -> Option<Box<dyn Program>> {
    fn on<R: Runtime>(device: &R::Device, cohort: &StackedCohort) -> Option<Box<dyn Program>> {
        Some(Box::new(Fused::<R>::new(R::client(device), cohort)?))
    }
    match &cohort.device {
        #[cfg(feature = "cuda")]
        DispatchDevice::Cuda(device) => on::<cubecl::cuda::CudaRuntime>(device, cohort),
        #[cfg(feature = "wgpu")]
        DispatchDevice::Wgpu(device) => on::<cubecl::wgpu::WgpuRuntime>(device, cohort),
        _ => None,
    }
}
