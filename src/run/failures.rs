//! What becomes of a cohort whose training fails: narrower cohorts, further attempts, at last one failed stage.

use crate::plan::Cohort;

/// How wide each stage may train and how often it has failed.
pub struct Failures {
    /// Widest cohort for which memory sufficed, and widest of each stage.
    width: usize,
    limits: Vec<usize>,
    /// Failed attempts of each stage on its own.
    attempts: Vec<u32>,
    /// Further attempts allowed.
    retries: u32,
}

/// What to do after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Train the same stages again, at most so many together: a cohort that needs too much memory fits, and a
    /// defect that one member triggers takes only that member with it.
    Narrower(usize),
    /// Train the one stage again.
    Again,
    /// The one stage has failed.
    GiveUp,
}

impl Failures {
    /// For `stages` stages that have not failed yet.
    pub fn new(stages: usize, retries: u32) -> Self {
        Self { width: usize::MAX, limits: vec![usize::MAX; stages], attempts: vec![0; stages], retries }
    }

    /// Widest cohort that memory allows, as far as it is known.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The part of `cohort` that may train together after what happened before.
    pub fn narrow(&self, mut cohort: Cohort) -> Cohort {
        let Some(&first) = cohort.stages.first() else { return cohort };
        let most = self.limits[first].min(cohort.stages.len());
        cohort.stages.retain(|&stage| self.limits[stage] >= most);
        cohort.stages.truncate(most);
        cohort
    }

    /// Notes that training `stages` together failed because of `cause`.
    pub fn note(&mut self, stages: &[usize], cause: &str) -> Verdict {
        if let [stage] = stages {
            self.attempts[*stage] += 1;
            return if self.attempts[*stage] > self.retries { Verdict::GiveUp } else { Verdict::Again };
        }
        let most = (stages.len() / 2).max(1);
        for &stage in stages {
            self.limits[stage] = most;
        }
        if is_out_of_memory(cause) {
            self.width = self.width.min(most);
        }
        Verdict::Narrower(most)
    }
}

/// Whether a message is about memory: then wide cohorts are no use for other stages either. The driver calls it
/// `CUDA_ERROR_OUT_OF_MEMORY`, "out of memory"; what cubecl makes of it when it allocates is the last one.
fn is_out_of_memory(cause: &str) -> bool {
    let cause = cause.to_lowercase();
    let all = ["out of memory", "out-of-memory", "out_of_memory", "outofmemory", "memory allocation"];
    all.iter().any(|words| cause.contains(words)) || cause.contains("can't allocate buffer of size")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cohort(stages: &[usize]) -> Cohort {
        Cohort { stages: stages.to_vec() }
    }

    #[test]
    fn a_failing_cohort_is_halved_until_the_one_stage_is_found() {
        let mut failures = Failures::new(6, 0);
        assert_eq!(failures.note(&[1, 2, 3, 4], "index out of bounds"), Verdict::Narrower(2));
        assert_eq!(failures.narrow(cohort(&[1, 2, 3, 4, 5])).stages, [1, 2]);
        assert_eq!(failures.note(&[1, 2], "index out of bounds"), Verdict::Narrower(1));
        assert_eq!(failures.narrow(cohort(&[1, 2, 3, 4, 5])).stages, [1]);
        assert_eq!(failures.note(&[1], "index out of bounds"), Verdict::GiveUp);
        // The others are as wide as before: it was not for lack of memory.
        assert_eq!((failures.width(), failures.narrow(cohort(&[5, 0])).stages), (usize::MAX, vec![5, 0]));
        // A stage that has never failed does not train with one that has in a cohort too wide for that one.
        assert_eq!(failures.narrow(cohort(&[0, 3, 5])).stages, [0, 5]);
    }

    #[test]
    fn out_of_memory_narrows_the_whole_run() {
        let mut failures = Failures::new(8, 1);
        assert_eq!(failures.note(&[0, 1, 2, 3, 4], "CUDA_ERROR_OUT_OF_MEMORY"), Verdict::Narrower(2));
        assert_eq!(failures.width(), 2);
        assert_eq!(failures.note(&[7], "CUDA_ERROR_OUT_OF_MEMORY"), Verdict::Again);
        assert_eq!(failures.note(&[7], "CUDA_ERROR_OUT_OF_MEMORY"), Verdict::GiveUp);
    }

    /// The texts of burn 0.21's CUDA backend (cubecl 0.10, cudarc 0.19) and of Rust's allocator.
    #[test]
    fn messages_about_memory_are_known() {
        for cause in [
            "called `Result::unwrap()` on an `Err` value: The server is in an invalid state\nCaused by:\n  [An io error happened during launch\nCaused by:\n  can't allocate buffer of size: 8589934592\n]",
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")",
            "An out-of-memory error happened during launch\nCaused by:\n  no room",
            "memory allocation of 34359738368 bytes failed",
        ] {
            assert!(is_out_of_memory(cause), "{cause}");
        }
        for cause in [
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")",
            "index out of bounds",
        ] {
            assert!(!is_out_of_memory(cause), "{cause}");
        }
    }
}
