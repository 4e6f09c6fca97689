//! The cache store: float16 as the `half` crate rounds it, in the right slot, and nothing else touched.

use super::*;

const PAGE_LEN: usize = c::ORIBI_PAGE_LEN as usize;

fn kv_store(kernel: Kernel, key: &[f32], value: &[f32], slot: usize, keys: &mut [u16], values: &mut [u16]) {
    let args = c::oribi_kv_store_args {
        key: key.as_ptr(),
        value: value.as_ptr(),
        head_dim: key.len() as u32,
        slot: slot as u32,
        key_page: keys.as_mut_ptr(),
        value_page: values.as_mut_ptr(),
    };
    assert!(value.len() == key.len() && keys.len() == PAGE_LEN * key.len() && slot < PAGE_LEN);
    assert_eq!(values.len(), PAGE_LEN * key.len().next_multiple_of(16));
    // SAFETY: the pages have their full size, key and value head_dim elements.
    unsafe { kernel.run(&args) };
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

#[test]
fn every_kernel_rounds_to_nearest_even_into_its_slot_alone() {
    let mut random = Random(12);
    let scalar = KernelSet::new(Isa::Scalar).unwrap().cache(c::ORIBI_OP_KV_STORE, DType::F16).unwrap();
    for kernel in [vec![scalar], runnable(c::ORIBI_OP_KV_STORE)].concat() {
        for head_dim in [2, 6, 16, 18, 32, 64, 80, 96, 128, 256, 512] {
            let padded = head_dim + (16 - head_dim % 16) % 16;
            let mut keys = vec![0x5555; PAGE_LEN * head_dim];
            let mut values = vec![0x5555; PAGE_LEN * padded];
            let mut want_keys = keys.clone();
            let mut want_values = values.clone();
            for slot in [0, 1, 15, 16, 17, 37, 63, 0] {
                let key: Vec<f32> = (0..head_dim).map(|_| float(&mut random)).collect();
                let value: Vec<f32> = (0..head_dim).map(|_| float(&mut random)).collect();
                kv_store(kernel, &key, &value, slot, &mut keys, &mut values);
                want_values[slot * padded..][..padded].fill(0);
                for d in 0..head_dim {
                    want_keys[(slot / 16 * head_dim + d) * 16 + slot % 16] = half::f16::from_f32(key[d]).to_bits();
                    want_values[slot * padded + d] = half::f16::from_f32(value[d]).to_bits();
                }
                assert!(keys == want_keys, "{kernel:?} head_dim {head_dim} slot {slot}: keys");
                assert!(values == want_values, "{kernel:?} head_dim {head_dim} slot {slot}: values");
            }
        }
    }
}
