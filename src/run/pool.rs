//! Threads for what waits for disks.

use std::sync::OnceLock;

/// Threads that write and evaluate: they mostly wait for syncs, and syncs at the same time share a journal commit.
pub(super) const WRITERS: usize = 8;

/// Does `work` with threads of its own: it waits for disks, and those that train must not.
pub(super) fn beside_training<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    let name = |index| format!("writer {index}");
    let build = || rayon::ThreadPoolBuilder::new().num_threads(WRITERS).thread_name(name).build().ok();
    match POOL.get_or_init(build) {
        Some(pool) => pool.install(work),
        None => work(),
    }
}
