//! What the tests of the CUDA backend share: tiny models on either machine, and how far their results are from each other.

#![allow(dead_code, reason = "no test uses all of it")]

use std::path::Path;
use std::process::Output;
use std::sync::Arc;

use oribi::backend::Device;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Control, InputSquares, Numerics, Pooling, Role, SequenceId, Session, SessionOptions};

use super::tiny::{Shape, tiny, write};

pub const CPU: Device = Device::Cpu;
pub const GPU: Device = Device::Cuda(0);

/// Divergence, in nats, that two roundings of activations to 16 bits may cause, and one to 8 bits in prompts.
pub const PORTABLE: f64 = 1e-6;
pub const NATIVE: f64 = 2e-4;

pub fn options(device: Device) -> ModelOptions<'static> {
    let cpu = CpuOptions { n_threads: Some(2), ..Default::default() };
    ModelOptions { device, cpu, ..Default::default() }
}

pub fn load(gguf: &Gguf, device: Device) -> Arc<Model> {
    Model::load(gguf.clone(), options(device)).unwrap()
}

pub fn file(shape: Shape) -> Gguf {
    Gguf::from_bytes(write(tiny(shape))).unwrap()
}

/// A model whose rows are short: a pass takes the emulation little time.
pub fn small(arch: &'static str, n_blocks: usize) -> Gguf {
    file(Shape { dim: 64, head_dim: 16, ffn_dim: 96, n_blocks, ..Shape::new(arch, DType::Q5_0) })
}

/// Options that the tests share: room for a few sequences.
pub fn sized(numerics: Numerics) -> SessionOptions {
    SessionOptions { n_ctx: 600, n_sequences: 20, max_outputs: 64, numerics, ..Default::default() }
}

pub fn session(model: &Arc<Model>, numerics: Numerics) -> Session {
    Session::new(model, &sized(numerics)).unwrap()
}

pub fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + 11) % 300).collect()
}

/// The logits of every position of a text, read as a prompt.
pub fn logits_of_all(model: &Arc<Model>, tokens: &[u32], options: &SessionOptions) -> Vec<Vec<f32>> {
    let mut session = Session::new(model, &SessionOptions { max_outputs: tokens.len(), ..options.clone() }).unwrap();
    let sequence = session.new_sequence().unwrap();
    let mut batch = Batch::new();
    tokens.iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, true));
    session.decode(&batch).unwrap();
    (0..tokens.len()).map(|i| session.logits(i).unwrap().to_vec()).collect()
}

pub fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().fold(f64::NEG_INFINITY, |m, &l| m.max(f64::from(l)));
    let sum: f64 = logits.iter().map(|&l| (f64::from(l) - max).exp()).sum();
    logits.iter().map(|&l| f64::from(l) - max - sum.ln()).collect()
}

/// The mean divergence of `b` from `a`, and the largest distance of logits beside the largest logit.
pub fn compare(a: &[Vec<f32>], b: &[Vec<f32>]) -> (f64, f64) {
    assert_eq!(a.len(), b.len());
    let (mut kld, mut distance, mut largest) = (0.0, 0f64, 0f64);
    for (a, b) in a.iter().zip(b) {
        assert!(a.iter().chain(b).all(|l| l.is_finite()), "a logit is not finite");
        let (p, q) = (log_softmax(a), log_softmax(b));
        kld += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
        for (&a, &b) in a.iter().zip(b) {
            distance = distance.max((f64::from(a) - f64::from(b)).abs());
            largest = largest.max(f64::from(a).abs());
        }
    }
    assert!(largest > 1e-3, "all logits are zero");
    (kld / a.len() as f64, distance / largest)
}

/// Hidden states of all tokens and sums over the inputs of all products are alike on two machines.
pub fn same_hidden_states_and_inputs(model: &Arc<Model>, other: &Arc<Model>, tokens: &[u32]) {
    let run = |model: &Arc<Model>| {
        let mut session = session(model, Numerics::Portable);
        session.observe(Some(InputSquares::new(model).unwrap()));
        let sequence = session.new_sequence().unwrap();
        let mut batch = Batch::new();
        tokens.iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, true));
        let hidden = session.embed(&batch, Pooling::Tokens, Control::default()).unwrap();
        let squares = session.observe(None).unwrap();
        let squares: Vec<(String, Vec<f64>)> =
            squares.iter().map(|(name, sums, _)| (name.into(), sums.into())).collect();
        (hidden, squares)
    };
    let ((hidden, squares), (expected, expected_squares)) = (run(model), run(other));
    assert_eq!(hidden.len(), tokens.len() * model.hparams().dim);
    let far = |a: f32, b: f32| (a - b).abs() > 1e-3 * (1.0 + b.abs());
    assert!(!hidden.iter().zip(&expected).any(|(&a, &b)| far(a, b)));
    assert_eq!(squares.len(), expected_squares.len());
    for ((name, sums), (_, expected)) in squares.iter().zip(&expected_squares) {
        let far = |(a, b): (&f64, &f64)| (a - b).abs() > 1e-3 * b.abs();
        assert!(sums.iter().sum::<f64>() > 0.0 && !sums.iter().zip(expected).any(far), "{name}");
    }
}

pub fn bits(logits: &[f32]) -> Vec<u32> {
    logits.iter().map(|l| l.to_bits()).collect()
}

pub fn best(logits: &[f32]) -> u32 {
    (0u32..).zip(logits).max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0
}

/// What a sequence generates, always the most probable token.
pub fn greedy(session: &mut Session, sequence: SequenceId, n: usize) -> Vec<u32> {
    let mut tokens = vec![best(session.logits(0).unwrap())];
    while tokens.len() < n {
        session.decode(&Batch::generated(sequence, tokens[tokens.len() - 1])).unwrap();
        tokens.push(best(session.logits(0).unwrap()));
    }
    tokens
}

/// `oribi` with arguments; on the emulated GPU of `memory` bytes, unless the test runs on a GPU.
pub fn oribi(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    let mut command = assert_cmd::Command::cargo_bin("oribi").unwrap();
    command.args(arguments).envs(environment.iter().copied()).output().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn is_emulated() -> bool {
    std::env::var_os("ORIBI_CUDA_DRIVER").is_none_or(|name| name != "nvidia")
}

/// A tiny model in a file.
pub fn stored(folder: &Path) -> String {
    let path = folder.join("tiny.gguf");
    let shape = Shape { dim: 64, head_dim: 16, ffn_dim: 96, n_blocks: 2, ..Shape::new("llama", DType::Q5_0) };
    std::fs::write(&path, write(tiny(shape))).unwrap();
    path.to_str().unwrap().to_string()
}
