//! `sweep data embed`: items in, a matrix of their embeddings out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{anyhow, ensure};

use crate::checkpoint::write_tensors;
use crate::cli::deliver::deliver_file;
use crate::cli::limits::{end_at, parse_time};
use crate::cli::output;
use crate::cli::run::{listen, signal_code};
use crate::experiment::Cancel;
use crate::judge::{Cache, Client, Embedder, EmbeddingSettings, Items, Secret};
use crate::selector::making::{matrix, texts};
use crate::text::thousands;

/// Where embeddings are kept, in a results root.
const CACHE: &str = "embedding-cache";
/// How often it is said how it goes.
const OFTEN: Duration = Duration::from_secs(10);

/// Ask a server for the embeddings of items
///
/// OpenAI's protocol: POST URL/embeddings, in batches. Each text is asked once, ever, and the same command goes on after an
/// interruption. The row of the matrix is the item's id.
#[derive(Debug, clap::Args)]
pub struct EmbedArgs {
    /// JSON lines with id, question and answers, as for `eval.items`
    items: PathBuf,
    /// The matrix (.safetensors)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Address of the API, mostly ending in /v1
    #[arg(long)]
    url: String,
    /// The model, as the server names it
    #[arg(long)]
    model: String,
    /// What is embedded of an item; {question} and {answer} stand for its parts
    #[arg(long, value_name = "TEXT", default_value = "{question}")]
    template: String,
    /// Divide every row by its length
    #[arg(long)]
    normalize: bool,
    /// Texts a request
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Requests at a time
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    concurrency: u32,
    /// Further attempts at a request that failed in a way that may pass
    #[arg(long, value_name = "N", default_value_t = 5)]
    retries: u32,
    /// Seconds that one answer may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    timeout: u64,
    /// Name of the environment variable that holds the API key
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// Stop in time: 90s, 30m, 8h, 1h30m
    #[arg(long, value_name = "TIME", env = "SWEEP_BUDGET", value_parser = parse_time)]
    budget: Option<Duration>,
    /// Where embeddings are kept [default: results/embedding-cache]
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
}

/// Runs `sweep data embed`.
///
/// # Errors
/// Items or an address that cannot be used.
pub fn run(args: &EmbedArgs) -> anyhow::Result<u8> {
    let is_address = ["http://", "https://"].iter().any(|scheme| args.url.starts_with(scheme));
    ensure!(
        is_address,
        "`--url {}` is no address\nhint: write it whole, such as `http://127.0.0.1:8000/v1`",
        args.url
    );
    let marks = ["{question}", "{answer}"];
    ensure!(
        marks.iter().any(|mark| args.template.contains(mark)),
        "`--template` has no {{question}} and no {{answer}}: all items would be alike"
    );
    let items = Items::load(&args.items)?;
    let texts = texts(&items, &args.template)?;
    let embedder = embedder(args)?;
    let cancel = Cancel::default();
    let signal = listen(&cancel)?;
    let deadline = args.budget.and_then(|budget| Instant::now().checked_add(budget));
    end_at(deadline, &cancel);
    let told = Mutex::new(Instant::now());
    let say = |left: usize| {
        let mut told = told.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if told.elapsed() >= OFTEN {
            *told = Instant::now();
            output::note(&format!("{} texts to go", thousands(left)));
        }
    };
    let all: Vec<String> = texts.values().cloned().collect();
    let found = embedder.embed(&all, &|| cancel.is_raised(), &say);
    for fault in found.faults.0.values() {
        output::note(&format!("warning: {}", fault.message));
    }
    if found.left > 0 {
        let is_late = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let left = thousands(found.left);
        output::note(&format!("{left} texts have no embedding yet; the same command goes on"));
        return Ok(match cancel.is_raised() {
            true if is_late => 5,
            true => signal_code(&signal),
            false => 1,
        });
    }
    let matrix = matrix(&texts, &found, args.normalize)?;
    let shape = matrix.shape.clone();
    let tensors = BTreeMap::from([("embeddings".to_owned(), matrix)]);
    let facts = BTreeMap::from([("model".to_owned(), args.model.clone())]);
    deliver_file(&args.output, |place| Ok(write_tensors(place, &tensors, &facts)?))?;
    output::note(&format!(
        "{}: {} rows of {} ({} texts, {} known before, {} asked now)",
        args.output.display(),
        thousands(shape[0]),
        shape[1],
        thousands(found.vectors.len()),
        thousands(found.cached),
        thousands(found.asked)
    ));
    Ok(0)
}

fn embedder(args: &EmbedArgs) -> anyhow::Result<Embedder> {
    let key = args.key_env.as_ref().map(|name| Secret::of_variable(name));
    let authorities = std::env::var("SSL_CERT_FILE").ok().filter(|_| args.url.starts_with("https://"));
    let authorities = authorities.map(fs_err::read).transpose()?;
    let address = format!("{}/embeddings", args.url.trim_end_matches('/'));
    let timeout = Duration::from_secs(args.timeout);
    let client = Client::new(&address, timeout, args.concurrency as usize, key, authorities.as_deref());
    let client = client.map_err(|cause| anyhow!("`SSL_CERT_FILE`: {cause}"))?;
    let cache = args.cache.clone().unwrap_or_else(|| Path::new("results").join(CACHE));
    let settings = EmbeddingSettings {
        model: args.model.clone(),
        batch: args.batch as usize,
        concurrency: args.concurrency as usize,
        retries: args.retries,
    };
    Ok(Embedder::new(settings, client, Cache::open(&cache)?))
}
