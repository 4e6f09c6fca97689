//! From tokens back to text: the bytes of a token, and a stream that never splits a character.

use std::borrow::Cow;

use super::Tokenizer;
use super::bpe::char_to_byte;
use super::split::SPACE_MARK;
use super::vocabulary::TokenKind;
use crate::error::{Result, bail};

/// How the vocabulary writes ordinary text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Spelling {
    /// Stand-ins for bytes.
    ByteLevel,
    /// Plain text with `▁` for the space.
    Plain,
}

/// The bytes that a token adds to a text.
pub(super) fn piece(text: &str, kind: TokenKind, spelling: Spelling) -> Cow<'_, [u8]> {
    match (kind, spelling) {
        (TokenKind::Control | TokenKind::Unknown | TokenKind::UserDefined, _) => Cow::Borrowed(text.as_bytes()),
        (TokenKind::Byte, _) => match byte_of(text) {
            Some(byte) => Cow::Owned(vec![byte]),
            None => Cow::Borrowed(&[]),
        },
        (TokenKind::Undefined | TokenKind::Unused, _) => Cow::Borrowed(&[]),
        (TokenKind::Normal, Spelling::Plain) if text.contains(SPACE_MARK) => {
            Cow::Owned(text.replace(SPACE_MARK, " ").into_bytes())
        }
        (TokenKind::Normal, Spelling::Plain) => Cow::Borrowed(text.as_bytes()),
        (TokenKind::Normal, Spelling::ByteLevel) => {
            let mut bytes = Vec::with_capacity(text.len());
            for c in text.chars() {
                match char_to_byte(c) {
                    Some(byte) => bytes.push(byte),
                    // Not a stand-in: some files hold added tokens in plain text.
                    None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
                }
            }
            Cow::Owned(bytes)
        }
    }
}

/// The byte of `<0xNN>`, exactly two hexadecimal digits.
pub(super) fn byte_of(text: &str) -> Option<u8> {
    let digits = text.strip_prefix("<0x")?.strip_suffix('>')?;
    let is_hex = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    if is_hex { u8::from_str_radix(digits, 16).ok() } else { None }
}

/// Turns tokens into text as they come. A character whose bytes are spread over several tokens appears once it is whole; bytes
/// that cannot become a character appear as U+FFFD, one for each maximal part of a valid sequence (the practice that the
/// Unicode standard recommends, and that of `String::from_utf8_lossy`).
pub struct DecodeStream<'a> {
    tokenizer: &'a Tokenizer,
    state: DecodeState,
}

impl<'a> DecodeStream<'a> {
    pub(super) fn new(tokenizer: &'a Tokenizer, with_special: bool, at_start: bool) -> Self {
        DecodeStream { tokenizer, state: DecodeState { at_start, ..DecodeState::new(with_special) } }
    }

    /// Adds a token and returns the text that is now certain, if there is any. Error: `id` is outside the vocabulary.
    pub fn push(&mut self, id: u32) -> Result<Option<String>> {
        self.state.push(self.tokenizer, id)
    }

    /// Ends the stream: an unfinished character becomes U+FFFD.
    pub fn finish(mut self) -> Option<String> {
        self.state.finish()
    }
}

/// What a [`DecodeStream`] holds between tokens, for owners that keep the tokenizer elsewhere.
#[derive(Clone, Debug, Default)]
pub struct DecodeState {
    /// Bytes of an unfinished character: at most 3.
    pending: Vec<u8>,
    with_special: bool,
    /// The next text token starts the text, so that the space which encoding put in front of it is taken off.
    at_start: bool,
}

impl DecodeState {
    /// The state of a continuation; `with_special` shows control tokens as the vocabulary writes them.
    pub fn new(with_special: bool) -> Self {
        DecodeState { with_special, ..DecodeState::default() }
    }

    /// [`DecodeStream::push`] with the tokenizer, which must be the same every time.
    pub fn push(&mut self, tokenizer: &Tokenizer, id: u32) -> Result<Option<String>> {
        let Some(kind) = tokenizer.kind(id) else {
            bail!(InvalidArgument, "token {id} is outside the vocabulary of {} tokens", tokenizer.n_vocab());
        };
        if !self.with_special && matches!(kind, TokenKind::Control | TokenKind::Unknown) {
            return Ok(None);
        }
        let piece = tokenizer.token_bytes(id).unwrap_or_default();
        let piece = match (&*piece, std::mem::take(&mut self.at_start) && tokenizer.add_space_prefix) {
            ([b' ', rest @ ..], true) => rest,
            (piece, _) => piece,
        };
        self.pending.extend_from_slice(piece);
        let unfinished = unfinished_tail(&self.pending);
        let whole = self.pending.len() - unfinished;
        let text = String::from_utf8_lossy(&self.pending[..whole]).into_owned();
        self.pending.drain(..whole);
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// Ends the text: an unfinished character becomes U+FFFD. What follows is a continuation.
    pub fn finish(&mut self) -> Option<String> {
        let rest = std::mem::take(&mut self.pending);
        Some(String::from_utf8_lossy(&rest).into_owned()).filter(|text| !text.is_empty())
    }
}

/// The number of bytes at the end that could still become a character.
fn unfinished_tail(bytes: &[u8]) -> usize {
    let tail = bytes.len().saturating_sub(3)..bytes.len();
    // The last lead byte within reach decides; what follows it must be a valid beginning.
    for start in tail.rev() {
        if (0x80..0xc0).contains(&bytes[start]) {
            continue;
        }
        return match std::str::from_utf8(&bytes[start..]) {
            Err(e) if e.valid_up_to() == 0 && e.error_len().is_none() => bytes.len() - start,
            _ => 0,
        };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Issues 25969 and 26511 of llama.cpp: a byte token whose digits are none.
    #[test]
    fn byte_tokens_have_two_hexadecimal_digits() {
        assert_eq!(byte_of("<0x0A>"), Some(10));
        assert_eq!(byte_of("<0xff>"), Some(255));
        for wrong in ["<0x-1>", "<0xGG>", "<0x>", "<0x1>", "<0x+1>", "<0x001>", "0x01", "<0x 1>", "", "<0xé>"] {
            assert_eq!(byte_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn unfinished_characters_are_the_valid_beginnings() {
        let tail = |bytes: &[u8]| unfinished_tail(bytes);
        assert_eq!(tail("é".as_bytes()), 0);
        assert_eq!(tail(b"a\xf0\x9f\x98"), 3);
        assert_eq!(tail(b"a\xe2\x96"), 2);
        assert_eq!(tail(b"\xc3"), 1);
        assert_eq!(tail(b"\xe0\x80"), 0); // an overlong beginning is already wrong
        assert_eq!(tail(b"\xed\xa0"), 0); // so is a surrogate
        assert_eq!(tail(b"\xc0"), 0);
        assert_eq!(tail(b"\x80\x80\x80\x80"), 0);
        assert_eq!(tail(b""), 0);
    }

    #[test]
    fn pieces_by_kind_and_spelling() {
        let bytes = |text, kind, spelling| piece(text, kind, spelling).into_owned();
        assert_eq!(bytes("Ġé", TokenKind::Normal, Spelling::ByteLevel), b" \xe9");
        assert_eq!(bytes("\u{2581}a b", TokenKind::Normal, Spelling::ByteLevel), "\u{2581}a b".as_bytes());
        assert_eq!(bytes("\u{2581}a", TokenKind::Normal, Spelling::Plain), b" a");
        assert_eq!(bytes("\u{2581}a", TokenKind::UserDefined, Spelling::Plain), "\u{2581}a".as_bytes());
        assert_eq!(bytes("<0xE9>", TokenKind::Byte, Spelling::Plain), b"\xe9");
        assert_eq!(bytes("x", TokenKind::Unused, Spelling::Plain), b"");
    }
}
