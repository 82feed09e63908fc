//! The configuration's listeners: `listeners`, `advertised.listeners` and the protocols of their names.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use crate::{StartError, config::BrokerConfig};

/// A listener as the configuration names it: `NAME://host:port`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Endpoint {
    /// In capitals, as Kafka compares them.
    pub(crate) name: String,
    /// Empty for every address.
    pub(crate) host: String,
    pub(crate) port: u16,
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
        Ok(Self { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
    }
}

/// The broker's own listeners: those of its controller's role are left out, since one node needs none.
pub(crate) fn endpoints(config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
    let mut endpoints = Vec::new();
    for text in &config.listeners {
        let endpoint = Endpoint::parse("listeners", text)?;
        if config.controller_listener_names.iter().any(|n| n.eq_ignore_ascii_case(&endpoint.name)) {
            continue;
        }
        check_protocol(config, &endpoint)?;
        endpoints.push(endpoint);
    }
    if endpoints.is_empty() {
        return Err(StartError::setting("listeners", "names no listener for clients"));
    }
    Ok(endpoints)
}

/// What clients are told instead, by listener name.
pub(crate) fn advertised(config: &BrokerConfig) -> Result<Vec<Endpoint>, StartError> {
    let texts = config.advertised_listeners.as_deref().unwrap_or_default();
    texts.iter().map(|text| Endpoint::parse("advertised.listeners", text)).collect()
}

/// Only plain text is spoken yet.
fn check_protocol(config: &BrokerConfig, endpoint: &Endpoint) -> Result<(), StartError> {
    let map = &config.listener_security_protocol_map;
    let protocol = map.split(',').find_map(|pair| {
        let (name, protocol) = pair.trim().split_once(':')?;
        name.trim().eq_ignore_ascii_case(&endpoint.name).then(|| protocol.trim().to_ascii_uppercase())
    });
    match protocol.as_deref() {
        Some("PLAINTEXT") => Ok(()),
        Some(other) => Err(StartError::setting(
            "listener.security.protocol.map",
            format!("listener `{}` wants {other}; only PLAINTEXT is served yet", endpoint.name),
        )),
        None => Err(StartError::setting(
            "listener.security.protocol.map",
            format!("says no protocol for the listener `{}`", endpoint.name),
        )),
    }
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
        let endpoint = |name: &str, host: &str, port| Endpoint { name: name.into(), host: host.into(), port };
        assert_eq!(parse("PLAINTEXT://:9092").unwrap(), endpoint("PLAINTEXT", "", 9092));
        assert_eq!(parse("internal://[::1]:0").unwrap(), endpoint("INTERNAL", "::1", 0));
        for bad in ["9092", "://h:1", "A://h", "A://h:x", "A://h:70000"] {
            assert!(parse(bad).unwrap_err().is_config(), "{bad}");
        }
    }

    #[test]
    fn a_listener_for_another_protocol_is_refused_and_a_controllers_left_out() {
        let mut config = BrokerConfig {
            listeners: vec!["PLAINTEXT://:9092".into(), "CONTROLLER://:9093".into()],
            controller_listener_names: vec!["CONTROLLER".into()],
            ..BrokerConfig::default()
        };
        assert_eq!(endpoints(&config).unwrap().len(), 1);
        config.listeners = vec!["SSL://:9093".into()];
        let error = endpoints(&config).unwrap_err().to_string();
        assert!(error.contains("only PLAINTEXT is served yet"), "{error}");
    }
}
