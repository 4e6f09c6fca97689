//! Packing loses nothing: a row taken back from a panel is the file's row, to the bit.

use super::*;
use crate::quant::dequantize;

fn unpack_row(dtype: DType, panel: &[u8], row: usize, k: usize) -> Vec<f32> {
    let kernel = KernelSet::new(Isa::Scalar).unwrap().weight(c::ORIBI_OP_UNPACK_ROW, dtype).unwrap();
    let mut y = vec![f32::NAN; k];
    let args = c::oribi_unpack_row_args { panel: panel.as_ptr(), row: row as u32, k: k as u32, y: y.as_mut_ptr() };
    // SAFETY: the panel holds 16 rows of k inputs, y holds k.
    unsafe { kernel.run(&args) };
    y
}

#[test]
fn a_packed_row_is_the_dequantized_row() {
    let mut random = Random(1);
    let dtypes = dtypes();
    assert_eq!(dtypes.len(), 27);
    for dtype in dtypes {
        for (scales, n_rows, n_blocks) in
            [(Scales::Usual, 16, 3), (Scales::Usual, 1, 1), (Scales::Extreme, 5, 2), (Scales::Wild, 33, 4)]
        {
            let k = n_blocks * dtype.block_len().max(7);
            let rows = random_rows(dtype, n_rows, k, scales, &mut random);
            let panels = pack(dtype, &rows, n_rows, k);
            for row in 0..n_rows.next_multiple_of(16) {
                let panel = &panels[row / 16 * panel_bytes(dtype, k).unwrap()..];
                let got = unpack_row(dtype, panel, row % 16, k);
                let mut want = vec![0.0; k];
                if row < n_rows {
                    let row_len = dtype.row_bytes(k).unwrap();
                    dequantize(dtype, &rows[row * row_len..][..row_len], &mut want).unwrap();
                    assert_same_bits(&got, &want, format_args!("{dtype}, {scales:?}, row {row} of {n_rows}"));
                } else {
                    // MXFP4's smallest scale is not zero, but its code 0 is.
                    assert_eq!(got, want, "{dtype}: row {row} of {n_rows} does not exist and must be zero");
                }
            }
        }
    }
}

#[test]
fn every_packer_writes_the_bytes_of_the_oracle() {
    let mut random = Random(2);
    for kernel in runnable(c::ORIBI_OP_PACK) {
        let dtype = kernel.dtype().unwrap();
        for (n_rows, n_blocks) in [(1, 1), (2, 3), (7, 2), (8, 1), (9, 5), (15, 1), (16, 4), (33, 3)] {
            let k = n_blocks * dtype.block_len().max(7);
            let rows = random_rows(dtype, n_rows, k, Scales::Wild, &mut random);
            let (got, want) = (pack_with(kernel, &rows, n_rows, k), pack(dtype, &rows, n_rows, k));
            assert!(got == want, "{kernel:?}: {n_rows} rows of {k} inputs");
        }
    }
}

#[test]
fn a_packed_panel_is_within_four_percent_of_the_file_or_twice_an_expanded_one() {
    use DType::{IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, TQ1_0};
    let expanded = [IQ1_M, IQ1_S, IQ2_S, IQ2_XS, IQ2_XXS, IQ3_S, IQ3_XXS, TQ1_0];
    for dtype in dtypes() {
        let k = 4096;
        let (packed, file) = (panel_bytes(dtype, k).unwrap(), 16 * dtype.row_bytes(k).unwrap());
        let percent = 100.0 * (packed as f64 / file as f64 - 1.0);
        println!("{dtype}: {packed} bytes packed, {file} in the file, {percent:+.1} %");
        let most = if expanded.contains(&dtype) { 100.0 } else { 4.0 };
        assert!(percent <= most && percent > -11.5, "{dtype}: {percent:+.1} %");
    }
}

#[test]
fn a_panel_of_a_part_of_a_block_or_of_too_much_has_no_size() {
    assert_eq!(panel_bytes(DType::Q4_0, 32), Some(288));
    assert_eq!(panel_bytes(DType::Q4_0, 33), None);
    assert_eq!(panel_bytes(DType::Q4_K, 128), None);
    assert_eq!(panel_bytes(DType::NVFP4, 256), None);
    assert_eq!(panel_bytes(DType::F32, usize::MAX / 63), None);
    assert_eq!(panel_bytes(DType::Q4_0, usize::MAX / 32 * 32), None);
}
