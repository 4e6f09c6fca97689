//! Perplexity over chunks of text, as `llama-perplexity` defines it, so that the figures compare.

use super::{LogitSource, log_sum_exp};
use crate::error::{Result, bail};

/// Tokens in a chunk. Each is evaluated alone, and its second half is scored.
pub const CHUNK_LEN: usize = 512;

/// The result of [`perplexity`].
#[derive(Clone, Debug, PartialEq)]
pub struct Perplexity {
    /// exp of the mean negative log-likelihood of all scored tokens.
    pub value: f64,
    /// The sum of the negative log-likelihoods of every chunk, in nats.
    pub chunk_nll: Vec<f64>,
    /// Scored tokens in a chunk.
    pub n_scored_per_chunk: usize,
}

/// The perplexity of the first `n_chunks` chunks of [`CHUNK_LEN`] of `tokens`.
///
/// `bos` replaces the first token of every chunk when it is given: pass the model's BOS where the model asks for one.
/// `tokens` is the whole text as the tokenizer gives it, special tokens added. In each chunk the logits of positions
/// 256 to 510 predict tokens 257 to 511: 255 scored tokens, each with at least 257 tokens before it.
///
/// Errors: `InvalidArgument` if there are no chunks, too few tokens for them, or a token beyond the vocabulary.
pub fn perplexity(
    source: &mut dyn LogitSource,
    tokens: &[u32],
    bos: Option<u32>,
    n_chunks: usize,
) -> Result<Perplexity> {
    if n_chunks == 0 || tokens.len() / CHUNK_LEN < n_chunks {
        bail!(InvalidArgument, "{} tokens are not {n_chunks} chunks of {CHUNK_LEN}", tokens.len());
    }
    let mut chunk_nll = Vec::with_capacity(n_chunks);
    for chunk in tokens.chunks_exact(CHUNK_LEN).take(n_chunks) {
        let mut chunk = chunk.to_vec();
        chunk[0] = bos.unwrap_or(chunk[0]);
        chunk_nll.push(score(source, &chunk)?);
    }
    let n_scored_per_chunk = CHUNK_LEN - 1 - CHUNK_LEN / 2;
    let mean = chunk_nll.iter().sum::<f64>() / (n_chunks * n_scored_per_chunk) as f64;
    Ok(Perplexity { value: mean.exp(), chunk_nll, n_scored_per_chunk })
}

/// The negative log-likelihood of the second half of one chunk.
fn score(source: &mut dyn LogitSource, chunk: &[u32]) -> Result<f64> {
    let mut nll = 0.0;
    source.for_each_logits(chunk, CHUNK_LEN / 2..CHUNK_LEN - 1, &mut |position, logits| {
        let token = chunk[position + 1];
        let Some(&logit) = logits.get(token as usize) else {
            bail!(InvalidArgument, "token {token} is beyond the vocabulary of {}", logits.len());
        };
        nll += log_sum_exp(logits) - f64::from(logit);
        Ok(())
    })?;
    Ok(nll)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::Range;

    /// Gives the token that follows `i` the logit ln(3) and the other three 0, where the text counts 0 1 2 3 0 1 ...
    struct Counting {
        seen_first: Vec<u32>,
    }

    impl LogitSource for Counting {
        fn n_vocab(&self) -> usize {
            4
        }

        fn for_each_logits(
            &mut self,
            tokens: &[u32],
            positions: Range<usize>,
            each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        ) -> Result<()> {
            self.seen_first.push(tokens[0]);
            positions.into_iter().try_for_each(|position| {
                let mut logits = [1000.0; 4];
                logits[(tokens[position] as usize + 1) % 4] += 3f32.ln();
                each(position, &logits)
            })
        }
    }

    #[test]
    fn a_known_distribution_has_its_perplexity() {
        let tokens: Vec<u32> = (0..1100).map(|i| i % 4).collect();
        let mut source = Counting { seen_first: Vec::new() };
        let got = perplexity(&mut source, &tokens, Some(3), 2).unwrap();
        assert!((got.value - 2.0).abs() < 1e-4, "{got:?}"); // probability 3 / 6
        assert_eq!((got.chunk_nll.len(), got.n_scored_per_chunk), (2, 255));
        assert_eq!(source.seen_first, [3, 3]);
    }

    #[test]
    fn too_few_tokens_and_foreign_tokens_are_refused() {
        let mut source = Counting { seen_first: Vec::new() };
        for (tokens, n_chunks) in [(vec![0; 1023], 2), (vec![0; 600], 0), (vec![4; 600], 1)] {
            let error = perplexity(&mut source, &tokens, None, n_chunks).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
        }
    }
}
