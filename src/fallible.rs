//! Allocations whose size an input decides: they end in an error, not in an abort.
//!
//! Everything that a file, a text or an option sizes is allocated through these, or through memory of its own
//! (`backend/cpu/memory.rs`). Dependencies allocate in their own way, infallibly; what they are given is bounded instead.

use crate::error::{Error, ErrorKind, Result};

/// An empty vector with room for `n` elements.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn with_capacity<T>(n: usize, what: &str) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    reserve(&mut vec, n, what)?;
    Ok(vec)
}

/// `n` times the same.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn filled<T: Clone>(value: T, n: usize, what: &str) -> Result<Vec<T>> {
    let mut vec = with_capacity(n, what)?;
    vec.resize(n, value);
    Ok(vec)
}

/// Room for `n` more elements.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, n: usize, what: &str) -> Result<()> {
    vec.try_reserve(n).map_err(|_| out_of_memory(n.saturating_mul(size_of::<T>()), what))
}

/// The error for `n_bytes` that could not be had.
#[cold]
pub(crate) fn out_of_memory(n_bytes: usize, what: &str) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("no memory for {what}: {n_bytes} bytes"))
}
