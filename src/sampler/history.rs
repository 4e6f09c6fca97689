//! The window of accepted tokens that penalties look at.

use std::collections::VecDeque;

/// The last tokens, oldest first.
#[derive(Clone, Debug)]
pub(super) struct History {
    tokens: VecDeque<u32>,
    last_n: Option<usize>,
}

impl History {
    /// A window of `last_n` tokens; `None` keeps every token.
    pub fn new(last_n: Option<usize>) -> Self {
        // A window may be wider than any context: room for the usual ones, the rest when it is used.
        History { tokens: VecDeque::with_capacity(last_n.unwrap_or(0).min(4096)), last_n }
    }

    /// Appends a token; returns the one that leaves the window.
    pub fn push(&mut self, token: u32) -> Option<u32> {
        if self.last_n == Some(0) {
            return Some(token);
        }
        let full = self.last_n.is_some_and(|n| self.tokens.len() >= n);
        let leaves = if full { self.tokens.pop_front() } else { None };
        self.tokens.push_back(token);
        leaves
    }

    /// The tokens, newest first.
    pub fn newest_first(&self) -> impl Iterator<Item = u32> + '_ {
        self.tokens.iter().rev().copied()
    }

    pub fn clear(&mut self) {
        self.tokens.clear();
    }
}
