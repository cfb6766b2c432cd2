use burn::nn::{BatchNorm, BatchNormConfig, Linear, LinearConfig, LinearLayout};
use burn::optim::{AdamWConfig, GradientsParams};

use super::*;

#[derive(Module, Debug)]
struct Small<B: Backend> {
    first: Linear<B>,
    blocks: Vec<Linear<B>>,
    norm: BatchNorm<B>,
    /// Never used: it has no gradient, hence no moments.
    idle: Option<Linear<B>>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one at a time")]
enum Either<B: Backend> {
    Small(Small<B>),
    Plain(Linear<B>),
}

fn small(width: usize, device: &DispatchDevice) -> Small<Dispatch> {
    let linear = |layout| LinearConfig::new(width, width).with_layout(layout).init(device);
    Small {
        first: LinearConfig::new(3, width).init(device),
        // One that lies transposed in memory.
        blocks: vec![linear(LinearLayout::Row), linear(LinearLayout::Col)],
        norm: BatchNormConfig::new(width).init(device),
        idle: Some(LinearConfig::new(2, 2).with_bias(false).init(device)),
    }
}

fn training() -> DispatchDevice {
    DispatchDevice::autodiff(burn_device(Device::Cpu))
}

/// A module in training and its optimizer, without moments.
fn begin(weights: &Weights) -> (Small<Dispatch>, AdamWFor<Small<Dispatch>>) {
    let mut module = with_weights(small(4, &training()), weights).unwrap();
    module.first = module.first.no_grad();
    (module, AdamWConfig::new().with_weight_decay(0.1).with_amsgrad(true).init())
}

/// Trains on inputs that depend on the number of the step.
fn train(
    (mut module, mut optimizer): (Small<Dispatch>, AdamWFor<Small<Dispatch>>),
    steps: std::ops::Range<u32>,
) -> (Small<Dispatch>, AdamWFor<Small<Dispatch>>) {
    for step in steps {
        let values: Vec<f32> = (0..15).map(|at| ((at * 7 + step * 3) % 11) as f32 / 10.0).collect();
        let mut x = Tensor::<Dispatch, 2>::from_data(TensorData::new(values, [5, 3]), &training());
        x = module.first.forward(x);
        for block in &module.blocks {
            x = block.forward(x).tanh();
        }
        let loss = (module.norm.forward(x) - 0.25).powi_scalar(4).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        module = optimizer.step(0.02, module, gradients);
    }
    (module, optimizer)
}

#[test]
fn parameters_have_the_names_of_their_fields() {
    let device = burn_device(Device::Cpu);
    let module = Either::Small(small(4, &device));
    let sizes = sizes(&module);
    let names: Vec<String> = sizes.iter().map(|(name, size)| format!("{name} {size}")).collect();
    assert_eq!(
        names,
        [
            "blocks.0.bias 4",
            "blocks.0.weight 16",
            "blocks.1.bias 4",
            "blocks.1.weight 16",
            "first.bias 4",
            "first.weight 12",
            "idle.weight 4",
            "norm.beta 4",
            "norm.gamma 4",
            "norm.running_mean 4",
            "norm.running_var 4",
        ]
    );
    assert_eq!(weights_of(&module).keys().collect::<Vec<_>>(), sizes.keys().collect::<Vec<_>>());
    let plain = Either::Plain(LinearConfig::new(3, 2).init(&device));
    assert_eq!(weights_of(&plain)["weight"].shape, [3, 2]);
}

#[test]
fn a_seed_decides_every_bit() {
    let drawn = |seed| fresh(seed, |device| small(4, device));
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    let from_threads: Vec<Weights> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| drawn(7))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(from_threads.iter().all(|weights| *weights == drawn(7)));
}

#[test]
fn weights_come_back_and_what_does_not_fit_is_said() {
    let weights = fresh(1, |device| small(4, device));
    for device in [burn_device(Device::Cpu), training()] {
        let module = with_weights(small(4, &device), &weights).unwrap();
        assert_eq!(weights_of(&module), weights);
        // Once more into a module that has values already.
        let other = fresh(2, |device| small(4, device));
        assert_eq!(weights_of(&with_weights(module, &other).unwrap()), other);
    }
    let flaw = |weights: &Weights| with_weights(small(4, &training()), weights).unwrap_err();
    let mut less = weights.clone();
    less.remove("blocks.1.bias");
    assert_eq!(flaw(&less), "`blocks.1.bias` is missing");
    let mut more = weights.clone();
    more.insert("head.weight".to_owned(), Array { shape: vec![1], values: vec![0.0] });
    assert_eq!(flaw(&more), "the model has no parameter `head.weight`");
    assert_eq!(flaw(&fresh(1, |device| small(5, device))), "`first.weight` is 3 x 5, not 3 x 4");
}

#[test]
fn stopped_and_gone_on_is_undisturbed() {
    let start = fresh(3, |device| small(4, device));
    let (module, optimizer) = train(begin(&start), 0..5);
    // A run that is stopped has looked at itself; one that is not does so after every epoch too.
    let half = EpochEnd::of(1, &module, &optimizer);
    let (module, optimizer) = train((module, optimizer), 5..12);
    let undisturbed = EpochEnd::of(2, &module, &optimizer);

    let EpochEnd { weights, mut state } = half.clone();
    let (module, optimizer) = begin(&weights);
    let optimizer = resume(&module, optimizer, &mut state).unwrap();
    assert_eq!((state.tensors.len(), state.numbers.len()), (0, 0));
    let (module, optimizer) = train((module, optimizer), 5..12);
    let gone_on = EpochEnd::of(2, &module, &optimizer);
    assert_eq!(gone_on, undisturbed);

    for name in ["first.weight", "first.bias", "idle.weight"] {
        assert_eq!(gone_on.weights[name], start[name], "{name} does not learn");
        assert!(!gone_on.state.tensors.contains_key(&format!("adamw.moment_1.{name}")));
    }
    for name in ["blocks.0.weight", "blocks.1.weight", "norm.gamma", "norm.running_mean"] {
        assert_ne!(gone_on.weights[name], half.weights[name], "{name} learns");
    }
    // Without its moments it is another run.
    let (module, optimizer) = train(begin(&half.weights), 5..12);
    assert_ne!(EpochEnd::of(2, &module, &optimizer).weights, undisturbed.weights);
}

#[test]
fn a_state_that_does_not_fit_is_refused_in_words() {
    let (module, optimizer) = train(begin(&fresh(3, |device| small(4, device))), 0..2);
    let EpochEnd { weights, state } = EpochEnd::of(1, &module, &optimizer);
    let flaw = |change: &dyn Fn(&mut Continuation)| {
        let (module, optimizer) = begin(&weights);
        let mut state = state.clone();
        change(&mut state);
        resume(&module, optimizer, &mut state).err()
    };
    assert_eq!(flaw(&|_| {}), None);
    let own = |state: &mut Continuation| {
        state.numbers.insert("best_loss".to_owned(), 0.5f64.to_bits());
    };
    assert_eq!(flaw(&own), None, "what the experiment adds is its own");
    let said = |change: &dyn Fn(&mut Continuation)| flaw(change).unwrap();
    let without = |name: &'static str| {
        move |state: &mut Continuation| {
            state.tensors.remove(name);
        }
    };
    assert_eq!(
        said(&without("adamw.moment_2.blocks.0.weight")),
        "`adamw.moment_2.blocks.0.weight` is missing"
    );
    let strange = said(&|state| {
        state.tensors.insert("adamw.moment_1.head".to_owned(), Array { shape: vec![1], values: vec![0.0] });
    });
    assert_eq!(strange, "`adamw.moment_1.head` is of no parameter of the model");
    let misshapen = said(&|state| {
        state
            .tensors
            .insert("adamw.moment_1.norm.beta".to_owned(), Array { shape: vec![2], values: vec![0.0; 2] });
    });
    assert_eq!(misshapen, "`adamw.moment_1.norm.beta` is 2, not 4");
    let fewer = said(&|state| {
        state.numbers.remove("adamw.time.norm.beta");
        for which in ["moment_1", "moment_2", "max_moment_2"] {
            state.tensors.remove(&format!("adamw.{which}.norm.beta"));
        }
    });
    assert_eq!(fewer, "it has moments of 5 parameters, not of 6");
    let empty = said(&|state| *state = Continuation { epoch: 1, tensors: [].into(), numbers: [].into() });
    assert_eq!(empty, "`adamw.trained` is missing");
}

#[test]
fn an_epoch_has_its_own_order() {
    let order = shuffled(100, 7, 3);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert!(sorted.into_iter().eq(0..100));
    assert_eq!(shuffled(100, 7, 3), order);
    assert!(shuffled(100, 7, 4) != order && shuffled(100, 8, 3) != order);
    assert!(shuffled(0, 7, 1).is_empty());
}
