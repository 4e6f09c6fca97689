//! What a test makes the machine do: bytes that it must read, and multiply-adds by the unit that may do them.

use std::ops::{Add, AddAssign, Mul};

use crate::backend::cpu::bindings as c;
use crate::backend::cpu::kernels::{Acts, KernelSet, panel_bytes};
use crate::backend::cpu::{Cpu, PAGE_LEN};
use crate::backend::{CacheShape, Footprint};
use crate::dtype::DType;
use crate::error::{Result, bail};
use crate::gguf::TensorInfo;
use crate::model::{HyperParams, Model};
use crate::session::{Numerics, Role, SessionOptions, rows_at_once};

use super::test::{Kind, Test};

/// Output rows of a packed panel.
const PANEL_ROWS: u64 = c::ORIBI_PANEL_ROWS as u64;

/// Bytes and multiply-adds. A multiply-add is one weight or key times one activation, however many instructions that takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Packed weights once per pass, and the keys and values that a sequence's tokens see once per pass.
    pub read_bytes: u64,
    /// Multiply-adds of codes with 16-bit activations.
    pub code_macs: u64,
    /// Multiply-adds in float32.
    pub float_macs: u64,
    /// Multiply-adds that may be done in bfloat16 (native numerics).
    pub bf16_macs: u64,
}

impl Work {
    /// All multiply-adds.
    pub fn macs(&self) -> u64 {
        self.code_macs + self.float_macs + self.bf16_macs
    }

    /// The work of a test with a model, in a session with `options`.
    ///
    /// # Errors
    /// `Unsupported` for a tensor type that cannot be computed; a model that was loaded has none.
    pub fn of(test: &Test, model: &Model, options: &SessionOptions) -> Result<Work> {
        let parts = Parts::new(model, options)?;
        Ok(match test.kind {
            Kind::Prompt { n_tokens } => {
                let rows = rows_at_once(model, options, Role::Prompt);
                let chunks = (0..n_tokens).step_by(rows).map(|at| (test.depth + at, rows.min(n_tokens - at)));
                chunks.map(|(first, n)| parts.pass(first, n, Role::Prompt)).fold(parts.head(1), Work::add)
            }
            Kind::Generate { n_tokens, batch } => {
                let step = |i| {
                    let attention = parts.attention(test.depth + i, 1, Role::Generated);
                    parts.weights(batch as u64, Role::Generated) + attention * batch as u64 + parts.head(batch as u64)
                };
                (0..n_tokens).map(step).fold(Work::default(), Work::add)
            }
        })
    }
}

/// What native arithmetic there is for prompts.
#[derive(Clone, Copy)]
enum Native<'a> {
    None,
    /// That of the CPU's kernels.
    Cpu(&'a KernelSet),
    /// A GPU's: every product.
    Products,
}

/// Matrices of one kind of arithmetic, added up.
#[derive(Clone, Copy, Default)]
struct Matrices {
    n_bytes: u64,
    code_weights: u64,
    float_weights: u64,
    /// Of both, those that prompts multiply in bfloat16.
    native_weights: u64,
    native_code_weights: u64,
}

/// What a model's passes consist of.
struct Parts<'a> {
    hparams: &'a HyperParams,
    blocks: Matrices,
    head: Matrices,
    native_attention: bool,
    /// Keys and values of a position in one block.
    position_bytes: u64,
}

impl<'a> Parts<'a> {
    fn new(model: &'a Model, options: &SessionOptions) -> Result<Parts<'a>> {
        let native = match options.numerics {
            Numerics::Portable => Native::None,
            Numerics::Native if model.machine().is_gpu() => Native::Products,
            Numerics::Native => Native::Cpu(model.cpu().kernels()),
        };
        let gguf = model.gguf();
        let head_name = if gguf.tensor("output.weight").is_some() { "output.weight" } else { "token_embd.weight" };
        let (mut blocks, mut head) = (Matrices::default(), Matrices::default());
        for tensor in gguf.tensors().iter().filter(|t| t.shape.len() == 2) {
            if tensor.name == head_name {
                head.add(tensor, Native::None)?;
            } else if tensor.name != "token_embd.weight" {
                blocks.add(tensor, native)?;
            }
        }
        let native_attention = match native {
            Native::Cpu(kernels) => kernels.native(c::ORIBI_OP_ATTENTION, options.kv_type.dtype()).is_some(),
            Native::None | Native::Products => false,
        };
        let hparams = model.hparams();
        let layer = CacheShape { n_layers: 1, heads: hparams.heads(), kv_type: options.kv_type };
        let position_bytes = Cpu::page_bytes(layer) / PAGE_LEN as u64;
        Ok(Parts { hparams, blocks, head, native_attention, position_bytes })
    }

    /// `n` tokens of one sequence from position `first` on, without the output head.
    fn pass(&self, first: usize, n: usize, role: Role) -> Work {
        self.weights(n as u64, role) + self.attention(first, n, role)
    }

    /// The matrices of the blocks for `n` tokens in one pass.
    fn weights(&self, n: u64, role: Role) -> Work {
        self.blocks.work(n, role)
    }

    /// The output head for `n` tokens.
    fn head(&self, n: u64) -> Work {
        self.head.work(n, Role::Generated)
    }

    /// Scores and sums of values of `n` tokens of one sequence.
    fn attention(&self, first: usize, n: usize, role: Role) -> Work {
        let h = self.hparams;
        let (mut seen, mut read) = (0, 0);
        for block in 0..h.n_blocks {
            let window = h.window_of(block).unwrap_or(usize::MAX);
            seen += (first..first + n).map(|position| (position + 1).min(window) as u64).sum::<u64>();
            read += (first + n).min(window.saturating_add(n - 1)) as u64;
        }
        let macs = seen * 2 * h.q_dim() as u64;
        let native = role == Role::Prompt && self.native_attention;
        Work {
            read_bytes: read * self.position_bytes,
            float_macs: if native { 0 } else { macs },
            bf16_macs: if native { macs } else { 0 },
            ..Work::default()
        }
    }
}

impl Matrices {
    /// Adds a matrix.
    fn add(&mut self, tensor: &TensorInfo, native: Native<'_>) -> Result<()> {
        let Some(panel_bytes) = panel_bytes(tensor.dtype, tensor.shape[0] as usize) else {
            bail!(Unsupported, "tensor {}: type {} cannot be computed with", tensor.name, tensor.dtype);
        };
        self.n_bytes += panel_bytes as u64 * tensor.shape[1].div_ceil(PANEL_ROWS);
        let is_code = !matches!(tensor.dtype, DType::F32 | DType::F16 | DType::BF16);
        let is_native = match native {
            Native::None => false,
            Native::Cpu(kernels) => kernels.native(c::ORIBI_OP_MATMUL, tensor.dtype).is_some(),
            Native::Products => true,
        };
        let n = tensor.n_elems();
        *(if is_code { &mut self.code_weights } else { &mut self.float_weights }) += n;
        self.native_weights += if is_native { n } else { 0 };
        self.native_code_weights += if is_native && is_code { n } else { 0 };
        Ok(())
    }

    fn work(&self, n: u64, role: Role) -> Work {
        let (native, native_code) =
            if role == Role::Prompt { (self.native_weights, self.native_code_weights) } else { (0, 0) };
        Work {
            read_bytes: self.n_bytes,
            code_macs: n * (self.code_weights - native_code),
            float_macs: n * (self.float_weights - (native - native_code)),
            bf16_macs: n * native,
        }
    }
}

impl Add for Work {
    type Output = Work;

    fn add(mut self, other: Work) -> Work {
        self += other;
        self
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Work) {
        self.read_bytes += other.read_bytes;
        self.code_macs += other.code_macs;
        self.float_macs += other.float_macs;
        self.bf16_macs += other.bf16_macs;
    }
}

impl Mul<u64> for Work {
    type Output = Work;

    fn mul(self, n: u64) -> Work {
        Work {
            read_bytes: self.read_bytes * n,
            code_macs: self.code_macs * n,
            float_macs: self.float_macs * n,
            bf16_macs: self.bf16_macs * n,
        }
    }
}

/// How many multiply-adds of a probe's kind one multiply-add of a code with a 16-bit activation takes.
pub(super) fn macs_per_code(acts: Acts) -> f64 {
    match acts {
        Acts::Planes => 2.0, // the activation's high byte and its low byte
        _ => 1.0,
    }
}
