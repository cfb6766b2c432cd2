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
    shared: Entries,
    /// Entries of `shared` that may have another value here, ascending. Values are shared with other points that have them.
    own: Vec<(u32, Own)>,
}

/// What the points of a sweep share.
type Entries = Arc<Vec<Entry>>;

/// A point's own value of an entry; `None` as in [`Entry::value`].
pub type Own = Option<Arc<Json>>;

/// A key with its value.
#[derive(Clone, Debug)]
struct Entry {
    table: String,
    name: String,
    /// `None` where it is left out: it came later and has its default.
    value: Option<Json>,
    /// What its absence from a record stands for; of records only known once they are complete.
    default: Option<Json>,
    /// Whether it names a file: then it is the contents that count.
    is_path: bool,
}

impl Entry {
    /// That of `key`.
    fn of(key: &Key, value: Option<Json>) -> Self {
        Self {
            table: key.table.name().to_owned(),
            name: key.name.to_owned(),
            value,
            default: key.default().map(|default| default.record()),
            is_path: matches!(key.kind, Kind::Path | Kind::OptionalPath),
        }
    }

    fn is(&self, table: &str, name: &str) -> bool {
        self.name == name && self.table == table
    }
}

/// The values of a sweep, from which those of its points are made.
pub(super) struct Composer {
    shared: Entries,
    keys: Vec<&'static Key>,
}

impl Composer {
    /// From the keys and what all points have that do not say otherwise.
    pub fn new(values: &[(&'static Key, Value)]) -> Self {
        let entry = |(key, value): &(&'static Key, Value)| Entry::of(key, recorded(key, value));
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

    /// The value of the key `table.name`; `None` where it is not known.
    pub fn get(&self, dotted: &str) -> Option<&Json> {
        let (table, name) = dotted.rsplit_once('.')?;
        let (entry, value) = self.find(table, name)?;
        value.or(entry.default.as_ref())
    }

    /// The value of the key `table.name`.
    ///
    /// # Errors
    /// It is missing, or not a `T`, in words.
    pub fn value<T: DeserializeOwned>(&self, dotted: &str) -> Result<T, String> {
        let value = self.get(dotted).ok_or_else(|| format!("`{dotted}` is missing"))?;
        T::deserialize(value).map_err(|cause| format!("`{dotted}` = {value}: {cause}"))
    }

    /// All values, as a struct whose fields are tables with keys as fields.
    ///
    /// # Errors
    /// A key that is missing or not of the field's type, in words.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        let mut tables = serde_json::Map::new();
        for (entry, value) in self.all() {
            let table = tables.entry(&entry.table).or_insert_with(|| Json::Object(serde_json::Map::new()));
            if let Some(value) = value.or(entry.default.as_ref()) {
                table[&entry.name] = value.clone();
            }
        }
        T::deserialize(Json::Object(tables)).map_err(|cause| cause.to_string())
    }

    /// Makes known what `keys` say of `configs`, which were read from a record: what they lack has its default.
    pub fn complete<'c>(configs: impl IntoIterator<Item = &'c mut Self>, keys: &'static [Key]) {
        let mut last: Option<(Entries, Entries)> = None;
        for config in configs {
            let known = last.as_ref().filter(|(before, _)| Arc::ptr_eq(before, &config.shared));
            let whole = known.map_or_else(|| config.completed(keys), |(_, whole)| Arc::clone(whole));
            last = Some((Arc::clone(&config.shared), Arc::clone(&whole)));
            config.shared = whole;
        }
    }

    fn completed(&self, keys: &'static [Key]) -> Entries {
        let mut entries = Vec::clone(&self.shared);
        for key in keys {
            let known = Entry::of(key, None);
            match entries.iter_mut().find(|entry| entry.is(&known.table, &known.name)) {
                Some(entry) => (entry.default, entry.is_path) = (known.default, known.is_path),
                None => entries.push(known),
            }
        }
        Arc::new(entries)
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
            let theirs = recorded.find(&entry.table, &entry.name).and_then(|(_, theirs)| theirs);
            value.or(entry.default.as_ref()) == theirs.or(entry.default.as_ref())
        })
    }

    /// Whether `other` has another value of a key that both have.
    pub fn contradicts(&self, other: &Self) -> bool {
        self.entries().any(|(table, name, value)| {
            let theirs = other.find(table, name).and_then(|(_, theirs)| theirs);
            theirs.is_some_and(|theirs| theirs != value)
        })
    }

    fn find(&self, table: &str, name: &str) -> Option<(&Entry, Option<&Json>)> {
        let at = self.shared.iter().position(|entry| entry.is(table, name))?;
        let own = self.own.iter().find(|(place, _)| *place as usize == at);
        let entry = &self.shared[at];
        Some((entry, own.map_or(entry.value.as_ref(), |(_, value)| value.as_deref())))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::OwnTable;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Tables {
        train: Train,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    struct Train {
        lr: f64,
        patience: u64,
    }

    static TRAIN: OwnTable = OwnTable { name: "train", doc: "how it learns", axes: true };
    const COUNT: Kind = Kind::Count { min: 0, max: 9 };
    static KEYS: &[Key] = &[
        Key::new(&TRAIN, "lr", Kind::Number(crate::spec::Limits::Positive), || Value::Number(0.5), "Rate."),
        Key::new(&TRAIN, "patience", COUNT, || Value::Count(3), "Came later.").later(),
    ];

    /// A key that came later is in no record where it has its default, and everyone who asks for it gets that.
    #[test]
    fn what_came_later_is_left_out_and_has_its_default() {
        let values = KEYS.iter().map(|key| (key, key.raw_default())).collect::<Vec<_>>();
        let config = Composer::new(&values).point(Vec::new());
        assert_eq!(config.json().to_string(), r#"{"train":{"lr":0.5}}"#);
        let mut other = config.clone();
        other.set("train.patience", Json::from(7));
        assert_eq!(other.json().to_string(), r#"{"train":{"lr":0.5,"patience":7}}"#);

        let recorded = |config: &Config| serde_json::from_value::<Config>(config.json()).unwrap();
        let mut read = [recorded(&config), recorded(&other)];
        assert!(read[0].value::<u64>("train.patience").is_err(), "a record alone does not know");
        Config::complete(&mut read, KEYS);
        for (config, patience) in [(&config, 3), (&other, 7), (&read[0], 3), (&read[1], 7)] {
            assert_eq!(config.value("train.patience"), Ok(patience));
            assert_eq!(config.read(), Ok(Tables { train: Train { lr: 0.5, patience } }));
        }
        assert_eq!(read[0].json(), config.json(), "a record stays as it is");
        for (one, two, same) in
            [(&config, &read[0], true), (&config, &other, false), (&read[1], &other, true)]
        {
            assert_eq!((one.same_but_paths(two), two.same_but_paths(one)), (same, same));
        }
    }
}
