//! Token ids against the reference: both packaged models and every byte-pair and SentencePiece vocabulary of llama.cpp's test suite.

mod common;

use oribi::gguf::Gguf;
use oribi::tokenizer::{TokenKind, Tokenizer};

fn open(path: &std::path::Path) -> Tokenizer {
    Tokenizer::from_gguf(&Gguf::open(path).unwrap()).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Vocabularies with expected ids.
const VOCABULARIES: &[&str] = &[
    "command-r",
    "deepseek-coder",
    "deepseek-llm",
    "falcon",
    "gemma-4",
    "gpt-2",
    "llama-bpe",
    "llama-spm",
    "mpt",
    "phi-3",
    "qwen2",
    "qwen35",
    "refact",
    "starcoder",
];

/// Vocabularies without expected ids: that they load, and that texts survive a round trip.
const WITHOUT_REFERENCE: &[&str] = &["aquila", "baichuan", "gpt-neox"];

/// Schemes that are not supported, and what the error names.
const OTHER_SCHEMES: &[(&str, &str)] = &[("bert-bge", "bert"), ("nomic-bert-moe", "t5")];

fn texts_of(vocabulary: &str) -> Vec<String> {
    let path = common::vocab(&format!("ggml-vocab-{vocabulary}.gguf.inp"));
    let texts = std::fs::read_to_string(path).unwrap();
    let end = "\n__ggml_vocab_test__\n";
    texts.strip_suffix(end).unwrap_or(&texts).split(end).map(str::to_owned).collect()
}

#[test]
fn golden_strings_of_both_models() {
    let models = [
        ("SmolLM2-135M-Instruct.Q4_1.gguf", "smollm2-135m-instruct-q4_1"),
        ("gemma-3-270m-q4_k_m.gguf", "gemma-3-270m-q4_k_m"),
    ];
    for (file, golden) in models {
        let tokenizer = open(&common::model(file));
        let golden = common::golden(golden);
        let cases: Vec<_> = golden["tokenize"].as_array().unwrap().iter().collect();
        assert!(cases.len() > 10);
        for case in cases.into_iter().chain(golden["prompts"].as_array().unwrap()) {
            let text = case["text"].as_str().unwrap();
            let expected: Vec<u32> =
                case["ids"].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
            assert_eq!(tokenizer.encode(text, true, true).unwrap(), expected, "{file}: {text:?}");
            if !text.contains("<|") && !text.contains("<end_of") {
                assert_eq!(tokenizer.decode(&expected).unwrap(), text, "{file}");
            }
        }
    }
}

#[test]
fn expected_ids_of_the_vocabularies() {
    let mut wrong = Vec::new();
    let mut n_texts = 0;
    for name in VOCABULARIES {
        let tokenizer = open(&common::vocab(&format!("ggml-vocab-{name}.gguf")));
        let output = std::fs::read_to_string(common::vocab(&format!("ggml-vocab-{name}.gguf.out"))).unwrap();
        let expected: Vec<Vec<u32>> =
            output.lines().map(|line| line.split_whitespace().map(|id| id.parse().unwrap()).collect()).collect();
        let texts = texts_of(name);
        assert_eq!(texts.len(), expected.len(), "{name}");
        for (text, expected) in texts.iter().zip(&expected) {
            n_texts += 1;
            let ids = tokenizer.encode(text, false, false).unwrap();
            if ids != *expected {
                wrong.push(format!("{name}: {text:?}\n    expected {expected:?}\n    got      {ids:?}"));
            }
        }
    }
    println!("{} of {n_texts} texts of {} vocabularies match", n_texts - wrong.len(), VOCABULARIES.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn texts_survive_a_round_trip() {
    for name in VOCABULARIES.iter().chain(WITHOUT_REFERENCE) {
        let tokenizer = open(&common::vocab(&format!("ggml-vocab-{name}.gguf")));
        for text in texts_of("llama-bpe") {
            let ids = tokenizer.encode(&text, true, false).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text, "{name}");
        }
    }
}

/// Without `parse_special` no text leads to a control token, whatever the user writes.
#[test]
fn text_that_looks_like_a_control_token_stays_text() {
    for name in ["llama-spm", "phi-3", "baichuan", "gemma-4", "llama-bpe", "qwen2"] {
        let tokenizer = open(&common::vocab(&format!("ggml-vocab-{name}.gguf")));
        let is_structure = |id: &u32| matches!(tokenizer.kind(*id), Some(TokenKind::Control | TokenKind::Unknown));
        let special: Vec<u32> = (0..tokenizer.n_vocab() as u32).filter(is_structure).collect();
        assert!(!special.is_empty(), "{name}");
        for id in special {
            let text = tokenizer.token_text(id).unwrap();
            for text in [text.to_owned(), format!("a{text}b"), format!("{text}{text}")] {
                assert!(!tokenizer.encode(&text, false, false).unwrap().iter().any(is_structure), "{name}: {text}");
            }
        }
    }
}

#[test]
fn other_schemes_are_named_in_the_error() {
    for (name, scheme) in OTHER_SCHEMES {
        let gguf = Gguf::open(&common::vocab(&format!("ggml-vocab-{name}.gguf"))).unwrap();
        let error = Tokenizer::from_gguf(&gguf).err().expect(name);
        assert_eq!(error.kind(), oribi::ErrorKind::Unsupported);
        assert!(error.to_string().contains(&format!("`{scheme}`")), "{error}");
    }
}
