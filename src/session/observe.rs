//! Watching what goes into the products of a pass: sums of squares, from which importance matrices are made.
//!
//! The forward pass does not know of it. It is written against [`Ops`], and [`Observing`] is operations that look at the inputs of
//! products before they pass them on; a pass without an observer runs on the operations themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Session;
use crate::backend::{Attention, Backend, Gated, Machine, Norm, Ops, Projection, Residual, Rotation, RowsUse, Run};
use crate::error::Result;
use crate::fallible;
use crate::model::{Model, Weights};

/// Sums of the squares of all inputs of a model's matrix products, column by column, for every token that was computed.
///
/// The inputs are the float32 values before they are rounded for the products. Sums are float64; those of the rows that are computed
/// at once are rounded to float32 before they are added.
pub struct InputSquares {
    /// In the order of [`Weights::inputs`].
    inputs: Vec<Input>,
}

struct Input {
    /// The matrices that are multiplied with it.
    tensors: Vec<String>,
    totals: Vec<f64>, // (k)
    n_rows: u64,
    machine: Arc<Machine>,
    /// Of the pass in hand, (1, k), and how many rows they are; 0 if the input did not occur.
    sums: <Machine as Backend>::Rows,
    n_in_pass: AtomicUsize,
}

impl InputSquares {
    /// Sums for the products of a model, all zero.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub fn new(model: &Arc<Model>) -> Result<InputSquares> {
        let mut inputs = Vec::new();
        for input in model.weights().inputs(model.hparams()) {
            let machine = model.machine_of(&input.tensors[0]);
            inputs.push(Input {
                machine: Arc::clone(machine),
                totals: fallible::filled(0.0, input.k, "sums of squares")?,
                n_rows: 0,
                sums: machine.rows(1, input.k, RowsUse::Values)?,
                tensors: input.tensors,
                n_in_pass: AtomicUsize::new(0),
            });
        }
        Ok(InputSquares { inputs })
    }

    /// For each matrix whose product was computed: its tensor's name, the sums over its inputs `[k]`, and how many rows they are of.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[f64], u64)> {
        let seen = self.inputs.iter().filter(|input| input.n_rows > 0);
        seen.flat_map(|input| input.tensors.iter().map(|name| (name.as_str(), &input.totals[..], input.n_rows)))
    }

    /// Begins anew: all sums are zero.
    pub fn clear(&mut self) {
        for input in &mut self.inputs {
            input.totals.fill(0.0);
            input.n_rows = 0;
        }
    }

    /// Adds what a pass has left.
    pub(super) fn absorb(&mut self) {
        for input in &mut self.inputs {
            let n = std::mem::take(input.n_in_pass.get_mut());
            if n > 0 {
                let sums = input.machine.read_row(&input.sums, 0);
                input.totals.iter_mut().zip(sums).for_each(|(to, &sum)| *to += f64::from(sum));
                input.n_rows += n as u64;
            }
        }
    }

    /// Forgets what a pass has left that was not finished.
    pub(super) fn forget(&mut self) {
        self.inputs.iter_mut().for_each(|input| *input.n_in_pass.get_mut() = 0);
    }

    /// `ops` that observe.
    pub(super) fn over<'a, O>(&'a self, ops: &'a O, weights: &'a Weights<Machine>) -> Observing<'a, O> {
        Observing { ops, weights, inputs: &self.inputs }
    }
}

impl Session {
    /// Observes the inputs of all products from now on, or no longer with `None`; what was observed before is given back. The sums
    /// must have been made for this session's model. After a batch that failed they hold a part of it.
    pub fn observe(&mut self, squares: Option<InputSquares>) -> Option<InputSquares> {
        std::mem::replace(&mut self.observer, squares)
    }

    /// What was observed so far.
    pub fn observed(&mut self) -> Option<&mut InputSquares> {
        self.observer.as_mut()
    }
}

/// The operations of a backend, with an eye on the inputs of products.
pub(super) struct Observing<'a, O> {
    ops: &'a O,
    weights: &'a Weights<Machine>,
    inputs: &'a [Input],
}

type Matrix = <Machine as Backend>::Matrix;
type Rows = <Machine as Backend>::Rows;

impl<O: Ops<Machine>> Observing<'_, O> {
    /// Looks at the input of a product with this matrix, which is the first of those that share the input.
    fn look(&self, n: usize, input: &Rows, weight: &Matrix) {
        let place = self.weights.input_matrices().position(|known| std::ptr::eq(known, weight));
        if let Some(own) = place.and_then(|place| self.inputs.get(place)) {
            self.ops.sum_squares(n, input, &own.sums);
            self.ops.publish(1, &own.sums);
            own.n_in_pass.store(n, Ordering::Relaxed); // the same from every worker, and read after the pass
        }
    }
}

impl<O: Ops<Machine>> Ops<Machine> for Observing<'_, O> {
    fn stopped(&self) -> bool {
        self.ops.stopped()
    }

    fn embed(&self, table: &Matrix, tokens: &[u32], scale: f32, x: &Rows) {
        self.ops.embed(table, tokens, scale, x);
    }

    fn rope_table(&self, rotation: &Rotation, positions: &[u32], table: &Rows) {
        self.ops.rope_table(rotation, positions, table);
    }

    fn norm(&self, x: &Rows, norm: &Norm<'_, Machine>) {
        self.ops.norm(x, norm);
    }

    fn add_product(&self, n: usize, x: &Rows, residual: &Residual<'_, Machine>, norm: &Norm<'_, Machine>) {
        self.look(n, residual.input, residual.weight);
        self.ops.add_product(n, x, residual, norm);
    }

    fn linear(&self, n: usize, input: &Rows, weights: &[&Matrix], out: &Rows) {
        if let Some(first) = weights.first() {
            self.look(n, input, first);
        }
        self.ops.linear(n, input, weights, out);
    }

    fn attend(
        &self,
        runs: &[Run],
        qkv: &Rows,
        projection: &Projection<'_, Machine>,
        attention: &Attention<'_, Machine>,
        out: &Rows,
    ) {
        self.ops.attend(runs, qkv, projection, attention, out);
    }

    /// All rows are observed.
    fn select(&self, _: &[u32], _: &Rows, _: &Rows) -> bool {
        false
    }

    fn gated(&self, n: usize, unit: &Gated<'_, Machine>) {
        self.look(n, unit.input, unit.weights[0]);
        self.ops.gated(n, unit);
    }

    fn softcap(&self, n: usize, cap: f32, x: &Rows) {
        self.ops.softcap(n, cap, x);
    }

    fn sum_squares(&self, n: usize, rows: &Rows, sums: &Rows) {
        self.ops.sum_squares(n, rows, sums);
    }

    fn find_top(&self, n_rows: usize, n_columns: usize, n: usize, rows: &Rows, top: &<Machine as Backend>::Top) {
        self.ops.find_top(n_rows, n_columns, n, rows, top);
    }

    fn publish(&self, n: usize, rows: &Rows) {
        self.ops.publish(n, rows);
    }
}
