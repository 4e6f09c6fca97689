//! How much memory a run takes, known from the file's header alone.

use serde::Serialize;

use super::cache::PAGE_LEN;
use super::scratch::Scratch;
use super::{SessionOptions, cache_shape, check_options};
use crate::backend::cpu::Cpu;
use crate::backend::{Backend, Storage};
use crate::error::Result;
use crate::gguf::Gguf;
use crate::model::{HyperParams, stored_bytes};
use crate::tokenizer;

/// Bytes that a model and one session of it take beside the program itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryPrediction {
    /// Weights in the layout of the kernels: all of them, or what is at work of those that stay in the file.
    pub weights: u64,
    /// Keys and values, when every sequence has filled its context. They grow page by page.
    pub kv_cache: u64,
    /// Buffers of a pass, and the logits.
    pub scratch: u64,
    /// The tokenizer's tables, nearly.
    pub vocabulary: u64,
    /// The sum.
    pub total: u64,
}

/// Predict the memory of a model in `gguf` with one session on `n_threads` threads.
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
    let n_pages = (options.n_sequences * options.n_ctx.div_ceil(PAGE_LEN)) as u64;
    let weights = stored_bytes::<Cpu>(gguf, storage, n_threads)?;
    let kv_cache = n_pages.saturating_mul(Cpu::page_bytes(cache_shape(&hparams, &options)));
    let scratch = Scratch::<Cpu>::bytes(&hparams, &options, n_threads);
    let vocabulary = tokenizer::predicted_bytes(gguf);
    let total = [weights, kv_cache, scratch, vocabulary].into_iter().fold(0, u64::saturating_add);
    Ok(MemoryPrediction { weights, kv_cache, scratch, vocabulary, total })
}
