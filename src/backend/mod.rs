//! The seam between the model and the machine: packed weights, buffers of rows, key/value pages and the operations of a
//! forward pass. CPU and GPU meet here, at fused operations, so that neither pays for the other's granularity.
//!
//! A pass is one [`Backend::run`]: the closure is the forward pass, written once against [`Ops`]. On the CPU every worker
//! of the thread team executes it and takes parts of each operation; on a GPU each operation is a launch. So the closure must
//! do the same on every call: it may depend on the model and the batch, and on nothing that differs from worker to worker.

#[cfg(not(feature = "cuda"))]
mod absent;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod device;
mod machine;

#[cfg(not(feature = "cuda"))]
use self::absent as cuda;

use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::gguf::TensorBytes;

pub use self::device::Device;
pub use self::machine::{Machine, MachineOps};
pub(crate) type Gpu = cuda::Cuda;

/// The gate of a feed-forward layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// `x * sigmoid(x)`.
    Silu,
    /// The tanh form of GELU.
    GeluTanh,
}

/// The head layout of an attention layer; queries, keys and values of a row lie side by side in this order.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// Query heads.
    pub n_heads: usize,
    /// Key and value heads.
    pub n_kv_heads: usize,
    /// Length of a head.
    pub head_dim: usize,
}

/// How keys and values are kept. The formulas are in `docs/numerics.md`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvType {
    /// float16.
    #[default]
    F16,
    /// 8 bits, with a float16 scale for each 32 elements of a head: 8.5 bits an element.
    Q8_0,
    /// 4 bits, with a float16 scale for each 32 elements of a head: 4.5 bits an element.
    Q4_0,
}

impl KvType {
    /// Every type, best first.
    pub const ALL: [KvType; 3] = [KvType::F16, KvType::Q8_0, KvType::Q4_0];

    /// Its name: `f16`, `q8_0`, `q4_0`.
    pub fn name(self) -> &'static str {
        match self {
            KvType::F16 => "f16",
            KvType::Q8_0 => "q8_0",
            KvType::Q4_0 => "q4_0",
        }
    }

    /// The format by which its kernels are found.
    pub fn dtype(self) -> DType {
        match self {
            KvType::F16 => DType::F16,
            KvType::Q8_0 => DType::Q8_0,
            KvType::Q4_0 => DType::Q4_0,
        }
    }
}

impl std::fmt::Display for KvType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for KvType {
    type Err = Error;

    fn from_str(name: &str) -> Result<KvType> {
        KvType::ALL.into_iter().find(|kv_type| kv_type.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
            let names = KvType::ALL.map(KvType::name).join(", ");
            let text = format!("keys and values cannot be kept as \"{name}\" (there are {names})");
            Error::new(ErrorKind::InvalidArgument, text)
        })
    }
}

/// The keys and values of one position.
#[derive(Clone, Copy, Debug)]
pub struct CacheShape {
    /// Layers.
    pub n_layers: usize,
    /// Head layout of each.
    pub heads: Heads,
    /// How they are kept.
    pub kv_type: KvType,
}

/// A run of consecutive positions of one sequence in a batch.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its first row in the batch.
    pub first_row: usize,
    /// Its rows.
    pub n_rows: usize,
    /// Position of the first row.
    pub first_position: usize,
    /// The sequence's pages, in order of position; they cover all positions up to the last row's.
    pub pages: Vec<u32>,
}

/// What rotates the heads of a kind of layer.
#[derive(Clone, Debug)]
pub struct Rotation {
    /// Radians per position of each of the `n_rot / 2` pairs.
    pub frequencies: Vec<f64>,
    /// Pairs are `(i, i + n_rot / 2)` instead of `(2i, 2i + 1)`.
    pub half_split: bool,
}

/// The arithmetic of a pass; see docs/numerics.md.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    /// The same bits on every machine.
    #[default]
    Portable,
    /// What the machine's bfloat16 products give, wherever the rows are not [`RowsUse::PortableInput`].
    Native,
}

/// How a pass is computed.
#[derive(Clone, Copy, Debug, Default)]
pub struct PassMode {
    /// The arithmetic of its products and of its attention.
    pub arithmetic: Arithmetic,
    /// Whether the float32 values of all inputs of products are read too, and so must be there.
    pub is_observed: bool,
}

/// A product that is added to the residual.
pub struct Residual<'a, B: Backend> {
    /// The product's input, `(n_rows, k)`.
    pub input: &'a B::Rows,
    /// `(dim, k)`.
    pub weight: &'a B::Matrix,
    /// Room for the product, `(n_rows, dim)`, where the backend has no better place.
    pub product: &'a B::Rows,
    /// Norm that the product passes through before it is added.
    pub norm: Option<&'a B::Vector>,
}

/// A gated unit: `gate(input * wg^T) * (input * wu^T)`.
pub struct Gated<'a, B: Backend> {
    /// Its input, `(n_rows, dim)`.
    pub input: &'a B::Rows,
    /// `wg` and `wu`, each `(ffn_dim, dim)`.
    pub weights: [&'a B::Matrix; 2],
    /// The activation.
    pub gate: Gate,
    /// Room for both products, each from a multiple of 16 on, where the backend has no better place.
    pub scratch: &'a B::Rows,
    /// The result, `(n_rows, ffn_dim)`, ready as the input of products.
    pub out: &'a B::Rows,
    /// The weights of the product that reads `out`, `(dim, ffn_dim)`.
    pub reader: &'a B::Matrix,
}

/// A norm of the residual, ready as the input of products.
pub struct Norm<'a, B: Backend> {
    /// Rows that are normalised, in this order.
    pub rows: RowSet<'a>,
    /// `[dim]`.
    pub weight: &'a B::Vector,
    /// Epsilon, of the residual's own norm too.
    pub eps: f32,
    /// The results.
    pub out: &'a B::Rows,
    /// Row of `out` that the first row goes to.
    pub first_out: usize,
}

/// The parameters of an attention layer that act between projection and scores.
pub struct Projection<'a, B: Backend> {
    /// Head layout.
    pub heads: Heads,
    /// Biases of queries, keys and values.
    pub biases: [Option<&'a B::Vector>; 3],
    /// Norms of each query head and each key head.
    pub norms: Option<[&'a B::Vector; 2]>,
    /// Epsilon of those norms.
    pub eps: f32,
    /// Rotation, and its table from [`Ops::rope_table`].
    pub rotation: (&'a Rotation, &'a B::Rows),
}

/// How a layer attends, to what, and where it may compute.
pub struct Attention<'a, B: Backend> {
    /// Head layout.
    pub heads: Heads,
    /// Factor of the scores.
    pub scale: f32,
    /// Positions seen, the own one included; `None` for all.
    pub window: Option<usize>,
    /// Keys and values.
    pub pages: &'a B::Pages,
    /// The layer whose keys and values are meant.
    pub layer: usize,
    /// Scratch for as many positions as the pages hold.
    pub scratch: &'a B::AttentionScratch,
}

/// What a rows buffer is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowsUse {
    /// Plain float32 rows.
    Values,
    /// Also the input of matrix products.
    ProductInput,
    /// The same, in portable arithmetic whatever the pass's.
    PortableInput,
    /// The scratch of [`Gated`] units.
    GateScratch,
}

impl RowsUse {
    /// Whether the rows are the input of products.
    pub fn feeds_products(self) -> bool {
        matches!(self, RowsUse::ProductInput | RowsUse::PortableInput)
    }
}

/// What a GPU does at best, per second.
#[cfg(feature = "bench")]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GpuSpeeds {
    /// Bytes read from its memory.
    pub bytes: f64,
    /// Multiply-adds of its matrix units in bfloat16.
    pub bf16_macs: f64,
    /// Fused multiply-adds in float32.
    pub float_macs: f64,
}

/// Where weights are while a model runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Storage {
    /// In memory, in the layout of the kernels.
    #[default]
    Packed,
    /// In the file, brought into that layout panel by panel whenever a product needs them. Loading takes no time and the file
    /// may be larger than memory; computing is slower.
    InFile,
}

/// A value of a row and its place there.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked {
    /// The value: a logit.
    pub value: f32,
    /// Its place: the token.
    pub place: u32,
}

/// A machine that models run on.
pub trait Backend: Send + Sync + Sized + 'static {
    /// Room for the matrices of a model.
    type Store: Send + Sync;
    /// Weights `(n_rows, k)` as products read them.
    type Matrix: Send + Sync;
    /// Float32 parameters `[n]`.
    type Vector: Send + Sync;
    /// Scratch `(capacity, n)` of float32 rows. Operations write through shared references; a pass has exclusive use.
    type Rows: Send + Sync;
    /// Pages of keys and values of all layers.
    type Pages: Send + Sync;
    /// Scratch of attention.
    type AttentionScratch: Send + Sync;
    /// Room for the largest values of rows.
    type Top: Send + Sync;
    /// The operations of a pass.
    type Ops<'a>: Ops<Self>;

    /// Room for the matrices of a model, all of which have these shapes.
    fn store(&self, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Self::Store>;
    /// A matrix in a store, from its file form: `data` holds `n_rows` rows of `k` elements. `stop` is asked now and then.
    fn matrix(
        &self,
        store: &Self::Store,
        shape: MatrixShape<'_>,
        data: TensorBytes,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Self::Matrix>;
    /// Float32 parameters.
    fn vector(&self, values: &[f32]) -> Result<Self::Vector>;
    /// Scratch rows.
    fn rows(&self, capacity: usize, n: usize, usage: RowsUse) -> Result<Self::Rows>;
    /// The first `n` values of row `row`, after a pass that [published](Ops::publish) them.
    fn read_row<'a>(&self, rows: &'a Self::Rows, row: usize) -> &'a [f32];
    /// Fill the first `n_rows` rows, the i-th with the values that `row` gives for i. No pass is running.
    fn write_rows<'a>(&self, rows: &mut Self::Rows, n_rows: usize, row: &dyn Fn(usize) -> &'a [f32]) -> Result<()>;
    /// An empty pool of pages.
    fn pages(&self, shape: CacheShape) -> Self::Pages;
    /// Add a page to the pool; its number is the count before.
    fn grow_pages(&self, pages: &mut Self::Pages) -> Result<()>;
    /// Copy the content of page `from` to page `to`.
    fn copy_page(&self, pages: &mut Self::Pages, from: u32, to: u32) -> Result<()>;
    /// Copy a page out of its pool, as its keys and values lie: in the same layout on every machine.
    fn read_page(&self, pages: &Self::Pages, page: u32, into: &mut [u8]) -> Result<()>;
    /// Copy a page back into a pool of the same shape.
    fn write_page(&self, pages: &mut Self::Pages, page: u32, from: &[u8]) -> Result<()>;
    /// Make the keys and values of a page zero from slot `from` on.
    fn clear_page(&self, pages: &mut Self::Pages, page: u32, from: usize) -> Result<()>;
    /// Scratch for attention over at most `n_ctx` positions.
    fn attention_scratch(&self, heads: Heads, n_ctx: usize) -> Result<Self::AttentionScratch>;
    /// Room for the largest values of `capacity` rows of `n`.
    fn top(&self, capacity: usize, n: usize) -> Result<Self::Top>;
    /// How many of the largest values of a row [`Ops::find_top`] can find; 0 where all values are in the host's memory anyway.
    fn most_top(&self, top: &Self::Top) -> usize;
    /// The `n` values of row `row`, in any order, after a pass in which [`Ops::find_top`] found them.
    fn read_top<'a>(&self, top: &'a Self::Top, row: usize, n: usize) -> &'a [Ranked];
    /// The first `n` rows will be read with [`read_row`](Self::read_row), though the pass, the last one, did not publish them. The
    /// caller has read none of them since then.
    fn fetch(&self, n: usize, rows: &Self::Rows) -> Result<()>;
    /// Whether products with this matrix can be formed in native arithmetic.
    fn is_native(&self, matrix: &Self::Matrix) -> bool;
    /// Run a pass. `stop` is asked between layers, through [`Ops::stopped`], and by long operations. Native arithmetic needs matrices that are
    /// [`is_native`](Self::is_native).
    fn run(&self, mode: PassMode, stop: &(dyn Fn() -> bool + Sync), pass: impl Fn(&Self::Ops<'_>) + Sync)
    -> Result<()>;
}

/// What a kind of machine's memory holds, known before there is one.
pub trait Footprint {
    /// Bytes that the [`store`](Backend::store) of such matrices takes with so many workers.
    fn store_bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> Result<u64>;
    /// Bytes that filling the store holds in passing.
    fn packing_bytes(storage: Storage, shapes: &[MatrixShape<'_>], n_workers: usize) -> u64;
    /// Bytes that [`rows`](Backend::rows) will take.
    fn rows_bytes(capacity: usize, n: usize, usage: RowsUse) -> u64;
    /// Bytes of a page.
    fn page_bytes(shape: CacheShape) -> u64;
    /// Bytes that [`attention_scratch`](Backend::attention_scratch) will take with so many workers, and what these need for products.
    fn attention_scratch_bytes(heads: Heads, n_ctx: usize, n_workers: usize) -> u64;
    /// Bytes that [`top`](Backend::top) will take.
    fn top_bytes(capacity: usize, n: usize) -> u64;
}

/// What a matrix is: its name for messages, format and shape.
#[derive(Clone, Copy, Debug)]
pub struct MatrixShape<'a> {
    /// Tensor name.
    pub name: &'a str,
    /// Format in the file.
    pub dtype: DType,
    /// Outputs.
    pub n_rows: usize,
    /// Inputs.
    pub k: usize,
}

/// The operations of a forward pass. `n` is the number of rows that take part, from row 0. Every operation is complete when
/// it returns.
pub trait Ops<B: Backend> {
    /// Whether the pass shall end early. A worker that hears so leaves; what the others still compute is not used.
    fn stopped(&self) -> bool;

    /// `x[i] = scale * table[tokens[i]]`, exactly the file's values.
    fn embed(&self, table: &B::Matrix, tokens: &[u32], scale: f32, x: &B::Rows);

    /// Cosines and sines of `positions`, one row each.
    fn rope_table(&self, rotation: &Rotation, positions: &[u32], table: &B::Rows);

    /// `out = rms_norm(x) * weight`.
    fn norm(&self, x: &B::Rows, norm: &Norm<'_, B>);

    /// `x += input * weight^T` for the first `n` rows, then the [`norm`](Self::norm) that follows. Rows that the norm leaves out
    /// need not be added to: nobody reads them again.
    fn add_product(&self, n: usize, x: &B::Rows, residual: &Residual<'_, B>, norm: &Norm<'_, B>);

    /// `out = input * [w0; w1; ...]^T`, the results side by side, each from a multiple of 16 on.
    fn linear(&self, n: usize, input: &B::Rows, weights: &[&B::Matrix], out: &B::Rows);

    /// Bias, norm and rotation of queries and keys; keys and values of the layer go to the pages; then attention of every
    /// row's query heads over its sequence's pages. `out` is ready as the input of products; `qkv` is used up.
    fn attend(
        &self,
        runs: &[Run],
        qkv: &B::Rows,
        projection: &Projection<'_, B>,
        attention: &Attention<'_, B>,
        out: &B::Rows,
    );

    /// Keep these rows alone, in ascending order, as the first ones of `x` and of `input`, which is ready as the input of products again.
    /// `false` where the backend goes on with all rows.
    fn select(&self, rows: &[u32], x: &B::Rows, input: &B::Rows) -> bool;

    /// A gated unit for the first `n` rows. The values of its result are there if its reader needs them or the pass
    /// [`is_observed`](PassMode::is_observed).
    fn gated(&self, n: usize, unit: &Gated<'_, B>);

    /// `x = cap * tanh(x / cap)`.
    fn softcap(&self, n: usize, cap: f32, x: &B::Rows);

    /// Row 0 of `sums` becomes the sums of the squares of each column of the first `n` rows, formed in float64 and rounded once.
    fn sum_squares(&self, n: usize, rows: &B::Rows, sums: &B::Rows);

    /// Find the `n` largest of the first `n_columns` values of each of the first `n_rows` rows, to be read with [`Backend::read_top`]:
    /// NaN before all others, 0 and -0 equal, of equal values the first. `n` is at least 1 and at most [`Backend::most_top`].
    fn find_top(&self, n_rows: usize, n_columns: usize, n: usize, rows: &B::Rows, top: &B::Top);

    /// The first `n` rows will be read after the pass, with [`Backend::read_row`].
    fn publish(&self, n: usize, rows: &B::Rows);
}

/// Which rows take part in an operation.
#[derive(Clone, Copy, Debug)]
pub enum RowSet<'a> {
    /// The first so many.
    First(usize),
    /// These, in this order.
    Select(&'a [u32]),
}

impl RowSet<'_> {
    /// How many rows.
    pub fn len(&self) -> usize {
        match self {
            RowSet::First(n) => *n,
            RowSet::Select(rows) => rows.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The i-th row.
    pub fn at(&self, i: usize) -> usize {
        match self {
            RowSet::First(_) => i,
            RowSet::Select(rows) => rows[i] as usize,
        }
    }
}
