//! The report: one HTML file that needs nothing else.

mod answers;
mod compare;
mod data;
mod facts;
mod picture;
mod table;

use std::fmt::Write;

use super::curves::{Section, charts};
use super::figures::mapped_range;
use super::matrix::{Matrix, RowStatus};
use super::notes;
use super::observations::{Observation, best_row, failures, observations};
use super::render::html_escape as escape;
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
        let mut page = open(&self.matrix.name, self.follow);
        page += &self.headline();
        page += "</header>\n<nav aria-label=\"Sections\"><div class=\"links\"><a href=\"#picture\">Picture</a> <a href=\"#findings\">Findings</a> <a href=\"#matrix\">Matrix</a>";
        let sections = sections(&self.results.experiment);
        for (section, id, title) in &sections {
            if self.has(*section) {
                let _ = write!(page, " <a href=\"#{id}\">{title}</a>");
            }
        }
        page += " <a href=\"#cost\">Cost</a> <a href=\"#provenance\">Provenance</a></div>\n";
        page += FILTERS;
        page += "</nav>\n<main>\n";
        let charts = charts(self.results, self.matrix);
        let tables = table::tables(self.matrix);
        // The first finding is the headline.
        let headline = best_row(self.matrix);
        let mut findings = observations(self.results, self.matrix);
        findings.retain(|found| Some(found) != headline.as_ref());
        let warnings = self.warnings();
        let words = list("findings", "Findings", &findings);
        page += &picture::section(self.matrix, self.figures, &charts, warnings.len(), &words);
        page += &table::section(self.matrix, &tables);
        page += &list("warnings", "Warnings", &warnings);
        for (section, id, title) in &sections {
            page += &self.section(*section, id, title);
        }
        page += &facts::cost(self.results, self.cost);
        page += &facts::provenance(self.resolved);
        let mut known = data::of_sweep(self.results, self.matrix, &tables, &charts, self.asked);
        data::merge(&mut known, serde_json::json!({ "follow": self.follow }));
        page + &close(&known)
    }

    fn headline(&self) -> String {
        let done = self.matrix.points.iter().filter(|row| row.status == RowStatus::Done).count();
        let [_, several] = names(&self.matrix.score_columns).inputs;
        let queries = self
            .matrix
            .queries()
            .map_or_else(String::new, |queries| format!(", {} evaluation {several}", thousands(queries)));
        let points = format!("{done} of {} points finished{queries}", self.matrix.points.len());
        match best_row(self.matrix) {
            Some(found) => format!(
                "<p class=\"headline\">{}</p>\n<p class=\"soft\">{}. {points}.</p>\n",
                escape(&found.text),
                escape(&found.evidence)
            ),
            None => format!("<p class=\"headline\">No results yet.</p>\n<p class=\"soft\">{points}.</p>\n"),
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

    fn section(&self, section: Section, id: &str, title: &str) -> String {
        if !self.has(section) {
            return String::new();
        }
        let mut text = format!("<section id=\"{id}\"><h2>{title}</h2>\n");
        match section {
            Section::Learning | Section::Columns => {
                text += "<p class=\"soft control\"><span>Tick a point in the <a href=\"#points\">matrix</a> to show its curve.</span> <button type=\"button\" data-curves=\"none\">Hide all</button> <button type=\"button\" data-curves=\"first\">Best and baseline</button></p>\n";
                text += &legend(self.matrix);
            }
            Section::HeatMaps => text += &self.axes_choice(),
            Section::Picture | Section::Movement | Section::Overlap | Section::Signal => {}
        }
        text += "<div class=\"figures\">\n";
        for (_, figure) in self.figures.iter().filter(|(other, _)| *other == section) {
            let axes = figure.axes.as_ref().map_or_else(String::new, |[down, across]| {
                format!(" data-down=\"{}\" data-across=\"{}\"", escape(down), escape(across))
            });
            let setting = figure.setting.as_ref();
            let axes = axes
                + &setting.map_or_else(String::new, |value| format!(" data-setting=\"{}\"", escape(value)));
            let _ = writeln!(text, "<figure id=\"fig-{}\"{axes}>{}</figure>", escape(&figure.id), figure.svg);
        }
        text + "</div></section>\n"
    }

    /// What the maps show, and the choice of their axes. Without scripts, and on paper, all maps are there.
    fn axes_choice(&self) -> String {
        let mut text = String::new();
        if let Some((low, high)) = mapped_range(self.matrix) {
            let scale = if self.matrix.score_columns.is_empty() {
                format!("{low:.4} (faint) to {high:.4} (strong)")
            } else {
                format!("{:.2} % (faint) to {:.2} % (strong)", 100.0 * low, 100.0 * high)
            };
            text = format!(
                "<p class=\"soft\">A cell is the mean of all points with its two values. All maps share one colour scale, from the lowest point to the highest: {scale}.</p>\n"
            );
        }
        let mut axes: Vec<&str> = Vec::new();
        for axis in self.figures.iter().filter_map(|(_, figure)| figure.axes.as_ref()).flatten() {
            if !axes.contains(&axis.as_str()) {
                axes.push(axis);
            }
        }
        if axes.len() > 2 {
            let select = |id: &str, chosen: usize| {
                let option = |(index, axis): (usize, &&str)| {
                    let selected = if index == chosen { " selected" } else { "" };
                    format!("<option{selected}>{}</option>", escape(axis))
                };
                let options: String = axes.iter().enumerate().map(option).collect();
                format!("<select id=\"{id}\">{options}</select>")
            };
            let _ = writeln!(
                text,
                "<p class=\"control\" id=\"axes\" hidden><label>Axes {}</label> <label>and {}</label></p>",
                select("axis-one", 0),
                select("axis-two", 1)
            );
        }
        text
    }
}

/// The bar that the script fills with the axes.
const FILTERS: &str =
    "<div id=\"filters\" class=\"control\" role=\"group\" aria-label=\"Filters\" hidden></div>\n";

/// The head of a page, up to its title.
fn open(title: &str, follow: Option<u64>) -> String {
    let title = escape(title);
    // With scripts the page loads itself again where nobody is disturbed.
    let again = follow.map_or_else(String::new, |seconds| {
        format!("<noscript><meta http-equiv=\"refresh\" content=\"{seconds}\"></noscript>\n")
    });
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n{again}<link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{}{PAGE_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{title}</h1>\n",
        page_style()
    )
}

/// The end of a page: what its script knows, and the script.
fn close(known: &serde_json::Value) -> String {
    format!(
        "</main>\n<dialog id=\"look\" aria-label=\"answers\"></dialog>\n{}<script>\n(() => {{\n\"use strict\";\n{}}})();\n</script>\n</body>\n</html>\n",
        data::block(known),
        SCRIPT.concat()
    )
}

/// The sections with charts: element and title.
fn sections(experiment: &str) -> [(Section, String, String); 6] {
    let (field, signal) = (columns_of(experiment).field, signal_of(experiment));
    let own = |section, id: &str, title: &str| (section, id.to_owned(), title.to_owned());
    [
        own(Section::HeatMaps, "heat", "Heat maps"),
        (Section::Columns, format!("{field}s"), format!("Accuracy by {field}s")),
        own(Section::Learning, "learning", "Learning curves"),
        own(Section::Movement, "movement", "Parameter movement"),
        own(Section::Overlap, "overlap", "Selection overlap"),
        (Section::Signal, "signal".to_owned(), format!("{} signal", capitalized(signal))),
    ]
}

fn list(id: &str, title: &str, observations: &[Observation]) -> String {
    if observations.is_empty() {
        return String::new();
    }
    let mut text = format!("<section id=\"{id}\"><h2>{title}</h2>\n<ul>\n");
    for found in observations {
        let _ = writeln!(
            text,
            "<li>{} <span class=\"soft\">{}</span></li>",
            escape(&found.text),
            escape(&found.evidence)
        );
    }
    text + "</ul></section>\n"
}
