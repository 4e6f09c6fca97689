//! Perplexity over chunks of text, as `llama-perplexity` defines it, so that the figures compare.

use super::scores;
use super::{Chunks, Estimate, LogitSource, OnChunk, blocks};
use crate::error::{Result, bail};
use rayon::prelude::*;

/// The result of [`perplexity`].
#[derive(Clone, Debug, PartialEq)]
pub struct Perplexity {
    /// exp of the mean negative log-likelihood of all scored tokens, with its standard error: that of the mean, tokens taken as
    /// independent, times the perplexity.
    pub value: Estimate,
    /// The sum of the negative log-likelihoods of every chunk, in nats.
    pub chunk_nll: Vec<f64>,
    /// Scored tokens in a chunk.
    pub n_scored_per_chunk: usize,
}

impl Perplexity {
    /// From the negative log-likelihoods (n_chunks, n_scored_per_chunk), in order.
    pub(super) fn of(nll: impl ExactSizeIterator<Item = f64> + Clone, n_scored_per_chunk: usize) -> Perplexity {
        let mut chunk_nll = vec![0.0; nll.len() / n_scored_per_chunk];
        nll.clone().enumerate().for_each(|(i, nll)| chunk_nll[i / n_scored_per_chunk] += nll);
        Perplexity { value: Estimate::of(nll).exp(), chunk_nll, n_scored_per_chunk }
    }
}

/// The perplexity of a text.
///
/// # Errors
/// `InvalidArgument` for a token beyond the vocabulary; those of the source and of `on_chunk`.
pub fn perplexity(source: &mut dyn LogitSource, chunks: &Chunks, on_chunk: OnChunk<'_>) -> Result<Perplexity> {
    if chunks.max_token() as usize >= source.n_vocab() {
        let (token, n_vocab) = (chunks.max_token(), source.n_vocab());
        bail!(InvalidArgument, "token {token} is beyond the vocabulary of {n_vocab}");
    }
    let mut nll = Vec::with_capacity(chunks.n_scored());
    for (i, chunk) in chunks.iter().enumerate() {
        source.begin(chunk)?;
        for block in blocks(chunks.scored(), source.max_rows()) {
            let rows = source.logits(block.clone())?;
            let scored = rows.par_iter().zip(&chunk[block.start + 1..=block.end]);
            nll.extend(scored.map(|(row, &next)| scores::nll(row, next)).collect::<Result<Vec<f64>>>()?);
        }
        on_chunk(i + 1, chunks.len())?;
    }
    Ok(Perplexity::of(nll.into_iter(), chunks.scored().len()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::ChunkOptions;
    use std::ops::Range;

    /// Gives the token that follows `i` the logit ln(3) and the other three 0, where the text counts 0 1 2 3 0 1 ...
    struct Counting {
        seen_first: Vec<u32>,
        rows: Vec<[f32; 4]>,
    }

    impl LogitSource for Counting {
        fn n_vocab(&self) -> usize {
            4
        }

        fn max_rows(&self) -> usize {
            100
        }

        fn begin(&mut self, tokens: &[u32]) -> Result<()> {
            self.seen_first.push(tokens[0]);
            let row = |&token: &u32| {
                let mut logits = [1000.0; 4];
                logits[(token as usize + 1) % 4] += 3f32.ln();
                logits
            };
            self.rows = tokens.iter().map(row).collect();
            Ok(())
        }

        fn logits(&mut self, positions: Range<usize>) -> Result<Vec<&[f32]>> {
            Ok(self.rows[positions].iter().map(|row| &row[..]).collect())
        }
    }

    #[test]
    fn a_known_distribution_has_its_perplexity() {
        let tokens: Vec<u32> = (0..1100).map(|i| i % 4).collect();
        let chunks = Chunks::new(&tokens, Some(3), &ChunkOptions::default()).unwrap();
        let mut source = Counting { seen_first: Vec::new(), rows: Vec::new() };
        let mut heard = Vec::new();
        let got = perplexity(&mut source, &chunks, &mut |done, all| {
            heard.push((done, all));
            Ok(())
        });
        let got = got.unwrap();
        assert!((got.value.mean - 2.0).abs() < 1e-4 && got.value.stderr < 1e-6, "{got:?}"); // probability 3 / 6
        assert_eq!((got.chunk_nll.len(), got.n_scored_per_chunk), (2, 255));
        assert_eq!((source.seen_first, heard), (vec![3, 3], vec![(1, 2), (2, 2)]));
    }

    #[test]
    fn a_foreign_token_is_refused() {
        let chunks = Chunks::single(&[4; 600], 256..511).unwrap();
        let mut source = Counting { seen_first: Vec::new(), rows: Vec::new() };
        let error = perplexity(&mut source, &chunks, &mut |_, _| Ok(())).unwrap_err();
        assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
    }
}
