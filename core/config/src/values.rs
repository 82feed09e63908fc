//! The values of one table's keys, and where each came from.

use std::time::Duration;

use crate::{
    Key, Secret, Source, Table, Value,
    error::{ConfigError, ConfigErrors, Problem, Warning},
};

/// Longest duration that is given out, a hundred years: what is longer means "never", and a sum of it and any clock
/// still fits.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A value for every key of a [`Table`].
///
/// The getters take Kafka's name of a key. A name that the table does not have, or a getter of another type, is a
/// mistake of the program and panics.
#[derive(Clone, Debug)]
pub struct Values {
    pub(crate) table: &'static Table,
    /// One for each of the table's keys, in their order.
    pub(crate) entries: Vec<Entry>,
    pub(crate) warnings: Vec<Warning>,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) value: Value,
    pub(crate) source: Source,
    /// The key of the parent's table that the value came from.
    pub(crate) inherited_from: Option<&'static str>,
}

impl Values {
    /// The table whose keys these are.
    pub fn table(&self) -> &'static Table {
        self.table
    }

    /// Settings that were accepted and do nothing; each is to be logged once.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Every key with its value and source, for DescribeConfigs.
    pub fn iter(&self) -> impl Iterator<Item = (&'static Key, &Value, &Source)> {
        self.table.keys().zip(&self.entries).map(|(key, entry)| (key, &entry.value, &entry.source))
    }

    /// The value of any type.
    pub fn value(&self, key: &str) -> &Value {
        &self.entry(key).value
    }

    /// Where the value came from.
    pub fn source(&self, key: &str) -> &Source {
        &self.entry(key).source
    }

    /// The broker's key that a topic's value came from, if the topic has none of its own.
    pub fn inherited_from(&self, key: &str) -> Option<&'static str> {
        self.entry(key).inherited_from
    }

    /// A boolean.
    pub fn bool(&self, key: &str) -> bool {
        match self.value(key) {
            Value::Bool(value) => *value,
            other => mistyped(key, other),
        }
    }

    /// A 16-bit integer.
    pub fn i16(&self, key: &str) -> i16 {
        self.int(key)
    }

    /// A 32-bit integer.
    pub fn i32(&self, key: &str) -> i32 {
        self.int(key)
    }

    /// An integer that may be null.
    pub fn opt_i32(&self, key: &str) -> Option<i32> {
        self.not_null(key).map(|_| self.int(key))
    }

    /// A 64-bit integer, or any narrower.
    pub fn i64(&self, key: &str) -> i64 {
        self.int(key)
    }

    /// A 64-bit integer that may be null.
    pub fn opt_i64(&self, key: &str) -> Option<i64> {
        self.not_null(key).map(|_| self.int(key))
    }

    /// A size in memory, of a key whose range begins at 0 or above.
    pub fn usize(&self, key: &str) -> usize {
        self.int(key)
    }

    /// A size in memory, or `None` where it is null or -1.
    pub fn opt_usize(&self, key: &str) -> Option<usize> {
        self.opt_i64(key).and_then(|value| usize::try_from(value).ok())
    }

    /// A size, of a key whose range begins at 0 or above.
    pub fn u64(&self, key: &str) -> u64 {
        self.int(key)
    }

    /// A size, or `None` where it is null or -1.
    pub fn opt_u64(&self, key: &str) -> Option<u64> {
        self.opt_i64(key).and_then(|value| u64::try_from(value).ok())
    }

    /// A floating-point number.
    pub fn f64(&self, key: &str) -> f64 {
        match self.value(key) {
            Value::Float(value) => *value,
            other => mistyped(key, other),
        }
    }

    /// Milliseconds as a duration of at most [`DURATION_MAX`].
    pub fn duration(&self, key: &str) -> Duration {
        Duration::from_millis(self.u64(key)).min(DURATION_MAX)
    }

    /// A duration of at most [`DURATION_MAX`], or `None` where it is null or -1.
    pub fn opt_duration(&self, key: &str) -> Option<Duration> {
        self.opt_u64(key).map(|millis| Duration::from_millis(millis).min(DURATION_MAX))
    }

    /// A text, or a word of an enumeration.
    pub fn str(&self, key: &str) -> &str {
        match self.value(key) {
            Value::Text(text) => text,
            other => mistyped(key, other),
        }
    }

    /// A text that may be null.
    pub fn opt_str(&self, key: &str) -> Option<&str> {
        self.not_null(key).map(|_| self.str(key))
    }

    /// A list; null is the empty one.
    pub fn list(&self, key: &str) -> &[String] {
        match self.value(key) {
            Value::List(list) => list,
            Value::Null => &[],
            other => mistyped(key, other),
        }
    }

    /// A list that may be null.
    pub fn opt_list(&self, key: &str) -> Option<&[String]> {
        self.not_null(key).map(|_| self.list(key))
    }

    /// A password, if one is set.
    pub fn opt_secret(&self, key: &str) -> Option<&Secret> {
        match self.value(key) {
            Value::Secret(secret) => Some(secret),
            Value::Null => None,
            other => mistyped(key, other),
        }
    }

    /// An error about the value of `key`, placed where that was written, for checks across keys.
    pub fn error(&self, key: &str, needs: impl Into<String>) -> ConfigErrors {
        let entry = self.entry(key);
        let given = entry.value.to_text().unwrap_or_else(|| "null".into());
        let problem = Problem::Invalid(crate::Invalid { given, needs: needs.into() });
        ConfigError { source: entry.source.clone(), key: key.to_owned(), problem }.into()
    }

    fn entry(&self, key: &str) -> &Entry {
        let found = self.table.find(key).and_then(|(i, _, _)| self.entries.get(i));
        found.unwrap_or_else(|| panic!("table `{}` has no key `{key}`", self.table.name))
    }

    fn not_null(&self, key: &str) -> Option<&Value> {
        Some(self.value(key)).filter(|value| **value != Value::Null)
    }

    fn int<T: TryFrom<i64>>(&self, key: &str) -> T {
        match self.value(key) {
            Value::Int(value) => T::try_from(*value).unwrap_or_else(|_| mistyped(key, &Value::Int(*value))),
            other => mistyped(key, other),
        }
    }
}

#[track_caller]
fn mistyped(key: &str, value: &Value) -> ! {
    panic!("`{key}` is {value:?}, which is not what the program asked for")
}
