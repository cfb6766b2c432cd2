//! `sweep status`

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::output;
use crate::event::Asking;
use crate::run::{Status, status};
use crate::store::Usage;
use crate::text::{duration, plural, size, thousands};

/// How often `--follow` looks.
const INTERVAL: Duration = Duration::from_secs(1);

/// Say how sweeps stand: points done, running, failed, left; remaining time; warnings
///
/// Works from any terminal while a run goes on, and afterwards. Exit code 1 if a point has failed.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Results directories, such as results/kl_grid, or a root that holds some
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Say it again whenever something changes, until no run is left
    #[arg(long)]
    follow: bool,
    /// One JSON object per directory and line
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

/// Prints how the sweeps stand.
///
/// # Errors
/// A directory that holds no results.
pub fn run(args: &StatusArgs) -> anyhow::Result<u8> {
    let dirs = sweeps(&args.dirs)?;
    let mut said = String::new();
    loop {
        let all = dirs.iter().map(|dir| Ok(status(dir, now())?)).collect::<anyhow::Result<Vec<Status>>>()?;
        let text: String = all.iter().map(|one| if args.json { json(one) } else { text(one) }).collect();
        // The remaining time changes with every look; it alone is no news.
        let news: String = all
            .iter()
            .map(|one| json(&Status { eta_seconds: None, usage: Usage::default(), ..one.clone() }))
            .collect();
        if news != said {
            output::result(&text);
            said = news;
        }
        if !args.follow || !output::is_read() || all.iter().all(|one| one.holder.is_none()) {
            return Ok(u8::from(all.iter().any(|one| one.failed > 0)));
        }
        std::thread::sleep(INTERVAL);
    }
}

/// Directories of results as they are; others by the results in them.
fn sweeps(given: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut dirs = Vec::new();
    for dir in given {
        let is_sweep = |dir: &PathBuf| dir.join("resolved.json").is_file();
        let entries = fs_err::read_dir(dir)?.flatten().map(|entry| entry.path());
        let mut below: Vec<PathBuf> = entries.filter(is_sweep).collect();
        if is_sweep(dir) || below.is_empty() {
            dirs.push(dir.clone());
        } else {
            below.sort();
            dirs.extend(below);
        }
    }
    Ok(dirs)
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn json(status: &Status) -> String {
    serde_json::to_string(status).map_or_else(|_| String::new(), |line| line + "\n")
}

/// How the judge is doing, or did.
fn asking(judge: &Asking, running: bool) -> String {
    let Asking { naive, distinct, cached, asked, failed, left, per_second, faults } = judge;
    let counts = [naive, distinct, cached, asked].map(|count| thousands(*count));
    let [naive, distinct, cached, asked] = counts;
    let mut text = format!(
        "  judge: {naive} questions, {distinct} of them distinct, {cached} answered before, {asked} asked, {} to go",
        thousands(*left)
    );
    if let Some(rate) = per_second.filter(|_| running && *left > 0) {
        text += &format!(" ({rate:.1} a second, about {} left)", duration(*left as f64 / *rate));
    }
    if *failed > 0 {
        text += &format!(", {}", plural(*failed, "error"));
    }
    text.push('\n');
    for fault in faults {
        text += &format!("  warning: the judge: {fault}\n");
    }
    text
}

fn text(status: &Status) -> String {
    let Status { points, done, failed, running, pending, .. } = status;
    let mut text = format!(
        "{}: {done} of {} done, {running} running, {failed} failed, {pending} pending\n",
        status.name,
        plural(*points, "point")
    );
    match (&status.holder, status.eta_seconds) {
        (Some(holder), Some(eta)) => text += &format!("  {holder}; about {} left\n", duration(eta)),
        (Some(holder), None) => text += &format!("  {holder}\n"),
        (None, _) if done + failed == *points => {}
        (None, _) => text += "  no run is going on; `sweep run` with the same file goes on\n",
    }
    for training in &status.training {
        let together = match training.members {
            1 => "one run".to_owned(),
            members => format!("{members} runs together"),
        };
        text += &format!(
            "  training {} epochs {}-{}, {together}\n",
            training.phase, training.first_epoch, training.last_epoch
        );
        for stage in &training.stages {
            let name = stage.point.as_deref().unwrap_or(stage.stage.get(..12).unwrap_or(&stage.stage));
            let val_loss = stage.val_loss.map_or(String::new(), |loss| format!(", val_loss {loss:.4}"));
            text += &format!("    {name}: epoch {}, loss {:.4}{val_loss}\n", stage.epoch, stage.train_loss);
        }
    }
    if let Some(judge) = &status.judge {
        text += &asking(judge, status.holder.is_some());
    }
    let Usage { weights, optimizer, set_aside, .. } = status.usage;
    let parts = [("weights", weights), ("optimizer states", optimizer), ("set aside", set_aside)];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
        .collect();
    let parts = if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) };
    text += &format!("  {} on the disk{parts}\n", size(status.usage.total()));
    for warning in &status.warnings {
        text += &format!("  warning: {warning}\n");
    }
    text
}
