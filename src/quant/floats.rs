//! Formats without blocks: every element is a little-endian float.

/// IEEE binary32. `bytes` holds `out.len()` elements.
pub(super) fn f32(bytes: &[u8], out: &mut [f32]) {
    let (elems, _) = bytes.as_chunks::<4>();
    elems.iter().zip(out).for_each(|(&b, w)| *w = f32::from_le_bytes(b));
}

/// IEEE binary16.
pub(super) fn f16(bytes: &[u8], out: &mut [f32]) {
    let (elems, _) = bytes.as_chunks::<2>();
    elems.iter().zip(out).for_each(|(&b, w)| *w = half::f16::from_le_bytes(b).to_f32());
}

/// bfloat16: the upper half of a binary32.
pub(super) fn bf16(bytes: &[u8], out: &mut [f32]) {
    let (elems, _) = bytes.as_chunks::<2>();
    elems.iter().zip(out).for_each(|(&b, w)| *w = f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
}

/// The binary16 that starts at `bytes[at]`: how the block formats store a scale.
pub(super) fn half_at(bytes: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_has_the_value_its_fields_say() {
        for bits in 0..=u16::MAX {
            let mut got = [0.0];
            f16(&bits.to_le_bytes(), &mut got);
            let (exponent, fraction) = (i32::from(bits >> 10 & 31), f64::from(bits & 1023));
            let magnitude = match exponent {
                0 => fraction * 2f64.powi(-24),
                31 if fraction == 0.0 => f64::INFINITY,
                31 => f64::NAN,
                _ => (1024.0 + fraction) * 2f64.powi(exponent - 25),
            };
            let want = if bits >> 15 == 1 { -magnitude } else { magnitude } as f32;
            assert!(got[0].to_bits() == want.to_bits() || (got[0].is_nan() && want.is_nan()), "{bits:#06x}");
        }
    }
}
