//! Hyperparameters: typed, and checked for range, before anything is allocated by them.

use std::fmt::Display;
use std::ops::RangeInclusive;

use super::arch::{ARCHS, Arch, AttentionScale, EmbeddingScale, Window};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::{Gguf, Metadata};

/// Upper bounds that no model comes near; they keep every product of them within `usize` and every loop short.
pub(crate) mod limit {
    pub const BLOCKS: usize = 512;
    pub const DIM: usize = 1 << 18;
    pub const HEADS: usize = 1 << 12;
    pub const HEAD_DIM: usize = 512;
    pub const FFN_DIM: usize = 1 << 20;
    pub const VOCAB: usize = 1 << 24;
    pub const CONTEXT: usize = 1 << 28;
}

/// The rotary embedding of a kind of block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub theta: f32,
    /// What positions are multiplied with (linear scaling); 1 for none.
    pub position_scale: f32,
}

/// The sizes and constants of one model.
#[derive(Clone, Debug)]
pub struct HyperParams {
    /// The architecture's row.
    pub arch: &'static Arch,
    /// Rows of the token embedding.
    pub n_vocab: usize,
    /// Length of the residual vector.
    pub dim: usize,
    /// Blocks (layers).
    pub n_blocks: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Length of a query, key or value head.
    pub head_dim: usize,
    /// Length of the feed-forward layer.
    pub ffn_dim: usize,
    /// Positions that the model was trained for.
    pub n_ctx_train: usize,
    /// Epsilon of the norms.
    pub rms_eps: f32,
    /// Elements of a head that rotate.
    pub n_rot: usize,
    /// Rotation where a block sees everything.
    pub rope: Rope,
    /// Rotation where a block has a sliding window.
    pub rope_sliding: Rope,
    /// Positions of the sliding window, the own one included.
    pub sliding_window: Option<usize>,
    /// Soft cap of the output logits.
    pub final_softcap: Option<f32>,
}

impl HyperParams {
    /// Read the hyperparameters of a file.
    ///
    /// # Errors
    /// `Unsupported` for an architecture or variant that is not built (the text lists what is), `MissingKey` and
    /// `WrongType` naming the key, `InvalidModel` for a value out of range or a contradiction.
    pub fn from_gguf(gguf: &Gguf) -> Result<HyperParams> {
        let meta = gguf.metadata();
        let name = meta.str("general.architecture")?;
        let Some(arch) = Arch::find(name) else {
            let known: Vec<_> = ARCHS.iter().map(|a| a.name).collect();
            bail!(Unsupported, "architecture {name:?} is not supported; supported are {}", known.join(", "));
        };
        let keys = Keys { meta, arch };
        keys.refuse_what_is_not_computed()?;

        let dim = keys.int("embedding_length", 1..=limit::DIM)?;
        let n_blocks = keys.int("block_count", 1..=limit::BLOCKS)?;
        let n_heads = keys.int_per_block("attention.head_count", n_blocks, 1..=limit::HEADS)?;
        let n_kv_heads = match keys.has("attention.head_count_kv") {
            true => keys.int_per_block("attention.head_count_kv", n_blocks, 1..=limit::HEADS)?,
            false => n_heads,
        };
        if n_heads % n_kv_heads != 0 {
            bail!(InvalidModel, "{n_heads} query heads are not a multiple of {n_kv_heads} key heads");
        }
        let head_dim = match keys.opt_int("attention.key_length", 1..=limit::HEAD_DIM)? {
            Some(head_dim) => head_dim,
            None if dim % n_heads == 0 => dim / n_heads,
            None => bail!(InvalidModel, "embedding_length {dim} is not a multiple of {n_heads} query heads"),
        };
        if let Some(value_length) = keys.opt_int("attention.value_length", 1..=limit::HEAD_DIM)?
            && value_length != head_dim
        {
            bail!(Unsupported, "value heads of {value_length} beside key heads of {head_dim} are not supported");
        }
        let n_rot = keys.opt_int("rope.dimension_count", 1..=limit::HEAD_DIM)?.unwrap_or(head_dim);
        if !head_dim.is_multiple_of(2) || head_dim > limit::HEAD_DIM || !n_rot.is_multiple_of(2) || n_rot > head_dim {
            bail!(
                InvalidModel,
                "head length {head_dim} with {n_rot} rotating elements: both must be even, the second not larger"
            );
        }
        let rope = Rope {
            theta: keys.opt_float("rope.freq_base", 1.0..=1e12)?.unwrap_or(10_000.0),
            position_scale: keys.rope_position_scale()?,
        };
        let theta_sliding = keys.opt_float("rope.freq_base_swa", 1.0..=1e12)?;
        let sliding_window = match arch.window {
            Window::Full => None,
            Window::Alternating { .. } => Some(keys.int("attention.sliding_window", 1..=limit::CONTEXT)?),
        };
        let embedding = gguf
            .tensor("token_embd.weight")
            .ok_or_else(|| Error::new(ErrorKind::InvalidModel, "tensor token_embd.weight is missing"))?;
        let n_vocab = match embedding.shape[..] {
            [n, rows] if n == dim as u64 && (1..=limit::VOCAB as u64).contains(&rows) => rows as usize,
            _ => bail!(
                InvalidModel,
                "tensor token_embd.weight has shape {:?}; expected [{dim}, vocabulary of at most {}]",
                embedding.shape,
                limit::VOCAB
            ),
        };
        Ok(HyperParams {
            arch,
            n_vocab,
            dim,
            n_blocks,
            n_heads,
            n_kv_heads,
            head_dim,
            ffn_dim: keys.int_per_block("feed_forward_length", n_blocks, 1..=limit::FFN_DIM)?,
            n_ctx_train: keys.opt_int("context_length", 1..=limit::CONTEXT)?.unwrap_or(2048),
            rms_eps: keys.float("attention.layer_norm_rms_epsilon", 0.0..=1.0)?,
            n_rot,
            rope,
            rope_sliding: Rope { theta: theta_sliding.unwrap_or(arch.rope_theta_sliding), position_scale: 1.0 },
            sliding_window,
            final_softcap: keys.opt_float("final_logit_softcapping", 0.0..=1e6)?.filter(|&cap| cap > 0.0),
        })
    }

    /// The sliding window of a block; `None` where it sees everything.
    pub fn window_of(&self, block: usize) -> Option<usize> {
        match self.arch.window {
            Window::Alternating { period } if !(block + 1).is_multiple_of(period) => self.sliding_window,
            _ => None,
        }
    }

    /// What token embeddings are multiplied with.
    pub fn embedding_scale(&self) -> f32 {
        match self.arch.embedding_scale {
            EmbeddingScale::One => 1.0,
            EmbeddingScale::SqrtDim => (self.dim as f32).sqrt(),
        }
    }

    /// What attention scores are multiplied with.
    pub fn attention_scale(&self) -> f32 {
        let length = match self.arch.attention_scale {
            AttentionScale::HeadDimButDimPerHeadAt { n_blocks } if n_blocks == self.n_blocks => self.dim / self.n_heads,
            _ => self.head_dim,
        };
        1.0 / (length as f32).sqrt()
    }

    /// Length of all query heads together.
    pub fn q_dim(&self) -> usize {
        self.n_heads * self.head_dim
    }

    /// Length of all key (or value) heads together.
    pub fn kv_dim(&self) -> usize {
        self.n_kv_heads * self.head_dim
    }
}

/// Access to the keys with the architecture's prefix.
struct Keys<'a> {
    meta: &'a Metadata,
    arch: &'static Arch,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.arch.name)
    }

    fn has(&self, key: &str) -> bool {
        self.meta.get(&self.name(key)).is_some()
    }

    fn opt_int(&self, key: &str, range: RangeInclusive<usize>) -> Result<Option<usize>> {
        let key = self.name(key);
        let Some(value) = self.meta.opt_u64(&key)? else { return Ok(None) };
        in_range(&key, usize::try_from(value).unwrap_or(usize::MAX), range).map(Some)
    }

    fn int(&self, key: &str, range: RangeInclusive<usize>) -> Result<usize> {
        self.opt_int(key, range)?.ok_or_else(|| missing(&self.name(key)))
    }

    /// One number, or one per block as long as they agree.
    fn int_per_block(&self, key: &str, n_blocks: usize, range: RangeInclusive<usize>) -> Result<usize> {
        let name = self.name(key);
        let Ok(values) = self.meta.u32s(&name) else { return self.int(key, range) };
        match values.first() {
            Some(&first) if values.len() == n_blocks && values.iter().all(|&v| v == first) => {
                in_range(&name, first as usize, range)
            }
            Some(_) if values.len() == n_blocks => {
                bail!(Unsupported, "key {name} differs from block to block; that is not supported")
            }
            _ => bail!(InvalidModel, "key {name} has {} values for {n_blocks} blocks", values.len()),
        }
    }

    fn opt_float(&self, key: &str, range: RangeInclusive<f32>) -> Result<Option<f32>> {
        let key = self.name(key);
        let Some(value) = self.meta.opt_f32(&key)? else { return Ok(None) };
        in_range(&key, value, range).map(Some)
    }

    fn float(&self, key: &str, range: RangeInclusive<f32>) -> Result<f32> {
        self.opt_float(key, range)?.ok_or_else(|| missing(&self.name(key)))
    }

    fn rope_position_scale(&self) -> Result<f32> {
        let kind = self.meta.opt_str(&self.name("rope.scaling.type"))?.unwrap_or("linear");
        let old_factor = self.opt_float("rope.scale_linear", 1e-6..=1e6)?;
        let factor = self.opt_float("rope.scaling.factor", 1e-6..=1e6)?.or(old_factor).unwrap_or(1.0);
        match kind {
            "none" => Ok(1.0),
            "linear" => Ok(1.0 / factor),
            _ => bail!(Unsupported, "key {} is {kind:?}; supported are none, linear", self.name("rope.scaling.type")),
        }
    }

    fn refuse_what_is_not_computed(&self) -> Result<()> {
        for key in self.arch.refused_keys {
            let name = self.name(key);
            if self.meta.get(&name).is_some() && !matches!(self.meta.f32(&name), Ok(value) if value == 0.0) {
                bail!(Unsupported, "key {name} asks for a computation that {} does not have here", self.arch.name);
            }
        }
        Ok(())
    }
}

fn missing(key: &str) -> Error {
    Error::new(ErrorKind::MissingKey, format!("key {key} is missing"))
}

fn in_range<T: PartialOrd + Display>(key: &str, value: T, range: RangeInclusive<T>) -> Result<T> {
    // A NaN is in no range.
    if !range.contains(&value) {
        bail!(InvalidModel, "key {key} is {value}, outside {}..={}", range.start(), range.end());
    }
    Ok(value)
}
