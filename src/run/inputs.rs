//! Where the inputs of finished results lie.

use std::path::PathBuf;

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
        mend(&mut point.config.data.trajectories);
        mend(&mut point.config.data.embeddings);
        if let Some(init) = &mut point.config.train.init {
            mend(init);
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
