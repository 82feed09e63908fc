//! Frames recorded between Apache Kafka and its clients: each is read, written again, and the same.

use std::{collections::BTreeMap, fs, path::Path};

use bytes::Bytes;
use ottla_protocol::{
    compression::{Decompressor, Limits},
    frame::{RequestFrame, SIZE_BYTES},
    messages::{
        ALL, ApiKey, FetchResponse, ProduceRequest,
        data::{RequestHeader, ResponseHeader},
    },
    record::AnyBatch,
    wire::{Reader, Records, Wire, decode, encode},
};

/// One file of `tests/frames`: `03_metadata_request_v12.hex`.
struct Recorded {
    file: String,
    key: ApiKey,
    version: i16,
    response: bool,
    /// With its size.
    bytes: Bytes,
}

fn recorded() -> Vec<Recorded> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/frames");
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("a directory entry").file_name().into_string().expect("UTF-8"))
        .filter(|name| name.ends_with(".hex"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|file| {
            let text = fs::read_to_string(directory.join(&file)).expect("a readable file");
            parse(&file, &text).unwrap_or_else(|| panic!("{file} is not named or written as a frame is"))
        })
        .collect()
}

fn parse(file: &str, text: &str) -> Option<Recorded> {
    let (rest, version) = file.strip_suffix(".hex")?.rsplit_once("_v")?;
    let (rest, direction) = rest.rsplit_once('_')?;
    let (key, _) = rest.split_once('_')?;
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    Some(Recorded {
        file: file.to_owned(),
        key: ApiKey::from_i16(key.parse().ok()?)?,
        version: version.parse().ok()?,
        response: direction == "response",
        bytes: digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect(),
    })
}

/// Reads a header and writes it again; what it was, and what follows it.
fn header<H: Wire>(frame: Bytes, version: i16) -> (Bytes, Bytes) {
    let mut r = Reader::new(frame.clone());
    let header = H::read(&mut r, version).expect("a header");
    let again = encode(&header, version).expect("what was read can be written");
    assert_eq!(again, frame.slice(..r.position()), "the header");
    (again, r.rest())
}

#[test]
fn every_recorded_frame_is_read_and_written_the_same() {
    for Recorded { file, key, version, response, bytes } in recorded() {
        let size = i32::from_be_bytes(*bytes.first_chunk().expect("a size"));
        assert_eq!(size as usize, bytes.len() - SIZE_BYTES, "{file}");
        let frame = bytes.slice(SIZE_BYTES..);
        let body = if response {
            header::<ResponseHeader>(frame, key.response_header_version(version)).1
        } else {
            let request = RequestFrame::parse(frame.clone()).unwrap();
            assert_eq!((request.api(), request.version), (Some(key), version), "{file}");
            let (_, body) = header::<RequestHeader>(frame, key.request_header_version(version));
            assert_eq!(request.body.rest(), body, "{file}");
            body
        };
        let name = format!("{}{}", key.name(), if response { "Response" } else { "Request" });
        let message = ALL.iter().find(|m| m.name == name).expect("every API has both");
        let again =
            (message.recode)(body.clone(), version).unwrap_or_else(|e| panic!("{file}: {e}")).unwrap();
        assert_eq!(again, body, "{file}");
    }
}

#[test]
fn the_batches_in_recorded_frames_are_whole_and_readable() {
    let mut counted = [0; 2];
    for Recorded { file, key, version, response, bytes } in recorded() {
        let frame = bytes.slice(SIZE_BYTES..);
        let sets: Vec<Records> = match (key, response) {
            (ApiKey::Produce, false) => {
                let request: ProduceRequest = RequestFrame::parse(frame).unwrap().message().unwrap();
                let partitions = request.topic_data.into_iter().flat_map(|topic| topic.partition_data);
                partitions.filter_map(|partition| partition.records).collect()
            }
            (ApiKey::Fetch, true) => {
                let (_, body) = header::<ResponseHeader>(frame, key.response_header_version(version));
                let response: FetchResponse = decode(body, version).unwrap();
                let partitions = response.responses.into_iter().flat_map(|topic| topic.partitions);
                partitions.filter_map(|partition| partition.records).collect()
            }
            _ => continue,
        };
        for set in sets {
            counted[usize::from(response)] += records_in(set.into_bytes(), &file);
        }
    }
    let [produced, fetched] = counted;
    assert!(produced >= 10 && fetched >= 10, "{produced} produced, {fetched} fetched");
}

/// Reads every batch of a set to its last record; says how many records there were.
fn records_in(mut set: Bytes, file: &str) -> usize {
    let mut decompressor = Decompressor::new();
    let mut count = 0;
    // What a fetch answer cuts off at its end is no batch.
    while let Some(batch) = AnyBatch::split_from(&mut set).unwrap_or_else(|e| panic!("{file}: {e}")) {
        batch.check_crc().unwrap_or_else(|e| panic!("{file}: {e}"));
        let records =
            batch.records(&mut decompressor, &Limits::BROKER).unwrap_or_else(|e| panic!("{file}: {e}"));
        for record in records.iter() {
            record.unwrap_or_else(|e| panic!("{file}: {e}"));
            count += 1;
        }
    }
    count
}

/// So that a recording gone wrong is not taken for a good one.
#[test]
fn the_apis_that_every_client_needs_are_recorded_both_ways_in_several_versions() {
    let mut versions: BTreeMap<(i16, bool), usize> = BTreeMap::new();
    for frame in recorded() {
        *versions.entry((frame.key as i16, frame.response)).or_default() += 1;
    }
    let needed = [
        ApiKey::Produce,
        ApiKey::Fetch,
        ApiKey::ListOffsets,
        ApiKey::Metadata,
        ApiKey::OffsetCommit,
        ApiKey::OffsetFetch,
        ApiKey::FindCoordinator,
        ApiKey::JoinGroup,
        ApiKey::Heartbeat,
        ApiKey::LeaveGroup,
        ApiKey::SyncGroup,
        ApiKey::ApiVersions,
        ApiKey::CreateTopics,
        ApiKey::DeleteTopics,
        ApiKey::InitProducerId,
        ApiKey::EndTxn,
    ];
    for key in needed {
        for response in [false, true] {
            let count = versions.get(&(key as i16, response)).copied().unwrap_or_default();
            assert!(
                count >= 3,
                "{} has {count} {}",
                key.name(),
                if response { "responses" } else { "requests" }
            );
        }
    }
}
