//! Tests of the kernels, which see the kernel table.

mod attention;
mod elementwise;
mod kv_store;
mod math;
mod matmul;
mod quantize_acts;
mod selection;
mod weights;

use std::ops::Range;

use super::bindings::{self as c};
use super::kernels::{ACTS_TILE_ROWS, Acts, Isa, Kernel, KernelSet, panel_bytes, table};
use crate::dtype::DType;

/// A small deterministic generator (splitmix64).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// Uniform in -1..1.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.bits() as u8).collect()
    }

    fn units(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// What the scales of made-up weights are like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Scales {
    /// As in a model.
    Usual,
    /// Zeros, denormals and the largest finite values.
    Extreme,
    /// Any bits at all: infinities and NaN as well.
    Wild,
}

/// Every format that the table packs.
fn dtypes() -> Vec<DType> {
    let scalar = KernelSet::new(Isa::Scalar).unwrap();
    scalar
        .chosen()
        .iter()
        .filter(|kernel| kernel.op() == c::ORIBI_OP_PACK)
        .map(|kernel| kernel.dtype().unwrap())
        .collect()
}

/// `n_rows` rows of `k` inputs of random file blocks.
fn random_rows(dtype: DType, n_rows: usize, k: usize, scales: Scales, random: &mut Random) -> Vec<u8> {
    let mut rows = random.bytes(n_rows * dtype.row_bytes(k).unwrap());
    for block in rows.chunks_exact_mut(dtype.block_bytes()) {
        if dtype == DType::MXFP4 && scales == Scales::Usual {
            block[0] = 120 + random.below(8) as u8; // the exponent of the scale, 128 for 1
        }
        if dtype == DType::IQ1_M {
            let bits = random_half(scales, random);
            for i in 0..4 {
                let nibble = &mut block[49 + 2 * i];
                *nibble = *nibble & 15 | ((bits >> (4 * i) & 15) as u8) << 4;
            }
        }
        for (at, len) in float_fields(dtype) {
            match len {
                2 if dtype != DType::BF16 => {
                    block[at..at + 2].copy_from_slice(&random_half(scales, random).to_le_bytes())
                }
                2 => {
                    let bits = (random_float(scales, random).to_bits() >> 16) as u16;
                    block[at..at + 2].copy_from_slice(&bits.to_le_bytes());
                }
                _ => block[at..at + 4].copy_from_slice(&random_float(scales, random).to_le_bytes()),
            }
        }
    }
    rows
}

/// Offset and length of a block's floats.
fn float_fields(dtype: DType) -> Vec<(usize, usize)> {
    match dtype {
        DType::F32 | DType::Q8_K => vec![(0, 4)],
        DType::F16 | DType::BF16 => vec![(0, 2)],
        DType::Q4_0 | DType::Q5_0 | DType::Q8_0 | DType::IQ4_NL | DType::IQ4_XS => vec![(0, 2)],
        DType::IQ1_S | DType::IQ2_XXS | DType::IQ2_XS | DType::IQ2_S | DType::IQ3_XXS | DType::IQ3_S => vec![(0, 2)],
        DType::TQ1_0 => vec![(52, 2)],
        DType::TQ2_0 => vec![(64, 2)],
        DType::Q4_1 | DType::Q5_1 | DType::Q8_1 | DType::Q4_K | DType::Q5_K => vec![(0, 2), (2, 2)],
        DType::Q2_K => vec![(80, 2), (82, 2)],
        DType::Q3_K => vec![(108, 2)],
        DType::Q6_K => vec![(208, 2)],
        DType::MXFP4 | DType::IQ1_M => vec![], // an exponent; four nibbles
        _ => panic!("where are the scales of {dtype}?"),
    }
}

fn random_half(scales: Scales, random: &mut Random) -> u16 {
    const EXTREMES: [u16; 10] = [0x0000, 0x8000, 0x0001, 0x8001, 0x03ff, 0x0400, 0x7bff, 0xfbff, 0x3c00, 0x8200];
    match scales {
        Scales::Usual => half::f16::from_f32(random.unit() * 0.01).to_bits(),
        Scales::Extreme => EXTREMES[random.below(EXTREMES.len())],
        Scales::Wild => random.bits() as u16,
    }
}

fn random_float(scales: Scales, random: &mut Random) -> f32 {
    const EXTREMES: [f32; 8] = [0.0, -0.0, 1e-45, -1e-45, f32::MIN_POSITIVE, 1e30, -1e30, 1.0];
    match scales {
        Scales::Usual => random.unit() * 0.01,
        Scales::Extreme => EXTREMES[random.below(EXTREMES.len())],
        Scales::Wild => f32::from_bits(random.bits() as u32),
    }
}

/// Rows of file blocks as packed panels, by the scalar packer.
fn pack(dtype: DType, rows: &[u8], n_rows: usize, k: usize) -> Vec<u8> {
    pack_with(KernelSet::new(Isa::Scalar).unwrap().weight(c::ORIBI_OP_PACK, dtype).unwrap(), rows, n_rows, k)
}

/// The same, by any packer.
fn pack_with(kernel: Kernel, rows: &[u8], n_rows: usize, k: usize) -> Vec<u8> {
    let dtype = kernel.dtype().unwrap();
    let panel_len = panel_bytes(dtype, k).unwrap();
    let row_len = dtype.row_bytes(k).unwrap();
    assert_eq!(rows.len(), n_rows * row_len);
    let mut panels = vec![0xa5; n_rows.div_ceil(16) * panel_len];
    for (p, panel) in panels.chunks_exact_mut(panel_len).enumerate() {
        let args = c::oribi_pack_args {
            src: rows[p * 16 * row_len..].as_ptr(),
            src_stride: row_len,
            n_rows: (n_rows - p * 16).min(16) as u32,
            k: k as u32,
            dst: panel.as_mut_ptr(),
        };
        // SAFETY: the rows lie in `rows`, the panel is oribi_panel_bytes long.
        unsafe { kernel.run(&args) };
    }
    panels
}

/// Bytes from row to row of quantized activations: rounded up to 64.
fn acts_stride(acts: Acts, k: usize) -> usize {
    acts.row_bytes(k).next_multiple_of(64)
}

/// `x` (n_rows, k) in the layout of `kernel`, a quantizer.
fn quantize(kernel: Kernel, x: &[f32], n_rows: usize, k: usize) -> Vec<u8> {
    quantize_pieces(kernel, x, n_rows, k, &[(0..n_rows, 0..k)])
}

/// The same, in one call for each range of rows and inputs.
fn quantize_pieces(
    kernel: Kernel,
    x: &[f32],
    n_rows: usize,
    k: usize,
    pieces: &[(Range<usize>, Range<usize>)],
) -> Vec<u8> {
    let stride = acts_stride(kernel.acts(), k);
    let mut acts = vec![0; n_rows.next_multiple_of(ACTS_TILE_ROWS) * stride];
    assert_eq!(x.len(), n_rows * k);
    for (rows, inputs) in pieces {
        let args = c::oribi_quantize_acts_args {
            x: x[rows.start * k + inputs.start..].as_ptr(),
            x_stride: k,
            n_rows: rows.len() as u32,
            k: k as u32,
            begin: inputs.start as u32,
            end: inputs.end as u32,
            first_row: rows.start as u32,
            acts: acts.as_mut_ptr(),
            acts_stride: stride,
        };
        // SAFETY: the buffers have the sizes and strides that the arguments say.
        unsafe { kernel.run(&args) };
    }
    acts
}

/// `x` in the layout that a matmul kernel wants, by the scalar quantizer.
fn acts_for(kernel: Kernel, x: &[f32], n_rows: usize, k: usize) -> Vec<u8> {
    if kernel.acts() == Acts::F32 {
        let row = |x: &[f32]| {
            let mut row: Vec<u8> = x.iter().flat_map(|x| x.to_ne_bytes()).collect();
            row.resize(acts_stride(Acts::F32, k), 0);
            row
        };
        return x.chunks_exact(k).flat_map(row).collect();
    }
    let quantizer = KernelSet::new(Isa::Scalar).unwrap().quantizer(kernel.acts()).unwrap();
    quantize(quantizer, x, n_rows, k)
}

/// The product (n_rows, 16 * n_panels) of packed panels and `x` (n_rows, k).
fn matmul(kernel: Kernel, panels: &[u8], x: &[f32], n_rows: usize, k: usize) -> Vec<f32> {
    let n_panels = panels.len() / panel_bytes(kernel.dtype().unwrap(), k).unwrap();
    let acts = acts_for(kernel, x, n_rows, k);
    let mut y = vec![f32::NAN; n_rows * n_panels * 16];
    let mut scratch = vec![0xffu8; c::ORIBI_MATMUL_SCRATCH_BYTES as usize];
    let mut args = c::oribi_matmul_args {
        panels: panels.as_ptr(),
        n_panels: n_panels as u32,
        k: k as u32,
        acts: acts.as_ptr(),
        acts_stride: acts_stride(kernel.acts(), k),
        n_rows: n_rows as u32,
        y: y.as_mut_ptr(),
        y_stride: n_panels * 16,
        scratch: scratch.as_mut_ptr().cast(),
        one_stream: 0,
    };
    // SAFETY: the buffers have the sizes and strides that the arguments say.
    unsafe { kernel.run(&args) };
    if n_rows == 1 {
        let mut y_one_stream = vec![f32::NAN; y.len()];
        (args.y, args.one_stream) = (y_one_stream.as_mut_ptr(), 1);
        // SAFETY: as above.
        unsafe { kernel.run(&args) };
        assert_same_bits(&y_one_stream, &y, format_args!("{kernel:?} in one stream"));
    }
    y
}

/// The formats that keys and values can have.
const CACHE_DTYPES: [DType; 3] = [DType::F16, DType::Q8_0, DType::Q4_0];

/// Bytes of the keys and of the values of a page.
fn page_bytes(dtype: DType, head_dim: usize) -> (usize, usize) {
    // SAFETY: pure functions of two numbers.
    unsafe {
        (
            c::oribi_key_page_bytes(dtype as u32, head_dim as u32),
            c::oribi_value_page_bytes(dtype as u32, head_dim as u32),
        )
    }
}

/// The numbers that a cache of a format keeps of a head's finite elements, by the formulas of docs/numerics.md.
fn kept(dtype: DType, x: &[f32]) -> Vec<f32> {
    let half = |x: f32| half::f16::from_f32(x).to_f32();
    let coded = |group: &[f32], scale: f32, low: f32, high: f32| -> Vec<f32> {
        let code = |x: &f32| if scale == 0.0 { 0.0 } else { (x / scale).clamp(low, high).round_ties_even() };
        group.iter().map(|x| code(x) * scale).collect()
    };
    match dtype {
        DType::F16 => x.iter().map(|&x| half(x)).collect(),
        DType::Q8_0 => x
            .chunks(32)
            .flat_map(|x| coded(x, half(x.iter().fold(0.0, |m, x| x.abs().max(m)) / 127.0), -127.0, 127.0))
            .collect(),
        DType::Q4_0 => x
            .chunks(32)
            .flat_map(|x| {
                let (low, high) = x.iter().fold((0.0f32, 0.0f32), |(low, high), &x| (low.min(x), high.max(x)));
                coded(x, half(if -low > high { low } else { high } / -8.0), -8.0, 7.0)
            })
            .collect(),
        _ => panic!("keys and values are not kept as {dtype}"),
    }
}

/// The kernels of an operation that are not scalar. Says which ones this CPU cannot run, and leaves those out.
fn runnable(op: c::oribi_op) -> Vec<Kernel> {
    let vector = table().iter().filter(|kernel| kernel.op() == op && kernel.isa() > Isa::Scalar);
    let (run, skip): (Vec<_>, Vec<_>) = vector.copied().partition(|kernel| kernel.isa().is_available());
    if !skip.is_empty() {
        eprintln!("NOT RUN, this cpu has only {}: {skip:?}", Isa::detect());
    }
    run
}

/// Equal to the bit, or both NaN.
fn same_bits(a: f32, b: f32) -> bool {
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

/// Panics at the first difference.
fn assert_same_bits(got: &[f32], want: &[f32], what: std::fmt::Arguments) {
    assert_eq!(got.len(), want.len(), "{what}");
    if let Some(i) = (0..got.len()).find(|&i| !same_bits(got[i], want[i])) {
        panic!(
            "{what}: element {i} is {:e} ({:#010x}), not {:e} ({:#010x})",
            got[i],
            got[i].to_bits(),
            want[i],
            want[i].to_bits()
        );
    }
}
