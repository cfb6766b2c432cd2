//! The report: one HTML file that needs nothing else.

mod answers;
mod compare;
mod data;
mod facts;
mod meanings;
mod picture;
mod table;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::curves::{Section, charts};
use super::figures::mapped_range;
use super::matrix::{Matrix, RowStatus};
use super::notes;
use super::observations::{Observation, best_row, failures, observations};
use super::svg::{Figure, page_style};
use super::words::names;
use crate::spec::{columns_of, signal_of};
use crate::store::{ResolvedRecord, SweepResults};
use crate::text::{capitalized, thousands};

pub use answers::Asked;
pub use compare::Comparison;
pub use facts::Cost;
use picture::legend;

const PAGE_STYLE: &str = include_str!("../assets/report.css");
/// One script in several files: what the page knows, tables, pictures, answers, and what starts it.
const SCRIPT: [&str; 5] = [
    include_str!("../assets/report.js"),
    include_str!("../assets/tables.js"),
    include_str!("../assets/charts.js"),
    include_str!("../assets/look.js"),
    include_str!("../assets/start.js"),
];

/// Everything that the page is made from.
pub struct Page<'a> {
    pub results: &'a SweepResults,
    pub matrix: &'a Matrix,
    pub figures: &'a [(Section, Figure)],
    pub resolved: &'a ResolvedRecord,
    pub cost: Cost,
    /// Seconds after which the page loads itself again, while a run goes on.
    pub follow: Option<u64>,
    /// Where a judge was asked.
    pub asked: Option<Asked<'a>>,
}

impl Page<'_> {
    /// The whole file.
    pub fn html(&self) -> String {
        let charts = charts(self.results, self.matrix);
        let tables = table::tables(self.matrix);
        // The first finding is the headline.
        let headline = best_row(self.matrix);
        let mut findings = observations(self.results, self.matrix);
        findings.retain(|found| Some(found) != headline.as_ref());
        let findings = list("findings", "Findings", &findings);
        let warnings = self.warnings();
        let sections: Vec<ChartSection> =
            chart_sections(&self.results.experiment).filter(|one| self.has(one.section)).collect();
        let main = html! {
            (picture::section(self.matrix, self.figures, &charts, warnings.len(), &findings))
            (table::section(self.matrix, &tables))
            (list("warnings", "Warnings", &warnings))
            @for one in &sections { (self.section(one)) }
            (facts::cost(self.results, self.cost))
            (facts::provenance(self.resolved))
        };
        let mut known = data::of_sweep(self.results, self.matrix, &tables, &charts, self.asked);
        data::merge(&mut known, serde_json::json!({ "follow": self.follow }));
        let first = [("picture", "Picture"), ("findings", "Findings"), ("matrix", "Matrix")];
        let links = first.into_iter().chain(sections.iter().map(|one| (one.id.as_str(), one.title.as_str())));
        let frame = Frame {
            title: &self.matrix.name,
            follow: self.follow,
            headline: self.headline(headline.as_ref()),
            links: links.chain([("cost", "Cost"), ("provenance", "Provenance")]).collect(),
        };
        frame.around(&main, &known)
    }

    fn headline(&self, best: Option<&Observation>) -> Markup {
        let done = self.matrix.points.iter().filter(|row| row.status == RowStatus::Done).count();
        let [_, several] = names(&self.matrix.score_columns).inputs;
        let queries = self
            .matrix
            .queries()
            .map_or_else(String::new, |queries| format!(", {} evaluation {several}", thousands(queries)));
        let points = format!("{done} of {} points finished{queries}", self.matrix.points.len());
        html! {
            @match best {
                Some(found) => {
                    p class="headline" { (found.text) } "\n"
                    p class="soft" { (found.evidence) ". " (points) "." } "\n"
                }
                None => {
                    p class="headline" { "No results yet." } "\n"
                    p class="soft" { (points) "." } "\n"
                }
            }
        }
    }

    /// Failures, and points that hardly moved, grouped by their first cause.
    fn warnings(&self) -> Vec<Observation> {
        let mut warnings = failures(self.results);
        let mut by_cause: Vec<(&str, &str, Vec<&str>)> = Vec::new();
        for row in &self.matrix.points {
            let Some((_, causes)) = row.warning.as_deref().and_then(|warning| warning.split_once(": "))
            else {
                continue;
            };
            let first = causes.split(';').next().unwrap_or(causes);
            match by_cause.iter_mut().find(|(other, _, _)| *other == first) {
                Some((_, _, names)) => names.push(&row.name),
                None => by_cause.push((first, causes, vec![&row.name])),
            }
        }
        warnings.extend(by_cause.into_iter().map(|(_, causes, names)| Observation {
            text: format!("Hardly changed their parameters: {}.", notes::list(&names)),
            evidence: format!("{}: {causes}", names[0]),
        }));
        warnings
    }

    fn has(&self, section: Section) -> bool {
        self.figures.iter().any(|(other, _)| *other == section)
    }

    fn section(&self, ChartSection { section, id, title }: &ChartSection) -> Markup {
        let figures = || self.figures.iter().filter(|(other, _)| other == section);
        html! {
            section id=(id) { h2 { (title) } "\n"
                @match section {
                    Section::Learning | Section::Columns => (self.curves_choice()),
                    Section::HeatMaps => (self.axes_choice()),
                    Section::Picture | Section::Movement | Section::Overlap | Section::Signal => {}
                }
                div class="figures" { "\n"
                    @for (_, figure) in figures() {
                        @let down = figure.axes.as_ref().map(|[down, _]| down);
                        @let across = figure.axes.as_ref().map(|[_, across]| across);
                        figure id={ "fig-" (figure.id) } data-down=[down] data-across=[across] data-setting=[&figure.setting] {
                            (PreEscaped(&figure.svg))
                        } "\n"
                    }
                }
            } "\n"
        }
    }

    fn curves_choice(&self) -> Markup {
        html! {
            p class="soft control" {
                span { "Tick a point in the " a href="#points" { "matrix" } " to show its curve." } " "
                button type="button" data-curves="none" { "Hide all" } " "
                button type="button" data-curves="first" { "Best and baseline" }
            } "\n"
            (legend(self.matrix))
        }
    }

    /// What the maps show, and the choice of their axes. Without scripts, and on paper, all maps are there.
    fn axes_choice(&self) -> Markup {
        let scale = |(low, high): (f64, f64)| match self.matrix.score_columns.is_empty() {
            true => format!("{low:.4} (faint) to {high:.4} (strong)"),
            false => format!("{:.2} % (faint) to {:.2} % (strong)", 100.0 * low, 100.0 * high),
        };
        let mut axes: Vec<&str> = Vec::new();
        for axis in self.figures.iter().filter_map(|(_, figure)| figure.axes.as_ref()).flatten() {
            if !axes.contains(&axis.as_str()) {
                axes.push(axis);
            }
        }
        let select = |id: &str, chosen: usize| {
            html! {
                select id=(id) {
                    @for (index, axis) in axes.iter().enumerate() {
                        option selected[index == chosen] { (axis) }
                    }
                }
            }
        };
        html! {
            @if let Some(range) = mapped_range(self.matrix) {
                p class="soft" {
                    "A cell is the mean of all points with its two values. All maps share one colour scale, from the lowest point to the highest: "
                    (scale(range)) "."
                } "\n"
            }
            @if axes.len() > 2 {
                p class="control" id="axes" hidden {
                    label { "Axes " (select("axis-one", 0)) } " "
                    label { "and " (select("axis-two", 1)) }
                } "\n"
            }
        }
    }
}

/// What stands around the contents of a page.
struct Frame<'a> {
    title: &'a str,
    /// Seconds after which the page loads itself again.
    follow: Option<u64>,
    /// What stands below the title.
    headline: Markup,
    /// Sections that can be jumped to: id and title.
    links: Vec<(&'a str, &'a str)>,
}

impl Frame<'_> {
    /// The whole file, with what its script knows.
    fn around(&self, main: &Markup, known: &serde_json::Value) -> String {
        let page = html! {
            (DOCTYPE) "\n"
            html lang="en" { "\n"
                (self.head()) "\n"
                body { "\n"
                    header { "\n" h1 { (self.title) } "\n" (self.headline) } "\n"
                    nav aria-label="Sections" {
                        div class="links" {
                            @for (index, (id, title)) in self.links.iter().enumerate() {
                                @if index > 0 { " " }
                                a href={ "#" (id) } { (title) }
                            }
                        } "\n"
                        // The script fills it with the axes.
                        div id="filters" class="control" role="group" aria-label="Filters" hidden {} "\n"
                    } "\n"
                    main { "\n" (main) } "\n"
                    dialog id="look" aria-label="answers" {} "\n"
                    (data::block(known))
                    script {
                        (PreEscaped("\n(() => {\n\"use strict\";\n"))
                        @for part in SCRIPT { (PreEscaped(part)) }
                        "})();\n"
                    } "\n"
                } "\n"
            } "\n"
        };
        page.into_string()
    }

    fn head(&self) -> Markup {
        html! {
            head { "\n"
                meta charset="utf-8"; "\n"
                meta name="viewport" content="width=device-width, initial-scale=1"; "\n"
                meta name="color-scheme" content="light dark"; "\n"
                // With scripts the page loads itself again where nobody is disturbed.
                @if let Some(seconds) = self.follow {
                    noscript { meta http-equiv="refresh" content=(seconds); } "\n"
                }
                link rel="icon" href="data:,"; "\n"
                title { (self.title) } "\n"
                style { "\n" (PreEscaped(page_style())) (PreEscaped(PAGE_STYLE)) } "\n"
            }
        }
    }
}

/// A section with charts.
struct ChartSection {
    section: Section,
    /// Of its element.
    id: String,
    title: String,
}

/// All sections with charts, in the order of the page.
fn chart_sections(experiment: &str) -> impl Iterator<Item = ChartSection> {
    let (field, signal) = (columns_of(experiment).field, signal_of(experiment));
    let all = [
        (Section::HeatMaps, "heat".to_owned(), "Heat maps".to_owned()),
        (Section::Columns, format!("{field}s"), format!("Accuracy by {field}s")),
        (Section::Learning, "learning".to_owned(), "Learning curves".to_owned()),
        (Section::Movement, "movement".to_owned(), "Parameter movement".to_owned()),
        (Section::Overlap, "overlap".to_owned(), "Selection overlap".to_owned()),
        (Section::Signal, "signal".to_owned(), format!("{} signal", capitalized(signal))),
    ];
    all.into_iter().map(|(section, id, title)| ChartSection { section, id, title })
}

fn list(id: &str, title: &str, observations: &[Observation]) -> Markup {
    html! {
        @if !observations.is_empty() {
            section id=(id) { h2 { (title) } "\n"
                ul { "\n"
                    @for found in observations {
                        li { (found.text) " " span class="soft" { (found.evidence) } } "\n"
                    }
                }
            } "\n"
        }
    }
}
