//! Sending: what `node/src/producer.ts` stands on.

use std::{rc::Rc, sync::Arc};

use napi::{
    Env, Unknown,
    bindgen_prelude::{BigInt64ArraySlice, Object, ToNapiValue},
};
use napi_derive::napi;
use ottla_bindings::{self as bindings, BindingError, Wait, core::ProducerMetrics};

use crate::{
    convert::{config, ms},
    event_loop::{Ended, EventLoop, OrThrow},
    held::Held,
    tokens,
};

/// A producer, by its number among those of its thread.
#[napi]
pub struct Producer {
    held: Held<bindings::Producer>,
}

/// What has been delivered, batch by batch. The table has for each batch three cells, its partition, how many records it has
/// and which of the errors it failed with, or -1; then for each record three, its token, offset and timestamp. Offsets are
/// integers of 64 bits, all else is floating-point numbers in as many bits.
#[napi(object, object_from_js = false)]
pub struct Deliveries<'e> {
    pub topics: Vec<String>,
    pub errors: Vec<Unknown<'e>>,
    pub table: BigInt64ArraySlice<'e>,
}

#[napi]
impl Producer {
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        event_loop: &EventLoop,
        number: u32,
        settings: Vec<(String, String)>,
        provider: Option<u32>,
    ) -> napi::Result<Self> {
        let shared = Rc::clone(&event_loop.shared);
        let mut config = config(&settings).or_throw(env, &shared)?;
        tokens::set(&mut config, &shared, provider);
        let made = config.producer().and_then(|keys| bindings::Producer::with_tokens(keys, config.tokens()));
        let producer = made.or_throw(env, &shared)?;
        let queue = Arc::clone(&shared.queue);
        producer
            .on_refusal(move |token, error| queue.push(Ended::Refused { producer: number, token, error }));
        let queue = Arc::clone(&shared.queue);
        producer.on_deliveries(move || queue.push(Ended::Deliveries(number))).or_throw(env, &shared)?;
        Ok(Self { held: Held::new(producer, shared) })
    }

    /// A number for a topic, the same for the same name.
    #[napi]
    pub fn intern(&self, env: &Env, topic: String) -> napi::Result<u32> {
        self.held.ask(env, |producer| Ok(producer.intern(&topic)))
    }

    /// Takes the records in the first `bytes` of `data` and the first `words` of `table`, as `ottla_bindings::packed` has them.
    /// Their tokens count up from `first_token`; below 0, nobody is told of them. Answers how many wait for room.
    #[napi]
    pub fn send(
        &self,
        env: &Env,
        data: &[u8],
        bytes: u32,
        table: &[u32],
        words: u32,
        first_token: f64,
    ) -> napi::Result<u32> {
        let data = data.get(..bytes as usize).unwrap_or_default();
        let table = table.get(..words as usize).unwrap_or_default();
        // A token is a whole number that JavaScript counts.
        let first_token = (first_token >= 0.0).then_some(first_token as u64);
        let waiting =
            self.held.ask(env, |producer| producer.send_packed_in_turn(data, table, first_token))?;
        Ok(u32::try_from(waiting).unwrap_or(u32::MAX))
    }

    /// What has been delivered since it was last asked.
    #[napi]
    pub fn take_deliveries<'e>(&self, env: &'e Env) -> napi::Result<Deliveries<'e>> {
        let batches = self.held.ask(env, bindings::Producer::take_deliveries)?;
        let mut cells = Vec::with_capacity(batches.iter().map(|batch| 3 * (1 + batch.len())).sum());
        let (mut topics, mut errors) = (Vec::with_capacity(batches.len()), Vec::new());
        for batch in &batches {
            let failure = match batch.error() {
                None => -1.0,
                Some(error) => {
                    errors.push(self.held.shared.error(env, &BindingError::from(error))?);
                    (errors.len() - 1) as f64
                }
            };
            topics.push(batch.topic().to_string());
            cells.extend([cell(batch.partition().into()), cell(batch.len() as f64), cell(failure)]);
            let reports = batch.reports();
            cells.extend(reports.flat_map(|report| {
                [cell(report.token as f64), report.offset, cell(report.timestamp as f64)]
            }));
        }
        Ok(Deliveries { topics, errors, table: BigInt64ArraySlice::copy_from(env, &cells)? })
    }

    /// Ends when nothing waits for room any more.
    #[napi]
    pub fn caught_up(&self, token: f64) {
        self.held.start_unit(token, bindings::Producer::caught_up);
    }

    #[napi]
    pub fn flush(&self, token: f64) {
        self.held.start_unit(token, bindings::Producer::flush);
    }

    /// As `flush`, waiting on this thread: for when the program ends.
    #[napi]
    pub fn flush_now(&self, env: &Env, timeout_ms: f64) -> napi::Result<()> {
        self.held.ask(env, |producer| producer.flush().wait(Wait::at_most(ms(timeout_ms))))
    }

    #[napi]
    pub fn close(&self, token: f64, timeout_ms: f64) {
        self.held.start_unit(token, |producer| producer.close(ms(timeout_ms)));
    }

    /// It was closed: it has a thread no more.
    #[napi]
    pub fn let_go(&self) {
        self.held.let_go();
    }

    #[napi]
    pub fn partition_count(&self, token: f64, topic: String) {
        let count = self.held.call(|producer| producer.partition_count(topic));
        self.held.shared.start(token, count, |env, _, count| (count as f64).into_unknown(env));
    }

    /// What it has counted, by Kafka's names; null where there is nothing yet.
    #[napi]
    pub fn metrics<'e>(&self, env: &'e Env) -> napi::Result<Object<'e>> {
        let values = self.held.ask(env, bindings::Producer::metrics)?.values();
        let mut metrics = Object::new(env)?;
        for (metric, value) in ProducerMetrics::TABLE.iter().zip(values) {
            metrics.set(metric.name, value)?;
        }
        Ok(metrics)
    }
}

/// A number as a cell of the table.
#[inline]
fn cell(number: f64) -> i64 {
    number.to_bits().cast_signed()
}
