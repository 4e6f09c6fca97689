//! Ctrl-C stops the work in hand; a second one, before that has happened, ends the program.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use oribi::{Error, ErrorKind, Result};

/// Exit status of an interrupted program, by the shells' convention.
pub const STATUS: u8 = 130;

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Takes over Ctrl-C. Called once.
pub fn install() -> Result<()> {
    let installed = ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::Relaxed) {
            std::process::exit(STATUS.into());
        }
    });
    installed.map_err(|e| Error::new(ErrorKind::InvalidState, format!("Ctrl-C cannot be handled: {e}")))
}

/// The flag that Ctrl-C sets.
pub fn flag() -> Arc<AtomicBool> {
    Arc::clone(&REQUESTED)
}

/// Whether Ctrl-C was pressed since the last [`reset`].
pub fn requested() -> bool {
    REQUESTED.load(Ordering::Relaxed)
}

/// Forgets an earlier Ctrl-C: new work begins.
pub fn reset() {
    REQUESTED.store(false, Ordering::Relaxed);
}
