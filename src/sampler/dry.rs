//! DRY, "don't repeat yourself": a penalty on the token that would continue a repeated passage.
//!
//! P. E. Weidmann, text-generation-webui pull request 5677 (2024). For every earlier place whose preceding tokens equal
//! the newest ones, let `n` be the length of that match; the token which came next there would make the repetition
//! longer. With the longest such `n` per token, `n >= allowed_length` costs it
//! `multiplier * base^(n - allowed_length)`. A match never reaches back over a sequence breaker (such as a line end),
//! and a token that is a breaker by itself is never penalized.
//!
//! Match lengths come from the Z function of the reversed window (D. Gusfield, "Algorithms on strings, trees and
//! sequences", 1997, section 1.4): `z[k]` is the length of the longest common prefix of the whole and of its part from
//! k on, found in linear time.

use super::candidates::Candidates;
use super::history::History;
use super::rng::Rng;
use super::stage::Stage;

/// Penalizes tokens that continue a repetition.
#[derive(Clone, Debug)]
pub struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    single_breakers: Vec<u32>,    // ascending
    long_breakers: Vec<Vec<u32>>, // two tokens and more
    history: History,
    reversed: Vec<u32>,           // scratch: the window, newest first
    z: Vec<usize>,                // scratch: the Z function of it
    penalties: Vec<(u32, usize)>, // scratch: token and match length, ascending by token
}

impl Dry {
    /// `multiplier >= 0`, `base >= 1`; `last_n`: the window, `None` for all tokens; `breakers`: token sequences, none
    /// empty.
    pub fn new(
        multiplier: f32,
        base: f32,
        allowed_length: usize,
        last_n: Option<usize>,
        breakers: &[Vec<u32>],
    ) -> Self {
        let mut single: Vec<u32> = breakers.iter().filter(|b| b.len() == 1).map(|b| b[0]).collect();
        single.sort_unstable();
        single.dedup();
        Dry {
            multiplier,
            base,
            allowed_length,
            single_breakers: single,
            long_breakers: breakers.iter().filter(|b| b.len() > 1).cloned().collect(),
            history: History::new(last_n),
            reversed: Vec::new(),
            z: Vec::new(),
            penalties: Vec::new(),
        }
    }

    /// How many tokens came after the last complete breaker: no match may be longer.
    fn tokens_after_breaker(&self) -> usize {
        let window = &self.reversed;
        (0..window.len())
            .find(|&i| {
                self.single_breakers.binary_search(&window[i]).is_ok()
                    || self
                        .long_breakers
                        .iter()
                        .any(|b| window[i..].len() >= b.len() && b.iter().rev().zip(&window[i..]).all(|(a, b)| a == b))
            })
            .unwrap_or(window.len())
    }

    /// The tokens that would continue a repetition of at least `allowed_length`, each with its longest match.
    fn find_repetitions(&mut self) {
        self.penalties.clear();
        self.reversed.clear();
        self.reversed.extend(self.history.newest_first());
        let limit = self.tokens_after_breaker();
        if limit < self.allowed_length.max(1) {
            return;
        }
        z_function(&self.reversed, &mut self.z);
        for k in 1..self.reversed.len() {
            let n = self.z[k].min(limit);
            let next = self.reversed[k - 1];
            if n >= self.allowed_length.max(1) && self.single_breakers.binary_search(&next).is_err() {
                self.penalties.push((next, n));
            }
        }
        // The longest match of each token first, then drop the others.
        self.penalties.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
        self.penalties.dedup_by_key(|p| p.0);
    }
}

impl Stage for Dry {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        self.find_repetitions();
        candidates.edit(&self.penalties, |logit, &n| {
            let power = libm::pow(f64::from(self.base), (n - self.allowed_length) as f64);
            // A penalty beyond the largest f32 must not make a candidate excluded for ever: it stays a number.
            let penalty = (f64::from(self.multiplier) * power).min(f64::from(f32::MAX)) as f32;
            if logit > f32::NEG_INFINITY { (logit - penalty).max(f32::MIN) } else { logit }
        });
    }

    fn accept(&mut self, token: u32) {
        self.history.push(token);
    }

    fn reset(&mut self) {
        self.history.clear();
    }
}

/// The Z function of `s` into `z`; `z[0]` is the length.
fn z_function(s: &[u32], z: &mut Vec<usize>) {
    z.clear();
    z.resize(s.len(), s.len());
    // [left, right): the known match with a prefix that reaches furthest.
    let (mut left, mut right) = (0, 0);
    for k in 1..s.len() {
        let mut n = if k < right { z[k - left].min(right - k) } else { 0 };
        while k + n < s.len() && s[n] == s[k + n] {
            n += 1;
        }
        z[k] = n;
        if k + n > right {
            (left, right) = (k, k + n);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn z_function_is_the_common_prefix(s in prop::collection::vec(0u32..3, 0..40)) {
            let mut z = Vec::new();
            z_function(&s, &mut z);
            for k in 0..s.len() {
                let plain = s.iter().zip(&s[k..]).take_while(|(a, b)| a == b).count();
                prop_assert_eq!(z[k], plain);
            }
        }
    }
}
