//! What needs both a sampler and a tokenizer: sequence breakers from texts, and a ban on the tokens that end a text.

use crate::error::{Result, bail};
use crate::sampler::SamplerOptions;
use crate::tokenizer::Tokenizer;

/// llama.cpp's texts that no DRY repetition reaches over.
pub const DEFAULT_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The token sequences that contain one of `texts`, for [`SamplerOptions::dry_sequence_breakers`]: every token whose text
/// contains it; and every token that ends with a beginning of it, followed by the tokens of the rest.
///
/// Errors: an empty text, or one that the vocabulary cannot express.
pub fn sequence_breakers(tokenizer: &Tokenizer, texts: &[impl AsRef<str>]) -> Result<Vec<Vec<u32>>> {
    let mut breakers = Vec::new();
    for text in texts.iter().map(AsRef::as_ref) {
        if text.is_empty() {
            bail!(InvalidArgument, "dry_sequence_breakers: a breaker is empty");
        }
        let rests = rests(tokenizer, text)?;
        for id in 0..tokenizer.n_vocab() as u32 {
            let Some(bytes) = tokenizer.token_bytes(id) else { continue };
            if contains(&bytes, text.as_bytes()) {
                breakers.push(vec![id]);
                continue;
            }
            let begun = rests.iter().filter(|(at, _)| bytes.ends_with(&text.as_bytes()[..*at]));
            breakers.extend(begun.map(|(_, rest)| [&[id], rest.as_slice()].concat()));
        }
    }
    breakers.sort_unstable();
    breakers.dedup();
    Ok(breakers)
}

/// For every proper beginning of the text: its length in bytes and the tokens of what follows.
fn rests(tokenizer: &Tokenizer, text: &str) -> Result<Vec<(usize, Vec<u32>)>> {
    let cuts = text.char_indices().skip(1).map(|(at, _)| at);
    let rest = |at: usize| Ok((at, tokenizer.encode(&text[at..], false, false)?));
    cuts.map(rest).filter(|r: &Result<(usize, Vec<u32>)>| !r.as_ref().is_ok_and(|(_, ids)| ids.is_empty())).collect()
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// Excludes every token that ends a generation, so that the text goes on until something else stops it.
pub fn ban_end_of_generation(options: &mut SamplerOptions, tokenizer: &Tokenizer) {
    options.logit_bias.extend(tokenizer.end_of_generation().iter().map(|&id| (id, f32::NEG_INFINITY)));
}
