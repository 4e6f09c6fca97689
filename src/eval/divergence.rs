//! How far one source's next-token distributions are from another's.

use super::{LogitSource, argmax, collect_logits, log_sum_exp};
use crate::error::{Result, bail};
use std::ops::Range;

/// The result of [`divergence`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// Mean Kullback-Leibler divergence over the positions, in nats.
    pub mean_kld: f64,
    /// The largest over the positions, in nats.
    pub max_kld: f64,
    /// The fraction of positions where both sources have the same most likely token.
    pub top1_agreement: f64,
    /// Positions compared.
    pub n_positions: usize,
}

/// The divergence KL(reference || candidate) of the distributions at `positions` of `tokens`.
///
/// Errors: those of the sources; `InvalidArgument` if there are no positions or the vocabularies differ in size.
pub fn divergence(
    reference: &mut dyn LogitSource,
    candidate: &mut dyn LogitSource,
    tokens: &[u32],
    positions: Range<usize>,
) -> Result<Divergence> {
    let n_vocab = reference.n_vocab();
    if positions.is_empty() || n_vocab == 0 || candidate.n_vocab() != n_vocab {
        let (n, other) = (positions.len(), candidate.n_vocab());
        bail!(InvalidArgument, "cannot compare {n} positions of vocabularies of {n_vocab} and {other}");
    }
    let (first, n_positions) = (positions.start, positions.len());
    let want = collect_logits(reference, tokens, positions.clone())?;
    let (mut sum, mut max, mut n_agree) = (0f64, 0f64, 0usize);
    candidate.for_each_logits(tokens, positions, &mut |position, got| {
        let at = (position - first) * n_vocab;
        let want = &want[at..at + n_vocab];
        let kld = kl_divergence(want, got);
        sum += kld;
        max = if kld > max || kld.is_nan() { kld } else { max };
        n_agree += usize::from(argmax(want) == argmax(got));
        Ok(())
    })?;
    let n = n_positions as f64;
    Ok(Divergence { mean_kld: sum / n, max_kld: max, top1_agreement: n_agree as f64 / n, n_positions })
}

/// KL(p || q) of the softmaxes of two rows of logits, in nats: sum of `p * (ln p - ln q)`.
fn kl_divergence(p_logits: &[f32], q_logits: &[f32]) -> f64 {
    let (p_norm, q_norm) = (log_sum_exp(p_logits), log_sum_exp(q_logits));
    let terms = p_logits.iter().zip(q_logits).map(|(&p, &q)| {
        let (ln_p, ln_q) = (f64::from(p) - p_norm, f64::from(q) - q_norm);
        // 0 * -inf is 0 here: a token that the reference excludes costs nothing.
        if ln_p == f64::NEG_INFINITY { 0.0 } else { ln_p.exp() * (ln_p - ln_q) }
    });
    // A NaN anywhere stays a NaN; only rounding below zero is cut.
    let kld: f64 = terms.sum();
    if kld < 0.0 { 0.0 } else { kld }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(Vec<[f32; 2]>);

    impl LogitSource for Fixed {
        fn n_vocab(&self) -> usize {
            2
        }

        fn for_each_logits(
            &mut self,
            _: &[u32],
            positions: Range<usize>,
            each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
        ) -> Result<()> {
            positions.into_iter().try_for_each(|position| each(position, &self.0[position]))
        }
    }

    #[test]
    fn the_figures_of_two_coins() {
        // p = (3/4, 1/4) against q = (1/2, 1/2) and (1/4, 3/4), then against itself with a shift.
        let p = [3f32.ln(), 0.0];
        let mut reference = Fixed(vec![[f32::NAN; 2], p, p, p]);
        let mut candidate = Fixed(vec![[f32::NAN; 2], [0.0, 0.0], [0.0, 3f32.ln()], [p[0] + 4.0, 4.0]]);
        let got = divergence(&mut reference, &mut candidate, &[0; 4], 1..4).unwrap();
        let (fair, swapped) = (0.75 * 1.5f64.ln() + 0.25 * 0.5f64.ln(), 0.5 * 3f64.ln());
        assert!((got.max_kld - swapped).abs() < 1e-6, "{got:?}");
        assert!((got.mean_kld - (fair + swapped) / 3.0).abs() < 1e-6, "{got:?}");
        assert_eq!((got.top1_agreement, got.n_positions), (2.0 / 3.0, 3));
    }

    #[test]
    fn nan_is_not_taken_for_agreement() {
        let mut reference = Fixed(vec![[1.0, 0.0]]);
        let got = divergence(&mut reference, &mut Fixed(vec![[f32::NAN, 0.0]]), &[0], 0..1).unwrap();
        assert!(got.mean_kld.is_nan() && got.max_kld.is_nan());
        assert!(divergence(&mut reference, &mut Fixed(vec![]), &[0], 0..0).is_err());
    }
}
