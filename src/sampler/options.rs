//! What a caller may set, with llama.cpp's defaults and names where they mean the same, and the checks of the ranges.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use super::mirostat::MirostatVersion;
use crate::error::{Error, Result, bail};

/// How tokens are chosen. Every field is checked by [`super::Sampler::new`]; an error names the field.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplerOptions {
    /// The seed of the random stream; `None` draws one, which [`super::Sampler::seed`] tells.
    pub seed: Option<u64>,
    /// Whether the log-probability of each pick is wanted, and of how many of the most probable tokens beside it.
    pub logprobs: Option<usize>,
    /// The order of the stages; a stage that is not named is not applied.
    pub samplers: Vec<StageName>,
    /// Temperature; 0 and below is greedy: the largest logit after bias and penalties, nothing else, no random number.
    pub temp: f32,
    /// Half the width of the dynamic temperature's range; 0 is a fixed temperature.
    pub dynatemp_range: f32,
    /// Exponent that maps normalized entropy to the dynamic temperature.
    pub dynatemp_exponent: f32,
    /// Keep the k most probable tokens; 0 is off.
    pub top_k: usize,
    /// Keep the most probable tokens that have this mass together; 1 is off.
    pub top_p: f32,
    /// Keep tokens at least this fraction as probable as the most probable one; 0 is off.
    pub min_p: f32,
    /// Keep the most typical tokens that have this mass together; 1 is off.
    pub typical_p: f32,
    /// Keep logits within this many standard deviations of the maximum; 0 and below is off.
    pub top_n_sigma: f32,
    /// How often XTC acts; 0 is off.
    pub xtc_probability: f32,
    /// The probability from which XTC takes a token for a top choice; above 0.5 is off.
    pub xtc_threshold: f32,
    /// How many of the last tokens the three penalties look at; 0 is off, -1 is all of them.
    pub penalty_last_n: i64,
    /// Divides the logits of tokens in the window; 1 is off.
    pub repeat_penalty: f32,
    /// Subtracted from a logit for each occurrence in the window; 0 is off.
    pub frequency_penalty: f32,
    /// Subtracted from a logit once if it occurs in the window; 0 is off.
    pub presence_penalty: f32,
    /// Scale of the DRY penalty; 0 is off.
    pub dry_multiplier: f32,
    /// Base of the DRY penalty's growth with the length of the repetition.
    pub dry_base: f32,
    /// Repetitions shorter than this are free.
    pub dry_allowed_length: usize,
    /// How many of the last tokens DRY looks at; 0 is off, -1 is all of them.
    pub dry_penalty_last_n: i64,
    /// Token sequences that no repetition reaches over.
    pub dry_sequence_breakers: Vec<Vec<u32>>,
    /// Mirostat instead of the truncating stages and the plain draw: bias, penalties, DRY and temperature still apply.
    pub mirostat: Option<MirostatVersion>,
    /// The surprise Mirostat aims at, in bits.
    pub mirostat_tau: f32,
    /// Mirostat's learning rate.
    pub mirostat_eta: f32,
    /// Added to the logits of tokens, before everything else; `-inf` excludes a token.
    pub logit_bias: Vec<(u32, f32)>,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        SamplerOptions {
            seed: None,
            logprobs: None,
            samplers: StageName::DEFAULT_ORDER.to_vec(),
            temp: 0.8,
            dynatemp_range: 0.0,
            dynatemp_exponent: 1.0,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            typical_p: 1.0,
            top_n_sigma: -1.0,
            xtc_probability: 0.0,
            xtc_threshold: 0.1,
            penalty_last_n: 64,
            repeat_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            dry_multiplier: 0.0,
            dry_base: 1.75,
            dry_allowed_length: 2,
            dry_penalty_last_n: 64,
            dry_sequence_breakers: Vec::new(),
            mirostat: None,
            mirostat_tau: 5.0,
            mirostat_eta: 0.1,
            logit_bias: Vec::new(),
        }
    }
}

impl SamplerOptions {
    /// The defaults with temperature 0.
    pub fn greedy() -> Self {
        SamplerOptions { temp: 0.0, ..Self::default() }
    }

    /// Checks every field for a vocabulary of `n_vocab` tokens.
    pub fn check(&self, n_vocab: usize) -> Result<()> {
        let unit = 0.0..=1.0;
        let ranges: [(&str, f32, RangeInclusive<f32>); 16] = [
            ("temp", self.temp, f32::MIN..=1e6),
            ("dynatemp_range", self.dynatemp_range, 0.0..=1e6),
            ("dynatemp_exponent", self.dynatemp_exponent, 0.0..=1e3),
            ("top_p", self.top_p, unit.clone()),
            ("min_p", self.min_p, unit.clone()),
            ("typical_p", self.typical_p, unit.clone()),
            ("top_n_sigma", self.top_n_sigma, f32::MIN..=f32::MAX),
            ("xtc_probability", self.xtc_probability, unit.clone()),
            ("xtc_threshold", self.xtc_threshold, unit),
            ("repeat_penalty", self.repeat_penalty, 1e-3..=1e3),
            ("frequency_penalty", self.frequency_penalty, -1e3..=1e3),
            ("presence_penalty", self.presence_penalty, -1e3..=1e3),
            ("dry_multiplier", self.dry_multiplier, 0.0..=1e6),
            ("dry_base", self.dry_base, 1.0..=1e6),
            ("mirostat_tau", self.mirostat_tau, 0.0..=1e3),
            ("mirostat_eta", self.mirostat_eta, 0.0..=1e3),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                bail!(InvalidArgument, "{name} is {value}, allowed is {} to {}", range.start(), range.end());
            }
        }
        window("penalty_last_n", self.penalty_last_n)?;
        window("dry_penalty_last_n", self.dry_penalty_last_n)?;
        self.check_samplers()?;
        self.check_tokens(n_vocab)
    }

    fn check_samplers(&self) -> Result<()> {
        for (i, name) in self.samplers.iter().enumerate() {
            if self.samplers[..i].contains(name) {
                bail!(InvalidArgument, "samplers: {name} is named twice");
            }
        }
        Ok(())
    }

    fn check_tokens(&self, n_vocab: usize) -> Result<()> {
        for &(token, bias) in &self.logit_bias {
            if token as usize >= n_vocab {
                bail!(InvalidArgument, "logit_bias: token {token} is outside the vocabulary of {n_vocab}");
            }
            if bias != f32::NEG_INFINITY && !(-1e9..=1e9).contains(&bias) {
                bail!(InvalidArgument, "logit_bias: {bias} for token {token}, allowed is -inf or -1e9 to 1e9");
            }
        }
        if let Some(i) = self.dry_sequence_breakers.iter().position(Vec::is_empty) {
            bail!(InvalidArgument, "dry_sequence_breakers: sequence {i} is empty");
        }
        Ok(())
    }
}

/// The window that `last_n` means: -1 is `None`, all tokens.
pub(super) fn window(name: &str, last_n: i64) -> Result<Option<usize>> {
    match usize::try_from(last_n) {
        Ok(n) => Ok(Some(n)),
        Err(_) if last_n == -1 => Ok(None),
        Err(_) => bail!(InvalidArgument, "{name} is {last_n}, allowed is -1 (all tokens) and above"),
    }
}

/// A stage of the chain that [`SamplerOptions::samplers`] orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StageName {
    /// Repetition, frequency and presence penalties.
    Penalties,
    /// The penalty on continued repetitions.
    Dry,
    /// Distance from the maximum in standard deviations.
    TopNSigma,
    /// A fixed number of tokens.
    TopK,
    /// Locally typical tokens.
    TypicalP,
    /// The nucleus.
    TopP,
    /// A fraction of the highest probability.
    MinP,
    /// Exclusion of top choices.
    Xtc,
    /// Temperature, fixed or dynamic.
    Temperature,
}

impl StageName {
    /// The order that llama.cpp uses when none is given.
    pub const DEFAULT_ORDER: [StageName; 9] = [
        StageName::Penalties,
        StageName::Dry,
        StageName::TopNSigma,
        StageName::TopK,
        StageName::TypicalP,
        StageName::TopP,
        StageName::MinP,
        StageName::Xtc,
        StageName::Temperature,
    ];

    /// The name in option lists.
    pub fn name(self) -> &'static str {
        match self {
            StageName::Penalties => "penalties",
            StageName::Dry => "dry",
            StageName::TopNSigma => "top_n_sigma",
            StageName::TopK => "top_k",
            StageName::TypicalP => "typ_p",
            StageName::TopP => "top_p",
            StageName::MinP => "min_p",
            StageName::Xtc => "xtc",
            StageName::Temperature => "temperature",
        }
    }

    /// The stages of a list like `penalties;top_k;temperature`; an empty text is no stage.
    pub fn parse_list(list: &str) -> Result<Vec<StageName>> {
        list.split(';').map(str::trim).filter(|name| !name.is_empty()).map(str::parse).collect()
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StageName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        if let Some(stage) = Self::DEFAULT_ORDER.into_iter().find(|s| s.name() == name) {
            return Ok(stage);
        }
        let known = Self::DEFAULT_ORDER.map(StageName::name).join(", ");
        bail!(InvalidArgument, "samplers: {name:?} is not a stage; known are {known}")
    }
}
