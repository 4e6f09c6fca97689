//! Samplers: from logits to a token.

use std::sync::Arc;

use super::boundary::{Out, call, handle, slice, value};
use super::handle::{Guarded, free, give};
use super::options::oribi_options;
use super::status::oribi_status;
use super::tokenizer::oribi_tokenizer;
use crate::error::{Result, bail};
use crate::sampler::{Pick, Sampler};

/// A chain of stages on logits and a pick, with its random stream and its memory of the tokens that it accepted. The same options,
/// seed, logits and accepted tokens give the same tokens on every machine.
pub struct oribi_sampler {
    pub(super) shared: Arc<Guarded<Shared>>,
    seed: u64,
}

/// A sampler as the handles of its generations share it.
pub(super) struct Shared {
    pub sampler: Sampler,
    pick: Option<Pick>,
}

impl oribi_sampler {
    fn new(sampler: Sampler) -> Self {
        let seed = sampler.seed();
        oribi_sampler { shared: Arc::new(Guarded::new(Shared { sampler, pick: None })), seed }
    }
}

/// A sampler for a vocabulary; `options` may be NULL.
///
/// The host frees the result with oribi_sampler_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a bias on a
/// token outside the vocabulary; ORIBI_STATUS_INVALID_STATE while the options are being changed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_new(
    tokenizer: *const oribi_tokenizer,
    options: *const oribi_options,
    sampler: *mut *mut oribi_sampler,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a place for a result.
        let (tokenizer, settings, out) = unsafe {
            (handle(tokenizer, "tokenizer")?, oribi_options::settings(options)?, Out::new(sampler, "sampler")?)
        };
        let made = Sampler::new(&settings.sampler_options(&tokenizer.0)?, tokenizer.0.n_vocab())?;
        give(out, oribi_sampler::new(made));
        Ok(())
    })
}

/// A copy of a sampler, which goes on alike and apart.
///
/// The host frees the result with oribi_sampler_free(). Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT,
/// ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_clone(
    sampler: *const oribi_sampler,
    copy: *mut *mut oribi_sampler,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (sampler, out) = unsafe { (handle(sampler, "sampler")?, Out::new(copy, "copy")?) };
        let copied = sampler.shared.read("sampler")?.sampler.clone();
        give(out, oribi_sampler::new(copied));
        Ok(())
    })
}

/// Free the host's part of a sampler. NULL is allowed; generations that use it keep it alive.
///
/// Threads: any, when nobody uses this pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_free(sampler: *mut oribi_sampler) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(sampler) }
}

/// The seed of the random stream, given or drawn. 0 for NULL.
///
/// Threads: any, several at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_seed(sampler: *const oribi_sampler) -> u64 {
    // SAFETY: NULL or a live handle.
    value(0, || Some(unsafe { handle(sampler, "sampler") }.ok()?.seed))
}

/// A call that mutates a sampler.
///
/// # Safety
/// `sampler` is NULL or a live handle.
unsafe fn write(sampler: *mut oribi_sampler, body: impl FnOnce(&mut Shared) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let sampler = unsafe { handle(sampler, "sampler") }?;
        body(&mut *sampler.shared.write("sampler")?)
    })
}

/// Pick a token from logits, one for each token of the vocabulary. The pick is not accepted by itself: the host calls
/// oribi_sampler_accept() with the token that it really goes on with.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for another number of logits, a logit that is not a number, no
/// logit above -INFINITY, or a bias that excludes every token; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_sample(
    sampler: *mut oribi_sampler,
    logits: *const f32,
    n_logits: usize,
    token: *mut u32,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe {
        write(sampler, |shared| {
            let (logits, out) = (slice(logits, n_logits, "logits")?, Out::new(token, "token")?);
            let pick = shared.sampler.sample(logits)?;
            out.set(pick.token);
            shared.pick = Some(pick);
            Ok(())
        })
    }
}

/// Take note of a token that the text now holds: each token of a prompt, then each that was picked. Penalties look at them.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for a token outside the vocabulary; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_accept(sampler: *mut oribi_sampler, token: u32) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe { write(sampler, |shared| shared.sampler.accept(token)) }
}

/// Back to the beginning, with the same seed: nothing accepted, the random stream from its start.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_reset(sampler: *mut oribi_sampler) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe {
        write(sampler, |shared| {
            shared.sampler.reset();
            shared.pick = None;
            Ok(())
        })
    }
}

/// Read the last pick.
///
/// # Safety
/// `sampler` is NULL or a live handle.
unsafe fn read_pick(sampler: *const oribi_sampler, body: impl FnOnce(&Pick) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let sampler = unsafe { handle(sampler, "sampler") }?;
        match &sampler.shared.read("sampler")?.pick {
            Some(pick) => body(pick),
            None => bail!(InvalidState, "the sampler has not picked a token yet"),
        }
    })
}

/// The log-probability (nats) of the last pick in the model's own distribution: the softmax of the logits as they were given. Needs
/// the option logprobs.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_STATE, also before the first pick and without the option;
/// ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_logprob(sampler: *const oribi_sampler, logprob: *mut f32) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or a place for a result.
    unsafe {
        let out = Out::new(logprob, "logprob");
        read_pick(sampler, |pick| {
            out?.set(logprob_of(pick.logprob)?);
            Ok(())
        })
    }
}

/// A log-probability that was asked for.
pub(super) fn logprob_of(logprob: Option<f32>) -> Result<f32> {
    match logprob {
        Some(logprob) => Ok(logprob),
        None => bail!(InvalidState, "there are no log-probabilities: the sampler was made without option logprobs"),
    }
}

/// The `index`-th most probable token at the last pick, from 0, with its log-probability: as many as the option logprobs asks for.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also past the last; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_sampler_top(
    sampler: *const oribi_sampler,
    index: usize,
    token: *mut u32,
    logprob: *mut f32,
) -> oribi_status {
    // SAFETY: NULL or a live handle, NULL or places for results.
    unsafe {
        let (out_token, out_logprob) = (Out::new(token, "token"), Out::new(logprob, "logprob"));
        read_pick(sampler, |pick| {
            let (token, logprob) = top_of(&pick.top, index)?;
            let (out_token, out_logprob) = (out_token?, out_logprob?);
            out_token.set(token);
            out_logprob.set(logprob);
            Ok(())
        })
    }
}

/// One of the most probable tokens.
pub(super) fn top_of(top: &[(u32, f32)], index: usize) -> Result<(u32, f32)> {
    match top.get(index) {
        Some(&found) => Ok(found),
        None => bail!(InvalidArgument, "index {index} is past the {} most probable tokens", top.len()),
    }
}
