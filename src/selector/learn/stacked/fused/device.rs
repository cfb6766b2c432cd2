//! Buffers, transfers and matrix products on a device of CubeCL.

use cubecl::prelude::*;
use cubecl::server::Handle;
use cubecl::zspace::{Shape, Strides};
use cubek::matmul::definition::{MatmulElems, MatmulGlobalElems};
use cubek::matmul::launch::{Strategy, launch_ref};
use cubek::std::InputBinding;

use super::kernels::UNITS;
use crate::device::Precision;
use crate::panics;

/// Numbers on the device, of 4 bytes each.
#[derive(Clone, Debug)]
pub struct Buffer {
    handle: Handle,
    len: usize,
}

impl Buffer {
    /// As a kernel takes it.
    pub fn arg<R: Runtime>(&self) -> ArrayArg<R> {
        // SAFETY: every buffer is made by `Accelerator` with room for `len` numbers.
        unsafe { ArrayArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}

/// A buffer seen as matrices, `[..., rows, columns]`.
pub struct View<'a> {
    buffer: &'a Buffer,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl<'a> View<'a> {
    /// Row by row.
    pub fn new(buffer: &'a Buffer, shape: &[usize]) -> Self {
        let mut strides = vec![1; shape.len()];
        for axis in (1..shape.len()).rev() {
            strides[axis - 1] = strides[axis] * shape[axis];
        }
        Self { buffer, shape: shape.to_vec(), strides }
    }

    /// Rows and columns exchanged.
    pub fn transposed(mut self) -> Self {
        let last = self.shape.len() - 1;
        self.shape.swap(last - 1, last);
        self.strides.swap(last - 1, last);
        self
    }

    fn binding<R: Runtime>(&self) -> TensorBinding<R> {
        TensorBinding {
            handle: self.buffer.handle.clone().binding(),
            strides: Strides::new(&self.strides),
            shape: Shape::from(self.shape.clone()),
            runtime: std::marker::PhantomData,
        }
    }
}

/// The device of a cohort.
#[derive(Clone)]
pub struct Accelerator<R: Runtime> {
    pub client: ComputeClient<R>,
    /// Of matrix products with stored operands; everything else is f32.
    pub precision: Precision,
}

impl<R: Runtime> Accelerator<R> {
    /// Room for `len` numbers, whatever they are; at least one, since no kernel takes nothing.
    pub fn empty(&self, len: usize) -> Buffer {
        let len = len.max(1);
        Buffer { handle: self.client.empty(4 * len), len }
    }

    /// `values` on the device.
    pub fn upload<T: bytemuck::NoUninit>(&self, values: &[T]) -> Buffer {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        if bytes.is_empty() {
            return self.empty(1);
        }
        Buffer { handle: self.client.create_from_slice(bytes), len: bytes.len() / 4 }
    }

    /// The numbers of `buffer`. Waits for the device.
    ///
    /// # Panics
    /// When the device has failed.
    pub fn read(&self, buffer: &Buffer) -> Vec<f32> {
        let bytes = self.client.read_one(buffer.handle.clone());
        panics::pass_on();
        match bytes {
            Ok(bytes) => bytemuck::pod_collect_to_vec(&bytes[..4 * buffer.len]),
            Err(error) => panic!("the device cannot be read: {error}"),
        }
    }

    /// `out = lhs * rhs`, batch by batch; a batch axis of 1 serves all.
    ///
    /// # Panics
    /// When no matrix product fits the device.
    pub fn multiply(&self, lhs: &View, rhs: &View, out: &View) {
        let float = f32::as_type_native_unchecked().storage_type();
        let attempt = |strategy: &Strategy| {
            let mut types =
                MatmulElems::from_globals(&MatmulGlobalElems { lhs: float, rhs: float, out: float });
            let input = |view: &View| InputBinding::new(view.binding(), float);
            launch_ref(strategy, &self.client, input(lhs), input(rhs), out.binding(), &mut types)
        };
        // Tensor cores only where they are asked for: they round f32 to TF32. The others compute in f32, and the last
        // has no conditions.
        let rounded = self.precision == Precision::Tf32
            && attempt(&Strategy::SimpleCyclicCmma(Default::default())).is_ok();
        if !rounded
            && attempt(&Strategy::SimpleUnit(Default::default())).is_err()
            && let Err(error) = attempt(&Strategy::Naive)
        {
            panic!("the device has no matrix product: {error:?}");
        }
    }

    /// Whether a cube may have [`UNITS`] units and as much shared memory as the kernels need for `pool` candidates,
    /// and `more` bytes.
    pub fn has_room(&self, pool: usize, more: usize) -> bool {
        let hardware = &self.client.properties().hardware;
        hardware.max_units_per_cube >= UNITS
            && hardware.max_cube_dim.0 >= UNITS
            && hardware.max_shared_memory_size >= 4 * (3 * pool + 512) + more
    }
}

/// Cubes of [`UNITS`] units.
pub fn cube() -> CubeDim {
    CubeDim::new_1d(UNITS)
}
