//! The scale and minimum of `w = s * q + m`: for given codes the best pair solves two linear equations, for a given pair the
//! best codes are the nearest. [`search`] tries pairs that leave a part of the range unused or clip a part of the values at
//! either end, and improves each by the equations.

use super::groups::Groups;
use super::lanes::{Lanes, PerGroup};
use super::levels::{Integers, Levels};

/// A scale, a minimum and what they come to.
#[derive(Clone, Copy)]
pub(super) struct Fit<V> {
    pub scale: V,
    /// With its sign as it is added.
    pub min: V,
    /// The weighted squared error.
    pub error: V,
    /// `sum(h q)` and `sum(h q^2)`.
    pub q: V,
    pub qq: V,
}

impl<V: Lanes> Fit<V> {
    /// Worse than any.
    #[inline(always)]
    fn none() -> Fit<V> {
        let zero = V::zero();
        Fit { scale: zero, min: zero, error: V::splat(f32::MAX), q: zero, qq: zero }
    }
}

/// Whether a minimum may lie above zero.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Minimum {
    Any,
    NotAboveZero,
}

/// The codes that a trial pair gives and the best pair for them.
#[inline(always)]
fn fit<V: Lanes, const N: usize>(groups: &Groups<N>, sum_w: V, top: f32, kind: Minimum, trial: (V, V)) -> Fit<V> {
    let (step, origin) = trial;
    let codes = Integers { low: 0.0, high: top };
    let per_step = V::splat(1.0).over(step);
    let (mut r1, mut rr, mut rq) = (V::zero(), V::zero(), V::zero());
    let (mut q1, mut qq) = (V::zero(), V::zero());
    for (x, w) in groups.x.iter().zip(&groups.w) {
        let (x, w) = (V::load(x), V::load(w));
        let v = (x - origin) * per_step;
        let q = codes.nearest(v);
        let r = v - q;
        let (wr, wq) = (w * r, w * q);
        r1 = r1 + wr;
        rr = rr + wr * r;
        rq = rq + wr * q;
        q1 = q1 + wq;
        qq = qq + wq * q;
    }
    // v = r + q is nearest to (1 + gain) q + shift, in steps from the origin.
    let (product, square) = (sum_w * qq, q1 * q1);
    // Codes that hardly differ do not tell a scale.
    let determinant = (product - square).if_less(product * V::splat(1e-4), V::zero(), product - square);
    let mut gain = (sum_w * rq - q1 * r1).over(determinant);
    let mut shift = (r1 - gain * q1) / sum_w;
    let mut error = rr - gain * rq - shift * r1;
    if kind == Minimum::NotAboveZero {
        // Where the minimum would be above zero, it is zero, and the gain is the best with it.
        let held = V::zero() - origin.over(step);
        let gain_held = (rq - held * q1).over(qq);
        let error_held = rr - V::splat(2.0) * held * r1 + held * held * sum_w - gain_held * (rq - held * q1);
        error = held.if_less(shift, error_held, error);
        gain = held.if_less(shift, gain_held, gain);
        shift = held.if_less(shift, held, shift);
    }
    Fit { scale: step + step * gain, min: origin + step * shift, error: error * step * step, q: q1, qq }
}

/// The best fit among trial pairs: `(under, over)` of `trims` puts the smallest value at code `-under`, the largest at
/// `top + over`. Then one more step from the best.
#[inline(always)]
pub(super) fn search<V: Lanes, const N: usize>(
    groups: &Groups<N>,
    top: f32,
    kind: Minimum,
    trims: &[(f32, f32)],
) -> Fit<V> {
    let sum_w = groups.sum_w::<V>();
    let (mut low, high) = groups.bounds::<V>();
    if kind == Minimum::NotAboveZero {
        low = low.min(V::zero());
    }
    let mut best = Fit::none();
    for n in 0..=trims.len() {
        let mut trial = (best.scale, best.min);
        if let Some(&(under, over)) = trims.get(n) {
            let step = (high - low) * V::splat(1.0 / (top + under + over));
            trial = (step, low + step * V::splat(under));
        }
        best = better(fit(groups, sum_w, top, kind, trial), best);
    }
    best
}

/// Lane by lane the fit with the smaller error, the second of equals.
#[inline(always)]
fn better<V: Lanes>(a: Fit<V>, b: Fit<V>) -> Fit<V> {
    let pick = |yes: V, no: V| a.error.if_less(b.error, yes, no);
    Fit {
        scale: pick(a.scale, b.scale),
        min: pick(a.min, b.min),
        q: pick(a.q, b.q),
        qq: pick(a.qq, b.qq),
        error: a.error.min(b.error),
    }
}

/// The weighted squared error of every group with a pair as it will be stored.
#[inline(always)]
pub(super) fn error<V: Lanes, const N: usize>(groups: &Groups<N>, top: f32, scale: V, min: V) -> V {
    let codes = Integers { low: 0.0, high: top };
    let per_scale = V::splat(1.0).over(scale);
    let mut error = V::zero();
    for (x, w) in groups.x.iter().zip(&groups.w) {
        let (x, w) = (V::load(x), V::load(w));
        let above = x - min;
        let miss = above - codes.nearest(above * per_scale) * scale;
        error = error + w * miss * miss;
    }
    error
}

/// The codes for a pair as it will be stored.
#[inline(always)]
pub(super) fn codes<V: Lanes, const N: usize>(groups: &Groups<N>, top: f32, scale: V, min: V) -> [PerGroup; N] {
    let codes = Integers { low: 0.0, high: top };
    let per_scale = V::splat(1.0).over(scale);
    let mut all = groups.x;
    for x in &mut all {
        *x = codes.nearest((V::load(x) - min) * per_scale).store();
    }
    all
}

/// Sums over a group for a pair as it will be stored, that the scales of a block are corrected by: `sum(h q)`,
/// `sum(h q^2)`, `sum(h x q)`, `sum(h x)`.
#[inline(always)]
pub(super) fn normal_sums<V: Lanes, const N: usize>(groups: &Groups<N>, top: f32, scale: V, min: V) -> [V; 4] {
    let codes = Integers { low: 0.0, high: top };
    let per_scale = V::splat(1.0).over(scale);
    let mut sums = [V::zero(); 4];
    for (x, w) in groups.x.iter().zip(&groups.w) {
        let (x, w) = (V::load(x), V::load(w));
        let q = codes.nearest((x - min) * per_scale);
        let (wq, wx) = (w * q, w * x);
        sums = [sums[0] + wq, sums[1] + wq * q, sums[2] + wx * q, sums[3] + wx];
    }
    sums
}
