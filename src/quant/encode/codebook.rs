//! Formats whose 4-bit codes are indices into a table: IQ4_NL, IQ4_XS, MXFP4.

use super::super::codebook::{E2M1, IQ4};
use super::bits::{nibbles, put_half};
use super::groups::{Groups, Importance, in_row_order};
use super::k_quants::block;
use super::lanes::{LANES, Lanes, PerGroup};
use super::legacy::{eight, symmetric_blocks};
use super::levels::{Integers, Table, codes_of};
use super::super_blocks::{self, Scales};
use super::symmetric;

/// Elements in a group.
const LEN: usize = 32;

/// Where the extreme value of a group goes: levels reach from -127 to 113.
const ANCHORS: &[f32] = &[
    -127.0, -110.0, -116.0, -120.0, -123.0, -131.0, -135.0, -140.0, -146.0, -152.0, 104.0, 109.0, 113.0, 117.0, 122.0,
    128.0,
];

const SCALES: Scales = Scales {
    range: Integers::new(-32, 31),
    anchors: &[PerGroup([-32.0, -31.6, -31.2, -30.7, -32.4, -32.9, 31.0, 30.6])],
    n_rounds: 2,
};

/// The codes of IQ4_NL and IQ4_XS, and of MXFP4, by level.
const IQ4_CODES: [u8; 256] = codes_of(&IQ4);
const E2M1_CODES: [u8; 256] = codes_of(&E2M1);

/// The levels of MXFP4, each once and in order.
const E2M1_LEVELS: [i8; 15] = [-12, -8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8, 12];

fn iq4_code(level: f32) -> u8 {
    IQ4_CODES[usize::from(level as i8 as u8)]
}

#[inline(always)]
pub(super) fn iq4_nl<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_mut(LANES * 18).enumerate() {
        symmetric_blocks::<V>(&eight::<V>(row, importance, n), Table(&IQ4), ANCHORS, iq4_code).write(
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
pub(super) fn iq4_xs<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(136).enumerate() {
        let groups = &block::<V, LEN, 1>(row, importance, n);
        let (d, [integers]) = super_blocks::symmetric::<V, LEN, 1, 8>(groups, Table(&IQ4), ANCHORS, &SCALES);
        let mut codes = [0; LEN * LANES];
        let scale = V::splat(d.to_f32()) * integers;
        in_row_order(&symmetric::codes(&groups[0], Table(&IQ4), scale), &mut codes, iq4_code);
        put_half(out, d);
        let mut upper = 0;
        out[4..8].fill(0);
        for (g, integer) in integers.store().0.into_iter().enumerate() {
            let sc = (integer + 32.0) as u8;
            upper |= u16::from(sc >> 4) << (2 * g);
            out[4 + g / 2] |= (sc & 15) << (g % 2 * 4);
        }
        out[2..4].copy_from_slice(&upper.to_le_bytes());
        let (codes, _) = codes.as_chunks::<LEN>();
        out[8..].chunks_exact_mut(16).zip(codes).for_each(|(out, codes)| nibbles(codes, out));
    }
}

/// A scale is a power of two, so there is little to choose: the exponent that brings the largest magnitude between 8 and 16
/// steps (the top level is 12), the one below it and the one above, whichever has the smallest error.
#[inline(always)]
pub(super) fn mxfp4<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    const BYTES: usize = 17;
    let levels = Table(&E2M1_LEVELS);
    for (n, out) in out.chunks_mut(LANES * BYTES).enumerate() {
        let mut groups: Groups<LEN> = Groups::EMPTY;
        groups.load_as_they_are(row, importance, n * LANES * LEN);
        let exponents = groups.extreme::<V>().store().0.map(exponent);
        // In steps of that exponent, exactly; in two factors, because one may be no float32.
        let halves = exponents.map(|e| ((128 - e) / 2, (128 - e) - (128 - e) / 2));
        let (first, second) =
            (PerGroup(halves.map(|h| power_of_two(h.0))), PerGroup(halves.map(|h| power_of_two(h.1))));
        for x in &mut groups.x {
            *x = (V::load(x) * V::load(&first) * V::load(&second)).store();
        }
        let (mut scale, mut least) = (V::splat(1.0), symmetric::error(&groups, levels, V::splat(1.0)));
        // No exponent below 0, and none with which a level is beyond float32.
        for (other, end) in [(0.5, 0), (2.0, 252)] {
            let other = V::load(&PerGroup(exponents.map(|e| if e == end { 1.0 } else { other })));
            let error = symmetric::error(&groups, levels, other);
            scale = error.if_less(least, other, scale);
            least = error.min(least);
        }
        let mut codes = [0; LANES * LEN];
        let code = |level: f32| E2M1_CODES[usize::from(level as i8 as u8)];
        in_row_order(&symmetric::codes(&groups, levels, scale), &mut codes, code);
        let (codes, _) = codes.as_chunks::<LEN>();
        let scale = scale.store().0;
        for (l, out) in out.chunks_exact_mut(BYTES).enumerate() {
            out[0] = (exponents[l] + if scale[l] < 1.0 { -1 } else { i32::from(scale[l] > 1.0) }) as u8;
            nibbles(&codes[l], &mut out[1..]);
        }
    }
}

/// The `e` with `8 <= |x| / 2^(e - 128) < 16`; 0 for what is smaller than any such.
fn exponent(x: f32) -> i32 {
    let biased = (x.abs().to_bits() >> 23) as i32;
    (biased - 127 + 125).max(0)
}

/// For exponents of normal float32.
fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((exponent + 127) as u32) << 23)
}
