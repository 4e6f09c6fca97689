//! Vocabularies and texts that were made to break a tokenizer. Rows 13 to 16 of the public record: GHSA-g4cc-763q-h9h6,
//! CVE-2025-49847, CVE-2025-52566, llama.cpp issues 25969 and 26511. Lengths and counts of tokens are `usize` here, so the narrowing of
//! CVE-2025-49847 and CVE-2025-52566 has no place; the arithmetic of the text table is tested beside it.

use oribi::ErrorKind;
use oribi::gguf::Gguf;
use oribi::tokenizer::{NamedIds, TokenKind, TokenTexts, Tokenizer, Vocabulary};

fn vocabulary(model: &str, tokens: &[&str]) -> Vocabulary {
    Vocabulary {
        model: model.to_owned(),
        pre: (model == "gpt2").then(|| "gpt-2".to_owned()),
        tokens: TokenTexts::new(tokens.iter().copied()).unwrap(),
        ..Default::default()
    }
}

fn build(vocabulary: Vocabulary) -> Tokenizer {
    Tokenizer::from_vocabulary(vocabulary).unwrap()
}

fn fails(vocabulary: Vocabulary, kind: ErrorKind, names: &str) {
    let error = Tokenizer::from_vocabulary(vocabulary).err().expect("an error");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(names), "{error}");
}

/// Everything that can be asked of a tokenizer.
fn exercise(tokenizer: &Tokenizer) {
    for text in ["", " ", "a", "hello <s> world </s>", "<0x0A>", "\u{0}", "é\u{301}😀", "\u{2581}x", "\n\n  \t"] {
        for (add_special, parse_special) in [(false, false), (false, true), (true, false), (true, true)] {
            if let Ok(ids) = tokenizer.encode(text, add_special, parse_special) {
                assert!(ids.iter().all(|&id| (id as usize) < tokenizer.n_vocab()));
                tokenizer.decode(&ids).unwrap();
                tokenizer.decode_with_special(&ids).unwrap();
            }
        }
        let _ = tokenizer.encode_prompt(text);
    }
    let n = tokenizer.n_vocab() as u32;
    for id in (0..n.min(300)).chain([n, n + 1, u32::MAX]) {
        assert_eq!(tokenizer.token_bytes(id).is_some(), id < n);
        assert_eq!(tokenizer.token_text(id).is_some(), id < n);
        assert_eq!(tokenizer.kind(id).is_some(), id < n);
        assert_eq!(tokenizer.decode(&[id]).is_ok(), id < n);
        assert!(!tokenizer.is_end_of_generation(id) || id < n);
    }
}

/// GHSA-g4cc-763q-h9h6: the default ids of the scheme lie outside a vocabulary of one token.
#[test]
fn one_token_and_default_ids_outside_the_vocabulary() {
    for model in ["llama", "gpt2"] {
        let tokenizer = build(vocabulary(model, &["a"]));
        assert_eq!((tokenizer.bos(), tokenizer.eos(), tokenizer.adds_bos()), (None, None, false));
        // The space in front is three bytes that only the unknown token, by default the first, can stand for.
        let is_spm = model == "llama";
        assert_eq!(tokenizer.encode("a", true, true).unwrap(), if is_spm { vec![0; 4] } else { vec![0] });
        assert!(tokenizer.end_of_generation().is_empty());
        exercise(&tokenizer);
    }
}

#[test]
fn named_ids_outside_the_vocabulary_are_ignored_and_told() {
    for outside in [3, u32::MAX] {
        let mut hostile = vocabulary("llama", &["<unk>", "<s>", "</s>"]);
        hostile.ids = NamedIds {
            bos: Some(outside),
            eos: Some(outside),
            eot: Some(outside),
            unk: Some(outside),
            fim_pad: Some(outside),
            ..Default::default()
        };
        hostile.add_bos = Some(true);
        hostile.add_eos = Some(true);
        let tokenizer = build(hostile);
        assert_eq!(tokenizer.notes().len(), 5, "{:?}", tokenizer.notes());
        assert!(tokenizer.notes()[0].contains("bos_token_id"));
        exercise(&tokenizer);
    }
}

/// Issues 25969 and 26511: the digits of a byte token were read as a signed number and used as an index.
#[test]
fn byte_tokens_without_two_digits() {
    for model in ["llama", "gpt2", "gemma4"] {
        for token in ["<0x-1>", "<0xGG>", "<0x>", "<0x1>", "<0x100>", "", "<0x", "\u{e9}"] {
            let mut hostile = vocabulary(model, &["a", token]);
            hostile.kinds = vec![TokenKind::Normal, TokenKind::Byte];
            fails(hostile, ErrorKind::InvalidModel, "token 1");
            // Of another kind it is text like any other.
            exercise(&build(vocabulary(model, &["a", token])));
        }
    }
}

#[test]
fn merges_that_cannot_apply() {
    let mut hostile = vocabulary("gpt2", &["a", "b", "ab", "c"]);
    let merges = [("x", "y"), ("a", "x"), ("b", "c"), ("a", "b"), ("", "a"), ("a", ""), ("", "")];
    hostile.merges = merges.map(|(left, right)| (left.to_owned(), right.to_owned())).to_vec();
    let tokenizer = build(hostile);
    assert_eq!(tokenizer.encode("abbc", false, false).unwrap(), [2, 1, 3]);
    exercise(&tokenizer);
}

#[test]
fn arrays_of_differing_lengths() {
    for len in [1, 3] {
        let mut hostile = vocabulary("llama", &["a", "b"]);
        hostile.scores = vec![0.0; len];
        fails(hostile, ErrorKind::InvalidModel, "tokenizer.ggml.scores");
        let mut hostile = vocabulary("llama", &["a", "b"]);
        hostile.kinds = vec![TokenKind::Normal; len];
        fails(hostile, ErrorKind::InvalidModel, "tokenizer.ggml.token_type");
    }
    fails(vocabulary("llama", &[]), ErrorKind::InvalidModel, "tokenizer.ggml.tokens");
    fails(vocabulary("gpt2", &[]), ErrorKind::InvalidModel, "tokenizer.ggml.tokens");
}

#[test]
fn equal_empty_and_strange_tokens() {
    for model in ["llama", "gpt2", "gemma4"] {
        let long = "ab".repeat(1 << 19);
        let tokens = ["a", "a", "", "", "\u{0}", "\u{10ffff}", "\u{2581}", " ", "\n", &long, "<0xFF>"];
        for kind in
            [TokenKind::Normal, TokenKind::Control, TokenKind::UserDefined, TokenKind::Unknown, TokenKind::Unused]
        {
            let mut hostile = vocabulary(model, &tokens);
            hostile.kinds = vec![kind; tokens.len()];
            hostile.scores =
                vec![f32::NAN, f32::INFINITY, -0.0, 0.0, 1e38, -1e38, f32::MIN_POSITIVE, 1.0, 2.0, 3.0, 4.0];
            if matches!(kind, TokenKind::Control | TokenKind::UserDefined | TokenKind::Unknown) {
                fails(hostile, ErrorKind::InvalidModel, "special token 9 has 1048576 bytes");
                continue;
            }
            let tokenizer = build(hostile);
            assert_eq!(tokenizer.token_id("a"), Some(0));
            exercise(&tokenizer);
        }
    }
}

#[test]
fn equal_and_strange_special_tokens() {
    let tokens = ["a", "a", "", "\u{0}", "\u{10ffff}", "\u{2581}", " ", "\n", "aa", "\n\n", "<0xFF>"];
    for model in ["llama", "gpt2", "gemma4"] {
        for kind in [TokenKind::Control, TokenKind::UserDefined, TokenKind::Unknown] {
            let mut hostile = vocabulary(model, &tokens);
            hostile.kinds = vec![kind; tokens.len()];
            exercise(&build(hostile));
        }
    }
}

#[test]
fn unknown_names_are_errors_that_say_the_name() {
    fails(vocabulary("plamo2", &["a"]), ErrorKind::Unsupported, "`plamo2`");
    fails(vocabulary("", &["a"]), ErrorKind::Unsupported, "``");
    let mut unknown = vocabulary("gpt2", &["a"]);
    unknown.pre = Some("no-such-rules".to_owned());
    fails(unknown, ErrorKind::Unsupported, "`no-such-rules`");
}

#[test]
fn a_file_without_splitting_rules_is_told() {
    let mut old = vocabulary("gpt2", &["a"]);
    old.pre = None;
    assert!(build(old).notes().iter().any(|note| note.contains("tokenizer.ggml.pre")));
}

/// A GGUF file of metadata alone.
struct File(Vec<u8>, u64);

impl File {
    fn new() -> Self {
        File(Vec::new(), 0)
    }

    fn key(mut self, key: &str, value_type: u32, value: &[u8]) -> Self {
        self.0.extend((key.len() as u64).to_le_bytes());
        self.0.extend(key.as_bytes());
        self.0.extend(value_type.to_le_bytes());
        self.0.extend(value);
        self.1 += 1;
        self
    }

    fn text(self, key: &str, text: &str) -> Self {
        self.key(key, 8, &string(text))
    }

    fn array(self, key: &str, element_type: u32, items: &[Vec<u8>]) -> Self {
        let mut value = element_type.to_le_bytes().to_vec();
        value.extend((items.len() as u64).to_le_bytes());
        value.extend(items.concat());
        self.key(key, 9, &value)
    }

    fn open(self) -> oribi::Result<Tokenizer> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(3_u32.to_le_bytes());
        bytes.extend(0_u64.to_le_bytes());
        bytes.extend(self.1.to_le_bytes());
        bytes.extend(self.0);
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        Tokenizer::from_gguf(&Gguf::from_bytes(bytes).unwrap())
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn base() -> File {
    File::new().text("tokenizer.ggml.model", "llama").array("tokenizer.ggml.tokens", 8, &[string("a"), string("b")])
}

/// Issue 26690 of llama.cpp: the element type of an array was not looked at.
#[test]
fn metadata_of_the_wrong_type() {
    assert!(base().open().is_ok());
    let u8s = [vec![0], vec![1]];
    let u64s = [0_u64.to_le_bytes().to_vec(), u64::MAX.to_le_bytes().to_vec()];
    let wrong = [
        ("tokenizer.ggml.scores", base().array("tokenizer.ggml.scores", 8, &[string("x"), string("y")])),
        ("tokenizer.ggml.token_type", base().array("tokenizer.ggml.token_type", 10, &u64s)),
        ("tokenizer.ggml.token_type", base().array("tokenizer.ggml.token_type", 8, &[string("x"), string("y")])),
        ("tokenizer.ggml.token_type", base().key("tokenizer.ggml.token_type", 4, &[1, 0, 0, 0])),
        ("tokenizer.ggml.merges", base().array("tokenizer.ggml.merges", 0, &u8s)),
        ("tokenizer.ggml.bos_token_id", base().text("tokenizer.ggml.bos_token_id", "1")),
        ("tokenizer.ggml.eos_token_id", base().key("tokenizer.ggml.eos_token_id", 5, &(-1_i32).to_le_bytes())),
        ("tokenizer.ggml.add_bos_token", base().text("tokenizer.ggml.add_bos_token", "true")),
        ("tokenizer.ggml.pre", base().key("tokenizer.ggml.pre", 4, &[1, 0, 0, 0])),
        (
            "tokenizer.ggml.tokens",
            File::new().text("tokenizer.ggml.model", "llama").array("tokenizer.ggml.tokens", 0, &u8s),
        ),
        ("tokenizer.ggml.model", File::new().array("tokenizer.ggml.tokens", 8, &[string("a")])),
        ("tokenizer.ggml.tokens", File::new().text("tokenizer.ggml.model", "llama")),
    ];
    for (key, file) in wrong {
        let error = file.open().err().expect(key);
        assert!(error.to_string().contains(key), "{key}: {error}");
    }
    let invalid_text = File::new().text("tokenizer.ggml.model", "llama").array(
        "tokenizer.ggml.tokens",
        8,
        &[[1_u64.to_le_bytes().as_slice(), &[0xff]].concat()],
    );
    assert!(invalid_text.open().is_err());
}
