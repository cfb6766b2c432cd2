//! Scripts of two labs against hand-made tables; no input panics.

use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::{Given, Point, Reading, Script, read, sweep_files};

fn fixture(folder: &str) -> Vec<Reading> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scripts").join(folder);
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(root).expect("fixtures").map(|entry| entry.expect("listed").path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| {
            of(&path.file_name().unwrap().to_string_lossy(), &std::fs::read_to_string(path).unwrap(), &[])
        })
        .collect()
}

fn of(name: &str, text: &str, values: &[(&str, &str)]) -> Reading {
    let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let given = Given { values, root: PathBuf::from("/lab") };
    let script =
        Script { name: name.to_owned(), path: Path::new("/lab/scripts").join(name), text: text.to_owned() };
    read(&script, &given)
}

fn line(point: &Point) -> String {
    let mut settings: Vec<String> =
        point.settings.iter().map(|setting| format!("{}={}", setting.key.name, setting.value)).collect();
    settings.sort();
    format!("{}: {}", point.script, settings.join(" ").replace('"', ""))
}

fn lines(readings: &[Reading]) -> Vec<String> {
    readings.iter().flat_map(|reading| &reading.points).map(line).collect()
}

#[test]
fn the_labs_scripts_are_the_points_of_the_table() {
    let start = "embeddings=/lab/results/okvqa/cache/query_embeddings.pt";
    let grpo = |name: &str, frozen: bool, lr: &str, kl: &str| {
        let freeze = if frozen { "freeze=[input_proj, query_proj, cand_proj] " } else { "" };
        format!(
            "train_grpo_{name}.sh: {start} {freeze}grpo_epochs=3 grpo_lr={lr} init=/lab/results/okvqa/model_cpk/kl012/rce_epoch5.pt kl_beta={kl} rce_epochs=0 trajectories=/lab/results/okvqa/generated_data/rl_data_k64_v3.json"
        )
    };
    let rce = |name: &str, epochs: u32, more: &str| {
        format!(
            "rce_balanced_v2_{name}.sh: {start} grpo_epochs=0 rce_epochs={epochs} rce_lr=1e-4{more} trajectories=/lab/results/okvqa/generated_data/rl_data_balanced_v2.json"
        )
    };
    let expected = [
        rce("e2", 2, ""),
        rce("normalized", 5, " rce_reward=normalized"),
        rce("raw", 5, ""),
        rce("temp", 5, " rce_temperature=[1, 0.2]"),
        grpo("kl01", false, "5e-6", "0.1"),
        grpo("kl012_frozen", true, "5e-6", "0.12"),
        grpo("kl0145_frozen", true, "5e-6", "0.15"),
        grpo("kl0155_frozen", true, "5e-6", "0.155"),
        grpo("kl015_frozen_lr2e-5", true, "2e-5", "0.15"),
        grpo("kl015_unfrozen_from_rce", false, "5e-6", "0.15"),
        grpo("kl018_frozen", true, "5e-6", "0.18"),
        grpo("kl018_frozen_copy", true, "5e-6", "0.18"),
    ];
    // Switches that a script leaves off are not set, so the table has no `freeze` there.
    assert_eq!(lines(&fixture("lab")), expected);
}

#[test]
fn what_depends_on_more_than_the_script_is_unread() {
    let readings = fixture("lab");
    let unread: Vec<&str> = readings
        .iter()
        .filter(|reading| !reading.unread.is_empty())
        .map(|reading| reading.script.as_str())
        .collect();
    assert_eq!(unread, ["train_from_arguments.sh", "train_if_missing.sh"]);
    let idle: Vec<&str> = readings
        .iter()
        .filter(|reading| reading.points.is_empty() && reading.unread.is_empty())
        .map(|reading| reading.script.as_str())
        .collect();
    assert_eq!(idle, ["eval_grpo_kl015.sh", "inference.sh", "plot_kl.sh"]);
}

#[test]
fn contradictions_are_said() {
    let said: Vec<String> = fixture("lab")
        .iter()
        .flat_map(|reading| {
            reading.contradictions.iter().map(|one| format!("{}:{}", reading.script, one.text))
        })
        .collect();
    let all = said.join("\n");
    assert!(
        all.contains("train_grpo_kl0145_frozen.sh:the name says kl0145, but train.kl_beta = 0.15"),
        "{all}"
    );
    assert!(
        all.contains("train_grpo_kl01.sh:the comment says frozen, but the command freezes nothing"),
        "{all}"
    );
    assert_eq!(said.len(), 2, "{all}");
}

#[test]
fn arguments_and_variables_fill_what_is_missing() {
    let text = "python train.py --grpo_lr $1 --kl_beta ${KL:?} --grpo_epochs ${2:-3}";
    assert_eq!(of("a.sh", text, &[]).points.len(), 0);
    let reading = of("a.sh", text, &[("1", "1e-5"), ("KL", "0.2")]);
    assert_eq!(lines(&[reading]), ["a.sh: grpo_epochs=3 grpo_lr=1e-5 kl_beta=0.2"]);
}

#[test]
fn another_labs_style_is_read_or_unread_and_never_wrong() {
    let readings = fixture("other");
    let data = "embeddings=/lab/data/emb.npy";
    let array = |name: &str, kl: &str| {
        format!("{name}: {data} grpo_epochs=4 kl_beta={kl} trajectories=/lab/data/rl.json")
    };
    let hydra = |kl: &str, lr: &str| {
        format!(
            "hydra_loop.sh: {data} grpo_epochs=2 grpo_lr={lr} kl_beta={kl} trajectories=/lab/data/rl.json"
        )
    };
    let expected = [
        array("array.slurm", "0.1"),
        array("array.slurm", "0.15"),
        array("array.slurm", "0.2"),
        hydra("0.1", "5e-6"),
        hydra("0.1", "1e-5"),
        hydra("0.12", "5e-6"),
        hydra("0.12", "1e-5"),
        array("list.sh", "0.1"),
        array("list.sh", "0.2"),
    ];
    assert_eq!(lines(&readings), expected);
    let unread: Vec<&str> = readings
        .iter()
        .filter(|reading| !reading.unread.is_empty())
        .map(|reading| reading.script.as_str())
        .collect();
    assert_eq!(unread, ["braces.sh", "parallel.sh", "xargs.sh"]);
}

/// Each of these once looked like less, or like more, than it is.
#[test]
fn a_command_is_read_whole_or_not_at_all() {
    let read = |text: &str| {
        let reading = of("a.sh", text, &[]);
        assert!(reading.programs.is_empty(), "{text}: {:?}", reading.programs);
        let unread: Vec<String> = reading.unread.iter().map(|remark| remark.text.clone()).collect();
        (lines(&[reading]).concat().replace("a.sh: ", "|"), unread.join("\n"))
    };
    for (text, expected) in [
        // Hydra's list of values is as many runs.
        (
            "python train.py -m kl_beta=0.1,0.12 grpo_lr=1e-5",
            "|grpo_lr=1e-5 kl_beta=0.1|grpo_lr=1e-5 kl_beta=0.12",
        ),
        (
            "python train.py kl_beta=0.1,0.2 seed=0,1 --multirun",
            "|kl_beta=0.1 seed=0|kl_beta=0.1 seed=1|kl_beta=0.2 seed=0|kl_beta=0.2 seed=1",
        ),
        ("accelerate launch --num_processes 2 train.py --kl_beta 0.1", "|kl_beta=0.1"),
        ("torchrun --nproc_per_node=1 -m lab.train --kl_beta 0.1", "|kl_beta=0.1"),
        ("conda run -n x python train.py --kl_beta 0.1", "|kl_beta=0.1"),
        ("timeout 3h nice -n 5 python3.11 train.py --kl_beta 0.1", "|kl_beta=0.1"),
        ("python main.py train --kl_beta 0.1", "|kl_beta=0.1"),
        ("python train.py --kl_beta 0.1 --kl_beta 0.2", "|kl_beta=0.2"),
        (
            "K=0.5; (K=0.7; python train.py --kl_beta $K); python train.py --kl_beta $K",
            "|kl_beta=0.7|kl_beta=0.5",
        ),
        ("for i in $(seq 1 2); do python train.py --grpo_epochs $i; done", "|grpo_epochs=1|grpo_epochs=2"),
    ] {
        assert_eq!(read(text), (expected.to_owned(), String::new()), "{text}");
    }
    for (text, cause) in [
        (
            "python train.py -m 'kl_beta=range(1,3)'",
            "`kl_beta=range(1,3)` under `--multirun` is not followed",
        ),
        ("python train.py kl_beta=0.1,0.2", "kl_beta"),
        ("python train.py @args.txt --kl_beta 0.1", "what `@args.txt` means is not known"),
        ("python train.py 0.3 --kl_beta 0.1", "what `0.3` means is not known"),
        ("python train.py --kl_beta 0.1 0.2", "what `0.2` means is not known"),
        ("python train.py --config cfg.yaml --kl_beta 0.1", "values also stand in `cfg.yaml`"),
        (
            "env KL_BETA=0.3 python train.py --grpo_lr 1e-5",
            "`KL_BETA=0.3` before the program is not followed",
        ),
        ("docker run img python train.py --kl_beta 0.1", "is not followed"),
        ("sbatch --wrap 'python train.py --kl_beta 0.1'", "is not followed"),
        ("bash other.sh 0.1", "is not followed"),
        ("python - <<EOF\ntrain(kl_beta=0.1)\nEOF\n", "is not followed"),
        ("python train.py --kl_beta $((1+1))", "is not followed"),
        ("python train.py --kl_beta ${KL/5/6}", "is not followed"),
        ("python train.py --kl_beta $(cat kl.txt)", "only known when it runs"),
        ("for ((i=1;i<4;i++)); do python train.py --grpo_epochs $i; done", "the loop in line 1"),
        ("source config.env\npython train.py --kl_beta $KL", "`config.env`"),
    ] {
        let (points, unread) = read(text);
        assert!(points.is_empty() && unread.contains(cause), "{text}: {points}: {unread}");
    }
}

#[test]
fn one_sweep_file_per_data_and_start_has_exactly_the_points() {
    let points: Vec<Point> = fixture("lab").into_iter().flat_map(|reading| reading.points).collect();
    let files = sweep_files(&points, Path::new("/lab"), |_| false).expect("they can be written");
    let found: Vec<(&str, usize, usize)> =
        files.iter().map(|file| (file.name.as_str(), file.points, file.missing.len())).collect();
    assert_eq!(found, [("rce_balanced_v2", 4, 2), ("train_grpo", 7, 3)]);
    assert_eq!(files[1].same.len(), 1, "{:?}", files[1].same);
}

proptest! {
    #[test]
    fn no_text_panics(text in "(?s).{0,200}") {
        of("a.sh", &text, &[]);
    }

    #[test]
    fn no_shuffle_of_shell_panics(parts in proptest::collection::vec(proptest::sample::select(vec![
        "if ", "then\n", "fi\n", "for a in ", "do\n", "done\n", "case ", "esac\n", "$(", ")", "${", "}", "A=", "eval ",
        "\"", "'", "python train.py --kl_beta ", "0.1", "$A", "${A:-", "((", "[[ ", " ]]", " = ", "\\\n", " && ", " || ",
        "(", "{ ", "; ", "\n", "<<EOF\n", "EOF\n", "冻结", "`", "#", "A[", "]", "|", "&", "f() { ", "f\n", "-",
    ]), 0..40)) {
        of("a.sh", &parts.concat(), &[]);
    }

    /// Rows that are written as a grid read back as the same rows (`sweep_files` compares them itself).
    #[test]
    fn every_set_of_points_can_be_written(chosen in proptest::collection::btree_set((0_usize..4, 0_usize..3, 0_usize..3), 1..20)) {
        let text: String = chosen.iter().map(|(kl, lr, epochs)| format!(
            "python train.py --beam_data d.json --img_emb e.pt --kl_beta 0.{} --grpo_lr {}e-5 --grpo_epochs {}\n", kl + 1, lr + 1, epochs + 1
        )).collect();
        let reading = of("a.sh", &text, &[]);
        prop_assert_eq!(reading.points.len(), chosen.len());
        let files = sweep_files(&reading.points, Path::new("/lab"), |_| true);
        prop_assert_eq!(files.map(|files| files[0].points), Ok(chosen.len()));
    }
}
