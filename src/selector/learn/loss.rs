//! The losses as pure functions of one group's K scores: value and gradient with respect to the scores.
//!
//! A sequence's log-probability is `sum_s log_softmax(logits_s)[label_s]`, where `logits_s` is the score
//! vector with the already chosen candidates *set* to -100. The score vector itself does not depend on the
//! history, so everything a loss needs is K numbers and the labels.

/// What already chosen candidates' scores are set to.
const MASKED: f32 = -100.0;

/// What one step contributes to the epoch's figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LossParts {
    /// The loss that was minimised.
    pub loss: f64,
    /// Clipped surrogate, GRPO only.
    pub ppo: f64,
    /// `mean(ratio - 1 - log ratio)`, GRPO only.
    pub kl: f64,
    /// Mean of the probability ratios, GRPO only.
    pub mean_ratio: f64,
}

/// One GRPO group: the kept trajectories and what is known of them before training starts.
#[derive(Clone, Copy, Debug)]
pub struct GrpoTerms<'a> {
    /// `[n * S]` local ids of the kept trajectories.
    pub labels: &'a [u32],
    /// `[n]`
    pub advantages: &'a [f32],
    /// `[n]` log-probabilities under the reference policy.
    pub reference: &'a [f32],
    pub kl_beta: f64,
    pub clip_epsilon: f64,
}

/// Log-probability of each sequence.
///
/// `scores` `[K]`, `labels` `[n * length]`; returns `[n]`.
pub fn sequence_log_probs(scores: &[f32], labels: &[u32], length: usize) -> Vec<f32> {
    let mut policy = Policy::new(scores);
    labels.chunks_exact(length).map(|sequence| policy.log_prob(sequence)).collect()
}

/// Where all that is left is smaller than this share of the largest exponential, it begins to lose digits and is
/// computed again from its own largest score.
const FAINT: f32 = 1e-20;

/// The scores of one group. Their exponentials are taken once; the steps of all sequences add them up.
struct Policy<'a> {
    scores: &'a [f32],
    peak: f32,
    /// `exp(score - peak)` `[K]`
    exps: Vec<f32>,
    /// Work space: the same with those chosen so far replaced.
    rest: Vec<f32>,
    /// Largest score and sum of exponentials relative to it, for each step of the sequence last asked about.
    sums: Vec<(f32, f32)>,
}

impl<'a> Policy<'a> {
    fn new(scores: &'a [f32]) -> Self {
        let peak = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exps = scores.iter().map(|score| (score - peak).exp()).collect();
        Self { scores, peak, exps, rest: Vec::new(), sums: Vec::new() }
    }

    fn log_prob(&mut self, sequence: &[u32]) -> f32 {
        self.rest.clone_from(&self.exps);
        self.sums.clear();
        let masked = (MASKED - self.peak).exp();
        let mut total = 0.0;
        for (step, &label) in sequence.iter().enumerate() {
            let chosen = &sequence[..step];
            let sum = sum(&self.rest);
            let sound = (FAINT..f32::INFINITY).contains(&sum);
            let (peak, sum) = if sound { (self.peak, sum) } else { log_sum_exp(self.scores, chosen) };
            let own = if chosen.contains(&label) { MASKED } else { self.scores[label as usize] };
            total += own - peak - sum.ln();
            self.sums.push((peak, sum));
            self.rest[label as usize] = masked;
        }
        total
    }

    /// Adds `weight * d(log-probability)/d(scores)` of the `sequence` that [`Policy::log_prob`] was last asked about to
    /// `gradient` `[K]`.
    ///
    /// Masked scores are constants: no gradient flows into them.
    fn add_gradient(&mut self, sequence: &[u32], weight: f32, gradient: &mut [f32]) {
        self.rest.clone_from(&self.exps);
        for (step, (&label, &(peak, sum))) in sequence.iter().zip(&self.sums).enumerate() {
            let (scale, chosen) = (weight / sum, &sequence[..step]);
            if peak == self.peak {
                for (slot, exp) in gradient.iter_mut().zip(&self.rest) {
                    *slot -= scale * exp;
                }
            } else {
                for (k, slot) in
                    gradient.iter_mut().enumerate().filter(|(k, _)| !chosen.contains(&(*k as u32)))
                {
                    *slot -= scale * (self.scores[k] - peak).exp();
                }
            }
            if !chosen.contains(&label) {
                gradient[label as usize] += weight;
            }
            self.rest[label as usize] = 0.0;
        }
    }
}

/// In a fixed order that vector units can follow.
fn sum(values: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let blocks = values.chunks_exact(16);
    let rest = blocks.remainder();
    for block in blocks {
        lanes.iter_mut().zip(block).for_each(|(lane, value)| *lane += value);
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += value);
    lanes.iter().sum()
}

/// Largest score `m` and `sum_k exp(score_k - m)`, with the `chosen` scores set to [`MASKED`].
fn log_sum_exp(scores: &[f32], chosen: &[u32]) -> (f32, f32) {
    let at = |k: usize| if chosen.contains(&(k as u32)) { MASKED } else { scores[k] };
    let peak = (0..scores.len()).map(at).fold(f32::NEG_INFINITY, f32::max);
    (peak, (0..scores.len()).map(|k| (at(k) - peak).exp()).sum())
}

/// Entropy of the first choice, a softmax over `scores` `[K]`, in nats: `ln Z - sum_k p_k (score_k - peak)`.
pub fn entropy(scores: &[f32]) -> f64 {
    let policy = Policy::new(scores);
    let total: f64 = policy.exps.iter().copied().map(f64::from).sum();
    let weighted: f64 = scores
        .iter()
        .zip(&policy.exps)
        .map(|(score, exp)| f64::from(*exp) * f64::from(score - policy.peak))
        .sum();
    total.ln() - weighted / total
}

/// RCE: `loss = -sum_i w_i * log p_i` (label smoothing 0).
///
/// `scores` `[K]`, `labels` `[n * length]`, `weights` `[n]` (softmax of reward / tau); overwrites `gradient`
/// `[K]` with `d loss / d scores`.
pub fn rce(
    scores: &[f32],
    labels: &[u32],
    length: usize,
    weights: &[f32],
    gradient: &mut [f32],
) -> LossParts {
    gradient.fill(0.0);
    let mut policy = Policy::new(scores);
    let mut loss = 0.0;
    for (sequence, &weight) in labels.chunks_exact(length).zip(weights) {
        if weight != 0.0 {
            loss -= f64::from(weight) * f64::from(policy.log_prob(sequence));
            policy.add_gradient(sequence, -weight, gradient);
        }
    }
    LossParts { loss, ..LossParts::default() }
}

/// GRPO: `ratio_i = exp(log p_i - reference_i)`, `ppo = -mean(min(ratio*A, clip(ratio, 1-eps, 1+eps)*A))`,
/// `kl = mean(ratio - 1 - log ratio)`, `loss = ppo + kl_beta * kl`.
///
/// `scores` `[K]`; overwrites `gradient` `[K]` with `d loss / d scores`.
pub fn grpo(scores: &[f32], terms: &GrpoTerms, length: usize, gradient: &mut [f32]) -> LossParts {
    gradient.fill(0.0);
    let count = terms.advantages.len() as f64;
    let (low, high) = (1.0 - terms.clip_epsilon, 1.0 + terms.clip_epsilon);
    let mut policy = Policy::new(scores);
    let mut parts = LossParts::default();
    for (i, sequence) in terms.labels.chunks_exact(length).enumerate() {
        let log_ratio = f64::from(policy.log_prob(sequence) - terms.reference[i]);
        let ratio = log_ratio.exp();
        let advantage = f64::from(terms.advantages[i]);
        let (free, clipped) = (ratio * advantage, ratio.clamp(low, high) * advantage);
        parts.ppo -= free.min(clipped) / count;
        parts.kl += (ratio - 1.0 - log_ratio) / count;
        parts.mean_ratio += ratio / count;
        // Where the clipped branch is the smaller one the ratio is outside the range: no gradient.
        let surrogate = if free <= clipped { -advantage * ratio } else { 0.0 };
        let slope = (surrogate + terms.kl_beta * (ratio - 1.0)) / count;
        policy.add_gradient(sequence, slope as f32, gradient);
    }
    parts.loss = parts.ppo + terms.kl_beta * parts.kl;
    parts
}

/// RCE weights `softmax(reward / tau)` over a group, computed in f64.
pub fn rce_weights(rewards: &[f64], tau: f64) -> Vec<f32> {
    let peak = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let powers: Vec<f64> = rewards.iter().map(|reward| ((reward - peak) / tau).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.iter().map(|power| (power / sum) as f32).collect()
}

/// All weight on the best trajectory, ties to the first (`rce_top1_only`).
pub fn top1_weights(rewards: &[f64]) -> Vec<f32> {
    let best = (0..rewards.len()).fold(0, |best, i| if rewards[i] > rewards[best] { i } else { best });
    (0..rewards.len()).map(|i| if i == best { 1.0 } else { 0.0 }).collect()
}

/// Indices of the `k` trajectories with the largest rewards, best first, ties in file order.
pub fn top_k(rewards: &[f64], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rewards.len()).collect();
    order.sort_by(|&a, &b| rewards[b].total_cmp(&rewards[a]));
    order.truncate(k);
    order
}

/// `(r - mean) / max(std, 0.1)` with the unbiased std (0 for one trajectory), clipped to [-5, 5];
/// also the mean, std and maximum of the result.
pub fn advantages(rewards: &[f64]) -> (Vec<f32>, AdvantageFigures) {
    let spread = (mean(rewards), unbiased_std(rewards).max(0.1));
    let values: Vec<f64> = rewards.iter().map(|r| ((r - spread.0) / spread.1).clamp(-5.0, 5.0)).collect();
    let figures = AdvantageFigures {
        mean: mean(&values),
        std: unbiased_std(&values),
        max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    };
    (values.iter().map(|&value| value as f32).collect(), figures)
}

/// Spread of the advantages of one group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdvantageFigures {
    pub mean: f64,
    pub std: f64,
    pub max: f64,
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn unbiased_std(values: &[f64]) -> f64 {
    if values.len() < 2 {
        return 0.0;
    }
    let center = mean(values);
    let squares: f64 = values.iter().map(|value| (value - center).powi(2)).sum();
    (squares / (values.len() - 1) as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    struct Golden {
        losses: Value,
        forward: Vec<u8>,
    }

    fn golden() -> Golden {
        let path = |name: &str| format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        let losses = fs_err::read(path("losses.json")).expect("readable");
        let forward = fs_err::read(path("forward.safetensors")).expect("readable");
        Golden { losses: serde_json::from_slice(&losses).expect("valid"), forward }
    }

    /// Scores `[K]` (the logits of the first step) and labels `[T * 2]` of training group `g`.
    fn group(forward: &[u8], g: usize) -> (Vec<f32>, Vec<u32>) {
        let file = safetensors::SafeTensors::deserialize(forward).expect("valid");
        let logits = file.tensor(&format!("g{g}.logits")).expect("there");
        let scores = logits.data()[..4 * 64].chunks_exact(4);
        let labels = file.tensor(&format!("g{g}.labels")).expect("there");
        (
            scores.map(|b| f32::from_le_bytes(b.try_into().expect("four bytes"))).collect(),
            labels
                .data()
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().expect("eight bytes")) as u32)
                .collect(),
        )
    }

    fn numbers(value: &Value) -> Vec<f64> {
        value.as_array().expect("a list").iter().map(|x| x.as_f64().expect("a number")).collect()
    }

    fn close(got: f64, want: &Value, limit: f64) {
        let want = want.as_f64().expect("a number");
        assert!((got - want).abs() <= limit, "{got} instead of {want}");
    }

    #[test]
    fn entropy_is_that_of_the_first_choice() {
        for (scores, want) in [
            (&[0.5f32; 8][..], 8f64.ln()),
            (&[300.0, 0.0, 0.0], 0.0),
            (&[2f32.ln(), 0.0], -(2.0 / 3.0) * (2f64 / 3.0).ln() - (1.0 / 3.0) * (1f64 / 3.0).ln()),
            (&[-40.0], 0.0),
        ] {
            assert!((entropy(scores) - want).abs() < 1e-7, "{scores:?}: {}", entropy(scores));
        }
    }

    /// Scores so far apart that the exponentials of all but one underflow, and scores far below the mask, against the
    /// definition in f64.
    #[test]
    fn extreme_scores_keep_their_log_probabilities_and_gradients() {
        let cases: [&[f32]; 4] = [
            &[250.0, 3.0, 1.0, 2.0],
            &[-300.0, -301.0, -299.5, -300.5],
            &[90.0, -60.0, -61.0, 30.0],
            &[0.0; 4],
        ];
        for scores in cases {
            for sequence in [[0, 1, 2], [2, 0, 1], [0, 0, 3]] {
                let mut policy = Policy::new(scores);
                let got = f64::from(policy.log_prob(&sequence));
                let mut gradient = vec![0.0; scores.len()];
                policy.add_gradient(&sequence, 1.0, &mut gradient);
                let (mut want, mut slope) = (0.0, vec![0.0; scores.len()]);
                for step in 0..sequence.len() {
                    let chosen = &sequence[..step];
                    let at =
                        |k: usize| if chosen.contains(&(k as u32)) { -100.0 } else { f64::from(scores[k]) };
                    let peak = (0..scores.len()).map(at).fold(f64::NEG_INFINITY, f64::max);
                    let sum: f64 = (0..scores.len()).map(|k| (at(k) - peak).exp()).sum();
                    let label = sequence[step] as usize;
                    want += at(label) - peak - sum.ln();
                    for (k, slope) in
                        slope.iter_mut().enumerate().filter(|(k, _)| !chosen.contains(&(*k as u32)))
                    {
                        *slope += f64::from(u8::from(k == label)) - (at(k) - peak).exp() / sum;
                    }
                }
                assert!(
                    (got - want).abs() <= 1e-6 * want.abs().max(1.0),
                    "{scores:?} {sequence:?}: {got}, {want}"
                );
                for (got, want) in gradient.iter().zip(&slope) {
                    assert!(
                        (f64::from(*got) - want).abs() < 1e-6,
                        "{scores:?} {sequence:?}: {gradient:?}, {slope:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn rce_agrees_with_the_golden_losses() {
        let golden = golden();
        for (g, want) in golden.losses["groups"].as_array().expect("a list").iter().enumerate() {
            let (scores, labels) = group(&golden.forward, g);
            let mut gradient = vec![0.0; scores.len()];
            for (got, want) in sequence_log_probs(&scores, &labels, 2).iter().zip(numbers(&want["logp"])) {
                assert!((f64::from(*got) - want).abs() < 5e-6, "{got} instead of {want}");
            }
            for form in ["raw", "normalized"] {
                for tau in ["2.0", "1.0", "0.5"] {
                    let weights = rce_weights(&numbers(&want[form]), tau.parse().expect("a number"));
                    let parts = rce(&scores, &labels, 2, &weights, &mut gradient);
                    close(parts.loss, &want["rce"][form][tau], 1e-5);
                }
            }
            let weights = top1_weights(&numbers(&want["raw"]));
            close(rce(&scores, &labels, 2, &weights, &mut gradient).loss, &want["rce_top1"]["loss"], 1e-5);
        }
    }

    #[test]
    fn grpo_agrees_with_the_golden_losses() {
        let golden = golden();
        for (g, want) in golden.losses["groups"].as_array().expect("a list").iter().enumerate() {
            let (scores, labels) = group(&golden.forward, g);
            let (rewards, reference) = (numbers(&want["normalized"]), numbers(&want["ref_logp"]));
            for (name, k) in [("top3", 3), ("top5", 5)] {
                let want = &want["grpo"][name];
                let kept = top_k(&rewards, k);
                let expected: Vec<usize> = numbers(&want["kept"]).iter().map(|&x| x as usize).collect();
                assert_eq!(kept, expected);
                let chosen: Vec<f64> = kept.iter().map(|&i| rewards[i]).collect();
                let (advantages, _) = advantages(&chosen);
                for (got, want) in advantages.iter().zip(numbers(&want["advantages"])) {
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{got} instead of {want}");
                }
                let labels: Vec<u32> =
                    kept.iter().flat_map(|&i| labels[2 * i..2 * i + 2].iter().copied()).collect();
                let reference: Vec<f32> = kept.iter().map(|&i| reference[i] as f32).collect();
                let terms = GrpoTerms {
                    labels: &labels,
                    advantages: &advantages,
                    reference: &reference,
                    kl_beta: 0.15,
                    clip_epsilon: 0.2,
                };
                let parts = grpo(&scores, &terms, 2, &mut vec![0.0; scores.len()]);
                close(parts.loss, &want["loss"], 1e-5);
                close(parts.ppo, &want["ppo_loss"], 1e-5);
                close(parts.kl, &want["kl"], 1e-5);
                let ratios = numbers(&want["ratio"]);
                let mean = ratios.iter().sum::<f64>() / ratios.len() as f64;
                assert!((parts.mean_ratio - mean).abs() < 1e-5);
            }
        }
    }
}
