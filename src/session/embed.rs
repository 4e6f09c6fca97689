//! Embeddings: what the model makes of tokens, before the head makes logits of it.

use super::append::Wanted;
use super::{Batch, Control, Session};
use crate::error::Result;
use crate::fallible;

/// Which hidden states of a batch are wanted, and how they become vectors. No vector is scaled to length 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// One vector for each token that was pushed as an output, in the order of the batch.
    Tokens,
    /// One for each sequence, in order of first occurrence: the mean over its tokens of the batch, summed in float64 from the first
    /// to the last and rounded once.
    Mean,
    /// One for each sequence, in order of first occurrence: that of its last token of the batch.
    Last,
}

impl Session {
    /// Append the tokens of a batch to their sequences, like [`decode_with`](Self::decode_with), and get hidden states instead of
    /// logits: `(n, dim)` values of the final, normalised hidden state. No logits are computed and none are there afterwards,
    /// so any number of tokens may be outputs. The same bits for any number of threads, batch and chunking.
    ///
    /// # Errors
    /// Those of [`decode_with`](Self::decode_with); all or nothing.
    pub fn embed(&mut self, batch: &Batch, pooling: Pooling, control: Control<'_>) -> Result<Vec<f32>> {
        let dim = self.model.hparams().dim;
        let places = Places::new(batch, pooling)?;
        let n_values = places.n_vectors.saturating_mul(dim);
        // Sums in float64 are needed for means alone.
        let mut vectors = fallible::filled(0.0f32, n_values, "embeddings")?;
        let mut sums = fallible::filled(0.0f64, if pooling == Pooling::Mean { n_values } else { 0 }, "embeddings")?;
        let mut each = |i: usize, hidden: &[f32]| {
            let range = places.vector_of[i] * dim..(places.vector_of[i] + 1) * dim;
            match pooling {
                Pooling::Mean => sums[range].iter_mut().zip(hidden).for_each(|(sum, &x)| *sum += f64::from(x)),
                Pooling::Tokens | Pooling::Last => vectors[range].copy_from_slice(hidden),
            }
            Ok(())
        };
        self.append(batch, control, Wanted::Hidden { rows: &places.is_wanted, each: &mut each })?;
        if pooling == Pooling::Mean {
            let mut counts = fallible::filled(0u32, places.n_vectors, "embeddings")?;
            places.vector_of.iter().for_each(|&vector| counts[vector] += 1);
            let means =
                sums.chunks_exact(dim).zip(counts).flat_map(|(sum, n)| sum.iter().map(move |x| x / f64::from(n)));
            vectors.iter_mut().zip(means).for_each(|(to, mean)| *to = mean as f32);
        }
        Ok(vectors)
    }
}

/// Where the hidden states of a batch go.
struct Places {
    /// For each token of the batch.
    is_wanted: Vec<bool>,
    /// For each token of the batch, the vector that it belongs to, if it is wanted.
    vector_of: Vec<usize>,
    n_vectors: usize,
}

impl Places {
    fn new(batch: &Batch, pooling: Pooling) -> Result<Places> {
        let n = batch.entries.len();
        let mut is_wanted = fallible::filled(pooling == Pooling::Mean, n, "embeddings")?;
        let mut vector_of = fallible::filled(0, n, "embeddings")?;
        let mut n_vectors = 0;
        if pooling == Pooling::Tokens {
            for (i, _) in batch.entries.iter().enumerate().filter(|(_, entry)| entry.is_output) {
                (is_wanted[i], vector_of[i]) = (true, n_vectors);
                n_vectors += 1;
            }
            return Ok(Places { is_wanted, vector_of, n_vectors });
        }
        // Sequences in order of first occurrence, with the place of their last token.
        let mut last = Vec::new();
        for (i, entry) in batch.entries.iter().enumerate() {
            vector_of[i] = match last.iter().position(|&(sequence, _)| sequence == entry.sequence) {
                Some(known) => known,
                None => {
                    last.push((entry.sequence, i));
                    last.len() - 1
                }
            };
            last[vector_of[i]].1 = i;
        }
        if pooling == Pooling::Last {
            last.iter().for_each(|&(_, i)| is_wanted[i] = true);
        }
        Ok(Places { is_wanted, vector_of, n_vectors: last.len() })
    }
}
