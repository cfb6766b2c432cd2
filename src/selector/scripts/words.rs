//! Words of a script -> values: variables, defaults, quotes, splitting.

use tree_sitter::Node;

use super::shell::Shell;
use super::value::{Code, Content, DEPTH, Piece, Value, Word, is_name, short, text};

/// A part of a word, and whether the shell splits it at blanks.
struct Part {
    value: Value,
    splits: bool,
}

impl Shell<'_> {
    /// The value of `node` where the shell splits nothing: the right side of `=`, the word after `case`.
    pub fn value(&mut self, code: &Code, node: Node, depth: usize) -> Value {
        Value(self.parts(code, node, false, depth).into_iter().flat_map(|part| part.value.0).collect())
            .bounded()
    }

    /// The words that `node`, an argument, becomes.
    pub fn words(&mut self, code: &Code, node: Node, depth: usize) -> Vec<Word> {
        let line = code.line(node.start_byte());
        if let Some(words) = self.whole_list(code, node) {
            if text(code, node).starts_with('"') {
                return words;
            }
            let split = |word: Word| match word.value.text() {
                Ok(_) => self.split(vec![Part { value: word.value, splits: true }], line),
                Err(_) => vec![word],
            };
            return words.into_iter().flat_map(split).collect();
        }
        if node.kind() != "raw_string" && node.kind() != "string" && braces(text(code, node)) {
            let why = format!("`{}` is a list in braces", text(code, node));
            return vec![Word { value: Value::unknown(why, line), loose: true }];
        }
        let parts = self.parts(code, node, true, depth);
        self.split(parts, line)
    }

    /// Parts as words: what is not between quotes is split at blanks.
    fn split(&self, parts: Vec<Part>, line: usize) -> Vec<Word> {
        if let Some(Content::One(separators)) = self.state.vars.get("IFS") {
            let separators = separators.text().unwrap_or_default();
            let apart = |letter: char| letter.is_ascii_whitespace() || separators.contains(letter);
            if parts
                .iter()
                .any(|part| part.splits && part.value.text().is_ok_and(|text| text.contains(apart)))
            {
                let why = "it is split at `IFS`, which is not followed";
                return vec![Word { value: Value::unknown(why, line), loose: true }];
            }
        }
        let loose = matches!(&parts[..], [part] if part.splits && part.value.text().is_err());
        let mut words: Vec<Value> = Vec::new();
        let mut open = false;
        for part in parts {
            for piece in part.value.0 {
                let Piece { text: Ok(known), line } = &piece else {
                    push(&mut words, &mut open, piece);
                    continue;
                };
                if !part.splits {
                    push(&mut words, &mut open, piece);
                    continue;
                }
                let mut fields = known.split([' ', '\t', '\n']).peekable();
                while let Some(field) = fields.next() {
                    if !field.is_empty() {
                        push(&mut words, &mut open, Piece { text: Ok(field.to_owned()), line: *line });
                    }
                    if fields.peek().is_some() {
                        open = false;
                    }
                }
            }
        }
        words.into_iter().map(|value| Word { value, loose }).collect()
    }

    /// `"$@"`, `"${LIST[@]}"`: one word each; `"$*"`, `"${LIST[*]}"`: one for all.
    fn whole_list(&mut self, code: &Code, node: Node) -> Option<Vec<Word>> {
        let line = code.line(node.start_byte());
        let name = text(code, node).trim_matches('"');
        let whole = text(code, node).starts_with('"') && name.contains('*');
        let joined = |values: Vec<Value>| match whole {
            true if values.is_empty() => vec![Value::known("", line)],
            true => {
                let space = Value::known(" ", line);
                let pieces = values.into_iter().enumerate();
                let pieces = pieces
                    .flat_map(|(n, value)| if n > 0 { [space.0.clone(), value.0].concat() } else { value.0 });
                vec![Value(pieces.collect())]
            }
            false => values,
        };
        if matches!(name, "$@" | "$*" | "${@}" | "${*}") {
            let args = joined(self.state.args.clone());
            return Some(args.into_iter().map(|value| Word { value, loose: false }).collect());
        }
        let name = name
            .strip_prefix("${")?
            .strip_suffix("[@]}")
            .or_else(|| name.strip_prefix("${")?.strip_suffix("[*]}"))?;
        if !is_name(name) {
            return None;
        }
        let values = match self.state.vars.get(name) {
            Some(Content::Many(values)) => values.clone(),
            Some(Content::One(value)) => vec![value.clone()],
            None => {
                let value = Value::unknown(format!("`{name}` is not set in the script"), line);
                return Some(vec![Word { value, loose: true }]);
            }
        };
        Some(
            joined(values)
                .into_iter()
                .map(|value| {
                    let loose = value.text().is_err();
                    Word { value, loose }
                })
                .collect(),
        )
    }

    fn parts(&mut self, code: &Code, node: Node, splits: bool, depth: usize) -> Vec<Part> {
        let line = code.line(node.start_byte());
        let raw = text(code, node);
        let one = |value: Value, splits: bool| vec![Part { value, splits }];
        if depth > DEPTH {
            return one(Value::unknown("nested too deeply", line), splits);
        }
        match node.kind() {
            "raw_string" => one(Value::known(raw.trim_matches('\''), line), false),
            "string" => {
                let inner =
                    node.start_byte() + 1..node.end_byte().saturating_sub(1).max(node.start_byte() + 1);
                one(self.span(code, node, inner, true, depth + 1), false)
            }
            "concatenation" | "command_name" => {
                let mut cursor = node.walk();
                let children: Vec<Node> = node.named_children(&mut cursor).collect();
                children.into_iter().flat_map(|child| self.parts(code, child, splits, depth + 1)).collect()
            }
            "simple_expansion" | "expansion" => {
                let value = self.expansion(code, node, depth + 1);
                one(value, splits)
            }
            "process_substitution" => {
                self.aside(|shell| shell.all(code, node, depth + 1));
                one(Value::unknown(format!("`{}` is only known when it runs", short(raw)), line), splits)
            }
            "arithmetic_expansion" => {
                self.arithmetic(raw, line);
                one(Value::unknown(format!("`{}` is not followed", short(raw)), line), splits)
            }
            "command_substitution" => one(self.substitution(code, node, depth + 1), splits),
            "word" | "number" | "variable_name" | "extglob_pattern" | "regex" => {
                if raw.contains('`') || raw.contains("$(") || raw.starts_with('~') {
                    return one(Value::unknown(format!("`{raw}` depends on the machine"), line), splits);
                }
                one(Value::known(unescape(raw, false), line), false)
            }
            _ => one(Value::unknown(format!("`{}` is not followed", short(raw)), line), splits),
        }
    }

    /// The text in `range` of `node`, with its expansions.
    fn span(
        &mut self,
        code: &Code,
        node: Node,
        range: std::ops::Range<usize>,
        quoted: bool,
        depth: usize,
    ) -> Value {
        let mut pieces = Vec::new();
        let mut at = range.start;
        let mut cursor = node.walk();
        let inside = |child: Node<'_>| child.start_byte() >= range.start && child.kind() == "concatenation";
        // The grammar calls `--flag "$A"` in a default one word; the blank between the two is part of it.
        let (joined, mut parts): (Vec<Node>, Vec<Node>) =
            node.named_children(&mut cursor).partition(|c| inside(*c));
        for one in joined {
            let mut cursor = one.walk();
            parts.extend(one.named_children(&mut cursor));
        }
        parts.sort_by_key(Node::start_byte);
        let children: Vec<Node> = parts
            .into_iter()
            .filter(|child| {
                child.start_byte() >= range.start
                    && child.end_byte() <= range.end
                    && !matches!(child.kind(), "string_content" | "word" | "number" | "variable_name")
            })
            .collect();
        let plain = |from: usize, to: usize| Piece {
            text: Ok(unescape(code.text.get(from..to).unwrap_or_default(), quoted)),
            line: code.line(from),
        };
        for child in children {
            if child.start_byte() > at {
                pieces.push(plain(at, child.start_byte()));
            }
            pieces.extend(self.value(code, child, depth).0);
            pieces = Value(pieces).bounded().0;
            at = child.end_byte();
        }
        if at < range.end || pieces.is_empty() {
            pieces.push(plain(at, range.end.max(at)));
        }
        Value(pieces)
    }

    /// `$A`, `${A}`, `${A:-word}`, `${A[1]}`, `${#A[@]}`.
    fn expansion(&mut self, code: &Code, node: Node, depth: usize) -> Value {
        let line = code.line(node.start_byte());
        let raw = text(code, node);
        let inner = raw.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
        let Some(inner) = inner else {
            return self.lookup(raw.trim_start_matches('$'), line);
        };
        if let Some(name) = inner.strip_prefix('#').and_then(|rest| rest.strip_suffix("[@]")) {
            return match self.state.vars.get(name) {
                Some(Content::Many(values)) => Value::known(values.len().to_string(), line),
                _ => Value::unknown(format!("`{raw}` is not known"), line),
            };
        }
        let end = match inner.chars().next() {
            Some(c) if c.is_ascii_digit() => inner.find(|c: char| !c.is_ascii_digit()),
            Some(c) if c.is_ascii_alphabetic() || c == '_' => {
                inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            }
            Some(c) => Some(c.len_utf8()),
            None => Some(0),
        };
        let (name, rest) = inner.split_at(end.unwrap_or(inner.len()));
        if rest.is_empty() {
            return self.lookup(name, line);
        }
        if let Some(index) = rest.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return self.element(name, index, line);
        }
        let operators = [":-", ":=", "-", "=", ":+", "+", ":?", "?"];
        let Some(operator) = operators.into_iter().find(|operator| rest.starts_with(operator)) else {
            return Value::unknown(format!("`{raw}` is not followed"), line);
        };
        let from = node.start_byte() + 2 + name.len() + operator.len();
        let range = from..node.end_byte().saturating_sub(1);
        if rest.contains('\'') && node.parent().is_some_and(|parent| parent.kind() == "string") {
            return Value::unknown(format!("`{raw}` keeps its quotes between quotes"), line);
        }
        let set = self.is_set(name);
        let current = if set { self.lookup(name, line) } else { Value::known("", line) };
        let Ok(now) = current.text() else { return current };
        let filled = if operator.starts_with(':') { !now.is_empty() } else { set };
        match operator.trim_start_matches(':') {
            "-" | "=" if filled => current,
            "-" | "=" => {
                let value = self.span(code, node, range, false, depth);
                if operator.ends_with('=') && is_name(name) {
                    self.state.vars.insert(name.to_owned(), Content::One(value.clone()));
                }
                value
            }
            "+" if !filled => Value::known("", line),
            "+" => self.span(code, node, range, false, depth),
            _ if filled => current,
            _ => Value::unknown(self.absent(name), line),
        }
    }

    fn element(&mut self, name: &str, index: &str, line: usize) -> Value {
        let bare = index.trim_start_matches('$').trim_start_matches('{').trim_end_matches('}');
        let index = match bare.parse::<usize>() {
            Ok(number) => Ok(number),
            Err(_) if is_name(bare) => self.lookup(bare, line).text().and_then(|text| {
                text.parse::<usize>().map_err(|_| format!("`{name}[{index}]` is not followed"))
            }),
            Err(_) => Err(format!("`{name}[{index}]` is not followed")),
        };
        match (index, self.state.vars.get(name)) {
            (Ok(index), Some(Content::Many(values))) => values
                .get(index)
                .cloned()
                .unwrap_or_else(|| Value::unknown(format!("`{name}` has no element {index}"), line)),
            (Err(why), _) => Value::unknown(why, line),
            _ => Value::unknown(format!("`{name}` is no list in the script"), line),
        }
    }
}

fn push(words: &mut Vec<Value>, open: &mut bool, piece: Piece) {
    match words.last_mut() {
        Some(word) if *open => word.0.push(piece),
        _ => words.push(Value(vec![piece])),
    }
    *open = true;
}

/// `{a,b}`, `{1..3}` outside of `${...}`.
fn braces(text: &str) -> bool {
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let variable = rest[..start].ends_with('$');
        let end = rest[start..].find('}').map_or(rest.len(), |end| start + end);
        let inner = &rest[start..end];
        if !variable && (inner.contains(',') || inner.contains("..")) {
            return true;
        }
        rest = rest.get(end..).and_then(|rest| rest.strip_prefix('}')).unwrap_or_default();
    }
    false
}

/// Without backslashes: between quotes they hide only `$`, `"`, `\`, a backquote and the end of a line.
fn unescape(text: &str, quoted: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            out.push(letter);
            continue;
        }
        match letters.next() {
            Some('\n') | None => {}
            Some(next) if !quoted || "$\"\\`".contains(next) => out.push(next),
            Some(next) => out.extend(['\\', next]),
        }
    }
    out
}
