//! Results that the library computes and the host frees: text, tokens, bytes, floats.

use std::ffi::{CString, c_char};

use super::boundary::{self, Out, optional};
use super::handle::free;
use crate::error::Result;
use crate::fallible;

/// A text that the library computed: UTF-8 with its length, and a NUL behind it for programs that want one.
pub struct oribi_text(Vec<u8>);

/// Tokens that the library computed.
pub struct oribi_tokens(pub(super) Vec<u32>);

/// Bytes that the library made, for example the state of a session.
pub struct oribi_bytes(pub(super) Vec<u8>);

/// Numbers that the library computed, for example embeddings.
pub struct oribi_floats(pub(super) Vec<f32>);

impl oribi_text {
    /// The text with a NUL behind it.
    pub(super) fn new(text: impl Into<Vec<u8>>) -> Result<oribi_text> {
        let mut bytes: Vec<u8> = text.into();
        bytes.try_reserve_exact(1).map_err(|_| fallible::out_of_memory(bytes.len() + 1, "a text"))?;
        bytes.push(0);
        Ok(oribi_text(bytes))
    }
}

/// A name of the library with a NUL behind it, for handles that lend it. Names have no NUL inside.
pub(super) fn c_name(name: &str) -> CString {
    CString::new(name).unwrap_or_default()
}

/// A text that a handle lends: where its place and its length go.
pub(super) struct Lent(Out<*const c_char>, Out<usize>);

impl Lent {
    /// # Safety
    /// Both are NULL or may be written to while the result lives.
    pub unsafe fn new(text: *mut *const c_char, len_bytes: *mut usize) -> Result<Lent> {
        // SAFETY: the caller's promise.
        unsafe { Ok(Lent(Out::new(text, "text")?, Out::new(len_bytes, "len_bytes")?)) }
    }

    pub fn set(self, text: &[u8]) {
        self.0.set(text.as_ptr().cast());
        self.1.set(text.len());
    }
}

/// The bytes of a text, oribi_text_len() of them and a NUL behind. NULL for NULL.
///
/// Lent until the text is freed. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_text_data(text: *const oribi_text) -> *const c_char {
    // SAFETY: NULL or a live handle, as for every function.
    boundary::value(std::ptr::null(), || Some(unsafe { optional(text) }?.0.as_ptr().cast()))
}

/// The length of a text in bytes, without the NUL behind it. 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_text_len(text: *const oribi_text) -> usize {
    // SAFETY: NULL or a live handle.
    boundary::value(0, || Some(unsafe { optional(text) }?.0.len() - 1))
}

/// Free a text. NULL is allowed.
///
/// Threads: any, when nobody uses the text.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_text_free(text: *mut oribi_text) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(text) }
}

/// The tokens, oribi_tokens_len() of them. NULL for NULL; not to be read when there are none.
///
/// Lent until they are freed. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokens_data(tokens: *const oribi_tokens) -> *const u32 {
    // SAFETY: NULL or a live handle.
    boundary::value(std::ptr::null(), || Some(unsafe { optional(tokens) }?.0.as_ptr()))
}

/// The number of tokens. 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokens_len(tokens: *const oribi_tokens) -> usize {
    // SAFETY: NULL or a live handle.
    boundary::value(0, || Some(unsafe { optional(tokens) }?.0.len()))
}

/// Free tokens. NULL is allowed.
///
/// Threads: any, when nobody uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_tokens_free(tokens: *mut oribi_tokens) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(tokens) }
}

/// The bytes, oribi_bytes_len() of them. NULL for NULL; not to be read when there are none.
///
/// Lent until they are freed. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_bytes_data(bytes: *const oribi_bytes) -> *const u8 {
    // SAFETY: NULL or a live handle.
    boundary::value(std::ptr::null(), || Some(unsafe { optional(bytes) }?.0.as_ptr()))
}

/// The number of bytes. 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_bytes_len(bytes: *const oribi_bytes) -> usize {
    // SAFETY: NULL or a live handle.
    boundary::value(0, || Some(unsafe { optional(bytes) }?.0.len()))
}

/// Free bytes. NULL is allowed.
///
/// Threads: any, when nobody uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_bytes_free(bytes: *mut oribi_bytes) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(bytes) }
}

/// The floats, oribi_floats_len() of them. NULL for NULL; not to be read when there are none.
///
/// Lent until they are freed. Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_floats_data(floats: *const oribi_floats) -> *const f32 {
    // SAFETY: NULL or a live handle.
    boundary::value(std::ptr::null(), || Some(unsafe { optional(floats) }?.0.as_ptr()))
}

/// The number of floats. 0 for NULL.
///
/// Threads: any.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_floats_len(floats: *const oribi_floats) -> usize {
    // SAFETY: NULL or a live handle.
    boundary::value(0, || Some(unsafe { optional(floats) }?.0.len()))
}

/// Free floats. NULL is allowed.
///
/// Threads: any, when nobody uses them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_floats_free(floats: *mut oribi_floats) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(floats) }
}
