//! Our broker and Apache Kafka's take the same tokens, and refuse the same: each is shown all of them, good and bad, under the same settings.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ottla_interop::{
    broker::TestBroker,
    kafka::{Kafka, Listener, Options},
    or_skip,
    tokens::Issuer,
};
use ottla_protocol::{
    Bytes, frame,
    messages::{SaslAuthenticateRequest, SaslHandshakeRequest},
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Verdict {
    /// It lets in, for a time of so many minutes.
    In(i64),
    /// The token in it is not good.
    InvalidToken,
    /// It is not even a message of the mechanism, or asks for what nobody may.
    Out,
}

/// Shows a message to the broker at `address`.
fn show(address: &str, message: &[u8]) -> Verdict {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let handshake = SaslHandshakeRequest { mechanism: "OAUTHBEARER".into() };
    stream.write_all(&frame::request(&handshake, 1, 1, None).unwrap().concat()).unwrap();
    answer(&mut stream).expect("a handshake is answered");
    let request = SaslAuthenticateRequest { auth_bytes: Bytes::copy_from_slice(message) };
    stream.write_all(&frame::request(&request, 2, 2, None).unwrap().concat()).unwrap();
    let Some(bytes) = answer(&mut stream) else { return Verdict::Out };
    let response = frame::read_response::<SaslAuthenticateRequest>(bytes, 2, 2).unwrap();
    match (response.error_code.is_error(), response.auth_bytes.is_empty()) {
        (true, _) => Verdict::Out,
        (false, true) => Verdict::In((response.session_lifetime_ms + 30_000) / 60_000),
        (false, false) => {
            assert_eq!(&response.auth_bytes[..], br#"{"status":"invalid_token"}"#);
            Verdict::InvalidToken
        }
    }
}

fn answer(stream: &mut TcpStream) -> Option<Bytes> {
    let mut size = [0; frame::SIZE_BYTES];
    stream.read_exact(&mut size).ok()?;
    let mut bytes = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes.into())
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a token says by the calendar when it ends")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good token's claims, with others over them; `null` takes one out.
fn claims(edit: &Value) -> Value {
    let now = now_s();
    let mut claims = json!({"sub": "alice", "iss": "https://issuer.test", "aud": "kafka", "iat": now - 60, "exp": now + 3_600});
    for (name, value) in edit.as_object().unwrap() {
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value.clone(),
        }
    }
    claims
}

/// What is said of claims that are signed well.
fn edits() -> Vec<Value> {
    let now = now_s();
    vec![
        json!({}),
        json!({"exp": null}),
        json!({"exp": "soon"}),
        json!({"exp": -1}),
        json!({"exp": now + 600}),
        json!({"exp": now as f64 + 600.5}),
        json!({"exp": now - 300}),
        json!({"exp": now - 15}),
        json!({"iat": null}),
        json!({"iat": "then"}),
        json!({"iat": now + 20}),
        json!({"iat": now + 7_200}),
        json!({"nbf": now - 5}),
        json!({"nbf": now + 15}),
        json!({"nbf": now + 300}),
        json!({"nbf": now + 7_200}),
        json!({"nbf": "then"}),
        json!({"iss": null}),
        json!({"iss": "https://issuer.test/"}),
        json!({"iss": 1}),
        json!({"aud": null}),
        json!({"aud": "mail"}),
        json!({"aud": []}),
        json!({"aud": ["mail", "kafka"]}),
        json!({"aud": ["mail"]}),
        json!({"aud": 7}),
        json!({"sub": null}),
        json!({"sub": ""}),
        json!({"sub": "  "}),
        json!({"sub": " alice "}),
        json!({"sub": 7}),
        json!({"scope": "kafka write"}),
        json!({"scope": ""}),
        json!({"scope": ["a", "b"]}),
        json!({"scope": ["a", "a"]}),
        json!({"scope": [""]}),
        json!({"scope": 7}),
        json!({"jti": "x", "azp": "y", "nested": {"a": [1, 2, {"b": null}]}}),
    ]
}

/// Everything that is shown, by what it is.
fn messages(issuer: &Issuer) -> Vec<(String, Vec<u8>)> {
    let message = |token: &str| format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes();
    let mut all: Vec<_> =
        edits().iter().map(|edit| (edit.to_string(), message(&issuer.sign(&claims(edit))))).collect();
    let good = issuer.sign(&claims(&json!({})));
    let parts: Vec<&str> = good.split('.').collect();
    let encoded = |json: &str| URL_SAFE_NO_PAD.encode(json);
    let with_header = |header: &str| format!("{}.{}.{}", encoded(header), parts[1], parts[2]);
    let mut tokens = vec![
        ("of another's key", Issuer::new().unwrap().sign(&claims(&json!({})))),
        ("of a key that is not known", Issuer::named("another").unwrap().sign(&claims(&json!({})))),
        ("with none", format!("{}.{}.", encoded(r#"{"alg":"none"}"#), parts[1])),
        ("with none and a signature", with_header(r#"{"alg":"none","kid":"of-the-test"}"#)),
        ("with a code", with_header(r#"{"alg":"HS256","kid":"of-the-test"}"#)),
        ("with RSA", with_header(r#"{"alg":"RS256","kid":"of-the-test"}"#)),
        ("in small letters", with_header(r#"{"alg":"es256","kid":"of-the-test"}"#)),
        ("with another header", with_header(r#"{"alg":"ES256","kid":"of-the-test","x":1}"#)),
        ("without a signature", format!("{}.{}.", parts[0], parts[1])),
        ("without a header", format!(".{}.{}", parts[1], parts[2])),
        ("of two parts", format!("{}.{}", parts[0], parts[1])),
        ("of four parts", format!("{good}.x")),
        ("of five parts", format!("{good}.x.x")),
        ("that is none", "x".to_owned()),
    ];
    let flipped = if parts[2].starts_with('A') { "B" } else { "A" };
    tokens.push(("that was changed", format!("{}.{}.{flipped}{}", parts[0], parts[1], &parts[2][1..])));
    all.extend(tokens.into_iter().map(|(what, token)| (what.to_owned(), message(&token))));
    let forms = [
        format!("n,a=alice,\x01auth=Bearer {good}\x01\x01"),
        format!("n,a=bob,\x01auth=Bearer {good}\x01\x01"),
        format!("n,,\x01auth=bearer   {good}\x01\x01"),
        format!("n,,\x01auth=Basic {good}\x01\x01"),
        format!("n,,\x01auth=Bearer{good}\x01\x01"),
        format!("n,,\x01auth=Bearer {good}\x01"),
        format!("n,,\x01auth=Bearer {good}\x01\x01\x01"),
        format!("n,,auth=Bearer {good}\x01\x01"),
        format!("p=x,,\x01auth=Bearer {good}\x01\x01"),
        format!("n,,\x01a=1\x01auth=Bearer {good}\x01b=2 3\x01\x01"),
        format!("n,,\x01a1=1\x01auth=Bearer {good}\x01\x01"),
        format!("n,,\x01a=\x01auth=Bearer {good}\x01\x01"),
        "n,,\x01a=1\x01\x01".to_owned(),
        "n,,\x01auth=Bearer \x01\x01".to_owned(),
        "n,,\x01\x01".to_owned(),
        "\x01".to_owned(),
    ];
    all.extend(forms.into_iter().map(|form| (form.replace(&good, "GOOD"), form.into_bytes())));
    all
}

#[test]
fn the_same_tokens_are_taken_for_as_long_and_the_same_are_refused() {
    let issuer = Issuer::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys.json");
    fs::write(&keys, issuer.jwks()).unwrap();
    let keys = format!("file://{}", keys.display());
    let own = |key: &str| format!("listener.name.tokens.oauthbearer.{key}");
    let properties = [
        ("sasl.enabled.mechanisms".to_owned(), "OAUTHBEARER".to_owned()),
        (own("sasl.oauthbearer.jwks.endpoint.url"), keys.clone()),
        (own("sasl.oauthbearer.expected.audience"), "kafka,other".to_owned()),
        (own("sasl.oauthbearer.expected.issuer"), "https://issuer.test".to_owned()),
        (
            own("sasl.server.callback.handler.class"),
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler".to_owned(),
        ),
        (
            own("sasl.jaas.config"),
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required ;".to_owned(),
        ),
    ];
    // Options of a JVM live as long as the program.
    let allowed: &'static str = format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={keys}").leak();
    let java_options = Options::default().java_options.iter().copied().chain([allowed]).collect::<Vec<_>>();
    let options = Options {
        listeners: vec![
            Listener { name: "PLAINTEXT", protocol: "PLAINTEXT" },
            Listener { name: "TOKENS", protocol: "SASL_PLAINTEXT" },
        ],
        properties: properties.to_vec(),
        java_options: java_options.leak(),
        ..Options::default()
    };
    let Some(kafka) = or_skip(Kafka::start(options)) else { return };
    let mut settings = vec![
        ("listeners", "TOKENS://127.0.0.1:0"),
        ("listener.security.protocol.map", "TOKENS:SASL_PLAINTEXT"),
        ("ottla.sasl.plain.without.tls", "true"),
        ("connection.failed.authentication.delay.ms", "0"),
    ];
    settings.extend(properties.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    let broker = TestBroker::start(&settings);
    let (ours, kafkas) = (broker.bootstrap(), kafka.bootstrap_of("TOKENS").unwrap());
    // The keys come from a file, and take a moment.
    let good = format!("n,,\x01auth=Bearer {}\x01\x01", issuer.sign(&claims(&json!({}))));
    while show(&ours, good.as_bytes()) != Verdict::In(60) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let verdicts: Vec<_> = messages(&issuer)
        .into_iter()
        .map(|(what, message)| (what, show(&ours, &message), show(&kafkas, &message)))
        .collect();
    let differences: Vec<_> = verdicts.iter().filter(|(_, ours, kafkas)| ours != kafkas).collect();
    assert!(differences.is_empty(), "what is shown, our verdict, Kafka's: {differences:#?}");
    let count = |is: fn(&Verdict) -> bool| verdicts.iter().filter(|(_, _, kafkas)| is(kafkas)).count();
    let (lets_in, invalid) =
        (count(|it| matches!(it, Verdict::In(_))), count(|it| *it == Verdict::InvalidToken));
    assert!(lets_in >= 12 && invalid >= 25, "{lets_in} let in, {invalid} invalid: {verdicts:#?}");
}
