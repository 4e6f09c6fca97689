//! `general.*`: what the file is, and how its makers sample from it.

use serde_json::Value;

use super::checkpoint::Checkpoint;
use crate::error::Result;
use crate::gguf::GgufBuilder;
use crate::quant::recipes::Recipe;

/// Version of the block formats' meaning that files name (`general.quantization_version`).
const QUANTIZATION_VERSION: u32 = 2;

/// Sampling settings of `generation_config.json`, as GGUF names them; those of the second list are whole numbers.
const SAMPLING: [(&str, &str); 7] = [
    ("temperature", "temp"),
    ("top_p", "top_p"),
    ("min_p", "min_p"),
    ("xtc_probability", "xtc_probability"),
    ("xtc_threshold", "xtc_threshold"),
    ("penalty_repeat", "penalty_repeat"),
    ("repetition_penalty", "penalty_repeat"),
];
const WHOLE_SAMPLING: [(&str, &str); 2] = [("top_k", "top_k"), ("penalty_last_n", "penalty_last_n")];

/// Sets the keys that say what the file is.
pub(super) fn set(
    builder: &mut GgufBuilder,
    checkpoint: &Checkpoint,
    arch: &str,
    name: Option<&str>,
    level: &Recipe,
) -> Result<()> {
    builder.set("general.architecture", arch)?;
    builder.set("general.type", "model")?;
    let generation = checkpoint.json("generation_config.json")?.unwrap_or_default();
    for (from, to) in SAMPLING {
        if let Some(x) = generation.get(from).and_then(Value::as_f64) {
            builder.set(&format!("general.sampling.{to}"), x as f32)?;
        }
    }
    for (from, to) in WHOLE_SAMPLING {
        if let Some(n) = generation.get(from).and_then(Value::as_i64).and_then(|n| i32::try_from(n).ok()) {
            builder.set(&format!("general.sampling.{to}"), n)?;
        }
    }
    let folder = std::fs::canonicalize(&checkpoint.folder).ok();
    let folder = folder.as_ref().and_then(|folder| folder.file_name()).and_then(|name| name.to_str());
    if let Some(name) = name.or(folder) {
        builder.set("general.name", name)?;
    }
    if let Some(file_type) = level.file_type {
        builder.set("general.file_type", file_type)?;
    }
    builder.set("general.quantization_version", QUANTIZATION_VERSION)
}

/// A number of weights as the field writes it: `135M`, `1.1B`.
pub(super) fn size_label(n_elems: u64) -> String {
    let n = n_elems as f64;
    let (scaled, unit) = match n {
        ..=1e6 => (n * 1e-3, "K"),
        ..=1e9 => (n * 1e-6, "M"),
        ..=1e12 => (n * 1e-9, "B"),
        _ => (n * 1e-12, "T"),
    };
    // Two digits at least.
    let digits = match scaled.round_ties_even() {
        ..1.0 => 2,
        ..10.0 => 1,
        _ => 0,
    };
    format!("{scaled:.digits$}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_weights_have_two_digits_at_least() {
        for (n, label) in [
            (400, "0.40K"),
            (29_123, "29K"),
            (134_515_008, "135M"),
            (1_100_048_384, "1.1B"),
            (8_030_261_248, "8.0B"),
            (9_950_000, "10M"),
        ] {
            assert_eq!(size_label(n), label);
        }
    }
}
