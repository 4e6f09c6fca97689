//! GGUF files: parsed and validated in one pass over the header, with everything large left where it is.
//!
//! The layout (specification: `docs/gguf.md` of ggml), all numbers little-endian:
//!
//! ```text
//! magic "GGUF" | version u32 | n_tensors | n_metadata                        counts: u32 in version 1, u64 later
//! n_metadata x { key: string | type u32 | value }                            string: length | bytes
//! n_tensors  x { name: string | n_dims u32 | dims | dtype u32 | offset u64 }  array: type u32 | length | elements
//! padding to general.alignment | tensor data, each tensor aligned
//! ```
//!
//! A file is untrusted. Counts are checked against the bytes that remain before anything is allocated for them, sizes are
//! computed with checked arithmetic, every tensor lies within the file and apart from the others, names are unique. After a
//! successful open, nothing here panics or reads out of bounds, and memory stays a small multiple of the header's size
//! (arrays of the metadata are not copied at all). What a model's metadata *means* is not known here.
//!
//! Not promised: big-endian files, arrays of arrays, and headers over 1 GiB are refused.

mod edit;
mod encode;
mod header;
mod metadata;
mod owner;
mod read_at;
mod reader;
mod resume;
mod room;
mod source;
mod split;
mod tensor;
mod value;
mod writer;

pub use edit::{Changes, Edited, edit, preview};
pub use encode::{MetadataScalar, MetadataValue, RawStr};
pub use metadata::Metadata;
pub use resume::{Found, ResumableWriter, Sink, StillHolds};
pub use tensor::TensorInfo;
pub use value::{Array, ByteStrings, Value, ValueType};
pub use writer::{GgufBuilder, GgufWriter, TensorSink};

use crate::error::{Result, bail};
use crate::fallible;
use crate::mapped_file::MappedFile;
use header::Header;
use owner::OwnedBytes;
use read_at::ReadAt;
use source::Source;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// An open GGUF file, or the files of a split model. Immutable; a clone shares the same bytes.
#[derive(Clone, Debug)]
pub struct Gguf {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    version: u32,
    alignment: u64,
    metadata: Metadata,
    tensors: Vec<TensorInfo>,
    /// Indices of `tensors` in order of name.
    by_name: Vec<u32>,
    shards: Vec<Shard>,
}

/// One file: its bytes, and where in them the tensor data begins.
#[derive(Debug)]
struct Shard {
    source: Source,
    data_start: u64,
}

impl Gguf {
    /// Opens and maps a file; a split model by its first file `NAME-00001-of-000NN.gguf`, whose companions are found
    /// beside it. Reads the headers only. The file must not be shortened or rewritten while it is open, see
    /// [`mapped_file`](crate::mapped_file).
    pub fn open(path: &Path) -> Result<Gguf> {
        split::open(path)
    }

    /// Opens a GGUF file that is `len_bytes` bytes from byte `offset` of a larger file, at any offset. The contract is that
    /// of [`open`](Self::open). A file of a split model is refused: its companions have no path.
    pub fn open_range(file: File, offset: u64, len_bytes: u64) -> Result<Gguf> {
        let map = MappedFile::open_range(&file, offset, len_bytes)?;
        Gguf::of_source(Source::Mapped(Arc::new(map)))
    }

    /// Opens a GGUF file in memory. A file of a split model is refused: its companions have no path.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Gguf> {
        Gguf::from_owner(bytes.into())
    }

    /// Opens a GGUF file in memory that somebody else owns. Nothing is copied; `owner` is asked once for its bytes and dropped
    /// with the last clone of the `Gguf`, which every [`Model`](crate::model::Model) of it holds, and with the last
    /// [`TensorBytes`].
    ///
    /// Once a model is loaded with [`Storage::Packed`](crate::backend::Storage::Packed), the bytes of the tensors are not read any
    /// more; those in front of them, the header, are, because the arrays of the metadata stay there. All of it must remain readable.
    ///
    /// A file of a split model is refused: its companions have no path.
    pub fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Gguf> {
        Gguf::of_source(Source::Memory(OwnedBytes::new(owner)))
    }

    /// Opens a GGUF file of `len_bytes` bytes that the host reads: `read(offset, into)` copies bytes of the file from `offset` on
    /// and says how many, like `pread`. It may copy fewer than `into` holds, is then asked for the rest, and has to copy one at
    /// least; it is never asked for bytes past `len_bytes`.
    ///
    /// The header is read here, in growing pieces, and kept; tensors are read piece by piece when a model is packed, and not
    /// afterwards. `read` is called on the thread that calls this, and later on the one that calls
    /// [`Model::load`](crate::model::Model::load) or [`read_tensor`](Self::read_tensor). It is dropped with the last clone of the `Gguf`.
    ///
    /// # Errors
    /// `Io` with the reason that `read` gave, or if it claims more bytes than were asked for; `Truncated` if it has none; those of
    /// [`open`](Self::open). A file of a split model is refused: its companions have no path.
    pub fn from_read_at(
        len_bytes: u64,
        read: impl Fn(u64, &mut [u8]) -> io::Result<usize> + Send + Sync + 'static,
    ) -> Result<Gguf> {
        let (source, header) = Header::read_from_host(&ReadAt::new(len_bytes, read))?;
        Gguf::single(source, header)
    }

    fn of_source(source: Source) -> Result<Gguf> {
        let header = Header::read(&source, 0)?;
        Gguf::single(source, header)
    }

    fn single(source: Source, header: Header) -> Result<Gguf> {
        if let Some(place) = split::place(&header.metadata)?
            && place.count > 1
        {
            bail!(
                Unsupported,
                "this is file {} of {} of a split model, to be opened by path",
                place.no + 1,
                place.count
            );
        }
        Gguf::assemble(vec![(source, header)])
    }

    /// Joins the files of a model; the first one's metadata is the model's.
    fn assemble(parts: Vec<(Source, Header)>) -> Result<Gguf> {
        let mut first = None;
        let mut tensors = Vec::new();
        let mut shards = Vec::with_capacity(parts.len());
        for (source, header) in parts {
            shards.push(Shard { source, data_start: header.data_start });
            if first.is_none() {
                tensors = header.tensors;
                first = Some((header.version, header.alignment, header.metadata));
            } else {
                fallible::reserve(&mut tensors, header.tensors.len(), "the table of tensors")?;
                tensors.extend(header.tensors);
            }
        }
        let Some((version, alignment, metadata)) = first else { bail!(Internal, "no file to assemble a model from") };
        let by_name = sorted_by_name(&tensors)?;
        Ok(Gguf { inner: Arc::new(Inner { version, alignment, metadata, tensors, by_name, shards }) })
    }

    /// The GGUF version of the (first) file: 1, 2 or 3.
    pub fn version(&self) -> u32 {
        self.inner.version
    }

    /// The alignment of tensor data within the (first) file, in bytes.
    pub fn alignment(&self) -> u64 {
        self.inner.alignment
    }

    /// The metadata of the (first) file.
    pub fn metadata(&self) -> &Metadata {
        &self.inner.metadata
    }

    /// All tensors, in the order of the file or files.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.inner.tensors
    }

    /// The tensor of a name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        let Inner { tensors, by_name, .. } = &*self.inner;
        let at = by_name.binary_search_by(|&i| tensors[i as usize].name.as_str().cmp(name)).ok()?;
        Some(&tensors[by_name[at] as usize])
    }

    /// The number of files: 1, or those of a split model.
    pub fn n_shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// The bytes in front of the tensor data of each file: all that the header says.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &[u8]> {
        self.inner.shards.iter().map(|shard| {
            let bytes = shard.source.first_bytes();
            let end = usize::try_from(shard.data_start).map_or(bytes.len(), |end| end.min(bytes.len()));
            &bytes[..end]
        })
    }

    /// The bytes of all files together.
    pub fn file_bytes(&self) -> u64 {
        self.inner.shards.iter().map(|shard| shard.source.len_bytes()).sum()
    }

    /// The bytes of a tensor of this model: [`TensorInfo::n_bytes`] of them, at an address of no promised alignment.
    ///
    /// # Errors
    /// `InvalidArgument` for a tensor of another file; `InvalidState` where the host reads the file, see
    /// [`read_tensor`](Self::read_tensor).
    pub fn tensor_data(&self, tensor: &TensorInfo) -> Result<&[u8]> {
        let (source, range) = self.locate(tensor)?;
        match source.in_memory() {
            Some(bytes) => Ok(&bytes[range]),
            None => {
                bail!(InvalidState, "tensor {} is not in memory: a callback reads it", reader::Quoted(&tensor.name))
            }
        }
    }

    /// Copies bytes of a tensor, from byte `offset` of it on, wherever the file is.
    ///
    /// # Errors
    /// `InvalidArgument` for a tensor of another file or a range past its end; where the host reads the file, those of
    /// [`from_read_at`](Self::from_read_at).
    pub fn read_tensor(&self, tensor: &TensorInfo, offset: usize, into: &mut [u8]) -> Result<()> {
        self.tensor_bytes(tensor)?.read(offset, into).map_err(|e| e.within(reader::Quoted(&tensor.name)))
    }

    /// The same bytes as a value of its own, which keeps the file open.
    pub fn tensor_bytes(&self, tensor: &TensorInfo) -> Result<TensorBytes> {
        let (source, range) = self.locate(tensor)?;
        Ok(TensorBytes { source: source.clone(), range })
    }

    /// Tells the operating system that a tensor's pages are not needed for now; they are read again when touched.
    pub fn release(&self, tensor: &TensorInfo) {
        if let Ok((source, range)) = self.locate(tensor) {
            source.release(range);
        }
    }

    /// Asks the operating system to read a tensor ahead of its use.
    pub fn will_need(&self, tensor: &TensorInfo) {
        if let Ok((source, range)) = self.locate(tensor) {
            source.will_need(range);
        }
    }

    /// Where a tensor is. Checked again, because a `TensorInfo` may come from another file.
    fn locate(&self, tensor: &TensorInfo) -> Result<(&Source, Range<usize>)> {
        let place = self.inner.shards.get(tensor.shard).and_then(|shard| {
            let start = usize::try_from(shard.data_start.checked_add(tensor.offset)?).ok()?;
            let end = start.checked_add(usize::try_from(tensor.n_bytes).ok()?)?;
            (end as u64 <= shard.source.len_bytes()).then_some((&shard.source, start..end))
        });
        match place {
            Some(place) => Ok(place),
            None => bail!(InvalidArgument, "tensor {} is not of this file", reader::Quoted(&tensor.name)),
        }
    }
}

/// The bytes of a tensor, wherever they are; see [`Gguf::tensor_bytes`].
#[derive(Clone, Debug)]
pub struct TensorBytes {
    source: Source,
    /// `locate` checked it; a source keeps its length.
    range: Range<usize>,
}

impl TensorBytes {
    /// Bytes of a tensor that is in no file.
    pub(crate) fn from_owner(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> TensorBytes {
        let bytes = OwnedBytes::new(owner);
        TensorBytes { range: 0..bytes.len(), source: Source::Memory(bytes) }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The bytes themselves; `None` where the host reads the file.
    pub fn in_memory(&self) -> Option<&[u8]> {
        self.source.in_memory()?.get(self.range.clone())
    }

    /// [`Gguf::read_tensor`].
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        match offset.checked_add(into.len()) {
            Some(end) if end <= self.len() => self.source.read((self.range.start + offset) as u64, into),
            _ => bail!(InvalidArgument, "{} bytes from {offset} pass the end of {} bytes", into.len(), self.len()),
        }
    }

    /// [`Gguf::release`] for a range of the bytes.
    pub fn release(&self, range: Range<usize>) {
        let at = |i: usize| self.range.start.saturating_add(i).min(self.range.end);
        self.source.release(at(range.start)..at(range.end));
    }
}

/// Where in its file a tensor is; `Header::read` has checked it.
fn tensor_range(data_start: u64, tensor: &TensorInfo) -> Range<u64> {
    let start = data_start + tensor.offset;
    start..start + tensor.n_bytes
}

fn sorted_by_name(tensors: &[TensorInfo]) -> Result<Vec<u32>> {
    let mut by_name = fallible::collect(0..tensors.len() as u32, "the table of tensors")?;
    by_name.sort_unstable_by(|&a, &b| tensors[a as usize].name.cmp(&tensors[b as usize].name));
    for pair in by_name.windows(2) {
        if tensors[pair[0] as usize].name == tensors[pair[1] as usize].name {
            bail!(InvalidFile, "tensor {} is there twice", reader::Quoted(&tensors[pair[0] as usize].name));
        }
    }
    Ok(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The header must be readable from any thread and cheap to share.
    #[test]
    fn a_gguf_is_send_sync_and_clone() {
        fn check<T: Send + Sync + Clone>() {}
        check::<Gguf>();
    }
}
