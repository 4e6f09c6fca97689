//! Stop strings, found across the borders of pieces.

use crate::error::{Result, bail};

/// Looks for stop strings in text that comes in pieces. Text that may be the beginning of a stop string is held back until
/// the next piece decides; the stop string itself is never let through.
#[derive(Clone, Debug)]
pub struct StopStrings {
    strings: Vec<String>,
    held: String,
}

/// What a piece of text turned into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Matched {
    /// This text is certain; there may be text held back behind it.
    Text(String),
    /// A stop string was completed; this is the text in front of it. What came behind is dropped.
    Stop(String),
}

impl StopStrings {
    /// A search for any of `strings`. An empty one is an error: it would stop at once.
    pub fn new(strings: &[String]) -> Result<Self> {
        if strings.iter().any(String::is_empty) {
            bail!(InvalidArgument, "stop_strings: a stop string is empty");
        }
        Ok(StopStrings { strings: strings.to_vec(), held: String::new() })
    }

    /// Adds a piece of text. Of several stop strings complete in it, the one that begins first counts.
    pub fn push(&mut self, text: &str) -> Matched {
        self.held.push_str(text);
        if let Some(at) = self.strings.iter().filter_map(|s| self.held.find(s.as_str())).min() {
            self.held.truncate(at);
            return Matched::Stop(std::mem::take(&mut self.held));
        }
        let certain = self.held.len() - self.longest_beginning();
        Matched::Text(self.held.drain(..certain).collect())
    }

    /// Ends the text: what was held back is no stop string.
    pub fn finish(&mut self) -> String {
        std::mem::take(&mut self.held)
    }

    /// The length in bytes of the longest end of the held text that begins a stop string.
    fn longest_beginning(&self) -> usize {
        let longest = self.strings.iter().map(|s| s.len() - 1).max().unwrap_or(0).min(self.held.len());
        // Ends are cut at characters: stop strings are whole text, so a match can begin nowhere else.
        let ends = (1..=longest).rev().filter(|n| self.held.is_char_boundary(self.held.len() - n));
        ends.map(|n| &self.held[self.held.len() - n..])
            .find(|end| self.strings.iter().any(|s| s.len() > end.len() && s.starts_with(end)))
            .map_or(0, str::len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stops(strings: &[&str]) -> StopStrings {
        StopStrings::new(&strings.iter().map(|s| s.to_string()).collect::<Vec<_>>()).unwrap()
    }

    fn text(t: &str) -> Matched {
        Matched::Text(t.into())
    }

    fn stop(t: &str) -> Matched {
        Matched::Stop(t.into())
    }

    #[test]
    fn a_beginning_is_held_back_until_it_is_decided() {
        let mut s = stops(&["</end>", "STOP"]);
        assert_eq!(s.push("a <"), text("a "));
        assert_eq!(s.push("/en"), text(""));
        assert_eq!(s.push("try STO"), text("</entry "));
        assert_eq!(s.push("ST"), text("STO"));
        assert_eq!(s.push("OP and more"), stop(""));

        let mut s = stops(&["aab"]);
        assert_eq!(s.push("aaa"), text("a"));
        assert_eq!(s.push("b"), stop(""));

        let mut s = stops(&["xyz"]);
        assert_eq!(s.push("12xy"), text("12"));
        assert_eq!(s.finish(), "xy");
        assert_eq!(s.finish(), "");
    }

    #[test]
    fn the_first_complete_stop_string_counts() {
        assert_eq!(stops(&["later", "soon"]).push("as soon as later"), stop("as "));
        // "bc" is complete while "abcd" is only begun: waiting could not un-complete it.
        assert_eq!(stops(&["abcd", "bc"]).push("-abc"), stop("-a"));
        assert_eq!(stops(&[]).push("anything"), text("anything"));
    }

    #[test]
    fn characters_of_several_bytes_are_not_split() {
        let mut s = stops(&["é!", "日本"]);
        assert_eq!(s.push("caf\u{e8}"), text("caf\u{e8}")); // shares the lead byte of é
        assert_eq!(s.push("日"), text(""));
        assert_eq!(s.push("曜é"), text("日曜"));
        assert_eq!(s.push("!"), stop(""));
    }

    #[test]
    fn an_empty_stop_string_is_refused() {
        let error = StopStrings::new(&["a".into(), String::new()]).unwrap_err();
        assert_eq!(error.to_string(), "stop_strings: a stop string is empty");
    }

    proptest! {
        /// However the text is cut into pieces, what comes out is the text up to the first stop string to be complete.
        #[test]
        fn pieces_do_not_matter(
            pieces in prop::collection::vec("[abé]{0,4}", 0..12),
            strings in prop::collection::vec("[abé]{1,4}", 0..3),
        ) {
            let whole = pieces.concat();
            let ends = (0..=whole.len()).filter(|&i| whole.is_char_boundary(i));
            let first = ends.flat_map(|end| strings.iter().map(move |s| (end, s))).find(|(end, s)| whole[..*end].ends_with(*s));
            // Pieces decide at their own ends, so a later string may be complete as well; one-character pieces do not.
            let mut s = StopStrings::new(&strings).unwrap();
            let mut out = String::new();
            let mut stopped = false;
            for c in whole.chars() {
                match s.push(c.encode_utf8(&mut [0; 4])) {
                    Matched::Text(t) => out += &t,
                    Matched::Stop(t) => {
                        out += &t;
                        stopped = true;
                        break;
                    }
                }
            }
            if !stopped {
                out += &s.finish();
            }
            prop_assert_eq!(stopped, first.is_some());
            if let Some((end, _)) = first {
                let begin = strings.iter().filter(|s| whole[..end].ends_with(*s)).map(|s| end - s.len()).min().unwrap();
                prop_assert_eq!(&out, &whole[..begin]);
            } else {
                prop_assert_eq!(&out, &whole);
            }

            // In the given pieces: stopped in the same cases, and never more text than that.
            let mut s = StopStrings::new(&strings).unwrap();
            let mut in_pieces = String::new();
            let mut stopped_in_pieces = false;
            for piece in &pieces {
                match s.push(piece) {
                    Matched::Text(t) => in_pieces += &t,
                    Matched::Stop(t) => {
                        in_pieces += &t;
                        stopped_in_pieces = true;
                        break;
                    }
                }
            }
            if !stopped_in_pieces {
                in_pieces += &s.finish();
            }
            prop_assert_eq!(stopped, stopped_in_pieces);
            prop_assert!(out.starts_with(&in_pieces));
            prop_assert!(strings.iter().all(|s| !in_pieces.contains(s.as_str())));
        }
    }
}
