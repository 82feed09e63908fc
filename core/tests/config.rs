//! The clients' tables against Kafka's own list of keys, and the structs made of them.

use std::time::Duration;

use ottla::config::{
    ADMIN, Acks, AdminConfig, CONSUMER, ClientConfig, Compression, ConsumerConfig, OffsetReset, PRODUCER,
    ProducerConfig,
};
use ottla_config::{DURATION_MAX, Effect, Key, Settings, Table, Value};

#[test]
fn the_tables_are_well_formed() {
    for table in [&PRODUCER, &CONSUMER, &ADMIN] {
        assert_eq!(table.faults(), Vec::<String>::new(), "{}", table.name);
    }
}

#[test]
fn every_key_of_kafka_is_there_with_its_type_and_default() {
    let lists = [
        (&PRODUCER, include_str!("kafka/producer.txt"), 120),
        (&CONSUMER, include_str!("kafka/consumer.txt"), 120),
        (&ADMIN, include_str!("kafka/admin.txt"), 95),
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
    let Some(key) = table.key(name).filter(|key| key.name == name) else {
        return Some(format!("`{name}` is missing"));
    };
    if key.kind.name() != kind.to_ascii_lowercase() {
        return Some(format!("`{name}` is a {kind}"));
    }
    let ours = key.kafka_default.or(key.default).unwrap_or(if key.required { "required" } else { "null" });
    let java_only = matches!(key.effect, Effect::Known { .. }) && default == "required";
    (!java_only && !same(key, ours, default)).then(|| format!("`{name}` is {ours}, in Kafka {default}"))
}

fn same(key: &Key, ours: &str, kafkas: &str) -> bool {
    let kafkas = kafkas.trim_matches('"');
    // Java prints class names with the word before them.
    let kafkas = kafkas.replace("class ", "");
    ours == kafkas || matches!((key.validate(ours), key.validate(&kafkas)), (Ok(a), Ok(b)) if a == b)
}

#[test]
fn defaults_are_kafkas_but_for_the_listed_deviations() {
    let config = ProducerConfig::default();
    assert_eq!(config.linger, Duration::from_millis(5));
    assert_eq!((config.batch_size, config.buffer_memory), (128 * 1024, 64 * 1024 * 1024));
    assert_eq!((config.acks, config.enable_idempotence), (Acks::All, true));
    assert_eq!(config.connections_max_idle, Some(Duration::from_secs(540)));
    assert_eq!(ConsumerConfig::default().prefetch_max_bytes, 64 * 1024 * 1024);
    assert_eq!(AdminConfig::default().connections_max_idle, Some(Duration::from_secs(300)));
    let deviations: Vec<_> = [&PRODUCER, &CONSUMER, &ADMIN]
        .into_iter()
        .flat_map(Table::keys)
        .filter(|key| key.kafka_default.is_some() && key.effect == Effect::Applied)
        .map(|key| key.name)
        .collect();
    // The assignors are Java's own, by their names in place of their classes'.
    let assignors = "partition.assignment.strategy";
    // Kafka waits for ever where these are not set.
    let (connect, read) = ("sasl.login.connect.timeout.ms", "sasl.login.read.timeout.ms");
    assert_eq!(
        deviations,
        [
            "batch.size",
            "buffer.memory",
            connect,
            read,
            "receive.buffer.bytes",
            "group.protocol",
            assignors,
            connect,
            read,
            "bootstrap.servers",
            connect,
            read
        ]
    );
}

#[test]
fn a_file_written_for_java_or_librdkafka_is_read() {
    let mut settings = Settings::new();
    settings.properties(
        "client.properties",
        b"metadata.broker.list=a:9092,b:9092\nacks=-1\ncompression.codec=ZSTD\nqueue.buffering.max.ms=20\n\
          key.serializer=org.apache.kafka.common.serialization.StringSerializer\ngroup.id=g\n\
          max.block.ms=9223372036854775807\nsend.buffer.bytes=-1\n",
    );
    let (config, warnings) = ProducerConfig::from_settings(&settings).unwrap();
    assert_eq!(config.bootstrap_servers, ["a:9092", "b:9092"]);
    assert_eq!((config.acks, config.compression_type), (Acks::All, Compression::Zstd));
    assert_eq!((config.linger, config.max_block), (Duration::from_millis(20), DURATION_MAX));
    assert_eq!(config.send_buffer_bytes, None);
    let warned: Vec<_> = warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["group.id", "key.serializer"]);
    assert!(warnings[0].why.contains("consumer"), "{}", warnings[0]);
}

#[test]
fn what_is_not_served_yet_is_refused_and_not_ignored() {
    let mut settings = Settings::new();
    settings.set("bootstrap.servers", "a:9093").set("auto.offset.reset", "by_duration");
    let errors = ConsumerConfig::from_settings(&settings).unwrap_err().to_string();
    assert_eq!(
        errors,
        "configuration: `auto.offset.reset`: `by_duration` will not do: give one of `latest`, `earliest`, `none`, \
         the rest is not supported yet"
    );
}

#[test]
fn a_struct_written_by_hand_is_checked_like_a_file() {
    let config = ConsumerConfig { bootstrap_servers: vec!["a:9092".into()], ..Default::default() };
    config.validate().unwrap();
    let wrong = ConsumerConfig { bootstrap_servers: vec![], max_poll_records: 0, ..config };
    let errors = wrong.validate().unwrap_err().to_string();
    assert_eq!(
        errors,
        "configuration: `bootstrap.servers`: `` will not do: give a value that is not empty\n\
         configuration: `max.poll.records`: `0` will not do: give 1 or more"
    );
}

#[test]
fn who_asks_for_idempotence_gets_it_or_an_error_as_in_kafkas_client() {
    let refused = |given: &[(&str, &str)]| {
        let mut settings = Settings::new();
        settings.set("bootstrap.servers", "a:1");
        for (key, value) in given {
            settings.set(*key, *value);
        }
        ProducerConfig::from_settings(&settings).err().map(|errors| errors.to_string())
    };
    assert_eq!(
        refused(&[("acks", "1"), ("enable.idempotence", "true")]).as_deref(),
        Some(
            "configuration: `acks`: `1` will not do: give `all`, which `enable.idempotence=true` needs, or leave that out"
        )
    );
    let without_retries = refused(&[("retries", "0"), ("enable_idempotence", "true")]).unwrap();
    assert!(without_retries.contains("`retries`: `0` will not do: give 1 or more"), "{without_retries}");
    let many = ("max.in.flight.requests.per.connection", "6");
    let under_way = refused(&[many]).unwrap();
    assert!(under_way.contains("`6` will not do: give 5 or less"), "{under_way}");
    // On by default only, it gives way.
    assert_eq!(refused(&[("acks", "1")]), None);
    assert_eq!(refused(&[("retries", "0")]), None);
    assert_eq!(refused(&[("enable.idempotence", "false"), ("acks", "0"), many]), None);
    assert_eq!(refused(&[("enable.idempotence", "true"), ("acks", "-1")]), None);
}

#[test]
fn settings_of_a_struct_give_the_struct_back() {
    let config = ProducerConfig {
        bootstrap_servers: vec!["a:1".into(), "b:2".into()],
        linger: Duration::from_millis(7),
        connections_max_idle: None,
        send_buffer_bytes: None,
        receive_buffer_bytes: Some(4096),
        acks: Acks::Leader,
        compression_type: Compression::Lz4,
        enable_idempotence: false,
        ..Default::default()
    };
    let (back, warnings) = ProducerConfig::from_settings(&config.to_settings()).unwrap();
    assert_eq!((back, warnings), (config.clone(), vec![]));
    let shared = ClientConfig::from(&config);
    assert_eq!(
        (shared.bootstrap_servers, shared.receive_buffer_bytes),
        (config.bootstrap_servers, Some(4096))
    );
    let consumer = ConsumerConfig {
        bootstrap_servers: vec!["a:1".into()],
        auto_offset_reset: OffsetReset::Earliest,
        ..Default::default()
    };
    let values = CONSUMER.parse(&consumer.to_settings()).unwrap();
    assert_eq!(values.value("auto.offset.reset"), &Value::Text("earliest".into()));
}
