//! `sweep infer`: a checkpoint, with a sweep file and alone, and what an interruption costs.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::fake_judge::{Manner, Server};
use crate::judged::live;
use crate::sandbox::{SMALL, Sandbox, repository, texts};
use crate::sweeps::{signal, wait_for};

/// Trains one point without a judge; the folder of its checkpoint, and the file in it.
fn trained(sandbox: &Sandbox) -> (String, String) {
    let file = sandbox.factqa("logged", &format!("{SMALL}grpo_epochs = 1\n"));
    sandbox.ok(&["run", &file, "--device", "cpu"]);
    let points = sandbox.files("results/logged/points");
    let record = points.iter().find(|(path, _)| path.ends_with("point.json")).expect("a point").1;
    let record: Value = serde_json::from_slice(record).expect("JSON");
    let checkpoint = format!("results/logged/{}", record["checkpoint"].as_str().expect("a path"));
    (checkpoint.rsplit_once('/').expect("in a folder").0.to_owned(), checkpoint)
}

/// What `infer` needs to know without a sweep file.
fn alone(server: &Server) -> Vec<String> {
    let data = repository("sweeps/data/factqa");
    let file = |name: &str| data.join(name).display().to_string();
    [
        ["--items", &file("items.jsonl")],
        ["--embeddings", &file("embeddings.safetensors")],
        ["--endpoint", &server.url()],
        ["--model", "fake"],
        ["--api", "completions"],
        ["--stop", "\n"],
        ["--max-tokens", "8"],
        ["--device", "cpu"],
    ]
    .concat()
    .into_iter()
    .map(str::to_owned)
    .collect()
}

fn with<'a>(first: &[&'a str], rest: &'a [String]) -> Vec<&'a str> {
    first.iter().copied().chain(rest.iter().map(String::as_str)).collect()
}

fn lines(sandbox: &Sandbox, file: &str) -> Vec<Value> {
    let text = String::from_utf8(sandbox.read(file)).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The sizes of the model are those of the file, here not the defaults; ours and the lab's say the same.
#[test]
fn a_checkpoint_alone_says_what_its_model_is() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let (folder, checkpoint) = trained(&sandbox);
    let file = live(&sandbox, "live", &server, "");
    let shots = ["--samples", "20", "--shots", "1,2,3", "-o"];
    let sweep = [&["infer", &folder, "--sweep", &file, "--device", "cpu"], &shots[..], &["sweep.jsonl"]];
    let known = sandbox.json(&sweep.concat());
    assert_eq!(known["questions"], 60);
    let rest = alone(&server);
    let queries = repository("sweeps/data/factqa/eval_logged.jsonl").display().to_string();
    let named = ["--queries", queries.as_str()];
    let first = [&["infer", &folder], &named[..], &shots, &["alone.jsonl"]].concat();
    let found = sandbox.json(&with(&first, &rest));
    assert_eq!((&found["questions"], &found["asked"]), (&60.into(), &0.into()), "the same questions");
    assert_eq!(sandbox.read("alone.jsonl"), sandbox.read("sweep.jsonl"));
    // Ours without its facts, and the lab's format.
    for format in ["safetensors", "pt", "v2"] {
        let target = format!("lab/{format}/grpo_epoch1.{}", if format == "v2" { "ckpt" } else { format });
        std::fs::create_dir_all(sandbox.path().join(format!("lab/{format}"))).expect("made");
        sandbox.ok(&["ckpt", "export", &checkpoint, "--to", format, "-o", &target]);
        let folder = format!("lab/{format}");
        let first = [&["infer", folder.as_str()], &named[..], &shots, &["lab.jsonl"]].concat();
        let found = sandbox.json(&with(&first, &rest));
        assert_eq!(found["asked"], 0, "{format}");
        assert_eq!(sandbox.read("lab.jsonl"), sandbox.read("sweep.jsonl"), "{format}");
    }
}

/// Without a file of queries: the items of split `eval`, with the nearest of split `support`.
#[test]
fn items_alone_make_queries_and_candidates() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let (folder, _) = trained(&sandbox);
    let rest = alone(&server);
    let first = ["infer", &folder, "--samples", "-1", "--shots", "64", "-o", "all.jsonl"];
    let found = sandbox.json(&with(&first, &rest));
    let items = std::fs::read_to_string(repository("sweeps/data/factqa/items.jsonl")).expect("read");
    let items: Vec<Value> = items.lines().map(|line| serde_json::from_str(line).expect("an item")).collect();
    let eval: Vec<&Value> = items.iter().filter(|item| item["split"] == "eval").collect();
    assert_eq!(found["questions"], eval.len());
    let chosen = lines(&sandbox, "all.jsonl");
    assert!(chosen.iter().zip(&eval).all(|(line, item)| line["query_id"] == item["id"]), "in order of ids");
    // All 64 candidates stand in the prompt: they are the nearest of the support, whatever their order.
    let embeddings =
        sweep::selector::data::read_embeddings(&repository("sweeps/data/factqa/embeddings.safetensors"))
            .expect("a matrix");
    let id = |item: &Value| item["id"].as_u64().expect("an id") as usize;
    let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum() };
    let query = eval[3];
    let mut near: Vec<&Value> = items.iter().filter(|item| item["split"] == "support").collect();
    near.sort_by(|a, b| {
        let [a, b] = [a, b].map(|item| dot(embeddings.row(id(query)), embeddings.row(id(item))));
        b.total_cmp(&a)
    });
    let bodies = server.bodies();
    let asked = |question: &Value| {
        let text = question.to_string();
        let end = format!("\\nQ: {}\\nA:\"", &text[1..text.len() - 1]);
        bodies
            .keys()
            .map(|body| String::from_utf8_lossy(body))
            .find(|body| body.contains(&end))
            .expect("asked")
    };
    let body = asked(&query["question"]);
    for item in &near[..60] {
        let text = item["question"].to_string();
        assert!(body.contains(&text[1..text.len() - 1]), "{text}");
    }
    // A file without splits: every item is a query.
    sandbox.write("few.jsonl", b"{\"id\":3,\"question\":\"a?\",\"answers\":[\"b\"]}\n{\"id\":5,\"question\":\"c?\",\"answers\":[\"d\"]}\n");
    let few = [&with(&["infer", &folder, "--shots", "1"], &rest)[..], &["--items", "few.jsonl"]].concat();
    let output = sandbox.sweep(&few);
    assert!(texts(&output).1.contains("cannot be used multiple times"), "{}", texts(&output).1);
    let few: Vec<&str> = with(&["infer", &folder, "--shots", "1", "--items", "few.jsonl"], &rest[2..]);
    assert_eq!(sandbox.json(&few)["questions"], 2);
}

#[test]
fn what_a_checkpoint_alone_lacks_is_said() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let (folder, _) = trained(&sandbox);
    let rest = alone(&server);
    let said = |arguments: &[&str]| {
        let output = sandbox.sweep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        texts(&output).1
    };
    assert!(said(&["infer", &folder]).contains("hint: `--endpoint URL --model NAME`"));
    assert!(said(&with(&["infer", &folder], &rest[4..])).contains("`--items FILE` is missing"));
    assert!(said(&with(&["infer", &folder], &rest[..4])).contains("who is the judge?"));
    let secret = ["--endpoint", "http://me:secret@127.0.0.1/v1"];
    let text = said(&[&["infer", &folder, "--model", "fake"], &secret[..]].concat());
    assert!(text.contains("holds a name or a password") && !text.contains("secret"), "{text}");
    let outside = b"{\"id\":999999,\"question\":\"a?\",\"answers\":[\"b\"]}\n";
    sandbox.write("outside.jsonl", outside);
    let text = said(&with(&["infer", &folder, "--items", "outside.jsonl"], &rest[2..]));
    assert!(text.contains("item 999999 has no row"), "{text}");
    sandbox.write("spare.jsonl", b"{\"id\":1,\"question\":\"a?\",\"answers\":[\"b\"],\"split\":\"spare\"}\n");
    let text = said(&with(&["infer", &folder, "--items", "spare.jsonl"], &rest[2..]));
    assert!(text.contains("there are no queries"), "{text}");
    // The environment names the judge as well as flags do.
    let first = ["infer", folder.as_str(), "--samples", "3", "--shots", "1", "--json"];
    let files = [&rest[..4], &rest[8..]].concat();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(sandbox.path()).args(with(&first, &files)).stdin(Stdio::null());
    let output = command.env("SWEEP_ENDPOINT", server.url()).env("SWEEP_MODEL", "fake").output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    let found: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(found["questions"], 3);
}

/// Ctrl-C in the middle of asking, and the same command again.
#[test]
fn an_interrupted_infer_goes_on() {
    let sandbox = Sandbox::new();
    let (folder, _) = trained(&sandbox);
    let calm = Server::start(0, Manner::default());
    let slow = Server::start(0, Manner { latency: Duration::from_millis(20), ..Manner::default() });
    let command = |server: &Server, cache: &str, output: &str| {
        let file = live(&sandbox, cache, server, "");
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command
            .current_dir(sandbox.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.args(["infer", &folder, "--sweep", &file, "--device", "cpu", "--shots", "1,2,3"]);
        command.args(["--cache", cache, "-o", output]);
        command
    };
    let undisturbed = command(&calm, "calm", "calm.jsonl").output().expect("it runs");
    assert_eq!(undisturbed.status.code(), Some(0), "{}", texts(&undisturbed).1);

    let child = command(&slow, "torn", "torn.jsonl").spawn().expect("it starts");
    wait_for(|| slow.answered() >= 20);
    signal(&child, "INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{}", texts(&output).1);
    assert!(texts(&output).1.contains("interrupted; the same command goes on"), "{}", texts(&output).1);
    let first = slow.requests();
    assert!(first < calm.requests(), "it was interrupted after all {first} questions");

    let output = command(&slow, "torn", "torn.jsonl").output().expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    assert_eq!(sandbox.read("torn.jsonl"), sandbox.read("calm.jsonl"));
    assert_eq!(slow.bodies().len(), calm.bodies().len());
    let twice: usize = slow.bodies().values().map(|count| count - 1).sum();
    assert!(twice <= 4, "{twice} questions asked twice with 4 under way");
}
