//! The format of a configuration table. `core/src/config.table` explains it to whoever writes one.

use anyhow::{Context, bail, ensure};

use crate::tree;

/// Sections of one or several tables' files, in order.
#[derive(Clone)]
pub struct Tables {
    pub sections: Vec<Section>,
}

/// Keys under one header.
#[derive(Clone)]
pub struct Section {
    /// Whose keys they are: `producer`, `broker` ...
    pub owners: Vec<String>,
    /// Why setting them does nothing; `None` if they are applied.
    pub known: Option<String>,
    pub keys: Vec<Row>,
}

/// One key.
#[derive(Clone)]
pub struct Row {
    pub name: String,
    pub kind: Kind,
    pub default: Default,
    pub range: Range,
    pub doc: String,
    /// Other names and their units.
    pub aliases: Vec<(String, i64)>,
    pub synonyms: Vec<(String, i64)>,
    pub kafka: Option<String>,
    pub update: Option<String>,
    /// Name of the Rust enumeration.
    pub rust_name: Option<String>,
}

impl Row {
    /// Whether it stands for all names that begin as it does.
    pub fn prefix(&self) -> Option<&str> {
        self.name.strip_suffix('*')
    }
}

#[derive(Clone, PartialEq)]
pub enum Kind {
    /// A word of the format that says it all: `bool`, `i32`, `ms64`, `bytes32`, `string` ...
    Plain(String),
    Enum(Vec<Choice>),
    ListOf(Vec<Choice>),
}

/// One word of an enumeration.
#[derive(Clone, PartialEq)]
pub struct Choice {
    pub variant: String,
    pub text: String,
    pub same: Vec<String>,
    pub served: bool,
}

#[derive(Clone, PartialEq)]
pub enum Default {
    Required,
    Null,
    Text(String),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Range {
    Any,
    NonEmpty,
    Int { min: i64, max: Option<i64>, or: Option<i64> },
    Float { min: f64, max: f64 },
}

const PLAIN: [&str; 13] = [
    "bool", "i16", "i32", "i64", "ms32", "ms64", "bytes32", "bytes64", "f64", "string", "list", "password",
    "class",
];

impl Tables {
    /// Reads a table from its place in the repository.
    pub fn read(path: &str) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(tree::path(path)).with_context(|| format!("reading {path}"))?;
        let mut sections = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            parse_line(line, &mut sections).with_context(|| format!("{path} line {number}: `{line}`"))?;
        }
        Ok(Self { sections })
    }

    /// These sections, then the other's.
    pub fn and(mut self, other: Self) -> Self {
        self.sections.extend(other.sections);
        self
    }

    /// The keys of `owner`, each with its section.
    pub fn of<'a>(&'a self, owner: &'a str) -> impl Iterator<Item = (&'a Section, &'a Row)> {
        let sections = self.sections.iter().filter(move |section| section.owners.iter().any(|o| o == owner));
        sections.flat_map(|section| section.keys.iter().map(move |row| (section, row)))
    }
}

fn parse_line(line: &str, sections: &mut Vec<Section>) -> anyhow::Result<()> {
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    if let Some(header) = line.strip_prefix('[') {
        sections.push(parse_header(header)?);
        return Ok(());
    }
    let keys = &mut sections.last_mut().context("a key before the first header")?.keys;
    if let Some(attribute) = line.strip_prefix("    ") {
        return parse_attribute(attribute, keys.last_mut().context("an attribute before the first key")?);
    }
    keys.push(parse_row(line)?);
    Ok(())
}

fn parse_header(header: &str) -> anyhow::Result<Section> {
    let (owners, effect) = header.split_once("] ").context("a header is `[owners] effect`")?;
    let known = match effect.split_once(": ") {
        None if effect == "applied" => None,
        Some(("known", why)) => Some(why.to_owned()),
        _ => bail!("an effect is `applied` or `known: why`"),
    };
    Ok(Section { owners: owners.split(' ').map(str::to_owned).collect(), known, keys: Vec::new() })
}

fn parse_row(line: &str) -> anyhow::Result<Row> {
    let mut rest = line;
    let mut column = || {
        let (column, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start();
        column
    };
    let (name, kind, default, range) = (column(), column(), column(), column());
    let kind = if name.ends_with('*') { Kind::Plain("string".into()) } else { parse_kind(kind)? };
    let default = match default {
        "required" => Default::Required,
        "null" | "-" => Default::Null,
        "\"\"" => Default::Text(String::new()),
        text => Default::Text(text.to_owned()),
    };
    let range = parse_range(range, &kind)?;
    let doc = rest.to_owned();
    ensure!(!doc.is_empty(), "the meaning is missing");
    Ok(Row {
        name: name.to_owned(),
        kind,
        default,
        range,
        doc,
        aliases: Vec::new(),
        synonyms: Vec::new(),
        kafka: None,
        update: None,
        rust_name: None,
    })
}

fn parse_attribute(attribute: &str, row: &mut Row) -> anyhow::Result<()> {
    let (word, value) = attribute.split_once(' ').context("an attribute is a word and a value")?;
    match word {
        "alias" => row.aliases.extend(parse_names(value)?),
        "synonyms" => row.synonyms.extend(parse_names(value)?),
        "kafka" => row.kafka = Some(if value == "\"\"" { String::new() } else { value.to_owned() }),
        "update" if ["cluster", "broker"].contains(&value) => row.update = Some(value.to_owned()),
        "as" => row.rust_name = Some(value.to_owned()),
        _ => bail!("no such attribute"),
    }
    Ok(())
}

fn parse_names(text: &str) -> anyhow::Result<Vec<(String, i64)>> {
    let one = |name: &str| match name.split_once('*') {
        None => Ok((name.to_owned(), 1)),
        Some((name, scale)) => Ok((name.to_owned(), scale.parse()?)),
    };
    text.split(' ').map(one).collect()
}

fn parse_kind(text: &str) -> anyhow::Result<Kind> {
    if PLAIN.contains(&text) {
        return Ok(Kind::Plain(text.to_owned()));
    }
    let words = |text: &str| text.split('|').map(parse_choice).collect();
    match text.strip_suffix(')').and_then(|text| text.split_once('(')) {
        Some(("enum", text)) => Ok(Kind::Enum(words(text))),
        Some(("list", text)) => Ok(Kind::ListOf(words(text))),
        _ => bail!("no such type; there are {}, enum(..) and list(..)", PLAIN.join(", ")),
    }
}

fn parse_choice(text: &str) -> Choice {
    let (variant, texts) = match text.split_once('=') {
        Some((variant, texts)) => (Some(variant), texts),
        None => (None, text),
    };
    let mut texts = texts.split(',');
    let first = texts.next().unwrap_or_default();
    let text = first.trim_start_matches('!').to_owned();
    Choice {
        variant: variant.map_or_else(|| pascal_case(&text), str::to_owned),
        served: !first.starts_with('!'),
        same: texts.map(str::to_owned).collect(),
        text,
    }
}

fn pascal_case(text: &str) -> String {
    let shout = text.chars().all(|c| !c.is_lowercase());
    let word = |word: &str| {
        let (head, tail) = word.split_at(word.len().min(1));
        head.to_uppercase() + &if shout { tail.to_lowercase() } else { tail.to_owned() }
    };
    text.split(['_', '-']).map(word).collect()
}

fn parse_range(text: &str, kind: &Kind) -> anyhow::Result<Range> {
    if text == "-" {
        return Ok(Range::Any);
    }
    if text == "nonempty" {
        return Ok(Range::NonEmpty);
    }
    let (text, or) = match text.split_once('|') {
        Some((text, or)) => (text, Some(or.parse()?)),
        None => (text, None),
    };
    let (min, max) = text.split_once("..").context("a range is `min..max`, `min..` or `-`")?;
    if *kind == Kind::Plain("f64".into()) {
        return Ok(Range::Float { min: min.parse()?, max: max.parse()? });
    }
    let max = if max.is_empty() { None } else { Some(max.parse()?) };
    Ok(Range::Int { min: min.parse()?, max, or })
}
