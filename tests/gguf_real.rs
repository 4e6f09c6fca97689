//! The reader on real models.

mod common;

use oribi::dtype::DType;
use oribi::gguf::{Gguf, ValueType};
use std::collections::BTreeMap;
use std::time::Instant;

/// Number of tensors per format.
fn formats(gguf: &Gguf) -> BTreeMap<DType, usize> {
    let mut counts = BTreeMap::new();
    for tensor in gguf.tensors() {
        *counts.entry(tensor.dtype).or_default() += 1;
    }
    counts
}

#[test]
fn smollm2_opens_with_all_its_tensors() {
    let gguf = Gguf::open(&common::model("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    assert_eq!(gguf.tensors().len(), 272);
    println!("{:?}", formats(&gguf));
    let meta = gguf.metadata();
    assert_eq!(meta.str("general.architecture").unwrap(), "llama");
    assert_eq!(meta.u32("llama.block_count").unwrap(), 30);
    assert_eq!(meta.strings("tokenizer.ggml.tokens").unwrap().len(), 49152);
    let embd = gguf.tensor("token_embd.weight").unwrap();
    assert_eq!(embd.shape, [576, 49152]);
    assert_eq!(gguf.tensor_data(embd).unwrap().len() as u64, embd.n_bytes());
}

#[test]
fn gemma_opens_in_milliseconds_in_spite_of_its_vocabulary() {
    let path = common::model("gemma-3-270m-q4_k_m.gguf");
    let mut best = f64::INFINITY;
    for _ in 0..5 {
        let start = Instant::now();
        let gguf = Gguf::open(&path).unwrap();
        best = best.min(start.elapsed().as_secs_f64());
        assert_eq!(gguf.tensors().len(), 236);
    }
    println!("opened in {:.2} ms", best * 1e3);
    let gguf = Gguf::open(&path).unwrap();
    println!("{:?}", formats(&gguf));
    let tokens = gguf.metadata().array("tokenizer.ggml.tokens").unwrap();
    assert_eq!((tokens.element_type(), tokens.len()), (ValueType::Str, 262_144));
    assert_eq!(tokens.byte_strings().count(), 262_144);
    assert_eq!(gguf.metadata().f32s("tokenizer.ggml.scores").unwrap().len(), 262_144);
    // Generous, so that a busy machine does not fail it: copying every token takes longer than this.
    assert!(best < 0.1, "opening took {best} s");
}

#[test]
fn every_tensor_of_the_real_models_reads_the_same_after_release() {
    for name in ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"] {
        let gguf = Gguf::open(&common::model(name)).unwrap();
        for tensor in gguf.tensors().iter().step_by(17) {
            let before = gguf.tensor_data(tensor).unwrap().to_vec();
            gguf.release(tensor);
            gguf.will_need(tensor);
            assert!(gguf.tensor_data(tensor).unwrap() == before, "{name}: {}", tensor.name);
        }
    }
}

/// Kilobytes of the mapping around an address that are resident in this process.
#[cfg(target_os = "linux")]
fn resident_kb(address: usize) -> usize {
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut here = false;
    for line in maps.lines() {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        if let Some((start, end)) = range {
            let parse = |hex: &str| usize::from_str_radix(hex, 16).ok();
            if let (Some(start), Some(end)) = (parse(start), parse(end)) {
                here = (start..end).contains(&address);
            }
        } else if here && line.starts_with("Rss:") {
            return line.split_whitespace().nth(1).unwrap().parse().unwrap();
        }
    }
    panic!("no mapping at {address:#x}");
}

/// Opening touches the header alone, and what a tensor's reader touched goes back on release.
#[cfg(target_os = "linux")]
#[test]
fn pages_come_with_use_and_go_with_release() {
    let gguf = Gguf::open(&common::model("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    let tensor = gguf.tensor("token_embd.weight").unwrap();
    let data = gguf.tensor_data(tensor).unwrap();
    let address = data.as_ptr() as usize;
    let kb = data.len() / 1024;
    let opened = resident_kb(address);
    // The header of 2 MB, and what the system reads around a touched page.
    assert!(opened < 8 * 1024, "{opened} kB after opening");
    assert_ne!(data.iter().fold(0u64, |sum, &byte| sum + u64::from(byte)), 0);
    let read = resident_kb(address);
    assert!(read > kb, "{read} kB of {kb} after reading");
    gguf.release(tensor);
    let released = resident_kb(address);
    assert!(released + kb < read + 256, "{released} kB after release, {read} before, the tensor has {kb}");
}
