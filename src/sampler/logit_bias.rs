//! Logit bias: a number added to the logits of chosen tokens.

use super::candidates::Candidates;
use super::rng::Rng;
use super::stage::Stage;

/// Adds a bias to the logits of some tokens; `-inf` excludes a token whatever its logit.
#[derive(Clone, Debug)]
pub struct LogitBias {
    biases: Vec<(u32, f32)>, // ascending by token, each once
}

impl LogitBias {
    /// Biases by token; those of a token named twice add up. None is NaN or `+inf`.
    pub fn new(biases: &[(u32, f32)]) -> Self {
        let mut sorted = biases.to_vec();
        sorted.sort_by_key(|(token, _)| *token);
        sorted.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 += later.1;
            }
            same
        });
        LogitBias { biases: sorted }
    }
}

impl Stage for LogitBias {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        // -inf first: it also excludes a token whose logit is +inf, where a sum would be NaN.
        candidates.edit(&self.biases, |logit, &bias| if bias == f32::NEG_INFINITY { bias } else { logit + bias });
    }
}
