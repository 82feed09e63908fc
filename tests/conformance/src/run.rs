//! A scenario, run by one language against one broker.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use ottla::{Admin, NewTopic, config::AdminConfig};

use crate::{
    brokers::Target,
    line::Line,
    runner::{Answer, Runner},
    scenario::{Expected, Outcome, Scenario, Step},
};

/// Arguments that are names of the run: those of topics, of partitions, and of groups.
const NAMES: [&str; 6] = ["topic", "topics", "partition", "partitions", "group", "set.group.id"];
/// Whose `partition` is a number, and not a topic's.
const OF_A_TOPIC: [&str; 3] = ["send", "send_later", "send_many"];

/// For so long a step that is to hold `eventually` is asked again.
const EVENTUALLY_MAX: Duration = Duration::from_secs(20);
/// How long it is left alone before it is asked again.
const ASK_INTERVAL: Duration = Duration::from_millis(20);

/// Runs it, and says where it goes wrong.
pub fn run(scenario: &Scenario, runner: Runner, target: &mut dyn Target) -> anyhow::Result<()> {
    let mut course = Course { prefix: unique(), runner, target };
    course.make_topics(scenario)?;
    for (number, step) in scenario.steps.iter().enumerate() {
        course.step(step).with_context(|| format!("step {}, `{}`", number + 1, shown(&step.line)))?;
    }
    course.runner.end()
}

/// A step for people: without what is long.
fn shown(line: &Line) -> String {
    const CHARS_MAX: usize = 120;
    let text = line.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// A prefix that no other run has: brokers live no longer than this process.
fn unique() -> String {
    static RUNS: AtomicU32 = AtomicU32::new(0);
    format!("run{}.", RUNS.fetch_add(1, Ordering::Relaxed))
}

struct Course<'a> {
    prefix: String,
    runner: Runner,
    target: &'a mut dyn Target,
}

impl Course<'_> {
    fn make_topics(&self, scenario: &Scenario) -> anyhow::Result<()> {
        if scenario.topics.is_empty() {
            return Ok(());
        }
        let topics = scenario.topics.iter().map(|topic| {
            let new = NewTopic::new(format!("{}{}", self.prefix, topic.name)).partitions(topic.partitions);
            topic.config.iter().fold(new, |new, (key, value)| new.config(key, value))
        });
        let config =
            AdminConfig { bootstrap_servers: vec![self.target.bootstrap()], ..AdminConfig::default() };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(async {
            let admin = Admin::new(config)?;
            for (name, created) in admin.create_topics(topics.collect::<Vec<_>>(), false).await? {
                created.with_context(|| name)?;
            }
            Ok(())
        })
    }

    fn step(&mut self, step: &Step) -> anyhow::Result<()> {
        if step.line.word == "broker" {
            return self.target.act(step.line.need("action")?);
        }
        let line = self.named(&step.line);
        let end = Instant::now() + EVENTUALLY_MAX;
        loop {
            let mut answer = self.runner.ask(&line)?;
            for line in answer.records.iter_mut().chain([&mut answer.line]) {
                self.unname(line);
            }
            let checked = check(step, &answer);
            if checked.is_ok() || !step.is_eventual || Instant::now() >= end {
                return checked;
            }
            std::thread::sleep(ASK_INTERVAL);
        }
    }

    /// The line with the names of this run, and where the broker is.
    fn named(&self, line: &Line) -> Line {
        let mut named = Line::new(line.word.clone());
        for (name, value) in &line.pairs {
            let is_name = NAMES.contains(&name.as_str())
                && !(name == "partition" && OF_A_TOPIC.contains(&line.word.as_str()))
                && !(name == "partitions" && line.bytes("topic").is_some());
            let value = match std::str::from_utf8(value) {
                Ok(text) if is_name => {
                    let names: Vec<_> = text.split(',').map(|n| format!("{}{n}", self.prefix)).collect();
                    names.join(",").into_bytes()
                }
                Ok(text) if name == "pattern" => format!("{}{text}", self.prefix).into_bytes(),
                _ => value.clone(),
            };
            named = named.pair(name.as_str(), value);
        }
        if ["producer", "consumer", "admin"].contains(&line.word.as_str())
            && line.bytes("set.bootstrap.servers").is_none()
        {
            named = named.pair("set.bootstrap.servers", self.target.bootstrap());
        }
        named
    }

    /// Takes the prefix out of an answer.
    fn unname(&self, line: &mut Line) {
        for (_, value) in &mut line.pairs {
            if let Ok(text) = std::str::from_utf8(value)
                && text.contains(&self.prefix)
            {
                *value = text.replace(&self.prefix, "").into_bytes();
            }
        }
    }
}

fn check(step: &Step, answer: &Answer) -> anyhow::Result<()> {
    let (word, expected) = match &step.outcome {
        Outcome::Ok(expected) => ("ok", expected),
        Outcome::Error(expected) => ("error", expected),
    };
    ensure!(answer.line.word == word, "it should say `{word}`, and says `{}`", answer.line);
    check_pairs(expected, &answer.line)?;
    check_order(&answer.records)?;
    let Some(wanted) = &step.records else { return Ok(()) };
    let mut records: Vec<&Line> = answer.records.iter().collect();
    records.sort_by_key(|record| place(record).ok());
    for (number, (wanted, record)) in wanted.iter().zip(&records).enumerate() {
        check_pairs(wanted, record).with_context(|| format!("record {}", number + 1))?;
    }
    ensure!(wanted.len() == records.len(), "{} records came, not {}", records.len(), wanted.len());
    Ok(())
}

fn check_pairs(expected: &[Expected], line: &Line) -> anyhow::Result<()> {
    for pair in expected {
        if let Err(why) = pair.check(line) {
            bail!("{why}, in `{}`", shown(line));
        }
    }
    Ok(())
}

/// The records of a partition came in its order, and none twice.
fn check_order(records: &[Line]) -> anyhow::Result<()> {
    let mut last: HashMap<(String, i64), i64> = HashMap::new();
    for record in records {
        let (topic, partition, offset) = place(record)?;
        if let Some(before) = last.insert((topic, partition), offset) {
            ensure!(before < offset, "`{}` came after offset {before}", shown(record));
        }
    }
    Ok(())
}

fn place(record: &Line) -> anyhow::Result<(String, i64, i64)> {
    let number = |name| record.number(name)?.with_context(|| format!("a record has `{name}`"));
    Ok((record.need("topic")?.to_owned(), number("partition")?, number("offset")?))
}
