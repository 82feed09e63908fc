//! Where the tokens of `sasl.mechanism=OAUTHBEARER` come from, and the one token that all connections of a client use.

mod endpoint;
mod refresh;
mod token;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};

use self::refresh::{Given, Moment, Refresh, RefreshSettings};
pub use self::token::{Token, TokenError, TokenProvider};
pub(crate) use self::{endpoint::Endpoint, token::AnyProvider};
use crate::{
    config::ClientConfig,
    error::{Error, ErrorKind, Result},
    time::now_ms,
};

/// Where tokens come from.
pub(crate) enum Source {
    /// The program.
    Program(AnyProvider),
    /// A provider, or a file.
    Endpoint(Box<Endpoint>),
}

/// The token of a client. Whoever needs it waits for the one request that is under way; a task on the client's I/O thread,
/// which begins with the first who asks, makes the requests.
pub(crate) struct Tokens {
    source: Source,
    /// `sasl.login.read.timeout.ms`: the longest wait for the program.
    limit: Duration,
    /// Leaf lock; held for no I/O.
    refresh: Mutex<Refresh>,
    /// Requests that are over, counted.
    answered: watch::Sender<u64>,
    wanted: Notify,
    is_kept: AtomicBool,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(source: Source, config: &ClientConfig) -> Arc<Self> {
        Arc::new(Self {
            source,
            limit: config.sasl_login_read_timeout,
            refresh: Mutex::new(Refresh::new(RefreshSettings::of(config), fastrand::Rng::new())),
            answered: watch::Sender::new(0),
            wanted: Notify::new(),
            is_kept: AtomicBool::new(false),
        })
    }

    /// The token that is good now; asks for one if there is none. Must be called on the client's I/O thread.
    pub(crate) async fn current(self: &Arc<Self>) -> Result<Arc<Token>> {
        if !self.is_kept.swap(true, Ordering::AcqRel) {
            drop(tokio::spawn(Arc::clone(self).keep()));
        }
        let mut answered = self.answered.subscribe();
        let mut has_waited = false;
        loop {
            match self.lock().want(has_waited, moment()) {
                Given::Token(token) => return Ok(token),
                Given::Failed(error) => return Err(error),
                Given::Wait => {}
            }
            self.wanted.notify_one();
            answered.changed().await.map_err(|_| Error::closed())?;
            has_waited = true;
        }
    }

    /// Whether there is none that is good, and why the last request failed, if it did.
    pub(crate) fn missing(&self) -> Option<Option<Error>> {
        self.lock().missing(moment())
    }

    /// The broker did not take this token.
    pub(crate) fn refused(&self, token: &Arc<Token>) {
        self.lock().handle_refusal(token, moment());
        self.wanted.notify_one();
    }

    /// Asks for tokens when they are due; never ends.
    async fn keep(self: Arc<Self>) {
        loop {
            let (is_due, next) = {
                let mut refresh = self.lock();
                (refresh.poll(moment()), refresh.next_due())
            };
            if !is_due {
                let wake = async {
                    match next {
                        Some(due) => sleep_until(Instant::from_std(due)).await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    () = wake => {}
                    () = self.wanted.notified() => {}
                }
                continue;
            }
            // On a task of its own: what panics in the program's function is that request's failure.
            let asking = Arc::clone(&self);
            let asked = tokio::spawn(async move { asking.ask().await }).await;
            let asked = asked.unwrap_or_else(|_| {
                Err(Error::new(ErrorKind::Authentication, "no token: the program's function panicked"))
            });
            match asked {
                Ok(token) => self.lock().handle_token(token, moment()),
                Err(error) => {
                    tracing::warn!(%error, "no new token");
                    self.lock().handle_failure(error, moment());
                }
            }
            self.answered.send_modify(|count| *count = count.wrapping_add(1));
        }
    }

    async fn ask(&self) -> Result<Token> {
        match &self.source {
            Source::Endpoint(endpoint) => endpoint.token().await,
            Source::Program(provider) => match timeout(self.limit, provider.token()).await {
                Ok(Ok(token)) => Ok(token),
                Ok(Err(error)) => {
                    let text = format!("no token: {error}");
                    let denied = Error::new(ErrorKind::Authentication, text)
                        .hint("see why the program's function for tokens has none");
                    Err(if error.passes { denied.passing() } else { denied }.caused_by(error))
                }
                Err(_) => {
                    let text = format!(
                        "no token: the program's function did not give one within {} ms",
                        self.limit.as_millis()
                    );
                    let late = Error::new(ErrorKind::Authentication, text);
                    Err(late.hint("answer sooner, or raise `sasl.login.read.timeout.ms`").passing())
                }
            },
        }
    }

    fn lock(&self) -> MutexGuard<'_, Refresh> {
        self.refresh.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn moment() -> Moment {
    Moment { at: Instant::now().into_std(), wall_ms: now_ms() }
}
