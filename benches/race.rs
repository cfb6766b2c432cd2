//! The race: the grid of `sweeps/race.toml` in one `sweep run`, against the same points run one by one, each its
//! own process, with sharing and fusion off.
//!
//! `cargo run --release --example make_race` makes the data;
//! `cargo bench --bench race [-- --full] [-- --save]`. Without `--full` one point of each (freeze, epochs) is
//! run alone and counted for all of its kind.

mod common;

use std::fmt::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const BETAS: [&str; 4] = ["0.10", "0.12", "0.15", "0.18"];
const RATES: [&str; 3] = ["5e-6", "1e-5", "2e-5"];
const FREEZES: [&str; 2] = ["backbone", "none"];
const EPOCHS: [&str; 3] = ["1", "2", "3"];

/// What processes cost.
#[derive(Clone, Copy, Default)]
struct Cost {
    /// Seconds.
    wall: f64,
    cpu: f64,
    /// MB of the largest one.
    memory: f64,
}

impl Cost {
    fn add(&mut self, other: Cost, times: f64) {
        self.wall += times * other.wall;
        self.cpu += times * other.cpu;
        self.memory = self.memory.max(other.memory);
    }
}

/// Runs `sweep run sweeps/race.toml` with further arguments into a directory of its own.
fn timed(arguments: &[String]) -> std::io::Result<Cost> {
    let out = tempfile::tempdir()?;
    let before = common::children_cpu();
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sweep"))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["run", "sweeps/race.toml", "--device", "cpu", "--out"])
        .arg(out.path())
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let mut memory = 0.0;
    let status = loop {
        memory = common::peak_memory(&child.id().to_string()).unwrap_or(memory);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let wall = began.elapsed().as_secs_f64();
    if !status.success() {
        return Err(std::io::Error::other(format!("sweep run {arguments:?}: {status}")));
    }
    Ok(Cost { wall, cpu: common::children_cpu() - before, memory })
}

/// The points that are run alone, and how many each stands for.
fn sample(full: bool) -> Vec<(Vec<String>, f64)> {
    let mut sample = Vec::new();
    for (stratum, (freeze, epochs)) in
        FREEZES.into_iter().flat_map(|freeze| EPOCHS.map(|epochs| (freeze, epochs))).enumerate()
    {
        let all: Vec<(&str, &str)> =
            BETAS.into_iter().flat_map(|beta| RATES.map(|rate| (beta, rate))).collect();
        // Another KL_BETA and learning rate in every stratum.
        let chosen = if full { all.clone() } else { vec![all[(5 * stratum) % all.len()]] };
        let times = all.len() as f64 / chosen.len() as f64;
        for (beta, rate) in chosen {
            let conditions = [
                format!("kl_beta={beta}"),
                format!("grpo_lr={rate}"),
                format!("freeze={freeze}"),
                format!("grpo_epochs={epochs}"),
            ];
            let mut arguments = vec!["--no-share".to_owned(), "--cohort".to_owned(), "1".to_owned()];
            arguments.extend(conditions.into_iter().flat_map(|text| ["--where".to_owned(), text]));
            sample.push((arguments, times));
        }
    }
    sample
}

fn race() -> std::io::Result<String> {
    let full = common::flag("--full");
    let points = BETAS.len() * RATES.len() * FREEZES.len() * EPOCHS.len();
    let mut text = format!("# The race: {points} points\n\n{}\n", common::machine());
    let together = timed(&[])?;
    let mut alone = Cost::default();
    let sample = sample(full);
    for (arguments, times) in &sample {
        alone.add(timed(arguments)?, *times);
    }
    text += "| | wall, s | CPU, s | peak memory, MB |\n|---|---:|---:|---:|\n";
    for (name, cost) in [("one `sweep run`", together), ("one process per point, nothing shared", alone)] {
        let _ = writeln!(text, "| {name} | {:.2} | {:.2} | {:.0} |", cost.wall, cost.cpu, cost.memory);
    }
    let (wall, cpu) = (alone.wall / together.wall, alone.cpu / together.cpu);
    let _ = writeln!(text, "| **ratio** | **{wall:.1}** | **{cpu:.1}** | |\n");
    let how = match full {
        true => format!("All {points} points were run alone."),
        false => format!(
            "{} points were run alone, one of each freeze set and number of epochs; each counts for {}.",
            sample.len(),
            points / sample.len()
        ),
    };
    let _ = writeln!(
        text,
        "{how} A process alone already has this program's kernels; it trains its own warm-up and all of its epochs."
    );
    Ok(text)
}

#[expect(clippy::print_stderr, reason = "a bench's message")]
fn main() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("sweeps/data/race/rl_data.json");
    if !data.is_file() {
        eprintln!("the race needs its data: cargo run --release --example make_race");
        return;
    }
    match race() {
        Ok(text) => common::report("race", &text),
        Err(error) => eprintln!("error: {error}"),
    }
}
