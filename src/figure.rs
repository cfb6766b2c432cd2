//! Figures that an epoch reports. Files, pages and programs that read them know figures from the experiment's one table.

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

impl EpochFigure {
    /// A figure that is in the files, and nowhere else.
    pub const fn new(name: &'static str, better: Better, doc: &'static str) -> Self {
        Self { name, unit: "", better, of_machine: false, told: None, charts: &[], doc }
    }

    /// With its place in what `why` says of a point's last epoch, and its charts.
    #[must_use]
    pub const fn told(mut self, place: u8, charts: &'static [Chart]) -> Self {
        self.told = Some(place);
        self.charts = charts;
        self
    }

    /// As one of the machine, in `unit`: equal runs may differ in it.
    #[must_use]
    pub const fn of_machine(mut self, unit: &'static str) -> Self {
        self.unit = unit;
        self.of_machine = true;
        self
    }

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

impl Chart {
    /// A chart of all phases, one after the other.
    pub const fn new(place: u8, id: &'static str, title: &'static str) -> Self {
        Self { id, title, phase: None, place, first: false }
    }
}

impl EpochMetrics {
    /// Those of an epoch (1-based) of `phase`: the figures of the experiment's table, without values.
    pub fn new(table: &'static [EpochFigure], phase: &str, epoch: u32) -> Self {
        let figures = table.iter().map(|figure| (Cow::Borrowed(figure.name), None)).collect();
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
        self.figures.push((Cow::Owned(name.to_owned()), value));
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

    /// Those without what depends on the machine by the experiment's `table`: what equal runs have equal.
    pub fn results(&self, table: &'static [EpochFigure]) -> impl Iterator<Item = (&str, Option<f64>)> {
        let of_machine = |name: &str| table.iter().any(|known| known.of_machine && known.name == name);
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
}
