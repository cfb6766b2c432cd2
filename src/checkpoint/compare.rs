//! How far two sets of weights are apart: SPEC "Parameter comparison", summed in f64.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};

use super::{CheckpointError, Weights};
use crate::spec::{self, Group, group_of};

/// The difference of one parameter, of a group, or of all.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Number of values.
    pub count: usize,
    pub mean_before: f64,
    pub mean_after: f64,
    /// Mean |after - before|.
    pub mean_abs: f64,
    /// Max |after - before|; NaN if any difference is.
    pub max_abs: f64,
    /// ||after - before||2 / ||before||2; 0 where nothing changed, infinite where something left zero.
    pub relative: f64,
}

/// The differences between two checkpoints of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    pub parameters: BTreeMap<String, Change>,
    /// Groups that the checkpoints have parameters of.
    #[serde(serialize_with = "by_name")]
    pub groups: Vec<(&'static Group, Change)>,
    /// The three projections together.
    pub backbone: Option<Change>,
    /// Attention and norms together.
    pub head: Option<Change>,
    pub all: Change,
}

/// As an object, in the order of the model.
fn by_name<S: Serializer>(groups: &[(&Group, Change)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(groups.iter().map(|(group, change)| (group.name, change)))
}

impl Comparison {
    /// Relative change by group name, and under `backbone`, `head` and `all`.
    pub fn movement(&self) -> BTreeMap<String, f64> {
        let groups = self.groups.iter().map(|(group, change)| (group.name, Some(change)));
        groups
            .chain([
                ("backbone", self.backbone.as_ref()),
                ("head", self.head.as_ref()),
                ("all", Some(&self.all)),
            ])
            .filter_map(|(name, change)| Some((name.to_string(), change?.relative)))
            .collect()
    }

    /// Relative change of one group; `None` if the model has no such parameter.
    pub fn relative(&self, group: &str) -> Option<f64> {
        self.groups.iter().find(|(own, _)| own.name == group).map(|(_, change)| change.relative)
    }

    /// Relative change over all parameters.
    pub fn relative_all(&self) -> f64 {
        self.all.relative
    }
}

/// Compares checkpoints parameter by parameter.
///
/// # Errors
/// [`CheckpointError::Incomparable`] when names or shapes differ: these are not checkpoints of one model.
pub fn compare(before: &Weights, after: &Weights) -> Result<Comparison, CheckpointError> {
    same_model(before, after)?;
    let mut all = Sums::default();
    let (mut backbone, mut head) = (Sums::default(), Sums::default());
    let mut groups: Vec<(&'static Group, Sums)> =
        spec::groups().map(|group| (group, Sums::default())).collect();
    let mut parameters = BTreeMap::new();
    for ((name, old), new) in before.iter().zip(after.values()) {
        let sums = Sums::of(&old.values, &new.values);
        parameters.insert(name.clone(), sums.change());
        all.add(&sums);
        if let Some(group) = group_of(name) {
            let own = groups.iter_mut().find(|(own, _)| *own == group);
            own.into_iter().for_each(|(_, own)| own.add(&sums));
            if group.is_backbone { backbone.add(&sums) } else { head.add(&sums) }
        }
    }
    Ok(Comparison {
        parameters,
        groups: (groups.into_iter().filter(|(_, sums)| sums.count > 0))
            .map(|(group, sums)| (group, sums.change()))
            .collect(),
        backbone: (backbone.count > 0).then(|| backbone.change()),
        head: (head.count > 0).then(|| head.change()),
        all: all.change(),
    })
}

fn same_model(before: &Weights, after: &Weights) -> Result<(), CheckpointError> {
    let lacking = |from: &Weights, other: &Weights, which: &str| match from
        .keys()
        .find(|name| !other.contains_key(*name))
    {
        Some(name) => {
            Err(CheckpointError::Incomparable(format!("only the {which} has the parameter `{name}`")))
        }
        None => Ok(()),
    };
    lacking(before, after, "first")?;
    lacking(after, before, "second")?;
    for (name, old) in before {
        let new = &after[name];
        if old.shape != new.shape {
            return Err(CheckpointError::Incomparable(format!(
                "`{name}` has the shape {:?} in the first and {:?} in the second",
                old.shape, new.shape
            )));
        }
    }
    Ok(())
}

/// What [`Change`] is computed from; sums of parts are the sums of the whole.
#[derive(Clone, Copy, Default)]
struct Sums {
    count: usize,
    before: f64,
    after: f64,
    abs: f64,
    max: f64,
    square: f64,
    before_square: f64,
}

impl Sums {
    fn of(before: &[f32], after: &[f32]) -> Self {
        let mut sums = Self { count: before.len(), ..Self::default() };
        for (&old, &new) in before.iter().zip(after) {
            let (old, new) = (f64::from(old), f64::from(new));
            let difference = (new - old).abs();
            sums.before += old;
            sums.after += new;
            sums.abs += difference;
            sums.max = larger(sums.max, difference);
            sums.square += difference * difference;
            sums.before_square += old * old;
        }
        sums
    }

    fn add(&mut self, other: &Self) {
        self.count += other.count;
        self.before += other.before;
        self.after += other.after;
        self.abs += other.abs;
        self.max = larger(self.max, other.max);
        self.square += other.square;
        self.before_square += other.before_square;
    }

    fn change(&self) -> Change {
        let mean = |sum: f64| if self.count == 0 { 0.0 } else { sum / self.count as f64 };
        let relative = if self.square == 0.0 { 0.0 } else { (self.square / self.before_square).sqrt() };
        Change {
            count: self.count,
            mean_before: mean(self.before),
            mean_after: mean(self.after),
            mean_abs: mean(self.abs),
            max_abs: self.max,
            relative,
        }
    }
}

/// The larger one; NaN if either is (`f64::max` would hide it).
fn larger(left: f64, right: f64) -> f64 {
    if right > left || right.is_nan() { right } else { left }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::Array;

    fn weights(entries: &[(&str, &[f32])]) -> Weights {
        let array = |values: &[f32]| Array { shape: vec![values.len()], values: values.to_vec() };
        entries.iter().map(|(name, values)| ((*name).to_string(), array(values))).collect()
    }

    #[test]
    fn figures_by_hand() {
        let before = weights(&[("attn_norms.0.bias", &[0.0, 0.0]), ("query_proj.weight", &[3.0, 4.0])]);
        let after = weights(&[("attn_norms.0.bias", &[0.0, 0.0]), ("query_proj.weight", &[3.0, 4.5])]);
        let comparison = compare(&before, &after).unwrap();
        let change = comparison.parameters["query_proj.weight"];
        assert_eq!((change.mean_before, change.mean_after), (3.5, 3.75));
        assert_eq!((change.mean_abs, change.max_abs, change.relative), (0.25, 0.5, 0.1));
        assert_eq!((comparison.all.count, comparison.all.mean_abs, comparison.all.relative), (4, 0.125, 0.1));
        assert_eq!(comparison.head.unwrap().relative, 0.0);
        let movement = comparison.movement();
        assert_eq!(
            movement.keys().collect::<Vec<_>>(),
            ["all", "attn_norms", "backbone", "head", "query_proj"]
        );
        assert_eq!(movement["backbone"], 0.1);
    }

    #[test]
    fn leaving_zero_is_infinite_and_nan_is_not_hidden() {
        let zero = weights(&[("w", &[0.0, 0.0, 0.0])]);
        assert_eq!(compare(&zero, &weights(&[("w", &[0.0, 1.0, 0.0])])).unwrap().all.relative, f64::INFINITY);
        let change = compare(&zero, &weights(&[("w", &[0.0, f32::NAN, 1.0])])).unwrap().all;
        assert!(change.max_abs.is_nan() && change.relative.is_nan());
    }

    #[test]
    fn other_models_are_named() {
        let one = weights(&[("a", &[1.0])]);
        for (other, expected) in [
            (weights(&[("b", &[1.0])]), "only the first has the parameter `a`"),
            (weights(&[("a", &[1.0]), ("b", &[1.0])]), "only the second has the parameter `b`"),
            (weights(&[("a", &[1.0, 2.0])]), "`a` has the shape [1] in the first and [2] in the second"),
        ] {
            let error = compare(&one, &other).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
