//! What a broker's log says of logins by tokens: why one failed, once what keeps out all, and never a token.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use ottla_interop::{
    program::{Launch, PATIENCE, Running},
    tokens::{Issuer, Provider, Reply},
};
use ottla_protocol::{
    Bytes, frame,
    messages::{MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest},
};
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3_600);

/// A broker that listens for tokens alone.
fn start(provider: &Provider, data: &std::path::Path) -> Running {
    Launch::new(env!("CARGO_BIN_EXE_ottla"), data)
        .set("listeners", "TOKENS://127.0.0.1:0")
        .set("listener.security.protocol.map", "TOKENS:SASL_PLAINTEXT")
        .set("sasl.enabled.mechanisms", "OAUTHBEARER")
        .set("ottla.sasl.plain.without.tls", true)
        .set("sasl.oauthbearer.jwks.endpoint.url", provider.url())
        .set("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", 10)
        .set("sasl.oauthbearer.expected.audience", "kafka")
        .set("sasl.oauthbearer.expected.issuer", "https://issuer.test")
        .set("connection.failed.authentication.delay.ms", 0)
        .start()
}

/// What a client does when its token is refused.
#[derive(Clone, Copy)]
enum Manners {
    /// It says that it heard, as it should.
    Hears,
    /// It goes.
    Leaves,
    /// It asks something else, as if it were let in.
    GoesOn,
}

/// Shows a token, and waits until the connection is closed.
fn show(address: SocketAddr, token: &str, manners: Manners) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let handshake = SaslHandshakeRequest { mechanism: "OAUTHBEARER".into() };
    stream.write_all(&frame::request(&handshake, 1, 1, None).unwrap().concat()).unwrap();
    answer(&mut stream);
    let message = |bytes: Bytes, id| {
        frame::request(&SaslAuthenticateRequest { auth_bytes: bytes }, 2, id, None).unwrap().concat()
    };
    let shown = format!("n,,\x01auth=Bearer {token}\x01\x01");
    stream.write_all(&message(shown.into_bytes().into(), 2)).unwrap();
    answer(&mut stream);
    match manners {
        Manners::Hears => stream.write_all(&message(Bytes::from_static(b"\x01"), 3)).unwrap(),
        Manners::Leaves => return,
        Manners::GoesOn => stream
            .write_all(&frame::request(&MetadataRequest::default(), 1, 3, None).unwrap().concat())
            .unwrap(),
    }
    stream.read_to_end(&mut Vec::new()).unwrap();
}

fn answer(stream: &mut TcpStream) {
    let mut size = [0; frame::SIZE_BYTES];
    stream.read_exact(&mut size).unwrap();
    stream.read_exact(&mut vec![0; u32::from_be_bytes(size) as usize]).unwrap();
}

#[test]
fn the_log_says_why_a_token_was_refused_and_never_the_token() {
    let (issuer, forger) = (Issuer::new().unwrap(), Issuer::new().unwrap());
    let stranger = Issuer::named("another\u{1b}[2J").unwrap();
    let jwks = issuer.jwks();
    let provider = Provider::start(None, move |_| Reply { status: 200, body: jwks.clone() }).unwrap();
    let data = tempfile::tempdir().unwrap();
    let broker = start(&provider, data.path());
    broker.log().wait_for("new keys");
    let mail = json!({"sub": "mail", "iss": "https://issuer.test", "aud": "mail", "iat": 1, "exp": 4_000_000_000_u64});
    let tokens = [
        (issuer.expired_token("late"), "the token has expired 360", Manners::Hears),
        (issuer.expired_token("late"), "the token has expired 360", Manners::Leaves),
        (issuer.expired_token("late"), "the token has expired 360", Manners::GoesOn),
        (issuer.sign(&mail), "the token is for `mail`, expected is `kafka`", Manners::Hears),
        (forger.token("mallory", HOUR), "the token's signature is not good", Manners::Hears),
        (stranger.token("mallory", HOUR), "the token's key `another\\u{1b}[2J` is not known", Manners::Hears),
    ];
    for (number, (token, words, manners)) in tokens.iter().enumerate() {
        show(broker.address(), token, *manners);
        let lines = broker.log().wait_for_count("a login failed: OAUTHBEARER: ", number + 1);
        let line = lines.last().unwrap();
        assert!(line.is_warning(), "{line:?}");
        assert!(line.field("message").unwrap().contains(words), "{line:?} does not say `{words}`");
    }
    let log: String = broker.log().lines().into_iter().map(|line| line.text).collect();
    for (token, ..) in &tokens {
        let [claims, signature] = [1, 2].map(|part| token.split('.').nth(part).unwrap());
        assert!(!log.contains(claims) && !log.contains(signature), "the log has a token");
    }
}

#[test]
fn a_provider_that_is_away_is_told_of_once_whoever_comes_meanwhile() {
    let issuer = Issuer::new().unwrap();
    let provider = Provider::start(None, |_| Reply { status: 503, body: String::new() }).unwrap();
    let data = tempfile::tempdir().unwrap();
    let broker = start(&provider, data.path());
    let line = broker.log().wait_for("there are no keys to check tokens with");
    assert!(line.text.contains("answered HTTP 503"), "{line:?}");
    for _ in 0..20 {
        show(broker.address(), &issuer.token("alice", HOUR), Manners::Hears);
    }
    let end = Instant::now() + PATIENCE;
    while provider.asked().len() <= 2 {
        assert!(Instant::now() < end, "it is not asked again meanwhile");
        std::thread::sleep(Duration::from_millis(10));
    }
    let warnings: Vec<_> = broker.log().lines().into_iter().filter(|line| line.is_warning()).collect();
    let of_keys = warnings.iter().filter(|line| line.text.contains("keys")).count();
    assert_eq!(of_keys, 1, "{warnings:#?}");
    let jwks = issuer.jwks();
    provider.answer(move |_| Reply { status: 200, body: jwks.clone() });
    broker.log().wait_for("new keys to check tokens with");
}
