//! How a program in another language gives a client its tokens (`sasl.mechanism=OAUTHBEARER`): it is told by a [`TokenRequest`]
//! that one is needed, and answers that at any time, on any thread or event loop. A client waits no longer than
//! `sasl.login.read.timeout.ms`, whatever becomes of the request.

use std::{
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Poll, Waker},
};

use crate::core::{Token, TokenError, TokenProvider};

/// Whom the clients of a [`crate::Config`] ask for tokens.
#[derive(Clone)]
pub struct TokenRequests(Arc<dyn Fn(TokenRequest) + Send + Sync>);

impl TokenRequests {
    /// `ask` is called on a client's I/O thread, once for each token; it must not block, and may keep the request.
    pub fn new(ask: impl Fn(TokenRequest) + Send + Sync + 'static) -> Self {
        Self(Arc::new(ask))
    }
}

impl fmt::Debug for TokenRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenRequests")
    }
}

impl TokenProvider for TokenRequests {
    async fn token(&self) -> Result<Token, TokenError> {
        let slot = Arc::new(Mutex::new(Slot { answer: None, waker: None }));
        (self.0)(TokenRequest { slot: Some(Arc::clone(&slot)) });
        poll_fn(|cx| {
            let mut slot = lock(&slot);
            match slot.answer.take() {
                Some(answer) => Poll::Ready(answer),
                None => {
                    slot.waker = Some(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// A client needs a token. One that is dropped unanswered is a failure.
pub struct TokenRequest {
    slot: Option<Arc<Mutex<Slot>>>,
}

struct Slot {
    answer: Option<Result<Token, TokenError>>,
    waker: Option<Waker>,
}

impl TokenRequest {
    /// Here it is.
    pub fn give(mut self, token: Token) {
        self.answer(Ok(token));
    }

    /// There is none, and why. With `passes` it is tried again, and whoever waits goes on to.
    pub fn fail(mut self, why: &str, passes: bool) {
        self.answer(Err(if passes { TokenError::passing(why) } else { TokenError::new(why) }));
    }

    /// Whether nobody waits for it any more.
    pub fn is_over(&self) -> bool {
        self.slot.as_ref().is_none_or(|slot| Arc::strong_count(slot) == 1)
    }

    fn answer(&mut self, answer: Result<Token, TokenError>) {
        let Some(slot) = self.slot.take() else { return };
        let waker = {
            let mut slot = lock(&slot);
            slot.answer = Some(answer);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Drop for TokenRequest {
    fn drop(&mut self) {
        self.answer(Err(TokenError::passing("the request for it was let go without an answer")));
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

fn lock(slot: &Mutex<Slot>) -> MutexGuard<'_, Slot> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}
