//! The stream with every service played by the Rust client, on a broker in this process: no other language is needed.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test fails where it stands")]

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Output},
};

use ottla_interop::broker::TestBroker;
use ottla_one_bus::plan::{Part, Plan, Program, SERVICES};

const STAGE: &str = env!("CARGO_BIN_EXE_ottla-one-bus");

/// Runs the stream with stand-ins for all but those in `programs`, which are scripts for a shell.
fn stream(orders: u64, programs: &[(&str, &str)]) -> Output {
    let broker = TestBroker::start(&[
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.heartbeat.interval.ms", "100"),
        ("group.consumer.assignment.interval.ms", "0"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let part = |name: &str| {
        let script =
            programs.iter().find(|(service, _)| *service == name).map(|(_, script)| script.to_string());
        let program = script.map(|script| Program {
            file: "sh".into(),
            args: vec!["-c".into(), script],
            env: BTreeMap::new(),
        });
        (name.to_owned(), Part { language: "Shell".into(), program })
    };
    let plan = Plan {
        bootstrap: broker.bootstrap(),
        orders,
        per_second: orders,
        picture: Some(directory.path().join("one-bus.svg")),
        cast: SERVICES.iter().map(|service| part(service.name)).collect(),
    };
    let file = directory.path().join("plan.json");
    fs::write(&file, serde_json::to_vec(&plan).unwrap()).unwrap();
    let output = Command::new(STAGE).arg("run").arg(&file).output().unwrap();
    let drawn = directory.path().join("one-bus.svg").exists();
    assert_eq!(drawn, output.status.success(), "{output:?}");
    output
}

#[test]
fn every_order_goes_through_all_services_once_though_a_member_joins_meanwhile() {
    let output = stream(3_000, &[]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    for (group, topic) in [("pricing", "orders"), ("billing", "priced"), ("shipping", "invoices")] {
        let line = text.lines().find(|line| line.starts_with(&format!("audited    {group}"))).unwrap();
        assert!(line.contains(&format!("3,000 records of {topic}")), "{line}");
    }
    assert!(text.contains("replaced   billing: Rust in Shell's place"), "{text}");
    assert!(text.contains("replaced   revenue: left out, for want of Shell"), "{text}");
}

#[test]
fn orders_that_were_never_written_are_missed() {
    let output = stream(100, &[("gateway", "echo wrote orders 100 4711")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("`orders` holds 0 records of checksum 0, but 100 records"), "{text}");
    assert!(text.contains("`orders` lacks 0, 1, 2, 3, 4 and 95 others"), "{text}");
}

#[test]
fn a_service_that_dies_is_named_with_its_last_words() {
    let output = stream(100, &[("pricing", "echo no prices today >&2; exit 3")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("service `pricing` (Shell): it failed: exit status: 3"), "{text}");
    assert!(text.contains("no prices today"), "{text}");
}

#[test]
fn a_service_that_ends_though_nobody_asked_it_to_is_a_failure() {
    let output = stream(100, &[("pricing", "exit 0")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("service `pricing` (Shell): it ended by itself"), "{text}");
}
