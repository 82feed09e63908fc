//! What went wrong, for C.

use std::{
    ffi::{CStr, CString, c_char},
    ptr,
};

use ottla_bindings::{BindingError, error};

use crate::border::{borrow, ffi, give, take};

/// What a call that may fail answers: 0 if it went well, above 0 a broker's code, below 0 a local one; see ottla_code.
pub type ottla_status = i32;

/// The same call may succeed later, unchanged.
pub const OTTLA_ERR_RETRIABLE: u32 = 1;
/// Configuration or authorization is wrong: nothing helps before a person acted.
pub const OTTLA_ERR_FATAL: u32 = 2;
/// The transaction must be aborted; then the producer can go on.
pub const OTTLA_ERR_ABORTABLE: u32 = 4;

/// Written out above, as the header is made from this crate alone.
const _: () = assert!(
    OTTLA_ERR_RETRIABLE == error::RETRIABLE
        && OTTLA_ERR_FATAL == error::FATAL
        && OTTLA_ERR_ABORTABLE == error::ABORTABLE
);

/// What went wrong, with its text. Belongs to whoever was given it: free it with ottla_error_free().
pub struct ottla_error {
    code: ottla_status,
    flags: u32,
    message: CString,
    hint: Option<CString>,
}

impl ottla_error {
    pub(crate) fn new(error: BindingError) -> Self {
        let BindingError { code, flags, message, hint, .. } = error;
        Self { code, flags, message: c_text(message), hint: hint.map(c_text) }
    }

    pub(crate) fn owned(error: BindingError) -> *mut Self {
        give(Self::new(error))
    }
}

/// Text for C, which ends at a zero.
pub(crate) fn c_text(text: impl Into<String>) -> CString {
    let text = text.into().replace('\0', "\u{fffd}");
    CString::new(text).unwrap_or_default()
}

/// The code: above 0 a broker's, as Kafka numbers it, below 0 a local one. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_code(error: *const ottla_error) -> ottla_status {
    ffi!(0; Ok(borrow(error)?.code))
}

/// OTTLA_ERR_RETRIABLE, OTTLA_ERR_FATAL and OTTLA_ERR_ABORTABLE, together. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_flags(error: *const ottla_error) -> u32 {
    ffi!(0; Ok(borrow(error)?.flags))
}

/// What failed, where and why. Lives with the error. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_message(error: *const ottla_error) -> *const c_char {
    ffi!(c"".as_ptr(); Ok(borrow(error)?.message.as_ptr()))
}

/// What to do about it, or NULL where that is not known. Lives with the error. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_hint(error: *const ottla_error) -> *const c_char {
    ffi!(ptr::null(); Ok(borrow(error)?.hint.as_ref().map_or(ptr::null(), |hint| hint.as_ptr())))
}

/// Frees an error; NULL does nothing. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_free(error: *mut ottla_error) {
    ffi!((); {
        drop(take(error));
        Ok(())
    });
}

/// The name of a code, as "UNKNOWN_TOPIC_OR_PARTITION" or "QUEUE_FULL"; "UNKNOWN" for one that this release does not know.
/// Lives for ever. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_name(code: ottla_status) -> *const c_char {
    ffi!(c"UNKNOWN".as_ptr(); Ok(static_text(error::name(code))))
}

/// What a code means, in a few words. Lives for ever. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_error_meaning(code: ottla_status) -> *const c_char {
    ffi!(c"".as_ptr(); Ok(static_text(error::meaning(code))))
}

/// Texts of the tables with a zero behind them, made once each: there are as many as there are codes.
fn static_text(text: &'static str) -> *const c_char {
    use std::{
        collections::HashMap,
        sync::{LazyLock, Mutex, PoisonError},
    };
    static TEXTS: LazyLock<Mutex<HashMap<&'static str, &'static CStr>>> = LazyLock::new(Mutex::default);
    let mut texts = TEXTS.lock().unwrap_or_else(PoisonError::into_inner);
    texts.entry(text).or_insert_with(|| Box::leak(c_text(text).into_boxed_c_str())).as_ptr()
}
