//! When a generation ends, and how it ended.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// When to stop, and what text to show.
#[derive(Clone, Debug, Default)]
pub struct GenerateOptions {
    /// The most tokens to generate; `None` goes on until something else stops it, at the latest the full context.
    pub max_tokens: Option<usize>,
    /// Texts that end the generation; they are not part of the result.
    pub stop_strings: Vec<String>,
    /// Tokens that end the generation, beside those that the model ends with; their text is not part of the result.
    pub stop_tokens: Vec<u32>,
    /// Whether control tokens appear in the text as the vocabulary writes them.
    pub show_special: bool,
    /// Set by anybody, it ends the generation before the next token.
    pub cancel: Option<Arc<AtomicBool>>,
}

/// Why a generation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StopReason {
    /// The model chose a token that ends the text or the turn.
    EndOfGeneration,
    /// A stop string appeared.
    StopString,
    /// One of the caller's stop tokens was chosen.
    StopToken,
    /// The most tokens asked for were generated.
    Length,
    /// The context has no room for another token.
    ContextFull,
    /// The cancel flag was set.
    Cancelled,
}

impl StopReason {
    /// The stable name in output for programs.
    pub fn name(self) -> &'static str {
        match self {
            StopReason::EndOfGeneration => "end_of_generation",
            StopReason::StopString => "stop_string",
            StopReason::StopToken => "stop_token",
            StopReason::Length => "length",
            StopReason::ContextFull => "context_full",
            StopReason::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
