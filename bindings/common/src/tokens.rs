//! How a program in another language gives a client its tokens (`sasl.mechanism=OAUTHBEARER`): it is told by a [`TokenRequest`]
//! that one is needed, and answers that at any time, on any thread or event loop. A client waits no longer than
//! `sasl.login.read.timeout.ms`, whatever becomes of the request.

use std::{fmt, sync::Arc};

use futures_channel::oneshot;

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
        let (answer, answered) = oneshot::channel();
        (self.0)(TokenRequest { answer });
        let let_go = |_| Err(TokenError::passing("the request for it was let go without an answer"));
        answered.await.unwrap_or_else(let_go)
    }
}

/// A client needs a token. One that is dropped unanswered is a failure.
pub struct TokenRequest {
    answer: oneshot::Sender<Result<Token, TokenError>>,
}

impl TokenRequest {
    /// Here it is.
    pub fn give(self, token: Token) {
        self.answer(Ok(token));
    }

    /// There is none, and why. With `passes` it is tried again, and whoever waits goes on to.
    pub fn fail(self, why: &str, passes: bool) {
        self.answer(Err(if passes { TokenError::passing(why) } else { TokenError::new(why) }));
    }

    /// Whether nobody waits for it any more.
    pub fn is_over(&self) -> bool {
        self.answer.is_canceled()
    }

    /// Who does not wait any more hears nothing.
    fn answer(self, answer: Result<Token, TokenError>) {
        drop(self.answer.send(answer));
    }
}

impl fmt::Debug for TokenRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenRequest").field("is_over", &self.is_over()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::blocking::Wait;

    fn asked(ask: impl Fn(TokenRequest) + Send + Sync + 'static) -> Result<Token, TokenError> {
        Wait::forever().on(TokenRequests::new(ask).token()).unwrap()
    }

    #[test]
    fn a_request_ends_with_a_token_or_with_why_there_is_none() {
        assert_eq!(asked(|request| request.give(Token::new("t"))).unwrap(), Token::new("t"));
        let later = |request: TokenRequest| drop(std::thread::spawn(|| request.give(Token::new("t"))));
        assert_eq!(asked(later).unwrap(), Token::new("t"));
        let sealed = asked(|request| request.fail("the vault is sealed", false)).unwrap_err();
        assert_eq!(sealed.to_string(), "the vault is sealed");
        assert!(asked(drop).unwrap_err().to_string().contains("without an answer"));
    }

    #[test]
    fn an_answer_that_nobody_waits_for_does_nothing() {
        let kept = Arc::new(Mutex::new(None));
        let place = Arc::clone(&kept);
        let requests = TokenRequests::new(move |request| *place.lock().unwrap() = Some(request));
        let asked = Wait::ms(1).on(requests.token());
        assert!(asked.is_err());
        let request = kept.lock().unwrap().take().unwrap();
        assert!(request.is_over());
        request.give(Token::new("t"));
    }
}
