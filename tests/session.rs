//! Sessions on tiny models: every weight format and architecture, limits, errors that change nothing, cancel.

#[path = "common/tiny.rs"]
mod tiny;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::backend::cpu::kernels::Isa;
use oribi::backend::{Device, Storage};
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Control, KvType, Numerics, Role, Session, SessionOptions, predict_memory};
use tiny::{FORMATS, Shape, tiny, write};

fn options(n_threads: usize, isa: Option<Isa>) -> ModelOptions<'static> {
    let cpu = CpuOptions { n_threads: Some(n_threads), isa, ..Default::default() };
    ModelOptions { cpu, ..Default::default() }
}

fn load(shape: Shape, n_threads: usize, isa: Option<Isa>) -> Arc<Model> {
    Model::load(Gguf::from_bytes(write(tiny(shape))).unwrap(), options(n_threads, isa)).unwrap()
}

fn session(model: &Arc<Model>, options: SessionOptions) -> Session {
    Session::new(model, &SessionOptions { n_ctx: 100, ..options }).unwrap()
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + 11) % 300).collect()
}

fn logits_of(model: &Arc<Model>, ids: &[u32], n_batch: usize) -> Vec<u32> {
    let mut session = session(model, SessionOptions { n_batch, numerics: Numerics::Portable, ..Default::default() });
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, ids)).unwrap();
    let logits = session.logits(0).unwrap();
    assert!(logits.iter().all(|l| l.is_finite()), "a logit is not finite");
    assert!(logits.iter().any(|l| l.abs() > 1e-3), "all logits are zero");
    logits.iter().map(|l| l.to_bits()).collect()
}

#[test]
fn every_format_and_architecture_gives_the_same_bits_on_every_instruction_set() {
    let ids = prompt(70);
    // Six blocks of gemma3 are one period of its windows.
    for (arch, n_blocks, formats) in [
        ("llama", 1, FORMATS),
        ("qwen2", 1, &[DType::F16, DType::Q4_K]),
        ("gemma3", 6, &[DType::F16, DType::Q5_0, DType::Q4_K]),
    ] {
        for &dtype in formats {
            let shape = Shape { n_blocks, ..Shape::new(arch, dtype) };
            let expected = logits_of(&load(shape, 2, Some(Isa::Scalar)), &ids, 512);
            for &isa in Isa::ALL.iter().filter(|&&isa| isa > Isa::Scalar) {
                if !isa.is_available() {
                    println!("not run: this CPU has no {isa}");
                    continue;
                }
                let model = load(shape, 2, Some(isa));
                assert!(logits_of(&model, &ids, 512) == expected, "{arch} {dtype} {isa}");
                assert!(logits_of(&model, &ids, 3) == expected, "{arch} {dtype} {isa}, chunks of 3");
            }
        }
    }
}

/// Keys and values in fewer bits: the same bits on every instruction set, chunking and fork, and the predicted memory.
#[test]
fn every_type_of_keys_and_values_gives_the_same_bits_on_every_instruction_set() {
    let ids = prompt(70);
    let mut logits = Vec::new();
    let mut bytes = Vec::new();
    for kv_type in KvType::ALL {
        // Heads of 80 end in half a group.
        let shape = Shape { head_dim: 80, n_blocks: 2, ..Shape::new("llama", DType::F16) };
        let run = |isa, n_batch| {
            let model = load(shape, 2, isa);
            let options =
                SessionOptions { n_batch, n_sequences: 2, kv_type, numerics: Numerics::Portable, ..Default::default() };
            let mut session = session(&model, options);
            let trunk = session.new_sequence().unwrap();
            session.decode(&Batch::prompt(trunk, &ids[..67])).unwrap();
            let fork = session.fork(trunk).unwrap();
            session.decode(&Batch::prompt(trunk, &ids[60..])).unwrap();
            session.decode(&Batch::prompt(fork, &ids[67..])).unwrap();
            let logits: Vec<u32> = session.logits(0).unwrap().iter().map(|l| l.to_bits()).collect();
            (logits, session.kv_bytes())
        };
        let expected = run(Some(Isa::Scalar), 512);
        for &isa in Isa::ALL.iter().filter(|isa| isa.is_available()) {
            assert!(run(Some(isa), 512) == expected, "{kv_type} {isa}");
            assert!(run(Some(isa), 3) == expected, "{kv_type} {isa}, chunks of 3");
        }
        let gguf = Gguf::from_bytes(write(tiny(shape))).unwrap();
        let options = SessionOptions { n_ctx: 192, kv_type, ..Default::default() };
        let predicted = predict_memory(&gguf, Storage::Packed, &options, 2).unwrap().kv_cache;
        assert_eq!(predicted, expected.1, "{kv_type}: three pages");
        logits.push(expected.0);
        bytes.push(predicted);
    }
    assert!(logits[0] != logits[1] && logits[1] != logits[2] && logits[0] != logits[2]);
    assert!(bytes[1] * 10 < bytes[0] * 6 && bytes[2] * 10 < bytes[0] * 4, "{bytes:?}");
}

/// Weights that stay in the file are packed panel by panel, to the same bytes.
#[test]
fn weights_left_in_the_file_give_the_same_bits() {
    let ids = prompt(70);
    for (arch, formats) in [("llama", FORMATS), ("qwen2", &[DType::Q4_K]), ("gemma3", &[DType::Q4_K])] {
        for &dtype in formats {
            let shape = Shape { n_blocks: 2, ..Shape::new(arch, dtype) };
            let expected = logits_of(&load(shape, 2, None), &ids, 512);
            let options = ModelOptions { storage: Storage::InFile, ..options(2, None) };
            let gguf = Gguf::from_bytes(write(tiny(shape))).unwrap();
            let sizes = [Storage::Packed, Storage::InFile]
                .map(|storage| predict_memory(&gguf, storage, &SessionOptions::default(), 2).unwrap().weights);
            assert!(sizes[1] < sizes[0], "{dtype}: {sizes:?}");
            assert!(logits_of(&Model::load(gguf, options).unwrap(), &ids, 33) == expected, "{arch} {dtype}");
        }
    }
}

/// Rows of outputs that fill no panel, heads of odd lengths.
#[test]
fn sizes_that_fill_no_panel_give_the_same_bits() {
    let ids = prompt(70);
    for head_dim in [2, 18, 80, 100] {
        let shape =
            Shape { dim: 96, head_dim, ffn_dim: 40, n_vocab: 307, n_blocks: 3, ..Shape::new("llama", DType::F16) };
        let expected = logits_of(&load(shape, 1, Some(Isa::Scalar)), &ids, 512);
        for n_threads in [1, 3] {
            assert!(logits_of(&load(shape, n_threads, None), &ids, 20) == expected, "heads of {head_dim}");
        }
    }
}

#[test]
fn a_full_context_is_an_error_and_changes_nothing() {
    let model = load(Shape::new("llama", DType::Q4_0), 2, None);
    let ids = prompt(101);
    let mut s = session(&model, SessionOptions { n_batch: 16, ..Default::default() });
    let sequence = s.new_sequence().unwrap();
    let error = s.decode(&Batch::prompt(sequence, &ids)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextFull, "{error}");
    assert_eq!(s.len(sequence).unwrap(), 0);
    s.decode(&Batch::prompt(sequence, &ids[..100])).unwrap();
    let last: Vec<u32> = s.logits(0).unwrap().iter().map(|l| l.to_bits()).collect();
    assert_eq!(s.decode(&Batch::prompt(sequence, &ids[100..])).unwrap_err().kind(), ErrorKind::ContextFull);
    assert_eq!(s.len(sequence).unwrap(), 100);
    assert!(s.logits(0).is_none());
    s.truncate(sequence, 99).unwrap();
    s.decode(&Batch::prompt(sequence, &ids[99..100])).unwrap();
    assert!(s.logits(0).unwrap().iter().map(|l| l.to_bits()).eq(last));
}

#[test]
fn bad_batches_are_errors_that_name_the_thing() {
    let model = load(Shape::new("llama", DType::Q4_0), 1, None);
    let mut s = session(&model, SessionOptions { n_sequences: 2, ..Default::default() });
    let (a, b) = (s.new_sequence().unwrap(), s.new_sequence().unwrap());
    assert_eq!(s.new_sequence().unwrap_err().kind(), ErrorKind::InvalidState);
    assert_eq!(s.fork(a).unwrap_err().kind(), ErrorKind::InvalidState);
    for token in [300, u32::MAX] {
        let error = s.decode(&Batch::prompt(a, &[token])).unwrap_err();
        assert!(
            error.kind() == ErrorKind::InvalidArgument && error.to_string().contains(&token.to_string()),
            "{error}"
        );
    }
    let mut greedy = Batch::new();
    (0..3).for_each(|i| greedy.push(a, i, Role::Generated, true));
    assert_eq!(s.decode(&greedy).unwrap_err().kind(), ErrorKind::InvalidArgument);
    s.remove(b).unwrap();
    assert_eq!(s.decode(&Batch::prompt(b, &[1])).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(s.truncate(a, 1).unwrap_err().kind(), ErrorKind::InvalidArgument);
    s.decode(&Batch::new()).unwrap();
    assert!(s.logits(0).is_none());
}

#[test]
fn blocks_for_a_gpu_are_refused_on_the_cpu_and_mean_nothing_where_auto_finds_none() {
    if Device::Auto.resolved() != Device::Cpu {
        return println!("not run: this machine has a GPU");
    }
    let gguf = Gguf::from_bytes(write(tiny(Shape::new("llama", DType::Q4_0)))).unwrap();
    let load = |device| {
        let options = ModelOptions { device, gpu_layers: Some(1), ..options(1, None) };
        Model::load(gguf.clone(), options)
    };
    assert_eq!(load(Device::Auto).unwrap().gpu_layers(), None);
    assert_eq!(load(Device::Cpu).err().unwrap().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn options_out_of_range_are_refused() {
    let model = load(Shape::new("llama", DType::Q4_0), 1, None);
    for options in [
        SessionOptions { n_batch: 0, ..Default::default() },
        SessionOptions { n_batch: usize::MAX, ..Default::default() },
        SessionOptions { n_sequences: 0, ..Default::default() },
        SessionOptions { n_ctx: usize::MAX, ..Default::default() },
        SessionOptions { max_outputs: usize::MAX, ..Default::default() },
    ] {
        assert_eq!(Session::new(&model, &options).err().unwrap().kind(), ErrorKind::InvalidArgument, "{options:?}");
    }
}

/// A stop at any moment leaves the sequence as it was, and the same batch then gives the same bits.
#[test]
fn a_cancelled_batch_leaves_no_trace() {
    let model = load(Shape::new("llama", DType::Q4_0), 2, None);
    let ids = prompt(90);
    let expected = logits_of(&model, &ids, 16);
    let mut s = session(&model, SessionOptions { n_batch: 16, numerics: Numerics::Portable, ..Default::default() });
    let sequence = s.new_sequence().unwrap();
    s.decode(&Batch::prompt(sequence, &ids[..10])).unwrap();
    for stop_after in [0, 1, 5, 20, 29] {
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= stop_after;
        let control = Control { stop: Some(&stop), progress: None };
        let error = s.decode_with(&Batch::prompt(sequence, &ids[10..]), control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(s.len(sequence).unwrap(), 10);
    }
    let mut seen = Vec::new();
    let mut progress = |done, total| seen.push((done, total));
    let control = Control { stop: None, progress: Some(&mut progress) };
    s.decode_with(&Batch::prompt(sequence, &ids[10..]), control).unwrap();
    assert!(s.logits(0).unwrap().iter().map(|l| l.to_bits()).eq(expected));
    assert_eq!(seen, [(16, 80), (32, 80), (48, 80), (64, 80), (80, 80)]);
}

/// Sequences come and go for a long time in the memory of the most that existed at once.
#[test]
fn pages_are_used_again() {
    let model = load(Shape { n_blocks: 1, ..Shape::new("llama", DType::Q4_0) }, 1, None);
    let mut s = session(&model, SessionOptions { n_sequences: 3, ..Default::default() });
    let predicted = predict_memory(model.gguf(), Storage::Packed, s.options(), 1).unwrap().kv_cache;
    for round in 0..50 {
        let a = s.new_sequence().unwrap();
        s.decode(&Batch::prompt(a, &prompt(65 + round % 30))).unwrap();
        let b = s.fork(a).unwrap();
        let c = s.fork(b).unwrap();
        for sequence in [a, b, c] {
            s.decode(&Batch::prompt(sequence, &prompt(3))).unwrap();
        }
        for sequence in [b, a, c] {
            s.remove(sequence).unwrap();
        }
        assert!(s.kv_bytes() <= predicted, "round {round}");
    }
}
