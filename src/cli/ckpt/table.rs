//! Columns for people: aligned, without lines, the same in a terminal and in a pipe.

use comfy_table::{CellAlignment, Table, presets};

/// Aligned columns with a header; numbers to the right. Ends with a newline.
pub(super) fn columns(header: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    for row in rows {
        table.add_row(row);
    }
    for (index, column) in table.column_iter_mut().enumerate() {
        let mut cells = rows.iter().filter_map(|row| row.get(index)).filter(|cell| !cell.is_empty());
        let numeric = cells.all(|cell| cell.replace([',', '%'], "").parse::<f64>().is_ok());
        column.set_cell_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left });
        column.set_padding((0, 2));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A figure with four significant digits; 0 is exactly zero.
pub(super) fn figure(value: f64) -> String {
    let magnitude = value.abs();
    match magnitude {
        0.0 => "0".into(),
        _ if !value.is_finite() => value.to_string(),
        1e-3..1e5 => {
            let digits = 3 - magnitude.log10().floor() as i32;
            format!("{value:.*}", usize::try_from(digits).unwrap_or(0))
        }
        _ => format!("{value:.3e}"),
    }
}

/// A number as a person would type it: all its digits, small and large ones with an exponent.
pub(super) fn number(value: f64) -> String {
    if value != 0.0 && !(1e-4..1e15).contains(&value.abs()) {
        format!("{value:e}")
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(
            [0.0, 1.0, 0.012_345_6, -123.456, 3.2e-7, 99_999.0].map(figure),
            ["0", "1.000", "0.01235", "-123.5", "3.200e-7", "99999"]
        );
        assert_eq!([5e-6, 0.15, 1.0, 0.0].map(number), ["5e-6", "0.15", "1", "0"]);
    }

    #[test]
    fn columns_align() {
        let rows = [vec!["a".to_string(), "1".into()], vec!["long".into(), "10,000".into()]];
        assert_eq!(columns(&["name", "count"], &rows), "name   count\na          1\nlong  10,000\n");
    }
}
