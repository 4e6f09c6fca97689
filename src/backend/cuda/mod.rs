//! The CUDA backend: the kernels of `kernels/cuda/` on an NVIDIA GPU. See `docs/cuda.md`.
//!
//! Weights are the CPU's packed panels and pages of keys and values have the CPU's layout, so packing is the CPU's, and states of
//! sequences move between both. A session's passes take turns on the GPU with those of others.

/// The C types of `kernels/cuda/`.
pub(crate) mod bindings;

mod attend;
mod builtin;
mod driver;
#[cfg(feature = "cuda-emulated")]
mod emulated;
mod launches;
mod matrix;
mod mirror;
mod modules;
mod nvidia;
mod ops;
mod pages;
#[cfg(feature = "bench")]
mod probe;
mod rows;
mod sources;
mod top;
mod uploads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::driver::{Buffer, Driver, Kernel};
use self::matrix::WeightKernels;
use self::ops::Kept;
use super::cpu::Cpu;
use super::cpu::team::Team;
use super::{Backend, CacheShape, Footprint, Heads, MatrixShape, PassMode, Ranked, RowsUse, Storage};
use crate::dtype::DType;
use crate::error::Result;
use crate::gguf::TensorBytes;

pub use self::attend::AttentionScratch;
pub use self::matrix::{Matrix, Store};
pub use self::ops::CudaOps;
pub use self::pages::Pages;
pub use self::rows::Rows;
pub use self::top::Top;

/// A GPU as a backend, with the CPU beside it, which packs weights.
pub struct Cuda {
    driver: Arc<dyn Driver>,
    number: u32,
    cpu: Arc<Cpu>,
    /// Of one thread, the caller's: passes take turns, and no pass begins inside another.
    turns: Team,
    kernels: Kernels,
    weight_kernels: Mutex<BTreeMap<DType, Arc<WeightKernels>>>,
    /// A zero by which the blocks of a launch count who is last, and which they leave as it was: a launch ends before the next begins.
    counter: Buffer,
    /// What passes leave for the next one.
    kept: Mutex<Kept>,
}

/// The kernels of the operations without a format.
struct Kernels {
    rope_table: Kernel,
    norm: Kernel,
    glu: Kernel,
    softcap: Kernel,
    sum_squares: Kernel,
    top: Kernel,
    attend_merge: Kernel,
}

impl Kernels {
    const NAMES: [&str; 7] = [
        "oribi_rope_table",
        "oribi_norm",
        "oribi_glu",
        "oribi_softcap",
        "oribi_sum_squares",
        "oribi_top",
        "oribi_attend_merge",
    ];

    fn new(driver: &dyn Driver) -> Result<Kernels> {
        driver.prepare(&Kernels::NAMES.map(str::to_owned))?;
        let [rope_table, norm, glu, softcap, sum_squares, top, attend_merge] =
            Kernels::NAMES.map(|name| driver.kernel(name));
        Ok(Kernels {
            rope_table: rope_table?,
            norm: norm?,
            glu: glu?,
            softcap: softcap?,
            sum_squares: sum_squares?,
            top: top?,
            attend_merge: attend_merge?,
        })
    }
}

/// The driver of a GPU. With the feature `cuda-emulated` it is the emulated one, unless `ORIBI_CUDA_DRIVER` is `nvidia`.
fn open_driver(number: u32) -> Result<Arc<dyn Driver>> {
    #[cfg(feature = "cuda-emulated")]
    if std::env::var_os("ORIBI_CUDA_DRIVER").is_none_or(|name| name != "nvidia") {
        return Ok(Arc::new(emulated::Emulated::new(number)?));
    }
    Ok(Arc::new(nvidia::Nvidia::new(number)?))
}

/// Bytes of the memory of a GPU that are free, and all.
///
/// # Errors
/// Those of [`Cuda::new`].
pub fn memory_of(number: u32) -> Result<(u64, u64)> {
    open_driver(number)?.memory().map(|memory| (memory.free, memory.total))
}

impl Cuda {
    /// The GPU of a number, with its kernels.
    ///
    /// # Errors
    /// `Device` where there is no such GPU, no driver, or it cannot run the kernels.
    pub fn new(number: u32, cpu: Arc<Cpu>) -> Result<Cuda> {
        let driver = open_driver(number)?;
        Ok(Cuda {
            kernels: Kernels::new(&*driver)?,
            counter: Buffer::zeroed(&driver, size_of::<u32>(), "a counter")?,
            driver,
            number,
            cpu,
            turns: Team::new(1)?,
            weight_kernels: Mutex::default(),
            kept: Mutex::default(),
        })
    }

    /// The CPU beside it.
    pub fn cpu(&self) -> &Arc<Cpu> {
        &self.cpu
    }

    /// Its number.
    pub fn number(&self) -> u32 {
        self.number
    }

    /// Its number and name.
    pub fn name(&self) -> String {
        format!("cuda:{} ({})", self.number, self.driver.name())
    }

    /// The kernels of a weight format, loaded where they were not yet.
    fn weight_kernels(&self, dtype: DType) -> Result<Arc<WeightKernels>> {
        let mut known = lock(&self.weight_kernels);
        if let Some(kernels) = known.get(&dtype) {
            return Ok(Arc::clone(kernels));
        }
        let kernels = Arc::new(WeightKernels::new(&*self.driver, dtype)?);
        known.insert(dtype, Arc::clone(&kernels));
        Ok(kernels)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Float32 parameters `[n]`. A clone shares them.
#[derive(Clone)]
pub struct Vector {
    values: Arc<Buffer>,
    n: usize,
}

impl Vector {
    fn as_ptr(&self) -> *const f32 {
        self.values.at(0, self.n * size_of::<f32>()) as *const f32
    }
}

impl Backend for Cuda {
    type Store = Store;
    type Matrix = Matrix;
    type Vector = Vector;
    type Rows = Rows;
    type Pages = Pages;
    type AttentionScratch = AttentionScratch;
    type Top = Top;
    type Ops<'a> = CudaOps<'a>;

    fn store(&self, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Store> {
        let store = Store::new(&self.driver, storage, shapes)?;
        let dtypes: BTreeSet<DType> = shapes.iter().map(|shape| shape.dtype).collect();
        WeightKernels::prepare(&*self.driver, dtypes)?;
        Ok(store)
    }

    fn matrix(
        &self,
        store: &Store,
        shape: MatrixShape<'_>,
        data: TensorBytes,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Matrix> {
        Matrix::new(self, store, shape, data, stop)
    }

    fn vector(&self, values: &[f32]) -> Result<Vector> {
        let bytes = Buffer::new(&self.driver, size_of_val(values), "a parameter vector")?;
        // SAFETY: floats are bytes without padding.
        bytes.write(0, unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) })?;
        Ok(Vector { values: Arc::new(bytes), n: values.len() })
    }

    fn rows(&self, capacity: usize, n: usize, usage: RowsUse) -> Result<Rows> {
        Rows::new(&self.driver, capacity, n, usage)
    }

    fn read_row<'a>(&self, rows: &'a Rows, row: usize) -> &'a [f32] {
        rows.row(row)
    }

    fn write_rows<'a>(&self, rows: &mut Rows, n_rows: usize, row: &dyn Fn(usize) -> &'a [f32]) -> Result<()> {
        rows.fill(&self.driver, n_rows, row)
    }

    fn pages(&self, shape: CacheShape) -> Pages {
        Pages::new(shape)
    }

    fn grow_pages(&self, pages: &mut Pages) -> Result<()> {
        pages.grow(&self.driver)
    }

    fn copy_page(&self, pages: &mut Pages, from: u32, to: u32) -> Result<()> {
        pages.copy(from, to)
    }

    fn read_page(&self, pages: &Pages, page: u32, into: &mut [u8]) -> Result<()> {
        pages.read(page, into)
    }

    fn write_page(&self, pages: &mut Pages, page: u32, from: &[u8]) -> Result<()> {
        pages.write(page, from)
    }

    fn clear_page(&self, pages: &mut Pages, page: u32, from: usize) -> Result<()> {
        pages.clear(&self.cpu, page, from)
    }

    fn attention_scratch(&self, heads: Heads, n_ctx: usize) -> Result<AttentionScratch> {
        AttentionScratch::new(&self.driver, heads, n_ctx)
    }

    fn top(&self, capacity: usize, n: usize) -> Result<Top> {
        Top::new(&self.driver, capacity, n)
    }

    fn most_top(&self, top: &Top) -> usize {
        top.most()
    }

    fn read_top<'a>(&self, top: &'a Top, row: usize, n: usize) -> &'a [Ranked] {
        top.row(row, n)
    }

    fn fetch(&self, n: usize, rows: &Rows) -> Result<()> {
        rows.fetch(&self.driver, n)
    }

    /// Every format has a kernel for prompts.
    fn is_native(&self, _: &Matrix) -> bool {
        true
    }

    fn run(&self, mode: PassMode, stop: &(dyn Fn() -> bool + Sync), pass: impl Fn(&CudaOps<'_>) + Sync) -> Result<()> {
        let result = Mutex::new(Ok(()));
        self.turns.run_unless(stop, |_| {
            let mut kept = lock(&self.kept);
            let ops = CudaOps::new(self, mode.arithmetic, stop, std::mem::take(&mut *kept));
            pass(&ops);
            let ended;
            (*kept, ended) = ops.finish();
            *lock(&result) = ended;
        })?;
        result.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of the GPU's memory, whatever the host's workers.
impl Footprint for Cuda {
    fn store_bytes(storage: Storage, shapes: &[MatrixShape<'_>], _: usize) -> Result<u64> {
        Store::bytes(storage, shapes)
    }

    fn packing_bytes(_: Storage, _: &[MatrixShape<'_>], _: usize) -> u64 {
        0
    }

    fn rows_bytes(capacity: usize, n: usize, usage: RowsUse) -> u64 {
        Rows::bytes(capacity, n, usage)
    }

    fn page_bytes(shape: CacheShape) -> u64 {
        Cpu::page_bytes(shape)
    }

    fn attention_scratch_bytes(heads: Heads, n_ctx: usize, _: usize) -> u64 {
        AttentionScratch::bytes(heads, n_ctx)
    }

    fn top_bytes(capacity: usize, n: usize) -> u64 {
        Top::bytes(capacity, n)
    }
}
