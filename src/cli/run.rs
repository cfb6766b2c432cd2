//! `sweep run`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use super::lab::supply::{Supply, supply};
use super::launch::{LaunchArgs, OnCluster};
use super::limits::{LimitArgs, end_at};
use super::output;
use super::progress::Progress;
use super::report::write_event_files;
use super::sweep_file::{SpecArgs, expand};
use crate::device::{Device, DeviceRequest, Precision};
use crate::experiment::Cancel;
use crate::run::{self, RunOptions, RunReport, Stop};
use crate::spec::SweepSpec;
use crate::store::SweepResults;
use crate::text::{duration, moment, plural, quoted};

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
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    launch: LaunchArgs,
    /// At the end, also write TensorBoard event files, one directory per point, into ROOT/<name>/tensorboard/
    #[arg(long, env = "SWEEP_TENSORBOARD")]
    tensorboard: bool,
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
    /// Where answers of a judge are kept [default: ROOT/judge-cache, shared by the sweeps of ROOT]
    #[arg(long, value_name = "DIR", env = "SWEEP_CACHE")]
    cache: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or wgpu (flex: burn's CPU backend, for comparison); several, as in cuda:0,cuda:1
    /// or cuda:all, get one worker process each
    #[arg(long, default_value = "auto", env = "SWEEP_DEVICE")]
    device: String,
    /// f32, or tf32: matrix products of an NVIDIA GPU with operands rounded to 11 bits, which is faster and further from
    /// what a CPU computes
    #[arg(long, default_value = "f32", env = "SWEEP_PRECISION")]
    precision: Precision,
    /// Train at most N runs together [default: by device]
    #[arg(long, value_name = "N", env = "SWEEP_COHORT")]
    cohort: Option<usize>,
    /// Train every point's whole chain on its own
    #[arg(long, env = "SWEEP_NO_SHARE")]
    no_share: bool,
}

impl HowArgs {
    /// The options of a run of `file`; on a cluster `--device` is for its nodes to resolve.
    fn options_on(&self, file: &Path, cluster: bool) -> anyhow::Result<RunOptions> {
        if !cluster {
            return self.options(file);
        }
        anyhow::ensure!(
            !self.device.contains(',') && self.device != "cuda:all",
            "`--device {}`: each task of a cluster job has one device\nhint: `--tasks N` makes several, `[slurm] gres` asks for a GPU each",
            self.device
        );
        let device = self.device()?;
        let here = Self { device: Device::Cpu.to_string(), precision: Precision::F32, ..self.clone() };
        let mut options = here.options(file)?;
        options.provenance.insert("device".to_owned(), format!("{device} (cluster)"));
        options.provenance.insert("precision".to_owned(), self.precision.to_string());
        // This machine trains nothing.
        options.provenance.remove("hardware");
        Ok(options)
    }

    /// The device of a cluster's tasks, for their nodes to resolve.
    fn device(&self) -> anyhow::Result<String> {
        let request = self.device.parse::<DeviceRequest>()?.with(self.precision)?;
        Ok(if self.precision == Precision::F32 { self.device.clone() } else { request.to_string() })
    }

    fn root(&self) -> &Path {
        &self.out
    }

    /// The options of a run of `file`.
    ///
    /// # Errors
    /// A flag that makes no sense.
    pub fn options(&self, file: &Path) -> anyhow::Result<RunOptions> {
        anyhow::ensure!(self.cohort != Some(0), "`--cohort 0`: a cohort has at least one member");
        let mut workers = devices(&self.device, self.precision)?;
        let device = workers.first().copied().unwrap_or(Device::Cpu);
        let names: Vec<String> = workers.iter().map(Device::to_string).collect();
        let mut hardware: Vec<String> = workers.iter().filter_map(|device| device.hardware()).collect();
        hardware.dedup();
        let mut provenance = provenance(file, &names.join(","));
        provenance.insert("precision".to_owned(), device.precision().to_string());
        if !hardware.is_empty() {
            provenance.insert("hardware".to_owned(), hardware.join("; "));
        }
        if workers.len() == 1 {
            workers.clear();
        }
        Ok(RunOptions {
            root: self.out.clone(),
            device,
            workers,
            share: !self.no_share,
            width: self.cohort,
            fresh: false,
            deadline: None,
            retries: 0,
            retry_infeasible: false,
            ignore_space: false,
            max_failures: None,
            cache: self.cache.clone(),
            provenance,
        })
    }
}

/// `cuda:0,cuda:1`, `cuda:all`, or one device.
fn devices(text: &str, precision: Precision) -> anyhow::Result<Vec<Device>> {
    if text == "cuda:all" {
        let device = |index| Device::Cuda(index, precision);
        device(0).check()?;
        return Ok((0..).map(device).take_while(|device| device.check().is_ok()).collect());
    }
    let one = |device: &str| Ok(device.trim().parse::<DeviceRequest>()?.with(precision)?.resolve()?);
    text.split(',').map(one).collect()
}

/// What determines no result but is good to know later.
fn provenance(file: &Path, device: &str) -> BTreeMap<String, String> {
    let system = rustix::system::uname();
    let host = system.nodename().to_string_lossy();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let started = since.map_or(0, |since| since.as_secs());
    let holder = format!("process {} on {}, started {}", std::process::id(), host, moment(started));
    let mut facts = BTreeMap::from([
        ("host".to_owned(), host.clone().into_owned()),
        ("device".to_owned(), device.to_owned()),
        ("started".to_owned(), started.to_string()),
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
    args.launch.on_cluster()?;
    let sweeps = read_all(args)?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let deadline = args.limits.deadline();
    end_at(deadline, &cancel);
    let mut code = 0;
    for (spec, file) in sweeps {
        let mut options = args.how.options_on(&file, args.launch.on_cluster()?)?;
        args.limits.apply(&mut options, deadline);
        let (name, dir) = (spec.name.clone(), options.root.join(&spec.name));
        match supply(&spec, &options.cache(), &cancel)? {
            Supply::There | Supply::Made => {}
            Supply::Unanswered => return Ok(1),
            Supply::Stopped => {
                let is_late = deadline.is_some_and(|deadline| std::time::Instant::now() >= deadline);
                let stop = if is_late { Stop::Budget } else { Stop::Interrupted };
                output::note(&format!("{}; the same command goes on", reason(stop)));
                return Ok(if is_late { 5 } else { signal_code(&signal) });
            }
        }
        let report = match start(args, spec, &options, &cancel) {
            Ok(Some(report)) => report,
            Ok(None) => {
                args.limits.not_waited_for();
                continue;
            }
            Err(error) => {
                args.limits.finished(super::exit_code(&error), None, &dir);
                return Err(error);
            }
        };
        let events = if args.tensorboard { write_events(&report) } else { Ok(()) };
        let outcome = report.outcome;
        let ended = match outcome.stopped {
            Some(Stop::Interrupted) => Some(signal_code(&signal)),
            Some(Stop::Budget) => Some(5),
            Some(Stop::Failures) => Some(1),
            None => None,
        };
        if let Some(stop) = outcome.stopped {
            output::note(&format!(
                "{}; this goes on:\n  {}",
                reason(stop),
                continuation(&args.limits, &name)
            ));
        }
        let own = ended.unwrap_or(u8::from(outcome.failed + outcome.pending + outcome.incomplete > 0));
        args.limits.finished(if events.is_err() { own.max(2) } else { own }, Some(&outcome), &dir);
        events?;
        if let Some(ended) = ended {
            return Ok(ended);
        }
        code = code.max(own);
    }
    Ok(code)
}

/// Reads all sweep files before any of them runs, and names their directories.
fn read_all(args: &RunArgs) -> anyhow::Result<Vec<(SweepSpec, PathBuf)>> {
    let mut sweeps: Vec<(SweepSpec, PathBuf)> = Vec::new();
    let files = expand(&args.files)?;
    anyhow::ensure!(
        args.limits.name().is_none() || files.len() == 1,
        "`--name` is for one sweep file, and there are {}",
        files.len()
    );
    for file in files {
        let mut spec = args.spec.load(&file)?;
        if let Some(name) = args.limits.name() {
            let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
            let usable = !name.is_empty() && !name.starts_with('.') && name.chars().all(plain);
            anyhow::ensure!(usable, "`--name {name}`: use letters, digits, `-`, `_` and `.`");
            name.clone_into(&mut spec.name);
        }
        if let Some((_, other)) = sweeps.iter().find(|(known, _)| known.name == spec.name) {
            anyhow::bail!(
                "`{}` and `{}` are both called `{}` and would write to the same directory\nhint: change `name` in one of them",
                other.display(),
                file.display(),
                spec.name
            );
        }
        sweeps.push((spec, file));
    }
    if args.limits.fresh() {
        for (spec, _) in &mut sweeps {
            spec.name = run::fresh_name(args.how.root(), &spec.name);
        }
    }
    Ok(sweeps)
}

/// Runs one sweep; `None` if it was left to a cluster.
fn start(
    args: &RunArgs,
    spec: SweepSpec,
    options: &RunOptions,
    cancel: &Cancel,
) -> anyhow::Result<Option<RunReport>> {
    if !args.launch.on_cluster()? {
        return run_here(spec, options, cancel, args.json).map(Some);
    }
    match args.launch.submit(spec, options, &args.how.device()?, cancel)? {
        OnCluster::Sent => Ok(None),
        OnCluster::Ended(report) => {
            show(&report, args.json);
            Ok(Some(*report))
        }
    }
}

fn run_here(spec: SweepSpec, options: &RunOptions, cancel: &Cancel, json: bool) -> anyhow::Result<RunReport> {
    let mut progress = Progress::new(cancel);
    output::note(&format!("{}: results go to `{}`", spec.name, options.root.join(&spec.name).display()));
    let began = std::time::Instant::now();
    let report = run::run(spec, options, cancel, &mut |event| progress.show(event))?;
    show(&report, json);
    let outcome = report.outcome;
    output::note(&format!(
        "{} done, {} failed, {} pending in {}",
        plural(outcome.done, "point"),
        outcome.failed,
        outcome.pending,
        duration(began.elapsed().as_secs_f64())
    ));
    Ok(report)
}

/// Event files of everything that is done, also where the run was stopped.
fn write_events(report: &RunReport) -> anyhow::Result<()> {
    let dir = report.dir.path().join("tensorboard");
    let results = SweepResults::read(report.dir.path())?;
    let files = write_event_files(&results, &report.matrix, &dir)?;
    output::note(&format!(
        "{} event files; `tensorboard --logdir {}` shows them",
        files.len(),
        quoted(&dir.display().to_string())
    ));
    Ok(())
}

/// 130, 143 or 129 after SIGINT, SIGTERM or SIGHUP; 5 after SIGUSR1, which is a time limit.
pub fn signal_code(signal: &AtomicI32) -> u8 {
    match signal.load(Ordering::Relaxed) {
        signal_hook::consts::SIGUSR1 => 5,
        signal => (128 + signal) as u8,
    }
}

/// Why a run ended, in a few words.
pub fn reason(stop: Stop) -> &'static str {
    match stop {
        Stop::Interrupted => "interrupted",
        Stop::Budget => "the time is up",
        Stop::Failures => "stopped because points failed",
    }
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
            "interrupted": report.outcome.stopped.is_some(),
        });
        output::result(&format!("{summary}\n"));
    } else {
        // Where DIR is was said at the start; the table of equal runs is the same wherever they are.
        let more = "`sweep table DIR --all` shows every row, `sweep report DIR` draws them.";
        output::result(&report.matrix.to_terminal(output::screen(), more, output::colour_results()));
    }
}

/// The command as it was typed, for copying; after `--fresh` it names the new directory instead.
fn continuation(limits: &LimitArgs, name: &str) -> String {
    let quote = |argument: String| quoted(&argument);
    let mut words: Vec<String> =
        std::env::args().filter(|argument| argument != "--fresh").map(quote).collect();
    if limits.fresh() {
        words.extend(["--name".to_owned(), name.to_owned()]);
    }
    words.join(" ")
}

/// The first SIGINT, SIGTERM, SIGHUP (the terminal has gone; not where it is ignored, as by `nohup`) or, from a cluster
/// whose time limit comes near, SIGUSR1 asks the trainer to end at the next step; the second ends at once.
pub fn listen(cancel: &Cancel) -> anyhow::Result<Arc<AtomicI32>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
    let mut wanted = vec![SIGINT, SIGTERM, SIGUSR1];
    if !is_ignored(SIGHUP) {
        wanted.push(SIGHUP);
    }
    let received = Arc::new(AtomicI32::new(SIGINT));
    let mut signals = signal_hook::iterator::Signals::new(wanted)?;
    let (cancel, seen) = (cancel.clone(), Arc::clone(&received));
    std::thread::spawn(move || {
        for signal in signals.forever() {
            // A terminal that goes away may send several.
            if signal == SIGHUP && cancel.is_raised() {
                continue;
            }
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

/// Whether the process was started with `signal` ignored: handling it would take that back. Where the system does not
/// say so, it is not.
fn is_ignored(signal: i32) -> bool {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}
