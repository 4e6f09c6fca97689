//! What maps to what: one row per row of [`ARCHS`](crate::model::arch::ARCHS).
//!
//! Names of tensors are those of `transformers` without the leading `model.` and `language_model.`, which differ from class to
//! class; `layers.N.` stands before those of a block and becomes `blk.N.`.

use super::json::Absent::{self, Bool, Float, Int, Same, Str};

/// How one architecture is converted.
pub(super) struct Mapping {
    /// The architecture's name.
    pub arch: &'static str,
    /// `architectures` of the configuration.
    pub classes: &'static [&'static str],
    /// What `transformers` takes for keys that the configuration leaves out.
    pub defaults: &'static [(&'static str, Absent)],
    /// Keys that go into the metadata besides the sizes that every architecture has.
    pub keys: &'static [Key],
    /// What the configuration may say of things that the architecture computes in one way only.
    pub demands: &'static [Demand],
    /// Kinds of rope scaling that are computed, besides none.
    pub rope_types: &'static [&'static str],
    /// Tensors of the model.
    pub tensors: &'static [Rule],
    /// Tensors of every block.
    pub block: &'static [Rule],
}

/// A number of the configuration that becomes metadata.
pub(super) struct Key {
    /// Without the architecture's prefix.
    pub gguf: &'static str,
    pub config: &'static str,
    pub kind: KeyKind,
}

#[derive(Clone, Copy)]
pub(super) enum KeyKind {
    Int,
    /// Left out if the configuration has none.
    OptFloat,
}

/// A key of the configuration and the values of it that are computed; an absent key is fine.
pub(super) struct Demand {
    pub key: &'static str,
    pub allowed: Allowed,
}

pub(super) enum Allowed {
    OneOf(&'static [&'static str]),
    False,
    True,
    /// Absent or null.
    Nothing,
}

/// A tensor.
pub(super) struct Rule {
    pub from: &'static str,
    pub to: &'static str,
    /// Outermost dimension first.
    pub shape: &'static [Size],
    pub how: How,
    pub presence: Presence,
}

/// A size that the configuration gives.
#[derive(Clone, Copy, Debug)]
pub(super) enum Size {
    Vocab,
    Dim,
    Queries,
    Keys,
    HeadDim,
    Ffn,
}

/// What is done to a tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum How {
    AsIs,
    /// Each head's rows from halves that rotate together to neighbours that do: row `i` of the first half and row `i` of the second
    /// become rows `2i` and `2i + 1`. What rotates by what stays the same.
    HalvesToNeighbours,
    /// The norm multiplies by `1 + weight`, the runtime by the weight.
    PlusOne,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Presence {
    Required,
    Optional,
    /// The output head: required unless it is tied to the embeddings.
    UnlessTied,
}

const fn rule(from: &'static str, to: &'static str, shape: &'static [Size], how: How) -> Rule {
    Rule { from, to, shape, how, presence: Presence::Required }
}

const fn optional(rule: Rule) -> Rule {
    Rule { presence: Presence::Optional, ..rule }
}

const fn head() -> Rule {
    Rule {
        presence: Presence::UnlessTied,
        ..rule("lm_head.weight", "output.weight", &[Size::Vocab, Size::Dim], How::AsIs)
    }
}

use How::{AsIs, HalvesToNeighbours, PlusOne};
use Size::{Dim, Ffn, HeadDim, Keys, Queries, Vocab};

/// Tensors whose values follow from the configuration, and buffers that older versions saved.
pub(super) const IGNORED_ENDINGS: &[&str] = &[".rotary_emb.inv_freq", ".attention.masked_bias", ".attention.bias"];

/// Beginnings of the tensors of what is not the text model: its part of the checkpoint is left out.
pub(super) const OTHER_MODELS: &[&str] =
    &["vision_tower.", "multi_modal_projector.", "vision_model.", "visual.", "audio_tower."];

#[rustfmt::skip]
pub(super) static MAPPINGS: &[Mapping] = &[
    Mapping {
        arch: "llama",
        classes: &["LlamaForCausalLM", "LLaMAForCausalLM", "LlamaModel", "MistralForCausalLM"],
        defaults: &[
            ("num_key_value_heads", Same("num_attention_heads")), ("rms_norm_eps", Float(1e-6)), ("rope_theta", Float(1e4)),
            ("max_position_embeddings", Int(2048)), ("hidden_act", Str("silu")),
        ],
        keys: &[
            Key { gguf: "vocab_size", config: "vocab_size", kind: KeyKind::Int },
        ],
        demands: &[
            Demand { key: "hidden_act", allowed: Allowed::OneOf(&["silu", "swish"]) },
            Demand { key: "mlp_bias", allowed: Allowed::False },
            Demand { key: "is_causal", allowed: Allowed::True },
            Demand { key: "num_local_experts", allowed: Allowed::Nothing },
        ],
        rope_types: &["linear", "llama3"],
        tensors: &[
            rule("embed_tokens.weight", "token_embd.weight", &[Vocab, Dim], AsIs),
            rule("norm.weight", "output_norm.weight", &[Dim], AsIs),
            head(),
        ],
        block: &[
            rule("input_layernorm.weight", "attn_norm.weight", &[Dim], AsIs),
            rule("self_attn.q_proj.weight", "attn_q.weight", &[Queries, Dim], HalvesToNeighbours),
            rule("self_attn.k_proj.weight", "attn_k.weight", &[Keys, Dim], HalvesToNeighbours),
            rule("self_attn.v_proj.weight", "attn_v.weight", &[Keys, Dim], AsIs),
            optional(rule("self_attn.q_proj.bias", "attn_q.bias", &[Queries], HalvesToNeighbours)),
            optional(rule("self_attn.k_proj.bias", "attn_k.bias", &[Keys], HalvesToNeighbours)),
            optional(rule("self_attn.v_proj.bias", "attn_v.bias", &[Keys], AsIs)),
            rule("self_attn.o_proj.weight", "attn_output.weight", &[Dim, Queries], AsIs),
            rule("post_attention_layernorm.weight", "ffn_norm.weight", &[Dim], AsIs),
            rule("mlp.gate_proj.weight", "ffn_gate.weight", &[Ffn, Dim], AsIs),
            rule("mlp.up_proj.weight", "ffn_up.weight", &[Ffn, Dim], AsIs),
            rule("mlp.down_proj.weight", "ffn_down.weight", &[Dim, Ffn], AsIs),
        ],
    },
    Mapping {
        arch: "qwen2",
        classes: &["Qwen2ForCausalLM", "Qwen2Model"],
        defaults: &[
            ("num_key_value_heads", Int(32)), ("rms_norm_eps", Float(1e-6)), ("rope_theta", Float(1e4)),
            ("max_position_embeddings", Int(32_768)), ("hidden_act", Str("silu")),
        ],
        keys: &[],
        demands: &[
            Demand { key: "hidden_act", allowed: Allowed::OneOf(&["silu", "swish"]) },
            Demand { key: "use_sliding_window", allowed: Allowed::False },
            Demand { key: "is_causal", allowed: Allowed::True },
        ],
        rope_types: &["linear"],
        tensors: &[
            rule("embed_tokens.weight", "token_embd.weight", &[Vocab, Dim], AsIs),
            rule("norm.weight", "output_norm.weight", &[Dim], AsIs),
            head(),
        ],
        block: &[
            rule("input_layernorm.weight", "attn_norm.weight", &[Dim], AsIs),
            rule("self_attn.q_proj.weight", "attn_q.weight", &[Queries, Dim], AsIs),
            rule("self_attn.k_proj.weight", "attn_k.weight", &[Keys, Dim], AsIs),
            rule("self_attn.v_proj.weight", "attn_v.weight", &[Keys, Dim], AsIs),
            rule("self_attn.q_proj.bias", "attn_q.bias", &[Queries], AsIs),
            rule("self_attn.k_proj.bias", "attn_k.bias", &[Keys], AsIs),
            rule("self_attn.v_proj.bias", "attn_v.bias", &[Keys], AsIs),
            rule("self_attn.o_proj.weight", "attn_output.weight", &[Dim, Queries], AsIs),
            rule("post_attention_layernorm.weight", "ffn_norm.weight", &[Dim], AsIs),
            rule("mlp.gate_proj.weight", "ffn_gate.weight", &[Ffn, Dim], AsIs),
            rule("mlp.up_proj.weight", "ffn_up.weight", &[Ffn, Dim], AsIs),
            rule("mlp.down_proj.weight", "ffn_down.weight", &[Dim, Ffn], AsIs),
        ],
    },
    Mapping {
        arch: "gemma3",
        classes: &["Gemma3ForCausalLM", "Gemma3ForConditionalGeneration"],
        defaults: &[
            ("vocab_size", Int(262_208)), ("num_attention_heads", Int(8)), ("num_key_value_heads", Int(4)), ("head_dim", Int(256)),
            ("rms_norm_eps", Float(1e-6)), ("rope_theta", Float(1e6)), ("rope_local_base_freq", Float(1e4)),
            ("max_position_embeddings", Int(131_072)), ("sliding_window", Int(4096)), ("query_pre_attn_scalar", Int(256)),
            ("hidden_activation", Str("gelu_pytorch_tanh")), ("tie_word_embeddings", Bool(true)),
        ],
        keys: &[
            Key { gguf: "attention.sliding_window", config: "sliding_window", kind: KeyKind::Int },
            Key { gguf: "final_logit_softcapping", config: "final_logit_softcapping", kind: KeyKind::OptFloat },
        ],
        demands: &[
            Demand { key: "hidden_activation", allowed: Allowed::OneOf(&["gelu_pytorch_tanh"]) },
            Demand { key: "attn_logit_softcapping", allowed: Allowed::Nothing },
            Demand { key: "use_bidirectional_attention", allowed: Allowed::False },
        ],
        rope_types: &["linear"],
        tensors: &[
            rule("embed_tokens.weight", "token_embd.weight", &[Vocab, Dim], AsIs),
            rule("norm.weight", "output_norm.weight", &[Dim], PlusOne),
            head(),
        ],
        block: &[
            rule("input_layernorm.weight", "attn_norm.weight", &[Dim], PlusOne),
            rule("self_attn.q_proj.weight", "attn_q.weight", &[Queries, Dim], AsIs),
            rule("self_attn.k_proj.weight", "attn_k.weight", &[Keys, Dim], AsIs),
            rule("self_attn.v_proj.weight", "attn_v.weight", &[Keys, Dim], AsIs),
            rule("self_attn.q_norm.weight", "attn_q_norm.weight", &[HeadDim], PlusOne),
            rule("self_attn.k_norm.weight", "attn_k_norm.weight", &[HeadDim], PlusOne),
            rule("self_attn.o_proj.weight", "attn_output.weight", &[Dim, Queries], AsIs),
            rule("post_attention_layernorm.weight", "post_attention_norm.weight", &[Dim], PlusOne),
            rule("pre_feedforward_layernorm.weight", "ffn_norm.weight", &[Dim], PlusOne),
            rule("mlp.gate_proj.weight", "ffn_gate.weight", &[Ffn, Dim], AsIs),
            rule("mlp.up_proj.weight", "ffn_up.weight", &[Ffn, Dim], AsIs),
            rule("mlp.down_proj.weight", "ffn_down.weight", &[Dim, Ffn], AsIs),
            rule("post_feedforward_layernorm.weight", "post_ffw_norm.weight", &[Dim], PlusOne),
        ],
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::arch::{ARCHS, NormPlacement, QkvBiases, RopePairing};

    /// For people.
    const DOCS: &str = include_str!("../../docs/convert.md");

    #[test]
    fn every_architecture_has_a_row_that_agrees_with_its_own() {
        assert!(MAPPINGS.iter().map(|m| m.arch).eq(ARCHS.iter().map(|a| a.name)));
        for (mapping, arch) in MAPPINGS.iter().zip(ARCHS) {
            let rule = |to: &str| mapping.block.iter().find(|rule| rule.to == to);
            // Checkpoints rotate halves.
            let permuted = arch.rope_pairing == RopePairing::Adjacent;
            for part in ["attn_q", "attn_k"] {
                let how = rule(&format!("{part}.weight")).unwrap().how;
                assert_eq!(how == HalvesToNeighbours, permuted, "{} {part}", arch.name);
                let bias = rule(&format!("{part}.bias"));
                assert_eq!(
                    bias.is_some_and(|r| r.presence == Presence::Required),
                    arch.qkv_biases == QkvBiases::Required
                );
                assert!(bias.is_none_or(|bias| bias.how == how), "{} {part}", arch.name);
                assert_eq!(rule(&format!("{part}_norm.weight")).is_some(), arch.qk_norm, "{} {part}", arch.name);
            }
            let is_told = |rule: &Rule| DOCS.contains(&format!("| `{}` | `{}` |", rule.from, rule.to));
            let untold = mapping.tensors.iter().chain(mapping.block).find(|rule| !is_told(rule));
            assert!(untold.is_none(), "docs/convert.md does not tell {}", untold.map_or("", |rule| rule.from));
            let post = arch.norm_placement == NormPlacement::PreAndPost;
            assert_eq!(rule("post_ffw_norm.weight").is_some(), post, "{}", arch.name);
        }
    }
}
