//! Where the inputs of finished results lie.

use std::path::PathBuf;

use crate::spec::is_path;
use crate::store::ResolvedRecord;

/// Relative paths are relative to where the sweep was started.
pub fn find_inputs(resolved: &mut ResolvedRecord) {
    let Some(place) = resolved.provenance.get("directory").map(PathBuf::from) else { return };
    let mend = |path: &mut PathBuf| {
        if path.is_relative() {
            *path = place.join(&path);
        }
    };
    for point in &mut resolved.points {
        for (key, mut path) in point.config.paths(is_path) {
            mend(&mut path);
            point.config.set(&key, serde_json::json!(path));
        }
    }
    if let Some(eval) = &mut resolved.eval {
        let given = [&mut eval.logged, &mut eval.queries, &mut eval.items];
        given.into_iter().filter(|path| !path.as_os_str().is_empty()).for_each(mend);
        if let Some(command) = &mut eval.command {
            mend(&mut command.directory);
        }
    }
}
