//! Memory that somebody else owns, read for as long as its owner is kept.

use std::ops::Deref;
use std::sync::Arc;

/// Bytes together with what owns them; the owner is dropped with the last clone. Dereferences to the bytes.
#[derive(Clone)]
pub(super) struct OwnedBytes {
    /// What the owner gave when it was asked, once: it need not give the same again.
    bytes: *const [u8],
    _owner: Arc<dyn Send + Sync>,
}

// SAFETY: the bytes are only read, and their owner, which is `Send` and `Sync`, lent them as `&[u8]`.
unsafe impl Send for OwnedBytes {}
// SAFETY: as above.
unsafe impl Sync for OwnedBytes {}

impl OwnedBytes {
    pub(super) fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> OwnedBytes {
        let owner = Arc::new(owner);
        let bytes: *const [u8] = (*owner).as_ref();
        OwnedBytes { bytes, _owner: owner }
    }
}

impl Deref for OwnedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: lent through a shared reference to the owner, which lies at a fixed place behind the `Arc` and is neither moved
        // nor borrowed mutably before it is dropped; so the borrow may last as long as this clone of the `Arc`.
        unsafe { &*self.bytes }
    }
}
