//! What a file holds: metadata, and the name, shape and format of every tensor.

use super::shape::Shape;
use super::{Summary, vocabulary};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::GgufBuilder;
use crate::model::arch::{NormPlacement, QkvBiases, Window};
use crate::quant;
use crate::quant::recipes::{Facts, Recipe, Role};

/// Version of the block formats' meaning that files name (`general.quantization_version`).
const QUANTIZATION_VERSION: u32 = 2;

/// A tensor to be filled.
pub(super) struct Tensor {
    pub name: String,
    pub dtype: DType,
    /// Elements of a row.
    pub k: usize,
    /// Rows; 1 for a vector.
    pub n_rows: usize,
    pub kind: TensorKind,
}

/// What a tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorKind {
    /// Weights around zero.
    Matrix,
    /// Factors around one.
    Norm,
    /// Summands around zero.
    Bias,
}

pub(super) struct Plan {
    pub builder: GgufBuilder,
    pub tensors: Vec<Tensor>,
    pub summary: Summary,
}

/// The file of a shape at a level, everything but the weights.
pub(super) fn plan(shape: &Shape, level: &Recipe) -> Result<Plan> {
    let mut list = List { shape, level, tensors: Vec::new(), n_refitted: 0 };
    list.all_tensors()?;
    let List { tensors, n_refitted, .. } = list;
    let mut builder = GgufBuilder::new();
    set_metadata(&mut builder, shape, level)?;
    let (mut n_elems, mut n_bytes) = (0u64, 0u64);
    for tensor in &tensors {
        let dims = [tensor.k as u64, tensor.n_rows as u64];
        let dims = if tensor.kind == TensorKind::Matrix { &dims[..] } else { &dims[..1] };
        builder.add_tensor(&tensor.name, tensor.dtype, dims)?;
        // The sizes are within the limits of a shape: no product overflows.
        n_elems += dims.iter().product::<u64>();
        n_bytes += tensor.n_bytes();
    }
    Ok(Plan { builder, tensors, summary: Summary { n_elems, n_bytes, n_refitted } })
}

impl Tensor {
    /// Bytes of the whole tensor.
    pub fn n_bytes(&self) -> u64 {
        (self.n_rows * (self.k / self.dtype.block_len())) as u64 * self.dtype.block_bytes() as u64
    }
}

fn set_metadata(builder: &mut GgufBuilder, shape: &Shape, level: &Recipe) -> Result<()> {
    let key = |name: &str| format!("{}.{name}", shape.arch.name);
    builder.set("general.architecture", shape.arch.name)?;
    builder.set("general.name", format!("random {} {}", shape.arch.name, level.name))?;
    builder.set("general.quantization_version", QUANTIZATION_VERSION)?;
    if let Some(file_type) = level.file_type {
        builder.set("general.file_type", file_type)?;
    }
    builder.set(&key("block_count"), shape.n_blocks as u32)?;
    builder.set(&key("context_length"), shape.n_ctx as u32)?;
    builder.set(&key("embedding_length"), shape.dim as u32)?;
    builder.set(&key("feed_forward_length"), shape.ffn_dim as u32)?;
    builder.set(&key("attention.head_count"), shape.n_heads as u32)?;
    builder.set(&key("attention.head_count_kv"), shape.n_kv_heads as u32)?;
    builder.set(&key("attention.key_length"), shape.head_dim as u32)?;
    builder.set(&key("attention.value_length"), shape.head_dim as u32)?;
    builder.set(&key("attention.layer_norm_rms_epsilon"), 1e-5f32)?;
    builder.set(&key("rope.dimension_count"), shape.head_dim as u32)?;
    builder.set(&key("vocab_size"), shape.n_vocab as u32)?;
    match shape.arch.window {
        Window::Full => builder.set(&key("rope.freq_base"), 10_000f32)?,
        Window::Alternating { .. } => {
            builder.set(&key("rope.freq_base"), 1_000_000f32)?;
            builder.set(&key("attention.sliding_window"), shape.window as u32)?;
        }
    }
    vocabulary::set(builder, shape.n_vocab)
}

struct List<'a> {
    shape: &'a Shape,
    level: &'a Recipe,
    tensors: Vec<Tensor>,
    n_refitted: usize,
}

impl List<'_> {
    fn all_tensors(&mut self) -> Result<()> {
        let s = *self.shape;
        self.matrix("token_embd.weight", s.dim, s.n_vocab)?;
        for i in 0..s.n_blocks {
            self.block(i)?;
        }
        self.norm("output_norm.weight", s.dim);
        if !s.tied_embeddings {
            self.matrix("output.weight", s.dim, s.n_vocab)?;
        }
        Ok(())
    }

    fn block(&mut self, i: usize) -> Result<()> {
        let s = *self.shape;
        let (q_dim, kv_dim) = (s.n_heads * s.head_dim, s.n_kv_heads * s.head_dim);
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        self.norm(&name("attn_norm"), s.dim);
        self.matrix(&name("attn_q"), s.dim, q_dim)?;
        self.matrix(&name("attn_k"), s.dim, kv_dim)?;
        self.matrix(&name("attn_v"), s.dim, kv_dim)?;
        if s.arch.qkv_biases == QkvBiases::Required {
            for (part, k) in [("attn_q", q_dim), ("attn_k", kv_dim), ("attn_v", kv_dim)] {
                self.vector(&format!("blk.{i}.{part}.bias"), k, TensorKind::Bias);
            }
        }
        if s.arch.qk_norm {
            self.norm(&name("attn_q_norm"), s.head_dim);
            self.norm(&name("attn_k_norm"), s.head_dim);
        }
        self.matrix(&name("attn_output"), q_dim, s.dim)?;
        self.norm(&name("ffn_norm"), s.dim);
        self.matrix(&name("ffn_gate"), s.dim, s.ffn_dim)?;
        self.matrix(&name("ffn_up"), s.dim, s.ffn_dim)?;
        self.matrix(&name("ffn_down"), s.ffn_dim, s.dim)?;
        if s.arch.norm_placement == NormPlacement::PreAndPost {
            self.norm(&name("post_attention_norm"), s.dim);
            self.norm(&name("post_ffw_norm"), s.dim);
        }
        Ok(())
    }

    fn norm(&mut self, name: &str, k: usize) {
        self.vector(name, k, TensorKind::Norm);
    }

    fn vector(&mut self, name: &str, k: usize, kind: TensorKind) {
        self.tensors.push(Tensor { name: name.to_string(), dtype: DType::F32, k, n_rows: 1, kind });
    }

    /// A matrix of `n_rows` outputs and `k` inputs, in the format that the level wants for it.
    fn matrix(&mut self, name: &str, k: usize, n_rows: usize) -> Result<()> {
        let Some((role, block)) = Role::of_tensor(name) else {
            bail!(Internal, "tensor {name} has no role");
        };
        let facts = Facts {
            n_blocks: self.shape.n_blocks,
            heads_per_kv_head: self.shape.n_heads / self.shape.n_kv_heads,
            tied_embeddings: self.shape.tied_embeddings,
            has_importance: false,
        };
        let dtype = self.level.dtype_of(role, block, k, &facts);
        if !quant::is_supported(dtype) {
            bail!(
                Unsupported,
                "type {} needs {dtype} for tensor {name}, which cannot be computed with",
                self.level.name
            );
        }
        // With rows of any number of super-blocks every wish is granted.
        self.n_refitted += usize::from(dtype != self.level.dtype_of(role, block, 0, &facts));
        self.tensors.push(Tensor { name: name.to_string(), dtype, k, n_rows, kind: TensorKind::Matrix });
        Ok(())
    }
}
