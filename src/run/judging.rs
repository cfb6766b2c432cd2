//! The questions of all points that have finished training, asked together while others train.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::log::unix_time;
use super::options::RunOptions;
use super::questions::questions_of;
use crate::event::{AskerNote, Asking, Event};
use crate::experiment::{Asked, Unit};
use crate::figure::EpochMetrics;
use crate::finite::Finite;
use crate::judge::{Answer, Asker, Fault, Id, Judge, Pace, Question, Reply, ask_again};
use crate::record::{JudgeNoise, JudgeRecord};
use crate::store::{LoggedEvent, PointRecord, SweepDir, SweepResults, asked, read_judge};

/// How often it is said how the asking goes.
const SAY: Duration = Duration::from_secs(2);

/// A point that waits for answers.
pub struct Waiting {
    /// Of the point.
    pub index: usize,
    pub record: PointRecord,
    pub units: Vec<Unit>,
    pub metrics: Vec<EpochMetrics>,
}

/// The judge of a run, and who waits for it.
pub struct Judging {
    judge: Arc<Judge>,
    asker: Asker,
    /// By point, with the number of answers that are still out.
    waiting: BTreeMap<usize, (Waiting, usize)>,
    /// The points that wait for an answer.
    wanted: HashMap<Id, Vec<usize>>,
    /// Every question so far by what it asks, and what has come back.
    questions: HashMap<Question, Result<Id, Fault>>,
    known: HashMap<Id, Result<Answer, Fault>>,
    naive: usize,
    cached: usize,
    asked: usize,
    failed: usize,
    /// Questions that could not be put, with the first of them in words.
    impossible: Option<String>,
    said: Instant,
    before: Option<JudgeRecord>,
    /// This process, and how many ask at once.
    process: String,
    crew: usize,
}

impl Judging {
    /// Opens the cache and starts threads that wait for questions; `crew` processes do so.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub fn open(
        live: &dyn Asked,
        options: &RunOptions,
        dir: &SweepDir,
        crew: usize,
    ) -> std::io::Result<Self> {
        let judge = Arc::new(live.judge(&options.cache(), Some(&dir.judge_log()))?);
        let pace = live.pace();
        let pace = Pace { concurrency: (pace.concurrency / crew.max(1)).max(1), ..pace };
        Ok(Self {
            asker: Asker::start(Arc::clone(&judge), pace),
            judge,
            waiting: BTreeMap::new(),
            wanted: HashMap::new(),
            questions: HashMap::new(),
            known: HashMap::new(),
            naive: 0,
            cached: 0,
            asked: 0,
            failed: 0,
            impossible: None,
            said: Instant::now(),
            before: read_judge(dir.path()),
            process: format!("{}@{:.3}", std::process::id(), unix_time()),
            crew: crew.max(1),
        })
    }

    /// A short name of who answers.
    pub fn name(&self) -> String {
        self.judge.id().to_string()
    }

    /// Whether somebody waits.
    pub fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Takes the questions of several points at once: those that have been answered are, the others are asked once.
    pub fn add(&mut self, points: Vec<Waiting>, log: &mut dyn FnMut(&Event)) {
        if points.is_empty() {
            return;
        }
        // What other processes have found out since.
        let _ = self.judge.cache().refresh();
        let mut to_ask = Vec::new();
        for point in points {
            self.naive += point.units.len();
            let mut open = HashSet::new();
            for unit in &point.units {
                open.extend(self.meet(&unit.question));
            }
            for id in &open {
                let wanted = self.wanted.entry(*id).or_default();
                wanted.push(point.index);
                if wanted.len() == 1 {
                    to_ask.push(*id);
                }
            }
            self.waiting.insert(point.index, (point, open.len()));
        }
        self.say(log);
        let to_ask: HashSet<Id> = to_ask.into_iter().collect();
        let mut asked = HashMap::new();
        for (question, id) in &self.questions {
            if let Ok(id) = id
                && to_ask.contains(id)
            {
                asked.insert(*id, question.clone());
            }
        }
        self.asker.ask(asked);
    }

    /// The identity of a question that has no answer yet; one that was answered before is answered at once.
    fn meet(&mut self, question: &Question) -> Option<Id> {
        let id = match self.questions.get(question) {
            Some(known) => known.clone(),
            None => {
                let id = self.judge.question(question);
                self.questions.insert(question.clone(), id.clone());
                match &id {
                    Ok(id) if self.known.contains_key(id) => {}
                    Ok(id) => {
                        if let Some(answer) = self.judge.known(*id) {
                            self.cached += 1;
                            self.known.insert(*id, Ok(answer));
                        }
                    }
                    Err(fault) => {
                        self.failed += 1;
                        let text = || format!("query {}: {fault}", question.query_id);
                        self.impossible.get_or_insert_with(text);
                    }
                }
                id
            }
        };
        id.ok().filter(|id| !self.known.contains_key(id))
    }

    /// What the judge said to `question`.
    pub fn answer(&self, question: &Question) -> Option<&Answer> {
        let id = self.questions.get(question)?.as_ref().ok()?;
        self.known.get(id)?.as_ref().ok()
    }

    /// Waits for an answer, at most so long.
    pub fn wait(&mut self, most: Duration) {
        if let Some(reply) = self.asker.wait(most) {
            self.take(reply);
        }
    }

    fn take(&mut self, Reply { id, outcome, known }: Reply) {
        match &outcome {
            Ok(_) if known => self.cached += 1,
            Ok(_) => self.asked += 1,
            Err(_) => self.failed += 1,
        }
        self.known.insert(id, outcome);
        for index in self.wanted.remove(&id).unwrap_or_default() {
            if let Some((_, open)) = self.waiting.get_mut(&index) {
                *open -= 1;
            }
        }
    }

    /// The points that wait for nothing any more; with each the first fault among its questions, if there is one.
    pub fn settled(&mut self, log: &mut dyn FnMut(&Event)) -> Vec<(Waiting, Option<String>)> {
        for reply in self.asker.replies() {
            self.take(reply);
        }
        if self.is_busy() && self.said.elapsed() >= SAY {
            self.say(log);
        }
        let done: Vec<usize> =
            self.waiting.iter().filter(|(_, (_, open))| *open == 0).map(|(index, _)| *index).collect();
        let points: Vec<Waiting> =
            done.iter().filter_map(|index| self.waiting.remove(index)).map(|(point, _)| point).collect();
        let with_cause = |point: Waiting| {
            let cause = self.fault_of(&point);
            (point, cause)
        };
        points.into_iter().map(with_cause).collect()
    }

    fn fault_of(&self, point: &Waiting) -> Option<String> {
        point.units.iter().find_map(|unit| match self.questions.get(&unit.question)? {
            Err(fault) => Some(fault.message.clone()),
            Ok(id) => self.known.get(id)?.as_ref().err().map(|fault| fault.message.clone()),
        })
    }

    /// Says how it goes.
    fn say(&mut self, log: &mut dyn FnMut(&Event)) {
        self.said = Instant::now();
        let progress = self.asker.progress();
        log(&Event::Judge {
            asking: Asking {
                naive: self.naive,
                distinct: self.known.len() + self.wanted.len(),
                cached: self.cached,
                asked: self.asked,
                failed: self.failed,
                left: self.wanted.len(),
                per_second: progress.per_second.and_then(Finite::new),
                faults: self.faults(),
            },
            asker: AskerNote {
                process: self.process.clone(),
                judge: self.name(),
                seconds: Finite::new(self.seconds()).unwrap_or_default(),
            },
        });
    }

    /// Seconds of asking; where several processes ask at once, this one's share of them.
    fn seconds(&self) -> f64 {
        self.asker.seconds() / self.crew as f64
    }

    /// The first fault of each kind, in words.
    fn faults(&self) -> Vec<String> {
        let impossible = self.impossible.iter().map(|first| format!("impossible to put: {first}"));
        self.asker.progress().faults.sentences().into_iter().chain(impossible).collect()
    }

    /// Asks nothing more and says how it went.
    pub fn stop(&mut self, log: &mut dyn FnMut(&Event)) {
        self.asker.stop();
        if self.naive > 0 {
            self.say(log);
        }
        // What is on its way to the disk is there when the run says that it has ended.
        let _ = self.judge.cache().sync();
    }

    /// What `judge.json` says after this run: `results` and `log` are the directory's. Asks `again` questions a second time where
    /// that has not been done with this judge, unless `stop` says so.
    pub fn record(
        &self,
        live: &dyn Asked,
        results: &SweepResults,
        log: &[LoggedEvent],
        again: usize,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> JudgeRecord {
        let before = self.before.clone().filter(|before| before.judge == self.name()).unwrap_or_default();
        let questions = questions_of(&self.judge, live, &results.points);
        let distinct: HashSet<Id> = questions.iter().map(|(id, _)| *id).collect();
        let known = before.noise.clone().filter(|noise| noise.questions >= again);
        let noise = if again == 0 {
            None
        } else {
            known.or_else(|| self.noise(live, questions.clone(), again, stop))
        };
        // The log knows of the run's other processes; an old one knows of none.
        let (answers, seconds) = asked(log, &self.name());
        let own = before.seconds.get() + self.seconds();
        JudgeRecord {
            judge: self.name(),
            identity: serde_json::to_value(self.judge.identity()).unwrap_or_default(),
            naive: questions.len(),
            distinct: distinct.len(),
            asked: answers.max(before.asked + self.asked),
            seconds: Finite::new(seconds.max(own)).unwrap_or_default(),
            faults: self.faults(),
            noise,
        }
    }

    /// What a second asking changes. The questions are those with the lowest hashes: chosen by chance and always alike.
    fn noise(
        &self,
        live: &dyn Asked,
        mut asked: Vec<(Id, Question)>,
        again: usize,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Option<JudgeNoise> {
        if stop() {
            return self.before.as_ref().and_then(|before| before.noise.clone());
        }
        asked.sort_unstable_by_key(|(id, _)| *id);
        asked.dedup_by_key(|(id, _)| *id);
        asked.truncate(again);
        let found = ask_again(&self.judge, &asked, live.pace().concurrency, stop);
        let mut noise = JudgeNoise { questions: found.pairs.len(), ..JudgeNoise::default() };
        let mut sum = 0.0;
        for (question, first, second) in &found.pairs {
            let scores = [first, second].map(|answer| live.score(question.query_id, answer));
            let changed = scores[0].unwrap_or_default().get() - scores[1].unwrap_or_default().get();
            noise.answers_changed += usize::from(first.text != second.text);
            noise.scores_changed += usize::from(changed != 0.0);
            sum += changed * changed;
        }
        noise.mean_square = Finite::new(sum / found.pairs.len().max(1) as f64).unwrap_or_default();
        (noise.questions > 0).then_some(noise)
    }
}
