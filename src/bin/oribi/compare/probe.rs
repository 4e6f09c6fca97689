//! `oribi compare-probe`: measures one model once and prints it as JSON; `oribi compare` runs it in a process of its own.

use std::time::Instant;

use oribi::backend::cpu::cores;
use oribi::bench::{Bench, BenchOptions, Kind, Test};
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Numerics, SessionOptions};
use oribi::{Error, ErrorKind, Result};
use serde_json::json;

use super::SpeedArgs;
use super::speed::Sample;
use crate::loading::EvaluationArgs;
use crate::{cache, output};

/// The subcommand's name.
pub const NAME: &str = "compare-probe";
/// What is computed before the clock starts, at most.
const WARMUP: [usize; 2] = [64, 8];

#[derive(clap::Args)]
pub struct Args {
    model: String,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    evaluation: EvaluationArgs,
}

/// The arguments that repeat what concerns a measurement of speed.
pub fn arguments(speed: &SpeedArgs, evaluation: &EvaluationArgs) -> Vec<String> {
    let mut arguments = vec![
        format!("--n-prompt={}", speed.n_prompt),
        format!("--n-gen={}", speed.n_gen),
        format!("--kv-type={}", evaluation.kv_type),
    ];
    arguments.extend(evaluation.threads.map(|n| format!("--threads={n}")));
    arguments.extend(evaluation.isa.map(|isa| format!("--isa={isa}")));
    arguments.extend(evaluation.max_memory.map(|n| format!("--max-memory={n}")));
    arguments.push(format!("--device={}", evaluation.device.device));
    arguments.extend(evaluation.device.gpu_layers.map(|n| format!("--gpu-layers={n}")));
    arguments.extend(evaluation.device.max_gpu_memory.map(|n| format!("--max-gpu-memory={n}")));
    arguments.extend(evaluation.no_pack.then(|| "--no-pack".to_string()));
    arguments
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(Some(&args.model))?;
    let sample = measure(&args, &path).map_err(|e| e.within(path.display()))?;
    output::print_json(&json!(sample))
}

fn measure(args: &Args, path: &std::path::Path) -> Result<Sample> {
    let SpeedArgs { n_prompt, n_gen, .. } = args.speed;
    let prompt = |n_tokens| Test { kind: Kind::Prompt { n_tokens }, depth: 0 };
    let generate = |n_tokens| Test { kind: Kind::Generate { n_tokens, batch: 1 }, depth: 0 };
    let tests = [prompt(n_prompt), generate(n_gen)];
    let session =
        SessionOptions { numerics: Numerics::Native, kv_type: args.evaluation.kv_type, ..SessionOptions::default() };
    let began = Instant::now();
    let gguf = Gguf::open(path)?;
    let n_threads = args.evaluation.threads.unwrap_or_else(cores::default_threads);
    let storage = args.evaluation.storage();
    let sizes = Bench::session_options(&session, &tests);
    let evaluation = &args.evaluation;
    let chosen = evaluation.device.check(&gguf, storage, &sizes, n_threads, evaluation.max_memory)?;
    let options = ModelOptions {
        device: chosen.device,
        gpu_layers: chosen.gpu_layers,
        cpu: evaluation.cpu(),
        storage,
        progress: None,
    };
    let model = Model::load(gguf, options)?;
    let mut bench = Bench::new(&model, &BenchOptions { session, seed: 0 }, &tests)?;
    let load_ms = began.elapsed().as_secs_f64() * 1e3;
    let stop = || false;
    for test in [prompt(n_prompt.min(WARMUP[0])), generate(n_gen.min(WARMUP[1]))] {
        bench.run(&test, &stop)?;
    }
    let mut speed = |test: &Test| -> Result<f64> {
        let seconds = bench.run(test, &stop)?.as_secs_f64();
        Ok(test.n_tokens() as f64 / seconds.max(1e-9))
    };
    Ok(Sample {
        load_ms,
        prompt_tokens_per_second: speed(&tests[0])?,
        generated_tokens_per_second: speed(&tests[1])?,
        peak_bytes: peak_bytes()?,
        isa: isa_name(&model),
        threads: model.cpu().team().n_threads(),
    })
}

/// The instruction set; with a GPU its name as well.
fn isa_name(model: &Model) -> String {
    let isa = model.cpu().kernels().isa().name();
    if model.machine().is_gpu() { format!("{isa} and {}", model.place()) } else { isa.to_string() }
}

/// The most memory that this process has held, where Linux tells.
fn peak_bytes() -> Result<Option<u64>> {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return Ok(None) };
    let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) else { return Ok(None) };
    let kilobytes = line.trim().strip_suffix("kB").and_then(|n| n.trim().parse::<u64>().ok());
    let unread = || Error::new(ErrorKind::Internal, format!("/proc/self/status: VmHWM is {line:?}"));
    Ok(Some(kilobytes.ok_or_else(unread)? * 1024))
}
