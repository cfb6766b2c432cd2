//! Nothing that the program writes is unreadable to it: every record, with the values that text formats stumble over.

use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use sweep::checkpoint::{self, Array, Facts, Phase};
use sweep::disk;
use sweep::event::Event;
use sweep::finite::Finite;
use sweep::plan::{StageKey, Traits, Work};
use sweep::run::status;
use sweep::selector::Params;
use sweep::selector::{FIGURES, SCHEMA};
use sweep::selector::{GrpoParams, Origin, RceParams, StageKind};
use sweep::spec::{Config, Point};
use sweep::store::{
    EpochMetrics, EpochRecord, Expected, FORMAT, LoggedEvent, PointFiles, PointRecord, PointStatus,
    QueryScore, ReferenceResult, ReferencesRecord, ResolvedRecord, SignalHealth, StageRecord, Store,
    SweepDir, SweepResults, check_point, in_use, read_events, read_job, read_resolved, speed_samples,
    use_point, write_job,
};

use crate::fixture::config;

/// Numbers at every edge of f64, not all of them finite.
fn number() -> impl Strategy<Value = f64> {
    prop_oneof![
        prop::sample::select(vec![
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            -0.0,
            f64::MIN_POSITIVE,
            f64::MIN_POSITIVE / 4.0,
            f64::MAX,
            f64::MIN,
            0.1 + 0.2,
            1e22,
            9_007_199_254_740_993.0,
        ]),
        any::<f64>(),
    ]
}

fn finite() -> impl Strategy<Value = Finite> {
    number().prop_map(|value| Finite::new(value).unwrap_or_default())
}

/// Text of every Unicode plane, with control characters, quotes, separators and line ends; empty and very long.
fn text() -> impl Strategy<Value = String> {
    let letter = prop_oneof![
        any::<char>(),
        prop::sample::select(
            "\0\u{1}\u{7f}\u{85}\u{2028}\u{feff}\u{fffd}\u{10ffff}\r\n\t\"\\,;|'`<>&%{}[]"
                .chars()
                .collect::<Vec<_>>()
        ),
        (0..=16_u32, 0..0xffff_u32).prop_map(|(plane, low)| char::from_u32(plane << 16 | low).unwrap_or('x')),
    ];
    prop_oneof![
        8 => prop::collection::vec(letter.clone(), 0..20).prop_map(String::from_iter),
        1 => letter.prop_map(|letter| letter.to_string().repeat(100_000 / letter.len_utf8())),
    ]
}

fn count() -> impl Strategy<Value = u64> {
    prop_oneof![Just(u64::MAX), Just(1 << 53), Just((1 << 53) + 1), Just(0), any::<u64>()]
}

fn metrics() -> impl Strategy<Value = EpochMetrics> {
    let values = prop::collection::vec(prop::option::of(finite()), FIGURES.len());
    (text(), any::<u32>(), values).prop_map(|(phase, epoch, values)| {
        let empty = EpochMetrics::new(FIGURES, &phase, epoch);
        FIGURES.iter().zip(values).fold(empty, |metrics, (figure, value)| metrics.with(figure.name, value))
    })
}

fn scores() -> impl Strategy<Value = Vec<QueryScore>> {
    // Evaluation takes only shares for scores.
    let share = prop_oneof![Just(-0.0), Just(f64::MIN_POSITIVE / 4.0), 0.0..=1.0];
    let share = share.prop_map(|share: f64| Finite::new(share).unwrap_or_default());
    let one = (count(), prop::collection::vec(any::<u32>(), 0..5), any::<usize>(), share, finite());
    let one = one.prop_map(|(query_id, selection, trajectory, score, log_prob)| QueryScore {
        query_id,
        column: 2,
        selection,
        logged: Some(trajectory),
        score,
        log_prob,
        answer: None,
    });
    prop::collection::vec(one, 1..4)
}

/// A configuration as a sweep file may ask for it: what is not finite is refused there.
fn configuration() -> impl Strategy<Value = Params> {
    (finite(), finite(), count(), text(), any::<usize>()).prop_map(|(beta, rate, seed, path, hidden)| {
        let mut config = config();
        config.train.kl_beta = beta.get();
        config.train.grpo_lr = rate.get();
        config.train.seed = seed;
        config.train.kl_target = [rate.get(), beta.get()];
        config.model.hidden = hidden;
        config.model.dropout = beta.get();
        config.reward.hard_weight = rate.get();
        config.data.trajectories = PathBuf::from(path);
        config
    })
}

fn axis() -> impl Strategy<Value = Value> {
    prop_oneof![
        number().prop_map(|value| json!(value)),
        text().prop_map(|value| json!(value)),
        count().prop_map(|value| json!(value)),
        text().prop_map(|value| json!([value, null, true])),
    ]
}

fn pairs() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map(text(), text(), 0..3)
}

type Check = Result<(), TestCaseError>;

/// Values as text: equal where they would be written alike.
fn same<T: serde::Serialize>(what: &str, written: &T, read: &T) -> Check {
    let json =
        |value: &T| serde_json::to_string(value).map_err(|error| TestCaseError::fail(error.to_string()));
    prop_assert_eq!(json(written)?, json(read)?, "{}", what);
    Ok(())
}

/// What a sweep without points asks for.
fn request(provenance: BTreeMap<String, String>) -> ResolvedRecord {
    ResolvedRecord {
        format: FORMAT,
        name: "s".to_owned(),
        experiment: "selector".to_owned(),
        columns: Vec::new(),
        version: "0".to_owned(),
        axes: Vec::new(),
        points: Vec::new(),
        baseline: Vec::new(),
        eval: None,
        export: Vec::new(),
        keep: sweep::spec::KeepParams::default(),
        inputs: BTreeMap::new(),
        health: None,
        leaks: sweep::store::Leaks::default(),
        provenance,
    }
}

/// A point of that configuration that nothing is known of.
fn point_record(config: Config) -> PointRecord {
    PointRecord {
        format: FORMAT,
        name: "p".to_owned(),
        axes: Vec::new(),
        config,
        status: PointStatus::Done,
        error: None,
        stage: String::new(),
        evaluation: None,
        trainable: 0,
        total: 0,
        movement: BTreeMap::new(),
        checkpoint: None,
        judge: None,
        unanswered: 0,
        unknown: serde_json::Map::new(),
    }
}

fn store() -> (tempfile::TempDir, Store) {
    let root = tempfile::tempdir().expect("a directory");
    let store = Store::open(SweepDir::at(&root.path().join("s")), "test").expect("opened");
    (root, store)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn points_and_requests_are_read_as_they_were_written(
        (config, axis, error, provenance) in (configuration(), axis(), prop::option::of(text()), pairs()),
        (metrics, scores, movement) in (prop::collection::vec(metrics(), 0..3), scores(), finite()),
        (range, groups) in (finite(), any::<usize>()),
    ) {
        let (_root, store) = store();
        let config = Config::from(&config);
        let axes = vec![("train.kl_beta".to_owned(), axis)];
        let point = Point { name: "p".to_owned(), axes: axes.clone(), config: config.clone() };
        let health = SignalHealth { groups, flat_groups: groups, mean_range: range, distinct: [(groups, groups)].into() };
        let resolved = ResolvedRecord {
            axes: vec!["train.kl_beta".to_owned()],
            points: vec![point],
            baseline: vec![0],
            inputs: provenance.clone(),
            health: Some(health),
            ..request(provenance)
        };
        store.write_request("", &resolved).expect("written");
        same("resolved.json", &resolved, &read_resolved(store.dir().path()).expect("read"))?;
        let references = ReferencesRecord {
            format: FORMAT,
            references: vec![ReferenceResult { name: "x".to_owned(), scores: [(2, vec![range])].into() }],
        };
        store.write_references(&references).expect("written");
        let record = PointRecord {
            axes,
            error: error.clone(),
            stage: error.clone().unwrap_or_default(),
            evaluation: error,
            trainable: groups,
            total: groups,
            movement: [("all".to_owned(), movement)].into(),
            ..point_record(config)
        };
        let by_shot = BTreeMap::from([(2, scores)]);
        let files = PointFiles { record: &record, figures: FIGURES, metrics: &metrics, names: SCHEMA.columns, scores: &by_shot, unanswered: &[], samples: &[None, Some(1)] };
        store.write_point(files).expect("written");
        let queries = by_shot[&2].len();
        let expected = Expected { queries, evaluation: record.evaluation.as_deref(), names: SCHEMA.columns };
        let back = check_point(store.dir().path(), "p", &expected).expect("read").expect("there");
        same("point.json", &record, &back)?;
        let results = SweepResults::read(store.dir().path()).expect("read");
        prop_assert_eq!(&results.points[0].scores, &by_shot);
        prop_assert_eq!(&results.points[0].metrics, &metrics);
        same("references.json", &references.references, &results.references)?;
        let told = status(store.dir().path(), 0.0).expect("read");
        prop_assert_eq!((told.points, told.done, told.failed), (1, 1, 0));
        // The means are for other programs: each row is as many fields as the header has, and numbers that are ones.
        let means = store.dir().path().join("points/p/scores.csv");
        let mut reader = csv::Reader::from_path(means).expect("there");
        let rows: Vec<(usize, String, usize, f64)> = reader.deserialize().collect::<Result<_, _>>().expect("read");
        let shown: Vec<&str> = rows.iter().map(|row| row.1.as_str()).collect();
        prop_assert_eq!(shown, ["all", "1"]);
        for (shot, _, queries, mean) in rows {
            let of: Vec<f64> = by_shot[&shot][..queries].iter().map(|query| query.score.get()).collect();
            let expected = of.iter().sum::<f64>() / of.len() as f64;
            prop_assert_eq!(mean.to_bits(), expected.to_bits());
            prop_assert!(mean.is_finite());
        }
    }

    #[test]
    fn stages_are_read_as_they_were_written(
        config in configuration(),
        metrics in prop::collection::vec(metrics(), 0..3),
        (content, diverged) in (text(), prop::option::of(text())),
        (host, steps, seconds) in (text(), 1..u64::MAX, finite()),
    ) {
        let (_root, store) = store();
        let reward = config.reward.clone();
        let (model, dim) = (config.model.clone(), config.model.hidden);
        let kinds = [
            StageKind::Init { dim, model: model.clone(), origin: Origin::Fresh { seed: config.train.seed } },
            StageKind::Init { dim, model: model.clone(), origin: Origin::Checkpoint { content: content.clone() } },
            StageKind::Rce { data: content.clone(), reward: reward.clone(), params: RceParams::of(&config) },
            StageKind::Grpo {
                data: content.clone(),
                reward,
                reference: config.train.reference,
                params: GrpoParams::of(&config),
            },
        ];
        let values = |work: &Work| serde_json::from_str::<Value>(&work.values).expect("JSON");
        for kind in kinds {
            let work = kind.work((&model, dim));
            let key = StageKey("k".to_owned());
            let epochs = metrics.iter().map(|metrics| EpochRecord { content: content.clone(), metrics: metrics.clone() });
            let record = StageRecord {
                format: FORMAT,
                key: "k".to_owned(),
                kind: values(&work),
                traits: Some(work.traits),
                parent: diverged.clone().map(|_| "init".to_owned()),
                reference: Some(content.clone()),
                init: None,
                epochs: epochs.collect(),
                stopped: false,
                diverged: diverged.clone(),
                released: (1..=metrics.len() as u32).filter(|epoch| epoch % 2 == 0).collect(),
                ended: diverged.is_some(),
                unknown: serde_json::Map::new(),
            };
            store.stages().write_record(&key, &record).expect("written");
            let back = store.stages().record(&key).expect("read");
            prop_assert_eq!(Some(&record), back.as_ref());
            store.note_failure(&key, &content).expect("written");
            prop_assert_eq!(store.noted_failure(&key), Some(content.clone()));
        }
        // A stage, what it descends from, and the log of its cohort together are a measurement of speed; also where the
        // record is of a version that did not write traits.
        let stage = |key: &str, kind: &StageKind, parent: Option<&str>| {
            let kind = values(&kind.work((&model, dim)));
            let parent = parent.map(str::to_owned);
            let (format, key_text) = (FORMAT, key.to_owned());
            let none = (None, None, Vec::new(), None, serde_json::Map::new());
            let (reference, init, epochs, diverged, unknown) = none;
            let record = StageRecord {
                format, key: key_text, kind, traits: None, parent, reference, init, epochs, stopped: false, diverged,
                released: Vec::new(), ended: false, unknown,
            };
            store.stages().write_record(&StageKey(key.to_owned()), &record).expect("written");
        };
        let fresh = Origin::Fresh { seed: config.train.seed };
        stage("init", &StageKind::Init { dim, model: model.clone(), origin: fresh }, None);
        let reward = config.reward.clone();
        let rce = StageKind::Rce { data: content, reward, params: RceParams::of(&config) };
        stage("rce", &rce, Some("init"));
        let provenance = BTreeMap::from([("host".to_owned(), host.clone()), ("device".to_owned(), host.clone())]);
        store.write_request("", &request(provenance)).expect("written");
        let stages = vec!["rce".to_owned()];
        let (phase, names) = ("rce".to_owned(), vec![host.clone()]);
        let began = Event::CohortStarted {
            phase, members: 3, first_epoch: 1, last_epoch: 2, steps, points: 0, stages: stages.clone(), names,
        };
        let ended = Event::CohortFinished { stages, complete: true };
        for (time, data) in [(0.0, began), (seconds.get(), ended)] {
            store.append_event(&json!({ "time": time, "data": data }).to_string());
        }
        let root = store.dir().path().parent().expect("a root");
        let samples = speed_samples(root, &host, &host);
        prop_assert_eq!(samples.len(), 1);
        let traits = rce.work((&model, dim)).traits;
        prop_assert_eq!((&samples[0].lane, samples[0].members), (&traits.lane, 3));
        let older = store.stages().record(&StageKey("rce".to_owned())).expect("read").expect("there");
        prop_assert_eq!(older.traits().into_owned(), Traits { lane: String::new(), ..traits });
        prop_assert!(samples[0].seconds.is_finite());
    }

    #[test]
    fn what_is_in_use_is_read_as_it_was_written(names in prop::collection::btree_set(text(), 1..3)) {
        let (_root, store) = store();
        let request = ResolvedRecord {
            points: vec![Point { name: "p".to_owned(), axes: Vec::new(), config: (&config()).into() }],
            ..request(BTreeMap::new())
        };
        store.write_request("", &request).expect("written");
        for name in names {
            // As long as file systems allow.
            let name: String = name.chars().filter(|letter| !['/', '\0'].contains(letter)).take(50).collect();
            let checkpoint = PathBuf::from(format!("x{name}.safetensors"));
            let weights = [("w".to_owned(), Array { shape: vec![1], values: vec![1.0] })];
            checkpoint::write(&store.dir().path().join(&checkpoint), &weights.into(), &Facts::default()).expect("written");
            let record = PointRecord { checkpoint: Some(checkpoint.clone()), ..point_record((&config()).into()) };
            store.write_point_record(&record).expect("written");
            let used = use_point(store.dir().path(), "p").expect("used");
            prop_assert_eq!(&used.checkpoint, &checkpoint);
            prop_assert_eq!(in_use(store.dir().path()).expect("read"), Some(used));
        }
    }

    #[test]
    fn claims_are_read_as_they_were_written(deaths in any::<u32>(), (key, nonsense) in (any::<u64>(), text())) {
        let (_root, store) = store();
        let key = StageKey(format!("{key:x}"));
        let path = store.dir().claims().join(&key.0);
        // In order: no death. By another's hand: as many as it says, and what says nothing is none.
        drop(store.claim(&key).expect("claimed"));
        prop_assert_eq!(store.claim(&key).expect("claimed").expect("free").deaths, 0);
        for (text, expected) in [(deaths.to_string(), deaths), (format!("x{nonsense}"), 0)] {
            disk::write(&path, text.as_bytes()).expect("written");
            let claim = store.claim(&key).expect("claimed").expect("free");
            prop_assert_eq!(claim.deaths, expected);
            prop_assert!(store.claim(&key).expect("asked").is_none(), "two have it");
            // As it is read after this process has died.
            let left = std::fs::read_to_string(&path).expect("read");
            prop_assert_eq!(left, expected.saturating_add(1).to_string());
        }
    }

    #[test]
    fn events_and_jobs_are_read_as_they_were_written(
        (a, b, numbers) in (text(), text(), (finite(), finite(), count())),
        (loss, time) in (prop::option::of(finite()), number()),
    ) {
        let (_root, store) = store();
        let (x, y, n) = numbers;
        let s = || a.clone();
        let events = [
            Event::PlanReady { points: 1, points_done: 0, stages: 2, steps: n, steps_naive: n, steps_left: n, notices: vec![s(), b.clone()] },
            Event::StageAdopted { stage: s(), from: b.clone() },
            Event::StageAgain { stage: s() },
            Event::StageDamaged { stage: s(), cause: b.clone(), moved_to: s() },
            Event::PointDamaged { point: s(), cause: b.clone(), moved_to: s() },
            Event::BudgetEstimate { steps_per_second: x, seconds_left: y, steps: n, steps_left: n, points: 1, points_left: 1 },
            Event::CohortFailed { members: 1, cause: b.clone(), next: 1 },
            Event::StageFailed { stage: s(), cause: b.clone() },
            Event::WorkerEnded { device: s(), cause: b.clone(), restarted: true },
            Event::CohortStarted { phase: s(), members: 1, first_epoch: 1, last_epoch: u32::MAX, steps: n, points: 1, stages: vec![s()], names: vec![b.clone()] },
            Event::CohortFinished { stages: vec![s()], complete: true },
            Event::EpochDone { stage: s(), phase: b.clone(), epoch: 1, train_loss: x, val_loss: loss, seconds: y },
            Event::StageDiverged { stage: s(), epoch: 1, cause: b.clone() },
            Event::PointDone { point: s(), stage: b.clone(), average: loss, val_loss: Some(x) },
            Event::PointFailed { point: s(), stage: b.clone(), error: s() },
            Event::Finished { done: 1, failed: 1, pending: 1, interrupted: false, seconds: x },
        ];
        for event in &events {
            store.append_event(&json!({ "time": x, "data": event }).to_string());
        }
        let read: Vec<Event> = read_events(store.dir()).into_iter().map(|LoggedEvent { data, .. }| data).collect();
        same("events.jsonl", &events.to_vec(), &read)?;
        // Whatever the log says, and whatever time it is, there is an answer.
        store.write_request("", &request(BTreeMap::new())).expect("written");
        let told = status(store.dir().path(), time).expect("read");
        prop_assert!(serde_json::to_value(&told).is_ok_and(|told| told.is_object()));
        write_job(store.dir(), &a).expect("written");
        prop_assert_eq!(read_job(store.dir()), Some(s().trim().to_owned()).filter(|job| !job.is_empty()));
    }

    #[test]
    fn facts_of_checkpoints_are_read_as_they_were_written(
        (parent, beta, rate) in (text(), number(), number()),
        metrics in prop::collection::btree_map(text(), number(), 0..3),
        config in axis(),
    ) {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("x.safetensors");
        let weights = [("w".to_owned(), Array { shape: vec![4], values: vec![-0.0, f32::MIN_POSITIVE / 2.0, f32::MAX, f32::NAN] })];
        let facts = Facts {
            phase: Some(Phase::called("grpo")),
            epoch: Some(u32::MAX),
            kl_beta: Some(beta),
            lr: Some(rate),
            config: Some(config),
            parent: Some(parent.clone()),
            extra: [(format!("x{parent}"), json!(parent))].into(),
            metrics,
            ..Facts::default()
        };
        checkpoint::write(&path, &weights.into(), &facts).expect("written");
        let back = checkpoint::read(&path).expect("read").facts;
        // NaN is not equal to itself, but its text is.
        let told = |facts: &Facts| format!("{:?}", Facts { content: None, ..facts.clone() });
        // An empty text says what no text says.
        let told_before = Facts { parent: facts.parent.clone().filter(|parent| !parent.is_empty()), ..facts.clone() };
        prop_assert_eq!(told(&told_before), told(&back));
    }
}
