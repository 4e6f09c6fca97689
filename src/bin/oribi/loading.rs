//! Loading a model with a progress bar, and what commands that evaluate texts have in common.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use oribi::backend::Storage;
use oribi::backend::cpu::kernels::Isa;
use oribi::backend::cpu::{CpuOptions, cores};
use oribi::eval::{CHUNK_LEN, ChunkOptions, Runtime};
use oribi::gguf::Gguf;
use oribi::model::{HyperParams, Model, ModelOptions};
use oribi::session::{KvType, Numerics, SessionOptions};
use oribi::{Error, Result};

use crate::memory::{Chosen, DeviceArgs};
use crate::progress::Progress;
use crate::{interrupt, memory};

/// Packs the weights of an open file, with a progress bar where it takes long; Ctrl-C ends it.
pub fn model(gguf: Gguf, on: &Chosen, cpu: CpuOptions, storage: Storage) -> Result<Arc<Model>> {
    let bar = Mutex::new(Progress::new("packing weights"));
    let progress = |done: u64, total: u64| {
        if let Ok(mut bar) = bar.lock() {
            bar.update(done, total);
        }
        !interrupt::requested()
    };
    let options =
        ModelOptions { device: on.device, gpu_layers: on.gpu_layers, cpu, storage, progress: Some(&progress) };
    Model::load(gguf, options)
}

/// How a text is evaluated.
#[derive(clap::Args)]
#[command(next_help_heading = "Evaluation")]
pub struct EvaluationArgs {
    /// Tokens in a chunk; each chunk is evaluated alone
    #[arg(short, long = "ctx-size", visible_alias = "ctx", value_name = "N", default_value_t = CHUNK_LEN)]
    pub ctx: usize,
    /// Only so many chunks, from the beginning of the text
    #[arg(long, value_name = "N")]
    pub chunks: Option<usize>,
    /// Use bfloat16 where the CPU is fast at it: faster, less exact, and not the same on every CPU
    #[arg(long)]
    pub native: bool,
    /// How keys and values are kept: f16, q8_0 or q4_0
    #[arg(long, value_name = "TYPE", default_value_t = KvType::F16)]
    pub kv_type: KvType,
    /// Threads [default: the physical cores that this process may use]
    #[arg(short, long, value_name = "N")]
    pub threads: Option<usize>,
    /// Use no instruction set above this one [default: the best of this CPU, or ORIBI_ISA]
    #[arg(long, value_name = "NAME")]
    pub isa: Option<Isa>,
    #[command(flatten)]
    pub device: DeviceArgs,
    /// Leave the weights in the file: for models larger than memory, slowly
    #[arg(long)]
    pub no_pack: bool,
    /// Refuse to use more memory than this, as in 512M or 4G [default: what is available]
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes)]
    pub max_memory: Option<u64>,
}

impl EvaluationArgs {
    pub fn chunk_options(&self, stride: Option<usize>) -> ChunkOptions {
        ChunkOptions { chunk_len: self.ctx, stride, n_chunks: self.chunks }
    }

    pub fn numerics(&self) -> Numerics {
        if self.native { Numerics::Native } else { Numerics::Portable }
    }

    /// A session for texts of `n_ctx` tokens.
    pub fn session_options(&self, n_ctx: usize) -> SessionOptions {
        SessionOptions { n_ctx, numerics: self.numerics(), kv_type: self.kv_type, ..SessionOptions::default() }
    }

    pub fn storage(&self) -> Storage {
        if self.no_pack { Storage::InFile } else { Storage::Packed }
    }

    pub fn cpu(&self) -> CpuOptions {
        CpuOptions { n_threads: self.threads, isa: self.isa, ..CpuOptions::default() }
    }

    /// Loads a model; refuses it if it and its session would need more memory than there is.
    pub fn load(&self, path: &Path) -> Result<Arc<Model>> {
        let load = |gguf: Gguf| {
            let n_threads = self.threads.unwrap_or_else(cores::default_threads);
            let options = Runtime::sizes(self.session_options(self.ctx), HyperParams::from_gguf(&gguf)?.n_vocab);
            let chosen = self.device.check(&gguf, self.storage(), &options, n_threads, self.max_memory)?;
            model(gguf, &chosen, self.cpu(), self.storage())
        };
        load(Gguf::open(path)?).map_err(|e| e.within(path.display()))
    }

    /// The arithmetic that is really used, for people.
    pub fn numerics_of(&self, model: &Model) -> &'static str {
        match (model.machine().is_gpu(), self.native, model.is_native()) {
            (true, true, _) => "native GPU",
            (true, false, _) => "portable GPU",
            (false, false, _) => "portable",
            (false, true, true) => "native",
            (false, true, false) => "native, which is portable here",
        }
    }
}

/// What a model runs on, as the tables of results say it.
pub fn device_name(model: &Model) -> String {
    let device = model.machine().device();
    match model.gpu_layers() {
        Some(n) => format!("{device} ({n} of {} blocks)", model.hparams().n_blocks),
        None => device.to_string(),
    }
}

/// A text that an evaluation reads.
pub struct Text {
    pub path: PathBuf,
    pub text: String,
}

impl Text {
    pub fn read(path: &Path) -> Result<Text> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(format!("read {}", path.display()), e))?;
        Ok(Text { path: path.to_owned(), text })
    }

    /// XXH3 of its bytes, 128 bits in hexadecimal digits.
    pub fn hash(&self) -> String {
        hex(&twox_hash::XxHash3_128::oneshot(self.text.as_bytes()).to_be_bytes())
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A file's name without its folder.
pub fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
