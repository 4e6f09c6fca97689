//! Hidden states: those of the exact reference, the same bits however the work is divided, pooled as documented.

#![cfg(feature = "eval")]

mod common;
#[path = "common/tiny.rs"]
mod tiny;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::eval::reference::Reference;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Control, Numerics, Pooling, Role, SequenceId, Session, SessionOptions};
use tiny::{Shape, tiny, write};

fn load(gguf: &Gguf, n_threads: usize) -> Arc<Model> {
    let cpu = CpuOptions { n_threads: Some(n_threads), ..Default::default() };
    Model::load(gguf.clone(), ModelOptions { cpu, ..Default::default() }).unwrap()
}

fn made(arch: &'static str) -> Gguf {
    Gguf::from_bytes(write(tiny(Shape { n_blocks: 6, ..Shape::new(arch, DType::Q4_0) }))).unwrap()
}

fn session(model: &Arc<Model>, numerics: Numerics, n_batch: usize) -> Session {
    let options = SessionOptions { n_ctx: 200, n_batch, n_sequences: 3, numerics, ..Default::default() };
    Session::new(model, &options).unwrap()
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + 11) % 300).collect()
}

/// Every token an output.
fn outputs(sequence: SequenceId, tokens: &[u32]) -> Batch {
    let mut batch = Batch::new();
    tokens.iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, true));
    batch
}

fn embed(session: &mut Session, batch: &Batch, pooling: Pooling) -> Vec<f32> {
    session.embed(batch, pooling, Control::default()).unwrap()
}

/// The largest distance of two rows, relative to the length of the second.
fn worst_row(rows: &[f32], expected: &[f64], dim: usize) -> f64 {
    let length = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>().sqrt();
    let distance = |(row, expected): (&[f32], &[f64])| {
        let difference: Vec<f64> = row.iter().zip(expected).map(|(&a, b)| f64::from(a) - b).collect();
        length(&difference) / length(expected)
    };
    assert_eq!(rows.len(), expected.len());
    rows.chunks_exact(dim).zip(expected.chunks_exact(dim)).map(distance).fold(0.0, f64::max)
}

#[test]
fn hidden_states_are_those_of_the_reference() {
    let real = |file: &str| Gguf::open(&common::model(file)).unwrap();
    let files = [
        ("llama", made("llama"), 3e-4),
        ("gemma3", made("gemma3"), 3e-4),
        // Keys and values in float16, through 30 and 18 blocks.
        ("SmolLM2", real("SmolLM2-135M-Instruct.Q4_1.gguf"), 3e-3),
        ("Gemma 3", real("gemma-3-270m-q4_k_m.gguf"), 3e-3),
    ];
    for (name, gguf, most) in files {
        let model = load(&gguf, 2);
        let tokens = prompt(24);
        let expected = Reference::new(&gguf).unwrap().hidden(&tokens).unwrap();
        let mut session = session(&model, Numerics::Portable, 10);
        let sequence = session.new_sequence().unwrap();
        let rows = embed(&mut session, &outputs(sequence, &tokens), Pooling::Tokens);
        let worst = worst_row(&rows, &expected, model.hparams().dim);
        println!("{name}: relative distance at most {worst:e}");
        assert!(worst < most, "{name}: {worst:e}");
    }
}

/// What the logits were formed from, in `decode`, is what `embed` gives.
#[test]
fn the_embeddings_of_a_decoded_batch_are_the_same_bits() {
    let model = load(&made("gemma3"), 2);
    let tokens = prompt(90);
    for numerics in [Numerics::Portable, Numerics::Native] {
        let options = SessionOptions { n_ctx: 200, n_batch: 32, max_outputs: 90, numerics, ..Default::default() };
        let mut decoded = Session::new(&model, &options).unwrap();
        let sequence = decoded.new_sequence().unwrap();
        decoded.decode(&outputs(sequence, &tokens)).unwrap();
        let rows: Vec<f32> = (0..90).flat_map(|i| decoded.embedding(i).unwrap().to_vec()).collect();
        assert!(decoded.embedding(90).is_none() && decoded.logits(90).is_none());

        let mut session = session(&model, numerics, 17);
        let sequence = session.new_sequence().unwrap();
        assert!(embed(&mut session, &outputs(sequence, &tokens), Pooling::Tokens) == rows);
        assert!(session.logits(0).is_none() && session.embedding(0).is_none());

        // The sequence goes on as if it had been decoded.
        for s in [&mut session, &mut decoded] {
            s.decode(&Batch::generated(sequence, 7)).unwrap();
        }
        assert!(session.logits(0) == decoded.logits(0));
    }
}

#[test]
fn threads_chunks_and_company_do_not_change_a_bit() {
    let gguf = made("llama");
    let tokens = prompt(130);
    let of = |n_threads, n_batch, pooling| {
        let model = load(&gguf, n_threads);
        let mut session = session(&model, Numerics::Portable, n_batch);
        let sequence = session.new_sequence().unwrap();
        embed(&mut session, &outputs(sequence, &tokens), pooling)
    };
    let model = load(&gguf, 2);
    for pooling in [Pooling::Tokens, Pooling::Mean, Pooling::Last] {
        let expected = of(1, 512, pooling);
        for (n_threads, n_batch) in [(2, 512), (3, 1), (2, 7), (1, 64)] {
            assert!(of(n_threads, n_batch, pooling) == expected, "{pooling:?} {n_threads} {n_batch}");
        }
        // Two sequences, token by token in turn, the second of other tokens.
        let mut session = session(&model, Numerics::Portable, 33);
        let (a, b) = (session.new_sequence().unwrap(), session.new_sequence().unwrap());
        let mut batch = Batch::new();
        for (&token, &other) in tokens.iter().zip(tokens.iter().rev()) {
            batch.push(a, token, Role::Prompt, true);
            batch.push(b, other, Role::Prompt, false);
        }
        let both = embed(&mut session, &batch, pooling);
        let n = expected.len();
        assert!(both[..n] == expected, "{pooling:?} beside another sequence");
        assert_eq!(both.len(), if pooling == Pooling::Tokens { n } else { 2 * n });
    }
}

#[test]
fn pooling_is_what_it_says() {
    let model = load(&made("llama"), 2);
    let dim = model.hparams().dim;
    let tokens = prompt(70);
    let run = |pooling| {
        let mut session = session(&model, Numerics::Portable, 16);
        let sequence = session.new_sequence().unwrap();
        embed(&mut session, &outputs(sequence, &tokens), pooling)
    };
    let [rows, mean, last] = [Pooling::Tokens, Pooling::Mean, Pooling::Last].map(run);
    assert_eq!((rows.len(), mean.len(), last.len()), (70 * dim, dim, dim));
    assert!(last == rows[69 * dim..]);
    let expected = |i: usize| (rows.iter().skip(i).step_by(dim).map(|&x| f64::from(x)).sum::<f64>() / 70.0) as f32;
    assert!((0..dim).all(|i| mean[i] == expected(i)));
    assert!(mean.iter().any(|&x| x != 0.0) && mean != last);

    // Only some of the tokens, and none.
    let mut session = session(&model, Numerics::Portable, 16);
    let sequence = session.new_sequence().unwrap();
    let mut some = Batch::new();
    tokens.iter().enumerate().for_each(|(i, &token)| some.push(sequence, token, Role::Prompt, i % 30 == 5));
    let picked = embed(&mut session, &some, Pooling::Tokens);
    let wanted: Vec<f32> = [5, 35, 65].iter().flat_map(|&i| rows[i * dim..(i + 1) * dim].to_vec()).collect();
    assert!(picked == wanted);
    assert!(embed(&mut session, &Batch::new(), Pooling::Mean).is_empty());
}

#[test]
fn an_error_changes_nothing() {
    let model = load(&made("llama"), 2);
    let mut session = session(&model, Numerics::Portable, 16);
    let sequence = session.new_sequence().unwrap();
    let batch = outputs(sequence, &prompt(90));
    let expected = embed(&mut session, &batch, Pooling::Mean);
    session.truncate(sequence, 0).unwrap();
    for stop_after in [0, 3, 11, 30] {
        let asked = AtomicUsize::new(0);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= stop_after;
        let control = Control { stop: Some(&stop), progress: None };
        let error = session.embed(&batch, Pooling::Mean, control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
        assert_eq!(session.len(sequence).unwrap(), 0);
    }
    let long = outputs(sequence, &prompt(201));
    let error = session.embed(&long, Pooling::Last, Control::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ContextFull);
    assert!(embed(&mut session, &batch, Pooling::Mean) == expected);
}
