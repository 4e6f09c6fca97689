//! When a generation ends, and what it gave.

use std::time::Duration;

use oribi::generate::{GenerateOptions, Piece, StopReason, Timings};
use serde_json::{Value, json};

use crate::interrupt;

/// When to stop, and what text to show.
#[derive(clap::Args)]
#[command(next_help_heading = "Generation")]
pub struct GenerationArgs {
    /// Tokens to generate at most; -1 goes on until the model ends or the context is full
    #[arg(short = 'n', long = "predict", visible_alias = "n-predict", value_name = "N", default_value_t = -1,
          allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    n_predict: i64,
    /// Text that ends the generation and is not shown; may be given again
    #[arg(short = 'r', long = "reverse-prompt", visible_alias = "stop", value_name = "TEXT")]
    stop: Vec<String>,
    /// Show control tokens as text
    #[arg(long)]
    special: bool,
}

impl GenerationArgs {
    /// The library's options, Ctrl-C included.
    pub fn options(&self) -> GenerateOptions {
        GenerateOptions {
            max_tokens: usize::try_from(self.n_predict).ok(),
            stop_strings: self.stop.clone(),
            show_special: self.special,
            cancel: Some(interrupt::flag()),
            ..GenerateOptions::default()
        }
    }
}

/// A finished generation.
pub struct Answer {
    pub text: String,
    pub pieces: Vec<Piece>,
    pub stop_reason: StopReason,
    pub load_time: Duration,
    pub timings: Timings,
}

impl Answer {
    /// What `oribi run --json` prints; `logprobs` only where they were asked for.
    pub fn to_json(&self, prompt: &[u32], logprobs: bool) -> Value {
        let mut object = json!({
            "text": self.text,
            "token_ids": self.pieces.iter().map(|p| p.token).collect::<Vec<_>>(),
            "prompt_token_ids": prompt,
            "stop_reason": self.stop_reason.name(),
            "timings": self.timings_json(),
        });
        if logprobs {
            object["logprobs"] = self.pieces.iter().map(logprobs_json).collect();
        }
        object
    }

    /// Milliseconds and rates; a rate that was not measured is null.
    fn timings_json(&self) -> Value {
        json!({
            "load_ms": milliseconds(self.load_time),
            "prompt_tokens": self.timings.prompt_tokens,
            "prompt_tokens_per_second": self.timings.prompt_tokens_per_second(),
            "generated_tokens": self.timings.generated_tokens,
            "generated_tokens_per_second": self.timings.generated_tokens_per_second(),
            "gigabytes_per_second": self.timings.gigabytes_per_second(),
            "time_to_first_token_ms": milliseconds(self.timings.time_to_first_token),
        })
    }

    /// The timings in a line for people.
    pub fn timings_line(&self) -> String {
        let t = &self.timings;
        let rate = |rate: Option<f64>| rate.map_or("-".to_string(), |r| format!("{r:.1}"));
        format!(
            "prompt {} tokens, {} tokens/s; generated {} tokens, {} tokens/s, {} GB/s; first token after {:.0} ms",
            t.prompt_tokens,
            rate(t.prompt_tokens_per_second()),
            t.generated_tokens,
            rate(t.generated_tokens_per_second()),
            rate(t.gigabytes_per_second()),
            milliseconds(t.time_to_first_token),
        )
    }

    /// Why the text ends where it does, if the model did not end it.
    pub fn cut_off(&self) -> Option<&'static str> {
        match self.stop_reason {
            StopReason::EndOfGeneration | StopReason::StopString | StopReason::StopToken => None,
            StopReason::Length => Some("the limit of -n was reached"),
            StopReason::ContextFull => Some("the context is full; -c sets its size"),
            StopReason::Cancelled => Some("interrupted"),
            _ => Some("stopped"),
        }
    }
}

fn logprobs_json(piece: &Piece) -> Value {
    let top: Vec<Value> = piece.top.iter().map(|(id, logprob)| json!({"token_id": id, "logprob": logprob})).collect();
    json!({"token_id": piece.token, "logprob": piece.logprob, "top": top})
}

fn milliseconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}
