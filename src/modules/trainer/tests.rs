use std::sync::Arc;

use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::AdamWConfig;
use burn::tensor::TensorData;
use burn::tensor::backend::Backend;

use super::*;

#[derive(Module, Debug)]
struct Net<B: Backend> {
    first: Linear<B>,
    dropout: Dropout,
    last: Linear<B>,
}

/// Which of two numbers is larger, learnt with dropout.
struct Larger;

/// What the loss is multiplied with.
#[derive(Clone, Copy, Debug, Serialize)]
struct Rule {
    scale: f64,
}

impl Larger {
    fn numbers(rows: &[usize]) -> (Vec<f32>, Vec<i32>) {
        let pair = |row: &usize| [(row * 7 % 11) as f32 / 10.0, (row * 5 % 13) as f32 / 12.0];
        let pairs: Vec<[f32; 2]> = rows.iter().map(pair).collect();
        let right = pairs.iter().map(|[a, b]| i32::from(b > a)).collect();
        (pairs.concat(), right)
    }

    fn logits(model: &Net<Dispatch>, rows: &[usize], device: &DispatchDevice) -> Tensor<Dispatch, 2> {
        let numbers = TensorData::new(Self::numbers(rows).0, [rows.len(), 2]);
        let x = model.first.forward(Tensor::from_data(numbers, device)).tanh();
        model.last.forward(model.dropout.forward(x))
    }
}

static FIGURES: &[EpochFigure] =
    &[TRAIN_LOSS, EpochFigure::new("largest", Better::Neither, "Of three rows of logits."), SECONDS];

impl Task for Larger {
    type Model = Net<Dispatch>;
    type Shape = usize;
    type Rule = Rule;
    type Batch = (Vec<usize>, DispatchDevice);

    fn inputs(&self) -> BTreeMap<String, String> {
        [("data.numbers".to_owned(), "made here".to_owned())].into()
    }

    fn recipe(&self, _: &Config) -> Result<Recipe<usize, Rule>, String> {
        Err("these tests have no sweep files".to_owned())
    }

    fn model(&self, &width: &usize, device: &DispatchDevice) -> Net<Dispatch> {
        Net {
            first: LinearConfig::new(2, width).init(device),
            dropout: DropoutConfig::new(0.5).init(),
            last: LinearConfig::new(width, 2).init(device),
        }
    }

    fn about(&self, width: &usize) -> String {
        format!("net of width {width}")
    }

    fn examples(&self) -> usize {
        10
    }

    fn batch(&self, examples: &[usize], device: &DispatchDevice) -> Self::Batch {
        (examples.to_vec(), device.clone())
    }

    fn loss(&self, model: &Net<Dispatch>, (rows, device): Self::Batch, rule: &Rule) -> Tensor<Dispatch, 1> {
        let right =
            Self::numbers(&rows).1.iter().flat_map(|&right| [1.0 - right as f32, right as f32]).collect();
        let right =
            Tensor::<Dispatch, 2>::from_data(TensorData::new::<f32, _>(right, [rows.len(), 2]), &device);
        let log_probs = log_softmax(Self::logits(model, &rows, &device), 1);
        (right * log_probs).sum() / rows.len() as f64 * -rule.scale
    }

    fn validate(&self, model: &Net<Dispatch>, device: &DispatchDevice) -> Vec<(&'static str, f64)> {
        vec![("largest", f64::from(Self::logits(model, &[0, 1, 2], device).abs().max().into_scalar()))]
    }

    fn units(&self) -> usize {
        4
    }

    fn examine(&self, model: &Net<Dispatch>, device: &DispatchDevice) -> Vec<Answer> {
        let rows: Vec<usize> = (20..24).collect();
        classified(Self::logits(model, &rows, device), &Self::numbers(&rows).1)
    }

    fn references(&self) -> Vec<(&'static str, Vec<Finite>)> {
        vec![(
            "second",
            Self::numbers(&[20, 21, 22, 23]).1.iter().map(|&right| (right == 1).into()).collect(),
        )]
    }
}

fn recipe() -> Recipe<usize, Rule> {
    Recipe {
        shape: 6,
        seed: 3,
        epochs: 4,
        batch: 4,
        lr: 0.05,
        optimizer: AdamWConfig::new().with_weight_decay(0.1),
        frozen: Vec::new(),
        rule: Rule { scale: 1.0 },
    }
}

fn frozen(name: &str) -> Recipe<usize, Rule> {
    Recipe { frozen: vec![name.to_owned()], ..recipe() }
}

fn trainer() -> Trainer<Larger> {
    Trainer::new(FIGURES, Larger)
}

fn job(trainer: &mut Trainer<Larger>, id: usize, recipe: &Recipe<usize, Rule>) -> Job {
    let chain = trainer.add(recipe).unwrap().to_vec();
    let start = Arc::new(trainer.initial(chain[0].work));
    Job { id, work: chain[1].work, start, reference: None, last_epoch: chain[1].epochs, resume: None }
}

struct Trained {
    metrics: EpochMetrics,
    weights: Weights,
    state: Continuation,
}

/// What the jobs had come to after each epoch, by their ids.
fn train(trainer: &Trainer<Larger>, jobs: &[Job]) -> BTreeMap<(usize, u32), Trained> {
    let mut found = BTreeMap::new();
    let mut take = |reports: Vec<Report>| {
        for report in reports {
            let Report::Epoch { id, metrics, snapshot, .. } = report else { panic!("diverged") };
            let weights = snapshot.weights();
            found.insert((id, metrics.epoch), Trained { metrics, weights, state: snapshot.state() });
        }
        true
    };
    let end = trainer.train(jobs, Device::Cpu, &Cancel::default(), &mut take).unwrap();
    assert_eq!(end, CohortEnd::Finished);
    found
}

#[test]
fn stopped_and_gone_on_is_undisturbed_alone_and_in_company() {
    let mut trainer = trainer();
    let jobs = [job(&mut trainer, 0, &recipe()), job(&mut trainer, 1, &frozen("first"))];
    let mut together = train(&trainer, &jobs);
    for job in &jobs {
        let id = job.id;
        let whole = together.remove(&(id, 4)).unwrap();
        let half = train(&trainer, &[Job { last_epoch: 2, ..job.clone() }]).remove(&(id, 2)).unwrap();
        trainer.check(job.work, half.state.clone()).unwrap();
        let resume = Some((Arc::new(half.weights), half.state));
        let on = train(&trainer, &[Job { resume, ..job.clone() }]).remove(&(id, 4)).unwrap();
        assert_eq!((&on.weights, on.state), (&whole.weights, whole.state), "{id}");
        assert!(on.metrics.results(FIGURES).eq(whole.metrics.results(FIGURES)), "{id}");
        assert_eq!(whole.weights["first.weight"] == job.start["first.weight"], id == 1);
        assert_ne!(whole.weights["last.weight"], job.start["last.weight"]);
        let names: Vec<&str> = whole.metrics.figures().map(|(name, _)| name).collect();
        assert_eq!(names, ["train_loss", "largest", "seconds"]);
    }
    let other = Recipe { seed: 4, ..recipe() };
    let (other, start) = (job(&mut trainer, 2, &other), Arc::clone(&jobs[0].start));
    let other = train(&trainer, &[Job { start, ..other }]).remove(&(2, 4)).unwrap();
    let one = train(&trainer, &jobs[..1]).remove(&(0, 4)).unwrap();
    assert_ne!(other.weights, one.weights, "the seed decides more than the weights to begin with");
}

#[test]
fn dropout_is_seeded_by_the_epoch() {
    let device = burn_device(Device::Cpu);
    let drawn = |seed, epoch| {
        let _alone = generator(&device, seed, epoch);
        let random = Tensor::<Dispatch, 1>::random([8], burn::tensor::Distribution::Default, &device);
        random.into_data().to_vec::<f32>().unwrap()
    };
    assert_eq!(drawn(1, 2), drawn(1, 2));
    assert_ne!(drawn(1, 2), drawn(1, 3));
    assert_ne!(drawn(1, 2), drawn(2, 2));
}

#[test]
fn what_decides_a_training_makes_it_another_work() {
    let mut trainer = trainer();
    let mut chain = |recipe: &Recipe<usize, Rule>| -> Vec<usize> {
        trainer.add(recipe).unwrap().iter().map(|link| link.work).collect()
    };
    let base = chain(&recipe());
    assert_eq!(chain(&Recipe { epochs: 9, ..recipe() }), base);
    let others = [
        Recipe { batch: 5, ..recipe() },
        Recipe { lr: 0.1, ..recipe() },
        Recipe { optimizer: AdamWConfig::new().with_weight_decay(0.2), ..recipe() },
        Recipe { rule: Rule { scale: 2.0 }, ..recipe() },
        frozen("first"),
    ];
    let mut seen = vec![base[1]];
    for other in &others {
        let chain = chain(other);
        assert_eq!(chain[0], base[0], "they begin with the same weights: {other:?}");
        assert!(!seen.contains(&chain[1]), "{other:?}");
        seen.push(chain[1]);
    }
    for other in [Recipe { seed: 1, ..recipe() }, Recipe { shape: 7, ..recipe() }] {
        let chain = chain(&other);
        assert!(!base.contains(&chain[0]) && !seen.contains(&chain[1]), "{other:?}");
    }
    assert_eq!(trainer.chains().chains.len(), 9);
}

#[test]
fn people_are_told_what_a_work_is_and_how_large() {
    let mut trainer = trainer();
    let works: Vec<usize> = [recipe(), frozen("first")]
        .iter()
        .flat_map(|recipe| trainer.add(recipe).unwrap().to_vec())
        .map(|link| link.work)
        .collect();
    let told: Vec<(String, usize, usize)> = works
        .iter()
        .map(|&work| {
            let Parameters { trainable, total } = trainer.parameters(work);
            (trainer.about(work), trainable, total)
        })
        .collect();
    let said = |text: &str, trainable| (text.to_owned(), trainable, 32);
    assert_eq!(
        told,
        [
            said("net of width 6, seed 3", 0),
            said("net of width 6", 32),
            said("net of width 6, seed 3", 0),
            said("net of width 6, first frozen", 14)
        ]
    );
    let flaw = trainer.add(&frozen("frist")).map(<[Link]>::len).unwrap_err();
    assert_eq!(flaw, "the model has no layer `frist` to keep as it is; it has `first`, `last`");
}

/// What the reports of a job say.
fn said(recipe: &Recipe<usize, Rule>, cancel: &Cancel, go_on: bool) -> (CohortEnd, Vec<String>) {
    let mut trainer = trainer();
    let job = job(&mut trainer, 5, recipe);
    let mut said = Vec::new();
    let mut take = |reports: Vec<Report>| {
        said.extend(reports.into_iter().map(|report| match report {
            Report::Diverged { id, epoch, cause } => format!("{id} {epoch} {cause}"),
            Report::Epoch { metrics, .. } => format!("finished {}", metrics.epoch),
        }));
        go_on
    };
    let end = trainer.train(&[job], Device::Cpu, cancel, &mut take).unwrap();
    (end, said)
}

#[test]
fn a_training_ends_where_a_number_is_none_where_it_is_told_to_and_where_it_is_cancelled() {
    let cancel = Cancel::default();
    let diverged = said(&Recipe { rule: Rule { scale: f64::NAN }, ..recipe() }, &cancel, true);
    assert_eq!(diverged, (CohortEnd::Finished, vec!["5 1 train_loss is not finite".to_owned()]));
    let steps = cancel.steps().count();
    assert_eq!(steps, 10, "an example is a step");
    assert_eq!(said(&recipe(), &cancel, false), (CohortEnd::Cancelled, vec!["finished 1".to_owned()]));
    cancel.raise();
    assert_eq!(said(&recipe(), &cancel, true), (CohortEnd::Cancelled, Vec::new()));
    assert_eq!(cancel.steps().count(), steps + 10);
}

#[test]
fn weights_are_scored_on_every_unit_or_it_is_said_why_not() {
    let mut trainer = trainer();
    let job = job(&mut trainer, 0, &recipe());
    let Ok(Examined::Scored(scores)) = trainer.examine(job.work, &job.start, Device::Cpu) else {
        panic!("no judge is asked")
    };
    assert_eq!((scores.len(), scores[&1].len(), trainer.inputs_examined()), (1, 4, 4));
    let again = trainer.examine(job.work, &job.start, Device::Cpu);
    assert!(matches!(again, Ok(Examined::Scored(again)) if again == scores), "nothing is left out at random");
    assert_eq!(trainer.references()[0].scores[&1].len(), 4);

    let mut strange = Weights::clone(&job.start);
    let array = strange.get_mut("last.bias").unwrap();
    array.values[0] = f32::NAN;
    let flaw = trainer.examine(job.work, &strange, Device::Cpu).err();
    assert_eq!(flaw, Some(Flaw::NotFinite("unit 0".to_owned())));
    strange.remove("last.bias");
    let flaw = trainer.examine(job.work, &strange, Device::Cpu).err();
    assert_eq!(flaw, Some(Flaw::Misfit("`last.bias` is missing".to_owned())));
}

#[test]
fn a_classifier_is_right_or_wrong_and_says_how_sure_it_is() {
    let logits =
        Tensor::<Dispatch, 2>::from_data([[0.0, 0.0, 1.0], [3.0, 1.0, 1.0]], &burn_device(Device::Cpu));
    let answers = classified(logits, &[2, 1]);
    let found: Vec<(u32, f64)> = answers.iter().map(|answer| (answer.answer, answer.score.get())).collect();
    assert_eq!((found, mean_score(&answers)), (vec![(2, 1.0), (0, 0.0)], 0.5));
    // ln(e / (e + 2)), by hand.
    assert!((answers[0].log_prob - -0.551_444_713_932).abs() < 1e-6, "{}", answers[0].log_prob);
}
