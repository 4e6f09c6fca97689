//! The vocabulary as the file states it: texts, kinds, scores, merges and special ids, checked but not yet interpreted.

use std::hash::BuildHasher;

use hashbrown::HashTable;

use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::{Gguf, Metadata};

/// What a token is for (`tokenizer.ggml.token_type`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenKind {
    /// The file gives no meaning, or a number without one.
    Undefined,
    /// Ordinary text.
    #[default]
    Normal,
    /// Stands for what the vocabulary cannot express.
    Unknown,
    /// Structure, for example the end of a turn; never part of a text.
    Control,
    /// Text that is one token wherever it occurs, before any other splitting.
    UserDefined,
    /// Reserved.
    Unused,
    /// One byte, written `<0xNN>`.
    Byte,
}

impl TokenKind {
    fn from_id(id: i32) -> Self {
        match id {
            1 => TokenKind::Normal,
            2 => TokenKind::Unknown,
            3 => TokenKind::Control,
            4 => TokenKind::UserDefined,
            5 => TokenKind::Unused,
            6 => TokenKind::Byte,
            _ => TokenKind::Undefined,
        }
    }
}

/// Tokens between two looks at whether to go on.
const TOKENS_PER_LOOK: usize = 1024;

/// The texts of all tokens in one buffer, with an index from text to id. Of equal texts the lowest id is found; an empty
/// text is never found.
pub struct TokenTexts {
    bytes: String,
    /// `ends[id]` is the end of token `id` in `bytes`; it starts where the one before ends.
    ends: Vec<u32>,
    index: HashTable<u32>,
    /// Randomly keyed, so that no file can be built to make all its tokens collide.
    hasher: std::hash::RandomState,
    max_len: usize,
}

impl TokenTexts {
    /// Builds the table from the texts in order of id. At most 2^32 - 1 tokens and bytes of text in all.
    pub fn new<'a>(texts: impl ExactSizeIterator<Item = &'a str>) -> Result<Self> {
        TokenTexts::new_while(texts, &|| true)
    }

    /// The same, as long as `go_on` says so.
    fn new_while<'a>(texts: impl ExactSizeIterator<Item = &'a str>, go_on: &dyn Fn() -> bool) -> Result<Self> {
        let mut table = TokenTexts {
            bytes: String::new(),
            ends: fallible::with_capacity(texts.len(), "the texts of tokens")?,
            index: HashTable::new(),
            hasher: std::hash::RandomState::new(),
            max_len: 0,
        };
        // The table is empty, so nothing is hashed yet.
        if table.index.try_reserve(texts.len(), |_| 0).is_err() {
            return Err(fallible::out_of_memory(texts.len() * size_of::<u32>(), "the index of tokens"));
        }
        for (i, text) in texts.enumerate() {
            if i.is_multiple_of(TOKENS_PER_LOOK) && !go_on() {
                bail!(Cancelled, "reading the vocabulary was cancelled at token {i}");
            }
            table.push(text)?;
        }
        Ok(table)
    }

    fn push(&mut self, text: &str) -> Result<()> {
        let id = checked_id(self.ends.len())?;
        let end = checked_end(self.bytes.len(), text.len(), id)?;
        if self.bytes.try_reserve(text.len()).is_err() {
            return Err(fallible::out_of_memory(self.bytes.len() + text.len(), "the texts of tokens"));
        }
        self.bytes.push_str(text);
        self.ends.push(end);
        self.max_len = self.max_len.max(text.len());
        if text.is_empty() {
            return Ok(());
        }
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let other_text = |other: &u32| slice(bytes, ends, *other as usize).unwrap_or_default();
        self.index
            .entry(hasher.hash_one(text), |other| other_text(other) == text, |other| hasher.hash_one(other_text(other)))
            .or_insert(id);
        Ok(())
    }

    /// The number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all texts together.
    pub(super) fn n_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Whether there is no token.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The text of a token as the vocabulary writes it, or nothing for an id outside it.
    pub fn text(&self, id: u32) -> Option<&str> {
        slice(&self.bytes, &self.ends, id as usize)
    }

    /// The token with exactly this text.
    pub fn id(&self, text: &str) -> Option<u32> {
        if text.len() > self.max_len {
            return None;
        }
        let hash = self.hasher.hash_one(text);
        self.index.find(hash, |&id| self.text(id) == Some(text)).copied()
    }

    /// All texts in order of id.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len()).map_while(|id| slice(&self.bytes, &self.ends, id))
    }
}

fn slice<'a>(bytes: &'a str, ends: &[u32], id: usize) -> Option<&'a str> {
    let end = *ends.get(id)? as usize;
    let start = match id {
        0 => 0,
        _ => *ends.get(id - 1)? as usize,
    };
    bytes.get(start..end)
}

fn checked_id(n_tokens: usize) -> Result<u32> {
    match u32::try_from(n_tokens) {
        Ok(id) if id < u32::MAX => Ok(id),
        _ => bail!(InvalidModel, "tokenizer.ggml.tokens has more than {} entries", u32::MAX - 1),
    }
}

fn checked_end(n_bytes: usize, len_bytes: usize, id: u32) -> Result<u32> {
    match n_bytes.checked_add(len_bytes).map(u32::try_from) {
        Some(Ok(end)) => Ok(end),
        _ => bail!(InvalidModel, "tokenizer.ggml.tokens: token {id} of {len_bytes} bytes takes the texts past 4 GiB"),
    }
}

/// The ids that the metadata names (`tokenizer.ggml.*_token_id`), not yet checked against the vocabulary's size.
#[derive(Clone, Debug, Default)]
pub struct NamedIds {
    /// Beginning of a sequence.
    pub bos: Option<u32>,
    /// End of a sequence.
    pub eos: Option<u32>,
    /// End of a turn.
    pub eot: Option<u32>,
    /// End of a message that expects a tool's answer.
    pub eom: Option<u32>,
    /// What the vocabulary cannot express.
    pub unk: Option<u32>,
    /// Separator.
    pub sep: Option<u32>,
    /// Padding.
    pub pad: Option<u32>,
    /// Mask.
    pub mask: Option<u32>,
    /// Fill in the middle: before the text in front of the gap.
    pub fim_pre: Option<u32>,
    /// Fill in the middle: before the text after the gap.
    pub fim_suf: Option<u32>,
    /// Fill in the middle: before what is to be generated.
    pub fim_mid: Option<u32>,
    /// Fill in the middle: padding.
    pub fim_pad: Option<u32>,
    /// Fill in the middle: name of the repository.
    pub fim_rep: Option<u32>,
    /// Fill in the middle: file separator.
    pub fim_sep: Option<u32>,
}

/// The vocabulary of a model file.
#[derive(Default)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: the scheme, for example `gpt2` or `llama`.
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the splitting rules.
    pub pre: Option<String>,
    /// `general.name`; attributes of tokens that GGUF does not carry depend on it.
    pub model_name: String,
    /// `general.architecture`, for the same reason.
    pub architecture: String,
    /// `tokenizer.ggml.tokens`.
    pub tokens: TokenTexts,
    /// `tokenizer.ggml.scores`: one per token, or none.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: one per token, or none.
    pub kinds: Vec<TokenKind>,
    /// `tokenizer.ggml.merges`: the left and the right part in order of rank. Entries that are not two parts are left out.
    pub merges: Vec<(String, String)>,
    /// `tokenizer.ggml.*_token_id`.
    pub ids: NamedIds,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
}

impl Default for TokenTexts {
    fn default() -> Self {
        TokenTexts {
            bytes: String::new(),
            ends: Vec::new(),
            index: HashTable::new(),
            hasher: std::hash::RandomState::new(),
            max_len: 0,
        }
    }
}

impl Vocabulary {
    /// Reads the metadata of a model file. Errors: a required key is absent, a key has the wrong type, or arrays that
    /// belong together differ in length.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Vocabulary::from_gguf_while(gguf, &|| true)
    }

    /// The same, as long as `go_on`, which is asked now and then, says so; the error is `Cancelled` otherwise.
    pub(crate) fn from_gguf_while(gguf: &Gguf, go_on: &dyn Fn() -> bool) -> Result<Self> {
        let meta = gguf.metadata();
        let model = meta.str("tokenizer.ggml.model")?.to_owned();
        let tokens = TokenTexts::new_while(meta.strings("tokenizer.ggml.tokens")?.into_iter(), go_on)?;
        let kinds = meta.opt_i32s("tokenizer.ggml.token_type")?.unwrap_or_default();
        let lines = meta.opt_strings("tokenizer.ggml.merges")?.unwrap_or_default();
        let mut merges = fallible::with_capacity(lines.len(), "the merges")?;
        merges.extend(lines.into_iter().filter_map(split_merge));
        let vocabulary = Vocabulary {
            model,
            pre: meta.opt_str("tokenizer.ggml.pre")?.map(str::to_owned),
            model_name: meta.opt_str("general.name")?.unwrap_or_default().to_owned(),
            architecture: meta.opt_str("general.architecture")?.unwrap_or_default().to_owned(),
            tokens,
            scores: meta.opt_f32s("tokenizer.ggml.scores")?.unwrap_or_default(),
            kinds: fallible::collect(kinds.into_iter().map(TokenKind::from_id), "the types of tokens")?,
            merges,
            ids: NamedIds::from_metadata(meta)?,
            add_bos: meta.opt_bool("tokenizer.ggml.add_bos_token")?,
            add_eos: meta.opt_bool("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: meta.opt_bool("tokenizer.ggml.add_space_prefix")?,
        };
        vocabulary.check()?;
        Ok(vocabulary)
    }

    /// The lengths of arrays that belong together.
    pub(super) fn check(&self) -> Result<()> {
        let n_tokens = self.tokens.len();
        if n_tokens == 0 {
            bail!(InvalidModel, "tokenizer.ggml.tokens is empty");
        }
        for (key, len) in [("scores", self.scores.len()), ("token_type", self.kinds.len())] {
            if len != 0 && len != n_tokens {
                bail!(InvalidModel, "tokenizer.ggml.{key} has {len} entries for {n_tokens} tokens");
            }
        }
        Ok(())
    }
}

/// `left right`; the left part may itself begin with a space.
fn split_merge(merge: &str) -> Option<(String, String)> {
    let first = merge.chars().next()?.len_utf8();
    let space = first + merge[first..].find(' ')?;
    Some((merge[..space].to_owned(), merge[space + 1..].to_owned()))
}

impl NamedIds {
    fn from_metadata(meta: &Metadata) -> Result<Self> {
        let id = |name: &str| meta.opt_u32(&format!("tokenizer.ggml.{name}_token_id"));
        // The second name of the fill-in-the-middle keys is an older spelling.
        let either = |name: &str, older: &str| Ok::<_, crate::Error>(id(name)?.or(id(older)?));
        Ok(NamedIds {
            bos: id("bos")?,
            eos: id("eos")?,
            eot: id("eot")?,
            eom: id("eom")?,
            unk: id("unknown")?,
            sep: id("seperator")?,
            pad: id("padding")?,
            mask: id("mask")?,
            fim_pre: either("fim_pre", "prefix")?,
            fim_suf: either("fim_suf", "suffix")?,
            fim_mid: either("fim_mid", "middle")?,
            fim_pad: id("fim_pad")?,
            fim_rep: id("fim_rep")?,
            fim_sep: id("fim_sep")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CVE-2025-49847: a token's length must not be narrowed. A text of 2^31 bytes cannot be had in a test, its arithmetic can.
    #[test]
    fn token_lengths_past_the_limit_are_errors() {
        assert_eq!(checked_end(10, 5, 0).unwrap(), 15);
        assert_eq!(checked_end(0, 1 << 31, 0).unwrap(), 1 << 31);
        let past = checked_end(u32::MAX as usize, 1, 7).unwrap_err();
        assert!(past.to_string().contains("token 7"), "{past}");
        assert!(checked_end(usize::MAX, 2, 0).is_err());
        assert!(checked_id(u32::MAX as usize).is_err());
    }

    #[test]
    fn of_equal_texts_the_lowest_id_is_found_and_empty_texts_never() {
        let table = TokenTexts::new(["a", "", "b", "a", "", "ab"].into_iter()).unwrap();
        assert_eq!(table.len(), 6);
        assert_eq!((table.id("a"), table.id(""), table.id("ab"), table.id("abc")), (Some(0), None, Some(5), None));
        assert_eq!((table.text(1), table.text(3), table.text(6)), (Some(""), Some("a"), None));
        assert_eq!(table.iter().collect::<Vec<_>>(), ["a", "", "b", "a", "", "ab"]);
    }
}
