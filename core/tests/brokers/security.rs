//! The client over every kind of secured connection, against our broker and the real Apache Kafka: the same settings, the
//! same certificates, the same users.

use std::{
    sync::OnceLock,
    time::{Duration, Instant},
};

use ottla::{
    AclBinding, AclFilter, AclOperation, Admin, AlterQuota, AlterScramUser, Consumer, ErrorCode, ErrorKind,
    NewTopic, PatternFilter, Producer, QuotaEntity, QuotaFilter, QuotaName, Record, ResourceType,
    ScramMechanism, Secret, Settings, TopicPartition,
    config::{AdminConfig, ConsumerConfig, ProducerConfig},
};
use ottla_interop::{
    kafka::{Listener, Options},
    tls::{Authority, Subject},
};

use crate::{
    common::{eventually, unique},
    secured::{Pair, Secured, listener, path},
};

const LISTENERS: [Listener; 9] = [
    listener("PLAINTEXT", "PLAINTEXT"),
    listener("TLS", "SSL"),
    listener("MUTUAL", "SSL"),
    listener("LOGIN", "SASL_PLAINTEXT"),
    listener("SECURE", "SASL_SSL"),
    listener("SHORT", "SASL_SSL"),
    listener("EXPIRED", "SSL"),
    listener("ELSEWHERE", "SSL"),
    listener("NEWEST", "SSL"),
];
const JAAS_PLAIN: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                          user_alice=\"wonder\" user_bob=\"builder\";";
/// The user that both brokers have when they start for the first time.
const FIRST_USER: &str = "SCRAM-SHA-256=[name=first,password=start]";
const JAAS_SCRAM: &str = "org.apache.kafka.common.security.scram.ScramLoginModule required;";

/// The lines of `server.properties` that both brokers have.
fn server_properties(authority: &Authority) -> Vec<(String, String)> {
    let broker = path(&authority.sign(Subject::BROKER).unwrap());
    let expired = Subject { name: "expired", is_expired: true, ..Subject::BROKER };
    let expired = path(&authority.sign(expired).unwrap());
    let elsewhere = Subject { name: "elsewhere", hosts: &["elsewhere.example"], is_expired: false };
    let elsewhere = path(&authority.sign(elsewhere).unwrap());
    let trust = path(&authority.certificate());
    let mut lines = vec![
        ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
        ("ssl.keystore.location".to_owned(), broker),
        ("ssl.truststore.type".to_owned(), "PEM".to_owned()),
        ("ssl.truststore.location".to_owned(), trust),
        ("listener.name.mutual.ssl.client.auth".to_owned(), "required".to_owned()),
        ("listener.name.mutual.ssl.principal.mapping.rules".to_owned(), "RULE:^CN=([^,]*).*$/$1/".to_owned()),
        ("listener.name.expired.ssl.keystore.location".to_owned(), expired),
        ("listener.name.elsewhere.ssl.keystore.location".to_owned(), elsewhere),
        ("listener.name.newest.ssl.enabled.protocols".to_owned(), "TLSv1.3".to_owned()),
        ("sasl.enabled.mechanisms".to_owned(), "SCRAM-SHA-256,SCRAM-SHA-512,PLAIN".to_owned()),
        ("listener.name.login.sasl.enabled.mechanisms".to_owned(), "SCRAM-SHA-256".to_owned()),
        // Rules hold where there are any; whoever did not log in makes them.
        (
            "authorizer.class.name".to_owned(),
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        ),
        ("super.users".to_owned(), "User:ANONYMOUS".to_owned()),
        ("allow.everyone.if.no.acl.found".to_owned(), "true".to_owned()),
        // Seconds, so that a test sees it happen.
        ("listener.name.short.connections.max.reauth.ms".to_owned(), "2000".to_owned()),
    ];
    for listener in ["login", "secure", "short"] {
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            let key = format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
            lines.push((key, JAAS_SCRAM.to_owned()));
        }
        lines.push((format!("listener.name.{listener}.plain.sasl.jaas.config"), JAAS_PLAIN.to_owned()));
    }
    lines
}

/// Runs a test against each broker.
fn on_each<F: Future<Output = ()>>(test: impl Fn(Secured) -> F) {
    static PAIR: OnceLock<Pair> = OnceLock::new();
    let pair = PAIR.get_or_init(|| {
        let authority = Authority::new().unwrap();
        let both = server_properties(&authority);
        let own =
            [("ottla.initial.scram.credentials", FIRST_USER), ("group.initial.rebalance.delay.ms", "0")];
        let options = Options { format: vec!["--add-scram".into(), FIRST_USER.into()], ..Options::default() };
        Pair::start(authority, &LISTENERS, both, &own, options)
    });
    pair.on_each(test);
}

fn admin(settings: &Settings) -> ottla::Result<Admin> {
    let mut settings = settings.clone();
    settings.set("default.api.timeout.ms", "15000");
    Admin::new(AdminConfig::from_settings(&settings)?.0)
}

fn consumer(settings: &Settings) -> Consumer {
    let mut settings = settings.clone();
    settings.set("auto.offset.reset", "earliest");
    Consumer::new(ConsumerConfig::from_settings(&settings).unwrap().0).unwrap()
}

fn login<'a>(mechanism: &'a str, user: &'a str, password: &'a str) -> [(&'a str, &'a str); 3] {
    [("sasl.mechanism", mechanism), ("sasl.username", user), ("sasl.password", password)]
}

/// Makes a topic, writes to it and reads it, all by the same settings.
async fn round_trip(settings: &Settings) {
    let topic = unique("secret");
    admin(settings).unwrap().create_topic(NewTopic::new(&topic)).await.unwrap();
    let producer = Producer::new(ProducerConfig::from_settings(settings).unwrap().0).unwrap();
    // More than the socket takes at once, so that TLS must hold some back.
    let value = vec![b'x'; 900_000];
    let mut deliveries = Vec::new();
    for _ in 0..8 {
        deliveries.push(producer.send(Record::to(&topic).value(&value)).await.unwrap());
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    producer.close(Duration::from_secs(10)).await.unwrap();
    let consumer = consumer(settings);
    consumer.assign([TopicPartition::new(&topic, 0)]).unwrap();
    let mut read = 0;
    while read < 8 {
        for record in &consumer.next_batch(100).await.unwrap() {
            assert!(record.unwrap().value().is_some_and(|read| read == value));
            read += 1;
        }
    }
    consumer.close(Duration::from_secs(10)).await.unwrap();
}

async fn add_user(target: Secured, user: &str, mechanism: ScramMechanism, password: &str) {
    let admin = admin(&target.settings("PLAINTEXT", &[])).unwrap();
    let password = Secret::new(password);
    let set = AlterScramUser::Set { user: user.to_owned(), mechanism, password, iterations: None };
    admin.alter_scram_users([set]).await.unwrap().remove(0).1.unwrap();
    // A broker learns of a change a moment after the controller has made it.
    eventually("the user is known", async || {
        let described = admin.describe_scram_users([user]).await.unwrap();
        described[0].1.as_ref().is_ok_and(|of| of.iter().any(|it| it.mechanism == mechanism)).then_some(())
    })
    .await;
}

#[test]
fn records_go_both_ways_over_tls() {
    on_each(async |target| {
        round_trip(&target.settings("TLS", &[])).await;
        for versions in ["TLSv1.2", "TLSv1.3"] {
            round_trip(&target.settings("TLS", &[("ssl.enabled.protocols", versions)])).await;
        }
    });
}

#[test]
fn a_client_shows_its_certificate_where_one_is_wanted() {
    on_each(async |target| {
        let alice = path(&target.pair.authority.sign(Subject::client("alice")).unwrap());
        round_trip(&target.settings("MUTUAL", &[("ssl.keystore.location", &alice)])).await;

        let nobody = admin(&target.settings("MUTUAL", &[])).unwrap();
        let error = nobody.describe_cluster().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{}: {error}", target.name);
        assert!(error.to_string().contains("`ssl.keystore.location`"), "{error}");

        let others = Authority::new().unwrap();
        let stranger = path(&others.sign(Subject::client("alice")).unwrap());
        let stranger = admin(&target.settings("MUTUAL", &[("ssl.keystore.location", &stranger)])).unwrap();
        let error = stranger.describe_cluster().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{}: {error}", target.name);
    });
}

#[test]
fn every_mechanism_lets_in_whoever_knows_the_password() {
    on_each(async |target| {
        add_user(target, "carol", ScramMechanism::Sha256, "pässword, \"quoted\"").await;
        add_user(target, "dave", ScramMechanism::Sha512, "hush").await;
        round_trip(&target.settings("SECURE", &login("PLAIN", "alice", "wonder"))).await;
        round_trip(&target.settings("SECURE", &login("SCRAM-SHA-256", "carol", "pässword, \"quoted\"")))
            .await;
        round_trip(&target.settings("SECURE", &login("SCRAM-SHA-512", "dave", "hush"))).await;
        round_trip(&target.settings("LOGIN", &login("SCRAM-SHA-256", "first", "start"))).await;
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"bob\" password=\"builder\";";
        let by_jaas = [("sasl.mechanism", "PLAIN"), ("sasl.jaas.config", jaas)];
        round_trip(&target.settings("SECURE", &by_jaas)).await;
    });
}

#[test]
fn whoever_does_not_know_the_password_is_told_so_at_once() {
    on_each(async |target| {
        let cases = [
            login("PLAIN", "alice", "hunter2"),
            login("PLAIN", "nobody", "hunter2"),
            login("SCRAM-SHA-256", "first", "hunter2"),
            login("SCRAM-SHA-256", "nobody", "hunter2"),
            // A password that is good for another mechanism.
            login("SCRAM-SHA-512", "first", "start"),
        ];
        for case in cases {
            let settings = target.settings("SECURE", &case);
            let began = Instant::now();
            let error = admin(&settings).unwrap().describe_cluster().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{} {case:?}: {error}", target.name);
            assert!(began.elapsed() < Duration::from_secs(5), "the caller waits for nothing");
            let text = format!("{error} {error:?} {settings:?}");
            assert!(!text.contains("hunter2") && text.contains("check user name and password"), "{text}");

            let producer = Producer::new(ProducerConfig::from_settings(&settings).unwrap().0).unwrap();
            let error = producer.send(Record::to("orders").value("x")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{} {case:?}: {error}", target.name);
            let consumer = consumer(&settings);
            consumer.assign([TopicPartition::new("orders", 0)]).unwrap();
            let error = consumer.next_batch(1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Authentication, "{} {case:?}: {error}", target.name);
        }
    });
}

#[test]
fn what_does_not_go_together_is_said_with_what_to_do() {
    on_each(async |target| {
        let refused = async |settings: Settings, kind: ErrorKind, words: &str| {
            let mut settings = settings;
            settings.set("default.api.timeout.ms", "3000").set("request.timeout.ms", "2000");
            settings.set("socket.connection.setup.timeout.ms", "1000");
            let admin = Admin::new(AdminConfig::from_settings(&settings).unwrap().0).unwrap();
            let error = admin.describe_cluster().await.unwrap_err();
            assert_eq!(error.kind(), kind, "{}: {error}", target.name);
            assert!(error.to_string().contains(words), "{}: {error}", target.name);
        };
        let as_if = |listener: &str, protocol: &str, more: &[(&str, &str)]| {
            let mut settings = target.settings(listener, more);
            settings.set("security.protocol", protocol);
            settings.set("ssl.truststore.location", path(&target.pair.authority.certificate()));
            settings
        };
        let user = login("SCRAM-SHA-256", "first", "start");
        // An authority that nobody has heard of.
        let other = Authority::new().unwrap();
        let untrusted = target.settings("TLS", &[("ssl.truststore.location", &path(&other.certificate()))]);
        refused(untrusted, ErrorKind::Tls, "trusted here; name").await;
        refused(target.settings("EXPIRED", &[]), ErrorKind::Tls, "has expired").await;
        // Nobody is talked into an older version, or into a mechanism that shows the password.
        let older = target.settings("NEWEST", &[("ssl.enabled.protocols", "TLSv1.2")]);
        refused(older, ErrorKind::Tls, "`ssl.enabled.protocols`").await;
        let mut weak = target.settings("LOGIN", &login("PLAIN", "alice", "wonder"));
        weak.set("ottla.sasl.plain.without.tls", "true");
        refused(weak, ErrorKind::Authentication, "it does not offer PLAIN; it offers SCRAM-SHA-256").await;
        // TLS where there is none, and the other way round.
        refused(as_if("PLAINTEXT", "SSL", &[]), ErrorKind::Disconnected, "the TLS handshake").await;
        refused(as_if("TLS", "PLAINTEXT", &[]), ErrorKind::Disconnected, "TLS").await;
        // A login where there is none, none where there is, and another mechanism.
        refused(
            as_if("TLS", "SASL_SSL", &user),
            ErrorKind::Authentication,
            "nobody logs in at this listener",
        )
        .await;
        refused(as_if("SECURE", "SSL", &[]), ErrorKind::Disconnected, "the port may want SASL").await;
        let other_mechanism = target.settings("LOGIN", &login("SCRAM-SHA-512", "first", "start"));
        refused(other_mechanism, ErrorKind::Authentication, "it offers SCRAM-SHA-256").await;
    });
}

#[test]
fn a_server_of_another_name_is_taken_only_by_whoever_does_not_ask() {
    on_each(async |target| {
        let error = admin(&target.settings("ELSEWHERE", &[])).unwrap().describe_cluster().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Tls, "{}: {error}", target.name);
        assert!(error.to_string().contains("elsewhere.example"), "{error}");
        round_trip(&target.settings("ELSEWHERE", &[("ssl.endpoint.identification.algorithm", "")])).await;
        // Librdkafka's key takes a certificate that is not even good.
        round_trip(&target.settings("EXPIRED", &[("enable.ssl.certificate.verification", "false")])).await;
    });
}

#[test]
fn a_member_that_may_not_log_in_is_told_so_and_reads_once_it_may() {
    on_each(async |target| {
        let topic = unique("letters");
        let plain = target.settings("PLAINTEXT", &[]);
        admin(&plain).unwrap().create_topic(NewTopic::new(&topic)).await.unwrap();
        let producer = Producer::new(ProducerConfig::from_settings(&plain).unwrap().0).unwrap();
        producer.send(Record::to(&topic).value("x")).await.unwrap().await.unwrap();
        for protocol in ["classic", "auto"] {
            let user = unique("late");
            let mut settings = target.settings("SECURE", &login("SCRAM-SHA-256", &user, "hush"));
            settings.set("group.id", unique("readers")).set("group.protocol", protocol);
            let consumer = consumer(&settings);
            consumer.subscribe([topic.as_str()]).unwrap();
            // The call fails, and the one after it, without anybody having subscribed anew.
            for _ in 0..2 {
                let error = consumer.next_batch(1).await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Authentication, "{} {protocol}: {error}", target.name);
                assert!(error.what_to_do().is_some_and(|fix| fix.contains("check user name and password")));
            }
            add_user(target, &user, ScramMechanism::Sha256, "hush").await;
            let reading = async {
                loop {
                    match consumer.next_batch(1).await {
                        Ok(batch) => return batch,
                        // Of an attempt before.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::Authentication, "{error}"),
                    }
                }
            };
            let batch = tokio::time::timeout(Duration::from_secs(30), reading).await.unwrap();
            assert_eq!(batch.len(), 1, "{} {protocol}", target.name);
            consumer.close(Duration::from_secs(10)).await.unwrap();
        }
    });
}

#[test]
fn a_session_goes_on_by_logging_in_anew() {
    on_each(async |target| {
        for (mechanism, user, password) in [("PLAIN", "alice", "wonder"), ("SCRAM-SHA-256", "first", "start")]
        {
            let settings = target.settings("SHORT", &login(mechanism, user, password));
            let topic = unique("session");
            admin(&settings).unwrap().create_topic(NewTopic::new(&topic)).await.unwrap();
            let producer = Producer::new(ProducerConfig::from_settings(&settings).unwrap().0).unwrap();
            let began = Instant::now();
            let mut sent = 0;
            // Three sessions long, with requests under way all the time.
            while began.elapsed() < Duration::from_millis(6_500) {
                producer.send(Record::to(&topic).value("x")).await.unwrap().await.unwrap();
                sent += 1;
            }
            let metrics = producer.metrics();
            assert_eq!(metrics.record_retry_total, 0, "{}: the connection stays", target.name);
            assert_eq!(metrics.record_acknowledged_total, sent);
            producer.close(Duration::from_secs(10)).await.unwrap();
        }
    });
}

#[test]
fn rules_say_who_may_do_what_and_are_gone_when_they_are_removed() {
    on_each(async |target| {
        let admin = admin(&target.settings("PLAINTEXT", &[])).unwrap();
        let prefix = unique("guarded");
        let topic = format!("{prefix}-letters");
        admin.create_topic(NewTopic::new(&topic)).await.unwrap();
        let rules = [
            AclBinding::allow("User:alice", AclOperation::Write, ResourceType::Topic, &prefix).prefixed(),
            AclBinding::deny("User:bob", AclOperation::All, ResourceType::Topic, &topic)
                .from_host("127.0.0.1"),
        ];
        for _ in 0..2 {
            for (_, outcome) in admin.create_acls(rules.clone()).await.unwrap() {
                outcome.unwrap();
            }
        }
        let of_topic = AclFilter {
            resource_type: Some(ResourceType::Topic),
            resource_name: Some(topic.clone()),
            pattern: PatternFilter::Match,
            ..AclFilter::default()
        };
        let known = async |count: usize| {
            let found = admin.describe_acls(of_topic.clone()).await.unwrap();
            (found.len() == count).then_some(found)
        };
        let mut expected = rules.to_vec();
        expected.sort();
        assert_eq!(eventually("the rules are known", async || known(2).await).await, expected);

        let send = async |user: &str, password: &str| -> ottla::Result<()> {
            let settings = target.settings("SECURE", &login("PLAIN", user, password));
            let producer = Producer::new(ProducerConfig::from_settings(&settings).unwrap().0).unwrap();
            producer.send(Record::to(&topic).value(b"hello")).await?.await.map(drop)
        };
        send("alice", "wonder").await.unwrap();
        let error = send("bob", "builder").await.unwrap_err();
        assert_eq!(error.code(), Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{error}");
        assert!(error.to_string().contains("ask for an ACL on the topic"), "{error}");

        let of_bob = AclFilter { principal: Some("User:bob".to_owned()), ..of_topic.clone() };
        let removed = admin.delete_acls([of_bob.clone()]).await.unwrap().remove(0).unwrap();
        assert_eq!(
            removed,
            expected[..].iter().filter(|it| it.principal == "User:bob").cloned().collect::<Vec<_>>()
        );
        assert!(admin.delete_acls([of_bob]).await.unwrap().remove(0).unwrap().is_empty());
        eventually("one rule is left", async || known(1).await).await;
        let error = send("bob", "builder").await.unwrap_err();
        assert_eq!(
            error.code(),
            Some(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
            "there is still a rule, for alice"
        );
        admin.delete_acls([of_topic.clone()]).await.unwrap().remove(0).unwrap();
        eventually("no rule is left", async || known(0).await).await;
        send("bob", "builder").await.unwrap();
    });
}

#[test]
fn quotas_are_set_described_and_taken_away() {
    on_each(async |target| {
        let admin = admin(&target.settings("PLAINTEXT", &[])).unwrap();
        let client_id = unique("limited");
        let both = QuotaEntity::user(QuotaName::Default).and_client_id(client_id.as_str());
        let address = QuotaEntity::ip("10.1.2.3");
        let alterations = [
            AlterQuota::of(both.clone())
                .set(AlterQuota::PRODUCER_BYTE_RATE, 1_000_000.0)
                .set(AlterQuota::REQUEST_PERCENTAGE, 12.5),
            AlterQuota::of(address.clone()).set(AlterQuota::CONNECTION_CREATION_RATE, 100.0),
            AlterQuota::of(QuotaEntity::user("alice")).set("fun", 1.0),
        ];
        for (tried, _) in admin.alter_client_quotas(alterations[..2].to_vec(), true).await.unwrap() {
            assert!(admin.describe_client_quotas(QuotaFilter::only(tried)).await.unwrap().is_empty());
        }
        let altered = admin.alter_client_quotas(alterations, false).await.unwrap();
        let codes: Vec<_> =
            altered.iter().map(|(_, outcome)| outcome.as_ref().err().and_then(|it| it.code())).collect();
        assert_eq!(codes, [None, None, Some(ErrorCode::INVALID_REQUEST)]);
        let known = async |entity: &QuotaEntity, count: usize| {
            let found = admin.describe_client_quotas(QuotaFilter::only(entity.clone())).await.unwrap();
            (found.iter().map(|(_, quotas)| quotas.len()).sum::<usize>() == count).then_some(found)
        };
        let found = eventually("both quotas are known", async || known(&both, 2).await).await;
        let values: Vec<_> = found[0].1.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(values, [("producer_byte_rate", 1_000_000.0), ("request_percentage", 12.5)]);
        eventually("the address has its quota", async || known(&address, 1).await).await;
        let gone = [
            AlterQuota::of(both.clone()).remove(AlterQuota::PRODUCER_BYTE_RATE),
            AlterQuota::of(address.clone()).remove(AlterQuota::CONNECTION_CREATION_RATE),
        ];
        for (_, outcome) in admin.alter_client_quotas(gone, false).await.unwrap() {
            outcome.unwrap();
        }
        let left = eventually("one quota is left", async || known(&both, 1).await).await;
        assert_eq!(left[0].1.keys().collect::<Vec<_>>(), ["request_percentage"]);
        eventually("the address has none", async || known(&address, 0).await).await;
    });
}

#[test]
fn who_has_used_up_a_quota_is_held_back_and_counts_for_how_long() {
    const BYTES_PER_S: u64 = 100_000;
    const VALUE: [u8; 10_000] = [7; 10_000];
    // Ten windows of a second are free, and one that has begun.
    const RECORDS: u64 = 13 * BYTES_PER_S / VALUE.len() as u64;
    on_each(async |target| {
        let admin = admin(&target.settings("PLAINTEXT", &[])).unwrap();
        let (topic, client_id) = (unique("slow"), unique("slow"));
        admin.create_topic(NewTopic::new(&topic)).await.unwrap();
        let entity = QuotaEntity::client_id(client_id.as_str());
        let alteration = AlterQuota::of(entity.clone())
            .set(AlterQuota::PRODUCER_BYTE_RATE, BYTES_PER_S as f64)
            .set(AlterQuota::CONSUMER_BYTE_RATE, BYTES_PER_S as f64);
        admin.alter_client_quotas([alteration], false).await.unwrap().remove(0).1.unwrap();
        let filter = QuotaFilter::only(entity);
        eventually("the quota is known", async || {
            (!admin.describe_client_quotas(filter.clone()).await.unwrap().is_empty()).then_some(())
        })
        .await;
        let mut settings = target.settings("PLAINTEXT", &[("client.id", &client_id)]);

        let producer = Producer::new(ProducerConfig::from_settings(&settings).unwrap().0).unwrap();
        let began = Instant::now();
        for _ in 0..RECORDS {
            drop(producer.send(Record::to(&topic).value(&VALUE)).await.unwrap());
        }
        producer.flush().await.unwrap();
        let (took, metrics) = (began.elapsed(), producer.metrics());
        assert_eq!((metrics.record_acknowledged_total, metrics.record_error_total), (RECORDS, 0));
        assert!(took >= Duration::from_secs(1), "{}: {took:?}", target.name);
        assert!(metrics.produce_throttle_time_max.is_some_and(|ms| ms > 0.0), "{}", target.name);
        assert!(metrics.produce_throttle_time_total > 0);
        producer.close(Duration::from_secs(10)).await.unwrap();

        settings.set("auto.offset.reset", "earliest");
        let consumer = Consumer::new(ConsumerConfig::from_settings(&settings).unwrap().0).unwrap();
        consumer.assign([TopicPartition::new(&topic, 0)]).unwrap();
        let (began, mut read) = (Instant::now(), 0);
        while read < RECORDS {
            read += (&consumer.next_batch(100).await.unwrap()).into_iter().count() as u64;
        }
        let (took, metrics) = (began.elapsed(), consumer.metrics());
        assert!(took >= Duration::from_secs(1), "{}: {took:?}", target.name);
        assert!(metrics.fetch_throttle_time_max.is_some_and(|ms| ms > 0.0), "{}", target.name);
        consumer.close(Duration::from_secs(10)).await.unwrap();
    });
}

#[test]
fn an_admin_waits_until_it_may_change_topics_again() {
    on_each(async |target| {
        let client_id = unique("changes");
        let admin = admin(&target.settings("PLAINTEXT", &[("client.id", &client_id)])).unwrap();
        let entity = QuotaEntity::client_id(client_id.as_str());
        // A burst of 44 partitions at 4 a second.
        let alteration = AlterQuota::of(entity.clone()).set(AlterQuota::CONTROLLER_MUTATION_RATE, 4.0);
        admin.alter_client_quotas([alteration], false).await.unwrap().remove(0).1.unwrap();
        eventually("the quota is known", async || {
            let known = admin.describe_client_quotas(QuotaFilter::only(entity.clone())).await.unwrap();
            (!known.is_empty()).then_some(())
        })
        .await;
        admin.create_topic(NewTopic::new(unique("many")).partitions(48)).await.unwrap();
        let began = Instant::now();
        admin.create_topic(NewTopic::new(unique("one"))).await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(500), "{}: {:?}", target.name, began.elapsed());
    });
}
