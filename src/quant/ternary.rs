//! Formats whose weights are -1, 0 or 1 times a scale: TQ1_0, TQ2_0.
//!
//! | format | bytes, in order | element |
//! |---|---|---|
//! | TQ1_0 | 48 of 5 ternary digits, 4 of 4 digits, d | `d * (digit - 1)` |
//! | TQ2_0 | 64 of 2-bit codes, d | `d * (q - 1)` |
//!
//! A byte of digits is a fraction of 256: times 3, what carries over is the first digit, and so on. Digit n of the first 32
//! bytes belongs to elements `32 n ..`, of the next 16 to `160 + 16 n ..`, of the last 4 to `240 + 4 n ..`.

use super::block::Block;
use super::floats::half_at;
use super::k_quants::plane;

/// Elements in a block.
const LEN: usize = 256;

pub(super) fn tq1_0(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 52);
    let runs = [(&bytes[..32], 5), (&bytes[32..48], 5), (&bytes[48..52], 4)];
    let digits = runs
        .into_iter()
        .flat_map(|(run, n_digits)| (0..n_digits).flat_map(move |n| run.iter().map(move |&b| digit(b, n))));
    block.codes.iter_mut().zip(digits).for_each(|(code, digit)| *code = digit - 1);
}

/// Digit n of a byte.
fn digit(byte: u8, n: u32) -> i8 {
    let rest = byte.wrapping_mul(3u8.pow(n)); // without the digits before it
    ((u16::from(rest) * 3) >> 8) as i8
}

pub(super) fn tq2_0(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 64);
    for (k, code) in block.codes.iter_mut().enumerate() {
        *code = plane(&bytes[..64], k, 2, 32) as i8 - 1;
    }
}
