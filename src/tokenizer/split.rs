//! Cuts a text into words by the rules of its vocabulary, in time linear in its length.

use regex_automata::Input;
use regex_automata::meta::Regex;

use super::pre_tokenizer::Rule;
use crate::error::{Error, ErrorKind, Result};

/// `▁` (U+2581), which stands for the space in vocabularies of plain text.
pub(super) const SPACE_MARK: &str = "\u{2581}";

/// The compiled rules of one vocabulary.
pub(super) struct Splitter {
    steps: Vec<Step>,
}

enum Step {
    Isolate(Regex),
    /// Pattern 0 is the words, pattern 1 a run of white space; see [`Spaces`].
    Words(Regex, Spaces),
    NumbersFromRight(Regex),
    DigitsFromRight,
    Metaspace,
}

/// How much of a run of white space is taken at once.
#[derive(Clone, Copy)]
enum Spaces {
    /// All, but the last character is left to a word that follows.
    AllButLast,
    /// The same in powers of two, at most 512.
    PowersOfTwo,
}

impl Splitter {
    pub(super) fn new(rules: &[Rule]) -> Result<Self> {
        Ok(Splitter { steps: rules.iter().map(Step::new).collect::<Result<_>>()? })
    }

    /// The ends of the pieces, ascending; the last is the length of `text`. Nothing for an empty text.
    pub(super) fn split(&self, text: &str) -> Vec<usize> {
        let mut ends = if text.is_empty() { vec![] } else { vec![text.len()] };
        for step in &self.steps {
            let mut cuts = Cuts { ends: Vec::with_capacity(ends.len()), last: 0 };
            let mut start = 0;
            for &end in &ends {
                step.cut(&text[start..end], start, &mut cuts);
                cuts.at(end);
                start = end;
            }
            ends = cuts.ends;
        }
        ends
    }
}

/// The ends found so far.
struct Cuts {
    ends: Vec<usize>,
    last: usize,
}

impl Cuts {
    fn at(&mut self, offset: usize) {
        if offset > self.last {
            self.ends.push(offset);
            self.last = offset;
        }
    }
}

impl Step {
    fn new(rule: &Rule) -> Result<Self> {
        Ok(match *rule {
            Rule::Isolate(pattern) => Step::Isolate(compile(&[pattern])?),
            Rule::Words(pattern) => Step::Words(compile(&[pattern, r"\s+"])?, Spaces::AllButLast),
            Rule::WordsAndPowersOfSpaces(pattern) => Step::Words(compile(&[pattern, r"\s+"])?, Spaces::PowersOfTwo),
            Rule::NumbersFromRight => Step::NumbersFromRight(compile(&[r"\p{N}+"])?),
            Rule::DigitsFromRight => Step::DigitsFromRight,
            Rule::Metaspace => Step::Metaspace,
        })
    }

    /// Reports the cuts inside `piece`, which stands at `base` in the text.
    fn cut(&self, piece: &str, base: usize, cuts: &mut Cuts) {
        match self {
            Step::Isolate(regex) => {
                for found in regex.find_iter(piece) {
                    cuts.at(base + found.start());
                    cuts.at(base + found.end());
                }
            }
            Step::Words(regex, spaces) => cut_words(regex, *spaces, piece, base, cuts),
            Step::NumbersFromRight(regex) => {
                for found in regex.find_iter(piece) {
                    let run = &piece[found.range()];
                    let first = match run.chars().count() % 3 {
                        0 => 3,
                        rest => rest,
                    };
                    let ends = run.char_indices().map(|(at, c)| at + c.len_utf8());
                    ends.skip(first - 1).step_by(3).for_each(|end| cuts.at(base + found.start() + end));
                }
            }
            Step::DigitsFromRight => {
                let mut run = 0;
                let mut found = Vec::new();
                for (at, byte) in piece.bytes().enumerate().rev() {
                    run = if byte.is_ascii_digit() { run + 1 } else { 0 };
                    if run != 0 && run % 3 == 0 {
                        found.push(base + at);
                    }
                }
                found.into_iter().rev().for_each(|cut| cuts.at(cut));
            }
            Step::Metaspace => piece.match_indices(SPACE_MARK).for_each(|(at, _)| cuts.at(base + at)),
        }
    }
}

fn cut_words(regex: &Regex, spaces: Spaces, piece: &str, base: usize, cuts: &mut Cuts) {
    let mut from = 0;
    while let Some(found) = regex.search(&Input::new(piece).range(from..)) {
        cuts.at(base + found.start());
        from = found.end();
        if found.pattern().as_usize() == 1 {
            from = take_spaces(spaces, &piece[found.range()], found.end() == piece.len(), |taken| {
                cuts.at(base + found.start() + taken);
            }) + found.start();
        }
        cuts.at(base + from);
    }
}

/// Takes what it may of a run of white space, reports the ends of what it takes, and returns where it stopped. A run at the end of
/// its piece, and a single space, are always taken whole.
fn take_spaces(spaces: Spaces, run: &str, at_end: bool, mut taken_to: impl FnMut(usize)) -> usize {
    let last = run.char_indices().next_back().map_or(0, |(at, _)| at);
    let limit = if at_end || last == 0 { run.len() } else { last };
    if let Spaces::PowersOfTwo = spaces {
        let ends: Vec<usize> = run[..limit].char_indices().map(|(at, c)| at + c.len_utf8()).collect();
        let mut taken = 0;
        while taken < ends.len() {
            let rest = ends.len() - taken;
            taken += 1 << rest.ilog2().min(9);
            taken_to(ends[taken - 1]);
        }
    }
    limit
}

fn compile(patterns: &[&str]) -> Result<Regex> {
    Regex::new_many(patterns)
        .map_err(|e| Error::new(ErrorKind::Internal, format!("splitting pattern `{}`: {e}", patterns[0])))
}

#[cfg(test)]
mod tests {
    use super::super::pre_tokenizer;
    use super::*;

    fn pieces<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
        let row = pre_tokenizer::by_name(Some(name)).unwrap();
        let mut start = 0;
        let ends = Splitter::new(row.rules).unwrap().split(text);
        ends.into_iter().map(|end| &text[std::mem::replace(&mut start, end)..end]).collect()
    }

    #[test]
    fn every_row_compiles_and_loses_nothing() {
        let text = " I'LL  pay 1234567 €…\r\n\n\u{3000}\tdon't 漢字かな 한국어 e\u{301}É ﷽ \u{1f680}\u{fe0f}x_y/z <sentinel:12>  ";
        for name in pre_tokenizer::names() {
            assert_eq!(pieces(name, text).concat(), text, "{name}");
            assert!(pieces(name, "").is_empty());
        }
    }

    #[test]
    fn a_run_of_spaces_leaves_its_last_one_to_the_word_behind_it() {
        assert_eq!(pieces("gpt-2", "a   b  "), ["a", "  ", " b", "  "]);
        assert_eq!(pieces("llama-bpe", "a \n  b"), ["a", " \n", " ", " b"]);
        assert_eq!(pieces("gpt-2", "\u{3000}\u{3000}x"), ["\u{3000}", "\u{3000}", "x"]);
    }

    #[test]
    fn spaces_in_powers_of_two() {
        let text = format!("{}x", " ".repeat(1024 + 7));
        let lengths: Vec<usize> = pieces("jais-2", &text).iter().map(|p| p.len()).collect();
        assert_eq!(lengths, [512, 512, 4, 2, 2]);
        assert_eq!(pieces("jais-2", "a  b   "), ["a", " ", " b", "  ", " "]);
    }

    #[test]
    fn groups_of_three_from_the_right() {
        assert_eq!(pieces("superbpe", "x1234567y123"), ["x", "1", "234", "567", "y", "123"]);
        assert_eq!(pieces("superbpe", "１1234"), ["１1", "234"]);
        assert_eq!(pieces("tiny_aya", "1234567 12"), ["1", "234", "567", " ", "12"]);
        assert_eq!(pieces("tiny_aya", "１２３４"), ["１", "２３４"]);
    }

    #[test]
    fn upper_and_lower_case_of_gpt_4o() {
        assert_eq!(pieces("gpt-4o", "HelloWorld's ABCdef"), ["Hello", "World's", " ABCdef"]);
    }

    /// The patterns as llama.cpp has them, run by an engine with look-ahead, give the same pieces for every name.
    #[test]
    fn every_name_splits_as_its_pattern_does_elsewhere() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/pre_tokenizer_splits.json");
        let reference: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let text = reference["text"].as_str().unwrap();
        let mut unseen: std::collections::BTreeSet<&str> = pre_tokenizer::names().collect();
        for row in reference["splits"].as_array().unwrap() {
            let expected: Vec<u64> = row["lengths"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            for name in row["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()) {
                let lengths: Vec<u64> = pieces(name, text).iter().map(|piece| piece.chars().count() as u64).collect();
                assert_eq!(lengths, expected, "{name}");
                assert!(unseen.remove(name), "{name}");
            }
        }
        // Its words are made by hand, not by a pattern.
        assert!(unseen.into_iter().eq(["mmbert"]));
        assert_eq!(pieces("mmbert", "▁a▁▁b\n\n▁c"), ["▁a", "▁", "▁b", "\n\n", "▁c"]);
    }
}
