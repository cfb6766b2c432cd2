//! The probability that a selector gives to a sequence (SPEC "Model", step 5).

/// The score that replaces the one of a candidate already chosen.
const MASKED: f64 = -100.0;

/// The K scores of one query's candidates, prepared for many sequences: their exponentials are taken once.
#[derive(Clone, Debug)]
pub struct CandidateScores {
    /// `[K]`
    logits: Vec<f64>,
    largest: f64,
    /// `exp(logit - largest)`, `[K]`
    exps: Vec<f64>,
}

impl CandidateScores {
    /// Prepares `logits`, `[K]`: eval-mode scores before any masking.
    pub fn new(logits: &[f32]) -> Self {
        let logits: Vec<f64> = logits.iter().map(|&logit| f64::from(logit)).collect();
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let exps = logits.iter().map(|logit| (logit - largest).exp()).collect();
        Self { logits, largest, exps }
    }

    /// `sum_s log_softmax(logits, those chosen before s set to -100)[pointer_s]`, in nats.
    ///
    /// # Panics
    /// If `pointer` holds a local id that is not below K.
    pub fn log_prob(&self, pointer: &[u32]) -> f64 {
        let masked = (MASKED - self.largest).exp();
        let mut exps = self.exps.clone();
        let mut sum = 0.0;
        for (step, &id) in pointer.iter().enumerate() {
            let total: f64 = exps.iter().sum();
            // Below this the terms begin to lose digits, because the largest score itself is masked.
            let log_total = if total >= 1e-200 || total.is_nan() {
                total.ln() + self.largest
            } else {
                self.log_total(&pointer[..step])
            };
            let logit = if pointer[..step].contains(&id) { MASKED } else { self.logits[id as usize] };
            sum += logit - log_total;
            exps[id as usize] = masked;
        }
        sum
    }

    /// Log of the sum of exponentials with `chosen` masked, relative to the largest of what is left.
    fn log_total(&self, chosen: &[u32]) -> f64 {
        let mut logits = self.logits.clone();
        for &id in chosen {
            logits[id as usize] = MASKED;
        }
        let largest = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        logits.iter().map(|logit| (logit - largest).exp()).sum::<f64>().ln() + largest
    }
}

/// Log-probability of the sequence `pointer` under the scores `logits`, `[K]`, in float64. For many sequences
/// of one query, prepare a [`CandidateScores`].
///
/// # Panics
/// If `pointer` holds a local id that is not below K.
pub fn sequence_log_prob(logits: &[f32], pointer: &[u32]) -> f64 {
    CandidateScores::new(logits).log_prob(pointer)
}
