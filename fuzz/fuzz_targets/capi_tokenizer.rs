//! Any text with tokenizers of every kind: the first byte chooses one.
#![no_main]

use std::ptr::null;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oribi::capi::*;
use oribi::gguf::GgufBuilder;
use oribi_fuzz::*;

/// Pre-tokenizers of byte-level vocabularies: one name of each kind.
const PRE_TOKENIZERS: &[&str] = &[
    "default",
    "gpt-2",
    "llama3",
    "dbrx",
    "glm4",
    "jais-2",
    "minicpm5",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "spark2_5",
    "youtu",
    "falcon",
    "starcoder",
    "laguna",
    "qwen2",
    "qwen35",
    "ufakzeka",
    "seed-coder",
    "bailingmoe",
    "exaone-moe",
    "poro-chat",
    "viking",
    "tekken",
    "gpt-4o",
    "granite-embed-multi-97m",
    "tiny_aya",
    "afmoe",
    "kimi-k2",
    "superbpe",
    "chameleon",
    "gemma4",
    "sarvam-moe",
    "mmbert",
];

struct Made {
    tokenizer: Handle<oribi_tokenizer>,
    /// The file that it came from.
    _bytes: Vec<u8>,
}
// SAFETY: a tokenizer is immutable, and any thread may use it.
unsafe impl Send for Made {}
// SAFETY: the same.
unsafe impl Sync for Made {}

/// A SentencePiece vocabulary, then one for each pre-tokenizer.
static TOKENIZERS: LazyLock<Vec<Made>> = LazyLock::new(|| {
    let byte_level = PRE_TOKENIZERS.iter().filter_map(|pre| tokenizer(byte_level(pre)));
    tokenizer(TINY_MODEL.to_vec()).into_iter().chain(byte_level).collect()
});

fn tokenizer(bytes: Vec<u8>) -> Option<Made> {
    let file = open_memory(&bytes).expect("a file");
    // SAFETY: a live handle, a place for the result.
    let tokenizer = made(oribi_tokenizer_free, |out| unsafe { oribi_file_tokenizer(file.raw, out) })?;
    Some(Made { tokenizer, _bytes: bytes })
}

/// A file with a vocabulary of the 256 bytes, a few merges and two control tokens.
fn byte_level(pre: &str) -> Vec<u8> {
    // The characters that stand for bytes: themselves where they print, the others from U+0100 on.
    let prints = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..);
    let mut others = (0x100u32..).map(|c| char::from_u32(c).expect("a character"));
    let bytes: Vec<char> = (0..=255u8)
        .map(|byte| if prints(&byte) { char::from(byte) } else { others.next().expect("endless") })
        .collect();
    let mut tokens: Vec<String> = bytes.iter().map(char::to_string).collect();
    let merges = ["h e", "l l", "he ll", "\u{120} \u{120}", "\u{120} t", "\u{c3} \u{a9}", "1 2", "' s", "hell o"];
    tokens.extend(merges.iter().map(|merge| merge.replace(' ', "")));
    tokens.extend(["<|end|>", "<|x|>"].map(str::to_owned));
    let n = tokens.len();
    let kinds: Vec<i32> = (0..n).map(|i| if i + 2 < n { 1 } else { 3 }).collect();
    let mut b = GgufBuilder::new();
    b.set("tokenizer.ggml.model", "gpt2").expect("a value");
    b.set("tokenizer.ggml.pre", pre).expect("a value");
    b.set("tokenizer.ggml.tokens", tokens.iter().map(String::as_str).collect::<Vec<_>>()).expect("a value");
    b.set("tokenizer.ggml.merges", merges.to_vec()).expect("a value");
    b.set("tokenizer.ggml.token_type", kinds).expect("a value");
    b.set("tokenizer.ggml.eos_token_id", (n - 2) as u32).expect("a value");
    b.write_to(Vec::new()).and_then(|writer| writer.finish()).expect("a file")
}

fuzz_target!(|input: &[u8]| {
    let Some((&which, text)) = input.split_first() else { return };
    let tokenizer = TOKENIZERS[usize::from(which) % TOKENIZERS.len()].tokenizer.raw;
    // SAFETY (all of it): live handles, places for results, so many bytes.
    unsafe {
        let n = oribi_tokenizer_n_tokens(tokenizer);
        for (add_special, parse_special) in [(false, false), (true, true)] {
            let Some(tokens) = encode(tokenizer, text, add_special, parse_special) else {
                assert!(std::str::from_utf8(text).is_err(), "refused: {}", last_error());
                continue;
            };
            assert!(tokens.iter().all(|&token| (token as usize) < n));
            decode(tokenizer, &tokens);
        }
        let data = text.as_ptr().cast();
        made(oribi_tokens_free, |out| oribi_tokenizer_encode_prompt(tokenizer, data, text.len(), out));
        let _: Option<u32> = written(|out| oribi_tokenizer_find(tokenizer, data, text.len(), out));
        // Any numbers as tokens.
        let numbers: Vec<u32> = text.chunks_exact(2).map(|pair| u32::from(pair[0]) | u32::from(pair[1]) << 8).collect();
        for &token in &numbers {
            lent(|text, len| oribi_tokenizer_token_text(tokenizer, token, text, len));
            made(oribi_bytes_free, |out| oribi_tokenizer_token_bytes(tokenizer, token, out));
            oribi_tokenizer_is_end(tokenizer, token);
        }
        made(oribi_text_free, |out| oribi_tokenizer_decode(tokenizer, numbers.as_ptr(), numbers.len(), true, out));
        let known: Vec<u32> = numbers.iter().map(|&token| token % n as u32).collect();
        decode(tokenizer, &known);
        assert!(oribi_tokenizer_token_text(null(), 0, &mut null(), &mut 0) == oribi_status::INVALID_ARGUMENT);
    }
});

/// Tokens of the vocabulary, at once and one by one.
///
/// # Safety
/// A live handle.
unsafe fn decode(tokenizer: *const oribi_tokenizer, tokens: &[u32]) {
    // SAFETY (all of it): live handles, places for results.
    unsafe {
        let text =
            made(oribi_text_free, |out| oribi_tokenizer_decode(tokenizer, tokens.as_ptr(), tokens.len(), true, out));
        text_of(&text.expect("tokens of the vocabulary"));
        let decoder = made(oribi_decoder_free, |out| oribi_decoder_new(tokenizer, true, out)).expect("a decoder");
        for &token in tokens {
            let text = lent(|text, len| oribi_decoder_push(decoder.raw, token, text, len)).expect("a text");
            std::str::from_utf8(text).expect("whole characters");
        }
        lent(|text, len| oribi_decoder_finish(decoder.raw, text, len)).expect("a text");
    }
}
