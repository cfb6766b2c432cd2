//! The figures that an epoch of the selector's training reports.

use crate::figure::{Better, Chart, EpochFigure};

/// All figures, in the order of `metrics.csv`: a new one comes last.
#[rustfmt::skip]
pub static FIGURES: &[EpochFigure] = &[
    EpochFigure {
        told: Some(0),
        charts: &[
            Chart { phase: Some("rce"), ..Chart::new(0, "rce-loss", "Training loss, RCE") },
            Chart { phase: Some("grpo"), ..Chart::new(1, "grpo-loss", "Training loss, GRPO") },
        ],
        ..EpochFigure::new("train_loss", Better::Lower, "Loss of the phase, mean over its steps.")
    },
    EpochFigure::new("ppo_loss", Better::Lower, "Policy term of GRPO's loss, mean over the steps."),
    EpochFigure {
        told: Some(2),
        charts: &[Chart { first: true, ..Chart::new(3, "kl", "KL to the reference policy") }],
        ..EpochFigure::new("kl", Better::Lower, "KL to the reference policy, mean over the steps.")
    },
    EpochFigure {
        charts: &[Chart::new(4, "ratio", "Mean probability ratio")],
        ..EpochFigure::new("mean_ratio", Better::Neither, "Probability of the kept trajectories relative to the reference policy, mean over the steps.")
    },
    EpochFigure::new("advantage_mean", Better::Neither, "Advantages of the kept trajectories: mean over the groups of the mean."),
    EpochFigure::new("advantage_std", Better::Neither, "Mean over the groups of their standard deviation."),
    EpochFigure::new("advantage_max", Better::Neither, "Largest of all."),
    EpochFigure { told: Some(3), ..EpochFigure::new("beta", Better::Neither, "KL_BETA at the end of the epoch.") },
    EpochFigure {
        told: Some(1),
        charts: &[Chart { first: true, ..Chart::new(2, "val-loss", "Validation loss") }],
        ..EpochFigure::new("val_loss", Better::Lower, "RCE loss on the validation groups: raw rewards, temperature 1, no dropout.")
    },
    EpochFigure::new("temperature", Better::Neither, "RCE's temperature at the last step."),
    EpochFigure::new("grad_norm", Better::Neither, "Norm of the gradient before it is clipped, mean over the steps."),
    EpochFigure { unit: "s", of_machine: true, ..EpochFigure::new("seconds", Better::Lower, "Wall time of the epoch, shared by the members of its cohort.") },
    EpochFigure::new("clipped_share", Better::Lower, "Share of the steps whose gradient was clipped."),
    EpochFigure {
        unit: "nats",
        charts: &[Chart::new(5, "entropy", "Entropy of the first choice")],
        ..EpochFigure::new("entropy", Better::Neither, "Entropy of the first choice on the validation groups, mean, no dropout: 0 where the policy has made up its mind, ln K where it has none.")
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_has_every_figure() {
        let page = include_str!("../../docs/report.md");
        let rows: Vec<String> = FIGURES.iter().map(EpochFigure::row).collect();
        assert!(page.contains(&rows.join("\n")), "docs/report.md should have\n{}", rows.join("\n"));
    }

    #[test]
    fn names_and_charts_are_told_apart() {
        for (at, figure) in FIGURES.iter().enumerate() {
            assert!(FIGURES[at + 1..].iter().all(|other| other.name != figure.name), "{}", figure.name);
            assert!(
                !["phase", "epoch"].contains(&figure.name) && figure.doc.ends_with('.'),
                "{}",
                figure.name
            );
        }
        let ids: Vec<&str> = FIGURES.iter().flat_map(|figure| figure.charts).map(|chart| chart.id).collect();
        assert!(ids.iter().enumerate().all(|(at, id)| !ids[at + 1..].contains(id)), "{ids:?}");
    }
}
