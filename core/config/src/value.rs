//! A checked value.

use std::fmt;

/// A value of a key's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: the key has no default and was not set.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of any width.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text, a word of an enumeration in Kafka's spelling, or a class name.
    Text(String),
    /// A list.
    List(Vec<String>),
    /// A password.
    Secret(Secret),
}

impl Value {
    /// The text that DescribeConfigs answers: `None` for null and for what must not be shown.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Null | Self::Secret(_) => None,
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Float(value) => Some(value.to_string()),
            Self::Text(value) => Some(value.clone()),
            Self::List(values) => Some(values.join(",")),
        }
    }
}

/// Text that is not shown by `Debug` or `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for whoever must send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hidden]")
    }
}
