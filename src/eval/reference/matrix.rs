//! Weight matrices as the file stores them, and their products with activations in float64.

use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::{Gguf, TensorInfo};
use crate::quant;
use rayon::prelude::*;
use std::collections::HashSet;

/// Rows that one task dequantizes and multiplies.
const TASK_ROWS: usize = 256;

/// The tensors of a file by name, and which of them were taken.
pub(super) struct Weights<'a> {
    gguf: &'a Gguf,
    used: HashSet<String>,
}

impl<'a> Weights<'a> {
    pub(super) fn new(gguf: &'a Gguf) -> Self {
        Weights { gguf, used: HashSet::new() }
    }

    /// The matrix (n_rows, n_cols) of a name, or `None` if there is no such tensor.
    pub(super) fn opt_matrix(&mut self, name: &str, n_rows: usize, n_cols: usize) -> Result<Option<Matrix<'a>>> {
        let Some(info) = self.gguf.tensor(name) else { return Ok(None) };
        self.used.insert(name.to_owned());
        Matrix::new(self.gguf, info, n_rows, n_cols).map(Some)
    }

    pub(super) fn matrix(&mut self, name: &str, n_rows: usize, n_cols: usize) -> Result<Matrix<'a>> {
        match self.opt_matrix(name, n_rows, n_cols)? {
            Some(matrix) => Ok(matrix),
            None => bail!(InvalidModel, "tensor {name} is missing"),
        }
    }

    /// A vector of `len` elements.
    pub(super) fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>> {
        self.matrix(name, 1, len)?.row(0)
    }

    /// The vector of a name, or `None` if there is no such tensor.
    pub(super) fn opt_vector(&mut self, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        self.opt_matrix(name, 1, len)?.map(|matrix| matrix.row(0)).transpose()
    }

    /// The vector where the architecture has it; where it has not, the tensor must not be there ([`Self::all_used`]).
    pub(super) fn vector_if(&mut self, has: bool, name: &str, len: usize) -> Result<Option<Vec<f32>>> {
        has.then(|| self.vector(name, len)).transpose()
    }

    /// Whether every tensor of the file was taken; else an error that names the first that was not.
    pub(super) fn all_used(&self) -> Result<()> {
        match self.gguf.tensors().iter().find(|info| !self.used.contains(&info.name)) {
            Some(info) => bail!(Unsupported, "tensor {} would be ignored", info.name),
            None => Ok(()),
        }
    }
}

/// A matrix (n_rows, n_cols) in its file's format; a row is dequantized when it is needed.
pub(super) struct Matrix<'a> {
    name: &'a str,
    dtype: DType,
    bytes: &'a [u8],
    row_bytes: usize,
    n_rows: usize,
    n_cols: usize,
}

impl<'a> Matrix<'a> {
    /// A tensor of shape (n_rows, n_cols), in GGUF's order [n_cols, n_rows] or, as a vector, [n_cols].
    fn new(gguf: &'a Gguf, info: &'a TensorInfo, n_rows: usize, n_cols: usize) -> Result<Self> {
        let (name, dtype) = (&info.name, info.dtype);
        if !quant::is_supported(dtype) {
            bail!(Unsupported, "tensor {name}: type {dtype} cannot be dequantized");
        }
        let fits = match info.shape[..] {
            [cols] => n_rows == 1 && cols == n_cols as u64,
            [cols, rows] => (rows, cols) == (n_rows as u64, n_cols as u64),
            _ => false,
        };
        let bytes = gguf.tensor_data(info)?;
        match dtype.row_bytes(n_cols) {
            Some(row_bytes) if fits && row_bytes.checked_mul(n_rows) == Some(bytes.len()) => {
                Ok(Matrix { name, dtype, bytes, row_bytes, n_rows, n_cols })
            }
            _ => bail!(InvalidModel, "tensor {name} has shape {:?}, not [{n_cols}, {n_rows}]", info.shape),
        }
    }

    /// The tensor's name.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    /// Row `i` in float32.
    pub(super) fn row(&self, i: usize) -> Result<Vec<f32>> {
        let mut row = vec![0.0; self.n_cols];
        quant::dequantize(self.dtype, &self.bytes[i * self.row_bytes..][..self.row_bytes], &mut row)?;
        Ok(row)
    }

    /// x (n_tokens, n_cols) times the transpose: (n_tokens, n_rows).
    pub(super) fn product(&self, x: &[f64]) -> Result<Vec<f64>> {
        let n_tokens = x.len() / self.n_cols;
        let mut by_row = vec![0.0; self.n_rows * n_tokens]; // (n_rows, n_tokens)
        by_row.par_chunks_mut(TASK_ROWS * n_tokens).enumerate().try_for_each(|(task, out)| {
            let first = task * TASK_ROWS;
            let mut rows = Vec::with_capacity(TASK_ROWS * self.n_cols);
            for i in first..first + out.len() / n_tokens {
                rows.extend(self.row(i)?.into_iter().map(f64::from));
            }
            dot_products(&rows, x, self.n_cols, out);
            Ok(())
        })?;
        Ok(transposed(&by_row, n_tokens))
    }
}

/// The dot product of every row of a (m, k) with every row of b (n, k): (m, n).
fn dot_products(a: &[f64], b: &[f64], k: usize, out: &mut [f64]) {
    let (m, n) = (a.len() / k, b.len() / k);
    assert_eq!((a.len(), b.len(), out.len()), (m * k, n * k, m * n));
    let (k_stride, n_stride) = (k as isize, n as isize);
    // SAFETY: a is m * k, b n * k and out m * n elements, as asserted; with strides (k, 1), (1, k), (n, 1) for the (m, k),
    // (k, n) and (m, n) operands no index exceeds those, and out is not aliased because it is borrowed mutably.
    unsafe {
        let (a, b, out) = (a.as_ptr(), b.as_ptr(), out.as_mut_ptr());
        matrixmultiply::dgemm(m, k, n, 1.0, a, k_stride, 1, b, 1, k_stride, 0.0, out, n_stride, 1);
    }
}

/// (rows, cols) to (cols, rows).
fn transposed(x: &[f64], cols: usize) -> Vec<f64> {
    let rows = x.len() / cols;
    let mut out = vec![0.0; x.len()];
    out.par_chunks_mut(rows).enumerate().for_each(|(c, out)| {
        out.iter_mut().enumerate().for_each(|(r, out)| *out = x[r * cols + c]);
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_the_sum_over_the_columns() {
        // 70 rows of 3 columns: more than one task, the last one short.
        let weights: Vec<f32> = (0..210).map(|i| (i * i % 17) as f32 - 8.0).collect();
        let bytes: Vec<u8> = weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let matrix = Matrix { name: "m", dtype: DType::F32, bytes: &bytes, row_bytes: 12, n_rows: 70, n_cols: 3 };
        let x: Vec<f64> = (0..15).map(f64::from).collect();
        let got = matrix.product(&x).unwrap();
        assert_eq!(got.len(), 5 * 70);
        for (at, got) in got.iter().enumerate() {
            let (t, i) = (at / 70, at % 70);
            let want: f64 = (0..3).map(|k| x[t * 3 + k] * f64::from(weights[i * 3 + k])).sum();
            assert_eq!(*got, want, "token {t} row {i}");
        }
    }
}
