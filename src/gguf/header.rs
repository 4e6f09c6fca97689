//! One file's header: what stands before the tensor data.

use super::metadata::Metadata;
use super::read_at::ReadAt;
use super::reader::{MAX_HEADER_BYTES, Reader};
use super::source::Source;
use super::tensor::{self, TensorInfo};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::fallible;
use std::sync::Arc;

/// The first bytes of a GGUF file.
pub(super) const MAGIC: &[u8; 4] = b"GGUF";

/// The key that sets the alignment of tensor data, and its value where the key is absent.
pub(super) const ALIGNMENT_KEY: &str = "general.alignment";
pub(super) const DEFAULT_ALIGNMENT: u64 = 32;

/// Alignments that are accepted: a multiple of 8 as the specification says, a power of two as the field's loaders demand,
/// and no more than any page size.
const ALIGNMENTS: std::ops::RangeInclusive<u64> = 8..=1 << 24;

/// Bytes that a host is asked for first: the whole header of a file without a vocabulary.
const FIRST_READ_BYTES: u64 = 64 << 10;

/// A validated header.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: u32,
    pub(super) alignment: u64,
    /// Where the tensor data begins, in bytes from the start of the file; past its end in a file without tensors.
    pub(super) data_start: u64,
    pub(super) metadata: Metadata,
    pub(super) tensors: Vec<TensorInfo>,
}

impl Header {
    /// Reads and validates the header of file `shard`; touches no tensor data.
    pub(super) fn read(source: &Source, shard: usize) -> Result<Header> {
        let header = Header::parse(source, shard)?;
        header.check(source)?;
        Ok(header)
    }

    /// The same of a file that the host reads. Nobody knows before where the header ends; so twice as much is read until it is
    /// whole, and what was read beyond it is dropped.
    pub(super) fn read_from_host(file: &ReadAt) -> Result<(Source, Header)> {
        let most = file.len_bytes().min(MAX_HEADER_BYTES);
        let mut n_bytes = most.min(FIRST_READ_BYTES);
        let mut bytes = Vec::new();
        loop {
            file.extend(&mut bytes, n_bytes as usize)?;
            let source = Source::Host { header: Arc::new(bytes), file: file.clone() };
            match Header::parse(&source, 0) {
                Ok(header) if header.data_start >= n_bytes => {
                    header.check(&source)?;
                    return Ok((source, header));
                }
                Ok(header) => n_bytes = header.data_start,
                Err(e) if e.kind() == ErrorKind::Truncated && n_bytes < most => n_bytes = most.min(2 * n_bytes),
                Err(e) => return Err(e),
            }
            let known = source.into_first_bytes();
            bytes = match known.get(..n_bytes as usize) {
                // Shrinking would be an allocation too, and one that cannot fail.
                Some(exact) => fallible::collect(exact.iter().copied(), "the header")?,
                None => known,
            };
        }
    }

    /// Checks the tensors against the file.
    fn check(&self, source: &Source) -> Result<()> {
        tensor::check_layout(&self.tensors, self.data_start, source.len_bytes(), self.alignment)
    }

    fn parse(source: &Source, shard: usize) -> Result<Header> {
        let bytes = source.first_bytes();
        check_magic(bytes)?;
        let mut reader = Reader::new(bytes, 8);
        reader.take(MAGIC.len() as u64, "the magic")?;
        let version = reader.u32("the version")?;
        check_version(version)?;
        reader.set_count_bytes(if version == 1 { 4 } else { 8 });
        let n_tensors = reader.count("the number of tensors")?;
        let n_entries = reader.count("the number of metadata entries")?;
        let metadata = Metadata::read(&mut reader, n_entries, source)?;
        let alignment = alignment(&metadata)?;
        let tensors = tensor::read_all(&mut reader, n_tensors, alignment, shard)?;
        let data_start = (reader.at() as u64).next_multiple_of(alignment);
        Ok(Header { version, alignment, data_start, metadata, tensors })
    }
}

/// The alignment that the metadata sets.
fn alignment(metadata: &Metadata) -> Result<u64> {
    let alignment = metadata.opt_u64(ALIGNMENT_KEY)?.unwrap_or(DEFAULT_ALIGNMENT);
    check_alignment(alignment)?;
    Ok(alignment)
}

pub(super) fn check_alignment(alignment: u64) -> Result<()> {
    if !ALIGNMENTS.contains(&alignment) || !alignment.is_power_of_two() {
        let (least, most) = (ALIGNMENTS.start(), ALIGNMENTS.end());
        bail!(InvalidFile, "`{ALIGNMENT_KEY}` is {alignment}, not a power of two from {least} to {most}");
    }
    Ok(())
}

fn check_version(version: u32) -> Result<()> {
    match version {
        1..=3 => Ok(()),
        // A small number seen from the wrong end.
        _ if version & 0xffff == 0 && version != 0 => {
            bail!(
                UnsupportedVersion,
                "the file is big-endian (version {} byte-swapped); only little-endian GGUF is supported",
                version.swap_bytes()
            )
        }
        _ => bail!(UnsupportedVersion, "GGUF version {version} is not supported, only versions 1 to 3"),
    }
}

fn check_magic(bytes: &[u8]) -> Result<()> {
    if bytes.starts_with(MAGIC) {
        return Ok(());
    }
    if bytes.is_empty() {
        bail!(NotGguf, "the file is empty");
    }
    if MAGIC.starts_with(bytes) {
        bail!(Truncated, "the file has {} bytes, but a GGUF header takes at least 24", bytes.len());
    }
    let first = &bytes[..bytes.len().min(8)];
    let guess = guess_format(bytes).map_or(String::new(), |what| format!("; it looks like {what}"));
    let text = format!("not a GGUF file: it begins with \"{}\", not \"GGUF\"{guess}", first.escape_ascii());
    Err(Error::new(ErrorKind::NotGguf, text))
}

/// What people commonly pass for a GGUF file.
fn guess_format(bytes: &[u8]) -> Option<&'static str> {
    let head = &bytes[..bytes.len().min(512)];
    let text = head.trim_ascii_start();
    let begins = |prefix: &str| text.get(..prefix.len()).is_some_and(|t| t.eq_ignore_ascii_case(prefix.as_bytes()));
    match () {
        () if head.starts_with(b"version https://git-lfs") => {
            Some("a Git LFS pointer: the repository was cloned without its large files, `git lfs pull` gets them")
        }
        () if begins("<!doctype") || begins("<html") => {
            Some("an HTML page: the download fetched a web page instead of the file")
        }
        () if head.starts_with(b"PK\x03\x04") => {
            Some("a PyTorch checkpoint (zip archive), which must be converted to GGUF")
        }
        () if head.starts_with(b"\x80\x02") => Some("a PyTorch checkpoint (pickle), which must be converted to GGUF"),
        () if head.get(8) == Some(&b'{') && head.get(6..8) == Some(&[0, 0]) => {
            Some("a safetensors file, which must be converted to GGUF")
        }
        () if [b"lmgg", b"tjgg", b"fmgg", b"algg"].iter().any(|magic| head.starts_with(*magic)) => {
            Some("a GGML file from before GGUF, which must be converted")
        }
        () if head.starts_with(b"FUGG") => Some("GGUF with its magic in the reverse byte order"),
        () if head.starts_with(b"\x1f\x8b") || head.starts_with(b"\x28\xb5\x2f\xfd") => Some("a compressed file"),
        () if begins("{") => Some("a JSON file"),
        () => None,
    }
}
