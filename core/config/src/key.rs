//! One key of a table: its type, default, range, and the check of a single value.

use std::fmt;

use crate::value::{Secret, Value};

/// A configuration key.
#[derive(Debug)]
pub struct Key {
    /// Kafka's name, as `linger.ms`.
    pub name: &'static str,
    /// What its values are.
    pub kind: Type,
    /// The default, as text that [`Self::validate`] accepts; `None` for null.
    pub default: Option<&'static str>,
    /// Whether a value must be given.
    pub required: bool,
    /// Which values of the type are taken.
    pub range: Range,
    /// Whether setting it does something here.
    pub effect: Effect,
    /// Other names for the same setting, as librdkafka's.
    pub aliases: &'static [Alias],
    /// Where a topic's value comes from if the topic has none: the first of these broker keys that is set
    /// (`ServerTopicConfigSynonyms`).
    pub synonyms: &'static [Alias],
    /// Whether it can be changed while the broker runs.
    pub update: Update,
    /// Kafka's default, where ours differs.
    pub kafka_default: Option<&'static str>,
    /// What it means: one sentence.
    pub doc: &'static str,
}

/// What a key's values are. [`Self::Millis32`] and [`Self::Bytes32`] are integers whose unit is known.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    /// `true` or `false`.
    Bool,
    /// 16-bit integer.
    I16,
    /// 32-bit integer.
    I32,
    /// 64-bit integer.
    I64,
    /// Milliseconds, a 32-bit integer.
    Millis32,
    /// Milliseconds, a 64-bit integer.
    Millis64,
    /// Bytes, a 32-bit integer; `64KiB` and `1MiB` are also taken.
    Bytes32,
    /// Bytes, a 64-bit integer; `64KiB` and `1GiB` are also taken.
    Bytes64,
    /// Floating-point number.
    F64,
    /// Text.
    String,
    /// Texts separated by commas.
    List,
    /// One of a few words.
    Enum(&'static [Choice]),
    /// Some of a few words, separated by commas.
    ListOf(&'static [Choice]),
    /// Text that is never shown.
    Password,
    /// Name of a Java class: can only be known, never applied.
    Class,
}

impl Type {
    /// The name in the reference: `int`, `long`, `list` ...; these are the words of Kafka's `ConfigDef.Type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::I16 => "short",
            Self::I32 | Self::Millis32 | Self::Bytes32 => "int",
            Self::I64 | Self::Millis64 | Self::Bytes64 => "long",
            Self::F64 => "double",
            Self::String | Self::Enum(_) => "string",
            Self::List | Self::ListOf(_) => "list",
            Self::Password => "password",
            Self::Class => "class",
        }
    }

    /// Smallest and largest integer that the type holds.
    fn limits(self) -> (i64, i64) {
        match self {
            Self::I16 => (i16::MIN.into(), i16::MAX.into()),
            Self::I32 | Self::Millis32 | Self::Bytes32 => (i32::MIN.into(), i32::MAX.into()),
            _ => (i64::MIN, i64::MAX),
        }
    }
}

/// One of the words that an enumerated key takes. Case does not matter.
#[derive(Debug)]
pub struct Choice {
    /// Kafka's spelling.
    pub text: &'static str,
    /// Other spellings of the same, as `-1` of `all`.
    pub same: &'static [&'static str],
    /// Whether it works here yet; if not, it is refused by name.
    pub served: bool,
}

impl Choice {
    fn is(&self, text: &str) -> bool {
        self.text.eq_ignore_ascii_case(text) || self.same.iter().any(|same| same.eq_ignore_ascii_case(text))
    }
}

/// Which values of the type are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Range {
    /// All.
    Any,
    /// Integers from `min` to `max`, and `or` beside them.
    Int {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
        /// One value outside, as the -1 of `compression.gzip.level`.
        or: Option<i64>,
    },
    /// Numbers from `min` to `max`.
    Float {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Text or list with something in it.
    NonEmpty,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Any => f.write_str("any value"),
            Self::NonEmpty => f.write_str("a value that is not empty"),
            Self::Float { min, max } => write!(f, "{min} to {max}"),
            Self::Int { min, max: i64::MAX, or: None } => write!(f, "{min} or more"),
            Self::Int { min, max, or } => {
                write!(f, "{min} to {max}")?;
                or.map_or(Ok(()), |or| write!(f, ", or {or}"))
            }
        }
    }
}

/// Whether setting a key does something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its doc says.
    Applied,
    /// Kafka knows it; here it is taken and does nothing.
    Known {
        /// Why, or what to do instead.
        why: &'static str,
    },
}

/// Another name for a key, or a key that stands in for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Alias {
    /// The other name.
    pub name: &'static str,
    /// The other's unit in ours: 1,024 where it counts kilobytes and we bytes.
    pub scale: i64,
}

/// Whether a broker's key can be changed while it runs (`DynamicBrokerConfig`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// For one broker at a time.
    PerBroker,
    /// For one broker, or as the default of all.
    ClusterWide,
}

impl Key {
    /// A base for `..Key::EMPTY`: an applied, read-only text without default.
    pub const EMPTY: Self = Self {
        name: "",
        kind: Type::String,
        default: None,
        required: false,
        range: Range::Any,
        effect: Effect::Applied,
        aliases: &[],
        synonyms: &[],
        update: Update::ReadOnly,
        kafka_default: None,
        doc: "",
    };

    /// Reads one value, as it comes from a file or from IncrementalAlterConfigs, and checks its range.
    pub fn validate(&self, text: &str) -> Result<Value, Invalid> {
        let text = if matches!(self.kind, Type::Password) { text } else { text.trim() };
        let invalid = |needs: String| {
            let given = if self.is_sensitive() { "[hidden]" } else { text };
            Invalid { given: given.to_owned(), needs }
        };
        let value = self.read(text).map_err(invalid)?;
        self.check_range(&value).map_err(invalid)?;
        Ok(value)
    }

    /// Whether the value must never be shown.
    pub fn is_sensitive(&self) -> bool {
        matches!(self.kind, Type::Password)
    }

    /// Whether `name` means this key: Kafka's name, in snake case, or an alias. Gives the unit to multiply by.
    pub(crate) fn matches(&self, name: &str) -> Option<i64> {
        if same_name(self.name, name) {
            return Some(1);
        }
        self.aliases.iter().find(|alias| same_name(alias.name, name)).map(|alias| alias.scale)
    }

    /// Reads a value of the type, whatever the range.
    pub(crate) fn read(&self, text: &str) -> Result<Value, String> {
        match self.kind {
            Type::Bool if text.eq_ignore_ascii_case("true") => Ok(Value::Bool(true)),
            Type::Bool if text.eq_ignore_ascii_case("false") => Ok(Value::Bool(false)),
            Type::Bool => Err("`true` or `false`".into()),
            Type::I16 | Type::I32 | Type::I64 | Type::Millis32 | Type::Millis64 => self.read_integer(text, 1),
            Type::Bytes32 | Type::Bytes64 => {
                let (number, unit) = split_size(text).ok_or("bytes, as `1048576` or `1MiB`")?;
                self.read_integer(number, unit)
            }
            Type::F64 => match text.parse::<f64>() {
                Ok(number) if number.is_finite() => Ok(Value::Float(number)),
                _ => Err("a number".into()),
            },
            Type::String | Type::Class => Ok(Value::Text(text.to_owned())),
            Type::Password => Ok(Value::Secret(Secret::new(text))),
            Type::List => Ok(Value::List(split_list(text).map(str::to_owned).collect())),
            Type::Enum(choices) => Ok(Value::Text(choose(choices, text)?.to_owned())),
            Type::ListOf(choices) => split_list(text)
                .map(|word| choose(choices, word).map(str::to_owned))
                .collect::<Result<_, _>>()
                .map(Value::List),
        }
    }

    fn read_integer(&self, text: &str, unit: i64) -> Result<Value, String> {
        let (min, max) = self.kind.limits();
        let number = text.parse::<i64>().ok().and_then(|number| number.checked_mul(unit));
        match number {
            Some(number) if (min..=max).contains(&number) => Ok(Value::Int(number)),
            _ => Err(format!("an integer from {min} to {max}")),
        }
    }

    fn check_range(&self, value: &Value) -> Result<(), String> {
        let fits = match (self.range, value) {
            (Range::Int { min, max, or }, Value::Int(n)) => (min..=max).contains(n) || or == Some(*n),
            (Range::Float { min, max }, Value::Float(x)) => (min..=max).contains(x),
            (Range::NonEmpty, Value::Text(text)) => !text.is_empty(),
            (Range::NonEmpty, Value::List(list)) => !list.is_empty(),
            _ => true,
        };
        if fits { Ok(()) } else { Err(self.range.to_string()) }
    }
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The value, unless it must not be shown.
    pub given: String,
    /// What would be taken.
    pub needs: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` will not do: give {}", self.given, self.needs)
    }
}

impl std::error::Error for Invalid {}

/// Whether two names are the same key: `linger.ms`, `linger_ms` and `LINGER_MS` are.
pub(crate) fn same_name(a: &str, b: &str) -> bool {
    let fold = |byte: u8| match byte {
        b'.' | b'-' => b'_',
        byte => byte.to_ascii_lowercase(),
    };
    a.len() == b.len() && a.bytes().map(fold).eq(b.bytes().map(fold))
}

/// Whether a name begins as `beginning` does, as [`same_name`] sees it.
pub(crate) fn begins(name: &str, beginning: &str) -> bool {
    name.get(..beginning.len()).is_some_and(|start| same_name(start, beginning))
}

fn choose(choices: &'static [Choice], text: &str) -> Result<&'static str, String> {
    let served = || {
        let words: Vec<_> = choices.iter().filter(|c| c.served).map(|c| format!("`{}`", c.text)).collect();
        if words.len() == 1 { words.concat() } else { format!("one of {}", words.join(", ")) }
    };
    match choices.iter().find(|choice| choice.is(text)) {
        Some(choice) if choice.served => Ok(choice.text),
        Some(_) => Err(format!("{}, the rest is not supported yet", served())),
        None => Err(served()),
    }
}

/// The elements of a list, without the blanks around them; nothing at all is the empty list.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|element| !element.is_empty())
}

/// A size's digits and its unit in bytes.
fn split_size(text: &str) -> Option<(&str, i64)> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text.get(digits.len()..)?;
    let unit = match unit.to_ascii_lowercase().as_str() {
        "" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        _ => return None,
    };
    Some((digits.trim_end(), unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(kind: Type, range: Range, text: &str) -> String {
        Key { kind, range, ..Key::EMPTY }.validate(text).unwrap_err().needs
    }

    fn value(kind: Type, text: &str) -> Value {
        Key { kind, ..Key::EMPTY }.validate(text).unwrap()
    }

    #[test]
    fn values_are_read_as_kafka_reads_them() {
        assert_eq!(value(Type::Bool, " TRUE "), Value::Bool(true));
        assert_eq!(value(Type::I32, " +5 "), Value::Int(5));
        assert_eq!(value(Type::F64, "1.7976931348623157E308"), Value::Float(f64::MAX));
        assert_eq!(value(Type::List, " a , b,,"), Value::List(vec!["a".into(), "b".into()]));
        assert_eq!(value(Type::List, ""), Value::List(vec![]));
        assert_eq!(value(Type::String, ""), Value::Text(String::new()));
        assert_eq!(value(Type::Password, " a "), Value::Secret(Secret::new(" a ")));
    }

    #[test]
    fn sizes_take_binary_units_and_do_not_overflow() {
        assert_eq!(value(Type::Bytes32, "1MiB"), Value::Int(1 << 20));
        assert_eq!(value(Type::Bytes64, "2 tib"), Value::Int(2 << 40));
        assert_eq!(value(Type::Bytes32, "-1"), Value::Int(-1));
        assert_eq!(needs(Type::Bytes32, Range::Any, "1MB"), "bytes, as `1048576` or `1MiB`");
        assert_eq!(needs(Type::Bytes32, Range::Any, "2GiB"), "an integer from -2147483648 to 2147483647");
        assert!(needs(Type::Bytes64, Range::Any, "9999999TiB").starts_with("an integer"));
        assert!(needs(Type::Bytes64, Range::Any, "KiB").starts_with("an integer"));
    }

    #[test]
    fn numbers_outside_type_or_range_are_refused() {
        let level = Range::Int { min: 1, max: 9, or: Some(-1) };
        assert_eq!(needs(Type::I32, level, "0"), "1 to 9, or -1");
        assert_eq!(needs(Type::I16, Range::Any, "32768"), "an integer from -32768 to 32767");
        assert_eq!(needs(Type::I32, Range::Int { min: 0, max: i64::MAX, or: None }, "-1"), "0 or more");
        assert_eq!(needs(Type::F64, Range::Float { min: 0.0, max: 1.0 }, "1.5"), "0 to 1");
        assert_eq!(needs(Type::F64, Range::Any, "NaN"), "a number");
        assert_eq!(needs(Type::String, Range::NonEmpty, " "), "a value that is not empty");
    }

    #[test]
    fn words_are_chosen_in_any_case_and_the_unserved_are_named() {
        static CHOICES: [Choice; 2] = [
            Choice { text: "PLAINTEXT", same: &["plain"], served: true },
            Choice { text: "SSL", same: &[], served: false },
        ];
        let kind = Type::Enum(&CHOICES);
        assert_eq!(value(kind, "plaintext"), Value::Text("PLAINTEXT".into()));
        assert_eq!(value(kind, "plain"), Value::Text("PLAINTEXT".into()));
        assert_eq!(needs(kind, Range::Any, "ssl"), "`PLAINTEXT`, the rest is not supported yet");
        assert_eq!(needs(kind, Range::Any, "SLS"), "`PLAINTEXT`");
        let list = Type::ListOf(&CHOICES);
        assert_eq!(value(list, "plain,PLAINTEXT"), Value::List(vec!["PLAINTEXT".into(), "PLAINTEXT".into()]));
    }
}
