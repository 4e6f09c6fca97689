//! Text from a prompt: forward pass, sampler and tokenizer as an iterator of pieces of text.
//!
//! ```text
//! evaluate the prompt
//! repeat: sample a token -> text, less what may begin a stop string -> a piece -> evaluate the token
//! ```
//!
//! Every sampled token gives one [`Piece`], the token that ends the generation included; its text may be empty while a
//! character or a possible stop string is unfinished, and a later piece then carries it. The evaluation of a token waits
//! until the next piece is asked for, so a piece is shown as early as it can be, and the last token is not evaluated.

mod breakers;
mod options;
mod sequence;
mod stop;
mod timings;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

pub use breakers::{DEFAULT_BREAKERS, ban_end_of_generation, sequence_breakers};
pub use options::{GenerateOptions, StopReason};
pub use sequence::{PromptProgress, SequenceForward};
pub use stop::{Matched, StopStrings};
pub use timings::Timings;

use crate::error::{ErrorKind, Result, bail};
use crate::fallible;
use crate::sampler::{Pick, Sampler};
use crate::session::{Logits, TopLogits};
use crate::tokenizer::{DecodeState, Tokenizer};

/// What a generation needs of a model at work: a sequence that grows by tokens and gives logits.
pub trait Forward {
    /// Appends the tokens of a prompt and returns the logits behind the last one: at least one per token of the
    /// vocabulary, or those that are `enough`. Once `cancel` is set it may end early, with the error [`ErrorKind::Cancelled`] and
    /// nothing appended.
    fn prompt(&mut self, tokens: &[u32], enough: Option<TopLogits>, cancel: Option<&AtomicBool>) -> Result<Logits<'_>>;

    /// The same with a generated token.
    fn token(&mut self, token: u32, enough: Option<TopLogits>, cancel: Option<&AtomicBool>) -> Result<Logits<'_>>;

    /// How many more tokens the context can take.
    fn room(&self) -> usize;

    /// Bytes of weights that one token reads.
    fn bytes_per_token(&self) -> u64;
}

/// A sampled token and the text that became certain with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Text, possibly empty.
    pub text: String,
    /// The token.
    pub token: u32,
    /// The token's log-probability, when the sampler was asked for it; see [`Pick::logprob`].
    pub logprob: Option<f32>,
    /// The most probable tokens, when the sampler was asked for them; see [`Pick::top`].
    pub top: Vec<(u32, f32)>,
}

/// How a generation went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Why it ended; `None` while it goes on and after an error.
    pub stop_reason: Option<StopReason>,
    /// Counts and times.
    pub timings: Timings,
}

/// A generation under way: an iterator of pieces. After an error or the end it gives nothing more.
pub struct Generation<'a, F: Forward + ?Sized> {
    forward: &'a mut F,
    sampler: &'a mut Sampler,
    tokenizer: &'a Tokenizer,
    course: Course,
}

impl<'a, F: Forward + ?Sized> Generation<'a, F> {
    /// A continuation of what `forward` already holds and `prompt`. The sampler accepts the tokens of the prompt and then
    /// every sampled one. Nothing is evaluated before the first piece is asked for.
    ///
    /// Errors: an empty prompt, one that does not fit the context, a token outside the vocabulary, an empty stop string.
    pub fn new(
        forward: &'a mut F,
        sampler: &'a mut Sampler,
        tokenizer: &'a Tokenizer,
        prompt: &[u32],
        options: GenerateOptions,
    ) -> Result<Self> {
        let course = Course::new(forward, tokenizer, prompt, options)?;
        Ok(Generation { forward, sampler, tokenizer, course })
    }

    /// How it went so far.
    pub fn summary(&self) -> Summary {
        self.course.summary()
    }
}

impl<F: Forward + ?Sized> Iterator for Generation<'_, F> {
    type Item = Result<Piece>;

    fn next(&mut self) -> Option<Self::Item> {
        self.course.next(self.forward, self.sampler, self.tokenizer).transpose()
    }
}

/// What a [`Generation`] holds between two pieces, for owners that keep sequence, sampler and tokenizer elsewhere.
pub struct Course {
    options: GenerateOptions,
    prompt: Vec<u32>,
    state: State,
    text: DecodeState,
    stops: StopStrings,
    timings: Timings,
}

#[derive(Clone, Copy)]
enum State {
    /// The prompt is to be evaluated.
    Prompt,
    /// This token was sampled and is to be evaluated.
    Token(u32),
    Ended(StopReason),
    Failed,
}

impl Course {
    /// The course of [`Generation::new`], with its errors.
    pub fn new<F: Forward + ?Sized>(
        forward: &F,
        tokenizer: &Tokenizer,
        prompt: &[u32],
        options: GenerateOptions,
    ) -> Result<Self> {
        if prompt.is_empty() {
            bail!(InvalidArgument, "the prompt has no tokens");
        }
        if prompt.len() > forward.room() {
            bail!(ContextFull, "the prompt has {} tokens, the context has room for {}", prompt.len(), forward.room());
        }
        let outside = |id: &&u32| **id as usize >= tokenizer.n_vocab();
        if let Some(id) = prompt.iter().chain(&options.stop_tokens).find(outside) {
            bail!(InvalidArgument, "token {id} is outside the vocabulary of {}", tokenizer.n_vocab());
        }
        let timings =
            Timings { prompt_tokens: prompt.len(), bytes_per_token: forward.bytes_per_token(), ..Timings::default() };
        let state = if options.max_tokens == Some(0) { State::Ended(StopReason::Length) } else { State::Prompt };
        Ok(Course {
            stops: StopStrings::new(&options.stop_strings)?,
            text: DecodeState::new(options.show_special),
            prompt: fallible::collect(prompt.iter().copied(), "the prompt")?,
            options,
            state,
            timings,
        })
    }

    /// How it went so far.
    pub fn summary(&self) -> Summary {
        let stop_reason = if let State::Ended(reason) = self.state { Some(reason) } else { None };
        Summary { stop_reason, timings: self.timings }
    }

    /// The next piece; `None` at the end and after an error. All three must be the same every time.
    pub fn next<F: Forward + ?Sized>(
        &mut self,
        forward: &mut F,
        sampler: &mut Sampler,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Piece>> {
        let piece = self.step(forward, sampler, tokenizer);
        if piece.is_err() {
            self.state = State::Failed;
        }
        piece
    }

    fn step<F: Forward + ?Sized>(
        &mut self,
        forward: &mut F,
        sampler: &mut Sampler,
        tokenizer: &Tokenizer,
    ) -> Result<Option<Piece>> {
        if matches!(self.state, State::Ended(_) | State::Failed) {
            return Ok(None);
        }
        if self.options.cancel.as_ref().is_some_and(|flag| flag.load(Ordering::Relaxed)) {
            self.state = State::Ended(StopReason::Cancelled);
            return Ok(None);
        }
        let pick = match self.evaluate_and_sample(forward, sampler, tokenizer) {
            Err(e) if e.kind() == ErrorKind::Cancelled => {
                self.state = State::Ended(StopReason::Cancelled);
                return Ok(None);
            }
            pick => pick?,
        };
        self.piece(pick, tokenizer, forward.room()).map(Some)
    }

    /// One forward pass, over the prompt or the last token, and a pick from its logits.
    fn evaluate_and_sample<F: Forward + ?Sized>(
        &mut self,
        forward: &mut F,
        sampler: &mut Sampler,
        tokenizer: &Tokenizer,
    ) -> Result<Pick> {
        let start = Instant::now();
        let is_token = matches!(self.state, State::Token(_));
        let cancel = self.options.cancel.as_deref();
        let n_vocab = tokenizer.n_vocab();
        let enough = sampler.n_deciding().map(|n| TopLogits { n: n.min(n_vocab), n_vocab });
        let logits = match self.state {
            State::Token(token) => forward.token(token, enough, cancel)?,
            _ => forward.prompt(&self.prompt, enough, cancel)?,
        };
        if !is_token {
            self.timings.prompt_time = start.elapsed();
            self.prompt.iter().try_for_each(|&token| sampler.accept(token))?;
        }
        let pick = match logits {
            // The output matrix may be padded beyond the vocabulary; no token stands for those rows.
            Logits::All(logits) => sampler.sample(&logits[..logits.len().min(n_vocab)])?,
            Logits::Top(top) => sampler.sample_top(top.iter().map(|logit| (logit.place, logit.value)))?,
        };
        sampler.accept(pick.token)?;
        self.timings.generated_tokens += 1;
        if is_token {
            self.timings.evaluated_tokens += 1;
            self.timings.generate_time += start.elapsed();
        } else {
            self.timings.time_to_first_token = start.elapsed();
        }
        Ok(pick)
    }

    /// The piece of a sampled token, and what comes after it; the context has `room` for so many more tokens.
    fn piece(&mut self, pick: Pick, tokenizer: &Tokenizer, room: usize) -> Result<Piece> {
        let ends = if tokenizer.is_end_of_generation(pick.token) {
            Some(StopReason::EndOfGeneration)
        } else if self.options.stop_tokens.contains(&pick.token) {
            Some(StopReason::StopToken)
        } else {
            None
        };
        let decoded = match ends {
            None => self.text.push(tokenizer, pick.token)?.unwrap_or_default(),
            Some(_) => String::new(),
        };
        let (mut text, ends) = match self.stops.push(&decoded) {
            Matched::Stop(text) => (text, Some(StopReason::StopString)),
            Matched::Text(text) => (text, ends.or_else(|| self.at_a_limit(room))),
        };
        self.state = match ends {
            Some(reason) => State::Ended(reason),
            None => State::Token(pick.token),
        };
        match ends {
            None | Some(StopReason::StopString) => {}
            Some(_) => text += &self.rest(),
        }
        Ok(Piece { text, token: pick.token, logprob: pick.logprob, top: pick.top })
    }

    fn at_a_limit(&self, room: usize) -> Option<StopReason> {
        if self.options.max_tokens.is_some_and(|max| self.timings.generated_tokens >= max) {
            Some(StopReason::Length)
        } else if room == 0 {
            Some(StopReason::ContextFull)
        } else {
            None
        }
    }

    /// The text held back when the generation ends: an unfinished character, then what began a stop string.
    fn rest(&mut self) -> String {
        let unfinished = self.text.finish().unwrap_or_default();
        match self.stops.push(&unfinished) {
            Matched::Stop(text) => text,
            Matched::Text(text) => text + &self.stops.finish(),
        }
    }
}
