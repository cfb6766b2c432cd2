//! Points that choose exactly the same demonstrations, and how far the others are from the baseline.

use std::collections::{HashMap, HashSet};

use crate::store::PointResult;

/// `A`, `B`, ... `Z`, `AA`, ... in the order of `members`, for every value that occurs at least twice.
pub fn letters<K: std::hash::Hash + Eq>(members: &[Option<K>]) -> Vec<Option<String>> {
    let mut counts: HashMap<&K, usize> = HashMap::new();
    for key in members.iter().flatten() {
        *counts.entry(key).or_default() += 1;
    }
    let mut given: HashMap<&K, String> = HashMap::new();
    members
        .iter()
        .map(|key| {
            let key = key.as_ref().filter(|key| counts[key] > 1)?;
            let next = given.len();
            Some(given.entry(key).or_insert_with(|| letter(next)).clone())
        })
        .collect()
}

/// Spreadsheet-style name of group `index`.
fn letter(index: usize) -> String {
    let last = char::from(b'A' + (index % 26) as u8).to_string();
    if index < 26 { last } else { letter(index / 26 - 1) + &last }
}

/// Identity of everything a point chose: a hash over (column, query, selection). `None` without selections.
pub fn fingerprint(point: &PointResult) -> Option<[u8; 32]> {
    if point.scores.values().all(Vec::is_empty) {
        return None;
    }
    let mut hasher = blake3::Hasher::new();
    for (column, lines) in &point.scores {
        hasher.update(&(*column as u64).to_le_bytes());
        hasher.update(&(lines.len() as u64).to_le_bytes());
        for line in lines {
            hasher.update(&line.query_id.to_le_bytes());
            hasher.update(&(line.selection.len() as u64).to_le_bytes());
            for id in &line.selection {
                hasher.update(&id.to_le_bytes());
            }
        }
    }
    Some(*hasher.finalize().as_bytes())
}

/// Questions to a judge: one per (query, demonstrations in order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Questions {
    /// What evaluating every point on its own asks.
    pub asked: usize,
    /// Those that differ from each other.
    pub distinct: usize,
}

/// The questions behind the scores of `points`.
pub fn questions(points: &[PointResult]) -> Questions {
    let lines = || points.iter().flat_map(|point| point.scores.values().flatten());
    let distinct: HashSet<(u64, &[u32])> =
        lines().map(|line| (line.query_id, line.selection.as_slice())).collect();
    Questions { asked: lines().count(), distinct: distinct.len() }
}

/// Share of (query, column) pairs for which the two points chose differently; `None` when they share none.
pub fn changed_share(left: &PointResult, right: &PointResult) -> Option<f64> {
    let (mut shared, mut changed) = (0_usize, 0_usize);
    for (column, lines) in &left.scores {
        let Some(others) = right.scores.get(column) else { continue };
        let in_step = lines.len() == others.len()
            && lines.iter().zip(others).all(|(line, other)| line.query_id == other.query_id);
        let by_id: HashMap<u64, &[u32]> = if in_step {
            HashMap::new()
        } else {
            others.iter().map(|other| (other.query_id, other.selection.as_slice())).collect()
        };
        for (position, line) in lines.iter().enumerate() {
            let other = if in_step {
                Some(others[position].selection.as_slice())
            } else {
                by_id.get(&line.query_id).copied()
            };
            if let Some(other) = other {
                shared += 1;
                changed += usize::from(line.selection != other);
            }
        }
    }
    (shared > 0).then(|| changed as f64 / shared as f64)
}
