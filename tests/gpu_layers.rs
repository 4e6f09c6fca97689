//! Models whose blocks are divided between a GPU and the CPU: the same results, states and budgets as on either of them.

#![cfg(feature = "cuda-emulated")]

#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/tiny.rs"]
mod tiny;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpu::*;
use oribi::ErrorKind;
use oribi::backend::Storage;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{
    Batch, Control, KvType, Numerics, Role, SequenceId, Session, SessionOptions, predict_gpu_memory, predict_memory,
};

/// The model with so many of its blocks on the GPU.
fn divided(gguf: &Gguf, n_layers: usize) -> Arc<Model> {
    Model::load(gguf.clone(), ModelOptions { gpu_layers: Some(n_layers), ..options(GPU) }).unwrap()
}

#[test]
fn every_division_computes_what_the_cpu_computes() {
    for (arch, n_blocks) in [("llama", 2), ("qwen2", 2), ("gemma3", 6)] {
        let gguf = small(arch, n_blocks);
        let tokens = prompt(80);
        let cpu = load(&gguf, CPU);
        let expected = logits_of_all(&cpu, &tokens, &sized(Numerics::Portable));
        let continuation = |model: &Arc<Model>| {
            let mut session = session(model, Numerics::Portable);
            let sequence = session.new_sequence().unwrap();
            session.decode(&Batch::prompt(sequence, &tokens[..20])).unwrap();
            greedy(&mut session, sequence, 12)
        };
        let on_cpu = continuation(&cpu);
        for n in 0..=n_blocks + 1 {
            let model = divided(&gguf, n);
            assert_eq!(model.gpu_layers(), (n < n_blocks).then_some(n));
            let (kld, distance) = compare(&expected, &logits_of_all(&model, &tokens, &sized(Numerics::Portable)));
            println!("{arch}, {n} blocks: {kld:.1e} nats, {distance:.1e}");
            assert!(kld <= PORTABLE, "{arch}, {n} blocks: {kld:e} nats");
            assert_eq!(continuation(&model), on_cpu, "{arch}, {n} blocks");
            let (kld, _) = compare(&expected[..20], &logits_of_all(&model, &tokens[..20], &sized(Numerics::Native)));
            assert!(kld <= NATIVE, "{arch}, {n} blocks, native: {kld:e} nats");
        }
    }
}

#[test]
fn logits_do_not_depend_on_the_batch() {
    let model = divided(&small("gemma3", 6), 2);
    for numerics in [Numerics::Portable, Numerics::Native] {
        let tokens = prompt(36);
        let alone = logits_of_all(&model, &tokens, &SessionOptions { n_batch: 512, ..sized(numerics) });
        for n_batch in [1, 7] {
            let chunked = logits_of_all(&model, &tokens, &SessionOptions { n_batch, ..sized(numerics) });
            assert!(chunked.iter().zip(&alone).all(|(a, b)| bits(a) == bits(b)), "{numerics:?}, chunks of {n_batch}");
        }
        let generated = |together: bool| {
            let mut session = session(&model, numerics);
            let sequences: Vec<SequenceId> = (0..5).map(|_| session.new_sequence().unwrap()).collect();
            for (i, &sequence) in sequences.iter().enumerate() {
                session.decode(&Batch::prompt(sequence, &tokens[..3 + 2 * i])).unwrap();
            }
            let mut logits = Vec::new();
            for group in sequences.chunks(if together { 5 } else { 1 }) {
                let mut batch = Batch::new();
                group.iter().for_each(|&sequence| batch.push(sequence, 77, Role::Generated, true));
                session.decode(&batch).unwrap();
                logits.extend((0..group.len()).map(|i| bits(session.logits(i).unwrap())));
            }
            logits
        };
        assert!(generated(true) == generated(false), "{numerics:?}: a sequence alone and among others");
    }
}

/// A page of a divided model is that of an undivided one: states go from each to each.
#[test]
fn states_move_between_divisions() {
    let gguf = small("gemma3", 6);
    let tokens = prompt(110);
    for kv_type in KvType::ALL {
        let options = SessionOptions { kv_type, ..sized(Numerics::Portable) };
        let models = [load(&gguf, CPU), load(&gguf, GPU), divided(&gguf, 0), divided(&gguf, 2), divided(&gguf, 5)];
        for from in &models {
            let mut first = Session::new(from, &options).unwrap();
            let sequence = first.new_sequence().unwrap();
            first.decode(&Batch::prompt(sequence, &tokens[..70])).unwrap();
            let fork = first.fork(sequence).unwrap();
            first.decode(&Batch::prompt(fork, &tokens[70..100])).unwrap();
            let state = first.save_to_vec(&[sequence, fork]).unwrap();
            first.decode(&Batch::prompt(fork, &tokens[100..])).unwrap();
            let expected = first.logits(0).unwrap().to_vec();
            for to in &models {
                let mut second = Session::new(to, &options).unwrap();
                let restored = second.restore(&state).unwrap();
                assert!(
                    second.save_to_vec(&restored).unwrap() == state,
                    "{kv_type}: {} to {}",
                    from.place(),
                    to.place()
                );
                second.decode(&Batch::prompt(restored[1], &tokens[100..])).unwrap();
                let got = second.logits(0).unwrap().to_vec();
                let (kld, _) = compare(std::slice::from_ref(&expected), &[got]);
                let most = if kv_type == KvType::F16 { PORTABLE } else { NATIVE };
                assert!(kld <= most, "{kv_type}, {} to {}: {kld:e}", from.place(), to.place());
            }
        }
    }
}

#[test]
fn hidden_states_observed_inputs_and_requests_to_stop() {
    let gguf = small("llama", 2);
    let tokens = prompt(70);
    let model = divided(&gguf, 1);
    same_hidden_states_and_inputs(&model, &load(&gguf, CPU), &tokens);

    let mut session = session(&model, Numerics::Native);
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &tokens[..10])).unwrap();
    let before = bits(session.logits(0).unwrap());
    for n_looks in 0..6 {
        let looks = AtomicUsize::new(0);
        let stop = || looks.fetch_add(1, Ordering::Relaxed) >= n_looks;
        let control = Control { stop: Some(&stop), progress: None };
        let result = session.decode_with(&Batch::prompt(sequence, &tokens), control);
        // Each machine asks once for its block at least; how often more depends on who computes what.
        match result {
            Err(error) => assert_eq!(error.kind(), ErrorKind::Cancelled),
            Ok(()) => assert!(n_looks >= 2, "nobody asked after {n_looks}"),
        }
        session.truncate(sequence, 10).unwrap();
    }
    session.truncate(sequence, 0).unwrap();
    session.decode(&Batch::prompt(sequence, &tokens[..10])).unwrap();
    assert!(bits(session.logits(0).unwrap()) == before);
}

/// Every weight is on one machine, and the prediction says how much on which.
#[test]
fn memory_is_predicted_for_both_machines() {
    let gguf = small("gemma3", 6);
    let options = SessionOptions { n_ctx: 100, ..Default::default() };
    let predict = |n| predict_gpu_memory(&gguf, Storage::Packed, &options, 1, n).unwrap();
    let (all, cpu) = (predict(None), predict_memory(&gguf, Storage::Packed, &options, 1).unwrap());
    assert_eq!(predict(Some(6)), all);
    assert_eq!(predict(Some(99)), all);
    for n in 0..6 {
        let (fewer, more) = (predict(Some(n)), predict(Some(n + 1)));
        assert!(fewer.gpu.weights < more.gpu.weights && fewer.host.weights > more.host.weights, "{n} blocks");
        assert_eq!(fewer.gpu.kv_cache + fewer.host.kv_cache, cpu.kv_cache, "{n} blocks");
        assert!(fewer.host.total >= all.host.total && fewer.gpu.total <= all.gpu.total, "{n} blocks");
    }
}

#[test]
fn a_model_on_the_cpu_takes_no_number_of_blocks() {
    let options = ModelOptions { gpu_layers: Some(1), ..options(CPU) };
    let error = Model::load(small("llama", 2), options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn the_program_divides_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let model = stored(folder.path());
    let gguf = Gguf::open(std::path::Path::new(&model)).unwrap();
    let run = ["run", &model, "-p", "w7 w8", "-n", "9", "--temp", "0", "--ctx", "100", "-v", "--numerics", "portable"];
    let on = |arguments: &[&str], environment: &[(&str, &str)]| oribi(&[&run[..], arguments].concat(), environment);
    let (divided, cpu) = (on(&["--device", "cuda", "--gpu-layers", "1"], &[]), on(&[], &[]));
    assert!(divided.status.success(), "{}", text(&divided.stderr));
    assert_eq!(text(&divided.stdout), text(&cpu.stdout));
    let said = text(&divided.stderr);
    assert!(said.contains("device: cuda:0 (") && said.contains("with 1 of 2 blocks, the others on the CPU"), "{said}");

    let refused = on(&["--gpu-layers", "1"], &[]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("--device cuda"), "{refused:?}");

    let inspected = |arguments: &[&str]| {
        let output = oribi(&[&["inspect", &model, "--device", "cuda", "--json"][..], arguments].concat(), &[]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["memory"]["total"].as_u64().unwrap()
    };
    assert!(inspected(&["--gpu-layers", "1"]) < inspected(&[]));

    let bench = ["bench", &model, "-p", "8", "-n", "4", "-r", "1", "--device", "cuda", "--gpu-layers", "0,2", "--json"];
    let output = oribi(&bench, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let devices: Vec<&str> = rows.as_array().unwrap().iter().map(|row| row["device"].as_str().unwrap()).collect();
    assert_eq!(devices, ["cuda:0 (0 of 2 blocks)", "cuda:0 (0 of 2 blocks)", "cuda:0", "cuda:0"]);

    if !is_emulated() {
        return;
    }
    // A GPU that one block fits in, and two do not.
    let options = SessionOptions { n_ctx: 100, numerics: Numerics::Portable, ..Default::default() };
    let needed = predict_gpu_memory(&gguf, Storage::Packed, &options, 1, Some(1)).unwrap().gpu.total.to_string();
    let memory = [("ORIBI_CUDA_EMULATED_MEMORY", needed.as_str())];
    let whole = on(&["--device", "cuda"], &memory);
    assert!(!whole.status.success() && text(&whole.stderr).contains("--gpu-layers"), "{whole:?}");
    let divided = on(&["--device", "cuda", "--gpu-layers", "1"], &memory);
    assert!(divided.status.success(), "{}", text(&divided.stderr));
}

/// What `auto` stands for where there is no GPU has no blocks elsewhere.
#[test]
fn auto_without_a_gpu_is_the_cpu_whatever_the_number() {
    let folder = tempfile::tempdir().unwrap();
    let model = stored(folder.path());
    let run =
        ["run", &model, "-p", "w7", "-n", "3", "--temp", "0", "--ctx", "100", "--device", "auto", "--gpu-layers", "1"];
    let output = oribi(&run, &[("ORIBI_CUDA_DRIVER", "nvidia")]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}
