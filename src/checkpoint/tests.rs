//! The readers on the golden files, and on what may go wrong with a file.

use std::path::PathBuf;

use super::*;
use crate::selector::ParamGroup;
use crate::spec::ExportFormat;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

fn bits(weights: &Weights) -> Vec<(&String, &Vec<usize>, Vec<u32>)> {
    weights
        .iter()
        .map(|(name, array)| (name, &array.shape, array.values.iter().map(|value| value.to_bits()).collect()))
        .collect()
}

#[test]
fn three_formats_hold_the_same_weights() {
    let plain = read(&golden("init.safetensors")).unwrap();
    let training = read(&golden("init.pt")).unwrap();
    let lightning = read(&golden("init_v2format.ckpt")).unwrap();
    assert_eq!(plain.weights.values().map(|array| array.values.len()).sum::<usize>(), 525_824);
    assert_eq!(bits(&plain.weights), bits(&training.weights));
    assert_eq!(bits(&plain.weights), bits(&lightning.weights));
    assert_eq!(plain.facts.content, lightning.facts.content);

    assert_eq!(plain.facts.format, Format::Safetensors);
    assert_eq!(training.facts.format, Format::TorchTraining);
    assert_eq!(lightning.facts.format, Format::LightningV2);
    assert_eq!((training.facts.stored_epoch, training.facts.epoch), (Some(4), Some(5)));
    assert_eq!(
        (training.facts.phase.clone(), training.facts.kl_beta),
        (Some(Phase::called("rce")), Some(0.15))
    );
    assert_eq!(training.facts.metrics["rce_loss"], 8.25);
    assert_eq!((lightning.facts.global_step, lightning.facts.lr), (Some(1234), Some(1e-4)));
    assert_eq!(lightning.facts.extra["hyper_parameters"]["hidden_dim"], 256);

    for (name, full) in [("init.pt", training), ("init_v2format.ckpt", lightning)] {
        let summary = read_summary(&golden(name)).unwrap();
        assert_eq!(summary.facts, Facts { content: None, ..full.facts });
        assert_eq!(summary.shapes["input_proj.weight"], [256, 512]);
        assert_eq!(summary.shapes.len(), full.weights.len());
    }
}

/// The length of the header comes first in a safetensors file, so that its first bytes can be those of anything: 1152
/// is `80 04`, a pickle; 0x4b50 is `PK`, a zip.
#[test]
fn a_header_of_any_length_is_safetensors() {
    use rayon::prelude::*;

    const TENSOR: &str = r#"{"a":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]}}"#;
    let wrong = |length: &usize| {
        let (mut header, data) = match *length < TENSOR.len() {
            true => (b"{}".to_vec(), vec![]),
            false => (TENSOR.as_bytes().to_vec(), vec![0, 0, 128, 63]),
        };
        header.resize(*length, b' ');
        let file = [&(*length as u64).to_le_bytes()[..], &header, &data].concat();
        let tensors = usize::from(!data.is_empty());
        let read = read_bytes(&file, Path::new("any")).is_ok_and(|found| found.weights.len() == tensors);
        let summary = summary_from(Cursor::new(&file), Path::new("any"))
            .is_ok_and(|found| found.shapes.len() == tensors);
        let matrix = match matrix_from(Cursor::new(&file)) {
            Ok(matrix) => tensors == 1 && matrix.values == [1.0],
            Err(flaw) => tensors == 0 && flaw.at(Path::new("any")).to_string().contains("holds 0 tensors"),
        };
        !(read && summary && matrix)
    };
    let wrong: Vec<usize> = (8..=70_000usize).into_par_iter().filter(wrong).collect();
    assert_eq!(wrong, Vec::<usize>::new());
}

#[test]
fn matrices_of_both_formats_are_equal() {
    let matrix = read_matrix(&golden("embeddings.pt")).unwrap();
    assert_eq!(matrix.shape, [400, 512]);
    assert_eq!(matrix, read_matrix(&golden("embeddings.safetensors")).unwrap());
    let error = read_matrix(&golden("init.pt")).unwrap_err().to_string();
    assert!(error.contains("holds 0 tensors"), "{error}");
    let error = read_matrix(&golden("init.safetensors")).unwrap_err().to_string();
    assert!(
        error.contains("holds 9 tensors") && error.contains("hint: expected exactly one matrix"),
        "{error}"
    );
}

#[test]
fn what_is_written_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/er/rce_epoch1.safetensors");
    let weights = read(&golden("init.safetensors")).unwrap().weights;
    let facts =
        Facts { phase: Some(Phase::called("rce")), epoch: Some(1), kl_beta: Some(0.15), ..Facts::default() };
    write(&path, &weights, &facts).unwrap();
    let back = read(&path).unwrap();
    assert_eq!(bits(&back.weights), bits(&weights));
    let content = content_hash(&weights);
    assert_eq!(back.facts, Facts { content: Some(content), ..facts.clone() });
    assert_eq!(read_facts(&path).unwrap(), back.facts);

    let again = directory.path().join("again.safetensors");
    write(&again, &weights, &facts).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());

    let (tensors, metadata) = read_tensors(&path).unwrap();
    assert_eq!((tensors, metadata["kl_beta"].as_str()), (weights, "0.15"));
}

#[test]
fn another_experiment_names_its_own_phases() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("train_epoch1.safetensors");
    let weights = Weights::from([("first".to_owned(), Array { shape: vec![1], values: vec![0.5] })]);
    let facts = Facts { phase: Some(Phase::of("train")), epoch: Some(1), ..Facts::default() };
    assert_eq!((Phase::of("rce"), Phase::of("train").to_string().as_str()), (Phase::called("rce"), "train"));
    write(&path, &weights, &facts).unwrap();
    let back = read(&path).unwrap().facts;
    assert_eq!((&back.phase, back.value("phase")), (&facts.phase, Some("train".into())));
    assert_eq!(serde_json::to_value(&back).unwrap()["phase"], "train");
}

#[test]
fn a_changed_weight_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.safetensors");
    let weights = [("w".to_string(), Array { shape: vec![2], values: vec![1.0, 2.0] })].into();
    write(&path, &weights, &Facts::default()).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    let error = read_bytes(&bytes, &path).unwrap_err().to_string();
    assert!(error.contains("content hash") && error.contains("c.safetensors"), "{error}");
    for length in [0, 7, 9, 60, bytes.len() - 1] {
        assert!(read_bytes(&bytes[..length], &path).is_err(), "{length}");
    }
}

#[test]
fn impossible_arrays_are_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let weights = [("w".to_string(), Array { shape: vec![3], values: vec![1.0] })].into();
    let error = write(&directory.path().join("x"), &weights, &Facts::default()).unwrap_err();
    assert!(error.to_string().contains("`w` has the shape [3] and 1 values"), "{error}");
}

#[test]
fn a_header_that_claims_too_much_is_an_error() {
    let file =
        |header: &str, data: &[u8]| [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat();
    let huge = r#"{"w":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,16]}}"#;
    let beyond = r#"{"w":{"dtype":"F32","shape":[1000000],"data_offsets":[0,4000000]}}"#;
    let integers = r#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    for (header, data, expected) in [
        (huge, vec![0; 16], "not safetensors"),
        (beyond, vec![0; 16], "describes 4000000 bytes of tensors, 16 follow"),
        (integers, vec![0; 8], "of type int64"),
        ("{\"w\"", vec![0; 8], "not safetensors"),
    ] {
        let error = read_bytes(&file(header, &data), Path::new("x")).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let mut length = file("{}", &[]);
    length[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let error = read_bytes(&length, Path::new("x")).unwrap_err().to_string();
    assert!(error.contains("claims"), "{error}");
}

#[test]
fn run_a_moved_and_its_groups_are_told_apart() {
    let before = read(&golden("init.safetensors")).unwrap().weights;
    let after = read(&golden("final_a.safetensors")).unwrap().weights;
    let moved = compare(&before, &after).unwrap();
    assert!(moved.relative_all() > 1e-3, "{}", moved.relative_all());
    assert!(ParamGroup::ALL.iter().all(|group| moved.relative(group.name()).unwrap() > 0.0));
    // As the PyTorch reference measured it.
    let trajectory: serde_json::Value =
        serde_json::from_slice(&std::fs::read(golden("trajectory.json")).unwrap()).unwrap();
    let run = trajectory["runs"]["a"]["parameters"].as_object().unwrap();
    let mut compared = 0;
    for (name, change) in &moved.parameters {
        let Some(expected) = run.get(name) else { continue };
        let close = |key: &str, value: f64| {
            let expected = expected[key].as_f64().unwrap();
            assert!((value - expected).abs() < 1e-7 + 1e-6 * expected, "{name} {key}: {value} {expected}");
        };
        close("mean", change.mean_after);
        close("mean_abs_diff", change.mean_abs);
        close("max_abs_diff", change.max_abs);
        compared += 1;
    }
    assert_eq!(compared, 7, "all but the two in_proj tensors, which the reference splits");
    assert_eq!(compare(&before, &before).unwrap().all.max_abs, 0.0);
}

#[test]
fn round_trips_keep_every_bit_and_every_fact() {
    let directory = tempfile::tempdir().unwrap();
    let weights = read(&golden("init.safetensors")).unwrap().weights;
    let facts = Facts {
        phase: Some(Phase::called("grpo")),
        epoch: Some(3),
        kl_beta: Some(0.15),
        lr: Some(5e-6),
        config: Some(serde_json::json!({ "model": { "heads": 1, "dropout": 0.5 } })),
        parent: Some("abc".into()),
        metrics: [("kl".to_string(), 0.25), ("val_loss".to_string(), f64::NAN)].into(),
        ..Facts::default()
    };
    for (format, read_as) in
        [(ExportFormat::V2, Format::LightningV2), (ExportFormat::Pt, Format::TorchTraining)]
    {
        let path = directory.path().join(format!("{format:?}"));
        let checkpoint = Checkpoint { weights: weights.clone(), facts: facts.clone() };
        export(&path, &checkpoint, format).unwrap();
        let back = read(&path).unwrap();
        assert_eq!(bits(&back.weights), bits(&weights));
        assert_eq!((back.facts.format, back.facts.epoch), (read_as, Some(3)));
        assert_eq!((back.facts.phase, back.facts.stored_epoch), (Some(Phase::called("grpo")), Some(2)));
        assert_eq!((back.facts.kl_beta, back.facts.lr), (Some(0.15), Some(5e-6)));
        assert_eq!((back.facts.config, back.facts.parent), (facts.config.clone(), facts.parent.clone()));
        assert!(back.facts.metrics["kl"] == 0.25 && back.facts.metrics["val_loss"].is_nan());
    }
}
