//! What stands at the end of the page: what the run cost, and where its numbers come from.

use maud::{Markup, html};

use crate::report::groups::questions;
use crate::spec::columns_of;
use crate::store::{JudgeRecord, ResolvedRecord, SweepResults};
use crate::text::{date_and_minute, thousands};

/// What a run cost, as far as its records say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Training steps of the plan, and those of a run without sharing.
    pub steps: Option<u64>,
    pub steps_naive: Option<u64>,
    /// Wall time of all launches.
    pub seconds: Option<f64>,
}

/// What the run cost.
pub fn cost(results: &SweepResults, cost: Cost) -> Markup {
    let epochs: usize = results.points.iter().map(|point| point.metrics.len()).sum();
    let mut facts =
        vec![("Epochs behind the points, shared ones counted for each".to_owned(), thousands(epochs))];
    if let (Some(steps), Some(naive)) = (cost.steps, cost.steps_naive) {
        let saved = if naive > 0 { 100.0 * (1.0 - steps as f64 / naive as f64) } else { 0.0 };
        facts.push(("Training steps of the plan".to_owned(), thousands(steps as usize)));
        facts.push((
            "Training steps without sharing".to_owned(),
            format!("{} ({saved:.0} % saved)", thousands(naive as usize)),
        ));
    }
    let judge = questions(&results.points);
    let field = columns_of(&results.experiment).field;
    // What an experiment scores by itself has no judge.
    if judge.asked > 0 && results.eval.is_some() {
        let saved = 100.0 * (1.0 - judge.distinct as f64 / judge.asked as f64);
        facts.push((
            "Judge's answers, every point evaluated on its own".to_owned(),
            format!("{} (points × queries × {field}s)", thousands(judge.asked)),
        ));
        facts.push((
            "Judge's answers needed".to_owned(),
            format!("{} different (query, demonstrations) ({saved:.0} % saved)", thousands(judge.distinct)),
        ));
        match &results.judge {
            Some(judge) => facts.extend(judged(judge)),
            None => facts.push((
                "Judge calls made".to_owned(),
                "0 (all answers are in the file of `eval.logged`)".to_owned(),
            )),
        }
    }
    if let Some(seconds) = cost.seconds {
        facts.push(("Wall time of all launches".to_owned(), format!("{seconds:.1} s")));
    }
    section_of_facts("cost", "Cost", &facts)
}

/// What a judge that was asked cost, and who it is.
fn judged(judge: &JudgeRecord) -> Vec<(String, String)> {
    let rate = judge.asked as f64 / judge.seconds.get();
    let rate = if rate.is_finite() { format!(" ({rate:.1} a second)") } else { String::new() };
    let mut facts = vec![
        ("Judge calls made".to_owned(), thousands(judge.asked) + &rate),
        ("Judge".to_owned(), format!("{} {}", judge.judge, judge.identity)),
    ];
    if let Some(noise) = &judge.noise {
        let text = format!(
            "{} of {} answers and {} scores changed",
            noise.answers_changed, noise.questions, noise.scores_changed
        );
        facts.push(("Questions asked a second time".to_owned(), text));
    }
    facts.extend(judge.faults.iter().map(|fault| ("Judge's errors".to_owned(), fault.clone())));
    facts
}

/// Where the numbers come from.
pub fn provenance(resolved: &ResolvedRecord) -> Markup {
    let mut facts = vec![("sweep version".to_owned(), resolved.version.clone())];
    facts.extend(resolved.inputs.iter().map(|(key, hash)| (format!("{key} (blake3)"), hash.clone())));
    // Who held the directory matters only while a run goes on.
    let known = resolved.provenance.iter().filter(|(key, _)| *key != "holder");
    facts.extend(known.map(|(key, value)| match value.parse() {
        Ok(seconds) if key == "started" => (key.clone(), utc(seconds)),
        _ => (key.clone(), value.clone()),
    }));
    html! {
        (section_of_facts("provenance", "Provenance", &facts))
        @if let Some(point) = resolved.points.first() {
            details {
                summary { "Configuration of the first point, every default filled in" }
                pre { (serde_json::to_string_pretty(&point.config).unwrap_or_default()) }
            } "\n"
        }
    }
}

fn section_of_facts(id: &str, title: &str, facts: &[(String, String)]) -> Markup {
    html! {
        section id=(id) { h2 { (title) } "\n"
            dl { "\n"
                @for (key, value) in facts { dt { (key) } dd { (value) } "\n" }
            }
        } "\n"
    }
}

/// Seconds since 1970 as `2026-01-31 23:59:59 UTC`.
fn utc(unix: u64) -> String {
    let (minute, seconds) = date_and_minute(unix);
    format!("{minute}:{seconds:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_244_316), "2026-11-21 06:58:36 UTC");
    }
}
