//! The parameter groups of a model that can be frozen, and sets of them.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::spec::Group;

/// A group of parameters that can be frozen on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ParamGroup {
    InputProj,
    QueryProj,
    CandProj,
    CrossAttn,
    AttnNorms,
}

impl ParamGroup {
    /// All groups, in the order of the model.
    pub const ALL: [ParamGroup; 5] =
        [Self::InputProj, Self::QueryProj, Self::CandProj, Self::CrossAttn, Self::AttnNorms];

    /// The name used in sweep files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::InputProj => "input_proj",
            Self::QueryProj => "query_proj",
            Self::CandProj => "cand_proj",
            Self::CrossAttn => "cross_attn",
            Self::AttnNorms => "attn_norms",
        }
    }

    /// Whether the group belongs to the "backbone" (the three projections); the rest is the "head".
    pub const fn is_backbone(self) -> bool {
        matches!(self, Self::InputProj | Self::QueryProj | Self::CandProj)
    }

    /// The first part of the names of its parameters, up to the dot.
    pub const fn parameter_prefix(self) -> &'static str {
        match self {
            Self::InputProj => "input_proj",
            Self::QueryProj => "query_proj",
            Self::CandProj => "cand_proj",
            Self::CrossAttn => "cross_attn_layers",
            Self::AttnNorms => "attn_norms",
        }
    }

    /// What the core knows of it.
    pub const fn told(self) -> Group {
        Group { name: self.name(), prefix: self.parameter_prefix(), is_backbone: self.is_backbone() }
    }

    /// The group that the parameter `name` (as in checkpoints) belongs to, if it is one of the model's.
    pub fn of_parameter(name: &str) -> Option<ParamGroup> {
        let first = name.split('.').next()?;
        Self::ALL.into_iter().find(|group| group.parameter_prefix() == first)
    }
}

/// The set of frozen groups. Aliases ("backbone", "head") are resolved before it is built, so equal sets
/// are equal values however they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FreezeSet(pub BTreeSet<ParamGroup>);

impl FreezeSet {
    /// Whether `group` is frozen.
    pub fn contains(&self, group: ParamGroup) -> bool {
        self.0.contains(&group)
    }

    /// Whether nothing is frozen.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `none`, `backbone`, `head`, or the groups joined by `+`: for people and for file names.
impl fmt::Display for FreezeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (backbone, head): (Vec<ParamGroup>, Vec<ParamGroup>) =
            self.0.iter().copied().partition(|group| group.is_backbone());
        let mut parts = Vec::new();
        match backbone.len() {
            3 => parts.push("backbone"),
            _ => parts.extend(backbone.iter().map(|group| group.name())),
        }
        match head.len() {
            2 => parts.push("head"),
            _ => parts.extend(head.iter().map(|group| group.name())),
        }
        if parts.is_empty() {
            parts.push("none");
        }
        f.write_str(&parts.join("+"))
    }
}
