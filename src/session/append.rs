//! Appending a batch to its sequences: chunk by chunk, all or nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::batch::{Batch, Entry, Role, TopLogits};
use super::forward::{Goal, Pass, forward};
use super::{Control, InputSquares, Numerics, SequenceId, Session, SessionOptions};
use crate::backend::{Arithmetic, Backend, PassMode, Run};
use crate::error::{Result, bail};
use crate::fallible;
use crate::model::{Model, Part, Stage};

/// Measured on 2 cores with prompts of 512 in portable arithmetic, at 128 and 256 at once: 826 and 737 tokens/s on a model of 135M
/// weights (Q4_1), 152 and 154, 154 and 133 on one of 1.1B (Q4_0, Q4_K_M).
const MAX_PORTABLE_ROWS: usize = 128;

/// What is wanted of a batch.
pub(super) enum Wanted<'a> {
    /// The logits of its outputs, which stay in the session, or the largest of them.
    Logits { top: Option<TopLogits> },
    /// The hidden states of these of its tokens: `each` hears the token's place in the batch, and the values `[dim]`.
    Hidden { rows: &'a [bool], each: &'a mut dyn FnMut(usize, &[f32]) -> Result<()> },
}

impl Session {
    /// Append a batch, all or nothing.
    pub(super) fn append(&mut self, batch: &Batch, mut control: Control<'_>, wanted: Wanted<'_>) -> Result<()> {
        self.n_outputs = 0;
        let before = self.check(batch)?;
        let result = self.append_chunks(batch, &mut control, wanted);
        if result.is_err() {
            for &(sequence, len) in &before {
                self.cache.truncate(sequence, len)?;
            }
            self.n_outputs = 0;
        }
        result
    }

    /// Check a batch before anything changes; the sequences concerned with their lengths.
    fn check(&self, batch: &Batch) -> Result<Vec<(SequenceId, usize)>> {
        let n_vocab = self.model.hparams().n_vocab;
        if let Some(entry) = batch.entries.iter().find(|e| e.token as usize >= n_vocab) {
            bail!(InvalidArgument, "token {} is outside the vocabulary of {n_vocab}", entry.token);
        }
        let mut lengths = Vec::new();
        for (sequence, n) in count_by_sequence(batch.entries.iter().map(|e| e.sequence)) {
            let len = self.cache.len(sequence)?;
            if len + n > self.options.n_ctx {
                bail!(
                    ContextFull,
                    "sequence {} has {len} positions and {n} more would exceed its context of {}",
                    sequence.0,
                    self.options.n_ctx
                );
            }
            lengths.push((sequence, len));
        }
        Ok(lengths)
    }

    /// The arithmetic of a token.
    fn arithmetic(&self, role: Role) -> Arithmetic {
        arithmetic(&self.model, &self.options, role)
    }

    fn append_chunks<'a>(&mut self, batch: &'a Batch, control: &mut Control<'_>, mut wanted: Wanted<'_>) -> Result<()> {
        // A pass has one arithmetic.
        let alike = batch.entries.chunk_by(|a, b| self.arithmetic(a.role) == self.arithmetic(b.role));
        let mut chunks = Vec::new();
        let divide = |entries: &'a [Entry]| entries.chunks(rows_at_once(&self.model, &self.options, entries[0].role));
        for chunk in alike.flat_map(divide) {
            fallible::reserve(&mut chunks, 1, "the chunks of a batch")?;
            chunks.push(chunk);
        }
        let (mut n_done, mut n_outputs) = (0, 0);
        for (i, entries) in chunks.iter().enumerate() {
            let is_output = |(i, entry): (usize, &Entry)| match &wanted {
                Wanted::Logits { .. } => entry.is_output,
                Wanted::Hidden { rows, .. } => rows[n_done + i],
            };
            let flags = entries.iter().enumerate().map(is_output);
            let mut outputs = fallible::with_capacity(entries.len(), "the outputs of a batch")?;
            outputs.extend((0u32..).zip(flags).filter(|&(_, is_output)| is_output).map(|(i, _)| i));
            match &mut wanted {
                &mut Wanted::Logits { top } => {
                    let goal = Goal::Logits { first_output: n_outputs, is_last: i + 1 == chunks.len(), top };
                    self.append_chunk(entries, &outputs, goal, control)?;
                    n_outputs += outputs.len();
                }
                Wanted::Hidden { each, .. } => {
                    self.append_chunk(entries, &outputs, Goal::Hidden, control)?;
                    for (i, &row) in outputs.iter().enumerate() {
                        each(n_done + row as usize, self.model.machine().read_row(&self.scratch[0].input, i))?;
                    }
                }
            }
            n_done += entries.len();
            if let Some(progress) = &mut control.progress {
                progress(n_done, batch.entries.len());
            }
        }
        self.n_outputs = n_outputs;
        Ok(())
    }

    /// Compute one chunk.
    fn append_chunk(&mut self, entries: &[Entry], outputs: &[u32], goal: Goal, control: &Control<'_>) -> Result<()> {
        let counts = count_by_sequence(entries.iter().map(|e| e.sequence));
        for &(sequence, n) in &counts {
            self.cache.reserve(sequence, n)?;
        }
        let runs = self.runs(entries)?;
        let tokens = fallible::collect(entries.iter().map(|e| e.token), "the tokens of a batch")?;
        let mut positions = fallible::with_capacity(entries.len(), "the positions of a batch")?;
        positions.extend(runs.iter().flat_map(|run| (0..run.n_rows).map(|i| (run.first_position + i) as u32)));
        let pass = Pass { tokens: &tokens, positions: &positions, runs: &runs, outputs, goal };
        let go_on = || false;
        let stop = control.stop.unwrap_or(&go_on);
        let stopped = AtomicBool::new(false);
        let stop = || {
            let now = stop();
            stopped.fetch_or(now, Ordering::Relaxed);
            now
        };
        let arithmetic = entries.first().map_or(Arithmetic::Portable, |entry| self.arithmetic(entry.role));
        let model = Arc::clone(&self.model);
        let mut before: Option<&Stage> = None;
        for stage in model.stages() {
            if let Some(before) = before {
                self.hand_over(before.part, stage.part, entries.len())?;
            }
            self.run(stage, arithmetic, &stop, &pass)?;
            if stopped.load(Ordering::Relaxed) {
                break;
            }
            before = Some(stage);
        }
        if stopped.into_inner() {
            self.observer.iter_mut().for_each(InputSquares::forget);
            bail!(Cancelled, "the batch was cancelled");
        }
        self.observer.iter_mut().for_each(InputSquares::absorb);
        for &(sequence, n) in &counts {
            self.cache.commit(sequence, n)?;
        }
        Ok(())
    }

    /// One machine's turn in a pass.
    fn run(&self, stage: &Stage, wanted: Arithmetic, stop: &(dyn Fn() -> bool + Sync), pass: &Pass<'_>) -> Result<()> {
        let (model, scratch, pages) = (&self.model, &self.scratch[stage.part], self.cache.pages(stage.part));
        let Part { machine, is_native, .. } = &model.parts()[stage.part];
        let arithmetic = if *is_native { wanted } else { Arithmetic::Portable };
        let mode = PassMode { arithmetic, is_observed: self.observer.is_some() };
        let (hparams, weights) = (model.hparams(), model.weights());
        match &self.observer {
            None => machine.run(mode, stop, |ops| forward(ops, stage, hparams, weights, scratch, pages, pass)),
            Some(observer) => machine.run(mode, stop, |ops| {
                forward(&observer.over(ops, weights), stage, hparams, weights, scratch, pages, pass)
            }),
        }
    }

    /// The residual of `n` rows goes from one machine to another.
    fn hand_over(&mut self, from: usize, to: usize, n: usize) -> Result<()> {
        let parts = self.model.parts();
        let [from_scratch, to_scratch] = self.scratch.get_disjoint_mut([from, to]).expect("two machines");
        let row = |i| parts[from].machine.read_row(&from_scratch.x, i);
        parts[to].machine.write_rows(&mut to_scratch.x, n, &row)
    }

    /// The rows of a chunk as runs of consecutive positions.
    fn runs(&self, entries: &[Entry]) -> Result<Vec<Run>> {
        let mut next: Vec<(SequenceId, usize)> = Vec::new();
        let mut runs: Vec<Run> = Vec::new();
        let mut row = 0;
        for group in entries.chunk_by(|a, b| a.sequence == b.sequence) {
            let sequence = group[0].sequence;
            let known = next.iter().position(|(id, _)| *id == sequence);
            let known = match known {
                Some(i) => i,
                None => {
                    next.push((sequence, self.cache.len(sequence)?));
                    next.len() - 1
                }
            };
            let first_position = next[known].1;
            next[known].1 += group.len();
            let pages = fallible::collect(self.cache.pages_of(sequence)?.iter().copied(), "the runs of a batch")?;
            fallible::reserve(&mut runs, 1, "the runs of a batch")?;
            runs.push(Run { first_row: row, n_rows: group.len(), first_position, pages });
            row += group.len();
        }
        Ok(runs)
    }
}

/// The arithmetic of tokens of a role.
fn arithmetic(model: &Model, options: &SessionOptions, role: Role) -> Arithmetic {
    match (options.numerics, role) {
        (Numerics::Native, Role::Prompt) if model.is_native() => Arithmetic::Native,
        _ => Arithmetic::Portable,
    }
}

/// How many tokens of a role a pass computes: `n_batch`, but on the CPU in portable arithmetic no more than stay in its caches.
pub(crate) fn rows_at_once(model: &Model, options: &SessionOptions, role: Role) -> usize {
    match arithmetic(model, options, role) {
        Arithmetic::Portable if !model.machine().is_gpu() => options.n_batch.min(MAX_PORTABLE_ROWS),
        _ => options.n_batch,
    }
}

/// How often each sequence occurs, in order of first occurrence.
fn count_by_sequence(sequences: impl Iterator<Item = SequenceId>) -> Vec<(SequenceId, usize)> {
    let mut counts: Vec<(SequenceId, usize)> = Vec::new();
    for sequence in sequences {
        match counts.iter_mut().find(|(id, _)| *id == sequence) {
            Some((_, n)) => *n += 1,
            None => counts.push((sequence, 1)),
        }
    }
    counts
}
