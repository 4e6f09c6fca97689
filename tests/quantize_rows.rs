//! `quant::quantize` from outside: its arguments, that `dequantize` undoes it, and that nothing finite upsets it.

use half::f16;
use oribi::ErrorKind;
use oribi::dtype::{DType, TABLE};
use oribi::quant::{dequantize, is_encodable, quantize, unpack_block};
use proptest::prelude::*;

/// The bytes of rows of `k`.
fn encode(dtype: DType, values: &[f32], k: usize, importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0xA5; dtype.row_bytes(values.len()).unwrap()];
    quantize(dtype, values, k, importance, &mut bytes).unwrap();
    bytes
}

fn decode(dtype: DType, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / dtype.block_bytes() * dtype.block_len()];
    dequantize(dtype, bytes, &mut values).unwrap();
    values
}

/// Every format that can be made, with blocks or without.
fn encodable() -> impl Iterator<Item = DType> {
    TABLE.iter().map(|row| row.dtype).filter(|&dtype| is_encodable(dtype))
}

fn with_blocks() -> impl Iterator<Item = DType> {
    encodable().filter(|dtype| dtype.block_len() > 1)
}

/// The root of the mean squared error of what is left of `values`, relative to their root mean square.
fn relative_error(dtype: DType, values: &[f32], k: usize, importance: Option<&[f32]>) -> f64 {
    let back = decode(dtype, &encode(dtype, values, k, importance));
    let weight = |i: usize| importance.map_or(1.0, |h| f64::from(h[i % k]));
    let square = |i: usize, x: f64| weight(i) * x * x;
    let error: f64 =
        values.iter().zip(&back).enumerate().map(|(i, (&x, &w))| square(i, f64::from(x) - f64::from(w))).sum();
    let total: f64 = values.iter().enumerate().map(|(i, &x)| square(i, f64::from(x))).sum();
    (error / total).sqrt()
}

/// Numbers as a normal distribution has them, by the sum of twelve uniform ones; the same every time.
fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32
    };
    (0..n).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

#[test]
fn the_list_of_formats() {
    let names: Vec<&str> = encodable().map(DType::name).collect();
    let want = "F32 F16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS BF16 TQ1_0 TQ2_0 MXFP4";
    assert_eq!(names.join(" "), want);
}

/// What each format leaves of normal numbers, in thousandths: a little more than measured. A layout with one bit in the wrong
/// place, or a search that fails, is far beyond.
#[test]
fn errors_are_as_small_as_they_should_be() {
    let values = normal(16 * 1024, 1);
    let importance: Vec<f32> = normal(1024, 2).iter().map(|x| x.exp()).collect();
    for (dtype, plain, weighed) in [
        (DType::Q4_0, 79.2, 74.4),
        (DType::Q4_1, 68.2, 61.5),
        (DType::Q5_0, 39.2, 36.7),
        (DType::Q5_1, 33.4, 30.0),
        (DType::Q8_0, 5.262, 4.333),
        (DType::Q2_K, 257.0, 221.7),
        (DType::Q3_K, 142.1, 130.8),
        (DType::Q4_K, 68.7, 62.1),
        (DType::Q5_K, 34.2, 31.1),
        (DType::Q6_K, 16.9, 15.6),
        (DType::IQ4_NL, 72.7, 67.2),
        (DType::IQ4_XS, 73.1, 67.7),
        (DType::TQ1_0, 432.0, 424.7),
        (DType::TQ2_0, 432.0, 424.7),
        (DType::MXFP4, 112.3, 111.4),
        (DType::F16, 0.212, 0.214),
        (DType::BF16, 1.687, 1.697),
        (DType::F32, 0.0, 0.0),
    ] {
        let error = 1e3 * relative_error(dtype, &values, 1024, None);
        let weighed_error = 1e3 * relative_error(dtype, &values, 1024, Some(&importance));
        println!("{dtype}: {error:.3} {weighed_error:.3}");
        assert!(error <= plain, "{dtype}: {error}");
        assert!(weighed_error <= weighed, "{dtype} by importance: {weighed_error}");
        let blind = decode(dtype, &encode(dtype, &values, 1024, None));
        let h = |i: usize| f64::from(importance[i % 1024]);
        let miss = |i: usize| f64::from(values[i] - blind[i]).powi(2) * h(i);
        let total: f64 = (0..values.len()).map(|i| h(i) * f64::from(values[i]).powi(2)).sum();
        let blind_error = 1e3 * ((0..values.len()).map(miss).sum::<f64>() / total).sqrt();
        assert!(weighed_error <= blind_error * 1.000_001, "{dtype}: importance makes it worse: {blind_error}");
    }
}

/// Values that a format has already come back as they were: they are made by decoding blocks of normal numbers.
#[test]
fn what_is_on_the_grid_stays() {
    for dtype in encodable() {
        let values = decode(dtype, &encode(dtype, &normal(8 * 1024, 3), 1024, None));
        let error = relative_error(dtype, &values, 1024, None);
        println!("{dtype}: {:.4}", 1e3 * error);
        // One level of scales: back exactly, up to the rounding of scale and minimum. Two levels have too many grids to try them
        // all; what is left is small beside the error of a first encoding.
        let first = relative_error(dtype, &normal(8 * 1024, 3), 1024, None);
        let most = match dtype {
            DType::Q2_K | DType::Q4_K | DType::Q5_K | DType::Q6_K => 0.15 * first,
            DType::Q4_1 | DType::Q5_1 => 1e-3 * first,
            _ => 1e-6,
        };
        assert!(error <= most, "{dtype}: {error}");
    }
}

#[test]
fn q8_0_is_what_every_converter_writes() {
    let values = normal(64, 4);
    let bytes = encode(DType::Q8_0, &values, 64, None);
    for (x, block) in values.chunks(32).zip(bytes.chunks(34)) {
        let d = x.iter().fold(0.0f32, |m, x| m.max(x.abs())) / 127.0;
        assert_eq!(block[..2], f16::from_f32(d).to_le_bytes());
        let per_d = 1.0 / d;
        assert!(x.iter().zip(&block[2..]).all(|(x, &code)| (x * per_d).round() == f32::from(code as i8)));
    }
}

#[test]
fn zeros_stay_zeros() {
    for dtype in encodable() {
        for zero in [0.0, -0.0] {
            for importance in [None, Some(&[0.0; 256][..])] {
                let mut values = [zero; 512];
                assert!(decode(dtype, &encode(dtype, &values, 256, importance)).iter().all(|&w| w == 0.0), "{dtype}");
                // Beside a row that is not, too.
                values[256..].copy_from_slice(&normal(256, 5));
                assert!(decode(dtype, &encode(dtype, &values, 256, importance))[..256].iter().all(|&w| w == 0.0));
            }
        }
    }
}

#[test]
fn a_row_is_the_same_alone_and_among_others() {
    let values = normal(3 * 768, 6);
    let importance: Vec<f32> = normal(768, 7).iter().map(|x| x * x).collect();
    for dtype in with_blocks() {
        let all = encode(dtype, &values, 768, Some(&importance));
        let apart: Vec<u8> = values.chunks(768).flat_map(|row| encode(dtype, row, 768, Some(&importance))).collect();
        assert_eq!(all, apart, "{dtype}");
    }
}

#[test]
fn the_scale_of_an_importance_does_not_matter() {
    let values = normal(1024, 8);
    let importance: Vec<f32> = normal(512, 9).iter().map(|x| x * x).collect();
    for dtype in with_blocks() {
        let want = encode(dtype, &values, 512, Some(&importance));
        for factor in [2f32.powi(-60), 2f32.powi(60)] {
            let scaled: Vec<f32> = importance.iter().map(|h| h * factor).collect();
            assert_eq!(encode(dtype, &values, 512, Some(&scaled)), want, "{dtype} times {factor}");
        }
    }
}

/// Values whose scale no binary16 can hold become the nearest that the format has.
#[test]
fn too_large_and_too_small_values_saturate() {
    for dtype in with_blocks().filter(|&dtype| dtype != DType::MXFP4) {
        let huge: Vec<f32> = normal(256, 10).iter().map(|x| x * 1e30).collect();
        let back = decode(dtype, &encode(dtype, &huge, 256, None));
        let largest = back.iter().fold(0.0f32, |m, w| m.max(w.abs()));
        assert!(largest.is_finite() && largest > 6e4, "{dtype}: {largest}");
        assert!(huge.iter().zip(&back).all(|(x, w)| x * w >= 0.0), "{dtype}: a sign changed");
        for tiny in [1e-9f32, 1e-38, 1e-45] {
            let back =
                decode(dtype, &encode(dtype, &normal(256, 10).iter().map(|x| x * tiny).collect::<Vec<_>>(), 256, None));
            assert!(back.iter().all(|w| w.abs() < 1e-7), "{dtype} {tiny}");
        }
    }
    // The exponent of MXFP4 reaches as far as float32.
    for exponent in [-110, -60, 60, 120] {
        let values: Vec<f32> = normal(256, 11).iter().map(|x| x * 2f32.powi(exponent)).collect();
        let error = relative_error(DType::MXFP4, &values, 256, None);
        assert!(error < 0.13, "2^{exponent}: {error}");
    }
}

/// A scale below the smallest normal binary16 is coarse, but codes make up for it.
#[test]
fn scales_among_the_subnormal_halves_are_used() {
    let values: Vec<f32> = normal(256, 12).iter().map(|x| x * 3e-6).collect();
    for (dtype, most) in
        [(DType::Q8_0, 0.2), (DType::Q4_0, 0.1), (DType::Q5_1, 0.05), (DType::Q6_K, 0.05), (DType::Q4_K, 0.2)]
    {
        let error = relative_error(dtype, &values, 256, None);
        assert!(error < most, "{dtype}: {error}");
    }
}

#[test]
fn arguments_that_do_not_fit_are_refused() {
    let mut out = [0; 18];
    let cases = [
        (DType::Q4_0, 32, 16, None, 18),
        (DType::Q4_0, 32, 0, None, 18),
        (DType::Q4_0, 48, 32, None, 18),
        (DType::Q4_0, 32, 32, None, 17),
        (DType::Q4_0, 32, 32, Some(vec![1.0; 31]), 18),
        (DType::Q4_0, 32, 32, Some(vec![-1.0; 32]), 18),
        (DType::Q4_0, 32, 32, Some(vec![f32::NAN; 32]), 18),
    ];
    for (dtype, n, k, importance, n_bytes) in cases {
        let error = quantize(dtype, &vec![1.0; n], k, importance.as_deref(), &mut out[..n_bytes]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{dtype} {n} {k} {n_bytes}: {error}");
    }
    assert_eq!(quantize(DType::NVFP4, &[0.0; 64], 64, None, &mut [0; 36]).unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn what_is_not_finite_is_named_or_kept() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = [0.5; 768];
        values[256 + 17] = bad;
        for dtype in encodable() {
            let mut out = vec![0; dtype.row_bytes(768).unwrap()];
            let result = quantize(dtype, &values, 256, None, &mut out);
            if dtype.block_len() > 1 {
                let error = result.unwrap_err();
                assert!(error.to_string().starts_with("row 1, column 17 is "), "{dtype}: {error}");
            } else {
                let back = decode(dtype, &out)[256 + 17];
                assert!(back == bad || (back.is_nan() && bad.is_nan()), "{dtype}");
            }
        }
    }
}

/// Finite values of every size and both signs, many of them special.
fn any_value() -> impl Strategy<Value = f32> {
    prop_oneof![
        any::<f32>().prop_filter("finite", |x| x.is_finite()),
        -1.0f32..1.0,
        Just(0.0),
        Just(-0.0),
        Just(f32::MAX),
        Just(f32::MIN),
        Just(f32::MIN_POSITIVE),
        Just(1e-45),
    ]
}

fn any_importance() -> impl Strategy<Value = f32> {
    prop_oneof![Just(0.0), 0.0f32..1.0, Just(f32::MAX), Just(1e-45), (-126i32..127).prop_map(|e| 2f32.powi(e))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the values, what comes back is finite, and in a block of its own no farther off than zeros would be (with values
    /// that binary16 scales reach).
    #[test]
    fn any_finite_values_have_a_finite_encoding(
        values in prop::collection::vec(any_value(), 512),
        importance in prop::option::of(prop::collection::vec(any_importance(), 512)),
    ) {
        for dtype in with_blocks() {
            let bytes = encode(dtype, &values, 512, importance.as_deref());
            let back = decode(dtype, &bytes);
            prop_assert!(back.iter().all(|w| w.is_finite()), "{}", dtype);
            for block in bytes.chunks(dtype.block_bytes()) {
                prop_assert!(unpack_block(dtype, block).unwrap().scales().iter().all(|s| s.is_finite()), "{}", dtype);
            }
        }
    }

    /// Values of one size are never made worse than zeros would be, in any block.
    #[test]
    fn no_block_is_worse_than_zeros(values in prop::collection::vec(-1.0f32..1.0, 256), size in -12i32..14) {
        let values: Vec<f32> = values.iter().map(|x| x * 2f32.powi(size)).collect();
        for dtype in with_blocks() {
            let back = decode(dtype, &encode(dtype, &values, 256, None));
            for (x, w) in values.chunks(dtype.block_len()).zip(back.chunks(dtype.block_len())) {
                let error: f64 = x.iter().zip(w).map(|(x, w)| f64::from(x - w).powi(2)).sum();
                let zeros: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
                prop_assert!(error <= zeros, "{}: {} > {}", dtype, error, zeros);
            }
        }
    }
}
