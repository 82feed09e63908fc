//! Record batches through the public API: against Kafka's own bytes, against themselves, and against damage.

use bytes::Bytes;
use ottla_protocol::{
    compression::{Codec, Compression, Compressor, Decompressor, Limits},
    error_code::ErrorCode,
    record::{
        AnyBatch, Attributes, BATCH_HEADER_BYTES, Batch, BatchBuilder, BatchError, BatchHeader, ControlBatch,
        ControlRecord, Depth, Header, Headers, NO_TIMESTAMP, Position, PushError, RecordFault, Rejection,
        RejectionReason, Rules, Scratch, Seal, TimestampType, validate,
    },
    types::ProducerId,
};
use proptest::prelude::*;

/// The time of the golden batches.
const NOW_MS: i64 = 1_700_000_000_000;

#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn owned(timestamp: i64, key: Option<&str>, value: Option<&str>, headers: &[(&str, Option<&str>)]) -> Owned {
    let bytes = |s: &str| s.as_bytes().to_vec();
    Owned {
        timestamp,
        key: key.map(bytes),
        value: value.map(bytes),
        headers: headers.iter().map(|(k, v)| ((*k).to_owned(), v.map(bytes))).collect(),
    }
}

fn golden_content() -> Vec<Owned> {
    vec![
        owned(NOW_MS, Some("k1"), Some("hello hello hello hello"), &[("h", Some("v"))]),
        owned(NOW_MS + 5, None, Some("v2"), &[]),
        owned(NOW_MS + 7, Some("k3"), None, &[]),
    ]
}

fn golden(name: &str) -> Bytes {
    let line = include_str!("batches/kafka-4.4.0.txt")
        .lines()
        .find(|line| line.split(' ').next() == Some(name))
        .expect("a golden batch of this name");
    let hex = line.rsplit(' ').next().expect("hex");
    let byte = |i: usize| u8::from_str_radix(&hex[i..i + 2], 16).expect("hex");
    (0..hex.len()).step_by(2).map(byte).collect()
}

fn builder_of(records: &[Owned]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    for (i, record) in records.iter().enumerate() {
        let headers: Vec<_> =
            record.headers.iter().map(|(key, value)| Header::new(key, value.as_deref())).collect();
        let index = builder
            .push(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers[..])
            .expect("room");
        assert_eq!(index as usize, i);
    }
    builder
}

fn build(records: &[Owned], seal: &Seal) -> Batch {
    builder_of(records).seal(seal, &mut Compressor::new()).expect("sealed")
}

fn seal_with(compression: Compression) -> Seal {
    Seal { codec: Codec::new(compression), ..Seal::default() }
}

fn read(batch: &Batch) -> Result<Vec<Owned>, BatchError> {
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT)?;
    let base = batch.header().base_offset;
    let mut content = Vec::new();
    for (i, record) in records.iter().enumerate() {
        let record = record?;
        assert_eq!(record.offset, base + i as i64);
        content.push(Owned {
            timestamp: record.timestamp,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record
                .headers
                .iter()
                .map(|h| (h.name().into_owned(), h.value.map(<[u8]>::to_vec)))
                .collect(),
        });
    }
    Ok(content)
}

/// A batch with its header changed and its CRC right again.
fn forged(batch: &Batch, change: impl FnOnce(&mut BatchHeader)) -> Batch {
    let header = batch.restamped_header(change);
    Batch::new([&header[..], &batch.record_block()].concat().into()).expect("a whole batch")
}

/// A batch of these bytes as its uncompressed record block.
fn of_block(count: i32, block: &[u8]) -> Batch {
    forged_block(&build(&[Owned::default()], &Seal::default()), count, Compression::None, block)
}

fn forged_block(like: &Batch, count: i32, compression: Compression, block: &[u8]) -> Batch {
    let header = BatchHeader {
        batch_length: (BATCH_HEADER_BYTES - 12 + block.len()) as i32,
        record_count: count,
        last_offset_delta: count - 1,
        attributes: Attributes::default().with_compression(compression),
        crc: 0,
        ..*like.header()
    };
    let batch = Batch::new([&header.encode()[..], block].concat().into()).expect("a whole batch");
    let computed = match batch.check_crc() {
        Err(BatchError::Crc { computed, .. }) => computed,
        other => panic!("a zero CRC was right: {other:?}"),
    };
    Batch::new([&BatchHeader { crc: computed, ..header }.encode()[..], block].concat().into()).expect("whole")
}

fn judge(batch: &Batch) -> Result<ottla_protocol::record::Validated, BatchError> {
    validate(batch, &Rules::at(NOW_MS), &mut Scratch::new())
}

#[test]
fn kafkas_batches_of_every_codec_are_valid_and_hold_what_kafka_put_in() {
    for compression in Compression::ALL {
        let batch = Batch::new(golden(compression.name())).expect("a batch");
        let header = batch.header();
        assert_eq!(header.attributes.compression(), Ok(compression));
        assert_eq!(
            (header.partition_leader_epoch, header.producer_id, header.producer_epoch, header.base_sequence),
            (5, ProducerId(1000), 3, 7)
        );
        assert_eq!((header.last_offset(), header.next_offset(), header.last_sequence()), (2, 3, 9));
        let validated = judge(&batch).expect("valid");
        assert_eq!((validated.max_timestamp, validated.max_timestamp_index), (NOW_MS + 7, 2));
        assert_eq!(validated.record_bytes, Some(115 - BATCH_HEADER_BYTES));
        assert_eq!(read(&batch).expect("readable"), golden_content(), "{compression}");
    }
}

#[test]
fn an_uncompressed_batch_is_byte_for_byte_kafkas_and_compressed_ones_inflate_to_the_same() {
    for compression in Compression::ALL {
        let seal = Seal {
            codec: Codec::new(compression),
            producer_id: ProducerId(1000),
            producer_epoch: 3,
            base_sequence: 7,
            partition_leader_epoch: 5,
            ..Seal::default()
        };
        let batch = build(&golden_content(), &seal);
        let theirs = Batch::new(golden(compression.name())).expect("a batch");
        if compression == Compression::None {
            assert_eq!(batch.bytes(), theirs.bytes());
        }
        let inflated = |batch: &Batch| {
            let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("inflates");
            records.block().clone()
        };
        assert_eq!(inflated(&batch), inflated(&theirs), "{compression}");
        assert_eq!(
            Batch::new(batch.bytes().clone()).expect("a batch"),
            batch,
            "the header is that of the bytes"
        );
    }
}

#[test]
fn kafkas_commit_marker_is_read_and_written_byte_for_byte() {
    let bytes = golden("commit-marker");
    let batch = Batch::new(bytes.clone()).expect("a batch");
    let attributes = batch.header().attributes;
    assert!(attributes.is_control() && attributes.is_transactional());
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let controls: Vec<_> = records
        .iter()
        .map(|r| ControlRecord::parse(&r.expect("readable")).expect("a control record"))
        .collect();
    assert_eq!(controls, [ControlRecord::Commit { coordinator_epoch: 9 }]);

    let written = ControlBatch {
        base_offset: 10,
        partition_leader_epoch: 5,
        timestamp: NOW_MS,
        producer_id: ProducerId(1000),
        producer_epoch: 3,
    };
    assert_eq!(written.build(&controls).expect("built").bytes(), &bytes);
    assert_eq!(judge(&batch), Err(BatchError::Control), "clients may not send it");
}

#[test]
fn every_control_record_reads_what_it_wrote() {
    let value = || Bytes::from_static(b"any");
    let all = [
        ControlRecord::Abort { coordinator_epoch: -1 },
        ControlRecord::Commit { coordinator_epoch: i32::MAX },
        ControlRecord::LeaderChange(value()),
        ControlRecord::SnapshotHeader(value()),
        ControlRecord::SnapshotFooter(Bytes::new()),
        ControlRecord::KRaftVersion(value()),
        ControlRecord::KRaftVoters(value()),
        ControlRecord::Unknown { record_type: 77 },
    ];
    let control = ControlBatch {
        base_offset: 0,
        partition_leader_epoch: 1,
        timestamp: NOW_MS,
        producer_id: ProducerId::NONE,
        producer_epoch: -1,
    };
    let batch = control.build(&all).expect("built");
    assert!(!batch.header().attributes.is_transactional());
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let read: Vec<_> =
        records.iter().map(|r| ControlRecord::parse(&r.expect("readable")).expect("known")).collect();
    assert_eq!(read, all);
}

#[test]
fn kafkas_messages_of_magic_0_and_1_are_read_and_not_taken_from_clients() {
    for (name, timestamp) in [("magic0", NO_TIMESTAMP), ("magic1", 5)] {
        let mut bytes = golden(name);
        let whole = bytes.clone();
        let batch = AnyBatch::split_from(&mut bytes).expect("well formed").expect("whole");
        assert!(bytes.is_empty());
        batch.check_crc().expect("the CRC holds");
        let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
        let records: Vec<_> = records.iter().collect::<Result<_, _>>().expect("readable");
        let [record] = records[..] else { panic!("{} records", records.len()) };
        assert_eq!((record.offset, record.timestamp), (0, timestamp), "{name}");
        assert_eq!((record.key, record.value), (Some(&b"k"[..]), Some(&b"v"[..])), "{name}");

        let error = Batch::new(whole.clone()).expect_err("not of version 2");
        assert!(matches!(error, BatchError::Magic(0 | 1)), "{error:?}");
        assert_eq!(error.error_code(), ErrorCode::INVALID_RECORD);
        for cut in 0..whole.len() {
            assert!(AnyBatch::split_from(&mut whole.slice(..cut)).expect("a cut is no error").is_none());
        }
    }
}

/// An entry of a message set: magic 1 if there is a timestamp, else 0.
fn legacy_entry(offset: i64, timestamp: Option<i64>, attributes: u8, value: &[u8]) -> Vec<u8> {
    let mut message = vec![u8::from(timestamp.is_some()), attributes];
    if let Some(timestamp) = timestamp {
        message.extend(timestamp.to_be_bytes());
    }
    message.extend((-1_i32).to_be_bytes());
    message.extend((value.len() as i32).to_be_bytes());
    message.extend(value);
    let mut crc = flate2::Crc::new();
    crc.update(&message);
    let size = message.len() as i32 + 4;
    [&offset.to_be_bytes()[..], &size.to_be_bytes(), &crc.sum().to_be_bytes(), &message].concat()
}

fn read_legacy(entry: Vec<u8>) -> Result<Vec<(i64, i64, Vec<u8>)>, BatchError> {
    let batch = AnyBatch::split_from(&mut entry.into())?.expect("whole");
    batch.check_crc()?;
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT)?;
    records.iter().map(|r| r.map(|r| (r.offset, r.timestamp, r.value.unwrap_or_default().to_vec()))).collect()
}

#[test]
fn compressed_message_sets_give_their_messages_their_offsets_and_times() {
    let mut compressor = Compressor::new();
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4] {
        let number = compression as u8;
        let mut wrap = |offset, timestamp, attributes, inner: &[Vec<u8>]| {
            let value =
                compressor.compress(Codec::new(compression), &inner.concat()).expect("compressed").to_vec();
            legacy_entry(offset, timestamp, attributes, &value)
        };
        let v1 = [legacy_entry(0, Some(5), 0, b"a"), legacy_entry(1, Some(6), 0, b"b")];
        let relative = read_legacy(wrap(43, Some(6), number, &v1)).expect("readable");
        assert_eq!(relative, [(42, 5, b"a".to_vec()), (43, 6, b"b".to_vec())]);
        let appended = read_legacy(wrap(43, Some(99), number | 8, &v1)).expect("readable");
        assert_eq!(appended, [(42, 99, b"a".to_vec()), (43, 99, b"b".to_vec())], "log-append time");
        let zero = read_legacy(wrap(0, Some(6), number, &v1)).expect("readable");
        assert_eq!((zero[0].0, zero[1].0), (0, 1), "an outer offset that was never set");

        let v0 = [legacy_entry(42, None, 0, b"a"), legacy_entry(43, None, 0, b"b")];
        let absolute = read_legacy(wrap(43, None, number, &v0)).expect("readable");
        assert_eq!(absolute, [(42, NO_TIMESTAMP, b"a".to_vec()), (43, NO_TIMESTAMP, b"b".to_vec())]);

        let mut cut = v1.to_vec();
        cut[1].truncate(20);
        let first = read_legacy(wrap(0, Some(6), number, &cut)).expect("readable");
        assert_eq!(first, [(0, 5, b"a".to_vec())], "the last message may be cut off");

        let nested = [wrap(0, Some(5), number, &v1)];
        assert_eq!(read_legacy(wrap(1, Some(5), number, &nested)), Err(BatchError::LegacyNesting));
        assert_eq!(read_legacy(wrap(1, Some(5), number, &[])), Err(BatchError::LegacyNesting));
        let far = [legacy_entry(7, Some(5), 0, b"a")];
        let error = read_legacy(wrap(3, Some(5), number, &far)).expect_err("offset 3 cannot be the eighth's");
        assert_eq!(error, BatchError::LegacyOffset { wrapper: 3, last: 7 });
    }
    let zstd = legacy_entry(0, Some(5), Compression::Zstd as u8, b"");
    assert_eq!(read_legacy(zstd), Err(BatchError::Codec(4)), "zstd came with version 2");
}

fn any_part() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        20 => proptest::collection::vec(any::<u8>(), 0..300),
        2 => (any::<u8>(), 100_000..200_000_usize).prop_map(|(b, n)| vec![b; n]),
        1 => (any::<u64>(), 800_000..900_000_usize).prop_map(|(seed, n)| noise(seed, n)),
    ]
}

/// Bytes that do not compress.
fn noise(seed: u64, n: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..n).map(next).collect()
}

fn any_record() -> impl Strategy<Value = Owned> {
    let timestamp = prop_oneof![
        NOW_MS - 1000..NOW_MS + 1000,
        Just(NOW_MS - (1 << 40)),
        Just(NOW_MS + (1 << 40)),
        Just(-1),
        Just(i64::MAX),
        Just(i64::MIN),
    ];
    let headers = proptest::collection::vec((any::<u8>(), any::<Option<[u8; 3]>>()), 0..4);
    (timestamp, proptest::option::of(any_part()), proptest::option::of(any_part()), headers).prop_map(
        |(timestamp, key, value, headers)| Owned {
            timestamp,
            key,
            value,
            headers: headers
                .into_iter()
                .map(|(k, v)| (["", "h", "é", "Größe"][usize::from(k % 4)].to_owned(), v.map(Vec::from)))
                .collect(),
        },
    )
}

/// Takes every timestamp.
fn timeless() -> Rules {
    Rules { timestamp_after_max_ms: i64::MAX, ..Rules::at(0) }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_built_is_valid_and_reads_back(
        records in proptest::collection::vec(any_record(), 1..20),
        base_offset in 0..i64::MAX / 2,
        base_sequence in 0..=i32::MAX,
    ) {
        let mut scratch = Scratch::new();
        for compression in Compression::ALL {
            let seal = Seal {
                producer_id: ProducerId(1),
                producer_epoch: 0,
                base_sequence,
                base_offset,
                transactional: true,
                ..seal_with(compression)
            };
            let batch = build(&records, &seal);
            let mut stream: Bytes = [batch.bytes(), &batch.bytes()[..batch.bytes().len() - 1]].concat().into();
            let split = Batch::split_from(&mut stream).expect("well formed").expect("whole");
            prop_assert_eq!(&split, &batch);
            prop_assert!(Batch::split_from(&mut stream).expect("a cut is no error").is_none());

            let validated = validate(&split, &timeless(), &mut scratch).expect("valid");
            let latest = records.iter().map(|r| r.timestamp).max().expect("one at least").max(NO_TIMESTAMP);
            prop_assert_eq!(validated.max_timestamp, latest);
            prop_assert_eq!(batch.header().max_timestamp, latest);
            prop_assert_eq!(read(&split).expect("readable"), records.clone(), "{}", compression);

            // The header alone suffices for a trusting broker, except where every record counts.
            let trusting = Rules { depth: Depth::Header, ..timeless() };
            prop_assert_eq!(validate(&split, &trusting, &mut scratch).expect("valid").record_bytes, None);
        }
    }

    #[test]
    fn a_damaged_batch_with_a_right_crc_never_panics_and_what_is_valid_is_readable(
        records in proptest::collection::vec(any_record(), 1..4),
        compression in 0..5_usize,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<proptest::sample::Index>()),
    ) {
        let compression = Compression::ALL[compression];
        let batch = build(&records, &seal_with(compression));
        let mut block = batch.record_block().to_vec();
        for (at, xor) in damage {
            let at = at.index(block.len().min(4096));
            block[at] ^= xor;
        }
        if let Some(cut) = cut {
            block.truncate(cut.index(block.len()));
        }
        let batch = forged_block(&batch, batch.header().record_count, compression, &block);
        match validate(&batch, &timeless(), &mut Scratch::new()) {
            Ok(_) => { read(&batch).expect("what is valid is readable"); }
            // Whatever it gives, it gives no more than it says.
            Err(_) => {
                if let Ok(records) = batch.records(&mut Decompressor::new(), &Limits::CLIENT) {
                    prop_assert!(records.iter().count() <= batch.header().record_count as usize + 1);
                }
            }
        }
    }
}

#[test]
fn any_flipped_bit_outside_the_stamp_is_seen() {
    for compression in Compression::ALL {
        let bytes = golden(compression.name());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut flipped = bytes.to_vec();
                flipped[at] ^= 1 << bit;
                let verdict = Batch::new(flipped.into()).and_then(|batch| judge(&batch));
                let stamped = at < 8 || (12..16).contains(&at);
                assert_eq!(verdict.is_ok(), stamped, "byte {at}, bit {bit}: {verdict:?}");
            }
        }
    }
}

#[test]
fn a_cut_batch_is_none_in_a_stream_and_an_error_alone() {
    let bytes = golden("none");
    for cut in 0..bytes.len() {
        assert_eq!(Batch::split_from(&mut bytes.slice(..cut)), Ok(None));
        assert!(matches!(Batch::new(bytes.slice(..cut)), Err(BatchError::Truncated { .. })));
    }
    let more = Bytes::from([&bytes[..], b"x"].concat());
    assert_eq!(Batch::new(more), Err(BatchError::Trailing { bytes: 1 }));
    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = bytes.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(Batch::split_from(&mut bytes.into()), Err(BatchError::Length(length)));
    }
}

#[test]
fn headers_that_clients_may_not_send_are_refused() {
    let batch = build(&golden_content(), &Seal::default());
    let refused = |change: fn(&mut BatchHeader)| judge(&forged(&batch, change)).expect_err("refused");
    assert_eq!(refused(|h| h.attributes = h.attributes.with_control(true)), BatchError::Control);
    assert_eq!(
        refused(|h| h.attributes = h.attributes.with_timestamp_type(TimestampType::LogAppendTime)),
        BatchError::LogAppendTime
    );
    assert_eq!(refused(|h| h.attributes = h.attributes.with_delete_horizon(true)), BatchError::DeleteHorizon);
    assert_eq!(refused(|h| h.attributes = Attributes(5)), BatchError::Codec(5));
    assert_eq!(
        refused(|h| h.attributes = Attributes(5)).error_code(),
        ErrorCode::UNSUPPORTED_COMPRESSION_TYPE
    );
    for change in [
        |h: &mut BatchHeader| h.record_count = 0,
        |h: &mut BatchHeader| h.record_count = -1,
        |h: &mut BatchHeader| h.record_count = 4,
        |h: &mut BatchHeader| h.last_offset_delta = 3,
        |h: &mut BatchHeader| (h.record_count, h.last_offset_delta) = (i32::MIN, i32::MAX),
    ] {
        assert!(matches!(refused(change), BatchError::Count { .. }));
    }
    for change in [
        |h: &mut BatchHeader| h.producer_id = ProducerId(7),
        |h: &mut BatchHeader| (h.producer_id, h.producer_epoch) = (ProducerId(7), 0),
        |h: &mut BatchHeader| (h.producer_id, h.base_sequence) = (ProducerId(7), 0),
        |h: &mut BatchHeader| h.producer_id = ProducerId(-2),
        |h: &mut BatchHeader| h.attributes = h.attributes.with_transactional(true),
    ] {
        assert!(matches!(refused(change), BatchError::Producer { .. }));
    }
    let careless = forged(&batch, |h| (h.producer_epoch, h.base_sequence) = (0, 0));
    judge(&careless).expect("an epoch and sequence without a producer id mean nothing");
    let newer = forged(&batch, |h| h.attributes = Attributes(h.attributes.0 | 1 << 9));
    judge(&newer).expect("unused bits are kept, and mean nothing");
}

#[test]
fn a_count_that_lies_is_seen_by_broker_and_client() {
    for compression in Compression::ALL {
        let batch = build(&golden_content(), &seal_with(compression));
        let lies =
            |count: i32| forged(&batch, |h| (h.record_count, h.last_offset_delta) = (count, count - 1));
        for count in [4, i32::MAX] {
            let missing = BatchError::RecordsMissing { found: 3, stated: count };
            assert_eq!(judge(&lies(count)), Err(missing.clone()), "{compression}");
            assert_eq!(read(&lies(count)), Err(missing), "{compression}");
        }
        for count in [1, 2] {
            assert_eq!(judge(&lies(count)), Err(BatchError::TrailingRecords), "{compression}");
            assert_eq!(read(&lies(count)), Err(BatchError::TrailingRecords), "{compression}");
        }
    }
}

#[test]
fn records_that_are_not_well_formed_are_refused() {
    let good: &[u8] = &[0x0e, 0, 0, 0, 1, 0, 2, 2, b'h', 1];
    let fault = |block: &[u8]| match judge(&of_block(1, block)) {
        Err(BatchError::Record { index: 0, fault }) => fault,
        other => panic!("{block:x?}: {other:?}"),
    };
    // Size 9: attributes, timestamp delta, offset delta, null key, empty value, 1 header: `h` = null.
    let good = [&[0x12_u8], &good[1..]].concat();
    judge(&of_block(1, &good)).expect("well formed");
    let with = |at: usize, byte: u8| {
        let mut block = good.clone();
        block[at] = byte;
        block
    };
    assert_eq!(fault(&with(0, 0x10)), RecordFault::Truncated, "shorter than its fields");
    assert_eq!(fault(&with(0, 0x14)), RecordFault::Truncated, "longer than the batch");
    assert_eq!(fault(&with(0, 0x01)), RecordFault::Length(-1), "a negative size");
    assert_eq!(fault(&with(3, 0x02)), RecordFault::OffsetDelta { expected: 0, found: 1 });
    assert_eq!(fault(&with(5, 0x40)), RecordFault::Truncated, "a value beyond the record");
    assert_eq!(fault(&with(6, 0x01)), RecordFault::Length(-1), "a negative count of headers");
    assert_eq!(fault(&with(6, 0x04)), RecordFault::Truncated, "a header that is not there");
    assert_eq!(fault(&with(6, 0x00)), RecordFault::Trailing, "a header that is not counted");
    assert_eq!(fault(&with(7, 0x01)), RecordFault::HeaderKeyNull);
    assert_eq!(fault(&with(8, 0xff)), RecordFault::HeaderKeyUtf8);
    let count: &[u8] = &[0x14, 0, 0, 0, 1, 0, 0xfe, 0xff, 0xff, 0xff, 0x0f];
    assert_eq!(fault(count), RecordFault::Truncated, "2^31 - 1 headers");
    let delta: &[u8] = &[0x16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert_eq!(fault(delta), RecordFault::Varint, "a timestamp of 70 bits");
}

#[test]
fn records_larger_than_the_window_are_validated_through_it() {
    let mut scratch = Scratch::new();
    let name = |n: usize| format!("x{}", "é".repeat(n));
    let (long, longer) = (name(100_000), name(400_000));
    let value = noise(3, 900_000);
    let headers = [
        Header::new(&long, Some(&value)),
        Header::new("", None),
        Header::new(&longer, None),
        Header::new(&long, Some(b"")),
    ];
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
        for i in 0..3 {
            builder.push(NOW_MS + i, Some(b"small"), Some(b"small"), Headers::NONE).expect("room");
            builder.push(NOW_MS - i, Some(&value), Some(&value[..300_000]), &headers).expect("room");
        }
        let batch = builder.seal(&seal_with(compression), &mut Compressor::new()).expect("sealed");
        let validated = validate(&batch, &Rules::at(NOW_MS), &mut scratch).expect("valid");
        assert_eq!((validated.max_timestamp, validated.max_timestamp_index), (NOW_MS + 2, 4));
        let content = read(&batch).expect("readable");
        assert_eq!(content[5].headers[2].0, longer);

        // The same through the window, with one byte of a long name no longer UTF-8.
        let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("inflates");
        let mut block = records.block().to_vec();
        let inside = block.windows(4).rposition(|w| w == "éé".as_bytes()).expect("a name");
        block[inside - 50_001] = b'x';
        let mut compressor = Compressor::new();
        let block = compressor.compress(Codec::new(compression), &block).expect("compressed");
        let broken = forged_block(&batch, 6, compression, block);
        let fault = RecordFault::HeaderKeyUtf8;
        assert_eq!(judge(&broken), Err(BatchError::Record { index: 5, fault }), "{compression}");
        read(&broken).expect("a client takes such names as they are");
    }
}

#[test]
fn records_that_the_topic_does_not_take_are_named_one_by_one() {
    let minute = 60_000;
    let records = [
        owned(NOW_MS, Some("k"), Some("v"), &[]),
        owned(NOW_MS - 3 * minute, Some("k"), Some("v"), &[]),
        owned(NOW_MS, None, Some("v"), &[]),
        owned(NOW_MS + 61 * minute, None, None, &[]),
        owned(NOW_MS + 61 * minute, Some("k"), None, &[]),
        owned(NO_TIMESTAMP, Some("k"), None, &[]),
    ];
    let rejected = |compression, rules: &Rules| match validate(
        &build(&records, &seal_with(compression)),
        rules,
        &mut Scratch::new(),
    ) {
        Err(error @ BatchError::Rejected(_)) => {
            let code = error.error_code();
            let BatchError::Rejected(rejections) = error else { unreachable!() };
            (code, rejections.first)
        }
        other => panic!("{other:?}"),
    };
    let default = Rules::at(NOW_MS);
    let late = |index, timestamp, before: i64| Rejection {
        index,
        reason: RejectionReason::Timestamp {
            timestamp,
            earliest: if before == i64::MAX { i64::MIN } else { NOW_MS - before },
            latest: NOW_MS + 60 * minute,
        },
    };
    let no_key = |index| Rejection { index, reason: RejectionReason::NoKey };
    for compression in Compression::ALL {
        let future = NOW_MS + 61 * minute;
        let (code, first) = rejected(compression, &default);
        assert_eq!(code, ErrorCode::INVALID_TIMESTAMP);
        assert_eq!(first, [late(3, future, i64::MAX), late(4, future, i64::MAX)]);

        let log_append = Rules { timestamp_type: TimestampType::LogAppendTime, compacted: true, ..default };
        assert_eq!(
            rejected(compression, &log_append),
            (ErrorCode::INVALID_RECORD, vec![no_key(2), no_key(3)])
        );

        // Where only records can tell, a trusting depth does not keep from looking at them.
        let strict =
            Rules { compacted: true, timestamp_before_max_ms: 2 * minute, depth: Depth::Header, ..default };
        let (code, first) = rejected(compression, &strict);
        assert_eq!(code, ErrorCode::INVALID_TIMESTAMP);
        let old = late(1, NOW_MS - 3 * minute, 2 * minute);
        assert_eq!(first, [old, no_key(2), no_key(3), late(4, future, 2 * minute)]);
    }
    let trusting = Rules { depth: Depth::Header, ..default };
    let error =
        validate(&build(&records, &Seal::default()), &trusting, &mut Scratch::new()).expect_err("too late");
    assert_eq!(error.error_code(), ErrorCode::INVALID_TIMESTAMP, "the header tells of a record too late");

    let many = vec![owned(0, None, None, &[]); 10_000];
    let compacted = Rules { compacted: true, ..default };
    match validate(&build(&many, &Seal::default()), &compacted, &mut Scratch::new()) {
        Err(BatchError::Rejected(rejections)) => {
            assert_eq!((rejections.total, rejections.first.len()), (10_000, 100));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_record_that_inflates_beyond_what_the_topic_takes_is_refused_where_kafka_refuses_it() {
    for value_bytes in [1000, 400_000] {
        let value = vec![7; value_bytes];
        let record = Owned { timestamp: NOW_MS, value: Some(value), ..Owned::default() };
        for compression in Compression::ALL {
            let batch = build(&[Owned::default(), record.clone()], &seal_with(compression));
            // Attributes, both deltas, no key, the value behind its length, no headers.
            let body = 1 + 6 + 1 + 1 + if value_bytes == 1000 { 2 } else { 3 } + value_bytes + 1;
            let within = |max_decompressed_message_bytes| {
                let rules = Rules { max_decompressed_message_bytes, ..Rules::at(NOW_MS) };
                validate(&batch, &rules, &mut Scratch::new())
            };
            within(body).expect("at the limit");
            let beyond = within(body - 1);
            if compression == Compression::None {
                beyond.expect("bounded by its batch");
                continue;
            }
            let error = beyond.expect_err("beyond the limit");
            assert_eq!(error.error_code(), ErrorCode::INVALID_RECORD);
            let fault = RecordFault::TooLarge { bytes: body, bytes_max: body - 1 };
            assert_eq!(error, BatchError::Record { index: 1, fault }, "{compression}");
        }
    }
}

#[test]
fn a_max_timestamp_that_is_not_the_records_is_found_and_can_be_set_right() {
    let batch = build(&golden_content(), &Seal::default());
    let lying = forged(&batch, |h| h.max_timestamp = 12);
    let validated = judge(&lying).expect("Kafka corrects it too");
    assert_eq!(validated.max_timestamp, NOW_MS + 7);
    assert_eq!(lying.with_timestamps(TimestampType::CreateTime, validated.max_timestamp), batch);
}

#[test]
fn stamping_leaves_the_crc_alone_and_log_append_time_renews_it() {
    let batch = Batch::new(golden("lz4")).expect("a batch");
    let prefix = batch.stamped_prefix(1 << 40, 77);
    let stamped = Batch::new([&prefix[..], &batch.tail()].concat().into()).expect("a batch");
    stamped.check_crc().expect("outside the CRC");
    assert_eq!((stamped.header().base_offset, stamped.header().partition_leader_epoch), (1 << 40, 77));
    assert_eq!(stamped.header().crc, batch.header().crc);
    assert_eq!(batch.clone().stamped(1 << 40, 77), stamped);

    let appended = stamped.clone().with_log_append_time(123);
    appended.check_crc().expect("renewed");
    assert_ne!(appended.header().crc, batch.header().crc);
    assert!(read(&appended).expect("readable").iter().all(|record| record.timestamp == 123));
    let header = stamped.restamped_header(|h| {
        h.attributes = h.attributes.with_timestamp_type(TimestampType::LogAppendTime);
        h.max_timestamp = 123;
    });
    assert_eq!([&header[..], &stamped.record_block()].concat(), appended.bytes()[..]);

    let renumbered = appended.with_producer(ProducerId(5), 6, 0);
    renumbered.check_crc().expect("renewed");
    assert_eq!(renumbered.header().last_sequence(), 2);
}

#[test]
fn a_batch_that_is_held_once_is_rewritten_in_place() {
    let batch = build(&golden_content(), &Seal::default());
    let before = batch.bytes().as_ptr();
    let batch = batch.with_log_append_time(NOW_MS);
    assert_eq!(batch.bytes().as_ptr(), before);
    let shared = batch.clone();
    let batch = batch.with_log_append_time(NOW_MS + 1);
    assert_ne!(batch.bytes().as_ptr(), before);
    assert_eq!(shared.header().max_timestamp, NOW_MS);
    shared.check_crc().expect("untouched");
}

#[test]
fn sequences_wrap_to_zero() {
    let header = |base_sequence, last_offset_delta| BatchHeader {
        base_sequence,
        last_offset_delta,
        ..Default::default()
    };
    assert_eq!(header(i32::MAX, 0).last_sequence(), i32::MAX);
    assert_eq!(header(i32::MAX, 1).last_sequence(), 0);
    assert_eq!(header(i32::MAX - 1, 4).last_sequence(), 2);
    assert_eq!(header(-1, 4).last_sequence(), -1);
    assert_eq!(BatchHeader::sequence_after(i32::MAX, i32::MAX), i32::MAX - 1);
}

#[test]
fn a_full_batch_takes_no_more_but_the_first_record_always_fits() {
    let mut builder = BatchBuilder::new(Vec::with_capacity(1000), 1000);
    assert_eq!(builder.push(0, None, Some(&[7; 5000]), Headers::NONE), Ok(0));
    assert_eq!(builder.push(0, None, None, Headers::NONE), Err(PushError::Full));
    assert_eq!(
        builder.seal(&Seal::default(), &mut Compressor::new()).expect("sealed").header().record_count,
        1
    );

    let mut builder = BatchBuilder::new(builder.into_buffer(), 1000);
    let mut pushed = 0;
    while builder.push(0, None, Some(&[7; 90]), Headers::NONE).is_ok() {
        pushed += 1;
    }
    assert_eq!(builder.record_count(), pushed);
    assert!(builder.encoded_bytes() <= 1000 && builder.encoded_bytes() > 900);
    assert!(!builder.would_fit(90) && builder.would_fit(1));
    let room = 1000 - builder.encoded_bytes();
    builder.push(0, None, Some(&vec![7; room - 7]), Headers::NONE).expect("to the last byte");
    assert_eq!(builder.encoded_bytes(), 1000);
}

#[test]
fn a_builder_goes_on_with_its_buffer_after_a_compressed_batch() {
    let mut builder = BatchBuilder::new(Vec::with_capacity(4096), 4096);
    let mut compressor = Compressor::new();
    for round in 0..3_u8 {
        builder.push(NOW_MS, None, Some(&[round; 100]), Headers::NONE).expect("room");
        let batch = builder.seal(&seal_with(Compression::Lz4), &mut compressor).expect("sealed");
        assert_eq!(read(&batch).expect("readable")[0].value, Some(vec![round; 100]));
        assert_eq!((builder.capacity_bytes(), builder.is_empty()), (4096, true));
    }
    builder.push(NOW_MS, None, Some(b"last"), Headers::NONE).expect("room");
    let batch = builder.seal(&Seal::default(), &mut compressor).expect("sealed");
    assert_eq!(builder.capacity_bytes(), 0, "uncompressed, the buffer is the batch");
    let back = Vec::from(batch.into_bytes());
    assert_eq!(back.capacity(), 4096, "and comes back when the batch is done with");
}

#[test]
fn a_cleaner_keeps_offsets_base_and_headers() {
    let batch = build(&golden_content(), &Seal::default());
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    assert!(builder.set_base_timestamp(99));
    for record in &records {
        let r = record.expect("readable");
        if r.key.is_some() {
            builder.push_at(r.offset as i32, r.timestamp, r.key, r.value, r.headers).expect("room");
        }
    }
    assert!(!builder.set_base_timestamp(1), "too late");
    let next = builder.push_at(2, 0, None, None, Headers::NONE);
    assert_eq!(next, Err(PushError::OffsetDelta { last: 2, next: 2 }));
    let seal = Seal { delete_horizon: true, last_offset_delta: Some(9), ..seal_with(Compression::Zstd) };
    let cleaned = builder.seal(&seal, &mut Compressor::new()).expect("sealed");
    assert_eq!((cleaned.header().last_offset(), cleaned.header().record_count), (9, 2));
    assert_eq!(cleaned.header().delete_horizon_ms(), Some(99));
    let records = cleaned.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let kept: Vec<_> = records.iter().map(|r| r.expect("readable")).collect();
    assert_eq!((kept[0].offset, kept[0].timestamp), (0, NOW_MS));
    assert_eq!((kept[1].offset, kept[1].timestamp), (2, NOW_MS + 7));
    assert_eq!(kept[0].headers.last("h"), Some(Header::new("h", Some(b"v"))));

    let empty = BatchBuilder::new(Vec::new(), 1000)
        .seal(&Seal { last_offset_delta: Some(4), ..Seal::default() }, &mut Compressor::new());
    let empty = empty.expect("an empty batch keeps a producer's sequence");
    assert_eq!((read(&empty), empty.header().last_offset()), (Ok(vec![]), 4));
}

#[test]
fn headers_keep_their_order_their_repeats_and_their_nulls() {
    let headers = [
        Header::new("a", Some(b"1")),
        Header::new("b", None),
        Header::new("a", Some(b"")),
        Header::new("", None),
    ];
    let mut builder = BatchBuilder::new(Vec::new(), 1000);
    builder.push(NOW_MS, None, None, &headers).expect("room");
    let batch = builder.seal(&Seal::default(), &mut Compressor::new()).expect("sealed");
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let record = records.iter().next().expect("one").expect("readable");
    assert!(record.headers.iter().eq(headers));
    assert_eq!(record.headers.len(), 4);
    assert_eq!(record.headers.last("a"), Some(headers[2]));
    assert_eq!(record.headers.last("c"), None);
}

#[test]
fn reading_goes_on_where_it_stopped_and_parts_live_on_without_a_copy() {
    let batch = build(&golden_content(), &Seal::default());
    let records = batch.records(&mut Decompressor::new(), &Limits::CLIENT).expect("records");
    let mut position = Position::default();
    let mut offsets = Vec::new();
    loop {
        let mut iter = records.iter_from(position);
        let Some(record) = iter.next() else { break };
        offsets.push(record.expect("readable").offset);
        position = iter.position();
    }
    assert_eq!(offsets, [0, 1, 2]);

    let value = records.iter().next().expect("one").expect("readable").value.expect("a value");
    let bytes = records.bytes_of(value);
    assert_eq!(bytes.as_ptr(), value.as_ptr());
    assert_eq!(records.bytes_of(b"elsewhere"), &b"elsewhere"[..]);
}
