//! Being a member of a group: who reads what is agreed on with others, and changes as they come and go.
//!
//! A member is a machine without I/O (`classic`, and `consumer` for KIP-848); the `driver` sends what it wants sent. Between
//! them and the program stand [`Order`] and [`Told`], which know of no protocol. What the member tells is carried out by `rebalance`, and
//! `commits` brings what was read to the coordinator, in the name of the member, if there is one.

mod classic;
mod commits;
mod consumer;
mod driver;
mod health;
mod member;
mod offsets;
mod pattern;
mod progress;
mod rebalance;
#[cfg(test)]
mod simulation;
mod stall;
mod standing;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ottla_protocol::{
    error_code::ErrorCode,
    types::{Str, TopicName},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::sleep,
};

pub use self::{
    commits::Commit,
    health::{Health, WaitsFor},
    rebalance::{Event, Events, Rebalance, RebalanceKind, Rebalances},
    stall::Stalled,
};
use self::{
    commits::Commits,
    driver::{Driver, Program},
    health::Pulse,
    member::MemberSettings,
    rebalance::{Handover, Listener},
    stall::StallWatch,
};
pub(crate) use self::{offsets::GroupOffsets, pattern::Pattern, progress::Progress, stall::Reading};
use super::{assignor::Assignor, fetcher::Shared};
use crate::{
    cluster::{Cluster, TopicPartition, retry::Backoff, runtime::Runtime},
    config::{ConsumerConfig, GroupProtocol},
    error::{Error, ErrorKind, Result},
};

/// Where there is no generation.
const NO_GENERATION: i32 = -1;

/// As whom a member commits, and sends heartbeats.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Identity {
    /// The generation; of a member of the consumer protocol (KIP-848), its epoch; -1 outside the group.
    pub generation: i32,
    /// The id of the member; empty where there is none yet.
    pub member_id: Str,
}

impl Identity {
    /// Nobody in particular: who commits while the group is empty.
    pub(crate) const NONE: Self = Self { generation: NO_GENERATION, member_id: Str::EMPTY };
}

/// What the program wants of its member.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read these topics.
    Subscribe(Vec<TopicName>),
    /// Read the topics that match, also those that come later; this client looks for them.
    Match(Pattern),
    /// As [`Order::Match`], by an expression in RE2's syntax, and the broker looks for them.
    MatchAtBroker(Str),
    /// The program goes on after it was out for want of progress.
    Progressed,
    /// The coordinator refused a commit of this identity.
    CommitRefused(Identity, ErrorCode),
    /// Leave; then the driver ends.
    Leave,
}

/// What the program is told. It answers when it is done; not to answer counts as done.
#[derive(Debug)]
pub(crate) enum Told {
    /// Commit these, and let go of them.
    Revoke(Vec<TopicPartition>, oneshot::Sender<()>),
    /// Let go of these, which cannot be committed any more.
    Lost(Vec<TopicPartition>, oneshot::Sender<()>),
    /// Take these too. Ends a rebalance, also where there are none.
    Assign(Vec<TopicPartition>, oneshot::Sender<()>),
    /// Nothing goes on before the next subscription; or, after [`crate::ErrorKind::MaxPollExceeded`], before
    /// [`Order::Progressed`]. Where no broker has this client ([`Error::keeps_out`]), the member goes on trying.
    Failed(Error),
}

/// What a consumer with a `group.id` has besides others.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) offsets: Arc<GroupOffsets>,
    pub(crate) commits: Arc<Commits>,
    pub(crate) listener: Arc<Listener>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) pulse: Arc<Pulse>,
    /// `auto.commit.interval.ms`, where `enable.auto.commit` says so.
    pub(crate) auto_commit: Option<Duration>,
    settings: MemberSettings,
    protocol: GroupProtocol,
    cluster: Arc<Cluster>,
    shared: Arc<Shared>,
    identity: Arc<watch::Sender<Identity>>,
    /// Leaf lock.
    membership: Mutex<Option<Membership>>,
}

/// A member from its first subscription until it has left.
#[derive(Clone, Debug)]
struct Membership {
    orders: mpsc::UnboundedSender<Order>,
    is_leaving: bool,
    is_over: watch::Receiver<bool>,
}

impl Group {
    /// The group that `config` names; `None` if it names none.
    pub(crate) fn new(
        config: &ConsumerConfig,
        cluster: &Arc<Cluster>,
        shared: &Arc<Shared>,
    ) -> Result<Option<Self>> {
        let Some(settings) = settings(config)? else { return Ok(None) };
        let instance_id = settings.instance_id.clone();
        let offsets = Arc::new(GroupOffsets::new(cluster.clone(), settings.group.clone(), instance_id));
        let identity = Arc::new(watch::Sender::new(Identity::NONE));
        let pulse = Arc::new(Pulse::new(Instant::now()));
        let commits = Commits::new(
            offsets.clone(),
            shared.clone(),
            identity.clone(),
            pulse.clone(),
            config.default_api_timeout,
            config.retry_backoff,
        );
        Ok(Some(Self {
            offsets,
            commits: Arc::new(commits),
            listener: Arc::default(),
            progress: Arc::new(Progress::new(Instant::now())),
            pulse,
            auto_commit: config.enable_auto_commit.then_some(config.auto_commit_interval),
            settings,
            protocol: config.group_protocol,
            cluster: cluster.clone(),
            shared: shared.clone(),
            identity,
            membership: Mutex::default(),
        }))
    }

    /// Starts what goes on all the time.
    pub(crate) fn start(&self, runtime: &Runtime) {
        runtime.spawn(self.commits.clone().run());
        if let Some(every) = self.auto_commit {
            runtime.spawn(self.commits.clone().run_auto(every));
        }
        let (shared, progress, listener) =
            (self.shared.clone(), self.progress.clone(), self.listener.clone());
        let mut watch = StallWatch::new(self.settings.max_poll_interval);
        runtime.spawn(async move {
            loop {
                sleep(watch.look_interval()).await;
                let now = Instant::now();
                let readings = shared.lock().readings();
                for stalled in watch.look(progress.last(now), readings, now) {
                    listener.stalled(stalled);
                    shared.tell();
                }
            }
        });
    }

    /// How the consumer does as a member.
    pub(crate) fn health(&self) -> Health {
        let now = Instant::now();
        self.pulse.health(self.progress.last(now), now)
    }

    /// Gives the member an order; one that is not there comes to be, as soon as one before it has left.
    pub(crate) fn subscribe(&self, order: Order, runtime: &Runtime) -> Result<()> {
        self.shared.lock().subscribe()?;
        let mut membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(current) = membership.as_ref().filter(|current| !current.is_leaving) {
            return current.orders.send(order).map_err(|_| Error::closed());
        }
        let before = membership.take().map(|before| before.is_over);
        let (orders, received) = mpsc::unbounded_channel();
        let (over, is_over) = watch::channel(false);
        // There is a receiver: it is in `program` below.
        _ = orders.send(order);
        let (tell, told) = mpsc::unbounded_channel();
        let program = Program {
            orders: received,
            told: tell,
            identity: self.identity.clone(),
            progress: self.progress.clone(),
            pulse: self.pulse.clone(),
        };
        let driver = Driver::new(self.cluster.clone(), self.protocol, self.settings.clone(), program);
        let handover = Handover {
            told,
            shared: self.shared.clone(),
            commits: self.commits.clone(),
            auto_commit: self.auto_commit.is_some(),
            listener: self.listener.clone(),
            identity: self.identity.subscribe(),
        };
        let (shared, commits, to_member) = (self.shared.clone(), self.commits.clone(), orders.clone());
        let listener = self.listener.clone();
        runtime.spawn(async move {
            if let Some(mut before) = before {
                // One that is gone is over, too.
                _ = before.wait_for(|is_over| *is_over).await;
                if let Err(error) = shared.lock().subscribe() {
                    // The program has assigned partitions meanwhile.
                    return tracing::warn!(%error, "not subscribed");
                }
            }
            listener.set_leaving(false);
            commits.tell(to_member);
            tokio::join!(driver.run(), handover.run());
            shared.lock().clear();
            shared.changed.notify_one();
            over.send_replace(true);
        });
        *membership = Some(Membership { orders, is_leaving: false, is_over });
        Ok(())
    }

    /// Tells the member to leave, and waits until it has. Nobody's leaving is over at once.
    pub(crate) fn leave(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = membership.as_mut().map(|membership| {
            if !membership.is_leaving {
                membership.is_leaving = true;
                self.listener.set_leaving(true);
                // If it is gone, it has left.
                _ = membership.orders.send(Order::Leave);
            }
            membership.is_over.clone()
        });
        async move {
            if let Some(mut is_over) = is_over {
                _ = is_over.wait_for(|is_over| *is_over).await;
            }
        }
    }

    /// Commits what the program is done with, if that goes by itself, and leaves.
    pub(crate) async fn close(&self) -> Result<()> {
        let committed = match self.auto_commit {
            Some(_) => self.commits.commit_done(None),
            // What the program asked for, and did not wait for.
            None => self.commits.commit([], None),
        };
        let committed = committed.await;
        self.leave().await;
        self.shared.lock().clear();
        committed
    }

    /// The program goes on after it was out for want of progress.
    pub(crate) fn progressed(&self) {
        let membership = self.membership.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(membership) = &*membership {
            // If it is gone, it does not matter.
            _ = membership.orders.send(Order::Progressed);
        }
    }
}

/// That there is no group, where one is needed.
pub(crate) fn no_group() -> Error {
    Error::new(ErrorKind::Config, "this consumer is in no group: `group.id` is not set")
        .hint("set `group.id` to the name of the group")
}

fn settings(config: &ConsumerConfig) -> Result<Option<MemberSettings>> {
    let Some(group) = config.group_id.as_deref() else { return Ok(None) };
    let wrong = |text: String| Error::new(ErrorKind::Config, text);
    let assignor = |name: &String| {
        let known =
            || wrong(format!("`{name}` in `partition.assignment.strategy` is no assignor that is known"));
        let hint = "write `range`, `roundrobin`, `sticky` or `cooperative-sticky`";
        Assignor::named(name).ok_or_else(|| known().hint(hint))
    };
    let assignors: Vec<Assignor> =
        config.partition_assignment_strategy.iter().map(assignor).collect::<Result<_>>()?;
    if assignors.is_empty() {
        return Err(
            wrong("`partition.assignment.strategy` is empty".to_owned()).hint("name an assignor, as `range`")
        );
    }
    if config.heartbeat_interval >= config.session_timeout {
        let text = format!(
            "`heartbeat.interval.ms` ({}) is not below `session.timeout.ms` ({})",
            config.heartbeat_interval.as_millis(),
            config.session_timeout.as_millis()
        );
        return Err(wrong(text).hint("make it a third or less, so that a lost heartbeat does no harm"));
    }
    Ok(Some(MemberSettings {
        group: group.into(),
        instance_id: config.group_instance_id.as_deref().map(Str::from),
        assignors,
        session_timeout: config.session_timeout,
        heartbeat_interval: config.heartbeat_interval,
        max_poll_interval: config.max_poll_interval,
        rack: (!config.client_rack.is_empty()).then(|| config.client_rack.as_str().into()),
        remote_assignor: config.group_remote_assignor.as_deref().map(Str::from),
        backoff: Backoff { first: config.retry_backoff, most: config.retry_backoff_max },
    }))
}
