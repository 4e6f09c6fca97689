//! The progress of the whole comparison: one bar, what is being done, and the time left.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar on standard error, on a terminal only. Work is counted in milliseconds that it would take on some machine; what counts is
/// that its parts are in proportion.
pub struct Bar {
    bar: Option<ProgressBar>,
    done: f64,
}

impl Bar {
    pub fn new() -> Bar {
        let style = ProgressStyle::with_template("{msg:28!} [{bar:32}] {percent}%, {eta} left");
        let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = std::io::stderr().is_terminal().then(|| ProgressBar::new(1).with_style(style));
        Bar { bar, done: 0.0 }
    }

    /// A bar that nobody sees.
    pub fn silent() -> Bar {
        Bar { bar: None, done: 0.0 }
    }

    /// So much work is left, from here on.
    pub fn set_total(&mut self, work: f64) {
        self.done = 0.0;
        if let Some(bar) = &self.bar {
            bar.set_position(0);
            bar.set_length(work.ceil() as u64);
            bar.reset_eta();
            bar.enable_steady_tick(Duration::from_millis(500));
        }
    }

    /// What is being done.
    pub fn say(&self, what: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(what);
        }
    }

    /// So much of the work was done.
    pub fn advance(&mut self, work: f64) {
        self.done += work;
        self.show(0.0);
    }

    /// So much of what is being done is done, besides what was [`advance`](Self::advance)d.
    pub fn show(&self, work: f64) {
        if let Some(bar) = &self.bar {
            bar.set_position((self.done + work) as u64);
        }
    }

    /// Does something that has a bar of its own.
    pub fn around<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(work),
            None => work(),
        }
    }

    /// Takes the bar away.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}
