//! Blocks of 32 elements with their own binary16 scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1.
//!
//! | format | bytes | element k |
//! |---|---|---|
//! | Q4_0 | d, 16 nibble pairs | `d * (q - 8)` |
//! | Q4_1 | d, m, 16 nibble pairs | `d * q + m` |
//! | Q5_0 | d, 32 fifth bits, 16 nibble pairs | `d * (q - 16)` |
//! | Q5_1 | d, m, 32 fifth bits, 16 nibble pairs | `d * q + m` |
//! | Q8_0 | d, 32 signed bytes | `d * q` |
//! | Q8_1 | d, s, 32 signed bytes | `d * q`; `s = d * sum(q)` is redundant |
//!
//! Byte j of the nibble pairs holds element j in its low and element j + 16 in its high nibble.

use super::block::Block;
use super::floats::half_at;

/// Elements in a block of this family.
const LEN: usize = 32;

pub(super) fn q4_0(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 0);
    nibbles(&bytes[2..18], &mut block.codes, 8);
}

pub(super) fn q4_1(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, true);
    block.scales[0] = half_at(bytes, 0);
    block.mins[0] = half_at(bytes, 2);
    nibbles(&bytes[4..20], &mut block.codes, 0);
}

pub(super) fn q5_0(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 0);
    nibbles(&bytes[6..22], &mut block.codes, 16);
    fifth_bits(&bytes[2..6], &mut block.codes);
}

pub(super) fn q5_1(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, true);
    block.scales[0] = half_at(bytes, 0);
    block.mins[0] = half_at(bytes, 2);
    nibbles(&bytes[8..24], &mut block.codes, 0);
    fifth_bits(&bytes[4..8], &mut block.codes);
}

pub(super) fn q8_0(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 0);
    signed_bytes(&bytes[2..34], &mut block.codes);
}

pub(super) fn q8_1(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 0);
    signed_bytes(&bytes[4..36], &mut block.codes);
}

/// 16 bytes to 32 codes, less `offset`.
fn nibbles(pairs: &[u8], codes: &mut [i8], offset: i8) {
    for (j, &pair) in pairs.iter().enumerate() {
        codes[j] = (pair & 15) as i8 - offset;
        codes[j + LEN / 2] = (pair >> 4) as i8 - offset;
    }
}

/// Adds 16 to the codes whose bit is set in the 32 little-endian bits.
fn fifth_bits(bits: &[u8], codes: &mut [i8]) {
    for (k, code) in codes[..LEN].iter_mut().enumerate() {
        *code += ((bits[k / 8] >> (k % 8) & 1) << 4) as i8;
    }
}

/// Codes stored as they are.
pub(super) fn signed_bytes(bytes: &[u8], codes: &mut [i8]) {
    bytes.iter().zip(codes).for_each(|(&b, q)| *q = b as i8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn q8_1_is_scale_then_sum_then_signed_bytes() {
        let mut bytes = vec![0x00, 0xB8]; // d = -0.5
        bytes.extend([0x34, 0x12]); // s: never read
        bytes.extend((0..32).map(|k| (k * 8) as u8)); // 0, 8, .., 120, -128, -120, .., -8
        let mut block = Block::new();
        q8_1(&bytes, &mut block);
        let mut values = [0.0; 32];
        block.values(&mut values);
        for (k, &w) in values.iter().enumerate() {
            let q = if k < 16 { k as f32 * 8.0 } else { k as f32 * 8.0 - 256.0 };
            assert_eq!(w.to_bits(), (-0.5 * q).to_bits(), "element {k}");
        }
    }
}
