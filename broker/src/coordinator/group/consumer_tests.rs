//! Consumer groups as their members see them: what is asked, when, and what is answered.

mod migration;

use std::collections::BTreeMap;

use ottla_protocol::{
    error_code::ErrorCode as E,
    messages::{
        JoinGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
        consumer_group_heartbeat::TopicPartitions,
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::OffsetFetchRequestGroup,
    },
    types::{Str, TopicName, Uuid},
};

use super::{topics::KnownTopics, *};

const DAY_MS: i64 = 24 * 3600 * 1000;
const REBALANCE_MS: i32 = 60_000;

pub(super) fn limits() -> ConsumerLimits {
    ConsumerLimits {
        group_size_max: 10,
        migration_policy: MigrationPolicy::default(),
        pattern_refresh_ms: 600_000,
        assignors: vec![Assignor::Uniform, Assignor::Range],
    }
}

pub(super) const TIMING: Timing =
    Timing { session_timeout_ms: 45_000, heartbeat_interval_ms: 5000, assignment_interval_ms: 0 };

/// A partition, by its topic's number and its own.
type Partition = (u128, i32);

/// A coordinator, a clock, and what the log would hold.
struct Test {
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    now_ms: i64,
    log: Vec<Record>,
    last: u64,
}

/// A member as its client has it.
#[derive(Clone, Debug)]
struct Client {
    id: Str,
    instance: Option<Str>,
    epoch: i32,
    owned: Vec<Partition>,
}

fn client(id: &str) -> Client {
    Client { id: id.into(), instance: None, epoch: 0, owned: Vec::new() }
}

fn named(id: &str, instance: &str) -> Client {
    Client { instance: Some(instance.into()), ..client(id) }
}

fn grouped(owned: &[Partition]) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<u128, Vec<i32>> = BTreeMap::new();
    owned.iter().for_each(|(topic, partition)| topics.entry(*topic).or_default().push(*partition));
    let topics =
        topics.into_iter().map(|(id, partitions)| TopicPartitions { topic_id: Uuid(id), partitions });
    topics.collect()
}

fn joining(client: &Client, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: client.id.clone(),
        member_epoch: 0,
        instance_id: client.instance.clone(),
        rebalance_timeout_ms: REBALANCE_MS,
        subscribed_topic_names: Some(topics.iter().map(|name| TopicName::from(*name)).collect()),
        topic_partitions: Some(Vec::new()),
        ..Default::default()
    }
}

impl Test {
    /// Topic `t`, number 1, with six partitions.
    fn new() -> Self {
        let limits = Limits {
            session_timeout_ms: 6000..=1_800_000,
            initial_rebalance_delay_ms: 0,
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: 10,
            offsets_retention_ms: 7 * DAY_MS,
            consumer: limits(),
        };
        Self {
            groups: Groups::default(),
            limits,
            timing: TIMING,
            topics: KnownTopics::of(&[("t", 6)]),
            now_ms: 1_700_000_000_000,
            log: Vec::new(),
            last: 0,
        }
    }

    fn ask_as(&mut self, request: Request, version: i16) -> Answer {
        self.last += 1;
        let caller = Caller {
            version,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        let mut out = Effects::default();
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        let id = format!("made-{}", self.last);
        self.groups.handle(Ticket(self.last), request, &caller, now, || id, &mut out);
        self.log.extend(out.records);
        let (ticket, answer) = out.answers.pop().unwrap();
        assert_eq!(ticket, Ticket(self.last));
        answer
    }

    fn send(&mut self, request: ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
        match self.ask_as(Request::ConsumerHeartbeat(request), 1) {
            Answer::ConsumerHeartbeat(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a heartbeat that must go well, and lets the client do as it is told.
    fn sent(&mut self, client: &mut Client, request: ConsumerGroupHeartbeatRequest) {
        let response = self.send(request);
        assert_eq!(response.error_code, E::NONE, "{:?}", response.error_message);
        assert_eq!(response.member_id.as_ref(), Some(&client.id));
        assert_eq!(response.heartbeat_interval_ms, 5000);
        client.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            let topics = assignment.topic_partitions.iter();
            client.owned = topics.flat_map(|t| t.partitions.iter().map(|p| (t.topic_id.0, *p))).collect();
        }
    }

    fn join(&mut self, client: &mut Client, topics: &[&str]) {
        client.owned.clear();
        self.sent(client, joining(client, topics));
    }

    /// What a client says that has something to say: here always what it owns.
    fn beating(&self, client: &Client) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: client.id.clone(),
            member_epoch: client.epoch,
            instance_id: client.instance.clone(),
            topic_partitions: Some(grouped(&client.owned)),
            ..Default::default()
        }
    }

    fn beat(&mut self, client: &mut Client) {
        self.sent(client, self.beating(client));
    }

    /// A heartbeat that says nothing: what it has told before is still so.
    fn beat_sparsely(&mut self, client: &mut Client) {
        self.sent(client, ConsumerGroupHeartbeatRequest { topic_partitions: None, ..self.beating(client) });
    }

    /// Lets all members send heartbeats until nothing changes.
    fn settle(&mut self, clients: &mut [&mut Client]) {
        for _ in 0..10 {
            clients.iter_mut().for_each(|client| self.beat(client));
        }
        assert_eq!(self.state(), "Stable");
    }

    fn error(&mut self, request: ConsumerGroupHeartbeatRequest) -> E {
        let records = self.log.len();
        let response = self.send(request);
        assert_eq!(self.log.len(), records, "who is refused changes nothing");
        assert!(response.error_message.is_some());
        response.error_code
    }

    fn leave(&mut self, client: &Client, epoch: i32) -> ConsumerGroupHeartbeatResponse {
        self.send(ConsumerGroupHeartbeatRequest { member_epoch: epoch, ..self.beating(client) })
    }

    fn wait(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.groups.wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Effects::default();
            let now =
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
            self.groups.tick(now, &mut out);
            self.log.extend(out.records);
        }
        self.now_ms = until;
    }

    fn describe(&mut self) -> DescribedConsumerGroup {
        match self.ask_as(Request::ConsumerDescribe("g".into()), 1) {
            Answer::ConsumerDescribe(described) => described,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> String {
        self.describe().group_state.to_string()
    }

    fn commit(&mut self, member: &str, epoch: i32, partition: i32, version: i16) -> E {
        let partition = OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: 7,
            ..Default::default()
        };
        let topic =
            OffsetCommitRequestTopic { name: "t".into(), topic_id: Uuid(1), partitions: vec![partition] };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: epoch,
            member_id: member.into(),
            topics: vec![topic],
            ..Default::default()
        };
        match self.ask_as(Request::Commit(request), version) {
            Answer::Commit(response) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    fn fetch(&mut self, member: Option<&str>, epoch: i32) -> E {
        let request = OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: member.map(Str::from),
            member_epoch: epoch,
            topics: None,
        };
        match self.ask_as(Request::Fetch(request), 9) {
            Answer::Fetch(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// A coordinator that begins with what the log holds.
    fn restart(&mut self) {
        self.groups = Groups::default();
        for record in &self.log {
            let (key, value) = record.encode().unwrap();
            self.groups.replay(&Record::decode(key, value).unwrap(), self.now_ms);
        }
        self.groups.loaded(Now {
            ms: self.now_ms,
            limits: &self.limits,
            timings: &self.timing,
            topics: &self.topics,
        });
    }
}

fn all() -> Vec<Partition> {
    (0..6).map(|partition| (1, partition)).collect()
}

fn together(clients: &[&Client]) -> Vec<Partition> {
    let mut owned: Vec<Partition> = clients.iter().flat_map(|client| client.owned.iter().copied()).collect();
    owned.sort_unstable();
    owned
}

#[test]
fn the_first_member_gets_everything_with_its_first_heartbeat() {
    let mut t = Test::new();
    let mut a = client("a");
    t.join(&mut a, &["t", "absent"]);
    assert_eq!((a.epoch, &a.owned), (2, &all()));
    // Nothing is told again that is known.
    let response = t.send(t.beating(&a));
    assert_eq!((response.member_epoch, response.assignment), (2, None));
    assert_eq!(t.state(), "Stable");
}

#[test]
fn what_is_to_move_is_given_up_before_somebody_else_gets_it() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    // All is still with `a`.
    assert_eq!((b.epoch, b.owned.len()), (3, 0));
    assert_eq!(t.state(), "Reconciling");

    let before = a.owned.clone();
    t.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (2, 3), "it stays at its epoch until it has given up");
    t.beat(&mut b);
    assert_eq!(b.owned, [], "nothing was given up yet");
    // Still busy with what it read: it says that it still has all of it, or nothing at all.
    let busy = Client { owned: before, ..a.clone() };
    assert_eq!(t.send(t.beating(&busy)).member_epoch, 2);
    t.beat_sparsely(&mut a);
    assert_eq!(a.epoch, 2);

    t.beat(&mut a);
    assert_eq!(a.epoch, 3);
    t.beat(&mut b);
    assert_eq!((b.epoch, b.owned.len()), (3, 3));
    assert_eq!(together(&[&a, &b]), all());
    assert_eq!(t.state(), "Stable");
}

#[test]
fn who_does_not_give_up_in_time_is_out() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    let before = a.owned.clone();
    t.beat(&mut a);
    a.owned = before;
    for _ in 0..6 {
        t.wait(i64::from(REBALANCE_MS) / 6 - 1);
        assert_eq!(t.send(t.beating(&a)).error_code, E::NONE);
        t.beat(&mut b);
    }
    t.wait(10);
    assert_eq!(t.error(t.beating(&a)), E::UNKNOWN_MEMBER_ID);
    t.beat(&mut b);
    assert_eq!(b.owned, all());
}

#[test]
fn who_is_not_heard_of_is_out_and_the_others_share() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    t.wait(44_999);
    t.beat(&mut b);
    t.wait(1);
    assert_eq!(t.error(t.beating(&a)), E::UNKNOWN_MEMBER_ID);
    t.beat(&mut b);
    assert_eq!(b.owned, all());
    // It may begin anew under its old id.
    t.join(&mut a, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!(together(&[&a, &b]), all());
}

#[test]
fn who_leaves_is_gone_at_once() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    let response = t.leave(&a, -1);
    assert_eq!((response.error_code, response.member_epoch), (E::NONE, -1));
    t.beat(&mut b);
    assert_eq!(b.owned, all());
    t.leave(&b, -1);
    assert_eq!(t.state(), "Empty");
    assert_eq!(t.leave(&b, -1).error_code, E::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_epoch_that_is_not_the_members_fences_it() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    let at = |epoch, a: &Client| Client { epoch, ..a.clone() };
    assert_eq!(t.error(t.beating(&at(4, &a))), E::FENCED_MEMBER_EPOCH);
    // The epoch before is taken from who may have missed an answer, and has nothing but its own.
    assert_eq!(t.send(t.beating(&at(2, &a))).member_epoch, 3);
    let more = Client { owned: all(), ..at(2, &a) };
    assert_eq!(t.error(t.beating(&more)), E::FENCED_MEMBER_EPOCH);
    let silent = ConsumerGroupHeartbeatRequest { topic_partitions: None, ..t.beating(&at(2, &a)) };
    assert_eq!(t.error(silent), E::FENCED_MEMBER_EPOCH);
    // Whoever is fenced joins again, and is told all that it has.
    t.join(&mut a, &["t"]);
    assert_eq!((a.epoch, a.owned.len()), (3, 3));
}

#[test]
fn a_request_that_says_everything_is_told_everything() {
    let mut t = Test::new();
    let mut a = client("a");
    t.join(&mut a, &["t"]);
    let full = ConsumerGroupHeartbeatRequest {
        member_epoch: a.epoch,
        topic_partitions: Some(grouped(&a.owned)),
        ..joining(&a, &["t"])
    };
    assert!(t.send(full).assignment.is_some());
}

#[test]
fn requests_that_do_not_say_what_they_must_are_refused() {
    let mut t = Test::new();
    let a = client("a");
    let join = joining(&a, &["t"]);
    let cases = [
        ConsumerGroupHeartbeatRequest { group_id: "".into(), ..join.clone() },
        ConsumerGroupHeartbeatRequest { member_id: Str::EMPTY, ..join.clone() },
        ConsumerGroupHeartbeatRequest { instance_id: Some(Str::EMPTY), ..join.clone() },
        ConsumerGroupHeartbeatRequest { rack_id: Some(Str::EMPTY), ..join.clone() },
        ConsumerGroupHeartbeatRequest { rebalance_timeout_ms: -1, ..join.clone() },
        ConsumerGroupHeartbeatRequest { topic_partitions: None, ..join.clone() },
        ConsumerGroupHeartbeatRequest { topic_partitions: Some(grouped(&all())), ..join.clone() },
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: None, ..join.clone() },
        ConsumerGroupHeartbeatRequest {
            subscribed_topic_names: Some(vec!["t".repeat(249).into(); 3000]),
            ..join.clone()
        },
        ConsumerGroupHeartbeatRequest { member_epoch: -2, ..join.clone() },
        ConsumerGroupHeartbeatRequest { member_epoch: -3, ..join.clone() },
    ];
    for case in cases {
        assert_eq!(t.error(case.clone()), E::INVALID_REQUEST, "{case:?}");
    }
    let unknown = ConsumerGroupHeartbeatRequest { server_assignor: Some("best".into()), ..join.clone() };
    assert_eq!(t.error(unknown), E::UNSUPPORTED_ASSIGNOR);
    let invalid = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..join.clone() };
    assert_eq!(t.error(invalid), E::INVALID_REGULAR_EXPRESSION);
    let stays = ConsumerGroupHeartbeatRequest { member_epoch: 2, ..join };
    assert_eq!(t.error(stays), E::GROUP_ID_NOT_FOUND);
    assert_eq!(t.describe().error_code, E::GROUP_ID_NOT_FOUND, "who is refused makes no group");
}

#[test]
fn a_member_of_version_0_is_given_an_id() {
    let mut t = Test::new();
    let request = joining(&client(""), &["t"]);
    match t.ask_as(Request::ConsumerHeartbeat(request), 0) {
        Answer::ConsumerHeartbeat(response) => assert_eq!(response.member_id, Some("made-1".into())),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_full_group_takes_nobody_more() {
    let mut t = Test::new();
    t.limits.consumer.group_size_max = 1;
    let mut a = client("a");
    t.join(&mut a, &["t"]);
    assert_eq!(t.error(joining(&client("b"), &["t"])), E::GROUP_MAX_SIZE_REACHED);
    t.join(&mut a, &["t"]);
}

#[test]
fn a_static_member_that_comes_back_has_what_it_had() {
    let mut t = Test::new();
    let (mut a, mut b) = (named("a", "one"), named("b", "two"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    let had = a.owned.clone();
    assert_eq!(t.error(joining(&named("a2", "one"), &["t"])), E::UNRELEASED_INSTANCE_ID);
    let response = t.leave(&a, -2);
    assert_eq!((response.error_code, response.member_epoch), (E::NONE, -2));

    let epoch = t.describe().group_epoch;
    let mut a2 = named("a2", "one");
    t.join(&mut a2, &["t"]);
    assert_eq!((a2.owned.clone(), a2.epoch), (had, b.epoch));
    assert_eq!(t.describe().group_epoch, epoch, "nobody else is troubled");
    assert_eq!(t.error(t.beating(&a)), E::FENCED_INSTANCE_ID);
    assert_eq!(t.leave(&a, -1).error_code, E::FENCED_INSTANCE_ID);
    let unknown = Client { epoch: 2, ..named("c", "three") };
    assert_eq!(t.error(t.beating(&unknown)), E::UNKNOWN_MEMBER_ID);
    t.settle(&mut [&mut a2, &mut b]);
}

#[test]
fn a_static_member_that_does_not_come_back_in_time_is_out() {
    let mut t = Test::new();
    let (mut a, mut b) = (named("a", "one"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    t.leave(&a, -2);
    t.wait(44_000);
    t.beat(&mut b);
    assert_eq!(b.owned.len(), 3);
    t.wait(1000);
    t.beat(&mut b);
    assert_eq!(b.owned, all());
}

#[test]
fn an_administrator_removes_members_by_their_names() {
    let mut t = Test::new();
    let (mut a, mut b) = (named("a", "one"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    let identity = |id: &str, instance: Option<&str>| MemberIdentity {
        member_id: id.into(),
        group_instance_id: instance.map(Str::from),
        reason: None,
    };
    let members = vec![identity("", Some("one")), identity("b", None), identity("c", None)];
    let request = LeaveGroupRequest { group_id: "g".into(), members, ..Default::default() };
    match t.ask_as(Request::Leave(request), 5) {
        Answer::Leave(response) => {
            let codes: Vec<E> = response.members.iter().map(|member| member.error_code).collect();
            assert_eq!(codes, [E::NONE, E::NONE, E::UNKNOWN_MEMBER_ID]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(t.state(), "Empty");
}

#[test]
fn topics_that_change_are_assigned_anew() {
    let mut t = Test::new();
    let mut a = client("a");
    t.join(&mut a, &["t", "later"]);
    t.topics.set("other", 3);
    t.beat(&mut a);
    assert_eq!(a.epoch, 2, "what nobody reads troubles nobody");
    t.topics.set("t", 8);
    t.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (3, 8));
    t.topics.set("later", 2);
    t.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (4, 10));
    t.topics.remove("t");
    t.beat(&mut a);
    assert_eq!(a.owned.len(), 2, "what is gone is not told any more");
    t.settle(&mut [&mut a]);
    assert_eq!(a.epoch, 5);
}

#[test]
fn a_subscription_that_changes_takes_and_gives() {
    let mut t = Test::new();
    t.topics.set("u", 2);
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    let request =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["u".into()]), ..t.beating(&a) };
    t.sent(&mut a, request);
    assert_eq!(a.owned, [], "first it gives up");
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!(a.owned, [(2, 0), (2, 1)]);
    assert_eq!(b.owned, all());
}

#[test]
fn a_pattern_stands_for_topics_that_are_and_that_come() {
    let mut t = Test::new();
    t.topics.set("t-eu", 2);
    let mut a = client("a");
    let pattern = |text: &str| ConsumerGroupHeartbeatRequest {
        subscribed_topic_names: None,
        subscribed_topic_regex: Some(text.into()),
        ..joining(&client("a"), &[])
    };
    t.sent(&mut a, pattern("t-.*"));
    assert_eq!(a.owned, [(2, 0), (2, 1)]);
    t.topics.set("t-us", 1);
    t.wait(9000);
    t.beat(&mut a);
    assert_eq!(a.owned.len(), 2, "it is not looked for new topics all the time");
    t.wait(1000);
    t.beat(&mut a);
    assert_eq!(a.owned, [(2, 0), (2, 1), (3, 0)]);
    assert_eq!(t.describe().members[0].subscribed_topic_regex, Some("t-.*".into()));

    // After a restart the pattern stands for the same, and a heartbeat that says nothing keeps it.
    t.restart();
    let epoch = a.epoch;
    t.beat(&mut a);
    assert_eq!((a.epoch, a.owned.len()), (epoch, 3));

    let request = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("t".into()), ..t.beating(&a) };
    t.sent(&mut a, request);
    t.settle(&mut [&mut a]);
    assert_eq!(a.owned, all());
    let patterns = |part: &&Record| matches!(part, Record::Consumer { part: ConsumerPart::Pattern(..), .. });
    let last = t.log.iter().rev().filter(patterns).take(2).collect::<Vec<_>>();
    assert!(last.iter().any(|record| record.encode().unwrap().1.is_none()), "nobody uses it: {last:?}");
}

#[test]
fn the_assignor_is_the_one_most_members_name() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    let with = |client: &Client, name: &str| ConsumerGroupHeartbeatRequest {
        server_assignor: Some(name.into()),
        ..joining(client, &["t"])
    };
    t.sent(&mut a, with(&client("a"), "range"));
    t.sent(&mut b, with(&client("b"), "range"));
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!(t.describe().assignor_name, "range");
    assert_eq!(a.owned, [(1, 0), (1, 1), (1, 2)]);
}

#[test]
fn assignments_are_not_computed_too_often() {
    let mut t = Test::new();
    t.timing.assignment_interval_ms = 1000;
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    assert_eq!(b.epoch, 2, "it is in the group, and the target is the one before");
    assert_eq!(t.state(), "Assigning");
    t.wait(1000);
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!((a.owned.len(), b.owned.len()), (3, 3));
}

#[test]
fn offsets_are_committed_at_the_members_epoch_or_since_it_has_the_partition() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    let kept = |a: &Client| a.owned[0].1;
    t.join(&mut b, &["t"]);
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!(t.commit("a", 3, kept(&a), 9), E::NONE);
    // Epoch 1 has gone, but what it has had since then it may commit.
    assert_eq!(t.commit("a", 2, kept(&a), 9), E::NONE);
    assert_eq!(t.commit("a", 2, b.owned[0].1, 9), E::STALE_MEMBER_EPOCH);
    assert_eq!(t.commit("b", 2, b.owned[0].1, 9), E::STALE_MEMBER_EPOCH);
    assert_eq!(t.commit("a", 4, kept(&a), 9), E::STALE_MEMBER_EPOCH);
    assert_eq!(t.commit("c", 3, 0, 9), E::UNKNOWN_MEMBER_ID);
    assert_eq!(t.commit("", -1, 0, 9), E::UNKNOWN_MEMBER_ID, "members have the group to themselves");
    assert_eq!(t.commit("a", 3, kept(&a), 8), E::UNSUPPORTED_VERSION);

    assert_eq!(t.fetch(None, -1), E::NONE);
    assert_eq!(t.fetch(Some("a"), 3), E::NONE);
    assert_eq!(t.fetch(Some("a"), 2), E::STALE_MEMBER_EPOCH);
    assert_eq!(t.fetch(Some("c"), 3), E::UNKNOWN_MEMBER_ID);
    t.leave(&a, -1);
    t.leave(&b, -1);
    assert_eq!(t.commit("", -1, 0, 9), E::NONE, "nobody is in it");
}

#[test]
fn a_group_is_listed_and_described_as_what_it_is() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), client("b"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.beat(&mut a);
    let described = t.describe();
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 3));
    assert_eq!((&*described.group_state, &*described.assignor_name), ("Reconciling", "uniform"));
    let member = &described.members[0];
    assert_eq!((&*member.member_id, member.member_epoch, member.member_type), ("a", 2, 1));
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "/10.0.0.1"));
    assert_eq!(
        member.assignment.topic_partitions[0].partitions.len(),
        6,
        "what it gives up is its own so far"
    );
    assert_eq!(member.target_assignment.topic_partitions[0].partitions.len(), 3);
    assert_eq!(member.assignment.topic_partitions[0].topic_name, "t");

    let mut list = |types: &[&str]| {
        let types_filter = types.iter().map(|name| Str::from(*name)).collect();
        match t.ask_as(Request::List(ListGroupsRequest { types_filter, ..Default::default() }), 5) {
            Answer::List(groups) => groups,
            other => panic!("{other:?}"),
        }
    };
    let listed = list(&[]);
    assert_eq!((&*listed[0].group_type, &*listed[0].protocol_type), ("consumer", "consumer"));
    assert_eq!(list(&["Consumer"]).len(), 1);
    assert_eq!(list(&["classic"]), []);
    match t.ask_as(Request::Describe(vec!["g".into()]), 6) {
        Answer::Describe(described) => assert_eq!(described[0].error_code, E::GROUP_ID_NOT_FOUND),
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_an_empty_group_is_deleted_and_nothing_is_left_of_it() {
    let mut t = Test::new();
    let mut a = client("a");
    t.join(&mut a, &["t"]);
    t.commit("a", 2, 0, 9);
    let delete = |t: &mut Test| match t.ask_as(Request::Delete(vec!["g".into()]), 2) {
        Answer::Delete(results) => results[0].error_code,
        other => panic!("{other:?}"),
    };
    assert_eq!(delete(&mut t), E::NON_EMPTY_GROUP);
    t.leave(&a, -1);
    assert_eq!(delete(&mut t), E::NONE);
    let mut left = BTreeMap::new();
    for (key, value) in t.log.iter().map(|record| record.encode().unwrap()) {
        left.insert(key, value.is_some());
    }
    assert!(left.values().all(|is_left| !is_left), "every key ends in a tombstone");
    t.restart();
    assert!(t.groups.groups.is_empty());
}

#[test]
fn offsets_of_topics_that_are_read_are_not_deleted_nor_do_they_expire() {
    let mut t = Test::new();
    let mut a = client("a");
    t.join(&mut a, &["t"]);
    t.commit("a", 2, 0, 9);
    let delete = |t: &mut Test| {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: "t".into(), partitions }];
        match t.ask_as(Request::DeleteOffsets(OffsetDeleteRequest { group_id: "g".into(), topics }), 0) {
            Answer::DeleteOffsets(response) => response.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(delete(&mut t), E::GROUP_SUBSCRIBED_TO_TOPIC);
    let expire = |t: &mut Test| {
        let mut out = Effects::default();
        let now = Now { ms: t.now_ms, limits: &t.limits, timings: &t.timing, topics: &t.topics };
        t.groups.expire_offsets(now, &mut out);
        t.log.extend(out.records);
    };
    t.now_ms += 8 * DAY_MS;
    expire(&mut t);
    assert!(t.groups.offsets.has_group(&"g".into()));
    t.wait(0);
    expire(&mut t);
    assert!(t.groups.groups.is_empty(), "nobody is in it, and nothing is committed");
    t.restart();
    assert!(t.groups.groups.is_empty());
}

fn classic_join(member_id: &str) -> Request {
    Request::Join(JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: member_id.into(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), ..Default::default() }],
        ..Default::default()
    })
}

fn joined(answer: Answer) -> (E, Str) {
    match answer {
        Answer::Join(response) => (response.error_code, response.member_id),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_group_that_is_empty_changes_its_kind_and_keeps_its_offsets() {
    let mut t = Test::new();
    assert_eq!(t.commit("", -1, 3, 9), E::NONE);
    let mut a = client("a");
    t.join(&mut a, &["t"]);
    assert_eq!(t.state(), "Stable");
    t.leave(&a, -1);

    let (code, id) = joined(t.ask_as(classic_join(""), 9));
    assert_eq!(code, E::MEMBER_ID_REQUIRED);
    // Nothing but the offsets is in the log now, and the group is still one to be found.
    t.restart();
    assert_eq!(t.describe().error_code, E::GROUP_ID_NOT_FOUND);
    assert!(t.groups.offsets.has_group(&"g".into()));
    assert!(matches!(t.groups.groups.get(&"g".into()), Some(Group::Classic(_))));
    let (_, id2) = joined(t.ask_as(classic_join(""), 9));
    assert_ne!(id, id2);
    assert_eq!(joined(t.ask_as(classic_join(&id2), 9)).0, E::NONE);
    assert_eq!(t.error(joining(&a, &["t"])), E::GROUP_ID_NOT_FOUND, "what its member says cannot be read");
}

#[test]
fn a_restart_finds_everything_as_it_was() {
    let mut t = Test::new();
    let (mut a, mut b, mut c) = (client("a"), named("b", "two"), client("c"));
    t.join(&mut a, &["t"]);
    t.join(&mut b, &["t"]);
    t.beat(&mut a);
    t.restart();
    // In the midst of it: `a` is still to give up, `b` waits.
    t.beat(&mut b);
    assert_eq!(b.owned, []);
    t.settle(&mut [&mut a, &mut b]);
    assert_eq!(together(&[&a, &b]), all());
    let described = t.describe();
    t.restart();
    assert_eq!(t.describe(), described);
    t.join(&mut c, &["t"]);
    t.settle(&mut [&mut a, &mut b, &mut c]);
    assert_eq!(together(&[&a, &b, &c]), all());
    // Whoever is not heard of after a restart has a session's time.
    t.restart();
    t.wait(44_999);
    assert_eq!(t.describe().members.len(), 3);
    t.wait(1);
    assert_eq!(t.describe().members.len(), 0);
}
