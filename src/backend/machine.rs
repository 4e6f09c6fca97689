//! The machine that a model runs on, chosen when it is loaded: the CPU, or a GPU.
//!
//! [`Machine`] is a backend that passes every call on to the one that it is. Its matrices, rows and pages are those of that
//! one; a model, its sessions and everything in them live on one machine. What the choice costs is a comparison per operation.

use std::sync::Arc;

#[cfg(feature = "bench")]
use super::GpuSpeeds;
use super::cpu::{self, Cpu, CpuOps, CpuOptions};
use super::cuda::{self, Cuda};
use super::{
    Attention, Backend, CacheShape, Device, Gated, Heads, MatrixShape, Norm, Ops, PassMode, Projection, Ranked,
    Residual, Rotation, RowsUse, Run, Storage,
};
use crate::error::{ErrorKind, Result};
use crate::gguf::TensorBytes;

/// Something that is on either machine.
#[derive(Clone)]
pub enum On<C, G> {
    /// On the CPU.
    Cpu(C),
    /// On a GPU.
    Cuda(G),
}

type Store = On<cpu::Store, cuda::Store>;
type Matrix = On<cpu::Matrix, cuda::Matrix>;
type Vector = On<cpu::Vector, cuda::Vector>;
type Rows = On<cpu::Rows, cuda::Rows>;
type Pages = On<cpu::Pages, cuda::Pages>;
type AttentionScratch = On<cpu::AttentionScratch, cuda::AttentionScratch>;
type Top = On<cpu::Top, cuda::Top>;

/// The CPU or a GPU.
pub enum Machine {
    /// The CPU.
    Cpu(Arc<Cpu>),
    /// A GPU. The CPU beside it packs its weights.
    Cuda(Box<Cuda>),
}

/// The operations of the machine that it is.
pub enum MachineOps<'a> {
    /// A worker's.
    Cpu(&'a CpuOps<'a>),
    /// A GPU's.
    Cuda(&'a <Cuda as Backend>::Ops<'a>),
}

impl Machine {
    /// The machine of that name.
    ///
    /// # Errors
    /// `Device` for a GPU that is not there or cannot be used, and those of [`Cpu::new`].
    pub fn new(device: Device, options: CpuOptions) -> Result<Arc<Machine>> {
        let cpu = Cpu::new(options)?;
        let machine = match device {
            Device::Cpu => Machine::Cpu(cpu),
            Device::Cuda(number) => Machine::Cuda(Box::new(Cuda::new(number, cpu)?)),
            Device::Auto => match Cuda::new(0, Arc::clone(&cpu)) {
                Ok(cuda) => Machine::Cuda(Box::new(cuda)),
                Err(e) if e.kind() == ErrorKind::Device => Machine::Cpu(cpu),
                Err(e) => return Err(e),
            },
        };
        Ok(Arc::new(machine))
    }

    /// The CPU: the machine itself, or the one beside the GPU.
    pub fn cpu(&self) -> &Arc<Cpu> {
        match self {
            Machine::Cpu(cpu) => cpu,
            Machine::Cuda(cuda) => cuda.cpu(),
        }
    }

    /// Which one it is: not [`Device::Auto`].
    pub fn device(&self) -> Device {
        match self {
            Machine::Cpu(_) => Device::Cpu,
            Machine::Cuda(cuda) => Device::Cuda(cuda.number()),
        }
    }

    /// Whether it is a GPU.
    pub fn is_gpu(&self) -> bool {
        matches!(self, Machine::Cuda(_))
    }

    /// What it does at best, measured now; `None` for the CPU, which [`bench::Machine`](crate::bench::Machine) measures.
    ///
    /// # Errors
    /// `OutOfMemory`, `Device`.
    #[cfg(feature = "bench")]
    pub fn gpu_speeds(&self) -> Result<Option<GpuSpeeds>> {
        match self {
            Machine::Cpu(_) => Ok(None),
            Machine::Cuda(cuda) => cuda.speeds().map(Some),
        }
    }

    /// Its name, for people: the instruction set of the CPU, or the number and name of the GPU.
    pub fn name(&self) -> String {
        match self {
            Machine::Cpu(cpu) => format!("cpu ({})", cpu.kernels().isa().name()),
            Machine::Cuda(cuda) => cuda.name(),
        }
    }
}

/// A thing of one machine, as it is found in what may be on either.
trait Part<Whole> {
    /// The part, or a defect: what meets in an operation was made by one machine.
    fn of(whole: &Whole) -> &Self;
    fn of_mut(whole: &mut Whole) -> &mut Self;
}

/// A backend whose things are found in a machine's.
trait Side:
    Backend<
        Matrix: Part<Matrix>,
        Vector: Part<Vector>,
        Rows: Part<Rows>,
        Pages: Part<Pages>,
        AttentionScratch: Part<AttentionScratch>,
        Top: Part<Top>,
    >
{
}

impl Side for Cpu {}
impl Side for Cuda {}

macro_rules! parts {
    ($($name:ident)+) => {$(
        parts!($name, cpu, Cpu);
        parts!($name, cuda, Cuda);
    )+};
    ($name:ident, $module:ident, $variant:ident) => {
        impl Part<$name> for $module::$name {
            fn of(whole: &$name) -> &Self {
                match whole {
                    On::$variant(part) => part,
                    #[allow(unreachable_patterns)] // without CUDA there is no other
                    _ => panic!("{} of another machine in an operation", stringify!($name)),
                }
            }

            fn of_mut(whole: &mut $name) -> &mut Self {
                match whole {
                    On::$variant(part) => part,
                    #[allow(unreachable_patterns)]
                    _ => panic!("{} of another machine in an operation", stringify!($name)),
                }
            }
        }
    };
}

parts!(Store Matrix Vector Rows Pages AttentionScratch Top);

fn of<Whole, T: Part<Whole>>(whole: &Whole) -> &T {
    T::of(whole)
}

fn of_mut<Whole, T: Part<Whole>>(whole: &mut Whole) -> &mut T {
    T::of_mut(whole)
}

/// `dispatch!(self, one => expression)`: the expression with whichever of both it is as `one`.
macro_rules! dispatch {
    ($of:expr, $one:ident => $does:expr) => {
        match $of {
            Self::Cpu($one) => $does,
            Self::Cuda($one) => $does,
        }
    };
}

/// The same, for what makes something of the machine.
macro_rules! make {
    ($of:expr, $one:ident => $does:expr) => {
        match $of {
            Self::Cpu($one) => On::Cpu($does),
            Self::Cuda($one) => On::Cuda($does),
        }
    };
}

impl Backend for Machine {
    type Store = Store;
    type Matrix = Matrix;
    type Vector = Vector;
    type Rows = Rows;
    type Pages = Pages;
    type AttentionScratch = AttentionScratch;
    type Top = Top;
    type Ops<'a> = MachineOps<'a>;

    fn store(&self, storage: Storage, shapes: &[MatrixShape<'_>]) -> Result<Store> {
        Ok(make!(self, one => one.store(storage, shapes)?))
    }

    fn matrix(
        &self,
        store: &Store,
        shape: MatrixShape<'_>,
        data: TensorBytes,
        stop: &(dyn Fn() -> bool + Sync),
    ) -> Result<Matrix> {
        Ok(make!(self, one => one.matrix(of(store), shape, data, stop)?))
    }

    fn vector(&self, values: &[f32]) -> Result<Vector> {
        Ok(make!(self, one => one.vector(values)?))
    }

    fn rows(&self, capacity: usize, n: usize, usage: RowsUse) -> Result<Rows> {
        Ok(make!(self, one => one.rows(capacity, n, usage)?))
    }

    fn read_row<'a>(&self, rows: &'a Rows, row: usize) -> &'a [f32] {
        dispatch!(self, one => one.read_row(of(rows), row))
    }

    fn write_rows<'a>(&self, rows: &mut Rows, n_rows: usize, row: &dyn Fn(usize) -> &'a [f32]) -> Result<()> {
        dispatch!(self, one => one.write_rows(of_mut(rows), n_rows, row))
    }

    #[allow(unreachable_code)] // the arm of the GPU, without CUDA
    fn pages(&self, shape: CacheShape) -> Pages {
        make!(self, one => one.pages(shape))
    }

    fn grow_pages(&self, pages: &mut Pages) -> Result<()> {
        dispatch!(self, one => one.grow_pages(of_mut(pages)))
    }

    fn copy_page(&self, pages: &mut Pages, from: u32, to: u32) -> Result<()> {
        dispatch!(self, one => one.copy_page(of_mut(pages), from, to))
    }

    fn read_page(&self, pages: &Pages, page: u32, into: &mut [u8]) -> Result<()> {
        dispatch!(self, one => one.read_page(of(pages), page, into))
    }

    fn write_page(&self, pages: &mut Pages, page: u32, from: &[u8]) -> Result<()> {
        dispatch!(self, one => one.write_page(of_mut(pages), page, from))
    }

    fn clear_page(&self, pages: &mut Pages, page: u32, from: usize) -> Result<()> {
        dispatch!(self, one => one.clear_page(of_mut(pages), page, from))
    }

    fn attention_scratch(&self, heads: Heads, n_ctx: usize) -> Result<AttentionScratch> {
        Ok(make!(self, one => one.attention_scratch(heads, n_ctx)?))
    }

    fn top(&self, capacity: usize, n: usize) -> Result<Top> {
        Ok(make!(self, one => one.top(capacity, n)?))
    }

    fn most_top(&self, top: &Top) -> usize {
        dispatch!(self, one => one.most_top(of(top)))
    }

    fn read_top<'a>(&self, top: &'a Top, row: usize, n: usize) -> &'a [Ranked] {
        dispatch!(self, one => one.read_top(of(top), row, n))
    }

    fn fetch(&self, n: usize, rows: &Rows) -> Result<()> {
        dispatch!(self, one => one.fetch(n, of(rows)))
    }

    fn is_native(&self, matrix: &Matrix) -> bool {
        dispatch!(self, one => one.is_native(of(matrix)))
    }

    fn run(
        &self,
        mode: PassMode,
        stop: &(dyn Fn() -> bool + Sync),
        pass: impl Fn(&MachineOps<'_>) + Sync,
    ) -> Result<()> {
        match self {
            Machine::Cpu(cpu) => cpu.run(mode, stop, |ops| pass(&MachineOps::Cpu(ops))),
            Machine::Cuda(cuda) => cuda.run(mode, stop, |ops| pass(&MachineOps::Cuda(ops))),
        }
    }
}

fn norm_of<'a, B: Side>(norm: &Norm<'a, Machine>) -> Norm<'a, B> {
    let Norm { rows, weight, eps, out, first_out } = *norm;
    Norm { rows, weight: of(weight), eps, out: of(out), first_out }
}

fn residual_of<'a, B: Side>(residual: &Residual<'a, Machine>) -> Residual<'a, B> {
    let Residual { input, weight, product, norm } = *residual;
    Residual { input: of(input), weight: of(weight), product: of(product), norm: norm.map(of) }
}

fn gated_of<'a, B: Side>(unit: &Gated<'a, Machine>) -> Gated<'a, B> {
    let Gated { input, weights, gate, scratch, out, reader } = *unit;
    Gated { input: of(input), weights: weights.map(of), gate, scratch: of(scratch), out: of(out), reader: of(reader) }
}

fn projection_of<'a, B: Side>(projection: &Projection<'a, Machine>) -> Projection<'a, B> {
    let Projection { heads, biases, norms, eps, rotation: (rotation, table) } = *projection;
    Projection {
        heads,
        biases: biases.map(|bias| bias.map(of)),
        norms: norms.map(|norms| norms.map(of)),
        eps,
        rotation: (rotation, of(table)),
    }
}

fn attention_of<'a, B: Side>(attention: &Attention<'a, Machine>) -> Attention<'a, B> {
    let Attention { heads, scale, window, pages, layer, scratch } = *attention;
    Attention { heads, scale, window, pages: of(pages), layer, scratch: of(scratch) }
}

/// The product with matrices side by side, of which there are at most three.
fn linear<B: Side>(ops: &impl Ops<B>, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
    match *weights {
        [] => {}
        [a] => ops.linear(n, of(input), &[of(a)], of(out)),
        [a, b] => ops.linear(n, of(input), &[of(a), of(b)], of(out)),
        [a, b, c] => ops.linear(n, of(input), &[of(a), of(b), of(c)], of(out)),
        _ => ops.linear(n, of(input), &weights.iter().map(|w| of(*w)).collect::<Vec<_>>(), of(out)),
    }
}

impl Ops<Machine> for MachineOps<'_> {
    fn stopped(&self) -> bool {
        dispatch!(self, ops => ops.stopped())
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], scale: f32, x: &Rows) {
        dispatch!(self, ops => ops.embed(of(table), tokens, scale, of(x)))
    }

    fn rope_table(&self, rotation: &Rotation, positions: &[u32], table: &Rows) {
        dispatch!(self, ops => ops.rope_table(rotation, positions, of(table)))
    }

    fn norm(&self, x: &Rows, norm: &Norm<'_, Machine>) {
        dispatch!(self, ops => ops.norm(of(x), &norm_of(norm)))
    }

    fn add_product(&self, n: usize, x: &Rows, residual: &Residual<'_, Machine>, norm: &Norm<'_, Machine>) {
        dispatch!(self, ops => ops.add_product(n, of(x), &residual_of(residual), &norm_of(norm)))
    }

    fn linear(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
        dispatch!(self, ops => linear(*ops, n, input, weights, out))
    }

    fn attend(
        &self,
        runs: &[Run],
        qkv: &Rows,
        projection: &Projection<'_, Machine>,
        attention: &Attention<'_, Machine>,
        out: &Rows,
    ) {
        let (p, a) = (projection, attention);
        dispatch!(self, ops => ops.attend(runs, of(qkv), &projection_of(p), &attention_of(a), of(out)))
    }

    fn select(&self, rows: &[u32], x: &Rows, input: &Rows) -> bool {
        dispatch!(self, ops => ops.select(rows, of(x), of(input)))
    }

    fn gated(&self, n: usize, unit: &Gated<'_, Machine>) {
        dispatch!(self, ops => ops.gated(n, &gated_of(unit)))
    }

    fn softcap(&self, n: usize, cap: f32, x: &Rows) {
        dispatch!(self, ops => ops.softcap(n, cap, of(x)))
    }

    fn sum_squares(&self, n: usize, rows: &Rows, sums: &Rows) {
        dispatch!(self, ops => ops.sum_squares(n, of(rows), of(sums)))
    }

    fn find_top(&self, n_rows: usize, n_columns: usize, n: usize, rows: &Rows, top: &Top) {
        dispatch!(self, ops => ops.find_top(n_rows, n_columns, n, of(rows), of(top)))
    }

    fn publish(&self, n: usize, rows: &Rows) {
        dispatch!(self, ops => ops.publish(n, of(rows)))
    }
}
