//! A connection to a broker that has told which versions it serves.

use std::{
    future::Future,
    ops::RangeInclusive,
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use ottla_protocol::{
    api::Api,
    error_code::ErrorCode,
    frame,
    messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse},
    types::Str,
    wire::Reader,
};
use ottla_transport::{Cause, ConnectOptions, Connection, Diagnosis, Interlude, TransportError};
use tokio::time::Instant;

use super::{login, metadata::Address, security::SaslLogin};
use crate::{
    config::ClientConfig,
    error::{Error, ErrorKind, Result},
};

/// Who a client says it is.
#[derive(Clone, Debug)]
pub(crate) struct Identification {
    /// `client.id`; none if it is empty.
    pub client_id: Option<Str>,
}

impl Identification {
    /// What the keys say.
    pub(crate) fn of(config: &ClientConfig) -> Self {
        Self { client_id: (!config.client_id.is_empty()).then(|| config.client_id.as_str().into()) }
    }
}

/// A connection over which versions were negotiated (KIP-35). Requests are answered in the order of the calls.
#[derive(Debug)]
pub(crate) struct BrokerConnection {
    connection: Connection,
    address: Address,
    identification: Identification,
    versions: Versions,
    next_correlation_id: AtomicI32,
}

/// What a broker serves.
#[derive(Clone, Debug, Default)]
struct Versions(Vec<(ApiKey, RangeInclusive<i16>)>);

impl BrokerConnection {
    /// Connects, asks which versions the broker serves, and logs in if `sasl` says how; each answer is due within
    /// `timeout`.
    pub(crate) async fn open(
        address: &Address,
        options: &ConnectOptions,
        identification: Identification,
        sasl: Option<&SaslLogin>,
        timeout: Duration,
    ) -> Result<Arc<Self>> {
        // A connection on which nobody logs in is not kept for long.
        if let Some(sasl) = sasl {
            login::prepare(sasl).await?;
        }
        let connection = Connection::connect(&address.to_string(), options).await?;
        let this = Self::negotiate(connection, address, identification, timeout).await?;
        let Some(sasl) = sasl else { return Ok(Arc::new(this)) };
        let logged_in = login::log_in(&this, sasl, None, timeout).await?;
        let this = Arc::new(this);
        if let Some(lifetime) = logged_in.session {
            login::spawn_keeper(&this, sasl, lifetime, timeout);
        }
        Ok(this)
    }

    /// Asks at a connection which versions the broker serves. Nobody is logged in yet.
    pub(crate) async fn negotiate(
        connection: Connection,
        address: &Address,
        identification: Identification,
        timeout: Duration,
    ) -> Result<Self> {
        let mut this = Self {
            connection,
            address: address.clone(),
            identification,
            versions: Versions::default(),
            next_correlation_id: AtomicI32::new(0),
        };
        this.versions = this.ask_versions(Instant::now() + timeout).await?;
        Ok(this)
    }

    async fn ask_versions(&self, deadline: Instant) -> Result<Versions> {
        let request = ApiVersionsRequest {
            client_software_name: Str::from_static("ottla"),
            client_software_version: Str::from_static(env!("CARGO_PKG_VERSION")),
            ..Default::default()
        };
        let mut version = ApiKey::ApiVersions.latest_stable();
        // A broker that lacks the version answers in version 0 with those that it has; then it is asked again.
        for _ in 0..2 {
            let (frame, correlation_id) = self.send(&request, version, deadline)?;
            let frame = frame.await?;
            let refused = error_code(&frame) == Some(ErrorCode::UNSUPPORTED_VERSION);
            let read_as = if refused { 0 } else { version };
            let response = frame::read_response::<ApiVersionsRequest>(frame, read_as, correlation_id)?;
            let versions = Versions::read(&response);
            if !refused {
                response.error_code.ok().map_err(|code| Error::broker(code, None))?;
                return Ok(versions);
            }
            version = versions.newest_common(ApiKey::ApiVersions).unwrap_or(0);
        }
        Err(Error::broker(ErrorCode::UNSUPPORTED_VERSION, None)
            .context(format!("negotiate with `{}`", self.address)))
    }

    /// How many APIs the broker serves that are known here.
    pub(crate) fn apis(&self) -> usize {
        self.versions.0.len()
    }

    /// The newest version of an API that both sides know.
    pub(crate) fn version(&self, key: ApiKey) -> Result<i16> {
        self.versions.newest_common(key).ok_or_else(|| {
            let text = format!("`{}` does not serve {key:?} in a version known here", self.address);
            Error::new(ErrorKind::Unsupported, text).hint("use Apache Kafka 2.1 or newer, or another broker")
        })
    }

    /// Sends a request in the newest common version; the future gives its answer. Sent when this returns, whether
    /// the future is awaited or not.
    pub(crate) fn call<R: Api>(
        &self,
        request: &R,
        deadline: Instant,
    ) -> Result<impl Future<Output = Result<R::Response>> + Send + use<R>> {
        let version = self.version(R::KEY)?;
        self.call_version(request, version, deadline)
    }

    /// As [`Self::call`], in the version that the caller built the request for.
    pub(crate) fn call_version<R: Api>(
        &self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<impl Future<Output = Result<R::Response>> + Send + use<R>> {
        let (answer, correlation_id) = self.send(request, version, deadline)?;
        Ok(async move { Ok(frame::read_response::<R>(answer.await?, version, correlation_id)?) })
    }

    /// Has the connection for itself, for [`Self::call_during`]; what others send waits.
    pub(crate) fn interlude(&self) -> Interlude {
        self.connection.interlude()
    }

    /// As [`Self::call`], while all others wait.
    pub(crate) fn call_during<R: Api>(
        &self,
        interlude: &Interlude,
        request: &R,
        deadline: Instant,
    ) -> Result<impl Future<Output = Result<R::Response>> + Send + use<R>> {
        let version = self.version(R::KEY)?;
        let (pieces, correlation_id) = self.encode(request, version)?;
        let answer = interlude.send(correlation_id, pieces, deadline);
        Ok(async move { Ok(frame::read_response::<R>(answer.await?, version, correlation_id)?) })
    }

    /// How many requests were sent, modulo 2^32: whether the connection is in use.
    pub(crate) fn requests_sent(&self) -> i32 {
        self.next_correlation_id.load(Ordering::Relaxed)
    }

    /// Closes it now: what is under way fails.
    pub(crate) fn close(&self) {
        self.connection.close();
    }

    /// Sends a request that is not answered: Produce with `acks=0`. The future ends when the system took it.
    pub(crate) fn send_unanswered<R: Api>(
        &self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<impl Future<Output = Result<()>> + Send + use<R>> {
        let (pieces, _) = self.encode(request, version)?;
        let sent = self.connection.send_unanswered(pieces, deadline);
        Ok(async move {
            sent.await?;
            Ok(())
        })
    }

    fn send<R: Api>(
        &self,
        request: &R,
        version: i16,
        deadline: Instant,
    ) -> Result<(ottla_transport::Answer, i32)> {
        let (pieces, correlation_id) = self.encode(request, version)?;
        Ok((self.connection.send(correlation_id, pieces, deadline), correlation_id))
    }

    fn encode<R: Api>(&self, request: &R, version: i16) -> Result<(Vec<Bytes>, i32)> {
        let correlation_id = self.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let client_id = self.identification.client_id.as_ref();
        Ok((frame::request(request, version, correlation_id, client_id)?, correlation_id))
    }

    /// Whether it is over: what is sent now fails.
    pub(crate) fn is_ended(&self) -> bool {
        self.connection.is_ended()
    }

    /// Where it was made to.
    pub(crate) fn address(&self) -> &Address {
        &self.address
    }
}

/// The error code of an ApiVersions response: the first field behind the correlation id, in all versions.
fn error_code(frame: &Bytes) -> Option<ErrorCode> {
    let mut r = Reader::new(frame.clone());
    r.i32().ok()?;
    r.i16().ok().map(ErrorCode)
}

impl Versions {
    fn read(response: &ApiVersionsResponse) -> Self {
        let known = response
            .api_keys
            .iter()
            .filter_map(|api| Some((ApiKey::from_i16(api.api_key)?, api.min_version..=api.max_version)));
        Self(known.collect())
    }

    fn newest_common(&self, key: ApiKey) -> Option<i16> {
        let (_, theirs) = self.0.iter().find(|(other, _)| *other == key)?;
        key.newest_common(theirs.clone())
    }
}

impl From<TransportError> for Error {
    fn from(error: TransportError) -> Self {
        let kind = match error.cause() {
            Cause::Deadline { .. } => ErrorKind::Timeout,
            Cause::Correlation { .. } | Cause::Unasked => ErrorKind::Corrupt,
            Cause::Tls(_) => ErrorKind::Tls,
            _ => ErrorKind::Disconnected,
        };
        let Diagnosis { cause, fix } = error.diagnosis();
        Self::new(kind, cause).hint_if(fix).caused_by(error)
    }
}
