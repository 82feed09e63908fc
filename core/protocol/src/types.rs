//! Values that the messages are made of: strings that share their frame's memory, and entities as types.

use std::{borrow::Borrow, fmt, ops::Deref};

use bytes::Bytes;

/// A UTF-8 string that shares the memory it was read from; cloning adds one to a counter.
///
/// A decoded message is thereby free to travel to another task, without a lifetime and without a copy. Keeping
/// one small string alive keeps its whole frame alive: long-lived state stores a [`Str::detached`] copy.
#[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Str(Bytes);

impl Str {
    /// The empty string.
    pub const EMPTY: Self = Self(Bytes::new());

    /// A string that lives as long as the program; allocates nothing.
    pub const fn from_static(text: &'static str) -> Self {
        Self(Bytes::from_static(text.as_bytes()))
    }

    /// Takes `bytes` as a string if they are UTF-8.
    pub fn from_utf8(bytes: Bytes) -> Result<Self, std::str::Utf8Error> {
        std::str::from_utf8(&bytes)?;
        Ok(Self(bytes))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        // Checked at construction; the standard library offers no safe way round a second check. Short strings
        // make it a few nanoseconds, and the hot path carries topic ids, not names.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The text's bytes, still shared.
    pub fn as_bytes(&self) -> &Bytes {
        &self.0
    }

    /// A copy with memory of its own, for state that outlives the frame.
    pub fn detached(&self) -> Self {
        Self(Bytes::copy_from_slice(&self.0))
    }
}

impl Deref for Str {
    type Target = str;
    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Str {
    fn as_ref(&self) -> &str {
        self
    }
}

/// Equal strings have equal bytes, hash alike and order alike, so a map of `Str` may be asked with a `&[u8]`.
impl Borrow<[u8]> for Str {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Str {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl From<&String> for Str {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<String> for Str {
    fn from(text: String) -> Self {
        Self(Bytes::from(text))
    }
}

impl PartialEq<str> for Str {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Str {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Debug for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Str {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

/// A name of one kind of entity, as it came over the wire: not yet checked, only typed.
macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub Str);

        impl $name {
            /// A name that lives as long as the program.
            pub const fn from_static(text: &'static str) -> Self {
                Self(Str::from_static(text))
            }

            /// A copy with memory of its own, for state that outlives the frame.
            pub fn detached(&self) -> Self {
                Self(self.0.detached())
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                self.0.as_str()
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<&String> for $name {
            fn from(text: &String) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                self.0 == **other
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// The name of a topic. [`TopicName::check`] says whether it is a legal one.
    TopicName
}
name! {
    /// The name of a group of consumers.
    GroupId
}
name! {
    /// The name under which a producer's transactions go on after a restart (KIP-98).
    TransactionalId
}

impl TopicName {
    /// Longest legal name, in bytes: a log directory is named after topic and partition.
    pub const LEN_MAX: usize = 249;

    /// Whether a topic may be created under this name; the rules are Kafka's.
    pub fn check(&self) -> Result<(), InvalidTopicName> {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match &**self {
            "" => Err(InvalidTopicName::Empty),
            "." | ".." => Err(InvalidTopicName::Dots),
            name if name.len() > Self::LEN_MAX => Err(InvalidTopicName::TooLong(name.len())),
            name => match name.chars().find(|&c| !legal(c)) {
                Some(c) => Err(InvalidTopicName::Char(c)),
                None => Ok(()),
            },
        }
    }
}

/// Why a topic cannot have this name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InvalidTopicName {
    /// It is empty.
    Empty,
    /// It is `.` or `..`, which name directories.
    Dots,
    /// It has this many bytes, more than [`TopicName::LEN_MAX`].
    TooLong(usize),
    /// It holds a character other than ASCII letters, digits, `.`, `_` and `-`.
    Char(char),
}

impl fmt::Display for InvalidTopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => write!(f, "the topic name is empty"),
            Self::Dots => write!(f, "a topic cannot be named `.` or `..`"),
            Self::TooLong(len) => {
                write!(f, "the topic name has {len} bytes; {} are the most", TopicName::LEN_MAX)
            }
            Self::Char(c) => write!(
                f,
                "the topic name holds {c:?}; letters, digits, `.`, `_` and `-` are allowed, of ASCII only"
            ),
        }
    }
}

impl std::error::Error for InvalidTopicName {}

/// A number of one kind of entity.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(pub $int);

        impl $name {
            /// Stands for "none" wherever the protocol has a place for one.
            pub const NONE: Self = Self(-1);
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The id of a node, broker or controller (`node.id`); -1 for none.
    BrokerId(i32)
}
number! {
    /// The id under which a producer numbers its batches (KIP-98); -1 for none.
    ProducerId(i64)
}

/// A 128-bit id: of a topic (KIP-516), a log directory, a member. Written as 22 characters of base64url.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Uuid(pub u128);

impl Uuid {
    /// "No id" wherever the protocol has a place for one.
    pub const ZERO: Self = Self(0);

    /// Whether this is [`Uuid::ZERO`].
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Reads the 22 characters that [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 22 {
            return None;
        }
        // 22 characters carry 132 bits; the last four must be zero.
        let mut bits: u128 = 0;
        for (i, c) in text.bytes().enumerate() {
            let six = BASE64URL.iter().position(|&d| d == c)? as u128;
            if i < 21 {
                bits = bits << 6 | six;
            } else if six & 0xf == 0 {
                bits = bits << 2 | six >> 4;
            } else {
                return None;
            }
        }
        Some(Self(bits))
    }
}

const BASE64URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

impl fmt::Display for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digit = |six: u128| BASE64URL.get((six & 63) as usize).map_or('A', |&d| d as char);
        let mut text = String::with_capacity(22);
        for i in 0..21 {
            text.push(digit(self.0 >> (122 - 6 * i)));
        }
        text.push(digit((self.0 & 3) << 4));
        f.pad(&text)
    }
}

impl fmt::Debug for Uuid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_reads_what_it_writes() {
        for n in [0, 1, 2, 3, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let text = Uuid(n).to_string();
            assert_eq!(text.len(), 22);
            assert_eq!(Uuid::parse(&text), Some(Uuid(n)), "{text}");
        }
        // Java: new Uuid(0x0123456789abcdefL, 0x0123456789abcdefL).toString()
        assert_eq!(Uuid(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef).to_string(), "ASNFZ4mrze8BI0VniavN7w");
        assert_eq!(Uuid::parse("ASNFZ4mrze8BI0VniavN7x"), None, "bits beyond the 128th");
        assert_eq!(Uuid::parse("short"), None);
    }

    #[test]
    fn topic_names_follow_kafkas_rules() {
        let check = |name: &str| TopicName::from(name).check();
        assert_eq!(check("orders.eu_1-x"), Ok(()));
        assert_eq!(check(""), Err(InvalidTopicName::Empty));
        assert_eq!(check(".."), Err(InvalidTopicName::Dots));
        assert_eq!(check("..."), Ok(()));
        assert_eq!(check("a/b"), Err(InvalidTopicName::Char('/')));
        assert_eq!(check("é"), Err(InvalidTopicName::Char('é')));
        assert_eq!(check(&"a".repeat(249)), Ok(()));
        assert_eq!(check(&"a".repeat(250)), Err(InvalidTopicName::TooLong(250)));
    }
}
