//! The report of a comparison. Its serialized form is what `oribi compare --json` prints.

use serde::Serialize;

use crate::eval::{Estimate, Kld};

/// What one model file costs and gains.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    /// What it is called: a quantization level, or a file's name without its ending.
    pub level: String,
    /// The hash of the file (xxh3, 128 bits, hexadecimal).
    pub file_hash: String,
    /// Bytes of the file, or of all files of a split model.
    pub file_bytes: u64,
    /// Bits of all tensors over their elements.
    pub bits_per_weight: f64,
    /// From opening the file to being ready for a prompt, median over the rounds, in milliseconds.
    pub load_ms: f64,
    /// Speed of a prompt, median over the rounds.
    pub prompt_tokens_per_second: f64,
    /// Least and greatest of the rounds.
    pub prompt_range: [f64; 2],
    /// Speed of generating one token at a time, median over the rounds.
    pub generated_tokens_per_second: f64,
    /// Least and greatest of the rounds.
    pub generated_range: [f64; 2],
    /// The most memory that the process held which measured the speeds; `None` where the system does not say.
    pub peak_bytes: Option<u64>,
    /// Of the scored tokens of the text.
    pub perplexity: Estimate,
    /// Divergence from the reference, in nats.
    pub kld: Kld,
    /// The share of positions where the reference has the same most likely token.
    pub top1: f64,
}

/// Where the speeds were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineInfo {
    /// What the CPU calls itself.
    pub cpu: String,
    /// The instruction set that was used.
    pub isa: String,
    /// Threads that were used.
    pub threads: usize,
    /// Operating system and architecture, as in `linux x86_64`.
    pub system: String,
}

/// How things were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Settings {
    /// The name of the text.
    pub text: String,
    /// The hash of the text.
    pub text_hash: String,
    /// Tokens of a chunk, which is evaluated alone.
    pub chunk_tokens: usize,
    /// Chunks that were evaluated.
    pub n_chunks: usize,
    /// Tokens of the second halves of the chunks: those that figures of quality are about.
    pub n_scored: usize,
    /// Arithmetic of the evaluation, `portable` or `native`.
    pub quality_numerics: String,
    /// Arithmetic of prompts where speed was measured.
    pub speed_numerics: String,
    /// How keys and values are kept.
    pub kv_type: String,
    /// Tokens of the prompt whose speed was measured.
    pub prompt_tokens: usize,
    /// Tokens of the generation whose speed was measured.
    pub generated_tokens: usize,
    /// Times that speed was measured, the levels in turns.
    pub rounds: usize,
}

/// All that a comparison found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The version of oribi.
    pub oribi: String,
    /// The model's name, or the reference file's.
    pub model: String,
    /// Where.
    pub machine: MachineInfo,
    /// How.
    pub settings: Settings,
    /// What the levels are compared with.
    pub reference: Level,
    /// The levels, in the order in which they were asked for.
    pub levels: Vec<Level>,
    /// What the figures mean for someone who has to choose, in sentences.
    pub advice: Vec<String>,
}

impl Report {
    /// The reference, where it is none of the levels, and the levels.
    pub fn rows(&self) -> impl Iterator<Item = &Level> {
        let outside = !self.levels.iter().any(|level| self.is_reference(level));
        outside.then_some(&self.reference).into_iter().chain(&self.levels)
    }

    /// Whether a row is the file that the others are compared with.
    pub fn is_reference(&self, level: &Level) -> bool {
        level.file_hash == self.reference.file_hash
    }
}

/// Bytes for people: `512 B`, `93.8 MiB`.
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1024.0;
    let mut unit = 0;
    while size >= 1023.95 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// A divergence for people, two significant digits: `0.0031`, `1.2e-6`, `0`.
pub fn human_kld(nats: f64) -> String {
    if nats == 0.0 {
        return "0".to_string();
    }
    if !nats.is_finite() {
        return "not a number".to_string();
    }
    if nats < 9.5e-5 {
        return format!("{nats:.1e}");
    }
    let decimals = (1.0 - nats.log10().floor()).clamp(1.0, 6.0) as usize;
    format!("{nats:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divergences_have_two_digits() {
        for (nats, text) in
            [(0.0, "0"), (1.24e-6, "1.2e-6"), (0.00314, "0.0031"), (0.0416, "0.042"), (0.256, "0.26"), (3.21, "3.2")]
        {
            assert_eq!(human_kld(nats), text);
        }
        assert_eq!(human_kld(f64::NAN), "not a number");
    }
}
