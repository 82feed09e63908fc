//! Sends what a member wants sent, on the client's I/O thread, and tells the program what it must know.
//!
//! Nothing here waits: requests run as tasks of their own and come back as events, so that a heartbeat is sent on time
//! however long a rebalance, or the program, takes. The group has a connection of its own, as JoinGroup waits at the broker.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use ottla_protocol::{
    api::Api,
    error_code::ErrorCode,
    messages::{ApiKey, JoinGroupResponse, LeaveGroupRequest, SyncGroupResponse},
    types::{BrokerId, TopicName},
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{AbortHandle, JoinHandle},
    time::{Instant, sleep_until, timeout},
};

use super::{
    Identity, Order, Told,
    classic::{Action, ClassicMember, MemberSettings},
    progress::Progress,
};
use crate::{
    cluster::{
        Cluster, Purpose, TopicPartition, broker::BrokerConnection, coordinator::find_coordinator,
        metadata::Snapshot,
    },
    consumer::assignor::{Assignor, Member, Topics},
    error::{Error, ErrorKind, Result},
};

/// How much longer than the rebalance itself an answer to JoinGroup may take.
const JOIN_MARGIN: Duration = Duration::from_secs(5);
/// How often topics in use are said to be; the cluster forgets them after minutes.
const TOUCH_INTERVAL: Duration = Duration::from_secs(30);
/// The first LeaveGroup that names several members, and why they leave.
const LEAVE_BY_LIST: i16 = 3;

enum Event {
    Coordinator(Result<BrokerId>),
    Joined(u64, Result<JoinGroupResponse>),
    Divided(u64, Assignor, Divided, Vec<Vec<TopicPartition>>),
    Synced(u64, Result<SyncGroupResponse>),
    Beaten(Identity, Result<ErrorCode>),
    Matched(BTreeSet<TopicName>),
    Done,
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
}

/// A member and its I/O.
pub(crate) struct Driver {
    member: ClassicMember,
    settings: MemberSettings,
    cluster: Arc<Cluster>,
    program: Program,
    events: mpsc::UnboundedReceiver<Event>,
    event: mpsc::UnboundedSender<Event>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What the program reads.
    subscribed: BTreeSet<TopicName>,
    divided: Option<Divided>,
    touch_at: Instant,
    /// Looks for topics that match.
    matching: Option<AbortHandle>,
    leaving: Option<JoinHandle<()>>,
}

impl Driver {
    /// A driver of a member that has not joined yet.
    pub(crate) fn new(cluster: Arc<Cluster>, settings: MemberSettings, program: Program) -> Self {
        let (event, events) = mpsc::unbounded_channel();
        let now = Instant::now();
        let member = ClassicMember::new(settings.clone(), fastrand::Rng::new(), now.into_std());
        Self {
            member,
            settings,
            snapshots: cluster.subscribe(),
            cluster,
            program,
            events,
            event,
            subscribed: BTreeSet::new(),
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
            Order::Progressed => self.member.progressed(now),
            Order::CommitRefused(sent, code) => self.member.handle_commit_refused(&sent, code, now),
            Order::Leave => self.member.leave(),
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
        self.member.subscribe(topics, Instant::now().into_std());
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
        if self.divided.take_if(is_changed).is_some() {
            self.member.request_rejoin("the partitions of the group's topics have changed");
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now().into_std();
        match event {
            Event::Coordinator(found) => self.member.handle_coordinator(found, now),
            Event::Joined(attempt, response) => self.member.handle_join(attempt, response, now),
            Event::Divided(attempt, assignor, divided, parts) => {
                self.divided = Some(divided);
                self.member.handle_divided(attempt, assignor, &parts);
                // What came while they were divided is not to be missed.
                self.look_at_topics();
            }
            Event::Synced(attempt, response) => self.member.handle_sync(attempt, response, now),
            Event::Beaten(sent, code) => self.member.handle_heartbeat(&sent, code, now),
            // One that came late, after the program chose otherwise.
            Event::Matched(_) if self.matching.is_none() => {}
            Event::Matched(topics) => self.subscribe(topics),
            Event::Done => self.member.handle_done(),
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
            Action::Revoke(partitions) => self.tell(|done| Told::Revoke(partitions, done)),
            Action::Lost(partitions) => self.tell(|done| Told::Lost(partitions, done)),
            Action::Assign(partitions) => self.tell(|done| Told::Assign(partitions, done)),
            Action::Fail(error) => {
                if error.kind() != ErrorKind::MaxPollExceeded {
                    self.stop_matching();
                }
                // Where nobody listens, nobody is to be told.
                _ = self.program.told.send(Told::Failed(error));
            }
        }
    }

    fn spawn(&self, event: impl Future<Output = Event> + Send + 'static) {
        let events = self.event.clone();
        // The driver may be gone by then.
        tokio::spawn(async move { _ = events.send(event.await) });
    }

    /// Lets everybody know as whom to commit.
    fn publish(&self) {
        let identity = self.member.identity();
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
mod tests {
    #![allow(clippy::print_stderr, reason = "says what is tested")]

    use std::collections::{BTreeMap, BTreeSet};

    use ottla_interop::{broker::TestBroker, kafka::Kafka, or_skip};
    use ottla_protocol::{
        messages::leave_group::MemberIdentity,
        types::Uuid,
        wire::{Reader, Wire, Writer},
    };

    use super::*;
    use crate::{
        Admin, NewTopic,
        cluster::{
            ClusterSettings,
            metadata::{Partition, Topic},
            retry::Backoff,
            runtime::Runtime,
        },
        config::{AdminConfig, ClientConfig, ConsumerConfig},
    };

    const PATIENCE: Duration = Duration::from_secs(20);
    const PARTITIONS: i32 = 7;

    /// A program that does nothing but take and let go.
    struct TestProgram {
        orders: mpsc::UnboundedSender<Order>,
        told: mpsc::UnboundedReceiver<Told>,
        owned: BTreeSet<i32>,
        identity: Arc<watch::Sender<Identity>>,
        driver: Option<JoinHandle<()>>,
        _runtime: Runtime,
    }

    impl TestProgram {
        fn join(bootstrap: &str, group: &str, topic: &str, assignors: &[Assignor]) -> Self {
            let config =
                ConsumerConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..Default::default() };
            let cluster = Cluster::new(ClusterSettings {
                client: ClientConfig::from(&config),
                metadata_max_idle: Duration::from_secs(300),
                allow_auto_topic_creation: false,
            })
            .unwrap();
            let runtime = Runtime::start("member").unwrap();
            runtime.spawn(cluster.clone().keep_metadata());
            let settings = MemberSettings {
                group: group.into(),
                instance_id: None,
                assignors: assignors.to_vec(),
                session_timeout: Duration::from_secs(10),
                heartbeat_interval: Duration::from_millis(100),
                max_poll_interval: Duration::from_secs(30),
                rack: None,
                backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_millis(500) },
            };
            let (orders, receive_orders) = mpsc::unbounded_channel();
            let (tell, told) = mpsc::unbounded_channel();
            orders.send(Order::Subscribe(vec![topic.into()])).unwrap();
            let identity = Arc::new(watch::Sender::new(Identity::NONE));
            let program = Program {
                orders: receive_orders,
                told: tell,
                identity: identity.clone(),
                progress: Arc::new(Progress::new(std::time::Instant::now())),
            };
            let driver = Driver::new(cluster, settings, program);
            let driver = Some(runtime.spawn(driver.run()));
            Self { orders, told, owned: BTreeSet::new(), identity, driver, _runtime: runtime }
        }

        fn take(&mut self, told: Told) {
            let indexes = |partitions: &[TopicPartition]| -> BTreeSet<i32> {
                partitions.iter().map(|tp| tp.partition).collect()
            };
            match told {
                Told::Revoke(partitions, done) | Told::Lost(partitions, done) => {
                    self.owned = &self.owned - &indexes(&partitions);
                    _ = done.send(());
                }
                Told::Assign(partitions, done) => {
                    let identity = self.identity.borrow().clone();
                    assert!(identity.generation >= 1 && !identity.member_id.is_empty(), "{identity:?}");
                    self.owned.append(&mut indexes(&partitions));
                    _ = done.send(());
                }
                Told::Failed(error) => panic!("{error}"),
            }
        }

        async fn leave(mut self) {
            self.orders.send(Order::Leave).unwrap();
            let driver = self.driver.take().unwrap();
            timeout(PATIENCE, async {
                while let Some(told) = self.told.recv().await {
                    self.take(told);
                }
                driver.await.unwrap();
            })
            .await
            .unwrap();
            assert!(self.owned.is_empty());
        }
    }

    /// Goes on until each has its share and all have everything; no partition is anybody's twice at any time.
    async fn settle(programs: &mut [TestProgram]) {
        let least = PARTITIONS as usize / programs.len();
        timeout(PATIENCE, async {
            loop {
                let mut owners: BTreeMap<i32, usize> = BTreeMap::new();
                for program in &*programs {
                    program.owned.iter().for_each(|&partition| *owners.entry(partition).or_default() += 1);
                }
                assert!(owners.values().all(|&count| count == 1), "a partition has two owners: {owners:?}");
                let is_even = programs.iter().all(|program| program.owned.len() >= least);
                if owners.len() == PARTITIONS as usize && is_even {
                    return;
                }
                // Whoever is told something takes it before the next is asked: revocations come before what follows.
                for program in &mut *programs {
                    while let Ok(told) = program.told.try_recv() {
                        program.take(told);
                    }
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .expect("the group settles in time");
    }

    async fn come_and_go(bootstrap: String, assignors: &[Assignor]) {
        let config = AdminConfig { bootstrap_servers: vec![bootstrap.clone()], ..Default::default() };
        let admin = Admin::new(config).unwrap();
        let name = format!("come-and-go-{}-{}", assignors[0].name(), fastrand::u64(..));
        admin.create_topic(NewTopic::new(&name).partitions(PARTITIONS)).await.unwrap();
        let join = || TestProgram::join(&bootstrap, &name, &name, assignors);
        let mut programs = vec![join()];
        settle(&mut programs).await;
        programs.push(join());
        programs.push(join());
        settle(&mut programs).await;
        programs.remove(0).leave().await;
        settle(&mut programs).await;
        for program in programs {
            program.leave().await;
        }
        let described = admin.describe_groups([&name]).await.unwrap().remove(0).1.unwrap();
        assert!(described.state.is_inactive(), "{described:?}");
    }

    #[test]
    fn members_come_and_go_and_every_partition_is_somebodys_and_nobodys_twice() {
        let ours = TestBroker::start(&[("group.initial.rebalance.delay.ms", "0")]);
        let apache = or_skip(Kafka::shared()).map(Kafka::bootstrap);
        for bootstrap in [ours.bootstrap()].into_iter().chain(apache) {
            for assignors in [
                &[Assignor::Range, Assignor::CooperativeSticky][..],
                &[Assignor::RoundRobin],
                &[Assignor::Sticky],
                &[Assignor::CooperativeSticky],
            ] {
                eprintln!("at {bootstrap} with {assignors:?}");
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(come_and_go(bootstrap.clone(), assignors));
            }
        }
    }

    #[test]
    fn a_member_leaves_as_the_broker_can_read_it() {
        let request = || {
            let member_id: ottla_protocol::types::Str = "m".into();
            let member = MemberIdentity { member_id, group_instance_id: None, reason: Some("done".into()) };
            LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..Default::default() }
        };
        for version in 0..=5 {
            let mut writer = Writer::new();
            let said = leave_as(request(), version);
            said.write(&mut writer, version).unwrap();
            let read = LeaveGroupRequest::read(&mut Reader::new(writer.into_bytes()), version).unwrap();
            let one = (&*read.member_id, read.members.len());
            assert_eq!(one, if version < 3 { ("m", 0) } else { ("", 1) }, "version {version}");
        }
    }

    #[test]
    fn racks_count_only_where_a_member_has_one() {
        let partition = Partition { leader: None, leader_epoch: 0 };
        let racks: Vec<Vec<ottla_protocol::types::Str>> = vec![vec!["a".into()], vec!["b".into()]];
        let topic = Topic {
            id: Uuid::ZERO,
            partitions: vec![partition; 2],
            racks: racks.clone(),
            error: ErrorCode::NONE,
        };
        let known = Snapshot { topics: [("t".into(), Arc::new(topic))].into(), ..Default::default() };
        let subscribed = BTreeSet::from(["t".into(), "missing".into()]);
        assert_eq!(topics(&known, &subscribed, true), Topics::from([("t".into(), racks)]));
        assert_eq!(topics(&known, &subscribed, false), Topics::from([("t".into(), vec![Vec::new(); 2])]));
    }
}
