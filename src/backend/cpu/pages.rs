//! Pages of keys and values: fixed runs of positions, of all layers, in the layout that the attention kernels read.

use super::bindings as c;
use super::kernels::Kernel;
use super::memory::AlignedBytes;
use crate::backend::{CacheShape, KvType};
use crate::error::Result;
use crate::fallible;

/// Positions of a page.
pub const PAGE_LEN: usize = c::ORIBI_PAGE_LEN as usize;

/// A pool of pages. One page holds, for each layer and key head, a tile of keys and a tile of values.
pub struct Pages {
    shape: CacheShape,
    key_bytes: usize,
    value_bytes: usize,
    pages: Vec<AlignedBytes>,
}

impl Pages {
    pub(super) fn new(shape: CacheShape) -> Pages {
        let (key_bytes, value_bytes) = tile_bytes(shape);
        Pages { shape, key_bytes, value_bytes, pages: Vec::new() }
    }

    /// Bytes of a page.
    pub(super) fn page_bytes(shape: CacheShape) -> usize {
        let (key_bytes, value_bytes) = tile_bytes(shape);
        shape.n_layers * shape.heads.n_kv_heads * (key_bytes + value_bytes)
    }

    /// How the keys and values are kept.
    pub(super) fn kv_type(&self) -> KvType {
        self.shape.kv_type
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    pub(super) fn grow(&mut self) -> Result<()> {
        self.pages.push(AlignedBytes::zeroed(Pages::page_bytes(self.shape), "a page of keys and values")?);
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let (from, to) = (&self.pages[from as usize], &self.pages[to as usize]);
        // SAFETY: both have the length of a page; `&mut self` excludes other users, and `copy` allows the same page.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), from.len()) }
    }

    pub(super) fn read(&self, page: u32, into: &mut [u8]) {
        let from = &self.pages[page as usize];
        assert_eq!(into.len(), from.len(), "bytes of a page");
        // SAFETY: the lengths are equal; pages are written during passes alone, which borrow the pool while they run.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), into.as_mut_ptr(), into.len()) }
    }

    pub(super) fn write(&mut self, page: u32, from: &[u8]) {
        let to = &self.pages[page as usize];
        assert_eq!(from.len(), to.len(), "bytes of a page");
        // SAFETY: the lengths are equal; `&mut self` excludes other users.
        unsafe { std::ptr::copy_nonoverlapping(from.as_ptr(), to.as_ptr(), from.len()) }
    }

    /// Store zeros in the slots of a page from `from` on, as `store` writes them.
    pub(super) fn clear(&mut self, page: u32, from: usize, store: Kernel) -> Result<()> {
        let CacheShape { n_layers, heads, .. } = self.shape;
        let zeros = fallible::filled(0.0f32, heads.head_dim, "a head of zeros")?;
        for (layer, kv_head) in (0..n_layers).flat_map(|layer| (0..heads.n_kv_heads).map(move |head| (layer, head))) {
            let (key_page, value_page) = self.tiles(page, layer, kv_head);
            for slot in from..PAGE_LEN {
                let args = c::oribi_kv_store_args {
                    key: zeros.as_ptr(),
                    value: zeros.as_ptr(),
                    head_dim: heads.head_dim as u32,
                    slot: slot as u32,
                    key_page,
                    value_page,
                };
                // SAFETY: the tiles are this page's, which has the slot; `&mut self` excludes other users.
                unsafe { store.run(&args) }
            }
        }
        Ok(())
    }

    /// The tiles of keys and of values of a layer and key head in a page.
    pub(super) fn tiles(&self, page: u32, layer: usize, kv_head: usize) -> (*mut u8, *mut u8) {
        let CacheShape { n_layers, heads, .. } = self.shape;
        assert!(layer < n_layers && kv_head < heads.n_kv_heads, "layer {layer}, key head {kv_head}");
        let tile = (layer * heads.n_kv_heads + kv_head) * (self.key_bytes + self.value_bytes);
        let keys = self.pages[page as usize].as_ptr().wrapping_add(tile);
        (keys, keys.wrapping_add(self.key_bytes))
    }
}

/// Bytes of a tile of keys.
#[cfg(feature = "cuda")]
pub(in crate::backend) fn key_bytes(shape: CacheShape) -> usize {
    tile_bytes(shape).0
}

/// Bytes of a tile of keys and of a tile of values; both are whole cache lines.
fn tile_bytes(shape: CacheShape) -> (usize, usize) {
    let (dtype, head_dim) = (shape.kv_type.dtype() as u32, shape.heads.head_dim as u32);
    // SAFETY: pure functions of two numbers.
    unsafe { (c::oribi_key_page_bytes(dtype, head_dim), c::oribi_value_page_bytes(dtype, head_dim)) }
}
