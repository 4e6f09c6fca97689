//! The error of every format for every tensor, on a sample of its rows.

use rayon::prelude::*;

use crate::dtype::DType;
use crate::error::Result;
use crate::gguf::{Gguf, TensorInfo};
use crate::quant;
use crate::quantize::Importance;

/// Weights of a tensor that are looked at, at most; evenly spaced rows of it.
const SAMPLE_ELEMS: usize = 1 << 17;

/// Formats that a tensor may get, by size. Those of fewer bits are out of reach of the encoders or not worth it.
const CANDIDATES: &[DType] = &[
    DType::Q2_K,
    DType::Q3_K,
    DType::IQ4_XS,
    DType::IQ4_NL,
    DType::Q4_0,
    DType::Q4_K,
    DType::Q4_1,
    DType::Q5_0,
    DType::Q5_K,
    DType::Q5_1,
    DType::Q6_K,
    DType::Q8_0,
];

/// What the formats make of one tensor.
#[derive(Clone, Debug)]
pub struct TensorErrors {
    /// The tensor.
    pub name: String,
    /// Its weights.
    pub n_elems: u64,
    /// Every format that fits, with the sum of the weighted square errors of the whole tensor, as far as the sample tells, divided by the
    /// weighted sum of squares.
    pub formats: Vec<(DType, f64)>,
}

/// The formats that rows of `k` weights can have; F16 where none of them has blocks that fit.
pub fn candidates(k: usize) -> Vec<DType> {
    let fit: Vec<_> =
        CANDIDATES.iter().copied().filter(|d| k.is_multiple_of(d.block_len()) && quant::is_encodable(*d)).collect();
    if fit.is_empty() { vec![DType::F16] } else { fit }
}

/// The errors of all candidates for the tensors `names`, on all threads.
///
/// # Errors
/// Those of the encoders, naming the tensor.
pub fn errors(gguf: &Gguf, names: &[&str], importance: Option<Importance<'_>>) -> Result<Vec<TensorErrors>> {
    let tensors: Vec<&TensorInfo> = names.iter().filter_map(|name| gguf.tensor(name)).collect();
    let one = |tensor: &&TensorInfo| {
        let importance = importance.and_then(|of| of(&tensor.name));
        let sample = Sample::take(gguf, tensor, importance).map_err(|e| e.within(&tensor.name))?;
        let formats = candidates(sample.k);
        let errors = formats.into_iter().map(|dtype| Ok((dtype, sample.error(dtype)?)));
        let formats = errors.collect::<Result<_>>().map_err(|e| e.within(&tensor.name))?;
        Ok(TensorErrors { name: tensor.name.clone(), n_elems: tensor.n_elems(), formats })
    };
    tensors.par_iter().map(one).collect()
}

/// Some rows of a tensor.
pub(super) struct Sample<'a> {
    k: usize,
    values: Vec<f32>, // (n_rows, k)
    importance: Option<&'a [f32]>,
    power: f64,
}

impl<'a> Sample<'a> {
    /// Evenly spaced rows.
    pub fn take(gguf: &Gguf, tensor: &TensorInfo, importance: Option<&'a [f32]>) -> Result<Sample<'a>> {
        let k = tensor.shape.first().map_or(1, |&k| k as usize);
        let n_rows = (tensor.n_elems() / k as u64) as usize;
        let n_taken = (SAMPLE_ELEMS / k).clamp(1, n_rows);
        let row_bytes = tensor.dtype.row_bytes(k).unwrap_or(0);
        let mut bytes = vec![0; n_taken * row_bytes];
        for (i, row) in bytes.chunks_exact_mut(row_bytes).enumerate() {
            gguf.read_tensor(tensor, i * n_rows / n_taken * row_bytes, row)?;
        }
        gguf.release(tensor);
        let mut values = vec![0f32; n_taken * k];
        quant::dequantize(tensor.dtype, &bytes, &mut values)?;
        // Of a mixture's experts the first stands for all.
        let importance = importance.and_then(|all| all.get(..k));
        let mut sample = Sample { k, values, importance, power: 1.0 };
        let zeros = vec![0f32; sample.values.len()];
        sample.power = sample.distance(&zeros).max(f64::MIN_POSITIVE);
        Ok(sample)
    }

    /// The relative weighted square error of a format.
    pub fn error(&self, dtype: DType) -> Result<f64> {
        let n_bytes = dtype.row_bytes(self.values.len()).unwrap_or(0);
        let mut bytes = vec![0; n_bytes];
        quant::quantize(dtype, &self.values, self.k, self.importance, &mut bytes)?;
        let mut back = vec![0f32; self.values.len()];
        quant::dequantize(dtype, &bytes, &mut back)?;
        Ok(self.distance(&back) / self.power)
    }

    /// The weighted sum of squared differences.
    fn distance(&self, other: &[f32]) -> f64 {
        let rows = self.values.chunks_exact(self.k).zip(other.chunks_exact(self.k));
        rows.map(|(a, b)| {
            let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
            match self.importance {
                Some(weights) => squares.zip(weights).map(|(square, &w)| square * f64::from(w)).sum::<f64>(),
                None => squares.sum(),
            }
        })
        .sum()
    }
}
