//! Tables inside Markdown files, kept in step with the results they show.
//!
//! ```text
//! <!-- sweep: table results/kl_grid --best 5 -->
//! (anything between the markers is the table)
//! <!-- /sweep -->
//! ```

use super::error::ReportError;

const OPEN: &str = "<!-- sweep:";
const CLOSE: &str = "<!-- /sweep -->";

/// One marked table.
#[derive(Clone, Debug, PartialEq)]
pub struct Block {
    /// 1-based line of the opening marker.
    pub line: usize,
    /// Arguments after `table`.
    pub arguments: Vec<String>,
    /// Lines between the markers: `start..end`, 0-based.
    body: std::ops::Range<usize>,
}

/// A line of a table that is no longer what the results say.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// 1-based.
    pub line: usize,
    /// What the file says; `None` where a line is missing.
    pub found: Option<String>,
    /// What the results say; `None` where there is a line too many.
    pub expected: Option<String>,
}

/// The marked tables of `text`. Markers inside fenced code are examples and are left alone.
///
/// # Errors
/// A marker that is never closed, that asks for something other than a table, or in which a quote is never closed.
pub fn blocks(text: &str) -> Result<Vec<Block>, ReportError> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Vec<String>)> = None;
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        let trimmed = line.trim();
        if open.is_none() && (trimmed.starts_with("```") || trimmed.starts_with("~~~")) {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        if let Some(command) = trimmed.strip_prefix(OPEN) {
            if let Some((start, _)) = open {
                return Err(ReportError::Unclosed { line: start + 1 });
            }
            let command = command.trim_end_matches("-->").trim();
            let words = shell_words::split(command)
                .map_err(|_| ReportError::OpenQuote { line: index + 1, found: command.to_owned() })?;
            let mut words = words.into_iter();
            if words.next().as_deref() != Some("table") {
                return Err(ReportError::NotTable { line: index + 1, found: command.to_owned() });
            }
            open = Some((index, words.collect()));
        } else if trimmed == CLOSE
            && let Some((start, arguments)) = open.take()
        {
            blocks.push(Block { line: start + 1, arguments, body: start + 1..index });
        } else if is_almost(trimmed) {
            return Err(ReportError::AlmostMarker { line: index + 1, found: trimmed.to_owned() });
        }
    }
    match open {
        Some((start, _)) => Err(ReportError::Unclosed { line: start + 1 }),
        None => Ok(blocks),
    }
}

/// A comment that was meant as a marker: spelled otherwise, or closing what is not open.
fn is_almost(line: &str) -> bool {
    let bare: String = line.chars().filter(|c| !c.is_whitespace()).collect::<String>().to_lowercase();
    ["<!--sweep", "<!--/sweep"].iter().any(|begin| {
        let rest = bare.strip_prefix(begin);
        rest.is_some_and(|rest| {
            !rest.starts_with(|c: char| c.is_alphanumeric() && !rest.starts_with("table"))
        })
    })
}

/// Compares a block with what `expected` regenerates, line by line.
pub fn differences(text: &str, block: &Block, expected: &str) -> Vec<Difference> {
    let found: Vec<&str> = text.lines().skip(block.body.start).take(block.body.len()).collect();
    let expected: Vec<&str> = expected.trim_end().lines().collect();
    (0..found.len().max(expected.len()))
        .filter_map(|index| {
            let (left, right) = (found.get(index).copied(), expected.get(index).copied());
            (left.map(str::trim_end) != right.map(str::trim_end)).then(|| Difference {
                line: block.body.start + index + 1,
                found: left.map(str::to_owned),
                expected: right.map(str::to_owned),
            })
        })
        .collect()
}

/// `text` with the bodies of `blocks` replaced by `contents`, in order. Every other line keeps its end, and new ones
/// have that of their marker.
pub fn replaced(text: &str, blocks: &[Block], contents: &[String]) -> String {
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let mut result = String::with_capacity(text.len());
    let mut next = 0;
    for (block, content) in blocks.iter().zip(contents) {
        result.extend(lines[next..block.body.start].iter().copied());
        let end = if lines[block.body.start - 1].ends_with("\r\n") { "\r\n" } else { "\n" };
        for line in content.trim_end().lines() {
            result.push_str(line);
            result.push_str(end);
        }
        next = block.body.end;
    }
    result.extend(lines[next..].iter().copied());
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Results\n\n```\n<!-- sweep: table nowhere -->\n```\n\n<!-- sweep: table results/a --where \"freeze=a b\" -->\n| a |\n| 1.5 |\n<!-- /sweep -->\n\nend\n";

    #[test]
    fn finds_tables_but_not_examples_in_fences() {
        let found = blocks(TEXT).expect("well formed");
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].line, found[0].body.clone()), (7, 7..9));
        assert_eq!(found[0].arguments, ["results/a", "--where", "freeze=a b"]);
    }

    #[test]
    fn a_changed_digit_is_a_difference_and_replacing_mends_it() {
        let found = blocks(TEXT).expect("well formed");
        assert!(differences(TEXT, &found[0], "| a |\n| 1.5 |\n").is_empty());
        let changed = differences(TEXT, &found[0], "| a |\n| 1.6 |\n");
        assert_eq!(changed.len(), 1);
        assert_eq!((changed[0].line, changed[0].expected.as_deref()), (9, Some("| 1.6 |")));
        let mended = replaced(TEXT, &found, &["| a |\n| 1.6 |\n| 2 |\n".to_owned()]);
        assert_eq!(mended, TEXT.replace("| 1.5 |", "| 1.6 |\n| 2 |"));
    }

    #[test]
    fn broken_markers_name_their_line() {
        let unclosed = blocks("x\n<!-- sweep: table a -->\n").expect_err("unclosed").to_string();
        assert!(unclosed.starts_with("line 2:"), "{unclosed}");
        assert!(blocks("<!-- sweep: run a -->\n<!-- /sweep -->").is_err());
        let quote = blocks("<!-- sweep: table a --where \"b=c -->\n<!-- /sweep -->").expect_err("a quote");
        assert_eq!(quote.to_string(), "line 1: a quote is never closed in `table a --where \"b=c`");
    }

    #[test]
    fn words_are_those_of_a_shell() {
        let words = |text: &str| {
            let text = format!("<!-- sweep: table {text} -->\n<!-- /sweep -->");
            blocks(&text).expect("well formed").remove(0).arguments
        };
        assert_eq!(words(r#"a\ b 'c d' x="y z" ''"#), ["a b", "c d", "x=y z", ""]);
        let typed = ["it's", "a  b", "", "~/x", "$HOME", "é", "kl_beta=0.1,0.2", "{a,b}"];
        assert_eq!(words(&typed.map(crate::text::quoted).join(" ")), typed);
    }
}
