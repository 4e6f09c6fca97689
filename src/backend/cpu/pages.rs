//! Pages of keys and values: fixed runs of positions, of all layers, in the layout that the attention kernels read.

use super::bindings as c;
use super::memory::AlignedBytes;
use crate::backend::Heads;
use crate::error::Result;

/// Positions of a page.
pub const PAGE_LEN: usize = c::ORIBI_PAGE_LEN as usize;

/// A pool of pages. One page holds, for each layer and key head, a tile of keys and a tile of values in float16.
pub struct Pages {
    heads: Heads,
    n_layers: usize,
    pages: Vec<AlignedBytes>,
}

impl Pages {
    pub(super) fn new(n_layers: usize, heads: Heads) -> Pages {
        Pages { heads, n_layers, pages: Vec::new() }
    }

    /// Bytes of a page.
    pub(super) fn page_bytes(n_layers: usize, heads: Heads) -> usize {
        n_layers * heads.n_kv_heads * (key_len(heads) + value_len(heads)) * size_of::<u16>()
    }

    pub(super) fn grow(&mut self) -> Result<()> {
        let page = AlignedBytes::zeroed(Pages::page_bytes(self.n_layers, self.heads), "a page of keys and values")?;
        self.pages.push(page);
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) {
        let (from, to) = (&self.pages[from as usize], &self.pages[to as usize]);
        // SAFETY: both have the length of a page; `&mut self` excludes other users, and `copy` allows the same page.
        unsafe { std::ptr::copy(from.as_ptr(), to.as_ptr(), from.len()) }
    }

    /// The tiles of keys and of values of a layer and key head in a page.
    pub(super) fn tiles(&self, page: u32, layer: usize, kv_head: usize) -> (*mut u16, *mut u16) {
        assert!(layer < self.n_layers && kv_head < self.heads.n_kv_heads, "layer {layer}, key head {kv_head}");
        let tile = (layer * self.heads.n_kv_heads + kv_head) * (key_len(self.heads) + value_len(self.heads));
        let keys = self.pages[page as usize].as_ptr().cast::<u16>().wrapping_add(tile);
        (keys, keys.wrapping_add(key_len(self.heads)))
    }
}

/// Elements of a tile of keys.
fn key_len(heads: Heads) -> usize {
    PAGE_LEN * heads.head_dim
}

/// Elements of a tile of values, whose rows are padded to whole vectors.
fn value_len(heads: Heads) -> usize {
    PAGE_LEN * heads.head_dim.next_multiple_of(16)
}
