//! SCRAM (RFC 5802) with SHA-256 (RFC 7677) or SHA-512: both sides prove that they know the password, and neither sends it.
//!
//! Channel binding is not offered, as in Kafka: the header is always `n,,`.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use ring::{digest, hmac, pbkdf2};
use subtle::ConstantTimeEq;

use super::{Login, SaslError, ServerStep, unescaped};

/// Fewest iterations that either side takes: RFC 7677's least, and Kafka's.
pub const SCRAM_ITERATIONS_MIN: u32 = 4096;
/// Most iterations that either side takes: a server that asks for more would keep its clients busy for nothing.
pub const SCRAM_ITERATIONS_MAX: u32 = 1_000_000;
/// Longest message that is looked at, in bytes.
const MESSAGE_BYTES_MAX: usize = 4096;
/// The header of a client without channel binding and without another identity.
const GS2_HEADER: &str = "n,,";
/// That header in base64, as the final message repeats it.
const CHANNEL_BINDING: &str = "biws";

/// The hash function of the mechanism.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum ScramHash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl ScramHash {
    /// Bytes of what the function gives.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), data).as_ref().to_vec()
    }

    fn hash(self, data: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, data).as_ref().to_vec()
    }
}

/// What a server keeps of a user: enough to check a password, and not enough to log in with it elsewhere.
#[derive(Clone, Eq, PartialEq)]
pub struct ScramCredential {
    /// Random bytes that make equal passwords differ.
    pub salt: Vec<u8>,
    /// `H(HMAC(SaltedPassword, "Client Key"))`.
    pub stored_key: Vec<u8>,
    /// `HMAC(SaltedPassword, "Server Key")`.
    pub server_key: Vec<u8>,
    /// How often the hash was applied.
    pub iterations: u32,
}

impl std::fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramCredential").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramCredential {
    /// What is kept of a password.
    pub fn of_password(hash: ScramHash, password: &str, salt: &[u8], iterations: u32) -> Self {
        Self::of_salted_password(
            hash,
            &salted_password(hash, password.as_bytes(), salt, iterations),
            salt,
            iterations,
        )
    }

    /// The same of a password that was salted already: what AlterUserScramCredentials carries (KIP-554).
    pub fn of_salted_password(hash: ScramHash, salted: &[u8], salt: &[u8], iterations: u32) -> Self {
        Self {
            salt: salt.to_vec(),
            stored_key: hash.hash(&hash.hmac(salted, b"Client Key")),
            server_key: hash.hmac(salted, b"Server Key"),
            iterations,
        }
    }
}

/// The password as the mechanism uses it, `Hi(password, salt, iterations)`. `iterations` of 0 count as 1.
pub fn salted_password(hash: ScramHash, password: &[u8], salt: &[u8], iterations: u32) -> Vec<u8> {
    let algorithm = match hash {
        ScramHash::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
        ScramHash::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
    };
    let iterations = std::num::NonZeroU32::new(iterations).unwrap_or(std::num::NonZeroU32::MIN);
    let mut salted = vec![0; hash.bytes()];
    pbkdf2::derive(algorithm, iterations, salt, password, &mut salted);
    salted
}

/// The client's side.
#[derive(Debug)]
pub struct ScramClient {
    hash: ScramHash,
    login: Login,
    nonce: String,
    state: ClientState,
}

enum ClientState {
    /// It has sent its first message.
    Began,
    /// It has sent its proof, and knows what the server's must be.
    Proved {
        server_signature: Vec<u8>,
    },
    Done,
}

impl std::fmt::Debug for ClientState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Began => "Began",
            Self::Proved { .. } => "Proved",
            Self::Done => "Done",
        })
    }
}

impl ScramClient {
    pub(super) fn new(hash: ScramHash, login: Login, nonce: String) -> Self {
        Self { hash, login, nonce, state: ClientState::Began }
    }

    pub(super) fn first(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.first_bare()).into_bytes()
    }

    fn first_bare(&self) -> String {
        format!("n={},r={}", escaped(&self.login.user), self.nonce)
    }

    pub(super) fn answer(&mut self, from_server: &[u8]) -> Result<Option<Vec<u8>>, SaslError> {
        let message = text(from_server)?;
        match std::mem::replace(&mut self.state, ClientState::Done) {
            ClientState::Began => self.prove(message).map(Some),
            ClientState::Proved { server_signature } => {
                check_server(message, &server_signature).map(|()| None)
            }
            ClientState::Done => Err(SaslError::Malformed("the exchange is over")),
        }
    }

    fn prove(&mut self, server_first: &str) -> Result<Vec<u8>, SaslError> {
        if let Some(why) = server_first.strip_prefix("e=") {
            return Err(SaslError::ByServer(why.to_owned()));
        }
        let mut fields = Fields::of(server_first);
        let nonce = fields.next("r=")?;
        let salt =
            BASE64.decode(fields.next("s=")?).map_err(|_| SaslError::Malformed("the salt is not base64"))?;
        let iterations: u32 =
            fields.next("i=")?.parse().map_err(|_| SaslError::Malformed("the iterations are no number"))?;
        // Only a nonce that goes on from ours is of this exchange, and not of one that was overheard.
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(SaslError::Malformed("the nonce is not of this exchange"));
        }
        if !(SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslError::Malformed(
                "the iterations are too few to be safe, or too many to be meant",
            ));
        }
        let salted = salted_password(self.hash, self.login.password.as_bytes(), &salt, iterations);
        let final_bare = format!("c={CHANNEL_BINDING},r={nonce}");
        let auth_message = format!("{},{server_first},{final_bare}", self.first_bare());
        let client_key = self.hash.hmac(&salted, b"Client Key");
        let signature = self.hash.hmac(&self.hash.hash(&client_key), auth_message.as_bytes());
        let proof = xor(&client_key, &signature);
        let server_key = self.hash.hmac(&salted, b"Server Key");
        let server_signature = self.hash.hmac(&server_key, auth_message.as_bytes());
        self.state = ClientState::Proved { server_signature };
        Ok(format!("{final_bare},p={}", BASE64.encode(proof)).into_bytes())
    }
}

fn check_server(server_final: &str, wanted: &[u8]) -> Result<(), SaslError> {
    if let Some(why) = server_final.strip_prefix("e=") {
        return Err(SaslError::ByServer(why.to_owned()));
    }
    let signature = Fields::of(server_final).next("v=")?;
    let signature =
        BASE64.decode(signature).map_err(|_| SaslError::Malformed("the signature is not base64"))?;
    if is_same(&signature, wanted) { Ok(()) } else { Err(SaslError::ImpostorServer) }
}

/// The broker's side: two tokens decide.
#[derive(Debug)]
pub struct ScramServer {
    hash: ScramHash,
    state: ServerState,
}

#[derive(Debug)]
enum ServerState {
    New,
    Challenged {
        user: String,
        credential: ScramCredential,
        /// Whether there is such a user; if not, all goes its way, and no proof is right.
        is_known: bool,
        nonce: String,
        /// What was said so far, of which the proof is.
        said: String,
    },
    Over,
}

impl ScramServer {
    /// An exchange that has not begun.
    pub fn new(hash: ScramHash) -> Self {
        Self { hash, state: ServerState::New }
    }

    /// Takes a client's token. `nonce` is random and new; `find` gives what is kept of a user; `secret` is this cluster's
    /// own, and makes the salts of users that there are not, the same each time, so that nobody learns which there are.
    ///
    /// # Errors
    /// If it is malformed, or the proof is wrong.
    pub fn step(
        &mut self,
        token: &[u8],
        nonce: &str,
        secret: &[u8],
        find: impl FnOnce(&str) -> Option<ScramCredential>,
    ) -> Result<ServerStep, SaslError> {
        let message = text(token)?;
        match std::mem::replace(&mut self.state, ServerState::Over) {
            ServerState::New => self.challenge(message, nonce, secret, find),
            ServerState::Challenged { user, credential, is_known, nonce, said } => {
                let token = check_client(self.hash, message, &credential, &nonce, &said)?;
                if is_known {
                    Ok(ServerStep::Done { user, token, lifetime: None })
                } else {
                    Err(SaslError::Refused)
                }
            }
            ServerState::Over => Err(SaslError::Malformed("the exchange is over")),
        }
    }

    fn challenge(
        &mut self,
        client_first: &str,
        nonce: &str,
        secret: &[u8],
        find: impl FnOnce(&str) -> Option<ScramCredential>,
    ) -> Result<ServerStep, SaslError> {
        let bare = client_first
            .strip_prefix("n,")
            .or_else(|| client_first.strip_prefix("y,"))
            .ok_or(SaslError::Malformed("channel binding is not offered"))?;
        let (identity, bare) = bare.split_once(',').ok_or(SaslError::Malformed("it has no header"))?;
        let mut fields = Fields::of(bare);
        let user = unescaped(fields.next("n=")?)?;
        let client_nonce = fields.next("r=")?;
        let acts_for = identity.strip_prefix("a=").map(unescaped).transpose()?;
        if acts_for.is_some_and(|other| other != user) || !(identity.is_empty() || identity.starts_with("a="))
        {
            return Err(SaslError::Refused);
        }
        if user.is_empty() || client_nonce.is_empty() {
            return Err(SaslError::Malformed("user name or nonce is empty"));
        }
        let found = find(&user);
        let is_known = found.is_some();
        let credential = found.unwrap_or_else(|| self.nobodys(&user, secret));
        let nonce = format!("{client_nonce}{nonce}");
        let server_first =
            format!("r={nonce},s={},i={}", BASE64.encode(&credential.salt), credential.iterations);
        let said = format!("{bare},{server_first}");
        self.state = ServerState::Challenged { user, credential, is_known, nonce, said };
        Ok(ServerStep::Challenge(server_first.into_bytes()))
    }

    /// What is kept of a user that there is not.
    fn nobodys(&self, user: &str, secret: &[u8]) -> ScramCredential {
        let salt = ScramHash::Sha256.hmac(secret, user.as_bytes());
        ScramCredential {
            salt,
            stored_key: vec![0; self.hash.bytes()],
            server_key: vec![0; self.hash.bytes()],
            iterations: SCRAM_ITERATIONS_MIN,
        }
    }
}

/// Checks a client's proof, and gives the server's. The nonce must be the one of this exchange, or a message that was
/// overheard would do (CVE-2024-56128).
fn check_client(
    hash: ScramHash,
    client_final: &str,
    credential: &ScramCredential,
    nonce: &str,
    said: &str,
) -> Result<Vec<u8>, SaslError> {
    let (without_proof, _) =
        client_final.rsplit_once(",p=").ok_or(SaslError::Malformed("there is no proof"))?;
    let mut fields = Fields::of(client_final);
    let binding = fields.next("c=")?;
    // `biws` is `n,,`, `eSws` is `y,,`; whoever acts for itself by name says so here, too.
    let header =
        BASE64.decode(binding).map_err(|_| SaslError::Malformed("the channel binding is not base64"))?;
    if !(header.starts_with(b"n,") || header.starts_with(b"y,")) {
        return Err(SaslError::Malformed("channel binding is not offered"));
    }
    if fields.next("r=")? != nonce {
        return Err(SaslError::Malformed("the nonce is not of this exchange"));
    }
    let proof =
        BASE64.decode(fields.last("p=")?).map_err(|_| SaslError::Malformed("the proof is not base64"))?;
    let auth_message = format!("{said},{without_proof}");
    let signature = hash.hmac(&credential.stored_key, auth_message.as_bytes());
    if proof.len() != signature.len() {
        return Err(SaslError::Refused);
    }
    let client_key = xor(&proof, &signature);
    if !is_same(&hash.hash(&client_key), &credential.stored_key) {
        return Err(SaslError::Refused);
    }
    let server_signature = hash.hmac(&credential.server_key, auth_message.as_bytes());
    Ok(format!("v={}", BASE64.encode(server_signature)).into_bytes())
}

/// A message's fields, `x=value`, with commas between.
struct Fields<'a>(std::str::Split<'a, char>);

impl<'a> Fields<'a> {
    fn of(message: &'a str) -> Self {
        Self(message.split(','))
    }

    /// The next field, which must begin with `name`.
    fn next(&mut self, name: &str) -> Result<&'a str, SaslError> {
        let field = self.0.next().and_then(|field| field.strip_prefix(name));
        field.ok_or(SaslError::Malformed("a field is missing, or out of order"))
    }

    /// The last field; extensions before it are passed over.
    fn last(&mut self, name: &str) -> Result<&'a str, SaslError> {
        let field = self.0.next_back().and_then(|field| field.strip_prefix(name));
        field.ok_or(SaslError::Malformed("a field is missing, or out of order"))
    }
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    if message.len() > MESSAGE_BYTES_MAX {
        return Err(SaslError::Malformed("it is too long"));
    }
    std::str::from_utf8(message).map_err(|_| SaslError::Malformed("it is not UTF-8"))
}

fn xor(a: &[u8], b: &[u8]) -> Vec<u8> {
    a.iter().zip(b).map(|(a, b)| a ^ b).collect()
}

/// Compares in a time that tells nothing of where the two differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// A name as a message carries it: `,` and `=` are written otherwise.
fn escaped(name: &str) -> String {
    name.replace('=', "=3D").replace(',', "=2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: &str, password: &str) -> Login {
        Login { user: user.into(), password: password.into() }
    }

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn the_exchange_of_the_rfc_takes_its_course() {
        let mut client =
            ScramClient::new(ScramHash::Sha256, login("user", "pencil"), "rOprNGfwEbeRWgbNEkqO".into());
        assert_eq!(client.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
        let salt = BASE64.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        let mut server = ScramServer::new(ScramHash::Sha256);
        let find = |user: &str| {
            (user == "user").then(|| ScramCredential::of_password(ScramHash::Sha256, "pencil", &salt, 4096))
        };
        let challenge = server.step(&client.first(), server_nonce, b"", find).unwrap();
        let expected =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(challenge, ServerStep::Challenge(expected.into()));
        let proof = client.answer(expected.as_bytes()).unwrap().unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(proof, expected.as_bytes());
        let done = server.step(&proof, "", b"", |_| None).unwrap();
        let token = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=".to_vec();
        assert_eq!(done, ServerStep::Done { user: "user".into(), token: token.clone(), lifetime: None });
        assert_eq!(client.answer(&token), Ok(None));
        assert!(client.answer(&token).is_err());
    }

    /// Lets both sides speak until one has an answer.
    fn run(hash: ScramHash, known: &Login, comes: Login) -> (Result<ServerStep, SaslError>, ScramClient) {
        let mut client = ScramClient::new(hash, comes, "abc".into());
        let mut server = ScramServer::new(hash);
        let find = |user: &str| {
            (user == known.user).then(|| ScramCredential::of_password(hash, &known.password, b"salt", 4096))
        };
        let ServerStep::Challenge(challenge) = server.step(&client.first(), "def", b"secret", find).unwrap()
        else {
            panic!("a challenge comes first")
        };
        let proof = client.answer(&challenge).unwrap().unwrap();
        (server.step(&proof, "", b"", |_| None), client)
    }

    #[test]
    fn only_who_knows_the_password_is_let_in_and_names_may_be_anything() {
        for hash in [ScramHash::Sha256, ScramHash::Sha512] {
            let known = login("a,b=c ü", "pässword");
            let (done, mut client) = run(hash, &known, known.clone());
            let Ok(ServerStep::Done { user, token, lifetime: None }) = done else { panic!("{done:?}") };
            assert_eq!(user, known.user);
            assert_eq!(client.answer(&token), Ok(None));
            assert_eq!(run(hash, &known, login(&known.user, "password")).0, Err(SaslError::Refused));
            assert_eq!(run(hash, &known, login("somebody", "pässword")).0, Err(SaslError::Refused));
        }
    }

    #[test]
    fn who_there_is_cannot_be_told_from_who_there_is_not() {
        let challenge = |user: &str| {
            let mut server = ScramServer::new(ScramHash::Sha256);
            let first = format!("n,,n={user},r=abc");
            match server.step(first.as_bytes(), "def", b"secret", |_| None).unwrap() {
                ServerStep::Challenge(challenge) => String::from_utf8(challenge).unwrap(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(challenge("nobody"), challenge("nobody"));
        assert_ne!(challenge("nobody"), challenge("noone"));
        assert!(challenge("nobody").ends_with(",i=4096"));
    }

    #[test]
    fn a_message_that_was_overheard_is_of_no_use() {
        let known = login("alice", "wonder");
        let find = |_: &str| Some(ScramCredential::of_password(ScramHash::Sha256, "wonder", b"salt", 4096));
        let mut client = ScramClient::new(ScramHash::Sha256, known, "abc".into());
        let mut server = ScramServer::new(ScramHash::Sha256);
        let ServerStep::Challenge(challenge) = server.step(&client.first(), "def", b"", find).unwrap() else {
            panic!("a challenge comes first")
        };
        let proof = client.answer(&challenge).unwrap().unwrap();
        // Somebody else says the same to another exchange, whose nonce is another.
        let mut other = ScramServer::new(ScramHash::Sha256);
        other.step(&client.first(), "ghi", b"", find).unwrap();
        assert!(matches!(other.step(&proof, "", b"", |_| None), Err(SaslError::Malformed(_))));
        assert!(server.step(&proof, "", b"", |_| None).is_ok());
        assert!(server.step(&proof, "", b"", |_| None).is_err(), "an exchange is over when it is over");
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let mut client = ScramClient::new(ScramHash::Sha256, login("a", "b"), "abc".into());
        client.answer(b"r=abcdef,s=c2FsdA==,i=4096").unwrap();
        let forged = format!("v={}", BASE64.encode([0; 32]));
        assert_eq!(client.answer(forged.as_bytes()), Err(SaslError::ImpostorServer));
    }

    #[test]
    fn a_client_takes_no_bad_bargain() {
        let messages: [&[u8]; 7] = [
            b"r=abc,s=c2FsdA==,i=4096",          // a nonce that is only ours
            b"r=xyz,s=c2FsdA==,i=4096",          // or none of ours
            b"r=abcdef,s=c2FsdA==,i=4095",       // too few
            b"r=abcdef,s=c2FsdA==,i=2000000000", // too many
            b"r=abcdef,s=***,i=4096",
            b"s=c2FsdA==,i=4096",
            b"\xff",
        ];
        for message in messages {
            let mut client = ScramClient::new(ScramHash::Sha256, login("a", "b"), "abc".into());
            assert!(matches!(client.answer(message), Err(SaslError::Malformed(_))), "{message:?}");
        }
        let mut client = ScramClient::new(ScramHash::Sha256, login("a", "b"), "abc".into());
        assert_eq!(client.answer(b"e=other-error"), Err(SaslError::ByServer("other-error".into())));
    }

    #[test]
    fn a_servers_patience_with_odd_messages_is_short() {
        let messages: [&[u8]; 8] = [
            b"",
            b"n",
            b"n,,",
            b"p=tls-unique,,n=a,r=b",
            b"n,,n=a",
            b"n,,r=b,n=a",
            b"n,,n=a=,r=b",
            b"n,,n=,r=b",
        ];
        for message in messages {
            let mut server = ScramServer::new(ScramHash::Sha512);
            let answer = server.step(message, "def", b"", |_| None);
            assert!(matches!(answer, Err(SaslError::Malformed(_))), "{message:?}: {answer:?}");
        }
        let mut server = ScramServer::new(ScramHash::Sha512);
        assert_eq!(server.step(b"n,a=root,n=a,r=b", "def", b"", |_| None), Err(SaslError::Refused));
    }
}
