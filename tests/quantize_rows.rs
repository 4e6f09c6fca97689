//! `quant::quantize` from outside: its arguments, and that `dequantize` undoes it.

use oribi::ErrorKind;
use oribi::dtype::{DType, TABLE};
use oribi::quant::{dequantize, is_encodable, quantize};

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

fn encodable() -> impl Iterator<Item = DType> {
    TABLE.iter().map(|row| row.dtype).filter(|&dtype| is_encodable(dtype))
}

#[test]
fn zeros_stay_zeros() {
    for dtype in encodable() {
        let values = decode(dtype, &encode(dtype, &[0.0; 512], 256, None));
        assert!(values.iter().all(|&w| w == 0.0), "{dtype}");
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
