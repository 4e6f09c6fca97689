//! The importance matrix: how strongly each input column of each weight matrix is driven, measured on a text. A quantizer
//! weighs rounding errors by it.
//!
//! For a matrix with `k` inputs it is the mean of `x_j^2` over the tokens of the text, for every `j < k`, `x` being what the matrix
//! is multiplied with. Files hold the sums and how many rows were summed, so that matrices of several texts can be merged.
//! `gguf.rs` is the form that llama.cpp's tools read and write today, `legacy.rs` the one before it, which is read only.

mod gguf;
mod legacy;

use std::collections::BTreeMap;
use std::path::Path;

use crate::error::{Result, bail};
use crate::fallible;
use crate::mapped_file::MappedFile;

/// Tokens in a chunk where a file does not say; the older form does not.
pub const DEFAULT_CHUNK_SIZE: u32 = 512;

/// Importance of the input columns of weight matrices, by tensor name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    entries: BTreeMap<String, Entry>,
    /// The texts that it was measured on: names, for people.
    datasets: Vec<String>,
    /// Tokens in a chunk of those texts.
    chunk_size: u32,
}

/// One tensor: sums of squares over rows of inputs. A tensor that holds the matrices of several experts has a count for each.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    sums: Vec<f32>,   // (n_matrices, k)
    counts: Vec<u64>, // (n_matrices)
    means: Vec<f32>,  // (n_matrices, k)
}

impl Entry {
    /// Sums of squares (n_matrices, k) of so many rows of inputs each.
    ///
    /// # Errors
    /// `InvalidFile` for lengths that do not fit each other, and for a sum that is negative or not finite.
    pub fn new(sums: Vec<f32>, counts: Vec<u64>) -> Result<Entry> {
        if counts.is_empty() || sums.is_empty() || !sums.len().is_multiple_of(counts.len()) {
            bail!(InvalidFile, "{} sums and {} counts do not belong together", sums.len(), counts.len());
        }
        if let Some(i) = sums.iter().position(|sum| !sum.is_finite() || *sum < 0.0) {
            bail!(InvalidFile, "sum {i} of squares is {}", sums[i]);
        }
        let mut entry = Entry { means: fallible::filled(0.0, sums.len(), "an importance matrix")?, sums, counts };
        entry.update();
        Ok(entry)
    }

    /// The mean of the squares of each input column, (n_matrices, k). All 1 for a matrix that saw no rows.
    pub fn means(&self) -> &[f32] {
        &self.means
    }

    /// The sums of squares, (n_matrices, k).
    pub fn sums(&self) -> &[f32] {
        &self.sums
    }

    /// Rows that were summed, for each matrix.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    fn update(&mut self) {
        let k = self.sums.len() / self.counts.len();
        let matrices = self.means.chunks_exact_mut(k).zip(self.sums.chunks_exact(k)).zip(&self.counts);
        for ((means, sums), &count) in matrices {
            let mean = |&sum: &f32| if count == 0 { 1.0 } else { (f64::from(sum) / count as f64) as f32 };
            means.iter_mut().zip(sums).for_each(|(to, sum)| *to = mean(sum));
        }
    }

    /// Adds the sums of more rows.
    fn add(&mut self, other: &Entry) -> Result<()> {
        // A tensor may be counted as a whole in one file and by expert in another.
        if self.counts.len() == 1 && other.counts.len() > 1 && self.sums.len() == other.sums.len() {
            self.counts = vec![self.counts[0]; other.counts.len()];
        }
        let spread = other.counts.len() == 1 && self.counts.len() > 1;
        if self.sums.len() != other.sums.len() || (self.counts.len() != other.counts.len() && !spread) {
            bail!(
                InvalidFile,
                "{} sums of {} matrices cannot be added to {} of {}",
                other.sums.len(),
                other.counts.len(),
                self.sums.len(),
                self.counts.len()
            );
        }
        for (i, (to, sum)) in self.sums.iter_mut().zip(&other.sums).enumerate() {
            *to += sum;
            if !to.is_finite() {
                bail!(InvalidFile, "sum {i} of squares is not finite");
            }
        }
        for (i, to) in self.counts.iter_mut().enumerate() {
            *to = to.saturating_add(other.counts[if spread { 0 } else { i }]);
        }
        self.update();
        Ok(())
    }
}

impl ImportanceMatrix {
    /// One without entries, for texts in chunks of `chunk_size` tokens.
    pub fn new(chunk_size: u32) -> ImportanceMatrix {
        ImportanceMatrix { chunk_size, ..ImportanceMatrix::default() }
    }

    /// Reads a file of either form.
    ///
    /// # Errors
    /// `Io`; those of [`Gguf::open`](crate::gguf::Gguf::open); `InvalidFile`, `MissingKey` or `WrongType` for a file that is not an
    /// importance matrix or contradicts itself; `Truncated`.
    pub fn open(path: &Path) -> Result<ImportanceMatrix> {
        let bytes = MappedFile::open(path)?;
        let is_gguf = bytes.starts_with(b"GGUF");
        let read = if is_gguf {
            crate::gguf::Gguf::open(path).and_then(|file| ImportanceMatrix::from_gguf(&file))
        } else {
            ImportanceMatrix::from_legacy(&bytes)
        };
        read.map_err(|e| e.within(path.display()))
    }

    /// The weights of a tensor's input columns: the mean of the squares of each, `[k]`; (n_matrices, k) for a tensor of several
    /// experts. `None` if the tensor was not measured.
    pub fn get(&self, name: &str) -> Option<&[f32]> {
        self.entries.get(name).map(Entry::means)
    }

    /// The entry of a tensor.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// All entries, in order of name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(name, entry)| (name.as_str(), entry))
    }

    /// How many tensors were measured.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The texts that it was measured on.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// Tokens in a chunk of those texts.
    pub fn chunk_size(&self) -> u32 {
        self.chunk_size
    }

    /// Chunks that it was measured on: rows of the tensor that saw most, in chunks.
    pub fn chunk_count(&self) -> u64 {
        let rows = self.entries.values().flat_map(|entry| &entry.counts).max().copied().unwrap_or(0);
        let size = u64::from(self.chunk_size.max(1));
        rows.saturating_add(size / 2) / size
    }

    /// Notes a text that it was measured on.
    pub fn add_dataset(&mut self, name: &str) {
        self.datasets.push(name.to_owned());
    }

    /// Adds what was measured of a tensor to what is there.
    ///
    /// # Errors
    /// `InvalidFile` if it does not fit the entry that is there, or a sum is no longer finite.
    pub fn add(&mut self, name: &str, entry: Entry) -> Result<()> {
        match self.entries.get_mut(name) {
            Some(own) => own.add(&entry).map_err(|e| e.within(format_args!("tensor {name}"))),
            None => {
                self.entries.insert(name.to_owned(), entry);
                Ok(())
            }
        }
    }

    /// Adds all of another one, as if its texts had been measured here, too.
    ///
    /// # Errors
    /// Those of [`add`](Self::add).
    pub fn merge(&mut self, other: ImportanceMatrix) -> Result<()> {
        if self.is_empty() && self.chunk_size == 0 {
            self.chunk_size = other.chunk_size;
        }
        for (name, entry) in other.entries {
            self.add(&name, entry)?;
        }
        self.datasets.extend(other.datasets);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn one(sums: &[f32], counts: &[u64]) -> ImportanceMatrix {
        let mut matrix = ImportanceMatrix::new(4);
        matrix.add("a.weight", Entry::new(sums.to_vec(), counts.to_vec()).unwrap()).unwrap();
        matrix
    }

    #[test]
    fn weights_are_means_and_merging_adds() {
        let mut matrix = one(&[8.0, 2.0], &[4]);
        matrix.add_dataset("first");
        assert_eq!(matrix.get("a.weight").unwrap(), [2.0, 0.5]);
        assert_eq!(matrix.get("b.weight"), None);
        let mut other = one(&[4.0, 6.0], &[8]);
        other.add("b.weight", Entry::new(vec![1.0], vec![1]).unwrap()).unwrap();
        other.add_dataset("second");
        matrix.merge(other).unwrap();
        assert_eq!(matrix.get("a.weight").unwrap(), [1.0, 8.0 / 12.0]);
        assert_eq!((matrix.len(), matrix.chunk_count(), matrix.datasets().len()), (2, 3, 2));
    }

    #[test]
    fn experts_have_counts_of_their_own_and_unused_ones_weigh_all_columns_alike() {
        let mut matrix = one(&[8.0, 2.0, 0.0, 0.0], &[2, 0]);
        assert_eq!(matrix.get("a.weight").unwrap(), [4.0, 1.0, 1.0, 1.0]);
        matrix.merge(one(&[1.0, 1.0, 2.0, 4.0], &[1])).unwrap();
        assert_eq!(matrix.get("a.weight").unwrap(), [3.0, 1.0, 2.0, 4.0]);
        let mut whole = one(&[8.0, 2.0, 1.0, 1.0], &[2]);
        whole.merge(one(&[0.0, 0.0, 2.0, 3.0], &[0, 2])).unwrap();
        assert_eq!(whole.get("a.weight").unwrap(), [4.0, 1.0, 0.75, 1.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused_by_name() {
        for (sums, counts) in [(vec![], vec![1]), (vec![1.0], vec![]), (vec![1.0; 3], vec![1, 1])] {
            assert_eq!(Entry::new(sums, counts).unwrap_err().kind(), ErrorKind::InvalidFile);
        }
        for wrong in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(Entry::new(vec![0.0, wrong], vec![1]).unwrap_err().to_string().contains("sum 1"));
        }
        let error = one(&[1.0, 2.0], &[1]).merge(one(&[1.0], &[1])).unwrap_err();
        assert!(error.to_string().contains("a.weight"), "{error}");
        assert!(one(&[f32::MAX], &[1]).merge(one(&[f32::MAX], &[1])).is_err());
    }
}
