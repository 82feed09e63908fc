//! The broker's, the topic's and the group's tables against Kafka's own lists of keys, and the structs made of them.

use std::time::Duration;

use ottla_broker::config::{
    BROKER, BrokerConfig, CompressionType, GROUP, RecordValidation, TOPIC, TopicConfig,
};
use ottla_config::{Effect, Key, Setting, Settings, Source, Table, Update};

#[test]
fn the_tables_are_well_formed_and_every_synonym_is_a_key() {
    for table in [&BROKER, &TOPIC, &GROUP] {
        assert_eq!(table.faults(), Vec::<String>::new(), "{}", table.name);
    }
    for key in TOPIC.keys().chain(GROUP.keys()) {
        for synonym in key.synonyms {
            assert!(BROKER.key(synonym.name).is_some_and(|k| k.name == synonym.name), "{}", synonym.name);
        }
    }
}

#[test]
fn every_key_of_kafka_is_there_with_its_type_and_default() {
    let lists = [
        (&BROKER, include_str!("kafka/broker.txt"), 379),
        (&TOPIC, include_str!("kafka/topic.txt"), 38),
        (&GROUP, include_str!("kafka/group.txt"), 27),
    ];
    for (table, list, count) in lists {
        let lines: Vec<_> = list.lines().filter(|line| !line.starts_with('#')).collect();
        let wrong: Vec<_> = lines.iter().filter_map(|line| compare(table, line)).collect();
        assert_eq!(wrong, Vec::<String>::new(), "{}", table.name);
        assert_eq!(lines.len(), count, "keys of the {}", table.name);
    }
}

/// What is wrong with the table, seen from one line of Kafka's list.
fn compare(table: &Table, line: &str) -> Option<String> {
    let mut columns = line.splitn(3, ' ');
    let (name, kind, default) = (columns.next()?, columns.next()?, columns.next()?);
    let Some(key) = table.key(name) else {
        return Some(format!("`{name}` is missing"));
    };
    if key.kind.name() != kind.to_ascii_lowercase() {
        return Some(format!("`{name}` is a {kind}"));
    }
    // `broker.id` is an alias, and -1 there means what a missing `node.id` does.
    let ours = key.kafka_default.or(key.default).unwrap_or("null");
    let set_in_kafka = default == "required" || name == "broker.id";
    (!set_in_kafka && !same(key, ours, default)).then(|| format!("`{name}` is {ours}, in Kafka {default}"))
}

fn same(key: &Key, ours: &str, kafkas: &str) -> bool {
    let kafkas = kafkas.trim_matches('"');
    ours == kafkas || matches!((key.validate(ours), key.validate(kafkas)), (Ok(a), Ok(b)) if a == b)
}

/// The file that Kafka 4 ships, without its comments.
const KAFKAS_OWN: &[u8] = b"process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn the_file_that_kafka_ships_is_accepted() {
    let mut settings = Settings::new();
    settings.properties("server.properties", KAFKAS_OWN);
    let (config, warnings) = BrokerConfig::from_settings(&settings).unwrap();
    assert_eq!((config.node_id, config.log_dirs.unwrap()[0].as_str()), (1, "/tmp/kraft-combined-logs"));
    assert_eq!(config.listeners, ["PLAINTEXT://:9092", "CONTROLLER://:9093"]);
    assert!(warnings.iter().any(|warning| warning.key == "num.io.threads"), "{warnings:?}");
    assert!(!warnings.iter().any(|warning| warning.key == "log.segment.bytes"), "{warnings:?}");
}

#[test]
fn a_broker_without_any_setting_has_a_configuration() {
    let config = BrokerConfig::default();
    config.validate().unwrap();
    assert_eq!(config.connections_max_idle, Some(Duration::from_secs(600)));
    assert_eq!((config.queued_max_request_bytes, config.record_validation), (None, RecordValidation::Full));
    let (back, _) = BrokerConfig::from_settings(&config.to_settings()).unwrap();
    assert_eq!(back, config);
}

#[test]
fn a_mistake_in_a_file_is_told_with_its_line() {
    let mut settings = Settings::new();
    settings.properties("server.properties", b"# one\nnum.partitons=3\nlisteners=\nnode.id=1\nbroker.id=2\n");
    assert_eq!(
        BrokerConfig::from_settings(&settings).unwrap_err().to_string(),
        "server.properties line 2: unknown key `num.partitons`; did you mean `num.partitions`?\n\
         server.properties line 3: `listeners`: `` will not do: give a value that is not empty\n\
         server.properties line 5: `broker.id` is the same setting as `node.id` (server.properties line 4), \
         with another value; keep one"
    );
}

#[test]
fn keys_of_one_listener_are_taken_and_those_of_plugins_are_known() {
    let mut settings = Settings::new();
    settings.set("listener.name.internal.ssl.keystore.location", "/k").set("rsm.config.bucket", "b");
    let (_, warnings) = BrokerConfig::from_settings(&settings).unwrap();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
}

#[test]
fn a_topic_has_its_own_values_over_its_brokers_over_the_defaults() {
    let mut broker = Settings::new();
    broker.set("log.roll.hours", "2").set("log.retention.minutes", "10").set("log.retention.hours", "1");
    broker.set("compression.type", "lz4").set("ottla.record.validation", "header");
    let broker = BROKER.parse(&broker).unwrap();
    let inherited = TOPIC.inherit(&broker).unwrap();
    assert_eq!(inherited.i64("retention.ms"), 600_000, "minutes go before hours");
    assert_eq!(inherited.inherited_from("retention.ms"), Some("log.retention.minutes"));
    assert_eq!(inherited.source("segment.bytes"), &Source::Default);

    let mut own = Settings::new();
    own.add(Setting { key: "segment.ms".into(), value: "60000".into(), source: Source::DynamicTopic });
    let config = TopicConfig::from_values(&TOPIC.parse_over(&inherited, &own).unwrap());
    assert_eq!((config.segment_ms, config.compression_type), (60_000, CompressionType::Lz4));
    assert_eq!(config.record_validation, RecordValidation::Header);
    assert_eq!(TopicConfig::from_values(&inherited).segment_ms, 7_200_000);
}

#[test]
fn defaults_of_topics_are_those_of_an_unset_broker() {
    let inherited = TOPIC.inherit(&BROKER.defaults()).unwrap();
    assert_eq!(TopicConfig::from_values(&inherited), TopicConfig::default());
    for key in TOPIC.keys() {
        let Some(first) = key.synonyms.iter().find_map(|synonym| {
            let value = BROKER.key(synonym.name)?.default?.parse::<i64>().ok()?;
            Some(if value > 0 { value * synonym.scale } else { value })
        }) else {
            continue;
        };
        assert_eq!(key.default.and_then(|d| d.parse().ok()), Some(first), "{}", key.name);
    }
}

#[test]
fn keys_that_may_change_while_the_broker_runs_are_kafkas() {
    let update = |name: &str| BROKER.key(name).map(|key| key.update);
    assert_eq!(update("log.segment.bytes"), Some(Update::ClusterWide));
    assert_eq!(update("listeners"), Some(Update::PerBroker));
    assert_eq!(update("ssl.keystore.password"), Some(Update::PerBroker));
    assert_eq!(update("node.id"), Some(Update::ReadOnly));
    assert_eq!(BROKER.keys().filter(|key| key.update != Update::ReadOnly).count(), UPDATABLE);
}

/// Keys that Kafka 4.4.0 lets change at run time and that are in its broker's table.
const UPDATABLE: usize = 107;

#[test]
fn java_classes_are_never_applied() {
    for key in BROKER.keys().filter(|key| key.kind.name() == "class") {
        assert!(matches!(key.effect, Effect::Known { .. }), "{}", key.name);
    }
}
