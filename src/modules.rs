//! burn's modules as this program's weights: for experiments whose models are written with burn.
//!
//! A parameter is called by the fields that lead to it, with dots: `first.weight`, `blocks.0.norm.gamma`. Which variant of
//! an enum is in use is not part of a name. Values are as burn stores them in its own records: a `Linear` is
//! `[inputs, outputs]`, where PyTorch has `[outputs, inputs]`.
//!
//! All of it is for [`Dispatch`], burn's backend whose device is chosen when the program runs. With
//! [`DispatchDevice::autodiff`] around a device it differentiates, without it computes only.
//!
//! A [`Task`] says what is your own (data, model, loss), and a [`Trainer`] makes an experiment of it. The parts that it is
//! made of are here for those who write a training loop of their own.
//!
//! # Precision
//! On CUDA burn's matrix products and convolutions of f32 tensors take tensor cores where they are faster, and round the
//! operands to TF32 for them (11 significant bits, sums in f32). burn has no switch for it: `--precision` is about the
//! selector's own kernels. Checkpoints and records say f32 all the same, which is how values are stored. The CPU and wgpu
//! compute in f32.
//!
//! # Randomness
//! burn draws the values of a new module when they are first looked at, from one generator for the whole process.
//! [`fresh`] keeps that in hand; everywhere else a new module gets its weights by [`with_weights`] before anything looks
//! at it, and nothing is drawn. Dropout draws from the same generator: [`generator`] seeds it for an epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{AutodiffModule, Module, ModuleMapper, ModuleVisitor, Param, ParamId};
use burn::optim::adaptor::OptimizerAdaptor;
use burn::optim::record::AdaptorRecord;
use burn::optim::{AdamW, AdamWState, AdaptiveMomentumState, Optimizer};
use burn::tensor::backend::{Backend, DeviceOps};
use burn::tensor::{Bool, Int, Tensor, TensorData};
use burn::{Dispatch, DispatchDevice};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::checkpoint::{Array, Weights};
use crate::device::Device;
use crate::experiment::{Continuation, Parameters, Snapshot};
use crate::panics;

/// A walk keeps its path.
macro_rules! keep_path {
    () => {
        fn enter_module(&mut self, name: &str, container: &str) {
            self.path.enter(name, container);
        }

        fn exit_module(&mut self, _: &str, container: &str) {
            self.path.exit(container);
        }
    };
}

mod trainer;

pub use trainer::{Answer, PHASE, Recipe, SECONDS, TRAIN_LOSS, Task, Trainer, classified, mean_score};

/// burn's AdamW for modules of type `M`, as `AdamWConfig::init` makes it.
pub type AdamWFor<M> = OptimizerAdaptor<AdamW, M, Dispatch>;

type Moments = BTreeMap<ParamId, AdaptorRecord<AdamW, Dispatch>>;

/// burn's device for `device`, without gradients. A CPU is burn's flex backend.
pub fn burn_device(device: Device) -> DispatchDevice {
    device.burn_device().unwrap_or(DispatchDevice::Flex(burn::backend::flex::FlexDevice))
}

/// The weights that `new` gives a module when burn's generator starts from `seed`: drawn on the CPU, so that every device
/// begins with the same bits. `new` is called with the device to make the module on.
///
/// Calls wait for each other, since the generator is one for all. What draws from it elsewhere at the same time spoils
/// the result.
pub fn fresh<M: Module<Dispatch>>(seed: u64, new: impl FnOnce(&DispatchDevice) -> M) -> Weights {
    let device = burn_device(Device::Cpu);
    let _alone = seeded(&device, seed);
    weights_of(&new(&device))
}

/// burn's generator as it is when an epoch (1-based) begins, for whoever holds the answer: what is drawn depends on
/// nothing else, so that an epoch with dropout is the same however it was reached. `device`: without gradients.
pub fn generator(device: &DispatchDevice, seed: u64, epoch: u32) -> MutexGuard<'static, ()> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    // Orders have the streams from 0.
    random.set_stream(u64::MAX - u64::from(epoch));
    seeded(device, random.next_u64())
}

fn seeded(device: &DispatchDevice, seed: u64) -> MutexGuard<'static, ()> {
    static GENERATOR: Mutex<()> = Mutex::new(());
    let alone = GENERATOR.lock().unwrap_or_else(PoisonError::into_inner);
    Dispatch::seed(device, seed);
    alone
}

/// The parameters of a module by name. Waits for its device.
///
/// # Panics
/// As [`panics::pass_on`]: a device that has failed answers all the same.
pub fn weights_of<M: Module<Dispatch>>(module: &M) -> Weights {
    let mut reader = Reader::default();
    module.visit(&mut reader);
    panics::pass_on();
    reader.weights
}

/// Number of values of every parameter, by name. Draws nothing and asks no device.
pub fn sizes<M: Module<Dispatch>>(module: &M) -> BTreeMap<String, usize> {
    let mut sizes = Sizes::default();
    module.visit(&mut sizes);
    sizes.found
}

/// The size of a module of which the parameters that `trained` names are trained. Draws nothing and asks no device.
pub fn parameters<M: Module<Dispatch>>(module: &M, trained: impl Fn(&str) -> bool) -> Parameters {
    let sizes = sizes(module);
    let trainable = sizes.iter().filter(|(name, _)| trained(name)).map(|(_, size)| size).sum();
    Parameters { trainable, total: sizes.values().sum() }
}

/// The order of `count` examples in `epoch` (1-based): indices from 0, shuffled. It depends on nothing else, so that an
/// epoch is the same however it was reached.
pub fn shuffled(count: usize, seed: u64, epoch: u32) -> Vec<usize> {
    let mut generator = ChaCha8Rng::seed_from_u64(seed);
    generator.set_stream(u64::from(epoch));
    let mut order: Vec<usize> = (0..count).collect();
    for last in (1..count).rev() {
        order.swap(last, (generator.next_u64() % (last as u64 + 1)) as usize);
    }
    order
}

/// The module with these weights, on the device where it is. What wants a gradient still wants one.
///
/// # Errors
/// A parameter without weights, weights without a parameter, a shape that is not the parameter's, a parameter of another
/// type than float: the first of them, in words.
pub fn with_weights<M: Module<Dispatch>>(module: M, weights: &Weights) -> Result<M, String> {
    let mut writer = Writer { path: Path::default(), weights, seen: BTreeSet::new(), flaw: None };
    let module = module.map(&mut writer);
    let Writer { seen, flaw, .. } = writer;
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    match weights.keys().find(|name| !seen.contains(*name)) {
        Some(extra) => Err(format!("the model has no parameter `{extra}`")),
        None => Ok(module),
    }
}

/// A module and its AdamW after an epoch, in plain arrays.
#[derive(Clone, Debug, PartialEq)]
pub struct EpochEnd {
    pub weights: Weights,
    /// `adamw.*` is [`resume`]'s; an experiment adds what else it needs under other names.
    pub state: Continuation,
}

impl EpochEnd {
    /// Reads both, after `epoch` (1-based). Waits for the device.
    ///
    /// # Panics
    /// As [`weights_of`].
    pub fn of<M: AutodiffModule<Dispatch>>(epoch: u32, module: &M, optimizer: &AdamWFor<M>) -> Self {
        let records: Moments = optimizer.to_record().into_iter().collect();
        let trained = records.len() as u64;
        let mut keeper = Keeper {
            path: Path::default(),
            records,
            state: Continuation {
                epoch,
                tensors: Weights::new(),
                numbers: [("adamw.trained".to_owned(), trained)].into(),
            },
        };
        module.visit(&mut keeper);
        // What modules gather while they train, such as running means, this brings up to date. The copy itself is of no
        // use: it has forgotten how its parameters are laid out.
        drop(module.valid());
        Self { weights: weights_of(module), state: keeper.state }
    }
}

impl Snapshot for EpochEnd {
    fn weights(&self) -> Weights {
        self.weights.clone()
    }

    fn state(self: Box<Self>) -> Continuation {
        self.state
    }
}

/// The optimizer as it was when [`EpochEnd::of`] read it, for a module that has the weights of then: a run that goes on so
/// is equal to one that was never stopped, bit for bit. Takes out of `state` what is AdamW's.
///
/// # Errors
/// Moments that are missing or are not those of the module, in words.
pub fn resume<M: AutodiffModule<Dispatch>>(
    module: &M,
    optimizer: AdamWFor<M>,
    state: &mut Continuation,
) -> Result<AdamWFor<M>, String> {
    let mut restorer = Restorer { path: Path::default(), state, records: Moments::new(), flaw: None };
    module.visit(&mut restorer);
    let Restorer { records, flaw, .. } = restorer;
    if let Some(flaw) = flaw {
        return Err(flaw);
    }
    if let Some(extra) = state.tensors.keys().find(|name| name.starts_with("adamw.")) {
        return Err(format!("`{extra}` is of no parameter of the model"));
    }
    let trained = state.numbers.remove("adamw.trained").ok_or("`adamw.trained` is missing")?;
    if trained != records.len() as u64 {
        return Err(format!("it has moments of {} parameters, not of {trained}", records.len()));
    }
    Ok(optimizer.load_record(records.into_iter().collect()))
}

/// Where a walk through a module is.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
    }
}

fn array<const D: usize>(tensor: &Tensor<Dispatch, D>) -> Array {
    let values = tensor.to_data().convert::<f32>().into_vec().expect("it has just been made f32");
    Array { shape: tensor.dims().to_vec(), values }
}

fn tensor<const D: usize>(array: Array, device: &DispatchDevice) -> Tensor<Dispatch, D> {
    Tensor::from_data(TensorData::new(array.values, array.shape), device)
}

/// `[64, 32]` as people say it.
fn words(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join(" x ")
}

/// The shape that a parameter has in a file. Of one whose values have not been drawn yet, burn knows it; the others may
/// be laid out differently in memory.
fn stored_shape<const D: usize>(param: &Param<Tensor<Dispatch, D>>) -> Vec<usize> {
    if param.is_initialized() {
        param.transform_for_save().dims().to_vec()
    } else {
        param.lazy_shape().to_vec()
    }
}

#[derive(Default)]
struct Reader {
    path: Path,
    weights: Weights,
}

impl ModuleVisitor<Dispatch> for Reader {
    keep_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Dispatch, D>>) {
        self.weights.insert(self.path.name(), array(&param.transform_for_save()));
    }
}

#[derive(Default)]
struct Sizes {
    path: Path,
    found: BTreeMap<String, usize>,
}

impl ModuleVisitor<Dispatch> for Sizes {
    keep_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Dispatch, D>>) {
        self.found.insert(self.path.name(), param.lazy_shape().num_elements());
    }
}

struct Writer<'a> {
    path: Path,
    weights: &'a Weights,
    seen: BTreeSet<String>,
    flaw: Option<String>,
}

impl Writer<'_> {
    /// Notes what is wrong if it is the first thing that is.
    fn note(&mut self, flaw: String) {
        self.flaw.get_or_insert(flaw);
    }
}

impl ModuleMapper<Dispatch> for Writer<'_> {
    keep_path!();

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<Dispatch, D>>) -> Param<Tensor<Dispatch, D>> {
        let name = self.path.name();
        let shape = stored_shape(&param);
        match self.weights.get(&name) {
            Some(array) if array.shape == shape => {
                let (id, device) = (param.id, param.lazy_device());
                self.seen.insert(name);
                let loaded = param.transform_for_load(tensor(array.clone(), &device), id);
                // A parameter that is stored transposed would be a view now, and is none after a step of training:
                // products over the two differ in the last place.
                loaded.map(|loaded| {
                    let wants_gradient = loaded.is_require_grad();
                    Tensor::from_data(loaded.into_data(), &device).set_require_grad(wants_gradient)
                })
            }
            Some(array) => {
                self.note(format!("`{name}` is {}, not {}", words(&array.shape), words(&shape)));
                param
            }
            None => {
                self.note(format!("`{name}` is missing"));
                param
            }
        }
    }

    fn map_int<const D: usize>(
        &mut self,
        param: Param<Tensor<Dispatch, D, Int>>,
    ) -> Param<Tensor<Dispatch, D, Int>> {
        self.note(format!("the model's parameter `{}` holds whole numbers, not floats", self.path.name()));
        param
    }

    fn map_bool<const D: usize>(
        &mut self,
        param: Param<Tensor<Dispatch, D, Bool>>,
    ) -> Param<Tensor<Dispatch, D, Bool>> {
        self.note(format!("the model's parameter `{}` holds truth values, not floats", self.path.name()));
        param
    }
}

struct Keeper {
    path: Path,
    records: Moments,
    state: Continuation,
}

impl ModuleVisitor<Dispatch> for Keeper {
    keep_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Dispatch, D>>) {
        // What never had a gradient has no moments.
        let Some(record) = self.records.remove(&param.id) else { return };
        let AdamWState { momentum } = record.into_state::<D>();
        let AdaptiveMomentumState { time, moment_1, moment_2, max_moment_2 } = momentum;
        let name = self.path.name();
        let tensors = &mut self.state.tensors;
        tensors.insert(format!("adamw.moment_1.{name}"), array(&moment_1));
        tensors.insert(format!("adamw.moment_2.{name}"), array(&moment_2));
        if let Some(largest) = max_moment_2 {
            tensors.insert(format!("adamw.max_moment_2.{name}"), array(&largest));
        }
        self.state.numbers.insert(format!("adamw.time.{name}"), time as u64);
    }
}

struct Restorer<'a> {
    path: Path,
    state: &'a mut Continuation,
    records: Moments,
    flaw: Option<String>,
}

impl Restorer<'_> {
    /// Moments of one parameter, without gradients; `None` where there are none.
    fn moments<const D: usize>(
        &mut self,
        param: &Param<Tensor<Dispatch, D>>,
    ) -> Result<Option<AdaptiveMomentumState<Dispatch, D>>, String> {
        let name = self.path.name();
        let Some(time) = self.state.numbers.remove(&format!("adamw.time.{name}")) else { return Ok(None) };
        let device = param.lazy_device();
        let shape = if param.is_initialized() { param.shape() } else { param.lazy_shape() };
        let mut take = |which: &str| match self.state.tensors.remove(&format!("adamw.{which}.{name}")) {
            Some(array) if array.shape == shape.to_vec() => Ok(Some(tensor(array, device.inner()))),
            Some(array) => {
                let (has, wants) = (words(&array.shape), words(&shape.to_vec()));
                Err(format!("`adamw.{which}.{name}` is {has}, not {wants}"))
            }
            None => Ok(None),
        };
        let missing = |which: &str| format!("`adamw.{which}.{name}` is missing");
        Ok(Some(AdaptiveMomentumState {
            time: time as usize,
            moment_1: take("moment_1")?.ok_or_else(|| missing("moment_1"))?,
            moment_2: take("moment_2")?.ok_or_else(|| missing("moment_2"))?,
            max_moment_2: take("max_moment_2")?,
        }))
    }
}

impl ModuleVisitor<Dispatch> for Restorer<'_> {
    keep_path!();

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<Dispatch, D>>) {
        match self.moments(param) {
            Ok(None) => {}
            Ok(Some(momentum)) => {
                self.records.insert(param.id, AdaptorRecord::from_state(AdamWState { momentum }));
            }
            Err(flaw) => {
                self.flaw.get_or_insert(flaw);
            }
        }
    }
}

#[cfg(test)]
mod tests;
