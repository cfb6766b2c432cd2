//! The plan for people: what is shared, the stage tree, cohorts, time and memory.

use std::fmt::Write;

use crate::plan::StageProgress;
use crate::report::axis_text;
use crate::run::{CohortForecast, Forecast, RunOptions, Session, questions};
use crate::spec::Point;
use crate::store::Held;
use crate::text::{duration, plural, size, thousands};

/// Lines of the tree that are printed; a larger tree is cut.
const TREE_LINES: usize = 40;
/// Points listed with a stage; more are counted.
const POINTS_LISTED: usize = 4;

/// One planned sweep.
pub struct Planned<'a> {
    pub session: &'a Session,
    pub options: &'a RunOptions,
    pub forecast: &'a Forecast,
    /// Whether times were measured now.
    pub measured: bool,
}

/// The whole text.
pub fn text(planned: &Planned) -> String {
    let mut text = String::new();
    summary(planned, &mut text);
    Tree::of(planned).write(&mut text);
    cohorts(planned, &mut text);
    asking(planned, &mut text);
    disk(planned, &mut text);
    text
}

/// What a judge will be asked: known for the points that have chosen, at most so much for the others.
fn asking(planned: &Planned, text: &mut String) {
    let Some(asked) = questions(planned.session, planned.options) else { return };
    let [naive, known, distinct, cached, to_ask] =
        [asked.naive, asked.known, asked.distinct, asked.cached, asked.to_ask].map(thousands);
    let _ = writeln!(text, "questions to the judge: {naive}, every point evaluated on its own");
    if asked.known > 0 {
        let _ = writeln!(
            text,
            "  of points that have chosen: {known}, {distinct} of them distinct, {cached} answered, {to_ask} to ask"
        );
    }
    if asked.naive > asked.known {
        let rest = plural(asked.naive - asked.known, "question");
        let _ = writeln!(text, "  of the others: at most {rest}, known once they are trained");
    }
    let most = thousands(asked.at_most);
    let _ = match asked.seconds {
        _ if asked.at_most == 0 => writeln!(text, "  nothing to ask"),
        Some(seconds) => {
            writeln!(text, "  at most {most} to ask: about {} at the rate so far", duration(seconds))
        }
        None => writeln!(text, "  at most {most} to ask; how fast the judge is, the first run will tell"),
    };
}

fn number(count: u64) -> String {
    thousands(count as usize)
}

fn summary(planned: &Planned, text: &mut String) {
    let (plan, forecast) = (&planned.session.plan, planned.forecast);
    let sharing = match plan.steps {
        0 => String::new(),
        steps => format!(", {:.1}x", plan.steps_naive as f64 / steps as f64),
    };
    let _ = writeln!(
        text,
        "{}: {} in {}\n  training steps: {} ({} without sharing{sharing})",
        planned.session.spec.name,
        plural(plan.points.len(), "point"),
        plural(plan.stages.len(), "stage"),
        number(plan.steps),
        number(plan.steps_naive),
    );
    let held = || forecast.held.iter().flatten();
    let own = held().filter(|held| held.from.is_none()).count();
    let dir = planned.options.root.join(&planned.session.spec.name);
    if own > 0 {
        let what =
            format!("{} and the models of {}", plural(own, "stage"), plural(forecast.points_there, "point"));
        let _ = writeln!(text, "  there already: {what} in `{}`", dir.display());
    }
    let mut sources: Vec<_> = held().filter_map(|held| held.from.as_ref()).collect();
    sources.sort();
    for of_one in sources.chunk_by(|a, b| a == b) {
        let _ =
            writeln!(text, "  taken over: {} from `{}`", plural(of_one.len(), "stage"), of_one[0].display());
    }
    if forecast.steps_left < plan.steps {
        let _ = writeln!(text, "  steps to go: {}", number(forecast.steps_left));
    }
}

/// The stage tree with what is needed to print parts of it.
struct Tree<'a> {
    planned: &'a Planned<'a>,
    /// Per stage.
    children: Vec<Vec<usize>>,
    /// Per stage, the points that end in it.
    points: Vec<Vec<usize>>,
}

/// How much of the tree is printed.
struct Room {
    /// Lines that are left.
    lines: usize,
    /// Stages so far.
    printed: usize,
}

impl<'a> Tree<'a> {
    fn of(planned: &'a Planned<'a>) -> Self {
        let plan = &planned.session.plan;
        let mut children = vec![Vec::new(); plan.stages.len()];
        for (index, stage) in plan.stages.iter().enumerate() {
            if let Some(parent) = stage.parent {
                children[parent].push(index);
            }
        }
        let mut points = vec![Vec::new(); plan.stages.len()];
        for (index, point) in plan.points.iter().enumerate() {
            points[point.stage].push(index);
        }
        Self { planned, children, points }
    }

    fn write(&self, text: &mut String) {
        let stages = &self.planned.session.plan.stages;
        let roots: Vec<usize> = (0..stages.len()).filter(|&stage| stages[stage].parent.is_none()).collect();
        let mut room = Room { lines: TREE_LINES, printed: 0 };
        for &root in &roots {
            self.stage(root, "", &[], &mut room, text);
        }
        if room.printed < stages.len() {
            let more = plural(stages.len() - room.printed, "more stage");
            let _ = writeln!(text, "... and {more} (--json lists all)");
        }
    }

    /// One stage, its points and its children. `said`: axes that the stages above have named.
    fn stage(&self, stage: usize, indent: &str, said: &[usize], room: &mut Room, text: &mut String) {
        if room.lines == 0 {
            return;
        }
        room.lines -= 1;
        room.printed += 1;
        let common = self.common_axes(stage);
        let new: Vec<usize> = common.iter().copied().filter(|axis| !said.contains(axis)).collect();
        let _ = writeln!(text, "{indent}{}", self.describe(stage, &new));
        let inner = format!("{indent}  ");
        let points = &self.points[stage];
        for &point in points.iter().take(POINTS_LISTED.min(room.lines)) {
            room.lines -= 1;
            let epoch = self.planned.session.plan.points[point].epoch;
            let name = &self.all_points()[point].name;
            let _ = match epoch {
                0 => writeln!(text, "{inner}-> {name}"),
                _ => writeln!(text, "{inner}epoch {epoch} -> {name}"),
            };
        }
        if points.len() > POINTS_LISTED {
            let _ = writeln!(text, "{inner}... and {}", plural(points.len() - POINTS_LISTED, "more point"));
        }
        for &child in &self.children[stage] {
            self.stage(child, &inner, &common, room, text);
        }
    }

    fn all_points(&self) -> &'a [Point] {
        &self.planned.session.spec.points
    }

    /// The axes that have one value in all points at and below `stage`.
    fn common_axes(&self, stage: usize) -> Vec<usize> {
        let mut below: Vec<usize> = Vec::new();
        let mut open = vec![stage];
        while let Some(stage) = open.pop() {
            below.extend(&self.points[stage]);
            open.extend(&self.children[stage]);
        }
        let points = self.all_points();
        let Some(&first) = below.first() else { return Vec::new() };
        let same = |axis: &usize| {
            below.iter().all(|&point| points[point].axes[*axis].1 == points[first].axes[*axis].1)
        };
        (0..points[first].axes.len()).filter(same).collect()
    }

    /// `grpo 3 epochs: kl_beta 0.15, freeze backbone  [there]`
    fn describe(&self, stage: usize, axes: &[usize]) -> String {
        let session = self.planned.session;
        let (node, traits) = (&session.plan.stages[stage], session.plan.traits(stage));
        let is_init = !traits.trains();
        let mut line = match is_init {
            true => format!("init: {}", session.experiment().about(node.work)),
            false => format!("{} {}", traits.phase, plural(node.epochs as usize, "epoch")),
        };
        let first = self.first_point(stage);
        let values: Vec<String> = axes
            .iter()
            .filter_map(|&axis| {
                let (key, value) = &self.all_points()[first?].axes[axis];
                let name = key.rsplit('.').next().unwrap_or(key);
                // The number of epochs and the seed of fresh weights are in the line already.
                let stated = name.ends_with("epochs") || (is_init && name == "seed");
                (!stated).then(|| format!("{name} {}", axis_text(key, value)))
            })
            .collect();
        if !values.is_empty() {
            line += if is_init { ", " } else { ": " };
            line += &values.join(", ");
        }
        match &self.planned.forecast.held[stage] {
            Some(held) => line + "  [" + &state(held, node.epochs) + "]",
            None => line,
        }
    }

    fn first_point(&self, stage: usize) -> Option<usize> {
        let mut at = stage;
        loop {
            match (self.points[at].first(), self.children[at].first()) {
                (Some(&point), _) => return Some(point),
                (None, Some(&child)) => at = child,
                (None, None) => return None,
            }
        }
    }
}

fn state(held: &Held, epochs: u32) -> String {
    let there = match held.progress {
        StageProgress::Epochs(have) if have < epochs => format!("{have} of {epochs} epochs there"),
        StageProgress::Epochs(_) => "there".to_owned(),
        StageProgress::Stopped(have) => {
            format!("there, stopped early after {}", plural(have as usize, "epoch"))
        }
        StageProgress::Diverged(have) => format!("diverged after {}", plural(have as usize, "epoch")),
    };
    match &held.from {
        Some(from) => format!("{there}, from `{}`", from.display()),
        None => there,
    }
}

fn cohorts(planned: &Planned, text: &mut String) {
    let forecast = planned.forecast;
    if forecast.cohorts.is_empty() {
        let _ = writeln!(text, "nothing to train");
        return;
    }
    let _ = writeln!(text, "cohorts on {}:", planned.options.device);
    let mut rest: Vec<&CohortForecast> = forecast.cohorts.iter().collect();
    while let Some(first) = rest.first().map(|cohort| cohort.traits.lane.clone()) {
        let (alike, others): (Vec<_>, Vec<_>) =
            rest.into_iter().partition(|cohort| cohort.traits.lane == first);
        rest = others;
        let steps: u64 = alike.iter().map(|cohort| cohort.steps).sum();
        let seconds: Option<f64> = alike.iter().map(|cohort| cohort.seconds).sum();
        let mut widths: Vec<usize> = alike.iter().map(|cohort| cohort.stages.len()).collect();
        widths.sort_unstable_by(|a, b| b.cmp(a));
        let widths: Vec<String> = widths
            .chunk_by(|a, b| a == b)
            .map(|equal| match (equal.len(), equal[0]) {
                (1, 1) => "1 run".to_owned(),
                (1, width) => format!("{width} runs together"),
                (count, 1) => format!("{count} runs, one at a time"),
                (count, width) => format!("{count} x {width} runs together"),
            })
            .collect();
        let time = seconds.map_or(String::new(), |seconds| format!(", about {}", duration(seconds)));
        let _ = writeln!(text, "  {}: {}, {} steps{time}", alike[0].about, widths.join(" + "), number(steps));
    }
    let source = match planned.measured {
        true => "measured now",
        false => "from earlier runs here",
    };
    let _ = match forecast.seconds() {
        Some(seconds) => writeln!(text, "time: about {} ({source})", duration(seconds)),
        None => writeln!(text, "time: unknown, nothing like it has run here; --measure times a few steps"),
    };
    let _ = writeln!(text, "memory: about {} MB", number(forecast.memory.div_ceil(1 << 20)));
}

/// `disk: about 260 MB (weights 180 MB, optimizer states 75 MB, points 5.0 MB), 40 GB free`
fn disk(planned: &Planned, text: &mut String) {
    let space = &planned.forecast.space;
    let parts = [("weights", space.weights), ("optimizer states", space.optimizer), ("points", space.points)];
    let parts: Vec<String> = parts
        .iter()
        .filter(|(_, bytes)| *bytes > 0)
        .map(|(name, bytes)| format!("{name} {}", size(*bytes)))
        .collect();
    let _ = write!(text, "disk: about {} ({})", size(space.total()), parts.join(", "));
    if space.let_go > 0 {
        let _ = write!(text, ", of which {} go at the end", size(space.let_go));
    }
    if space.to_write < space.total() / 2 {
        let _ = write!(text, ", {} of it still to write", size(space.to_write));
    }
    let _ = match space.free {
        Some(free) => writeln!(text, ", {} free", size(free)),
        None => writeln!(text),
    };
    if let (true, Some(free)) = (space.is_tight(), space.free) {
        let root = planned.options.root.display();
        let _ = writeln!(
            text,
            "  warning: `{root}` has {} free, and about {} are still to be written; `[keep]` in the sweep file says what stays, `sweep clean` what could go",
            size(free),
            size(space.to_write)
        );
    }
}
