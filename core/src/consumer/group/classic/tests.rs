//! A member on a bench: what it says, whatever it hears.

use std::time::Duration;

use ottla_protocol::messages::join_group::JoinGroupResponseMember;

use super::*;
use crate::{cluster::retry::Backoff, error::ErrorKind};

const SESSION: Duration = Duration::from_secs(45);
const BEAT: Duration = Duration::from_secs(3);
const POLL: Duration = Duration::from_secs(300);

struct Bench {
    member: ClassicMember,
    now: Instant,
}

impl Bench {
    /// A member that has found its coordinator.
    fn new(assignors: &[Assignor], instance_id: Option<&str>) -> Self {
        let now = Instant::now();
        let settings = MemberSettings {
            group: "g".into(),
            instance_id: instance_id.map(Str::from),
            assignors: assignors.to_vec(),
            session_timeout: SESSION,
            heartbeat_interval: BEAT,
            max_poll_interval: POLL,
            rack: None,
            remote_assignor: None,
            backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) },
        };
        let mut member = ClassicMember::new(settings, fastrand::Rng::with_seed(7), now);
        assert!(member.poll(now).is_none(), "nothing is subscribed");
        member.subscribe(["t".into()], now);
        let mut bench = Self { member, now };
        assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
        bench.member.handle_coordinator(Ok(BrokerId(1)), now);
        bench
    }

    fn next(&mut self) -> Option<Action> {
        self.member.poll(self.now)
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn join(&mut self) -> (u64, JoinGroupRequest) {
        match self.next() {
            Some(Action::Join(attempt, request)) => (attempt, request),
            other => panic!("it does not join: {other:?}"),
        }
    }

    fn joined(&mut self, attempt: u64, code: ErrorCode, generation_id: i32) {
        let assignor = self.member.settings.assignors[0].name();
        let response = JoinGroupResponse {
            error_code: code,
            generation_id,
            member_id: "m".into(),
            leader: "other".into(),
            protocol_name: Some(assignor.into()),
            ..Default::default()
        };
        self.member.handle_join(attempt, Ok(response), self.now);
    }

    fn synced(&mut self, code: ErrorCode, partitions: &[i32]) {
        let Some(Action::Sync(attempt, _)) = self.next() else { panic!("it does not sync") };
        let assignment = write_assignment(&all(partitions)).unwrap();
        let response = SyncGroupResponse { error_code: code, assignment, ..Default::default() };
        self.member.handle_sync(attempt, Ok(response), self.now);
    }

    /// A whole rebalance, up to what the program is told.
    fn rebalance(&mut self, generation: i32, partitions: &[i32]) {
        let (attempt, _) = self.join();
        self.joined(attempt, ErrorCode::NONE, generation);
        self.synced(ErrorCode::NONE, partitions);
    }

    fn assigned(&mut self, partitions: &[i32]) {
        let Some(Action::Assign(assigned)) = self.next() else { panic!("nothing is assigned") };
        assert_eq!(assigned, all(partitions));
        self.member.handle_done();
    }

    fn revoked(&mut self, partitions: &[i32]) {
        let Some(Action::Revoke(revoked)) = self.next() else { panic!("nothing is revoked") };
        assert_eq!(revoked, all(partitions));
        self.member.handle_done();
    }

    fn lost(&mut self, partitions: &[i32]) {
        let Some(Action::Lost(lost)) = self.next() else { panic!("nothing is lost") };
        assert_eq!(lost, all(partitions));
        self.member.handle_done();
    }

    fn beat(&mut self, code: ErrorCode) {
        let Some(Action::Heartbeat(request)) = self.next() else { panic!("no heartbeat") };
        let sent = self.member.identity().clone();
        assert_eq!((request.generation_id, &request.member_id), (sent.generation, &sent.member_id));
        self.member.handle_heartbeat(&sent, Ok(code), self.now);
    }

    fn stable(assignor: Assignor, partitions: &[i32]) -> Self {
        let mut bench = Self::new(&[assignor], None);
        bench.rebalance(1, partitions);
        bench.assigned(partitions);
        assert!(bench.next().is_none());
        bench
    }
}

fn all(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|&partition| TopicPartition::new("t", partition)).collect()
}

#[test]
fn an_eager_member_lets_go_of_everything_before_it_joins_again() {
    let mut bench = Bench::stable(Assignor::Range, &[0, 1]);
    bench.after(BEAT).beat(ErrorCode::REBALANCE_IN_PROGRESS);
    bench.revoked(&[0, 1]);
    bench.rebalance(2, &[1, 2]);
    bench.assigned(&[1, 2]);
    assert_eq!(bench.member.owned().cloned().collect::<Vec<_>>(), all(&[1, 2]));
}

#[test]
fn a_cooperative_member_keeps_what_it_may_and_joins_again_for_the_rest() {
    let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0, 1]);
    bench.after(BEAT).beat(ErrorCode::REBALANCE_IN_PROGRESS);
    let (attempt, request) = bench.join();
    let told = Subscription::read(request.protocols[0].metadata.clone()).unwrap();
    assert_eq!((told.owned, told.generation), (all(&[0, 1]), Some(1)));
    bench.joined(attempt, ErrorCode::NONE, 2);
    bench.synced(ErrorCode::NONE, &[1, 2]);
    bench.revoked(&[0]);
    bench.assigned(&[2]);
    let (_, again) = bench.join();
    let told = Subscription::read(again.protocols[0].metadata.clone()).unwrap();
    assert_eq!((told.owned, told.generation), (all(&[1, 2]), Some(2)));
}

#[test]
fn one_assignor_that_is_not_cooperative_makes_the_member_eager() {
    let mut bench = Bench::new(&[Assignor::Range, Assignor::CooperativeSticky], None);
    bench.rebalance(1, &[0]);
    bench.assigned(&[0]);
    bench.member.request_rejoin("topics came");
    bench.revoked(&[0]);
    assert_eq!(bench.join().1.protocols.len(), 2);
}

#[test]
fn a_leader_divides_for_all() {
    let mut bench = Bench::new(&[Assignor::RoundRobin], None);
    let (attempt, request) = bench.join();
    let metadata = request.protocols[0].metadata.clone();
    let member = |id: &str| JoinGroupResponseMember {
        member_id: id.into(),
        metadata: metadata.clone(),
        ..Default::default()
    };
    let response = JoinGroupResponse {
        generation_id: 1,
        member_id: "m".into(),
        leader: "m".into(),
        protocol_name: Some("roundrobin".into()),
        members: vec![member("m"), member("n")],
        ..Default::default()
    };
    bench.member.handle_join(attempt, Ok(response), bench.now);
    let Some(Action::Divide(attempt, assignor, members)) = bench.next() else { panic!("not the leader") };
    assert_eq!(members.iter().map(|member| &*member.id).collect::<Vec<_>>(), ["m", "n"]);
    assert_eq!(members[1].subscription.topics, [TopicName::from("t")]);
    bench.member.handle_divided(attempt, assignor, &[all(&[0]), all(&[1])]);
    let Some(Action::Sync(_, sync)) = bench.next() else { panic!("it does not sync") };
    assert_eq!((sync.generation_id, sync.assignments.len()), (1, 2));
    assert_eq!(read_assignment(sync.assignments[1].assignment.clone()).unwrap(), all(&[1]));
}

#[test]
fn a_member_id_is_taken_and_sent_at_once() {
    let mut bench = Bench::new(&[Assignor::Range], None);
    let (attempt, request) = bench.join();
    assert!(request.member_id.is_empty());
    bench.joined(attempt, ErrorCode::MEMBER_ID_REQUIRED, -1);
    assert_eq!(bench.join().1.member_id, "m");
}

#[test]
fn a_member_that_is_not_known_any_more_has_lost_everything_and_joins_as_a_new_one() {
    let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0, 1]);
    bench.after(BEAT).beat(ErrorCode::UNKNOWN_MEMBER_ID);
    bench.lost(&[0, 1]);
    let (_, request) = bench.join();
    assert!(request.member_id.is_empty());
    let told = Subscription::read(request.protocols[0].metadata.clone()).unwrap();
    assert_eq!((told.owned, told.generation), (Vec::new(), None));
}

#[test]
fn a_member_of_an_old_generation_keeps_its_id() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    let sent = bench.member.identity().clone();
    bench.member.handle_commit_refused(&sent, ErrorCode::ILLEGAL_GENERATION, bench.now);
    bench.lost(&[0]);
    assert_eq!(bench.join().1.member_id, "m");
}

#[test]
fn heartbeats_go_on_while_the_program_takes_its_time() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    bench.member.request_rejoin("topics came");
    assert!(matches!(bench.next(), Some(Action::Revoke(_))));
    for _ in 0..10 {
        assert!(bench.next().is_none());
        let due = bench.member.next_due().unwrap();
        assert_eq!(due, bench.now + BEAT);
        bench.now = due;
        bench.beat(ErrorCode::NONE);
    }
    bench.member.handle_done();
    bench.join();
}

#[test]
fn a_program_without_progress_is_out_until_it_makes_some() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    bench.after(POLL);
    let Some(Action::Leave(leave)) = bench.next() else { panic!("it stays") };
    assert_eq!(leave.members[0].member_id, "m");
    bench.lost(&[0]);
    let Some(Action::Fail(error)) = bench.next() else { panic!("the program is not told") };
    assert_eq!(error.kind(), ErrorKind::MaxPollExceeded);
    assert!(error.to_string().contains("no records for 300000 ms"), "{error}");
    assert!(bench.after(POLL).next().is_none());
    assert_eq!(bench.member.next_due(), None);
    bench.member.progressed(bench.now);
    assert!(bench.join().1.member_id.is_empty());
}

#[test]
fn one_that_is_out_says_so_while_the_program_still_lets_go() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    bench.member.request_rejoin("topics came");
    assert!(matches!(bench.next(), Some(Action::Revoke(_))));
    bench.after(POLL);
    assert!(matches!(bench.next(), Some(Action::Leave(_))));
    assert!(bench.next().is_none(), "the rest comes when the program is done");
    bench.member.handle_done();
    assert!(matches!(bench.next(), Some(Action::Fail(_))), "there is nothing left to lose");
    assert_eq!(bench.member.owned().count(), 0);
}

#[test]
fn a_program_that_asks_or_waits_stays() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    bench.now += POLL;
    bench.member.active_at(bench.now - BEAT);
    bench.member.active_at(bench.now - POLL);
    // Nothing was heard of the coordinator for all that time; of the program there was.
    assert!(bench.next().is_none());
    assert_eq!(bench.member.identity().generation, 1, "time goes forward");
    bench.after(POLL - BEAT).lost(&[0]);
}

#[test]
fn a_commit_refused_while_it_joins_is_of_the_round_before() {
    let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0]);
    bench.member.request_rejoin("topics came");
    let (attempt, _) = bench.join();
    let sent = bench.member.identity().clone();
    bench.member.handle_commit_refused(&sent, ErrorCode::ILLEGAL_GENERATION, bench.now);
    assert_eq!(*bench.member.identity(), sent);
    bench.joined(attempt, ErrorCode::NONE, 2);
    bench.synced(ErrorCode::NONE, &[0]);
    bench.assigned(&[]);
}

#[test]
fn a_coordinator_that_moved_is_looked_up_and_told_at_once_that_the_member_lives() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    bench.after(BEAT).beat(ErrorCode::NOT_COORDINATOR);
    assert!(bench.next().is_none(), "after a while");
    bench.now = bench.member.next_due().unwrap();
    assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
    bench.member.handle_coordinator(Ok(BrokerId(2)), bench.now);
    assert_eq!(bench.member.coordinator(), Some(BrokerId(2)));
    bench.after(BEAT).beat(ErrorCode::NONE);
    assert!(bench.next().is_none(), "it is where it was");
}

#[test]
fn a_coordinator_that_says_nothing_for_a_session_is_looked_up_again() {
    let mut bench = Bench::stable(Assignor::Range, &[0]);
    assert!(matches!(bench.after(BEAT).next(), Some(Action::Heartbeat(_))));
    assert!(bench.next().is_none(), "one at a time");
    bench.after(SESSION);
    assert!(bench.next().is_none());
    bench.now = bench.member.next_due().unwrap();
    assert!(matches!(bench.next(), Some(Action::FindCoordinator)));
}

#[test]
fn a_member_that_leaves_lets_go_first_and_a_static_one_says_nothing() {
    let mut bench = Bench::stable(Assignor::CooperativeSticky, &[0]);
    bench.member.leave();
    assert!(!bench.member.is_gone());
    bench.revoked(&[0]);
    assert!(matches!(bench.next(), Some(Action::Leave(_))));
    assert!(bench.member.is_gone() && bench.next().is_none());

    let mut bench = Bench::new(&[Assignor::Range], Some("i"));
    bench.rebalance(1, &[]);
    bench.assigned(&[]);
    bench.member.leave();
    assert!(bench.next().is_none() && bench.member.is_gone());
}

#[test]
fn a_static_member_that_missed_a_round_has_lost_what_it_had_before_it() {
    let mut bench = Bench::new(&[Assignor::CooperativeSticky], Some("i"));
    bench.rebalance(1, &[0, 1]);
    bench.assigned(&[0, 1]);
    bench.member.request_rejoin("topics came");
    let (attempt, _) = bench.join();
    bench.joined(attempt, ErrorCode::NONE, 3);
    assert_eq!(bench.member.identity().generation, -1, "it cannot commit over others");
    bench.lost(&[0, 1]);
    let (attempt, again) = bench.join();
    let told = Subscription::read(again.protocols[0].metadata.clone()).unwrap();
    assert_eq!((told.owned, told.generation, &*again.member_id), (Vec::new(), None, "m"));
    bench.joined(attempt, ErrorCode::NONE, 4);
    bench.synced(ErrorCode::NONE, &[1]);
    bench.assigned(&[1]);
}

#[test]
fn a_fenced_member_fails_once_and_stays_out() {
    let mut bench = Bench::new(&[Assignor::Range], Some("i"));
    bench.rebalance(1, &[0]);
    bench.assigned(&[0]);
    bench.after(BEAT).beat(ErrorCode::FENCED_INSTANCE_ID);
    bench.lost(&[0]);
    let Some(Action::Fail(error)) = bench.next() else { panic!("it does not fail") };
    assert_eq!(error.code(), Some(ErrorCode::FENCED_INSTANCE_ID), "{error}");
    assert!(bench.after(POLL).next().is_none());
    assert_eq!(bench.member.next_due(), None);
}

#[test]
fn answers_to_what_is_over_change_nothing() {
    let mut bench = Bench::new(&[Assignor::Range], None);
    let (old, _) = bench.join();
    bench.joined(old, ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, -1);
    bench.now = bench.member.next_due().unwrap();
    let (attempt, _) = bench.join();
    bench.joined(old, ErrorCode::NONE, 5);
    assert_eq!(bench.member.identity().generation, -1);
    bench.joined(attempt, ErrorCode::NONE, 6);
    bench.synced(ErrorCode::NONE, &[0]);
    bench.assigned(&[0]);
    let stale = Identity { generation: 5, member_id: "m".into() };
    bench.member.handle_heartbeat(&stale, Ok(ErrorCode::UNKNOWN_MEMBER_ID), bench.now);
    bench.member.handle_commit_refused(&stale, ErrorCode::UNKNOWN_MEMBER_ID, bench.now);
    assert_eq!(bench.member.identity().generation, 6);
}

/// Whatever the coordinator says, and the program does when: the program is told of nothing that it has not, and of
/// nothing twice; one that has nothing to do sleeps.
#[test]
fn under_any_answers_the_program_hears_a_story_that_holds_together() {
    let codes = [
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::REBALANCE_IN_PROGRESS,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::ILLEGAL_GENERATION,
        ErrorCode::MEMBER_ID_REQUIRED,
        ErrorCode::NOT_COORDINATOR,
        ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
    ];
    let (mut assignments, mut losses, mut joins) = (0, 0, 0);
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let assignor = if random.bool() { Assignor::CooperativeSticky } else { Assignor::Range };
        let mut bench = Bench::new(&[assignor], None);
        let mut has: BTreeSet<TopicPartition> = BTreeSet::new();
        let mut is_told = false;
        let mut generation = 0;
        let mut last_join = 0;
        for _ in 0..200 {
            if is_told && random.bool() {
                bench.member.handle_done();
                is_told = false;
            }
            if random.u8(..20) == 0 {
                bench.member.request_rejoin("topics came");
            }
            if random.u8(..4) != 0 {
                bench.member.progressed(bench.now);
            }
            let code = codes[random.usize(..codes.len())];
            let lost = || Error::new(ErrorKind::Disconnected, "on its way");
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
                Some(Action::Join(attempt, _)) => {
                    assert!(attempt > last_join && !is_told, "seed {seed}");
                    if assignor == Assignor::Range {
                        assert!(has.is_empty(), "seed {seed}: an eager member joins with {has:?}");
                    }
                    (last_join, joins) = (attempt, joins + 1);
                    generation += 1;
                    match random.u8(..6) {
                        0 => bench.member.handle_join(attempt, Err(lost()), bench.now),
                        _ => bench.joined(attempt, code, generation),
                    }
                }
                Some(Action::Sync(attempt, _)) => {
                    let given: Vec<i32> = (0..6).filter(|_| random.bool()).collect();
                    let assignment = write_assignment(&all(&given)).unwrap();
                    let response = SyncGroupResponse { error_code: code, assignment, ..Default::default() };
                    // No coordinator asks a member that it knows for an id.
                    let is_sane = code != ErrorCode::MEMBER_ID_REQUIRED;
                    let answer = if is_sane { Ok(response) } else { Err(lost()) };
                    bench.member.handle_sync(attempt, answer, bench.now);
                }
                Some(Action::Heartbeat(_)) => {
                    let sent = bench.member.identity().clone();
                    let is_sane = code != ErrorCode::MEMBER_ID_REQUIRED;
                    let answer = if is_sane { Ok(code) } else { Err(lost()) };
                    bench.member.handle_heartbeat(&sent, answer, bench.now);
                }
                Some(Action::Revoke(partitions)) => {
                    assert!(!is_told && !partitions.is_empty(), "seed {seed}");
                    assert!(partitions.iter().all(|tp| has.remove(tp)), "seed {seed}");
                    is_told = true;
                }
                Some(Action::Lost(partitions)) => {
                    assert!(!is_told && partitions.iter().all(|tp| has.remove(tp)), "seed {seed}");
                    assert!(has.is_empty(), "seed {seed}: some are lost and others not");
                    (is_told, losses) = (true, losses + 1);
                }
                Some(Action::Assign(partitions)) => {
                    assert!(!is_told && partitions.into_iter().all(|tp| has.insert(tp)), "seed {seed}");
                    (is_told, assignments) = (true, assignments + 1);
                }
                Some(Action::Leave(_) | Action::Fail(_)) => {}
                Some(other) => panic!("seed {seed}: {other:?}"),
            }
        }
    }
    assert!(assignments > 1_000 && losses > 1_000 && joins > 1_000, "{assignments} {losses} {joins}");
}
