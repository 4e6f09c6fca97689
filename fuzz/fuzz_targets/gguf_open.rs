//! Any bytes as a GGUF file: opened, then every key read as every type and every tensor looked at. What opens is written
//! again and must read the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use oribi::gguf::{Gguf, GgufBuilder, Metadata};
use std::hint::black_box;

fuzz_target!(|bytes: &[u8]| {
    let Ok(gguf) = Gguf::from_bytes(bytes) else { return };
    for (key, value) in gguf.metadata().iter() {
        black_box(value.to_string());
        read_every_way(gguf.metadata(), key);
    }
    for tensor in gguf.tensors() {
        let data = gguf.tensor_data(tensor).expect("a tensor of an open file has its data");
        assert_eq!(data.len() as u64, tensor.n_bytes());
        black_box(data.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)));
        assert_eq!(gguf.tensor(&tensor.name), Some(tensor));
    }
    if let Some(copy) = written_again(&gguf) {
        let copy = Gguf::from_bytes(copy).expect("a file that was written opens");
        assert_eq!(copy.metadata().len(), gguf.metadata().len());
        for (tensor, original) in copy.tensors().iter().zip(gguf.tensors()) {
            assert_eq!(tensor.name, original.name);
            assert!(copy.tensor_data(tensor).ok() == gguf.tensor_data(original).ok(), "{}", tensor.name);
        }
    }
});

fn read_every_way(metadata: &Metadata, key: &str) {
    macro_rules! read {
        ($($name:ident)*) => { $( let _ = black_box(metadata.$name(key)); )* };
    }
    read!(u32 i32 u64 i64 f32 f64 bool str u32s i32s u64s i64s f32s f64s bools strings byte_strings array);
}

/// The same file by the writer; `None` where the writer is stricter than the reader (names over 63 bytes).
fn written_again(gguf: &Gguf) -> Option<Vec<u8>> {
    let mut builder = GgufBuilder::new();
    builder.set_all(gguf.metadata()).expect("what was read can be written");
    for tensor in gguf.tensors() {
        builder.add_tensor(&tensor.name, tensor.dtype, &tensor.shape).ok()?;
    }
    let mut writer = builder.write_to(Vec::new()).expect("memory takes every byte");
    for tensor in gguf.tensors() {
        let data = gguf.tensor_data(tensor).expect("a tensor of an open file has its data");
        writer.write_tensor(&tensor.name, data).expect("memory takes every byte");
    }
    writer.finish().ok()
}
