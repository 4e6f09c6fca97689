//! Random tensors, made in pieces on all threads.
//!
//! A block of a quantized format is random bytes, then its scale is put in place. How large the scale must be is not
//! tabulated but measured: blocks with the scale 1 are dequantized, and their deviation from zero is what the scale divides.

use half::{bf16, f16};
use rayon::prelude::*;

use super::plan::{Tensor, TensorKind};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::quant;
use crate::sampler::Rng;

/// Bytes made by one task from one stream of random numbers, at most; part of what a seed means.
const PIECE_BYTES: usize = 1 << 20;
/// Pieces made while as many are written.
const PIECES: usize = 8;
/// Blocks whose values are looked at to find a scale.
const SAMPLE_BLOCKS: usize = 256;
/// A block's scale is the tensor's times something in 1 +- this.
const SCALE_SPREAD: f32 = 0.25;
/// Norm factors are 1 +- this.
const NORM_SPREAD: f32 = 0.1;
/// Biases are 0 +- this: large enough to be missed, small beside queries and keys near one.
const BIAS_SPREAD: f32 = 0.3;

/// Which random numbers a tensor gets.
#[derive(Clone, Copy)]
pub(super) struct StreamKey {
    pub seed: u64,
    pub tensor: u64,
}

impl StreamKey {
    fn rng(self, piece: u64) -> Rng {
        // Any bits that differ give unrelated streams: Rng spreads its seed.
        Rng::new(self.seed.rotate_left(40) ^ self.tensor << 32 ^ piece)
    }
}

/// Makes the bytes of a tensor and gives them to `write` in order; the next pieces are made while it runs.
pub(super) fn stream(tensor: &Tensor, key: StreamKey, mut write: impl FnMut(&[u8]) -> Result<()> + Send) -> Result<()> {
    let filler = Filler::new(tensor)?;
    let n_bytes = tensor.n_bytes();
    let piece_bytes = PIECE_BYTES / tensor.dtype.block_bytes() * tensor.dtype.block_bytes();
    let batch = |first_piece: u64| -> Vec<u8> {
        let left = n_bytes.saturating_sub(first_piece * piece_bytes as u64);
        let mut bytes = vec![0; left.min((PIECES * piece_bytes) as u64) as usize];
        let pieces = bytes.par_chunks_mut(piece_bytes).enumerate();
        pieces.for_each(|(i, piece)| filler.fill(&mut key.rng(first_piece + i as u64), piece));
        bytes
    };
    let mut piece = 0;
    let mut bytes = batch(piece);
    while !bytes.is_empty() {
        piece += PIECES as u64;
        let (written, next) = rayon::join(|| write(&bytes), || batch(piece));
        written?;
        bytes = next;
    }
    Ok(())
}

/// Where a format keeps the number that all of a block's weights are proportional to.
#[derive(Clone, Copy)]
enum Scale {
    /// A binary16 at this offset.
    Half(usize),
    /// A binary16, and a minimum that is `ratio` times the scale, so that the weights lie around zero.
    HalfAndMin { at: usize, min_at: usize, ratio: f32 },
    /// A binary32 at the start.
    Float,
    /// An exponent at the start.
    Exponent,
    /// A binary16 in the upper nibbles of the bytes 49, 51, 53 and 55.
    Nibbles,
}

/// Makes random bytes of one tensor.
struct Filler {
    kind: TensorKind,
    dtype: DType,
    /// Of a block's scale, or the largest value of a float format.
    scale: f32,
}

impl Filler {
    fn new(tensor: &Tensor) -> Result<Filler> {
        let mut filler = Filler { kind: tensor.kind, dtype: tensor.dtype, scale: 1.0 };
        let deviation = 1.0 / (tensor.k as f32).sqrt();
        filler.scale = match tensor.kind {
            TensorKind::Norm => NORM_SPREAD,
            TensorKind::Bias => BIAS_SPREAD,
            TensorKind::Matrix => deviation / filler.unit_deviation()?,
        };
        Ok(filler)
    }

    /// The deviation from zero with the scale 1.
    fn unit_deviation(&self) -> Result<f32> {
        let mut bytes = vec![0; SAMPLE_BLOCKS * self.dtype.block_bytes()];
        self.fill(&mut Rng::new(0), &mut bytes);
        let mut values = vec![0.0; SAMPLE_BLOCKS * self.dtype.block_len()];
        quant::dequantize(self.dtype, &bytes, &mut values)?;
        let mean_square = values.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / values.len() as f64;
        if !(mean_square.is_finite() && mean_square > 0.0) {
            bail!(Unsupported, "tensors of type {} cannot be made", self.dtype);
        }
        Ok(mean_square.sqrt() as f32)
    }

    /// Fills whole blocks.
    fn fill(&self, rng: &mut Rng, bytes: &mut [u8]) {
        let s = self.scale;
        match (self.kind, self.dtype) {
            (TensorKind::Norm, _) => floats(rng, bytes, |u| (1.0 + s * u).to_le_bytes()),
            (_, DType::F32) => floats(rng, bytes, |u| (s * u).to_le_bytes()),
            (_, DType::F16) => floats(rng, bytes, |u| f16::from_f32(s * u).to_le_bytes()),
            (_, DType::BF16) => floats(rng, bytes, |u| bf16::from_f32(s * u).to_le_bytes()),
            _ => self.fill_blocks(rng, bytes),
        }
    }

    fn fill_blocks(&self, rng: &mut Rng, bytes: &mut [u8]) {
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&rng.next_u64().to_le_bytes()[..word.len()]);
        }
        let place = place_of_scale(self.dtype);
        for block in bytes.chunks_exact_mut(self.dtype.block_bytes()) {
            put_scale(place, self.scale * (1.0 + SCALE_SPREAD * symmetric(rng)), block);
            complete(self.dtype, block);
        }
    }
}

/// Uniform in -1..1, exact in 24 bits.
fn symmetric(rng: &mut Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 / (1u32 << 23) as f32 - 1.0
}

fn floats<const N: usize>(rng: &mut Rng, bytes: &mut [u8], encode: impl Fn(f32) -> [u8; N]) {
    for elem in bytes.as_chunks_mut::<N>().0 {
        *elem = encode(symmetric(rng));
    }
}

fn place_of_scale(dtype: DType) -> Scale {
    match dtype {
        // The minimum takes off the mean of the codes: 0..15, 0..31; for K-quants 0..3 and so on, with a scale of its own.
        DType::Q4_1 => Scale::HalfAndMin { at: 0, min_at: 2, ratio: -7.5 },
        DType::Q5_1 => Scale::HalfAndMin { at: 0, min_at: 2, ratio: -15.5 },
        DType::Q2_K => Scale::HalfAndMin { at: 80, min_at: 82, ratio: 1.5 },
        DType::Q4_K => Scale::HalfAndMin { at: 0, min_at: 2, ratio: 7.5 },
        DType::Q5_K => Scale::HalfAndMin { at: 0, min_at: 2, ratio: 15.5 },
        DType::Q3_K => Scale::Half(108),
        DType::Q6_K => Scale::Half(208),
        DType::TQ1_0 => Scale::Half(52),
        DType::TQ2_0 => Scale::Half(64),
        DType::Q8_K => Scale::Float,
        DType::MXFP4 => Scale::Exponent,
        DType::IQ1_M => Scale::Nibbles,
        _ => Scale::Half(0),
    }
}

fn put_scale(place: Scale, scale: f32, block: &mut [u8]) {
    let half = |x: f32| f16::from_f32(x).to_le_bytes();
    match place {
        Scale::Half(at) => block[at..at + 2].copy_from_slice(&half(scale)),
        Scale::HalfAndMin { at, min_at, ratio } => {
            block[at..at + 2].copy_from_slice(&half(scale));
            block[min_at..min_at + 2].copy_from_slice(&half(scale * ratio));
        }
        Scale::Float => block[..4].copy_from_slice(&scale.to_le_bytes()),
        // The nearest power of two, 2^(e - 128).
        Scale::Exponent => block[0] = (scale.log2().round() + 128.0).clamp(0.0, 254.0) as u8,
        Scale::Nibbles => {
            let bits = f16::from_f32(scale).to_bits();
            for (i, at) in [49, 51, 53, 55].into_iter().enumerate() {
                block[at] = block[at] & 15 | ((bits >> (4 * i) & 15) as u8) << 4;
            }
        }
    }
}

/// Makes the rest of a block consistent where not every pattern of bits is one that a quantizer would write.
fn complete(dtype: DType, block: &mut [u8]) {
    match dtype {
        // Two bits 3 would be the value 2 of a format that means -1, 0 and 1: make them 1, zero.
        DType::TQ2_0 => block[..64].iter_mut().for_each(|b| *b ^= (*b & *b >> 1 & 0x55) << 1),
        // The scale times the sum of the codes.
        DType::Q8_1 => {
            let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
            let sum: i32 = block[4..].iter().map(|&b| i32::from(b as i8)).sum();
            block[2..4].copy_from_slice(&f16::from_f32(scale * sum as f32).to_le_bytes());
        }
        // The sums of every 16 codes.
        DType::Q8_K => {
            let (codes, sums) = block[4..].split_at_mut(256);
            for (codes, sum) in codes.chunks_exact(16).zip(sums.chunks_exact_mut(2)) {
                let total: i16 = codes.iter().map(|&b| i16::from(b as i8)).sum();
                sum.copy_from_slice(&total.to_le_bytes());
            }
        }
        _ => {}
    }
}
