//! The values of all keys of a sweep file outside its grid.

use super::Value;
use super::keys::{Key, Place};
use super::schema::Schema;
use super::settings::Settings;

/// Defaults, and what a file sets outside its grid.
#[derive(Clone, Debug)]
pub(super) struct Values {
    /// Of the program's own keys.
    pub core: Settings,
    /// Of the experiment's, in the order of its table.
    pub own: Vec<(&'static Key, Value)>,
}

impl Values {
    /// The defaults of `schema`.
    pub fn of(schema: &'static Schema) -> Self {
        let own = schema.keys.iter().map(|key| (key, key.raw_default())).collect();
        Self { core: Settings::default(), own }
    }

    /// The value of `key`.
    pub fn get(&self, key: &Key) -> Value {
        match key.place {
            Place::Core { get, .. } => get(&self.core),
            Place::Own(default) => {
                let mine = self.own.iter().find(|(known, _)| *known == key);
                mine.map_or_else(default, |(_, value)| value.clone())
            }
        }
    }

    /// Gives `key` a value that its kind allows.
    pub fn set(&mut self, key: &Key, value: &Value) {
        match key.place {
            Place::Core { set, .. } => set(&mut self.core, value),
            Place::Own(_) => {
                let mine = self.own.iter_mut().find(|(known, _)| *known == key);
                mine.into_iter().for_each(|(_, slot)| *slot = value.clone());
            }
        }
    }
}
