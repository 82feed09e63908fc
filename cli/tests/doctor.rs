//! `ottla doctor` at set-ups that are broken in one way each: it names the cause and the fix, and so does a client's own error.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![allow(clippy::print_stderr, reason = "says what is tested")]

use std::{
    fmt::Write as _,
    fs,
    io::{Read, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::OnceLock,
    time::{Duration, Instant},
};

use ottla::{Producer, Record, Settings, config::ProducerConfig};
use ottla_interop::{
    Nobody,
    broker::TestBroker,
    kafka::{Kafka, Listener, Options},
    or_skip,
    tls::{Authority, Subject},
};
use serde_json::Value;

/// The password of everybody here, and one that is nobody's: neither is ever to be seen.
const PASSWORD: &str = "wonderland";
const WRONG_PASSWORD: &str = "hunter2";
/// A doctor takes seconds at the most where each step may take one.
const PATIENCE: Duration = Duration::from_secs(60);

// ---- the places

/// Listeners by name, with their protocols.
const LISTENERS: [(&str, &str); 9] = [
    ("PLAINTEXT", "PLAINTEXT"),
    ("TLS", "SSL"),
    ("MUTUAL", "SSL"),
    ("LOGIN", "SASL_PLAINTEXT"),
    ("SECURE", "SASL_SSL"),
    ("EXPIRED", "SSL"),
    ("FUTURE", "SSL"),
    ("ELSEWHERE", "SSL"),
    ("NEWEST", "SSL"),
];

/// A broker with a listener for each mistake, and certificates for them.
struct World {
    authority: Authority,
    other_authority: Authority,
    broker: TestBroker,
}

impl World {
    fn at(&self, listener: &str) -> String {
        self.broker.listener(LISTENERS.iter().position(|(name, _)| *name == listener).unwrap())
    }

    /// A client that trusts the broker's authority.
    fn client(&self, listener: &str, protocol: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut lines = client(&self.at(listener), protocol, more);
        if protocol.ends_with("SSL") && !more.iter().any(|(key, _)| *key == "ssl.truststore.location") {
            let trust = self.authority.certificate().display().to_string();
            lines.push(("ssl.truststore.location".into(), trust));
        }
        lines
    }
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let authority = Authority::new().unwrap();
        let properties = certificates(&authority);
        let listeners = LISTENERS.map(|(name, _)| format!("{name}://127.0.0.1:0")).join(",");
        let map = LISTENERS.map(|(name, protocol)| format!("{name}:{protocol}")).join(",");
        let users = format!("SCRAM-SHA-256=[name=alice,password={PASSWORD}]");
        let own = [
            ("listeners", listeners.as_str()),
            ("listener.security.protocol.map", map.as_str()),
            ("ottla.initial.scram.credentials", users.as_str()),
        ];
        let lines = properties.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        let broker = TestBroker::start(&lines.chain(own).collect::<Vec<_>>());
        World { authority, other_authority: Authority::new().unwrap(), broker }
    })
}

/// The lines of `server.properties` that say which listener shows what.
fn certificates(authority: &Authority) -> Vec<(String, String)> {
    let path = |path: std::path::PathBuf| path.display().to_string();
    let named = |name| Subject { name, ..Subject::BROKER };
    let elsewhere = Subject { hosts: &["elsewhere.example", "10.9.8.7"], ..named("elsewhere") };
    [
        ("ssl.keystore.type", "PEM".to_owned()),
        ("ssl.truststore.type", "PEM".to_owned()),
        ("ssl.keystore.location", path(authority.sign(Subject::BROKER).unwrap())),
        ("ssl.truststore.location", path(authority.certificate())),
        ("listener.name.mutual.ssl.client.auth", "required".to_owned()),
        (
            "listener.name.expired.ssl.keystore.location",
            path(authority.sign_for(named("expired"), Some((2020, 2021))).unwrap()),
        ),
        (
            "listener.name.future.ssl.keystore.location",
            path(authority.sign_for(named("future"), Some((2098, 2099))).unwrap()),
        ),
        ("listener.name.elsewhere.ssl.keystore.location", path(authority.sign(elsewhere).unwrap())),
        ("listener.name.newest.ssl.enabled.protocols", "TLSv1.3".to_owned()),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256".to_owned()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .to_vec()
}

/// The lines of a `client.properties` that gives no step longer than a test has.
fn client(servers: &str, protocol: &str, more: &[(&str, &str)]) -> Vec<(String, String)> {
    let base = [
        ("bootstrap.servers", servers),
        ("security.protocol", protocol),
        ("socket.connection.setup.timeout.ms", "1500"),
        ("request.timeout.ms", "1500"),
    ];
    base.iter().chain(more).map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

const fn alice(password: &str) -> [(&str, &str); 3] {
    [("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.username", "alice"), ("sasl.password", password)]
}

/// A port where a stranger answers whoever connects: at once, or once they have said something.
fn stranger(answer: &'static [u8], at_once: bool) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            std::thread::spawn(move || {
                let mut heard = [0; 1024];
                if at_once || stream.read(&mut heard).is_ok_and(|read| read > 0) {
                    _ = stream.write_all(answer);
                }
                // Keeps the connection until the other side is gone.
                while stream.read(&mut heard).is_ok_and(|read| read > 0) {}
            });
        }
    });
    address
}

/// A port that takes connections, and says nothing.
fn silence() -> String {
    stranger(b"", false)
}

/// A port where a broker answers that serves what Apache Kafka 0.10.0 did.
fn old_broker() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { return };
            std::thread::spawn(move || _ = serve_as_of_old(stream));
        }
    });
    address
}

fn serve_as_of_old(mut stream: TcpStream) -> std::io::Result<()> {
    // Produce, Fetch, ListOffsets, Metadata, FindCoordinator, ApiVersions.
    const APIS: [(i16, i16, i16); 6] = [(0, 0, 2), (1, 0, 2), (2, 0, 0), (3, 0, 1), (10, 0, 0), (18, 0, 0)];
    loop {
        let mut size = [0; 4];
        stream.read_exact(&mut size)?;
        let mut request = vec![0; u32::from_be_bytes(size) as usize];
        stream.read_exact(&mut request)?;
        let version = i16::from_be_bytes([request[2], request[3]]);
        let error: i16 = if version > 0 { 35 } else { 0 };
        let mut answer = request[4..8].to_vec();
        answer.extend(error.to_be_bytes());
        answer.extend((APIS.len() as i32).to_be_bytes());
        for (key, from, to) in APIS {
            [key, from, to].iter().for_each(|number| answer.extend(number.to_be_bytes()));
        }
        stream.write_all(&(answer.len() as u32).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

// ---- the doctor

/// What the doctor said.
struct Said {
    code: i32,
    steps: Vec<Value>,
    text: String,
}

fn doctor(lines: &[(String, String)], arguments: &[&str]) -> Said {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("client.properties");
    let mut text = String::new();
    lines.iter().for_each(|(key, value)| writeln!(text, "{key}={value}").unwrap());
    fs::write(&file, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
    command.args(["doctor", "--json", "--command-config"]).arg(&file).args(arguments);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTTLA_")) {
        command.env_remove(name);
    }
    let began = Instant::now();
    let output = command.output().unwrap();
    assert!(began.elapsed() < PATIENCE, "the doctor hangs");
    let text =
        format!("{}{}", String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    for secret in [PASSWORD, WRONG_PASSWORD] {
        assert!(!text.contains(secret), "a secret is seen: {text}");
    }
    let steps = text.lines().filter(|line| line.starts_with('{'));
    let steps = steps.map(|line| serde_json::from_str(line).unwrap()).collect();
    Said { code: output.status.code().unwrap(), steps, text }
}

impl Said {
    fn wrong(&self) -> Vec<&Value> {
        self.steps.iter().filter(|step| step["outcome"] == "wrong").collect()
    }

    fn well(&self, name: &str) -> Option<&Value> {
        self.steps.iter().find(|step| step["step"] == name && step["outcome"] == "well")
    }
}

/// A set-up that is broken.
struct Broken {
    name: &'static str,
    client: Vec<(String, String)>,
    arguments: Vec<String>,
    /// Which step finds it.
    step: &'static str,
    /// What its cause contains.
    cause: String,
    /// What its fix contains.
    fix: &'static str,
    /// What a producer's own error contains, of the cause and of the fix; `None` where a client has other ways to go on.
    error: Option<[String; 2]>,
}

fn broken(
    name: &'static str,
    client: Vec<(String, String)>,
    step: &'static str,
    cause: impl Into<String>,
    fix: &'static str,
) -> Broken {
    let cause = cause.into();
    let error = Some([cause.clone(), fix.to_owned()]);
    Broken { name, client, arguments: Vec::new(), step, cause, fix, error }
}

impl Broken {
    /// The client guesses where the doctor has looked.
    fn guessed(mut self, cause: &str, fix: &str) -> Self {
        self.error = Some([cause.to_owned(), fix.to_owned()]);
        self
    }

    fn not_met_by_a_producer(mut self) -> Self {
        self.error = None;
        self
    }

    fn check(&self) {
        eprintln!("{}", self.name);
        let arguments: Vec<&str> = self.arguments.iter().map(String::as_str).collect();
        let said = doctor(&self.client, &arguments);
        assert_eq!(said.code, 1, "{}: {}", self.name, said.text);
        let found = said.wrong();
        let first = found.first().unwrap_or_else(|| panic!("{}: nothing is found: {}", self.name, said.text));
        let (cause, fix) = (first["cause"].as_str().unwrap(), first["fix"].as_str().unwrap_or_default());
        assert_eq!(first["step"], self.step, "{}: {}", self.name, said.text);
        assert!(cause.contains(&self.cause), "{}: {cause}", self.name);
        assert!(fix.contains(self.fix), "{}: {fix}", self.name);
        if let Some([cause, fix]) = &self.error {
            let error = produce(&self.client);
            let (happened, to_do) =
                (error.what_happened(), error.what_to_do().unwrap_or_default().to_owned());
            assert!(happened.contains(cause), "{}: the client says: {error}", self.name);
            assert!(to_do.contains(fix), "{}: the client says: {error}", self.name);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains(WRONG_PASSWORD) && !shown.contains(PASSWORD), "{shown}");
        }
    }
}

/// All at once: most of their time they wait.
fn check_all(cases: &[Broken]) {
    std::thread::scope(|scope| cases.iter().for_each(|case| _ = scope.spawn(|| case.check())));
}

/// Why a producer of these settings cannot write.
fn produce(lines: &[(String, String)]) -> ottla::Error {
    let mut settings = Settings::new();
    lines.iter().for_each(|(key, value)| _ = settings.set(key.as_str(), value.as_str()));
    settings.set("max.block.ms", "3500").set("delivery.timeout.ms", "3500").set("linger.ms", "0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (config, _) = ProducerConfig::from_settings(&settings).unwrap();
        let producer = match Producer::new(config) {
            Ok(producer) => producer,
            Err(error) => return error,
        };
        match producer.send(Record::to("letters").value("x")).await {
            Ok(delivery) => delivery.await.unwrap_err(),
            Err(error) => error,
        }
    })
}

// ---- broken set-ups

#[test]
fn nobody_is_there_or_somebody_else() {
    let refused = Nobody::new().unwrap();
    let cases = [
        broken(
            "a name that no DNS knows",
            client("no-such-host.invalid:9092", "PLAINTEXT", &[]),
            "dns",
            "`no-such-host.invalid:9092` has no address",
            "check the name",
        ),
        broken(
            "a port where nothing listens",
            client(&refused.to_string(), "PLAINTEXT", &[]),
            "tcp",
            format!("`{refused}` refused the connection"),
            "check that a broker runs there",
        ),
        broken(
            "a port that says nothing",
            client(&silence(), "PLAINTEXT", &[]),
            "versions",
            "takes connections, and answers nothing",
            "check host and port",
        )
        .guessed("did not answer", ""),
        broken(
            "a server of HTTP",
            client(&stranger(b"HTTP/1.1 400 Bad Request\r\n\r\n", false), "PLAINTEXT", &[]),
            "versions",
            "speaks HTTP, not Kafka's protocol",
            "check the port",
        ),
        broken(
            "a server of something else",
            client(&stranger(b"SSH-2.0-OpenSSH_9.6\r\n", true), "PLAINTEXT", &[]),
            "versions",
            "it begins with `SSH-2.0-OpenSSH_9.6\\r\\n`",
            "check host and port",
        ),
        broken(
            "TLS at a server of something else",
            client(&stranger(b"SSH-2.0-OpenSSH_9.6\r\n", true), "SSL", &[]),
            "tls",
            "it begins with `SSH-2.0-OpenSSH_9.6\\r\\n`",
            "check host and port",
        )
        .guessed("what came is no TLS", "speak another protocol"),
        broken(
            "a broker that is too old",
            client(&old_broker(), "PLAINTEXT", &[]),
            "versions",
            "does not serve Produce in a version known here",
            "use Apache Kafka 2.1 or newer",
        )
        .not_met_by_a_producer(),
    ];
    check_all(&cases);
}

#[test]
fn an_address_that_a_broker_advertises_is_not_to_be_reached() {
    let refused = Nobody::new().unwrap();
    let advertising = |address: &str| {
        let advertised = format!("PLAINTEXT://{address}");
        TestBroker::start(&[("advertised.listeners", &advertised)])
    };
    let brokers = [advertising(&refused.to_string()), advertising("broker-7.invalid:9092")];
    let told = |broker: &TestBroker, address: &str| {
        format!("advertises `{address}`, as `{}` told: `{address}`", broker.bootstrap())
    };
    let cases = [
        broken(
            "an advertised port where nothing listens",
            client(&brokers[0].bootstrap(), "PLAINTEXT", &[]),
            "tcp",
            told(&brokers[0], &refused.to_string()) + " refused the connection",
            "let `advertised.listeners` of broker",
        ),
        broken(
            "an advertised name that no DNS knows",
            client(&brokers[1].bootstrap(), "PLAINTEXT", &[]),
            "dns",
            told(&brokers[1], "broker-7.invalid:9092") + " has no address",
            "let `advertised.listeners` of broker",
        ),
    ];
    check_all(&cases);

    let two = format!("{},{}", TestBroker::start(&[]).bootstrap(), world().at("PLAINTEXT"));
    let gone = doctor(&client(&two, "PLAINTEXT", &[]), &[]);
    assert_eq!(gone.code, 1, "one of two bootstrap servers is gone: {}", gone.text);
    assert_eq!(gone.wrong().len(), 1, "{}", gone.text);
    let other = TestBroker::start(&[]);
    let two = format!("{},{}", world().at("PLAINTEXT"), other.bootstrap());
    broken(
        "bootstrap servers of two clusters",
        client(&two, "PLAINTEXT", &[]),
        "metadata",
        format!("and `{}` of the cluster", other.bootstrap()),
        "name brokers of one cluster in `bootstrap.servers`",
    )
    .not_met_by_a_producer()
    .check();
}

#[test]
fn the_two_sides_do_not_agree_on_tls() {
    let world = world();
    let other = world.other_authority.certificate().display().to_string();
    let stranger = world.other_authority.sign(Subject::client("alice")).unwrap().display().to_string();
    let tls = |listener, more: &[(&str, &str)]| world.client(listener, "SSL", more);
    let mut cases = vec![
        broken(
            "TLS at a port of plain text",
            tls("PLAINTEXT", &[]),
            "tls",
            "speaks Kafka's protocol in plain text, and this client TLS",
            "set `security.protocol` to `PLAINTEXT`",
        )
        .guessed("the TLS handshake", "the port may be one without TLS"),
        broken(
            "plain text at a port of TLS",
            world.client("TLS", "PLAINTEXT", &[]),
            "versions",
            "speaks TLS, and this is a plain text connection",
            "set `security.protocol` to `SSL`",
        ),
        broken(
            "an authority that is not trusted",
            tls("TLS", &[("ssl.truststore.location", &other)]),
            "tls",
            "its certificate is",
            "name the authority's certificate in `ssl.truststore.location`",
        ),
        broken(
            "a certificate that has expired",
            tls("EXPIRED", &[]),
            "tls",
            "its certificate has expired",
            "renew it, or set this machine's clock right",
        ),
        broken(
            "a certificate of tomorrow, or a clock of yesterday",
            tls("FUTURE", &[]),
            "tls",
            "its certificate is not valid before",
            "set the clock of this machine",
        ),
        broken(
            "a certificate of another host",
            tls("ELSEWHERE", &[]),
            "tls",
            "its certificate is not of `127.0.0.1` but of `elsewhere.example`, `10.9.8.7`",
            "connect by a name that is in it",
        ),
        broken(
            "a listener that wants a certificate",
            tls("MUTUAL", &[]),
            "tls",
            "it wants a certificate of this client",
            "name one in `ssl.keystore.location`",
        ),
        broken(
            "a certificate that the broker does not trust",
            tls("MUTUAL", &[("ssl.keystore.location", &stranger)]),
            "tls",
            "it does not trust the certificate that this client shows",
            "check `ssl.keystore.location`",
        ),
        broken(
            "no version in common",
            tls("NEWEST", &[("ssl.enabled.protocols", "TLSv1.2")]),
            "tls",
            "the two sides have no version or cipher in common",
            "check `ssl.enabled.protocols`",
        ),
    ];
    let missing = tls("TLS", &[("ssl.truststore.location", "/no/such.pem")]);
    cases.push(broken(
        "a trust store that is not there",
        missing,
        "configuration",
        "`/no/such.pem` cannot be read",
        "`ssl.`",
    ));
    check_all(&cases);
}

#[test]
fn the_two_sides_do_not_agree_on_the_login() {
    let world = world();
    let with_login = |listener, protocol, more: &[(&str, &str)]| world.client(listener, protocol, more);
    let mechanism =
        [("sasl.mechanism", "SCRAM-SHA-512"), ("sasl.username", "alice"), ("sasl.password", PASSWORD)];
    let plain = [("sasl.mechanism", "PLAIN"), ("sasl.username", "alice"), ("sasl.password", PASSWORD)];
    let cases = [
        broken(
            "a login where none is configured",
            with_login("SECURE", "SSL", &[]),
            "metadata",
            "wants a login (SASL), and `security.protocol=SSL` has none; it offers `SCRAM-SHA-256`",
            "set `security.protocol` to `SASL_SSL`",
        )
        .guessed("closed the connection after it had told its versions", "the port may want SASL"),
        broken(
            "a login where nobody logs in",
            with_login("TLS", "SASL_SSL", &alice(PASSWORD)),
            "sasl",
            "nobody logs in at this listener",
            "set `security.protocol` to `PLAINTEXT` or `SSL`",
        ),
        broken(
            "a mechanism that is not offered",
            with_login("SECURE", "SASL_SSL", &mechanism),
            "sasl",
            "it does not offer SCRAM-SHA-512; it offers SCRAM-SHA-256",
            "set `sasl.mechanism` to one that both sides know",
        ),
        broken(
            "a wrong password",
            with_login("SECURE", "SASL_SSL", &alice(WRONG_PASSWORD)),
            "sasl",
            "`alice` cannot log in by SCRAM-SHA-256",
            "check user name and password",
        ),
        broken(
            "a password in plain text",
            with_login("LOGIN", "SASL_PLAINTEXT", &plain),
            "configuration",
            "PLAIN without TLS shows the password to everybody on the way",
            "set `security.protocol` to `SASL_SSL`",
        ),
    ];
    check_all(&cases);
}

#[test]
fn what_the_user_may_not_do_is_said_with_the_command_that_allows_it() {
    let users = format!(
        "SCRAM-SHA-256=[name=admin,password={PASSWORD}],SCRAM-SHA-256=[name=alice,password={PASSWORD}]"
    );
    let broker = TestBroker::start(&[
        ("listeners", "LOGIN://127.0.0.1:0"),
        ("listener.security.protocol.map", "LOGIN:SASL_PLAINTEXT"),
        ("inter.broker.listener.name", "LOGIN"),
        ("sasl.enabled.mechanisms", "SCRAM-SHA-256"),
        ("ottla.initial.scram.credentials", &users),
        ("authorizer.class.name", "StandardAuthorizer"),
        ("super.users", "User:admin"),
    ]);
    let as_user = |user| {
        let login =
            [("sasl.mechanism", "SCRAM-SHA-256"), ("sasl.username", user), ("sasl.password", PASSWORD)];
        client(&broker.bootstrap(), "SASL_PLAINTEXT", &login)
    };
    let admin = doctor(&as_user("admin"), &[]);
    assert_eq!(admin.code, 0, "{}", admin.text);
    broken(
        "a user who may not make topics",
        as_user("alice"),
        "topic",
        "AUTHORIZATION_FAILED",
        "`ottla acl add --allow-principal User:alice --operation Create --cluster`",
    )
    .not_met_by_a_producer()
    .check();
    let ottla = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ottla"));
        command.args(arguments).args(["--bootstrap-server", &broker.bootstrap()]);
        for (key, value) in as_user("admin").iter().filter(|(key, _)| key != "bootstrap.servers") {
            command.arg("--set").arg(format!("{key}={value}"));
        }
        assert!(command.output().unwrap().status.success(), "{arguments:?}");
    };
    ottla(&["topic", "create", "letters"]);
    ottla(&[
        "acl",
        "add",
        "--allow-principal",
        "User:alice",
        "--operation",
        "Describe",
        "--topic",
        "letters",
    ]);
    let mut case = broken(
        "a user who may see a topic and not write to it",
        as_user("alice"),
        "produce",
        "AUTHORIZATION_FAILED",
        "`ottla acl add --allow-principal User:alice --operation Write --topic letters`",
    )
    .guessed("AUTHORIZATION_FAILED", "ask for an ACL");
    case.arguments = vec!["--topic".into(), "letters".into()];
    case.check();
    ottla(&["acl", "add", "--allow-principal", "User:alice", "--operation", "Write", "--topic", "letters"]);
    let mut case = broken(
        "a user who may write and not read",
        as_user("alice"),
        "fetch",
        "TOPIC_AUTHORIZATION_FAILED",
        "`ottla acl add --allow-principal User:alice --operation Read --topic letters`",
    )
    .not_met_by_a_producer();
    case.arguments = vec!["--topic".into(), "letters".into()];
    case.check();
}

// ---- and sound ones

#[test]
fn where_all_is_well_it_says_so_and_leaves_nothing_behind() {
    let world = world();
    let plain = doctor(&client(&world.at("PLAINTEXT"), "PLAINTEXT", &[]), &[]);
    let secure = doctor(&world.client("SECURE", "SASL_SSL", &alice(PASSWORD)), &[]);
    for said in [&plain, &secure] {
        assert_eq!((said.code, said.wrong().len()), (0, 0), "{}", said.text);
        for name in ["dns", "tcp", "versions", "metadata", "topic", "produce", "fetch", "clock", "delete"] {
            assert!(said.well(name).is_some(), "{name}: {}", said.text);
        }
    }
    let tls = &secure.well("tls").unwrap()["found"];
    assert_eq!(tls["version"], "TLSv1.3");
    assert_eq!(tls["hosts"], "localhost, 127.0.0.1");
    assert!(tls["certificate"].as_str().unwrap().contains("CN=broker") && tls["valid until"].is_string());
    let sasl = &secure.well("sasl").unwrap()["found"];
    assert_eq!((sasl["user"].as_str(), sasl["mechanism"].as_str()), (Some("alice"), Some("SCRAM-SHA-256")));
    let mutual = world.authority.sign(Subject::client("alice")).unwrap().display().to_string();
    let mutual = doctor(&world.client("MUTUAL", "SSL", &[("ssl.keystore.location", &mutual)]), &[]);
    assert_eq!(mutual.code, 0, "{}", mutual.text);

    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ottla"))
            .args(arguments)
            .args(["--bootstrap-server", &world.at("PLAINTEXT")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let topics = run(&["topic", "list"]);
    for said in [&plain, &secure, &mutual] {
        let own = said.well("topic").unwrap()["target"].as_str().unwrap();
        assert!(own.starts_with("ottla-doctor-") && !topics.contains(own), "its topic is gone: {topics}");
    }
    run(&["topic", "create", "mine"]);
    let text = run(&["doctor", "--topic", "mine"]);
    assert!(text.ends_with("all is well\n"), "{text}");
    assert!(text.contains("not tried: a topic of its own would tell the broker's time"), "{text}");
    assert!(!text.contains('\x1b'), "colours are for terminals: {text}");
}

#[test]
fn a_command_that_makes_no_sense_is_told_from_a_finding() {
    let said = doctor(&client("localhost:9092", "PLAINTEXT", &[("bootstrap.serverz", "x")]), &[]);
    assert_eq!(said.code, 2, "{}", said.text);
    assert!(said.text.contains("bootstrap.serverz"), "{}", said.text);
    let output =
        Command::new(env!("CARGO_BIN_EXE_ottla")).args(["doctor", "--no-such-flag"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

// ---- Apache Kafka

#[test]
fn apache_kafka_is_examined_as_ours_is() {
    let authority = Authority::new().unwrap();
    let mut properties = certificates(&authority);
    let jaas = "org.apache.kafka.common.security.scram.ScramLoginModule required;";
    for listener in ["login", "secure"] {
        let key = format!("listener.name.{listener}.scram-sha-256.sasl.jaas.config");
        properties.push((key, jaas.to_owned()));
    }
    let options = Options {
        listeners: LISTENERS.map(|(name, protocol)| Listener { name, protocol }).to_vec(),
        properties,
        format: vec!["--add-scram".into(), format!("SCRAM-SHA-256=[name=alice,password={PASSWORD}]")],
        ..Options::default()
    };
    let Some(kafka) = or_skip(Kafka::start(options)) else { return };
    let trust = authority.certificate().display().to_string();
    let at = |listener: &str, protocol, more: &[(&str, &str)]| {
        let more: Vec<_> =
            more.iter().copied().chain([("ssl.truststore.location", trust.as_str())]).collect();
        client(&kafka.bootstrap_of(listener).unwrap(), protocol, &more)
    };
    for client in [at("PLAINTEXT", "PLAINTEXT", &[]), at("SECURE", "SASL_SSL", &alice(PASSWORD))] {
        let said = doctor(&client, &[]);
        assert_eq!((said.code, said.wrong().len()), (0, 0), "{}", said.text);
        assert!(said.well("fetch").is_some() && said.well("clock").is_some(), "{}", said.text);
    }
    let cases = [
        broken(
            "TLS at Apache Kafka's port of plain text",
            at("PLAINTEXT", "SSL", &[]),
            "tls",
            "speaks Kafka's protocol in plain text, and this client TLS",
            "set `security.protocol` to `PLAINTEXT`",
        )
        .guessed("the TLS handshake", "the port may be one without TLS"),
        broken(
            "a login at Apache Kafka where none is configured",
            at("SECURE", "SSL", &[]),
            "metadata",
            "wants a login (SASL), and `security.protocol=SSL` has none; it offers `SCRAM-SHA-256`",
            "set `security.protocol` to `SASL_SSL`",
        )
        .guessed("closed the connection after it had told its versions", "the port may want SASL"),
        broken(
            "a wrong password at Apache Kafka",
            at("SECURE", "SASL_SSL", &alice(WRONG_PASSWORD)),
            "sasl",
            "`alice` cannot log in by SCRAM-SHA-256",
            "check user name and password",
        ),
    ];
    check_all(&cases);
}
