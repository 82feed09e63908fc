//! The stubs of the Python package: signatures with the texts that the native half has, for editors and type checkers.
//!
//! | from | makes |
//! |---|---|
//! | `bindings/python/ottla.pyi`, the texts of `bindings/python/src/*.rs` | `python/ottla/_ottla.pyi` |
//! | the same, and what `python/ottla/aio.py` does itself | `python/ottla/aio.pyi` |

use std::{collections::BTreeMap, fmt::Write};

use anyhow::{Context, ensure};

use super::files::Files;
use crate::tree;

const SIGNATURES: &str = "bindings/python/ottla.pyi";
const SOURCES: [&str; 6] = ["admin", "consumer", "event_loop", "log", "producer", "record"];
const AIO: &str = "python/ottla/aio.py";

/// The classes that there are for asyncio, too.
const AIO_CLASSES: [&str; 3] = ["Producer", "Consumer", "Admin"];
/// Calls that ask brokers: for asyncio they give what is awaited. All of Admin's do.
const AWAITED: [&str; 11] = [
    "beginning_offsets",
    "close",
    "commit",
    "committed",
    "end_offsets",
    "flush",
    "offsets_for_times",
    "partition_count",
    "ready",
    "send",
    "unsubscribe",
];
/// Calls that `aio.py` makes coroutine functions of.
const COROUTINES: [(&str, &str); 10] = [
    ("Admin", "__aenter__"),
    ("Admin", "__aexit__"),
    ("Consumer", "__aenter__"),
    ("Consumer", "__aexit__"),
    ("Consumer", "next_batch"),
    ("Consumer", "poll"),
    ("Producer", "__aenter__"),
    ("Producer", "__aexit__"),
    ("Producer", "close"),
    ("Producer", "send_batch"),
];
/// A parameter that an asyncio program does not give.
const NOT_IN_AIO: &str = "on_delivery:";

/// Texts, by class (empty for what is outside of classes) and name (empty for the class itself).
type Texts = BTreeMap<(String, String), Vec<String>>;

pub fn generate(files: &mut Files) -> anyhow::Result<()> {
    let stub = read(SIGNATURES)?;
    let mut texts = Texts::new();
    for source in SOURCES {
        rust_texts(&read(&format!("bindings/python/src/{source}.rs"))?, &mut texts);
    }
    let items = parse(&stub).context(SIGNATURES)?;
    files.add("python/ottla/_ottla.pyi", native(&items, &texts));
    texts.extend(python_texts(&read(AIO)?));
    texts.insert(("Producer".to_owned(), "send".to_owned()), AIO_SEND.lines().map(str::to_owned).collect());
    files.add("python/ottla/aio.pyi", aio(&items, &texts)?);
    Ok(())
}

fn read(path: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(tree::path(path)).with_context(|| path.to_owned())
}

/// A piece of the stub.
enum Item {
    /// Something outside of classes, as it is.
    Line(String),
    /// `class Producer:`.
    Class { name: String, line: String },
    /// A function, with its decorators: the lines of its signature, the last of which ends with ` ...`.
    Function { class: String, name: String, lines: Vec<String> },
}

fn parse(stub: &str) -> anyhow::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut class = String::new();
    let mut pending: Vec<String> = Vec::new();
    // What comments the source is not for the results.
    for line in stub.lines().skip_while(|line| line.starts_with('#')) {
        let code = line.trim_start();
        let is_outside = pending.is_empty() && code.len() == line.len();
        if let Some(rest) = line.strip_prefix("class ") {
            class = rest.split(['(', ':']).next().unwrap_or_default().to_owned();
            items.push(Item::Class { name: class.clone(), line: line.to_owned() });
        } else if !pending.is_empty() || code.starts_with("def ") || line.starts_with("    @") {
            if is_outside {
                class.clear();
            }
            pending.push(line.to_owned());
            if line.ends_with(": ...") {
                let lines = std::mem::take(&mut pending);
                let name = lines.iter().find_map(|line| line.trim_start().strip_prefix("def "));
                let name =
                    name.and_then(|rest| rest.split('(').next()).context("a function has a name")?.to_owned();
                items.push(Item::Function { class: class.clone(), name, lines });
            }
        } else {
            ensure!(is_outside || class.is_empty(), "nobody knows what this is: {line}");
            items.push(Item::Line(line.to_owned()));
        }
    }
    ensure!(pending.is_empty(), "a signature has no end: {}", pending.join("\n"));
    Ok(items)
}

/// The texts of classes and their methods, as PyO3 makes them Python's.
fn rust_texts(source: &str, texts: &mut Texts) {
    let mut class = String::new();
    let mut text: Vec<String> = Vec::new();
    let mut is_python = false;
    for line in source.lines() {
        let code = line.trim_start();
        let word = |after: &str| -> Option<String> {
            let at = code.find(after)? + after.len();
            Some(code[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        };
        if let Some(one) = code.strip_prefix("///") {
            text.push(one.strip_prefix(' ').unwrap_or(one).to_owned());
        } else if code.starts_with("#[pyclass")
            || code.starts_with("#[pyfunction")
            || code.starts_with("#[pymethods")
        {
            is_python = true;
        } else if let Some(name) = word("struct ").filter(|_| is_python && !line.starts_with(' ')) {
            texts.insert((name.clone(), String::new()), std::mem::take(&mut text));
            class = name;
        } else if let Some(name) = word("impl ").filter(|_| is_python && line.starts_with("impl ")) {
            class = name;
        } else if let Some(name) = word("fn ").filter(|_| is_python) {
            let class = if line.starts_with(' ') { class.clone() } else { String::new() };
            texts.entry((class, name)).or_insert_with(|| std::mem::take(&mut text));
            text.clear();
        } else if line == "}" {
            is_python = false;
            text.clear();
        } else if !code.starts_with("#[") && code.is_empty() {
            text.clear();
        }
    }
}

/// The texts of the classes in a Python file, and of those of their methods that have one.
fn python_texts(source: &str) -> Texts {
    let mut texts = Texts::new();
    let mut class = String::new();
    let mut owner: Option<String> = None;
    let mut lines = source.lines();
    while let Some(line) = lines.next() {
        let code = line.trim_start();
        let name = |rest: &str| rest.split(['(', ':']).next().unwrap_or_default().to_owned();
        if let Some(rest) = line.strip_prefix("class ") {
            class = name(rest);
            owner = Some(String::new());
        } else if let Some(rest) = code.strip_prefix("async def ").or_else(|| code.strip_prefix("def ")) {
            owner = Some(name(rest));
        } else if let (Some(first), true) = (code.strip_prefix("\"\"\""), owner.is_some()) {
            let indent = line.len() - code.len();
            let mut text = Vec::new();
            let mut one = first.to_owned();
            while !one.ends_with("\"\"\"") {
                text.push(one);
                one = lines
                    .next()
                    .map(|line| line.get(indent..).unwrap_or_default().to_owned())
                    .unwrap_or_default();
            }
            text.push(one.trim_end_matches("\"\"\"").to_owned());
            texts.insert((class.clone(), owner.take().unwrap_or_default()), text);
        }
    }
    texts
}

/// `text` as a docstring.
fn docstring(text: &[String], indent: &str) -> String {
    match text {
        [] => String::new(),
        [one] => format!("{indent}\"\"\"{one}\"\"\"\n"),
        [first, rest @ ..] => {
            let mut out = format!("{indent}\"\"\"{first}\n");
            for line in rest {
                let _ = writeln!(
                    out,
                    "{}",
                    if line.is_empty() { String::new() } else { format!("{indent}{line}") }
                );
            }
            if rest.last().is_some_and(String::is_empty) {
                out.pop();
            }
            out + indent + "\"\"\"\n"
        }
    }
}

fn function(lines: &[String], text: Option<&Vec<String>>) -> String {
    let indent = if lines[0].starts_with(' ') { "        " } else { "    " };
    let signature = lines.join("\n");
    match text.filter(|text| !text.is_empty()) {
        None => signature + "\n",
        Some(text) => format!("{}\n{}", signature.trim_end_matches(" ..."), docstring(text, indent)),
    }
}

fn head(of: &str) -> String {
    format!("# Generated by `cargo xtask codegen` from {SIGNATURES}. Do not edit.\n\"\"\"{of}\"\"\"\n\n")
}

fn native(items: &[Item], texts: &Texts) -> String {
    let mut out = head("The native half of `ottla`.");
    let text_of = |class: &String, name: &str| texts.get(&(class.clone(), name.to_owned()));
    for item in items {
        match item {
            // The first line of the source follows its comment.
            Item::Line(line) if line.is_empty() && out.ends_with("\n\n") => {}
            Item::Line(line) => out = out + line + "\n",
            Item::Class { name, line } => {
                let text = text_of(name, "").map(|text| docstring(text, "    ")).unwrap_or_default();
                let _ = write!(out, "{line}\n{text}\n");
            }
            Item::Function { class, name, lines } => out += &function(lines, text_of(class, name)),
        }
    }
    out
}

/// What `send` does for asyncio, which has no function of its own there.
const AIO_SEND: &str = "\
Takes a record and returns at once the future of its delivery: await it for where the record was written, or for why it was not.

Where there is no room in `buffer.memory`, or the topic was not used before, a copy waits, and what is sent later waits behind it.";

/// What the stub for asyncio imports.
const AIO_IMPORTS: &str = "\
from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Optional, Sequence, Union

from ._ottla import (
    Record,
    RecordBatch,
    RecordMetadata,
    _Headers,
    _Offsets,
    _Partition,
    _Place,
    _Servers,
    _Time,
)
from ._types import (
    ClusterDescription,
    ConfigEntry,
    GroupDescription,
    GroupListing,
    NewTopic,
    OffsetAndMetadata,
    TokenProvider,
    TopicDescription,
    TopicPartition,
)
";

fn aio(items: &[Item], texts: &Texts) -> anyhow::Result<String> {
    let mut out = head("The same clients for asyncio: what takes time is awaited.") + AIO_IMPORTS;
    for item in items {
        match item {
            Item::Class { name, .. } if AIO_CLASSES.contains(&name.as_str()) => {
                let text = texts.get(&(name.clone(), String::new())).map(|text| docstring(text, "    "));
                let _ = write!(out, "\nclass {name}:\n{}\n", text.unwrap_or_default());
            }
            Item::Function { class, name, lines } if AIO_CLASSES.contains(&class.as_str()) => {
                if name == "__next__" {
                    continue;
                }
                let name = match name.as_str() {
                    "__enter__" => "__aenter__",
                    "__exit__" => "__aexit__",
                    "__iter__" => "__aiter__",
                    name => name,
                };
                let lines = awaited(class, name, lines);
                out += &function(&lines, texts.get(&(class.clone(), name.to_owned())));
            }
            _ => {}
        }
    }
    Ok(out)
}

/// A signature as asyncio's client has it.
fn awaited(class: &str, name: &str, lines: &[String]) -> Vec<String> {
    let is_coroutine = COROUTINES.contains(&(class, name));
    let mut kept: Vec<String> = Vec::new();
    for line in lines {
        let code = line.trim_start();
        if code.starts_with(NOT_IN_AIO) {
            continue;
        }
        // A star that nothing follows but what has two of its own is none.
        if code.starts_with("**") && kept.last().is_some_and(|last| last.trim() == "*,") {
            kept.pop();
        }
        let mut line = line.clone();
        for (from, to) in [("__enter__", "__aenter__"), ("__exit__", "__aexit__"), ("__iter__", "__aiter__")]
        {
            line = line.replace(from, to);
        }
        if is_coroutine {
            line = line.replace("    def ", "    async def ");
        }
        kept.push(line);
    }
    let is_awaited =
        (AWAITED.contains(&name) || class == "Admin" && !name.starts_with("__")) && !is_coroutine;
    if let Some(last) = kept.last_mut()
        && let Some((before, result)) = last.clone().trim_end_matches(": ...").split_once(" -> ")
    {
        let result = match (name, result) {
            ("send", _) => "asyncio.Future[RecordMetadata]".to_owned(),
            ("send_batch", _) => "list[RecordMetadata]".to_owned(),
            ("ready", _) => "asyncio.Future[None]".to_owned(),
            (_, result) if is_awaited => format!("Awaitable[{result}]"),
            (_, result) if result.starts_with("Iterator") => format!("Async{result}"),
            (_, result) => result.to_owned(),
        };
        *last = format!("{before} -> {result}: ...");
    }
    kept
}
