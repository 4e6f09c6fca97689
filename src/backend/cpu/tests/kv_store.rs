//! The cache store: every format as its definition says, in the right slot, and nothing else touched.

use super::*;

const PAGE_LEN: usize = c::ORIBI_PAGE_LEN as usize;

/// A page of one key head, in pieces of two bytes.
#[derive(Clone, PartialEq)]
struct Page {
    keys: Vec<u16>,
    values: Vec<u16>,
}

impl Page {
    fn filled(dtype: DType, head_dim: usize, with: u16) -> Page {
        let (key_bytes, value_bytes) = page_bytes(dtype, head_dim);
        Page { keys: vec![with; key_bytes / 2], values: vec![with; value_bytes / 2] }
    }

    fn store(&mut self, kernel: Kernel, key: &[f32], value: &[f32], slot: usize) {
        let (key_bytes, value_bytes) = page_bytes(kernel.dtype().unwrap(), key.len());
        assert!(value.len() == key.len() && slot < PAGE_LEN);
        assert!((self.keys.len(), self.values.len()) == (key_bytes / 2, value_bytes / 2));
        let args = c::oribi_kv_store_args {
            key: key.as_ptr(),
            value: value.as_ptr(),
            head_dim: key.len() as u32,
            slot: slot as u32,
            key_page: self.keys.as_mut_ptr().cast(),
            value_page: self.values.as_mut_ptr().cast(),
        };
        // SAFETY: the pages have their full size, key and value head_dim elements.
        unsafe { kernel.run(&args) };
    }

    fn bytes(words: &[u16]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// The numbers of a slot, read by the layout that the header describes.
    fn read(&self, dtype: DType, head_dim: usize, slot: usize) -> (Vec<f32>, Vec<f32>) {
        let (keys, values) = (Page::bytes(&self.keys), Page::bytes(&self.values));
        let half = |bytes: &[u8], at: usize| half::f16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]]).to_f32();
        let (row, lane, n_groups) = (slot / 16, slot % 16, head_dim.div_ceil(32));
        let padded = head_dim.next_multiple_of(16);
        let n_key_codes = if dtype == DType::Q4_0 { PAGE_LEN * head_dim.div_ceil(2) } else { PAGE_LEN * head_dim };
        let n_value_codes = if dtype == DType::Q4_0 { PAGE_LEN * n_groups * 16 } else { PAGE_LEN * padded };
        let key_scale = |d: usize| half(&keys[n_key_codes..], (row * n_groups + d / 32) * 16 + lane);
        let value_scale = |d: usize| half(&values[n_value_codes..], d / 32 * PAGE_LEN + slot);
        let nibble = |byte: u8, upper: bool| f32::from(if upper { byte >> 4 } else { byte & 15 }) - 8.0;
        let key = |d: usize| match dtype {
            DType::F16 => half(&keys, (row * head_dim + d) * 16 + lane),
            DType::Q8_0 => (f32::from(keys[(row * head_dim + d) * 16 + lane]) - 128.0) * key_scale(d),
            _ => nibble(keys[(row * head_dim.div_ceil(2) + d / 2) * 16 + lane], d % 2 == 1) * key_scale(d),
        };
        let value = |d: usize| match dtype {
            DType::F16 => half(&values, slot * padded + d),
            DType::Q8_0 => (f32::from(values[slot * padded + d]) - 128.0) * value_scale(d),
            _ => nibble(values[(slot * n_groups + d / 32) * 16 + d % 16], d % 32 >= 16) * value_scale(d),
        };
        ((0..head_dim).map(key).collect(), (0..head_dim).map(value).collect())
    }
}

/// Bits that round to float16 in every way there is: normal, subnormal, ties, overflow, infinity, NaN.
fn float(random: &mut Random) -> f32 {
    match random.below(4) {
        0 => random.unit() * 8.0,
        1 => f32::from_bits(random.bits() as u32),
        2 => {
            // near a tie: float16 bits with the first cut-off bit set, and now and then a bit below it
            let exact = half::f16::from_bits(random.bits() as u16).to_f32();
            f32::from_bits(exact.to_bits() ^ 0x1000 ^ (random.bits() as u32 & 1))
        }
        _ => (65480.0 + random.unit() * 60.0) * if random.below(2) == 0 { -1.0 } else { 1.0 },
    }
}

/// A head of a usual size, of zeros, tiny or large, or of anything.
fn head(head_dim: usize, random: &mut Random) -> Vec<f32> {
    let scale = [1.0, 8.0, 0.0, 1e-6, 1e-9, 1e5, 1e9][random.below(7)];
    let wild = random.below(3) == 0;
    (0..head_dim).map(|_| if wild { float(random) } else { random.unit() * scale }).collect()
}

const HEAD_DIMS: [usize; 11] = [2, 6, 16, 18, 32, 64, 80, 96, 128, 256, 512];
const SLOTS: [usize; 8] = [0, 1, 15, 16, 17, 37, 63, 0];

fn oracle(dtype: DType) -> Kernel {
    KernelSet::new(Isa::Scalar).unwrap().cache(c::ORIBI_OP_KV_STORE, dtype).unwrap()
}

#[test]
fn every_kernel_writes_the_bytes_of_the_oracle() {
    let mut random = Random(12);
    for kernel in runnable(c::ORIBI_OP_KV_STORE) {
        let dtype = kernel.dtype().unwrap();
        for head_dim in HEAD_DIMS {
            let mut got = Page::filled(dtype, head_dim, 0x5555);
            let mut want = got.clone();
            for slot in SLOTS {
                let (key, value) = (head(head_dim, &mut random), head(head_dim, &mut random));
                got.store(kernel, &key, &value, slot);
                want.store(oracle(dtype), &key, &value, slot);
                assert!(got == want, "{kernel:?} head_dim {head_dim} slot {slot}");
            }
        }
    }
}

#[test]
fn the_oracles_keep_what_the_formats_say_and_touch_no_other_slot() {
    let mut random = Random(13);
    for dtype in CACHE_DTYPES {
        for head_dim in HEAD_DIMS {
            let mut page = Page::filled(dtype, head_dim, 0);
            for slot in SLOTS {
                let scale = [1.0, 60.0, 1e-3][random.below(3)];
                let unit = |random: &mut Random| (0..head_dim).map(|_| random.unit() * scale).collect::<Vec<f32>>();
                let (key, value) = (unit(&mut random), unit(&mut random));
                let before: Vec<_> = (0..PAGE_LEN).map(|slot| page.read(dtype, head_dim, slot)).collect();
                page.store(oracle(dtype), &key, &value, slot);
                for (other, before) in before.iter().enumerate() {
                    let now = page.read(dtype, head_dim, other);
                    let want = if other == slot { (kept(dtype, &key), kept(dtype, &value)) } else { before.clone() };
                    assert!(now == want, "{dtype} head_dim {head_dim} slot {slot}: slot {other}");
                }
            }
        }
    }
}

#[test]
fn float16_is_rounded_to_nearest_even() {
    let mut random = Random(14);
    let mut page = Page::filled(DType::F16, 64, 0);
    for _ in 0..200 {
        let key: Vec<f32> = (0..64).map(|_| float(&mut random)).collect();
        page.store(oracle(DType::F16), &key, &key, 5);
        for (d, &x) in key.iter().enumerate() {
            let want = half::f16::from_f32(x).to_bits();
            assert!(page.keys[d * 16 + 5] == want && page.values[5 * 64 + d] == want, "{x:e}");
        }
    }
}

#[test]
fn a_coded_group_with_something_infinite_or_too_large_is_nan_and_a_tiny_one_is_zero() {
    for dtype in [DType::Q8_0, DType::Q4_0] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 3e38, -1e10] {
            let mut page = Page::filled(dtype, 64, 0);
            let mut key = vec![1.0; 64];
            key[40] = bad;
            page.store(oracle(dtype), &key, &key, 7);
            let (keys, values) = page.read(dtype, 64, 7);
            assert!(keys[..32].iter().chain(&values[..32]).all(|x| (x - 1.0).abs() < 0.01), "{dtype} {bad}");
            assert!(keys[32..].iter().chain(&values[32..]).all(|x| x.is_nan()), "{dtype} {bad}");
        }
        let mut page = Page::filled(dtype, 64, 0x7777);
        page.store(oracle(dtype), &[1e-9; 64], &[-1e-9; 64], 7);
        let (keys, values) = page.read(dtype, 64, 7);
        assert!(keys.iter().chain(&values).all(|&x| x == 0.0), "{dtype}");
    }
}
