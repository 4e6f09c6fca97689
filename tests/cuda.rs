//! The CUDA backend beside the CPU, on tiny models: the kernels' own source, compiled for the CPU and run through the whole backend
//! (feature `cuda-emulated`). With `ORIBI_CUDA_DRIVER=nvidia` the same tests run on a GPU: `make test-cuda`.

#![cfg(feature = "cuda-emulated")]

#[path = "common/gpu.rs"]
mod gpu;
#[path = "common/tiny.rs"]
mod tiny;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use gpu::*;
use oribi::ErrorKind;
use oribi::backend::{Device, Storage};
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{
    Batch, Control, KvType, Logits, Numerics, Role, SequenceId, Session, SessionOptions, TopLogits, check_gpu_memory,
    predict_gpu_memory,
};
use tiny::{FORMATS, Shape};

#[test]
fn every_format_computes_what_the_cpu_computes() {
    let tokens = prompt(11);
    for &dtype in FORMATS {
        let gguf = file(Shape { n_blocks: 1, ..Shape::new("llama", dtype) });
        let (cpu, gpu) = (load(&gguf, CPU), load(&gguf, GPU));
        let expected = logits_of_all(&cpu, &tokens, &sized(Numerics::Portable));
        let (kld, distance) = compare(&expected, &logits_of_all(&gpu, &tokens, &sized(Numerics::Portable)));
        println!("{dtype}: portable {kld:.1e} nats, {distance:.1e}");
        assert!(kld <= PORTABLE && distance < 1e-3, "{dtype}: {kld:e} nats, {distance:e}");
        let (kld, distance) = compare(&expected, &logits_of_all(&gpu, &tokens, &sized(Numerics::Native)));
        println!("{dtype}: native {kld:.1e} nats, {distance:.1e}");
        assert!(kld <= NATIVE && distance < 0.02, "{dtype}, native: {kld:e} nats, {distance:e}");
    }
}

/// Windows, biases, norms of heads, pages and splits: longer texts, on models with short rows.
#[test]
fn every_architecture_computes_what_the_cpu_computes() {
    for (arch, n_blocks, n) in [("llama", 1, 300), ("qwen2", 2, 80), ("gemma3", 6, 90)] {
        let gguf = small(arch, n_blocks);
        let (cpu, gpu) = (load(&gguf, CPU), load(&gguf, GPU));
        for kv_type in KvType::ALL {
            let options = SessionOptions { kv_type, ..sized(Numerics::Portable) };
            let tokens = prompt(n);
            let expected = logits_of_all(&cpu, &tokens, &options);
            let (kld, distance) = compare(&expected, &logits_of_all(&gpu, &tokens, &options));
            println!("{arch}, {kv_type}: {kld:.1e} nats, {distance:.1e}");
            // A rounding to 4 or 8 bits may fall to the other side, and is seen.
            let most = if kv_type == KvType::F16 { PORTABLE } else { NATIVE };
            assert!(kld <= most, "{arch}, {kv_type}: {kld:e} nats, {distance:e}");
        }
    }
}

#[test]
fn greedy_continuations_are_those_of_the_cpu() {
    for (arch, n_blocks) in [("llama", 2), ("qwen2", 2), ("gemma3", 6)] {
        let gguf = small(arch, n_blocks);
        let run = |device, numerics| {
            let mut session = session(&load(&gguf, device), numerics);
            let sequence = session.new_sequence().unwrap();
            session.decode(&Batch::prompt(sequence, &prompt(20))).unwrap();
            greedy(&mut session, sequence, 24)
        };
        assert_eq!(run(CPU, Numerics::Portable), run(GPU, Numerics::Portable), "{arch}");
        let native = run(GPU, Numerics::Native);
        assert_eq!(native, run(GPU, Numerics::Native), "{arch}: the same twice");
    }
}

/// What a token gets depends on its sequence alone: bits of a prompt in chunks, and of tokens alone and among others.
#[test]
fn logits_do_not_depend_on_the_batch() {
    let model = load(&small("gemma3", 6), GPU);
    for numerics in [Numerics::Portable, Numerics::Native] {
        let tokens = prompt(36);
        let alone = logits_of_all(&model, &tokens, &SessionOptions { n_batch: 512, ..sized(numerics) });
        for n_batch in [1, 7, 32] {
            let chunked = logits_of_all(&model, &tokens, &SessionOptions { n_batch, ..sized(numerics) });
            assert!(chunked.iter().zip(&alone).all(|(a, b)| bits(a) == bits(b)), "{numerics:?}, chunks of {n_batch}");
        }
        // Generated tokens: one sequence alone, then sixteen together that are at different lengths.
        let lengths: Vec<usize> = (0..16).map(|i| 3 + 2 * i).collect();
        let generated = |together: bool| {
            let mut session = session(&model, numerics);
            let sequences: Vec<SequenceId> = lengths.iter().map(|_| session.new_sequence().unwrap()).collect();
            for (&sequence, &n) in sequences.iter().zip(&lengths) {
                session.decode(&Batch::prompt(sequence, &tokens[..n])).unwrap();
            }
            let mut logits = Vec::new();
            if together {
                let mut batch = Batch::new();
                sequences.iter().for_each(|&sequence| batch.push(sequence, 77, Role::Generated, true));
                session.decode(&batch).unwrap();
                logits.extend((0..sequences.len()).map(|i| bits(session.logits(i).unwrap())));
            } else {
                for &sequence in &sequences {
                    session.decode(&Batch::generated(sequence, 77)).unwrap();
                    logits.push(bits(session.logits(0).unwrap()));
                }
            }
            logits
        };
        assert!(generated(true) == generated(false), "{numerics:?}: a sequence alone and among others");
    }
}

/// Of many outputs the largest logits, found on the GPU, are those of all logits, which are there when they are asked for.
#[test]
fn the_largest_logits_are_found_on_the_gpu() {
    let gguf = small("gemma3", 6);
    let model = load(&gguf, GPU);
    let n_vocab = model.hparams().n_vocab;
    let mut session = session(&model, Numerics::Native);
    let sequence = session.new_sequence().unwrap();
    let mut batch = Batch::new();
    prompt(11).into_iter().for_each(|token| batch.push(sequence, token, Role::Prompt, token % 3 != 0));
    session.decode(&batch).unwrap();
    let n_outputs = session.n_outputs();
    let all: Vec<Vec<f32>> = (0..n_outputs).map(|i| session.logits(i).unwrap().to_vec()).collect();
    assert!(n_outputs > 5 && session.output(0) == Some(Logits::All(&all[0])));
    for (n, n_vocab) in [(1, n_vocab), (40, n_vocab - 3), (n_vocab, n_vocab), (7, 7)] {
        session.truncate(sequence, 0).unwrap();
        batch.only_top(TopLogits { n, n_vocab });
        session.decode(&batch).unwrap();
        for (i, logits) in all.iter().enumerate() {
            let Some(Logits::Top(top)) = session.output(i) else { panic!("output {i} has all logits") };
            let mut top: Vec<(u32, u32)> = top.iter().map(|logit| (logit.place, logit.value.to_bits())).collect();
            let mut expected: Vec<u32> = (0..n_vocab as u32).collect();
            expected.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]).then(a.cmp(&b)));
            expected.truncate(n);
            expected.sort_unstable();
            top.sort_unstable();
            let expected: Vec<_> =
                expected.into_iter().map(|token| (token, logits[token as usize].to_bits())).collect();
            assert_eq!(top, expected, "output {i}, {n} of {n_vocab}");
        }
        assert_eq!(session.output(n_outputs), None);
        for (i, logits) in all.iter().enumerate() {
            assert!(bits(session.logits(i).unwrap()) == bits(logits), "output {i}");
        }
    }
    for (n, n_vocab) in [(0, 5), (6, 5), (1, n_vocab + 1)] {
        batch.only_top(TopLogits { n, n_vocab });
        assert_eq!(session.decode(&batch).unwrap_err().kind(), ErrorKind::InvalidArgument, "{n} of {n_vocab}");
    }
    // On the CPU all are in the host's memory.
    let mut on_cpu = Session::new(&load(&gguf, CPU), &sized(Numerics::Native)).unwrap();
    let sequence = on_cpu.new_sequence().unwrap();
    let mut batch = Batch::prompt(sequence, &prompt(5));
    batch.only_top(TopLogits { n: 3, n_vocab });
    on_cpu.decode(&batch).unwrap();
    assert_eq!(on_cpu.output(0), on_cpu.logits(0).map(Logits::All));
}

#[test]
fn sequences_fork_and_are_cut() {
    let model = load(&small("llama", 2), GPU);
    let tokens = prompt(140);
    let fresh = |tokens: &[u32]| {
        let mut session = session(&model, Numerics::Portable);
        let sequence = session.new_sequence().unwrap();
        session.decode(&Batch::prompt(sequence, tokens)).unwrap();
        bits(session.logits(0).unwrap())
    };
    let mut session = session(&model, Numerics::Portable);
    let trunk = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(trunk, &tokens[..100])).unwrap();
    let fork = session.fork(trunk).unwrap();
    // Both write the page that they share.
    session.decode(&Batch::prompt(fork, &tokens[100..])).unwrap();
    assert!(bits(session.logits(0).unwrap()) == fresh(&tokens));
    session.decode(&Batch::prompt(trunk, &tokens[..9])).unwrap();
    assert!(bits(session.logits(0).unwrap()) == fresh(&[&tokens[..100], &tokens[..9]].concat()));
    session.truncate(fork, 70).unwrap();
    session.decode(&Batch::prompt(fork, &tokens[70..75])).unwrap();
    assert!(bits(session.logits(0).unwrap()) == fresh(&tokens[..75]));
}

/// A page's bytes are the same on both: a state goes from one to the other, and back.
#[test]
fn states_move_between_the_machines() {
    let gguf = small("gemma3", 6);
    let tokens = prompt(110);
    for kv_type in KvType::ALL {
        let options = SessionOptions { kv_type, ..sized(Numerics::Portable) };
        let new = |device| Session::new(&load(&gguf, device), &options).unwrap();
        let next = |session: &mut Session, sequence| {
            session.decode(&Batch::prompt(sequence, &tokens[100..])).unwrap();
            session.logits(0).unwrap().to_vec()
        };
        for (from, to) in [(CPU, GPU), (GPU, CPU)] {
            let mut first = new(from);
            let sequence = first.new_sequence().unwrap();
            first.decode(&Batch::prompt(sequence, &tokens[..100])).unwrap();
            let state = first.save_to_vec(&[sequence]).unwrap();
            let expected = next(&mut first, sequence);
            let mut second = new(to);
            let restored = second.restore(&state).unwrap()[0];
            assert!(
                second.save_to_vec(&[restored]).unwrap() == state,
                "{kv_type}: a state goes through {to} unchanged"
            );
            let (kld, _) = compare(std::slice::from_ref(&expected), &[next(&mut second, restored)]);
            assert!(
                kld <= if kv_type == KvType::F16 { PORTABLE } else { NATIVE },
                "{kv_type}, {from} to {to}: {kld:e}"
            );
            let mut third = new(from);
            let restored = third.restore(&state).unwrap()[0];
            assert!(bits(&next(&mut third, restored)) == bits(&expected), "{kv_type}: restored on {from}");
        }
    }
}

#[test]
fn hidden_states_and_observed_inputs_are_those_of_the_cpu() {
    let gguf = small("llama", 2);
    same_hidden_states_and_inputs(&load(&gguf, GPU), &load(&gguf, CPU), &prompt(90));
}

#[test]
fn a_request_to_stop_ends_a_batch_and_leaves_the_session_usable() {
    let model = load(&small("gemma3", 6), GPU);
    let mut session = session(&model, Numerics::Native);
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &prompt(10))).unwrap();
    let before = bits(session.logits(0).unwrap());
    for n_looks in 0..4 {
        let looks = AtomicUsize::new(0);
        let stop = || looks.fetch_add(1, Ordering::Relaxed) >= n_looks;
        let control = Control { stop: Some(&stop), progress: None };
        let error = session.decode_with(&Batch::prompt(sequence, &prompt(100)), control).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(session.len(sequence).unwrap(), 10);
    }
    session.truncate(sequence, 0).unwrap();
    session.decode(&Batch::prompt(sequence, &prompt(10))).unwrap();
    assert!(bits(session.logits(0).unwrap()) == before);
}

#[test]
fn sessions_on_several_threads_share_the_gpu() {
    let model = load(&small("llama", 2), GPU);
    let run = |n: usize| {
        let mut session = session(&model, Numerics::Portable);
        let sequence = session.new_sequence().unwrap();
        session.decode(&Batch::prompt(sequence, &prompt(n))).unwrap();
        greedy(&mut session, sequence, 6)
    };
    let alone: Vec<_> = (0..3).map(|i| run(5 + i)).collect();
    let together = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..3).map(|i| scope.spawn(move || run(5 + i))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(alone, together);
}

#[test]
fn weights_in_the_file_are_refused() {
    let options = ModelOptions { storage: Storage::InFile, ..options(GPU) };
    let error = Model::load(small("llama", 1), options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("GPU"), "{error}");
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let error = Model::load(small("llama", 1), options(Device::Cuda(63))).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Device);
    assert!(error.to_string().contains("63"), "{error}");
}

#[test]
fn the_program_runs_on_the_gpu() {
    let folder = tempfile::tempdir().unwrap();
    let model = stored(folder.path());
    let run = |device: &str| {
        let prompt = ["run", &model, "-p", "w7 w8 w9", "-n", "12", "--temp", "0", "--ctx", "100", "-v"];
        let output = oribi(&[&prompt[..], &["--numerics", "portable", "--device", device]].concat(), &[]);
        assert!(output.status.success(), "{device}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let ((on_gpu, said), (on_cpu, _)) = (run("cuda"), run("cpu"));
    assert_eq!(on_gpu, on_cpu);
    assert!(!on_gpu.is_empty() && said.contains("device: cuda:0 ("), "{said}");
    // With graphs, which is the default, and without: the same bits.
    let prompt = ["run", &model, "-p", "w7 w8 w9", "-n", "12", "--temp", "0", "--ctx", "100", "--device", "cuda"];
    let [with, without] = ["on", "off"].map(|value| oribi(&prompt, &[("ORIBI_CUDA_GRAPHS", value)]).stdout);
    assert!(!with.is_empty() && with == without, "{} and {}", text(&with), text(&without));
    // Sampled from the largest logits, which the GPU found, or from all: with log-probabilities.
    let sampled = |more: &[&str]| {
        let run =
            ["run", &model, "-p", "w7 w8 w9", "-n", "12", "--seed", "7", "--ctx", "100", "--device", "cuda", "--json"];
        let output = oribi(&[&run[..], more].concat(), &[]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()["token_ids"].clone()
    };
    assert_eq!(sampled(&[]), sampled(&["--logprobs", "1"]));
    assert!(run("auto").1.contains("device: cuda:0 ("));

    let output = oribi(&["inspect", &model, "--device", "cuda", "--ctx", "100"], &[]);
    assert!(text(&output.stdout).contains("a run on cuda:0 with a context of 100"), "{}", text(&output.stdout));

    let bench = ["bench", &model, "-p", "8", "-n", "4", "-r", "1", "--device", "cuda", "--json"];
    let output = oribi(&bench, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let rows: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["device"], "cuda:0");
    for row in rows.as_array().unwrap() {
        assert!(row["tokens_per_second"]["median"].as_f64() > Some(0.0), "{row}");
        // Of limits that are measured in the same way on the emulated machine.
        let share = row["share_of_limit"].as_f64().unwrap();
        assert!(share > 0.0 && share < 1.5, "{row}");
    }

    let output = oribi(&["bench", "--machine", "--device", "cuda", "--json"], &[]);
    let machines: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(machines[0]["device"].as_str().unwrap().starts_with("cuda:0 ("), "{machines}");
    assert!(machines[0]["bandwidth"][0]["gb_per_second"].as_f64() > Some(0.0), "{machines}");
    for (i, operands) in ["bf16", "f32"].into_iter().enumerate() {
        assert_eq!(machines[0]["peaks"][i]["operands"], operands);
        assert!(machines[0]["peaks"][i]["gmac_per_second"].as_f64() > Some(0.0), "{machines}");
    }
}

#[test]
fn a_run_that_a_gpu_has_no_memory_for_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let model = stored(folder.path());
    let gguf = Gguf::open(Path::new(&model)).unwrap();
    let options = SessionOptions { n_ctx: 100, ..Default::default() };
    let needed = predict_gpu_memory(&gguf, Storage::Packed, &options, 1, None).unwrap().gpu;
    assert!(check_gpu_memory(&gguf, Storage::Packed, &options, 1, None, needed.total).is_ok());
    let error = check_gpu_memory(&gguf, Storage::Packed, &options, 1, None, needed.total - 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    assert!(error.to_string().contains(&needed.total.to_string()), "{error}");

    let run = ["run", &model, "-p", "w7", "-n", "3", "--temp", "0", "--ctx", "100", "--device", "cuda"];
    let output = oribi(&[&run[..], &["--max-gpu-memory", "100K"]].concat(), &[]);
    assert!(!output.status.success() && text(&output.stderr).contains("--max-gpu-memory allows"), "{output:?}");
    if !is_emulated() {
        return;
    }
    // The GPU is as large as the prediction says, and a little smaller.
    let fits = |bytes: u64| oribi(&run, &[("ORIBI_CUDA_EMULATED_MEMORY", &bytes.to_string())]);
    let output = fits(needed.total);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let output = fits(needed.total - 1);
    assert!(!output.status.success() && text(&output.stderr).contains("free are"), "{output:?}");
}

/// A build with CUDA on a machine without: a clear error, and the CPU.
#[test]
fn without_a_driver_the_gpu_is_an_error_and_the_cpu_works() {
    let folder = tempfile::tempdir().unwrap();
    let model = stored(folder.path());
    let nvidia = [("ORIBI_CUDA_DRIVER", "nvidia")];
    let run = |device: &str| {
        let run = ["run", &model, "-p", "w7", "-n", "3", "--temp", "0", "--ctx", "100", "-v", "--device", device];
        oribi(&run, &nvidia)
    };
    let output = run("cuda");
    if output.status.success() {
        return println!("not run: this machine has a GPU");
    }
    assert!(text(&output.stderr).contains("NVIDIA driver"), "{}", text(&output.stderr));
    for device in ["cpu", "auto"] {
        let output = run(device);
        assert!(output.status.success(), "{device}: {}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("device:"), "{}", text(&output.stderr));
    }
}

/// What a thousand models leave behind, one after the other.
#[test]
#[ignore = "only says something on a GPU: make test-cuda"]
fn starting_and_stopping_leaks_nothing() {
    let gguf = small("llama", 1);
    let cycle = || {
        let mut session = session(&load(&gguf, GPU), Numerics::Native);
        let sequence = session.new_sequence().unwrap();
        session.decode(&Batch::prompt(sequence, &prompt(5))).unwrap();
        assert_eq!(greedy(&mut session, sequence, 2).len(), 2);
    };
    let free = || GPU.memory().unwrap().unwrap().0;
    // What the driver keeps once it has run.
    (0..3).for_each(|_| cycle());
    let before = free();
    (0..1000).for_each(|_| cycle());
    let lost = before.saturating_sub(free());
    assert!(lost < 16 << 20, "{lost} bytes of the GPU's memory are gone after a thousand models");
}
