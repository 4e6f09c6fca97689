//! What a stage of the chain is.

use super::candidates::Candidates;
use super::rng::Rng;

/// One step between the model's logits and the draw: it edits logits or drops candidates.
///
/// A stage keeps at least one candidate of a non-empty list, and what it does depends only on its parameters, the
/// candidates, the tokens it accepted and the random stream.
pub trait Stage: StageClone + Send + Sync {
    /// Edits or drops candidates.
    fn apply(&mut self, candidates: &mut Candidates, rng: &mut Rng);

    /// `Some(k)` of a stage that keeps the `k` largest logits and for which the others do not matter.
    fn keeps_top(&self) -> Option<usize> {
        None
    }

    /// Takes note of a token of the prompt or of the generated text.
    fn accept(&mut self, _token: u32) {}

    /// Forgets every accepted token.
    fn reset(&mut self) {}
}

/// A copy of a boxed stage; every `Stage` that is `Clone` has it.
pub trait StageClone {
    /// The copy.
    fn boxed_clone(&self) -> Box<dyn Stage>;
}

impl<T: Stage + Clone + 'static> StageClone for T {
    fn boxed_clone(&self) -> Box<dyn Stage> {
        Box::new(self.clone())
    }
}

impl Clone for Box<dyn Stage> {
    fn clone(&self) -> Self {
        (**self).boxed_clone()
    }
}
