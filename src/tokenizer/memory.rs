//! How much memory a tokenizer takes, from the header alone: a bound that lies a few percent above what is measured on the
//! vocabularies in circulation (`tests/memory.rs`).

use crate::gguf::{Array, Gguf};

/// Bytes of the allocator's smallest block, in which the text of nearly every token and merge lies.
const TEXT_BYTES: u64 = 32;

/// Bytes that building the tokenizer of a file takes at most, including what it keeps; sound for any header, and 0 where there
/// is no vocabulary. The header itself is not counted.
pub fn predicted_bytes(gguf: &Gguf) -> u64 {
    let array = |name: &str| gguf.metadata().opt_array(&format!("tokenizer.ggml.{name}")).ok().flatten();
    let Some(tokens) = array("tokens") else { return 0 };
    let (n_tokens, text_bytes) = (tokens.len() as u64, tokens.text_bytes());
    // The one copy of the texts with their ends, an index by text, scores and kinds; beside it what the file's arrays are read into.
    let texts = text_bytes + 4 * n_tokens + buckets(n_tokens) * 5;
    let arrays = (4 + 1) * n_tokens + (16 + 8) * n_tokens;
    let merges = array("merges").map_or(0, |merges| {
        let (n_merges, merge_bytes) = (merges.len() as u64, merges.text_bytes());
        // Until the maps are made: each merge as two texts.
        map_bytes(n_tokens, text_bytes, n_merges) + n_merges * (48 + 2 * TEXT_BYTES) + merge_bytes
    });
    texts + arrays + merges + AUTOMATON_BYTES * special_bytes(gguf, tokens)
}

/// Bytes of two maps between texts and ids, each with texts of its own, and a map from pairs to their rank.
pub(super) fn map_bytes(n_tokens: u64, text_bytes: u64, n_merges: u64) -> u64 {
    buckets(n_tokens) * (33 + 33) + 2 * (TEXT_BYTES * n_tokens + text_bytes) + buckets(n_merges) * 17
}

/// Bytes of the automaton that finds special tokens, per byte of their texts, while it is built.
const AUTOMATON_BYTES: u64 = 64;

/// Bytes of the texts of all tokens that are found before anything else is split.
fn special_bytes(gguf: &Gguf, tokens: Array<'_>) -> u64 {
    let kinds = gguf.metadata().opt_array("tokenizer.ggml.token_type").ok().flatten();
    let Some(kinds) = kinds else { return 0 };
    let is_special = |kind: Option<i128>| matches!(kind, Some(2..=4));
    let lengths = tokens.byte_strings().map_while(Result::ok).map(|text| text.len() as u64);
    kinds.scalars().zip(lengths).filter(|(kind, _)| is_special(kind.as_integer())).map(|(_, len)| len).sum()
}

/// Places of a hash table with `n` entries: a power of two that they fill to seven eighths at most.
fn buckets(n: u64) -> u64 {
    (n.saturating_mul(8) / 7 + 1).checked_next_power_of_two().unwrap_or(u64::MAX).max(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hash_tables_are_filled_to_seven_eighths() {
        for (n, expected) in [(0, 4), (3, 4), (7, 16), (49152, 65536), (57344, 131072), (57343, 65536)] {
            assert_eq!(buckets(n), expected, "{n}");
        }
        assert_eq!(buckets(u64::MAX), 1 << 62);
    }
}
