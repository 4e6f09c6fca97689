//! Models made to break a loader: files that are sound GGUF and whose model contradicts itself. Each is an error that
//! names the thing; the ids are those of the public record.

#[path = "common/tiny.rs"]
mod tiny;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oribi::backend::Storage;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::gguf::{Gguf, GgufBuilder};
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Session, SessionOptions, predict_memory};
use oribi::{Error, ErrorKind};
use tiny::{Shape, Tiny, tiny, write};

fn options() -> ModelOptions<'static> {
    ModelOptions { cpu: CpuOptions { n_threads: Some(2), ..Default::default() }, ..Default::default() }
}

fn shape() -> Shape {
    Shape { n_blocks: 1, dim: 64, head_dim: 32, ffn_dim: 64, ..Shape::new("llama", DType::Q8_0) }
}

fn load(tiny: Tiny) -> oribi::Result<Arc<Model>> {
    Model::load(Gguf::from_bytes(write(tiny)).unwrap(), options())
}

/// The error of a tiny model after a change to its parts; also the prediction of its memory must not panic.
fn error_of(change: impl FnOnce(&mut Tiny)) -> Error {
    error_in("llama", change)
}

fn error_in(arch: &'static str, change: impl FnOnce(&mut Tiny)) -> Error {
    let mut parts = tiny(Shape { arch, ..shape() });
    change(&mut parts);
    let gguf = Gguf::from_bytes(write(parts)).unwrap();
    let _ = predict_memory(&gguf, Storage::Packed, &SessionOptions::default(), 2);
    Model::load(gguf, options()).err().expect("the load must fail")
}

#[track_caller]
fn expect(error: &Error, kind: ErrorKind, names: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for name in names {
        assert!(error.to_string().contains(name), "{error:?} does not name {name}");
    }
}

fn set(key: &'static str, value: u32) -> impl FnOnce(&mut Tiny) {
    move |t| t.builder.set(&format!("llama.{key}"), value).unwrap()
}

#[test]
fn the_unchanged_model_loads_and_runs() {
    let model = load(tiny(shape())).unwrap();
    let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &[1, 5, 299])).unwrap();
    assert!(session.logits(0).unwrap().iter().all(|l| l.is_finite()));
}

#[test]
fn llama_cpp_25821_26051_block_count_out_of_range() {
    for n in [0, 513, 1 << 31, u32::MAX] {
        expect(&error_of(set("block_count", n)), ErrorKind::InvalidModel, &["llama.block_count", &n.to_string()]);
    }
    // In range, but the file has fewer blocks.
    expect(&error_of(set("block_count", 512)), ErrorKind::InvalidModel, &["blk.1.attn_norm.weight", "missing"]);
}

#[test]
fn cve_2024_8063_every_hyperparameter_zero_or_huge() {
    for key in [
        "block_count",
        "embedding_length",
        "feed_forward_length",
        "context_length",
        "attention.head_count",
        "attention.head_count_kv",
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
    ] {
        for n in [0, u32::MAX, 1 << 31] {
            expect(&error_of(set(key, n)), ErrorKind::InvalidModel, &[&format!("llama.{key}")]);
        }
    }
}

#[test]
fn cve_2024_8063_every_hyperparameter_of_another_type() {
    for key in ["block_count", "embedding_length", "attention.head_count", "attention.key_length"] {
        let wrong = |set: &dyn Fn(&mut GgufBuilder, &str)| {
            expect(&error_of(|t| set(&mut t.builder, &format!("llama.{key}"))), ErrorKind::WrongType, &[key]);
        };
        wrong(&|b, key| b.set(key, "64").unwrap());
        wrong(&|b, key| b.set(key, 1.5f32).unwrap());
        wrong(&|b, key| b.set(key, true).unwrap());
        wrong(&|b, key| b.set(key, -1i32).unwrap());
    }
    for key in ["attention.layer_norm_rms_epsilon", "rope.freq_base"] {
        let error = error_of(|t| t.builder.set(&format!("llama.{key}"), "1").unwrap());
        expect(&error, ErrorKind::WrongType, &[key]);
    }
}

#[test]
fn llama_cpp_26690_arrays_per_block() {
    let per_block = |values: Vec<u32>| move |t: &mut Tiny| t.builder.set("llama.attention.head_count", values).unwrap();
    assert!(
        load({
            let mut parts = tiny(shape());
            per_block(vec![4])(&mut parts);
            parts
        })
        .is_ok()
    );
    expect(&error_of(per_block(vec![])), ErrorKind::InvalidModel, &["head_count"]);
    expect(&error_of(per_block(vec![4, 4])), ErrorKind::InvalidModel, &["head_count", "2 values for 1 blocks"]);
    expect(&error_of(per_block(vec![0])), ErrorKind::InvalidModel, &["head_count"]);
}

#[test]
fn floats_out_of_range() {
    for value in [f32::NAN, f32::INFINITY, -1.0] {
        let error = error_of(|t| t.builder.set("llama.attention.layer_norm_rms_epsilon", value).unwrap());
        expect(&error, ErrorKind::InvalidModel, &["layer_norm_rms_epsilon"]);
        let error = error_of(|t| t.builder.set("llama.rope.freq_base", value).unwrap());
        expect(&error, ErrorKind::InvalidModel, &["rope.freq_base"]);
    }
}

#[test]
fn heads_that_do_not_divide() {
    expect(&error_of(set("attention.head_count_kv", 3)), ErrorKind::InvalidModel, &["4 query heads", "3 key heads"]);
    expect(&error_of(set("attention.key_length", 31)), ErrorKind::Unsupported, &["31"]);
    expect(&error_of(set("rope.dimension_count", 33)), ErrorKind::InvalidModel, &["33"]);
    expect(&error_of(set("rope.dimension_count", 64)), ErrorKind::InvalidModel, &["64"]);
}

#[test]
fn keys_that_are_missing() {
    for key in ["block_count", "embedding_length", "attention.head_count", "feed_forward_length"] {
        let error = error_of(|t| assert!(t.builder.remove(&format!("llama.{key}"))));
        expect(&error, ErrorKind::MissingKey, &[&format!("llama.{key}")]);
    }
    let error = error_of(|t| assert!(t.builder.remove("general.architecture")));
    expect(&error, ErrorKind::MissingKey, &["general.architecture"]);
}

#[test]
fn what_is_not_computed_is_refused_and_never_ignored() {
    let error = error_of(|t| t.builder.set("general.architecture", "falcon-mamba").unwrap());
    expect(&error, ErrorKind::Unsupported, &["falcon-mamba", "llama", "gemma3"]);
    expect(&error_of(set("expert_count", 8)), ErrorKind::Unsupported, &["llama.expert_count"]);
    let error = error_of(|t| t.builder.set("llama.rope.scaling.type", "yarn").unwrap());
    expect(&error, ErrorKind::Unsupported, &["rope.scaling.type", "yarn", "linear"]);
    let error = error_of(|t| t.tensors.push(("blk.0.ffn_gate_inp.weight".into(), DType::F32, vec![64, 8])));
    expect(&error, ErrorKind::Unsupported, &["blk.0.ffn_gate_inp.weight"]);
    let error = error_of(|t| t.tensors[2].1 = DType::I32);
    expect(&error, ErrorKind::Unsupported, &["blk.0.attn_q.weight", "I32"]);
}

#[test]
fn every_tensor_missing_or_of_another_shape() {
    // Of the two, qwen2 alone cannot be without biases.
    for arch in ["llama", "qwen2"] {
        let tensors = tiny(Shape { arch, ..shape() }).tensors;
        for (i, (name, ..)) in tensors.iter().enumerate() {
            expect(&error_in(arch, |t| _ = t.tensors.remove(i)), ErrorKind::InvalidModel, &[name, "missing"]);
            let changes = [
                |s: &mut Vec<u64>| s[0] += 32,
                |s: &mut Vec<u64>| s.push(2),
                |s: &mut Vec<u64>| *s.last_mut().unwrap() += 32,
            ];
            // More embeddings than tokens are padding, not a contradiction.
            let n_changes = if i == 0 { 2 } else { 3 };
            for change in &changes[..n_changes] {
                let error = error_in(arch, |t| change(&mut t.tensors[i].2));
                expect(&error, ErrorKind::InvalidModel, &[name, "shape"]);
            }
        }
    }
}

/// A corrupt output head is not "tied": only its absence is.
#[test]
fn an_output_head_of_another_shape_is_an_error() {
    let error = error_of(|t| t.tensors.push(("output.weight".into(), DType::Q8_0, vec![64, 299])));
    expect(&error, ErrorKind::InvalidModel, &["output.weight"]);
}

#[test]
fn ghsa_g4cc_763q_h9h6_a_vocabulary_larger_than_the_embeddings() {
    let error = error_of(|t| tiny::set_vocabulary(&mut t.builder, 301));
    expect(&error, ErrorKind::InvalidModel, &["301", "300", "token_embd.weight"]);
}

#[test]
fn rope_factors_that_divide_by_zero() {
    let mut parts = tiny(shape());
    parts.tensors.push(("rope_freqs.weight".into(), DType::F32, vec![16]));
    assert!(load(parts).is_ok());
    let error = error_of(|t| t.tensors.push(("rope_freqs.weight".into(), DType::F32, vec![15])));
    expect(&error, ErrorKind::InvalidModel, &["rope_freqs.weight"]);
}

#[test]
fn a_load_is_cancelled_by_its_progress() {
    for stop_after in [0, 1, 5] {
        let calls = AtomicUsize::new(0);
        let progress = |_: u64, _: u64| calls.fetch_add(1, Ordering::Relaxed) < stop_after;
        let gguf = Gguf::from_bytes(write(tiny(shape()))).unwrap();
        let result = Model::load(gguf, ModelOptions { progress: Some(&progress), ..options() });
        assert_eq!(result.err().unwrap().kind(), ErrorKind::Cancelled);
    }
}
