//! Locally typical sampling (C. Meister et al., "Locally typical sampling", 2022, equation 10).

use super::candidates::Candidates;
use super::math;
use super::rng::Rng;
use super::stage::Stage;

/// The tokens whose information content `-ln p` is closest to the entropy of the distribution, as many as it takes for
/// their probabilities to sum to at least p. The most probable token may well be dropped.
#[derive(Clone, Debug)]
pub struct Typical {
    p: f32,
    scored: Vec<Scored>, // scratch
    keep: Vec<bool>,     // scratch
}

#[derive(Clone, Copy, Debug)]
struct Scored {
    distance: f64,
    position: u32,
}

impl Typical {
    /// p in `[0, 1]`; 0 keeps one token, 1 all of them.
    pub fn new(p: f32) -> Self {
        Typical { p, scored: Vec::new(), keep: Vec::new() }
    }
}

impl Stage for Typical {
    fn apply(&mut self, candidates: &mut Candidates, _: &mut Rng) {
        if self.p >= 1.0 {
            return;
        }
        let max = candidates.max();
        let logits = candidates.logits();
        let mass = math::mass(logits, max);
        // |-ln p - H| where -ln p = ln(mass) - (logit - max)
        let shift = libm::log(mass) - math::entropy(logits, max, mass);
        self.scored.clear();
        self.scored.extend((0u32..).zip(logits).filter(|(_, l)| **l > f32::NEG_INFINITY).map(|(position, &logit)| {
            Scored { distance: (shift - f64::from(math::below_max(logit, max))).abs(), position }
        }));
        let n_kept = closest(&mut self.scored, f64::from(self.p) * mass, |s| {
            f64::from(math::weight(logits[s.position as usize], max))
        });
        self.keep.clear();
        self.keep.resize(logits.len(), false);
        self.scored[..n_kept].iter().for_each(|s| self.keep[s.position as usize] = true);
        candidates.retain(|position, _| self.keep[position]);
    }
}

/// Moves the entries of least distance, equal ones by position, to the front in order until their weights sum to
/// `mass`; returns how many it took. Sorts eight times as many at each try, not all of them.
fn closest(scored: &mut [Scored], mass: f64, weight: impl Fn(&Scored) -> f64) -> usize {
    let order = |a: &Scored, b: &Scored| a.distance.total_cmp(&b.distance).then(a.position.cmp(&b.position));
    let (mut sorted, mut sum) = (0, 0.0);
    while sorted < scored.len() {
        let end = (sorted * 8).max(64).min(scored.len());
        let rest = &mut scored[sorted..];
        if end - sorted < rest.len() {
            rest.select_nth_unstable_by(end - sorted, order);
        }
        rest[..end - sorted].sort_unstable_by(order);
        for (i, s) in scored.iter().enumerate().take(end).skip(sorted) {
            sum += weight(s);
            if sum >= mass {
                return i + 1;
            }
        }
        sorted = end;
    }
    scored.len()
}
