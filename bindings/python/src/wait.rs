//! Waiting on a Python thread: without the interpreter, and no longer than until a signal.

use std::time::Duration;

use ottla_bindings::{BindingError, Wait};
use pyo3::{exceptions::PyValueError, prelude::*};

use crate::error::raised;

/// Seconds as Python has them: none is for ever.
pub(crate) fn seconds(timeout: Option<f64>) -> PyResult<Option<Duration>> {
    let valid = |seconds: f64| {
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| PyValueError::new_err("`timeout` is a number of seconds, 0 or more, or None"))
    };
    timeout.map(valid).transpose()
}

/// Waits for what `wait_for` does. A signal whose handler raises, as Ctrl-C's does, ends the wait with that.
pub(crate) fn wait<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait_for: impl FnOnce(Wait<'_>) -> Result<T, BindingError> + Send,
) -> PyResult<T> {
    let mut signal = None;
    let outcome = py.detach(|| {
        let mut is_interrupted = || match Python::attach(|py| py.check_signals()) {
            Ok(()) => false,
            Err(error) => {
                signal = Some(error);
                true
            }
        };
        let wait = timeout.map_or_else(Wait::forever, Wait::at_most);
        wait_for(wait.unless(&mut is_interrupted))
    });
    match (outcome, signal) {
        (_, Some(signal)) => Err(signal),
        (outcome, None) => outcome.map_err(|error| raised(py, &error)),
    }
}
