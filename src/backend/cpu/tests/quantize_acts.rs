//! Activations to 16-bit codes: the oracle against the definition, every other kernel against the oracle.

use super::*;

/// What one row of activations holds, whatever the layout.
#[derive(Debug, PartialEq)]
struct Row {
    codes: Vec<i16>,
    scales: Vec<u32>,
    sums: Vec<i32>,
}

fn i16_at(bytes: &[u8], i: usize) -> i16 {
    i16::from_ne_bytes([bytes[2 * i], bytes[2 * i + 1]])
}

fn u32_at(bytes: &[u8], i: usize) -> u32 {
    u32::from_ne_bytes([bytes[4 * i], bytes[4 * i + 1], bytes[4 * i + 2], bytes[4 * i + 3]])
}

/// The code of input k in a layout.
fn code_at(acts: Acts, row: &[u8], k: usize) -> i16 {
    match acts {
        Acts::Pairs => i16_at(row, k / 4 * 4 + [0, 2, 1, 3][k % 4]),
        Acts::Planes => {
            let group = &row[k / 32 * 64..];
            256 * i16::from(group[k % 32] as i8) + i16::from(group[32 + k % 32] as i8)
        }
        _ => i16_at(row, k),
    }
}

fn read_row(acts: Acts, row: &[u8], k: usize) -> Row {
    let (scales, sums) = (&row[2 * k..], &row[2 * k + k / 8..]);
    Row {
        codes: (0..k).map(|i| code_at(acts, row, i)).collect(),
        scales: (0..k / 32).map(|g| u32_at(scales, g)).collect(),
        sums: (0..k / 16).map(|h| u32_at(sums, h) as i32).collect(),
    }
}

/// numerics.md, word for word.
fn defined_row(x: &[f32]) -> Row {
    let mut row = Row { codes: vec![], scales: vec![], sums: vec![] };
    for group in x.chunks_exact(32) {
        let amax = group.iter().fold(0.0f32, |amax, x| amax.max(x.abs()));
        let inverse = 32512.0 / amax;
        let (scale, codes): (f32, Vec<i16>) = if group.iter().any(|x| !x.is_finite()) {
            (f32::from_bits(0x7fc0_0000), vec![0; 32])
        } else if inverse.is_infinite() {
            (0.0, vec![0; 32])
        } else {
            (amax / 32512.0, group.iter().map(|x| (x * inverse).round_ties_even() as i16).collect())
        };
        row.sums.extend(codes.chunks_exact(16).map(|half| half.iter().map(|&a| i32::from(a)).sum::<i32>()));
        row.scales.push(scale.to_bits());
        row.codes.extend(codes);
    }
    row
}

/// Groups of every kind: usual, zero, huge, tiny, not finite, exact ties.
fn inputs(k: usize, random: &mut Random) -> Vec<f32> {
    let mut x = Vec::with_capacity(k);
    for g in 0..k / 32 {
        let mut group = random.units(32);
        let scale = [1.0, 0.0, 3e38, 1e-30, 1e-34, 9.6e-35, 9.5e-35, 1e-40, 1e-45, 5e3][g % 14 % 10];
        group.iter_mut().for_each(|x| *x *= scale);
        match g % 14 {
            10 => group[random.below(32)] = f32::NAN,
            11 => group[random.below(32)] = f32::NEG_INFINITY,
            12 => group.iter_mut().enumerate().for_each(|(i, x)| *x = i as f32 - 15.5),
            // The largest magnitude makes the factor 1, so halves are exact ties.
            13 => group.iter_mut().enumerate().for_each(|(i, x)| *x = if i == 0 { -32512.0 } else { i as f32 - 15.5 }),
            _ => {}
        }
        x.extend(group);
    }
    x
}

#[test]
fn the_oracle_computes_the_definition_in_every_layout() {
    let (k, n_rows, mut random) = (32 * 28, 3, Random(2));
    let x = inputs(n_rows * k, &mut random);
    let scalar = KernelSet::new(Isa::Scalar).unwrap();
    for acts in [Acts::I16, Acts::Pairs, Acts::Planes] {
        let kernel = scalar.quantizer(acts).unwrap();
        let rows = quantize(kernel, &x, n_rows, k);
        for (r, x) in x.chunks_exact(k).enumerate() {
            let got = read_row(acts, &rows[r * acts_stride(acts, k)..], k);
            let want = defined_row(x);
            assert_eq!(got, want, "{kernel:?} row {r}");
            assert!(got.codes.iter().all(|a| (-32512..=32512).contains(a)));
        }
    }
}

/// bfloat16 as the `half` crate rounds, except that denormals are zero.
#[test]
fn the_bfloat16_oracle_rounds_to_nearest_even() {
    let (k, mut random) = (32 * 28, Random(8));
    let mut x = inputs(k, &mut random);
    x.extend((0..64u32).map(|i| f32::from_bits(0x3f80_0000 + (i << 13)))); // every fourth is a tie
    x.extend(
        [f32::MAX, -f32::MAX, f32::INFINITY, f32::MIN_POSITIVE, -0.0, -1e-39, 1.0, f32::from_bits(0xff80_0001)]
            .repeat(4),
    );
    let k = x.len();
    let rows = quantize(KernelSet::new(Isa::Scalar).unwrap().quantizer(Acts::Bf16).unwrap(), &x, 1, k);
    for (i, &x) in x.iter().enumerate() {
        let got = i16_at(&rows[i / 32 * 1024..], i % 32) as u16;
        let want = if x.is_subnormal() { 0.0f32.copysign(x) } else { x };
        assert_eq!(got, half::bf16::from_f32(want).to_bits(), "{x:e} ({:#010x})", x.to_bits());
    }
}

#[test]
fn every_quantizer_returns_the_bytes_of_the_oracle() {
    let mut random = Random(3);
    let scalar = KernelSet::new(Isa::Scalar).unwrap();
    for kernel in runnable(c::ORIBI_OP_QUANTIZE_ACTS) {
        let oracle = scalar.quantizer(kernel.acts()).unwrap();
        for k in [32, 64, 96, 32 * 14, 32 * 33, 2048] {
            for n_rows in [1, 2, 5, 17, 33] {
                let x = inputs(n_rows * k, &mut random);
                let (got, want) = (quantize(kernel, &x, n_rows, k), quantize(oracle, &x, n_rows, k));
                assert!(got == want, "{kernel:?} differs for {n_rows} rows of {k}");
            }
        }
    }
}

#[test]
fn rows_may_be_quantized_in_pieces() {
    let (k, n_rows, mut random) = (320, 19, Random(4));
    let x = inputs(n_rows * k, &mut random);
    let scalar = KernelSet::new(Isa::Scalar).unwrap();
    let oracles = [Acts::I16, Acts::Pairs, Acts::Planes, Acts::Bf16].map(|acts| scalar.quantizer(acts).unwrap());
    for kernel in oracles.into_iter().chain(runnable(c::ORIBI_OP_QUANTIZE_ACTS)) {
        let pieces = [(0..5, 64..320), (5..19, 0..32), (5..19, 32..320), (0..3, 0..64), (3..5, 0..64), (7..7, 0..0)];
        assert!(quantize_pieces(kernel, &x, n_rows, k, &pieces) == quantize(kernel, &x, n_rows, k), "{kernel:?}");
    }
}
