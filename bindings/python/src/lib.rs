//! `_ottla`: the native half of the package `ottla`. Conversions only; what they convert is `ottla-bindings`.
//!
//! - Nothing of Python is touched on an I/O thread: what ends there goes to a queue, which a Python thread, or the event loop,
//!   drains. So no I/O ever waits for the interpreter.
//! - The interpreter is let go wherever something is waited for, and not for the send of a record, which only copies it.
//! - A wait ends for a signal within [`ottla_bindings::blocking::SLICE`].

mod admin;
mod callback;
mod config;
mod consumer;
mod convert;
mod error;
mod event_loop;
mod log;
mod per_process;
mod producer;
mod record;
mod tokens;
mod wait;

use pyo3::prelude::*;

/// The native half of `ottla`.
#[pymodule(gil_used = false)]
fn _ottla(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add_class::<producer::Producer>()?;
    module.add_class::<producer::DeliveryFuture>()?;
    module.add_class::<producer::BatchFuture>()?;
    module.add_class::<producer::RecordMetadata>()?;
    module.add_class::<consumer::Consumer>()?;
    module.add_class::<record::Record>()?;
    module.add_class::<record::RecordBatch>()?;
    module.add_class::<record::RecordIterator>()?;
    module.add_class::<admin::Admin>()?;
    module.add_class::<event_loop::EventLoop>()?;
    module.add_function(wrap_pyfunction!(log::set_log_level, module)?)?;
    Ok(())
}
