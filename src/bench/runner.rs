//! Runs tests on a model and times them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::model::Model;
use crate::sampler::Rng;
use crate::session::{Batch, Control, Role, SequenceId, Session, SessionOptions, rows_at_once};

use super::test::{Kind, Test};
use super::work::Work;

/// How a [`Bench`] runs.
#[derive(Clone, Debug, Default)]
pub struct BenchOptions {
    /// Options of the session; its context, sequences and outputs are set to what the tests need.
    pub session: SessionOptions,
    /// Seed of the tokens.
    pub seed: u64,
}

/// A model, and a session that its tests run in.
///
/// A test leaves its context behind for the next one: tests in order of depth fill it once. Sequences that generate together
/// are filled one by one and share no memory, as those of different users would.
pub struct Bench {
    session: Session,
    sequences: Vec<SequenceId>,
    random: Rng,
}

impl Bench {
    /// A session with room for all of `tests`.
    ///
    /// # Errors
    /// `InvalidArgument` for a test that the model cannot be given, and those of [`Session::new`].
    pub fn new(model: &Arc<Model>, options: &BenchOptions, tests: &[Test]) -> Result<Bench> {
        tests.iter().try_for_each(|test| test.check(model.hparams()))?;
        let session = Session::new(model, &Bench::session_options(&options.session, tests))?;
        Ok(Bench { session, sequences: Vec::new(), random: Rng::new(options.seed) })
    }

    /// The options of a session that has room for all of `tests`.
    pub fn session_options(options: &SessionOptions, tests: &[Test]) -> SessionOptions {
        let most = |of: fn(&Test) -> usize| tests.iter().map(of).max().unwrap_or(1);
        let n_sequences = most(Test::batch);
        SessionOptions { n_ctx: most(Test::n_positions), n_sequences, max_outputs: n_sequences, ..options.clone() }
    }

    /// The session that the tests run in.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Passes of a test.
    pub fn n_passes(&self, test: &Test) -> usize {
        let rows = rows_at_once(self.session.model(), self.session.options(), Role::Prompt);
        test.n_prompt().div_ceil(rows) + test.n_gen()
    }

    /// What a test makes the machine do.
    ///
    /// # Errors
    /// Those of [`Work::of`].
    pub fn work(&self, test: &Test) -> Result<Work> {
        Work::of(test, self.session.model(), self.session.options())
    }

    /// Brings the context to the test's depth, runs the test, and gives the time of the test alone. `stop` is asked now and
    /// then.
    ///
    /// # Errors
    /// Those of [`Session::decode_with`]; `Cancelled` when `stop` says so.
    pub fn run(&mut self, test: &Test, stop: &(dyn Fn() -> bool + Sync)) -> Result<Duration> {
        while self.sequences.len() < test.batch() {
            self.sequences.push(self.session.new_sequence()?);
        }
        let sequences = self.sequences[..test.batch()].to_vec();
        for &sequence in &sequences {
            self.fill(sequence, test.depth, stop)?;
        }
        let batches: Vec<Batch> = match test.kind {
            Kind::Prompt { n_tokens } => vec![Batch::prompt(sequences[0], &self.tokens(n_tokens))],
            Kind::Generate { n_tokens, .. } => (0..n_tokens).map(|_| self.one_token_each(&sequences)).collect(),
        };
        let start = Instant::now();
        for batch in &batches {
            self.session.decode_with(batch, Control { stop: Some(stop), progress: None })?;
        }
        let time = start.elapsed();
        sequences.iter().try_for_each(|&sequence| self.session.truncate(sequence, test.depth))?;
        Ok(time)
    }

    /// Gives a sequence `depth` tokens.
    fn fill(&mut self, sequence: SequenceId, depth: usize, stop: &(dyn Fn() -> bool + Sync)) -> Result<()> {
        let len = self.session.len(sequence)?;
        if len > depth {
            return self.session.truncate(sequence, depth);
        }
        if len < depth {
            let batch = Batch::prompt(sequence, &self.tokens(depth - len));
            self.session.decode_with(&batch, Control { stop: Some(stop), progress: None })?;
        }
        Ok(())
    }

    fn one_token_each(&mut self, sequences: &[SequenceId]) -> Batch {
        let mut batch = Batch::new();
        for (&sequence, token) in sequences.iter().zip(self.tokens(sequences.len())) {
            batch.push(sequence, token, Role::Generated, true);
        }
        batch
    }

    /// Random tokens of the model's vocabulary.
    fn tokens(&mut self, n: usize) -> Vec<u32> {
        let n_vocab = self.session.model().hparams().n_vocab as u64;
        (0..n).map(|_| (self.random.next_u64() % n_vocab) as u32).collect()
    }
}
