//! Blocks of 32 elements with their own binary16 scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.

use super::bits::{fifth_bits, nibbles, put_half, saturating_half};

/// Elements in a block.
const LEN: usize = 32;

/// Calls `encode` with every block of a row and its bytes.
fn each_block(row: &[f32], out: &mut [u8], mut encode: impl FnMut(&[f32; LEN], &mut [u8])) {
    let (blocks, _) = row.as_chunks::<LEN>();
    let block_bytes = out.len() / blocks.len();
    blocks.iter().zip(out.chunks_exact_mut(block_bytes)).for_each(|(x, out)| encode(x, out));
}

/// `x * (1 / d)`, rounded and held between `low` and `high`; 0 where d is 0.
fn round_by(x: f32, d: f32, low: f32, high: f32) -> f32 {
    if d == 0.0 { 0.0 } else { (x / d).clamp(low, high).round_ties_even() }
}

/// A block of signed codes of `n_bits`: its scale and the codes with `2^(n_bits - 1)` added.
fn symmetric(x: &[f32; LEN], n_bits: u32) -> (half::f16, [u8; LEN]) {
    let half_range = (1 << (n_bits - 1)) as f32;
    let extreme = x.iter().fold(0.0f32, |m, &x| if x.abs() > m.abs() { x } else { m });
    let d = saturating_half(extreme / -half_range);
    let codes = x.map(|x| (round_by(x, d.to_f32(), -half_range, half_range - 1.0) + half_range) as u8);
    (d, codes)
}

/// A block of unsigned codes of `n_bits`: its scale, its minimum and the codes.
fn affine(x: &[f32; LEN], n_bits: u32) -> (half::f16, half::f16, [u8; LEN]) {
    let top = ((1 << n_bits) - 1) as f32;
    let (low, high) = x.iter().fold((f32::MAX, f32::MIN), |(low, high), &x| (low.min(x), high.max(x)));
    let m = saturating_half(low);
    let d = saturating_half(high / top - low / top);
    (d, m, x.map(|x| round_by(x - m.to_f32(), d.to_f32(), 0.0, top) as u8))
}

pub(super) fn q4_0(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    each_block(row, out, |x, out| {
        let (d, codes) = symmetric(x, 4);
        put_half(out, d);
        nibbles(&codes, &mut out[2..]);
    });
}

pub(super) fn q4_1(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    each_block(row, out, |x, out| {
        let (d, m, codes) = affine(x, 4);
        put_half(out, d);
        put_half(&mut out[2..], m);
        nibbles(&codes, &mut out[4..]);
    });
}

pub(super) fn q5_0(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    each_block(row, out, |x, out| {
        let (d, codes) = symmetric(x, 5);
        put_half(out, d);
        fifth_bits(&codes, &mut out[2..]);
        nibbles(&codes, &mut out[6..]);
    });
}

pub(super) fn q5_1(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    each_block(row, out, |x, out| {
        let (d, m, codes) = affine(x, 5);
        put_half(out, d);
        put_half(&mut out[2..], m);
        fifth_bits(&codes, &mut out[4..]);
        nibbles(&codes, &mut out[8..]);
    });
}

/// The definition that every converter shares, byte for byte: `d = max |x| / 127`, `q = x / d` rounded half away from zero,
/// with the `d` before it is rounded to binary16.
pub(super) fn q8_0(row: &[f32], _importance: Option<&[f32]>, out: &mut [u8]) {
    each_block(row, out, |x, out| {
        let d = x.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
        let per_d = if d == 0.0 { 0.0 } else { 1.0 / d };
        put_half(out, saturating_half(d));
        x.iter().zip(&mut out[2..]).for_each(|(x, code)| *code = (x * per_d).round() as i8 as u8);
    });
}
