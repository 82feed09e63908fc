//! The border: all that believes what C says, and the end of every panic.
//!
//! The contract that each function here relies on is the header's: a pointer that is handed over is null or points to what
//! its type says, a count says how many there are, a handle was given by this library and is not freed before the call
//! returns, and text ends with a zero. C cannot be held to it, so what can be checked is checked: null, UTF-8, sizes.

use std::{
    ffi::{CStr, c_char},
    mem::MaybeUninit,
    ptr, slice,
    sync::Arc,
};

use ottla_bindings::{
    BindingError, Result,
    panic::{Poison, catch},
};

use crate::error::ottla_error;
pub(crate) use crate::error::ottla_status;

/// Wraps the body of every function that C calls, so that no panic leaves it.
///
/// `ffi!(err => body)` is for those that answer a status: an error goes to `*err`, if somebody asks for it.
/// `ffi!(otherwise; body)` is for all others: `otherwise` is answered where the body fails or panics.
macro_rules! ffi {
    ($err:expr => $body:expr) => {
        $crate::border::status($err, || $body)
    };
    ($otherwise:expr; $body:expr) => {
        $crate::border::value($otherwise, || $body)
    };
}
pub(crate) use ffi;

pub(crate) fn status(err: *mut *mut ottla_error, body: impl FnOnce() -> Result<()>) -> ottla_status {
    match catch(None, body) {
        Ok(()) => {
            write(err, ptr::null_mut());
            0
        }
        Err(error) => {
            let code = error.code;
            if !err.is_null() {
                write(err, ottla_error::owned(error));
            }
            code
        }
    }
}

pub(crate) fn value<T>(otherwise: T, body: impl FnOnce() -> Result<T>) -> T {
    catch(None::<&Poison>, body).unwrap_or(otherwise)
}

/// What C reads and writes as it is: any bits are a value.
///
/// # Safety
///
/// Implement it for `repr(C)` structs of numbers and raw pointers only.
pub(crate) unsafe trait Plain: Copy {}

/// A reference to what a handle stands for.
pub(crate) fn borrow<'a, T>(handle: *const T) -> Result<&'a T> {
    // SAFETY: null, or a handle of this library that lives through the call, by the contract above.
    unsafe { handle.as_ref() }.ok_or_else(|| BindingError::invalid("a handle is NULL"))
}

/// As [`borrow`], for those of which one thread at a time may be at work.
pub(crate) fn borrow_mut<'a, T>(handle: *mut T) -> Result<&'a mut T> {
    // SAFETY: as above, and marked [one] in the header: no other thread is at work with it.
    unsafe { handle.as_mut() }.ok_or_else(|| BindingError::invalid("a handle is NULL"))
}

/// As many things as C says there are; none for null.
pub(crate) fn list<'a, T>(first: *const T, count: usize) -> Result<&'a [T]> {
    match (first.is_null(), count) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(BindingError::invalid("a list is NULL, and not empty")),
        // SAFETY: `count` of them are there, by the contract above.
        (false, count) => Ok(unsafe { slice::from_raw_parts(first, count) }),
    }
}

/// As many bytes; `None` for null.
#[inline]
pub(crate) fn bytes<'a>(first: *const u8, len: usize) -> Option<&'a [u8]> {
    if first.is_null() {
        return None;
    }
    // SAFETY: `len` bytes are there, by the contract above.
    Some(unsafe { slice::from_raw_parts(first, len) })
}

/// Text that must be there.
pub(crate) fn text<'a>(text: *const c_char, what: &str) -> Result<&'a str> {
    if text.is_null() {
        return Err(BindingError::invalid(format!("{what} is NULL")));
    }
    // SAFETY: not null, and it ends with a zero, by the contract above.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| BindingError::invalid(format!("{what} is not UTF-8")))
}

/// What stands `step` bytes behind `first`, `index` times: an array of structs that may be larger than ours.
#[inline]
pub(crate) fn nth<'a, T>(first: *const T, index: usize, step: usize) -> &'a T {
    // SAFETY: the caller has `index` more structs of `step` bytes, each no smaller than ours, by the contract above.
    unsafe { &*first.byte_add(index * step) }
}

/// Fills what C gave room for; nothing, if that is null.
pub(crate) fn write<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: there is room for one, by the contract above; what stood there is C's own and not dropped.
        unsafe { place.write(value) }
    }
}

/// Room for `count` structs that C has; what stands there is not read.
pub(crate) fn room<'a, T: Plain>(places: *mut T, count: usize) -> Result<Room<'a, T>> {
    if places.is_null() && count > 0 {
        return Err(BindingError::invalid("there is no room for what is asked for"));
    }
    let places = places.cast::<MaybeUninit<T>>();
    // SAFETY: there is room for `count`, by the contract above, and nobody else writes there meanwhile.
    let places = if count == 0 { &mut [] } else { unsafe { slice::from_raw_parts_mut(places, count) } };
    Ok(Room { places, filled: 0 })
}

/// Places to be filled one after the other.
pub(crate) struct Room<'a, T> {
    places: &'a mut [MaybeUninit<T>],
    filled: usize,
}

impl<T> Room<'_, T> {
    /// Fills the next place, of which there must be one.
    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        if let Some(place) = self.places.get_mut(self.filled) {
            place.write(value);
            self.filled += 1;
        }
    }

    pub(crate) fn filled(&self) -> usize {
        self.filled
    }

    pub(crate) fn is_full(&self) -> bool {
        self.filled == self.places.len()
    }

    pub(crate) fn left(&self) -> usize {
        self.places.len() - self.filled
    }
}

/// Copies a struct whose first word says how many bytes C knows of it: no more is read, and the rest is zero.
pub(crate) fn sized<T: Plain>(given: *const T, smallest: usize) -> Result<T> {
    if given.is_null() {
        return Err(BindingError::invalid("a struct is NULL"));
    }
    // SAFETY: not null, and every such struct begins with its size, by the contract above.
    let size = unsafe { given.cast::<u32>().read() } as usize;
    if size < smallest {
        let text = format!(
            "a struct says that it has {size} bytes, and {smallest} are the least; set `size` to its sizeof"
        );
        return Err(BindingError::invalid(text));
    }
    let mut ours = MaybeUninit::<T>::zeroed();
    // SAFETY: as many bytes are there on both sides, and any bits are a value of `T`.
    unsafe {
        ptr::copy_nonoverlapping(
            given.cast::<u8>(),
            ours.as_mut_ptr().cast::<u8>(),
            size.min(size_of::<T>()),
        );
        Ok(ours.assume_init())
    }
}

/// Hands an object over to C.
pub(crate) fn give<T>(object: T) -> *mut T {
    Box::into_raw(Box::new(object))
}

/// Takes an object back from C, to be dropped.
pub(crate) fn take<T>(object: *mut T) -> Option<Box<T>> {
    if object.is_null() {
        return None;
    }
    // SAFETY: `give` made it, and C gives it back once, by the contract above.
    Some(unsafe { Box::from_raw(object) })
}

/// Hands one count of a shared object over to C.
pub(crate) fn give_shared<T>(object: Arc<T>) -> *mut T {
    Arc::into_raw(object).cast_mut()
}

/// One count more of what C has.
pub(crate) fn share<T>(object: *const T) -> Result<Arc<T>> {
    borrow(object)?;
    // SAFETY: not null, made by `give_shared`, and C holds a count through the call, by the contract above.
    unsafe {
        Arc::increment_strong_count(object);
        Ok(Arc::from_raw(object))
    }
}

/// Takes a count back from C.
pub(crate) fn take_shared<T>(object: *const T) -> Option<Arc<T>> {
    if object.is_null() {
        return None;
    }
    // SAFETY: `give_shared` made it, and C gives each count back once, by the contract above.
    Some(unsafe { Arc::from_raw(object) })
}

/// A pointer of C's that is only handed back to C, on whatever thread; that it may be there is the header's contract.
#[derive(Clone, Copy)]
pub(crate) struct Opaque(pub(crate) *mut std::ffi::c_void);

// SAFETY: nothing here looks at what it points to.
unsafe impl Send for Opaque {}
// SAFETY: as above.
unsafe impl Sync for Opaque {}

impl Opaque {
    pub(crate) fn get(self) -> *mut std::ffi::c_void {
        self.0
    }
}
