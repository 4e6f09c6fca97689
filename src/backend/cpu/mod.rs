//! The CPU backend: the C kernels of `kernels/`, the choice among them, and the thread team that runs them.

/// The C types of `kernels/oribi_kernels.h`.
pub(crate) mod bindings;
pub mod caches;
pub mod choice;
pub mod cores;
pub mod kernels;
#[cfg(feature = "bench")]
pub mod probe;
pub mod team;

mod attend;
mod isa;
mod memory;
mod ops;
mod pages;
mod products;
mod rows;
mod tensor;
#[cfg(target_arch = "x86_64")]
mod x86;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use self::bindings as c;
use self::kernels::{Acts, Isa, Kernel, KernelSet};
use self::memory::AlignedBytes;
use self::products::ProductScratch;
use self::team::Team;
use super::{Backend, CacheShape, Footprint, Heads, KvType, MatrixShape, PassMode, Ranked, RowsUse, Storage};
use crate::dtype::DType;
use crate::error::Result;
use crate::gguf::TensorBytes;

pub use self::attend::AttentionScratch;
pub use self::ops::CpuOps;
#[cfg(feature = "cuda")]
pub(super) use self::pages::key_bytes;
pub use self::pages::{PAGE_LEN, Pages};
pub use self::rows::Rows;
pub use self::tensor::{Matrix, Store};
#[cfg(feature = "cuda")]
pub(super) use self::tensor::{Packer, panel_bytes};

/// How to use the CPU. The default is the best instruction set on all physical cores that the process may use.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuOptions {
    /// Threads; `None` for [`cores::default_threads`].
    pub n_threads: Option<usize>,
    /// Instruction set; `None` for the environment variable `ORIBI_ISA`, else the best of this CPU.
    pub isa: Option<Isa>,
    /// Ask the system for huge pages for packed weights; `None` for yes. A hint, known on Linux alone.
    pub huge_pages: Option<bool>,
}

/// The CPU as a backend: a thread team and the kernels for one instruction set.
pub struct Cpu {
    team: Team,
    kernels: KernelSet,
    bound: Bound,
    /// Per worker.
    product_scratch: Vec<ProductScratch>,
    /// Whether products of one row read weights as one stream.
    one_stream: bool,
    huge_pages: bool,
}

/// The kernels of the operations without a weight format, looked up once.
struct Bound {
    acts: Acts,
    quantize: Kernel,
    native_quantize: Option<Kernel>,
    rms_norm: Kernel,
    rope: Kernel,
    glu: Kernel,
    add: Kernel,
    scale: Kernel,
    softcap: Kernel,
    /// In the order of [`KvType::ALL`].
    caches: [CacheKernels; 3],
    merge: Kernel,
}

/// The kernels on keys and values of one type.
struct CacheKernels {
    store: Kernel,
    attention: Kernel,
    native_attention: Option<Kernel>,
}

impl CacheKernels {
    fn new(kernels: &KernelSet, kv_type: KvType) -> Result<CacheKernels> {
        let dtype = kv_type.dtype();
        Ok(CacheKernels {
            store: kernels.cache(c::ORIBI_OP_KV_STORE, dtype)?,
            attention: kernels.cache(c::ORIBI_OP_ATTENTION, dtype)?,
            native_attention: kernels.native(c::ORIBI_OP_ATTENTION, dtype),
        })
    }
}

impl Bound {
    fn new(kernels: &KernelSet) -> Result<Bound> {
        // Every quantized format of an instruction set takes the same layout, so any of them tells it.
        let acts = kernels.weight(c::ORIBI_OP_MATMUL, DType::Q8_0)?.acts();
        Ok(Bound {
            acts,
            quantize: kernels.quantizer(acts)?,
            native_quantize: kernels.quantizer(Acts::Bf16).ok(),
            rms_norm: kernels.plain(c::ORIBI_OP_RMS_NORM)?,
            rope: kernels.plain(c::ORIBI_OP_ROPE)?,
            glu: kernels.plain(c::ORIBI_OP_GLU)?,
            add: kernels.plain(c::ORIBI_OP_ADD)?,
            scale: kernels.plain(c::ORIBI_OP_SCALE)?,
            softcap: kernels.plain(c::ORIBI_OP_SOFTCAP)?,
            caches: [
                CacheKernels::new(kernels, KvType::F16)?,
                CacheKernels::new(kernels, KvType::Q8_0)?,
                CacheKernels::new(kernels, KvType::Q4_0)?,
            ],
            merge: kernels.plain(c::ORIBI_OP_ATTENTION_MERGE)?,
        })
    }
}

impl Cpu {
    /// Start the thread team and bind the kernels.
    ///
    /// # Errors
    /// `Device` for an instruction set that this CPU lacks or threads that cannot be started, `InvalidArgument` for a thread
    /// count out of range.
    pub fn new(options: CpuOptions) -> Result<Arc<Cpu>> {
        let kernels = KernelSet::new(Isa::choose(options.isa)?)?;
        let team = Team::new(options.n_threads.unwrap_or_else(cores::default_threads))?;
        let bound = Bound::new(&kernels)?;
        let scratch = |_| ProductScratch::new(bound.native_quantize.is_some());
        Ok(Arc::new(Cpu {
            product_scratch: (0..team.n_threads()).map(scratch).collect::<Result<_>>()?,
            one_stream: kernels.reads_one_stream(),
            huge_pages: options.huge_pages.unwrap_or(true),
            team,
            bound,
            kernels,
        }))
    }

    /// The thread team.
    pub fn team(&self) -> &Team {
        &self.team
    }

    /// The kernels in use.
    pub fn kernels(&self) -> &KernelSet {
        &self.kernels
    }

    /// The kernels on keys and values of a type.
    fn cache(&self, kv_type: KvType) -> &CacheKernels {
        &self.bound.caches[kv_type as usize]
    }

    /// The layout of quantized activations.
    fn acts(&self) -> Acts {
        self.bound.acts
    }
}

/// Float32 parameters `[n]`. A clone shares them.
#[derive(Clone)]
pub struct Vector {
    values: Arc<AlignedBytes>,
    n: usize,
}

impl Vector {
    fn len(&self) -> usize {
        self.n
    }

    fn as_ptr(&self) -> *const f32 {
        self.values.as_ptr().cast()
    }

    /// The values from element `i` on.
    fn at(&self, i: usize) -> *const f32 {
        assert!(i < self.n, "element {i} of a vector of {}", self.n);
        self.as_ptr().wrapping_add(i)
    }
}

/// No room: all values are in the host's memory.
pub struct Top;

impl Backend for Cpu {
    type Store = Store;
    type Matrix = Matrix;
    type Vector = Vector;
    type Rows = Rows;
    type Pages = Pages;
    type AttentionScratch = AttentionScratch;
    type Top = Top;
    type Ops<'a> = CpuOps<'a>;

    fn store(&self, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Store> {
        Store::new(self, storage, shapes)
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
        let bytes = AlignedBytes::zeroed(size_of_val(values), "a parameter vector")?;
        // SAFETY: the buffer was just allocated with the values' size.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr(), bytes.as_ptr().cast(), values.len()) }
        Ok(Vector { values: Arc::new(bytes), n: values.len() })
    }

    fn rows(&self, capacity: usize, n: usize, usage: RowsUse) -> Result<Rows> {
        Rows::new(capacity, n, usage)
    }

    fn read_row<'a>(&self, rows: &'a Rows, row: usize) -> &'a [f32] {
        rows.row(row)
    }

    fn write_rows<'a>(&self, rows: &mut Rows, n_rows: usize, row: &dyn Fn(usize) -> &'a [f32]) -> Result<()> {
        (0..n_rows).for_each(|i| rows.row_mut(i).copy_from_slice(row(i)));
        Ok(())
    }

    fn pages(&self, shape: CacheShape) -> Pages {
        Pages::new(shape)
    }

    fn grow_pages(&self, pages: &mut Pages) -> Result<()> {
        pages.grow()
    }

    fn copy_page(&self, pages: &mut Pages, from: u32, to: u32) -> Result<()> {
        pages.copy(from, to);
        Ok(())
    }

    fn read_page(&self, pages: &Pages, page: u32, into: &mut [u8]) -> Result<()> {
        pages.read(page, into);
        Ok(())
    }

    fn write_page(&self, pages: &mut Pages, page: u32, from: &[u8]) -> Result<()> {
        pages.write(page, from);
        Ok(())
    }

    fn clear_page(&self, pages: &mut Pages, page: u32, from: usize) -> Result<()> {
        pages.clear(page, from, self.cache(pages.kv_type()).store)
    }

    fn attention_scratch(&self, heads: Heads, n_ctx: usize) -> Result<AttentionScratch> {
        AttentionScratch::new(heads, n_ctx, self.team.n_threads())
    }

    fn top(&self, _: usize, _: usize) -> Result<Top> {
        Ok(Top)
    }

    fn most_top(&self, _: &Top) -> usize {
        0
    }

    fn read_top<'a>(&self, _: &'a Top, row: usize, n: usize) -> &'a [Ranked] {
        unreachable!("{n} values of row {row}, none of which were found")
    }

    fn fetch(&self, _: usize, _: &Rows) -> Result<()> {
        Ok(())
    }

    fn is_native(&self, matrix: &Matrix) -> bool {
        matrix.native_matmul().is_some()
    }

    fn run(&self, mode: PassMode, stop: &(dyn Fn() -> bool + Sync), pass: impl Fn(&CpuOps<'_>) + Sync) -> Result<()> {
        let stopped = AtomicBool::new(false);
        let PassMode { arithmetic, is_observed } = mode;
        self.team.run_unless(stop, |worker| {
            pass(&CpuOps { cpu: self, worker, arithmetic, is_observed, stop, stopped: &stopped })
        })
    }
}

impl Footprint for Cpu {
    fn store_bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> Result<u64> {
        Store::bytes(storage, shapes, n_workers)
    }

    fn packing_bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> u64 {
        Store::packing_bytes(storage, shapes, n_workers)
    }

    fn rows_bytes(capacity: usize, n: usize, usage: RowsUse) -> u64 {
        Rows::bytes(capacity, n, usage)
    }

    fn page_bytes(shape: CacheShape) -> u64 {
        Pages::page_bytes(shape) as u64
    }

    fn attention_scratch_bytes(heads: Heads, n_ctx: usize, n_workers: usize) -> u64 {
        AttentionScratch::bytes(heads, n_ctx, n_workers).saturating_add(ProductScratch::bytes(n_workers))
    }

    fn top_bytes(_: usize, _: usize) -> u64 {
        0
    }
}
