//! Tokens of the program's own: `oauth_cb`, called on a thread for that request alone, so that it may take its time.

use std::{sync::Arc, thread};

use ottla_bindings::{Config, TokenRequest, TokenRequests, core::Token};
use pyo3::{exceptions::PyTypeError, prelude::*};

use crate::event_loop::EventLoop;

/// What a request is answered with: the token, when it ends in milliseconds, whose it is, extensions.
type Given = (String, Option<i64>, Option<String>, Vec<(String, String)>);

/// Has clients of `config` ask `callback` for their tokens. Those of an event loop have it await what that function gives.
pub(crate) fn set(
    py: Python<'_>,
    config: &mut Config,
    callback: Py<PyAny>,
    event_loop: Option<&Py<EventLoop>>,
) -> PyResult<()> {
    // A provider of kafka-python or aiokafka is an object with this method.
    let has_method = callback.bind(py).hasattr("token")?;
    if !callback.bind(py).is_callable() && !has_method {
        return Err(PyTypeError::new_err("`oauth_cb` is a function that gives a token"));
    }
    let running = match event_loop {
        Some(_) => py.import("asyncio")?.call_method0("get_running_loop")?.unbind(),
        None => py.None(),
    };
    let both = Arc::new((callback, running));
    config.set_tokens(Some(TokenRequests::new(move |request| {
        let both = Arc::clone(&both);
        // Where no thread can be started, the request is let go, which says so.
        let _ = thread::Builder::new().name("ottla-token".into()).spawn(move || answer(request, &both));
    })));
    Ok(())
}

fn answer(request: TokenRequest, both: &(Py<PyAny>, Py<PyAny>)) {
    // None once the interpreter is ending.
    let given = Python::try_attach(|py| -> Result<Given, (String, bool)> {
        let asked =
            || py.import("ottla._tokens")?.call_method1("ask", (&both.0, &both.1))?.extract::<Given>();
        asked().map_err(|error| {
            let why = format!("{}: {}", error.get_type(py), error.value(py));
            let described = py.import("ottla._tokens").and_then(|tokens| {
                tokens.call_method1("described", (error.value(py),))?.extract::<(String, bool)>()
            });
            described.unwrap_or((why, false))
        })
    });
    match given {
        None => drop(request),
        Some(Err((why, passes))) => request.fail(&why, passes),
        Some(Ok((value, end_ms, principal, extensions))) => {
            let mut token = Token::new(value);
            if let Some(end_ms) = end_ms {
                token = token.valid_until_ms(end_ms);
            }
            if let Some(principal) = principal {
                token = token.owned_by(principal);
            }
            request.give(
                extensions.into_iter().fold(token, |token, (name, value)| token.extension(name, value)),
            );
        }
    }
}
