//! Texts in and out: streaming equals decoding at once, nothing is lost, long texts take time in proportion.

mod common;

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use oribi::gguf::Gguf;
use oribi::tokenizer::{TokenKind, TokenTexts, Tokenizer, Vocabulary};
use proptest::prelude::*;

fn open(path: &std::path::Path) -> Tokenizer {
    Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap()
}

static SMOLLM2: LazyLock<Tokenizer> = LazyLock::new(|| open(&common::model("SmolLM2-135M-Instruct.Q4_1.gguf")));
static GEMMA3: LazyLock<Tokenizer> = LazyLock::new(|| open(&common::model("gemma-3-270m-q4_k_m.gguf")));
static LLAMA2: LazyLock<Tokenizer> = LazyLock::new(|| open(&common::vocab("ggml-vocab-llama-spm.gguf")));
static GEMMA4: LazyLock<Tokenizer> = LazyLock::new(|| open(&common::vocab("ggml-vocab-gemma-4.gguf")));

/// A vocabulary of the 256 bytes.
static BYTES: LazyLock<Tokenizer> = LazyLock::new(|| {
    let texts: Vec<String> = (0..=255).map(|byte| format!("<0x{byte:02X}>")).collect();
    Tokenizer::from_vocabulary(Vocabulary {
        model: "llama".to_owned(),
        tokens: TokenTexts::new(texts.iter().map(String::as_str)).unwrap(),
        kinds: vec![TokenKind::Byte; 256],
        add_space_prefix: Some(false),
        ..Default::default()
    })
    .unwrap()
});

fn stream(tokenizer: &Tokenizer, ids: &[u32]) -> String {
    let mut stream = tokenizer.decode_stream();
    let mut text = String::new();
    for &id in ids {
        text.extend(stream.push(id).unwrap());
    }
    text.extend(stream.finish());
    text
}

proptest! {
    #[test]
    fn any_bytes_stream_as_they_decode(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        let ids: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
        // What the Unicode standard calls the substitution of maximal subparts.
        prop_assert_eq!(stream(&BYTES, &ids), String::from_utf8_lossy(&bytes));
        prop_assert_eq!(BYTES.decode(&ids).unwrap(), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn bytes_near_the_borders_of_utf8(bytes in prop::collection::vec(prop::sample::select(vec![
        0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff_u8,
    ]), 0..12)) {
        let ids: Vec<u32> = bytes.iter().map(|&byte| u32::from(byte)).collect();
        prop_assert_eq!(stream(&BYTES, &ids), String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_tokens_stream_as_they_decode(ids in prop::collection::vec(0_u32..49152, 0..24)) {
        prop_assert_eq!(stream(&SMOLLM2, &ids), SMOLLM2.decode(&ids).unwrap());
        prop_assert_eq!(stream(&GEMMA3, &ids), GEMMA3.decode(&ids).unwrap());
    }

    #[test]
    fn any_text_survives(text in "\\PC{0,40}|[ \\n\\t\\r▁a-c0-9é漢😀\u{301}\u{200d}]{0,40}") {
        for tokenizer in [&*SMOLLM2, &*GEMMA3, &*LLAMA2, &*GEMMA4] {
            let ids = tokenizer.encode(&text, false, false).unwrap();
            let decoded = tokenizer.decode(&ids).unwrap();
            // Where `▁` is how the space is written, it cannot be told from a space.
            let expected = if std::ptr::eq(tokenizer, &*SMOLLM2) { text.clone() } else { text.replace('▁', " ") };
            prop_assert_eq!(decoded, expected);
        }
    }
}

#[test]
fn a_character_appears_once_it_is_whole() {
    let mut stream = BYTES.decode_stream();
    let pushed: Vec<Option<String>> =
        [0x61, 0xf0, 0x9f, 0x98, 0x80, 0xe2, 0x82].map(|id| stream.push(id).unwrap()).to_vec();
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(pushed, [some("a"), None, None, None, some("😀"), None, None]);
    assert_eq!(stream.finish(), some("\u{fffd}"));
    assert!(BYTES.decode_stream().push(256).is_err());
}

#[test]
fn control_tokens_are_left_out_unless_asked_for() {
    let ids = SMOLLM2.encode("<|im_start|>user\nhi<|im_end|>", true, true).unwrap();
    assert_eq!(SMOLLM2.decode(&ids).unwrap(), "user\nhi");
    assert_eq!(SMOLLM2.decode_with_special(&ids).unwrap(), "<|im_start|>user\nhi<|im_end|>");
    assert!(SMOLLM2.is_end_of_generation(*ids.last().unwrap()));
    let plain = SMOLLM2.encode("<|im_end|>", true, false).unwrap();
    assert!(plain.iter().all(|&id| SMOLLM2.kind(id) == Some(TokenKind::Normal)), "{plain:?}");
}

/// The space that encoding adds is taken off a whole text, not off a continuation.
#[test]
fn the_space_in_front() {
    let ids = LLAMA2.encode("Hello world", true, false).unwrap();
    assert_eq!(LLAMA2.decode(&ids).unwrap(), "Hello world");
    assert_eq!(stream(&LLAMA2, &ids), " Hello world");
    assert_eq!(GEMMA3.decode(&GEMMA3.encode(" x", true, false).unwrap()).unwrap(), " x");
}

#[test]
fn a_rendered_prompt_gets_one_bos() {
    let bos = GEMMA3.bos().unwrap();
    for prompt in ["<bos>hi", "hi"] {
        let ids = GEMMA3.encode_prompt(prompt).unwrap();
        assert_eq!(ids.iter().filter(|&&id| id == bos).count(), 1, "{prompt}");
        assert_eq!(ids[0], bos);
    }
    assert_eq!(SMOLLM2.encode_prompt("hi").unwrap(), SMOLLM2.encode("hi", false, true).unwrap());
}

#[test]
fn special_tokens_of_both_models() {
    assert_eq!((SMOLLM2.bos(), SMOLLM2.eos(), SMOLLM2.unk(), SMOLLM2.adds_bos()), (Some(1), Some(2), Some(0), false));
    assert_eq!((GEMMA3.bos(), GEMMA3.eos(), GEMMA3.unk(), GEMMA3.adds_bos()), (Some(2), Some(1), Some(3), true));
    assert!(SMOLLM2.end_of_generation().contains(&2) && SMOLLM2.end_of_generation().contains(&0));
    assert!(
        GEMMA3.is_end_of_generation(1)
            && GEMMA3.token_id("<end_of_turn>").is_some_and(|id| GEMMA3.is_end_of_generation(id))
    );
    assert!(SMOLLM2.notes().is_empty() && GEMMA3.notes().is_empty());
}

/// A long run of one thing, a megabyte of it in `make test-all`. The bound is twenty times what a megabyte takes on a busy machine
/// without optimisation; an algorithm that is quadratic in the length would take hours.
#[test]
fn long_runs_take_time_in_proportion() {
    let n_bytes = if common::test_all() { 1 << 20 } else { 1 << 17 };
    for tokenizer in [&*SMOLLM2, &*GEMMA3, &*LLAMA2, &*GEMMA4] {
        for piece in ["a", " ", "\n", "😀", "ab ", "1", "<|im_start|>", "<unused1> ", "\u{301}", "'s", " \n", "漢"] {
            let text = piece.repeat(n_bytes / piece.len());
            let started = Instant::now();
            let ids = tokenizer.encode(&text, true, true).unwrap();
            assert!(started.elapsed() < Duration::from_secs(60), "{piece:?}: {:?}", started.elapsed());
            if !piece.starts_with('<') {
                assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{piece:?}");
            }
        }
    }
}
