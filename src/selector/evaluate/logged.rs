//! `eval.logged`: sequences whose answers a judge has already scored. The selector is asked which of them it
//! finds most probable; no judge is needed.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use rayon::prelude::*;

use super::error::EvaluateError;
use crate::finite::Finite;
use crate::record::QueryScore;
use crate::selector::data::{
    CandidateScores, Embeddings, Fault, check_binary, check_distinct, check_pointer, check_pool, check_share,
    number_or_bool, read_text,
};
use crate::spec::{EvalParams, ScoreField};

/// The logged sequences of the queries and shot counts that an `[eval]` table asks for.
#[derive(Clone, Debug)]
pub struct Logged {
    inputs: Vec<EvalQuery>,
    pub(super) questions: Vec<Question>,
    pub(super) shots: Vec<usize>,
    hash: String,
}

/// Scores of candidates that are not all finite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scores of the candidates of query {query_id} are not all finite")]
pub struct NotFinite {
    pub query_id: u64,
}

/// What the model is asked: the scores of `pool` for the query, once, whatever the shot count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EvalQuery {
    pub query_id: u64,
    /// Global ids (embedding rows) of the K candidates.
    pub pool: Vec<u32>,
}

/// One query with its logged sequences by shot count.
#[derive(Clone, Debug)]
pub(super) struct Question {
    pub query_id: u64,
    pub lines: BTreeMap<usize, Choices>,
}

/// The sequences of one line.
#[derive(Clone, Debug)]
pub(super) struct Choices {
    /// Index into [`Logged::queries`].
    pub input: usize,
    /// Never empty; local ids, distinct.
    pub pointers: Vec<Vec<u32>>,
    /// The logged score of each.
    pub scores: Vec<Finite>,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "a line of logged trajectories (an object)")]
struct RawLine {
    query_id: u64,
    candidate_pool_ids: Vec<u32>,
    shot: usize,
    trajectories: Vec<RawChoice>,
}

#[derive(serde::Deserialize)]
#[serde(expecting = "a trajectory (an object)")]
struct RawChoice {
    pointer: Vec<u32>,
    #[serde(default, deserialize_with = "number_or_bool")]
    vqa_correct: Option<f64>,
    vqa_acc_score: Option<f64>,
    vqa_gt_prob: Option<f64>,
}

/// A checked line.
struct Line {
    number: usize,
    query: EvalQuery,
    shot: usize,
    pointers: Vec<Vec<u32>>,
    scores: Vec<Finite>,
}

impl Logged {
    /// Reads `params.logged` and checks it against `embeddings` and the shots and samples asked for. Every query
    /// used must have every shot count asked for. Queries beyond the largest sample count are left out.
    ///
    /// # Errors
    /// Anything unreadable or impossible, with line, query id and field; a shot count that is not in the file;
    /// more samples than queries.
    pub fn load(params: &EvalParams, embeddings: &Embeddings) -> Result<Self, EvaluateError> {
        let text = read_text(&params.logged)?;
        let mut logged = parse(&params.logged, &text, params, embeddings.rows)?;
        logged.hash = blake3::hash(&text).to_hex().to_string();
        Ok(logged)
    }

    /// The unique pairs of query and pool, in file order: one model pass each.
    pub fn queries(&self) -> &[EvalQuery] {
        &self.inputs
    }

    /// Evaluation queries; at most as many as [`Logged::queries`], which counts a query once per pool.
    pub fn question_count(&self) -> usize {
        self.questions.len()
    }

    /// blake3 (hex) of the file's contents.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// For each shot count, per query in file order, the logged sequence that is most probable under `logits`;
    /// of equally probable ones the first.
    ///
    /// `logits[i]`, `[K]`: eval-mode scores of the candidates of `queries()[i]`, before any masking.
    ///
    /// # Errors
    /// The query for which one of them is not finite: the choice would mean nothing.
    ///
    /// # Panics
    /// If `logits` has not the shape that [`Logged::queries`] asks for.
    pub fn select(&self, logits: &[Vec<f32>]) -> Result<BTreeMap<usize, Vec<QueryScore>>, NotFinite> {
        assert_eq!(logits.len(), self.inputs.len(), "one row of logits per query");
        let scores: Vec<CandidateScores> = logits.par_iter().map(|row| CandidateScores::new(row)).collect();
        let infinite = logits.iter().position(|row| row.iter().any(|logit| !logit.is_finite()));
        if let Some(index) = infinite {
            return Err(NotFinite { query_id: self.inputs[index].query_id });
        }
        let choose = |question: &Question, shot: usize| -> Result<QueryScore, NotFinite> {
            let choices = &question.lines[&shot];
            let (trajectory, log_prob) =
                first_largest(choices.pointers.iter().map(|pointer| scores[choices.input].log_prob(pointer)));
            let log_prob = Finite::new(log_prob).ok_or(NotFinite { query_id: question.query_id })?;
            Ok(QueryScore {
                query_id: question.query_id,
                column: shot,
                selection: choices.pointers[trajectory].clone(),
                logged: Some(trajectory),
                score: choices.scores[trajectory],
                log_prob,
                answer: None,
            })
        };
        let per_shot = |shot: usize| {
            self.questions.par_iter().map(|question| choose(question, shot)).collect::<Result<_, _>>()
        };
        self.shots.iter().map(|&shot| Ok((shot, per_shot(shot)?))).collect()
    }
}

/// Index and value of the largest; of equal ones the first. 0 and NaN if nothing is larger than anything.
pub(super) fn first_largest(values: impl Iterator<Item = f64>) -> (usize, f64) {
    let mut best = (0, f64::NAN);
    for (index, value) in values.enumerate() {
        if best.1.is_nan() || value > best.1 {
            best = (index, value);
        }
    }
    best
}

/// Text -> [`Logged`]; pure. Of several mistakes the first in the file is reported.
pub(super) fn parse(
    path: &Path,
    text: &[u8],
    params: &EvalParams,
    rows: usize,
) -> Result<Logged, EvaluateError> {
    let numbered: Vec<(usize, &[u8])> = text
        .split(|&byte| byte == b'\n')
        .enumerate()
        .map(|(index, line)| (index + 1, line))
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .collect();
    let lines: Vec<Result<Line, EvaluateError>> = numbered
        .par_iter()
        .map(|&(number, line)| parse_line(path, number, line, params.score, rows))
        .collect();
    let lines: Vec<Line> = lines.into_iter().collect::<Result<_, _>>()?;
    let (inputs, questions) = group(path, lines)?;
    let questions = choose_questions(path, questions, params)?;
    Ok(trim(inputs, questions, params))
}

/// Keeps the shots asked for and the inputs that are still used.
fn trim(inputs: Vec<EvalQuery>, mut questions: Vec<Question>, params: &EvalParams) -> Logged {
    let mut kept = Vec::new();
    let mut place: HashMap<usize, usize> = HashMap::new();
    for question in &mut questions {
        question.lines.retain(|shot, _| params.shots.contains(shot));
        for choices in question.lines.values_mut() {
            let input = choices.input;
            choices.input = *place.entry(input).or_insert_with(|| {
                kept.push(inputs[input].clone());
                kept.len() - 1
            });
        }
    }
    Logged { inputs: kept, questions, shots: params.shots.clone(), hash: String::new() }
}

fn parse_line(
    path: &Path,
    number: usize,
    text: &[u8],
    score: ScoreField,
    rows: usize,
) -> Result<Line, EvaluateError> {
    let raw: RawLine =
        serde_json::from_slice(text).map_err(|error| json_error(path, number, text, &error))?;
    let query_id = raw.query_id;
    check_line(raw, number, score, rows).map_err(|(field, fault)| EvaluateError::Line {
        file: path.to_path_buf(),
        line: number,
        query_id,
        field,
        fault,
    })
}

fn json_error(path: &Path, line: usize, text: &[u8], error: &serde_json::Error) -> EvaluateError {
    let mut tracked = serde_json::Deserializer::from_slice(text);
    let field = match serde_path_to_error::deserialize::<_, RawLine>(&mut tracked) {
        Err(located) if located.path().iter().len() > 0 => format!(" (field `{}`)", located.path()),
        _ => String::new(),
    };
    let message = error.to_string();
    let end = message.rfind(" at line ").unwrap_or(message.len());
    EvaluateError::Json {
        file: path.to_path_buf(),
        line,
        column: error.column(),
        message: format!("{}{field}", &message[..end]),
        hint: if error.is_eof() { "\nhint: one JSON object per line; is the file cut off?" } else { "" },
    }
}

fn check_line(raw: RawLine, number: usize, score: ScoreField, rows: usize) -> Result<Line, (String, Fault)> {
    let RawLine { query_id, candidate_pool_ids: pool, shot, trajectories } = raw;
    let outside = |id: u64| (id >= rows as u64).then_some(Fault::OutsideMatrix { id, rows });
    if let Some(fault) = outside(query_id) {
        return Err(("query_id".into(), fault));
    }
    check_pool(&pool).map_err(|fault| ("candidate_pool_ids".to_string(), fault))?;
    if let Some((at, fault)) = pool.iter().enumerate().find_map(|(at, &id)| Some((at, outside(id.into())?))) {
        return Err((format!("candidate_pool_ids[{at}]"), fault));
    }
    if trajectories.is_empty() {
        return Err(("trajectories".into(), Fault::Empty));
    }
    let mut pointers = Vec::with_capacity(trajectories.len());
    let mut scores = Vec::with_capacity(trajectories.len());
    for (index, one) in trajectories.into_iter().enumerate() {
        scores.push(
            check_choice(&one, shot, pool.len(), score)
                .map_err(|(field, fault)| (format!("trajectories[{index}].{field}"), fault))?,
        );
        pointers.push(one.pointer);
    }
    Ok(Line { number, query: EvalQuery { query_id, pool }, shot, pointers, scores })
}

/// Checks one sequence and returns the score that counts.
fn check_choice(
    one: &RawChoice,
    shot: usize,
    pool: usize,
    score: ScoreField,
) -> Result<Finite, (&'static str, Fault)> {
    check_pointer(&one.pointer, pool)
        .and_then(|()| check_distinct(&one.pointer))
        .map_err(|f| ("pointer", f))?;
    if one.pointer.len() != shot {
        return Err(("pointer", Fault::NotShots { found: one.pointer.len(), shot }));
    }
    check_binary(one.vqa_correct).map_err(|fault| ("vqa_correct", fault))?;
    check_share(one.vqa_acc_score).map_err(|fault| ("vqa_acc_score", fault))?;
    check_share(one.vqa_gt_prob).map_err(|fault| ("vqa_gt_prob", fault))?;
    let (name, value) = match score {
        ScoreField::Accuracy => ("vqa_acc_score", one.vqa_acc_score),
        ScoreField::Correct => ("vqa_correct", one.vqa_correct),
        ScoreField::Probability => ("vqa_gt_prob", one.vqa_gt_prob),
        ScoreField::TokenF1 => ("token_f1", None),
    };
    let value = value.ok_or((name, Fault::MissingFor("eval.score")))?;
    Finite::new(value).ok_or((name, Fault::OutOfRange { value }))
}

/// Gathers the lines of each query; queries and inputs in the order of their first line.
fn group(path: &Path, lines: Vec<Line>) -> Result<(Vec<EvalQuery>, Vec<Question>), EvaluateError> {
    let mut inputs: Vec<EvalQuery> = Vec::new();
    let mut questions: Vec<Question> = Vec::new();
    let mut input_of: HashMap<EvalQuery, usize> = HashMap::new();
    let mut question_of: HashMap<u64, usize> = HashMap::new();
    let mut seen: HashMap<(u64, usize), usize> = HashMap::new();
    for Line { number, query, shot, pointers, scores } in lines {
        let query_id = query.query_id;
        if let Some(first) = seen.insert((query_id, shot), number) {
            let file = path.to_path_buf();
            return Err(EvaluateError::DuplicateLine { file, line: number, first, query_id, shot });
        }
        let input = *input_of.entry(query).or_insert_with_key(|query| {
            inputs.push(query.clone());
            inputs.len() - 1
        });
        let question = *question_of.entry(query_id).or_insert_with(|| {
            questions.push(Question { query_id, lines: BTreeMap::new() });
            questions.len() - 1
        });
        questions[question].lines.insert(shot, Choices { input, pointers, scores });
    }
    if questions.is_empty() {
        return Err(EvaluateError::NoQueries { file: path.to_path_buf() });
    }
    Ok((inputs, questions))
}

/// The queries that `params` asks for, each of which has all its shot counts.
fn choose_questions(
    path: &Path,
    mut questions: Vec<Question>,
    params: &EvalParams,
) -> Result<Vec<Question>, EvaluateError> {
    let file = || path.to_path_buf();
    if params.samples.is_empty() || params.samples.contains(&Some(0)) {
        return Err(EvaluateError::NothingAsked { key: "samples" });
    }
    if params.shots.is_empty() || params.shots.contains(&0) {
        return Err(EvaluateError::NothingAsked { key: "shots" });
    }
    let asked = params.samples.iter().map(|count| count.unwrap_or(questions.len())).max().unwrap_or(0);
    if asked > questions.len() {
        return Err(EvaluateError::TooManySamples { file: file(), asked, queries: questions.len() });
    }
    let lacks = |shot: &&usize| questions.iter().all(|question| !question.lines.contains_key(shot));
    if let Some(&shot) = params.shots.iter().find(lacks) {
        let mut present: Vec<usize> = questions.iter().flat_map(|one| one.lines.keys().copied()).collect();
        present.sort_unstable();
        present.dedup();
        return Err(EvaluateError::MissingShot { file: file(), shot, present });
    }
    questions.truncate(asked);
    for question in &questions {
        if let Some(&shot) = params.shots.iter().find(|shot| !question.lines.contains_key(shot)) {
            let present = question.lines.keys().copied().collect();
            return Err(EvaluateError::IncompleteQuery {
                file: file(),
                query_id: question.query_id,
                shot,
                present,
            });
        }
    }
    Ok(questions)
}
