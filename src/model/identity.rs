//! What tells one model from another: a hash of its header and of a sample of its weights.

use twox_hash::XxHash3_128;

use crate::error::Result;
use crate::gguf::{Gguf, TensorInfo};

/// Bytes of each tensor that are looked at.
const SAMPLE_BYTES: usize = 64;

/// The sample, collected while tensors are bound, in any order.
#[derive(Default)]
pub(super) struct Sample(u128);

impl Sample {
    /// Takes the first bytes of a tensor.
    pub fn add(&mut self, gguf: &Gguf, tensor: &TensorInfo) -> Result<()> {
        let mut bytes = [0; SAMPLE_BYTES];
        let n = SAMPLE_BYTES.min(usize::try_from(tensor.n_bytes()).unwrap_or(SAMPLE_BYTES));
        gguf.read_tensor(tensor, 0, &mut bytes[..n])?;
        let mut hash = XxHash3_128::new();
        hash.write(tensor.name.as_bytes());
        hash.write(&bytes[..n]);
        // A sum does not depend on the order.
        self.0 = self.0.wrapping_add(hash.finish_128());
        Ok(())
    }

    /// The identity of the model in `gguf`, all of whose tensors were added.
    pub fn identity(&self, gguf: &Gguf) -> [u8; 16] {
        let mut hash = XxHash3_128::new();
        for header in gguf.headers() {
            hash.write(&(header.len() as u64).to_le_bytes());
            hash.write(header);
        }
        hash.write(&self.0.to_le_bytes());
        hash.finish_128().to_le_bytes()
    }
}
