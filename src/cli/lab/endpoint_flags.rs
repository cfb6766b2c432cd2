//! Flags that say who the judge is: of a checkpoint alone, or instead of what a sweep file says.

use crate::spec::{EndpointParams, EvalParams, JudgeApi, ScoreField, endpoint_mistake};

/// Who is asked, and what an answer is worth.
#[derive(Debug, clap::Args)]
pub struct EndpointFlags {
    /// The judge's address, such as http://127.0.0.1:8000/v1 [of a checkpoint without --sweep: or $SWEEP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    endpoint: Option<String>,
    /// The model, as that server names it [of a checkpoint without --sweep: or $SWEEP_MODEL]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// chat or completions
    #[arg(long, value_name = "API", value_parser = api)]
    api: Option<JudgeApi>,
    /// Longest answer, in tokens
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
    /// Where an answer ends, such as $'\n'; once per text
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// The environment variable that holds the key
    #[arg(long, value_name = "NAME")]
    key_env: Option<String>,
    /// What an answer is worth: vqa_acc_score, vqa_correct, token_f1 or vqa_gt_prob
    #[arg(long, value_name = "SCORE", value_parser = score)]
    score: Option<ScoreField>,
}

impl EndpointFlags {
    /// The evaluation that the flags and the environment stand for where there is no sweep file.
    ///
    /// # Errors
    /// No address or no model, and as [`EndpointFlags::put_over`].
    pub fn alone(&self) -> anyhow::Result<EvalParams> {
        let of = |name: &str| std::env::var(name).unwrap_or_default();
        let endpoint = EndpointParams {
            url: of("SWEEP_ENDPOINT"),
            model: of("SWEEP_MODEL"),
            ..EndpointParams::default()
        };
        let has = |flag: &Option<String>, other: &str| flag.is_some() || !other.is_empty();
        anyhow::ensure!(
            has(&self.endpoint, &endpoint.url) && has(&self.model, &endpoint.model),
            "who is the judge?\nhint: `--endpoint URL --model NAME` (or SWEEP_ENDPOINT and SWEEP_MODEL) name a server; `--sweep FILE` a sweep file with [eval.endpoint] or [eval.command]"
        );
        let mut eval = EvalParams { endpoint: Some(endpoint), ..EvalParams::default() };
        self.put_over(&mut eval)?;
        Ok(eval)
    }

    /// Puts the flags over what `eval` says.
    ///
    /// # Errors
    /// Flags for a server where a program is the judge, and what cannot be asked.
    pub fn put_over(&self, eval: &mut EvalParams) -> anyhow::Result<()> {
        let Self { endpoint: url, model, api, max_tokens, stop, key_env, score } = self;
        eval.score = score.unwrap_or(eval.score);
        let of_server =
            [url.is_some(), model.is_some(), api.is_some(), max_tokens.is_some(), key_env.is_some()];
        let Some(endpoint) = &mut eval.endpoint else {
            anyhow::ensure!(
                !of_server.contains(&true) && stop.is_empty() && score.is_none(),
                "the judge is no server: it has no address, model or score to set"
            );
            return Ok(());
        };
        endpoint.url = url.clone().unwrap_or(std::mem::take(&mut endpoint.url));
        endpoint.model = model.clone().unwrap_or(std::mem::take(&mut endpoint.model));
        endpoint.api = api.unwrap_or(endpoint.api);
        endpoint.max_tokens = max_tokens.unwrap_or(endpoint.max_tokens);
        if !stop.is_empty() {
            endpoint.stop.clone_from(stop);
        }
        endpoint.key_env = key_env.clone().or(endpoint.key_env.take());
        // Asked for with a request of its own.
        endpoint.logprobs |= eval.score == ScoreField::Probability;
        endpoint_mistake(endpoint, eval.score).map_or(Ok(()), |mistake| Err(anyhow::anyhow!(mistake)))
    }
}

fn api(name: &str) -> Result<JudgeApi, String> {
    JudgeApi::from_name(name).ok_or_else(|| JudgeApi::NAMES.join(" or "))
}

fn score(name: &str) -> Result<ScoreField, String> {
    ScoreField::from_name(name).ok_or_else(|| ScoreField::NAMES.join(", "))
}
