//! Memory of the CPU backend: aligned, fallible, zeroed.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use memmap2::{MmapMut, MmapOptions};

use crate::error::{Result, bail};

/// Alignment of every buffer: a cache line, and a 512-bit vector.
pub(super) const ALIGN: usize = 64;
/// From this size on, a buffer is a mapping of its own: its pages are made when they are first touched, by whichever worker
/// does, and go back to the system when it is dropped.
const MAPPED_BYTES: usize = 256 << 10;

/// A zeroed buffer of bytes. Its content is reached through raw pointers, because the workers of a team write disjoint
/// parts of it at once.
pub struct AlignedBytes {
    start: NonNull<u8>,
    len: usize,
    /// What owns the bytes; `None` for the heap.
    mapping: Option<MmapMut>,
}

// SAFETY: it owns plain bytes. Sharing is sound by the users' contract: concurrent writes are disjoint, and reads are
// ordered after them by the end of a step or of a run.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zeroed bytes.
    ///
    /// # Errors
    /// `OutOfMemory` naming `what`.
    pub fn zeroed(len: usize, what: &str) -> Result<AlignedBytes> {
        let Ok(layout) = Layout::from_size_align(len.max(ALIGN), ALIGN) else {
            bail!(OutOfMemory, "{what} would take {len} bytes, more than the address space");
        };
        if len >= MAPPED_BYTES {
            return AlignedBytes::mapped(len, what);
        }
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Ok(AlignedBytes { start, len, mapping: None }),
            None => bail!(OutOfMemory, "no memory for {what}: {len} bytes"),
        }
    }

    fn mapped(len: usize, what: &str) -> Result<AlignedBytes> {
        let mut mapping = match MmapOptions::new().len(len).map_anon() {
            Ok(mapping) => mapping,
            Err(e) => bail!(OutOfMemory, "no memory for {what}: {len} bytes ({e})"),
        };
        match NonNull::new(mapping.as_mut_ptr()) {
            Some(start) => Ok(AlignedBytes { start, len, mapping: Some(mapping) }),
            None => bail!(OutOfMemory, "no memory for {what}: {len} bytes"),
        }
    }

    /// Ask for huge pages: fewer page faults and address translations where memory is read from end to end. A hint, known on
    /// Linux alone, without effect on small buffers.
    pub fn use_huge_pages(&self) {
        #[cfg(target_os = "linux")]
        if let Some(mapping) = &self.mapping {
            // Refusal changes speed and nothing else.
            let _ = mapping.advise(memmap2::Advice::HugePage);
        }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Its first byte.
    pub fn as_ptr(&self) -> *mut u8 {
        self.start.as_ptr()
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if self.mapping.is_none() {
            // SAFETY: allocated in `zeroed` with this very layout, which was valid there.
            unsafe { dealloc(self.start.as_ptr(), Layout::from_size_align_unchecked(self.len.max(ALIGN), ALIGN)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn buffers_are_aligned_zeroed_and_fallible() {
        for len in [0, 1, 63, 64, 1000, MAPPED_BYTES, MAPPED_BYTES + 1] {
            let bytes = AlignedBytes::zeroed(len, "a test").unwrap();
            bytes.use_huge_pages();
            assert_eq!(bytes.as_ptr() as usize % ALIGN, 0);
            // SAFETY: `len` bytes were allocated and zeroed, and nobody writes.
            assert!(unsafe { std::slice::from_raw_parts(bytes.as_ptr(), len) }.iter().all(|&b| b == 0));
        }
        for len in [usize::MAX, isize::MAX as usize - 64] {
            assert_eq!(AlignedBytes::zeroed(len, "a test").err().unwrap().kind(), ErrorKind::OutOfMemory);
        }
    }
}
