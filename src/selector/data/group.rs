//! One query group as written -> a checked [`Group`]: the three ages of the format, the filters, and
//! every check that needs no other group.

use std::collections::BTreeMap;

use super::error::Fault;
use super::json::{EvalMode, RawGroup, RawTrajectory};
use super::{Dropped, Group, Trajectory};

/// What a group is checked against and filtered by.
#[derive(Clone, Copy)]
pub(super) struct Rules {
    /// Rows of the embedding matrix, if it is at hand.
    pub rows: Option<usize>,
    pub keep_fallback: bool,
    pub require_positive: bool,
}

/// The ages of the trajectory format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Age {
    /// `candidate_pool_ids`, local ids in `pointer`.
    Newest,
    /// No pool; `pointer` (or `pointer_pos`) holds global ids.
    Older,
    /// `id_list` and `score_list`.
    Oldest,
}

/// How often trajectories of one `gen_method` were right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct MethodShare {
    /// Kept trajectories whose correctness is known.
    pub judged: usize,
    pub right: usize,
}

/// A group after the filters, with what `data check` reports about it.
pub(super) struct Built {
    /// `None` if the filters left nothing.
    pub group: Option<Group>,
    /// Index in the file of each kept trajectory.
    pub origin: Vec<usize>,
    pub age: Age,
    /// Trajectories in the file.
    pub read: usize,
    pub dropped: Dropped,
    pub methods: BTreeMap<String, MethodShare>,
}

/// A field of the group, as a path, and what is wrong with it.
pub(super) type Wrong = (String, Fault);

/// Sequences of one query in the order of the file, resolved to local ids of `pool`.
struct Resolved {
    age: Age,
    pool: Vec<u32>,
    pointers: Vec<Vec<u32>>,
    raw: Vec<RawTrajectory>,
}

/// The path of a field of trajectory `index`, in the words of its age of the format.
pub(super) fn path(age: Age, index: usize, field: &str) -> String {
    match (age, field) {
        (Age::Oldest, "pointer") => format!("id_list[{index}]"),
        (Age::Oldest, "beam_score") => format!("score_list[{index}]"),
        _ => format!("pointer_candidates[{index}].{field}"),
    }
}

/// Checks and filters one group.
pub(super) fn build(query_id: u64, raw: RawGroup, rules: Rules) -> Result<Built, Wrong> {
    check_row(query_id, rules.rows).map_err(|fault| ("the key".to_string(), fault))?;
    let resolved = resolve(query_id, raw, rules)?;
    let age = resolved.age;
    let mut built = Built {
        group: None,
        origin: Vec::new(),
        age,
        read: resolved.raw.len(),
        dropped: Dropped::default(),
        methods: BTreeMap::new(),
    };
    let mut trajectories = Vec::with_capacity(resolved.raw.len());
    for (index, (raw, pointer)) in resolved.raw.into_iter().zip(resolved.pointers).enumerate() {
        if !keep(&raw, rules, &mut built.dropped) {
            continue;
        }
        check_distinct(&pointer)
            .map_err(|fault| (path(age, index, "pointer"), as_written(fault, age, &resolved.pool)))?;
        check_scores(&raw, rules).map_err(|(field, fault)| (path(age, index, field), fault))?;
        if let (Some(method), Some(correct)) = (raw.gen_method, raw.vqa_correct) {
            let share = built.methods.entry(method).or_default();
            share.judged += 1;
            share.right += usize::from(correct == 1.0);
        }
        built.origin.push(index);
        trajectories.push(Trajectory {
            pointer,
            beam_score: raw.beam_score,
            logprob_score: raw.logprob_score,
            correct: raw.vqa_correct,
            acc_score: raw.vqa_acc_score,
            gt_prob: raw.vqa_gt_prob,
            rel_score: raw.vqa_rel_score,
        });
    }
    if trajectories.is_empty() {
        built.dropped.empty_queries = 1;
    } else if rules.require_positive && !trajectories.iter().any(|one| one.correct == Some(1.0)) {
        built.dropped.no_positive = 1;
    } else {
        built.group = Some(Group { query_id, pool: resolved.pool, trajectories });
        return Ok(built);
    }
    built.methods.clear();
    Ok(built)
}

/// Names a repeated candidate by the id that the file uses for it.
fn as_written(fault: Fault, age: Age, pool: &[u32]) -> Fault {
    match (fault, age) {
        (Fault::Repeated { id }, Age::Older | Age::Oldest) => Fault::Repeated { id: pool[id as usize] },
        (fault, _) => fault,
    }
}

/// Tells the ages apart and resolves every sequence to local ids.
fn resolve(query_id: u64, raw: RawGroup, rules: Rules) -> Result<Resolved, Wrong> {
    let resolved = match (raw.candidate_pool_ids, raw.pointer_candidates, raw.id_list) {
        (Some(_), _, Some(_)) => return Err(("candidate_pool_ids".into(), Fault::MixedAges)),
        (_, Some(_), Some(_)) => return Err(("pointer_candidates".into(), Fault::MixedAges)),
        (Some(pool), Some(candidates), None) => newest(pool, candidates)?,
        (None, Some(candidates), None) => older(candidates)?,
        (None, None, Some(id_list)) => oldest(query_id, &id_list, raw.score_list)?,
        (_, None, None) => return Err(("pointer_candidates".into(), Fault::MissingTrajectories)),
    };
    for (index, &id) in resolved.pool.iter().enumerate() {
        check_row(u64::from(id), rules.rows).map_err(|fault| match resolved.age {
            Age::Newest => (format!("candidate_pool_ids[{index}]"), fault),
            // The pool was made from the sequences: name the first that holds the id.
            age => {
                let local = u32::try_from(index).unwrap_or(u32::MAX);
                let holder = resolved.pointers.iter().position(|pointer| pointer.contains(&local));
                (path(age, holder.unwrap_or(0), "pointer"), fault)
            }
        })?;
    }
    Ok(resolved)
}

fn newest(pool: Vec<u32>, candidates: Vec<RawTrajectory>) -> Result<Resolved, Wrong> {
    check_pool(&pool).map_err(|fault| ("candidate_pool_ids".to_string(), fault))?;
    let mut raw = candidates;
    let mut pointers = Vec::with_capacity(raw.len());
    for (index, one) in raw.iter_mut().enumerate() {
        let wrong = |field: &str, fault| (path(Age::Newest, index, field), fault);
        let pointer = one.pointer.take().ok_or_else(|| wrong("pointer", Fault::Missing))?;
        check_pointer(&pointer, pool.len()).map_err(|fault| wrong("pointer", fault))?;
        if let Some(global) = &one.pointer_global {
            check_global(&pointer, global, &pool)
                .map_err(|(at, fault)| wrong(&format!("pointer_global{at}"), fault))?;
        }
        pointers.push(pointer);
    }
    Ok(Resolved { age: Age::Newest, pool, pointers, raw })
}

fn older(candidates: Vec<RawTrajectory>) -> Result<Resolved, Wrong> {
    let mut raw = candidates;
    let mut sequences = Vec::with_capacity(raw.len());
    for (index, one) in raw.iter_mut().enumerate() {
        let wrong = |field: &str, fault| (path(Age::Older, index, field), fault);
        if one.pointer_global.is_some() {
            return Err(wrong("pointer_global", Fault::GlobalWithoutPool));
        }
        let ids = one.pointer.take().or_else(|| one.pointer_pos.take());
        let ids = ids.ok_or_else(|| wrong("pointer", Fault::Missing))?;
        if ids.is_empty() {
            return Err(wrong("pointer", Fault::Empty));
        }
        sequences.push(ids);
    }
    Ok(localize(Age::Older, sequences, raw))
}

fn oldest(
    query_id: u64,
    id_list: &[Vec<u32>],
    score_list: Option<Vec<Option<f64>>>,
) -> Result<Resolved, Wrong> {
    let scores = score_list.ok_or_else(|| ("score_list".to_string(), Fault::Missing))?;
    if scores.len() != id_list.len() {
        let fault = Fault::Entries { found: scores.len(), expected: id_list.len() };
        return Err(("score_list".into(), fault));
    }
    let mut sequences = Vec::with_capacity(id_list.len());
    for (index, item) in id_list.iter().enumerate() {
        let wrong = |fault| (path(Age::Oldest, index, "pointer"), fault);
        match item.split_last() {
            Some((&last, _)) if u64::from(last) != query_id => {
                return Err(wrong(Fault::NotTheQuery { found: last }));
            }
            Some((_, ids)) if !ids.is_empty() => sequences.push(ids.to_vec()),
            _ => return Err(wrong(Fault::Empty)),
        }
    }
    let raw = scores.into_iter().map(|beam_score| RawTrajectory { beam_score, ..RawTrajectory::default() });
    Ok(localize(Age::Oldest, sequences, raw.collect()))
}

/// Global ids -> local ids: the pool is the sorted set of all ids that the query's trajectories use, those
/// included that the filters drop, so that a filter does not change what the others are chosen from.
fn localize(age: Age, mut sequences: Vec<Vec<u32>>, raw: Vec<RawTrajectory>) -> Resolved {
    let mut pool: Vec<u32> = sequences.iter().flatten().copied().collect();
    pool.sort_unstable();
    pool.dedup();
    for id in sequences.iter_mut().flatten() {
        let local = pool.partition_point(|&other| other < *id);
        *id = u32::try_from(local).expect("a set of u32 ids has at most 2^32 members, the last at u32::MAX");
    }
    Resolved { age, pool, pointers: sequences, raw }
}

fn keep(raw: &RawTrajectory, rules: Rules, dropped: &mut Dropped) -> bool {
    if raw.eval_failed == Some(true) {
        dropped.eval_failed += 1;
        return false;
    }
    match raw.vqa_eval_mode {
        Some(EvalMode::Error) => {
            dropped.error += 1;
            false
        }
        Some(EvalMode::Fallback) if !rules.keep_fallback => {
            dropped.fallback += 1;
            false
        }
        Some(EvalMode::Fallback | EvalMode::Vqa) | None => true,
    }
}

fn check_row(id: u64, rows: Option<usize>) -> Result<(), Fault> {
    match rows {
        Some(rows) if id >= rows as u64 => Err(Fault::OutsideMatrix { id, rows }),
        _ => Ok(()),
    }
}

/// A pool has at least one candidate and none of them twice.
pub(crate) fn check_pool(pool: &[u32]) -> Result<(), Fault> {
    if pool.is_empty() {
        return Err(Fault::Empty);
    }
    let mut sorted = pool.to_vec();
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Fault::Repeated { id: pair[0] }),
        None => Ok(()),
    }
}

/// A pointer names at least one candidate, all of them in the pool.
pub(crate) fn check_pointer(pointer: &[u32], pool: usize) -> Result<(), Fault> {
    if pointer.is_empty() {
        return Err(Fault::Empty);
    }
    match pointer.iter().find(|&&id| id as usize >= pool) {
        Some(&id) => Err(Fault::OutsidePool { id, pool }),
        None => Ok(()),
    }
}

/// No candidate is chosen twice. Sequences are short: comparing all pairs is fastest.
pub(crate) fn check_distinct(pointer: &[u32]) -> Result<(), Fault> {
    match pointer.iter().enumerate().find(|(at, id)| pointer[..*at].contains(id)) {
        Some((_, &id)) => Err(Fault::Repeated { id }),
        None => Ok(()),
    }
}

fn check_global(pointer: &[u32], global: &[u32], pool: &[u32]) -> Result<(), (String, Fault)> {
    if global.len() != pointer.len() {
        return Err((String::new(), Fault::Entries { found: global.len(), expected: pointer.len() }));
    }
    for (at, (&local, &found)) in pointer.iter().zip(global).enumerate() {
        let expected = pool[local as usize];
        if found != expected {
            return Err((format!("[{at}]"), Fault::Inconsistent { found, local, expected }));
        }
    }
    Ok(())
}

fn check_scores(raw: &RawTrajectory, rules: Rules) -> Result<(), (&'static str, Fault)> {
    if rules.require_positive && raw.vqa_correct.is_none() {
        return Err(("vqa_correct", Fault::MissingFor("require_positive")));
    }
    check_binary(raw.vqa_correct).map_err(|fault| ("vqa_correct", fault))?;
    for (field, value) in [
        ("vqa_acc_score", raw.vqa_acc_score),
        ("vqa_gt_prob", raw.vqa_gt_prob),
        ("vqa_rel_score", raw.vqa_rel_score),
    ] {
        check_share(value).map_err(|fault| (field, fault))?;
    }
    Ok(())
}

/// 0, 1 or absent.
pub(crate) fn check_binary(value: Option<f64>) -> Result<(), Fault> {
    match value {
        Some(value) if value != 0.0 && value != 1.0 => Err(Fault::NotBinary { value }),
        _ => Ok(()),
    }
}

/// In 0..=1 (a probability that rounding lifted above 1 by a float32 unit is let through) or absent.
pub(crate) fn check_share(value: Option<f64>) -> Result<(), Fault> {
    match value {
        Some(value) if !(-1e-6..=1.0 + 1e-6).contains(&value) => Err(Fault::OutOfRange { value }),
        _ => Ok(()),
    }
}
