//! Weights in a GPU's memory: the panels that the CPU's kernels read, byte for byte, packed on the CPU and brought over piece by piece.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::Cuda;
use super::bindings as c;
use super::driver::{Buffer, Driver, HostBuffer, Kernel};
use crate::backend::cpu::{self, Cpu, Packer};
use crate::backend::{MatrixShape, Storage};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::fallible;
use crate::gguf::TensorBytes;

/// Alignment of a matrix.
const ALIGN: usize = 256;
/// Bytes, nearly, that are packed before they are brought over.
const PIECE_BYTES: usize = 16 << 20;

/// Room for the matrices of a model: one run of memory, handed out from its start, and where they are packed.
pub struct Store {
    arena: Arc<Buffer>,
    n_used: AtomicUsize,
    desk: Mutex<HostBuffer>,
}

impl Store {
    pub(super) fn new(driver: &Arc<dyn Driver>, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Store> {
        let n_bytes = Store::bytes(storage, shapes)?;
        let free = driver.memory()?.free;
        if n_bytes > free {
            bail!(OutOfMemory, "the weights take {n_bytes} bytes of the GPU's memory, of which {free} are free");
        }
        let largest = shapes.iter().map(|&shape| panel_bytes(shape)).try_fold(0, |a, b| b.map(|b| a.max(b)))?;
        Ok(Store {
            arena: Arc::new(Buffer::new(driver, n_bytes as usize, "the weights")?),
            n_used: AtomicUsize::new(0),
            desk: Mutex::new(HostBuffer::new(driver, PIECE_BYTES.max(largest as usize), "packing")?),
        })
    }

    /// Bytes of a store in the GPU's memory.
    pub(super) fn bytes(storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<u64> {
        if storage == Storage::InFile {
            bail!(Unsupported, "weights that stay in the file cannot be used by a GPU");
        }
        let mut n_bytes = 0u64;
        for &shape in shapes {
            let panels = panel_bytes(shape)?.checked_mul((shape.n_rows as u64).div_ceil(16));
            let end = panels.and_then(|panels| n_bytes.checked_add(panels)?.checked_next_multiple_of(ALIGN as u64));
            match end.filter(|&end| usize::try_from(end).is_ok()) {
                Some(end) => n_bytes = end,
                None => bail!(OutOfMemory, "the weights are larger than the address space"),
            }
        }
        Ok(n_bytes)
    }

    /// Where the next `len` bytes are; `None` when the room is used up.
    fn take(&self, len: usize) -> Option<usize> {
        let end_of = |offset: usize| {
            let end = offset.checked_add(len)?;
            (end <= self.arena.len()).then(|| end.next_multiple_of(ALIGN))
        };
        self.n_used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, end_of).ok()
    }
}

/// Bytes of a panel.
fn panel_bytes(shape: MatrixShape<'_>) -> Result<u64> {
    Ok(cpu::panel_bytes(shape)? as u64)
}

/// The kernels of a weight format.
pub(super) struct WeightKernels {
    /// For 8, 16, 32, 64 tokens a block.
    matmul: [Kernel; 4],
    prompt: Kernel,
    /// A product with the norm that follows it, for few rows.
    pub norm: Kernel,
    /// Gate and up products with their activation, for few rows.
    pub glu: Kernel,
    pub embed: Kernel,
}

impl WeightKernels {
    pub fn new(driver: &dyn Driver, dtype: DType) -> Result<WeightKernels> {
        let matmul = |n: &str| driver.kernel(&matmul_name(dtype, n));
        Ok(WeightKernels {
            matmul: [matmul("8")?, matmul("16")?, matmul("32")?, matmul("64")?],
            prompt: matmul("prompt")?,
            norm: matmul("norm")?,
            glu: matmul("glu")?,
            embed: driver.kernel(&embed_name(dtype))?,
        })
    }

    /// Have them compiled, those of all formats at a time.
    pub fn prepare(driver: &dyn Driver, dtypes: impl IntoIterator<Item = DType>) -> Result<()> {
        let names = dtypes.into_iter().flat_map(|dtype| [matmul_name(dtype, "8"), embed_name(dtype)]);
        driver.prepare(&names.collect::<Vec<_>>())
    }

    /// The kernel for blocks of so many tokens; 0 for the prompt's.
    pub fn matmul(&self, n: u32) -> &Kernel {
        if n == 0 { &self.prompt } else { &self.matmul[(n.clamp(8, 64).ilog2() - 3) as usize] }
    }
}

fn matmul_name(dtype: DType, n: &str) -> String {
    format!("oribi_matmul_{}_{n}", dtype.name().to_lowercase())
}

fn embed_name(dtype: DType) -> String {
    format!("oribi_embed_{}", dtype.name().to_lowercase())
}

/// Weights `(n_rows, k)` as panels of 16 rows, each contiguous along k. A clone shares them.
#[derive(Clone)]
pub struct Matrix {
    arena: Arc<Buffer>,
    offset: usize,
    panel_bytes: usize,
    n_panels: usize,
    n_rows: usize,
    k: usize,
    dtype: DType,
    kernels: Arc<WeightKernels>,
}

impl Matrix {
    /// Pack a matrix on all workers of the CPU and bring it over.
    pub(super) fn new(
        cuda: &Cuda,
        store: &Store,
        shape: MatrixShape<'_>,
        data: TensorBytes,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Matrix> {
        let MatrixShape { name, dtype, n_rows, k } = shape;
        let within = |e: crate::error::Error| e.within(format_args!("tensor {name}"));
        let packer = Packer::new(cuda.cpu(), shape, data.len())?;
        let kernels = cuda.weight_kernels(dtype).map_err(within)?;
        let Some(offset) = store.take(packer.n_panels() * packer.panel_bytes()) else {
            bail!(Internal, "tensor {name} was not counted in the room for the weights");
        };
        if !fill(cuda.cpu(), &packer, store, offset, &data, stop).map_err(within)? {
            bail!(Cancelled, "packing of tensor {name} was cancelled");
        }
        Ok(Matrix {
            arena: Arc::clone(&store.arena),
            offset,
            panel_bytes: packer.panel_bytes(),
            n_panels: packer.n_panels(),
            n_rows,
            k,
            dtype,
            kernels,
        })
    }

    /// Inputs.
    pub(super) fn k(&self) -> usize {
        self.k
    }

    /// Outputs.
    pub(super) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// Columns that a product with it writes: whole panels.
    pub(super) fn n_columns(&self) -> usize {
        self.n_panels * 16
    }

    /// Its format.
    pub(super) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Its kernels.
    pub(super) fn kernels(&self) -> &WeightKernels {
        &self.kernels
    }

    /// Bytes of a panel.
    pub(super) fn panel_bytes(&self) -> usize {
        self.panel_bytes
    }

    /// The address of its panels.
    pub(super) fn panels(&self) -> *const u8 {
        self.arena.at(self.offset, self.n_panels * self.panel_bytes) as *const u8
    }

    /// It as an operand, with the column that its first row's results go to.
    pub(super) fn operand(&self, column: usize) -> c::oribi_cuda_weights {
        c::oribi_cuda_weights {
            panels: self.panels(),
            panel_bytes: self.panel_bytes as u64,
            n_panels: self.n_panels as u32,
            column: column as u32,
        }
    }
}

/// Pack all panels and bring them to `offset` of the store; `false` when told to stop.
fn fill(
    cpu: &Cpu,
    packer: &Packer,
    store: &Store,
    offset: usize,
    data: &TensorBytes,
    stop: &(dyn Fn() -> bool + Sync),
) -> Result<bool> {
    let desk = store.desk.lock().unwrap_or_else(PoisonError::into_inner);
    let step = (desk.len() / packer.panel_bytes().max(1)).max(1);
    let mut read = Vec::new();
    if data.in_memory().is_none() {
        let n_bytes = packer.file_bytes(0..step.min(packer.n_panels())).len();
        read = fallible::filled(0, n_bytes, "a part of a tensor to be packed")?;
    }
    for start in (0..packer.n_panels()).step_by(step) {
        let panels = start..packer.n_panels().min(start + step);
        let from = packer.file_bytes(panels.clone());
        let bytes = match data.in_memory() {
            Some(bytes) => &bytes[from.clone()],
            None => {
                data.read(from.start, &mut read[..from.len()])?;
                &read[..from.len()]
            }
        };
        // SAFETY: the desk has room for `step` panels, and whoever holds the lock has it alone.
        let is_packed = unsafe { packer.pack_panels(cpu, panels.clone(), bytes, desk.as_ptr(), &|_| {}, stop)? };
        if !is_packed {
            return Ok(false);
        }
        data.release(from);
        let n_bytes = panels.len() * packer.panel_bytes();
        // SAFETY: the panels were just packed there, and nobody writes them before they have been copied.
        let packed = unsafe { std::slice::from_raw_parts(desk.as_ptr(), n_bytes) };
        store.arena.write(offset + start * packer.panel_bytes(), packed)?;
    }
    Ok(true)
}
