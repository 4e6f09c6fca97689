//! A sequence of a session as what a generation drives.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Forward;
use crate::error::{Error, ErrorKind, Result};
use crate::session::{Batch, Control, Logits, SequenceId, Session, TopLogits};

/// Called with the tokens of the prompt that are evaluated and those it has.
pub type PromptProgress<'a> = &'a mut dyn FnMut(usize, usize);

/// One sequence of a session: the session's other sequences stay as they are.
pub struct SequenceForward<'a> {
    session: &'a mut Session,
    sequence: SequenceId,
    n_past: usize,
    progress: Option<PromptProgress<'a>>,
}

impl<'a> SequenceForward<'a> {
    /// Drives `sequence` from its present end. Error: it does not exist.
    pub fn new(session: &'a mut Session, sequence: SequenceId) -> Result<Self> {
        Ok(SequenceForward { n_past: session.len(sequence)?, session, sequence, progress: None })
    }

    /// The same with a function that hears how far a long prompt is.
    pub fn with_progress(self, progress: PromptProgress<'a>) -> Self {
        SequenceForward { progress: Some(progress), ..self }
    }

    fn append(
        &mut self,
        mut batch: Batch,
        enough: Option<TopLogits>,
        cancel: Option<&AtomicBool>,
        tell: bool,
    ) -> Result<Logits<'_>> {
        batch.only_top(enough);
        let stop = || cancel.is_some_and(|flag| flag.load(Ordering::Relaxed));
        let progress = match &mut self.progress {
            Some(progress) if tell => Some(&mut **progress as &mut dyn FnMut(usize, usize)),
            _ => None,
        };
        let control = Control { stop: Some(&stop), progress };
        self.session.decode_with(&batch, control)?;
        self.n_past += batch.len();
        self.session.output(0).ok_or_else(|| Error::new(ErrorKind::Internal, "the batch gave no logits"))
    }
}

impl Forward for SequenceForward<'_> {
    fn prompt(&mut self, tokens: &[u32], enough: Option<TopLogits>, cancel: Option<&AtomicBool>) -> Result<Logits<'_>> {
        self.append(Batch::prompt(self.sequence, tokens), enough, cancel, true)
    }

    fn token(&mut self, token: u32, enough: Option<TopLogits>, cancel: Option<&AtomicBool>) -> Result<Logits<'_>> {
        self.append(Batch::generated(self.sequence, token), enough, cancel, false)
    }

    fn room(&self) -> usize {
        self.session.options().n_ctx.saturating_sub(self.n_past)
    }

    fn bytes_per_token(&self) -> u64 {
        self.session.model().bytes_per_token()
    }
}
