//! What a run writes into the directory it holds.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::claim;
use super::layout::export_path;
use super::lock;
use crate::checkpoint;
use crate::disk::{self, Claim, Lock, fault, fault::Passage};
use crate::figure::EpochFigure;
use crate::plan::StageKey;
use crate::spec::{Columns, ExportFormat};

use super::{
    EpochMetrics, FORMAT, JudgeRecord, PointRecord, QueryScore, ReferencesRecord, ResolvedRecord, StageStore,
    StoreError, SweepDir, Unanswered, mean_scores, metrics_csv, scores_csv, selections_jsonl,
    unanswered_jsonl,
};

/// A results directory held for writing.
#[derive(Debug)]
pub struct Store {
    dir: SweepDir,
    lock: Lock,
}

/// Everything below `points/<name>/`.
#[derive(Clone, Copy, Debug)]
pub struct PointFiles<'a> {
    pub record: &'a PointRecord,
    /// The experiment's table.
    pub figures: &'static [EpochFigure],
    /// The point's whole chain.
    pub metrics: &'a [EpochMetrics],
    /// By shot.
    /// How the experiment calls the score columns.
    pub names: Columns,
    pub scores: &'a std::collections::BTreeMap<usize, Vec<QueryScore>>,
    pub unanswered: &'a [Unanswered],
    pub samples: &'a [Option<usize>],
}

impl Store {
    /// Creates the directory if needed and takes its lock for `holder` (a description for people).
    ///
    /// # Errors
    /// [`StoreError::Held`], [`StoreError::NewerFormat`], I/O errors.
    pub fn open(dir: SweepDir, holder: &str) -> Result<Self, StoreError> {
        fs_err::create_dir_all(dir.path())?;
        let lock = lock::take(&dir, holder)?;
        if let Ok(bytes) = fs_err::read(dir.resolved()) {
            #[derive(serde::Deserialize)]
            struct Version {
                format: u32,
            }
            if let Ok(Version { format }) = serde_json::from_slice(&bytes)
                && format > FORMAT
            {
                return Err(StoreError::NewerFormat { path: dir.resolved(), format });
            }
        }
        clear_temporaries(dir.path());
        Ok(Self { dir, lock })
    }

    /// Forgets claims and failures of earlier runs: failed stages are tried again.
    pub fn begin_anew(&self) {
        claim::forget(&self.dir);
    }

    /// Joins the other worker processes that write to an existing directory.
    ///
    /// # Errors
    /// [`StoreError::Held`] by another run, I/O errors.
    pub fn join(dir: SweepDir, attached: bool) -> Result<Self, StoreError> {
        let lock = lock::join(&dir, attached)?;
        Ok(Self { dir, lock })
    }

    /// Where a worker's messages go, opened for appending.
    ///
    /// # Errors
    /// I/O errors.
    pub fn worker_log(&self, name: &str) -> Result<(PathBuf, std::fs::File), StoreError> {
        let path = self.dir.worker_logs().join(format!("{name}.log"));
        fs_err::create_dir_all(self.dir.worker_logs())?;
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&path)?;
        Ok((path, file))
    }

    /// Writes what a cluster is to run.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_job_script(&self, script: &str) -> Result<(), StoreError> {
        fs_err::create_dir_all(self.dir.worker_logs())?;
        Ok(disk::write(&self.dir.job_script(), script.as_bytes())?)
    }

    /// Fails if the directory has been removed or moved since: what is written then would be lost, or worse,
    /// be taken for another run's.
    ///
    /// # Errors
    /// [`StoreError::Gone`]
    pub fn check_in_place(&self) -> Result<(), StoreError> {
        if self.lock.is_in_place() { Ok(()) } else { Err(StoreError::Gone(self.dir.path().to_owned())) }
    }

    /// Claims a stage for this worker; `None` if another worker has it.
    ///
    /// # Errors
    /// I/O errors.
    pub fn claim(&self, key: &StageKey) -> Result<Option<Claim>, StoreError> {
        claim::claim(&self.dir, key)
    }

    /// Notes for the other workers of this run that `key` has failed.
    ///
    /// # Errors
    /// I/O errors.
    pub fn note_failure(&self, key: &StageKey, cause: &str) -> Result<(), StoreError> {
        claim::note_failure(&self.dir, key, cause)
    }

    /// Why `key` failed in another worker of this run, if it did.
    pub fn noted_failure(&self, key: &StageKey) -> Option<String> {
        claim::failure(&self.dir, key)
    }

    /// Its paths.
    pub fn dir(&self) -> &SweepDir {
        &self.dir
    }

    /// Its stages.
    pub fn stages(&self) -> StageStore {
        StageStore::new(self.dir.clone())
    }

    /// Writes the sweep file as given and its resolved form.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_request(&self, source: &str, resolved: &ResolvedRecord) -> Result<(), StoreError> {
        disk::write(&self.dir.sweep_file(), source.as_bytes())?;
        write_json(&self.dir.resolved(), resolved)
    }

    /// Writes the reference policies' scores; where there are none, those of an earlier evaluation go.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_references(&self, record: &ReferencesRecord) -> Result<(), StoreError> {
        match record.references.is_empty() {
            true => Ok(disk::remove(&self.dir.references())?),
            false => write_json(&self.dir.references(), record),
        }
    }

    /// Writes who answered.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_judge(&self, record: &JudgeRecord) -> Result<(), StoreError> {
        write_json(&self.dir.judge(), record)
    }

    /// Writes a finished point; `point.json` comes last, so that its presence means the rest is there.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_point(&self, files: PointFiles) -> Result<(), StoreError> {
        let dir = self.dir.point(&files.record.name);
        disk::write(&dir.join("metrics.csv"), &metrics_csv(files.figures, files.metrics))?;
        let rows = files.scores.values().flatten();
        let mut lines = selections_jsonl(rows, files.names);
        lines.extend(unanswered_jsonl(files.unanswered, files.names));
        disk::write(&dir.join("selections.jsonl"), &lines)?;
        let means = mean_scores(files.scores, files.samples);
        disk::write(&dir.join("scores.csv"), &scores_csv(&means, files.names))?;
        if let Some(checkpoint) = &files.record.checkpoint {
            let target = Path::new("../..").join(checkpoint);
            disk::symlink(&target, &dir.join("checkpoint"))?;
        }
        fault::pass(Passage::BeforePoint)?;
        self.write_point_record(files.record)?;
        Ok(fault::pass(Passage::AfterPoint)?)
    }

    /// Writes the record of a point whose other files are there.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_point_record(&self, record: &PointRecord) -> Result<(), StoreError> {
        write_json(&self.dir.point_record(&record.name), record)
    }

    /// Writes `checkpoint` (relative to the directory) in other formats, beside it. Files that are whole stay as they
    /// are.
    ///
    /// # Errors
    /// A checkpoint that cannot be read, I/O errors.
    pub fn export(&self, checkpoint: &Path, formats: &[ExportFormat]) -> Result<(), StoreError> {
        let path = self.dir.path().join(checkpoint);
        let checkpoint = checkpoint::read(&path)?;
        for &format in formats {
            checkpoint::export(&export_path(&path, format), &checkpoint, format)?;
        }
        Ok(())
    }

    /// Moves a point out of the way, to `set_aside/<name>.<why><n>`; returns where it went. Nothing is deleted.
    ///
    /// # Errors
    /// I/O errors.
    pub fn set_aside_point(&self, name: &str, why: &str) -> Result<PathBuf, StoreError> {
        super::stage::set_aside(&self.dir, &self.dir.point(name), why)
    }

    /// Writes files of the sweep's top level (the matrix) by name.
    ///
    /// # Errors
    /// I/O errors.
    pub fn write_tables(&self, files: &[(&str, Vec<u8>)]) -> Result<(), StoreError> {
        for (name, bytes) in files {
            fault::pass(Passage::Matrix)?;
            disk::write(&self.dir.path().join(name), bytes)?;
        }
        Ok(())
    }

    /// Appends one line to `events.jsonl`. A line that could not be written is lost, nothing else: the log
    /// says what happened, results never depend on it.
    pub fn append_event(&self, line: &str) {
        let file = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.events());
        if let Ok(mut file) = file {
            let _ = file.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// Notes the number of a submitted job; its tasks may hold the directory already.
///
/// # Errors
/// I/O errors.
pub fn write_job(dir: &SweepDir, job: &str) -> Result<(), StoreError> {
    Ok(disk::write(&dir.job(), format!("{job}\n").as_bytes())?)
}

/// The number of the job that was submitted last for `dir`.
pub fn read_job(dir: &SweepDir) -> Option<String> {
    let text = fs_err::read_to_string(dir.job()).ok()?;
    Some(text.trim().to_owned()).filter(|job| !job.is_empty())
}

/// Removes what interrupted writes left: temporary files, never results.
fn clear_temporaries(dir: &Path) {
    for entry in walkdir::WalkDir::new(dir).into_iter().filter_map(Result::ok) {
        let name = entry.file_name().to_string_lossy();
        if name.starts_with(".sweep-") && name.ends_with(".tmp") {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn write_json<T: serde::Serialize>(path: &Path, value: &T) -> Result<(), StoreError> {
    let mut text = serde_json::to_vec_pretty(value).map_err(std::io::Error::from)?;
    text.push(b'\n');
    Ok(disk::write(path, &text)?)
}
