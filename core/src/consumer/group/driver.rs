//! Sends what a member wants sent, on the client's I/O thread, and tells the program what it must know.
//!
//! Nothing here waits: requests run as tasks of their own and come back as events, so that a heartbeat is sent on time
//! however long a rebalance, or the program, takes. The group has a connection of its own, as JoinGroup waits at the broker.

use std::{future::Future, sync::Arc, time::Duration};

use ottla_protocol::{
    api::Api,
    error_code::ErrorCode,
    messages::{JoinGroupResponse, SyncGroupResponse},
    types::{BrokerId, TopicName},
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, sleep_until, timeout},
};

use super::classic::{Action, ClassicMember, Identity, MemberSettings};
use crate::{
    cluster::{Cluster, Purpose, TopicPartition, coordinator::find_coordinator},
    consumer::assignor::{Assignor, Member, Topics},
    error::{Error, Result},
};

/// How much longer than the rebalance itself an answer to JoinGroup may take.
const JOIN_MARGIN: Duration = Duration::from_secs(5);

/// What the program wants of its member.
#[derive(Debug)]
pub(crate) enum Order {
    /// Read these topics.
    Subscribe(Vec<TopicName>),
    /// The program goes on.
    Progressed,
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
    /// Take these too; as whom to commit.
    Assign(Vec<TopicPartition>, Identity, oneshot::Sender<()>),
    /// Nothing goes on before the next subscription.
    Failed(Error),
}

enum Event {
    Coordinator(Result<BrokerId>),
    Joined(u64, Result<JoinGroupResponse>),
    Divided(u64, Assignor, Vec<Vec<TopicPartition>>),
    Synced(u64, Result<SyncGroupResponse>),
    Beaten(Identity, Result<ErrorCode>),
    Done,
}

/// A member and its I/O.
pub(crate) struct Driver {
    member: ClassicMember,
    settings: MemberSettings,
    cluster: Arc<Cluster>,
    orders: mpsc::UnboundedReceiver<Order>,
    told: mpsc::UnboundedSender<Told>,
    events: mpsc::UnboundedReceiver<Event>,
    event: mpsc::UnboundedSender<Event>,
    leaving: Option<JoinHandle<()>>,
}

impl Driver {
    /// A driver that takes orders, and tells; what it tells is few: nothing new before the last was done.
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        settings: MemberSettings,
        orders: mpsc::UnboundedReceiver<Order>,
        told: mpsc::UnboundedSender<Told>,
    ) -> Self {
        let (event, events) = mpsc::unbounded_channel();
        let now = Instant::now().into_std();
        let member = ClassicMember::new(settings.clone(), fastrand::Rng::new(), now);
        Self { member, settings, cluster, orders, told, events, event, leaving: None }
    }

    /// Runs until the program has left, or its end of the orders is gone.
    pub(crate) async fn run(mut self) {
        loop {
            while let Some(action) = self.member.poll(Instant::now().into_std()) {
                self.perform(action);
            }
            if self.member.is_gone() {
                break;
            }
            let due = self.member.next_due().map(Instant::from_std);
            tokio::select! {
                order = self.orders.recv() => self.obey(order.unwrap_or(Order::Leave)),
                Some(event) = self.events.recv() => self.handle(event),
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        if let Some(leaving) = self.leaving {
            // The answer matters to nobody; that the request went out does.
            _ = timeout(self.cluster.config().request_timeout, leaving).await;
        }
    }

    fn obey(&mut self, order: Order) {
        let now = Instant::now().into_std();
        match order {
            Order::Subscribe(topics) => self.member.subscribe(topics, now),
            Order::Progressed => self.member.progressed(now),
            Order::Leave => self.member.leave(),
        }
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now().into_std();
        match event {
            Event::Coordinator(found) => self.member.handle_coordinator(found, now),
            Event::Joined(attempt, response) => self.member.handle_join(attempt, response, now),
            Event::Divided(attempt, assignor, parts) => self.member.handle_divided(attempt, assignor, &parts),
            Event::Synced(attempt, response) => self.member.handle_sync(attempt, response, now),
            Event::Beaten(sent, code) => self.member.handle_heartbeat(&sent, code, now),
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
                let timeout = request_timeout.max(self.settings.max_poll_interval + JOIN_MARGIN);
                let joined = self.ask(request, timeout);
                self.spawn(async move { Event::Joined(attempt, joined.await) });
            }
            Action::Divide(attempt, assignor, members) => {
                let cluster = self.cluster.clone();
                self.spawn(async move {
                    let topics = topics(&cluster, &members, Instant::now() + request_timeout).await;
                    Event::Divided(attempt, assignor, assignor.assign(&topics, &members))
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
                let left = self.ask(request, request_timeout);
                self.leaving = Some(tokio::spawn(async move {
                    if let Err(error) = left.await {
                        tracing::debug!(%error, "the coordinator was not told that the member left");
                    }
                }));
            }
            Action::Revoke(partitions) => self.tell(|done| Told::Revoke(partitions, done)),
            Action::Lost(partitions) => self.tell(|done| Told::Lost(partitions, done)),
            Action::Assign(partitions) => {
                let identity = self.member.identity().clone();
                self.tell(|done| Told::Assign(partitions, identity, done));
            }
            Action::Fail(error) => {
                // Where nobody listens, nobody is to be told.
                _ = self.told.send(Told::Failed(error));
            }
        }
    }

    fn spawn(&self, event: impl Future<Output = Event> + Send + 'static) {
        let events = self.event.clone();
        // The driver may be gone by then.
        tokio::spawn(async move { _ = events.send(event.await) });
    }

    fn tell(&self, told: impl FnOnce(oneshot::Sender<()>) -> Told) {
        let (done, is_done) = oneshot::channel();
        _ = self.told.send(told(done));
        self.spawn(async move {
            _ = is_done.await;
            Event::Done
        });
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
            let broker =
                coordinator.ok_or_else(|| Error::broker(ErrorCode::COORDINATOR_NOT_AVAILABLE, None))?;
            cluster.connection(broker, Purpose::Coordinate).await?.call(&request, deadline)?.await
        }
    }
}

/// The topics that members subscribe to, as far as they are there. Racks of replicas are not known here.
async fn topics(cluster: &Cluster, members: &[Member], deadline: Instant) -> Topics {
    let wanted: std::collections::BTreeSet<&TopicName> =
        members.iter().flat_map(|member| &member.subscription.topics).collect();
    wanted.iter().for_each(|topic| cluster.want(topic));
    // What is not known in time is divided once it is.
    let known = cluster
        .wait_for("the group's topics to be known", deadline, |snapshot| {
            wanted.iter().all(|&topic| snapshot.topics.contains_key(topic)).then(|| snapshot.clone())
        })
        .await
        .unwrap_or_else(|_| cluster.snapshot());
    let partitions = |&name: &&TopicName| {
        let topic = known.topics.get(name).filter(|topic| !topic.error.is_error())?;
        Some((name.clone(), vec![Vec::new(); topic.partitions.len()]))
    };
    wanted.iter().filter_map(partitions).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::print_stderr, reason = "says what is tested")]

    use std::collections::{BTreeMap, BTreeSet};

    use ottla_interop::{broker::TestBroker, kafka::Kafka, or_skip};

    use super::*;
    use crate::{
        Admin, NewTopic,
        cluster::{ClusterSettings, retry::Backoff, runtime::Runtime},
        config::{AdminConfig, ClientConfig, ConsumerConfig},
    };

    const PATIENCE: Duration = Duration::from_secs(20);
    const PARTITIONS: i32 = 7;

    /// A program that does nothing but take and let go.
    struct Program {
        orders: mpsc::UnboundedSender<Order>,
        told: mpsc::UnboundedReceiver<Told>,
        owned: BTreeSet<i32>,
        driver: Option<JoinHandle<()>>,
        _runtime: Runtime,
    }

    impl Program {
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
            let driver = Driver::new(cluster, settings, receive_orders, tell);
            let driver = Some(runtime.spawn(driver.run()));
            Self { orders, told, owned: BTreeSet::new(), driver, _runtime: runtime }
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
                Told::Assign(partitions, identity, done) => {
                    assert!(identity.generation >= 1 && !identity.member_id.is_empty(), "{identity:?}");
                    self.owned.append(&mut indexes(&partitions));
                    self.orders.send(Order::Progressed).unwrap();
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
    async fn settle(programs: &mut [Program]) {
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
        let join = || Program::join(&bootstrap, &name, &name, assignors);
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
}
