//! Data sets that are made: from items, embeddings and a judge to a file that a sweep trains on.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::fake_judge::{Manner, Plant, Server};
use crate::sandbox::{SMALL, Sandbox, texts};

const COLORS: [&str; 3] = ["red", "blue", "green"];
const ITEMS: u64 = 80;
/// 40 % of the items train, 10 % evaluate; pools of 16.
const BUILD: &str =
    "train_share = 0.4\neval_share = 0.1\npool = 16\neval_file = \"eval.jsonl\"\neval_shots = [1, 2, 3]\n";

fn item(id: u64) -> String {
    let color = COLORS[id as usize % 3];
    format!("{{\"id\": {id}, \"question\": \"What colour has thing {id} ?\", \"answers\": [\"{color}\"]}}\n")
}

/// Items whose answers are few, so that a judge that repeats an answer of its prompt is often right.
fn kitchen(server: &Server) -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.write("items.jsonl", (0..ITEMS).map(item).collect::<String>().as_bytes());
    let url = server.url();
    sandbox.ok(&["data", "embed", "items.jsonl", "-o", "e.safetensors", "--url", &url, "--model", "fake"]);
    sandbox
}

/// A sweep file whose data are made by asking `server`.
fn file(sandbox: &Sandbox, server: &Server, build: &str, rest: &str) {
    let text = format!(
        "name = \"made\"\n[data]\ntrajectories = \"data.json\"\nembeddings = \"e.safetensors\"\n[data.build]\n{BUILD}{build}\n\
         [eval]\nlogged = \"eval.jsonl\"\nshots = [1, 2]\n[eval.items]\nfile = \"items.jsonl\"\n\
         [eval.endpoint]\nurl = \"{}\"\nmodel = \"fake\"\napi = \"completions\"\nlogprobs = true\nstop = [\"\\n\"]\n\
         concurrency = 4\nretries = 1\n{SMALL}{rest}",
        server.url()
    );
    sandbox.write("made.toml", text.as_bytes());
}

fn build(sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String) {
    let output = sandbox.sweep(&[&["data", "build", "made.toml"], arguments].concat());
    let (stdout, stderr) = texts(&output);
    (output.status.code(), format!("{stdout}\n{stderr}"))
}

fn made(sandbox: &Sandbox) -> Value {
    serde_json::from_slice(&sandbox.read("data.json")).expect("JSON")
}

/// All trajectories with their query.
fn trajectories(data: &Value) -> Vec<(u64, &Value)> {
    let groups = data.as_object().expect("an object").iter().filter(|(key, _)| *key != "_meta");
    groups
        .flat_map(|(key, group)| {
            let id: u64 = key.parse().expect("an id");
            group["pointer_candidates"].as_array().expect("a list").iter().map(move |one| (id, one))
        })
        .collect()
}

#[test]
fn the_same_items_settings_and_answers_give_the_same_bytes() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "");
    let before = server.requests();
    let said = sandbox.ok(&["data", "build", "made.toml", "--dry-run"]);
    assert!(said.contains("32 training queries, 8 evaluation queries, 40 demonstrations"), "{said}");
    assert_eq!(server.requests(), before, "nobody was asked");
    let (code, said) = build(&sandbox, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("right answers") && said.contains("no training"),
        "the report of `data check`: {said}"
    );
    assert!(server.bodies().values().all(|count| *count == 1));
    let first = ["data.json", "eval.jsonl"].map(|name| sandbox.read(name));
    let asked = server.requests();

    // It is there; nothing is read, nothing is asked. Without the file the answers are.
    let (code, said) = build(&sandbox, &[]);
    assert!(code == Some(0) && said.contains("is there already"), "{said}");
    std::fs::remove_file(sandbox.path().join("data.json")).expect("removed");
    let (code, said) = build(&sandbox, &["--set", "eval.endpoint.concurrency=1"]);
    assert_eq!((code, server.requests()), (Some(0), asked), "{said}");
    assert_eq!(["data.json", "eval.jsonl"].map(|name| sandbox.read(name)), first);

    // Roles are disjoint, and every field is there.
    let data = made(&sandbox);
    let queries: BTreeSet<u64> = trajectories(&data).iter().map(|(id, _)| *id).collect();
    let text = String::from_utf8(first[1].clone()).expect("UTF-8");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let evaluated: BTreeSet<u64> = lines.iter().filter_map(|line| line["query_id"].as_u64()).collect();
    let shown: BTreeSet<u64> = trajectories(&data)
        .iter()
        .flat_map(|(_, one)| one["pointer_global"].as_array().expect("a list"))
        .chain(lines.iter().flat_map(|line| line["candidate_pool_ids"].as_array().expect("a list")))
        .filter_map(Value::as_u64)
        .collect();
    assert_eq!((queries.len(), evaluated.len(), lines.len()), (32, 8, 24));
    assert!(queries.is_disjoint(&evaluated) && shown.is_disjoint(&queries) && shown.is_disjoint(&evaluated));
    let fields = ["beam_score", "vqa_correct", "vqa_acc_score", "vqa_gt_prob", "vqa_rel_score"];
    for (query, one) in trajectories(&data) {
        assert!(fields.iter().all(|field| one[field].is_number()), "{query}: {one}");
        let right = one["prediction"] == COLORS[query as usize % 3];
        assert_eq!(one["vqa_correct"], u8::from(right), "{one}");
    }
    // What is shown with more shots begins with what is shown with fewer.
    let pointers = |line: &Value| -> BTreeSet<Vec<u64>> {
        let one = |one: &Value| {
            one["pointer"].as_array().expect("a list").iter().filter_map(Value::as_u64).collect()
        };
        let all: Vec<Vec<u64>> = line["trajectories"].as_array().expect("a list").iter().map(one).collect();
        let distinct: BTreeSet<Vec<u64>> = all.iter().cloned().collect();
        assert_eq!(all.len(), distinct.len(), "listed once");
        distinct
    };
    for three in lines.chunks(3) {
        let [one, two, all] = [&three[0], &three[1], &three[2]].map(pointers);
        assert_eq!(two.iter().map(|long| long[..1].to_vec()).collect::<BTreeSet<_>>(), one);
        assert_eq!(all.iter().map(|long| long[..2].to_vec()).collect::<BTreeSet<_>>(), two);
    }
}

/// SIGKILL while questions are asked, five times: the end is that of an undisturbed build, and nothing is asked twice
/// but what was under way.
#[test]
fn a_build_that_is_killed_goes_on() {
    let calm = Server::start(0, Manner::default());
    let straight = kitchen(&calm);
    file(&straight, &calm, "", "");
    assert_eq!(build(&straight, &[]).0, Some(0));
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "");
    server.set(Manner { latency: Duration::from_millis(5), ..Manner::default() });
    for _ in 0..5 {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command.current_dir(sandbox.path()).args(["data", "build", "made.toml"]).stdin(Stdio::null());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let child = std::cell::RefCell::new(child);
        let before = server.requests();
        crate::sweeps::wait_for(|| {
            server.requests() >= before + 40 || child.borrow_mut().try_wait().expect("looked at").is_some()
        });
        let mut child = child.into_inner();
        child.kill().expect("it can be killed");
        assert_eq!(child.wait().expect("it ends").code(), None, "it was still asking");
        assert!(!sandbox.path().join("data.json").exists(), "whole or not at all");
    }
    let (code, said) = build(&sandbox, &[]);
    assert_eq!(code, Some(0), "{said}");
    for name in ["data.json", "eval.jsonl"] {
        assert_eq!(sandbox.read(name), straight.read(name), "{name}");
    }
    let twice: usize = server.bodies().values().map(|count| count - 1).sum();
    assert!(twice <= 4 * 5, "{twice} questions asked again after 5 kills with 4 under way");
}

/// What is under way is lost, what has come back is kept: the codes are those of a run.
#[test]
fn an_interrupted_build_says_so() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "");
    server.set(Manner { latency: Duration::from_millis(50), ..Manner::default() });
    let (code, said) = build(&sandbox, &["--budget", "1s"]);
    assert!(code == Some(5) && said.contains("the time is up; the same command goes on"), "{said}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(sandbox.path()).args(["data", "build", "made.toml"]).stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let before = server.requests();
    crate::sweeps::wait_for(|| server.requests() >= before + 8);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("kill").success());
    let output = child.wait_with_output().expect("it ends");
    let said = texts(&output).1;
    assert!(output.status.code() == Some(130) && said.contains("the same command goes on"), "{said}");
    assert!(!sandbox.path().join("data.json").exists() && !sandbox.path().join("eval.jsonl").exists());
}

#[test]
fn a_run_makes_what_is_missing_and_never_replaces_it() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "[grid]\nseed = [0, 1]\n");
    let asked = server.requests();
    let plan = sandbox.json(&["plan", "made.toml"]);
    assert_eq!((&plan["data_questions"]["train"], server.requests()), (&32.into(), asked));
    let to_ask = plan["data_questions"]["to_ask"].as_u64().expect("a number") as usize;
    sandbox.ok(&["run", "made.toml", "--device", "cpu"]);
    assert_eq!(server.requests(), asked + to_ask, "as many as the plan says");
    let first = sandbox.read("data.json");
    // An evaluation file that somebody has changed is used, with a word.
    let eval = String::from_utf8(sandbox.read("eval.jsonl")).expect("UTF-8");
    sandbox.write("eval.jsonl", format!("{eval}\n").as_bytes());
    let said = texts(&sandbox.sweep(&["plan", "made.toml"])).1;
    assert!(said.contains("is not as [data.build] made it"), "{said}");
    assert!(sandbox.json(&["plan", "made.toml"])["stages"].is_number());

    // Other settings: said, and the file stays. `build` replaces it only when told.
    file(&sandbox, &server, "random = 5\n", "[grid]\nseed = [0, 1]\n");
    let output = sandbox.sweep(&["run", "made.toml", "--device", "cpu"]);
    let said = texts(&output).1;
    assert!(
        output.status.success() && said.contains("no longer fits") && said.contains("`random`"),
        "{said}"
    );
    assert_eq!(sandbox.read("data.json"), first);
    let (code, said) = build(&sandbox, &[]);
    assert!(code == Some(2) && said.contains("other `random`") && said.contains("--force"), "{said}");
    assert_eq!(sandbox.read("data.json"), first);
    let before = server.requests();
    let (code, said) = build(&sandbox, &["--force"]);
    assert_eq!(code, Some(0), "{said}");
    assert_ne!(sandbox.read("data.json"), first);
    let new = server.requests() - before;
    assert!(new > 0 && new <= 2 * (32 + 3 * 8), "one more sequence a query: {new}");
}

#[test]
fn a_policy_adds_its_own_sequences() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "[grid]\nseed = [0]\n");
    sandbox.ok(&["run", "made.toml", "--device", "cpu"]);
    let record: Value = serde_json::from_slice(
        sandbox
            .files("results/made/points")
            .iter()
            .find(|(path, _)| path.ends_with("point.json"))
            .expect("a point")
            .1,
    )
    .expect("JSON");
    let checkpoint = record["checkpoint"].as_str().expect("a path");
    let policy = format!("policy = \"results/made/{checkpoint}\"\nbeam = 3\npolicy_sample = 2\n");
    file(&sandbox, &server, &policy, "");
    let (code, said) = build(&sandbox, &["--force"]);
    assert_eq!(code, Some(0), "{said}");
    let data = made(&sandbox);
    let mut methods: BTreeMap<String, usize> = BTreeMap::new();
    let mut groups: BTreeMap<u64, Vec<&Value>> = BTreeMap::new();
    for (query, one) in trajectories(&data) {
        *methods.entry(one["source"].as_str().expect("a text").to_owned()).or_default() += 1;
        groups.entry(query).or_default().push(one);
    }
    for group in groups.values() {
        let score = |one: &&&Value| one["logprob_score"].as_f64().expect("a number");
        let is_beam = |one: &&&Value| one["gen_method"] == "beam";
        let best = group.iter().max_by(|a, b| score(a).total_cmp(&score(b))).expect("one");
        // The most probable sequence is a beam, unless another method had it first.
        let nearest = best["gen_method"] == "retrieval";
        assert!(is_beam(&best) || nearest, "{best}");
        assert!(group.iter().filter(|one| is_beam(one)).count() >= 1);
    }
    assert_eq!((methods["policy_sample"], methods["random"]), (64, 128), "{methods:?}");
    assert_eq!(data["_meta"]["methods"]["beam"]["trajectories"], methods["beam"]);
    // The model's shape is another one.
    let (code, said) = build(&sandbox, &["--force", "--set", "hidden=16"]);
    assert!(code == Some(2) && said.contains("does not fit"), "{said}");
}

#[test]
fn what_is_left_out_is_said_and_kept() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "");
    let (code, said) = build(&sandbox, &["--require-mixed", "--balance"]);
    assert_eq!(code, Some(0), "{said}");
    let data = made(&sandbox);
    let mut groups: BTreeMap<u64, [usize; 2]> = BTreeMap::new();
    for (query, one) in trajectories(&data) {
        groups.entry(query).or_default()[usize::from(one["vqa_correct"] == 1)] += 1;
    }
    assert!(groups.values().all(|[wrong, right]| wrong == right && *right > 0), "{groups:?}");
    let left = &data["_meta"]["dropped"];
    let count = |name: &str| left[name].as_u64().expect("a number") as usize;
    assert_eq!(groups.len() + count("all_wrong") + count("all_right"), 32);
    let kept: usize = groups.values().flatten().sum();
    assert_eq!(kept + count("surplus") + 8 * (count("all_wrong") + count("all_right")), 256);
    assert!(said.contains("for balance"), "{said}");
}

#[test]
fn missing_answers_leave_nothing_behind_unless_told() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    file(&sandbox, &server, "", "");
    server.set(Manner { plants: vec![(Plant::Cut, 9)], ..Manner::default() });
    let (code, said) = build(&sandbox, &[]);
    assert!(code == Some(1) && said.contains("nothing was written") && said.contains("own limit"), "{said}");
    assert!(!sandbox.path().join("data.json").exists() && !sandbox.path().join("eval.jsonl").exists());
    server.set(Manner { plants: vec![(Plant::Cut, 2)], ..Manner::default() });
    let (code, said) = build(&sandbox, &["--allow-missing"]);
    assert!(code == Some(1) && said.contains("sequences without an answer"), "{said}");
    let data = made(&sandbox);
    let failed = trajectories(&data).iter().filter(|(_, one)| one["eval_failed"] == true).count();
    assert_eq!(data["_meta"]["dropped"]["unanswered"], failed);
    assert!(failed > 0);
    // What is not whole is completed without being told.
    server.set(Manner::default());
    let (code, said) = build(&sandbox, &[]);
    assert_eq!(code, Some(0), "{said}");
    let calm = kitchen(&server);
    file(&calm, &server, "", "");
    assert_eq!(build(&calm, &[]).0, Some(0));
    assert_eq!(sandbox.read("data.json"), calm.read("data.json"), "as if nothing had been missing");
}

#[test]
fn what_cannot_be_is_said_before_anybody_is_asked() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    let asked = server.requests();
    let items: String = (0..ITEMS).map(item).collect();
    let no_answer = items.replace("\"answers\": [\"blue\"]", "\"answers\": []");
    let one_split = items.replacen("\"id\": 3,", "\"id\": 3, \"split\": \"train\",", 1);
    let all_train = items.replace("{\"id\"", "{\"split\": \"support\", \"id\"");
    let cases: [(&str, &str, &str); 13] = [
        (&items, "pool = 41\n", "asks for 41 candidates, and only 40 items are demonstrations"),
        (
            &items,
            "pool = 4\nlength = 5\n",
            "`data.build.length` asks for 5 demonstrations out of a pool of 4",
        ),
        (&items, "pool = 2\n", "`data.build.eval_shots` asks for 3 demonstrations out of a pool of 2"),
        (&items, "random = 0\nretrieval = 0\nsample = 0\n", "no sequences are asked for"),
        (&items, "beam = 1\n", "`policy = \"...\"` names a checkpoint"),
        (&items, "train_share = 0.95\n", "more than 1 together"),
        (&items, "train_share = 0\n", "there are no training queries among the 80 items"),
        (&items, "pool_nearest = 1.5\n", "must be a number from 0 to 1"),
        (&no_answer, "", "items.jsonl`:2: item 1 has no answers"),
        (&one_split, "", "item 0 has no `split`, and others have"),
        (&all_train, "", "there are no training queries among the 80 items"),
        (&format!("{items}{}", item(7)), "", "item 7 is there a second time"),
        (&format!("{items}{}", item(80)), "", "item 80 has no row in the embeddings, which have 80"),
    ];
    for (items, change, expected) in cases {
        sandbox.write("items.jsonl", items.as_bytes());
        let key = change.split(' ').next().unwrap_or_default();
        let kept: String = BUILD
            .lines()
            .filter(|line| key.is_empty() || !line.starts_with(&format!("{key} ")))
            .fold(String::new(), |text, line| text + line + "\n");
        file(&sandbox, &server, "", "");
        let text = String::from_utf8(sandbox.read("made.toml")).expect("UTF-8");
        sandbox.write("made.toml", text.replace(BUILD, &format!("{kept}{change}")).as_bytes());
        let (code, said) = build(&sandbox, &[]);
        assert!(code == Some(2) && said.contains(expected), "{expected}:\n{said}");
    }
    assert_eq!(server.requests(), asked);
    assert!(!sandbox.path().join("data.json").exists());
}

#[test]
fn each_text_is_embedded_once() {
    let server = Server::start(0, Manner::default());
    let sandbox = kitchen(&server);
    assert_eq!(server.requests(), 2, "80 texts in batches of 64");
    let url = server.url();
    let embed = |name: &str, more: &[&str]| {
        let base = ["data", "embed", "items.jsonl", "-o", name, "--url", &url, "--model", "fake"];
        let output = sandbox.sweep(&[&base[..], more].concat());
        (output.status.code(), texts(&output).1)
    };
    // Known texts cost nothing; a server that fails now and then is asked again for what is missing.
    let (code, said) = embed("again.safetensors", &["--batch", "3"]);
    assert!(code == Some(0) && said.contains("80 known before, 0 asked now"), "{said}");
    assert_eq!(sandbox.read("again.safetensors"), sandbox.read("e.safetensors"));
    let other = ["--template", "{question} {answer}", "--batch", "7", "--retries", "0"];
    server.set(Manner { plants: vec![(Plant::Error, 4)], ..Manner::default() });
    let (code, said) = embed("other.safetensors", &other);
    assert!(code == Some(1) && said.contains("have no embedding yet"), "{said}");
    assert!(!sandbox.path().join("other.safetensors").exists());
    server.set(Manner::default());
    let (code, said) = embed("other.safetensors", &other);
    assert_eq!(code, Some(0), "{said}");
    let twice = server.bodies().into_iter().filter(|(_, count)| *count > 1).count();
    assert!(twice <= 3, "only what failed is asked again: {twice}");
    // Rows of length 1.
    let (code, said) = embed("unit.safetensors", &["--normalize"]);
    assert_eq!(code, Some(0), "{said}");
    let matrix = sweep::checkpoint::read_matrix(&sandbox.path().join("unit.safetensors")).expect("a matrix");
    assert_eq!(matrix.shape, [80, 16]);
    for row in matrix.values.chunks(16) {
        let square: f32 = row.iter().map(|value| value * value).sum();
        assert!((square - 1.0).abs() < 1e-5, "{square}");
    }
    let (code, said) = embed("x.safetensors", &["--template", "same"]);
    assert!(code == Some(2) && said.contains("all items would be alike"), "{said}");
}
