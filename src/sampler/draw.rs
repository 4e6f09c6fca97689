//! The end of the chain: one token drawn by probability.

use super::candidates::Candidates;
use super::math;
use super::rng::Rng;

/// A drawn token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Drawn {
    pub token: u32,
    /// `-ln p` of the token among the candidates, in nats.
    pub surprise: f64,
}

/// Draws from the softmax of the candidates with one random number: `u * mass` is walked off over the candidates in
/// their order. `None` when there is none.
pub(super) fn draw(candidates: &Candidates, rng: &mut Rng) -> Option<Drawn> {
    let logits = candidates.logits();
    let max = candidates.max();
    if max == f32::NEG_INFINITY {
        return None;
    }
    let mass = math::mass(logits, max);
    let mut left = rng.unit() * mass;
    let mut at = None;
    for (block, first) in logits.chunks(math::BLOCK).zip((0..).step_by(math::BLOCK)) {
        let block_mass = math::block_mass(block, max);
        if left >= block_mass {
            left -= block_mass;
        } else {
            at = walk(block, max, left).map(|i| first + i);
            break;
        }
    }
    // Only a rounding at the very end of the last block gets here with nothing: then the last token of any weight.
    let at = at.or_else(|| logits.iter().rposition(|&l| math::weight(l, max) > 0.0))?;
    let surprise = libm::log(mass) - f64::from(math::below_max(logits[at], max));
    Some(Drawn { token: candidates.id(at), surprise })
}

/// The position in the block where the running sum of weights passes `left`; of a sum that rounds short of it, the last
/// token with any weight.
fn walk(block: &[f32], max: f32, mut left: f64) -> Option<usize> {
    let mut last = None;
    for (i, &logit) in block.iter().enumerate() {
        let weight = f64::from(math::weight(logit, max));
        if weight > 0.0 {
            last = Some(i);
            if left < weight {
                break;
            }
            left -= weight;
        }
    }
    last
}
