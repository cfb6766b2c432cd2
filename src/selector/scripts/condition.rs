//! Branches and loops: taken where their condition is known, both sides where it is not.

use tree_sitter::Node;

use super::question::{is_test, matches};
use super::shell::{Flow, Shell, State};
use super::value::{Code, Content, Value, short, text};

/// Values that a `for` is unrolled over.
const UNROLLED: usize = 1_000;

impl Shell<'_> {
    /// `a && b`, `a || b`.
    pub(super) fn list(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let (Some(left), Some(right)) = (node.named_child(0), node.named_child(1)) else {
            return Flow::Next;
        };
        let and = (0..node.child_count()).any(|n| node.child(n).is_some_and(|child| child.kind() == "&&"));
        let known = self.condition(code, left, depth);
        if !is_test(left) {
            let succeeds = known.or_else(|| self.succeeds(code, left, depth));
            let flow = self.statement(code, left, depth);
            let why = format!("`{}` {}", short(text(code, left)), if and { "succeeds" } else { "fails" });
            return match (flow, succeeds) {
                (Flow::Next, Some(true)) if and => self.statement(code, right, depth),
                (Flow::Next, Some(false)) if and => Flow::Next,
                (Flow::Next, Some(false)) => self.statement(code, right, depth),
                (Flow::Next, Some(true)) if known.is_some() || leaves(code, right) => Flow::Next,
                (Flow::Next, _) => self.perhaps(code, &[right], &why, depth),
                (flow, _) => flow,
            };
        }
        match known {
            Some(holds) if holds == and => self.statement(code, right, depth),
            Some(_) => Flow::Next,
            None => {
                let why = format!("`{}`", short(text(code, left)));
                self.perhaps(code, &[right], &why, depth)
            }
        }
    }

    /// Statements that may run or not.
    fn perhaps(&mut self, code: &Code, nodes: &[Node], condition: &str, depth: usize) -> Flow {
        let before = self.state.clone();
        let flow = self.doubtful(code, nodes, condition, depth);
        let after = std::mem::replace(&mut self.state, before);
        match flow {
            // The other way is the one that goes on.
            Flow::Exit | Flow::Return | Flow::Continue => {}
            Flow::Break => self.doubt(format!("a loop ends where {condition}, which is not known")),
            Flow::Next => self.merge(&after, condition),
        }
        Flow::Next
    }

    fn doubtful(&mut self, code: &Code, nodes: &[Node], condition: &str, depth: usize) -> Flow {
        let before = self.state.doubt.clone();
        let ended = self.trace.ended;
        self.doubt(format!("it only runs where {condition}, which is not known"));
        let flow = self.each(code, nodes, depth);
        self.state.doubt = before;
        self.trace.ended = ended;
        flow
    }

    /// Keeps what both ways agree on.
    fn merge(&mut self, other: &State, condition: &str) {
        let why = format!("it depends on {condition}");
        let names: Vec<String> = self.state.vars.keys().chain(other.vars.keys()).cloned().collect();
        for name in names {
            if self.state.vars.get(&name) != other.vars.get(&name) {
                self.state.vars.insert(name, Content::One(Value::unknown(why.clone(), 0)));
            }
        }
        let same = |a: &State, b: &State| {
            a.args == b.args && a.functions == b.functions && a.locals == b.locals && a.strict == b.strict
        };
        if !same(&self.state, other) || self.state.special != other.special {
            self.doubt(why.clone());
        }
        if self.state.directory != other.directory {
            self.state.directory = Some(Err(why));
        }
        self.state.exported.extend(other.exported.iter().cloned());
        self.state.doubt = self.state.doubt.take().or_else(|| other.doubt.clone());
    }

    /// `if`, `elif`, `else`.
    pub(super) fn branches(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let mut cursor = node.walk();
        let children: Vec<Node> = node.children(&mut cursor).collect();
        let then = children.iter().position(|child| child.kind() == "then").unwrap_or(0);
        let conditions: Vec<Node> =
            named(&children[..then]).into_iter().filter(|child| child.kind() != "comment").collect();
        let rest = named(&children[then..]);
        let other = |child: &Node| matches!(child.kind(), "elif_clause" | "else_clause");
        let body: Vec<Node> = rest.iter().copied().filter(|child| !other(child)).collect();
        let clauses: Vec<Node> = rest.into_iter().filter(other).collect();
        self.decide(code, &conditions, &body, &clauses, depth)
    }

    fn decide(
        &mut self,
        code: &Code,
        conditions: &[Node],
        body: &[Node],
        clauses: &[Node],
        depth: usize,
    ) -> Flow {
        // What is asked may be a program: `if python train.py ...; then`.
        for condition in conditions.iter().filter(|condition| !is_test(**condition)) {
            let flow = self.statement(code, *condition, depth);
            if flow != Flow::Next {
                return flow;
            }
        }
        let holds = conditions.last().and_then(|last| self.condition(code, *last, depth));
        let why =
            conditions.last().map_or_else(String::new, |node| format!("`{}`", short(text(code, *node))));
        match holds {
            Some(true) => self.each(code, body, depth),
            Some(false) => self.otherwise(code, clauses, depth),
            None => {
                let before = self.state.clone();
                let flow = self.doubtful(code, body, &why, depth);
                let then = std::mem::replace(&mut self.state, before);
                let doubt = self.state.doubt.clone();
                self.doubt(format!("it only runs unless {why}, which is not known"));
                let ended = self.trace.ended;
                let other = self.otherwise(code, clauses, depth);
                self.trace.ended = ended;
                self.state.doubt = doubt;
                match (flow, other) {
                    (Flow::Break, _) | (_, Flow::Break) => {
                        self.doubt(format!("a loop ends where {why}, which is not known"));
                        Flow::Next
                    }
                    (Flow::Next, Flow::Next) => {
                        self.merge(&then, &why);
                        Flow::Next
                    }
                    (Flow::Next, _) => {
                        self.state = then;
                        Flow::Next
                    }
                    (_, Flow::Next) => Flow::Next,
                    (_, flow) => flow,
                }
            }
        }
    }

    fn otherwise(&mut self, code: &Code, clauses: &[Node], depth: usize) -> Flow {
        let Some((first, rest)) = clauses.split_first() else { return Flow::Next };
        let mut cursor = first.walk();
        let children: Vec<Node> = first.children(&mut cursor).collect();
        if first.kind() == "else_clause" {
            return self.each(code, &named(&children), depth);
        }
        let then = children.iter().position(|child| child.kind() == "then").unwrap_or(0);
        let conditions: Vec<Node> =
            named(&children[..then]).into_iter().filter(|child| child.kind() != "comment").collect();
        self.decide(code, &conditions, &named(&children[then..]), rest, depth)
    }

    /// `case WORD in a|b) ...;; esac`.
    pub(super) fn case(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let Some(value) = node.child_by_field_name("value") else { return Flow::Next };
        self.unset_is_empty = true;
        let word = self.value(code, value, depth);
        self.unset_is_empty = false;
        let mut cursor = node.walk();
        let items: Vec<Node> =
            node.named_children(&mut cursor).filter(|child| child.kind() == "case_item").collect();
        let why = format!("`case {}` (line {})", short(text(code, value)), code.line(node.start_byte()));
        let Ok(word) = word.text() else {
            let before = self.state.clone();
            let mut all = Vec::new();
            for (_, body) in items.into_iter().map(split) {
                self.state = before.clone();
                if self.doubtful(code, &body, &why, depth) == Flow::Next {
                    all.push(self.state.clone());
                }
            }
            self.state = before;
            for state in all {
                self.merge(&state, &why);
            }
            return Flow::Next;
        };
        for item in items {
            let (patterns, body) = split(item);
            for pattern in patterns {
                match matches(text(code, pattern), &word) {
                    Some(true) if text(code, item).contains(";&") || text(code, item).contains(";;&") => {
                        self.doubt(format!("{why} falls through, which is not followed"));
                        return Flow::Next;
                    }
                    Some(true) => return self.each(code, &body, depth),
                    Some(false) => {}
                    None => {
                        self.doubt(format!(
                            "{why}: pattern `{}` is not followed",
                            short(text(code, pattern))
                        ));
                        return Flow::Next;
                    }
                }
            }
        }
        Flow::Next
    }

    /// `for A in words; do ...; done`.
    pub(super) fn for_each(&mut self, code: &Code, node: Node, depth: usize) -> Flow {
        let line = code.line(node.start_byte());
        let (Some(variable), Some(body)) =
            (node.child_by_field_name("variable"), node.child_by_field_name("body"))
        else {
            self.unknown_loop(code, node, depth);
            return Flow::Next;
        };
        let mut cursor = node.walk();
        let nodes: Vec<Node> = node.children_by_field_name("value", &mut cursor).collect();
        let mut values = Vec::new();
        for node in nodes {
            values.extend(self.words(code, node, depth));
        }
        let certain =
            values.iter().all(|word| word.value.text().is_ok_and(|text| !text.contains(['*', '?'])));
        let stated = text(code, node).split("do").next().is_some_and(|head| head.contains(" in"));
        let chosen = text(code, node).starts_with("select");
        if !certain || !stated || chosen || values.len() > UNROLLED {
            self.unknown_loop(code, node, depth);
            return Flow::Next;
        }
        let name = text(code, variable).to_owned();
        for word in values {
            let value = Value(
                word.value
                    .0
                    .into_iter()
                    .map(|mut piece| {
                        piece.line = line;
                        piece
                    })
                    .collect(),
            );
            self.state.vars.insert(name.clone(), Content::One(value));
            match self.statement(code, body, depth) {
                Flow::Next | Flow::Continue => {}
                Flow::Break => break,
                flow => return flow,
            }
        }
        Flow::Next
    }

    /// A loop whose turns are not known: followed once, in doubt.
    pub(super) fn unknown_loop(&mut self, code: &Code, node: Node, depth: usize) {
        let Some(body) = node.child_by_field_name("body") else {
            self.doubt("a loop is not followed");
            return;
        };
        let head = text(code, node).get(..body.start_byte() - node.start_byte()).unwrap_or_default();
        let line = code.line(node.start_byte());
        if let Some(condition) =
            node.child_by_field_name("condition").filter(|_| node.kind() == "while_statement")
        {
            // It is asked once at least.
            if !is_test(condition) {
                self.statement(code, condition, depth);
            }
            if head.starts_with("while") && self.condition(code, condition, depth) == Some(false) {
                return;
            }
        } else if node.kind() == "c_style_for_statement" {
            self.arithmetic(head, line);
        }
        let condition = format!("the loop in line {} says so", code.line(node.start_byte()));
        if let Some(variable) = node.child_by_field_name("variable") {
            let value =
                Value::unknown(format!("it is set by the loop in line {}", code.line(node.start_byte())), 0);
            self.state.vars.insert(text(code, variable).to_owned(), Content::One(value));
        }
        // Twice: what the first turn sets must not look known to the second.
        for _ in 0..2 {
            self.perhaps(code, &[body], &condition, depth);
        }
        let lines: std::collections::HashSet<usize> =
            self.trace.invocations.iter().filter(|one| one.doubt.is_some()).map(|one| one.line).collect();
        let mut seen = std::collections::HashSet::new();
        self.trace
            .invocations
            .retain(|one| !lines.contains(&one.line) || one.doubt.is_none() || seen.insert(one.line));
    }
}

fn named<'t>(nodes: &[Node<'t>]) -> Vec<Node<'t>> {
    nodes.iter().copied().filter(Node::is_named).collect()
}

/// Patterns and statements of one way of a `case`.
fn split(item: Node<'_>) -> (Vec<Node<'_>>, Vec<Node<'_>>) {
    let mut cursor = item.walk();
    let patterns: Vec<Node> = item.children_by_field_name("value", &mut cursor).collect();
    let mut cursor = item.walk();
    let body = item.named_children(&mut cursor).filter(|child| !patterns.contains(child)).collect();
    (patterns, body)
}

/// `exit 1`, `{ echo ...; exit 1; }`, `echo ...`: what follows `||` where a program fails.
fn leaves(code: &Code, node: Node) -> bool {
    let text = text(code, node);
    text.contains("exit") || ["true", ":", "echo"].iter().any(|word| text.starts_with(word))
}
