//! Formats whose 4-bit codes are indices into a table: IQ4_NL, IQ4_XS, MXFP4.
//!
//! | format | groups | bytes, in order | element |
//! |---|---|---|---|
//! | IQ4_NL | 1 of 32 | d, 16 nibble pairs | `d * table[q]` |
//! | IQ4_XS | 8 of 32 | d, 8 upper scale pairs (16 bits), 8 lower scale nibbles, 128 of nibble pairs | `d * (sc - 32) * table[q]` |
//! | MXFP4 | 1 of 32 | exponent e, 16 nibble pairs | `2^(e - 128) * table[q]` |
//!
//! Byte j of a group's nibble pairs holds element j in its low and element j + 16 in its high nibble. The code of an element
//! is the table's value, so `w = s * q` holds as for the other formats.

use super::block::Block;
use super::floats::half_at;

/// Elements in a group.
const LEN: usize = 32;

/// The non-linear levels of IQ4_NL and IQ4_XS (`kvalues_iq4nl` of ggml).
pub(super) const IQ4: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// The values of a 4-bit float with 2 exponent bits and 1 fraction bit, doubled so that they are integers (OCP Microscaling
/// Formats 1.0, section 5.3.3). The negative zero is a plain zero, as in ggml.
pub(super) const E2M1: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

pub(super) fn iq4_nl(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_at(bytes, 0);
    look_up(&IQ4, &bytes[2..18], &mut block.codes);
}

pub(super) fn iq4_xs(bytes: &[u8], block: &mut Block) {
    block.shape(8 * LEN, LEN, false);
    let d = half_at(bytes, 0);
    let upper = u16::from_le_bytes([bytes[2], bytes[3]]);
    for g in 0..8 {
        let low = bytes[4 + g / 2] >> (g % 2 * 4) & 15;
        let high = (upper >> (2 * g) & 3) as u8;
        block.scales[g] = d * f32::from((low | high << 4) as i8 - 32);
        look_up(&IQ4, &bytes[8 + 16 * g..24 + 16 * g], &mut block.codes[LEN * g..]);
    }
}

pub(super) fn mxfp4(bytes: &[u8], block: &mut Block) {
    block.shape(LEN, LEN, false);
    block.scales[0] = half_of_e8m0(bytes[0]);
    look_up(&E2M1, &bytes[1..17], &mut block.codes);
}

/// Half of the power of two with an 8-bit exponent, `2^(e - 128)`: half, because [`E2M1`] is doubled. Exponent 255, which
/// the specification reserves for NaN, is `2^127` like in ggml. The two smallest are denormal.
fn half_of_e8m0(e: u8) -> f32 {
    f32::from_bits(match e {
        0 => 1 << 21,
        1 => 1 << 22,
        _ => u32::from(e - 1) << 23,
    })
}

/// 16 bytes to 32 codes.
fn look_up(table: &[i8; 16], pairs: &[u8], codes: &mut [i8]) {
    for (j, &pair) in pairs.iter().enumerate() {
        codes[j] = table[usize::from(pair & 15)];
        codes[j + LEN / 2] = table[usize::from(pair >> 4)];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponent_of_mxfp4_is_a_power_of_two() {
        for e in 0..=255u8 {
            assert_eq!(f64::from(half_of_e8m0(e)), 2f64.powi(i32::from(e) - 128), "exponent {e}");
        }
    }
}
