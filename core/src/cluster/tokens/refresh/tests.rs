//! The rules of refreshing, and a simulation of a client's life with its provider.

use super::*;

const MINUTE_MS: i64 = 60_000;
/// Some day of 2026.
const NOW_MS: i64 = 1_790_000_000_000;

const KAFKAS: RefreshSettings = RefreshSettings {
    window_factor: 0.8,
    window_jitter: 0.05,
    min_period: Duration::from_secs(60),
    buffer: Duration::from_secs(300),
    backoff: Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) },
};

/// A clock that shows both times.
#[derive(Clone, Copy)]
struct Clock {
    began: Instant,
    now_ms: i64,
}

impl Clock {
    fn new() -> Self {
        Self { began: Instant::now(), now_ms: 0 }
    }

    fn now(self) -> Moment {
        let past = Duration::from_millis(self.now_ms.unsigned_abs());
        Moment { at: self.began + past, wall_ms: NOW_MS + self.now_ms }
    }

    fn ms_until(self, at: Instant) -> i64 {
        let now = self.now().at;
        i64::try_from(at.saturating_duration_since(now).as_millis()).unwrap()
    }
}

fn token(life_ms: i64, clock: Clock) -> Token {
    Token::new("opaque").valid_until_ms(clock.now().wall_ms + life_ms)
}

fn refresh(settings: RefreshSettings) -> Refresh {
    Refresh::new(settings, fastrand::Rng::with_seed(7))
}

fn away() -> Error {
    Error::new(ErrorKind::Authentication, "the provider is away").passing()
}

fn denied() -> Error {
    Error::new(ErrorKind::Authentication, "invalid_client")
}

/// One that has got a token of this life just now.
fn holding(life_ms: i64, clock: Clock) -> Refresh {
    let mut refresh = refresh(KAFKAS);
    assert!(matches!(refresh.want(false, clock.now()), Given::Wait));
    assert!(refresh.poll(clock.now()));
    refresh.handle_token(token(life_ms, clock), clock.now());
    refresh
}

#[test]
fn a_token_is_refreshed_in_its_window_and_neither_too_soon_nor_too_late() {
    let clock = Clock::new();
    for (life_ms, wanted_ms) in [
        // 80 to 85 % of its life.
        (60 * MINUTE_MS, 48 * MINUTE_MS..=51 * MINUTE_MS),
        (10 * 60 * MINUTE_MS, 480 * MINUTE_MS..=510 * MINUTE_MS),
        // The buffer of five minutes begins before.
        (20 * MINUTE_MS, 15 * MINUTE_MS..=15 * MINUTE_MS),
        // No sooner than a minute after it came.
        (6 * MINUTE_MS, MINUTE_MS..=MINUTE_MS),
        // Too short for both.
        (5 * MINUTE_MS, 4 * MINUTE_MS..=255_000),
        (1_000, 800..=850),
    ] {
        let refresh = holding(life_ms, clock);
        let due_ms = clock.ms_until(refresh.next_due().unwrap());
        assert!(wanted_ms.contains(&due_ms), "life {life_ms}: due in {due_ms}, wanted {wanted_ms:?}");
    }
}

#[test]
fn the_life_of_a_token_that_was_made_before_is_counted_from_then() {
    // Half of its hour is over: 80 % of the whole come in 18 to 21 minutes.
    let clock = Clock::new();
    let mut refresh = refresh(KAFKAS);
    let half = NOW_MS / 1_000 - 1_800;
    let payload = format!(r#"{{"iat":{half},"exp":{}}}"#, half + 3_600);
    let payload = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, payload);
    refresh.handle_token(Token::new(format!("e30.{payload}.")), clock.now());
    let due_ms = clock.ms_until(refresh.next_due().unwrap());
    assert!((18 * MINUTE_MS..=21 * MINUTE_MS).contains(&due_ms), "{due_ms}");
}

#[test]
fn lives_of_any_length_are_counted_without_harm() {
    for end_ms in [i64::MIN, 0, NOW_MS - 1, NOW_MS, NOW_MS + 1, i64::MAX] {
        let clock = Clock::new();
        let mut refresh = refresh(KAFKAS);
        refresh.handle_token(Token::new("x").valid_until_ms(end_ms), clock.now());
        let given = refresh.want(true, clock.now());
        match given {
            Given::Token(_) => assert!(end_ms > NOW_MS),
            Given::Failed(error) => {
                assert!(end_ms <= NOW_MS && error.to_string().contains("clock"), "{error}")
            }
            Given::Wait => panic!("nothing is under way"),
        }
    }
}

#[test]
fn all_who_need_a_token_wait_for_one_request() {
    let clock = Clock::new();
    let mut refresh = refresh(KAFKAS);
    assert_eq!(refresh.next_due(), None, "nobody has asked for one");
    for _ in 0..3 {
        assert!(matches!(refresh.want(false, clock.now()), Given::Wait));
    }
    assert!(refresh.poll(clock.now()));
    assert!(matches!(refresh.want(false, clock.now()), Given::Wait));
    assert!(!refresh.poll(clock.now()), "one is under way");
    refresh.handle_token(token(60 * MINUTE_MS, clock), clock.now());
    assert!(matches!(refresh.want(true, clock.now()), Given::Token(_)));
}

#[test]
fn whoever_has_waited_hears_of_the_failure_and_others_until_it_is_time_to_ask_again() {
    let mut clock = Clock::new();
    let mut refresh = refresh(KAFKAS);
    for (error, pause_ms) in [(away(), 80..=120), (away(), 160..=240), (denied(), 10_000..=12_000)] {
        assert!(matches!(refresh.want(false, clock.now()), Given::Wait));
        assert!(refresh.poll(clock.now()));
        refresh.handle_failure(error, clock.now());
        assert!(matches!(refresh.want(true, clock.now()), Given::Failed(_)));
        assert!(matches!(refresh.want(false, clock.now()), Given::Failed(_)), "too soon");
        assert_eq!(refresh.next_due(), None, "nobody wants one");
        let wait_ms = (0..20_000).find(|ms| {
            let later = Clock { now_ms: clock.now_ms + ms, ..clock };
            matches!(refresh.want(false, later.now()), Given::Wait)
        });
        let wait_ms = wait_ms.unwrap();
        assert!(pause_ms.contains(&wait_ms), "{wait_ms}");
        clock.now_ms += wait_ms;
    }
}

#[test]
fn a_token_that_is_good_outlives_its_provider_and_one_that_has_expired_is_not_given() {
    let mut clock = Clock::new();
    let mut refresh = holding(60 * MINUTE_MS, clock);
    let mut requests = 0;
    while clock.now_ms < 70 * MINUTE_MS {
        clock.now_ms += clock.ms_until(refresh.next_due().unwrap()).max(1);
        if refresh.poll(clock.now()) {
            requests += 1;
            refresh.handle_failure(away(), clock.now());
        }
        match refresh.want(false, clock.now()) {
            Given::Token(_) => assert!(clock.now_ms < 60 * MINUTE_MS),
            Given::Failed(error) => assert!(clock.now_ms >= 60 * MINUTE_MS, "{error}"),
            Given::Wait => assert!(clock.now_ms >= 60 * MINUTE_MS),
        }
    }
    assert!((100..250).contains(&requests), "every ten seconds at last, not {requests} times");
    // The provider is back.
    clock.now_ms += 12_000;
    assert!(refresh.poll(clock.now()));
    refresh.handle_token(token(60 * MINUTE_MS, clock), clock.now());
    assert!(matches!(refresh.want(false, clock.now()), Given::Token(_)));
    assert!(clock.ms_until(refresh.next_due().unwrap()) >= 48 * MINUTE_MS, "the failures are forgotten");
}

#[test]
fn a_token_that_the_broker_refuses_is_replaced_but_the_provider_is_not_asked_all_the_time() {
    let mut clock = Clock::new();
    let mut refresh = holding(60 * MINUTE_MS, clock);
    let Given::Token(first) = refresh.want(false, clock.now()) else { panic!("there is one") };
    refresh.handle_refusal(&first, clock.now());
    assert_eq!(clock.ms_until(refresh.next_due().unwrap()), MINUTE_MS, "it came just now");
    clock.now_ms += 10 * MINUTE_MS;
    assert!(refresh.poll(clock.now()));
    refresh.handle_token(token(60 * MINUTE_MS, clock), clock.now());
    let due = refresh.next_due();
    refresh.handle_refusal(&first, clock.now());
    assert_eq!(refresh.next_due(), due, "it is another one by now");
    let Given::Token(second) = refresh.want(false, clock.now()) else { panic!("there is one") };
    clock.now_ms += 5 * MINUTE_MS;
    refresh.handle_refusal(&second, clock.now());
    assert_eq!(clock.ms_until(refresh.next_due().unwrap()), 0, "it has been good for long");
}

/// Whatever the provider does, and whenever tokens are needed: no two requests at once, nothing expired is given, nobody waits
/// where nothing is under way, and requests are apart by the least pause.
#[test]
fn whatever_happens_the_rules_hold() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut clock = Clock::new();
        let mut refresh = Refresh::new(KAFKAS, fastrand::Rng::with_seed(seed));
        let (mut under_way, mut last_end): (bool, Option<i64>) = (false, None);
        for _ in 0..400 {
            clock.now_ms += match random.u8(0..4) {
                0 => random.i64(0..50),
                1 => random.i64(0..5_000),
                2 => random.i64(0..10 * MINUTE_MS),
                _ => refresh.next_due().map_or(0, |due| clock.ms_until(due)),
            };
            match random.u8(0..3) {
                0 => match refresh.want(random.bool(), clock.now()) {
                    Given::Token(token) => {
                        assert!(token.end_ms().unwrap() > clock.now().wall_ms, "seed {seed}: expired");
                    }
                    Given::Failed(_) => assert!(!under_way, "seed {seed}: what is under way may succeed"),
                    Given::Wait => {
                        let is_coming =
                            under_way || refresh.next_due().is_some_and(|due| due <= clock.now().at);
                        assert!(is_coming, "seed {seed}: waits for nothing");
                    }
                },
                1 => {
                    if refresh.poll(clock.now()) {
                        assert!(!under_way, "seed {seed}: two requests");
                        if let Some(end) = last_end {
                            assert!(clock.now_ms - end >= 80, "seed {seed}: too soon");
                        }
                        under_way = true;
                    }
                }
                _ if under_way => {
                    under_way = false;
                    let life_ms = random.i64(200..90 * MINUTE_MS);
                    match random.u8(0..3) {
                        0 => refresh.handle_failure(away(), clock.now()),
                        1 => refresh.handle_failure(denied(), clock.now()),
                        _ => refresh.handle_token(token(life_ms, clock), clock.now()),
                    }
                    last_end = Some(clock.now_ms);
                }
                _ => {}
            }
        }
    }
}
