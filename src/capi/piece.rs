//! Pieces: what a generation gives.

use std::ffi::c_char;

use super::boundary::{Out, call, handle, value};
use super::sampler::{logprob_of, top_of};
use super::status::oribi_status;
use super::text::Lent;
use crate::generate::Piece;

/// A token of a generation, and the text that became certain with it. Lent by the generation; there is nothing to free.
pub struct oribi_piece(pub(super) Piece);

/// The text of a piece: whole characters, `len_bytes` bytes of them without a NUL behind. It may be empty while a character or a
/// possible stop string is unfinished; a later piece then carries it.
///
/// Lent like the piece. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_piece_text(
    piece: *const oribi_piece,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (piece, out) = unsafe { (handle(piece, "piece")?, Lent::new(text, len_bytes)?) };
        out.set(piece.0.text.as_bytes());
        Ok(())
    })
}

/// The token of a piece; the one that ended the generation included. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_piece_token(piece: *const oribi_piece) -> u32 {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(piece, "piece") }.ok()?.0.token))
}

/// The log-probability of the token, as oribi_sampler_logprob() gives it.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_STATE if the sampler was made without the option logprobs;
/// ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_piece_logprob(piece: *const oribi_piece, logprob: *mut f32) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (piece, out) = unsafe { (handle(piece, "piece")?, Out::new(logprob, "logprob")?) };
        out.set(logprob_of(piece.0.logprob)?);
        Ok(())
    })
}

/// The `index`-th most probable token, as oribi_sampler_top() gives it.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also past the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_piece_top(
    piece: *const oribi_piece,
    index: usize,
    token: *mut u32,
    logprob: *mut f32,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (piece, out_token, out_logprob) =
            unsafe { (handle(piece, "piece")?, Out::new(token, "token")?, Out::new(logprob, "logprob")?) };
        let (token, logprob) = top_of(&piece.0.top, index)?;
        out_token.set(token);
        out_logprob.set(logprob);
        Ok(())
    })
}
