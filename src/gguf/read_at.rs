//! Bytes that the host reads on request.

use std::io;
use std::sync::Arc;

use crate::error::{Error, Result, bail};
use crate::fallible;

/// Reads from an offset into a buffer and says how many bytes it read; the convention is that of `pread`.
type Read = dyn Fn(u64, &mut [u8]) -> io::Result<usize> + Send + Sync;

/// A file behind a callback of the host.
#[derive(Clone)]
pub(super) struct ReadAt {
    len_bytes: u64,
    read: Arc<Read>,
}

impl ReadAt {
    pub(super) fn new(
        len_bytes: u64,
        read: impl Fn(u64, &mut [u8]) -> io::Result<usize> + Send + Sync + 'static,
    ) -> ReadAt {
        ReadAt { len_bytes, read: Arc::new(read) }
    }

    pub(super) fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    /// Fills `into` from byte `offset` on. The callback may give less than was asked for, and is then asked for the rest.
    pub(super) fn read(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        let (n_bytes, mut done) = (into.len(), 0);
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let (at, asked) = (offset + done as u64, rest.len());
            match (self.read)(at, rest) {
                Ok(0) => bail!(
                    Truncated,
                    "the read callback has no bytes at {at}, of a file that it was said to have {} bytes of",
                    self.len_bytes
                ),
                Ok(n) if n <= asked => done += n,
                Ok(n) => {
                    bail!(Io, "the read callback says that it read {n} bytes at {at} where {asked} were asked for")
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io(format_args!("read {n_bytes} bytes at {offset}"), e)),
            }
        }
        Ok(())
    }

    /// Reads on behind the first bytes of the file in `head`, until these are `n_bytes`.
    pub(super) fn extend(&self, head: &mut Vec<u8>, n_bytes: usize) -> Result<()> {
        let start = head.len();
        let more = n_bytes.saturating_sub(start);
        fallible::reserve(head, more, "the header")?;
        head.resize(start + more, 0);
        self.read(start as u64, head.get_mut(start..).unwrap_or_default())
    }
}
