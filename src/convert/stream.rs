//! One tensor from the checkpoint into the file, in pieces of whole rows on all threads.

use half::f16;
use rayon::prelude::*;
use safetensors::Dtype;
use twox_hash::XxHash3_128;

use super::checkpoint::Checkpoint;
use super::mapping::How;
use super::scales::decode;
use super::tensors::{Piece, Planned, Source};
use crate::error::Result;
use crate::quant;

/// Values decoded at a time: what bounds the memory.
const BATCH_ELEMS: usize = 4 << 20;
/// Values that one task decodes and encodes.
const TASK_ELEMS: usize = 64 << 10;
/// Bytes hashed before their pages are given back.
const HASH_BYTES: usize = 16 << 20;

/// Takes bytes of the file in order.
pub(super) type Put<'a> = &'a mut dyn FnMut(&[u8]) -> Result<()>;

/// Gives the bytes of a tensor to `put`.
pub(super) fn stream(checkpoint: &Checkpoint, tensor: &Planned, put: Put<'_>) -> Result<()> {
    match &tensor.source {
        Source::Computed(values) => put(&values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
        Source::Stored(piece) => {
            let rows = Rows::new(checkpoint, tensor, piece);
            rows.stream(put).map_err(|e| e.within(format_args!("tensor {}", piece.name)))
        }
    }
}

/// A hash of what a tensor is made from.
pub(super) fn mark(checkpoint: &Checkpoint, tensor: &Planned) -> u128 {
    let mut hash = XxHash3_128::new();
    match &tensor.source {
        Source::Computed(values) => values.iter().for_each(|x| hash.write(&x.to_le_bytes())),
        Source::Stored(piece) => {
            let mut at = 0;
            for bytes in checkpoint.bytes(&piece.stored).chunks(HASH_BYTES) {
                hash.write(bytes);
                checkpoint.release(&piece.stored, at..at + bytes.len());
                at += bytes.len();
            }
        }
    }
    hash.finish_128()
}

/// A tensor as rows: a matrix's, a whole vector, or single elements of a vector whose elements change places.
struct Rows<'a> {
    checkpoint: &'a Checkpoint,
    tensor: &'a Planned,
    piece: &'a Piece,
    n_rows: usize,
    k: usize,
    /// Bytes of a row in the checkpoint and in the file.
    from_bytes: usize,
    to_bytes: usize,
}

impl<'a> Rows<'a> {
    fn new(checkpoint: &'a Checkpoint, tensor: &'a Planned, piece: &'a Piece) -> Rows<'a> {
        let (n_rows, k) = match piece.stored.shape[..] {
            [n_rows, k] => (n_rows, k),
            _ if piece.how == How::HalvesToNeighbours => (piece.stored.n_elems(), 1),
            _ => (1, piece.stored.n_elems()),
        };
        // The plan has chosen a format that rows are whole blocks of.
        let to_bytes = k / tensor.dtype.block_len() * tensor.dtype.block_bytes();
        let from_bytes = piece.stored.n_bytes() / n_rows;
        Rows { checkpoint, tensor, piece, n_rows, k, from_bytes, to_bytes }
    }

    fn stream(&self, put: Put<'_>) -> Result<()> {
        let batch_rows = (BATCH_ELEMS / self.k).max(self.piece.head_dim).min(self.n_rows);
        let mut out = vec![0; batch_rows * self.to_bytes];
        for first in (0..self.n_rows).step_by(batch_rows) {
            let n_rows = batch_rows.min(self.n_rows - first);
            let out = &mut out[..n_rows * self.to_bytes];
            self.convert(first, out)?;
            // A row comes from the same head, and heads that straddle two batches are read again.
            self.checkpoint.release(&self.piece.stored, first * self.from_bytes..(first + n_rows) * self.from_bytes);
            put(out)?;
        }
        Ok(())
    }

    /// Converts the rows from `first` on that fill `out`.
    fn convert(&self, first: usize, out: &mut [u8]) -> Result<()> {
        let task_rows = (TASK_ELEMS / self.k).max(1);
        let tasks = out.par_chunks_mut(task_rows * self.to_bytes).enumerate();
        tasks.try_for_each(|(task, out)| {
            let first = first + task * task_rows;
            let mut values = vec![0.0; out.len() / self.to_bytes * self.k];
            for (i, row) in values.chunks_exact_mut(self.k).enumerate() {
                self.read(first + i, row)?;
            }
            let in_row = |e: crate::Error| e.within(format_args!("from row {first} on"));
            quant::quantize(self.tensor.dtype, &values, self.k, None, out).map_err(in_row)
        })
    }

    /// The values of row `r` of the file.
    fn read(&self, r: usize, row: &mut [f32]) -> Result<()> {
        let Piece { stored, scales, how, head_dim, .. } = self.piece;
        let from = match how {
            How::HalvesToNeighbours => half_of_neighbour(r, *head_dim),
            _ => r,
        };
        let bytes = &self.checkpoint.bytes(stored)[from * self.from_bytes..][..self.from_bytes];
        decode(stored.dtype, bytes, row)?;
        if let Some(scales) = scales {
            scales.apply(from, row);
        }
        if *how == How::PlusOne {
            // In the checkpoint's precision where that is a type of its own, as the reference does.
            let round = |x: f32| if stored.dtype == Dtype::F16 { f16::from_f32(x).to_f32() } else { x };
            row.iter_mut().for_each(|w| *w = round(*w + 1.0));
        }
        Ok(())
    }
}

/// The row of the checkpoint that becomes row `r`, see [`How::HalvesToNeighbours`].
fn half_of_neighbour(r: usize, head_dim: usize) -> usize {
    let (head, i) = (r / head_dim, r % head_dim);
    head * head_dim + i % 2 * (head_dim / 2) + i / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_each_head_become_neighbours() {
        let from: Vec<usize> = (0..12).map(|r| half_of_neighbour(r, 6)).collect();
        assert_eq!(from, [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]);
    }
}
