//! Scales in two levels: a group's scale is a small integer times the block's `d`.
//!
//! First every group gets the scale (and minimum) that is best for it alone. Then `d` is the scale of those scales, each
//! weighted by how much its group minds. Then some rounds of: with `d` as it is stored, every group takes the best of the
//! integers next to where it should be, by the error that the stored numbers really give; and `d` becomes the best for all
//! codes and integers together. The best round stays.

use half::f16;

use super::affine::{self, Minimum};
use super::bits::storable;
use super::groups::Groups;
use super::lanes::{LANES, Lanes, PerGroup};
use super::levels::{Integers, Levels};
use super::symmetric;

/// How a format stores the scales of groups, and where the search begins.
pub(super) struct Scales {
    /// The integers that it has.
    pub range: Integers,
    /// Where the extreme scale of a block goes, in integers.
    pub anchors: &'static [PerGroup],
    /// The most rounds of correcting `d`.
    pub n_rounds: usize,
}

/// The neighbours of an integer, itself first.
const NEAR: [f32; 3] = [0.0, -1.0, 1.0];

/// The scale of scales, each weighted: [`symmetric::scale_of_scales`] of one number of every group.
#[inline(always)]
fn scale_of_scales<V: Lanes, const B: usize, const G: usize>(x: [V; B], w: [V; B], scales: &Scales) -> f32 {
    let (mut in_order, mut weights) = ([0.0; G], [0.0; G]);
    for b in 0..B {
        in_order[b * LANES..(b + 1) * LANES].copy_from_slice(&x[b].store().0);
        weights[b * LANES..(b + 1) * LANES].copy_from_slice(&w[b].store().0);
    }
    symmetric::scale_of_scales::<V, G>(&in_order, &weights, scales.range, scales.anchors)
}

/// `d` and the integers of the groups of a block without minima. `G = 8 B` groups; `anchors` as of [`symmetric::search`].
#[inline(always)]
pub(super) fn symmetric<V: Lanes, const N: usize, const B: usize, const G: usize>(
    groups: &[Groups<N>; B],
    levels: impl Levels,
    anchors: &[f32],
    scales: &Scales,
) -> (f16, [V; B]) {
    let (mut wanted, mut curvature) = ([V::zero(); B], [V::zero(); B]);
    for b in 0..B {
        let alone = symmetric::search::<V, N>(&groups[b], levels, anchors);
        (wanted[b], curvature[b]) = (alone.scale, alone.curvature);
    }
    let mut d = scale_of_scales::<V, B, G>(wanted, curvature, scales);
    let mut best = (f64::MAX, f16::ZERO, [V::zero(); B]);
    for _ in 0..scales.n_rounds {
        let stored = storable(d);
        let d_stored = V::splat(stored.to_f32());
        let mut integers = [V::zero(); B];
        let (mut error, mut xq, mut qq) = (0.0, 0.0, 0.0);
        for b in 0..B {
            let middle = scales.range.nearest(wanted[b].over(d_stored));
            let mut least = V::splat(f32::MAX);
            for step in NEAR {
                let integer = scales.range.nearest(middle + V::splat(step));
                let error = symmetric::error(&groups[b], levels, d_stored * integer);
                integers[b] = error.if_less(least, integer, integers[b]);
                least = error.min(least);
            }
            wanted[b] = d_stored * integers[b];
            let sums = symmetric::normal_sums(&groups[b], levels, wanted[b]);
            error += least.sum();
            xq += (sums.0 * integers[b]).sum();
            qq += (sums.1 * integers[b] * integers[b]).sum();
        }
        if error >= best.0 {
            break;
        }
        best = (error, stored, integers);
        d = if qq > 0.0 { (xq / qq) as f32 } else { 0.0 };
    }
    (best.1, best.2)
}

/// The scales of a block with minima.
#[derive(Clone, Copy)]
pub(super) struct Affine<V, const B: usize> {
    pub d: f16,
    pub d_min: f16,
    pub scales: [V; B],
    pub mins: [V; B],
}

impl<V: Lanes, const B: usize> Affine<V, B> {
    /// Scale and minimum of the eight groups `b`, with its sign as it is added.
    #[inline(always)]
    pub(super) fn of_groups(&self, b: usize) -> (V, V) {
        let (d, d_min) = (V::splat(self.d.to_f32()), V::splat(self.d_min.to_f32()));
        (d * self.scales[b], V::zero() - d_min * self.mins[b])
    }
}

/// `d`, `d_min` and the integers of the groups of a block with codes from 0 to `top`. `G = 8 B` groups; `trims` as of
/// [`affine::search`].
#[inline(always)]
pub(super) fn affine<V: Lanes, const N: usize, const B: usize, const G: usize>(
    groups: &[Groups<N>; B],
    top: f32,
    trims: &[(f32, f32)],
    scales: &Scales,
) -> Affine<V, B> {
    let zero = [V::zero(); B];
    let (mut wanted, mut curvature, mut sum_w) = (zero, zero, zero);
    // Minima with the opposite sign, as they are stored; and the mean code: how much a minimum gives way when the scale of
    // its group changes.
    let (mut wanted_min, mut mean) = (zero, zero);
    for b in 0..B {
        let alone = affine::search::<V, N>(&groups[b], top, Minimum::NotAboveZero, trims);
        sum_w[b] = groups[b].sum_w();
        mean[b] = alone.q / sum_w[b];
        curvature[b] = alone.qq - alone.q * mean[b];
        (wanted[b], wanted_min[b]) = (alone.scale, V::zero() - alone.min);
    }
    let mut d = scale_of_scales::<V, B, G>(wanted, curvature, scales);
    let mut given_way = zero;
    for b in 0..B {
        let d = V::splat(d);
        let scale = d * scales.range.nearest(wanted[b].over(d));
        given_way[b] = (wanted_min[b] + (scale - wanted[b]) * mean[b]).max(V::zero());
    }
    let mut d_min = scale_of_scales::<V, B, G>(given_way, sum_w, scales);

    let mut best = Affine { d: f16::ZERO, d_min: f16::ZERO, scales: zero, mins: zero };
    let mut best_error = f64::MAX;
    for _ in 0..scales.n_rounds {
        let mut now = Affine { d: storable(d), d_min: storable(d_min), ..best };
        let (d_stored, d_min_stored) = (V::splat(now.d.to_f32()), V::splat(now.d_min.to_f32()));
        let mut error = 0.0;
        let mut sums = [0.0; 5];
        for b in 0..B {
            let middle = scales.range.nearest(wanted[b].over(d_stored));
            let mut least = V::splat(f32::MAX);
            for step in NEAR {
                let integer = scales.range.nearest(middle + V::splat(step));
                let scale = d_stored * integer;
                let min = wanted_min[b] + (scale - wanted[b]) * mean[b];
                let middle_min = scales.range.nearest(min.over(d_min_stored));
                for step in NEAR {
                    let integer_min = scales.range.nearest(middle_min + V::splat(step));
                    let error = affine::error(&groups[b], top, scale, V::zero() - d_min_stored * integer_min);
                    now.scales[b] = error.if_less(least, integer, now.scales[b]);
                    now.mins[b] = error.if_less(least, integer_min, now.mins[b]);
                    least = error.min(least);
                }
            }
            error += least.sum();
            let (scale, min) = now.of_groups(b);
            let [q, qq, xq, x] = affine::normal_sums(&groups[b], top, scale, min);
            let (sc, mn) = (now.scales[b], now.mins[b]);
            let products = [qq * sc * sc, q * sc * mn, sum_w[b] * mn * mn, xq * sc, x * mn];
            sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product.sum());
            (wanted[b], wanted_min[b]) = (scale, V::zero() - min);
        }
        if error >= best_error {
            break;
        }
        (best, best_error) = (now, error);
        (d, d_min) = solve(sums, d_min);
    }
    best
}

/// The `d` and `d_min` that minimise `sum h (x - d a + d_min b)^2` with `a = sc q` and `b = mn`, from the sums of
/// `h` times a a, a b, b b, x a, x b. If the two cannot be told apart, `d_min` stays.
fn solve([aa, ab, bb, xa, xb]: [f64; 5], d_min: f32) -> (f32, f32) {
    let determinant = aa * bb - ab * ab;
    if determinant > 1e-6 * aa * bb {
        let (d, d_min) = ((xa * bb - ab * xb) / determinant, (xa * ab - aa * xb) / determinant);
        if d_min >= 0.0 {
            return (d as f32, d_min as f32);
        }
    }
    let d = if aa > 0.0 { (xa + f64::from(d_min) * ab) / aa } else { 0.0 };
    (d as f32, d_min)
}
