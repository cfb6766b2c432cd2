//! `sweep data check` as a user meets it.

use std::path::Path;
use std::process::Output;

use assert_cmd::Command;

fn check(arguments: &[&str]) -> Output {
    let mut command = Command::cargo_bin("sweep").expect("the binary");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["data", "check"]).args(arguments);
    command.output().expect("it runs")
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

const FACTQA: &str = "sweeps/data/factqa/rl_data.json";
const EMBEDDINGS: &str = "sweeps/data/factqa/embeddings.safetensors";

#[test]
fn factqa_is_described_on_stdout() {
    let output = check(&[FACTQA, "--embeddings", EMBEDDINGS, "--reward-mode", "hard_only"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!(stdout, @r#"
    sweeps/data/factqa/rl_data.json
      format         newest (candidate_pool_ids, local ids) in 387
      queries        387: 309 for training, 78 for validation
      trajectories   3096 read, 3096 kept
      dropped        nothing
      other keys     1 (not an integer, ignored)
      sizes          K = 64 candidates, S = 2 demonstrations, N = 1419 embeddings of d = 384
      right answers  0.270 of 3096
        random       0.167 of 1548
        retrieval    0.399 of 774
        sample       0.346 of 774
      digest         ff174d5ac5a68247
    reward hard_only in the 309 training groups
      no signal      150 groups (48.5%): all rewards equal, nothing to tell apart
      range          0.515 (mean of largest - smallest)
      distinct rewards in a group, and how many groups have as many:
         1    150 ######################################
         2    159 ########################################
    "#);
}

#[test]
fn drops_are_listed_and_pt_embeddings_are_read() {
    let output = check(&["tests/golden/rl_data.json", "--embeddings", "tests/golden/embeddings.pt"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    for line in [
        "  trajectories   216 read, 201 kept\n",
        "  dropped        4 trajectories with eval_failed\n",
        "                 4 trajectories with vqa_eval_mode \"error\"\n",
        "                 7 trajectories with vqa_eval_mode \"fallback\"\n",
    ] {
        assert!(stdout.contains(line), "{stdout}");
    }
    let (stdout, _) = texts(&check(&["tests/golden/rl_data.json", "--keep-fallback"]));
    assert!(stdout.contains("216 read, 208 kept"), "{stdout}");
}

#[test]
fn json_carries_the_same_facts() {
    let output = check(&[FACTQA, "--json", "--require-positive"]);
    let (stdout, _) = texts(&output);
    let report: serde_json::Value = serde_json::from_str(&stdout).expect("JSON on stdout");
    assert_eq!(report["queries"]["train"], 309);
    assert_eq!(report["kept_queries"]["train"], 172);
    assert_eq!(report["dropped"]["no_positive"], 163);
    assert_eq!(report["dropped"]["non_integer_keys"], 1);
    assert_eq!(report["rewards"][0]["health"]["groups"], 172);
    assert_eq!(report["right"]["right"], 835);
    assert_eq!(report["matrix"], serde_json::Value::Null);
}

#[test]
fn a_sweep_file_is_checked_with_its_evaluation() {
    let directory = tempfile::tempdir().expect("a directory");
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/data/factqa");
    let data = data.display();
    let text = format!(
        "name = \"t\"\n[data]\ntrajectories = \"{data}/rl_data.json\"\nembeddings = \"{data}/embeddings.safetensors\"\n\
         [grid]\nkl_beta = [0.1, 0.2]\nsoft_weight = [1.0, 0.5]\n\
         [eval]\nlogged = \"{data}/eval_logged.jsonl\"\nshots = [1, 2]\nscore = \"vqa_correct\"\n"
    );
    let path = directory.path().join("t.toml");
    sweep::disk::write(&path, text.as_bytes()).expect("written");
    let path = path.display().to_string();
    let output = check(&[&path]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stderr.as_str()), (Some(0), ""));
    for line in [
        "reward hard_plus_soft in the 309 training groups\n",
        "reward hard_plus_soft (soft_weight 0.5) in the 309 training groups\n",
        "  score          vqa_correct (means below)\n",
        "  no training      1-shot   2-shot\n",
        "    random          0.182    0.264\n",
        "    nearest         0.270    0.435\n",
        "    oracle          0.443    0.609\n",
    ] {
        assert!(stdout.contains(line), "{line:?} in\n{stdout}");
    }
    // Of the four points two differ in their rewards.
    assert_eq!(stdout.matches("reward hard_plus_soft").count(), 2);

    let (stdout, _) = texts(&check(&[&path, "--set", "data.require_positive=true"]));
    assert!(stdout.contains("163 queries without a correct trajectory"), "{stdout}");
    let output = check(&[&path, "--set", "eval.shots=5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(texts(&output).1.contains("no query has 5 shots\nhint: the file has shots 1, 2, 3, 4"));
    let output = check(&[&path, "--require-positive"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(texts(&output).1.contains("hint: --set data.require_positive=... overrides the file"));
}

#[test]
fn a_flat_reward_is_a_warning_with_a_way_out() {
    let (_, stderr) = texts(&check(&[FACTQA, "--reward-mode", "legacy"]));
    let expected = "warning: 309 of 309 training groups carry no signal under `legacy`\n\
                    hint: legacy rewards are 0 unless alpha or beta is given\n";
    assert_eq!(stderr, expected);
}

/// Three of four queries have only wrong answers.
fn mostly_wrong(directory: &Path) -> String {
    let group = |id: u32, correct: u8| {
        format!(
            "\"{id}\": {{\"candidate_pool_ids\": [8, 9], \"pointer_candidates\": [\
             {{\"pointer\": [0], \"vqa_correct\": {correct}, \"vqa_acc_score\": 0}}, \
             {{\"pointer\": [1], \"vqa_correct\": 0, \"vqa_acc_score\": 0}}]}}"
        )
    };
    let text = format!("{{{}}}", [group(1, 0), group(2, 1), group(3, 0), group(4, 0)].join(","));
    let path = directory.join("rl.json");
    sweep::disk::write(Path::new(&path), text.as_bytes()).expect("written");
    path.display().to_string()
}

#[test]
fn more_than_half_without_signal_is_a_warning() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = mostly_wrong(directory.path());
    let output = check(&[&path, "--train-fraction", "1"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout.contains("3 groups (75.0%): all rewards equal"), "{stdout}");
    assert!(stderr.contains("warning: no query is left for validation"), "{stderr}");
    assert!(
        stderr.contains("warning: 3 of 4 training groups carry no signal under `hard_plus_soft`\nhint: "),
        "{stderr}"
    );
    // A mode whose scores are missing: the counts are shown, the check fails.
    let output = check(&[&path, "--reward-mode", "hard01_plus_gtprob"]);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout.contains("reward hard01_plus_gtprob: cannot be computed"), "{stdout}");
    assert!(stderr.contains("needs `vqa_gt_prob`, which trajectory 0 of query 1 does not have"), "{stderr}");
}

#[test]
fn unusable_data_exit_1_and_unreadable_files_exit_2() {
    let directory = tempfile::tempdir().expect("a directory");
    let cut = directory.path().join("cut.json");
    let text = fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(FACTQA)).expect("readable");
    sweep::disk::write(&cut, &text[..text.len() / 2]).expect("written");
    let output = check(&[&cut.display().to_string()]);
    let (stdout, stderr) = texts(&output);
    assert_eq!((output.status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.starts_with("error: `") && stderr.contains("cut.json`:195:"), "{stderr}");
    assert!(stderr.contains("hint: the file is cut off"), "{stderr}");

    // Embeddings of another data set.
    let output = check(&[FACTQA, "--embeddings", "tests/golden/embeddings.safetensors"]);
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr.contains("outside the embedding matrix of 400 rows\nhint: row = global id"), "{stderr}");

    for arguments in [
        &["no/such.json"][..],
        &[FACTQA, "--embeddings", "no/such.pt"],
        &[FACTQA, "--train-fraction", "1.5"],
        &[FACTQA, "--reward-mode", "hard"],
    ] {
        let output = check(arguments);
        let (stdout, stderr) = texts(&output);
        assert_eq!((output.status.code(), stdout.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(stderr.starts_with("error: "), "{stderr}");
    }
}
