//! What a connection may do before it has shown who it is: little, and not for long; and others are served meanwhile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use client::Client;
use ottla_broker::Broker;
use ottla_config::Settings;
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{
        AlterClientQuotasRequest, ApiVersionsRequest, SaslHandshakeRequest,
        alter_client_quotas::{EntityData, OpData, RequestEntryData},
    },
};
use ottla_transport::sasl::{ClientExchange, Credentials, Login, Mechanism, ScramHash};
use tempfile::TempDir;

const PLAIN: Mechanism = Mechanism::Plain;
const SCRAM: Mechanism = Mechanism::Scram(ScramHash::Sha256);
const PATIENCE: Duration = Duration::from_secs(30);
/// How long the broker below waits for a login.
const LOGIN_MAX: Duration = Duration::from_secs(1);

struct Test {
    broker: Broker,
    _data: TempDir,
}

impl Test {
    /// A broker where clients log in, with the first listener, and where nobody does, with the second.
    fn start(more: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = Settings::new();
        settings
            .set("listeners", "CLIENTS://127.0.0.1:0,OPEN://127.0.0.1:0")
            .set("listener.security.protocol.map", "CLIENTS:SASL_PLAINTEXT,OPEN:PLAINTEXT")
            .set("sasl.enabled.mechanisms", "SCRAM-SHA-256,PLAIN")
            .set("ottla.sasl.plain.without.tls", "true")
            .set(
                "listener.name.clients.plain.sasl.jaas.config",
                "x.PlainLoginModule required user_alice=\"wonder\" user_bob=\"builder\";",
            )
            .set("ottla.initial.scram.credentials", "SCRAM-SHA-256=[name=alice,password=wonder]")
            .set("ottla.authentication.timeout.ms", LOGIN_MAX.as_millis().to_string())
            .set("connection.failed.authentication.delay.ms", "100")
            .set("log.dirs", data.path().display().to_string());
        for (key, value) in more {
            settings.set(*key, *value);
        }
        Self { broker: Broker::start(&settings).unwrap(), _data: data }
    }

    fn connect(&self) -> Client {
        Client::connect(self.broker.addresses()[0])
    }
}

#[test]
fn versions_are_told_to_anybody_and_nothing_else_is_before_a_login() {
    let test = Test::start(&[]);
    let mut stranger = test.connect();
    let versions = ApiVersionsRequest {
        client_software_name: "t".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let told = stranger.call(4, &versions);
    assert!(told.api_keys.iter().any(|api| api.api_key == 36));
    assert!(stranger.asks_metadata().is_none(), "a request before a login ends the connection");
    for mechanism in [PLAIN, SCRAM] {
        let mut alice = test.connect();
        assert_eq!(alice.log_in(mechanism, "alice", "wonder").error_code, ErrorCode::NONE);
        alice.asks_metadata().unwrap();
        // A login that is not due is told so, as Kafka does.
        assert_eq!(alice.handshake("PLAIN").error_code, ErrorCode::ILLEGAL_SASL_STATE);
        alice.asks_metadata().unwrap();
    }
    let mut open = Client::connect(test.broker.addresses()[1]);
    assert_eq!(open.handshake("PLAIN").error_code, ErrorCode::ILLEGAL_SASL_STATE);
    assert_eq!(open.token(vec![0]).error_code, ErrorCode::ILLEGAL_SASL_STATE);
    open.asks_metadata().unwrap();
}

#[test]
fn what_is_wrong_is_answered_with_kafkas_code_and_ends_the_connection() {
    let test = Test::start(&[]);
    for (mechanism, user, password) in [
        (PLAIN, "alice", "builder"),
        (PLAIN, "nobody", "wonder"),
        (SCRAM, "alice", "builder"),
        (SCRAM, "nobody", "wonder"),
        // Known to the other mechanism alone.
        (SCRAM, "bob", "builder"),
    ] {
        let mut client = test.connect();
        let began = Instant::now();
        let answer = client.log_in(mechanism, user, password);
        assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED, "{mechanism} {user}");
        assert!(began.elapsed() >= Duration::from_millis(100), "whoever guesses has to wait");
        let message = answer.error_message.unwrap();
        assert!(message.ends_with(mechanism.name()), "the same for all: {message}");
        assert!(client.is_closed());
    }
    let mut client = test.connect();
    let offered = client.handshake("GSSAPI");
    assert_eq!(offered.error_code, ErrorCode::UNSUPPORTED_SASL_MECHANISM);
    assert_eq!(offered.mechanisms, ["SCRAM-SHA-256", "PLAIN"]);
    assert!(client.is_closed(), "nobody tries one after the other on a connection");
    let mut client = test.connect();
    assert_eq!(client.token(b"\0alice\0wonder".to_vec()).error_code, ErrorCode::ILLEGAL_SASL_STATE);
    assert!(client.is_closed(), "a token without a handshake");
    for version in [0, 4] {
        let mut client = test.connect();
        client.handshake("PLAIN");
        let answer = client.call(version, &ApiVersionsRequest::default());
        assert_eq!(answer.error_code, ErrorCode::ILLEGAL_SASL_STATE, "tokens are due");
        assert!(client.is_closed());
    }
}

#[test]
fn a_message_that_was_overheard_lets_nobody_in() {
    let test = Test::start(&[]);
    let login = Login { user: "alice".into(), password: "wonder".into() };
    let mut exchange = ClientExchange::new(Credentials::of_login(SCRAM, login).unwrap(), "overheard".into());
    let (mut alice, first) = (test.connect(), exchange.first());
    alice.handshake(SCRAM.name());
    let challenge = alice.token(first.clone());
    let proof = exchange.answer(&challenge.auth_bytes).unwrap().unwrap();
    assert_eq!(alice.token(proof.clone()).error_code, ErrorCode::NONE);
    alice.asks_metadata().unwrap();

    let mut eve = test.connect();
    eve.handshake(SCRAM.name());
    assert_eq!(eve.token(first).error_code, ErrorCode::NONE);
    assert_eq!(eve.token(proof).error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    assert!(eve.is_closed());
}

#[test]
fn tokens_of_old_clients_come_without_a_header() {
    let test = Test::start(&[]);
    let bare = |client: &mut Client, token: &[u8]| {
        client.stream.write_all(&[&(token.len() as u32).to_be_bytes(), token].concat()).unwrap();
        client.frame()
    };
    let mut alice = test.connect();
    let request = SaslHandshakeRequest { mechanism: "PLAIN".into() };
    assert_eq!(alice.call(0, &request).error_code, ErrorCode::NONE);
    assert_eq!(bare(&mut alice, b"\0alice\0wonder").unwrap().len(), 0);
    alice.asks_metadata().unwrap();
    let mut eve = test.connect();
    eve.call(0, &request);
    assert!(bare(&mut eve, b"\0alice\0guess").is_none(), "a failure is told by closing");
}

#[test]
fn a_stranger_sends_no_large_frame_and_is_not_waited_for() {
    let test = Test::start(&[]);
    let mut bomb = test.connect();
    bomb.stream.write_all(&100_000_000i32.to_be_bytes()).unwrap();
    assert!(bomb.is_closed(), "a size that is too large ends the connection at once");
    // One says nothing, one half a frame, one goes on asking without an end.
    let began = Instant::now();
    let (mut silent, mut slow, mut busy) = (test.connect(), test.connect(), test.connect());
    slow.stream.write_all(&[0, 0, 1, 0, 0, 17]).unwrap();
    let versions = ApiVersionsRequest::default();
    while busy.try_call(0, &versions).is_some() {
        assert!(began.elapsed() < PATIENCE, "it may go on asking");
    }
    assert!(silent.is_closed() && slow.is_closed());
    assert!(began.elapsed() >= LOGIN_MAX);
}

#[test]
fn those_who_only_wait_keep_nobody_out() {
    let test = Test::start(&[
        ("ottla.max.unauthenticated.connections", "10"),
        ("ottla.authentication.timeout.ms", "60000"),
    ]);
    let mut alice = test.connect();
    alice.log_in(PLAIN, "alice", "wonder");
    let mut idle: Vec<Client> = (0..100).map(|_| test.connect()).collect();
    // There is room for a friend, and who was in before stays in.
    for _ in 0..20 {
        assert_eq!(test.connect().log_in(SCRAM, "alice", "wonder").error_code, ErrorCode::NONE);
    }
    alice.asks_metadata().unwrap();
    let end = Instant::now() + PATIENCE;
    while idle.len() > 10 {
        idle.retain(|client| !client.is_closed_by_now());
        assert!(Instant::now() < end, "{} of those who wait are still there", idle.len());
    }
}

#[test]
fn a_session_ends_unless_its_user_logs_in_anew() {
    let test = Test::start(&[("connections.max.reauth.ms", "1000")]);
    let mut alice = test.connect();
    let done = alice.log_in(PLAIN, "alice", "wonder");
    assert_eq!(done.session_lifetime_ms, 1000);
    let begun = Instant::now();
    // Again and again, over two sessions.
    while begun.elapsed() < Duration::from_millis(2_500) {
        assert_eq!(alice.log_in(PLAIN, "alice", "wonder").error_code, ErrorCode::NONE);
        alice.asks_metadata().unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    let end = Instant::now() + PATIENCE;
    while alice.asks_metadata().is_some() {
        assert!(Instant::now() < end, "the session never ends");
        std::thread::sleep(Duration::from_millis(50));
    }
    // Nobody becomes somebody else on the way, or by other means.
    for (mechanism, user, password) in [(PLAIN, "bob", "builder"), (SCRAM, "alice", "wonder")] {
        let mut alice = test.connect();
        alice.log_in(PLAIN, "alice", "wonder");
        let answer = alice.log_in(mechanism, user, password);
        assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED, "{mechanism} {user}");
        assert!(alice.is_closed());
    }
}

#[test]
fn who_has_not_logged_in_is_not_counted() {
    let test = Test::start(&[]);
    // So little that any request is too much, for each client id.
    let set = AlterClientQuotasRequest {
        entries: vec![RequestEntryData {
            entity: vec![EntityData { entity_type: "client-id".into(), entity_name: None }],
            ops: vec![OpData { key: "request_percentage".into(), value: 1e-6, remove: false }],
        }],
        validate_only: false,
    };
    let answer = Client::connect(test.broker.addresses()[1]).call(1, &set);
    assert_eq!(answer.entries[0].error_code, ErrorCode::NONE);
    let versions = ApiVersionsRequest {
        client_software_name: "t".into(),
        client_software_version: "1".into(),
        ..Default::default()
    };
    let mut alice = test.connect();
    for _ in 0..3 {
        assert_eq!(alice.call(4, &versions).throttle_time_ms, 0);
    }
    assert_eq!(alice.log_in(PLAIN, "alice", "wonder").error_code, ErrorCode::NONE);
    assert_eq!(alice.call(4, &versions).throttle_time_ms, 1000);
}
