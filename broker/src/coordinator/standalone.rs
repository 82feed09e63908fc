//! The coordinator of groups by itself: no broker, no socket, no clock. Clients' members are simulated against it.
//!
//! What [`Coordinator`] has decided is in its log, and what is in the log is all that is left of it after a
//! [`Coordinator::restart`], as with the real one.

use ottla_protocol::{
    Bytes,
    messages::{
        ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, HeartbeatResponse,
        JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest,
        OffsetCommitResponse, SyncGroupRequest, SyncGroupResponse,
        offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics},
    },
    types::{GroupId, Str, TopicName, Uuid},
};

use super::{
    group::{
        self, Caller, ConsumerLimits, Effects, Groups, Limits, Now, Ticket, Timing,
        assignor::Assignor,
        topics::{KnownTopics, Topics},
    },
    record::Record,
};

/// Longest metadata of an offset, in bytes.
const OFFSET_METADATA_BYTES_MAX: usize = 4096;

/// What is configured of it, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay_ms: i64,
    /// `group.consumer.session.timeout.ms`.
    pub session_timeout_ms: i64,
    /// `group.consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`.
    pub assignment_interval_ms: i64,
    /// Whether partitions are divided by ranges; else uniformly.
    pub by_ranges: bool,
}

/// A request of a member.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as they are")]
pub enum MemberRequest {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    ConsumerHeartbeat(ConsumerGroupHeartbeatRequest),
    Commit(OffsetCommitRequest),
}

/// The answer to the request of the same name.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "named as they are")]
pub enum MemberAnswer {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(HeartbeatResponse),
    Leave(LeaveGroupResponse),
    ConsumerHeartbeat(ConsumerGroupHeartbeatResponse),
    Commit(OffsetCommitResponse),
}

/// A coordinator that has groups of both protocols.
#[derive(Debug)]
pub struct Coordinator {
    groups: Groups,
    limits: Limits,
    timing: Timing,
    topics: KnownTopics,
    log: Vec<(Bytes, Option<Bytes>)>,
    /// Makes ids of members.
    ids_made: u64,
}

impl Coordinator {
    /// One without groups and topics.
    pub fn new(settings: &Settings) -> Self {
        let mut assignors = vec![Assignor::Uniform, Assignor::Range];
        if settings.by_ranges {
            assignors.reverse();
        }
        let limits = Limits {
            session_timeout_ms: 1..=i32::MAX,
            initial_rebalance_delay_ms: settings.initial_rebalance_delay_ms,
            group_size_max: usize::MAX,
            offset_metadata_bytes_max: OFFSET_METADATA_BYTES_MAX,
            offsets_retention_ms: i64::MAX,
            consumer: ConsumerLimits {
                group_size_max: usize::MAX,
                migration_policy: crate::config::MigrationPolicy::default(),
                pattern_refresh_ms: 600_000,
                assignors,
            },
        };
        let timing = Timing {
            session_timeout_ms: settings.session_timeout_ms,
            heartbeat_interval_ms: settings.heartbeat_interval_ms,
            assignment_interval_ms: settings.assignment_interval_ms,
        };
        Self {
            groups: Groups::default(),
            limits,
            timing,
            topics: KnownTopics::default(),
            log: Vec::new(),
            ids_made: 0,
        }
    }

    /// Gives a topic so many partitions, or makes it. Ids count from 1, in the order of making.
    pub fn set_topic(&mut self, name: &str, partition_count: i32) {
        self.topics.set(name, partition_count);
    }

    /// What the topic of this id is called.
    pub fn topic_name(&self, id: Uuid) -> Option<TopicName> {
        self.topics.name(id)
    }

    /// Handles a request. What it has to be answered by then is in the answers, and maybe those of others; each by the
    /// ticket that came with it.
    pub fn handle(&mut self, ticket: u64, request: MemberRequest, now_ms: i64) -> Vec<(u64, MemberAnswer)> {
        let out = self.decide(ticket, request, now_ms);
        self.log.extend(out.records.iter().filter_map(|record| record.encode().ok()));
        answers(out)
    }

    /// Dies over a request: what it decided is not in the log, and nobody is answered. Then it restarts.
    pub fn handle_and_die(&mut self, ticket: u64, request: MemberRequest, now_ms: i64) {
        self.decide(ticket, request, now_ms);
        self.restart(now_ms);
    }

    fn decide(&mut self, ticket: u64, request: MemberRequest, now_ms: i64) -> Effects {
        let (request, version) = match request {
            MemberRequest::Join(request) => (group::Request::Join(request), 9),
            MemberRequest::Sync(request) => (group::Request::Sync(request), 5),
            MemberRequest::Heartbeat(request) => (group::Request::Heartbeat(request), 4),
            MemberRequest::Leave(request) => (group::Request::Leave(request), 5),
            MemberRequest::ConsumerHeartbeat(request) => (group::Request::ConsumerHeartbeat(request), 1),
            MemberRequest::Commit(request) => (group::Request::Commit(request), 9),
        };
        let caller = Caller {
            version,
            client_id: "c".into(),
            client_host: "/10.0.0.1".into(),
            sees: Default::default(),
        };
        self.ids_made += 1;
        let id = format!("member-{}", self.ids_made);
        let mut out = Effects::default();
        let now = Now { ms: now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.handle(Ticket(ticket), request, &caller, now, || id, &mut out);
        out
    }

    /// When [`Self::tick`] wants to be called next, if anything is due at all.
    pub fn wake_ms(&self) -> Option<i64> {
        self.groups.wake_ms()
    }

    /// Does what is due.
    pub fn tick(&mut self, now_ms: i64) -> Vec<(u64, MemberAnswer)> {
        let mut out = Effects::default();
        let now = Now { ms: now_ms, limits: &self.limits, timings: &self.timing, topics: &self.topics };
        self.groups.tick(now, &mut out);
        self.log.extend(out.records.iter().filter_map(|record| record.encode().ok()));
        answers(out)
    }

    /// Begins anew with what is in the log. Nobody who waits is answered.
    pub fn restart(&mut self, now_ms: i64) {
        self.groups = Groups::default();
        for (key, value) in &self.log {
            if let Ok(record) = Record::decode(key.clone(), value.clone()) {
                self.groups.replay(&record, now_ms);
            }
        }
        self.groups.loaded(Now {
            ms: now_ms,
            limits: &self.limits,
            timings: &self.timing,
            topics: &self.topics,
        });
    }

    /// The ids of the members of a group, of either protocol.
    pub fn members(&self, group: &GroupId) -> Vec<Str> {
        self.groups.members(group)
    }

    /// The offset that is committed for a partition; -1 if none is.
    pub fn committed(&self, group: &GroupId, topic: &TopicName, partition: i32) -> i64 {
        let topic = OffsetFetchRequestTopics {
            name: topic.clone(),
            partition_indexes: vec![partition],
            ..Default::default()
        };
        let request = OffsetFetchRequestGroup {
            group_id: group.clone(),
            topics: Some(vec![topic]),
            ..Default::default()
        };
        let told = self.groups.committed(&request);
        let partition = told.topics.first().and_then(|topic| topic.partitions.first());
        partition.map_or(-1, |partition| partition.committed_offset)
    }

    /// A number that tells the whole course until here.
    pub fn course(&self) -> u64 {
        let mut course = self.ids_made;
        for (key, value) in &self.log {
            for byte in key.iter().chain(value.iter().flatten()) {
                course = course.wrapping_mul(0x0100_0000_01b3) ^ u64::from(*byte);
            }
        }
        course
    }
}

fn answers(out: Effects) -> Vec<(u64, MemberAnswer)> {
    let answer = |(ticket, answer): (Ticket, group::Answer)| {
        let answer = match answer {
            group::Answer::Join(response) => MemberAnswer::Join(response),
            group::Answer::Sync(response) => MemberAnswer::Sync(response),
            group::Answer::Heartbeat(response) => MemberAnswer::Heartbeat(response),
            group::Answer::Leave(response) => MemberAnswer::Leave(response),
            group::Answer::ConsumerHeartbeat(response) => MemberAnswer::ConsumerHeartbeat(response),
            group::Answer::Commit(response) => MemberAnswer::Commit(response),
            // Nobody asks here what is answered so.
            _ => return None,
        };
        Some((ticket.0, answer))
    };
    out.answers.into_iter().filter_map(answer).collect()
}
