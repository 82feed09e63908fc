//! Tokens of the program's own: a client asks by an entry of its thread's event loop, and JavaScript answers by number.

use std::sync::Arc;

use napi_derive::napi;
use ottla_bindings::{Config, TokenRequests, core::Token};

use crate::event_loop::{Ended, EventLoop, Shared};

/// A token, as JavaScript gives it.
#[napi(object, object_to_js = false)]
pub struct Given {
    pub value: String,
    /// When it ends, in milliseconds since 1970; without it the token says so itself.
    pub end_ms: Option<f64>,
    pub principal: Option<String>,
    pub extensions: Vec<(String, String)>,
}

#[napi]
impl EventLoop {
    /// Answers a request with a token; one that is over takes it, and does nothing.
    #[napi]
    pub fn give_token(&self, request: u32, given: Given) {
        let Some(request) = self.shared.token_requests.borrow_mut().remove(&request) else { return };
        let Given { value, end_ms, principal, extensions } = given;
        let mut token = Token::new(value);
        if let Some(end_ms) = end_ms {
            token = token.valid_until_ms(end_ms as i64);
        }
        if let Some(principal) = principal {
            token = token.owned_by(principal);
        }
        request.give(extensions.into_iter().fold(token, |token, (name, value)| token.extension(name, value)));
    }

    /// Answers it with why there is none, and whether that may pass by itself.
    #[napi]
    pub fn fail_token(&self, request: u32, why: String, passes: bool) {
        if let Some(request) = self.shared.token_requests.borrow_mut().remove(&request) {
            request.fail(&why, passes);
        }
    }
}

/// Has clients of `config` ask the provider of this number for their tokens, if there is one.
pub(crate) fn set(config: &mut Config, shared: &Shared, provider: Option<u32>) {
    let Some(provider) = provider else { return };
    let queue = Arc::clone(&shared.queue);
    config.set_tokens(Some(TokenRequests::new(move |request| {
        queue.push(Ended::TokenRequest { provider, request });
    })));
}
