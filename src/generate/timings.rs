//! How long the parts of a generation took. The time that the caller spends between two pieces is not counted.

use std::time::Duration;

/// Counts and times of one generation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timings {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Time to evaluate the prompt.
    pub prompt_time: Duration,
    /// Sampled tokens, the one that ended the generation included.
    pub generated_tokens: usize,
    /// Tokens that were evaluated one at a time: the last generated one never is.
    pub evaluated_tokens: usize,
    /// Time to evaluate and sample those.
    pub generate_time: Duration,
    /// From the start to the first sampled token; zero until there is one.
    pub time_to_first_token: Duration,
    /// Bytes of weights that the evaluation of one token reads.
    pub bytes_per_token: u64,
}

impl Timings {
    /// Prompt tokens per second; `None` before the prompt is evaluated.
    pub fn prompt_tokens_per_second(&self) -> Option<f64> {
        per_second(self.prompt_tokens as f64, self.prompt_time)
    }

    /// Generated tokens per second: tokens evaluated one at a time over the time from token to token. `None` before the
    /// second token, because the first one comes out of the prompt.
    pub fn generated_tokens_per_second(&self) -> Option<f64> {
        per_second(self.evaluated_tokens as f64, self.generate_time)
    }

    /// Weights read per second while generating, in GB (10^9 bytes).
    pub fn gigabytes_per_second(&self) -> Option<f64> {
        per_second(self.evaluated_tokens as f64 * self.bytes_per_token as f64 / 1e9, self.generate_time)
    }
}

fn per_second(amount: f64, time: Duration) -> Option<f64> {
    (amount > 0.0 && time > Duration::ZERO).then(|| amount / time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        let t = Timings {
            prompt_tokens: 30,
            prompt_time: Duration::from_millis(100),
            generated_tokens: 11,
            evaluated_tokens: 10,
            generate_time: Duration::from_millis(500),
            bytes_per_token: 100_000_000,
            ..Timings::default()
        };
        assert_eq!(t.prompt_tokens_per_second(), Some(300.0));
        assert_eq!(t.generated_tokens_per_second(), Some(20.0));
        assert_eq!(t.gigabytes_per_second(), Some(2.0));
        let none = Timings::default();
        assert_eq!((none.prompt_tokens_per_second(), none.generated_tokens_per_second()), (None, None));
    }
}
