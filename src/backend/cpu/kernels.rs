//! The kernels of this build, and the choice of one for every operation and weight format.
//!
//! The instruction set is found once, as a value ([`Isa`]); a [`KernelSet`] is bound to it when a model is loaded. Nothing
//! falls back silently: [`KernelSet::chosen`] names every kernel in use.

use std::fmt;
use std::sync::OnceLock;

use super::bindings::{self as c, oribi_kernel};
use super::isa::is_amd;
use crate::dtype::DType;
use crate::error::{Result, bail};

pub use super::isa::Isa;

/// How a kernel wants its activations; see `oribi_acts` in the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acts {
    /// The operation has no quantized activations.
    None,
    /// float32 as they are.
    F32,
    /// 16-bit codes in order of k.
    I16,
    /// 16-bit codes, each four reordered for 16-bit multiply-add.
    Pairs,
    /// Per group, the codes' high bytes, then their low bytes.
    Planes,
    /// bfloat16 values in tiles of [`ACTS_TILE_ROWS`] rows: native numerics.
    Bf16,
}

/// Rows of a tile of [`Acts::Bf16`].
pub const ACTS_TILE_ROWS: usize = 16;

impl Acts {
    /// Bytes of one row of `k` inputs, without padding. `k` is a multiple of 32 for the quantized layouts.
    pub fn row_bytes(self, k: usize) -> usize {
        match self {
            Acts::None => 0,
            Acts::F32 => k * size_of::<f32>(),
            Acts::Bf16 => k * size_of::<u16>(),
            // Two bytes a code, a float32 scale per 32, an int32 sum per 16.
            Acts::I16 | Acts::Pairs | Acts::Planes => 2 * k + k / 8 + k / 4,
        }
    }

    fn of(acts: c::oribi_acts) -> Acts {
        match acts {
            c::ORIBI_ACTS_F32 => Acts::F32,
            c::ORIBI_ACTS_I16 => Acts::I16,
            c::ORIBI_ACTS_PAIRS => Acts::Pairs,
            c::ORIBI_ACTS_PLANES => Acts::Planes,
            c::ORIBI_ACTS_BF16 => Acts::Bf16,
            _ => Acts::None,
        }
    }
}

/// One row of the kernel table: a kernel that this build holds, and that this CPU may be unable to run.
#[derive(Clone, Copy)]
pub struct Kernel(&'static oribi_kernel);

impl Kernel {
    /// Its C symbol, which names operation, format and instruction set.
    pub fn name(self) -> &'static str {
        // SAFETY: the table's names are string literals of ASCII symbols (`#symbol` in table.c).
        unsafe { std::ffi::CStr::from_ptr(self.0.name) }.to_str().unwrap_or("unnamed")
    }

    /// The operation.
    pub(crate) fn op(self) -> c::oribi_op {
        self.0.op
    }

    /// The weight format; `None` for an operation without one.
    pub fn dtype(self) -> Option<DType> {
        DType::from_id(self.0.dtype)
    }

    /// Whether it measures the machine and is no operation of a model.
    pub(crate) fn is_probe(self) -> bool {
        matches!(self.op(), c::ORIBI_OP_PROBE_READ | c::ORIBI_OP_PROBE_MACS)
    }

    /// Whether it may be used where `isa` is the best instruction set allowed.
    pub fn is_allowed_by(self, isa: Isa) -> bool {
        self.0.isa & !isa.bits() == 0
    }

    /// The least instruction set that runs it.
    pub fn isa(self) -> Isa {
        // A row with unknown bits would be a defect of the table; the tests look for it. It is never chosen.
        Isa::of_bits(self.0.isa).unwrap_or(Isa::Amx)
    }

    /// The layout of its activations.
    pub fn acts(self) -> Acts {
        Acts::of(self.0.acts)
    }

    /// Whether it computes in native numerics: in bfloat16, and so to other bits than the portable kernels of its operation.
    pub fn is_native(self) -> bool {
        self.op() != c::ORIBI_OP_QUANTIZE_ACTS && self.acts() == Acts::Bf16 && !self.is_probe()
    }

    /// Activation rows of its widest register tile: batches up to this size read the weights once.
    pub fn max_rows(self) -> usize {
        self.0.max_rows as usize
    }

    /// Activation rows up to which it hands over to the kernel of the next lower instruction set; 0 where it never does.
    pub fn few_rows(self) -> usize {
        if self.op() != c::ORIBI_OP_MATMUL || self.is_native() {
            return 0;
        }
        // SAFETY: a pure function of two numbers.
        unsafe { c::oribi_matmul_few_rows(self.0.dtype, self.0.isa) as usize }
    }

    /// Calls the kernel.
    ///
    /// # Safety
    /// This CPU must have [`Kernel::isa`] (every kernel of a [`KernelSet`] does), `args` must be the struct of this
    /// kernel's operation, and its pointers, sizes and strides must describe memory as the header says.
    pub(crate) unsafe fn run<A: KernelArgs>(self, args: &A) {
        debug_assert!(A::OPS.contains(&self.0.op), "{} called with another operation's arguments", self.name());
        if let Some(function) = self.0.fn_ {
            // SAFETY: the caller's promise; a kernel only reads its argument struct.
            unsafe { function(std::ptr::from_ref(args).cast()) }
        }
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An argument struct of the header, with the operations that take it.
pub(crate) trait KernelArgs {
    const OPS: &[c::oribi_op];
}

macro_rules! kernel_args {
    ($($args:ident: $($op:ident),+;)*) => { $(
        impl KernelArgs for c::$args {
            const OPS: &[c::oribi_op] = &[$(c::$op),+];
        }
    )* };
}

kernel_args! {
    oribi_pack_args: ORIBI_OP_PACK;
    oribi_unpack_row_args: ORIBI_OP_UNPACK_ROW;
    oribi_quantize_acts_args: ORIBI_OP_QUANTIZE_ACTS;
    oribi_matmul_args: ORIBI_OP_MATMUL;
    oribi_rms_norm_args: ORIBI_OP_RMS_NORM;
    oribi_rope_args: ORIBI_OP_ROPE;
    oribi_glu_args: ORIBI_OP_GLU;
    oribi_map_args: ORIBI_OP_ADD, ORIBI_OP_SCALE, ORIBI_OP_SOFTCAP;
    oribi_kv_store_args: ORIBI_OP_KV_STORE;
    oribi_attention_args: ORIBI_OP_ATTENTION;
    oribi_attention_merge_args: ORIBI_OP_ATTENTION_MERGE;
    oribi_probe_args: ORIBI_OP_PROBE_READ, ORIBI_OP_PROBE_MACS;
}

/// Every kernel of this build, whether or not this CPU can run it.
pub fn table() -> &'static [Kernel] {
    let mut n_kernels = 0;
    // SAFETY: oribi_kernels returns a constant array and writes its length; Kernel is one pointer to a row, so the
    // rows are wrapped once below.
    let rows = unsafe {
        let rows = c::oribi_kernels(&mut n_kernels);
        std::slice::from_raw_parts(rows, n_kernels)
    };
    static TABLE: OnceLock<Vec<Kernel>> = OnceLock::new();
    TABLE.get_or_init(|| rows.iter().map(Kernel).collect())
}

// SAFETY: a row is constant: an immutable name and a function without state.
unsafe impl Send for Kernel {}
// SAFETY: as above.
unsafe impl Sync for Kernel {}

/// Bytes of one packed panel (16 output rows of `k` inputs) of a format; `None` where the format has no kernels or `k` is
/// not a whole number of its blocks.
pub fn panel_bytes(dtype: DType, k: usize) -> Option<usize> {
    // SAFETY: a pure function of two numbers.
    match unsafe { c::oribi_panel_bytes(dtype as u32, k) } {
        0 => None,
        n_bytes => Some(n_bytes),
    }
}

/// The best kernel of every operation and weight format for one instruction set: the portable one, and where the
/// instruction set has fast bfloat16 products the native one beside it.
#[derive(Clone, Debug)]
pub struct KernelSet {
    isa: Isa,
    chosen: Vec<Kernel>,
}

impl KernelSet {
    /// The kernels for `isa`, of each role the one with the most instruction set bits.
    ///
    /// Errors: `Device` if this CPU lacks `isa`.
    pub fn new(isa: Isa) -> Result<KernelSet> {
        let isa = Isa::choose(Some(isa))?;
        let mut chosen: Vec<Kernel> = Vec::new();
        for &kernel in table().iter().filter(|kernel| kernel.is_allowed_by(isa) && !kernel.is_probe()) {
            match chosen.iter_mut().find(|have| same_role(**have, kernel)) {
                Some(have) if have.0.isa < kernel.0.isa => *have = kernel,
                Some(_) => {}
                None => chosen.push(kernel),
            }
        }
        Ok(KernelSet { isa, chosen })
    }

    /// The instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Whether products of one row are to read weights as one stream; see `oribi_matmul_args`.
    ///
    /// A Zen 4 core read weights from memory 1.3 to 1.7 times as fast as one stream as it did two panels at once with prefetches; the
    /// AVX2 kernels, which take one panel at any time, lost up to a quarter without prefetches. Xeons read less without.
    pub(super) fn reads_one_stream(&self) -> bool {
        self.isa >= Isa::Avx512 && is_amd()
    }

    /// The kernels in use, in the order of the table.
    pub fn chosen(&self) -> &[Kernel] {
        &self.chosen
    }

    /// The portable kernel of an operation without a weight format.
    ///
    /// Errors: `Internal` if the table has none.
    pub(crate) fn plain(&self, op: c::oribi_op) -> Result<Kernel> {
        match self.find(|kernel| kernel.op() == op && !kernel.is_native()) {
            Some(kernel) => Ok(kernel),
            None => bail!(Internal, "no kernel for operation {op}"),
        }
    }

    /// The portable kernel of an operation on keys and values of a format: kv_store or attention.
    ///
    /// Errors: `Unsupported` if the format has none.
    pub(crate) fn cache(&self, op: c::oribi_op, dtype: DType) -> Result<Kernel> {
        match self.find(|kernel| kernel.op() == op && kernel.0.dtype == dtype as u32 && !kernel.is_native()) {
            Some(kernel) => Ok(kernel),
            None => bail!(Unsupported, "keys and values cannot be kept as {dtype}"),
        }
    }

    /// The portable kernel of an operation on weights of a format: pack, unpack_row or matmul.
    ///
    /// Errors: `Unsupported` if the format has none.
    pub(crate) fn weight(&self, op: c::oribi_op, dtype: DType) -> Result<Kernel> {
        match self.find(|kernel| kernel.op() == op && kernel.0.dtype == dtype as u32 && !kernel.is_native()) {
            Some(kernel) => Ok(kernel),
            None => bail!(Unsupported, "tensor type {dtype} cannot be computed with"),
        }
    }

    /// The native kernel of an operation on a format: matmul, which takes activations as [`Acts::Bf16`], or attention; `None`
    /// where this instruction set has none, and native numerics are the portable ones.
    pub(crate) fn native(&self, op: c::oribi_op, dtype: DType) -> Option<Kernel> {
        self.find(|kernel| kernel.op() == op && kernel.0.dtype == dtype as u32 && kernel.is_native())
    }

    /// The kernel that quantizes activations into a layout.
    ///
    /// Errors: `Internal` if the table has none: `acts` is not a quantized layout.
    pub(crate) fn quantizer(&self, acts: Acts) -> Result<Kernel> {
        match self.find(|kernel| kernel.op() == c::ORIBI_OP_QUANTIZE_ACTS && kernel.acts() == acts) {
            Some(kernel) => Ok(kernel),
            None => bail!(Internal, "no kernel quantizes activations to {acts:?}"),
        }
    }

    fn find(&self, wanted: impl Fn(Kernel) -> bool) -> Option<Kernel> {
        self.chosen.iter().copied().find(|&kernel| wanted(kernel))
    }
}

/// Whether two rows compete: the same operation, format and numerics, and for quantizers the same layout.
fn same_role(a: Kernel, b: Kernel) -> bool {
    let same_acts = a.op() != c::ORIBI_OP_QUANTIZE_ACTS || a.acts() == b.acts();
    a.op() == b.op() && a.0.dtype == b.0.dtype && a.is_native() == b.is_native() && same_acts
}
