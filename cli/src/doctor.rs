//! `ottla doctor`: the way to a cluster step by step, a record there and back, and what is wrong with them.
//!
//! The way is the core's ([`Doctor`]); the record goes by the same clients as everybody's. What fails is told in the clients'
//! own words: here is no second opinion.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Context;
use jiff::Timestamp;
use ottla::{
    Admin, Consumer, Error, ErrorCode, ErrorKind, NewTopic, Producer, Record, RecordMetadata, Settings,
    TopicPartition,
    config::{AdminConfig, ConsumerConfig, ProducerConfig},
    doctor::{Diagnosis, Doctor, Outcome, Step},
};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use crate::client::{self, ClientArgs};

/// Longest time for each step with a record.
const STEP_MAX: Duration = Duration::from_secs(15);
/// Difference between two clocks that is a finding: more than a round trip, less than what makes certificates and sessions fail.
const SKEW_MAX_MS: i64 = 10_000;
/// What is written.
const VALUE: &str = "ottla doctor";
/// Records that are taken at once, where others have written to the topic, too.
const RECORDS_MAX: usize = 100;

/// Say why it does not connect: look at each step of the way to a cluster, and send a record there and back.
///
/// Goes to each bootstrap server, then to each broker where it says that it listens: name, socket, TLS, versions, login,
/// metadata. Then it makes a topic, writes a record, reads it, and deletes the topic. Exit code 0: all is well; 1: something was
/// found.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    client: ClientArgs,
    /// Write the record to this topic, instead of one that is made and deleted. The record stays there.
    #[arg(long, short, value_name = "TOPIC")]
    topic: Option<String>,
    /// Print JSON, an object a step.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let settings = args.client.settings(&[]);
    // A key that is not known is told as by every verb.
    let (config, warnings) = AdminConfig::from_settings(&settings)?;
    let mut report = Report { is_json: args.json, is_colored: is_colored(), findings: 0 };
    client::run(async {
        let began = Instant::now();
        let read = Doctor::new(config.clone());
        let mut step = match &read {
            Ok(_) => Step::well("configuration", "", "read"),
            Err(error) => Step::wrong("configuration", "", diagnosis(error)),
        };
        step.found.extend(warnings.iter().map(|warning| ("warning", warning.to_string())));
        report.tell(step.after(began.elapsed()))?;
        let mut failed = None;
        let is_open = match read {
            Ok(doctor) => {
                doctor.examine(|step| failed = report.tell(step).err().or_else(|| failed.take())).await
            }
            Err(_) => false,
        };
        if let Some(error) = failed {
            return Err(error);
        }
        if is_open {
            Trip { settings: &settings, topic: args.topic.as_deref(), report: &mut report }.go().await?;
        } else {
            for name in ["topic", "produce", "fetch", "clock"] {
                report.tell(Step::not_tried(
                    name,
                    "",
                    "no broker can be reached where it says that it is",
                ))?;
            }
        }
        report.end()
    })
}

/// A record's way there and back.
struct Trip<'a> {
    settings: &'a Settings,
    topic: Option<&'a str>,
    report: &'a mut Report,
}

impl Trip<'_> {
    async fn go(mut self) -> anyhow::Result<()> {
        let (admin, _) = AdminConfig::from_settings(self.settings)?;
        let user = user(&admin);
        let admin = Admin::new(AdminConfig {
            default_api_timeout: STEP_MAX.min(admin.default_api_timeout),
            ..admin
        })?;
        let own = match self.topic {
            Some(_) => None,
            None => {
                Some(format!("ottla-doctor-{}-{}", Timestamp::now().as_microsecond(), std::process::id()))
            }
        };
        let topic = match (self.topic, &own) {
            (Some(topic), _) => topic.to_owned(),
            (None, Some(own)) if self.create(&admin, own, &user).await? => own.clone(),
            _ => {
                for name in ["produce", "fetch", "clock"] {
                    self.report.tell(Step::not_tried(name, "", "there is no topic to write to"))?;
                }
                return Ok(());
            }
        };
        if let Some(written) = self.produce(&topic, own.is_some(), &user).await? {
            self.fetch(&topic, &written, &user).await?;
        }
        if let Some(own) = own {
            self.delete(&admin, &own, &user).await?;
        }
        Ok(())
    }

    /// Makes a topic in which the broker's clock can be read. Answers whether it is there.
    async fn create(&mut self, admin: &Admin, topic: &str, user: &str) -> anyhow::Result<bool> {
        let began = Instant::now();
        let mut new = NewTopic::new(topic).partitions(1);
        new.configs = vec![("message.timestamp.type".to_owned(), "LogAppendTime".to_owned())];
        let created = admin.create_topic(new).await;
        let step = match &created {
            Ok(_) => Step::well("topic", topic, "made"),
            Err(error) => {
                let mut diagnosis = diagnosis(error);
                if is_forbidden(error) {
                    diagnosis.fix = Some(format!(
                        "name a topic that `{user}` may write to by `--topic`, or let it make topics: `ottla acl add \
                         --allow-principal {user} --operation Create --cluster`"
                    ));
                }
                Step::wrong("topic", topic, diagnosis)
            }
        };
        self.report.tell(step.after(began.elapsed()))?;
        Ok(created.is_ok())
    }

    /// Writes a record; a topic of its own tells the broker's time.
    async fn produce(
        &mut self,
        topic: &str,
        is_own: bool,
        user: &str,
    ) -> anyhow::Result<Option<RecordMetadata>> {
        let (config, _) = ProducerConfig::from_settings(self.settings)?;
        let request_timeout = config.request_timeout.min(STEP_MAX / 2);
        let producer = Producer::new(ProducerConfig {
            max_block: STEP_MAX,
            request_timeout,
            delivery_timeout: STEP_MAX,
            linger: Duration::ZERO,
            // Without it nobody would know of the record's fate.
            acks: ottla::config::Acks::All,
            ..config
        })?;
        let (began, before) = (Instant::now(), Timestamp::now().as_millisecond());
        let written = async { producer.send(Record::to(topic).key(VALUE).value(VALUE)).await?.await }.await;
        let (took, after) = (began.elapsed(), Timestamp::now().as_millisecond());
        let written = match written {
            Ok(written) => written,
            Err(error) => {
                let fix =
                    format!("`ottla acl add --allow-principal {user} --operation Write --topic {topic}`");
                let step = Step::wrong("produce", topic, with_acl(&error, &fix));
                self.report.tell(step.after(took))?;
                for name in ["fetch", "clock"] {
                    self.report.tell(Step::not_tried(name, topic, "`produce` went wrong"))?;
                }
                return Ok(None);
            }
        };
        let mut step = Step::well("produce", topic, "written");
        step.found.push(("partition", written.partition.to_string()));
        step.found.push(("offset", written.offset.to_string()));
        self.report.tell(step.after(took))?;
        let clock = match is_own {
            true => clock(before, written.timestamp, after),
            false => Step::not_tried(
                "clock",
                "",
                "a topic of its own would tell the broker's time, without `--topic`",
            ),
        };
        self.report.tell(clock)?;
        Ok(Some(written))
    }

    async fn fetch(&mut self, topic: &str, written: &RecordMetadata, user: &str) -> anyhow::Result<()> {
        let (config, _) = ConsumerConfig::from_settings(self.settings)?;
        // In no group: nothing is committed in anybody's name.
        let consumer = Consumer::new(ConsumerConfig { group_id: None, ..config })?;
        let tp = TopicPartition::new(topic, written.partition);
        let began = Instant::now();
        consumer.assign([tp.clone()])?;
        consumer.seek(&tp, written.offset.max(0))?;
        let read = timeout(STEP_MAX, read(&consumer, written.offset)).await;
        let took = began.elapsed();
        let step = match read {
            Ok(Ok(())) => Step::well("fetch", topic, "read"),
            Ok(Err(error)) => {
                let fix =
                    format!("`ottla acl add --allow-principal {user} --operation Read --topic {topic}`");
                Step::wrong("fetch", topic, with_acl(&error, &fix))
            }
            Err(_) => Step::wrong(
                "fetch",
                topic,
                Diagnosis::new(
                    format!("the record was written, and could not be read within {} s", STEP_MAX.as_secs()),
                    "look at the log of the partition's leader, and whether its replicas are in sync (`ottla topic \
                     describe`)",
                ),
            ),
        };
        self.report.tell(step.after(took))
    }

    async fn delete(&mut self, admin: &Admin, topic: &str, user: &str) -> anyhow::Result<()> {
        let began = Instant::now();
        let deleted = admin.delete_topics([topic]).await.and_then(|mut each| each.remove(0).1);
        let step = match deleted {
            Ok(_) => Step::well("delete", topic, "deleted"),
            Err(error) => {
                let Diagnosis { cause, .. } = diagnosis(&error);
                let fix = match is_forbidden(&error) {
                    true => format!(
                        "have it deleted, and name a topic by `--topic` next time; or `ottla acl add --allow-principal \
                         {user} --operation Delete --topic {topic}`"
                    ),
                    false => format!("delete it: `ottla topic delete {topic}`"),
                };
                Step::wrong("delete", topic, Diagnosis::new(cause, fix))
            }
        };
        self.report.tell(step.after(began.elapsed()))
    }
}

/// Reads until the record at `offset` comes; others of the topic may be before it.
async fn read(consumer: &Consumer, offset: i64) -> ottla::Result<()> {
    loop {
        let batch = consumer.next_batch(RECORDS_MAX).await?;
        for record in &batch {
            let record = record?;
            if record.offset() >= offset && record.value() == Some(VALUE.as_bytes()) {
                return Ok(());
            }
        }
    }
}

/// As whom the client is known, as far as it knows that itself.
fn user(config: &AdminConfig) -> String {
    match &config.sasl_username {
        Some(user) => format!("User:{user}"),
        None => "User:NAME".to_owned(),
    }
}

/// What the broker's time, told between two looks at one's own clock, says of both.
fn clock(before_ms: i64, broker_ms: i64, after_ms: i64) -> Step {
    let skew_ms = match broker_ms {
        at if at < before_ms => at - before_ms,
        at if at > after_ms => at - after_ms,
        _ => 0,
    };
    let seconds = skew_ms.unsigned_abs() as f64 / 1_000.0;
    let step = if skew_ms.abs() > SKEW_MAX_MS {
        let side = if skew_ms > 0 { "behind" } else { "ahead of" };
        Step::wrong(
            "clock",
            "",
            Diagnosis::new(
                format!("the clock of this machine is {seconds:.1} s {side} the broker's"),
                "set both by NTP: certificates, timestamps of records, and what is looked up by time hang on them",
            ),
        )
    } else {
        Step::well("clock", "", "as the broker's")
    };
    Step { found: vec![("apart", format!("{seconds:.3} s at least"))], ..step }
}

fn diagnosis(error: &Error) -> Diagnosis {
    Diagnosis { cause: error.what_happened(), fix: error.what_to_do().map(str::to_owned) }
}

/// As [`diagnosis`], with the command that allows what is forbidden.
fn with_acl(error: &Error, allow: &str) -> Diagnosis {
    let mut diagnosis = diagnosis(error);
    if is_forbidden(error) {
        diagnosis.fix = Some(allow.to_owned());
    }
    diagnosis
}

fn is_forbidden(error: &Error) -> bool {
    let codes = [ErrorCode::TOPIC_AUTHORIZATION_FAILED, ErrorCode::CLUSTER_AUTHORIZATION_FAILED];
    matches!(error.kind(), ErrorKind::Broker(code) if codes.contains(&code))
}

/// Where steps are told, and what is counted of them.
struct Report {
    is_json: bool,
    is_colored: bool,
    findings: u32,
}

impl Report {
    fn tell(&mut self, step: Step) -> anyhow::Result<()> {
        self.findings += u32::from(matches!(step.outcome, Outcome::Wrong(_)));
        let line = match self.is_json {
            true => as_json(&step).to_string(),
            false => self.as_text(&step),
        };
        let mut out = io::stdout().lock();
        // Each step is seen when it is done, also through a pipe.
        writeln!(out, "{line}").and_then(|()| out.flush()).context("writing to standard output")
    }

    fn end(&self) -> anyhow::Result<ExitCode> {
        if !self.is_json {
            let said = match self.findings {
                0 => "all is well".to_owned(),
                1 => "one thing was found".to_owned(),
                more => format!("{more} things were found"),
            };
            writeln!(io::stdout(), "{said}").context("writing to standard output")?;
        }
        Ok(if self.findings == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn as_text(&self, step: &Step) -> String {
        let (color, word) = match step.outcome {
            Outcome::Well => ("32", "ok"),
            Outcome::Wrong(_) => ("31;1", "WRONG"),
            Outcome::NotTried(_) => ("2", "-"),
        };
        let word = match self.is_colored {
            true => format!("\x1b[{color}m{word:5}\x1b[0m"),
            false => format!("{word:5}"),
        };
        let found = step.found.iter().filter(|(_, value)| !value.is_empty());
        let found =
            found.map(|(name, value)| format!("{name} {}", value.escape_debug()).trim_start().to_owned());
        let said = match &step.outcome {
            Outcome::NotTried(why) => format!("not tried: {why}"),
            _ => found.collect::<Vec<_>>().join(", "),
        };
        let took = match step.took {
            Duration::ZERO => String::new(),
            took => format!("({:.1} ms)", took.as_secs_f64() * 1_000.0),
        };
        let parts = [word, format!("{:13}", step.name), step.target.escape_debug().to_string(), said, took];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let mut line = parts.join("  ").trim_end().to_owned();
        if let Outcome::Wrong(Diagnosis { cause, fix }) = &step.outcome {
            line += &format!("\n       why: {cause}");
            if let Some(fix) = fix {
                line += &format!("\n       fix: {fix}");
            }
        }
        line
    }
}

fn as_json(step: &Step) -> Value {
    let mut fields = Map::new();
    fields.insert("step".into(), step.name.into());
    fields.insert("target".into(), step.target.clone().into());
    let (outcome, more) = match &step.outcome {
        Outcome::Well => ("well", Vec::new()),
        Outcome::Wrong(Diagnosis { cause, fix }) => {
            ("wrong", vec![("cause", json!(cause)), ("fix", json!(fix))])
        }
        Outcome::NotTried(why) => ("not tried", vec![("why", json!(why))]),
    };
    fields.insert("outcome".into(), outcome.into());
    fields.insert("ms".into(), json!((step.took.as_secs_f64() * 1e6).round() / 1e3));
    let found = step.found.iter().filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let found: Map<String, Value> =
        found.map(|(name, value)| ((*name).to_owned(), Value::from(value.as_str()))).collect();
    if !found.is_empty() {
        fields.insert("found".into(), found.into());
    }
    fields.extend(more.into_iter().map(|(name, value)| (name.to_owned(), value)));
    Value::Object(fields)
}

/// Whether somebody looks at it, who has not said that colours are unwanted (<https://no-color.org>).
fn is_colored() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_apart_by_what_a_round_trip_does_not_explain() {
        let said = |broker_ms| match clock(1_000_000, broker_ms, 1_000_200).outcome {
            Outcome::Wrong(diagnosis) => Some(diagnosis.cause),
            _ => None,
        };
        for near in [1_000_000, 1_000_100, 1_000_200, 990_000, 1_010_200] {
            assert_eq!(said(near), None, "{near}");
        }
        assert_eq!(
            said(1_072_200).as_deref(),
            Some("the clock of this machine is 72.0 s behind the broker's")
        );
        assert_eq!(
            said(988_000).as_deref(),
            Some("the clock of this machine is 12.0 s ahead of the broker's")
        );
    }

    #[test]
    fn a_finding_is_a_line_with_why_and_fix_and_cannot_harm_a_terminal() {
        let report = Report { is_json: false, is_colored: false, findings: 0 };
        let mut step = Step::wrong("tls", "a:1", Diagnosis::new("it has expired", "renew it"));
        assert_eq!(
            report.as_text(&step),
            "WRONG  tls            a:1\n       why: it has expired\n       fix: renew it"
        );
        step.outcome = Outcome::Well;
        step.found = vec![("certificate", "CN=\u{1b}[2J".to_owned()), ("", "fine".to_owned())];
        assert_eq!(report.as_text(&step), "ok     tls            a:1  certificate CN=\\u{1b}[2J, fine");
        assert_eq!(as_json(&step)["found"], json!({ "certificate": "CN=\u{1b}[2J" }));
    }
}
