//! Looking at a cluster and changing it: topics, configurations, brokers, groups, offsets, users, access rules, quotas.
//!
//! Calls about several things give an outcome for each, in the order asked for; what fails as a whole, as when no
//! broker can be reached, is the call's own error.

mod acls;
mod cluster;
mod configs;
mod groups;
mod log_dirs;
mod quotas;
mod topics;
mod users;

use std::{sync::Arc, time::Duration};

use ottla_protocol::{api::Api, error_code::ErrorCode, types::BrokerId};
use tokio::time::Instant;

pub use self::{
    acls::{AclBinding, AclFilter, AclOperation, AclPermission, PatternFilter, PatternType, ResourceType},
    cluster::{Broker, ClusterDescription},
    configs::{AlterConfig, ConfigEntry, ConfigOperation, ConfigResource, ConfigSource},
    groups::{GroupDescription, GroupListing, GroupMember, GroupState, GroupType},
    log_dirs::{LogDirDescription, LogDirReplica},
    quotas::{AlterQuota, QuotaEntity, QuotaFilter, QuotaName, QuotaNameFilter},
    topics::{CreatedTopic, NewTopic, PartitionDescription, TopicDescription, TopicListing},
    users::{AlterScramUser, ScramCredentialInfo, ScramMechanism},
};
use crate::{
    cluster::{
        Cluster, ClusterSettings, ListedOffset, OffsetSpec, TokenProvider, TopicPartition,
        list_offsets::list_offsets, runtime::Runtime, tokens::AnyProvider,
    },
    config::{AdminConfig, ClientConfig, IsolationLevel},
    error::{Error, Result},
};

/// A client that looks at a cluster and changes it.
///
/// ```no_run
/// use ottla::{Admin, NewTopic, config::AdminConfig};
///
/// # async fn run() -> ottla::Result<()> {
/// let admin = Admin::new(AdminConfig {
///     bootstrap_servers: vec!["localhost:9092".into()],
///     ..Default::default()
/// })?;
/// admin.create_topic(NewTopic::new("orders").partitions(6)).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Admin {
    cluster: Arc<Cluster>,
    timeout: Duration,
    runtime: Runtime,
}

impl Admin {
    /// Checks `config` and starts. Connections are made when they are needed, in the background.
    pub fn new(config: AdminConfig) -> Result<Self> {
        Self::start(config, None)
    }

    /// As [`Self::new`], for `sasl.mechanism=OAUTHBEARER` with tokens that the program gets itself. With another mechanism, or
    /// none, it is not asked.
    pub fn with_tokens(config: AdminConfig, tokens: impl TokenProvider) -> Result<Self> {
        Self::start(config, Some(AnyProvider::new(tokens)))
    }

    fn start(config: AdminConfig, tokens: Option<AnyProvider>) -> Result<Self> {
        config.validate()?;
        let cluster = Cluster::new(ClusterSettings {
            client: ClientConfig::from(&config),
            metadata_max_idle: Duration::from_secs(300),
            allow_auto_topic_creation: false,
            tokens,
        })?;
        let runtime = Runtime::start("ottla-admin")?;
        runtime.spawn(cluster.clone().keep_metadata());
        Ok(Self { cluster, timeout: config.default_api_timeout, runtime })
    }

    /// Runs a future on this client's I/O thread, for programs that have no runtime of their own. It must not block, and is
    /// dropped if the client is before it ends.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        drop(self.runtime.spawn(future));
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// Asks `target`, again as long as that helps; `check` tells whether the answer is one.
    async fn ask<R>(
        &self,
        target: Target,
        request: R,
        check: impl Fn(&R::Response) -> Result<()> + Send + Sync + 'static,
    ) -> Result<R::Response>
    where
        R: Api + Send + Sync + 'static,
        R::Response: Send + 'static,
    {
        let (cluster, deadline) = (self.cluster.clone(), self.deadline());
        let ask = async move {
            let once = || async {
                let response = target.ask_once(&cluster, &request, deadline).await?;
                check(&response)?;
                Ok(response)
            };
            cluster.retry(deadline, once).await
        };
        self.runtime.run(ask).await
    }

    /// The offsets of these partitions.
    pub async fn list_offsets(
        &self,
        wanted: impl IntoIterator<Item = (TopicPartition, OffsetSpec)>,
    ) -> Result<Vec<(TopicPartition, Result<ListedOffset>)>> {
        let (cluster, deadline) = (self.cluster.clone(), self.deadline());
        let wanted = wanted.into_iter().collect();
        let isolation = IsolationLevel::ReadUncommitted;
        self.runtime.run(async move { Ok(list_offsets(&cluster, wanted, isolation, deadline).await) }).await
    }
}

/// Who is asked.
#[derive(Clone, Copy, Debug)]
enum Target {
    /// Whichever broker answers.
    Any,
    /// The broker that takes the controller's requests.
    Controller,
    Broker(BrokerId),
}

impl Target {
    /// This broker, or any.
    fn of(broker: Option<BrokerId>) -> Self {
        broker.map_or(Self::Any, Self::Broker)
    }

    async fn ask_once<R: Api>(
        self,
        cluster: &Cluster,
        request: &R,
        deadline: Instant,
    ) -> Result<R::Response> {
        match self {
            Self::Any => cluster.call_any(request, deadline).await,
            Self::Controller => cluster.call_controller(request, deadline).await,
            Self::Broker(id) => {
                // Where brokers listen is known once there is metadata, that of a new one once it is new.
                if !cluster.snapshot().brokers.contains_key(&id) {
                    cluster.request_refresh();
                }
                let known = format!("broker {id} to be known");
                cluster.wait_for(&known, deadline, |snapshot| snapshot.brokers.get(&id).map(drop)).await?;
                cluster.call_broker(id, request, deadline).await
            }
        }
    }
}

/// The outcome of one of several things, from its code and what the broker said.
fn outcome(code: ErrorCode, message: Option<&str>, doing: impl FnOnce() -> String) -> Result<()> {
    code.ok().map_err(|code| Error::broker(code, message).context(doing()))
}

/// An error if any code says that the broker asked is not, or no longer, the controller: then nothing was done and
/// the request goes to another.
fn controller_moved(codes: impl IntoIterator<Item = ErrorCode>) -> Result<()> {
    match codes.into_iter().find(|&code| code == ErrorCode::NOT_CONTROLLER) {
        Some(code) => Err(Error::broker(code, None)),
        None => Ok(()),
    }
}

/// As [`controller_moved`], of changes to topics; and an error if none was made as the client's quota for them is used up: it is
/// asked again when there is some of it (KIP-599).
fn changed(codes: impl Iterator<Item = ErrorCode> + Clone) -> Result<()> {
    controller_moved(codes.clone())?;
    let mut exceeded = codes.map(|code| code == ErrorCode::THROTTLING_QUOTA_EXCEEDED);
    match exceeded.next() == Some(true) && exceeded.all(|it| it) {
        true => Err(Error::broker(ErrorCode::THROTTLING_QUOTA_EXCEEDED, None)),
        false => Ok(()),
    }
}

fn timeout_ms(timeout: Duration) -> i32 {
    i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX)
}
