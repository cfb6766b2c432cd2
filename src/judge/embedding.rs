//! Embeddings of texts from a server that speaks OpenAI's protocol: in batches, each text asked once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::cache::Cache;
use super::fault::{Fault, FaultKind, Tally};
use super::http::Client;
use super::segment::Id;

/// The first pause before asking again, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a pause looks whether it is to end.
const NAP: Duration = Duration::from_millis(50);

/// How a server is asked for embeddings.
#[derive(Clone, Debug)]
pub struct EmbeddingSettings {
    /// As the server names it.
    pub model: String,
    /// Texts a request, 1 or more.
    pub batch: usize,
    /// Requests at a time, 1 or more.
    pub concurrency: usize,
    /// Further attempts at a request that failed.
    pub retries: u32,
}

/// A server that embeds, and what it has said.
#[derive(Debug)]
pub struct Embedder {
    settings: EmbeddingSettings,
    client: Client,
    cache: Cache,
}

/// What came of texts.
#[derive(Clone, Debug, Default)]
pub struct Embedded {
    /// By text.
    pub vectors: BTreeMap<String, Vec<f32>>,
    /// Texts that were known before, and those asked now.
    pub cached: usize,
    pub asked: usize,
    /// Texts without an embedding.
    pub left: usize,
    pub faults: Tally,
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    model: String,
    data: Vec<One>,
}

#[derive(Deserialize)]
struct One {
    index: usize,
    embedding: Vec<f32>,
}

impl Embedder {
    /// Asks through `client`, which knows the address; what comes back is kept in `cache`.
    pub fn new(settings: EmbeddingSettings, client: Client, cache: Cache) -> Self {
        Self { settings, client, cache }
    }

    /// The embeddings of `texts`, until all are there or `stop` says so; `say` hears how many are left.
    ///
    /// # Errors
    /// None: what is missing is counted.
    pub fn embed(
        &self,
        texts: &[String],
        stop: &(dyn Fn() -> bool + Sync),
        say: &(dyn Fn(usize) + Sync),
    ) -> Embedded {
        let mut found = Embedded::default();
        let mut open: Vec<&String> = Vec::new();
        for text in texts {
            match self.cache.get(self.id(text)).and_then(|bytes| floats(&bytes)) {
                Some(vector) => drop(found.vectors.insert(text.clone(), vector)),
                None => open.push(text),
            }
        }
        open.sort_unstable();
        open.dedup();
        found.cached = found.vectors.len();
        let batches: Vec<&[&String]> = open.chunks(self.settings.batch.max(1)).collect();
        let (next, left) = (AtomicUsize::new(0), AtomicUsize::new(open.len()));
        let results = Mutex::new((BTreeMap::new(), Tally::default(), false));
        std::thread::scope(|scope| {
            for _ in 0..self.settings.concurrency.max(1).min(batches.len()) {
                scope.spawn(|| {
                    while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let is_over = results.lock().unwrap_or_else(PoisonError::into_inner).2;
                        if is_over || stop() {
                            return;
                        }
                        let outcome = self.patiently(batch, stop);
                        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                        match outcome {
                            Ok(vectors) => {
                                let named = batch.iter().map(|text| (*text).clone()).zip(vectors);
                                results.0.extend(named);
                                left.fetch_sub(batch.len(), Ordering::Relaxed);
                            }
                            Err(fault) => {
                                results.1.add(&fault, 0);
                                results.2 |= fault.kind.is_final();
                            }
                        }
                        say(left.load(Ordering::Relaxed));
                    }
                });
            }
        });
        let (vectors, faults, _) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        found.asked = vectors.len();
        found.vectors.extend(vectors);
        found.left = open.len() - found.asked;
        found.faults = faults;
        let _ = self.cache.sync();
        found
    }

    /// The identity of a text's embedding.
    fn id(&self, text: &str) -> Id {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(b"embedding\0")
            .update(self.settings.model.as_bytes())
            .update(&[0])
            .update(text.as_bytes());
        Id::of(&hasher.finalize())
    }

    /// [`Embedder::ask`], again where that may help.
    fn patiently(&self, batch: &[&String], stop: &dyn Fn() -> bool) -> Result<Vec<Vec<f32>>, Fault> {
        let mut attempt = 0;
        loop {
            let fault = match self.ask(batch) {
                Ok(vectors) => return Ok(vectors),
                Err(fault) => fault,
            };
            if !fault.kind.may_pass() || attempt >= self.settings.retries {
                return Err(fault);
            }
            let pause = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
            let until = Instant::now() + pause.max(fault.wait.unwrap_or_default());
            while Instant::now() < until {
                if stop() {
                    return Err(fault);
                }
                std::thread::sleep(NAP);
            }
            attempt += 1;
        }
    }

    /// One request; what comes back is kept.
    fn ask(&self, batch: &[&String]) -> Result<Vec<Vec<f32>>, Fault> {
        let body = json!({ "model": self.settings.model, "input": batch, "encoding_format": "float" });
        let bytes = serde_json::to_vec(&body).unwrap_or_default();
        let response = self.client.post(&bytes)?;
        let unreadable = |message: String| Fault::new(FaultKind::Unreadable, message);
        let response: Response =
            serde_json::from_slice(&response).map_err(|error| unreadable(error.to_string()))?;
        if !response.model.is_empty() && response.model != self.settings.model {
            let message = format!(
                "the server answers as model `{}`, asked was `{}`\nhint: `--model` as the server names it",
                response.model, self.settings.model
            );
            return Err(Fault::new(FaultKind::WrongModel, message));
        }
        let mut vectors = vec![Vec::new(); batch.len()];
        for One { index, embedding } in response.data {
            let place = vectors
                .get_mut(index)
                .ok_or_else(|| unreadable(format!("`index` {index} of {}", batch.len())))?;
            *place = embedding;
        }
        if vectors.iter().any(|vector| vector.is_empty() || vector.iter().any(|value| !value.is_finite())) {
            return Err(unreadable("an embedding is missing, empty or not finite".to_owned()));
        }
        for (text, vector) in batch.iter().zip(&vectors) {
            let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
            let kept = self.cache.put(self.id(text), &bytes);
            kept.map_err(|error| Fault::new(FaultKind::Cache, error.to_string()))?;
        }
        Ok(vectors)
    }
}

fn floats(bytes: &[u8]) -> Option<Vec<f32>> {
    let (values, rest) = bytes.as_chunks::<4>();
    (rest.is_empty() && !values.is_empty())
        .then(|| values.iter().map(|value| f32::from_le_bytes(*value)).collect())
}
