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

/// The finite binary16 nearest to `d`, except that what is not zero stays so: a scale too large becomes the largest, one too
/// small the smallest.
pub(super) fn storable(d: f32) -> half::f16 {
    const LARGEST: f32 = 65504.0;
    const SMALLEST: f32 = 1.0 / (1 << 24) as f32;
    if d == 0.0 {
        return half::f16::ZERO;
    }
    half::f16::from_f32(d.abs().clamp(SMALLEST, LARGEST).copysign(d))
}

/// Writes `n_bits` of every code, from bit `low` on, as a bit plane: the inverse of `plane` in `quant/k_quants.rs`.
#[inline(always)]
pub(super) fn put_plane(codes: &[u8; 256], low: u32, n_bits: usize, run: usize, bytes: &mut [u8]) {
    let mask = (1 << n_bits) - 1;
    for (codes, bytes) in codes.chunks_exact(run * 8 / n_bits).zip(bytes.chunks_exact_mut(run)) {
        bytes.fill(0);
        for (part, codes) in codes.chunks_exact(run).enumerate() {
            bytes.iter_mut().zip(codes).for_each(|(byte, code)| *byte |= (code >> low & mask) << (part * n_bits));
        }
    }
}
