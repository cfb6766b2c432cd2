//! Results -> tables and reports. Pure functions of a results directory: no model, no running sweep.
//!
//! ```text
//! SweepResults -> Matrix (every figure, once) -> Table (what people see) -> Markdown, terminal, LaTeX, ...
//! ```

mod alike;
mod axes;
mod build;
pub mod check;
mod compare;
mod curves;
mod dots;
mod effects;
mod error;
mod figures;
mod forest;
mod groups;
mod hints;
mod judged;

mod columns;
mod load;
mod long;
mod matrix;
mod matrix_csv;
mod merge;
mod notes;
mod observations;
mod page;
mod panel;
mod pivot;
mod render;
mod select;
pub mod stats;
mod svg;
pub mod tensorboard;
mod why;
mod words;

pub use alike::{Screen, first_screen};
pub use axes::axis_text;
pub use build::matrix;
pub use columns::{Cell, Column, Detail, LayoutOptions, Line, Table, fitting, layout, layout_rows};
pub use compare::{Before, Compared, Side};
pub use curves::Section;
pub use error::{ReportError, did_you_mean};
pub use figures::figures;
pub use load::{load, stored};
pub use long::long_csv;
pub use matrix::{LEVEL, Matrix, MatrixOptions, Row, RowStatus, Verdict};
pub use matrix_csv::MatrixFileError;
pub use merge::{merge, merged_notes};
pub use observations::{Observation, observations};
pub use page::{Asked, Comparison as ComparisonPage, Cost, Page};
pub use pivot::pivot;
pub use select::{Condition, Metric, point_named, points_named, set_baseline};
pub use svg::Figure;
pub use why::{Answer, At, Comparison, Why, why};

impl Matrix {
    /// `matrix.md`: the table that people compare, and every point where that one averages over seeds.
    pub fn to_markdown(&self) -> String {
        let table = layout(self, &LayoutOptions::default());
        let mut text = format!("# {}\n\n{}", self.name, table.to_markdown());
        if !self.configurations.is_empty() {
            let options = LayoutOptions { every_point: true, notes: false, ..LayoutOptions::default() };
            text += &format!("\n## Every point\n\n{}", layout(self, &options).to_markdown());
        }
        text
    }

    /// The table for a terminal: one row per result, with as much detail as fits on one line per row, and no more
    /// rows than fit the screen. The sentence `more` says how to see the others.
    pub fn to_terminal(&self, screen: Screen, more: &str, colour: bool) -> String {
        first_screen(self, self.main_rows(), &LayoutOptions::default(), screen, more)
            .to_terminal(screen.width, colour)
    }

    /// The files that a run writes: name and contents.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = vec![("matrix.csv", self.to_csv()), ("matrix.md", self.to_markdown().into_bytes())];
        files.extend(self.configurations_csv().map(|bytes| ("configurations.csv", bytes)));
        files
    }
}
