//! How an exported function answers: a status, and values through the caller's pointers.

use std::ffi::{c_char, c_uint};
use std::panic::{UnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use crate::N_USERS;
use crate::machine::Status;

/// Runs the body of an exported function; no panic leaves it.
pub(crate) fn answer(body: impl FnOnce() -> Result<(), Status> + UnwindSafe) -> c_uint {
    match catch_unwind(body) {
        Ok(Ok(())) => Status::SUCCESS.0,
        Ok(Err(status)) => status.0,
        Err(_) => Status::UNKNOWN.0,
    }
}

/// As [`answer`], for functions that need an initialised library.
pub(crate) fn answer_in_use(body: impl FnOnce() -> Result<(), Status> + UnwindSafe) -> c_uint {
    answer(
        || {
            if N_USERS.load(Ordering::Relaxed) == 0 { Err(Status::UNINITIALIZED) } else { body() }
        },
    )
}

/// Writes a value where the caller wants it.
///
/// # Safety
///
/// `place` must be NULL or valid for one write of `T`.
pub(crate) unsafe fn put<T>(place: *mut T, value: T) -> Result<(), Status> {
    if place.is_null() {
        return Err(Status::INVALID_ARGUMENT);
    }
    // SAFETY: not NULL as checked above, and valid by this function's contract.
    unsafe { place.write(value) };
    Ok(())
}

/// Writes a text with its NUL where the caller wants it.
///
/// # Safety
///
/// `place` must be NULL or valid for writes of `length` bytes.
pub(crate) unsafe fn put_text(
    place: *mut c_char,
    length: c_uint,
    text: &str,
) -> Result<(), Status> {
    if place.is_null() {
        return Err(Status::INVALID_ARGUMENT);
    }
    if text.len() >= length as usize {
        return Err(Status::INSUFFICIENT_SIZE);
    }
    let bytes = text.bytes().chain([0]);
    for (n, byte) in bytes.enumerate() {
        // SAFETY: n is at most text.len(), which is below the length the caller vouches for.
        let target = unsafe { place.add(n) };
        // SAFETY: inside the caller's buffer, as above.
        unsafe { target.write(byte as c_char) };
    }
    Ok(())
}
