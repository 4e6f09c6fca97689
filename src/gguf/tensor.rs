//! The tensor part of a header: names, shapes, types and places, checked against each other and against the file.

use super::reader::{Quoted, Reader};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::fallible;

/// The most dimensions of a tensor (`GGML_MAX_DIMS`).
pub(super) const MAX_DIMS: u32 = 4;

/// Bytes of the smallest entry after its name's length: one byte of name, number of dimensions, type, offset.
const MIN_ENTRY_BYTES: usize = 1 + 4 + 4 + 8;

/// One tensor of a file. Its size and place were checked against the file when the file was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// The tensor's name, for example `blk.0.attn_q.weight`.
    pub name: String,
    /// The format of its elements.
    pub dtype: DType,
    /// One to four dimensions in GGUF order: `shape[0]` is the contiguous one, the inputs of a weight matrix. None is zero.
    pub shape: Vec<u64>,
    pub(super) shard: usize,
    pub(super) offset: u64,
    pub(super) n_bytes: u64,
}

impl TensorInfo {
    /// The number of elements.
    pub fn n_elems(&self) -> u64 {
        self.shape.iter().fold(1, |n, &dim| n.saturating_mul(dim))
    }

    /// The bytes of its data, without padding.
    pub fn n_bytes(&self) -> u64 {
        self.n_bytes
    }

    /// Where its data begins, in bytes from the start of its file's tensor data.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Which file of a split model holds it, from 0; always 0 otherwise.
    pub fn shard(&self) -> usize {
        self.shard
    }
}

/// The bytes of a tensor of a shape, and an error that names what is wrong with it otherwise.
pub(super) fn checked_n_bytes(dtype: DType, shape: &[u64]) -> Result<u64> {
    if let Some(i) = shape.iter().position(|&dim| dim == 0) {
        bail!(InvalidFile, "dimension {i} of {shape:?} is zero");
    }
    let row = shape.first().copied().unwrap_or(1);
    let block_len = dtype.block_len() as u64;
    if !row.is_multiple_of(block_len) {
        bail!(InvalidFile, "rows of {row} elements are not whole blocks of {block_len} as {dtype} has them");
    }
    let n_elems = shape.iter().try_fold(1u64, |n, &dim| n.checked_mul(dim));
    let n_bytes = n_elems.and_then(|n| (n / block_len).checked_mul(dtype.block_bytes() as u64));
    // The field counts elements and bytes in i64, so what passes it cannot be meant.
    match n_elems.max(n_bytes) {
        Some(n) if n_bytes.is_some() && n <= i64::MAX as u64 => Ok(n_bytes.unwrap_or(0)),
        _ => bail!(InvalidFile, "the size of a tensor of shape {shape:?} and type {dtype} does not fit 64 bits"),
    }
}

/// Reads `n` tensor entries of file `shard`.
pub(super) fn read_all(reader: &mut Reader<'_>, n: u64, alignment: u64, shard: usize) -> Result<Vec<TensorInfo>> {
    reader.expect_room(n, reader.count_bytes() + MIN_ENTRY_BYTES, "tensors")?;
    let mut tensors = fallible::with_capacity(n as usize, "the table of tensors")?;
    for i in 0..n {
        let name = reader.name("a tensor's name").map_err(|e| e.within(format_args!("tensor {i} of {n}")))?;
        let tensor = read_one(reader, name, alignment, shard);
        tensors.push(tensor.map_err(|e| e.within(format_args!("tensor {}", Quoted(name))))?);
    }
    Ok(tensors)
}

fn read_one(reader: &mut Reader<'_>, name: &str, alignment: u64, shard: usize) -> Result<TensorInfo> {
    let n_dims = reader.u32("the number of dimensions")?;
    if n_dims > MAX_DIMS {
        bail!(InvalidFile, "{n_dims} dimensions, more than the {MAX_DIMS} that GGUF allows");
    }
    let mut shape = Vec::with_capacity(n_dims.max(1) as usize);
    for _ in 0..n_dims {
        shape.push(reader.count("a dimension")?);
    }
    if shape.is_empty() {
        shape.push(1); // a scalar, so that `shape[0]` exists for every reader
    }
    let id = reader.u32("the tensor's type")?;
    let Some(dtype) = DType::from_id(id) else {
        bail!(Unsupported, "type id {id} is not a tensor type that this version knows");
    };
    let n_bytes = checked_n_bytes(dtype, &shape)?;
    let offset = reader.u64("the tensor's offset")?;
    if !offset.is_multiple_of(alignment) {
        bail!(InvalidFile, "offset {offset} is not a multiple of the file's alignment {alignment}");
    }
    Ok(TensorInfo { name: fallible::text(name, "a tensor's name")?, dtype, shape, shard, offset, n_bytes })
}

/// Checks one file's tensors against each other and against the `file_bytes` that are there, of which the tensor data
/// begins at `data_start`. A layout that just goes on past the end is a file that stopped early; a tensor that begins
/// past the end for no reason is a file that lies.
pub(super) fn check_layout(tensors: &[TensorInfo], data_start: u64, file_bytes: u64, alignment: u64) -> Result<()> {
    let data_bytes = file_bytes.saturating_sub(data_start);
    let mut by_offset = fallible::collect(0..tensors.len() as u32, "the table of tensors")?;
    by_offset.sort_unstable_by_key(|&i| tensors[i as usize].offset);
    let mut end = 0u64;
    let mut previous = "";
    for tensor in by_offset.iter().map(|&i| &tensors[i as usize]) {
        let name = Quoted(&tensor.name);
        let offset = tensor.offset;
        if offset < end {
            bail!(
                InvalidFile,
                "tensor {name} at offset {offset} overlaps tensor {}, which ends at {end}",
                Quoted(previous)
            );
        }
        if offset >= data_bytes && end.checked_next_multiple_of(alignment).is_none_or(|next| offset > next) {
            bail!(
                InvalidFile,
                "tensor {name} at offset {offset} begins past the end of {data_bytes} bytes of tensor data"
            );
        }
        end = match offset.checked_add(tensor.n_bytes) {
            Some(end) if end.checked_add(data_start).is_some() => end,
            _ => bail!(InvalidFile, "tensor {name} at offset {offset} of {} bytes ends past 64 bits", tensor.n_bytes),
        };
        previous = &tensor.name;
    }
    if end > data_bytes {
        bail!(
            Truncated,
            "the file has {file_bytes} bytes, but its header promises {}: a download or copy stopped early",
            data_start + end
        );
    }
    Ok(())
}
