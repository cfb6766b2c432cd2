//! `sweep run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::output;
use super::progress::{Progress, duration};
use super::sweep_file::{SpecArgs, expand};
use crate::learn::{Cancel, Device, DeviceRequest};
use crate::run::{self, RunOptions, RunReport};

/// Train and evaluate every point of a sweep and print the results matrix
///
/// Runs what is outstanding: the same command after an interruption goes on where it stopped.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Sweep files, or directories of them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    spec: SpecArgs,
    #[command(flatten)]
    how: HowArgs,
    /// Print a JSON summary instead of the table
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

/// How a run is made; none of it changes a result.
#[derive(Clone, Debug, clap::Args)]
pub struct HowArgs {
    /// Where results go: a sweep writes to ROOT/<name>/
    #[arg(long, value_name = "ROOT", default_value = "results", env = "SWEEP_OUT")]
    out: PathBuf,
    /// auto, cpu, cuda or cuda:N (flex: burn's CPU backend, for comparison)
    #[arg(long, default_value = "auto", env = "SWEEP_DEVICE")]
    device: String,
    /// Train at most N runs together [default: by device]
    #[arg(long, value_name = "N", env = "SWEEP_COHORT")]
    cohort: Option<usize>,
    /// Train every point's whole chain on its own
    #[arg(long, env = "SWEEP_NO_SHARE")]
    no_share: bool,
}

impl HowArgs {
    /// The options of a run of `file`.
    ///
    /// # Errors
    /// A flag that makes no sense.
    pub fn options(&self, file: &Path) -> anyhow::Result<RunOptions> {
        anyhow::ensure!(self.cohort != Some(0), "`--cohort 0`: a cohort has at least one member");
        let device = self.device.parse::<DeviceRequest>()?.resolve()?;
        Ok(RunOptions {
            root: self.out.clone(),
            device,
            share: !self.no_share,
            width: self.cohort,
            provenance: provenance(file, device),
        })
    }
}

/// What determines no result but is good to know later.
fn provenance(file: &Path, device: Device) -> BTreeMap<String, String> {
    let host = fs_err::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = since.map_or(0, |since| since.as_secs()).to_string();
    let holder = format!("process {} on {}, started at {started}", std::process::id(), host.trim());
    let mut facts = BTreeMap::from([
        ("host".to_owned(), host.trim().to_owned()),
        ("device".to_owned(), device.to_string()),
        ("started".to_owned(), started),
        ("holder".to_owned(), holder),
        ("sweep_file".to_owned(), file.display().to_string()),
    ]);
    // What relative paths of the configuration are relative to.
    if let Ok(directory) = std::env::current_dir() {
        facts.insert("directory".to_owned(), directory.display().to_string());
    }
    if let Ok(bytes) = fs_err::read(file) {
        facts.insert("sweep_file_hash".to_owned(), blake3::hash(&bytes).to_hex().to_string());
    }
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let git = std::process::Command::new("git").arg("-C").arg(directory).args(["rev-parse", "HEAD"]).output();
    if let Ok(output) = git
        && output.status.success()
    {
        facts.insert("git_commit".to_owned(), String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    facts
}

/// Runs all files, one after the other; a file that is wrong stops nothing before all are read.
///
/// # Errors
/// A sweep file or an input that cannot be used.
pub fn run(args: &RunArgs) -> anyhow::Result<u8> {
    let files = expand(&args.files)?;
    let specs = files.iter().map(|file| args.spec.load(file)).collect::<anyhow::Result<Vec<_>>>()?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let mut code = 0;
    for (spec, file) in specs.into_iter().zip(&files) {
        let options = args.how.options(file)?;
        let mut progress = Progress::new(&cancel);
        output::note(&format!("{}: results go to `{}`", spec.name, options.root.join(&spec.name).display()));
        let began = std::time::Instant::now();
        let report = run::run(spec, &options, &cancel, &mut |event| progress.show(event))?;
        show(&report, args.json);
        let outcome = report.outcome;
        output::note(&format!(
            "{} points done, {} failed, {} pending in {}",
            outcome.done,
            outcome.failed,
            outcome.pending,
            duration(began.elapsed().as_secs_f64())
        ));
        if outcome.interrupted {
            output::note(&format!("interrupted; the same command goes on:\n  {}", command_line()));
            return Ok((128 + signal.load(Ordering::Relaxed)) as u8);
        }
        code = code.max(u8::from(outcome.failed > 0));
    }
    Ok(code)
}

fn show(report: &RunReport, json: bool) {
    if json {
        let summary = serde_json::json!({
            "name": report.matrix.name,
            "dir": report.dir.path(),
            "matrix": report.dir.matrix_csv(),
            "done": report.outcome.done,
            "failed": report.outcome.failed,
            "pending": report.outcome.pending,
            "interrupted": report.outcome.interrupted,
        });
        output::result(&format!("{summary}\n"));
    } else {
        output::result(&report.matrix.to_terminal(output::width(), output::colour_results()));
    }
}

/// The command as it was typed, for copying.
fn command_line() -> String {
    let quote = |argument: String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+".contains(c);
        match !argument.is_empty() && argument.chars().all(plain) {
            true => argument,
            false => format!("'{}'", argument.replace('\'', r"'\''")),
        }
    };
    std::env::args().map(quote).collect::<Vec<_>>().join(" ")
}

/// The first SIGINT or SIGTERM asks the trainer to end at the next step; the second ends at once.
pub fn listen(cancel: &Cancel) -> anyhow::Result<Arc<AtomicI32>> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let received = Arc::new(AtomicI32::new(SIGINT));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    let (cancel, seen) = (cancel.clone(), Arc::clone(&received));
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if cancel.is_raised() {
                std::process::exit(128 + signal);
            }
            seen.store(signal, Ordering::Relaxed);
            cancel.raise();
            output::note("stopping after this step (again to stop at once)");
        }
    });
    Ok(received)
}
