//! The handles against a real broker, as a binding uses them.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use ottla_bindings::{
    Admin, BindingError, CompletionQueue, Config, Consumer, Next, OwnedRecord, Producer, RecordBatch, Wait,
    core::{ErrorCode, Header, NewTopic, OffsetSpec, RebalanceKind, Record, TopicPartition},
    error::{AUTHENTICATION, CANCELLED, CLOSED, FATAL, FORKED, INVALID_ARG, QUEUE_FULL, RECORD_TOO_LARGE},
};
use ottla_interop::{broker::TestBroker, kafka::QUICK_GROUPS};

const PATIENCE: Duration = Duration::from_secs(20);

fn patience() -> Wait<'static> {
    Wait::at_most(PATIENCE)
}

fn bootstrap() -> String {
    static BROKER: OnceLock<TestBroker> = OnceLock::new();
    let at_once = [("group.initial.rebalance.delay.ms", "0")];
    let start = || TestBroker::start(&QUICK_GROUPS.into_iter().chain(at_once).collect::<Vec<_>>());
    BROKER.get_or_init(start).bootstrap()
}

fn config(settings: &[(&str, &str)]) -> Config {
    let mut config = Config::new();
    config.set("bootstrap.servers", &bootstrap()).unwrap();
    settings.iter().for_each(|(key, value)| config.set(key, value).unwrap());
    config
}

/// A topic of a name that no other test has.
fn topic(stem: &str, partitions: i32) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let name = format!("{stem}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let admin = Admin::new(config(&[]).admin().unwrap()).unwrap();
    let created = admin.create_topics(vec![NewTopic::new(&name).partitions(partitions)], false);
    created.wait(patience()).unwrap().remove(0).1.unwrap();
    name
}

fn producer(settings: &[(&str, &str)]) -> Producer {
    Producer::new(config(settings).producer().unwrap()).unwrap()
}

fn consumer(settings: &[(&str, &str)]) -> Consumer {
    let mut config = config(settings);
    config.set("auto.offset.reset", "earliest").unwrap();
    Consumer::new(config.consumer().unwrap()).unwrap()
}

/// Sends records and waits until they are written.
fn fill(topic: &str, partition: i32, count: usize) {
    let producer = producer(&[]);
    for i in 0..count {
        let value = i.to_string();
        producer.send(&Record::to(topic).partition(partition).value(&value), None, patience()).unwrap();
    }
    producer.close(PATIENCE).wait(patience()).unwrap();
}

/// The next batch, where nothing else is to come.
fn batch(consumer: &Consumer) -> RecordBatch {
    match consumer.next(usize::MAX, patience()).unwrap() {
        Next::Batch(batch) => batch,
        next => panic!("{next:?}"),
    }
}

#[test]
fn a_login_is_a_matter_of_settings_and_a_wrong_password_an_error_of_its_own() {
    let broker = TestBroker::start(&[
        ("listeners", "LOGIN://127.0.0.1:0"),
        ("listener.security.protocol.map", "LOGIN:SASL_PLAINTEXT"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ("ottla.initial.scram.credentials", "SCRAM-SHA-256=[name=alice,password=wonder]"),
    ]);
    let alice = |password: &str| {
        let mut config = Config::new();
        config.set("bootstrap.servers", &broker.bootstrap()).unwrap();
        config.set("security.protocol", "sasl_plaintext").unwrap();
        config.set("sasl.mechanisms", "SCRAM-SHA-256").unwrap();
        config.set("sasl.username", "alice").unwrap();
        config.set("sasl.password", password).unwrap();
        Producer::new(config.producer().unwrap()).unwrap()
    };
    let producer = alice("wonder");
    producer.send(&Record::to("secrets").value("x"), None, patience()).unwrap();
    producer.close(PATIENCE).wait(patience()).unwrap();
    let error = alice("hunter2").send(&Record::to("secrets").value("x"), None, patience()).unwrap_err();
    assert_eq!((error.code, error.name, error.flags), (AUTHENTICATION, "AUTHENTICATION", FATAL), "{error:?}");
    assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
}

#[test]
fn deliveries_come_in_batches_after_one_wake() {
    let topic = topic("deliveries", 1);
    let producer = producer(&[]);
    let queue = Arc::new(CompletionQueue::new());
    let bell = queue.clone();
    producer.on_deliveries(move || bell.push(())).unwrap();
    let mut told = BTreeMap::new();
    for token in 0..2_000u64 {
        let value = token.to_string();
        producer.send(&Record::to(&topic).value(&value), Some(token), patience()).unwrap();
    }
    while told.len() < 2_000 {
        patience().until(|slice| queue.wait(slice)).unwrap();
        queue.drain(&mut Vec::new(), usize::MAX);
        for batch in producer.take_deliveries().unwrap() {
            assert!(batch.error().is_none());
            told.extend(batch.reports().map(|report| (report.token, report.offset)));
        }
    }
    assert!(told.iter().all(|(token, offset)| *token as i64 == *offset), "one partition, in order");
    producer.close(PATIENCE).wait(patience()).unwrap();
    let error = producer.try_send(&Record::to(&topic), None).unwrap_err();
    assert_eq!(error.code, CLOSED);
}

#[test]
fn records_that_have_to_wait_are_taken_in_their_turn_and_one_that_cannot_be_is_told() {
    let topic = topic("turns", 1);
    let producer = producer(&[("max.block.ms", "2000")]);
    let refused = Arc::new(CompletionQueue::new());
    let told = refused.clone();
    producer.on_refusal(move |token, error| told.push((token, error.code)));
    // The first has to wait for the topic's partitions; those behind it must not overtake it.
    for token in 0..500u64 {
        producer.send_in_turn(&Record::to(&topic).value(&token.to_string()), token).unwrap();
    }
    let huge = vec![0; 2 << 20];
    producer.send_in_turn(&Record::to(&topic).value(&huge), 500).unwrap_or_else(|error| {
        // Taken or refused at once, if all before it have been taken already.
        assert_eq!(error.code, RECORD_TOO_LARGE);
        refused.push((500, error.code));
    });
    let mut offsets = Vec::new();
    while offsets.len() < 500 {
        producer.flush().wait(patience()).unwrap();
        for batch in producer.take_deliveries().unwrap() {
            offsets.extend(batch.reports().map(|report| (report.token, report.offset)));
        }
    }
    assert!(offsets.iter().all(|(token, offset)| *token as i64 == *offset), "one partition, in order");
    patience().until(|slice| refused.wait(slice)).unwrap();
    let mut failures = Vec::new();
    refused.drain(&mut failures, usize::MAX);
    assert_eq!(failures, [(500, RECORD_TOO_LARGE)]);
}

#[test]
fn awaited_records_are_taken_in_their_turn_and_those_given_up_meanwhile_are_not_sent() {
    let broker = TestBroker::start(&[("auto.create.topics.enable", "false")]);
    let mut config = Config::new();
    config.set("bootstrap.servers", &broker.bootstrap()).unwrap();
    let record = |text: &str| OwnedRecord {
        topic: "later".to_owned(),
        value: Some(text.as_bytes().to_vec()),
        ..OwnedRecord::default()
    };
    let producer = Producer::new(config.producer().unwrap()).unwrap();
    // All wait for the topic; the first is in hand, those behind it must not overtake it.
    let mut calls: Vec<_> = (0..300).map(|n| producer.deliver(record(&n.to_string()))).collect();
    assert_eq!(producer.try_send_behind(&record("behind").borrow()).unwrap_err().code, QUEUE_FULL);
    let huge = producer.deliver(record(&"x".repeat(2 << 20)));
    drop(calls.split_off(200));
    drop(calls.remove(0));
    let admin = Admin::new(config.admin().unwrap()).unwrap();
    let created = admin.create_topics(vec![NewTopic::new("later").partitions(1)], false);
    created.wait(patience()).unwrap().remove(0).1.unwrap();
    let offsets: Vec<i64> = calls.into_iter().map(|call| call.wait(patience()).unwrap().offset).collect();
    assert_eq!(offsets, (0..199).collect::<Vec<_>>());
    assert_eq!(huge.wait(patience()).unwrap_err().code, RECORD_TOO_LARGE);
    assert_eq!(producer.deliver(record("last")).wait(patience()).unwrap().offset, 199);
    producer.close(PATIENCE).wait(patience()).unwrap();
    assert_eq!(producer.deliver(record("late")).wait(patience()).unwrap_err().code, CLOSED);
}

#[test]
fn packed_records_queue_behind_those_that_wait_and_catching_up_waits_for_all() {
    let topic = topic("packed-turns", 1);
    let producer = producer(&[]);
    let refused = Arc::new(CompletionQueue::new());
    let told = refused.clone();
    producer.on_refusal(move |token, error| told.push((token, error.code)));
    let number = producer.intern(&topic);
    let none = u32::MAX;
    let entry = |bytes: u32| [number, none, none, bytes, 0, 0, none, none];
    let huge = vec![0; 2 << 20];
    // Three calls of a hundred, the first before the topic's partitions are known; one that no broker takes; one more.
    let waiting = producer.send_packed_in_turn(&[b'x'; 100], &entry(1).repeat(100), Some(0)).unwrap();
    assert!(waiting > 0, "nobody knows the topic yet");
    producer.send_packed_in_turn(&[b'x'; 100], &entry(1).repeat(100), Some(100)).unwrap();
    producer.caught_up().wait(patience()).unwrap();
    producer.send_packed_in_turn(&[b'x'; 100], &entry(1).repeat(100), Some(200)).unwrap();
    producer.send_packed_in_turn(&huge, &entry(2 << 20), Some(300)).unwrap();
    producer.send_packed_in_turn(b"x", &entry(1), Some(301)).unwrap();
    producer.flush().wait(patience()).unwrap();
    let batches = producer.take_deliveries().unwrap();
    let places: Vec<_> = batches.iter().flat_map(|batch| batch.reports()).collect();
    let tokens: Vec<u64> = places.iter().map(|report| report.token).collect();
    assert_eq!(tokens, (0..300).chain([301]).collect::<Vec<_>>(), "in the order of the calls");
    let mut failures = Vec::new();
    refused.drain(&mut failures, usize::MAX);
    assert_eq!(failures, [(300, RECORD_TOO_LARGE)]);
}

#[test]
fn those_behind_one_that_waited_in_vain_do_not_wait_as_long_again() {
    let mut config = Config::new();
    config.set("bootstrap.servers", "localhost:1").unwrap();
    config.set("max.block.ms", "400").unwrap();
    let producer = Producer::new(config.producer().unwrap()).unwrap();
    let refused = Arc::new(AtomicU32::new(0));
    let count = refused.clone();
    producer.on_refusal(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let began = Instant::now();
    for token in 0..50 {
        producer.send_in_turn(&Record::to("nowhere").value("x"), token).unwrap();
    }
    producer.caught_up().wait(patience()).unwrap();
    assert_eq!(refused.load(Ordering::Relaxed), 50);
    assert!(began.elapsed() < Duration::from_secs(10), "50 times 400 ms is what it must not be");
}

#[test]
fn packed_records_come_back_equal() {
    let (one, other) = (topic("packed", 1), topic("packed", 2));
    let producer = producer(&[("max.request.size", "2000")]);
    assert_eq!((producer.intern(&one), producer.intern(&other), producer.intern(&one)), (0, 1, 0));
    let mut data = Vec::new();
    let mut table: Vec<u32> = Vec::new();
    let none = u32::MAX;
    // A key and a value; nulls; empty ones with headers, to a partition, with a timestamp; too large.
    data.extend(b"keyvalue");
    table.extend([0, none, 3, 5, 0, 0, none, none]);
    table.extend([0, none, none, none, 0, 0, none, none]);
    let headers = data.len();
    for (name, value) in [("h", Some(&b"1"[..])), ("h", None), ("ü", Some(b""))] {
        data.extend((name.len() as u32).to_le_bytes());
        data.extend(name.as_bytes());
        data.extend(value.map_or(-1, |value| value.len() as i32).to_le_bytes());
        data.extend(value.unwrap_or_default());
    }
    table.extend([1, 1, 0, 0, 3, (data.len() - headers) as u32, 1_700, 1]);
    data.extend([7; 3_000]);
    table.extend([0, none, none, 3_000, 0, 0, none, none]);
    producer.ready(&one, 0).wait(patience()).unwrap();
    producer.ready(&other, 0).wait(patience()).unwrap();
    let packed = producer.send_packed(&data, &table, Some(100)).unwrap();
    assert_eq!((packed.taken, packed.data_bytes), (4, data.len()));
    assert_eq!((packed.rejected[0].0, packed.rejected[0].1.code), (3, RECORD_TOO_LARGE));
    producer.flush().wait(patience()).unwrap();

    let consumer = consumer(&[]);
    consumer.assign(vec![TopicPartition::new(&*one, 0)]).unwrap();
    let first = batch(&consumer);
    assert_eq!((first.key(0), first.value(0)), (Some(&b"key"[..]), Some(&b"value"[..])));
    assert_eq!((first.key(1), first.value(1), first.headers(1).count()), (None, None, 0));
    let view = first.views()[0];
    let data = first.data();
    assert_eq!(&data[view.key_off as usize..][..3], b"key", "the table says where it lies");
    assert_eq!((view.offset, view.partition, first.view_bytes().len()), (0, 0, 128));
    consumer.assign(vec![TopicPartition::new(&*other, 1)]).unwrap();
    let second = batch(&consumer);
    assert_eq!((second.key(0), second.value(0)), (Some(&b""[..]), Some(&b""[..])));
    let headers: Vec<_> = second.headers(0).collect();
    assert_eq!(headers, [(&b"h"[..], Some(&b"1"[..])), (b"h", None), ("ü".as_bytes(), Some(b""))]);
    assert_eq!(second.views()[0].timestamp_ms, (1 << 32) + 1_700);
    drop(consumer);
    assert_eq!(first.value(0), Some(&b"value"[..]), "a batch outlives its consumer");
}

#[test]
fn a_full_buffer_is_said_at_once_or_waited_for_until_somebody_interrupts() {
    let topic = topic("full", 1);
    let producer = producer(&[("buffer.memory", "65536"), ("batch.size", "16384")]);
    let value = vec![0; 8_000];
    let record = Record::to(&topic).value(&value);
    producer.send(&record, Some(0), patience()).unwrap();
    // Reports take room, so that whoever does not drain them comes to an end.
    let mut sent = 0u64;
    let full = loop {
        match producer.try_send(&Record::to(&topic), Some(sent)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
        producer.flush().wait(patience()).unwrap();
    };
    assert_eq!((full.code, full.is_retriable()), (QUEUE_FULL, true));
    let began = Instant::now();
    let mut is_interrupted = || began.elapsed() > Duration::from_millis(10);
    let error = producer.send(&record, None, patience().unless(&mut is_interrupted)).unwrap_err();
    assert_eq!(error.code, CANCELLED);
    producer.take_deliveries().unwrap();
    producer.ready(&topic, 8_000).wait(patience()).unwrap();
    producer.try_send(&record, None).unwrap();
}

#[test]
fn calls_end_on_a_queue_whatever_becomes_of_their_client() {
    let topic = topic("calls", 3);
    let queue = Arc::new(CompletionQueue::new());
    let tell = |what: &'static str| {
        let queue: Arc<CompletionQueue<_>> = queue.clone();
        move |outcome: Result<usize, BindingError>| queue.push((what, outcome))
    };
    let producer = producer(&[]);
    producer.partition_count(&topic).start(tell("known"));
    let consumer = consumer(&[]);
    // Nothing is assigned: it would wait for ever.
    consumer.ready().map(|()| 0).start(tell("freed"));
    drop(consumer);
    let mut told = Vec::new();
    while told.len() < 2 {
        patience().until(|slice| queue.wait(slice)).unwrap();
        queue.drain(&mut told, usize::MAX);
    }
    told.sort_by_key(|(what, _)| *what);
    assert_eq!(told[0].1.as_ref().unwrap_err().code, CANCELLED);
    assert_eq!(told[1], ("known", Ok(3)));
}

#[test]
fn an_event_loop_reads_without_waiting_in_a_call() {
    let topic = topic("loop", 1);
    let consumer = consumer(&[]);
    consumer.assign(vec![TopicPartition::new(&*topic, 0)]).unwrap();
    let queue = Arc::new(CompletionQueue::new());
    let sending = thread::spawn({
        let topic = topic.clone();
        move || fill(&topic, 0, 500)
    });
    let mut read = 0;
    while read < 500 {
        match consumer.try_next(100).unwrap() {
            Next::Batch(batch) => {
                assert_eq!(batch.views()[0].offset, read, "none is missing");
                read += batch.len() as i64;
            }
            Next::Rebalance(rebalance) => panic!("{rebalance:?}"),
            Next::Nothing => {
                let bell = queue.clone();
                consumer.ready().start(move |_| bell.push(()));
                patience().until(|slice| queue.wait(slice)).unwrap();
                queue.drain(&mut Vec::new(), 1);
            }
        }
    }
    sending.join().unwrap();
}

#[test]
fn a_wait_for_records_ends_when_it_is_woken() {
    let consumer = consumer(&[]);
    let waker = consumer.clone();
    let waking = thread::spawn(move || waker.wake());
    assert!(matches!(consumer.next(1, patience()), Ok(Next::Nothing)));
    waking.join().unwrap();
    assert!(matches!(consumer.next(1, Wait::ms(1)), Ok(Next::Nothing)), "one wake ends one wait");
}

#[test]
fn rebalances_come_in_line_with_records_and_when_closing() {
    let topic = topic("rebalances", 2);
    fill(&topic, 0, 10);
    fill(&topic, 1, 10);
    let group = [("group.id", &*topic), ("enable.auto.commit", "false")];
    let first = consumer(&group);
    first.listen().unwrap();
    first.subscribe(vec![topic.clone()]).unwrap();
    let mut read = 0;
    let mut steps = Vec::new();
    let step = |next: Next, read: &mut usize, steps: &mut Vec<(RebalanceKind, usize)>| match next {
        Next::Batch(batch) => *read += batch.len(),
        Next::Rebalance(rebalance) => {
            if rebalance.kind() == RebalanceKind::Revoked {
                // Under way before the step is let go; what came of it shows in what the other reads.
                drop(rebalance.commit());
            }
            steps.push((rebalance.kind(), rebalance.partitions().len()));
        }
        Next::Nothing => {}
    };
    while read < 20 {
        step(first.next(100, patience()).unwrap(), &mut read, &mut steps);
    }
    assert_eq!(steps, [(RebalanceKind::Assigned, 2)]);

    let second = consumer(&group);
    second.subscribe(vec![topic.clone()]).unwrap();
    let mut of_second = 0;
    while second.assignment().unwrap().is_empty() {
        step(first.next(100, Wait::ms(20)).unwrap(), &mut read, &mut steps);
        if let Next::Batch(batch) = second.try_next(100).unwrap() {
            of_second += batch.len();
        }
    }
    assert!(steps.iter().any(|(kind, _)| *kind == RebalanceKind::Revoked), "{steps:?}");
    let mut on_close = Vec::new();
    let take = |rebalance: ottla_bindings::core::Rebalance| on_close.push(rebalance.kind());
    first.close_with(PATIENCE, take, patience()).unwrap();
    assert_eq!(on_close, [RebalanceKind::Revoked]);
    assert_eq!(of_second, 0, "what was read is committed");
    second.close(PATIENCE).wait(patience()).unwrap();
}

#[test]
fn what_is_committed_while_closing_counts() {
    let topic = topic("closing", 1);
    fill(&topic, 0, 10);
    let tp = TopicPartition::new(&*topic, 0);
    let group = [("group.id", &*topic), ("enable.auto.commit", "false")];
    let reader = consumer(&group);
    reader.listen().unwrap();
    reader.subscribe(vec![topic.clone()]).unwrap();
    while !matches!(reader.next(100, patience()).unwrap(), Next::Batch(_)) {}
    let mut commits = Vec::new();
    let take = |_| {
        let (sender, receiver) = std::sync::mpsc::channel();
        reader.commit_offsets(vec![(tp.clone(), 7.into())]).start(move |outcome| _ = sender.send(outcome));
        commits.push(receiver.recv_timeout(PATIENCE).unwrap());
    };
    reader.close_with(PATIENCE, take, patience()).unwrap();
    assert_eq!(commits, [Ok(())]);
    let after = consumer(&group);
    assert_eq!(after.committed(vec![tp.clone()]).wait(patience()).unwrap()[&tp].offset, 7);
    assert_eq!(reader.commit().wait(patience()).unwrap_err().code, CLOSED);
}

#[test]
fn who_is_told_of_the_partitions_that_go_can_commit_while_the_consumer_closes() {
    let topic = topic("last-commits", 1);
    fill(&topic, 0, 10);
    let tp = TopicPartition::new(&*topic, 0);
    let group = [("group.id", &*topic), ("enable.auto.commit", "false")];
    let reader = consumer(&group);
    let (told, committing, of) = (Arc::new(CompletionQueue::new()), reader.clone(), tp.clone());
    let tell = told.clone();
    let take = move |rebalance: ottla_bindings::core::Rebalance| {
        if rebalance.kind() == RebalanceKind::Revoked {
            let tell = tell.clone();
            // The group waits until the step is dropped, and so for the commit.
            committing.commit_offsets(vec![(of.clone(), 7.into())]).start(move |outcome| {
                tell.push(outcome);
                drop(rebalance);
            });
        }
    };
    reader.on_rebalance(take).unwrap();
    reader.subscribe(vec![topic.clone()]).unwrap();
    assert_eq!(batch(&reader).len(), 10);
    reader.close(PATIENCE).wait(patience()).unwrap();
    let mut outcomes = Vec::new();
    told.drain(&mut outcomes, usize::MAX);
    assert_eq!(outcomes, [Ok(())]);
    let committed = consumer(&group).committed(vec![tp.clone()]).wait(patience()).unwrap();
    assert_eq!(committed[&tp].offset, 7);
    assert_eq!(reader.commit().wait(patience()).unwrap_err().code, CLOSED, "now it is too late");
}

#[test]
fn commits_are_of_batches_or_parts_of_them() {
    let topic = topic("commits", 1);
    fill(&topic, 0, 10);
    let tp = TopicPartition::new(&*topic, 0);
    let reader = consumer(&[("group.id", &topic), ("enable.auto.commit", "false")]);
    reader.assign(vec![tp.clone()]).unwrap();
    let batch = batch(&reader);
    let committed = || reader.committed(vec![tp.clone()]).wait(patience()).unwrap()[&tp].offset;
    reader.commit_below(&batch, batch.views()[0].offset + 1).wait(patience()).unwrap();
    assert_eq!(committed(), 1);
    let place = batch.core().place();
    reader.commit_at(&place, 4).wait(patience()).unwrap();
    assert_eq!(committed(), 4, "a batch need not be kept to be committed");
    let lying = &batch.data()[batch.span()];
    assert!(lying.starts_with(b"0") && lying.ends_with(b"9"), "{lying:?}");
    reader.commit_batch(&batch).wait(patience()).unwrap();
    assert_eq!(committed(), batch.next_offset());
    assert_eq!(reader.end_offsets(vec![tp.clone()]).wait(patience()).unwrap()[&tp], 10);
    let ungrouped = consumer(&[]);
    let error = ungrouped.commit_batch(&batch).wait(patience()).unwrap_err();
    assert!(error.hint.unwrap().contains("group.id"));
}

#[test]
fn an_admin_tells_what_became_of_each() {
    let name = topic("admin", 2);
    let admin = Admin::new(config(&[]).admin().unwrap()).unwrap();
    let outcomes = admin.create_topics(vec![NewTopic::new(&name)], false).wait(patience()).unwrap();
    let error = outcomes[0].1.as_ref().unwrap_err();
    assert_eq!(error.code, i32::from(ErrorCode::TOPIC_ALREADY_EXISTS.0), "Kafka's own number");
    assert_eq!(error.name, "TOPIC_ALREADY_EXISTS");
    let described = admin.describe_topics(vec![name.clone()]).wait(patience()).unwrap();
    assert_eq!(described[0].1.as_ref().unwrap().partitions.len(), 2);
    let offsets = vec![(TopicPartition::new(&*name, 0), OffsetSpec::Latest)];
    assert_eq!(admin.list_offsets(offsets).wait(patience()).unwrap()[0].1.as_ref().unwrap().offset, Some(0));
    assert!(!admin.describe_cluster().wait(patience()).unwrap().brokers.is_empty());
    assert_eq!(admin.delete_topics(vec![name]).wait(patience()).unwrap()[0].1, Ok(()));
}

#[test]
fn what_can_never_be_sent_is_refused_by_its_kind() {
    let topic = topic("refused", 1);
    let producer = producer(&[]);
    let at_nine = producer.send(&Record::to(&topic).partition(9), None, patience()).unwrap_err();
    assert_eq!(at_nine.code, INVALID_ARG);
    let headers = [Header::new("a", None)];
    let mut record = Record::to(&topic);
    record.headers = headers[..].into();
    producer.send(&record, None, patience()).unwrap();
    let large = vec![0; 2 << 20];
    let error = producer.try_send(&Record::to(&topic).value(&large), None).unwrap_err();
    assert_eq!(error.code, RECORD_TOO_LARGE);
    assert!(error.hint.unwrap().contains("max.request.size"));
}

#[cfg(unix)]
#[test]
fn a_child_gets_forked_from_every_handle_and_frees_them_without_waiting() {
    let topic = topic("fork", 1);
    let (producer, consumer) = (producer(&[]), consumer(&[]));
    producer.send(&Record::to(&topic), None, patience()).unwrap();
    let codes = || {
        [
            producer.try_send(&Record::to(&topic), None).unwrap_err().code,
            producer.flush().wait(Wait::forever()).unwrap_err().code,
            consumer.try_next(1).unwrap_err().code,
        ]
    };
    // SAFETY: the child calls handles, which take no lock of the parent's, and ends by `_exit`.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let is_told = codes() == [FORKED; 3];
        drop((producer, consumer));
        // SAFETY: ends the child without what the parent's threads have registered.
        unsafe { libc::_exit(i32::from(!is_told)) }
    }
    let mut status = -1;
    // SAFETY: `status` lives through the call.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
    assert_eq!(status, 0);
    producer.send(&Record::to(&topic), None, patience()).unwrap();
    producer.close(PATIENCE).wait(patience()).unwrap();
}
