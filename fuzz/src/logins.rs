//! Logins: what anybody may send who has not said yet who he is. Nothing may panic, and nobody gets in who does not know a secret.

use std::{collections::BTreeMap, time::Duration};

use ottla_transport::{
    jwt::{Checks, Claims, KeySet, TokenError},
    sasl::{
        BearerToken, ClientExchange, Credentials, JaasConfig, Login, Mechanism, OauthBearerServer,
        PlainServer, PlainUsers, ScramCredential, ScramHash, ScramServer, ServerStep, Taken,
    },
};

/// What parts the messages of one exchange in an input: never part of UTF-8.
pub const MESSAGE_END: u8 = 0xff;
/// The public half of the key that signed the token of RFC 7515, appendix A.3, to be found with and without its name.
pub const KEYS_OF_THE_RFC: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "rfc",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
/// Any time after that token's end.
const NOW: Duration = Duration::from_secs(1_800_000_000);
/// Whose token is taken, and the token.
const BEARER: (&str, &str) = ("bearer", "a-good-token");
/// Most digits of a number of iterations that a client counts to here: a million take it a second.
const ITERATION_DIGITS_MAX: usize = 4;

/// Bytes as the messages of a client to each server, and of a server to each client.
pub fn sasl(data: &[u8]) {
    let messages = || data.split(|&byte| byte == MESSAGE_END);
    plain_server(data);
    for hash in [ScramHash::Sha256, ScramHash::Sha512] {
        scram_server(hash, messages());
    }
    bearer_server(messages());
    for mechanism in Mechanism::ALL {
        client(mechanism, messages());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = JaasConfig::parse(text);
    }
}

fn plain_server(message: &[u8]) {
    let jaas = r#"a.Module required username="broker" password="b" user_alice="not to be guessed";"#;
    let users = PlainUsers::new(&JaasConfig::parse(jaas).expect("a configuration"), &[7; 32]);
    if let Ok(ServerStep::Done { user, .. }) = PlainServer::step(&users, message) {
        let password = "\0not to be guessed";
        assert!(user == "alice" && message.ends_with(password.as_bytes()), "{user} got in");
    }
}

fn scram_server<'a>(hash: ScramHash, messages: impl Iterator<Item = &'a [u8]>) {
    // Nobody can know a password of which there are no keys.
    let unknowable = || ScramCredential {
        salt: vec![1; 16],
        stored_key: vec![0; hash.bytes()],
        server_key: vec![0; hash.bytes()],
        iterations: 4096,
    };
    let mut server = ScramServer::new(hash);
    for message in messages {
        let step =
            server.step(message, "of-the-server", b"secret", |user| (user == "alice").then(unknowable));
        assert!(!matches!(step, Ok(ServerStep::Done { .. })), "somebody got in without a password");
    }
}

fn bearer_server<'a>(messages: impl Iterator<Item = &'a [u8]>) {
    let mut server = OauthBearerServer::default();
    for message in messages {
        let judge = |token: &str| match token == BEARER.1 {
            true => Ok(Taken { user: BEARER.0.to_owned(), lifetime: Duration::from_secs(60) }),
            false => Err(TokenError::Signature),
        };
        if let Ok(ServerStep::Done { user, .. }) = server.step(message, judge) {
            let has_token = message.windows(BEARER.1.len()).any(|part| part == BEARER.1.as_bytes());
            assert!(user == BEARER.0 && has_token, "{user} got in");
        }
    }
}

fn client<'a>(mechanism: Mechanism, messages: impl Iterator<Item = &'a [u8]>) {
    let credentials = match mechanism {
        Mechanism::OauthBearer => {
            BearerToken::new(BEARER.1, BTreeMap::new()).ok().map(Credentials::OauthBearer)
        }
        _ => Credentials::of_login(mechanism, Login { user: "alice".into(), password: "secret".into() }),
    };
    let mut client = ClientExchange::new(credentials.expect("of this mechanism"), "of-the-client".to_owned());
    let _ = client.first();
    for message in messages.filter(|message| !asks_for_long_work(message)) {
        let answer = client.answer(message);
        if matches!(mechanism, Mechanism::Scram(_)) {
            assert_ne!(answer, Ok(None), "a server that does not know the password is believed");
        }
        if answer.is_err() {
            return;
        }
    }
}

fn asks_for_long_work(message: &[u8]) -> bool {
    let digits = |rest: &[u8]| rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    message
        .windows(2)
        .enumerate()
        .any(|(at, name)| name == b"i=" && digits(&message[at + name.len()..]) > ITERATION_DIGITS_MAX)
}

/// Bytes as a token, as each of its parts, and as a provider's keys.
pub fn jwt(data: &[u8]) {
    let _ = KeySet::parse(data);
    let Ok(text) = std::str::from_utf8(data) else { return };
    let keys = KeySet::parse(KEYS_OF_THE_RFC.as_bytes()).expect("a set with a key");
    let bearer = Checks::default().check(text, &keys, NOW);
    assert!(bearer.is_err(), "{bearer:?} is let in by a key that signed one old token");
    if let Ok(claims) = Claims::unchecked(text) {
        let _ = (claims.expires(), claims.issued(), claims.not_before());
        let _ = (claims.issuer(), claims.audience(), claims.subject("sub"), claims.scope("scope"));
    }
}
