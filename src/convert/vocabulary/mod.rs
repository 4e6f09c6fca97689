//! The vocabulary: from `tokenizer.model` or `tokenizer.json` to `tokenizer.ggml.*`.
//!
//! | file | does |
//! |---|---|
//! | `sentencepiece.rs` | `tokenizer.model`, with the tokens that other files add |
//! | `fast.rs` | `tokenizer.json`: byte-level vocabularies, and those of SentencePiece written so |
//! | `pre_tokenizer.rs` | which splitting rules `tokenizer.json` follows, by what it does with a text |
//! | `special.rs` | roles of tokens, what is put around a text, chat templates |

mod fast;
mod pre_tokenizer;
mod sentencepiece;
mod special;

use super::checkpoint::Checkpoint;
use super::json::Config;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::{Gguf, GgufBuilder};
use crate::tokenizer::{SplittingRules, Tokenizer};

/// `tokenizer.ggml.token_type`, see [`TokenKind`](crate::tokenizer::TokenKind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Normal = 1,
    Unknown = 2,
    Control = 3,
    UserDefined = 4,
    Unused = 5,
    Byte = 6,
}

/// A vocabulary in order of id.
pub(super) struct Vocabulary {
    /// `tokenizer.ggml.model` and `.pre`.
    model: &'static str,
    pre: String,
    tokens: Vec<Token>,
    /// `left right` in order of rank; none for vocabularies with scores.
    merges: Vec<String>,
    /// Whether a space is put in front of a text, where that is the vocabulary's to say.
    space_prefix: Option<bool>,
    notes: Vec<String>,
}

#[derive(Clone, Debug, PartialEq)]
struct Token {
    text: String,
    /// Larger joins first; of vocabularies without merges.
    score: f32,
    kind: Kind,
}

/// What a user said that overrides recognition.
pub(super) type PreTokenizer<'a> = Option<&'a str>;

/// Score of a token that joins nothing: one that a file added, and one that stands in a gap.
const ADDED_SCORE: f32 = -1000.0;
const GAP_SCORE: f32 = -10_000.0;

/// Sets the vocabulary of a model of `n_vocab` embeddings; what was remarkable.
///
/// # Errors
/// `MissingKey` if there is none; `Unsupported` for a kind or splitting rules that are not known; `InvalidModel` for
/// contradictions; `InvalidArgument` for an override that is not known.
pub(super) fn set(
    builder: &mut GgufBuilder,
    checkpoint: &Checkpoint,
    config: &Config,
    n_vocab: usize,
    pre_tokenizer: PreTokenizer<'_>,
) -> Result<Vec<String>> {
    if let Some(name) = pre_tokenizer
        && SplittingRules::find(name).is_none()
    {
        let known: Vec<_> = SplittingRules::all().flat_map(|rules| rules.names()).copied().collect();
        bail!(InvalidArgument, "pre-tokenizer {name:?} is not known; there are {}", known.join(", "));
    }
    let fast = checkpoint.json(fast::FILE)?;
    let mut vocabulary = match (checkpoint.file(sentencepiece::FILE)?, &fast) {
        (Some(bytes), _) => sentencepiece::read(&bytes, checkpoint, n_vocab, pre_tokenizer)?,
        (None, Some(json)) => fast::read(json, n_vocab, pre_tokenizer)?,
        (None, None) => {
            bail!(MissingKey, "{} has neither {} nor {}", checkpoint.folder.display(), sentencepiece::FILE, fast::FILE)
        }
    };
    let special = special::Special::read(checkpoint, config, fast.as_ref(), &vocabulary)?;
    vocabulary.write(builder)?;
    special.write(builder, vocabulary.space_prefix)?;
    vocabulary.notes.extend(special.notes);
    check(builder, n_vocab).map_err(|e| e.within("the converted vocabulary"))?;
    Ok(vocabulary.notes)
}

/// The runtime must take what was made.
fn check(builder: &GgufBuilder, n_vocab: usize) -> Result<()> {
    let bytes = builder.clone().write_to(Vec::new())?.finish()?;
    let tokenizer = Tokenizer::from_gguf(&Gguf::from_bytes(bytes)?)?;
    if tokenizer.n_vocab() != n_vocab {
        let text = format!("{} tokens for {n_vocab} embeddings", tokenizer.n_vocab());
        return Err(Error::new(ErrorKind::InvalidModel, text));
    }
    Ok(())
}

impl Vocabulary {
    fn write(&self, builder: &mut GgufBuilder) -> Result<()> {
        let key = |name: &str| format!("tokenizer.ggml.{name}");
        builder.set(&key("model"), self.model)?;
        builder.set(&key("pre"), &self.pre)?;
        builder.set(&key("tokens"), self.tokens.iter().map(|token| token.text.as_str()).collect::<Vec<_>>())?;
        if self.merges.is_empty() {
            builder.set(&key("scores"), self.tokens.iter().map(|token| token.score).collect::<Vec<_>>())?;
        }
        builder.set(&key("token_type"), self.tokens.iter().map(|token| token.kind as i32).collect::<Vec<_>>())?;
        if !self.merges.is_empty() {
            builder.set(&key("merges"), &self.merges)?;
        }
        Ok(())
    }

    /// The token with a text.
    fn id(&self, text: &str) -> Option<usize> {
        self.tokens.iter().position(|token| token.text == text)
    }
}

/// Whether a token that a file adds without calling it special is one all the same, by its looks: several models add control tokens so.
fn looks_special(text: &str) -> bool {
    const NAMES: [&str; 4] = ["<pad>", "<mask>", "<2mass>", "[@BOS@]"];
    let framed = |start: &str, end: &str| text.starts_with(start) && text.ends_with(end);
    NAMES.contains(&text) || framed("<|", "|>") || framed("<｜", "｜>") || framed("<unused", ">")
}

/// Kind and text of an added token: text of the user's is matched as it is written, with spaces and no marks.
fn added(content: &str, special: bool) -> (Kind, String) {
    match special || looks_special(content) {
        true => (Kind::Control, content.to_owned()),
        false => (Kind::UserDefined, content.replace('\u{2581}', " ")),
    }
}

/// The token of an id that no file names.
fn gap(id: usize) -> Token {
    Token { text: format!("[PAD{id}]"), score: GAP_SCORE, kind: Kind::Unused }
}

fn invalid(file: &str, error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidFile, format!("{file}: {error}"))
}
