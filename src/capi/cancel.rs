//! A request to cancel, for any thread to make.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::boundary::{Out, call, handle, optional, value};
use super::handle::{free, give};
use super::status::oribi_status;

/// A request to cancel that any thread can make, at any time: also while the handles that listen to it are at work or being
/// made. Handles listen to the one of the options that they were made with (oribi_options_set_cancel()).
pub struct oribi_cancel(pub(super) Arc<AtomicBool>);

/// A new request, not made yet. The host frees it with oribi_cancel_free(); handles that listen to it keep what they need.
///
/// Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cancel_new(cancel: *mut *mut oribi_cancel) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(cancel, "cancel") }?;
        give(out, oribi_cancel(Arc::default()));
        Ok(())
    })
}

/// Make the request: every load, batch and generation that listens ends with ORIBI_STATUS_CANCELLED, within 50 milliseconds,
/// and so does what begins later, until oribi_cancel_reset(). NULL is allowed and does nothing.
///
/// Threads: any, at any time; also from a signal handler, because it sets one flag and does nothing else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cancel_request(cancel: *const oribi_cancel) {
    // No boundary: there is nothing in it that could panic, and a signal handler may call it.
    // SAFETY: NULL or a live handle.
    if let Some(cancel) = unsafe { optional(cancel) } {
        cancel.0.store(true, Ordering::Relaxed);
    }
}

/// Take the request back, so that work can begin again. NULL is allowed and does nothing.
///
/// Threads: any, at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cancel_reset(cancel: *const oribi_cancel) {
    // SAFETY: NULL or a live handle.
    if let Some(cancel) = unsafe { optional(cancel) } {
        cancel.0.store(false, Ordering::Relaxed);
    }
}

/// Whether the request is made. False for NULL.
///
/// Threads: any, at any time.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cancel_is_requested(cancel: *const oribi_cancel) -> bool {
    // SAFETY: NULL or a live handle.
    value(false, || Some(unsafe { handle(cancel, "cancel") }.ok()?.0.load(Ordering::Relaxed)))
}

/// Free the host's part of a request. NULL is allowed.
///
/// Threads: any, when nobody uses this pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_cancel_free(cancel: *mut oribi_cancel) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(cancel) }
}
