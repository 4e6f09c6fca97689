//! Whether two models speak of the same tokens.

use crate::error::{Result, bail};
use crate::model::Model;
use crate::tokenizer::Tokenizer;
use twox_hash::XxHash3_128;

/// Whether the tokens of two models are the same, one by one, so that their logits can be compared.
///
/// # Errors
/// `InvalidArgument` saying where they differ: in number, or the first token that does.
pub fn same_vocabulary(a: &Model, b: &Model) -> Result<()> {
    let (n_a, n_b) = (a.hparams().n_vocab, b.hparams().n_vocab);
    if n_a != n_b {
        bail!(InvalidArgument, "the vocabularies differ: {n_a} tokens and {n_b}");
    }
    let (a, b) = (a.tokenizer(), b.tokenizer());
    for id in 0..n_a as u32 {
        if a.token_text(id) != b.token_text(id) {
            let text = |text: Option<&str>| text.map_or("nothing".to_string(), |text| format!("{text:?}"));
            let (a, b) = (text(a.token_text(id)), text(b.token_text(id)));
            bail!(InvalidArgument, "the vocabularies differ: token {id} is {a} in one, {b} in the other");
        }
    }
    if bos(a) != bos(b) {
        bail!(InvalidArgument, "the models begin a text differently: {:?} and {:?}", bos(a), bos(b));
    }
    Ok(())
}

/// The BOS that a text begins with, if the model wants one.
fn bos(tokenizer: &Tokenizer) -> Option<u32> {
    tokenizer.bos().filter(|_| tokenizer.adds_bos())
}

/// What tells a vocabulary from others: an XXH3 hash of 128 bits over the number of tokens, the text of each, and the BOS that a text
/// begins with.
pub fn vocabulary_hash(model: &Model) -> u128 {
    let (n_vocab, tokenizer) = (model.hparams().n_vocab, model.tokenizer());
    let mut hash = XxHash3_128::new();
    hash.write(&(n_vocab as u64).to_le_bytes());
    for id in 0..n_vocab as u32 {
        let text = tokenizer.token_text(id).unwrap_or("");
        hash.write(&(text.len() as u64).to_le_bytes());
        hash.write(text.as_bytes());
    }
    hash.write(&bos(tokenizer).map_or(u64::MAX, u64::from).to_le_bytes());
    hash.finish_128()
}
