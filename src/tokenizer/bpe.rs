//! Byte-pair vocabularies (`tokenizer.ggml.model` = `gpt2`, `gemma4`): the text is cut into words, each word into characters, and
//! neighbours are merged in order of rank. The merging is that of the `tokenizers` crate.

use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};

use super::memory::map_bytes;
use super::pre_tokenizer::PreTokenizer;
use super::split::{SPACE_MARK, Splitter};
use super::vocabulary::TokenTexts;
use crate::error::{Error, ErrorKind, Result};
use crate::fallible;

/// The byte-pair scheme of one vocabulary.
pub(super) struct Bpe {
    model: BPE,
    splitter: Splitter,
    rules: &'static PreTokenizer,
}

impl Bpe {
    /// Merges that name a text outside the vocabulary can never apply and are left out.
    pub(super) fn new(
        texts: &TokenTexts,
        mut merges: Vec<(String, String)>,
        rules: &'static PreTokenizer,
    ) -> Result<Self> {
        let n_bytes = map_bytes(texts.len() as u64, texts.n_bytes() as u64, merges.len() as u64);
        fallible::expect_room(usize::try_from(n_bytes).unwrap_or(usize::MAX), "the merges of the vocabulary")?;
        let vocab: Vocab = texts.iter().filter_map(|text| Some((text.to_owned(), texts.id(text)?))).collect();
        let mut joined = String::new();
        merges.retain(|(left, right)| {
            joined.clear();
            joined.push_str(left);
            joined.push_str(right);
            vocab.contains_key(left) && vocab.contains_key(right) && vocab.contains_key(&joined)
        });
        let model = BPE::builder()
            .vocab_and_merges(vocab, merges)
            .ignore_merges(rules.ignore_merges)
            .byte_fallback(!rules.byte_level)
            // The crate's cache of words lives as long as the thread, not as the model.
            .cache_capacity(0)
            .build()
            .map_err(|e| Error::new(ErrorKind::InvalidModel, format!("tokenizer.ggml.merges: {e}")))?;
        Ok(Bpe { model, splitter: Splitter::new(rules.rules)?, rules })
    }

    /// Appends the tokens of `text`. A byte without a token is left out.
    pub(super) fn encode(&self, texts: &TokenTexts, text: &str, out: &mut Vec<u32>) -> Result<()> {
        let marked;
        let text = if self.rules.byte_level {
            text
        } else {
            marked = self.mark_spaces(text);
            &*marked
        };
        let mut word = String::new();
        let mut start = 0;
        for end in self.splitter.split(text) {
            let piece = &text[start..end];
            start = end;
            let is_newlines = || piece.bytes().all(|byte| byte == b'\n');
            if self.rules.newline_runs
                && is_newlines()
                && let Some(token) = texts.id(piece)
            {
                out.push(token);
            } else if self.rules.byte_level {
                word.clear();
                word.extend(piece.bytes().map(byte_to_char));
                self.merge(&word, out)?;
            } else {
                self.merge(piece, out)?;
            }
        }
        Ok(())
    }

    fn mark_spaces(&self, text: &str) -> String {
        let marked = text.replace(' ', SPACE_MARK);
        if !self.rules.rules.contains(&super::pre_tokenizer::Rule::Metaspace) {
            return marked;
        }
        // Each line starts a word.
        let mut lines = String::with_capacity(marked.len() + SPACE_MARK.len());
        for line in marked.split_inclusive('\n') {
            if !line.starts_with(SPACE_MARK) && !line.starts_with('\n') {
                lines.push_str(SPACE_MARK);
            }
            lines.push_str(line);
        }
        lines
    }

    fn merge(&self, word: &str, out: &mut Vec<u32>) -> Result<()> {
        let tokens = self.model.tokenize(word).map_err(|e| Error::new(ErrorKind::Internal, format!("merging: {e}")))?;
        out.extend(tokens.into_iter().map(|token| token.id));
        Ok(())
    }
}

/// The printable stand-in of a byte in byte-level vocabularies: bytes that print stand for themselves, the others follow
/// from U+0100 on (GPT-2's `bytes_to_unicode`).
pub(super) fn byte_to_char(byte: u8) -> char {
    const NON_PRINTING_FROM_7F: u32 = 0x21;
    let code = u32::from(byte);
    let stand_in = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x00..=0x20 => 0x100 + code,
        0x7f..=0xa0 => 0x100 + NON_PRINTING_FROM_7F + (code - 0x7f),
        0xad => 0x100 + NON_PRINTING_FROM_7F + 0x22,
    };
    char::from_u32(stand_in).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that a character stands for, if it is a stand-in.
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    let byte = match u32::from(c) {
        code @ (0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) => code,
        code @ 0x100..=0x120 => code - 0x100,
        code @ 0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_are_a_bijection() {
        let mut seen = std::collections::HashSet::new();
        for byte in 0..=255 {
            let c = byte_to_char(byte);
            assert!(!c.is_whitespace() && !c.is_control() && seen.insert(c), "{byte:#x} {c:?}");
            assert_eq!(char_to_byte(c), Some(byte));
        }
        assert_eq!((byte_to_char(b' '), byte_to_char(b'\n'), byte_to_char(0xad)), ('Ġ', 'Ċ', 'Ń'));
        assert_eq!((char_to_byte(' '), char_to_byte('▁'), char_to_byte('\u{144}')), (None, None, None));
    }
}
