//! Faults on purpose, for the tests of what survives them.
//!
//! `SWEEP_FAULT=<passage>:<n>[:<action>]` makes the process suffer at the n-th passage of a named place. Without
//! the variable a passage costs one load and a comparison. Read here and not in `cli`, so that it is in force from
//! the first file on and for worker processes alike.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A place where a fault can be planted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// All inputs are read, nothing is written.
    DataLoaded,
    /// One training step of a cohort.
    Step,
    /// A file is about to be written.
    Write,
    /// The temporary file has all its bytes.
    TemporaryWritten,
    /// It is synced and not yet renamed.
    BeforeRename,
    AfterRename,
    /// An epoch's files are there, its record is not.
    BeforeRecord,
    AfterRecord,
    /// A point's files are there, `point.json` is not.
    BeforePoint,
    AfterPoint,
    /// Between the files of the matrix.
    Matrix,
}

impl Passage {
    /// Every place.
    pub const ALL: [Self; 11] = [
        Self::DataLoaded,
        Self::Step,
        Self::Write,
        Self::TemporaryWritten,
        Self::BeforeRename,
        Self::AfterRename,
        Self::BeforeRecord,
        Self::AfterRecord,
        Self::BeforePoint,
        Self::AfterPoint,
        Self::Matrix,
    ];

    /// As in `SWEEP_FAULT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::DataLoaded => "data-loaded",
            Self::Step => "step",
            Self::Write => "write",
            Self::TemporaryWritten => "temporary-written",
            Self::BeforeRename => "before-rename",
            Self::AfterRename => "after-rename",
            Self::BeforeRecord => "before-record",
            Self::AfterRecord => "after-record",
            Self::BeforePoint => "before-point",
            Self::AfterPoint => "after-point",
            Self::Matrix => "matrix",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// SIGKILL: no destructor runs, no buffer is flushed.
    Kill,
    /// The disk is full from the n-th passage on.
    DiskFull,
    /// A defect in the program, once.
    Panic,
    /// As `Panic`, with the message of an accelerator that is out of memory, from the n-th passage on while
    /// more than `SWEEP_FAULT`'s fourth field of members train together.
    OutOfMemory { members: u64 },
    /// The process stops responding to orderly requests.
    Hang,
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    passage: Passage,
    at: u64,
    action: Action,
}

static FAULT: OnceLock<Option<Fault>> = OnceLock::new();
static PASSED: AtomicU64 = AtomicU64::new(0);

/// What `SWEEP_FAULT=free-space:<bytes>` says is free.
pub fn free_space() -> Option<u64> {
    let text = std::env::var("SWEEP_FAULT").ok()?;
    text.strip_prefix("free-space:")?.parse().ok()
}

fn planted() -> Option<&'static Fault> {
    FAULT.get_or_init(|| parse(&std::env::var("SWEEP_FAULT").ok()?)).as_ref()
}

/// `None` for what is not a fault: a stray variable must not stop anyone's work.
fn parse(text: &str) -> Option<Fault> {
    let mut fields = text.split(':');
    let name = fields.next()?;
    let passage = Passage::ALL.into_iter().find(|passage| passage.name() == name)?;
    let at = fields.next()?.parse().ok()?;
    let action = match fields.next() {
        None | Some("kill") => Action::Kill,
        Some("enospc") => Action::DiskFull,
        Some("panic") => Action::Panic,
        Some("oom") => Action::OutOfMemory { members: fields.next()?.parse().ok()? },
        Some("hang") => Action::Hang,
        Some(_) => return None,
    };
    Some(Fault { passage, at, action })
}

/// Passes `passage`.
///
/// # Errors
/// Only with a planted fault: no space left on the device.
///
/// # Panics
/// Only with a planted fault.
pub fn pass(passage: Passage) -> io::Result<()> {
    match planted() {
        Some(fault) if fault.passage == passage => suffer(fault, 1),
        _ => Ok(()),
    }
}

/// Passes [`Passage::Step`] with a cohort of `members`.
///
/// # Panics
/// Only with a planted fault.
pub fn step(members: u64) {
    if let Some(fault) = planted()
        && fault.passage == Passage::Step
    {
        let _ = suffer(fault, members);
    }
}

fn suffer(fault: &Fault, members: u64) -> io::Result<()> {
    let passed = PASSED.fetch_add(1, Ordering::Relaxed) + 1;
    match fault.action {
        _ if passed < fault.at => Ok(()),
        Action::Kill => {
            let _ = signal_hook::low_level::raise(signal_hook::consts::SIGKILL);
            // The signal may need a moment to arrive; nothing may happen meanwhile.
            std::process::abort()
        }
        Action::DiskFull => Err(io::Error::from(io::ErrorKind::StorageFull)),
        Action::Panic if passed == fault.at => panic!("planted fault"),
        Action::Panic => Ok(()),
        Action::OutOfMemory { members: most } if members > most => {
            // As cubecl does it: the device's thread panics, and whoever uses the device is not told.
            let device = || panic!("planted fault: can't allocate buffer of size: 1073741824");
            let _ = std::thread::spawn(device).join();
            Ok(())
        }
        Action::OutOfMemory { .. } => Ok(()),
        Action::Hang => loop {
            std::thread::sleep(std::time::Duration::from_secs(60));
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read() {
        for passage in Passage::ALL {
            let fault = parse(&format!("{}:3", passage.name())).unwrap();
            assert_eq!(fault, Fault { passage, at: 3, action: Action::Kill });
        }
        assert_eq!(parse("write:1:enospc").unwrap().action, Action::DiskFull);
        assert_eq!(parse("step:9:oom:2").unwrap().action, Action::OutOfMemory { members: 2 });
        for wrong in ["", "step", "step:x", "nowhere:1", "step:1:tea", "step:1:oom"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
