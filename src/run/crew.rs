//! Several worker processes under one run: started, watched, restarted once, asked to stop.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::Duration;

use super::runner::Runner;
use super::tail::Tail;
use super::{RunError, RunOptions, Stop, logged};
use crate::event::Event;
use crate::learn::Device;
use crate::store::Store;

/// How often the run looks at its workers.
const POLL: Duration = Duration::from_millis(100);

/// One worker's place.
struct Place {
    device: Device,
    name: String,
    worker: Option<Worker>,
    restarted: bool,
}

struct Worker {
    child: Child,
    /// The worker stops when this is closed, which also happens when this process dies.
    line: Option<ChildStdin>,
    log: PathBuf,
}

/// Lets one worker per device of `options.workers` train what is outstanding, and shows `sink` what they log.
///
/// # Errors
/// A worker that cannot be started, a store that cannot be read.
pub fn supervise(runner: &mut Runner, sink: &mut dyn FnMut(&Event)) -> Result<Option<Stop>, RunError> {
    let (store, options) = (runner.store, runner.options);
    let mut tail = Tail::from_end(store.dir().events());
    let mut places = Vec::new();
    for (index, &device) in options.workers.iter().enumerate() {
        let name = format!("worker{index}");
        let worker = Some(start(store, options, device, &name)?);
        places.push(Place { device, name, worker, restarted: false });
    }
    let (mut failures, mut stopped) = (0, None);
    let steps = runner.session.dataset.train.len() as u64;
    loop {
        failures += tail.relay((runner.cancel, steps), sink);
        let too_many = options.max_failures.is_some_and(|most| failures >= most);
        if stopped.is_none() {
            stopped = if too_many { Some(Stop::Failures) } else { runner.stop() };
        }
        for place in &mut places {
            watch(place, (store, options), stopped.is_some())?;
        }
        if places.iter().all(|place| place.worker.is_none()) {
            break;
        }
        std::thread::sleep(POLL);
    }
    tail.relay((runner.cancel, steps), sink);
    runner.refresh()?;
    Ok(stopped)
}

fn start(store: &Store, options: &RunOptions, device: Device, name: &str) -> Result<Worker, RunError> {
    let (log, file) = store.worker_log(name)?;
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("worker").arg(store.dir().path()).arg("--attached");
    command.args(arguments(options, &device.to_string(), options.workers.len()));
    if device == Device::Cpu {
        // The workers on the CPU divide its cores among themselves.
        let sharing = options.workers.iter().filter(|&&device| device == Device::Cpu).count();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        command.env("RAYON_NUM_THREADS", (cores / sharing).max(1).to_string());
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file).spawn()?;
    let line = child.stdin.take();
    Ok(Worker { child, line, log })
}

/// The arguments of `sweep worker` after the directory.
pub fn arguments(options: &RunOptions, device: &str, crew: usize) -> Vec<String> {
    let mut words = vec!["--device".to_owned(), device.to_owned(), "--crew".to_owned(), crew.to_string()];
    if !options.share {
        words.push("--no-share".to_owned());
    }
    if let Some(width) = options.width {
        words.extend(["--cohort".to_owned(), width.to_string()]);
    }
    if options.retries > 0 {
        words.extend(["--retry".to_owned(), options.retries.to_string()]);
    }
    if options.deadline.is_some() {
        words.push("--by-seed".to_owned());
    }
    words
}

/// Asks a worker to stop, or starts it again if it has died for the first time.
fn watch(place: &mut Place, (store, options): (&Store, &RunOptions), asked: bool) -> Result<(), RunError> {
    let Some(worker) = &mut place.worker else { return Ok(()) };
    if asked {
        worker.line = None;
    }
    let Some(status) = worker.child.try_wait()? else { return Ok(()) };
    let log = worker.log.clone();
    place.worker = None;
    if status.success() || asked {
        return Ok(());
    }
    let restarted = !place.restarted;
    let cause = format!("{status}; see `{}`", log.display());
    let ended = Event::WorkerEnded { device: place.device.to_string(), cause, restarted };
    // Shown by whoever reads the log, like everything the workers say.
    logged(store, &ended, &mut |_| {});
    if restarted {
        place.restarted = true;
        place.worker = Some(start(store, options, place.device, &place.name)?);
    }
    Ok(())
}
