//! The truth that fidelity is measured against: a model evaluated from the float32 values of its dequantized weights.
//!
//! Slow and simple on purpose. The weights are exactly the file's ([`crate::quant`]); all arithmetic on them is float64, so
//! that no order of summation, approximation or rounding of activations is left to argue about; logits are rounded to
//! float32 at the end. There is no cache: every call evaluates its tokens from position 0. Nothing of the kernels, the packed
//! weights or the sessions is used, only the architecture's description.
//!
//! A tensor of the file that the evaluation would leave out is an error: the truth ignores nothing.
//!
//! `matrix.rs` holds the weights and their products, `layer.rs` a layer, `ops.rs` the steps between the products.

mod layer;
mod matrix;
mod ops;

use crate::error::{Result, bail};
use crate::eval::{LogitSource, check_positions};
use crate::gguf::Gguf;
use crate::model::HyperParams;
use layer::Layer;
use matrix::{Matrix, Weights};
use std::ops::Range;

/// Positions whose logits are formed together: bounds the memory that a large vocabulary takes.
const LOGITS_BLOCK: usize = 64;

/// A model evaluated without any approximation. Its weights stay in the file and are dequantized row by row.
pub struct Reference<'a> {
    params: HyperParams,
    token_embd: Matrix<'a>, // (n_vocab, dim)
    layers: Vec<Layer<'a>>,
    output_norm: Vec<f32>, // (dim)
    /// (n_vocab, dim); `None` where the embedding serves as the output.
    output: Option<Matrix<'a>>,
    text: Text,
}

/// The text that logits are asked of.
#[derive(Default)]
struct Text {
    hidden: Vec<f64>, // (n_tokens, dim)
    /// Positions whose logits were given.
    n_done: usize,
    logits: Vec<f32>, // (rows of the last call, n_vocab)
}

impl<'a> Reference<'a> {
    /// Binds the tensors of a model.
    ///
    /// Errors: those of [`HyperParams::from_gguf`]; `InvalidModel` for a tensor that is missing or of another shape;
    /// `Unsupported` for a tensor type that cannot be dequantized, or a tensor that the evaluation would not use.
    pub fn new(gguf: &'a Gguf) -> Result<Self> {
        let params = HyperParams::from_gguf(gguf)?;
        let mut weights = Weights::new(gguf);
        let rope_factors = weights.opt_vector("rope_freqs.weight", params.n_rot / 2)?;
        let layer = |i| Layer::bind(&params, &mut weights, rope_factors.as_deref(), i);
        let layers = (0..params.n_blocks).map(layer).collect::<Result<_>>()?;
        let reference = Reference {
            token_embd: weights.matrix("token_embd.weight", params.n_vocab, params.dim)?,
            layers,
            output_norm: weights.vector("output_norm.weight", params.dim)?,
            output: weights.opt_matrix("output.weight", params.n_vocab, params.dim)?,
            params,
            text: Text::default(),
        };
        weights.all_used()?;
        Ok(reference)
    }

    /// The residual stream after the last layer and the last norm: (n_tokens, dim).
    ///
    /// Errors: `InvalidArgument` for a token beyond the vocabulary.
    pub fn hidden(&self, tokens: &[u32]) -> Result<Vec<f64>> {
        self.hidden_with(tokens, &mut |_, _| {})
    }

    /// [`hidden`](Self::hidden) that tells `each_input` what goes into the products of the layers: the name of the tensor, the first
    /// of those that share the input, and (n_tokens, k) values.
    pub fn hidden_with(&self, tokens: &[u32], each_input: &mut dyn FnMut(&str, &[f64])) -> Result<Vec<f64>> {
        let mut x = self.embed(tokens)?;
        for layer in &self.layers {
            let attended = layer.attend(&self.params, &x, each_input)?;
            ops::add(&mut x, &attended);
            let fed = layer.feed_forward(&self.params, &x, each_input)?;
            ops::add(&mut x, &fed);
        }
        ops::rms_norm(&mut x, &self.output_norm, self.params.rms_eps.into());
        Ok(x)
    }

    /// (n_tokens, dim)
    fn embed(&self, tokens: &[u32]) -> Result<Vec<f64>> {
        let scale = f64::from(self.params.embedding_scale());
        let mut x = Vec::with_capacity(tokens.len() * self.params.dim);
        for &token in tokens {
            if token as usize >= self.params.n_vocab {
                bail!(InvalidArgument, "token {token} is beyond the vocabulary of {}", self.params.n_vocab);
            }
            x.extend(self.token_embd.row(token as usize)?.iter().map(|&w| f64::from(w) * scale));
        }
        Ok(x)
    }
}

impl LogitSource for Reference<'_> {
    fn n_vocab(&self) -> usize {
        self.params.n_vocab
    }

    fn max_rows(&self) -> usize {
        LOGITS_BLOCK
    }

    fn begin(&mut self, tokens: &[u32]) -> Result<()> {
        self.text = Text { hidden: self.hidden(tokens)?, ..Text::default() };
        Ok(())
    }

    fn logits(&mut self, positions: Range<usize>) -> Result<Vec<&[f32]>> {
        let (dim, text) = (self.params.dim, &mut self.text);
        check_positions(&positions, text.n_done, text.hidden.len() / dim, LOGITS_BLOCK)?;
        let head = self.output.as_ref().unwrap_or(&self.token_embd);
        let cap = self.params.final_softcap.map(f64::from);
        let logits = head.product(&text.hidden[positions.start * dim..positions.end * dim])?;
        text.logits = logits.into_iter().map(|x| cap.map_or(x, |cap| ops::soft_cap(x, cap)) as f32).collect();
        text.n_done = positions.end;
        Ok(text.logits.chunks_exact(self.params.n_vocab).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;
    use crate::dtype::DType;
    use crate::eval::collect_logits;
    use crate::gguf::GgufBuilder;
    use std::collections::BTreeMap;

    const DIM: usize = 4;
    const EMBEDDING: [f32; 3 * DIM] = [1.0, -1.0, 1.0, 1.0, 0.0, 6.0, 0.0, 8.0, 2.0, 2.0, -2.0, 2.0];

    type Tensors = BTreeMap<String, (Vec<u64>, Vec<f32>)>;

    fn put(tensors: &mut Tensors, name: &str, shape: &[usize], values: &[f32]) {
        tensors.insert(name.to_owned(), (shape.iter().map(|&n| n as u64).collect(), values.to_vec()));
    }

    /// A llama of one layer whose projections are zero, so that only the embedding, the last norm and the output count.
    fn tensors() -> Tensors {
        let mut tensors = Tensors::new();
        put(&mut tensors, "token_embd.weight", &[DIM, 3], &EMBEDDING);
        for norm in ["output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"] {
            put(&mut tensors, &format!("{norm}.weight"), &[DIM], &[1.0; DIM]);
        }
        for part in ["attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"] {
            put(&mut tensors, &format!("blk.0.{part}.weight"), &[DIM, DIM], &[0.0; DIM * DIM]);
        }
        tensors
    }

    fn gguf(tensors: &Tensors) -> Gguf {
        let mut builder = GgufBuilder::new();
        builder.set("general.architecture", "llama").unwrap();
        for (key, value) in
            [("embedding_length", 4u32), ("block_count", 1), ("attention.head_count", 2), ("feed_forward_length", 4)]
        {
            builder.set(&format!("llama.{key}"), value).unwrap();
        }
        builder.set("llama.attention.layer_norm_rms_epsilon", 0f32).unwrap();
        for (name, (shape, _)) in tensors {
            builder.add_tensor(name, DType::F32, shape).unwrap();
        }
        let mut writer = builder.write_to(Vec::new()).unwrap();
        while let Some(name) = writer.next_tensor().map(str::to_owned) {
            let bytes: Vec<u8> = tensors[&name].1.iter().flat_map(|w| w.to_le_bytes()).collect();
            writer.write_tensor(&name, &bytes).unwrap();
        }
        Gguf::from_bytes(writer.finish().unwrap()).unwrap()
    }

    fn logits(tensors: &Tensors, tokens: &[u32]) -> Result<Vec<f32>> {
        let gguf = gguf(tensors);
        collect_logits(&mut Reference::new(&gguf)?, tokens, tokens.len() - 1..tokens.len())
    }

    #[test]
    fn without_an_output_tensor_the_embedding_is_the_output() {
        // The norm of (0, 6, 0, 8) is (0, 1.2, 0, 1.6).
        let got = logits(&tensors(), &[0, 1]).unwrap();
        assert_eq!(got, [0.4, 20.0, 5.6]);
        let mut with_output = tensors();
        put(
            &mut with_output,
            "output.weight",
            &[DIM, 3],
            &[0.0, 5.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 1.0, 0.0, 0.0, 0.0],
        );
        assert_eq!(logits(&with_output, &[0, 1]).unwrap(), [6.0, 8.0, 0.0]);
    }

    #[test]
    fn biases_enter_before_attention() {
        let mut biased = tensors();
        let mut identity = [0.0; DIM * DIM];
        (0..DIM).for_each(|i| identity[i * DIM + i] = 1.0);
        put(&mut biased, "blk.0.attn_output.weight", &[DIM, DIM], &identity);
        put(&mut biased, "blk.0.attn_v.bias", &[DIM], &[-1.0, 1.0, -1.0, -1.0]);
        put(&mut biased, "output.weight", &[DIM, 3], &identity[..3 * DIM]);
        // (2, 2, -2, 2) + (-1, 1, -1, -1), normalised: (1, 3, -3, 1) / sqrt(5)
        let got = logits(&biased, &[0, 2]).unwrap();
        let want = [1.0, 3.0, -3.0].map(|x: f32| x / 5f32.sqrt());
        assert!(got.iter().zip(want).all(|(got, want)| (got - want).abs() < 1e-6), "{got:?}");
    }

    #[test]
    fn a_tensor_that_is_missing_misshapen_or_left_over_is_refused_by_name() {
        let refused = |tensors: &Tensors, kind, name: &str| {
            let error = logits(tensors, &[0]).unwrap_err();
            assert!(error.kind() == kind && error.to_string().contains(name), "{error}");
        };
        let mut missing = tensors();
        missing.remove("blk.0.ffn_up.weight");
        refused(&missing, ErrorKind::InvalidModel, "blk.0.ffn_up.weight");
        let mut misshapen = tensors();
        put(&mut misshapen, "blk.0.attn_k.weight", &[DIM, 2], &[0.0; 2 * DIM]);
        refused(&misshapen, ErrorKind::InvalidModel, "blk.0.attn_k.weight");
        let mut left_over = tensors();
        put(&mut left_over, "blk.0.attn_q_norm.weight", &[2], &[1.0; 2]);
        refused(&left_over, ErrorKind::Unsupported, "blk.0.attn_q_norm.weight");
    }

    #[test]
    fn foreign_tokens_and_positions_are_refused() {
        let gguf = gguf(&tensors());
        let mut reference = Reference::new(&gguf).unwrap();
        for (tokens, positions) in [(&[3][..], 0..1), (&[0], 0..2), (&[0], 1..1)] {
            let error = collect_logits(&mut reference, tokens, positions).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}
