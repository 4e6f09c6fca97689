//! The operations of a forward pass on the CPU: each is one or two parallel steps of the team.
//!
//! How work is divided never changes a result: a part is a set of whole rows, panels or heads, and each of those is
//! computed the same way wherever it lands.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use super::attend;
use super::bindings as c;
use super::kernels::Kernel;
use super::pages::{PAGE_LEN, Pages};
use super::rows::Rows;
use super::team::{Part, Worker};
use super::tensor::{Matrix, PANEL_ROWS};
use super::{Cpu, Top, Vector};
use crate::backend::{Arithmetic, Attention, Gated, Heads, Norm, Ops, Projection, Residual, Rotation, Run};

/// Up to so many rows, the worker that finishes a product also does the sums and norms that follow it: less than a step costs.
pub(super) const FEW_ROWS: usize = 4;

/// Columns whose squares are summed together: a panel, so that no row ends within.
const SQUARES: usize = PANEL_ROWS;

/// One worker's hand in a pass.
pub struct CpuOps<'a> {
    pub(super) cpu: &'a Cpu,
    pub(super) worker: &'a Worker<'a>,
    pub(super) arithmetic: Arithmetic,
    pub(super) is_observed: bool,
    pub(super) stop: &'a (dyn Fn() -> bool + Sync),
    pub(super) stopped: &'a AtomicBool,
}

impl CpuOps<'_> {
    /// A step: quantize the activations of the first `n` rows, where the rows have any.
    pub(super) fn quantize_all(&self, n: usize, rows: &Rows) {
        self.worker.parallel(1, |part| self.quantize(part.share(n, 1), 0..rows.n(), rows));
    }

    /// The kernel that makes these rows ready for products in this pass.
    fn quantizer(&self, rows: &Rows) -> Kernel {
        let native = if self.is_native(rows) { self.cpu.bound.native_quantize } else { None };
        native.unwrap_or(self.cpu.bound.quantize)
    }

    /// Whether products with these rows are formed in native arithmetic.
    pub(super) fn is_native(&self, rows: &Rows) -> bool {
        self.arithmetic == Arithmetic::Native && !rows.is_portable()
    }

    /// Whether a pass of `n` rows was told to stop. Asked before each part of the steps that take long when rows are many: a layer
    /// of a large model may take a second then. What is left out is not used, because the pass is not.
    pub(super) fn gives_up(&self, n: usize) -> bool {
        n > FEW_ROWS && self.stopped()
    }

    /// Quantize columns of rows, whole groups of them (or all), where the rows have activations.
    pub(super) fn quantize(&self, range: Range<usize>, columns: Range<usize>, rows: &Rows) {
        if !range.is_empty() && !columns.is_empty() {
            let x = rows.at(range.start, columns.start);
            self.quantize_from(x, rows.stride(), range, columns, rows);
        }
    }

    /// The same from values that lie elsewhere, `x_stride` floats from row to row.
    pub(super) fn quantize_from(
        &self,
        x: *const f32,
        x_stride: usize,
        range: Range<usize>,
        columns: Range<usize>,
        rows: &Rows,
    ) {
        let Some((acts, acts_stride)) = rows.acts() else { return };
        let args = c::oribi_quantize_acts_args {
            x,
            x_stride,
            n_rows: range.len() as u32,
            k: rows.n() as u32,
            begin: columns.start as u32,
            end: columns.end as u32,
            first_row: range.start as u32,
            acts,
            acts_stride,
        };
        // SAFETY: values and activations of `range` lie within their buffers by the callers, and these columns of them are this part's
        // alone.
        unsafe { self.quantizer(rows).run(&args) }
    }

    fn map(&self, kernel: Kernel, x: *const f32, other: *const f32, n: usize, factor: f32, y: *mut f32) {
        // SAFETY: callers pass rows of at least `n` floats that are this part's alone.
        unsafe { kernel.run(&c::oribi_map_args { x, other, n: n as u32, factor, y }) }
    }

    /// `y = rms_norm(x)` for `n_rows` rows of `n` floats, `stride` apart in both.
    fn rms_norm(&self, x: *const f32, weight: &Vector, shape: NormShape, eps: f32, y: *mut f32) {
        assert_eq!(weight.len(), shape.n, "length of a norm");
        let args = c::oribi_rms_norm_args {
            x,
            x_stride: shape.stride,
            weight: weight.as_ptr(),
            n_rows: shape.n_rows as u32,
            n: shape.n as u32,
            eps,
            y,
            y_stride: shape.stride,
        };
        // SAFETY: callers pass rows that are this part's alone; the weight has `n` floats.
        unsafe { self.cpu.bound.rms_norm.run(&args) }
    }

    /// A norm of some of its rows.
    fn norm_rows(&self, which: Range<usize>, x: &Rows, norm: &Norm<'_, Cpu>) {
        let shape = || NormShape { n_rows: 1, n: x.n(), stride: x.stride() };
        for i in which.clone() {
            let (row, out) = (x.at(norm.rows.at(i), 0), norm.out.at(norm.first_out + i, 0));
            self.rms_norm(row, norm.weight, shape(), norm.eps, out);
        }
        self.quantize(norm.first_out + which.start..norm.first_out + which.end, 0..norm.out.n(), norm.out);
    }

    /// Add the product of a residual to some of the rows of its norm, and normalise them.
    pub(super) fn add_rows(&self, which: Range<usize>, x: &Rows, residual: &Residual<'_, Cpu>, norm: &Norm<'_, Cpu>) {
        let shape = || NormShape { n_rows: 1, n: x.n(), stride: x.stride() };
        for i in which.clone() {
            let (row, product) = (x.at(norm.rows.at(i), 0), residual.product.at(norm.rows.at(i), 0));
            if let Some(weight) = residual.norm {
                self.rms_norm(product, weight, shape(), norm.eps, product);
            }
            self.map(self.cpu.bound.add, row, product, x.n(), 0.0, row);
        }
        self.norm_rows(which, x, norm);
    }

    /// One part of the projection of all rows: a contiguous range of their query and key heads.
    pub(super) fn project_part(&self, runs: &[Run], job: &ProjectJob<'_>, part: Part) {
        let Heads { n_heads, n_kv_heads, .. } = job.projection.heads;
        let per_row = n_heads + n_kv_heads;
        let n_rows: usize = runs.iter().map(|run| run.n_rows).sum();
        let mine = part.share(n_rows * per_row, 1);
        let mut first = 0;
        for run in runs {
            for i in 0..run.n_rows {
                let heads =
                    mine.start.clamp(first, first + per_row) - first..mine.end.clamp(first, first + per_row) - first;
                let queries = heads.start.min(n_heads)..heads.end.min(n_heads);
                let keys = heads.start.max(n_heads) - n_heads..heads.end.max(n_heads) - n_heads;
                let row = run.first_row + i;
                if !queries.is_empty() {
                    let x = job.qkv.at(row, queries.start * job.projection.heads.head_dim);
                    self.project_heads(Kind::Query, row, queries, x, job);
                }
                if !keys.is_empty() {
                    self.store_heads(run, i, keys, job);
                }
                first += per_row;
            }
        }
    }

    /// Bias, norm and rotation of query or key heads of a row, in place at `x`.
    pub(super) fn project_heads(&self, kind: Kind, row: usize, heads: Range<usize>, x: *mut f32, job: &ProjectJob<'_>) {
        let Projection { heads: shape, biases, norms, eps, rotation } = job.projection;
        let dim = shape.head_dim;
        if let Some(bias) = biases[kind as usize] {
            self.map(self.cpu.bound.add, x, bias.at(heads.start * dim), heads.len() * dim, 0.0, x);
        }
        if let Some(norms) = norms {
            let shape = NormShape { n_rows: heads.len(), n: dim, stride: dim };
            self.rms_norm(x, norms[kind as usize], shape, *eps, x);
        }
        let args = c::oribi_rope_args {
            x,
            n_heads: heads.len() as u32,
            head_dim: dim as u32,
            n_rot: 2 * rotation.0.frequencies.len() as u32,
            cos_sin: rotation.1.at(row, 0),
            half_split: u32::from(rotation.0.half_split),
        };
        // SAFETY: callers pass heads that are this part's alone; the table has the row's cosines and sines.
        unsafe { self.cpu.bound.rope.run(&args) }
    }

    /// Project key heads of the i-th row of a run in place, and put their keys and values into the pages.
    pub(super) fn store_heads(&self, run: &Run, i: usize, heads: Range<usize>, job: &ProjectJob<'_>) {
        let Heads { n_heads, n_kv_heads, head_dim } = job.projection.heads;
        let key_column = (n_heads * head_dim).next_multiple_of(PANEL_ROWS);
        let value_column = key_column + (n_kv_heads * head_dim).next_multiple_of(PANEL_ROWS);
        let (row, position) = (run.first_row + i, run.first_position + i);
        self.project_heads(Kind::Key, row, heads.clone(), job.qkv.at(row, key_column + heads.start * head_dim), job);
        for head in heads {
            let value = job.qkv.at(row, value_column + head * head_dim);
            if let Some(bias) = job.projection.biases[2] {
                self.map(self.cpu.bound.add, value, bias.at(head * head_dim), head_dim, 0.0, value);
            }
            let (key_page, value_page) = job.pages.tiles(run.pages[position / PAGE_LEN], job.layer, head);
            let args = c::oribi_kv_store_args {
                key: job.qkv.at(row, key_column + head * head_dim),
                value,
                head_dim: head_dim as u32,
                slot: (position % PAGE_LEN) as u32,
                key_page,
                value_page,
            };
            // SAFETY: the page holds this layer's tiles; this head and slot are written by this part alone, since a position of a
            // sequence is in a batch once and pages that are written belong to one sequence.
            unsafe { self.cpu.cache(job.pages.kv_type()).store.run(&args) }
        }
    }
}

/// Heads that are biased, normed and rotated; the numbers are places in [`Projection::biases`] and [`Projection::norms`].
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Query = 0,
    Key = 1,
}

/// Rows for a norm.
struct NormShape {
    n_rows: usize,
    n: usize,
    stride: usize,
}

/// A projection with the buffers it works on.
pub(super) struct ProjectJob<'a> {
    pub qkv: &'a Rows,
    pub projection: &'a Projection<'a, Cpu>,
    pub pages: &'a Pages,
    pub layer: usize,
}

impl Ops<Cpu> for CpuOps<'_> {
    fn stopped(&self) -> bool {
        if self.worker.id() == 0 && (self.stop)() {
            self.stopped.store(true, Ordering::Relaxed);
        }
        // Workers may hear of it in different layers. Those that go on find nobody else there, do everything themselves, and leave
        // at their next look.
        self.stopped.load(Ordering::Relaxed)
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], scale: f32, x: &Rows) {
        debug_assert_eq!(table.k(), x.n());
        self.worker.parallel(1, |part| {
            for i in part.share(tokens.len(), 1) {
                let row = x.at(i, 0);
                // SAFETY: the row has room for `k` values and is this part's alone.
                unsafe { table.unpack_row(tokens[i] as usize, self.worker.id(), row) }
                if scale != 1.0 {
                    self.map(self.cpu.bound.scale, row, std::ptr::null(), x.n(), scale, row);
                }
            }
        });
    }

    fn rope_table(&self, rotation: &Rotation, positions: &[u32], table: &Rows) {
        let n = rotation.frequencies.len();
        assert_eq!(table.n(), 2 * n, "row of a rotation table");
        self.worker.parallel(1, |part| {
            for i in part.share(positions.len(), 1) {
                // SAFETY: the row has 2n floats and is this part's alone.
                let row = unsafe { std::slice::from_raw_parts_mut(table.at(i, 0), 2 * n) };
                let (cosines, sines) = row.split_at_mut(n);
                for (pair, frequency) in rotation.frequencies.iter().enumerate() {
                    let (sine, cosine) = libm::sincos(f64::from(positions[i]) * frequency);
                    cosines[pair] = cosine as f32;
                    sines[pair] = sine as f32;
                }
            }
        });
    }

    fn norm(&self, x: &Rows, norm: &Norm<'_, Cpu>) {
        self.worker.parallel(1, |part| self.norm_rows(part.share(norm.rows.len(), 1), x, norm));
    }

    fn add_product(&self, n: usize, x: &Rows, residual: &Residual<'_, Cpu>, norm: &Norm<'_, Cpu>) {
        self.multiply_and_add(n, x, residual, norm);
    }

    fn linear(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
        self.multiply(n, input, weights, out);
    }

    fn attend(
        &self,
        runs: &[Run],
        qkv: &Rows,
        projection: &Projection<'_, Cpu>,
        attention: &Attention<'_, Cpu>,
        out: &Rows,
    ) {
        attend::attend(self, runs, qkv, projection, attention, out);
    }

    fn select(&self, rows: &[u32], x: &Rows, input: &Rows) -> bool {
        debug_assert!(rows.is_sorted());
        self.worker.parallel(1, |part| {
            if part.share(1, 1).is_empty() {
                return;
            }
            // One part moves them all, one after the other, so that no row is overwritten before it has moved.
            for (to, &from) in rows.iter().enumerate() {
                for all in [x, input] {
                    // SAFETY: both rows have n values, and this part alone works on these rows.
                    unsafe { std::ptr::copy(all.at(from as usize, 0), all.at(to, 0), all.n()) }
                }
            }
        });
        self.quantize_all(rows.len(), input);
        true
    }

    fn gated(&self, n: usize, unit: &Gated<'_, Cpu>) {
        self.multiply_and_gate(n, unit);
    }

    fn softcap(&self, n: usize, cap: f32, x: &Rows) {
        self.worker.parallel(1, |part| {
            let columns = part.share(x.n(), 16);
            for row in 0..n {
                if !columns.is_empty() {
                    let at = x.at(row, columns.start);
                    self.map(self.cpu.bound.softcap, at, std::ptr::null(), columns.len(), cap, at);
                }
            }
        });
    }

    fn sum_squares(&self, n: usize, rows: &Rows, sums: &Rows) {
        debug_assert_eq!(rows.n(), sums.n());
        self.worker.parallel(1, |part| {
            for column in part.share(rows.n(), SQUARES).step_by(SQUARES) {
                let mut squares = [0f64; SQUARES];
                for row in 0..n {
                    // SAFETY: rows are whole panels of 16 columns long, all initialised, and nobody writes them in this step.
                    let x = unsafe { &*rows.at(row, column).cast::<[f32; SQUARES]>() };
                    squares.iter_mut().zip(x).for_each(|(sum, &x)| *sum += f64::from(x) * f64::from(x));
                }
                // SAFETY: as above, and these columns are this part's alone.
                unsafe { *sums.at(0, column).cast::<[f32; SQUARES]>() = squares.map(|sum| sum as f32) };
            }
        });
    }

    /// There is no room for them: [`Backend::most_top`](crate::backend::Backend::most_top) is 0.
    fn find_top(&self, n_rows: usize, _: usize, n: usize, _: &Rows, _: &Top) {
        unreachable!("{n} values of {n_rows} rows, all of which are in the host's memory")
    }

    /// The host's memory is where they are.
    fn publish(&self, _: usize, _: &Rows) {}
}
