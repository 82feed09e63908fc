//! What takes time, for C.

use std::ptr;

use ottla_bindings::{BindingError, Call, Result, Wait};

use crate::{
    border::{ffi, give, ottla_status, share, take, write},
    error::ottla_error,
    queue::{Item, ottla_queue},
    result::ottla_result,
};

/// Something that takes time and has not begun: wait for it with ottla_call_wait(), or start it with ottla_call_start(). Either
/// takes it over, so that it is used once.
pub struct ottla_call {
    call: Call<ottla_result>,
}

impl ottla_call {
    pub(crate) fn give<T: Send + 'static>(
        call: Call<T>,
        turn: impl FnOnce(T) -> ottla_result + Send + 'static,
    ) -> *mut Self {
        give(Self { call: call.map(turn) })
    }
}

/// Waits for a call, up to `timeout_ms`; for ever, if that is below 0. `*out` is its result, to be freed with
/// ottla_result_free(); where `out` is NULL, nobody wants it. Frees the call. [any][block]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_call_wait(
    call: *mut ottla_call,
    timeout_ms: i32,
    out: *mut *mut ottla_result,
    err: *mut *mut ottla_error,
) -> ottla_status {
    ffi!(err => {
        write(out, ptr::null_mut());
        let result = taken(call)?.call.wait(Wait::ms(timeout_ms.into()))?;
        if !out.is_null() {
            write(out, give(result));
        }
        Ok(())
    })
}

/// Starts a call, in the background. It ends with an event of kind OTTLA_EV_CALL and this token in `queue`, whatever becomes of
/// it. Frees the call. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_call_start(
    call: *mut ottla_call,
    queue: *const ottla_queue,
    token: u64,
) -> ottla_status {
    ffi!(ptr::null_mut() => {
        let call = taken(call)?.call;
        let queue = share(queue)?;
        call.start(move |outcome| queue.push(Item::Call { token, outcome }));
        Ok(())
    })
}

/// Frees a call that is not to be made after all. NULL does nothing. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_call_free(call: *mut ottla_call) {
    ffi!((); {
        drop(take(call));
        Ok(())
    });
}

/// As `ffi!`, for those that give a call: what is wrong already is what the call fails with.
macro_rules! call {
    ($body:expr) => {
        $crate::border::ffi!(std::ptr::null_mut(); Ok($crate::call::made(|| $body)))
    };
}
pub(crate) use call;

pub(crate) fn made(make: impl FnOnce() -> Result<*mut ottla_call>) -> *mut ottla_call {
    make().unwrap_or_else(|error| give(ottla_call { call: Call::refused(error) }))
}

fn taken(call: *mut ottla_call) -> Result<Box<ottla_call>> {
    take(call).ok_or_else(|| BindingError::invalid("the call is NULL"))
}
