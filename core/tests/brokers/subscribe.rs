//! Consumers in groups against real brokers.

use std::{
    collections::{BTreeMap, BTreeSet},
    future::Future,
    net::ToSocketAddrs,
    ops::Deref,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use ottla::{
    Batch, Consumer, ErrorKind, GroupState, OffsetAndMetadata, Producer, Rebalance, RebalanceKind, Record,
    TopicPartition,
    config::{ConsumerConfig, GroupProtocol, OffsetReset, ProducerConfig},
};
use ottla_interop::wire::Wire;
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{LeaveGroupRequest, leave_group::MemberIdentity},
};
use tokio::time::timeout;

use crate::common::{Target, eventually, on_each, unique};

const PATIENCE: Duration = Duration::from_secs(20);

/// A broker, and how members speak to it.
#[derive(Clone)]
struct Ground {
    target: Target,
    protocol: GroupProtocol,
}

impl Deref for Ground {
    type Target = Target;

    fn deref(&self) -> &Target {
        &self.target
    }
}

/// Runs a test on each broker, in each protocol.
fn in_each<F: Future<Output = ()>>(test: impl Fn(Ground) -> F) {
    in_one(GroupProtocol::Classic, &test);
    in_one(GroupProtocol::Consumer, &test);
}

/// Runs a test on each broker, in one protocol.
fn in_one<F: Future<Output = ()>>(protocol: GroupProtocol, test: impl Fn(Ground) -> F) {
    on_each(|target| test(Ground { target, protocol }));
}

fn config(ground: &Ground, group: &str) -> ConsumerConfig {
    let Ground { target, protocol } = ground;
    ConsumerConfig {
        group_protocol: *protocol,
        bootstrap_servers: vec![target.address.clone()],
        group_id: Some(group.to_owned()),
        auto_offset_reset: OffsetReset::Earliest,
        session_timeout: Duration::from_secs(6),
        heartbeat_interval: Duration::from_millis(100),
        ..Default::default()
    }
}

/// One that commits when it is told to.
fn by_hand(target: &Ground, group: &str) -> Consumer {
    Consumer::new(ConsumerConfig { enable_auto_commit: false, ..config(target, group) }).unwrap()
}

fn member(target: &Ground, group: &str, topic: &str) -> Consumer {
    let consumer = Consumer::new(config(target, group)).unwrap();
    consumer.subscribe([topic]).unwrap();
    consumer
}

async fn next(consumer: &Consumer, max: usize) -> Batch {
    timeout(PATIENCE, consumer.next_batch(max)).await.expect("a batch comes in time").unwrap()
}

async fn next_rebalance(rebalances: &mut ottla::Rebalances) -> Rebalance {
    timeout(PATIENCE, rebalances.next()).await.expect("a rebalance comes in time").unwrap()
}

/// The next rebalance that brings partitions. With KIP-848 who joins may get them later than its first answer.
async fn next_partitions(rebalances: &mut ottla::Rebalances) -> Rebalance {
    loop {
        let rebalance = next_rebalance(rebalances).await;
        assert_eq!(rebalance.kind(), RebalanceKind::Assigned);
        if !rebalance.partitions().is_empty() {
            return rebalance;
        }
    }
}

/// Sends `count` records to each of so many partitions.
async fn send(target: &Target, topic: &str, partitions: i32, count: i64) {
    let config = ProducerConfig { bootstrap_servers: vec![target.address.clone()], ..Default::default() };
    let producer = Producer::new(config).unwrap();
    for _ in 0..count {
        for partition in 0..partitions {
            producer.send_and_forget(Record::to(topic).partition(partition).value("v")).await.unwrap();
        }
        // Batches of one, so that members can be between any two records.
        producer.flush().await.unwrap();
    }
    producer.close(PATIENCE).await.unwrap();
}

fn places(batch: &Batch) -> Vec<(i32, i64)> {
    batch.records().map(|record| record.unwrap()).map(|record| (record.partition, record.offset())).collect()
}

fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

async fn close(consumer: Consumer) {
    consumer.close(PATIENCE).await.unwrap();
}

/// What is committed, as others see it.
async fn committed(target: &Ground, group: &str) -> BTreeMap<TopicPartition, OffsetAndMetadata> {
    target.admin().list_group_offsets([group]).await.unwrap().remove(0).1.unwrap()
}

fn offsets(committed: &BTreeMap<TopicPartition, OffsetAndMetadata>) -> Vec<(i32, i64)> {
    committed.iter().map(|(tp, offset)| (tp.partition, offset.offset)).collect()
}

#[test]
fn the_next_member_goes_on_where_the_last_one_was() {
    in_each(async |target| {
        let (topic, group) = (target.topic("next", 2).await, unique("next"));
        send(&target, &topic, 2, 5).await;
        let first = member(&target, &group, &topic);
        let mut seen = BTreeSet::new();
        while seen.len() < 10 {
            seen.extend(places(&next(&first, 3).await));
        }
        // The last batch is still in its hands: closing says that it is done with it.
        close(first).await;
        assert_eq!(offsets(&committed(&target, &group).await), [(0, 5), (1, 5)]);
        let described = target.admin().describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
        assert_eq!(described.state, GroupState::Empty, "it has left");

        send(&target, &topic, 2, 1).await;
        let second = member(&target, &group, &topic);
        let mut seen = BTreeSet::new();
        while seen.len() < 2 {
            seen.extend(places(&next(&second, 500).await));
        }
        assert_eq!(seen, BTreeSet::from([(0, 5), (1, 5)]));
        close(second).await;
    });
}

#[test]
fn a_topic_that_is_deleted_is_divided_no_more() {
    in_each(async |target| {
        let (stays, goes, group) =
            (target.topic("stays", 2).await, target.topic("goes", 2).await, unique("deleted"));
        // Else whoever asks for it makes it anew.
        let config = ConsumerConfig { allow_auto_create_topics: false, ..config(&target, &group) };
        let consumer = Consumer::new(config).unwrap();
        consumer.subscribe([stays.as_str(), goes.as_str()]).unwrap();
        let assigned = async || consumer.assignment().into_iter().collect::<BTreeSet<_>>();
        let both: BTreeSet<TopicPartition> = [&stays, &goes]
            .into_iter()
            .flat_map(|topic| (0..2).map(|partition| tp(topic, partition)))
            .collect();
        eventually("both are assigned", async || (assigned().await == both).then_some(())).await;
        target.admin().delete_topics([&goes]).await.unwrap().remove(0).1.unwrap();
        let rest = BTreeSet::from([tp(&stays, 0), tp(&stays, 1)]);
        eventually("the topic is divided no more", async || {
            // The program goes on asking, or nothing could be taken from it.
            _ = timeout(Duration::from_millis(50), consumer.next_batch(500)).await;
            (assigned().await == rest).then_some(())
        })
        .await;
        send(&target, &stays, 2, 1).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 2 {
            seen.extend(places(&next(&consumer, 500).await));
        }
        close(consumer).await;
    });
}

/// A member on a task of its own, until it is stopped.
struct Running {
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<()>,
}

type Seen = Arc<Mutex<Vec<(usize, i32, i64)>>>;

impl Running {
    fn start(target: &Ground, group: &str, topic: &str, strategy: &str, number: usize, seen: &Seen) -> Self {
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let partition_assignment_strategy = vec![strategy.to_owned()];
        let config = ConsumerConfig { partition_assignment_strategy, ..config(target, group) };
        let consumer = Consumer::new(config).unwrap();
        consumer.subscribe([topic]).unwrap();
        let seen = seen.clone();
        let task = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = &mut stopped => break,
                    batch = consumer.next_batch(7) => {
                        let batch = batch.unwrap();
                        let records = places(&batch).into_iter().map(|(partition, offset)| (number, partition, offset));
                        seen.lock().unwrap().extend(records);
                    }
                }
            }
            consumer.close(PATIENCE).await.unwrap();
        });
        Self { stop: Some(stop), task }
    }

    async fn leave(mut self) {
        drop(self.stop.take());
        timeout(PATIENCE, self.task).await.unwrap().unwrap();
    }
}

#[test]
fn members_come_and_go_while_records_flow_and_each_record_is_had_once() {
    const PARTITIONS: i32 = 5;
    in_each(async |target| {
        let strategies = match target.protocol {
            GroupProtocol::Classic => &["range", "roundrobin", "sticky", "cooperative-sticky"][..],
            // The broker's own.
            _ => &["range"],
        };
        for &strategy in strategies {
            let (topic, group) = (target.topic(strategy, PARTITIONS).await, unique(strategy));
            let seen = Seen::default();
            let start = |number| Running::start(&target, &group, &topic, strategy, number, &seen);
            let mut sent = 0;
            let mut members = vec![start(0)];
            for step in 0..4 {
                send(&target, &topic, PARTITIONS, 20).await;
                sent += 20;
                match step {
                    0 => members.extend([start(1), start(2)]),
                    1 => {
                        // Whoever came gets its share, as long as there is something to have.
                        let mut more = 0;
                        eventually("all three take part", async || {
                            send(&target, &topic, PARTITIONS, 1).await;
                            more += 1;
                            let numbers: BTreeSet<usize> =
                                seen.lock().unwrap().iter().map(|record| record.0).collect();
                            (numbers.len() == 3).then_some(())
                        })
                        .await;
                        sent += more;
                        members.remove(0).leave().await;
                    }
                    _ => members.push(start(3 + step)),
                }
            }
            let expected: BTreeSet<(i32, i64)> = (0..PARTITIONS)
                .flat_map(|partition| (0..sent).map(move |offset| (partition, offset)))
                .collect();
            eventually("all is read", async || {
                let seen = seen.lock().unwrap();
                let places: BTreeSet<(i32, i64)> = seen.iter().map(|&(_, p, o)| (p, o)).collect();
                (places.len() >= expected.len()).then_some(())
            })
            .await;
            for member in members {
                member.leave().await;
            }
            let mut had: BTreeMap<(i32, i64), Vec<usize>> = BTreeMap::new();
            for &(number, partition, offset) in &*seen.lock().unwrap() {
                had.entry((partition, offset)).or_default().push(number);
            }
            assert_eq!(had.keys().copied().collect::<BTreeSet<_>>(), expected, "{strategy}");
            let twice: Vec<_> = had.iter().filter(|(_, by)| by.len() > 1).collect();
            assert!(twice.is_empty(), "{strategy}: {twice:?}");
            let all: Vec<(i32, i64)> = (0..PARTITIONS).map(|partition| (partition, sent)).collect();
            assert_eq!(offsets(&committed(&target, &group).await), all, "{strategy}");
        }
    });
}

#[test]
fn commits_come_in_their_order_and_may_be_left_alone() {
    in_each(async |target| {
        let (topic, group) = (target.topic("commits", 2).await, unique("commits"));
        send(&target, &topic, 2, 10).await;
        let consumer = by_hand(&target, &group);
        consumer.subscribe([&*topic]).unwrap();
        assert!(consumer.committed(&[tp(&topic, 0)]).await.unwrap().is_empty());

        let batch = next(&consumer, 1).await;
        let record = batch.records().next().unwrap().unwrap();
        let of_batch = tp(&topic, batch.partition());
        consumer.commit_record(&record).await.unwrap();
        let of_it =
            async || consumer.committed(std::slice::from_ref(&of_batch)).await.unwrap()[&of_batch].clone();
        assert_eq!(of_it().await.offset, 1);
        drop(consumer.commit_batch(&batch));
        for offset in 2..50 {
            drop(consumer.commit_offsets([(of_batch.clone(), offset)]));
        }
        let last = OffsetAndMetadata { offset: 6, leader_epoch: Some(0), metadata: "by hand".to_owned() };
        consumer.commit_offsets([(of_batch.clone(), last.clone())]).await.unwrap();
        assert_eq!(of_it().await, last);

        let mut count = 1;
        while count < 20 {
            count += next(&consumer, 500).await.len();
        }
        consumer.commit().await.unwrap();
        assert_eq!(offsets(&committed(&target, &group).await), [(0, 10), (1, 10)]);

        let negative = consumer.commit_offsets([(of_batch, -1)]).await.unwrap_err();
        assert_eq!(negative.kind(), ErrorKind::InvalidArgument, "{negative}");
        let metadata = "x".repeat(5_000);
        let long = OffsetAndMetadata { offset: 1, leader_epoch: None, metadata };
        let refused = consumer.commit_offsets([(tp(&topic, 0), long)]).await.unwrap_err();
        assert_eq!(refused.code(), Some(ErrorCode::OFFSET_METADATA_TOO_LARGE), "{refused}");
        close(consumer).await;
        let after = consumer_closed_commits(&target, &group).await;
        assert_eq!(after, ErrorKind::Closed);
    });
}

async fn consumer_closed_commits(target: &Ground, group: &str) -> ErrorKind {
    let consumer = by_hand(target, group);
    consumer.close(PATIENCE).await.unwrap();
    assert_eq!(consumer.next_batch(1).await.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(consumer.subscribe(["t"]).unwrap_err().kind(), ErrorKind::Closed);
    consumer.commit().await.unwrap_err().kind()
}

#[test]
fn without_a_group_there_is_nothing_to_subscribe_and_commit_for() {
    in_one(GroupProtocol::Classic, async |target| {
        let consumer = Consumer::new(ConsumerConfig {
            bootstrap_servers: vec![target.address.clone()],
            ..Default::default()
        })
        .unwrap();
        let errors = [
            consumer.subscribe(["t"]).unwrap_err(),
            consumer.subscribe_pattern("t").unwrap_err(),
            consumer.commit().await.unwrap_err(),
            consumer.committed(&[tp("t", 0)]).await.unwrap_err(),
            consumer.rebalances().unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Config, "{error}");
            assert!(error.to_string().contains("`group.id` is not set"), "{error}");
        }
        consumer.close(PATIENCE).await.unwrap();
    });
}

#[test]
fn settings_that_cannot_be_meant_are_refused() {
    let base = || ConsumerConfig {
        bootstrap_servers: vec!["127.0.0.1:1".to_owned()],
        group_id: Some("g".to_owned()),
        ..Default::default()
    };
    let unknown = ConsumerConfig { partition_assignment_strategy: vec!["uniform".to_owned()], ..base() };
    let error = Consumer::new(unknown).unwrap_err();
    assert!(error.to_string().contains("`uniform` in `partition.assignment.strategy`"), "{error}");
    let slow = ConsumerConfig { heartbeat_interval: Duration::from_secs(45), ..base() };
    let error = Consumer::new(slow).unwrap_err();
    assert!(error.to_string().contains("`heartbeat.interval.ms` (45000) is not below"), "{error}");
    let consumer = Consumer::new(base()).unwrap();
    consumer.assign([tp("t", 0)]).unwrap();
    let both = consumer.subscribe(["t"]).unwrap_err();
    assert_eq!(both.kind(), ErrorKind::InvalidArgument, "{both}");
    let pattern = consumer.subscribe_pattern("(").unwrap_err();
    assert_eq!(pattern.kind(), ErrorKind::InvalidArgument, "{pattern}");
}

#[test]
fn partitions_that_are_assigned_go_on_where_their_group_is() {
    in_each(async |target| {
        let (topic, group) = (target.topic("simple", 2).await, unique("simple"));
        send(&target, &topic, 2, 4).await;
        let first = by_hand(&target, &group);
        first.assign([tp(&topic, 0), tp(&topic, 1)]).unwrap();
        first.commit_offsets([(tp(&topic, 1), 3)]).await.unwrap();
        close(first).await;

        let second = by_hand(&target, &group);
        second.assign([tp(&topic, 1)]).unwrap();
        assert_eq!(places(&next(&second, 500).await), [(1, 3)]);
        assert_eq!(second.position(&tp(&topic, 1)).unwrap(), Some(4));
        second.commit().await.unwrap();
        second.unsubscribe().await.unwrap();
        assert!(second.assignment().is_empty());
        assert_eq!(offsets(&committed(&target, &group).await), [(1, 4)]);

        // With members in the group, only they commit.
        let mut rebalances = second.rebalances().unwrap();
        second.subscribe([&*topic]).unwrap();
        drop(next_rebalance(&mut rebalances).await);
        let outside = by_hand(&target, &group);
        outside.assign([tp(&topic, 0)]).unwrap();
        let refused = outside.commit_offsets([(tp(&topic, 0), 1)]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CommitFailed, "{refused}");
        assert!(refused.to_string().contains("it has members"), "{refused}");
        let both = second.assign([tp(&topic, 0)]).unwrap_err();
        assert_eq!(both.kind(), ErrorKind::InvalidArgument, "{both}");
        drop(rebalances);
        close(second).await;
    });
}

#[test]
fn an_assigned_consumer_commits_by_itself_what_it_is_done_with() {
    in_each(async |target| {
        let (topic, group) = (target.topic("auto", 1).await, unique("auto"));
        send(&target, &topic, 1, 4).await;
        let auto_commit_interval = Duration::from_millis(20);
        let consumer =
            Consumer::new(ConsumerConfig { auto_commit_interval, ..config(&target, &group) }).unwrap();
        consumer.assign([tp(&topic, 0)]).unwrap();
        assert_eq!(next(&consumer, 1).await.len(), 1);
        assert_eq!(next(&consumer, 1).await.len(), 1);
        eventually("what it is done with is committed", async || {
            let offsets = offsets(&committed(&target, &group).await);
            assert!(
                offsets.iter().all(|&(_, offset)| offset <= 1),
                "the second is in its hands: {offsets:?}"
            );
            (offsets == [(0, 1)]).then_some(())
        })
        .await;
        // Going back is committed, too, as the program wants to be there.
        consumer.seek(&tp(&topic, 0), 0).unwrap();
        eventually("the place that was sought is committed", async || {
            (offsets(&committed(&target, &group).await) == [(0, 0)]).then_some(())
        })
        .await;
        close(consumer).await;
    });
}

#[test]
fn what_others_have_is_not_committed() {
    in_each(async |target| {
        let (topic, group) = (target.topic("fenced", 1).await, unique("fenced"));
        send(&target, &topic, 1, 6).await;
        let consumer = by_hand(&target, &group);
        let mut rebalances = consumer.rebalances().unwrap();
        consumer.subscribe([&*topic]).unwrap();
        drop(next_partitions(&mut rebalances).await);
        let old = next(&consumer, 1).await;
        consumer.commit_batch(&old).await.unwrap();

        // Somebody throws it out behind its back, as the coordinator does with one that is silent.
        let admin = target.admin();
        let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
        let member_id = described.members[0].member_id.as_str().into();
        let identity = MemberIdentity { member_id, ..Default::default() };
        let request = LeaveGroupRequest {
            group_id: group.as_str().into(),
            members: vec![identity],
            ..Default::default()
        };
        let mut wire = Wire::connect(target.address.to_socket_addrs().unwrap().next().unwrap());
        assert_eq!(wire.call(5, &request).error_code, ErrorCode::NONE);

        let refused = consumer.commit_offsets([(tp(&topic, 0), 5)]).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::CommitFailed, "{refused}");
        assert!(refused.to_string().contains("reads again what was not committed"), "{refused}");
        let lost = next_rebalance(&mut rebalances).await;
        assert_eq!((lost.kind(), lost.partitions()), (RebalanceKind::Lost, &[tp(&topic, 0)][..]));
        assert_eq!(lost.commit().await.unwrap_err().kind(), ErrorKind::CommitFailed);
        drop(lost);
        assert_eq!(offsets(&committed(&target, &group).await), [(0, 1)], "nothing was committed since");

        // It joins again by itself, and reads again what it had not committed.
        drop(next_partitions(&mut rebalances).await);
        let again = next(&consumer, 500).await;
        assert_eq!(places(&again)[0], (0, 1));
        let stale = consumer.commit_batch(&old).await.unwrap_err();
        assert_eq!(stale.kind(), ErrorKind::CommitFailed, "it is of the tenure before: {stale}");
        consumer.commit_batch(&again).await.unwrap();
        // Nobody takes the last rebalance any more, and closing waits for nobody.
        close(consumer).await;
        assert_eq!(next_rebalance(&mut rebalances).await.kind(), RebalanceKind::Revoked);
    });
}

#[test]
fn a_program_that_asks_too_late_is_told_once_and_joins_again() {
    in_each(async |target| {
        let (topic, group) = (target.topic("late", 1).await, unique("late"));
        send(&target, &topic, 1, 3).await;
        let max_poll_interval = Duration::from_millis(1_500);
        let consumer =
            Consumer::new(ConsumerConfig { max_poll_interval, ..config(&target, &group) }).unwrap();
        consumer.subscribe([&*topic]).unwrap();
        assert_eq!(places(&next(&consumer, 1).await), [(0, 0)]);
        assert_eq!(places(&next(&consumer, 1).await), [(0, 1)]);
        let admin = target.admin();
        eventually("it has left", async || {
            let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
            described.members.is_empty().then_some(())
        })
        .await;
        let late = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap_err();
        assert_eq!(late.kind(), ErrorKind::MaxPollExceeded, "{late}");
        assert!(late.to_string().contains("longer than `max.poll.interval.ms` (1500)"), "{late}");
        // It comes back. Nothing was committed: what is done was so only after it was out.
        assert_eq!(places(&next(&consumer, 500).await)[0].1, 0);
        // Whoever waits for records makes progress.
        let waited = timeout(max_poll_interval + max_poll_interval / 2, async {
            loop {
                consumer.next_batch(500).await.unwrap();
            }
        })
        .await;
        assert!(waited.is_err(), "there is nothing more");
        send(&target, &topic, 1, 1).await;
        assert_eq!(places(&next(&consumer, 500).await), [(0, 3)]);
        close(consumer).await;
        assert_eq!(offsets(&committed(&target, &group).await), [(0, 4)]);
    });
}

#[test]
fn a_partition_in_the_programs_hands_waits_for_it() {
    in_one(GroupProtocol::Classic, async |target| {
        let (topic, group) = (target.topic("hands", 2).await, unique("hands"));
        send(&target, &topic, 2, 3).await;
        let join = || {
            let consumer = Consumer::new(config(&target, &group)).unwrap();
            consumer.subscribe([&*topic]).unwrap();
            consumer
        };
        let first = join();
        let held = next(&first, 1).await;
        let second = join();
        let mut rebalances = second.rebalances().unwrap();
        // The group waits: who comes gets nothing yet.
        let early = timeout(Duration::from_millis(500), rebalances.next()).await;
        assert!(early.is_err(), "{early:?}");
        assert_eq!(first.assignment().len(), 2);
        // One that would rather not wait goes at once.
        let third = join();
        let admin = target.admin();
        eventually("the third is one of them", async || {
            let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
            (described.members.len() == 3).then_some(())
        })
        .await;
        third.close(PATIENCE / 4).await.unwrap();

        // As soon as the first asks for more, it is done with what it had, and that is committed before others go on.
        let asks = async {
            loop {
                if let Some(batch) = first.try_next_batch(500) {
                    batch.unwrap();
                }
                tokio::task::yield_now().await;
            }
        };
        let assigned = tokio::select! {
            _ = asks => unreachable!("it never ends"),
            assigned = next_rebalance(&mut rebalances) => assigned,
        };
        assert_eq!((assigned.kind(), assigned.partitions().len()), (RebalanceKind::Assigned, 1));
        drop(assigned);
        let committed = committed(&target, &group).await;
        let of_held = committed[&tp(&topic, held.partition())].offset;
        assert!(of_held >= 1, "{committed:?}");
        drop(rebalances);
        close(first).await;
        close(second).await;
    });
}

#[test]
fn the_program_commits_while_partitions_are_revoked() {
    in_each(async |target| {
        let (topic, group) = (target.topic("revoked", 2).await, unique("revoked"));
        send(&target, &topic, 2, 3).await;
        let first = by_hand(&target, &group);
        let (tell, told) = mpsc::channel();
        let marked = tp(&topic, 0);
        let mark = marked.clone();
        first
            .on_rebalance(move |rebalance| {
                let (tell, mark) = (tell.clone(), mark.clone());
                async move {
                    let outcome = match rebalance.kind() {
                        RebalanceKind::Revoked => {
                            let offset = OffsetAndMetadata {
                                offset: 2,
                                leader_epoch: None,
                                metadata: "from the listener".to_owned(),
                            };
                            rebalance.commit().await.unwrap();
                            rebalance.commit_offsets([(mark, offset)]).await
                        }
                        _ => Ok(()),
                    };
                    tell.send((rebalance.kind(), rebalance.partitions().len(), outcome)).unwrap();
                }
            })
            .unwrap();
        first.subscribe([&*topic]).unwrap();
        let mut count = 0;
        while count < 6 {
            count += next(&first, 500).await.len();
        }
        close(first).await;
        let told: Vec<_> =
            told.try_iter().map(|(kind, count, outcome)| (kind, count, outcome.is_ok())).collect();
        assert_eq!(told, [(RebalanceKind::Assigned, 2, true), (RebalanceKind::Revoked, 2, true)]);
        let committed = committed(&target, &group).await;
        assert_eq!((committed[&marked].offset, &*committed[&marked].metadata), (2, "from the listener"));
        assert_eq!(committed[&tp(&topic, 1)].offset, 3);
    });
}

#[test]
fn a_program_that_knows_better_seeks_while_partitions_are_assigned() {
    in_each(async |target| {
        let (topic, group) = (target.topic("seek", 1).await, unique("seek"));
        send(&target, &topic, 1, 5).await;
        let consumer = by_hand(&target, &group);
        let mut rebalances = consumer.rebalances().unwrap();
        consumer.subscribe([&*topic]).unwrap();
        let assigned = next_rebalance(&mut rebalances).await;
        assert!(consumer.try_next_batch(1).is_none(), "it waits for the program");
        assigned.seek(&tp(&topic, 0), 3).unwrap();
        drop(assigned);
        assert_eq!(places(&next(&consumer, 500).await)[0], (0, 3));
        drop(rebalances);
        close(consumer).await;
    });
}

#[test]
fn without_an_offset_and_a_policy_the_program_is_asked() {
    in_each(async |target| {
        let (topic, group) = (target.topic("none", 1).await, unique("none"));
        send(&target, &topic, 1, 2).await;
        let auto_offset_reset = OffsetReset::None;
        let consumer =
            Consumer::new(ConsumerConfig { auto_offset_reset, ..config(&target, &group) }).unwrap();
        consumer.subscribe([&*topic]).unwrap();
        let error = timeout(PATIENCE, consumer.next_batch(1)).await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoOffset, "{error}");
        consumer.seek(&tp(&topic, 0), 1).unwrap();
        assert_eq!(places(&next(&consumer, 1).await), [(0, 1)]);
        close(consumer).await;
    });
}

#[test]
fn a_static_member_comes_back_and_nobody_else_notices() {
    in_one(GroupProtocol::Classic, async |target| {
        let (topic, group) = (target.topic("static", 4).await, unique("static"));
        let start = |id: &str| {
            let group_instance_id = Some(id.to_owned());
            let consumer =
                Consumer::new(ConsumerConfig { group_instance_id, ..config(&target, &group) }).unwrap();
            let rebalances = consumer.rebalances().unwrap();
            consumer.subscribe([&*topic]).unwrap();
            (consumer, rebalances)
        };
        let (one, mut of_one) = start("one");
        assert_eq!(next_rebalance(&mut of_one).await.partitions().len(), 4);
        let (two, mut of_two) = start("two");
        let has = |consumer: &Consumer| consumer.assignment().into_iter().collect::<BTreeSet<_>>();
        timeout(PATIENCE, async {
            let (mut one_has, mut two_has) = (4, 0);
            while (one_has, two_has) != (2, 2) {
                tokio::select! {
                    Some(rebalance) = of_one.next() => match rebalance.kind() {
                        RebalanceKind::Assigned => one_has = has(&one).len(),
                        _ => one_has = 0,
                    },
                    Some(rebalance) = of_two.next() => two_has = rebalance.partitions().len(),
                }
            }
        })
        .await
        .unwrap();
        let had = has(&two);
        drop(of_two);
        close(two).await;
        let (again, mut of_again) = start("two");
        let back: BTreeSet<_> = next_rebalance(&mut of_again).await.partitions().iter().cloned().collect();
        assert_eq!(back, had);
        assert!(of_one.try_next().is_none(), "the other member was left alone");
        assert_eq!(has(&one).len(), 2);

        // One more of the same name takes its place; the older one hears that it is out, for good.
        let (third, mut of_third) = start("two");
        drop(of_again);
        let fenced = timeout(PATIENCE, again.next_batch(1)).await.unwrap().unwrap_err();
        assert_eq!(fenced.code(), Some(ErrorCode::FENCED_INSTANCE_ID), "{fenced}");
        let fenced = again.next_batch(1).await.unwrap_err();
        assert_eq!(fenced.code(), Some(ErrorCode::FENCED_INSTANCE_ID), "until it subscribes anew: {fenced}");
        assert_eq!(next_rebalance(&mut of_third).await.partitions().len(), 2);
        drop((of_one, of_third));
        close(again).await;
        close(third).await;
        close(one).await;
    });
}

#[test]
fn partitions_that_come_later_are_read() {
    in_each(async |target| {
        let (topic, group) = (target.topic("grows", 1).await, unique("grows"));
        let metadata_max_age = Duration::from_millis(100);
        let consumer = Consumer::new(ConsumerConfig { metadata_max_age, ..config(&target, &group) }).unwrap();
        consumer.subscribe([&*topic]).unwrap();
        send(&target, &topic, 1, 1).await;
        assert_eq!(places(&next(&consumer, 1).await), [(0, 0)]);
        target.admin().create_partitions([(topic.as_str(), 3)], false).await.unwrap()[0].1.as_ref().unwrap();
        eventually("the partitions have leaders", async || {
            let described = target.admin().describe_topics([&topic]).await.unwrap();
            let topic = described[0].1.as_ref().ok()?;
            let all = topic.partitions.iter().filter(|partition| partition.leader.is_some()).count();
            (all == 3).then_some(())
        })
        .await;
        send(&target, &topic, 3, 1).await;
        let mut seen = BTreeSet::new();
        while seen.len() < 3 {
            seen.extend(places(&next(&consumer, 500).await));
        }
        assert_eq!(seen, BTreeSet::from([(0, 1), (1, 0), (2, 0)]));
        close(consumer).await;
    });
}

#[test]
fn topics_that_match_are_read_also_those_that_come_later() {
    in_each(async |target| {
        let (stem, group) = (unique("match"), unique("match"));
        let name = |which: &str| format!("{stem}.{which}");
        for which in ["a", "other"] {
            target.create(ottla::NewTopic::new(name(which)).partitions(1)).await;
            send(&target, &name(which), 1, 1).await;
        }
        let metadata_max_age = Duration::from_millis(100);
        let consumer = Consumer::new(ConsumerConfig { metadata_max_age, ..config(&target, &group) }).unwrap();
        consumer.subscribe_pattern(&format!("{stem}\\.[abc]")).unwrap();
        assert_eq!(**next(&consumer, 1).await.topic(), *name("a"));
        target.create(ottla::NewTopic::new(name("b")).partitions(1)).await;
        send(&target, &name("b"), 1, 1).await;
        assert_eq!(**next(&consumer, 1).await.topic(), *name("b"));
        close(consumer).await;
        let topics: Vec<String> =
            committed(&target, &group).await.into_keys().map(|tp| tp.topic.to_string()).collect();
        assert_eq!(topics, [name("a"), name("b")]);
    });
}

#[test]
fn topics_that_the_broker_matches_are_read() {
    in_one(GroupProtocol::Consumer, async |target| {
        let (stem, group) = (unique("there"), unique("there"));
        for which in ["a", "other"] {
            target.create(ottla::NewTopic::new(format!("{stem}.{which}")).partitions(1)).await;
            send(&target, &format!("{stem}.{which}"), 1, 1).await;
        }
        let consumer = Consumer::new(config(&target, &group)).unwrap();
        consumer.subscribe_broker_pattern(&format!("{stem}\\.[abc]")).unwrap();
        assert_eq!(**next(&consumer, 1).await.topic(), *format!("{stem}.a"));
        close(consumer).await;
        let committed = committed(&target, &group).await;
        assert_eq!(committed.into_keys().collect::<Vec<_>>(), [tp(&format!("{stem}.a"), 0)]);
    });
}

#[test]
fn one_that_is_dropped_leaves_in_the_background() {
    in_each(async |target| {
        let (topic, group) = (target.topic("dropped", 1).await, unique("dropped"));
        send(&target, &topic, 1, 2).await;
        let consumer = member(&target, &group, &topic);
        next(&consumer, 1).await;
        next(&consumer, 1).await;
        drop(consumer);
        let admin = target.admin();
        eventually("it has left", async || {
            let described = admin.describe_groups([&group]).await.unwrap().remove(0).1.unwrap();
            (described.state == GroupState::Empty).then_some(())
        })
        .await;
        let committed = offsets(&committed(&target, &group).await);
        assert_eq!(committed, [(0, 1)], "nobody knows whether it was done with the second");
    });
}

#[test]
fn subscribing_again_after_leaving_begins_where_it_left() {
    in_each(async |target| {
        let (topic, group) = (target.topic("again", 1).await, unique("again"));
        let other = target.topic("again-other", 1).await;
        send(&target, &topic, 1, 3).await;
        send(&target, &other, 1, 1).await;
        let consumer = member(&target, &group, &topic);
        assert_eq!(places(&next(&consumer, 2).await).len(), 1);
        consumer.unsubscribe().await.unwrap();
        assert!(consumer.assignment().is_empty() && consumer.try_next_batch(1).is_none());
        assert_eq!(offsets(&committed(&target, &group).await), [(0, 1)]);
        consumer.subscribe([&*topic]).unwrap();
        assert_eq!(places(&next(&consumer, 1).await), [(0, 1)]);
        // Other topics, without leaving.
        consumer.subscribe([&*other]).unwrap();
        let batch = timeout(PATIENCE, async {
            loop {
                let batch = consumer.next_batch(1).await.unwrap();
                if **batch.topic() == *other {
                    return batch;
                }
            }
        });
        assert_eq!(places(&batch.await.unwrap()), [(0, 0)]);
        // Without waiting for the end of the one before.
        _ = timeout(Duration::ZERO, consumer.unsubscribe()).await;
        consumer.subscribe([&*topic]).unwrap();
        send(&target, &topic, 1, 1).await;
        while places(&next(&consumer, 1).await) != [(0, 3)] {}
        close(consumer).await;
    });
}
