//! Formats without blocks: every element by itself, rounded to nearest, ties to even.

/// IEEE binary32: the bits as they are.
pub(super) fn f32(values: &[f32], out: &mut [u8]) {
    let (elems, _) = out.as_chunks_mut::<4>();
    values.iter().zip(elems).for_each(|(x, b)| *b = x.to_le_bytes());
}

/// IEEE binary16.
pub(super) fn f16(values: &[f32], out: &mut [u8]) {
    let (elems, _) = out.as_chunks_mut::<2>();
    values.iter().zip(elems).for_each(|(&x, b)| *b = half::f16::from_f32(x).to_le_bytes());
}

/// bfloat16.
pub(super) fn bf16(values: &[f32], out: &mut [u8]) {
    let (elems, _) = out.as_chunks_mut::<2>();
    values.iter().zip(elems).for_each(|(&x, b)| *b = half::bf16::from_f32(x).to_le_bytes());
}
