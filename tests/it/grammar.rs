//! One grammar for naming points, in every command that does: `--where` of sweep files and of results, `--set`,
//! `--baseline`, `--point`, `use`.

use crate::sandbox::{Sandbox, texts};

const GRID: &str = "[model]\nhidden = 8\n[train]\nrce_epochs = 1\n[grid]\nkl_beta = [0.1, 0.15]\nfreeze = [[\"backbone\"], []]\n\
                    top_k = [[3, 5], [2, 4]]\nseed = [0, 1]\ngrpo_epochs = [1]\n[baseline]\nkl_beta = 0.1\nfreeze = []\ntop_k = [3, 5]\n";

fn finished() -> (Sandbox, String) {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("words", GRID);
    sandbox.ok(&["run", &file, "--out", "results"]);
    (sandbox, file)
}

/// The conditions, and how many of the 16 points satisfy them.
const CONDITIONS: &[(&[&str], usize)] = &[
    (&["kl_beta=0.1"], 8),
    (&["train.kl_beta=.10"], 8),
    (&["KL_BETA=1e-1"], 8),
    (&["kl_beta=0.1,0.15"], 16),
    (&["kl_beta=0.1", "kl_beta=0.15"], 16),
    (&["kl_beta=0.1", "seed=1"], 4),
    (&["seed=0,1", "kl_beta=0.15"], 8),
    (&["freeze=backbone"], 8),
    (&["freeze=[backbone]"], 8),
    (&["freeze=[\"backbone\"]"], 8),
    (&["freeze=[]"], 8),
    (&["freeze=[]", "freeze=backbone"], 16),
    (&["FREEZE_BACKBONE_IN_GRPO=true"], 8),
    (&["top_k=[3,5]"], 8),
    (&["top_k=3,5"], 8),
    (&["top_k=[3,5]", "top_k=[2,4]", "kl_beta=0.1"], 8),
];

#[test]
fn conditions_mean_the_same_on_files_and_on_results() {
    let (sandbox, file) = finished();
    for (conditions, expected) in CONDITIONS {
        let flags: Vec<&str> = conditions.iter().flat_map(|condition| ["--where", condition]).collect();
        let planned = sandbox.json(&[&["plan", &file][..], &flags].concat());
        assert_eq!(planned["points"], *expected, "plan {conditions:?}");
        let table =
            sandbox.ok(&[&["table", "results/words", "--format", "csv", "--points"][..], &flags].concat());
        let rows = table.lines().skip(1).filter(|line| line.contains(",done,")).count();
        assert_eq!(rows, *expected, "table {conditions:?}\n{table}");
    }
}

#[test]
fn one_point_is_named_the_same_way_everywhere() {
    let (sandbox, _) = finished();
    let name = "kl0.15-unfrozen-topk2_4-s1";
    for point in [
        name,
        "kl_beta=0.15,freeze=[],top_k=[2,4],seed=1",
        "KL_BETA=.15,train.freeze=[],top_k=[2, 4],seed=1",
        "freeze=[],kl_beta=0.15,seed=1,top_k=2,4",
    ] {
        let why = sandbox.ok(&["why", "results/words", "--point", point, "--shot", "1"]);
        assert!(why.contains(name), "{point}: {why}");
        let used = texts(&sandbox.sweep(&["use", "results/words", point])).1;
        assert!(used.contains(&format!("in use: {name}")), "{point}: {used}");
        let table = sandbox.ok(&["table", "results/words", "--baseline", point, "--points"]);
        let base = table.lines().find(|line| line.contains("| baseline |")).expect("a baseline");
        assert!(base.contains(name), "{point}: {base}");
    }
    // The seed may be left open where all of them will do, and not where one point is wanted.
    let open = "kl_beta=0.15,freeze=[],top_k=[2,4]";
    sandbox.ok(&["table", "results/words", "--baseline", open]);
    sandbox.ok(&["why", "results/words", "--point", open, "--shot", "1"]);
    let several = sandbox.sweep(&["use", "results/words", open]);
    let text = texts(&several).1;
    assert_eq!(several.status.code(), Some(2), "{text}");
    assert!(text.contains("is several points: ") && text.contains("add seed=N"), "{text}");
}

#[test]
fn values_are_set_in_the_same_words() {
    let (sandbox, file) = finished();
    for (set, points) in [
        ("kl_beta=.1", 8),
        ("KL_BETA=0.1", 8),
        ("freeze=[]", 8),
        ("freeze=backbone", 8),
        ("top_k=[3,5]", 8),
        ("top_k=3,5", 8),
    ] {
        let planned = sandbox.json(&["plan", &file, "--set", set]);
        assert_eq!(planned["points"], points, "{set}");
    }
}

#[test]
fn paths_may_be_quoted() {
    let sandbox = Sandbox::new();
    let file = sandbox.factqa("first", "[model]\nhidden = 8\n[train]\nrce_epochs = 1\n");
    sandbox.ok(&["run", &file, "--out", "results"]);
    let found = sandbox.files("results/first");
    let (_, bytes) =
        found.iter().find(|(name, _)| name.ends_with("rce_epoch1.safetensors")).expect("weights");
    sandbox.write("my weights, a.safetensors", bytes);
    sandbox.write("b.safetensors", bytes);
    let grid = "[model]\nhidden = 8\n[train]\nrce_epochs = 0\ngrpo_epochs = 1\n[grid]\ninit = [\"my weights, a.safetensors\", \"b.safetensors\"]\nseed = [0, 1]\n";
    let file = sandbox.factqa("starts", grid);
    sandbox.ok(&["run", &file, "--out", "results"]);
    for condition in ["init=\"my weights, a.safetensors\"", "init=b.safetensors"] {
        let planned = sandbox.json(&["plan", &file, "--where", condition]);
        assert_eq!(planned["points"], 2, "{condition}");
        let table =
            sandbox.ok(&["table", "results/starts", "--format", "csv", "--points", "--where", condition]);
        let rows = table.lines().filter(|line| line.contains(",done,")).count();
        assert_eq!(rows, 2, "{condition}: {table}");
    }
}
