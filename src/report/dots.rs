//! Rows of dots with intervals on one scale: the forest plot, and the values of the axes.

use std::fmt::Write;

use super::stats::Interval;
use super::svg::{Figure, Scale, html_escape, letters, open, short, text};

/// One row.
pub struct Dot {
    pub label: String,
    pub value: f64,
    pub interval: Option<Interval>,
    /// Value and interval as people read them.
    pub text: String,
    /// What else it says when it is pointed at: `; 200 queries`.
    pub about: String,
    /// Attributes that say what it leads to.
    pub leads_to: String,
    pub kind: Kind,
    pub look: Look,
}

/// The attribute of a mark that leads to the answers of a row.
pub fn to_row(name: &str) -> String {
    format!(" data-row=\"{}\"", html_escape(name))
}

/// The attribute of a mark that leads to the points with these values of axes.
pub fn to_points(values: &[(&str, &str)]) -> String {
    format!(" data-only=\"{}\"", html_escape(&serde_json::json!(values).to_string()))
}

/// What a dot stands for, as a shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Trained,
    Baseline,
    /// Frames the range: one that lies far outside is an arrow at the edge.
    Reference,
}

/// What can be said of a dot, as a colour; hollow where nothing can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Better,
    Worse,
    Plain,
}

/// Rows under a title; an empty one takes no room.
pub struct Panel {
    pub title: String,
    pub dots: Vec<Dot>,
}

/// A figure of dots.
pub struct Dots {
    pub id: String,
    pub title: String,
    pub x_label: String,
    pub panels: Vec<Panel>,
    /// Long labels stand above their dots, short ones beside them.
    pub above: bool,
    /// A line at 0, and a scale that is no finer than this: what all but vanishes is to look so.
    pub around_zero: Option<f64>,
}

const WIDTH: f64 = 400.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 40.0;
/// Width of a character of a label, about.
const LETTER: f64 = 6.5;
/// Height of a panel's title.
const HEAD: f64 = 24.0;
/// Longest label beside a dot.
const BESIDE: usize = 22;

impl Dots {
    /// Draws the figure; `None` without a row.
    pub fn draw(&self) -> Option<Figure> {
        let scale = self.scale()?;
        let dots = || self.panels.iter().flat_map(|panel| &panel.dots);
        let longest = dots().map(|dot| letters(&cut(&dot.label, BESIDE))).fold(0.0, f64::max);
        let left = if self.above { 8.0 } else { LETTER * longest + 14.0 };
        let texts = dots().map(|dot| letters(&dot.text)).fold(0.0, f64::max);
        let right = WIDTH - LETTER * texts - 16.0;
        let step = if self.above { 33.0 } else { 19.0 };
        let heads = self.panels.iter().filter(|panel| !panel.title.is_empty()).count();
        let height = TOP + step * dots().count() as f64 + HEAD * heads as f64 + BOTTOM;
        let track = Track { left, right, scale };
        let mut svg = open("figure chart dots", WIDTH, height, &self.title);
        text(&mut svg, "title", 4.0, 18.0, "start", &self.title);
        track.draw_ticks(&mut svg, height - BOTTOM);
        text(&mut svg, "label", (left + right) / 2.0, height - 6.0, "middle", &self.x_label);
        let mut y = TOP;
        for panel in &self.panels {
            if !panel.title.is_empty() {
                text(&mut svg, "value halo", 4.0, y + HEAD - 7.0, "start", &panel.title);
                y += HEAD;
            }
            let end = y + step * panel.dots.len() as f64;
            track.draw_lines(&mut svg, y, end, self.around_zero.is_some());
            for dot in &panel.dots {
                self.draw_dot(&mut svg, dot, &track, y);
                y += step;
            }
        }
        svg += "</svg>";
        Some(Figure::same(&self.id, &self.title, svg))
    }

    /// Around everything that was trained, and those references that lie near it.
    fn scale(&self) -> Option<Scale> {
        let dots = || self.panels.iter().flat_map(|panel| &panel.dots);
        let ends = |dot: &Dot| {
            let Interval { low, high } = dot.interval.unwrap_or(Interval { low: dot.value, high: dot.value });
            [dot.value, low, high]
        };
        let around = self.around_zero.into_iter().flat_map(|least| [-least, 0.0, least]);
        let trained =
            || dots().filter(|dot| dot.kind != Kind::Reference).flat_map(ends).chain(around.clone());
        let own = Scale::exact(trained()).or_else(|| Scale::exact(dots().flat_map(ends)))?;
        let near = 0.5 * (own.high - own.low);
        let is_near = |value: &f64| (own.low - near..=own.high + near).contains(value);
        let references = dots().filter(|dot| dot.kind == Kind::Reference && is_near(&dot.value));
        Scale::around([own.low, own.high].into_iter().chain(references.flat_map(ends).filter(is_near)))
    }

    fn draw_dot(&self, svg: &mut String, dot: &Dot, track: &Track, y: f64) {
        let look = match dot.look {
            Look::Better => " better",
            Look::Worse => " worse",
            Look::Plain => "",
        };
        let _ = write!(
            svg,
            "<g class=\"dot{look}\"{}><title>{}</title>",
            dot.leads_to,
            html_escape(&format!("{}: {}{}", dot.label, dot.text, dot.about))
        );
        let middle = if self.above {
            let room = ((WIDTH - 8.0) / LETTER) as usize;
            text(svg, "value halo", 4.0, y + 12.0, "start", &cut(&dot.label, room));
            y + 22.0
        } else {
            text(svg, "tick", track.left - 8.0, y + 13.0, "end", &cut(&dot.label, BESIDE));
            y + 9.0
        };
        if let Some(Interval { low, high }) = dot.interval {
            let _ = write!(
                svg,
                "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>",
                track.at(low),
                track.at(high)
            );
        }
        track.mark(svg, dot, middle);
        text(svg, "tick", track.right + 10.0, middle + 4.0, "start", &dot.text);
        *svg += "</g>";
    }
}

/// Where dots and intervals lie.
struct Track {
    left: f64,
    right: f64,
    scale: Scale,
}

impl Track {
    /// What lies outside is put on the edge.
    fn at(&self, value: f64) -> f64 {
        self.left + self.scale.share(value).clamp(0.0, 1.0) * (self.right - self.left)
    }

    fn draw_ticks(&self, svg: &mut String, bottom: f64) {
        for tick in self.scale.ticks() {
            text(svg, "tick", self.at(tick), bottom + 15.0, "middle", &short(tick));
        }
    }

    fn draw_lines(&self, svg: &mut String, top: f64, bottom: f64, zero: bool) {
        for tick in self.scale.ticks() {
            let at = self.at(tick);
            let class = if zero && tick.abs() < 1e-12 { "grid zero" } else { "grid" };
            let _ = write!(
                svg,
                "<line class=\"{class}\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{top:.1}\" y2=\"{bottom:.1}\"/>"
            );
        }
    }

    /// A circle; a square for the baseline, a diamond for a reference, an arrow for what lies outside.
    fn mark(&self, svg: &mut String, dot: &Dot, y: f64) {
        let x = self.at(dot.value);
        let share = self.scale.share(dot.value);
        let path = match dot.kind {
            _ if !(0.0..=1.0).contains(&share) => {
                let tip = if share > 1.0 { 7.0 } else { -7.0 };
                format!("M{:.1} {:.1}l{tip} 5l{} 5z", x, y - 5.0, -tip)
            }
            Kind::Trained => {
                let _ = write!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"4\"/>");
                return;
            }
            Kind::Baseline => format!("M{:.1} {:.1}h8v8h-8z", x - 4.0, y - 4.0),
            Kind::Reference => format!("M{:.1} {:.1}l5 5l-5 5l-5 -5z", x, y - 5.0),
        };
        let class = if dot.kind == Kind::Baseline { " class=\"base\"" } else { "" };
        let _ = write!(svg, "<path{class} d=\"{path}\"/>");
    }
}

/// The first `room` characters.
fn cut(label: &str, room: usize) -> String {
    if label.chars().count() <= room {
        return label.to_owned();
    }
    let start: String = label.chars().take(room.saturating_sub(1)).collect();
    format!("{}…", start.trim_end())
}
