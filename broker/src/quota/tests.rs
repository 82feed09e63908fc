use std::{
    future::poll_fn,
    pin::pin,
    task::{Context as TaskContext, Poll, Waker},
};

use super::*;
use crate::metadata::{
    Image, PublishedImage,
    quotas::{Entity, QuotaKey as Key},
};

/// Quotas of users (`None` for all) and client ids.
struct Test {
    quotas: Quotas,
    epoch: Instant,
}

type Parts<'a> = &'a [(&'a str, Option<&'a str>)];

fn set(image: &Image, parts: Parts<'_>, key: Key, value: Option<f64>) -> Image {
    let parts: Vec<(Str, Option<Str>)> =
        parts.iter().map(|(kind, name)| (Str::from(*kind), name.map(Str::from))).collect();
    let entity = Entity::of(parts.iter().map(|(kind, name)| (kind, name.as_ref()))).unwrap();
    image.apply(&[entity.record(key, value).into()], 1).unwrap()
}

impl Test {
    fn new(quotas: &[(Parts<'_>, Key, f64)]) -> Self {
        let image = quotas.iter().fold(Image::new("cluster".into()), |image, (parts, key, value)| {
            set(&image, parts, *key, Some(*value))
        });
        let image = Arc::new(PublishedImage::new(Arc::new(image)));
        let (windows, epoch) = (Windows::new(11, 1), Instant::now());
        Self { quotas: Quotas::new(image, windows, windows, epoch), epoch }
    }

    fn held(&self, user: &str, client_id: &str) -> Option<Arc<Held>> {
        self.quotas.held(user, client_id, self.epoch)
    }

    fn after(&self, ms: u64) -> Instant {
        self.epoch + Duration::from_millis(ms)
    }

    fn meters(&self) -> usize {
        self.quotas.lock().by_whom.len()
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn whom_no_quota_is_for_has_no_meter() {
    let test = Test::new(&[(&[("user", Some("alice"))], Key::ProducerByteRate, 100.0)]);
    assert!(test.held("bob", "app").is_none());
    assert_eq!(test.meters(), 0);
    let alice = test.held("alice", "app").unwrap();
    assert_eq!(test.meters(), 1);
    assert_eq!(alice.fetch(1 << 30, test.epoch), Duration::ZERO, "only what is limited");
    assert_eq!(alice.fetch_bytes_max(), usize::MAX);
    assert!(!alice.counts_time());
    assert!(Test::new(&[(&[("ip", None)], Key::ConnectionCreationRate, 1.0)]).held("alice", "app").is_none());
}

#[test]
fn all_connections_of_a_user_share_its_quota_and_each_user_has_its_own_default() {
    let test = Test::new(&[(&[("user", None)], Key::ProducerByteRate, 100.0)]);
    let (one, two) = (test.held("alice", "a").unwrap(), test.held("alice", "b").unwrap());
    assert_eq!(one.produced(1000, test.epoch), Duration::ZERO);
    assert_eq!(two.produced(1000, test.epoch), seconds(10));
    assert_eq!(test.held("bob", "a").unwrap().produced(1000, test.epoch), Duration::ZERO);
}

#[test]
fn an_answer_that_is_too_much_is_not_counted() {
    let test = Test::new(&[(&[("client-id", Some("app"))], Key::ConsumerByteRate, 100.0)]);
    let held = test.held("alice", "app").unwrap();
    assert_eq!(held.fetch_bytes_max(), 1000);
    assert_eq!(held.fetch(1000, test.epoch), Duration::ZERO);
    assert_eq!(held.fetch(500, test.epoch), seconds(5));
    assert_eq!(held.fetch(500, test.epoch), seconds(5), "nor is it the next time");
    assert_eq!(held.fetch(500, test.after(11_000)), Duration::ZERO);
    held.sent(600, test.after(11_000));
    assert!(held.fetch(0, test.after(11_000)) > Duration::ZERO, "what is sent in any case counts");
}

#[test]
fn time_is_a_percentage_and_nobody_waits_longer_than_a_window_for_it() {
    let test = Test::new(&[(&[("user", Some("alice"))], Key::RequestPercentage, 10.0)]);
    let held = test.held("alice", "").unwrap();
    assert!(held.counts_time());
    // A tenth of ten seconds.
    assert_eq!(held.busy(seconds(1), test.epoch), Duration::ZERO);
    assert_eq!(held.busy(Duration::from_millis(50), test.epoch), Duration::from_millis(500));
    assert_eq!(held.busy(seconds(5), test.epoch), seconds(1));
}

#[test]
fn changes_past_the_quota_are_refused_to_those_who_know_the_error() {
    let test = Test::new(&[(&[("user", Some("alice"))], Key::ControllerMutationRate, 2.0)]);
    let held = test.held("alice", "").unwrap();
    let mut strict = Mutations::of(Some(&held), true, test.epoch);
    // A burst of 11 seconds, and what goes past it once.
    assert_eq!(strict.record(21), Ok(()));
    assert_eq!(strict.record(5), Ok(()));
    let refused = strict.record(1).unwrap_err();
    assert_eq!((refused.hold_off, strict.throttle_time_ms()), (seconds(2), 2000));
    let mut older = Mutations::of(Some(&held), false, test.epoch);
    assert_eq!((older.record(2), older.throttle_time_ms()), (Ok(()), 3000));
    let mut later = Mutations::of(Some(&held), true, test.after(3000));
    assert_eq!((later.record(1), later.throttle_time_ms()), (Ok(()), 0));
    assert_eq!(Mutations::of(None, true, test.epoch).record(1 << 20), Ok(()));
}

#[test]
fn a_quota_that_changes_holds_for_what_was_counted_before_and_one_that_goes_forgets_it() {
    const ALICE: Parts<'static> = &[("user", Some("alice"))];
    let test = Test::new(&[(ALICE, Key::ProducerByteRate, 100.0)]);
    let image = &test.quotas.image;
    let before = image.quotas_revision();
    assert_eq!(test.held("alice", "").unwrap().produced(1000, test.epoch), Duration::ZERO);
    image.publish(Arc::new(set(&image.load(), ALICE, Key::ProducerByteRate, Some(50.0))));
    assert_ne!(image.quotas_revision(), before);
    assert_eq!(test.held("alice", "").unwrap().produced(0, test.epoch), seconds(10));
    image.publish(Arc::new(set(&image.load(), ALICE, Key::ProducerByteRate, None)));
    assert!(test.held("alice", "").is_none());
    assert_eq!(test.meters(), 0);
    let same = image.quotas_revision();
    image.publish(image.load_full());
    assert_eq!(image.quotas_revision(), same);
}

#[test]
fn meters_of_those_who_are_gone_make_room_and_those_in_use_stay() {
    let everybody: Parts<'_> = &[("user", None), ("client-id", None)];
    let test = Test::new(&[(everybody, Key::ProducerByteRate, 100.0)]);
    let stays = test.held("alice", "stays").unwrap();
    stays.produced(2000, test.epoch);
    for number in 0..10_000u64 {
        // Ten a second.
        test.quotas.held("alice", &number.to_string(), test.after(number * 100)).unwrap();
    }
    assert!(test.meters() < 1000, "{}", test.meters());
    let end = test.after(10_000 * 100);
    stays.produced(2000, end);
    let again = test.quotas.held("alice", "stays", end).unwrap();
    assert_eq!(again.produced(0, end), seconds(10), "the same meter");
}

#[test]
fn client_ids_without_end_share_what_there_is() {
    let everybody: Parts<'_> = &[("user", None), ("client-id", None)];
    let test = Test::new(&[(everybody, Key::ProducerByteRate, 100.0)]);
    let all: Vec<_> =
        (0..METERS_MAX + 100).map(|number| test.held("alice", &number.to_string()).unwrap()).collect();
    assert_eq!(test.meters(), METERS_MAX + 1);
    // Those who came late count together.
    assert_eq!(all[METERS_MAX].produced(1000, test.epoch), Duration::ZERO);
    assert_eq!(all[METERS_MAX + 1].produced(1000, test.epoch), seconds(10));
    let long = "x".repeat(CLIENT_ID_BYTES_MAX * 4);
    assert_eq!(cut(&long).len(), CLIENT_ID_BYTES_MAX);
    assert_eq!(cut(&format!("{}ä", "x".repeat(CLIENT_ID_BYTES_MAX - 1))).len(), CLIENT_ID_BYTES_MAX - 1);
}

#[test]
fn only_the_time_on_the_core_is_counted() {
    let mut is_woken = false;
    let waits = poll_fn(|_| match std::mem::replace(&mut is_woken, true) {
        false => Poll::Pending,
        true => Poll::Ready(7),
    });
    let mut counted = pin!(timed(true, waits));
    let mut cx = TaskContext::from_waker(Waker::noop());
    let began = Instant::now();
    assert!(counted.as_mut().poll(&mut cx).is_pending());
    std::thread::sleep(Duration::from_millis(200));
    let Poll::Ready((output, busy)) = counted.poll(&mut cx) else { panic!("it was woken") };
    let waited = began.elapsed();
    assert!(output == 7 && busy < waited / 2, "{busy:?} of {waited:?}");
}
