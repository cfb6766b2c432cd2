//! A judge that is asked: the queries, what a selector shows the judge for each, and what an answer scores.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::prelude::*;
use serde::Deserialize;

use super::error::EvaluateError;
use super::logged::{EvalQuery, NotFinite};
use super::pools::queries_of;
use crate::experiment::{Asked, Unit};
use crate::finite::Finite;
use crate::judge::{
    Answer, Api, Client, Command, CommandSettings, Endpoint, EndpointSettings, Form, Items, Judge, Pace,
    Question, Secret, Template, Wanted, exact_match, token_f1, vqa_accuracy, vqa_correct,
};
use crate::selector::data::{CandidateScores, Dataset, Embeddings, Fault, check_pool, read_text};
use crate::spec::{CommandParams, EndpointParams, EvalParams, JudgeApi, ScoreField};

/// The queries of a sweep, and how its judge is asked.
#[derive(Clone, Debug)]
pub struct Live {
    queries: Vec<EvalQuery>,
    /// Index of each query by its id.
    places: HashMap<u64, usize>,
    shots: Vec<usize>,
    score: ScoreField,
    form: Arc<Form>,
    items: Arc<Items>,
    pace: Pace,
    hash: String,
}

#[derive(Deserialize)]
#[serde(expecting = "a query with its candidates (an object)")]
struct Line {
    query_id: u64,
    candidate_pool_ids: Vec<u32>,
}

impl Live {
    /// Reads and checks what `params`, which name a judge, refer to. Nobody is asked anything yet.
    ///
    /// # Errors
    /// A file that cannot be read or says something impossible, an item or a key that is missing.
    pub fn load(params: &EvalParams, dataset: &Dataset) -> Result<Self, EvaluateError> {
        let queries = match params.queries.as_os_str().is_empty() {
            true => validation(dataset)?,
            false => read_queries(&params.queries, &dataset.embeddings)?,
        };
        Self::over(params, queries, items_of(params)?)
    }

    /// [`Live::load`] without training data: the queries are those of a file, or come from the items (`queries_of`).
    ///
    /// # Errors
    /// As [`Live::load`].
    pub fn of_items(params: &EvalParams, embeddings: &Embeddings) -> Result<Self, EvaluateError> {
        let items = items_of(params)?;
        let queries = match params.queries.as_os_str().is_empty() {
            true => (queries_of(&items, embeddings)?, "items".to_owned()),
            false => read_queries(&params.queries, embeddings)?,
        };
        Self::over(params, queries, items)
    }

    /// Over `queries`, with a hash of where they come from.
    fn over(
        params: &EvalParams,
        (mut queries, source): (Vec<EvalQuery>, String),
        items: Items,
    ) -> Result<Self, EvaluateError> {
        let asked = params.samples.iter().map(|count| count.unwrap_or(queries.len())).max().unwrap_or(0);
        if asked > queries.len() {
            let file = params.queries.clone();
            return Err(EvaluateError::TooManySamples { file, asked, queries: queries.len() });
        }
        queries.truncate(asked);
        let most = params.shots.iter().copied().max().unwrap_or(0);
        if let Some(small) = queries.iter().find(|query| query.pool.len() < most) {
            let (query_id, pool) = (small.query_id, small.pool.len());
            return Err(EvaluateError::SmallPool { shot: most, query_id, pool });
        }
        if params.endpoint.is_some() {
            items.check(queries.iter().map(|query| query.query_id), "evaluation queries")?;
            let candidates = queries.iter().flat_map(|query| query.pool.iter().map(|id| u64::from(*id)));
            items.check(candidates, "candidates")?;
        }
        let (form, pace) = judge_form(params)?;
        let hash = [source.as_str(), items.hash()].join(" ");
        let (shots, score) = (params.shots.clone(), params.score);
        let places = queries.iter().enumerate().map(|(at, query)| (query.query_id, at)).collect();
        Ok(Self { queries, places, shots, score, form: Arc::new(form), items: Arc::new(items), pace, hash })
    }

    /// The queries, in file order.
    pub fn queries(&self) -> &[EvalQuery] {
        &self.queries
    }

    /// Hash of everything but the model's choices that scores come from.
    pub fn hash(&self) -> String {
        format!("{} {}", self.hash, self.form.identity().id())
    }

    /// The question about the query `query_id` of pool `pool` with the candidates `selection`.
    fn question_of(&self, query_id: u64, pool: &[u32], selection: &[u32]) -> Question {
        let global = |&local: &u32| pool.get(local as usize).copied().map(u64::from);
        let wanted = match self.score {
            ScoreField::Probability => Wanted::Probability,
            ScoreField::Accuracy | ScoreField::Correct | ScoreField::TokenF1 => Wanted::Answer,
        };
        Question { demonstrations: selection.iter().filter_map(global).collect(), query_id, wanted }
    }

    /// Greedy choices: for each shot count, per query, that many candidates with the highest scores, of equal ones that
    /// with the lowest local id.
    ///
    /// `logits[i]`, `[K]`: eval-mode scores of the candidates of `queries()[i]`. A score does not depend on what was
    /// chosen before, so the choice of more shots goes on where that of fewer ends.
    ///
    /// # Errors
    /// The query for which one of them is not finite: the choice would mean nothing.
    pub fn choose(&self, logits: &[Vec<f32>]) -> Result<Vec<Unit>, NotFinite> {
        let most = self.shots.iter().copied().max().unwrap_or(0);
        let per_query = |(query, logits): (&EvalQuery, &Vec<f32>)| -> Result<Vec<Unit>, NotFinite> {
            let not_finite = NotFinite { query_id: query.query_id };
            if logits.iter().any(|logit| !logit.is_finite()) {
                return Err(not_finite);
            }
            let mut order: Vec<u32> = (0..logits.len() as u32).collect();
            order.sort_by(|a, b| logits[*b as usize].total_cmp(&logits[*a as usize]).then(a.cmp(b)));
            order.truncate(most);
            let scores = CandidateScores::new(logits);
            let unit = |&shot: &usize| {
                let selection = order[..shot].to_vec();
                let log_prob = Finite::new(scores.log_prob(&selection)).ok_or(not_finite)?;
                let question = self.question_of(query.query_id, &query.pool, &selection);
                Ok(Unit { query_id: query.query_id, column: shot, selection, log_prob, question })
            };
            self.shots.iter().map(unit).collect()
        };
        let queries = self.queries.par_iter().zip(logits).map(per_query);
        let mut units: Vec<Unit> = queries.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        units.sort_by_key(|unit| unit.column);
        Ok(units)
    }
}

impl Asked for Live {
    fn pace(&self) -> Pace {
        self.pace
    }

    fn questions_per_point(&self) -> usize {
        self.queries.len() * self.shots.len()
    }

    fn judge(&self, cache: &Path, log: Option<&Path>) -> std::io::Result<Judge> {
        if let Some(log) = log {
            self.form.keep_stderr(log);
        }
        Judge::new(Arc::clone(&self.form), Arc::clone(&self.items), cache)
    }

    fn question(&self, query_id: u64, selection: &[u32]) -> Option<Question> {
        let pool = &self.queries[*self.places.get(&query_id)?].pool;
        Some(self.question_of(query_id, pool, selection))
    }

    fn score(&self, query_id: u64, answer: &Answer) -> Option<Finite> {
        let accepted = self.items.get(query_id).map_or(&[][..], |item| &item.answers);
        score_of(self.score, answer, accepted)
    }
}

fn items_of(params: &EvalParams) -> Result<Items, EvaluateError> {
    Ok(if params.items.as_os_str().is_empty() { Items::default() } else { Items::load(&params.items)? })
}

/// What `answer` is worth by `field` against the `accepted` answers; a judge's own score counts before all. `None`: it has
/// not what the score is made of.
pub fn score_of(field: ScoreField, answer: &Answer, accepted: &[String]) -> Option<Finite> {
    if let Some(score) = answer.score {
        return Some(score);
    }
    let text = &answer.text;
    let score = match field {
        // Ten annotators make an accuracy; fewer texts are all the accepted ones.
        ScoreField::Accuracy if accepted.len() >= 10 => vqa_accuracy(text, accepted),
        ScoreField::Accuracy => f64::from(u8::from(exact_match(text, accepted))),
        ScoreField::Correct => f64::from(u8::from(vqa_correct(text, accepted))),
        ScoreField::TokenF1 => token_f1(text, accepted),
        ScoreField::Probability => answer.log_prob?.get().exp(),
    };
    Finite::new(score)
}

/// The judge that `params` name, and how hard it may be asked.
///
/// # Errors
/// Certificates that cannot be read.
pub fn judge_form(params: &EvalParams) -> Result<(Form, Pace), EvaluateError> {
    match (&params.endpoint, &params.command) {
        (Some(endpoint), _) => of_endpoint(endpoint),
        (None, command) => Ok(of_command(&command.clone().unwrap_or_default())),
    }
}

fn validation(dataset: &Dataset) -> Result<(Vec<EvalQuery>, String), EvaluateError> {
    let query = |group: &crate::selector::data::Group| EvalQuery {
        query_id: group.query_id,
        pool: group.pool.clone(),
    };
    let queries: Vec<EvalQuery> = dataset.validation.iter().map(query).collect();
    if queries.is_empty() { Err(EvaluateError::NoValidation) } else { Ok((queries, "validation".to_owned())) }
}

/// Every query once; of several lines of one query the first counts, and another pool in a later one is an error.
fn read_queries(path: &Path, embeddings: &Embeddings) -> Result<(Vec<EvalQuery>, String), EvaluateError> {
    let text = read_text(path)?;
    let mut queries: Vec<EvalQuery> = Vec::new();
    let mut seen: HashMap<u64, (usize, usize)> = HashMap::new();
    for (index, bytes) in text.split(|byte| *byte == b'\n').enumerate() {
        if bytes.trim_ascii().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_slice(bytes).map_err(|error| EvaluateError::Json {
            file: path.to_owned(),
            line: index + 1,
            column: error.column(),
            message: error.to_string(),
            hint: "",
        })?;
        let Line { query_id, candidate_pool_ids: pool } = line;
        let wrong = |field: &str, fault| EvaluateError::Line {
            file: path.to_owned(),
            line: index + 1,
            query_id,
            field: field.to_owned(),
            fault,
        };
        let rows = embeddings.rows;
        check_pool(&pool).map_err(|fault| wrong("candidate_pool_ids", fault))?;
        let ids = std::iter::once(query_id).chain(pool.iter().map(|id| u64::from(*id)));
        if let Some(id) = ids.into_iter().find(|id| *id >= rows as u64) {
            return Err(wrong("candidate_pool_ids", Fault::OutsideMatrix { id, rows }));
        }
        match seen.get(&query_id) {
            None => {
                seen.insert(query_id, (index + 1, queries.len()));
                queries.push(EvalQuery { query_id, pool });
            }
            Some(&(first, at)) if queries[at].pool != pool => {
                return Err(EvaluateError::OtherPool {
                    file: path.to_owned(),
                    line: index + 1,
                    first,
                    query_id,
                });
            }
            Some(_) => {}
        }
    }
    if queries.is_empty() {
        return Err(EvaluateError::NoQueries { file: path.to_owned() });
    }
    // The other fields of a line change nothing: the queries count, not the file.
    let pools: Vec<(u64, &[u32])> =
        queries.iter().map(|query| (query.query_id, query.pool.as_slice())).collect();
    let hash = blake3::hash(&serde_json::to_vec(&pools).unwrap_or_default()).to_hex().to_string();
    Ok((queries, hash))
}

fn of_endpoint(params: &EndpointParams) -> Result<(Form, Pace), EvaluateError> {
    let api = match params.api {
        JudgeApi::Chat => Api::Chat,
        JudgeApi::Completions => Api::Completions,
    };
    let key = params.key_env.as_ref().map(|name| Secret::of_variable(name));
    let path = std::env::var("SSL_CERT_FILE").ok().filter(|_| params.url.starts_with("https://"));
    let authorities = path.as_ref().map(fs_err::read).transpose()?;
    let timeout = Duration::try_from_secs_f64(params.timeout).unwrap_or(Duration::MAX);
    let client = Client::new(
        &Endpoint::address(&params.url, api),
        timeout,
        params.concurrency,
        key,
        authorities.as_deref(),
    );
    let client = client
        .map_err(|cause| EvaluateError::Authorities { path: path.clone().unwrap_or_default(), cause })?;
    let settings = EndpointSettings {
        url: params.url.clone(),
        model: params.model.clone(),
        api,
        template: Template {
            system: params.system.clone().unwrap_or_default(),
            demonstration: params.demonstration.clone(),
            query: params.query.clone(),
        },
        max_tokens: params.max_tokens,
        stop: params.stop.clone(),
        // The sweep file's check has read it.
        extra: params.fields.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default(),
        max_image_bytes: params.max_image_bytes,
    };
    let pace = Pace { concurrency: params.concurrency, retries: params.retries };
    Ok((Form::Endpoint(Endpoint::new(settings, client)), pace))
}

fn of_command(params: &CommandParams) -> (Form, Pace) {
    let settings = CommandSettings {
        program: params.program.clone(),
        version: params.version.clone().unwrap_or_default(),
        directory: params.directory.clone(),
        timeout: Duration::try_from_secs_f64(params.patience).unwrap_or(Duration::MAX),
    };
    // A program that dies is started once more: one further attempt is what a question then needs.
    let pace = Pace { concurrency: params.batch, retries: 1 };
    (Form::Command(Command::new(settings)), pace)
}
