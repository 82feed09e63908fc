//! What clients rely on and no schema says: one test for each trap, over a socket, with the codec and nothing else.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;

use ottla_interop::{
    program::{Launch, Running},
    wire::{self, FETCH_BY_NAME, PRODUCE_BY_NAME, TIMESTAMP, Wire},
};
use ottla_protocol::{
    Bytes,
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    error_code::ErrorCode,
    messages::{
        ApiKey, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DescribeConfigsRequest,
        FetchRequest, FetchResponse, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest,
        MetadataResponse, OffsetForLeaderEpochRequest, ProduceRequest,
        create_partitions::CreatePartitionsTopic,
        create_topics::{CreatableTopic, CreatableTopicConfig},
        describe_configs::{DescribeConfigsResource, DescribeConfigsResourceResult},
        fetch::ForgottenTopic,
        list_offsets::{ListOffsetsPartition, ListOffsetsPartitionResponse, ListOffsetsTopic},
        metadata::MetadataRequestTopic,
        offset_for_leader_epoch::{EpochEndOffset, OffsetForLeaderPartition, OffsetForLeaderTopic},
    },
    record::{BatchBuilder, Header, Headers, Seal},
    types::{BrokerId, Uuid},
};
use tempfile::TempDir;

/// The newest versions, where a test does not say otherwise.
const API_VERSIONS: i16 = 4;
const CREATE_PARTITIONS: i16 = 3;
const CREATE_TOPICS: i16 = 7;
const DESCRIBE_CONFIGS: i16 = 4;
const INIT_PRODUCER_ID: i16 = 5;
const LIST_OFFSETS: i16 = 11;
const METADATA: i16 = 12;
const OFFSET_FOR_LEADER_EPOCH: i16 = 4;
/// The first byte of a batch that its checksum covers.
const CRC_COVERS_FROM: usize = 21;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A broker, a connection to it, and its data, in the order in which they are to go.
struct Test {
    wire: Wire,
    broker: Running,
    data: TempDir,
}

impl Test {
    /// With a topic `t` of `partitions` partitions.
    fn start(partitions: i32) -> Self {
        let data = tempfile::tempdir().unwrap();
        let broker = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path()).start();
        let mut wire = Wire::connect(broker.address());
        wire.create_topic("t", partitions, &[]);
        Self { wire, broker, data }
    }

    /// A connection of its own.
    fn connect(&self) -> Wire {
        Wire::connect(self.broker.address())
    }

    /// Kills the broker and starts it again.
    fn restart(self) -> Self {
        self.broker.kill();
        let broker = Launch::new(env!("CARGO_BIN_EXE_ottla"), self.data.path()).start();
        Self { wire: Wire::connect(broker.address()), broker, data: self.data }
    }

    /// Writes a batch to partition 0 and wants it taken at `offset`.
    #[track_caller]
    fn store(&mut self, offset: i64, batch: &Bytes) {
        let answer = self.wire.produce("t", 0, batch);
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset));
    }

    fn metadata(&mut self, topic: MetadataRequestTopic) -> MetadataResponse {
        let request = MetadataRequest {
            topics: Some(vec![topic]),
            allow_auto_topic_creation: false,
            ..Default::default()
        };
        self.wire.call(METADATA, &request)
    }

    fn topic_id(&mut self) -> Uuid {
        self.metadata(named("t")).topics[0].topic_id
    }

    fn leader_epoch(&mut self) -> i32 {
        self.metadata(named("t")).topics[0].partitions[0].leader_epoch
    }

    fn list_offset(&mut self, version: i16, timestamp: i64, epoch: i32) -> ListOffsetsPartitionResponse {
        let partition = ListOffsetsPartition { timestamp, current_leader_epoch: epoch, ..Default::default() };
        let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
        let request =
            ListOffsetsRequest { replica_id: BrokerId(-1), topics: vec![topic], ..Default::default() };
        self.wire.call(version, &request).topics.swap_remove(0).partitions.swap_remove(0)
    }

    fn end_of_epoch(&mut self, epoch: i32, current_epoch: i32) -> EpochEndOffset {
        let partition = OffsetForLeaderPartition {
            current_leader_epoch: current_epoch,
            leader_epoch: epoch,
            ..Default::default()
        };
        let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] };
        let request = OffsetForLeaderEpochRequest { replica_id: BrokerId(-1), topics: vec![topic] };
        let mut answer = self.wire.call(OFFSET_FOR_LEADER_EPOCH, &request);
        answer.topics.swap_remove(0).partitions.swap_remove(0)
    }
}

fn named(topic: &str) -> MetadataRequestTopic {
    MetadataRequestTopic { name: Some(topic.into()), ..Default::default() }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// A request's frame up to its body: key, version, correlation id 7, no client id.
fn raw_request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.extend((10 + body.len() as i32).to_be_bytes());
    frame.extend(key.to_be_bytes());
    frame.extend(version.to_be_bytes());
    frame.extend([0, 0, 0, 7, 0xff, 0xff]);
    frame.extend(body);
    frame
}

// ---- 1: ApiVersions ----

#[test]
fn api_versions_is_answered_without_tags_in_its_header_and_unknown_versions_in_layout_0() {
    let mut t = Test::start(1);
    for version in [6, 99, i16::MAX, -1] {
        // What a client of another time puts behind the header, nobody knows.
        t.wire.send_raw(&raw_request(18, version, b"\x00\x05later\x01"));
        let answer = t.wire.frame().unwrap();
        assert_eq!(hex(&answer), "00000007 0023 00000001 0012 0000 0005".replace(' ', ""), "{version}");
    }
    let request = ApiVersionsRequest {
        client_software_name: "wire".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let id = t.wire.send(API_VERSIONS, &request);
    let answer = t.wire.frame().unwrap();
    // Correlation id and at once the error code: a header of version 1 would have a byte of tags between.
    assert_eq!(answer[..6], [&id.to_be_bytes()[..], &[0, 0]].concat());
    assert_eq!(t.wire.call(0, &ApiVersionsRequest::default()).error_code, ErrorCode::NONE);
}

// ---- 2 and 3: what is advertised, and what is closed ----

#[test]
fn produce_is_advertised_from_0_and_works_from_3_and_what_is_not_served_closes_the_connection() {
    let mut t = Test::start(1);
    let versions = t.wire.call(3, &api_versions_request()).api_keys;
    let range = |key| versions.iter().find(|v| v.api_key == key).map(|v| (v.min_version, v.max_version));
    assert_eq!(range(0), Some((0, 13)));

    let refused = [
        (0, 2, "version 2 of Produce is not served"),
        (0, 14, "version 14 of Produce"),
        (1, 3, "version 3 of Fetch"),
        (3, 99, "version 99 of Metadata"),
        (4, 0, "there is no API 4"),
        (71, 0, "GetTelemetrySubscriptions"),
        (999, 0, "there is no API 999"),
        (-1, 0, "there is no API -1"),
    ];
    for (key, version, why) in refused {
        let mut wire = t.connect();
        wire.send_raw(&raw_request(key, version, &[0; 32]));
        wire.expect_closed();
        t.broker.log().wait_for(why);
    }
    t.broker.log().wait_for_count("connection closed", refused.len());
}

fn api_versions_request() -> ApiVersionsRequest {
    ApiVersionsRequest {
        client_software_name: "wire".into(),
        client_software_version: "1".into(),
        ..Default::default()
    }
}

#[test]
fn nothing_is_advertised_that_is_not_served() {
    let mut t = Test::start(1);
    let answer = t.wire.call(API_VERSIONS, &api_versions_request());
    assert!(answer.finalized_features.is_empty() && answer.supported_features.is_empty());
    let unserved = [
        ApiKey::GetTelemetrySubscriptions,
        ApiKey::PushTelemetry,
        ApiKey::AddPartitionsToTxn,
        ApiKey::EndTxn,
        ApiKey::TxnOffsetCommit,
    ];
    for key in unserved {
        assert!(answer.api_keys.iter().all(|v| v.api_key != key as i16), "{key:?}");
    }
    // Whatever is advertised is answered, or the body found wanting by name: never an unknown version.
    for api in &answer.api_keys {
        let lowest = if api.api_key == 0 { 3 } else { api.min_version };
        for version in lowest..=api.max_version {
            let mut wire = t.connect();
            // One byte: a header without tags, or too little of a body.
            wire.send_raw(&raw_request(api.api_key, version, &[0]));
            if wire.frame().is_none() {
                t.broker.log().wait_for(&format!(", version {version}, is malformed"));
            }
        }
    }
    let unknown = t.broker.log().with("is not served here");
    assert!(unknown.is_empty(), "{unknown:#?}");
}

// ---- 4: batches and their producers ----

#[test]
fn a_checksum_covers_byte_21_to_the_end_and_what_lies_before_is_the_brokers() {
    let mut t = Test::start(1);
    let batch = wire::batch(&[b"a", b"b"]);
    assert_eq!(batch.len() - batch.slice(61..).len(), 61, "a header has 61 bytes");
    let mut stamped = batch.to_vec();
    stamped[..8].copy_from_slice(&77i64.to_be_bytes());
    stamped[12..16].copy_from_slice(&5i32.to_be_bytes());
    t.store(0, &Bytes::from(stamped));
    t.store(2, &batch);
    let stored = wire::batches(t.wire.fetch("t", 0, 0).records);
    let epoch = t.leader_epoch();
    for (stored, base_offset) in stored.iter().zip([0, 2]) {
        assert_eq!(stored.header().base_offset, base_offset);
        assert_eq!(stored.header().partition_leader_epoch, epoch);
        assert_eq!(stored.bytes()[CRC_COVERS_FROM..], batch[CRC_COVERS_FROM..]);
    }
    for at in [CRC_COVERS_FROM, batch.len() - 1] {
        let mut rotten = batch.to_vec();
        rotten[at] ^= 0x80;
        let answer = t.wire.produce("t", 0, &Bytes::from(rotten));
        assert_eq!(answer.error_code, ErrorCode::CORRUPT_MESSAGE, "byte {at}");
    }
}

#[test]
fn the_last_five_batches_of_a_producer_are_answered_with_their_offsets_also_after_a_crash() {
    let mut t = Test::start(1);
    let request = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let producer = t.wire.call(INIT_PRODUCER_ID, &request);
    assert_eq!(producer.error_code, ErrorCode::NONE);
    let batch = |sequence: i32| {
        wire::numbered_batch(producer.producer_id, producer.producer_epoch, sequence, &[b"a", b"b", b"c"])
    };
    for n in 0..7 {
        t.store(3 * i64::from(n), &batch(3 * n));
    }
    for _ in 0..2 {
        for n in 2..7 {
            t.store(3 * i64::from(n), &batch(3 * n));
        }
        for n in 0..2 {
            let answer = t.wire.produce("t", 0, &batch(3 * n));
            assert_eq!(answer.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, "batch {n} is forgotten");
        }
        let gap = t.wire.produce("t", 0, &batch(24));
        assert_eq!(gap.error_code, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER);
        assert_eq!(t.wire.values("t", 0).len(), 21);
        t = t.restart();
    }
    t.store(21, &batch(21));
}

// ---- 5: fetch, offsets by time, acks=0 ----

#[test]
fn a_fetch_inside_a_batch_gives_the_whole_batch_whatever_the_limit() {
    let mut t = Test::start(1);
    t.store(0, &wire::batch(&[b"0", b"1", b"2", b"3"]));
    t.store(4, &wire::batch(&[b"4", b"5"]));
    for (offset, base_offset) in [(0, 0), (2, 0), (3, 0), (4, 4), (5, 4)] {
        let mut request = wire::fetch_request("t", &[(0, offset)]);
        request.topics[0].partitions[0].partition_max_bytes = 1;
        let mut answer = t.wire.call(FETCH_BY_NAME, &request);
        let data = answer.responses.swap_remove(0).partitions.swap_remove(0);
        let batches = wire::batches(data.records);
        assert_eq!(batches.len(), 1, "offset {offset}");
        assert_eq!(batches[0].header().base_offset, base_offset, "offset {offset}");
    }
    let at_end = t.wire.fetch("t", 0, 6);
    assert_eq!((at_end.error_code, at_end.high_watermark), (ErrorCode::NONE, 6));
    assert!(wire::batches(at_end.records).is_empty());
    for outside in [7, -1] {
        assert_eq!(t.wire.fetch("t", 0, outside).error_code, ErrorCode::OFFSET_OUT_OF_RANGE);
    }
}

#[test]
fn offsets_are_listed_by_time_and_by_every_special_time() {
    let mut t = Test::start(1);
    let epoch = t.leader_epoch();
    let empty = t.list_offset(LIST_OFFSETS, -3, -1);
    assert_eq!((empty.offset, empty.timestamp), (-1, -1));
    // Times of records: +0, +1, +2 in the first batch, +0, +1 in the second.
    t.store(0, &wire::batch(&[b"0", b"1", b"2"]));
    t.store(3, &wire::batch(&[b"3", b"4"]));
    let mut listed = |version, timestamp| {
        let found = t.list_offset(version, timestamp, -1);
        assert_eq!(found.error_code, ErrorCode::NONE, "{timestamp}");
        (found.offset, found.timestamp, found.leader_epoch)
    };
    assert_eq!(listed(LIST_OFFSETS, -1), (5, -1, epoch));
    assert_eq!(listed(LIST_OFFSETS, -2), (0, -1, epoch));
    assert_eq!(listed(LIST_OFFSETS, -3), (2, TIMESTAMP + 2, epoch), "the largest time");
    assert_eq!(listed(LIST_OFFSETS, -4), (0, -1, epoch));
    assert_eq!(listed(LIST_OFFSETS, -5).0, -1, "nothing is tiered");
    assert_eq!(listed(LIST_OFFSETS, -6).0, -1, "nothing is to be");
    assert_eq!(listed(LIST_OFFSETS, 0), (0, TIMESTAMP, epoch));
    assert_eq!(listed(LIST_OFFSETS, TIMESTAMP + 1), (1, TIMESTAMP + 1, epoch));
    assert_eq!(listed(LIST_OFFSETS, TIMESTAMP + 3), (-1, -1, -1), "later than all");
    // Versions 1 to 3 have no epoch to answer.
    assert_eq!((listed(1, -1).0, listed(3, -2).0), (5, 0));
    for (timestamp, since) in [(-3, 7), (-4, 8), (-5, 9), (-6, 11)] {
        let answer = t.list_offset(since - 1, timestamp, -1);
        assert_eq!(answer.error_code, ErrorCode::UNSUPPORTED_VERSION, "{timestamp} before {since}");
    }
}

#[test]
fn acks_0_is_not_answered_and_an_error_closes_the_connection() {
    let mut t = Test::start(1);
    let batch = wire::batch(&[b"v"]);
    t.wire.send(PRODUCE_BY_NAME, &wire::produce_request("t", 0, 0, &batch));
    t.wire.send(PRODUCE_BY_NAME, &wire::produce_request("t", 0, 0, &batch));
    // The next answer is that of the next request, which finds what was written before it.
    assert_eq!(t.wire.fetch("t", 0, 0).high_watermark, 2);

    let mut wire = t.connect();
    wire.send(PRODUCE_BY_NAME, &wire::produce_request("nowhere", 0, 0, &batch));
    wire.expect_closed();
    t.broker.log().wait_for("a produce request that wants no answer failed");
    let answer = t.wire.call(PRODUCE_BY_NAME, &wire::produce_request("t", 0, 2, &batch));
    assert_eq!(wire::produced(answer).error_code, ErrorCode::INVALID_REQUIRED_ACKS);
}

// ---- 6: who fetches, and which epoch it believes in ----

#[test]
fn nobody_becomes_a_follower_by_saying_so_in_either_place() {
    let mut t = Test::start(1);
    t.store(0, &wire::batch(&[b"v"]));
    let id = t.topic_id();
    let mut by_field = wire::fetch_request("t", &[(0, 0)]);
    by_field.replica_id = BrokerId(1);
    let answer = t.wire.call(FETCH_BY_NAME, &by_field);
    assert_eq!(answer.error_code, ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    for version in 15..=18 {
        let mut by_tag = fetch_by_id(id, &[(0, 0)]);
        by_tag.replica_state.replica_id = BrokerId(1);
        let answer = t.wire.call(version, &by_tag);
        assert_eq!(answer.error_code, ErrorCode::CLUSTER_AUTHORIZATION_FAILED, "{version}");
        // Without the tag it is a consumer.
        let answer = t.wire.call(version, &fetch_by_id(id, &[(0, 0)]));
        assert_eq!(answer.responses[0].partitions[0].high_watermark, 1, "{version}");
    }
}

/// As [`wire::fetch_request`], by the topic's id.
fn fetch_by_id(id: Uuid, partitions: &[(i32, i64)]) -> FetchRequest {
    let mut request = wire::fetch_request("", partitions);
    request.topics[0].topic_id = id;
    request.replica_state.replica_id = BrokerId(-1);
    request
}

#[test]
fn a_leader_epoch_is_checked_wherever_it_can_be_given() {
    let mut t = Test::start(1);
    t.store(0, &wire::batch(&[b"v"]));
    // A broker that comes back leads in a newer epoch.
    let first = t.leader_epoch();
    let mut t = t.restart();
    t.store(1, &wire::batch(&[b"w"]));
    let now = t.leader_epoch();
    assert!(now > first, "{first} before the restart, {now} after");
    let expected = [
        (-1, ErrorCode::NONE),
        (now, ErrorCode::NONE),
        (now - 1, ErrorCode::FENCED_LEADER_EPOCH),
        (now + 1, ErrorCode::UNKNOWN_LEADER_EPOCH),
    ];
    for (epoch, code) in expected {
        let mut request = wire::fetch_request("t", &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let fetched = t.wire.call(FETCH_BY_NAME, &request);
        assert_eq!(fetched.responses[0].partitions[0].error_code, code, "Fetch, {epoch} of {now}");
        assert_eq!(t.list_offset(LIST_OFFSETS, -1, epoch).error_code, code, "ListOffsets, {epoch} of {now}");
        assert_eq!(t.end_of_epoch(now, epoch).error_code, code, "OffsetForLeaderEpoch, {epoch} of {now}");
    }
    // Where each epoch ended: by that a client finds out that its log was cut.
    let end = |e: EpochEndOffset| (e.leader_epoch, e.end_offset);
    assert_eq!(end(t.end_of_epoch(first, -1)), (first, 1));
    assert_eq!(end(t.end_of_epoch(now, -1)), (now, 2));
    assert_eq!(end(t.end_of_epoch(now + 1, -1)), (-1, -1));
    // A fetcher that says what it read last is told where its log diverges.
    let mut request = wire::fetch_request("t", &[(0, 2)]);
    request.topics[0].partitions[0].last_fetched_epoch = first;
    let diverged = t.wire.call(FETCH_BY_NAME, &request);
    let diverging = &diverged.responses[0].partitions[0].diverging_epoch;
    assert_eq!((diverging.epoch, diverging.end_offset), (first, 1));
}

// ---- 7: codecs ----

#[test]
fn a_batch_is_stored_as_its_producer_compressed_it_and_zstd_waits_for_version_7() {
    let mut t = Test::start(1);
    let mut sent = Vec::new();
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(Vec::new(), 1 << 20);
        builder.push(TIMESTAMP, None, Some(&[7; 5000]), Headers::NONE).unwrap();
        let seal = Seal { codec: Codec::new(compression), ..Default::default() };
        sent.push(builder.seal(&seal, &mut Compressor::new()).unwrap().into_bytes());
    }
    for (offset, batch) in sent.iter().enumerate() {
        t.store(offset as i64, batch);
    }
    for (offset, batch) in sent.iter().enumerate() {
        let stored = wire::batches(t.wire.fetch("t", 0, offset as i64).records).swap_remove(0);
        assert_eq!(stored.bytes()[CRC_COVERS_FROM..], batch[CRC_COVERS_FROM..]);
    }
    let zstd = &sent[Compression::Zstd as usize];
    let answer = t.wire.call(6, &wire::produce_request("t", 0, -1, zstd));
    assert_eq!(wire::produced(answer).error_code, ErrorCode::UNSUPPORTED_COMPRESSION_TYPE);
}

#[test]
fn a_topic_with_a_compression_type_stores_what_comes_in_its_own_codec() {
    let mut t = Test::start(1);
    let mut builder = BatchBuilder::new(Vec::new(), 1 << 20);
    builder.push(TIMESTAMP, Some(b"key"), Some(&[7; 5000]), &[Header::new("h", None)]).unwrap();
    let seal = Seal { codec: Codec::new(Compression::Lz4), ..Default::default() };
    let sent = builder.seal(&seal, &mut Compressor::new()).unwrap().into_bytes();
    for compression in Compression::ALL {
        let name = if compression == Compression::None { "uncompressed" } else { compression.name() };
        let topic = format!("stored-{name}");
        t.wire.create_topic(&topic, 1, &[("compression.type", name)]);
        assert_eq!(t.wire.produce(&topic, 0, &sent).error_code, ErrorCode::NONE);
        let stored = wire::batches(t.wire.fetch(&topic, 0, 0).records).swap_remove(0);
        stored.check_crc().unwrap();
        assert_eq!(stored.header().attributes.compression(), Ok(compression));
        assert_eq!(wire::records(&stored), [(0, vec![7; 5000])]);
        // Uncompressed it is larger than the topic allows.
        t.wire.create_topic(
            &format!("small-{name}"),
            1,
            &[("compression.type", name), ("max.message.bytes", "1000")],
        );
        let answer = t.wire.produce(&format!("small-{name}"), 0, &sent);
        let expected =
            if compression == Compression::None { ErrorCode::MESSAGE_TOO_LARGE } else { ErrorCode::NONE };
        assert_eq!(answer.error_code, expected);
    }
}

// ---- 8: what tools read, change and write back ----

fn described(
    wire: &mut Wire,
    resource_type: i8,
    name: &str,
) -> HashMap<String, DescribeConfigsResourceResult> {
    let resource =
        DescribeConfigsResource { resource_type, resource_name: name.into(), configuration_keys: None };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        include_documentation: true,
    };
    let result = wire.call(DESCRIBE_CONFIGS, &request).results.swap_remove(0);
    assert_eq!(result.error_code, ErrorCode::NONE, "{:?}", result.error_message);
    result.configs.into_iter().map(|config| (config.name.to_string(), config)).collect()
}

#[test]
fn every_key_of_kafkas_is_described_with_its_source_type_and_synonyms() {
    const TOPIC: i8 = 2;
    const BROKER: i8 = 4;
    const SOURCE_TOPIC: i8 = 1;
    const SOURCE_STATIC_BROKER: i8 = 4;
    const SOURCE_DEFAULT: i8 = 5;
    let mut t = Test::start(1);
    t.wire.create_topic("own", 1, &[("retention.ms", "1234567")]);
    let kafkas = [
        (TOPIC, "own", include_str!("../../broker/tests/kafka/topic.txt")),
        (BROKER, "1", include_str!("../../broker/tests/kafka/broker.txt")),
    ];
    for (resource, name, keys) in kafkas {
        let configs = described(&mut t.wire, resource, name);
        let keys = keys.lines().filter(|l| !l.is_empty() && !l.starts_with('#'));
        let mut count = 0;
        // `broker.id` is another name of `node.id` here.
        let keys = keys.filter_map(|line| line.split_whitespace().next()).filter(|key| *key != "broker.id");
        for key in keys {
            let config = configs.get(key).unwrap_or_else(|| panic!("`{key}` is not described"));
            assert!((1..=5).contains(&config.config_source), "{key}: source {}", config.config_source);
            assert!((1..=9).contains(&config.config_type), "{key}: type {}", config.config_type);
            assert!(config.documentation.as_deref().is_some_and(|text| !text.is_empty()), "{key}");
            if let Some(first) = config.synonyms.first() {
                assert_eq!(first.source, config.config_source, "{key}");
                // A synonym may count in another unit: log.roll.hours for segment.ms.
                assert!(first.name != config.name || first.value == config.value, "{key}");
            }
            count += 1;
        }
        assert!(count > 30, "{count} keys");
    }
    let own = described(&mut t.wire, TOPIC, "own");
    let retention = &own["retention.ms"];
    assert_eq!((retention.value.as_deref(), retention.config_source), (Some("1234567"), SOURCE_TOPIC));
    let names: Vec<_> = retention.synonyms.iter().map(|s| (s.name.as_str(), s.source)).collect();
    assert_eq!(names[0], ("retention.ms", SOURCE_TOPIC));
    assert_eq!(names.last(), Some(&("log.retention.hours", SOURCE_DEFAULT)));
    assert_eq!(own["segment.bytes"].config_source, SOURCE_DEFAULT);
    let broker = described(&mut t.wire, BROKER, "1");
    assert_eq!(broker["log.dirs"].config_source, SOURCE_STATIC_BROKER);
    assert!(broker["log.dirs"].read_only);
}

#[test]
fn create_topics_and_create_partitions_answer_what_came_of_it() {
    let mut t = Test::start(1);
    let config = CreatableTopicConfig { name: "segment.bytes".into(), value: Some("2097152".into()) };
    let topic = |name: &str, num_partitions| CreatableTopic {
        name: name.into(),
        num_partitions,
        replication_factor: -1,
        configs: vec![config.clone()],
        ..Default::default()
    };
    let create = |topics, validate_only| CreateTopicsRequest { topics, timeout_ms: 10_000, validate_only };
    for validate_only in [true, false] {
        let request = create(vec![topic("three", 3), topic("default", -1), topic("bad", 0)], validate_only);
        let created = t.wire.call(CREATE_TOPICS, &request).topics;
        let counts: Vec<_> =
            created.iter().map(|t| (t.error_code, t.num_partitions, t.replication_factor)).collect();
        assert_eq!(counts[0], (ErrorCode::NONE, 3, 1));
        assert_eq!(counts[1], (ErrorCode::NONE, 1, 1));
        assert_eq!(counts[2].0, ErrorCode::INVALID_PARTITIONS);
        let configs = created[0].configs.as_ref().unwrap();
        let segment = configs.iter().find(|c| c.name == "segment.bytes").unwrap();
        assert_eq!((segment.value.as_deref(), segment.config_source), (Some("2097152"), 1));
        assert!(configs.len() > 30, "all keys, not only those that were set: {}", configs.len());
    }
    let again = t.wire.call(CREATE_TOPICS, &create(vec![topic("three", 3)], false));
    assert_eq!(again.topics[0].error_code, ErrorCode::TOPIC_ALREADY_EXISTS);

    let mut grow = |count, validate_only| {
        let topic = CreatePartitionsTopic { name: "three".into(), count, assignments: None };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 10_000, validate_only };
        t.wire.call(CREATE_PARTITIONS, &request).results[0].error_code
    };
    assert_eq!(grow(5, true), ErrorCode::NONE);
    assert_eq!(grow(3, false), ErrorCode::INVALID_PARTITIONS, "it has three already");
    assert_eq!(grow(5, false), ErrorCode::NONE);
    // The count is the whole, not the difference, and the new ones can be written to at once.
    assert_eq!(t.metadata(named("three")).topics[0].partitions.len(), 5);
    assert_eq!(t.wire.produce("three", 4, &wire::batch(&[b"v"])).error_code, ErrorCode::NONE);
}

// ---- 9: records ----

#[test]
fn headers_keep_order_duplicates_and_nulls_and_times_may_lie_months_apart() {
    let mut t = Test::start(1);
    let headers = [
        Header::new("b", Some(&b"1"[..])),
        Header::new("a", None),
        Header::new("b", Some(b"")),
        Header::new("b", Some(b"1")),
    ];
    let mut builder = BatchBuilder::new(Vec::new(), 1 << 20);
    builder.push(TIMESTAMP, Some(b"k"), None, &headers).unwrap();
    // A delta beyond 2^31 ms, and one before the first.
    builder.push(TIMESTAMP + 60 * DAY_MS, None, Some(b"late"), Headers::NONE).unwrap();
    builder.push(TIMESTAMP - 60 * DAY_MS, None, Some(b"early"), Headers::NONE).unwrap();
    let batch = builder.seal(&Seal::default(), &mut Compressor::new()).unwrap();
    t.store(0, batch.bytes());
    let stored = wire::batches(t.wire.fetch("t", 0, 0).records).swap_remove(0);
    let records = stored.records(&mut Decompressor::new(), &Limits::CLIENT).unwrap();
    let records: Vec<_> = records.iter().map(Result::unwrap).collect();
    let read: Vec<_> = records[0].headers.iter().map(|h| (h.name().into_owned(), h.value)).collect();
    let expected = [("b", Some(&b"1"[..])), ("a", None), ("b", Some(b"")), ("b", Some(b"1"))];
    assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value)));
    assert_eq!((records[0].key, records[0].value), (Some(&b"k"[..]), None));
    let times: Vec<_> = records.iter().map(|r| r.timestamp - TIMESTAMP).collect();
    assert_eq!(times, [0, 60 * DAY_MS, -60 * DAY_MS]);
    let found = t.list_offset(LIST_OFFSETS, TIMESTAMP + DAY_MS, -1);
    assert_eq!((found.offset, found.timestamp), (1, TIMESTAMP + 60 * DAY_MS));
}

// ---- 11: order on a connection ----

#[test]
fn pipelined_requests_are_answered_in_their_order_and_each_sees_those_before_it() {
    const ROUNDS: i32 = 50;
    let mut t = Test::start(3);
    enum Sent {
        Produce(i64),
        Fetch(i64),
        Metadata,
    }
    let mut sent = Vec::new();
    for n in 0..ROUNDS {
        let value = n.to_be_bytes();
        for partition in 0..3 {
            let request = wire::produce_request("t", partition, -1, &wire::batch(&[&value]));
            sent.push((t.wire.send(PRODUCE_BY_NAME, &request), Sent::Produce(i64::from(n))));
        }
        let fetch = wire::fetch_request("t", &[(n % 3, i64::from(n))]);
        sent.push((t.wire.send(FETCH_BY_NAME, &fetch), Sent::Fetch(i64::from(n) + 1)));
        let metadata = MetadataRequest { topics: Some(vec![named("t")]), ..Default::default() };
        sent.push((t.wire.send(METADATA, &metadata), Sent::Metadata));
    }
    for (id, what) in sent {
        match what {
            Sent::Produce(offset) => {
                let answer = wire::produced(t.wire.receive::<ProduceRequest>(PRODUCE_BY_NAME, id));
                assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset));
            }
            Sent::Fetch(end) => {
                let answer = t.wire.receive::<FetchRequest>(FETCH_BY_NAME, id);
                assert_eq!(answer.responses[0].partitions[0].high_watermark, end);
            }
            Sent::Metadata => {
                let answer = t.wire.receive::<MetadataRequest>(METADATA, id);
                assert_eq!(answer.topics[0].partitions.len(), 3);
            }
        }
    }
    for partition in 0..3 {
        let expected: Vec<_> = (0..ROUNDS).map(|n| n.to_be_bytes().to_vec()).collect();
        assert_eq!(t.wire.values("t", partition), expected);
    }
}

// ---- 12: what is not there ----

#[test]
fn what_is_not_there_is_told_by_name_or_by_id_as_it_was_asked_for() {
    let mut t = Test::start(1);
    let batch = wire::batch(&[b"v"]);
    let nobody = Uuid(0x1234);
    let unknown = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;

    let metadata = t.metadata(named("nowhere"));
    assert_eq!(metadata.topics[0].error_code, unknown);
    let metadata = t.metadata(named("no/where"));
    assert_eq!(metadata.topics[0].error_code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let by_id = MetadataRequestTopic { topic_id: nobody, name: None };
    assert_eq!(t.metadata(by_id).topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);

    assert_eq!(t.wire.produce("nowhere", 0, &batch).error_code, unknown);
    assert_eq!(t.wire.produce("t", 9, &batch).error_code, unknown);
    assert_eq!(t.wire.produce("t", -1, &batch).error_code, unknown);
    let mut by_id = wire::produce_request("", 0, -1, &batch);
    by_id.topic_data[0].topic_id = nobody;
    assert_eq!(wire::produced(t.wire.call(13, &by_id)).error_code, ErrorCode::UNKNOWN_TOPIC_ID);
    by_id.topic_data[0].topic_id = t.topic_id();
    assert_eq!(wire::produced(t.wire.call(13, &by_id)).error_code, ErrorCode::NONE);

    assert_eq!(t.wire.fetch("nowhere", 0, 0).error_code, unknown);
    assert_eq!(t.wire.fetch("t", 9, 0).error_code, unknown);
    let answer = t.wire.call(13, &fetch_by_id(nobody, &[(0, 0)]));
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::UNKNOWN_TOPIC_ID);
}

// ---- Fetch sessions (KIP-227) ----

/// Partition and number of batches of each partition that an answer holds.
fn told(answer: FetchResponse) -> Vec<(i32, usize)> {
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partitions);
    partitions.map(|p| (p.partition_index, wire::batches(p.records).len())).collect()
}

#[test]
fn a_fetch_session_tells_only_what_is_new_and_forgets_what_it_is_told_to() {
    let mut t = Test::start(3);
    let id = t.topic_id();
    t.store(0, &wire::batch(&[b"v"]));
    let mut request = fetch_by_id(id, &[(0, 0), (1, 0), (2, 0)]);
    request.session_epoch = 0;
    let first = t.wire.call(18, &request);
    let session = first.session_id;
    assert_ne!(session, 0);
    assert_eq!(told(first), [(0, 1), (1, 0), (2, 0)], "a new session tells all");

    let next = |epoch, partitions: &[(i32, i64)]| {
        let mut request = fetch_by_id(id, partitions);
        if partitions.is_empty() {
            request.topics.clear();
        }
        (request.session_id, request.session_epoch) = (session, epoch);
        request
    };
    assert!(told(t.wire.call(18, &next(1, &[(0, 1)]))).is_empty(), "nothing is new");
    assert_eq!(t.wire.produce("t", 2, &wire::batch(&[b"w"])).error_code, ErrorCode::NONE);
    assert_eq!(told(t.wire.call(18, &next(2, &[]))), [(2, 1)]);
    let mut forget = next(3, &[(2, 1)]);
    forget.forgotten_topics_data =
        vec![ForgottenTopic { topic_id: id, partitions: vec![1], ..Default::default() }];
    assert!(told(t.wire.call(18, &forget)).is_empty());
    assert_eq!(t.wire.produce("t", 1, &wire::batch(&[b"x"])).error_code, ErrorCode::NONE);
    assert!(told(t.wire.call(18, &next(4, &[]))).is_empty(), "partition 1 is forgotten");

    let repeated = t.wire.call(18, &next(4, &[]));
    assert_eq!(repeated.error_code, ErrorCode::INVALID_FETCH_SESSION_EPOCH);
    let mut stranger = next(1, &[]);
    stranger.session_id = session.wrapping_add(1);
    assert_eq!(t.wire.call(18, &stranger).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    // The session goes on where it was, also over another connection, until it is closed.
    t.wire = t.connect();
    assert_eq!(t.wire.call(18, &next(5, &[])).error_code, ErrorCode::NONE);
    assert_eq!(t.wire.call(18, &next(-1, &[])).error_code, ErrorCode::NONE);
    assert_eq!(t.wire.call(18, &next(6, &[])).error_code, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

// ---- What is the cluster's own ----

#[test]
fn nobody_writes_into_the_clusters_own_topics_whatever_they_call_themselves() {
    let mut t = Test::start(1);
    t.wire.create_topic("__consumer_offsets", 1, &[]);
    let batch = wire::batch(&[b"v"]);
    let code = t.wire.produce("__consumer_offsets", 0, &batch).error_code;
    assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION);
    let request = wire::produce_request("__consumer_offsets", 0, -1, &batch);
    let pieces = ottla_protocol::frame::request(&request, 12, 7, Some(&"__admin_client".into())).unwrap();
    t.wire.send_raw(&pieces.concat());
    // Kafka lets a client in that calls itself so.
    let code = wire::produced(t.wire.receive::<ProduceRequest>(12, 7)).error_code;
    assert_eq!(code, ErrorCode::INVALID_TOPIC_EXCEPTION);
}

// ---- Ready soon, and small ----

#[test]
#[cfg(target_os = "linux")]
fn a_broker_is_ready_soon_and_small_when_idle() {
    /// Both have room for a machine that is busy with other tests, and for a build without optimisation.
    const READY_MAX_MS: u128 = 1000;
    const IDLE_BYTES_MAX: u64 = 32 << 20;
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path());
    let soonest = (0..3).map(|_| launch.start().ready_after()).min().unwrap();
    let broker = launch.start();
    Wire::connect(broker.address()).call(0, &ApiVersionsRequest::default());
    let resident_bytes = broker.resident_bytes();
    println!("ready after {} ms, {} KiB resident", soonest.as_millis(), resident_bytes / 1024);
    assert!(soonest.as_millis() < READY_MAX_MS, "{soonest:?}");
    assert!(resident_bytes < IDLE_BYTES_MAX, "{resident_bytes} bytes");
}
