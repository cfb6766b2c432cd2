//! The one table of the figures that an epoch reports: files, pages and programs that read them know figures from here.

use std::borrow::Cow;

use serde::de::Error as _;
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::finite::Finite;

/// Which values of a figure are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    Lower,
    Higher,
    /// It describes, and judges nothing.
    Neither,
}

/// A chart of the report with one curve per point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chart {
    /// Names it in files and addresses.
    pub id: &'static str,
    pub title: &'static str,
    /// The only phase that it shows; `None` = all, one after the other.
    pub phase: Option<&'static str>,
    /// Its place among the charts.
    pub place: u8,
    /// It is on the first screen too: it tells whether training is healthy.
    pub first: bool,
}

/// One figure of an epoch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EpochFigure {
    /// Column of `metrics.csv`, key of records, tag of event files.
    pub name: &'static str,
    /// Empty for a plain number.
    pub unit: &'static str,
    pub better: Better,
    /// It depends on the machine: equal runs may differ in it.
    pub of_machine: bool,
    /// Its place in what `why` says of a point's last epoch; `None` = not there.
    pub told: Option<u8>,
    pub charts: &'static [Chart],
    /// One line for people.
    pub doc: &'static str,
}

const fn figure(name: &'static str, better: Better, doc: &'static str) -> EpochFigure {
    EpochFigure { name, unit: "", better, of_machine: false, told: None, charts: &[], doc }
}

const fn chart(place: u8, id: &'static str, title: &'static str) -> Chart {
    Chart { id, title, phase: None, place, first: false }
}

/// All figures, in the order of `metrics.csv`: a new one comes last.
#[rustfmt::skip]
pub static FIGURES: &[EpochFigure] = &[
    EpochFigure {
        told: Some(0),
        charts: &[
            Chart { phase: Some("rce"), ..chart(0, "rce-loss", "Training loss, RCE") },
            Chart { phase: Some("grpo"), ..chart(1, "grpo-loss", "Training loss, GRPO") },
        ],
        ..figure("train_loss", Better::Lower, "Loss of the phase, mean over its steps.")
    },
    figure("ppo_loss", Better::Lower, "Policy term of GRPO's loss, mean over the steps."),
    EpochFigure {
        told: Some(2),
        charts: &[Chart { first: true, ..chart(3, "kl", "KL to the reference policy") }],
        ..figure("kl", Better::Lower, "KL to the reference policy, mean over the steps.")
    },
    EpochFigure {
        charts: &[chart(4, "ratio", "Mean probability ratio")],
        ..figure("mean_ratio", Better::Neither, "Probability of the kept trajectories relative to the reference policy, mean over the steps.")
    },
    figure("advantage_mean", Better::Neither, "Advantages of the kept trajectories: mean over the groups of the mean."),
    figure("advantage_std", Better::Neither, "Mean over the groups of their standard deviation."),
    figure("advantage_max", Better::Neither, "Largest of all."),
    EpochFigure { told: Some(3), ..figure("beta", Better::Neither, "KL_BETA at the end of the epoch.") },
    EpochFigure {
        told: Some(1),
        charts: &[Chart { first: true, ..chart(2, "val-loss", "Validation loss") }],
        ..figure("val_loss", Better::Lower, "RCE loss on the validation groups: raw rewards, temperature 1, no dropout.")
    },
    figure("temperature", Better::Neither, "RCE's temperature at the last step."),
    figure("grad_norm", Better::Neither, "Norm of the gradient before it is clipped, mean over the steps."),
    EpochFigure { unit: "s", of_machine: true, ..figure("seconds", Better::Lower, "Wall time of the epoch, shared by the members of its cohort.") },
    figure("clipped_share", Better::Lower, "Share of the steps whose gradient was clipped."),
    EpochFigure {
        unit: "nats",
        charts: &[chart(5, "entropy", "Entropy of the first choice")],
        ..figure("entropy", Better::Neither, "Entropy of the first choice on the validation groups, mean, no dropout: 0 where the policy has made up its mind, ln K where it has none.")
    },
];

impl EpochFigure {
    /// A row of the table of figures in the documentation: name, unit, what is good, what it is.
    pub fn row(&self) -> String {
        let good = match self.better {
            Better::Lower => "low",
            Better::Higher => "high",
            Better::Neither => "",
        };
        format!("| `{}` | {} | {good} | {} |", self.name, self.unit, self.doc)
    }
}

/// What one epoch reports: a row of `metrics.csv`. Every figure that its program knew is there, without a value where
/// it does not apply; figures that a later version added are kept as they were found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EpochMetrics {
    /// `rce` or `grpo`
    pub phase: String,
    /// 1-based.
    pub epoch: u32,
    figures: Vec<(Cow<'static, str>, Option<Finite>)>,
}

impl EpochMetrics {
    /// Those of an epoch (1-based) of `phase`: the figures of the table, without values.
    pub fn new(phase: &str, epoch: u32) -> Self {
        let figures = FIGURES.iter().map(|figure| (Cow::Borrowed(figure.name), None)).collect();
        Self { phase: phase.to_owned(), epoch, figures }
    }

    /// With a value for the figure called `name`.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<Finite>) -> Self {
        self.set(name, value);
        self
    }

    /// Gives the figure called `name` a value, or takes it away.
    pub fn set(&mut self, name: &str, value: Option<Finite>) {
        if let Some((_, slot)) = self.figures.iter_mut().find(|(known, _)| known == name) {
            *slot = value;
            return;
        }
        let known =
            FIGURES.iter().find(|figure| figure.name == name).map(|figure| Cow::Borrowed(figure.name));
        self.figures.push((known.unwrap_or_else(|| Cow::Owned(name.to_owned())), value));
    }

    /// The figure called `name`; `None` where it does not apply or was not known.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.figures.iter().find(|(known, _)| known == name).and_then(|(_, value)| value.map(Finite::get))
    }

    /// The same as a number that is one.
    pub fn finite(&self, name: &str) -> Option<Finite> {
        self.get(name).and_then(Finite::new)
    }

    /// All figures by name, also those that do not apply.
    pub fn figures(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        self.figures.iter().map(|(name, value)| (name.as_ref(), value.map(Finite::get)))
    }

    /// Those without what depends on the machine: what equal runs have equal.
    pub fn results(&self) -> impl Iterator<Item = (&str, Option<f64>)> {
        let of_machine = |name: &str| FIGURES.iter().any(|known| known.of_machine && known.name == name);
        self.figures().filter(move |(name, _)| !of_machine(name))
    }
}

/// A flat map: `phase`, `epoch`, then the figures.
impl Serialize for EpochMetrics {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.figures.len() + 2))?;
        map.serialize_entry("phase", &self.phase)?;
        map.serialize_entry("epoch", &self.epoch)?;
        for (name, value) in &self.figures {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for EpochMetrics {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> serde::de::Visitor<'de> for Fields {
            type Value = EpochMetrics;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the figures of an epoch")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<EpochMetrics, A::Error> {
                let mut metrics = EpochMetrics::default();
                while let Some(name) = map.next_key::<String>()? {
                    match name.as_str() {
                        "phase" => metrics.phase = map.next_value()?,
                        "epoch" => metrics.epoch = map.next_value()?,
                        _ => {
                            let value: serde_json::Value = map.next_value()?;
                            // What a later version adds in another form is not this one's.
                            if value.is_null() || value.is_number() {
                                let value: Option<Finite> =
                                    serde_json::from_value(value).map_err(A::Error::custom)?;
                                metrics.set(&name, value);
                            }
                        }
                    }
                }
                Ok(metrics)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_a_later_version_stays_and_one_that_is_missing_is_none() {
        let text = r#"{"phase":"rce","epoch":2,"train_loss":0.5,"kl":null,"mood":3.25,"notes":["new"]}"#;
        let metrics: EpochMetrics = serde_json::from_str(text).unwrap();
        assert_eq!(
            (metrics.get("train_loss"), metrics.get("kl"), metrics.get("beta")),
            (Some(0.5), None, None)
        );
        let again = serde_json::to_string(&metrics).unwrap();
        assert_eq!(again, r#"{"phase":"rce","epoch":2,"train_loss":0.5,"kl":null,"mood":3.25}"#);
        assert!(serde_json::from_str::<EpochMetrics>(r#"{"epoch":1,"kl":1e999}"#).is_err());
    }

    #[test]
    fn the_documentation_has_every_figure() {
        let page = include_str!("../docs/report.md");
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
