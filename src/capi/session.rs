//! Sessions: sequences, batches, logits.

use std::sync::Arc;

use super::batch::oribi_batch;
use super::boundary::{Out, call, handle};
use super::handle::{Guarded, free, give};
use super::hooks::{Hooks, Watch, oribi_phase};
use super::model::{check_session_budget, oribi_model};
use super::options::oribi_options;
use super::status::oribi_status;
use super::text::oribi_floats;
use crate::error::{Result, bail};
use crate::model::Model;
use crate::session::{Control, Pooling, SequenceId, Session};

/// All that changes while a model runs: sequences of tokens with their keys and values, and the logits of the last batch. It keeps
/// its model alive.
///
/// Results depend on the model and on a sequence's own tokens, and on nothing else: the number of threads, the other sequences of a
/// batch, other sessions, and how a prompt was divided do not change a bit.
///
/// A sequence is named by a number below the option n_sequences. A call on a session while another call on it is under way, from
/// another thread or from a callback, is refused with ORIBI_STATUS_INVALID_STATE.
pub struct oribi_session {
    pub(super) shared: Arc<Guarded<Shared>>,
}

/// A session with its callbacks, as the handles of its generations share it.
pub(super) struct Shared {
    pub session: Session,
    pub hooks: Hooks,
}

impl Shared {
    /// Work on the session with callbacks; the host hears of progress if `tell` says so.
    pub fn work<T>(
        &mut self,
        hooks: &Hooks,
        tell: bool,
        body: impl FnOnce(&mut Session, Control<'_>) -> Result<T>,
    ) -> Result<T> {
        hooks.check()?;
        let watch = Watch::new(hooks);
        let stop = || watch.stop();
        let mut progress = |done: usize, total: usize| watch.progress(oribi_phase::PROMPT, done as u64, total as u64);
        let progress = if tell { Some(&mut progress as &mut dyn FnMut(usize, usize)) } else { None };
        body(&mut self.session, Control { stop: Some(&stop), progress })
    }

    /// The logits of an output: those that stand for tokens. The output matrix may be padded beyond the vocabulary.
    pub fn logits(&self, output: usize) -> Result<&[f32]> {
        match self.session.logits(output) {
            Some(logits) => Ok(&logits[..logits.len().min(self.session.model().tokenizer().n_vocab())]),
            None if output < self.session.n_outputs() => bail!(Device, "the GPU did not hand over its logits"),
            None => {
                bail!(InvalidArgument, "output {output} is past the {} of the last batch", self.session.n_outputs())
            }
        }
    }
}

/// A call that does not mutate a session.
///
/// # Safety
/// `session` is NULL or a live handle.
unsafe fn read(session: *const oribi_session, body: impl FnOnce(&Shared) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { handle(session, "session") }?;
        body(&*session.shared.read("session")?)
    })
}

/// A call that does.
///
/// # Safety
/// `session` is NULL or a live handle.
unsafe fn write(session: *mut oribi_session, body: impl FnOnce(&mut Shared) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { handle(session, "session") }?;
        body(&mut *session.shared.write("session")?)
    })
}

/// A session of a model, without sequences. `options` may be NULL. Its buffers are allocated now, keys and values as they are needed.
///
/// The host frees the result with oribi_session_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT;
/// ORIBI_STATUS_INVALID_STATE while the options are being changed; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does
/// not allow the model together with this session.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_new(
    model: *const oribi_model,
    options: *const oribi_options,
    session: *mut *mut oribi_session,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a place for a result.
        let (model, settings, out) =
            unsafe { (handle(model, "model")?, oribi_options::settings(options)?, Out::new(session, "session")?) };
        let model: &Arc<Model> = &model.model;
        check_session_budget(model, &settings)?;
        let shared = Shared { session: Session::new(model, &settings.session)?, hooks: settings.hooks };
        give(out, oribi_session { shared: Arc::new(Guarded::new(shared)) });
        Ok(())
    })
}

/// Free the host's part of a session. NULL is allowed; generations that use it keep it alive.
///
/// Threads: any, when nobody uses this pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_free(session: *mut oribi_session) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(session) }
}

/// The positions that a sequence of the session may have.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_n_ctx(session: *const oribi_session, n_ctx: *mut usize) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        read(session, |shared| {
            Out::new(n_ctx, "n_ctx")?.set(shared.session.options().n_ctx);
            Ok(())
        })
    }
}

/// The bytes of keys and values that are allocated so far.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_kv_bytes(session: *const oribi_session, n_bytes: *mut u64) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        read(session, |shared| {
            Out::new(n_bytes, "n_bytes")?.set(shared.session.kv_bytes());
            Ok(())
        })
    }
}

/// A new, empty sequence.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_STATE, also when all n_sequences sequences are in use;
/// ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_new_sequence(session: *mut oribi_session, sequence: *mut u32) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        write(session, |shared| {
            let out = Out::new(sequence, "sequence")?;
            out.set(shared.session.new_sequence()?.number());
            Ok(())
        })
    }
}

/// A new sequence with the same tokens as another. It shares their keys and values until one of both grows past them.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if the sequence does not exist; ORIBI_STATUS_INVALID_STATE, also
/// when all n_sequences sequences are in use.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_fork(
    session: *mut oribi_session,
    sequence: u32,
    forked: *mut u32,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        write(session, |shared| {
            let out = Out::new(forked, "forked")?;
            out.set(shared.session.fork(SequenceId::from_number(sequence))?.number());
            Ok(())
        })
    }
}

/// Forget all but the first `n_positions` positions of a sequence.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if the sequence does not exist or is shorter;
/// ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_truncate(
    session: *mut oribi_session,
    sequence: u32,
    n_positions: usize,
) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { write(session, |shared| shared.session.truncate(SequenceId::from_number(sequence), n_positions)) }
}

/// Remove a sequence. Its number may be given to a new one.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT if it does not exist; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_remove(session: *mut oribi_session, sequence: u32) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { write(session, |shared| shared.session.remove(SequenceId::from_number(sequence))) }
}

/// The positions of a sequence: the tokens that it holds.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT if it does not exist; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_len(
    session: *const oribi_session,
    sequence: u32,
    n_positions: *mut usize,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        read(session, |shared| {
            let out = Out::new(n_positions, "n_positions")?;
            out.set(shared.session.len(SequenceId::from_number(sequence))?);
            Ok(())
        })
    }
}

/// Append the tokens of a batch to their sequences and compute the outputs that are wanted. All or nothing: after an error, also
/// after a cancel, the sequences are as long as before, and no output is there. The batch stays as it is.
///
/// Threads: one at a time for each session; sessions of one model take turns on its threads. Errors: ORIBI_STATUS_INVALID_ARGUMENT
/// for a token outside the vocabulary, a sequence that does not exist, more outputs than the option max_outputs;
/// ORIBI_STATUS_CONTEXT_FULL when a sequence would exceed its context; ORIBI_STATUS_OUT_OF_MEMORY; ORIBI_STATUS_CANCELLED;
/// ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_decode(session: *mut oribi_session, batch: *const oribi_batch) -> oribi_status {
    // SAFETY: NULL or live handles.
    unsafe {
        write(session, |shared| {
            let batch = handle(batch, "batch")?.0.read("batch")?;
            let hooks = shared.hooks.clone();
            shared.work(&hooks, true, |session, control| session.decode_with(&batch, control))
        })
    }
}

/// The number of outputs of the last batch.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_n_outputs(session: *const oribi_session, n_outputs: *mut usize) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        read(session, |shared| {
            Out::new(n_outputs, "n_outputs")?.set(shared.session.n_outputs());
            Ok(())
        })
    }
}

/// The logits of an output of the last batch, in the batch's order: `n_logits` floats, one for each token of the vocabulary.
///
/// Lent until the next call that changes the session, and until it is freed. Threads: any, several at once. Errors:
/// ORIBI_STATUS_INVALID_ARGUMENT, also past the last output; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_logits(
    session: *const oribi_session,
    output: usize,
    logits: *mut *const f32,
    n_logits: *mut usize,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or places for results.
    unsafe {
        read(session, |shared| {
            let (out, out_n) = (Out::new(logits, "logits")?, Out::new(n_logits, "n_logits")?);
            let found = shared.logits(output)?;
            out.set(found.as_ptr());
            out_n.set(found.len());
            Ok(())
        })
    }
}

/// Which hidden states become embeddings. No vector is scaled to length 1.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_pooling {
    /// One vector for each token of the batch that was added with `wants_output`, in the order of the batch.
    TOKENS = 0,
    /// One for each sequence, in order of first occurrence: the mean over its tokens of the batch.
    MEAN = 1,
    /// One for each sequence, in order of first occurrence: that of its last token of the batch.
    LAST = 2,
}

/// Append the tokens of a batch like oribi_session_decode(), and get embeddings instead of logits: for each vector oribi_model_dim()
/// floats of the final, normalised hidden state. `pooling` is a value of oribi_pooling. No logits are there afterwards.
///
/// The host frees the result with oribi_floats_free(). Threads and errors as for oribi_session_decode(); any number of tokens may be
/// outputs.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_embed(
    session: *mut oribi_session,
    batch: *const oribi_batch,
    pooling: i32,
    vectors: *mut *mut oribi_floats,
) -> oribi_status {
    // SAFETY: NULL or live handles, NULL or a place for a result.
    unsafe {
        write(session, |shared| {
            let (batch, out) = (handle(batch, "batch")?.0.read("batch")?, Out::new(vectors, "vectors")?);
            let pooling = match pooling {
                pooling if pooling == oribi_pooling::TOKENS as i32 => Pooling::Tokens,
                pooling if pooling == oribi_pooling::MEAN as i32 => Pooling::Mean,
                pooling if pooling == oribi_pooling::LAST as i32 => Pooling::Last,
                _ => bail!(InvalidArgument, "pooling is {pooling}, not a value of oribi_pooling"),
            };
            let hooks = shared.hooks.clone();
            let computed = shared.work(&hooks, true, |session, control| session.embed(&batch, pooling, control))?;
            give(out, oribi_floats(computed));
            Ok(())
        })
    }
}

/// The hidden state from which the logits of an output of the last batch were formed: `n` floats, as many as oribi_model_dim().
///
/// Lent until the next call that changes the session, and until it is freed. Threads and errors as for oribi_session_logits().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_session_embedding(
    session: *const oribi_session,
    output: usize,
    vector: *mut *const f32,
    n: *mut usize,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or places for results.
    unsafe {
        read(session, |shared| {
            let (out, out_n) = (Out::new(vector, "vector")?, Out::new(n, "n")?);
            let Some(found) = shared.session.embedding(output) else {
                bail!(InvalidArgument, "output {output} is past the {} of the last batch", shared.session.n_outputs())
            };
            out.set(found.as_ptr());
            out_n.set(found.len());
            Ok(())
        })
    }
}
