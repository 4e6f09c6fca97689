//! Saving sequences of a session, and getting them back.

use std::ffi::{c_char, c_void};

use super::boundary::{Out, call, check_array, fill, handle, slice};
use super::file::path_of;
use super::handle::give;
use super::session::oribi_session;
use super::status::oribi_status;
use super::text::oribi_bytes;
use crate::error::{Result, bail};
use crate::fallible;
use crate::session::{SequenceId, Session};

fn names(sequences: &[u32]) -> Result<Vec<SequenceId>> {
    fallible::collect(sequences.iter().map(|&sequence| SequenceId::from_number(sequence)), "the names of sequences")
}

/// The bytes that oribi_session_save() would give for these sequences.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT if a sequence does not exist; ORIBI_STATUS_INVALID_STATE;
/// ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_state_len(
    session: *const oribi_session,
    sequences: *const u32,
    n_sequences: usize,
    n_bytes: *mut u64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (session, sequences, out) = unsafe {
            (handle(session, "session")?, slice(sequences, n_sequences, "sequences")?, Out::new(n_bytes, "n_bytes")?)
        };
        out.set(session.shared.read("session")?.session.state_bytes(&names(sequences)?)?);
        Ok(())
    })
}

/// The state of sequences, in the order given: what a later session of the same model, here or in another process, needs to go on
/// with them to the same bits. It holds keys and values, a checksum, and the identity of the model; it holds neither tokens, which
/// the host keeps if it needs them, nor logits. To get logits after a restore, truncate by one and decode the last token again.
///
/// The host frees the result with oribi_bytes_free(). Threads: any, several at once. Errors: as for oribi_session_state_len().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_save(
    session: *const oribi_session,
    sequences: *const u32,
    n_sequences: usize,
    state: *mut *mut oribi_bytes,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (session, sequences, out) = unsafe {
            (handle(session, "session")?, slice(sequences, n_sequences, "sequences")?, Out::new(state, "state")?)
        };
        give(out, oribi_bytes(session.shared.read("session")?.session.save_to_vec(&names(sequences)?)?));
        Ok(())
    })
}

/// The same into a file, which appears under its name, in place of another, when all of it is on the disk: after a crash in the
/// middle, the file that was there before is there.
///
/// Threads: any, several at once. Errors: as for oribi_session_state_len(); ORIBI_STATUS_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_save_file(
    session: *const oribi_session,
    sequences: *const u32,
    n_sequences: usize,
    path: *const c_char,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (session, sequences, path) =
            unsafe { (handle(session, "session")?, slice(sequences, n_sequences, "sequences")?, path_of(path)?) };
        session.shared.read("session")?.session.save_file(&names(sequences)?, &path)
    })
}

/// Create the sequences of a state beside those that exist. Their numbers go to `sequences`, which has room for `n_max`, in the order
/// in which they were saved, and how many there are to `n_sequences`. All or nothing: after an error the session is as before.
///
/// A state is untrusted input, like a file; checksums find damage, they do not prove who wrote it. Threads: one at a time. Errors:
/// ORIBI_STATUS_INVALID_FILE, _TRUNCATED, _UNSUPPORTED_VERSION for bytes that are no whole state of this version;
/// ORIBI_STATUS_INVALID_STATE for a state of another model or type of keys and values, with more sequences than the session has left,
/// or while the session is in use; ORIBI_STATUS_CONTEXT_FULL for a sequence longer than the session's context;
/// ORIBI_STATUS_INVALID_ARGUMENT, also for more sequences than `n_max`; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_restore(
    session: *mut oribi_session,
    state: *const c_void,
    len_bytes: usize,
    sequences: *mut u32,
    n_max: usize,
    n_sequences: *mut usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    let state = || unsafe { slice(state.cast::<u8>(), len_bytes, "state") };
    // SAFETY: NULL or live pointers, NULL or room for so many numbers.
    unsafe { restore(session, sequences, n_max, n_sequences, |session| session.restore(state()?)) }
}

/// The same from a file, which must not be shortened or rewritten meanwhile.
///
/// Threads and errors as for oribi_session_restore(); ORIBI_STATUS_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_restore_file(
    session: *mut oribi_session,
    path: *const c_char,
    sequences: *mut u32,
    n_max: usize,
    n_sequences: *mut usize,
) -> oribi_status {
    // SAFETY: NULL or ended by NUL.
    let path = || unsafe { path_of(path) };
    // SAFETY: NULL or live pointers, NULL or room for so many numbers.
    unsafe { restore(session, sequences, n_max, n_sequences, |session| session.restore_file(&path()?)) }
}

/// Restore, and hand out the numbers or take everything back.
///
/// # Safety
/// Pointers are NULL or live; `sequences` has room for `n_max` numbers.
unsafe fn restore(
    session: *mut oribi_session,
    sequences: *mut u32,
    n_max: usize,
    n_sequences: *mut usize,
    body: impl FnOnce(&mut Session) -> Result<Vec<SequenceId>>,
) -> oribi_status {
    call(|| {
        check_array(sequences, n_max, "sequences")?;
        // SAFETY: the caller's promise.
        let (session, out) = unsafe { (handle(session, "session")?, Out::new(n_sequences, "n_sequences")?) };
        let session = &mut session.shared.write("session")?.session;
        let restored = body(session)?;
        if restored.len() > n_max {
            restored.iter().try_for_each(|&id| session.remove(id))?;
            bail!(InvalidArgument, "the state has {} sequences, there is room for {n_max}", restored.len());
        }
        let numbers: Vec<u32> = restored.iter().map(|id| id.number()).collect();
        // SAFETY: the array was checked, and has room by the caller's promise.
        unsafe { fill(sequences, &numbers) }
        out.set(numbers.len());
        Ok(())
    })
}
