//! A results directory -> [`Matrix`], by the shortest way that gives the same figures.

use std::path::Path;
use std::time::SystemTime;

use super::build::matrix;
use super::error::ReportError;
use super::matrix::{Matrix, MatrixOptions};
use crate::store::{SweepResults, read_judge};

/// The matrix of the results in `dir`.
///
/// A run stores all figures in `matrix.csv`; reading them back takes milliseconds where computing them anew
/// means reading every selection of every point. The stored file is used unless something it was computed
/// from is newer, and always where it is all there is (a repository that keeps only the matrices).
///
/// # Errors
/// A directory that holds neither results nor a matrix, files that cannot be read.
pub fn load(dir: &Path) -> Result<Matrix, ReportError> {
    match stored(dir)? {
        Some(found) => Ok(found),
        None => Ok(matrix(&SweepResults::read(dir)?, &MatrixOptions::default())),
    }
}

/// The matrix that a run has stored in `dir`, unless something it was computed from is newer.
///
/// # Errors
/// A file that cannot be read.
pub fn stored(dir: &Path) -> Result<Option<Matrix>, ReportError> {
    let stored = dir.join("matrix.csv");
    if !stored.is_file() {
        return Ok(None);
    }
    let found = read_stored(dir)?;
    Ok(is_fresh(dir, &stored, &found).then(|| Matrix { judge: read_judge(dir), ..found }))
}

fn read_stored(dir: &Path) -> Result<Matrix, ReportError> {
    let bytes = |name: &str| fs_err::read(dir.join(name)).map_err(crate::store::StoreError::from);
    let configurations = dir.join("configurations.csv");
    let configurations = if configurations.is_file() { Some(bytes("configurations.csv")?) } else { None };
    Matrix::from_csv(&name_of(dir), &bytes("matrix.csv")?, configurations.as_deref())
        .map_err(|cause| ReportError::MatrixFile { path: dir.join("matrix.csv"), cause })
}

/// A sweep's directory bears its name.
fn name_of(dir: &Path) -> String {
    let full = fs_err::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    full.file_name().map_or_else(|| "sweep".to_owned(), |name| name.to_string_lossy().into_owned())
}

fn is_fresh(dir: &Path, stored: &Path, found: &Matrix) -> bool {
    let changed = |path: &Path| std::fs::metadata(path).and_then(|about| about.modified()).ok();
    let Some(written) = changed(stored) else { return false };
    let older = |time: Option<SystemTime>| time.is_none_or(|time| time <= written);
    if !dir.join("resolved.json").is_file() || !dir.join("points").is_dir() {
        return true;
    }
    let inputs = ["resolved.json", "references.json"].map(|name| dir.join(name));
    let points = found.points.iter().map(|row| dir.join("points").join(&row.name).join("point.json"));
    inputs.into_iter().chain(points).all(|path| older(changed(&path)))
}
