//! The verbs of `ottla` with a configuration that names a provider of tokens: it is asked, and nothing else is needed.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use ottla_interop::{
    broker::TestBroker,
    tokens::{Issuer, Provider, Reply},
};

const HOUR: Duration = Duration::from_secs(3_600);

fn ottla(directory: &Path, arguments: &[&str]) -> (bool, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_ottla"));
    program.args(arguments).arg("--config").arg(directory.join("client.properties"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("OTTLA_")) {
        program.env_remove(name);
    }
    let Output { status, stdout, stderr } = program.output().unwrap();
    (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn a_configuration_file_is_enough_to_log_in_by_tokens() {
    let issuer = Issuer::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().join("keys.json");
    fs::write(&keys, issuer.jwks()).unwrap();
    let broker = TestBroker::start(&[
        ("listeners", "TOKENS://127.0.0.1:0"),
        ("listener.security.protocol.map", "TOKENS:SASL_PLAINTEXT"),
        ("sasl.enabled.mechanisms", "OAUTHBEARER"),
        ("ottla.sasl.plain.without.tls", "true"),
        ("sasl.oauthbearer.jwks.endpoint.url", &format!("file://{}", keys.display())),
        ("sasl.oauthbearer.expected.audience", "kafka"),
        ("sasl.oauthbearer.expected.issuer", "https://issuer.test"),
    ]);
    let provider = Provider::start(None, move |_| Reply::token(&issuer.token("alice", HOUR))).unwrap();
    let lines = [
        format!("bootstrap.servers={}", broker.bootstrap()),
        "security.protocol=SASL_PLAINTEXT".to_owned(),
        "sasl.mechanisms=OAUTHBEARER".to_owned(),
        "ottla.sasl.plain.without.tls=true".to_owned(),
        // As librdkafka has them.
        "sasl.oauthbearer.method=oidc".to_owned(),
        format!("sasl.oauthbearer.token.endpoint.url={}", provider.url()),
        "sasl.oauthbearer.client.id=app".to_owned(),
        "sasl.oauthbearer.client.secret=hunter2".to_owned(),
    ];
    fs::write(directory.path().join("client.properties"), lines.join("\n")).unwrap();

    let (is_well, said) = ottla(directory.path(), &["topic", "create", "letters"]);
    assert!(is_well, "{said}");
    let (is_well, said) = ottla(directory.path(), &["topic", "list"]);
    assert!(is_well && said.contains("letters"), "{said}");
    let (is_well, said) = ottla(directory.path(), &["doctor"]);
    assert!(is_well && said.contains("alice") && said.contains("OAUTHBEARER"), "{said}");

    provider.answer(|_| Reply::error(401, "invalid_client", "no such client"));
    let (is_well, said) = ottla(directory.path(), &["topic", "list"]);
    assert!(
        !is_well && said.contains("answers `invalid_client`") && said.contains("client.secret`"),
        "{said}"
    );
    let (is_well, said) = ottla(directory.path(), &["doctor"]);
    assert!(!is_well && said.contains("`invalid_client` (no such client), HTTP 401"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
