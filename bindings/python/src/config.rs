//! Settings: where the brokers are, a dict with Kafka's keys, keyword arguments in snake case.

use ottla_bindings::Config;
use pyo3::{
    exceptions::PyTypeError,
    prelude::*,
    types::{PyBool, PyDict, PyList, PyString, PyTuple},
};

use crate::{error::OrRaise, event_loop::EventLoop, tokens};

/// Under which name a program gives its function for tokens, also among settings, as confluent-kafka has it.
const OAUTH_CB: &str = "oauth_cb";

/// The settings that a client was given. `servers` is where the brokers are, or a dict with all. `tokens_of_program` is what `oauth_cb`
/// is, and the event loop of a client that has one.
pub(crate) fn config(
    py: Python<'_>,
    servers: Option<&Bound<'_, PyAny>>,
    settings: Option<&Bound<'_, PyDict>>,
    options: Option<&Bound<'_, PyDict>>,
    tokens_of_program: (Option<Py<PyAny>>, Option<&Py<EventLoop>>),
) -> PyResult<Config> {
    let (oauth_cb, event_loop) = tokens_of_program;
    let mut config = Config::new();
    let mut given = Given { config: &mut config, seen: Vec::new(), oauth_cb };
    if let Some(servers) = servers.filter(|servers| !servers.is_none()) {
        match servers.cast::<PyDict>() {
            Ok(dict) => given.all(py, dict)?,
            Err(_) => given.one(py, "bootstrap.servers", servers)?,
        }
    }
    for dict in [settings, options].into_iter().flatten() {
        given.all(py, dict)?;
    }
    if let Some(callback) = given.oauth_cb {
        tokens::set(py, &mut config, callback, event_loop)?;
    }
    Ok(config)
}

struct Given<'a> {
    config: &'a mut Config,
    /// Keys in snake case with what was given for them.
    seen: Vec<(String, String)>,
    oauth_cb: Option<Py<PyAny>>,
}

impl Given<'_> {
    fn all(&mut self, py: Python<'_>, settings: &Bound<'_, PyDict>) -> PyResult<()> {
        for (key, value) in settings {
            let key: String = key.extract().map_err(|_| PyTypeError::new_err("a setting's name is a str"))?;
            if key == OAUTH_CB {
                if !value.is_none() && self.oauth_cb.replace(value.unbind()).is_some() {
                    return Err(PyTypeError::new_err(format!("`{OAUTH_CB}` is given twice")));
                }
                continue;
            }
            // None is as good as not given: so options can be passed through.
            if !value.is_none() {
                self.one(py, &key, &value)?;
            }
        }
        Ok(())
    }

    fn one(&mut self, py: Python<'_>, key: &str, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let (key, value) = match duration_ms(value) {
            // `linger=timedelta(...)` is `linger_ms`.
            Some(ms) if !key.ends_with("ms") => (format!("{key}_ms"), ms),
            Some(ms) => (key.to_owned(), ms),
            None => (key.to_owned(), text(value)?),
        };
        let name = key.replace(['.', '-'], "_").to_lowercase();
        if let Some((_, before)) = self.seen.iter().find(|(seen, before)| *seen == name && *before != value) {
            let text = format!("`{key}` is given twice: `{before}` and `{value}`");
            return Err(PyTypeError::new_err(text));
        }
        self.config.set(&key, &value).or_raise(py)?;
        self.seen.push((name, value));
        Ok(())
    }
}

/// A `timedelta` in milliseconds.
fn duration_ms(value: &Bound<'_, PyAny>) -> Option<String> {
    let seconds: f64 = value.call_method0(pyo3::intern!(value.py(), "total_seconds")).ok()?.extract().ok()?;
    Some(((seconds * 1e3).round() as i64).to_string())
}

/// A value as Kafka's files have it.
fn text(value: &Bound<'_, PyAny>) -> PyResult<String> {
    if let Ok(is) = value.cast::<PyBool>() {
        return Ok(is.is_true().to_string());
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        let parts: Vec<String> = value.try_iter()?.map(|part| text(&part?)).collect::<PyResult<_>>()?;
        return Ok(parts.join(","));
    }
    // An enumeration's member stands for its value.
    if !value.is_instance_of::<PyString>()
        && let Ok(member) = value.getattr(pyo3::intern!(value.py(), "value"))
    {
        return text(&member);
    }
    Ok(value.str()?.to_string())
}
