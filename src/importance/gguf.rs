//! The GGUF form (llama.cpp's `tools/imatrix` and `common/imatrix-loader`, as of b11434):
//!
//! ```text
//! general.type = "imatrix"     imatrix.datasets: [string]     imatrix.chunk_count: u32     imatrix.chunk_size: u32
//! NAME.in_sum2: F32 [k, n_matrices]      sums of squares of the inputs of tensor NAME
//! NAME.counts:  F32 [1, n_matrices]      rows that were summed
//! ```
//!
//! `NAME.in_sum` (plain sums) and `NAME.stats` may be there, too; nothing here needs them, and they are neither kept nor written.

use std::path::Path;

use super::{DEFAULT_CHUNK_SIZE, Entry, ImportanceMatrix};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::{Gguf, GgufBuilder, TensorInfo};

const TYPE_KEY: &str = "general.type";
const TYPE: &str = "imatrix";
const DATASETS_KEY: &str = "imatrix.datasets";
const CHUNK_COUNT_KEY: &str = "imatrix.chunk_count";
const CHUNK_SIZE_KEY: &str = "imatrix.chunk_size";
const SUMS: &str = ".in_sum2";
const COUNTS: &str = ".counts";

impl ImportanceMatrix {
    /// Reads an open GGUF file.
    ///
    /// # Errors
    /// `InvalidFile` for a file of another kind, sums without counts or the reverse, or numbers that cannot be; `WrongType` for
    /// metadata or tensors of other types.
    pub fn from_gguf(file: &Gguf) -> Result<ImportanceMatrix> {
        let metadata = file.metadata();
        match metadata.opt_str(TYPE_KEY)? {
            Some(TYPE) => {}
            Some(other) => bail!(InvalidFile, "this is no importance matrix: `{TYPE_KEY}` is {other:?}"),
            // Written by other programs than llama.cpp's; what tells is in the tensors.
            None if file.tensors().iter().any(|tensor| tensor.name.ends_with(SUMS)) => {}
            None => bail!(InvalidFile, "this is no importance matrix: `{TYPE_KEY}` and tensors NAME{SUMS} are missing"),
        }
        let chunk_size = metadata.opt_u32(CHUNK_SIZE_KEY)?.filter(|&size| size > 0).unwrap_or(DEFAULT_CHUNK_SIZE);
        let mut matrix = ImportanceMatrix::new(chunk_size);
        if let Some(datasets) = metadata.get(DATASETS_KEY).and_then(|value| value.as_array()) {
            for name in datasets.byte_strings() {
                let name = String::from_utf8_lossy(name?);
                matrix.datasets.push(fallible::text(&name, "the names of an importance matrix's texts")?);
            }
        }
        for tensor in file.tensors() {
            if let Some(name) = tensor.name.strip_suffix(SUMS) {
                let Some(counts) = file.tensor(&format!("{name}{COUNTS}")) else {
                    bail!(InvalidFile, "tensor {name:?} has sums but no counts");
                };
                let counts = counts_of(&values(file, counts)?).map_err(|e| e.within(format_args!("{name:?}")))?;
                let entry = Entry::new(values(file, tensor)?, counts);
                matrix.add(name, entry.map_err(|e| e.within(format_args!("tensor {name:?}")))?)?;
            } else if let Some(name) = tensor.name.strip_suffix(COUNTS)
                && file.tensor(&format!("{name}{SUMS}")).is_none()
            {
                bail!(InvalidFile, "tensor {name:?} has counts but no sums");
            }
        }
        if matrix.is_empty() {
            bail!(InvalidFile, "the importance matrix is empty");
        }
        Ok(matrix)
    }

    /// Writes the file, which appears whole or not at all.
    ///
    /// # Errors
    /// `Io`; `InvalidArgument` for a tensor whose name is too long for a GGUF file.
    pub fn write(&self, path: &Path) -> Result<()> {
        self.write_with(path, GgufBuilder::new())
    }

    /// The same with metadata of the caller's before.
    pub(crate) fn write_with(&self, path: &Path, mut file: GgufBuilder) -> Result<()> {
        file.set(TYPE_KEY, TYPE)?;
        file.set(DATASETS_KEY, &self.datasets)?;
        file.set(CHUNK_COUNT_KEY, u32::try_from(self.chunk_count()).unwrap_or(u32::MAX))?;
        file.set(CHUNK_SIZE_KEY, self.chunk_size)?;
        for (name, entry) in self.iter() {
            let n = entry.counts.len() as u64;
            file.add_tensor(&format!("{name}{SUMS}"), DType::F32, &[entry.sums.len() as u64 / n, n])?;
            file.add_tensor(&format!("{name}{COUNTS}"), DType::F32, &[1, n])?;
        }
        let mut writer = file.create(path)?;
        for (name, entry) in self.iter() {
            let counts: Vec<f32> = entry.counts.iter().map(|&count| count as f32).collect();
            writer.write_tensor(&format!("{name}{SUMS}"), &bytes(&entry.sums))?;
            writer.write_tensor(&format!("{name}{COUNTS}"), &bytes(&counts))?;
        }
        writer.commit()
    }
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// The float32 values of a tensor.
fn values(file: &Gguf, tensor: &TensorInfo) -> Result<Vec<f32>> {
    if tensor.dtype != DType::F32 {
        bail!(WrongType, "tensor {:?} is {}, not F32", tensor.name, tensor.dtype);
    }
    // The file has as many bytes, so this is in proportion to it.
    let mut bytes = fallible::filled(0, file.tensor_bytes(tensor)?.len(), "an importance matrix")?;
    file.read_tensor(tensor, 0, &mut bytes)?;
    let values = bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    fallible::collect(values, "an importance matrix")
}

fn counts_of(values: &[f32]) -> Result<Vec<u64>> {
    if let Some(i) = values.iter().position(|count| !count.is_finite() || *count < 0.0) {
        bail!(InvalidFile, "count {i} is {}", values[i]);
    }
    fallible::collect(values.iter().map(|count| count.round() as u64), "an importance matrix")
}
