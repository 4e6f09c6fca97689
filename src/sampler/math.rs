//! The arithmetic of the sampler, defined to the bit so that a seed gives the same tokens on every machine.
//!
//! Logits are f32. A softmax weight is `exp(logit - max)` in f32 by the polynomial below: plain multiplications and
//! additions, which no compiler may contract or reorder in Rust, so that vector and scalar code give the same bits.
//! Sums of weights run over blocks of 1024 in 16 f32 lanes (lane i takes elements i mod 16), each block folded in f64
//! by a fixed tree, the blocks added in order. Logarithms and powers are the `libm` crate's, in f64.

/// Weights of tokens this far (in nats) or further below the maximum are exactly 0: `exp(-87)` is the last whole
/// power that is a normal f32, and no denormal must appear, because not every CPU treats them alike.
const CUTOFF: f32 = -87.0;

/// Elements of one block of a sum.
pub(super) const BLOCK: usize = 1024;
const LANES: usize = 16;

/// `e^x` for `x <= 0`, within 2 ulp; 0 at and below -87. Reduction to `|r| <= ln(2)/2`, then Taylor to `r^7`: the
/// first term left out is below `r^8 / 8! = 5e-9`, a twelfth of an ulp.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23: adding it rounds to a whole number, held in the low mantissa bits
    const LN2_HI: f32 = 355.0 / 512.0; // few bits: n * LN2_HI is exact for |n| < 2^15
    const LN2_LO: f32 = -2.121_944_4e-4;
    let clamped = if x > CUTOFF { x } else { CUTOFF };
    let t = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = t - ROUND;
    let r = clamped - n * LN2_HI - n * LN2_LO;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let exponent = t.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23;
    let e = p * f32::from_bits(exponent);
    if x > CUTOFF { e } else { 0.0 }
}

/// `logit - max`, and 0 for the maximum itself even when it is infinite: then the infinite logits share all the mass.
#[inline(always)]
pub(super) fn below_max(logit: f32, max: f32) -> f32 {
    if logit == max { 0.0 } else { logit - max }
}

/// The softmax weight of `logit`, not yet divided by the sum.
#[inline(always)]
pub(super) fn weight(logit: f32, max: f32) -> f32 {
    exp(below_max(logit, max))
}

/// The sum of `term` over one block of at most [`BLOCK`] logits.
#[inline(always)]
fn block_sum(block: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    let mut lanes = [0.0f32; LANES];
    let (whole, rest) = block.as_chunks::<LANES>();
    for group in whole {
        for (lane, &logit) in lanes.iter_mut().zip(group) {
            *lane += term(logit);
        }
    }
    for (lane, &logit) in lanes.iter_mut().zip(rest) {
        *lane += term(logit);
    }
    fold(lanes.map(f64::from))
}

/// The sum of the lanes, by halves.
fn fold(mut lanes: [f64; LANES]) -> f64 {
    for half in [8, 4, 2, 1] {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
    }
    lanes[0]
}

/// The sum of the weights of one block of at most [`BLOCK`] logits.
pub(super) fn block_mass(block: &[f32], max: f32) -> f64 {
    block_sum(block, |logit| weight(logit, max))
}

/// The sum of all weights; at least 1 when `max` is the maximum of a non-empty list.
pub(super) fn mass(logits: &[f32], max: f32) -> f64 {
    logits.chunks(BLOCK).map(|block| block_mass(block, max)).sum()
}

/// The entropy in nats of the softmax over `logits` whose [`mass`] is `mass`: `ln(mass) - sum(w * (logit - max)) / mass`.
pub(super) fn entropy(logits: &[f32], max: f32, mass: f64) -> f64 {
    let moment = |logit| {
        let x = below_max(logit, max);
        // A weight of 0 times an infinite distance is 0 here, as p * ln(p) tends to 0 with p.
        exp(x) * if x > CUTOFF { x } else { CUTOFF }
    };
    let moment: f64 = logits.chunks(BLOCK).map(|block| block_sum(block, moment)).sum();
    (libm::log(mass) - moment / mass).max(0.0)
}

/// The population standard deviation of the logits above `-inf`; 0 of none. No `+inf`.
pub(super) fn deviation(logits: &[f32]) -> f64 {
    let n = lane_sum(logits, |_| 1.0);
    if n == 0.0 {
        return 0.0;
    }
    let mean = lane_sum(logits, |x| x) / n;
    libm::sqrt(lane_sum(logits, |x| (x - mean) * (x - mean)) / n)
}

/// The sum of `term` over the logits above `-inf`, in 16 f64 lanes.
fn lane_sum(logits: &[f32], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0f64; LANES];
    for group in logits.chunks(LANES) {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane += if x > f32::NEG_INFINITY { term(f64::from(x)) } else { 0.0 };
        }
    }
    fold(lanes)
}

/// The largest logit, `-inf` of an empty list. NaNs are passed over.
pub(super) fn max(logits: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = logits.as_chunks::<LANES>();
    for group in whole {
        for (lane, &x) in lanes.iter_mut().zip(group) {
            *lane = if x > *lane { x } else { *lane };
        }
    }
    lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &x| if x > a { x } else { a })
}

/// Whether any logit is NaN.
pub(super) fn has_nan(logits: &[f32]) -> bool {
    // No early exit inside a block, so that it is vector code.
    logits.chunks(BLOCK).any(|block| block.iter().fold(0u32, |any, x| any | u32::from(x.is_nan())) != 0)
}

/// The index of the largest logit, the first of equals; `None` when there is nothing above `-inf`.
pub(super) fn argmax(logits: &[f32]) -> Option<usize> {
    let max = max(logits);
    if max == f32::NEG_INFINITY { None } else { logits.iter().position(|&x| x == max) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp_of_libm() {
        let mut worst = 0.0f64;
        for i in 0..=870_000u32 {
            let x = -(i as f32) * 1e-4;
            let (got, want) = (f64::from(exp(x)), libm::exp(f64::from(x)));
            if x > CUTOFF {
                worst = worst.max((got - want).abs() / (want * f64::from(f32::EPSILON)));
            }
        }
        assert!(worst < 2.0, "{worst} ulp");
        assert_eq!((exp(0.0), exp(CUTOFF), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(-86.999).is_normal());
    }

    /// The bits of a few values, so that a change of arithmetic cannot go unnoticed.
    #[test]
    fn exp_bits() {
        let got = [-0.1f32, -1.0, -3.7, -10.0, -50.5, -86.9].map(|x| exp(x).to_bits());
        assert_eq!(got, [1063756653, 1052531378, 1019906302, 943614926, 453864698, 12980105]);
    }

    #[test]
    fn sums_match_a_plain_sum() {
        let logits: Vec<f32> = (0..5000).map(|i| ((i * 7919) % 1000) as f32 * 0.01).collect();
        let m = max(&logits);
        let plain: f64 = logits.iter().map(|&x| libm::exp(f64::from(x - m))).sum();
        assert!((mass(&logits, m) / plain - 1.0).abs() < 1e-6);
        let h: f64 = logits.iter().map(|&x| libm::exp(f64::from(x - m)) / plain).map(|p| -p * libm::log(p)).sum();
        assert!((entropy(&logits, m, mass(&logits, m)) - h).abs() < 1e-5);
        let flat = [1.5f32; 300];
        assert!((entropy(&flat, 1.5, mass(&flat, 1.5)) - libm::log(300.0)).abs() < 1e-12);
    }

    #[test]
    fn infinities_and_nan() {
        let inf = f32::INFINITY;
        assert_eq!(mass(&[inf, 3.0, inf, -inf], inf), 2.0);
        assert_eq!(entropy(&[inf, 3.0, inf, -inf], inf, 2.0), libm::log(2.0));
        assert_eq!((max(&[]), argmax(&[-inf, -inf]), argmax(&[1.0, inf, inf])), (-inf, None, Some(1)));
        assert!(has_nan(&[1.0, f32::NAN]) && !has_nan(&[inf, -inf, 0.0]));
        assert_eq!(argmax(&[2.0, 7.0, 7.0]), Some(1));
    }
}
