//! Follows a script statement by statement, as far as its values are known, and collects the programs it starts.

use std::collections::HashMap;

use tree_sitter::{Node, Parser};

use super::value::{Code, Content, Value, Word};
use super::words::{DEPTH, is_name, short, text};
use super::{Given, Remark, Script};

/// Statements that are followed before a script is given up.
const STEPS: usize = 20_000;

/// A program that the script starts.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub line: usize,
    pub words: Vec<Word>,
    /// Exported variables and those before the command.
    pub environment: Vec<(String, Value)>,
    /// All other variables that are set at that moment.
    pub variables: Vec<(String, Value)>,
    /// Where relative paths start; an error where a `cd` was not followed.
    pub directory: Result<String, String>,
    /// Why it is not certain that this runs, and so.
    pub doubt: Option<String>,
}

/// What following a script found.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    pub invocations: Vec<Invocation>,
    pub comments: Vec<Remark>,
    /// Where the script ended itself before its end.
    pub ended: Option<usize>,
    /// `SLURM_ARRAY_TASK_ID` takes these values.
    pub array: Vec<String>,
}

/// How a statement ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Exit,
    Return,
    Continue,
    Break,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    pub vars: HashMap<String, Content>,
    pub exported: Vec<String>,
    pub args: Vec<Value>,
    pub functions: HashMap<String, Code>,
    pub directory: Option<Result<String, String>>,
    pub doubt: Option<String>,
}

pub(super) struct Shell<'s> {
    pub script: &'s Script,
    pub state: State,
    pub trace: Trace,
    /// Names that are not set read as empty: inside of a condition.
    pub unset_is_empty: bool,
    steps: usize,
    parser: Parser,
}

/// Follows `script`; `task` is the value of `SLURM_ARRAY_TASK_ID`.
pub fn follow(script: &Script, given: &Given, task: Option<&str>) -> Trace {
    let mut state = State { directory: Some(Ok(given.root.display().to_string())), ..State::default() };
    let first_missing = (1..).find(|n: &usize| !given.values.contains_key(&n.to_string())).unwrap_or(1);
    state.args = (1..first_missing).map(|n| Value::known(&given.values[&n.to_string()], 0)).collect();
    let task = task.map(|task| ("SLURM_ARRAY_TASK_ID".to_owned(), task.to_owned()));
    for (name, value) in given.values.clone().into_iter().chain(task).filter(|(name, _)| is_name(name)) {
        state.exported.push(name.clone());
        state.vars.insert(name, Content::One(Value::known(value, 0)));
    }
    let mut parser = Parser::new();
    // The grammar is linked in and of this version of the library; without it every script is unread.
    let usable = parser.set_language(&tree_sitter_bash::LANGUAGE.into()).is_ok();
    let mut shell =
        Shell { script, state, trace: Trace::default(), unset_is_empty: false, steps: 0, parser };
    if !usable {
        shell.doubt("the shell grammar cannot be loaded");
    }
    let code = Code::file(&script.text);
    shell.trace.array = array(&code.text);
    shell.run(&code, 0);
    shell.trace
}

/// The values of `#SBATCH --array=0-3`, `0,2,5`, `0-9:3`.
fn array(text: &str) -> Vec<String> {
    let directive = text.lines().filter_map(|line| line.trim().strip_prefix("#SBATCH")).find_map(|rest| {
        let rest = rest.trim();
        rest.strip_prefix("--array=").or_else(|| rest.strip_prefix("-a "))
    });
    let Some(list) = directive else { return Vec::new() };
    let list = list.split(['%', ' ', '#']).next().unwrap_or_default();
    let mut values = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (Ok(from), Ok(to), Ok(step)) = (from.parse::<u32>(), to.parse::<u32>(), step.parse::<usize>())
        else {
            return Vec::new();
        };
        if step == 0 || to.saturating_sub(from) > 1_000 {
            return Vec::new();
        }
        values.extend((from..=to).step_by(step).map(|n| n.to_string()));
    }
    values
}

impl Shell<'_> {
    /// From now on nothing is certain.
    pub fn doubt(&mut self, why: impl Into<String>) {
        self.state.doubt.get_or_insert_with(|| why.into());
    }

    /// Whether `name` has a value.
    pub fn is_set(&self, name: &str) -> bool {
        match name.parse::<usize>() {
            Ok(0) => true,
            Ok(number) => number <= self.state.args.len(),
            Err(_) if is_name(name) => self.state.vars.contains_key(name),
            Err(_) => matches!(name, "@" | "*" | "#"),
        }
    }

    /// Why `name` has no value.
    pub fn absent(&self, name: &str) -> String {
        match name.parse::<usize>() {
            Ok(number) => format!("argument {number} of the script is not given (--set {number}=VALUE)"),
            Err(_) => format!("`{name}` is not set in the script (--set {name}=VALUE)"),
        }
    }

    /// The value of `$name`.
    pub fn lookup(&self, name: &str, line: usize) -> Value {
        let empty_if_unset = self.unset_is_empty && !of_the_machine(name);
        if name == "0" || name == "BASH_SOURCE" {
            return Value::known(self.script.path.display().to_string(), line);
        }
        if name == "#" {
            return Value::known(self.state.args.len().to_string(), line);
        }
        if matches!(name, "@" | "*") {
            let words: Vec<String> = self.state.args.iter().filter_map(|value| value.text().ok()).collect();
            return Value::known(words.join(" "), line);
        }
        let found = match name.parse::<usize>() {
            Ok(number) => self.state.args.get(number.saturating_sub(1)).cloned(),
            Err(_) => match self.state.vars.get(name) {
                Some(Content::One(value)) => Some(value.clone()),
                Some(Content::Many(values)) => values.first().cloned(),
                None => None,
            },
        };
        match found {
            Some(value) => value,
            None if empty_if_unset && (is_name(name) || name.parse::<usize>().is_ok()) => Value::known("", line),
            None if is_name(name) || name.parse::<usize>().is_ok() => Value::unknown(self.absent(name), line),
            None => Value::unknown(format!("`${name}` is only known when it runs"), line),
        }
    }

    /// Follows all statements of `code`.
    pub fn run(&mut self, code: &Code, depth: usize) -> Flow {
        let Some(tree) = self.parser.parse(&code.text, None) else {
            self.doubt("it cannot be parsed");
            return Flow::Next;
        };
        if tree.root_node().has_error() {
            let line = first_error(tree.root_node()).map_or(1, |at| code.line(at));
            self.doubt(format!("line {line} is not understood as shell"));
        }
        let flow = self.all(code, tree.root_node(), depth + 1);
        if depth == 0 && flow == Flow::Exit && self.trace.ended.is_none() {
            self.trace.ended = Some(0);
        }
        flow
    }

    /// Follows the children of `node` in order.
    pub fn all(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        self.each(code, &children, depth)
    }

    pub fn each(&mut self, code: &Code, nodes: &[Node], depth: usize) -> Flow {
        for node in nodes {
            let flow = self.statement(code, *node, depth);
            if flow != Flow::Next {
                return flow;
            }
        }
        Flow::Next
    }

    pub fn statement(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        self.steps += 1;
        if self.steps > STEPS || depth > DEPTH {
            self.doubt("it has too many steps to follow");
            return Flow::Next;
        }
        let depth = depth + 1;
        match node.kind() {
            "comment" => {
                let line = code.line(node.start_byte());
                self.trace.comments.push(Remark { line, text: text(code, node).to_owned() });
            }
            "variable_assignment" => self.assign(code, node, false, depth),
            "variable_assignments" => return self.all(code, node, depth),
            "declaration_command" => self.declare(code, node, depth),
            "command" => return self.command(code, node, depth),
            "redirected_statement" => {
                if let Some(body) = node.child_by_field_name("body") {
                    return self.statement(code, body, depth);
                }
            }
            "compound_statement" | "do_group" => return self.all(code, node, depth),
            "subshell" | "pipeline" => {
                let before = self.state.clone();
                let flow = self.all(code, node, depth);
                let doubt = self.state.doubt.take();
                self.state = before;
                self.state.doubt = self.state.doubt.take().or(doubt);
                // Only the process in the pipe ends.
                return if flow == Flow::Exit { Flow::Next } else { flow };
            }
            "negated_command" => return self.all(code, node, depth),
            "list" => return self.list(code, node, depth),
            "if_statement" => return self.branches(code, node, depth),
            "case_statement" => return self.case(code, node, depth),
            "for_statement" => return self.for_each(code, node, depth),
            "while_statement" | "c_style_for_statement" => self.unknown_loop(code, node, depth),
            "function_definition" => self.define(code, node),
            "unset_command" => self.unset(code, node),
            "test_command" | "heredoc_body" | "herestring_redirect" | "file_redirect" | "heredoc_redirect" => {}
            other => {
                let line = code.line(node.start_byte());
                self.doubt(format!("line {line} ({other}) is not followed"));
            }
        }
        Flow::Next
    }

    /// `A=1`, `A+=1`, `A=(1 2)`.
    pub fn assign(&mut self, code: &Code, node: Node, export: bool, depth: usize) {
        let line = code.line(node.start_byte());
        let Some(name) = node.child_by_field_name("name") else { return };
        let target = text(code, name).to_owned();
        if !is_name(&target) {
            let list = target.split('[').next().unwrap_or_default().to_owned();
            let why = format!("`{target}` (line {line}) is not followed");
            self.state.vars.insert(list, Content::One(Value::unknown(why, line)));
            return;
        }
        let adds = text(code, node).get(target.len()..).is_some_and(|rest| rest.starts_with("+="));
        let content = match node.child_by_field_name("value") {
            Some(value) if value.kind() == "array" => {
                let mut cursor = value.walk();
                let children: Vec<Node> = value.named_children(&mut cursor).collect();
                let mut values = Vec::new();
                for child in children.into_iter().filter(|child| child.kind() != "comment") {
                    values.extend(self.words(code, child, depth).into_iter().map(|word| word.value));
                }
                Content::Many(values)
            }
            Some(value) => Content::One(self.value(code, value, depth)),
            None => Content::One(Value::known("", line)),
        };
        let content = match (adds, self.state.vars.remove(&target), content) {
            (true, Some(Content::Many(mut all)), Content::Many(more)) => {
                all.extend(more);
                Content::Many(all)
            }
            (true, Some(Content::One(mut all)), Content::One(more)) => {
                all.0.extend(more.0);
                Content::One(all)
            }
            (true, Some(_), _) => {
                Content::One(Value::unknown(format!("`{target}` is list and text (line {line})"), line))
            }
            (_, _, content) => content,
        };
        if export && !self.state.exported.contains(&target) {
            self.state.exported.push(target.clone());
        }
        self.state.vars.insert(target, content);
    }

    /// `export A=1 B`, `local`, `declare`, `readonly`.
    fn declare(&mut self, code: &Code, node: Node, depth: usize) {
        let export = text(code, node).starts_with("export") || text(code, node).starts_with("declare -x");
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        for child in children {
            match child.kind() {
                "variable_assignment" => self.assign(code, child, export, depth),
                "variable_name" if export => self.state.exported.push(text(code, child).to_owned()),
                "word" if text(code, child).starts_with(['-', '+']) => {}
                "variable_name" | "comment" => {}
                _ => {
                    let line = code.line(child.start_byte());
                    self.doubt(format!("line {line} sets variables that are not followed"));
                }
            }
        }
    }

    fn unset(&mut self, code: &Code, node: Node) {
        let mut cursor = node.walk();
        let names: Vec<Node> = node.named_children(&mut cursor).collect();
        for name in names {
            self.state.vars.remove(text(code, name));
        }
    }

    fn define(&mut self, code: &Code, node: Node) {
        let (Some(name), Some(body)) = (node.child_by_field_name("name"), node.child_by_field_name("body")) else {
            return;
        };
        self.state.functions.insert(text(code, name).to_owned(), code.part(body.byte_range()));
    }

    /// A simple command: built-ins and functions are followed, everything else is a program.
    fn command(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let line = code.line(node.start_byte());
        let mut words: Vec<Word> = Vec::new();
        let mut environment = Vec::new();
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        for child in children {
            match child.kind() {
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
        let Some(first) = words.first() else { return Flow::Next };
        let Ok(name) = first.value.text() else {
            self.invoke(line, words, environment);
            return Flow::Next;
        };
        let rest: Vec<Value> = words.iter().skip(1).map(|word| word.value.clone()).collect();
        match name.as_str() {
            "exit" => {
                self.trace.ended.get_or_insert(line);
                return Flow::Exit;
            }
            "return" => return Flow::Return,
            "continue" => return Flow::Continue,
            "break" => return Flow::Break,
            "eval" => return self.eval(&rest, depth),
            "cd" | "pushd" => self.change_directory(rest.first(), line),
            "popd" => self.state.directory = Some(Err(format!("`popd` (line {line}) is not followed"))),
            "shift" => {
                let count = rest.first().and_then(|value| value.text().ok()?.parse().ok()).unwrap_or(1);
                self.state.args.drain(..self.state.args.len().min(count));
            }
            "set" if rest.first().is_some_and(|value| value.text().as_deref() == Ok("--")) => {
                self.state.args = rest[1..].to_vec();
            }
            "source" | "." => self.source(rest.first(), line),
            "read" | "mapfile" | "readarray" | "getopts" | "let" | "printf" => self.sets_unknown(&name, &rest, line),
            "set" | ":" | "true" | "false" | "echo" | "trap" | "ulimit" | "shopt" | "wait" | "sleep" | "mkdir"
            | "module" | "conda" | "date" | "tee" | "cat" | "ls" | "rm" | "cp" | "tail" | "head" | "grep" => {}
            _ => match self.state.functions.get(&name).cloned() {
                Some(body) => return self.call(&body, rest, depth),
                None => self.invoke(line, words, environment),
            },
        }
        Flow::Next
    }

    fn invoke(&mut self, line: usize, words: Vec<Word>, mut environment: Vec<(String, Value)>) {
        let one = |content: &Content| match content {
            Content::One(value) => Some(value.clone()),
            Content::Many(_) => None,
        };
        let (mut exported, mut variables) = (Vec::new(), Vec::new());
        for (name, content) in &self.state.vars {
            let list = if self.state.exported.contains(name) { &mut exported } else { &mut variables };
            list.extend(one(content).map(|value| (name.clone(), value)));
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
        let before = std::mem::replace(&mut self.state.args, args);
        let flow = self.run(body, depth + 1);
        self.state.args = before;
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
        let harmless = ["activate", "conda.sh", ".bashrc", ".bash_profile", ".profile", "profile", "modules.sh"];
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
    pub fn substitution(&mut self, code: &Code, node: Node, depth: usize) -> Value {
        let line = code.line(node.start_byte());
        let raw = text(code, node);
        let unknown = || Value::unknown(format!("`{}` is only known when it runs", short(raw)), line);
        let inner = raw.strip_prefix("$(").and_then(|rest| rest.strip_suffix(')')).unwrap_or_default();
        if depth > DEPTH || inner.is_empty() {
            return unknown();
        }
        let begin = Code::at(inner, line);
        let Some(tree) = self.parser.parse(&begin.text, None) else { return unknown() };
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

/// Variables that machines set.
fn of_the_machine(name: &str) -> bool {
    let known = ["HOME", "PATH", "USER", "PWD", "HOSTNAME", "TMPDIR", "VIRTUAL_ENV", "SHELL"];
    let families = ["CUDA_", "SLURM_", "CONDA_", "LD_", "PYTHON", "NVIDIA_", "PBS_", "SGE_"];
    known.contains(&name) || families.iter().any(|family| name.starts_with(family))
}

/// `to`, seen from `from`.
pub fn join(from: &str, to: &str) -> String {
    std::path::Path::new(from).join(to).display().to_string()
}

fn first_error(root: Node) -> Option<usize> {
    let mut open = vec![root];
    let mut first: Option<usize> = None;
    while let Some(node) = open.pop() {
        if node.is_error() || node.is_missing() {
            first = Some(first.map_or(node.start_byte(), |at| at.min(node.start_byte())));
        } else if node.has_error() {
            let mut cursor = node.walk();
            open.extend(node.children(&mut cursor));
        }
    }
    first
}
