//! Other people's clients, and Kafka's own tools, over every kind of secured connection to our broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fmt::Write,
    fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use ottla::{Admin, ScramMechanism, Settings, config::AdminConfig};
use ottla_interop::{
    Missing,
    broker::TestBroker,
    or_skip,
    peers::{self, Peer},
    record::{PeerRecord, every_shape},
    tls::{Authority, Subject},
};

const TIMESTAMP: i64 = 1_760_000_000_000;
const JAAS: &str = "org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"wonder\";";

/// A broker that listens in every way, and an authority that all trust.
struct Secured {
    authority: Authority,
    broker: TestBroker,
}

/// A way to connect.
#[derive(Clone, Copy)]
struct Way {
    listener: usize,
    protocol: &'static str,
    mechanism: Option<&'static str>,
    shows_certificate: bool,
}

/// Every protocol, and every mechanism.
const WAYS: [Way; 6] = [
    Way { listener: 1, protocol: "SSL", mechanism: None, shows_certificate: false },
    Way { listener: 2, protocol: "SSL", mechanism: None, shows_certificate: true },
    Way { listener: 3, protocol: "SASL_SSL", mechanism: Some("PLAIN"), shows_certificate: false },
    Way { listener: 3, protocol: "SASL_SSL", mechanism: Some("SCRAM-SHA-256"), shows_certificate: false },
    Way { listener: 3, protocol: "SASL_SSL", mechanism: Some("SCRAM-SHA-512"), shows_certificate: false },
    Way {
        listener: 4,
        protocol: "SASL_PLAINTEXT",
        mechanism: Some("SCRAM-SHA-512"),
        shows_certificate: false,
    },
];

impl Secured {
    fn start() -> Self {
        let authority = Authority::new().unwrap();
        let broker = authority.sign(Subject::BROKER).unwrap().display().to_string();
        let trust = authority.certificate().display().to_string();
        let listeners =
            ["PLAINTEXT", "TLS", "MUTUAL", "SECURE", "LOGIN"].map(|name| format!("{name}://127.0.0.1:0"));
        let broker = TestBroker::start(&[
            ("listeners", &listeners.join(",")),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,TLS:SSL,MUTUAL:SSL,SECURE:SASL_SSL,LOGIN:SASL_PLAINTEXT",
            ),
            ("ssl.keystore.location", &broker),
            ("ssl.truststore.location", &trust),
            ("listener.name.mutual.ssl.client.auth", "required"),
            ("sasl.enabled.mechanisms", "SCRAM-SHA-512,SCRAM-SHA-256"),
            ("listener.name.secure.sasl.enabled.mechanisms", "SCRAM-SHA-512,SCRAM-SHA-256,PLAIN"),
            ("listener.name.secure.plain.sasl.jaas.config", JAAS),
            (
                "ottla.initial.scram.credentials",
                "SCRAM-SHA-256=[name=alice,password=wonder],SCRAM-SHA-512=[name=alice,password=wonder]",
            ),
            ("group.initial.rebalance.delay.ms", "0"),
        ]);
        Self { authority, broker }
    }

    /// A client's properties for a way to connect.
    fn properties(&self, way: Way, password: &str) -> PathBuf {
        let mut text = format!("security.protocol={}\n", way.protocol);
        if way.protocol.ends_with("SSL") {
            let trust = self.authority.certificate();
            writeln!(text, "ssl.truststore.type=PEM\nssl.truststore.location={}", trust.display()).unwrap();
        }
        if way.shows_certificate {
            let own = self.authority.sign(Subject::client("alice")).unwrap();
            writeln!(text, "ssl.keystore.type=PEM\nssl.keystore.location={}", own.display()).unwrap();
        }
        if let Some(mechanism) = way.mechanism {
            let module =
                if mechanism == "PLAIN" { "plain.PlainLoginModule" } else { "scram.ScramLoginModule" };
            writeln!(
                text,
                "sasl.mechanism={mechanism}\nsasl.username=alice\nsasl.password={password}\n\
                 sasl.jaas.config=org.apache.kafka.common.security.{module} required username=\"alice\" \
                 password=\"{password}\";"
            )
            .unwrap();
        }
        let name = format!("{}-{}.properties", way.listener, fastrand::u32(..));
        let path = self.authority.directory().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    fn bootstrap(&self, way: Way) -> String {
        self.broker.listener(way.listener)
    }
}

fn peers() -> Vec<Peer> {
    [peers::confluent(), peers::kafka_python(), peers::java()].into_iter().filter_map(or_skip).collect()
}

#[test]
fn every_client_writes_and_reads_over_every_protocol_and_mechanism() {
    let secured = Secured::start();
    for peer in peers() {
        for (number, way) in WAYS.into_iter().enumerate() {
            let peer = peer.connecting(&secured.properties(way, "wonder"));
            let (bootstrap, topic) = (secured.bootstrap(way), format!("{}-{number}", peer.name));
            let mut records: Vec<PeerRecord> = peer.writable(every_shape(1, TIMESTAMP));
            records.iter_mut().for_each(|record| record.partition = 0);
            peer.produce(&bootstrap, &topic, "none", &records).unwrap();
            let read = peer.consume(&bootstrap, &topic, records.len()).unwrap();
            assert!(read == records, "{} reads {topic} differently", peer.name);
        }
    }
    let Some(kafkajs) = or_skip(peers::kafkajs()) else { return };
    for (number, way) in WAYS.into_iter().enumerate() {
        let kafkajs = kafkajs.connecting(&secured.properties(way, "wonder"));
        let output =
            kafkajs.run(&["echo", &secured.bootstrap(way), &format!("kafkajs-{number}"), "hush"], None);
        assert_eq!(String::from_utf8(output.unwrap().stdout).unwrap(), "hush\n", "{} {number}", way.protocol);
    }
}

#[test]
fn nobody_talks_the_broker_into_an_older_tls_or_a_weaker_mechanism() {
    let openssl = match Command::new("openssl").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing("openssl is not installed".into()).into()),
    };
    let Some(()) = or_skip(openssl) else { return };
    let secured = Secured::start();
    let shakes_hands = |version: &str| {
        let tried = Command::new("openssl")
            .args(["s_client", version, "-cipher", "ALL:@SECLEVEL=0", "-connect"])
            .arg(secured.broker.listener(1))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        // Its exit code says whether there was a handshake.
        (tried.status.success(), String::from_utf8_lossy(&tried.stderr).into_owned())
    };
    for version in ["-tls1", "-tls1_1"] {
        let (is_in, said) = shakes_hands(version);
        assert!(!is_in && said.contains("SSL alert number"), "{version}: {said}");
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let (is_in, said) = shakes_hands(version);
        assert!(is_in, "{version}: {said}");
    }
    // A mechanism that another listener has, where the password would go in the clear.
    let mut settings = Settings::new();
    for (key, value) in [
        ("bootstrap.servers", secured.broker.listener(4).as_str()),
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "alice"),
        ("sasl.password", "wonder"),
        ("ottla.sasl.plain.without.tls", "true"),
    ] {
        settings.set(key, value);
    }
    let (config, _) = AdminConfig::from_settings(&settings).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let admin = Admin::new(config).unwrap();
    let refused = runtime.block_on(admin.describe_cluster()).unwrap_err().to_string();
    assert!(refused.contains("SCRAM-SHA-512, SCRAM-SHA-256"), "{refused}");
}

#[test]
fn kafkas_tools_make_users_who_then_log_in_and_whoever_has_another_password_does_not() {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    let secured = Secured::start();
    let [.., way] = WAYS;
    let bootstrap = secured.bootstrap(way);
    let admin = secured.properties(way, "wonder").display().to_string();
    let configs = |args: &[&str]| {
        let common = ["--bootstrap-server", &bootstrap, "--command-config", &admin, "--entity-type", "users"];
        peers::kafka_tool(CONFIGS, &[&common[..], args].concat(), None)
    };
    let add = [
        "--alter",
        "--entity-name",
        "bob",
        "--add-config",
        "SCRAM-SHA-512=[iterations=8192,password=builder]",
    ];
    let Some(added) = or_skip(configs(&add)) else { return };
    assert!(added.contains("Completed updating config for user bob"), "{added}");
    assert_eq!(rounds_of(&secured.broker.listener(0), "bob"), [(ScramMechanism::Sha512, 8192)]);

    let as_bob = |password: &str| {
        let path = secured.properties(way, password);
        fs::write(&path, fs::read_to_string(&path).unwrap().replace("alice", "bob")).unwrap();
        let path = path.display().to_string();
        peers::kafka_tool(
            TOPICS,
            &["--bootstrap-server", &bootstrap, "--command-config", &path, "--list"],
            None,
        )
    };
    as_bob("builder").unwrap();
    let error = format!("{:#}", as_bob("wonder").unwrap_err());
    assert!(error.contains("invalid credentials with SASL mechanism SCRAM-SHA-512"), "{error}");

    configs(&["--alter", "--entity-name", "bob", "--delete-config", "SCRAM-SHA-512"]).unwrap();
    assert!(as_bob("builder").is_err(), "a user who was removed does not log in");
}

#[test]
fn kafkas_tool_adds_lists_and_removes_rules_which_then_hold() {
    const ACLS: &str = "org.apache.kafka.tools.AclCommand";
    let broker = TestBroker::start(&[
        ("listeners", "PLAINTEXT://127.0.0.1:0,LOGIN://127.0.0.1:0"),
        ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,LOGIN:SASL_PLAINTEXT"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-512"),
        ("ottla.initial.scram.credentials", "SCRAM-SHA-512=[name=alice,password=wonder]"),
        ("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ]);
    let bootstrap = broker.listener(0);
    let acls =
        |args: &[&str]| peers::kafka_tool(ACLS, &[&["--bootstrap-server", &bootstrap], args].concat(), None);
    let rule = [
        "--allow-principal",
        "User:alice",
        "--producer",
        "--topic",
        "let",
        "--resource-pattern-type",
        "prefixed",
    ];
    let Some(added) = or_skip(acls(&[&["--add"], &rule[..]].concat())) else { return };
    assert!(added.contains("ResourcePattern(resourceType=TOPIC, name=let, patternType=PREFIXED)"), "{added}");
    for operation in ["WRITE", "DESCRIBE", "CREATE"] {
        let line = format!("principal=User:alice, host=*, operation={operation}, permissionType=ALLOW");
        assert!(added.contains(&line), "{added}");
    }
    let listed = acls(&["--list", "--topic", "letters", "--resource-pattern-type", "match"]).unwrap();
    assert_eq!(listed.matches("principal=User:alice").count(), 3, "{listed}");

    let make = |topic: &str| {
        let settings = [
            ("bootstrap.servers", broker.listener(1)),
            ("security.protocol", "SASL_PLAINTEXT".to_owned()),
            ("sasl.mechanism", "SCRAM-SHA-512".to_owned()),
            ("sasl.username", "alice".to_owned()),
            ("sasl.password", "wonder".to_owned()),
        ];
        let mut all = ottla::Settings::new();
        for (key, value) in settings {
            all.set(key, value);
        }
        let admin = Admin::new(AdminConfig::from_settings(&all).unwrap().0).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(admin.create_topic(ottla::NewTopic::new(topic))).map(drop)
    };
    make("letters").unwrap();
    let error = make("parcels").unwrap_err();
    assert_eq!(error.code(), Some(ottla::ErrorCode::TOPIC_AUTHORIZATION_FAILED), "{error}");

    acls(&[&["--remove", "--force"], &rule[..]].concat()).unwrap();
    assert!(!acls(&["--list"]).unwrap().contains("User:alice"));
    assert!(make("letters-again").is_err(), "the rule is gone");
}

/// How a user may log in, and with how many rounds of hashing.
fn rounds_of(bootstrap: &str, user: &str) -> Vec<(ScramMechanism, u32)> {
    let config = AdminConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..AdminConfig::default() };
    let admin = Admin::new(config).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let described = runtime.block_on(admin.describe_scram_users([user])).unwrap().remove(0).1.unwrap();
    described.into_iter().map(|it| (it.mechanism, it.iterations)).collect()
}
