//! TLS between two of our own ends, with certificates that are made for the test.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod certificates;

use std::{path::Path, sync::Arc};

use certificates::{authority, certificate, shows, trusting};
use ottla_transport::tls::{
    ClientAuth, Source, TlsAcceptor, TlsConnector, TlsSettings, TlsVersion, distinguished_name,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Both ends shake hands and a word goes each way; gives the client's distinguished name, or why either did not.
async fn talk(
    server: &Arc<TlsAcceptor>,
    client: &TlsConnector,
    host: &str,
) -> Result<Option<String>, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = Arc::clone(server);
    let serving = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = server.accept(stream).await.map_err(|error| format!("server: {error}"))?;
        let name = TlsAcceptor::client_certificate(&stream).and_then(distinguished_name);
        let word = stream.read_u8().await.map_err(|error| format!("server: {error}"))?;
        stream.write_u8(word + 1).await.map_err(|error| format!("server: {error}"))?;
        stream.shutdown().await.map_err(|error| format!("server: {error}"))?;
        Ok(name)
    });
    let calling = async {
        let stream = TcpStream::connect(address).await.unwrap();
        let mut stream = client.connect(host, stream).await?;
        stream.write_u8(7).await?;
        stream.read_u8().await
    };
    let called = calling.await.map_err(|error| format!("client: {error}"));
    let served = serving.await.unwrap();
    assert!(called.as_ref().is_err() || called == Ok(8));
    // What one side says of it is enough; the one that refuses knows why.
    match (served, called) {
        (Ok(name), Ok(_)) => Ok(name),
        (Err(server), Err(client)) => Err(format!("{server}; {client}")),
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

fn acceptor(settings: TlsSettings, client_auth: ClientAuth) -> Arc<TlsAcceptor> {
    Arc::new(TlsAcceptor::new(settings, client_auth).unwrap())
}

#[tokio::test]
async fn a_client_talks_to_the_host_it_asked_for_and_to_no_other() {
    let authority = authority();
    let server = acceptor(shows(&certificate(&authority, "broker", &["localhost"])), ClientAuth::None);
    let client = TlsConnector::new(trusting(&authority, TlsSettings::default())).unwrap();
    assert_eq!(talk(&server, &client, "localhost").await, Ok(None));
    let error = talk(&server, &client, "elsewhere.example").await.unwrap_err();
    assert!(error.contains("not valid for name \"elsewhere.example\""), "{error}");
    // Unless it is told not to look.
    let settings = TlsSettings { checks_host: false, ..TlsSettings::default() };
    let client = TlsConnector::new(trusting(&authority, settings)).unwrap();
    assert_eq!(talk(&server, &client, "elsewhere.example").await, Ok(None));
}

#[tokio::test]
async fn nobody_is_trusted_whose_authority_is_not() {
    let server = acceptor(shows(&certificate(&authority(), "broker", &["localhost"])), ClientAuth::None);
    for checks_host in [true, false] {
        let settings = TlsSettings { checks_host, ..TlsSettings::default() };
        let client = TlsConnector::new(trusting(&authority(), settings)).unwrap();
        let error = talk(&server, &client, "localhost").await.unwrap_err();
        assert!(error.contains("invalid peer certificate"), "{error}");
    }
}

#[tokio::test]
async fn a_server_that_signs_itself_is_trusted_if_it_is_named_itself() {
    let signs_itself = |year| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        // As `openssl req -x509` makes them.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().unwrap();
        let signed = params.self_signed(&key).unwrap();
        (acceptor(shows(&format!("{}{}", key.serialize_pem(), signed.pem())), ClientAuth::None), signed.pem())
    };
    let trusting = |pem: &str| {
        let trust = Some(Source::Text(pem.to_owned()));
        TlsConnector::new(TlsSettings { trust, ..TlsSettings::default() }).unwrap()
    };
    let (server, certificate) = signs_itself(4000);
    assert_eq!(talk(&server, &trusting(&certificate), "localhost").await, Ok(None));
    let error = talk(&server, &trusting(&certificate), "elsewhere.example").await.unwrap_err();
    assert!(error.contains("not valid for name \"elsewhere.example\""), "{error}");
    let (_, of_another) = signs_itself(4000);
    let error = talk(&server, &trusting(&of_another), "localhost").await.unwrap_err();
    assert!(error.contains("invalid peer certificate: UnknownIssuer"), "{error}");
    let (server, certificate) = signs_itself(2000);
    let error = talk(&server, &trusting(&certificate), "localhost").await.unwrap_err();
    assert!(error.contains("certificate expired"), "{error}");
}

#[tokio::test]
async fn whoever_is_told_to_look_at_no_certificate_takes_any() {
    let authority = authority();
    let server = acceptor(shows(&certificate(&authority, "broker", &["localhost"])), ClientAuth::None);
    for version in [TlsVersion::V1_2, TlsVersion::V1_3] {
        let settings =
            TlsSettings { checks_certificate: false, versions: vec![version], ..TlsSettings::default() };
        let client = TlsConnector::new(settings).unwrap();
        assert_eq!(talk(&server, &client, "elsewhere.example").await, Ok(None));
    }
}

#[tokio::test]
async fn a_client_says_who_it_is_with_a_certificate_where_that_is_asked() {
    let authority = authority();
    let broker = certificate(&authority, "broker", &["localhost"]);
    let anonymous = TlsConnector::new(trusting(&authority, TlsSettings::default())).unwrap();
    let alice = shows(&certificate(&authority, "alice", &[]));
    let alice = TlsConnector::new(trusting(&authority, alice)).unwrap();
    let stranger = shows(&certificate(&certificates::authority(), "alice", &[]));
    let stranger = TlsConnector::new(trusting(&authority, stranger)).unwrap();
    let of_alice = Ok(Some("CN=alice,O=Acme".to_owned()));

    let required = acceptor(trusting(&authority, shows(&broker)), ClientAuth::Required);
    assert_eq!(talk(&required, &alice, "localhost").await, of_alice);
    assert!(
        talk(&required, &anonymous, "localhost")
            .await
            .unwrap_err()
            .contains("server: peer sent no certificates")
    );
    assert!(talk(&required, &stranger, "localhost").await.is_err());

    let requested = acceptor(trusting(&authority, shows(&broker)), ClientAuth::Requested);
    assert_eq!(talk(&requested, &alice, "localhost").await, of_alice);
    assert_eq!(talk(&requested, &anonymous, "localhost").await, Ok(None));
    assert!(talk(&requested, &stranger, "localhost").await.is_err());
}

#[tokio::test]
async fn a_version_that_is_not_allowed_is_not_spoken() {
    let authority = authority();
    let broker = shows(&certificate(&authority, "broker", &["localhost"]));
    let server = acceptor(TlsSettings { versions: vec![TlsVersion::V1_3], ..broker }, ClientAuth::None);
    let client = |versions| {
        let settings = TlsSettings { versions, ..TlsSettings::default() };
        TlsConnector::new(trusting(&authority, settings)).unwrap()
    };
    assert_eq!(talk(&server, &client(vec![TlsVersion::V1_3]), "localhost").await, Ok(None));
    assert!(talk(&server, &client(vec![TlsVersion::V1_2]), "localhost").await.is_err());
}

#[tokio::test]
async fn a_renewed_certificate_is_used_without_a_restart_and_half_a_one_is_not() {
    let authority = authority();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("broker.pem");
    let write = |pem: &str| std::fs::write(&file, pem).unwrap();
    write(&certificate(&authority, "broker", &["old.example"]));
    let settings = TlsSettings { certificates: Some(Source::File(file.clone())), ..TlsSettings::default() };
    let server = acceptor(settings, ClientAuth::None);
    let client = TlsConnector::new(trusting(&authority, TlsSettings::default())).unwrap();
    assert_eq!(talk(&server, &client, "old.example").await, Ok(None));

    let renewed = certificate(&authority, "broker", &["new.example"]);
    write(renewed.split_at(100).0);
    // Files are looked at once a second: by then it has been seen.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(talk(&server, &client, "old.example").await, Ok(None));
    write(&renewed);
    let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while talk(&server, &client, "new.example").await != Ok(None) {
        assert!(std::time::Instant::now() < end, "the new certificate is not taken");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[test]
fn what_is_wrong_with_a_store_is_said() {
    let error = |settings: TlsSettings| TlsAcceptor::new(settings, ClientAuth::None).unwrap_err().to_string();
    let missing =
        TlsSettings { certificates: Some(Source::File("/no/such.pem".into())), ..TlsSettings::default() };
    assert!(error(missing).starts_with("`/no/such.pem` cannot be read: "));
    assert_eq!(error(shows("")), "the key store has no certificate");
    assert_eq!(error(TlsSettings::default()), "the key store has no certificate");
    let authority = authority();
    let both = certificate(&authority, "broker", &["localhost"]);
    let (_, alone) = both.split_once("-----END PRIVATE KEY-----").unwrap();
    assert_eq!(error(shows(alone)), "the key store has no private key");
    let other = certificate(&authority, "broker", &["localhost"]);
    let key = Some(Source::Text(other));
    let mismatched = TlsSettings { key, ..shows(&both) };
    assert!(error(mismatched).starts_with("TLS cannot be set up: "));
    let garbage =
        TlsSettings { certificates: Some(Source::Text("\u{30}abc".into())), ..TlsSettings::default() };
    assert!(error(garbage).starts_with("the key store cannot be read: "));
}

/// As `openssl` and `keytool` write them: the fixtures' README says how they were made.
#[tokio::test]
async fn stores_of_openssl_and_of_java_are_read_with_their_passwords() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let file = |name: &str| Some(Source::File(fixtures.join(name)));
    let password = |text: &str| Some(text.to_owned());
    let pkcs12 = |name, secret| TlsSettings {
        certificates: file(name),
        key_store_password: password(secret),
        ..TlsSettings::default()
    };
    let sealed_key = |secret: Option<&str>| TlsSettings {
        certificates: file("broker.pem"),
        key: file("broker-encrypted.key"),
        key_password: secret.map(str::to_owned),
        ..TlsSettings::default()
    };
    let trust = TlsSettings {
        trust: file("truststore.p12"),
        trust_store_password: password("changeit"),
        ..TlsSettings::default()
    };
    let client = TlsConnector::new(trust).unwrap();
    for settings in
        [pkcs12("openssl.p12", "secret"), pkcs12("keytool.p12", "changeit"), sealed_key(Some("secret"))]
    {
        let server = acceptor(settings.clone(), ClientAuth::None);
        assert_eq!(talk(&server, &client, "localhost").await, Ok(None), "{settings:?}");
    }
    for settings in [
        pkcs12("openssl.p12", "wrong"),
        pkcs12("keytool.p12", "wrong"),
        sealed_key(Some("wrong")),
        sealed_key(None),
    ] {
        let error = TlsAcceptor::new(settings, ClientAuth::None).unwrap_err().to_string();
        assert_eq!(error, "the password does not open the key store");
    }
}
