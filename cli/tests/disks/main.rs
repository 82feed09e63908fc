//! Disks that wait, that fail, that are not there: what was promised holds, and what does not depend on them goes on.
//!
//! The failing disk is a library before the C library, in the broker's own process: everything else is real.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::{Duration, Instant},
};

use ottla_interop::{
    program::{Launch, PATIENCE, Running},
    wire::{self, PRODUCE_BY_NAME, Wire},
};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        CreateTopicsRequest, DeleteTopicsRequest, DescribeLogDirsRequest, MetadataRequest, ProduceRequest,
        create_topics::CreatableTopic,
        describe_log_dirs::DescribableLogDirTopic,
        metadata::{MetadataRequestTopic, MetadataResponsePartition},
    },
    types::BrokerId,
};
use tempfile::TempDir;

/// Two log directories, the second of which may fail, and how a broker is started on them.
struct Disks {
    _root: TempDir,
    first: PathBuf,
    second: PathBuf,
    launch: Launch,
}

impl Disks {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (first, second) = (root.path().join("first"), root.path().join("second"));
        let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), &first)
            .set("log.dirs", format!("{},{}", first.display(), second.display()));
        Self { _root: root, first, second, launch }
    }

    /// The same, with a second disk that fails or waits when it is told to.
    fn failing() -> Self {
        let mut disks = Self::new();
        disks.launch =
            disks.launch.env("LD_PRELOAD", shim().display()).env("FAILING_DISK", disks.second.display());
        disks
    }

    fn tell(&self, what: &str) {
        fs::write(self.second.join(what), b"").unwrap();
    }

    fn untell(&self, what: &str) {
        fs::remove_file(self.second.join(what)).unwrap();
    }

    /// The partitions of a topic that lie in the second directory, in order, and those in the first.
    fn partitions(&self, topic: &str) -> (Vec<i32>, Vec<i32>) {
        (partitions_in(&self.second, topic), partitions_in(&self.first, topic))
    }
}

fn partitions_in(directory: &Path, topic: &str) -> Vec<i32> {
    let mut found: Vec<i32> = fs::read_dir(directory)
        .unwrap()
        .filter_map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            name.strip_prefix(topic)?.strip_prefix('-')?.parse().ok()
        })
        .collect();
    found.sort_unstable();
    found
}

/// The library that stands for a failing disk, built once. The project itself needs a C compiler, so there is one.
fn shim() -> &'static Path {
    static SHIM: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
        let directory = tempfile::tempdir().unwrap();
        let library = directory.path().join("failing_disk.so");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/disks/failing_disk.c");
        let cc = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
        let built = Command::new(cc).args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
        assert!(built.expect("there is a C compiler").success(), "the failing disk does not compile");
        (directory, library)
    });
    &SHIM.1
}

fn connect(broker: &Running) -> Wire {
    Wire::connect(broker.address())
}

#[track_caller]
fn store(wire: &mut Wire, topic: &str, partition: i32, value: &[u8]) -> i64 {
    let answer = wire.produce(topic, partition, &wire::batch(&[value]));
    assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
    answer.base_offset
}

fn described(wire: &mut Wire, topic: &str) -> BTreeMap<i32, MetadataResponsePartition> {
    let asked = MetadataRequestTopic { name: Some(topic.into()), ..Default::default() };
    let answer = wire.call(12, &MetadataRequest { topics: Some(vec![asked]), ..Default::default() });
    let topic = answer.topics.into_iter().next().unwrap();
    assert_eq!(topic.error_code, ErrorCode::NONE);
    topic.partitions.into_iter().map(|partition| (partition.partition_index, partition)).collect()
}

/// Waits until `holds`.
#[track_caller]
fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come to that: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn records_come_to_the_disk_and_checkpoints_are_written_while_the_broker_runs() {
    let disks = Disks::failing();
    let launch = disks
        .launch
        .clone()
        .set("log.dirs", disks.second.display())
        .set("log.flush.offset.checkpoint.interval.ms", 20)
        .set("replica.high.watermark.checkpoint.interval.ms", 20);
    let broker = launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[]);
    for value in [b"a", b"b", b"c"] {
        store(&mut wire, "t", 0, value);
    }
    let checkpoint = |name| fs::read_to_string(disks.second.join(name)).unwrap_or_default();
    wait_until("the flushed offset is in the checkpoint", || {
        checkpoint("recovery-point-offset-checkpoint").contains("\nt 0 3\n")
    });
    wait_until("the high watermark is in the checkpoint", || {
        checkpoint("replication-offset-checkpoint").contains("\nt 0 3\n")
    });
    let flushes = fs::read(disks.second.join(".flushes")).unwrap().len();
    broker.kill();
    let broker = launch.start();
    let mut wire = connect(&broker);
    assert_eq!(wire.values("t", 0), [b"a", b"b", b"c"]);
    assert_eq!(described(&mut wire, "t")[&0].leader_epoch, 1, "each start begins an epoch");
    // What is flushed is not flushed again, and idle logs never.
    store(&mut wire, "t", 0, b"d");
    wait_until("the record is flushed", || {
        checkpoint("recovery-point-offset-checkpoint").contains("\nt 0 4\n")
    });
    // The metadata log at start, what recovery may have touched, and the record: no more.
    let again = fs::read(disks.second.join(".flushes")).unwrap().len() - flushes;
    assert!(again <= 4, "{again} flushes");
    assert!(broker.terminate().0.success());
    let broker = launch.start();
    let mut wire = connect(&broker);
    assert_eq!(described(&mut wire, "t")[&0].leader_epoch, 2, "also after a stop in order");
}

#[test]
fn with_group_commit_answers_and_consumers_wait_for_the_disk_and_what_comes_meanwhile_shares_one_flush() {
    const MEANWHILE: usize = 50;
    let disks = Disks::failing();
    let broker = disks.launch.clone().set("log.dirs", disks.second.display()).start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[("flush.messages", "1")]);
    store(&mut wire, "t", 0, b"first");
    let flushes = || fs::read(disks.second.join(".flushes")).unwrap().len();
    let before = flushes();

    disks.tell(".hold");
    let mut producer = connect(&broker);
    let send = |producer: &mut Wire, acks| {
        producer.send(PRODUCE_BY_NAME, &wire::produce_request("t", 0, acks, &wire::batch(&[b"next"])))
    };
    let mut sent = vec![send(&mut producer, -1)];
    wait_until("the first flush is under way", || flushes() > before);
    sent.extend((0..MEANWHILE).map(|n| send(&mut producer, if n % 2 == 0 { 1 } else { -1 })));
    let mut other = connect(&broker);
    send(&mut other, 0);
    let read = other.fetch("t", 0, 0);
    assert_eq!(read.high_watermark, 1, "nobody reads what a power cut may take");

    disks.untell(".hold");
    for (n, id) in sent.into_iter().enumerate() {
        let answer = wire::produced(producer.receive::<ProduceRequest>(PRODUCE_BY_NAME, id));
        assert_eq!(answer.error_code, ErrorCode::NONE);
        assert!(answer.base_offset > n as i64);
    }
    wait_until("all is read", || wire.fetch("t", 0, 0).high_watermark == MEANWHILE as i64 + 3);
    let shared = flushes() - before;
    assert!(shared <= 4, "{shared} flushes for {} batches", MEANWHILE + 2);
    assert!(broker.terminate().0.success());
}

#[test]
fn a_disk_that_fails_to_flush_takes_its_directory_offline_and_the_others_go_on() {
    let disks = Disks::failing();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 4, &[]);
    wire.create_topic("g", 2, &[("flush.messages", "1")]);
    let (failing, sound) = disks.partitions("t");
    assert_eq!((failing.len(), sound.len()), (2, 2), "partitions are spread over the directories");
    for partition in 0..4 {
        store(&mut wire, "t", partition, b"before");
    }
    let (failing_commit, _) = disks.partitions("g");
    store(&mut wire, "g", failing_commit[0], b"before");

    disks.tell(".fail");
    let refused = wire.produce("g", failing_commit[0], &wire::batch(&[b"lost"]));
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR, "an answer that waited for the flush");
    let line = broker.log().wait_for("a log directory is offline");
    assert!(line.is_error() && line.text.contains(&*disks.second.to_string_lossy()), "{line:?}");
    for words in ["could not flush", "check the disk, then restart the broker"] {
        assert!(line.text.contains(words), "{line:?}");
    }
    broker.log().wait_for("partitions are offline");
    for &partition in &failing {
        let answer = wire.produce("t", partition, &wire::batch(&[b"lost"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(wire.fetch("t", partition, 0).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        let told = &described(&mut wire, "t")[&partition];
        assert_eq!((told.error_code, told.leader_id), (ErrorCode::LEADER_NOT_AVAILABLE, BrokerId::NONE));
        assert_eq!((&*told.offline_replicas, &*told.isr_nodes), (&[BrokerId(1)][..], &[BrokerId(1)][..]));
    }
    for &partition in &sound {
        store(&mut wire, "t", partition, b"after");
        assert_eq!(described(&mut wire, "t")[&partition].leader_id, BrokerId(1));
    }
    // What is new goes to the disk that works.
    wire.create_topic("n", 3, &[]);
    assert_eq!(disks.partitions("n"), (vec![], vec![0, 1, 2]));
    assert!(broker.terminate().0.success());

    disks.untell(".fail");
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    for &partition in &failing {
        assert_eq!(wire.values("t", partition), [b"before"]);
        store(&mut wire, "t", partition, b"again");
    }
    for &partition in &sound {
        assert_eq!(wire.values("t", partition), [&b"before"[..], b"after"]);
    }
    // What the log held is seen again once it is known to be on the medium.
    wait_until("what was acknowledged is there", || {
        wire.values("g", failing_commit[0]).starts_with(&[b"before".to_vec()])
    });
}

#[test]
fn a_broker_without_a_working_disk_stops_and_says_so() {
    let disks = Disks::failing();
    let broker = disks.launch.clone().set("log.dirs", disks.second.display()).start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[]);
    disks.tell(".fail");
    store(&mut wire, "t", 0, b"a");
    let (status, log) = broker.wait();
    assert_eq!(status.code(), Some(1), "{log:#?}");
    let last = &log.last().unwrap().text;
    assert!(last.contains("all log directories have failed"), "{last}");
}

#[test]
fn a_broker_that_cannot_write_its_metadata_stops_and_says_so() {
    let disks = Disks::failing();
    let directories = format!("{},{}", disks.second.display(), disks.first.display());
    let broker = disks.launch.clone().set("log.dirs", directories).start();
    let mut wire = connect(&broker);
    disks.tell(".fail");
    let topic = CreatableTopic {
        name: "t".into(),
        num_partitions: 1,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(wire.call(7, &create).topics[0].error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let (status, log) = broker.wait();
    assert_eq!(status.code(), Some(1), "{log:#?}");
    let last = &log.last().unwrap().text;
    assert!(last.contains("which holds the metadata log"), "{last}");
}

#[test]
fn a_directory_that_is_not_there_is_offline_and_its_partitions_wait_for_it() {
    let disks = Disks::new();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 4, &[]);
    for partition in 0..4 {
        store(&mut wire, "t", partition, b"before");
    }
    let (gone, there) = disks.partitions("t");
    assert!(broker.terminate().0.success());

    let aside = disks.second.with_extension("aside");
    fs::rename(&disks.second, &aside).unwrap();
    fs::write(&disks.second, b"a file where a directory is to be").unwrap();
    let broker = disks.launch.start();
    assert!(broker.log().wait_for("a log directory is offline").is_error());
    let mut wire = connect(&broker);
    for &partition in &gone {
        let answer = wire.produce("t", partition, &wire::batch(&[b"lost"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_eq!(described(&mut wire, "t")[&partition].leader_id, BrokerId::NONE);
    }
    for &partition in &there {
        store(&mut wire, "t", partition, b"after");
    }
    wire.create_topic("n", 2, &[]);
    store(&mut wire, "n", 1, b"n");
    broker.kill();

    fs::remove_file(&disks.second).unwrap();
    fs::rename(&aside, &disks.second).unwrap();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    for &partition in &gone {
        assert_eq!(wire.values("t", partition), [b"before"]);
    }
    for &partition in &there {
        assert_eq!(wire.values("t", partition), [&b"before"[..], b"after"]);
    }
    assert_eq!(wire.values("n", 1), [b"n"]);
    assert!(broker.terminate().0.success());

    // The disk with the metadata log is another matter.
    fs::rename(&disks.first, disks.first.with_extension("aside")).unwrap();
    fs::write(&disks.first, b"").unwrap();
    let (code, line) = disks.launch.refused();
    assert!(code != 0 && line.contains("holds the metadata log"), "{line}");
    // And with no disk there is nothing to serve.
    fs::rename(&disks.second, &aside).unwrap();
    fs::write(&disks.second, b"").unwrap();
    let (code, line) = disks.launch.refused();
    assert!(code == 1 && line.contains("no log directory can be used"), "{line}");
}

#[test]
fn a_log_that_was_moved_to_another_directory_is_found_there_and_stays_there() {
    let disks = Disks::new();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 2, &[]);
    store(&mut wire, "t", 0, b"a");
    store(&mut wire, "t", 1, b"a");
    let (second, first) = disks.partitions("t");
    assert!(broker.terminate().0.success());
    let name = format!("t-{}", first[0]);
    fs::rename(disks.first.join(&name), disks.second.join(&name)).unwrap();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    for partition in 0..2 {
        assert_eq!(wire.values("t", partition), [b"a"]);
        store(&mut wire, "t", partition, b"b");
    }
    assert_eq!(disks.partitions("t"), (vec![0, 1], vec![]));
    assert!(broker.terminate().0.success());
    // The metadata knows: without that disk the partition is offline, and not empty.
    fs::rename(&disks.second, disks.second.with_extension("aside")).unwrap();
    fs::write(&disks.second, b"").unwrap();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    for partition in [first[0], second[0]] {
        let answer = wire.produce("t", partition, &wire::batch(&[b"lost"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
}

#[test]
fn log_dirs_are_described_with_sizes_room_and_what_is_offline() {
    let disks = Disks::new();
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 4, &[]);
    wire.create_topic("u", 1, &[]);
    for partition in 0..4 {
        store(&mut wire, "t", partition, b"a");
    }
    let (second, _) = disks.partitions("t");
    for version in 1..=5 {
        let answer = wire.call(version, &DescribeLogDirsRequest { topics: None });
        assert_eq!((answer.error_code, answer.results.len()), (ErrorCode::NONE, 2));
        let paths: Vec<_> = answer.results.iter().map(|result| PathBuf::from(&*result.log_dir)).collect();
        assert_eq!(paths, [disks.first.clone(), disks.second.clone()]);
        let mut count = 0;
        for (result, directory) in answer.results.iter().zip(&paths) {
            assert_eq!((result.error_code, result.is_cordoned), (ErrorCode::NONE, false));
            let room = result.usable_bytes > 0 && result.usable_bytes <= result.total_bytes;
            assert!(if version >= 4 { room } else { result.total_bytes == -1 }, "{result:?}");
            for topic in &result.topics {
                for partition in &topic.partitions {
                    let name = format!("{}-{}", &*topic.name, partition.partition_index);
                    let segment = directory.join(name).join("00000000000000000000.log");
                    assert_eq!(partition.partition_size as u64, fs::metadata(segment).unwrap().len());
                    assert_eq!((partition.offset_lag, partition.is_future_key), (0, false));
                    count += 1;
                }
            }
        }
        assert_eq!(count, 5);
    }
    let one = DescribableLogDirTopic { topic: "t".into(), partitions: vec![second[0], 99] };
    let answer = wire.call(5, &DescribeLogDirsRequest { topics: Some(vec![one]) });
    assert!(answer.results[0].topics.is_empty());
    assert_eq!(answer.results[1].topics[0].partitions.len(), 1);

    let bootstrap = broker.address().to_string();
    let described = |more: &[&str]| {
        let args = ["topic", "describe", "t", "--storage", "--bootstrap-server", &bootstrap];
        let output = Command::new(env!("CARGO_BIN_EXE_ottla")).args(args).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = described(&[]);
    assert_eq!(text.matches(&*disks.second.to_string_lossy()).count(), 2, "{text}");
    let json: serde_json::Value = serde_json::from_str(&described(&["--json"])).unwrap();
    let replicas = json["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 4);
    assert!(replicas.iter().all(|r| r["bytes"].as_u64() > Some(60) && r["next_offset"] == 1), "{json}");

    assert!(broker.terminate().0.success());
    fs::rename(&disks.second, disks.second.with_extension("aside")).unwrap();
    fs::write(&disks.second, b"").unwrap();
    let broker = disks.launch.start();
    let answer = connect(&broker).call(5, &DescribeLogDirsRequest { topics: None });
    let codes: Vec<_> = answer.results.iter().map(|r| (&*r.log_dir, r.error_code)).collect();
    let (first, second) = (disks.first.to_string_lossy(), disks.second.to_string_lossy());
    assert_eq!(codes, [(&*first, ErrorCode::NONE), (&*second, ErrorCode::KAFKA_STORAGE_ERROR)]);
}

#[test]
fn a_topic_whose_log_cannot_be_opened_is_deleted_with_its_files() {
    let disks = Disks::new();
    let launch = disks.launch.clone().set("log.dirs", disks.first.display());
    let broker = launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[]);
    for value in [b"a", b"b", b"c"] {
        store(&mut wire, "t", 0, value);
    }
    broker.kill();
    let segment = disks.first.join("t-0/00000000000000000000.log");
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let broker = launch.start();
    let mut wire = connect(&broker);
    assert_eq!(described(&mut wire, "t")[&0].leader_id, BrokerId::NONE);
    let delete =
        DeleteTopicsRequest { topic_names: vec!["t".into()], timeout_ms: 10_000, ..Default::default() };
    assert_eq!(wire.call(5, &delete).responses[0].error_code, ErrorCode::NONE);
    wait_until("its directory is gone", || !disks.first.join("t-0").exists());
    wire.create_topic("t", 1, &[]);
    assert_eq!(store(&mut wire, "t", 0, b"new"), 0);
    let checkpoint = fs::read_to_string(disks.first.join("recovery-point-offset-checkpoint")).unwrap();
    assert!(!checkpoint.contains("t 0"), "what was told of the old log is forgotten: {checkpoint}");
}

#[test]
fn a_directory_that_cannot_be_written_is_offline_and_nothing_of_it_is_lost() {
    let disks = Disks::new();
    fs::create_dir(&disks.second).unwrap();
    let mount = |options: &str| {
        let mut mount = Command::new("mount");
        let mounted = mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&disks.second).output();
        mounted.is_ok_and(|output| output.status.success())
    };
    let mounted = mount("size=8m").then_some(());
    let mounted = mounted.ok_or_else(|| {
        ottla_interop::Missing("the right to mount a small file system (run as root)".to_owned()).into()
    });
    if ottla_interop::or_skip(mounted).is_none() {
        return;
    }
    let unmount = Unmount(disks.second.clone());
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 4, &[]);
    for partition in 0..4 {
        store(&mut wire, "t", partition, b"before");
    }
    let (there, elsewhere) = disks.partitions("t");
    assert_eq!((there.len(), elsewhere.len()), (2, 2));
    assert!(broker.terminate().0.success());

    assert!(mount("remount,ro"));
    let broker = disks.launch.start();
    let line = broker.log().wait_for("a log directory is offline");
    assert!(line.is_error() && line.text.contains(&*disks.second.to_string_lossy()), "{line:?}");
    assert!(line.text.contains("Read-only"), "{line:?}");
    let mut wire = connect(&broker);
    for &partition in &there {
        let answer = wire.produce("t", partition, &wire::batch(&[b"lost"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    }
    for &partition in &elsewhere {
        store(&mut wire, "t", partition, b"after");
    }
    assert!(broker.terminate().0.success());

    assert!(mount("remount,rw"));
    let broker = disks.launch.start();
    let mut wire = connect(&broker);
    for &partition in &there {
        assert_eq!(wire.values("t", partition), [b"before"]);
        store(&mut wire, "t", partition, b"after");
    }
    assert!(broker.terminate().0.success());
    drop(unmount);
}

/// Takes a file system off when the test is over.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        // Lazily: a broker of a test that failed may still be there.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
