//! The runtime as a source of logits.

use super::{LogitSource, check_positions};
use crate::error::{Result, bail};
use crate::model::Model;
use crate::session::{Batch, Control, Numerics, Role, SequenceId, Session, SessionOptions};
use std::ops::Range;
use std::sync::Arc;

/// Bytes of logits that are formed together at most, as far as [`MIN_ROWS`] allows.
const LOGITS_BYTES: usize = 128 << 20;
/// Rows that are formed together at least: fewer do not pay for the weights that they read.
const MIN_ROWS: usize = 32;

/// A caller's wish to stop, asked while a batch is computed.
type Stop = Box<dyn Fn() -> bool + Send + Sync>;

/// A session of the runtime that evaluates every text in a sequence of its own. Every token counts as part of a prompt.
pub struct Runtime {
    session: Session,
    sequence: SequenceId,
    tokens: Vec<u32>,
    stop: Option<Stop>,
}

impl Runtime {
    /// A session for texts of at most `n_ctx` tokens.
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn new(model: &Arc<Model>, n_ctx: usize, numerics: Numerics) -> Result<Self> {
        Runtime::with(model, SessionOptions { n_ctx, numerics, ..SessionOptions::default() })
    }

    /// A session with these options, but as many outputs as an evaluation takes, and one sequence.
    ///
    /// # Errors
    /// Those of [`Session::new`].
    pub fn with(model: &Arc<Model>, options: SessionOptions) -> Result<Self> {
        let mut session = Session::new(model, &Runtime::sizes(options, model.hparams().n_vocab))?;
        let sequence = session.new_sequence()?;
        Ok(Runtime { session, sequence, tokens: Vec::new(), stop: None })
    }

    /// The options of the session that [`with`](Self::with) makes of these, for a model of `n_vocab` tokens: what its memory is
    /// predicted from.
    pub fn sizes(options: SessionOptions, n_vocab: usize) -> SessionOptions {
        SessionOptions { max_outputs: max_rows(n_vocab, options.n_batch), n_sequences: 1, ..options }
    }

    /// Asks `stop` all the time, at least every 50 ms; once it says `true`, the evaluation ends with `Cancelled`.
    pub fn with_stop(mut self, stop: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.stop = Some(Box::new(stop));
        self
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        self.session.model()
    }

    /// The session's options.
    pub fn options(&self) -> &SessionOptions {
        self.session.options()
    }
}

/// Rows of logits that are formed together.
pub(super) fn max_rows(n_vocab: usize, n_batch: usize) -> usize {
    (LOGITS_BYTES / (n_vocab * size_of::<f32>())).clamp(MIN_ROWS, n_batch.max(MIN_ROWS))
}

impl LogitSource for Runtime {
    fn n_vocab(&self) -> usize {
        self.session.model().hparams().n_vocab
    }

    fn max_rows(&self) -> usize {
        self.session.options().max_outputs
    }

    fn begin(&mut self, tokens: &[u32]) -> Result<()> {
        self.session.truncate(self.sequence, 0)?;
        self.tokens.clear();
        self.tokens.extend_from_slice(tokens);
        Ok(())
    }

    fn logits(&mut self, positions: Range<usize>) -> Result<Vec<&[f32]>> {
        let n_done = self.session.len(self.sequence)?;
        check_positions(&positions, n_done, self.tokens.len(), self.max_rows())?;
        let mut batch = Batch::new();
        for (i, &token) in self.tokens.iter().enumerate().take(positions.end).skip(n_done) {
            batch.push(self.sequence, token, Role::Prompt, i >= positions.start);
        }
        let stop = self.stop.as_ref().map(|stop| &**stop as &(dyn Fn() -> bool + Sync));
        self.session.decode_with(&batch, Control { stop, progress: None })?;
        let rows: Vec<&[f32]> = (0..positions.len()).map_while(|i| self.session.logits(i)).collect();
        if rows.len() != positions.len() {
            bail!(Internal, "logits of positions {positions:?} are missing");
        }
        Ok(rows)
    }
}
