//! Measuring fidelity: the float reference, perplexity, and the divergence between two sources of logits.

mod divergence;
mod perplexity;
pub mod reference;
mod runtime;

pub use divergence::{Divergence, divergence};
pub use perplexity::{CHUNK_LEN, Perplexity, perplexity};
pub use runtime::Runtime;

use crate::error::Result;
use std::ops::Range;

/// Anything that turns tokens into logits: the reference, or a session of the runtime.
pub trait LogitSource {
    /// Entries of a row of logits.
    fn n_vocab(&self) -> usize;

    /// Evaluates `tokens` from position 0 with nothing before them, and gives `each` the index and the logits (n_vocab) of
    /// every position of `positions`, in order. What `each` returns as an error ends the evaluation.
    fn for_each_logits(
        &mut self,
        tokens: &[u32],
        positions: Range<usize>,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()>;
}

/// The logits of `positions` in one piece, (positions.len(), n_vocab).
pub fn collect_logits(source: &mut dyn LogitSource, tokens: &[u32], positions: Range<usize>) -> Result<Vec<f32>> {
    let mut rows = Vec::new();
    source.for_each_logits(tokens, positions, &mut |_, logits| {
        rows.extend_from_slice(logits);
        Ok(())
    })?;
    Ok(rows)
}

/// ln(sum(exp(x))) in float64; the largest is taken out so that nothing overflows.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    max + logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

/// The index of the largest logit, the first of equals; `None` for no logits.
pub fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}
