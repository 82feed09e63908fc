//! PLAIN (RFC 4616): an identity, a name and a password, with a zero byte between them.

use std::collections::BTreeMap;

use ring::hmac;

use super::{JaasConfig, Login, SaslError, ServerStep};

/// Longest token that is looked at, in bytes; RFC 4616 allows names and passwords of 255 characters.
const TOKEN_BYTES_MAX: usize = 4096;

/// A client's only token. No identity is asked for but the name's own.
pub(super) fn token(login: &Login) -> Vec<u8> {
    [b"\0", login.user.as_bytes(), b"\0", login.password.as_bytes()].concat()
}

/// The users that a broker knows, as Kafka's `PlainLoginModule` has them: an option `user_NAME` for each.
#[derive(Clone)]
pub struct PlainUsers {
    /// Passwords are kept and compared as codes under a key of this process: equal lengths, in constant time.
    codes: BTreeMap<String, hmac::Tag>,
    key: hmac::Key,
}

impl std::fmt::Debug for PlainUsers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.codes.keys()).finish()
    }
}

impl PlainUsers {
    /// Takes the users of a login module; `secret` is random, and this process's own.
    pub fn new(jaas: &JaasConfig, secret: &[u8; 32]) -> Self {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let users =
            jaas.options().filter_map(|(name, password)| Some((name.strip_prefix("user_")?, password)));
        let codes =
            users.map(|(user, password)| (user.to_owned(), hmac::sign(&key, password.as_bytes()))).collect();
        Self { codes, key }
    }

    fn knows(&self, user: &str, password: &str) -> bool {
        // Somebody unknown takes as much work as somebody known.
        let code = self.codes.get(user);
        let is_right =
            hmac::verify(&self.key, password.as_bytes(), code.map_or(&[0; 32], |code| code.as_ref()));
        code.is_some() && is_right.is_ok()
    }
}

/// The broker's side: one token decides.
#[derive(Debug)]
pub struct PlainServer;

impl PlainServer {
    /// Looks at a client's token.
    ///
    /// # Errors
    /// If it is malformed, or name and password do not belong together.
    pub fn step(users: &PlainUsers, token: &[u8]) -> Result<ServerStep, SaslError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(SaslError::Malformed("it is too long"));
        }
        let text = std::str::from_utf8(token).map_err(|_| SaslError::Malformed("it is not UTF-8"))?;
        let parts: Vec<&str> = text.split('\0').collect();
        let [identity, user, password] = parts[..] else {
            return Err(SaslError::Malformed("it has not three parts"));
        };
        if user.is_empty() || password.is_empty() {
            return Err(SaslError::Malformed("user name or password is empty"));
        }
        // Acting for another is not offered; Kafka's server refuses it, too.
        if !(identity.is_empty() || identity == user) || !users.knows(user, password) {
            return Err(SaslError::Refused);
        }
        Ok(ServerStep::Done { user: user.to_owned(), token: Vec::new(), lifetime: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users() -> PlainUsers {
        let jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username=\"a\" password=\"b\" \
                    user_alice=\"wonder\" user_bob=\"builder\";";
        PlainUsers::new(&JaasConfig::parse(jaas).unwrap(), &[7; 32])
    }

    #[test]
    fn whoever_knows_the_password_is_let_in_and_nobody_else() {
        let login = |user: &str, password: &str| Login { user: user.into(), password: password.into() };
        let done = |user: &str| Ok(ServerStep::Done { user: user.into(), token: Vec::new(), lifetime: None });
        let step = |token: &[u8]| PlainServer::step(&users(), token);
        assert_eq!(step(&token(&login("alice", "wonder"))), done("alice"));
        assert_eq!(step(b"bob\0bob\0builder"), done("bob"));
        let wrong: [&[u8]; 5] =
            [b"\0alice\0builder", b"\0alice\0wonder2", b"\0carol\0wonder", b"bob\0alice\0wonder", b"\0a\0b"];
        for wrong in wrong {
            assert_eq!(step(wrong), Err(SaslError::Refused), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_of_another_form_is_malformed() {
        let long = [b'x'; TOKEN_BYTES_MAX + 1];
        let forms: [&[u8]; 7] = [b"", b"alice", b"\0alice", b"\0alice\0", b"\0\0wonder", b"\0a\0b\0c", &long];
        for form in forms {
            let answer = PlainServer::step(&users(), form);
            assert!(matches!(answer, Err(SaslError::Malformed(_))), "{form:?}: {answer:?}");
        }
        assert!(matches!(PlainServer::step(&users(), b"\0\xff\0x"), Err(SaslError::Malformed(_))));
    }

    #[test]
    fn no_password_is_printed() {
        let login = Login { user: "alice".into(), password: "wonder".into() };
        assert!(!format!("{login:?} {:?}", users()).contains("wonder"));
    }
}
