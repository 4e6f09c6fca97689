//! Hugging Face checkpoints to GGUF.
//!
//! A [`Conversion`] is planned from the headers, the configuration and the vocabulary; whatever is missing, contradicts itself or
//! would be computed otherwise than it was trained is an error by then. [`Conversion::write`] carries it out: tensor after
//! tensor in pieces of whole rows, so that memory does not depend on the model's size, and what an interruption left is
//! gone on with. The file is a pure function of the checkpoint and the options.
//!
//! | file | does |
//! |---|---|
//! | `checkpoint.rs` | the files of tensors, and the tensors in them |
//! | `json.rs` | the other files, typed access to the configuration |
//! | `mapping.rs` | what maps to what: one row per architecture |
//! | `hparams.rs` | sizes, metadata, and what is refused |
//! | `tensors.rs` | which tensor becomes which |
//! | `scales.rs` | 8-bit floats with scales |
//! | `stream.rs` | one tensor from there to here |
//! | `general.rs` | what the file says about itself |
//! | `vocabulary/` | the tokenizer |

mod checkpoint;
mod general;
mod hparams;
mod json;
mod mapping;
mod scales;
mod stream;
mod tensors;
mod vocabulary;

use std::path::Path;

use self::checkpoint::Checkpoint;
use self::hparams::HyperParams;
use self::json::CONFIG;
use self::tensors::Planned;
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result, bail};
pub use crate::gguf::Found;
use crate::gguf::GgufBuilder;
use crate::model::Progress;
use crate::quant::recipes::Recipe;

/// What a checkpoint becomes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options<'a> {
    /// The quantization level; `None` for the checkpoint's own precision (BF16 for 8-bit floats).
    pub level: Option<Recipe>,
    /// The name of the splitting rules (`tokenizer.ggml.pre`), in place of what is recognised.
    pub pre_tokenizer: Option<&'a str>,
    /// `general.name`; `None` for the folder's.
    pub name: Option<&'a str>,
}

/// A tensor that a conversion makes.
#[derive(Clone, Copy, Debug)]
pub struct TensorPlan<'a> {
    /// Its name in the file.
    pub name: &'a str,
    /// Its name in the checkpoint; `None` for one that follows from the configuration.
    pub source: Option<&'a str>,
    /// Its format in the checkpoint.
    pub source_type: &'a str,
    /// Its format in the file.
    pub dtype: DType,
    /// In GGUF's order, the contiguous dimension first.
    pub shape: &'a [u64],
}

/// What was written.
#[derive(Clone, Debug)]
pub struct Summary {
    /// Bytes of the file.
    pub file_bytes: u64,
    /// What an earlier run had left.
    pub found: Found,
}

/// A checkpoint that can be converted.
pub struct Conversion {
    checkpoint: Checkpoint,
    arch: &'static str,
    level: Recipe,
    builder: GgufBuilder,
    tensors: Vec<Planned>,
    notes: Vec<String>,
    n_refitted: usize,
}

impl Conversion {
    /// Plans the conversion of a folder, or of one `.safetensors` file with the other files beside it.
    ///
    /// # Errors
    /// `Unsupported` for an architecture, a setting, a type or a vocabulary that cannot be computed; `InvalidModel`, `MissingKey`
    /// and `WrongType` for what is missing or contradicts itself; `InvalidFile` and `Truncated` for files that are not
    /// what they should be; `InvalidArgument` for a GGUF file, or an option that is not known; `Io`.
    pub fn new(path: &Path, options: &Options<'_>) -> Result<Conversion> {
        let checkpoint = Checkpoint::open(path)?;
        let Some(config) = checkpoint.json(CONFIG)? else {
            bail!(MissingKey, "{} is missing in {}", CONFIG, checkpoint.folder.display());
        };
        let h = HyperParams::new(config)?;
        let level = options.level.unwrap_or_else(|| tensors::own_level(&checkpoint));
        let list = tensors::plan(&checkpoint, &h, &level)?;
        let mut builder = GgufBuilder::new();
        general::set(&mut builder, &checkpoint, h.arch.name, options.name, &level)?;
        let n_elems = list.tensors.iter().map(Planned::n_elems).sum();
        builder.set("general.size_label", general::size_label(n_elems))?;
        h.set_metadata(&mut builder)?;
        let mut notes = list.notes;
        notes.extend(vocabulary::set(&mut builder, &checkpoint, &h.config, h.sizes.n_vocab, options.pre_tokenizer)?);
        for tensor in &list.tensors {
            builder.add_tensor(&tensor.name, tensor.dtype, &tensor.shape)?;
        }
        let (arch, tensors, n_refitted) = (h.arch.name, list.tensors, list.n_refitted);
        Ok(Conversion { checkpoint, arch, level, builder, tensors, notes, n_refitted })
    }

    /// The architecture.
    pub fn arch(&self) -> &'static str {
        self.arch
    }

    /// The level of the file.
    pub fn level(&self) -> &Recipe {
        &self.level
    }

    /// Everything that is left out, or taken otherwise than it is written, a line each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Matrices whose rows are not whole blocks of the format that the level wants for them, and that get another.
    pub fn n_refitted(&self) -> usize {
        self.n_refitted
    }

    /// The tensors of the file, in its order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = TensorPlan<'_>> {
        self.tensors.iter().map(Planned::as_plan)
    }

    /// Bytes that the file will have.
    ///
    /// # Errors
    /// `InvalidArgument` if they pass 64 bits.
    pub fn file_bytes(&self) -> Result<u64> {
        self.builder.file_bytes()
    }

    /// Writes the file to `path`, which appears whole or not at all. What an interrupted run left is gone on with, unless
    /// `fresh`; a cancelled one leaves what it has. `progress` gets the bytes written and those of all tensors.
    ///
    /// # Errors
    /// `InvalidArgument` for a value that a format cannot hold, naming its tensor; `InvalidState` if another process writes the same
    /// file; `Cancelled`; `Io`.
    pub fn write(&self, path: &Path, fresh: bool, progress: Progress<'_>) -> Result<Summary> {
        let file_bytes = self.file_bytes()?;
        let mut still_holds = |index: usize, mark: u128| {
            let made_from = self.tensors.get(index).map(|tensor| stream::mark(&self.checkpoint, tensor));
            Ok(made_from == Some(mark))
        };
        let job = concat!("convert ", env!("CARGO_PKG_VERSION"));
        let (mut writer, found) = self.builder.clone().resume(path, job, fresh, &mut still_holds)?;
        let total = self.tensors.iter().map(Planned::n_bytes).sum();
        let kept = match found {
            Found::Finished { n_tensors } => n_tensors,
            _ => 0,
        };
        let mut done = self.tensors[..kept].iter().map(Planned::n_bytes).sum();
        for tensor in &self.tensors[kept..] {
            let written = writer.stream_tensor(&tensor.name, |put| {
                let mark = stream::mark(&self.checkpoint, tensor);
                stream::stream(&self.checkpoint, tensor, &mut |bytes| {
                    put(bytes)?;
                    done += bytes.len() as u64;
                    match progress(done, total) {
                        true => Ok(()),
                        false => {
                            Err(Error::new(ErrorKind::Cancelled, format!("cancelled after {done} of {total} bytes")))
                        }
                    }
                })?;
                Ok(mark)
            });
            match written {
                Err(e) if e.kind() == ErrorKind::Cancelled => {
                    writer.suspend();
                    return Err(e);
                }
                other => other?,
            }
        }
        writer.commit()?;
        Ok(Summary { file_bytes, found })
    }
}
