//! Handles: a pointer of the host owns a box; what several handles share is counted by reference, so the order in which they
//! are freed does not matter.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use super::boundary::{self, Out};
use crate::error::{Result, bail};

/// Hand a new handle to the host.
pub(super) fn give<T>(out: Out<*mut T>, value: T) {
    out.set(Box::into_raw(Box::new(value)));
}

/// Free a handle; NULL is none.
///
/// # Safety
/// `pointer` is NULL or came from [`give`], was not freed before, and nobody uses it.
pub(super) unsafe fn free<T>(pointer: *mut T) {
    boundary::value((), || {
        // SAFETY: the caller's promise.
        let owned = (!pointer.is_null()).then(|| unsafe { Box::from_raw(pointer) });
        // A defect in dropping must not hide one that is being unwound.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(owned)));
        Some(())
    });
}

/// State that one call at a time may change. A second call while another is under way, from another thread or from a callback,
/// is refused, not blocked and not undefined.
pub(super) struct Guarded<T>(RwLock<T>);

impl<T> Guarded<T> {
    pub fn new(value: T) -> Self {
        Guarded(RwLock::new(value))
    }

    /// For a call that does not mutate. `what` names the handle in errors.
    pub fn read(&self, what: &str) -> Result<RwLockReadGuard<'_, T>> {
        match self.0.try_read() {
            Ok(guard) => Ok(guard),
            Err(error) => refused(error, what),
        }
    }

    /// For a call that mutates.
    pub fn write(&self, what: &str) -> Result<RwLockWriteGuard<'_, T>> {
        match self.0.try_write() {
            Ok(guard) => Ok(guard),
            Err(error) => refused(error, what),
        }
    }
}

fn refused<G, T>(error: TryLockError<G>, what: &str) -> Result<T> {
    match error {
        TryLockError::WouldBlock => bail!(InvalidState, "the {what} is in use by another call"),
        TryLockError::Poisoned(_) => bail!(InvalidState, "the {what} is unusable after an internal error"),
    }
}
