//! Standard output carries results only; this is how results get there.

use std::io::{ErrorKind, Write};

pub use oribi::compare::human_bytes;
use oribi::{Error, Result};

/// Writes all of `text` to standard output and flushes it, so that streamed pieces are seen at once.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Error::io("standard output", e))
}

/// Writes a line.
pub fn print_line(text: &str) -> Result<()> {
    print(&format!("{text}\n"))
}

/// Writes one JSON object and a line end.
pub fn print_json(value: &serde_json::Value) -> Result<()> {
    print_line(&value.to_string())
}

/// Whether an error only says that the reader of our output has gone, as in `oribi ... | head`.
pub fn is_closed_pipe(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|e| e.downcast_ref::<std::io::Error>());
    source.is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}

/// Numbers for people: `1 234 567`.
pub fn human_count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_counts_read_well() {
        assert_eq!(human_bytes(1023), "1023 B");
        assert_eq!(human_bytes(1024), "1.0 KiB");
        assert_eq!(human_bytes(1024 * 1024 - 1), "1.0 MiB");
        assert_eq!(human_bytes(u64::MAX), "16384.0 PiB");
        assert_eq!(human_count(0), "0");
        assert_eq!(human_count(1_234_567), "1 234 567");
    }
}
