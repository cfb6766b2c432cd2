//! The report: one HTML file that needs nothing else.

use std::fmt::Write;

use super::figures::{Curve, Section, curve_name, curves, mapped_range};
use super::groups::questions;
use super::layout::{Detail, percent, shot_title, signed, verdict_text};
use super::matrix::{Matrix, Row, RowStatus};
use super::notes;
use super::observations::{Observation, best_row, failures, observations};
use super::render::html_escape as escape;
use super::stats::Interval;
use super::svg::{Figure, page_style, shade};
use crate::store::{ResolvedRecord, SweepResults};
use crate::text::{date_and_minute, thousands};

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
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<link rel=\"icon\" href=\"data:,\">\n<title>{name}</title>\n<style>\n{}{PAGE_STYLE}</style>\n</head>\n<body>\n<header>\n<h1>{name}</h1>\n",
            page_style()
        );
        page += &self.headline();
        page += "</header>\n<nav aria-label=\"Sections\"><a href=\"#findings\">Findings</a> <a href=\"#matrix\">Matrix</a>";
        for (section, id, title) in SECTIONS {
            if self.has(section) {
                let _ = write!(page, " <a href=\"#{id}\">{title}</a>");
            }
        }
        page += " <a href=\"#cost\">Cost</a> <a href=\"#provenance\">Provenance</a></nav>\n<main>\n";
        // The first finding is the headline.
        let headline = best_row(self.matrix);
        let mut findings = observations(self.results, self.matrix);
        findings.retain(|found| Some(found) != headline.as_ref());
        page += &list("findings", "Findings", &findings);
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
            text: format!("Hardly changed their parameters: {}.", names.join(", ")),
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
            Section::Learning | Section::Shots => {
                text += "<p class=\"soft control\"><span>Tick a point in the <a href=\"#points\">matrix</a> to show its curve.</span> <button type=\"button\" data-curves=\"none\">Hide all</button> <button type=\"button\" data-curves=\"first\">Best and baseline</button></p>\n";
                text += &self.legend();
            }
            Section::HeatMaps => text += &self.axes_choice(),
            Section::Movement | Section::Overlap | Section::Signal => {}
        }
        text += "<div class=\"figures\">\n";
        for (_, figure) in self.figures.iter().filter(|(other, _)| *other == section) {
            let axes = figure.axes.as_ref().map_or_else(String::new, |[down, across]| {
                format!(" data-down=\"{}\" data-across=\"{}\"", escape(down), escape(across))
            });
            let _ = writeln!(text, "<figure id=\"fig-{}\"{axes}>{}</figure>", escape(&figure.id), figure.svg);
        }
        text + "</div></section>\n"
    }

    /// What the maps show, and the choice of their axes. Without scripts, and on paper, all maps are there.
    fn axes_choice(&self) -> String {
        let mut text = String::new();
        if let Some((low, high)) = mapped_range(self.matrix) {
            let scale = if self.matrix.shots.is_empty() {
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

    /// Names of the visible curves, in their colours.
    fn legend(&self) -> String {
        let mut text = String::from("<ul class=\"legend\">\n");
        for (index, (look, row)) in curves(self.matrix).iter().zip(&self.matrix.points).enumerate() {
            let _ = writeln!(
                text,
                "<li class=\"series {}\" data-point=\"{index}\"><span>{}</span></li>",
                look.classes(),
                escape(&curve_name(row))
            );
        }
        text + "</ul>\n"
    }

    /// The matrix: configurations where several seeds were run, and every point with every figure; sortable
    /// and filterable.
    fn table(&self) -> String {
        let matrix = self.matrix;
        let mut text = String::from(
            "<section id=\"matrix\"><h2>Matrix</h2>\n<p class=\"control\"><label>Filter <input type=\"search\" id=\"filter\" placeholder=\"parts of names, values\" autocomplete=\"off\"></label> <span id=\"count\" class=\"soft\" role=\"status\"></span></p>\n",
        );
        if !matrix.configurations.is_empty() {
            text += "<h3>Configurations, averaged over seeds</h3>\n";
            text += &self.rows("configurations", &matrix.configurations, None);
            text += "<h3>Every point</h3>\n";
        }
        text += &self.rows("points", &matrix.points, Some(&curves(matrix)));
        text += "<ul class=\"soft\">\n";
        for note in notes::notes(matrix, matrix.main_rows(), Detail::Full) {
            let _ = writeln!(text, "<li>{}</li>", escape(&note));
        }
        text + "</ul>\n" + COLUMNS + "</section>\n"
    }

    /// One table: `rows` and the references, with ticks that switch curves where there are `looks`. Columns in
    /// which nothing stands are left out.
    fn rows(&self, id: &str, rows: &[Row], looks: Option<&[Curve]>) -> String {
        let shades = Shades {
            shots: (0..self.matrix.shots.len())
                .map(|shot| range(rows.iter().filter_map(|row| row.shots[shot])))
                .collect(),
            average: range(rows.iter().filter_map(|row| row.average)),
        };
        let references = &self.matrix.references;
        let cells: Vec<Vec<Option<String>>> = rows
            .iter()
            .map(|row| self.cells(row, Some(&shades)))
            .chain(references.iter().map(|row| self.cells(row, None)))
            .collect();
        let columns = self.columns(looks.is_some());
        let used: Vec<usize> =
            (0..columns.len()).filter(|&column| cells.iter().any(|row| row[column].is_some())).collect();
        let mut text = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{id}\"><table id=\"{id}\" class=\"results\"><thead><tr>{}<th scope=\"col\"><button type=\"button\">{}</button></th>",
            if looks.is_some() { "<th scope=\"col\">curve</th>" } else { "" },
            if looks.is_some() { "point" } else { "configuration" }
        );
        for &column in &used {
            let (title, numeric) = &columns[column];
            let class = if *numeric { " class=\"n\"" } else { "" };
            let _ = write!(
                text,
                "<th scope=\"col\"{class}><button type=\"button\">{}</button></th>",
                escape(title)
            );
        }
        text += "</tr></thead>\n<tbody>\n";
        for (index, (row, cells)) in rows.iter().chain(references).zip(&cells).enumerate() {
            let class = match () {
                () if row.status == RowStatus::Reference => " class=\"reference\"",
                () if row.is_baseline => " class=\"baseline\"",
                () => "",
            };
            let tick = looks.map_or_else(String::new, |looks| tick(index, row, looks.get(index).copied()));
            let _ = write!(text, "<tr{class}>{tick}<th scope=\"row\">{}</th>", escape(&row.name));
            for &column in &used {
                text += cells[column].as_deref().unwrap_or("<td></td>");
            }
            text += "</tr>\n";
        }
        text + "</tbody></table></div>\n"
    }

    /// Titles of [`Page::cells`], and whether they are numbers. What is compared comes first, so that narrow
    /// screens show it.
    fn columns(&self, points: bool) -> Vec<(String, bool)> {
        let matrix = self.matrix;
        let mut columns: Vec<(String, bool)> =
            matrix.shots.iter().map(|shot| (shot_title(shot), true)).collect();
        let figures = [
            ("average", true),
            ("95 % interval", true),
            ("vs baseline", true),
            ("its interval", true),
            ("p (Holm)", true),
            ("verdict", false),
            ("same", false),
            ("changed %", true),
            ("moved %", true),
            ("val_loss", true),
            ("KL", true),
            ("trainable", true),
        ];
        columns.extend(figures.map(|(title, numeric)| (title.to_owned(), numeric)));
        columns.extend(matrix.axes.iter().map(|axis| match axis.as_str() {
            "seed" if !points => ("seeds".to_owned(), true),
            _ => (axis.clone(), false),
        }));
        columns
    }

    /// A row's cells in the order of [`Page::columns`]; `None` where there is nothing to show.
    fn cells(&self, row: &Row, shades: Option<&Shades>) -> Vec<Option<String>> {
        let mut cells: Vec<Option<String>> = row
            .shots
            .iter()
            .enumerate()
            .map(|(shot, score)| {
                let range = shades.map(|shades| shades.shots[shot]);
                figure(*score, &percent(*score, 1).text, range)
            })
            .collect();
        let between =
            |interval: Interval| format!("{:.1} to {:.1}", 100.0 * interval.low, 100.0 * interval.high);
        let apart =
            |interval: Interval| format!("{} to {}", signed(interval.low, 1), signed(interval.high, 1));
        let number = |value: Option<f64>, digits: usize| {
            value.map(|value| format!("{value:.digits$}")).unwrap_or_default()
        };
        let delta = row.delta.map(|delta| signed(delta, 2)).unwrap_or_default();
        let trainable = row.trainable.map(|trainable| trainable as f64);
        cells.extend([
            figure(row.average, &percent(row.average, 2).text, shades.map(|shades| shades.average)),
            figure(
                row.average_interval.map(|interval| interval.high - interval.low),
                &row.average_interval.map(between).unwrap_or_default(),
                None,
            ),
            figure(row.delta, if row.is_baseline { "baseline" } else { &delta }, None),
            figure(
                row.delta_interval.map(|interval| interval.low),
                &row.delta_interval.map(apart).unwrap_or_default(),
                None,
            ),
            figure(row.p_holm, &number(row.p_holm, 3), None),
            plain(&verdict_text(row)),
            plain(row.identical.as_deref().unwrap_or_default()),
            figure(row.changed_share, &percent(row.changed_share, 1).text, None),
            figure(row.movement, &percent(row.movement, 3).text, None),
            figure(row.val_loss, &number(row.val_loss, 4), None),
            figure(row.kl, &number(row.kl, 4), None),
            figure(trainable, &row.trainable.map(thousands).unwrap_or_default(), None),
        ]);
        cells.extend(self.matrix.axes.iter().zip(&row.axes).map(|(name, axis)| match row.seeds {
            seeds if seeds > 1 && name == "seed" => figure(Some(seeds as f64), &seeds.to_string(), None),
            _ => plain(axis),
        }));
        cells
    }

    fn cost(&self) -> String {
        let epochs: usize = self.results.points.iter().map(|point| point.metrics.len()).sum();
        let mut facts =
            vec![("Epochs behind the points, shared ones counted for each".to_owned(), thousands(epochs))];
        if let (Some(steps), Some(naive)) = (self.cost.steps, self.cost.steps_naive) {
            let saved = if naive > 0 { 100.0 * (1.0 - steps as f64 / naive as f64) } else { 0.0 };
            facts.push(("Training steps of the plan".to_owned(), thousands(steps as usize)));
            facts.push((
                "Training steps without sharing".to_owned(),
                format!("{} ({saved:.0} % saved)", thousands(naive as usize)),
            ));
        }
        let judge = questions(&self.results.points);
        if judge.asked > 0 {
            let saved = 100.0 * (1.0 - judge.distinct as f64 / judge.asked as f64);
            facts.push((
                "Judge's answers, every point evaluated on its own".to_owned(),
                format!("{} (points × queries × shots)", thousands(judge.asked)),
            ));
            facts.push((
                "Judge's answers needed".to_owned(),
                format!(
                    "{} different (query, demonstrations) ({saved:.0} % saved)",
                    thousands(judge.distinct)
                ),
            ));
            // `eval.logged` is the only kind of evaluation so far.
            facts.push((
                "Judge calls made".to_owned(),
                "0 (all answers are in the file of `eval.logged`)".to_owned(),
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
        // Who held the directory matters only while a run goes on.
        let known = resolved.provenance.iter().filter(|(key, _)| *key != "holder");
        facts.extend(known.map(|(key, value)| match value.parse() {
            Ok(seconds) if key == "started" => (key.clone(), utc(seconds)),
            _ => (key.clone(), value.clone()),
        }));
        let mut text = section_of_facts("provenance", "Provenance", &facts);
        if let Some(point) = resolved.points.first() {
            let config = serde_json::to_string_pretty(&point.config).unwrap_or_default();
            let _ = writeln!(
                text,
                "<details><summary>Configuration of the first point, every default filled in</summary><pre>{}</pre></details>",
                escape(&config)
            );
        }
        text
    }
}

/// Explains the columns to those who see such a table for the first time.
const COLUMNS: &str = "<details><summary>What the columns mean</summary><dl>
<dt>Shot n, average</dt><dd>accuracy in percent with n demonstrations, and the mean of these</dd>
<dt>95 % interval</dt><dd>of the average, by bootstrap over the queries (and seeds)</dd>
<dt>vs baseline, its interval</dt><dd>difference to the baseline in points, query by query; an interval that holds 0 means that it may be noise</dd>
<dt>p (Holm)</dt><dd>probability of a difference at least as large without any true one, corrected for the number of rows</dd>
<dt>same</dt><dd>rows of a table with the same letter choose exactly the same demonstrations: they are one result</dd>
<dt>changed %</dt><dd>share of queries and shot counts whose selection differs from the baseline's</dd>
<dt>moved %</dt><dd>relative change of all parameters in the last phase of training</dd>
<dt>val_loss, KL</dt><dd>of the last epoch</dd>
<dt>trainable</dt><dd>parameters that were not frozen in the last phase</dd>
</dl></details>
";

/// Ranges over which cells are shaded.
struct Shades {
    shots: Vec<(f64, f64)>,
    average: (f64, f64),
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

/// Seconds since 1970 as `2026-01-31 23:59:59 UTC`.
fn utc(unix: u64) -> String {
    let (minute, seconds) = date_and_minute(unix);
    format!("{minute}:{seconds:02} UTC")
}

fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// The cell of a table that switches a point's curves; a reference has none.
fn tick(index: usize, row: &Row, look: Option<Curve>) -> String {
    look.map_or_else(
        || "<td></td>".to_owned(),
        |look| {
            format!(
                "<td><input type=\"checkbox\" data-point=\"{index}\"{} aria-label=\"curves of {}\"></td>",
                if look.shown { " checked data-first" } else { "" },
                escape(&row.name)
            )
        },
    )
}

fn plain(shown: &str) -> Option<String> {
    let shown = escape(shown);
    (!shown.is_empty()).then(|| format!("<td data-v=\"{shown}\">{shown}</td>"))
}

/// A number: its value for sorting, its text, and its shade where the column has one.
fn figure(value: Option<f64>, shown: &str, range: Option<(f64, f64)>) -> Option<String> {
    let value = value?;
    let shown = escape(shown);
    Some(match range {
        Some(range) => format!(
            "<td class=\"n v\" style=\"--v:{:.2}\" data-v=\"{value}\">{shown}</td>",
            shade(value, range)
        ),
        None => format!("<td class=\"n\" data-v=\"{value}\">{shown}</td>"),
    })
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_399), "2000-02-28 23:59:59 UTC");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_795_244_316), "2026-11-21 06:58:36 UTC");
    }
}
