//! Whether two models speak of the same tokens.

use crate::error::{Result, bail};
use crate::model::Model;

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
    let bos = |tokenizer: &crate::tokenizer::Tokenizer| tokenizer.bos().filter(|_| tokenizer.adds_bos());
    if bos(a) != bos(b) {
        bail!(InvalidArgument, "the models begin a text differently: {:?} and {:?}", bos(a), bos(b));
    }
    Ok(())
}
