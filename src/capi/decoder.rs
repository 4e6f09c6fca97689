//! Tokens to text one by one, for hosts with a loop of their own.

use std::ffi::c_char;

use super::boundary::{Out, call, handle};
use super::handle::{Guarded, free, give};
use super::status::oribi_status;
use super::text::Lent;
use super::tokenizer::{SharedTokenizer, oribi_tokenizer};
use crate::tokenizer::DecodeState;

/// Turns tokens into text as they come, for hosts with a loop of their own; oribi_generation has one inside. It never splits a
/// character.
pub struct oribi_decoder {
    tokenizer: SharedTokenizer,
    state: Guarded<State>,
}

struct State {
    decode: DecodeState,
    /// What is lent.
    text: String,
}

/// A decoder for a continuation, in which a leading space is text. With `with_special`, control tokens are shown as the vocabulary
/// writes them; otherwise they are left out.
///
/// The host frees the result with oribi_decoder_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_decoder_new(
    tokenizer: *const oribi_tokenizer,
    with_special: bool,
    decoder: *mut *mut oribi_decoder,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (tokenizer, out) = unsafe { (handle(tokenizer, "tokenizer")?, Out::new(decoder, "decoder")?) };
        let state = State { decode: DecodeState::new(with_special), text: String::new() };
        give(out, oribi_decoder { tokenizer: tokenizer.0.clone(), state: Guarded::new(state) });
        Ok(())
    })
}

/// Add a token and get the text that is now certain: whole characters, perhaps none.
///
/// Lent until the next call with this decoder. Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a token
/// outside the vocabulary; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_decoder_push(
    decoder: *mut oribi_decoder,
    token: u32,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (decoder, out) = unsafe { (handle(decoder, "decoder")?, Lent::new(text, len_bytes)?) };
        let state = &mut *decoder.state.write("decoder")?;
        state.text = state.decode.push(&decoder.tokenizer, token)?.unwrap_or_default();
        out.set(state.text.as_bytes());
        Ok(())
    })
}

/// End the text: an unfinished character becomes U+FFFD. The decoder may be used for another text.
///
/// Lent until the next call with this decoder. Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT,
/// ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_decoder_finish(
    decoder: *mut oribi_decoder,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (decoder, out) = unsafe { (handle(decoder, "decoder")?, Lent::new(text, len_bytes)?) };
        let state = &mut *decoder.state.write("decoder")?;
        state.text = state.decode.finish().unwrap_or_default();
        out.set(state.text.as_bytes());
        Ok(())
    })
}

/// Free a decoder. NULL is allowed.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_decoder_free(decoder: *mut oribi_decoder) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(decoder) }
}
