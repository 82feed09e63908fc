//! A provider's keys: a JWK set (RFC 7517, RFC 7518), of which those that sign tokens are kept.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use ring::signature::{self, RsaPublicKeyComponents, UnparsedPublicKey};
use serde_json::Value;

use super::{Algorithm, KeySetError, TokenError, algorithm::Kind, json::Object, signed::Signed};

/// Most keys that a set may have; a provider has one or two for each algorithm.
const KEYS_MAX: usize = 256;
/// Keys that are tried for one token, where several are of its name or it names none.
const TRIED_MAX: usize = 8;
/// Bits of the least and of the largest RSA key: below, ring takes none (RFC 7518 asks for as much), above, checking is work.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Bytes of a coordinate on P-256, and on P-384.
const COORDINATE_BYTES: [usize; 2] = [32, 48];
/// What an uncompressed point of a curve begins with.
const UNCOMPRESSED: u8 = 4;

/// Public keys, by name. There is at least one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KeySet {
    keys: Vec<Key>,
    ignored: Vec<Ignored>,
}

/// A key of a set that is of no use here: for the log.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Ignored {
    /// Its name, if it has one.
    pub id: Option<String>,
    /// Why it is of no use.
    pub why: &'static str,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Key {
    id: Option<String>,
    /// The one algorithm that it is for, if it says so.
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Public {
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
    /// A point, uncompressed.
    Ec {
        kind: Kind,
        point: Vec<u8>,
    },
}

impl KeySet {
    /// Reads a set. Keys of kinds that are not known, or for other ends than signatures, are passed over, as the RFC has it.
    ///
    /// # Errors
    /// If it is no set, or no key of it is of use.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let malformed = |error: serde_json::Error| KeySetError::Malformed(error.to_string());
        let mut set = Object::parse(json).map_err(malformed)?.0;
        let Some(Value::Array(members)) = set.remove("keys") else {
            return Err(KeySetError::Malformed("it has no list `keys`".to_owned()));
        };
        if members.len() > KEYS_MAX {
            return Err(KeySetError::TooMany { keys: members.len() });
        }
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for member in members {
            let Value::Object(member) = member else {
                return Err(KeySetError::Malformed("a member of `keys` is no object".to_owned()));
            };
            let member = Object(member);
            match Key::of(&member) {
                Ok(key) => keys.push(key),
                Err(why) => {
                    let id = member.text("kid").ok().flatten().map(str::to_owned);
                    ignored.push(Ignored { id, why });
                }
            }
        }
        if keys.is_empty() {
            return Err(KeySetError::Useless(ignored.first().map(|key| key.why)));
        }
        Ok(Self { keys, ignored })
    }

    /// How many keys are of use.
    #[expect(clippy::len_without_is_empty, reason = "there is always one")]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys that are of no use.
    pub fn ignored(&self) -> &[Ignored] {
        &self.ignored
    }

    /// Whether a key has this name.
    pub fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }

    /// Checks that the token is signed by a key of this set: by one of the name that it says, if it says one.
    pub(super) fn check(&self, token: &Signed<'_>) -> Result<(), TokenError> {
        let (id, algorithm) = (token.key_id(), token.algorithm());
        let named = || self.keys.iter().filter(|key| id.is_none() || key.id.as_deref() == id);
        let mut fitting = named().filter(|key| key.is_for(algorithm)).take(TRIED_MAX).peekable();
        if fitting.peek().is_none() {
            let id = id.map(str::to_owned);
            return Err(match id.is_some() && named().next().is_some() {
                true => TokenError::OtherKey { id, algorithm },
                false => TokenError::UnknownKey { id },
            });
        }
        match fitting.any(|key| key.public.has_signed(token)) {
            true => Ok(()),
            false => Err(TokenError::Signature),
        }
    }
}

impl Key {
    fn of(member: &Object) -> Result<Self, &'static str> {
        let text = |name| member.text(name).map_err(|()| "has a member that is no text");
        if text("use")?.is_some_and(|r#use| r#use != "sig") {
            return Err("is not for signatures (`use`)");
        }
        if let Some(operations) = member.0.get("key_ops") {
            let verifies =
                |operations: &Vec<Value>| operations.iter().any(|one| one.as_str() == Some("verify"));
            if !operations.as_array().is_some_and(verifies) {
                return Err("is not to check signatures (`key_ops`)");
            }
        }
        let number = |name, what| {
            let text = text(name)?.ok_or(what)?;
            BASE64.decode(text).map_err(|_| what)
        };
        let public = match text("kty")? {
            Some("RSA") => rsa(&number("n", "has no good `n`")?, &number("e", "has no good `e`")?)?,
            Some("EC") => {
                let (kind, bytes) = match text("crv")? {
                    Some("P-256") => (Kind::P256, COORDINATE_BYTES[0]),
                    Some("P-384") => (Kind::P384, COORDINATE_BYTES[1]),
                    _ => return Err("is of another curve than P-256 and P-384 (`crv`)"),
                };
                let (x, y) = (number("x", "has no good `x`")?, number("y", "has no good `y`")?);
                if x.len() != bytes || y.len() != bytes {
                    return Err("has coordinates of another length than its curve");
                }
                Public::Ec { kind, point: [&[UNCOMPRESSED][..], &x, &y].concat() }
            }
            Some("oct") => {
                return Err("is a shared secret (`kty` is `oct`), which anybody who has it could sign with");
            }
            _ => return Err("is of another kind than RSA and EC (`kty`)"),
        };
        let algorithm = match text("alg")? {
            None => None,
            Some(name) => {
                let algorithm =
                    Algorithm::named(name).ok_or("is for an algorithm that is not taken (`alg`)")?;
                if algorithm.kind() != public.kind() {
                    return Err("is of another kind than its algorithm (`alg`)");
                }
                Some(algorithm)
            }
        };
        Ok(Self { id: text("kid")?.map(str::to_owned), algorithm, public })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithm.is_none_or(|own| own == algorithm) && self.public.kind() == algorithm.kind()
    }
}

fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Public, &'static str> {
    // RFC 7518 has numbers without zeros before them; some providers write one all the same.
    let number = |bytes: &[u8]| bytes.iter().skip_while(|&&byte| byte == 0).copied().collect::<Vec<_>>();
    let (modulus, exponent) = (number(modulus), number(exponent));
    let bits = modulus.len() * 8 - modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    if !RSA_BITS.contains(&bits) {
        return Err("is of fewer than 2048 bits, or more than 8192");
    }
    if exponent.is_empty() {
        return Err("has no good `e`");
    }
    Ok(Public::Rsa { modulus, exponent })
}

impl Public {
    fn kind(&self) -> Kind {
        match self {
            Self::Rsa { .. } => Kind::Rsa,
            Self::Ec { kind, .. } => *kind,
        }
    }

    fn has_signed(&self, token: &Signed<'_>) -> bool {
        let (message, signed) = (token.message(), token.signature());
        match self {
            Self::Rsa { modulus, exponent } => token.algorithm().rsa().is_some_and(|parameters| {
                let key = RsaPublicKeyComponents { n: modulus, e: exponent };
                key.verify(parameters, message, signed).is_ok()
            }),
            Self::Ec { kind: Kind::P256, point } => {
                UnparsedPublicKey::new(&signature::ECDSA_P256_SHA256_FIXED, point)
                    .verify(message, signed)
                    .is_ok()
            }
            Self::Ec { kind: Kind::P384, point } => {
                UnparsedPublicKey::new(&signature::ECDSA_P384_SHA384_FIXED, point)
                    .verify(message, signed)
                    .is_ok()
            }
            Self::Ec { kind: Kind::Rsa, .. } => false,
        }
    }
}
