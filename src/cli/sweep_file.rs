//! The flags of every command that reads a sweep file.

use std::path::{Path, PathBuf};

use anyhow::Context;

use super::output;
use crate::spec::{self, LoadOptions, SweepSpec};

/// How a sweep file is read.
#[derive(Clone, Debug, clap::Args)]
pub struct SpecArgs {
    /// Override a key: `kl_beta=0.1`, `train.seed=[0,1]`, `KL_BETA=0.1`; an axis then has this one value
    #[arg(long = "set", value_name = "KEY=VALUE", env = "SWEEP_SET", value_delimiter = ';')]
    set: Vec<String>,
    /// Only the points with this value: `freeze=backbone`, `kl_beta=0.1,0.15`; a key given again is an alternative
    #[arg(long = "where", value_name = "KEY=VALUE", env = "SWEEP_WHERE", value_delimiter = ';')]
    filter: Vec<String>,
    /// Go on without asking, even with a very large grid
    #[arg(long, env = "SWEEP_YES")]
    yes: bool,
}

impl SpecArgs {
    /// What `--set` and `--where` were given.
    pub fn given(&self) -> impl Iterator<Item = &str> {
        self.set.iter().chain(&self.filter).map(String::as_str)
    }

    /// Reads and checks `path`.
    ///
    /// # Errors
    /// Whatever is wrong with the file; the message is for the user.
    pub fn load(&self, path: &Path) -> anyhow::Result<SweepSpec> {
        let options =
            LoadOptions { set: self.set.clone(), filter: self.filter.clone(), allow_huge: self.yes };
        Ok(spec::load(&found(path), &options)?)
    }
}

/// Where sweep files lie beside the directory that commands are typed in.
const FOLDER: &str = "sweeps";

/// `path`; where there is no such file, the one of that name in `sweeps/`, which is then said.
fn found(path: &Path) -> PathBuf {
    if path.exists() || path.is_absolute() {
        return path.to_owned();
    }
    let inside = Path::new(FOLDER).join(path);
    match inside.is_file() {
        true => {
            output::note(&format!("`{}` is taken from `{}`", path.display(), inside.display()));
            inside
        }
        false => path.to_owned(),
    }
}

/// The sweep files that `paths` name: files as they are, directories by the `.toml` files in them.
///
/// # Errors
/// A path that does not exist, a directory without sweep files.
pub fn expand(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(found(path));
            continue;
        }
        let entries = fs_err::read_dir(path).context("cannot list the directory")?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        found.sort();
        anyhow::ensure!(!found.is_empty(), "`{}` has no .toml file", path.display());
        for (file, why) in spec::of_other_programs(&mut found) {
            output::note(&format!("`{}` is passed over: {why}", file.display()));
        }
        anyhow::ensure!(!found.is_empty(), "`{}` has no sweep file for this program", path.display());
        files.extend(found);
    }
    Ok(files)
}
