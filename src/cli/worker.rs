//! `sweep worker`: started by `sweep run` on several devices and by the tasks of a cluster job, not by people.

use std::io::Read;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::limits::end_at;
use super::output;
use super::run::{listen, reason, signal_code};
use crate::device::DeviceRequest;
use crate::experiment::Cancel;
use crate::run::{self, Stop, WorkerOptions};

/// Train stages of a prepared results directory beside other workers
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct WorkerArgs {
    /// The results directory that `sweep run` has prepared
    dir: PathBuf,
    /// auto, cpu, cuda, cuda:N or wgpu
    #[arg(long, default_value = "auto")]
    device: String,
    /// Number of workers that share the work
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    crew: u32,
    /// Train at most N runs together
    #[arg(long)]
    cohort: Option<usize>,
    /// Train every point's whole chain on its own
    #[arg(long)]
    no_share: bool,
    /// Further attempts at a stage that failed
    #[arg(long, default_value_t = 0)]
    retry: u32,
    /// Stop in time for this moment (seconds since 1970); every point's first seed is trained before any second one
    #[arg(long, value_name = "TIME")]
    until: Option<f64>,
    /// Stop when so many points are without results, those of earlier runs counted in
    #[arg(long, value_name = "N")]
    max_fail: Option<usize>,
    /// Stop when stdin is closed, and leave the matrix to whoever closes it
    #[arg(long)]
    attached: bool,
}

/// Works until nothing is left to do or the run's limits are reached; 5 if a time limit of the cluster came first.
///
/// # Errors
/// A directory that cannot be worked in.
pub fn run(args: &WorkerArgs) -> anyhow::Result<u8> {
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    if args.attached {
        let cancel = cancel.clone();
        std::thread::spawn(move || {
            // Nothing is ever written to it: the end means that nobody is there any more, or that it is time.
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            cancel.raise();
        });
    }
    let deadline = args.until.map(instant_of);
    end_at(deadline, &cancel);
    let options = WorkerOptions {
        dir: args.dir.clone(),
        device: args.device.parse::<DeviceRequest>()?.resolve()?,
        share: !args.no_share,
        width: args.cohort.filter(|width| *width > 0),
        retries: args.retry,
        crew: args.crew as usize,
        deadline,
        max_failures: args.max_fail,
        attached: args.attached,
    };
    let report = run::work(&options, &cancel)?;
    match report.stopped {
        Some(Stop::Interrupted) if signal_code(&signal) == 5 && report.too_slow => {
            output::note(
                "the time limit came before one epoch was finished: not put back into the queue\nhint: a longer `time` in `[slurm]`",
            );
            Ok(1)
        }
        Some(Stop::Interrupted) => Ok(signal_code(&signal)),
        // Limits of the run, not of the task: it is not to be put back into a queue, nor to be started again.
        Some(stop @ (Stop::Budget | Stop::Failures)) => {
            output::note(reason(stop));
            Ok(0)
        }
        None => Ok(0),
    }
}

/// A moment of the system's clock on the clock that timers use; one that is past is now.
fn instant_of(unix: f64) -> Instant {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    let left = Duration::try_from_secs_f64(unix - since).unwrap_or_default();
    Instant::now().checked_add(left).unwrap_or_else(Instant::now)
}
