//! Norm, rotation, gated units and maps: every kernel against the oracle to the bit, the oracle against float64.

use super::*;

/// Lengths around the 16 lanes, and those of real models.
const LENGTHS: &[usize] =
    &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 31, 32, 33, 48, 64, 80, 100, 255, 576, 640, 1536];

/// What lies behind a kernel's output and must stay.
const CANARY: f32 = 1234.5;
const N_CANARIES: usize = 16;

const ULP: f64 = 1.0 / (1u64 << 24) as f64; // half a unit in the last place, relative

fn oracle(op: c::oribi_op) -> Kernel {
    KernelSet::new(Isa::Scalar).unwrap().plain(op).unwrap()
}

/// A buffer for `n` outputs with canaries behind them.
fn guarded(n: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; n];
    y.resize(n + N_CANARIES, CANARY);
    y
}

/// The outputs alone; panics where a canary was overwritten.
fn unguarded(mut y: Vec<f32>, kernel: Kernel) -> Vec<f32> {
    let n = y.len() - N_CANARIES;
    assert!(y[n..].iter().all(|&canary| canary == CANARY), "{kernel:?} wrote behind {n} elements");
    y.truncate(n);
    y
}

/// Ordinary values, with a few that are zero, denormal, huge, infinite or NaN where `wild`.
fn inputs(n: usize, wild: bool, random: &mut Random) -> Vec<f32> {
    const SPECIAL: [f32; 10] =
        [0.0, -0.0, 1e-45, -3e-39, 3e38, -1e20, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-30];
    let mut x: Vec<f32> = (0..n).map(|_| random.unit() * 6.0).collect();
    for _ in 0..if wild { 1 + n / 20 } else { 0 } {
        x[random.below(n)] = SPECIAL[random.below(SPECIAL.len())];
    }
    x
}

/// Runs `call` with the oracle and every other kernel of `op` on inputs of every length, tame and wild.
fn compare(op: c::oribi_op, call: impl Fn(Kernel, &[f32], &[f32]) -> Vec<f32>) {
    let mut random = Random(u64::from(op));
    for kernel in runnable(op) {
        for &n in LENGTHS {
            for wild in [false, true] {
                let (a, b) = (inputs(n, wild, &mut random), inputs(n, wild, &mut random));
                let want = call(oracle(op), &a, &b);
                assert_same_bits(&call(kernel, &a, &b), &want, format_args!("{kernel:?} n {n} wild {wild}"));
            }
        }
    }
}

/// Runs `call` with the oracle on tame inputs and holds each element against float64 `want(a, b) -> (value, error)`.
fn check_f64(
    op: c::oribi_op,
    call: impl Fn(Kernel, &[f32], &[f32]) -> Vec<f32>,
    want: impl Fn(f64, f64) -> (f64, f64),
) {
    let mut random = Random(u64::from(op) + 100);
    for &n in LENGTHS {
        let (a, b) = (inputs(n, false, &mut random), inputs(n, false, &mut random));
        for (i, y) in call(oracle(op), &a, &b).into_iter().enumerate() {
            let (want, error) = want(a[i].into(), b[i].into());
            assert!((f64::from(y) - want).abs() <= error, "a {} b {}: {y} is not {want} within {error:e}", a[i], b[i]);
        }
    }
}

fn map(kernel: Kernel, x: &[f32], other: &[f32], factor: f32, in_place: bool) -> Vec<f32> {
    let mut y = guarded(x.len());
    y[..x.len()].copy_from_slice(x);
    let args = c::oribi_map_args {
        x: if in_place { y.as_ptr() } else { x.as_ptr() },
        other: if kernel.op() == c::ORIBI_OP_ADD { other.as_ptr() } else { std::ptr::null() },
        n: x.len() as u32,
        factor,
        y: y.as_mut_ptr(),
    };
    assert_eq!(x.len(), other.len());
    // SAFETY: all buffers hold n elements; x is y or apart from it.
    unsafe { kernel.run(&args) };
    unguarded(y, kernel)
}

#[test]
fn maps_equal_the_oracle() {
    for op in [c::ORIBI_OP_ADD, c::ORIBI_OP_SCALE, c::ORIBI_OP_SOFTCAP] {
        for factor in [1.0, 30.0, 50.0, 0.3] {
            for in_place in [false, true] {
                compare(op, |kernel, x, other| map(kernel, x, other, factor, in_place));
            }
        }
    }
}

#[test]
fn maps_are_what_they_say() {
    let call = |kernel, x: &[f32], other: &[f32]| map(kernel, x, other, 2.5, false);
    check_f64(c::ORIBI_OP_ADD, call, |x, other| (x + other, ULP * (x + other).abs()));
    check_f64(c::ORIBI_OP_SCALE, call, |x, _| (x * 2.5, ULP * (x * 2.5).abs()));
    // The quotient and the product round once each, tanh is within 1.37 units in the last place.
    check_f64(c::ORIBI_OP_SOFTCAP, call, |x, _| (2.5 * (x / 2.5).tanh(), 5.0 * ULP * (x.abs() + 1e-30)));
}

fn glu(kernel: Kernel, gate: &[f32], up: &[f32], activation: c::oribi_activation, in_place: bool) -> Vec<f32> {
    let mut y = guarded(gate.len());
    y[..gate.len()].copy_from_slice(gate);
    let args = c::oribi_glu_args {
        gate: if in_place { y.as_ptr() } else { gate.as_ptr() },
        up: up.as_ptr(),
        n: gate.len() as u32,
        activation,
        y: y.as_mut_ptr(),
    };
    assert_eq!(gate.len(), up.len());
    // SAFETY: all buffers hold n elements; gate is y or apart from it.
    unsafe { kernel.run(&args) };
    unguarded(y, kernel)
}

#[test]
fn gated_units_equal_the_oracle() {
    for activation in [c::ORIBI_SILU, c::ORIBI_GELU_TANH] {
        for in_place in [false, true] {
            compare(c::ORIBI_OP_GLU, |kernel, gate, up| glu(kernel, gate, up, activation, in_place));
        }
    }
}

/// The exponent t is off by a few units of its own size, which the exponential turns into a relative error of |t|.
#[test]
fn gated_units_are_what_they_say() {
    let silu = |kernel, gate: &[f32], up: &[f32]| glu(kernel, gate, up, c::ORIBI_SILU, false);
    check_f64(c::ORIBI_OP_GLU, silu, |gate, up| {
        let want = gate / (1.0 + (-gate).exp()) * up;
        (want, 6.0 * ULP * want.abs())
    });
    let gelu = |kernel, gate: &[f32], up: &[f32]| glu(kernel, gate, up, c::ORIBI_GELU_TANH, false);
    check_f64(c::ORIBI_OP_GLU, gelu, |gate, up| {
        let t = (2.0 / std::f64::consts::PI).sqrt() * (gate + 0.044715 * gate.powi(3));
        // 1 + tanh(t) in the form that does not cancel
        let want = gate / (1.0 + (-2.0 * t).exp()) * up;
        (want, (6.0 + 8.0 * t.abs()) * ULP * want.abs())
    });
    let textbook = |gate: f64| 0.5 * gate * (1.0 + (0.7978845608028654 * (gate + 0.044715 * gate.powi(3))).tanh());
    check_f64(c::ORIBI_OP_GLU, gelu, |gate, up| (textbook(gate) * up, 1e-6 * up.abs()));
}

#[test]
fn gated_units_saturate_without_nan() {
    for activation in [c::ORIBI_SILU, c::ORIBI_GELU_TANH] {
        let gates = [-1e38, -200.0, -100.0, 0.0, -0.0, 100.0, 1e38];
        let y = glu(oracle(c::ORIBI_OP_GLU), &gates, &[1.0; 7], activation, false);
        assert!(y[..4].iter().all(|&y| y == 0.0 || y > -1e-30), "{y:?}");
        assert_eq!(y[4..], [0.0, 100.0, 1e38]);
    }
}

/// Rows of `n` with gaps between them, in place or not, with or without a weight.
fn rms_norm(kernel: Kernel, x: &[f32], weight: Option<&[f32]>, n_rows: usize, in_place: bool) -> Vec<f32> {
    let n = x.len() / n_rows;
    let stride = n + 3;
    let mut strided = vec![CANARY; n_rows * stride];
    for (row, x) in strided.chunks_exact_mut(stride).zip(x.chunks_exact(n)) {
        row[..n].copy_from_slice(x);
    }
    let mut y = guarded(n_rows * stride);
    y[..n_rows * stride].copy_from_slice(&strided);
    let args = c::oribi_rms_norm_args {
        x: if in_place { y.as_ptr() } else { strided.as_ptr() },
        x_stride: stride,
        weight: weight.map_or(std::ptr::null(), |weight| weight.as_ptr()),
        n_rows: n_rows as u32,
        n: n as u32,
        eps: 1e-5,
        y: y.as_mut_ptr(),
        y_stride: stride,
    };
    // SAFETY: x and y hold n_rows rows of `stride`, the weight n elements; x is y or apart from it.
    unsafe { kernel.run(&args) };
    let y = unguarded(y, kernel);
    assert!(y.chunks_exact(stride).all(|row| row[n..] == [CANARY; 3]), "{kernel:?} wrote between the rows");
    y.chunks_exact(stride).flat_map(|row| row[..n].to_vec()).collect()
}

#[test]
fn rms_norm_equals_the_oracle() {
    let mut random = Random(8);
    for kernel in runnable(c::ORIBI_OP_RMS_NORM) {
        for &n in LENGTHS {
            for n_rows in [1, 2, 5, 17] {
                let x = inputs(n * n_rows, n_rows == 5, &mut random);
                let weight = random.units(n);
                for (weight, in_place) in [(Some(&*weight), false), (Some(&*weight), true), (None, false)] {
                    let want = rms_norm(oracle(kernel.op()), &x, weight, n_rows, in_place);
                    let got = rms_norm(kernel, &x, weight, n_rows, in_place);
                    assert_same_bits(&got, &want, format_args!("{kernel:?} n {n} rows {n_rows}"));
                }
            }
        }
    }
}

#[test]
fn rms_norm_is_what_it_says() {
    let mut random = Random(9);
    for &n in LENGTHS {
        let (x, weight) = (inputs(n, false, &mut random), random.units(n));
        let mean = x.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / n as f64;
        let inv = 1.0 / (mean + f64::from(1e-5f32)).sqrt();
        // The sum of squares adds n / 16 + 4 terms of one sign; half of its error reaches the root.
        let error = ULP * (n as f64 / 32.0 + 8.0);
        for (i, y) in rms_norm(oracle(c::ORIBI_OP_RMS_NORM), &x, Some(&weight), 1, false).into_iter().enumerate() {
            let want = f64::from(x[i]) * inv * f64::from(weight[i]);
            assert!((f64::from(y) - want).abs() <= error * want.abs(), "n {n}: {y} is not {want}");
        }
    }
}

#[test]
fn rms_norm_of_zeros_is_zero() {
    let y = rms_norm(oracle(c::ORIBI_OP_RMS_NORM), &[0.0; 33], None, 1, false);
    assert_eq!(y, [0.0; 33]);
}

fn rope(kernel: Kernel, x: &[f32], head_dim: usize, cos_sin: &[f32], half_split: bool) -> Vec<f32> {
    let mut y = x.to_vec();
    y.resize(x.len() + N_CANARIES, CANARY);
    let args = c::oribi_rope_args {
        x: y.as_mut_ptr(),
        n_heads: (x.len() / head_dim) as u32,
        head_dim: head_dim as u32,
        n_rot: cos_sin.len() as u32,
        cos_sin: cos_sin.as_ptr(),
        half_split: half_split.into(),
    };
    assert!(cos_sin.len() <= head_dim && x.len().is_multiple_of(head_dim));
    // SAFETY: x holds whole heads, the table 2 * n_rot / 2 numbers, n_rot is at most head_dim.
    unsafe { kernel.run(&args) };
    unguarded(y, kernel)
}

const ROPE_SHAPES: &[(usize, usize)] = &[
    (2, 2),
    (4, 2),
    (8, 6),
    (32, 32),
    (33, 30),
    (64, 64),
    (64, 32),
    (66, 66),
    (80, 80),
    (80, 20),
    (96, 96),
    (128, 128),
    (128, 64),
    (256, 256),
    (256, 64),
    (100, 0),
];

/// The cosines, then the sines, of `n_rot / 2` angles.
fn angles(n_rot: usize, random: &mut Random) -> Vec<f32> {
    let angles: Vec<f32> = (0..n_rot / 2).map(|_| random.unit() * 100.0).collect();
    angles.iter().map(|a| a.cos()).chain(angles.iter().map(|a| a.sin())).collect()
}

#[test]
fn rope_equals_the_oracle() {
    let mut random = Random(5);
    for kernel in runnable(c::ORIBI_OP_ROPE) {
        for &(head_dim, n_rot) in ROPE_SHAPES {
            for n_heads in [1, 3, 9] {
                let x = inputs(n_heads * head_dim, n_heads == 9, &mut random);
                let cos_sin = angles(n_rot, &mut random);
                for half_split in [false, true] {
                    let want = rope(oracle(kernel.op()), &x, head_dim, &cos_sin, half_split);
                    let got = rope(kernel, &x, head_dim, &cos_sin, half_split);
                    let what = format_args!("{kernel:?} head_dim {head_dim} n_rot {n_rot} half_split {half_split}");
                    assert_same_bits(&got, &want, what);
                }
            }
        }
    }
}

#[test]
fn rope_turns_each_pair_by_its_angle() {
    let mut random = Random(6);
    for &(head_dim, n_rot) in ROPE_SHAPES {
        let (x, cos_sin) = (inputs(2 * head_dim, false, &mut random), angles(n_rot, &mut random));
        for half_split in [false, true] {
            let y = rope(oracle(c::ORIBI_OP_ROPE), &x, head_dim, &cos_sin, half_split);
            for (x, y) in x.chunks_exact(head_dim).zip(y.chunks_exact(head_dim)) {
                assert_eq!(x[n_rot..], y[n_rot..]);
                for i in 0..n_rot / 2 {
                    let (first, second) = if half_split { (i, i + n_rot / 2) } else { (2 * i, 2 * i + 1) };
                    let (cos, sin) = (f64::from(cos_sin[i]), f64::from(cos_sin[n_rot / 2 + i]));
                    let (x0, x1) = (f64::from(x[first]), f64::from(x[second]));
                    let error = 2.0 * ULP * (x0.abs() + x1.abs());
                    assert!((f64::from(y[first]) - (x0 * cos - x1 * sin)).abs() <= error);
                    assert!((f64::from(y[second]) - (x1 * cos + x0 * sin)).abs() <= error);
                }
            }
        }
    }
}
