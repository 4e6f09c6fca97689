//! What the targets share that call the C interface: its functions as a host calls them, with handles that are freed, and a
//! defect that is a crash.

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null_mut;

use oribi::capi::*;

/// A valid model file of 24 KiB, with random weights (`tests/fuzz_corpus.rs`).
pub static TINY_MODEL: &[u8] = include_bytes!("../corpus/capi_open/llama");

/// Whether a call succeeded. One that came upon a defect ends the run: a panic that the boundary caught, or the thread on which
/// templates are rendered.
pub fn ok(status: oribi_status) -> bool {
    if status == oribi_status::OK {
        return true;
    }
    let text = last_error();
    assert!(!text.is_empty(), "a failure without a reason: {}", status as i32);
    // What a template raises itself has its line behind it.
    assert!(status != oribi_status::INTERNAL && text != "chat template: the template engine panicked", "{text}");
    false
}

/// The text of the last error.
pub fn last_error() -> String {
    // SAFETY: ended by NUL, and valid until the next call.
    unsafe { CStr::from_ptr(oribi_last_error()) }.to_str().expect("errors are UTF-8").to_owned()
}

/// A handle, freed when it is dropped.
pub struct Handle<T> {
    pub raw: *mut T,
    free: unsafe extern "C" fn(*mut T),
}

impl<T> Drop for Handle<T> {
    fn drop(&mut self) {
        // SAFETY: made by the library, freed once.
        unsafe { (self.free)(self.raw) }
    }
}

/// The handle that a call makes, if it succeeds.
pub fn made<T>(
    free: unsafe extern "C" fn(*mut T),
    make: impl FnOnce(*mut *mut T) -> oribi_status,
) -> Option<Handle<T>> {
    let mut raw = null_mut();
    if ok(make(&mut raw)) {
        assert!(!raw.is_null(), "a success without a handle");
        return Some(Handle { raw, free });
    }
    assert!(raw.is_null(), "a failure with a handle");
    None
}

/// A result that a call writes, if it succeeds.
pub fn written<T: Default>(call: impl FnOnce(*mut T) -> oribi_status) -> Option<T> {
    let mut value = T::default();
    ok(call(&mut value)).then_some(value)
}

/// A text that a call lends, if it succeeds.
pub fn lent<'a>(call: impl FnOnce(*mut *const c_char, *mut usize) -> oribi_status) -> Option<&'a [u8]> {
    let (mut text, mut len) = (std::ptr::null(), 0);
    // SAFETY: so many bytes are lent for as long as the caller keeps the handle.
    ok(call(&mut text, &mut len)).then(|| unsafe { std::slice::from_raw_parts(text.cast::<u8>(), len) })
}

/// A file in memory, which must stay as long as what comes from it.
pub fn open_memory(bytes: &[u8]) -> Option<Handle<oribi_file>> {
    // SAFETY: so many bytes, which the caller keeps.
    made(oribi_file_free, |out| unsafe {
        oribi_file_open_memory(bytes.as_ptr().cast::<c_void>(), bytes.len(), None, null_mut(), out)
    })
}

/// Options for small models: one thread, a short context, a budget.
pub fn small_options() -> Handle<oribi_options> {
    // SAFETY: a place for the result.
    let options = made(oribi_options_free, |out| unsafe { oribi_options_new(out) }).expect("options");
    let ints = [
        (c"n_threads", 1),
        (c"n_ctx", 32),
        (c"n_sequences", 4),
        (c"n_batch", 8),
        (c"max_memory", 256 << 20),
        (c"seed", 1),
    ];
    for (key, value) in ints {
        // SAFETY: live pointers.
        assert!(ok(unsafe { oribi_options_set_int(options.raw, key.as_ptr(), value) }), "{}", last_error());
    }
    options
}

/// The tokens of a text; `None` if it is refused.
pub fn encode(
    tokenizer: *const oribi_tokenizer,
    text: &[u8],
    add_special: bool,
    parse_special: bool,
) -> Option<Vec<u32>> {
    let data = text.as_ptr().cast::<c_char>();
    // SAFETY: live pointers, and so many bytes.
    let tokens = made(oribi_tokens_free, |out| unsafe {
        oribi_tokenizer_encode(tokenizer, data, text.len(), add_special, parse_special, out)
    })?;
    // SAFETY: a live handle.
    Some(unsafe { tokens_of(tokens.raw) })
}

/// The tokens in a handle.
///
/// # Safety
/// A live handle.
pub unsafe fn tokens_of(tokens: *const oribi_tokens) -> Vec<u32> {
    // SAFETY: the caller's promise; the library says how many there are.
    unsafe {
        match oribi_tokens_len(tokens) {
            0 => Vec::new(),
            n => std::slice::from_raw_parts(oribi_tokens_data(tokens), n).to_vec(),
        }
    }
}

/// The bytes in a text, which are UTF-8.
pub fn text_of(text: &Handle<oribi_text>) -> String {
    // SAFETY: a live handle; the library says how many bytes there are.
    let bytes = unsafe { std::slice::from_raw_parts(oribi_text_data(text.raw).cast::<u8>(), oribi_text_len(text.raw)) };
    std::str::from_utf8(bytes).expect("texts are UTF-8").to_owned()
}
