//! `ottla group` on a broker: what it prints, what it changes, and what it leaves alone.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    net::SocketAddr,
    process::{Command, Output},
};

use ottla_interop::{
    program::Launch,
    wire::{self, TIMESTAMP, Wire},
};
use ottla_protocol::error_code::ErrorCode;
use serde_json::{Value, json};

/// Runs `ottla group` with these words.
fn group(broker: SocketAddr, words: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(["group", "--bootstrap-server", &broker.to_string()]).args(words.split(' '));
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    text(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn refused(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn a_group_is_moved_only_when_told_to_and_its_lag_follows() {
    let data = tempfile::tempdir().unwrap();
    let broker = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path()).start();
    let at = broker.address();
    let mut wire = Wire::connect(at);
    wire.create_topic("orders", 2, &[]);
    for (partition, values) in [(0, &[b"1" as &[u8], b"2", b"3", b"4"][..]), (1, &[b"5"])] {
        assert_eq!(wire.produce("orders", partition, &wire::batch(values)).error_code, ErrorCode::NONE);
    }

    let moved = |partition: i32, from: Option<i64>, to: i64, executed: bool| {
        json!({
            "group": "g", "topic": "orders", "partition": partition, "from": from, "to": to, "executed": executed,
        })
    };
    let dry = group(at, "reset-offsets g --topic orders --to-offset 2 --json");
    assert_eq!(objects(&dry), [moved(0, None, 2, false), moved(1, None, 1, false)]);
    assert_eq!(text(&group(at, "list")), "", "nothing was changed");

    let done = group(at, "reset-offsets g --topic orders --to-offset 2 --execute --json");
    assert_eq!(objects(&done), [moved(0, None, 2, true), moved(1, None, 1, true)]);
    let listed = json!({ "group": "g", "state": "Empty", "type": "classic", "protocol_type": "" });
    assert_eq!(objects(&group(at, "list --json")), [listed]);
    assert_eq!(text(&group(at, "list --state stable")), "");
    let lag = |partition: i32, committed: i64, end: i64| {
        json!({
            "group": "g", "topic": "orders", "partition": partition, "committed": committed, "end": end,
            "lag": end - committed, "member": null,
        })
    };
    assert_eq!(objects(&group(at, "lag g --json")), [lag(0, 2, 4), lag(1, 1, 1)]);
    let described = objects(&group(at, "describe g --json"));
    assert_eq!((&described[0]["state"], &described[0]["lag"]), (&json!("Empty"), &json!(2)));

    let shifted = group(at, "reset-offsets g --all-topics --shift-by -1 --execute --json");
    assert_eq!(objects(&shifted), [moved(0, Some(2), 1, true), moved(1, Some(1), 0, true)]);
    let earliest = group(at, "reset-offsets g --topic orders:0 --to-earliest --json");
    assert_eq!(objects(&earliest), [moved(0, Some(1), 0, false)]);
    let latest = group(at, "reset-offsets g --topic orders:0 --to-latest --json");
    assert_eq!(objects(&latest), [moved(0, Some(1), 4, false)]);

    // All records are of one time, long ago.
    let before = jiff::Timestamp::from_millisecond(TIMESTAMP - 1).unwrap();
    let since = group(at, &format!("reset-offsets g --topic orders:0 --to-datetime {before} --json"));
    assert_eq!(objects(&since), [moved(0, Some(1), 0, false)]);
    let hour = group(at, "reset-offsets g --topic orders:0 --by-duration PT1H --json");
    assert_eq!(objects(&hour), [moved(0, Some(1), 4, false)], "none is that new: behind the last");

    let shown = text(&group(at, "reset-offsets g --topic orders:0 --to-latest"));
    assert_eq!(
        shown,
        "  topic   partition  from  to\n  orders          0     1   4\nnothing was changed; add `--execute` to do it\n"
    );
    assert_eq!(
        text(&group(at, "lag g")),
        "g  Empty  lag 4\n  topic   partition  committed  end  lag  member\n  orders          0          1    4    3       -\n  \
         orders          1          0    1    1       -\n"
    );

    text(&group(at, "delete g"));
    assert!(refused(&group(at, "describe g")).contains("describe group `g`"));
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path()).start();
    let at = broker.address();
    Wire::connect(at).create_topic("orders", 1, &[]);

    let shift = refused(&group(at, "reset-offsets g --topic orders --shift-by 1"));
    assert!(shift.contains("cannot shift `orders-0`: nothing is committed"), "{shift}");
    let missing = refused(&group(at, "reset-offsets g --topic orders:0,7 --to-latest"));
    assert!(missing.contains("topic `orders` has no partition `7`"), "{missing}");
    let time = refused(&group(at, "reset-offsets g --topic orders --to-datetime noon"));
    assert!(time.contains("`noon` is no time"), "{time}");
    for words in [
        "reset-offsets g --topic orders",
        "reset-offsets g --to-latest",
        "reset-offsets g --topic orders --to-latest --to-earliest",
        "reset-offsets g --topic orders --all-topics --to-latest",
    ] {
        assert_eq!(group(at, words).status.code(), Some(2), "{words}");
    }
}
