//! `sweep import-scripts`: a folder of shell scripts, one per configuration, as sweep files.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::deliver::deliver;
use crate::cli::output;
use crate::selector::scripts::{Given, Reading, Remark, Script, SweepFile, read, sweep_files};
use crate::text::plural;

/// Read shell scripts, one per configuration, and write sweep files with the same points
///
/// Nothing is executed. What depends on more than the scripts is listed as unread. One sweep file is written per data
/// set and starting checkpoint.
#[derive(Debug, clap::Args)]
pub struct ImportArgs {
    /// Scripts, or directories of them (*.sh, *.slurm, *.sbatch)
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Directory for the sweep files; `-` prints them
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    output: PathBuf,
    /// A positional argument (`1=5`) or a variable (`GRPO_LR=1e-5`) that the scripts are called with
    #[arg(long = "set", value_name = "NAME=VALUE")]
    set: Vec<String>,
    /// Directory that the scripts are run from
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Overwrite sweep files that are there
    #[arg(long)]
    force: bool,
}

/// Runs `sweep import-scripts`. The exit code is 1 where something was not read.
///
/// # Errors
/// Paths that cannot be read, sweep files that are there already, scripts without a single point.
pub fn run(args: &ImportArgs) -> anyhow::Result<u8> {
    let given = given(args)?;
    let files = scripts(&args.paths)?;
    let mut readings = Vec::new();
    for path in &files {
        let bytes = fs_err::read(path)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let script = Script { name: path.display().to_string(), path: std::path::absolute(path)?, text };
        readings.push(read(&script, &given));
    }
    let points: Vec<_> = readings.iter().flat_map(|reading| reading.points.clone()).collect();
    let print = args.output == Path::new("-");
    let directory = std::path::absolute(if print { Path::new(".") } else { &args.output })?;
    let sweeps = sweep_files(&points, &directory, Path::exists).map_err(anyhow::Error::msg)?;
    output::note(report(&readings, &sweeps).trim_end());
    if sweeps.is_empty() {
        bail!(
            "no training command was read in {}\nhint: what was not read is listed above; --set gives arguments and variables",
            plural(files.len(), "script")
        );
    }
    if print {
        for sweep in &sweeps {
            output::result(&sweep.text);
        }
    } else {
        write_all(&sweeps, args)?;
    }
    Ok(u8::from(readings.iter().any(|reading| !reading.unread.is_empty())))
}

fn write_all(sweeps: &[SweepFile], args: &ImportArgs) -> anyhow::Result<()> {
    let folder = if args.output == Path::new(".") { Path::new("") } else { &args.output };
    let path = |sweep: &SweepFile| folder.join(format!("{}.toml", sweep.name));
    if let Some(there) = sweeps.iter().map(path).find(|path| path.exists()).filter(|_| !args.force) {
        bail!(
            "`{}` is there already, nothing was written\nhint: --force overwrites it, -o DIR writes elsewhere, -o - prints",
            there.display()
        );
    }
    fs_err::create_dir_all(&args.output)?;
    for sweep in sweeps {
        let path = path(sweep);
        deliver(&path, sweep.text.as_bytes())?;
        let mut line = format!("wrote {}: {}", path.display(), plural(sweep.points, "point"));
        if sweep.missing.is_empty() {
            line += &format!("\nhint: sweep plan {}", path.display());
        } else {
            let keys = sweep.missing.iter().map(|(key, now)| format!("\n  {key} = {now:?}"));
            line += &format!("; set these paths, which are not there:{}", keys.collect::<String>());
        }
        output::note(&line);
    }
    Ok(())
}

fn given(args: &ImportArgs) -> anyhow::Result<Given> {
    let mut given = Given { root: std::path::absolute(&args.root)?, ..Given::default() };
    anyhow::ensure!(
        args.root.is_dir(),
        "`{}` is no directory\nhint: --root is where the scripts are run from",
        args.root.display()
    );
    for text in &args.set {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            bail!(
                "--set takes `NAME=VALUE`, but is given `{text}`\nhint: --set 1=5 is the first argument, --set GRPO_LR=1e-5 a variable"
            );
        };
        given.values.insert(name.to_owned(), value.to_owned());
    }
    Ok(given)
}

/// Files as they are, directories by the scripts in them.
fn scripts(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        anyhow::ensure!(
            path.exists(),
            "there is no file or directory `{}`\nhint: name scripts, or directories of them",
            path.display()
        );
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let is_script = |path: &Path| {
            path.extension()
                .is_some_and(|e| ["sh", "bash", "slurm", "sbatch"].iter().any(|known| e == *known))
        };
        let entries = fs_err::read_dir(path).context("cannot list the directory")?;
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_file() && is_script(path))
            .collect();
        found.sort();
        anyhow::ensure!(!found.is_empty(), "`{}` has no shell scripts (*.sh)", path.display());
        files.extend(found);
    }
    Ok(files)
}

/// What was read, by script.
fn report(readings: &[Reading], sweeps: &[SweepFile]) -> String {
    let mut text = String::new();
    let list = |remarks: &[Remark], word: &str| -> String {
        remarks.iter().map(|remark| format!("  {word}, line {}: {}\n", remark.line, remark.text)).collect()
    };
    for reading in readings {
        text += &format!("{}\n", reading.script);
        for point in &reading.points {
            text += &format!("  trains, line {}:\n", point.line);
            for setting in &point.settings {
                text += &format!(
                    "    {} = {} ({}, line {})\n",
                    setting.key.dotted(),
                    setting.value,
                    setting.name,
                    setting.line
                );
            }
            if !point.other.is_empty() {
                text += &format!("    no key of a sweep, left out: {}\n", point.other.join(", "));
            }
        }
        text += &list(&reading.unread, "unread");
        text += &list(&reading.contradictions, "contradiction");
        if reading.points.is_empty() && reading.unread.is_empty() {
            let programs: Vec<&str> = reading.programs.iter().map(|remark| remark.text.as_str()).collect();
            let runs =
                if programs.is_empty() { String::new() } else { format!(" (runs {})", programs.join(", ")) };
            text += &format!("  trains nothing{runs}\n");
        }
    }
    for same in sweeps.iter().flat_map(|sweep| &sweep.same) {
        text += &format!("contradiction: {same}\n");
    }
    text + &summary(readings, sweeps)
}

/// `17 scripts: 12 training commands, 2 scripts with something unread, 3 that train nothing, 3 contradictions`
fn summary(readings: &[Reading], sweeps: &[SweepFile]) -> String {
    let unread = readings.iter().filter(|reading| !reading.unread.is_empty()).count();
    let idle =
        readings.iter().filter(|reading| reading.points.is_empty() && reading.unread.is_empty()).count();
    let commands = readings.iter().map(|reading| reading.points.len()).sum();
    let contradictions = readings.iter().map(|reading| reading.contradictions.len()).sum::<usize>()
        + sweeps.iter().map(|sweep| sweep.same.len()).sum::<usize>();
    let mut parts = vec![plural(commands, "training command")];
    if unread > 0 {
        parts.push(format!("{} with something unread", plural(unread, "script")));
    }
    if idle > 0 {
        parts.push(format!("{idle} that train{} nothing", if idle == 1 { "s" } else { "" }));
    }
    if contradictions > 0 {
        parts.push(plural(contradictions, "contradiction"));
    }
    format!("{}: {}\n", plural(readings.len(), "script"), parts.join(", "))
}
