//! What a results directory says at a glance: safe while a run writes to it, and quick.

use std::path::Path;

use rayon::prelude::*;
use serde::Deserialize;

use super::events::{LoggedEvent, read_events};
use super::{FORMAT, PointStatus, StoreError, SweepDir, lock};

/// A sweep as its directory says it stands.
#[derive(Clone, Debug)]
pub struct Standing {
    pub name: String,
    /// Who writes to the directory now.
    pub holder: Option<String>,
    /// In grid order.
    pub points: Vec<StandingPoint>,
    pub events: Vec<LoggedEvent>,
}

/// A point that is asked for.
#[derive(Clone, Debug)]
pub struct StandingPoint {
    pub name: String,
    /// How it has ended; `None` = not yet.
    pub ended: Option<Ended>,
}

/// How a point has ended: the part of `point.json` that is needed.
#[derive(Clone, Debug, Deserialize)]
pub struct Ended {
    pub status: PointStatus,
    /// The key of its last stage.
    pub stage: String,
}

/// Reads how the sweep in `dir` stands. No selections are read.
///
/// # Errors
/// Not a results directory, or one of a newer version.
pub fn standing(dir: &Path) -> Result<Standing, StoreError> {
    let sweep = SweepDir::at(dir);
    let Request { name, points, .. } = read_request(&sweep)?;
    let holder = lock::holder(&sweep);
    // The log before the points: a point that ends in between is counted as ended, not as running.
    let events = read_events(&sweep);
    let point = |Named { name }: Named| StandingPoint { ended: read_ended(&sweep, &name), name };
    Ok(Standing { name, holder, points: points.into_par_iter().map(point).collect(), events })
}

/// The part of `resolved.json` that is needed: of a large grid the whole takes long to build.
#[derive(Deserialize)]
struct Request {
    format: u32,
    name: String,
    points: Vec<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

fn read_request(sweep: &SweepDir) -> Result<Request, StoreError> {
    let path = sweep.resolved();
    if !path.is_file() {
        return Err(StoreError::not_results(sweep.path()));
    }
    let corrupt =
        |cause: serde_json::Error| StoreError::Corrupt { path: path.clone(), cause: cause.to_string() };
    let request: Request = serde_json::from_slice(&fs_err::read(&path)?).map_err(corrupt)?;
    if request.format > FORMAT {
        return Err(StoreError::NewerFormat { path, format: request.format });
    }
    Ok(request)
}

fn read_ended(sweep: &SweepDir, name: &str) -> Option<Ended> {
    serde_json::from_slice(&fs_err::read(sweep.point_record(name)).ok()?).ok()
}
