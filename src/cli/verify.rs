//! `sweep verify`

use std::path::PathBuf;

use super::output;
use super::progress::Progress;
use super::run::listen;
use crate::device::DeviceRequest;
use crate::experiment::Cancel;
use crate::run::{self, PointCheck, Verification};
use crate::text::{duration, plural};

/// Train points of a finished sweep again, alone and without sharing, and compare
///
/// The points are chosen to cover every kind of stage. On the CPU the results are expected to be the same to the
/// last bit. Exit code 1 if any difference is larger than float32 explains. DIR is only read.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Results directory, such as results/kl_grid
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// How many points
    #[arg(long, value_name = "N", default_value_t = 3)]
    points: usize,
    /// auto, cpu, cuda, cuda:N or wgpu
    #[arg(long, default_value = "auto", env = "SWEEP_DEVICE")]
    device: String,
    /// Print the differences as JSON
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

/// Verifies and prints the largest differences.
///
/// # Errors
/// Nothing to verify, inputs that have changed, a directory that cannot be read.
pub fn run(args: &VerifyArgs) -> anyhow::Result<u8> {
    anyhow::ensure!(args.points > 0, "`--points 0`: at least one point is needed");
    let device = args.device.parse::<DeviceRequest>()?.resolve()?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let mut progress = Progress::new(cancel.steps());
    let began = std::time::Instant::now();
    let found = run::verify(&args.dir, args.points, device, &cancel, &mut |event| progress.show(event))?;
    if cancel.is_raised() {
        output::note("interrupted: nothing was verified");
        return Ok((128 + signal.load(std::sync::atomic::Ordering::Relaxed)) as u8);
    }
    let agrees = found.points.iter().all(PointCheck::agrees);
    if args.json {
        let identical = found.points.iter().all(PointCheck::identical);
        let report = serde_json::json!({
            "dir": args.dir, "agrees": agrees, "identical": identical,
            "kinds": found.kinds, "kinds_of": found.kinds_of, "points": found.points,
        });
        output::result(&format!("{report}\n"));
    } else {
        output::result(&text(&found));
    }
    output::note(&format!(
        "trained {} again in {}",
        plural(found.points.len(), "point"),
        duration(began.elapsed().as_secs_f64())
    ));
    Ok(u8::from(!agrees))
}

fn text(found: &Verification) -> String {
    let width = found.points.iter().map(|point| point.point.len()).max().unwrap_or(0).max(5);
    let mut text = format!(
        "{:width$}  {:>10}  {:>10}  {:>14}  result\n",
        "point", "parameters", "metrics", "selections"
    );
    for point in &found.points {
        let verdict = match (point.identical(), point.agrees()) {
            (true, _) => "identical",
            (false, true) => "agrees",
            (false, false) if !point.same_end => "DIFFERS (ended otherwise)",
            (false, false) => "DIFFERS",
        };
        let selections = format!("{} of {}", point.selections, point.selections_of);
        text += &format!(
            "{:width$}  {:>10}  {:>10}  {selections:>14}  {verdict}\n",
            point.point,
            figure(point.parameters),
            figure(point.metrics)
        );
    }
    let largest = |of: fn(&PointCheck) -> f64| found.points.iter().map(of).fold(0.0, f64::max);
    text += &format!(
        "largest difference: parameters {}, metrics {} (relative); kinds of stages covered: {} of {}\n",
        figure(largest(|point| point.parameters)),
        figure(largest(|point| point.metrics)),
        found.kinds,
        found.kinds_of
    );
    if found.kinds < found.kinds_of {
        text += "more points (--points N) would cover the rest\n";
    }
    text
}

fn figure(value: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { format!("{value:.1e}") }
}
