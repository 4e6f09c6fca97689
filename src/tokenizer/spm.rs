//! The scheme of SentencePiece's unigram-like files (`tokenizer.ggml.model` = `llama`): adjacent pieces whose joined text is a
//! token are joined, the best score first and of equal scores the leftmost, until none is left; what is no token then
//! is written as bytes.
//!
//! ```text
//! symbols <- the characters;  queue <- every adjacent pair that is a token
//! while (pair <- best of queue): if both halves are still as they were, join them and queue the two new pairs
//! ```
//!
//! Each join queues at most two pairs and there are fewer joins than characters, so the work is n log n.

use std::collections::BinaryHeap;

use super::vocabulary::TokenTexts;
use crate::error::{Result, bail};

/// The SPM scheme of one vocabulary.
pub(super) struct Spm {
    scores: Vec<f32>,
    /// The token of each byte, where there is one.
    bytes: Vec<Option<u32>>,
    unknown: Option<u32>,
}

/// A run of text in a linked list; `len` is 0 once it has been joined to its left neighbour.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
    token: Option<u32>,
}

/// No neighbour.
const NONE: u32 = u32::MAX;

/// A pair of neighbours that may be joined. Ordered by score, then from left to right.
struct Pair {
    score: f32,
    left: u32,
    right: u32,
    len: u32,
    token: u32,
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score.total_cmp(&other.score).then(other.left.cmp(&self.left))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

impl Spm {
    /// `scores` has one entry per token, or none (all equal).
    pub(super) fn new(scores: Vec<f32>, texts: &TokenTexts, unknown: Option<u32>) -> Self {
        let byte = |byte: u8| texts.id(&format!("<0x{byte:02X}>")).or_else(|| texts.id(ascii(&byte)?));
        Spm { scores, bytes: (0..=255).map(byte).collect(), unknown }
    }

    /// Appends the tokens of `text`, in which spaces are already written as `▁`. Returns the number of pairs it looked at.
    pub(super) fn encode(&self, texts: &TokenTexts, text: &str, out: &mut Vec<u32>) -> Result<usize> {
        let mut merge = Merge { spm: self, texts, text, symbols: Vec::new(), queue: BinaryHeap::new(), n_pairs: 0 };
        merge.split()?;
        merge.run();
        let n_pairs = merge.n_pairs;
        for symbol in merge.symbols.iter().filter(|symbol| symbol.len > 0) {
            match symbol.token {
                Some(token) => out.push(token),
                None => self.push_bytes(&text.as_bytes()[symbol.start as usize..][..symbol.len as usize], out)?,
            }
        }
        Ok(n_pairs)
    }

    fn push_bytes(&self, bytes: &[u8], out: &mut Vec<u32>) -> Result<()> {
        for &byte in bytes {
            match self.bytes[usize::from(byte)].or(self.unknown) {
                Some(token) => out.push(token),
                None => bail!(InvalidModel, "the vocabulary has no token for byte 0x{byte:02X} and no unknown token"),
            }
        }
        Ok(())
    }
}

fn ascii(byte: &u8) -> Option<&str> {
    std::str::from_utf8(std::slice::from_ref(byte)).ok()
}

struct Merge<'a> {
    spm: &'a Spm,
    texts: &'a TokenTexts,
    text: &'a str,
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Pair>,
    n_pairs: usize,
}

impl Merge<'_> {
    fn split(&mut self) -> Result<()> {
        // Offsets and positions are 32 bits, of which the last is NONE.
        if u32::try_from(self.text.len()).is_err() {
            bail!(InvalidArgument, "a text of {} bytes is longer than 4 GiB", self.text.len());
        }
        for (i, (start, c)) in self.text.char_indices().enumerate() {
            let (i, len) = (i as u32, c.len_utf8());
            let token = self.texts.id(&self.text[start..start + len]);
            let prev = i.checked_sub(1).unwrap_or(NONE);
            self.symbols.push(Symbol { start: start as u32, len: len as u32, prev, next: i + 1, token });
        }
        if let Some(last) = self.symbols.last_mut() {
            last.next = NONE;
        }
        (1..self.symbols.len() as u32).for_each(|right| self.consider(right - 1, right));
        Ok(())
    }

    /// Queues the pair if its text is a token.
    fn consider(&mut self, left: u32, right: u32) {
        let (Some(&a), Some(&b)) = (self.symbols.get(left as usize), self.symbols.get(right as usize)) else { return };
        self.n_pairs += 1;
        let len = a.len + b.len;
        if let Some(token) = self.texts.id(&self.text[a.start as usize..(a.start + len) as usize]) {
            // Adding zero makes the two zeros compare equal.
            let score = self.spm.scores.get(token as usize).map_or(0.0, |score| score + 0.0);
            self.queue.push(Pair { score, left, right, len, token });
        }
    }

    fn run(&mut self) {
        while let Some(Pair { left, right, len, token, .. }) = self.queue.pop() {
            let (a, b) = (self.symbols[left as usize], self.symbols[right as usize]);
            if a.len == 0 || b.len == 0 || a.len + b.len != len {
                continue;
            }
            self.symbols[left as usize] = Symbol { len, next: b.next, token: Some(token), ..a };
            self.symbols[right as usize].len = 0;
            if let Some(next) = self.symbols.get_mut(b.next as usize) {
                next.prev = left;
            }
            self.consider(a.prev, left);
            self.consider(left, b.next);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spm(tokens: &[(&str, f32)], unknown: Option<u32>) -> (TokenTexts, Spm) {
        let texts = TokenTexts::new(tokens.iter().map(|t| t.0)).unwrap();
        let spm = Spm::new(tokens.iter().map(|t| t.1).collect(), &texts, unknown);
        (texts, spm)
    }

    fn encode((texts, spm): &(TokenTexts, Spm), text: &str) -> Vec<u32> {
        let mut out = vec![];
        spm.encode(texts, text, &mut out).unwrap();
        out
    }

    #[test]
    fn the_best_score_wins_then_the_leftmost() {
        let best = spm(&[("a", 0.0), ("b", 0.0), ("c", 0.0), ("ab", -2.0), ("bc", -1.0)], None);
        assert_eq!(encode(&best, "abc"), [0, 4]);
        let tie = spm(&[("a", 0.0), ("aa", -1.0)], None);
        assert_eq!(encode(&tie, "aaa"), [1, 0]);
        let nan = spm(&[("a", 0.0), ("aa", f32::NAN), ("aaa", f32::NEG_INFINITY)], None);
        assert_eq!(encode(&nan, "aaa"), [2]);
    }

    #[test]
    fn bytes_then_the_unknown_token_then_an_error() {
        assert_eq!(encode(&spm(&[("<0xC3>", 0.0), ("<0xA9>", 0.0)], None), "é"), [0, 1]);
        assert_eq!(encode(&spm(&[("<0xC3>", 0.0), ("?", 0.0)], Some(1)), "é"), [0, 1]);
        let (texts, none) = spm(&[("a", 0.0)], None);
        let error = none.encode(&texts, "b", &mut vec![]).unwrap_err();
        assert!(error.to_string().contains("0x62"), "{error}");
    }

    /// One megabyte of one character: the pairs looked at stay under three for each character.
    #[test]
    fn long_runs_take_linear_work() {
        let doubling: Vec<String> = (0..11).map(|i| "a".repeat(1 << i)).collect();
        let tokens: Vec<(&str, f32)> = doubling.iter().enumerate().map(|(i, t)| (&**t, -(i as f32))).collect();
        let (texts, spm) = spm(&tokens, None);
        let n_chars = 1 << 20;
        let mut out = vec![];
        let n_pairs = spm.encode(&texts, &"a".repeat(n_chars), &mut out).unwrap();
        assert!(n_pairs < 3 * n_chars, "{n_pairs}");
        assert_eq!(out, vec![10; n_chars >> 10]);
    }
}
