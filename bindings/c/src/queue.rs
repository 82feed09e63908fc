//! The completion queue, for C: everything asynchronous ends here as an event of 64 bytes.

use std::{
    collections::VecDeque,
    ffi::c_void,
    ptr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use ottla_bindings::{
    BindingError, CompletionQueue, Result, TokenRequest, Wake,
    core::{Rebalance, ReportBatch},
    fork::Guarded,
};

use crate::{
    border::{self, Opaque, Plain, Room, borrow, ffi, give, give_shared, ottla_status, take_shared, write},
    error::ottla_error,
    producer::ottla_producer,
    rebalance::ottla_rebalance,
    result::ottla_result,
    tokens::ottla_token_request,
};

/// What an event is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub enum ottla_event_kind {
    /// What became of a record: token, partition, offset and timestamp_ms are its; object is an ottla_error where status is
    /// not 0, to be freed by the receiver.
    OTTLA_EV_DELIVERY = 1,
    /// What became of a call that was started: token is its; object is an ottla_result, or an ottla_error where status is not
    /// 0, either to be freed by the receiver.
    OTTLA_EV_CALL = 2,
    /// The consumer `source` may have records: poll it with a timeout of 0 until it gives none.
    OTTLA_EV_BATCH_READY = 3,
    /// A step of a rebalance of the consumer `source`: object is an ottla_rebalance, which the receiver acknowledges.
    OTTLA_EV_REBALANCE = 4,
    /// A client needs a token: object is an ottla_token_request, which the receiver answers; token says for which settings.
    OTTLA_EV_TOKEN_REQUEST = 5,
}

/// Something that happened; filled by the library.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct ottla_event {
    /// An ottla_event_kind.
    pub kind: u32,
    /// 0, or why it failed.
    pub status: ottla_status,
    /// The caller's own value for the record or the call.
    pub token: u64,
    /// Of a delivery: the record's offset; -1 where the broker did not tell.
    pub offset: i64,
    /// Of a delivery: milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Of a delivery: the partition.
    pub partition: i32,
    /// The flags of the error: OTTLA_ERR_RETRIABLE and its like.
    pub flags: u32,
    /// What belongs to the receiver, by kind; or NULL.
    pub object: *mut c_void,
    /// The producer or consumer that it is of, to be compared with handles, or NULL. It keeps nothing alive.
    pub source: *const c_void,
    /// 0.
    pub reserved: u64,
}

const _: () = assert!(size_of::<ottla_event>() == 64 || size_of::<usize>() != 8);

// SAFETY: numbers and raw pointers.
unsafe impl Plain for ottla_event {}

/// Where events wait to be drained: one for each event loop or thread that takes them. Free it after the clients that put
/// events into it.
pub struct ottla_queue {
    inner: Guarded<Inner>,
}

struct Inner {
    items: CompletionQueue<Item>,
    bells: Mutex<Bells>,
}

/// What wakes the program.
#[derive(Clone, Default)]
struct Bells {
    #[cfg(unix)]
    fd: Option<Arc<ottla_bindings::WakeFd>>,
    function: Option<Arc<Function>>,
}

struct Function {
    call: unsafe extern "C" fn(*mut c_void),
    user: Opaque,
}

impl Wake for Bells {
    fn wake(&self) {
        #[cfg(unix)]
        if let Some(fd) = &self.fd {
            fd.wake();
        }
        if let Some(function) = &self.function {
            // SAFETY: a function of C's that keeps to what the header says.
            unsafe { (function.call)(function.user.get()) }
        }
    }

    fn clear(&self) {
        #[cfg(unix)]
        if let Some(fd) = &self.fd {
            fd.clear();
        }
    }
}

/// What becomes one or more events.
pub(crate) enum Item {
    /// A producer has deliveries.
    Deliveries(Arc<ottla_producer>),
    /// Deliveries that found no room in the events of the last drain.
    Left(Reports),
    /// A record that waited for its turn was not taken.
    Refused { producer: Arc<ottla_producer>, token: u64, error: BindingError },
    /// A call has ended.
    Call { token: u64, outcome: Result<ottla_result> },
    /// A consumer may have records.
    Ready { consumer: usize },
    /// A step of a rebalance.
    Rebalance { consumer: usize, step: Rebalance },
    /// A client needs a token.
    TokenRequest { token: u64, request: TokenRequest },
}

/// Deliveries of one producer, from the `next`-th of the first batch on.
pub(crate) struct Reports {
    producer: Arc<ottla_producer>,
    batches: VecDeque<ReportBatch>,
    next: usize,
}

impl ottla_queue {
    pub(crate) fn push(&self, item: Item) {
        // In a child nobody drains it.
        if let Ok(inner) = self.inner.get() {
            inner.items.push(item);
        }
    }

    /// Fills `events` with what is there.
    fn drain(inner: &Inner, events: &mut Room<'_, ottla_event>) {
        let mut items = Vec::new();
        inner.items.drain(&mut items, events.left());
        let mut items = VecDeque::from(items);
        while !events.is_full()
            && let Some(item) = items.pop_front()
        {
            let reports = match item {
                Item::Deliveries(producer) => Reports {
                    batches: producer.producer.take_deliveries().unwrap_or_default().into(),
                    producer,
                    next: 0,
                },
                Item::Left(reports) => reports,
                item => {
                    events.push(event(item));
                    continue;
                }
            };
            if let Some(left) = reports.expand(events) {
                items.push_front(Item::Left(left));
            }
        }
        items.into_iter().rev().for_each(|item| inner.items.put_back(item));
    }
}

impl Reports {
    /// Adds events until there is no room for another; gives what is left.
    fn expand(mut self, events: &mut Room<'_, ottla_event>) -> Option<Self> {
        let source = Arc::as_ptr(&self.producer).cast();
        while let Some(batch) = self.batches.front() {
            let error = batch.error().map(BindingError::from);
            let (status, flags) = error.as_ref().map_or((0, 0), |error| (error.code, error.flags));
            let partition = batch.partition();
            while let Some(report) = batch.report(self.next) {
                // Whoever gives no token wants to hear of failures alone.
                if report.token != 0 || status != 0 {
                    if events.is_full() {
                        return Some(self);
                    }
                    let object = error.clone().map_or(ptr::null_mut(), ottla_error::owned).cast();
                    events.push(ottla_event {
                        kind: ottla_event_kind::OTTLA_EV_DELIVERY as u32,
                        status,
                        token: report.token,
                        offset: report.offset,
                        timestamp_ms: report.timestamp,
                        partition,
                        flags,
                        object,
                        source,
                        reserved: 0,
                    });
                }
                self.next += 1;
            }
            self.batches.pop_front();
            self.next = 0;
        }
        None
    }
}

/// An event of its own.
fn event(item: Item) -> ottla_event {
    let mut event = ottla_event {
        kind: 0,
        status: 0,
        token: 0,
        offset: -1,
        timestamp_ms: -1,
        partition: -1,
        flags: 0,
        object: ptr::null_mut(),
        source: ptr::null(),
        reserved: 0,
    };
    match item {
        Item::Call { token, outcome } => {
            event.kind = ottla_event_kind::OTTLA_EV_CALL as u32;
            event.token = token;
            match outcome {
                Ok(result) => event.object = give(result).cast(),
                Err(error) => {
                    (event.status, event.flags) = (error.code, error.flags);
                    event.object = ottla_error::owned(error).cast();
                }
            }
        }
        Item::Refused { producer, token, error } => {
            event.kind = ottla_event_kind::OTTLA_EV_DELIVERY as u32;
            (event.status, event.flags, event.token) = (error.code, error.flags, token);
            event.source = Arc::as_ptr(&producer).cast();
            event.object = ottla_error::owned(error).cast();
        }
        Item::Ready { consumer } => {
            event.kind = ottla_event_kind::OTTLA_EV_BATCH_READY as u32;
            event.source = ptr::without_provenance(consumer);
        }
        Item::Rebalance { consumer, step } => {
            event.kind = ottla_event_kind::OTTLA_EV_REBALANCE as u32;
            event.source = ptr::without_provenance(consumer);
            event.object = give(ottla_rebalance::new(step)).cast();
        }
        Item::TokenRequest { token, request } => {
            event.token = token;
            event.kind = ottla_event_kind::OTTLA_EV_TOKEN_REQUEST as u32;
            event.object = ottla_token_request::owned(request).cast();
        }
        // Expanded where they are drained.
        Item::Deliveries(_) | Item::Left(_) => {}
    }
    event
}

/// A new queue. Free it with ottla_queue_free(). [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_new(out: *mut *mut ottla_queue, err: *mut *mut ottla_error) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let inner = Inner { items: CompletionQueue::new(), bells: Mutex::default() };
        write(out, give_shared(Arc::new(ottla_queue { inner: Guarded::new(inner) })));
        Ok(())
    })
}

/// A file descriptor that is readable while there are events, for poll(), epoll or an event loop; -1 where there can be none, as
/// on Windows. It stays the queue's: neither read nor close it. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_fd(queue: *const ottla_queue) -> isize {
    ffi!(-1; {
        let inner = borrow(queue)?.inner.get()?;
        #[cfg(unix)]
        {
            let mut bells = inner.bells.lock().unwrap_or_else(PoisonError::into_inner);
            let fd = match &bells.fd {
                Some(fd) => fd.clone(),
                None => {
                    let made = ottla_bindings::WakeFd::new();
                    let fd = Arc::new(made.map_err(|error| BindingError::invalid(error.to_string()))?);
                    bells.fd = Some(fd.clone());
                    inner.items.set_wake(Some(Arc::new(bells.clone())));
                    fd
                }
            };
            Ok(fd.raw() as isize)
        }
        #[cfg(not(unix))]
        {
            let _ = inner;
            Ok(-1)
        }
    })
}

/// Is told that a queue has events where it had none; see ottla_queue_set_wake().
pub type ottla_wake_fn = Option<unsafe extern "C" fn(user: *mut c_void)>;

/// Has `wake` called when there are events where there were none, on a thread of the library; once, until the queue was drained
/// to the end. At once, on this thread, if there are events already. It must not block, and call nothing of the library. NULL ends it; a call that is under way may still go on. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_set_wake(queue: *const ottla_queue, wake: ottla_wake_fn, user: *mut c_void) {
    ffi!((); {
        let inner = borrow(queue)?.inner.get()?;
        let mut bells = inner.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.function = wake.map(|call| Arc::new(Function { call, user: Opaque(user) }));
        // Under the lock, so that of two threads that set something the last one counts. It may call, and nothing of ours.
        inner.items.set_wake(Some(Arc::new(bells.clone())));
        Ok(())
    });
}

/// Moves up to `room` events to `out`, the oldest first, and answers how many. Where there are none it waits up to `timeout_ms`;
/// for ever, if that is below 0. What an event's object is belongs to the caller then. Answers 0 in a forked child. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_drain(
    queue: *const ottla_queue,
    out: *mut ottla_event,
    room: usize,
    timeout_ms: i32,
) -> usize {
    ffi!(0; {
        let inner = borrow(queue)?.inner.get()?;
        let mut events = border::room(out, room)?;
        if events.is_full() {
            return Ok(0);
        }
        let timeout = u64::try_from(timeout_ms).ok().map(Duration::from_millis);
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            ottla_queue::drain(inner, &mut events);
            if events.filled() > 0 || timeout_ms == 0 {
                return Ok(events.filled());
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if !inner.items.wait(left) {
                // Its time is over, or ottla_queue_interrupt() was called.
                return Ok(0);
            }
        }
    })
}

/// Ends calls of ottla_queue_drain() that wait; they answer 0. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_interrupt(queue: *const ottla_queue) {
    ffi!((); {
        borrow(queue)?.inner.get()?.items.interrupt();
        Ok(())
    });
}

/// Frees a queue, and the events that are in it. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_queue_free(queue: *mut ottla_queue) {
    ffi!((); {
        let Some(queue) = take_shared(queue) else { return Ok(()) };
        if let Ok(inner) = queue.inner.get() {
            inner.items.set_wake(None);
            // Items hold producers, which may hold the queue's last count but one.
            let mut items = Vec::new();
            inner.items.drain(&mut items, usize::MAX);
        }
        Ok(())
    });
}
