//! The keys by which a listener judges tokens: got from the provider in the background, as Kafka's `RefreshingHttpsJwks` does.
//!
//! Logins read what there is ([`Keys::current`]) and wait for nothing. One task ([`Keys::keep_fresh`]) asks the provider: when the broker starts,
//! from time to time, and early when a login met a key that is not known ([`Keys::want`]), which helps the next login. While the
//! provider is away, what it gave last is kept.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use ottla_protocol::types::Str;
use ottla_transport::{
    jwt::KeySet,
    provider::{self, Failure, Location, Patience, ProviderError, Request},
    tls::TlsConnector,
};
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};

/// Where keys come from, and what came.
#[derive(Debug)]
pub(crate) struct Keys {
    /// Whose they are: for the log.
    pub(super) listener: Str,
    pub(super) location: Location,
    pub(super) tls: Option<TlsConnector>,
    pub(super) patience: Patience,
    pub(super) pace: Pace,
    /// Written by the task alone, read by logins.
    pub(super) current: ArcSwapOption<KeySet>,
    /// A login met a key that is not known.
    pub(super) wanted: Notify,
}

impl Keys {
    /// The keys that came last; `None` as long as none did.
    pub(crate) fn current(&self) -> Option<Arc<KeySet>> {
        self.current.load_full()
    }

    /// Has the provider asked early, as soon as the pace allows.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Asks the provider again and again, until it is dropped.
    pub(crate) async fn keep_fresh(self: Arc<Self>) {
        let mut pace = self.pace;
        let mut is_early = false;
        let mut is_away = false;
        loop {
            let found = match self.fetch().await {
                Ok(keys) => self.take(keys, is_away),
                Err(error) => {
                    self.complain(&error, is_away);
                    Found::Nothing
                }
            };
            is_away = found == Found::Nothing;
            let Pause { least, most } = pace.after(found, is_early);
            sleep(least).await;
            is_early = timeout(most.saturating_sub(least), self.wanted.notified()).await.is_ok();
        }
    }

    async fn fetch(&self) -> Result<KeySet, ProviderError> {
        let request = Request::get(&self.location).with_header("accept", "application/json");
        let answer = provider::ask(request, self.tls.as_ref(), self.patience).await?;
        let content = answer.content(&self.location)?;
        KeySet::parse(&content)
            .map_err(|error| ProviderError::new(&self.location, Failure::Content(error.to_string())))
    }

    fn take(&self, keys: KeySet, was_away: bool) -> Found {
        let listener = &*self.listener;
        if self.current.load().as_deref() == Some(&keys) {
            if was_away {
                tracing::info!(listener, from = %self.location, "the keys that check tokens are to be had again");
            }
            return Found::Same;
        }
        for ignored in keys.ignored() {
            let id = ignored.id.as_deref().unwrap_or_default().escape_debug();
            tracing::debug!(listener, from = %self.location, "the key `{id}` {}", ignored.why);
        }
        tracing::info!(listener, from = %self.location, keys = keys.len(), "there are new keys to check tokens with");
        self.current.store(Some(Arc::new(keys)));
        Found::New
    }

    /// Once for an outage: it may last.
    fn complain(&self, error: &ProviderError, was_away: bool) {
        let listener = &*self.listener;
        if was_away {
            tracing::debug!(listener, %error, "the keys that check tokens are still not to be had");
        } else if self.current.load().is_some() {
            tracing::warn!(
                listener,
                "the keys that check tokens cannot be refreshed; going on with those there are: {error}"
            );
        } else {
            tracing::warn!(
                listener,
                "there are no keys to check tokens with, so that nobody can log in by OAUTHBEARER: {error}"
            );
        }
    }
}

/// How often a provider is asked. Does no I/O.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// `sasl.oauthbearer.jwks.endpoint.refresh.ms`.
    pub(super) refresh: Duration,
    /// `sasl.oauthbearer.jwks.endpoint.retry.backoff.ms`.
    pub(super) retry: Duration,
    /// `sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms`.
    pub(super) retry_max: Duration,
    /// Times in a row that it was asked to no end: it gave nothing, or was asked early and gave what there was.
    pub(super) in_vain: u32,
}

/// What a provider gave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Found {
    New,
    Same,
    Nothing,
}

/// How long the provider is left alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Pause {
    /// Whatever happens.
    least: Duration,
    /// If nobody wants keys.
    most: Duration,
}

impl Pace {
    pub(super) fn new(refresh: Duration, retry: Duration, retry_max: Duration) -> Self {
        Self { refresh, retry, retry_max: retry_max.max(retry), in_vain: 0 }
    }

    /// The pause after this. Who makes up names of keys has the provider asked ever less often, until there is something new.
    fn after(&mut self, found: Found, was_early: bool) -> Pause {
        self.in_vain = match found {
            Found::Nothing => self.in_vain.saturating_add(1),
            Found::Same if was_early => self.in_vain.saturating_add(1),
            Found::Same | Found::New => 0,
        };
        let doublings = self.in_vain.saturating_sub(1).min(30);
        let least = self.retry.saturating_mul(1 << doublings).min(self.retry_max);
        let most = if found == Found::Nothing { least } else { self.refresh.max(least) };
        Pause { least, most }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_provider_is_asked_anew_in_time_and_never_too_often() {
        let ms = Duration::from_millis;
        let mut pace = Pace::new(ms(60_000), ms(100), ms(1_000));
        let mut after = |found, was_early| {
            let Pause { least, most } = pace.after(found, was_early);
            (least.as_millis(), most.as_millis())
        };
        // While it is away, ever less often, but for ever.
        for pause in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(after(Found::Nothing, false), (pause, pause));
        }
        assert_eq!(after(Found::New, false), (100, 60_000));
        // Keys that nobody has are wanted again and again.
        for pause in [100, 200, 400, 800, 1_000, 1_000] {
            assert_eq!(after(Found::Same, true), (pause, 60_000));
        }
        assert_eq!(after(Found::New, true), (100, 60_000));
        assert_eq!(after(Found::Same, false), (100, 60_000));
        let mut odd = Pace::new(ms(1), ms(100), ms(1));
        assert_eq!(odd.after(Found::Same, false), Pause { least: ms(100), most: ms(100) });
        odd.in_vain = u32::MAX;
        assert_eq!(odd.after(Found::Nothing, false), Pause { least: ms(100), most: ms(100) });
    }
}
