//! Reference dequantization against the values of the `gguf` Python package (`tests/data/make_dequant.py`), bit for bit.

use oribi::dtype::{DType, TABLE};
use oribi::quant;
use std::path::Path;

fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dequant").join(name);
    std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn same_bits(a: f32, b: f32) -> bool {
    // Which of its payloads a NaN gets depends on the machine; that it is one does not.
    a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan())
}

fn check(dtype: DType) {
    let bytes = fixture(&format!("{dtype}.blocks"));
    let want: Vec<f32> =
        fixture(&format!("{dtype}.f32")).chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert!(want.len() >= 256, "{dtype}");
    let mut got = vec![f32::NAN; want.len()];
    quant::dequantize(dtype, &bytes, &mut got).unwrap();
    for (k, (&got, &want)) in got.iter().zip(&want).enumerate() {
        // The package gives IQ1_S's zeros, which only a zero scale makes, the sign of code plus minimum.
        let same_zero = dtype == DType::IQ1_S && got == 0.0 && want == 0.0;
        assert!(same_zero || same_bits(got, want), "{dtype} element {k}: {got:e} is not {want:e}");
    }
}

#[test]
fn every_format_that_python_knows_has_the_same_bits() {
    let mut n_formats = 0;
    for row in TABLE.iter().filter(|row| quant::is_supported(row.dtype)) {
        // Python lacks these two; src/quant tests them by hand-made blocks.
        if ![DType::Q8_1, DType::Q8_K].contains(&row.dtype) {
            check(row.dtype);
            n_formats += 1;
        }
    }
    assert_eq!(n_formats, 25);
}

#[test]
fn codes_scales_and_minima_give_the_values() {
    for row in TABLE.iter().filter(|row| row.block_len > 1 && quant::is_supported(row.dtype)) {
        let bytes: Vec<u8> = (0..row.block_bytes).map(|i| (i * 89 + 7) as u8).collect();
        let mut want = vec![0.0; row.block_len];
        quant::dequantize(row.dtype, &bytes, &mut want).unwrap();
        let block = quant::unpack_block(row.dtype, &bytes).unwrap();
        for (k, &want) in want.iter().enumerate() {
            let g = k / block.group_len();
            let product = block.scales()[g] * f32::from(block.codes()[k]);
            let got = block.mins().map_or(product, |mins| product + mins[g]);
            assert!(same_bits(got, want), "{} element {k}: {got:e} is not {want:e}", row.name);
        }
    }
}
