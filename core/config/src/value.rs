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
            Self::Float(value) => Some(double_text(*value)),
            Self::Text(value) => Some(value.clone()),
            Self::List(values) => Some(values.join(",")),
        }
    }
}

/// A number as Java's `Double.toString` writes it: always with a fraction, and with an exponent where it is very
/// large or very small.
fn double_text(value: f64) -> String {
    if value == 0.0 || (1e-3..1e7).contains(&value.abs()) {
        return format!("{value:?}");
    }
    let text = format!("{value:E}");
    match text.split_once('E') {
        Some((digits, exponent)) if !digits.contains('.') => format!("{digits}.0E{exponent}"),
        _ => text,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_java_does() {
        let expected = [
            (0.0, "0.0"),
            (0.5, "0.5"),
            (1.0, "1.0"),
            (-9_999_999.0, "-9999999.0"),
            (1e7, "1.0E7"),
            (0.000_25, "2.5E-4"),
            (f64::MAX, "1.7976931348623157E308"),
        ];
        for (value, text) in expected {
            assert_eq!(Value::Float(value).to_text().as_deref(), Some(text));
        }
    }
}
