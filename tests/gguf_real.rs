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
