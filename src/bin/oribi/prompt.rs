//! Where a subcommand's text comes from.

use std::io::{IsTerminal, Read};
use std::path::PathBuf;

use oribi::{Error, ErrorKind, Result};

/// Where the text comes from: `-p`, `-f`, or standard input.
#[derive(clap::Args)]
pub struct PromptArgs {
    /// The text; without -p and -f it is read from standard input
    #[arg(short, long, value_name = "TEXT", conflicts_with = "file", allow_hyphen_values = true)]
    prompt: Option<String>,
    /// Read the text from a file
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Turn \n, \t, \r, \", \', \\ and \xHH in -p into the characters they mean
    #[arg(short, long)]
    escape: bool,
}

impl PromptArgs {
    /// The text, as it is: nothing is trimmed.
    pub fn text(&self) -> Result<String> {
        if let Some(prompt) = &self.prompt {
            return if self.escape { unescape(prompt) } else { Ok(prompt.clone()) };
        }
        let (bytes, origin) = match &self.file {
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
                (bytes, path.display().to_string())
            }
            None => (read_stdin()?, "standard input".to_string()),
        };
        String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            Error::new(ErrorKind::InvalidArgument, format!("{origin}: the text is not UTF-8 from byte {at}"))
        })
    }
}

fn read_stdin() -> Result<Vec<u8>> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        eprintln!("reading the prompt from the terminal; end it with Ctrl-D (or give it with -p)");
    }
    let mut bytes = Vec::new();
    stdin.read_to_end(&mut bytes).map_err(|e| Error::io("read standard input", e))?;
    Ok(bytes)
}

/// The escapes of a C string literal that make sense in a prompt.
fn unescape(text: &str) -> Result<String> {
    let mut out: Vec<u8> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('\\') {
        out.extend_from_slice(before.as_bytes());
        let mut chars = after.chars();
        let escaped = chars.next().ok_or_else(|| invalid("-e: the prompt ends in a single backslash".to_string()))?;
        rest = chars.as_str();
        match escaped {
            'n' => out.push(b'\n'),
            't' => out.push(b'\t'),
            'r' => out.push(b'\r'),
            '\\' | '"' | '\'' => out.push(escaped as u8),
            'x' => {
                let byte = rest.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(byte.ok_or_else(|| invalid("-e: \\x needs two hexadecimal digits".to_string()))?);
                rest = &rest[2..];
            }
            other => return Err(invalid(format!("-e: \\{other} is not a known escape"))),
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).map_err(|_| invalid("-e: the \\x bytes do not make UTF-8".to_string()))
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_those_of_c() {
        assert_eq!(unescape(r#"a\nb\t\\\"\x41"#).unwrap(), "a\nb\t\\\"A");
        assert_eq!(unescape(r"\xc3\xa9").unwrap(), "é");
        for wrong in [r"a\", r"\q", r"\x4", r"\xzz", r"\xff", r"\x€"] {
            assert!(unescape(wrong).is_err(), "{wrong}");
        }
    }
}
