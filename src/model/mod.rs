//! Models: what a GGUF file means, bound to a machine, immutable and shared.

pub mod arch;
mod building;
mod hparams;
mod identity;
mod parts;
mod replace;
mod weights;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::backend::cpu::{Cpu, CpuOptions};
use crate::backend::{Backend, Device, Machine, Storage};
use crate::error::{Result, bail};
use crate::gguf::Gguf;
use crate::tokenizer::Tokenizer;

use self::building::Building;
#[cfg(feature = "synth")]
pub(crate) use self::hparams::limit;
pub use self::hparams::{HyperParams, Rope};
pub(crate) use self::parts::{Part, Share, Stage, shares};
pub use self::weights::Progress;
pub(crate) use self::weights::{Weights, packing_bytes, stored_bytes};

/// How to load a model.
#[derive(Clone, Copy, Default)]
pub struct ModelOptions<'a> {
    /// What the model runs on.
    pub device: Device,
    /// Blocks that are on the GPU, the first ones; the CPU computes the others. `None`, or more than there are, for all. With
    /// [`Device::Cpu`] it is refused; where [`Device::Auto`] finds no GPU it means nothing.
    pub gpu_layers: Option<usize>,
    /// How to use the CPU. Beside a GPU it packs the weights.
    pub cpu: CpuOptions,
    /// Where the weights are while the model runs.
    pub storage: Storage,
    /// Called with the bytes of tensors that are ready and those of all; `false` cancels the load.
    pub progress: Option<Progress<'a>>,
}

/// A model ready to run: hyperparameters, packed weights, tokenizer. Immutable; share it by reference count between
/// sessions and threads.
pub struct Model {
    gguf: Gguf,
    hparams: HyperParams,
    tokenizer: Arc<Tokenizer>,
    weights: Weights<Machine>,
    identity: [u8; 16],
    storage: Storage,
    parts: Vec<Part>,
    stages: Vec<Stage>,
    load_time: Duration,
}

impl Model {
    /// Open a file and load the model in it.
    ///
    /// # Errors
    /// Those of [`Gguf::open`] and [`Model::load`].
    pub fn open(path: impl AsRef<Path>, options: ModelOptions<'_>) -> Result<Arc<Model>> {
        let path = path.as_ref();
        Model::load(Gguf::open(path)?, options).map_err(|e| e.within(path.display()))
    }

    /// Load the model of an open file: check it, pack its weights on all threads, and build the tokenizer beside that.
    ///
    /// # Errors
    /// `Unsupported` for an architecture, tensor type or tokenizer that is not built, `InvalidModel`, `MissingKey` and
    /// `WrongType` for a file that contradicts itself, `OutOfMemory`, `Cancelled`, `Device`.
    pub fn load(gguf: Gguf, options: ModelOptions<'_>) -> Result<Arc<Model>> {
        let start = Instant::now();
        let hparams = HyperParams::from_gguf(&gguf)?;
        let machine = Machine::new(options.device, options.cpu)?;
        let go_on = |_, _| true;
        let progress = options.progress.unwrap_or(&go_on);
        let n_bytes = gguf.tensors().iter().map(|tensor| tensor.n_bytes()).sum();
        let building = Building::start(&gguf, &|| progress(0, n_bytes))?;
        let is_meant = options.device != Device::Auto || machine.is_gpu();
        let mut parts = parts::parts(machine, hparams.n_blocks, options.gpu_layers.filter(|_| is_meant))?;
        let (weights, sample) = weights::bind(&parts, &gguf, &hparams, options.storage, progress)?;
        let tokenizer = Arc::new(building.finish(|| progress(n_bytes, n_bytes))?);
        if tokenizer.n_vocab() > hparams.n_vocab {
            bail!(
                InvalidModel,
                "the tokenizer has {} tokens, tensor token_embd.weight only {} rows",
                tokenizer.n_vocab(),
                hparams.n_vocab
            );
        }
        parts.iter_mut().for_each(|part| part.is_native = is_native(part, &weights));
        Ok(Arc::new(Model {
            weights,
            identity: sample.identity(&gguf),
            storage: options.storage,
            tokenizer,
            hparams,
            stages: parts::stages(&parts),
            parts,
            load_time: start.elapsed(),
            gguf,
        }))
    }

    /// The file: metadata and tensors.
    pub fn gguf(&self) -> &Gguf {
        &self.gguf
    }

    /// The hyperparameters.
    pub fn hparams(&self) -> &HyperParams {
        &self.hparams
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The machine that it is bound to: where some of its blocks are on a GPU, that GPU.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.parts[0].machine
    }

    /// The CPU: that machine itself, or the one beside the GPU.
    pub fn cpu(&self) -> &Arc<Cpu> {
        self.machine().cpu()
    }

    /// Blocks that are on the GPU, where the CPU has others; `None` where one machine has them all.
    pub fn gpu_layers(&self) -> Option<usize> {
        (self.parts.len() > 1).then(|| self.parts[0].share.blocks.len())
    }

    /// What it runs on, for people.
    pub fn place(&self) -> String {
        let name = self.machine().name();
        match self.gpu_layers() {
            Some(n) => format!("{name} with {n} of {} blocks, the others on the CPU", self.hparams.n_blocks),
            None => name,
        }
    }

    /// The machines with their blocks, the main one first.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// In which order they compute.
    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// The machine that a tensor is on.
    pub(crate) fn machine_of(&self, tensor: &str) -> &Arc<Machine> {
        let block = parts::block_of(tensor);
        let holder = self.parts.iter().find(|part| block.is_some_and(|block| part.share.blocks.contains(&block)));
        holder.map_or(self.machine(), |part| &part.machine)
    }

    /// What tells this model from others: an XXH3 hash of 128 bits over the header of every file, byte for byte (architecture,
    /// hyperparameters, vocabulary, chat template, names, types and shapes of all tensors), and over the first 64 bytes of
    /// each tensor, so that two checkpoints under one header differ. The same on every machine, however the model was
    /// opened. It guards against mistakes, not against somebody who wants two models to look the same.
    pub fn identity(&self) -> [u8; 16] {
        self.identity
    }

    /// How long loading took, from the open header to the packed weights.
    pub fn load_time(&self) -> Duration {
        self.load_time
    }

    /// Bytes of weights that one generated token reads: every matrix but, where the output has its own, the embeddings.
    pub fn bytes_per_token(&self) -> u64 {
        let has_output = self.weights.output.is_some();
        let read = |name: &str| !(has_output && name == "token_embd.weight");
        self.gguf.tensors().iter().filter(|t| read(&t.name)).map(|t| t.n_bytes()).sum()
    }

    /// Whether prompts can be computed in native arithmetic: the machine is fast at bfloat16, with kernels for every matrix of a block. Of
    /// two machines one may have it alone.
    pub fn is_native(&self) -> bool {
        self.parts.iter().any(|part| part.is_native && !part.share.blocks.is_empty())
    }

    /// Where the weights are.
    pub fn storage(&self) -> Storage {
        self.storage
    }

    pub(crate) fn weights(&self) -> &Weights<Machine> {
        &self.weights
    }
}

/// Whether every matrix of a part's blocks has kernels for native arithmetic.
fn is_native(part: &Part, weights: &Weights<Machine>) -> bool {
    let blocks = &weights.blocks[part.share.blocks.clone()];
    blocks.iter().flat_map(|block| block.matrices()).all(|matrix| part.machine.is_native(matrix))
}
