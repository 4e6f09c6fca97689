//! What it does to a model's predictions when one tensor alone is rounded.

use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::errors::Sample;
use crate::backend::Storage;
use crate::backend::cpu::CpuOptions;
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::eval::{Baseline, Runtime};
use crate::gguf::{Gguf, TensorInfo};
use crate::model::{Model, ModelOptions};
use crate::quant;
use crate::quantize::Importance;
use crate::session::Numerics;

/// Formats to round to; the first that does not happen to hold the tensor exactly.
const PROBES: [DType; 4] = [DType::Q4_0, DType::IQ4_NL, DType::MXFP4, DType::Q4_1];
/// Relative errors below this are none: a file that was made of codes fits codes again.
const NO_ERROR: f64 = 1e-7;

/// What matrices of floating-point numbers are while others are measured.
const STAND_IN: DType = DType::Q8_0;

/// The model of a file to [`measure`] tensors of: matrices of floats stand in as Q8_0. Both sides of every comparison share that
/// rounding, hundreds of times smaller (in square error) than those that are measured, and an evaluation reads a fourth of the bytes
/// in integer arithmetic: some eight times as fast.
///
/// # Errors
/// Those of [`Model::load`] and of the encoders.
pub fn measured_model(gguf: &Gguf, cpu: CpuOptions) -> Result<Arc<Model>> {
    let stands_in = |t: &TensorInfo| is_float(t.dtype) && t.shape[0].is_multiple_of(STAND_IN.block_len() as u64);
    let matrices = || gguf.tensors().iter().filter(|t| t.shape.len() == 2);
    if !matrices().any(stands_in) {
        return Model::load(gguf.clone(), ModelOptions { cpu, ..ModelOptions::default() });
    }
    // The floats are never packed; the file may be larger than memory.
    let options = ModelOptions { cpu, storage: Storage::InFile, ..ModelOptions::default() };
    let mut model = Model::load(gguf.clone(), options)?;
    for tensor in matrices() {
        let dtype = if stands_in(tensor) { STAND_IN } else { tensor.dtype };
        let bytes = encode(gguf, tensor, dtype, None).map_err(|e| e.within(&tensor.name))?;
        model = model.with_matrix(&tensor.name, dtype, bytes)?;
    }
    Ok(model)
}

fn is_float(dtype: DType) -> bool {
    matches!(dtype, DType::F32 | DType::F16 | DType::BF16)
}

/// The measurement of one tensor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// The tensor.
    pub name: String,
    /// The mean divergence from the original, in nats, when it alone is rounded.
    pub kld: f64,
    /// The relative weighted square error of that rounding.
    pub error: f64,
}

impl Sensitivity {
    /// Expected divergence per relative square error.
    pub fn per_error(&self) -> f64 {
        if self.error > 0.0 { self.kld / self.error } else { 0.0 }
    }
}

/// Measures one tensor of a [`measured_model`], whose predictions `baseline` has. A tensor that no probe can round costs nothing.
///
/// # Errors
/// `InvalidArgument` for a name that is no matrix of the model; those of the encoders and of the evaluation.
pub fn measure(
    model: &Arc<Model>,
    name: &str,
    baseline: &Baseline,
    importance: Option<Importance<'_>>,
) -> Result<Sensitivity> {
    let gguf = model.gguf();
    let Some(tensor) = gguf.tensor(name) else { bail!(InvalidArgument, "{name} is no tensor of this model") };
    let k = tensor.shape.first().map_or(1, |&k| k as usize);
    let importance = importance.and_then(|of| of(name));
    let sample = Sample::take(gguf, tensor, importance)?;
    for probe in PROBES.into_iter().filter(|probe| k.is_multiple_of(probe.block_len())) {
        let error = sample.error(probe)?;
        if error < NO_ERROR {
            continue;
        }
        let bytes = encode(gguf, tensor, probe, importance.and_then(|all| all.get(..k)))?;
        let rounded = model.with_matrix(name, probe, bytes)?;
        let mut runtime = Runtime::new(&rounded, baseline.chunks().chunk_len(), Numerics::Portable)?;
        let kld = baseline.compare(&mut runtime, &mut |_, _| Ok(()))?.kld.mean;
        return Ok(Sensitivity { name: name.to_owned(), kld, error });
    }
    Ok(Sensitivity { name: name.to_owned(), kld: 0.0, error: 0.0 })
}

/// Rows that one task encodes.
const TASK_ROWS: usize = 64;

/// All of a tensor in another format; in its own, as it is.
fn encode(gguf: &Gguf, tensor: &TensorInfo, to: DType, importance: Option<&[f32]>) -> Result<Vec<u8>> {
    let k = tensor.shape.first().map_or(1, |&k| k as usize);
    let n_rows = (tensor.n_elems() / k as u64) as usize;
    let (from_bytes, to_bytes) = (tensor.dtype.row_bytes(k).unwrap_or(0), to.row_bytes(k).unwrap_or(0));
    let mut out = vec![0; n_rows * to_bytes];
    if to == tensor.dtype {
        gguf.read_tensor(tensor, 0, &mut out)?;
        gguf.release(tensor);
        return Ok(out);
    }
    let tasks = out.par_chunks_mut(TASK_ROWS * to_bytes).enumerate();
    tasks.try_for_each(|(i, out)| {
        let n = out.len() / to_bytes;
        let mut bytes = vec![0; n * from_bytes];
        gguf.read_tensor(tensor, i * TASK_ROWS * from_bytes, &mut bytes)?;
        let mut values = vec![0f32; n * k];
        quant::dequantize(tensor.dtype, &bytes, &mut values)?;
        quant::quantize(to, &values, k, importance, out)
    })?;
    gguf.release(tensor);
    Ok(out)
}
