//! Where the bits of a code go: the inverse of what the decoders of [`super::super`] read.

/// 32 codes of 4 bits to 16 bytes: element j in the low, element j + 16 in the high nibble of byte j. Higher bits of a code
/// are left out.
pub(super) fn nibbles(codes: &[u8; 32], pairs: &mut [u8]) {
    for (j, pair) in pairs[..16].iter_mut().enumerate() {
        *pair = codes[j] & 15 | codes[j + 16] << 4;
    }
}

/// Bit 4 of 32 codes to 4 bytes, element 0 lowest.
pub(super) fn fifth_bits(codes: &[u8; 32], bytes: &mut [u8]) {
    let bits = codes.iter().rev().fold(0u32, |bits, code| bits << 1 | u32::from(code >> 4 & 1));
    bytes[..4].copy_from_slice(&bits.to_le_bytes());
}

/// The binary16 `d` at the start of `bytes`.
pub(super) fn put_half(bytes: &mut [u8], d: half::f16) {
    bytes[..2].copy_from_slice(&d.to_le_bytes());
}

/// The finite binary16 nearest to `d`: what is too large becomes the largest.
pub(super) fn saturating_half(d: f32) -> half::f16 {
    half::f16::from_f32(d.clamp(-65504.0, 65504.0))
}
