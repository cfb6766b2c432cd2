//! What the page begins with: three questions, each with the picture that answers it, and the findings in words.

use std::fmt::Write;

use crate::report::curves::{Section, curve_name, curves, health};
use crate::report::matrix::{Matrix, Row};
use crate::report::render::html_escape as escape;
use crate::report::svg::{Figure, LineChart};
use crate::text::plural;

/// The first screen: `findings` is their section.
pub fn section(
    matrix: &Matrix,
    figures: &[(Section, Figure)],
    charts: &[(Section, LineChart)],
    warnings: usize,
    findings: &str,
) -> String {
    let mut text = String::from("<div id=\"picture\">\n");
    let drawn = |id: &str| figures.iter().map(|(_, figure)| figure).find(|figure| figure.id == id);
    if let Some(forest) = drawn("forest") {
        let question = match matrix.main_rows().iter().any(|row| row.delta.is_some()) {
            true => "Which is best, and is it really better?",
            false => "Which is best?",
        };
        text += &card("best", question, &[forest], &forest_caption(matrix));
    }
    if let Some(axes) = drawn("axes") {
        text += &card("axis", "Which axis matters?", &[axes], axes_caption(matrix));
    }
    let charts = health(charts);
    if !charts.is_empty() {
        let warned = match warnings {
            0 => String::new(),
            count => format!(" There are <a href=\"#warnings\">{}</a>.", plural(count, "warning")),
        };
        let caption = format!(
            "{}<p class=\"soft\">Every other curve is <a href=\"#learning\">below</a>.{warned}</p>",
            legend(matrix)
        );
        let charts: Vec<&Figure> = charts.iter().collect();
        text += &card("health", "Is training healthy?", &charts, &caption);
    }
    text + findings + "</div>\n"
}

fn card(id: &str, question: &str, figures: &[&Figure], caption: &str) -> String {
    let mut text = format!("<section id=\"{id}\"><h2>{question}</h2>\n<div class=\"figures\">\n");
    for figure in figures {
        let _ = writeln!(text, "<figure id=\"fig-{}\">{}</figure>", escape(&figure.id), figure.svg);
    }
    text + "</div>\n" + caption + "</section>\n"
}

fn forest_caption(matrix: &Matrix) -> String {
    let rows = matrix.main_rows();
    let has = |figure: &dyn Fn(&Row) -> bool| rows.iter().any(figure);
    let mut text = String::new();
    if has(&|row| row.delta_interval.is_some()) {
        text += "Lines are 95 % intervals. Filled green is better than the baseline, filled orange worse; hollow cannot be told apart once all comparisons are counted. ";
    } else if has(&|row| row.average_interval.is_some()) {
        text += "Lines are 95 % intervals. ";
    }
    if !matrix.references.is_empty() {
        text += "Diamonds need no training; an arrow points to one that lies outside. ";
    }
    if has(&|row| row.identical.is_some()) {
        text += "(4): so many rows choose exactly alike. ";
    }
    if text.is_empty() { text } else { format!("<p class=\"soft\">{}</p>", text.trim_end()) }
}

fn axes_caption(matrix: &Matrix) -> &'static str {
    match matrix.score_columns.is_empty() {
        true => "",
        false => {
            "<p class=\"soft\">Lines are 95 % intervals over the queries. In colour: best and worst value, where the two can be told apart over all points.</p>"
        }
    }
}

/// Names of the curves that are visible at first, in their colours.
pub fn legend(matrix: &Matrix) -> String {
    let looks = curves(matrix);
    let mut shown: Vec<_> = looks.iter().zip(&matrix.points).filter(|(look, _)| look.shown).collect();
    shown.sort_by_key(|(look, _)| look.colour);
    let mut text = String::from("<ul class=\"legend\">\n");
    for (look, row) in shown {
        let _ = writeln!(
            text,
            "<li class=\"series {}\"><span>{}</span></li>",
            look.classes(),
            escape(&curve_name(row))
        );
    }
    text + "</ul>\n"
}
