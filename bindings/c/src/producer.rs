//! Producers, for C.

use std::{
    ffi::c_char,
    mem::offset_of,
    ptr,
    sync::{Arc, Weak},
    time::Duration,
};

use ottla_bindings::{
    BindingError, Producer, Result, Wait,
    core::{Header, Record},
};

use crate::{
    border::{
        self, Plain, borrow, bytes, ffi, give, give_shared, list, nth, ottla_status, sized, take,
        take_shared, text, write,
    },
    call::{call, ottla_call},
    config::ottla_config,
    error::ottla_error,
    queue::{Item, ottla_queue},
    result::ottla_result,
};

/// Bytes of somebody else's. `ptr` NULL is null, which is not the same as empty.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_slice {
    /// The first of them.
    pub ptr: *const u8,
    /// How many there are.
    pub len: usize,
}

impl ottla_slice {
    pub(crate) const NULL: Self = Self { ptr: ptr::null(), len: 0 };

    pub(crate) fn of(bytes: Option<&[u8]>) -> Self {
        bytes.map_or(Self::NULL, |bytes| Self { ptr: bytes.as_ptr(), len: bytes.len() })
    }

    #[inline]
    fn bytes<'a>(self) -> Option<&'a [u8]> {
        bytes(self.ptr, self.len)
    }
}

/// A header of a record.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_header {
    /// Its name, as UTF-8; not null.
    pub name: ottla_slice,
    /// Its value.
    pub value: ottla_slice,
}

/// A record to be sent. Begin with OTTLA_RECORD_INIT, which sets `size` and leaves the rest to the library.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_record {
    /// sizeof(ottla_record): later versions of this struct are longer.
    pub size: u32,
    /// The partition; -1 leaves it to the partitioner.
    pub partition: i32,
    /// Milliseconds since the epoch; -1 for now.
    pub timestamp_ms: i64,
    /// The key. Copied before the call returns, as all else is.
    pub key: ottla_slice,
    /// The value.
    pub value: ottla_slice,
    /// The headers, in their order.
    pub headers: *const ottla_header,
    /// How many headers there are.
    pub header_count: usize,
    /// Comes back with the record's delivery. With 0 there is an event only if the record fails.
    pub token: u64,
}

/// What every version of [`ottla_record`] has.
const RECORD_BYTES_MIN: usize = offset_of!(ottla_record, token) + size_of::<u64>();

const _: () = assert!(size_of::<ottla_record>() == 72 || size_of::<usize>() != 8);

// SAFETY: numbers and raw pointers.
unsafe impl Plain for ottla_record {}

/// A producer. All of its functions may be called from any thread at once.
pub struct ottla_producer {
    pub(crate) producer: Producer,
    has_events: bool,
}

/// The name of a topic, read once.
pub struct ottla_topic {
    name: String,
}

impl ottla_producer {
    /// Tokens are of use where there is a queue.
    #[inline]
    fn token(&self, token: u64) -> Option<u64> {
        self.has_events.then_some(token)
    }
}

/// A new producer. Deliveries go to `events`; if that is NULL, nobody is told of them, and failures are logged and counted.
/// Connections come in the background. Free it with ottla_producer_free(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_new(
    config: *const ottla_config,
    events: *const ottla_queue,
    out: *mut *mut ottla_producer,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let config = &borrow(config)?.config;
        let producer = Producer::with_tokens(config.producer()?, config.tokens())?;
        let handle = Arc::new(ottla_producer { producer, has_events: !events.is_null() });
        if !events.is_null() {
            let queue = Arc::downgrade(&crate::border::share(events)?);
            let weak = Arc::downgrade(&handle);
            let (refusing, told) = (weak.clone(), queue.clone());
            handle.producer.on_refusal(move |token, error| refuse(&refusing, &told, token, error));
            handle.producer.on_deliveries(move || ring(&weak, &queue))?;
        }
        write(out, give_shared(handle));
        Ok(())
    })
}

/// Deliveries have come. The queue keeps the producer until it is drained; the producer does not keep the queue.
fn ring(producer: &Weak<ottla_producer>, queue: &Weak<ottla_queue>) {
    let Some(producer) = producer.upgrade() else { return };
    match queue.upgrade() {
        Some(queue) => queue.push(Item::Deliveries(producer)),
        // Nobody will ever take them, and they take room.
        None => drop(producer.producer.take_deliveries()),
    }
}

/// A record that waited for room could not be taken after all.
fn refuse(producer: &Weak<ottla_producer>, queue: &Weak<ottla_queue>, token: u64, error: BindingError) {
    if let (Some(producer), Some(queue)) = (producer.upgrade(), queue.upgrade()) {
        queue.push(Item::Refused { producer, token, error });
    }
}

/// A topic's name for records to be sent to it. Free it with ottla_topic_free(). NULL if it is not UTF-8. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_topic_new(name: *const c_char) -> *mut ottla_topic {
    ffi!(ptr::null_mut(); Ok(give(ottla_topic { name: text(name, "the topic")?.to_owned() })))
}

/// Frees a topic's name. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_topic_free(topic: *mut ottla_topic) {
    ffi!((); {
        drop(take(topic));
        Ok(())
    });
}

/// Takes a record, if that needs no waiting; everything is copied before this returns. OTTLA_E_QUEUE_FULL says that there is no
/// room, or that the topic is not known yet: send with ottla_produce_wait(), or start ottla_producer_ready() and try again.
/// [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_produce(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
    record: *const ottla_record,
) -> ottla_status {
    ffi!(ptr::null_mut() => {
        let (handle, topic) = (borrow(producer)?, borrow(topic)?);
        let given = sized(record, RECORD_BYTES_MIN)?;
        with_record(&given, topic, |record| handle.producer.try_send(record, handle.token(given.token)))
    })
}

/// As ottla_produce(), waiting up to `timeout_ms` (for ever, if below 0) and `max.block.ms` for room. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_produce_wait(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
    record: *const ottla_record,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let (handle, topic) = (borrow(producer)?, borrow(topic)?);
        let given = sized(record, RECORD_BYTES_MIN)?;
        let wait = Wait::ms(timeout_ms.into());
        with_record(&given, topic, |record| handle.producer.send(record, handle.token(given.token), wait))
    })
}

/// As ottla_produce() of a producer with a queue, for programs that must not wait and have as many records under way as they
/// like: where there is no room, or the topic is not known yet, a copy of the record waits, and all that are sent by this after it
/// queue behind it. One that cannot be taken within `max.block.ms` after all has a delivery that says so. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_produce_in_turn(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
    record: *const ottla_record,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        let (handle, topic) = (borrow(producer)?, borrow(topic)?);
        if !handle.has_events {
            return Err(BindingError::invalid("the producer was made without a queue"));
        }
        let given = sized(record, RECORD_BYTES_MIN)?;
        with_record(&given, topic, |record| handle.producer.send_in_turn(record, given.token))
    })
}

/// As ottla_produce() for `count` records, until one is not taken; answers how many were. `*status` is 0, or why the next was
/// not. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_produce_batch(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
    records: *const ottla_record,
    count: usize,
    status: *mut ottla_status,
) -> usize {
    ffi!(0; {
        let mut taken = 0;
        let sent = border::status(ptr::null_mut(), || {
            if count == 0 {
                return Ok(());
            }
            let (handle, topic) = (borrow(producer)?, borrow(topic)?);
            let step = sized(records, RECORD_BYTES_MIN)?.size as usize;
            if !step.is_multiple_of(align_of::<ottla_record>()) {
                return Err(BindingError::invalid("`size` of a record is not its sizeof"));
            }
            for index in 0..count {
                let given = nth(records, index, step);
                with_record(given, topic, |record| handle.producer.try_send(record, handle.token(given.token)))?;
                taken += 1;
            }
            Ok(())
        });
        write(status, sent);
        Ok(taken)
    })
}

#[inline]
fn with_record<T>(
    given: &ottla_record,
    topic: &ottla_topic,
    send: impl FnOnce(&Record<'_>) -> Result<T>,
) -> Result<T> {
    let record = |headers| Record {
        topic: &topic.name,
        partition: (given.partition >= 0).then_some(given.partition),
        timestamp: (given.timestamp_ms >= 0).then_some(given.timestamp_ms),
        key: given.key.bytes(),
        value: given.value.bytes(),
        headers,
    };
    if given.header_count == 0 {
        return send(&record(Default::default()));
    }
    let headers: Vec<Header<'_>> = list(given.headers, given.header_count)?
        .iter()
        .map(|header| {
            let key =
                header.name.bytes().ok_or_else(|| BindingError::invalid("the name of a header is NULL"))?;
            Ok(Header { key, value: header.value.bytes() })
        })
        .collect::<Result<_>>()?;
    send(&record(headers.into()))
}

/// A call that ends when a record of so many bytes, key, value and headers together, may be taken: its topic is known and there
/// is room; or fails after `max.block.ms`. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_ready(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
    record_bytes: usize,
) -> *mut ottla_call {
    call!({
        let (handle, topic) = (borrow(producer)?, borrow(topic)?);
        Ok(ottla_call::give(handle.producer.ready(&*topic.name, record_bytes), |()| ottla_result::default()))
    })
}

/// A call that gives the number of partitions of a topic, as ottla_result_number(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_partition_count(
    producer: *const ottla_producer,
    topic: *const ottla_topic,
) -> *mut ottla_call {
    call!({
        let (handle, topic) = (borrow(producer)?, borrow(topic)?);
        Ok(ottla_call::give(handle.producer.partition_count(&*topic.name), |count| {
            ottla_result::of_number(i64::try_from(count).unwrap_or(i64::MAX))
        }))
    })
}

/// A call that ends when all that waits now, by ottla_produce_in_turn(), was taken or refused. Closing refuses it. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_caught_up(producer: *const ottla_producer) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(producer)?.producer.caught_up(), |()| ottla_result::default())))
}

/// Sends all that was taken without further linger, and waits until each of it is acknowledged or has failed; what became of
/// each tells its delivery. OTTLA_E_TIMEOUT if that takes longer; it goes on all the same. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_flush(
    producer: *const ottla_producer,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(producer)?.producer.flush().wait(Wait::ms(timeout_ms.into())))
}

/// As ottla_producer_flush(), as a call. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_flush_call(producer: *const ottla_producer) -> *mut ottla_call {
    call!(Ok(ottla_call::give(borrow(producer)?.producer.flush(), |()| ottla_result::default())))
}

/// Takes no more records, sends what was taken, and ends. What is not acknowledged within `timeout_ms` fails, and then so does
/// this. Closing again does nothing. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_close(
    producer: *const ottla_producer,
    timeout_ms: i32,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => borrow(producer)?.producer.close(close_timeout(timeout_ms)).wait(Wait::forever()))
}

/// As ottla_producer_close(), as a call. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_close_call(
    producer: *const ottla_producer,
    timeout_ms: i32,
) -> *mut ottla_call {
    call!({
        let closing = borrow(producer)?.producer.close(close_timeout(timeout_ms));
        Ok(ottla_call::give(closing, |()| ottla_result::default()))
    })
}

/// For ever, below 0.
pub(crate) fn close_timeout(timeout_ms: i32) -> Duration {
    u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis)
}

/// Frees a producer without waiting: what was taken is sent in the background, as long as the program runs and delivery.timeout.ms
/// lasts. Deliveries that are in a queue can be drained. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_producer_free(producer: *mut ottla_producer) {
    ffi!((); {
        drop(take_shared(producer));
        Ok(())
    });
}
