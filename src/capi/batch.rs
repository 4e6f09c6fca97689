//! Batches: tokens to be computed together.

use super::boundary::{Out, call, handle, slice};
use super::handle::{Guarded, free, give};
use super::status::oribi_status;
use crate::error::{Result, bail};
use crate::session::{Batch, Role, SequenceId};

/// Where a token comes from. It decides the arithmetic where the option numerics is native, so that results depend neither on the
/// batch that a token is in nor on how a prompt was divided.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_role {
    /// Given: prompts, documents.
    PROMPT = 0,
    /// Made by the model: sampled, or drafted and to be verified.
    GENERATED = 1,
}

/// Tokens to append to sequences of a session, in order. Tokens of several sequences may be mixed; each goes to the next position of
/// its sequence.
pub struct oribi_batch(pub(super) Guarded<Batch>);

/// A new, empty batch.
///
/// The host frees it with oribi_batch_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_new(batch: *mut *mut oribi_batch) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(batch, "batch") }?;
        give(out, oribi_batch(Guarded::new(Batch::new())));
        Ok(())
    })
}

/// Free a batch. NULL is allowed.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_free(batch: *mut oribi_batch) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(batch) }
}

/// Take all tokens out of a batch, so that it can be filled again.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while it is being computed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_clear(batch: *mut oribi_batch) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle.
        let batch = unsafe { handle(batch, "batch") }?;
        batch.0.write("batch")?.clear();
        Ok(())
    })
}

/// The number of tokens in a batch.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE while it is being changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_len(batch: *const oribi_batch, n_tokens: *mut usize) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (batch, out) = unsafe { (handle(batch, "batch")?, Out::new(n_tokens, "n_tokens")?) };
        out.set(batch.0.read("batch")?.len());
        Ok(())
    })
}

fn role_of(role: i32) -> Result<Role> {
    match role {
        role if role == oribi_role::PROMPT as i32 => Ok(Role::Prompt),
        role if role == oribi_role::GENERATED as i32 => Ok(Role::Generated),
        _ => bail!(InvalidArgument, "role is {role}, not a value of oribi_role"),
    }
}

/// Add a token to a sequence; `role` is a value of oribi_role. With `wants_output`, its logits are computed. That the token and the
/// sequence exist is checked by oribi_session_decode().
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT; ORIBI_STATUS_INVALID_STATE; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_add(
    batch: *mut oribi_batch,
    sequence: u32,
    token: u32,
    role: i32,
    wants_output: bool,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle.
        let batch = unsafe { handle(batch, "batch") }?;
        let role = role_of(role)?;
        let batch = &mut *batch.0.write("batch")?;
        batch.try_reserve(1)?;
        batch.push(SequenceId::from_number(sequence), token, role, wants_output);
        Ok(())
    })
}

/// Add the tokens of a prompt to a sequence; the logits of the last are wanted.
///
/// Threads: one at a time. Errors: as for oribi_batch_add(); after an error the batch is as before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_batch_add_prompt(
    batch: *mut oribi_batch,
    sequence: u32,
    tokens: *const u32,
    n_tokens: usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (batch, tokens) = unsafe { (handle(batch, "batch")?, slice(tokens, n_tokens, "tokens")?) };
        let batch = &mut *batch.0.write("batch")?;
        batch.try_reserve(tokens.len())?;
        for (i, &token) in tokens.iter().enumerate() {
            batch.push(SequenceId::from_number(sequence), token, Role::Prompt, i + 1 == tokens.len());
        }
        Ok(())
    })
}
