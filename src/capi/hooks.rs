//! What the host hears of and says to a handle at work: log, progress, cancel.

use std::borrow::Borrow;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, ThreadId};

use crate::error::{Result, bail};

/// How much a message of the log matters.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_log_level {
    /// Something that the host may want to know, for example a contradiction in the file and how it was taken.
    WARNING = 1,
    /// What was chosen: instruction set, threads, memory.
    INFO = 2,
}

/// What a progress callback hears of.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum oribi_phase {
    /// A model is being loaded: bytes of tensors that are ready, and of all.
    LOAD = 1,
    /// A batch or a prompt is being computed: tokens that are computed, and of the batch.
    PROMPT = 2,
    /// A file is being quantized: bytes of the input's tensors that are done, and of all.
    QUANTIZE = 3,
    /// A text is being evaluated: chunks that are done, and of all.
    EVALUATE = 4,
}

/// Hears a message: UTF-8 of `len_bytes` bytes, with a NUL behind it, lent for the call.
pub type oribi_log_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, level: oribi_log_level, text: *const c_char, len_bytes: usize)>;

/// Hears how far work is: `done` of `total`.
pub type oribi_progress_fn =
    Option<unsafe extern "C" fn(userdata: *mut c_void, phase: oribi_phase, done: u64, total: u64)>;

/// Says whether work is to end; asked many times a second, so it should be quick.
pub type oribi_cancel_fn = Option<unsafe extern "C" fn(userdata: *mut c_void) -> bool>;

/// A pointer of the host that goes with a callback. What it points to is the host's business; the library hands it back on the
/// thread of the call and nowhere else.
#[derive(Clone, Copy)]
pub(super) struct Userdata(pub *mut c_void);

// SAFETY: the library never looks at what it points to.
unsafe impl Send for Userdata {}
// SAFETY: the same.
unsafe impl Sync for Userdata {}

/// A callback that is there, with its pointer.
#[derive(Clone, Copy)]
pub(super) struct Callback<F>(F, Userdata);

impl<F> Callback<F> {
    /// A callback as the host gives it: NULL is none.
    pub fn of(callback: Option<F>, userdata: *mut c_void) -> Option<Self> {
        Some(Callback(callback?, Userdata(userdata)))
    }
}

/// The callbacks of a handle.
#[derive(Clone, Default)]
pub(super) struct Hooks {
    pub log: Option<Callback<unsafe extern "C" fn(*mut c_void, oribi_log_level, *const c_char, usize)>>,
    pub progress: Option<Callback<unsafe extern "C" fn(*mut c_void, oribi_phase, u64, u64)>>,
    pub stop: Option<Callback<unsafe extern "C" fn(*mut c_void) -> bool>>,
    pub cancel: Vec<Arc<AtomicBool>>,
}

impl Hooks {
    /// These, and what they leave out from `others`; both requests to cancel count.
    pub fn or(&self, others: &Hooks) -> Hooks {
        Hooks {
            log: self.log.or(others.log),
            progress: self.progress.or(others.progress),
            stop: self.stop.or(others.stop),
            cancel: self.cancel.iter().chain(&others.cancel).cloned().collect(),
        }
    }

    /// Tell the host, if it listens.
    pub fn log(&self, level: oribi_log_level, text: &str) {
        if let Some(Callback(log, userdata)) = self.log {
            let ended: Vec<u8> = text.bytes().chain([0]).collect();
            // SAFETY: the host's function with its own pointer; the text lives as long as the call.
            unsafe { log(userdata.0, level, ended.as_ptr().cast(), text.len()) }
        }
    }

    /// Tell the host how far the work is, if it listens.
    pub fn progress(&self, phase: oribi_phase, done: u64, total: u64) {
        if let Some(Callback(progress, userdata)) = self.progress {
            // SAFETY: the host's function with its own pointer.
            unsafe { progress(userdata.0, phase, done, total) }
        }
    }

    /// Whether the host wants the work to end. To be asked on the thread of the call.
    pub fn stop(&self) -> bool {
        let asked = |Callback(stop, userdata): Callback<unsafe extern "C" fn(*mut c_void) -> bool>| {
            // SAFETY: the host's function with its own pointer.
            unsafe { stop(userdata.0) }
        };
        self.flag() || self.stop.is_some_and(asked)
    }

    fn flag(&self) -> bool {
        self.cancel.iter().any(|flag| flag.load(Ordering::Relaxed))
    }

    /// `Cancelled`, if the host wants so before anything began.
    pub fn check(&self) -> Result<()> {
        if self.stop() {
            bail!(Cancelled, "cancelled before anything was done");
        }
        Ok(())
    }
}

/// Hooks as work on several threads asks for them: the host is called on the thread of the call alone, the others learn what it
/// said. `H` is [`Hooks`], borrowed or owned.
pub(super) struct Watch<H> {
    hooks: H,
    caller: ThreadId,
    stopped: AtomicBool,
    /// What the host heard last.
    told: AtomicU64,
}

impl<H: Borrow<Hooks>> Watch<H> {
    /// For work that this thread's call has others do.
    pub fn new(hooks: H) -> Self {
        Watch { hooks, caller: thread::current().id(), stopped: AtomicBool::new(false), told: AtomicU64::new(u64::MAX) }
    }

    /// Whether the work is to end.
    pub fn stop(&self) -> bool {
        let hooks = self.hooks.borrow();
        let stop = self.stopped.load(Ordering::Relaxed) || if self.is_caller() { hooks.stop() } else { hooks.flag() };
        if stop {
            self.stopped.store(true, Ordering::Relaxed);
        }
        stop
    }

    /// [`Hooks::progress`], on the thread of the call and when there is news.
    pub fn progress(&self, phase: oribi_phase, done: u64, total: u64) {
        if self.is_caller() && self.told.swap(done, Ordering::Relaxed) != done {
            self.hooks.borrow().progress(phase, done, total);
        }
    }

    fn is_caller(&self) -> bool {
        thread::current().id() == self.caller
    }
}
