//! What one point gives the keys of its experiment, opaque to everything but the experiment.
//!
//! Records of earlier versions lack the keys that came later: what is missing stands for the key's default, which
//! therefore never changes. What a later version added is kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value as Json;

use super::keys::Key;
use super::kind::Kind;
use super::value::Value;

/// The values of one point by table and key: what all points of a sweep have in common is there once.
#[derive(Clone, Debug, Default)]
pub struct Config {
    shared: Arc<Vec<Entry>>,
    /// Entries of `shared` that may have another value here, ascending. Values are shared with other points that have them.
    own: Vec<(u32, Own)>,
}

/// A point's own value of an entry; `None` as in [`Entry::value`].
pub type Own = Option<Arc<Json>>;

/// A key with its value.
#[derive(Clone, Debug)]
struct Entry {
    table: String,
    name: String,
    /// `None` where it is left out: it came later and has its default.
    value: Option<Json>,
    /// What its absence from a record stands for; not known of records.
    default: Option<Json>,
    /// Whether it names a file: then it is the contents that count.
    is_path: bool,
}

impl Entry {
    fn is(&self, table: &str, name: &str) -> bool {
        self.name == name && self.table == table
    }
}

/// The values of a sweep, from which those of its points are made.
pub(super) struct Composer {
    shared: Arc<Vec<Entry>>,
    keys: Vec<&'static Key>,
}

impl Composer {
    /// From the keys and what all points have that do not say otherwise.
    pub fn new(values: &[(&'static Key, Value)]) -> Self {
        let entry = |(key, value): &(&'static Key, Value)| Entry {
            table: key.table.name().to_owned(),
            name: key.name.to_owned(),
            value: recorded(key, value),
            default: key.default().map(|default| default.record()),
            is_path: matches!(key.kind, Kind::Path | Kind::OptionalPath),
        };
        Self {
            shared: Arc::new(values.iter().map(entry).collect()),
            keys: values.iter().map(|(key, _)| *key).collect(),
        }
    }

    /// Where `key` is; `None` for keys that are no part of a point.
    pub fn place(&self, key: &Key) -> Option<u32> {
        self.keys.iter().position(|known| *known == key).map(|at| at as u32)
    }

    /// The values of a point, of which these differ (ascending by place).
    pub fn point(&self, own: Vec<(u32, Own)>) -> Config {
        Config { shared: Arc::clone(&self.shared), own }
    }
}

/// The value of `key` as records have it: `None` where a key that came later has its default.
pub(super) fn recorded(key: &Key, value: &Value) -> Option<Json> {
    let left_out = key.came_later && key.default().as_ref() == Some(value);
    (!left_out).then(|| value.record())
}

impl Config {
    /// Every key with a value, in the order of the tables: table, key, value.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &str, &Json)> {
        self.all().filter_map(|(entry, value)| Some((entry.table.as_str(), entry.name.as_str(), value?)))
    }

    fn all(&self) -> impl Iterator<Item = (&Entry, Option<&Json>)> {
        let mut own = self.own.iter().peekable();
        self.shared.iter().enumerate().map(move |(at, entry)| {
            let mine = own.next_if(|(place, _)| *place as usize == at);
            (entry, mine.map_or(entry.value.as_ref(), |(_, value)| value.as_deref()))
        })
    }

    /// The values that it shares with other points, and those that it has alone, by their places among the shared ones.
    pub fn parts(&self) -> (Self, &[(u32, Own)]) {
        (Self { shared: Arc::clone(&self.shared), own: Vec::new() }, &self.own)
    }

    /// Table and key of the value at `place` of [`Config::parts`].
    pub fn key_at(&self, place: u32) -> (&str, &str) {
        let entry = &self.shared[place as usize];
        (&entry.table, &entry.name)
    }

    /// Whether both share what [`Config::parts`] calls shared.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// The value of the key `table.name`; `None` where it has its default and came later, or is not known.
    pub fn get(&self, dotted: &str) -> Option<&Json> {
        let (table, name) = dotted.rsplit_once('.')?;
        let at = self.shared.iter().position(|entry| entry.is(table, name))?;
        let own = self.own.iter().find(|(place, _)| *place as usize == at);
        own.map_or(self.shared[at].value.as_ref(), |(_, value)| value.as_deref())
    }

    /// The value of the key `table.name`.
    ///
    /// # Errors
    /// It is missing, or not a `T`, in words.
    pub fn value<T: DeserializeOwned>(&self, dotted: &str) -> Result<T, String> {
        let value = self.get(dotted).ok_or_else(|| format!("`{dotted}` is missing"))?;
        T::deserialize(value).map_err(|cause| format!("`{dotted}` = {value}: {cause}"))
    }

    /// All values, as a struct whose fields are tables with keys as fields. A key that came later needs `#[serde(default)]`
    /// there with the key's default.
    ///
    /// # Errors
    /// A key that is missing or not of the field's type, in words.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        T::deserialize(self.json()).map_err(|cause| cause.to_string())
    }

    /// The seed: the value of the key of that name; 0 where there is none.
    pub fn seed(&self) -> u64 {
        let seed = self.entries().find(|(_, name, _)| *name == "seed");
        seed.and_then(|(_, _, value)| value.as_u64()).unwrap_or_default()
    }

    /// As JSON: an object of objects.
    pub fn json(&self) -> Json {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether `recorded` says the same, but for where files lie: what is in them counts, and it is part of identities.
    /// What `recorded` lacks stands for the key's default, what only it has for nothing.
    pub fn same_but_paths(&self, recorded: &Self) -> bool {
        if self.shares(recorded) && self.own == recorded.own {
            return true;
        }
        self.all().filter(|(entry, _)| !entry.is_path).all(|(entry, value)| {
            let theirs = recorded.find(&entry.table, &entry.name).or(entry.default.as_ref());
            value.or(entry.default.as_ref()) == theirs
        })
    }

    /// Whether `other` has another value of a key that both have.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.entries()
            .any(|(table, name, value)| other.find(table, name).is_some_and(|theirs| theirs != value))
    }

    fn find(&self, table: &str, name: &str) -> Option<&Json> {
        self.all().find(|(entry, _)| entry.is(table, name)).and_then(|(_, value)| value)
    }

    /// The files that its keys name, by their dotted keys.
    pub fn paths(&self, is_path: impl Fn(&str) -> bool) -> Vec<(String, PathBuf)> {
        let dotted = |(table, name, value): (&str, &str, &Json)| {
            let key = format!("{table}.{name}");
            let path = value.as_str().filter(|text| !text.is_empty() && is_path(&key))?;
            Some((key, PathBuf::from(path)))
        };
        self.entries().filter_map(dotted).collect()
    }

    /// Another value for the key `table.name`, which it has.
    pub fn set(&mut self, dotted: &str, value: Json) {
        let Some((table, name)) = dotted.rsplit_once('.') else { return };
        let Some(at) = self.shared.iter().position(|entry| entry.is(table, name)) else { return };
        let at = at as u32;
        match self.own.binary_search_by_key(&at, |(place, _)| *place) {
            Ok(found) => self.own[found].1 = Some(Arc::new(value)),
            Err(place) => self.own.insert(place, (at, Some(Arc::new(value)))),
        }
    }

    /// Keeps what it has in common with `other` only once, where both have the same keys.
    pub fn share(&mut self, other: &Self) {
        let alike = self.shared.len() == other.shared.len()
            && self.shared.iter().zip(other.shared.iter()).all(|(a, b)| a.is(&b.table, &b.name));
        if !alike || self.shares(other) {
            return;
        }
        let values = self.all().map(|(_, value)| value.cloned()).zip(other.shared.iter());
        let differ = values.enumerate().filter(|(_, (mine, entry))| *mine != entry.value);
        self.own = differ.map(|(at, (mine, _))| (at as u32, mine.map(Arc::new))).collect();
        self.shared = Arc::clone(&other.shared);
    }
}

/// The same keys with the same values.
impl PartialEq for Config {
    fn eq(&self, other: &Self) -> bool {
        self.shares(other) && self.own == other.own || self.entries().eq(other.entries())
    }
}

impl Serialize for Config {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let entries: Vec<(&str, &str, &Json)> = self.entries().collect();
        let mut map = serializer.serialize_map(None)?;
        for table in entries.chunk_by(|a, b| a.0 == b.0) {
            map.serialize_entry(table[0].0, &Keys(table))?;
        }
        map.end()
    }
}

struct Keys<'a>(&'a [(&'a str, &'a str, &'a Json)]);

impl Serialize for Keys<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(_, name, value)| (name, value)))
    }
}

impl<'de> Deserialize<'de> for Config {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Tables;

        impl<'de> Visitor<'de> for Tables {
            type Value = Config;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("tables of keys")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Config, A::Error> {
                let mut entries = Vec::new();
                while let Some(table) = map.next_key::<String>()? {
                    let Json::Object(keys) = map.next_value()? else {
                        return Err(A::Error::custom(format!("`{table}` is no table of keys")));
                    };
                    entries.extend(keys.into_iter().map(|(name, value)| Entry {
                        table: table.clone(),
                        name,
                        value: Some(value),
                        default: None,
                        is_path: false,
                    }));
                }
                Ok(Config { shared: Arc::new(entries), own: Vec::new() })
            }
        }
        deserializer.deserialize_map(Tables)
    }
}
