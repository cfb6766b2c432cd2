//! The bytes of what is made: trajectory JSON, one query a line, and the logged evaluation file.

use serde_json::{Map, Value, json};

use crate::judge::Items;

use super::plan::{Group, beginnings};
use super::sequences::Sequence;
use super::shape::{Scored, Scorer, Scores};

/// A number with six digits: more would say nothing and double the file.
pub fn short(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}

/// `groups` as trajectory JSON with `meta`.
pub fn trajectories(meta: &Value, groups: &[Scored], items: &Items) -> Vec<u8> {
    let mut text = format!("{{\"_meta\": {meta}");
    for scored in groups {
        let Scored { group, sequences } = scored;
        let item = items.get(group.query);
        let mut query = json!({ "query_id": group.query });
        if let Some(item) = item {
            query["question"] = json!(item.question);
            query["answers"] = json!(item.answers);
        }
        let found: Vec<Value> =
            sequences.iter().map(|(sequence, scores)| trajectory(group, sequence, scores.as_ref())).collect();
        let entry = json!({ "query": query, "candidate_pool_ids": group.pool, "pointer_candidates": found });
        text += &format!(",\n\"{}\": {entry}", group.query);
    }
    text += "}\n";
    text.into_bytes()
}

fn trajectory(group: &Group, sequence: &Sequence, scores: Option<&Scores>) -> Value {
    let global: Vec<u32> = sequence.pointer.iter().map(|id| group.pool[*id as usize]).collect();
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
    put("pointer", json!(sequence.pointer));
    put("pointer_global", json!(global));
    put("gen_method", json!(sequence.method.gen_method()));
    // With a policy both are its own; without one the similarity stands for the quality.
    let per_step = sequence.log_prob.map(|sum| sum / sequence.pointer.len().max(1) as f64);
    put("beam_score", json!(short(per_step.unwrap_or(sequence.similarity))));
    if let Some(sum) = sequence.log_prob {
        put("logprob_score", json!(short(sum)));
        put("source", json!(sequence.method));
    }
    if let Some(scores) = scores {
        verdict(scores, &mut put);
        if let Some(relevance) = scores.relevance {
            put("vqa_rel_score", json!(short(relevance)));
        }
    }
    put("vqa_eval_mode", json!(if scores.is_some() { "vqa" } else { "error" }));
    put("eval_failed", json!(scores.is_none()));
    if let Some(scores) = scores {
        put("prediction", json!(scores.text));
    }
    Value::Object(fields)
}

fn verdict(scores: &Scores, put: &mut dyn FnMut(&str, Value)) {
    put("vqa_correct", json!(u8::from(scores.correct)));
    put("vqa_acc_score", json!(short(scores.accuracy)));
    if let Some(probability) = scores.probability {
        put("vqa_gt_prob", json!(short(probability)));
    }
}

/// The logged evaluation file of `groups`: a line for each query and shot count. A query with a count that nothing is
/// known about is left out whole, and counted.
pub fn evaluation(groups: &[Group], shots: &[usize], scorer: &Scorer) -> (Vec<u8>, usize) {
    let (mut text, mut lost) = (String::new(), 0);
    for group in groups {
        let mut lines = Vec::new();
        for &shot in shots {
            let logged = |sequence: &&Sequence| -> Option<Value> {
                let scores = scorer.scores(group, sequence, shot)?;
                let mut fields = Map::new();
                let mut put = |name: &str, value: Value| drop(fields.insert(name.to_owned(), value));
                put("pointer", json!(sequence.pointer[..shot]));
                put("gen_method", json!(sequence.method.gen_method()));
                verdict(&scores, &mut put);
                Some(Value::Object(fields))
            };
            let found: Vec<Value> = beginnings(group, shot).iter().filter_map(logged).collect();
            if !found.is_empty() {
                lines.push(json!({ "query_id": group.query, "candidate_pool_ids": group.pool, "shot": shot, "trajectories": found }));
            }
        }
        if lines.len() < shots.len() {
            lost += 1;
            continue;
        }
        for line in lines {
            text += &line.to_string();
            text.push('\n');
        }
    }
    (text.into_bytes(), lost)
}
