//! The architecture table: one row per architecture, made of enums that mean something. The forward pass reads the row's
//! meaning, never its name.
//!
//! Source of the rows: the model's paper or its published code, and the GGUF key and tensor names of the GGUF
//! specification.

/// Which elements of a head rotate together (Su et al. 2021, RoFormer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RopePairing {
    /// Elements `2i` and `2i + 1`.
    Adjacent,
    /// Elements `i` and `i + n_rot / 2`.
    HalfSplit,
}

/// Where a block normalises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NormPlacement {
    /// Before attention and before the feed-forward layer.
    Pre,
    /// There, and once more on each result before it is added to the residual.
    PreAndPost,
}

/// The gate of the feed-forward layer, `activation(gate(x)) * up(x)` (Shazeer 2020).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// The tanh form of GELU (Hendrycks and Gimpel 2016).
    GeluTanh,
}

/// Biases that are added to a block's queries, keys and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QkvBiases {
    /// As the file has them or not: their absence means none.
    Optional,
    /// All three; a file without them is incomplete.
    Required,
}

/// What a block's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// Every earlier position.
    Full,
    /// Groups of `period` blocks: the last of each group sees everything, the others a sliding window.
    Alternating {
        /// Blocks of a group.
        period: usize,
    },
}

/// What token embeddings are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmbeddingScale {
    /// One.
    One,
    /// The square root of the model's dimension.
    SqrtDim,
}

/// What attention scores are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttentionScale {
    /// `1 / sqrt(head_dim)`.
    HeadDim,
    /// `1 / sqrt(head_dim)`, but `1 / sqrt(dim / n_heads)` in the model with so many blocks.
    HeadDimButDimPerHeadAt {
        /// Blocks of that one model.
        n_blocks: usize,
    },
}

/// One architecture.
#[derive(Debug)]
pub struct Arch {
    /// `general.architecture`, and the prefix of its metadata keys.
    pub name: &'static str,
    /// Pairs of the rotary embedding.
    pub rope_pairing: RopePairing,
    /// Placement of the norms.
    pub norm_placement: NormPlacement,
    /// Biases of queries, keys and values.
    pub qkv_biases: QkvBiases,
    /// Whether each query and key head is normalised before rotation.
    pub qk_norm: bool,
    /// Gate of the feed-forward layer.
    pub activation: Activation,
    /// Attention windows.
    pub window: Window,
    /// Rotary base of the blocks with a sliding window, where the file does not say.
    pub rope_theta_sliding: f32,
    /// Scale of the embeddings.
    pub embedding_scale: EmbeddingScale,
    /// Scale of the attention scores.
    pub attention_scale: AttentionScale,
    /// Keys, without the prefix, that change the computation in a way that is not built; refused unless zero.
    pub refused_keys: &'static [&'static str],
}

/// Keys that no row computes yet.
const REFUSED: &[&str] = &["expert_count", "expert_used_count", "attn_logit_softcapping", "attention.clamp_kqv"];

/// Every architecture that runs.
pub static ARCHS: &[Arch] = &[
    // Touvron et al. 2023, and everything that kept its block: Llama 1 to 3, Mistral, SmolLM2, TinyLlama.
    Arch {
        name: "llama",
        rope_pairing: RopePairing::Adjacent,
        norm_placement: NormPlacement::Pre,
        qkv_biases: QkvBiases::Optional,
        qk_norm: false,
        activation: Activation::Silu,
        window: Window::Full,
        rope_theta_sliding: 10_000.0,
        embedding_scale: EmbeddingScale::One,
        attention_scale: AttentionScale::HeadDim,
        refused_keys: REFUSED,
    },
    // Qwen2 technical report (2024), dense models; Qwen2.5 kept the block.
    Arch {
        name: "qwen2",
        rope_pairing: RopePairing::HalfSplit,
        norm_placement: NormPlacement::Pre,
        qkv_biases: QkvBiases::Required,
        qk_norm: false,
        activation: Activation::Silu,
        window: Window::Full,
        rope_theta_sliding: 10_000.0,
        embedding_scale: EmbeddingScale::One,
        attention_scale: AttentionScale::HeadDim,
        refused_keys: REFUSED,
    },
    // Gemma 3 technical report (2025), text models. Five blocks with a sliding window to one that sees everything.
    Arch {
        name: "gemma3",
        rope_pairing: RopePairing::HalfSplit,
        norm_placement: NormPlacement::PreAndPost,
        qkv_biases: QkvBiases::Optional,
        qk_norm: true,
        activation: Activation::GeluTanh,
        window: Window::Alternating { period: 6 },
        rope_theta_sliding: 10_000.0,
        embedding_scale: EmbeddingScale::SqrtDim,
        attention_scale: AttentionScale::HeadDimButDimPerHeadAt { n_blocks: 62 },
        refused_keys: REFUSED,
    },
];

impl Arch {
    /// The row of a name.
    pub fn find(name: &str) -> Option<&'static Arch> {
        ARCHS.iter().find(|arch| arch.name == name)
    }
}
