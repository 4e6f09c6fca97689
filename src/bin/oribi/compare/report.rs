//! From what was measured to the report.

use oribi::bench::Spread;
use oribi::compare::{Level, MachineInfo, Report, ScoreFile, Settings, advise};
use oribi::eval::{Estimate, Kld};
use oribi::{Error, ErrorKind, Result};

use super::Args;
use super::entry::{Entry, Field};
use super::speed::Sample;
use crate::bench::machine::cpu_name;
use crate::inspect::printable;
use crate::loading::{Text, file_name};

pub fn make(args: &Args, field: &Field, text: &Text) -> Result<Report> {
    let contestants = field.contestants();
    let mut levels = Vec::new();
    let mut of_reference: Option<Estimate> = None;
    for &i in &contestants {
        let found = scores(&field.entries[i])?.comparison()?;
        of_reference = of_reference.or(Some(found.reference.value));
        if i != field.reference {
            levels.push(level(&field.entries[i], found.candidate.value, found.kld, found.top1.mean)?);
        }
    }
    let perplexity = of_reference.ok_or_else(|| missing("the reference's perplexity"))?;
    let same = Kld { mean: 0.0, stderr: 0.0, median: 0.0, p99: 0.0, max: 0.0 };
    let reference = level(&field.entries[field.reference], perplexity, same, 1.0)?;
    if field.is_reference_listed {
        levels.insert(field.reference.min(levels.len()), reference.clone());
    }
    let first = field.entries[field.reference].samples.first().ok_or_else(|| missing("a measurement of speed"))?;
    let mut report = Report {
        oribi: env!("CARGO_PKG_VERSION").to_string(),
        model: field.model.clone(),
        machine: MachineInfo {
            cpu: printable(&cpu_name()),
            isa: first.isa.clone(),
            threads: first.threads,
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
        },
        settings: Settings {
            text: printable(&file_name(&text.path)),
            text_hash: text.hash(),
            chunk_tokens: field.chunks.chunk_len(),
            n_chunks: field.chunks.len(),
            n_scored: field.chunks.n_scored(),
            quality_numerics: if args.evaluation.native { "native" } else { "portable" }.to_string(),
            speed_numerics: "native".to_string(),
            kv_type: args.evaluation.kv_type.to_string(),
            prompt_tokens: args.speed.n_prompt,
            generated_tokens: args.speed.n_gen,
            rounds: args.speed.rounds,
        },
        reference,
        levels,
        advice: Vec::new(),
    };
    report.advice = advise(&report, &args.limits.limits());
    Ok(report)
}

fn missing(what: &str) -> Error {
    Error::new(ErrorKind::Internal, format!("{what} is missing"))
}

fn scores(entry: &Entry) -> Result<&ScoreFile> {
    entry.scores.as_ref().ok_or_else(|| missing(&format!("the quality of {}", entry.name)))
}

fn level(entry: &Entry, perplexity: Estimate, kld: Kld, top1: f64) -> Result<Level> {
    let identity = entry.identity.as_ref().ok_or_else(|| missing(&format!("the file of {}", entry.name)))?;
    let spread = |of: fn(&Sample) -> f64| {
        Spread::of(entry.samples.iter().map(of)).ok_or_else(|| missing(&format!("the speed of {}", entry.name)))
    };
    let load = spread(|sample| sample.load_ms)?;
    let prompt = spread(|sample| sample.prompt_tokens_per_second)?;
    let generated = spread(|sample| sample.generated_tokens_per_second)?;
    Ok(Level {
        level: entry.name.clone(),
        file_hash: identity.hash.clone(),
        file_bytes: identity.file_bytes,
        bits_per_weight: identity.bits_per_weight,
        load_ms: load.median,
        prompt_tokens_per_second: prompt.median,
        prompt_range: [prompt.min, prompt.max],
        generated_tokens_per_second: generated.median,
        generated_range: [generated.min, generated.max],
        peak_bytes: entry.samples.iter().filter_map(|sample| sample.peak_bytes).max(),
        perplexity,
        kld,
        top1,
    })
}
