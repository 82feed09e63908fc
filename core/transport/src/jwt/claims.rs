//! What a token says (RFC 7519, section 4).

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;

use super::{
    TokenError,
    json::Object,
    signed::{decoded, parts},
};

/// The last second of the year 9999: a time behind it is a mistake, such as milliseconds.
const SECONDS_MAX: u64 = 253_402_300_799;
/// Longest subject, in bytes: it becomes a principal, which rules and quotas name.
const SUBJECT_BYTES_MAX: usize = 1024;

const EXPIRES: &str = "exp";
const ISSUED: &str = "iat";
const NOT_BEFORE: &str = "nbf";
const ISSUER: &str = "iss";
const AUDIENCE: &str = "aud";

/// Claims. There is no `Debug`: they are most of a secret.
#[expect(missing_debug_implementations, reason = "a token is a secret")]
pub struct Claims(Object);

impl Claims {
    /// What a token says *without any check of who signed it*: for whoever got it for itself and wants to know how long it
    /// lasts, as Kafka's `ClientJwtValidator` does.
    ///
    /// # Errors
    /// If it is no token of three parts, whose second is an object in JSON.
    pub fn unchecked(token: &str) -> Result<Self, TokenError> {
        let (_, _, claims, _) = parts(token)?;
        Self::parse(claims)
    }

    pub(super) fn parse(part: &str) -> Result<Self, TokenError> {
        let json = decoded(part, "its claims are not base64url")?;
        let claims = Object::parse(&json)
            .map_err(|_| TokenError::Malformed("its claims are no JSON object that can be read"))?;
        Ok(Self(claims))
    }

    /// When it ends, since 1970.
    ///
    /// # Errors
    /// If it does not say, or no time. The same with the others.
    pub fn expires(&self) -> Result<Duration, TokenError> {
        self.time(EXPIRES)?.ok_or_else(|| missing(EXPIRES))
    }

    /// When it was made, since 1970. Kafka's broker asks for it, its client does not.
    pub fn issued(&self) -> Result<Option<Duration>, TokenError> {
        self.time(ISSUED)
    }

    /// When it begins to be good, since 1970.
    pub fn not_before(&self) -> Result<Option<Duration>, TokenError> {
        self.time(NOT_BEFORE)
    }

    /// Who made it.
    pub fn issuer(&self) -> Result<Option<&str>, TokenError> {
        self.text(ISSUER)
    }

    /// For whom it is; one, or a list.
    pub fn audience(&self) -> Result<Vec<String>, TokenError> {
        self.texts(AUDIENCE)
    }

    /// Whom it is about, by the claim of this name.
    pub fn subject(&self, claim: &str) -> Result<String, TokenError> {
        let subject = self.text(claim)?.ok_or_else(|| missing(claim))?.trim();
        match subject.len() {
            0 => Err(TokenError::claim(claim, "is empty")),
            1..=SUBJECT_BYTES_MAX => Ok(subject.to_owned()),
            _ => Err(TokenError::claim(claim, "is too long")),
        }
    }

    /// What it allows, by the claim of this name: one text, or a list. Nothing if the claim is missing, or of another form, as in
    /// Kafka.
    pub fn scope(&self, claim: &str) -> Result<BTreeSet<String>, TokenError> {
        if !matches!(self.0.0.get(claim), Some(Value::String(_) | Value::Array(_))) {
            return Ok(BTreeSet::new());
        }
        let mut scope = BTreeSet::new();
        for value in self.texts(claim)? {
            let value = value.trim();
            if value.is_empty() {
                return Err(TokenError::claim(claim, "has an empty value"));
            }
            if !scope.insert(value.to_owned()) {
                return Err(TokenError::claim(claim, "has a value twice"));
            }
        }
        Ok(scope)
    }

    /// A NumericDate: seconds since 1970, perhaps with a fraction.
    fn time(&self, claim: &str) -> Result<Option<Duration>, TokenError> {
        let Some(value) = self.0.0.get(claim) else { return Ok(None) };
        let Value::Number(number) = value else {
            return Err(TokenError::claim(claim, "is no number"));
        };
        let seconds = match (number.as_u64(), number.as_f64()) {
            (Some(seconds), _) => seconds,
            // A fraction of a second says nothing here, as in Kafka.
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is within what is compared"
            )]
            (None, Some(seconds)) if seconds >= 0.0 && seconds <= SECONDS_MAX as f64 => seconds as u64,
            (None, Some(seconds)) if seconds < 0.0 => return Err(TokenError::claim(claim, "is negative")),
            _ => u64::MAX,
        };
        if seconds > SECONDS_MAX {
            return Err(TokenError::claim(claim, "is no time in seconds: it lies behind the year 9999"));
        }
        Ok(Some(Duration::from_secs(seconds)))
    }

    fn text(&self, claim: &str) -> Result<Option<&str>, TokenError> {
        self.0.text(claim).map_err(|()| TokenError::claim(claim, "is no text"))
    }

    fn texts(&self, claim: &str) -> Result<Vec<String>, TokenError> {
        match self.0.0.get(claim) {
            None => Ok(Vec::new()),
            Some(Value::String(one)) => Ok(vec![one.clone()]),
            Some(Value::Array(values)) => {
                let texts: Option<_> = values.iter().map(|value| value.as_str().map(str::to_owned)).collect();
                texts.ok_or_else(|| TokenError::claim(claim, "has a value that is no text"))
            }
            Some(_) => Err(TokenError::claim(claim, "is neither text nor a list of it")),
        }
    }
}

fn missing(claim: &str) -> TokenError {
    TokenError::claim(claim, "is missing")
}
