//! Temperature, fixed and dynamic.
//!
//! Dynamic: "dynamic temperature sampling" of kalomaze (2023), as it circulates: with the entropy H of `n` candidates,
//! `t = lo + (hi - lo) * (H / ln n)^exponent`, so that a sure model is sampled coldly and an unsure one warmly.

use super::candidates::Candidates;
use super::math;
use super::rng::Rng;
use super::stage::Stage;

/// Divides the logits by a temperature.
#[derive(Clone, Copy, Debug)]
pub struct Temperature {
    /// The temperature, above 0.
    pub temp: f32,
    /// Half the width of the dynamic range: `temp - range` (at least 0) to `temp + range`; 0 makes it fixed.
    pub range: f32,
    /// How the normalized entropy maps to that range; at least 0.
    pub exponent: f32,
}

impl Temperature {
    fn dynamic(&self, candidates: &Candidates) -> f32 {
        let n = candidates.count();
        if n < 2 {
            return self.temp;
        }
        let max = candidates.max();
        let mass = math::mass(candidates.logits(), max);
        let normalized = (math::entropy(candidates.logits(), max, mass) / libm::log(n as f64)).min(1.0);
        let (temp, range) = (f64::from(self.temp), f64::from(self.range));
        let (lo, hi) = ((temp - range).max(0.0), temp + range);
        (lo + (hi - lo) * libm::pow(normalized, f64::from(self.exponent))) as f32
    }
}

impl Stage for Temperature {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        let t = if self.range > 0.0 { self.dynamic(candidates) } else { self.temp };
        let max = candidates.max();
        // Where the quotient would leave f32, the limit of a falling temperature: the maximum alone.
        if t <= 0.0 || (max.is_finite() && !(max / t).is_finite()) {
            candidates.keep_top(1);
        } else {
            candidates.divide(t);
        }
    }
}
