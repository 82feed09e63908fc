//! What clients count, by name: the same names in every language.

use std::{
    ffi::{CString, c_char},
    sync::OnceLock,
};

use ottla_bindings::{
    Result,
    core::{ConsumerMetrics, MetricInfo, ProducerMetrics},
};

use crate::{
    border::{self, Plain, borrow, ffi},
    consumer::ottla_consumer,
    producer::ottla_producer,
};

/// A metric as of now.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_metric {
    /// What it is called. Lives as long as the library.
    pub name: *const c_char,
    /// NaN where there is none yet.
    pub value: f64,
}

// SAFETY: a number and a raw pointer.
unsafe impl Plain for ottla_metric {}

/// The tables' names as C has them, once somebody asks.
type Names = OnceLock<Vec<CString>>;
static PRODUCER_NAMES: Names = OnceLock::new();
static CONSUMER_NAMES: Names = OnceLock::new();

/// What a producer has counted: fills up to `room` places, and answers how many metrics there are. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_metrics(
    producer: *const ottla_producer,
    out: *mut ottla_metric,
    room: usize,
) -> usize {
    ffi!(0; fill(&PRODUCER_NAMES, &ProducerMetrics::TABLE, &borrow(producer)?.producer.metrics()?.values(), out, room))
}

/// What a consumer has counted: fills up to `room` places, and answers how many metrics there are. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_metrics(
    consumer: *const ottla_consumer,
    out: *mut ottla_metric,
    room: usize,
) -> usize {
    ffi!(0; fill(&CONSUMER_NAMES, &ConsumerMetrics::TABLE, &borrow(consumer)?.consumer.metrics()?.values(), out, room))
}

fn fill(
    names: &'static Names,
    table: &[MetricInfo],
    values: &[Option<f64>],
    out: *mut ottla_metric,
    room: usize,
) -> Result<usize> {
    // No name has a zero in it.
    let names = names.get_or_init(|| table.iter().filter_map(|row| CString::new(row.name).ok()).collect());
    let mut places = border::room(out, room)?;
    for (name, value) in names.iter().zip(values) {
        places.push(ottla_metric { name: name.as_ptr(), value: value.unwrap_or(f64::NAN) });
    }
    Ok(names.len())
}
