//! What a hostile peer sends takes no memory that stays, and no service from others: by the million, before a login and after it.
//!
//! The short form sends [`FRAMES`] frames; `OTTLA_HOSTILE_FRAMES` says another number of them. Each test prints what it measured.
//! What such input is judged by is tested where it is judged: `core/protocol/tests/bombs.rs`, `broker/tests/strangers.rs`, and others
//! that [`ATTACKS`] names.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stdout, reason = "the figures are asked for")]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ottla_interop::{
    program::{Launch, PATIENCE, Running},
    tokens::Issuer,
    wire::{self, Wire},
};
use ottla_protocol::{
    Bytes,
    compression::{Codec, Compression, Compressor},
    error_code::ErrorCode,
    frame,
    messages::{
        ApiVersionsRequest, ListOffsetsRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
        list_offsets::{ListOffsetsPartition, ListOffsetsTopic},
    },
    record::{BatchBuilder, Headers, Seal},
};
use tempfile::TempDir;

/// Malformed frames of the short form, to each listener.
const FRAMES: u64 = 20_000;
/// Frames that are sent over one connection, if it stays that long.
const FRAMES_A_CONNECTION: u64 = 16;
/// Connections that say nothing.
const IDLE: usize = 5_000;
const MIB: u64 = 1 << 20;

/// A broker with a listener where clients log in, and one where they need not, beside a topic `t` on it.
struct Site {
    broker: Running,
    guarded: SocketAddr,
    open: SocketAddr,
    _data: TempDir,
}

impl Site {
    fn start(settings: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut launch = Launch::new(env!("CARGO_BIN_EXE_ottla"), data.path())
            .set("listeners", "OPEN://127.0.0.1:0,GUARDED://127.0.0.1:0")
            .set("listener.security.protocol.map", "OPEN:PLAINTEXT,GUARDED:SASL_PLAINTEXT")
            .set("sasl.enabled.mechanisms", "PLAIN")
            // Frames are what it is about, however fast connections come.
            .set("ottla.max.connection.creation.rate.per.ip", 1_000_000)
            .set("ottla.sasl.plain.without.tls", true)
            .set(
                "listener.name.guarded.plain.sasl.jaas.config",
                "x.PlainLoginModule required user_alice=\"wonder\";",
            )
            .set("auto.create.topics.enable", false);
        for (key, value) in settings {
            launch = launch.set(key, value);
        }
        let broker = launch.start();
        let listening = broker.log().wait_for_count("listening", 2);
        let address = |listener: &str| -> SocketAddr {
            let line = listening.iter().find(|line| line.field("listener").is_some_and(|it| it == listener));
            line.and_then(|line| line.field("address")?.parse().ok()).expect("each listener says its address")
        };
        let (open, guarded) = (address("OPEN"), address("GUARDED"));
        Wire::connect(open).create_topic("t", 1, &[]);
        Self { broker, guarded, open, _data: data }
    }

    /// Somebody who logs in, and is served.
    fn friend(&self) {
        let mut stream = self.logged_in();
        let (id, request) = (3, wire::fetch_request("t", &[(0, 0)]));
        let pieces = frame::request(&request, wire::FETCH_BY_NAME, id, None).unwrap();
        stream.write_all(&pieces.concat()).unwrap();
        answer(&mut stream).expect("a friend is answered");
    }

    /// A connection behind its login.
    fn logged_in(&self) -> TcpStream {
        let mut stream = TcpStream::connect(self.guarded).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let handshake = SaslHandshakeRequest { mechanism: "PLAIN".into() };
        let token = SaslAuthenticateRequest { auth_bytes: Bytes::from_static(b"\0alice\0wonder") };
        let handshake = frame::request(&handshake, 1, 1, None).unwrap().concat();
        let token = frame::request(&token, 2, 2, None).unwrap().concat();
        for bytes in [handshake, token] {
            stream.write_all(&bytes).unwrap();
            answer(&mut stream).expect("alice is known");
        }
        stream
    }

    /// Runs an attack, with somebody else who goes on writing and reading; gives what the broker's memory grew by at most meanwhile, and
    /// the longest that the other had to wait.
    fn endures(&self, attack: impl FnOnce()) -> (u64, Duration) {
        let before = self.broker.resident_bytes();
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| {
                let (mut wire, mut slowest, mut most) = (Wire::connect(self.open), Duration::ZERO, before);
                let mut stored = 0;
                while !is_over.load(Ordering::Relaxed) || stored == 0 {
                    let began = Instant::now();
                    let answer = wire.produce("t", 0, &wire::batch(&[b"v"]));
                    assert_eq!(answer.error_code, ErrorCode::NONE, "{:?}", answer.error_message);
                    assert_eq!(wire.fetch("t", 0, answer.base_offset).error_code, ErrorCode::NONE);
                    slowest = slowest.max(began.elapsed());
                    most = most.max(self.broker.resident_bytes());
                    stored += 1;
                    // It is others that are to be busy.
                    std::thread::sleep(Duration::from_millis(2));
                }
                (most - before, slowest)
            });
            let over = Over(&is_over);
            attack();
            drop(over);
            other.join().unwrap()
        })
    }
}

/// Says that an attack is over, also when it fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The bytes of an answer, or nothing if the connection was closed.
fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut size = [0; frame::SIZE_BYTES];
    stream.read_exact(&mut size).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Numbers that are the same for a seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// APIs whose requests make something that stays, by right: what is made so is no attack, and would be counted as one.
const MAKING: [&str; 10] = [
    "11_join_group",
    "19_create_topics",
    "20_delete_topics",
    "30_create_acls",
    "33_alter_configs",
    "37_create_partitions",
    "44_incremental_alter_configs",
    "49_alter_client_quotas",
    "51_alter_user_scram_credentials",
    "68_consumer_group_heartbeat",
];

/// Requests that real clients have sent, whole, with their sizes.
fn recorded() -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    for entry in fs::read_dir(ottla_interop::path("tests/frames")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.contains("_request_") || MAKING.iter().any(|api| name.starts_with(api)) {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|digit| digit as u8).collect();
        frames.push(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect());
    }
    assert!(frames.len() > 20, "there are recorded requests");
    frames.sort();
    frames
}

/// A frame that is not as it should be: noise, or a recorded request in which some bytes are others, are missing, or are too many.
fn malformed(random: &mut Random, recorded: &[Vec<u8>]) -> Vec<u8> {
    let mut frame = match random.below(8) {
        0 => {
            let len = random.below(300);
            [vec![0; 4], (0..len).map(|_| random.next() as u8).collect()].concat()
        }
        _ => recorded[random.below(recorded.len())].clone(),
    };
    for _ in 0..1 + random.below(4) {
        let at = 4 + random.below((frame.len() - 4).max(1));
        match random.below(5) {
            0 => frame.truncate(at),
            1 => frame.extend((0..random.below(64)).map(|_| random.next() as u8).collect::<Vec<_>>()),
            // A count, a length or a size that promises much.
            2 if at + 4 <= frame.len() => frame[at..at + 4].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]),
            _ if at < frame.len() => frame[at] ^= 1 << random.below(8),
            _ => {}
        }
    }
    let size = match random.below(50) {
        // Now and then what it says of its own size is wrong, too.
        0 => random.next() as u32,
        _ => (frame.len() - 4) as u32,
    };
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

/// Sends `count` malformed frames over connections that `connect` makes. Gives how many connections that took.
fn pelt(seed: u64, count: u64, recorded: &[Vec<u8>], connect: impl Fn() -> TcpStream) -> u64 {
    let mut random = Random(seed | 1);
    let (mut sent, mut connections) = (0, 0);
    while sent < count {
        let mut stream = connect();
        connections += 1;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let frames = FRAMES_A_CONNECTION.min(count - sent);
        sent += frames;
        let bytes: Vec<u8> = (0..frames).flat_map(|_| malformed(&mut random, recorded)).collect();
        // Where it is closed before all is read, what is left is for nobody.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let read = stream.read_to_end(&mut Vec::new());
        let is_reset = read
            .as_ref()
            .is_err_and(|e| matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe));
        assert!(read.is_ok() || is_reset, "it is not closed: {read:?}");
    }
    connections
}

fn frames() -> u64 {
    std::env::var("OTTLA_HOSTILE_FRAMES").map_or(FRAMES, |text| text.parse().expect("a number of frames"))
}

#[track_caller]
fn assert_no_error(broker: &Running) {
    let log = broker.log().lines();
    let errors: Vec<_> = log.iter().filter(|line| line.is_error()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn malformed_frames_before_and_after_a_login_cost_nothing_that_stays() {
    let recorded = recorded();
    let site = Site::start(&[]);
    let connect = |address| move || TcpStream::connect(address).unwrap();
    // What a broker needs once.
    pelt(1, 2_000, &recorded, connect(site.guarded));
    pelt(2, 2_000, &recorded, || site.logged_in());
    let attack = |name: &str, seed: u64, connect: &(dyn Fn() -> TcpStream + Sync)| {
        let (began, count) = (Instant::now(), frames());
        let mut connections = 0;
        let (grown, slowest) = site.endures(|| connections = pelt(seed, count, &recorded, connect));
        println!(
            "{count} malformed frames {name}, over {connections} connections, in {:.1?}: {} KiB more at most, others wait {slowest:.1?}",
            began.elapsed(),
            grown / 1024
        );
        assert!(grown < 32 * MIB, "{grown} bytes more");
    };
    attack("before a login", 3, &connect(site.guarded));
    attack("after a login", 4, &|| site.logged_in());
    attack("where there is none", 5, &connect(site.open));
    site.friend();
    assert_no_error(&site.broker);
}

/// A message of OAUTHBEARER whose token is none, or of nobody: noise, a giant, JSON that lies deep, and what is almost one.
fn false_token(random: &mut Random, forger: &Issuer) -> Vec<u8> {
    let encoded = |text: String| URL_SAFE_NO_PAD.encode(text);
    let header = |kid: u64| format!(r#"{{"alg":"ES256","kid":"{kid}"}}"#);
    let depth = 1 + random.below(20_000);
    let token = match random.below(8) {
        0 => return (0..random.below(300)).map(|_| random.next() as u8).collect(),
        1 => "x".repeat(1 + random.below(60_000)),
        2 => ".".repeat(1 + random.below(60_000)),
        3 => format!("{}.e30.AAAA", encoded("[".repeat(depth))),
        4 => format!("{}.e30.AAAA", encoded(format!("{{\"alg\":{}", "{\"a\":".repeat(depth.min(500))))),
        5 => format!("{}.{}.{}", encoded(header(random.next())), encoded("[".repeat(depth)), "A".repeat(86)),
        6 => format!("{}.e30.", encoded(r#"{"alg":"none"}"#.to_owned())),
        _ => forger.token("alice", Duration::from_secs(60)),
    };
    format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes()
}

#[test]
fn false_tokens_of_every_form_cost_nothing_that_stays() {
    let keys = tempfile::NamedTempFile::new().unwrap();
    fs::write(keys.path(), Issuer::new().unwrap().jwks()).unwrap();
    let url = format!("file://{}", keys.path().display());
    let site = Site::start(&[
        ("sasl.enabled.mechanisms", "PLAIN,OAUTHBEARER"),
        ("sasl.oauthbearer.jwks.endpoint.url", &url),
        ("sasl.oauthbearer.expected.audience", "kafka"),
        ("sasl.oauthbearer.expected.issuer", "https://issuer.test"),
        ("connection.failed.authentication.delay.ms", "0"),
    ]);
    site.broker.log().wait_for("new keys");
    let forger = Issuer::new().unwrap();
    let show = |seed: u64, count: u64| {
        let mut random = Random(seed | 1);
        for _ in 0..count {
            let mut stream = TcpStream::connect(site.guarded).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let handshake = SaslHandshakeRequest { mechanism: "OAUTHBEARER".into() };
            let token = SaslAuthenticateRequest { auth_bytes: false_token(&mut random, &forger).into() };
            let heard = SaslAuthenticateRequest { auth_bytes: Bytes::from_static(b"\x01") };
            let handshake = frame::request(&handshake, 1, 1, None).unwrap().concat();
            let tokens =
                [(2, token), (3, heard)].map(|(id, it)| frame::request(&it, 2, id, None).unwrap().concat());
            let asks = wire::fetch_request("t", &[(0, 0)]);
            let asks = frame::request(&asks, wire::FETCH_BY_NAME, 4, None).unwrap().concat();
            let _ = stream.write_all(&[handshake, tokens.concat(), asks].concat());
            // The mechanism, perhaps a challenge, and a refusal: what is asked behind that is asked of nobody.
            let mut answers = 0;
            while let Some(answer) = answer(&mut stream) {
                answers += 1;
                assert!(!answer.starts_with(&[0, 0, 0, 4]), "a false token lets in");
            }
            assert!(answers <= 3, "{answers} answers");
        }
    };
    show(1, 500);
    let (began, count) = (Instant::now(), frames() / 4);
    let (grown, slowest) = site.endures(|| show(2, count));
    println!(
        "{count} false tokens in {:.1?}: {} KiB more at most, others wait {slowest:.1?}",
        began.elapsed(),
        grown / 1024
    );
    assert!(grown < 32 * MIB, "{grown} bytes more");
    site.friend();
    assert_no_error(&site.broker);
}

#[test]
fn five_thousand_who_say_nothing_keep_nobody_out() {
    let site = Site::start(&[("ottla.authentication.timeout.ms", "60000")]);
    site.friend();
    let mut idle = Vec::new();
    let mut slowest = Duration::ZERO;
    let (grown, waited) = site.endures(|| {
        for n in 0..IDLE {
            idle.push(TcpStream::connect(site.guarded).unwrap());
            if n % 500 == 0 {
                let began = Instant::now();
                site.friend();
                slowest = slowest.max(began.elapsed());
            }
        }
        // All but as many as may wait are let go.
        let closed = |stream: &TcpStream| {
            stream.set_nonblocking(true).unwrap();
            !matches!((&mut &*stream).read(&mut [0]), Err(e) if e.kind() == ErrorKind::WouldBlock)
        };
        let end = Instant::now() + PATIENCE;
        while idle.len() > 1000 {
            idle.retain(|stream| !closed(stream));
            assert!(Instant::now() < end, "{} are still there", idle.len());
        }
        site.friend();
    });
    println!(
        "{IDLE} who say nothing: {} KiB more at most, a login and a fetch take {slowest:.1?}, others wait {waited:.1?}",
        grown / 1024
    );
    assert!(grown < 32 * MIB, "{grown} bytes more");
    assert_no_error(&site.broker);
}

#[test]
fn frames_that_promise_much_and_bring_little_take_what_they_bring() {
    const CONNECTIONS: usize = 500;
    let site = Site::start(&[]);
    let mut open = Vec::new();
    let (grown, slowest) = site.endures(|| {
        for _ in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(site.open).unwrap();
            // As large as may be: `socket.request.max.bytes`. Then some of it, and no more.
            stream.write_all(&104_857_600_u32.to_be_bytes()).unwrap();
            stream.write_all(&[0; 100]).unwrap();
            open.push(stream);
        }
        site.friend();
    });
    println!(
        "{CONNECTIONS} frames of 100 MiB, of which 100 bytes come: {} KiB more at most, others wait {slowest:.1?}",
        grown / 1024
    );
    assert!(grown < 32 * MIB, "{grown} bytes more");
    assert_no_error(&site.broker);
}

/// A batch of `count` records of a MiB each that are nothing but zeros.
fn bomb(codec: Codec, count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Vec::new(), usize::MAX);
    let value = vec![0; MIB as usize];
    for _ in 0..count {
        builder.push(wire::TIMESTAMP, None, Some(&value), Headers::NONE).unwrap();
    }
    builder.seal(&Seal { codec, ..Seal::default() }, &mut Compressor::new()).unwrap().into_bytes()
}

#[test]
fn a_batch_that_inflates_to_much_is_refused_or_walked_through_and_never_held() {
    let site = Site::start(&[("message.max.bytes", "4194304")]);
    let mut wire = Wire::connect(site.open);
    let by_time = |timestamp| ListOffsetsRequest {
        replica_id: ottla_protocol::types::BrokerId(-1),
        topics: vec![ListOffsetsTopic {
            name: "t".into(),
            partitions: vec![ListOffsetsPartition {
                partition_index: 0,
                current_leader_epoch: -1,
                timestamp,
            }],
        }],
        ..Default::default()
    };
    // Beyond 1,000 to 1 they are refused; what compresses less is taken, as Kafka takes it.
    let bombs: Vec<(Compression, Bytes, bool)> = [
        (Compression::Zstd, 256, false),
        (Compression::Lz4, 64, true),
        (Compression::Gzip, 64, false),
        (Compression::Snappy, 64, true),
    ]
    .map(|(codec, count, taken)| (codec, bomb(Codec::new(codec), count), taken))
    .into();
    let (grown, slowest) = site.endures(|| {
        for (codec, bytes, taken) in &bombs {
            let answer = wire.produce("t", 0, bytes);
            println!("{codec}: {} KiB: {:?}", bytes.len() / 1024, answer.error_code);
            let due = if *taken { ErrorCode::NONE } else { ErrorCode::MESSAGE_TOO_LARGE };
            assert_eq!(answer.error_code, due, "{codec}: {:?}", answer.error_message);
        }
        // Who asks for a time has the broker look into them: for the last record, into all of it.
        for timestamp in [wire::TIMESTAMP, -3] {
            let answer = wire.call(7, &by_time(timestamp));
            assert_eq!(answer.topics[0].partitions[0].error_code, ErrorCode::NONE);
        }
    });
    println!("bombs: {} KiB more at most, others wait {slowest:.1?}", grown / 1024);
    assert!(grown < 48 * MIB, "{grown} bytes more");
    assert_no_error(&site.broker);
}

#[test]
fn what_a_client_calls_itself_is_shown_short_and_escaped() {
    let site = Site::start(&[]);
    let name = format!("eve\u{1b}[31m\n{}", "x".repeat(1000));
    let versions = ApiVersionsRequest::default();
    let mut stream = TcpStream::connect(site.open).unwrap();
    stream
        .write_all(&frame::request(&versions, 2, 1, Some(&name.as_str().into())).unwrap().concat())
        .unwrap();
    answer(&mut stream).expect("a name is as good as another");
    stream.write_all(&[0xff; 16]).unwrap();
    let line = site.broker.log().wait_for("connection closed");
    let shown = line.field("client").expect("the log says who it was");
    assert!(shown.starts_with("eve") && shown.len() < 100, "{shown}");
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

/// Each attack that a broker has to bear, and the tests that hold that it does: the file, and names of functions in it.
const ATTACKS: &[(&str, &str, &[&str])] = &[
    (
        "a length bomb",
        "core/transport/src/frame_reader.rs",
        &["a_size_beyond_the_limit_takes_no_memory", "a_used_up_budget_stops_reading_until_a_frame_is_done"],
    ),
    (
        "a length bomb, by the hundred",
        "cli/tests/hostile.rs",
        &["frames_that_promise_much_and_bring_little_take_what_they_bring"],
    ),
    (
        "sizes, API keys and versions that cannot be",
        "cli/tests/bad_input.rs",
        &["garbage_on_the_socket_is_closed_with_one_line_each_and_memory_stays_flat"],
    ),
    (
        "counts that promise more than there is",
        "core/protocol/src/wire.rs",
        &["lengths_of_both_encodings_are_checked_before_memory_is_taken"],
    ),
    (
        "varints and tags out of their range",
        "core/protocol/src/wire.rs",
        &["unsigned_varints_are_kafkas", "unknown_tags_are_skipped_and_known_ones_must_fit"],
    ),
    (
        "a decompression bomb",
        "core/protocol/tests/bombs.rs",
        &["bombs_are_judged_in_bounded_memory_and_stopped_at_their_limit"],
    ),
    (
        "a window or a member more than a decoder is to hold",
        "core/protocol/tests/compression.rs",
        &[
            "zstd_windows_beyond_the_limit_are_refused",
            "gzip_with_every_optional_field_is_read_and_a_second_member_is_not",
        ],
    ),
    (
        "counts of records that lie, and bytes behind them",
        "core/protocol/tests/record_batches.rs",
        &["a_count_that_lies_is_seen_by_broker_and_client", "records_that_are_not_well_formed_are_refused"],
    ),
    (
        "slow senders",
        "core/transport/src/frame_reader.rs",
        &["silence_between_frames_and_within_one_has_its_limit"],
    ),
    (
        "slow senders before a login",
        "broker/tests/strangers.rs",
        &["a_stranger_sends_no_large_frame_and_is_not_waited_for"],
    ),
    ("connections that only wait", "broker/tests/strangers.rs", &["those_who_only_wait_keep_nobody_out"]),
    (
        "too many connections",
        "broker/src/server/limits.rs",
        &[
            "slots_are_counted_by_address_and_in_all_and_come_back",
            "the_oldest_stranger_gives_way_to_a_new_one",
        ],
    ),
    (
        "connections from one address without an end",
        "broker/src/server/connection_rates.rs",
        &[
            "an_address_makes_no_more_connections_than_its_quota_or_the_default",
            "addresses_that_are_gone_take_no_memory",
        ],
    ),
    (
        "a quota evaded by many connections or client ids",
        "broker/src/quota/tests.rs",
        &[
            "all_connections_of_a_user_share_its_quota_and_each_user_has_its_own_default",
            "client_ids_without_end_share_what_there_is",
        ],
    ),
    (
        "quotas counted of those who have not logged in",
        "broker/tests/strangers.rs",
        &["who_has_not_logged_in_is_not_counted"],
    ),
    (
        "producers without an end",
        "broker/tests/log/producers.rs",
        &["many_producers_do_not_grow_memory_without_end"],
    ),
    (
        "members of a group without an end",
        "broker/src/coordinator/group/tests.rs",
        &["a_group_takes_no_more_than_it_may_have"],
    ),
    (
        "members of a group of KIP-848 without an end",
        "broker/src/coordinator/group/consumer_tests.rs",
        &["a_full_group_takes_nobody_more"],
    ),
    ("names that are paths", "core/protocol/src/types.rs", &["topic_names_follow_kafkas_rules"]),
    (
        "names that are to be read in the log",
        "cli/tests/hostile.rs",
        &["what_a_client_calls_itself_is_shown_short_and_escaped"],
    ),
    (
        "patterns that take for ever",
        "broker/src/coordinator/group/pattern.rs",
        &["what_is_no_pattern_or_too_much_is_refused"],
    ),
    (
        "whoever may not, in every request",
        "broker/src/handlers/access_tests.rs",
        &[
            "a_stranger_is_refused_by_every_request_in_its_own_words",
            "what_is_missing_and_what_is_forbidden_look_the_same_to_who_may_not_see",
            "ids_are_looked_up_before_rights_are",
        ],
    ),
    (
        "a login by a replayed message, another mechanism, or none",
        "broker/tests/strangers.rs",
        &[
            "a_message_that_was_overheard_lets_nobody_in",
            "what_is_wrong_is_answered_with_kafkas_code_and_ends_the_connection",
            "versions_are_told_to_anybody_and_nothing_else_is_before_a_login",
            "a_session_ends_unless_its_user_logs_in_anew",
        ],
    ),
    (
        "a token that is forged, confused, not for this broker, or no more good",
        "core/transport/tests/jwt.rs",
        &[
            "whatever_is_changed_in_a_token_it_is_not_taken",
            "a_token_does_not_say_by_which_rules_it_is_checked",
            "what_is_there_twice_is_not_chosen_from",
            "giants_and_depths_are_refused_before_they_cost_anything",
            "clocks_may_differ_by_what_is_allowed_and_no_more",
        ],
    ),
    (
        "a token at the broker's door",
        "broker/tests/oauthbearer.rs",
        &[
            "a_token_that_is_not_good_lets_nobody_in_and_the_client_hears_what_kafkas_does",
            "a_new_key_is_fetched_when_it_is_met_and_whoever_makes_up_keys_is_not_heeded",
            "a_session_ends_with_its_token_unless_the_same_user_shows_another",
        ],
    ),
    (
        "a provider that is another, silent, or says too much",
        "core/transport/tests/provider.rs",
        &[
            "a_provider_is_asked_by_tls_only_if_it_is_trusted_and_of_that_name",
            "nobody_is_waited_for_without_an_end",
            "what_cannot_be_used_is_refused_by_what_it_is",
        ],
    ),
    (
        "a forged replica id",
        "cli/tests/wire_traps.rs",
        &["nobody_becomes_a_follower_by_saying_so_in_either_place"],
    ),
    (
        "the cluster's own topics",
        "cli/tests/wire_traps.rs",
        &["nobody_writes_into_the_clusters_own_topics_whatever_they_call_themselves"],
    ),
    (
        "an answer that nobody reads",
        "cli/tests/bad_input.rs",
        &["a_peer_that_does_not_read_its_answers_costs_little_and_is_let_go"],
    ),
];

#[test]
fn every_attack_has_a_test_that_is_there() {
    for (attack, file, tests) in ATTACKS {
        assert!(!tests.is_empty(), "nothing is tested of {attack}");
        let text = fs::read_to_string(ottla_interop::path(Path::new(file))).unwrap();
        for test in *tests {
            assert!(text.contains(&format!("fn {test}(")), "{attack}: `{file}` has no `{test}`");
        }
    }
}
