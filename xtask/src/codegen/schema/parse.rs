//! Reads the notation. Lines are short, so an error names the line and shows it.

use std::collections::BTreeMap;

use anyhow::{Context, bail, ensure};

use super::{Field, Kind, Range, Schema, Section, Shared, Type};

/// Reads one schema file.
pub fn schema(folder: &str, text: &str) -> anyhow::Result<Schema> {
    let mut lines = Lines::new(text);
    let docs = lines.docs(0)?;
    let (kind, name, key) = lines.next_with(title)?;
    let (versions, flexible, unstable, listeners, destination) = lines.next_with(|l| properties(l, kind))?;
    let mut schema = Schema {
        folder: folder.to_owned(),
        docs,
        kind,
        name,
        key,
        versions,
        flexible,
        unstable,
        listeners,
        destination,
        notes: BTreeMap::new(),
        sections: Vec::new(),
    };
    while let Some(line) = lines.peek().filter(|l| l.text.starts_with('@')) {
        let (version, note) =
            line.text[1..].split_once(' ').with_context(|| line.error("`@N text` is meant"))?;
        schema
            .notes
            .insert(version.parse().with_context(|| line.error("no version"))?, note.trim().to_owned());
        lines.advance();
    }
    // A retired API has no versions, so any range serves to read its empty sections.
    let all = versions.unwrap_or(Range { first: 0, last: 0 });
    if kind == Kind::Api {
        for word in ["request", "response"] {
            schema.sections.push(section(&mut lines, word, all)?);
        }
    } else {
        let fields = fields(&mut lines, 2, all)?;
        let shared = shared(&mut lines, all)?;
        schema.sections.push(Section { word: String::new(), header: None, fields, shared });
    }
    if let Some(line) = lines.peek() {
        bail!(line.error("nothing more is expected here"));
    }
    Ok(schema)
}

fn title(line: &str) -> anyhow::Result<(Kind, String, Option<i16>)> {
    let mut words = line.split_whitespace();
    let word = words.next().unwrap_or_default();
    let (kind, _) =
        Kind::WORDS.into_iter().find(|(_, w)| *w == word).context("`api Name = key` or its like is meant")?;
    let name = words.next().context("the name is missing")?.to_owned();
    let key = match words.next() {
        Some("=") => Some(words.next().context("the key is missing")?.parse()?),
        Some(other) => bail!("`=` is meant, not `{other}`"),
        None => None,
    };
    Ok((kind, name, key))
}

type Properties = (Option<Range>, Option<i16>, bool, Vec<String>, String);

fn properties(line: &str, kind: Kind) -> anyhow::Result<Properties> {
    let mut words = line.split_whitespace().peekable();
    ensure!(words.next() == Some("versions"), "`versions` is meant");
    let versions = match words.next().context("the versions are missing")? {
        "none" => None,
        text => Some(range(text, Range { first: 0, last: i16::MAX })?),
    };
    let (mut flexible, mut unstable, mut listeners, mut destination) =
        (None, false, Vec::new(), String::new());
    while let Some(word) = words.next() {
        match word {
            "flexible" => {
                let from = words.next().context("`flexible N+` is meant")?;
                flexible = Some(from.strip_suffix('+').context("`flexible N+` is meant")?.parse()?);
            }
            "unstable" => unstable = true,
            "on" => {
                listeners =
                    words.next().context("`on` wants listeners")?.split(',').map(str::to_owned).collect()
            }
            "to" => destination = words.next().context("`to` wants a destination")?.to_owned(),
            other => bail!("`{other}` is not known here"),
        }
    }
    ensure!(
        kind != Kind::Api || versions.is_none() || !destination.is_empty(),
        "an API says where it goes `to`"
    );
    Ok((versions, flexible, unstable, listeners, destination))
}

fn section(lines: &mut Lines<'_>, word: &str, all: Range) -> anyhow::Result<Section> {
    let header = lines.next_with(|line| {
        let rest = line.strip_prefix(word).with_context(|| format!("`{word}` is meant"))?.trim();
        match rest.strip_prefix("header ") {
            Some(version) => Ok(Some(version.parse()?)),
            None if rest.is_empty() => Ok(None),
            None => bail!("`header N` or nothing may follow"),
        }
    })?;
    let fields = fields(lines, 2, all)?;
    let shared = shared(lines, all)?;
    Ok(Section { word: word.to_owned(), header, fields, shared })
}

fn shared(lines: &mut Lines<'_>, all: Range) -> anyhow::Result<Vec<Shared>> {
    let mut structs = Vec::new();
    loop {
        let start = lines.at;
        let docs = lines.docs(0)?;
        if !lines.peek().is_some_and(|l| l.text.starts_with("struct ")) {
            lines.at = start;
            return Ok(structs);
        }
        let (name, versions) = lines.next_with(|line| {
            let mut words = line.split_whitespace().skip(1);
            let name = words.next().context("the name is missing")?.to_owned();
            Ok((name, words.next().map_or(Ok(all), |text| range(text, all))?))
        })?;
        structs.push(Shared { docs, name, versions, fields: fields(lines, 2, versions)? });
    }
}

fn fields(lines: &mut Lines<'_>, indent: usize, parent: Range) -> anyhow::Result<Vec<Field>> {
    let mut fields = Vec::new();
    while lines.peek().is_some_and(|l| l.indent == indent) {
        let docs = lines.docs(indent)?;
        let mut field = lines.next_with(|line| field(line, parent))?;
        field.docs = docs;
        if lines.peek().is_some_and(|l| l.indent > indent) {
            field.fields = Some(self::fields(lines, indent + 2, field.versions)?);
        }
        fields.push(field);
    }
    if let Some(line) = lines.peek().filter(|l| l.indent > indent) {
        bail!(line.error("the indentation is off"));
    }
    Ok(fields)
}

fn field(line: &str, parent: Range) -> anyhow::Result<Field> {
    let (name, rest) = line.split_once(':').context("`name: type` is meant")?;
    let mut words = rest.split_whitespace().peekable();
    let (ty, nullable) = parse_type(words.next().context("the type is missing")?)?;
    let mut field = Field {
        docs: Vec::new(),
        name: name.to_owned(),
        ty,
        versions: parent,
        nullable: None,
        default: None,
        tag: None,
        ignorable: false,
        rigid: false,
        fields: None,
    };
    while let Some(word) = words.next() {
        match word {
            "=" => field.default = Some(words.next().context("the default is missing")?.to_owned()),
            "~" => field.ignorable = true,
            "tag" => field.tag = Some(words.next().context("the tag is missing")?.parse()?),
            "rigid" => field.rigid = true,
            text => field.versions = range(text, parent)?,
        }
    }
    field.nullable = match nullable {
        None => None,
        Some("") => Some(field.versions),
        Some(text) => Some(range(text, field.versions)?),
    };
    Ok(field)
}

/// `[T]?12+` as the type and the versions in which it may be null.
fn parse_type(text: &str) -> anyhow::Result<(Type, Option<&str>)> {
    let (base, nullable) = match text.split_once('?') {
        Some((base, versions)) => (base, Some(versions)),
        None => (text, None),
    };
    let ty = match base.strip_prefix('[') {
        Some(rest) => {
            let element = rest.strip_suffix(']').context("`]` is missing")?;
            Type::Array(Box::new(parse_type(element)?.0))
        }
        None => named_type(base),
    };
    Ok((ty, nullable))
}

pub fn named_type(word: &str) -> Type {
    if let Some((_, primitive)) = Type::PRIMITIVES.into_iter().find(|(w, _)| *w == word) {
        return primitive;
    }
    match Type::ENTITIES.into_iter().find(|(w, _)| *w == word) {
        Some((name, wire)) => Type::Entity(name, wire),
        None => Type::Struct(word.to_owned()),
    }
}

/// `3`, `3-7` or `3+`, the last meaning up to the parent's end.
pub fn range(text: &str, parent: Range) -> anyhow::Result<Range> {
    let range = if let Some(first) = text.strip_suffix('+') {
        Range {
            first: first.parse().with_context(|| format!("`{text}` are no versions"))?,
            last: parent.last,
        }
    } else if let Some((first, last)) = text.split_once('-') {
        Range { first: first.parse()?, last: last.parse()? }
    } else {
        let only = text.parse().with_context(|| format!("`{text}` is not understood"))?;
        Range { first: only, last: only }
    };
    ensure!(range.and(parent) == Some(range), "versions {text} are not all among the parent's");
    Ok(range)
}

/// The lines that say something, with their numbers.
struct Lines<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

impl Line<'_> {
    fn error(&self, what: &str) -> String {
        format!("line {}: {what}: `{}`", self.number, self.text)
    }
}

impl<'a> Lines<'a> {
    fn new(text: &'a str) -> Self {
        let lines = text.lines().enumerate().filter_map(|(i, line)| {
            let indent = line.len() - line.trim_start().len();
            let text = match line.trim() {
                doc if doc.starts_with("///") => doc,
                code => code.split(" //").next().unwrap_or_default().trim(),
            };
            (!text.is_empty()).then_some(Line { number: i + 1, indent, text })
        });
        Self { lines: lines.collect(), at: 0 }
    }

    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    fn advance(&mut self) {
        self.at += 1;
    }

    fn next_with<T>(&mut self, read: impl FnOnce(&'a str) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let line = self.peek().context("the file ends too early")?;
        self.advance();
        read(line.text).with_context(|| line.error("not understood"))
    }

    /// The `///` lines before the next item.
    fn docs(&mut self, indent: usize) -> anyhow::Result<Vec<String>> {
        let mut docs = Vec::new();
        while let Some(line) = self.peek() {
            let Some(doc) = line.text.strip_prefix("///") else { break };
            ensure!(line.indent == indent, line.error("the indentation is off"));
            docs.push(doc.trim().to_owned());
            self.advance();
        }
        Ok(docs)
    }
}
