//! Why a broker does not start.

use std::{fmt, io, net::SocketAddr};

use ottla_config::ConfigErrors;

/// Why a broker does not start, and what to do about it.
#[derive(Debug)]
pub struct StartError(Box<Reason>);

#[derive(Debug)]
enum Reason {
    Listen { address: String, error: io::Error },
    Config(ConfigErrors),
    Setting { key: &'static str, why: String },
    Data(String),
    System { what: &'static str, error: io::Error },
}

impl StartError {
    pub(crate) fn listen(address: impl fmt::Display, error: io::Error) -> Self {
        Self(Box::new(Reason::Listen { address: address.to_string(), error }))
    }

    pub(crate) fn config(errors: ConfigErrors) -> Self {
        Self(Box::new(Reason::Config(errors)))
    }

    pub(crate) fn setting(key: &'static str, why: impl Into<String>) -> Self {
        Self(Box::new(Reason::Setting { key, why: why.into() }))
    }

    pub(crate) fn data(why: impl fmt::Display) -> Self {
        Self(Box::new(Reason::Data(why.to_string())))
    }

    pub(crate) fn system(what: &'static str, error: io::Error) -> Self {
        Self(Box::new(Reason::System { what, error }))
    }

    /// Whether the mistake is in the configuration.
    pub fn is_config(&self) -> bool {
        matches!(*self.0, Reason::Config(_) | Reason::Setting { .. })
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Reason::Listen { address, error } if error.kind() == io::ErrorKind::AddrInUse => {
                let port = address.parse::<SocketAddr>().map(|a| a.port()).unwrap_or_default();
                write!(
                    f,
                    "cannot listen on `{address}`: another process has the port; stop it, or name another in \
                     `listeners` (`ss -ltnp 'sport = :{port}'` tells who has it)"
                )
            }
            Reason::Listen { address, error } => write!(f, "cannot listen on `{address}`: {error}"),
            Reason::Config(errors) => write!(f, "{errors}"),
            Reason::Setting { key, why } => write!(f, "`{key}`: {why}"),
            Reason::Data(why) => f.write_str(why),
            Reason::System { what, error } => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Reason::Listen { error, .. } | Reason::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
