//! Results on their way to the host: a buffer and its copy there.

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::driver::{Buffer, Driver, HostBuffer};
use crate::error::Result;

/// A buffer in the GPU's memory with a copy in the host's, which is made when it is first needed. It is used as the buffer.
pub(super) struct Mirrored {
    buffer: Buffer,
    copy: OnceLock<HostBuffer>,
}

impl Mirrored {
    pub fn new(buffer: Buffer) -> Mirrored {
        Mirrored { buffer, copy: OnceLock::new() }
    }

    /// The copy, as large as the buffer and zeros at first.
    pub fn copy(&self, driver: &Arc<dyn Driver>) -> Result<&HostBuffer> {
        if let Some(copy) = self.copy.get() {
            return Ok(copy);
        }
        let new = HostBuffer::new(driver, self.buffer.len(), "results in the host's memory")?;
        Ok(self.copy.get_or_init(|| new))
    }

    /// The copy, which was published before.
    pub fn published(&self) -> &HostBuffer {
        self.copy.get().expect("results that are read were published")
    }

    /// Begin to copy the first `n_bytes` to the host; complete after the next synchronization. The caller, a pass, has exclusive use
    /// of both sides until then.
    pub fn publish(&self, driver: &Arc<dyn Driver>, n_bytes: usize) -> Result<()> {
        let (from, to) = (self.buffer.at(0, n_bytes), self.copy(driver)?);
        // SAFETY: `at` checks the source; the copy has as many bytes; a pass uses them alone, and ends with a synchronization.
        unsafe { driver.read_later(from, to.as_ptr(), n_bytes) }
    }
}

impl Deref for Mirrored {
    type Target = Buffer;

    fn deref(&self) -> &Buffer {
        &self.buffer
    }
}
