//! `tokenizer.model`: a SentencePiece model, of which pieces and normalisation count (`sentencepiece_model.proto`).

use prost::Message;
use serde_json::Value;

use super::{ADDED_SCORE, Kind, PreTokenizer, Token, Vocabulary, added, gap, invalid};
use crate::convert::checkpoint::Checkpoint;
use crate::error::{Result, bail};

/// The file's name.
pub(super) const FILE: &str = "tokenizer.model";
const ADDED: &str = "added_tokens.json";
const CONFIG: &str = "tokenizer_config.json";

#[derive(Message)]
struct Model {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<Trainer>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<Normalizer>,
}

#[derive(Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    text: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3", default = "1")]
    kind: Option<i32>,
}

#[derive(Message)]
struct Trainer {
    /// How the model splits: 1 by the likeliest pieces, 2 by merging.
    #[prost(int32, optional, tag = "3", default = "1")]
    model_type: Option<i32>,
}

#[derive(Message)]
struct Normalizer {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3", default = "true")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4", default = "true")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5", default = "true")]
    escape_whitespaces: Option<bool>,
}

/// `model_type` of a model that merges.
const MERGES: i32 = 2;

/// Reads the file and what others add to it.
pub(super) fn read(bytes: &[u8], checkpoint: &Checkpoint, n_vocab: usize, pre: PreTokenizer<'_>) -> Result<Vocabulary> {
    let model = Model::decode(bytes).map_err(|e| invalid(FILE, e))?;
    if pre.is_none() {
        check(&model)?;
    }
    if model.pieces.is_empty() {
        bail!(InvalidModel, "{FILE} has no pieces");
    }
    if model.pieces.len() > n_vocab {
        bail!(InvalidModel, "{FILE} has {} pieces for a vocab_size of {n_vocab}", model.pieces.len());
    }
    let mut tokens = Vec::with_capacity(n_vocab);
    for (id, piece) in model.pieces.iter().enumerate() {
        let kind = match piece.kind() {
            1 => Kind::Normal,
            2 => Kind::Unknown,
            3 => Kind::Control,
            4 => Kind::UserDefined,
            5 => Kind::Unused,
            6 => Kind::Byte,
            other => bail!(InvalidModel, "{FILE}: piece {id} has the unknown type {other}"),
        };
        tokens.push(Token { text: piece.text().to_owned(), score: piece.score(), kind });
    }
    tokens.extend((tokens.len()..n_vocab).map(gap));
    let mut list = List { tokens, notes: Vec::new() };
    if let Some(Value::Object(map)) = checkpoint.json(ADDED)? {
        for (text, id) in map {
            list.replace(ADDED, id.as_u64(), Kind::UserDefined, text)?;
        }
    }
    let config = checkpoint.json(CONFIG)?;
    let decoder = config.as_ref().and_then(|config| config.get("added_tokens_decoder")).and_then(Value::as_object);
    for (id, token) in decoder.into_iter().flatten() {
        let Some(content) = token.get("content").and_then(Value::as_str) else {
            bail!(InvalidModel, "{CONFIG}: added_tokens_decoder.{id} has no content");
        };
        let (kind, text) = added(content, token.get("special") == Some(&Value::Bool(true)));
        list.replace(CONFIG, id.parse().ok(), kind, text)?;
    }
    let said = config.as_ref().and_then(|config| config.get("add_prefix_space")).and_then(Value::as_bool);
    let own = model.normalizer.as_ref().map(Normalizer::add_dummy_prefix);
    let List { tokens, notes } = list;
    let pre = pre.unwrap_or("default").to_owned();
    Ok(Vocabulary { model: "llama", pre, tokens, merges: Vec::new(), space_prefix: said.or(own), notes })
}

/// The runtime joins pieces by score, and leaves texts as they are but for spaces.
fn check(model: &Model) -> Result<()> {
    const OVERRIDE: &str = "`--pre-tokenizer default` converts it all the same";
    if let Some(kind) = model.trainer.as_ref().map(Trainer::model_type).filter(|&kind| kind != MERGES) {
        bail!(
            Unsupported,
            "{FILE} is a SentencePiece model of type {kind}; only type {MERGES} (BPE) can be computed ({OVERRIDE})"
        );
    }
    let Some(normalizer) = &model.normalizer else { return Ok(()) };
    if !normalizer.charsmap().is_empty() || normalizer.remove_extra_whitespaces() || !normalizer.escape_whitespaces() {
        bail!(
            Unsupported,
            "{FILE} normalises texts ({}, remove_extra_whitespaces {}, escape_whitespaces {}), which is not computed; \
             {OVERRIDE}",
            normalizer.name(),
            normalizer.remove_extra_whitespaces(),
            normalizer.escape_whitespaces()
        );
    }
    Ok(())
}

struct List {
    tokens: Vec<Token>,
    notes: Vec<String>,
}

impl List {
    /// A file gives an id to a text.
    fn replace(&mut self, file: &str, id: Option<u64>, kind: Kind, text: String) -> Result<()> {
        let Some(id) = id else { bail!(InvalidModel, "{file}: the id of {text:?} is not a number") };
        let n_tokens = self.tokens.len();
        let place = usize::try_from(id).ok().and_then(|id| self.tokens.get_mut(id));
        let Some(token) = place else {
            self.notes.push(format!("{file}: token {id} {text:?} is left out, beyond the vocabulary of {n_tokens}"));
            return Ok(());
        };
        if token.kind != Kind::Unused && token.text != text {
            self.notes.push(format!("{file}: token {id} is {text:?} in place of {:?}", token.text));
        }
        *token = Token { text, score: ADDED_SCORE, kind };
        Ok(())
    }
}
