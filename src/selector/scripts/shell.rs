//! Follows a script statement by statement, as far as its values are known, and collects the programs it starts.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use tree_sitter::{Node, Parser, Tree};

use super::value::{Code, Content, DEPTH, Value, Word, is_name, text};
use super::{Given, Remark, Script};

/// Statements that are followed before a script is given up.
const STEPS: usize = 20_000;

/// Text of this length, parsed again, counts as a step.
const BYTES: usize = 64;

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
    /// Where following it was given up.
    pub lost: Vec<Remark>,
    /// Why nothing is certain at its end.
    pub doubt: Option<String>,
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
    /// In a function: the variables that are its own, and what they are outside of it.
    pub locals: Option<Vec<(String, Option<Content>)>>,
    /// Names that do not simply take what is assigned to them: numbers, constants.
    pub special: Vec<String>,
    /// `set -e`: it ends where something fails.
    pub strict: bool,
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
    let mut shell = Shell { script, state, trace: Trace::default(), unset_is_empty: false, steps: 0, parser };
    if !usable {
        shell.doubt("the shell grammar cannot be loaded");
    }
    let code = Code::file(&script.text);
    shell.trace.array = array(&code.text);
    shell.run(&code, 0);
    shell.trace.doubt = shell.state.doubt.take();
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
            None if empty_if_unset && (is_name(name) || name.parse::<usize>().is_ok()) => {
                Value::known("", line)
            }
            None if is_name(name) || name.parse::<usize>().is_ok() => Value::unknown(self.absent(name), line),
            None => Value::unknown(format!("`${name}` is only known when it runs"), line),
        }
    }

    /// Counts text that is parsed once more, and whether that was too much.
    pub fn is_spent(&mut self, bytes: usize) -> bool {
        self.steps += bytes / BYTES;
        self.steps > STEPS
    }

    /// The grammar's tree of `text`, with its byte positions.
    pub fn parse(&mut self, text: &str) -> Option<Tree> {
        // To the shell, what is not ASCII is letters; the grammar's scanner reads outside of its table of digits there.
        let letters = |byte: u8| if byte.is_ascii() && byte != 0 { byte } else { b'x' };
        let ascii: Vec<u8> = text.bytes().map(letters).collect();
        self.parser.parse(&ascii, None)
    }

    /// Follows all statements of `code`.
    pub fn run(&mut self, code: &Code, depth: usize) -> Flow {
        if depth > 0 && self.is_spent(code.text.len()) {
            self.doubt("it has too many steps to follow");
            return Flow::Next;
        }
        let Some(tree) = self.parse(&code.text) else {
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
            if node.next_sibling().is_some_and(|next| next.kind() == "&") {
                self.aside(|shell| shell.statement(code, *node, depth));
                continue;
            }
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
            if self.trace.lost.is_empty() {
                let text = "from here on it has too many steps to follow, or is nested too deeply".to_owned();
                self.trace.lost.push(Remark { line: code.line(node.start_byte()), text });
            }
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
            "redirected_statement" => return self.redirected(code, node, depth),
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
            "unset_command" => self.unset(code, node, depth),
            "test_command" if self.state.strict && self.condition(code, node, depth) != Some(true) => {
                let line = code.line(node.start_byte());
                self.doubt(format!("`set -e` may end it in line {line}"));
            }
            "test_command"
            | "heredoc_body"
            | "herestring_redirect"
            | "file_redirect"
            | "heredoc_redirect" => {}
            other => {
                let line = code.line(node.start_byte());
                self.doubt(format!("line {line} ({other}) is not followed"));
            }
        }
        Flow::Next
    }

    /// A statement with `> file`, `<<EOF`.
    fn redirected(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        for child in children.into_iter().filter(|child| child.kind().ends_with("_redirect")) {
            let mut cursor = child.walk();
            let parts: Vec<Node> = child.named_children(&mut cursor).collect();
            for part in parts {
                match part.kind() {
                    "heredoc_start" | "heredoc_body" | "heredoc_end" | "file_descriptor" | "comment" => {}
                    _ if child.kind() != "heredoc_redirect" => drop(self.words(code, part, depth)),
                    // `cat <<EOF | bash`: the grammar puts what follows on the line below the redirection.
                    "pipeline" | "command" | "list" | "redirected_statement" => {
                        self.aside(|shell| shell.statement(code, part, depth));
                    }
                    "file_redirect" => {}
                    _ => self.doubt(format!("line {} is not followed", code.line(part.start_byte()))),
                }
            }
        }
        match node.child_by_field_name("body") {
            Some(body) => self.statement(code, body, depth),
            None => Flow::Next,
        }
    }

    fn define(&mut self, code: &Code, node: Node) {
        let (Some(name), Some(body)) = (node.child_by_field_name("name"), node.child_by_field_name("body"))
        else {
            return;
        };
        self.state.functions.insert(text(code, name).to_owned(), code.part(body.byte_range()));
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
    normal(&Path::new(from).join(to)).display().to_string()
}

/// Without `.` and `..`, by the letters alone.
pub fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
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
