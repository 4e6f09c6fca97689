//! The C interface: `include/oribi.h` is made from this folder by cbindgen, comments included.
//!
//! One file per C type. What all of them share:
//!
//! | file | does |
//! |---|---|
//! | `boundary.rs` | every call passes here: arguments checked, panics caught, the thread's last error |
//! | `handle.rs` | what a pointer to a handle owns, and whether it is in use |
//! | `status.rs` | error kinds as numbers |
//! | `hooks.rs` | the host's callbacks |
//!
//! The conventions that hold for every function are the text at the top of the header (`cbindgen.toml`). A function here is
//! short: it checks its pointers, calls the library, and hands out the result. Its documentation is written for C.

#![allow(non_camel_case_types, reason = "the names are those of the header")]
#![allow(clippy::missing_safety_doc, reason = "the contract of every function is the text at the top of the header")]

mod batch;
mod boundary;
mod cancel;
mod chat;
mod cpu;
mod decoder;
mod file;
mod generation;
mod handle;
mod hooks;
mod metadata;
mod model;
mod options;
mod perplexity;
mod piece;
mod quantize;
mod sampler;
mod session;
mod settings;
mod sources;
mod state;
mod status;
mod tensors;
mod text;
mod tokenizer;
mod version;

#[cfg(test)]
mod tests;

pub use batch::*;
pub use cancel::*;
pub use chat::*;
pub use cpu::*;
pub use decoder::*;
pub use file::*;
pub use generation::*;
pub use hooks::*;
pub use metadata::*;
pub use model::*;
pub use options::*;
pub use perplexity::*;
pub use piece::*;
pub use quantize::*;
pub use sampler::*;
pub use session::*;
pub use sources::*;
pub use state::*;
pub use status::*;
pub use tensors::*;
pub use text::*;
pub use tokenizer::*;
pub use version::*;
