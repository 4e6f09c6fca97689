//! What is measured at one position: of one row of logits, and of two.

use crate::error::{Result, bail};

/// How many most likely tokens [`PairScore::n_common_top`] looks at.
pub(super) const TOP: usize = 5;

/// The measures of two models at one position.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PairScore {
    /// Negative log-likelihood of the next token under the reference, in nats.
    pub reference_nll: f64,
    /// The same under the candidate.
    pub candidate_nll: f64,
    /// Kullback-Leibler divergence KL(reference || candidate), in nats.
    pub kld: f64,
    /// Whether both have the same most likely token.
    pub is_same_top: bool,
    /// How many of the reference's five most likely tokens are among the candidate's five.
    pub n_common_top: u8,
}

/// ln(sum(exp(x))) in float64; the largest is taken out so that nothing overflows.
pub(super) fn log_sum_exp(logits: &[f32]) -> f64 {
    let max = max(logits);
    max + logits.iter().map(|&x| (f64::from(x) - max).exp()).sum::<f64>().ln()
}

pub(super) fn max(logits: &[f32]) -> f64 {
    f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

/// The index of the largest logit, the first of equals; `None` for no logits.
pub fn argmax(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, i| if logits[i] > logits[best] { i } else { best })
}

/// The negative log-likelihood of `token`, in nats.
pub(super) fn nll(logits: &[f32], token: u32) -> Result<f64> {
    Ok(log_sum_exp(logits) - logit(logits, token)?)
}

pub(super) fn logit(logits: &[f32], token: u32) -> Result<f64> {
    match logits.get(token as usize) {
        Some(&logit) => Ok(f64::from(logit)),
        None => bail!(InvalidArgument, "token {token} is beyond the vocabulary of {}", logits.len()),
    }
}

/// Both rows have the same length; `next` is the token that follows.
pub(super) fn score_pair(reference: &[f32], candidate: &[f32], next: u32) -> Result<PairScore> {
    let (norms, kld) = kl_divergence(reference, candidate);
    let (top, other) = (top(reference), top(candidate));
    Ok(PairScore {
        reference_nll: norms.0 - logit(reference, next)?,
        candidate_nll: norms.1 - logit(candidate, next)?,
        kld,
        is_same_top: top.first() == other.first(),
        n_common_top: top.iter().filter(|token| other.contains(token)).count() as u8,
    })
}

/// `ln(sum(exp))` of both rows, and KL(p || q) of their softmaxes, in nats:
///
/// ```text
/// sum p (ln p - ln q) = sum(e^(a - m) (a - b)) / sum(e^(a - m)) - lse(a) + lse(b)        a, b the logits, m the largest a
/// ```
fn kl_divergence(p_logits: &[f32], q_logits: &[f32]) -> ((f64, f64), f64) {
    let (p_max, q_norm) = (max(p_logits), log_sum_exp(q_logits));
    let (mut sum, mut weighted) = (0.0, 0.0);
    for (&a, &b) in p_logits.iter().zip(q_logits) {
        let (a, b) = (f64::from(a), f64::from(b));
        // 0 * -inf is 0 here: a token that the reference excludes costs nothing.
        if a != f64::NEG_INFINITY {
            let e = (a - p_max).exp();
            sum += e;
            weighted += e * (a - b);
        }
    }
    let p_norm = p_max + sum.ln();
    // A NaN anywhere stays a NaN; only rounding below zero is cut.
    let kld = weighted / sum - p_norm + q_norm;
    ((p_norm, q_norm), if kld < 0.0 { 0.0 } else { kld })
}

/// The [`TOP`] most likely tokens, best first, the smaller token first of equals.
fn top(logits: &[f32]) -> Vec<u32> {
    top_k(logits, TOP)
}

/// The `k` most likely tokens, best first, the smaller token first of equals.
pub(super) fn top_k(logits: &[f32], k: usize) -> Vec<u32> {
    let mut best: Vec<u32> = Vec::with_capacity(k + 1);
    let logit = |token: u32| logits[token as usize];
    for token in 0..logits.len() as u32 {
        if best.len() == k && best.last().is_none_or(|&last| logit(token) <= logit(last)) {
            continue;
        }
        let at = best.partition_point(|&other| logit(other) >= logit(token));
        best.insert(at, token);
        best.truncate(k);
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_two_coins() {
        // p = (3/4, 1/4) against q = (1/2, 1/2) and (1/4, 3/4), then against itself with a shift.
        let p = [3f32.ln(), 0.0];
        let (fair, swapped) = (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln(), 0.5 * 3f64.ln());
        let of = |q: &[f32]| score_pair(&p, q, 1).unwrap();
        assert!((of(&[0.0, 0.0]).kld - fair).abs() < 1e-7);
        let got = of(&[0.0, 3f32.ln()]);
        assert!((got.kld - swapped).abs() < 1e-7 && !got.is_same_top && got.n_common_top == 2, "{got:?}");
        assert!((got.reference_nll - 4f64.ln()).abs() < 1e-7 && (got.candidate_nll - (4f64 / 3.0).ln()).abs() < 1e-7);
        let got = of(&[p[0] + 4.0, 4.0]);
        assert!(got.kld < 1e-7 && got.is_same_top, "{got:?}");
    }

    #[test]
    fn what_the_reference_excludes_costs_nothing_and_nan_is_not_agreement() {
        let got = score_pair(&[0.0, f32::NEG_INFINITY], &[0.0, 0.0], 0).unwrap();
        assert!((got.kld - 2f64.ln()).abs() < 1e-12, "{got:?}");
        assert!(score_pair(&[0.0, 0.0], &[0.0, f32::NEG_INFINITY], 0).unwrap().kld.is_infinite());
        assert!(score_pair(&[1.0, 0.0], &[f32::NAN, 0.0], 0).unwrap().kld.is_nan());
        assert!(score_pair(&[1.0, 0.0], &[1.0, 0.0], 2).is_err());
    }

    #[test]
    fn the_most_likely_come_first_and_equals_in_order() {
        let logits = [1.0, 5.0, 5.0, -2.0, 7.0, 1.0, 0.5];
        assert_eq!(top_k(&logits, 5), [4, 1, 2, 0, 5]);
        assert_eq!(top_k(&logits[..2], 5), [1, 0]);
        assert_eq!(argmax(&logits), Some(4));
    }
}
