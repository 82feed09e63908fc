//! Whatever is wrong with its configuration, disk or peers, the broker says so clearly, loses nothing, and goes on.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant, SystemTime},
};

use ottla_interop::{
    program::{Launch, Line, PATIENCE, Running},
    wire::{self, FETCH_BY_NAME, PRODUCE_BY_NAME, Wire},
};
use ottla_protocol::{
    Bytes,
    error_code::ErrorCode,
    messages::{
        ApiVersionsRequest, FetchRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
        metadata::MetadataRequestTopic,
    },
};
use rustix::process::{Resource, Rlimit, prlimit};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A directory for data, and how a broker is started on it.
fn fresh() -> (TempDir, Launch) {
    let data = tempfile::tempdir().unwrap();
    let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path());
    (data, launch)
}

fn connect(broker: &Running) -> Wire {
    Wire::connect(broker.address())
}

/// Starts a broker, and makes a topic of one partition.
fn start_with_topic(launch: &Launch) -> (Running, Wire) {
    let broker = launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[]);
    (broker, wire)
}

/// Writes a batch of one record and wants it taken.
#[track_caller]
fn store(wire: &mut Wire, topic: &str, partition: i32, value: &[u8]) -> i64 {
    let answer = wire.produce(topic, partition, &wire::batch(&[value]));
    assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
    answer.base_offset
}

/// Bytes that nothing compresses and no two of which are the same batch.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..len).map(|_| next()).collect()
}

#[track_caller]
fn assert_says(text: &str, words: &[&str]) {
    assert!(words.iter().all(|word| text.contains(word)), "{words:?} are not all in: {text}");
}

fn errors(lines: &[Line]) -> Vec<&Line> {
    lines.iter().filter(|line| line.is_error()).collect()
}

// ---- Configuration and data directory: the broker does not start, and says what to do ----

#[test]
fn an_unknown_key_is_refused_with_the_key_that_was_meant() {
    let (_data, launch) = fresh();
    let (code, said) = launch.set("log.segment.byte", 1 << 20).refused();
    assert_eq!(code, 2, "{said}");
    assert_says(&said, &["`log.segment.byte`", "`log.segment.bytes`"]);
}

#[test]
fn a_port_in_use_is_named_with_the_command_that_finds_its_owner() {
    let (_data, launch) = fresh();
    let broker = launch.start();
    let (_other, launch) = fresh();
    let (code, said) = launch.at(broker.address()).refused();
    assert_eq!(code, 1, "{said}");
    let port = broker.address().port().to_string();
    assert_says(&said, &[&format!("`{}`", broker.address()), "another process", &format!("sport = :{port}")]);
    connect(&broker).call(0, &ApiVersionsRequest::default());
}

#[test]
fn a_data_directory_has_one_broker_at_a_time() {
    let (data, launch) = fresh();
    let (broker, mut wire) = start_with_topic(&launch);
    let (code, said) = launch.refused();
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["in use by another broker", &data.path().display().to_string()]);
    // The first one noticed nothing, and a killed broker holds no lock.
    assert_eq!(store(&mut wire, "t", 0, b"v"), 0);
    broker.kill();
    assert_eq!(connect(&launch.start()).values("t", 0), [b"v"]);
}

#[test]
fn a_data_directory_that_is_anothers_is_refused_and_left_as_it_is() {
    let (data, launch) = fresh();
    let broker = launch.clone().set("ottla.cluster.id", "mine").start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[]);
    store(&mut wire, "t", 0, b"v");
    assert!(broker.terminate().0.success());

    let meta = data.path().join("meta.properties");
    let original = fs::read_to_string(&meta).unwrap();
    let refused = |launch: &Launch, changed: &str, words: &[&str]| {
        fs::write(&meta, changed).unwrap();
        let (code, said) = launch.refused();
        assert_eq!(code, 1, "{said}");
        assert_says(&said, words);
        assert_eq!(fs::read_to_string(&meta).unwrap(), changed);
    };
    refused(
        &launch.clone().set("ottla.cluster.id", "other"),
        &original,
        &["cluster `mine`", "`other`", "`ottla.cluster.id`"],
    );
    refused(&launch.clone().set("node.id", 7), &original, &["node `1`", "node `7`", "`node.id`"]);
    let newer = original.replace("ottla.format=1", "ottla.format=2");
    refused(&launch, &newer, &["format is `2`", "use a newer release"]);
    let kafkas: String =
        original.lines().filter(|l| !l.contains("ottla")).map(|l| format!("{l}\n")).collect();
    refused(&launch, &kafkas, &["Apache Kafka's", "empty directory"]);

    fs::write(&meta, original).unwrap();
    assert_eq!(connect(&launch.start()).values("t", 0), [b"v"]);

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("holiday.jpg"), b"jpg").unwrap();
    let (code, said) = Launch::new(env!("CARGO_BIN_EXE_ottla"), other.path()).refused();
    assert_eq!(code, 1, "{said}");
    assert_says(&said, &["`holiday.jpg`", "empty directory"]);
}

// ---- Requests that cannot be done ----

#[test]
fn a_batch_that_is_too_large_is_refused_and_the_connection_goes_on() {
    let (_data, launch) = fresh();
    let broker = launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 1, &[("max.message.bytes", "1000")]);
    let answer = wire.produce("t", 0, &wire::batch(&[&noise(1, 1000)]));
    assert_eq!(answer.error_code, ErrorCode::MESSAGE_TOO_LARGE);
    assert_says(answer.error_message.as_deref().unwrap_or_default(), &["`max.message.bytes`", "1000"]);
    assert_eq!(store(&mut wire, "t", 0, b"small"), 0);
}

#[test]
fn a_topic_that_is_not_there_is_not_made_unless_that_is_wanted() {
    let (data, launch) = fresh();
    let broker = launch.set("auto.create.topics.enable", false).start();
    let mut wire = connect(&broker);
    let topics = vec![MetadataRequestTopic { name: Some("t".into()), ..Default::default() }];
    let request =
        MetadataRequest { topics: Some(topics), allow_auto_topic_creation: true, ..Default::default() };
    let metadata = wire.call(12, &request);
    assert_eq!(metadata.topics[0].error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    let answer = wire.produce("t", 0, &wire::batch(&[b"v"]));
    assert_eq!(answer.error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(wire.fetch("t", 0, 0).error_code, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    assert!(!data.path().join("t-0").exists());
}

#[test]
fn a_corrupt_batch_is_refused_alone() {
    let (_data, launch) = fresh();
    let (_broker, mut wire) = start_with_topic(&launch);
    let sound = wire::batch(&[b"first", b"second"]);
    for at in [22, sound.len() - 1] {
        let mut rotten = sound.to_vec();
        rotten[at] ^= 1;
        let answer = wire.produce("t", 0, &Bytes::from(rotten));
        assert_eq!(answer.error_code, ErrorCode::CORRUPT_MESSAGE, "byte {at}");
    }
    let answer = wire.produce("t", 0, &sound);
    assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, 0));
    assert_eq!(wire.values("t", 0), [&b"first"[..], b"second"]);
}

// ---- A disk that is full ----

/// Writes numbered batches of 64 KiB until one is refused; then makes room, sends what was refused again, and
/// more: all is there once.
fn full_disk(broker: &Running, limit: impl FnOnce(), make_room: impl FnOnce()) {
    let mut wire = connect(broker);
    wire.create_topic("t", 1, &[]);
    wire.create_topic("other", 1, &[]);
    let init = InitProducerIdRequest { transactional_id: None, ..Default::default() };
    let producer = wire.call(4, &init);
    let value = |n: i32| noise(n as u64 + 1, 64 << 10);
    let mut send = |n: i32| {
        let batch = wire::numbered_batch(producer.producer_id, producer.producer_epoch, n, &[&value(n)]);
        wire.produce("t", 0, &batch)
    };
    limit();
    let mut n = 0;
    let refused = loop {
        let answer = send(n);
        if answer.error_code.is_error() {
            break answer;
        }
        assert_eq!(answer.base_offset, i64::from(n));
        n += 1;
        assert!(n < 1000, "the disk does not become full");
    };
    assert!(n > 1, "some were taken before");
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let message = refused.error_message.as_deref().unwrap_or_default().to_owned();
    assert_says(&message, &["could not write to", "t-0"]);
    // It goes on being refused, and what is there can be read.
    assert_eq!(send(n).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    assert_eq!(connect(broker).values("t", 0).len(), n as usize);
    make_room();
    for n in n..n + 3 {
        let answer = send(n);
        assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
        assert_eq!(answer.base_offset, i64::from(n));
    }
    // An answer that was lost: the same batch again.
    assert_eq!(send(n + 2).base_offset, i64::from(n) + 2);
    let values = connect(broker).values("t", 0);
    let expected: Vec<_> = (0..n + 3).map(value).collect();
    assert!(values == expected, "{} values of {}", values.len(), expected.len());
}

#[test]
fn a_file_that_may_not_grow_stops_appends_until_it_may() {
    let (_data, launch) = fresh();
    let broker = launch.start();
    let limit = |bytes| {
        let limit = Rlimit { current: bytes, maximum: None };
        prlimit(Some(broker.pid()), Resource::Fsize, limit).expect("a limit can be set on one's own child");
    };
    full_disk(&broker, || limit(Some(MIB + 12_345)), || limit(None));
    let (status, log) = broker.terminate();
    assert!(status.success(), "{log:#?}");
}

/// A file system of a few megabytes.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None` where this process may not mount.
    fn mount(bytes: u64) -> Option<Self> {
        let at = tempfile::tempdir().unwrap();
        let size = format!("size={bytes}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at.path()).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a broker of a test that failed may still be there.
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}

#[test]
fn a_full_disk_stops_appends_until_there_is_room_also_where_a_segment_ends() {
    let mounted = SmallDisk::mount(8 * MIB).ok_or_else(|| {
        ottla_interop::Missing("the right to mount a small file system (run as root)".to_owned()).into()
    });
    let Some(disk) = ottla_interop::or_skip(mounted) else { return };
    let data = disk.path().join("data");
    // Segments end each 16 batches: the disk becomes full in one, or between two.
    for (i, filler_bytes) in [0, 40_000, 80_000].into_iter().enumerate() {
        let data = data.join(i.to_string());
        let filler = disk.path().join("filler");
        let launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), &data).set("log.segment.bytes", MIB);
        let broker = launch.start();
        full_disk(
            &broker,
            || fs::write(&filler, vec![1; (4 * MIB + filler_bytes) as usize]).unwrap(),
            || fs::remove_file(&filler).unwrap(),
        );
        let count = connect(&broker).values("t", 0).len();
        broker.kill();
        let broker = launch.start();
        assert_eq!(connect(&broker).values("t", 0).len(), count);
        let (status, log) = broker.terminate();
        assert!(status.success() && errors(&log).is_empty(), "{log:#?}");
        fs::remove_dir_all(&data).unwrap();
    }
}

// ---- Damage on disk ----

fn segment(data: &Path, partition: &str) -> PathBuf {
    data.join(partition).join("00000000000000000000.log")
}

#[test]
fn a_torn_end_is_cut_and_what_was_before_it_stays() {
    let (data, launch) = fresh();
    let (broker, mut wire) = start_with_topic(&launch);
    for value in [b"a", b"b", b"c"] {
        store(&mut wire, "t", 0, value);
    }
    broker.kill();
    let path = segment(data.path(), "t-0");
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() - 7).unwrap();

    let broker = launch.start();
    let mut wire = connect(&broker);
    assert_eq!(wire.values("t", 0), [b"a", b"b"]);
    assert_eq!(store(&mut wire, "t", 0, b"d"), 2);
    assert_eq!(wire.values("t", 0), [b"a", b"b", b"d"]);
    let (status, log) = broker.terminate();
    assert!(status.success());
    let torn: Vec<_> = log.iter().filter(|line| line.text.contains("torn end")).collect();
    assert!(matches!(torn[..], [line] if line.text.contains("t-0") && !line.is_error()), "{log:#?}");
}

#[test]
fn a_partition_that_rots_in_the_middle_is_refused_until_it_is_mended_and_others_serve() {
    let (data, launch) = fresh();
    let broker = launch.start();
    let mut wire = connect(&broker);
    wire.create_topic("t", 2, &[]);
    for value in [b"a", b"b", b"c"] {
        store(&mut wire, "t", 0, value);
        store(&mut wire, "t", 1, value);
    }
    broker.kill();
    let path = segment(data.path(), "t-0");
    let sound = fs::read(&path).unwrap();
    let mut rotten = sound.clone();
    rotten[sound.len() / 3 + 65] ^= 1;
    fs::write(&path, &rotten).unwrap();

    // Also when the broker has stopped in order meanwhile: nobody has looked at the rest of that log.
    for _ in 0..2 {
        let broker = launch.start();
        let line = broker.log().wait_for("a partition is offline");
        assert_says(
            &line.text,
            &["00000000000000000000.log", "is damaged at byte", "restore it from a copy"],
        );
        let mut wire = connect(&broker);
        let answer = wire.produce("t", 0, &wire::batch(&[b"d"]));
        assert_eq!(answer.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert_says(answer.error_message.as_deref().unwrap_or_default(), &["`t-0`", "could not be opened"]);
        assert_eq!(wire.fetch("t", 0, 0).error_code, ErrorCode::KAFKA_STORAGE_ERROR);
        assert!(wire.values("t", 1).len() >= 3);
        store(&mut wire, "t", 1, b"d");
        assert!(broker.terminate().0.success());
        assert_eq!(fs::read(&path).unwrap(), rotten, "what is damaged is left as it is");
    }

    fs::write(&path, &sound).unwrap();
    let broker = launch.start();
    let mut wire = connect(&broker);
    assert_eq!(wire.values("t", 0), [b"a", b"b", b"c"]);
    assert_eq!(wire.values("t", 1), [b"a", b"b", b"c", b"d", b"d"]);
    assert_eq!(store(&mut wire, "t", 0, b"d"), 3);
}

// ---- Peers that are none ----

#[test]
fn garbage_on_the_socket_is_closed_with_one_line_each_and_memory_stays_flat() {
    let (_data, launch) = fresh();
    let (broker, mut wire) = start_with_topic(&launch);
    store(&mut wire, "t", 0, b"v");
    let tls = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello, this is a client of another protocol";
    let strangers: [(&[u8], &str); 5] = [
        (tls, "TLS"),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP"),
        (&[0x7f; 64], "a frame of"),
        (&[0xff; 64], "a frame of -"),
        (&[0, 0, 0, 16, 0x7f, 0, 0, 1, 0, 0, 0, 1, 0, 1, b'x', 0, 0, 0, 0, 0], "there is no API 32512"),
    ];
    let knock = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(broker.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may be closed before all is read; either way nothing is answered.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let reset = read.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionReset);
        assert!(read.is_ok() || reset, "not closed: {read:?}");
        assert!(answer.is_empty(), "answered {answer:?}");
    };
    let mut count = 0;
    for (bytes, words) in strangers {
        knock(bytes);
        count += 1;
        let line = broker.log().wait_for_count("connection closed", count).pop().unwrap();
        assert_says(&line.text, &[words]);
        assert!(line.is_warning() && !line.is_error(), "{}", line.text);
    }
    let mut crowd = |seeds: std::ops::Range<u64>| {
        for seed in seeds {
            let mut bytes = noise(seed, 1 + (seed as usize * 37) % 3000);
            // An announced size that is allowed, now and then: then the frame is cut off, or is no request.
            if seed.is_multiple_of(3) {
                bytes.splice(..0, ((seed % 50) as u32 * 1000).to_be_bytes());
            }
            knock(&bytes);
            count += 1;
        }
        broker.log().wait_for_count("connection closed", count);
    };
    crowd(1..100);
    let before = broker.resident_bytes();
    crowd(100..600);
    let grown = broker.resident_bytes().saturating_sub(before);
    assert!(grown < 4 * MIB, "500 strangers cost {grown} bytes");
    let log = broker.log().lines();
    assert_eq!(broker.log().with("connection closed").len(), count);
    assert!(errors(&log).is_empty(), "{:#?}", errors(&log));
    assert_eq!(wire.values("t", 0), [b"v"]);
}

#[test]
fn a_peer_that_does_not_read_its_answers_costs_little_and_is_let_go() {
    const PEERS: usize = 8;
    const BATCHES: usize = 32;
    let (_data, launch) = fresh();
    let (broker, mut wire) = start_with_topic(&launch.set("connections.max.idle.ms", 1500));
    for n in 0..BATCHES {
        store(&mut wire, "t", 0, &noise(n as u64 + 1, MIB as usize - 200));
    }
    assert_eq!(wire.values("t", 0).len(), BATCHES);
    let before = broker.resident_bytes();
    let began = Instant::now();
    let mut stalled = Vec::new();
    for _ in 0..PEERS {
        let mut peer = connect(&broker);
        for _ in 0..10 {
            peer.send(FETCH_BY_NAME, &whole_partition("t"));
        }
        stalled.push(peer);
    }
    // Others are served meanwhile, until all of them are let go.
    let (mut most, mut reads) = (before, 0);
    while broker.log().with("stopped reading").len() < PEERS {
        assert_eq!(wire.fetch("t", 0, 0).error_code, ErrorCode::NONE);
        reads += 1;
        most = most.max(broker.resident_bytes());
        assert!(began.elapsed() < PATIENCE, "they are not let go");
    }
    let grown = most - before;
    assert!(grown < 16 * MIB, "{PEERS} answers of {BATCHES} MiB that nobody reads cost {grown} bytes");
    assert!(reads > 10, "others had to wait: {reads} reads in {:?}", began.elapsed());
    let log = broker.log().lines();
    assert!(errors(&log).is_empty(), "{:#?}", errors(&log));
    println!("{PEERS} peers that do not read: {grown} bytes more, {reads} reads of another");
}

/// A fetch that asks for all there is.
fn whole_partition(topic: &str) -> FetchRequest {
    let mut request = wire::fetch_request(topic, &[(0, 0)]);
    request.topics[0].partitions[0].partition_max_bytes = i32::MAX;
    request
}

#[test]
fn an_idle_connection_is_closed_in_its_time() {
    const IDLE: Duration = Duration::from_millis(400);
    let (_data, launch) = fresh();
    let broker = launch.set("connections.max.idle.ms", IDLE.as_millis()).start();
    let mut wire = connect(&broker);
    wire.call(0, &ApiVersionsRequest::default());
    let began = Instant::now();
    wire.expect_closed();
    let after = began.elapsed();
    assert!(IDLE - Duration::from_millis(20) < after && after < 10 * IDLE, "{after:?}");
    // Nothing went wrong, so nothing is warned of.
    assert!(broker.log().lines().iter().all(|line| !line.is_warning()));
}

// ---- Stopping ----

/// When the indexes of the sealed segments of `t-0` were written, by file.
fn index_times(data: &Path) -> Vec<(PathBuf, SystemTime)> {
    let files = fs::read_dir(data.join("t-0")).unwrap().map(|f| f.unwrap().path());
    let mut times: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|e| e == "index"))
        .map(|path| (path.clone(), fs::metadata(path).unwrap().modified().unwrap()))
        .collect();
    times.sort();
    times
}

#[test]
fn sigterm_answers_what_was_begun_and_leaves_nothing_to_recover() {
    const STORED: i32 = 30;
    let (data, launch) = fresh();
    let launch = launch.set("log.segment.bytes", MIB);
    let value = |n: i32| noise(n as u64 + 1, 100_000);
    let (broker, mut wire) = start_with_topic(&launch);
    for n in 0..STORED {
        store(&mut wire, "t", 0, &value(n));
    }
    // What a crash left is looked through, and indexed anew.
    broker.kill();
    let written = index_times(data.path());
    let broker = launch.start();
    assert_ne!(index_times(data.path()), written);

    let mut wire = connect(&broker);
    let ids: Vec<i32> = (STORED..STORED + 40)
        .map(|n| {
            let batch = wire::batch(&[&value(n)]);
            wire.send(PRODUCE_BY_NAME, &wire::produce_request("t", 0, -1, &batch))
        })
        .collect();
    // A consumer that waits long, and one that has begun to say something.
    let mut waiting = connect(&broker);
    let mut request = wire::fetch_request("t", &[(0, 0)]);
    (request.max_wait_ms, request.min_bytes) = (60_000, i32::MAX);
    waiting.send(FETCH_BY_NAME, &request);
    let mut talking = connect(&broker);
    talking.send_raw(&[0, 0, 1, 0, 0, 18]);
    let first = wire.receive::<ProduceRequest>(PRODUCE_BY_NAME, ids[0]);
    assert_eq!(wire::produced(first).error_code, ErrorCode::NONE);

    let began = Instant::now();
    let (status, log) = broker.terminate();
    assert!(began.elapsed() < Duration::from_secs(5), "stopping took {:?}", began.elapsed());
    assert!(status.success() && errors(&log).is_empty(), "{log:#?}");
    assert!(data.path().join(".kafka_cleanshutdown").exists());
    waiting.expect_closed();
    let mut answered = 1;
    let offset = |answered: usize| i64::from(STORED) + answered as i64;
    while let Some(frame) = wire.frame() {
        let id = ids[answered];
        let answer =
            ottla_protocol::frame::read_response::<ProduceRequest>(frame, PRODUCE_BY_NAME, id).unwrap();
        let answer = wire::produced(answer);
        assert_eq!((answer.error_code, answer.base_offset), (ErrorCode::NONE, offset(answered)));
        answered += 1;
    }

    let written = index_times(data.path());
    let broker = launch.start();
    let values = connect(&broker).values("t", 0);
    assert!(values.len() as i64 >= offset(answered), "{} of {}", values.len(), offset(answered));
    assert!((0..).zip(&values).all(|(n, v)| *v == value(n)), "they are in order");
    let log = broker.kill();
    assert!(log.iter().all(|line| !line.is_warning()), "{log:#?}");
    assert!(!data.path().join(".kafka_cleanshutdown").exists(), "a crash must not look like a stop");
    assert_eq!(index_times(data.path()), written, "nothing was recovered after the clean stop");
}
