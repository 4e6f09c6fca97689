//! A progress bar on standard error: only on a terminal, and only for what takes long enough to be noticed.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Work shorter than this shows nothing.
const QUIET_FOR: Duration = Duration::from_millis(400);

/// One piece of work with a known total.
pub struct Progress {
    label: &'static str,
    began: Instant,
    terminal: bool,
    template: &'static str,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts the clock; nothing is shown yet.
    pub fn new(label: &'static str) -> Self {
        Progress::with(label, "{msg} [{bar:32}] {percent}%")
    }

    /// The same for bytes, with their rate and the time left.
    pub fn bytes(label: &'static str) -> Self {
        Progress::with(label, "{msg} [{bar:32}] {percent}%, {binary_bytes_per_sec}, {eta} left")
    }

    /// The same for chunks of a text, with their number, rate and the time left.
    pub fn chunks(label: &'static str) -> Self {
        Progress::with(label, "{msg} [{bar:32}] {pos} of {len} chunks, {per_sec}, {eta} left")
    }

    /// The same for a count of things, with the time left.
    pub fn items(label: &'static str) -> Self {
        Progress::with(label, "{msg} [{bar:32}] {pos} of {len}, {eta} left")
    }

    fn with(label: &'static str, template: &'static str) -> Self {
        Progress { label, began: Instant::now(), terminal: std::io::stderr().is_terminal(), template, bar: None }
    }

    /// `done` of `total` is done.
    pub fn update(&mut self, done: u64, total: u64) {
        if self.bar.is_none() && self.terminal && self.began.elapsed() >= QUIET_FOR {
            let style = ProgressStyle::with_template(self.template);
            let bar = ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(self.label);
            self.bar = Some(bar);
        }
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
