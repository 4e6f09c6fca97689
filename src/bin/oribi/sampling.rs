//! How tokens are chosen: every sampling option, under llama.cpp's names and with its defaults.

use oribi::generate::{DEFAULT_BREAKERS, ban_end_of_generation, sequence_breakers};
use oribi::sampler::{MirostatVersion, SamplerOptions, StageName};
use oribi::tokenizer::Tokenizer;
use oribi::{Error, ErrorKind, Result};

/// The options; values are checked by the library when the sampler is made.
#[derive(clap::Args)]
#[command(next_help_heading = "Sampling")]
pub struct SamplingArgs {
    /// Seed of the random draws; without it each run draws its own (shown with -v)
    #[arg(short, long)]
    seed: Option<u64>,
    /// Temperature; 0 always takes the most probable token
    #[arg(long, visible_alias = "temperature", value_name = "T", default_value_t = SamplerOptions::default().temp)]
    temp: f32,
    /// Keep the K most probable tokens; 0 is off
    #[arg(long, value_name = "K", default_value_t = SamplerOptions::default().top_k)]
    top_k: usize,
    /// Keep the most probable tokens that have this mass together; 1 is off
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().top_p)]
    top_p: f32,
    /// Keep tokens at least this fraction as probable as the best; 0 is off
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().min_p)]
    min_p: f32,
    /// Keep the most typical tokens that have this mass together; 1 is off
    #[arg(long = "typical-p", visible_alias = "typical", value_name = "P", default_value_t = SamplerOptions::default().typical_p)]
    typical_p: f32,
    /// Keep logits within N standard deviations of the best; 0 and below is off
    #[arg(long = "top-n-sigma", visible_alias = "top-nsigma", value_name = "N", allow_negative_numbers = true,
          default_value_t = SamplerOptions::default().top_n_sigma)]
    top_n_sigma: f32,
    /// How often XTC removes top choices; 0 is off
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().xtc_probability)]
    xtc_probability: f32,
    /// Probability from which XTC takes a token for a top choice; above 0.5 is off
    #[arg(long, value_name = "P", default_value_t = SamplerOptions::default().xtc_threshold)]
    xtc_threshold: f32,
    /// Half the width of the dynamic temperature; 0 is a fixed temperature
    #[arg(long = "dynatemp-range", value_name = "R", default_value_t = SamplerOptions::default().dynatemp_range)]
    dynatemp_range: f32,
    /// Exponent of the dynamic temperature
    #[arg(long = "dynatemp-exp", value_name = "E", default_value_t = SamplerOptions::default().dynatemp_exponent)]
    dynatemp_exponent: f32,
    /// Tokens that the penalties look back at; 0 is off, -1 is all
    #[arg(long = "repeat-last-n", value_name = "N", allow_negative_numbers = true,
          default_value_t = SamplerOptions::default().penalty_last_n)]
    repeat_last_n: i64,
    /// Penalty on tokens that occurred; 1 is off
    #[arg(long, value_name = "F", default_value_t = SamplerOptions::default().repeat_penalty)]
    repeat_penalty: f32,
    /// Penalty for every occurrence; 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = SamplerOptions::default().frequency_penalty)]
    frequency_penalty: f32,
    /// Penalty for having occurred at all; 0 is off
    #[arg(long, value_name = "F", allow_negative_numbers = true, default_value_t = SamplerOptions::default().presence_penalty)]
    presence_penalty: f32,
    /// Scale of the DRY penalty on continued repetitions; 0 is off
    #[arg(long, value_name = "F", default_value_t = SamplerOptions::default().dry_multiplier)]
    dry_multiplier: f32,
    /// Base of the DRY penalty's growth
    #[arg(long, value_name = "F", default_value_t = SamplerOptions::default().dry_base)]
    dry_base: f32,
    /// Repetitions shorter than this are free of DRY
    #[arg(long, value_name = "N", default_value_t = SamplerOptions::default().dry_allowed_length)]
    dry_allowed_length: usize,
    /// Tokens that DRY looks back at; 0 is off, -1 is all
    #[arg(long, value_name = "N", allow_negative_numbers = true,
          default_value_t = SamplerOptions::default().dry_penalty_last_n)]
    dry_penalty_last_n: i64,
    /// Text that no DRY repetition reaches over; may be given again; "none" for no breaker
    #[arg(long = "dry-sequence-breaker", value_name = "TEXT", default_values = DEFAULT_BREAKERS,
          hide_default_value = true)]
    dry_sequence_breakers: Vec<String>,
    /// Mirostat instead of the truncating stages: 0 (off), 1 or 2
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    mirostat: u8,
    /// The surprise that Mirostat aims at, in bits
    #[arg(long = "mirostat-ent", value_name = "TAU", default_value_t = SamplerOptions::default().mirostat_tau)]
    mirostat_tau: f32,
    /// Mirostat's learning rate
    #[arg(long = "mirostat-lr", value_name = "ETA", default_value_t = SamplerOptions::default().mirostat_eta)]
    mirostat_eta: f32,
    /// Stages in order, separated by semicolons [default: penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature]
    #[arg(long, value_name = "LIST")]
    samplers: Option<String>,
    /// Add BIAS to the logit of a token, as in 15043+1, 15043-2.5 or 15043-inf; may be given again
    #[arg(short = 'l', long = "logit-bias", value_name = "ID±BIAS")]
    logit_bias: Vec<String>,
    /// Never choose a token that ends the generation
    #[arg(long)]
    ignore_eos: bool,
}

impl SamplingArgs {
    /// The library's options; texts become tokens of this tokenizer.
    pub fn options(&self, tokenizer: &Tokenizer, logprobs: Option<usize>) -> Result<SamplerOptions> {
        let samplers = self.samplers.as_deref().map(StageName::parse_list).transpose()?;
        let mut options = SamplerOptions {
            seed: self.seed,
            logprobs,
            samplers: samplers.unwrap_or_else(|| SamplerOptions::default().samplers),
            temp: self.temp,
            dynatemp_range: self.dynatemp_range,
            dynatemp_exponent: self.dynatemp_exponent,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            typical_p: self.typical_p,
            top_n_sigma: self.top_n_sigma,
            xtc_probability: self.xtc_probability,
            xtc_threshold: self.xtc_threshold,
            penalty_last_n: self.repeat_last_n,
            repeat_penalty: self.repeat_penalty,
            frequency_penalty: self.frequency_penalty,
            presence_penalty: self.presence_penalty,
            dry_multiplier: self.dry_multiplier,
            dry_base: self.dry_base,
            dry_allowed_length: self.dry_allowed_length,
            dry_penalty_last_n: self.dry_penalty_last_n,
            dry_sequence_breakers: self.breakers(tokenizer)?,
            mirostat: match self.mirostat {
                0 => None,
                1 => Some(MirostatVersion::V1),
                _ => Some(MirostatVersion::V2),
            },
            mirostat_tau: self.mirostat_tau,
            mirostat_eta: self.mirostat_eta,
            logit_bias: self.logit_bias.iter().map(|text| parse_bias(text)).collect::<Result<_>>()?,
        };
        if self.ignore_eos {
            ban_end_of_generation(&mut options, tokenizer);
        }
        Ok(options)
    }

    fn breakers(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        if self.dry_multiplier == 0.0 || self.dry_sequence_breakers == ["none"] {
            return Ok(Vec::new()); // not needed, and a walk over the whole vocabulary
        }
        sequence_breakers(tokenizer, &self.dry_sequence_breakers)
    }
}

/// `15043+1`, `15043-2.5`, `15043-inf`.
fn parse_bias(text: &str) -> Result<(u32, f32)> {
    let at = text.find(['+', '-']).filter(|&at| at > 0);
    let parsed = at.and_then(|at| Some((text[..at].parse().ok()?, text[at..].parse().ok()?)));
    let kind = ErrorKind::InvalidArgument;
    parsed.ok_or_else(|| Error::new(kind, format!("--logit-bias {text}: not a token id, a sign and a number")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bias_is_a_token_a_sign_and_a_number() {
        assert_eq!(parse_bias("15043+1").unwrap(), (15043, 1.0));
        assert_eq!(parse_bias("0-2.5").unwrap(), (0, -2.5));
        assert_eq!(parse_bias("7-inf").unwrap(), (7, f32::NEG_INFINITY));
        for wrong in ["", "7", "+1", "x+1", "7+x", "-1+2", "99999999999+1"] {
            assert!(parse_bias(wrong).is_err(), "{wrong}");
        }
    }
}
