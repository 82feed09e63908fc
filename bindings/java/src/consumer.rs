//! `dev.ottla.OttlaConsumer`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jni::{
    Env, EnvUnowned,
    errors::Result as JniResult,
    objects::{JByteArray, JClass},
    sys::{jint, jlong},
};
use ottla_bindings::{
    BindingError, Consumer, Next, RecordBatch,
    core::ConsumerMetrics,
    error::{CORRUPT, Result},
    panic::catch,
};

use crate::{
    border::{answer, ask, enter, nothing, start, written},
    config::config,
    registry::{CONSUMERS, QUEUES, REBALANCES},
    wire::Writer,
};

/// A consumer, and whether Java waits for it.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    consumer: Consumer,
    is_awaited: Arc<AtomicBool>,
    /// What was handed out last: it is known until the next, for those who are not done with all of it.
    last: Arc<Mutex<Option<RecordBatch>>>,
}

fn consumer(number: i64) -> Result<Consumer> {
    CONSUMERS.get(number).map(|reader| reader.consumer)
}

/// Makes one; what happens to it comes to `queue`.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerNew<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    queue: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let queue = QUEUES.get(queue)?;
        let config = config(request)?;
        let consumer = Consumer::with_tokens(config.consumer()?, config.tokens())?;
        let number = CONSUMERS.number();
        let is_awaited = Arc::new(AtomicBool::new(false));
        let awaited = Arc::clone(&is_awaited);
        consumer.on_batches(move || {
            if awaited.swap(false, Ordering::AcqRel) {
                queue.ready(number);
            }
        })?;
        CONSUMERS.put(number, Reader { consumer, is_awaited, last: Arc::default() });
        Ok(written(|out| _ = out.i64(number)))
    })
}

/// From now on the steps of its rebalances come to `queue`, and the group waits until each is let go.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerListen<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    queue: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let queue = QUEUES.get(queue)?;
        consumer(number)?.on_rebalance(move |rebalance| queue.rebalance(number, rebalance))?;
        Ok(nothing())
    })
}

/// The program is done with a step of a rebalance.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_rebalanceDone<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    rebalance: jlong,
) {
    enter(env, |_| {
        drop(REBALANCES.take(rebalance));
        Ok(())
    });
}

/// The next records, at most `max`, if that needs no waiting: null for none; 0 and a batch as [`batch`] writes it; 1 and an error.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerTryNext<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    max: jint,
) -> JByteArray<'l> {
    enter(env, |env| {
        let max = usize::try_from(max).unwrap_or(1);
        let next = catch(None, || {
            let reader = CONSUMERS.get(number)?;
            let next = reader.consumer.try_next(max)?;
            if let Next::Batch(records) = &next {
                *reader.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(records.clone());
            }
            Ok(next)
        });
        match next {
            Ok(Next::Batch(records)) => batch(env, &records),
            // Those go to the queue.
            Ok(Next::Rebalance(_) | Next::Nothing) => Ok(JByteArray::default()),
            Err(error) => answer(env, Err(error)),
        }
    })
}

/// The program is not done with what it was given last, from an offset on, though it commits or closes.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerKeepBack<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    offset: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let reader = CONSUMERS.get(number)?;
        let last = reader.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        last.map_or(Ok(()), |records| reader.consumer.keep_back(&records, offset))?;
        Ok(nothing())
    })
}

/// Has the queue tell once there may be something, of what comes from now on.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerAwait<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
) {
    enter(env, |_| {
        if let Ok(reader) = CONSUMERS.get(number) {
            reader.is_awaited.store(true, Ordering::Release);
        }
        Ok(())
    });
}

/// Copies the records into an array of Java's, where nothing can be freed under its hands: what is read of them needs no call,
/// and no closing. It has a head (`dev/ottla/RecordBatch.java` reads it), the views as they are, and of the buffer that part
/// which the records are in.
fn batch<'l>(env: &mut Env<'l>, records: &RecordBatch) -> JniResult<JByteArray<'l>> {
    let (from, to) = span(records);
    let views = records.view_bytes();
    let mut head = Writer::default();
    head.u8(0)
        .text(records.topic())
        .i32(records.partition())
        .i64(records.next_offset())
        .i64(records.high_watermark().unwrap_or(-1))
        .count(records.len())
        .count(from);
    let head = head.into_bytes();
    let Some(data) = records.data().get(from..to) else {
        let text =
            format!("records of `{}-{}` do not lie in their buffer", records.topic(), records.partition());
        return answer(env, Err(BindingError::local(CORRUPT, text)));
    };
    let array = JByteArray::new(env, head.len() + views.len() + data.len())?;
    let mut at = 0;
    for part in [&head[..], views, data] {
        // Each fits, as the array does.
        array.set_region(env, at as jint, bytemuck::cast_slice(part))?;
        at += part.len();
    }
    Ok(array)
}

/// Where in the buffer the first byte of these records is, and the first behind them: a call may give some of many.
fn span(records: &RecordBatch) -> (usize, usize) {
    let (mut from, mut to) = (usize::MAX, 0);
    for view in records.views() {
        let parts = [
            (view.key_off, view.key_len),
            (view.value_off, view.value_len),
            (view.headers_off, view.headers_len.cast_signed()),
        ];
        // What is empty lies nowhere.
        for (off, len) in parts.into_iter().filter(|(_, len)| *len > 0) {
            from = from.min(off as usize);
            to = to.max(off as usize + len.unsigned_abs() as usize);
        }
    }
    (from.min(to), to)
}

/// Reads these partitions and no others.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerAssign<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| consumer(number)?.assign(request.partitions()?).map(|()| nothing()))
}

/// What is assigned.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerAssignment<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let assigned = consumer(number)?.assignment()?;
        Ok(written(|out| _ = out.partitions(&assigned)))
    })
}

/// Reads these topics and no others, with the group.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerSubscribe<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| consumer(number)?.subscribe(request.texts()?).map(|()| nothing()))
}

/// Reads the topics that match a pattern; the broker finds them, if so said.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerSubscribePattern<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let (consumer, pattern, by_broker) = (consumer(number)?, request.text()?, request.bool()?);
        match by_broker {
            true => consumer.subscribe_broker_pattern(&pattern)?,
            false => consumer.subscribe_pattern(&pattern)?,
        }
        Ok(nothing())
    })
}

/// Leaves the group.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerUnsubscribe<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |_| Ok(consumer(number)?.unsubscribe().map(|()| nothing())));
}

/// Goes to an offset.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerSeek<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let (tp, offset) = (request.partition()?, request.i64()?);
        consumer(number)?.seek(&tp, offset).map(|()| nothing())
    })
}

/// Goes to the place of the log that is named, in each of some partitions.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerSeekTo<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let (consumer, place, partitions) = (consumer(number)?, request.place()?, request.partitions()?);
        partitions.iter().try_for_each(|tp| consumer.seek_to(tp, place))?;
        Ok(nothing())
    })
}

/// Holds partitions.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerPause<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| consumer(number)?.pause(&request.partitions()?).map(|()| nothing()))
}

/// Lets partitions that are held go on.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerResume<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| consumer(number)?.resume(&request.partitions()?).map(|()| nothing()))
}

/// The partitions that are held.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerPaused<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let paused = consumer(number)?.paused()?;
        Ok(written(|out| _ = out.partitions(&paused)))
    })
}

/// Offset of the next record; -1 as long as it is being looked for.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerPosition<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let position = consumer(number)?.position(&request.partition()?)?;
        Ok(written(|out| _ = out.i64(position.unwrap_or(-1))))
    })
}

/// Between which offsets a partition could be read at its last fetch; nothing before the first.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerWatermarks<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
) -> JByteArray<'l> {
    ask(env, request, |request| {
        let watermarks = consumer(number)?.watermarks(&request.partition()?)?;
        Ok(watermarks.map_or_else(nothing, |known| written(|out| _ = out.i64(known.low).i64(known.high))))
    })
}

/// Commits: without partitions all positions, else these offsets.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerCommit<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let (consumer, all) = (consumer(number)?, request.bool()?);
        let commit = match all {
            true => consumer.commit(),
            false => consumer.commit_offsets(request.list(|each| Ok((each.partition()?, each.offset()?)))?),
        };
        Ok(commit.map(|()| nothing()))
    });
}

/// What the group has committed.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerCommitted<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let committed = consumer(number)?.committed(request.partitions()?);
        Ok(committed.map(|found| {
            written(|out| {
                out.list(&found, |out, (tp, offset)| _ = out.partition(tp).offset(offset));
            })
        }))
    });
}

/// The first offsets that are still there, or those behind the last records.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerOffsets<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let (consumer, at_end, partitions) = (consumer(number)?, request.bool()?, request.partitions()?);
        let offsets = match at_end {
            true => consumer.end_offsets(partitions),
            false => consumer.beginning_offsets(partitions),
        };
        Ok(offsets.map(|found| {
            written(|out| {
                out.list(&found, |out, (tp, offset)| _ = out.partition(tp).i64(*offset));
            })
        }))
    });
}

/// The first records of some times.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerOffsetsForTimes<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let times = request.list(|each| Ok((each.partition()?, each.i64()?)))?;
        Ok(consumer(number)?.offsets_for_times(times).map(|found| {
            written(|out| {
                out.list(&found, |out, (tp, listed)| {
                    _ = out
                        .partition(tp)
                        .i64(listed.offset.unwrap_or(-1))
                        .i64(listed.timestamp.unwrap_or(-1))
                        .i32(listed.leader_epoch.unwrap_or(-1));
                });
            })
        }))
    });
}

/// What it has counted.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerMetrics<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
) -> JByteArray<'l> {
    ask(env, JByteArray::default(), |_| {
        let values = consumer(number)?.metrics()?.values();
        let names = ConsumerMetrics::TABLE.iter().map(|metric| metric.name);
        Ok(written(|out| _ = out.metrics(names.zip(values))))
    })
}

/// Leaves the group and ends, within some milliseconds.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerClose<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
    request: JByteArray<'l>,
    queue: jlong,
    token: jlong,
) {
    start(env, request, queue, token, |request| {
        let timeout = Duration::from_millis(request.i64()?.max(0).cast_unsigned());
        Ok(consumer(number)?.close(timeout).map(|()| nothing()))
    });
}

/// Lets it go.
#[unsafe(no_mangle)]
pub extern "system" fn Java_dev_ottla_Native_consumerFree<'l>(
    env: EnvUnowned<'l>,
    _: JClass<'l>,
    number: jlong,
) {
    enter(env, |_| {
        drop(CONSUMERS.take(number));
        Ok(())
    });
}
