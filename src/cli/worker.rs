//! `sweep worker`: started by `sweep run` on several devices and by the tasks of a cluster job, not by people.

use std::io::Read;
use std::path::PathBuf;

use super::run::{listen, signal_code};
use crate::learn::{Cancel, DeviceRequest};
use crate::run::{self, Stop, WorkerOptions};

/// Train stages of a prepared results directory beside other workers
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub struct WorkerArgs {
    /// The results directory that `sweep run` has prepared
    dir: PathBuf,
    /// auto, cpu, cuda or cuda:N
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
    /// Train every point's first seed before any second one
    #[arg(long)]
    by_seed: bool,
    /// Stop when stdin is closed, and leave the matrix to whoever closes it
    #[arg(long)]
    attached: bool,
}

/// Works until nothing is left to do; 5 if a time limit came first.
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
    let options = WorkerOptions {
        dir: args.dir.clone(),
        device: args.device.parse::<DeviceRequest>()?.resolve()?,
        share: !args.no_share,
        width: args.cohort.filter(|width| *width > 0),
        retries: args.retry,
        crew: args.crew as usize,
        by_seed: args.by_seed,
        attached: args.attached,
    };
    match run::work(&options, &cancel)? {
        Some(Stop::Interrupted) => Ok(signal_code(&signal)),
        Some(Stop::Budget | Stop::Failures) => Ok(5),
        None => Ok(0),
    }
}
