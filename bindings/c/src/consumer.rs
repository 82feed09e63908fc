//! Consumers, for C.

use std::{
    ffi::c_char,
    ptr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering},
    },
};

use ottla_bindings::{
    BindingError, Consumer, Next, Result, Wait,
    core::{ListedOffset, OffsetSpec, TopicPartition},
};

use crate::{
    batch::ottla_batch,
    border::{borrow, ffi, give, give_shared, list, ottla_status, share, take_shared, text, write},
    call::{call, ottla_call},
    config::ottla_config,
    error::ottla_error,
    partitions::{Row, ottla_partitions, ottla_topic_partition, read, read_names, read_offsets},
    producer::close_timeout,
    queue::{Item, ottla_queue},
    result::ottla_result,
};

/// Which offset of a partition is meant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ottla_offset_spec {
    /// That of the first record that is still there.
    OTTLA_OFFSET_EARLIEST = 1,
    /// That behind the last record.
    OTTLA_OFFSET_LATEST = 2,
    /// That of the first record of the partition's `timestamp_ms`, or a later one.
    OTTLA_OFFSET_TIMESTAMP = 3,
}

/// A consumer. Its functions may be called from any thread; records are asked for by one at a time.
pub struct ottla_consumer {
    pub(crate) consumer: Consumer,
    events: Option<Weak<ottla_queue>>,
    /// An event of kind OTTLA_EV_BATCH_READY is on its way.
    is_announced: AtomicBool,
}

impl ottla_consumer {
    fn queue(&self) -> Result<Arc<ottla_queue>> {
        let none = || BindingError::invalid("the consumer was made without a queue");
        self.events.as_ref().and_then(Weak::upgrade).ok_or_else(none)
    }

    /// Has an event pushed when there may be records.
    fn announce(self: &Arc<Self>) {
        let Ok(queue) = self.queue() else { return };
        if self.is_announced.swap(true, Ordering::AcqRel) {
            return;
        }
        // Neither keeps the other: who frees the consumer ends the call.
        let (weak, queue) = (Arc::downgrade(self), Arc::downgrade(&queue));
        self.consumer.ready().start(move |ready| {
            let Some(consumer) = weak.upgrade() else { return };
            consumer.is_announced.store(false, Ordering::Release);
            if let (Ok(()), Some(queue)) = (ready, queue.upgrade()) {
                queue.push(Item::Ready { consumer: weak.as_ptr().addr() });
            }
        });
    }
}

/// A new consumer. What is asynchronous about it ends in `events`; NULL for a program that only waits. Connections come in the
/// background. Free it with ottla_consumer_free(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_new(
    config: *const ottla_config,
    events: *const ottla_queue,
    out: *mut *mut ottla_consumer,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let config = &borrow(config)?.config;
        let consumer = Consumer::with_tokens(config.consumer()?, config.tokens())?;
        let events = if events.is_null() { None } else { Some(Arc::downgrade(&share(events)?)) };
        write(out, give_shared(Arc::new(ottla_consumer { consumer, events, is_announced: AtomicBool::new(false) })));
        Ok(())
    })
}

/// Reads these topics and no others, with the other members of the group (`group.id`). What comes of joining it shows in what
/// ottla_consumer_poll() gives. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_subscribe(
    consumer: *const ottla_consumer,
    topics: *const *const c_char,
    count: usize,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let topics = list(topics, count)?.iter().map(|topic| Ok(text(*topic, "a topic")?.to_owned()));
        borrow(consumer)?.consumer.subscribe(topics.collect::<Result<_>>()?)
    })
}

/// Reads all topics whose whole name matches a regular expression. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_subscribe_pattern(
    consumer: *const ottla_consumer,
    pattern: *const c_char,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.subscribe_pattern(text(pattern, "the pattern")?))
}

/// As ottla_consumer_subscribe_pattern(), but the broker looks for the topics, by an expression in RE2's syntax (KIP-848). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_subscribe_broker_pattern(
    consumer: *const ottla_consumer,
    pattern: *const c_char,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.subscribe_broker_pattern(text(pattern, "the pattern")?))
}

/// Leaves the group, with what the program is done with committed; or reads no partitions any more. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_unsubscribe(
    consumer: *const ottla_consumer,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.unsubscribe().wait(Wait::ms(timeout_ms.into())))
}

/// As ottla_consumer_unsubscribe(), as a call; a consumer that listens gets the steps of its last rebalance. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_unsubscribe_call(consumer: *const ottla_consumer) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(consumer)?.consumer.unsubscribe(), |()| ottla_result::default())))
}

/// Reads these partitions and no others. One that has an `offset` begins there; the others go on where they are, or begin where
/// the group has committed, or where auto.offset.reset says. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_assign(
    consumer: *const ottla_consumer,
    partitions: *const ottla_topic_partition,
    count: usize,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let consumer = &borrow(consumer)?.consumer;
        let rows = read(partitions, count)?;
        consumer.assign(rows.iter().map(|row| row.partition.clone()).collect())?;
        rows.iter().filter(|row| row.offset >= 0).try_for_each(|row| consumer.seek(&row.partition, row.offset))
    })
}

/// What is assigned, in no order: `*out` is a list to be freed. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_assignment(
    consumer: *const ottla_consumer,
    out: *mut *mut ottla_partitions,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let assigned = borrow(consumer)?.consumer.assignment()?;
        write(out, give(ottla_partitions::new(assigned.into_iter().map(Row::of))));
        Ok(())
    })
}

/// Goes to the offset that a partition is given with. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_seek(
    consumer: *const ottla_consumer,
    partition: *const ottla_topic_partition,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let consumer = &borrow(consumer)?.consumer;
        read(partition, 1)?.iter().try_for_each(|row| consumer.seek(&row.partition, row.offset))
    })
}

/// Goes to the offset that an ottla_offset_spec means; found out in the background. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_seek_to(
    consumer: *const ottla_consumer,
    partition: *const ottla_topic_partition,
    spec: u32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let consumer = &borrow(consumer)?.consumer;
        read(partition, 1)?
            .iter()
            .try_for_each(|row| consumer.seek_to(&row.partition, offset_spec(spec, row.timestamp_ms)?))
    })
}

/// Holds partitions: nothing of them is handed out. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_pause(
    consumer: *const ottla_consumer,
    partitions: *const ottla_topic_partition,
    count: usize,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.pause(&read_names(partitions, count)?))
}

/// Lets partitions that are held go on. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_resume(
    consumer: *const ottla_consumer,
    partitions: *const ottla_topic_partition,
    count: usize,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.resume(&read_names(partitions, count)?))
}

/// The partitions that are held, in no order: `*out` is a list to be freed. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_paused(
    consumer: *const ottla_consumer,
    out: *mut *mut ottla_partitions,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let paused = borrow(consumer)?.consumer.paused()?;
        write(out, give(ottla_partitions::new(paused.into_iter().map(Row::of))));
        Ok(())
    })
}

/// The offset of the next record to be handed out; -1 as long as it is being looked for. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_position(
    consumer: *const ottla_consumer,
    topic: *const c_char,
    partition: i32,
    out: *mut i64,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let tp = TopicPartition::new(text(topic, "the topic")?, partition);
        write(out, borrow(consumer)?.consumer.position(&tp)?.unwrap_or(-1));
        Ok(())
    })
}

/// Between which offsets a partition could be read at its last fetch; -1 both before the first. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_watermarks(
    consumer: *const ottla_consumer,
    topic: *const c_char,
    partition: i32,
    low: *mut i64,
    high: *mut i64,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let tp = TopicPartition::new(text(topic, "the topic")?, partition);
        let marks = borrow(consumer)?.consumer.watermarks(&tp)?;
        write(low, marks.map_or(-1, |marks| marks.low));
        write(high, marks.map_or(-1, |marks| marks.high));
        Ok(())
    })
}

/// The next records, at most `max` of them: `*out` is a batch to be freed, or NULL if none came within `timeout_ms` (for ever, if
/// below 0), a rebalance waits in the queue, or ottla_consumer_wake() was called. An error is of one partition, which it names, or of the
/// consumer, and is given once; the others go on.
///
/// With a queue and a timeout of 0, NULL means that an event of kind OTTLA_EV_BATCH_READY will come when there may be more. The
/// consumer counts as alive meanwhile. [one][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_poll(
    consumer: *const ottla_consumer,
    max: usize,
    timeout_ms: i32,
    out: *mut *mut ottla_batch,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let handle = borrow(consumer)?;
        let next = match timeout_ms {
            0 => handle.consumer.try_next(max)?,
            timeout_ms => handle.consumer.next(max, Wait::ms(timeout_ms.into()))?,
        };
        match next {
            Next::Batch(batch) => write(out, ottla_batch::give(batch)),
            Next::Nothing if timeout_ms == 0 => share(consumer)?.announce(),
            // Rebalances go to the queue, not this way.
            Next::Nothing | Next::Rebalance(_) => {}
        }
        Ok(())
    })
}

/// Ends a call of ottla_consumer_poll() that waits, or the next one that would. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_wake(consumer: *const ottla_consumer) {
    ffi!((); {
        borrow(consumer)?.consumer.wake();
        Ok(())
    });
}

/// Has each step of a rebalance put into the consumer's queue, as an event of kind OTTLA_EV_REBALANCE, from now on. The group
/// waits until it is acknowledged. Without this rebalances go on by themselves. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_listen(
    consumer: *const ottla_consumer,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let shared = share(consumer)?;
        let (queue, weak) = (Arc::downgrade(&shared.queue()?), Arc::downgrade(&shared));
        shared.consumer.on_rebalance(move |step| {
            // A step that nobody can be told of is acknowledged by being dropped.
            if let (Some(queue), Some(handle)) = (queue.upgrade(), weak.upgrade()) {
                queue.push(Item::Rebalance { consumer: weak.as_ptr().addr(), step });
                handle.consumer.wake();
            }
        })
    })
}

/// The program is not done yet with a batch from `offset` on, though it commits, unsubscribes or closes: for programs that go
/// through a batch record by record. Holds until more is asked for, which says that they are done with all. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_keep_back(
    consumer: *const ottla_consumer,
    batch: *const ottla_batch,
    offset: i64,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(consumer)?.consumer.keep_back(&borrow(batch)?.batch, offset))
}

/// Commits that a batch, and all before it in its partition, is done; where `batch` is NULL, all that was handed out. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_commit(
    consumer: *const ottla_consumer,
    batch: *const ottla_batch,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => committing(consumer, batch)?.wait(Wait::ms(timeout_ms.into())))
}

/// As ottla_consumer_commit(), as a call. The commit is under way at once; to free the call takes nothing back. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_commit_call(
    consumer: *const ottla_consumer,
    batch: *const ottla_batch,
) -> *mut ottla_call {
    call!(Ok(ottla_call::give(committing(consumer, batch)?, |()| ottla_result::default())))
}

fn committing(
    consumer: *const ottla_consumer,
    batch: *const ottla_batch,
) -> Result<ottla_bindings::Call<()>> {
    let consumer = &borrow(consumer)?.consumer;
    Ok(match batch.is_null() {
        true => consumer.commit(),
        false => consumer.commit_batch(&borrow(batch)?.batch),
    })
}

/// Commits the offsets that partitions are given with: of each that of the next record to be read. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_commit_offsets(
    consumer: *const ottla_consumer,
    offsets: *const ottla_topic_partition,
    count: usize,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let offsets = read_offsets(offsets, count)?;
        borrow(consumer)?.consumer.commit_offsets(offsets).wait(Wait::ms(timeout_ms.into()))
    })
}

/// As ottla_consumer_commit_offsets(), as a call. The commit is under way at once; to free the call takes nothing back. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_commit_offsets_call(
    consumer: *const ottla_consumer,
    offsets: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let offsets = read_offsets(offsets, count)?;
        Ok(ottla_call::give(borrow(consumer)?.consumer.commit_offsets(offsets), |()| ottla_result::default()))
    })
}

/// A call that gives what the group has committed of these partitions, as ottla_result_partitions(); those of which nothing is
/// are left out. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_committed(
    consumer: *const ottla_consumer,
    partitions: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let asked = borrow(consumer)?.consumer.committed(read_names(partitions, count)?);
        Ok(ottla_call::give(asked, |offsets| {
            ottla_result::of_partitions(offsets.into_iter().map(Row::committed))
        }))
    })
}

/// A call that gives the offsets that an ottla_offset_spec means for these partitions, as ottla_result_partitions(); those that
/// have none are left out. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_offsets(
    consumer: *const ottla_consumer,
    spec: u32,
    partitions: *const ottla_topic_partition,
    count: usize,
) -> *mut ottla_call {
    call!({
        let consumer = &borrow(consumer)?.consumer;
        let rows = read(partitions, count)?;
        let names = rows.iter().map(|row| row.partition.clone()).collect();
        let plain = |offsets: std::collections::HashMap<TopicPartition, i64>| {
            ottla_result::of_partitions(offsets.into_iter().map(|(tp, offset)| Row::at(tp, offset)))
        };
        Ok(match offset_spec(spec, 0)? {
            OffsetSpec::Earliest => ottla_call::give(consumer.beginning_offsets(names), plain),
            OffsetSpec::Latest => ottla_call::give(consumer.end_offsets(names), plain),
            _ => {
                let times = rows.into_iter().map(|row| (row.partition, row.timestamp_ms)).collect();
                ottla_call::give(consumer.offsets_for_times(times), |listed| {
                    ottla_result::of_partitions(listed.into_iter().map(listed_row))
                })
            }
        })
    })
}

pub(crate) fn listed_row((partition, listed): (TopicPartition, ListedOffset)) -> Row {
    Row {
        offset: listed.offset.unwrap_or(-1),
        timestamp_ms: listed.timestamp.unwrap_or(-1),
        leader_epoch: listed.leader_epoch.unwrap_or(-1),
        ..Row::of(partition)
    }
}

pub(crate) fn offset_spec(spec: u32, timestamp_ms: i64) -> Result<OffsetSpec> {
    use ottla_offset_spec::{OTTLA_OFFSET_EARLIEST, OTTLA_OFFSET_LATEST, OTTLA_OFFSET_TIMESTAMP};
    match spec {
        _ if spec == OTTLA_OFFSET_EARLIEST as u32 => Ok(OffsetSpec::Earliest),
        _ if spec == OTTLA_OFFSET_LATEST as u32 => Ok(OffsetSpec::Latest),
        _ if spec == OTTLA_OFFSET_TIMESTAMP as u32 => Ok(OffsetSpec::Timestamp(timestamp_ms)),
        _ => Err(BindingError::invalid(format!("{spec} is no ottla_offset_spec"))),
    }
}

/// Leaves the group, with what the program is done with committed, and ends. Steps of rebalances go on by themselves from here on.
/// What is not done within `timeout_ms` is left to the group to find out; then this fails. Closing again does nothing. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_close(
    consumer: *const ottla_consumer,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let handle = borrow(consumer)?;
        // Nobody can drain the queue while this waits. Without a group there is nobody to listen to, which is as good.
        _ = handle.consumer.listen();
        handle.consumer.close(close_timeout(timeout_ms)).wait(Wait::forever())
    })
}

/// As ottla_consumer_close(), as a call; a consumer that listens gets the steps of its last rebalance. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_close_call(
    consumer: *const ottla_consumer,
    timeout_ms: i32,
) -> *mut ottla_call {
    call!({
        let closing = borrow(consumer)?.consumer.close(close_timeout(timeout_ms));
        Ok(ottla_call::give(closing, |()| ottla_result::default()))
    })
}

/// Frees a consumer without waiting: it leaves its group in the background, as long as the program runs. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_consumer_free(consumer: *mut ottla_consumer) {
    ffi!((); {
        drop(take_shared(consumer));
        Ok(())
    });
}
