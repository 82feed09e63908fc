//! Clients that log in by OAUTHBEARER, against our broker and the real Apache Kafka: a provider on a real socket signs what it
//! gives, and both brokers check that with its key.

use std::{
    fs,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use ottla::{
    Admin, Consumer, Error, ErrorKind, NewTopic, Producer, Record, Settings, Token, TokenError,
    TopicPartition,
    config::{AdminConfig, ConsumerConfig, ProducerConfig},
    doctor::{Doctor, Outcome, Step},
};
use ottla_interop::{
    kafka::{Listener, Options},
    tls::{Authority, Subject},
    tokens::{Issuer, Provider, Reply},
};

use crate::{
    common::{eventually, unique},
    secured::{Pair, Secured, listener, path},
};

const LISTENERS: [Listener; 2] = [listener("PLAINTEXT", "PLAINTEXT"), listener("SECURE", "SASL_SSL")];
const HOUR: Duration = Duration::from_secs(3_600);
const LOGIN_MODULE: &str = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule";
/// A system property that says which URLs Kafka may read, as its broker is given a file.
const ALLOWED_URLS: &str = "org.apache.kafka.sasl.oauthbearer.allowed.urls";

/// Who signs the tokens that both brokers take.
fn issuer() -> Arc<Issuer> {
    static ISSUER: OnceLock<Arc<Issuer>> = OnceLock::new();
    Arc::clone(ISSUER.get_or_init(|| Arc::new(Issuer::new().unwrap())))
}

/// Runs a test against each broker.
fn on_each<F: Future<Output = ()>>(test: impl Fn(Secured) -> F) {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    PAIR.get_or_init(pair).on_each(test);
}

fn pair() -> Pair {
    let authority = Authority::new().unwrap();
    let keys = authority.directory().join("keys.json");
    fs::write(&keys, issuer().jwks()).unwrap();
    let keys = format!("file://{}", keys.display());
    let both = [
        ("ssl.keystore.type", "PEM"),
        ("ssl.keystore.location", &path(&authority.sign(Subject::BROKER).unwrap())),
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("sasl.oauthbearer.jwks.endpoint.url", &keys),
        ("sasl.oauthbearer.expected.audience", "kafka"),
        ("sasl.oauthbearer.expected.issuer", "https://issuer.test"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let of_kafka = [
        (
            "listener.name.secure.oauthbearer.sasl.server.callback.handler.class",
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler",
        ),
        ("listener.name.secure.oauthbearer.sasl.jaas.config", &format!("{LOGIN_MODULE} required;")),
    ];
    let lines = |lines: &[(&str, &str)]| -> Vec<(String, String)> {
        lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    // Options of a JVM live as long as the program.
    let allowed: &'static str = format!("-D{ALLOWED_URLS}={keys}").leak();
    let java_options = Options::default().java_options.iter().copied().chain([allowed]).collect::<Vec<_>>();
    let options =
        Options { properties: lines(&of_kafka), java_options: java_options.leak(), ..Options::default() };
    Pair::start(authority, &LISTENERS, lines(&both), &[], options)
}

/// The settings of a client that logs in by tokens.
fn by_tokens(target: Secured, more: &[(&str, &str)]) -> Settings {
    target.settings("SECURE", &[&[("sasl.mechanism", "OAUTHBEARER")], more].concat())
}

/// The settings of a client that asks a provider.
fn by_provider(target: Secured, provider: &Provider) -> Settings {
    by_tokens(
        target,
        &[
            ("sasl.oauthbearer.token.endpoint.url", provider.url()),
            ("sasl.oauthbearer.client.credentials.client.id", "app"),
            ("sasl.oauthbearer.client.credentials.client.secret", "hunter2"),
        ],
    )
}

/// A provider that gives `alice` tokens of such a life.
fn provider(life: Duration) -> Provider {
    let issuer = issuer();
    Provider::start(None, move |_| Reply::token(&issuer.token("alice", life))).unwrap()
}

fn admin(settings: &Settings) -> Admin {
    let mut settings = settings.clone();
    settings.set("default.api.timeout.ms", "15000");
    Admin::new(AdminConfig::from_settings(&settings).unwrap().0).unwrap()
}

fn producer(settings: &Settings) -> Producer {
    Producer::new(ProducerConfig::from_settings(settings).unwrap().0).unwrap()
}

fn consumer_config(settings: &Settings) -> ConsumerConfig {
    let mut settings = settings.clone();
    settings.set("auto.offset.reset", "earliest");
    ConsumerConfig::from_settings(&settings).unwrap().0
}

async fn topic(settings: &Settings, stem: &str) -> String {
    let topic = unique(stem);
    admin(settings).create_topic(NewTopic::new(&topic)).await.unwrap();
    topic
}

/// Writes a record and reads it.
async fn there_and_back(producer: &Producer, consumer: &Consumer, topic: &str) {
    producer.send(Record::to(topic).value("x")).await.unwrap().await.unwrap();
    consumer.assign([TopicPartition::new(topic, 0)]).unwrap();
    assert_eq!((&consumer.next_batch(1).await.unwrap()).into_iter().count(), 1);
}

#[test]
fn a_provider_is_asked_once_for_all_connections_of_a_client() {
    on_each(async |target| {
        let provider = provider(HOUR);
        let mut settings = by_provider(target, &provider);
        settings.set("sasl.oauthbearer.scope", "kafka write");
        let topic = topic(&settings, "tokens").await;
        assert_eq!(provider.asked().len(), 1);
        let asked = provider.asked().remove(0);
        assert_eq!(asked.line, "POST /token HTTP/1.1");
        assert_eq!(asked.authorization.as_deref(), Some("Basic YXBwOmh1bnRlcjI="));
        assert_eq!(asked.body, "grant_type=client_credentials&scope=kafka+write");

        // One connection for metadata, another for records.
        let (producer, consumer) = (producer(&settings), Consumer::new(consumer_config(&settings)).unwrap());
        there_and_back(&producer, &consumer, &topic).await;
        assert_eq!(provider.asked().len(), 3, "a client has one token");
        producer.close(Duration::from_secs(10)).await.unwrap();
        consumer.close(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn a_provider_is_asked_by_tls_and_must_be_who_it_claims_to_be() {
    on_each(async |target| {
        let issuer = issuer();
        let answer = move |_: &_| Reply::token(&issuer.token("alice", HOUR));
        let certificate = target.pair.authority.sign(Subject::BROKER).unwrap();
        let trusted = Provider::start(Some(certificate), answer.clone()).unwrap();
        admin(&by_provider(target, &trusted)).describe_cluster().await.unwrap();

        let others = Authority::new().unwrap();
        let stranger = Provider::start(Some(others.sign(Subject::BROKER).unwrap()), answer).unwrap();
        let settings = by_provider(target, &stranger);
        let error = admin(&settings).describe_cluster().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        assert!(error.to_string().contains("no TLS with `https://localhost"), "{error}");
        assert!(stranger.asked().is_empty(), "it was told nothing");
        // Whom to trust can be said in as many ways as there are peers; what the brokers are trusted by stays as it is.
        let others = others.certificate();
        let pem = fs::read_to_string(&others).unwrap();
        let of_module =
            |options: &str| format!("{LOGIN_MODULE} required clientId=app clientSecret=hunter2 {options};");
        for (key, value) in [
            ("https.ca.location", path(&others)),
            ("https.ca.pem", pem.clone()),
            (
                "sasl.jaas.config",
                of_module(&format!("ssl.truststore.type=PEM ssl.truststore.location=\"{}\"", path(&others))),
            ),
            (
                "sasl.jaas.config",
                of_module(&format!("ssl.truststore.type=PEM ssl.truststore.certificates=\"{pem}\"")),
            ),
        ] {
            let mut settings = by_tokens(target, &[("sasl.oauthbearer.token.endpoint.url", stranger.url())]);
            if key != "sasl.jaas.config" {
                settings.set("sasl.oauthbearer.client.credentials.client.id", "app");
                settings.set("sasl.oauthbearer.client.credentials.client.secret", "hunter2");
            }
            settings.set(key, value);
            admin(&settings).describe_cluster().await.unwrap_or_else(|error| panic!("{key}: {error}"));
        }
        // The system trusts neither.
        let mut settings = by_provider(target, &trusted);
        settings.set("https.ca.location", "probe");
        let error = admin(&settings).describe_cluster().await.unwrap_err();
        assert!(error.to_string().contains("no TLS with `https://localhost"), "{error}");
    });
}

#[test]
fn tokens_of_a_function_are_asked_for_before_they_end() {
    on_each(async |target| {
        let settings = by_tokens(target, &[]);
        let tokens = |life: Duration| {
            let asked = Arc::new(AtomicU32::new(0));
            let (issuer, counted) = (issuer(), Arc::clone(&asked));
            let give = move || {
                counted.fetch_add(1, Ordering::Relaxed);
                let token = Token::new(issuer.token("alice", life));
                async move { Ok(token) }
            };
            (give, move || asked.load(Ordering::Relaxed))
        };
        let ((to_admin, by_admin), (to_producer, by_producer)) = (tokens(HOUR), tokens(HOUR));
        let (to_consumer, by_consumer) = tokens(Duration::from_secs(4));
        let admin = Admin::with_tokens(AdminConfig::from_settings(&settings).unwrap().0, to_admin).unwrap();
        let topic = unique("function");
        admin.create_topic(NewTopic::new(&topic)).await.unwrap();
        let producer = ProducerConfig::from_settings(&settings).unwrap().0;
        let producer = Producer::with_tokens(producer, to_producer).unwrap();
        let consumer = Consumer::with_tokens(consumer_config(&settings), to_consumer).unwrap();
        there_and_back(&producer, &consumer, &topic).await;
        assert_eq!((by_admin(), by_producer()), (1, 1), "one for each client");
        let before = by_consumer();
        eventually("the token is refreshed", async || (by_consumer() > before).then_some(())).await;
    });
}

#[test]
fn records_flow_on_while_tokens_come_and_go() {
    on_each(async |target| {
        let provider = provider(Duration::from_secs(5));
        let settings = by_provider(target, &provider);
        let topic = topic(&settings, "flow").await;
        let asked = provider.asked().len();
        let producer = producer(&settings);
        let (began, mut sent) = (Instant::now(), 0);
        while began.elapsed() < Duration::from_secs(12) {
            producer.send(Record::to(&topic).value("x")).await.unwrap().await.unwrap();
            sent += 1;
        }
        let metrics = producer.metrics();
        assert_eq!(metrics.record_retry_total, 0, "{}: the connection stays", target.name);
        assert_eq!(metrics.record_acknowledged_total, sent);
        let asked = provider.asked().len() - asked;
        assert!((3..=5).contains(&asked), "{}: asked {asked} times in 12 s for tokens of 5 s", target.name);
        producer.close(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn a_file_with_a_token_is_read_again() {
    on_each(async |target| {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("token");
        fs::write(&file, format!("{}\n", issuer().expired_token("alice"))).unwrap();
        let url = format!("file://{}", file.display());
        let settings = by_tokens(target, &[("sasl.oauthbearer.token.endpoint.url", &url)]);
        let admin = admin(&settings);
        let waiting = admin.describe_cluster();
        let renewing = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let new = directory.path().join("new");
            fs::write(&new, issuer().token("alice", HOUR)).unwrap();
            fs::rename(&new, &file).unwrap();
        };
        let (described, ()) = tokio::join!(waiting, renewing);
        described.unwrap();
    });
}

async fn denied(settings: &Settings) -> Error {
    let began = Instant::now();
    let error = admin(settings).describe_cluster().await.unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(5), "the caller waits for nothing: {error}");
    assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
    assert!(!format!("{error} {error:?} {settings:?}").contains("hunter2"), "{error:?}");
    error
}

#[test]
fn whoever_gets_no_token_is_told_why_at_once_and_the_provider_is_left_alone() {
    on_each(async |target| {
        let provider =
            Provider::start(None, |_| Reply::error(401, "invalid_client", "no such client")).unwrap();
        let settings = by_provider(target, &provider);
        let error = denied(&settings).await;
        assert!(error.to_string().contains("answers `invalid_client` (no such client), HTTP 401"), "{error}");
        assert!(error.what_to_do().is_some_and(|fix| fix.contains("client.credentials.client.secret")));

        let before = provider.asked().len();
        let producer = producer(&settings);
        let error = producer.send(Record::to("orders").value("x")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        let consumer = Consumer::new(consumer_config(&settings)).unwrap();
        consumer.assign([TopicPartition::new("orders", 0)]).unwrap();
        for _ in 0..3 {
            let error = consumer.next_batch(1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{error}");
        }
        assert!(provider.asked().len() - before <= 2, "once for each client: {}", provider.asked().len());

        // What a function of the program says.
        let config = AdminConfig::from_settings(&by_tokens(target, &[])).unwrap().0;
        let admin =
            Admin::with_tokens(config, || async { Err(TokenError::new("the vault is sealed")) }).unwrap();
        let error = admin.describe_cluster().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Authentication);
        assert!(error.to_string().contains("the vault is sealed"), "{error}");
    });
}

#[test]
fn a_token_that_is_no_good_is_told_as_such() {
    on_each(async |target| {
        let expired = issuer().expired_token("alice");
        let provider = Provider::start(None, move |_| Reply::token(&expired)).unwrap();
        let mut settings = by_provider(target, &provider);
        settings.set("default.api.timeout.ms", "2000");
        let config = AdminConfig::from_settings(&settings).unwrap().0;
        let error = Admin::new(config).unwrap().describe_cluster().await.unwrap_err();
        assert!(error.to_string().contains("has expired 36"), "{error}");
        assert!(error.what_to_do().is_some_and(|fix| fix.contains("clock")), "{error}");

        let forged = Issuer::new().unwrap().token("alice", HOUR);
        provider.answer(move |_| Reply::token(&forged));
        let error = denied(&settings).await;
        assert!(
            error.to_string().contains("the token of `alice`") && error.to_string().contains("invalid_token"),
            "{error}"
        );
        assert!(error.what_to_do().is_some_and(|fix| fix.contains("expected.audience")), "{error}");
    });
}

#[test]
fn a_provider_that_is_away_for_a_while_is_waited_for() {
    on_each(async |target| {
        let (issuer, another) = (issuer(), provider(HOUR));
        let provider = Provider::start(None, |_| Reply { status: 503, body: String::new() }).unwrap();
        let settings = by_provider(target, &provider);
        let admin = admin(&settings);
        let coming_back = async {
            eventually("it was asked again", async || (provider.asked().len() >= 3).then_some(())).await;
            provider.answer(move |_| Reply::token(&issuer.token("alice", Duration::from_secs(20))));
        };
        let (described, ()) = tokio::join!(admin.describe_cluster(), coming_back);
        described.unwrap();

        // With a token that is good yet, nobody notices that it is away again.
        let topic = topic(&by_provider(target, &another), "away").await;
        let producer = producer(&settings);
        producer.partition_count(&topic).await.unwrap();
        provider.answer(|_| Reply { status: 500, body: String::new() });
        producer.send(Record::to(&topic).value("x")).await.unwrap().await.unwrap();
    });
}

#[test]
fn a_function_that_never_answers_holds_up_nobody_for_ever() {
    on_each(async |target| {
        let settings =
            by_tokens(target, &[("sasl.login.read.timeout.ms", "300"), ("default.api.timeout.ms", "3000")]);
        let config = AdminConfig::from_settings(&settings).unwrap().0;
        let admin = Admin::with_tokens(config, std::future::pending::<Result<Token, TokenError>>).unwrap();
        let error = admin.describe_cluster().await.unwrap_err();
        assert!(error.to_string().contains("did not give one within 300 ms"), "{error}");
        assert!(error.what_to_do().is_some_and(|fix| fix.contains("sasl.login.read.timeout.ms")), "{error}");

        let config = AdminConfig::from_settings(&settings).unwrap().0;
        let admin = Admin::with_tokens(config, || async { panic!("a bug of the program") }).unwrap();
        let error = admin.describe_cluster().await.unwrap_err();
        assert!(error.to_string().contains("panicked"), "{error}");
    });
}

#[test]
fn the_doctor_says_where_the_token_is_missing() {
    on_each(async |target| {
        let provider = provider(HOUR);
        let examine = async |settings: &Settings| {
            let mut steps: Vec<Step> = Vec::new();
            let config = AdminConfig::from_settings(settings).unwrap().0;
            let is_well = Doctor::new(config).unwrap().examine(|step| steps.push(step)).await;
            let sasl = steps.into_iter().find(|step| step.name == "sasl").unwrap();
            (is_well, sasl)
        };
        let (is_well, step) = examine(&by_provider(target, &provider)).await;
        assert!(is_well && step.outcome == Outcome::Well, "{step:?}");
        assert!(step.found.contains(&("user", "alice".to_owned())), "{step:?}");
        provider.answer(|_| Reply::error(400, "invalid_scope", "unknown"));
        let (is_well, step) = examine(&by_provider(target, &provider)).await;
        let Outcome::Wrong(diagnosis) = &step.outcome else { panic!("{step:?}") };
        assert!(!is_well && diagnosis.cause.contains("`invalid_scope`"), "{diagnosis}");
        assert!(diagnosis.fix.as_ref().is_some_and(|fix| fix.contains("sasl.oauthbearer.scope")));
    });
}
