//! `sweep ckpt` and `sweep use` as people run them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Value, json};
use sweep::checkpoint::{self, Array, Checkpoint, Facts, Frozen, Phase, Weights};
use sweep::disk;
use sweep::selector::{DataParams, ModelParams, Params, RewardParams, TrainParams};
use sweep::selector::{FreezeSet, ParamGroup};
use sweep::selector::{GrpoParams, RceParams};
use sweep::spec::{Config, ExportFormat, Point};
use sweep::store::{FORMAT, PointRecord, PointStatus, ResolvedRecord};

fn sweep(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sweep")).current_dir(directory).args(arguments).output().unwrap()
}

/// stdout of a run that ends with `code`.
fn stdout(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = sweep(directory, arguments);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// stderr of a run that ends with `code`.
fn stderr(directory: &Path, arguments: &[&str], code: i32) -> String {
    let output = sweep(directory, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn json_of(directory: &Path, arguments: &[&str], code: i32) -> Value {
    serde_json::from_str(&stdout(directory, arguments, code)).unwrap()
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// An empty directory, for a program that has the selector.
fn directory() -> tempfile::TempDir {
    crate::sandbox::know_the_selector();
    tempfile::tempdir().unwrap()
}

/// A selector of d = 6, hidden 4, whose every value is drawn from `seed`.
fn model(seed: u64) -> Weights {
    let shapes: [(&str, &[usize]); 9] = [
        ("input_proj.weight", &[4, 6]),
        ("query_proj.weight", &[4, 4]),
        ("cand_proj.weight", &[4, 4]),
        ("cross_attn_layers.0.in_proj_weight", &[12, 4]),
        ("cross_attn_layers.0.in_proj_bias", &[12]),
        ("cross_attn_layers.0.out_proj.weight", &[4, 4]),
        ("cross_attn_layers.0.out_proj.bias", &[4]),
        ("attn_norms.0.weight", &[4]),
        ("attn_norms.0.bias", &[4]),
    ];
    let mut state = seed;
    let mut draw = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    let mut array = |shape: &[usize]| Array {
        shape: shape.to_vec(),
        values: (0..shape.iter().product::<usize>()).map(|_| draw()).collect(),
    };
    shapes.iter().map(|(name, shape)| ((*name).to_string(), array(shape))).collect()
}

/// `weights` after a step of `size` in a direction of its own, with `frozen` left alone.
fn moved(weights: &Weights, size: f32, seed: u64, frozen: &FreezeSet) -> Weights {
    let direction = model(seed);
    let mut weights = weights.clone();
    for (name, array) in &mut weights {
        if ParamGroup::of_parameter(name).is_none_or(|group| !frozen.contains(group)) {
            for (value, step) in array.values.iter_mut().zip(&direction[name].values) {
                *value += size * step;
            }
        }
    }
    weights
}

fn backbone() -> FreezeSet {
    FreezeSet(ParamGroup::ALL.into_iter().filter(|group| group.is_backbone()).collect())
}

#[test]
fn golden_files_show_what_they_are() {
    let directory = directory();
    let text = stdout(directory.path(), &["ckpt", "show", &golden("init.pt")], 0);
    for line in [
        "format     PyTorch training checkpoint",
        "phase      rce",
        "epoch      5 (stored as 4, counted from 0)",
        "KL_BETA    0.15",
        "metrics    rce_loss 8.25, val_loss 8.5",
        "525,824 in all; the file does not say what was frozen",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let files = ["init.pt", "init_v2format.ckpt", "init.safetensors"].map(golden);
    let shown = json_of(directory.path(), &["ckpt", "show", "--json", &files[0], &files[1], &files[2]], 0);
    let formats: Vec<&str> =
        shown.as_array().unwrap().iter().map(|one| one["format"].as_str().unwrap()).collect();
    assert_eq!(formats, ["torch_training", "lightning_v2", "safetensors"]);
    assert_eq!(shown[0]["content"], shown[1]["content"]);
    assert_eq!(shown[0]["content"], shown[2]["content"]);
    assert_ne!(shown[0]["file"], shown[1]["file"]);
    assert_eq!((&shown[0]["total"], &shown[0]["trainable"]), (&json!(525_824), &Value::Null));
    assert_eq!(shown[1]["extra"]["hyper_parameters"]["shot_num"], 2);
    assert_eq!(shown[0]["parameters"].as_array().unwrap().len(), 9);
}

#[test]
fn golden_files_differ_by_nothing() {
    let directory = directory();
    let (pt, ckpt) = (golden("init.pt"), golden("init_v2format.ckpt"));
    let text = stdout(directory.path(), &["ckpt", "diff", &pt, &ckpt], 0);
    assert!(text.ends_with("\nthe weights are identical\n"), "{text}");
    let found = json_of(directory.path(), &["ckpt", "diff", "--json", &pt, &ckpt], 0);
    let all = &found["comparison"]["all"];
    assert_eq!(
        (&all["max_abs"], &all["relative"], &all["count"]),
        (&json!(0.0), &json!(0.0), &json!(525_824))
    );
}

#[test]
fn exports_come_back_bit_by_bit() {
    let directory = directory();
    let at = directory.path();
    let original = checkpoint::read(Path::new(&golden("init.safetensors"))).unwrap();
    let bits = |weights: &Weights| -> Vec<u32> {
        weights.values().flat_map(|array| array.values.iter().map(|value| value.to_bits())).collect()
    };
    for source in ["init.pt", "init_v2format.ckpt", "init.safetensors"].map(golden) {
        for (format, file) in [("v2", "x.ckpt"), ("pt", "x.pt"), ("safetensors", "x.safetensors")] {
            let written = stdout(at, &["ckpt", "export", &source, "--to", format, "-o", file, "--force"], 0);
            assert_eq!(written.trim_end(), file);
            stdout(at, &["ckpt", "import", file, "-o", "back.safetensors", "--force"], 0);
            let back = checkpoint::read(&at.join("back.safetensors")).unwrap();
            assert_eq!(bits(&back.weights), bits(&original.weights), "{source} to {format}");
            assert_eq!(back.facts.content, original.facts.content);
            if source.ends_with("init.pt") && format != "safetensors" {
                assert_eq!((back.facts.phase, back.facts.epoch), (Some(Phase::called("rce")), Some(5)));
                assert_eq!((back.facts.kl_beta, back.facts.metrics["rce_loss"]), (Some(0.15), 8.25));
            }
        }
    }
    // Lightning's own fields survive a detour through our format.
    stdout(at, &["ckpt", "import", &golden("init_v2format.ckpt"), "-o", "v2.safetensors"], 0);
    stdout(at, &["ckpt", "export", "v2.safetensors", "--to", "v2"], 0);
    let shown = json_of(at, &["ckpt", "show", "--json", "v2.ckpt"], 0);
    assert_eq!((&shown["global_step"], &shown["stored_epoch"]), (&json!(1234), &json!(4)));
    assert_eq!(shown["extra"]["hyper_parameters"]["shot_num"], 2);
}

#[test]
fn an_export_never_replaces_a_file_unasked() {
    let directory = directory();
    let at = directory.path();
    checkpoint::write(&at.join("a.safetensors"), &model(1), &Facts::default()).unwrap();
    let before = std::fs::read(at.join("a.safetensors")).unwrap();
    let error = stderr(at, &["ckpt", "export", "a.safetensors", "--to", "safetensors", "--force"], 2);
    assert!(error.contains("would be overwritten by itself") && error.contains("hint:"), "{error}");
    stdout(at, &["ckpt", "export", "a.safetensors", "--to", "pt"], 0);
    let error = stderr(at, &["ckpt", "export", "a.safetensors", "--to", "pt"], 2);
    assert!(error.contains("`a.pt` exists"), "{error}");
    assert_eq!(std::fs::read(at.join("a.safetensors")).unwrap(), before);
}

/// Runs with a Python that has torch: `SWEEP_TEST_PYTHON`, else `python3`.
#[test]
#[expect(clippy::print_stderr, reason = "says what was tested with, or that it was not")]
fn pytorch_loads_what_is_exported() {
    let python = std::env::var("SWEEP_TEST_PYTHON").unwrap_or_else(|_| "python3".into());
    let version = Command::new(&python).args(["-c", "import torch; print(torch.__version__)"]).output();
    let Some(version) = version.ok().filter(|output| output.status.success()) else {
        eprintln!("skipped: `{python}` has no torch; set SWEEP_TEST_PYTHON to one that has");
        return;
    };
    eprintln!("with torch {}", String::from_utf8_lossy(&version.stdout).trim());
    let directory = directory();
    let at = directory.path();
    stdout(at, &["ckpt", "export", &golden("init.pt"), "--to", "v2", "-o", "v2.ckpt"], 0);
    stdout(at, &["ckpt", "export", &golden("init.pt"), "--to", "pt", "-o", "pt.pt"], 0);
    let script = r#"
import sys, torch
def load(path): return torch.load(path, weights_only=True)
def equal(a, b):
    assert list(sorted(a)) == list(sorted(b)), (sorted(a), sorted(b))
    for k in a:
        assert a[k].dtype == b[k].dtype == torch.float32 and a[k].shape == b[k].shape
        assert torch.equal(a[k].view(torch.int32), b[k].view(torch.int32)), k
        a[k] += 1  # the storage is writable
v2, want = load("v2.ckpt"), load(sys.argv[1])
assert v2["epoch"] == 4 and v2["hyper_parameters"]["d_model"] == 512 and v2["hyper_parameters"]["num_layers"] == 1
equal(v2["state_dict"], want["state_dict"])
pt, want = load("pt.pt"), load(sys.argv[2])
assert {k: pt[k] for k in ("epoch", "phase", "kl_beta", "metrics")} == {k: want[k] for k in ("epoch", "phase", "kl_beta", "metrics")}
equal(pt["model_state_dict"], want["model_state_dict"])
torch.load("v2.ckpt", weights_only=True, mmap=True)
print("ok")
"#;
    let checked = Command::new(&python)
        .current_dir(at)
        .args(["-c", script, &golden("init_v2format.ckpt"), &golden("init.pt")])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&checked.stdout),
        "ok\n",
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
}

/// The lab's first finding: a table said 0.15, the checkpoint had been trained with 0.1.
#[test]
fn a_claim_that_the_file_contradicts_is_caught() {
    let directory = directory();
    let at = directory.path();
    let facts = |kl_beta| Facts {
        phase: Some(Phase::called("grpo")),
        epoch: Some(1),
        kl_beta: Some(kl_beta),
        lr: Some(5e-6),
        frozen: Some(Frozen(backbone().0.iter().map(|group| group.name().to_owned()).collect())),
        ..Facts::default()
    };
    checkpoint::write(&at.join("runs/one/grpo_epoch1.safetensors"), &model(1), &facts(0.15)).unwrap();
    checkpoint::write(&at.join("runs/two/grpo_epoch1.safetensors"), &model(2), &facts(0.1)).unwrap();
    let table = "# Results\n\n| Checkpoint | KL_BETA | lr | freeze | Shot 1 |\n|---|---|---|---|---|\n| `runs/one/grpo_epoch1.safetensors` | 0.15 | 5e-6 | backbone | 58.8 |\n| `runs/two/grpo_epoch1.safetensors` | **0.15** | 5e-6 | backbone | 56.1 |\n";
    disk::write(&at.join("table.md"), table.as_bytes()).unwrap();
    let found = json_of(at, &["ckpt", "verify", "table.md", "--json"], 1);
    assert_eq!(
        found["disagreements"],
        json!([{ "path": "runs/two/grpo_epoch1.safetensors", "key": "kl_beta", "claimed": "0.15", "found": "0.1" }])
    );
    let output = sweep(at, &["ckpt", "verify", "table.md"]);
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        text,
        "path                              key      claimed  found\nruns/two/grpo_epoch1.safetensors  kl_beta     0.15    0.1\n"
    );
    assert!(notes.contains("not checked: `shot_1`") && notes.contains("disagreements: 1"), "{notes}");

    // The same in TOML, now true; and a file that was renamed.
    let claims = "[[claim]]\npath = \"runs/two/grpo_epoch1.safetensors\"\nkl_beta = 0.1\nepoch = 1\n";
    disk::write(&at.join("claims.toml"), claims.as_bytes()).unwrap();
    assert_eq!(stdout(at, &["ckpt", "verify", "claims.toml"], 0), "");
    std::fs::copy(at.join("runs/two/grpo_epoch1.safetensors"), at.join("rce_epoch3.safetensors")).unwrap();
    disk::write(&at.join("renamed.csv"), b"path,kl_beta\nrce_epoch3.safetensors,0.1\n").unwrap();
    let found = json_of(at, &["ckpt", "verify", "renamed.csv", "--json"], 1);
    let keys: Vec<&Value> =
        found["disagreements"].as_array().unwrap().iter().map(|row| &row["key"]).collect();
    assert_eq!(keys, ["phase", "epoch"]);
}

/// The second: frozen groups have exactly zero difference, and it is said which groups moved.
#[test]
fn frozen_groups_do_not_move_at_all() {
    let directory = directory();
    let at = directory.path();
    let start = model(1);
    let facts = Facts { phase: Some(Phase::called("rce")), epoch: Some(5), ..Facts::default() };
    checkpoint::write(&at.join("stages/aa/rce_epoch5.safetensors"), &start, &facts).unwrap();
    let facts = Facts {
        phase: Some(Phase::called("grpo")),
        epoch: Some(1),
        frozen: Some(Frozen(backbone().0.iter().map(|group| group.name().to_owned()).collect())),
        parent: Some(checkpoint::content_hash(&start)),
        ..Facts::default()
    };
    let tuned = moved(&start, 1e-3, 7, &backbone());
    checkpoint::write(&at.join("stages/bb/grpo_epoch1.safetensors"), &tuned, &facts).unwrap();
    // The parent is found in another stage by its hash.
    let found = json_of(at, &["ckpt", "diff", "--parent", "stages/bb/grpo_epoch1.safetensors", "--json"], 0);
    assert!(found["before"].as_str().unwrap().ends_with("stages/aa/rce_epoch5.safetensors"), "{found}");
    let groups = &found["comparison"]["groups"];
    for group in ["input_proj", "query_proj", "cand_proj"] {
        assert_eq!((&groups[group]["max_abs"], &groups[group]["relative"]), (&json!(0.0), &json!(0.0)));
    }
    assert!(groups["cross_attn"]["relative"].as_f64().unwrap() > 1e-4);
    let text = stdout(at, &["ckpt", "diff", "--parent", "stages/bb/grpo_epoch1.safetensors"], 0);
    assert!(text.contains("the backbone did not move, the head moved by"), "{text}");
    let text = stdout(at, &["ckpt", "show", "stages/bb/grpo_epoch1.safetensors"], 0);
    assert!(
        text.contains("88 / 144 (61.1%) trained in this phase") && text.contains("frozen     backbone"),
        "{text}"
    );
    let error = stderr(at, &["ckpt", "diff", "--parent", "stages/aa/rce_epoch5.safetensors"], 2);
    assert!(error.contains("does not say what it was trained from"), "{error}");
}

/// The third: six runs "with different settings" that are nearly the same.
#[test]
fn near_identical_runs_form_one_cluster() {
    let directory = directory();
    let at = directory.path();
    let start = model(1);
    for run in 0..6 {
        let weights = moved(&start, 1e-3, 100 + run, &FreezeSet::default());
        let path = at.join(format!("runs/{run}/grpo_epoch1.safetensors"));
        checkpoint::write(&path, &weights, &Facts::default()).unwrap();
    }
    checkpoint::write(&at.join("runs/other/grpo_epoch1.safetensors"), &model(2), &Facts::default()).unwrap();
    let found = json_of(at, &["ckpt", "diff", "--all", "runs", "--json"], 0);
    assert_eq!(found["distances"]["clusters"], json!([[0, 1, 2, 3, 4, 5]]));
    assert_eq!(found["distances"]["matrix"].as_array().unwrap().len(), 7);
    assert!(found["distances"]["ratio"].as_f64().unwrap() > 100.0);
    let text = stdout(at, &["ckpt", "diff", "--all", "runs"], 0);
    assert!(text.contains("\nnearly identical: #1 #2 #3 #4 #5 #6 (at most "), "{text}");
    let text = stdout(at, &["ckpt", "diff", "--all", "runs", "--near", "1e-9"], 0);
    assert!(text.contains("no two of them are nearly identical (within 1.000e-9)"), "{text}");
    let other = Weights::from([("query_proj.weight".into(), Array { shape: vec![1], values: vec![1.0] })]);
    checkpoint::write(&at.join("b.safetensors"), &other, &Facts::default()).unwrap();
    let error = stderr(at, &["ckpt", "diff", "runs/0/grpo_epoch1.safetensors", "b.safetensors"], 2);
    assert!(
        error.contains("`b.safetensors`") && error.contains("only the first has the parameter"),
        "{error}"
    );
}

#[test]
fn ls_filters_by_value_and_sorts() {
    let directory = directory();
    let at = directory.path();
    for (index, (kl_beta, loss)) in [(0.1, 8.0), (0.15, 7.0), (0.15, 7.5)].into_iter().enumerate() {
        let facts = Facts {
            phase: Some(Phase::called("grpo")),
            epoch: Some(1),
            kl_beta: Some(kl_beta),
            lr: Some(5e-6),
            config: Some(json!({ "train": { "seed": index } })),
            metrics: BTreeMap::from([("val_loss".to_string(), loss)]),
            ..Facts::default()
        };
        checkpoint::write(&at.join(format!("s/{index}/grpo_epoch1.safetensors")), &model(1), &facts).unwrap();
    }
    let paths = |arguments: &[&str], code| -> Vec<String> {
        let listed = json_of(at, &[&["ckpt", "ls", "s", "--json"], arguments].concat(), code);
        let path = |one: &Value| one["path"].as_str().unwrap()[2..3].to_string();
        listed.as_array().unwrap().iter().map(path).collect()
    };
    assert_eq!(paths(&[], 0), ["0", "1", "2"]);
    assert_eq!(paths(&["--where", "kl_beta=0.150"], 0), ["1", "2"]);
    assert_eq!(paths(&["--where", "KL_BETA=0.15", "--where", "seed=2"], 0), ["2"]);
    assert_eq!(paths(&["--where", "lr=0.000005", "--sort", "val_loss"], 0), ["1", "2", "0"]);
    assert_eq!(paths(&["--sort", "val_loss", "--reverse"], 0), ["0", "2", "1"]);
    assert!(paths(&["--phase", "rce"], 0).is_empty());
    let error = stderr(at, &["ckpt", "ls", "s", "--phase", "rcee"], 2);
    assert!(error.contains("no checkpoint is of phase `rcee`\nhint: there are `grpo`"), "{error}");
    let csv = stdout(at, &["ckpt", "ls", "s", "--csv", "--where", "seed=0"], 0);
    assert_eq!(
        csv,
        "path,phase,epoch,kl_beta,lr,freeze,data,parent,val_loss\ns/0/grpo_epoch1.safetensors,grpo,1,0.1,5e-6,,,,8\n"
    );
    let error = stderr(at, &["ckpt", "ls", "s", "--where", "kl_beat=0.15"], 2);
    assert!(error.contains("did you mean `kl_beta`?"), "{error}");

    // Other tensors are counted, damaged files named; the rest is still listed.
    std::fs::copy(golden("embeddings.pt"), at.join("s/embeddings.pt")).unwrap();
    let bytes = std::fs::read(at.join("s/0/grpo_epoch1.safetensors")).unwrap();
    disk::write(&at.join("s/cut.safetensors"), &bytes[..bytes.len() - 7]).unwrap();
    let output = sweep(at, &["ckpt", "ls", "s"]);
    assert_eq!(output.status.code(), Some(1));
    let (text, notes) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(notes.contains("`s/cut.safetensors` is damaged"), "{notes}");
    assert!(notes.contains("checkpoints: 3, files with other tensors: 1"), "{notes}");
}

#[test]
fn ls_reads_only_headers_of_two_thousand_checkpoints() {
    let directory = directory();
    let facts = Facts { phase: Some(Phase::called("grpo")), kl_beta: Some(0.15), ..Facts::default() };
    let first = directory.path().join("0/grpo_epoch1.safetensors");
    checkpoint::write(&first, &model(1), &facts).unwrap();
    for index in 1..2000 {
        let stage = directory.path().join(index.to_string());
        std::fs::create_dir(&stage).unwrap();
        std::fs::copy(&first, stage.join("grpo_epoch1.safetensors")).unwrap();
    }
    let start = std::time::Instant::now();
    let text = stdout(directory.path(), &["ckpt", "ls", "--where", "kl_beta=0.15"], 0);
    let took = start.elapsed();
    assert_eq!(text.lines().count(), 2001);
    assert!(took.as_secs_f64() < 2.0, "{took:?}");
}

#[test]
fn latest_is_the_highest_grpo_epoch() {
    let directory = directory();
    let at = directory.path();
    let error = stderr(at, &["ckpt", "latest", "."], 1);
    assert!(
        error.contains("no rce_epochN or grpo_epochN checkpoint") && error.contains("sweep ckpt ls"),
        "{error}"
    );
    for name in ["rce_epoch5", "grpo_epoch2", "grpo_epoch10"] {
        checkpoint::write(&at.join(format!("{name}.safetensors")), &model(1), &Facts::default()).unwrap();
    }
    assert_eq!(stdout(at, &["ckpt", "latest", "."], 0), "./grpo_epoch10.safetensors\n");
}

fn config(at: &Path, kl_beta: f64) -> Config {
    let params = Params {
        data: DataParams {
            trajectories: at.join("rl.json"),
            embeddings: at.join("e.safetensors"),
            train_fraction: 0.8,
            keep_fallback: false,
            require_positive: false,
        },
        reward: RewardParams::default(),
        model: ModelParams::default(),
        train: TrainParams { kl_beta, grpo_epochs: 1, freeze: backbone(), ..TrainParams::default() },
    };
    (&params).into()
}

fn axes(kl_beta: f64) -> Vec<(String, Value)> {
    vec![("train.kl_beta".to_string(), json!(kl_beta))]
}

fn record(at: &Path, name: &str, stage: &str, kl_beta: f64) -> PointRecord {
    PointRecord {
        format: FORMAT,
        name: name.into(),
        axes: axes(kl_beta),
        config: config(at, kl_beta),
        status: PointStatus::Done,
        error: None,
        evaluation: None,
        stage: stage.into(),
        trainable: 88,
        total: 144,
        movement: BTreeMap::new(),
        checkpoint: Some(format!("stages/{stage}/grpo_epoch1.safetensors").into()),
        judge: None,
        unanswered: 0,
        unknown: serde_json::Map::new(),
    }
}

/// What a checkpoint of a point with the values `params` says of them.
fn stated(params: &Params) -> Facts {
    let config = json!({
        "model": ModelParams::default(),
        "reward": RewardParams::default(),
        "rce": RceParams::of(params),
        "grpo": GrpoParams::of(params),
    });
    Facts { config: Some(config), kl_beta: Some(params.train.kl_beta), ..Facts::default() }
}

/// A results directory with one shared warm-up and two points, as `run` leaves it.
fn results(at: &Path) -> PathBuf {
    let directory = at.join("results/kl");
    let start = model(1);
    let warm = moved(&start, 1e-2, 5, &FreezeSet::default());
    let put = |stage: &str, name: &str, weights: &Weights, facts: &Facts| {
        let path = directory.join("stages").join(stage).join(format!("{name}.safetensors"));
        checkpoint::write(&path, weights, facts).unwrap();
    };
    let facts = |kl_beta| stated(&Params::of(&config(at, kl_beta)).unwrap());
    put("init", "init", &start, &Facts { phase: Some(Phase::INIT), epoch: Some(0), ..facts(0.1) });
    let rce = Facts {
        phase: Some(Phase::called("rce")),
        epoch: Some(5),
        lr: Some(1e-4),
        parent: Some(checkpoint::content_hash(&start)),
        ..facts(0.1)
    };
    put("aaaa", "rce_epoch5", &warm, &rce);
    let mut points = Vec::new();
    for (name, stage, kl_beta) in [("kl0.1", "bbbb", 0.1), ("kl0.15", "cccc", 0.15)] {
        let grpo = Facts {
            phase: Some(Phase::called("grpo")),
            epoch: Some(1),
            lr: Some(5e-6),
            frozen: Some(Frozen(backbone().0.iter().map(|group| group.name().to_owned()).collect())),
            parent: Some(checkpoint::content_hash(&warm)),
            ..facts(kl_beta)
        };
        put(stage, "grpo_epoch1", &moved(&warm, 1e-3, 9, &backbone()), &grpo);
        points.push(Point { name: name.into(), axes: axes(kl_beta), config: config(at, kl_beta) });
        let record = record(at, name, stage, kl_beta);
        let path = directory.join("points").join(name).join("point.json");
        disk::write(&path, &serde_json::to_vec(&record).unwrap()).unwrap();
    }
    let resolved = ResolvedRecord {
        format: FORMAT,
        name: "kl".into(),
        experiment: "selector".to_owned(),
        columns: Vec::new(),
        version: "0.1.0".into(),
        axes: vec!["train.kl_beta".into()],
        points,
        baseline: vec![1],
        eval: None,
        export: Vec::new(),
        keep: sweep::spec::KeepParams::default(),
        inputs: BTreeMap::new(),
        health: None,
        leaks: sweep::store::Leaks::default(),
        provenance: BTreeMap::new(),
    };
    disk::write(&directory.join("resolved.json"), &serde_json::to_vec(&resolved).unwrap()).unwrap();
    directory
}

#[test]
fn a_results_directory_is_checked_against_itself() {
    let directory = directory();
    let at = directory.path();
    let results = results(at);
    let verify = |code| json_of(at, &["ckpt", "verify", "results/kl", "--json"], code);
    let fine = verify(0);
    assert!(fine["checked"].as_u64().unwrap() > 40, "{fine}");

    // Somebody copies another run's checkpoint over this one.
    let grpo = |stage: &str| results.join(format!("stages/{stage}/grpo_epoch1.safetensors"));
    let original = std::fs::read(grpo("cccc")).unwrap();
    std::fs::copy(grpo("bbbb"), grpo("cccc")).unwrap();
    let rows = verify(1)["disagreements"].clone();
    let row = |key: &str| json!({ "path": "points/kl0.15/point.json", "key": key, "claimed": "0.15", "found": "0.1" });
    assert_eq!(rows, json!([row("grpo.kl_beta"), row("kl_beta")]));

    // A flipped bit; then a parent that is gone.
    let mut flipped = original.clone();
    *flipped.last_mut().unwrap() ^= 1;
    disk::write(&grpo("cccc"), &flipped).unwrap();
    let rows = verify(1)["disagreements"].clone();
    assert!(rows[0]["found"].as_str().unwrap().contains("is damaged"), "{rows}");
    disk::write(&grpo("cccc"), &original).unwrap();
    verify(0);
    std::fs::remove_file(results.join("stages/aaaa/rce_epoch5.safetensors")).unwrap();
    let rows = verify(1)["disagreements"].clone();
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["key"]), (2, &json!("parent")), "{rows}");

    let error = stderr(at, &["ckpt", "verify", "results"], 2);
    assert!(error.contains("is not a results directory") && error.contains("hint:"), "{error}");
}

#[test]
fn use_switches_and_goes_back() {
    let directory = directory();
    let at = directory.path();
    let results = results(at);
    let current = || std::fs::read_link(results.join("current")).unwrap().display().to_string();
    let error = stderr(at, &["use", "results/kl"], 1);
    assert!(error.contains("nothing is in use"), "{error}");
    let error = stderr(at, &["use", "results/kl", "--back"], 2);
    assert!(error.contains("nothing was in use before"), "{error}");

    let text = stdout(at, &["use", "results/kl", "kl0.1"], 0);
    assert_eq!(current(), "stages/bbbb/grpo_epoch1.safetensors");
    let path = results.canonicalize().unwrap().join("stages/bbbb/grpo_epoch1.safetensors");
    assert_eq!(text, format!("{0}\nexport LEVER_LM_CHECKPOINT_PATH={0}\n", path.display()));
    assert!(checkpoint::read(&results.join("current")).is_ok(), "the link leads to the checkpoint");

    stdout(at, &["use", "results/kl", "--baseline"], 0);
    assert_eq!(current(), "stages/cccc/grpo_epoch1.safetensors");
    stdout(at, &["use", "results/kl", "kl0.15"], 0);
    stdout(at, &["use", "results/kl", "--back"], 0);
    assert_eq!(current(), "stages/bbbb/grpo_epoch1.safetensors", "using the same twice is one step");
    stderr(at, &["use", "results/kl", "--back"], 2);

    // The v2 export beside a checkpoint is what the lab's script is pointed at.
    let checkpoint = Checkpoint { weights: model(1), facts: Facts::default() };
    checkpoint::export(&path.with_extension("ckpt"), &checkpoint, ExportFormat::V2).unwrap();
    let text = stdout(at, &["use", "results/kl"], 0);
    assert!(text.ends_with("grpo_epoch1.ckpt\n") && text.starts_with(&path.display().to_string()), "{text}");

    let error = stderr(at, &["use", "results/kl", "kl0.12"], 2);
    assert!(error.contains("no point is called `kl0.12`") && error.contains("kl0.1, kl0.15"), "{error}");
    std::fs::remove_file(results.join("current")).unwrap();
    disk::write(&results.join("current"), b"mine").unwrap();
    let error = stderr(at, &["use", "results/kl", "kl0.15"], 2);
    assert!(error.contains("is not a symbolic link"), "{error}");
    assert_eq!(std::fs::read(results.join("current")).unwrap(), b"mine");
}
