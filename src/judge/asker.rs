//! Asks many questions, several at a time: busy enough for the judge, and no more than it bears.
//!
//! Threads take questions from one queue, in the order of their demonstrations, going round: what comes in later joins
//! where it belongs. When the judge says that it is busy, half as many questions are asked at a time, and with every
//! answer one more again, up to what is allowed: however many errors there were, the way back is short.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fault::{Fault, FaultKind, Tally};
use super::form::{Asked, Judge};
use super::question::{Answer, Question};
use super::segment::Id;

/// The first pause before asking again, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How many times as many attempts a judge gets that only says that it is busy.
const BUSY: u32 = 4;
/// When to look again for an answer that another process is getting.
const ELSEWHERE: Duration = Duration::from_millis(100);

/// How hard a judge is asked.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Questions at a time, 1 or more.
    pub concurrency: usize,
    /// Further attempts at a question that failed.
    pub retries: u32,
}

/// What has become of a question.
#[derive(Clone, Debug)]
pub struct Reply {
    pub id: Id,
    pub outcome: Result<Answer, Fault>,
    /// Nobody was asked: it had been answered meanwhile.
    pub known: bool,
}

/// How the asking goes.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Answers got by asking, since the start.
    pub answered: usize,
    /// Questions that are waiting or being asked.
    pub left: usize,
    /// Answers per second while there was something to ask.
    pub per_second: Option<f64>,
    pub faults: Tally,
    /// Attempts that failed and were made again.
    pub retried: usize,
}

/// Threads that ask one judge.
#[derive(Debug)]
pub struct Asker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    replies: Receiver<Reply>,
}

#[derive(Debug)]
struct Shared {
    judge: Arc<Judge>,
    pace: Pace,
    state: Mutex<State>,
    changed: Condvar,
    replies: Sender<Reply>,
}

#[derive(Debug)]
struct State {
    waiting: BTreeMap<Question, Id>,
    /// Questions that another process is asking, and when to look again.
    elsewhere: Vec<(Instant, Question, Id)>,
    /// The question that was taken last.
    last: Option<Question>,
    asking: usize,
    /// How many may be asked at a time now.
    slots: f64,
    /// Nobody asks before this moment.
    pause: Option<Instant>,
    /// Questions in a row that got no answer at all.
    vain: usize,
    /// Why no more questions are asked.
    end: Option<Fault>,
    stopped: bool,
    progress: Progress,
    /// Time with something to ask, and since when there is.
    busy: Duration,
    since: Option<Instant>,
}

impl Asker {
    /// Starts threads that wait for questions.
    pub fn start(judge: Arc<Judge>, pace: Pace) -> Self {
        let pace = Pace { concurrency: pace.concurrency.max(1), ..pace };
        let state = State {
            waiting: BTreeMap::new(),
            elsewhere: Vec::new(),
            last: None,
            asking: 0,
            slots: pace.concurrency as f64,
            pause: None,
            vain: 0,
            end: None,
            stopped: false,
            progress: Progress::default(),
            busy: Duration::ZERO,
            since: None,
        };
        let (sender, replies) = channel();
        let shared =
            Shared { judge, pace, state: Mutex::new(state), changed: Condvar::new(), replies: sender };
        let shared = Arc::new(shared);
        let start = |index: usize| {
            let shared = Arc::clone(&shared);
            let named = std::thread::Builder::new().name(format!("asker {index}"));
            named.spawn(move || shared.work()).ok()
        };
        let threads: Vec<JoinHandle<()>> = (0..pace.concurrency).filter_map(start).collect();
        if threads.is_empty() {
            shared.state().end = Some(Fault::new(FaultKind::NotAsked, "the system starts no threads"));
        }
        Self { shared, threads, replies }
    }

    /// Asks for answers to `questions`, none of which may be under way already. Each gets one [`Reply`].
    pub fn ask(&self, questions: impl IntoIterator<Item = (Id, Question)>) {
        let mut state = self.shared.state();
        for (id, question) in questions {
            state.waiting.insert(question, id);
        }
        self.shared.refuse(&mut state);
        if !state.waiting.is_empty() {
            state.since.get_or_insert_with(Instant::now);
        }
        drop(state);
        self.shared.changed.notify_all();
    }

    /// What has come back so far, without waiting.
    pub fn replies(&self) -> Vec<Reply> {
        self.replies.try_iter().collect()
    }

    /// Waits for the next reply, at most so long.
    pub fn wait(&self, most: Duration) -> Option<Reply> {
        self.replies.recv_timeout(most).ok()
    }

    /// How it goes.
    pub fn progress(&self) -> Progress {
        let state = self.shared.state();
        let busy = state.busy + state.since.map_or(Duration::ZERO, |since| since.elapsed());
        let answered = state.progress.answered;
        let per_second = (answered > 0 && !busy.is_zero()).then(|| answered as f64 / busy.as_secs_f64());
        let left = state.waiting.len() + state.elsewhere.len() + state.asking;
        Progress { left, per_second, ..state.progress.clone() }
    }

    /// Seconds with something to ask.
    pub fn seconds(&self) -> f64 {
        let state = self.shared.state();
        (state.busy + state.since.map_or(Duration::ZERO, |since| since.elapsed())).as_secs_f64()
    }

    /// Asks nothing more; what is under way is given a moment.
    pub fn stop(&self) {
        let mut state = self.shared.state();
        state.stopped = true;
        drop(state);
        self.shared.changed.notify_all();
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop();
        // A thread whose request is under way ends by itself; nobody waits for it.
        self.threads.retain(|thread| !thread.is_finished());
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        while let Some((question, id)) = self.next() {
            // A defect costs the question that it happens to; whoever waits for its answer is told.
            let asked = std::panic::catch_unwind(AssertUnwindSafe(|| self.outcome(&question, id)));
            let defect = || Fault::new(FaultKind::Question, "asking it failed: this is a defect in sweep");
            let outcome = asked.unwrap_or_else(|_| Some((Err(defect()), false)));
            let mut state = self.state();
            state.asking -= 1;
            match outcome {
                Some((outcome, known)) => {
                    if let Err(fault) = &outcome {
                        state.progress.faults.add(fault, question.query_id);
                        self.judge_is_gone(&mut state, fault);
                    } else if !known {
                        state.progress.answered += 1;
                        state.vain = 0;
                        state.slots = (state.slots + 1.0).min(self.pace.concurrency as f64);
                    }
                    // Nobody may be left to read it.
                    let _ = self.replies.send(Reply { id, outcome, known });
                }
                None => state.elsewhere.push((Instant::now() + ELSEWHERE, question, id)),
            }
            if state.waiting.is_empty() && state.elsewhere.is_empty() && state.asking == 0 {
                let since = state.since.take();
                state.busy += since.map_or(Duration::ZERO, |since| since.elapsed());
            }
            drop(state);
            self.changed.notify_all();
        }
    }

    /// The next question; waits for one. `None` at the end.
    fn next(&self) -> Option<(Question, Id)> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return None;
            }
            self.refuse(&mut state);
            let now = Instant::now();
            let ready = state.elsewhere.iter().position(|(when, _, _)| *when <= now);
            if let Some(at) = ready {
                let (_, question, id) = state.elsewhere.swap_remove(at);
                state.waiting.insert(question, id);
            }
            let paused = state.pause.is_some_and(|until| now < until);
            if !paused
                && (state.asking as f64) < state.slots.floor().max(1.0)
                && let Some(taken) = take(&mut state)
            {
                state.asking += 1;
                return Some(taken);
            }
            let until =
                [state.pause.filter(|until| *until > now), state.elsewhere.iter().map(|one| one.0).min()];
            let nap = until.into_iter().flatten().min().map(|until| until.saturating_duration_since(now));
            let nap = nap.unwrap_or(Duration::from_secs(1)).max(Duration::from_millis(1));
            state = self.changed.wait_timeout(state, nap).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// After the end every question gets a reply at once.
    fn refuse(&self, state: &mut State) {
        let Some(end) = state.end.clone() else { return };
        let elsewhere =
            std::mem::take(&mut state.elsewhere).into_iter().map(|(_, question, id)| (question, id));
        let all = std::mem::take(&mut state.waiting).into_iter().chain(elsewhere);
        for (question, id) in all {
            let fault = Fault::new(FaultKind::NotAsked, end.message.clone());
            state.progress.faults.add(&fault, question.query_id);
            let _ = self.replies.send(Reply { id, outcome: Err(fault), known: false });
        }
    }

    /// What becomes of one question, and whether it was known; `None`: another process asks it.
    fn outcome(&self, question: &Question, id: Id) -> Option<(Result<Answer, Fault>, bool)> {
        match self.judge.claim(id) {
            Ok(Some(Asked::Elsewhere)) => return None,
            Ok(Some(Asked::Answered(answer) | Asked::Known(answer))) => return Some((Ok(answer), true)),
            Ok(None) => {}
            Err(fault) => return Some((Err(fault), false)),
        }
        let mut attempt = 0;
        loop {
            let fault = match self.judge.ask(id, question) {
                Ok(answer) => return Some((Ok(answer), false)),
                Err(fault) => fault,
            };
            // A judge that is busy is not one that fails.
            let most = self.pace.retries * if fault.kind == FaultKind::Busy { BUSY } else { 1 };
            if !fault.kind.may_pass() || attempt >= most || !self.pause(&fault, attempt, id) {
                self.judge.give_up(id);
                return Some((Err(fault), false));
            }
            attempt += 1;
        }
    }

    /// Waits before the next attempt; `false` if there is to be none.
    fn pause(&self, fault: &Fault, attempt: u32, id: Id) -> bool {
        let mut state = self.state();
        state.progress.retried += 1;
        let doubled = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
        // Between half and one and a half of it: those that failed together do not come back together.
        let spread = f64::from(id.0[attempt as usize % 16]) / 255.0 + 0.5;
        let mut until = Instant::now() + doubled.mul_f64(spread);
        if fault.kind == FaultKind::Busy {
            state.slots = (state.slots / 2.0).max(1.0);
            if let Some(wait) = fault.wait {
                until = until.max(Instant::now() + wait);
                state.pause = state.pause.max(Some(Instant::now() + wait));
            }
        }
        loop {
            if state.stopped || state.end.is_some() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// No further question is asked of a judge that will not answer: one that says so, or one that nobody reaches.
    fn judge_is_gone(&self, state: &mut State, fault: &Fault) {
        let reached = !matches!(fault.kind, FaultKind::Connection | FaultKind::Timeout);
        state.vain = if reached { 0 } else { state.vain + 1 };
        if fault.kind.is_final() || state.vain >= 2 * self.pace.concurrency.max(2) {
            state.end.get_or_insert_with(|| fault.clone());
            self.refuse(state);
        }
    }
}

/// The next question behind the last one, going round.
fn take(state: &mut State) -> Option<(Question, Id)> {
    use std::ops::Bound::{Excluded, Unbounded};
    let behind = state.last.as_ref().and_then(|last| state.waiting.range((Excluded(last), Unbounded)).next());
    let next = behind.or_else(|| state.waiting.iter().next()).map(|(question, _)| question.clone())?;
    let id = state.waiting.remove(&next)?;
    state.last = Some(next.clone());
    Some((next, id))
}

/// Questions asked a second time, and what changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SecondAnswers {
    /// First and second answer of each.
    pub pairs: Vec<(Question, Answer, Answer)>,
    pub faults: Tally,
}

/// Asks `questions` again, past the cache, `concurrency` at a time, until `stop` says so.
pub fn ask_again(
    judge: &Judge,
    questions: &[(Id, Question)],
    concurrency: usize,
    stop: &(dyn Fn() -> bool + Sync),
) -> SecondAnswers {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let found = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..concurrency.max(1).min(questions.len().max(1)) {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some((id, question)) = questions.get(at).filter(|_| !stop()) else { return };
                    let Some(first) = judge.known(*id) else { continue };
                    let second = judge.ask_again(question).map(|second| (first, second));
                    found.lock().unwrap_or_else(PoisonError::into_inner).insert(at, second);
                }
            });
        }
    });
    let mut result = SecondAnswers::default();
    let found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (at, outcome) in found {
        let question = &questions[at].1;
        match outcome {
            Ok((first, second)) => result.pairs.push((question.clone(), first, second)),
            Err(fault) => result.faults.add(&fault, question.query_id),
        }
    }
    result
}
