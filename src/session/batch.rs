//! Batches: tokens that are computed together, of one or several sequences.

use super::SequenceId;
use crate::error::{Result, bail};
use crate::fallible;

/// Tokens to append to sequences, in order. Tokens of several sequences may be mixed in any order; each goes to the next
/// position of its sequence.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub(super) entries: Vec<Entry>,
    pub(super) top: Option<TopLogits>,
}

/// The largest logits of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopLogits {
    /// How many.
    pub n: usize,
    /// The first so many logits are meant: the model's may be more than the tokens that there are.
    pub n_vocab: usize,
}

impl TopLogits {
    pub(super) fn check(&self, n_vocab: usize) -> Result<()> {
        if self.n == 0 || self.n > self.n_vocab || self.n_vocab > n_vocab {
            bail!(InvalidArgument, "the {} largest of {} logits, where {n_vocab} are formed", self.n, self.n_vocab);
        }
        Ok(())
    }
}

/// Where a token comes from. It decides the arithmetic of a session with [`Numerics::Native`](super::Numerics::Native), so that
/// a token's results depend neither on the batch it is in nor on how a prompt was divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Given: prompts, documents.
    Prompt,
    /// Made by the model: sampled, or drafted and to be verified.
    Generated,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub sequence: SequenceId,
    pub token: u32,
    pub role: Role,
    pub is_output: bool,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Batch {
        Batch::default()
    }

    /// The tokens of a prompt; logits are wanted for the last.
    pub fn prompt(sequence: SequenceId, tokens: &[u32]) -> Batch {
        let mut batch = Batch::new();
        for (i, &token) in tokens.iter().enumerate() {
            batch.push(sequence, token, Role::Prompt, i + 1 == tokens.len());
        }
        batch
    }

    /// One generated token, whose logits are wanted.
    pub fn generated(sequence: SequenceId, token: u32) -> Batch {
        let mut batch = Batch::new();
        batch.push(sequence, token, Role::Generated, true);
        batch
    }

    /// Append a token to a sequence; as an output, if its logits (or hidden state) are wanted.
    pub fn push(&mut self, sequence: SequenceId, token: u32, role: Role, is_output: bool) {
        self.entries.push(Entry { sequence, token, role, is_output });
    }

    /// Of the outputs' logits these are enough. A GPU then finds them itself, where they are not too many (1024 of each output, and of
    /// 100 000 logits 600), and only they go over to the host: see [`Session::output`](super::Session::output). `None`: all are wanted.
    pub fn only_top(&mut self, top: impl Into<Option<TopLogits>>) {
        self.top = top.into();
    }

    /// Make room for `n` more tokens, so that pushing them cannot fail.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn try_reserve(&mut self, n: usize) -> Result<()> {
        fallible::reserve(&mut self.entries, n, "a batch")
    }

    /// Take all tokens out. What [`only_top`](Self::only_top) said stays.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Tokens of the batch.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Tokens whose results are wanted.
    pub fn n_outputs(&self) -> usize {
        self.entries.iter().filter(|e| e.is_output).count()
    }
}
