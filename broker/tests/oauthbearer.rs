//! Logins by tokens of a provider: who is let in, who is not, and what becomes of it when keys change or the provider is away.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use client::Client;
use ottla_broker::Broker;
use ottla_config::Settings;
use ottla_interop::{
    tls::{Authority, Subject},
    tokens::{Issuer, Provider, Reply},
};
use ottla_protocol::{
    error_code::ErrorCode,
    messages::{DescribeAclsRequest, SaslAuthenticateResponse},
};
use serde_json::{Value, json};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);
const REFUSAL: &str = r#"{"status":"invalid_token"}"#;

struct Test {
    broker: Broker,
    _data: TempDir,
}

fn settings(provider: &str) -> Settings {
    let mut settings = Settings::new();
    settings
        .set("listeners", "TOKENS://127.0.0.1:0")
        .set("listener.security.protocol.map", "TOKENS:SASL_PLAINTEXT")
        .set("sasl.enabled.mechanisms", "OAUTHBEARER")
        .set("ottla.sasl.plain.without.tls", "true")
        .set("authorizer.class.name", "StandardAuthorizer")
        .set("super.users", "User:alice")
        .set("connection.failed.authentication.delay.ms", "0")
        // As Kafka's configurations have it: behind listener and mechanism.
        .set("listener.name.tokens.oauthbearer.sasl.oauthbearer.jwks.endpoint.url", provider)
        .set("listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.audience", "other,kafka")
        .set("listener.name.tokens.oauthbearer.sasl.oauthbearer.expected.issuer", "https://issuer.test")
        .set(
            "listener.name.tokens.oauthbearer.sasl.jaas.config",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required ;",
        )
        .set(
            "listener.name.tokens.oauthbearer.sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
        )
        .set("sasl.oauthbearer.clock.skew.seconds", "0")
        .set("sasl.oauthbearer.jwks.endpoint.retry.backoff.ms", "10")
        .set("sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms", "200");
    settings
}

impl Test {
    fn start(provider: &str, more: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().unwrap();
        let mut settings = settings(provider);
        settings.set("log.dirs", data.path().display().to_string());
        for (key, value) in more {
            settings.set(*key, *value);
        }
        Self { broker: Broker::start(&settings).unwrap(), _data: data }
    }

    fn connect(&self) -> Client {
        Client::connect(self.broker.addresses()[0])
    }

    /// Shows a token on a new connection.
    fn show(&self, token: &str) -> (Client, SaslAuthenticateResponse) {
        let mut client = self.connect();
        let answer = client.log_in_by_token(token);
        (client, answer)
    }

    /// Shows it again and again until it is taken, which keys may first have to come for.
    fn let_in(&self, token: &str) -> Client {
        let end = Instant::now() + PATIENCE;
        loop {
            let (client, answer) = self.show(token);
            if answer.error_code == ErrorCode::NONE {
                return client;
            }
            assert!(Instant::now() < end, "{:?}", answer.error_message);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

fn provider_of(issuer: &Issuer) -> Provider {
    let jwks = issuer.jwks();
    Provider::start(None, move |_| Reply { status: 200, body: jwks.clone() }).unwrap()
}

fn now_s() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a token says by the calendar when it ends")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A good token's claims, with others over them.
fn claims(edit: &Value) -> Value {
    let mut claims = json!({
        "sub": "alice", "iss": "https://issuer.test", "aud": "kafka", "iat": now_s() - 60, "exp": now_s() + 3_600,
    });
    for (name, value) in edit.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// What only a super user is told.
fn asks_rules(client: &mut Client) -> ErrorCode {
    const ANY: i8 = 1;
    let all = DescribeAclsRequest {
        resource_type_filter: ANY,
        pattern_type_filter: ANY,
        operation: ANY,
        permission_type: ANY,
        ..Default::default()
    };
    client.call(3, &all).error_code
}

fn is_refused(mut client: Client, answer: &SaslAuthenticateResponse, what: &str) {
    assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED, "{what}");
    assert_eq!(answer.error_message.as_deref(), Some(REFUSAL), "{what}: no more than Kafka says");
    assert!(client.is_closed(), "{what}");
}

#[test]
fn whoever_shows_a_good_token_is_who_it_is_about() {
    let issuer = Issuer::new().unwrap();
    let provider = provider_of(&issuer);
    let test = Test::start(provider.url(), &[]);
    let mut alice = test.let_in(&issuer.token("alice", HOUR));
    assert_eq!(asks_rules(&mut alice), ErrorCode::NONE);
    let mut bob = test.let_in(&issuer.token("bob", HOUR));
    assert_eq!(asks_rules(&mut bob), ErrorCode::CLUSTER_AUTHORIZATION_FAILED);
    // Who it is about may stand elsewhere in it.
    let by_client = [("listener.name.tokens.oauthbearer.sasl.oauthbearer.sub.claim.name", "azp")];
    let test = Test::start(provider.url(), &by_client);
    let mut program = test.let_in(&issuer.sign(&claims(&json!({"sub": "bob", "azp": "alice"}))));
    assert_eq!(asks_rules(&mut program), ErrorCode::NONE);
}

#[test]
fn a_token_that_is_not_good_lets_nobody_in_and_the_client_hears_what_kafkas_does() {
    let issuer = Issuer::new().unwrap();
    let provider = provider_of(&issuer);
    let test = Test::start(provider.url(), &[]);
    let good = issuer.token("alice", HOUR);
    test.let_in(&good);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let header = "eyJhbGciOiJub25lIn0"; // {"alg":"none"}
    let unsigned = format!("{header}.{}.", head.split_once('.').unwrap().1);
    for (what, token) in [
        ("expired", issuer.expired_token("alice")),
        ("not yet", issuer.sign(&claims(&json!({"nbf": now_s() + 600})))),
        ("for another", issuer.sign(&claims(&json!({"aud": ["mail", "web"]})))),
        ("for nobody", issuer.sign(&claims(&json!({"aud": null})))),
        ("of another issuer", issuer.sign(&claims(&json!({"iss": "https://issuer.test/"})))),
        ("about nobody", issuer.sign(&claims(&json!({"sub": ""})))),
        ("without an end", issuer.sign(&claims(&json!({"exp": null})))),
        ("forged", Issuer::new().unwrap().token("alice", HOUR)),
        ("of a key that is not known", Issuer::named("another").unwrap().token("alice", HOUR)),
        ("changed", format!("{head}x.{signature}")),
        ("signed by nobody", unsigned),
        ("no token at all", "x".to_owned()),
        ("long", "x".repeat(40_000)),
    ] {
        let (client, answer) = test.show(&token);
        is_refused(client, &answer, what);
    }
    // What is no message of the mechanism is not even told that.
    for message in [&b""[..], b"\x01", b"n,,\x01auth=Bearer \x01\x01", b"n,a=bob,\x01auth=Bearer x\x01"] {
        let mut client = test.connect();
        client.handshake("OAUTHBEARER");
        let answer = client.token(message.to_vec());
        assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
        assert!(answer.error_message.unwrap().ends_with("OAUTHBEARER") && client.is_closed());
    }
    // Nobody acts for another.
    let mut client = test.connect();
    client.handshake("OAUTHBEARER");
    let answer = client.token(format!("n,a=bob,\x01auth=Bearer {good}\x01\x01").into_bytes());
    assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    let mut client = test.connect();
    client.handshake("OAUTHBEARER");
    let answer = client.token(format!("n,a=alice,\x01auth=Bearer {good}\x01trace=x\x01\x01").into_bytes());
    assert_eq!(answer.error_code, ErrorCode::NONE);
    // Nor does a second token on the same connection help.
    let mut client = test.connect();
    client.handshake("OAUTHBEARER");
    let challenge = client.token(b"n,,\x01auth=Bearer x\x01\x01".to_vec());
    assert_eq!((challenge.error_code, &challenge.auth_bytes[..]), (ErrorCode::NONE, REFUSAL.as_bytes()));
    let answer = client.token(format!("n,,\x01auth=Bearer {good}\x01\x01").into_bytes());
    is_refused(client, &answer, "the second");
}

#[test]
fn a_new_key_is_fetched_when_it_is_met_and_whoever_makes_up_keys_is_not_heeded() {
    let (old, new) = (Issuer::named("old").unwrap(), Issuer::named("new").unwrap());
    let provider = provider_of(&old);
    let test = Test::start(provider.url(), &[]);
    test.let_in(&old.token("alice", HOUR));
    let before = provider.asked().len();
    // For as long as made-up keys are shown, the provider is asked at most every 200 ms, and at first a few times sooner.
    let began = Instant::now();
    for number in 0..200 {
        let stranger = Issuer::named(&format!("made up {number}")).unwrap();
        let (client, answer) = test.show(&stranger.token("alice", HOUR));
        is_refused(client, &answer, "of a key that was made up");
    }
    let asked = provider.asked().len() - before;
    let most = 8 + began.elapsed().as_millis() as usize / 200;
    assert!((1..=most).contains(&asked), "{asked} times, at most {most}");
    // The provider goes over to another key, and gives both for a while.
    let both: Vec<Value> = [&old, &new]
        .map(|issuer| serde_json::from_str::<Value>(&issuer.jwks()).unwrap()["keys"][0].clone())
        .into();
    let both = json!({"keys": both}).to_string();
    provider.answer(move |_| Reply { status: 200, body: both.clone() });
    test.let_in(&new.token("alice", HOUR));
    test.let_in(&old.token("alice", HOUR));
    // Then it takes the old one back, which is seen when keys are asked for next.
    let jwks = new.jwks();
    provider.answer(move |_| Reply { status: 200, body: jwks.clone() });
    let end = Instant::now() + PATIENCE;
    while test.show(&old.token("alice", HOUR)).1.error_code == ErrorCode::NONE {
        test.show(&Issuer::named("made up").unwrap().token("alice", HOUR));
        assert!(Instant::now() < end, "the old key is still taken");
    }
    test.let_in(&new.token("alice", HOUR));
}

#[test]
fn keys_are_asked_for_from_time_to_time() {
    let issuer = Issuer::new().unwrap();
    let provider = provider_of(&issuer);
    let test = Test::start(provider.url(), &[("sasl.oauthbearer.jwks.endpoint.refresh.ms", "50")]);
    test.let_in(&issuer.token("alice", HOUR));
    provider.answer(|_| Reply { status: 200, body: Issuer::named("next").unwrap().jwks() });
    let end = Instant::now() + PATIENCE;
    while test.show(&issuer.token("alice", HOUR)).1.error_code == ErrorCode::NONE {
        assert!(Instant::now() < end, "a key that the provider took back is still taken");
    }
}

#[test]
fn a_provider_that_is_away_keeps_out_nobody_whose_key_is_known() {
    let issuer = Issuer::new().unwrap();
    let token = issuer.token("alice", HOUR);
    let provider = Provider::start(None, |_| Reply { status: 503, body: String::new() }).unwrap();
    let test = Test::start(provider.url(), &[("sasl.oauthbearer.jwks.endpoint.refresh.ms", "20")]);
    // The broker runs, and whoever comes too early is told no more than others.
    let end = Instant::now() + PATIENCE;
    while provider.asked().len() < 3 {
        let (client, answer) = test.show(&token);
        is_refused(client, &answer, "before there are keys");
        assert!(Instant::now() < end, "the provider is not asked again");
    }
    let jwks = Arc::new(issuer.jwks());
    let good = Arc::clone(&jwks);
    provider.answer(move |_| Reply { status: 200, body: good.to_string() });
    test.let_in(&token);
    for broken in ["", "<html>", r#"{"keys":[]}"#, r#"{"keys":[{"kty":"oct","k":"AA"}]}"#] {
        provider.answer(move |_| Reply { status: 200, body: broken.to_owned() });
        let asked = provider.asked().len();
        let end = Instant::now() + PATIENCE;
        while provider.asked().len() < asked + 2 {
            assert!(Instant::now() < end, "the provider is not asked again");
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(test.show(&token).1.error_code, ErrorCode::NONE, "{broken}");
    }
    drop(provider);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(test.show(&token).1.error_code, ErrorCode::NONE);
}

#[test]
fn a_session_ends_with_its_token_unless_the_same_user_shows_another() {
    let issuer = Issuer::new().unwrap();
    let provider = provider_of(&issuer);
    let test = Test::start(provider.url(), &[]);
    test.let_in(&issuer.token("alice", HOUR));
    let short = Duration::from_secs(3);
    let (mut alice, answer) = test.show(&issuer.token("alice", short));
    assert!((1..=3_000).contains(&answer.session_lifetime_ms), "{}", answer.session_lifetime_ms);
    // In time she shows another, and stays.
    let answer = alice.log_in_by_token(&issuer.token("alice", HOUR));
    assert!((3_000_000..=3_600_000).contains(&answer.session_lifetime_ms), "{}", answer.session_lifetime_ms);
    let (mut carol, _) = test.show(&issuer.token("carol", short));
    let (mut dave, _) = test.show(&issuer.token("dave", short));
    // Dave is to be somebody else.
    let answer = dave.log_in_by_token(&issuer.token("alice", HOUR));
    assert_eq!(answer.error_code, ErrorCode::SASL_AUTHENTICATION_FAILED);
    assert!(dave.is_closed());
    let end = Instant::now() + PATIENCE;
    while carol.asks_metadata().is_some() {
        assert!(Instant::now() < end, "carol's token is over, and her session is not");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert_eq!(asks_rules(&mut alice), ErrorCode::NONE, "by then alice's first would be over, too");
    // A session may be shorter than a token, and is never longer.
    let test = Test::start(provider.url(), &[("connections.max.reauth.ms", "60000")]);
    test.let_in(&issuer.token("alice", HOUR));
    assert_eq!(test.show(&issuer.token("alice", HOUR)).1.session_lifetime_ms, 60_000);
    assert!(test.show(&issuer.token("alice", short)).1.session_lifetime_ms <= 3_000);
}

#[test]
fn keys_may_lie_in_a_file() {
    let issuer = Issuer::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys.json");
    std::fs::write(&file, issuer.jwks()).unwrap();
    let test = Test::start(&format!("file://{}", file.display()), &[]);
    test.let_in(&issuer.token("alice", HOUR));
    // Who puts another key there need not start the broker anew.
    let next = Issuer::named("next").unwrap();
    std::fs::write(&file, next.jwks()).unwrap();
    test.let_in(&next.token("alice", HOUR));
}

#[test]
fn what_is_wrong_with_a_listener_is_said_before_it_listens() {
    const OWN: &str = "listener.name.tokens.oauthbearer.";
    let refused = |key: &str, value: &str| {
        let data = tempfile::tempdir().unwrap();
        let mut settings = settings("https://id.example/keys?secret=hunter2");
        settings.set("log.dirs", data.path().display().to_string()).set(key, value);
        Broker::start(&settings).map(drop).unwrap_err().to_string()
    };
    let own = |key: &str| format!("{OWN}{key}");
    for (key, value, words) in [
        ("ottla.sasl.plain.without.tls".to_owned(), "false", "offers OAUTHBEARER without TLS"),
        (own("sasl.oauthbearer.jwks.endpoint.url"), "ftp://x/", "there is no scheme `ftp`"),
        (own("sasl.oauthbearer.jwks.endpoint.url"), "https://me:hunter2@x/", "a user in a URL is not sent"),
        (own("sasl.oauthbearer.expected.audience"), "", "tokens of any audience would do"),
        (own("sasl.oauthbearer.expected.issuer"), "", "tokens of any issuer would do"),
        (own("sasl.oauthbearer.sub.claim.name"), " ", "names no claim"),
        (own("sasl.oauthbearer.clock.skew.seconds"), "-1", "clock.skew.seconds"),
        (
            own("sasl.jaas.config"),
            "org.apache.kafka.common.security.plain.PlainLoginModule required user_a=\"hunter2\";",
            "OAUTHBEARER has `OAuthBearerLoginModule`",
        ),
        (
            own("sasl.jaas.config"),
            "x.OAuthBearerLoginModule required ssl.truststore.location=\"/no/such.pem\";",
            "`/no/such.pem` cannot be read",
        ),
        (own("ssl.truststore.location"), "/no/such.pem", "`/no/such.pem` cannot be read"),
        (
            own("sasl.server.callback.handler.class"),
            "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler",
            "tokens are judged by the keys that begin with `sasl.oauthbearer.`",
        ),
        (own("sasl.oauthbearer.jwt.validator.class"), "com.example.Mine", "there is no `com.example.Mine`"),
    ] {
        let error = refused(&key, value);
        assert!(error.contains(words), "{key}={value}: {error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
    let none = {
        let mut all = Settings::new();
        all.set("listeners", "TOKENS://127.0.0.1:0")
            .set("listener.security.protocol.map", "TOKENS:SASL_PLAINTEXT")
            .set("sasl.enabled.mechanisms", "OAUTHBEARER")
            .set("ottla.sasl.plain.without.tls", "true")
            .set("sasl.oauthbearer.allow.unverified.audience", "true")
            .set("sasl.oauthbearer.allow.unverified.issuer", "true");
        Broker::start(&all).map(drop).unwrap_err().to_string()
    };
    assert!(
        none.contains("there are no keys to check tokens with") && none.contains("jwks.endpoint.url"),
        "{none}"
    );
}

#[test]
fn a_provider_is_asked_by_tls_if_it_is_trusted_for_this_and_not_because_clients_are() {
    const OWN: &str = "listener.name.tokens.oauthbearer.";
    let authority = Authority::new().unwrap();
    let certificate = authority.sign(Subject::BROKER).unwrap();
    let trust = authority.certificate().display().to_string();
    let issuer = Issuer::new().unwrap();
    let (token, jwks) = (issuer.token("alice", HOUR), issuer.jwks());
    let provider =
        Provider::start(Some(certificate), move |_| Reply { status: 200, body: jwks.clone() }).unwrap();
    // Whom the listener trusts to vouch for its clients is not whom it asks for keys.
    let distrusting =
        Test::start(provider.url(), &[("listener.name.tokens.ssl.truststore.location", &trust)]);
    let (client, answer) = distrusting.show(&token);
    is_refused(client, &answer, "without keys");
    let jaas = format!(
        "x.OAuthBearerLoginModule required ssl.truststore.type=PEM ssl.truststore.location=\"{trust}\";"
    );
    for (key, value) in [("ssl.truststore.location", &trust), ("sasl.jaas.config", &jaas)] {
        let test = Test::start(provider.url(), &[(&format!("{OWN}{key}"), value)]);
        test.let_in(&token);
    }
    // It was asked by those who trust it, meanwhile, and by nobody else.
    let (client, answer) = distrusting.show(&token);
    is_refused(client, &answer, "without keys");
    assert_eq!(provider.asked().len(), 2);
}
