//! Matrix products on the CPU, and what is done with them while they are in the cache.
//!
//! ```text
//! linear        task = panels:             product -> rows
//! add_product   task = panels:             product -> rows; a second step adds them to the residual and normalises
//! gated         task = panels, in blocks:  two products -> block; gate(first) * second -> activations
//! ```
//!
//! A block is some rows and panels, and a piece of the worker's memory that holds their products and stays in the second-level
//! cache. The rows of a pass lie a page or more apart and are some megabytes together: what is stored there and read again goes
//! to the next cache and back.
//!
//! Measured: prompts of 135M 1.23 times, of 1.1B 1.12 times as fast with blocks as with the gates in rows of the session. Blocks
//! whose products are added to the residual at once are no faster than the second step, which has whole rows.

use std::ops::Range;

use super::Cpu;
use super::bindings as c;
use super::kernels::{Acts, Kernel};
use super::memory::AlignedBytes;
use super::ops::{CpuOps, FEW_ROWS};
use super::rows::Rows;
use super::team::Part;
use super::tensor::{Matrix, PANEL_ROWS};
use crate::backend::{Gate, Gated, Norm, Residual};
use crate::error::Result;

/// Panels that stay together: the kernels keep two in flight, and 32 outputs are one group of activations.
const PANELS_PER_UNIT: usize = 2;
/// Bytes of weights that a part of a product reads at least, counted once per row; smaller parts cost more than they balance.
const PART_BYTES: usize = 128 << 10;
/// Parts of a product per worker at most.
const MAX_PARTS: usize = 8;
/// Rows of a block at most: as many as the kernels keep in the cache, and a multiple of those of a tile of activations.
const BLOCK_ROWS: usize = 256;
/// Values of each of its two products at most: 256 rows of 128 columns.
const BLOCK_LEN: usize = BLOCK_ROWS * 128;

/// What a worker needs for products.
pub(super) struct ProductScratch {
    /// For native kernels; nothing where there are none.
    native: AlignedBytes,
    block: AlignedBytes,
}

impl ProductScratch {
    const NATIVE_BYTES: usize = c::ORIBI_MATMUL_SCRATCH_BYTES as usize;
    const BLOCK_BYTES: usize = 2 * BLOCK_LEN * size_of::<f32>();

    pub fn new(is_native: bool) -> Result<ProductScratch> {
        let what = "the scratch of products";
        Ok(ProductScratch {
            native: AlignedBytes::zeroed(if is_native { Self::NATIVE_BYTES } else { 0 }, what)?,
            block: AlignedBytes::zeroed(Self::BLOCK_BYTES, what)?,
        })
    }

    /// Bytes that so many workers need at most.
    pub fn bytes(n_workers: usize) -> u64 {
        (n_workers as u64).saturating_mul((Self::NATIVE_BYTES + Self::BLOCK_BYTES) as u64)
    }
}

/// Some rows and panels.
#[derive(Clone)]
struct Block {
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Block {
    /// The blocks of `n` rows and some panels.
    fn all(n: usize, panels: Range<usize>) -> impl Iterator<Item = Block> {
        pieces(0..n, BLOCK_ROWS).flat_map(move |rows| {
            let n_panels = BLOCK_LEN / (PANEL_ROWS * rows.len());
            let n_panels = n_panels / PANELS_PER_UNIT * PANELS_PER_UNIT;
            pieces(panels.clone(), n_panels).map(move |panels| Block { rows: rows.clone(), panels })
        })
    }

    /// Values of a row of one product.
    fn width(&self) -> usize {
        self.panels.len() * PANEL_ROWS
    }

    /// Values of one product.
    fn len(&self) -> usize {
        self.rows.len() * self.width()
    }

    /// Its columns of rows of `n`; the last panel may reach beyond.
    fn columns(&self, n: usize) -> Range<usize> {
        self.panels.start * PANEL_ROWS..(self.panels.end * PANEL_ROWS).min(n)
    }
}

/// A range in pieces of so many.
fn pieces(range: Range<usize>, n: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(n).map(move |start| start..range.end.min(start + n))
}

impl CpuOps<'_> {
    /// `out = input * [w0; w1; ...]^T`.
    pub(super) fn multiply(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
        let n_panels = weights.iter().map(|w| w.n_panels()).sum();
        self.worker.parallel(self.n_parts(n, weights), |part| {
            if self.gives_up(n) {
                return;
            }
            let mine = part.share(n_panels, PANELS_PER_UNIT);
            let mut first = 0;
            for weights in weights {
                let range = mine.start.max(first)..mine.end.min(first + weights.n_panels());
                if !range.is_empty() {
                    let y = out.at(0, range.start * PANEL_ROWS);
                    let own = Block { rows: 0..n, panels: range.start - first..range.end - first };
                    self.product(own, input, weights, y, out.stride());
                }
                first += weights.n_panels();
            }
        });
    }

    /// `x += input * weight^T`, then the norm that follows.
    pub(super) fn multiply_and_add(&self, n: usize, x: &Rows, residual: &Residual<'_, Cpu>, norm: &Norm<'_, Cpu>) {
        let Residual { input, weight, product, .. } = residual;
        let multiply = |part: Part| {
            let panels = part.share(weight.n_panels(), PANELS_PER_UNIT);
            if panels.is_empty() || self.gives_up(n) {
                return;
            }
            let y = product.at(0, panels.start * PANEL_ROWS);
            self.product(Block { rows: 0..n, panels }, input, weight, y, product.stride());
        };
        let n_parts = self.n_parts(n, &[weight]);
        if n <= FEW_ROWS {
            self.worker.parallel_then(n_parts, multiply, || self.add_rows(0..norm.rows.len(), x, residual, norm));
        } else {
            self.worker.parallel(n_parts, multiply);
            self.worker.parallel(1, |part| self.add_rows(part.share(norm.rows.len(), 1), x, residual, norm));
        }
    }

    /// A gated unit.
    pub(super) fn multiply_and_gate(&self, n: usize, unit: &Gated<'_, Cpu>) {
        let n_panels = unit.weights[0].n_panels();
        self.worker.parallel(self.n_parts(n, &unit.weights), |part| {
            for block in Block::all(n, part.share(n_panels, PANELS_PER_UNIT)) {
                if self.gives_up(n) {
                    return;
                }
                let products = self.room_of(&block);
                for (weights, y) in unit.weights.into_iter().zip(products) {
                    self.product(block.clone(), unit.input, weights, y, block.width());
                }
                self.gate(&block, products, unit);
            }
        });
    }

    /// Gate the products of a block, and make the result ready for its reader.
    fn gate(&self, block: &Block, [gates, ups]: [*mut f32; 2], unit: &Gated<'_, Cpu>) {
        let out = unit.out;
        let glu = |first: usize, n: usize, y: *mut f32| {
            let args = c::oribi_glu_args {
                gate: gates.wrapping_add(first),
                up: ups.wrapping_add(first),
                n: n as u32,
                activation: match unit.gate {
                    Gate::Silu => c::ORIBI_SILU,
                    Gate::GeluTanh => c::ORIBI_GELU_TANH,
                },
                y,
            };
            // SAFETY: below, the values lie in the block, and y is the gates themselves or a row's columns, which are this part's alone.
            unsafe { self.cpu.bound.glu.run(&args) }
        };
        let columns = block.columns(out.n());
        let reads_values = self.kernel(out, unit.reader).acts() == Acts::F32;
        if reads_values || self.is_observed {
            for (i, row) in block.rows.clone().enumerate() {
                glu(i * block.width(), columns.len(), out.at(row, columns.start));
            }
            self.quantize(block.rows.clone(), columns, out);
        } else {
            glu(0, block.len(), gates);
            self.quantize_from(gates, block.width(), block.rows.clone(), columns, out);
        }
    }

    /// Where this worker has room for both products of a block.
    fn room_of(&self, block: &Block) -> [*mut f32; 2] {
        let start: *mut f32 = self.cpu.product_scratch[self.worker.id()].block.as_ptr().cast();
        [start, start.wrapping_add(block.len())]
    }

    /// Parts per worker of a product of `n` rows with these weights.
    fn n_parts(&self, n: usize, weights: &[&Matrix]) -> usize {
        let n_bytes: usize = weights.iter().map(|w| w.n_bytes()).sum();
        (n_bytes.saturating_mul(n) / (PART_BYTES * self.worker.n_workers())).clamp(1, MAX_PARTS)
    }

    /// The kernel of products of rows with a matrix in this pass.
    fn kernel(&self, input: &Rows, weights: &Matrix) -> Kernel {
        match weights.native_matmul() {
            Some(native) if self.is_native(input) => native,
            _ => weights.matmul(),
        }
    }

    /// The product of some rows with some panels, to `y`, whose rows are `y_stride` floats apart. The first row is the first of a tile of
    /// activations.
    fn product(&self, block: Block, input: &Rows, weights: &Matrix, y: *mut f32, y_stride: usize) {
        debug_assert_eq!(input.n(), weights.k());
        let Block { rows, panels } = block;
        let kernel = self.kernel(input, weights);
        let (acts, acts_stride) = match kernel.acts() {
            Acts::F32 => (input.at(0, 0).cast_const().cast(), input.stride() * size_of::<f32>()),
            _ => {
                input.acts().map(|(acts, stride)| (acts.cast_const(), stride)).expect("a product input has activations")
            }
        };
        let first_panel = panels.start;
        weights.for_each_run(panels, self.worker.id(), |panel, n_panels, packed| {
            let args = c::oribi_matmul_args {
                panels: packed,
                n_panels: n_panels as u32,
                k: weights.k() as u32,
                acts: acts.wrapping_add(rows.start * acts_stride),
                acts_stride,
                n_rows: rows.len() as u32,
                y: y.wrapping_add((panel - first_panel) * PANEL_ROWS),
                y_stride,
                scratch: self.cpu.product_scratch[self.worker.id()].native.as_ptr().cast(),
                one_stream: self.cpu.one_stream.into(),
            };
            // SAFETY: the panels are those of the matrix; the input has these rows of k activations in this kernel's layout (checked
            // when the matrix was bound); callers pass a y with room for the product that is this part's alone; the scratch is this
            // worker's, and native kernels run only where it was made for them.
            unsafe { kernel.run(&args) }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_rows_and_panels_and_fit() {
        for (n, panels) in [(1, 0..1), (1, 3..5000), (16, 2..300), (256, 0..9), (600, 5..100), (2048, 7..8)] {
            let mut seen = vec![0; n * panels.len()];
            for block in Block::all(n, panels.clone()) {
                assert!(block.len() <= BLOCK_LEN, "{:?} x {:?}", block.rows, block.panels);
                assert!(block.rows.start.is_multiple_of(16), "first row {}", block.rows.start);
                for row in block.rows.clone() {
                    block.panels.clone().for_each(|p| seen[row * panels.len() + p - panels.start] += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{n} rows, panels {panels:?}");
        }
    }
}
