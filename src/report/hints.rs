//! Why a point's parameters may hardly have moved, as far as its own metrics support it.

use crate::spec::number_text;
use crate::store::{EpochMetrics, PointResult, PointStatus, SignalHealth};

/// Relative change of all parameters below which training is said to have done nothing.
pub const HARDLY: f64 = 0.001;

/// For a finished point whose parameters changed by less than [`HARDLY`]: the likely causes, joined by `; `.
pub fn hardly_moved(point: &PointResult, health: Option<&SignalHealth>) -> Option<String> {
    let movement =
        point.movement.get("all").map(|share| share.get()).filter(|movement| *movement < HARDLY)?;
    if point.status != PointStatus::Done {
        return None;
    }
    let last = point.metrics.last()?;
    let mut causes = Vec::new();
    causes.extend(small_rate(point, last, health));
    causes.extend(kl_dominates(last));
    if let Some(std) = last.get("advantage_std").filter(|std| *std < 0.05) {
        causes.push(format!("advantages hardly differ (standard deviation {std:.3})"));
    }
    if let Some(share) = last.get("clipped_share").filter(|share| *share > 0.9) {
        causes.push(format!("{:.0} % of the gradients were clipped", 100.0 * share));
    }
    if causes.is_empty() {
        causes.push("no cause visible in its metrics".to_owned());
    }
    Some(format!("moved {:.3} %: {}", 100.0 * movement, causes.join("; ")))
}

/// Adam moves a weight by about the learning rate per step at most, whatever the gradient.
fn small_rate(point: &PointResult, last: &EpochMetrics, health: Option<&SignalHealth>) -> Option<String> {
    // The learning rate of a phase carries its name where there are several.
    let named = [format!("{}_lr", last.phase), "lr".to_owned()];
    let rate = |key: &String| point.config.get(&format!("train.{key}"))?.as_f64();
    let (key, rate) = named.iter().find_map(|key| Some((key, rate(key)?)))?;
    let epochs = point.metrics.iter().filter(|epoch| epoch.phase == last.phase).count();
    let steps = health.map(|health| health.groups * epochs).filter(|steps| *steps > 0);
    let reach = steps.map_or(rate * 1000.0, |steps| rate * steps as f64);
    if reach > 0.02 {
        return None;
    }
    Some(match steps {
        Some(steps) => {
            format!(
                "{key} = {}: {steps} steps can move a weight by about {reach:.1e} at most",
                number_text(rate)
            )
        }
        None => format!("{key} = {} is small", number_text(rate)),
    })
}

/// Share of the loss: `beta * kl` against the policy term.
fn kl_dominates(last: &EpochMetrics) -> Option<String> {
    let ratio = kl_weight(last)?;
    (ratio > 1.0).then(|| format!("the KL term is {ratio:.1} times the policy term"))
}

/// `beta * kl / |ppo_loss|` of an epoch.
pub fn kl_weight(epoch: &EpochMetrics) -> Option<f64> {
    let (beta, kl, ppo) = (epoch.get("beta")?, epoch.get("kl")?, epoch.get("ppo_loss")?);
    (ppo != 0.0).then(|| (beta * kl / ppo).abs())
}
