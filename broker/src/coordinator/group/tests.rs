//! Groups as their members see them: what is asked, when, and what is answered.

use std::collections::BTreeMap;

use ottla_protocol::{
    Bytes,
    error_code::ErrorCode as E,
    messages::{
        HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest,
        OffsetCommitRequest, OffsetDeleteRequest, SyncGroupRequest, SyncGroupResponse,
        data::consumer_protocol_subscription::{ConsumerProtocolSubscription, TopicPartition as Owned},
        join_group::JoinGroupRequestProtocol,
        leave_group::MemberIdentity,
        offset_commit::{OffsetCommitRequestPartition, OffsetCommitRequestTopic},
        offset_delete::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic},
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
        sync_group::SyncGroupRequestAssignment,
    },
    types::Str,
    wire::{Wire, Writer},
};

use super::{topics::KnownTopics, *};

const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 60_000;
const DAY_MS: i64 = 24 * 3600 * 1000;

/// A coordinator, a clock, and what was answered so far.
struct Test {
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    now_ms: i64,
    answers: BTreeMap<Ticket, Answer>,
    /// Everything that the log would hold.
    log: Vec<Record>,
    last: u64,
    ids: u64,
}

/// Whom a request is from, and what it supports.
#[derive(Clone)]
struct Who {
    id: Str,
    instance: Option<Str>,
    protocols: Vec<(&'static str, Bytes)>,
    version: i16,
}

fn nobody() -> Who {
    Who { id: Str::EMPTY, instance: None, protocols: vec![("range", topics(&["t"]))], version: 9 }
}

fn named(instance: &'static str) -> Who {
    Who { instance: Some(instance.into()), ..nobody() }
}

/// A subscription as consumers write it.
fn topics(names: &[&'static str]) -> Bytes {
    topics_of_one_with(names, &[])
}

/// A subscription of somebody who has these partitions of `t`.
fn topics_of_one_with(names: &[&'static str], owned: &[i32]) -> Bytes {
    let mut w = Writer::new();
    w.i16(1);
    let owned = (!owned.is_empty()).then(|| Owned { topic: "t".into(), partitions: owned.to_vec() });
    let subscription = ConsumerProtocolSubscription {
        topics: names.iter().map(|&name| name.into()).collect(),
        owned_partitions: owned.into_iter().collect(),
        ..Default::default()
    };
    subscription.write(&mut w, 1).unwrap();
    w.into_bytes()
}

impl Test {
    fn new() -> Self {
        let limits = Limits {
            session_timeout_ms: 6000..=1_800_000,
            initial_rebalance_delay_ms: 0,
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: 10,
            offsets_retention_ms: 7 * DAY_MS,
            consumer: consumer_tests::limits(),
        };
        Self {
            groups: Groups::default(),
            limits,
            timing: consumer_tests::TIMING,
            topics: KnownTopics::default(),
            now_ms: 1_700_000_000_000,
            answers: BTreeMap::new(),
            log: Vec::new(),
            last: 0,
            ids: 0,
        }
    }

    fn ask(&mut self, request: Request, version: i16) -> Ticket {
        self.last += 1;
        let ticket = Ticket(self.last);
        let caller = Caller {
            version,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        self.ids += 1;
        let id = self.ids.to_string();
        let mut out = Effects::default();
        let now = Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.handle(ticket, request, &caller, now, || id, &mut out);
        self.take(out);
        ticket
    }

    fn take(&mut self, out: Effects) {
        for (ticket, answer) in out.answers {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} was answered twice");
        }
        self.log.extend(out.records);
    }

    /// Lets time go by, stopping wherever something is due.
    fn wait(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at) = self.groups.wake_ms().filter(|at| *at <= until) {
            self.now_ms = self.now_ms.max(at);
            let mut out = Effects::default();
            self.groups.tick(
                Now { ms: self.now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics },
                &mut out,
            );
            self.take(out);
        }
        self.now_ms = until;
    }

    fn join(&mut self, who: &Who) -> Ticket {
        let protocols = who.protocols.iter().map(|(name, metadata)| JoinGroupRequestProtocol {
            name: (*name).into(),
            metadata: metadata.clone(),
        });
        let request = JoinGroupRequest {
            group_id: "g".into(),
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            member_id: who.id.clone(),
            group_instance_id: who.instance.clone(),
            protocol_type: "consumer".into(),
            protocols: protocols.collect(),
            ..Default::default()
        };
        self.ask(Request::Join(request), who.version)
    }

    /// Joins with an id that was asked for first, as clients do.
    fn enter(&mut self) -> (Who, Ticket) {
        let asked = self.join(&nobody());
        let told = self.joined(asked);
        assert_eq!(told.error_code, E::MEMBER_ID_REQUIRED);
        let who = Who { id: told.member_id, ..nobody() };
        let ticket = self.join(&who);
        (who, ticket)
    }

    #[track_caller]
    fn joined(&self, ticket: Ticket) -> JoinGroupResponse {
        match self.answers.get(&ticket) {
            Some(Answer::Join(answer)) => answer.clone(),
            other => panic!("{ticket:?} was answered {other:?}"),
        }
    }

    fn waits(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    fn sync(&mut self, who: &Who, generation: i32, shares: &[(&Who, &'static str)]) -> Ticket {
        let assignments = shares.iter().map(|(who, share)| SyncGroupRequestAssignment {
            member_id: who.id.clone(),
            assignment: Bytes::from_static(share.as_bytes()),
        });
        let request = SyncGroupRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: who.id.clone(),
            group_instance_id: who.instance.clone(),
            assignments: assignments.collect(),
            ..Default::default()
        };
        self.ask(Request::Sync(request), 5)
    }

    #[track_caller]
    fn synced(&self, ticket: Ticket) -> SyncGroupResponse {
        match self.answers.get(&ticket) {
            Some(Answer::Sync(answer)) => answer.clone(),
            other => panic!("{ticket:?} was answered {other:?}"),
        }
    }

    fn heartbeat(&mut self, who: &Who, generation: i32) -> E {
        let request = HeartbeatRequest {
            group_id: "g".into(),
            generation_id: generation,
            member_id: who.id.clone(),
            group_instance_id: who.instance.clone(),
        };
        let ticket = self.ask(Request::Heartbeat(request), 4);
        match &self.answers[&ticket] {
            Answer::Heartbeat(answer) => answer.error_code,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, members: &[(&str, Option<&'static str>)]) -> Vec<E> {
        let members = members.iter().map(|(id, instance)| MemberIdentity {
            member_id: (*id).into(),
            group_instance_id: instance.map(Str::from),
            reason: None,
        });
        let request =
            LeaveGroupRequest { group_id: "g".into(), members: members.collect(), ..Default::default() };
        let ticket = self.ask(Request::Leave(request), 5);
        match &self.answers[&ticket] {
            Answer::Leave(answer) => answer.members.iter().map(|m| m.error_code).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn commit(&mut self, who: &Who, generation: i32, offset: i64) -> E {
        self.commit_with(who, generation, offset, "m")
    }

    fn commit_with(&mut self, who: &Who, generation: i32, offset: i64, metadata: &'static str) -> E {
        let partition = OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: offset,
            committed_metadata: Some(metadata.into()),
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: "g".into(),
            generation_id_or_member_epoch: generation,
            member_id: who.id.clone(),
            group_instance_id: who.instance.clone(),
            topics: vec![OffsetCommitRequestTopic {
                name: "t".into(),
                partitions: vec![partition],
                ..Default::default()
            }],
            ..Default::default()
        };
        let ticket = self.ask(Request::Commit(request), 9);
        match &self.answers[&ticket] {
            Answer::Commit(answer) => answer.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    }

    fn committed(&mut self) -> i64 {
        let topic =
            OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
        let request =
            OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(vec![topic]), ..Default::default() };
        let ticket = self.ask(Request::Fetch(request), 9);
        match &self.answers[&ticket] {
            Answer::Fetch(answer) => answer.topics[0].partitions[0].committed_offset,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> String {
        let ticket = self.ask(Request::Describe(vec!["g".into()]), 6);
        match &self.answers[&ticket] {
            Answer::Describe(groups) => groups[0].group_state.to_string(),
            other => panic!("{other:?}"),
        }
    }

    /// Two members with their shares, the leader first, in generation 1 or what came of it.
    fn stable(&mut self) -> (Who, Who, i32) {
        let (first, _) = self.enter();
        let (second, _) = self.enter();
        let again = self.join(&first);
        let generation = self.joined(again).generation_id;
        self.sync(&first, generation, &[(&first, "a"), (&second, "b")]);
        self.sync(&second, generation, &[]);
        assert_eq!(self.state(), "Stable");
        (first, second, generation)
    }

    /// The coordinator as it is after a restart, from the log alone.
    fn restart(&mut self) {
        self.groups = Groups::default();
        for record in &self.log {
            let (key, value) = record.encode().unwrap();
            self.groups.replay(&Record::decode(key, value).unwrap(), self.now_ms);
        }
        let timings = &self.timing;
        self.groups.loaded(Now { ms: self.now_ms, limits: &self.limits, timings, topics: &self.topics });
    }
}

#[test]
fn a_round_ends_when_all_have_joined_and_the_leader_alone_sees_the_members() {
    let mut t = Test::new();
    let (first, alone) = t.enter();
    let told = t.joined(alone);
    assert_eq!((told.generation_id, &told.leader, told.members.len()), (1, &first.id, 1));
    let (second, waiting) = t.enter();
    assert!(t.waits(waiting), "the first member has not joined this round");
    assert_eq!(t.heartbeat(&first, 1), E::REBALANCE_IN_PROGRESS);
    let again = t.join(&first);
    let (leader, follower) = (t.joined(again), t.joined(waiting));
    assert_eq!((leader.generation_id, follower.generation_id), (2, 2));
    assert_eq!((leader.members.len(), follower.members.len()), (2, 0));
    assert_eq!(follower.leader, first.id);

    let early = t.sync(&second, 2, &[]);
    assert!(t.waits(early));
    let leaders = t.sync(&first, 2, &[(&first, "a"), (&second, "b")]);
    assert_eq!((&t.synced(leaders).assignment[..], &t.synced(early).assignment[..]), (&b"a"[..], &b"b"[..]));
    assert_eq!((t.heartbeat(&first, 2), t.heartbeat(&first, 1)), (E::NONE, E::ILLEGAL_GENERATION));
}

#[test]
fn a_first_round_waits_a_little_and_longer_where_members_keep_coming() {
    let mut t = Test::new();
    t.limits.initial_rebalance_delay_ms = 3000;
    let (_, first) = t.enter();
    t.wait(2999);
    assert!(t.waits(first));
    let (_, second) = t.enter();
    t.wait(1);
    assert!(t.waits(first), "somebody came, so the round waits again");
    t.wait(3000);
    assert_eq!((t.joined(first).generation_id, t.joined(second).generation_id), (1, 1));
}

#[test]
fn who_is_not_heard_of_is_out_and_its_share_goes_to_the_others() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    for _ in 0..3 {
        t.wait(i64::from(SESSION_MS) / 2);
        t.heartbeat(&first, generation);
    }
    assert_eq!(t.state(), "PreparingRebalance");
    assert_eq!(t.heartbeat(&second, generation), E::UNKNOWN_MEMBER_ID);
    let again = t.join(&first);
    assert_eq!(t.joined(again).members.len(), 1);
}

#[test]
fn who_does_not_join_the_round_in_time_is_out() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    let again = t.join(&first);
    // It is alive, and does not join.
    for _ in 0..REBALANCE_MS / 5000 {
        assert!(t.waits(again));
        t.heartbeat(&second, generation);
        t.wait(5000);
    }
    assert_eq!(t.joined(again).members.len(), 1);
    assert_eq!(t.heartbeat(&second, generation), E::UNKNOWN_MEMBER_ID);
}

#[test]
fn who_does_not_ask_for_its_share_in_time_is_out() {
    let mut t = Test::new();
    let (first, second, _) = t.stable();
    let again = t.join(&first);
    let other = t.join(&second);
    let generation = t.joined(again).generation_id;
    assert_eq!(t.joined(other).generation_id, generation);
    t.sync(&first, generation, &[(&first, "a")]);
    for _ in 0..REBALANCE_MS / 5000 {
        t.heartbeat(&first, generation);
        t.heartbeat(&second, generation);
        t.wait(5000);
    }
    assert_eq!(t.heartbeat(&second, generation), E::UNKNOWN_MEMBER_ID);
    assert_eq!(t.heartbeat(&first, generation), E::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_place_that_was_asked_for_and_not_taken_is_given_up() {
    let mut t = Test::new();
    let asked = t.join(&nobody());
    let id = t.joined(asked).member_id;
    let (_, second) = t.enter();
    assert!(t.waits(second), "the round waits for who was given an id");
    t.wait(i64::from(SESSION_MS));
    assert_eq!(t.joined(second).members.len(), 1);
    let late = t.join(&Who { id, ..nobody() });
    assert_eq!(t.joined(late).error_code, E::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_follower_that_has_nothing_new_to_say_disturbs_nobody_and_a_leader_does() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    let again = t.join(&second);
    assert_eq!(t.joined(again).generation_id, generation);
    assert_eq!(t.state(), "Stable");
    let changed = t.join(&Who { protocols: vec![("range", topics(&["t", "u"]))], ..second.clone() });
    assert!(t.waits(changed));
    t.join(&first);
    assert_eq!(t.joined(changed).generation_id, generation + 1);
}

#[test]
fn the_protocol_is_the_one_that_most_prefer_of_those_that_all_support() {
    let mut t = Test::new();
    let speaks = |protocols: &[&'static str]| Who {
        protocols: protocols.iter().map(|&p| (p, topics(&["t"]))).collect(),
        version: 3,
        ..nobody()
    };
    let first = t.join(&speaks(&["range", "sticky"]));
    let id = t.joined(first).member_id;
    let second = t.join(&speaks(&["sticky", "range"]));
    let third = t.join(&speaks(&["sticky", "other", "range"]));
    let stranger = t.join(&speaks(&["other"]));
    assert_eq!(t.joined(stranger).error_code, E::INCONSISTENT_GROUP_PROTOCOL);
    t.join(&Who { id, ..speaks(&["range", "sticky"]) });
    for ticket in [second, third] {
        assert_eq!(t.joined(ticket).protocol_name.as_deref(), Some("sticky"));
    }
}

#[test]
fn who_has_left_is_not_brought_back_by_a_restart_before_the_round_is_over() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    t.leave(&[(&second.id.clone(), None)]);
    t.restart();
    assert_eq!(
        t.heartbeat(&first, generation),
        E::REBALANCE_IN_PROGRESS,
        "the other's share is to be divided"
    );
    let again = t.join(&first);
    assert_eq!(t.joined(again).members.len(), 1, "there is nobody to wait for");
}

#[test]
fn who_died_is_not_brought_back_by_a_restart_before_the_round_is_over() {
    let mut t = Test::new();
    let (first, _, generation) = t.stable();
    t.wait(i64::from(SESSION_MS) - 1);
    assert_eq!(t.heartbeat(&first, generation), E::NONE);
    t.wait(1);
    t.restart();
    assert_eq!(t.heartbeat(&first, generation), E::REBALANCE_IN_PROGRESS);
    let again = t.join(&first);
    assert_eq!(t.joined(again).members.len(), 1);
}

#[test]
fn a_static_members_new_self_outlives_a_restart_before_the_round_is_over() {
    let mut t = Test::new();
    let one = t.join(&named("one"));
    let old = Who { id: t.joined(one).member_id, ..named("one") };
    t.sync(&old, 1, &[(&old, "a")]);
    // Somebody new begins a round; it comes back in the middle of that.
    let (new, _) = t.enter();
    let back = t.join(&named("one"));
    let told = t.joined(back);
    assert_eq!((told.error_code, told.generation_id), (E::NONE, 2));
    let reborn = Who { id: told.member_id, ..named("one") };
    t.restart();
    assert_eq!(t.heartbeat(&old, 1), E::FENCED_INSTANCE_ID);
    let told = (t.heartbeat(&reborn, 2), t.heartbeat(&new, 2));
    assert_eq!(told, (E::REBALANCE_IN_PROGRESS, E::REBALANCE_IN_PROGRESS));
}

#[test]
fn a_static_member_comes_back_to_its_share_and_its_old_self_is_fenced() {
    let mut t = Test::new();
    let one = t.join(&named("one"));
    let two = t.join(&named("two"));
    let first = Who { id: t.joined(one).member_id, ..named("one") };
    let again = t.join(&first);
    let (generation, second) =
        (t.joined(again).generation_id, Who { id: t.joined(two).member_id, ..named("two") });
    t.sync(&first, generation, &[(&first, "a"), (&second, "b")]);
    t.sync(&second, generation, &[]);

    let back = t.join(&named("two"));
    let told = t.joined(back);
    assert_eq!((told.error_code, told.generation_id, told.skip_assignment), (E::NONE, generation, false));
    let reborn = Who { id: told.member_id, ..named("two") };
    assert_ne!(reborn.id, second.id);
    assert_eq!(t.heartbeat(&second, generation), E::FENCED_INSTANCE_ID);
    let share = t.sync(&reborn, generation, &[]);
    assert_eq!(&t.synced(share).assignment[..], b"b");

    // The leader, too; it is told that it need not assign, or, if it is too old for that, that another leads.
    let told = t.join(&named("one"));
    let told = t.joined(told);
    assert_eq!((told.skip_assignment, told.members.len(), &told.leader), (true, 2, &told.member_id));
    let old = t.join(&Who { version: 5, ..named("one") });
    let old = t.joined(old);
    assert_eq!((old.skip_assignment, old.members.len(), old.leader == old.member_id), (false, 0, false));
    assert_eq!(t.state(), "Stable");

    // An administrator takes it out by its name.
    assert_eq!(t.leave(&[("", Some("two")), ("", Some("three"))]), [E::NONE, E::UNKNOWN_MEMBER_ID]);
    assert_eq!(t.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_that_dies_before_it_gives_up_a_partition_does_not_take_it_along() {
    let mut t = Test::new();
    let one = t.join(&named("one"));
    let owner = Who { protocols: vec![("range", topics_of_one_with(&["t"], &[0, 1]))], ..named("two") };
    let two = t.join(&owner);
    let first = Who { id: t.joined(one).member_id, ..named("one") };
    let again = t.join(&first);
    let generation = t.joined(again).generation_id;
    let second = Who { id: t.joined(two).member_id, ..owner };
    // It is to keep partition 1, and partition 0 is another's as soon as it has given it up.
    let keeps = "\0\x01\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x01\0\0\0\0";
    t.sync(&first, generation, &[(&first, ""), (&second, keeps)]);
    t.sync(&second, generation, &[]);
    assert_eq!(t.state(), "Stable");

    let back = t.join(&named("two"));
    assert!(t.waits(back));
    assert_eq!(t.heartbeat(&first, generation), E::REBALANCE_IN_PROGRESS);
}

#[test]
fn a_group_takes_no_more_than_it_may_have() {
    let mut t = Test::new();
    t.limits.group_size_max = 1;
    let (first, _) = t.enter();
    t.sync(&first, 1, &[(&first, "a")]);
    let second = t.join(&Who { version: 3, ..nobody() });
    assert_eq!(t.joined(second).error_code, E::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn a_session_is_neither_too_short_nor_too_long() {
    let mut t = Test::new();
    t.limits.session_timeout_ms = 20_000..=30_000;
    let short = t.join(&nobody());
    assert_eq!(t.joined(short).error_code, E::INVALID_SESSION_TIMEOUT);
}

#[test]
fn the_last_member_leaves_an_empty_group_and_offsets_that_last() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    assert_eq!(t.commit(&first, generation, 5), E::NONE);
    assert_eq!(t.leave(&[(&first.id.clone(), None), (&second.id.clone(), None)]), [E::NONE, E::NONE]);
    assert_eq!((t.state().as_str(), t.committed()), ("Empty", 5));
    t.restart();
    assert_eq!((t.state().as_str(), t.committed()), ("Empty", 5));
}

#[test]
fn only_members_of_this_generation_commit_and_anybody_while_the_group_is_empty() {
    let mut t = Test::new();
    assert_eq!(t.commit(&nobody(), -1, 1), E::NONE);
    let stranger = Who { id: "x".into(), ..nobody() };
    assert_eq!(t.commit(&stranger, 3, 2), E::UNKNOWN_MEMBER_ID);
    let (first, _, generation) = t.stable();
    assert_eq!(t.commit(&nobody(), -1, 3), E::UNKNOWN_MEMBER_ID);
    assert_eq!(t.commit(&first, generation - 1, 4), E::ILLEGAL_GENERATION);
    assert_eq!(t.commit(&first, generation, 5), E::NONE);
    assert_eq!(t.commit_with(&first, generation, 6, "far too long a text"), E::OFFSET_METADATA_TOO_LARGE);
    // While the next round is prepared the old generation may still commit, and not while it is completed.
    let (_, waiting) = t.enter();
    assert_eq!(t.commit(&first, generation, 7), E::NONE);
    assert!(t.waits(waiting));
    assert_eq!(t.committed(), 7);
}

#[test]
fn a_group_survives_a_restart_with_its_members_and_their_shares() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    t.commit(&second, generation, 11);
    t.restart();
    assert_eq!((t.heartbeat(&first, generation), t.committed()), (E::NONE, 11));
    let share = t.sync(&second, generation, &[]);
    assert_eq!(&t.synced(share).assignment[..], b"b");
    // Who does not come back is found out.
    t.wait(i64::from(SESSION_MS) - 1);
    t.heartbeat(&first, generation);
    t.wait(1);
    assert_eq!(t.heartbeat(&second, generation), E::UNKNOWN_MEMBER_ID);
}

#[test]
fn offsets_expire_when_the_group_was_empty_for_long_and_the_group_with_them() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    t.commit(&first, generation, 5);
    t.now_ms += 8 * DAY_MS;
    let mut out = Effects::default();
    t.groups.expire_offsets(
        Now { ms: t.now_ms, limits: &t.limits, timings: &t.timing, topics: &t.topics },
        &mut out,
    );
    assert!(out.records.is_empty(), "the group reads the topic");
    t.leave(&[(&first.id.clone(), None), (&second.id.clone(), None)]);
    t.now_ms += 7 * DAY_MS - 1;
    t.groups.expire_offsets(
        Now { ms: t.now_ms, limits: &t.limits, timings: &t.timing, topics: &t.topics },
        &mut out,
    );
    assert!(out.records.is_empty(), "a day is missing, or nearly");
    t.now_ms += 1;
    t.groups.expire_offsets(
        Now { ms: t.now_ms, limits: &t.limits, timings: &t.timing, topics: &t.topics },
        &mut out,
    );
    t.take(out);
    assert_eq!(t.state(), "Dead");
    t.restart();
    assert_eq!((t.state().as_str(), t.committed()), ("Dead", -1));
}

#[test]
fn offsets_are_deleted_where_nobody_reads_and_groups_where_nobody_is() {
    let mut t = Test::new();
    let (first, second, generation) = t.stable();
    t.commit(&first, generation, 5);
    let delete = |t: &mut Test| {
        let partitions = vec![OffsetDeleteRequestPartition { partition_index: 0 }];
        let topics = vec![OffsetDeleteRequestTopic { name: "t".into(), partitions }];
        let ticket = t.ask(Request::DeleteOffsets(OffsetDeleteRequest { group_id: "g".into(), topics }), 0);
        match &t.answers[&ticket] {
            Answer::DeleteOffsets(answer) => answer.topics[0].partitions[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    let forget = |t: &mut Test| {
        let ticket = t.ask(Request::Delete(vec!["g".into()]), 3);
        match &t.answers[&ticket] {
            Answer::Delete(results) => results[0].error_code,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((delete(&mut t), forget(&mut t)), (E::GROUP_SUBSCRIBED_TO_TOPIC, E::NON_EMPTY_GROUP));
    t.leave(&[(&first.id.clone(), None), (&second.id.clone(), None)]);
    assert_eq!((delete(&mut t), t.committed()), (E::NONE, -1));
    assert_eq!((forget(&mut t), forget(&mut t)), (E::NONE, E::GROUP_ID_NOT_FOUND));
    t.restart();
    assert_eq!(t.state(), "Dead");
}

#[test]
fn a_deleted_topic_takes_its_offsets_along() {
    let mut t = Test::new();
    t.commit(&nobody(), -1, 5);
    t.ask(Request::TopicsDeleted(vec!["u".into()]), 0);
    assert_eq!(t.committed(), 5);
    t.ask(Request::TopicsDeleted(vec!["t".into()]), 0);
    t.restart();
    assert_eq!(t.committed(), -1);
}

#[test]
fn groups_are_listed_by_state_and_type() {
    let mut t = Test::new();
    t.stable();
    let mut list = |states: &[&'static str], types: &[&'static str]| {
        let request = ListGroupsRequest {
            states_filter: states.iter().map(|&s| s.into()).collect(),
            types_filter: types.iter().map(|&s| s.into()).collect(),
        };
        let ticket = t.ask(Request::List(request), 5);
        match &t.answers[&ticket] {
            Answer::List(groups) => groups.len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!((list(&[], &[]), list(&["stable"], &["CLASSIC"])), (1, 1));
    assert_eq!((list(&["Empty"], &[]), list(&[], &["consumer"])), (0, 0));
}
