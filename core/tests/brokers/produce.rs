//! The producer against real brokers.

use std::{collections::BTreeSet, time::Duration};

use ottla::{
    ErrorCode, ErrorKind, OffsetSpec, Producer, Record, TopicPartition,
    config::{Acks, Compression, ProducerConfig},
};

use crate::common::{Target, on_each, unique};

fn config(target: &Target) -> ProducerConfig {
    ProducerConfig { bootstrap_servers: vec![target.address.clone()], ..Default::default() }
}

async fn end(target: &Target, topic: &str, partition: i32) -> i64 {
    let wanted = [(TopicPartition::new(topic, partition), OffsetSpec::Latest)];
    target.admin().list_offsets(wanted).await.unwrap().remove(0).1.unwrap().offset.unwrap()
}

const CLOSE: Duration = Duration::from_secs(10);

#[test]
fn deliveries_tell_offsets_in_order() {
    on_each(async |target| {
        let topic = target.topic("deliveries", 1).await;
        let producer = Producer::new(config(&target)).unwrap();
        let mut deliveries = Vec::new();
        for i in 0..1_000 {
            let value = format!("value {i}");
            deliveries.push(producer.send(Record::to(&topic).value(&value).timestamp(i)).await.unwrap());
        }
        for (i, delivery) in (0..).zip(deliveries) {
            let metadata = delivery.await.unwrap();
            assert_eq!((metadata.offset, metadata.partition, metadata.timestamp), (i, 0, i));
            assert_eq!(*metadata.topic, *topic);
        }
        producer.close(CLOSE).await.unwrap();
        assert_eq!(end(&target, &topic, 0).await, 1_000);
    });
}

#[test]
fn every_codec_and_acks_is_taken() {
    on_each(async |target| {
        for compression_type in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            for acks in [Acks::All, Acks::Leader, Acks::None] {
                let topic = target.topic("codecs", 1).await;
                // A leader that is not ready yet refuses; with acks=0 nobody would know.
                let first = Producer::new(config(&target)).unwrap();
                first.send(Record::to(&topic)).await.unwrap().await.unwrap();

                let producer =
                    Producer::new(ProducerConfig { compression_type, acks, ..config(&target) }).unwrap();
                let value = "all work and no play ".repeat(20);
                for i in 0..500 {
                    let key = format!("{i}");
                    let record = Record::to(&topic).key(&key).value(&value).header("h", "v");
                    producer.send_and_forget(record).await.unwrap();
                }
                producer.close(CLOSE).await.unwrap();
                assert_eq!(producer.metrics().record_acknowledged_total, 500);
                crate::common::eventually(
                    &format!("the records are there: {compression_type:?}, {acks:?}"),
                    async || (end(&target, &topic, 0).await == 501).then_some(()),
                )
                .await;
            }
        }
    });
}

#[test]
fn reports_come_by_token() {
    on_each(async |target| {
        let topic = target.topic("reports", 2).await;
        let producer = Producer::new(config(&target)).unwrap();
        let (wake, mut woken) = tokio::sync::mpsc::unbounded_channel();
        producer.on_reports(move || _ = wake.send(()));
        let mut sent = 0;
        while sent < 2_000 {
            let value = sent.to_string();
            let record = Record::to(&topic).value(&value);
            match producer.try_send(&record, sent) {
                Ok(()) => sent += 1,
                Err(error) if error.kind() == ErrorKind::BufferFull => producer.ready(&record).await.unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
        let mut reports = Vec::new();
        while reports.len() < 2_000 {
            woken.recv().await.unwrap();
            producer.drain_reports(&mut reports);
        }
        let tokens: BTreeSet<u64> = reports.iter().map(|report| report.token).collect();
        assert_eq!(tokens, (0..2_000).collect());
        let places: BTreeSet<(i32, i64)> = reports
            .iter()
            .map(|report| report.result.as_ref().unwrap())
            .map(|metadata| (metadata.partition, metadata.offset))
            .collect();
        assert_eq!(places.len(), 2_000, "each record has a place of its own");
        let metrics = producer.metrics();
        assert_eq!(metrics.buffer_available_bytes, metrics.buffer_total_bytes);
        producer.close(CLOSE).await.unwrap();
    });
}

#[test]
fn flush_waits_for_all_that_was_sent() {
    on_each(async |target| {
        let topic = target.topic("flush", 4).await;
        let producer =
            Producer::new(ProducerConfig { linger: Duration::from_secs(20), ..config(&target) }).unwrap();
        for round in 1..=3 {
            let mut deliveries = Vec::new();
            for i in 0..200 {
                let key = format!("{i}");
                deliveries.push(producer.send(Record::to(&topic).key(&key)).await.unwrap());
            }
            producer.flush().await.unwrap();
            assert!(deliveries.iter().all(|delivery| delivery.now().is_some()), "round {round}");
        }
        producer.close(CLOSE).await.unwrap();
    });
}

#[test]
fn a_lone_record_does_not_linger() {
    on_each(async |target| {
        let topic = target.topic("lone", 1).await;
        let producer =
            Producer::new(ProducerConfig { linger: Duration::from_secs(20), ..config(&target) }).unwrap();
        for _ in 0..5 {
            let delivery = producer.send(Record::to(&topic).value("v")).await.unwrap();
            tokio::time::timeout(Duration::from_secs(10), delivery).await.expect("sent at once").unwrap();
        }
        producer.close(CLOSE).await.unwrap();
    });
}

#[test]
fn dropping_the_producer_sends_what_it_took() {
    on_each(async |target| {
        let topic = target.topic("dropped", 1).await;
        let producer = Producer::new(config(&target)).unwrap();
        let mut last = None;
        for _ in 0..1_000 {
            last = Some(producer.send(Record::to(&topic).value("v")).await.unwrap());
        }
        drop(producer);
        assert_eq!(last.unwrap().await.unwrap().offset, 999);
    });
}

#[test]
fn a_batch_too_large_for_the_topic_is_split() {
    on_each(async |target| {
        let topic = unique("split");
        let small = ottla::NewTopic::new(&topic).partitions(1).config("max.message.bytes", "2000");
        target.create(small).await;
        let producer =
            Producer::new(ProducerConfig { linger: Duration::from_millis(50), ..config(&target) }).unwrap();
        let mut deliveries = Vec::new();
        for i in 0..500 {
            let value = format!("{i:0100}");
            deliveries.push(producer.send(Record::to(&topic).value(&value)).await.unwrap());
        }
        for (i, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.unwrap().offset, i);
        }
        let too_large = producer.send(Record::to(&topic).value(&[0; 5_000])).await.unwrap();
        let error = too_large.await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::MESSAGE_TOO_LARGE), "{error}");
        producer.close(CLOSE).await.unwrap();
        assert_eq!(end(&target, &topic, 0).await, 500);
    });
}

#[test]
fn a_small_buffer_makes_senders_wait_and_loses_nothing() {
    on_each(async |target| {
        let topic = target.topic("small", 3).await;
        let producer = Producer::new(ProducerConfig {
            buffer_memory: 64 * 1024,
            batch_size: 4 * 1024,
            ..config(&target)
        })
        .unwrap();
        let producer = &producer;
        let topic = topic.as_str();
        let send = async move |count: i32| {
            for i in 0..count {
                let value = format!("{i:0500}");
                producer.send_and_forget(Record::to(topic).key(&value).value(&value)).await.unwrap();
            }
        };
        tokio::join!(send(2_000), send(2_000), send(2_000));
        producer.close(CLOSE).await.unwrap();
        assert_eq!(producer.metrics().record_acknowledged_total, 6_000);
    });
}

#[test]
fn a_missing_topic_and_a_missing_partition_are_errors() {
    on_each(async |target| {
        let topic = target.topic("missing", 2).await;
        let producer =
            Producer::new(ProducerConfig { max_block: Duration::from_millis(500), ..config(&target) })
                .unwrap();
        let error = producer.send(Record::to(&topic).partition(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        let error = producer.send(Record::to("not/legal")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        producer.close(CLOSE).await.unwrap();
        let error = producer.send(Record::to(&topic)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    });
}

#[test]
fn a_topic_is_made_when_it_is_first_used() {
    on_each(async |target| {
        let topic = unique("auto");
        let producer = Producer::new(config(&target)).unwrap();
        let metadata = producer.send(Record::to(&topic).value("first")).await.unwrap().await.unwrap();
        assert_eq!(metadata.offset, 0);
        producer.close(CLOSE).await.unwrap();
    });
}

#[test]
fn a_connection_closed_for_being_idle_is_made_again() {
    on_each(async |target| {
        let topic = target.topic("idle", 1).await;
        let idle = Duration::from_millis(50);
        let producer =
            Producer::new(ProducerConfig { connections_max_idle: Some(idle), ..config(&target) }).unwrap();
        for offset in 0..4 {
            let delivery = producer.send(Record::to(&topic).value("v")).await.unwrap();
            assert_eq!(delivery.await.unwrap().offset, offset);
            tokio::time::sleep(3 * idle).await;
        }
        assert_eq!(producer.metrics().batch_retry_total, 0);
        producer.close(CLOSE).await.unwrap();
    });
}

#[test]
fn the_brokers_time_is_told_where_it_is_the_records() {
    on_each(async |target| {
        let topic = unique("append-time");
        let by_broker =
            ottla::NewTopic::new(&topic).partitions(1).config("message.timestamp.type", "LogAppendTime");
        target.create(by_broker).await;
        let producer = Producer::new(config(&target)).unwrap();
        let metadata = producer.send(Record::to(&topic).timestamp(1_000)).await.unwrap().await.unwrap();
        assert!(metadata.timestamp > 1_700_000_000_000, "{metadata:?}");
        producer.close(CLOSE).await.unwrap();
    });
}

#[tokio::test]
async fn without_a_broker_sending_ends_in_time_and_says_why() {
    let producer = Producer::new(ProducerConfig {
        bootstrap_servers: vec!["127.0.0.1:9".to_owned()],
        max_block: Duration::from_millis(200),
        ..Default::default()
    })
    .unwrap();
    let error = producer.send(Record::to("orders")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
    let text = error.to_string();
    assert!(text.contains("orders") && text.contains("refused the connection"), "{text}");
    producer.close(Duration::from_millis(100)).await.unwrap();
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let error = Producer::new(ProducerConfig {
        bootstrap_servers: vec!["localhost:9092".to_owned()],
        delivery_timeout: Duration::from_secs(1),
        ..Default::default()
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`delivery.timeout.ms` is 1000"), "{error}");
}
