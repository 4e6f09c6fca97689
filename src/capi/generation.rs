//! Generations: text from a prompt, pulled piece by piece or handed to a callback.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::boundary::{Out, call, handle, slice};
use super::handle::{Guarded, free, give};
use super::hooks::Hooks;
use super::options::oribi_options;
use super::piece::oribi_piece;
use super::sampler::{self, oribi_sampler};
use super::session::{self, oribi_session};
use super::status::oribi_status;
use crate::error::{Result, bail};
use crate::generate::{Course, Forward, Piece, StopReason, Summary};
use crate::model::Model;
use crate::session::{Batch, Logits, SequenceId, TopLogits};

/// Text from a prompt, under way. It keeps its session and its sampler alive, and uses them only while a call on it is under way:
/// between two pieces the session's other sequences, and other generations, may go on.
pub struct oribi_generation(Guarded<State>);

struct State {
    model: Arc<Model>,
    session: Arc<Guarded<session::Shared>>,
    sequence: SequenceId,
    sampler: Arc<Guarded<sampler::Shared>>,
    hooks: Hooks,
    course: Course,
    /// What is lent.
    piece: Box<oribi_piece>,
}

/// Why a generation ended.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_stop_reason {
    /// It has not ended, or it ended with an error.
    NONE = 0,
    /// The model chose a token that ends the text or the turn.
    END_OF_GENERATION = 1,
    /// A stop string appeared; it is not part of the text.
    STOP_STRING = 2,
    /// One of the option's stop_tokens was chosen.
    STOP_TOKEN = 3,
    /// The option max_tokens was reached.
    LENGTH = 4,
    /// The context has no room for another token.
    CONTEXT_FULL = 5,
    /// The host cancelled it.
    CANCELLED = 6,
}

/// A number about a generation.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_timing {
    /// Tokens of the prompt.
    PROMPT_TOKENS = 0,
    /// Seconds to evaluate the prompt.
    PROMPT_SECONDS = 1,
    /// Sampled tokens, the one that ended the generation included.
    GENERATED_TOKENS = 2,
    /// Tokens that were evaluated one at a time: the last generated one never is.
    EVALUATED_TOKENS = 3,
    /// Seconds to evaluate and sample those; what the host does between two pieces is not counted.
    GENERATE_SECONDS = 4,
    /// Seconds from the start to the first sampled token; 0 until there is one.
    FIRST_TOKEN_SECONDS = 5,
}

/// Hears a piece, which is lent for the call; returns whether to go on.
pub type oribi_piece_fn = Option<unsafe extern "C" fn(userdata: *mut c_void, piece: *const oribi_piece) -> bool>;

/// A session at work for one step of a generation.
struct Turn<'a> {
    shared: &'a mut session::Shared,
    sequence: SequenceId,
    hooks: &'a Hooks,
}

impl Turn<'_> {
    fn append(&mut self, mut batch: Batch, enough: Option<TopLogits>, tell: bool) -> Result<Logits<'_>> {
        batch.only_top(enough);
        self.shared.work(self.hooks, tell, |session, control| session.decode_with(&batch, control))?;
        match self.shared.session.output(0) {
            Some(logits) => Ok(logits),
            None => bail!(Internal, "the batch gave no logits"),
        }
    }
}

impl Forward for Turn<'_> {
    fn prompt(&mut self, tokens: &[u32], enough: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
        self.append(Batch::prompt(self.sequence, tokens), enough, true)
    }

    fn token(&mut self, token: u32, enough: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
        self.append(Batch::generated(self.sequence, token), enough, false)
    }

    fn room(&self) -> usize {
        // A sequence that the host removed has no room; evaluating then says so.
        let n_past = self.shared.session.len(self.sequence).unwrap_or(usize::MAX);
        self.shared.session.options().n_ctx.saturating_sub(n_past)
    }

    fn bytes_per_token(&self) -> u64 {
        self.shared.session.model().bytes_per_token()
    }
}

impl State {
    /// The next piece; `false` at the end.
    fn step(&mut self) -> Result<bool> {
        let State { model, session, sequence, sampler, hooks, course, piece } = self;
        let shared = &mut *session.write("session")?;
        let sampler = &mut sampler.write("sampler")?.sampler;
        let mut turn = Turn { shared, sequence: *sequence, hooks };
        let next = course.next(&mut turn, sampler, model.tokenizer())?;
        match (next, course.summary().stop_reason) {
            (Some(next), _) => {
                piece.0 = next;
                Ok(true)
            }
            (None, Some(StopReason::Cancelled)) => bail!(Cancelled, "the generation was cancelled"),
            (None, Some(_)) => Ok(false),
            (None, None) => bail!(InvalidState, "the generation has ended with an error"),
        }
    }
}

/// A continuation of what a sequence holds and of `prompt`, which has at least one token. Nothing is computed yet. `options` may be
/// NULL; callbacks that they leave out are those of the session, and a request to cancel counts in both. The sampler accepts the
/// tokens of the prompt, and then every token that it picks.
///
/// The host frees the result with oribi_generation_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT for an empty prompt, a
/// token outside the vocabulary, a sequence that does not exist; ORIBI_STATUS_CONTEXT_FULL for a prompt that does not fit;
/// ORIBI_STATUS_INVALID_STATE while the session or the options are in use.
///
/// @code
/// oribi_generation *generation = NULL;
/// const oribi_piece *piece = NULL;
/// status = oribi_generation_new(session, sequence, sampler, oribi_tokens_data(prompt), oribi_tokens_len(prompt), options, &generation);
/// while (status == ORIBI_STATUS_OK) {
///     const char *text;
///     size_t len_bytes;
///     status = oribi_generation_next(generation, &piece);
///     if (status != ORIBI_STATUS_OK || piece == NULL) break;
///     oribi_piece_text(piece, &text, &len_bytes);
///     fwrite(text, 1, len_bytes, stdout);
/// }
/// @endcode
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_new(
    session: *mut oribi_session,
    sequence: u32,
    sampler: *mut oribi_sampler,
    prompt: *const u32,
    n_prompt: usize,
    options: *const oribi_options,
    generation: *mut *mut oribi_generation,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (session, sampler, prompt, settings, out) = unsafe {
            (
                handle(session, "session")?,
                handle(sampler, "sampler")?,
                slice(prompt, n_prompt, "prompt")?,
                oribi_options::settings(options)?,
                Out::new(generation, "generation")?,
            )
        };
        let mut shared = session.shared.write("session")?;
        let sequence = SequenceId::from_number(sequence);
        shared.session.len(sequence)?;
        let model = Arc::clone(shared.session.model());
        let hooks = settings.hooks.or(&shared.hooks);
        let turn = Turn { shared: &mut shared, sequence, hooks: &hooks };
        let course = Course::new(&turn, model.tokenizer(), prompt, settings.generate)?;
        let none = Piece { text: String::new(), token: 0, logprob: None, top: Vec::new() };
        let state = State {
            model,
            session: Arc::clone(&session.shared),
            sequence,
            sampler: Arc::clone(&sampler.shared),
            hooks,
            course,
            piece: Box::new(oribi_piece(none)),
        };
        give(out, oribi_generation(Guarded::new(state)));
        Ok(())
    })
}

/// Free a generation. NULL is allowed. The sequence keeps the tokens that were evaluated.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_free(generation: *mut oribi_generation) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(generation) }
}

/// The next piece, NULL at the end. Every sampled token gives one. The token of a piece is evaluated when the next piece is asked
/// for, so a piece comes as early as it can, and the last token is not evaluated.
///
/// The piece is lent until the next call with this generation. Threads: one at a time for each session; sessions of one model take
/// turns on its threads. Errors: ORIBI_STATUS_CANCELLED, now and afterwards; ORIBI_STATUS_INVALID_STATE while the session or the
/// sampler is in use, after which it may be tried again, and after another error; ORIBI_STATUS_INVALID_ARGUMENT, for example for a
/// bias that excludes every token; ORIBI_STATUS_CONTEXT_FULL; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_next(
    generation: *mut oribi_generation,
    piece: *mut *const oribi_piece,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (generation, out) = unsafe { (handle(generation, "generation")?, Out::new(piece, "piece")?) };
        let state = &mut *generation.0.write("generation")?;
        let more = state.step()?;
        out.set(if more { &*state.piece } else { std::ptr::null() });
        Ok(())
    })
}

/// Hand pieces to a callback until the end, or until it returns false; then the generation may go on with another call. No handle
/// is in use while the callback runs: it may use the session, but must not free the generation.
///
/// Threads and errors as for oribi_generation_next().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_run(
    generation: *mut oribi_generation,
    callback: oribi_piece_fn,
    userdata: *mut c_void,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle.
        let generation = unsafe { handle(generation, "generation") }?;
        let Some(callback) = callback else { bail!(InvalidArgument, "callback is NULL") };
        loop {
            let mut state = generation.0.write("generation")?;
            if !state.step()? {
                return Ok(());
            }
            let piece: *const oribi_piece = &*state.piece;
            drop(state);
            // SAFETY: the host's function with its own pointer; the piece is not changed before the next step.
            if !unsafe { callback(userdata, piece) } {
                return Ok(());
            }
        }
    })
}

/// Read how a generation went.
///
/// # Safety
/// `generation` is NULL or a live handle.
unsafe fn summary(generation: *const oribi_generation) -> Result<Summary> {
    // SAFETY: the caller's promise.
    let generation = unsafe { handle(generation, "generation") }?;
    Ok(generation.0.read("generation")?.course.summary())
}

/// Why a generation ended; ORIBI_STOP_REASON_NONE while it goes on and after an error.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_stop_reason(
    generation: *const oribi_generation,
    reason: *mut oribi_stop_reason,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (summary, out) = unsafe { (summary(generation)?, Out::new(reason, "reason")?) };
        out.set(match summary.stop_reason {
            None => oribi_stop_reason::NONE,
            Some(StopReason::EndOfGeneration) => oribi_stop_reason::END_OF_GENERATION,
            Some(StopReason::StopString) => oribi_stop_reason::STOP_STRING,
            Some(StopReason::StopToken) => oribi_stop_reason::STOP_TOKEN,
            Some(StopReason::Length) => oribi_stop_reason::LENGTH,
            Some(StopReason::ContextFull) => oribi_stop_reason::CONTEXT_FULL,
            Some(StopReason::Cancelled) => oribi_stop_reason::CANCELLED,
        });
        Ok(())
    })
}

/// A number about a generation so far; `timing` is a value of oribi_timing.
///
/// Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_generation_timing(
    generation: *const oribi_generation,
    timing: i32,
    number: *mut f64,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or a place for a result.
        let (summary, out) = unsafe { (summary(generation)?, Out::new(number, "number")?) };
        let t = summary.timings;
        let numbers = [
            (oribi_timing::PROMPT_TOKENS, t.prompt_tokens as f64),
            (oribi_timing::PROMPT_SECONDS, t.prompt_time.as_secs_f64()),
            (oribi_timing::GENERATED_TOKENS, t.generated_tokens as f64),
            (oribi_timing::EVALUATED_TOKENS, t.evaluated_tokens as f64),
            (oribi_timing::GENERATE_SECONDS, t.generate_time.as_secs_f64()),
            (oribi_timing::FIRST_TOKEN_SECONDS, t.time_to_first_token.as_secs_f64()),
        ];
        match numbers.into_iter().find(|(known, _)| *known as i32 == timing) {
            Some((_, found)) => out.set(found),
            None => bail!(InvalidArgument, "timing is {timing}, not a value of oribi_timing"),
        }
        Ok(())
    })
}
