//! The configuration's listeners: `listeners`, `advertised.listeners` and the protocols of their names.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crate::{StartError, config::BrokerConfig};

/// How a listener's connections are secured (`SecurityProtocol`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Protocol {
    /// Neither secret nor known.
    Plaintext,
    /// By TLS.
    Ssl,
    /// With a login.
    SaslPlaintext,
    /// With a login, by TLS.
    SaslSsl,
}

impl Protocol {
    /// By Kafka's name of it, in capitals.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "PLAINTEXT" => Self::Plaintext,
            "SSL" => Self::Ssl,
            "SASL_PLAINTEXT" => Self::SaslPlaintext,
            "SASL_SSL" => Self::SaslSsl,
            _ => return None,
        })
    }

    /// Its number in the metadata log.
    pub(crate) fn id(self) -> i16 {
        match self {
            Self::Plaintext => 0,
            Self::Ssl => 1,
            Self::SaslPlaintext => 2,
            Self::SaslSsl => 3,
        }
    }

    /// Whether its connections are encrypted.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Whether clients log in.
    pub(crate) fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

/// A listener as the configuration names it: `NAME://host:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    /// In capitals, as Kafka compares them.
    pub(crate) name: String,
    /// Empty for every address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// By `listener.security.protocol.map`; of an advertised address it says nothing.
    pub(crate) protocol: Protocol,
}

impl Endpoint {
    /// Reads `NAME://host:port`; an IPv6 address stands in brackets.
    pub(crate) fn parse(key: &'static str, text: &str) -> Result<Self, StartError> {
        let wrong = || StartError::setting(key, format!("`{text}` is not of the form `NAME://host:port`"));
        let (name, address) = text.trim().split_once("://").ok_or_else(wrong)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
        if name.is_empty() {
            return Err(wrong());
        }
        let port = port.parse().map_err(|_| wrong())?;
        let protocol = Protocol::Plaintext;
        Ok(Self { name: name.to_ascii_uppercase(), host: host.to_owned(), port, protocol })
    }
}

/// The broker's own listeners: those of its controller's role are left out, since one node needs none.
pub(crate) fn endpoints(config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
    let mut endpoints = Vec::new();
    for text in &config.listeners {
        let mut endpoint = Endpoint::parse("listeners", text)?;
        if config.controller_listener_names.iter().any(|n| n.eq_ignore_ascii_case(&endpoint.name)) {
            continue;
        }
        endpoint.protocol = protocol_of(config, &endpoint.name)?;
        endpoints.push(endpoint);
    }
    if endpoints.is_empty() {
        return Err(StartError::setting("listeners", "names no listener for clients"));
    }
    let names_one = |name: &String| endpoints.iter().any(|endpoint| endpoint.name.eq_ignore_ascii_case(name));
    match &config.inter_broker_listener_name {
        Some(name) if !names_one(name) => {
            let why = format!("`{name}` is none of `listeners`");
            Err(StartError::setting("inter.broker.listener.name", why))
        }
        _ => Ok(endpoints),
    }
}

/// What clients are told instead, by listener name.
pub(crate) fn advertised(config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
    let texts = config.advertised_listeners.as_deref().unwrap_or_default();
    texts.iter().map(|text| Endpoint::parse("advertised.listeners", text)).collect()
}

/// What a listener of this name speaks.
fn protocol_of(config: &BrokerConfig, name: &str) -> Result<Protocol, StartError> {
    const KEY: &str = "listener.security.protocol.map";
    let protocol = config.listener_security_protocol_map.split(',').find_map(|pair| {
        let (of, protocol) = pair.trim().split_once(':')?;
        of.trim().eq_ignore_ascii_case(name).then(|| protocol.trim().to_ascii_uppercase())
    });
    let Some(protocol) = protocol else {
        return Err(StartError::setting(KEY, format!("says no protocol for the listener `{name}`")));
    };
    Protocol::named(&protocol).ok_or_else(|| {
        let why = format!(
            "listener `{name}` wants `{protocol}`; there are `PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` and `SASL_SSL`"
        );
        StartError::setting(KEY, why)
    })
}

/// Begins to listen for HTTP, at `host:port`.
pub(crate) fn bind_http(text: &str) -> Result<(SocketAddr, TcpListener), StartError> {
    const KEY: &str = "ottla.http.listener";
    let endpoint = Endpoint::parse(KEY, &format!("HTTP://{text}"))
        .map_err(|_| StartError::setting(KEY, format!("`{text}` is not of the form `host:port`")))?;
    bind(&endpoint)
}

/// Begins to listen.
pub(crate) fn bind(endpoint: &Endpoint) -> Result<(SocketAddr, TcpListener), StartError> {
    let shown = format!("{}:{}", endpoint.host, endpoint.port);
    let host = if endpoint.host.is_empty() { "0.0.0.0" } else { &endpoint.host };
    let addresses: Vec<SocketAddr> =
        (host, endpoint.port).to_socket_addrs().map_err(|error| StartError::listen(&shown, error))?.collect();
    // All of a name's addresses are tried; the standard library sets SO_REUSEADDR, so a restart need not wait.
    let socket =
        TcpListener::bind(addresses.as_slice()).map_err(|error| StartError::listen(&shown, error))?;
    socket.set_nonblocking(true).map_err(|error| StartError::listen(&shown, error))?;
    let address = socket.local_addr().map_err(|error| StartError::listen(&shown, error))?;
    Ok((address, socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_kafka_writes_them() {
        let parse = |text| Endpoint::parse("listeners", text);
        let endpoint = |name: &str, host: &str, port| Endpoint {
            name: name.into(),
            host: host.into(),
            port,
            protocol: Protocol::Plaintext,
        };
        assert_eq!(parse("PLAINTEXT://:9092").unwrap(), endpoint("PLAINTEXT", "", 9092));
        assert_eq!(parse("internal://[::1]:0").unwrap(), endpoint("INTERNAL", "::1", 0));
        for bad in ["9092", "://h:1", "A://h", "A://h:x", "A://h:70000"] {
            assert!(parse(bad).unwrap_err().is_config(), "{bad}");
        }
    }

    #[test]
    fn a_listener_speaks_what_the_map_says_and_a_controllers_is_left_out() {
        let mut config = BrokerConfig {
            listeners: vec!["PLAINTEXT://:9092".into(), "inside://:9094".into(), "CONTROLLER://:9093".into()],
            listener_security_protocol_map: "PLAINTEXT:PLAINTEXT, INSIDE:sasl_ssl".into(),
            controller_listener_names: vec!["CONTROLLER".into()],
            inter_broker_listener_name: Some("inside".into()),
            ..BrokerConfig::default()
        };
        let protocols: Vec<_> = endpoints(&config).unwrap().into_iter().map(|it| it.protocol).collect();
        assert_eq!(protocols, [Protocol::Plaintext, Protocol::SaslSsl]);
        let wrong = |config: &BrokerConfig| endpoints(config).unwrap_err().to_string();
        config.inter_broker_listener_name = Some("outside".into());
        assert!(wrong(&config).contains("`outside` is none of `listeners`"));
        config.listener_security_protocol_map = "PLAINTEXT:PLAINTEXT,INSIDE:TLS".into();
        assert!(wrong(&config).contains("listener `INSIDE` wants `TLS`"));
        config.listener_security_protocol_map = "PLAINTEXT:PLAINTEXT".into();
        assert!(wrong(&config).contains("says no protocol for the listener `INSIDE`"));
    }
}
