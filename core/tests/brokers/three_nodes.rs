//! The client and three nodes of Apache Kafka: leaders that move, die, and lose records; replicas nearby.

use std::{error::Error, net::ToSocketAddrs, time::Duration};

use ottla::{
    BrokerId, Consumer, ErrorKind, LogTruncation, NewTopic, Producer, Record, RecordMetadata, TopicPartition,
    config::{ConsumerConfig, OffsetReset, ProducerConfig},
};
use ottla_interop::{kafka::Kafka, or_skip, wire::Wire};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        AlterPartitionReassignmentsRequest, ElectLeadersRequest,
        alter_partition_reassignments::{ReassignablePartition, ReassignableTopic},
        elect_leaders::TopicPartitions,
    },
};
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Target, eventually, run, unique};

/// Longest that anything takes: a dead node is missed, and another elected, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a leader is moved until the clients learn of it from an answer alone.
const MOVES_MAX: usize = 8;
/// ElectLeaders: back to the first of the replicas.
const PREFERRED: i8 = 0;

/// Runs a test on the cluster.
fn on_three_nodes(test: impl AsyncFnOnce(&mut Kafka, Target)) {
    let Some(mut kafka) = or_skip(Kafka::three()) else { return };
    let target = Target { name: "apache".to_owned(), address: kafka.bootstrap() };
    run(test(&mut kafka, target));
}

/// A topic of one partition with replicas on these nodes, the first of which leads it.
async fn topic_on(target: &Target, stem: &str, replicas: &[i32], configs: &[(&str, &str)]) -> String {
    let name = unique(stem);
    let mut topic = NewTopic::new(&name);
    topic.assignments = vec![replicas.iter().copied().map(BrokerId).collect()];
    topic.configs = configs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
    target.create(topic).await;
    wait_for_leader(target, &name, replicas[0]).await;
    name
}

/// Waits until `leader` leads the only partition of a topic.
async fn wait_for_leader(target: &Target, topic: &str, leader: i32) {
    let admin = target.admin();
    let end = Instant::now() + PATIENCE;
    loop {
        let described = admin.describe_topics([topic]).await.unwrap().remove(0).1;
        if described.is_ok_and(|it| it.partitions[0].leader == Some(BrokerId(leader))) {
            return;
        }
        assert!(Instant::now() < end, "{leader} does not lead `{topic}`");
        sleep(Duration::from_millis(50)).await;
    }
}

fn producer(target: &Target) -> Producer {
    Producer::new(ProducerConfig { bootstrap_servers: target.addresses(), ..Default::default() }).unwrap()
}

async fn send(producer: &Producer, topic: &str, value: &str) -> RecordMetadata {
    let sending = async { producer.send(Record::to(topic).value(value)).await.unwrap().await.unwrap() };
    timeout(PATIENCE, sending).await.expect("a record is written in time")
}

fn consumer(target: &Target, topic: &str, config: ConsumerConfig) -> Consumer {
    let consumer = Consumer::new(ConsumerConfig { bootstrap_servers: target.addresses(), ..config }).unwrap();
    consumer.assign([TopicPartition::new(topic, 0)]).unwrap();
    consumer
}

fn from_the_first(target: &Target, topic: &str) -> Consumer {
    let config = ConsumerConfig { auto_offset_reset: OffsetReset::Earliest, ..Default::default() };
    consumer(target, topic, config)
}

/// The next `count` values.
async fn values(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let batch = timeout(PATIENCE, consumer.next_batch(count - values.len())).await;
        for record in &batch.expect("records come in time").unwrap() {
            values.push(String::from_utf8(record.unwrap().value().unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn numbered(stem: &str, range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("{stem}-{n}")).collect()
}

/// Makes the first of `replicas` the leader; the others stay replicas.
async fn move_leader(target: &Target, topic: &str, replicas: &[i32]) {
    let address = target.addresses()[0].to_socket_addrs().unwrap().next().unwrap();
    let mut wire = Wire::connect(address);
    let partition = ReassignablePartition {
        partition_index: 0,
        replicas: Some(replicas.iter().copied().map(BrokerId).collect()),
    };
    let reassign = AlterPartitionReassignmentsRequest {
        timeout_ms: 10_000,
        topics: vec![ReassignableTopic { name: topic.into(), partitions: vec![partition] }],
        ..Default::default()
    };
    let reassigned = wire.call(0, &reassign);
    assert_eq!(reassigned.error_code, ErrorCode::NONE);
    assert_eq!(reassigned.responses[0].partitions[0].error_code, ErrorCode::NONE);
    let elect = ElectLeadersRequest {
        election_type: PREFERRED,
        topic_partitions: Some(vec![TopicPartitions { topic: topic.into(), partitions: vec![0] }]),
        timeout_ms: 10_000,
    };
    eventually("the leader is elected", async || {
        let elected = wire.call(2, &elect);
        let code = elected.replica_election_results.first()?.partition_result.first()?.error_code;
        matches!(code, ErrorCode::NONE | ErrorCode::ELECTION_NOT_NEEDED).then_some(())
    })
    .await;
    wait_for_leader(target, topic, replicas[0]).await;
}

#[test]
fn records_that_an_unclean_election_loses_are_told_or_gone_back_to() {
    on_three_nodes(async |kafka, target| {
        let configs = [("unclean.leader.election.enable", "true"), ("min.insync.replicas", "1")];
        let topic = topic_on(&target, "unclean", &[1, 2], &configs).await;
        let writer = producer(&target);
        for value in numbered("both", 0..5) {
            send(&writer, &topic, &value).await;
        }
        kafka.kill(2).unwrap();
        for value in numbered("lost", 5..10) {
            send(&writer, &topic, &value).await;
        }
        writer.close(PATIENCE).await.unwrap();
        let careful = consumer(
            &target,
            &topic,
            ConsumerConfig { auto_offset_reset: OffsetReset::None, ..Default::default() },
        );
        let tp = TopicPartition::new(topic.as_str(), 0);
        careful.seek(&tp, 0).unwrap();
        let easy = from_the_first(&target, &topic);
        let read = [numbered("both", 0..5), numbered("lost", 5..10)].concat();
        assert_eq!(values(&careful, 10).await, read);
        assert_eq!(values(&easy, 10).await, read);

        // Node 2 comes back alone, and leads without what it never had.
        kafka.kill(1).unwrap();
        kafka.start_again(2).unwrap();
        wait_for_leader(&target, &topic, 2).await;
        let writer = producer(&target);
        for value in numbered("other", 5..8) {
            send(&writer, &topic, &value).await;
        }
        assert_eq!(values(&easy, 3).await, numbered("other", 5..8));
        let error = timeout(PATIENCE, careful.next_batch(500)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::LogTruncated, "{error}");
        let cause = error.source().unwrap().downcast_ref::<LogTruncation>().unwrap();
        assert_eq!((&cause.partition, cause.offset), (&tp, 10), "{error}");
        assert_eq!(cause.diverges_at.map(|(offset, _)| offset), Some(5), "{error}");
        // The program goes where it is told, and checks that by the epoch, too.
        let (offset, epoch) = cause.diverges_at.unwrap();
        let place = ottla::OffsetAndMetadata { offset, leader_epoch: Some(epoch), metadata: String::new() };
        careful.seek(&tp, place).unwrap();
        assert_eq!(values(&careful, 3).await, numbered("other", 5..8));
        writer.close(PATIENCE).await.unwrap();
        kafka.start_again(1).unwrap();
    });
}

#[test]
fn a_consumer_reads_from_the_replica_in_its_rack_as_long_as_that_is_there() {
    on_three_nodes(async |kafka, target| {
        let topic = topic_on(&target, "rack", &[1, 2, 3], &[]).await;
        let writer = producer(&target);
        for value in numbered("v", 0..10) {
            send(&writer, &topic, &value).await;
        }
        let config = ConsumerConfig {
            auto_offset_reset: OffsetReset::Earliest,
            client_rack: "rack-2".to_owned(),
            ..Default::default()
        };
        let reader = consumer(&target, &topic, config);
        let bytes_from =
            |broker| reader.broker_metrics().get(&BrokerId(broker)).map_or(0, |it| it.batch_bytes_received);
        assert_eq!(values(&reader, 10).await, numbered("v", 0..10));
        assert!(bytes_from(2) > 0, "{:?}", reader.broker_metrics());
        assert_eq!((bytes_from(1), bytes_from(3)), (0, 0), "the leader only points to it");

        kafka.kill(2).unwrap();
        for value in numbered("v", 10..20) {
            send(&writer, &topic, &value).await;
        }
        assert_eq!(values(&reader, 10).await, numbered("v", 10..20));
        assert!(bytes_from(1) > 0, "the leader gives what nobody nearby does");
        assert_eq!(bytes_from(3), 0);

        kafka.start_again(2).unwrap();
        let before = bytes_from(2);
        let end = Instant::now() + PATIENCE;
        let mut next = 20;
        while bytes_from(2) == before {
            assert!(Instant::now() < end, "it does not go back to its rack");
            send(&writer, &topic, &format!("v-{next}")).await;
            assert_eq!(values(&reader, 1).await, numbered("v", next..next + 1));
            next += 1;
        }
        writer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn a_leader_that_an_answer_names_is_asked_without_a_look_at_the_metadata() {
    on_three_nodes(async |_, target| {
        let topic = topic_on(&target, "moves", &[1, 2], &[]).await;
        let writer = producer(&target);
        send(&writer, &topic, "v-0").await;
        let reader = from_the_first(&target, &topic);
        assert_eq!(values(&reader, 1).await, ["v-0"]);
        let asked = || (writer.metrics().metadata_request_total, reader.metrics().metadata_request_total);
        // A broker that is asked before it has taken in the move itself names nobody; then the metadata is
        // looked at, as it should be. So it must hold of one move of a few, for both clients.
        let mut unasked = false;
        for round in 0..MOVES_MAX {
            let replicas = if round % 2 == 0 { [2, 1] } else { [1, 2] };
            let before = asked();
            move_leader(&target, &topic, &replicas).await;
            let value = format!("v-{}", round + 1);
            send(&writer, &topic, &value).await;
            assert_eq!(values(&reader, 1).await, [value]);
            unasked = asked() == before;
            if unasked {
                break;
            }
        }
        assert!(unasked, "metadata was asked for at each of {MOVES_MAX} moves");
        let from = |broker| reader.broker_metrics()[&BrokerId(broker)].batch_bytes_received;
        assert!(from(1) > 0 && from(2) > 0, "both leaders were read from");
        writer.close(PATIENCE).await.unwrap();
    });
}
