//! The form before GGUF, little-endian, as old `llama-imatrix` wrote it to `.dat` files:
//!
//! ```text
//! n_entries i32 | n_entries x { name: len i32, bytes | n_calls i32 | n_values i32 | n_values x f32 } |
//! optional: n_chunks i32 | dataset: len i32, bytes
//! ```
//!
//! A value is the mean of the squares times `n_calls`, the number of chunks. How long those were is not said; the program's
//! default of [`DEFAULT_CHUNK_SIZE`] tokens is assumed, which matters only when such a file is merged with others.

use super::{DEFAULT_CHUNK_SIZE, Entry, ImportanceMatrix};
use crate::error::{Result, bail};
use crate::fallible;

/// The longest name that is read; those of tensors are far shorter.
const MAX_NAME_BYTES: usize = 4096;

impl ImportanceMatrix {
    /// Reads the bytes of a `.dat` file.
    ///
    /// # Errors
    /// `Truncated` where the bytes end early, `InvalidFile` for counts and values that cannot be.
    pub fn from_legacy(bytes: &[u8]) -> Result<ImportanceMatrix> {
        let mut reader = Reader { bytes, at: 0 };
        let n_entries = reader.count("entries")?;
        if n_entries == 0 {
            bail!(InvalidFile, "this is no importance matrix: it has no entries");
        }
        let mut matrix = ImportanceMatrix::new(DEFAULT_CHUNK_SIZE);
        for i in 0..n_entries {
            let (name, entry) = reader.entry().map_err(|e| e.within(format_args!("entry {i}")))?;
            if matrix.entry(&name).is_some() {
                bail!(InvalidFile, "tensor {name:?} is there twice");
            }
            matrix.add(&name, entry)?;
        }
        if reader.at < bytes.len() {
            reader.count("chunks")?;
            let dataset = reader.name("the text's name")?;
            if !dataset.is_empty() {
                matrix.add_dataset(&dataset);
            }
        }
        Ok(matrix)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &str) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else {
            bail!(Truncated, "{what} at byte {} needs {n} bytes, {} are left", self.at, self.bytes.len() - self.at);
        };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// A number that cannot be negative.
    fn count(&mut self, what: &str) -> Result<usize> {
        let at = self.at;
        let b = self.take(4, what)?;
        let n = i32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        match usize::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) => bail!(InvalidFile, "the number of {what} at byte {at} is {n}"),
        }
    }

    fn name(&mut self, what: &str) -> Result<String> {
        let n = self.count(what)?;
        if n > MAX_NAME_BYTES {
            bail!(InvalidFile, "{what} has {n} bytes, more than {MAX_NAME_BYTES}");
        }
        match std::str::from_utf8(self.take(n, what)?) {
            Ok(name) => Ok(name.to_owned()),
            Err(_) => bail!(InvalidFile, "{what} is not UTF-8"),
        }
    }

    fn entry(&mut self) -> Result<(String, Entry)> {
        let name = self.name("a tensor's name")?;
        if name.is_empty() {
            bail!(InvalidFile, "a tensor has no name");
        }
        let n_calls = self.count("chunks")?;
        let n_values = self.count("values")?;
        let bytes = self.take(n_values.saturating_mul(4), "the values")?;
        let rows = DEFAULT_CHUNK_SIZE as f32;
        let values = bytes.chunks_exact(4).map(|b| rows * f32::from_le_bytes([b[0], b[1], b[2], b[3]]));
        let values = fallible::collect(values, "an importance matrix")?;
        // Without a count the values are means already: of one chunk.
        let count = n_calls.max(1) as u64 * u64::from(DEFAULT_CHUNK_SIZE);
        let entry = Entry::new(values, vec![count]).map_err(|e| e.within(format_args!("tensor {name:?}")))?;
        Ok((name, entry))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn put(out: &mut Vec<u8>, n: i32) {
        out.extend_from_slice(&n.to_le_bytes());
    }

    fn text(out: &mut Vec<u8>, text: &str) {
        put(out, text.len() as i32);
        out.extend_from_slice(text.as_bytes());
    }

    fn file() -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out, 2);
        for (name, n_calls, values) in [("a.weight", 4, &[8.0f32, 2.0][..]), ("b.weight", 0, &[3.0])] {
            text(&mut out, name);
            put(&mut out, n_calls);
            put(&mut out, values.len() as i32);
            values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes()));
        }
        put(&mut out, 4);
        text(&mut out, "wiki");
        out
    }

    #[test]
    fn an_old_file_is_read() {
        let matrix = ImportanceMatrix::from_legacy(&file()).unwrap();
        assert_eq!(matrix.get("a.weight").unwrap(), [2.0, 0.5]);
        assert_eq!(matrix.get("b.weight").unwrap(), [3.0]);
        assert_eq!((matrix.chunk_count(), matrix.datasets()), (4, &["wiki".to_string()][..]));
        // What follows the entries may be missing.
        let end = file().len() - 12;
        assert_eq!(ImportanceMatrix::from_legacy(&file()[..end]).unwrap().len(), 2);
    }

    #[test]
    fn a_file_cut_anywhere_is_an_error() {
        let file = file();
        let end = file.len() - 12;
        for n in (0..file.len()).filter(|&n| n != end) {
            let error = ImportanceMatrix::from_legacy(&file[..n]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Truncated, "{n}: {error}");
        }
    }

    #[test]
    fn hostile_numbers_are_refused_without_allocating_for_them() {
        let with = |at: usize, n: i32| {
            let mut file = file();
            file[at..at + 4].copy_from_slice(&n.to_le_bytes());
            ImportanceMatrix::from_legacy(&file).unwrap_err().kind()
        };
        let (name, n_values, value) = (4, 4 + 4 + 8 + 4, 4 + 4 + 8 + 8);
        assert_eq!(with(0, 0), ErrorKind::InvalidFile);
        assert_eq!(with(0, -1), ErrorKind::InvalidFile);
        assert_eq!(with(0, i32::MAX), ErrorKind::Truncated);
        for at in [name, n_values] {
            assert_eq!(with(at, -1), ErrorKind::InvalidFile);
            assert_ne!(with(at, i32::MAX), ErrorKind::OutOfMemory);
        }
        assert_eq!(with(name, 0), ErrorKind::InvalidFile);
        assert_eq!(with(n_values, 0), ErrorKind::InvalidFile);
        for wrong in [f32::NAN, f32::INFINITY, -1.0] {
            assert_eq!(with(value, wrong.to_bits() as i32), ErrorKind::InvalidFile);
        }
        let mut twice = file();
        let b = twice.windows(8).position(|w| w == b"b.weight").unwrap();
        twice[b] = b'a';
        assert!(ImportanceMatrix::from_legacy(&twice).unwrap_err().to_string().contains("twice"));
    }
}
