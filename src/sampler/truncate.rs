//! The stages that cut by rank, mass or distance from the maximum.

use super::candidates::Candidates;
use super::math;
use super::rng::Rng;
use super::stage::Stage;

/// Top-k (A. Fan et al., "Hierarchical neural story generation", 2018): the `k` largest logits.
#[derive(Clone, Copy, Debug)]
pub struct TopK(
    /// k, at least 1.
    pub usize,
);

impl Stage for TopK {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        candidates.keep_top(self.0.max(1));
    }

    fn keeps_top(&self) -> Option<usize> {
        Some(self.0.max(1))
    }
}

/// Top-p, nucleus sampling (A. Holtzman et al., "The curious case of neural text degeneration", 2019, equation 2): the
/// smallest set of most probable tokens whose probabilities sum to at least p.
#[derive(Clone, Copy, Debug)]
pub struct TopP(
    /// p in `[0, 1]`; 0 keeps one token, 1 all of them.
    pub f32,
);

impl Stage for TopP {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        if self.0 >= 1.0 {
            return;
        }
        let mass = math::mass(candidates.logits(), candidates.max());
        candidates.keep_mass(f64::from(self.0) * mass);
    }
}

/// Min-p (N. N. Minh et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs", 2024): the
/// tokens at least `p` times as probable as the most probable one, that is `logit >= max + ln(p)`.
#[derive(Clone, Copy, Debug)]
pub struct MinP(
    /// p in `[0, 1]`; 0 keeps every token.
    pub f32,
);

impl Stage for MinP {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        if self.0 <= 0.0 {
            return;
        }
        candidates.keep_from(f64::from(candidates.max()) + libm::log(f64::from(self.0)));
    }
}

/// Top-nσ (C. Tang et al., "Top-nσ: not all logits are you need", 2024): the logits within `n` standard deviations of
/// the maximum. The deviation is the population's, over the candidates.
#[derive(Clone, Copy, Debug)]
pub struct TopNSigma(
    /// n, above 0.
    pub f32,
);

impl Stage for TopNSigma {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        let max = candidates.max();
        if max == f32::INFINITY {
            return candidates.keep_from(f64::INFINITY);
        }
        let sigma = math::deviation(candidates.logits());
        candidates.keep_from(f64::from(max) - f64::from(self.0) * sigma);
    }
}
