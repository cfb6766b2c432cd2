//! Every kernel against burn's operators on the CPU, gradients against its autodiff: small, at odd sizes, with vectors
//! of zeros.

mod attention;
mod head;
mod memory;
mod update;

use burn::tensor::{Tensor, TensorData};
use burn::{Dispatch, DispatchDevice};
use cubecl::prelude::*;

use super::device::{Accelerator, Buffer, View, cube};
use super::kernels::{self, Finish, LANES, Place, ProductAtLaunch, ROWS};
use crate::device::{Device, Precision};
use crate::selector::learn::parameters::{Layout, Shape};

#[cfg(feature = "wgpu")]
type Chosen = cubecl::wgpu::WgpuRuntime;
#[cfg(not(feature = "wgpu"))]
type Chosen = cubecl::cuda::CudaRuntime;

const CHOSEN: Device = if cfg!(feature = "wgpu") { Device::Wgpu } else { Device::Cuda(0, Precision::F32) };

/// The device, if this machine has it: Vulkan in software is enough.
#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn accelerator() -> Option<Accelerator<Chosen>> {
    if let Err(error) = CHOSEN.check() {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(Accelerator { client: Chosen::client(&Default::default()), precision: Precision::F32 })
}

/// Numbers in [-0.5, 0.5) that repeat from run to run.
struct Numbers(u64);

impl Numbers {
    fn vector(&mut self, len: usize) -> Vec<f32> {
        let mut next = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
        };
        (0..len).map(|_| next()).collect()
    }

    /// Dropout factors of one half: 0 or 2.
    fn mask(&mut self, len: usize) -> Vec<f32> {
        self.vector(len).into_iter().map(|value| if value < 0.0 { 0.0 } else { 2.0 }).collect()
    }
}

/// On burn's CPU backend.
fn tensor<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<Dispatch, D> {
    let device = DispatchDevice::Flex(burn::backend::flex::FlexDevice);
    Tensor::from_data(TensorData::new(values.to_vec(), shape), &device)
}

/// The same with a gradient.
fn leaf<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<Dispatch, D> {
    Tensor::from_inner(tensor(values, shape)).require_grad()
}

/// The same as a constant beside a [`leaf`].
fn constant<const D: usize>(values: &[f32], shape: [usize; D]) -> Tensor<Dispatch, D> {
    Tensor::from_inner(tensor(values, shape))
}

fn values<const D: usize>(tensor: Tensor<Dispatch, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

/// Equal but for rounding, relative to the largest of them.
fn near(what: &str, got: &[f32], want: &[f32]) {
    within(what, got, want, 2e-5);
}

fn within(what: &str, got: &[f32], want: &[f32], limit: f32) {
    assert_eq!(got.len(), want.len(), "{what}");
    let scale = want.iter().fold(0.0f32, |most, value| most.max(value.abs())).max(1e-6);
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!((got - want).abs() <= limit * scale, "{what}[{i}]: {got} instead of {want}");
    }
}

fn layout(dim: usize, hidden: usize, layers: usize, heads: usize) -> Layout {
    Layout::new(Shape { dim, hidden, layers, heads })
}

fn cubes(x: usize, members: usize, z: usize) -> CubeCount {
    CubeCount::Static(x as u32, members as u32, z as u32)
}

const MEMBERS: usize = 3;
/// Whose parameters the members have, and which lane they are in, of two each.
const OWNERS: [u32; MEMBERS] = [1, 0, 1];
const LANE_OF: [u32; MEMBERS] = [1, 0, 1];
const LANES_OF_INPUT: usize = 2;

fn place(hidden: usize, pool: usize, width: u32, (masks, mask): (usize, u32)) -> Place {
    Place {
        step: 0,
        lanes: LANES_OF_INPUT as u32,
        members: MEMBERS as u32,
        width,
        hidden: hidden as u32,
        pool: pool as u32,
        masks: masks as u32,
        mask,
    }
}

/// Length of the members' rows of `work`, and where a product's vectors are in them.
const WIDTH: usize = 4000;
const INPUT: usize = 7;
const OUTPUT: usize = 2000;
const EXTRA: usize = 3000;
/// Where a matrix begins in its owner's row.
const OFFSET: usize = 5;
const SCALE: f32 = 0.7;

/// A matrix with bias per owner, and rows of `work`.
struct Products {
    device: Accelerator<Chosen>,
    weights: Vec<f32>,
    work: Vec<f32>,
    rows: usize,
    columns: usize,
    segment: usize,
}

impl Products {
    fn new(device: &Accelerator<Chosen>, rows: usize, columns: usize, segment: usize) -> Self {
        let mut numbers = Numbers(rows as u64);
        let weights = numbers.vector(2 * (OFFSET + rows * columns + rows));
        let work = numbers.vector(MEMBERS * WIDTH);
        Self { device: device.clone(), weights, work, rows, columns, segment }
    }

    /// `[rows, columns]` and `[rows]` of a member.
    fn matrix(&self, member: usize) -> (&[f32], &[f32]) {
        let own = self.weights.len() / 2 * OWNERS[member] as usize + OFFSET;
        self.weights[own..own + self.rows * self.columns + self.rows].split_at(self.rows * self.columns)
    }

    fn vector(&self, member: usize, first: usize, len: usize) -> &[f32] {
        &self.work[member * WIDTH + first..][..len]
    }

    /// `work` after `launch`, which gets weights, owner, work and arguments.
    fn run(&self, launch: impl Fn(&Accelerator<Chosen>, [&Buffer; 3], ProductAtLaunch<Chosen>)) -> Vec<f32> {
        let number = |value: usize| value as u32;
        let device = &self.device;
        let (weights, owner) = (device.upload(&self.weights), device.upload(&OWNERS));
        let work = device.upload(&self.work);
        let at = ProductAtLaunch::new(
            number(self.weights.len() / 2),
            number(OFFSET),
            number(OFFSET + self.rows * self.columns),
            number(self.rows),
            number(self.columns),
            number(self.segment),
            number(WIDTH),
            number(INPUT),
            number(OUTPUT),
            number(EXTRA),
            SCALE,
        );
        launch(device, [&weights, &owner, &work], at);
        device.read(&work)
    }
}

#[test]
fn matrix_vector_products() {
    let Some(device) = accelerator() else { return };
    for (rows, columns, segment) in [(13, 37, 13), (12, 37, 4), (1, 1, 1), (300, 5, 100), (8, 256, 8)] {
        let all = Products::new(&device, rows, columns, segment);
        for finish in [Finish::Scale, Finish::BiasScale, Finish::BiasMass, Finish::BiasResidual] {
            let got = all.run(|device, [weights, owner, work], at| {
                let count = cubes(rows.div_ceil(ROWS as usize), MEMBERS, 1);
                let (weights, owner, work) = (weights.arg(), owner.arg(), work.arg());
                let client = &device.client;
                kernels::product::launch::<Chosen>(client, count, cube(), weights, owner, work, at, finish);
            });
            for member in 0..MEMBERS {
                let (matrix, bias) = all.matrix(member);
                let segments = rows / segment;
                let x = tensor(all.vector(member, INPUT, segments * columns), [segments, columns, 1]);
                let sum = tensor(matrix, [segments, segment, columns]).matmul(x).reshape([rows]);
                let bias = tensor(bias, [rows]);
                let extra = |len: usize| all.vector(member, EXTRA, len);
                let want = match finish {
                    Finish::Scale => sum.mul_scalar(SCALE),
                    Finish::BiasScale => (sum + bias).mul_scalar(SCALE),
                    Finish::BiasMass => {
                        let mass = tensor(extra(segments), [segments, 1]).repeat_dim(1, segment);
                        sum + bias * mass.reshape([rows])
                    }
                    Finish::BiasResidual => sum + bias + tensor(extra(rows), [rows]),
                };
                let at = format!("{rows}x{columns} {finish:?} of member {member}");
                near(&at, &got[member * WIDTH + OUTPUT..][..rows], &values(want));
            }
        }
    }
}

#[test]
fn products_with_transposed_matrices() {
    let Some(device) = accelerator() else { return };
    for (rows, columns, segment) in [(13, 37, 13), (12, 37, 4), (1, 1, 1), (300, 5, 100), (9, 256, 3)] {
        let all = Products::new(&device, rows, columns, segment);
        let segments = rows / segment;
        for add in [false, true].into_iter().filter(|add| !add || segments == 1) {
            let got = all.run(|device, [weights, owner, work], at| {
                let count = cubes(columns.div_ceil(LANES as usize), MEMBERS, segments);
                let (weights, owner, work) = (weights.arg(), owner.arg(), work.arg());
                let client = &device.client;
                kernels::product_transposed::launch::<Chosen>(
                    client,
                    count,
                    cube(),
                    weights,
                    owner,
                    work,
                    at,
                    add,
                );
            });
            for member in 0..MEMBERS {
                let matrix = tensor(all.matrix(member).0, [segments, segment, columns]);
                let x = tensor(all.vector(member, INPUT, rows), [segments, 1, segment]);
                let mut want = x.matmul(matrix).reshape([segments * columns]);
                if add {
                    want = want + tensor(all.vector(member, EXTRA, columns), [columns]);
                }
                let at = format!("{rows}x{columns} transposed, member {member}");
                near(&at, &got[member * WIDTH + OUTPUT..][..segments * columns], &values(want));
            }
        }
    }
}

/// Stored products keep all bits of f32: each operand has 12 significant bits, one more than TF32 has, and all sums are
/// exact.
#[test]
fn stored_products_are_f32() {
    let Some(device) = accelerator() else { return };
    for [m, k, n] in [[64, 512, 256], [64, 256, 64], [7, 5, 3], [1, 16, 1]] {
        let fine = 1.0 + 1.0 / 2048.0;
        let (lhs, rhs) = (device.upload(&vec![fine; m * k]), device.upload(&vec![1.0f32; n * k]));
        let out = device.empty(m * n);
        let (lhs, rhs) = (View::new(&lhs, &[1, m, k]), View::new(&rhs, &[1, n, k]).transposed());
        device.multiply(&lhs, &rhs, &View::new(&out, &[1, m, n]));
        assert_eq!(device.read(&out), vec![fine * k as f32; m * n], "[{m}, {k}] x [{k}, {n}]");
    }
}

/// Batches, transposed views and odd sizes.
#[test]
fn stored_products() {
    let Some(device) = accelerator() else { return };
    let mut numbers = Numbers(3);
    for [batch, shared, m, k, n] in [[3, 1, 7, 13, 5], [2, 2, 64, 33, 17], [1, 1, 1, 1, 1]] {
        let (a, b) = (numbers.vector(batch * m * k), numbers.vector(shared * n * k));
        let (lhs, rhs, out) = (device.upload(&a), device.upload(&b), device.empty(batch * m * n));
        let rhs = View::new(&rhs, &[shared, n, k]).transposed();
        device.multiply(&View::new(&lhs, &[batch, m, k]), &rhs, &View::new(&out, &[batch, m, n]));
        let want = tensor(&a, [batch, m, k]).matmul(tensor(&b, [shared, n, k]).swap_dims(1, 2));
        near(&format!("[{m}, {k}] x [{k}, {n}]"), &device.read(&out), &values(want));
    }
}

#[test]
fn rows_are_gathered() {
    let Some(device) = accelerator() else { return };
    let (columns, rows, pool) = (301, 11, 4);
    let table = Numbers(1).vector(rows * columns);
    // Lanes, then the lanes' queries, then their pools.
    let index: Vec<u32> = [&LANE_OF[..], &[7, 3], &[0, 10, 4, 4, 9, 2, 1, 0]].concat();
    let row = |place: usize| &table[index[place] as usize * columns..][..columns];
    let at = place(5, pool, WIDTH as u32, (0, 0));
    let (table_buffer, index_buffer) = (device.upload(&table), device.upload(&index));
    let (table_arg, index_arg) = (|| table_buffer.arg(), || index_buffer.arg());
    let client = &device.client;
    let work = device.upload(&vec![0.0f32; MEMBERS * WIDTH]);
    let (first, output) = (MEMBERS as u32, OUTPUT as u32);
    kernels::load_query::launch::<Chosen>(
        client,
        cubes(1, MEMBERS, 1),
        cube(),
        table_arg(),
        index_arg(),
        work.arg(),
        at.arg(),
        first,
        columns as u32,
        output,
    );
    let got = device.read(&work);
    let pools = MEMBERS + LANES_OF_INPUT;
    let own = device.empty(MEMBERS * pool * columns);
    let count = cubes(pool, MEMBERS, 1);
    let (table, index_again, out, at) = (table_arg(), index_arg(), own.arg(), at.arg());
    kernels::gather_step::launch::<Chosen>(
        client,
        count,
        cube(),
        table,
        index_again,
        out,
        at,
        pools as u32,
        columns as u32,
    );
    let own = device.read(&own);
    for member in 0..MEMBERS {
        let lane = LANE_OF[member] as usize;
        assert_eq!(&got[member * WIDTH + OUTPUT..][..columns], row(MEMBERS + lane));
        for k in 0..pool {
            let place = (member * pool + k) * columns;
            assert_eq!(&own[place..place + columns], row(pools + lane * pool + k));
        }
    }
    let all = device.empty(LANES_OF_INPUT * pool * columns);
    let (table, index_again, out) = (table_arg(), index_arg(), all.arg());
    let count = cubes(pool, LANES_OF_INPUT, 1);
    kernels::gather::launch::<Chosen>(
        client,
        count,
        cube(),
        table,
        index_again,
        out,
        pools as u32,
        columns as u32,
    );
    let want: Vec<f32> = (pools..pools + LANES_OF_INPUT * pool).flat_map(row).copied().collect();
    assert_eq!(device.read(&all), want);
}

#[test]
fn candidates_are_dropped() {
    let Some(device) = accelerator() else { return };
    let (hidden, pool) = (301, 3);
    let mut numbers = Numbers(2);
    let candidates = numbers.vector(MEMBERS * pool * hidden);
    let (width, mask) = (pool * hidden + 9, 4);
    let masks = numbers.mask(LANES_OF_INPUT * width);
    let (input, factors, index) =
        (device.upload(&candidates), device.upload(&masks), device.upload(&LANE_OF));
    for (by_lane, masked) in [(true, true), (true, false), (false, true)] {
        let out = device.empty(MEMBERS * pool * hidden);
        let at = place(hidden, pool, 0, (width, mask as u32));
        kernels::drop_candidates::launch::<Chosen>(
            &device.client,
            cubes(pool, MEMBERS, 1),
            cube(),
            input.arg(),
            factors.arg(),
            index.arg(),
            out.arg(),
            at.arg(),
            by_lane,
            masked,
        );
        let got = device.read(&out);
        for member in 0..MEMBERS {
            let lane = LANE_OF[member] as usize;
            let len = pool * hidden;
            let source = if by_lane { lane } else { member };
            let own = tensor(&candidates[source * len..][..len], [len]);
            let factors = tensor(&masks[lane * width + mask..][..len], [len]);
            let want = if masked { own * factors } else { own };
            near("dropped candidates", &got[member * len..][..len], &values(want));
        }
    }
}
