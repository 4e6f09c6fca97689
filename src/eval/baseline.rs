//! The logits of a reference at a few positions, kept in memory so that many candidates are compared with one evaluation of it.

use super::comparison::{check_sizes, score_rows};
use super::{Chunks, Comparison, LogitSource, OnChunk, blocks};
use crate::error::Result;
use crate::fallible;
use std::ops::Range;

/// What a reference says at some positions of some chunks, exactly. The search for a good quantization keeps one and
/// [`compare`](Self::compare)s every candidate with it: the mean divergence is what each choice costs.
pub struct Baseline {
    chunks: Chunks,
    n_vocab: usize,
    /// Every so many scored positions, one is kept.
    every: usize,
    /// (n_chunks * positions of a chunk, n_vocab)
    rows: Vec<f32>,
}

impl Baseline {
    /// Evaluates the reference, and keeps its logits at every `every`-th of the scored positions (1 for all).
    ///
    /// # Errors
    /// `OutOfMemory`, see [`bytes`](Self::bytes); those of the source and of `on_chunk`.
    pub fn new(
        reference: &mut dyn LogitSource,
        chunks: &Chunks,
        every: usize,
        on_chunk: OnChunk<'_>,
    ) -> Result<Baseline> {
        let (n_vocab, every) = (reference.n_vocab(), every.max(1));
        let n_values = kept(chunks.scored(), every).count().saturating_mul(chunks.len()).saturating_mul(n_vocab);
        let mut rows = fallible::with_capacity(n_values, "the reference's logits")?;
        for (i, chunk) in chunks.iter().enumerate() {
            reference.begin(chunk)?;
            for block in kept_blocks(chunks.scored(), every, reference.max_rows()) {
                let logits = reference.logits(block.clone())?;
                logits.into_iter().step_by(every).for_each(|row| rows.extend_from_slice(row));
            }
            on_chunk(i + 1, chunks.len())?;
        }
        Ok(Baseline { chunks: chunks.clone(), n_vocab, every, rows })
    }

    /// Bytes that a baseline takes: 4 for each position that is kept and each token of the vocabulary.
    pub fn bytes(chunks: &Chunks, n_vocab: usize, every: usize) -> u64 {
        let n_rows = kept(chunks.scored(), every.max(1)).count() as u64 * chunks.len() as u64;
        n_rows.saturating_mul(n_vocab as u64 * size_of::<f32>() as u64)
    }

    /// The text.
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Positions that are kept, of all chunks.
    pub fn n_positions(&self) -> usize {
        self.rows.len() / self.n_vocab
    }

    /// Compares a candidate with the reference at the positions that were kept.
    ///
    /// # Errors
    /// `InvalidArgument` if the candidate's vocabulary has another size; those of the candidate and of `on_chunk`.
    pub fn compare(&self, candidate: &mut dyn LogitSource, on_chunk: OnChunk<'_>) -> Result<Comparison> {
        check_sizes(self.n_vocab, candidate.n_vocab())?;
        let mut kept_rows = self.rows.chunks_exact(self.n_vocab);
        let mut positions = Vec::with_capacity(self.n_positions());
        for (i, chunk) in self.chunks.iter().enumerate() {
            candidate.begin(chunk)?;
            for block in kept_blocks(self.chunks.scored(), self.every, candidate.max_rows()) {
                let got: Vec<&[f32]> = candidate.logits(block.clone())?.into_iter().step_by(self.every).collect();
                let want: Vec<&[f32]> = kept_rows.by_ref().take(got.len()).collect();
                let next: Vec<u32> = kept(block, self.every).map(|position| chunk[position + 1]).collect();
                positions.extend(score_rows(&want, &got, &next)?);
            }
            on_chunk(i + 1, self.chunks.len())?;
        }
        Ok(Comparison::of(positions, kept(self.chunks.scored(), self.every).count()))
    }
}

/// The positions that are kept.
fn kept(scored: Range<usize>, every: usize) -> impl Iterator<Item = usize> {
    scored.step_by(every)
}

/// The scored positions up to the last that is kept, in blocks that begin with one that is kept.
fn kept_blocks(scored: Range<usize>, every: usize, max_rows: usize) -> impl Iterator<Item = Range<usize>> {
    // A block shorter than the distance holds one kept position, its first.
    let len = (max_rows / every).max(1) * every;
    blocks(scored, len).map(move |block| block.start..block.end.min(block.start + max_rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_begins_with_a_kept_position_and_none_is_lost() {
        for (every, max_rows) in [(1, 4), (3, 10), (5, 4), (7, 100), (4, 1)] {
            let all: Vec<usize> = kept(10..40, every).collect();
            let blocks: Vec<Range<usize>> = kept_blocks(10..40, every, max_rows).collect();
            assert!(blocks.iter().all(|b| !b.is_empty() && b.len() <= max_rows), "{every} {max_rows}: {blocks:?}");
            let found: Vec<usize> = blocks.into_iter().flat_map(|block| kept(block, every)).collect();
            assert_eq!(found, all, "{every} {max_rows}");
        }
    }
}
