//! The sizes of a model to make. Errors and presets use the words of the program's options: `layers`, `kv-heads` ...

use std::ops::RangeInclusive;

use super::vocabulary;
use crate::error::{Error, ErrorKind, Result, bail};
use crate::model::arch::{ARCHS, Arch, Window};
use crate::model::limit;

/// The sizes of a model.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Architecture.
    pub arch: &'static Arch,
    /// Blocks (layers).
    pub n_blocks: usize,
    /// Length of the residual vector.
    pub dim: usize,
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads; divides `n_heads`.
    pub n_kv_heads: usize,
    /// Length of a head, even.
    pub head_dim: usize,
    /// Length of the feed-forward layer.
    pub ffn_dim: usize,
    /// Tokens of the vocabulary.
    pub n_vocab: usize,
    /// Positions that the file claims the model was trained for.
    pub n_ctx: usize,
    /// Positions of the sliding window, in architectures with one.
    pub window: usize,
    /// The embeddings are the output head, too.
    pub tied_embeddings: bool,
}

/// A named shape: that of a well-known model, except that a context of 2048 positions is made longer.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// The model that has this shape.
    pub model: &'static str,
    arch: &'static str,
    sizes: [usize; 9],
    tied_embeddings: bool,
}

/// Every preset. Sizes: layers, dim, heads, kv-heads, head-dim, ffn, vocab, ctx, window.
#[rustfmt::skip]
pub static PRESETS: &[Preset] = &[
    Preset { name: "135m", model: "SmolLM2-135M", arch: "llama", tied_embeddings: true,
             sizes: [30, 576, 9, 3, 64, 1536, 49_152, 8192, DEFAULT_WINDOW] },
    Preset { name: "270m", model: "Gemma-3-270M", arch: "gemma3", tied_embeddings: true,
             sizes: [18, 640, 4, 1, 256, 2048, 262_144, 32_768, 512] },
    Preset { name: "1b", model: "TinyLlama-1.1B", arch: "llama", tied_embeddings: false,
             sizes: [22, 2048, 32, 4, 64, 5632, 32_000, 8192, DEFAULT_WINDOW] },
    Preset { name: "3b", model: "Llama-3.2-3B", arch: "llama", tied_embeddings: true,
             sizes: [28, 3072, 24, 8, 128, 8192, 128_256, 131_072, DEFAULT_WINDOW] },
    Preset { name: "8b", model: "Llama-3.1-8B", arch: "llama", tied_embeddings: false,
             sizes: [32, 4096, 32, 8, 128, 14_336, 128_256, 131_072, DEFAULT_WINDOW] },
];

const DEFAULT_WINDOW: usize = 512;

impl Preset {
    /// The preset with a name, whatever its case.
    pub fn find(name: &str) -> Option<&'static Preset> {
        PRESETS.iter().find(|preset| preset.name.eq_ignore_ascii_case(name))
    }
}

/// The sizes that a user names. What is absent comes from the preset; without a preset from the sizes that are there: as many
/// heads as `dim` has multiples of 64, a key head per query head, heads of `dim / heads`, a feed-forward layer of `4 * dim`.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields of Shape")]
pub struct ShapeOptions<'a> {
    pub preset: Option<&'a str>,
    pub arch: Option<&'a str>,
    pub n_blocks: Option<usize>,
    pub dim: Option<usize>,
    pub n_heads: Option<usize>,
    pub n_kv_heads: Option<usize>,
    pub head_dim: Option<usize>,
    pub ffn_dim: Option<usize>,
    pub n_vocab: Option<usize>,
    pub n_ctx: Option<usize>,
    pub window: Option<usize>,
    pub tied_embeddings: Option<bool>,
}

impl ShapeOptions<'_> {
    /// The whole shape.
    ///
    /// # Errors
    /// `InvalidArgument` for an unknown name, and where [`Shape::check`] refuses.
    pub fn resolve(&self) -> Result<Shape> {
        let preset = self.preset.map(known_preset).transpose()?;
        let shape = match preset {
            Some(preset) => self.over_preset(preset)?,
            None => self.around_dim()?,
        };
        shape.check()?;
        Ok(shape)
    }

    fn over_preset(&self, preset: &Preset) -> Result<Shape> {
        let [n_blocks, dim, n_heads, n_kv_heads, head_dim, ffn_dim, n_vocab, n_ctx, window] = preset.sizes;
        Ok(Shape {
            arch: known_arch(self.arch.unwrap_or(preset.arch))?,
            n_blocks: self.n_blocks.unwrap_or(n_blocks),
            dim: self.dim.unwrap_or(dim),
            n_heads: self.n_heads.unwrap_or(n_heads),
            n_kv_heads: self.n_kv_heads.unwrap_or(n_kv_heads),
            head_dim: self.head_dim.unwrap_or(head_dim),
            ffn_dim: self.ffn_dim.unwrap_or(ffn_dim),
            n_vocab: self.n_vocab.unwrap_or(n_vocab),
            n_ctx: self.n_ctx.unwrap_or(n_ctx),
            window: self.window.unwrap_or(window),
            tied_embeddings: self.tied_embeddings.unwrap_or(preset.tied_embeddings),
        })
    }

    fn around_dim(&self) -> Result<Shape> {
        let dim = in_range("dim", self.dim.unwrap_or(256), 1..=limit::DIM)?;
        let n_heads = in_range("heads", self.n_heads.unwrap_or((dim / 64).max(1)), 1..=limit::HEADS)?;
        let head_dim = match self.head_dim {
            Some(head_dim) => head_dim,
            None if dim.is_multiple_of(n_heads) => dim / n_heads,
            None => bail!(InvalidArgument, "head-dim must be given: dim {dim} is not a multiple of heads {n_heads}"),
        };
        Ok(Shape {
            arch: known_arch(self.arch.unwrap_or("llama"))?,
            n_blocks: self.n_blocks.unwrap_or(4),
            dim,
            n_heads,
            n_kv_heads: self.n_kv_heads.unwrap_or(n_heads),
            head_dim,
            ffn_dim: self.ffn_dim.unwrap_or(4 * dim),
            n_vocab: self.n_vocab.unwrap_or(512),
            n_ctx: self.n_ctx.unwrap_or(2048),
            window: self.window.unwrap_or(DEFAULT_WINDOW),
            tied_embeddings: self.tied_embeddings.unwrap_or(false),
        })
    }
}

impl Shape {
    /// Refuses what no model can be: `InvalidArgument` that names the size.
    pub fn check(&self) -> Result<()> {
        in_range("layers", self.n_blocks, 1..=limit::BLOCKS)?;
        in_range("dim", self.dim, 1..=limit::DIM)?;
        in_range("heads", self.n_heads, 1..=limit::HEADS)?;
        in_range("kv-heads", self.n_kv_heads, 1..=limit::HEADS)?;
        in_range("head-dim", self.head_dim, 2..=limit::HEAD_DIM)?;
        in_range("ffn", self.ffn_dim, 1..=limit::FFN_DIM)?;
        in_range("vocab", self.n_vocab, vocabulary::MIN_TOKENS..=limit::VOCAB)?;
        in_range("ctx", self.n_ctx, 1..=limit::CONTEXT)?;
        if !self.n_heads.is_multiple_of(self.n_kv_heads) {
            bail!(InvalidArgument, "heads {} is not a multiple of kv-heads {}", self.n_heads, self.n_kv_heads);
        }
        if !self.head_dim.is_multiple_of(2) {
            bail!(InvalidArgument, "head-dim {} is odd: elements of a head rotate in pairs", self.head_dim);
        }
        if self.arch.window != Window::Full {
            in_range("window", self.window, 1..=limit::CONTEXT)?;
        }
        Ok(())
    }
}

fn known_preset(name: &str) -> Result<&'static Preset> {
    Preset::find(name).ok_or_else(|| unknown("preset", name, PRESETS.iter().map(|p| p.name)))
}

fn known_arch(name: &str) -> Result<&'static Arch> {
    Arch::find(name).ok_or_else(|| unknown("arch", name, ARCHS.iter().map(|a| a.name)))
}

fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> Error {
    let known: Vec<_> = known.collect();
    Error::new(ErrorKind::InvalidArgument, format!("{what} {name:?} is not known; there are {}", known.join(", ")))
}

fn in_range(what: &str, value: usize, range: RangeInclusive<usize>) -> Result<usize> {
    if !range.contains(&value) {
        bail!(InvalidArgument, "{what} {value} is outside {}..={}", range.start(), range.end());
    }
    Ok(value)
}
