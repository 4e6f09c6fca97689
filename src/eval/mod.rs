//! Measuring fidelity: the float reference, perplexity, the divergence between two models, multiple choice.
//!
//! A text is cut into [`Chunks`], each evaluated alone. Whatever makes logits of tokens is a [`LogitSource`]: a session of the
//! runtime ([`Runtime`]) or the float reference ([`reference::Reference`]). [`perplexity`] measures one source, [`compare`] two in one
//! pass, and a [`Baseline`] keeps the logits of a few positions so that many candidates can be compared with one model that is
//! evaluated once. [`logits_file`] keeps them on the disk, in few bytes. [`score_choices`] has a model choose among endings of a text,
//! and an [`ImportanceRun`] measures an importance matrix. All sums are float64, in one order: the figures are the
//! same for any number of threads.

mod baseline;
mod choices;
mod chunks;
mod comparison;
mod estimate;
pub mod logits_file;
mod measure_importance;
mod perplexity;
#[cfg(feature = "reference")]
pub mod reference;
mod runtime;
mod scores;
mod vocabulary;

pub use baseline::Baseline;
pub use choices::{ChoiceScores, Task, score_choices};
pub use chunks::{CHUNK_LEN, ChunkOptions, Chunks};
pub use comparison::{Comparison, Kld, compare};
pub use estimate::Estimate;
pub use measure_importance::{ImportanceOptions, ImportanceRun};
pub use perplexity::{Perplexity, perplexity};
pub use runtime::Runtime;
pub use scores::{PairScore, argmax};
pub use vocabulary::{same_vocabulary, vocabulary_hash};

use crate::error::{Result, bail};
use std::ops::Range;

/// Anything that turns tokens into logits: the reference, or a session of the runtime.
pub trait LogitSource {
    /// Entries of a row of logits.
    fn n_vocab(&self) -> usize;

    /// Rows that [`logits`](Self::logits) gives at once at most: a large vocabulary takes much memory for each.
    fn max_rows(&self) -> usize;

    /// Begins a text, which is evaluated from position 0 with nothing before it.
    ///
    /// # Errors
    /// `InvalidArgument` for a token beyond the vocabulary; those of the source.
    fn begin(&mut self, tokens: &[u32]) -> Result<()>;

    /// The logits of consecutive positions of the text, a row `[n_vocab]` each. Calls go forward through the text.
    ///
    /// # Errors
    /// `InvalidArgument` for no positions, more than [`max_rows`](Self::max_rows), positions beyond the text or before the end of
    /// the last call's; those of the source.
    fn logits(&mut self, positions: Range<usize>) -> Result<Vec<&[f32]>>;
}

/// What an evaluation tells after each chunk: chunks done, and chunks of all. An error that it returns ends the evaluation.
pub type OnChunk<'a> = &'a mut dyn FnMut(usize, usize) -> Result<()>;

/// The logits of `positions` of a text in one piece, (positions.len(), n_vocab).
///
/// # Errors
/// `InvalidArgument` for no positions; those of the source.
pub fn collect_logits(source: &mut dyn LogitSource, tokens: &[u32], positions: Range<usize>) -> Result<Vec<f32>> {
    if positions.is_empty() {
        bail!(InvalidArgument, "logits of no positions were asked for");
    }
    let mut rows = Vec::new();
    source.begin(tokens)?;
    for block in blocks(positions, source.max_rows()) {
        source.logits(block)?.into_iter().for_each(|row| rows.extend_from_slice(row));
    }
    Ok(rows)
}

/// `positions` in blocks of at most `max_rows`.
fn blocks(positions: Range<usize>, max_rows: usize) -> impl Iterator<Item = Range<usize>> {
    let max_rows = max_rows.max(1);
    positions.clone().step_by(max_rows).map(move |start| start..(start + max_rows).min(positions.end))
}

/// Checks a request for logits against the text and what was asked before.
fn check_positions(positions: &Range<usize>, n_done: usize, n_tokens: usize, max_rows: usize) -> Result<()> {
    if positions.is_empty() || positions.len() > max_rows || positions.start < n_done || positions.end > n_tokens {
        bail!(InvalidArgument, "logits of positions {positions:?}, at most {max_rows} of {n_done}..{n_tokens}");
    }
    Ok(())
}
