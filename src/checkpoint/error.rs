//! What can be wrong with a checkpoint file.

use std::io;
use std::path::{Path, PathBuf};

use zip::result::ZipError;

/// Why a checkpoint could not be read, written or compared.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system said no; the message names the file.
    #[error("{0}")]
    Io(io::Error),
    /// Truncated, changed, or inconsistent in itself.
    #[error("`{}` is damaged: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    /// Whole, as far as one can see, but not something this program reads.
    #[error("cannot read `{}`: {what}\nhint: {hint}", path.display())]
    Foreign { path: PathBuf, what: String, hint: String },
    /// Whole in itself, but the file that it shares parameters with is not at hand.
    #[error("`{}` shares parameters with `{}`, which cannot be read: {cause}\nhint: keep both below one results directory; `sweep ckpt export` makes a file that stands alone", path.display(), base.display())]
    Incomplete { path: PathBuf, base: PathBuf, cause: String },
    /// A pickle that asks for code to be run; it was not.
    #[error("refused to read `{}`: its pickle names `{global}`, which is neither plain data nor a tensor; nothing was executed\nhint: if you trust the file, load it with torch and save its state dict alone", path.display())]
    Refused { path: PathBuf, global: String },
    /// Two sets of weights that do not belong to the same model.
    #[error("cannot compare: {0}")]
    Incomparable(String),
    /// Facts or weights that the target format cannot hold.
    #[error("cannot write `{}`: {what}", path.display())]
    Unwritable { path: PathBuf, what: String },
}

/// [`CheckpointError`] before anyone has said which file it is about.
#[derive(Debug)]
pub(super) enum Flaw {
    Io(io::Error),
    Damaged(String),
    Foreign { what: String, hint: String },
    Refused(String),
    Incomplete { base: PathBuf, cause: String },
}

impl Flaw {
    pub(super) fn damaged(what: impl Into<String>) -> Self {
        Self::Damaged(what.into())
    }

    pub(super) fn foreign(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Foreign { what: what.into(), hint: hint.into() }
    }

    /// What is wrong, without the file's name.
    pub(super) fn cause(&self) -> String {
        match self {
            Self::Io(error) => error.to_string(),
            Self::Damaged(what) | Self::Foreign { what, .. } => what.clone(),
            Self::Refused(global) => format!("its pickle names `{global}`"),
            Self::Incomplete { cause, .. } => cause.clone(),
        }
    }

    /// Names the file.
    pub(super) fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_path_buf();
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                CheckpointError::Damaged { path, what: "it ends too early".into() }
            }
            Self::Io(error) => CheckpointError::Io(io::Error::new(
                error.kind(),
                format!("cannot read `{}`: {error}", path.display()),
            )),
            Self::Damaged(what) => CheckpointError::Damaged { path, what },
            Self::Foreign { what, hint } => CheckpointError::Foreign { path, what, hint },
            Self::Refused(global) => CheckpointError::Refused { path, global },
            Self::Incomplete { base, cause } => CheckpointError::Incomplete { path, base, cause },
        }
    }
}

impl From<io::Error> for Flaw {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What is wrong with a zip.
pub(super) fn zip_flaw(error: ZipError) -> Flaw {
    match error {
        ZipError::Io(error) if error.raw_os_error().is_some() => Flaw::Io(error),
        ZipError::InvalidArchive(what) => {
            Flaw::damaged(format!("it is cut short or no longer a zip ({what})"))
        }
        other => Flaw::damaged(format!("as a zip: {other}")),
    }
}
