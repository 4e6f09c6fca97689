//! The forward pass, once for every architecture and every machine (Vaswani et al. 2017, Touvron et al. 2023).
//!
//! ```text
//! x = embed(tokens)
//! for each block:   q, k, v = norm(x) * W;  rotate q, k;  store k, v
//!                   x += attention(q) * Wo
//!                   x += (gate(norm(x) * Wg) * (norm(x) * Wu)) * Wd
//! logits = norm(x) * output                  for the rows whose logits are wanted
//! ```
//!
//! An addition to `x` happens together with the norm that follows it.

use super::scratch::Scratch;
use crate::backend::{Attention, Backend, Delta, Norm, Ops, Projection, RowSet, Run};
use crate::model::{HyperParams, Weights};

/// One chunk of a batch.
pub(super) struct Pass<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Position of each row.
    pub positions: &'a [u32],
    /// The rows as runs of sequences.
    pub runs: &'a [Run],
    /// Rows whose logits are wanted.
    pub outputs: &'a [u32],
    /// Outputs of the chunks before this one.
    pub first_output: usize,
    /// Compute the logits of this chunk's and all earlier outputs.
    pub is_last: bool,
}

/// Run a pass on one worker. Ends early, with nothing promised, when the caller asked to stop.
pub(super) fn forward<B: Backend, O: Ops<B>>(
    ops: &O,
    hparams: &HyperParams,
    weights: &Weights<B>,
    s: &Scratch<B>,
    pages: &B::Pages,
    pass: &Pass<'_>,
) {
    let n = pass.tokens.len();
    let heads = hparams.heads();
    let norm = |weight| Norm { weight, eps: hparams.rms_eps, first_out: 0 };
    ops.embed(&weights.token_embd, pass.tokens, hparams.embedding_scale(), &s.x);
    ops.rope_table(&weights.rotation, pass.positions, &s.rope);
    if let Some(rotation) = &weights.rotation_sliding {
        ops.rope_table(rotation, pass.positions, &s.rope_sliding);
    }
    // What the block before has yet to add to x.
    let mut delta = None;
    for (layer, block) in weights.blocks.iter().enumerate() {
        if ops.stopped() {
            return;
        }
        ops.add_norm(RowSet::First(n), &s.x, delta, norm(&block.attn_norm), &s.input);
        ops.linear(n, &s.input, &[&block.wq, &block.wk, &block.wv], &s.qkv);
        let rope = if block.window.is_some() { &s.rope_sliding } else { &s.rope };
        let projection = Projection {
            heads,
            biases: block.qkv_biases.each_ref().map(Option::as_ref),
            norms: block.qk_norms.as_ref().map(|norms| norms.each_ref()),
            eps: hparams.rms_eps,
            rotation: (weights.rotation_of(block), rope),
        };
        ops.project(pass.runs, &s.qkv, &projection, pages, layer);
        let attention = Attention {
            heads,
            scale: hparams.attention_scale(),
            window: block.window,
            pages,
            layer,
            scratch: &s.attention,
        };
        ops.attend(pass.runs, &s.qkv, &attention, &s.attended);
        ops.linear(n, &s.attended, &[&block.wo], &s.delta);

        let attended = Delta { rows: &s.delta, norm: block.attn_post_norm.as_ref() };
        ops.add_norm(RowSet::First(n), &s.x, Some(attended), norm(&block.ffn_norm), &s.input);
        ops.gated(n, &s.input, [&block.gate, &block.up], hparams.gate(), &s.gate_up, &s.hidden);
        ops.linear(n, &s.hidden, &[&block.down], &s.delta);
        delta = Some(Delta { rows: &s.delta, norm: block.ffn_post_norm.as_ref() });
    }
    let output_norm = Norm { first_out: pass.first_output, ..norm(&weights.output_norm) };
    ops.add_norm(RowSet::Select(pass.outputs), &s.x, delta, output_norm, &s.head_input);
    let n_outputs = pass.first_output + pass.outputs.len();
    if pass.is_last && n_outputs > 0 {
        ops.linear(n_outputs, &s.head_input, &[weights.output()], &s.logits);
        if let Some(cap) = hparams.final_softcap {
            ops.softcap(n_outputs, cap, &s.logits);
        }
    }
}
