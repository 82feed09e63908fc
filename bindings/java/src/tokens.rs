//! Tokens of the program's own: a client asks by an event, and Java answers by number.

use std::sync::Arc;

use jni::{
    EnvUnowned,
    objects::{JByteArray, JClass},
    sys::jlong,
};
use ottla_bindings::{Config, TokenRequests, core::Token, error::Result};

use crate::{
    border::{ask, nothing},
    registry::{QUEUES, TOKEN_REQUESTS},
    wire::Reader,
};

/// Behind the settings: who gives tokens, by number, and where Java hears that one is needed; 0 for nobody.
pub(crate) fn set(config: &mut Config, request: &mut Reader<'_>) -> Result<()> {
    let provider = request.i64()?;
    if provider != 0 {
        let queue = QUEUES.get(request.i64()?)?;
        config.set_tokens(Some(TokenRequests::new(move |request| queue.token_request(provider, request))));
    }
    Ok(())
}

/// Answers a request with a token. One that was answered before is none any more, and nothing happens.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_tokenGive<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    token: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, token, |given| {
        let mut token = Token::new(given.text()?);
        let end_ms = given.i64()?;
        if end_ms >= 0 {
            token = token.valid_until_ms(end_ms);
        }
        let principal = given.text()?;
        if !principal.is_empty() {
            token = token.owned_by(principal);
        }
        for (name, value) in given.list(|pair| Ok((pair.text()?, pair.text()?)))? {
            token = token.extension(name, value);
        }
        if let Some(request) = TOKEN_REQUESTS.take(number).and_then(Arc::into_inner) {
            request.give(token);
        }
        Ok(nothing())
    })
}

/// Says that there is none, and why, and whether that may pass by itself.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_tokenFail<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    why: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, why, |said| {
        let (why, passes) = (said.text()?, said.bool()?);
        if let Some(request) = TOKEN_REQUESTS.take(number).and_then(Arc::into_inner) {
            request.fail(&why, passes);
        }
        Ok(nothing())
    })
}
