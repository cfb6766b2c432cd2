//! What is to be made, and what identifies it.

use std::path::PathBuf;

use crate::selector::evaluate::judge_form;
use crate::selector::{ModelParams, Params};
use crate::spec::{BuildParams, EvalParams, SweepSpec};

use super::error::MakingError;

/// What data are made of, and where they go.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub params: BuildParams,
    /// Who is asked, and the items.
    pub judge: EvalParams,
    /// Shape of the policy, where there is one.
    pub model: ModelParams,
    pub embeddings: PathBuf,
    /// The trajectory JSON that is made.
    pub trajectories: PathBuf,
    /// At most so many training queries and so many evaluation queries, for a trial.
    pub limit: Option<usize>,
}

impl Recipe {
    /// That of `spec`, where it has `[data.build]`.
    pub fn of(spec: &SweepSpec) -> Option<Self> {
        let build = spec.build.clone()?;
        let config = Params::of(&spec.points.first()?.config).ok()?;
        Some(Self {
            params: build.params,
            judge: build.judge,
            model: config.model,
            embeddings: config.data.embeddings,
            trajectories: config.data.trajectories,
            limit: None,
        })
    }

    /// Whether the judge is also asked how probable the accepted answer is.
    pub fn probabilities(&self) -> bool {
        self.judge.endpoint.as_ref().is_some_and(|endpoint| endpoint.logprobs)
    }

    /// Sequences by the policy, if any are asked for.
    pub fn asks_policy(&self) -> bool {
        self.params.beam + self.params.policy_sample > 0
    }

    /// Everything that what is made depends on, contents for paths: equal settings give equal bytes where the judge's
    /// answers are equal.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn settings(&self) -> Result<serde_json::Value, MakingError> {
        let BuildParams { policy, eval_file, eval_shots, .. } = &self.params;
        let hash = |path: &PathBuf| -> Result<String, MakingError> {
            Ok(blake3::hash(&fs_err::read(path)?).to_hex()[..32].to_owned())
        };
        let (form, _) = judge_form(&self.judge)?;
        let identity = form.identity();
        let mut settings = serde_json::to_value(&self.params).unwrap_or_default();
        settings["policy"] =
            serde_json::json!(policy.as_ref().filter(|_| self.asks_policy()).map(hash).transpose()?);
        settings["eval_file"] = serde_json::json!(eval_file.is_some());
        settings["eval_shots"] = serde_json::json!(eval_file.as_ref().map(|_| eval_shots));
        settings["limit"] = serde_json::json!(self.limit);
        settings["model"] = serde_json::json!(self.asks_policy().then_some(&self.model));
        settings["items"] = serde_json::json!(hash(&self.judge.items)?);
        settings["embeddings"] = serde_json::json!(hash(&self.embeddings)?);
        settings["probabilities"] = serde_json::json!(self.probabilities());
        settings["judge"] = serde_json::json!(identity);
        Ok(settings)
    }

    /// Checks what the keys say together.
    ///
    /// # Errors
    /// What cannot be.
    pub(super) fn check(&self) -> Result<(), MakingError> {
        let params = &self.params;
        let all = [params.random, params.retrieval, params.sample, params.beam, params.policy_sample];
        if all.iter().sum::<usize>() == 0 {
            return Err(MakingError::NoSequences);
        }
        let of_policy = [("beam", params.beam), ("policy_sample", params.policy_sample)];
        if let Some((key, _)) = of_policy.into_iter().find(|(_, count)| *count > 0 && params.policy.is_none())
        {
            return Err(MakingError::NoPolicy { key });
        }
        let shots = params.eval_file.as_ref().and_then(|_| params.eval_shots.iter().max().copied());
        for (key, length) in [("length", params.length), ("eval_shots", shots.unwrap_or(0))] {
            if length > params.pool {
                return Err(MakingError::LongSequence { key, length, pool: params.pool });
            }
        }
        Ok(())
    }
}
