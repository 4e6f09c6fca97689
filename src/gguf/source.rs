//! Where a file's bytes are: mapped, in memory, or with the host, who reads them on request.

use super::owner::OwnedBytes;
use super::read_at::ReadAt;
use crate::error::{Result, bail};
use crate::mapped_file::MappedFile;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of one GGUF file, shared by reference count.
#[derive(Clone)]
pub(super) enum Source {
    Mapped(Arc<MappedFile>),
    Memory(OwnedBytes),
    /// The header is in memory, the rest is read when it is asked for.
    Host {
        header: Arc<Vec<u8>>,
        file: ReadAt,
    },
}

impl Source {
    /// Bytes of the file.
    pub(super) fn len_bytes(&self) -> u64 {
        match self {
            Source::Mapped(map) => map.len() as u64,
            Source::Memory(bytes) => bytes.len() as u64,
            Source::Host { file, .. } => file.len_bytes(),
        }
    }

    /// The file's first bytes: all that are in memory, the header at least.
    pub(super) fn first_bytes(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Memory(bytes) => bytes,
            Source::Host { header, .. } => header,
        }
    }

    /// The same bytes to change, if nobody else holds them; none otherwise.
    pub(super) fn into_first_bytes(self) -> Vec<u8> {
        match self {
            Source::Host { header, .. } => Arc::try_unwrap(header).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// All bytes, unless the host must be asked for them.
    pub(super) fn in_memory(&self) -> Option<&[u8]> {
        (!matches!(self, Source::Host { .. })).then(|| self.first_bytes())
    }

    /// Copies the bytes from `offset` on.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let len_bytes = self.len_bytes();
        let end = offset.checked_add(into.len() as u64).filter(|&end| end <= len_bytes);
        let Some(end) = end else {
            bail!(InvalidArgument, "{} bytes from {offset} pass the end of {len_bytes} bytes", into.len());
        };
        match self {
            Source::Host { file, .. } => file.read(offset, into)?,
            // In memory, so that positions fit.
            _ => into.copy_from_slice(&self.first_bytes()[offset as usize..end as usize]),
        }
        Ok(())
    }

    /// See [`MappedFile::release`].
    pub(super) fn release(&self, range: Range<usize>) {
        if let Source::Mapped(map) = self {
            map.release(range);
        }
    }

    /// See [`MappedFile::will_need`].
    pub(super) fn will_need(&self, range: Range<usize>) {
        if let Source::Mapped(map) = self {
            map.will_need(range);
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self {
            Source::Mapped(_) => "mapped",
            Source::Memory(_) => "in memory",
            Source::Host { .. } => "read by a callback",
        };
        write!(f, "{} bytes {kind}", self.len_bytes())
    }
}
