//! Tokens of the program's own (`sasl.mechanism=OAUTHBEARER`), for C.

use std::{
    ffi::{c_char, c_void},
    sync::Arc,
};

use ottla_bindings::{BindingError, Result, TokenRequest, TokenRequests, core::Token};

use crate::{
    border::{Opaque, borrow_mut, ffi, give, list, ottla_status, share, take, text},
    config::ottla_config,
    error::ottla_error,
    queue::{Item, ottla_queue},
};

/// A client needs a token. Answer it with ottla_token_request_give() or ottla_token_request_fail(), at once or later, on any
/// thread. The client waits `sasl.login.read.timeout.ms` for that, and no longer; an answer that comes too late does nothing.
pub struct ottla_token_request {
    request: TokenRequest,
}

impl ottla_token_request {
    pub(crate) fn owned(request: TokenRequest) -> *mut Self {
        give(Self { request })
    }
}

/// Is told that a client needs a token: the request belongs to who is told. Called on an I/O thread of the client, which it must not
/// block; to answer the request is all that it may do with the library.
pub type ottla_token_fn = Option<unsafe extern "C" fn(request: *mut ottla_token_request, user: *mut c_void)>;

/// Has clients that are made of these settings, and log in by `sasl.mechanism=OAUTHBEARER`, ask `ask` for their tokens: when they
/// first connect, and before each token ends. NULL ends it, for clients made later. `user` must live as long as the clients. [one]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_set_token_fn(
    config: *mut ottla_config,
    ask: ottla_token_fn,
    user: *mut c_void,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let user = Opaque(user);
        let requests = ask.map(|ask| TokenRequests::new(move |request| {
            // SAFETY: a function of C's that keeps to what the header says.
            unsafe { ask(ottla_token_request::owned(request), user.get()) }
        }));
        borrow_mut(config)?.config.set_tokens(requests);
        Ok(())
    })
}

/// As ottla_config_set_token_fn(), by events of kind OTTLA_EV_TOKEN_REQUEST in `events`, whose object is the request, and whose token is
/// `token`. Somebody must drain that queue also while others wait for a client. NULL ends it, for clients made later. [one]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_config_set_token_queue(
    config: *mut ottla_config,
    events: *const ottla_queue,
    token: u64,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let requests = if events.is_null() {
            None
        } else {
            let queue = Arc::downgrade(&share(events)?);
            // Where the queue is gone, nobody will answer: the request is let go, which says so.
            Some(TokenRequests::new(move |request| {
                if let Some(queue) = queue.upgrade() {
                    queue.push(Item::TokenRequest { token, request });
                }
            }))
        };
        borrow_mut(config)?.config.set_tokens(requests);
        Ok(())
    })
}

/// Answers a request with a token, and frees it, whatever comes of it. `expires_ms` is when the token ends, in milliseconds since the
/// epoch; below 0 it is read from the token, if that is a JWT. `principal` says whose it is, for logs and errors; NULL where that is in the
/// token. `extensions` are `extension_count` pairs of a name and a value, which go to the broker with it. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_token_request_give(
    request: *mut ottla_token_request,
    value: *const c_char,
    expires_ms: i64,
    principal: *const c_char,
    extensions: *const *const c_char,
    extension_count: usize,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let Some(request) = take(request) else { return Err(BindingError::invalid("the request is NULL")) };
        let mut token = Token::new(text(value, "the token")?);
        if expires_ms >= 0 {
            token = token.valid_until_ms(expires_ms);
        }
        if !principal.is_null() {
            token = token.owned_by(text(principal, "the principal")?);
        }
        let count = extension_count.checked_mul(2).ok_or_else(|| BindingError::invalid("too many extensions"))?;
        let extensions = list(extensions, count)?.iter();
        let extensions: Vec<&str> =
            extensions.map(|part| text(*part, "an extension")).collect::<Result<_>>()?;
        for pair in extensions.chunks_exact(2) {
            if let [name, value] = pair {
                token = token.extension(*name, *value);
            }
        }
        request.request.give(token);
        Ok(())
    })
}

/// Says that there is no token, and why, and frees the request; NULL does nothing. With `passes` not 0 it is tried again by itself, and
/// whoever waits goes on to; else who waits is told at once. No secret belongs into `why`. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_token_request_fail(
    request: *mut ottla_token_request,
    why: *const c_char,
    passes: i32,
) {
    ffi!((); {
        if let Some(request) = take(request) {
            request.request.fail(text(why, "the reason").unwrap_or("the program has none"), passes != 0);
        }
        Ok(())
    });
}
