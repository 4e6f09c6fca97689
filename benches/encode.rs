//! Encodes a file of float32 rows and says how long that took: our half of `benches/peers/encoders`.
//!
//! `encode FORMAT K VALUES OUT THREADS ROUNDS [IMPORTANCE]`: rows of K little-endian floats in VALUES, one float per column in
//! IMPORTANCE; the last round's bytes go to OUT, the seconds of every round to standard output, one per line.

use std::time::Instant;

use oribi::dtype::DType;
use oribi::quant::quantize;

fn floats(path: &str) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("cannot read {path}: {e}"));
    bytes.as_chunks::<4>().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
}

fn main() {
    // Cargo adds an argument of its own.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let [format, k, values, out, n_threads, n_rounds, importance @ ..] = &args[..] else {
        println!("usage: encode FORMAT K VALUES OUT THREADS ROUNDS [IMPORTANCE]");
        return;
    };
    let dtype = DType::from_name(format).expect("a format");
    let [k, n_threads, n_rounds] = [k, n_threads, n_rounds].map(|n| n.parse::<usize>().expect("a number"));
    let (values, importance) = (floats(values), importance.first().map(|path| floats(path)));
    let mut bytes = vec![0; dtype.row_bytes(values.len()).expect("whole blocks")];
    let rows_each = (values.len() / k).div_ceil(n_threads);
    let bytes_each = rows_each * dtype.row_bytes(k).expect("whole blocks");
    for _ in 0..n_rounds {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for (values, bytes) in values.chunks(rows_each * k).zip(bytes.chunks_mut(bytes_each)) {
                let importance = importance.as_deref();
                scope.spawn(move || quantize(dtype, values, k, importance, bytes).expect("encodable"));
            }
        });
        println!("{}", start.elapsed().as_secs_f64());
    }
    std::fs::write(out, bytes).expect("a writable file");
}
