//! What a member tells of itself: how it does, how far behind it is, and that it stands still.

use std::time::Duration;

use ottla::{
    Consumer, ConsumerMetrics, ErrorKind, Event, Producer, ProducerMetrics, Record, Stalled, TopicPartition,
    WaitsFor,
    config::{ConsumerConfig, GroupProtocol, OffsetReset, ProducerConfig},
};
use tokio::time::timeout;

use crate::common::{Target, eventually, on_each, unique};

const PATIENCE: Duration = Duration::from_secs(30);
const PROTOCOLS: [GroupProtocol; 2] = [GroupProtocol::Classic, GroupProtocol::Consumer];

fn member(target: &Target, group_protocol: GroupProtocol, max_poll_interval: Duration) -> Consumer {
    Consumer::new(ConsumerConfig {
        bootstrap_servers: target.addresses(),
        group_id: Some(unique("health")),
        auto_offset_reset: OffsetReset::Earliest,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(100),
        group_protocol,
        max_poll_interval,
        ..Default::default()
    })
    .unwrap()
}

/// Writes `count` records, each in a batch of its own, and gives what the producer counted.
async fn send(target: &Target, topic: &str, count: u64) -> ProducerMetrics {
    let config = ProducerConfig { bootstrap_servers: target.addresses(), ..Default::default() };
    let producer = Producer::new(config).unwrap();
    for _ in 0..count {
        producer.send(Record::to(topic).value("v")).await.unwrap().await.unwrap();
    }
    let metrics = producer.metrics();
    producer.close(PATIENCE).await.unwrap();
    metrics
}

#[test]
fn a_member_tells_what_it_waits_for_how_far_behind_it_is_and_what_it_did() {
    on_each(async |target| {
        for protocol in PROTOCOLS {
            let topic = target.topic("health", 1).await;
            let tp = TopicPartition::new(topic.as_str(), 0);
            let sent = send(&target, &topic, 10).await;
            assert_eq!((sent.record_send_total, sent.record_acknowledged_total), (10, 10));
            assert_eq!((sent.requests_in_flight, sent.record_error_total), (0, 0));
            assert!(sent.request_latency_avg.unwrap() <= sent.request_latency_max.unwrap());
            assert_eq!(sent.buffer_available_bytes, sent.buffer_total_bytes);

            let consumer = member(&target, protocol, Duration::from_secs(300));
            let fresh = consumer.health().unwrap();
            assert_eq!((fresh.joined, fresh.waits_for), (None, WaitsFor::Subscription));
            assert_eq!(
                consumer.lag(&tp).unwrap_err().kind(),
                ErrorKind::InvalidArgument,
                "it is not assigned"
            );
            consumer.subscribe([topic.as_str()]).unwrap();
            for _ in 0..4 {
                let batch = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap();
                assert_eq!(batch.len(), 1);
            }
            assert_eq!(consumer.lag(&tp).unwrap(), Some(6));
            assert_eq!(consumer.lags().into_iter().collect::<Vec<_>>(), [(tp.clone(), 6)]);
            consumer.commit().await.unwrap();
            let health = eventually("the member has all it waits for", async || {
                let health = consumer.health().unwrap();
                (health.waits_for == WaitsFor::Records && health.heartbeat.is_some()).then_some(health)
            })
            .await;
            assert!(health.joined.is_some() && health.poll < PATIENCE, "{health:?}");

            let metrics = consumer.metrics();
            assert_eq!((metrics.records_consumed_total, metrics.records_lag_max), (4, 6));
            assert_eq!(metrics.assigned_partitions, 1);
            assert!(metrics.commit_total >= 1 && metrics.commit_latency_avg.is_some());
            assert!(metrics.heartbeat_total >= 1 && metrics.last_heartbeat_seconds_ago.is_some());
            assert!(metrics.rebalance_total >= 1 && metrics.last_rebalance_seconds_ago.is_some());
            assert!(metrics.fetch_latency_avg.unwrap() <= metrics.fetch_latency_max.unwrap());
            // By name, as other languages have them.
            let at = ConsumerMetrics::TABLE.iter().position(|row| row.name == "records-lag-max").unwrap();
            assert_eq!(metrics.values()[at], Some(6.0));
            consumer.close(PATIENCE).await.unwrap();
            assert_eq!(consumer.health().unwrap().joined, None);
        }
    });
}

#[test]
fn a_program_that_asks_for_nothing_hears_that_it_stands_still_before_it_is_out() {
    on_each(async |target| {
        for protocol in PROTOCOLS {
            let topic = target.topic("stalled", 1).await;
            send(&target, &topic, 2).await;
            let consumer = member(&target, protocol, Duration::from_secs(4));
            let mut events = consumer.events().unwrap();
            consumer.subscribe([topic.as_str()]).unwrap();
            loop {
                tokio::select! {
                    event = events.next() => assert!(matches!(event, Some(Event::Rebalance(_))), "{event:?}"),
                    batch = timeout(PATIENCE, consumer.next_batch(1)) => {
                        batch.unwrap().unwrap();
                        break;
                    }
                }
            }
            // Nothing is asked for any more.
            let since = loop {
                match timeout(PATIENCE, events.next()).await.unwrap().unwrap() {
                    Event::Stalled(Stalled::Program(since)) => break since,
                    Event::Rebalance(rebalance) => {
                        assert!(rebalance.partitions().is_empty(), "it is out: {rebalance:?}")
                    }
                    other => panic!("{other:?}"),
                }
            };
            assert!((Duration::from_secs(2)..Duration::from_secs(4)).contains(&since), "{since:?}");
            drop(events);
            consumer.close(PATIENCE).await.unwrap();
        }
    });
}
