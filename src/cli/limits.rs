//! The flags that say when a run ends, and what it does about failures.

use std::path::Path;
use std::time::{Duration, Instant};

use super::{output, wayland};
use crate::experiment::Cancel;
use crate::run::{Outcome, RunOptions};

/// When a run ends.
#[derive(Clone, Debug, clap::Args)]
pub struct LimitArgs {
    /// Start in a new directory (NAME-2, ...) and take nothing over; nothing is ever deleted
    #[arg(long, conflicts_with = "name", env = "SWEEP_FRESH")]
    fresh: bool,
    /// Call the sweep NAME instead of what its file says: results go to ROOT/NAME
    #[arg(long, value_name = "NAME", env = "SWEEP_NAME")]
    name: Option<String>,
    /// Stop in time: 90s, 30m, 8h, 1h30m; every point's first seed is trained before any second one
    #[arg(long, value_name = "TIME", env = "SWEEP_BUDGET", value_parser = parse_time)]
    budget: Option<Duration>,
    /// Stop after N failed points
    #[arg(long, value_name = "N", env = "SWEEP_MAX_FAIL", value_parser = clap::value_parser!(u32).range(1..))]
    max_fail: Option<u32>,
    /// Stop after the first failed point
    #[arg(long, conflicts_with = "max_fail", env = "SWEEP_FAIL_FAST")]
    fail_fast: bool,
    /// Try a stage that failed N more times before its points count as failed
    #[arg(long, value_name = "N", default_value_t = 0, env = "SWEEP_RETRY")]
    retry: u32,
    /// Train diverged stages again too (failed ones always are): the same training diverges again on the same device
    #[arg(long, env = "SWEEP_RETRY_INFEASIBLE")]
    retry_infeasible: bool,
    /// Begin although the disk has less room than the sweep is estimated to need
    #[arg(long, env = "SWEEP_IGNORE_SPACE")]
    ignore_space: bool,
    /// Run CMD by `sh -c` when a sweep has ended; SWEEP_EXIT_CODE, SWEEP_DONE, SWEEP_FAILED, SWEEP_PENDING, SWEEP_DIR are set
    #[arg(long, value_name = "CMD", env = "SWEEP_ON_FINISH")]
    on_finish: Option<String>,
}

impl LimitArgs {
    /// Whether the sweeps start anew.
    pub fn fresh(&self) -> bool {
        self.fresh
    }

    /// The name given for the only sweep.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The moment at which training has to end: a little before the budget does, for the last tables.
    pub fn deadline(&self) -> Option<Instant> {
        let budget = self.budget?;
        let reserve = (budget / 20).min(Duration::from_secs(5));
        Instant::now().checked_add(budget - reserve)
    }

    /// Puts the flags into `options`.
    pub fn apply(&self, options: &mut RunOptions, deadline: Option<Instant>) {
        options.fresh = self.fresh;
        options.deadline = deadline;
        options.retries = self.retry;
        options.ignore_space = self.ignore_space;
        options.retry_infeasible = self.retry_infeasible;
        options.max_failures = if self.fail_fast { Some(1) } else { self.max_fail.map(|most| most as usize) };
    }

    /// Says that nobody will be there to run the command of `--on-finish`.
    pub fn not_waited_for(&self) {
        if self.on_finish.is_some() {
            output::note(
                "warning: the command of `--on-finish` is not run: nobody waits for the job (`--wait`)",
            );
        }
    }

    /// Runs the command of `--on-finish`. That it fails is worth a line and changes nothing.
    pub fn finished(&self, code: u8, outcome: Option<&Outcome>, dir: &Path) {
        let Some(text) = &self.on_finish else { return };
        let mut command = std::process::Command::new("sh");
        wayland::restore(&mut command);
        command.arg("-c").arg(text).env("SWEEP_EXIT_CODE", code.to_string()).env("SWEEP_DIR", dir);
        if let Some(outcome) = outcome {
            command.env("SWEEP_DONE", outcome.done.to_string());
            command.env("SWEEP_FAILED", outcome.failed.to_string());
            command.env("SWEEP_PENDING", outcome.pending.to_string());
        }
        match command.status() {
            Ok(status) if status.success() => {}
            Ok(status) => output::note(&format!("warning: the command of `--on-finish` failed ({status})")),
            Err(error) => output::note(&format!("warning: cannot run the command of `--on-finish`: {error}")),
        }
    }
}

/// Asks the trainer to end at `deadline`.
pub fn end_at(deadline: Option<Instant>, cancel: &Cancel) {
    let Some(deadline) = deadline else { return };
    let cancel = cancel.clone();
    std::thread::spawn(move || {
        std::thread::sleep(deadline.saturating_duration_since(Instant::now()));
        cancel.raise();
    });
}

/// `90s`, `30m`, `8h`, `1d`, and several in a row.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time\nhint: write `90s`, `30m`, `8h` or `1h30m`");
    let mut seconds = 0u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let number: u64 = rest[..digits].parse().map_err(|_| wrong())?;
        let unit = match rest[digits..].chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86400,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(unit).and_then(|more| seconds.checked_add(more)).ok_or_else(wrong)?;
        rest = &rest[digits + 1..];
    }
    if seconds == 0 { Err(wrong()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let seconds = |text| parse_time(text).map(|time| time.as_secs());
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("30m"), Ok(1800));
        assert_eq!(seconds("8h"), Ok(28800));
        assert_eq!(seconds("1h30m"), Ok(5400));
        for wrong in
            ["", "8", "h", "0s", "8 h", "-1h", "1.5h", "8é", "99999999999999999999h", "999999999999999999d"]
        {
            assert!(parse_time(wrong).unwrap_err().contains("hint:"), "{wrong}");
        }
    }
}
