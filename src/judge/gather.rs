//! Many questions at once: each is asked once, whoever needs its answer.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use super::asker::{Asker, Pace};
use super::fault::Fault;
use super::form::Judge;
use super::question::{Answer, Question};
use super::segment::Id;
use crate::event::Asking;
use crate::finite::Finite;

/// How often it is said how the asking goes.
const SAY: Duration = Duration::from_secs(2);

/// Questions and their answers.
#[derive(Debug)]
pub struct Gathering {
    judge: Arc<Judge>,
    ids: HashMap<Question, Result<Id, Fault>>,
    answers: HashMap<Id, Answer>,
    to_ask: HashMap<Id, Question>,
    counts: Asking,
}

impl Gathering {
    /// Takes what the cache knows of `questions`. Nobody is asked yet.
    pub fn new<'q>(judge: &Arc<Judge>, questions: impl IntoIterator<Item = &'q Question>) -> Self {
        let mut naive = 0;
        let mut ids: HashMap<Question, Result<Id, Fault>> = HashMap::new();
        let mut order: Vec<&Question> = Vec::new();
        for question in questions {
            naive += 1;
            if !ids.contains_key(question) {
                ids.insert(question.clone(), Ok(Id([0; 16])));
                order.push(question);
            }
        }
        let of = |question: &&Question| {
            let id = judge.question(question);
            let known = id.as_ref().ok().and_then(|id| judge.known(*id));
            (id, known)
        };
        let found: Vec<_> = order.par_iter().map(of).collect();
        let (mut answers, mut to_ask) = (HashMap::new(), HashMap::new());
        let mut counts = Asking { naive, ..Asking::default() };
        for (question, (id, known)) in order.into_iter().zip(found) {
            match (&id, known) {
                (Ok(id), Some(answer)) => drop(answers.insert(*id, answer)),
                (Ok(id), None) => drop(to_ask.insert(*id, question.clone())),
                (Err(fault), _) => {
                    counts.failed += 1;
                    if counts.faults.is_empty() {
                        counts
                            .faults
                            .push(format!("impossible to put: query {}: {fault}", question.query_id));
                    }
                }
            }
            ids.insert(question.clone(), id);
        }
        (counts.cached, counts.left) = (answers.len(), to_ask.len());
        counts.distinct = counts.cached + counts.left;
        Self { judge: Arc::clone(judge), ids, answers, to_ask, counts }
    }

    /// How it stands.
    pub fn counts(&self) -> &Asking {
        &self.counts
    }

    /// Asks for what is missing until it is there or `stop` says so; `say` hears how it goes, at the start and now and
    /// then.
    pub fn ask(&mut self, pace: Pace, stop: &dyn Fn() -> bool, say: &mut dyn FnMut(&Asking)) {
        let impossible = self.counts.clone();
        let asker = Asker::start(Arc::clone(&self.judge), pace);
        asker.ask(std::mem::take(&mut self.to_ask));
        say(&self.counts);
        let mut said = Instant::now();
        while self.counts.left > 0 && !stop() {
            if let Some(reply) = asker.wait(Duration::from_millis(100)) {
                self.answers.extend(reply.outcome.ok().map(|answer| (reply.id, answer)));
                self.counts.left -= 1;
            }
            if said.elapsed() >= SAY || self.counts.left == 0 {
                self.take_stock(&asker, &impossible);
                say(&self.counts);
                said = Instant::now();
            }
        }
        asker.stop();
        self.take_stock(&asker, &impossible);
        // What is on its way to the disk is there when it is said that this has ended.
        let _ = self.judge.cache().sync();
    }

    fn take_stock(&mut self, asker: &Asker, impossible: &Asking) {
        let progress = asker.progress();
        self.counts.asked = progress.answered;
        self.counts.failed = impossible.failed + progress.faults.total();
        self.counts.per_second = progress.per_second.and_then(Finite::new);
        self.counts.faults = progress.faults.sentences();
        self.counts.faults.extend(impossible.faults.iter().cloned());
    }

    /// What the judge said to `question`.
    pub fn answer(&self, question: &Question) -> Option<&Answer> {
        self.answers.get(self.ids.get(question)?.as_ref().ok()?)
    }
}
