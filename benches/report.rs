//! What `sweep report` and `sweep table` cost on large sweeps: directories as a run leaves them, made without training.
//!
//! `cargo bench --bench report [-- --points 216,2016] [-- --keep DIR] [-- --save]`. With `--keep` the directories and
//! pages stay: `tests/browser/report_test.py DIR/grid2016/report.html --time` says how soon a page can be used.

mod common;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/it/fixture.rs"]
mod fixture;

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sweep::disk;
use sweep::report::{MatrixOptions, matrix};

/// Evaluation queries of every point, at four shot counts.
const QUERIES: u64 = 200;
/// Points of the fixture's grid per seed.
const PER_SEED: u64 = 72;
/// Times that a command is run; the quickest counts.
const TIMES: usize = 3;

/// Seconds of wall and of processor time, and MB, of the quickest of some runs of `sweep`.
fn timed(arguments: &[&str], root: &Path) -> std::io::Result<[f64; 3]> {
    let mut best = [f64::INFINITY, 0.0, 0.0];
    for _ in 0..TIMES {
        let (began, before) = (Instant::now(), common::children_cpu());
        let mut child = Command::new(env!("CARGO_BIN_EXE_sweep"))
            .current_dir(root)
            .args(arguments)
            .stdout(Stdio::null())
            .spawn()?;
        let mut memory = 0.0;
        let status = loop {
            memory = common::peak_memory(&child.id().to_string()).unwrap_or(memory);
            match child.try_wait()? {
                Some(status) => break status,
                None => std::thread::sleep(Duration::from_millis(2)),
            }
        };
        if !status.success() {
            return Err(std::io::Error::other(format!("sweep {arguments:?}: {status}")));
        }
        let wall = began.elapsed().as_secs_f64();
        if wall < best[0] {
            best = [wall, common::children_cpu() - before, memory];
        }
    }
    Ok(best)
}

/// Writes a grid of about `points` points with its matrix below `root`; returns its name and points.
fn synthesize(points: u64, root: &Path) -> std::io::Result<(String, u64)> {
    let seeds = points.div_ceil(PER_SEED);
    let name = format!("grid{}", seeds * PER_SEED);
    if !root.join(&name).join("matrix.csv").is_file() {
        let results = fixture::grid(&name, seeds, QUERIES);
        let dir = fixture::write(&results, root);
        for (file, bytes) in matrix(&results, &MatrixOptions::default()).files() {
            disk::write(&dir.join(file), &bytes).map_err(std::io::Error::other)?;
        }
    }
    Ok((name, seeds * PER_SEED))
}

fn main() -> std::io::Result<()> {
    let room = tempfile::tempdir()?;
    let root = common::option("--keep").map_or_else(|| room.path().to_owned(), PathBuf::from);
    let asked = common::option("--points").unwrap_or_else(|| "216,2016,10008".to_owned());
    let mut text = format!(
        "# `sweep report` and `sweep table` on large sweeps\n\n{}\n{QUERIES} queries at four shot counts; the quickest of {TIMES} runs. `report` and `table` read the stored matrix, `anew` every figure is computed.\n\n| points | command | seconds | processor, s | memory, MB | page, MB |\n| ---: | --- | ---: | ---: | ---: | ---: |\n",
        common::machine()
    );
    for points in asked.split(',').filter_map(|text| text.trim().parse().ok()) {
        let (name, points) = synthesize(points, &root)?;
        let commands: [(&str, Vec<&str>); 3] = [
            ("report", vec!["report", &name]),
            ("table", vec!["table", &name]),
            (
                "table anew",
                vec!["table", &name, "--baseline", "kl_beta=0.15,grpo_lr=5e-6,grpo_epochs=1,freeze=backbone"],
            ),
        ];
        for (command, arguments) in commands {
            let [seconds, cpu, memory] = timed(&arguments, &root)?;
            let page = match command {
                "report" => {
                    let bytes = std::fs::metadata(root.join(&name).join("report.html"))?.len();
                    format!("{:.2}", bytes as f64 / 1e6)
                }
                _ => String::new(),
            };
            let _ =
                writeln!(text, "| {points} | {command} | {seconds:.2} | {cpu:.2} | {memory:.0} | {page} |");
        }
    }
    common::report("report", &text);
    Ok(())
}
