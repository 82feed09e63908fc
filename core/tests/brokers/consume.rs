//! The consumer against real brokers.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ottla::{
    Batch, Consumer, ErrorKind, OffsetSpec, Producer, Record, TopicPartition,
    config::{Compression, ConsumerConfig, OffsetReset, ProducerConfig},
};
use ottla_interop::{Nobody, broker::TestBroker};
use tokio::time::timeout;

use crate::common::{Target, on_each, run};

const PATIENCE: Duration = Duration::from_secs(20);

fn consumer(target: &Target) -> Consumer {
    with(target, ConsumerConfig { auto_offset_reset: OffsetReset::Earliest, ..Default::default() })
}

fn with(target: &Target, config: ConsumerConfig) -> Consumer {
    Consumer::new(ConsumerConfig { bootstrap_servers: vec![target.address.clone()], ..config }).unwrap()
}

fn producer(target: &Target, compression_type: Compression) -> Producer {
    let config = ProducerConfig {
        bootstrap_servers: vec![target.address.clone()],
        compression_type,
        ..Default::default()
    };
    Producer::new(config).unwrap()
}

async fn next(consumer: &Consumer, max: usize) -> Batch {
    timeout(PATIENCE, consumer.next_batch(max)).await.expect("a batch comes in time").unwrap()
}

/// Sends `count` numbers as values to one partition, timestamps alike.
async fn number(target: &Target, topic: &str, partition: i32, count: i64) {
    let producer = producer(target, Compression::None);
    for i in 0..count {
        let value = i.to_string();
        let record = Record::to(topic).partition(partition).value(&value).timestamp(1_000 + i);
        producer.send_and_forget(record).await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

fn numbers(batch: &Batch) -> Vec<i64> {
    batch
        .records()
        .map(|record| std::str::from_utf8(record.unwrap().value().unwrap()).unwrap().parse().unwrap())
        .collect()
}

#[test]
fn what_was_sent_comes_back_with_every_codec() {
    on_each(async |target| {
        let topic = target.topic("roundtrip", 1).await;
        let large = vec![b'x'; 300_000];
        let mut sent = 0;
        for codec in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            let producer = producer(&target, codec);
            for i in 0..100 {
                let (key, value) = (format!("key {i}"), format!("value {i}"));
                let mut record = Record::to(&topic).timestamp(i);
                if i % 3 != 0 {
                    record = record.key(&key);
                }
                if i % 5 != 0 {
                    record = record.value(&value).header("a", &key).header("a", "again");
                }
                if i == 50 {
                    record = record.value(&large);
                }
                producer.send_and_forget(record).await.unwrap();
                sent += 1;
            }
            producer.close(PATIENCE).await.unwrap();
        }
        let consumer = consumer(&target);
        consumer.assign([TopicPartition::new(topic.as_str(), 0)]).unwrap();
        let mut seen = 0;
        while seen < sent {
            let batch = next(&consumer, usize::MAX).await;
            assert_eq!(**batch.topic(), *topic);
            for record in &batch {
                let record = record.unwrap();
                let i = seen % 100;
                assert_eq!((record.offset(), record.timestamp()), (seen, i));
                let text =
                    |bytes: Option<&[u8]>| bytes.map(|bytes| String::from_utf8(bytes.to_vec()).unwrap());
                assert_eq!(text(record.key()), (i % 3 != 0).then(|| format!("key {i}")));
                match i {
                    50 => assert_eq!(record.value().unwrap().len(), large.len()),
                    _ => assert_eq!(text(record.value()), (i % 5 != 0).then(|| format!("value {i}"))),
                }
                let headers: Vec<_> =
                    record.headers().iter().map(|h| (h.name().into_owned(), text(h.value))).collect();
                if i % 5 != 0 {
                    let a = "a".to_owned();
                    assert_eq!(
                        headers,
                        [(a.clone(), Some(format!("key {i}"))), (a, Some("again".to_owned()))]
                    );
                } else {
                    assert!(headers.is_empty());
                }
                seen += 1;
            }
        }
    });
}

#[test]
fn a_batch_has_at_most_what_was_asked_for() {
    on_each(async |target| {
        let topic = target.topic("max", 1).await;
        number(&target, &topic, 0, 1_000).await;
        let consumer = consumer(&target);
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]).unwrap();
        let mut seen = Vec::new();
        while seen.len() < 1_000 {
            let batch = next(&consumer, 7).await;
            assert!((1..=7).contains(&batch.len()));
            seen.extend(numbers(&batch));
            assert_eq!(consumer.position(&tp).unwrap(), Some(seen.len() as i64));
            assert_eq!(batch.next_offset(), seen.len() as i64);
        }
        assert_eq!(seen, (0..1_000).collect::<Vec<_>>());
        assert_eq!(consumer.watermarks(&tp).unwrap().high, 1_000);
        assert_eq!(consumer.metrics().records_consumed_total, 1_000);
    });
}

#[test]
fn seeking_goes_anywhere_also_into_a_batch() {
    on_each(async |target| {
        let topic = target.topic("seek", 1).await;
        number(&target, &topic, 0, 1_000).await;
        let consumer = consumer(&target);
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]).unwrap();
        for offset in [500, 3, 999, 0] {
            consumer.seek(&tp, offset).unwrap();
            assert_eq!(numbers(&next(&consumer, usize::MAX).await)[0], offset);
        }
        consumer.seek_to(&tp, OffsetSpec::Timestamp(1_250)).unwrap();
        assert_eq!(numbers(&next(&consumer, 1).await), [250]);
        consumer.seek_to(&tp, OffsetSpec::Latest).unwrap();
        crate::common::eventually("the end is known", async || {
            (consumer.position(&tp).unwrap() == Some(1_000)).then_some(())
        })
        .await;
        assert!(consumer.try_next_batch(1).is_none());
    });
}

#[test]
fn held_partitions_keep_still() {
    on_each(async |target| {
        let topic = target.topic("pause", 2).await;
        number(&target, &topic, 0, 300).await;
        number(&target, &topic, 1, 300).await;
        let consumer = consumer(&target);
        let tps = [TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1)];
        consumer.assign(tps.clone()).unwrap();
        next(&consumer, 10).await;
        consumer.pause([&tps[0]]).unwrap();
        assert_eq!(consumer.paused(), [tps[0].clone()]);
        let held_at = consumer.position(&tps[0]).unwrap();
        while consumer.position(&tps[1]).unwrap() != Some(300) {
            assert_eq!(next(&consumer, 50).await.partition(), 1);
        }
        assert_eq!(consumer.position(&tps[0]).unwrap(), held_at);
        consumer.resume([&tps[0]]).unwrap();
        while consumer.position(&tps[0]).unwrap() != Some(300) {
            assert_eq!(next(&consumer, 50).await.partition(), 0);
        }
    });
}

#[test]
fn many_partitions_are_read_whole_within_a_small_budget() {
    on_each(async |target| {
        let topic = target.topic("many", 12).await;
        let producer = producer(&target, Compression::Lz4);
        for i in 0..60_000_u32 {
            let value = format!("{i:0200}");
            producer.send_and_forget(Record::to(&topic).key(&i.to_be_bytes()).value(&value)).await.unwrap();
        }
        producer.close(PATIENCE).await.unwrap();
        let consumer = with(
            &target,
            ConsumerConfig {
                auto_offset_reset: OffsetReset::Earliest,
                prefetch_max_bytes: 200_000,
                max_partition_fetch_bytes: 50_000,
                ..Default::default()
            },
        );
        consumer.assign((0..12).map(|partition| TopicPartition::new(topic.as_str(), partition))).unwrap();
        let mut seen = BTreeSet::new();
        let mut next_offsets: BTreeMap<i32, i64> = BTreeMap::new();
        while seen.len() < 60_000 {
            let batch = next(&consumer, 1_000).await;
            let next_offset = next_offsets.entry(batch.partition()).or_default();
            for record in &batch {
                let record = record.unwrap();
                assert_eq!(record.offset(), *next_offset);
                *next_offset += 1;
                assert!(seen.insert(record.key().unwrap().to_vec()));
            }
            assert!(consumer.metrics().prefetch_used_bytes < 1_000_000);
        }
    });
}

#[test]
fn records_come_as_they_are_written() {
    on_each(async |target| {
        let topic = target.topic("live", 1).await;
        let consumer = consumer(&target);
        consumer.assign([TopicPartition::new(topic.as_str(), 0)]).unwrap();
        let producer = producer(&target, Compression::None);
        for i in 0..20 {
            let value = format!("{i}");
            producer.send(Record::to(&topic).value(&value)).await.unwrap().await.unwrap();
            assert_eq!(numbers(&next(&consumer, 100).await), [i]);
        }
    });
}

#[test]
fn latest_begins_behind_what_is_there() {
    on_each(async |target| {
        let topic = target.topic("latest", 1).await;
        number(&target, &topic, 0, 10).await;
        let consumer = with(&target, ConsumerConfig::default());
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]).unwrap();
        crate::common::eventually("the end is known", async || {
            (consumer.position(&tp).unwrap() == Some(10)).then_some(())
        })
        .await;
        number(&target, &topic, 0, 1).await;
        let batch = next(&consumer, 100).await;
        assert_eq!(batch.records().next().unwrap().unwrap().offset(), 10);
    });
}

#[test]
fn without_a_policy_a_bad_offset_is_told() {
    on_each(async |target| {
        let topic = target.topic("none", 1).await;
        number(&target, &topic, 0, 10).await;
        let config = ConsumerConfig { auto_offset_reset: OffsetReset::None, ..Default::default() };
        let consumer = with(&target, config);
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]).unwrap();
        consumer.seek(&tp, 5_000).unwrap();
        let error = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoOffset);
        assert!(error.to_string().contains("has no offset 5000"), "{error}");
        consumer.seek(&tp, 9).unwrap();
        assert_eq!(numbers(&next(&consumer, 1).await), [9]);
    });
}

#[test]
fn a_bad_offset_is_reset_by_the_policy() {
    on_each(async |target| {
        let topic = target.topic("reset", 1).await;
        number(&target, &topic, 0, 10).await;
        let consumer = consumer(&target);
        let tp = TopicPartition::new(topic.as_str(), 0);
        consumer.assign([tp.clone()]).unwrap();
        consumer.seek(&tp, 5_000).unwrap();
        assert_eq!(numbers(&next(&consumer, 100).await)[0], 0);
    });
}

#[test]
fn offsets_are_found_by_place_and_time() {
    on_each(async |target| {
        let topic = target.topic("times", 2).await;
        number(&target, &topic, 0, 100).await;
        let consumer = consumer(&target);
        let tps = [TopicPartition::new(topic.as_str(), 0), TopicPartition::new(topic.as_str(), 1)];
        let begin = consumer.beginning_offsets(&tps).await.unwrap();
        assert_eq!((begin[&tps[0]], begin[&tps[1]]), (0, 0));
        let end = consumer.end_offsets(&tps).await.unwrap();
        assert_eq!((end[&tps[0]], end[&tps[1]]), (100, 0));
        let times = tps.iter().map(|tp| (tp.clone(), 1_042));
        let found = consumer.offsets_for_times(times).await.unwrap();
        assert_eq!((found[&tps[0]].offset, found[&tps[0]].timestamp), (Some(42), Some(1_042)));
        assert!(!found.contains_key(&tps[1]));
    });
}

#[test]
fn dropping_a_waiting_future_loses_nothing() {
    on_each(async |target| {
        let topic = target.topic("cancel", 1).await;
        let consumer = consumer(&target);
        consumer.assign([TopicPartition::new(topic.as_str(), 0)]).unwrap();
        let writing = number(&target, &topic, 0, 2_000);
        let reading = async {
            let mut seen = Vec::new();
            while seen.len() < 2_000 {
                // Often given up before anything comes.
                if let Ok(batch) = timeout(Duration::from_micros(200), consumer.next_batch(100)).await {
                    seen.extend(numbers(&batch.unwrap()));
                }
            }
            seen
        };
        let (seen, ()) = tokio::join!(reading, writing);
        assert_eq!(seen, (0..2_000).collect::<Vec<_>>());
    });
}

#[test]
fn whoever_waits_for_records_hears_why_nothing_was_ever_reached() {
    let nobody = Nobody::new().unwrap();
    let elsewhere = TestBroker::start(&[("advertised.listeners", &format!("PLAINTEXT://{nobody}"))]);
    run(async {
        for (server, fix) in [
            (nobody.to_string(), "check that a broker runs there"),
            (elsewhere.bootstrap(), "let `advertised.listeners` of broker"),
        ] {
            for in_group in [false, true] {
                let consumer = Consumer::new(ConsumerConfig {
                    bootstrap_servers: vec![server.clone()],
                    group_id: in_group.then(|| "readers".to_owned()),
                    request_timeout: Duration::from_millis(500),
                    default_api_timeout: Duration::from_millis(800),
                    ..Default::default()
                })
                .unwrap();
                match in_group {
                    true => consumer.subscribe(["letters"]).unwrap(),
                    false => consumer.assign([TopicPartition::new("letters", 0)]).unwrap(),
                }
                // And again, as long as it stays so.
                for _ in 0..2 {
                    let error = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
                    assert!(error.what_happened().contains(&format!("`{nobody}` refused")), "{error}");
                    assert!(error.what_to_do().is_some_and(|it| it.contains(fix)), "{error}");
                }
            }
        }
    });
}
