//! A cursor over the header's bytes that cannot pass their end.

use super::value::ValueType;
use crate::error::{Result, bail};
use std::fmt;

/// The most bytes that a header may take. Real headers stay below 50 MB; the limit bounds the time that a hostile file can
/// take, and tells a credible promise that a short file broke (`Truncated`) from an absurd one (`InvalidFile`).
pub(super) const MAX_HEADER_BYTES: u64 = 1 << 30;

/// The most bytes of a key or a tensor's name (the specification's limit for keys).
pub(super) const MAX_NAME_BYTES: usize = 65_535;

/// A position in bytes; every read checks against what remains.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes of a count or a length: 4 in version 1, 8 later.
    count_bytes: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8], count_bytes: usize) -> Self {
        let end = bytes.len().min(MAX_HEADER_BYTES as usize);
        Reader { bytes: &bytes[..end], at: 0, count_bytes }
    }

    /// The position, in bytes from the start.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn count_bytes(&self) -> usize {
        self.count_bytes
    }

    pub(super) fn set_count_bytes(&mut self, count_bytes: usize) {
        self.count_bytes = count_bytes;
    }

    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// Checks that `n` items of at least `min_bytes` bytes each can follow, before anything is allocated for them.
    pub(super) fn expect_room(&self, n: u64, min_bytes: usize, what: &str) -> Result<()> {
        match n.checked_mul(min_bytes as u64) {
            Some(n_bytes) if n_bytes <= self.remaining() as u64 => Ok(()),
            n_bytes => self.too_short(n_bytes, &format!("{n} {what}")),
        }
    }

    /// The next `n` bytes.
    pub(super) fn take(&mut self, n: u64, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        match usize::try_from(n).ok().and_then(|n| rest.get(..n)) {
            Some(taken) => {
                self.at += taken.len();
                Ok(taken)
            }
            None => self.too_short(Some(n), what),
        }
    }

    /// The error for something of `n_bytes` (`None`: past 64 bits) that does not fit what remains: a file that stopped
    /// early where the promise is credible, a file that lies otherwise.
    #[cold]
    fn too_short<T>(&self, n_bytes: Option<u64>, what: &str) -> Result<T> {
        let (at, end) = (self.at, self.bytes.len());
        match n_bytes.and_then(|n| n.checked_add(at as u64)) {
            Some(promised) if promised <= MAX_HEADER_BYTES => bail!(
                Truncated,
                "the file has {end} bytes and ends inside its header: {what} from byte {at} to at least {promised}: \
                 a download or copy stopped early"
            ),
            _ => bail!(InvalidFile, "{what} at byte {at} would make a header of more than 1 GiB"),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N as u64, what)?);
        Ok(out)
    }

    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    pub(super) fn u64(&mut self, what: &str) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// A count or a length, in the width of the file's version.
    pub(super) fn count(&mut self, what: &str) -> Result<u64> {
        if self.count_bytes == 4 { self.u32(what).map(u64::from) } else { self.u64(what) }
    }

    /// A string's bytes, of whatever encoding.
    pub(super) fn string(&mut self, what: &str) -> Result<&'a [u8]> {
        let len_bytes = self.count(what)?;
        self.take(len_bytes, what)
    }

    /// A key or a tensor's name: UTF-8, not empty, of bounded length, without NUL (which would end it in C).
    pub(super) fn name(&mut self, what: &str) -> Result<&'a str> {
        let start = self.at;
        let bytes = self.string(what)?;
        if bytes.is_empty() || bytes.len() > MAX_NAME_BYTES {
            bail!(InvalidFile, "{what} at byte {start} has {} bytes, outside 1 to {MAX_NAME_BYTES}", bytes.len());
        }
        match std::str::from_utf8(bytes) {
            Ok(name) if name.contains('\0') => bail!(InvalidFile, "{what} at byte {start} holds a NUL byte"),
            Ok(name) => Ok(name),
            Err(e) => bail!(InvalidFile, "{what} at byte {start} is not UTF-8 from its byte {}", e.valid_up_to()),
        }
    }

    /// A metadata value's type.
    pub(super) fn value_type(&mut self) -> Result<ValueType> {
        let at = self.at;
        let id = self.u32("a value type")?;
        match ValueType::from_id(id) {
            Some(value_type) => Ok(value_type),
            None => bail!(InvalidFile, "value type {id} at byte {at} is unknown"),
        }
    }
}

/// A name from a file, fit to print: quoted, control characters escaped, cut after 80 characters.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut chars = self.0.chars();
        f.write_str("`")?;
        for c in chars.by_ref().take(80) {
            write!(f, "{}", c.escape_debug())?;
        }
        f.write_str(if chars.next().is_some() { "...`" } else { "`" })
    }
}
