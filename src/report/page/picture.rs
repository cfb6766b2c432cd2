//! What the page begins with: three questions, each with the picture that answers it, and the findings in words.

use maud::{Markup, PreEscaped, html};

use crate::report::curves::{Section, curve_name, curves, health};
use crate::report::matrix::{Matrix, Row};
use crate::report::svg::{Figure, LineChart};
use crate::text::plural;

/// The first screen: `findings` is their section.
pub fn section(
    matrix: &Matrix,
    figures: &[(Section, Figure)],
    charts: &[(Section, LineChart)],
    warnings: usize,
    findings: &Markup,
) -> Markup {
    let drawn = |id: &str| figures.iter().map(|(_, figure)| figure).find(|figure| figure.id == id);
    let question = match matrix.main_rows().iter().any(|row| row.delta.is_some()) {
        true => "Which is best, and is it really better?",
        false => "Which is best?",
    };
    let charts = health(charts);
    let charts: Vec<&Figure> = charts.iter().collect();
    html! {
        div id="picture" { "\n"
            @if let Some(forest) = drawn("forest") {
                (card("best", question, &[forest], &forest_caption(matrix)))
            }
            @if let Some(axes) = drawn("axes") {
                (card("axis", "Which axis matters?", &[axes], &axes_caption(matrix)))
            }
            @if !charts.is_empty() {
                (card("health", "Is training healthy?", &charts, &health_caption(matrix, warnings)))
            }
            (findings)
        } "\n"
    }
}

fn card(id: &str, question: &str, figures: &[&Figure], caption: &Markup) -> Markup {
    html! {
        section id=(id) { h2 { (question) } "\n"
            div class="figures" { "\n"
                @for figure in figures {
                    figure id={ "fig-" (figure.id) } { (PreEscaped(&figure.svg)) } "\n"
                }
            } "\n"
            (caption)
        } "\n"
    }
}

fn forest_caption(matrix: &Matrix) -> Markup {
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
    html! {
        @if !text.is_empty() { p class="soft" { (text.trim_end()) } }
    }
}

fn axes_caption(matrix: &Matrix) -> Markup {
    html! {
        @if !matrix.score_columns.is_empty() {
            p class="soft" {
                "Lines are 95 % intervals over the queries. In colour: best and worst value, where the two can be told apart over all points."
            }
        }
    }
}

fn health_caption(matrix: &Matrix, warnings: usize) -> Markup {
    html! {
        (legend(matrix))
        p class="soft" {
            "Every other curve is " a href="#learning" { "below" } "."
            @if warnings > 0 { " There are " a href="#warnings" { (plural(warnings, "warning")) } "." }
        }
    }
}

/// Names of the curves that are visible at first, in their colours.
pub fn legend(matrix: &Matrix) -> Markup {
    let looks = curves(matrix);
    let mut shown: Vec<_> = looks.iter().zip(&matrix.points).filter(|(look, _)| look.shown).collect();
    shown.sort_by_key(|(look, _)| look.colour);
    html! {
        ul class="legend" { "\n"
            @for (look, row) in shown {
                li class={ "series " (look.classes()) } { span { (curve_name(row)) } } "\n"
            }
        } "\n"
    }
}
