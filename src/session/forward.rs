//! The forward pass, once for every architecture and every machine (Vaswani et al. 2017, Touvron et al. 2023).
//!
//! ```text
//! x = embed(tokens)
//! for each block:   q, k, v = norm(x) * W;  rotate q, k;  store k, v
//!                   x += attention(q) * Wo
//!                   x += (gate(norm(x) * Wg) * (norm(x) * Wu)) * Wd
//! hidden = norm(x)                           for the rows whose results are wanted
//! logits = hidden * output                   if logits are what is wanted: all, or the largest
//! ```
//!
//! The last block keeps only those rows from its attention on.
//!
//! A product that is added to `x` is one operation with the norm that follows it. Where blocks are on two machines a pass has stages,
//! and `x` goes from one to the next.

use super::batch::TopLogits;
use super::scratch::Scratch;
use crate::backend::{Attention, Backend, Gated, Norm, Ops, Projection, Residual, RowSet, Run};
use crate::model::{HyperParams, Stage, Weights};

/// One chunk of a batch.
pub(super) struct Pass<'a> {
    /// Token of each row.
    pub tokens: &'a [u32],
    /// Position of each row.
    pub positions: &'a [u32],
    /// The rows as runs of sequences.
    pub runs: &'a [Run],
    /// Rows whose results are wanted.
    pub outputs: &'a [u32],
    /// Where they go.
    pub goal: Goal,
}

/// What becomes of the hidden states of a chunk's outputs, which the last norm leaves.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    /// They go to `head_input`, behind those of the chunks before; after the last chunk the logits of all are formed.
    Logits { first_output: usize, is_last: bool, top: Option<TopLogits> },
    /// They stay in `input`, from row 0 on.
    Hidden,
}

/// Run a stage of a pass on one worker. Ends early, with nothing promised, when the caller asked to stop.
pub(super) fn forward<B: Backend, O: Ops<B>>(
    ops: &O,
    stage: &Stage,
    hparams: &HyperParams,
    weights: &Weights<B>,
    s: &Scratch<B>,
    pages: &B::Pages,
    pass: &Pass<'_>,
) {
    let mut n = pass.tokens.len();
    let mut outputs = RowSet::Select(pass.outputs);
    let heads = hparams.heads();
    if stage.is_first {
        ops.embed(&weights.token_embd, pass.tokens, hparams.embedding_scale(), &s.x);
    }
    let blocks = &weights.blocks[stage.blocks.clone()];
    if !blocks.is_empty() {
        ops.rope_table(&weights.rotation, pass.positions, &s.rope);
        if let Some(rotation) = &weights.rotation_sliding {
            ops.rope_table(rotation, pass.positions, &s.rope_sliding);
        }
    }
    let norm = |n, weight| Norm { rows: RowSet::First(n), weight, eps: hparams.rms_eps, out: &s.input, first_out: 0 };
    let (out, first_out) = match pass.goal {
        Goal::Logits { first_output, .. } => (&s.head_input, first_output),
        Goal::Hidden => (&s.input, 0),
    };
    // The norm before a block of this stage, or behind the last one.
    let norm_before = |layer: usize, n: usize, outputs| match (blocks.get(layer), blocks.last()) {
        (Some(block), _) => norm(n, &block.attn_norm),
        // The next machine goes on with `x` and forms its own norm; of this one nothing is read.
        (None, Some(last)) if !stage.is_last => norm(n, &last.ffn_norm),
        (None, _) => Norm { rows: outputs, out, first_out, ..norm(n, &weights.output_norm) },
    };
    ops.norm(&s.x, &norm_before(0, n, outputs));
    for (layer, block) in blocks.iter().enumerate() {
        if ops.stopped() {
            return;
        }
        ops.linear(n, &s.input, &[&block.wq, &block.wk, &block.wv], &s.qkv);
        let rope = if block.window.is_some() { &s.rope_sliding } else { &s.rope };
        let projection = Projection {
            heads,
            biases: block.qkv_biases.each_ref().map(Option::as_ref),
            norms: block.qk_norms.as_ref().map(|norms| norms.each_ref()),
            eps: hparams.rms_eps,
            rotation: (weights.rotation_of(block), rope),
        };
        let attention = Attention {
            heads,
            scale: hparams.attention_scale(),
            window: block.window,
            pages,
            layer,
            scratch: &s.attention,
        };
        ops.attend(pass.runs, &s.qkv, &projection, &attention, &s.attended);
        // What follows in the last block, nobody reads but the outputs.
        let is_end = stage.is_last && layer + 1 == blocks.len();
        if is_end && pass.outputs.len() < n && ops.select(pass.outputs, &s.x, &s.attended) {
            n = pass.outputs.len();
            outputs = RowSet::First(n);
        }
        if n == 0 {
            break;
        }
        let attended =
            Residual { input: &s.attended, weight: &block.wo, product: &s.delta, norm: block.attn_post_norm.as_ref() };
        ops.add_product(n, &s.x, &attended, &norm(n, &block.ffn_norm));

        let unit = Gated {
            input: &s.input,
            weights: [&block.gate, &block.up],
            gate: hparams.gate(),
            scratch: &s.gate_up,
            out: &s.hidden,
            reader: &block.down,
        };
        ops.gated(n, &unit);
        let fed =
            Residual { input: &s.hidden, weight: &block.down, product: &s.delta, norm: block.ffn_post_norm.as_ref() };
        ops.add_product(n, &s.x, &fed, &norm_before(layer + 1, n, outputs));
    }
    if !stage.is_last {
        ops.publish(n, &s.x);
        return;
    }
    let n_outputs = first_out + pass.outputs.len();
    ops.publish(n_outputs, out);
    if let Goal::Logits { is_last: true, top, .. } = pass.goal
        && n_outputs > 0
    {
        ops.linear(n_outputs, &s.head_input, &[weights.output()], &s.logits);
        if let Some(cap) = hparams.final_softcap {
            ops.softcap(n_outputs, cap, &s.logits);
        }
        match top {
            Some(TopLogits { n, n_vocab }) => ops.find_top(n_outputs, n_vocab, n, &s.logits, &s.top),
            None => ops.publish(n_outputs, &s.logits),
        }
    }
}
