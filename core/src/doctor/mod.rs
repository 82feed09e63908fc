//! Goes a client's way to its cluster, one step after the other, and says of each what was found; of one that fails, why, and
//! what to do about it.
//!
//! It goes by the client's own pieces: what is found here is what a client would have met. Only where a step has failed it does
//! what no client does: it knocks at the port in other ways, to learn what listens there (`knock.rs`).

mod knock;
mod step;
mod way;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ottla_protocol::types::BrokerId;
use ottla_transport::ConnectOptions;
use tokio::sync::mpsc;

pub use ottla_transport::Diagnosis;
pub use step::{Outcome, Step};

use self::way::{Told, Way};
use crate::{
    cluster::{
        broker::Identification,
        diagnosis::Advertised,
        metadata::Address,
        router::{bootstrap, connect_options},
        runtime::Runtime,
        security::{SaslLogin, Security},
        tokens::{AnyProvider, TokenProvider},
    },
    config::{AdminConfig, ClientConfig},
    error::Result,
};

/// Longest wait for an answer or an address, unless the configuration allows less.
const STEP_MAX: Duration = Duration::from_secs(10);
/// Brokers whose addresses are looked at; a cluster may have any number.
const BROKERS_MAX: usize = 100;

/// Looks at the way from here to a cluster.
///
/// ```no_run
/// use ottla::{
///     config::AdminConfig,
///     doctor::{Doctor, Outcome},
/// };
///
/// # async fn run() -> ottla::Result<()> {
/// let config = AdminConfig { bootstrap_servers: vec!["localhost:9092".into()], ..Default::default() };
/// Doctor::new(config)?
///     .examine(|step| {
///         if let Outcome::Wrong(diagnosis) = step.outcome {
///             println!("{} {}: {diagnosis}", step.name, step.target);
///         }
///     })
///     .await;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Doctor {
    patient: Arc<Patient>,
    runtime: Runtime,
}

/// Whose way it is: a client of these settings.
#[derive(Debug)]
struct Patient {
    bootstrap: Vec<Address>,
    options: ConnectOptions,
    identification: Identification,
    sasl: Option<SaslLogin>,
    /// `security.protocol`, by its name.
    protocol: &'static str,
    /// Longest wait for one answer.
    limit: Duration,
}

impl Doctor {
    /// Reads the configuration, and the files that it names.
    ///
    /// # Errors
    /// If the configuration is wrong: then no client of it would come to be, either.
    pub fn new(config: AdminConfig) -> Result<Self> {
        Self::start(config, None)
    }

    /// As [`Self::new`], of a client that gets its tokens from the program.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn with_tokens(config: AdminConfig, tokens: impl TokenProvider) -> Result<Self> {
        Self::start(config, Some(AnyProvider::new(tokens)))
    }

    fn start(config: AdminConfig, tokens: Option<AnyProvider>) -> Result<Self> {
        config.validate()?;
        let mut config = ClientConfig::from(&config);
        for wait in [&mut config.sasl_login_connect_timeout, &mut config.sasl_login_read_timeout] {
            *wait = STEP_MAX.min(*wait);
        }
        let Security { tls, sasl } = Security::new(&config, tokens)?;
        let protocol = match (tls.is_some(), sasl.is_some()) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        };
        let mut options = connect_options(&config, tls);
        options.connect_timeout = options.connect_timeout.min(STEP_MAX);
        let patient = Patient {
            bootstrap: bootstrap(&config)?,
            options,
            identification: Identification::of(&config),
            sasl,
            protocol,
            limit: config.request_timeout.min(STEP_MAX),
        };
        Ok(Self { patient: Arc::new(patient), runtime: Runtime::start("ottla-doctor")? })
    }

    /// Goes to each bootstrap server, and then to each broker where it says that it listens; `tell` hears of each step when it is
    /// done. No single wait in it is longer than ten seconds. Answers whether some broker can be worked with.
    pub async fn examine(&self, mut tell: impl FnMut(Step)) -> bool {
        let (steps, mut told) = mpsc::unbounded_channel();
        let patient = Arc::clone(&self.patient);
        let examining = self.runtime.run(async move { Ok(examine(&patient, &steps).await) });
        tokio::pin!(examining);
        loop {
            tokio::select! {
                biased;
                Some(step) = told.recv() => tell(step),
                is_open = &mut examining => {
                    // What was said after the look above, and before the end.
                    while let Ok(step) = told.try_recv() {
                        tell(step);
                    }
                    return is_open.unwrap_or(false);
                }
            }
        }
    }
}

async fn examine(patient: &Patient, steps: &mpsc::UnboundedSender<Step>) -> bool {
    let mut teller: Option<Told> = None;
    let mut seen: BTreeMap<Address, Seen> = BTreeMap::new();
    for address in &patient.bootstrap {
        let told = Way::new(patient, address, None, steps).go(teller.as_ref()).await;
        seen.insert(address.clone(), Seen { is_open: told.is_some(), of: None });
        teller = teller.or(told);
    }
    let Some(told) = teller else { return false };
    let mut is_open = false;
    for (id, address) in told.brokers.iter().take(BROKERS_MAX) {
        let target = format!("broker {id}, {address}");
        if let Some(before) = seen.get_mut(address) {
            _ = steps.send(match before.of.replace(*id) {
                // Another broker's, at the same place.
                Some(other) => Step::wrong("advertised", target, same_place(other, *id, address)),
                None => Step::well("advertised", target, "looked at before"),
            });
            is_open |= before.is_open;
            continue;
        }
        _ = steps.send(Step::well("advertised", target, "looked at next"));
        let advertised = Advertised { broker: *id, address: address.clone(), teller: told.address.clone() };
        let reached = Way::new(patient, address, Some(advertised), steps).go(Some(&told)).await.is_some();
        seen.insert(address.clone(), Seen { is_open: reached, of: Some(*id) });
        is_open |= reached;
    }
    if told.brokers.len() > BROKERS_MAX {
        let why = format!("{} more brokers are not looked at", told.brokers.len() - BROKERS_MAX);
        _ = steps.send(Step::not_tried("advertised", "", why));
    }
    is_open
}

/// An address that was looked at.
struct Seen {
    is_open: bool,
    /// The broker that advertises it, if one does.
    of: Option<BrokerId>,
}

/// That two brokers say that they listen at the same place.
fn same_place(one: BrokerId, other: BrokerId, address: &Address) -> Diagnosis {
    Diagnosis::new(
        format!("brokers {one} and {other} both advertise `{address}`, and one of them at most is there"),
        "let `advertised.listeners` of each broker name an address of its own",
    )
}
