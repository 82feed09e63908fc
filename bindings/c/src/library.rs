//! The library itself: its versions, its log.

use std::ffi::{c_char, c_void};

use ottla_bindings::log::{LogLevel, clear_log, set_log};

use crate::{
    border::{Opaque, ffi},
    error::c_text,
};

/// The version of the binary interface, as the library's name has it: libottla.so.1. Another number means that an existing
/// function changed; new ones may come at any time.
pub const OTTLA_ABI_VERSION: u32 = 1;

/// The version of the binary interface that the loaded library has; compare it with OTTLA_ABI_VERSION. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_abi_version() -> u32 {
    ffi!(0; Ok(OTTLA_ABI_VERSION))
}

/// The library's version, as "0.1.0". Lives for ever. [any][cb]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_version() -> *const c_char {
    ffi!(c"".as_ptr(); Ok(concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()))
}

/// Takes a line of the library's log: its level, the part of the library that it is from, its text with its length. The texts
/// live through the call. It is called on any thread of the library, on several at once, and must call nothing of the library.
pub type ottla_log_fn = Option<
    unsafe extern "C" fn(
        level: i32,
        target: *const c_char,
        text: *const c_char,
        len: usize,
        user: *mut c_void,
    ),
>;

/// Has `log` called with each line up to `level`: 1 errors, 2 warnings, 3 information, 4 debugging, 5 all. NULL or 0 ends it; a
/// call that is under way may still go on. Without it nothing is logged anywhere. [any]
#[unsafe(no_mangle)]
pub extern "C" fn ottla_set_log(log: ottla_log_fn, level: i32, user: *mut c_void) {
    ffi!((); {
        let user = Opaque(user);
        match log {
            Some(log) if level > 0 => {
                set_log(LogLevel::of(level), move |level, target, text| {
                    let (target, line) = (c_text(target), c_text(text));
                    // SAFETY: a function of C's that keeps to what the header says; the texts live through the call.
                    unsafe {
                        log(level as i32, target.as_ptr(), line.as_ptr(), line.as_bytes().len(), user.get());
                    }
                });
            }
            _ => clear_log(),
        }
        Ok(())
    });
}
