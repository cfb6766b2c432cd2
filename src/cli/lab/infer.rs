//! `sweep infer`

use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;

use super::endpoint_flags::EndpointFlags;
use crate::checkpoint;
use crate::cli::deliver::deliver;
use crate::cli::output;
use crate::cli::progress::Progress;
use crate::cli::run::{listen, signal_code};
use crate::device::{Device, DeviceRequest};
use crate::experiment::Cancel;
use crate::run::{CACHE, find_inputs};
use crate::selector::{Inference, ModelParams, Params, Request, SCHEMA, infer};
use crate::spec::{LoadOptions, load};
use crate::store::{QueryScore, SweepDir, read_resolved, selections_jsonl, unanswered_jsonl};
use crate::text::{plural, thousands};

/// Let a checkpoint choose demonstrations and ask the judge about them
///
/// Greedy selection, each question asked once: answers are shared with the sweeps of the same results root. Prints the
/// accuracy per number of demonstrations. The same command after an interruption goes on.
#[derive(Debug, clap::Args)]
pub struct InferArgs {
    /// A checkpoint, a directory of them (its newest is taken, as by `sweep ckpt latest`), or a results directory
    #[arg(value_name = "CHECKPOINT|RESULTS_DIR")]
    from: PathBuf,
    /// The point, of a results directory
    #[arg(value_name = "POINT")]
    point: Option<String>,
    /// The sweep file whose [model] and [eval] tables hold; a results directory has its own
    #[arg(long, value_name = "FILE")]
    sweep: Option<PathBuf>,
    #[command(flatten)]
    endpoint: EndpointFlags,
    /// Instead of `eval.items.file`: what questions are made of
    #[arg(long, value_name = "FILE")]
    items: Option<PathBuf>,
    /// Instead of `data.embeddings`
    #[arg(long, value_name = "FILE")]
    embeddings: Option<PathBuf>,
    /// Instead of `eval.queries`: the queries and their candidates [without: the items of split `eval`, each with the 64
    /// nearest of split `support`]
    #[arg(long, value_name = "FILE")]
    queries: Option<PathBuf>,
    /// How many queries, in file order; -1 = all
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    samples: Option<i64>,
    /// Numbers of demonstrations, such as 1,2,3,4
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    shots: Vec<usize>,
    /// Write every choice with its answer and score as JSON lines
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where answers of the judge are kept [default: that of the results, else results/judge-cache]
    #[arg(long, value_name = "DIR", env = "SWEEP_CACHE")]
    cache: Option<PathBuf>,
    /// auto, cpu, cuda, cuda:N or wgpu
    #[arg(long, default_value = "auto", env = "SWEEP_DEVICE")]
    device: String,
    /// Print JSON instead of the table
    #[arg(long, env = "SWEEP_JSON")]
    json: bool,
}

/// Runs `sweep infer`.
///
/// # Errors
/// Inputs that cannot be used, flags that do not belong together.
pub fn run(args: &InferArgs) -> anyhow::Result<u8> {
    let request = request(args)?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let mut progress = Progress::new(&cancel);
    let found = infer(&request, &cancel, &mut |event| progress.show(event))?;
    if let Some(target) = &args.output {
        let mut lines = selections_jsonl(found.scores.values().flatten(), SCHEMA.columns);
        lines.extend(unanswered_jsonl(&found.unanswered, SCHEMA.columns));
        deliver(target, &lines)?;
    }
    let text = if args.json { json(&request, &found) } else { table(&request, &found) };
    output::result(&text);
    for fault in &found.faults {
        output::note(&format!("warning: the judge: {fault}"));
    }
    match found.interrupted {
        true => {
            output::note("interrupted; the same command goes on");
            Ok(signal_code(&signal))
        }
        false => Ok(u8::from(!found.unanswered.is_empty())),
    }
}

fn request(args: &InferArgs) -> anyhow::Result<Request> {
    let device = args.device.parse::<DeviceRequest>()?.resolve()?;
    let is_results = args.from.join("resolved.json").is_file();
    let mut request = match (&args.point, &args.sweep) {
        (Some(point), None) if is_results => request_of_results(&args.from, point, device)?,
        (None, None) if is_results => anyhow::bail!(
            "`{}` holds results of several points\nhint: name one, as `sweep table` prints it",
            args.from.display()
        ),
        (Some(_), None) => {
            anyhow::bail!("`{}` is no results directory, and only those have points", args.from.display())
        }
        (None, None) => alone(args, device)?,
        (Some(_), Some(_)) => {
            anyhow::bail!("a point belongs to a results directory, `--sweep` to a checkpoint")
        }
        (None, Some(file)) => {
            let sweep = load(file, &LoadOptions::default())?;
            let config = sweep.points.first().context("the sweep has no point")?;
            let config = Params::of(&config.config).map_err(anyhow::Error::msg)?;
            Request {
                checkpoint: checkpoint_at(&args.from)?,
                model: config.model,
                embeddings: config.data.embeddings,
                eval: sweep.eval.unwrap_or_default(),
                cache: Path::new("results").join(CACHE),
                device,
            }
        }
    };
    args.endpoint.put_over(&mut request.eval)?;
    let given = [
        (&args.items, &mut request.eval.items),
        (&args.embeddings, &mut request.embeddings),
        (&args.queries, &mut request.eval.queries),
        (&args.cache, &mut request.cache),
    ];
    for (flag, value) in given {
        if let Some(flag) = flag {
            value.clone_from(flag);
        }
    }
    if let Some(samples) = args.samples {
        anyhow::ensure!(samples != 0 && samples >= -1, "`--samples {samples}`: 1 or more, or -1 for all");
        request.eval.samples = vec![usize::try_from(samples).ok()];
    }
    if !args.shots.is_empty() {
        anyhow::ensure!(!args.shots.contains(&0), "`--shots`: 1 or more each");
        request.eval.shots.clone_from(&args.shots);
        request.eval.shots.sort_unstable();
        request.eval.shots.dedup();
    }
    anyhow::ensure!(
        request.eval.is_live(),
        "no judge is named: there is no [eval.endpoint] and no [eval.command]"
    );
    Ok(request)
}

/// The request that the results in `dir` stand for, with the checkpoint of one of their points.
///
/// # Errors
/// No results, an unknown point, one without a checkpoint, results that no judge was asked for.
fn request_of_results(dir: &Path, point: &str, device: Device) -> anyhow::Result<Request> {
    let no_point = || {
        format!(
            "there is no point `{point}` with a checkpoint in these results\nhint: `sweep table` prints their names"
        )
    };
    let mut resolved = read_resolved(dir)?;
    find_inputs(&mut resolved);
    let found = resolved.points.iter().find(|one| one.name == point);
    let config = found.with_context(no_point)?.config.clone();
    let damaged = |value: String| anyhow::anyhow!("point `{point}` is damaged: {value}");
    let Params { model, data, .. } = Params::of(&config).map_err(damaged)?;
    let record = SweepDir::at(dir).point_record(point);
    let record: serde_json::Value = serde_json::from_slice(&fs_err::read(&record)?).unwrap_or_default();
    let checkpoint = record["checkpoint"].as_str().with_context(no_point)?;
    let beside = dir.parent().unwrap_or(Path::new(".")).join(CACHE);
    Ok(Request {
        checkpoint: dir.join(checkpoint),
        model,
        embeddings: data.embeddings,
        eval: resolved.eval.unwrap_or_default(),
        cache: resolved.provenance.get(CACHE).map_or(beside, PathBuf::from),
        device,
    })
}

/// Of a checkpoint and nothing else: its file says what the model is, flags say the rest.
fn alone(args: &InferArgs, device: Device) -> anyhow::Result<Request> {
    let eval = args.endpoint.alone()?;
    for (flag, given, what) in [
        ("items", &args.items, "questions are made of items"),
        ("embeddings", &args.embeddings, "the checkpoint chooses by them"),
    ] {
        anyhow::ensure!(
            given.is_some(),
            "`--{flag} FILE` is missing: {what}\nhint: `--sweep FILE` names a sweep file that knows it"
        );
    }
    let checkpoint = checkpoint_at(&args.from)?;
    let model = ModelParams::of_checkpoint(&checkpoint::read_summary(&checkpoint)?);
    let cache = Path::new("results").join(CACHE);
    Ok(Request { checkpoint, model, embeddings: PathBuf::new(), eval, cache, device })
}

fn checkpoint_at(from: &Path) -> anyhow::Result<PathBuf> {
    if !from.is_dir() {
        return Ok(from.to_owned());
    }
    let latest = checkpoint::latest(from)?;
    for error in &latest.passed_over {
        output::note(&format!("warning: passed over: {error}"));
    }
    latest
        .path
        .with_context(|| format!("no {} checkpoint in `{}`", checkpoint::epoch_files(), from.display()))
}

/// Mean and half its 95 % interval: Wilson's where all scores are 0 or 1, else by the normal distribution.
fn accuracy(lines: &[QueryScore]) -> (f64, f64, f64) {
    let scores: Vec<f64> = lines.iter().map(|line| line.score.get()).collect();
    let n = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / n;
    let z = 1.96_f64;
    if scores.iter().all(|score| *score == 0.0 || *score == 1.0) {
        let center = (mean + z * z / (2.0 * n)) / (1.0 + z * z / n);
        let half = z * (mean * (1.0 - mean) / n + z * z / (4.0 * n * n)).sqrt() / (1.0 + z * z / n);
        return (mean, (center - half).max(0.0), (center + half).min(1.0));
    }
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    let half = z * (variance / n).sqrt();
    (mean, (mean - half).max(0.0), (mean + half).min(1.0))
}

fn table(request: &Request, found: &Inference) -> String {
    let mut text = format!("{}\n\n", request.checkpoint.display());
    let _ = writeln!(text, "shots  accuracy  95 % interval     queries");
    for shot in &request.eval.shots {
        let lines = found.scores.get(shot).map(Vec::as_slice).unwrap_or_default();
        let missing = found.unanswered.iter().filter(|line| line.column == *shot).count();
        let (mean, low, high) = accuracy(lines);
        let of = match missing {
            0 => lines.len().to_string(),
            missing => format!("{} of {}", lines.len(), lines.len() + missing),
        };
        let [mean, low, high] = [mean, low, high].map(|share| format!("{:.2}", 100.0 * share));
        let _ = writeln!(text, "{shot:>5}  {mean:>6} %  {low:>6} to {high:>6}  {of}");
    }
    let _ = writeln!(
        text,
        "\n{}, {} distinct, {} answered before, {} asked now (judge {})",
        plural(found.questions, "question"),
        thousands(found.distinct),
        thousands(found.cached),
        thousands(found.asked),
        found.judge
    );
    text
}

fn json(request: &Request, found: &Inference) -> String {
    let shots: Vec<serde_json::Value> = request
        .eval
        .shots
        .iter()
        .map(|shot| {
            let lines = found.scores.get(shot).map(Vec::as_slice).unwrap_or_default();
            let missing = found.unanswered.iter().filter(|line| line.column == *shot).count();
            let (mean, low, high) = accuracy(lines);
            serde_json::json!({ "shots": shot, "accuracy": mean, "low": low, "high": high,
                "queries": lines.len(), "unanswered": missing })
        })
        .collect();
    let summary = serde_json::json!({
        "checkpoint": request.checkpoint, "shots": shots, "questions": found.questions, "distinct": found.distinct,
        "cached": found.cached, "asked": found.asked, "judge": found.judge, "interrupted": found.interrupted,
    });
    format!("{summary}\n")
}
