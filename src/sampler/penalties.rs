//! Penalties on tokens that occurred lately.
//!
//! Repetition: N. S. Keskar et al., "CTRL: A conditional transformer language model for controllable generation", 2019,
//! section 4.1, with the circulating correction for logits below 0 (multiplied, because dividing would favour them).
//! Frequency and presence: as the OpenAI API documents them, `logit -= count * frequency + (count > 0) * presence`.

use super::candidates::Candidates;
use super::history::History;
use super::rng::Rng;
use super::stage::Stage;

/// Lowers the logits of the tokens in a window of the last accepted ones.
#[derive(Clone, Debug)]
pub struct Penalties {
    history: History,
    counts: Vec<(u32, u32)>, // token and its count in the window, ascending by token
    repeat: f32,
    frequency: f32,
    presence: f32,
}

impl Penalties {
    /// `last_n`: the window, `None` for all tokens. `repeat > 0` divides (1 changes nothing); `frequency` and `presence`
    /// subtract (0 changes nothing).
    pub fn new(last_n: Option<usize>, repeat: f32, frequency: f32, presence: f32) -> Self {
        Penalties { history: History::new(last_n), counts: Vec::new(), repeat, frequency, presence }
    }

    fn uncount(&mut self, token: u32) {
        if let Ok(at) = self.counts.binary_search_by_key(&token, |c| c.0) {
            self.counts[at].1 -= 1;
            if self.counts[at].1 == 0 {
                self.counts.remove(at);
            }
        }
    }
}

impl Stage for Penalties {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        let (repeat, frequency, presence) = (self.repeat, self.frequency, self.presence);
        candidates.edit(&self.counts, |logit, &count| {
            let repeated = if logit <= 0.0 { logit * repeat } else { logit / repeat };
            repeated - (count as f32 * frequency + presence)
        });
    }

    fn accept(&mut self, token: u32) {
        match self.counts.binary_search_by_key(&token, |c| c.0) {
            Ok(at) => self.counts[at].1 += 1,
            Err(at) => self.counts.insert(at, (token, 1)),
        }
        if let Some(left) = self.history.push(token) {
            self.uncount(left);
        }
    }

    fn reset(&mut self) {
        self.history.clear();
        self.counts.clear();
    }
}
