//! What a training step costs on a GPU with burn's operators and with this program's kernels: launches, bytes of the
//! optimizer, operations, time.
//!
//! Launches are counted, not computed: CubeCL logs every kernel that it launches, those of burn's operators and ours
//! alike. Each measurement is a process of its own, because the log and `SWEEP_KERNELS` are read once per process.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sweep::device::Device;
use sweep::selector::FreezeSet;
use sweep::selector::learn::Layout;

use crate::{DIM, World, backbone, common, number, operations, optimizer_bytes};

/// Steps of an epoch, and epochs, of which the first is left out: kernels are compiled and chosen in it.
const GROUPS: usize = 4;
const EPOCHS: u32 = 3;
const WIDTHS: [usize; 3] = [1, 8, 64];

/// How often burn's operators read or write a number per parameter: the gradient written and joined with the others (3),
/// squared and summed (3), first moment (7), second moment (7), denominator (6), step (5), parameters (5).
/// `Rows::update` and `Gradient::new` in `src/selector/learn/stacked/optimizer.rs`, every operator by itself.
const OPERATOR_ACCESSES: f64 = 36.0;

/// One kind of cohort: what is frozen, and how many members.
struct Case {
    frozen: &'static str,
    members: usize,
}

/// What one step of it costs.
struct Cost {
    launches: f64,
    seconds: f64,
    cpu_seconds: f64,
}

/// A table of both for every case.
pub fn bench(device: Device) {
    let mut text = format!(
        "# What a step costs on {} with burn's operators and with the kernels\n\n{}- device: {}\n\n",
        device,
        common::machine(),
        device.hardware().unwrap_or_else(|| "unknown".to_owned()),
    );
    text += "Before: burn's operators and autodiff (`SWEEP_KERNELS=off`). After: the kernels. Launches are counted in CubeCL's log of a whole epoch; bytes are those that the optimizer moves per trained parameter; time is that of all members, in software the CPU's.\n\n";
    text += "| frozen | members | launches, before | after | optimizer bytes per parameter, before | after | MFLOP, before | after | ms, before | after | ratio | CPU ms, before | after | ratio |\n";
    text += "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    let layout = World::new(device, 1, 1).layout;
    for frozen in ["backbone", "nothing"] {
        for &members in &widths() {
            let case = Case { frozen, members };
            let costs = (case.cost(device, "off"), case.cost(device, "on"));
            match costs {
                (Ok(before), Ok(after)) => case.row(&mut text, &layout, &before, &after),
                (Err(error), _) | (_, Err(error)) => {
                    let _ = writeln!(text, "| {frozen} | {members} | {error} |");
                }
            }
        }
    }
    common::report(&format!("counts-{}", device.to_string().replace(':', "")), &text);
}

fn widths() -> Vec<usize> {
    let given = common::option("--widths");
    given.map_or(WIDTHS.to_vec(), |list| list.split(',').filter_map(|width| width.parse().ok()).collect())
}

impl Case {
    fn row(&self, text: &mut String, layout: &Layout, before: &Cost, after: &Cost) {
        let (Self { frozen, members }, is_frozen) = (self, self.frozen == "backbone");
        let parameters = layout.trainable(&freeze(self.frozen)) as f64;
        let own = operations(is_frozen, *members, layout) * *members as f64;
        // Gradients that are outer products are computed and stored.
        let stored = if is_frozen { 0 } else { layout.shape.hidden * (DIM + layout.shape.hidden) };
        let theirs = own + 2.0 * (parameters - stored as f64) * *members as f64;
        let _ = writeln!(
            text,
            "| {frozen} | {members} | {:.1} | {:.1} | {:.0} | {:.1} | {:.0} | {:.0} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            before.launches,
            after.launches,
            4.0 * OPERATOR_ACCESSES,
            optimizer_bytes(is_frozen, layout) / parameters,
            theirs / 1e6,
            own / 1e6,
            before.seconds * 1e3,
            after.seconds * 1e3,
            before.seconds / after.seconds,
            before.cpu_seconds * 1e3,
            after.cpu_seconds * 1e3,
            before.cpu_seconds / after.cpu_seconds,
        );
    }

    /// Measured in two processes: the log takes time.
    fn cost(&self, device: Device, kernels: &str) -> Result<Cost, String> {
        let folder = std::env::temp_dir().join(format!("sweep-counts-{}", std::process::id()));
        let log = folder.join("launches.log");
        let made = std::fs::create_dir_all(&folder);
        made.map_err(|error| format!("{}: {error}", folder.display()))?;
        let timed = self.epochs(device, kernels, &folder, None);
        // Read by CubeCL from the folder that the process is in.
        let config =
            format!("[profiling.logger]\nlevel = \"minimal\"\nfile = {:?}\n", log.display().to_string());
        let written = sweep::disk::write(&folder.join("cubecl.toml"), config.as_bytes());
        let counted = self.epochs(device, kernels, &folder, Some(&log));
        let _ = std::fs::remove_dir_all(&folder);
        written.map_err(|error| error.to_string())?;
        let best = |of: fn(&[f64; 3]) -> f64, lines: &[[f64; 3]]| {
            lines.iter().skip(1).map(of).fold(f64::INFINITY, f64::min) / steps() as f64
        };
        let timed = timed?;
        Ok(Cost {
            launches: best(|line| line[2], &counted?),
            seconds: best(|line| line[0], &timed),
            cpu_seconds: best(|line| line[1], &timed),
        })
    }

    /// Runs the case in a process of its own; seconds, CPU seconds and launches of its epochs.
    fn epochs(
        &self,
        device: Device,
        kernels: &str,
        folder: &Path,
        log: Option<&Path>,
    ) -> Result<Vec<[f64; 3]>, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["--epoch-lines", "--device", &device.to_string(), "--frozen", self.frozen]);
        command.args(["--widths", &self.members.to_string(), "--groups", &steps().to_string()]);
        if let Some(log) = log {
            command.arg("--log").arg(log);
        }
        let output = command.current_dir(folder).env("SWEEP_KERNELS", kernels).output();
        let output = output.map_err(|error| error.to_string())?;
        let lines: Vec<[f64; 3]> =
            String::from_utf8_lossy(&output.stdout).lines().filter_map(epoch_of).collect();
        if lines.len() == EPOCHS as usize {
            Ok(lines)
        } else {
            // Mesa complains of every start without a desktop.
            let text = String::from_utf8_lossy(&output.stderr);
            let said = text.lines().find(|line| !line.contains("XDG_RUNTIME_DIR") && !line.trim().is_empty());
            Err(format!("no figures ({}): {}", output.status, said.unwrap_or("no message")))
        }
    }
}

fn steps() -> usize {
    number("--groups", GROUPS)
}

fn epoch_of(line: &str) -> Option<[f64; 3]> {
    let mut numbers = line.split(' ').map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn freeze(name: &str) -> FreezeSet {
    if name == "backbone" { backbone() } else { FreezeSet::default() }
}

/// The child's part: trains, and prints a line of numbers per epoch.
#[expect(clippy::print_stdout, reason = "a bench's result")]
pub fn lines(device: Device) {
    let (frozen, log) = (common::option("--frozen").unwrap_or_default(), common::option("--log"));
    let world = World::new(device, EPOCHS, steps());
    let launches = || log.as_ref().map_or(0, |path| logged(Path::new(path)));
    let mut last = (cpu_seconds(), launches());
    world.train(&freeze(&frozen), number("--widths", 1), &mut |seconds| {
        let cpu = cpu_seconds();
        let now = launches();
        println!("{seconds} {} {}", cpu - last.0, now - last.1);
        last = (cpu_seconds(), now);
    });
}

/// Launches in CubeCL's log, once it has stopped growing: it is written behind the program's back.
fn logged(path: &Path) -> usize {
    let count = || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.lines().filter(|line| line.contains("Executing ")).count()
    };
    let mut last = count();
    loop {
        std::thread::sleep(Duration::from_millis(300));
        let now = count();
        if now == last {
            return now;
        }
        last = now;
    }
}

/// CPU time of this process so far, of all its threads.
fn cpu_seconds() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may contain anything.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks =
        |field: usize| fields.get(field).and_then(|text| text.parse::<f64>().ok()).unwrap_or(f64::NAN);
    (ticks(11) + ticks(12)) / 100.0
}
