//! When a token is asked for, and who waits for it. Does no I/O: the time goes in, and what is to be done comes out.
//!
//! The rules are those of Kafka's `ExpiringCredentialRefreshingLogin` (KIP-255). A token that is still good is given out
//! whatever becomes of the attempts to get the next one; one that has expired never is.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use super::Token;
use crate::{
    cluster::retry::{Backoff, Failures},
    config::ClientConfig,
    error::{Error, ErrorKind},
};

/// The longest life that a token is taken to have: ten years.
const LIFE_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// What `sasl.login.refresh.*` and `sasl.login.retry.*` say.
#[derive(Clone, Copy, Debug)]
pub(super) struct RefreshSettings {
    /// Share of a token's life after which it is refreshed.
    pub window_factor: f64,
    /// The most that is added to it by chance.
    pub window_jitter: f64,
    /// Least time between two refreshes.
    pub min_period: Duration,
    /// Time before a token's end by which it is refreshed.
    pub buffer: Duration,
    /// Pauses after failures.
    pub backoff: Backoff,
}

impl RefreshSettings {
    /// What the keys say.
    pub(super) fn of(config: &ClientConfig) -> Self {
        let seconds = |value: i16| Duration::from_secs(u64::try_from(value).unwrap_or(0));
        Self {
            window_factor: config.sasl_login_refresh_window_factor,
            window_jitter: config.sasl_login_refresh_window_jitter,
            min_period: seconds(config.sasl_login_refresh_min_period_seconds),
            buffer: seconds(config.sasl_login_refresh_buffer_seconds),
            backoff: Backoff {
                first: config.sasl_login_retry_backoff,
                most: config.sasl_login_retry_backoff_max,
            },
        }
    }
}

/// A moment by both clocks: waits are measured by the one that only goes forward, ends of tokens are told by the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub at: Instant,
    /// Milliseconds since the epoch.
    pub wall_ms: i64,
}

/// What somebody who needs a token gets.
#[derive(Clone, Debug)]
pub(super) enum Given {
    Token(Arc<Token>),
    /// There is none, for this reason, and it is too soon to ask again.
    Failed(Error),
    /// One is being asked for, or is to be.
    Wait,
}

/// The one token of a client.
#[derive(Debug)]
pub(super) struct Refresh {
    settings: RefreshSettings,
    held: Option<Held>,
    /// Why the last request failed; `None` if it did not.
    failure: Option<Error>,
    failures: Failures,
    /// A request is under way: there is one at a time.
    is_asking: bool,
    /// Somebody waits for a token.
    is_wanted: bool,
    /// When to ask next, if there is a token already or somebody wants one.
    due: Option<Instant>,
    random: fastrand::Rng,
}

#[derive(Debug)]
struct Held {
    token: Arc<Token>,
    end_ms: i64,
    got: Instant,
}

impl Refresh {
    /// Nothing is held, and nobody wants anything.
    pub(super) fn new(settings: RefreshSettings, random: fastrand::Rng) -> Self {
        Self {
            settings,
            held: None,
            failure: None,
            failures: Failures::default(),
            is_asking: false,
            is_wanted: false,
            due: None,
            random,
        }
    }

    /// A connection needs a token. `has_waited` for a request that is over now: then its failure is the answer.
    pub(super) fn want(&mut self, has_waited: bool, now: Moment) -> Given {
        if let Some(held) = self.held.as_ref().filter(|held| now.wall_ms < held.end_ms) {
            return Given::Token(Arc::clone(&held.token));
        }
        if !self.is_asking
            && let Some(failure) = &self.failure
            && (has_waited || self.due.is_some_and(|due| now.at < due))
        {
            return Given::Failed(failure.clone());
        }
        if !self.is_asking {
            self.due = Some(now.at);
        }
        self.is_wanted = true;
        Given::Wait
    }

    /// Whether a token is to be asked for now. Whoever is told so asks, and tells the outcome.
    pub(super) fn poll(&mut self, now: Moment) -> bool {
        let is_due = self.next_due().is_some_and(|due| due <= now.at);
        self.is_asking |= is_due;
        is_due
    }

    /// When to call [`Self::poll`] next; `None` for when somebody wants a token, or the request under way is over.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.filter(|_| !self.is_asking && (self.is_wanted || self.held.is_some()))
    }

    /// Whether there is no token that is good, and why the last request failed, if it did.
    pub(super) fn missing(&self, now: Moment) -> Option<Option<Error>> {
        let is_held = self.held.as_ref().is_some_and(|held| now.wall_ms < held.end_ms);
        (!is_held).then(|| self.failure.clone())
    }

    /// A token has come.
    pub(super) fn handle_token(&mut self, token: Token, now: Moment) {
        let Some(end_ms) = token.end_ms() else {
            return self.handle_failure(no_end(), now);
        };
        if end_ms <= now.wall_ms {
            return self.handle_failure(has_ended(end_ms, now), now);
        }
        (self.is_asking, self.is_wanted, self.failure) = (false, false, None);
        self.failures.clear();
        self.due = Some(now.at + self.refresh_in(&token, end_ms, now));
        self.held = Some(Held { token: Arc::new(token), end_ms, got: now.at });
    }

    /// None has come.
    pub(super) fn handle_failure(&mut self, error: Error, now: Moment) {
        (self.is_asking, self.is_wanted) = (false, false);
        let pause = self.failures.record(&self.settings.backoff, &mut self.random);
        // What does not pass by itself is not asked for again and again: an account may be locked for it.
        let pause = if error.is_retriable() { pause } else { pause.max(self.settings.backoff.most) };
        self.due = Some(now.at + pause);
        self.failure = Some(error);
    }

    /// The broker does not take this token. It may be one that was revoked: the next is asked for before its time, but no
    /// sooner than `sasl.login.refresh.min.period.seconds` after it came.
    pub(super) fn handle_refusal(&mut self, token: &Arc<Token>, now: Moment) {
        if let Some(held) = self.held.as_ref().filter(|held| Arc::ptr_eq(&held.token, token)) {
            let soonest = (held.got + self.settings.min_period).max(now.at);
            self.due = self.due.map(|due| due.min(soonest));
        }
    }

    /// From now to when a token is refreshed that has just come.
    fn refresh_in(&mut self, token: &Token, end_ms: i64, now: Moment) -> Duration {
        let RefreshSettings { window_factor, window_jitter, min_period, buffer, .. } = self.settings;
        let share = window_factor + window_jitter * self.random.f64();
        let left = between(now.wall_ms, end_ms);
        if left < min_period + buffer {
            // Too short a life for both.
            return left.mul_f64(share.min(1.0));
        }
        let began_ms = token.began_ms().unwrap_or(now.wall_ms).min(now.wall_ms);
        let before = between(began_ms, now.wall_ms);
        let proposed = (before + left).mul_f64(share).saturating_sub(before);
        proposed.min(left - buffer).max(min_period)
    }
}

/// A time between two moments of a calendar, the first of which may be any.
fn between(from_ms: i64, to_ms: i64) -> Duration {
    Duration::from_millis(u64::try_from(to_ms.saturating_sub(from_ms)).unwrap_or(0)).min(LIFE_MAX)
}

fn no_end() -> Error {
    Error::new(ErrorKind::Authentication, "the token says nowhere when it ends")
        .hint("let the provider give a JWT with `exp`, or a function of the program say when its token ends")
}

fn has_ended(end_ms: i64, now: Moment) -> Error {
    let ago_s = between(end_ms, now.wall_ms).as_secs();
    let text = format!("the token that came has expired {ago_s} s ago");
    Error::new(ErrorKind::Authentication, text)
        .hint(
            "check this machine's clock and the provider's, and that whoever makes the token makes a new one",
        )
        .passing()
}

#[cfg(test)]
mod tests;
