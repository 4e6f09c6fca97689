//! Super-blocks of 256 elements: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K. The layouts are described where they are read, in
//! `quant/k_quants.rs`.

use super::bits::{put_half, put_plane};
use super::groups::{Groups, Importance, in_row_order};
use super::lanes::{LANES, Lanes, PerGroup};
use super::levels::Integers;
use super::super_blocks::{self, Affine, Scales};
use super::{affine, symmetric};

/// Elements in a super-block.
const LEN: usize = 256;

/// Where codes of 2 to 5 bits with a minimum reach: as `TRIMS` of the formats with one level.
const TRIMS_2: &[(f32, f32)] = &[
    (0.0, 0.0),
    (0.2, 0.2),
    (-0.2, -0.2),
    (0.2, -0.2),
    (-0.2, 0.2),
    (0.5, 0.0),
    (0.0, 0.5),
    (0.5, 0.5),
    (-0.4, -0.4),
    (0.4, -0.4),
    (-0.4, 0.4),
    (0.8, 0.2),
    (0.2, 0.8),
    (0.8, 0.8),
    (-0.4, 0.0),
    (0.0, -0.4),
    (1.0, 0.0),
    (0.0, 1.0),
];
const TRIMS_4: &[(f32, f32)] = &[
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
    (1.4, 0.0),
    (0.0, 1.4),
];
const ANCHORS_3: &[f32] = &[-4.0, -3.3, -3.6, -3.8, -4.2, -4.5, -4.8, -5.2, 2.7, 3.0, 3.3, 3.6, 4.0, 4.4];
const ANCHORS_6: &[f32] = &[-32.0, -30.5, -31.0, -31.5, -32.5, -33.0, -33.5, 30.5, 31.0, 31.5, 32.0];

const SCALES_2: Scales = Scales {
    range: Integers::new(0, 15),
    anchors: &[
        PerGroup([15.0, 14.6, 14.2, 13.7, 13.0, 15.4, 15.9, 12.3]),
        PerGroup([16.5, 17.2, 11.5, 10.6, 14.8, 15.2, 13.4, 18.0]),
    ],
    n_rounds: 3,
};
const SCALES_4: Scales = Scales {
    range: Integers::new(0, 63),
    anchors: &[PerGroup([63.0, 62.6, 62.2, 61.7, 61.0, 63.4, 63.9, 60.3])],
    n_rounds: 2,
};
const SCALES_3: Scales = Scales {
    range: Integers::new(-32, 31),
    anchors: &[
        PerGroup([-32.0, -31.6, -31.2, -30.7, -32.4, -32.9, 31.0, 30.6]),
        PerGroup([31.4, 31.9, 30.1, -33.5, -30.1, -29.5, 29.5, 32.5]),
    ],
    n_rounds: 3,
};
const SCALES_6: Scales = Scales {
    range: Integers::new(-128, 127),
    anchors: &[PerGroup([-128.0, -127.5, -127.0, -126.4, -128.5, -125.7, 127.0, 126.5])],
    n_rounds: 2,
};

/// Block `n` of a row, as `B` times eight groups of `N`.
#[inline(always)]
pub(super) fn block<V: Lanes, const N: usize, const B: usize>(
    row: &[f32],
    importance: &Importance,
    n: usize,
) -> [Groups<N>; B] {
    debug_assert_eq!(N * B * LANES, LEN);
    let mut groups = [Groups::EMPTY; B];
    for (b, groups) in groups.iter_mut().enumerate() {
        groups.load::<V>(row, importance, n * LEN + b * LANES * N);
    }
    groups
}

/// The codes of a block with minima.
#[inline(always)]
fn affine_codes<V: Lanes, const N: usize, const B: usize>(
    groups: &[Groups<N>; B],
    top: f32,
    scales: &Affine<V, B>,
) -> [u8; LEN] {
    let mut codes = [0; LEN];
    for (b, codes) in codes.chunks_exact_mut(N * LANES).enumerate() {
        let (scale, min) = scales.of_groups(b);
        in_row_order(&affine::codes(&groups[b], top, scale, min), codes, |q| q as u8);
    }
    codes
}

/// `d`, the integers of the 16 groups and the codes with `offset` added, of a block without minima.
#[inline(always)]
fn symmetric_block<V: Lanes>(
    groups: &[Groups<16>; 2],
    (levels, offset): (Integers, f32),
    anchors: &[f32],
    scales: &Scales,
) -> (half::f16, [i8; 16], [u8; LEN]) {
    let (d, integers) = super_blocks::symmetric::<V, 16, 2, 16>(groups, levels, anchors, scales);
    let mut codes = [0; LEN];
    for (b, codes) in codes.chunks_exact_mut(LEN / 2).enumerate() {
        let scale = V::splat(d.to_f32()) * integers[b];
        in_row_order(&symmetric::codes(&groups[b], levels, scale), codes, |q| (q + offset) as u8);
    }
    (d, std::array::from_fn(|g| integers[g / LANES].store().0[g % LANES] as i8), codes)
}

#[inline(always)]
pub(super) fn q2_k<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(84).enumerate() {
        let groups = &block::<V, 16, 2>(row, importance, n);
        let scales = super_blocks::affine::<V, 16, 2, 16>(groups, 3.0, TRIMS_2, &SCALES_2);
        for (g, pair) in out[..16].iter_mut().enumerate() {
            let integer = |lanes: [V; 2]| lanes[g / LANES].store().0[g % LANES] as u8;
            *pair = integer(scales.scales) | integer(scales.mins) << 4;
        }
        put_plane(&affine_codes(groups, 3.0, &scales), 0, 2, 32, &mut out[16..80]);
        put_half(&mut out[80..], scales.d);
        put_half(&mut out[82..], scales.d_min);
    }
}

#[inline(always)]
pub(super) fn q3_k<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(110).enumerate() {
        let groups = &block::<V, 16, 2>(row, importance, n);
        let (d, integers, codes) = symmetric_block::<V>(groups, (Integers::new(-4, 3), 4.0), ANCHORS_3, &SCALES_3);
        put_plane(&codes, 2, 1, 32, &mut out[..32]);
        put_plane(&codes, 0, 2, 32, &mut out[32..96]);
        out[96..108].fill(0);
        for (g, integer) in integers.into_iter().enumerate() {
            let sc = (integer + 32) as u8;
            out[96 + g % 8] |= (sc & 15) << (g / 8 * 4);
            out[104 + g % 4] |= (sc >> 4) << (g / 4 * 2);
        }
        put_half(&mut out[108..], d);
    }
}

#[inline(always)]
pub(super) fn q4_k<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(144).enumerate() {
        let groups = &block::<V, 32, 1>(row, importance, n);
        let scales = super_blocks::affine::<V, 32, 1, 8>(groups, 15.0, TRIMS_4, &SCALES_4);
        put_scales_and_mins(&scales, out);
        put_plane(&affine_codes(groups, 15.0, &scales), 0, 4, 32, &mut out[16..144]);
    }
}

#[inline(always)]
pub(super) fn q5_k<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(176).enumerate() {
        let groups = &block::<V, 32, 1>(row, importance, n);
        let scales = super_blocks::affine::<V, 32, 1, 8>(groups, 31.0, TRIMS_4, &SCALES_4);
        put_scales_and_mins(&scales, out);
        let codes = affine_codes(groups, 31.0, &scales);
        put_plane(&codes, 4, 1, 32, &mut out[16..48]);
        put_plane(&codes, 0, 4, 32, &mut out[48..176]);
    }
}

#[inline(always)]
pub(super) fn q6_k<V: Lanes>(row: &[f32], importance: &Importance, out: &mut [u8]) {
    for (n, out) in out.chunks_exact_mut(210).enumerate() {
        let groups = &block::<V, 16, 2>(row, importance, n);
        let (d, integers, codes) = symmetric_block::<V>(groups, (Integers::new(-32, 31), 32.0), ANCHORS_6, &SCALES_6);
        put_plane(&codes, 0, 4, 64, &mut out[..128]);
        put_plane(&codes, 4, 2, 32, &mut out[128..192]);
        out[192..208].iter_mut().zip(integers).for_each(|(out, integer)| *out = integer as u8);
        put_half(&mut out[208..], d);
    }
}

/// The first 16 bytes of Q4_K and Q5_K.
#[inline(always)]
fn put_scales_and_mins<V: Lanes>(scales: &Affine<V, 1>, out: &mut [u8]) {
    put_half(out, scales.d);
    put_half(&mut out[2..], scales.d_min);
    let (sc, mn) = (scales.scales[0].store().0.map(|sc| sc as u8), scales.mins[0].store().0.map(|mn| mn as u8));
    for j in 0..4 {
        out[4 + j] = sc[j] | sc[4 + j] >> 4 << 6;
        out[8 + j] = mn[j] | mn[4 + j] >> 4 << 6;
        out[12 + j] = sc[4 + j] & 15 | (mn[4 + j] & 15) << 4;
    }
}
