//! The matrix product: the oracle against float64, every other kernel against the oracle to the bit.

use super::*;
use crate::quant::{dequantize, unpack_block};

/// Sum of |s q| + |m| over k of one row times |x|, and the float64 product with the dequantized weights.
fn product_f64(dtype: DType, row: &[u8], x: &[f32]) -> (f64, f64) {
    let mut w = vec![0.0; x.len()];
    dequantize(dtype, row, &mut w).unwrap();
    let product = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
    let mut magnitudes = Vec::with_capacity(x.len());
    if dtype.block_len() == 1 {
        magnitudes.extend(w.iter().map(|&w| f64::from(w).abs()));
    }
    for block in row.chunks_exact(dtype.block_bytes()).filter(|_| dtype.block_len() > 1) {
        let block = unpack_block(dtype, block).unwrap();
        for (i, &code) in block.codes().iter().enumerate() {
            let g = i / block.group_len();
            let min = block.mins().map_or(0.0, |mins| f64::from(mins[g]).abs());
            magnitudes.push((f64::from(block.scales()[g]) * f64::from(code)).abs() + min);
        }
    }
    let magnitude = magnitudes.iter().zip(x.chunks(32).flat_map(|group| {
        let amax = group.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
        vec![f64::from(amax); group.len()]
    }));
    (product, magnitude.map(|(w, amax)| w * amax).sum())
}

/// An activation is off by at most 0.51 steps of amax / 32512, and each float step by half a unit in the last place of a
/// partial sum that `magnitude` bounds.
#[test]
fn the_oracle_is_the_float64_product_within_its_error_bound() {
    let mut random = Random(4);
    let (n_rows, n_outputs) = (3, 21);
    for dtype in dtypes() {
        let k = if dtype.block_len() == 256 { 768 } else { 800 };
        let kernel = KernelSet::new(Isa::Scalar).unwrap().weight(c::ORIBI_OP_MATMUL, dtype).unwrap();
        let rows = random_rows(dtype, n_outputs, k, Scales::Usual, &mut random);
        let x = random.units(n_rows * k);
        let y = matmul(kernel, &pack(dtype, &rows, n_outputs, k), &x, n_rows, k);
        for (r, x) in x.chunks_exact(k).enumerate() {
            for (n, row) in rows.chunks_exact(dtype.row_bytes(k).unwrap()).enumerate() {
                let (want, magnitude) = product_f64(dtype, row, x);
                let n_steps = if dtype.block_len() == 1 { k } else { k / 8 };
                let quantization = if dtype.block_len() == 1 { 0.0 } else { 0.51 / 32512.0 };
                let bound = magnitude * (quantization + n_steps as f64 * 2f64.powi(-24)) + 1e-30;
                let got = f64::from(y[r * n_outputs.next_multiple_of(16) + n]);
                assert!((got - want).abs() <= bound, "{dtype}: {got} is not {want} within {bound:e}");
            }
        }
    }
}

/// Native kernels round weights and activations to 8 bits, each by at most 2^-9 of the value; a product then passes at most 16
/// steps within its group and one per group, each of which rounds a sum that `magnitude` bounds. The bits are compared with an
/// emulation of the matrix unit in tests/kernels/native_matmul.c.
#[test]
fn a_native_product_is_the_float64_product_within_its_error_bound() {
    let mut random = Random(7);
    for kernel in runnable(c::ORIBI_OP_MATMUL).into_iter().filter(|kernel| kernel.is_native()) {
        let dtype = kernel.dtype().unwrap();
        let (n_rows, n_outputs) = (45, 37);
        let k = if dtype.block_len() == 256 { 1280 } else { 32 * 27 };
        let rows = random_rows(dtype, n_outputs, k, Scales::Usual, &mut random);
        let x = random.units(n_rows * k);
        let y = matmul(kernel, &pack(dtype, &rows, n_outputs, k), &x, n_rows, k);
        let rounding = 2f64.powi(-8) + 2f64.powi(-18) + (18 + k / 32) as f64 * 2f64.powi(-24);
        for (n, row) in rows.chunks_exact(dtype.row_bytes(k).unwrap()).enumerate() {
            let mut w = vec![0.0; k];
            dequantize(dtype, row, &mut w).unwrap();
            for (r, x) in x.chunks_exact(k).enumerate() {
                let products = || w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x));
                let (want, bound) = (products().sum::<f64>(), products().map(f64::abs).sum::<f64>() * rounding + 1e-30);
                let got = f64::from(y[r * n_outputs.next_multiple_of(16) + n]);
                assert!((got - want).abs() <= bound, "{kernel:?}: {got} is not {want} within {bound:e}");
            }
        }
    }
}

/// Activation rows with zero groups, a zero row, and sizes from tiny to huge.
fn activations(n_rows: usize, k: usize, scales: Scales, random: &mut Random) -> Vec<f32> {
    let mut x = random.units(n_rows * k);
    for (g, group) in x.chunks_mut(32).enumerate() {
        let scale = match (scales, g % 7) {
            (_, 3) => 0.0,
            (Scales::Usual, _) => 1.0,
            (_, n) => [1e-38, 1e30, 1.0, 0.0, 1e-20, 1e4, 1e-34][n],
        };
        group.iter_mut().for_each(|x| *x *= scale);
    }
    if n_rows > 2 {
        x[k..2 * k].fill(0.0);
    }
    if scales == Scales::Wild && k >= 4 {
        x[random.below(k)] = f32::INFINITY;
    }
    x
}

fn compare(kernel: Kernel, n_rows: usize, k: usize, n_outputs: usize, scales: Scales, random: &mut Random) {
    let dtype = kernel.dtype().unwrap();
    let oracle = KernelSet::new(Isa::Scalar).unwrap().weight(c::ORIBI_OP_MATMUL, dtype).unwrap();
    let rows = random_rows(dtype, n_outputs, k, scales, random);
    let panels = pack(dtype, &rows, n_outputs, k);
    let x = activations(n_rows, k, scales, random);
    let got = matmul(kernel, &panels, &x, n_rows, k);
    let want = matmul(oracle, &panels, &x, n_rows, k);
    let what = format_args!("{kernel:?}, {n_rows} rows of {k}, {n_outputs} outputs, {scales:?}");
    assert_same_bits(&got, &want, what);
}

/// The vector kernels of portable arithmetic.
fn portable() -> impl Iterator<Item = Kernel> {
    runnable(c::ORIBI_OP_MATMUL).into_iter().filter(|kernel| !kernel.is_native())
}

/// Every vector kernel at every number of activation rows.
#[test]
fn every_kernel_equals_the_oracle_for_every_number_of_rows() {
    let mut random = Random(5);
    for kernel in portable() {
        let k = kernel.dtype().unwrap().block_len().max(32);
        for n_rows in (1..=17).chain([31, 32, 33, 64, 100]) {
            compare(kernel, n_rows, k, 40, Scales::Usual, &mut random);
        }
    }
}

/// Every vector kernel at edge sizes of k and outputs and with every kind of scale.
#[test]
fn every_kernel_equals_the_oracle_at_edge_sizes_and_scales() {
    let mut random = Random(6);
    for kernel in portable() {
        let block_len = kernel.dtype().unwrap().block_len();
        let sizes = if block_len == 1 { vec![1, 2, 15, 33, 352] } else { vec![1, 2, 3, 5, 11] };
        for k in sizes.into_iter().map(|n| n * block_len) {
            for n_outputs in [1, 16, 17, 47, 80, 130] {
                for scales in [Scales::Usual, Scales::Extreme, Scales::Wild] {
                    for n_rows in [1, 5] {
                        compare(kernel, n_rows, k, n_outputs, scales, &mut random);
                    }
                }
            }
        }
    }
}

/// Sizes beyond the blocks that kernels cut k and the rows into.
#[test]
fn every_kernel_equals_the_oracle_for_long_rows_and_for_many() {
    let mut random = Random(7);
    for kernel in portable() {
        let block_len = kernel.dtype().unwrap().block_len();
        let k = if block_len == 1 { 1057 } else { 1344usize.next_multiple_of(block_len) };
        for n_rows in [1, 9, 37] {
            compare(kernel, n_rows, k, 33, Scales::Usual, &mut random);
        }
        compare(kernel, 530, block_len.max(32), 16, Scales::Usual, &mut random);
    }
}
