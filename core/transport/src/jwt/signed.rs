//! A token in its compact form (RFC 7515, section 7.1): a header, claims and a signature, in base64 with dots between.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

use super::{Algorithm, TokenError, json::Object};

/// Longest token that is looked at, in bytes. Those of users in very many groups come to half of it.
pub const TOKEN_BYTES_MAX: usize = 32 * 1024;
/// Longest header, in bytes; it has to be read before anybody knows who wrote it.
const HEADER_BYTES_MAX: usize = 4 * 1024;
/// Longest name of a key, in bytes: Kafka's `RefreshingHttpsJwks` has the same.
const KEY_ID_BYTES_MAX: usize = 1000;
/// Longest signature, in bytes: RSA's of 8192 bits.
const SIGNATURE_BYTES_MAX: usize = 1024;

/// A token that is taken apart, and not checked. There is no `Debug`: it is a secret.
#[expect(missing_debug_implementations, reason = "a token is a secret")]
pub struct Signed<'a> {
    /// What is signed: header and claims as they came.
    message: &'a str,
    claims: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl<'a> Signed<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// If it has another form, or is signed by an algorithm that is not taken.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        let (message, header, claims, signature) = parts(token)?;
        let signature = match signature.len().div_ceil(4) * 3 {
            ..=SIGNATURE_BYTES_MAX => decoded(signature, "its signature is not base64url")?,
            _ => return Err(TokenError::Malformed("its signature is too long")),
        };
        let (algorithm, key_id) = read_header(header)?;
        Ok(Self { message, claims, signature, algorithm, key_id })
    }

    /// What it claims to be signed by.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The name of the key that it claims to be signed by.
    pub fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    pub(super) fn message(&self) -> &[u8] {
        self.message.as_bytes()
    }

    pub(super) fn claims(&self) -> &str {
        self.claims
    }

    pub(super) fn signature(&self) -> &[u8] {
        &self.signature
    }
}

/// What is signed of a token, then its three parts.
pub(super) fn parts(token: &str) -> Result<(&str, &str, &str, &str), TokenError> {
    if token.len() > TOKEN_BYTES_MAX {
        return Err(TokenError::TooLong { bytes: token.len() });
    }
    let mut parts = token.split('.');
    let (Some(header), Some(claims), Some(signature)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(TokenError::Malformed("it has not three parts with dots between"));
    };
    match parts.count() {
        0 => {}
        // RFC 7516, section 7.1.
        2 => return Err(TokenError::Malformed("it is encrypted, and only signed ones are read")),
        _ => return Err(TokenError::Malformed("it has more than three parts")),
    }
    let message = token.get(..header.len() + 1 + claims.len()).unwrap_or_default();
    Ok((message, header, claims, signature))
}

pub(super) fn decoded(part: &str, otherwise: &'static str) -> Result<Vec<u8>, TokenError> {
    // No padding, and no bits that mean nothing: a token is written in one way only.
    BASE64.decode(part).map_err(|_| TokenError::Malformed(otherwise))
}

fn read_header(header: &str) -> Result<(Algorithm, Option<String>), TokenError> {
    if header.len() > HEADER_BYTES_MAX {
        return Err(TokenError::Malformed("its header is too long"));
    }
    let header = decoded(header, "its header is not base64url")?;
    let header = Object::parse(&header)
        .map_err(|_| TokenError::Malformed("its header is no JSON object that can be read"))?;
    // Whoever does not know what is critical must not take the token (RFC 7515, section 4.1.11), and nothing of that is known here.
    if header.0.contains_key("crit") {
        return Err(TokenError::Malformed("its header asks for extensions (`crit`), of which none is known"));
    }
    let no_text = |()| TokenError::Malformed("`alg` or `kid` of its header is no text");
    let algorithm =
        header.text("alg").map_err(no_text)?.ok_or(TokenError::Malformed("its header has no `alg`"))?;
    let algorithm =
        Algorithm::named(algorithm).ok_or_else(|| TokenError::Algorithm(super::error::clipped(algorithm)))?;
    let key_id = header.text("kid").map_err(no_text)?;
    if key_id.is_some_and(|id| id.len() > KEY_ID_BYTES_MAX) {
        return Err(TokenError::Malformed("the name of its key (`kid`) is too long"));
    }
    Ok((algorithm, key_id.map(str::to_owned)))
}
