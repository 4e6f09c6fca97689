//! The splitting rules of byte-pair vocabularies: ONE table from the names in `tokenizer.ggml.pre` to rules.
//!
//! A text is cut into words before merging, and merges never cross a cut, so the rules are part of the vocabulary. GGUF
//! stores only their name. The names, and where they depart from the rules that the model was trained with (some names
//! treat upper and lower case letters alike outside ASCII), are those of llama.cpp, whose ids the files are tested with.
//!
//! The patterns are written without the usual ending `|\s+(?!\S)|\s+`, because an engine with look-around backtracks;
//! [`Rule::Words`] does that ending by hand, in linear time.

use crate::error::{Result, bail};

/// One step of splitting. The steps of a row apply in order, each to every piece that the one before left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Rule {
    /// Every match is a piece of its own, and so is the text between matches.
    Isolate(&'static str),
    /// The same for `pattern|\s+(?!\S)|\s+`: a run of spaces leaves its last space to the word behind it.
    Words(&'static str),
    /// The same for `pattern|\s{512}(?!\S)|\s{256}(?!\S)|...|\s{4}(?!\S)|\s{1,2}(?!\S)|\s`: a run of spaces is cut into powers of two.
    WordsAndPowersOfSpaces(&'static str),
    /// Cuts every run of numbers into groups of three counted from its right end. What stands before the run stays with
    /// its first group.
    NumbersFromRight,
    /// Cuts runs of ASCII digits into groups of three counted from the right end, and before the run if it is all groups.
    DigitsFromRight,
    /// A word starts at every `▁` (U+2581), and one is put in front of a text without it. Lines are told apart first.
    Metaspace,
}

/// A row of the table.
#[derive(Debug)]
pub(super) struct PreTokenizer {
    /// The names in `tokenizer.ggml.pre` that mean this row.
    pub names: &'static [&'static str],
    /// The splitting steps.
    pub rules: &'static [Rule],
    /// A word that is a token is that token, even if merging would not reach it.
    pub ignore_merges: bool,
    /// `add_bos_token` where the file does not say.
    pub add_bos: bool,
    /// Tokens are texts over 256 printable stand-ins for bytes (as in GPT-2). If not, tokens are plain text with `▁` for the
    /// space, and bytes are tokens of their own, written `<0xNN>`.
    pub byte_level: bool,
    /// Plain text only: a run of newlines that is a token is that token.
    pub newline_runs: bool,
}

/// What most rows have.
const ROW: PreTokenizer = PreTokenizer {
    names: &[],
    rules: &[],
    ignore_merges: false,
    add_bos: false,
    byte_level: true,
    newline_runs: false,
};

/// The row of a name. `None` is a file without `tokenizer.ggml.pre`, from before the key existed: it means `default`.
pub(super) fn by_name(name: Option<&str>) -> Result<&'static PreTokenizer> {
    let name = name.filter(|name| !name.is_empty()).unwrap_or("default");
    match TABLE.iter().find(|row| row.names.contains(&name)) {
        Some(row) => Ok(row),
        None => bail!(Unsupported, "tokenizer.ggml.pre: unknown pre-tokenizer `{name}`"),
    }
}

/// All rows.
pub(super) fn rows() -> &'static [PreTokenizer] {
    TABLE
}

/// All names, for messages and tests.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().flat_map(|row| row.names.iter().copied())
}

use Rule::{DigitsFromRight, Isolate, Metaspace, NumbersFromRight, Words, WordsAndPowersOfSpaces};

/// One number at a time.
const NUMBER: Rule = Isolate(r"\p{N}");
/// Numbers in groups of up to three, from the left.
const NUMBERS_3: Rule = Isolate(r"\p{N}{1,3}");
/// Lines, and runs of line ends.
const LINES: Rule = Isolate(r"[^\n]+|\n+");
/// Chinese characters and Japanese syllables.
const CJK: Rule = Isolate("[一-龥\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+");
/// GPT-2: lower-case contractions; letters, numbers or the rest, with one space in front.
const GPT2: Rule = Words(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+");
/// Contractions in any case, letters with any one character in front, numbers one at a time, punctuation with its line ends.
const QWEN2: Rule = Words(
    r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+",
);
/// The same with numbers in groups of up to three.
const LLAMA3_PATTERN: &str = r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+";
const LLAMA3: Rule = Words(LLAMA3_PATTERN);
/// Punctuation in front of ASCII letters; letters with their marks; punctuation and symbols with their line ends.
const DEEPSEEK3: Rule = Words(concat!(
    r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
    r"| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+"
));
/// Words start upper case and go on lower case; letters outside ASCII are both.
const GPT4O: Rule = Words(concat!(
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
    r"|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
));
/// Everything between spaces and sentence punctuation.
const SENTENCE_PARTS: Rule = Isolate(" ?[^(\\s|.,!?…。，、।۔،)]+");

#[rustfmt::skip]
static TABLE: &[PreTokenizer] = &[
    PreTokenizer { names: &["default"], rules: &[Isolate(r"[\p{P}$+<=>^~|]+"), GPT2, Isolate(r"\p{N}+"), Isolate("[0-9][0-9][0-9]")], ..ROW },
    PreTokenizer {
        names: &["llama3", "llama-v3", "llama-bpe", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2", "jina-v5-nano"],
        rules: &[LLAMA3], ignore_merges: true, add_bos: true, ..ROW
    },
    PreTokenizer { names: &["dbrx", "smaug-bpe", "chatglm-bpe"], rules: &[LLAMA3], ..ROW },
    PreTokenizer { names: &["glm4", "glm5"], rules: &[LLAMA3], ignore_merges: true, ..ROW },
    PreTokenizer { names: &["jais-2"], rules: &[WordsAndPowersOfSpaces(LLAMA3_PATTERN)], ..ROW },
    PreTokenizer {
        names: &["minicpm5"], ignore_merges: true,
        rules: &[NUMBERS_3, Words(r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}+| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")], ..ROW
    },
    PreTokenizer { names: &["deepseek-llm"], rules: &[
        Isolate(r"[\r\n]"),
        Isolate("\\s?[A-Za-z\u{b5}\u{c0}-\u{d6}\u{d8}-\u{f6}\u{f8}-\u{1ba}\u{1bc}-\u{1bf}\u{1c4}-\u{293}\u{295}-\u{2af}\u{370}-\u{373}\u{376}\u{377}\u{37b}-\u{37d}\u{37f}\u{386}\u{388}-\u{38a}\u{38c}\u{38e}-\u{3a1}\u{3a3}-\u{3f5}\u{3f7}-\u{481}\u{48a}-\u{52f}\u{531}-\u{556}\u{10a0}-\u{10c5}\u{13a0}-\u{13f5}\u{13f8}-\u{13fd}\u{1c90}-\u{1cba}\u{1cbd}-\u{1cbf}\u{1d00}-\u{1d2b}\u{1d6b}-\u{1d77}\u{1d79}-\u{1d9a}\u{1e00}-\u{1f15}\u{1f18}-\u{1f1d}\u{1f20}-\u{1f45}\u{1f48}-\u{1f4d}\u{1f50}-\u{1f57}\u{1f59}\u{1f5b}\u{1f5d}\u{1f5f}-\u{1f7d}\u{1f80}-\u{1fb4}\u{1fb6}-\u{1fbc}\u{1fbe}\u{1fc2}-\u{1fc4}\u{1fc6}-\u{1fcc}\u{1fd0}-\u{1fd3}\u{1fd6}-\u{1fdb}\u{1fe0}-\u{1fec}\u{1ff2}-\u{1ff4}\u{1ff6}-\u{1ffc}\u{2102}\u{2107}\u{210a}-\u{2113}\u{2115}\u{2119}-\u{211d}\u{2124}\u{2126}\u{2128}\u{212a}-\u{212d}\u{212f}-\u{2134}\u{2139}\u{213c}-\u{213f}\u{2145}-\u{2149}\u{214e}\u{2183}\u{2184}\u{2c00}-\u{2c7b}\u{2c7e}-\u{2ce4}\u{2ceb}-\u{2cee}\u{2cf2}\u{2cf3}\u{a640}-\u{a66d}\u{a680}-\u{a69b}\u{a722}-\u{a76f}\u{a771}-\u{a787}\u{a78b}-\u{a78e}\u{ab70}-\u{abbf}\u{fb00}-\u{fb06}\u{fb13}-\u{fb17}\u{ff21}-\u{ff3a}\u{ff41}-\u{ff5a}\u{10400}-\u{1044f}\u{104b0}-\u{104d3}\u{104d8}-\u{104fb}\u{10c80}-\u{10cb2}\u{10cc0}-\u{10cf2}\u{118a0}-\u{118df}\u{1e900}-\u{1e943}]+"),
        Isolate("\\s?[!-/:-~！-／：-～‘-‟\u{3000}-。]+"),
        Isolate(r"\s+$"),
        Isolate("[一-龥\u{800}-一가-\u{d7ff}]+"),
        Isolate(r"\p{N}+"),
    ], ..ROW },
    PreTokenizer { names: &["deepseek-coder"], rules: &[
        Isolate(r"[\r\n]"), Isolate(r"\s?\p{L}+"), Isolate(r"\s?\p{P}+"), Isolate("[一-龥\u{800}-一가-\u{d7ff}]+"), NUMBER,
    ], ..ROW },
    PreTokenizer { names: &["deepseek-v3", "hunyuan-dense", "joyai-llm", "hy_v4"], rules: &[NUMBERS_3, CJK, DEEPSEEK3], ..ROW },
    PreTokenizer { names: &["spark2_5"], rules: &[
        NUMBERS_3, CJK,
        Words(concat!(
            r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"##,
            r"| ?[\p{P}\p{S}]+|[\r\n]"
        )),
        NUMBER,
    ], ..ROW },
    PreTokenizer { names: &["youtu"], ignore_merges: true, rules: &[
        Isolate("[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-\u{303f}︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u{3040}-\u{309f}\u{30a0}-\u{30ff}]+"),
        Words(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
            r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
        )),
    ], ..ROW },
    PreTokenizer { names: &["falcon"], rules: &[Isolate(r"[\p{P}$+<=>^~|`]+"), GPT2, Isolate("[0-9][0-9][0-9]")], ..ROW },
    PreTokenizer {
        names: &["starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b", "mellum2"],
        rules: &[NUMBER, GPT2], ..ROW
    },
    PreTokenizer {
        names: &[
            "gpt-2", "phi-2", "jina-es", "jina-de", "gigachat", "jina-v2-es", "jina-v2-de", "a.x-4.0", "mellum", "modern-bert",
            "jina-v1-en", "jina-v2-code", "roberta-bpe", "mpt", "olmo", "jais", "trillion", "granite-docling", "exaone4",
        ],
        rules: &[GPT2], ..ROW
    },
    PreTokenizer {
        names: &[
            "qwen2", "deepseek-r1-qwen", "kormo", "f2llmv2", "stablelm2", "hunyuan", "solar-open", "megrez", "grok-2",
        ],
        rules: &[QWEN2], ..ROW
    },
    PreTokenizer { names: &["laguna"], rules: &[LINES, QWEN2], ..ROW },
    PreTokenizer { names: &["qwen35"], rules: &[Words(concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}",
        r"| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+"
    ))], ..ROW },
    PreTokenizer { names: &["ufakzeka"], rules: &[Words(r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+")], ..ROW },
    PreTokenizer { names: &["seed-coder"], rules: &[Words(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+"
    )], ..ROW },
    PreTokenizer { names: &["bailingmoe", "bailingmoe2", "llada-moe"], rules: &[Words(
        r"'(?:[sSdDmMtT]|[lL][lL]|[vV][eE]|[rR][eE])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]"
    )], ..ROW },
    PreTokenizer { names: &["exaone-moe"], rules: &[Words(concat!(
        r"'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL])|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}",
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]"
    ))], ..ROW },
    PreTokenizer { names: &["poro-chat", "bloom", "gpt3-finnish"], rules: &[SENTENCE_PARTS], ..ROW },
    PreTokenizer { names: &["viking"], rules: &[SENTENCE_PARTS, NUMBER], ..ROW },
    PreTokenizer { names: &["tekken"], ignore_merges: true, add_bos: true, rules: &[Words(concat!(
        r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*",
        r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
    ))], ..ROW },
    PreTokenizer { names: &["gpt-4o", "llama4", "kanana2", "talkie", "minimax-m2"], rules: &[GPT4O], ..ROW },
    PreTokenizer { names: &["granite-embed-multi-97m"], ignore_merges: true, rules: &[Words(concat!(
        r"[^\r\n\p{L}\p{N}]?[[\p{L}\p{M}]&&[^a-z]]*[[\p{L}\p{M}]&&[^A-Z]]+(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|[^\r\n\p{L}\p{N}]?[[\p{L}\p{M}]&&[^a-z]]+[[\p{L}\p{M}]&&[^A-Z]]*(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
    ))], ..ROW },
    PreTokenizer { names: &["tiny_aya", "cohere2moe"], rules: &[
        NumbersFromRight,
        Words(concat!(
            r"[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?",
            r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+"
        )),
    ], ..ROW },
    PreTokenizer { names: &["afmoe"], rules: &[
        NumbersFromRight,
        Isolate("[一-\u{9fff}㐀-\u{4dbf}豈-\u{faff}\u{3040}-\u{309f}\u{30a0}-\u{30ff}･-\u{ff9f}\u{2f00}-\u{2fdf}\u{e40}-\u{e7f}\u{e80}-\u{eff}\u{1780}-\u{17ff}\u{1000}-\u{109f}\u{aa60}-\u{aa7f}\u{a9e0}-\u{a9ff}가-\u{d7af}\u{1100}-\u{11ff}]+"),
        DEEPSEEK3,
    ], ..ROW },
    PreTokenizer { names: &["kimi-k2"], rules: &[Words(concat!(
        "[一-\u{9fff}㐀-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2ceb0}-\u{2ebef}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}]+",
        r"|[^\r\n\p{L}\p{N}]?[\p{L}&&[^",
        "一-\u{9fff}㐀-\u{4dbf}\u{20000}-\u{2a6df}\u{2a700}-\u{2b73f}\u{2b740}-\u{2b81f}\u{2b820}-\u{2ceaf}\u{2ceb0}-\u{2ebef}\u{f900}-\u{faff}\u{2f800}-\u{2fa1f}",
        r"]]+(?:'(?:[sStTmMdD]|[rR][eE]|[vV][eE]|[lL][lL]))?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    ))], ..ROW },
    PreTokenizer { names: &["superbpe"], rules: &[Isolate(r"\p{N}+"), DigitsFromRight], ..ROW },
    PreTokenizer { names: &["chameleon"], add_bos: true, rules: &[
        Isolate("<sentinel:[0-9]+>"),
        Isolate("IMGIMG[A-I]{1,4}Z"),
        Isolate("[\t\n]|    |  "),
        NUMBER,
        Isolate(r"[\p{P}!-/:-@\[-`{-~]"),
        GPT2,
    ], ..ROW },
    PreTokenizer { names: &["gemma4", "granite-embed-multi-311m"], rules: &[LINES], add_bos: true, byte_level: false, newline_runs: true, ..ROW },
    PreTokenizer { names: &["sarvam-moe"], rules: &[LINES], byte_level: false, ..ROW },
    PreTokenizer { names: &["mmbert"], rules: &[LINES, Metaspace], byte_level: false, newline_runs: true, ..ROW },
];
