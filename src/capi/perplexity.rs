//! How well a model predicts a text.

use std::ffi::c_char;
use std::sync::Arc;

use super::boundary::{Out, call, handle, text};
use super::hooks::{Watch, oribi_phase};
use super::model::{check_session_budget, oribi_model};
use super::options::oribi_options;
use super::status::oribi_status;
use crate::error::bail;
use crate::eval::{ChunkOptions, Chunks, Runtime, perplexity};
use crate::session::SessionOptions;

/// The perplexity of a text with its standard error: chunks of 512 tokens are evaluated each for itself, and the second half of each
/// is scored, as most tools of the field do it. `max_chunks` bounds how many, from the beginning; 0 is all that the text has. The
/// figures are the same for any number of threads; to compare machines or files, set the option numerics to portable.
///
/// `options` may be NULL; those for sessions apply, except for n_ctx, n_sequences and max_outputs. Callbacks hear of
/// ORIBI_PHASE_EVALUATE. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, also for a text of less than one
/// chunk or less than max_chunks; ORIBI_STATUS_OUT_OF_MEMORY, also when the option max_memory does not allow it;
/// ORIBI_STATUS_CANCELLED; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_model_perplexity(
    model: *const oribi_model,
    options: *const oribi_options,
    text_data: *const c_char,
    len_bytes: usize,
    max_chunks: usize,
    perplexity_value: *mut f64,
    standard_error: *mut f64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a text of that length, NULL or places for results.
        let (model, mut settings, text, value, error) = unsafe {
            (
                handle(model, "model")?,
                oribi_options::settings(options)?,
                text(text_data, len_bytes, "text")?,
                Out::new(perplexity_value, "perplexity")?,
                Out::new(standard_error, "standard_error")?,
            )
        };
        settings.hooks.check()?;
        let model = &model.model;
        let chunk = ChunkOptions { n_chunks: (max_chunks > 0).then_some(max_chunks), ..ChunkOptions::default() };
        let chunks = Chunks::of_text(model.tokenizer(), text, &chunk)?;
        settings.session =
            Runtime::sizes(SessionOptions { n_ctx: chunk.chunk_len, ..settings.session }, model.hparams().n_vocab);
        check_session_budget(model, &settings)?;
        let watch = Arc::new(Watch::new(settings.hooks.clone()));
        let asked = watch.clone();
        let mut runtime = Runtime::with(model, settings.session)?.with_stop(move || asked.stop());
        let found = perplexity(&mut runtime, &chunks, &mut |done, total| {
            watch.progress(oribi_phase::EVALUATE, done as u64, total as u64);
            if watch.stop() {
                bail!(Cancelled, "cancelled after {done} of {total} chunks");
            }
            Ok(())
        })?;
        value.set(found.value.mean);
        error.set(found.value.stderr);
        Ok(())
    })
}
