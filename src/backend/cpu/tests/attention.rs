//! Attention and its merge: every kernel against the oracle to the bit, the oracle against a float64 softmax, and what
//! must not matter: other rows and heads of the call, unseen slots, unseen pages.

use super::super::memory::AlignedBytes;
use super::*;

const PAGE_LEN: usize = c::ORIBI_PAGE_LEN as usize;
const SPLIT_LEN: usize = c::ORIBI_SPLIT_LEN as usize;
const HEADER: usize = c::ORIBI_STATE_HEADER as usize;

/// What a call computes. Rows are the positions from `first` on, the last ones of the cache.
#[derive(Clone, Copy, Debug)]
struct Shape {
    head_dim: usize,
    n_rows: usize,
    n_heads: usize,
    first: usize,
    window: usize,
    softcap: f32,
}

impl Shape {
    fn n_positions(self) -> usize {
        self.first + self.n_rows
    }

    fn padded(self) -> usize {
        self.head_dim.next_multiple_of(16)
    }

    fn state_len(self) -> usize {
        HEADER + self.padded()
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_dim as f32).sqrt()
    }

    /// The positions that a row sees.
    fn seen(self, row: usize) -> std::ops::Range<usize> {
        let end = self.first + row + 1;
        let begin = if self.window == 0 { 0 } else { end.saturating_sub(self.window) };
        begin..end
    }

    fn splits(self) -> impl Iterator<Item = usize> {
        (0..self.n_positions()).step_by(SPLIT_LEN)
    }

    fn head(self, first_head: usize, row: usize) -> usize {
        (row * self.n_heads + first_head) * self.head_dim
    }
}

/// Keys and values of one key head: as pages of a format, as the numbers that were stored, and as those that are kept.
struct Cache {
    dtype: DType,
    head_dim: usize,
    key_pages: Vec<Vec<u16>>,
    value_pages: Vec<Vec<u16>>,
    keys: Vec<f32>,
    values: Vec<f32>,
}

impl Cache {
    /// Random positions, which float16 holds exactly; slots behind them hold `garbage`.
    fn random(dtype: DType, head_dim: usize, n_positions: usize, garbage: u16, random: &mut Random) -> Cache {
        let n_pages = n_positions.div_ceil(PAGE_LEN);
        let halves = |n: usize, random: &mut Random| -> Vec<f32> {
            (0..n).map(|_| half::f16::from_f32(random.unit() * 2.0).to_f32()).collect()
        };
        let (key_bytes, value_bytes) = page_bytes(dtype, head_dim);
        let mut cache = Cache {
            dtype,
            head_dim,
            key_pages: vec![vec![garbage; key_bytes / 2]; n_pages],
            value_pages: vec![vec![garbage; value_bytes / 2]; n_pages],
            keys: halves(n_positions * head_dim, random),
            values: halves(n_positions * head_dim, random),
        };
        (0..n_positions).for_each(|position| cache.store(position));
        cache
    }

    fn store(&mut self, position: usize) {
        let numbers = position * self.head_dim..(position + 1) * self.head_dim;
        let args = c::oribi_kv_store_args {
            key: self.keys[numbers.clone()].as_ptr(),
            value: self.values[numbers].as_ptr(),
            head_dim: self.head_dim as u32,
            slot: (position % PAGE_LEN) as u32,
            key_page: self.key_pages[position / PAGE_LEN].as_mut_ptr().cast(),
            value_page: self.value_pages[position / PAGE_LEN].as_mut_ptr().cast(),
        };
        // SAFETY: the pages have their full size, keys and values hold head_dim numbers of each position.
        unsafe { cache_oracle(c::ORIBI_OP_KV_STORE, self.dtype).run(&args) };
    }

    /// Pointers to the pages, null where no row of `shape` sees anything.
    fn pointers(&self, pages: &[Vec<u16>], shape: Shape) -> Vec<*const u8> {
        let seen = shape.seen(0).start..shape.n_positions();
        let used = |page: usize| page * PAGE_LEN < seen.end && (page + 1) * PAGE_LEN > seen.start;
        (0..pages.len()).map(|page| if used(page) { pages[page].as_ptr().cast() } else { std::ptr::null() }).collect()
    }
}

/// The oracle of the merge, which has no format.
fn merge_oracle() -> Kernel {
    KernelSet::new(Isa::Scalar).unwrap().plain(c::ORIBI_OP_ATTENTION_MERGE).unwrap()
}

fn cache_oracle(op: c::oribi_op, dtype: DType) -> Kernel {
    KernelSet::new(Isa::Scalar).unwrap().cache(op, dtype).unwrap()
}

/// The oracle beside an attention kernel.
fn oracle_of(kernel: Kernel) -> Kernel {
    cache_oracle(kernel.op(), kernel.dtype().unwrap())
}

fn oracles() -> Vec<Kernel> {
    CACHE_DTYPES.iter().map(|&dtype| cache_oracle(c::ORIBI_OP_ATTENTION, dtype)).collect()
}

/// The attention kernels in portable arithmetic, the oracle left out.
fn portable() -> Vec<Kernel> {
    runnable(c::ORIBI_OP_ATTENTION).into_iter().filter(|kernel| !kernel.is_native()).collect()
}

/// Every attention kernel, native ones and the oracle included.
fn all() -> Vec<Kernel> {
    [oracles(), runnable(c::ORIBI_OP_ATTENTION)].concat()
}

/// The states (n_rows, n_heads, state_len) of one split. Rows of q and of the states have gaps, which must stay.
fn states(kernel: Kernel, cache: &Cache, q: &[f32], shape: Shape, split: usize) -> Vec<f32> {
    const GAP: usize = 5;
    let (q_len, row_len) = (shape.n_heads * shape.head_dim, shape.n_heads * shape.state_len());
    assert!(q.len() == shape.n_rows * q_len && cache.key_pages.len() * PAGE_LEN >= shape.n_positions());
    let q: Vec<f32> = q.chunks_exact(q_len).flat_map(|row| [row, &[f32::NAN; GAP]].concat()).collect();
    let mut states = vec![777.0f32; shape.n_rows * (row_len + GAP)];
    // SAFETY: a pure function of a number.
    let n_bytes = unsafe { c::oribi_attention_scratch_bytes(shape.head_dim as u32) };
    let scratch = AlignedBytes::zeroed(n_bytes, "scratch").unwrap();
    // SAFETY: the bytes were just allocated; a kernel may not rely on what lies in its scratch.
    unsafe { std::ptr::write_bytes(scratch.as_ptr(), 0xff, n_bytes) };
    let key_pages = cache.pointers(&cache.key_pages, shape);
    let value_pages = cache.pointers(&cache.value_pages, shape);
    let args = c::oribi_attention_args {
        q: q.as_ptr(),
        q_stride: q_len + GAP,
        n_rows: shape.n_rows as u32,
        n_heads: shape.n_heads as u32,
        head_dim: shape.head_dim as u32,
        first_position: shape.first as u32,
        window: shape.window as u32,
        split_begin: split as u32,
        split_end: shape.n_positions().min(split + SPLIT_LEN) as u32,
        key_pages: key_pages.as_ptr(),
        value_pages: value_pages.as_ptr(),
        scale: shape.scale(),
        softcap: shape.softcap,
        states: states.as_mut_ptr(),
        state_row_stride: row_len + GAP,
        scratch: scratch.as_ptr().cast(),
    };
    // SAFETY: every buffer has the size and stride that the arguments say; pages that are null are not seen.
    unsafe { kernel.run(&args) };
    let rows = states.chunks_exact(row_len + GAP);
    assert!(rows.clone().all(|row| row[row_len..] == [777.0; GAP]), "{kernel:?} wrote between the rows");
    rows.flat_map(|row| row[..row_len].to_vec()).collect()
}

/// One row and head of the merge of `states`, each (n_rows, n_heads, state_len).
fn merge(kernel: Kernel, states: &[Vec<f32>], at: usize, head_dim: usize) -> Vec<f32> {
    let state_len = HEADER + head_dim.next_multiple_of(16);
    let splits: Vec<f32> = states.iter().flat_map(|split| split[at * state_len..][..state_len].to_vec()).collect();
    let mut y = vec![f32::NAN; head_dim];
    y.resize(head_dim + 16, 555.0);
    let args = c::oribi_attention_merge_args {
        states: splits.as_ptr(),
        state_stride: state_len,
        n_splits: states.len() as u32,
        head_dim: head_dim as u32,
        y: y.as_mut_ptr(),
    };
    // SAFETY: the states lie one after the other, y holds head_dim numbers.
    unsafe { kernel.run(&args) };
    assert!(y[head_dim..] == [555.0; 16], "{kernel:?} wrote behind head_dim");
    y.truncate(head_dim);
    y
}

fn random_shape(head_dim: usize, random: &mut Random) -> Shape {
    Shape {
        head_dim,
        n_rows: 1 + random.below(17),
        n_heads: [1, 2, 3, 4, 5, 8, 9, 17][random.below(if head_dim > 128 { 4 } else { 8 })],
        first: [0, 1, 15, 47, 63, 64, 100, 250, 255, 256, 300, 500, 511, 530][random.below(14)],
        window: if random.below(2) == 0 { 0 } else { 1 + random.below(300) },
        softcap: if random.below(4) == 0 { 2.0 } else { 0.0 },
    }
}

const HEAD_DIMS: &[usize] = &[2, 16, 18, 32, 64, 80, 96, 128, 130, 256, 512];
const NAN: u16 = 0x7e01;

#[test]
fn every_kernel_equals_the_oracle() {
    let mut random = Random(1);
    for kernel in portable() {
        for case in 0..132 {
            let shape = random_shape(HEAD_DIMS[case % HEAD_DIMS.len()], &mut random);
            let cache = Cache::random(kernel.dtype().unwrap(), shape.head_dim, shape.n_positions(), NAN, &mut random);
            let mut q = random.units(shape.n_rows * shape.n_heads * shape.head_dim);
            q.iter_mut().for_each(|q| *q *= 4.0);
            if case % 10 == 9 {
                let at = random.below(q.len());
                q[at] = [f32::NAN, f32::INFINITY, 3e38, -3e38, 1e-40][random.below(5)];
            }
            for split in shape.splits() {
                let want = states(oracle_of(kernel), &cache, &q, shape, split);
                let got = states(kernel, &cache, &q, shape, split);
                assert_same_bits(&got, &want, format_args!("{kernel:?} {shape:?} split {split}"));
            }
        }
    }
}

/// Many pairs in one call: several batches, converted keys and values.
#[test]
fn every_kernel_equals_the_oracle_on_a_long_prompt() {
    let mut random = Random(2);
    for kernel in portable() {
        for (head_dim, n_rows, n_heads, window) in [(64, 70, 3, 0), (80, 130, 1, 40), (256, 33, 4, 0), (32, 9, 71, 0)] {
            let shape = Shape { head_dim, n_rows, n_heads, first: 60, window, softcap: 0.0 };
            let cache = Cache::random(kernel.dtype().unwrap(), head_dim, shape.n_positions(), NAN, &mut random);
            let q = random.units(n_rows * n_heads * head_dim);
            let want = states(oracle_of(kernel), &cache, &q, shape, 0);
            assert_same_bits(&states(kernel, &cache, &q, shape, 0), &want, format_args!("{kernel:?} {shape:?}"));
        }
    }
}

/// Softmax attention of one row and head in float64, and the mean of |v| under its weights.
fn attention_f64(cache: &Cache, q: &[f32], shape: Shape, row: usize) -> (Vec<f64>, Vec<f64>) {
    let dim = shape.head_dim;
    let kept = |x: &[f32]| x.chunks(dim).flat_map(|x| kept(cache.dtype, x)).collect::<Vec<f32>>();
    let (keys, values) = (kept(&cache.keys), kept(&cache.values));
    let dot = |k: &[f32]| q.iter().zip(k).map(|(&q, &k)| f64::from(q) * f64::from(k)).sum::<f64>();
    let score = |j: usize| {
        let s = dot(&keys[j * dim..][..dim]) * f64::from(shape.scale());
        let cap = f64::from(shape.softcap);
        if cap == 0.0 { s } else { cap * (s / cap).tanh() }
    };
    let scores: Vec<f64> = shape.seen(row).map(score).collect();
    let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = scores.iter().map(|s| (s - max).exp()).sum();
    let mut y = (vec![0.0; dim], vec![0.0; dim]);
    for (j, s) in shape.seen(row).zip(scores) {
        for d in 0..dim {
            let term = (s - max).exp() / sum * f64::from(values[j * dim + d]);
            y.0[d] += term;
            y.1[d] += term.abs();
        }
    }
    y
}

#[test]
fn the_oracles_are_softmax_attention() {
    let mut random = Random(3);
    for (case, kernel) in (0..66).flat_map(|case| oracles().into_iter().map(move |kernel| (case, kernel))) {
        let shape = random_shape(HEAD_DIMS[case % HEAD_DIMS.len()], &mut random);
        let cache = Cache::random(kernel.dtype().unwrap(), shape.head_dim, shape.n_positions(), NAN, &mut random);
        let q = random.units(shape.n_rows * shape.n_heads * shape.head_dim);
        let splits: Vec<Vec<f32>> = shape.splits().map(|split| states(kernel, &cache, &q, shape, split)).collect();
        for (row, head) in [(0, 0), (shape.n_rows - 1, shape.n_heads - 1), (shape.n_rows / 2, 0)] {
            let q = &q[shape.head(head, row)..][..shape.head_dim];
            let (want, magnitude) = attention_f64(&cache, q, shape, row);
            let got = merge(merge_oracle(), &splits, row * shape.n_heads + head, shape.head_dim);
            for d in 0..shape.head_dim {
                // A score of up to 512 products of size 2 / sqrt(512), and sums over up to 550 positions.
                let error = (f64::from(got[d]) - want[d]).abs();
                assert!(error <= 4e-6 * magnitude[d] + 1e-30, "{shape:?} row {row} head {head} d {d}: {error:e}");
            }
        }
    }
}

/// Native arithmetic against float64: bfloat16 has 8 bits of precision, so a score is off by up to 2^-8 of the sum of its
/// products' magnitudes, and so is the result.
#[test]
fn native_kernels_are_softmax_attention_to_the_precision_of_bf16() {
    let mut random = Random(9);
    for kernel in runnable(c::ORIBI_OP_ATTENTION).into_iter().filter(|kernel| kernel.is_native()) {
        for case in 0..66 {
            let shape = random_shape(HEAD_DIMS[case % HEAD_DIMS.len()], &mut random);
            let cache = Cache::random(kernel.dtype().unwrap(), shape.head_dim, shape.n_positions(), NAN, &mut random);
            let q = random.units(shape.n_rows * shape.n_heads * shape.head_dim);
            let splits: Vec<Vec<f32>> = shape.splits().map(|split| states(kernel, &cache, &q, shape, split)).collect();
            for row in 0..shape.n_rows {
                let head = random.below(shape.n_heads);
                let q = &q[shape.head(head, row)..][..shape.head_dim];
                let (want, magnitude) = attention_f64(&cache, q, shape, row);
                let at = row * shape.n_heads + head;
                let got = merge(merge_oracle(), &splits, at, shape.head_dim);
                for d in 0..shape.head_dim {
                    let error = (f64::from(got[d]) - want[d]).abs();
                    assert!(
                        error <= 0.02 * magnitude[d],
                        "{kernel:?} {shape:?} row {row} head {head} d {d}: {error:e}"
                    );
                }
            }
        }
    }
}

/// In native arithmetic a value that is not finite makes NaN of the rows that see it, and leaves the others alone.
#[test]
fn native_kernels_confine_what_is_not_finite() {
    let mut random = Random(10);
    for kernel in runnable(c::ORIBI_OP_ATTENTION).into_iter().filter(|kernel| kernel.is_native()) {
        for (bad, window) in [(0, 0), (37, 0), (37, 5), (64, 17), (101, 0)] {
            let shape = Shape { head_dim: 80, n_rows: 70, n_heads: 3, first: 40, window, softcap: 0.0 };
            let q = random.units(shape.n_rows * 3 * 80);
            let seed = random.bits();
            let mut cache = Cache::random(kernel.dtype().unwrap(), 80, shape.n_positions(), 0, &mut Random(seed));
            let want = states(kernel, &cache, &q, shape, 0);
            cache.values[bad * 80 + random.below(80)] = [f32::INFINITY, f32::NAN][random.below(2)];
            cache.store(bad);
            let got = states(kernel, &cache, &q, shape, 0);
            for (i, (got, want)) in got.chunks(shape.state_len()).zip(want.chunks(shape.state_len())).enumerate() {
                if shape.seen(i / 3).contains(&bad) {
                    assert!(got[1].is_nan() && got[HEADER..].iter().all(|x| x.is_nan()), "{kernel:?} {bad} pair {i}");
                } else {
                    assert_same_bits(got, want, format_args!("{kernel:?} {shape:?} pair {i}"));
                }
            }
        }
    }
}

#[test]
fn a_row_and_head_alone_are_the_same_as_in_company() {
    let mut random = Random(4);
    for kernel in runnable(c::ORIBI_OP_ATTENTION) {
        for (head_dim, window) in [(64, 0), (64, 20), (128, 0), (80, 100)] {
            let shape = Shape { head_dim, n_rows: 17, n_heads: 5, first: 250, window, softcap: 0.0 };
            let cache = Cache::random(kernel.dtype().unwrap(), head_dim, shape.n_positions(), NAN, &mut random);
            let q = random.units(shape.n_rows * shape.n_heads * head_dim);
            for split in shape.splits() {
                let together = states(kernel, &cache, &q, shape, split);
                for row in 0..shape.n_rows {
                    for head in [0, 3, 4] {
                        let alone = Shape { n_rows: 1, n_heads: 1, first: shape.first + row, ..shape };
                        let q = &q[shape.head(head, row)..][..head_dim];
                        let len = shape.state_len();
                        let want = &together[(row * shape.n_heads + head) * len..][..len];
                        // A split that begins behind the lone row's last position is not asked for in practice.
                        if split < alone.n_positions() {
                            let got = states(kernel, &cache, q, alone, split);
                            assert_same_bits(&got, want, format_args!("{kernel:?} {shape:?} row {row} head {head}"));
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn unseen_slots_never_matter() {
    let mut random = Random(5);
    for kernel in all() {
        for (head_dim, window, n_rows) in [(64, 0, 7), (80, 9, 12), (32, 70, 1), (256, 0, 15)] {
            let shape = Shape { head_dim, n_rows, n_heads: 3, first: 130, window, softcap: 0.0 };
            let q = random.units(n_rows * 3 * head_dim);
            let seed = random.bits();
            let clean = Cache::random(kernel.dtype().unwrap(), head_dim, shape.n_positions(), 0, &mut Random(seed));
            let want = states(kernel, &clean, &q, shape, 0);
            assert!(want.iter().all(|x| !x.is_nan()));
            // Garbage behind the last position: NaN, infinities, the largest numbers.
            for garbage in [NAN, 0xffff, 0x7c00, 0xfc00, 0x7bff] {
                let dirty =
                    Cache::random(kernel.dtype().unwrap(), head_dim, shape.n_positions(), garbage, &mut Random(seed));
                let got = states(kernel, &dirty, &q, shape, 0);
                assert_same_bits(&got, &want, format_args!("{kernel:?} {shape:?} garbage {garbage:#06x}"));
            }
            if kernel.dtype() != Some(DType::F16) {
                continue; // no infinity in its codes
            }
            // An infinite value that only the last row sees, and only the last row shows.
            let mut late = Cache::random(kernel.dtype().unwrap(), head_dim, shape.n_positions(), 0, &mut Random(seed));
            late.values[(shape.n_positions() - 1) * head_dim..].fill(f32::INFINITY);
            late.store(shape.n_positions() - 1);
            let got = states(kernel, &late, &q, shape, 0);
            let earlier = (n_rows - 1) * 3 * shape.state_len();
            assert_same_bits(&got[..earlier], &want[..earlier], format_args!("{kernel:?} {shape:?} late infinity"));
            assert!(!got[earlier + HEADER].is_finite());
        }
    }
}

#[test]
fn an_unseen_split_leaves_an_empty_state() {
    let mut random = Random(6);
    for kernel in all() {
        let shape = Shape { head_dim: 48, n_rows: 3, n_heads: 2, first: 300, window: 20, softcap: 0.0 };
        let cache = Cache::random(kernel.dtype().unwrap(), 48, shape.n_positions(), NAN, &mut random);
        let q = random.units(3 * 2 * 48);
        for state in states(kernel, &cache, &q, shape, 0).chunks_exact(shape.state_len()) {
            assert!(state[0] == f32::NEG_INFINITY && state[1..].iter().all(|x| x.to_bits() == 0), "{kernel:?}");
        }
    }
}

/// Splits with states of a plausible kind, some of them empty.
fn random_splits(n_splits: usize, head_dim: usize, random: &mut Random) -> Vec<Vec<f32>> {
    let len = HEADER + head_dim.next_multiple_of(16);
    let split = |empty: bool, random: &mut Random| {
        let mut state = vec![0.0; len];
        state[0] = f32::NEG_INFINITY;
        if !empty {
            state[0] = random.unit() * 10.0;
            state[1] = 1.0 + random.unit().abs() * 255.0;
            state[HEADER..HEADER + head_dim].copy_from_slice(&random.units(head_dim));
        }
        state
    };
    (0..n_splits).map(|s| split(s + 1 < n_splits && random.below(3) == 0, random)).collect()
}

#[test]
fn merges_equal_the_oracle_and_float64() {
    let mut random = Random(7);
    for kernel in runnable(c::ORIBI_OP_ATTENTION_MERGE) {
        for &head_dim in HEAD_DIMS {
            for n_splits in [1, 2, 3, 7, 33] {
                let splits = random_splits(n_splits, head_dim, &mut random);
                let want = merge(merge_oracle(), &splits, 0, head_dim);
                let what = format_args!("{kernel:?} head_dim {head_dim} splits {n_splits}");
                assert_same_bits(&merge(kernel, &splits, 0, head_dim), &want, what);
                let max = splits.iter().map(|state| state[0]).fold(f32::NEG_INFINITY, f32::max);
                let weight = |state: &[f32]| (f64::from(state[0]) - f64::from(max)).exp();
                let sum = |at: usize| splits.iter().map(|s| weight(s) * f64::from(s[at])).sum::<f64>();
                for (d, &x) in want.iter().enumerate().take(head_dim) {
                    let y = sum(HEADER + d) / sum(1);
                    assert!((f64::from(x) - y).abs() <= 1e-5 / sum(1) * n_splits as f64, "{what}: {y}");
                }
            }
        }
    }
}

#[test]
fn empty_splits_do_not_change_a_merge() {
    let mut random = Random(8);
    for kernel in [vec![merge_oracle()], runnable(c::ORIBI_OP_ATTENTION_MERGE)].concat() {
        let splits = random_splits(9, 80, &mut random);
        let full: Vec<Vec<f32>> = splits.iter().filter(|state| state[0] != f32::NEG_INFINITY).cloned().collect();
        assert!(full.len() < splits.len());
        assert_same_bits(&merge(kernel, &full, 0, 80), &merge(kernel, &splits, 0, 80), format_args!("{kernel:?}"));
        let nothing = vec![splits.iter().find(|state| state[0] == f32::NEG_INFINITY).unwrap().clone()];
        assert!(merge(kernel, &nothing, 0, 80).iter().all(|y| y.is_nan()), "a row that saw nothing has no value");
    }
}
