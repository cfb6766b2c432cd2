//! The values of an axis: a list, or a range.

use toml::Spanned;
use toml::de::{DeArray, DeValue};

use super::error::{Diagnostic, Origin};
use super::keys::Key;
use super::kind::Kind;
use super::range;
use super::read::{Given, Reader, shown, toml_text};

impl Reader {
    /// The values of an axis: a list, or a range.
    pub fn axis(&self, key: &Key, item: &Spanned<DeValue>) -> Result<Vec<Given>, Diagnostic> {
        let origin = self.origin(item);
        let name = key.dotted();
        match item.get_ref() {
            DeValue::Array(items) if items.is_empty() => {
                Err(Diagnostic::new(format!("axis `{name}` is empty: it has no values to try"))
                    .at(&origin)
                    .hint("give at least one value, or remove the axis"))
            }
            DeValue::Array(items) => {
                self.looks_like_one_value(key, items, &origin)?;
                items.iter().map(|item| self.value(key, item)).collect()
            }
            DeValue::Table(table) => range::read(self, key, table, &origin),
            other => {
                let text = toml_text(other);
                Err(Diagnostic::new(format!(
                    "axis `{name}` must be a list of values or a range, but is {}",
                    shown(other)
                ))
                .at(&origin)
                .hint(format!(
                    "write `[{text}]`, or move `{} = {text}` to [{}]",
                    key.name,
                    key.table.name()
                )))
            }
        }
    }

    /// `top_k = [3, 5]` in a grid: one pair, written where a list of pairs belongs.
    fn looks_like_one_value(&self, key: &Key, items: &DeArray, origin: &Origin) -> Result<(), Diagnostic> {
        if !key.kind.is_list() || items.iter().any(|item| item.get_ref().is_array()) {
            return Ok(());
        }
        let name = key.dotted();
        let text: Vec<String> = items.iter().map(|item| toml_text(item.get_ref())).collect();
        let hint = match key.kind {
            Kind::Set(names) => {
                let one = names.aliases.first().map_or(names.members[0], |alias| alias.name);
                let label = names.label(one);
                format!(
                    "write `[[{}]]`; `[[\"{one}\"], []]` compares {label} with {}",
                    text.join(", "),
                    names.empty
                )
            }
            _ => format!("write `[[{}]]`", text.join(", ")),
        };
        Err(Diagnostic::new(format!(
            "each value of axis `{name}` is itself a list, but here is only one list"
        ))
        .at(origin)
        .hint(hint))
    }

    /// The values of a condition: one value, or a list of values any of which will do.
    pub fn any_of(&self, key: &Key, item: &Spanned<DeValue>) -> Result<Vec<Given>, Diagnostic> {
        match item.get_ref() {
            DeValue::Array(items) if !items.is_empty() => {
                let nested = items.iter().all(|item| item.get_ref().is_array());
                if nested || !key.kind.is_list() {
                    return items.iter().map(|item| self.value(key, item)).collect();
                }
                Ok(vec![self.value(key, item)?])
            }
            _ => Ok(vec![self.value(key, item)?]),
        }
    }
}
