//! Text to tokens and back, from the vocabulary in a model file.
//!
//! Two families are supported: byte-pair vocabularies (`tokenizer.ggml.model` = `gpt2`, and `gemma4`) and SentencePiece
//! vocabularies with scores (`llama`). A text is cut at special tokens first (`partition`), then split and merged by the
//! scheme (`bpe`, `spm`). The ids are those of llama.cpp, which most files were tested with.
//!
//! `clean_up_tokenization_spaces`, which in Python removes spaces before punctuation when decoding, is not applied: it loses text.

use std::borrow::Cow;

use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::Gguf;

mod bpe;
mod decode;
mod memory;
mod partition;
mod pre_tokenizer;
mod rules;
mod special;
mod split;
mod spm;
mod vocabulary;

pub use decode::{DecodeState, DecodeStream};
pub use memory::predicted_bytes;
pub use rules::SplittingRules;
pub use vocabulary::{NamedIds, TokenKind, TokenTexts, Vocabulary};

use decode::Spelling;
use partition::{Family, Fragment, Partition};
use special::SpecialTokens;
use split::SPACE_MARK;

/// The tokenizer of a model. Immutable; one serves any number of threads.
pub struct Tokenizer {
    texts: TokenTexts,
    kinds: Vec<TokenKind>,
    scheme: Scheme,
    spelling: Spelling,
    partition: Partition,
    special: SpecialTokens,
    add_bos: bool,
    add_eos: bool,
    add_space_prefix: bool,
    notes: Vec<String>,
}

enum Scheme {
    Bpe(Box<bpe::Bpe>),
    Spm(spm::Spm),
}

/// Bytes that a byte of text takes at most while it is encoded: as a symbol of its own with a pair in the queue, in a text
/// whose spaces are marks of three bytes.
const ENCODED_BYTES: usize = 128;

impl Tokenizer {
    /// Builds the tokenizer of a model file. Errors: metadata is missing, of the wrong type or contradictory; the tokenizer
    /// model or the pre-tokenizer is not supported.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        Self::from_vocabulary(Vocabulary::from_gguf(gguf)?)
    }

    /// Builds the tokenizer of a vocabulary. Errors as for [`Tokenizer::from_gguf`].
    pub fn from_vocabulary(mut vocabulary: Vocabulary) -> Result<Self> {
        vocabulary.check()?;
        let mut notes = Vec::new();
        let is_spm = match vocabulary.model.as_str() {
            "llama" => true,
            "gpt2" => false,
            "gemma4" => {
                vocabulary.pre = Some("gemma4".to_owned());
                false
            }
            other => bail!(
                Unsupported,
                "tokenizer.ggml.model: tokenizer `{other}` is not supported (gpt2, llama, gemma4 are)"
            ),
        };
        let Vocabulary { pre, tokens: texts, scores, mut kinds, merges, mut ids, .. } = vocabulary;
        let more = texts.len().saturating_sub(kinds.len());
        fallible::reserve(&mut kinds, more, "the types of tokens")?;
        kinds.resize(texts.len(), TokenKind::Normal);
        check_byte_tokens(&texts, &kinds)?;
        if is_spm {
            let default = |id: u32| Some(id).filter(|&id| (id as usize) < texts.len());
            ids.unk = ids.unk.or(default(0));
            ids.bos = ids.bos.or(default(1));
            ids.eos = ids.eos.or(default(2));
        }
        let special = SpecialTokens::resolve(&ids, &texts, &mut kinds, &mut notes);
        let (scheme, spelling, add_bos) = if is_spm {
            (Scheme::Spm(spm::Spm::new(scores, &texts, special.ids.unk)), Spelling::Plain, true)
        } else {
            if pre.as_ref().is_none_or(String::is_empty) {
                notes.push("tokenizer.ggml.pre is absent: text is split by the rules named `default`".to_owned());
            }
            let row = pre_tokenizer::by_name(pre.as_deref())?;
            let spelling = if row.byte_level { Spelling::ByteLevel } else { Spelling::Plain };
            (Scheme::Bpe(Box::new(bpe::Bpe::new(&texts, merges, row)?)), spelling, row.add_bos)
        };
        let family = Family::of(pre.as_deref().unwrap_or_default(), &vocabulary.architecture, &vocabulary.model_name);
        Ok(Tokenizer {
            partition: Partition::new(&texts, &kinds, family)?,
            add_bos: vocabulary.add_bos.unwrap_or(add_bos),
            add_eos: vocabulary.add_eos.unwrap_or(false),
            add_space_prefix: vocabulary.add_space_prefix.unwrap_or(is_spm) && is_spm,
            texts,
            kinds,
            scheme,
            spelling,
            special,
            notes,
        })
    }

    /// The tokens of `text`. With `add_special`, the tokens that the model wants around a sequence are added (BOS in front,
    /// EOS behind, where the file asks for them). With `parse_special`, the texts of control tokens become those tokens;
    /// without it they are ordinary text, which is right for anything a user writes. Errors: a text over 4 GiB; a character
    /// that a vocabulary without byte tokens and unknown token cannot express.
    pub fn encode(&self, text: &str, add_special: bool, parse_special: bool) -> Result<Vec<u32>> {
        fallible::expect_room(text.len().saturating_mul(ENCODED_BYTES), "the tokens of a text")?;
        let mut out = Vec::new();
        if add_special && self.add_bos {
            out.extend(self.bos());
        }
        let mut after_special = true;
        for fragment in self.partition.split(&self.texts, text, parse_special) {
            match fragment {
                Fragment::Token(id) => {
                    out.push(id);
                    after_special = true;
                }
                Fragment::Text(range) => {
                    self.encode_text(&text[range], after_special, &mut out)?;
                    after_special = false;
                }
            }
        }
        if add_special && self.add_eos {
            out.extend(self.eos());
        }
        Ok(out)
    }

    /// The tokens of a prompt that a chat template rendered: control tokens count, and a BOS token is put in front only if the
    /// template has not written it. Errors as for [`Tokenizer::encode`].
    pub fn encode_prompt(&self, prompt: &str) -> Result<Vec<u32>> {
        let mut ids = self.encode(prompt, false, true)?;
        if let Some(bos) = self.bos().filter(|bos| self.add_bos && ids.first() != Some(bos)) {
            ids.insert(0, bos);
        }
        Ok(ids)
    }

    fn encode_text(&self, text: &str, after_special: bool, out: &mut Vec<u32>) -> Result<()> {
        match &self.scheme {
            Scheme::Bpe(bpe) => bpe.encode(&self.texts, text, out),
            Scheme::Spm(spm) => {
                let prefix = if self.add_space_prefix && after_special { SPACE_MARK } else { "" };
                spm.encode(&self.texts, &(prefix.to_owned() + &text.replace(' ', SPACE_MARK)), out)?;
                Ok(())
            }
        }
    }

    /// The text of a whole sequence: control tokens are left out, and so is the space that encoding puts in front of a text.
    /// Bytes that form no character become U+FFFD. Error: an id outside the vocabulary.
    pub fn decode(&self, ids: &[u32]) -> Result<String> {
        self.decode_all(DecodeStream::new(self, false, true), ids)
    }

    /// The same with control tokens as the vocabulary writes them.
    pub fn decode_with_special(&self, ids: &[u32]) -> Result<String> {
        self.decode_all(DecodeStream::new(self, true, true), ids)
    }

    fn decode_all(&self, mut stream: DecodeStream<'_>, ids: &[u32]) -> Result<String> {
        let mut text = String::new();
        for &id in ids {
            text.extend(stream.push(id)?);
        }
        text.extend(stream.finish());
        Ok(text)
    }

    /// Decodes tokens as they are generated: a continuation, in which a leading space is text. Control tokens are left out.
    pub fn decode_stream(&self) -> DecodeStream<'_> {
        DecodeStream::new(self, false, false)
    }

    /// The same with control tokens as the vocabulary writes them.
    pub fn decode_stream_with_special(&self) -> DecodeStream<'_> {
        DecodeStream::new(self, true, false)
    }

    /// The bytes that a token stands for; for a control token its text. Nothing for an id outside the vocabulary.
    pub fn token_bytes(&self, id: u32) -> Option<Cow<'_, [u8]>> {
        Some(decode::piece(self.texts.text(id)?, self.kind(id)?, self.spelling))
    }

    /// A token as the vocabulary writes it. Nothing for an id outside the vocabulary.
    pub fn token_text(&self, id: u32) -> Option<&str> {
        self.texts.text(id)
    }

    /// The token that the vocabulary writes exactly so.
    pub fn token_id(&self, text: &str) -> Option<u32> {
        self.texts.id(text)
    }

    /// What a token is for. Nothing for an id outside the vocabulary.
    pub fn kind(&self, id: u32) -> Option<TokenKind> {
        self.kinds.get(id as usize).copied()
    }

    /// The number of tokens.
    pub fn n_vocab(&self) -> usize {
        self.texts.len()
    }

    /// The ids of all roles, each inside the vocabulary.
    pub fn special_ids(&self) -> &NamedIds {
        &self.special.ids
    }

    /// Beginning of a sequence.
    pub fn bos(&self) -> Option<u32> {
        self.special.ids.bos
    }

    /// End of a sequence.
    pub fn eos(&self) -> Option<u32> {
        self.special.ids.eos
    }

    /// End of a turn.
    pub fn eot(&self) -> Option<u32> {
        self.special.ids.eot
    }

    /// What the vocabulary cannot express.
    pub fn unk(&self) -> Option<u32> {
        self.special.ids.unk
    }

    /// Whether `encode(.., add_special = true, ..)` puts a BOS token in front.
    pub fn adds_bos(&self) -> bool {
        self.add_bos && self.bos().is_some()
    }

    /// Whether `encode(.., add_special = true, ..)` puts an EOS token behind.
    pub fn adds_eos(&self) -> bool {
        self.add_eos && self.eos().is_some()
    }

    /// Whether a generation ends with this token.
    pub fn is_end_of_generation(&self, id: u32) -> bool {
        self.special.end_of_generation.binary_search(&id).is_ok()
    }

    /// All tokens that end a generation, ascending.
    pub fn end_of_generation(&self) -> &[u32] {
        &self.special.end_of_generation
    }

    /// What the file leaves out or gets wrong and how it was taken, for a user who wants to know.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }
}

fn check_byte_tokens(texts: &TokenTexts, kinds: &[TokenKind]) -> Result<()> {
    for (id, (text, kind)) in texts.iter().zip(kinds).enumerate() {
        if *kind == TokenKind::Byte && decode::byte_of(text).is_none() {
            bail!(InvalidModel, "tokenizer.ggml.tokens: token {id} {text:?} has the type of a byte and is not <0xNN>");
        }
    }
    Ok(())
}
