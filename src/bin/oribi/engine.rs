//! A loaded model with one sequence: what `run` and `chat` have in common.

use std::path::Path;
use std::sync::Arc;

use oribi::backend::Storage;
use oribi::backend::cpu::CpuOptions;
use oribi::backend::cpu::cores;
use oribi::backend::cpu::kernels::Isa;
use oribi::chat::{ChatTemplate, Message};
use oribi::generate::{Generation, SequenceForward};
use oribi::gguf::Gguf;
use oribi::model::Model;
use oribi::sampler::Sampler;
use oribi::session::{KvType, MemoryPrediction, Numerics, SequenceId, Session, SessionOptions};
use oribi::{Error, ErrorKind, Result};

use crate::generation::{Answer, GenerationArgs};
use crate::memory::DeviceArgs;
use crate::progress::Progress;
use crate::sampling::SamplingArgs;
use crate::{loading, memory};

/// How the model runs.
#[derive(clap::Args)]
#[command(next_help_heading = "Running")]
pub struct RuntimeArgs {
    /// Threads [default: the physical cores that this process may use]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
    #[command(flatten)]
    pub context: ContextArgs,
    /// Arithmetic of the prompt: portable gives the same bits on every CPU, native is bfloat16 where the CPU is fast at it
    #[arg(long, value_name = "MODE", default_value = "native", value_parser = ["portable", "native"])]
    numerics: String,
    /// Use no instruction set above this one: scalar, avx2, avxvnni, avx512, avx512bf16 or amx, on Arm neon, dotprod or i8mm [default: the best of this CPU, or ORIBI_ISA]
    #[arg(long, value_name = "NAME")]
    isa: Option<Isa>,
    /// Leave the weights in the file and pack them as they are needed: starts at once, runs models larger than memory, slowly
    #[arg(long)]
    no_pack: bool,
    /// Do not ask the system for huge pages for the weights
    #[arg(long)]
    no_huge_pages: bool,
    /// Refuse to use more memory than this, as in 512M or 4G [default: what is available]
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes)]
    max_memory: Option<u64>,
    /// Say what was chosen: instruction set, threads, formats and kernels, memory, speed
    #[arg(short, long)]
    pub verbose: bool,
}

/// The sizes that decide how much memory a run needs.
#[derive(clap::Args)]
pub struct ContextArgs {
    /// Positions of the context; 0 is what the model was trained for
    #[arg(short, long = "ctx-size", visible_alias = "ctx", value_name = "N", default_value_t = 0)]
    ctx: usize,
    /// Prompt tokens that are computed at once
    #[arg(short, long = "batch-size", value_name = "N", default_value_t = SessionOptions::default().n_batch)]
    batch: usize,
    /// How keys and values are kept: f16, q8_0 (half the memory) or q4_0 (a quarter, far less exact)
    #[arg(long, value_name = "TYPE", default_value_t = KvType::F16)]
    kv_type: KvType,
}

impl ContextArgs {
    pub fn options(&self) -> SessionOptions {
        SessionOptions { n_ctx: self.ctx, n_batch: self.batch, kv_type: self.kv_type, ..SessionOptions::default() }
    }
}

impl RuntimeArgs {
    fn storage(&self) -> Storage {
        if self.no_pack { Storage::InFile } else { Storage::Packed }
    }

    fn session_options(&self) -> SessionOptions {
        let numerics = if self.numerics == "portable" { Numerics::Portable } else { Numerics::Native };
        SessionOptions { numerics, ..self.context.options() }
    }
}

/// A model, a session of one sequence, and the tokens whose keys and values that sequence holds.
pub struct Engine {
    model: Arc<Model>,
    session: Session,
    sequence: SequenceId,
    held: Vec<u32>,
}

impl Engine {
    /// Opens and packs the model, with a progress bar where it takes long.
    pub fn load(path: &Path, args: &RuntimeArgs) -> Result<Engine> {
        // What goes wrong in opening names the file already.
        Engine::load_open(Gguf::open(path)?, args).map_err(|e| e.within(path.display()))
    }

    fn load_open(gguf: Gguf, args: &RuntimeArgs) -> Result<Engine> {
        let options = args.session_options();
        let n_threads = args.threads.unwrap_or_else(cores::default_threads);
        let chosen = args.device.check(&gguf, args.storage(), &options, n_threads, args.max_memory)?;
        let cpu = CpuOptions { n_threads: args.threads, isa: args.isa, huge_pages: Some(!args.no_huge_pages) };
        let model = loading::model(gguf, &chosen, cpu, args.storage())?;
        let mut session = Session::new(&model, &options)?;
        let sequence = session.new_sequence()?;
        if args.verbose {
            eprint!("{}", explain(&model, &session, &chosen.needed));
        }
        Ok(Engine { model, session, sequence, held: Vec::new() })
    }

    /// The tokens of a text as the model wants them at the start of a sequence.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>> {
        self.model.tokenizer().encode(text, true, true)
    }

    /// The file: metadata and tensors.
    pub fn gguf(&self) -> &Gguf {
        self.model.gguf()
    }

    /// The tokens of a conversation up to where the model's answer begins.
    pub fn render(&self, template: &ChatTemplate, messages: &[Message]) -> Result<Vec<u32>> {
        self.model.tokenizer().encode_prompt(&template.render(messages, true)?)
    }

    pub fn sampler(&self, args: &SamplingArgs, logprobs: Option<usize>) -> Result<Sampler> {
        let tokenizer = self.model.tokenizer();
        Sampler::new(&args.options(tokenizer, logprobs)?, tokenizer.n_vocab())
    }

    /// Continues `prompt`, handing each piece of text to `sink`. What the sequence already holds of it is not computed
    /// again. After an error of the sink, or Ctrl-C, the sequence holds what was computed.
    pub fn generate(
        &mut self,
        prompt: &[u32],
        sampler: &mut Sampler,
        args: &GenerationArgs,
        sink: &mut dyn FnMut(&str) -> Result<()>,
    ) -> Result<Answer> {
        let kept = self.keep_common(prompt)?;
        prompt[..kept].iter().try_for_each(|&token| sampler.accept(token))?;
        let mut bar = Progress::new("reading the prompt");
        let mut progress = |done: usize, total: usize| bar.update(done as u64, total as u64);
        let mut forward = SequenceForward::new(&mut self.session, self.sequence)?.with_progress(&mut progress);
        let tokenizer = self.model.tokenizer();
        let mut generation = Generation::new(&mut forward, sampler, tokenizer, &prompt[kept..], args.options())?;
        let (mut text, mut pieces) = (String::new(), Vec::new());
        let mut outcome = Ok(());
        for piece in &mut generation {
            outcome = piece.and_then(|piece| {
                text.push_str(&piece.text);
                let told = if piece.text.is_empty() { Ok(()) } else { sink(&piece.text) };
                pieces.push(piece);
                told
            });
            if outcome.is_err() {
                break;
            }
        }
        let summary = generation.summary();
        self.held = prompt.iter().copied().chain(pieces.iter().map(|piece| piece.token)).collect();
        self.held.truncate(self.session.len(self.sequence)?);
        outcome?;
        let reason = summary.stop_reason.ok_or_else(|| Error::new(ErrorKind::Internal, "the generation has no end"))?;
        let load_time = self.model.load_time();
        Ok(Answer { text, pieces, stop_reason: reason, load_time, timings: summary.timings })
    }

    /// How full the context is, for people.
    pub fn room(&self) -> String {
        format!("{} of {} positions used", self.held.len(), self.session.options().n_ctx)
    }

    /// Cuts the sequence down to what it has in common with `prompt`, less the last token, whose logits are wanted.
    fn keep_common(&mut self, prompt: &[u32]) -> Result<usize> {
        let common = self.held.iter().zip(prompt).take_while(|(a, b)| a == b).count();
        let kept = common.min(prompt.len().saturating_sub(1));
        self.session.truncate(self.sequence, kept)?;
        self.held.truncate(kept);
        Ok(kept)
    }
}

/// What was chosen, for `-v`.
fn explain(model: &Model, session: &Session, needed: &MemoryPrediction) -> String {
    let (cpu, hparams, options) = (model.cpu(), model.hparams(), session.options());
    let mut text = format!(
        "model: {}, {} blocks, {} wide, {} tokens; {} in {:.0} ms\n",
        hparams.arch.name,
        hparams.n_blocks,
        hparams.dim,
        hparams.n_vocab,
        if model.storage() == Storage::Packed { "packed" } else { "weights left in the file; loaded" },
        model.load_time().as_secs_f64() * 1e3
    );
    if model.machine().is_gpu() {
        text += &format!("device: {}\n", model.place());
    }
    text += &format!(
        "cpu: {}, {} threads, numerics {}\n",
        cpu.kernels().isa().name(),
        cpu.team().n_threads(),
        match (options.numerics, model.is_native()) {
            (Numerics::Portable, _) => "portable",
            (Numerics::Native, true) => "native for prompts",
            (Numerics::Native, false) => "native, which is portable here",
        }
    );
    for (dtype, n_tensors) in formats(model) {
        if model.machine().is_gpu() {
            text += &format!("{dtype}: {n_tensors} tensors\n");
            continue;
        }
        let kernels = cpu.kernels().chosen().iter().filter(|k| k.dtype() == Some(dtype) && k.name().contains("matmul"));
        let names: Vec<&str> = kernels.map(|k| k.name()).collect();
        text += &format!(
            "{dtype}: {n_tensors} tensors; {}\n",
            if names.is_empty() { "as they are".into() } else { names.join(", ") }
        );
    }
    text += &format!(
        "memory: {}, context {}, {} cache, batch {}\n",
        memory::describe(needed),
        options.n_ctx,
        options.kv_type,
        options.n_batch
    );
    for note in model.tokenizer().notes() {
        text += &format!("tokenizer: {note}\n");
    }
    text
}

fn formats(model: &Model) -> std::collections::BTreeMap<oribi::dtype::DType, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for tensor in model.gguf().tensors() {
        *counts.entry(tensor.dtype).or_insert(0) += 1;
    }
    counts
}
