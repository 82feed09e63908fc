//! The guide's page on secured connections, run as it stands, in its order; and what it does not show of `ottla user`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

use ottla_interop::{Missing, broker::TestBroker, or_skip};

const PATIENCE: Duration = Duration::from_secs(60);

/// A fenced block of a page.
struct Block {
    language: String,
    text: String,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match (line.strip_prefix("```"), is_open) {
            (Some(_), true) => is_open = false,
            (Some(language), false) => {
                is_open = true;
                blocks.push(Block { language: language.to_owned(), text: String::new() });
            }
            (None, true) => {
                let block = blocks.last_mut().unwrap();
                block.text += line;
                block.text.push('\n');
            }
            (None, false) => {}
        }
    }
    blocks
}

/// A shell in `directory`, in which `ottla` is our program.
fn shell(directory: &Path, script: &str) -> Command {
    let programs = Path::new(env!("CARGO_BIN_EXE_ottla")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).current_dir(directory).env("PATH", path);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTTLA_")) {
        shell.env_remove(name);
    }
    shell
}

fn run(directory: &Path, script: &str) -> String {
    let Output { status, stdout, stderr } = shell(directory, script).output().unwrap();
    let complaints = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{script}\n{complaints}");
    String::from_utf8(stdout).unwrap()
}

/// Kills it when dropped.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_guide_to_secured_connections_does_what_it_says() {
    let openssl = match Command::new("openssl").arg("version").output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing("openssl is not installed".into()).into()),
    };
    let Some(()) = or_skip(openssl) else { return };
    let page = fs::read_to_string(ottla_interop::path("docs/guide/securing-connections.md")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut broker = None;
    let mut printed = String::new();
    for Block { language, text } in blocks(&page) {
        let text = text.replace("9093", &port.to_string());
        match language.as_str() {
            "properties" => {
                let name = text.lines().next().unwrap().strip_prefix("# ").unwrap();
                fs::write(directory.path().join(name), &text).unwrap();
            }
            "sh" if text.contains("ottla broker") => {
                // The shell becomes the broker, and is killed with it.
                let text = text.replace("\nottla broker", "\nexec ottla broker");
                let mut shell = shell(directory.path(), &text);
                broker = Some(Background(shell.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()));
                let end = Instant::now() + PATIENCE;
                while TcpStream::connect(("localhost", port)).is_err() {
                    assert!(Instant::now() < end, "the broker does not listen");
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            "sh" => printed += &run(directory.path(), &text),
            _ => {}
        }
    }
    assert!(broker.is_some(), "the page starts a broker");
    assert!(printed.contains("alice  SCRAM-SHA-512        4096"), "{printed}");
    assert!(printed.contains("\nhello\n"), "{printed}");
    let quota =
        |line: &str| printed.lines().any(|it| it.split_whitespace().collect::<Vec<_>>().join(" ") == line);
    assert!(quota("alice - - producer_byte_rate 1048576"), "{printed}");
    assert!(quota("<default> <default> - request_percentage 50"), "{printed}");
    assert!(quota("- - <default> connection_creation_rate 100"), "{printed}");
    let quotas = run(directory.path(), "ottla quota list --json --config admin.properties");
    assert!(quotas.lines().count() == 2 && !quotas.contains("alice"), "{quotas}");
    let users = run(directory.path(), "ottla user list --json --config admin.properties");
    assert!(users.contains(r#""user":"admin""#) && users.lines().count() == 1, "{users}");
    // Who was removed is out, and is told so without the password.
    let output = shell(directory.path(), "ottla topic list --config alice.properties").output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && complaint.contains("`alice` cannot log in"), "{complaint}");
    assert!(!complaint.contains("another-secret"), "{complaint}");
}

#[test]
fn users_are_added_changed_and_removed_each_mechanism_apart() {
    let broker = TestBroker::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let ottla = |script: &str| {
        run(
            directory.path(),
            &script.replace("user ", &format!("user --bootstrap-server {} ", broker.bootstrap())),
        )
    };
    ottla("printf 'one\\ntwo' | ottla user add alice");
    ottla("echo three | ottla user add alice --mechanism SCRAM-SHA-256 --iterations 8192");
    let both = ["alice  SCRAM-SHA-256        8192", "alice  SCRAM-SHA-512        4096"];
    let listed = ottla("ottla user list");
    assert!(both.iter().all(|line| listed.contains(line)), "{listed}");
    ottla("ottla user remove alice --mechanism SCRAM-SHA-256");
    let listed = ottla("ottla user list");
    assert!(listed.contains(both[1]) && !listed.contains(both[0]), "{listed}");
    ottla("echo three | ottla user add alice --mechanism SCRAM-SHA-256");
    ottla("ottla user remove alice");
    assert_eq!(ottla("ottla user list"), "");

    let refused = |script: &str| {
        let script = script.replace("user ", &format!("user --bootstrap-server {} ", broker.bootstrap()));
        let output = shell(directory.path(), &script).output().unwrap();
        assert!(!output.status.success(), "{script}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("ottla user remove nobody").contains("there is no such user"));
    assert!(refused("printf '' | ottla user add bob").contains("the password of `bob` is empty"));
    assert!(refused("echo x | ottla user add bob --iterations 10").contains("4,096 to 16,384 iterations"));
}

#[test]
fn rules_are_added_listed_and_removed_by_the_names_of_kafkas_tool() {
    let broker = TestBroker::start(&[
        ("authorizer.class.name", "StandardAuthorizer"),
        ("super.users", "User:ANONYMOUS"),
    ]);
    let directory = tempfile::tempdir().unwrap();
    let with_broker = |script: &str| {
        script.replace("ottla acl", &format!("ottla acl --bootstrap-server {}", broker.bootstrap()))
    };
    let ottla = |script: &str| run(directory.path(), &with_broker(script));
    let added =
        ottla("ottla acl add --allow-principal User:alice --consumer --topic letters --group readers");
    assert_eq!(added.lines().count(), 4, "a heading, and three rules: {added}");
    ottla(
        "ottla acl add --deny-principal 'User:*' --deny-host 10.0.0.1 --operation DescribeConfigs --topic let \
         --resource-pattern-type prefixed",
    );
    ottla("ottla acl add --allow-principal User:bob --operation ClusterAction --cluster");
    let listed = ottla("ottla acl list");
    let words: Vec<Vec<_>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(
        words.contains(&vec!["ALLOW", "User:alice", "*", "READ", "GROUP", "LITERAL", "readers"]),
        "{listed}"
    );
    assert!(
        words.contains(&vec!["DENY", "User:*", "10.0.0.1", "DESCRIBE_CONFIGS", "TOPIC", "PREFIXED", "let"]),
        "{listed}"
    );
    assert!(
        words.contains(&vec![
            "ALLOW",
            "User:bob",
            "*",
            "CLUSTER_ACTION",
            "CLUSTER",
            "LITERAL",
            "kafka-cluster"
        ]),
        "{listed}"
    );
    let count = |script: &str| ottla(script).lines().count();
    assert_eq!(count("ottla acl list --json"), 5);
    assert_eq!(count("ottla acl list --json --topic letters"), 2);
    assert_eq!(count("ottla acl list --json --topic letters --resource-pattern-type match"), 3);
    assert_eq!(count("ottla acl list --json --principal User:bob"), 1);
    assert_eq!(
        count("ottla acl remove --json --allow-principal User:bob --operation ClusterAction --cluster"),
        1
    );
    assert_eq!(count("ottla acl remove --json --force --topic letters"), 2);
    assert_eq!(count("ottla acl list --json"), 2);

    let refused = |script: &str| {
        let output = shell(directory.path(), &with_broker(script)).output().unwrap();
        assert!(!output.status.success(), "{script}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("ottla acl remove --topic let").contains("removes all rules"));
    assert!(refused("ottla acl remove --force --topic nothing").contains("there is no such access rule"));
    assert!(refused("ottla acl add --topic t").contains("say who"));
    assert!(refused("ottla acl add --allow-principal User:a").contains("name what the rules are for"));
    assert!(refused("ottla acl add --topic t --allow-principal alice").contains("write it as `User:alice`"));
    let host = refused("ottla acl add --topic t --allow-principal User:a --allow-host example.org");
    assert!(host.contains("a rule knows addresses"), "{host}");
    assert!(
        refused("ottla acl add --topic t --allow-principal User:a --operation Fly").contains("there are ALL")
    );

    let open = TestBroker::start(&[]);
    let output =
        shell(directory.path(), &format!("ottla acl list --bootstrap-server {}", open.bootstrap())).output();
    let complaint = String::from_utf8(output.unwrap().stderr).unwrap();
    assert!(complaint.contains("set `authorizer.class.name`"), "{complaint}");
}

#[test]
fn quotas_are_set_listed_and_removed_by_the_names_of_kafkas_tool() {
    let broker = TestBroker::start(&[]);
    let directory = tempfile::tempdir().unwrap();
    let with_broker = |script: &str| {
        script.replace("ottla quota", &format!("ottla quota --bootstrap-server {}", broker.bootstrap()))
    };
    let ottla = |script: &str| run(directory.path(), &with_broker(script));
    let set =
        ottla("ottla quota set --user alice --client app producer_byte_rate=1024 request_percentage=12.5");
    assert_eq!(set.lines().count(), 3, "a heading, and two quotas: {set}");
    ottla("ottla quota set --user alice consumer_byte_rate=2048");
    ottla("ottla quota set --client-defaults controller_mutation_rate=0.5");
    ottla("ottla quota set --ip 10.0.0.1 connection_creation_rate=20");
    let count = |script: &str| ottla(script).lines().count();
    assert_eq!(count("ottla quota list --json"), 4);
    assert_eq!(count("ottla quota list --json --user alice"), 2, "alone, and with a client id");
    assert_eq!(count("ottla quota list --json --user alice --client app"), 1);
    assert_eq!(count("ottla quota list --json --client-defaults"), 1);
    assert_eq!(count("ottla quota list --json --user nobody"), 0);
    let json = ottla("ottla quota list --json --client app");
    let expected = r#"{"user":"alice","clientId":"app","quotas":{"producer_byte_rate":1024.0,"request_percentage":12.5}}"#;
    let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(parsed(&json), parsed(expected));
    ottla("ottla quota remove --user alice --client app request_percentage");
    let left = ottla("ottla quota list --json --client app");
    assert!(left.contains("producer_byte_rate") && !left.contains("request_percentage"), "{left}");
    ottla("ottla quota remove --ip 10.0.0.1");
    assert_eq!(count("ottla quota list --json"), 3);

    let refused = |script: &str| {
        let output = shell(directory.path(), &with_broker(script)).output().unwrap();
        assert!(!output.status.success(), "{script}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused("ottla quota remove --ip 10.0.0.1").contains("there is no such quota"));
    assert!(refused("ottla quota set producer_byte_rate=1").contains("say whose quotas"));
    assert!(refused("ottla quota set --user a fun=1").contains("there are `producer_byte_rate`"));
    assert!(refused("ottla quota set --user a producer_byte_rate=0").contains("a number above 0"));
    assert!(refused("ottla quota set --user a producer_byte_rate").contains("write it as"));
    assert!(refused("ottla quota set --user a producer_byte_rate=1.5").contains("whole number"));
    assert!(refused("ottla quota set --user a connection_creation_rate=1").contains("name one by `--ip`"));
    assert!(refused("ottla quota set --ip 10.0.0.1 producer_byte_rate=1").contains("users and clients"));
    assert!(
        refused("ottla quota set --ip example.org connection_creation_rate=1").contains("knows addresses")
    );
    assert!(
        refused("ottla quota set --user a --ip 10.0.0.1 producer_byte_rate=1")
            .contains("cannot be used with")
    );
}
