//! The scale of `w = s * q`: for given codes `q`, the best scale is `sum(h x q) / sum(h q^2)`; for a given scale, the best
//! codes are the nearest. The error as a function of the scale has many minima, so [`search`] tries scales that put the
//! group's extreme value at various places of the range and improves each by the first formula.
//!
//! Errors are sums of squared remainders `r = x / s - q`, not `sum(h x^2)` less what is explained: at eight bits the
//! difference of the two would be lost in float32.

use super::groups::Groups;
use super::lanes::{LANES, Lanes, PerGroup};
use super::levels::Levels;

/// What a trial scale comes to.
#[derive(Clone, Copy)]
pub(super) struct Fit<V> {
    /// The best scale for the codes of the trial scale.
    pub scale: V,
    /// The weighted squared error with it.
    pub error: V,
    /// `sum(h q^2)`: how fast the error grows with the square of a change of the scale.
    pub curvature: V,
}

impl<V: Lanes> Fit<V> {
    /// Worse than any.
    #[inline(always)]
    fn none() -> Fit<V> {
        Fit { scale: V::zero(), error: V::splat(f32::MAX), curvature: V::zero() }
    }
}

/// The codes that a trial scale gives and the best scale for them.
#[inline(always)]
fn fit<V: Lanes, const N: usize>(x: &[PerGroup; N], w: &[PerGroup; N], levels: impl Levels, trial: V) -> Fit<V> {
    let per_trial = V::splat(1.0).over(trial);
    let (mut rr, mut rq, mut qq) = (V::zero(), V::zero(), V::zero());
    for i in 0..N {
        let (x, w) = (V::load(&x[i]), V::load(&w[i]));
        let v = x * per_trial;
        let q = levels.nearest(v);
        let r = v - q;
        let (wr, wq) = (w * r, w * q);
        rr = rr + wr * r;
        rq = rq + wr * q;
        qq = qq + wq * q;
    }
    // v = r + q is nearest to (1 + gain) q.
    let gain = rq.over(qq);
    Fit { scale: trial + trial * gain, error: (rr - gain * rq) * trial * trial, curvature: qq }
}

/// The best fit among trial scales that put the extreme value of a group at each of `anchors`, and one more step from there.
#[inline(always)]
pub(super) fn search<V: Lanes, const N: usize>(groups: &Groups<N>, levels: impl Levels, anchors: &[f32]) -> Fit<V> {
    let extreme = groups.extreme::<V>();
    let mut best = Fit::none();
    for n in 0..=anchors.len() {
        let trial = anchors.get(n).map_or(best.scale, |anchor| extreme * V::splat(1.0 / anchor));
        best = better(fit(&groups.x, &groups.w, levels, trial), best);
    }
    best
}

/// Lane by lane the fit with the smaller error, the second of equals.
#[inline(always)]
fn better<V: Lanes>(a: Fit<V>, b: Fit<V>) -> Fit<V> {
    Fit {
        scale: a.error.if_less(b.error, a.scale, b.scale),
        curvature: a.error.if_less(b.error, a.curvature, b.curvature),
        error: a.error.min(b.error),
    }
}

/// The scale of few numbers `x` with weights `w`: the scales of a block's groups. Here the trials lie across the lanes.
#[inline(always)]
pub(super) fn scale_of_scales<V: Lanes, const N: usize>(
    x: &[f32; N],
    w: &[f32; N],
    levels: impl Levels,
    anchors: &[PerGroup],
) -> f32 {
    let extreme = x.iter().fold(0.0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    let (mut xs, mut ws) = ([PerGroup([0.0; LANES]); N], [PerGroup([0.0; LANES]); N]);
    for n in 0..N {
        (xs[n], ws[n]) = (PerGroup([x[n]; LANES]), PerGroup([w[n]; LANES]));
    }
    let mut best = (0.0, f32::MAX);
    for anchors in anchors {
        let fit = fit(&xs, &ws, levels, V::splat(extreme) / V::load(anchors));
        for (scale, error) in fit.scale.store().0.into_iter().zip(fit.error.store().0) {
            if error < best.1 {
                best = (scale, error);
            }
        }
    }
    best.0
}

/// The weighted squared error of every group with a scale as it will be stored.
#[inline(always)]
pub(super) fn error<V: Lanes, const N: usize>(groups: &Groups<N>, levels: impl Levels, scale: V) -> V {
    let per_scale = V::splat(1.0).over(scale);
    let mut error = V::zero();
    for (x, w) in groups.x.iter().zip(&groups.w) {
        let (x, w) = (V::load(x), V::load(w));
        let miss = x - levels.nearest(x * per_scale) * scale;
        error = error + w * miss * miss;
    }
    error
}

/// The codes for a scale as it will be stored.
#[inline(always)]
pub(super) fn codes<V: Lanes, const N: usize>(groups: &Groups<N>, levels: impl Levels, scale: V) -> [PerGroup; N] {
    let per_scale = V::splat(1.0).over(scale);
    let mut codes = groups.x;
    for x in &mut codes {
        *x = levels.nearest(V::load(x) * per_scale).store();
    }
    codes
}

/// `sum(h x q)` and `sum(h q^2)` of every group for a scale as it will be stored.
#[inline(always)]
pub(super) fn normal_sums<V: Lanes, const N: usize>(groups: &Groups<N>, levels: impl Levels, scale: V) -> (V, V) {
    let per_scale = V::splat(1.0).over(scale);
    let (mut xq, mut qq) = (V::zero(), V::zero());
    for (x, w) in groups.x.iter().zip(&groups.w) {
        let (x, w) = (V::load(x), V::load(w));
        let q = levels.nearest(x * per_scale);
        xq = xq + w * x * q;
        qq = qq + w * q * q;
    }
    (xq, qq)
}
