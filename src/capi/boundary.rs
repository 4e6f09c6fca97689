//! The boundary that every call passes: pointers are checked, panics end here, errors become a status and the thread's text.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use super::status::{ORIBI_TO_NUL, oribi_status};
use crate::error::{Error, ErrorKind, Result, bail};

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
    /// Calls of this library that are running on this thread.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where the last panic on this thread was, and what it said.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Names of threads that work for the library.
const OUR_THREADS: [&str; 2] = ["oribi", "chat template"];

/// Runs a function that can fail.
pub(super) fn call(body: impl FnOnce() -> Result<()>) -> oribi_status {
    match caught(body).and_then(|result| result) {
        Ok(()) => oribi_status::OK,
        Err(error) => {
            let status = error.kind().into();
            set_last_error(error.to_string());
            status
        }
    }
}

/// Runs a function that has a value whatever happens: `absent` for a NULL handle, an index past the end, or a defect.
pub(super) fn value<T>(absent: T, body: impl FnOnce() -> Option<T>) -> T {
    match caught(body) {
        Ok(found) => found.unwrap_or(absent),
        Err(error) => {
            set_last_error(error.to_string());
            absent
        }
    }
}

/// The text of the last error on this thread.
pub(super) fn last_error() -> *const c_char {
    // A thread that is ending has lost its text.
    LAST_ERROR.try_with(|text| text.borrow().as_ptr()).unwrap_or(c"".as_ptr())
}

fn set_last_error(text: String) {
    let text = CString::new(text).or_else(|e| {
        let bytes = e.into_vec().into_iter().map(|byte| if byte == 0 { b'?' } else { byte }).collect();
        CString::new::<Vec<u8>>(bytes)
    });
    let _ = LAST_ERROR.try_with(|last| last.replace(text.unwrap_or_default()));
}

/// The result of `body`, or `Internal` if it panicked.
fn caught<T>(body: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(silence_own_panics);
    let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
    // Unwind safety: what a panic may have left half done is behind a lock that is poisoned then (`handle.rs`).
    let result = catch_unwind(AssertUnwindSafe(body));
    let _ = DEPTH.try_with(|depth| depth.set(depth.get() - 1));
    result.map_err(|payload| {
        let place = PANIC.try_with(|text| text.take()).unwrap_or_default();
        let what = if place.is_empty() { panic_text(&*payload).to_owned() } else { place };
        // A payload may panic when it is dropped; it is small, and this is a defect anyway.
        std::mem::forget(payload);
        Error::new(ErrorKind::Internal, format!("a defect in oribi: {what}"))
    })
}

/// Keeps panics of this library from standard error, where Rust reports them: they are kept for the error's text. Panics of
/// others, where the host is a Rust program, are reported as before.
fn silence_own_panics() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let inside = DEPTH.try_with(|depth| depth.get() > 0).unwrap_or(false);
        let ours =
            std::thread::current().name().is_some_and(|name| OUR_THREADS.iter().any(|our| name.starts_with(our)));
        if inside || ours {
            let place = info.location().map_or(String::new(), |at| format!(" ({}:{})", at.file(), at.line()));
            let _ = PANIC.try_with(|text| text.replace(panic_text(info.payload()).to_owned() + &place));
        } else {
            previous(info);
        }
    }));
}

fn panic_text(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text")
}

/// A handle that must be there.
///
/// # Safety
/// `pointer` is NULL or a handle of that type that is not freed while the result lives.
pub(super) unsafe fn handle<'a, T>(pointer: *const T, argument: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    match unsafe { pointer.as_ref() } {
        Some(handle) => Ok(handle),
        None => bail!(InvalidArgument, "{argument} is NULL"),
    }
}

/// A handle that may be NULL.
///
/// # Safety
/// As for [`handle`].
pub(super) unsafe fn optional<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: the caller's promise.
    unsafe { pointer.as_ref() }
}

/// An array of the host. NULL stands for an array of no elements.
///
/// # Safety
/// `pointer` is NULL or points to `n` elements that nobody changes while the result lives.
pub(super) unsafe fn slice<'a, T>(pointer: *const T, n: usize, argument: &str) -> Result<&'a [T]> {
    check_array(pointer, n, argument)?;
    if n == 0 {
        return Ok(&[]);
    }
    // SAFETY: not NULL, aligned, of a length that an allocation can have; the rest is the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, n) })
}

/// Refuses an array that cannot be one.
pub(super) fn check_array<T>(pointer: *const T, n: usize, argument: &str) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    if pointer.is_null() {
        bail!(InvalidArgument, "{argument} is NULL");
    }
    if !pointer.is_aligned() {
        bail!(InvalidArgument, "{argument} is not aligned to {} bytes", align_of::<T>());
    }
    if n > isize::MAX as usize / size_of::<T>() {
        bail!(InvalidArgument, "{argument} of {n} elements is larger than the address space");
    }
    Ok(())
}

/// A text of the host, with its length or ended by NUL ([`ORIBI_TO_NUL`]).
///
/// # Safety
/// `pointer` is NULL or points to `len_bytes` bytes, or to bytes that end with NUL, which nobody changes while the result lives.
pub(super) unsafe fn text<'a>(pointer: *const c_char, len_bytes: usize, argument: &str) -> Result<&'a str> {
    let bytes = if len_bytes == ORIBI_TO_NUL {
        if pointer.is_null() {
            bail!(InvalidArgument, "{argument} is NULL");
        }
        // SAFETY: the caller's promise.
        unsafe { CStr::from_ptr(pointer) }.to_bytes()
    } else {
        // SAFETY: the caller's promise.
        unsafe { slice(pointer.cast::<u8>(), len_bytes, argument) }?
    };
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(e) => bail!(InvalidArgument, "{argument} is not UTF-8 from its byte {}", e.valid_up_to()),
    }
}

/// A name of the host: UTF-8 that ends with NUL.
///
/// # Safety
/// As for [`text`].
pub(super) unsafe fn name<'a>(pointer: *const c_char, argument: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    unsafe { text(pointer, ORIBI_TO_NUL, argument) }
}

/// Where a result goes. Checked before anything is done, written on success alone.
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// A result that the host must take.
    ///
    /// # Safety
    /// `pointer` is NULL or may be written to while the result lives.
    pub unsafe fn new(pointer: *mut T, argument: &str) -> Result<Out<T>> {
        check_array(pointer, 1, argument)?;
        Ok(Out(pointer))
    }

    /// Hand out the result.
    pub fn set(self, value: T) {
        // SAFETY: `new` refused NULL and misaligned pointers; that it may be written to is the promise made there. What was
        // there before is the host's, and not dropped.
        unsafe { self.0.write(value) }
    }
}

/// Several results of one kind go into an array of the host.
///
/// # Safety
/// `pointer` is NULL or points to room for `values.len()` elements.
pub(super) unsafe fn fill<T: Copy>(pointer: *mut T, values: &[T]) {
    // SAFETY: the caller checked the array; the host's memory and the library's do not overlap.
    unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), pointer, values.len()) }
}
