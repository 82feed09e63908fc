//! Where all that ends on an I/O thread waits for Java: one thread of Java's takes it, many things at a time.
//!
//! So no I/O thread ever enters the JVM: a pause of its collector stops neither heartbeats nor answers, and there is no thread of
//! ours that the JVM would have to wait for when it ends.

use std::{
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use ottla_bindings::{
    BindingError, Call, CompletionQueue, TokenRequest,
    core::{Rebalance, RebalanceKind, ReportBatch},
    error::Result,
    log::{LogLevel, set_log},
};

use crate::{
    border::written,
    registry::{PRODUCERS, REBALANCES, TOKEN_REQUESTS, registered},
    wire::Writer,
};

/// Lines of the log that wait for Java, at most: what comes when it does not take them is dropped.
const WAITING_LINES_MAX: usize = 10_000;

/// Things that are taken at once, at most: so that what is made of them does not grow without bound.
const EVENTS_MAX: usize = 4_096;

/// The queue of a class loader that has loaded the jar.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    events: CompletionQueue<Event>,
}

#[derive(Debug)]
enum Event {
    /// A call.
    Ended(i64, Result<Vec<u8>>),
    /// Deliveries have come to the producer of this number.
    Deliveries(i64),
    /// The consumer of this number, which Java waits for, may have something.
    Ready(i64),
    /// A step of a rebalance of the consumer of this number.
    Rebalance(i64, Arc<Rebalance>),
    /// A client needs a token of the provider of this number.
    TokenRequest(i64, TokenRequest),
    /// Java has something else to do.
    Nudge,
    /// A line of the log.
    Log(LogLevel, String, String),
}

impl Queue {
    /// Starts a call; its outcome comes with `token`.
    pub(crate) fn start(self: &Arc<Self>, token: i64, call: Call<Writer>) {
        let queue = Arc::clone(self);
        call.start(move |outcome| queue.events.push(Event::Ended(token, outcome.map(Writer::into_bytes))));
    }

    /// A call that could not even begin.
    pub(crate) fn refuse(&self, token: i64, error: BindingError) {
        self.events.push(Event::Ended(token, Err(error)));
    }

    pub(crate) fn deliveries(&self, producer: i64) {
        self.events.push(Event::Deliveries(producer));
    }

    pub(crate) fn ready(&self, consumer: i64) {
        self.events.push(Event::Ready(consumer));
    }

    pub(crate) fn rebalance(&self, consumer: i64, rebalance: Rebalance) {
        self.events.push(Event::Rebalance(consumer, Arc::new(rebalance)));
    }

    pub(crate) fn token_request(&self, provider: i64, request: TokenRequest) {
        self.events.push(Event::TokenRequest(provider, request));
    }

    /// Ends a wait that is under way, or the next.
    pub(crate) fn nudge(&self) {
        self.events.push(Event::Nudge);
    }

    /// Waits for something, as long as `timeout`; all that has come, for `dev.ottla.Completions`.
    pub(crate) fn take(&self, timeout: Duration) -> Writer {
        let mut out = Writer::default();
        if !self.events.wait(Some(timeout)) {
            return out;
        }
        let mut events = Vec::new();
        self.events.drain(&mut events, EVENTS_MAX);
        for event in events {
            write(&mut out, event);
        }
        out
    }
}

/// From now on lines up to `level` come to `queue`, for as long as there is one.
pub(crate) fn log_to(queue: &Arc<Queue>, level: i32) {
    static LINES: Mutex<Weak<Queue>> = Mutex::new(Weak::new());
    *LINES.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(queue);
    set_log(LogLevel::of(level), |level, target, text| {
        let queue = LINES.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        if let Some(queue) = queue.filter(|queue| queue.events.len() < WAITING_LINES_MAX) {
            queue.events.push(Event::Log(level, target.replace("::", "."), text.to_owned()));
        }
    });
}

fn write(out: &mut Writer, event: Event) {
    match event {
        Event::Ended(token, outcome) => {
            out.u8(1).i64(token).outcome(outcome, |out, bytes| _ = out.blob(&bytes));
        }
        Event::Deliveries(producer) => {
            let batches = PRODUCERS.get(producer).and_then(|producer| producer.take_deliveries());
            // Of one that was let go, Java asks for no deliveries any more.
            if let Ok(batches) = batches {
                let told = written(|out| _ = out.list(&batches, deliveries));
                out.u8(2).i64(producer).blob(&told.into_bytes());
            }
        }
        Event::Ready(consumer) => _ = out.u8(3).i64(consumer),
        Event::Rebalance(consumer, rebalance) => {
            let kind = match rebalance.kind() {
                RebalanceKind::Assigned => 0,
                RebalanceKind::Revoked => 1,
                RebalanceKind::Lost => 2,
            };
            let number = registered(&REBALANCES, Arc::clone(&rebalance));
            out.u8(4).i64(consumer).i64(number).u8(kind).partitions(rebalance.partitions());
        }
        Event::TokenRequest(provider, request) => {
            _ = out.u8(6).i64(provider).i64(registered(&TOKEN_REQUESTS, Arc::new(request)));
        }
        Event::Nudge => {}
        Event::Log(level, target, text) => _ = out.u8(5).u8(level as u8).text(&target).text(&text),
    }
}

/// The records of a batch share their fate.
fn deliveries(out: &mut Writer, batch: &ReportBatch) {
    out.text(batch.topic()).i32(batch.partition());
    let outcome = batch.error().map_or(Ok(()), |error| Err(BindingError::from(error)));
    out.outcome(outcome, |_, ()| {});
    out.list(batch.reports(), |out, report| {
        _ = out.i64(report.token.cast_signed()).i64(report.offset).i64(report.timestamp);
    });
}
