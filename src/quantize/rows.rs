//! One tensor, in pieces of whole rows on all threads.
//!
//! While one piece is written, the next is made; so a tensor of any size takes two pieces of memory, and the input's pages are
//! given back behind.

use rayon::ThreadPool;
use rayon::prelude::*;
use std::ops::Range;
use twox_hash::XxHash3_128;

use super::{Counts, NonFinite};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::TensorBytes;
use crate::quant;

/// Weights of a piece, and of what one thread takes at once; a row may have more.
const PIECE_ELEMS: usize = 4 << 20;
const TASK_ELEMS: usize = 64 << 10;

/// A tensor to be encoded, or copied.
pub(super) struct Rows<'a> {
    pub bytes: TensorBytes,
    pub from: DType,
    pub to: DType,
    /// Elements of a row, rows, and rows of each matrix of a tensor of more than two dimensions.
    pub k: usize,
    pub n_rows: usize,
    pub matrix_rows: usize,
    /// (k) for all rows, or (n_rows / matrix_rows, k).
    pub importance: Option<&'a [f32]>,
    pub non_finite: NonFinite,
    /// What encodes. The bytes are written, and progress is told, on the thread of the call.
    pub pool: &'a ThreadPool,
}

/// What a pass over a tensor found: its values, and the hash of its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Seen {
    pub counts: Counts,
    pub hash: u128,
}

/// A piece that is ready to be written.
struct Piece {
    /// Its bytes in the input; where the host reads the file, a copy.
    range: Range<usize>,
    read: Option<Vec<u8>>,
    /// Its bytes in the output; `None` if those of the input are.
    made: Option<Vec<u8>>,
    counts: Counts,
}

impl Rows<'_> {
    /// Gives the tensor's bytes in the new format to `write`, in order.
    pub fn encode(&self, mut write: impl FnMut(&[u8]) -> Result<()>) -> Result<Seen> {
        self.pass(true, |piece, source| write(piece.made.as_deref().unwrap_or(source)))
    }

    /// What [`encode`](Self::encode) would find, without encoding.
    pub fn look(&self, mut go_on: impl FnMut(usize) -> Result<()>) -> Result<Seen> {
        self.pass(false, |_, source| go_on(source.len()))
    }

    fn pass(&self, encode: bool, mut each: impl FnMut(&Piece, &[u8]) -> Result<()>) -> Result<Seen> {
        self.check()?;
        let piece_rows = (PIECE_ELEMS / self.k.max(1)).max(1);
        let mut hash = XxHash3_128::new();
        let mut counts = Counts::default();
        let mut next_row = piece_rows.min(self.n_rows);
        let mut piece = Some(self.pool.install(|| self.piece(0..next_row, encode))?);
        while let Some(ready) = piece.take() {
            let rows = next_row..(next_row + piece_rows).min(self.n_rows);
            next_row = rows.end;
            let mut next = None;
            self.pool.in_place_scope(|scope| {
                scope.spawn(|_| next = (!rows.is_empty()).then(|| self.piece(rows, encode)));
                let source = self.source(&ready.range, &ready.read);
                hash.write(source);
                each(&ready, source)?;
                self.bytes.release(ready.range.clone());
                Ok(())
            })?;
            counts.add(ready.counts);
            piece = next.transpose()?;
        }
        Ok(Seen { counts, hash: hash.finish_128() })
    }

    fn check(&self) -> Result<()> {
        let n_matrices = self.n_rows / self.matrix_rows.max(1);
        let Some(importance) = self.importance else { return Ok(()) };
        if importance.len() != self.k && importance.len() != self.k * n_matrices {
            bail!(
                InvalidArgument,
                "the importance has {} columns, but the tensor {} matrices of {}",
                importance.len(),
                n_matrices,
                self.k
            );
        }
        Ok(())
    }

    fn source<'b>(&'b self, range: &Range<usize>, read: &'b Option<Vec<u8>>) -> &'b [u8] {
        match (read, self.bytes.in_memory()) {
            (Some(bytes), _) => bytes,
            (None, bytes) => bytes.and_then(|bytes| bytes.get(range.clone())).unwrap_or(&[]),
        }
    }

    /// Whether the output's bytes are those of the input. Floats that are to be repaired may differ.
    fn is_copied(&self) -> bool {
        let may_change =
            self.non_finite == NonFinite::Repair && self.from.block_len() == 1 && quant::is_supported(self.from);
        self.from == self.to && !may_change
    }

    fn piece(&self, rows: Range<usize>, encode: bool) -> Result<Piece> {
        let (from_bytes, to_bytes) = (self.row_bytes(self.from)?, self.row_bytes(self.to)?);
        let range = rows.start * from_bytes..rows.end * from_bytes;
        let read = match self.bytes.in_memory() {
            Some(_) => None,
            None => {
                let mut bytes = vec![0; range.len()];
                self.bytes.read(range.start, &mut bytes)?;
                Some(bytes)
            }
        };
        let source = self.source(&range, &read);
        if !quant::is_supported(self.from) {
            // Integers: there is nothing to be found in them.
            return Ok(Piece { range, read, made: None, counts: Counts::default() });
        }
        let task_rows = (TASK_ELEMS / self.k.max(1)).max(1);
        let encode = encode && !self.is_copied();
        let mut made = vec![0; if encode { rows.len() * to_bytes } else { 0 }];
        // A chunk of nothing for every task that encodes nothing.
        let outs: Vec<&mut [u8]> = if encode {
            made.chunks_mut(task_rows * to_bytes).collect()
        } else {
            (0..rows.len().div_ceil(task_rows)).map(|_| Default::default()).collect()
        };
        let tasks = source.par_chunks(task_rows * from_bytes).zip(outs).enumerate();
        let done: Vec<Result<Counts>> = tasks
            .map_init(Vec::new, |values, (i, (source, out))| {
                values.resize(source.len() / from_bytes * self.k, 0f32);
                self.task(rows.start + i * task_rows, source, values, out)
            })
            .collect();
        let mut counts = Counts::default();
        for task in done {
            counts.add(task?);
        }
        Ok(Piece { range, read, made: encode.then_some(made), counts })
    }

    /// Decodes, looks at and encodes the rows from `first_row` on; nothing is encoded where `out` is empty.
    fn task(&self, first_row: usize, source: &[u8], values: &mut [f32], out: &mut [u8]) -> Result<Counts> {
        quant::dequantize(self.from, source, values)?;
        let mut counts = Counts::default();
        for (i, row) in values.chunks_mut(self.k).enumerate() {
            counts.take_row((first_row + i) as u64, row, self.to, self.non_finite);
        }
        let is_refused = self.non_finite == NonFinite::Refuse && counts.n_bad() > 0;
        if out.is_empty() || is_refused {
            return Ok(counts); // what is wrong is said when all of the tensor was looked at
        }
        let to_bytes = self.row_bytes(self.to)?;
        let n_rows = values.len() / self.k;
        let mut row = 0;
        while row < n_rows {
            // The rows of one matrix have one importance.
            let matrix = (first_row + row) / self.matrix_rows;
            let end = ((matrix + 1) * self.matrix_rows - first_row).min(n_rows);
            let importance = self.importance.map(|all| match all.len() == self.k {
                true => all,
                false => &all[matrix * self.k..(matrix + 1) * self.k],
            });
            let values = &values[row * self.k..end * self.k];
            quant::quantize(self.to, values, self.k, importance, &mut out[row * to_bytes..end * to_bytes])?;
            row = end;
        }
        Ok(counts)
    }

    fn row_bytes(&self, dtype: DType) -> Result<usize> {
        match dtype.row_bytes(self.k) {
            Some(n) => Ok(n),
            None => bail!(Internal, "rows of {} elements are not whole blocks of {dtype}", self.k),
        }
    }
}
