//! The tokenizer is built beside the packing of weights, on a thread of its own.

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::Gguf;
use crate::tokenizer::{Tokenizer, Vocabulary};

/// How often a load that waits for the tokenizer asks whether to go on.
const LOOK: Duration = Duration::from_millis(5);

/// A tokenizer that is being built.
pub(super) struct Building {
    result: Receiver<Result<Tokenizer>>,
}

impl Building {
    /// Reads the vocabulary, on this thread as long as `go_on` says so, and starts to build. The other thread holds nothing of the file, so that a load which
    /// ends early need not wait for it: what it builds then is dropped.
    pub fn start(gguf: &Gguf, go_on: &dyn Fn() -> bool) -> Result<Building> {
        let vocabulary = Vocabulary::from_gguf_while(gguf, go_on)?;
        let (sender, result) = sync_channel(1);
        let build = move || {
            // Nobody listens any more after a load that ended early.
            let _ = sender.send(Tokenizer::from_vocabulary(vocabulary));
        };
        let thread = std::thread::Builder::new().name("oribi-tokenizer".to_owned());
        match thread.spawn(build) {
            Ok(_) => Ok(Building { result }),
            Err(e) => bail!(Device, "could not start a thread for the tokenizer: {e}"),
        }
    }

    /// Waits until it is built, as long as `go_on` says so.
    pub fn finish(self, go_on: impl Fn() -> bool) -> Result<Tokenizer> {
        loop {
            match self.result.recv_timeout(LOOK) {
                Ok(tokenizer) => return tokenizer,
                Err(RecvTimeoutError::Timeout) if go_on() => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!(Cancelled, "loading was cancelled while the tokenizer was built")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let text = "the tokenizer could not be built: a thread panicked";
                    return Err(Error::new(ErrorKind::Internal, text));
                }
            }
        }
    }
}
