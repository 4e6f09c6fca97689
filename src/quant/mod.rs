//! Reference dequantization: what the bytes of a tensor mean, to the bit. And the way back: [`quantize`], in `encode/`.
//!
//! Every block format is small integer codes and float32 scales: for a group of consecutive inputs of a row,
//! `w = s * q + m` with one float32 rounding after the product and one after the sum; formats without a minimum stop after
//! the product. [`unpack_block`] gives the codes, scales and minima, [`dequantize`] the values. Both are plain scalar code
//! meant to be checked by eye; the packers and kernels are tested against them.
//!
//! | file | formats |
//! |---|---|
//! | `floats.rs` | F32, F16, BF16 |
//! | `legacy.rs` | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1: blocks of 32 with their own scale |
//! | `k_quants.rs` | Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K: super-blocks of 256 whose group scales are integers too |
//! | `codebook.rs` | IQ4_NL, IQ4_XS, MXFP4: 4-bit indices into a table |
//! | `grids.rs` | IQ1_S, IQ1_M, IQ2_XXS, IQ2_XS, IQ2_S, IQ3_XXS, IQ3_S: indices of points of a grid |
//! | `ternary.rs` | TQ1_0, TQ2_0: -1, 0, 1 |
//!
//! Source of the layouts: `ggml-common.h` of ggml. The `gguf` Python package computes the same bits for the formats it knows.

mod block;
mod codebook;
mod encode;
mod floats;
mod grids;
mod k_quants;
mod legacy;
pub mod recipes;
mod ternary;

pub use block::{Block, MAX_BLOCK_LEN, MAX_GROUPS};
pub use encode::{is_encodable, quantize};

use crate::dtype::DType;
use crate::error::{Result, bail};

/// What undoes a format.
enum Decoder {
    /// No blocks: bytes of any number of elements to as many values.
    Floats(fn(&[u8], &mut [f32])),
    /// One block of [`DType::block_bytes`] bytes to its codes and scales.
    Blocks(fn(&[u8], &mut Block)),
}

/// The one list of formats that can be computed with.
fn decoder(dtype: DType) -> Result<Decoder> {
    Ok(match dtype {
        DType::F32 => Decoder::Floats(floats::f32),
        DType::F16 => Decoder::Floats(floats::f16),
        DType::BF16 => Decoder::Floats(floats::bf16),
        DType::Q4_0 => Decoder::Blocks(legacy::q4_0),
        DType::Q4_1 => Decoder::Blocks(legacy::q4_1),
        DType::Q5_0 => Decoder::Blocks(legacy::q5_0),
        DType::Q5_1 => Decoder::Blocks(legacy::q5_1),
        DType::Q8_0 => Decoder::Blocks(legacy::q8_0),
        DType::Q8_1 => Decoder::Blocks(legacy::q8_1),
        DType::Q2_K => Decoder::Blocks(k_quants::q2_k),
        DType::Q3_K => Decoder::Blocks(k_quants::q3_k),
        DType::Q4_K => Decoder::Blocks(k_quants::q4_k),
        DType::Q5_K => Decoder::Blocks(k_quants::q5_k),
        DType::Q6_K => Decoder::Blocks(k_quants::q6_k),
        DType::Q8_K => Decoder::Blocks(k_quants::q8_k),
        DType::IQ4_NL => Decoder::Blocks(codebook::iq4_nl),
        DType::IQ4_XS => Decoder::Blocks(codebook::iq4_xs),
        DType::MXFP4 => Decoder::Blocks(codebook::mxfp4),
        DType::IQ1_S => Decoder::Blocks(grids::iq1_s),
        DType::IQ1_M => Decoder::Blocks(grids::iq1_m),
        DType::IQ2_XXS => Decoder::Blocks(grids::iq2_xxs),
        DType::IQ2_XS => Decoder::Blocks(grids::iq2_xs),
        DType::IQ2_S => Decoder::Blocks(grids::iq2_s),
        DType::IQ3_XXS => Decoder::Blocks(grids::iq3_xxs),
        DType::IQ3_S => Decoder::Blocks(grids::iq3_s),
        DType::TQ1_0 => Decoder::Blocks(ternary::tq1_0),
        DType::TQ2_0 => Decoder::Blocks(ternary::tq2_0),
        _ => bail!(Unsupported, "tensor type {dtype} cannot be dequantized"),
    })
}

/// Whether [`dequantize`] knows the format.
pub fn is_supported(dtype: DType) -> bool {
    decoder(dtype).is_ok()
}

/// Dequantizes `out.len()` consecutive elements of a row (or of whole rows) from `bytes`.
///
/// Errors: `Unsupported` for a format that is only known by size, `InvalidArgument` unless `out` is whole blocks and
/// `bytes` exactly theirs.
pub fn dequantize(dtype: DType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let decoder = decoder(dtype)?;
    let Some(want_bytes) = dtype.row_bytes(out.len()) else {
        bail!(InvalidArgument, "{} elements are not whole blocks of {} ({dtype})", out.len(), dtype.block_len());
    };
    if bytes.len() != want_bytes {
        bail!(InvalidArgument, "{} elements of {dtype} take {want_bytes} bytes, not {}", out.len(), bytes.len());
    }
    match decoder {
        Decoder::Floats(decode) => decode(bytes, out),
        Decoder::Blocks(unpack) => {
            let mut block = Block::new();
            let blocks = bytes.chunks_exact(dtype.block_bytes());
            for (bytes, out) in blocks.zip(out.chunks_exact_mut(dtype.block_len())) {
                unpack(bytes, &mut block);
                block.values(out);
            }
        }
    }
    Ok(())
}

/// The codes, scales and minima of one block: `bytes` are its [`DType::block_bytes`].
///
/// Errors: `Unsupported` for a format that is not blocks of codes or not known here, `InvalidArgument` for another length.
pub fn unpack_block(dtype: DType, bytes: &[u8]) -> Result<Block> {
    let Decoder::Blocks(unpack) = decoder(dtype)? else {
        bail!(Unsupported, "tensor type {dtype} has no codes and scales");
    };
    if bytes.len() != dtype.block_bytes() {
        bail!(InvalidArgument, "a block of {dtype} is {} bytes, not {}", dtype.block_bytes(), bytes.len());
    }
    let mut block = Block::new();
    unpack(bytes, &mut block);
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::dtype::TABLE;

    #[test]
    fn every_block_format_fills_exactly_one_block() {
        let mut n_formats = 0;
        for row in TABLE.iter().filter(|row| row.block_len > 1 && is_supported(row.dtype)) {
            let block = unpack_block(row.dtype, &vec![0x11; row.block_bytes]).unwrap();
            assert_eq!(block.codes().len(), row.block_len, "{}", row.name);
            assert_eq!(block.scales().len() * block.group_len(), row.block_len, "{}", row.name);
            assert!(block.mins().is_none_or(|mins| mins.len() == block.scales().len()), "{}", row.name);
            n_formats += 1;
        }
        assert_eq!(n_formats, 24);
    }

    #[test]
    fn a_type_known_only_by_size_is_refused_by_name() {
        let error = dequantize(DType::NVFP4, &[0; 36], &mut [0.0; 64]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains("NVFP4"), "{error}");
        assert_eq!(unpack_block(DType::F16, &[0; 2]).unwrap_err().kind(), ErrorKind::Unsupported);
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for (dtype, n_bytes, n_elems) in [
            (DType::Q4_0, 17, 32),
            (DType::Q4_0, 18, 33),
            (DType::Q4_0, 36, 32),
            (DType::Q4_K, 144, 128),
            (DType::F32, 7, 2),
            (DType::BF16, 2, 0),
        ] {
            let error = dequantize(dtype, &vec![0; n_bytes], &mut vec![0.0; n_elems]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{dtype} {n_bytes} {n_elems}");
        }
        assert_eq!(unpack_block(DType::Q8_0, &[0; 33]).unwrap_err().kind(), ErrorKind::InvalidArgument);
        dequantize(DType::Q4_K, &[], &mut []).unwrap();
    }
}
