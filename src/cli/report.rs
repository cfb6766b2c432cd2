//! `sweep report`: one HTML file, single figures, TensorBoard event files.

use std::path::{Path, PathBuf};

use super::deliver::deliver;
use super::output;
use super::why::Interviewed;
use crate::disk;
use crate::report::{
    Asked, Cost, Figure, Matrix, MatrixOptions, Page, Section, figures, matrix, stored, tensorboard,
};
use crate::store::{SweepResults, read_resolved};

/// Write a report: one self-contained HTML page
///
/// Headline, findings, sortable matrix, heat maps, learning curves, parameter movement, selection overlap,
/// cost and provenance. The page needs no network and no server: filters work on all pictures and tables, a click on a
/// row shows the answers behind it, and the address keeps what is looked at.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Results directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The page [default: DIR/report.html]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also write every figure as an SVG file into this directory
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Also write TensorBoard event files, one directory per point, into this directory
    #[arg(long, value_name = "DIR")]
    tensorboard: Option<PathBuf>,
    /// Write the page again whenever a point has ended, until no run is left; the open page loads itself again
    #[arg(long)]
    pub(super) follow: bool,
}

impl ReportArgs {
    /// The results directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the page goes.
    pub fn page(&self) -> PathBuf {
        self.output.clone().unwrap_or_else(|| self.dir.join("report.html"))
    }
}

/// Runs `sweep report`.
///
/// # Errors
/// A directory without results, damaged files, a place that cannot be written.
pub fn run(args: &ReportArgs) -> anyhow::Result<u8> {
    let (results, found, drawn) = write_page(args, None)?;
    say_where(&args.page());
    if let Some(dir) = &args.svg {
        fs_err::create_dir_all(dir)?;
        for (_, figure) in &drawn {
            let file = dir.join(format!("{}.svg", figure.id));
            deliver(&file, figure.standalone().as_bytes())?;
            say_where(&file);
        }
    }
    if let Some(dir) = &args.tensorboard {
        for file in write_event_files(&results, &found, dir)? {
            say_where(&file);
        }
    }
    Ok(0)
}

/// What a page was made from.
type Drawn = (SweepResults, Matrix, Vec<(Section, Figure)>);

/// Writes the page, which loads itself again after `follow` seconds.
///
/// # Errors
/// As [`run`].
pub fn write_page(args: &ReportArgs, follow: Option<u64>) -> anyhow::Result<Drawn> {
    let results = SweepResults::read(&args.dir)?;
    let resolved = read_resolved(&args.dir)?;
    let found = current(&results)?;
    let drawn = figures(&results, &found);
    let cost = cost(&args.dir);
    let judge = Interviewed::of(&args.dir);
    let prompt = |id: u64, selection: &[u32]| judge.as_ref()?.prompt(id, selection);
    let accepted = |id: u64| judge.as_ref()?.accepted(id);
    let asked = judge.is_some().then_some(Asked { prompt: &prompt, accepted: &accepted });
    let page =
        Page { results: &results, matrix: &found, figures: &drawn, resolved: &resolved, cost, follow, asked };
    deliver(&args.page(), page.html().as_bytes())?;
    Ok((results, found, drawn))
}

/// The matrix that a run has stored, which takes most of a report's time to compute, if it is of these `results`.
fn current(results: &SweepResults) -> anyhow::Result<Matrix> {
    let is_of_these = |found: &Matrix| {
        let names = found.points.iter().map(|row| &row.name);
        names.eq(results.points.iter().map(|point| &point.name))
    };
    Ok(match stored(&results.dir)?.filter(is_of_these) {
        Some(found) => Matrix { name: results.name.clone(), ..found },
        None => matrix(results, &MatrixOptions::default()),
    })
}

/// Prints the path of a file that was written; of stdout there is none.
pub fn say_where(file: &Path) {
    if file != Path::new("-") {
        output::result(&format!("{}\n", file.display()));
    }
}

/// Writes TensorBoard event files below `dir` and returns their paths. The same results give the same bytes:
/// files that are there already are replaced.
///
/// # Errors
/// A place that cannot be written.
pub fn write_event_files(
    results: &SweepResults,
    matrix: &Matrix,
    dir: &Path,
) -> anyhow::Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    for (name, bytes) in tensorboard::event_files(results, matrix) {
        let file = dir.join(name);
        disk::write(&file, &bytes)?;
        written.push(file);
    }
    Ok(written)
}

/// What the event log says of the work. A log that is missing or from another version costs only this
/// section's lines.
fn cost(dir: &Path) -> Cost {
    let mut cost = Cost::default();
    let text = fs_err::read_to_string(dir.join("events.jsonl")).unwrap_or_default();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<serde_json::Value>(line) else { continue };
        let data = &event["data"];
        match data["event"].as_str() {
            Some("plan_ready") => {
                cost.steps = data["steps"].as_u64();
                cost.steps_naive = data["steps_naive"].as_u64();
            }
            Some("finished") => {
                cost.seconds = Some(cost.seconds.unwrap_or(0.0) + data["seconds"].as_f64().unwrap_or(0.0));
            }
            _ => {}
        }
    }
    cost
}
