//! A text as chunks of tokens, and which of them are scored.

use crate::error::{Result, bail};
use crate::fallible;
use crate::tokenizer::Tokenizer;
use std::ops::Range;
use twox_hash::XxHash3_128;

/// Tokens in a chunk by default, as in `llama-perplexity`.
pub const CHUNK_LEN: usize = 512;

/// How a text is cut into chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkOptions {
    /// Tokens in a chunk, 2 or more.
    pub chunk_len: usize,
    /// Tokens from the beginning of a chunk to that of the next. `None`: chunks lie side by side, and the second half of each is
    /// scored. `Some(n)`: chunks overlap, and the last `n` tokens of each are scored, so that none is scored twice and each has the
    /// rest of the chunk, or more, before it.
    pub stride: Option<usize>,
    /// Only so many chunks, from the beginning; `None` for all that the text has.
    pub n_chunks: Option<usize>,
}

impl Default for ChunkOptions {
    fn default() -> Self {
        ChunkOptions { chunk_len: CHUNK_LEN, stride: None, n_chunks: None }
    }
}

/// Chunks of a text, all of the same length, each to be evaluated alone.
///
/// By default the definition is that of `llama-perplexity`, so that figures compare: in a chunk of 512 the logits of positions 256 to
/// 510 predict tokens 257 to 511, 255 scored tokens with at least 257 tokens before each; and the model's BOS, where it asks for
/// one, takes the place of the first token of every chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunks {
    /// (n_chunks, chunk_len)
    tokens: Vec<u32>,
    chunk_len: usize,
    /// Positions of a chunk whose logits are scored, each against the token that follows.
    scored: Range<usize>,
}

impl Chunks {
    /// Cuts `tokens`, which are the whole text as the tokenizer gives it, special tokens added. `bos` replaces the first token of
    /// every chunk when it is given: pass the model's BOS where the model asks for one.
    ///
    /// # Errors
    /// `InvalidArgument` for options out of range, or a text too short for one chunk or for the chunks asked for.
    pub fn new(tokens: &[u32], bos: Option<u32>, options: &ChunkOptions) -> Result<Chunks> {
        let ChunkOptions { chunk_len, stride, n_chunks } = *options;
        if chunk_len < 2 {
            bail!(InvalidArgument, "a chunk of {chunk_len} tokens has none to score");
        }
        if let Some(stride) = stride.filter(|&stride| stride == 0 || stride >= chunk_len) {
            bail!(InvalidArgument, "a stride of {stride} is outside 1..{chunk_len}, the length of a chunk");
        }
        let step = stride.unwrap_or(chunk_len);
        let n_whole = if tokens.len() < chunk_len { 0 } else { (tokens.len() - chunk_len) / step + 1 };
        let n = n_chunks.unwrap_or(n_whole);
        if n == 0 || n > n_whole {
            let wanted = n_chunks.map_or("one chunk".to_string(), |n| format!("{n} chunks"));
            bail!(
                InvalidArgument,
                "the text has {} tokens, {n_whole} chunks of {chunk_len}; {wanted} were asked for",
                tokens.len()
            );
        }
        let mut own = fallible::with_capacity(n.saturating_mul(chunk_len), "the chunks of a text")?;
        for start in (0..n).map(|i| i * step) {
            let at = own.len();
            own.extend_from_slice(&tokens[start..start + chunk_len]);
            own[at] = bos.unwrap_or(own[at]);
        }
        let first = stride.map_or(chunk_len / 2, |stride| chunk_len - 1 - stride);
        Ok(Chunks { tokens: own, chunk_len, scored: first..chunk_len - 1 })
    }

    /// Tokenizes a text as the model wants it, and cuts it.
    ///
    /// # Errors
    /// Those of [`Tokenizer::encode`] and [`new`](Self::new).
    pub fn of_text(tokenizer: &Tokenizer, text: &str, options: &ChunkOptions) -> Result<Chunks> {
        let bos = tokenizer.bos().filter(|_| tokenizer.adds_bos());
        Chunks::new(&tokenizer.encode(text, true, false)?, bos, options)
    }

    /// One chunk, of which `scored` positions count, each against the token that follows.
    ///
    /// # Errors
    /// `InvalidArgument` if there are no positions, or none follows the last.
    pub fn single(tokens: &[u32], scored: Range<usize>) -> Result<Chunks> {
        Chunks::from_parts(tokens.to_vec(), tokens.len(), scored)
    }

    /// Chunks as a file keeps them: tokens (n_chunks, chunk_len) and the positions that are scored.
    pub(super) fn from_parts(tokens: Vec<u32>, chunk_len: usize, scored: Range<usize>) -> Result<Chunks> {
        let whole = chunk_len > 0 && !tokens.is_empty() && tokens.len().is_multiple_of(chunk_len);
        if !whole || scored.is_empty() || scored.end >= chunk_len {
            let n = tokens.len();
            bail!(InvalidArgument, "positions {scored:?} of chunks of {chunk_len} cannot be scored in {n} tokens");
        }
        Ok(Chunks { tokens, chunk_len, scored })
    }

    /// How many chunks.
    pub fn len(&self) -> usize {
        self.tokens.len() / self.chunk_len
    }

    /// Never: there is at least one.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tokens of a chunk.
    pub fn chunk_len(&self) -> usize {
        self.chunk_len
    }

    /// Positions of a chunk whose logits are scored, each against the token that follows.
    pub fn scored(&self) -> Range<usize> {
        self.scored.clone()
    }

    /// Scored tokens of all chunks.
    pub fn n_scored(&self) -> usize {
        self.len() * self.scored.len()
    }

    /// The tokens of all chunks, (n_chunks, chunk_len).
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The chunks, `[chunk_len]` each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> {
        self.tokens.chunks_exact(self.chunk_len)
    }

    /// The largest token.
    pub fn max_token(&self) -> u32 {
        self.tokens.iter().copied().max().unwrap_or(0)
    }

    /// What tells these chunks from others: an XXH3 hash of 128 bits over their tokens, their length and what is scored.
    pub fn hash(&self) -> u128 {
        let mut hash = XxHash3_128::new();
        for n in [self.chunk_len, self.scored.start, self.scored.end] {
            hash.write(&(n as u64).to_le_bytes());
        }
        self.tokens.iter().for_each(|token| hash.write(&token.to_le_bytes()));
        hash.finish_128()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(
        n: u32,
        bos: Option<u32>,
        chunk_len: usize,
        stride: Option<usize>,
        n_chunks: Option<usize>,
    ) -> Result<Chunks> {
        let tokens: Vec<u32> = (0..n).collect();
        Chunks::new(&tokens, bos, &ChunkOptions { chunk_len, stride, n_chunks })
    }

    #[test]
    fn chunks_lie_side_by_side_or_overlap_without_scoring_twice() {
        let plain = cut(1100, Some(7), 512, None, None).unwrap();
        assert_eq!((plain.len(), plain.scored(), plain.n_scored()), (2, 256..511, 510));
        let firsts: Vec<&[u32]> = plain.iter().map(|chunk| &chunk[..2]).collect();
        assert_eq!(firsts, [[7, 1], [7, 513]]);

        let overlapping = cut(20, None, 8, Some(3), None).unwrap();
        let predicted: Vec<u32> = overlapping
            .iter()
            .flat_map(|chunk| overlapping.scored().map(|position| chunk[position + 1]).collect::<Vec<_>>())
            .collect();
        assert_eq!(predicted, (5..20).collect::<Vec<_>>());
        assert_eq!(cut(20, None, 8, Some(3), Some(2)).unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_cut_is_refused() {
        let cases = [
            (511, 512, None, None),
            (1023, 512, None, Some(2)),
            (600, 512, None, Some(0)),
            (600, 1, None, None),
            (600, 8, Some(0), None),
            (600, 8, Some(8), None),
        ];
        for (n, chunk_len, stride, n_chunks) in cases {
            let error = cut(n, None, chunk_len, stride, n_chunks).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument, "{error}");
        }
        for (n, scored) in [(0, 0..0), (4, 2..4), (4, 2..2)] {
            assert!(Chunks::single(&vec![0; n], scored).is_err());
        }
    }

    #[test]
    fn the_hash_sees_tokens_and_what_is_scored() {
        let base = Chunks::single(&[1, 2, 3, 4], 1..3).unwrap();
        assert_eq!(base.hash(), Chunks::single(&[1, 2, 3, 4], 1..3).unwrap().hash());
        assert_ne!(base.hash(), Chunks::single(&[1, 2, 3, 5], 1..3).unwrap().hash());
        assert_ne!(base.hash(), Chunks::single(&[1, 2, 3, 4], 2..3).unwrap().hash());
    }
}
