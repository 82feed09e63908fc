//! Kafka's codec as a process: questions go in, answers come out, in the same order.

use std::{
    io::{BufRead, BufReader, BufWriter, Write},
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use ottla_interop::java::ClassPath;
use serde_json::{Value, json};

/// One message in one version: what Kafka is to make of it.
pub(crate) struct Question {
    pub(crate) message: String,
    pub(crate) version: i16,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    /// To be written and read back.
    Json(Value),
    /// To be read.
    Bytes(Bytes),
}

/// What Kafka says.
pub(crate) struct Answer {
    /// What it wrote, if it was given JSON.
    pub(crate) bytes: Option<Bytes>,
    /// What it reads in the bytes, or why it refuses.
    pub(crate) read: Result<Value, String>,
}

/// The process of `java/Oracle.java`.
pub(crate) struct Oracle {
    child: Child,
    /// `None` once the process was told to end.
    questions: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Oracle {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let class_path = ClassPath::of_project("oracle")?.with_compiled("Oracle.java")?;
        let mut java = class_path.command(&["-Xmx512m", "-XX:+UseSerialGC", "-Xss4m"], "Oracle")?;
        let mut child = java.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("starting java")?;
        let questions = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self { child, questions, answers })
    }

    /// Asks all `questions`; `hear` is given each with its answer. One thread writes while this one reads, so neither
    /// pipe can fill and stop both sides.
    pub(crate) fn ask(
        &mut self,
        questions: &[Question],
        mut hear: impl FnMut(&Question, Answer) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let stdin = self.questions.as_mut().context("the process has ended")?;
        let answers = &mut self.answers;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || -> std::io::Result<()> {
                let mut out = BufWriter::with_capacity(1 << 16, stdin);
                for question in questions {
                    serde_json::to_writer(&mut out, &question.line())?;
                    out.write_all(b"\n")?;
                }
                out.flush()
            });
            let mut heard = Ok(());
            for question in questions {
                let mut line = String::new();
                ensure!(answers.read_line(&mut line)? > 0, "Kafka's codec died at {}", question.name());
                let answer = Answer::parse(&line).with_context(|| question.name())?;
                // After a failure the rest is still taken off the pipe, or the writing would never end.
                if heard.is_ok() {
                    heard = hear(question, answer).with_context(|| question.name());
                }
            }
            writing.join().map_err(|_| anyhow::anyhow!("writing the questions panicked"))??;
            heard
        })
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        self.questions = None;
        let _ = self.child.wait();
    }
}

impl Question {
    pub(crate) fn name(&self) -> String {
        format!("{} v{}", self.message, self.version)
    }

    fn line(&self) -> Value {
        match &self.content {
            Content::Json(json) => {
                json!({ "message": self.message, "version": self.version, "json": json })
            }
            Content::Bytes(bytes) => {
                json!({ "message": self.message, "version": self.version, "bytes": STANDARD.encode(bytes) })
            }
        }
    }
}

impl Answer {
    fn parse(line: &str) -> anyhow::Result<Self> {
        let mut answer: Value = serde_json::from_str(line)?;
        let bytes = match answer.get("bytes").and_then(Value::as_str) {
            Some(text) => Some(STANDARD.decode(text)?.into()),
            None => None,
        };
        let read = match answer.get("error") {
            Some(error) => Err(error.as_str().unwrap_or_default().to_owned()),
            None => Ok(answer.get_mut("json").map(Value::take).context("an answer has `json` or `error`")?),
        };
        Ok(Self { bytes, read })
    }
}
