//! Every path inside a results directory comes from here (DESIGN: "On disk").

use std::path::{Path, PathBuf};

use crate::plan::StageKey;
use crate::spec::ExportFormat;

/// The directory of one sweep, `ROOT/<name>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SweepDir(PathBuf);

impl SweepDir {
    /// Of the sweep `name` below `root`.
    pub fn new(root: &Path, name: &str) -> Self {
        Self(root.join(name))
    }

    /// An existing directory, as a user names it.
    pub fn at(dir: &Path) -> Self {
        Self(dir.to_owned())
    }

    /// `ROOT/<name>`
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Held by the process that writes.
    pub fn lock(&self) -> PathBuf {
        self.0.join(".lock")
    }

    /// Held, shared, by every worker process.
    pub fn workers_lock(&self) -> PathBuf {
        self.0.join(".workers")
    }

    /// What worker processes tell each other: who trains which stage.
    pub fn claims(&self) -> PathBuf {
        self.0.join("claims")
    }

    /// Messages of worker processes.
    pub fn worker_logs(&self) -> PathBuf {
        self.0.join("workers")
    }

    /// The script of a cluster job, and the number under which it was submitted.
    pub fn job_script(&self) -> PathBuf {
        self.worker_logs().join("job.sh")
    }

    pub fn job(&self) -> PathBuf {
        self.worker_logs().join("job")
    }

    /// The sweep file as given.
    pub fn sweep_file(&self) -> PathBuf {
        self.0.join("sweep.toml")
    }

    /// [`super::ResolvedRecord`]
    pub fn resolved(&self) -> PathBuf {
        self.0.join("resolved.json")
    }

    /// [`super::ReferencesRecord`]
    pub fn references(&self) -> PathBuf {
        self.0.join("references.json")
    }

    /// [`super::JudgeRecord`]
    pub fn judge(&self) -> PathBuf {
        self.0.join("judge.json")
    }

    /// What a judge's program says on stderr.
    pub fn judge_log(&self) -> PathBuf {
        self.0.join("judge.log")
    }

    /// What happened when, one JSON object a line.
    pub fn events(&self) -> PathBuf {
        self.0.join("events.jsonl")
    }

    pub fn matrix_csv(&self) -> PathBuf {
        self.0.join("matrix.csv")
    }

    pub fn matrix_md(&self) -> PathBuf {
        self.0.join("matrix.md")
    }

    /// Damaged or replaced stages and points: nothing is deleted.
    pub fn set_aside(&self) -> PathBuf {
        self.0.join("set_aside")
    }

    /// All stages.
    pub fn stages(&self) -> PathBuf {
        self.0.join("stages")
    }

    /// Checkpoints and record of one stage.
    pub fn stage(&self, key: &StageKey) -> PathBuf {
        self.stages().join(&key.0)
    }

    /// All points.
    pub fn points(&self) -> PathBuf {
        self.0.join("points")
    }

    /// Results of one point.
    pub fn point(&self, name: &str) -> PathBuf {
        self.points().join(name)
    }

    /// [`super::PointRecord`]
    pub fn point_record(&self, name: &str) -> PathBuf {
        self.point(name).join("point.json")
    }
}

/// Where `run` writes the checkpoint at `path` in another format: beside it.
pub fn export_path(path: &Path, format: ExportFormat) -> PathBuf {
    match format {
        // Its own name is that of the checkpoint itself.
        ExportFormat::Safetensors => path.with_extension("plain.safetensors"),
        ExportFormat::V2 | ExportFormat::Pt => path.with_extension(format.extension()),
    }
}

/// Files of one stage, relative to its directory.
pub mod stage_file {
    use crate::plan::INIT;

    /// The stage's record: what is finished.
    pub const RECORD: &str = "stage.json";
    /// The same figures for people.
    pub const METRICS: &str = "metrics.csv";

    /// Weights after an epoch: `init.safetensors`, `rce_epochN.safetensors`, `grpo_epochN.safetensors`.
    pub fn checkpoint(phase: &str, epoch: u32) -> String {
        match phase {
            INIT => "init.safetensors".to_owned(),
            _ => format!("{phase}_epoch{epoch}.safetensors"),
        }
    }

    /// Optimizer moments after an epoch: only the last one is kept, to go on from.
    pub fn optimizer(epoch: u32) -> String {
        format!("{OPTIMIZER}{epoch}.safetensors")
    }

    /// Whether `name` is one of [`optimizer`].
    pub fn is_optimizer(name: &str) -> bool {
        name.starts_with(OPTIMIZER)
    }

    /// Whether `name` is one of [`checkpoint`]; exports beside it (`rce_epoch1.plain.safetensors`) are not.
    pub fn is_checkpoint(name: &str) -> bool {
        let is_epoch = |stem: &str| {
            let number = stem.rsplit_once("_epoch").map(|(_, number)| number);
            number
                .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        !is_optimizer(name)
            && name.strip_suffix(".safetensors").is_some_and(|stem| stem == INIT || is_epoch(stem))
    }

    const OPTIMIZER: &str = "optimizer_epoch";
}
