//! The reward formulas: a mode is a sum of weighted scores, and this table is all there is to it. Its row is read by
//! `[reward] mode`, by the reward itself, and by the check that the data have what the mode reads.

use serde::{Deserialize, Serialize};

use crate::spec::choice;

/// `[reward]`: how a trajectory's scores become one number (SPEC "Rewards").
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RewardParams {
    pub mode: RewardMode,
    pub hard_weight: f64,
    pub soft_weight: f64,
    pub rel_weight: f64,
    /// Weight of the quality, `legacy` mode only.
    pub alpha: f64,
    /// Weight of the correctness, `legacy` mode only.
    pub beta: f64,
    /// Source of the quality, `legacy` mode only.
    pub quality: Quality,
    pub normalize: Normalize,
    /// Normalized rewards are clamped to `[-clamp, clamp]` (`z_score_clamp` only).
    pub clamp: f64,
}

impl Default for RewardParams {
    fn default() -> Self {
        Self {
            mode: RewardMode::HardPlusSoft,
            hard_weight: 1.0,
            soft_weight: 1.0,
            rel_weight: 0.1,
            alpha: 0.0,
            beta: 0.0,
            quality: Quality::BeamScore,
            normalize: Normalize::ZScoreClamp,
            clamp: 3.0,
        }
    }
}

choice! {
    /// What `legacy` rewards call quality: `beam_score`, or `-logprob_score`.
    Quality {
        BeamScore = "beam_score",
        LogprobScore = "logprob_score",
    }
}

choice! {
    /// How rewards are normalized within a query group.
    Normalize {
        /// z-score, clamped
        ZScoreClamp = "z_score_clamp",
        /// z-score without clamp
        ZScore = "z_score",
        /// best 1 ... worst -1, equal spacing
        Rank = "rank",
    }
}

choice! {
    /// The reward formulas; `w_h`, `w_s`, `w_r` are the weights of [`RewardParams`], and [`RewardMode::terms`] has them.
    RewardMode {
        /// `w_h*hard + w_s*soft`
        HardPlusSoft = "hard_plus_soft",
        /// `2*w_h*hard + w_s*soft`
        HardPlusSoftV2 = "hard_plus_soft_v2",
        /// `w_h*hard`
        HardOnly = "hard_only",
        /// `w_s*soft`
        SoftOnly = "soft_only",
        /// `(hard == 1 ? 2*w_h : 0) + w_s*soft`
        Separated = "separated",
        /// `w_h*hard + w_s*gt_prob`
        Hard01PlusGtprob = "hard01_plus_gtprob",
        /// `(hard == 1 ? 2*w_h : 0) + w_s*gt_prob`
        Hard01PlusGtprobSeparated = "hard01_plus_gtprob_separated",
        /// `w_h*hard + w_s*gt_prob + w_r*(1-hard)*rel`
        HardPlusGtprobPlusRel = "hard_plus_gtprob_plus_rel",
        /// `w_s*gt_prob`
        GtprobOnly = "gtprob_only",
        /// `alpha*quality + beta*correctness`
        Legacy = "legacy",
    }
}

/// What a trajectory was found to be worth in one respect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Score {
    /// `vqa_correct`
    Hard,
    /// 1 where `vqa_correct` is 1, else 0.
    Right,
    /// `vqa_acc_score`
    Soft,
    /// `vqa_gt_prob`
    GtProb,
    /// `(1 - vqa_correct) * vqa_rel_score`: counts only where the answer was wrong.
    RelIfWrong,
    /// `beam_score`
    Beam,
    /// `-logprob_score`
    NegativeLogprob,
}

/// `weight * score`, a part of a reward. One without weight is 0 even where its score is missing.
pub type Term = (f64, Score);

impl RewardMode {
    /// The terms of the reward under `params`, in the order in which they are added.
    pub fn terms(self, params: &RewardParams) -> Vec<Term> {
        let RewardParams { hard_weight, soft_weight, rel_weight, alpha, beta, quality, .. } = *params;
        let quality = match quality {
            Quality::BeamScore => Score::Beam,
            Quality::LogprobScore => Score::NegativeLogprob,
        };
        match self {
            Self::HardPlusSoft => vec![(hard_weight, Score::Hard), (soft_weight, Score::Soft)],
            Self::HardPlusSoftV2 => vec![(2.0 * hard_weight, Score::Hard), (soft_weight, Score::Soft)],
            Self::HardOnly => vec![(hard_weight, Score::Hard)],
            Self::SoftOnly => vec![(soft_weight, Score::Soft)],
            Self::Separated => vec![(2.0 * hard_weight, Score::Right), (soft_weight, Score::Soft)],
            Self::Hard01PlusGtprob => vec![(hard_weight, Score::Hard), (soft_weight, Score::GtProb)],
            Self::Hard01PlusGtprobSeparated => {
                vec![(2.0 * hard_weight, Score::Right), (soft_weight, Score::GtProb)]
            }
            Self::HardPlusGtprobPlusRel => {
                vec![
                    (hard_weight, Score::Hard),
                    (soft_weight, Score::GtProb),
                    (rel_weight, Score::RelIfWrong),
                ]
            }
            Self::GtprobOnly => vec![(soft_weight, Score::GtProb)],
            Self::Legacy => vec![(alpha, quality), (beta, Score::Hard)],
        }
    }
}
