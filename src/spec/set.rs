//! Values that are a set of names, such as the groups of parameters that are frozen.

use std::fmt;

/// How no member, no path and no text is written.
pub(super) const NONE: &str = "none";

/// The names of which a key takes some.
#[derive(Debug, PartialEq, Eq)]
pub struct Names {
    /// In the order in which sets of them are written.
    pub members: &'static [&'static str],
    /// Names that stand for several members; no member is in two.
    pub aliases: &'static [Alias],
    /// How the empty set is called in the names of points.
    pub empty: &'static str,
    /// What to write instead of a value that is no list.
    pub usage: &'static str,
}

/// A name for several members.
#[derive(Debug, PartialEq, Eq)]
pub struct Alias {
    pub name: &'static str,
    pub members: &'static [&'static str],
    /// How a set of just these is called in the names of points.
    pub label: &'static str,
}

/// A set of some of the [`Names`] of a key. Aliases are resolved before it is built, so that equal sets are equal values
/// however they were written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    of: &'static Names,
    /// In the order of [`Names::members`].
    members: Vec<&'static str>,
}

impl Names {
    /// All names that can be written.
    pub fn written(&self) -> Vec<&'static str> {
        self.members.iter().copied().chain(self.aliases.iter().map(|alias| alias.name)).collect()
    }

    /// The set of `names`, members and aliases.
    ///
    /// # Errors
    /// The first name that is neither.
    pub fn choose<'n>(&'static self, names: impl IntoIterator<Item = &'n str>) -> Result<Chosen, &'n str> {
        let mut chosen: Vec<&str> = Vec::new();
        for name in names {
            match self.aliases.iter().find(|alias| alias.name == name) {
                Some(alias) => chosen.extend(alias.members),
                None if self.members.contains(&name) => chosen.push(name),
                None => return Err(name),
            }
        }
        let members = self.members.iter().copied().filter(|member| chosen.contains(member));
        Ok(Chosen { of: self, members: members.collect() })
    }

    /// None of them.
    pub fn none(&'static self) -> Chosen {
        Chosen { of: self, members: Vec::new() }
    }

    /// What names of points say of a set that is written `text`: `frozen` for the backbone.
    pub fn label<'t>(&self, text: &'t str) -> &'t str
    where
        'static: 't,
    {
        match self.aliases.iter().find(|alias| alias.name == text) {
            Some(alias) => alias.label,
            None if text == NONE => self.empty,
            None => text,
        }
    }
}

impl Chosen {
    /// The members, in the order of [`Names::members`].
    pub fn members(&self) -> &[&'static str] {
        &self.members
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// What names of points say of it.
    pub fn label(&self) -> String {
        self.of.label(&self.to_string()).to_owned()
    }
}

/// `none`, an alias, or names joined by `+`: for people and for file names.
impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.members.clone();
        let mut parts: Vec<&str> = Vec::new();
        for alias in self.of.aliases {
            match alias.members.iter().all(|member| left.contains(member)) {
                true => parts.push(alias.name),
                false => parts.extend(left.iter().filter(|member| alias.members.contains(member))),
            }
            left.retain(|member| !alias.members.contains(member));
        }
        parts.extend(left);
        if parts.is_empty() {
            parts.push(NONE);
        }
        f.write_str(&parts.join("+"))
    }
}
