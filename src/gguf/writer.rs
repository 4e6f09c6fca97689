//! Writes GGUF version 3: the header is computed first, then tensors are streamed in its order.
//!
//! ```no_run
//! # use oribi::{dtype::DType, gguf::GgufBuilder};
//! # fn main() -> oribi::Result<()> {
//! let mut builder = GgufBuilder::new();
//! builder.set("general.architecture", "llama")?;
//! builder.add_tensor("token_embd.weight", DType::F32, &[4, 2])?;
//! let mut writer = builder.create("model.gguf".as_ref())?;
//! writer.write_tensor("token_embd.weight", &[0; 32])?;
//! writer.commit()
//! # }
//! ```

use super::encode::{MetadataValue, put_string};
use super::header::{ALIGNMENT_KEY, DEFAULT_ALIGNMENT, MAGIC, check_alignment};
use super::metadata::Metadata;
use super::reader::{MAX_NAME_BYTES, Quoted};
use super::room;
use super::tensor::{MAX_DIMS, checked_n_bytes};
use super::value::ValueType;
use crate::atomic_file::AtomicFile;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::Path;

/// The version that is written.
const VERSION: u32 = 3;

/// The most bytes of a tensor's name that is written, so that every loader of the field reads it.
const MAX_TENSOR_NAME_BYTES: usize = 63;

/// Bytes collected before a write to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Collects the header of a file to write: metadata and the tensors' names, types and shapes.
#[derive(Clone, Debug, Default)]
pub struct GgufBuilder {
    entries: BTreeMap<String, Entry>,
    n_set: usize,
    alignment: Option<u64>,
    has_room: bool,
    tensors: Vec<Plan>,
    names: BTreeSet<String>,
}

/// A metadata entry: when it was first set, which gives the order in the file, and its encoded type and value.
#[derive(Clone, Debug)]
struct Entry {
    order: usize,
    bytes: Vec<u8>,
}

/// A tensor to be written.
#[derive(Clone, Debug)]
struct Plan {
    name: String,
    dtype: DType,
    shape: Vec<u64>,
    n_bytes: u64,
}

impl GgufBuilder {
    /// A header without metadata or tensors.
    pub fn new() -> Self {
        GgufBuilder::default()
    }

    /// Sets a key, which keeps its place if it was set before. `general.alignment` must be a `u32`, a power of two from 8 on.
    pub fn set(&mut self, key: &str, value: impl MetadataValue) -> Result<()> {
        check_name(key, "key", MAX_NAME_BYTES)?;
        if room::is_room(key) {
            bail!(InvalidArgument, "key {} is for room in the header", Quoted(key));
        }
        let mut bytes = (value.value_type() as u32).to_le_bytes().to_vec();
        value.encode(&mut bytes).map_err(|e| e.within(format_args!("metadata key {}", Quoted(key))))?;
        if key == ALIGNMENT_KEY {
            let Ok(alignment) = <[u8; 4]>::try_from(&bytes[4..]).map(u32::from_le_bytes) else {
                bail!(WrongType, "`{ALIGNMENT_KEY}` must be u32, but is {}", value.value_type());
            };
            if value.value_type() != ValueType::U32 {
                bail!(WrongType, "`{ALIGNMENT_KEY}` must be u32, but is {}", value.value_type());
            }
            check_alignment(alignment.into())?;
            self.alignment = Some(alignment.into());
        }
        self.put_entry(key, bytes);
        Ok(())
    }

    /// Sets a key to a type and value that [`set`](Self::set) would have encoded.
    pub(super) fn set_encoded(&mut self, key: &str, bytes: &[u8]) {
        if key == ALIGNMENT_KEY {
            // That type and value were checked when they were encoded.
            let alignment = bytes.get(4..8).and_then(|b| <[u8; 4]>::try_from(b).ok());
            self.alignment = alignment.map(|b| u32::from_le_bytes(b).into());
        }
        self.put_entry(key, bytes.to_vec());
    }

    fn put_entry(&mut self, key: &str, bytes: Vec<u8>) {
        self.n_set += 1;
        let order = self.entries.get(key).map_or(self.n_set, |entry| entry.order);
        self.entries.insert(key.to_owned(), Entry { order, bytes });
    }

    /// Leaves room in the header, so that [`edit`](super::edit) can change metadata in place: twice the bytes of all entries but the
    /// large arrays, and a little more, as the value of a key of its own. The large arrays come last then.
    pub fn leave_room(&mut self) {
        self.has_room = true;
    }

    /// Sets every key of another file's metadata, but none that only holds room; arrays of strings keep their bytes whatever their encoding.
    pub fn set_all(&mut self, metadata: &Metadata) -> Result<()> {
        for (key, value) in metadata.iter().filter(|(key, _)| !room::is_room(key)) {
            if key == ALIGNMENT_KEY {
                // Other writers use other integer types for it.
                self.set(key, metadata.u32(key)?)?;
            } else {
                self.set(key, value)?;
            }
        }
        Ok(())
    }

    /// Takes a key out; whether it was there.
    pub fn remove(&mut self, key: &str) -> bool {
        if key == ALIGNMENT_KEY {
            self.alignment = None;
        }
        self.entries.remove(key).is_some()
    }

    /// Adds a tensor: one to four dimensions in GGUF order (`shape[0]` is the contiguous one), none zero, rows of whole
    /// blocks, a name of 1 to 63 bytes that no other tensor has.
    pub fn add_tensor(&mut self, name: &str, dtype: DType, shape: &[u64]) -> Result<()> {
        check_name(name, "tensor name", MAX_TENSOR_NAME_BYTES)?;
        if shape.is_empty() || shape.len() > MAX_DIMS as usize {
            bail!(InvalidArgument, "tensor {} has {} dimensions, outside 1 to {MAX_DIMS}", Quoted(name), shape.len());
        }
        let n_bytes = checked_n_bytes(dtype, shape)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("tensor {}: {e}", Quoted(name))))?;
        if !self.names.insert(name.to_owned()) {
            bail!(InvalidArgument, "tensor {} is there already", Quoted(name));
        }
        self.tensors.push(Plan { name: name.to_owned(), dtype, shape: shape.to_vec(), n_bytes });
        Ok(())
    }

    /// Begins a file beside `path`, which takes the name `path` (replacing a file of that name) when the writer is
    /// committed, and disappears otherwise.
    pub fn create(self, path: &Path) -> Result<GgufWriter<AtomicFile>> {
        self.write_to(AtomicFile::create(path)?)
    }

    /// Writes the header to `out` and makes it ready for the tensors.
    pub fn write_to<W: Write>(self, out: W) -> Result<GgufWriter<W>> {
        let header = self.header_bytes()?;
        let mut writer = self.go_on(out, 0);
        writer.put(&header)?;
        Ok(writer)
    }

    /// The bytes of the whole file, without writing it.
    pub fn file_bytes(&self) -> Result<u64> {
        let header_bytes = self.header_bytes()?.len() as u64;
        Ok(self.tensor_places(header_bytes).last().map_or(header_bytes, |place| place.end))
    }

    /// The header and the padding behind it.
    pub(super) fn header_bytes(&self) -> Result<Vec<u8>> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut header = self.header(alignment)?;
        header.resize(header.len().next_multiple_of(alignment as usize), 0);
        Ok(header)
    }

    /// Where in the file every tensor is, with the padding behind it, after a header of `header_bytes` with its padding.
    pub(super) fn tensor_places(&self, header_bytes: u64) -> Vec<Range<u64>> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let mut at = header_bytes;
        // Making the header has found out that nothing passes 64 bits.
        let place = |tensor: &Plan| {
            let start = at;
            at += tensor.n_bytes.next_multiple_of(alignment);
            start..at
        };
        self.tensors.iter().map(place).collect()
    }

    /// A writer whose `out` has the header and the first `n_written` tensors already.
    pub(super) fn go_on<W: Write>(self, out: W, n_written: usize) -> GgufWriter<W> {
        let alignment = self.alignment.unwrap_or(DEFAULT_ALIGNMENT);
        let out = BufWriter::with_capacity(BUFFER_BYTES, out);
        GgufWriter { out, alignment, tensors: self.tensors, n_written, broken: false }
    }

    fn header(&self, alignment: u64) -> Result<Vec<u8>> {
        let mut out = MAGIC.to_vec();
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&(self.tensors.len() as u64).to_le_bytes());
        out.extend_from_slice(&((self.entries.len() + usize::from(self.has_room)) as u64).to_le_bytes());
        let mut entries: Vec<_> = self.entries.iter().collect();
        let goes_last = |entry: &Entry| self.has_room && room::is_large(&entry.bytes);
        entries.sort_by_key(|(_, entry)| (goes_last(entry), entry.order));
        if self.has_room {
            let small = entries.iter().filter(|(_, entry)| !goes_last(entry));
            let n_bytes =
                small.map(|(key, entry)| 8 + key.len() + entry.bytes.len()).sum::<usize>() + room::SPARE_BYTES;
            out.extend(room::head(room::ROOM_KEY, n_bytes));
            out.resize(out.len() + n_bytes, 0);
        }
        for (key, entry) in entries {
            put_string(key.as_bytes(), &mut out);
            out.extend_from_slice(&entry.bytes);
        }
        let mut offset = 0u64;
        for tensor in &self.tensors {
            put_string(tensor.name.as_bytes(), &mut out);
            out.extend_from_slice(&(tensor.shape.len() as u32).to_le_bytes());
            for dim in &tensor.shape {
                out.extend_from_slice(&dim.to_le_bytes());
            }
            out.extend_from_slice(&(tensor.dtype as u32).to_le_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
            let end = offset.checked_add(tensor.n_bytes).and_then(|end| end.checked_next_multiple_of(alignment));
            match end {
                Some(end) => offset = end,
                None => bail!(InvalidArgument, "tensor {} ends past 64 bits", Quoted(&tensor.name)),
            }
        }
        Ok(out)
    }
}

fn check_name(name: &str, what: &str, max_bytes: usize) -> Result<()> {
    if name.is_empty() || name.len() > max_bytes || name.contains('\0') {
        bail!(InvalidArgument, "{what} {} is not 1 to {max_bytes} bytes without NUL", Quoted(name));
    }
    Ok(())
}

/// A file whose header is written and whose tensors follow, each exactly once, in the order in which they were added.
/// After an error nothing more can be written.
#[derive(Debug)]
pub struct GgufWriter<W: Write> {
    out: BufWriter<W>,
    alignment: u64,
    tensors: Vec<Plan>,
    n_written: usize,
    broken: bool,
}

impl<W: Write> GgufWriter<W> {
    /// The name of the tensor that must be written next; `None` when all are.
    pub fn next_tensor(&self) -> Option<&str> {
        self.tensors.get(self.n_written).map(|tensor| tensor.name.as_str())
    }

    /// How many tensors are written.
    pub(super) fn n_written(&self) -> usize {
        self.n_written
    }

    /// The output, which has all that was written.
    pub(super) fn flushed(&mut self) -> Result<&mut W> {
        self.out.flush().map_err(|e| Error::io("write gguf", e))?;
        Ok(self.out.get_mut())
    }

    /// The output, without what is still in the buffer.
    pub(super) fn abandon(self) -> W {
        self.out.into_parts().0
    }

    /// Writes the next tensor, whose name must be `name`, from all of its bytes.
    pub fn write_tensor(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.stream_tensor(name, |sink| sink.write(data))
    }

    /// Writes the next tensor, whose name must be `name`, from the pieces that `fill` hands to the sink. Their bytes must
    /// add up to the tensor's size.
    pub fn stream_tensor(&mut self, name: &str, fill: impl FnOnce(&mut TensorSink<'_, W>) -> Result<()>) -> Result<()> {
        self.check_sound()?;
        let expected = self.next_tensor().unwrap_or("(none)").to_owned();
        let Some(n_bytes) = self.tensors.get(self.n_written).filter(|t| t.name == name).map(|t| t.n_bytes) else {
            bail!(InvalidArgument, "tensor {} is out of order: the next is {}", Quoted(name), Quoted(&expected));
        };
        // Until the tensor is whole, the file is not: this holds if `fill` fails, and if it panics.
        self.broken = true;
        let mut sink = TensorSink { writer: self, left: n_bytes };
        fill(&mut sink).map_err(|e| e.within(format_args!("tensor {}", Quoted(name))))?;
        if sink.left != 0 {
            bail!(InvalidArgument, "tensor {} has {n_bytes} bytes, {} of them missing", Quoted(name), sink.left);
        }
        self.pad(n_bytes)?;
        self.n_written += 1;
        self.broken = false;
        Ok(())
    }

    /// Checks that every tensor was written, flushes, and gives the output back.
    pub fn finish(self) -> Result<W> {
        self.check_sound()?;
        if let Some(name) = self.next_tensor() {
            bail!(InvalidState, "tensor {} was not written", Quoted(name));
        }
        self.out.into_inner().map_err(|e| Error::io("write gguf", e.into_error()))
    }

    fn check_sound(&self) -> Result<()> {
        if self.broken {
            bail!(InvalidState, "an earlier error left the file incomplete");
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).map_err(|e| Error::io("write gguf", e))
    }

    /// Zeros up to the alignment after `n_bytes` from an aligned position.
    fn pad(&mut self, n_bytes: u64) -> Result<()> {
        let mut left = n_bytes.wrapping_neg() & (self.alignment - 1);
        while left > 0 {
            let n = left.min(4096);
            self.put(&[0; 4096][..n as usize])?;
            left -= n;
        }
        Ok(())
    }
}

impl GgufWriter<AtomicFile> {
    /// Finishes the file, waits until it is on the disk, and gives it its name.
    pub fn commit(self) -> Result<()> {
        self.finish()?.commit()
    }
}

/// Takes the bytes of one tensor, see [`GgufWriter::stream_tensor`].
#[derive(Debug)]
pub struct TensorSink<'a, W: Write> {
    writer: &'a mut GgufWriter<W>,
    left: u64,
}

impl<W: Write> TensorSink<'_, W> {
    /// Appends bytes; more than the tensor has is an error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self.left.checked_sub(bytes.len() as u64) {
            Some(left) => self.left = left,
            None => bail!(InvalidArgument, "{} bytes where {} remain", bytes.len(), self.left),
        }
        self.writer.put(bytes)
    }
}
