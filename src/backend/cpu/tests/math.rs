//! The error bounds of exp and tanh, seen through kernels that return them unchanged.
//! `tests/kernels/math_body.h` does the same for every float there is.

use super::*;

/// A float64 error in units in the last place of a float32 result.
fn ulps(got: f32, want: f64) -> f64 {
    let exponent = want.abs().log2().floor() as i32;
    (f64::from(got) - want).abs() / 2f64.powi(exponent - 23)
}

/// tanh(x): the soft cap with factor 1.
fn tanh(x: &[f32]) -> Vec<f32> {
    let mut y = vec![0.0; x.len()];
    let args =
        c::oribi_map_args { x: x.as_ptr(), other: std::ptr::null(), n: x.len() as u32, factor: 1.0, y: y.as_mut_ptr() };
    let kernel = KernelSet::new(Isa::Scalar).unwrap().plain(c::ORIBI_OP_SOFTCAP).unwrap();
    // SAFETY: x and y hold n elements.
    unsafe { kernel.run(&args) };
    y
}

/// exp(x), x <= 0: the weight of a split whose maximum lies x below another's, which counts for the sum alone.
fn exp(x: f32) -> f32 {
    const HEADER: usize = c::ORIBI_STATE_HEADER as usize;
    let mut states = [[0.0f32; HEADER + 16]; 2];
    states[0][..2].copy_from_slice(&[x, 0.0]);
    states[0][HEADER] = 1.0;
    states[1][..2].copy_from_slice(&[0.0, 1.0]);
    let mut y = [0.0];
    let args = c::oribi_attention_merge_args {
        states: states.as_ptr().cast(),
        state_stride: HEADER + 16,
        n_splits: 2,
        head_dim: 1,
        y: y.as_mut_ptr(),
    };
    let kernel = KernelSet::new(Isa::detect()).unwrap().plain(c::ORIBI_OP_ATTENTION_MERGE).unwrap();
    // SAFETY: two states of HEADER + 16 floats, one output; the CPU has the instruction set.
    unsafe { kernel.run(&args) };
    y[0]
}

#[test]
fn exp_is_within_its_stated_error() {
    let mut worst = (0.0, 0.0);
    for bits in (0x8000_0000u32..=0xc2ae_ac4f).step_by(4999) {
        let x = f32::from_bits(bits);
        let error = ulps(exp(x), f64::from(x).exp());
        worst = if error > worst.0 { (error, x) } else { worst };
    }
    println!("exp: {} units in the last place at {:e}", worst.0, worst.1);
    assert!(worst.0 <= 0.91, "{worst:?}");
}

#[test]
fn exp_has_its_stated_edges() {
    assert_eq!(exp(-0.0), 1.0);
    let least = exp(f32::from_bits(0xc2ae_ac4f));
    assert!((f32::MIN_POSITIVE..f32::MIN_POSITIVE * 1.00001).contains(&least), "{least:e}");
    for x in [f32::from_bits(0xc2ae_ac50), -88.0, -200.0, -1e38, f32::MIN] {
        assert_eq!(exp(x).to_bits(), 0, "{x}");
    }
    assert!(exp(f32::NAN).is_nan());
}

#[test]
fn tanh_is_within_its_stated_error() {
    let x: Vec<f32> =
        (0..=0x7f80_0000u32).step_by(1999).flat_map(|b| [f32::from_bits(b), -f32::from_bits(b)]).collect();
    let mut worst = (0.0, 0.0);
    for (&x, y) in x.iter().zip(tanh(&x)).filter(|(x, _)| x.abs() >= f32::MIN_POSITIVE) {
        let error = ulps(y, f64::from(x).tanh());
        worst = if error > worst.0 { (error, x) } else { worst };
    }
    println!("tanh: {} units in the last place at {:e}", worst.0, worst.1);
    assert!(worst.0 <= 1.37, "{worst:?}");
}

#[test]
fn tanh_has_its_stated_edges() {
    let y = tanh(&[0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, 1e-45, f32::NAN, 9.5, -9.5]);
    assert_eq!(y[..4].iter().map(|y| y.to_bits()).collect::<Vec<_>>(), [0.0f32, -0.0, 1.0, -1.0].map(f32::to_bits));
    assert!(y[4] == 1e-45 && y[5].is_nan() && y[6] == 1.0 && y[7] == -1.0, "{y:?}");
}
