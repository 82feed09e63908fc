//! Reading: what `node/src/consumer.ts` stands on.

use std::{rc::Rc, sync::Arc};

use napi::{
    Env,
    bindgen_prelude::{BigInt, BufferSlice, Object, ToNapiValue},
};
use napi_derive::napi;
use ottla_bindings::{
    self as bindings, Next, RecordView,
    core::{BatchPlace, ConsumerMetrics, TopicPartition},
};

use crate::{
    convert::{At, Committed, Place, config, i64_of, ms, partitions_of, place_of},
    event_loop::{Ended, EventLoop, OrThrow},
    held::Held,
    tokens,
};

/// Bytes that the memory in which a batch is put together keeps, at most, for the next one.
const SCRATCH_BYTES_MAX: usize = 4 << 20;

/// A consumer, by its number among those of its thread.
#[napi]
pub struct Consumer {
    held: Held<bindings::Consumer>,
    scratch: std::cell::RefCell<Vec<u8>>,
}

/// Records of one partition: their table, 64 bytes for each (`ottla_bindings::RecordView`), and behind it their bytes. A place in
/// the table counts from `base`.
#[napi(object, object_from_js = false)]
pub struct Batch<'e> {
    pub topic: String,
    pub partition: i32,
    pub tenure: u32,
    pub count: u32,
    pub next_offset: BigInt,
    pub high_watermark: Option<BigInt>,
    pub data: BufferSlice<'e>,
    pub base: f64,
}

#[napi]
impl Consumer {
    /// With `listens`, steps of rebalances come by the event loop, and the group waits until each is done with.
    #[napi(constructor)]
    pub fn new(
        env: &Env,
        event_loop: &EventLoop,
        number: u32,
        settings: Vec<(String, String)>,
        listens: bool,
        provider: Option<u32>,
    ) -> napi::Result<Self> {
        let shared = Rc::clone(&event_loop.shared);
        let mut config = config(&settings).or_throw(env, &shared)?;
        tokens::set(&mut config, &shared, provider);
        let made = config.consumer().and_then(|keys| bindings::Consumer::with_tokens(keys, config.tokens()));
        let consumer = made.or_throw(env, &shared)?;
        if listens {
            let queue = Arc::clone(&shared.queue);
            let take = move |rebalance| queue.push(Ended::Rebalance { consumer: number, rebalance });
            consumer.on_rebalance(take).or_throw(env, &shared)?;
        }
        Ok(Self { held: Held::new(consumer, shared), scratch: std::cell::RefCell::default() })
    }

    // ---- what is read

    #[napi]
    pub fn assign(&self, env: &Env, partitions: Vec<Place>) -> napi::Result<()> {
        self.held.ask(env, |consumer| consumer.assign(partitions_of(partitions)))
    }

    #[napi]
    pub fn assignment(&self, env: &Env) -> napi::Result<Vec<Place>> {
        let assigned = self.held.ask(env, |consumer| consumer.assignment())?;
        Ok(assigned.iter().map(Place::from).collect())
    }

    #[napi]
    pub fn subscribe(&self, env: &Env, topics: Vec<String>) -> napi::Result<()> {
        self.held.ask(env, |consumer| consumer.subscribe(topics))
    }

    #[napi]
    pub fn subscribe_pattern(&self, env: &Env, pattern: String) -> napi::Result<()> {
        self.held.ask(env, |consumer| consumer.subscribe_pattern(&pattern))
    }

    #[napi]
    pub fn unsubscribe(&self, token: f64) {
        self.held.start_unit(token, |consumer| consumer.unsubscribe());
    }

    #[napi]
    pub fn seek(&self, env: &Env, topic: String, partition: i32, offset: BigInt) -> napi::Result<()> {
        let tp = TopicPartition::new(topic, partition);
        self.held.ask(env, |consumer| consumer.seek(&tp, i64_of(&offset)))
    }

    /// Goes to a place by its number on the wire: -2 the beginning, -1 the end, else a time.
    #[napi]
    pub fn seek_to(&self, env: &Env, topic: String, partition: i32, place: BigInt) -> napi::Result<()> {
        let tp = TopicPartition::new(topic, partition);
        self.held.ask(env, |consumer| consumer.seek_to(&tp, place_of(i64_of(&place))))
    }

    #[napi]
    pub fn pause(&self, env: &Env, partitions: Vec<Place>) -> napi::Result<()> {
        self.held.ask(env, |consumer| consumer.pause(&partitions_of(partitions)))
    }

    #[napi]
    pub fn resume(&self, env: &Env, partitions: Vec<Place>) -> napi::Result<()> {
        self.held.ask(env, |consumer| consumer.resume(&partitions_of(partitions)))
    }

    #[napi]
    pub fn paused(&self, env: &Env) -> napi::Result<Vec<Place>> {
        let paused = self.held.ask(env, |consumer| consumer.paused())?;
        Ok(paused.iter().map(Place::from).collect())
    }

    #[napi]
    pub fn position(&self, env: &Env, topic: String, partition: i32) -> napi::Result<Option<BigInt>> {
        let tp = TopicPartition::new(topic, partition);
        Ok(self.held.ask(env, |consumer| consumer.position(&tp))?.map(BigInt::from))
    }

    // ---- records

    /// At most `max` records that need no waiting.
    #[napi]
    pub fn try_next<'e>(&self, env: &'e Env, max: u32) -> napi::Result<Option<Batch<'e>>> {
        match self.held.ask(env, |consumer| consumer.try_next(max as usize))? {
            Next::Batch(batch) => self.handed(env, &batch).map(Some),
            // Steps come by the event loop.
            Next::Rebalance(_) | Next::Nothing => Ok(None),
        }
    }

    /// Ends when `try_next` may have something.
    #[napi]
    pub fn ready(&self, token: f64) {
        self.held.start_unit(token, |consumer| consumer.ready());
    }

    // ---- commits

    #[napi]
    pub fn commit(&self, token: f64) {
        self.held.start_unit(token, |consumer| consumer.commit());
    }

    /// Commits that what was read in a tenure of a partition below `offset` is done.
    #[napi]
    pub fn commit_at(&self, token: f64, topic: String, partition: i32, tenure: u32, offset: BigInt) {
        let place = BatchPlace { topic: topic.into(), partition, tenure };
        self.held.start_unit(token, |consumer| consumer.commit_at(&place, i64_of(&offset)));
    }

    #[napi]
    pub fn commit_offsets(&self, token: f64, offsets: Vec<Committed>) {
        let offsets = offsets.into_iter().map(Committed::split).collect();
        self.held.start_unit(token, |consumer| consumer.commit_offsets(offsets));
    }

    /// The program is not done with what it was handed in a tenure of a partition from `offset` on.
    #[napi]
    pub fn keep_back(&self, env: &Env, topic: String, partition: i32, tenure: u32, offset: BigInt) {
        let place = BatchPlace { topic: topic.into(), partition, tenure };
        // A client that is closed has nothing to keep.
        let _ = self.held.ask(env, |consumer| consumer.keep_back_at(&place, i64_of(&offset)));
    }

    #[napi]
    pub fn committed(&self, token: f64, partitions: Vec<Place>) {
        let call = self.held.call(|consumer| consumer.committed(partitions_of(partitions)));
        self.held.shared.start(token, call, |env, _, found| {
            let found: Vec<_> =
                found.into_iter().map(|(tp, committed)| Committed::of(&tp, committed)).collect();
            found.into_unknown(env)
        });
    }

    // ---- questions

    #[napi]
    pub fn beginning_offsets(&self, token: f64, partitions: Vec<Place>) {
        let call = self.held.call(|consumer| consumer.beginning_offsets(partitions_of(partitions)));
        self.held.shared.start(token, call, |env, _, found| offsets(found).into_unknown(env));
    }

    #[napi]
    pub fn end_offsets(&self, token: f64, partitions: Vec<Place>) {
        let call = self.held.call(|consumer| consumer.end_offsets(partitions_of(partitions)));
        self.held.shared.start(token, call, |env, _, found| offsets(found).into_unknown(env));
    }

    /// The offset of each `At` is a time.
    #[napi]
    pub fn offsets_for_times(&self, token: f64, times: Vec<At>) {
        let call =
            self.held.call(|consumer| consumer.offsets_for_times(times.into_iter().map(At::split).collect()));
        self.held.shared.start(token, call, |env, _, found| {
            offsets(found.into_iter().filter_map(|(tp, listed)| Some((tp, listed.offset?)))).into_unknown(env)
        });
    }

    /// What it has counted, by Kafka's names; null where there is nothing yet.
    #[napi]
    pub fn metrics<'e>(&self, env: &'e Env) -> napi::Result<Object<'e>> {
        let values = self.held.ask(env, |consumer| consumer.metrics())?.values();
        let mut metrics = Object::new(env)?;
        for (metric, value) in ConsumerMetrics::TABLE.iter().zip(values) {
            metrics.set(metric.name, value)?;
        }
        Ok(metrics)
    }

    /// It was closed: it has a thread no more.
    #[napi]
    pub fn let_go(&self) {
        self.held.let_go();
    }

    #[napi]
    pub fn close(&self, token: f64, timeout_ms: f64) {
        self.held.start_unit(token, |consumer| consumer.close(ms(timeout_ms)));
    }
}

impl Consumer {
    fn handed<'e>(&self, env: &'e Env, batch: &bindings::RecordBatch) -> napi::Result<Batch<'e>> {
        let span = batch.span();
        let base = (size_of::<RecordView>() * batch.len()) as f64 - span.start as f64;
        let mut scratch = self.scratch.borrow_mut();
        scratch.clear();
        scratch.extend_from_slice(batch.view_bytes());
        scratch.extend_from_slice(&batch.data()[span]);
        let data = BufferSlice::copy_from(env, scratch.as_slice())?;
        if scratch.capacity() > SCRATCH_BYTES_MAX {
            *scratch = Vec::new();
        }
        Ok(Batch {
            topic: batch.topic().to_string(),
            partition: batch.partition(),
            tenure: batch.core().place().tenure,
            count: batch.len() as u32,
            next_offset: batch.next_offset().into(),
            high_watermark: batch.high_watermark().map(BigInt::from),
            data,
            base,
        })
    }
}

fn offsets(found: impl IntoIterator<Item = (TopicPartition, i64)>) -> Vec<At> {
    found.into_iter().map(|(tp, offset)| At::of(&tp, offset)).collect()
}
