//! What a judge is asked, told from what is on disk: before a run, and afterwards.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::options::{CACHE, RunOptions};
use super::session::Session;
use super::stored::stored_session;
use crate::experiment::Asked;
use crate::judge::{Id, Judge, Question};
use crate::spec::Config;
use crate::store::{PointResult, SweepDir, SweepResults, read_judge, read_resolved};

/// What a run will ask a judge, as far as it is known before training.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct QuestionForecast {
    /// What evaluating every point on its own asks.
    pub naive: usize,
    /// Of points that have made their choices; of those questions the distinct ones, the answered ones and the rest.
    pub known: usize,
    pub distinct: usize,
    pub cached: usize,
    pub to_ask: usize,
    /// Questions to ask if all others are distinct.
    pub at_most: usize,
    /// Time for `at_most` at the rate of earlier runs.
    pub seconds: Option<f64>,
}

/// What a run of `session` will ask; `None` where no judge is asked. Writes nothing and asks nobody.
pub fn questions(session: &Session, options: &RunOptions) -> Option<QuestionForecast> {
    let live = session.asked()?;
    let judge = live.judge(&options.cache(), None).ok()?;
    let dir = SweepDir::new(&options.root, &session.spec.name);
    let points = SweepResults::read(dir.path()).map(|results| results.points).unwrap_or_default();
    let wanted: HashMap<&str, &Config> =
        session.spec.points.iter().map(|point| (point.name.as_str(), &point.config)).collect();
    let same = |point: &&PointResult| {
        wanted.get(point.name.as_str()).is_some_and(|config| config.same_but_paths(&point.config))
    };
    let points: Vec<&PointResult> = points.iter().filter(same).collect();
    let asked = questions_of(&judge, live, points);
    let distinct: HashSet<Id> = asked.iter().map(|(id, _)| *id).collect();
    let cached = distinct.iter().filter(|id| judge.cache().contains(**id)).count();
    let naive = session.spec.points.len() * live.questions_per_point();
    let (known, distinct) = (asked.len(), distinct.len());
    let at_most = naive.saturating_sub(known) + distinct - cached;
    let name = judge.id().to_string();
    let before = read_judge(dir.path()).filter(|before| before.judge == name && before.asked > 0);
    let seconds = before.map(|before| before.seconds.get() / before.asked as f64 * at_most as f64);
    Some(QuestionForecast { naive, known, distinct, cached, to_ask: distinct - cached, at_most, seconds })
}

/// The sweep of the results in `dir` with its judge, where one was asked and its inputs are still there.
pub fn judge_of(dir: &Path) -> Option<(Session, Judge)> {
    let mut resolved = read_resolved(dir).ok()?;
    resolved.eval.as_ref().filter(|eval| eval.is_live())?;
    let cache = resolved.provenance.get(CACHE).map(PathBuf::from)?;
    resolved.points.truncate(1);
    let session = stored_session(dir, resolved).ok()?;
    let judge = session.asked()?.judge(&cache, None).ok()?;
    Some((session, judge))
}

/// The questions behind the scores of `points`, one for each.
pub(super) fn questions_of<'a>(
    judge: &Judge,
    live: &dyn Asked,
    points: impl IntoIterator<Item = &'a PointResult>,
) -> Vec<(Id, Question)> {
    let mut ids: HashMap<Question, Option<Id>> = HashMap::new();
    let mut asked = Vec::new();
    for point in points {
        let scored = point.scores.values().flatten().map(|line| (line.query_id, &line.selection));
        let unanswered = point.unanswered.iter().map(|line| (line.query_id, &line.selection));
        for (query_id, selection) in scored.chain(unanswered) {
            let Some(question) = live.question(query_id, selection) else { continue };
            let id = ids.entry(question.clone()).or_insert_with(|| judge.question(&question).ok());
            asked.extend(id.map(|id| (id, question)));
        }
    }
    asked
}
