//! Which splitting rules `tokenizer.json` follows, found out by what it does.
//!
//! Its normalisers and its pre-tokenizer are run on a text that holds every kind of character next to every other, and what comes
//! out is compared with what the known rules make of the same text. So it does not matter how a pattern is written, nor who
//! trained the vocabulary. Rules that nobody knows are an error that shows them.

use serde_json::Value;
use tokenizers::{
    NormalizedString, Normalizer, NormalizerWrapper, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _, PreTokenizerWrapper,
};

use super::fast::FILE;
use super::{PreTokenizer, invalid};
use crate::error::Result;
use crate::tokenizer::SplittingRules;

/// What was found.
pub(super) enum Recognised {
    /// Words by the rules of a name, over stand-ins for bytes.
    Words { name: String, notes: Vec<String> },
    /// No words: the whole text with `▁` for spaces, with one in front or not.
    Plain { name: String, space_prefix: bool, notes: Vec<String> },
}

impl Recognised {
    pub fn notes(&self) -> &[String] {
        match self {
            Recognised::Words { notes, .. } | Recognised::Plain { notes, .. } => notes,
        }
    }
}

/// Of names that mean the same rules, those that the field's converters write.
const PREFERRED: &[&str] = &["llama-bpe", "qwen2", "gpt-2", "smollm", "smaug-bpe", "deepseek-v3", "tekken", "gpt-4o"];

/// Recognises the rules, or takes those that the user names.
pub(super) fn recognise(
    normalizer: Option<&Value>,
    splitter: Option<&Value>,
    ignore_merges: bool,
    byte_fallback: bool,
    said: PreTokenizer<'_>,
) -> Result<Recognised> {
    let subject = Subject::new(normalizer, splitter)?;
    let mut notes = Vec::new();
    if byte_fallback {
        let plain = subject.space_prefix()?;
        let name = "default".to_owned();
        return match (plain, said) {
            (Some(space_prefix), _) => Ok(Recognised::Plain { name, space_prefix, notes }),
            (None, Some(_)) => Ok(Recognised::Plain { name, space_prefix: false, notes }),
            (None, None) => Err(unknown(normalizer, splitter, "default")),
        };
    }
    if let Some(name) = said {
        return Ok(Recognised::Words { name: name.to_owned(), notes });
    }
    if !subject.keeps_text(&probe(&CHARACTERS))? {
        if !subject.is_nfc {
            return Err(unknown(normalizer, splitter, "NAME"));
        }
        notes.push(format!("{FILE} normalises texts (NFC), which GGUF does not say: they are tokenized as they are"));
    }
    match subject.rules(ignore_merges)? {
        Some(name) => Ok(Recognised::Words { name: name.to_owned(), notes }),
        None => Err(unknown(normalizer, splitter, "NAME")),
    }
}

fn unknown(normalizer: Option<&Value>, splitter: Option<&Value>, name: &str) -> crate::Error {
    let mut patterns = Vec::new();
    splitter.into_iter().for_each(|value| collect_patterns(value, &mut patterns));
    let show = |value: Option<&Value>| value.map_or("none".to_owned(), Value::to_string);
    let shown = if patterns.is_empty() { show(splitter) } else { patterns.join("  then  ") };
    crate::Error::new(
        crate::ErrorKind::Unsupported,
        format!(
            "{FILE}: no known pre-tokenizer splits texts as this one does: {shown} (normalizer: {}); \
             `--pre-tokenizer {name}` converts it with rules that you name",
            show(normalizer)
        ),
    )
}

/// The patterns and strings that a pre-tokenizer splits at.
fn collect_patterns(value: &Value, patterns: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            if let Some(pattern) = map.get("pattern").and_then(|p| p.get("Regex").or(p.get("String"))) {
                patterns.extend(pattern.as_str().map(str::to_owned));
            }
            map.values().for_each(|value| collect_patterns(value, patterns));
        }
        Value::Array(list) => list.iter().for_each(|value| collect_patterns(value, patterns)),
        _ => {}
    }
}

/// What is examined.
struct Subject {
    normalizer: Option<NormalizerWrapper>,
    is_nfc: bool,
    splitter: Option<PreTokenizerWrapper>,
}

impl Subject {
    fn new(normalizer: Option<&Value>, splitter: Option<&Value>) -> Result<Subject> {
        let given = |value: Option<&Value>| value.filter(|value| !value.is_null()).cloned();
        let normalizer = given(normalizer).map(serde_json::from_value).transpose();
        let splitter = given(splitter).map(serde_json::from_value).transpose();
        let normalizer: Option<NormalizerWrapper> =
            normalizer.map_err(|e| invalid(FILE, format!("normalizer: {e}")))?;
        let is_nfc = matches!(normalizer, Some(NormalizerWrapper::NFC(_)));
        let splitter = splitter.map_err(|e| invalid(FILE, format!("pre_tokenizer: {e}")))?;
        Ok(Subject { normalizer, is_nfc, splitter })
    }

    fn normalized(&self, text: &str) -> Result<String> {
        let mut normalized = NormalizedString::from(text);
        if let Some(normalizer) = &self.normalizer {
            normalizer.normalize(&mut normalized).map_err(|e| invalid(FILE, format!("normalizer: {e}")))?;
        }
        Ok(normalized.get().to_owned())
    }

    fn keeps_text(&self, text: &str) -> Result<bool> {
        Ok(self.normalized(text)? == text)
    }

    /// The words that merging begins with.
    fn pieces(&self, text: &str) -> Result<Vec<String>> {
        let mut pieces = PreTokenizedString::from(text);
        if let Some(splitter) = &self.splitter {
            splitter.pre_tokenize(&mut pieces).map_err(|e| invalid(FILE, format!("pre_tokenizer: {e}")))?;
        }
        let splits = pieces.get_splits(OffsetReferential::Normalized, OffsetType::Byte);
        Ok(splits.into_iter().map(|(piece, ..)| piece.to_owned()).filter(|piece| !piece.is_empty()).collect())
    }

    /// Whether a space is put in front of a text; `None` if texts do not stay in one piece, or change in more than their spaces.
    fn space_prefix(&self) -> Result<Option<bool>> {
        // Some put it only in front of a text that has none, which is no reason to refuse them.
        let (bare, spaced) = (self.prefix_of(PROBE.trim_start())?, self.prefix_of(PROBE)?);
        Ok(bare.filter(|_| spaced.is_some()))
    }

    fn prefix_of(&self, text: &str) -> Result<Option<bool>> {
        let pieces = self.pieces(&self.normalized(text)?)?;
        let marked = text.replace(' ', "\u{2581}");
        Ok(match &pieces[..] {
            [piece] if *piece == marked => Some(false),
            [piece] if piece.strip_prefix('\u{2581}') == Some(&marked) => Some(true),
            _ => None,
        })
    }

    /// The name of the known rules that split as these do.
    fn rules(&self, ignore_merges: bool) -> Result<Option<&'static str>> {
        let fits = |rules: &SplittingRules| rules.is_byte_level() && rules.ignores_merges() == ignore_merges;
        let mut candidates: Vec<(usize, &'static str, SplittingRules)> = SplittingRules::all()
            .filter(fits)
            .filter_map(|rules| {
                let place = PREFERRED.iter().position(|name| rules.names().contains(name));
                let name = place.map(|place| PREFERRED[place]).or(rules.names().first().copied())?;
                Some((place.unwrap_or(PREFERRED.len()), name, rules))
            })
            .collect();
        candidates.sort_by_key(|(place, ..)| *place);
        // Some rules are known as they are computed, with upper and lower case in ASCII alone: they are compared on less.
        for ascii_case in [false, true] {
            let is_told_apart = |c: &char| c.is_ascii() || !ascii_case || !has_case(*c);
            let characters: Vec<char> = CHARACTERS.into_iter().filter(is_told_apart).collect();
            let text = probe(&characters);
            let pieces = self.pieces(&text)?;
            for (_, name, rules) in &candidates {
                if (!ascii_case || rules.knows_case_in_ascii_alone()) && rules.pieces(&text)? == pieces {
                    return Ok(Some(name));
                }
            }
        }
        Ok(None)
    }
}

/// Upper or lower case, or a mark, which goes with either.
fn has_case(c: char) -> bool {
    c.is_uppercase() || c.is_lowercase() || matches!(c, 'ǅ' | 'ʰ' | 'ª' | '\u{301}' | '\u{903}')
}

/// Text with everything that normalisers are known to change, and that SentencePiece vocabularies leave as it is.
const PROBE: &str =
    " Two  spaces,\ttabs\n\nlines\r\n e\u{301} é ﬁ １２ Ⅷ ½ İ ß ẞ \u{a0}\u{3000}漢字 <s> \u{200b}🚀\u{fe0f} end ";

/// Characters of every kind that rules tell apart.
const CHARACTERS: [char; 72] = [
    'a', 'e', 's', 't', 'r', 'v', 'm', 'l', 'd', 'z', 'S', 'T', 'L', 'R', 'E', 'Z', '1', '2', '3', '0', ' ', ' ', ' ',
    ' ', '\t', '\n', '\n', '\r', '\'', '\'', '"', '.', ',', '!', '?', '-', '/', '_', '(', ')', '{', '<', '>', '=', '+',
    '$', '^', '`', '|', '~', '#', 'ä', 'Ä', 'ж', 'Ж', 'ǅ', 'ʰ', 'ª', '漢', 'か', 'カ', '한', 'ไ', '٣', 'Ⅷ', '½',
    '\u{301}', '\u{903}', '\u{a0}', '\u{3000}', '€', '🚀',
];

/// Contractions in every case, long runs, and what single rules look for.
const PHRASES: &str = " I'll we'RE you'Ve it's 'S don't 'T I'm 'D she'd 'LL x''s 1234567890 a1234567b 12345678901234 \
     HelloWorld's ABCdef XMLHttp    four      six   \n\n   \n  x\t\ty \r\n\r\n z!!!\n\n... ?!\r\n//\n <sentinel:12> IMGIMGABZ \
     中文字符abc ひらがなカタカナ漢字 안녕하세요 ไทยมา1 a\u{301}b\u{301}c x\u{903} €100 $5.00 a_b __init__ #tag @at ~/path/to ";

/// A text of phrases, every pair of characters, and a few thousand at random.
fn probe(characters: &[char]) -> String {
    let keep = |c: &char| c.is_ascii() || characters.len() == CHARACTERS.len() || !has_case(*c);
    let mut text: String = PHRASES.chars().filter(keep).collect();
    for &a in characters {
        for &b in characters {
            text.extend([a, b]);
        }
    }
    // SplitMix64 (Steele et al. 2014).
    let mut state = 0u64;
    for _ in 0..12_000 {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        text.push(characters[((z ^ (z >> 31)) % characters.len() as u64) as usize]);
    }
    text
}
