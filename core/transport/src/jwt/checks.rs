//! What a token must say to be taken: what Kafka's `BrokerJwtValidator` asks for.

use std::{collections::BTreeSet, time::Duration};

use super::{Claims, KeySet, Signed, TokenError};

/// What is asked of tokens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checks {
    /// One of these must be in `aud`. Without any, it is not looked at.
    pub audience: Vec<String>,
    /// What `iss` must be. `None` for anything.
    pub issuer: Option<String>,
    /// How much the clocks of those that make tokens and of this machine may differ.
    pub clock_skew: Duration,
    /// The claim that names who it is about.
    pub subject_claim: String,
    /// The claim that says what it allows.
    pub scope_claim: String,
}

/// Whom a token that was taken is of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Bearer {
    /// Who it is about.
    pub subject: String,
    /// What it allows. Nothing here asks for it yet.
    pub scope: BTreeSet<String>,
    /// How long it is good yet: until its end or, where that has just passed by this machine's clock, as long as clocks may differ.
    pub lifetime: Duration,
}

impl Default for Checks {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            audience: Vec::new(),
            issuer: None,
            clock_skew: Duration::from_secs(30),
            subject_claim: "sub".to_owned(),
            scope_claim: "scope".to_owned(),
        }
    }
}

impl Checks {
    /// Checks a token by `keys`; `now` is the time since 1970.
    ///
    /// # Errors
    /// If anything is wrong with it.
    pub fn check(&self, token: &str, keys: &KeySet, now: Duration) -> Result<Bearer, TokenError> {
        let token = Signed::parse(token)?;
        keys.check(&token)?;
        self.judge(&Claims::parse(token.claims())?, now)
    }

    /// Judges claims whose signature is good.
    fn judge(&self, claims: &Claims, now: Duration) -> Result<Bearer, TokenError> {
        let (expires, not_before) = (claims.expires()?, claims.not_before()?);
        let issued = claims.issued()?.ok_or_else(|| TokenError::claim("iat", "is missing"))?;
        if expires < issued || not_before.is_some_and(|begin| expires < begin) {
            return Err(TokenError::claim("exp", "lies before `iat` or `nbf`"));
        }
        if now.saturating_sub(self.clock_skew) >= expires {
            return Err(TokenError::Expired { ago: now.saturating_sub(expires) });
        }
        if let Some(begin) = not_before.filter(|begin| now + self.clock_skew < *begin) {
            return Err(TokenError::NotYet { within: begin.saturating_sub(now) });
        }
        self.check_issuer(claims.issuer()?)?;
        self.check_audience(claims.audience()?)?;
        let lifetime = match expires.saturating_sub(now) {
            Duration::ZERO => (expires + self.clock_skew).saturating_sub(now),
            lifetime => lifetime,
        };
        let subject = claims.subject(&self.subject_claim)?;
        Ok(Bearer { subject, scope: claims.scope(&self.scope_claim)?, lifetime })
    }

    fn check_issuer(&self, found: Option<&str>) -> Result<(), TokenError> {
        match &self.issuer {
            Some(expected) if found != Some(expected) => {
                Err(TokenError::Issuer { found: found.map(str::to_owned), expected: expected.clone() })
            }
            _ => Ok(()),
        }
    }

    fn check_audience(&self, found: Vec<String>) -> Result<(), TokenError> {
        if self.audience.is_empty() || found.iter().any(|one| self.audience.contains(one)) {
            return Ok(());
        }
        Err(TokenError::Audience { found, expected: self.audience.clone() })
    }
}
