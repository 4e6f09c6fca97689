//! Scratch rows: float32 values in the GPU's memory and, where they feed matrix products, the bfloat16 planes that products read.
//! Those that were published are in the host's memory, too.

use std::sync::Arc;

use super::bindings as c;
use super::driver::{Buffer, Driver};
use super::mirror::Mirrored;
use crate::backend::{Arithmetic, RowsUse};
use crate::error::{Error, ErrorKind, Result};

/// Products write whole panels of so many columns.
const PANEL_ROWS: usize = 16;
/// Rows of a unit of activations.
const TILE: usize = c::ORIBI_CUDA_TILE as usize;

const WHAT: &str = "the session's scratch rows";

/// `(capacity, n)` float32 rows.
pub struct Rows {
    values: Mirrored,
    acts: Option<Acts>,
    /// Floats from row to row.
    stride: usize,
    capacity: usize,
    n: usize,
    usage: RowsUse,
}

/// What products read.
struct Acts {
    hi: Buffer,
    lo: Buffer,
    sums: Buffer,
}

/// Bytes of the parts of [`Rows`]; `None` beyond the address space.
struct Layout {
    value_bytes: usize,
    plane_bytes: usize,
    sums_bytes: usize,
}

impl Layout {
    fn new(capacity: usize, n: usize, usage: RowsUse) -> Option<Layout> {
        let value_bytes = capacity.checked_mul(stride(n))?.checked_mul(size_of::<f32>())?;
        if !usage.feeds_products() {
            return Some(Layout { value_bytes, plane_bytes: 0, sums_bytes: 0 });
        }
        let (capacity, k) = (u32::try_from(capacity).ok()?.checked_next_multiple_of(c::ORIBI_CUDA_TILE)?, n as u32);
        // SAFETY: pure functions of two numbers.
        let (plane_bytes, sums_bytes) =
            unsafe { (c::oribi_cuda_plane_bytes(capacity, k), c::oribi_cuda_sums_bytes(capacity, k)) };
        Some(Layout { value_bytes, plane_bytes, sums_bytes })
    }
}

/// Floats from row to row.
fn stride(n: usize) -> usize {
    n.next_multiple_of(PANEL_ROWS)
}

impl Rows {
    pub(super) fn new(driver: &Arc<dyn Driver>, capacity: usize, n: usize, usage: RowsUse) -> Result<Rows> {
        let Some(layout) = Layout::new(capacity, n, usage) else {
            let text = format!("{capacity} scratch rows exceed the address space");
            return Err(Error::new(ErrorKind::OutOfMemory, text));
        };
        let acts = || -> Result<Acts> {
            Ok(Acts {
                hi: Buffer::zeroed(driver, layout.plane_bytes, WHAT)?,
                lo: Buffer::zeroed(driver, layout.plane_bytes, WHAT)?,
                sums: Buffer::zeroed(driver, layout.sums_bytes, WHAT)?,
            })
        };
        Ok(Rows {
            values: Mirrored::new(Buffer::zeroed(driver, layout.value_bytes, WHAT)?),
            acts: usage.feeds_products().then(acts).transpose()?,
            stride: stride(n),
            capacity,
            n,
            usage,
        })
    }

    /// Bytes in the GPU's memory.
    pub(super) fn bytes(capacity: usize, n: usize, usage: RowsUse) -> u64 {
        let sum = |l: Layout| l.value_bytes as u64 + 2 * l.plane_bytes as u64 + l.sums_bytes as u64;
        Layout::new(capacity, n, usage).map_or(u64::MAX, sum)
    }

    /// Values of a row.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Floats from row to row.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Whether products with them in a pass of this arithmetic are native.
    pub(super) fn is_native(&self, arithmetic: Arithmetic) -> bool {
        arithmetic == Arithmetic::Native && self.usage != RowsUse::PortableInput
    }

    /// The address of the values of a row, of which `n_rows` from it on are meant.
    pub(super) fn at(&self, row: usize, n_rows: usize) -> *mut f32 {
        assert!(row + n_rows <= self.capacity, "{n_rows} rows from {row} on, of {} scratch rows", self.capacity);
        let row_bytes = self.stride * size_of::<f32>();
        self.values.at(row * row_bytes, n_rows * row_bytes) as *mut f32
    }

    /// What products with these rows read in a pass of this arithmetic, from row `first` on, a multiple of 8; nothing where they
    /// feed none.
    pub(super) fn acts(&self, arithmetic: Arithmetic, first: usize) -> c::oribi_cuda_acts {
        let Some(Acts { hi, lo, sums }) = &self.acts else { return c::oribi_cuda_acts::default() };
        assert!(first.is_multiple_of(TILE) && first < self.capacity.max(1), "activations from row {first} on");
        let from = |buffer: &Buffer| {
            let offset = buffer.len() / self.capacity.div_ceil(TILE).max(1) * (first / TILE);
            buffer.at(offset, buffer.len() - offset)
        };
        c::oribi_cuda_acts {
            hi: from(hi) as *mut u8,
            lo: if self.is_native(arithmetic) { std::ptr::null_mut() } else { from(lo) as *mut u8 },
            sums: from(sums) as *mut f32,
            k: self.n as u32,
            capacity: (self.capacity.next_multiple_of(TILE) - first) as u32,
        }
    }

    /// Begin to copy the first `n_rows` rows to the host; complete after the next synchronization.
    pub(super) fn publish(&self, driver: &Arc<dyn Driver>, n_rows: usize) -> Result<()> {
        self.values.publish(driver, n_rows * self.stride * size_of::<f32>())
    }

    /// Copy the first `n_rows` rows to the host, after a pass that did not [publish](Self::publish) them. Nobody may have been given
    /// a [`row`](Self::row) since then.
    pub(super) fn fetch(&self, driver: &Arc<dyn Driver>, n_rows: usize) -> Result<()> {
        let n_bytes = n_rows * self.stride * size_of::<f32>();
        let copy = self.values.copy(driver)?;
        assert!(n_bytes <= copy.len(), "{n_rows} of {} scratch rows", self.capacity);
        // SAFETY: the copy has so many bytes, initialised; by the caller's promise nobody else sees them.
        self.values.read(0, unsafe { std::slice::from_raw_parts_mut(copy.as_ptr(), n_bytes) })
    }

    /// Fill the first `n_rows` rows with the host's values.
    pub(super) fn fill<'a>(
        &mut self,
        driver: &Arc<dyn Driver>,
        n_rows: usize,
        row: &dyn Fn(usize) -> &'a [f32],
    ) -> Result<()> {
        assert!(n_rows <= self.capacity, "{n_rows} of {} scratch rows", self.capacity);
        let copy = self.values.copy(driver)?;
        for i in 0..n_rows {
            let values = row(i);
            assert_eq!(values.len(), self.n, "values of a row");
            // SAFETY: the copy holds `capacity` rows of `stride >= n` floats; the borrow is exclusive, and every pass has ended.
            unsafe {
                let to = copy.as_ptr().cast::<f32>().add(i * self.stride);
                std::ptr::copy_nonoverlapping(values.as_ptr(), to, self.n);
            }
        }
        // SAFETY: those rows of the copy are initialised: zeros at first.
        let bytes = unsafe { std::slice::from_raw_parts(copy.as_ptr(), n_rows * self.stride * size_of::<f32>()) };
        self.values.write(0, bytes)
    }

    /// The values of a published row.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        assert!(row < self.capacity, "row {row} of {} scratch rows", self.capacity);
        let copy = self.values.published();
        // SAFETY: the copy holds `capacity` rows of `stride >= n` floats, zeros at first; no pass is running, since passes have
        // exclusive use of the rows.
        unsafe { std::slice::from_raw_parts(copy.as_ptr().cast::<f32>().add(row * self.stride), self.n) }
    }
}
