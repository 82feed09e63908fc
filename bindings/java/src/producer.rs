//! `dev.ottla.OttlaProducer`.

use std::time::Duration;

use jni::{
    EnvUnowned,
    objects::{JByteArray, JByteBuffer, JClass, JObjectArray},
    sys::{jint, jlong},
};
use ottla_bindings::{
    BindingError, Producer,
    core::ProducerMetrics,
    error::Result,
    packed::{ENTRY_WORDS, Packed},
    panic::catch,
};

use crate::{
    border::{ask, enter, nothing, start, written},
    config::config,
    registry::{PRODUCERS, QUEUES},
    wire::Writer,
};

/// Bytes of the table for a record.
const ENTRY_BYTES: usize = ENTRY_WORDS * 4;
/// What a failure is, in place of how many records were taken.
const FAILED: jlong = -1;

/// Makes one; its deliveries come to `queue`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerNew<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    queue: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let queue = QUEUES.get(queue)?;
        let config = config(request)?;
        let producer = Producer::with_tokens(config.producer()?, config.tokens())?;
        let number = PRODUCERS.number();
        producer.on_deliveries(move || queue.deliveries(number))?;
        PRODUCERS.put(number, producer);
        Ok(written(|out| _ = out.i64(number)))
    })
}

/// A number for a topic.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerIntern<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let number = PRODUCERS.get(producer)?.intern(&request.text()?);
        Ok(written(|out| _ = out.i32(number.cast_signed())))
    })
}

/// Takes records `from` to `to` of a table, whose bytes begin at `data_from`. Answers how many in the upper half, and how many bytes
/// they were in the lower; or -1. `said[0]` has what there is to say: of a failure what it was, else who was rejected.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "Java's, which has no structs to pass")]
pub extern "system" fn Java_dev_ottla_Native_producerSendPacked<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    data: JByteBuffer<'l>,
    data_from: jint,
    data_to: jint,
    table: JByteBuffer<'l>,
    from: jint,
    to: jint,
    first_token: jlong,
    said: JObjectArray<'l, JByteArray<'l>>,
) -> jlong {
    enter(env, |env| {
        let (data_at, data_bytes) =
            (env.get_direct_buffer_address(&data)?, env.get_direct_buffer_capacity(&data)?);
        let (table_at, table_bytes) =
            (env.get_direct_buffer_address(&table)?, env.get_direct_buffer_capacity(&table)?);
        // SAFETY: the buffers are arguments of this call, so their memory lives until it returns; Java writes to them under the
        // lock that it holds during the call.
        let (data, table) = unsafe {
            (
                std::slice::from_raw_parts(data_at, data_bytes),
                std::slice::from_raw_parts(table_at, table_bytes),
            )
        };
        let sent = catch(None, || {
            let data = part(data, data_from, data_to, 1)?;
            let table = part(table, from, to, ENTRY_BYTES)?;
            // Aligned, as memory of Java's direct buffers is; else it is refused, and not read.
            let table = bytemuck::try_cast_slice(table)
                .map_err(|_| BindingError::invalid("the table of packed records is not aligned"))?;
            let first_token = (first_token >= 0).then_some(first_token.cast_unsigned());
            PRODUCERS.get(producer)?.send_packed(data, table, first_token)
        });
        let mut out = Writer::default();
        let answer = match sent {
            Ok(Packed { taken, data_bytes, rejected }) => {
                if !rejected.is_empty() {
                    out.list(&rejected, |out, (index, error)| _ = out.count(*index).error(error));
                }
                (taken as jlong) << 32 | data_bytes as jlong
            }
            Err(error) => {
                out.error(&error);
                FAILED
            }
        };
        if !out.is_empty() {
            let bytes = env.byte_array_from_slice(&out.into_bytes())?;
            said.set_element(env, 0, &bytes)?;
        }
        Ok(answer)
    })
}

/// The elements `from` to `to` of `bytes`, each of which has `size`.
fn part(bytes: &[u8], from: jint, to: jint, size: usize) -> Result<&[u8]> {
    let at = |index: jint| usize::try_from(index).ok().and_then(|index| index.checked_mul(size));
    let range = at(from).zip(at(to)).map(|(from, to)| from..to);
    range.and_then(|range| bytes.get(range)).ok_or_else(|| {
        BindingError::invalid(format!("packed records {from} to {to} are not in their buffer"))
    })
}

/// Waits until a record may be taken.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerReady<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let (topic, bytes) = (request.text()?, request.i32()?);
        let bytes = usize::try_from(bytes).unwrap_or(0);
        Ok(PRODUCERS.get(producer)?.ready(topic, bytes).map(|()| nothing()))
    });
}

/// Sends all that was taken.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerFlush<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |_| Ok(PRODUCERS.get(producer)?.flush().map(|()| nothing())));
}

/// Ends it, within some milliseconds.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerClose<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let timeout = Duration::from_millis(request.i64()?.max(0).cast_unsigned());
        Ok(PRODUCERS.get(producer)?.close(timeout).map(|()| nothing()))
    });
}

/// How many partitions a topic has.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerPartitionCount<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let count = PRODUCERS.get(producer)?.partition_count(request.text()?);
        Ok(count.map(|count| written(|out| _ = out.count(count))))
    });
}

/// What it has counted.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerMetrics<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let values = PRODUCERS.get(producer)?.metrics()?.values();
        let names = ProducerMetrics::TABLE.iter().map(|metric| metric.name);
        Ok(written(|out| _ = out.metrics(names.zip(values))))
    })
}

/// Lets it go; it sends what was taken, as long as the program runs.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_producerFree<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    producer: jlong,
) {
    enter(env, |_| {
        drop(PRODUCERS.take(producer));
        Ok(())
    });
}
