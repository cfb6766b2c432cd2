//! The report: one HTML file that needs nothing else.

use std::fmt::Write;

use super::figures::{Section, shown_at_first};
use super::layout::{percent, shot_title, signed, thousands, verdict_text};
use super::matrix::{Matrix, Row, RowStatus};
use super::observations::{Observation, best_row, failures, observations};
use super::render::html_escape as escape;
use super::svg::{Figure, STYLE, shade};
use crate::store::{ResolvedRecord, SweepResults};

const PAGE_STYLE: &str = include_str!("html_assets/report.css");
const SCRIPT: &str = include_str!("html_assets/report.js");

/// What a run cost, as far as its records say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Training steps of the plan, and those of a run without sharing.
    pub steps: Option<u64>,
    pub steps_naive: Option<u64>,
    /// Wall time of all launches.
    pub seconds: Option<f64>,
}

/// Everything that the page is made from.
pub struct Page<'a> {
    pub results: &'a SweepResults,
    pub matrix: &'a Matrix,
    pub figures: &'a [(Section, Figure)],
    pub resolved: &'a ResolvedRecord,
    pub cost: Cost,
}

impl Page<'_> {
    /// The whole file.
    pub fn html(&self) -> String {
        let name = escape(&self.matrix.name);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{name}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{name}</h1>\n"
        );
        page += &self.headline();
        page += "</header>\n<nav aria-label=\"Sections\"><a href=\"#findings\">Findings</a> <a href=\"#matrix\">Matrix</a>";
        for (section, id, title) in SECTIONS {
            if self.has(section) {
                let _ = write!(page, " <a href=\"#{id}\">{title}</a>");
            }
        }
        page += " <a href=\"#cost\">Cost</a> <a href=\"#provenance\">Provenance</a></nav>\n<main>\n";
        page += &list("findings", "Findings", &observations(self.results, self.matrix));
        page += &self.table();
        page += &list("warnings", "Warnings", &self.warnings());
        for (section, id, title) in SECTIONS {
            page += &self.section(section, id, title);
        }
        page += &self.cost();
        page += &self.provenance();
        let _ = write!(page, "</main>\n<script>\n{SCRIPT}</script>\n</body>\n</html>\n");
        page
    }

    fn headline(&self) -> String {
        let done = self.matrix.points.iter().filter(|row| row.status == RowStatus::Done).count();
        let queries = self
            .matrix
            .queries()
            .map_or_else(String::new, |queries| format!(", {} evaluation queries", thousands(queries)));
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

    /// Failures, and points that hardly moved, grouped by cause.
    fn warnings(&self) -> Vec<Observation> {
        let mut warnings = failures(self.results);
        let mut by_cause: Vec<(&str, Vec<&str>)> = Vec::new();
        for row in &self.matrix.points {
            let Some((_, cause)) = row.warning.as_deref().and_then(|warning| warning.split_once(": ")) else {
                continue;
            };
            match by_cause.iter_mut().find(|(other, _)| *other == cause) {
                Some((_, names)) => names.push(&row.name),
                None => by_cause.push((cause, vec![&row.name])),
            }
        }
        warnings.extend(by_cause.into_iter().map(|(cause, names)| Observation {
            text: format!("Hardly changed their parameters: {}.", names.join(", ")),
            evidence: cause.to_owned(),
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
        if matches!(section, Section::Learning | Section::Shots) {
            text += "<p class=\"soft\">Tick a row of the matrix to show its curve. <button type=\"button\" data-curves=\"none\">Hide all</button> <button type=\"button\" data-curves=\"first\">Best and baseline</button></p>\n";
        }
        text += "<div class=\"figures\">\n";
        for (_, figure) in self.figures.iter().filter(|(other, _)| *other == section) {
            let _ = writeln!(text, "<figure id=\"fig-{}\">{}</figure>", escape(&figure.id), figure.svg);
        }
        text + "</div></section>\n"
    }

    /// The matrix: every point with every figure, sortable and filterable.
    fn table(&self) -> String {
        let matrix = self.matrix;
        let shown = shown_at_first(matrix);
        let mut text = String::from(
            "<section id=\"matrix\"><h2>Matrix</h2>\n<p><label>Filter <input type=\"search\" id=\"filter\" placeholder=\"kl0.15 frozen\" autocomplete=\"off\"></label> <span id=\"count\" class=\"soft\" role=\"status\"></span></p>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Results matrix\"><table id=\"points\"><thead><tr><th scope=\"col\">curve</th>",
        );
        for (title, numeric) in self.columns() {
            let class = if numeric { " class=\"n\"" } else { "" };
            let _ = write!(
                text,
                "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
                escape(&title)
            );
        }
        text += "</tr></thead>\n<tbody>\n";
        let ranges: Vec<(f64, f64)> = (0..matrix.shots.len())
            .map(|shot| range(matrix.points.iter().filter_map(|row| row.shots[shot])))
            .collect();
        let average = range(matrix.points.iter().filter_map(|row| row.average));
        for (index, row) in matrix.points.iter().enumerate() {
            let tick = format!(
                "<input type=\"checkbox\" data-point=\"{index}\"{}{} aria-label=\"curves of {}\">",
                if shown[index] { " checked" } else { "" },
                if shown[index] { " data-first" } else { "" },
                escape(&row.name)
            );
            self.row(&mut text, row, &tick, Some((&ranges, average)));
        }
        for row in &matrix.references {
            self.row(&mut text, row, "", None);
        }
        text + "</tbody></table></div></section>\n"
    }

    fn columns(&self) -> Vec<(String, bool)> {
        let matrix = self.matrix;
        let mut columns = vec![("point".to_owned(), false)];
        columns.extend(matrix.axes.iter().map(|axis| (axis.clone(), false)));
        columns.extend(matrix.shots.iter().map(|shot| (shot_title(shot), true)));
        let figures = [
            ("average", true),
            ("95 % interval", true),
            ("vs baseline", true),
            ("its interval", true),
            ("p (Holm)", true),
            ("verdict", false),
            ("val_loss", true),
            ("KL", true),
            ("moved %", true),
            ("changed %", true),
            ("same", false),
            ("trainable", true),
        ];
        columns.extend(figures.map(|(title, numeric)| (title.to_owned(), numeric)));
        columns
    }

    fn row(&self, text: &mut String, row: &Row, tick: &str, shades: Option<(&[(f64, f64)], (f64, f64))>) {
        let class = match () {
            () if row.status == RowStatus::Reference => " class=\"reference\"",
            () if row.is_baseline => " class=\"baseline\"",
            () => "",
        };
        let _ = write!(text, "<tr{class}><td>{tick}</td><th scope=\"row\">{}</th>", escape(&row.name));
        for axis in &row.axes {
            plain(text, axis, axis);
        }
        for (shot, score) in row.shots.iter().enumerate() {
            let range = shades.map(|(ranges, _)| ranges[shot]);
            figure(text, *score, &percent(*score, 1).text, range);
        }
        figure(text, row.average, &percent(row.average, 2).text, shades.map(|(_, range)| range));
        let interval = |interval: super::stats::Interval| {
            format!("{:.1} to {:.1}", 100.0 * interval.low, 100.0 * interval.high)
        };
        let width = |interval: super::stats::Interval| interval.high - interval.low;
        figure(
            text,
            row.average_interval.map(width),
            &row.average_interval.map(interval).unwrap_or_default(),
            None,
        );
        let delta = row.delta.map(|delta| signed(delta, 2)).unwrap_or_default();
        figure(text, row.delta, if row.is_baseline { "baseline" } else { &delta }, None);
        let between = |interval: super::stats::Interval| {
            format!("{} to {}", signed(interval.low, 1), signed(interval.high, 1))
        };
        figure(
            text,
            row.delta_interval.map(|interval| interval.low),
            &row.delta_interval.map(between).unwrap_or_default(),
            None,
        );
        let number = |value: Option<f64>, digits: usize| {
            value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
        };
        figure(text, row.p_holm, &number(row.p_holm, 3), None);
        let verdict = verdict_text(row);
        plain(text, &verdict, &verdict);
        figure(text, row.val_loss, &number(row.val_loss, 4), None);
        figure(text, row.kl, &number(row.kl, 4), None);
        figure(text, row.movement, &percent(row.movement, 3).text, None);
        figure(text, row.changed_share, &percent(row.changed_share, 1).text, None);
        let letter = row.identical.clone().unwrap_or_default();
        plain(text, &letter, &letter);
        let trainable = row.trainable.map(|trainable| trainable as f64);
        figure(text, trainable, &row.trainable.map(thousands).unwrap_or_default(), None);
        *text += "</tr>\n";
    }

    fn cost(&self) -> String {
        let epochs: usize = self.results.points.iter().map(|point| point.metrics.len()).sum();
        let mut facts = vec![("Epochs behind the points, counted per point".to_owned(), thousands(epochs))];
        if let (Some(steps), Some(naive)) = (self.cost.steps, self.cost.steps_naive) {
            let saved = if naive > 0 { 100.0 * (1.0 - steps as f64 / naive as f64) } else { 0.0 };
            facts.push(("Training steps of the plan".to_owned(), thousands(steps as usize)));
            facts.push((
                "Training steps without sharing".to_owned(),
                format!("{} ({saved:.0} % saved)", thousands(naive as usize)),
            ));
        }
        if let Some(seconds) = self.cost.seconds {
            facts.push(("Wall time of all launches".to_owned(), format!("{seconds:.1} s")));
        }
        section_of_facts("cost", "Cost", &facts)
    }

    fn provenance(&self) -> String {
        let resolved = self.resolved;
        let mut facts = vec![("sweep version".to_owned(), resolved.version.clone())];
        facts.extend(resolved.inputs.iter().map(|(key, hash)| (format!("{key} (blake3)"), hash.clone())));
        facts.extend(resolved.provenance.iter().map(|(key, value)| (key.clone(), value.clone())));
        let mut text = section_of_facts("provenance", "Provenance", &facts);
        if let Some(point) = resolved.points.first() {
            let config = serde_json::to_string_pretty(&point.config).unwrap_or_default();
            let _ = write!(
                text,
                "<details><summary>Configuration of the first point, every default filled in</summary><pre>{}</pre></details>\n",
                escape(&config)
            );
        }
        text
    }
}

const SECTIONS: [(Section, &str, &str); 6] = [
    (Section::HeatMaps, "heat", "Heat maps"),
    (Section::Shots, "shots", "Accuracy by shots"),
    (Section::Learning, "learning", "Learning curves"),
    (Section::Movement, "movement", "Parameter movement"),
    (Section::Overlap, "overlap", "Selection overlap"),
    (Section::Signal, "signal", "Reward signal"),
];

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

fn section_of_facts(id: &str, title: &str, facts: &[(String, String)]) -> String {
    let mut text = format!("<section id=\"{id}\"><h2>{title}</h2>\n<dl>\n");
    for (key, value) in facts {
        let _ = writeln!(text, "<dt>{}</dt><dd>{}</dd>", escape(key), escape(value));
    }
    text + "</dl></section>\n"
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

fn plain(text: &mut String, sort: &str, shown: &str) {
    let _ = write!(text, "<td data-v=\"{}\">{}</td>", escape(sort), escape(shown));
}

/// A number: its value for sorting, its text, and its shade where the column has one.
fn figure(text: &mut String, value: Option<f64>, shown: &str, range: Option<(f64, f64)>) {
    let sort = value.map(|value| format!("{value}")).unwrap_or_default();
    let _ = match value.zip(range) {
        Some((value, range)) => write!(
            text,
            "<td class=\"n v\" style=\"--v:{:.2}\" data-v=\"{sort}\">{}</td>",
            shade(value, range),
            escape(shown)
        ),
        None => write!(text, "<td class=\"n\" data-v=\"{sort}\">{}</td>", escape(shown)),
    };
}
