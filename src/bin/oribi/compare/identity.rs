//! What tells a file from others: the hash of its bytes; and its size.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use oribi::gguf::Gguf;
use oribi::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use twox_hash::XxHash3_128;

use super::bar::Bar;
use crate::inspect::Totals;
use crate::interrupt;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;
/// Bytes that are hashed in a millisecond: what a disk gives.
const BYTES_PER_MS: f64 = 2e6;

/// A model file, known without being opened again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    /// XXH3 of the bytes, of all files of a split model one after the other; 128 bits in hexadecimal digits.
    pub hash: String,
    pub file_bytes: u64,
    pub bits_per_weight: f64,
    /// Weights.
    pub n_elems: u64,
}

impl Identity {
    /// Reads the whole file.
    pub fn of(path: &Path, gguf: &Gguf, bar: &mut Bar) -> Result<Identity> {
        let files = files(path, gguf);
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        bar.say(format!("reading {name}"));
        let totals = Totals::of(gguf.tensors());
        Ok(Identity {
            hash: hash(&files, bar)?,
            file_bytes: gguf.file_bytes(),
            bits_per_weight: totals.bits_per_weight(),
            n_elems: totals.n_elems,
        })
    }
}

/// How long hashing so many bytes takes.
pub fn work(n_bytes: u64) -> f64 {
    n_bytes as f64 / BYTES_PER_MS
}

/// The hash of the running program: other code may make other files, and has other speeds.
pub fn program() -> Result<String> {
    let path = std::env::current_exe().map_err(|e| Error::io("the path of this program", e))?;
    hash(&[path], &mut Bar::silent())
}

/// The files of a model; [`Gguf::open`] has found all of them.
fn files(path: &Path, gguf: &Gguf) -> Vec<PathBuf> {
    let n = gguf.n_shards();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some(prefix) = name.strip_suffix(&format!("-00001-of-{n:05}.gguf")).filter(|_| n > 1) else {
        return vec![path.to_path_buf()];
    };
    (1..=n).map(|i| path.with_file_name(format!("{prefix}-{i:05}-of-{n:05}.gguf"))).collect()
}

fn hash(files: &[PathBuf], bar: &mut Bar) -> Result<String> {
    let mut hash = XxHash3_128::new();
    let mut block = vec![0; BLOCK];
    for path in files {
        let fail = |e| Error::io(format!("read {}", path.display()), e);
        let mut file = File::open(path).map_err(fail)?;
        loop {
            let n = match file.read(&mut block) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e)),
            };
            if interrupt::requested() {
                return Err(Error::new(ErrorKind::Cancelled, "interrupted"));
            }
            hash.write(&block[..n]);
            bar.advance(work(n as u64));
        }
    }
    Ok(format!("{:032x}", hash.finish_128()))
}
