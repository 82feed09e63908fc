//! What a consumer does that has nothing to read: hardly anything. Linux tells how often a thread was woken.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]
#![allow(clippy::print_stderr, reason = "says what is tested, and what is skipped")]

// Threads of other tests would be counted, so this is a program of its own.
#[path = "brokers/common.rs"]
mod common;

use std::{fs, time::Duration};

use common::{Target, eventually, on_each, unique};
use ottla::{
    Consumer,
    config::{ConsumerConfig, GroupProtocol, OffsetReset},
};
use tokio::time::{Instant, timeout};

const PARTITIONS: i32 = 200;
/// Requests that are watched; an answer to one takes `fetch.max.wait.ms`.
const WATCHED_REQUESTS: u64 = 8;
/// Most wakes of the I/O thread for a request and its answer.
const WAKES_PER_REQUEST_MAX: u64 = 5;
/// How often the brokers of these tests want to hear of a member of KIP-848.
const HEARTBEAT_INTERVAL: Duration = Duration::from_millis(100);
/// Most wakes besides: commits that go by themselves, and looks of this test.
const OTHER_WAKES_MAX: u64 = 40;
const PATIENCE: Duration = Duration::from_secs(60);

/// How often the I/O threads of this process's consumers went to sleep, which is how often they were woken.
fn wakes() -> u64 {
    let threads = fs::read_dir("/proc/self/task").unwrap();
    let of_consumers = threads.map(|thread| thread.unwrap().path()).filter(|thread| {
        fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == "ottla-consumer")
    });
    let count = |thread: std::path::PathBuf| {
        let status = fs::read_to_string(thread.join("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse::<u64>().unwrap()
    };
    of_consumers.map(count).sum()
}

/// Waits until the consumer has sent so many requests more; nothing comes meanwhile.
async fn watch(consumer: &Consumer, requests: u64) {
    let until = consumer.metrics().fetch_total + requests;
    let end = Instant::now() + PATIENCE;
    while consumer.metrics().fetch_total < until {
        assert!(Instant::now() < end, "no requests are sent");
        assert!(timeout(Duration::from_millis(100), consumer.next_batch(500)).await.is_err(), "records came");
    }
}

async fn member(target: &Target, topic: &str, group_protocol: GroupProtocol) -> Consumer {
    let consumer = Consumer::new(ConsumerConfig {
        bootstrap_servers: vec![target.address.clone()],
        group_id: Some(unique("idle")),
        auto_offset_reset: OffsetReset::Earliest,
        group_protocol,
        ..Default::default()
    })
    .unwrap();
    consumer.subscribe([topic]).unwrap();
    eventually("all partitions are assigned and have a position", async || {
        let assignment = consumer.assignment();
        let is_whole = assignment.len() == PARTITIONS as usize;
        (is_whole && assignment.iter().all(|tp| consumer.position(tp).unwrap().is_some())).then_some(())
    })
    .await;
    consumer
}

#[test]
fn a_member_that_has_nothing_to_read_repeats_its_request_and_is_woken_for_nothing_else() {
    on_each(async |target| {
        let topic = target.topic("idle", PARTITIONS).await;
        for protocol in [GroupProtocol::Classic, GroupProtocol::Consumer] {
            let consumer = member(&target, &topic, protocol).await;
            // What positions, watermarks and a session bring along is over.
            watch(&consumer, 3).await;
            let (before, wakes_before, began) = (consumer.metrics(), wakes(), Instant::now());
            watch(&consumer, WATCHED_REQUESTS).await;
            let (after, wakes) = (consumer.metrics(), wakes() - wakes_before);
            assert_eq!(
                after.fetch_planned_total, before.fetch_planned_total,
                "partitions were looked at for nothing"
            );
            let requests = after.fetch_total - before.fetch_total;
            let heartbeats = match protocol {
                GroupProtocol::Classic => 0,
                _ => began.elapsed().div_duration_f64(HEARTBEAT_INTERVAL).ceil() as u64,
            };
            let most = (requests + heartbeats) * WAKES_PER_REQUEST_MAX + OTHER_WAKES_MAX;
            assert!(wakes <= most, "{wakes} wakes, {requests} requests, {protocol:?} at {}", target.name);
            consumer.close(PATIENCE).await.unwrap();
        }
    });
}
