//! What a run says about a directory that already has results.

use std::collections::BTreeSet;

use super::session::Session;
use crate::spec::{EvalParams, Point, SweepSpec};
use crate::store::ResolvedRecord;

/// What is new, what is kept and what is no longer part of the grid; empty when nothing has changed.
///
/// Parameters that vary name the point; one that was changed in `[train]` and the like leaves the name and
/// changes the configuration, and the point is then trained again under its old name.
pub fn compared(old: &ResolvedRecord, session: &Session) -> Vec<String> {
    let mut lines = grid_changes(old, &session.spec);
    let differs = |key: &str| old.inputs.get(key) != session.inputs().get(key);
    if differs("data") {
        lines.push(
            "the training data has changed since the last run: every point is trained again".to_owned(),
        );
    }
    let eval = |eval: &Option<EvalParams>| {
        eval.as_ref().map(|e| {
            let (endpoint, command) = (e.endpoint.clone(), e.command.clone());
            // How hard and where a judge is asked changes no answer.
            let endpoint = endpoint.map(|endpoint| (endpoint.model, endpoint.query, endpoint.demonstration));
            (e.shots.clone(), e.samples.clone(), e.score, endpoint, command.map(|command| command.program))
        })
    };
    if differs("eval.logged")
        || differs("eval.queries")
        || differs("eval.items")
        || eval(&old.eval) != eval(&session.spec.eval)
    {
        lines
            .push("the evaluation has changed since the last run: every point is evaluated again".to_owned());
    }
    lines
}

fn grid_changes(old: &ResolvedRecord, new: &SweepSpec) -> Vec<String> {
    let find = |points: &[Point], name: &str| points.iter().position(|point| point.name == name);
    let mut fresh = Vec::new();
    let mut changed = Vec::new();
    let mut kept = 0;
    for point in &new.points {
        match find(&old.points, &point.name) {
            None => fresh.push(point.name.as_str()),
            Some(at) if !point.config.same_but_paths(&old.points[at].config) => {
                changed.push(point.name.as_str())
            }
            Some(_) => kept += 1,
        }
    }
    let names: BTreeSet<&str> = new.points.iter().map(|point| point.name.as_str()).collect();
    let gone: Vec<&str> =
        old.points.iter().map(|point| point.name.as_str()).filter(|name| !names.contains(name)).collect();
    if fresh.is_empty() && changed.is_empty() && gone.is_empty() {
        return Vec::new();
    }
    let mut lines = vec![format!("the sweep has changed since the last run: {kept} points stay as they are")];
    if !fresh.is_empty() {
        lines.push(format!("new ({}): {}", fresh.len(), some_of(&fresh)));
    }
    if !changed.is_empty() {
        lines.push(format!(
            "changed under the same name, made again ({}): {} (`--fresh` would keep both)",
            changed.len(),
            some_of(&changed)
        ));
    }
    if !gone.is_empty() {
        lines.push(format!(
            "no longer part of the grid ({}): {} (their results stay in `points/`)",
            gone.len(),
            some_of(&gone)
        ));
    }
    lines
}

/// The first names of a list.
fn some_of(names: &[&str]) -> String {
    const SHOWN: usize = 4;
    match names.len().checked_sub(SHOWN) {
        Some(more) if more > 0 => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}
