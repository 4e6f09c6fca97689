//! Blocks of 32 elements with their own binary16 scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0. Eight blocks are searched at once.

use half::f16;

use super::affine::{self, Minimum};
use super::bits::{fifth_bits, nibbles, put_half, storable};
use super::groups::{Groups, Importance, in_row_order};
use super::lanes::{LANES, Lanes, PerGroup};
use super::levels::{Integers, Levels};
use super::symmetric;

/// Elements in a block.
const LEN: usize = 32;

/// Where the extreme value of a block goes, in codes. Beyond the last code it is clipped. Four bits: the side with one code
/// more first, then the other.
const ANCHORS_4: &[f32] = &[-8.0, -7.0, -7.3, -7.6, -8.3, -8.6, -9.0, -9.4, -9.8, 6.6, 7.0, 7.4, 7.8, 8.2, 8.7];
const ANCHORS_5: &[f32] =
    &[-16.0, -14.5, -15.0, -15.3, -15.6, -16.3, -16.6, -17.0, -17.5, -18.0, 14.6, 15.0, 15.4, 15.8, 16.3, 16.8];
const ANCHORS_8: &[f32] = &[-127.0, 127.0, 126.0, 126.5, 127.5, -128.0, -126.0, -125.0, 124.0, -124.0];
/// How far codes reach below 0 and above the top; less than 0 leaves a part of the range unused.
const TRIMS: &[(f32, f32)] = &[
    (0.0, 0.0),
    (0.3, 0.3),
    (-0.3, -0.3),
    (0.3, -0.3),
    (-0.3, 0.3),
    (0.6, 0.0),
    (0.0, 0.6),
    (0.6, 0.6),
    (0.9, 0.3),
    (0.3, 0.9),
    (0.9, 0.9),
    (1.3, 0.6),
    (0.6, 1.3),
    (0.0, -1.0),
];

/// The scales of eight blocks and all their codes.
pub(super) struct Blocks {
    scales: [f16; LANES],
    mins: [f16; LANES],
    codes: [u8; LANES * LEN],
}

impl Blocks {
    /// Gives every block of `out` its scale, minimum and codes.
    pub(super) fn write(&self, out: &mut [u8], block_bytes: usize, write: impl Fn(&mut [u8], f16, f16, &[u8; LEN])) {
        let (codes, _) = self.codes.as_chunks::<LEN>();
        for (n, out) in out.chunks_exact_mut(block_bytes).enumerate() {
            write(out, self.scales[n], self.mins[n], &codes[n]);
        }
    }
}

/// Blocks of signed codes, as `code` makes bytes of them.
#[inline(always)]
pub(super) fn symmetric_blocks<V: Lanes>(
    groups: &Groups<LEN>,
    levels: impl Levels,
    anchors: &[f32],
    code: impl Fn(f32) -> u8,
) -> Blocks {
    let scales = symmetric::search::<V, LEN>(groups, levels, anchors).scale.store().0.map(storable);
    let stored = V::load(&PerGroup(scales.map(f16::to_f32)));
    let mut blocks = Blocks { scales, mins: [f16::ZERO; LANES], codes: [0; LANES * LEN] };
    in_row_order(&symmetric::codes(groups, levels, stored), &mut blocks.codes, code);
    blocks
}

/// Blocks of codes from 0 to `top` above a minimum.
#[inline(always)]
fn affine_blocks<V: Lanes>(groups: &Groups<LEN>, top: f32) -> Blocks {
    let best = affine::search::<V, LEN>(groups, top, Minimum::Any, TRIMS);
    let (mins, min) = stored(best.min);
    // The minimum moved when it was rounded; the best scale with the rounded one is another.
    let (_, scale) = stored(best.scale);
    let [q, qq, xq, _] = affine::normal_sums(groups, top, scale, min);
    let (scales, scale) = stored((xq - min * q).over(qq));
    let mut blocks = Blocks { scales, mins, codes: [0; LANES * LEN] };
    in_row_order(&affine::codes(groups, top, scale, min), &mut blocks.codes, |q| q as u8);
    blocks
}

/// As they are written and as they are read.
#[inline(always)]
fn stored<V: Lanes>(values: V) -> ([f16; LANES], V) {
    let halves = values.store().0.map(storable);
    (halves, V::load(&PerGroup(halves.map(f16::to_f32))))
}

/// Eight blocks of a row, from block `8 n` on; past the row's end zeros.
#[inline(always)]
pub(super) fn eight<V: Lanes>(row: &[f32], importance: &Importance, n: usize) -> Groups<LEN> {
    let mut groups = Groups::EMPTY;
    groups.load::<V>(row, importance, n * LANES * LEN);
    groups
}

#[inline(always)]
pub(super) fn q4_0<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_mut(LANES * 18).enumerate() {
        let groups = &eight::<V>(row, importance, n);
        symmetric_blocks::<V>(groups, Integers::new(-8, 7), ANCHORS_4, |q| (q + 8.0) as u8).write(
            out,
            18,
            |out, d, _, codes| {
                put_half(out, d);
                nibbles(codes, &mut out[2..]);
            },
        );
    }
}

#[inline(always)]
pub(super) fn q4_1<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_mut(LANES * 20).enumerate() {
        let groups = &eight::<V>(row, importance, n);
        affine_blocks::<V>(groups, 15.0).write(out, 20, |out, d, m, codes| {
            put_half(out, d);
            put_half(&mut out[2..], m);
            nibbles(codes, &mut out[4..]);
        });
    }
}

#[inline(always)]
pub(super) fn q5_0<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_mut(LANES * 22).enumerate() {
        let groups = &eight::<V>(row, importance, n);
        symmetric_blocks::<V>(groups, Integers::new(-16, 15), ANCHORS_5, |q| (q + 16.0) as u8).write(
            out,
            22,
            |out, d, _, codes| {
                put_half(out, d);
                fifth_bits(codes, &mut out[2..]);
                nibbles(codes, &mut out[6..]);
            },
        );
    }
}

#[inline(always)]
pub(super) fn q5_1<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_mut(LANES * 24).enumerate() {
        let groups = &eight::<V>(row, importance, n);
        affine_blocks::<V>(groups, 31.0).write(out, 24, |out, d, m, codes| {
            put_half(out, d);
            put_half(&mut out[2..], m);
            fifth_bits(codes, &mut out[4..]);
            nibbles(codes, &mut out[8..]);
        });
    }
}

/// Without an importance this is the definition that every converter shares, byte for byte: `d = max |x| / 127`, and `x / d`
/// rounded half away from zero with the `d` before it is rounded to binary16. It is close to the best.
#[inline(always)]
pub(super) fn q8_0<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    if !importance.is_given() {
        let (blocks, _) = row.as_chunks::<LEN>();
        return blocks.iter().zip(out.chunks_exact_mut(34)).for_each(|(x, out)| plain_q8_0(x, out));
    }
    for (n, out) in out.chunks_mut(LANES * 34).enumerate() {
        let groups = &eight::<V>(row, importance, n);
        symmetric_blocks::<V>(groups, Integers::new(-128, 127), ANCHORS_8, |q| q as i8 as u8).write(
            out,
            34,
            |out, d, _, codes| {
                put_half(out, d);
                out[2..].copy_from_slice(codes);
            },
        );
    }
}

#[inline(always)]
fn plain_q8_0(x: &[f32; LEN], out: &mut [u8]) {
    // Magnitudes are in the order of their bits, and integers are compared in any order: eight at once. A NaN is none.
    let magnitude =
        |x: &f32| Some(x.to_bits() & i32::MAX as u32).filter(|&m| m <= f32::INFINITY.to_bits()).unwrap_or(0);
    let largest = f32::from_bits(x.iter().map(magnitude).fold(0, u32::max));
    let d = (largest / 127.0).min(65504.0);
    let per_d = if d == 0.0 { 0.0 } else { 1.0 / d };
    put_half(out, f16::from_f32(d));
    x.iter().zip(&mut out[2..]).for_each(|(x, code)| *code = rounded(x * per_d) as u8);
}

/// The nearest code, from half on away from zero: `x.clamp(-127.0, 127.0).round()` without a call.
#[inline(always)]
fn rounded(x: f32) -> i8 {
    let x = x.clamp(-127.0, 127.0);
    let whole = x as i32;
    let rest = x - whole as f32;
    (whole + i32::from(rest >= 0.5) - i32::from(rest <= -0.5)) as i8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_eight_bits_are_rounded_half_away_from_zero() {
        let near_halves = (-130..=130).flat_map(|n| {
            let half = n as f32 + 0.5;
            [n as f32, half, half.next_up(), half.next_down()]
        });
        let others = [0.0, -0.0, 0.499_999_97, f32::MIN_POSITIVE, f32::INFINITY, f32::NEG_INFINITY, 1e30, f32::NAN];
        for x in near_halves.chain(others) {
            assert_eq!(rounded(x), x.round().clamp(-127.0, 127.0) as i8, "{x:e}");
        }
    }

    #[test]
    fn a_nan_does_not_decide_the_scale_of_its_block() {
        let mut x = [1.0; LEN];
        (x[3], x[9]) = (f32::NAN, -254.0);
        let mut out = [0; 34];
        plain_q8_0(&x, &mut out);
        assert_eq!(out[..2], f16::from_f32(2.0).to_le_bytes());
        assert_eq!((out[2], out[2 + 3], out[2 + 9] as i8), (1, 0, -127));
    }
}
