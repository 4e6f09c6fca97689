//! Where a file's bytes are: mapped, or in memory.

use crate::mapped_file::MappedFile;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// The bytes of one GGUF file, shared by reference count.
#[derive(Clone)]
pub(super) enum Source {
    Mapped(Arc<MappedFile>),
    Memory(Arc<[u8]>),
}

impl Source {
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

impl Deref for Source {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Source::Mapped(map) => map,
            Source::Memory(bytes) => bytes,
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if matches!(self, Source::Mapped(_)) { "mapped" } else { "in memory" };
        write!(f, "{} bytes {kind}", self.len())
    }
}
