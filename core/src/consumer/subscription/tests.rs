//! Both sides of a subscription, without I/O.

use std::time::Duration;

use ottla_protocol::{
    compression::Compressor,
    record::{BatchBuilder, Headers, Seal},
};

use super::*;

const MAX: usize = 1 << 20;
const MARKS: Watermarks = Watermarks { low: 0, high: 1_000 };

fn subscription(reset: Option<OffsetSpec>, budget_bytes: usize) -> Subscription {
    let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
    Subscription::new(reset, budget_bytes, backoff, fastrand::Rng::with_seed(1))
}

fn tp(partition: i32) -> TopicPartition {
    TopicPartition::new("orders", partition)
}

fn batch(base_offset: i64, count: u32) -> AnyBatch {
    batch_of(0, base_offset, count)
}

/// A batch that the leader of this epoch wrote.
fn batch_of(partition_leader_epoch: i32, base_offset: i64, count: u32) -> AnyBatch {
    let mut builder = BatchBuilder::new(Vec::new(), 1 << 20);
    for _ in 0..count {
        builder.push(0, None, Some(b"value"), Headers::NONE).unwrap();
    }
    let seal = Seal { base_offset, partition_leader_epoch, ..Seal::default() };
    AnyBatch::Batch(builder.seal(&seal, &mut Compressor::new()).unwrap())
}

/// An offset of which no epoch is known.
fn to(offset: i64) -> Reached {
    Reached { offset, epoch: None }
}

/// Partition 0 of `orders`, at offset `at`.
fn at(at: i64) -> Subscription {
    let mut subscription = subscription(Some(OffsetSpec::Earliest), 64 * MAX);
    subscription.assign([tp(0)]).unwrap();
    subscription.seek(&tp(0), to(at)).unwrap();
    subscription
}

/// Fetches what is to be fetched, which must be from `offset`, and hands `batches` in.
fn fetch(subscription: &mut Subscription, offset: i64, batches: Vec<(AnyBatch, bool)>) {
    let to_fetch = subscription.fetchable(MAX, Instant::now());
    assert_eq!(to_fetch.iter().map(|t| t.offset).collect::<Vec<_>>(), [offset]);
    let reserved = subscription.begin_fetch(&to_fetch, MAX);
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty(), "one fetch is under way at a time");
    subscription.hand_in(&to_fetch[0], batches, MARKS);
    subscription.end_fetch(&to_fetch, reserved);
}

fn take(subscription: &mut Subscription) -> (i64, i64) {
    let taken = subscription.take().unwrap().unwrap();
    assert!(subscription.settle(&taken, None, true));
    (taken.fetched.from, taken.fetched.next)
}

#[test]
fn fetching_runs_ahead_of_the_position() {
    let mut subscription = at(5);
    fetch(&mut subscription, 5, vec![(batch(0, 10), true), (batch(10, 10), true)]);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(5));
    assert_eq!(take(&mut subscription), (5, 10));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(10));
    fetch(&mut subscription, 20, vec![(batch(20, 1), true)]);
    assert_eq!(take(&mut subscription), (10, 20));
    assert_eq!(take(&mut subscription), (20, 21));
    assert!(subscription.take().is_none());
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn a_fetch_that_brings_nothing_is_no_revision_and_all_else_is() {
    let mut subscription = at(0);
    let mut seen = subscription.revision();
    let mut changes = |subscription: &Subscription| {
        let changes = subscription.revision() != seen;
        seen = subscription.revision();
        changes
    };
    fetch(&mut subscription, 0, vec![]);
    assert!(!changes(&subscription));
    fetch(&mut subscription, 0, vec![(batch(0, 10), true)]);
    assert!(changes(&subscription), "fetching goes on behind it");
    take(&mut subscription);
    assert!(changes(&subscription), "there is room again");
    subscription.set_paused(&tp(0), true).unwrap();
    assert!(changes(&subscription));
    subscription.seek(&tp(0), to(5)).unwrap();
    assert!(changes(&subscription));
    subscription.set_paused(&tp(0), false).unwrap();
    changes(&subscription);
    let now = Instant::now();
    let to_fetch = subscription.fetchable(MAX, now);
    assert!(!changes(&subscription), "to look changes nothing");
    subscription.prefer(&to_fetch[0], BrokerId(2), now + Duration::from_secs(9));
    assert!(changes(&subscription));
    assert_eq!(
        subscription.next_timeout(now),
        Some(now + Duration::from_secs(9)),
        "then the leader is asked again"
    );
    subscription.failed(&to_fetch[0], None, now);
    assert!(changes(&subscription));
    subscription.assign([]).unwrap();
    assert!(changes(&subscription));
}

#[test]
fn a_position_is_looked_for_where_the_policy_says() {
    let mut subscription = subscription(Some(OffsetSpec::Latest), MAX);
    subscription.assign([tp(0)]).unwrap();
    let now = Instant::now();
    assert!(subscription.fetchable(MAX, now).is_empty());
    let unknown = subscription.poll_unknown(now);
    assert_eq!((unknown.len(), unknown[0].2), (1, OffsetSpec::Latest));
    assert!(subscription.poll_unknown(now).is_empty(), "asked once");
    subscription.found(&tp(0), unknown[0].1, Ok(42), now);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(42));
}

#[test]
fn a_seek_drops_what_was_asked_for_before() {
    let mut subscription = at(0);
    let stale = subscription.fetchable(MAX, Instant::now());
    let reserved = subscription.begin_fetch(&stale, MAX);
    subscription.seek(&tp(0), to(500)).unwrap();
    subscription.hand_in(&stale[0], [(batch(0, 10), true)], MARKS);
    subscription.end_fetch(&stale, reserved);
    assert!(!subscription.has_buffered());
    fetch(&mut subscription, 500, vec![(batch(500, 1), true)]);
    assert_eq!(take(&mut subscription), (500, 501));
}

#[test]
fn a_seek_while_a_batch_is_opened_takes_it_back() {
    let mut subscription = at(0);
    fetch(&mut subscription, 0, vec![(batch(0, 10), true)]);
    let taken = subscription.take().unwrap().unwrap();
    subscription.seek(&tp(0), to(3)).unwrap();
    assert!(!subscription.settle(&taken, None, true));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(3));
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn the_rest_of_a_batch_comes_next() {
    let mut subscription = at(0);
    fetch(&mut subscription, 0, vec![(batch(0, 10), true), (batch(10, 1), true)]);
    let taken = subscription.take().unwrap().unwrap();
    let rest = Fetched { from: 4, ..taken.fetched.clone() };
    assert!(subscription.settle(&taken, Some(rest), true));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(4));
    assert_eq!(take(&mut subscription), (4, 10));
    assert_eq!(take(&mut subscription), (10, 11));
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn hidden_batches_move_the_position() {
    let mut subscription = at(0);
    fetch(&mut subscription, 0, vec![(batch(0, 3), false), (batch(3, 2), true), (batch(5, 1), false)]);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(3));
    assert_eq!(take(&mut subscription), (3, 6));
    fetch(&mut subscription, 6, vec![(batch(6, 1), false)]);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(7));
}

#[test]
fn a_held_partition_keeps_what_it_has_and_fetches_no_more() {
    let mut subscription = at(0);
    fetch(&mut subscription, 0, vec![(batch(0, 10), true)]);
    subscription.set_paused(&tp(0), true).unwrap();
    assert!(subscription.take().is_none());
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty());
    subscription.set_paused(&tp(0), false).unwrap();
    assert_eq!(take(&mut subscription), (0, 10));
}

#[test]
fn partitions_take_turns() {
    let mut subscription = subscription(Some(OffsetSpec::Earliest), 64 * MAX);
    subscription.assign([tp(0), tp(1)]).unwrap();
    for partition in 0..2 {
        subscription.seek(&tp(partition), to(0)).unwrap();
    }
    let to_fetch = subscription.fetchable(MAX, Instant::now());
    let reserved = subscription.begin_fetch(&to_fetch, MAX);
    for fetched in &to_fetch {
        subscription.hand_in(fetched, [(batch(0, 1), true), (batch(1, 1), true)], MARKS);
    }
    subscription.end_fetch(&to_fetch, reserved);
    let mut order = Vec::new();
    while let Some(taken) = subscription.take() {
        let taken = taken.unwrap();
        order.push(taken.partition.partition);
        subscription.settle(&taken, None, true);
    }
    assert_ne!(order[0], order[1]);
    assert_eq!(order[..2], order[2..]);
}

#[test]
fn the_budget_bounds_what_is_buffered() {
    let mut subscription = subscription(Some(OffsetSpec::Earliest), 1_000);
    subscription.assign([tp(0)]).unwrap();
    subscription.seek(&tp(0), to(0)).unwrap();
    let to_fetch = subscription.fetchable(MAX, Instant::now());
    assert_eq!(subscription.begin_fetch(&to_fetch, MAX), 1_000, "no more than the budget");
    subscription.hand_in(&to_fetch[0], [(batch(0, 100), true)], MARKS);
    subscription.end_fetch(&to_fetch, 1_000);
    assert!(subscription.used_bytes() > 1_000, "a first batch larger than that still comes");
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty());
    take(&mut subscription);
    assert_eq!(subscription.fetchable(MAX, Instant::now()).len(), 1);
}

#[test]
fn an_offset_out_of_range_is_reset_or_told() {
    let now = Instant::now();
    let mut reset = at(500);
    let to_fetch = reset.fetchable(MAX, now);
    reset.out_of_range(&to_fetch[0], "", now);
    assert_eq!(reset.poll_unknown(now).len(), 1);

    let mut none = subscription(None, MAX);
    none.assign([tp(0)]).unwrap();
    none.seek(&tp(0), to(500)).unwrap();
    let to_fetch = none.fetchable(MAX, now);
    none.out_of_range(&to_fetch[0], "", now);
    let error = none.take().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoOffset, "{error}");
    assert!(none.take().is_none(), "told once");
    assert!(none.fetchable(MAX, now).is_empty());
    none.seek(&tp(0), to(0)).unwrap();
    assert_eq!(none.fetchable(MAX, now).len(), 1);
}

#[test]
fn without_position_and_policy_the_program_is_told_once() {
    let mut none = subscription(None, MAX);
    none.assign([tp(0)]).unwrap();
    assert_eq!(none.take().unwrap().unwrap_err().kind(), ErrorKind::NoOffset);
    assert!(none.take().is_none());
    none.assign([tp(1)]).unwrap();
    none.seek(&tp(1), to(0)).unwrap();
    assert!(none.take().is_none(), "it sought in time");
}

#[test]
fn a_failed_partition_rests() {
    let now = Instant::now();
    let mut subscription = at(0);
    let to_fetch = subscription.fetchable(MAX, now);
    subscription.failed(&to_fetch[0], None, now);
    assert!(subscription.fetchable(MAX, now).is_empty());
    let until = subscription.next_timeout(now).unwrap();
    assert_eq!(subscription.fetchable(MAX, until).len(), 1);
}

#[test]
fn assigning_again_keeps_what_stays() {
    let mut subscription = at(0);
    fetch(&mut subscription, 0, vec![(batch(0, 10), true)]);
    subscription.assign([tp(0), tp(1), tp(0)]).unwrap();
    assert_eq!(take(&mut subscription), (0, 10));
    subscription.assign([tp(1)]).unwrap();
    assert!(subscription.seek(&tp(0), to(0)).is_err());
    assert_eq!(subscription.used_bytes(), 0);
}

// ---- in a group

/// In a group, with these partitions at offset 0.
fn given(partitions: &[i32]) -> Subscription {
    let mut subscription = subscription(Some(OffsetSpec::Earliest), 64 * MAX).in_group();
    subscription.subscribe().unwrap();
    give(&mut subscription, partitions);
    subscription
}

fn tps(partitions: &[i32]) -> Vec<TopicPartition> {
    partitions.iter().map(|&partition| tp(partition)).collect()
}

fn give(subscription: &mut Subscription, partitions: &[i32]) {
    let now = Instant::now();
    subscription.add(&tps(partitions));
    assert!(subscription.poll_committed(now).is_empty(), "not before the program says so");
    subscription.admit(&tps(partitions));
    for (tp, era) in subscription.poll_committed(now) {
        subscription.begin(&tp, era, Ok(Some(0.into())), now);
    }
}

/// Hands a batch of `count` records in for each partition.
fn fill(subscription: &mut Subscription, count: u32) {
    let to_fetch = subscription.fetchable(MAX, Instant::now());
    let reserved = subscription.begin_fetch(&to_fetch, MAX);
    for it in &to_fetch {
        subscription.hand_in(it, [(batch(it.offset, count), true)], MARKS);
    }
    subscription.end_fetch(&to_fetch, reserved);
}

fn done(subscription: &Subscription) -> Vec<(i32, i64)> {
    subscription.done(None).into_iter().map(|(tp, offset)| (tp.partition, offset.offset)).collect()
}

#[test]
fn what_was_fetched_of_partitions_that_stay_survives_a_rebalance() {
    let mut subscription = given(&[0, 1]);
    fill(&mut subscription, 3);
    let of_one = subscription.used_bytes() / 2;
    subscription.hold(&tps(&[1]));
    subscription.remove(&tps(&[1]));
    give(&mut subscription, &[2]);
    assert_eq!(subscription.used_bytes(), of_one);
    assert!(
        subscription.fetchable(MAX, Instant::now()).iter().all(|it| it.partition == tp(2) || it.offset == 3)
    );
    let taken = subscription.take().unwrap().unwrap();
    assert_eq!((&taken.partition, taken.fetched.next), (&tp(0), 3));
    subscription.clear();
    subscription.settle(&taken, None, true);
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn a_batch_is_done_when_the_program_asks_again() {
    let mut subscription = given(&[0]);
    fill(&mut subscription, 3);
    assert_eq!(done(&subscription), [], "it is where the group is");
    subscription.ask();
    take(&mut subscription);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(3));
    assert_eq!(done(&subscription), [], "it is in the program's hands");
    assert!(subscription.is_in_hand(&tps(&[0])) && !subscription.is_in_hand(&tps(&[1])));
    fill(&mut subscription, 2);
    take(&mut subscription);
    assert_eq!(done(&subscription), [], "both are, as it took them in one go");
    subscription.ask();
    assert_eq!(done(&subscription), [(0, 5)]);
    assert!(!subscription.is_in_hand(&tps(&[0])));

    let tenure = subscription.tenure(&tp(0)).unwrap();
    subscription.committing(&tp(0), tenure, Some(5));
    assert_eq!(done(&subscription), [], "nothing is new");
    subscription.committing(&tp(0), tenure, None);
    assert_eq!(done(&subscription), [(0, 5)], "that failed");
    subscription.committing(&tp(0), tenure, Some(5));
    subscription.seek(&tp(0), to(1)).unwrap();
    assert_eq!(done(&subscription), [(0, 1)], "the program wants to be there");
    subscription.committing(&tp(0), tenure, Some(4));
    assert_eq!(done(&subscription), [], "the program itself has said more");
}

#[test]
fn what_is_kept_back_is_not_done_until_the_program_asks_or_goes_elsewhere() {
    let mut subscription = given(&[0]);
    fill(&mut subscription, 5);
    subscription.ask();
    take(&mut subscription);
    let tenure = subscription.tenure(&tp(0)).unwrap();
    subscription.keep_back(&tp(0), tenure, 2);
    subscription.finish();
    assert_eq!(done(&subscription), [(0, 2)], "it commits, and is in the midst of the batch");
    assert_eq!(subscription.positions()[&tp(0)].offset, 2);
    subscription.ask();
    assert_eq!(done(&subscription), [(0, 5)]);
    subscription.keep_back(&tp(0), tenure, 3);
    subscription.seek(&tp(0), to(9)).unwrap();
    assert_eq!(subscription.positions()[&tp(0)].offset, 9);
    subscription.keep_back(&tp(0), tenure + 1, 1);
    assert_eq!(subscription.positions()[&tp(0)].offset, 9, "that was read in another tenure");
}

#[test]
fn a_program_that_is_gone_was_done_with_all_but_the_last() {
    let mut subscription = given(&[0]);
    for _ in 0..2 {
        fill(&mut subscription, 1);
        subscription.ask();
        take(&mut subscription);
    }
    subscription.abandon();
    assert!(!subscription.is_in_hand(&tps(&[0])), "nobody gives it back");
    assert_eq!(done(&subscription), [(0, 1)]);
}

#[test]
fn of_a_partition_that_goes_nothing_more_is_handed_out() {
    let mut subscription = given(&[0]);
    fill(&mut subscription, 2);
    subscription.ask();
    let opening = subscription.take().unwrap().unwrap();
    let used = subscription.used_bytes();
    subscription.hold(&tps(&[0]));
    assert!(!subscription.settle(&opening, None, true), "it was on its way");
    assert_eq!((subscription.position(&tp(0)).unwrap(), subscription.used_bytes()), (Some(0), used));
    assert!(subscription.take().is_none() && !subscription.is_in_hand(&tps(&[0])));
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty());
    subscription.remove(&tps(&[0]));
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn what_is_of_an_earlier_tenure_changes_nothing() {
    let mut subscription = given(&[0]);
    let before = subscription.tenure(&tp(0)).unwrap();
    subscription.remove(&tps(&[0]));
    assert_eq!(subscription.tenure(&tp(0)), None);
    let now = Instant::now();
    subscription.add(&tps(&[0]));
    subscription.admit(&tps(&[0]));
    let asked = subscription.poll_committed(now);
    subscription.remove(&tps(&[0]));
    give(&mut subscription, &[0]);
    subscription.begin(&tp(0), asked[0].1, Ok(Some(77.into())), now);
    subscription.committing(&tp(0), before, Some(77));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(0));
    fill(&mut subscription, 1);
    subscription.ask();
    take(&mut subscription);
    subscription.ask();
    assert_eq!(done(&subscription), [(0, 1)]);
}

#[test]
fn where_the_group_is_nowhere_the_policy_says_and_the_program_may_know_better() {
    let now = Instant::now();
    let mut subscription = given(&[]);
    subscription.add(&tps(&[0, 1, 2]));
    subscription.seek(&tp(2), to(9)).unwrap();
    subscription.admit(&tps(&[0, 1, 2]));
    let mut asked = subscription.poll_committed(now);
    asked.sort();
    assert_eq!(asked.iter().map(|(tp, _)| tp.partition).collect::<Vec<_>>(), [0, 1], "the program sought");
    assert!(subscription.poll_committed(now).is_empty(), "asked once");
    subscription.begin(&tp(0), asked[0].1, Ok(None), now);
    assert_eq!(subscription.poll_unknown(now)[0].2, OffsetSpec::Earliest);
    let passing = Error::new(ErrorKind::Disconnected, "on its way");
    subscription.begin(&tp(1), asked[1].1, Err(passing), now);
    assert!(subscription.take().is_none() && subscription.poll_committed(now).is_empty(), "after a while");
    let later = subscription.next_timeout(now).unwrap();
    assert_eq!(subscription.poll_committed(later).len(), 1);
    subscription.begin(&tp(1), asked[1].1, Err(Error::new(ErrorKind::Config, "for good")), later);
    assert_eq!(subscription.take().unwrap().unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(subscription.position(&tp(2)).unwrap(), Some(9));
}

#[test]
fn partitions_are_assigned_by_one_only() {
    let mut subscription = given(&[0]);
    let error = subscription.assign([tp(1)]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    subscription.clear();
    subscription.assign([tp(1)]).unwrap();
    assert_eq!(subscription.subscribe().unwrap_err().kind(), ErrorKind::InvalidArgument);
    subscription.assign([]).unwrap();
    subscription.subscribe().unwrap();
}

#[test]
fn that_the_program_asked_too_late_is_told_once_and_all_else_until_it_subscribes() {
    let mut subscription = given(&[]);
    subscription.fail(Error::new(ErrorKind::MaxPollExceeded, "late"));
    assert!(subscription.failure().is_some() && subscription.failure().is_none());
    subscription.fail(Error::broker(ottla_protocol::error_code::ErrorCode::GROUP_AUTHORIZATION_FAILED, None));
    assert!(subscription.failure().is_some() && subscription.failure().is_some());
    subscription.subscribe().unwrap();
    assert!(subscription.failure().is_none());
}

#[test]
fn offsets_of_a_group_without_members_are_committed_again_lest_they_expire() {
    let now = Instant::now();
    let mut subscription = subscription(Some(OffsetSpec::Earliest), 64 * MAX).in_group();
    subscription.assign([tp(0)]).unwrap();
    for (tp, era) in subscription.poll_committed(now) {
        subscription.begin(&tp, era, Ok(Some(4.into())), now);
    }
    assert_eq!(done(&subscription), [(0, 4)]);
}

// ---- a leader that lacks what was read (KIP-320)

/// Reads `batches` of partition 0 from offset 0, fetched from the leader of `leader_epoch`; the program takes `taken` of them.
fn read_from(
    leader_epoch: i32,
    reset: Option<OffsetSpec>,
    batches: &[(i32, i64, u32)],
    taken: usize,
) -> Subscription {
    let mut subscription = subscription(reset, 64 * MAX);
    subscription.assign([tp(0)]).unwrap();
    subscription.seek(&tp(0), to(0)).unwrap();
    let to_fetch = to_fetch(&mut subscription, leader_epoch);
    assert!(!to_fetch.is_to_check(), "nothing was read yet");
    let reserved = subscription.begin_fetch([&to_fetch], MAX);
    let batches = batches.iter().map(|&(epoch, base, count)| (batch_of(epoch, base, count), true));
    subscription.hand_in(&to_fetch, batches, MARKS);
    subscription.end_fetch([&to_fetch], reserved);
    for _ in 0..taken {
        take(&mut subscription);
    }
    subscription
}

/// What is to be fetched, or checked, with a leader of this epoch.
fn to_fetch(subscription: &mut Subscription, leader_epoch: i32) -> ToFetch {
    let [to_fetch] = &subscription.fetchable(MAX, Instant::now())[..] else {
        panic!("one partition is to be fetched")
    };
    ToFetch { leader_epoch, ..to_fetch.clone() }
}

/// The leader of `leader_epoch` is asked, and says where what was read last ends.
fn check(subscription: &mut Subscription, leader_epoch: i32, end: Option<(i32, i64)>) {
    let to_check = to_fetch(subscription, leader_epoch);
    assert!(to_check.is_to_check());
    subscription.begin_check([&to_check]);
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty(), "nothing is fetched meanwhile");
    subscription.checked(&to_check, end.map(|(epoch, offset)| EpochEnd { epoch, offset }));
}

fn earliest() -> Option<OffsetSpec> {
    Some(OffsetSpec::Earliest)
}

#[test]
fn each_leader_is_asked_once_whether_it_has_what_was_read() {
    let mut subscription = read_from(3, earliest(), &[(2, 0, 5), (3, 5, 5)], 2);
    let same = to_fetch(&mut subscription, 3);
    assert!(!same.is_to_check(), "that leader has given it");
    assert_eq!(same.read_epoch, Some(3));
    check(&mut subscription, 4, Some((3, 10)));
    let after = to_fetch(&mut subscription, 4);
    assert!(!after.is_to_check());
    assert_eq!(after.offset, 10);
    assert!(to_fetch(&mut subscription, 5).is_to_check());
    assert!(!to_fetch(&mut subscription, -1).is_to_check(), "one without an epoch cannot tell");
}

#[test]
fn what_was_read_and_is_lost_is_gone_back_to_where_the_logs_part() {
    let mut subscription = read_from(3, earliest(), &[(2, 0, 5), (3, 5, 5)], 2);
    check(&mut subscription, 4, Some((2, 5)));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(5));
    let after = to_fetch(&mut subscription, 4);
    assert_eq!((after.offset, after.read_epoch, after.is_to_check()), (5, Some(2), false));
    assert_eq!(subscription.positions()[&tp(0)], Reached { offset: 5, epoch: Some(2) });
}

#[test]
fn without_a_policy_the_program_is_told_once_what_is_lost_and_may_seek() {
    let mut subscription = read_from(3, None, &[(2, 0, 5), (3, 5, 5)], 2);
    check(&mut subscription, 4, Some((2, 5)));
    let error = subscription.take().unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::LogTruncated);
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<LogTruncation>();
    let wanted = LogTruncation { partition: tp(0), offset: 10, leader_epoch: 3, diverges_at: Some((5, 2)) };
    assert_eq!(cause, Some(&wanted));
    assert!(subscription.take().is_none());
    assert!(subscription.fetchable(MAX, Instant::now()).is_empty(), "nothing is read past it");
    subscription.seek(&tp(0), Reached { offset: 5, epoch: Some(2) }).unwrap();
    check(&mut subscription, 4, Some((2, 5)));
    assert_eq!(to_fetch(&mut subscription, 4).offset, 5);
}

#[test]
fn a_leader_that_knows_nothing_of_what_was_read_means_the_policy_or_an_error() {
    let mut subscription = read_from(3, earliest(), &[(3, 0, 5)], 1);
    check(&mut subscription, 4, None);
    assert_eq!(subscription.poll_unknown(Instant::now())[0].2, OffsetSpec::Earliest);
    let mut subscription = read_from(3, None, &[(3, 0, 5)], 1);
    check(&mut subscription, 4, None);
    let error = subscription.take().unwrap().unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().downcast_ref::<LogTruncation>().unwrap();
    assert_eq!((cause.offset, cause.diverges_at), (5, None));
}

#[test]
fn what_was_only_fetched_ahead_is_fetched_anew_and_nothing_is_lost() {
    let mut subscription = read_from(3, None, &[(2, 0, 5), (3, 5, 5)], 1);
    check(&mut subscription, 4, Some((2, 5)));
    assert!(!subscription.has_buffered());
    assert_eq!(subscription.used_bytes(), 0);
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(5));
    // The place that the program is at is asked about by itself.
    check(&mut subscription, 4, Some((2, 5)));
    let after = to_fetch(&mut subscription, 4);
    assert_eq!((after.offset, after.read_epoch, after.is_to_check()), (5, Some(2), false));
}

#[test]
fn a_batch_that_is_being_opened_is_taken_back_if_it_is_of_another_log() {
    let mut subscription = read_from(3, None, &[(2, 0, 5), (3, 5, 5)], 1);
    let taken = subscription.take().unwrap().unwrap();
    check(&mut subscription, 4, Some((2, 5)));
    assert!(!subscription.settle(&taken, None, true));
    assert_eq!(subscription.position(&tp(0)).unwrap(), Some(5));
    assert_eq!(subscription.used_bytes(), 0);
}

#[test]
fn what_is_committed_and_where_a_group_begins_have_their_epochs() {
    let mut subscription = read_from(3, earliest(), &[(2, 0, 5), (3, 5, 5)], 1);
    let position = |subscription: &Subscription| subscription.positions()[&tp(0)];
    assert_eq!(position(&subscription), Reached { offset: 5, epoch: Some(2) });
    // Half of the next.
    let taken = subscription.take().unwrap().unwrap();
    let rest = Fetched { from: 7, ..taken.fetched.clone() };
    assert!(subscription.settle(&taken, Some(rest), true));
    assert_eq!(position(&subscription), Reached { offset: 7, epoch: Some(3) });
    assert_eq!(
        subscription.done(None)[&tp(0)],
        Reached { offset: 0, epoch: None },
        "all of it is in its hands"
    );
    subscription.ask();
    assert_eq!(subscription.done(None)[&tp(0)], Reached { offset: 7, epoch: Some(3) });

    let mut member = given(&[]);
    member.add(&tps(&[0]));
    member.admit(&tps(&[0]));
    let asked = member.poll_committed(Instant::now());
    let committed = OffsetAndMetadata { leader_epoch: Some(6), ..OffsetAndMetadata::new(4) };
    member.begin(&tp(0), asked[0].1, Ok(Some(committed)), Instant::now());
    check(&mut member, 7, Some((6, 4)));
    assert_eq!(to_fetch(&mut member, 7).offset, 4);
}

#[test]
fn a_hidden_batch_counts_as_read() {
    let mut subscription = at(0);
    let first = to_fetch(&mut subscription, 3);
    subscription.hand_in(&first, [(batch_of(2, 0, 5), true), (batch_of(3, 5, 1), false)], MARKS);
    take(&mut subscription);
    assert_eq!(subscription.positions()[&tp(0)], Reached { offset: 6, epoch: Some(3) });
    let second = to_fetch(&mut subscription, 4);
    subscription.hand_in(&second, [(batch_of(4, 6, 1), false)], MARKS);
    assert_eq!(subscription.positions()[&tp(0)], Reached { offset: 7, epoch: Some(4) });
}

// ---- replicas nearby (KIP-392), and leaders that moved (KIP-951)

#[test]
fn a_replica_that_fails_is_avoided_and_the_leader_asked() {
    let now = Instant::now();
    let mut subscription = subscription(earliest(), 64 * MAX);
    subscription.assign([tp(0), tp(1)]).unwrap();
    for partition in 0..2 {
        subscription.seek(&tp(partition), to(0)).unwrap();
    }
    let to_fetch = subscription.fetchable(MAX, now);
    subscription.prefer(&to_fetch[0], BrokerId(2), now + Duration::from_secs(9));
    subscription.prefer(&to_fetch[1], BrokerId(3), now + Duration::from_secs(9));
    subscription.avoid(BrokerId(2));
    let preferred: BTreeMap<TopicPartition, Option<BrokerId>> = subscription
        .fetchable(MAX, now)
        .into_iter()
        .map(|to_fetch| (to_fetch.partition, to_fetch.preferred))
        .collect();
    assert_eq!(preferred[&to_fetch[0].partition], None);
    assert_eq!(preferred[&to_fetch[1].partition], Some(BrokerId(3)));
}

#[test]
fn a_partition_whose_new_leader_is_known_does_not_rest() {
    let mut subscription = at(0);
    let to_fetch = subscription.fetchable(MAX, Instant::now());
    let reserved = subscription.begin_fetch(&to_fetch, MAX);
    subscription.moved(&to_fetch[0]);
    subscription.end_fetch(&to_fetch, reserved);
    assert_eq!(subscription.fetchable(MAX, Instant::now()).len(), 1);
}
