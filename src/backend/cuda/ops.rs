//! The operations of a forward pass on a GPU: each is one launch or a few, in order, on one stream.
//!
//! Launches are collected and begun together when results are published, as a graph where they are those of an earlier pass
//! (`launches.rs`). Nothing waits for them before the pass ends, but where rows are many: there the host begins and waits after each layer, so that a
//! request to stop never has more than a layer before it. The first error of a pass is kept, and what comes after it is left out.

use std::cell::RefCell;
use std::sync::Arc;

use super::attend::{self, Plan};
use super::bindings as c;
use super::driver::{Driver, Kernel};
use super::launches::{Graphs, Launch};
use super::matrix::Matrix;
use super::rows::Rows;
use super::top::Top;
use super::uploads::Uploads;
use super::{Cuda, Vector};
use crate::backend::cpu::bindings::{ORIBI_GELU_TANH, ORIBI_SILU};
use crate::backend::{Arithmetic, Attention, Gate, Gated, Norm, Ops, Projection, Residual, Rotation, RowSet, Run};
use crate::error::{Error, Result};

/// Up to so many rows, what follows a product is done by its own launch: five launches a layer.
const FEW_ROWS: usize = 4;
/// From so many rows on, the host waits after each layer.
const MANY_ROWS: usize = 64;
/// Matrices of a launch.
const MAX_WEIGHTS: usize = c::ORIBI_CUDA_MAX_WEIGHTS as usize;

/// A pass.
pub struct CudaOps<'a> {
    pub(super) cuda: &'a Cuda,
    pub(super) arithmetic: Arithmetic,
    stop: &'a (dyn Fn() -> bool + Sync),
    pass: RefCell<Pass>,
    queue: RefCell<Queue>,
}

/// What a pass leaves for the next one.
#[derive(Default)]
pub(super) struct Kept {
    uploads: Uploads,
    graphs: Graphs,
}

/// Launches that are not begun yet.
#[derive(Default)]
struct Queue {
    launches: Vec<Launch>,
    graphs: Graphs,
}

/// What changes during a pass.
#[derive(Default)]
pub(super) struct Pass {
    pub uploads: Uploads,
    /// How attention divides the rows, known from the first layer on.
    pub plan: Option<Plan>,
    n_rows: usize,
    is_stopped: bool,
    error: Option<Error>,
}

impl<'a> CudaOps<'a> {
    pub(super) fn new(
        cuda: &'a Cuda,
        arithmetic: Arithmetic,
        stop: &'a (dyn Fn() -> bool + Sync),
        Kept { mut uploads, graphs }: Kept,
    ) -> Self {
        uploads.begin();
        let pass = RefCell::new(Pass { uploads, ..Pass::default() });
        CudaOps { cuda, arithmetic, stop, pass, queue: RefCell::new(Queue { launches: Vec::new(), graphs }) }
    }

    /// The end of the pass: what is left of it, once everything is done.
    pub(super) fn finish(self) -> (Kept, Result<()>) {
        self.attempt(|_| self.begin_launches());
        let synchronized = self.driver().synchronize();
        let Pass { uploads, error, .. } = self.pass.into_inner();
        let graphs = self.queue.into_inner().graphs;
        (Kept { uploads, graphs }, error.map_or(synchronized, Err))
    }

    pub(super) fn driver(&self) -> &Arc<dyn Driver> {
        &self.cuda.driver
    }

    /// Do a part of the pass, unless something went wrong before.
    fn attempt(&self, part: impl FnOnce(&mut Pass) -> Result<()>) {
        let pass = &mut *self.pass.borrow_mut();
        if pass.error.is_none() && !pass.is_stopped {
            pass.error = part(pass).err();
        }
    }

    /// Launch a kernel, with those before it.
    pub(super) fn launch<T>(&self, kernel: &Kernel, shape: c::oribi_cuda_launch, args: T) -> Result<()>
    where
        T: PartialEq + 'static,
    {
        self.queue.borrow_mut().launches.push(Launch::new(kernel, shape, args));
        Ok(())
    }

    /// Begin what was launched so far.
    pub(super) fn begin_launches(&self) -> Result<()> {
        let Queue { launches, graphs } = &mut *self.queue.borrow_mut();
        // SAFETY: callers of `launch` pair kernels and argument structs as the header has it; rows, matrices and pages check what their
        // addresses are good for, and live until the pass has ended.
        unsafe { graphs.run(self.driver(), launches) }
    }

    /// A product with matrices of one format, their results side by side from column `column` of `out` on.
    fn product(
        &self,
        n: usize,
        input: &Rows,
        weights: &[&Matrix],
        (out, mut column): (&Rows, usize),
    ) -> c::oribi_cuda_matmul_args {
        let mut operands = [c::oribi_cuda_weights::default(); MAX_WEIGHTS];
        for (operand, matrix) in operands.iter_mut().zip(weights) {
            assert_eq!(matrix.k(), input.n(), "inputs of a product");
            *operand = matrix.operand(column);
            column += matrix.n_columns();
        }
        assert!(column <= out.stride(), "{column} columns in rows of {}", out.stride());
        c::oribi_cuda_matmul_args {
            weights: operands,
            n_weights: weights.len() as u32,
            k: input.n() as u32,
            acts: input.acts(self.arithmetic, 0),
            n_tokens: n as u32,
            unused: 0,
            y: out.at(0, n),
            y_stride: out.stride() as u64,
        }
    }

    /// Products with matrices side by side, results from column 0 of `out` on: one launch for those of a format that follow each other.
    fn products(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) -> Result<()> {
        let mut column = 0;
        for group in weights.chunk_by(|a, b| a.dtype() == b.dtype()) {
            for part in group.chunks(MAX_WEIGHTS) {
                let args = self.product(n, input, part, (out, column));
                column += part.iter().map(|matrix| matrix.n_columns()).sum::<usize>();
                // SAFETY: pure functions of numbers and of the struct.
                let (n_block, shape) = unsafe {
                    // Tokens a block; 0 is the kernel for many rows of one plane. All give the same bits.
                    let n_block = match c::oribi_cuda_matmul_tokens(args.n_tokens) {
                        32.. if input.is_native(self.arithmetic) => 0,
                        n_block => n_block,
                    };
                    (n_block, c::oribi_cuda_matmul_launch(part[0].dtype() as u32, n_block, &args))
                };
                self.launch(part[0].kernels().matmul(n_block), shape, args)?;
            }
        }
        Ok(())
    }

    /// `x += product`, where there is one, and the norm.
    fn normed(
        &self,
        pass: &mut Pass,
        x: &Rows,
        added: Option<Added<'_>>,
        norm: &Norm<'_, Cuda>,
    ) -> Result<c::oribi_cuda_norm_args> {
        let n_rows = norm.rows.len();
        let rows = match norm.rows {
            RowSet::First(_) => std::ptr::null(),
            RowSet::Select(rows) => pass.uploads.put(self.driver(), rows)? as *const u32,
        };
        let most = (0..n_rows).map(|i| norm.rows.at(i) + 1).max().unwrap_or(0);
        assert_eq!(norm.weight.n, x.n(), "length of a norm");
        let mut args = c::oribi_cuda_norm_args {
            x: x.at(0, most),
            x_stride: x.stride() as u64,
            weight: norm.weight.as_ptr(),
            rows,
            n_rows: n_rows as u32,
            n: x.n() as u32,
            eps: norm.eps,
            first_out: norm.first_out as u32,
            out: norm.out.at(0, norm.first_out + n_rows),
            out_stride: norm.out.stride() as u64,
            acts: norm.out.acts(self.arithmetic, 0),
            ..Default::default()
        };
        if let Some(Added { product, norm }) = added {
            args.product = product.at(0, most);
            args.product_stride = product.stride() as u64;
            args.post = norm.map_or(std::ptr::null(), Vector::as_ptr);
        }
        Ok(args)
    }

    fn launch_norm(&self, args: &c::oribi_cuda_norm_args) -> Result<()> {
        // SAFETY: a pure function of the struct.
        let shape = unsafe { c::oribi_cuda_norm_launch(args) };
        self.launch(&self.cuda.kernels.norm, shape, *args)
    }
}

/// What is added to the residual, and the norm that it passes through first.
struct Added<'a> {
    product: &'a Rows,
    norm: Option<&'a Vector>,
}

impl Ops<Cuda> for CudaOps<'_> {
    fn stopped(&self) -> bool {
        if (self.stop)() {
            self.pass.borrow_mut().is_stopped = true;
        }
        self.attempt(|pass| match pass.n_rows >= MANY_ROWS {
            true => self.begin_launches().and_then(|()| self.driver().synchronize()),
            false => Ok(()),
        });
        let pass = self.pass.borrow();
        pass.is_stopped || pass.error.is_some()
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], scale: f32, x: &Rows) {
        self.attempt(|pass| {
            pass.n_rows = tokens.len();
            assert!(tokens.iter().all(|&token| (token as usize) < table.n_rows()), "tokens of the vocabulary");
            assert_eq!(table.k(), x.n(), "length of an embedding");
            let args = c::oribi_cuda_embed_args {
                panels: table.panels(),
                panel_bytes: table.panel_bytes() as u64,
                k: table.k() as u32,
                n_rows: tokens.len() as u32,
                tokens: pass.uploads.put(self.driver(), tokens)? as *const u32,
                scale,
                x: x.at(0, tokens.len()),
                x_stride: x.stride() as u64,
            };
            // SAFETY: a pure function of the struct.
            let shape = unsafe { c::oribi_cuda_embed_launch(&args) };
            self.launch(&table.kernels().embed, shape, args)
        });
    }

    fn rope_table(&self, rotation: &Rotation, positions: &[u32], table: &Rows) {
        self.attempt(|pass| {
            assert_eq!(table.n(), 2 * rotation.frequencies.len(), "row of a rotation table");
            let args = c::oribi_cuda_rope_table_args {
                frequencies: pass.uploads.put(self.driver(), &rotation.frequencies)? as *const f64,
                n_pairs: rotation.frequencies.len() as u32,
                n_rows: positions.len() as u32,
                positions: pass.uploads.put(self.driver(), positions)? as *const u32,
                table: table.at(0, positions.len()),
                stride: table.stride() as u64,
            };
            if rotation.frequencies.is_empty() {
                return Ok(());
            }
            // SAFETY: a pure function of the struct.
            let shape = unsafe { c::oribi_cuda_rope_table_launch(&args) };
            self.launch(&self.cuda.kernels.rope_table, shape, args)
        });
    }

    fn norm(&self, x: &Rows, norm: &Norm<'_, Cuda>) {
        if !norm.rows.is_empty() {
            self.attempt(|pass| self.launch_norm(&self.normed(pass, x, None, norm)?));
        }
    }

    fn add_product(&self, n: usize, x: &Rows, residual: &Residual<'_, Cuda>, norm: &Norm<'_, Cuda>) {
        let Residual { input, weight, product, norm: post } = *residual;
        // What no row of the norm takes part in is read by nobody.
        if !norm.rows.is_empty() {
            self.attempt(|pass| {
                let norm = self.normed(pass, x, Some(Added { product, norm: post }), norm)?;
                if n > FEW_ROWS {
                    self.products(n, input, &[weight], product)?;
                    return self.launch_norm(&norm);
                }
                let product = self.product(n, input, &[weight], (product, 0));
                let counter = self.cuda.counter.at(0, size_of::<u32>()) as *mut u32;
                let args = c::oribi_cuda_matmul_norm_args { product, norm, counter };
                // SAFETY: a pure function of the struct.
                let shape = unsafe { c::oribi_cuda_matmul_norm_launch(weight.dtype() as u32, &args) };
                self.launch(&weight.kernels().norm, shape, args)
            });
        }
    }

    fn linear(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
        self.attempt(|_| self.products(n, input, weights, out));
    }

    fn attend(
        &self,
        runs: &[Run],
        qkv: &Rows,
        projection: &Projection<'_, Cuda>,
        attention: &Attention<'_, Cuda>,
        out: &Rows,
    ) {
        self.attempt(|pass| attend::attend(self, pass, runs, qkv, (projection, attention), out));
    }

    /// Rows are not moved; where none are left, there is nothing to move.
    fn select(&self, rows: &[u32], _: &Rows, _: &Rows) -> bool {
        rows.is_empty()
    }

    fn gated(&self, n: usize, unit: &Gated<'_, Cuda>) {
        let Gated { input, weights, gate, scratch, out, .. } = *unit;
        let activation = match gate {
            Gate::Silu => ORIBI_SILU,
            Gate::GeluTanh => ORIBI_GELU_TANH,
        };
        let [wg, wu] = weights;
        let (to, out_stride, acts) = (out.at(0, n), out.stride() as u64, out.acts(self.arithmetic, 0));
        let is_alike = (wg.dtype(), wg.n_rows()) == (wu.dtype(), wu.n_rows());
        self.attempt(|_| {
            if n <= FEW_ROWS && is_alike {
                let product = self.product(n, input, &weights, (scratch, 0));
                let n = out.n() as u32;
                let args = c::oribi_cuda_matmul_glu_args { product, n, activation, out: to, out_stride, acts };
                // SAFETY: a pure function of the struct.
                let shape = unsafe { c::oribi_cuda_matmul_glu_launch(wg.dtype() as u32, &args) };
                return self.launch(&wg.kernels().glu, shape, args);
            }
            self.products(n, input, &weights, scratch)?;
            let args = c::oribi_cuda_glu_args {
                scratch: scratch.at(0, n),
                scratch_stride: scratch.stride() as u64,
                up_column: wg.n_columns() as u32,
                n_rows: n as u32,
                n: out.n() as u32,
                activation,
                out: to,
                out_stride,
                acts,
            };
            // SAFETY: a pure function of the struct.
            let shape = unsafe { c::oribi_cuda_glu_launch(&args) };
            self.launch(&self.cuda.kernels.glu, shape, args)
        });
    }

    fn softcap(&self, n: usize, cap: f32, x: &Rows) {
        self.attempt(|_| {
            let (n_rows, stride) = (n as u32, x.stride() as u64);
            let args = c::oribi_cuda_softcap_args { x: x.at(0, n), stride, n_rows, n: x.n() as u32, cap };
            // SAFETY: a pure function of the struct.
            let shape = unsafe { c::oribi_cuda_softcap_launch(&args) };
            self.launch(&self.cuda.kernels.softcap, shape, args)
        });
    }

    fn sum_squares(&self, n: usize, rows: &Rows, sums: &Rows) {
        self.attempt(|_| {
            assert_eq!(rows.n(), sums.n(), "columns of sums");
            let (x, n_rows, stride) = (rows.at(0, n), n as u32, rows.stride() as u64);
            let args = c::oribi_cuda_sum_squares_args { x, stride, n_rows, n: rows.n() as u32, sums: sums.at(0, 1) };
            // SAFETY: a pure function of the struct.
            let shape = unsafe { c::oribi_cuda_sum_squares_launch(&args) };
            self.launch(&self.cuda.kernels.sum_squares, shape, args)
        });
    }

    fn find_top(&self, n_rows: usize, n_columns: usize, n: usize, rows: &Rows, top: &Top) {
        self.attempt(|_| top.find(self, n_rows, n_columns, n, rows));
    }

    fn publish(&self, n: usize, rows: &Rows) {
        self.attempt(|_| self.begin_launches().and_then(|()| rows.publish(self.driver(), n)));
    }
}
