//! `ottla group` on a broker: what it prints, what it changes, and what it leaves alone; and `ottla consume --group`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    path::Path,
    process::{Command, Output, Stdio},
};

use ottla_interop::{
    kafka::QUICK_GROUPS,
    program::Launch,
    wire::{self, TIMESTAMP, Wire},
};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{ConsumerGroupHeartbeatRequest, FindCoordinatorRequest},
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A broker whose groups wait for nobody.
fn with_groups(data: &Path) -> Launch {
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data).set("group.initial.rebalance.delay.ms", 0);
    QUICK_GROUPS.into_iter().fold(launch, |launch, (key, value)| launch.set(key, value))
}

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

#[test]
fn a_group_is_configured_before_it_is_there_and_its_members_hear_of_it_with_their_next_heartbeat() {
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path());
    let mut broker = launch.start();
    let key = "consumer.heartbeat.interval.ms";
    assert_eq!(text(&group(broker.address(), &format!("alter g --add-config {key}=6000"))), "");
    let mut wire = Wire::connect(broker.address());
    let find = FindCoordinatorRequest { coordinator_keys: vec!["g".into()], ..Default::default() };
    assert_eq!(wire.call(4, &find).coordinators[0].error_code, ErrorCode::NONE);
    wire.create_topic("orders", 1, &[]);
    let mut member = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "m".into(),
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["orders".into()]),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    };
    let mut interval_ms = |wire: &mut Wire| {
        let answer = wire.call(1, &member);
        assert_eq!(answer.error_code, ErrorCode::NONE, "{answer:?}");
        let going_on = ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: "m".into(),
            member_epoch: answer.member_epoch,
            ..Default::default()
        };
        member = going_on;
        answer.heartbeat_interval_ms
    };
    assert_eq!(interval_ms(&mut wire), 6000);
    text(&group(broker.address(), &format!("alter g --add-config {key}=7000")));
    assert_eq!(interval_ms(&mut wire), 7000);
    let described = objects(&group(broker.address(), "describe g --json"));
    assert_eq!(described[0]["configs"], json!({ key: "7000" }));

    let refused = refused(&group(broker.address(), &format!("alter g --add-config {key}=15001")));
    assert!(refused.contains("group.consumer.max.heartbeat.interval.ms"), "{refused}");
    broker.kill();
    broker = launch.start();
    let mut wire = Wire::connect(broker.address());
    assert_eq!(interval_ms(&mut wire), 7000, "it is in the metadata log");
    text(&group(broker.address(), &format!("alter g --delete-config {key}")));
    assert_eq!(interval_ms(&mut wire), 5000);
}

/// `ottla consume` with these words, ready to run.
fn consume(broker: SocketAddr, words: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(["consume", "--bootstrap-server", &broker.to_string()]).args(words.split(' '));
    command
}

#[test]
fn what_a_group_has_printed_is_not_printed_again() {
    let data = tempfile::tempdir().unwrap();
    let broker = with_groups(data.path()).start();
    let at = broker.address();
    let mut wire = Wire::connect(at);
    wire.create_topic("orders", 2, &[]);
    wire.create_topic("bills", 1, &[]);
    for (topic, partition, values) in
        [("orders", 0, &[b"1" as &[u8], b"2"][..]), ("orders", 1, &[b"3"]), ("bills", 0, &[b"4"])]
    {
        assert_eq!(wire.produce(topic, partition, &wire::batch(values)).error_code, ErrorCode::NONE);
    }

    let one = text(&consume(at, "orders --group g -n 1").output().unwrap());
    let rest = text(&consume(at, "orders --group g").output().unwrap());
    let mut printed: Vec<&str> = one.lines().chain(rest.lines()).collect();
    printed.sort_unstable();
    assert_eq!((one.lines().count(), printed), (1, vec!["1", "2", "3"]));
    let again = objects(&consume(at, "orders bills --group g --format json").output().unwrap());
    assert_eq!(again.len(), 1, "{again:?}");
    assert_eq!((&again[0]["topic"], &again[0]["value"]), (&json!("bills"), &json!("4")));
    assert!(text(&group(at, "lag g")).starts_with("g  Empty  lag 0\n"));

    let several = refused(&consume(at, "orders bills").output().unwrap());
    assert!(several.contains("add `--group`"), "{several}");
    assert_eq!(consume(at, "orders --group g --partition 1").output().unwrap().status.code(), Some(2));
}

#[test]
fn a_member_that_follows_leaves_its_group_when_told_to_stop() {
    let data = tempfile::tempdir().unwrap();
    let broker = with_groups(data.path()).start();
    let at = broker.address();
    let mut wire = Wire::connect(at);
    wire.create_topic("orders", 1, &[]);
    let mut member =
        consume(at, "orders --group g --follow --verbose").stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(member.stdout.take().unwrap());
    for (offset, value) in [b"a" as &[u8], b"b"].iter().enumerate() {
        assert_eq!(wire.produce("orders", 0, &wire::batch(&[*value])).error_code, ErrorCode::NONE);
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let value = String::from_utf8_lossy(value);
        assert_eq!(line, format!("0\t{offset}\t{TIMESTAMP}\tnull\t{value}\n"));
    }
    kill_process(Pid::from_child(&member), Signal::TERM).unwrap();
    assert!(member.wait().unwrap().success());
    let mut more = String::new();
    output.read_to_string(&mut more).unwrap();
    assert_eq!(more, "");
    assert!(text(&group(at, "lag g")).starts_with("g  Empty  lag 0\n"));
}
