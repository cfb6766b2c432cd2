//! `sweep compare`: two sweeps, or two states of one, side by side.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use clap::ValueEnum;

use super::deliver::deliver;
use super::output;
use super::report::say_where;
use crate::disk;
use crate::report::{Compared, ComparisonPage, Side, Table};
use crate::text::quoted;

/// Compare two sweeps, or two states of one: which points moved, and which only one has
///
/// Points are matched by their configuration. Differences have paired intervals over the queries that both were
/// evaluated on. Without --format the whole comparison becomes one self-contained page, and a short table is printed.
#[derive(Debug, clap::Args)]
pub struct CompareArgs {
    /// Results directory, or REV:DIR for its state in a git revision, such as HEAD~1:results/kl_grid
    #[arg(value_name = "DIR")]
    first: String,
    /// What is compared with it, in the same form
    #[arg(value_name = "DIR")]
    second: String,
    /// Write only this format, with every point, to stdout or to the file of -o
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The file to write [default: the page goes to compare.html in the second directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Output formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Md,
    Csv,
    /// The page
    Html,
    Json,
    /// Boxes, as on a terminal
    Text,
}

/// Points that the short table shows.
const SHORT: usize = 10;

/// Runs `sweep compare`.
///
/// # Errors
/// Directories without results, revisions that git does not know, damaged files, a place that cannot be written.
pub fn run(args: &CompareArgs) -> anyhow::Result<u8> {
    let places = [Place::of(&args.first)?, Place::of(&args.second)?];
    let [first, second] = &places;
    let sides = [Side::read(first.dir(), &args.first)?, Side::read(second.dir(), &args.second)?];
    let compared = Compared::of(&sides[0], &sides[1]);
    // Only of what lies on disk can the answers be looked at.
    let command = |place: &Place, side: &Side| match place {
        Place::Dir(dir) if side.results.is_some() => {
            Some(format!("sweep why {}", quoted(&dir.display().to_string())))
        }
        _ => None,
    };
    let commands = [command(first, &sides[0]), command(second, &sides[1])];
    let page = || ComparisonPage { compared: &compared, commands: commands.clone() }.html();
    if let Some(format) = args.format {
        let text = match format {
            Format::Html => page(),
            _ => one_table(&compared.table(None), format)?,
        };
        match &args.output {
            Some(file) => deliver(file, text.as_bytes())?,
            None => output::result(&text),
        }
        return Ok(0);
    }
    let file = args.output.clone().unwrap_or_else(|| match second {
        Place::Dir(dir) => dir.join("compare.html"),
        Place::Revision(_) => PathBuf::from("compare.html"),
    });
    deliver(&file, page().as_bytes())?;
    if file != Path::new("-") {
        let format = if output::is_terminal() { Format::Text } else { Format::Md };
        output::result(&one_table(&compared.table(Some(SHORT)), format)?);
    }
    say_where(&file);
    Ok(0)
}

fn one_table(table: &Table, format: Format) -> anyhow::Result<String> {
    Ok(match format {
        Format::Md | Format::Html => table.to_markdown(),
        Format::Csv => String::from_utf8(table.to_csv())?,
        Format::Json => format!("{:#}\n", table.to_json()),
        Format::Text => table.to_terminal(output::width(), output::colour_results()),
    })
}

/// Where one of the two lies.
enum Place {
    Dir(PathBuf),
    /// Taken out of a git revision.
    Revision(tempfile::TempDir),
}

impl Place {
    /// What lies on disk comes before what git may know under the same name.
    fn of(text: &str) -> anyhow::Result<Self> {
        match text.split_once(':') {
            Some((revision, dir)) if !Path::new(text).exists() => Self::revision(revision, dir),
            _ => Ok(Self::Dir(PathBuf::from(text))),
        }
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Dir(dir) => dir,
            Self::Revision(dir) => dir.path(),
        }
    }

    /// The files below `dir` as `revision` has them.
    fn revision(revision: &str, dir: &str) -> anyhow::Result<Self> {
        let place = fs_err::canonicalize(nearest(Path::new(dir)))?;
        let top = PathBuf::from(git(&place, &["rev-parse", "--show-toplevel"])?.trim_end());
        let whole = std::path::absolute(dir)?;
        let inside =
            whole.strip_prefix(&top).map_or_else(|_| dir.to_owned(), |path| path.display().to_string());
        let names =
            git(&top, &["ls-tree", "-r", "-z", "--name-only", revision, "--", &format!("{inside}/")])?;
        let room = tempfile::tempdir()?;
        let mut found = 0;
        // Weights and logs are not needed, and may be large.
        for name in names.split('\0').filter(|name| is_needed(name)) {
            let text = git(&top, &["show", &format!("{revision}:{name}")])?;
            let below = Path::new(name).strip_prefix(&inside).unwrap_or(Path::new(name));
            disk::write(&room.path().join(below), text.as_bytes())?;
            found += 1;
        }
        if found == 0 {
            bail!(
                "git revision `{revision}` keeps no results in `{dir}`\nhint: `git ls-tree -r --name-only {revision} -- {dir}` shows what it keeps; matrix.csv is enough"
            );
        }
        Ok(Self::Revision(room))
    }
}

/// Files that a comparison reads.
fn is_needed(name: &str) -> bool {
    let names = [
        "resolved.json",
        "references.json",
        "matrix.csv",
        "configurations.csv",
        "point.json",
        "metrics.csv",
        "selections.jsonl",
    ];
    !name.contains("/stages/") && names.contains(&name.rsplit('/').next().unwrap_or(name))
}

/// The closest folder of `dir` that exists now.
fn nearest(dir: &Path) -> PathBuf {
    let mut place = dir;
    while !place.is_dir() {
        match place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            Some(parent) => place = parent,
            None => return PathBuf::from("."),
        }
    }
    place.to_owned()
}

/// What git prints.
fn git(place: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output =
        Command::new("git").arg("-C").arg(place).args(arguments).output().context("cannot run git")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("git: {}\nhint: a state is given as REV:DIR, for example HEAD~1:results/kl_grid", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
