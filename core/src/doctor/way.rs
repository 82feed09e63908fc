//! The way to one address: its name, a socket, TLS, versions, a login, and what the broker knows of its cluster.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, SystemTime},
};

use ottla_protocol::{
    messages::{ApiKey, MetadataRequest, MetadataResponse, SaslHandshakeRequest},
    types::{BrokerId, Str},
};
use ottla_transport::{
    Cause, Connection, Diagnosis, TransportError,
    tls::{CertificateReport, TlsReport},
};
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};

use super::{Patient, Step, knock::knock};
use crate::{
    cluster::{
        broker::BrokerConnection,
        diagnosis::{Advertised, two_clusters, wants_login},
        login::{LoggedIn, log_in},
        metadata::Address,
    },
    error::{Error, ErrorKind, Result},
    time::now_ms,
};

/// The steps, in their order.
const STEPS: [&str; 6] = ["dns", "tcp", "tls", "versions", "sasl", "metadata"];
/// What every client needs of a broker.
const NEEDED: [ApiKey; 5] =
    [ApiKey::Metadata, ApiKey::Produce, ApiKey::Fetch, ApiKey::ListOffsets, ApiKey::FindCoordinator];
/// Time before the end of a certificate from which it is a finding.
const CERTIFICATE_SOON: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const ADDRESSES_SHOWN_MAX: usize = 8;

/// What a broker told of its cluster.
#[derive(Clone, Debug)]
pub(super) struct Told {
    /// Who told.
    pub address: Address,
    pub cluster: String,
    /// Where each broker says that it listens.
    pub brokers: BTreeMap<BrokerId, Address>,
}

/// The way to an address, as far as it was gone.
pub(super) struct Way<'a> {
    patient: &'a Patient,
    address: &'a Address,
    target: String,
    /// Whose address it is, if a broker told it.
    advertised: Option<Advertised>,
    steps: &'a mpsc::UnboundedSender<Step>,
    done: usize,
    began: Instant,
}

/// A step went wrong, and that was told.
struct Wrong;

impl<'a> Way<'a> {
    pub(super) fn new(
        patient: &'a Patient,
        address: &'a Address,
        advertised: Option<Advertised>,
        steps: &'a mpsc::UnboundedSender<Step>,
    ) -> Self {
        let target = address.to_string();
        Self { patient, address, target, advertised, steps, done: 0, began: Instant::now() }
    }

    /// Goes as far as it leads. Gives what the broker at its end told, if it is of the same cluster as the one before.
    pub(super) async fn go(mut self, before: Option<&Told>) -> Option<Told> {
        let told = self.try_to_go(before).await;
        if let Some(failed) = STEPS.get(self.done.wrapping_sub(1)).filter(|_| told.is_err()) {
            for name in STEPS.into_iter().skip(self.done) {
                self.tell(Step::not_tried(name, self.target.clone(), format!("`{failed}` went wrong")));
            }
        }
        told.ok()
    }

    async fn try_to_go(&mut self, before: Option<&Told>) -> Result<Told, Wrong> {
        let found = self.resolve().await?;
        let stream = self.dial(found).await?;
        let connection = self.secure(stream).await?;
        self.log_in(&connection).await?;
        self.ask(&connection, before).await
    }

    // ---- the steps

    async fn resolve(&mut self) -> Result<Vec<SocketAddr>, Wrong> {
        let limit = self.patient.limit;
        let found = match timeout(limit, Connection::resolve(&self.target)).await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => return Err(self.failed(error.into()).await),
            Err(_) => {
                let error = Error::new(
                    ErrorKind::Timeout,
                    format!("`{}` was not resolved within {} ms", self.target, limit.as_millis()),
                );
                return Err(self.failed(error.hint("look whether this machine's DNS works")).await);
            }
        };
        let shown: Vec<_> =
            found.iter().take(ADDRESSES_SHOWN_MAX).map(|found| found.ip().to_string()).collect();
        self.well(vec![("addresses", shown.join(", "))]);
        Ok(found)
    }

    async fn dial(&mut self, found: Vec<SocketAddr>) -> Result<TcpStream, Wrong> {
        let mut last = None;
        for one in found.into_iter().take(ADDRESSES_SHOWN_MAX) {
            match Connection::dial(one, &self.target, &self.patient.options).await {
                Ok(stream) => {
                    let mut found = vec![("connected", one.to_string())];
                    if let Ok(local) = stream.local_addr() {
                        found.push(("from", local.ip().to_string()));
                    }
                    self.well(found);
                    return Ok(stream);
                }
                Err(error) => last = Some(error),
            }
        }
        let none = || Error::new(ErrorKind::Disconnected, format!("`{}` has no address", self.target));
        let error = last.map_or_else(none, Error::from);
        Err(self.failed(error).await)
    }

    /// TLS, and the first answer: with TLS 1.3 a server says only then what it thinks of the client's certificate.
    async fn secure(&mut self, stream: TcpStream) -> Result<BrokerConnection, Wrong> {
        let patient = self.patient;
        let (connection, report) = match Connection::secure(stream, &self.target, &patient.options).await {
            Ok(secured) => secured,
            Err(error) => return Err(self.failed(error.into()).await),
        };
        let (shaken, asked) = (self.began.elapsed(), Instant::now());
        let identification = patient.identification.clone();
        let negotiated =
            BrokerConnection::negotiate(connection, self.address, identification, patient.limit).await;
        if let Err(error) = &negotiated
            && error.kind() == ErrorKind::Tls
        {
            return Err(self.failed(error.clone()).await);
        }
        match report {
            Some(report) => self.agreed(&report, shaken),
            None => {
                let why = format!("`security.protocol={}`", patient.protocol);
                self.next(|name, target| Step::not_tried(name, target, why));
            }
        }
        self.began = asked;
        let connection = match negotiated {
            Ok(connection) => connection,
            Err(error) => return Err(self.failed(error).await),
        };
        if let Some(error) = NEEDED.into_iter().find_map(|key| connection.version(key).err()) {
            return Err(self.failed(error).await);
        }
        let version =
            |key| connection.version(key).map_or_else(|_| "-".to_owned(), |version| version.to_string());
        let newest = [ApiKey::Produce, ApiKey::Fetch, ApiKey::Metadata];
        let newest = newest.map(|key| format!("{key:?} {}", version(key))).join(", ");
        self.well(vec![("apis", connection.apis().to_string()), ("common versions", newest)]);
        Ok(connection)
    }

    async fn log_in(&mut self, connection: &BrokerConnection) -> Result<(), Wrong> {
        let Some(sasl) = &self.patient.sasl else {
            let why = format!("`security.protocol={}`", self.patient.protocol);
            self.next(|name, target| Step::not_tried(name, target, why));
            return Ok(());
        };
        match log_in(connection, sasl, None, self.patient.limit).await {
            Ok(LoggedIn { user, session }) => {
                let user = user.unwrap_or_else(|| "-".to_owned());
                let mut found = vec![("user", user), ("mechanism", sasl.mechanism().to_string())];
                if let Some(session) = session {
                    found.push(("session", format!("{} s", session.as_secs())));
                }
                self.well(found);
                Ok(())
            }
            Err(error) => Err(self.failed(error).await),
        }
    }

    async fn ask(&mut self, connection: &BrokerConnection, before: Option<&Told>) -> Result<Told, Wrong> {
        // No topics are asked for.
        let request = MetadataRequest { topics: Some(Vec::new()), ..Default::default() };
        let response = async {
            let response = connection.call(&request, Instant::now() + self.patient.limit)?.await?;
            response.error_code.ok().map_err(|code| Error::broker(code, None))?;
            Ok::<MetadataResponse, Error>(response)
        };
        let response = match response.await {
            Ok(response) => response,
            Err(error) => {
                if is_closed(&error)
                    && let Some(offered) = self.offered().await
                {
                    let is_secret = self.patient.options.tls.is_some();
                    let offered: Vec<&str> = offered.iter().map(|name| &**name).collect();
                    let diagnosis = wants_login(self.address, &offered, is_secret);
                    self.tell_wrong(diagnosis);
                    return Err(Wrong);
                }
                return Err(self.failed(error).await);
            }
        };
        let brokers: BTreeMap<_, _> = response
            .brokers
            .iter()
            .map(|broker| (broker.node_id, Address::told(&broker.host, broker.port)))
            .collect();
        let cluster = response.cluster_id.as_ref().map_or("-", |id| id.as_str()).to_owned();
        if let Some(before) = before.filter(|before| before.cluster != cluster) {
            let diagnosis = two_clusters((&before.address, &before.cluster), (self.address, &cluster));
            self.tell_wrong(diagnosis);
            return Err(Wrong);
        }
        let controller = match response.controller_id {
            BrokerId::NONE => "none".to_owned(),
            id => format!("broker {id}"),
        };
        self.well(vec![
            ("cluster", cluster.clone()),
            ("brokers", brokers.len().to_string()),
            ("controller", controller),
        ]);
        Ok(Told { address: self.address.clone(), cluster, brokers })
    }

    // ---- what is told

    /// TLS went well. A certificate that is good for a few days more is a finding all the same.
    fn agreed(&mut self, report: &TlsReport, took: Duration) {
        let mut found = vec![("version", report.version()), ("cipher", report.cipher())];
        let mut remark = None;
        if let Some(certificate) = report.certificate() {
            let (_, until) = certificate.valid();
            found.push(("certificate", certificate.subject.clone()));
            found.push(("hosts", certificate.hosts.join(", ")));
            found.push(("issuer", certificate.issuer.clone()));
            found.push(("valid until", until));
            let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms().unsigned_abs());
            remark = ends_soon(&certificate, now);
        }
        self.next(|name, target| {
            let step = match remark {
                Some(diagnosis) => Step::wrong(name, target, diagnosis),
                None => Step::well(name, target, ""),
            };
            Step { found, ..step }.after(took)
        });
    }

    fn well(&mut self, found: Vec<(&'static str, String)>) {
        let took = self.began.elapsed();
        self.next(|name, target| Step { found, ..Step::well(name, target, "") }.after(took));
    }

    /// Tells that the step failed; if it helps, after a knock at the port.
    async fn failed(&mut self, error: Error) -> Wrong {
        let took = self.began.elapsed();
        let diagnosis = self.diagnosis(&error).await;
        self.next(|name, target| Step::wrong(name, target, diagnosis).after(took));
        Wrong
    }

    fn tell_wrong(&mut self, diagnosis: Diagnosis) {
        let took = self.began.elapsed();
        self.next(|name, target| Step::wrong(name, target, diagnosis).after(took));
    }

    /// What a failure means, with all that can be found out about it.
    async fn diagnosis(&self, error: &Error) -> Diagnosis {
        let Diagnosis { cause, fix } = match transport_error(error) {
            Some(transport) if is_to_knock_at(transport) => {
                match knock(self.address, &self.patient.options, self.patient.limit).await {
                    Some(speaks) => transport.diagnosis_knowing(&speaks),
                    None => transport.diagnosis(),
                }
            }
            _ => Diagnosis { cause: error.what_happened(), fix: error.what_to_do().map(str::to_owned) },
        };
        match &self.advertised {
            Some(advertised) => {
                let cause = format!("{}: {cause}", advertised.context());
                Diagnosis { cause, fix: advertised.fix(error.kind()).or(fix) }
            }
            None => Diagnosis { cause, fix },
        }
    }

    /// The mechanisms of a listener that closed the connection to one who did not log in; `None` if that is not why.
    async fn offered(&self) -> Option<Vec<Str>> {
        if self.patient.sasl.is_some() {
            return None;
        }
        let Patient { options, identification, limit, .. } = self.patient;
        let connection = Connection::connect(&self.target, options);
        let connection = timeout(*limit, connection).await.ok()?.ok()?;
        let identification = identification.clone();
        let connection =
            BrokerConnection::negotiate(connection, self.address, identification, *limit).await.ok()?;
        let request = SaslHandshakeRequest { mechanism: Str::from_static("SCRAM-SHA-512") };
        let response = connection.call(&request, Instant::now() + *limit).ok()?.await.ok()?;
        (!response.mechanisms.is_empty()).then_some(response.mechanisms)
    }

    /// The next step is over.
    fn next(&mut self, step: impl FnOnce(&'static str, String) -> Step) {
        if let Some(name) = STEPS.get(self.done) {
            self.tell(step(name, self.target.clone()));
        }
        self.done += 1;
        self.began = Instant::now();
    }

    fn tell(&self, step: Step) {
        // Whoever asked may have gone.
        _ = self.steps.send(step);
    }
}

fn transport_error(error: &Error) -> Option<&TransportError> {
    std::error::Error::source(error)?.downcast_ref()
}

/// Whether something took the connection, and did not talk as was expected.
fn is_to_knock_at(error: &TransportError) -> bool {
    match error.cause() {
        Cause::Handshake(_) | Cause::HandshakeTimeout(_) | Cause::Deadline { .. } | Cause::Unasked => true,
        Cause::Tls(error) => ottla_transport::tls::is_no_tls(error),
        Cause::ClosedByPeer { answered } => *answered == 0,
        _ => false,
    }
}

fn is_closed(error: &Error) -> bool {
    let cause = transport_error(error).map(TransportError::cause);
    matches!(cause, Some(Cause::ClosedByPeer { .. } | Cause::Broken(_)))
}

/// A certificate that is good now, and soon no more.
fn ends_soon(certificate: &CertificateReport, now: SystemTime) -> Option<Diagnosis> {
    let left = certificate.not_after.duration_since(now).ok()?;
    (left < CERTIFICATE_SOON).then(|| {
        let hours = left.as_secs() / 3_600;
        Diagnosis::new(
            format!("the certificate `{}` ends in {hours} hours", certificate.subject.escape_debug()),
            "renew it, and put it in the place of the old one: brokers and clients read it without a restart",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_a_finding_a_week_before_its_end() {
        let at = |days: u64| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 60 * 60);
        let certificate = CertificateReport {
            subject: "CN=broker".into(),
            issuer: "CN=authority".into(),
            hosts: Vec::new(),
            not_before: at(0),
            not_after: at(100),
        };
        assert_eq!(ends_soon(&certificate, at(92)), None);
        let diagnosis = ends_soon(&certificate, at(99)).unwrap();
        assert_eq!(diagnosis.cause, "the certificate `CN=broker` ends in 24 hours");
        // One that has ended is not taken at all.
        assert_eq!(ends_soon(&certificate, at(101)), None);
    }
}
