//! Binding: every tensor of the file finds its place, with the shape that the hyperparameters demand, or the load fails.

use std::collections::BTreeSet;

use super::arch::{Activation, NormPlacement, QkvBiases, RopePairing};
use super::hparams::{HyperParams, Rope};
use super::identity::Sample;
use super::parts::{Part, Share};
use crate::backend::{Backend, Footprint, Gate, Heads, Machine, MatrixShape, Rotation, Storage};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::fallible;
use crate::gguf::{Gguf, TensorInfo};
use crate::quant;

/// The weights of one block. Shapes are (outputs, inputs).
pub(crate) struct Block<B: Backend> {
    pub attn_norm: B::Vector,               // [dim]
    pub wq: B::Matrix,                      // (n_heads * head_dim, dim)
    pub wk: B::Matrix,                      // (n_kv_heads * head_dim, dim)
    pub wv: B::Matrix,                      // (n_kv_heads * head_dim, dim)
    pub qkv_biases: [Option<B::Vector>; 3], // [n_heads * head_dim], [n_kv_heads * head_dim] twice
    pub qk_norms: Option<[B::Vector; 2]>,   // [head_dim] each
    pub wo: B::Matrix,                      // (dim, n_heads * head_dim)
    pub attn_post_norm: Option<B::Vector>,  // [dim]
    pub ffn_norm: B::Vector,                // [dim]
    pub gate: B::Matrix,                    // (ffn_dim, dim)
    pub up: B::Matrix,                      // (ffn_dim, dim)
    pub down: B::Matrix,                    // (dim, ffn_dim)
    pub ffn_post_norm: Option<B::Vector>,   // [dim]
    pub window: Option<usize>,
}

impl<B: Backend> Block<B> {
    /// Its matrices.
    pub fn matrices(&self) -> [&B::Matrix; 7] {
        [&self.wq, &self.wk, &self.wv, &self.wo, &self.gate, &self.up, &self.down]
    }
}

/// What a group of matrices is multiplied with.
pub(crate) struct Input {
    /// The tensors of the matrices.
    pub tensors: Vec<String>,
    /// Elements of a row of it.
    pub k: usize,
}

/// The weights of a model.
pub(crate) struct Weights<B: Backend> {
    pub token_embd: B::Matrix, // (n_vocab, dim)
    pub blocks: Vec<Block<B>>,
    pub output_norm: B::Vector,    // [dim]
    pub output: Option<B::Matrix>, // (n_vocab, dim); None: the embeddings are the output, too
    pub rotation: Rotation,
    pub rotation_sliding: Option<Rotation>,
}

impl<B: Backend> Weights<B> {
    /// The output head.
    pub fn output(&self) -> &B::Matrix {
        self.output.as_ref().unwrap_or(&self.token_embd)
    }

    /// The inputs of products, block by block, then that of the output head.
    pub fn inputs(&self, h: &HyperParams) -> Vec<Input> {
        let of_block = |i: usize| {
            let tensors = |parts: &[&str]| parts.iter().map(|part| format!("blk.{i}.{part}.weight")).collect();
            [
                Input { tensors: tensors(&["attn_q", "attn_k", "attn_v"]), k: h.dim },
                Input { tensors: tensors(&["attn_output"]), k: h.q_dim() },
                Input { tensors: tensors(&["ffn_gate", "ffn_up"]), k: h.dim },
                Input { tensors: tensors(&["ffn_down"]), k: h.ffn_dim },
            ]
        };
        let head = if self.output.is_some() { "output.weight" } else { "token_embd.weight" };
        let head = Input { tensors: vec![head.to_string()], k: h.dim };
        (0..self.blocks.len()).flat_map(of_block).chain([head]).collect()
    }

    /// The first matrix of each group of [`inputs`](Self::inputs), in the same order.
    pub fn input_matrices(&self) -> impl Iterator<Item = &B::Matrix> {
        self.blocks.iter().flat_map(|b| [&b.wq, &b.wo, &b.gate, &b.down]).chain([self.output()])
    }

    /// The rotation of a block.
    pub fn rotation_of(&self, block: &Block<B>) -> &Rotation {
        match (&self.rotation_sliding, block.window) {
            (Some(rotation), Some(_)) => rotation,
            _ => &self.rotation,
        }
    }
}

impl HyperParams {
    /// The head layout.
    pub(crate) fn heads(&self) -> Heads {
        Heads { n_heads: self.n_heads, n_kv_heads: self.n_kv_heads, head_dim: self.head_dim }
    }

    /// The gate of the feed-forward layer.
    pub(crate) fn gate(&self) -> Gate {
        match self.arch.activation {
            Activation::Silu => Gate::Silu,
            Activation::GeluTanh => Gate::GeluTanh,
        }
    }

    /// The rotation of `rope`: radians per position `theta^(-2i / n_rot)`, divided by `factors` where the file has them.
    fn rotation(&self, rope: Rope, factors: Option<&[f32]>) -> Rotation {
        let frequency = |i: usize| {
            let base = libm::pow(f64::from(rope.theta), -2.0 * i as f64 / self.n_rot as f64);
            base * f64::from(rope.position_scale) / factors.map_or(1.0, |f| f64::from(f[i]))
        };
        Rotation {
            frequencies: (0..self.n_rot / 2).map(frequency).collect(),
            half_split: self.arch.rope_pairing == RopePairing::HalfSplit,
        }
    }
}

/// Called after each tensor with the bytes bound so far and those of all tensors; `false` cancels.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) -> bool + Sync);

/// Bind all tensors of a file, and take the sample of them that belongs to the model's identity.
pub(super) fn bind(
    parts: &[Part],
    gguf: &Gguf,
    hparams: &HyperParams,
    storage: Storage,
    progress: Progress<'_>,
) -> Result<(Weights<Machine>, Sample)> {
    let total = gguf.tensors().iter().map(TensorInfo::n_bytes).sum();
    let (bound, sample) = (BTreeSet::new(), Sample::default());
    let store = |part: &Part| part.machine.store(storage, &part.share.matrix_shapes(gguf.tensors()));
    let stores = parts.iter().map(store).collect::<Result<_>>()?;
    let mut binder = Binder { parts, stores, place: 0, gguf, storage, progress, bound, sample, done: 0, total };
    let h = hparams;
    let token_embd = binder.matrix("token_embd.weight", h.n_vocab, h.dim)?;
    let mut blocks = Vec::new();
    for (place, part) in parts.iter().enumerate() {
        binder.place = place;
        for i in part.share.blocks.clone() {
            blocks.push(binder.block(i, h)?);
        }
    }
    binder.place = 0;
    let output_norm = binder.vector("output_norm.weight", h.dim)?;
    let output = match gguf.tensor("output.weight") {
        Some(_) => Some(binder.matrix("output.weight", h.n_vocab, h.dim)?),
        None => None,
    };
    let factors = binder.opt_values("rope_freqs.weight", h.n_rot / 2)?;
    if let Some(i) = factors.iter().flatten().position(|f| !f.is_finite() || *f == 0.0) {
        bail!(InvalidModel, "tensor rope_freqs.weight: factor {i} is zero or not finite");
    }
    binder.refuse_the_rest()?;
    let sample = binder.sample;
    if storage == Storage::Packed {
        // Again, and all: the system reads pages around those that are asked for, and so some were back after their turn.
        gguf.tensors().iter().for_each(|tensor| gguf.release(tensor));
    }
    let weights = Weights {
        token_embd,
        blocks,
        output_norm,
        output,
        rotation: h.rotation(h.rope, factors.as_deref()),
        rotation_sliding: h.sliding_window.map(|_| h.rotation(h.rope_sliding, None)),
    };
    Ok((weights, sample))
}

/// Bytes that a share of the weights of a file will take with so many workers, from its header.
pub(crate) fn stored_bytes<B: Footprint>(
    gguf: &Gguf,
    share: &Share,
    storage: Storage,
    n_workers: usize,
) -> Result<u64> {
    let matrices = B::store_bytes(storage, &share.matrix_shapes(gguf.tensors()), n_workers)?;
    Ok(matrices.saturating_add(share.vector_bytes(gguf.tensors())))
}

/// Bytes that loading them holds in passing.
pub(crate) fn packing_bytes<B: Footprint>(gguf: &Gguf, share: &Share, storage: Storage, n_workers: usize) -> u64 {
    B::packing_bytes(storage, &share.matrix_shapes(gguf.tensors()), n_workers)
}

struct Binder<'a> {
    parts: &'a [Part],
    stores: Vec<<Machine as Backend>::Store>,
    /// The part that tensors are bound to.
    place: usize,
    gguf: &'a Gguf,
    storage: Storage,
    progress: Progress<'a>,
    bound: BTreeSet<&'a str>,
    sample: Sample,
    done: u64,
    total: u64,
}

impl<'a> Binder<'a> {
    fn block(&mut self, i: usize, h: &HyperParams) -> Result<Block<Machine>> {
        let name = |part: &str| format!("blk.{i}.{part}");
        let (dim, q_dim, kv_dim, ffn_dim) = (h.dim, h.q_dim(), h.kv_dim(), h.ffn_dim);
        let post = h.arch.norm_placement == NormPlacement::PreAndPost;
        Ok(Block {
            attn_norm: self.vector(&name("attn_norm.weight"), dim)?,
            wq: self.matrix(&name("attn_q.weight"), q_dim, dim)?,
            wk: self.matrix(&name("attn_k.weight"), kv_dim, dim)?,
            wv: self.matrix(&name("attn_v.weight"), kv_dim, dim)?,
            qkv_biases: [
                self.bias(&name("attn_q.bias"), q_dim, h.arch.qkv_biases)?,
                self.bias(&name("attn_k.bias"), kv_dim, h.arch.qkv_biases)?,
                self.bias(&name("attn_v.bias"), kv_dim, h.arch.qkv_biases)?,
            ],
            qk_norms: match h.arch.qk_norm {
                true => Some([
                    self.vector(&name("attn_q_norm.weight"), h.head_dim)?,
                    self.vector(&name("attn_k_norm.weight"), h.head_dim)?,
                ]),
                false => None,
            },
            wo: self.matrix(&name("attn_output.weight"), dim, q_dim)?,
            attn_post_norm: post.then(|| self.vector(&name("post_attention_norm.weight"), dim)).transpose()?,
            ffn_norm: self.vector(&name("ffn_norm.weight"), dim)?,
            gate: self.matrix(&name("ffn_gate.weight"), ffn_dim, dim)?,
            up: self.matrix(&name("ffn_up.weight"), ffn_dim, dim)?,
            down: self.matrix(&name("ffn_down.weight"), dim, ffn_dim)?,
            ffn_post_norm: post.then(|| self.vector(&name("post_ffw_norm.weight"), dim)).transpose()?,
            window: h.window_of(i),
        })
    }

    /// The tensor with a name and the shape demanded, in GGUF order.
    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<&'a TensorInfo> {
        let Some(tensor) = self.gguf.tensor(name) else {
            return Err(Error::new(ErrorKind::InvalidModel, format!("tensor {name} is missing")));
        };
        if !tensor.shape.iter().copied().eq(shape.iter().map(|&n| n as u64)) {
            bail!(InvalidModel, "tensor {name} has shape {:?}; expected {shape:?}", tensor.shape);
        }
        self.bound.insert(&tensor.name);
        Ok(tensor)
    }

    fn matrix(&mut self, name: &str, n_rows: usize, k: usize) -> Result<<Machine as Backend>::Matrix> {
        let tensor = self.tensor(name, &[k, n_rows])?;
        let shape = MatrixShape { name, dtype: tensor.dtype, n_rows, k };
        let (done, total, progress) = (self.done, self.total, self.progress);
        let stop = move || !progress(done, total);
        let (machine, store) = (&self.parts[self.place].machine, &self.stores[self.place]);
        let matrix = machine.matrix(store, shape, self.gguf.tensor_bytes(tensor)?, &stop)?;
        self.finish(tensor)?;
        Ok(matrix)
    }

    fn vector(&mut self, name: &str, n: usize) -> Result<<Machine as Backend>::Vector> {
        let values = self.values(name, n)?;
        self.parts[self.place].machine.vector(&values)
    }

    fn bias(&mut self, name: &str, n: usize, biases: QkvBiases) -> Result<Option<<Machine as Backend>::Vector>> {
        let wanted = biases == QkvBiases::Required || self.gguf.tensor(name).is_some();
        wanted.then(|| self.vector(name, n)).transpose()
    }

    fn opt_values(&mut self, name: &str, n: usize) -> Result<Option<Vec<f32>>> {
        self.gguf.tensor(name).is_some().then(|| self.values(name, n)).transpose()
    }

    fn values(&mut self, name: &str, n: usize) -> Result<Vec<f32>> {
        let tensor = self.tensor(name, &[n])?;
        let mut values = fallible::filled(0.0, n, name)?;
        let mut bytes = fallible::filled(0, self.gguf.tensor_bytes(tensor)?.len(), name)?;
        self.gguf.read_tensor(tensor, 0, &mut bytes)?;
        quant::dequantize(tensor.dtype, &bytes, &mut values).map_err(|e| e.within(format_args!("tensor {name}")))?;
        self.finish(tensor)?;
        Ok(values)
    }

    /// A tensor is bound: its pages of the file are not needed any more, unless the weights stay there.
    fn finish(&mut self, tensor: &TensorInfo) -> Result<()> {
        self.sample.add(self.gguf, tensor)?;
        if self.storage == Storage::Packed {
            self.gguf.release(tensor);
        }
        self.done += tensor.n_bytes();
        if !(self.progress)(self.done, self.total) {
            bail!(Cancelled, "loading was cancelled at tensor {}", tensor.name);
        }
        Ok(())
    }

    /// A tensor that nobody reads would change the results if somebody did.
    fn refuse_the_rest(&self) -> Result<()> {
        match self.gguf.tensors().iter().find(|t| !self.bound.contains(t.name.as_str())) {
            Some(tensor) => bail!(Unsupported, "tensor {} has no place in this architecture", tensor.name),
            None => Ok(()),
        }
    }
}
