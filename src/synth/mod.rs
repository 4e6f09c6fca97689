//! Model files with random weights: any supported shape at any quantization level, for benches and tests of shapes that no
//! package carries.
//!
//! The weights are made directly in their file format: random codes, and scales such that a row of `k` weights has a standard
//! deviation of about `1 / sqrt(k)`, so that activations stay near one through any number of blocks. A file is a pure
//! function of its shape, level and seed, whatever the number of threads. The text of such a model is noise; its speed and
//! memory are those of a trained one.
//!
//! | file | does |
//! |---|---|
//! | `shape.rs` | sizes, presets, what is impossible |
//! | `plan.rs` | metadata, tensor names, shapes and formats |
//! | `vocabulary.rs` | a small valid vocabulary |
//! | `fill.rs` | random blocks of every format |

mod fill;
mod plan;
mod shape;
mod vocabulary;

use std::path::Path;

pub use shape::{PRESETS, Preset, Shape, ShapeOptions};

use self::plan::{Plan, plan};
use crate::error::{Result, bail};
use crate::model::Progress;
use crate::quant::recipes::Recipe;

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Weights in all tensors.
    pub n_elems: u64,
    /// Bytes of all tensors.
    pub n_bytes: u64,
    /// Matrices whose rows are not whole blocks of the format that the level wants for them, and that got another.
    pub n_refitted: usize,
}

/// Writes the model file of a shape at a quantization level to `path`, which appears whole or not at all. `progress` gets the
/// bytes written so far and those of all tensors.
///
/// # Errors
/// `InvalidArgument` for an impossible shape, naming the size; `Unsupported` for a level with a format that cannot be
/// computed with; `Cancelled`; `Io`.
pub fn create(shape: &Shape, level: &Recipe, seed: u64, path: &Path, progress: Progress<'_>) -> Result<Summary> {
    shape.check()?;
    if path.is_dir() {
        bail!(InvalidArgument, "{} is a folder", path.display());
    }
    let Plan { builder, tensors, summary } = plan(shape, level)?;
    let mut writer = builder.create(path)?;
    let mut done = 0;
    for (index, tensor) in tensors.iter().enumerate() {
        let key = fill::StreamKey { seed, tensor: index as u64 };
        writer.stream_tensor(&tensor.name, |sink| {
            fill::stream(tensor, key, |bytes| {
                sink.write(bytes)?;
                done += bytes.len() as u64;
                if !progress(done, summary.n_bytes) {
                    bail!(Cancelled, "cancelled after {done} of {} bytes", summary.n_bytes);
                }
                Ok(())
            })
        })?;
    }
    writer.commit()?;
    Ok(summary)
}
