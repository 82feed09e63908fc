//! Other people's clients, and Kafka's own tools, log in at our broker by tokens that a provider gives them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{fs, path::PathBuf, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    record::{PeerRecord, every_shape},
    tls::{Authority, Subject},
    tokens::{Asked, Issuer, Provider, Reply},
};
use serde_json::json;

const TIMESTAMP: i64 = 1_760_000_000_000;
const HOUR: Duration = Duration::from_secs(3_600);
/// Clients whose tokens are not taken, by what is wrong with them.
const WRONG: [&str; 4] = ["for-another", "expired", "forged", "of-another-key"];

/// A broker that takes tokens, by TLS, and a provider that gives each client one of its name: a good one, or what its name says.
struct Site {
    authority: Authority,
    broker: TestBroker,
    provider: Provider,
}

impl Site {
    fn start() -> Self {
        let issuer = Issuer::new().unwrap();
        let (forger, stranger) = (Issuer::new().unwrap(), Issuer::named("another").unwrap());
        let jwks = issuer.jwks();
        let give = move |asked: &Asked| {
            if asked.line.starts_with("GET ") {
                return Reply { status: 200, body: jwks.clone() };
            }
            let client = client_of(asked);
            let token = match client.as_str() {
                "expired" => issuer.expired_token("late"),
                "forged" => forger.token("mallory", HOUR),
                "of-another-key" => stranger.token("mallory", HOUR),
                "for-another" => issuer.sign(&json!({
                    "sub": "mail", "iss": "https://issuer.test", "aud": "mail", "scope": "mail",
                    "iat": TIMESTAMP / 1_000, "exp": TIMESTAMP / 1_000 * 2,
                })),
                _ => issuer.token(&client, HOUR),
            };
            Reply {
                status: 200,
                body: json!({"access_token": token, "token_type": "Bearer", "expires_in": 3_600}).to_string(),
            }
        };
        let provider = Provider::start(None, give).unwrap();
        let authority = Authority::new().unwrap();
        let broker = authority.sign(Subject::BROKER).unwrap().display().to_string();
        const OWN: &str = "listener.name.tokens.oauthbearer.";
        let own = |key: &str| format!("{OWN}{key}");
        let broker = TestBroker::start(&[
            ("listeners", "TOKENS://127.0.0.1:0"),
            ("listener.security.protocol.map", "TOKENS:SASL_SSL"),
            ("ssl.keystore.location", &broker),
            ("listener.name.tokens.sasl.enabled.mechanisms", "OAUTHBEARER"),
            (&own("sasl.oauthbearer.jwks.endpoint.url"), provider.url()),
            (&own("sasl.oauthbearer.expected.audience"), "kafka"),
            (&own("sasl.oauthbearer.expected.issuer"), "https://issuer.test"),
            // What is in configurations of Kafka's brokers.
            (
                &own("sasl.jaas.config"),
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required ;",
            ),
            (
                &own("sasl.server.callback.handler.class"),
                "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
            ),
            // Whoever comes by is who its token says.
            ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
            ("super.users", "User:a-client"),
            ("group.initial.rebalance.delay.ms", "0"),
        ]);
        Self { authority, broker, provider }
    }

    /// The properties of a client of this name.
    fn properties(&self, client: &str) -> PathBuf {
        let (trust, url) = (self.authority.certificate(), self.provider.url());
        let text = format!(
            "security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\nsasl.mechanism=OAUTHBEARER\n\
             sasl.oauthbearer.token.endpoint.url={url}\n\
             sasl.oauthbearer.client.credentials.client.id={client}\n\
             sasl.oauthbearer.client.credentials.client.secret=secret\n\
             sasl.login.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginCallbackHandler\n\
             sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             clientId=\"{client}\" clientSecret=\"secret\";\n",
            trust.display(),
        );
        let path = self.authority.directory().join(format!("{client}.properties"));
        fs::write(&path, text).unwrap();
        path
    }

    /// Java asks only those for tokens whom it is told that it may.
    fn allowed(&self) -> String {
        format!("-Dorg.apache.kafka.sasl.oauthbearer.allowed.urls={}", self.provider.url())
    }

    fn java(&self) -> anyhow::Result<Peer> {
        peers::java().map(|peer| peer.with_java(&[&self.allowed()]))
    }

    fn tool(&self, class: &str, args: &[&str], client: &str, input: Option<&str>) -> anyhow::Result<String> {
        let (bootstrap, properties) =
            (self.broker.bootstrap(), self.properties(client).display().to_string());
        let common = ["--bootstrap-server", &bootstrap, "--command-config", &properties];
        peers::kafka_tool_with(&[&self.allowed()], class, &[&common[..], args].concat(), input)
    }
}

/// Who asks for a token.
fn client_of(asked: &Asked) -> String {
    let basic = asked.authorization.as_deref().and_then(|header| header.strip_prefix("Basic "));
    let login =
        basic.and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok());
    login.and_then(|login| Some(login.split_once(':')?.0.to_owned())).unwrap_or_default()
}

#[test]
fn every_client_writes_and_reads_by_tokens_of_a_provider() {
    let site = Site::start();
    let peers = [peers::confluent(), peers::kafka_python(), site.java()];
    for peer in peers.into_iter().filter_map(or_skip) {
        let peer = peer.connecting(&site.properties("a-client"));
        let (bootstrap, topic) = (site.broker.bootstrap(), peer.name);
        let mut records: Vec<PeerRecord> = peer.writable(every_shape(1, TIMESTAMP));
        records.iter_mut().for_each(|record| record.partition = 0);
        peer.produce(&bootstrap, topic, "none", &records).unwrap();
        let read = peer.consume(&bootstrap, topic, records.len()).unwrap();
        assert!(read == records, "{topic} reads differently");
    }
    if let Some(kafkajs) = or_skip(peers::kafkajs()) {
        let kafkajs = kafkajs.connecting(&site.properties("a-client"));
        let output = kafkajs.run(&["echo", &site.broker.bootstrap(), "kafkajs", "hush"], None);
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "hush\n");
    }
}

#[test]
fn no_client_is_let_in_by_a_token_that_is_not_good() {
    let site = Site::start();
    let bootstrap = site.broker.bootstrap();
    let record: Vec<PeerRecord> = every_shape(1, TIMESTAMP).into_iter().take(1).collect();
    for peer in [peers::confluent(), peers::kafka_python()].into_iter().filter_map(or_skip) {
        for client in WRONG {
            let peer = peer.connecting(&site.properties(client));
            let error = peer.produce(&bootstrap, "t", "none", &peer.writable(record.clone())).unwrap_err();
            let error = format!("{error:#}").to_lowercase();
            // librdkafka does not even show one that has expired. kafka-python, when it reads the answer and the end of the connection at
            // once, knows of the end alone.
            let said = ["invalid_token", "expired", "unable to bootstrap"];
            let said = &said[..if peer.name == "kafka-python" { 3 } else { 2 }];
            assert!(said.iter().any(|words| error.contains(words)), "{client} {}: {error}", peer.name);
        }
    }
    let Some(kafkajs) = or_skip(peers::kafkajs()) else { return };
    for client in WRONG {
        let error = kafkajs.connecting(&site.properties(client)).run(&["echo", &bootstrap, "t", "x"], None);
        let error = format!("{:#}", error.unwrap_err());
        // kafkajs does not look at the answer to its token, and goes on until the broker closes.
        assert!(error.contains("Closed connection"), "{client}: {error}");
    }
}

#[test]
fn kafkas_tools_are_let_in_by_good_tokens_alone_and_are_who_these_are_about() {
    const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    let site = Site::start();
    let made = site.tool(TOPICS, &["--create", "--topic", "letters"], "a-client", None);
    if or_skip(made).is_none() {
        return;
    }
    let written = site.tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &["--topic", "letters"],
        "a-client",
        Some("one\ntwo\n"),
    );
    written.unwrap();
    let read = site.tool(
        "org.apache.kafka.tools.consumer.ConsoleConsumer",
        &["--topic", "letters", "--from-beginning", "--max-messages", "2"],
        "a-client",
        None,
    );
    assert_eq!(read.unwrap(), "one\ntwo\n");
    // Somebody else is let in too, and is not told of what is not its own.
    assert_eq!(site.tool(TOPICS, &["--list"], "b-client", None).unwrap().trim(), "");
    for client in WRONG {
        let error = format!("{:#}", site.tool(TOPICS, &["--list"], client, None).unwrap_err());
        assert!(error.contains("invalid_token") || error.contains("expired"), "{client}: {error}");
    }
}
