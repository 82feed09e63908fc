//! Errors as Python has them. The classes are Python's own, in `ottla/errors.py`, one for each code.

use ottla_bindings::{
    BindingError,
    error::{ABORTABLE, FATAL, RETRIABLE},
};
use pyo3::{prelude::*, sync::PyOnceLock, types::PyDict};

/// An error as an exception.
pub(crate) fn raised(py: Python<'_>, error: &BindingError) -> PyErr {
    match exception(py, error) {
        Ok(exception) => PyErr::from_value(exception.into_bound(py)),
        // Out of memory, or the package is damaged.
        Err(failure) => failure,
    }
}

/// The exception as an object, for futures and callbacks.
pub(crate) fn exception(py: Python<'_>, error: &BindingError) -> PyResult<Py<PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || -> PyResult<Py<PyAny>> {
        Ok(py.import("ottla.errors")?.getattr("_make")?.unbind())
    })?;
    let about = PyDict::new(py);
    about.set_item("retriable", error.flags & RETRIABLE != 0)?;
    about.set_item("fatal", error.flags & FATAL != 0)?;
    about.set_item("abortable", error.flags & ABORTABLE != 0)?;
    about.set_item("hint", error.hint.as_deref())?;
    make.call(py, (error.code, error.name, &error.message), Some(&about))
}

/// `?` for what the bindings answer.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for Result<T, BindingError> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, &error))
    }
}
