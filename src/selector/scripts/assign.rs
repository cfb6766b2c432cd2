//! What sets variables: assignments, `export` and `local`, `unset`, arithmetic.

use tree_sitter::Node;

use super::shell::{Flow, Invocation, Shell, State};
use super::value::{Code, Content, Value, is_name, text};

/// Elements of a list that are followed.
const MOST: usize = 1_000;

impl Shell<'_> {
    /// `A=1`, `A+=1`, `A=(1 2)`.
    pub fn assign(&mut self, code: &Code, node: Node, export: bool, depth: usize) {
        let line = code.line(node.start_byte());
        let Some(name) = node.child_by_field_name("name") else { return };
        let target = text(code, name).to_owned();
        if !is_name(&target) {
            let list = target.split('[').next().unwrap_or_default().to_owned();
            self.forget(&list, format!("`{target}` (line {line}) is not followed"), line);
            return;
        }
        let adds = text(code, node).get(target.len()..).is_some_and(|rest| rest.starts_with("+="));
        let content = match node.child_by_field_name("value") {
            Some(value) if value.kind() == "array" => self.elements(code, value, depth),
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
        // A script of a line doubles a variable in each turn of a loop.
        let content = match content {
            Content::Many(values) if values.len() > MOST => {
                Content::One(Value::unknown(format!("`{target}` is too long a list"), line))
            }
            Content::Many(values) => Content::Many(values.into_iter().map(Value::bounded).collect()),
            Content::One(value) => Content::One(value.bounded()),
        };
        if export && !self.state.exported.contains(&target) {
            self.state.exported.push(target.clone());
        }
        if self.state.special.contains(&target) {
            self.forget(&target, format!("`{target}` is declared as more than text"), line);
        } else {
            self.state.vars.insert(target, content);
        }
    }

    fn elements(&mut self, code: &Code, node: Node, depth: usize) -> Content {
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        let mut values = Vec::new();
        for child in children.into_iter().filter(|child| child.kind() != "comment") {
            values.extend(self.words(code, child, depth).into_iter().map(|word| word.value));
        }
        Content::Many(values)
    }

    /// From now on the value of `name` is not known.
    pub fn forget(&mut self, name: &str, why: String, line: usize) {
        self.state.vars.insert(name.to_owned(), Content::One(Value::unknown(why, line)));
    }

    /// `export A=1 B`, `local`, `declare`, `readonly`.
    pub(super) fn declare(&mut self, code: &Code, node: Node, depth: usize) {
        let line = code.line(node.start_byte());
        let said = text(code, node);
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        let options: String = children
            .iter()
            .filter(|child| child.kind() == "word" && text(code, **child).starts_with(['-', '+']))
            .map(|child| text(code, *child))
            .collect();
        let export = said.starts_with("export") || options.contains('x');
        let global = said.starts_with("export") || said.starts_with("readonly") || options.contains('g');
        if options.contains('n') && !said.starts_with("export") {
            self.doubt(format!("line {line} gives a variable a second name, which is not followed"));
        }
        // All values are expanded before the first name has its own.
        let before = self.state.vars.clone();
        let mut set = Vec::new();
        let mut named = Vec::new();
        for child in children {
            match child.kind() {
                "variable_assignment" => {
                    self.assign(code, child, export, depth);
                    let name =
                        child.child_by_field_name("name").map_or("", |name| text(code, name)).to_owned();
                    let name = name.split('[').next().unwrap_or_default().to_owned();
                    let content = std::mem::replace(&mut self.state.vars, before.clone()).remove(&name);
                    set.extend(content.map(|content| (name.clone(), content)));
                    named.push(name);
                }
                "variable_name" => {
                    let name = text(code, child).to_owned();
                    if export {
                        self.state.exported.push(name.clone());
                    }
                    named.push(name);
                }
                "word" if text(code, child).starts_with(['-', '+']) => {}
                "comment" => {}
                _ => self.doubt(format!("line {line} sets variables that are not followed")),
            }
        }
        let local = self.state.locals.is_some() && !global;
        for name in &named {
            if local {
                self.shadow(name);
            }
            if options.contains(['i', 'l', 'u', 'r', 'A']) || said.starts_with("readonly") {
                self.state.special.push(name.clone());
            }
        }
        for (name, content) in set {
            if options.contains(['i', 'l', 'u', 'A']) {
                self.forget(&name, format!("`{name}` is declared as more than text"), line);
            } else {
                self.state.vars.insert(name, content);
            }
        }
    }

    /// Until the function returns, `name` is another variable.
    fn shadow(&mut self, name: &str) {
        let outer = self.state.vars.remove(name);
        if let Some(locals) = &mut self.state.locals
            && !locals.iter().any(|(known, _)| known == name)
        {
            locals.push((name.to_owned(), outer));
        }
    }

    pub(super) fn unset(&mut self, code: &Code, node: Node, depth: usize) {
        let line = code.line(node.start_byte());
        let mut cursor = node.walk();
        let children: Vec<Node> = node.named_children(&mut cursor).collect();
        let mut functions = false;
        for child in children {
            for word in self.words(code, child, depth) {
                match word.value.text().as_deref() {
                    Ok("-f") => functions = true,
                    Ok("-v") => {}
                    Ok(name) if is_name(name) && functions => drop(self.state.functions.remove(name)),
                    Ok(name) if is_name(name) => drop(self.state.vars.remove(name)),
                    Ok(name) => {
                        let list = name.split('[').next().unwrap_or_default().to_owned();
                        self.forget(&list, format!("`unset {name}` (line {line}) is not followed"), line);
                    }
                    Err(_) => self.doubt(format!("line {line} unsets variables that are not known")),
                }
            }
        }
    }

    /// Arithmetic is not computed; what it may set is not known any more.
    pub fn arithmetic(&mut self, said: &str, line: usize) {
        let compared = said.replace("==", "").replace("!=", "").replace("<=", "").replace(">=", "");
        if !compared.contains('=') && !said.contains("++") && !said.contains("--") {
            return;
        }
        let names = said.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        for name in names.filter(|name| is_name(name)) {
            self.forget(name, format!("the arithmetic in line {line} may set it"), line);
        }
    }

    /// Follows statements of another process: what they set is gone with it.
    pub fn aside(&mut self, follow: impl FnOnce(&mut Self) -> Flow) {
        let before: State = self.state.clone();
        let known = self.trace.invocations.len();
        follow(self);
        self.state = before;
        // A word is looked at more than once.
        let later = self.trace.invocations.split_off(known);
        for one in later {
            let same = |other: &Invocation| {
                other.line == one.line
                    && other.words.iter().map(|word| &word.value).eq(one.words.iter().map(|word| &word.value))
            };
            if !self.trace.invocations.iter().any(same) {
                self.trace.invocations.push(one);
            }
        }
    }
}
