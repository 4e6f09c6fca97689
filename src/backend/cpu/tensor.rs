//! Packed weights and float32 parameters.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Cpu;
use super::bindings as c;
use super::kernels::{self, Acts, Kernel};
use super::memory::AlignedBytes;
use super::team::Part;
use crate::backend::MatrixShape;
use crate::error::{Result, bail};

/// Output rows of a panel.
pub(super) const PANEL_ROWS: usize = c::ORIBI_PANEL_ROWS as usize;
/// Panels between two looks at the stop signal.
const PANELS_PER_LOOK: usize = 16;
/// Parts of the packing per worker.
const PARTS: usize = 8;

/// Weights `(n_rows, k)` as panels of 16 rows, each contiguous along k.
pub struct Matrix {
    panels: AlignedBytes,
    panel_bytes: usize,
    n_rows: usize,
    k: usize,
    matmul: Kernel,
    native_matmul: Option<Kernel>,
    unpack_row: Kernel,
}

impl Matrix {
    /// Pack a matrix on all workers.
    pub(super) fn pack(
        cpu: &Cpu,
        shape: MatrixShape<'_>,
        data: &[u8],
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Matrix> {
        let MatrixShape { name, dtype, n_rows, k } = shape;
        let row_bytes = dtype.row_bytes(k).unwrap_or(0);
        if row_bytes.checked_mul(n_rows) != Some(data.len()) {
            bail!(InvalidModel, "tensor {name} holds {} bytes; {n_rows} rows of {k} {dtype} are expected", data.len());
        }
        let bound = |op| cpu.kernels().weight(op, dtype).map_err(|e| e.within(format_args!("tensor {name}")));
        let pack = bound(c::ORIBI_OP_PACK)?;
        let panel_bytes = panel_bytes(shape)?;
        let n_panels = n_rows.div_ceil(PANEL_ROWS);
        let panels = AlignedBytes::zeroed(total_bytes(shape, panel_bytes)?, name)?;
        let stopped = AtomicBool::new(false);
        let pack_part = |part: Part| {
            for (i, panel) in part.share(n_panels, 1).enumerate() {
                if i % PANELS_PER_LOOK == 0 && (stopped.load(Ordering::Relaxed) || stop()) {
                    stopped.store(true, Ordering::Relaxed);
                    return;
                }
                let first_row = panel * PANEL_ROWS;
                let args = c::oribi_pack_args {
                    src: data[first_row * row_bytes..].as_ptr(),
                    src_stride: row_bytes,
                    n_rows: (n_rows - first_row).min(PANEL_ROWS) as u32,
                    k: k as u32,
                    // SAFETY: panel < n_panels, and n_panels * panel_bytes bytes were allocated.
                    dst: unsafe { panels.as_ptr().add(panel * panel_bytes) },
                };
                // SAFETY: the source rows lie within `data`, whose length was checked; the panel is this part's alone.
                unsafe { pack.run(&args) }
            }
        };
        cpu.team().run(|w| w.parallel(PARTS, pack_part))?;
        if stopped.into_inner() {
            bail!(Cancelled, "packing of tensor {name} was cancelled");
        }
        let (matmul, unpack_row) = (bound(c::ORIBI_OP_MATMUL)?, bound(c::ORIBI_OP_UNPACK_ROW)?);
        if !matches!(matmul.acts(), Acts::F32) && matmul.acts() != cpu.acts() {
            bail!(Internal, "kernel {} wants another activation layout than its instruction set", matmul.name());
        }
        let native_matmul = cpu.bound.native_quantize.and_then(|_| cpu.kernels().native(c::ORIBI_OP_MATMUL, dtype));
        Ok(Matrix { panels, panel_bytes, n_rows, k, matmul, native_matmul, unpack_row })
    }

    /// Bytes of the panels that a matrix is packed into.
    pub(super) fn bytes(shape: MatrixShape<'_>) -> Result<u64> {
        Ok(total_bytes(shape, panel_bytes(shape)?)? as u64)
    }

    /// Inputs.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Bytes of the panels.
    pub(super) fn n_bytes(&self) -> usize {
        self.panels.len()
    }

    /// Panels.
    pub(super) fn n_panels(&self) -> usize {
        self.n_rows.div_ceil(PANEL_ROWS)
    }

    /// Start of a panel.
    pub(super) fn panel(&self, panel: usize) -> *const u8 {
        debug_assert!(panel <= self.n_panels());
        self.panels.as_ptr().wrapping_add(panel * self.panel_bytes)
    }

    /// The kernel of its products.
    pub(super) fn matmul(&self) -> Kernel {
        self.matmul
    }

    /// The kernel of its products in native arithmetic, where there is one. Its inputs are whole groups of 32.
    pub(super) fn native_matmul(&self) -> Option<Kernel> {
        self.native_matmul.filter(|_| self.k.is_multiple_of(32))
    }

    /// Write row `row` to `y`, the values exactly as the file means them.
    ///
    /// # Safety
    /// `y` has room for `k` values and nobody else uses it.
    pub(super) unsafe fn unpack_row(&self, row: usize, y: *mut f32) {
        assert!(row < self.n_rows, "row {row} of a matrix with {}", self.n_rows);
        let args = c::oribi_unpack_row_args {
            panel: self.panel(row / PANEL_ROWS),
            row: (row % PANEL_ROWS) as u32,
            k: self.k as u32,
            y,
        };
        // SAFETY: the panel holds this row by the assertion; `y` by the caller's promise.
        unsafe { self.unpack_row.run(&args) }
    }
}

fn panel_bytes(shape: MatrixShape<'_>) -> Result<usize> {
    match kernels::panel_bytes(shape.dtype, shape.k) {
        Some(n_bytes) => Ok(n_bytes),
        None => bail!(Unsupported, "tensor {}: type {} cannot be computed with", shape.name, shape.dtype),
    }
}

fn total_bytes(shape: MatrixShape<'_>, panel_bytes: usize) -> Result<usize> {
    match panel_bytes.checked_mul(shape.n_rows.div_ceil(PANEL_ROWS)) {
        Some(n_bytes) => Ok(n_bytes),
        None => bail!(OutOfMemory, "tensor {} is larger than the address space", shape.name),
    }
}
