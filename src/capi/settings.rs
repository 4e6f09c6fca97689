//! The options as the library knows them, and the one table of their keys.

use std::ffi::CStr;
use std::ops::RangeInclusive;

use super::hooks::Hooks;
use super::quantize::QuantizeSettings;
use crate::backend::cpu::CpuOptions;
use crate::backend::cpu::kernels::Isa;
use crate::backend::cpu::team::MAX_THREADS;
use crate::backend::{Device, Storage};
use crate::error::{Result, bail};
use crate::generate::{DEFAULT_BREAKERS, GenerateOptions, ban_end_of_generation, sequence_breakers};
use crate::quantize::Rule;
use crate::sampler::{MirostatVersion, SamplerOptions, StageName};
use crate::session::{KvType, Numerics, SessionOptions};
use crate::tokenizer::Tokenizer;

/// Everything that can be set.
#[derive(Clone, Default)]
pub(super) struct Settings {
    pub device: Device,
    pub cpu: CpuOptions,
    pub storage: Storage,
    pub max_memory: Option<u64>,
    pub max_gpu_memory: Option<u64>,
    pub gpu_layers: Option<usize>,
    pub session: SessionOptions,
    pub sampler: SamplerOptions,
    pub generate: GenerateOptions,
    pub hooks: Hooks,
    pub quantize: QuantizeSettings,
    /// `None` for the default ones.
    breakers: Option<Vec<String>>,
    ban_end: bool,
}

impl Settings {
    /// The sampler's options for a vocabulary.
    pub fn sampler_options(&self, tokenizer: &Tokenizer) -> Result<SamplerOptions> {
        let mut options = self.sampler.clone();
        // A walk over the whole vocabulary, for nothing where DRY is off.
        if options.dry_multiplier > 0.0 {
            options.dry_sequence_breakers = match &self.breakers {
                Some(texts) => sequence_breakers(tokenizer, texts)?,
                None => sequence_breakers(tokenizer, &DEFAULT_BREAKERS)?,
            };
        }
        if self.ban_end {
            ban_end_of_generation(&mut options, tokenizer);
        }
        Ok(options)
    }

    /// Set an option, or say why not and leave all as it was.
    pub fn set(&mut self, key: &str, value: Given<'_>) -> Result<()> {
        let row = row(key)?;
        let mut changed = self.clone();
        match (&row.kind, value) {
            (Kind::Int(range, _), Given::Int(value)) if !range.contains(&value) => {
                bail!(InvalidArgument, "option {key} is {value}, outside {}..={}", range.start(), range.end())
            }
            (Kind::Int(_, set), Given::Int(value)) => set(&mut changed, value),
            (Kind::Float(set), Given::Float(value)) => set(&mut changed, in_f32(key, value)?),
            (Kind::Bool(set), Given::Bool(value)) => set(&mut changed, value),
            (Kind::Text(set), Given::Text(value)) => set(&mut changed, value)?,
            (Kind::Texts(add), Given::OneText(value)) => add(&mut changed, value)?,
            (Kind::Tokens(add), Given::OneToken(value)) => add(&mut changed, value),
            (kind, value) => bail!(InvalidArgument, "option {key} is {}, not {}", kind.name(), value.name()),
        }
        changed.check(key)?;
        *self = changed;
        Ok(())
    }

    /// Add a bias to a token's logit.
    pub fn add_logit_bias(&mut self, token: u32, bias: f32) -> Result<()> {
        let mut changed = self.clone();
        changed.sampler.logit_bias.push((token, bias));
        changed.check("logit_bias")?;
        *self = changed;
        Ok(())
    }

    /// Back to the default.
    pub fn reset(&mut self, key: &str) -> Result<()> {
        (row(key)?.reset)(self, &Settings::default());
        Ok(())
    }

    /// The library's own checks of ranges; the vocabulary is not known yet.
    fn check(&self, key: &str) -> Result<()> {
        let checked = self.session.check().and_then(|()| self.sampler.check(usize::MAX));
        checked.map_err(|e| e.within(format_args!("option {key}")))
    }
}

fn row(key: &str) -> Result<&'static Row> {
    match OPTIONS.iter().find(|row| row.key.to_bytes() == key.as_bytes()) {
        Some(row) => Ok(row),
        None => bail!(InvalidArgument, "option {key:?} is not known"),
    }
}

fn in_f32(key: &str, value: f64) -> Result<f32> {
    let narrow = value as f32;
    if !value.is_finite() || !narrow.is_finite() {
        bail!(InvalidArgument, "option {key} is {value}, which is no number in the range of a float32");
    }
    Ok(narrow)
}

/// A value as the host gives it.
pub(super) enum Given<'a> {
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(&'a str),
    OneText(&'a str),
    OneToken(u32),
}

impl Given<'_> {
    fn name(&self) -> &'static str {
        match self {
            Given::Int(_) => "an integer",
            Given::Float(_) => "a float",
            Given::Bool(_) => "a bool",
            Given::Text(_) => "a text",
            Given::OneText(_) => "a list of texts",
            Given::OneToken(_) => "a list of tokens",
        }
    }
}

/// What an option takes, and how it is set.
pub(super) enum Kind {
    Int(RangeInclusive<i64>, fn(&mut Settings, i64)),
    Float(fn(&mut Settings, f32)),
    Bool(fn(&mut Settings, bool)),
    Text(fn(&mut Settings, &str) -> Result<()>),
    Texts(fn(&mut Settings, &str) -> Result<()>),
    Tokens(fn(&mut Settings, u32)),
    /// Token and bias, by a setter of its own.
    Biases,
}

impl Kind {
    pub fn c_name(&self) -> &'static CStr {
        match self {
            Kind::Int(..) => c"an integer",
            Kind::Float(_) => c"a float",
            Kind::Bool(_) => c"a bool",
            Kind::Text(_) => c"a text",
            Kind::Texts(_) => c"a list of texts",
            Kind::Tokens(_) => c"a list of tokens",
            Kind::Biases => c"a list of biases",
        }
    }

    fn name(&self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }
}

/// One option.
pub(super) struct Row {
    pub key: &'static CStr,
    pub about: &'static CStr,
    pub kind: Kind,
    reset: fn(&mut Settings, &Settings),
}

/// `option!(key, about, kind, the field that it sets)`.
macro_rules! option {
    ($key:literal, $about:literal, $kind:expr, $($field:ident).+) => {
        Row {
            key: $key,
            about: $about,
            kind: $kind,
            reset: |s, default| s.$($field).+.clone_from(&default.$($field).+),
        }
    };
}

/// A float that is a field of the sampler's options.
macro_rules! sampler_float {
    ($key:literal, $field:ident, $about:literal) => {
        option!($key, $about, Kind::Float(|s, v| s.sampler.$field = v), sampler.$field)
    };
}

/// The largest count that an `int64_t` and a `usize` both hold.
const MOST: i64 = if usize::BITS >= 64 { i64::MAX } else { i32::MAX as i64 };

/// Every option. Numbers are checked again by the parts of the library that they are for.
pub(super) static OPTIONS: &[Row] = &[
    // Models.
    option!(
        c"n_threads",
        c"threads; 0 is one for each physical core that the process may use",
        Kind::Int(0..=MAX_THREADS as i64, |s, v| s.cpu.n_threads = (v > 0).then_some(v as usize)),
        cpu.n_threads
    ),
    option!(
        c"isa",
        c"use no instruction set above this: scalar, avx2, avxvnni, avx512, avx512bf16, amx, neon, dotprod, i8mm",
        Kind::Text(|s, v| v.parse::<Isa>().map(|isa| s.cpu.isa = Some(isa))),
        cpu.isa
    ),
    option!(
        c"pack_weights",
        c"bring all weights into the layout of the kernels at load; false leaves them in the file: starts at once, runs slowly",
        Kind::Bool(|s, v| s.storage = if v { Storage::Packed } else { Storage::InFile }),
        storage
    ),
    option!(
        c"huge_pages",
        c"ask the system for huge pages for the weights",
        Kind::Bool(|s, v| s.cpu.huge_pages = Some(v)),
        cpu.huge_pages
    ),
    option!(
        c"max_memory",
        c"bytes that a model with one session may take; more is refused, before anything is read and before a session is made; 0 is no limit",
        Kind::Int(0..=i64::MAX, |s, v| s.max_memory = (v > 0).then_some(v as u64)),
        max_memory
    ),
    option!(
        c"device",
        c"what the model runs on: cpu, cuda or cuda:N for an NVIDIA GPU, auto for the first GPU that can be used, else the CPU",
        Kind::Text(|s, v| v.parse::<Device>().map(|device| s.device = device)),
        device
    ),
    option!(
        c"gpu_layers",
        c"blocks of the model that are on the GPU, for models larger than its memory; the CPU computes the others; -1 is all",
        Kind::Int(-1..=i32::MAX as i64, |s, v| s.gpu_layers = usize::try_from(v).ok()),
        gpu_layers
    ),
    option!(
        c"max_gpu_memory",
        c"the same as max_memory for a GPU's own memory; 0 is what is free there",
        Kind::Int(0..=i64::MAX, |s, v| s.max_gpu_memory = (v > 0).then_some(v as u64)),
        max_gpu_memory
    ),
    // Sessions.
    option!(
        c"n_ctx",
        c"positions that a sequence may have; 0 is what the model was trained for",
        Kind::Int(0..=MOST, |s, v| s.session.n_ctx = v as usize),
        session.n_ctx
    ),
    option!(
        c"n_batch",
        c"tokens that are computed at once; changes speed and memory only",
        Kind::Int(0..=MOST, |s, v| s.session.n_batch = v as usize),
        session.n_batch
    ),
    option!(
        c"n_sequences",
        c"sequences that may exist at once",
        Kind::Int(0..=MOST, |s, v| s.session.n_sequences = v as usize),
        session.n_sequences
    ),
    option!(
        c"max_outputs",
        c"logits that one batch may ask for; 0 is one for each sequence",
        Kind::Int(0..=MOST, |s, v| s.session.max_outputs = v as usize),
        session.max_outputs
    ),
    option!(
        c"numerics",
        c"arithmetic of prompts: native (bfloat16 where the CPU is fast at it) or portable (the same bits everywhere)",
        Kind::Text(|s, v| {
            s.session.numerics = match v {
                "native" => Numerics::Native,
                "portable" => Numerics::Portable,
                _ => bail!(InvalidArgument, "option numerics is {v:?}, not native or portable"),
            };
            Ok(())
        }),
        session.numerics
    ),
    option!(
        c"kv_type",
        c"how keys and values are kept: f16, q8_0 (half the memory), q4_0 (a quarter, far less exact)",
        Kind::Text(|s, v| v.parse::<KvType>().map(|kv_type| s.session.kv_type = kv_type)),
        session.kv_type
    ),
    // Samplers.
    option!(
        c"seed",
        c"seed of the random numbers, its 64 bits; without one each sampler draws its own",
        Kind::Int(i64::MIN..=i64::MAX, |s, v| s.sampler.seed = Some(v as u64)),
        sampler.seed
    ),
    option!(
        c"logprobs",
        c"give the log-probability of each token, and of this many of the most probable ones; -1 gives none",
        Kind::Int(-1..=MOST, |s, v| s.sampler.logprobs = usize::try_from(v).ok()),
        sampler.logprobs
    ),
    option!(
        c"samplers",
        c"stages in their order, as in penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
        Kind::Text(|s, v| StageName::parse_list(v).map(|stages| s.sampler.samplers = stages)),
        sampler.samplers
    ),
    sampler_float!(c"temp", temp, c"temperature; 0 takes the most probable token"),
    sampler_float!(c"dynatemp_range", dynatemp_range, c"half the width of the dynamic temperature's range; 0 is off"),
    sampler_float!(c"dynatemp_exponent", dynatemp_exponent, c"exponent of the dynamic temperature"),
    option!(
        c"top_k",
        c"keep so many of the most probable tokens; 0 is off",
        Kind::Int(0..=MOST, |s, v| s.sampler.top_k = v as usize),
        sampler.top_k
    ),
    sampler_float!(c"top_p", top_p, c"keep the most probable tokens of this mass; 1 is off"),
    sampler_float!(c"min_p", min_p, c"keep tokens at least this fraction as probable as the best; 0 is off"),
    sampler_float!(c"typical_p", typical_p, c"keep the most typical tokens of this mass; 1 is off"),
    sampler_float!(c"top_n_sigma", top_n_sigma, c"keep logits this many standard deviations from the best; 0 is off"),
    sampler_float!(c"xtc_probability", xtc_probability, c"how often XTC takes top choices away; 0 is off"),
    sampler_float!(c"xtc_threshold", xtc_threshold, c"probability from which XTC calls a token a top choice"),
    option!(
        c"penalty_last_n",
        c"how many of the last tokens the penalties look at; 0 is off, -1 is all",
        Kind::Int(-1..=MOST, |s, v| s.sampler.penalty_last_n = v),
        sampler.penalty_last_n
    ),
    sampler_float!(c"repeat_penalty", repeat_penalty, c"divides the logits of repeated tokens; 1 is off"),
    sampler_float!(c"frequency_penalty", frequency_penalty, c"subtracted for each repetition; 0 is off"),
    sampler_float!(c"presence_penalty", presence_penalty, c"subtracted once for a repeated token; 0 is off"),
    sampler_float!(c"dry_multiplier", dry_multiplier, c"scale of the DRY penalty; 0 is off"),
    sampler_float!(c"dry_base", dry_base, c"base of the DRY penalty's growth"),
    option!(
        c"dry_allowed_length",
        c"repetitions shorter than this are free of the DRY penalty",
        Kind::Int(0..=MOST, |s, v| s.sampler.dry_allowed_length = v as usize),
        sampler.dry_allowed_length
    ),
    option!(
        c"dry_penalty_last_n",
        c"how many of the last tokens DRY looks at; 0 is off, -1 is all",
        Kind::Int(-1..=MOST, |s, v| s.sampler.dry_penalty_last_n = v),
        sampler.dry_penalty_last_n
    ),
    option!(
        c"dry_sequence_breakers",
        c"texts that no repetition reaches over; the first that is added replaces the default ones",
        Kind::Texts(|s, v| {
            if v.is_empty() {
                bail!(InvalidArgument, "option dry_sequence_breakers: a breaker is empty");
            }
            s.breakers.get_or_insert_default().push(v.to_owned());
            Ok(())
        }),
        breakers
    ),
    option!(
        c"mirostat",
        c"Mirostat version 1 or 2 in place of the truncating stages; 0 is off",
        Kind::Int(0..=2, |s, v| {
            s.sampler.mirostat = match v {
                1 => Some(MirostatVersion::V1),
                2 => Some(MirostatVersion::V2),
                _ => None,
            }
        }),
        sampler.mirostat
    ),
    sampler_float!(c"mirostat_tau", mirostat_tau, c"the surprise that Mirostat aims at, in bits"),
    sampler_float!(c"mirostat_eta", mirostat_eta, c"Mirostat's learning rate"),
    option!(
        c"logit_bias",
        c"added to the logits of tokens, by oribi_options_add_logit_bias()",
        Kind::Biases,
        sampler.logit_bias
    ),
    option!(
        c"ban_end_of_generation",
        c"never choose a token that ends the text, so that something else must",
        Kind::Bool(|s, v| s.ban_end = v),
        ban_end
    ),
    // Generations.
    option!(
        c"max_tokens",
        c"the most tokens to generate; -1 is as many as the context has room for",
        Kind::Int(-1..=MOST, |s, v| s.generate.max_tokens = usize::try_from(v).ok()),
        generate.max_tokens
    ),
    option!(
        c"stop_strings",
        c"texts that end the generation and are not part of it",
        Kind::Texts(|s, v| {
            if v.is_empty() {
                bail!(InvalidArgument, "option stop_strings: a stop string is empty");
            }
            s.generate.stop_strings.push(v.to_owned());
            Ok(())
        }),
        generate.stop_strings
    ),
    option!(
        c"stop_tokens",
        c"tokens that end the generation, beside those that the model ends with",
        Kind::Tokens(|s, v| s.generate.stop_tokens.push(v)),
        generate.stop_tokens
    ),
    option!(
        c"show_special",
        c"show control tokens in the text as the vocabulary writes them",
        Kind::Bool(|s, v| s.generate.show_special = v),
        generate.show_special
    ),
    // Quantization.
    option!(
        c"tensor_types",
        c"REGEX=TYPE: matrices whose names match have this type whatever the level; the first that matches decides",
        Kind::Texts(|s, v| {
            if v.is_empty() {
                bail!(InvalidArgument, "option tensor_types: a rule is empty");
            }
            s.quantize.rules.push(Rule::parse(v)?);
            Ok(())
        }),
        quantize.rules
    ),
    option!(
        c"importance",
        c"path of an importance matrix, which weighs the errors of columns",
        Kind::Text(|s, v| {
            s.quantize.importance = (!v.is_empty()).then(|| v.into());
            Ok(())
        }),
        quantize.importance
    ),
    option!(
        c"requantize",
        c"encode tensors again that are quantized already, which adds one rounding to another",
        Kind::Bool(|s, v| s.quantize.requantize = v),
        quantize.requantize
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The header documents every option, in the words of the table.
    #[test]
    fn the_header_lists_every_option() {
        let header = include_str!("../../include/oribi.h");
        for row in OPTIONS {
            let (key, about) = (row.key.to_str().unwrap(), row.about.to_str().unwrap());
            let line = format!("{key} ({}): {about}", row.kind.name());
            assert!(header.contains(&line), "oribi.h does not say: {line}");
        }
    }

    #[test]
    fn a_wrong_value_changes_nothing() {
        let mut settings = Settings::default();
        settings.set("n_ctx", Given::Int(64)).unwrap();
        for (key, value) in [
            ("n_ctx", Given::Int(-1)),
            ("n_ctx", Given::Int(i64::MAX)),
            ("n_ctx", Given::Float(3.0)),
            ("n_batch", Given::Int(0)),
            ("top_p", Given::Float(1.5)),
            ("temp", Given::Float(f64::NAN)),
            ("temp", Given::Float(1e300)),
            ("nothing", Given::Bool(true)),
        ] {
            let error = settings.set(key, value).unwrap_err();
            assert_eq!(error.kind(), crate::ErrorKind::InvalidArgument);
            assert!(error.to_string().contains(key), "{error}");
        }
        assert_eq!(settings.session.n_ctx, 64);
        assert_eq!(settings.sampler, SamplerOptions::default());
        settings.reset("n_ctx").unwrap();
        assert_eq!(settings.session.n_ctx, 0);
    }
}
