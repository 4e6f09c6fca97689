//! Scratch rows: float32 values and, where they feed matrix products, their 16-bit activations.

use super::kernels::{ACTS_TILE_ROWS, Acts};
use super::memory::{ALIGN, AlignedBytes};
use crate::backend::RowsUse;
use crate::error::{Error, ErrorKind, Result};

/// Rows whose distance is a multiple of this fall into the same cache sets.
const PAGE_BYTES: usize = 4096;

/// `(capacity, n)` float32 rows. The parts of a step write disjoint parts of them through raw pointers.
pub struct Rows {
    values: AlignedBytes,
    /// Floats from row to row.
    stride: usize,
    acts: Option<AlignedBytes>,
    /// Bytes from row to row of `acts`.
    acts_stride: usize,
    capacity: usize,
    n: usize,
    usage: RowsUse,
}

/// The sizes of [`Rows`].
struct Layout {
    stride_bytes: usize,
    acts_stride: usize,
}

impl Layout {
    fn new(n: usize, usage: RowsUse) -> Layout {
        if usage == RowsUse::GateScratch {
            return Layout { stride_bytes: 0, acts_stride: 0 }; // each worker has its own; see products.rs
        }
        // Products write whole panels of 16 columns.
        let stride_bytes = spread(n.next_multiple_of(16) * size_of::<f32>());
        // All integer layouts take the same room, bfloat16 less. Only whole groups of 32 can be quantized; other lengths occur with float weights alone.
        let quantized = usage.feeds_products() && n.is_multiple_of(32);
        Layout { stride_bytes, acts_stride: if quantized { spread(Acts::I16.row_bytes(n)) } else { 0 } }
    }
}

/// Rows of activations: those of native numerics come in whole tiles.
fn acts_capacity(capacity: usize) -> usize {
    capacity.saturating_add(ACTS_TILE_ROWS - 1) / ACTS_TILE_ROWS * ACTS_TILE_ROWS
}

/// A stride of whole cache lines that does not put all rows into the same cache sets.
fn spread(n_bytes: usize) -> usize {
    let stride = n_bytes.next_multiple_of(ALIGN);
    if stride.is_multiple_of(PAGE_BYTES) { stride + ALIGN } else { stride }
}

impl Rows {
    pub(super) fn new(capacity: usize, n: usize, usage: RowsUse) -> Result<Rows> {
        let layout = Layout::new(n, usage);
        let allocate = |capacity: usize, stride: usize| match capacity.checked_mul(stride) {
            Some(len) => AlignedBytes::zeroed(len, "the session's scratch rows"),
            None => {
                Err(Error::new(ErrorKind::OutOfMemory, format!("{capacity} scratch rows exceed the address space")))
            }
        };
        Ok(Rows {
            values: allocate(capacity, layout.stride_bytes)?,
            stride: layout.stride_bytes / size_of::<f32>(),
            acts: (layout.acts_stride > 0)
                .then(|| allocate(acts_capacity(capacity), layout.acts_stride))
                .transpose()?,
            acts_stride: layout.acts_stride,
            capacity,
            n,
            usage,
        })
    }

    pub(super) fn bytes(capacity: usize, n: usize, usage: RowsUse) -> u64 {
        let layout = Layout::new(n, usage);
        capacity as u64 * layout.stride_bytes as u64 + acts_capacity(capacity) as u64 * layout.acts_stride as u64
    }

    /// Values of a row.
    pub(super) fn n(&self) -> usize {
        self.n
    }

    /// Whether products with them are formed in portable arithmetic alone.
    pub(super) fn is_portable(&self) -> bool {
        self.usage == RowsUse::PortableInput
    }

    /// Floats from row to row.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// The values of a row, from column `column` on.
    pub(super) fn at(&self, row: usize, column: usize) -> *mut f32 {
        assert!(row < self.capacity && column < self.stride, "row {row}, column {column} of scratch rows");
        self.values.as_ptr().cast::<f32>().wrapping_add(row * self.stride + column)
    }

    /// The activations of all rows, and the bytes from row to row; `None` where there are none.
    pub(super) fn acts(&self) -> Option<(*mut u8, usize)> {
        self.acts.as_ref().map(|acts| (acts.as_ptr(), self.acts_stride))
    }

    /// The values of a row.
    pub(super) fn row(&self, row: usize) -> &[f32] {
        // SAFETY: `at` checks the row; a row holds `stride >= n` floats, initialised with zeros; no pass is running, since
        // passes have exclusive use of the rows.
        unsafe { std::slice::from_raw_parts(self.at(row, 0), self.n) }
    }

    /// The same, to be filled.
    pub(super) fn row_mut(&mut self, row: usize) -> &mut [f32] {
        // SAFETY: as in `row`; the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.at(row, 0), self.n) }
    }
}
