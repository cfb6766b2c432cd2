//! Simple commands: built-ins and functions are followed, and what some programs print.

use tree_sitter::Node;

use super::shell::{Flow, Invocation, Shell, join};
use super::value::{Code, Content, DEPTH, Value, Word, is_name, short, text};
use crate::selector::SCHEMA;
use crate::spec;

/// Arguments that are kept.
const MOST: usize = 1_000;

impl Shell<'_> {
    /// A simple command: built-ins and functions are followed, everything else is a program.
    pub(super) fn command(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let line = code.line(node.child_by_field_name("name").unwrap_or(node).start_byte());
        let (mut words, environment) = self.taken_apart(code, node, depth);
        let plain = |words: &[Word]| {
            let text = |at: usize| words.get(at).and_then(|word| word.value.text().ok()).unwrap_or_default();
            matches!(text(0).as_str(), "command" | "builtin")
                && !text(1).is_empty()
                && !text(1).starts_with('-')
        };
        let mut own = true;
        while plain(&words) {
            words.remove(0);
            own = false;
        }
        let Some(first) = words.first() else { return Flow::Next };
        let Ok(name) = first.value.text() else {
            self.invoke(line, words, environment);
            return Flow::Next;
        };
        let rest: Vec<Value> = words.iter().skip(1).map(|word| word.value.clone()).collect();
        let function = self.state.functions.get(&name).filter(|_| own).cloned();
        if !environment.is_empty() && (function.is_some() || matches!(name.as_str(), "eval" | "source" | "."))
        {
            self.doubt(format!(
                "line {line} sets variables for a function or `{name}`, which is not followed"
            ));
        }
        if let Some(body) = function {
            return self.call(&body, rest, depth);
        }
        self.built_in(&name, line, words, environment, depth)
    }

    /// A command that is no function of the script.
    fn built_in(
        &mut self,
        name: &str,
        line: usize,
        words: Vec<Word>,
        environment: Vec<(String, Value)>,
        depth: usize,
    ) -> Flow {
        let rest: Vec<Value> = words.iter().skip(1).map(|word| word.value.clone()).collect();
        match name {
            "exit" => {
                self.trace.ended.get_or_insert(line);
                return Flow::Exit;
            }
            "return" => return Flow::Return,
            "continue" | "break" => {
                if rest.first().is_some_and(|count| count.text().as_deref() != Ok("1")) {
                    self.doubt(format!("line {line} leaves several loops, which is not followed"));
                }
                return if name == "break" { Flow::Break } else { Flow::Continue };
            }
            "exec" if !rest.is_empty() => {
                self.invoke(line, words, environment);
                return Flow::Exit;
            }
            "trap" => {
                if rest.iter().any(|word| {
                    word.text().is_ok_and(|text| matches!(text.as_str(), "DEBUG" | "RETURN" | "ERR"))
                }) {
                    self.doubt(format!("the `trap` in line {line} is not followed"));
                }
                self.invoke(line, words, environment);
            }
            "eval" => return self.eval(&rest, depth),
            "cd" | "pushd" => self.change_directory(rest.first(), line),
            "popd" => self.state.directory = Some(Err(format!("`popd` (line {line}) is not followed"))),
            "shift" => {
                let count = rest.first().and_then(|value| value.text().ok()?.parse().ok()).unwrap_or(1);
                self.state.args.drain(..self.state.args.len().min(count));
            }
            "set" if rest.first().is_some_and(|value| value.text().as_deref() == Ok("--")) => {
                if rest.len() > MOST {
                    self.doubt(format!("line {line} sets too many arguments to follow"));
                }
                self.state.args = rest.into_iter().skip(1).take(MOST).map(Value::bounded).collect();
            }
            "source" | "." => self.source(rest.first(), line),
            "read" | "mapfile" | "readarray" | "getopts" | "printf" => self.sets_unknown(name, &rest, line),
            "set" => {
                let text = |word: &Value| word.text().unwrap_or_default();
                let option = |sign: char| {
                    rest.windows(2).any(|two| text(&two[0]).starts_with(sign) && text(&two[1]) == "errexit")
                        || rest.iter().any(|word| text(word).starts_with(sign) && text(word).contains('e'))
                };
                self.state.strict = (self.state.strict || option('-')) && !option('+');
            }
            "false" if self.state.strict => return Flow::Exit,
            "let" => {
                for said in rest.iter().filter_map(|value| value.text().ok()) {
                    self.arithmetic(&said, line);
                }
            }
            ":" | "true" | "false" | "echo" | "ulimit" | "shopt" | "wait" | "sleep" | "mkdir" | "module"
            | "date" | "tee" | "cat" | "ls" | "rm" | "cp" | "tail" | "head" | "grep" => {}
            _ => self.invoke(line, words, environment),
        }
        Flow::Next
    }

    /// The words of a simple command, and the variables that are set for it alone.
    fn taken_apart(&mut self, code: &Code, node: Node, depth: usize) -> (Vec<Word>, Vec<(String, Value)>) {
        let line = code.line(node.start_byte());
        let mut words: Vec<Word> = Vec::new();
        let mut environment = Vec::new();
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        let before_lines = lines_before(code, &children);
        for (position, child) in children.into_iter().enumerate() {
            match child.kind() {
                "variable_assignment" if position < before_lines => self.assign(code, child, false, depth),
                "variable_assignment" => {
                    let before = self.state.vars.clone();
                    self.assign(code, child, false, depth);
                    if let Some(name) = child.child_by_field_name("name") {
                        let name = text(code, name).to_owned();
                        environment.push((name.clone(), self.lookup(&name, line)));
                    }
                    self.state.vars = before;
                }
                "file_redirect" | "herestring_redirect" | "heredoc_redirect" | "comment" => {}
                "command_name" => {
                    let inner = child.named_child(0).filter(|_| child.named_child_count() == 1);
                    words.extend(self.words(code, inner.unwrap_or(child), depth));
                }
                _ => words.extend(self.words(code, child, depth)),
            }
        }
        (words, environment)
    }

    fn invoke(&mut self, line: usize, words: Vec<Word>, mut environment: Vec<(String, Value)>) {
        let one = |content: &Content| match content {
            Content::One(value) => Some(value.clone()),
            Content::Many(_) => None,
        };
        let (mut exported, mut variables) = (Vec::new(), Vec::new());
        for (name, content) in &self.state.vars {
            let list = if self.state.exported.contains(name) { &mut exported } else { &mut variables };
            // All others can contradict nothing.
            if spec::setting(&SCHEMA, name, "1", |_| None).is_some() {
                list.extend(one(content).map(|value| (name.clone(), value)));
            }
        }
        exported.retain(|(name, _)| !environment.iter().any(|(own, _)| own == name));
        environment.append(&mut exported);
        environment.sort_by(|a, b| a.0.cmp(&b.0));
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        self.trace.invocations.push(Invocation {
            line,
            words,
            environment,
            variables,
            directory: self.state.directory.clone().unwrap_or_else(|| Ok(String::new())),
            doubt: self.state.doubt.clone(),
        });
    }

    fn eval(&mut self, rest: &[Value], depth: usize) -> Flow {
        let mut unknown = Vec::new();
        let code = Code::of_values(rest, |why| {
            unknown.push(why.to_owned());
            format!("__sweep_unknown_{}", unknown.len())
        });
        for (number, why) in unknown.into_iter().enumerate() {
            let value = Value::unknown(why, 0);
            self.state.vars.insert(format!("__sweep_unknown_{}", number + 1), Content::One(value));
        }
        self.run(&code, depth + 1)
    }

    fn call(&mut self, body: &Code, args: Vec<Value>, depth: usize) -> Flow {
        let before = std::mem::replace(&mut self.state.args, args.into_iter().map(Value::bounded).collect());
        let outer = self.state.locals.replace(Vec::new());
        let flow = self.run(body, depth + 1);
        self.state.args = before;
        for (name, content) in std::mem::replace(&mut self.state.locals, outer).unwrap_or_default() {
            match content {
                Some(content) => drop(self.state.vars.insert(name, content)),
                None => drop(self.state.vars.remove(&name)),
            }
        }
        if flow == Flow::Return { Flow::Next } else { flow }
    }

    fn change_directory(&mut self, to: Option<&Value>, line: usize) {
        let now = self.state.directory.clone().unwrap_or_else(|| Ok(String::new()));
        let to = to.map_or_else(|| Err("no directory".to_owned()), Value::text);
        self.state.directory = Some(match (now, to) {
            (Ok(now), Ok(to)) if to != "-" => Ok(join(&now, &to)),
            (Err(why), Ok(to)) if !to.starts_with('/') => Err(why),
            (Err(_), Ok(to)) if to != "-" => Ok(to),
            (_, Err(why)) => Err(format!("`cd` in line {line}: {why}")),
            _ => Err(format!("`cd -` in line {line} is not followed")),
        });
    }

    /// A file that is read into the script may change every variable.
    fn source(&mut self, file: Option<&Value>, line: usize) {
        let name = file.and_then(|file| file.text().ok()).unwrap_or_default();
        let harmless =
            ["activate", "conda.sh", ".bashrc", ".bash_profile", ".profile", "profile", "modules.sh"];
        let last = name.rsplit('/').next().unwrap_or_default();
        if harmless.contains(&last) {
            return;
        }
        let why = format!("`source {}` (line {line}) may set it, and is not read", short(&name));
        for content in self.state.vars.values_mut() {
            *content = Content::One(Value::unknown(why.clone(), line));
        }
        // It may set what the script does not.
        self.doubt(format!("line {line} reads `{}` into the script, which is not followed", short(&name)));
    }

    fn sets_unknown(&mut self, name: &str, rest: &[Value], line: usize) {
        if name == "printf" && rest.first().is_none_or(|value| value.text().as_deref() != Ok("-v")) {
            return;
        }
        let names: Vec<String> = rest.iter().filter_map(|value| value.text().ok()).collect();
        for word in names {
            let target = word.split(['=', '+', '-', '*']).next().unwrap_or_default();
            if is_name(target) {
                let why = format!("`{name}` (line {line}) sets it");
                self.state.vars.insert(target.to_owned(), Content::One(Value::unknown(why, line)));
            }
        }
    }

    /// `$(...)`: only what is about paths of the script itself, and short lists of numbers.
    pub(super) fn substitution(&mut self, code: &Code, node: Node, depth: usize) -> Value {
        if self.is_spent(node.end_byte() - node.start_byte()) {
            return Value::unknown("it has too many steps to follow", code.line(node.start_byte()));
        }
        let before = self.state.clone();
        let value = self.printed(code, node, depth);
        self.state = before;
        if value.text().is_err() {
            self.aside(|shell| shell.all(code, node, depth + 1));
        }
        value
    }

    fn printed(&mut self, code: &Code, node: Node, depth: usize) -> Value {
        let line = code.line(node.start_byte());
        let raw = text(code, node);
        let unknown = || Value::unknown(format!("`{}` is only known when it runs", short(raw)), line);
        let inner = raw.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')).unwrap_or_default();
        if depth > DEPTH || inner.is_empty() {
            return unknown();
        }
        let begin = Code::at(inner, line);
        let Some(tree) = self.parse(&begin.text) else { return unknown() };
        let root = tree.root_node();
        if root.has_error() || root.named_child_count() != 1 {
            return unknown();
        }
        let Some(only) = root.named_child(0) else { return unknown() };
        self.simple_output(&begin, only, depth + 1).map_or_else(unknown, |text| Value::known(text, line))
    }

    fn simple_output(&mut self, code: &Code, node: Node, depth: usize) -> Option<String> {
        if node.kind() == "list" {
            let (first, last) = (node.named_child(0)?, node.named_child(1)?);
            let words = self.plain_words(code, first, depth)?;
            let [cd, to] = &words[..] else { return None };
            let here = self.state.directory.clone()?.ok()?;
            return (cd == "cd" && text(code, last).trim() == "pwd" && node.named_child_count() == 2)
                .then(|| join(&here, to));
        }
        let words = self.plain_words(code, node, depth)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["pwd"] => self.state.directory.clone()?.ok(),
            ["dirname", path] | ["dirname", "--", path] => {
                Some(path.rsplit_once('/').map_or(".", |(parent, _)| parent).to_owned())
            }
            ["basename", path] => path.rsplit('/').next().map(str::to_owned),
            ["basename", path, suffix] => {
                let last = path.rsplit('/').next()?;
                Some(last.strip_suffix(suffix).unwrap_or(last).to_owned())
            }
            ["seq", from, to] => {
                let (from, to) = (from.parse::<i64>().ok()?, to.parse::<i64>().ok()?);
                let short = to.checked_sub(from).is_some_and(|length| length < 1_000);
                short.then(|| (from..=to).map(|n| n.to_string()).collect::<Vec<_>>().join(" "))
            }
            _ => None,
        }
    }

    fn plain_words(&mut self, code: &Code, node: Node, depth: usize) -> Option<Vec<String>> {
        if node.kind() != "command" {
            return None;
        }
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        let mut words = Vec::new();
        for child in children {
            let inner = if child.kind() == "command_name" { child.named_child(0)? } else { child };
            words.extend(self.words(code, inner, depth).into_iter().map(|word| word.value.text().ok()));
        }
        words.into_iter().collect()
    }
}

/// How many of a command's first parts are lines of their own: the grammar takes `A=1 B=2` into the command below it.
fn lines_before(code: &Code, children: &[Node]) -> usize {
    let parts: Vec<(usize, &Node)> =
        children.iter().enumerate().filter(|(_, child)| child.kind() != "comment").collect();
    let ends = |two: &[(usize, &Node)]| {
        let between = code.text.get(two[0].1.end_byte()..two[1].1.start_byte()).unwrap_or_default();
        two[0].1.kind() == "variable_assignment" && between.replace("\\\n", "").contains('\n')
    };
    parts.windows(2).rev().find(|two| ends(two)).map_or(0, |two| two[1].0)
}
