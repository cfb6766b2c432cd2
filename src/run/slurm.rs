//! Runs as an array job of an existing Slurm: each task is a worker on the shared results directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::spec::SlurmParams;
use crate::text::{is_plain, quoted};

/// Why the cluster cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SlurmError {
    #[error(
        "cannot run `{program}`: {cause}\nhint: `--launcher slurm` needs Slurm's commands on this machine"
    )]
    Missing { program: &'static str, cause: std::io::Error },
    #[error("`{program}` refused: {message}\nhint: `--dry-run` prints the script that was submitted")]
    Refused { program: &'static str, message: String },
    #[error(
        "job {0} of this sweep is still in the queue\nhint: watch it with `--wait`, or end it with `scancel {0}`"
    )]
    Queued(String),
}

/// Everything the script of a job says.
#[derive(Clone, Debug)]
pub struct Job<'a> {
    /// This program.
    pub program: PathBuf,
    /// The results directory, absolute.
    pub dir: PathBuf,
    /// Where relative paths of the sweep begin.
    pub start_in: PathBuf,
    pub name: &'a str,
    pub tasks: usize,
    pub params: &'a SlurmParams,
    /// Arguments of `sweep worker` after the directory.
    pub arguments: Vec<String>,
}

/// Seconds before the time limit at which Slurm tells a task, which then finishes its step; of a short limit a
/// quarter, so that the task gets to work at all.
fn notice(time: Option<&str>) -> u64 {
    time.and_then(seconds).map_or(60, |limit| (limit / 4).clamp(1, 60))
}

/// A time limit as `sbatch --time` takes it: minutes, minutes:seconds, hours:minutes:seconds, days-hours and so on.
fn seconds(time: &str) -> Option<u64> {
    let (days, rest) = match time.trim().split_once('-') {
        Some((days, rest)) => (Some(days.parse::<u64>().ok()?), rest),
        None => (None, time.trim()),
    };
    let fields: Vec<u64> = rest.split(':').map(str::parse).collect::<Result<_, _>>().ok()?;
    let units: &[u64] = match (days, fields.len()) {
        (Some(_), 1..=3) | (None, 3) => &[3600, 60, 1],
        (None, 1 | 2) => &[60, 1],
        _ => return None,
    };
    let parts = fields.iter().zip(units).map(|(field, unit)| field.checked_mul(*unit));
    let start = days.unwrap_or(0).checked_mul(86_400);
    parts.fold(start, |sum, part| sum?.checked_add(part?))
}

/// The job's script.
///
/// Near its time limit a task gets SIGUSR1, keeps its last complete epoch, ends with 5 and puts itself back into
/// the queue; SIGTERM (`scancel`) is passed on and is not answered by a requeue.
pub fn script(job: &Job) -> String {
    let logs = job.dir.join("workers");
    let mut lines = vec![
        "#!/bin/bash".to_owned(),
        format!("#SBATCH --job-name={}", in_directive(&format!("sweep-{}", job.name))),
        format!("#SBATCH --array=0-{}", job.tasks.max(1) - 1),
        format!("#SBATCH --chdir={}", in_directive(&job.start_in.display().to_string())),
        // In this directive `%` is Slurm's.
        format!(
            "#SBATCH --output={}",
            in_directive(&format!("{}/slurm-%A_%a.log", logs.display().to_string().replace('%', "%%")))
        ),
        "#SBATCH --open-mode=append".to_owned(),
        "#SBATCH --requeue".to_owned(),
        format!("#SBATCH --signal=B:USR1@{}", notice(job.params.time.as_deref())),
    ];
    let options =
        [("partition", &job.params.partition), ("time", &job.params.time), ("gres", &job.params.gres)];
    for (name, value) in options {
        lines.extend(value.as_ref().map(|value| format!("#SBATCH --{name}={value}")));
    }
    lines.extend(job.params.extra.iter().map(|extra| format!("#SBATCH {extra}")));
    let words = [job.program.display().to_string(), "worker".to_owned(), job.dir.display().to_string()];
    let command: Vec<String> = words.iter().chain(&job.arguments).map(|word| quoted(word)).collect();
    lines.push(format!(
        r#"
{} &
worker=$!
trap 'kill -USR1 $worker' USR1
trap 'kill -TERM $worker' TERM
# A signal ends `wait` before the worker has ended.
while wait $worker; code=$?; [ $code -gt 128 ] && kill -0 $worker 2>/dev/null; do :; done
# 138: the signal came before the worker could listen, or just when it ended; a task without work ends at once.
if [ $code = 5 ] || [ $code = 138 ]; then
    echo "stopped by the time limit: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"#,
        command.join(" ")
    ));
    lines.join("\n")
}

/// For a line that `sbatch` reads: it would end the value at a space.
fn in_directive(value: &str) -> String {
    match is_plain(value) {
        true => value.to_owned(),
        false => format!("\"{}\"", value.replace('\\', r"\\").replace('"', "\\\"")),
    }
}

/// Submits the script at `path`; returns the job's number.
///
/// # Errors
/// No `sbatch` on this machine, or it refuses.
pub fn submit(path: &Path) -> Result<String, SlurmError> {
    let program = "sbatch";
    let output = Command::new(program).arg("--parsable").arg(path).output();
    let output = output.map_err(|cause| SlurmError::Missing { program, cause })?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(SlurmError::Refused { program, message });
    }
    // `--parsable` prints the number and, on some clusters, `;` and the cluster's name.
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(text.trim().split(';').next().unwrap_or_default().to_owned())
}

/// Whether a task of `job` is waiting or running. A controller that does not answer is no sign of its end.
///
/// # Errors
/// No `squeue` on this machine.
pub fn in_queue(job: &str) -> Result<bool, SlurmError> {
    let program = "squeue";
    let output = Command::new(program).args(["--noheader", "--jobs", job]).output();
    let output = output.map_err(|cause| SlurmError::Missing { program, cause })?;
    if output.status.success() {
        return Ok(!output.stdout.trim_ascii().is_empty());
    }
    Ok(!String::from_utf8_lossy(&output.stderr).contains("Invalid job id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_time_limits_leave_time_to_work() {
        for (time, expected) in [
            ("1", 15),
            ("2", 30),
            ("0:40", 10),
            ("04:00", 60),
            ("4:00:00", 60),
            ("1-0", 60),
            ("0-00:02", 30),
            ("infinite", 60),
            ("-1", 60),
            ("99999999999999999999", 60),
            ("18446744073709551615", 60),
        ] {
            assert_eq!(notice(Some(time)), expected, "{time}");
        }
        assert_eq!(notice(None), 60);
    }

    #[test]
    fn the_script_says_what_the_sweep_file_asks_for() {
        let params = SlurmParams {
            partition: Some("gpu".to_owned()),
            time: Some("04:00:00".to_owned()),
            gres: None,
            extra: vec!["--mem=8G".to_owned()],
        };
        let job = Job {
            program: "/opt/my tools/sweep".into(),
            dir: "/data/results/kl_grid".into(),
            start_in: "/home/a b".into(),
            name: "kl_grid",
            tasks: 3,
            params: &params,
            arguments: vec!["--crew".to_owned(), "3".to_owned()],
        };
        let text = script(&job);
        let head: Vec<&str> = text.lines().take_while(|line| !line.is_empty()).collect();
        assert_eq!(
            head,
            [
                "#!/bin/bash",
                "#SBATCH --job-name=sweep-kl_grid",
                "#SBATCH --array=0-2",
                "#SBATCH --chdir=\"/home/a b\"",
                "#SBATCH --output=/data/results/kl_grid/workers/slurm-%A_%a.log",
                "#SBATCH --open-mode=append",
                "#SBATCH --requeue",
                "#SBATCH --signal=B:USR1@60",
                "#SBATCH --partition=gpu",
                "#SBATCH --time=04:00:00",
                "#SBATCH --mem=8G",
            ]
        );
        assert!(text.contains("'/opt/my tools/sweep' worker /data/results/kl_grid --crew 3 &\n"), "{text}");
    }
}
