//! One layer: attention and the gated feed-forward network, each with its norms.

use super::matrix::{Matrix, Weights};
use super::ops::{self, Attention};
use crate::error::Result;
use crate::model::HyperParams;
use crate::model::arch::{Activation, NormPlacement, QkvBiases, RopePairing};

/// The weights of one layer, and what distinguishes it from the others. `q_dim = n_heads * head_dim`,
/// `kv_dim = n_kv_heads * head_dim`.
pub(super) struct Layer<'a> {
    attn_norm: Vec<f32>,                   // (dim)
    attn_q: Matrix<'a>,                    // (q_dim, dim)
    attn_k: Matrix<'a>,                    // (kv_dim, dim)
    attn_v: Matrix<'a>,                    // (kv_dim, dim)
    attn_q_bias: Option<Vec<f32>>,         // (q_dim)
    attn_k_bias: Option<Vec<f32>>,         // (kv_dim)
    attn_v_bias: Option<Vec<f32>>,         // (kv_dim)
    attn_q_norm: Option<Vec<f32>>,         // (head_dim)
    attn_k_norm: Option<Vec<f32>>,         // (head_dim)
    attn_output: Matrix<'a>,               // (dim, q_dim)
    post_attention_norm: Option<Vec<f32>>, // (dim)
    ffn_norm: Vec<f32>,                    // (dim)
    ffn_gate: Matrix<'a>,                  // (ffn_dim, dim)
    ffn_up: Matrix<'a>,                    // (ffn_dim, dim)
    ffn_down: Matrix<'a>,                  // (dim, ffn_dim)
    post_ffw_norm: Option<Vec<f32>>,       // (dim)
    attention: Attention,
    /// Radians per position of every rotated pair.
    rope_frequencies: Vec<f64>, // (n_rot / 2)
}

impl<'a> Layer<'a> {
    /// Binds layer `i`. `rope_factors` (n_rot / 2) divide the frequencies of the layers that see everything.
    pub(super) fn bind(
        params: &HyperParams,
        weights: &mut Weights<'a>,
        rope_factors: Option<&[f32]>,
        i: usize,
    ) -> Result<Self> {
        let name = |part: &str| format!("blk.{i}.{part}.weight");
        let (dim, head_dim, ffn_dim) = (params.dim, params.head_dim, params.ffn_dim);
        let (q_dim, kv_dim) = (params.q_dim(), params.kv_dim());
        let qk_norm = params.arch.qk_norm;
        let post = params.arch.norm_placement == NormPlacement::PreAndPost;
        let bias = |weights: &mut Weights<'a>, part: &str, len: usize| {
            let name = format!("blk.{i}.{part}.bias");
            match params.arch.qkv_biases {
                QkvBiases::Required => weights.vector(&name, len).map(Some),
                QkvBiases::Optional => weights.opt_vector(&name, len),
            }
        };
        Ok(Layer {
            attn_norm: weights.vector(&name("attn_norm"), dim)?,
            attn_q: weights.matrix(&name("attn_q"), q_dim, dim)?,
            attn_k: weights.matrix(&name("attn_k"), kv_dim, dim)?,
            attn_v: weights.matrix(&name("attn_v"), kv_dim, dim)?,
            attn_q_bias: bias(weights, "attn_q", q_dim)?,
            attn_k_bias: bias(weights, "attn_k", kv_dim)?,
            attn_v_bias: bias(weights, "attn_v", kv_dim)?,
            attn_q_norm: weights.vector_if(qk_norm, &name("attn_q_norm"), head_dim)?,
            attn_k_norm: weights.vector_if(qk_norm, &name("attn_k_norm"), head_dim)?,
            attn_output: weights.matrix(&name("attn_output"), dim, q_dim)?,
            post_attention_norm: weights.vector_if(post, &name("post_attention_norm"), dim)?,
            ffn_norm: weights.vector(&name("ffn_norm"), dim)?,
            ffn_gate: weights.matrix(&name("ffn_gate"), ffn_dim, dim)?,
            ffn_up: weights.matrix(&name("ffn_up"), ffn_dim, dim)?,
            ffn_down: weights.matrix(&name("ffn_down"), dim, ffn_dim)?,
            post_ffw_norm: weights.vector_if(post, &name("post_ffw_norm"), dim)?,
            attention: attention(params, i),
            rope_frequencies: rope_frequencies(params, rope_factors, i),
        })
    }

    /// Attention with its norms, residual not included: x (n_tokens, dim) to the same.
    pub(super) fn attend(
        &self,
        params: &HyperParams,
        x: &[f64],
        each_input: &mut dyn FnMut(&str, &[f64]),
    ) -> Result<Vec<f64>> {
        let x = normed(params, x.to_vec(), Some(&self.attn_norm));
        each_input(self.attn_q.name(), &x);
        let q = biased(self.attn_q.product(&x)?, self.attn_q_bias.as_deref());
        let k = biased(self.attn_k.product(&x)?, self.attn_k_bias.as_deref());
        let v = biased(self.attn_v.product(&x)?, self.attn_v_bias.as_deref());
        let q = normed(params, q, self.attn_q_norm.as_deref());
        let k = normed(params, k, self.attn_k_norm.as_deref());
        let (q, k) = (self.rotated(params, q, params.n_heads), self.rotated(params, k, params.n_kv_heads));
        let attended = self.attention.run(&q, &k, &v);
        each_input(self.attn_output.name(), &attended);
        let out = self.attn_output.product(&attended)?;
        Ok(normed(params, out, self.post_attention_norm.as_deref()))
    }

    /// The gated feed-forward network with its norms, residual not included: x (n_tokens, dim) to the same.
    pub(super) fn feed_forward(
        &self,
        params: &HyperParams,
        x: &[f64],
        each_input: &mut dyn FnMut(&str, &[f64]),
    ) -> Result<Vec<f64>> {
        let x = normed(params, x.to_vec(), Some(&self.ffn_norm));
        each_input(self.ffn_gate.name(), &x);
        let (mut gate, up) = (self.ffn_gate.product(&x)?, self.ffn_up.product(&x)?);
        let activation = match params.arch.activation {
            Activation::Silu => ops::silu,
            Activation::GeluTanh => ops::gelu_tanh,
        };
        gate.iter_mut().zip(up).for_each(|(gate, up)| *gate = activation(*gate) * up);
        each_input(self.ffn_down.name(), &gate);
        Ok(normed(params, self.ffn_down.product(&gate)?, self.post_ffw_norm.as_deref()))
    }

    /// x (n_tokens, n_heads * head_dim) turned by the tokens' positions.
    fn rotated(&self, params: &HyperParams, mut x: Vec<f64>, n_heads: usize) -> Vec<f64> {
        let n_pairs = self.rope_frequencies.len();
        let pair = |i| match params.arch.rope_pairing {
            RopePairing::Adjacent => (2 * i, 2 * i + 1),
            RopePairing::HalfSplit => (i, i + n_pairs),
        };
        for (at, head) in x.chunks_exact_mut(params.head_dim).enumerate() {
            ops::rope(head, at / n_heads, &self.rope_frequencies, pair);
        }
        x
    }
}

/// `x`, normalised where there is a weight.
fn normed(params: &HyperParams, mut x: Vec<f64>, weight: Option<&[f32]>) -> Vec<f64> {
    if let Some(weight) = weight {
        ops::rms_norm(&mut x, weight, params.rms_eps.into());
    }
    x
}

/// `x` (n_tokens, bias.len()), plus the bias where there is one.
fn biased(mut x: Vec<f64>, bias: Option<&[f32]>) -> Vec<f64> {
    if let Some(bias) = bias {
        let each = x.chunks_exact_mut(bias.len()).flat_map(|x| x.iter_mut().zip(bias));
        each.for_each(|(x, &b)| *x += f64::from(b));
    }
    x
}

fn attention(params: &HyperParams, layer: usize) -> Attention {
    Attention {
        n_heads: params.n_heads,
        n_kv_heads: params.n_kv_heads,
        head_dim: params.head_dim,
        scale: params.attention_scale().into(),
        window: params.window_of(layer),
    }
}

/// `theta^(-2i / n_rot)` for pair i, times the scale of the positions, divided by the pair's factor where there are factors.
fn rope_frequencies(params: &HyperParams, factors: Option<&[f32]>, layer: usize) -> Vec<f64> {
    let (rope, factors) = match params.window_of(layer) {
        Some(_) => (params.rope_sliding, None),
        None => (params.rope, factors),
    };
    let frequency = |i: usize| {
        let base = f64::from(rope.theta).powf(-2.0 * i as f64 / params.n_rot as f64);
        base * f64::from(rope.position_scale) / factors.map_or(1.0, |factors| f64::from(factors[i]))
    };
    (0..params.n_rot / 2).map(frequency).collect()
}
