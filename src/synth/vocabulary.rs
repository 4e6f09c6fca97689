//! A small valid SentencePiece vocabulary: unknown, begin and end of a sequence, the 256 bytes, and numbered words, so that any
//! text can be encoded and any id decoded.

use crate::error::Result;
use crate::gguf::GgufBuilder;

/// Tokens that every vocabulary has.
const SPECIAL: [&str; 3] = ["<unk>", "<s>", "</s>"];
const N_BYTES: usize = 256;

/// The fewest tokens of a vocabulary.
pub(super) const MIN_TOKENS: usize = SPECIAL.len() + N_BYTES;

/// `tokenizer.ggml.token_type`, see [`TokenKind`](crate::tokenizer::TokenKind).
const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

/// Sets the metadata of a vocabulary of `n_vocab` tokens.
pub(super) fn set(builder: &mut GgufBuilder, n_vocab: usize) -> Result<()> {
    let token = |id: usize| match id {
        0..3 => SPECIAL[id].to_string(),
        3..MIN_TOKENS => format!("<0x{:02X}>", id - SPECIAL.len()),
        _ => format!("\u{2581}w{id}"),
    };
    let kind = |id: usize| match id {
        0 => UNKNOWN,
        1 | 2 => CONTROL,
        3..MIN_TOKENS => BYTE,
        _ => NORMAL,
    };
    builder.set("tokenizer.ggml.model", "llama")?;
    builder.set("tokenizer.ggml.tokens", (0..n_vocab).map(token).collect::<Vec<_>>())?;
    builder.set("tokenizer.ggml.scores", (0..n_vocab).map(|id| -(id as f32)).collect::<Vec<_>>())?;
    builder.set("tokenizer.ggml.token_type", (0..n_vocab).map(kind).collect::<Vec<_>>())?;
    builder.set("tokenizer.ggml.unknown_token_id", 0u32)?;
    builder.set("tokenizer.ggml.bos_token_id", 1u32)?;
    builder.set("tokenizer.ggml.eos_token_id", 2u32)?;
    builder.set("tokenizer.ggml.add_bos_token", true)?;
    Ok(())
}
