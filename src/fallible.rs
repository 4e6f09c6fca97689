//! Allocations whose size an input decides: they end in an error, not in an abort.
//!
//! Tables that a file, a text or an option sizes are allocated through these, or as memory of its own (`backend/cpu/memory.rs`).
//! Dependencies (the merges of `tokenizers`, the templates of `minijinja`) and the standard library's strings allocate in
//! their own way, infallibly: before they get a large input, [`expect_room`] asks whether what they will take can be had.
//! That is no reservation. Another thread may take it in between, and a system that promises more than it has may end
//! the process later; a limit of the process's address space, which a careful host sets, is kept.

use crate::error::{Error, ErrorKind, Result};

/// An empty vector with room for `n` elements.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn with_capacity<T>(n: usize, what: &str) -> Result<Vec<T>> {
    let mut vec = Vec::new();
    vec.try_reserve_exact(n).map_err(|_| out_of_memory(n.saturating_mul(size_of::<T>()), what))?;
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

/// All of an iterator, whose length is known.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn collect<T>(items: impl ExactSizeIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let mut vec = with_capacity(items.len(), what)?;
    vec.extend(items);
    Ok(vec)
}

/// Room for `n` more elements.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn reserve<T>(vec: &mut Vec<T>, n: usize, what: &str) -> Result<()> {
    vec.try_reserve(n).map_err(|_| out_of_memory(n.saturating_mul(size_of::<T>()), what))
}

/// A copy of a text.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn text(text: &str, what: &str) -> Result<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| out_of_memory(text.len(), what))?;
    copy.push_str(text);
    Ok(copy)
}

/// Inputs of fewer bytes are not asked about: a process that cannot have so much is at its end anyway.
const SMALL_BYTES: usize = 64 << 10;

/// Whether `n_bytes` can be had now, for code that will take up to as much in pieces.
///
/// # Errors
/// `OutOfMemory` naming `what`.
pub(crate) fn expect_room(n_bytes: usize, what: &str) -> Result<()> {
    if n_bytes >= SMALL_BYTES {
        drop(with_capacity::<u8>(n_bytes, what)?);
    }
    Ok(())
}

/// The error for `n_bytes` that could not be had.
#[cold]
pub(crate) fn out_of_memory(n_bytes: usize, what: &str) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("no memory for {what}: {n_bytes} bytes"))
}
