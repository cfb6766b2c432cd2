//! [`Table`] -> text: Markdown, LaTeX, Typst, HTML, JSON, CSV, terminal.

use comfy_table::{Attribute, Cell as Box, CellAlignment, Color, ContentArrangement, LineStyle, TableStyle};
use maud::html;

use super::columns::{Cell, Table};

/// Rules above, below and under the header; nothing between rows, so that long tables stay short.
const RULED: TableStyle = TableStyle::new()
    .top_border(LineStyle::new('─', '─', '─', '─'))
    .header_separator(LineStyle::new('─', '─', '─', '─'))
    .bottom_border(LineStyle::new('─', '─', '─', '─'));

impl Table {
    /// GitHub-flavoured Markdown; the best of a column is bold, references are in italics.
    pub fn to_markdown(&self) -> String {
        let mut text = String::new();
        let titles: Vec<String> = self.columns.iter().map(|column| markdown_escape(&column.title)).collect();
        text += &format!("| {} |\n", titles.join(" | "));
        let rules: Vec<&str> =
            self.columns.iter().map(|column| if column.numeric { "---:" } else { "---" }).collect();
        text += &format!("| {} |\n", rules.join(" | "));
        for line in &self.rows {
            let cells: Vec<String> = line
                .cells
                .iter()
                .enumerate()
                .map(|(index, cell)| {
                    let escaped = markdown_escape(&cell.text);
                    match () {
                        () if escaped.is_empty() => escaped,
                        () if cell.best => format!("**{escaped}**"),
                        () if line.reference && index == 0 => format!("*{escaped}*"),
                        () => escaped,
                    }
                })
                .collect();
            text += &format!("| {} |\n", cells.join(" | "));
        }
        if !self.notes.is_empty() {
            text += "\n";
            for note in &self.notes {
                text += &format!("- {}\n", markdown_escape(note));
            }
        }
        text
    }

    /// A LaTeX `tabular` with booktabs rules; notes become comments.
    pub fn to_latex(&self) -> String {
        let alignment: String =
            self.columns.iter().map(|column| if column.numeric { 'r' } else { 'l' }).collect();
        let mut text =
            format!("% needs \\usepackage{{booktabs}}\n\\begin{{tabular}}{{{alignment}}}\n\\toprule\n");
        let titles: Vec<String> = self.columns.iter().map(|column| latex_escape(&column.title)).collect();
        text += &format!("{} \\\\\n\\midrule\n", titles.join(" & "));
        let mut in_references = false;
        for line in &self.rows {
            if line.reference && !in_references {
                text += "\\midrule\n";
                in_references = true;
            }
            let cells: Vec<String> = line
                .cells
                .iter()
                .map(|cell| {
                    let escaped = latex_escape(&cell.text);
                    if cell.best { format!("\\textbf{{{escaped}}}") } else { escaped }
                })
                .collect();
            text += &format!("{} \\\\\n", cells.join(" & "));
        }
        text += "\\bottomrule\n\\end{tabular}\n";
        for note in &self.notes {
            text += &format!("% {}\n", note.replace('\n', " "));
        }
        text
    }

    /// A Typst `#table` with rules as in a book; notes become comments. Cells are strings, in which nothing is markup.
    pub fn to_typst(&self) -> String {
        let alignment: String =
            self.columns.iter().map(|column| if column.numeric { "right, " } else { "left, " }).collect();
        let row = |cells: Vec<String>| format!("  {},\n", cells.join(", "));
        let titles = self.columns.iter().map(|column| typst_string(&column.title));
        let mut text = format!(
            "#table(\n  columns: {},\n  align: ({}),\n  stroke: none,\n  table.hline(),\n  table.header({}),\n  table.hline(stroke: 0.5pt),\n",
            self.columns.len(),
            alignment.trim_end(),
            titles.collect::<Vec<_>>().join(", ")
        );
        let (references, rows): (Vec<_>, Vec<_>) = self.rows.iter().partition(|line| line.reference);
        let cell = |cell: &Cell| {
            let string = typst_string(&cell.text);
            if cell.best { format!("strong({string})") } else { string }
        };
        text.extend(rows.iter().map(|line| row(line.cells.iter().map(cell).collect())));
        if !references.is_empty() {
            text += "  table.hline(stroke: 0.5pt),\n";
        }
        text.extend(references.iter().map(|line| row(line.cells.iter().map(cell).collect())));
        text += "  table.hline(),\n)\n";
        for note in &self.notes {
            text += &format!("// {}\n", note.replace('\n', " "));
        }
        text
    }

    /// An HTML `<table>` (a fragment) followed by a list of notes.
    pub fn to_html(&self) -> String {
        let align = |numeric: bool| numeric.then_some("text-align:right");
        let fragment = html! {
            table { "\n"
                caption { (self.title) } "\n"
                thead {
                    tr { @for column in &self.columns { th scope="col" { (column.title) } } }
                } "\n"
                tbody { "\n"
                    @for line in &self.rows {
                        tr class=[line.reference.then_some("reference")] {
                            @for (cell, column) in line.cells.iter().zip(&self.columns) {
                                td style=[align(column.numeric)] {
                                    @if cell.best { strong { (cell.text) } } @else { (cell.text) }
                                }
                            }
                        } "\n"
                    }
                } "\n"
            } "\n"
            @if !self.notes.is_empty() {
                ul { "\n"
                    @for note in &self.notes { li { (note) } "\n" }
                } "\n"
            }
        };
        fragment.into_string()
    }

    /// Columns that the table needs on a terminal, without its notes.
    pub fn terminal_width(&self) -> usize {
        let columns = self.columns.iter().enumerate().map(|(index, column)| {
            let cells = self.rows.iter().map(|line| {
                let cell = &line.cells[index];
                cell.text.chars().count() + usize::from(cell.best)
            });
            cells.max().unwrap_or(0).max(column.title.chars().count()) + 2
        });
        columns.sum::<usize>() + 1
    }

    /// Boxes for a terminal of `width` columns; with `colour`, the best of a column is green, otherwise it
    /// carries a star.
    pub fn to_terminal(&self, width: u16, colour: bool) -> String {
        let mut boxes = comfy_table::Table::new();
        boxes.load_style(RULED).set_content_arrangement(ContentArrangement::Dynamic).set_width(width);
        if colour {
            boxes.enforce_styling();
        } else {
            boxes.force_no_tty();
        }
        boxes.set_header(self.columns.iter().map(|column| {
            let head = Box::new(&column.title);
            if colour { head.add_attribute(Attribute::Bold) } else { head }
        }));
        for line in &self.rows {
            boxes.add_row(
                line.cells
                    .iter()
                    .zip(&self.columns)
                    .map(|(cell, column)| terminal_cell(cell, column.numeric, line.reference, colour)),
            );
        }
        for column in boxes.column_iter_mut() {
            column.set_padding((0, 1));
        }
        let mut text = boxes.trim_fmt();
        text.push('\n');
        for note in &self.notes {
            text += &wrap(note, usize::from(width));
        }
        text
    }

    /// One object per row: the texts, and the figures behind them.
    pub fn to_json(&self) -> serde_json::Value {
        let rows: Vec<serde_json::Value> = self
            .rows
            .iter()
            .map(|line| {
                let mut object = serde_json::Map::new();
                for (cell, column) in line.cells.iter().zip(&self.columns) {
                    let value = match cell.value {
                        Some(value) => {
                            serde_json::json!({ "text": cell.text, "value": value, "best": cell.best })
                        }
                        None => serde_json::json!({ "text": cell.text }),
                    };
                    object.insert(column.title.clone(), value);
                }
                object.insert("reference".to_owned(), line.reference.into());
                serde_json::Value::Object(object)
            })
            .collect();
        serde_json::json!({ "title": self.title, "rows": rows, "notes": self.notes })
    }

    /// The table as CSV: figures with all digits where there are any, texts otherwise.
    pub fn to_csv(&self) -> Vec<u8> {
        let impossible = "writing to memory does not fail";
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(self.columns.iter().map(|column| &column.title)).expect(impossible);
        for line in &self.rows {
            let cell = |cell: &Cell| cell.value.map_or_else(|| cell.text.clone(), |value| value.to_string());
            writer.write_record(line.cells.iter().map(cell)).expect(impossible);
        }
        writer.into_inner().expect(impossible)
    }
}

fn terminal_cell(cell: &Cell, numeric: bool, reference: bool, colour: bool) -> Box {
    let starred = cell.best && !colour;
    let text = if starred { format!("{}*", cell.text) } else { cell.text.clone() };
    let mut shown = Box::new(text);
    if numeric {
        shown = shown.set_alignment(CellAlignment::Right);
    }
    if colour && cell.best {
        shown = shown.fg(Color::Green).add_attribute(Attribute::Bold);
    } else if colour && reference {
        shown = shown.add_attribute(Attribute::Dim);
    }
    shown
}

/// A note as a list item, broken at spaces.
fn wrap(note: &str, width: usize) -> String {
    let mut lines = vec![String::from("-")];
    for word in note.split_whitespace() {
        let last = lines.last_mut().expect("there is a first line");
        if last.chars().count() + 1 + word.chars().count() > width && last.trim() != "-" {
            lines.push(format!("  {word}"));
        } else {
            last.push(' ');
            last.push_str(word);
        }
    }
    lines.join("\n") + "\n"
}

fn markdown_escape(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// A string literal of Typst.
fn typst_string(text: &str) -> String {
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r");
    format!("\"{escaped}\"")
}

fn latex_escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '±' => escaped.push_str("$\\pm$"),
            _ => escaped.push(character),
        }
    }
    escaped
}
