//! Formats whose runs of 8 or 4 elements are points of a grid: IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S.
//!
//! A file names a point by its index. The sets of points are facts of the formats, kept once, in `kernels/cpu/pack/grids.inc`,
//! which C includes and this file reads as text. Signs, where they are 7 bits, have their parity as the eighth.
//!
//! | format | scales | bytes, in order | element |
//! |---|---|---|---|
//! | IQ2_XXS | 8 of 32 | d, 8 times (4 indices, 4 of 7 signs, 4-bit sc) | `d (2 sc + 1) / 8 * +-g` |
//! | IQ2_XS | 16 of 16 | d, 32 of (9-bit index, 7 signs), 8 of 4-bit sc pairs | the same |
//! | IQ2_S | 16 of 16 | d, 32 of low indices, 32 of signs, 8 of high 2 bits, 8 of sc pairs | the same |
//! | IQ3_XXS | 8 of 32 | d, 64 indices, 8 times (4 of 7 signs, 4-bit sc) | `d (2 sc + 1) / 4 * +-g` |
//! | IQ3_S | 8 of 32 | d, 64 of low indices, 8 of ninth bits, 32 of signs, 4 of sc pairs | `d (2 sc + 1) * +-g` |
//! | IQ1_S | 8 of 32 | d, 32 of low indices, 8 times (4 of high 3 bits, 3-bit sc, sign of t) | `d (2 sc + 1) * (g + t)` |
//! | IQ1_M | 16 of 16 | 32 of low indices, 16 of (high 3 bits, sign of t) pairs, 4 times (4 of 3-bit sc, a nibble of d) | the same |
//!
//! g is 8, 25 or 43 in IQ2; 4, 12 .. 52 or 62 in IQ3_XXS; 1, 3 .. 15 in IQ3_S; -1, 0 or 1 in IQ1. t is an eighth up or down,
//! per group of 32 in IQ1_S and per 8 elements in IQ1_M. So IQ1_S is a format with a minimum, `m = s t`, and in IQ1_M the code is
//! the integer `8 (g + t)`. Every product is exact: integers of few bits times a binary16.

use std::sync::OnceLock;

use super::block::Block;
use super::floats::half_at;

/// The sets, see the text's own head.
const TEXT: &str = include_str!("../../kernels/cpu/pack/grids.inc");

/// A list of points; a point is its coordinates' values.
type Grid = Vec<[i8; 8]>;

/// One row per grid: its name in the text, its formats' values of a coordinate in order of their index.
const IQ1: &[i8] = &[-1, 0, 1];
const IQ2: &[i8] = &[8, 25, 43];
const IQ3_XXS: &[i8] = &[4, 12, 20, 28, 36, 44, 52, 62];
const IQ3_S: &[i8] = &[1, 3, 5, 7, 9, 11, 13, 15];

/// The points of the set called `name`, which is read when first used. Points of 4 coordinates end with zeros.
fn points(cell: &'static OnceLock<Grid>, name: &str, values: &[i8]) -> &'static [[i8; 8]] {
    cell.get_or_init(|| parse(TEXT, name, values))
}

fn parse(text: &str, name: &str, values: &[i8]) -> Grid {
    let start = text.find(&format!("GRID({name},")).unwrap_or(text.len());
    let body = text[start..].split(['(', ')']).nth(1).unwrap_or_default();
    let mut fields = body.split(',').map(str::trim).skip(1);
    let n_coordinates = fields.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    // The number of values is that of the list, the number of points is counted.
    let words = fields.skip(2).filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let numbers =
        words.enumerate().flat_map(|(i, word)| (0..64).filter(move |b| word >> b & 1 == 1).map(move |b| 64 * i + b));
    numbers.map(|number| point(number, n_coordinates, values)).collect()
}

/// The digits of a number, the first coordinate lowest, each as its value.
fn point(mut number: usize, n_coordinates: usize, values: &[i8]) -> [i8; 8] {
    let mut point = [0; 8];
    for coordinate in point.iter_mut().take(n_coordinates) {
        *coordinate = values[number % values.len()];
        number /= values.len();
    }
    point
}

macro_rules! grids {
    ($($grid:ident = $name:literal, $values:ident;)*) => { $(
        fn $grid() -> &'static [[i8; 8]] {
            static POINTS: OnceLock<Grid> = OnceLock::new();
            points(&POINTS, $name, $values)
        }
    )* };
}

grids! {
    iq1_grid = "iq1", IQ1;
    iq2_xxs_grid = "iq2_xxs", IQ2;
    iq2_xs_grid = "iq2_xs", IQ2;
    iq2_s_grid = "iq2_s", IQ2;
    iq3_xxs_grid = "iq3_xxs", IQ3_XXS;
    iq3_s_grid = "iq3_s", IQ3_S;
}

/// Elements in a block.
const LEN: usize = 256;

pub(super) fn iq2_xxs(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, false);
    let d = half_at(bytes, 0);
    for g in 0..8 {
        let signs = u32_at(bytes, 6 + 8 * g);
        block.scales[g] = d * odd(signs >> 28) / 8.0;
        for i in 0..4 {
            let point = &iq2_xxs_grid()[usize::from(bytes[2 + 8 * g + i])];
            put(block, 4 * g + i, point, seven_signs(signs >> (7 * i)));
        }
    }
}

pub(super) fn iq2_xs(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, false);
    half_scales(bytes, 66, block);
    for run in 0..32 {
        let both = u16_at(bytes, 2 + 2 * run);
        put(block, run, &iq2_xs_grid()[usize::from(both & 511)], seven_signs((both >> 9).into()));
    }
}

pub(super) fn iq2_s(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, false);
    half_scales(bytes, 74, block);
    for run in 0..32 {
        let high = bytes[66 + run / 4] >> (run % 4 * 2) & 3;
        put(block, run, &iq2_s_grid()[index(bytes[2 + run], high)], bytes[34 + run]);
    }
}

/// Scales of IQ2_XS and IQ2_S: 16 nibbles from `at` on.
fn half_scales(bytes: &[u8], at: usize, block: &mut Block) {
    let d = half_at(bytes, 0);
    for n in 0..16 {
        let sc = bytes[at + n / 2] >> (n % 2 * 4) & 15;
        block.scales[n] = d * odd(sc.into()) / 8.0;
    }
}

pub(super) fn iq3_xxs(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, false);
    let d = half_at(bytes, 0);
    for g in 0..8 {
        let signs = u32_at(bytes, 66 + 4 * g);
        block.scales[g] = d * odd(signs >> 28) / 4.0;
        for i in 0..4 {
            let two = |j: usize| iq3_xxs_grid()[usize::from(bytes[2 + 8 * g + 2 * i + j])];
            put(block, 4 * g + i, &joined(two(0), two(1)), seven_signs(signs >> (7 * i)));
        }
    }
}

pub(super) fn iq3_s(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, false);
    let d = half_at(bytes, 0);
    for g in 0..8 {
        let sc = bytes[106 + g / 2] >> (g % 2 * 4) & 15;
        block.scales[g] = d * odd(sc.into());
        for i in 0..4 {
            let two = |j: usize| iq3_s_grid()[index(bytes[2 + 8 * g + j], bytes[66 + g] >> j & 1)];
            put(block, 4 * g + i, &joined(two(2 * i), two(2 * i + 1)), bytes[74 + 4 * g + i]);
        }
    }
}

pub(super) fn iq1_s(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, true);
    let eighth = half_at(bytes, 0) / 8.0;
    for g in 0..8 {
        let high = u16_at(bytes, 34 + 2 * g);
        let sc = odd(u32::from(high >> 12 & 7));
        block.scales[g] = eighth * (8.0 * sc);
        block.mins[g] = eighth * if high >> 15 == 1 { -sc } else { sc };
        for i in 0..4 {
            let point = &iq1_grid()[index(bytes[2 + 4 * g + i], (high >> (3 * i) & 7) as u8)];
            put(block, 4 * g + i, point, 0);
        }
    }
}

pub(super) fn iq1_m(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, false);
    let scales: [u16; 4] = std::array::from_fn(|i| u16_at(bytes, 48 + 2 * i));
    let d_bits = scales.iter().enumerate().fold(0, |bits, (i, word)| bits | (word >> 12) << (4 * i));
    let eighth = half::f16::from_bits(d_bits).to_f32() / 8.0;
    for n in 0..16 {
        block.scales[n] = eighth * odd(u32::from(scales[n / 4] >> (n % 4 * 3) & 7));
    }
    for run in 0..32 {
        let high = bytes[32 + run / 2] >> (run % 2 * 4) & 15;
        let down = high & 8 != 0;
        let eighths = iq1_grid()[index(bytes[run], high & 7)].map(|g| 8 * g + if down { -1 } else { 1 });
        put(block, run, &eighths, 0);
    }
}

/// Puts 8 codes; bit i of `signs` negates the i-th.
fn put(block: &mut Block, run: usize, point: &[i8; 8], signs: u8) {
    for (i, &value) in point.iter().enumerate() {
        block.codes[8 * run + i] = if signs >> i & 1 == 1 { -value } else { value };
    }
}

/// Two points of 4 coordinates.
fn joined(first: [i8; 8], second: [i8; 8]) -> [i8; 8] {
    std::array::from_fn(|i| if i < 4 { first[i] } else { second[i - 4] })
}

fn index(low: u8, high: u8) -> usize {
    usize::from(low) | usize::from(high) << 8
}

/// The lowest 7 bits, and their parity.
fn seven_signs(bits: u32) -> u8 {
    let signs = (bits & 127) as u8;
    signs | (signs.count_ones() as u8 & 1) << 7
}

fn odd(n: u32) -> f32 {
    (2 * n + 1) as f32
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every index that a file can hold is a point, and the points are different.
    #[test]
    fn grids_have_as_many_points_as_their_index_says() {
        let grids = [iq1_grid(), iq2_xxs_grid(), iq2_xs_grid(), iq2_s_grid(), iq3_xxs_grid(), iq3_s_grid()];
        assert_eq!(grids.map(<[_]>::len), [2048, 256, 512, 1024, 256, 512]);
        for grid in grids {
            let different: std::collections::BTreeSet<_> = grid.iter().collect();
            assert_eq!(different.len(), grid.len());
        }
    }

    #[test]
    fn a_set_is_read_from_its_text() {
        let text = "/* GRIDS */\nGRID(other, 2, 3, 1,\n  0x1)\nGRID(some, 2, 3, 3,\n  0x0000000000000009, 0x1)\n";
        let grid = parse(text, "some", &[5, 6, 7]);
        assert_eq!(grid, [[5, 5, 0, 0, 0, 0, 0, 0], [5, 6, 0, 0, 0, 0, 0, 0], [6, 5, 0, 0, 0, 0, 0, 0]]);
        assert!(parse(text, "none", &[1]).is_empty());
    }

    #[test]
    fn the_eighth_sign_makes_the_number_of_signs_even() {
        assert_eq!([0, 1, 2, 3, 0x7f, 0xff].map(seven_signs), [0, 0x81, 0x82, 3, 0xff, 0xff]);
    }
}
