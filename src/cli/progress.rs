//! What a run says on stderr while it goes: a bar with the remaining time on a terminal, one line per finished
//! item otherwise.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle as BarStyle};

use super::output::{self, ProgressStyle};
use crate::event::{Askers, Asking, Event};
use crate::experiment::Cancel;
use crate::text::{duration, plural, thousands};

/// Turns events into progress.
pub struct Progress {
    style: ProgressStyle,
    bar: ProgressBar,
    cancel: Cancel,
    began: Instant,
    points: usize,
    ended: usize,
    steps: u64,
    /// Whether somebody has said what fits into the time: every worker does, and one is enough.
    estimated: bool,
    /// What the cohort in training is, and how the judge is doing.
    training: String,
    judging: String,
    /// By process that asks: its last word, and how many faults have been told. When the judge's state was told last.
    askers: Askers,
    faults: BTreeMap<String, usize>,
    told: Option<Instant>,
    /// Stages taken over so far, by the sweep that had them.
    adopted: BTreeMap<String, usize>,
    /// Stages that are trained from their beginning for want of what was not kept.
    again: usize,
    /// Whether the bar's clock is to go on.
    ticking: std::sync::Arc<std::sync::atomic::AtomicBool>,
}

impl Progress {
    /// For one sweep; `cancel` counts its steps.
    pub fn new(cancel: &Cancel) -> Self {
        Self {
            style: output::progress_style(),
            bar: ProgressBar::hidden(),
            cancel: cancel.clone(),
            began: Instant::now(),
            points: 0,
            ended: 0,
            steps: 0,
            estimated: false,
            training: String::new(),
            judging: String::new(),
            faults: BTreeMap::new(),
            askers: Askers::default(),
            told: None,
            adopted: BTreeMap::new(),
            again: 0,
            ticking: std::sync::Arc::default(),
        }
    }

    /// Shows one event.
    pub fn show(&mut self, event: &Event) {
        match event {
            Event::PlanReady { points, points_done, stages, steps, steps_naive, steps_left, notices } => {
                self.points = *points;
                self.ended = *points_done;
                self.steps = *steps_left;
                self.plan_ready(*stages, *steps, *steps_naive, notices);
            }
            Event::StageAdopted { from, .. } => *self.adopted.entry(from.clone()).or_default() += 1,
            Event::StageDamaged { stage, cause, moved_to } => {
                self.damaged(&format!("stage {stage}"), cause, moved_to, "trained");
            }
            Event::StageAgain { .. } => self.again += 1,
            Event::CohortStarted { phase, members, first_epoch, last_epoch, .. } => {
                self.cohort(phase, *members, *first_epoch, *last_epoch);
            }
            Event::CohortFinished { .. }
            | Event::EpochDone { .. }
            | Event::StageDiverged { .. }
            | Event::StageFailed { .. } => {}
            Event::PointDamaged { point, cause, moved_to } => {
                self.damaged(&format!("point {point}"), cause, moved_to, "made");
            }
            Event::CohortFailed { members, cause, next } => self.say(&format!(
                "warning: training {members} stages together failed: {cause}\n  trying again, at most {next} together"
            )),
            Event::WorkerEnded { device, cause, restarted } => {
                let what = if *restarted { "it is started again" } else { "the others go on" };
                self.say(&format!("warning: the worker on {device} ended before its work was done ({cause}); {what}"));
            }
            Event::BudgetEstimate { .. } if self.estimated => {}
            Event::BudgetEstimate { steps_per_second, seconds_left, steps, steps_left, points, points_left } => {
                self.estimated = true;
                self.say(&format!(
                    "{} steps a second: {} of {} steps and {points} of {points_left} points fit into the {} that are left",
                    thousands(steps_per_second.get() as usize),
                    thousands(*steps as usize),
                    thousands(*steps_left as usize),
                    duration(seconds_left.get())
                ));
            }
            Event::Judge { .. } => self.judge(event),
            Event::PointDone { point, average, val_loss, .. } => {
                self.ended += 1;
                let figure = match (average, val_loss) {
                    (Some(average), _) => format!("average {:.1} %", 100.0 * average.get()),
                    (None, Some(loss)) => format!("val_loss {loss:.4}"),
                    (None, None) => String::new(),
                };
                self.item(&format!("{point}  {figure}"));
            }
            Event::PointFailed { point, error, .. } => {
                self.ended += 1;
                self.say(&format!("[{}/{}] {point}  FAILED: {error}", self.ended, self.points));
            }
            Event::Finished { .. } => self.finish(),
        }
    }

    /// How the judge is doing: in the bar, or in a line now and then.
    fn judge(&mut self, event: &Event) {
        let Event::Judge { asking: Asking { faults, .. }, asker } = event else { return };
        self.askers.hear(event);
        let Some(Asking { naive, distinct, cached, asked, failed, left, per_second, .. }) =
            self.askers.together()
        else {
            return;
        };
        /// How often a line is worth it.
        const OFTEN: Duration = Duration::from_secs(10);
        let told = self.faults.get(&asker.process).copied().unwrap_or(0);
        for fault in faults.iter().skip(told) {
            self.say(&format!("warning: the judge: {fault}"));
        }
        self.faults.insert(asker.process.clone(), told.max(faults.len()));
        let first = self.told.is_none();
        if first {
            let [naive, distinct, cached, left] = [naive, distinct, cached, left].map(thousands);
            self.say(&format!(
                "judge: {naive} questions, {distinct} of them distinct, {cached} answered before, {left} to ask"
            ));
        }
        let rate = per_second.filter(|_| left > 0).map_or_else(String::new, |rate| {
            format!(", {rate:.1} a second, {} left", duration(left as f64 / *rate))
        });
        let errors = if failed > 0 { format!(", {}", plural(failed, "error")) } else { String::new() };
        self.judging =
            format!("judge: {} answers, {} to go{rate}{errors}", thousands(asked), thousands(left));
        self.message();
        let due = self.told.is_none_or(|told| told.elapsed() >= OFTEN);
        if due && !first && (self.style == ProgressStyle::Lines || self.bar.is_hidden()) {
            self.item_line(&self.judging.clone());
        }
        if due {
            self.told = Some(Instant::now());
        }
    }

    fn message(&self) {
        let parts = [self.training.as_str(), self.judging.as_str()];
        self.bar
            .set_message(parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; "));
    }

    /// A line of progress, where progress is shown.
    fn item_line(&self, text: &str) {
        if self.style != ProgressStyle::Hidden {
            self.say(text);
        }
    }

    fn plan_ready(&mut self, stages: usize, steps: u64, steps_naive: u64, notices: &[String]) {
        for (from, count) in std::mem::take(&mut self.adopted) {
            self.say(&format!("taken over: {} from `{from}`", plural(count, "stage")));
        }
        if self.again > 0 {
            self.say(&format!(
                "trained from their beginning: {} whose weights or optimizer states are asked for and were not kept ([keep])",
                plural(self.again, "stage")
            ));
        }
        for notice in notices {
            self.say(notice);
        }
        let number = |steps: u64| thousands(steps as usize);
        let sharing = if steps == 0 { 1.0 } else { steps_naive as f64 / steps as f64 };
        self.say(&format!(
            "{} in {}: {} training steps ({} without sharing, {sharing:.1}x)",
            plural(self.points, "point"),
            plural(stages, "stage"),
            number(steps),
            number(steps_naive),
        ));
        if self.ended > 0 || self.steps < steps {
            self.say(&format!(
                "{} of {} points are there already, {} steps to go",
                self.ended,
                self.points,
                number(self.steps)
            ));
        }
        if self.style == ProgressStyle::Bar && self.steps > 0 {
            let template = "{bar:30} {percent:>3}%  {pos}/{len} steps  {eta} left  {msg}";
            let style = BarStyle::with_template(template).unwrap_or_else(|_| BarStyle::default_bar());
            self.bar = ProgressBar::new(self.steps).with_style(style);
            self.tick();
        }
    }

    fn cohort(&mut self, phase: &str, members: usize, first: u32, last: u32) {
        let epochs = if first == last { format!("epoch {last}") } else { format!("epochs {first}-{last}") };
        let together = if members == 1 { "one run".to_owned() } else { format!("{members} runs together") };
        self.training = format!("{phase} {epochs}, {together}");
        self.message();
    }

    /// Moves the bar four times a second from the counter that the trainer increments.
    fn tick(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        self.ticking.store(true, Relaxed);
        let (bar, cancel, ticking) = (self.bar.clone(), self.cancel.clone(), self.ticking.clone());
        let before = cancel.steps();
        std::thread::spawn(move || {
            while ticking.load(Relaxed) {
                bar.set_position(cancel.steps() - before);
                std::thread::sleep(Duration::from_millis(250));
            }
        });
    }

    fn finish(&mut self) {
        self.ticking.store(false, std::sync::atomic::Ordering::Relaxed);
        self.bar.finish_and_clear();
    }

    /// One finished item: a line where there is no bar.
    fn item(&self, text: &str) {
        if self.style == ProgressStyle::Lines {
            let made = self.cancel.steps();
            let left = match made {
                0 => String::new(),
                _ if made >= self.steps => String::new(),
                _ => {
                    let rest = self.began.elapsed().as_secs_f64() / made as f64 * (self.steps - made) as f64;
                    format!("  {} left", duration(rest))
                }
            };
            output::note(&format!("[{}/{}] {}{left}", self.ended, self.points, text.trim_end()));
        }
    }

    /// What was moved away because it could not be used.
    fn damaged(&self, what: &str, cause: &str, moved_to: &str, made: &str) {
        self.say(&format!(
            "warning: {what} cannot be used: {cause}\n  moved to `{moved_to}`; it is {made} again"
        ));
    }

    /// A message: above the bar, or a line; also without progress.
    fn say(&self, text: &str) {
        match self.style {
            ProgressStyle::Bar => self.bar.suspend(|| output::note(text)),
            ProgressStyle::Lines | ProgressStyle::Hidden => output::note(text),
        }
    }
}
