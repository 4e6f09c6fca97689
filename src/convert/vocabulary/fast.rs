//! `tokenizer.json`: a byte-pair vocabulary, byte-level or that of a SentencePiece model.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::Value;

use super::pre_tokenizer::{Recognised, recognise};
use super::{ADDED_SCORE, Kind, PreTokenizer, Token, Vocabulary, gap, invalid};
use crate::error::{Result, bail};

/// The file's name.
pub(super) const FILE: &str = "tokenizer.json";

#[derive(Deserialize)]
struct Model {
    vocab: HashMap<String, u32>,
    #[serde(default)]
    merges: Vec<Merge>,
    #[serde(default)]
    unk_token: Option<String>,
    #[serde(default)]
    ignore_merges: Option<bool>,
    #[serde(default)]
    byte_fallback: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Merge {
    Line(String),
    Pair(String, String),
}

#[derive(Deserialize)]
struct Added {
    id: u32,
    content: String,
    #[serde(default)]
    special: bool,
}

/// Reads the vocabulary of a model of `n_vocab` embeddings.
pub(super) fn read(json: &Value, n_vocab: usize, pre: PreTokenizer<'_>) -> Result<Vocabulary> {
    let Some(model) = json.get("model") else { bail!(InvalidFile, "{FILE}: model is missing") };
    if let Some(kind) = model.get("type").filter(|kind| *kind != "BPE") {
        bail!(Unsupported, "{FILE}: a vocabulary of type {kind} is not supported, only \"BPE\"");
    }
    let model = Model::deserialize(model).map_err(|e| invalid(FILE, format!("model: {e}")))?;
    let added: Vec<Added> = match json.get("added_tokens") {
        Some(list) => Deserialize::deserialize(list).map_err(|e| invalid(FILE, format!("added_tokens: {e}")))?,
        None => Vec::new(),
    };
    let (normalizer, splitter) = (json.get("normalizer"), json.get("pre_tokenizer"));
    let byte_fallback = model.byte_fallback == Some(true);
    let recognised = recognise(normalizer, splitter, model.ignore_merges == Some(true), byte_fallback, pre)?;
    let mut notes = recognised.notes().to_vec();
    let mut tokens: Vec<Option<Token>> = vec![None; n_vocab];
    for (text, &id) in &model.vocab {
        let token = Token { text: text.clone(), score: 0.0, kind: Kind::Normal };
        let Some(place) = tokens.get_mut(id as usize) else {
            bail!(InvalidModel, "{FILE}: token {id} {text:?} is beyond the vocab_size of {n_vocab}");
        };
        if let Some(other) = place.replace(token) {
            bail!(InvalidModel, "{FILE}: tokens {:?} and {text:?} have the same id {id}", other.text);
        }
    }
    for Added { id, content, special } in &added {
        let (kind, text) = super::added(content, *special);
        match tokens.get_mut(*id as usize) {
            Some(place) => *place = Some(Token { text, score: ADDED_SCORE, kind }),
            None => {
                notes.push(format!("{FILE}: token {id} {content:?} is left out, beyond the vocabulary of {n_vocab}"))
            }
        }
    }
    let mut tokens: Vec<Token> =
        tokens.into_iter().enumerate().map(|(id, token)| token.unwrap_or_else(|| gap(id))).collect();
    let vocabulary =
        |model, pre, tokens, merges, space_prefix| Vocabulary { model, pre, tokens, merges, space_prefix, notes };
    match recognised {
        Recognised::Words { name, .. } => {
            if model.merges.is_empty() {
                bail!(InvalidModel, "{FILE}: model.merges is missing");
            }
            let merges = model.merges.iter().map(Merge::line).collect();
            Ok(vocabulary("gpt2", name, tokens, merges, None))
        }
        Recognised::Plain { space_prefix, name, .. } => {
            kinds_of_sentencepiece(&model, &mut tokens);
            Ok(vocabulary("llama", name, tokens, Vec::new(), Some(space_prefix)))
        }
    }
}

impl Merge {
    /// The two parts. A space inside of one is written as its stand-in, because the parts are told apart by a space.
    fn line(&self) -> String {
        match self {
            Merge::Line(line) => line.clone(),
            Merge::Pair(left, right) => format!("{} {}", left.replace(' ', "Ġ"), right.replace(' ', "Ġ")),
        }
    }

    fn joined(&self) -> String {
        match self {
            Merge::Line(line) => line.split_once(' ').map_or(line.clone(), |(left, right)| format!("{left}{right}")),
            Merge::Pair(left, right) => format!("{left}{right}"),
        }
    }
}

/// Kinds and scores as a SentencePiece model has them: what is merged earlier has the larger score.
fn kinds_of_sentencepiece(model: &Model, tokens: &mut [Token]) {
    for token in tokens.iter_mut().filter(|token| matches!(token.kind, Kind::Normal | Kind::Control)) {
        if model.unk_token.as_deref() == Some(&token.text) {
            token.kind = Kind::Unknown;
        } else if token.kind == Kind::Normal && is_byte(&token.text) {
            token.kind = Kind::Byte;
        }
    }
    let mut rank = 0.0;
    let mut ranked = vec![false; tokens.len()];
    for merge in &model.merges {
        let Some(&id) = model.vocab.get(&merge.joined()) else { continue };
        let id = id as usize;
        if tokens[id].kind == Kind::Normal && !std::mem::replace(&mut ranked[id], true) {
            tokens[id].score = -rank;
            rank += 1.0;
        }
    }
    // Single characters join nothing; they come last, as SentencePiece has them.
    for (token, _) in tokens.iter_mut().zip(ranked).filter(|(token, ranked)| token.kind == Kind::Normal && !ranked) {
        token.score = -rank;
        rank += 1.0;
    }
}

/// `<0x` two hexadecimal digits `>`.
fn is_byte(text: &str) -> bool {
    let digits = text.strip_prefix("<0x").and_then(|rest| rest.strip_suffix('>'));
    digits.is_some_and(|digits| digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}
