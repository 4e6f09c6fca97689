//! A model on two machines: some of its blocks on a GPU, those that do not fit there on the CPU.
//!
//! Embeddings and output head are on the GPU with the first blocks; the CPU computes the others. Between the machines goes the
//! residual, `dim` values a token, and each weight is on one of them.
//!
//! ```text
//! GPU: x = embed(tokens), blocks 0..n     CPU: blocks n..     GPU: norm, head
//! ```

use std::ops::Range;
use std::sync::Arc;

use crate::backend::{Machine, MatrixShape};
use crate::error::{Result, bail};
use crate::gguf::TensorInfo;

/// What one machine holds of a model.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Share {
    pub blocks: Range<usize>,
    /// Also what belongs to no block: embeddings, last norm, head.
    pub with_ends: bool,
}

/// A machine and its share.
pub(crate) struct Part {
    pub machine: Arc<Machine>,
    pub share: Share,
    /// Whether all of its blocks can be computed in native arithmetic.
    pub is_native: bool,
}

/// One machine's turn in a pass.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Stage {
    /// The part of the model.
    pub part: usize,
    /// The blocks that are computed.
    pub blocks: Range<usize>,
    /// Whether the pass begins here, with the embeddings.
    pub is_first: bool,
    /// Whether it ends here, with the head.
    pub is_last: bool,
}

/// The share of the GPU, or of the only machine, and where that leaves any the share of the CPU beside it. Of `n_blocks` so many
/// are on the GPU; all of them without a number, or if it is larger.
pub(crate) fn shares(n_blocks: usize, gpu_layers: Option<usize>) -> (Share, Option<Share>) {
    let n_main = gpu_layers.unwrap_or(n_blocks).min(n_blocks);
    let others = Share { blocks: n_main..n_blocks, with_ends: false };
    (Share { blocks: 0..n_main, with_ends: true }, (n_main < n_blocks).then_some(others))
}

impl Share {
    /// Whether a tensor is in it.
    fn holds(&self, name: &str) -> bool {
        block_of(name).map_or(self.with_ends, |block| self.blocks.contains(&block))
    }

    /// The matrices among the tensors of a model that are in it: those of two dimensions.
    pub fn matrix_shapes<'a>(&self, tensors: &'a [TensorInfo]) -> Vec<MatrixShape<'a>> {
        let shape_of = |t: &'a TensorInfo| match t.shape[..] {
            [k, n_rows] => Some(MatrixShape { name: &t.name, dtype: t.dtype, n_rows: n_rows as usize, k: k as usize }),
            _ => None,
        };
        tensors.iter().filter(|t| self.holds(&t.name)).filter_map(shape_of).collect()
    }

    /// Bytes that its vectors take.
    pub fn vector_bytes(&self, tensors: &[TensorInfo]) -> u64 {
        let of = |t: &TensorInfo| t.n_elems().saturating_mul(size_of::<f32>() as u64);
        let vectors = tensors.iter().filter(|t| t.shape.len() != 2 && self.holds(&t.name));
        vectors.map(of).fold(0, u64::saturating_add)
    }
}

/// The block that a tensor belongs to.
pub(super) fn block_of(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split_once('.')?.0.parse().ok()
}

/// The machines of a model, and what each holds.
pub(super) fn parts(machine: Arc<Machine>, n_blocks: usize, gpu_layers: Option<usize>) -> Result<Vec<Part>> {
    if gpu_layers.is_some() && !machine.is_gpu() {
        bail!(InvalidArgument, "a number of blocks for the GPU was given, but the model runs on the CPU");
    }
    let (main, beside) = shares(n_blocks, gpu_layers);
    let cpu = Arc::new(Machine::Cpu(Arc::clone(machine.cpu())));
    let beside = beside.map(|share| Part { machine: cpu, share, is_native: false });
    Ok([Part { machine, share: main, is_native: false }].into_iter().chain(beside).collect())
}

/// The order in which the parts compute.
pub(super) fn stages(parts: &[Part]) -> Vec<Stage> {
    let stage = |part, blocks, is_first, is_last| Stage { part, blocks, is_first, is_last };
    match parts {
        [main, beside, ..] => {
            let end = beside.share.blocks.end;
            vec![
                stage(0, main.share.blocks.clone(), true, false),
                stage(1, beside.share.blocks.clone(), false, false),
                stage(0, end..end, false, true),
            ]
        }
        _ => parts.iter().map(|only| stage(0, only.share.blocks.clone(), true, true)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Device;
    use crate::backend::cpu::CpuOptions;

    #[test]
    fn every_tensor_is_in_one_share() {
        let blocks = |n| {
            let (main, beside) = shares(24, n);
            (main.blocks, beside.map(|share| share.blocks))
        };
        assert_eq!(blocks(None), (0..24, None));
        assert_eq!(blocks(Some(10)), (0..10, Some(10..24)));
        assert_eq!(blocks(Some(99)), (0..24, None));
        assert_eq!(blocks(Some(0)), (0..0, Some(0..24)));
        for n in 0..=2 {
            let (main, beside) = shares(2, Some(n));
            for name in ["token_embd.weight", "output.weight", "blk.0.attn_q.weight", "blk.1.ffn_norm.weight"] {
                let is_beside = beside.as_ref().is_some_and(|share| share.holds(name));
                assert!(main.holds(name) != is_beside, "{name} with {n} blocks");
            }
        }
    }

    fn cpu() -> Arc<Machine> {
        Machine::new(Device::Cpu, CpuOptions { n_threads: Some(1), ..CpuOptions::default() }).unwrap()
    }

    #[test]
    fn every_block_has_its_turn() {
        for n in 0..=3 {
            let (main, beside) = shares(3, Some(n));
            let part = |share| Part { machine: cpu(), share, is_native: false };
            let parts: Vec<Part> = [main].into_iter().chain(beside).map(part).collect();
            let stages = stages(&parts);
            assert_eq!(stages.iter().flat_map(|stage| stage.blocks.clone()).collect::<Vec<_>>(), [0, 1, 2]);
            let (first, last) = (stages.first().unwrap(), stages.last().unwrap());
            assert!(first.is_first && last.is_last && first.part == 0 && last.part == 0, "{stages:?}");
            assert_eq!(stages.len(), if n == 3 { 1 } else { 3 });
        }
    }

    #[test]
    fn a_model_on_the_cpu_takes_no_number() {
        assert_eq!(parts(cpu(), 4, None).unwrap().len(), 1);
        assert!(parts(cpu(), 4, Some(2)).is_err());
    }
}
