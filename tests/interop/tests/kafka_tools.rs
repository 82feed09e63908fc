//! Kafka's own command-line tools against our broker and our files.

use ottla_interop::{
    broker::TestBroker,
    or_skip,
    peers::{self, kafka_tool},
};

/// A tool's output, or its failure as the test's.
fn tool(class: &str, args: &[&str], input: Option<&str>) -> String {
    kafka_tool(class, args, input).unwrap_or_else(|error| panic!("{error:#}"))
}

#[test]
fn topics_are_created_listed_described_altered_and_deleted() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[]);
    let bootstrap = broker.bootstrap();
    let topics = |args: &[&str]| {
        let args = [&["--bootstrap-server", &bootstrap], args].concat();
        tool("org.apache.kafka.tools.TopicCommand", &args, None)
    };
    topics(&["--create", "--topic", "orders", "--partitions", "3", "--config", "retention.ms=3600000"]);
    assert_eq!(topics(&["--list"]).trim(), "orders");
    let described = topics(&["--describe", "--topic", "orders"]);
    assert!(described.contains("PartitionCount: 3"), "{described}");
    assert!(described.contains("ReplicationFactor: 1"), "{described}");
    assert!(described.contains("retention.ms=3600000"), "{described}");
    assert_eq!(described.matches("Leader: 1").count(), 3, "{described}");
    topics(&["--alter", "--topic", "orders", "--partitions", "5"]);
    assert!(topics(&["--describe", "--topic", "orders"]).contains("PartitionCount: 5"));
    topics(&["--delete", "--topic", "orders"]);
    assert_eq!(topics(&["--list"]).trim(), "");
}

#[test]
fn configurations_are_read_changed_and_read_again() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[]);
    let bootstrap = broker.bootstrap();
    tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", &bootstrap, "--create", "--topic", "t"],
        None,
    );
    let configs = |args: &[&str]| {
        let args =
            [&["--bootstrap-server", &bootstrap, "--entity-type", "topics", "--entity-name", "t"], args]
                .concat();
        tool("kafka.admin.ConfigCommand", &args, None)
    };
    configs(&["--alter", "--add-config", "max.message.bytes=2000000,segment.ms=60000"]);
    let described = configs(&["--describe"]);
    assert!(described.contains("max.message.bytes=2000000"), "{described}");
    configs(&["--alter", "--delete-config", "segment.ms"]);
    let described = configs(&["--describe"]);
    assert!(!described.contains("segment.ms=60000"), "{described}");
    let all = configs(&["--describe", "--all"]);
    assert!(all.contains("DEFAULT_CONFIG:message.max.bytes=1048588"), "{all}");
    let broker_all = tool(
        "kafka.admin.ConfigCommand",
        &[
            "--bootstrap-server",
            &bootstrap,
            "--entity-type",
            "brokers",
            "--entity-name",
            "1",
            "--describe",
            "--all",
        ],
        None,
    );
    assert!(broker_all.contains("num.partitions=1"), "{broker_all}");
}

#[test]
fn groups_are_configured_found_again_and_taken_back() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[("group.consumer.session.timeout.ms", "46000")]);
    let bootstrap = broker.bootstrap();
    let configs = |args: &[&str]| {
        let args = [&["--bootstrap-server", &bootstrap, "--entity-type", "groups"], args].concat();
        tool("kafka.admin.ConfigCommand", &args, None)
    };
    let g = ["--entity-name", "g"];
    configs(&[&g[..], &["--alter", "--add-config", "consumer.session.timeout.ms=50000"]].concat());
    let described = configs(&[&g[..], &["--describe"]].concat());
    assert!(described.contains("consumer.session.timeout.ms=50000"), "{described}");
    assert!(described.contains("DYNAMIC_GROUP_CONFIG:consumer.session.timeout.ms=50000"), "{described}");
    assert!(
        described.contains("STATIC_BROKER_CONFIG:group.consumer.session.timeout.ms=46000"),
        "{described}"
    );
    let every = configs(&["--describe"]);
    assert!(every.contains("Dynamic configs for group g are:"), "{every}");
    let all = configs(&[&g[..], &["--describe", "--all"]].concat());
    assert!(all.contains("share.auto.offset.reset=latest"), "{all}");
    configs(&[&g[..], &["--alter", "--delete-config", "consumer.session.timeout.ms"]].concat());
    let described = configs(&[&g[..], &["--describe"]].concat());
    assert!(described.contains("doesn't have dynamic config"), "{described}");
}

#[test]
fn console_tools_verifiable_and_performance_clients_work_and_offsets_are_found() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[("num.partitions", "2")]);
    let bootstrap = broker.bootstrap();
    let lines: String = (0..100).map(|i| format!("key-{i}:value-{i}\n")).collect();
    tool(
        "org.apache.kafka.tools.ConsoleProducer",
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "console",
            "--reader-property",
            "parse.key=true",
            "--reader-property",
            "key.separator=:",
        ],
        Some(&lines),
    );
    let offsets = tool(
        "org.apache.kafka.tools.GetOffsetShell",
        &["--bootstrap-server", &bootstrap, "--topic", "console"],
        None,
    );
    let mut read = 0;
    for line in offsets.lines() {
        let [_, partition, count] = line.split(':').collect::<Vec<_>>()[..] else { panic!("{offsets}") };
        let count: usize = count.parse().unwrap();
        let text = tool(
            "org.apache.kafka.tools.consumer.ConsoleConsumer",
            &[
                "--bootstrap-server",
                &bootstrap,
                "--topic",
                "console",
                "--partition",
                partition,
                "--offset",
                "earliest",
                "--max-messages",
                &count.to_string(),
                "--timeout-ms",
                "30000",
                "--formatter-property",
                "print.key=true",
            ],
            None,
        );
        for line in text.lines() {
            let (key, value) = line.split_once('\t').unwrap();
            assert_eq!(key.strip_prefix("key-"), value.strip_prefix("value-"), "{line}");
            read += 1;
        }
    }
    assert_eq!(read, 100);

    let said = tool(
        "org.apache.kafka.tools.VerifiableProducer",
        &["--bootstrap-server", &bootstrap, "--topic", "verified", "--max-messages", "500", "--acks", "-1"],
        None,
    );
    assert_eq!(said.matches("producer_send_success").count(), 500);
    assert!(!said.contains("producer_send_error"), "{said}");

    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let said = tool(
            "org.apache.kafka.tools.ProducerPerformance",
            &[
                "--bootstrap-server",
                &bootstrap,
                "--topic",
                "performance",
                "--num-records",
                "20000",
                "--record-size",
                "100",
                "--throughput",
                "-1",
                "--command-property",
                &format!("compression.type={codec}"),
            ],
            None,
        );
        assert!(said.contains("20000 records sent"), "{said}");
    }
}

#[test]
fn log_directories_are_described_with_their_partitions() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let broker = TestBroker::start(&[]);
    let bootstrap = broker.bootstrap();
    tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--bootstrap-server", &bootstrap, "--create", "--topic", "t", "--partitions", "2"],
        None,
    );
    let text = tool(
        "org.apache.kafka.tools.LogDirsCommand",
        &["--bootstrap-server", &bootstrap, "--describe", "--topic-list", "t"],
        None,
    );
    let directory = broker.directory().display().to_string();
    for words in ["\"partition\":\"t-0\"", "\"partition\":\"t-1\"", "\"error\":null", &directory] {
        assert!(text.contains(words), "{words} in {text}");
    }
}

#[test]
fn dump_log_segments_reads_every_file_that_we_write() {
    if or_skip(peers::java()).is_none() {
        return;
    }
    let mut broker = TestBroker::start(&[("log.segment.bytes", "1048576")]);
    let bootstrap = broker.bootstrap();
    tool(
        "org.apache.kafka.tools.ProducerPerformance",
        &[
            "--bootstrap-server",
            &bootstrap,
            "--topic",
            "dumped",
            "--num-records",
            "30000",
            "--record-size",
            "100",
            "--throughput",
            "-1",
        ],
        None,
    );
    broker.stop();
    let log = broker.directory().join("dumped-0");
    let mut kinds = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(&log).unwrap() {
        let path = entry.unwrap().path();
        let Some(kind) = path.extension().and_then(|e| e.to_str()).map(str::to_owned) else { continue };
        if !["log", "index", "timeindex", "snapshot"].contains(&kind.as_str()) {
            continue;
        }
        let file = path.display().to_string();
        let mut args = vec!["--files", &file, "--deep-iteration"];
        if kind == "index" {
            args.push("--index-sanity-check");
        }
        let text = tool("org.apache.kafka.tools.DumpLogSegments", &args, None);
        for wrong in
            ["Exception", "Mismatch", "mismatch", "corrupt", "isvalid: false", "Found timestamp mismatch"]
        {
            assert!(!text.contains(wrong), "{file}: {text}");
        }
        *kinds.entry(kind).or_insert(0) += 1;
    }
    assert!(kinds.get("log").is_some_and(|n| *n >= 3), "{kinds:?}");
    for kind in ["index", "timeindex", "snapshot"] {
        assert!(kinds.contains_key(kind), "{kinds:?}");
    }
    let metadata =
        broker.directory().join("__cluster_metadata-0/00000000000000000000.log").display().to_string();
    let text = tool(
        "org.apache.kafka.tools.DumpLogSegments",
        &["--cluster-metadata-decoder", "--files", &metadata],
        None,
    );
    assert!(text.contains("TOPIC_RECORD") && text.contains("\"name\":\"dumped\""), "{text}");
}
