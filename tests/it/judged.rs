//! Sweeps that ask a judge while they train: each question once, whatever happens.

use std::collections::BTreeMap;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::fake_judge::{Manner, Plant, Server};
use crate::sandbox::{SMALL, Sandbox, repository, texts};

const KEY: &str = "sk-planted-4711";

/// A sweep file on FactQA that asks `server` about its evaluation queries.
pub fn live(sandbox: &Sandbox, name: &str, server: &Server, rest: &str) -> String {
    let data = repository("sweeps/data/factqa");
    let data = data.display();
    let text = format!(
        "name = \"{name}\"\n[data]\ntrajectories = \"{data}/rl_data.json\"\n\
         embeddings = \"{data}/embeddings.safetensors\"\nrequire_positive = true\n\
         [eval]\nqueries = \"{data}/eval_logged.jsonl\"\nshots = [1, 2]\nsamples = 40\n\
         [eval.items]\nfile = \"{data}/items.jsonl\"\n\
         [eval.endpoint]\nurl = \"{}\"\nmodel = \"fake\"\napi = \"completions\"\nstop = [\"\\n\"]\n\
         max_tokens = 8\nconcurrency = 4\nretries = 2\n{SMALL}{rest}",
        server.url()
    );
    let file = format!("{name}.toml");
    sandbox.write(&file, text.as_bytes());
    file
}

const GRID: &str = "grpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.15]\nseed = [0, 1]\n";

fn json(sandbox: &Sandbox, file: &str) -> Value {
    serde_json::from_slice(&sandbox.read(file)).expect("JSON")
}

/// Everything that a result is, without what says when and how it was got.
fn results(sandbox: &Sandbox, name: &str) -> BTreeMap<String, Vec<u8>> {
    let files = sandbox.files(&format!("results/{name}"));
    let is_result =
        |path: &String| path.starts_with("points/") && path.ends_with(".jsonl") || path == "matrix.csv";
    files.into_iter().filter(|(path, _)| is_result(path)).collect()
}

fn run(sandbox: &Sandbox, arguments: &[&str]) -> (Option<i32>, String) {
    let output = sandbox.sweep(&[&["run", "--device", "cpu"], arguments].concat());
    let (stdout, stderr) = texts(&output);
    (output.status.code(), format!("{stdout}\n{stderr}"))
}

fn start(sandbox: &Sandbox, file: &str) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
    command.current_dir(sandbox.path()).args(["run", file, "--device", "cpu"]).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
}

#[test]
fn every_question_is_asked_once_ever() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let file = live(&sandbox, "live", &server, GRID);
    let before: Value = sandbox.json(&["plan", &file]);
    assert_eq!(before["questions"]["naive"], 4 * 40 * 2);
    assert_eq!(before["questions"]["at_most"], 4 * 40 * 2);
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("320 questions, ") || said.contains(" of them distinct"), "{said}");
    let judge = json(&sandbox, "results/live/judge.json");
    let distinct = judge["distinct"].as_u64().expect("a count") as usize;
    assert_eq!((server.requests(), judge["asked"].as_u64()), (distinct, Some(distinct as u64)));
    assert!(distinct < 320 && server.bodies().values().all(|count| *count == 1));
    let first = results(&sandbox, "live");

    // Another directory, a server that is switched off, no word of damage: everything is known.
    let off = ["--set", "eval.endpoint.url=http://127.0.0.1:9/v1"];
    let renamed = [&[file.as_str(), "--name", "again"], &off[..]].concat();
    let (code, said) = run(&sandbox, &renamed);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(results(&sandbox, "again"), first);
    let plan = sandbox.json(&[&["plan", file.as_str()], &off[..]].concat());
    assert_eq!((&plan["questions"]["cached"], &plan["questions"]["at_most"]), (&distinct.into(), &0.into()));

    // One more value asks only what is new.
    let more = GRID.replace("[0.1, 0.15]", "[0.1, 0.15, 0.3]").replace("grpo_lr = 1e-3", "grpo_lr = 1e-2");
    let file = live(&sandbox, "live", &server, &more);
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    let judge = json(&sandbox, "results/live/judge.json");
    assert_eq!(judge["distinct"].as_u64().expect("a count") as usize, server.requests());
    assert!(server.bodies().values().all(|count| *count == 1));
}

#[test]
fn what_the_judge_does_not_answer_stays_missing_and_is_asked_again() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner { plants: vec![(Plant::Cut, 9)], ..Manner::default() });
    let file = live(&sandbox, "live", &server, GRID);
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("The judge did not answer everything") && said.contains("cut by the judge's own limit"),
        "{said}"
    );
    let matrix = String::from_utf8(sandbox.read("results/live/matrix.csv")).expect("UTF-8");
    assert!(matrix.lines().next().is_some_and(|line| line.ends_with(",unanswered")), "{matrix}");
    let lines = sandbox.files("results/live/points");
    let missing = |lines: &BTreeMap<String, Vec<u8>>| -> usize {
        let text =
            lines.values().map(|bytes| String::from_utf8_lossy(bytes).matches("\"score\":null").count());
        text.sum()
    };
    assert!(missing(&lines) > 0);
    assert_eq!(
        lines
            .iter()
            .filter(|(path, _)| path.ends_with("selections.jsonl"))
            .map(|(_, bytes)| { bytes.iter().filter(|byte| **byte == b'\n').count() })
            .sum::<usize>(),
        4 * 80,
        "one line per query and shot"
    );
    let table = sandbox.ok(&["table", "results/live"]);
    assert!(table.contains("missing"), "{table}");
    let asked = server.requests();

    server.set(Manner::default());
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    let again = server.requests() - asked;
    assert!(again > 0 && again <= asked / 9 + 1, "{again} of {asked} asked again");
    let whole = Sandbox::new();
    let file = live(&whole, "live", &server, GRID);
    let (code, said) = run(&whole, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(results(&sandbox, "live"), results(&whole, "live"), "the end is that of a run without faults");
}

#[test]
fn another_model_costs_the_evaluation_and_no_training() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner { model: "other".to_owned(), ..Manner::default() });
    let file = live(&sandbox, "live", &server, GRID);
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the server answers as model `other`"), "{said}");
    assert!(
        !sandbox.files("results").keys().any(|path| path.ends_with(".answers") && !path.is_empty())
            || sandbox
                .files("results/judge-cache")
                .values()
                .all(|bytes| !bytes.windows(6).any(|w| w == b"\"text\""))
    );
    let stages = sandbox.files("results/live/stages");
    server.set(Manner::default());
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("0 steps to go"), "{said}");
    assert_eq!(sandbox.files("results/live/stages"), stages);
}

/// SIGKILL while questions are asked: nothing is asked twice but what was under way, and the end is the same.
#[test]
fn killed_while_asking_and_run_again() {
    let straight = Sandbox::new();
    let calm = Server::start(0, Manner::default());
    let file = live(&straight, "live", &calm, GRID);
    assert_eq!(run(&straight, &[&file]).0, Some(0));
    let sandbox = Sandbox::new();
    let latency = Duration::from_millis(20);
    let server = Server::start(0, Manner { latency, ..Manner::default() });
    let file = live(&sandbox, "live", &server, GRID);
    let mut kills = 0;
    for turn in 0..20_u32 {
        let child = std::cell::RefCell::new(start(&sandbox, &file));
        // After another few answers each time.
        let (before, more) = (server.requests(), 2 + turn as usize * 7 % 5);
        crate::sweeps::wait_for(|| {
            server.requests() >= before + more || child.borrow_mut().try_wait().expect("looked at").is_some()
        });
        let mut child = child.into_inner();
        child.kill().expect("it can be killed");
        kills += usize::from(child.wait().expect("it ends").code().is_none());
    }
    let (code, said) = run(&sandbox, &[&file]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(results(&sandbox, "live"), results(&straight, "live"));
    let twice: usize = server.bodies().values().map(|count| count - 1).sum();
    assert!(kills >= 15, "only {kills} kills while it asked");
    assert!(twice <= 4 * kills, "{twice} questions asked again after {kills} kills with 4 under way");
}

#[test]
fn two_sweeps_at_once_share_the_answers() {
    let sandbox = Sandbox::new();
    let latency = Duration::from_millis(5);
    let server = Server::start(0, Manner { latency, ..Manner::default() });
    let files = ["one", "two"].map(|name| live(&sandbox, name, &server, GRID));
    let children = files.each_ref().map(|file| start(&sandbox, file));
    for child in children {
        let output: Output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    }
    assert_eq!(results(&sandbox, "one"), results(&sandbox, "two"));
    let twice: usize = server.bodies().values().map(|count| count - 1).sum();
    assert!(twice <= 4, "{twice} questions asked by both");
}

#[test]
fn a_key_is_in_no_file_and_in_no_output() {
    let sandbox = Sandbox::new();
    let plants = vec![(Plant::EchoKey, 3), (Plant::Error, 4), (Plant::Denied, 61)];
    let server = Server::start(0, Manner { plants, ..Manner::default() });
    let file = live(&sandbox, "live", &server, GRID);
    let with_key = |arguments: &[&str]| -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sweep"));
        command
            .current_dir(sandbox.path())
            .args(arguments)
            .args(["--set", "eval.endpoint.key_env=JUDGE_KEY"]);
        let output = command.env("JUDGE_KEY", KEY).stdin(Stdio::null()).output().expect("it runs");
        let (stdout, stderr) = texts(&output);
        stdout + &stderr
    };
    let mut said = with_key(&["run", &file, "--device", "cpu"]);
    said += &with_key(&["run", &file, "--device", "cpu", "--json"]);
    said += &with_key(&["plan", &file]);
    for more in [&["status", "results/live", "--json"][..], &["table", "results/live"]] {
        let (stdout, stderr) = texts(&sandbox.sweep(more));
        said += &(stdout + &stderr);
    }
    assert!(said.contains("HTTP status 401"), "{said}");
    assert!(!said.contains(KEY), "{said}");
    for (path, bytes) in sandbox.files("results") {
        assert!(!bytes.windows(KEY.len()).any(|window| window == KEY.as_bytes()), "{path}");
    }
    // Without the variable the run says what is missing.
    let (code, said) = run(&sandbox, &[&file, "--set", "eval.endpoint.key_env=NO_SUCH_KEY", "--fresh"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("there is no environment variable `NO_SUCH_KEY`"), "{said}");
}

#[test]
fn people_can_follow_what_was_asked() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner { noise: 5, ..Manner::default() });
    let grid = "grpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.15]\n[baseline]\nkl_beta = 0.15\n";
    let file = live(&sandbox, "live", &server, grid);
    let (code, said) = run(&sandbox, &[&file, "--set", "eval.judge_noise=30"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Asked a second time, the judge changed "), "{said}");
    let judge = json(&sandbox, "results/live/judge.json");
    assert_eq!(judge["noise"]["questions"], 30);
    let status = sandbox.json(&["status", "results/live"]);
    assert_eq!(status["judge"]["left"], 0);
    let why = sandbox.ok(&["why", "results/live", "--point", "kl0.1", "--shot", "2", "--query", "24"]);
    assert!(why.contains("Prompt:\nQ: ") && why.contains("accepted: ") && why.contains("Judge "), "{why}");
    sandbox.ok(&["report", "results/live", "-o", "page.html"]);
    let page = String::from_utf8(sandbox.read("page.html")).expect("UTF-8");
    assert!(page.contains("Judge calls made"), "the report says what it cost");
    // Behind a cell of the page is what `why` prints: prompt, answer, accepted answers.
    let prompt = why.split_once("Prompt:\n").expect("a prompt").1.trim();
    let first = prompt.lines().next().expect("a line");
    assert!(
        page.contains(
            &serde_json::json!(first).to_string()[1..].trim_end_matches('"').replace('<', "\\u003c")
        ),
        "{first}"
    );
    let accepted =
        why.split_once("accepted: ").expect("accepted answers").1.split(", scores").next().expect("a list");
    assert!(page.contains(&format!("\"24\":{}", serde_json::json!(accepted))), "{accepted}");
    let table = sandbox.ok(&["table", "results/live"]);
    assert!(table.contains("Scored by fake"), "{table}");
    let asked = server.requests();
    let (code, said) = run(&sandbox, &[&file, "--set", "eval.judge_noise=30"]);
    assert_eq!((code, server.requests()), (Some(0), asked), "{said}");
    sandbox.ok(&["verify", "results/live", "--points", "1", "--device", "cpu"]);
    assert_eq!(server.requests(), asked, "what is trained again is not asked again");
}

#[test]
fn a_program_judges_a_sweep() {
    let sandbox = Sandbox::new();
    let script = "import json, sys\nprint('ready', file=sys.stderr)\nfor line in sys.stdin:\n    asked = json.loads(line)\n    \
                  good = (asked['query_id'] + sum(asked['demonstrations'])) % 3 == 0\n    \
                  print(json.dumps({'id': asked['id'], 'score': float(good), 'answer': str(good)}), flush=True)\n";
    if Command::new("python3").arg("--version").output().is_err() {
        return;
    }
    sandbox.write("judge.py", script.as_bytes());
    let data = repository("sweeps/data/factqa");
    let data = data.display();
    let text = format!(
        "name = \"own\"\n[data]\ntrajectories = \"{data}/rl_data.json\"\n\
         embeddings = \"{data}/embeddings.safetensors\"\nrequire_positive = true\n\
         [eval]\nshots = [1, 5]\nsamples = 30\n[eval.command]\nprogram = [\"python3\", \"judge.py\"]\n{SMALL}"
    );
    sandbox.write("own.toml", text.as_bytes());
    let (code, said) = run(&sandbox, &["own.toml"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(sandbox.read("results/own/judge.log"), b"ready\n");
    let matrix = String::from_utf8(sandbox.read("results/own/matrix.csv")).expect("UTF-8");
    assert!(matrix.contains("shot_5"), "more demonstrations than trajectories have");
}

#[test]
fn workers_ask_too() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let file = live(&sandbox, "live", &server, GRID);
    let output = sandbox.sweep(&["run", &file, "--device", "cpu,cpu"]);
    assert_eq!(output.status.code(), Some(0), "{}", texts(&output).1);
    let judge = json(&sandbox, "results/live/judge.json");
    assert_eq!(judge["asked"], server.requests(), "of all processes together");
    assert!(judge["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{judge}");
    let alone = Sandbox::new();
    let file = live(&alone, "live", &server, GRID);
    assert_eq!(run(&alone, &[&file]).0, Some(0));
    assert_eq!(results(&sandbox, "live"), results(&alone, "live"));
}

#[test]
fn a_checkpoint_is_asked_through_the_same_answers() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let grid = "grpo_epochs = 1\n[grid]\nkl_beta = [0.1, 0.15]\n";
    let file = live(&sandbox, "live", &server, grid);
    assert_eq!(run(&sandbox, &[&file]).0, Some(0));
    let asked = server.requests();
    let cpu = ["--device", "cpu"];
    let known = sandbox.json(&[&["infer", "results/live", "kl0.1", "-o", "known.jsonl"], &cpu[..]].concat());
    assert_eq!((server.requests(), &known["asked"]), (asked, &0.into()));
    assert_eq!(sandbox.read("known.jsonl"), sandbox.read("results/live/points/kl0.1/selections.jsonl"));
    let table = sandbox.ok(&["table", "results/live", "--format", "csv"]);
    let shot = known["shots"][1]["accuracy"].as_f64().expect("a share");
    assert!(table.contains(&format!(",{shot},")), "{table} {shot}");
    // The lab's way: a directory of checkpoints, other numbers of shots.
    let stage = sandbox.read("results/live/points/kl0.1/point.json");
    let stage: Value = serde_json::from_slice(&stage).expect("JSON");
    let checkpoint = stage["checkpoint"].as_str().expect("a path");
    let folder = format!("results/live/{}", checkpoint.rsplit_once('/').expect("in a folder").0);
    let more = ["infer", &folder, "--sweep", &file, "--shots", "1,2,3", "--samples", "20"];
    let found = sandbox.json(&[&more[..], &cpu].concat());
    assert_eq!((&found["questions"], &found["asked"]), (&60.into(), &20.into()));
    let text = sandbox.ok(&[&more[..], &cpu].concat());
    assert!(text.contains("60 questions, ") && text.contains(" 0 asked now"), "{text}");
    let output = sandbox.sweep(&["infer", &folder]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("who is the judge?"));
}

#[test]
fn answers_are_listed_carried_and_removed() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner::default());
    let file = live(&sandbox, "live", &server, "grpo_epochs = 1\n");
    assert_eq!(run(&sandbox, &[&file]).0, Some(0));
    let list = sandbox.json(&["judge", "ls"]);
    let answers = list["answers"].as_u64().expect("a count");
    assert_eq!(answers as usize, server.requests());
    let judge = list["judges"][0]["judge"].as_str().expect("an id").to_owned();
    assert!(sandbox.ok(&["judge", "ls"]).contains("endpoint fake"));
    sandbox.ok(&["judge", "export", "-o", "answers.jsonl"]);
    sandbox.ok(&["judge", "import", "answers.jsonl", "--cache", "elsewhere"]);
    assert_eq!(sandbox.json(&["judge", "ls", "--cache", "elsewhere"])["answers"], answers);
    let asked = server.requests();
    let (code, said) = run(&sandbox, &[&file, "--fresh", "--cache", "elsewhere"]);
    assert_eq!((code, server.requests()), (Some(0), asked), "{said}");
    sandbox.write("wrong.jsonl", b"{\"id\": \"12\", \"answer\": {\"text\": \"x\"}}\n");
    let output = sandbox.sweep(&["judge", "import", "wrong.jsonl"]);
    assert!(texts(&output).1.contains("`wrong.jsonl`:1: not a line"), "{}", texts(&output).1);
    let output = sandbox.sweep(&["judge", "prune", "--judge", &judge[..6]]);
    assert!(texts(&output).1.contains("would be removed"), "{}", texts(&output).1);
    assert_eq!(sandbox.json(&["judge", "ls"])["answers"], answers);
    sandbox.ok(&["judge", "prune", "--judge", &judge, "--yes"]);
    assert_eq!(sandbox.json(&["judge", "ls"])["answers"], 0);
}

/// The judge is asked about the first points while the last ones train.
#[test]
fn asking_and_training_go_on_together() {
    let sandbox = Sandbox::new();
    let server = Server::start(0, Manner { latency: Duration::from_millis(2), ..Manner::default() });
    let file = live(&sandbox, "live", &server, GRID);
    let (code, said) = run(&sandbox, &[&file, "--cohort", "1"]);
    assert_eq!(code, Some(0), "{said}");
    let events = String::from_utf8(sandbox.read("results/live/events.jsonl")).expect("UTF-8");
    let lines: Vec<&str> = events.lines().collect();
    let first = lines.iter().position(|line| line.contains("\"event\":\"judge\"")).expect("it was asked");
    let last =
        lines.iter().rposition(|line| line.contains("\"event\":\"cohort_started\"")).expect("it trained");
    assert!(first < last, "{events}");
}
