//! What a JWT says of itself, read and not checked: a client has no key to check it by, and only needs to know when to ask for
//! the next.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

/// Longest token that is looked into, in bytes.
const JWT_BYTES_MAX: usize = 64 * 1024;

/// The claims that a client looks at.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Claims {
    /// Whose token it is.
    pub subject: Option<String>,
    /// `iat`, in milliseconds since the epoch.
    pub issued_ms: Option<i64>,
    /// `exp`, in milliseconds since the epoch.
    pub expires_ms: Option<i64>,
}

/// The claims of a token if it is a JWT (RFC 7519); `subject` is the name of the claim that says whose it is.
pub(super) fn read(token: &str, subject: &str) -> Option<Claims> {
    if token.len() > JWT_BYTES_MAX {
        return None;
    }
    let mut parts = token.split('.');
    let (_header, payload, _signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() {
        return None;
    }
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let payload: Value = serde_json::from_slice(&payload).ok()?;
    let claims = payload.as_object()?;
    // A NumericDate may have a fraction.
    let ms = |name: &str| {
        let seconds = claims.get(name)?.as_f64().filter(|seconds| seconds.is_finite())?;
        Some((seconds * 1e3) as i64)
    };
    Some(Claims {
        subject: claims.get(subject).and_then(Value::as_str).map(str::to_owned),
        issued_ms: ms("iat"),
        expires_ms: ms("exp"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(payload: &str) -> String {
        format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn a_jwt_says_whose_it_is_and_when_it_ends() {
        let claims = read(&jwt(r#"{"sub":"alice","azp":"app","iat":1700000000,"exp":1700003600.5}"#), "sub");
        let claims = claims.unwrap();
        assert_eq!(claims.subject.as_deref(), Some("alice"));
        assert_eq!((claims.issued_ms, claims.expires_ms), (Some(1_700_000_000_000), Some(1_700_003_600_500)));
        assert_eq!(
            read(&jwt(r#"{"sub":"alice","azp":"app"}"#), "azp").unwrap().subject.as_deref(),
            Some("app")
        );
    }

    #[test]
    fn what_is_no_jwt_has_no_claims_and_does_no_harm() {
        for token in ["", "opaque", "a.b", "a.b.c.d", "e30.!!.x", "e30.bm9qc29u.x", "e30.W10.x"] {
            assert_eq!(read(token, "sub"), None, "{token}");
        }
        let odd = read(&jwt(r#"{"sub":7,"exp":"soon","iat":-1e300}"#), "sub").unwrap();
        assert_eq!(odd, Claims { subject: None, issued_ms: Some(i64::MIN), expires_ms: None });
        assert_eq!(read(&"x".repeat(JWT_BYTES_MAX + 1), "sub"), None);
    }
}
