//! Records `tests/frames`: what Apache Kafka's brokers say to each other and to the Java clients of many releases.
//!
//! `cargo run -p ottla-interop --bin record-frames` starts a cluster of three with a proxy before every port, lets
//! `java/AllApis.java` call whatever the newest clients can, stops and starts a node, and lets `java/OldClient.java` do
//! the common things with older and older clients, for the older versions of the messages. One frame is kept for each
//! API, version and direction.

mod proxy;

use std::{fs, process::Command};

use anyhow::{Context, ensure};
use ottla_interop::{
    java::ClassPath,
    kafka::{Kafka, Listener, Options, Ports},
    path,
};
use ottla_protocol::messages::ApiKey;
use proxy::{FrameKind, Frames, stand_between};

/// Client releases, newest first. 2.1 is the oldest that brokers of 4.x talk to (KIP-896).
const OLD_CLIENTS: &[&str] = &[
    "3.9.1", "3.7.2", "3.5.2", "3.3.2", "3.1.2", "2.8.2", "2.7.2", "2.6.3", "2.5.1", "2.4.1", "2.3.1",
    "2.2.2", "2.1.1",
];
const NODES: usize = 3;
/// Bytes on one line of a file.
const LINE_BYTES: usize = 48;

fn main() -> anyhow::Result<()> {
    let frames = Frames::without(names_of_this_machine());
    let ports: Vec<Ports> = (0..NODES)
        .map(|_| {
            let listeners = vec![stand_between(&frames)?, stand_between(&frames)?];
            Ok(Ports { listeners, controller: stand_between(&frames)? })
        })
        .collect::<anyhow::Result<_>>()?;
    let mut kafka = Kafka::start(Options {
        nodes: NODES,
        listeners: vec![
            Listener { name: "PLAINTEXT", protocol: "PLAINTEXT" },
            Listener { name: "SASL", protocol: "SASL_PLAINTEXT" },
        ],
        properties: properties(),
        ports: Some(ports),
        ..Options::default()
    })?;
    let addresses = [kafka.bootstrap(), kafka.bootstrap_of("SASL")?];

    drive(kafka.class_path(), "AllApis", &addresses)?;
    kafka.stop(NODES)?;
    // While a replica is away the others shrink the set in sync, and take it back when it has caught up.
    drive(kafka.class_path(), "AllApis", &addresses)?;
    kafka.start_again(NODES)?;
    drive(&ClassPath::of_project_with("clients", &[("kafka.version", "4.4.0")])?, "AllApis", &addresses)?;
    for release in OLD_CLIENTS {
        drive(
            &ClassPath::of_project_with("clients", &[("kafka.version", release)])?,
            "OldClient",
            &addresses,
        )
        .with_context(|| format!("clients {release}"))?;
        say(&format!("clients {release}: {} frames so far", frames.kept().len()));
    }
    for node in 1..=NODES {
        kafka.stop(node)?;
    }
    write(&frames)
}

fn properties() -> Vec<(String, String)> {
    let plain = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"secret\";";
    let scram = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    [
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256"),
        ("listener.name.sasl.plain.sasl.jaas.config", plain),
        ("listener.name.sasl.scram-sha-256.sasl.jaas.config", scram),
        ("delegation.token.secret.key", "not so secret"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS;User:alice"),
        ("allow.everyone.if.no.acl.found", "true"),
        ("replica.lag.time.max.ms", "3000"),
        ("transaction.max.timeout.ms", "60000"),
    ]
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .into()
}

fn drive(class_path: &ClassPath, program: &str, addresses: &[String]) -> anyhow::Result<()> {
    let class_path = class_path.with_compiled(&format!("{program}.java"))?;
    let mut java = class_path.command(&["-Xmx256m", "-XX:TieredStopAtLevel=1"], program)?;
    let status = java.args(addresses).status().context("running java")?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// What must not get into a public file: the name of the host, and where its files lie.
fn names_of_this_machine() -> Vec<String> {
    let host =
        Command::new("hostname").output().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_owned());
    let mut names = vec![std::env::temp_dir().display().to_string(), path("").display().to_string()];
    names.extend(host.ok().filter(|name| name.len() > 3 && name != "localhost"));
    names
}

fn write(frames: &Frames) -> anyhow::Result<()> {
    let directory = path("tests/frames");
    for entry in fs::read_dir(&directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "hex") {
            fs::remove_file(path)?;
        }
    }
    let (mut written, mut apis) = (0, std::collections::BTreeSet::new());
    for (kind, frame) in frames.kept().iter() {
        let Some(name) = file_name(*kind) else { continue };
        let lines = frame.chunks(LINE_BYTES).map(|line| {
            let mut text: String = line.iter().map(|byte| format!("{byte:02x}")).collect();
            text.push('\n');
            text
        });
        fs::write(directory.join(name), lines.collect::<String>())?;
        written += 1;
        apis.insert(kind.0);
    }
    say(&format!("{written} frames of {} APIs", apis.len()));
    let missing: Vec<&str> =
        ApiKey::ALL.iter().filter(|key| !apis.contains(&(**key as i16))).map(|key| key.name()).collect();
    say(&format!("none of {}", missing.join(", ")));
    Ok(())
}

/// `03_metadata_request_v12.hex`; `None` for an API that is not known.
fn file_name((key, version, response): FrameKind) -> Option<String> {
    let name = xtask::codegen::schema::snake_case(ApiKey::from_i16(key)?.name());
    let direction = if response { "response" } else { "request" };
    Some(format!("{key:02}_{name}_{direction}_v{version}.hex"))
}

#[allow(clippy::print_stderr, reason = "a program for the terminal")]
fn say(what: &str) {
    eprintln!("{what}");
}
