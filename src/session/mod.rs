//! Sessions: all that changes while a model runs. A session holds sequences of tokens with their keys and values, computes
//! batches, and keeps the logits of the last one.
//!
//! Results depend on the model and on a sequence's own tokens, and on nothing else: the number of threads, the other
//! sequences of a batch, and how a prompt was divided into batches do not change a bit.

mod append;
mod batch;
mod cache;
mod embed;
mod forward;
mod memory;
mod observe;
mod scratch;
mod state;

use std::sync::{Arc, OnceLock};

use self::append::Wanted;
#[cfg(feature = "bench")]
pub(crate) use self::append::rows_at_once;
use self::cache::Cache;
use self::scratch::Scratch;
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, CacheShape, Footprint, Machine};
use crate::error::{Result, bail};
use crate::model::{HyperParams, Model, Part, Share};

pub use crate::backend::{KvType, Ranked};

pub use self::batch::{Batch, Role, TopLogits};
pub use self::embed::Pooling;
pub use self::memory::{
    GpuPrediction, MemoryPrediction, check_gpu_memory, check_memory, predict_gpu_memory, predict_memory,
};
pub use self::observe::InputSquares;

/// Prompt tokens that are computed at once by default: more unpack weights less often, fewer stay in the caches between steps.
/// Measured on 2 cores with native prompts of 512, at 128, 256 and 512 at once: 2000, 2050 and 1800 tokens/s on a model of 135M
/// weights, 275, 305 and 309 on one of 1.1B.
const DEFAULT_BATCH: usize = 256;

/// Upper bounds of the options; guards against nonsense.
const MAX_SEQUENCES: usize = 1 << 12;
const MAX_BATCH: usize = 1 << 14;
const MAX_OUTPUTS: usize = 1 << 16;
const MAX_CONTEXT: usize = 1 << 28;

/// Which arithmetic prompt tokens may use. Generated tokens always use the portable one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Numerics {
    /// The same bits on every CPU.
    Portable,
    /// Prompt tokens use bfloat16 where the CPU is fast at it (AMX; AMD's CPUs with AVX-512 BF16) and every tensor's format has kernels
    /// for it; otherwise the same bits as `Portable`. See docs/numerics.md.
    #[default]
    Native,
}

/// The sizes of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// Positions that a sequence may have; 0 for as many as the model was trained for.
    pub n_ctx: usize,
    /// Tokens that are computed at once; longer batches are computed in chunks of this, on a CPU without native kernels or in portable
    /// numerics of at most 128. It changes speed and memory only.
    pub n_batch: usize,
    /// Sequences that may exist at once.
    pub n_sequences: usize,
    /// Logits that one batch may ask for; 0 for one per sequence.
    pub max_outputs: usize,
    /// Arithmetic of prompt tokens.
    pub numerics: Numerics,
    /// How keys and values are kept.
    pub kv_type: KvType,
}

impl Default for SessionOptions {
    fn default() -> Self {
        SessionOptions {
            n_ctx: 0,
            n_batch: DEFAULT_BATCH,
            n_sequences: 1,
            max_outputs: 0,
            numerics: Numerics::default(),
            kv_type: KvType::default(),
        }
    }
}

impl SessionOptions {
    /// Check the ranges, which do not depend on the model.
    ///
    /// # Errors
    /// `InvalidArgument`, naming the field.
    pub fn check(&self) -> Result<()> {
        for (name, value, range) in [
            ("n_ctx", self.n_ctx, 0..=MAX_CONTEXT),
            ("n_batch", self.n_batch, 1..=MAX_BATCH),
            ("n_sequences", self.n_sequences, 1..=MAX_SEQUENCES),
            ("max_outputs", self.max_outputs, 0..=MAX_OUTPUTS),
        ] {
            if !range.contains(&value) {
                bail!(InvalidArgument, "{name} is {value}, outside {}..={}", range.start(), range.end());
            }
        }
        Ok(())
    }
}

/// The name of a sequence in its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(u32);

impl SequenceId {
    /// The sequence of a number that [`number`](Self::number) gave. A session refuses one that it does not have.
    pub fn from_number(number: u32) -> SequenceId {
        SequenceId(number)
    }

    /// Its number in the session, for callers that cannot keep the type.
    pub fn number(self) -> u32 {
        self.0
    }
}

/// What a caller hears of and says to a running batch.
#[derive(Default)]
pub struct Control<'a> {
    /// Asked on the thread that called: once a layer, and where tokens are many before each part of a layer that the thread
    /// computes, so that the answer never waits for 50 milliseconds; `true` ends the batch with `Cancelled`.
    pub stop: Option<&'a (dyn Fn() -> bool + Sync)>,
    /// Called after each chunk with the tokens computed and those of the batch.
    pub progress: Option<&'a mut dyn FnMut(usize, usize)>,
}

/// The logits of an output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Logits<'a> {
    /// Of every token, `[n_vocab]`.
    All(&'a [f32]),
    /// The largest ones, in any order. Of equal ones those of lower tokens are there, and NaN counts as larger than all others.
    Top(&'a [Ranked]),
}

/// A model's mutable state. See the module's text.
pub struct Session {
    model: Arc<Model>,
    options: SessionOptions,
    cache: Cache<Machine>,
    /// One for each part of the model; results are in the first.
    scratch: Vec<Scratch<Machine>>,
    n_outputs: usize,
    /// How many of the largest logits of each output the last batch has found; `None` where all logits are there.
    n_top: Option<usize>,
    /// Whether the other logits were fetched nevertheless, and how that went.
    fetched: OnceLock<bool>,
    observer: Option<InputSquares>,
}

/// Defaults filled in, ranges checked.
fn check_options(options: &SessionOptions, h: &HyperParams) -> Result<SessionOptions> {
    let mut o = options.clone();
    if o.n_ctx == 0 {
        o.n_ctx = h.n_ctx_train;
    }
    if o.max_outputs == 0 {
        o.max_outputs = o.n_sequences;
    }
    o.check()?;
    Ok(o)
}

/// The shape of a session's keys and values.
fn cache_shape(h: &HyperParams, options: &SessionOptions) -> CacheShape {
    CacheShape { n_layers: h.n_blocks, heads: h.heads(), kv_type: options.kv_type }
}

/// The sizes of the buffers that a share of a model needs: a machine without the head gives no results.
fn options_of(share: &Share, options: &SessionOptions) -> SessionOptions {
    SessionOptions { max_outputs: if share.with_ends { options.max_outputs } else { 0 }, ..options.clone() }
}

impl Session {
    /// A session without sequences.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range, `OutOfMemory`.
    pub fn new(model: &Arc<Model>, options: &SessionOptions) -> Result<Session> {
        let h = model.hparams();
        let options = check_options(options, h)?;
        let max_pages = options.n_sequences * options.n_ctx.div_ceil(cache::PAGE_LEN);
        let shape = cache_shape(h, &options);
        let pool = |part: &Part| (Arc::clone(&part.machine), CacheShape { n_layers: part.share.blocks.len(), ..shape });
        let scratch = |part: &Part| Scratch::new(&*part.machine, h, &options_of(&part.share, &options));
        Ok(Session {
            cache: Cache::new(model.parts().iter().map(pool), options.n_sequences, max_pages),
            scratch: model.parts().iter().map(scratch).collect::<Result<_>>()?,
            model: Arc::clone(model),
            options,
            n_outputs: 0,
            n_top: None,
            fetched: OnceLock::new(),
            observer: None,
        })
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The options, with defaults filled in.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }

    /// Bytes of keys and values allocated so far.
    pub fn kv_bytes(&self) -> u64 {
        self.cache.n_pages() as u64 * Cpu::page_bytes(cache_shape(self.model.hparams(), &self.options))
    }

    /// A new, empty sequence.
    ///
    /// # Errors
    /// `InvalidState` when all sequences are in use.
    pub fn new_sequence(&mut self) -> Result<SequenceId> {
        self.cache.create()
    }

    /// A new sequence with the same tokens. It shares their keys and values until one of both grows past them.
    ///
    /// # Errors
    /// `InvalidArgument` if the sequence does not exist, `InvalidState` when all sequences are in use.
    pub fn fork(&mut self, sequence: SequenceId) -> Result<SequenceId> {
        self.cache.fork(sequence)
    }

    /// Forget all but the first `len` positions.
    ///
    /// # Errors
    /// `InvalidArgument` if the sequence does not exist or is shorter.
    pub fn truncate(&mut self, sequence: SequenceId, len: usize) -> Result<()> {
        self.cache.truncate(sequence, len)
    }

    /// Remove a sequence.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not exist.
    pub fn remove(&mut self, sequence: SequenceId) -> Result<()> {
        self.cache.remove(sequence)
    }

    /// Positions of a sequence.
    ///
    /// # Errors
    /// `InvalidArgument` if it does not exist.
    pub fn len(&self, sequence: SequenceId) -> Result<usize> {
        self.cache.len(sequence)
    }

    /// Append the tokens of a batch to their sequences and compute the logits that are wanted.
    ///
    /// # Errors
    /// See [`decode_with`](Self::decode_with).
    pub fn decode(&mut self, batch: &Batch) -> Result<()> {
        self.decode_with(batch, Control::default())
    }

    /// [`decode`](Self::decode) with a stop signal and progress. All or nothing: after an error the sequences are as long as
    /// before, and no logits are there.
    ///
    /// # Errors
    /// `InvalidArgument` for a token outside the vocabulary, a sequence that does not exist, or more outputs than the session
    /// was made for; `ContextFull` when a sequence would exceed its context; `OutOfMemory`; `Cancelled`.
    pub fn decode_with(&mut self, batch: &Batch, control: Control<'_>) -> Result<()> {
        self.n_outputs = 0;
        if batch.n_outputs() > self.options.max_outputs {
            bail!(
                InvalidArgument,
                "the batch asks for {} logits, the session was made for {}",
                batch.n_outputs(),
                self.options.max_outputs
            );
        }
        let (most_top, n_vocab) = (self.model.machine().most_top(&self.scratch[0].top), self.model.hparams().n_vocab);
        batch.top.map_or(Ok(()), |top| top.check(n_vocab))?;
        let top = batch.top.filter(|top| top.n <= most_top);
        self.fetched = OnceLock::new();
        self.append(batch, control, Wanted::Logits { top })?;
        self.n_top = top.map(|top| top.n);
        Ok(())
    }

    /// The i-th output of the last batch, as far as it is in the host's memory; `None` if the batch had fewer.
    pub fn output(&self, i: usize) -> Option<Logits<'_>> {
        match self.n_top {
            Some(n) if i < self.n_outputs => {
                Some(Logits::Top(self.model.machine().read_top(&self.scratch[0].top, i, n)))
            }
            _ => self.logits(i).map(Logits::All),
        }
    }

    /// Logits of the i-th output of the last batch, `[n_vocab]`; `None` if it had fewer. What a GPU did not hand over yet (see
    /// [`Batch::only_top`]) it does now; `None`, too, if that fails.
    pub fn logits(&self, i: usize) -> Option<&[f32]> {
        let (machine, logits) = (self.model.machine(), &self.scratch[0].logits);
        let is_there = i < self.n_outputs
            && (self.n_top.is_none() || *self.fetched.get_or_init(|| machine.fetch(self.n_outputs, logits).is_ok()));
        is_there.then(|| machine.read_row(logits, i))
    }

    /// The hidden state of the i-th output of the last batch, `[dim]`: what the last norm left, and the logits were formed from;
    /// `None` if it had fewer. See also [`embed`](Self::embed).
    pub fn embedding(&self, i: usize) -> Option<&[f32]> {
        (i < self.n_outputs).then(|| self.model.machine().read_row(&self.scratch[0].head_input, i))
    }

    /// Outputs of the last batch.
    pub fn n_outputs(&self) -> usize {
        self.n_outputs
    }
}
