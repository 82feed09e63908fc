//! Groups whose members change from the classic protocol to that of KIP-848, and back.

use ottla_protocol::{
    Bytes,
    messages::{
        data::{
            consumer_protocol_assignment::{ConsumerProtocolAssignment, TopicPartition as Assigned},
            consumer_protocol_subscription::{ConsumerProtocolSubscription, TopicPartition as Owned},
        },
        leave_group::MemberIdentity,
        sync_group::SyncGroupRequestAssignment,
    },
    wire::{Reader, Wire, Writer},
};

use super::*;

const SESSION_MS: i32 = 10_000;

fn bytes(message: &impl Wire) -> Bytes {
    let mut w = Writer::new();
    w.i16(3);
    message.write(&mut w, 3).unwrap();
    w.into_bytes()
}

fn subscription(owned: &[i32]) -> Bytes {
    let owned = match owned {
        [] => Vec::new(),
        owned => vec![Owned { topic: "t".into(), partitions: owned.to_vec() }],
    };
    bytes(&ConsumerProtocolSubscription {
        topics: vec!["t".into()],
        owned_partitions: owned,
        ..Default::default()
    })
}

fn assignment(partitions: &[i32], user_data: Option<&'static [u8]>) -> Bytes {
    bytes(&ConsumerProtocolAssignment {
        assigned_partitions: vec![Assigned { topic: "t".into(), partitions: partitions.to_vec() }],
        user_data: user_data.map(Bytes::from_static),
    })
}

fn partitions(assignment: &Bytes) -> Vec<i32> {
    let mut r = Reader::new(assignment.clone());
    assert_eq!(r.i16().unwrap(), 3, "the version of the subscription");
    let read = ConsumerProtocolAssignment::read(&mut r, 3).unwrap();
    read.assigned_partitions.into_iter().flat_map(|topic| topic.partitions).collect()
}

/// A classic member as its client has it.
#[derive(Clone, Debug)]
struct Classic {
    id: Str,
    instance: Option<Str>,
    generation: i32,
    owned: Vec<i32>,
}

fn classic(instance: Option<&str>) -> Classic {
    Classic { id: Str::EMPTY, instance: instance.map(Str::from), generation: -1, owned: Vec::new() }
}

impl Test {
    fn ask_to_join(&mut self, member: &Classic, owned: &[i32]) -> JoinGroupResponse {
        let request = join_of(member, owned);
        match self.ask_as(Request::Join(request), 9) {
            Answer::Join(response) => response,
            other => panic!("{other:?}"),
        }
    }

    /// Joins, with an id that is given if that must be.
    fn join_classic(&mut self, member: &mut Classic) -> JoinGroupResponse {
        let mut response = self.ask_to_join(member, &member.owned);
        if response.error_code == E::MEMBER_ID_REQUIRED {
            member.id = response.member_id;
            response = self.ask_to_join(member, &member.owned);
        }
        assert_eq!(response.error_code, E::NONE);
        member.id = response.member_id.clone();
        member.generation = response.generation_id;
        response
    }

    fn try_to_sync(&mut self, member: &Classic, assignments: &[(&Classic, Bytes)]) -> SyncGroupResponse {
        let assignments = assignments.iter().map(|(member, assignment)| SyncGroupRequestAssignment {
            member_id: member.id.clone(),
            assignment: assignment.clone(),
        });
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            protocol_type: Some("consumer".into()),
            protocol_name: Some("range".into()),
            assignments: assignments.collect(),
        };
        match self.ask_as(Request::Sync(request), 5) {
            Answer::Sync(response) => response,
            other => panic!("{other:?}"),
        }
    }

    fn sync_classic(&mut self, member: &mut Classic) {
        let response = self.try_to_sync(member, &[]);
        assert_eq!(response.error_code, E::NONE);
        assert_eq!(response.protocol_name, Some("range".into()));
        member.owned = partitions(&response.assignment);
    }

    fn beat_classic(&mut self, member: &Classic) -> E {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: member.generation,
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
        };
        match self.ask_as(Request::Heartbeat(request), 4) {
            Answer::Heartbeat(response) => response.error_code,
            other => panic!("{other:?}"),
        }
    }

    /// A classic group whose one member has all partitions of `t`.
    fn classic_group(&mut self, member: &mut Classic) {
        self.join_classic(member);
        let all: Vec<i32> = (0..6).collect();
        let response = self.try_to_sync(member, &[(&member.clone(), assignment(&all, None))]);
        assert_eq!(response.error_code, E::NONE);
        member.owned = all;
    }

    fn kind(&mut self) -> (String, String) {
        match self.ask_as(Request::List(ListGroupsRequest::default()), 5) {
            Answer::List(groups) => (groups[0].group_type.to_string(), groups[0].group_state.to_string()),
            other => panic!("{other:?}"),
        }
    }

    fn leave_classic(&mut self, member: &Classic) -> E {
        let identity = MemberIdentity { member_id: member.id.clone(), ..Default::default() };
        let request =
            LeaveGroupRequest { group_id: "g".into(), members: vec![identity], ..Default::default() };
        match self.ask_as(Request::Leave(request), 5) {
            Answer::Leave(response) => response.members[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    fn policy(&mut self, policy: MigrationPolicy) {
        self.limits.consumer.migration_policy = policy;
    }
}

fn join_of(member: &Classic, owned: &[i32]) -> JoinGroupRequest {
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: SESSION_MS,
        rebalance_timeout_ms: REBALANCE_MS,
        member_id: member.id.clone(),
        group_instance_id: member.instance.clone(),
        protocol_type: "consumer".into(),
        protocols: vec![JoinGroupRequestProtocol { name: "range".into(), metadata: subscription(owned) }],
        ..Default::default()
    }
}

fn kind(group: &str, state: &str) -> (String, String) {
    (group.to_owned(), state.to_owned())
}

/// What the classic members and those of KIP-848 have together.
fn shared(classics: &[&Classic], clients: &[&Client]) -> Vec<Partition> {
    let mut all = together(clients);
    all.extend(classics.iter().flat_map(|member| member.owned.iter().map(|partition| (1, *partition))));
    all.sort_unstable();
    all
}

#[test]
fn an_eager_member_gives_up_everything_when_its_group_becomes_a_consumer_group() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.classic_group(&mut a);
    let generation = a.generation;
    t.join(&mut b, &["t"]);
    assert_eq!((b.epoch, &b.owned), (generation + 1, &Vec::new()), "all is still with `a`");
    assert_eq!(t.kind(), kind("consumer", "Reconciling"));
    let described = t.describe();
    assert_eq!(described.members.iter().map(|member| member.member_type).collect::<Vec<_>>(), [1, 0]);

    // It commits by its generation in any version, and learns that there is something new.
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
    assert_eq!(t.commit(&a.id.clone(), generation, 0, 8), E::NONE);
    assert_eq!(t.fetch(Some(&a.id.clone()), generation), E::NONE);
    assert_eq!(t.fetch(Some(&a.id.clone()), generation + 1), E::ILLEGAL_GENERATION);
    assert_eq!(t.try_to_sync(&a, &[]).error_code, E::REBALANCE_IN_PROGRESS);

    a.owned.clear();
    let response = t.join_classic(&mut a);
    assert_eq!((response.generation_id, response.leader), (generation + 1, Str::EMPTY));
    assert_eq!(response.members.len(), 0);
    t.beat(&mut b);
    t.sync_classic(&mut a);
    assert_eq!((a.owned.len(), b.owned.len()), (3, 3));
    assert_eq!(shared(&[&a], &[&b]), all());
    assert_eq!(t.kind(), kind("consumer", "Stable"));
    assert_eq!(t.beat_classic(&a), E::NONE);
}

#[test]
fn a_cooperative_member_keeps_what_stays_with_it() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.classic_group(&mut a);
    let generation = a.generation;
    t.join(&mut b, &["t"]);
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
    // It still has everything, so it stays at its generation until it has given up.
    assert_eq!(t.join_classic(&mut a).generation_id, generation);
    t.sync_classic(&mut a);
    assert_eq!(a.owned.len(), 3);
    t.beat(&mut b);
    assert_eq!(b.owned, [], "`a` may be reading all of it");
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
    assert_eq!(t.join_classic(&mut a).generation_id, generation + 1);
    t.sync_classic(&mut a);
    t.beat(&mut b);
    assert_eq!(shared(&[&a], &[&b]), all());
    assert_eq!(t.kind(), kind("consumer", "Stable"));
}

#[test]
fn a_classic_member_waits_for_a_partition_without_joining_again_and_again() {
    let mut t = Test::new();
    let (mut a, mut b) = (client("a"), classic(None));
    t.join(&mut a, &["t"]);
    t.join_classic(&mut b);
    t.sync_classic(&mut b);
    assert!(b.owned.is_empty(), "all is still with `a`");
    assert_eq!(t.beat_classic(&b), E::NONE);
    t.beat(&mut a);
    assert_eq!(t.beat_classic(&b), E::NONE, "`a` has not said that it gave up");
    t.beat(&mut a);
    assert_eq!(t.beat_classic(&b), E::REBALANCE_IN_PROGRESS);
    t.join_classic(&mut b);
    t.sync_classic(&mut b);
    assert_eq!(shared(&[&b], &[&a]), all());
}

#[test]
fn a_group_whose_last_new_member_leaves_is_classic_and_rebalances() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.classic_group(&mut a);
    t.join(&mut b, &["t"]);
    a.owned.clear();
    t.join_classic(&mut a);
    t.sync_classic(&mut a);
    t.beat(&mut b);
    assert_eq!(t.leave(&b, -1).error_code, E::NONE);
    assert_eq!(t.kind(), kind("classic", "PreparingRebalance"));
    // Its generation is as it was, so it may commit what it has read before it joins.
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
    assert_eq!(t.commit(&a.id.clone(), a.generation, 0, 9), E::NONE);
    let before = a.generation;
    t.classic_group(&mut a);
    assert!(a.generation > before);
    assert_eq!(t.kind(), kind("classic", "Stable"));
    assert_eq!(t.error(t.beating(&b)), E::GROUP_ID_NOT_FOUND);
}

#[test]
fn a_member_that_is_not_heard_of_or_removed_ends_the_consumer_group_too() {
    for by_timeout in [true, false] {
        let mut t = Test::new();
        let (mut a, mut b) = (classic(None), client("b"));
        t.join(&mut b, &["t"]);
        t.join_classic(&mut a);
        t.sync_classic(&mut a);
        if by_timeout {
            // `a` is heard of, `b` is not.
            for _ in 0..9 {
                t.wait(5000);
                t.beat_classic(&a);
            }
        } else {
            assert_eq!(t.leave_classic(&Classic { id: b.id.clone(), ..a.clone() }), E::NONE);
        }
        assert_eq!(t.kind(), kind("classic", "PreparingRebalance"));
    }
}

#[test]
fn a_static_member_that_goes_back_makes_the_group_classic_and_its_members_find_out_who_leads() {
    for is_settled in [true, false] {
        let mut t = Test::new();
        t.timing.assignment_interval_ms = 1000;
        let (mut a, mut b) = (classic(Some("one")), named("b", "two"));
        t.classic_group(&mut a);
        t.join(&mut b, &["t"]);
        a.owned.clear();
        t.join_classic(&mut a);
        t.sync_classic(&mut a);
        t.beat(&mut b);
        assert_eq!(shared(&[&a], &[&b]), all());
        if !is_settled {
            let names = Some(vec!["t".into(), "other".into()]);
            t.sent(
                &mut b.clone(),
                ConsumerGroupHeartbeatRequest { subscribed_topic_names: names, ..t.beating(&b) },
            );
        }
        let mut back = classic(Some("two"));
        t.join_classic(&mut back);
        assert_ne!(back.id, b.id);
        assert_eq!(t.kind(), kind("classic", "PreparingRebalance"));
        // Who is behind the group's epoch finds that out instead, and joins as well.
        let told = if is_settled { E::REBALANCE_IN_PROGRESS } else { E::ILLEGAL_GENERATION };
        assert_eq!((t.beat_classic(&a), t.beat_classic(&back)), (told, told));
    }
}

#[test]
fn a_static_member_keeps_its_place_whichever_protocol_it_comes_back_with() {
    let mut t = Test::new();
    let (mut a, mut b, mut other) = (classic(Some("one")), named("b", "one"), client("c"));
    t.classic_group(&mut a);
    t.join(&mut b, &["t"]);
    assert_eq!(b.owned, all());
    assert_eq!(t.beat_classic(&a), E::FENCED_INSTANCE_ID);
    t.join(&mut other, &["t"]);
    t.settle(&mut [&mut b, &mut other]);
    let mut back = classic(Some("one"));
    t.join_classic(&mut back);
    t.sync_classic(&mut back);
    assert_eq!(shared(&[&back], &[&other]), all());
    assert_eq!(t.error(t.beating(&b)), E::FENCED_INSTANCE_ID);
}

#[test]
fn the_policy_says_which_way_groups_go() {
    for (policy, up, down) in [
        (MigrationPolicy::Bidirectional, true, true),
        (MigrationPolicy::Upgrade, true, false),
        (MigrationPolicy::Downgrade, false, true),
        (MigrationPolicy::Disabled, false, false),
    ] {
        let mut t = Test::new();
        t.policy(policy);
        let (mut a, mut b) = (classic(None), client("b"));
        t.classic_group(&mut a);
        if up {
            t.join(&mut b, &["t"]);
        } else {
            let refused = t.send(joining(&b, &["t"]));
            assert_eq!(refused.error_code, E::GROUP_ID_NOT_FOUND);
            let text = "Cannot upgrade classic group g to consumer group because online upgrade is disabled.";
            assert_eq!(refused.error_message.as_deref(), Some(text));
            assert_eq!(t.beat_classic(&a), E::NONE, "nothing has changed");
        }

        let mut t = Test::new();
        t.policy(policy);
        let (mut a, mut b) = (classic(None), client("b"));
        t.join(&mut b, &["t"]);
        if policy == MigrationPolicy::Disabled {
            let refused = t.ask_to_join(&a, &[]);
            assert_eq!((refused.error_code, refused.member_id), (E::INCONSISTENT_GROUP_PROTOCOL, Str::EMPTY));
            continue;
        }
        t.join_classic(&mut a);
        t.leave(&b, -1);
        let kinds = if down { kind("classic", "PreparingRebalance") } else { kind("consumer", "Assigning") };
        assert_eq!(t.kind(), kinds);
        if !down {
            // Nobody else is there to have the partitions assigned anew.
            assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
            t.join_classic(&mut a);
            t.sync_classic(&mut a);
            assert_eq!(shared(&[&a], &[]), all());
        }
    }
}

#[test]
fn a_group_with_an_assignors_own_data_stays_classic_until_it_is_empty() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.join_classic(&mut a);
    t.try_to_sync(&a, &[(&a.clone(), assignment(&[0, 1], Some(&[0])))]);
    let refused = t.send(joining(&b, &["t"]));
    assert_eq!(refused.error_code, E::GROUP_ID_NOT_FOUND);
    let text = "Cannot upgrade classic group g to consumer group because an unsupported custom assignor is in \
                use. Please refer to the documentation or switch to a default assignor before re-attempting \
                the upgrade.";
    assert_eq!(refused.error_message.as_deref(), Some(text));
    assert_eq!(t.kind(), kind("classic", "Stable"));
    assert_eq!(t.leave_classic(&a), E::NONE);
    t.join(&mut b, &["t"]);
    assert_eq!(t.kind(), kind("consumer", "Stable"));
}

#[test]
fn what_is_no_group_of_consumers_stays_classic() {
    let mut t = Test::new();
    let mut request = join_of(&classic(Some("worker")), &[]);
    request.protocol_type = "connect".into();
    t.ask_as(Request::Join(request), 9);
    let refused = t.send(joining(&client("b"), &["t"]));
    let text = "Cannot upgrade classic group g to consumer group because the group does not use the consumer \
                embedded protocol.";
    assert_eq!(refused.error_message.as_deref(), Some(text));
}

#[test]
fn who_waits_when_the_group_changes_is_sent_to_join_again() {
    let mut t = Test::new();
    t.limits.initial_rebalance_delay_ms = 3000;
    let mut a = classic(Some("one"));
    // Its JoinGroup waits for the first round to end; that is its answer's ticket.
    t.last += 1;
    let waiting = Ticket(t.last);
    let caller = Caller {
        version: 9,
        client_id: "c".into(),
        client_host: "/10.0.0.1".into(),
        sees: Default::default(),
    };
    let now = Now { ms: t.now_ms, limits: &t.limits, timings: &t.timing, topics: &t.topics };
    let mut out = Effects::default();
    t.groups.handle(waiting, Request::Join(join_of(&a, &[])), &caller, now, || "id".into(), &mut out);
    assert!(out.answers.is_empty());
    let request = Request::ConsumerHeartbeat(joining(&client("b"), &["t"]));
    t.groups.handle(Ticket(u64::MAX), request, &caller, now, || "id".into(), &mut out);
    let Some((ticket, Answer::Join(response))) = out.answers.first() else { panic!("{:?}", out.answers) };
    assert_eq!((*ticket, response.error_code), (waiting, E::REBALANCE_IN_PROGRESS));
    a.id = response.member_id.clone();
    t.log.extend(out.records);
    t.join_classic(&mut a);
    t.sync_classic(&mut a);
    assert_eq!(a.owned.len(), 3, "the other half is `b`'s");
    assert_eq!(t.kind(), kind("consumer", "Stable"));
}

#[test]
fn a_classic_member_that_misses_a_step_is_out_in_time() {
    // What it does not do, and how long it has for that.
    for (step, timeout_ms) in [("heartbeat", SESSION_MS), ("sync", REBALANCE_MS), ("join", REBALANCE_MS)] {
        let mut t = Test::new();
        let (mut a, mut b) = (classic(None), client("b"));
        t.join(&mut b, &["t"]);
        t.join_classic(&mut a);
        if step != "sync" {
            t.sync_classic(&mut a);
        }
        if step == "join" {
            t.beat(&mut b);
            t.beat(&mut b);
            assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
        }
        let mut left_ms = i64::from(timeout_ms) - 1;
        while left_ms > 0 {
            t.wait(left_ms.min(5000));
            left_ms -= left_ms.min(5000);
            t.beat(&mut b);
            if step != "heartbeat" {
                t.beat_classic(&a);
            }
        }
        assert_eq!(t.describe().members.len(), 2, "{step}");
        t.wait(1);
        assert_eq!(t.describe().members.len(), 1, "{step}");
        t.settle(&mut [&mut b]);
        assert_eq!(b.owned, all());
    }
}

#[test]
fn requests_that_do_not_fit_are_refused() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.classic_group(&mut a);
    t.join(&mut b, &["t"]);
    let records = t.log.len();
    let old = Classic { generation: 99, ..a.clone() };
    assert_eq!(t.beat_classic(&old), E::ILLEGAL_GENERATION);
    assert_eq!(t.try_to_sync(&old, &[]).error_code, E::ILLEGAL_GENERATION);
    let unknown = Classic { id: "nobody".into(), ..a.clone() };
    assert_eq!(t.beat_classic(&unknown), E::UNKNOWN_MEMBER_ID);
    let other = Classic { id: b.id.clone(), generation: b.epoch, ..a.clone() };
    assert_eq!(t.beat_classic(&other), E::UNKNOWN_MEMBER_ID, "it speaks the other protocol");
    assert_eq!(t.commit(&a.id.clone(), 99, 0, 9), E::ILLEGAL_GENERATION);
    let mut request = join_of(&a, &[]);
    request.protocols[0].name = "roundrobin".into();
    assert_eq!(joined(t.ask_as(Request::Join(request), 9)).0, E::INCONSISTENT_GROUP_PROTOCOL);
    let mut request = join_of(&a, &[]);
    request.protocols[0].metadata = Bytes::from_static(b"?");
    assert_eq!(joined(t.ask_as(Request::Join(request), 9)).0, E::INCONSISTENT_GROUP_PROTOCOL);
    let mut request = join_of(&a, &[]);
    request.session_timeout_ms = 1;
    assert_eq!(joined(t.ask_as(Request::Join(request), 9)).0, E::INVALID_SESSION_TIMEOUT);
    let lost = Classic { id: "lost".into(), ..a.clone() };
    assert_eq!(t.ask_to_join(&lost, &[0]).error_code, E::UNKNOWN_MEMBER_ID, "it is to give up what it reads");
    assert_eq!(t.log.len(), records, "who is refused changes nothing");
}

#[test]
fn a_restart_in_the_midst_of_a_change_finds_everything_as_it_was() {
    let mut t = Test::new();
    let (mut a, mut b) = (classic(None), client("b"));
    t.classic_group(&mut a);
    t.restart();
    t.join(&mut b, &["t"]);
    let described = t.describe();
    t.restart();
    assert_eq!(t.describe(), described);
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS);
    t.join_classic(&mut a);
    t.restart();
    t.sync_classic(&mut a);
    assert_eq!(a.owned.len(), 3);
    t.join_classic(&mut a);
    t.sync_classic(&mut a);
    t.beat(&mut b);
    assert_eq!(shared(&[&a], &[&b]), all());
    t.leave(&b, -1);
    t.restart();
    assert_eq!(t.kind(), kind("classic", "PreparingRebalance"));
    assert_eq!(t.beat_classic(&a), E::REBALANCE_IN_PROGRESS, "what the other had is to be read");
    // Its session is its own, in either kind of group.
    t.wait(i64::from(SESSION_MS));
    assert_eq!(t.kind(), kind("classic", "Empty"));
}
