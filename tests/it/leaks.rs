//! Evaluation queries that training has seen are said by every command that could mislead with them.

use serde_json::{Value, json};

use crate::sandbox::{Sandbox, repository, texts};

/// FactQA with `change` applied to the training data, as a sweep in a sandbox.
fn changed(change: impl Fn(&mut serde_json::Map<String, Value>, u64)) -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let factqa = repository("sweeps/data/factqa");
    // The smallest id: numeric order decides what is trained on.
    let logged = std::fs::read_to_string(factqa.join("eval_logged.jsonl")).expect("read");
    let ids =
        logged.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")["query_id"].as_u64());
    let evaluated = ids.map(|id| id.expect("a number")).min().expect("a query");
    let text = std::fs::read_to_string(factqa.join("rl_data.json")).expect("read");
    let mut data: serde_json::Map<String, Value> = serde_json::from_str(&text).expect("JSON");
    change(&mut data, evaluated);
    sandbox.write("rl_data.json", &serde_json::to_vec(&data).expect("JSON"));
    let file = sandbox.factqa("leaky", "[model]\nhidden = 8\n[train]\nrce_epochs = 1\n");
    let text = String::from_utf8(sandbox.read(&file)).expect("UTF-8");
    let original = factqa.join("rl_data.json");
    sandbox.write(&file, text.replace(original.to_str().expect("UTF-8"), "rl_data.json").as_bytes());
    (sandbox, file)
}

/// Whether a trajectory of the group was right: others are left out by `require_positive`.
fn is_positive(group: &Value) -> bool {
    let trajectories = group["pointer_candidates"].as_array();
    trajectories.is_some_and(|all| all.iter().any(|one| one["vqa_correct"].as_f64() == Some(1.0)))
}

/// What `data check`, `plan`, `run` and the report say.
fn said(sandbox: &Sandbox, file: &str) -> Vec<(&'static str, String)> {
    let stderr = |arguments: &[&str]| texts(&sandbox.sweep(arguments)).1;
    let said = vec![
        ("data check", stderr(&["data", "check", file])),
        ("plan", stderr(&["plan", file])),
        ("run", stderr(&["run", file, "--out", "out"])),
    ];
    let page = sandbox.ok(&["report", "out/leaky", "-o", "-"]);
    [said, vec![("report", page)]].concat()
}

#[test]
fn a_training_query_that_is_evaluated_is_said() {
    let (sandbox, file) = changed(|data, evaluated| {
        let (key, group) = data.iter().find(|(_, group)| is_positive(group)).expect("a query");
        let (key, group) = (key.clone(), group.clone());
        data.remove(&key);
        data.insert(evaluated.to_string(), group);
    });
    for (command, text) in said(&sandbox, &file) {
        let found = text.lines().any(|line| line.contains("evaluation queries are training queries ("));
        assert!(found, "{command}: {text}");
    }
}

#[test]
fn a_query_in_its_own_pool_is_said() {
    let (sandbox, file) = changed(|data, _| {
        let (key, group) = data.iter_mut().find(|(_, group)| is_positive(group)).expect("a query");
        let id: u64 = key.parse().expect("a number");
        group["candidate_pool_ids"][0] = json!(id);
        for candidate in group["pointer_candidates"].as_array_mut().expect("trajectories") {
            candidate.as_object_mut().expect("an object").remove("pointer_global");
        }
    });
    for (command, text) in said(&sandbox, &file) {
        assert!(text.contains("1 queries of the training data are in their own pools"), "{command}: {text}");
    }
}

#[test]
fn the_bundled_data_leak_nothing() {
    let (sandbox, file) = changed(|_, _| {});
    let (stdout, _) = texts(&sandbox.sweep(&["data", "check", &file]));
    assert!(stdout.contains("queries is a training query or in its own pool"), "{stdout}");
    for (command, text) in said(&sandbox, &file) {
        assert!(!text.contains("training queries (") && !text.contains("own pools"), "{command}: {text}");
    }
}
