//! Weights: packed in memory, or in the file and packed panel by panel as products need them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::Cpu;
use super::bindings as c;
use super::kernels::{self, Acts, Kernel};
use super::memory::{ALIGN, AlignedBytes};
use super::team::Part;
use crate::backend::{MatrixShape, Storage};
use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::TensorBytes;

/// Output rows of a panel.
pub(super) const PANEL_ROWS: usize = c::ORIBI_PANEL_ROWS as usize;
/// Panels between two looks at the stop signal.
const PANELS_PER_LOOK: usize = 16;
/// Bytes of the file that a worker packs before it gives their pages back.
const RELEASED_BYTES: usize = 256 << 10;
/// Parts of the packing per worker.
const PARTS: usize = 8;
/// Bytes, nearly, that are read at once of a tensor that is not in memory.
const READ_BYTES: usize = 1 << 20;

/// Room for the matrices of a model: one run of memory, handed out from its start.
pub struct Store {
    room: Room,
}

enum Room {
    Packed { arena: Arc<AlignedBytes>, n_used: AtomicUsize },
    InFile { scratch: Arc<Vec<AlignedBytes>> },
}

impl Store {
    pub(super) fn new(cpu: &Cpu, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Store> {
        let n_bytes = Store::part_bytes(storage, shapes)?;
        let what = "the weights";
        let room = match storage {
            Storage::Packed => {
                let arena = AlignedBytes::zeroed(n_bytes, what)?;
                if cpu.huge_pages {
                    arena.use_huge_pages();
                }
                Room::Packed { arena: Arc::new(arena), n_used: AtomicUsize::new(0) }
            }
            Storage::InFile => {
                let each = (0..cpu.team().n_threads()).map(|_| AlignedBytes::zeroed(n_bytes, what));
                Room::InFile { scratch: Arc::new(each.collect::<Result<_>>()?) }
            }
        };
        Ok(Store { room })
    }

    /// Bytes of all packed matrices, or of one worker's panel.
    fn part_bytes(storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<usize> {
        let mut n_bytes = 0usize;
        for &shape in shapes {
            n_bytes = match storage {
                Storage::Packed => match n_bytes.checked_add(total_bytes(shape, panel_bytes(shape)?)?) {
                    Some(n_bytes) => n_bytes.next_multiple_of(ALIGN),
                    None => bail!(OutOfMemory, "the weights are larger than the address space"),
                },
                Storage::InFile => n_bytes.max(panel_bytes(shape)?),
            };
        }
        Ok(n_bytes)
    }

    /// Bytes of a store.
    pub(super) fn bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> Result<u64> {
        let n_parts = if storage == Storage::InFile { n_workers } else { 1 };
        Ok((Store::part_bytes(storage, shapes)? as u64).saturating_mul(n_parts as u64))
    }

    /// Bytes that packing holds in passing, beside the store: of the file, or where a callback reads it, of a buffer.
    pub(super) fn packing_bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> u64 {
        let held = (n_workers as u64 * PARTS as u64).saturating_mul(RELEASED_BYTES as u64);
        let of_matrix = |shape: &MatrixShape<'_>| {
            let row_bytes = shape.dtype.row_bytes(shape.k).unwrap_or(0) as u64;
            let buffer = row_bytes.saturating_mul(PANEL_ROWS as u64).max(READ_BYTES as u64);
            row_bytes.saturating_mul(shape.n_rows as u64).min(held).max(buffer)
        };
        if storage == Storage::InFile { 0 } else { shapes.iter().map(of_matrix).max().unwrap_or(0) }
    }
}

/// A piece of an arena.
#[derive(Clone)]
struct Piece {
    arena: Arc<AlignedBytes>,
    offset: usize,
}

impl Piece {
    /// The next `len` bytes of an arena; `None` where it is used up.
    fn take(arena: &Arc<AlignedBytes>, n_used: &AtomicUsize, len: usize) -> Option<Piece> {
        let end_of = |offset: usize| {
            let end = offset.checked_add(len)?;
            (end <= arena.len()).then(|| end.next_multiple_of(ALIGN))
        };
        let offset = n_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end_of).ok()?;
        Some(Piece { arena: Arc::clone(arena), offset })
    }

    fn as_ptr(&self) -> *mut u8 {
        self.arena.as_ptr().wrapping_add(self.offset)
    }
}

/// Where a matrix is.
#[derive(Clone)]
enum Panels {
    Packed(Piece),
    InFile {
        data: TensorBytes,
        /// Per worker, room for one panel.
        scratch: Arc<Vec<AlignedBytes>>,
    },
}

/// How the rows of a tensor become panels, and where in its file form those of a panel are.
#[derive(Clone)]
pub(in crate::backend) struct Packer {
    pack: Kernel,
    panel_bytes: usize,
    row_bytes: usize,
    n_rows: usize,
    k: usize,
}

impl Packer {
    /// For a tensor of `n_bytes`.
    ///
    /// # Errors
    /// `InvalidModel` if these are not those of the shape; `Unsupported` for a format without kernels.
    pub fn new(cpu: &Cpu, shape: MatrixShape<'_>, n_bytes: usize) -> Result<Packer> {
        let MatrixShape { name, dtype, n_rows, k } = shape;
        let row_bytes = dtype.row_bytes(k).unwrap_or(0);
        if row_bytes.checked_mul(n_rows) != Some(n_bytes) {
            bail!(InvalidModel, "tensor {name} holds {n_bytes} bytes; {n_rows} rows of {k} {dtype} are expected");
        }
        let pack =
            cpu.kernels().weight(c::ORIBI_OP_PACK, dtype).map_err(|e| e.within(format_args!("tensor {name}")))?;
        Ok(Packer { pack, panel_bytes: panel_bytes(shape)?, row_bytes, n_rows, k })
    }

    /// Panels.
    pub fn n_panels(&self) -> usize {
        self.n_rows.div_ceil(PANEL_ROWS)
    }

    /// Bytes of a panel.
    #[cfg(feature = "cuda")]
    pub fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// Where in the tensor's file form panels are.
    pub fn file_bytes(&self, panels: Range<usize>) -> Range<usize> {
        let row = |panel: usize| (panel * PANEL_ROWS).min(self.n_rows);
        row(panels.start) * self.row_bytes..row(panels.end) * self.row_bytes
    }

    /// Pack all panels to `to`; `false` when told to stop.
    ///
    /// # Safety
    /// `to` has room for them and nobody else uses it.
    unsafe fn pack_all(
        &self,
        cpu: &Cpu,
        data: &TensorBytes,
        to: *mut u8,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool> {
        let all = 0..self.n_panels();
        if let Some(bytes) = data.in_memory() {
            // SAFETY: by the caller's promise.
            return unsafe { self.pack_panels(cpu, all, bytes, to, &|done| data.release(done), stop) };
        }
        // Read here, on the thread that called, and packed by all.
        let step = (READ_BYTES / (PANEL_ROWS * self.row_bytes).max(1)).max(1);
        let mut bytes = fallible::filled(0, self.file_bytes(0..step).len(), "a part of a tensor to be packed")?;
        for start in all.clone().step_by(step) {
            if stop() {
                return Ok(false);
            }
            let panels = start..all.end.min(start + step);
            let from = self.file_bytes(panels.clone());
            let bytes = &mut bytes[..from.len()];
            data.read(from.start, bytes)?;
            // SAFETY: by the caller's promise; these panels lie behind those before.
            if !unsafe { self.pack_panels(cpu, panels, bytes, to.add(start * self.panel_bytes), &|_| {}, stop)? } {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Pack panels on all workers from `bytes`, their file form, to `to`; `false` when told to stop. `release` hears which bytes of the
    /// file are packed, so that memory is paid once.
    ///
    /// # Safety
    /// `to` has room for these panels and nobody else uses it.
    pub unsafe fn pack_panels(
        &self,
        cpu: &Cpu,
        panels: Range<usize>,
        bytes: &[u8],
        to: *mut u8,
        release: &(dyn Fn(Range<usize>) + Sync),
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<bool> {
        let stopped = AtomicBool::new(false);
        let first_byte = self.file_bytes(panels.clone()).start;
        let to = Place(to);
        let pack_part = |part: Part| {
            let own = part.share(panels.len(), 1);
            let own = panels.start + own.start..panels.start + own.end;
            let mut held = own.start;
            for (i, panel) in own.enumerate() {
                if i % PANELS_PER_LOOK == 0 && (stopped.load(Ordering::Relaxed) || stop()) {
                    stopped.store(true, Ordering::Relaxed);
                    return;
                }
                let rows = self.file_bytes(panel..panel + 1);
                let rows = &bytes[rows.start - first_byte..rows.end - first_byte];
                // SAFETY: there is room for these panels by the caller's promise; this one is this part's alone.
                unsafe { self.pack_panel(rows, to.at((panel - panels.start) * self.panel_bytes)) }
                let done = self.file_bytes(held..panel + 1);
                if done.len() >= RELEASED_BYTES {
                    release(done);
                    held = panel + 1;
                }
            }
        };
        cpu.team().run(|w| w.parallel(PARTS, pack_part))?;
        Ok(!stopped.into_inner())
    }

    /// Pack the rows of one panel, as the file has them.
    ///
    /// # Safety
    /// `dst` has room for a panel and nobody else uses it.
    unsafe fn pack_panel(&self, rows: &[u8], dst: *mut u8) {
        let n_rows = rows.len() / self.row_bytes.max(1);
        assert!(n_rows <= PANEL_ROWS, "{n_rows} rows in a panel");
        let args = c::oribi_pack_args {
            src: rows.as_ptr(),
            src_stride: self.row_bytes,
            n_rows: n_rows as u32,
            k: self.k as u32,
            dst,
        };
        // SAFETY: the source rows are those of `rows`; `dst` by the caller's promise.
        unsafe { self.pack.run(&args) }
    }
}

/// Where workers write, each its own parts.
struct Place(*mut u8);

// SAFETY: a pointer alone; those who write through it say why that is sound.
unsafe impl Sync for Place {}

impl Place {
    fn at(&self, offset: usize) -> *mut u8 {
        self.0.wrapping_add(offset)
    }
}

/// Weights `(n_rows, k)` as panels of 16 rows, each contiguous along k. A clone shares them.
#[derive(Clone)]
pub struct Matrix {
    panels: Panels,
    packer: Packer,
    matmul: Kernel,
    native_matmul: Option<Kernel>,
    unpack_row: Kernel,
}

impl Matrix {
    /// Bind a matrix to its kernels and, unless it stays in the file, pack it on all workers.
    pub(super) fn new(
        cpu: &Cpu,
        store: &Store,
        shape: MatrixShape<'_>,
        data: TensorBytes,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Matrix> {
        let MatrixShape { name, dtype, .. } = shape;
        let packer = Packer::new(cpu, shape, data.len())?;
        let bound = |op| cpu.kernels().weight(op, dtype).map_err(|e| e.within(format_args!("tensor {name}")));
        let matmul = bound(c::ORIBI_OP_MATMUL)?;
        if !matches!(matmul.acts(), Acts::F32) && matmul.acts() != cpu.acts() {
            bail!(Internal, "kernel {} wants another activation layout than its instruction set", matmul.name());
        }
        let panels = match &store.room {
            Room::InFile { .. } if data.in_memory().is_none() => {
                bail!(Unsupported, "tensor {name} cannot stay in its file: a callback reads it")
            }
            Room::InFile { scratch } => Panels::InFile { data, scratch: Arc::clone(scratch) },
            Room::Packed { arena, n_used } => {
                let Some(piece) = Piece::take(arena, n_used, total_bytes(shape, packer.panel_bytes)?) else {
                    bail!(Internal, "tensor {name} was not counted in the room for the weights");
                };
                // SAFETY: the piece was taken with room for all panels, and nobody knows of it yet.
                let packed = unsafe { packer.pack_all(cpu, &data, piece.as_ptr(), stop) };
                if !packed.map_err(|e| e.within(format_args!("tensor {name}")))? {
                    bail!(Cancelled, "packing of tensor {name} was cancelled");
                }
                Panels::Packed(piece)
            }
        };
        Ok(Matrix {
            panels,
            packer,
            matmul,
            native_matmul: cpu.bound.native_quantize.and_then(|_| cpu.kernels().native(c::ORIBI_OP_MATMUL, dtype)),
            unpack_row: bound(c::ORIBI_OP_UNPACK_ROW)?,
        })
    }

    /// Inputs.
    pub(super) fn k(&self) -> usize {
        self.packer.k
    }

    /// Bytes of the panels.
    pub(super) fn n_bytes(&self) -> usize {
        self.n_panels() * self.packer.panel_bytes
    }

    /// Panels.
    pub(super) fn n_panels(&self) -> usize {
        self.packer.n_panels()
    }

    /// Hand a worker the panels of a range, in one or several runs: the first panel of the run, how many follow each other, and
    /// where they are. They are valid during the call.
    pub(super) fn for_each_run(
        &self,
        panels: Range<usize>,
        worker: usize,
        mut each: impl FnMut(usize, usize, *const u8),
    ) {
        assert!(panels.end <= self.n_panels(), "panels {panels:?} of {}", self.n_panels());
        match &self.panels {
            Panels::Packed(piece) => {
                each(panels.start, panels.len(), piece.as_ptr().wrapping_add(panels.start * self.packer.panel_bytes));
            }
            Panels::InFile { data, scratch } => {
                let room = &scratch[worker];
                let bytes = data.in_memory().unwrap_or_default(); // checked by `new`
                for panel in panels {
                    let rows = &bytes[self.packer.file_bytes(panel..panel + 1)];
                    // SAFETY: the scratch has room for the largest panel of the store and is this worker's alone.
                    unsafe { self.packer.pack_panel(rows, room.as_ptr()) }
                    each(panel, 1, room.as_ptr());
                }
            }
        }
    }

    /// The kernel of its products.
    pub(super) fn matmul(&self) -> Kernel {
        self.matmul
    }

    /// The kernel of its products in native arithmetic, where there is one. Its inputs are whole groups of 32.
    pub(super) fn native_matmul(&self) -> Option<Kernel> {
        self.native_matmul.filter(|_| self.packer.k.is_multiple_of(32))
    }

    /// Write row `row` to `y`, the values exactly as the file means them.
    ///
    /// # Safety
    /// `y` has room for `k` values and nobody else uses it.
    pub(super) unsafe fn unpack_row(&self, row: usize, worker: usize, y: *mut f32) {
        assert!(row < self.packer.n_rows, "row {row} of a matrix with {}", self.packer.n_rows);
        let panel = row / PANEL_ROWS;
        self.for_each_run(panel..panel + 1, worker, |_, _, panel| {
            let args = c::oribi_unpack_row_args { panel, row: (row % PANEL_ROWS) as u32, k: self.packer.k as u32, y };
            // SAFETY: the panel holds this row by the assertion; `y` by the caller's promise.
            unsafe { self.unpack_row.run(&args) }
        });
    }
}

/// Bytes of a panel.
pub(in crate::backend) fn panel_bytes(shape: MatrixShape<'_>) -> Result<usize> {
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
