//! The runtime as a source of logits.

use super::LogitSource;
use crate::error::{Result, bail};
use crate::model::Model;
use crate::session::{Batch, Numerics, Role, SequenceId, Session, SessionOptions};
use std::ops::Range;
use std::sync::Arc;

/// Positions whose logits are formed together: bounds the memory that a large vocabulary takes.
const LOGITS_BLOCK: usize = 64;

/// A session of the runtime that evaluates every text in a sequence of its own.
pub struct Runtime {
    session: Session,
}

impl Runtime {
    /// A session for texts of at most `n_ctx` tokens.
    ///
    /// Errors: those of [`Session::new`].
    pub fn new(model: &Arc<Model>, n_ctx: usize, numerics: Numerics) -> Result<Self> {
        Runtime::with(model, SessionOptions { n_ctx, numerics, ..SessionOptions::default() })
    }

    /// A session with these options, but as many outputs as an evaluation takes.
    ///
    /// Errors: those of [`Session::new`].
    pub fn with(model: &Arc<Model>, options: SessionOptions) -> Result<Self> {
        let options = SessionOptions { max_outputs: LOGITS_BLOCK, ..options };
        Ok(Runtime { session: Session::new(model, &options)? })
    }

    /// [`LogitSource::for_each_logits`] in an empty sequence.
    fn evaluate(
        &mut self,
        sequence: SequenceId,
        tokens: &[u32],
        positions: Range<usize>,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        let mut context = Batch::new();
        tokens[..positions.start].iter().for_each(|&token| context.push(sequence, token, Role::Prompt, false));
        if !context.is_empty() {
            self.session.decode(&context)?;
        }
        for start in positions.clone().step_by(LOGITS_BLOCK) {
            let block = start..(start + LOGITS_BLOCK).min(positions.end);
            let mut batch = Batch::new();
            tokens[block.clone()].iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, true));
            self.session.decode(&batch)?;
            for (i, position) in block.enumerate() {
                match self.session.logits(i) {
                    Some(logits) => each(position, logits)?,
                    None => bail!(Internal, "the logits of position {position} are missing"),
                }
            }
        }
        Ok(())
    }
}

impl LogitSource for Runtime {
    fn n_vocab(&self) -> usize {
        self.session.model().hparams().n_vocab
    }

    fn for_each_logits(
        &mut self,
        tokens: &[u32],
        positions: Range<usize>,
        each: &mut dyn FnMut(usize, &[f32]) -> Result<()>,
    ) -> Result<()> {
        if positions.is_empty() || positions.end > tokens.len() {
            bail!(InvalidArgument, "positions {positions:?} of {} tokens", tokens.len());
        }
        let sequence = self.session.new_sequence()?;
        let result = self.evaluate(sequence, tokens, positions, each);
        self.session.remove(sequence)?;
        result
    }
}
