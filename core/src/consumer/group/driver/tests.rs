//! Members with all of their I/O, in groups of one to three, at our broker and at Apache Kafka.

#![allow(clippy::print_stderr, reason = "says what is tested")]

use std::collections::{BTreeMap, BTreeSet};

use ottla_interop::{
    broker::TestBroker,
    kafka::{Kafka, Options, QUICK_GROUPS},
    or_skip,
};
use ottla_protocol::{
    messages::leave_group::MemberIdentity,
    types::{Str, Uuid},
    wire::{Reader, Wire, Writer},
};

use super::*;
use crate::{
    Admin, GroupType, NewTopic,
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
/// By what names programs say how they join.
const CLASSIC: Kind =
    Kind { protocol: GroupProtocol::Classic, assignors: &[Assignor::Range], remote: None, instance: None };
const CONSUMER: Kind = Kind { protocol: GroupProtocol::Consumer, ..CLASSIC };
const AUTO: Kind = Kind { protocol: GroupProtocol::Auto, ..CLASSIC };

/// How a program joins.
#[derive(Clone, Copy, Debug)]
struct Kind {
    protocol: GroupProtocol,
    assignors: &'static [Assignor],
    remote: Option<&'static str>,
    instance: Option<&'static str>,
}

/// A program that does nothing but take and let go.
struct TestProgram {
    orders: mpsc::UnboundedSender<Order>,
    told: mpsc::UnboundedReceiver<Told>,
    owned: BTreeSet<i32>,
    identity: Arc<watch::Sender<Identity>>,
    failed: Option<Error>,
    driver: Option<JoinHandle<()>>,
    _runtime: Runtime,
}

impl TestProgram {
    fn join(bootstrap: &str, group: &str, topic: &str, kind: Kind) -> Self {
        Self::begin(bootstrap, group, Order::Subscribe(vec![topic.into()]), kind, |driver| driver)
    }

    fn begin(
        bootstrap: &str,
        group: &str,
        order: Order,
        kind: Kind,
        prepare: impl FnOnce(Driver) -> Driver,
    ) -> Self {
        let config = ConsumerConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..Default::default() };
        let cluster = Cluster::new(ClusterSettings {
            client: ClientConfig::from(&config),
            metadata_max_idle: Duration::from_secs(300),
            allow_auto_topic_creation: false,
            tokens: None,
        })
        .unwrap();
        let runtime = Runtime::start("member").unwrap();
        runtime.spawn(cluster.clone().keep_metadata());
        let settings = MemberSettings {
            group: group.into(),
            instance_id: kind.instance.map(Str::from),
            assignors: kind.assignors.to_vec(),
            session_timeout: Duration::from_secs(10),
            heartbeat_interval: Duration::from_millis(100),
            max_poll_interval: Duration::from_secs(30),
            rack: None,
            remote_assignor: kind.remote.map(Str::from),
            backoff: Backoff { first: Duration::from_millis(50), most: Duration::from_millis(500) },
        };
        let (orders, receive_orders) = mpsc::unbounded_channel();
        let (tell, told) = mpsc::unbounded_channel();
        orders.send(order).unwrap();
        let identity = Arc::new(watch::Sender::new(Identity::NONE));
        let program = Program {
            orders: receive_orders,
            told: tell,
            identity: identity.clone(),
            progress: Arc::new(Progress::new(std::time::Instant::now())),
            pulse: Arc::new(Pulse::new(std::time::Instant::now())),
        };
        let driver = prepare(Driver::new(cluster, kind.protocol, settings, program));
        let driver = Some(runtime.spawn(driver.run()));
        let owned = BTreeSet::new();
        Self { orders, told, owned, identity, failed: None, driver, _runtime: runtime }
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
            Told::Failed(error) => self.failed = Some(error),
        }
    }

    /// Waits until it is told that it failed.
    async fn failure(&mut self) -> Error {
        timeout(PATIENCE, async {
            while self.failed.is_none() {
                let told = self.told.recv().await.expect("the driver runs");
                self.take(told);
            }
        })
        .await
        .unwrap();
        self.failed.take().unwrap()
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
                assert!(program.failed.is_none(), "{:?}", program.failed);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("the group settles in time");
}

/// An admin client, and a topic with a name of its own.
async fn topic(bootstrap: &str, what: &str) -> (Admin, String) {
    let config = AdminConfig { bootstrap_servers: vec![bootstrap.to_owned()], ..Default::default() };
    let admin = Admin::new(config).unwrap();
    let name = format!("{what}-{}", fastrand::u64(..));
    admin.create_topic(NewTopic::new(&name).partitions(PARTITIONS)).await.unwrap();
    (admin, name)
}

async fn type_of(admin: &Admin, group: &str) -> GroupType {
    admin.describe_groups([group]).await.unwrap().remove(0).1.unwrap().group_type
}

fn block_on<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

/// Our broker, and Apache Kafka, both with heartbeats that do not keep a test waiting.
fn brokers() -> (TestBroker, Option<&'static Kafka>) {
    let settings: Vec<(&str, &str)> =
        QUICK_GROUPS.into_iter().chain([("group.initial.rebalance.delay.ms", "0")]).collect();
    let ours = TestBroker::start(&settings);
    (ours, or_skip(Kafka::shared()))
}

async fn come_and_go(bootstrap: &str, kind: Kind) {
    let (admin, name) = topic(bootstrap, "come-and-go").await;
    let join = || TestProgram::join(bootstrap, &name, &name, kind);
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
    let (ours, apache) = brokers();
    for bootstrap in [ours.bootstrap()].into_iter().chain(apache.map(Kafka::bootstrap)) {
        for kind in [
            Kind { assignors: &[Assignor::Range, Assignor::CooperativeSticky], ..CLASSIC },
            Kind { assignors: &[Assignor::RoundRobin], ..CLASSIC },
            Kind { assignors: &[Assignor::Sticky], ..CLASSIC },
            Kind { assignors: &[Assignor::CooperativeSticky], ..CLASSIC },
            CONSUMER,
            Kind { remote: Some("range"), ..CONSUMER },
        ] {
            eprintln!("at {bootstrap} with {kind:?}");
            block_on(come_and_go(&bootstrap, kind));
        }
    }
}

/// A group that is new, one of either protocol that has members, and one that has none any more.
async fn choose(bootstrap: &str) {
    let (admin, name) = topic(bootstrap, "auto").await;
    let join = |kind| TestProgram::join(bootstrap, &name, &name, kind);

    let mut programs = vec![join(AUTO)];
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Consumer, "a new group");
    programs.push(join(AUTO));
    settle(&mut programs).await;
    programs.push(join(CONSUMER));
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Consumer, "one of KIP-848");
    for program in programs {
        program.leave().await;
    }

    let name = format!("{name}-classic");
    admin.create_topic(NewTopic::new(&name).partitions(PARTITIONS)).await.unwrap();
    let join = |kind| TestProgram::join(bootstrap, &name, &name, kind);
    let mut programs = vec![join(CLASSIC)];
    settle(&mut programs).await;
    programs.push(join(AUTO));
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Classic, "nobody asked for another");
    programs.remove(0).leave().await;
    programs.push(join(AUTO));
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Classic, "it still has a member");
    for program in programs {
        program.leave().await;
    }
    let mut programs = vec![join(AUTO)];
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Consumer, "an empty group");
    for program in programs {
        program.leave().await;
    }
}

#[test]
fn auto_is_the_new_protocol_unless_the_group_has_members_of_the_classic_one() {
    let (ours, apache) = brokers();
    for bootstrap in [ours.bootstrap()].into_iter().chain(apache.map(Kafka::bootstrap)) {
        eprintln!("at {bootstrap}");
        block_on(choose(&bootstrap));
    }
}

/// A group that one member brings over to KIP-848 while another, with `auto`, is in it by the classic protocol.
async fn bring_over(bootstrap: &str) {
    let (admin, name) = topic(bootstrap, "over").await;
    let join = |kind| TestProgram::join(bootstrap, &name, &name, kind);
    let mut programs = vec![join(CLASSIC)];
    settle(&mut programs).await;
    programs.push(join(AUTO));
    settle(&mut programs).await;
    programs.remove(0).leave().await;
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Classic, "the one with `auto` is a classic member");

    programs.push(join(CONSUMER));
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Consumer, "somebody asked for it");
    programs.push(join(AUTO));
    settle(&mut programs).await;
    // It stays what it is: only when it comes anew, it comes by the new protocol.
    programs.remove(2).leave().await;
    programs.remove(1).leave().await;
    settle(&mut programs).await;
    assert_eq!(type_of(&admin, &name).await, GroupType::Classic, "a classic member is all that is left");
    programs.push(join(CONSUMER));
    settle(&mut programs).await;
    programs.remove(0).leave().await;
    programs.push(join(AUTO));
    settle(&mut programs).await;
    programs.remove(0).leave().await;
    settle(&mut programs).await;
    assert_eq!(
        type_of(&admin, &name).await,
        GroupType::Consumer,
        "the one with `auto` is of the new protocol now"
    );
    programs.remove(0).leave().await;
}

#[test]
fn an_auto_member_stays_as_it_joined_in_a_group_that_is_brought_over_and_changes_when_it_comes_anew() {
    let (ours, apache) = brokers();
    for bootstrap in [ours.bootstrap()].into_iter().chain(apache.map(Kafka::bootstrap)) {
        eprintln!("at {bootstrap}");
        block_on(bring_over(&bootstrap));
    }
}

#[test]
fn a_broker_without_the_new_protocol_gets_a_classic_member_from_auto_and_says_what_to_do_to_others() {
    let format = vec!["--feature".to_owned(), "group.version=0".to_owned()];
    let Some(apache) = or_skip(Kafka::start(Options { format, ..Default::default() })) else { return };
    let bootstrap = apache.bootstrap();
    block_on(async {
        let (admin, name) = topic(&bootstrap, "old").await;
        let mut programs = vec![TestProgram::join(&bootstrap, &name, &name, AUTO)];
        settle(&mut programs).await;
        assert_eq!(type_of(&admin, &name).await, GroupType::Classic);
        let mut asks_for_it = TestProgram::join(&bootstrap, "other", &name, CONSUMER);
        let error = asks_for_it.failure().await;
        assert!(error.what_to_do().is_some_and(|hint| hint.contains("group.protocol")), "{error}");
        asks_for_it.leave().await;
        programs.remove(0).leave().await;
    });
}

#[test]
fn an_auto_member_that_the_group_refuses_as_a_classic_one_looks_again() {
    let (ours, _) = brokers();
    let bootstrap = ours.bootstrap();
    block_on(async {
        let (admin, name) = topic(&bootstrap, "refused").await;
        let mut programs = vec![TestProgram::join(&bootstrap, &name, &name, CONSUMER)];
        settle(&mut programs).await;
        // It has decided before the group became one of the other kind.
        let decided = |mut driver: Driver| {
            driver.member = classic(&driver.settings, Instant::now());
            driver
        };
        let order = Order::Subscribe(vec![name.as_str().into()]);
        programs.push(TestProgram::begin(&bootstrap, &name, order, AUTO, decided));
        settle(&mut programs).await;
        assert_eq!(type_of(&admin, &name).await, GroupType::Consumer);
        for program in programs {
            program.leave().await;
        }
    });
}

/// One that leaves comes back to what it had. One that dies does, too, when its dead self's session is over; until then
/// nobody else gets it.
async fn come_back(bootstrap: &str) {
    let (_, name) = topic(bootstrap, "static").await;
    let join =
        |instance| TestProgram::join(bootstrap, &name, &name, Kind { instance: Some(instance), ..CONSUMER });
    let mut programs = vec![join("one"), join("two")];
    settle(&mut programs).await;
    let had: Vec<BTreeSet<i32>> = programs.iter().map(|program| program.owned.clone()).collect();
    programs.remove(1).leave().await;
    programs.push(join("two"));
    settle(&mut programs).await;
    let has: Vec<BTreeSet<i32>> = programs.iter().map(|program| program.owned.clone()).collect();
    assert_eq!(has, had);
    let mut dead = programs.remove(1);
    dead.driver.take().unwrap().abort();
    programs.push(join("two"));
    settle(&mut programs).await;
    for program in programs {
        program.leave().await;
    }
}

#[test]
fn a_static_member_comes_back_to_what_it_had_also_from_the_dead() {
    let (ours, apache) = brokers();
    for bootstrap in [ours.bootstrap()].into_iter().chain(apache.map(Kafka::bootstrap)) {
        eprintln!("at {bootstrap}");
        block_on(come_back(&bootstrap));
    }
}

#[test]
fn a_pattern_is_resolved_by_the_broker_and_its_topics_are_named_by_their_ids() {
    let (ours, apache) = brokers();
    for bootstrap in [ours.bootstrap()].into_iter().chain(apache.map(Kafka::bootstrap)) {
        eprintln!("at {bootstrap}");
        block_on(async {
            let (_, name) = topic(&bootstrap, "pattern").await;
            let order = || Order::MatchAtBroker(format!("{name}|{name}-later").into());
            let begin = |kind| TestProgram::begin(&bootstrap, &name, order(), kind, |driver| driver);
            let mut programs = vec![begin(CONSUMER), begin(AUTO)];
            settle(&mut programs).await;
            for program in programs {
                program.leave().await;
            }
            let mut wrong = TestProgram::begin(
                &bootstrap,
                &format!("{name}-wrong"),
                Order::MatchAtBroker("(a".into()),
                CONSUMER,
                |driver| driver,
            );
            assert_eq!(wrong.failure().await.code(), Some(ErrorCode::INVALID_REGULAR_EXPRESSION));
            wrong.leave().await;
            let mut classic = begin(CLASSIC);
            assert_eq!(classic.failure().await.kind(), ErrorKind::Unsupported);
            classic.leave().await;
        });
    }
}

#[test]
fn a_member_leaves_as_the_broker_can_read_it() {
    let request = || {
        let member_id: Str = "m".into();
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
    let racks: Vec<Vec<Str>> = vec![vec!["a".into()], vec!["b".into()]];
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
