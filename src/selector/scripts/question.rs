//! What is asked: tests, and statements that succeed or not.

use tree_sitter::Node;

use super::shell::Shell;
use super::value::{Code, DEPTH, text};

impl Shell<'_> {
    /// Whether a statement that is no test succeeds. What a script goes on from is taken to: `mkdir x && python ...`; what
    /// is there to ask is not known: `grep -q x file && ...`.
    pub(super) fn succeeds(&mut self, code: &Code, node: Node, depth: usize) -> Option<bool> {
        const GOES_ON: [&str; 22] = [
            "cd", "pushd", "popd", "mkdir", "echo", "printf", "export", "source", ".", "conda", "module",
            "sleep", "date", "cp", "rm", "mv", "touch", "set", "wait", ":", "true", "eval",
        ];
        if depth > DEPTH {
            return None;
        }
        if is_test(node) {
            return self.condition(code, node, depth);
        }
        match node.kind() {
            "variable_assignment" | "variable_assignments" | "declaration_command" => Some(true),
            "redirected_statement" => self.succeeds(code, node.child_by_field_name("body")?, depth + 1),
            "list" => {
                let (left, right) = (node.named_child(0)?, node.named_child(1)?);
                let left = self.succeeds(code, left, depth + 1);
                let right = self.succeeds(code, right, depth + 1);
                if node.child(1)?.kind() == "&&" { both(left, right) } else { either(left, right) }
            }
            "pipeline" => {
                let last = node.named_child(u32::try_from(node.named_child_count()).ok()?.checked_sub(1)?)?;
                let tees = text(code, last).starts_with("tee");
                if tees { Some(true) } else { self.succeeds(code, last, depth + 1) }
            }
            "command" => {
                let first = node.child_by_field_name("name")?;
                let name = self.value(code, first, depth + 1).text().ok()?;
                let name = name.rsplit('/').next().unwrap_or_default();
                let trains = ["python", "torchrun", "accelerate", "deepspeed", "nohup", "srun", "time"];
                let goes_on =
                    GOES_ON.contains(&name) || trains.iter().any(|program| name.starts_with(program));
                (goes_on && !self.state.functions.contains_key(name)).then_some(true)
            }
            _ => None,
        }
    }

    /// Whether a condition holds; `None` where that is not known.
    pub(super) fn condition(&mut self, code: &Code, node: Node, depth: usize) -> Option<bool> {
        if depth > DEPTH {
            return None;
        }
        match node.kind() {
            "negated_command" => self.condition(code, node.named_child(0)?, depth + 1).map(|holds| !holds),
            "test_command" => {
                let inner = node.named_child(0).filter(|_| node.named_child_count() == 1)?;
                self.unset_is_empty = true;
                let holds = self.test(code, inner, depth + 1);
                self.unset_is_empty = false;
                holds
            }
            "command" => match text(code, node).trim() {
                "true" | ":" => Some(true),
                "false" => Some(false),
                // `$FLAG` alone, with the value true or false.
                name if name.starts_with('$') => {
                    match self.value(code, node.named_child(0)?.named_child(0)?, depth).text().ok()?.as_str()
                    {
                        "true" => Some(true),
                        "false" => Some(false),
                        _ => None,
                    }
                }
                _ => None,
            },
            "list" => {
                let (left, right) = (node.named_child(0)?, node.named_child(1)?);
                if !is_test(left) || !is_test(right) {
                    return None;
                }
                let (left, right) =
                    (self.condition(code, left, depth + 1), self.condition(code, right, depth + 1));
                match node.child(1)?.kind() {
                    "&&" => both(left, right),
                    "||" => either(left, right),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// Whether the shell splits the value of `node`: no quotes, and not between `[[` and `]]`.
    fn bare(&self, code: &Code, node: Node) -> bool {
        matches!(node.kind(), "simple_expansion" | "expansion") && !doubled(code, node)
    }

    fn test(&mut self, code: &Code, node: Node, depth: usize) -> Option<bool> {
        if depth > DEPTH {
            return None;
        }
        match node.kind() {
            "parenthesized_expression" => self.test(code, node.named_child(0)?, depth + 1),
            "unary_expression" => {
                let operator = text(code, node.child(0)?).trim().to_owned();
                let operand =
                    node.named_child(u32::try_from(node.named_child_count()).ok()?.checked_sub(1)?)?;
                match operator.as_str() {
                    "!" => self.test(code, operand, depth + 1).map(|holds| !holds),
                    "-z" => Some(self.value(code, operand, depth + 1).text().ok()?.is_empty()),
                    "-n" => {
                        let empty = self.value(code, operand, depth + 1).text().ok()?.is_empty();
                        // `[ -n $X ]` without quotes asks for `-n` alone where `X` is empty.
                        if empty && self.bare(code, operand) { None } else { Some(!empty) }
                    }
                    _ => None,
                }
            }
            "binary_expression" => {
                let operator =
                    node.child_by_field_name("operator").map(|node| text(code, node).to_owned())?;
                let (left, right) = (node.child_by_field_name("left")?, node.child_by_field_name("right")?);
                match operator.as_str() {
                    "&&" | "-a" => {
                        return both(self.test(code, left, depth + 1), self.test(code, right, depth + 1));
                    }
                    "||" | "-o" => {
                        return either(self.test(code, left, depth + 1), self.test(code, right, depth + 1));
                    }
                    _ => {}
                }
                let (left, right) = (
                    self.value(code, left, depth + 1).text().ok()?,
                    self.value(code, right, depth + 1).text().ok()?,
                );
                let splits = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
                if splits(&left) && self.bare(code, node.child_by_field_name("left")?)
                    || splits(&right) && self.bare(code, node.child_by_field_name("right")?)
                {
                    return None;
                }
                let pattern = doubled(code, node) && operator.ends_with('=');
                match node.child_by_field_name("right")?.kind() {
                    "string" | "raw_string" => compare(&operator, &left, &right),
                    _ if pattern && right.contains(['*', '?', '[', '\\', '(']) => {
                        let same = matches(text(code, node.child_by_field_name("right")?), &left)?;
                        Some(same != (operator == "!="))
                    }
                    _ => compare(&operator, &left, &right),
                }
            }
            "string" | "word" | "simple_expansion" | "expansion" => {
                Some(!self.value(code, node, depth + 1).text().ok()?.is_empty())
            }
            _ => None,
        }
    }
}

/// Whether `node` stands between `[[` and `]]`, where nothing is split and `==` takes a pattern.
fn doubled(code: &Code, node: Node) -> bool {
    let mut at = Some(node);
    while let Some(node) = at {
        if node.kind() == "test_command" {
            return text(code, node).starts_with("[[");
        }
        at = node.parent();
    }
    false
}

fn compare(operator: &str, left: &str, right: &str) -> Option<bool> {
    let numbers = || Some((left.trim().parse::<i64>().ok()?, right.trim().parse::<i64>().ok()?));
    match operator {
        "=" | "==" => Some(left == right),
        "!=" => Some(left != right),
        "-eq" => numbers().map(|(a, b)| a == b),
        "-ne" => numbers().map(|(a, b)| a != b),
        "-lt" => numbers().map(|(a, b)| a < b),
        "-le" => numbers().map(|(a, b)| a <= b),
        "-gt" => numbers().map(|(a, b)| a > b),
        "-ge" => numbers().map(|(a, b)| a >= b),
        _ => None,
    }
}

fn both(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    if a == Some(false) || b == Some(false) { Some(false) } else { Some(a? && b?) }
}

fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    if a == Some(true) || b == Some(true) { Some(true) } else { Some(a? || b?) }
}

/// Whether the shell pattern `pattern` matches `word`, for patterns without brackets and with at most one `*`.
pub(super) fn matches(pattern: &str, word: &str) -> Option<bool> {
    let whole = pattern;
    let quoted = pattern.starts_with(['"', '\'']);
    let pattern = pattern.trim_matches(['"', '\'']);
    if whole.matches(['"', '\'']).count() != if quoted { 2 } else { 0 } {
        return None;
    }
    if quoted || !pattern.contains(['*', '?', '[', '$', '\\', '(']) {
        return if quoted && pattern.contains('$') { None } else { Some(pattern == word) };
    }
    if pattern.contains(['?', '[', '$', '\\', '(']) {
        return None;
    }
    let (start, end) = pattern.split_once('*')?;
    if end.contains('*') {
        return None;
    }
    Some(word.len() >= start.len() + end.len() && word.starts_with(start) && word.ends_with(end))
}

/// Whether `node` asks instead of doing.
pub(super) fn is_test(node: Node) -> bool {
    match node.kind() {
        "test_command" => true,
        "negated_command" => node.named_child(0).is_some_and(is_test),
        "list" => node.named_child(0).is_some_and(is_test) && node.named_child(1).is_some_and(is_test),
        _ => false,
    }
}
