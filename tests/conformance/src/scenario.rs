//! Scenarios as they are written.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail, ensure};
use toml::{Table, Value};

use crate::line::{Line, encode};

/// A scenario.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The file's name, without its ending.
    pub name: String,
    /// What it proves.
    pub about: String,
    /// The topics that are there when it begins.
    pub topics: Vec<Topic>,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// A topic of a scenario.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name in the scenario.
    pub name: String,
    /// How many partitions.
    pub partitions: i32,
    /// Its own settings.
    pub config: BTreeMap<String, String>,
}

/// A step, and what must come of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// The line for the runner, its names not yet those of the run.
    pub line: Line,
    /// What the answer must say.
    pub outcome: Outcome,
    /// The records that must come, if that matters.
    pub records: Option<Vec<Vec<Expected>>>,
    /// Whether it is asked again for a while until it answers so: what a cluster has taken in is not seen everywhere at once.
    pub is_eventual: bool,
}

/// How a step must end.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Well, with these pairs among others.
    Ok(Vec<Expected>),
    /// By an error with these pairs among others.
    Error(Vec<Expected>),
}

/// What a pair must be.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: Wanted,
}

/// What a value must be.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// This.
    Equal(Vec<u8>),
    /// Text with this in it.
    Contains(String),
    /// A number as large as this, or larger.
    Min(i64),
    /// Not there.
    Absent,
}

/// All scenarios of a directory, by name.
pub fn all(directory: &Path) -> anyhow::Result<Vec<Scenario>> {
    let mut scenarios = Vec::new();
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            scenarios.push(Scenario::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    ensure!(!scenarios.is_empty(), "there are no scenarios in `{}`", directory.display());
    scenarios.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(scenarios)
}

impl Scenario {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let name = path.file_stem().context("a file has a name")?.to_string_lossy().into_owned();
        Self::parse(&name, &std::fs::read_to_string(path)?)
    }

    /// Reads a scenario.
    pub fn parse(name: &str, text: &str) -> anyhow::Result<Self> {
        let mut table: Table = text.parse()?;
        let about = text_of(&take(&mut table, "about")?)?;
        let mut topics = Vec::new();
        if let Some(Value::Table(named)) = table.remove("topics") {
            for (name, topic) in named {
                topics.push(Topic::from_value(name, topic)?);
            }
        }
        let Value::Array(written) = take(&mut table, "steps")? else { bail!("`steps` is a list") };
        let mut steps = Vec::new();
        for (number, step) in written.into_iter().enumerate() {
            steps.push(Step::from_value(step).with_context(|| format!("step {}", number + 1))?);
        }
        ensure!(table.is_empty(), "unknown: `{table}`");
        Ok(Self { name: name.to_owned(), about, topics, steps })
    }

    /// Whether it stops or starts the broker, and so needs one of its own.
    pub fn touches_the_broker(&self) -> bool {
        self.steps.iter().any(|step| step.line.word == "broker")
    }
}

impl Topic {
    fn from_value(name: String, value: Value) -> anyhow::Result<Self> {
        let Value::Table(mut table) = value else { bail!("topic `{name}` is a table") };
        let partitions = table.remove("partitions").and_then(|value| value.as_integer()).unwrap_or(1);
        let mut config = BTreeMap::new();
        if let Some(Value::Table(own)) = table.remove("config") {
            for (key, value) in own {
                config.insert(key, text_of(&value)?);
            }
        }
        ensure!(table.is_empty(), "unknown of topic `{name}`: `{table}`");
        Ok(Self { name, partitions: i32::try_from(partitions)?, config })
    }
}

impl Step {
    fn from_value(value: Value) -> anyhow::Result<Self> {
        let Value::Table(mut table) = value else { bail!("a step is a table") };
        let verb = text_of(&take(&mut table, "do")?)?;
        let expected = |value: Option<Value>| value.map(expected_pairs).transpose();
        let (expect, fails) = (expected(table.remove("expect"))?, expected(table.remove("fails"))?);
        let outcome = match (expect, fails) {
            (Some(_), Some(_)) => bail!("`expect` and `fails` exclude each other"),
            (expect, None) => Outcome::Ok(expect.unwrap_or_default()),
            (None, Some(fails)) => Outcome::Error(fails),
        };
        let records = match table.remove("records") {
            Some(Value::Array(records)) => {
                Some(records.into_iter().map(expected_pairs).collect::<anyhow::Result<_>>()?)
            }
            Some(_) => bail!("`records` is a list"),
            None => None,
        };
        let is_eventual = match table.remove("eventually") {
            Some(Value::Boolean(is_eventual)) => is_eventual,
            Some(_) => bail!("`eventually` is true or false"),
            None => false,
        };
        let mut line = Line::new(verb);
        for (name, value) in table {
            line = arguments(line, name, value)?;
        }
        Ok(Self { line, outcome, records, is_eventual })
    }
}

/// A step's argument as pairs of its line.
fn arguments(mut line: Line, name: String, value: Value) -> anyhow::Result<Line> {
    Ok(match (name.as_str(), value) {
        ("set" | "config", Value::Table(settings)) => {
            for (key, value) in settings {
                line = line.pair(format!("{name}.{key}"), text_of(&value)?);
            }
            line
        }
        ("headers", Value::Array(headers)) => {
            for (number, header) in headers.into_iter().enumerate() {
                line = line.pair(format!("header.{number}"), header_of(&header)?);
            }
            line
        }
        (_, value) => line.pair(name, bytes_of(&value)?),
    })
}

/// `["name", "value"]` or `["name"]`, as runners know it.
fn header_of(value: &Value) -> anyhow::Result<String> {
    let Some(parts) = value.as_array() else { bail!("a header is a list of a name and a value") };
    let encoded: Vec<String> =
        parts.iter().map(|part| Ok(encode(&bytes_of(part)?))).collect::<anyhow::Result<_>>()?;
    Ok(encoded.join(":"))
}

fn expected_pairs(value: Value) -> anyhow::Result<Vec<Expected>> {
    let Value::Table(table) = value else { bail!("what is expected is a table") };
    let mut pairs = Vec::new();
    for (name, value) in table {
        if let ("headers", Value::Array(headers)) = (name.as_str(), &value) {
            for (number, header) in headers.iter().enumerate() {
                let value = Wanted::Equal(header_of(header)?.into_bytes());
                pairs.push(Expected { name: format!("header.{number}"), value });
            }
            pairs.push(Expected { name: format!("header.{}", headers.len()), value: Wanted::Absent });
            continue;
        }
        pairs.push(Expected { name, value: wanted(&value)? });
    }
    Ok(pairs)
}

fn wanted(value: &Value) -> anyhow::Result<Wanted> {
    if let Value::Table(table) = value {
        if let Some(text) = table.get("contains") {
            return Ok(Wanted::Contains(text_of(text)?));
        }
        if let Some(min) = table.get("min").and_then(Value::as_integer) {
            return Ok(Wanted::Min(min));
        }
        if table.get("null").and_then(Value::as_bool) == Some(true) {
            return Ok(Wanted::Absent);
        }
    }
    Ok(Wanted::Equal(bytes_of(value)?))
}

fn take(table: &mut Table, name: &str) -> anyhow::Result<Value> {
    table.remove(name).with_context(|| format!("`{name}` is missing"))
}

fn text_of(value: &Value) -> anyhow::Result<String> {
    Ok(String::from_utf8(bytes_of(value)?)?)
}

fn bytes_of(value: &Value) -> anyhow::Result<Vec<u8>> {
    Ok(match value {
        Value::String(text) => text.clone().into_bytes(),
        Value::Integer(number) => number.to_string().into_bytes(),
        Value::Boolean(is) => is.to_string().into_bytes(),
        Value::Array(parts) => {
            let parts: Vec<String> = parts.iter().map(text_of).collect::<anyhow::Result<_>>()?;
            parts.join(",").into_bytes()
        }
        Value::Table(table) => match (table.get("hex"), table.get("repeat"), table.get("times")) {
            (Some(Value::String(hex)), None, None) => unhex(hex)?,
            (None, Some(Value::String(text)), Some(Value::Integer(times))) => {
                text.repeat(usize::try_from(*times)?).into_bytes()
            }
            _ => bail!("`{table}` is neither `hex` nor `repeat` and `times`"),
        },
        other => bail!("`{other}` is nothing that a step knows"),
    })
}

fn unhex(text: &str) -> anyhow::Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "`{text}` is not hex");
    (0..text.len()).step_by(2).map(|at| Ok(u8::from_str_radix(&text[at..at + 2], 16)?)).collect()
}

impl Expected {
    /// Whether an answer has it; else what is wrong.
    pub fn check(&self, line: &Line) -> Result<(), String> {
        let found = line.bytes(&self.name);
        let shown = |bytes: Option<&[u8]>| match bytes {
            Some(bytes) => format!("`{}`", encode(&bytes[..bytes.len().min(200)])),
            None => "nothing".to_owned(),
        };
        let wanted = match &self.value {
            Wanted::Equal(value) if found == Some(value) => return Ok(()),
            Wanted::Equal(value) => shown(Some(value)),
            Wanted::Contains(text) => {
                let there =
                    found.map(String::from_utf8_lossy).is_some_and(|found| found.contains(text.as_str()));
                if there {
                    return Ok(());
                }
                format!("something with `{text}`")
            }
            Wanted::Min(min) => {
                if line.text(&self.name).and_then(|text| text.parse::<i64>().ok()).is_some_and(|n| n >= *min)
                {
                    return Ok(());
                }
                format!("{min} or more")
            }
            Wanted::Absent if found.is_none() => return Ok(()),
            Wanted::Absent => "nothing".to_owned(),
        };
        Err(format!("`{}` is {}, not {wanted}", self.name, shown(found)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scenario_is_read() -> anyhow::Result<()> {
        let text = r#"
            about = "What it proves"
            [topics.orders]
            partitions = 2
            config = { "max.message.bytes" = 1000 }
            [[steps]]
            do = "send"
            client = "p"
            value = { repeat = "ab", times = 2 }
            key = { hex = "00ff" }
            headers = [["a", "1"], ["a b"]]
            set = { "linger.ms" = 5 }
            fails = { name = "MESSAGE_TOO_LARGE", message = { contains = "orders" } }
        "#;
        let scenario = Scenario::parse("x", text)?;
        assert_eq!((scenario.topics[0].partitions, scenario.topics[0].config.len()), (2, 1));
        let step = &scenario.steps[0];
        assert_eq!(step.line.bytes("value"), Some(&b"abab"[..]));
        assert_eq!(step.line.bytes("key"), Some(&[0, 255][..]));
        assert_eq!(step.line.text("header.1"), Some("a%20b"));
        assert_eq!(step.line.text("set.linger.ms"), Some("5"));
        let Outcome::Error(fails) = &step.outcome else { bail!("it must fail") };
        let answer = Line::new("error").pair("name", "TIMEOUT").pair("message", "send to `orders`: x");
        let checks: Vec<_> = fails.iter().map(|pair| pair.check(&answer).is_ok()).collect();
        assert_eq!(checks.iter().filter(|is_ok| **is_ok).count(), 1, "{checks:?}");
        Ok(())
    }

    #[test]
    fn what_nobody_knows_is_refused() {
        assert!(Scenario::parse("x", "about = 'a'\nsteps = []\nmore = 1").is_err());
        assert!(Scenario::parse("x", "about = 'a'\n[[steps]]\nclient = 'p'").is_err());
    }
}
