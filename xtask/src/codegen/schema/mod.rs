//! Message schemas: the model, and where its files lie. `core/protocol/schema/README.md` explains the notation.

pub mod against;
pub mod import;
pub mod kafka_json;
mod parse;
mod print;

use std::{collections::BTreeMap, path::PathBuf};

use anyhow::Context;

use crate::tree;

/// The schema directory, from the repository's root.
pub const DIRECTORY: &str = "core/protocol/schema";

/// One file: an API with its request and response, or a single message.
#[derive(Clone, Debug)]
pub struct Schema {
    /// The folder below [`DIRECTORY`]: "" for APIs, else the part of Kafka that the message belongs to.
    pub folder: String,
    pub docs: Vec<String>,
    pub kind: Kind,
    /// Without `Request` and `Response`.
    pub name: String,
    pub key: Option<i16>,
    /// `None`: no version is left.
    pub versions: Option<Range>,
    /// First version with the encoding of KIP-482.
    pub flexible: Option<i16>,
    /// Whether the newest version may still change and must not be advertised.
    pub unstable: bool,
    /// Which listeners take the API.
    pub listeners: Vec<String>,
    /// Which broker a client sends it to.
    pub destination: String,
    /// What each version brought.
    pub notes: BTreeMap<i16, String>,
    pub sections: Vec<Section>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Api,
    Header,
    Data,
    /// The key of a record in an internal topic.
    Key,
    /// The value of a record in an internal topic.
    Value,
    /// A record of the metadata log.
    Record,
}

impl Kind {
    const WORDS: [(Self, &str); 6] = [
        (Self::Api, "api"),
        (Self::Header, "header"),
        (Self::Data, "data"),
        (Self::Key, "key"),
        (Self::Value, "value"),
        (Self::Record, "record"),
    ];

    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(kind, _)| *kind == self).expect("every kind has a word").1
    }
}

/// A request, a response, or the whole of any other message.
#[derive(Clone, Debug)]
pub struct Section {
    /// "request", "response", or "".
    pub word: String,
    /// The response header's version, where it does not follow from flexibility.
    pub header: Option<i16>,
    pub fields: Vec<Field>,
    /// Structs that more than one field uses.
    pub shared: Vec<Shared>,
}

#[derive(Clone, Debug)]
pub struct Shared {
    pub docs: Vec<String>,
    pub name: String,
    pub versions: Range,
    pub fields: Vec<Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub docs: Vec<String>,
    /// In snake case.
    pub name: String,
    pub ty: Type,
    pub versions: Range,
    pub nullable: Option<Range>,
    pub default: Option<String>,
    pub tag: Option<u32>,
    /// May be dropped silently in versions that lack it.
    pub ignorable: bool,
    /// Keeps the classic encoding even in flexible versions.
    pub rigid: bool,
    /// The fields of the struct, where this field defines one.
    pub fields: Option<Vec<Field>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Type {
    Bool,
    I8,
    I16,
    U16,
    I32,
    U32,
    I64,
    F64,
    Uuid,
    Str,
    Bytes,
    Records,
    /// A primitive with a meaning: its name, and what it is on the wire.
    Entity(&'static str, &'static Type),
    Struct(String),
    Array(Box<Type>),
}

impl Type {
    pub const PRIMITIVES: [(&'static str, Self); 12] = [
        ("bool", Self::Bool),
        ("i8", Self::I8),
        ("i16", Self::I16),
        ("u16", Self::U16),
        ("i32", Self::I32),
        ("u32", Self::U32),
        ("i64", Self::I64),
        ("f64", Self::F64),
        ("uuid", Self::Uuid),
        ("str", Self::Str),
        ("bytes", Self::Bytes),
        ("records", Self::Records),
    ];
    pub const ENTITIES: [(&'static str, &'static Self); 6] = [
        ("BrokerId", &Self::I32),
        ("ErrorCode", &Self::I16),
        ("GroupId", &Self::Str),
        ("ProducerId", &Self::I64),
        ("TopicName", &Self::Str),
        ("TransactionalId", &Self::Str),
    ];

    /// The struct that a field of this type holds, alone or in an array.
    pub fn struct_name(&self) -> Option<&str> {
        match self {
            Self::Struct(name) => Some(name),
            Self::Array(element) => element.struct_name(),
            _ => None,
        }
    }
}

impl std::fmt::Display for Type {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entity(name, _) => f.write_str(name),
            Self::Struct(name) => f.write_str(name),
            Self::Array(element) => write!(f, "[{element}]"),
            _ => f.write_str(
                Self::PRIMITIVES.iter().find(|(_, t)| t == self).expect("a primitive has a word").0,
            ),
        }
    }
}

/// Versions from `first` to `last`, both included.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    pub first: i16,
    pub last: i16,
}

impl Range {
    pub fn contains(self, version: i16) -> bool {
        (self.first..=self.last).contains(&version)
    }

    pub fn iter(self) -> std::ops::RangeInclusive<i16> {
        self.first..=self.last
    }

    /// What both have; `None` if nothing.
    pub fn and(self, other: Self) -> Option<Self> {
        let both = Self { first: self.first.max(other.first), last: self.last.min(other.last) };
        (both.first <= both.last).then_some(both)
    }
}

impl Schema {
    /// The file's path from the repository's root.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DIRECTORY).join(&self.folder).join(format!("{}.api", self.file_stem()))
    }

    /// `00_produce`, or `topic_record` where there is no key.
    pub fn file_stem(&self) -> String {
        let snake = snake_case(&self.name);
        match self.key {
            Some(key) => format!("{key:02}_{snake}"),
            None => snake,
        }
    }

    /// The name of a section's message.
    pub fn message_name(&self, section: &Section) -> String {
        match section.word.as_str() {
            "request" => format!("{}Request", self.name),
            "response" => format!("{}Response", self.name),
            _ => self.name.clone(),
        }
    }

    /// All schemas of the repository, APIs first, each folder in the order of its keys.
    pub fn read_all() -> anyhow::Result<Vec<Self>> {
        let root = tree::path(DIRECTORY);
        let mut schemas = Vec::new();
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            for entry in
                std::fs::read_dir(root.join(&folder)).with_context(|| format!("reading {DIRECTORY}"))?
            {
                let entry = entry?;
                let name = entry.file_name().into_string().ok().context("a schema's name is UTF-8")?;
                if entry.file_type()?.is_dir() {
                    folders.push(name);
                } else if name.ends_with(".api") {
                    let text = std::fs::read_to_string(entry.path())?;
                    let schema = parse::schema(&folder, &text)
                        .with_context(|| format!("{DIRECTORY}/{folder}/{name}").replace("//", "/"))?;
                    anyhow::ensure!(
                        name == format!("{}.api", schema.file_stem()),
                        "{name} holds {}",
                        schema.file_stem()
                    );
                    schemas.push(schema);
                }
            }
        }
        schemas.sort_by_key(|s| (s.folder.clone(), s.key, s.name.clone()));
        Ok(schemas)
    }
}

/// `ThrottleTimeMs` as `throttle_time_ms`.
pub fn snake_case(camel: &str) -> String {
    let chars: Vec<char> = camel.chars().collect();
    let mut snake = String::new();
    for (i, &c) in chars.iter().enumerate() {
        let after_small = i > 0 && !chars[i - 1].is_uppercase();
        let before_small = i > 0 && chars.get(i + 1).is_some_and(|n| n.is_lowercase());
        if c.is_uppercase() && (after_small || before_small) {
            snake.push('_');
        }
        snake.extend(c.to_lowercase());
    }
    snake
}
