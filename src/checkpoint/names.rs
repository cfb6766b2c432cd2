//! Parameter names as wrappers and other programs write them -> ours.
//!
//! `torch.compile`, DataParallel, Lightning and a model's own attributes put words before a name
//! (`module._orig_mod.query_proj.weight`), some of them also inside. What precedes our names is taken off; which
//! words, nobody has to know.

use std::collections::{BTreeMap, BTreeSet};

use super::error::Flaw;
use crate::spec::{files, group_of};

/// Names of layer 0 in the v2 format and here.
pub(super) const V2_LAYER: [(&str, &str); 2] =
    [("cross_attn.", "cross_attn_layers.0."), ("attn_norm.", "attn_norms.0.")];

/// Words that wrappers of single modules put anywhere into a name.
const INSERTED: [&str; 3] = ["_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"];

/// Names of one model.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Names {
    /// Ours by theirs; names of other models in the file are left out.
    pub(super) ours: BTreeMap<String, String>,
    /// What was taken off, for people; `None` = nothing.
    pub(super) taken_off: Option<String>,
}

/// Finds an experiment's model among the names of a file: what follows the longest prefix that all its parameters share.
/// Names stay as they are where none of them is such a model's.
///
/// # Errors
/// Several such models in one file, and two names that become one.
pub(super) fn ours<'a>(theirs: impl Iterator<Item = &'a str> + Clone) -> Result<Names, Flaw> {
    let plain: Vec<(&str, String)> = theirs.map(|name| (name, without_inserted(name))).collect();
    let prefix = prefix_of(&plain)?;
    let mut names = Names::default();
    let (mut taken, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for (theirs, plain) in &plain {
        let Some(rest) = plain.strip_prefix(prefix.as_str()) else { continue };
        let ours = our_name(rest);
        if !seen.insert(ours.clone()) {
            return Err(Flaw::damaged(format!("it holds `{ours}` twice")));
        }
        if *theirs != rest {
            // A word inside the name is told alone, one before it with all that precedes it.
            taken.insert(theirs.strip_suffix(rest).map_or_else(|| inserted_in(theirs), str::to_string));
        }
        names.ours.insert((*theirs).to_string(), ours);
    }
    if !taken.is_empty() {
        names.taken_off = Some(taken.iter().take(4).cloned().collect::<Vec<_>>().join(", "));
    }
    Ok(names)
}

/// What precedes the model's names.
fn prefix_of(plain: &[(&str, String)]) -> Result<String, Flaw> {
    // Per prefix, which of the parameters that every such model has follow it.
    let mut found: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, name) in plain {
        let Some(at) = start_of_ours(name) else { continue };
        found.entry(&name[..at]).or_default().insert(&name[at..]);
    }
    let whole: Vec<&str> = found.iter().filter(|(_, has)| is_whole(has)).map(|(at, _)| *at).collect();
    match (whole.as_slice(), found.len()) {
        ([one], _) => Ok((*one).to_string()),
        ([], 1) => Ok(found.keys().copied().collect()),
        // Sorted: names without a prefix come first, and are what is meant.
        ([first, second, ..], _) if !first.is_empty() => Err(Flaw::foreign(
            format!("it holds several models, under `{first}` and `{second}`"),
            "save the state dict of the one that is meant",
        )),
        _ => Ok(String::new()),
    }
}

/// Whether `names` are all that every model of some experiment has.
fn is_whole(names: &BTreeSet<&str>) -> bool {
    files().any(|files| !files.always.is_empty() && files.always.iter().all(|name| names.contains(name)))
}

/// Where the part of `name` begins that is one of our names.
fn start_of_ours(name: &str) -> Option<usize> {
    let starts = std::iter::once(0).chain(name.match_indices('.').map(|(at, _)| at + 1));
    starts.into_iter().find(|at| group_of(&our_name(&name[*at..])).is_some())
}

fn without_inserted(name: &str) -> String {
    name.split('.').filter(|word| !INSERTED.contains(word)).collect::<Vec<_>>().join(".")
}

fn inserted_in(name: &str) -> String {
    let words = name.split('.').filter(|word| INSERTED.contains(word));
    words.map(|word| format!("{word}.")).collect()
}

/// The v2 format's name for a parameter -> ours.
fn our_name(name: &str) -> String {
    for (theirs, ours) in V2_LAYER {
        if let Some(rest) = name.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    name.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our names in the order of theirs, and what was taken off.
    fn of(theirs: &[&str]) -> (Vec<String>, Option<String>) {
        let names = ours(theirs.iter().copied()).unwrap();
        (theirs.iter().filter_map(|name| names.ours.get(*name).cloned()).collect(), names.taken_off)
    }

    const OURS: [&str; 3] = ["query_proj.weight", "cand_proj.weight", "cross_attn_layers.0.in_proj_bias"];

    #[test]
    fn every_nesting_of_wrappers_leaves_our_names() {
        let words = ["_orig_mod.", "module.", "model.", "lever_lm.pointer_selector."];
        let mut prefixes = vec![String::new()];
        for depth in 0..3 {
            let longer: Vec<String> = prefixes
                .iter()
                .filter(|prefix| prefix.matches('.').count() >= depth)
                .flat_map(|prefix| words.map(|word| format!("{prefix}{word}")))
                .collect();
            prefixes.extend(longer);
        }
        for prefix in &prefixes {
            let theirs = OURS.map(|name| format!("{prefix}{name}"));
            let (names, taken) = of(&theirs.each_ref().map(String::as_str));
            assert_eq!(names, OURS, "{prefix}");
            assert_eq!(taken.unwrap_or_default(), *prefix);
        }
        assert!(prefixes.len() > 80);
    }

    #[test]
    fn wrapped_modules_and_other_models_are_told_apart() {
        let (names, taken) = of(&[
            "query_proj._orig_mod.weight",
            "cand_proj.weight",
            "cross_attn_layers.0._fsdp_wrapped_module.in_proj_bias",
        ]);
        assert_eq!(names, OURS);
        assert_eq!(taken.as_deref(), Some("_fsdp_wrapped_module., _orig_mod."));
        let (names, taken) = of(&[
            "lever_lm.clip.query_proj.weight",
            "lever_lm.pointer_selector.query_proj.weight",
            "lever_lm.pointer_selector.cand_proj.weight",
            "lever_lm.pointer_selector.cross_attn.in_proj_bias",
            "lever_lm.clip.visual.weight",
        ]);
        assert_eq!(names, OURS);
        assert_eq!(taken.as_deref(), Some("lever_lm.pointer_selector."));
        assert_eq!(of(&["w", "b.c"]), (vec!["w".into(), "b.c".into()], None));
        assert_eq!(of(&["attn_norms.0.weight", "b.c"]).0, ["attn_norms.0.weight", "b.c"]);
    }

    #[test]
    fn two_selectors_and_two_equal_names_are_refused() {
        let two = ["a.query_proj.weight", "a.cand_proj.weight", "b.query_proj.weight", "b.cand_proj.weight"];
        let flaw = format!("{:?}", ours(two.into_iter()).unwrap_err());
        assert!(flaw.contains("several models, under `a.` and `b.`"), "{flaw}");
        let same = ["cross_attn.in_proj_bias", "cross_attn_layers.0.in_proj_bias"];
        assert!(format!("{:?}", ours(same.into_iter()).unwrap_err()).contains("twice"));
    }
}
