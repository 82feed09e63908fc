//! What a member of a consumer group says and does, step by step, and under any answers.

use super::*;
use crate::cluster::retry::Backoff;

const BEAT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_secs(300);
/// Ids of the topics `t` and `u`.
const T: Uuid = Uuid(1);
const U: Uuid = Uuid(2);

struct Bench {
    member: ConsumerMember,
    now: Instant,
}

impl Bench {
    /// A member that has subscribed to `t` and found its coordinator.
    fn new(instance_id: Option<&str>) -> Self {
        let mut bench = Self::idle(instance_id);
        bench.subscribe(&["t"]);
        bench
    }

    /// A member that has not subscribed yet.
    fn idle(instance_id: Option<&str>) -> Self {
        let now = Instant::now();
        let settings = MemberSettings {
            group: "g".into(),
            instance_id: instance_id.map(Str::from),
            assignors: Vec::new(),
            session_timeout: Duration::ZERO,
            heartbeat_interval: Duration::ZERO,
            max_poll_interval: POLL,
            rack: Some("r".into()),
            remote_assignor: Some("uniform".into()),
            backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
        };
        let mut member = ConsumerMember::new(settings, fastrand::Rng::with_seed(7), now);
        assert!(member.poll(now).is_none() && member.next_due().is_none(), "nothing is subscribed");
        Self { member, now }
    }

    fn subscribe(&mut self, topics: &[&str]) {
        let topics = topics.iter().map(|&topic| topic.into()).collect();
        self.member.subscribe(Reads::Topics(topics), self.now);
        if self.member.coordinator().is_none() {
            self.find();
        }
    }

    fn find(&mut self) {
        assert!(matches!(self.next(), Some(Action::FindCoordinator)));
        self.member.handle_coordinator(Ok(BrokerId(1)), self.now);
    }

    /// A member of epoch 1 that has these partitions of `t`.
    fn inside(partitions: &[i32]) -> Self {
        let mut bench = Self::new(None);
        bench.beat_with(1, Some(&[(T, partitions)]));
        if !partitions.is_empty() {
            bench.name(&[(T, "t")]);
        }
        bench.assigned("t", partitions);
        if !partitions.is_empty() {
            let request = bench.beat_with(1, None);
            assert_eq!(claims(&request), Some(vec![(T, partitions.to_vec())]), "it says what it has taken");
        } else {
            // It has asked often enough.
            bench.member.eager_beats = 0;
            bench.member.heartbeat_due_at = bench.now + BEAT;
        }
        bench.rests();
        bench
    }

    fn next(&mut self) -> Option<Action> {
        self.member.poll(self.now)
    }

    fn rests(&mut self) {
        let next = self.next();
        assert!(next.is_none(), "there is something to do: {next:?}");
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn heartbeat(&mut self) -> (u64, ConsumerGroupHeartbeatRequest) {
        match self.next() {
            Some(Action::ConsumerHeartbeat(attempt, request)) => (attempt, request),
            other => panic!("no heartbeat: {other:?}"),
        }
    }

    /// A heartbeat that is answered with an epoch and, if there is one, an assignment.
    fn beat_with(
        &mut self,
        epoch: i32,
        assigned: Option<&[(Uuid, &[i32])]>,
    ) -> ConsumerGroupHeartbeatRequest {
        let (attempt, request) = self.heartbeat();
        self.answer(attempt, epoch, assigned);
        request
    }

    fn answer(&mut self, attempt: u64, epoch: i32, assigned: Option<&[(Uuid, &[i32])]>) {
        let topic = |(topic_id, partitions): &(Uuid, &[i32])| TopicPartitions {
            topic_id: *topic_id,
            partitions: partitions.to_vec(),
        };
        let response = ConsumerGroupHeartbeatResponse {
            member_epoch: epoch,
            heartbeat_interval_ms: millis(BEAT),
            assignment: assigned.map(|it| Assignment { topic_partitions: it.iter().map(topic).collect() }),
            ..Default::default()
        };
        self.member.handle_heartbeat(attempt, Ok(response), self.now);
    }

    /// A heartbeat that is refused.
    fn beat_refused(&mut self, code: ErrorCode) -> ConsumerGroupHeartbeatRequest {
        let (attempt, request) = self.heartbeat();
        let response = ConsumerGroupHeartbeatResponse { error_code: code, ..Default::default() };
        self.member.handle_heartbeat(attempt, Ok(response), self.now);
        request
    }

    /// A heartbeat that is never heard, or whose answer is not.
    fn beat_lost(&mut self) -> ConsumerGroupHeartbeatRequest {
        let (attempt, request) = self.heartbeat();
        self.member.handle_heartbeat(attempt, Err(lost()), self.now);
        self.rests();
        self.now = self.member.next_due().unwrap();
        self.find();
        request
    }

    fn name(&mut self, topics: &[(Uuid, &str)]) {
        let Some(Action::NameTopics(ids)) = self.next() else { panic!("it knows all names") };
        assert!(!ids.is_empty());
        self.member.handle_names(topics.iter().map(|&(id, name)| (id, name.into())), self.now);
    }

    fn told_to_assign(&mut self, topic: &str, partitions: &[i32]) {
        let Some(Action::Assign(assigned)) = self.next() else { panic!("nothing is assigned") };
        assert_eq!(assigned, all(topic, partitions));
    }

    fn assigned(&mut self, topic: &str, partitions: &[i32]) {
        self.told_to_assign(topic, partitions);
        self.member.handle_done();
    }

    fn told_to_revoke(&mut self, topic: &str, partitions: &[i32]) {
        let Some(Action::Revoke(revoked)) = self.next() else { panic!("nothing is revoked") };
        assert_eq!(revoked, all(topic, partitions));
    }

    fn lost(&mut self, partitions: &[i32]) {
        let Some(Action::Lost(lost)) = self.next() else { panic!("nothing is lost") };
        assert_eq!(lost, all("t", partitions));
        self.member.handle_done();
    }

    fn failed(&mut self) -> Error {
        let Some(Action::Fail(error)) = self.next() else { panic!("it does not fail") };
        error
    }
}

fn all(topic: &str, partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|&partition| TopicPartition::new(topic, partition)).collect()
}

fn lost() -> Error {
    Error::new(ErrorKind::Disconnected, "on its way")
}

fn claims(request: &ConsumerGroupHeartbeatRequest) -> Option<Vec<(Uuid, Vec<i32>)>> {
    let topics = request.topic_partitions.as_ref()?;
    Some(topics.iter().map(|topic| (topic.topic_id, topic.partitions.clone())).collect())
}

/// Whether a heartbeat says everything.
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms == millis(POLL)
        && request.subscribed_topic_names.is_some()
        && request.server_assignor.is_some()
        && request.rack_id.is_some()
        && request.topic_partitions.is_some()
}

/// Whether a heartbeat says that nothing is new.
fn is_sparse(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms == -1
        && request.subscribed_topic_names.is_none()
        && request.subscribed_topic_regex.is_none()
        && request.server_assignor.is_none()
        && request.rack_id.is_none()
        && request.topic_partitions.is_none()
}

#[test]
fn who_joins_says_everything_under_its_own_id_and_then_only_what_is_new() {
    let mut bench = Bench::new(None);
    let request = bench.beat_with(1, Some(&[(T, &[0, 1])]));
    assert!(is_full(&request) && request.member_epoch == 0 && request.subscribed_topic_regex.is_none());
    assert_eq!((request.member_id.len(), claims(&request)), (22, Some(Vec::new())));
    assert_eq!(*bench.member.identity(), Identity { generation: 1, member_id: request.member_id.clone() });
    bench.name(&[(T, "t")]);
    bench.assigned("t", &[0, 1]);
    let taken = bench.beat_with(1, None);
    assert_eq!((claims(&taken), taken.member_id), (Some(vec![(T, vec![0, 1])]), request.member_id));
    bench.rests();
    let quiet = bench.after(BEAT).beat_with(2, None);
    assert!(is_sparse(&quiet) && quiet.member_epoch == 1);
    assert_eq!(bench.member.identity().generation, 2);
    bench.rests();
}

#[test]
fn heartbeats_are_as_far_apart_as_the_broker_says() {
    let mut bench = Bench::inside(&[]);
    assert_eq!(bench.member.next_due(), Some(bench.now + BEAT));
    bench.after(BEAT);
    let (attempt, _) = bench.heartbeat();
    assert_eq!(bench.member.next_due(), Some(bench.member.progressed_at + POLL), "one at a time");
    let response =
        ConsumerGroupHeartbeatResponse { member_epoch: 1, heartbeat_interval_ms: 40, ..Default::default() };
    bench.member.handle_heartbeat(attempt, Ok(response), bench.now);
    assert_eq!(bench.member.next_due(), Some(bench.now + Duration::from_millis(40)));
}

#[test]
fn who_has_joined_and_got_nothing_asks_a_few_times_more_often() {
    let mut bench = Bench::new(None);
    bench.beat_with(1, Some(&[]));
    bench.assigned("t", &[]);
    for _ in 0..EAGER_BEATS {
        bench.rests();
        assert_eq!(bench.member.next_due(), Some(bench.now + EAGER_INTERVAL));
        assert!(is_sparse(&bench.after(EAGER_INTERVAL).beat_with(1, None)));
    }
    bench.rests();
    assert_eq!(bench.member.next_due(), Some(bench.now + BEAT), "it is not to have any");

    let mut bench = Bench::new(None);
    bench.beat_with(1, Some(&[]));
    bench.assigned("t", &[]);
    bench.after(EAGER_INTERVAL).beat_with(2, Some(&[(T, &[0])]));
    bench.name(&[(T, "t")]);
    bench.assigned("t", &[0]);
    bench.beat_with(2, None);
    bench.rests();
    assert_eq!(bench.member.next_due(), Some(bench.now + BEAT));
}

#[test]
fn nothing_is_given_up_before_the_program_has_let_go_of_it() {
    let mut bench = Bench::inside(&[0, 1]);
    bench.after(BEAT).beat_with(1, Some(&[(T, &[1])]));
    bench.told_to_revoke("t", &[0]);
    for _ in 0..3 {
        assert!(is_sparse(&bench.after(BEAT).beat_with(1, None)), "the program is not done yet");
    }
    // Also where everything has to be said.
    bench.after(BEAT).beat_lost();
    let request = bench.beat_with(1, Some(&[(T, &[1])]));
    assert!(is_full(&request));
    assert_eq!(claims(&request), Some(vec![(T, vec![0, 1])]));
    bench.member.handle_done();
    let request = bench.beat_with(2, Some(&[(T, &[1, 2])]));
    assert_eq!(claims(&request), Some(vec![(T, vec![1])]));
    bench.assigned("t", &[2]);
    assert_eq!(bench.member.owned(), all("t", &[1, 2]));
}

#[test]
fn nothing_is_taken_while_a_heartbeat_that_may_have_given_it_up_is_not_answered() {
    let mut bench = Bench::inside(&[0]);
    // It is to have another, but its name is not known yet when an answer gets lost.
    bench.after(BEAT).beat_with(2, Some(&[(T, &[0]), (U, &[0])]));
    bench.after(BEAT);
    assert!(matches!(bench.next(), Some(Action::ConsumerHeartbeat(..))));
    let Some(Action::NameTopics(_)) = bench.next() else { panic!("the name of `u` is known") };
    let attempt = bench.member.attempt;
    bench.member.handle_heartbeat(attempt, Err(lost()), bench.now);
    bench.now = bench.member.next_due().unwrap();
    bench.find();
    let (attempt, request) = bench.heartbeat();
    assert_eq!(claims(&request), Some(vec![(T, vec![0])]), "which leaves `u` out");
    bench.member.handle_names([(U, "u".into())], bench.now);
    bench.rests();
    bench.answer(attempt, 3, Some(&[(T, &[0])]));
    bench.assigned("t", &[]);
    bench.rests();
}

#[test]
fn a_topic_without_a_name_waits_and_is_not_acknowledged() {
    let mut bench = Bench::new(None);
    bench.beat_with(1, Some(&[(T, &[0]), (U, &[3])]));
    bench.name(&[(T, "t")]);
    bench.assigned("t", &[0]);
    assert_eq!(claims(&bench.beat_with(1, None)), Some(vec![(T, vec![0])]));
    bench.rests();
    bench.now = bench.member.next_due().unwrap();
    let Some(Action::NameTopics(ids)) = bench.next() else { panic!("it does not ask again") };
    assert_eq!(ids, [U]);
    bench.member.handle_names([(U, "u".into())], bench.now);
    bench.assigned("u", &[3]);
    assert_eq!(claims(&bench.beat_with(1, None)), Some(vec![(T, vec![0]), (U, vec![3])]));
}

#[test]
fn a_topic_made_anew_is_let_go_of_and_taken_again() {
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT).beat_with(2, Some(&[(U, &[0])]));
    bench.told_to_revoke("t", &[0]);
    bench.member.handle_done();
    bench.beat_with(3, None);
    bench.name(&[(U, "t")]);
    bench.assigned("t", &[0]);
    assert_eq!(claims(&bench.beat_with(3, None)), Some(vec![(U, vec![0])]));
}

#[test]
fn a_member_that_is_fenced_or_unknown_loses_everything_and_joins_when_the_program_has_nothing() {
    for code in [ErrorCode::FENCED_MEMBER_EPOCH, ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::GROUP_ID_NOT_FOUND]
    {
        let mut bench = Bench::inside(&[0, 1]);
        let id = bench.member.member_id.clone();
        bench.after(BEAT).beat_refused(code);
        assert_eq!(*bench.member.identity(), Identity::NONE);
        let Some(Action::Lost(lost)) = bench.next() else { panic!("nothing is lost") };
        assert_eq!(lost, all("t", &[0, 1]));
        assert!(bench.after(BEAT).next().is_none(), "the program still has them");
        bench.member.handle_done();
        let request = bench.beat_with(5, Some(&[(T, &[0])]));
        assert!(is_full(&request) && request.member_epoch == 0 && request.member_id == id);
        bench.assigned("t", &[0]);
    }
}

#[test]
fn what_is_being_revoked_is_not_lost_besides() {
    let mut bench = Bench::inside(&[0, 1]);
    bench.after(BEAT).beat_with(1, Some(&[(T, &[1])]));
    bench.told_to_revoke("t", &[0]);
    bench.after(BEAT).beat_refused(ErrorCode::UNKNOWN_MEMBER_ID);
    bench.rests();
    bench.member.handle_done();
    bench.lost(&[1]);
    assert_eq!(claims(&bench.beat_with(1, None)), Some(Vec::new()));
}

#[test]
fn an_answer_that_is_lost_makes_the_next_heartbeat_say_everything() {
    let mut bench = Bench::inside(&[0]);
    assert!(is_sparse(&bench.after(BEAT).beat_lost()));
    let request = bench.beat_with(2, Some(&[(T, &[0])]));
    assert!(is_full(&request));
    assert_eq!((request.member_epoch, claims(&request)), (1, Some(vec![(T, vec![0])])));
    bench.rests();
    assert!(is_sparse(&bench.after(BEAT).beat_with(2, None)));
}

#[test]
fn a_coordinator_that_moved_or_is_loading_is_asked_again() {
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT).beat_refused(ErrorCode::NOT_COORDINATOR);
    bench.rests();
    bench.now = bench.member.next_due().unwrap();
    assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
    bench.member.handle_coordinator(Ok(BrokerId(2)), bench.now);
    assert_eq!(bench.member.coordinator(), Some(BrokerId(2)));
    bench.beat_refused(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS);
    bench.rests();
    bench.now = bench.member.next_due().unwrap();
    assert!(is_full(&bench.beat_with(1, Some(&[(T, &[0])]))));
    bench.rests();
}

#[test]
fn a_subscription_that_changes_is_said_at_once_and_alone() {
    let mut bench = Bench::inside(&[0]);
    bench.subscribe(&["u", "t", "u"]);
    let request = bench.beat_with(1, None);
    assert_eq!(request.subscribed_topic_names, Some(vec!["t".into(), "u".into()]));
    assert_eq!((claims(&request), request.subscribed_topic_regex), (None, None));
    bench.rests();
    bench.subscribe(&["u", "t"]);
    bench.rests();
}

#[test]
fn a_pattern_goes_to_the_broker_and_is_taken_back_when_names_follow() {
    let mut bench = Bench::idle(None);
    bench.member.subscribe(Reads::Pattern("t.*".into()), bench.now);
    bench.find();
    let request = bench.beat_with(1, Some(&[]));
    assert_eq!(request.subscribed_topic_regex.as_deref(), Some("t.*"));
    assert_eq!(request.subscribed_topic_names, Some(Vec::new()));
    bench.assigned("t", &[]);
    bench.subscribe(&["t"]);
    let request = bench.beat_with(1, None);
    assert_eq!(request.subscribed_topic_regex.as_deref(), Some(""));
    assert_eq!(request.subscribed_topic_names, Some(vec!["t".into()]));
}

#[test]
fn what_the_broker_refuses_fails_with_what_to_do_and_the_member_leaves_in_good_order() {
    for (code, hint) in [
        (ErrorCode::UNSUPPORTED_ASSIGNOR, "group.remote.assignor"),
        (ErrorCode::INVALID_REGULAR_EXPRESSION, "RE2"),
        (ErrorCode::GROUP_MAX_SIZE_REACHED, "group.consumer.max.size"),
        (ErrorCode::UNSUPPORTED_VERSION, "`group.protocol` to `classic`"),
    ] {
        let mut bench = Bench::new(None);
        bench.beat_refused(code);
        let error = bench.failed();
        assert!(error.what_to_do().is_some_and(|text| text.contains(hint)), "{error}");
        assert!(bench.after(POLL).next().is_none() && bench.member.next_due().is_none());
        bench.subscribe(&["t"]);
        assert!(is_full(&bench.beat_with(1, None)), "a new subscription begins anew");
    }
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT).beat_refused(ErrorCode::INVALID_REGULAR_EXPRESSION);
    bench.told_to_revoke("t", &[0]);
    assert_eq!(bench.member.identity().generation, 1, "it may commit");
    bench.member.handle_done();
    bench.failed();
    assert_eq!(bench.beat_with(-1, None).member_epoch, -1);
    bench.rests();
}

#[test]
fn a_broker_without_the_protocol_is_told_apart() {
    let mut bench = Bench::new(None);
    let (attempt, _) = bench.heartbeat();
    bench.member.handle_heartbeat(attempt, Err(Error::new(ErrorKind::Unsupported, "no")), bench.now);
    let error = bench.failed();
    assert!(error.what_to_do().is_some_and(|text| text.contains("`classic`")), "{error}");
}

#[test]
fn a_static_member_waits_for_the_session_of_its_dead_self_and_no_longer() {
    let mut bench = Bench::new(Some("i"));
    assert_eq!(bench.beat_refused(ErrorCode::UNRELEASED_INSTANCE_ID).instance_id.as_deref(), Some("i"));
    bench.rests();
    bench.now = bench.member.next_due().unwrap();
    bench.beat_refused(ErrorCode::UNRELEASED_INSTANCE_ID);
    bench.after(UNRELEASED_PATIENCE).beat_refused(ErrorCode::UNRELEASED_INSTANCE_ID);
    let error = bench.failed();
    assert!(error.what_to_do().is_some_and(|text| text.contains("group.instance.id")), "{error}");

    let mut bench = Bench::new(Some("i"));
    bench.beat_refused(ErrorCode::UNRELEASED_INSTANCE_ID);
    bench.now = bench.member.next_due().unwrap();
    bench.beat_with(1, None);
    assert_eq!(bench.member.identity().generation, 1);
}

#[test]
fn a_fenced_instance_has_lost_everything_and_says_nothing_more() {
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT).beat_refused(ErrorCode::FENCED_INSTANCE_ID);
    bench.lost(&[0]);
    assert_eq!(bench.failed().code(), Some(ErrorCode::FENCED_INSTANCE_ID));
    bench.rests();
}

#[test]
fn a_member_that_leaves_lets_go_first_and_a_static_one_will_be_back() {
    for (instance_id, epoch) in [(None, -1), (Some("i"), -2)] {
        let mut bench = Bench::new(instance_id);
        bench.beat_with(1, Some(&[(T, &[0])]));
        bench.name(&[(T, "t")]);
        bench.assigned("t", &[0]);
        bench.beat_with(1, None);
        bench.member.leave();
        bench.told_to_revoke("t", &[0]);
        assert!(is_sparse(&bench.after(BEAT).beat_with(2, None)), "the program may take its time");
        assert_eq!(bench.member.identity().generation, 2);
        bench.member.handle_done();
        let (attempt, request) = bench.heartbeat();
        assert_eq!((request.member_epoch, request.instance_id.as_deref()), (epoch, instance_id));
        assert!(!bench.member.is_gone() && *bench.member.identity() == Identity::NONE);
        bench.answer(attempt, epoch, None);
        assert!(bench.next().is_none() && bench.member.is_gone());
    }
}

#[test]
fn who_leaves_while_it_joins_says_so_after_the_answer() {
    let mut bench = Bench::new(None);
    let (attempt, _) = bench.heartbeat();
    bench.member.leave();
    bench.rests();
    assert!(!bench.member.is_gone());
    bench.answer(attempt, 1, Some(&[(T, &[0])]));
    assert_eq!(bench.beat_with(-1, None).member_epoch, -1);
    assert!(bench.next().is_none() && bench.member.is_gone());

    let mut bench = Bench::new(None);
    bench.member.leave();
    assert!(bench.next().is_none() && bench.member.is_gone(), "it never was one");
}

#[test]
fn a_member_whose_coordinator_is_away_leaves_all_the_same() {
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT);
    let (attempt, _) = bench.heartbeat();
    bench.member.leave();
    bench.told_to_revoke("t", &[0]);
    bench.member.handle_heartbeat(attempt, Err(lost()), bench.now);
    bench.member.handle_done();
    assert!(bench.next().is_none() && bench.member.is_gone());
}

#[test]
fn a_member_that_is_looking_for_its_coordinator_leaves_when_that_is_found() {
    for found in [Ok(BrokerId(2)), Err(lost())] {
        let mut bench = Bench::inside(&[]);
        bench.after(BEAT).beat_refused(ErrorCode::NOT_COORDINATOR);
        bench.rests();
        bench.now = bench.member.next_due().unwrap();
        assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
        bench.member.leave();
        assert!(bench.next().is_none() && !bench.member.is_gone());
        let is_found = found.is_ok();
        bench.member.handle_coordinator(found, bench.now);
        if is_found {
            assert_eq!(bench.beat_with(-1, None).member_epoch, -1);
        }
        assert!(bench.next().is_none() && bench.member.is_gone());
    }
}

#[test]
fn a_program_without_progress_is_out_until_it_makes_some() {
    let mut bench = Bench::inside(&[0]);
    bench.after(POLL);
    let mut leave = None;
    let mut lost = None;
    while let Some(action) = bench.next() {
        match action {
            Action::ConsumerHeartbeat(attempt, request) => leave = Some((attempt, request.member_epoch)),
            Action::Lost(partitions) => lost = Some(partitions),
            other => panic!("{other:?}"),
        }
    }
    let (attempt, epoch) = leave.unwrap();
    assert_eq!((epoch, lost), (-1, Some(all("t", &[0]))));
    bench.member.progressed(bench.now);
    bench.member.handle_done();
    assert_eq!(bench.failed().kind(), ErrorKind::MaxPollExceeded);
    bench.rests();
    bench.answer(attempt, -1, None);
    let request = bench.beat_with(3, Some(&[]));
    assert!(is_full(&request) && request.member_epoch == 0, "it joins when it has left");
    assert_eq!(bench.member.identity().generation, 3);
}

#[test]
fn an_answer_from_before_it_was_out_does_not_bring_it_back() {
    let mut bench = Bench::inside(&[]);
    bench.after(BEAT);
    let (attempt, _) = bench.heartbeat();
    assert_eq!(bench.after(POLL).failed().kind(), ErrorKind::MaxPollExceeded);
    bench.member.progressed(bench.now);
    bench.answer(attempt, 7, Some(&[(T, &[0])]));
    assert_eq!(*bench.member.identity(), Identity::NONE);
    assert_eq!(bench.beat_with(-1, None).member_epoch, -1);
    assert_eq!(bench.beat_with(8, Some(&[])).member_epoch, 0);
}

#[test]
fn a_commit_that_is_refused_makes_it_ask_where_it_stands() {
    let mut bench = Bench::inside(&[0]);
    let sent = bench.member.identity().clone();
    bench.member.handle_commit_refused(&sent, ErrorCode::STALE_MEMBER_EPOCH, bench.now);
    assert!(is_sparse(&bench.beat_with(2, None)));
    bench.member.handle_commit_refused(&sent, ErrorCode::UNKNOWN_MEMBER_ID, bench.now);
    bench.rests();
    let sent = bench.member.identity().clone();
    bench.member.handle_commit_refused(&sent, ErrorCode::NOT_COORDINATOR, bench.now);
    assert_eq!(bench.member.coordinator(), None);
}

#[test]
fn answers_to_what_is_over_change_nothing() {
    let mut bench = Bench::inside(&[0]);
    bench.after(BEAT);
    let (old, _) = bench.heartbeat();
    bench.member.handle_heartbeat(old, Err(lost()), bench.now);
    bench.answer(old, 9, Some(&[]));
    assert_eq!(bench.member.identity().generation, 1);
    assert_eq!(bench.member.owned(), all("t", &[0]));
}

/// Whatever the coordinator says, and the program does when: the program is told of nothing that it has not, and of
/// nothing twice; what it has is in every heartbeat that says what the member has; one that has nothing to do sleeps.
#[test]
fn under_any_answers_the_program_hears_a_story_that_holds_together() {
    let codes = [
        ErrorCode::FENCED_MEMBER_EPOCH,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::GROUP_ID_NOT_FOUND,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
        ErrorCode::UNRELEASED_INSTANCE_ID,
        ErrorCode::INVALID_REGULAR_EXPRESSION,
        ErrorCode::FENCED_INSTANCE_ID,
    ];
    let (mut assignments, mut losses, mut revocations, mut failures) = (0, 0, 0, 0);
    for seed in 0..1000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut bench = Bench::new(random.bool().then_some("i"));
        let mut has: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut told: Vec<TopicPartition> = Vec::new();
        let mut is_told = false;
        let mut in_flight = None;
        let mut epoch = 0;
        for _ in 0..200 {
            if is_told && random.bool() {
                told.drain(..).for_each(|tp| assert!(has.remove(&tp), "seed {seed}: {tp} is not there"));
                bench.member.handle_done();
                is_told = false;
            }
            if random.u8(..20) == 0 {
                let topics = if random.bool() { vec!["t".into()] } else { vec!["t".into(), "u".into()] };
                bench.member.subscribe(Reads::Topics(topics), bench.now);
            }
            if random.u8(..4) != 0 {
                bench.member.progressed(bench.now);
            }
            if let Some((attempt, leaves)) = in_flight
                && random.u8(..3) != 0
            {
                in_flight = None;
                epoch += random.i32(0..3);
                match random.u8(..12) {
                    0 => bench.member.handle_heartbeat(attempt, Err(lost()), bench.now),
                    1..3 => {
                        let error_code = codes[random.usize(..codes.len())];
                        let response = ConsumerGroupHeartbeatResponse { error_code, ..Default::default() };
                        bench.member.handle_heartbeat(attempt, Ok(response), bench.now);
                    }
                    _ if leaves => bench.answer(attempt, -1, None),
                    3..6 => bench.answer(attempt, epoch.max(1), None),
                    _ => {
                        let mut some = || (0..4).filter(|_| random.bool()).collect::<Vec<i32>>();
                        let (of_t, of_u) = (some(), some());
                        bench.answer(attempt, epoch.max(1), Some(&[(T, &of_t), (U, &of_u)]));
                    }
                }
            }
            match bench.next() {
                None => {
                    let due = bench.member.next_due();
                    assert!(due.is_none_or(|due| due > bench.now), "seed {seed}: it would spin");
                    match due {
                        Some(due) if random.u8(..8) != 0 => bench.now = due,
                        _ => bench.now += Duration::from_millis(random.u64(..400_000)),
                    }
                }
                Some(Action::FindCoordinator) => {
                    let found = if random.bool() { Ok(BrokerId(1)) } else { Err(lost()) };
                    bench.member.handle_coordinator(found, bench.now);
                }
                Some(Action::ConsumerHeartbeat(attempt, request)) => {
                    assert!(in_flight.is_none(), "seed {seed}: two heartbeats at once");
                    in_flight = Some((attempt, request.member_epoch < 0));
                    let ids = |tp: &TopicPartition| (if *tp.topic == *"t" { T } else { U }, tp.partition);
                    if let Some(claims) = claims(&request) {
                        let claimed: BTreeSet<Held> = claims
                            .into_iter()
                            .flat_map(|(id, all)| all.into_iter().map(move |p| (id, p)))
                            .collect();
                        let unclaimed = has.iter().find(|tp| !claimed.contains(&ids(tp)));
                        assert!(unclaimed.is_none(), "seed {seed}: {unclaimed:?} is given up too early");
                    }
                    assert!(
                        request.member_epoch != 0 || has.is_empty(),
                        "seed {seed}: it joins with {has:?}"
                    );
                }
                Some(Action::NameTopics(ids)) => {
                    let name = |id: Uuid| (id, if id == T { "t" } else { "u" }.into());
                    let found: Vec<_> = ids.into_iter().filter(|_| random.bool()).map(name).collect();
                    bench.member.handle_names(found, bench.now);
                }
                Some(Action::Revoke(partitions)) => {
                    assert!(!is_told && !partitions.is_empty(), "seed {seed}");
                    (is_told, told, revocations) = (true, partitions, revocations + 1);
                }
                Some(Action::Lost(partitions)) => {
                    assert!(!is_told, "seed {seed}");
                    assert_eq!(partitions.len(), has.len(), "seed {seed}: some are lost and others not");
                    (is_told, told, losses) = (true, partitions, losses + 1);
                }
                Some(Action::Assign(partitions)) => {
                    assert!(!is_told && in_flight.is_none_or(|_| !bench.member.is_unsure), "seed {seed}");
                    assert!(partitions.into_iter().all(|tp| has.insert(tp)), "seed {seed}: given twice");
                    (is_told, assignments) = (true, assignments + 1);
                }
                Some(Action::Fail(_)) => {
                    failures += 1;
                    bench.member.subscribe(Reads::Topics(vec!["t".into()]), bench.now);
                }
                Some(other) => panic!("seed {seed}: {other:?}"),
            }
        }
    }
    let counts = [assignments, losses, revocations, failures];
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
}
