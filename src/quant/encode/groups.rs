//! Eight groups of a row, laid out for the search.

use super::lanes::{LANES, Lanes, PerGroup};

/// The importance of a row's inputs, brought to a mean of 1.
#[derive(Clone, Copy)]
pub(super) struct Importance<'a> {
    /// None: all the same.
    of_inputs: Option<&'a [f32]>,
    per_mean: f32,
}

/// What an input without any importance counts, of the mean: enough that a group of such inputs is still rounded well.
const LEAST: f32 = 1e-6;

impl<'a> Importance<'a> {
    pub(super) fn new(of_inputs: Option<&'a [f32]>) -> Importance<'a> {
        let Some(h) = of_inputs else { return Importance { of_inputs, per_mean: 0.0 } };
        let mean = h.iter().map(|&h| f64::from(h)).sum::<f64>() / h.len() as f64;
        let per_mean = (1.0 / mean) as f32;
        // All zeros, or a mean so small that it has no inverse: nothing to go by.
        Importance { of_inputs: of_inputs.filter(|_| per_mean.is_finite()), per_mean }
    }

    /// Whether inputs differ.
    pub(super) fn is_given(&self) -> bool {
        self.of_inputs.is_some()
    }

    /// The weight of input `column`.
    #[inline(always)]
    pub(super) fn at(&self, column: usize) -> f32 {
        self.of_inputs.map_or(1.0, |h| h[column] * self.per_mean + LEAST)
    }
}

/// Eight groups of `N` elements: element `i` of group `n` is lane `n` of vector `i`.
pub(super) struct Groups<const N: usize> {
    pub x: [PerGroup; N],
    pub w: [PerGroup; N],
}

/// Half of the smallest binary16: what is smaller is nearest to zero in every format with a binary16 scale.
const SMALLEST: f32 = 1.0 / (1 << 25) as f32;
/// More than any of those formats holds.
const LARGEST: f32 = (1 << 30) as f32;

impl<const N: usize> Groups<N> {
    pub(super) const EMPTY: Groups<N> = Groups { x: [PerGroup([0.0; LANES]); N], w: [PerGroup([1.0; LANES]); N] };

    /// The groups of `row` from element `start` on; past the row's end come zeros. Values that no format with a binary16 scale
    /// tells from zero, or from its largest, are made so, and then nothing in a search underflows or overflows.
    #[inline(always)]
    pub(super) fn load<V: Lanes>(&mut self, row: &[f32], importance: &Importance, start: usize) {
        self.load_as_they_are(row, importance, start);
        let (smallest, largest) = (V::splat(SMALLEST), V::splat(LARGEST));
        for x in &mut self.x {
            let v = V::load(x);
            let held = v.max(V::zero() - largest).min(largest);
            *x = v.abs().if_less(smallest, V::zero(), held).store();
        }
    }

    /// The same with any finite values.
    #[inline(always)]
    pub(super) fn load_as_they_are(&mut self, row: &[f32], importance: &Importance, start: usize) {
        for (n, group) in row[start..].chunks_exact(N).take(LANES).enumerate() {
            for (i, &x) in group.iter().enumerate() {
                self.x[i].0[n] = x;
            }
            if importance.is_given() {
                for i in 0..N {
                    self.w[i].0[n] = importance.at(start + n * N + i);
                }
            }
        }
    }

    /// The sum of the weights of every group.
    #[inline(always)]
    pub(super) fn sum_w<V: Lanes>(&self) -> V {
        let mut sum = V::zero();
        for w in &self.w {
            sum = sum + V::load(w);
        }
        sum
    }

    /// The value of the largest magnitude of every group, with its sign; the first of equals.
    #[inline(always)]
    pub(super) fn extreme<V: Lanes>(&self) -> V {
        let mut extreme = V::zero();
        for x in &self.x {
            let x = V::load(x);
            extreme = extreme.abs().if_less(x.abs(), x, extreme);
        }
        extreme
    }

    /// The smallest and the largest value of every group.
    #[inline(always)]
    pub(super) fn bounds<V: Lanes>(&self) -> (V, V) {
        let (mut low, mut high) = (V::load(&self.x[0]), V::load(&self.x[0]));
        for x in &self.x {
            let x = V::load(x);
            (low, high) = (low.min(x), high.max(x));
        }
        (low, high)
    }
}

/// The codes of eight groups, in the order of the row; `code` makes a byte of a number.
#[inline(always)]
pub(super) fn in_row_order<const N: usize>(codes: &[PerGroup; N], out: &mut [u8], code: impl Fn(f32) -> u8) {
    for (n, group) in out.chunks_exact_mut(N).enumerate() {
        for (out, codes) in group.iter_mut().zip(codes) {
            *out = code(codes.0[n]);
        }
    }
}
