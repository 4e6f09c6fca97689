//! The only memory mapping in the crate: a read-only view of a regular file, or of a range of one.
//!
//! # Safety contract
//!
//! Rust takes the mapped bytes for immutable, and the operating system does not promise that. Whoever opens a file through
//! this module therefore promises that **nobody shortens or rewrites the file while it is open**. Shortening it makes a
//! later access fault (`SIGBUS` on Unix); rewriting it in place can make two reads of one byte differ. Replacing a file by
//! renaming another over it is fine: the mapping keeps the old one alive. An embedder that cannot make the promise reads the
//! file into memory and uses [`Gguf::from_bytes`](crate::gguf::Gguf::from_bytes). To keep a broken promise from turning
//! into a panic, the parsers over mapped bytes copy what they decide on, and check bounds again whenever they decode.

use crate::error::{Error, ErrorKind, Result, bail};
use memmap2::{Mmap, MmapOptions};
use std::fs::{File, Metadata};
use std::ops::{Deref, Range};
use std::path::Path;

/// A mapped range of a regular file; dereferences to its bytes. No alignment of the bytes' address is promised.
#[derive(Debug)]
pub struct MappedFile {
    /// `None` for a range of no bytes, which some systems refuse to map.
    map: Option<Mmap>,
}

impl MappedFile {
    /// Maps a whole file. Anything but a regular file (a directory, FIFO, socket, device) is refused before it is opened,
    /// because opening a FIFO blocks and a device has no end.
    pub fn open(path: &Path) -> Result<MappedFile> {
        let shown = path.display();
        let metadata = std::fs::metadata(path).map_err(|e| Error::io(format_args!("open {shown}"), e))?;
        require_regular_file(&metadata).map_err(|e| e.within(format_args!("open {shown}")))?;
        let file = File::open(path).map_err(|e| Error::io(format_args!("open {shown}"), e))?;
        // The file is asked again: the name may have been given to something else in between.
        let metadata = file.metadata().map_err(|e| Error::io(format_args!("open {shown}"), e))?;
        MappedFile::map(&file, &metadata, 0, metadata.len()).map_err(|e| e.within(format_args!("open {shown}")))
    }

    /// Maps `len_bytes` bytes from byte `offset` of an open file; `offset` need not be a multiple of anything. A range that
    /// passes the end of the file is an error.
    pub fn open_range(file: &File, offset: u64, len_bytes: u64) -> Result<MappedFile> {
        let metadata = file.metadata().map_err(|e| Error::io("map a range of a file", e))?;
        MappedFile::map(file, &metadata, offset, len_bytes).map_err(|e| e.within("map a range of a file"))
    }

    fn map(file: &File, metadata: &Metadata, offset: u64, len_bytes: u64) -> Result<MappedFile> {
        require_regular_file(metadata)?;
        let file_bytes = metadata.len();
        let end = offset.checked_add(len_bytes);
        if end.is_none_or(|end| end > file_bytes) {
            bail!(InvalidArgument, "{len_bytes} bytes from byte {offset} pass the end of a file of {file_bytes} bytes");
        }
        if len_bytes == 0 {
            return Ok(MappedFile { map: None });
        }
        let Ok(len) = usize::try_from(len_bytes) else {
            bail!(OutOfMemory, "{len_bytes} bytes do not fit the address space");
        };
        // SAFETY: the mapping is read-only and stays within the file as it is now; that nobody shortens or rewrites the file
        // while it is open is the caller's promise, see the contract of this module.
        let map = unsafe { MmapOptions::new().offset(offset).len(len).map(file) };
        Ok(MappedFile { map: Some(map.map_err(|e| Error::io("map", e))?) })
    }

    /// Tells the operating system that a range of the bytes is not needed for now: its pages leave this process, and are
    /// read from the file again if they are touched. A hint: without effect where the system has no such call.
    pub fn release(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some((map, len)) = self.within(&range) {
            // SAFETY: the mapping is file-backed and never written through, so dropping its pages loses nothing: the next
            // access reads the same bytes from the file. The range was checked against the mapping.
            let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, range.start, len) };
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// Asks the operating system to read a range ahead of its use. A hint, like [`release`](Self::release).
    pub fn will_need(&self, range: Range<usize>) {
        #[cfg(unix)]
        if let Some((map, len)) = self.within(&range) {
            let _ = map.advise_range(memmap2::Advice::WillNeed, range.start, len);
        }
        #[cfg(not(unix))]
        let _ = range;
    }

    /// The mapping and the range's length, if there is anything to advise about.
    #[cfg(unix)]
    fn within(&self, range: &Range<usize>) -> Option<(&Mmap, usize)> {
        let map = self.map.as_ref()?;
        let len = range.end.checked_sub(range.start)?;
        (len > 0 && range.end <= map.len()).then_some((map, len))
    }
}

impl Deref for MappedFile {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.map.as_deref().unwrap_or(&[])
    }
}

/// An error that says what the thing is, unless it is a regular file.
fn require_regular_file(metadata: &Metadata) -> Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let what = if metadata.is_dir() { "a directory" } else { special_file(metadata) };
    Err(Error::new(ErrorKind::Io, format!("this is {what}, not a regular file")))
}

#[cfg(unix)]
fn special_file(metadata: &Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    let kind = metadata.file_type();
    match () {
        () if kind.is_fifo() => "a pipe (FIFO)",
        () if kind.is_socket() => "a socket",
        () if kind.is_char_device() || kind.is_block_device() => "a device",
        () => "a special file",
    }
}

#[cfg(not(unix))]
fn special_file(_: &Metadata) -> &'static str {
    "a special file"
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn sample() -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let bytes: Vec<u8> = (0..100_000u32).map(|i| (i % 251) as u8).collect();
        file.write_all(&bytes).unwrap();
        file
    }

    #[test]
    fn a_file_and_an_unaligned_range_of_it_hold_the_same_bytes() {
        let file = sample();
        let whole = MappedFile::open(file.path()).unwrap();
        assert_eq!(whole.len(), 100_000);
        let range = MappedFile::open_range(file.as_file(), 4099, 70_001).unwrap();
        assert_eq!(&range[..], &whole[4099..4099 + 70_001]);
        assert!(MappedFile::open_range(file.as_file(), 4099, 0).unwrap().is_empty());
    }

    #[test]
    fn a_range_past_the_end_is_refused() {
        let file = sample();
        for (offset, len) in [(0, 100_001), (100_000, 1), (u64::MAX, 2), (1, u64::MAX)] {
            let error = MappedFile::open_range(file.as_file(), offset, len).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        }
    }

    #[test]
    fn released_bytes_read_the_same_again() {
        let file = sample();
        let whole = MappedFile::open(file.path()).unwrap();
        let before = whole.to_vec();
        whole.will_need(0..50_000);
        whole.release(1..99_999);
        // Ranges that make no sense are hints that nobody follows.
        whole.release(5..1_000_000);
        #[allow(clippy::reversed_empty_ranges, reason = "the point of the test")]
        whole.release(9..3);
        assert_eq!(&whole[..], &before[..]);
    }

    #[test]
    fn an_empty_file_maps_to_no_bytes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let map = MappedFile::open(file.path()).unwrap();
        assert!(map.is_empty());
        map.release(0..1);
    }

    #[test]
    fn a_directory_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let error = MappedFile::open(folder.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.to_string().contains("a directory"), "{error}");
    }
}
