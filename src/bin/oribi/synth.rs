//! `oribi synth`: a model file with random weights.

use std::path::PathBuf;
use std::sync::Mutex;

use oribi::Result;
use oribi::quant;
use oribi::synth::{self, PRESETS, ShapeOptions};

use crate::progress::Progress;
use crate::{interrupt, level, output};

/// Make a model file with random weights, for benches and tests.
///
/// Any supported architecture, shape and quantization level, with a small valid vocabulary. The same options and seed give
/// the same file. What it says is noise; its speed and memory are those of a trained model.
#[derive(clap::Args)]
pub struct Args {
    /// Where to write the file; it appears whole or not at all
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A level such as Q4_K_M, or a format for every matrix alone, such as Q4_K or MXFP4
    #[arg(long = "type", value_name = "TYPE", default_value = "Q4_K_M")]
    level: String,
    /// Give every matrix the level's base format: no exceptions for the output head or for precious tensors
    #[arg(long)]
    pure: bool,
    /// Decides every weight
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    shape: ShapeArgs,
}

/// What the options below do not say comes from the preset; without a preset from dim, as said there.
#[derive(clap::Args)]
#[command(next_help_heading = "Shape")]
struct ShapeArgs {
    /// Sizes of a well-known model: 135m, 270m, 1b, 3b, 8b
    #[arg(long, value_name = "NAME", long_help = preset_help())]
    preset: Option<String>,
    /// Architecture: llama, qwen2 or gemma3 [default: llama]
    #[arg(long, value_name = "NAME")]
    arch: Option<String>,
    /// Blocks [default: 4]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Length of the residual vector [default: 256]
    #[arg(long, value_name = "N")]
    dim: Option<usize>,
    /// Query heads [default: dim / 64]
    #[arg(long, value_name = "N")]
    heads: Option<usize>,
    /// Key and value heads [default: heads]
    #[arg(long, value_name = "N")]
    kv_heads: Option<usize>,
    /// Length of a head [default: dim / heads]
    #[arg(long, value_name = "N")]
    head_dim: Option<usize>,
    /// Length of the feed-forward layer [default: 4 * dim]
    #[arg(long, value_name = "N")]
    ffn: Option<usize>,
    /// Tokens of the vocabulary, 259 or more [default: 512]
    #[arg(long, value_name = "N")]
    vocab: Option<usize>,
    /// Positions that the model claims to be trained for [default: 2048]
    #[arg(long, value_name = "N")]
    ctx: Option<usize>,
    /// Positions of the sliding window, where the architecture has one [default: 512]
    #[arg(long, value_name = "N")]
    window: Option<usize>,
    /// Whether the embeddings are the output head, too [default: false]
    #[arg(long, value_name = "BOOL")]
    tied_embeddings: Option<bool>,
}

fn preset_help() -> String {
    let lines = PRESETS.iter().map(|p| format!("\n  {:5} the shape of {}", p.name, p.model));
    format!("Sizes of a well-known model; other options change single sizes{}", lines.collect::<String>())
}

impl ShapeArgs {
    fn options(&self) -> ShapeOptions<'_> {
        ShapeOptions {
            preset: self.preset.as_deref(),
            arch: self.arch.as_deref(),
            n_blocks: self.layers,
            dim: self.dim,
            n_heads: self.heads,
            n_kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            ffn_dim: self.ffn,
            n_vocab: self.vocab,
            n_ctx: self.ctx,
            window: self.window,
            tied_embeddings: self.tied_embeddings,
        }
    }
}

pub fn run(args: Args) -> Result<()> {
    let shape = args.shape.options().resolve()?;
    let level = level::find(&args.level, args.pure, quant::is_supported)?;
    interrupt::install()?;
    let bar = Mutex::new(Progress::new("writing"));
    let progress = |done: u64, total: u64| {
        if let Ok(mut bar) = bar.lock() {
            bar.update(done, total);
        }
        !interrupt::requested()
    };
    let summary = synth::create(&shape, &level, args.seed, &args.output, &progress)?;
    drop(bar);
    if summary.n_refitted > 0 {
        eprintln!(
            "matrices with another format than {} wants: {}, whose rows are not whole blocks of it",
            level.name, summary.n_refitted
        );
    }
    output::print_line(&format!(
        "{}: {} {}{}, {} weights, {}",
        args.output.display(),
        shape.arch.name,
        if args.pure { "pure " } else { "" },
        level.name,
        output::human_count(summary.n_elems),
        output::human_bytes(summary.n_bytes)
    ))
}
