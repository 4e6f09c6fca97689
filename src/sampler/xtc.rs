//! XTC, "exclude top choices" (P. E. Weidmann, text-generation-webui pull request 6335, 2024).

use super::candidates::Candidates;
use super::math;
use super::rng::Rng;
use super::stage::Stage;

/// With some probability, drops every token whose probability reaches the threshold, except the least probable of
/// them. Takes one random number per token, whether it acts or not.
#[derive(Clone, Copy, Debug)]
pub struct Xtc {
    /// How often it acts, in `[0, 1]`.
    pub probability: f32,
    /// The probability from which a token counts as a top choice, in `[0, 1]`; above 0.5 there is never a second one.
    pub threshold: f32,
}

impl Stage for Xtc {
    fn apply(&mut self, candidates: &mut Candidates, rng: &mut Rng) {
        if rng.unit() >= f64::from(self.probability) {
            return;
        }
        let max = candidates.max();
        // p >= threshold  <=>  logit >= max + ln(threshold * mass)
        let mass = math::mass(candidates.logits(), max);
        let from = f64::from(max) + libm::log(f64::from(self.threshold) * mass);
        let is_top = |logit: f32| logit > f32::NEG_INFINITY && f64::from(logit) >= from;
        // The least probable top choice: the last of the smallest, so that of equals the lower ids are dropped first.
        let logits = candidates.logits().iter().copied().enumerate();
        let least = logits.filter(|(_, l)| is_top(*l)).reduce(|a, b| if b.1 <= a.1 { b } else { a });
        if let Some((least, _)) = least {
            candidates.retain(|position, logit| position == least || !is_top(logit));
        }
    }
}
