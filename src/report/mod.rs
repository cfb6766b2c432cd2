//! Results -> tables and reports. Pure functions of a results directory: no model, no running sweep.
//!
//! ```text
//! SweepResults -> Matrix (every figure, once) -> Table (what people see) -> Markdown, terminal, LaTeX, ...
//! ```

mod axes;
mod groups;
mod hints;
mod layout;
mod matrix;
mod matrix_csv;
mod notes;
mod panel;
mod render;
pub mod stats;

pub use axes::axis_text;
pub use layout::{Cell, Column, LayoutOptions, Line, Table, layout, layout_rows};
pub use matrix::{LEVEL, Matrix, MatrixOptions, Row, RowStatus, Verdict, matrix};
pub use matrix_csv::MatrixFileError;

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

    /// The table for a terminal of `width` columns.
    pub fn to_terminal(&self, width: u16, colour: bool) -> String {
        layout(self, &LayoutOptions::default()).to_terminal(width, colour)
    }

    /// The files that a run writes: name and contents.
    pub fn files(&self) -> Vec<(&'static str, Vec<u8>)> {
        let mut files = vec![("matrix.csv", self.to_csv()), ("matrix.md", self.to_markdown().into_bytes())];
        files.extend(self.configurations_csv().map(|bytes| ("configurations.csv", bytes)));
        files
    }
}
