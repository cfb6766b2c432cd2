//! Several worker processes under one run: started, watched, restarted once, asked to stop.

use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::error::RunError;
use super::log::{logged, unix_time};
use super::options::{RunOptions, Stop};
use super::runner::Runner;
use super::tail::Tail;
use crate::device::Device;
use crate::event::Event;
use crate::store::Store;

/// How often the run looks at its workers.
const POLL: Duration = Duration::from_millis(100);

/// How often a worker that dies is started again.
const RESTARTS: u32 = 1;

/// One worker's place.
struct Place {
    device: Device,
    name: String,
    worker: Option<Worker>,
    deaths: u32,
}

struct Worker {
    child: Child,
    /// The worker stops when this is closed, which also happens when this process dies.
    line: Option<ChildStdin>,
    log: PathBuf,
}

/// Starts workers and starts them again.
struct Crew<'a> {
    store: &'a Store,
    options: &'a RunOptions,
    /// Points without results when the run began.
    lost: usize,
}

/// Lets one worker per device of `options.workers` train what is outstanding, and shows `sink` what they log.
///
/// # Errors
/// A worker that cannot be started, a store that cannot be read.
pub fn supervise(runner: &mut Runner, sink: &mut dyn FnMut(&Event)) -> Result<Option<Stop>, RunError> {
    let crew = Crew { store: runner.site.store, options: runner.site.options, lost: runner.lost() };
    let mut tail = Tail::from_end(crew.store.dir().events());
    let mut places = Vec::new();
    for (index, &device) in crew.options.workers.iter().enumerate() {
        let name = format!("worker{index}");
        let worker = Some(crew.start(device, &name)?);
        places.push(Place { device, name, worker, deaths: 0 });
    }
    let mut stopped = None;
    let steps = runner.site.session.steps();
    loop {
        if tail.relay(runner.site.cancel, steps, sink) {
            runner.refresh()?;
        }
        if stopped.is_none() {
            let failures = runner.stopped_by(crew.lost).filter(|stop| *stop == Stop::Failures);
            stopped = failures.or_else(|| runner.stop());
        }
        for place in &mut places {
            crew.watch(place, stopped.is_some())?;
        }
        if places.iter().all(|place| place.worker.is_none()) {
            break;
        }
        std::thread::sleep(POLL);
    }
    tail.relay(runner.site.cancel, steps, sink);
    runner.refresh()?;
    // Workers know the limits too and may have ended before it was their time.
    let in_order = places.iter().all(|place| place.deaths <= RESTARTS);
    Ok(stopped.or_else(|| runner.stopped_by(crew.lost).filter(|_| in_order)))
}

impl Crew<'_> {
    fn start(&self, device: Device, name: &str) -> Result<Worker, RunError> {
        let workers = &self.options.workers;
        let (log, file) = self.store.worker_log(name)?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("worker").arg(self.store.dir().path()).arg("--attached");
        command.args(arguments(self.options, &device.to_string(), workers.len(), self.lost));
        if device == Device::Cpu {
            // The workers on the CPU divide its cores among themselves.
            let sharing = workers.iter().filter(|&&device| device == Device::Cpu).count();
            let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            command.env("RAYON_NUM_THREADS", (cores / sharing).max(1).to_string());
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(file).spawn()?;
        let line = child.stdin.take();
        Ok(Worker { child, line, log })
    }

    /// Asks a worker to stop, or starts it again if it has died for the first time.
    fn watch(&self, place: &mut Place, asked: bool) -> Result<(), RunError> {
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
        place.deaths += 1;
        let restarted = place.deaths <= RESTARTS;
        let cause = format!("{status}; see `{}`", log.display());
        let ended = Event::WorkerEnded { device: place.device.to_string(), cause, restarted };
        // Shown by whoever reads the log, like everything the workers say.
        logged(self.store, &ended, &mut |_| {});
        if restarted {
            place.worker = Some(self.start(place.device, &place.name)?);
        }
        Ok(())
    }
}

/// The arguments of `sweep worker` after the directory.
///
/// `lost` points are without results already: the failures that a run may have come on top of them.
pub fn arguments(options: &RunOptions, device: &str, crew: usize, lost: usize) -> Vec<String> {
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
    if let Some(deadline) = options.deadline {
        // As a time of the day: a task of a cluster may start much later, on another machine.
        let left = deadline.saturating_duration_since(Instant::now()).as_secs_f64();
        words.extend(["--until".to_owned(), format!("{:.3}", unix_time() + left)]);
    }
    if let Some(most) = options.max_failures {
        words.extend(["--max-fail".to_owned(), (lost + most).to_string()]);
    }
    words
}
