//! Tests: which tokens are computed, after how many others.

use std::fmt;

use crate::error::{Result, bail};
use crate::model::HyperParams;

/// What is timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prompt of one sequence.
    Prompt {
        /// Its tokens.
        n_tokens: usize,
    },
    /// Generation, one token of every sequence at a time.
    Generate {
        /// Tokens of each sequence.
        n_tokens: usize,
        /// Sequences together.
        batch: usize,
    },
}

/// A test of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// What is timed.
    pub kind: Kind,
    /// Tokens that each sequence holds before.
    pub depth: usize,
}

impl Test {
    /// Tokens of the prompt; 0 for generation.
    pub fn n_prompt(&self) -> usize {
        match self.kind {
            Kind::Prompt { n_tokens } => n_tokens,
            Kind::Generate { .. } => 0,
        }
    }

    /// Tokens that each sequence generates; 0 for a prompt.
    pub fn n_gen(&self) -> usize {
        match self.kind {
            Kind::Prompt { .. } => 0,
            Kind::Generate { n_tokens, .. } => n_tokens,
        }
    }

    /// Sequences.
    pub fn batch(&self) -> usize {
        match self.kind {
            Kind::Prompt { .. } => 1,
            Kind::Generate { batch, .. } => batch,
        }
    }

    /// Tokens that are timed, of all sequences.
    pub fn n_tokens(&self) -> usize {
        (self.n_prompt() + self.n_gen()) * self.batch()
    }

    /// Positions that a sequence needs.
    pub fn n_positions(&self) -> usize {
        self.depth.saturating_add(self.n_prompt()).saturating_add(self.n_gen())
    }

    /// Whether the model can be given this test.
    ///
    /// # Errors
    /// `InvalidArgument` for no tokens or sequences, and for more positions than the model was trained for.
    pub fn check(&self, hparams: &HyperParams) -> Result<()> {
        if self.n_tokens() == 0 {
            bail!(InvalidArgument, "a test of {self} computes nothing");
        }
        if self.n_positions() > hparams.n_ctx_train {
            bail!(
                InvalidArgument,
                "{} tokens after a depth (-d) of {} take {} positions; the model has {}",
                self.n_prompt() + self.n_gen(),
                self.depth,
                self.n_positions(),
                hparams.n_ctx_train
            );
        }
        Ok(())
    }
}

/// llama-bench's name: `pp512`, `tg128 @ d2048`; with several sequences `tg128 x 4`.
impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Prompt { n_tokens } => write!(f, "pp{n_tokens}")?,
            Kind::Generate { n_tokens, batch: 1 } => write!(f, "tg{n_tokens}")?,
            Kind::Generate { n_tokens, batch } => write!(f, "tg{n_tokens} x {batch}")?,
        }
        if self.depth > 0 { write!(f, " @ d{}", self.depth) } else { Ok(()) }
    }
}

/// The tests of all combinations, by depth from the least, so that a context is filled once: at each depth the prompts, then
/// the generations of every batch. Sizes of 0 mean no such test.
pub fn tests(prompts: &[usize], generations: &[usize], depths: &[usize], batches: &[usize]) -> Vec<Test> {
    let mut depths = depths.to_vec();
    depths.sort_unstable();
    depths.dedup();
    let some = |sizes: &[usize]| sizes.iter().copied().filter(|&n| n > 0).collect::<Vec<_>>();
    let (prompts, generations) = (some(prompts), some(generations));
    let kinds: Vec<Kind> =
        prompts
            .into_iter()
            .map(|n_tokens| Kind::Prompt { n_tokens })
            .chain(batches.iter().flat_map(|&batch| {
                generations.clone().into_iter().map(move |n_tokens| Kind::Generate { n_tokens, batch })
            }))
            .collect();
    depths.into_iter().flat_map(|depth| kinds.iter().map(move |&kind| Test { kind, depth })).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn combinations_come_in_order_of_depth() {
        let all = tests(&[0, 512], &[128], &[2048, 0, 0], &[1, 4]);
        let names: Vec<String> = all.iter().map(Test::to_string).collect();
        assert_eq!(names, ["pp512", "tg128", "tg128 x 4", "pp512 @ d2048", "tg128 @ d2048", "tg128 x 4 @ d2048"]);
        assert_eq!((all[0].n_prompt(), all[0].n_gen(), all[0].batch(), all[0].n_tokens()), (512, 0, 1, 512));
        assert_eq!((all[5].n_prompt(), all[5].n_gen(), all[5].batch(), all[5].n_tokens()), (0, 128, 4, 512));
        assert_eq!(all[5].n_positions(), 2176);
        assert!(tests(&[0], &[0], &[0], &[1]).is_empty());
    }
}
