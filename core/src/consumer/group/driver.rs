//! Sends what a member wants sent, on the client's I/O thread, and tells the program what it must know.
//!
//! Nothing here waits: requests run as tasks of their own and come back as events, so that a heartbeat is sent on time
//! however long a rebalance, or the program, takes. The group has a connection of its own, as JoinGroup waits at the broker.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use ottla_protocol::{
    api::Api,
    error_code::ErrorCode,
    messages::{
        ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupResponse,
        LeaveGroupRequest, MetadataRequest, SyncGroupResponse, metadata::MetadataRequestTopic,
    },
    types::{BrokerId, TopicName, Uuid},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Identity, Order, Told,
    classic::ClassicMember,
    consumer::{ConsumerMember, Reads},
    health::{Pulse, WaitsFor},
    member::{Action, EitherMember, MemberSettings},
    progress::Progress,
    standing,
};
use crate::{
    cluster::{
        Cluster, Purpose, TopicPartition, broker::BrokerConnection, coordinator::find_coordinator,
        metadata::Snapshot,
    },
    config::GroupProtocol,
    consumer::assignor::{Assignor, Member, Topics},
    error::{Error, ErrorKind, Result},
};

/// How much longer than the rebalance itself an answer to JoinGroup may take.
const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// How often topics in use are said to be; the cluster forgets them after minutes.
const TOUCH_INTERVAL: Duration = Duration::from_secs(30);
/// The epoch of a member that joins a group of KIP-848.
const JOIN_EPOCH: i32 = 0;
/// The first LeaveGroup that names several members, and why they leave.
const LEAVE_BY_LIST: i16 = 3;

enum Event {
    Coordinator(Result<BrokerId>),
    Joined(u64, Result<JoinGroupResponse>),
    Divided(u64, Assignor, Divided, Vec<Vec<TopicPartition>>),
    Synced(u64, Result<SyncGroupResponse>),
    Beaten(Identity, Result<ErrorCode>),
    ConsumerBeaten(u64, Result<ConsumerGroupHeartbeatResponse>),
    /// The group is to be joined by the classic protocol; the join of this attempt was not sent, or not taken.
    IsClassic(u64),
    Named(Vec<(Uuid, TopicName)>),
    Matched(BTreeSet<TopicName>),
    Done,
}

impl Event {
    /// Why a request got no answer.
    fn error(&self) -> Option<&Error> {
        match self {
            Self::Coordinator(Err(error))
            | Self::Joined(_, Err(error))
            | Self::Synced(_, Err(error))
            | Self::Beaten(_, Err(error))
            | Self::ConsumerBeaten(_, Err(error)) => Some(error),
            _ => None,
        }
    }
}

/// What the member divided as the leader: if it is different now, the group is to divide it anew.
struct Divided {
    subscribed: BTreeSet<TopicName>,
    /// Racks of replicas count, as some member has one.
    racks_matter: bool,
    topics: Topics,
}

/// Whom a driver works for.
pub(crate) struct Program {
    /// What it wants.
    pub orders: mpsc::UnboundedReceiver<Order>,
    /// What it is told; that is few: nothing new before the last was done.
    pub told: mpsc::UnboundedSender<Told>,
    /// As whom it commits, always as of now.
    pub identity: Arc<watch::Sender<Identity>>,
    /// When it asked for records.
    pub progress: Arc<Progress>,
    /// What is counted.
    pub pulse: Arc<Pulse>,
}

/// A member and its I/O.
pub(crate) struct Driver {
    member: EitherMember,
    protocol: GroupProtocol,
    settings: MemberSettings,
    cluster: Arc<Cluster>,
    program: Program,
    events: mpsc::UnboundedReceiver<Event>,
    event: mpsc::UnboundedSender<Event>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the program reads, by names.
    subscribed: BTreeSet<TopicName>,
    /// What the member was told last to read.
    reads: Reads,
    /// Of `auto`: the group has refused the classic protocol since the last rebalance. Once may be a race.
    was_refused: bool,
    is_leaving: bool,
    divided: Option<Divided>,
    touch_at: Instant,
    /// Looks for topics that match.
    matching: Option<AbortHandle>,
    leaving: Option<JoinHandle<()>>,
}

impl Driver {
    /// A driver of a member that has not joined yet.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        protocol: GroupProtocol,
        settings: MemberSettings,
        program: Program,
    ) -> Self {
        let (event, events) = mpsc::unbounded_channel();
        let now = Instant::now();
        let member = match protocol {
            GroupProtocol::Classic => classic(&settings, now),
            GroupProtocol::Consumer | GroupProtocol::Auto => consumer(&settings, now),
        };
        Self {
            member,
            protocol,
            settings,
            snapshots: cluster.subscribe(),
            cluster,
            program,
            events,
            event,
            subscribed: BTreeSet::new(),
            reads: Reads::Topics(Vec::new()),
            was_refused: false,
            is_leaving: false,
            divided: None,
            touch_at: now + TOUCH_INTERVAL,
            matching: None,
            leaving: None,
        }
    }

    /// Runs until the program has left, or its end of the orders is gone.
    pub(crate) async fn run(mut self) {
        loop {
            let now = Instant::now();
            self.member.active_at(self.program.progress.last(now.into_std()));
            while let Some(action) = self.member.poll(Instant::now().into_std()) {
                self.perform(action);
            }
            self.publish();
            if self.member.is_gone() {
                break;
            }
            if now >= self.touch_at {
                self.touch(now);
            }
            let due = self
                .member
                .next_due()
                .map(Instant::from_std)
                .map_or(self.touch_at, |due| due.min(self.touch_at));
            tokio::select! {
                order = self.program.orders.recv() => self.obey(order.unwrap_or(Order::Leave)),
                Some(event) = self.events.recv() => self.handle(event),
                Ok(()) = self.snapshots.changed() => self.look_at_topics(),
                () = sleep_until(due) => {}
            }
        }
        if let Some(matching) = self.matching.take() {
            matching.abort();
        }
        if let Some(leaving) = self.leaving {
            // The answer matters to nobody; that the request went out does.
            _ = timeout(self.cluster.config().request_timeout, leaving).await;
        }
        self.program.pulse.stand(false, WaitsFor::Leaving, Instant::now().into_std());
        self.program.identity.send_replace(Identity::NONE);
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now().into_std();
        match order {
            Order::Subscribe(topics) => {
                self.stop_matching();
                self.member.active_at(now);
                self.subscribe(topics.into_iter().collect());
            }
            Order::Match(pattern) => {
                self.stop_matching();
                self.member.active_at(now);
                let (cluster, event) = (self.cluster.clone(), self.event.clone());
                let every = self.cluster.config().metadata_max_age;
                let tell = move |topics| event.send(Event::Matched(topics)).is_ok();
                self.matching = Some(tokio::spawn(pattern.watch(cluster, every, tell)).abort_handle());
            }
            Order::MatchAtBroker(pattern) => {
                self.stop_matching();
                self.member.active_at(now);
                self.subscribed.clear();
                self.read(Reads::Pattern(pattern));
            }
            Order::Progressed => self.member.progressed(now),
            Order::CommitRefused(sent, code) => self.member.handle_commit_refused(&sent, code, now),
            Order::Leave => {
                self.is_leaving = true;
                self.member.leave();
            }
        }
    }

    fn stop_matching(&mut self) {
        if let Some(matching) = self.matching.take() {
            matching.abort();
        }
    }

    fn subscribe(&mut self, topics: BTreeSet<TopicName>) {
        self.subscribed.clone_from(&topics);
        self.touch(Instant::now());
        self.read(Reads::Topics(topics.into_iter().collect()));
    }

    fn read(&mut self, reads: Reads) {
        self.reads = reads.clone();
        if let Err(error) = self.member.subscribe(reads, Instant::now().into_std()) {
            _ = self.program.told.send(Told::Failed(error));
        }
    }

    /// Goes on as another member, which knows the coordinator already. The program has nothing just now.
    fn become_member(&mut self, mut member: EitherMember) {
        if let Some(coordinator) = self.member.coordinator() {
            member.handle_coordinator(Ok(coordinator), Instant::now().into_std());
        }
        self.member = member;
        self.divided = None;
        self.read(self.reads.clone());
    }

    /// Says which topics are in use: the program's, and those that this member divides for others.
    fn touch(&mut self, now: Instant) {
        let of_others = self.divided.iter().flat_map(|divided| &divided.subscribed);
        self.subscribed.iter().chain(of_others).for_each(|topic| self.cluster.want(topic));
        self.touch_at = now + TOUCH_INTERVAL;
    }

    /// Metadata came: what a leader divided may be different now.
    fn look_at_topics(&mut self) {
        let known = self.snapshots.borrow_and_update().clone();
        let is_changed = |divided: &mut Divided| {
            topics(&known, &divided.subscribed, divided.racks_matter) != divided.topics
        };
        if self.divided.take_if(is_changed).is_some()
            && let EitherMember::Classic(member) = &mut self.member
        {
            member.request_rejoin("the partitions of the group's topics have changed");
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now().into_std();
        if let Some(error) = event.error().filter(|error| error.keeps_out() && !self.is_leaving) {
            // The member tries again by itself. Meanwhile the program hears why it reads nothing.
            let doing = format!("group `{}`", self.settings.group);
            _ = self.program.told.send(Told::Failed(error.clone().context(doing)));
        }
        match (event, &mut self.member) {
            (Event::Coordinator(found), member) => member.handle_coordinator(found, now),
            (Event::Done, member) => member.handle_done(),
            // One that came late, after the program chose otherwise.
            (Event::Matched(_), _) if self.matching.is_none() => {}
            (Event::Matched(topics), _) => self.subscribe(topics),
            (event, EitherMember::Classic(_)) => self.handle_classic(event, now),
            (event, EitherMember::Consumer(_)) => self.handle_consumer(event, now),
        }
    }

    /// What came of what a classic member wanted; what another member wanted before it is of no use.
    fn handle_classic(&mut self, event: Event, now: std::time::Instant) {
        let EitherMember::Classic(member) = &mut self.member else { return };
        match event {
            Event::Joined(attempt, response) => member.handle_join(attempt, response, now),
            Event::Divided(attempt, assignor, divided, parts) => {
                self.divided = Some(divided);
                member.handle_divided(attempt, assignor, &parts);
                // What came while they were divided is not to be missed.
                self.look_at_topics();
            }
            Event::Synced(attempt, response) => member.handle_sync(attempt, response, now),
            Event::Beaten(sent, code) => member.handle_heartbeat(&sent, code, now),
            _ => {}
        }
    }

    fn handle_consumer(&mut self, event: Event, now: std::time::Instant) {
        let EitherMember::Consumer(member) = &mut self.member else { return };
        match event {
            Event::ConsumerBeaten(attempt, response) => member.handle_heartbeat(attempt, response, now),
            Event::IsClassic(attempt) if self.is_leaving => {
                let not_sent = Err(Error::broker(ErrorCode::COORDINATOR_NOT_AVAILABLE, None));
                member.handle_heartbeat(attempt, not_sent, now);
            }
            Event::IsClassic(_) => {
                tracing::info!(group = %self.settings.group, "the group is joined by the classic protocol");
                let member = classic(&self.settings, Instant::now());
                self.become_member(member);
            }
            Event::Named(topics) => member.handle_names(topics, now),
            _ => {}
        }
    }

    fn perform(&mut self, action: Action) {
        let request_timeout = self.cluster.config().request_timeout;
        match action {
            Action::FindCoordinator => {
                let (cluster, group) = (self.cluster.clone(), self.settings.group.clone());
                self.spawn(async move {
                    let deadline = Instant::now() + request_timeout;
                    Event::Coordinator(find_coordinator(&cluster, group, deadline).await)
                });
            }
            Action::Join(attempt, request) => {
                // Who leads is to be seen.
                self.divided = None;
                let timeout = request_timeout.max(self.settings.max_poll_interval + JOIN_MARGIN);
                let joined = self.ask(request, timeout);
                self.spawn(async move { Event::Joined(attempt, joined.await) });
            }
            Action::Divide(attempt, assignor, members) => {
                let cluster = self.cluster.clone();
                self.spawn(async move {
                    let divided = Divided::know(&cluster, &members, Instant::now() + request_timeout).await;
                    let parts = assignor.assign(&divided.topics, &members);
                    Event::Divided(attempt, assignor, divided, parts)
                });
            }
            Action::Sync(attempt, request) => {
                // The followers' wait for the leader's.
                let timeout = request_timeout.max(self.settings.max_poll_interval + JOIN_MARGIN);
                let synced = self.ask(request, timeout);
                self.spawn(async move { Event::Synced(attempt, synced.await) });
            }
            Action::Heartbeat(request) => {
                let sent = self.member.identity().clone();
                let beaten = self.ask(request, request_timeout.min(self.settings.session_timeout));
                let beaten = timed(self.program.pulse.clone(), beaten);
                let code = async move { beaten.await.map(|response| response.error_code) };
                self.spawn(async move { Event::Beaten(sent, code.await) });
            }
            Action::Leave(request) => {
                let left = self.leave(request, Instant::now() + request_timeout);
                self.leaving = Some(tokio::spawn(async move {
                    if let Err(error) = left.await {
                        tracing::debug!(%error, "the coordinator was not told that the member left");
                    }
                }));
            }
            Action::ConsumerHeartbeat(attempt, request) => {
                let timeout = request_timeout;
                if self.protocol == GroupProtocol::Auto && request.member_epoch == JOIN_EPOCH {
                    self.join_if_it_is_not_classic(attempt, request, timeout);
                } else {
                    let beaten = timed(self.program.pulse.clone(), self.ask(request, timeout));
                    self.spawn(async move { Event::ConsumerBeaten(attempt, beaten.await) });
                }
            }
            Action::NameTopics(ids) => {
                let cluster = self.cluster.clone();
                self.spawn(async move {
                    Event::Named(names(&cluster, ids, Instant::now() + request_timeout).await)
                });
            }
            Action::Revoke(partitions) => self.tell(|done| Told::Revoke(partitions, done)),
            Action::Lost(partitions) => self.tell(|done| Told::Lost(partitions, done)),
            Action::Assign(partitions) => {
                self.was_refused = false;
                self.program.pulse.rebalanced(Instant::now().into_std());
                self.tell(|done| Told::Assign(partitions, done));
            }
            Action::Fail(error) if self.may_be_of_the_other_kind(&error) => {
                self.was_refused = true;
                let member = consumer(&self.settings, Instant::now());
                self.become_member(member);
            }
            Action::Fail(error) => {
                if error.kind() != ErrorKind::MaxPollExceeded {
                    self.stop_matching();
                }
                // Where nobody listens, nobody is to be told.
                _ = self.program.told.send(Told::Failed(error));
            }
        }
    }

    /// Joins by KIP-848, unless the group has members of the classic protocol; see [`standing`].
    fn join_if_it_is_not_classic(
        &self,
        attempt: u64,
        request: ConsumerGroupHeartbeatRequest,
        timeout: Duration,
    ) {
        let (cluster, coordinator) = (self.cluster.clone(), self.member.coordinator());
        self.spawn(async move {
            let deadline = Instant::now() + timeout;
            let joined = async {
                let connection = connect(&cluster, coordinator, Purpose::Coordinate).await?;
                if standing::is_classic(&connection, &request.group_id, deadline).await? {
                    return Ok(None);
                }
                connection.call(&request, deadline)?.await.map(Some)
            };
            match joined.await {
                Ok(Some(response)) if !standing::is_refused(response.error_code) => {
                    Event::ConsumerBeaten(attempt, Ok(response))
                }
                Ok(_) => Event::IsClassic(attempt),
                Err(error) => Event::ConsumerBeaten(attempt, Err(error)),
            }
        });
    }

    /// Of `auto`: the group is not of the classic protocol any more, as far as the first refusal tells.
    fn may_be_of_the_other_kind(&self, error: &Error) -> bool {
        let is_classic = matches!(self.member, EitherMember::Classic(_));
        self.protocol == GroupProtocol::Auto
            && is_classic
            && !self.was_refused
            && !self.is_leaving
            && error.code() == Some(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
    }

    fn spawn(&self, event: impl Future<Output = Event> + Send + 'static) {
        let events = self.event.clone();
        // The driver may be gone by then.
        tokio::spawn(async move { _ = events.send(event.await) });
    }

    /// Lets everybody know as whom to commit.
    fn publish(&self) {
        let identity = self.member.identity();
        let is_member = identity.generation != Identity::NONE.generation;
        self.program.pulse.stand(is_member, self.member.waits_for(), Instant::now().into_std());
        self.program.identity.send_if_modified(|known| {
            let is_new = known != identity;
            if is_new {
                known.clone_from(identity);
            }
            is_new
        });
    }

    fn tell(&self, told: impl FnOnce(oneshot::Sender<()>) -> Told) {
        let (done, is_done) = oneshot::channel();
        // Before the program acts on it.
        self.publish();
        _ = self.program.told.send(told(done));
        self.spawn(async move {
            _ = is_done.await;
            Event::Done
        });
    }

    fn leave(
        &self,
        request: LeaveGroupRequest,
        deadline: Instant,
    ) -> impl Future<Output = Result<()>> + Send + 'static {
        let (cluster, coordinator) = (self.cluster.clone(), self.member.coordinator());
        async move {
            // Not behind a JoinGroup that waits for the others.
            let connection = connect(&cluster, coordinator, Purpose::Ask).await?;
            let version = connection.version(ApiKey::LeaveGroup)?;
            connection.call_version(&leave_as(request, version), version, deadline)?.await.map(drop)
        }
    }

    /// Asks the coordinator, over the group's own connection.
    fn ask<R: Api + Send + Sync + 'static>(
        &self,
        request: R,
        timeout: Duration,
    ) -> impl Future<Output = Result<R::Response>> + Send + 'static
    where
        R::Response: Send,
    {
        let (cluster, coordinator) = (self.cluster.clone(), self.member.coordinator());
        let deadline = Instant::now() + timeout;
        async move {
            let connection = connect(&cluster, coordinator, Purpose::Coordinate).await?;
            connection.call(&request, deadline)?.await
        }
    }
}

/// Counts a heartbeat that is answered.
async fn timed<T>(pulse: Arc<Pulse>, beaten: impl Future<Output = Result<T>>) -> Result<T> {
    let sent = Instant::now();
    let answer = beaten.await?;
    let now = Instant::now();
    pulse.beaten(now - sent, now.into_std());
    Ok(answer)
}

fn classic(settings: &MemberSettings, now: Instant) -> EitherMember {
    let member = ClassicMember::new(settings.clone(), fastrand::Rng::new(), now.into_std());
    EitherMember::Classic(Box::new(member))
}

fn consumer(settings: &MemberSettings, now: Instant) -> EitherMember {
    let member = ConsumerMember::new(settings.clone(), fastrand::Rng::new(), now.into_std());
    EitherMember::Consumer(Box::new(member))
}

/// What topics of these ids are called, as far as they are there: from the metadata if it knows, else a broker is asked.
async fn names(cluster: &Cluster, mut ids: Vec<Uuid>, deadline: Instant) -> Vec<(Uuid, TopicName)> {
    let snapshot = cluster.snapshot();
    let known = snapshot.topics.iter().filter(|(_, topic)| ids.contains(&topic.id));
    let mut names: Vec<(Uuid, TopicName)> = known.map(|(name, topic)| (topic.id, name.clone())).collect();
    ids.retain(|id| !names.iter().any(|(known, _)| known == id));
    if ids.is_empty() {
        return names;
    }
    let topic = |topic_id: Uuid| MetadataRequestTopic { name: None, topic_id };
    let request = MetadataRequest {
        topics: Some(ids.into_iter().map(topic).collect()),
        allow_auto_topic_creation: false,
        ..Default::default()
    };
    match cluster.call_any(&request, deadline).await {
        Ok(response) => {
            let found = response.topics.into_iter().filter(|topic| !topic.error_code.is_error());
            names.extend(found.filter_map(|topic| Some((topic.topic_id, topic.name?.detached()))));
        }
        Err(error) => tracing::debug!(%error, "the names of topics are not known yet"),
    }
    names
}

async fn connect(
    cluster: &Cluster,
    coordinator: Option<BrokerId>,
    purpose: Purpose,
) -> Result<Arc<BrokerConnection>> {
    let broker = coordinator.ok_or_else(|| Error::broker(ErrorCode::COORDINATOR_NOT_AVAILABLE, None))?;
    cluster.connection(broker, purpose).await
}

/// Leaving, as this version can say it: before the third, one member at a time and without a reason.
fn leave_as(request: LeaveGroupRequest, version: i16) -> LeaveGroupRequest {
    if version >= LEAVE_BY_LIST {
        return request;
    }
    let member_id = request.members.into_iter().next().map(|member| member.member_id).unwrap_or_default();
    LeaveGroupRequest { group_id: request.group_id, member_id, ..Default::default() }
}

impl Divided {
    /// The topics that members subscribe to, once they are known.
    async fn know(cluster: &Cluster, members: &[Member], deadline: Instant) -> Self {
        let names = members.iter().flat_map(|member| &member.subscription.topics);
        let subscribed: BTreeSet<TopicName> = names.cloned().collect();
        subscribed.iter().for_each(|topic| cluster.want(topic));
        // What is not known in time is divided once it is.
        let known = cluster
            .wait_for("the group's topics to be known", deadline, |snapshot| {
                subscribed.iter().all(|topic| snapshot.topics.contains_key(topic)).then(|| snapshot.clone())
            })
            .await
            .unwrap_or_else(|_| cluster.snapshot());
        let racks_matter = members.iter().any(|member| member.subscription.rack.is_some());
        Self { topics: topics(&known, &subscribed, racks_matter), racks_matter, subscribed }
    }
}

/// Those of these topics that are there; if they matter, with the racks of their replicas.
fn topics(known: &Snapshot, subscribed: &BTreeSet<TopicName>, racks_matter: bool) -> Topics {
    let partitions = |name: &TopicName| {
        let topic = known.topics.get(name).filter(|topic| !topic.error.is_error())?;
        let mut racks = if racks_matter { topic.racks.clone() } else { Vec::new() };
        racks.resize(topic.partitions.len(), Vec::new());
        Some((name.clone(), racks))
    };
    subscribed.iter().filter_map(partitions).collect()
}

#[cfg(test)]
mod tests;
