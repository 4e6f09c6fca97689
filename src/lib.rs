//! oribi runs quantized language models from GGUF files.

#[cfg(target_endian = "big")]
compile_error!("oribi needs a little-endian CPU: GGUF files and packed weights are read as they lie in memory");

mod atomic_file;
mod error;
mod fallible;

pub mod backend;
#[cfg(feature = "bench")]
pub mod bench;
#[cfg(feature = "capi")]
pub mod capi;
pub mod chat;
#[cfg(feature = "compare")]
pub mod compare;
#[cfg(feature = "convert")]
pub mod convert;
pub mod dtype;
#[cfg(feature = "eval")]
pub mod eval;
pub mod generate;
pub mod gguf;
pub mod importance;
pub mod mapped_file;
pub mod model;
pub mod quant;
#[cfg(feature = "quantize")]
pub mod quantize;
pub mod sampler;
pub mod session;
#[cfg(feature = "synth")]
pub mod synth;
pub mod tokenizer;
#[cfg(feature = "tune")]
pub mod tune;

pub use atomic_file::AtomicFile;
pub use error::{Error, ErrorKind, Result};

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
