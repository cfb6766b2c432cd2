//! `sweep judge`: looks after the answers that judges gave.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::deliver::deliver;
use super::output;
use crate::judge::{Answer, Cache, Id, Identity};
use crate::run::CACHE;
use crate::text::{plural, thousands};

/// Look after the answers of judges: list, export, import, prune
#[derive(Debug, clap::Args)]
pub struct JudgeArgs {
    #[command(subcommand)]
    command: JudgeCommand,
}

#[derive(Debug, clap::Subcommand)]
enum JudgeCommand {
    /// List the judges that have answered, and how much
    Ls(LsArgs),
    /// Write answers as JSON lines, for another machine or for the record
    Export(ExportArgs),
    /// Add answers that were exported; those that are there stay
    Import(ImportArgs),
    /// Remove the answers of a judge; without --yes only say how many
    Prune(PruneArgs),
}

#[derive(Debug, clap::Args)]
struct PlaceArgs {
    /// Where results go: answers are in ROOT/judge-cache
    #[arg(long, value_name = "ROOT", default_value = "results", env = "SWEEP_OUT")]
    out: PathBuf,
    /// Where answers are kept, if elsewhere
    #[arg(long, value_name = "DIR", env = "SWEEP_CACHE")]
    cache: Option<PathBuf>,
}

impl PlaceArgs {
    fn path(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.out.join(CACHE))
    }

    fn open(&self) -> anyhow::Result<Cache> {
        let path = self.path();
        anyhow::ensure!(
            path.is_dir(),
            "there are no answers in `{}`\nhint: `--out ROOT` or `--cache DIR` says where they are",
            path.display()
        );
        Ok(Cache::open(&path)?)
    }
}

#[derive(Debug, clap::Args)]
struct LsArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// One JSON object
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Only this judge, by its id or the beginning of it
    #[arg(long, value_name = "ID")]
    judge: Option<String>,
    /// Where to; stdout when absent
    #[arg(short, long, value_name = "FILE", default_value = "-")]
    output: PathBuf,
}

#[derive(Debug, clap::Args)]
struct ImportArgs {
    /// What `sweep judge export` wrote
    file: PathBuf,
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, clap::Args)]
struct PruneArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Whose answers go, by its id or the beginning of it
    #[arg(long, value_name = "ID")]
    judge: String,
    /// Remove them
    #[arg(long)]
    yes: bool,
}

/// A line of an export: a judge, or an answer.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Judge { judge: String, identity: Identity },
    Answer { id: String, answer: Answer },
}

/// Runs `sweep judge ...`.
///
/// # Errors
/// A cache that cannot be read or written, a file that is no export, an unknown judge.
pub fn run(args: &JudgeArgs) -> anyhow::Result<u8> {
    match &args.command {
        JudgeCommand::Ls(args) => ls(args),
        JudgeCommand::Export(args) => export(args),
        JudgeCommand::Import(args) => import(args),
        JudgeCommand::Prune(args) => prune(args),
    }
}

/// Answers by judge.
fn counts(cache: &Cache) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers(cache) {
        *counts.entry(answer.1.judge).or_default() += 1;
    }
    counts
}

fn answers(cache: &Cache) -> impl Iterator<Item = (Id, Answer)> + '_ {
    let read = |id: Id| Some((id, serde_json::from_slice(&cache.get(id)?).ok()?));
    cache.ids().into_iter().filter_map(read)
}

/// The judges by id.
fn judges(cache: &Cache) -> BTreeMap<String, Identity> {
    let read = |(id, bytes): (Id, Vec<u8>)| Some((id.to_string(), serde_json::from_slice(&bytes).ok()?));
    cache.judges().into_iter().filter_map(read).collect()
}

fn ls(args: &LsArgs) -> anyhow::Result<u8> {
    let cache = args.place.open()?;
    let (contents, counts, judges) = (cache.contents(), counts(&cache), judges(&cache));
    if args.json {
        let list: Vec<serde_json::Value> = counts
            .iter()
            .map(|(id, answers)| serde_json::json!({ "judge": id, "answers": answers, "identity": judges.get(id) }))
            .collect();
        let all = serde_json::json!({ "dir": cache.dir(), "answers": contents.answers, "bytes": contents.bytes,
            "damaged_bytes": contents.damaged, "judges": list });
        output::result(&format!("{all}\n"));
        return Ok(0);
    }
    let mut text = format!(
        "{}: {}, {} kB in {}\n",
        cache.dir().display(),
        plural(contents.answers, "answer"),
        thousands(contents.bytes.div_ceil(1024) as usize),
        plural(contents.segments, "segment")
    );
    for (id, answers) in &counts {
        let name = judges.get(id).map_or("unknown", |judge| judge.model.as_str());
        let form = judges.get(id).map_or("", |judge| judge.form.as_str());
        text += &format!("  {id}  {}  {form} {name}\n", plural(*answers, "answer"));
    }
    if contents.damaged > 0 {
        text += &format!("  {} damaged bytes were passed over\n", thousands(contents.damaged as usize));
    }
    output::result(&text);
    Ok(0)
}

/// The one judge whose id begins with `text`.
fn named(cache: &Cache, text: &str) -> anyhow::Result<String> {
    let known: Vec<String> = counts(cache).into_keys().collect();
    let mut found = known.iter().filter(|id| id.starts_with(text));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.clone()),
        (Some(_), Some(_)) => {
            anyhow::bail!("`--judge {text}` could be more than one\nhint: write more of its id")
        }
        (None, _) => anyhow::bail!("no judge is called `{text}`\nhint: there are {}", known.join(", ")),
    }
}

fn export(args: &ExportArgs) -> anyhow::Result<u8> {
    let cache = args.place.open()?;
    let only = args.judge.as_ref().map(|text| named(&cache, text)).transpose()?;
    let wanted = |judge: &String| only.as_ref().is_none_or(|only| only == judge);
    let judges = judges(&cache).into_iter().filter(|(id, _)| wanted(id));
    let judges = judges.map(|(judge, identity)| Line::Judge { judge, identity });
    let answers = answers(&cache).filter(|(_, answer)| wanted(&answer.judge));
    let answers = answers.map(|(id, answer)| Line::Answer { id: id.to_string(), answer });
    let mut bytes = Vec::new();
    for line in judges.chain(answers) {
        serde_json::to_writer(&mut bytes, &line)?;
        bytes.push(b'\n');
    }
    deliver(&args.output, &bytes)?;
    Ok(0)
}

fn import(args: &ImportArgs) -> anyhow::Result<u8> {
    let text = fs_err::read_to_string(&args.file)?;
    let mut lines = Vec::new();
    // Nothing is added before all of it has been read.
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let place = || {
            format!("`{}`:{}: not a line that `sweep judge export` writes", args.file.display(), index + 1)
        };
        let line: Line = serde_json::from_str(line).with_context(place)?;
        let id = match &line {
            Line::Judge { judge, .. } => judge,
            Line::Answer { id, .. } => id,
        };
        lines.push((id_of(id).with_context(place)?, line));
    }
    let cache = Cache::open(&args.place.path())?;
    let mut added = 0;
    for (id, line) in &lines {
        match line {
            Line::Judge { identity, .. } => cache.describe(*id, &serde_json::to_vec(identity)?)?,
            Line::Answer { .. } if cache.contains(*id) => {}
            Line::Answer { answer, .. } => {
                cache.put(*id, &serde_json::to_vec(answer)?)?;
                added += 1;
            }
        }
    }
    output::note(&format!("{} added to `{}`", plural(added, "answer"), cache.dir().display()));
    Ok(0)
}

/// The id that `text` is in hexadecimal digits.
fn id_of(text: &str) -> Option<Id> {
    let mut id = [0; 16];
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).ok()?;
    }
    Some(Id(id))
}

fn prune(args: &PruneArgs) -> anyhow::Result<u8> {
    let cache = args.place.open()?;
    let judge = named(&cache, &args.judge)?;
    let of = |answer: &[u8]| {
        serde_json::from_slice::<Answer>(answer).map(|answer| answer.judge).unwrap_or_default()
    };
    if !args.yes {
        let count = counts(&cache).get(&judge).copied().unwrap_or(0);
        let place = cache.dir().display();
        output::note(&format!(
            "{} of judge {judge} would be removed from `{place}`\nhint: --yes removes them",
            plural(count, "answer")
        ));
        return Ok(0);
    }
    let gone = cache.prune(|_, answer| of(answer) != judge)?;
    output::note(&format!("{} of judge {judge} removed", plural(gone, "answer")));
    Ok(0)
}
