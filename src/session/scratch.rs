//! The buffers of a session: one list of shapes, from which they are allocated and their size is predicted.

use super::SessionOptions;
use crate::backend::{Backend, Footprint, RowsUse};
use crate::error::Result;
use crate::model::HyperParams;

/// Rows of a pass, `(n_batch, n)` unless said otherwise.
pub(super) struct Scratch<B: Backend> {
    pub x: B::Rows,            // dim: the residual
    pub input: B::Rows,        // dim: normalised, input of products
    pub qkv: B::Rows,          // queries, keys, values, each from a multiple of 16 on
    pub attended: B::Rows,     // n_heads * head_dim
    pub delta: B::Rows,        // dim: what is added to the residual
    pub gate_up: B::Rows,      // 2 * ffn_dim, each half from a multiple of 16 on; on a GPU alone
    pub hidden: B::Rows,       // ffn_dim
    pub rope: B::Rows,         // n_rot: cosines, then sines
    pub rope_sliding: B::Rows, // the same for blocks with a sliding window
    pub head_input: B::Rows,   // (max_outputs, dim)
    pub logits: B::Rows,       // (max_outputs, n_vocab)
    pub attention: B::AttentionScratch,
    pub top: B::Top, // max_outputs: the largest logits
}

/// Capacity, length and use of rows.
type Shape = (usize, usize, RowsUse);

/// The shapes, in the order of the fields.
fn shapes(h: &HyperParams, options: &SessionOptions) -> [Shape; 11] {
    use RowsUse::{GateScratch, PortableInput, ProductInput, Values};
    let rows = options.n_batch;
    let panel = |n: usize| n.next_multiple_of(16);
    let n_rot_sliding = if h.sliding_window.is_some() { h.n_rot } else { 0 };
    [
        (rows, h.dim, Values),
        (rows, h.dim, ProductInput),
        (rows, panel(h.q_dim()) + 2 * panel(h.kv_dim()), Values),
        (rows, h.q_dim(), ProductInput),
        (rows, h.dim, Values),
        (rows, 2 * panel(h.ffn_dim), GateScratch),
        (rows, h.ffn_dim, ProductInput),
        (rows, h.n_rot, Values),
        (rows, n_rot_sliding, Values),
        (options.max_outputs, h.dim, PortableInput),
        (options.max_outputs, h.n_vocab, Values),
    ]
}

impl<B: Backend> Scratch<B> {
    pub fn new(backend: &B, h: &HyperParams, options: &SessionOptions) -> Result<Scratch<B>> {
        let mut shapes = shapes(h, options).into_iter();
        let mut next = || {
            let (capacity, n, usage) = shapes.next().unwrap_or((0, 0, RowsUse::Values));
            backend.rows(capacity, n, usage)
        };
        Ok(Scratch {
            x: next()?,
            input: next()?,
            qkv: next()?,
            attended: next()?,
            delta: next()?,
            gate_up: next()?,
            hidden: next()?,
            rope: next()?,
            rope_sliding: next()?,
            head_input: next()?,
            logits: next()?,
            attention: backend.attention_scratch(h.heads(), options.n_ctx)?,
            top: backend.top(options.max_outputs, h.n_vocab)?,
        })
    }
}

/// Bytes that a session's buffers take on a kind of machine.
pub(super) fn scratch_bytes<F: Footprint>(h: &HyperParams, options: &SessionOptions, n_workers: usize) -> u64 {
    let rows: u64 = shapes(h, options).into_iter().map(|(capacity, n, usage)| F::rows_bytes(capacity, n, usage)).sum();
    [F::attention_scratch_bytes(h.heads(), options.n_ctx, n_workers), F::top_bytes(options.max_outputs, h.n_vocab)]
        .into_iter()
        .fold(rows, u64::saturating_add)
}
