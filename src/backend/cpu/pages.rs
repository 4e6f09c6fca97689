//! Pages of keys and values: fixed runs of positions, of all layers, in the layout that the attention kernels read.

use super::bindings as c;
use super::memory::AlignedBytes;
use crate::backend::{CacheShape, KvType};
use crate::error::Result;

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

    pub(super) fn grow(&mut self) -> Result<()> {
        self.pages.push(AlignedBytes::zeroed(Pages::page_bytes(self.shape), "a page of keys and values")?);
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let (from, to) = (&self.pages[from as usize], &self.pages[to as usize]);
        // SAFETY: both have the length of a page; `&mut self` excludes other users, and `copy` allows the same page.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), from.len()) }
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

/// Bytes of a tile of keys and of a tile of values; both are whole cache lines.
fn tile_bytes(shape: CacheShape) -> (usize, usize) {
    let (dtype, head_dim) = (shape.kv_type.dtype() as u32, shape.heads.head_dim as u32);
    // SAFETY: pure functions of two numbers.
    unsafe { (c::oribi_key_page_bytes(dtype, head_dim), c::oribi_value_page_bytes(dtype, head_dim)) }
}
