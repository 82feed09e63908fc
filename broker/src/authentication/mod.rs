//! Who connects: what a listener asks of its clients ([`settings`]), and a connection's login ([`sasl`]). Tokens of OAUTHBEARER are judged by
//! what a listener says of them ([`tokens`]) and the keys of a provider ([`keys`]).

pub(crate) mod keys;
pub(crate) mod sasl;
pub(crate) mod settings;
pub(crate) mod tokens;

use std::{fmt, sync::Arc};

use ottla_protocol::types::Str;

pub(crate) use self::settings::Listening;

/// Who a request is from: Kafka's `KafkaPrincipal` of the type `User`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) struct Principal(Str);

impl Principal {
    /// Somebody who was not asked.
    pub(crate) const ANONYMOUS: Self = Self(Str::from_static("ANONYMOUS"));

    /// The user of this name.
    pub(crate) fn user(name: &str) -> Self {
        Self(Str::from(name))
    }

    /// The user's name.
    pub(crate) fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    /// As Kafka writes it; a name may hold anything, and a log is read on terminals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "User:{}", self.name().escape_debug())
    }
}

/// What is known of a connection once it may ask.
#[derive(Debug)]
pub(crate) struct Session {
    /// The listener that it came in by.
    pub(crate) listening: Arc<Listening>,
    /// Who is at its other end; the same for the connection's whole life.
    pub(crate) principal: Principal,
}
