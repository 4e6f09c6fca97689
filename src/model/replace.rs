//! A model with one matrix replaced, which shares everything else with the model that it was made of.
//!
//! What one tensor's quantization costs is measured with hundreds of these; each takes the memory and the time of packing one
//! matrix.

use std::sync::Arc;
use std::time::Instant;

use twox_hash::XxHash3_128;

use super::weights::Block;
use super::{Model, Part, Weights, is_native};
use crate::backend::{Backend, Machine, MatrixShape, Storage};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::TensorBytes;
use crate::quant::recipes::Role;

impl Model {
    /// The same model, but with other weights in the matrix `name`: rows in format `dtype`, as a file has them. Everything else is
    /// shared; [`gguf`](Self::gguf) still is the file with the old ones.
    ///
    /// # Errors
    /// `InvalidArgument` for a name that is no matrix of this model; `InvalidModel` if `bytes` are not those of its shape;
    /// `Unsupported` for a format without kernels; `OutOfMemory`.
    pub fn with_matrix(&self, name: &str, dtype: DType, bytes: Vec<u8>) -> Result<Arc<Model>> {
        let start = Instant::now();
        let mut weights = shared(&self.weights);
        let (Some(slot), Some(tensor)) = (slot(&mut weights, name), self.gguf.tensor(name)) else {
            bail!(InvalidArgument, "{name} is no matrix of this model");
        };
        let &[k, n_rows] = tensor.shape.as_slice() else { bail!(InvalidArgument, "{name} is no matrix") };
        let shape = MatrixShape { name, dtype, n_rows: n_rows as usize, k: k as usize };
        let mut hash = XxHash3_128::new();
        hash.write(&self.identity);
        hash.write(name.as_bytes());
        hash.write(&bytes);
        let machine = self.machine_of(name);
        let store = machine.store(Storage::Packed, &[MatrixShape { ..shape }])?;
        *slot = machine.matrix(&store, shape, TensorBytes::from_owner(bytes), &|| false)?;
        let part = |part: &Part| Part {
            machine: Arc::clone(&part.machine),
            share: part.share.clone(),
            is_native: is_native(part, &weights),
        };
        Ok(Arc::new(Model {
            parts: self.parts.iter().map(part).collect(),
            stages: self.stages.clone(),
            weights,
            identity: hash.finish_128().to_le_bytes(),
            storage: self.storage,
            tokenizer: Arc::clone(&self.tokenizer),
            hparams: self.hparams.clone(),
            load_time: start.elapsed(),
            gguf: self.gguf.clone(),
        }))
    }
}

/// Where the matrix of a name is bound.
fn slot<'a>(weights: &'a mut Weights<Machine>, name: &str) -> Option<&'a mut <Machine as Backend>::Matrix> {
    let (role, block) = Role::of_tensor(name)?;
    match role {
        Role::TokenEmbd => return Some(&mut weights.token_embd),
        Role::Output => return weights.output.as_mut(),
        _ => {}
    }
    let block = weights.blocks.get_mut(block)?;
    Some(match role {
        Role::AttnQ => &mut block.wq,
        Role::AttnK => &mut block.wk,
        Role::AttnV => &mut block.wv,
        Role::AttnOutput => &mut block.wo,
        Role::FfnGate => &mut block.gate,
        Role::FfnUp => &mut block.up,
        Role::FfnDown => &mut block.down,
        Role::TokenEmbd | Role::Output => return None,
    })
}

/// The same weights again, the memory shared. The derived `Clone` would ask for a machine that can be cloned.
fn shared(weights: &Weights<Machine>) -> Weights<Machine> {
    Weights {
        token_embd: weights.token_embd.clone(),
        blocks: weights.blocks.iter().map(shared_block).collect(),
        output_norm: weights.output_norm.clone(),
        output: weights.output.clone(),
        rotation: weights.rotation.clone(),
        rotation_sliding: weights.rotation_sliding.clone(),
    }
}

fn shared_block(block: &Block<Machine>) -> Block<Machine> {
    Block {
        attn_norm: block.attn_norm.clone(),
        wq: block.wq.clone(),
        wk: block.wk.clone(),
        wv: block.wv.clone(),
        qkv_biases: block.qkv_biases.clone(),
        qk_norms: block.qk_norms.clone(),
        wo: block.wo.clone(),
        attn_post_norm: block.attn_post_norm.clone(),
        ffn_norm: block.ffn_norm.clone(),
        gate: block.gate.clone(),
        up: block.up.clone(),
        down: block.down.clone(),
        ffn_post_norm: block.ffn_post_norm.clone(),
        window: block.window,
    }
}
