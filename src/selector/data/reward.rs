//! Scores of a trajectory -> one number, raw and normalized within its group (SPEC "Rewards"). All in float64.

use std::collections::BTreeMap;

use super::error::DataError;
use super::{Dataset, Group, Trajectory};
use crate::finite::Finite;
use crate::record::SignalHealth;
use crate::selector::{Normalize, RewardMode, RewardParams, Score};

/// Rewards are clipped to `[-LIMIT, LIMIT]`.
const LIMIT: f64 = 5.0;
/// A spread (of standard deviation, of two rewards) up to this is rounding, not signal.
const SAME: f64 = 1e-12;

/// Rewards of one group's trajectories, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewards {
    pub raw: Vec<f64>,
    pub normalized: Vec<f64>,
}

/// The rewards of `group`. A score that the mode needs and the trajectory lacks makes its reward NaN;
/// [`check_rewards`] finds those beforehand.
pub fn rewards(group: &Group, params: &RewardParams) -> Rewards {
    let raw: Vec<f64> = group.trajectories.iter().map(|one| raw_reward(one, params)).collect();
    let normalized = match params.normalize {
        Normalize::ZScore => z_score(&raw),
        Normalize::ZScoreClamp => {
            let limit = params.clamp.abs();
            z_score(&raw).into_iter().map(|value| value.clamp(-limit, limit)).collect()
        }
        Normalize::Rank => rank(&raw),
    };
    Rewards { raw, normalized }
}

fn raw_reward(one: &Trajectory, params: &RewardParams) -> f64 {
    let term = |(weight, score): (f64, Score)| match weight {
        0.0 => 0.0,
        _ => weight * score_of(one, score).unwrap_or(f64::NAN),
    };
    let reward = params.mode.terms(params).into_iter().map(term).reduce(|sum, term| sum + term);
    reward.unwrap_or(0.0).clamp(-LIMIT, LIMIT)
}

fn score_of(one: &Trajectory, score: Score) -> Option<f64> {
    match score {
        Score::Hard => one.correct,
        Score::Right => one.correct.map(|correct| f64::from(u8::from(correct == 1.0))),
        Score::Soft => one.acc_score,
        Score::GtProb => one.gt_prob,
        Score::RelIfWrong => one.correct.zip(one.rel_score).map(|(correct, rel)| (1.0 - correct) * rel),
        Score::Beam => one.beam_score,
        Score::NegativeLogprob => one.logprob_score.map(|score| -score),
    }
}

/// `(r - mean) / std` with the unbiased standard deviation; values as they are where it is 0.
fn z_score(raw: &[f64]) -> Vec<f64> {
    let count = raw.len() as f64;
    let mean = raw.iter().sum::<f64>() / count;
    let squares: f64 = raw.iter().map(|reward| (reward - mean).powi(2)).sum();
    let std = if raw.len() < 2 { 0.0 } else { (squares / (count - 1.0)).sqrt() };
    if std <= SAME { raw.to_vec() } else { raw.iter().map(|reward| (reward - mean) / std).collect() }
}

/// Best 1 ... worst -1, equally spaced by position; equal rewards in the order of the file.
fn rank(raw: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..raw.len()).collect();
    order.sort_by(|&a, &b| raw[b].total_cmp(&raw[a]));
    let gaps = raw.len().saturating_sub(1).max(1) as f64;
    let mut ranks = vec![0.0; raw.len()];
    for (position, index) in order.into_iter().enumerate() {
        ranks[index] = 1.0 - 2.0 * position as f64 / gaps;
    }
    ranks
}

/// A field of the file, and where it is kept.
type Field = (&'static str, fn(&Trajectory) -> Option<f64>);
const CORRECT: Field = ("vqa_correct", |one| one.correct);
const ACCURACY: Field = ("vqa_acc_score", |one| one.acc_score);
const GT_PROB: Field = ("vqa_gt_prob", |one| one.gt_prob);
const REL: Field = ("vqa_rel_score", |one| one.rel_score);
const BEAM: Field = ("beam_score", |one| one.beam_score);
const LOGPROB: Field = ("logprob_score", |one| one.logprob_score);

/// The fields that a score is made of.
fn fields(score: Score) -> &'static [Field] {
    match score {
        Score::Hard | Score::Right => &[CORRECT],
        Score::Soft => &[ACCURACY],
        Score::GtProb => &[GT_PROB],
        Score::RelIfWrong => &[CORRECT, REL],
        Score::Beam => &[BEAM],
        Score::NegativeLogprob => &[LOGPROB],
    }
}

/// The fields that `params` reads. What has no weight is not read.
fn needed(params: &RewardParams) -> Vec<Field> {
    let terms = params.mode.terms(params).into_iter().filter(|(weight, _)| *weight != 0.0);
    terms.flat_map(|(_, score)| fields(score)).copied().collect()
}

/// Checks that every trajectory has the scores that the reward mode reads.
///
/// # Errors
/// [`DataError::MissingScore`] for the first that has not, with query id and field.
pub fn check_rewards(dataset: &Dataset, params: &RewardParams) -> Result<(), DataError> {
    let needed = needed(params);
    for group in dataset.groups() {
        for (index, one) in group.trajectories.iter().enumerate() {
            if let Some((field, _)) = needed.iter().find(|(_, read)| read(one).is_none()) {
                return Err(DataError::MissingScore {
                    mode: params.mode,
                    query_id: group.query_id,
                    trajectory: index,
                    field,
                    hint: missing_hint(one, params.mode),
                });
            }
        }
    }
    Ok(())
}

fn missing_hint(one: &Trajectory, mode: RewardMode) -> String {
    let scores = [CORRECT, ACCURACY, GT_PROB, REL, BEAM, LOGPROB];
    let present: Vec<&str> =
        scores.iter().filter(|(_, read)| read(one).is_some()).map(|(name, _)| *name).collect();
    match present[..] {
        [] => "it has no score at all".to_string(),
        ["beam_score"] if mode != RewardMode::Legacy => {
            "it has only `beam_score`; use mode = \"legacy\" with alpha = 1, beta = 0".to_string()
        }
        _ => format!("it has {}; choose a mode that reads those", present.join(", ")),
    }
}

/// How much the training groups' raw rewards tell apart. Rewards closer than rounding count as equal.
pub fn signal_health(dataset: &Dataset, params: &RewardParams) -> SignalHealth {
    let mut distinct: BTreeMap<usize, usize> = BTreeMap::new();
    let mut range = 0.0;
    for group in &dataset.train {
        let mut raw = rewards(group, params).raw;
        raw.sort_by(f64::total_cmp);
        range += raw[raw.len() - 1] - raw[0];
        let steps = raw.windows(2).filter(|pair| pair[1] - pair[0] > SAME).count();
        *distinct.entry(steps + 1).or_default() += 1;
    }
    let groups = dataset.train.len();
    SignalHealth {
        groups,
        flat_groups: distinct.get(&1).copied().unwrap_or(0),
        // Rewards lie between two limits.
        mean_range: Finite::new(range / groups.max(1) as f64).unwrap_or_default(),
        distinct,
    }
}
