//! Who has used up a quota is told so and left alone for that long (KIP-219), by our broker: request by request; and Kafka's own tool
//! and other people's producers with it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{ErrorKind, Read},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, kafka_tool},
    record::{PeerRecord, base64},
    wire::{FETCH_BY_NAME, PRODUCE_BY_NAME, Wire, batch, fetch_request, produce_request, produced},
};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        AlterClientQuotasRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
        MetadataRequest,
        alter_client_quotas::{EntityData, OpData, RequestEntryData},
        create_partitions::CreatePartitionsTopic,
        create_topics::CreatableTopic,
    },
};

/// What is spent on waking up, beyond what was asked to wait.
const GRACE: Duration = Duration::from_millis(50);

fn address(broker: &TestBroker) -> SocketAddr {
    broker.bootstrap().parse().unwrap()
}

/// Sets a quota of a `kind` of entity.
fn set(broker: &TestBroker, kind: &str, name: &str, quota: &str, value: f64) {
    let request = AlterClientQuotasRequest {
        entries: vec![RequestEntryData {
            entity: vec![EntityData { entity_type: kind.into(), entity_name: Some(name.into()) }],
            ops: vec![OpData { key: quota.into(), value, remove: false }],
        }],
        validate_only: false,
    };
    let answer = Wire::connect(address(broker)).named("admin").call(1, &request);
    assert_eq!(answer.entries[0].error_code, ErrorCode::NONE, "{:?}", answer.entries[0].error_message);
}

fn throttle(ms: i32) -> Duration {
    Duration::from_millis(ms.try_into().unwrap())
}

fn nothing() -> MetadataRequest {
    MetadataRequest { topics: Some(Vec::new()), ..Default::default() }
}

#[test]
fn a_producer_past_its_rate_is_answered_at_once_and_then_left_alone() {
    let broker = TestBroker::start(&[]);
    let mut other = Wire::connect(address(&broker)).named("other");
    other.create_topic("t", 1, &[]);
    // Connections that there are already, too.
    let mut wire = Wire::connect(address(&broker)).named("limited");
    wire.call(12, &nothing());
    set(&broker, "client-id", "limited", "producer_byte_rate", 10_000.0);

    let large = produce_request("t", 0, -1, &batch(&[&[7; 110_000]]));
    let began = Instant::now();
    let first = wire.send(PRODUCE_BY_NAME, &large);
    // It comes while the first is under way; they would overlap.
    let second = wire.send(PRODUCE_BY_NAME, &produce_request("t", 0, -1, &batch(&[b"small"])));
    let answer = wire.receive::<ottla_protocol::messages::ProduceRequest>(PRODUCE_BY_NAME, first);
    let hold_off = throttle(answer.throttle_time_ms);
    assert!((900..1300).contains(&hold_off.as_millis()), "{hold_off:?}");
    assert!(began.elapsed() < hold_off, "it is answered at once");
    assert_eq!(produced(answer).error_code, ErrorCode::NONE, "and what it sent is written");
    assert_eq!(other.call(PRODUCE_BY_NAME, &large).throttle_time_ms, 0, "it is nobody else's quota");
    assert!(began.elapsed() < hold_off, "nobody else waits");
    let answer = wire.receive::<ottla_protocol::messages::ProduceRequest>(PRODUCE_BY_NAME, second);
    assert!(began.elapsed() + GRACE >= hold_off, "{:?} of {hold_off:?}", began.elapsed());
    assert_eq!(produced(answer).error_code, ErrorCode::NONE);
}

#[test]
fn a_producer_that_wants_no_answers_is_left_alone_as_long() {
    let broker = TestBroker::start(&[]);
    let mut wire = Wire::connect(address(&broker)).named("limited");
    wire.create_topic("t", 1, &[]);
    set(&broker, "client-id", "limited", "producer_byte_rate", 10_000.0);
    let began = Instant::now();
    wire.send(PRODUCE_BY_NAME, &produce_request("t", 0, 0, &batch(&[&[7; 110_000]])));
    wire.call(12, &nothing());
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
}

#[test]
fn a_client_that_goes_away_while_it_is_to_hold_off_is_not_kept() {
    let broker = TestBroker::start(&[("max.connections", "2")]);
    let mut wire = Wire::connect(address(&broker)).named("limited");
    wire.create_topic("t", 1, &[]);
    set(&broker, "client-id", "limited", "producer_byte_rate", 100.0);
    let _other = Wire::connect(address(&broker));
    let answer = wire.call(PRODUCE_BY_NAME, &produce_request("t", 0, -1, &batch(&[&[7; 110_000]])));
    assert!(throttle(answer.throttle_time_ms) > Duration::from_secs(600));
    drop(wire);
    let end = Instant::now() + Duration::from_secs(30);
    // There is room for one more as soon as the first is gone; until then connections are closed.
    loop {
        let mut next = TcpStream::connect(address(&broker)).unwrap();
        next.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        match next.read(&mut [0]) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            _ => assert!(Instant::now() < end, "it is kept"),
        }
    }
}

#[test]
fn a_consumer_past_its_rate_gets_nothing_and_all_of_it_later() {
    const BATCH: [u8; 10_000] = [7; 10_000];
    let broker = TestBroker::start(&[]);
    let mut wire = Wire::connect(address(&broker)).named("limited");
    wire.create_topic("t", 1, &[]);
    for _ in 0..30 {
        wire.produce("t", 0, &batch(&[&BATCH]));
    }
    set(&broker, "client-id", "limited", "consumer_byte_rate", 20_000.0);
    let fetch = |wire: &mut Wire, offset: i64, bytes_max: i32| {
        let mut request = fetch_request("t", &[(0, offset)]);
        request.topics[0].partitions[0].partition_max_bytes = bytes_max;
        wire.call(FETCH_BY_NAME, &request)
    };
    // No more than the windows let through at once.
    let all = fetch(&mut wire, 0, i32::MAX);
    let bytes = all.responses[0].partitions[0].records.as_ref().unwrap().len();
    assert!((150_000..=200_000).contains(&bytes), "{bytes}");
    assert_eq!(all.throttle_time_ms, 0);
    let offset = (bytes / BATCH.len()) as i64;
    let began = Instant::now();
    let empty = fetch(&mut wire, offset, 10_000);
    let hold_off = throttle(empty.throttle_time_ms);
    assert_eq!((empty.error_code, empty.responses.len(), empty.session_id), (ErrorCode::NONE, 0, 0));
    assert!(hold_off > Duration::ZERO && began.elapsed() < hold_off, "it is answered at once");
    let records = loop {
        let answer = fetch(&mut wire, offset, 10_000);
        assert!(began.elapsed() + GRACE >= hold_off, "{:?} of {hold_off:?}", began.elapsed());
        if answer.throttle_time_ms == 0 {
            break answer.responses[0].partitions[0].records.as_ref().unwrap().len();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "it never comes");
    };
    assert!(records >= BATCH.len(), "{records}");
}

#[test]
fn topics_past_the_quota_are_refused_to_clients_that_know_the_error_and_made_for_others() {
    let broker = TestBroker::start(&[]);
    let create = |name: &str, partitions: i32| CreateTopicsRequest {
        topics: vec![CreatableTopic {
            name: name.into(),
            num_partitions: partitions,
            replication_factor: 1,
            ..Default::default()
        }],
        timeout_ms: 10_000,
        ..Default::default()
    };
    set(&broker, "user", "ANONYMOUS", "controller_mutation_rate", 1.0);
    let connect = || Wire::connect(address(&broker));
    // A burst of 11 seconds, and half a second more once.
    let made = connect().call(7, &create("a", 12));
    assert_eq!((made.topics[0].error_code, made.throttle_time_ms), (ErrorCode::NONE, 0));
    let exceeded = |code: ErrorCode, throttle_time_ms: i32| {
        assert_eq!(code, ErrorCode::THROTTLING_QUOTA_EXCEEDED);
        assert!((1..=1100).contains(&throttle_time_ms), "{throttle_time_ms}");
    };
    let mut wire = connect();
    let refused = wire.call(7, &create("b", 1));
    exceeded(refused.topics[0].error_code, refused.throttle_time_ms);
    let more = CreatePartitionsTopic { name: "a".into(), count: 13, assignments: None };
    let more = CreatePartitionsRequest { topics: vec![more], timeout_ms: 10_000, ..Default::default() };
    let refused = connect().call(3, &more);
    exceeded(refused.results[0].error_code, refused.throttle_time_ms);
    let delete =
        DeleteTopicsRequest { topic_names: vec!["a".into()], timeout_ms: 10_000, ..Default::default() };
    let refused = connect().call(5, &delete);
    exceeded(refused.responses[0].error_code, refused.throttle_time_ms);
    let made = connect().call(5, &create("older", 1));
    assert_eq!(made.topics[0].error_code, ErrorCode::NONE);
    assert!(made.throttle_time_ms > 500, "{}", made.throttle_time_ms);
    // The connection was left alone until there was a token again; what the older client made delays it a little more.
    let end = Instant::now() + Duration::from_secs(30);
    while wire.call(7, &create("b", 1)).topics[0].error_code.is_error() {
        assert!(Instant::now() < end, "it is never made");
    }
}

#[test]
fn requests_that_cost_more_time_than_they_may_are_followed_by_a_pause() {
    let broker = TestBroker::start(&[]);
    let mut wire = Wire::connect(address(&broker)).named("limited");
    // So little that any request is too much.
    set(&broker, "client-id", "limited", "request_percentage", 0.000_001);
    let began = Instant::now();
    assert_eq!(wire.call(12, &nothing()).throttle_time_ms, 1000, "no more than a window");
    assert!(began.elapsed() < Duration::from_secs(1), "it is answered at once");
    wire.call(12, &nothing());
    assert!(began.elapsed() + GRACE >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn an_address_that_makes_too_many_connections_keeps_those_that_it_has() {
    let broker = TestBroker::start(&[]);
    set(&broker, "ip", "127.0.0.1", "connection_creation_rate", 1.0);
    let mut first = Wire::connect(address(&broker));
    first.call(12, &nothing());
    // The windows let ten through at once.
    let more: Vec<_> = (0..20).map(|_| Wire::connect(address(&broker))).collect();
    let closed = more.into_iter().skip(15);
    closed.for_each(Wire::expect_closed);
    first.call(12, &nothing());
}

#[test]
fn a_listener_accepts_no_faster_than_it_may() {
    let broker = TestBroker::start(&[("max.connection.creation.rate", "2")]);
    let began = Instant::now();
    for _ in 0..24 {
        Wire::connect(address(&broker)).call(12, &nothing());
    }
    // Twenty are free; each of the others waits until the rate is back at 2 a second, at most a window.
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
}

#[test]
fn kafkas_tool_sets_describes_and_removes_quotas() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[]);
    let bootstrap = broker.bootstrap();
    let configs = |args: &[&str]| {
        kafka_tool(CONFIGS, &[&["--bootstrap-server", &bootstrap], args].concat(), None)
            .unwrap_or_else(|error| panic!("{error:#}"))
    };
    let alice = ["--entity-type", "users", "--entity-name", "alice"];
    let add = ["--alter", "--add-config", "producer_byte_rate=1024,request_percentage=12.5"];
    let added = configs(&[&add, &alice[..]].concat());
    assert!(added.contains("Completed updating config for user alice"), "{added}");
    let described = configs(&[&["--describe"], &alice[..]].concat());
    assert!(described.contains("producer_byte_rate=1024.0"), "{described}");
    assert!(described.contains("request_percentage=12.5"), "{described}");
    let both =
        ["--entity-type", "users", "--entity-default", "--entity-type", "clients", "--entity-name", "app"];
    configs(&[&["--alter", "--add-config", "consumer_byte_rate=2048"], &both[..]].concat());
    let described = configs(&["--describe", "--entity-type", "users", "--entity-type", "clients"]);
    assert!(described.contains("client-id 'app'"), "{described}");
    assert!(described.contains("consumer_byte_rate=2048.0"), "{described}");
    assert!(!described.contains("producer_byte_rate"), "{described}");
    let all = configs(&["--describe", "--entity-type", "users"]);
    assert!(all.contains("user-principal 'alice'") && all.contains("producer_byte_rate=1024.0"), "{all}");
    let address = ["--entity-type", "ips", "--entity-name", "10.0.0.1"];
    configs(&[&["--alter", "--add-config", "connection_creation_rate=20"], &address[..]].concat());
    let described = configs(&[&["--describe"], &address[..]].concat());
    assert!(described.contains("connection_creation_rate=20.0"), "{described}");
    configs(&[&["--alter", "--delete-config", "producer_byte_rate"], &alice[..]].concat());
    let described = configs(&[&["--describe"], &alice[..]].concat());
    assert!(!described.contains("producer_byte_rate"), "{described}");
    assert!(described.contains("request_percentage=12.5"), "{described}");
}

#[test]
fn other_peoples_producers_and_consumers_keep_to_the_rate_and_lose_nothing() {
    const BYTES_PER_S: f64 = 150_000.0;
    let value = base64(&[7; 7_500]);
    // Ten seconds' worth is free, and the request that goes past it, which has up to 1 MB, is answered at once.
    let records: Vec<_> = (0..280)
        .map(|number| PeerRecord {
            partition: 0,
            timestamp: 1_760_000_000_000 + number,
            key: None,
            value: Some(value.clone()),
            headers: Vec::new(),
        })
        .collect();
    for peer in [peers::java(), peers::confluent()].into_iter().filter_map(or_skip) {
        let broker = TestBroker::start(&[]);
        Wire::connect(address(&broker)).create_topic("t", 1, &[]);
        set(&broker, "user", "ANONYMOUS", "producer_byte_rate", BYTES_PER_S);
        let began = Instant::now();
        peer.produce(&broker.bootstrap(), "t", "none", &records).unwrap();
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(1), "{}: {took:?}", peer.name);
        set(&broker, "user", "ANONYMOUS", "consumer_byte_rate", BYTES_PER_S);
        let began = Instant::now();
        let read = peer.consume(&broker.bootstrap(), "t", records.len()).unwrap();
        let took = began.elapsed();
        assert!(read == records, "{} reads other records", peer.name);
        assert!(took >= Duration::from_secs(1), "{}: {took:?}", peer.name);
    }
}
