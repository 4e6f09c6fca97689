//! Finds special tokens in a text before anything else is split.
//!
//! The rule is that of llama.cpp: longer tokens are looked for before shorter ones, each in what is left of the text, from left
//! to right. Done literally that is one pass over the text for each of thousands of tokens. Here one automaton finds all
//! occurrences in one pass and the rule is applied only where occurrences overlap:
//!
//! ```text
//! clusters <- the unions of overlapping occurrences
//! in each cluster: for its tokens, longest first: cut it out of what is left of the cluster
//! ```

use std::cmp::Reverse;
use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, Input};

use super::vocabulary::{TokenKind, TokenTexts};
use crate::error::{Error, ErrorKind, Result, bail};

/// The longest special token. Those in circulation have less than a hundred bytes.
const MAX_SPECIAL_BYTES: usize = 4096;

/// A piece of the text.
#[derive(Debug, PartialEq)]
pub(super) enum Fragment {
    /// Ordinary text: byte offsets.
    Text(Range<usize>),
    /// A special token.
    Token(u32),
}

/// Models whose special tokens take white space beside them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Family {
    Other,
    StripsBeforeMask,
    Phi3,
}

impl Family {
    /// By `tokenizer.ggml.pre`, `general.architecture` and `general.name`.
    pub(super) fn of(pre: &str, architecture: &str, model_name: &str) -> Family {
        let name = model_name.to_ascii_lowercase();
        let strips_before_mask = ["jina-v2-de", "jina-v2-es", "jina-v2-code", "mmbert"].iter().any(|p| pre.contains(p))
            || ["nomic-bert-moe", "jina-bert-v3"].iter().any(|a| architecture.contains(a));
        match () {
            () if strips_before_mask => Family::StripsBeforeMask,
            () if name.contains("phi-3") || name.contains("phi3") => Family::Phi3,
            () if name.contains("modern-bert") => Family::StripsBeforeMask,
            () => Family::Other,
        }
    }
}

/// The special tokens of a vocabulary.
pub(super) struct Partition {
    automaton: AhoCorasick,
    tokens: Vec<Special>,
}

/// A token that is found in the text.
#[derive(Clone, Copy)]
struct Special {
    id: u32,
    len: usize,
    /// Only with `parse_special`.
    is_structure: bool,
    strip_left: bool,
    strip_right: bool,
}

/// A stretch covered by overlapping occurrences.
struct Cluster {
    range: Range<usize>,
    /// The only occurrence, or none if there are several.
    only: Option<usize>,
}

/// A token found at an offset.
struct Found {
    start: usize,
    token: usize,
}

impl Partition {
    /// Control, user-defined and unknown tokens. That some take the white space beside them is not written in the file but
    /// known by the family: the mask of some BERT models takes it on the left, most of Phi-3's tokens on the right.
    pub(super) fn new(texts: &TokenTexts, kinds: &[TokenKind], family: Family) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut patterns = Vec::new();
        for (id, (text, kind)) in texts.iter().zip(kinds).enumerate() {
            let is_structure = matches!(kind, TokenKind::Control | TokenKind::Unknown);
            if text.is_empty() || !(is_structure || *kind == TokenKind::UserDefined) {
                continue;
            }
            if text.len() > MAX_SPECIAL_BYTES {
                bail!(
                    InvalidModel,
                    "tokenizer.ggml.tokens: special token {id} has {} bytes (at most {MAX_SPECIAL_BYTES})",
                    text.len()
                );
            }
            patterns.push(text);
            tokens.push(Special {
                id: id as u32,
                len: text.len(),
                is_structure,
                strip_left: family == Family::StripsBeforeMask && ["<mask>", "[MASK]"].contains(&text),
                strip_right: family == Family::Phi3 && !["<unk>", "<s>", "<|endoftext|>"].contains(&text),
            });
        }
        // A contiguous automaton with one dense state: what it takes is in proportion to the texts, whatever they are.
        let automaton = AhoCorasick::builder()
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .dense_depth(1)
            .prefilter(false)
            .build(patterns)
            .map_err(|e| Error::new(ErrorKind::InvalidModel, format!("tokenizer.ggml.tokens: special tokens: {e}")))?;
        Ok(Partition { automaton, tokens })
    }

    /// Cuts `text` at its special tokens; control and unknown tokens count only with `parse_special`.
    pub(super) fn split(&self, texts: &TokenTexts, text: &str, parse_special: bool) -> Vec<Fragment> {
        let mut fragments = Vec::new();
        let mut from = 0;
        let mut strip_right = false;
        for Found { start, token } in self.find(texts, text, parse_special) {
            let token = self.tokens[token];
            push_text(&mut fragments, text, from..start, strip_right, token.strip_left);
            fragments.push(Fragment::Token(token.id));
            from = start + token.len;
            strip_right = token.strip_right;
        }
        push_text(&mut fragments, text, from..text.len(), strip_right, false);
        fragments
    }

    /// The chosen occurrences from left to right.
    fn find(&self, texts: &TokenTexts, text: &str, parse_special: bool) -> Vec<Found> {
        let mut found = Vec::new();
        // The number of the last cluster in which each token was seen.
        let mut seen_in = Vec::new();
        for (i, cluster) in self.clusters(text, parse_special).into_iter().enumerate() {
            if let Some(token) = cluster.only {
                found.push(Found { start: cluster.range.start, token });
                continue;
            }
            seen_in.resize(self.tokens.len(), usize::MAX);
            let mut present = Vec::new();
            for occurrence in self.occurrences(text, cluster.range.clone(), parse_special) {
                let token = occurrence.pattern().as_usize();
                if std::mem::replace(&mut seen_in[token], i) != i {
                    present.push(token);
                }
            }
            self.resolve(texts, text, cluster.range, present, &mut found);
        }
        found
    }

    fn occurrences<'a>(
        &'a self,
        text: &'a str,
        range: Range<usize>,
        parse_special: bool,
    ) -> impl Iterator<Item = aho_corasick::Match> + 'a {
        self.automaton
            .find_overlapping_iter(Input::new(text).range(range))
            .filter(move |found| parse_special || !self.tokens[found.pattern().as_usize()].is_structure)
    }

    fn clusters(&self, text: &str, parse_special: bool) -> Vec<Cluster> {
        let mut clusters: Vec<Cluster> = Vec::new();
        // Occurrences come in order of their ends.
        for found in self.occurrences(text, 0..text.len(), parse_special) {
            let mut cluster = Cluster { range: found.range(), only: Some(found.pattern().as_usize()) };
            while let Some(before) = clusters.pop_if(|before| before.range.end > cluster.range.start) {
                cluster = Cluster { range: before.range.start.min(cluster.range.start)..cluster.range.end, only: None };
            }
            clusters.push(cluster);
        }
        clusters
    }

    /// Applies the rule in one cluster, in which the tokens `present` occur.
    fn resolve(
        &self,
        texts: &TokenTexts,
        text: &str,
        range: Range<usize>,
        mut present: Vec<usize>,
        out: &mut Vec<Found>,
    ) {
        present.sort_unstable_by_key(|&token| (Reverse(self.tokens[token].len), self.tokens[token].id));
        let first = out.len();
        let mut left_over = vec![range];
        for token in present {
            let Special { id, len, .. } = self.tokens[token];
            let Some(needle) = texts.text(id) else { continue };
            let mut rest = Vec::with_capacity(left_over.len());
            for Range { start, end } in left_over {
                let mut from = start;
                for (at, _) in text[start..end].match_indices(needle) {
                    let at = start + at;
                    if at > from {
                        rest.push(from..at);
                    }
                    out.push(Found { start: at, token });
                    from = at + len;
                }
                if from < end {
                    rest.push(from..end);
                }
            }
            left_over = rest;
        }
        out[first..].sort_unstable_by_key(|found| found.start);
    }
}

/// Appends a stretch of ordinary text, less the white space that the tokens beside it take.
fn push_text(fragments: &mut Vec<Fragment>, text: &str, range: Range<usize>, strip_start: bool, strip_end: bool) {
    let Range { mut start, mut end } = range;
    let is_space = |c: char| matches!(c, ' ' | '\t'..='\r');
    if strip_end {
        end = start + text[start..end].trim_end_matches(is_space).len();
    }
    if strip_start {
        start = end - text[start..end].trim_start_matches(is_space).len();
    }
    if start < end {
        fragments.push(Fragment::Text(start..end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(tokens: &[(&str, TokenKind)], family: Family) -> (TokenTexts, Partition) {
        let texts = TokenTexts::new(tokens.iter().map(|t| t.0)).unwrap();
        let kinds: Vec<TokenKind> = tokens.iter().map(|t| t.1).collect();
        let partition = Partition::new(&texts, &kinds, family).unwrap();
        (texts, partition)
    }

    fn show((texts, partition): &(TokenTexts, Partition), text: &str, parse_special: bool) -> String {
        let show = |fragment| match fragment {
            Fragment::Text(range) => format!("`{}`", &text[range]),
            Fragment::Token(id) => id.to_string(),
        };
        partition.split(texts, text, parse_special).into_iter().map(show).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn longer_tokens_go_first_wherever_they_are() {
        use TokenKind::UserDefined;
        let tokens = partition(&[("xab", UserDefined), ("abcd", UserDefined), ("ab", UserDefined)], Family::Other);
        assert_eq!(show(&tokens, "xabcd xab ab", false), "`x` 1 ` ` 0 ` ` 2");
        let lines = partition(&[("\n", UserDefined), ("\n\n", UserDefined)], Family::Other);
        assert_eq!(show(&lines, "a\n\n\nb\n", false), "`a` 1 0 `b` 0");
        assert_eq!(show(&lines, "", false), "");
    }

    #[test]
    fn structure_is_text_unless_asked_for() {
        let tokens = partition(
            &[("<s>", TokenKind::Control), ("<unk>", TokenKind::Unknown), ("s>", TokenKind::UserDefined)],
            Family::Other,
        );
        assert_eq!(show(&tokens, "<s><unk>", true), "0 1");
        assert_eq!(show(&tokens, "<s><unk>", false), "`<` 2 `<unk>`");
    }

    #[test]
    fn white_space_beside_a_token_is_taken_by_family() {
        let tokens = [("<|user|>", TokenKind::Control), ("<s>", TokenKind::Control)];
        assert_eq!(show(&partition(&tokens, Family::Phi3), "a <|user|> \n b <s> c", true), "`a ` 0 `b ` 1 ` c`");
        assert_eq!(show(&partition(&tokens, Family::Phi3), " <|user|>  ", true), "` ` 0");
        let mask = partition(&[("<mask>", TokenKind::Control)], Family::StripsBeforeMask);
        assert_eq!(show(&mask, "a \t<mask> b", true), "`a` 0 ` b`");
    }

    /// The literal rule: every token in turn over everything that is left.
    #[test]
    fn clusters_change_nothing() {
        let tokens = ["ab", "ba", "aba", "bab", "abb", "b", "aabb", "bba"].map(|t| (t, TokenKind::UserDefined));
        let (texts, partition) = partition(&tokens, Family::Other);
        for code in 0..3_u32.pow(9) {
            let text: String = (0..9).map(|i| ['a', 'b', 'c'][(code / 3_u32.pow(i)) as usize % 3]).collect();
            let mut literal = Vec::new();
            let whole = 0..text.len();
            partition.resolve(&texts, &text, whole, (0..tokens.len()).collect(), &mut literal);
            let clustered = partition.find(&texts, &text, false);
            let plain = |found: &[Found]| found.iter().map(|f| (f.start, f.token)).collect::<Vec<_>>();
            assert_eq!(plain(&clustered), plain(&literal), "{text}");
        }
    }
}
