//! Results -> tables and reports. Pure functions of a results directory: no model, no running sweep.
//!
//! ```text
//! SweepResults -> Matrix (every figure, once) -> Table (what people see) -> Markdown, terminal, LaTeX, ...
//! ```

mod axes;
mod build;
pub mod check;
mod error;
mod figures;
mod groups;
mod hints;
mod html;
mod layout;
mod load;
mod matrix;
mod matrix_csv;
mod merge;
mod notes;
mod observations;
mod panel;
mod pivot;
mod render;
mod select;
pub mod stats;
mod svg;
pub mod tensorboard;
mod why;
mod words;

pub use axes::axis_text;
pub use build::matrix;
pub use error::{ReportError, did_you_mean};
pub use figures::{Section, figures};
pub use html::{Cost, Page};
pub use layout::{Cell, Column, Detail, LayoutOptions, Line, Table, fitting, layout, layout_rows};
pub use load::load;
pub use matrix::{LEVEL, Matrix, MatrixOptions, Row, RowStatus, Verdict};
pub use matrix_csv::MatrixFileError;
pub use merge::{merge, merged_notes};
pub use observations::{Observation, observations};
pub use pivot::pivot;
pub use select::{Condition, Metric, point_named, points_named, set_baseline};
pub use svg::Figure;
pub use why::{Answer, Comparison, Why, why};

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

    /// The table for a terminal of `width` columns, with as much detail as fits on one line per row.
    pub fn to_terminal(&self, width: u16, colour: bool) -> String {
        let lay_out = |detail| layout(self, &LayoutOptions { detail, ..LayoutOptions::default() });
        fitting(width, lay_out).to_terminal(width, colour)
    }

    /// The files that a run writes: name and contents.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = vec![("matrix.csv", self.to_csv()), ("matrix.md", self.to_markdown().into_bytes())];
        files.extend(self.configurations_csv().map(|bytes| ("configurations.csv", bytes)));
        files
    }
}
