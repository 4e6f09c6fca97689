//! Quantization: float32 rows to the bytes of a format, with as little weighted error as is cheap.
//!
//! [`quantize`] minimises, block by block, `sum of h * (x - w)^2` over the inputs of the block, where `x` is the value, `w`
//! what [`dequantize`](super::dequantize) gives back and `h` the importance of the input (1 without one). That is the
//! expected squared error of the matrix product when `h` is the mean square of the input's activations and inputs are
//! taken as uncorrelated.
//!
//! Results depend on nothing but the arguments: every instruction set, and every split of a tensor into calls of whole
//! rows, gives the same bytes.
//!
//! | file | what |
//! |---|---|
//! | `floats.rs` | F32, F16, BF16 |
//! | `legacy.rs` | Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 |
//! | `k_quants.rs` | Q2_K, Q3_K, Q4_K, Q5_K, Q6_K |
//! | `codebook.rs` | IQ4_NL, IQ4_XS, MXFP4 |
//! | `ternary.rs` | TQ1_0, TQ2_0 |
//! | `symmetric.rs`, `affine.rs` | the search for a scale, for a scale and a minimum |
//! | `super_blocks.rs` | the search for scales that are integers times a scale |
//! | `lanes/`, `groups.rs`, `levels.rs` | eight groups at a time; their values and weights; what values are rounded to |
//! | `bits.rs` | where the bits of a code go |

mod affine;
mod bits;
mod codebook;
mod floats;
mod groups;
mod k_quants;
mod lanes;
mod legacy;
mod levels;
mod super_blocks;
mod symmetric;
mod ternary;

use crate::dtype::DType;
use crate::error::{Result, bail};
use groups::Importance;

/// One row of whole blocks of finite values, the importance of its inputs, and the row's bytes.
type RowEncoder = fn(&[f32], &Importance, &mut [u8]);

/// What makes a format.
enum Encoder {
    /// No blocks: any number of elements, any value.
    Floats(fn(&[f32], &mut [u8])),
    /// Row by row.
    Rows(RowEncoder),
}

/// A row's encoder, compiled for the vectors that this CPU has. The operations and their order are the same, and no product is
/// fused with a sum, so the bytes are.
macro_rules! rows {
    ($family:ident :: $encode:ident) => {{
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "avx2")]
            fn avx2(row: &[f32], importance: &Importance, out: &mut [u8]) {
                $family::$encode::<lanes::Avx2>(row, importance, out);
            }
            if is_x86_feature_detected!("avx2") {
                // SAFETY: the CPU has AVX2, and nothing else is asked of the caller.
                return Some(Encoder::Rows(|row, importance, out| unsafe { avx2(row, importance, out) }));
            }
        }
        Encoder::Rows($family::$encode::<lanes::Baseline>)
    }};
}

/// The one list of formats that can be made.
fn encoder(dtype: DType) -> Option<Encoder> {
    Some(match dtype {
        DType::F32 => Encoder::Floats(floats::f32),
        DType::F16 => Encoder::Floats(floats::f16),
        DType::BF16 => Encoder::Floats(floats::bf16),
        DType::Q4_0 => rows!(legacy::q4_0),
        DType::Q4_1 => rows!(legacy::q4_1),
        DType::Q5_0 => rows!(legacy::q5_0),
        DType::Q5_1 => rows!(legacy::q5_1),
        DType::Q8_0 => rows!(legacy::q8_0),
        DType::Q2_K => rows!(k_quants::q2_k),
        DType::Q3_K => rows!(k_quants::q3_k),
        DType::Q4_K => rows!(k_quants::q4_k),
        DType::Q5_K => rows!(k_quants::q5_k),
        DType::Q6_K => rows!(k_quants::q6_k),
        DType::IQ4_NL => rows!(codebook::iq4_nl),
        DType::IQ4_XS => rows!(codebook::iq4_xs),
        DType::MXFP4 => rows!(codebook::mxfp4),
        DType::TQ1_0 => Encoder::Rows(ternary::tq1_0),
        DType::TQ2_0 => Encoder::Rows(ternary::tq2_0),
        _ => return None,
    })
}

/// Whether [`quantize`] can make the format.
pub fn is_encodable(dtype: DType) -> bool {
    encoder(dtype).is_some()
}

/// Quantizes `values`, whole rows of `k` elements, to the bytes of `dtype`.
///
/// `importance` has one finite weight >= 0 per input (length `k`); `out` is exactly the rows' bytes. Single-threaded:
/// callers share the rows out.
///
/// Finite values beyond what a format can hold become the nearest that it can. A block of zeros is encoded as zeros. The
/// float formats take any value, and F16 rounds as IEEE 754 says: beyond 65504 to infinity.
///
/// Errors: `Unsupported` for a format that cannot be made ([`is_encodable`]); `InvalidArgument` for lengths that do not fit
/// each other, for an importance that is negative or not finite, and for a NaN or an infinity that is to go into a block
/// format, naming its row and column; `out` may be written in part then.
pub fn quantize(dtype: DType, values: &[f32], k: usize, importance: Option<&[f32]>, out: &mut [u8]) -> Result<()> {
    let Some(encoder) = encoder(dtype) else {
        bail!(Unsupported, "tensor type {dtype} cannot be encoded");
    };
    let Some(row_bytes) = dtype.row_bytes(k).filter(|&n| n > 0) else {
        bail!(InvalidArgument, "a row of {k} elements is not whole blocks of {} ({dtype})", dtype.block_len());
    };
    if !values.len().is_multiple_of(k) {
        bail!(InvalidArgument, "{} values are not whole rows of {k}", values.len());
    }
    let n_rows = values.len() / k;
    if n_rows.checked_mul(row_bytes) != Some(out.len()) {
        bail!(InvalidArgument, "{n_rows} rows of {k} elements of {dtype} do not take {} bytes", out.len());
    }
    check_importance(importance, k)?;
    match encoder {
        Encoder::Floats(encode) => encode(values, out),
        Encoder::Rows(encode) => {
            let importance = Importance::new(importance);
            for (n, (row, out)) in values.chunks_exact(k).zip(out.chunks_exact_mut(row_bytes)).enumerate() {
                check_finite(dtype, n, row)?;
                encode(row, &importance, out);
            }
        }
    }
    Ok(())
}

fn check_importance(importance: Option<&[f32]>, k: usize) -> Result<()> {
    let Some(importance) = importance else { return Ok(()) };
    if importance.len() != k {
        bail!(InvalidArgument, "an importance of {} inputs is given for rows of {k} elements", importance.len());
    }
    match importance.iter().position(|&h| !(h >= 0.0 && h.is_finite())) {
        Some(column) => bail!(InvalidArgument, "the importance of column {column} is {}", importance[column]),
        None => Ok(()),
    }
}

fn check_finite(dtype: DType, n: usize, row: &[f32]) -> Result<()> {
    // Without a way out of the loop, so that it runs in vectors.
    if row.iter().fold(true, |finite, x| finite & x.is_finite()) {
        return Ok(());
    }
    match row.iter().position(|x| !x.is_finite()) {
        Some(column) => {
            bail!(InvalidArgument, "row {n}, column {column} is {}: {dtype} has no such value", row[column])
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of many sizes, some rows of zeros and of equal numbers; and weights of many sizes.
    fn sample(n: usize) -> (Vec<f32>, Vec<f32>) {
        let mut state = 1u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32 - 1.0
        };
        let values = (0..n).map(|i| match i / 256 % 8 {
            0 => 0.0,
            1 => 0.75,
            size => next().powi(3) * 10f32.powi(3 * size as i32 - 12),
        });
        let values = values.collect();
        (values, (0..n).map(|_| next().abs().powi(4)).collect())
    }

    /// A row by the vectors of this CPU, by those of every CPU of its kind, and by none.
    #[test]
    fn the_vectors_do_not_change_a_byte() {
        macro_rules! pairs {
            ($($dtype:ident $family:ident :: $encode:ident;)*) => {
                [$((DType::$dtype, [$family::$encode::<lanes::Portable>, $family::$encode::<lanes::Baseline>])),*]
            };
        }
        let others: [(DType, [RowEncoder; 2]); 13] = pairs! {
            Q4_0 legacy::q4_0; Q4_1 legacy::q4_1; Q5_0 legacy::q5_0; Q5_1 legacy::q5_1; Q8_0 legacy::q8_0;
            Q2_K k_quants::q2_k; Q3_K k_quants::q3_k; Q4_K k_quants::q4_k; Q5_K k_quants::q5_k; Q6_K k_quants::q6_k;
            IQ4_NL codebook::iq4_nl; IQ4_XS codebook::iq4_xs; MXFP4 codebook::mxfp4;
        };
        let (values, weights) = sample(16 * 256);
        for (dtype, others) in others {
            for importance in [None, Some(&weights[..])] {
                let importance = Importance::new(importance);
                let n_bytes = dtype.row_bytes(values.len()).unwrap();
                let Some(Encoder::Rows(native)) = encoder(dtype) else { panic!("{dtype} has no encoder of rows") };
                let mut want = vec![0; n_bytes];
                native(&values, &importance, &mut want);
                for other in others {
                    let mut got = vec![0; n_bytes];
                    other(&values, &importance, &mut got);
                    assert!(got == want, "{dtype}");
                }
            }
        }
    }
}
