//! The flags that say where a run trains: here, or as a job on a cluster.

use anyhow::ensure;

use super::output;
use super::progress::Progress;
use crate::experiment::Cancel;
use crate::run::{self, ClusterOptions, Launched, RunOptions, RunReport};
use crate::spec::SweepSpec;
use crate::text::quoted;

/// Where training happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Launcher {
    /// On this machine.
    Local,
    /// As an array job, with the options of `[slurm]`.
    Slurm,
}

/// Where a run trains.
#[derive(Clone, Debug, clap::Args)]
pub struct LaunchArgs {
    /// Train here, or as an array job of Slurm on a file system that its nodes share
    #[arg(long, value_enum, default_value = "local", env = "SWEEP_LAUNCHER")]
    launcher: Launcher,
    /// Slurm: number of array tasks [default: at most 4]
    #[arg(long, value_name = "N", env = "SWEEP_TASKS", value_parser = clap::value_parser!(u32).range(1..))]
    tasks: Option<u32>,
    /// Slurm: print the job script and do nothing
    #[arg(long, env = "SWEEP_DRY_RUN")]
    dry_run: bool,
    /// Slurm: wait for the job (also one submitted before) and print the matrix
    #[arg(long, env = "SWEEP_WAIT")]
    wait: bool,
}

/// What became of one sweep on a cluster.
pub enum OnCluster {
    /// The script was printed, or the job is in the queue.
    Sent,
    Ended(Box<RunReport>),
}

impl LaunchArgs {
    /// Whether a cluster is to train.
    ///
    /// # Errors
    /// Flags that need a cluster without one.
    pub fn on_cluster(&self) -> anyhow::Result<bool> {
        if self.launcher == Launcher::Slurm {
            return Ok(true);
        }
        ensure!(
            !self.dry_run,
            "`--dry-run` prints the script of `--launcher slurm`\nhint: `sweep plan` shows what a run here would do"
        );
        ensure!(!self.wait && self.tasks.is_none(), "`--wait` and `--tasks` belong to `--launcher slurm`");
        Ok(false)
    }

    /// Submits one sweep; `device` is `--device` as typed.
    ///
    /// # Errors
    /// Inputs, a directory or a cluster that cannot be used.
    pub fn submit(
        &self,
        spec: SweepSpec,
        options: &RunOptions,
        device: &str,
        cancel: &Cancel,
    ) -> anyhow::Result<OnCluster> {
        let tasks = self.tasks.map(|tasks| tasks as usize);
        let cluster = ClusterOptions { tasks, device: device.to_owned(), wait: self.wait };
        if self.dry_run {
            output::result(&run::preview(spec, options, &cluster)?);
            return Ok(OnCluster::Sent);
        }
        let mut progress = Progress::new(cancel);
        match run::launch(spec, options, &cluster, cancel, &mut |event| progress.show(event))? {
            Launched::Ended(report) => Ok(OnCluster::Ended(report)),
            Launched::Submitted { number, dir } => {
                let dir = dir.display().to_string();
                let typed = quoted(&dir);
                output::note(&format!(
                    "job {number} is in the queue; its results go to `{dir}`\n  `sweep status {typed}` shows how far it is, `--wait` waits for it, `scancel {number}` ends it"
                ));
                Ok(OnCluster::Sent)
            }
        }
    }
}
