//! Super-blocks of 256 elements: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K.
//!
//! A binary16 `d` (and `dmin`) scales small integers `sc` (and `mn`) of the groups: `s = d * sc`, `m = -(dmin * mn)`, one
//! float32 product each.
//!
//! | format | groups | bytes, in order | element |
//! |---|---|---|---|
//! | Q2_K | 16 of 16 | 16 of `sc + 16 mn`, 64 of 2-bit codes, d, dmin | `s * q + m` |
//! | Q3_K | 16 of 16 | 32 of third bits, 64 of 2-bit codes, 12 of 6-bit scales, d | `s * (q - 4)`, `sc - 32` |
//! | Q4_K | 8 of 32 | d, dmin, 12 of 6-bit scales and minima, 128 of nibbles | `s * q + m` |
//! | Q5_K | 8 of 32 | d, dmin, 12 of 6-bit scales and minima, 32 of fifth bits, 128 of nibbles | `s * q + m` |
//! | Q6_K | 16 of 16 | 128 of nibbles, 64 of upper 2-bit parts, 16 signed scales, d | `s * (q - 32)` |
//! | Q8_K | 1 of 256 | d as binary32, 256 signed bytes, 16 sums as int16 | `d * q` |
//!
//! The bit planes all follow one pattern, see [`plane`].

use super::block::Block;
use super::floats::half_at;
use super::legacy::signed_bytes;

/// Elements in a super-block.
const LEN: usize = 256;

pub(super) fn q2_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, true);
    let (d, dmin) = (half_at(bytes, 80), half_at(bytes, 82));
    for (g, &pair) in bytes[..16].iter().enumerate() {
        block.scales[g] = d * f32::from(pair & 15);
        block.mins[g] = -(dmin * f32::from(pair >> 4));
    }
    for (k, code) in block.codes.iter_mut().enumerate() {
        *code = plane(&bytes[16..80], k, 2, 32) as i8;
    }
}

pub(super) fn q3_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, false);
    let d = half_at(bytes, 108);
    for g in 0..16 {
        block.scales[g] = d * f32::from(q3_k_scale(&bytes[96..108], g));
    }
    for (k, code) in block.codes.iter_mut().enumerate() {
        let low = plane(&bytes[32..96], k, 2, 32);
        let third = plane(&bytes[..32], k, 1, 32);
        *code = (low | third << 2) as i8 - 4;
    }
}

pub(super) fn q4_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, true);
    scales_and_mins(bytes, block);
    for (k, code) in block.codes.iter_mut().enumerate() {
        *code = plane(&bytes[16..144], k, 4, 32) as i8;
    }
}

pub(super) fn q5_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 32, true);
    scales_and_mins(bytes, block);
    for (k, code) in block.codes.iter_mut().enumerate() {
        let low = plane(&bytes[48..176], k, 4, 32);
        let fifth = plane(&bytes[16..48], k, 1, 32);
        *code = (low | fifth << 4) as i8;
    }
}

pub(super) fn q6_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, 16, false);
    let d = half_at(bytes, 208);
    for (g, &sc) in bytes[192..208].iter().enumerate() {
        block.scales[g] = d * f32::from(sc as i8);
    }
    for (k, code) in block.codes.iter_mut().enumerate() {
        let low = plane(&bytes[..128], k, 4, 64);
        let high = plane(&bytes[128..192], k, 2, 32);
        *code = (low | high << 4) as i8 - 32;
    }
}

pub(super) fn q8_k(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    signed_bytes(&bytes[4..260], &mut block.codes);
}

/// The `n_bits` of element k in a bit plane: each run of `run` bytes serves `run * 8 / n_bits` consecutive elements, the
/// first `run` of them from the lowest bits of the run's bytes, the next `run` from the bits above, and so on.
pub(super) fn plane(bytes: &[u8], k: usize, n_bits: usize, run: usize) -> u8 {
    let per_run = run * 8 / n_bits;
    let byte = bytes[k / per_run * run + k % run];
    let shift = k % per_run / run * n_bits;
    byte >> shift & ((1 << n_bits) - 1)
}

/// Group g's signed scale of Q3_K: its low four bits are in nibbles (bytes 0..8, groups 0..8 low, 8..16 high), its high
/// two in bytes 8..12 (group g in byte 8 + g % 4, pair g / 4); stored with 32 added.
fn q3_k_scale(packed: &[u8], g: usize) -> i8 {
    let low = packed[g % 8] >> (g / 8 * 4) & 15;
    let high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
    (low | high << 4) as i8 - 32
}

/// Scales and minima of Q4_K and Q5_K: d, dmin, then 12 bytes. Groups 0..4 have their six bits in bytes 0..4 (scale) and
/// 4..8 (minimum); groups 4..8 their low four in bytes 8..12 (scale low, minimum high nibble) and their high two in the
/// upper bits of bytes 0..4 and 4..8.
fn scales_and_mins(bytes: &[u8], block: &mut Block) {
    let (d, dmin, packed) = (half_at(bytes, 0), half_at(bytes, 2), &bytes[4..16]);
    for j in 0..4 {
        let (sc, mn, low) = (packed[j], packed[4 + j], packed[8 + j]);
        block.scales[j] = d * f32::from(sc & 63);
        block.mins[j] = -(dmin * f32::from(mn & 63));
        block.scales[4 + j] = d * f32::from(low & 15 | sc >> 6 << 4);
        block.mins[4 + j] = -(dmin * f32::from(low >> 4 | mn >> 6 << 4));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_k_is_a_float_scale_then_signed_bytes_then_sums() {
        let mut bytes = 0.1f32.to_le_bytes().to_vec();
        bytes.extend((0..=255u8).map(|k| k.wrapping_mul(37)));
        bytes.extend([0xA5; 32]); // sums: never read
        let mut block = Block::new();
        q8_k(&bytes, &mut block);
        let mut values = [0.0; 256];
        block.values(&mut values);
        for (k, &w) in values.iter().enumerate() {
            let q = f32::from((k as u8).wrapping_mul(37) as i8);
            assert_eq!(w.to_bits(), (0.1f32 * q).to_bits(), "element {k}");
        }
        assert_eq!((values[0].to_bits(), block.codes()[7]), (0, 3));
    }

    #[test]
    fn one_bit_of_a_plane_belongs_to_one_element() {
        for (n_bits, run) in [(1, 32), (2, 32), (4, 32), (4, 64)] {
            let mut seen = [0u32; 256];
            for bit in 0..256 * n_bits {
                let mut bytes = vec![0u8; 32 * n_bits];
                bytes[bit / 8] = 1 << (bit % 8);
                let hits: Vec<usize> = (0..256).filter(|&k| plane(&bytes, k, n_bits, run) != 0).collect();
                assert_eq!(hits.len(), 1);
                seen[hits[0]] += 1;
            }
            assert!(seen.iter().all(|&n| n == n_bits as u32));
        }
    }
}
