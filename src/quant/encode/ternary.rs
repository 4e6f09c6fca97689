//! Formats whose weights are -1, 0 or 1 times a scale: TQ1_0, TQ2_0.
//!
//! Whatever the scale, the elements that are not 0 are those of the largest magnitudes. So the best scale is found exactly: for
//! every count of them it is the mean of their magnitudes (weighted by importance), and the count that explains most wins.

use half::f16;

use super::bits::{put_half, put_plane, storable};
use super::groups::Importance;

/// Elements in a block.
const LEN: usize = 256;

/// The scale of a block and its codes with 1 added. `start` is the block's first column.
fn block(x: &[f32; LEN], importance: &Importance, start: usize) -> (f16, [u8; LEN]) {
    // Magnitudes sort like their bits; the position makes one order of equals.
    let mut order: [u64; LEN] = std::array::from_fn(|i| u64::from(x[i].abs().to_bits()) << 8 | i as u64);
    order.sort_unstable();
    let (mut wx, mut w) = (0.0, 0.0);
    let (mut scale, mut explained) = (0.0, 0.0);
    for key in order.into_iter().rev() {
        let i = (key & 255) as usize;
        let weight = f64::from(importance.at(start + i));
        wx += weight * f64::from(x[i].abs());
        w += weight;
        if wx * wx / w > explained {
            (scale, explained) = (wx / w, wx * wx / w);
        }
    }
    let d = storable(scale as f32);
    let half = d.to_f32() / 2.0;
    (d, x.map(|x| 1 + u8::from(x > half) - u8::from(x < -half)))
}

pub(super) fn tq1_0(row: &[f32], importance: &Importance, out: &mut [u8]) {
    let (blocks, _) = row.as_chunks::<LEN>();
    for (n, (x, out)) in blocks.iter().zip(out.chunks_exact_mut(54)).enumerate() {
        let (d, codes) = block(x, importance, n * LEN);
        put_digits(&codes[..160], &mut out[..32]);
        put_digits(&codes[160..240], &mut out[32..48]);
        put_digits(&codes[240..], &mut out[48..52]);
        put_half(&mut out[52..], d);
    }
}

/// Five codes a byte, or four: the first is the highest digit, in units of 1/3, 1/9 .. of 256, rounded up.
fn put_digits(codes: &[u8], bytes: &mut [u8]) {
    let run = bytes.len();
    for (j, byte) in bytes.iter_mut().enumerate() {
        let digit = |n: usize| codes.get(j + n * run).map_or(0, |&code| u16::from(code));
        let number = (0..5).fold(0, |number, n| 3 * number + digit(n));
        *byte = (number * 256).div_ceil(243) as u8;
    }
}

pub(super) fn tq2_0(row: &[f32], importance: &Importance, out: &mut [u8]) {
    let (blocks, _) = row.as_chunks::<LEN>();
    for (n, (x, out)) in blocks.iter().zip(out.chunks_exact_mut(66)).enumerate() {
        let (d, codes) = block(x, importance, n * LEN);
        put_plane(&codes, 0, 2, 32, &mut out[..64]);
        put_half(&mut out[64..], d);
    }
}
