//! Pages of keys and values in a GPU's memory, in the layout that they have in the host's: a page's bytes go from one to the other as
//! they are.

use std::sync::Arc;

use super::bindings as c;
use super::driver::{Address, Buffer, Driver, Kernel};
use crate::backend::cpu::{Cpu, PAGE_LEN};
use crate::backend::{Backend, CacheShape, Footprint};
use crate::error::Result;
use crate::fallible;

/// A pool of pages. One page holds, for each layer and key head, a tile of keys and a tile of values.
pub struct Pages {
    shape: CacheShape,
    pages: Vec<Buffer>,
    /// Known from the first page on.
    kernels: Option<CacheKernels>,
}

/// The kernels on keys and values of one type.
pub(super) struct CacheKernels {
    pub project: Kernel,
    /// For 4, 8, 16, 32 queries at once.
    split: [Kernel; 4],
    /// In native arithmetic, for 16 and 32.
    prompt: [Kernel; 2],
    /// All of attention in one launch, for 4, 8, 16 queries at once.
    fused: [Kernel; 3],
}

impl CacheKernels {
    fn new(driver: &dyn Driver, shape: CacheShape) -> Result<CacheKernels> {
        let kv = shape.kv_type;
        let project = format!("oribi_attend_project_{kv}");
        let name = |op: &str, n: u32| format!("oribi_attend_{op}_{kv}_{n}");
        driver.prepare(&[project.clone(), name("split", 4), name("prompt", 16), name("fused", 4)])?;
        let kernel = |op: &str, n: u32| driver.kernel(&name(op, n));
        Ok(CacheKernels {
            project: driver.kernel(&project)?,
            split: [kernel("split", 4)?, kernel("split", 8)?, kernel("split", 16)?, kernel("split", 32)?],
            prompt: [kernel("prompt", 16)?, kernel("prompt", 32)?],
            fused: [kernel("fused", 4)?, kernel("fused", 8)?, kernel("fused", 16)?],
        })
    }

    /// The kernel for so many queries at once.
    pub fn split(&self, n_queries: u32) -> &Kernel {
        &self.split[(n_queries.clamp(4, c::ORIBI_CUDA_MAX_QUERIES).ilog2() - 2) as usize]
    }

    /// The same in native arithmetic.
    pub fn prompt(&self, n_queries: u32) -> &Kernel {
        &self.prompt[usize::from(n_queries > 16)]
    }

    /// The kernel that does it all.
    pub fn fused(&self, n_queries: u32) -> &Kernel {
        &self.fused[(n_queries.clamp(4, 16).ilog2() - 2) as usize]
    }
}

impl Pages {
    pub(super) fn new(shape: CacheShape) -> Pages {
        Pages { shape, pages: Vec::new(), kernels: None }
    }

    pub(super) fn grow(&mut self, driver: &Arc<dyn Driver>) -> Result<()> {
        if self.kernels.is_none() {
            self.kernels = Some(CacheKernels::new(&**driver, self.shape)?);
        }
        fallible::reserve(&mut self.pages, 1, "the table of pages")?;
        let n_bytes = Cpu::page_bytes(self.shape) as usize;
        self.pages.push(Buffer::zeroed(driver, n_bytes, "a page of keys and values")?);
        Ok(())
    }

    pub(super) fn copy(&mut self, from: u32, to: u32) -> Result<()> {
        if from == to { Ok(()) } else { self.pages[from as usize].copy_to(&self.pages[to as usize]) }
    }

    pub(super) fn read(&self, page: u32, into: &mut [u8]) -> Result<()> {
        let page = &self.pages[page as usize];
        assert_eq!(into.len(), page.len(), "bytes of a page");
        page.read(0, into)
    }

    pub(super) fn write(&mut self, page: u32, from: &[u8]) -> Result<()> {
        let page = &self.pages[page as usize];
        assert_eq!(from.len(), page.len(), "bytes of a page");
        page.write(0, from)
    }

    /// Make slots zero, as the CPU's kernels store zeros: in a page of its own. Pages are cleared when states come and go.
    pub(super) fn clear(&mut self, cpu: &Cpu, page: u32, from: usize) -> Result<()> {
        let mut desk = cpu.pages(self.shape);
        cpu.grow_pages(&mut desk)?;
        let mut bytes = fallible::filled(0, self.pages[page as usize].len(), "a page of keys and values")?;
        self.read(page, &mut bytes)?;
        cpu.write_page(&mut desk, 0, &bytes)?;
        cpu.clear_page(&mut desk, 0, from)?;
        cpu.read_page(&desk, 0, &mut bytes)?;
        self.write(page, &bytes)
    }

    /// The addresses of a sequence's pages.
    pub(super) fn addresses(&self, pages: &[u32]) -> impl Iterator<Item = Address> {
        pages.iter().map(|&page| &self.pages[page as usize]).map(|page| page.at(0, page.len()))
    }

    /// The kernels on them; pages that are computed with are there.
    pub(super) fn kernels(&self) -> &CacheKernels {
        self.kernels.as_ref().expect("a pass has pages")
    }

    /// Where the tiles of a layer are.
    pub(super) fn tiles(&self, layer: usize) -> Tiles {
        let CacheShape { n_layers, heads, .. } = self.shape;
        assert!(layer < n_layers, "layer {layer} of {n_layers}");
        let tile_bytes = Cpu::page_bytes(self.shape) / (n_layers * heads.n_kv_heads) as u64;
        Tiles {
            at: tile_bytes * (layer * heads.n_kv_heads) as u64,
            bytes: tile_bytes,
            key_bytes: crate::backend::cpu::key_bytes(self.shape) as u64,
        }
    }
}

/// Where the tiles of a layer are in every page.
pub(super) struct Tiles {
    /// Bytes before the first key head's.
    pub at: u64,
    /// Bytes of the keys and values of a key head.
    pub bytes: u64,
    /// Of those, the keys.
    pub key_bytes: u64,
}

/// The entry of a position in a sequence's list of pages.
pub(super) fn entry_of(position: usize) -> usize {
    position / PAGE_LEN
}
