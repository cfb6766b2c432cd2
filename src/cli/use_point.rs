//! `sweep use`: which checkpoint of a sweep is in use, by the lab's scripts too.

use std::path::PathBuf;

use super::{lab, output};
use crate::report::point_named;
use crate::store::{self, SweepResults};
use crate::text::quoted;

/// Points DIR/current at a point's checkpoint and prints how to use it
///
/// `current` is a relative symbolic link, replaced in one step; nothing is copied or deleted. Without a point, prints
/// what is in use.
#[derive(Debug, clap::Args)]
pub struct UseArgs {
    /// Results directory of a sweep
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Name of a point, as in the results matrix, or key=value,...
    #[arg(value_name = "POINT", conflicts_with_all = ["back", "baseline"])]
    point: Option<String>,
    /// The point that was in use before
    #[arg(long, conflicts_with = "baseline")]
    back: bool,
    /// The sweep's baseline
    #[arg(long)]
    baseline: bool,
}

/// Changes and prints what is in use.
///
/// # Errors
/// Unknown points, points without a checkpoint, damaged checkpoints.
pub fn run(args: &UseArgs) -> anyhow::Result<u8> {
    let directory = &args.directory;
    let in_use = match &args.point {
        Some(point) if point.contains('=') => {
            let results = SweepResults::read(directory)?;
            store::use_point(directory, &results.points[point_named(&results, point)?].name)?
        }
        Some(point) => store::use_point(directory, point)?,
        None if args.back => store::back(directory)?,
        None if args.baseline => store::use_baseline(directory)?,
        None => {
            let Some(in_use) = store::in_use(directory)? else {
                output::note(&format!(
                    "nothing is in use in `{}`\nhint: sweep use {} POINT, or --baseline",
                    directory.display(),
                    quoted(&directory.display().to_string())
                ));
                return Ok(1);
            };
            in_use
        }
    };
    let path = fs_err::canonicalize(directory)?.join(&in_use.checkpoint);
    output::note(&format!("in use: {}", in_use.point));
    output::result(&format!("{}\n", path.display()));
    if store::read_resolved(directory)?.experiment == lab::EXPERIMENT {
        lab::tell_scripts(&path);
    }
    Ok(0)
}
