//! How much memory a run takes, known from the file's header alone, and a budget for it.

use serde::Serialize;

use super::cache::PAGE_LEN;
use super::scratch::scratch_bytes;
use super::{SessionOptions, cache_shape, check_options, options_of};
use crate::backend::cpu::Cpu;
use crate::backend::{CacheShape, Footprint, Gpu, Storage};
use crate::error::{Result, bail};
use crate::gguf::Gguf;
use crate::model::{HyperParams, Share, packing_bytes, shares, stored_bytes};
use crate::tokenizer;

/// What the library's code, tables and small objects take at most, and what the system adds to each thread.
const LIBRARY_BYTES: u64 = 8 << 20;
const THREAD_BYTES: u64 = 64 << 10;
/// Bytes of a sampler for each token of the vocabulary: a logit, an id, and both once more where candidates are selected.
const SAMPLER_BYTES: u64 = 16;
/// The system's pages, in which pages of keys and values begin.
const SYSTEM_PAGE_BYTES: u64 = 4096;

/// What each allocation on a GPU takes more than was asked for, at most, where it is a small one; and how many there are besides those of
/// parameters: a session's buffers, tables of a pass.
const GPU_BUFFER_BYTES: u64 = 512;
const GPU_BUFFERS: u64 = 4096;
/// What the largest logits of an output take that a GPU found.
const GPU_TOP_FLOATS: usize = 2048;
/// Where weights are packed before a GPU gets them.
const GPU_DESK_BYTES: u64 = 17 << 20;

/// Bytes that a process takes at most that loads a model and runs one session of it with one sampler: an upper bound of its peak
/// of resident memory, a few percent above what is measured. What the host itself takes is not in it, nor the memory of a
/// model file that the host owns; with [`Storage::InFile`] neither are the pages of the mapped file, which the system keeps
/// as long as it has room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPrediction {
    /// Weights in the layout of the kernels: all of them, or what is at work of those that stay in the file.
    pub weights: u64,
    /// Keys and values, when every sequence has filled its context. They grow page by page.
    pub kv_cache: u64,
    /// Buffers of a pass, and the logits.
    pub scratch: u64,
    /// The file's header, and the tokenizer while it is built, which is more than what it keeps.
    pub vocabulary: u64,
    /// The library itself with its threads, a sampler, and what loading holds in passing beyond what a session takes later.
    pub other: u64,
    /// The sum.
    pub total: u64,
}

/// Predict the memory of a model in `gguf` with one session on `n_threads` threads. A further session on the same model takes
/// `kv_cache` and `scratch` once more.
///
/// # Errors
/// Those of [`HyperParams::from_gguf`]; `Unsupported` for a tensor type that cannot be computed; `InvalidArgument` for
/// options out of range.
pub fn predict_memory(
    gguf: &Gguf,
    storage: Storage,
    options: &SessionOptions,
    n_threads: usize,
) -> Result<MemoryPrediction> {
    let hparams = HyperParams::from_gguf(gguf)?;
    let options = check_options(options, &hparams)?;
    let (all, _) = shares(hparams.n_blocks, None);
    predict_on_cpu(gguf, &hparams, &all, storage, &options, n_threads)
}

/// What the CPU takes for its share of a model, and the process beside it.
fn predict_on_cpu(
    gguf: &Gguf,
    hparams: &HyperParams,
    share: &Share,
    storage: Storage,
    options: &SessionOptions,
    n_threads: usize,
) -> Result<MemoryPrediction> {
    let n_pages = n_pages(options);
    let page_bytes = page_bytes(hparams, share, options);
    let weights = stored_bytes::<Cpu>(gguf, share, storage, n_threads)?;
    let kv_cache = n_pages.saturating_mul(page_bytes);
    let scratch = scratch_bytes::<Cpu>(hparams, &options_of(share, options), n_threads);
    let header: u64 = gguf.headers().map(|header| header.len() as u64).sum();
    let vocabulary = header.saturating_add(tokenizer::predicted_bytes(gguf));
    let packing = packing_bytes::<Cpu>(gguf, share, storage, n_threads);
    let in_passing = packing.saturating_sub(kv_cache.saturating_add(scratch));
    let padding = n_pages.saturating_mul(page_bytes.next_multiple_of(SYSTEM_PAGE_BYTES) - page_bytes);
    let sampler = SAMPLER_BYTES * hparams.n_vocab as u64;
    let threads = THREAD_BYTES.saturating_mul(n_threads as u64);
    let other = [LIBRARY_BYTES, threads, sampler, padding, in_passing].into_iter().fold(0, u64::saturating_add);
    Ok(MemoryPrediction { weights, kv_cache, scratch, vocabulary, other, total: 0 }.with_total())
}

/// Pages of a session whose sequences have all filled their context.
fn n_pages(options: &SessionOptions) -> u64 {
    (options.n_sequences * options.n_ctx.div_ceil(PAGE_LEN)) as u64
}

/// Bytes of a page of a share's layers.
fn page_bytes(hparams: &HyperParams, share: &Share, options: &SessionOptions) -> u64 {
    Cpu::page_bytes(CacheShape { n_layers: share.blocks.len(), ..cache_shape(hparams, options) })
}

/// What a run on a GPU takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GpuPrediction {
    /// Of the GPU's memory, beside what its driver takes for the process and for the kernels.
    pub gpu: MemoryPrediction,
    /// Of the host's, beside what the GPU's driver takes: `weights` is where they are packed, `scratch` what comes back of a pass; both
    /// with what the CPU needs for blocks that are not on the GPU.
    pub host: MemoryPrediction,
}

/// Predict the memory of a model in `gguf` with one session on a GPU, with `n_threads` threads that pack its weights. `gpu_layers` is
/// that of [`ModelOptions`](crate::model::ModelOptions).
///
/// # Errors
/// Those of [`predict_memory`]; `Unsupported` for weights that stay in the file; `Device` in a build without the feature `cuda`.
pub fn predict_gpu_memory(
    gguf: &Gguf,
    storage: Storage,
    options: &SessionOptions,
    n_threads: usize,
    gpu_layers: Option<usize>,
) -> Result<GpuPrediction> {
    let hparams = HyperParams::from_gguf(gguf)?;
    let options = check_options(options, &hparams)?;
    let (main, beside) = shares(hparams.n_blocks, gpu_layers);
    let n_tensors = gguf.tensors().len() as u64;
    let gpu = MemoryPrediction {
        weights: stored_bytes::<Gpu>(gguf, &main, storage, n_threads)?,
        kv_cache: n_pages(&options).saturating_mul(page_bytes(&hparams, &main, &options)),
        scratch: scratch_bytes::<Gpu>(&hparams, &options, n_threads),
        vocabulary: 0,
        other: GPU_BUFFER_BYTES.saturating_mul(n_tensors.saturating_add(GPU_BUFFERS)),
        total: 0,
    };
    // The process, and the blocks that it computes itself.
    let none = Share { blocks: 0..0, with_ends: false };
    let own = predict_on_cpu(gguf, &hparams, beside.as_ref().unwrap_or(&none), storage, &options, n_threads)?;
    // What comes back of a pass, and the residual of all its rows where it goes to and fro.
    let floats_of_an_output = hparams.n_vocab + hparams.dim + 32 + GPU_TOP_FLOATS;
    let results = (options.max_outputs as u64).saturating_mul(floats_of_an_output as u64);
    let handed_over = if beside.is_some() { (options.n_batch * (hparams.dim + 16)) as u64 } else { 0 };
    let mirrors = results.saturating_add(handed_over).saturating_mul(size_of::<f32>() as u64);
    let host = MemoryPrediction {
        weights: own.weights.saturating_add(GPU_DESK_BYTES),
        scratch: if beside.is_some() { own.scratch.saturating_add(mirrors) } else { mirrors },
        ..own
    };
    Ok(GpuPrediction { gpu: gpu.with_total(), host: host.with_total() })
}

impl MemoryPrediction {
    fn with_total(self) -> MemoryPrediction {
        let parts = [self.weights, self.kv_cache, self.scratch, self.vocabulary, self.other];
        MemoryPrediction { total: parts.into_iter().fold(0, u64::saturating_add), ..self }
    }
}

/// Check a budget of a GPU's memory, as [`check_memory`] does for the host's.
///
/// # Errors
/// `OutOfMemory` with what is needed, in parts, and what is allowed; those of [`predict_gpu_memory`].
pub fn check_gpu_memory(
    gguf: &Gguf,
    storage: Storage,
    options: &SessionOptions,
    n_threads: usize,
    gpu_layers: Option<usize>,
    max_bytes: u64,
) -> Result<GpuPrediction> {
    let needed = predict_gpu_memory(gguf, storage, options, n_threads, gpu_layers)?;
    let MemoryPrediction { weights, kv_cache, scratch, other, total, .. } = needed.gpu;
    if total > max_bytes {
        bail!(
            OutOfMemory,
            "{total} bytes of the GPU's memory are needed, {max_bytes} allowed: weights {weights}, keys and values {kv_cache}, \
             buffers {scratch}, other {other}"
        );
    }
    Ok(needed)
}

/// Check a budget before anything beyond the header is read: an error if [`predict_memory`] says that `max_bytes` do not suffice.
/// Otherwise the budget is kept, as the prediction is an upper bound.
///
/// # Errors
/// `OutOfMemory` with what is needed, in parts, and what is allowed; those of [`predict_memory`].
pub fn check_memory(
    gguf: &Gguf,
    storage: Storage,
    options: &SessionOptions,
    n_threads: usize,
    max_bytes: u64,
) -> Result<MemoryPrediction> {
    let needed = predict_memory(gguf, storage, options, n_threads)?;
    let MemoryPrediction { weights, kv_cache, scratch, vocabulary, other, total } = needed;
    if total > max_bytes {
        bail!(
            OutOfMemory,
            "{total} bytes are needed, {max_bytes} allowed: weights {weights}, keys and values {kv_cache}, buffers {scratch}, \
             vocabulary {vocabulary}, other {other}"
        );
    }
    Ok(needed)
}
