//! Files as people's tools write them, and files that lie: with the real binary on `tests/fixtures/files`.

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use sweep::checkpoint::{self, Facts, Weights};
use sweep::selector::ModelParams;
use sweep::selector::learn::{Layout, Shape, fresh_weights};

use crate::ckpt_files::{Random, mutate, peak_of, rezip, unzip};
use crate::sandbox::{SMALL, Sandbox, repository, texts};

fn fixture(name: &str) -> String {
    repository("tests/fixtures/files").join(name).display().to_string()
}

fn bytes_of(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// stderr of a run that ends with `code`.
fn message(sandbox: &Sandbox, arguments: &[&str], code: i32) -> String {
    let output = sandbox.sweep(arguments);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}\n{stdout}\n{stderr}");
    stderr
}

#[test]
fn wrapped_and_old_checkpoints_hold_the_weights_of_the_plain_one() {
    let sandbox = Sandbox::new();
    for (name, taken_off) in [
        ("compiled-prefix.pt", "_orig_mod."),
        ("ddp-prefix.pt", "module."),
        ("nested-prefix.pt", "module._orig_mod.lever_lm.pointer_selector."),
        ("numpy-metrics.pt", ""),
        ("any-class.pt", ""),
        ("attributes.pt", ""),
        ("legacy.pt", ""),
        ("legacy-views.pt", ""),
        ("protocol4.pt", ""),
        ("double.pt", ""),
        ("kind-negative.pt", ""),
    ] {
        let text = sandbox.ok(&["ckpt", "diff", &fixture("plain.pt"), &fixture(name)]);
        assert!(text.ends_with("\nthe weights are identical\n"), "{name}: {text}");
        let shown = sandbox.json(&["ckpt", "show", &fixture(name)]);
        assert_eq!(shown["taken_off"].as_str().unwrap_or_default(), taken_off, "{name}");
        let text = sandbox.ok(&["ckpt", "show", &fixture(name)]);
        assert_eq!(text.contains("taken off"), !taken_off.is_empty(), "{text}");
    }
}

#[test]
fn wrapped_names_in_safetensors_are_ours_too() {
    let sandbox = Sandbox::new();
    let weights = checkpoint::read(Path::new(&fixture("plain.pt"))).unwrap().weights;
    let wrapped: Weights =
        weights.iter().map(|(name, array)| (format!("model._orig_mod.{name}"), array.clone())).collect();
    checkpoint::write_tensors(&sandbox.path().join("wrapped.safetensors"), &wrapped, &[].into()).unwrap();
    let text = sandbox.ok(&["ckpt", "diff", &fixture("plain.pt"), "wrapped.safetensors"]);
    assert!(text.ends_with("\nthe weights are identical\n"), "{text}");
    let text = sandbox.ok(&["ckpt", "show", "wrapped.safetensors"]);
    assert!(text.contains("taken off  model._orig_mod. before the parameters' names"), "{text}");
}

#[test]
fn what_lies_beside_the_tensors_is_named() {
    let text = Sandbox::new().ok(&["ckpt", "show", &fixture("any-class.pt")]);
    for named in [
        "color    <__main__.Color>",
        "odd      <__main__.Odd>",
        "scheduler <functools.partial>",
        "objects  <numpy array of objects>",
        "quantized <a quantized tensor (torch._utils._rebuild_qtensor)>",
    ] {
        assert!(text.contains(named), "{named}\n{text}");
    }
    let text = Sandbox::new().ok(&["ckpt", "show", &fixture("numpy-metrics.pt")]);
    assert!(text.contains("per_shot = <numpy array [2]>"), "{text}");
}

#[test]
fn tensors_of_kinds_that_are_not_read_are_refused_by_name() {
    let sandbox = Sandbox::new();
    for (kind, expected) in [
        ("quantized", "its `query_proj.weight` is a quantized tensor"),
        ("sparse", "its `query_proj.weight` is a sparse tensor"),
        ("fp8", "its `query_proj.weight` is a tensor of type float8_e4m3fn"),
        ("nested", "its `query_proj.weight` is a nested tensor"),
        ("complex", "its `query_proj.weight` is a tensor with the mark `conj`"),
        ("meta", "its `query_proj.weight` is a tensor without values"),
        ("numpy", "its `query_proj.weight` is <numpy array [8, 8]>"),
    ] {
        let text = message(&sandbox, &["ckpt", "show", &fixture(&format!("kind-{kind}.pt"))], 2);
        assert!(text.contains(expected) && text.contains("hint: "), "{text}");
    }
}

const MATRICES: [&str; 18] = [
    "embeddings.npy",
    "matrix-f8.npy",
    "matrix-big-endian.npy",
    "matrix-big-endian-f8.npy",
    "matrix-fortran.npy",
    "matrix.npz",
    "matrix-compressed.npz",
    "matrix-tensor.pt",
    "matrix-list.pt",
    "matrix-dict.pt",
    "matrix-by-id.pt",
    "matrix-by-text-id.pt",
    "matrix-numpy.pt",
    "matrix-numpy-fortran.pt",
    "matrix-numpy-big-endian.pt",
    "matrix-rows.pt",
    "matrix-rows-of-one.pt",
    "matrix.pkl",
];

#[test]
fn a_matrix_is_the_same_in_every_form() {
    let read = |name: &str| checkpoint::read_matrix(Path::new(&fixture(name)));
    let expected = read("embeddings.safetensors").unwrap();
    assert_eq!(expected.shape, [20, 12]);
    for name in MATRICES {
        assert_eq!(read(name).unwrap_or_else(|error| panic!("{name}: {error}")), expected, "{name}");
    }
    let halves = read("halves-f4.npy").unwrap();
    assert_eq!(read("halves.npy").unwrap(), halves);
    assert_eq!(read("halves-bfloat16.pt").unwrap(), halves);
}

#[test]
fn the_program_takes_a_matrix_in_every_form() {
    let sandbox = Sandbox::new();
    let trajectories = r#"{"0": {"candidate_pool_ids": [3, 19], "pointer_candidates": [{"pointer": [0], "vqa_correct": 1, "vqa_acc_score": 1.0}]}}"#;
    sandbox.write("rl.json", trajectories.as_bytes());
    let check = |name: &str| {
        let file = fixture(name);
        ["data", "check", "rl.json", "--train-fraction", "1", "--embeddings", &file].map(str::to_string)
    };
    for name in MATRICES {
        let text = sandbox.ok(&check(name).each_ref().map(String::as_str));
        assert!(text.contains("20") && text.contains("12"), "{name}: {text}");
    }
    for (name, expected) in [
        ("no-integers.npy", "is of type int64"),
        ("no-longdouble.npy", "is of type longdouble"),
        ("no-records.npy", "its numpy header is `{'descr': [('a', '<f4')]"),
        ("no-vector.npy", "its array has the shape [3]"),
        ("no-two.npz", "it holds 2 arrays (a, b)"),
        ("no-gap.pt", "it has rows for 2 ids, but none for id 1"),
        ("no-order.pt", "its `ids` gives row 0 to id 5"),
        ("no-ragged.pt", "its row 1 has 5 numbers"),
    ] {
        let text = message(&sandbox, &check(name).each_ref().map(String::as_str), 1);
        assert!(text.contains(expected) && text.contains("hint: "), "{name}: {text}");
    }
}

#[test]
fn files_that_are_not_what_their_name_says_are_named_and_passed_over() {
    let sandbox = Sandbox::new();
    let plain = bytes_of("plain.pt");
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 5547\n";
    sandbox.write("grpo_epoch1.pt", &plain);
    sandbox.write("grpo_epoch2.pt", b"");
    sandbox.write("grpo_epoch3.pt", &plain[..3000]);
    sandbox.write("grpo_epoch4.pt", pointer);
    sandbox.write("grpo_epoch5.pt", &[0; 3000]);
    sandbox.write("grpo_epoch6.pt", b"<!DOCTYPE html><title>404</title>");
    let output = sandbox.sweep(&["ckpt", "latest", "."]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(0), "./grpo_epoch1.pt\n"), "{stderr}");
    for (epoch, expected) in [
        (2, "it is empty"),
        (3, "it is cut short"),
        (4, "it is a pointer of git-LFS"),
        (5, "it begins with zeros"),
        (6, "it is a web page"),
    ] {
        let name = format!("grpo_epoch{epoch}.pt");
        assert!(stderr.contains(expected) && stderr.contains(&name), "{stderr}");
        let text = message(&sandbox, &["ckpt", "show", &name], 2);
        assert!(text.contains(expected), "{text}");
    }
    sandbox.write("none/grpo_epoch3.pt", &plain[..3000]);
    let text = message(&sandbox, &["ckpt", "latest", "none"], 1);
    assert!(
        text.contains("passed over") && text.contains("no rce_epochN or grpo_epochN checkpoint"),
        "{text}"
    );
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn packed_and_marked_data_give_the_same_results() {
    let sandbox = Sandbox::new();
    let data = |name: &str| std::fs::read(repository("sweeps/data/factqa").join(name)).unwrap();
    let (trajectories, logged) = (data("rl_data.json"), data("eval_logged.jsonl"));
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf".as_slice(), bytes].concat();
    sandbox.write("packed.json.gz", &gzip(&trajectories));
    sandbox.write("packed.jsonl.gz", &gzip(&logged));
    sandbox.write("marked.json", &marked(&trajectories));
    sandbox.write("marked.jsonl", &marked(&logged));
    let plain = sandbox.factqa("plain", SMALL);
    let text = String::from_utf8(sandbox.read(&plain)).unwrap();
    let directory = repository("sweeps/data/factqa").display().to_string();
    sandbox.ok(&["run", &plain, "--out", "results"]);
    for (name, json, jsonl) in
        [("packed", "packed.json.gz", "packed.jsonl.gz"), ("marked", "marked.json", "marked.jsonl")]
    {
        let text = text
            .replace("name = \"plain\"", &format!("name = \"{name}\""))
            .replace(&format!("{directory}/rl_data.json"), json)
            .replace(&format!("{directory}/eval_logged.jsonl"), jsonl);
        sandbox.write(&format!("{name}.toml"), text.as_bytes());
        sandbox.ok(&["run", &format!("{name}.toml"), "--out", "results"]);
        let matrix = |name: &str| sandbox.read(&format!("results/{name}/matrix.csv"));
        assert_eq!(matrix(name), matrix("plain"), "{name}");
    }
    for (bytes, expected) in [
        (&b""[..], "is empty"),
        (&b"version https://git-lfs.github.com/spec/v1\n"[..], "is a pointer of git-LFS"),
        (&b"\xff\xfe{\x00"[..], "is UTF-16"),
        (&gzip(&trajectories)[..1000], "is gzip'ed and damaged"),
    ] {
        sandbox.write("broken.json", bytes);
        let text = message(&sandbox, &["data", "check", "broken.json"], 2);
        assert!(text.contains(expected) && text.contains("broken.json"), "{text}");
    }
}

/// A fresh model for FactQA as the small sweeps ask for it.
fn fresh() -> Weights {
    let embeddings =
        checkpoint::read_matrix(&repository("sweeps/data/factqa/embeddings.safetensors")).unwrap();
    let model = ModelParams { hidden: 32, ..ModelParams::default() };
    let layout = Layout::new(Shape::new(embeddings.shape[1], &model));
    layout.name_arrays(&fresh_weights(&layout, 0))
}

#[test]
fn a_checkpoint_with_nan_is_refused_before_anything_is_trained() {
    let sandbox = Sandbox::new();
    let good = fresh();
    let mut bad = good.clone();
    bad.get_mut("cand_proj.weight").unwrap().values[7] = f32::NAN;
    for (name, weights) in [("base", &good), ("nan", &bad)] {
        checkpoint::write(&sandbox.path().join(format!("{name}.safetensors")), weights, &Facts::default())
            .unwrap();
    }
    let rest = "[model]\nhidden = 32\n[train]\nrce_epochs = 0\ngrpo_epochs = 0\n\
                [grid]\ninit = [\"base.safetensors\", \"nan.safetensors\"]\n";
    let file = sandbox.factqa("nanaxis", rest);
    for command in ["plan", "run"] {
        let text = message(&sandbox, &[command, &file, "--out", "results"], 2);
        assert!(
            text.contains("nan.safetensors") && text.contains("`cand_proj.weight` holds NaN (value 7"),
            "{text}"
        );
    }
    assert!(!sandbox.path().join("results").exists(), "nothing was written");
}

/// One training query, and one for validation that has no right answer and is dropped: the only step of an epoch is
/// the last one, and nothing is validated.
fn one_step(sandbox: &Sandbox, rates: &str) -> String {
    let rest =
        "[model]\nhidden = 32\ndropout = 0.0\nattn_dropout = 0.0\n[train]\nrce_epochs = 1\ngrpo_epochs = 0\n";
    let file = sandbox.factqa("blown", &format!("{rest}[grid]\nrce_lr = {rates}\n"));
    let text = String::from_utf8(sandbox.read(&file)).unwrap();
    let data = repository("sweeps/data/factqa/rl_data.json").display().to_string();
    let all: serde_json::Map<String, serde_json::Value> =
        serde_json::from_slice(&std::fs::read(&data).unwrap()).unwrap();
    let right = |group: &serde_json::Value| {
        let trajectories = group["pointer_candidates"].as_array().into_iter().flatten();
        trajectories.into_iter().any(|one| one["vqa_correct"].as_f64() == Some(1.0))
    };
    let id = all
        .iter()
        .filter(|(_, group)| right(group))
        .filter_map(|(key, _)| key.parse::<u64>().ok())
        .min()
        .unwrap();
    let mut wrong = all[&id.to_string()].clone();
    for one in wrong["pointer_candidates"].as_array_mut().unwrap() {
        one["vqa_correct"] = 0.into();
    }
    let two = serde_json::json!({ id.to_string(): all[&id.to_string()], (id + 1).to_string(): wrong });
    sandbox.write("two.json", two.to_string().as_bytes());
    let text = text.replace(&data, "two.json").replace("[eval]", "train_fraction = 0.5\n[eval]");
    sandbox.write(&file, text.as_bytes());
    file
}

#[test]
fn a_blow_up_in_the_very_last_step_fails_its_point_alone() {
    let sandbox = Sandbox::new();
    // Beyond f32; and within it, where the weights are finite and what they give is not.
    let file = one_step(&sandbox, "[1e-4, 1e39, 1e30]");
    for attempt in 0..2 {
        let text = message(&sandbox, &["run", &file, "--out", "results"], 1);
        assert!(text.contains("not finite") || text.contains("not all finite"), "{attempt}: {text}");
        let table = sandbox.ok(&["table", "results/blown", "--format", "csv"]);
        assert_eq!(table.lines().filter(|line| line.contains("done")).count(), 1, "{table}");
    }
    sandbox.ok(&["report", "results/blown"]);
    let points = sandbox.files("results/blown/points");
    let mut failed = 0;
    for (name, bytes) in points.iter().filter(|(name, _)| name.ends_with("point.json")) {
        let record: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        assert!(!record["movement"].to_string().contains("null"), "{name}");
        failed += usize::from(record["status"] == "infeasible");
        let cause = record["error"].as_str().unwrap_or_default();
        assert!(record["status"] == "done" || cause.contains("finite"), "{name}: {cause}");
    }
    assert_eq!(failed, 2);
}

/// Reads a mutated file: no panic, no more memory than a file of its size may ask for. Whether it was read.
fn survives(bytes: &[u8], what: &str, round: usize, read: impl FnOnce(&[u8]) -> bool) -> usize {
    let mut done = false;
    let peak = peak_of(|| {
        let outcome = catch_unwind(AssertUnwindSafe(|| read(bytes)));
        done = outcome.unwrap_or_else(|_| panic!("{what}, round {round}: the reader panicked"));
    });
    let limit = 256 * bytes.len() + (256 << 10);
    assert!(peak < limit, "{what}, round {round}: {peak} bytes for {}", bytes.len());
    usize::from(done)
}

#[test]
fn mutations_of_every_other_form_neither_panic_nor_allocate_much() {
    let weights = |bytes: &[u8]| checkpoint::read_bytes(bytes, Path::new("mutated")).is_ok();
    let matrix = |bytes: &[u8]| checkpoint::read_matrix_bytes(bytes, Path::new("mutated")).is_ok();
    let mut random = Random(20_261_128);
    let (mut total, mut read) = (0, 0);
    for (name, rounds) in [("legacy.pt", 15_000), ("legacy-views.pt", 10_000)] {
        let file = bytes_of(name);
        for round in 0..rounds {
            read += survives(&mutate(&file, &mut random), name, round, weights);
            total += 1;
        }
    }
    for name in [
        "embeddings.npy",
        "matrix-fortran.npy",
        "matrix.npz",
        "matrix-compressed.npz",
        "matrix-rows-of-one.pt",
        "matrix.pkl",
    ] {
        let file = bytes_of(name);
        for round in 0..10_000 {
            read += survives(&mutate(&file, &mut random), name, round, matrix);
            total += 1;
        }
    }
    // A header of numpy is short: it is mutated alone, before whole numbers.
    let npy = bytes_of("embeddings.npy");
    for round in 0..10_000 {
        let file = [mutate(&npy[..128], &mut random), npy[128..].to_vec()].concat();
        read += survives(&file, "header of npy", round, matrix);
        total += 1;
    }
    // A checksum guards the pickle in a zip.
    for name in ["matrix-list.pt", "matrix-by-id.pt", "matrix-numpy.pt", "any-class.pt", "kind-negative.pt"] {
        let (entries, pickle) = unzip(&bytes_of(name));
        for round in 0..5_000 {
            let mut entries = entries.clone();
            entries[pickle].1 = mutate(&entries[pickle].1, &mut random);
            let file = rezip(&entries);
            let is_matrix = name.starts_with("matrix");
            read +=
                survives(&file, name, round, |bytes| if is_matrix { matrix(bytes) } else { weights(bytes) });
            total += 1;
        }
    }
    assert!(total >= 100_000, "{total}");
    assert!(read > 100 && read < total * 2 / 3, "{read} of {total} were still readable");
}

#[test]
fn a_few_bytes_of_pickle_cannot_ask_for_much() {
    // One text, copied as bytes again and again; one long name, used again and again.
    let text = [
        b"\x80\x02X".as_slice(),
        &100_000_u32.to_le_bytes(),
        &[b'x'; 100_000],
        b"q\x000]c_codecs\nencode\nq\x010",
    ]
    .concat();
    let copies = [text, b"h\x01h\x00\x85Ra".repeat(20_000), b".".to_vec()].concat();
    let name = "n".repeat(100_000);
    let names =
        [b"\x80\x02]c__main__\n".as_slice(), name.as_bytes(), b"\nq\x000", &b"h\x00)Ra".repeat(20_000), b"."]
            .concat();
    for (what, file) in [("copies", copies), ("names", names)] {
        let peak = peak_of(|| assert!(checkpoint::read_bytes(&file, Path::new(what)).is_err()));
        assert!(peak < 128 * file.len() + (1 << 20), "{what}: {peak} bytes for {}", file.len());
    }
}

/// Pickle protocol 2 spells `int` and `str` as Python 2 did.
#[test]
fn a_lightning_checkpoint_with_a_real_omegaconf_list_is_read() {
    let file = fixture("omegaconf-list.ckpt");
    let sandbox = Sandbox::new();
    let shown = sandbox.ok(&["ckpt", "show", &file]);
    assert!(shown.contains("ListConfig") || shown.contains("omegaconf"), "{shown}");
    sandbox.ok(&["ckpt", "export", &file, "--to", "safetensors", "-o", "plain.safetensors"]);
    let same = sandbox.ok(&["ckpt", "diff", &file, "plain.safetensors"]);
    assert!(same.contains("identical"), "{same}");
}
