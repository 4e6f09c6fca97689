//! The splitting rules that a file can name, for whoever must find the name of rules that a vocabulary came with.

use super::bpe::byte_to_char;
use super::pre_tokenizer::{self, PreTokenizer, Rule};
use super::split::Splitter;
use crate::error::Result;

/// One set of splitting rules, with the names in `tokenizer.ggml.pre` that mean it.
#[derive(Clone, Copy)]
pub struct SplittingRules(&'static PreTokenizer);

impl SplittingRules {
    /// Every set that is known.
    pub fn all() -> impl Iterator<Item = SplittingRules> {
        pre_tokenizer::rows().iter().map(SplittingRules)
    }

    /// The set that a name means.
    pub fn find(name: &str) -> Option<SplittingRules> {
        SplittingRules::all().find(|rules| rules.names().contains(&name))
    }

    /// Its names.
    pub fn names(&self) -> &'static [&'static str] {
        self.0.names
    }

    /// Whether a word that is a token is that token, even if merging would not reach it.
    pub fn ignores_merges(&self) -> bool {
        self.0.ignore_merges
    }

    /// Whether tokens are texts over stand-ins for bytes.
    pub fn is_byte_level(&self) -> bool {
        self.0.byte_level
    }

    /// Whether its names stand for rules that tell upper from lower case everywhere, while the field's runtimes, this one
    /// included, do so in ASCII alone.
    pub fn knows_case_in_ascii_alone(&self) -> bool {
        let of_rule = |rule: &Rule| matches!(rule, Rule::Words(pattern) if pattern.contains("&&[^a-z]"));
        self.0.rules.iter().any(of_rule)
    }

    /// The words of a text, in byte-level vocabularies written with the stand-ins.
    pub fn pieces(&self, text: &str) -> Result<Vec<String>> {
        let mut start = 0;
        let ends = Splitter::new(self.0.rules)?.split(text);
        let words = ends.into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]);
        Ok(match self.0.byte_level {
            true => words.map(|word| word.bytes().map(byte_to_char).collect()).collect(),
            false => words.map(str::to_owned).collect(),
        })
    }
}
