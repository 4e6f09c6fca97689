//! What a pass brings to the GPU besides its launches: tokens, positions, lists of pages. Small pieces, of which nobody knows before
//! how many there are.

use std::sync::Arc;

use super::driver::{Address, Buffer, Driver, HostBuffer};
use crate::error::Result;

/// Bytes of the first chunk.
const CHUNK_BYTES: usize = 64 << 10;
/// Alignment of a piece.
const ALIGN: usize = 16;

const WHAT: &str = "the tables of a pass";

/// Plain numbers, without padding between them.
///
/// # Safety
/// Every byte of a value is initialised.
pub(super) unsafe trait Plain: Copy {}

// SAFETY: numbers.
unsafe impl Plain for u32 {}
// SAFETY: numbers.
unsafe impl Plain for u64 {}
// SAFETY: numbers.
unsafe impl Plain for f64 {}
// SAFETY: two numbers of one size.
unsafe impl Plain for super::bindings::oribi_cuda_row {}
// SAFETY: two numbers of one size.
unsafe impl Plain for super::bindings::oribi_cuda_tile {}

struct Chunk {
    host: HostBuffer,
    device: Buffer,
}

/// Memory for the pieces of one pass after the other.
#[derive(Default)]
pub(super) struct Uploads {
    chunks: Vec<Chunk>,
    /// The chunk that is being filled, and how far.
    current: usize,
    n_used: usize,
}

impl Uploads {
    /// A pass begins; those before it are complete.
    pub fn begin(&mut self) {
        self.current = 0;
        self.n_used = 0;
    }

    /// Where on the GPU these values will be during this pass.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    pub fn put<T: Plain>(&mut self, driver: &Arc<dyn Driver>, values: &[T]) -> Result<Address> {
        let n_bytes = size_of_val(values);
        while self.chunks.get(self.current).is_some_and(|chunk| self.n_used + n_bytes > chunk.host.len()) {
            self.current += 1;
            self.n_used = 0;
        }
        if self.current == self.chunks.len() {
            let largest = self.chunks.last().map_or(CHUNK_BYTES, |chunk| 2 * chunk.host.len());
            let len = largest.max(n_bytes.next_power_of_two());
            let host = HostBuffer::new(driver, len, WHAT)?;
            self.chunks.push(Chunk { host, device: Buffer::new(driver, len, WHAT)? });
        }
        let (chunk, at) = (&self.chunks[self.current], self.n_used);
        self.n_used = (at + n_bytes).next_multiple_of(ALIGN);
        let to = chunk.device.at(at, n_bytes);
        // SAFETY: the host's part has room from `at` on, as the device's, which was checked; nobody uses it before the next pass,
        // and that begins when this one has been synchronized with.
        unsafe {
            let from = chunk.host.as_ptr().add(at);
            from.copy_from_nonoverlapping(values.as_ptr().cast(), n_bytes);
            driver.write_later(to, from, n_bytes)?;
        }
        Ok(to)
    }
}
