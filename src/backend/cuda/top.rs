//! The largest values of rows, found on the GPU: sampling needs a few of many thousand logits, and only those go over to the host.

use std::sync::Arc;

use super::bindings as c;
use super::driver::{Buffer, Driver};
use super::mirror::Mirrored;
use super::ops::CudaOps;
use super::rows::Rows;
use crate::backend::Ranked;
use crate::error::Result;

const WHAT: &str = "where the largest logits are found";

/// Room for the largest values of rows.
pub struct Top {
    /// Rows, and values of each that there is room for.
    capacity: usize,
    most: usize,
    found: Buffer,
    /// A zero for each row, by which the blocks of a launch count who is last; they leave them zero.
    counters: Buffer,
    ranked: Mirrored,
}

/// Bytes of the parts of [`Top`], for one row of `n` values, and the most of them that are found at once.
struct Layout {
    most: usize,
    found_bytes: usize,
    ranked_bytes: usize,
}

impl Layout {
    fn new(n: usize) -> Layout {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        // SAFETY: pure functions of a number.
        let (most, found_bytes) = unsafe { (c::oribi_cuda_top_most(n), c::oribi_cuda_top_bytes(n)) };
        Layout { most: most as usize, found_bytes, ranked_bytes: most as usize * size_of::<Ranked>() }
    }
}

impl Top {
    pub(super) fn new(driver: &Arc<dyn Driver>, capacity: usize, n: usize) -> Result<Top> {
        let Layout { most, found_bytes, ranked_bytes } = Layout::new(n);
        Ok(Top {
            capacity,
            most,
            found: Buffer::new(driver, capacity.saturating_mul(found_bytes), WHAT)?,
            counters: Buffer::zeroed(driver, capacity.saturating_mul(size_of::<u32>()), WHAT)?,
            ranked: Mirrored::new(Buffer::new(driver, capacity.saturating_mul(ranked_bytes), WHAT)?),
        })
    }

    /// Bytes in the GPU's memory.
    pub(super) fn bytes(capacity: usize, n: usize) -> u64 {
        let Layout { found_bytes, ranked_bytes, .. } = Layout::new(n);
        (capacity as u64).saturating_mul((found_bytes + size_of::<u32>() + ranked_bytes) as u64)
    }

    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// Find and publish the `n` largest of the first `n_columns` values of the first `n_rows` rows.
    pub(super) fn find(&self, ops: &CudaOps<'_>, n_rows: usize, n_columns: usize, n: usize, rows: &Rows) -> Result<()> {
        assert!((1..=self.most.min(n_columns)).contains(&n), "{n} of {n_columns} values, at most {}", self.most);
        assert!(n_rows <= self.capacity, "{n_rows} of {} rows", self.capacity);
        assert!(n_columns <= rows.n(), "{n_columns} of {} columns", rows.n());
        let n_bytes = n_rows * n * size_of::<Ranked>();
        let args = c::oribi_cuda_top_args {
            x: rows.at(0, n_rows),
            stride: rows.stride() as u64,
            n_rows: n_rows as u32,
            n_columns: n_columns as u32,
            n: n as u32,
            out_stride: n as u32,
            found: self.found.at(0, self.found.len()) as *mut u64,
            counters: self.counters.at(0, n_rows * size_of::<u32>()) as *mut u32,
            out: self.ranked.at(0, n_bytes) as *mut c::oribi_cuda_ranked,
        };
        // SAFETY: a pure function of the struct.
        let shape = unsafe { c::oribi_cuda_top_launch(&args) };
        ops.launch(&ops.cuda.kernels.top, shape, args)?;
        ops.begin_launches()?;
        self.ranked.publish(ops.driver(), n_bytes)
    }

    /// The `n` largest values of a row, as [`find`](Self::find) was asked for.
    pub(super) fn row(&self, row: usize, n: usize) -> &[Ranked] {
        assert!(row < self.capacity && n <= self.most, "{n} values of row {row}");
        let copy = self.ranked.published();
        // SAFETY: the copy is as large as `ranked`, is zeros at first, and aligned to pages; no pass is running, since passes have
        // exclusive use of it.
        unsafe { std::slice::from_raw_parts(copy.as_ptr().cast::<Ranked>().add(row * n), n) }
    }
}
