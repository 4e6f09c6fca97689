//! `oribi compare`: what quantization levels of a model cost and gain, on this machine, in one report.

mod bar;
mod entry;
mod identity;
mod levels;
pub mod probe;
mod quality;
mod report;
mod speed;
mod table;

use std::io::Write;
use std::path::{Path, PathBuf};

use oribi::compare::{Limits, Report, Store, html};
use oribi::gguf::Gguf;
use oribi::{AtomicFile, Error, ErrorKind, Result};

use self::bar::Bar;
use self::entry::{Entry, Field};
use self::levels::Workshop;
use crate::loading::{EvaluationArgs, Text};
use crate::{cache, interrupt, memory, output};

/// Compare model files, or the levels of a model, in one report.
///
/// For each: size, load time, speed, peak memory, perplexity, divergence from the reference, and how often both hold the same token
/// for the most likely. What was measured is kept: the same command goes on after an interruption, and answers at once when all is known.
/// Quality is measured in portable arithmetic unless --native is given; speed as `oribi run` would have it.
#[derive(clap::Args)]
pub struct Args {
    /// GGUF files or names of cached models; with --levels one, of which the levels are made
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// Make these levels of MODEL and compare them; `all` for every level that can be made
    #[arg(long, value_name = "LEVEL,..", value_delimiter = ',')]
    levels: Vec<String>,
    /// The text whose tokens are predicted
    #[arg(short, long, value_name = "TEXT")]
    file: PathBuf,
    /// What the others are compared with [default: with --levels MODEL, otherwise the model of most bits per weight]
    #[arg(long, value_name = "MODEL2")]
    reference: Option<String>,
    /// Importance matrix for the levels (`oribi imatrix` makes one)
    #[arg(long, value_name = "FILE", requires = "levels")]
    imatrix: Option<PathBuf>,
    /// Keep the files of the levels in this folder, as MODEL.LEVEL.gguf
    #[arg(long, value_name = "DIR", requires = "levels")]
    keep: Option<PathBuf>,
    /// Bytes that files of levels may take on the disk at once, but one always exists; those are not measured in turns with the others
    #[arg(long, value_name = "BYTES", default_value = "8G", value_parser = memory::parse_bytes)]
    disk: u64,
    /// Measure again what is known
    #[arg(long)]
    again: bool,
    /// Write the report as a page: one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Write the report as Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The report as one JSON object on standard output
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    speed: SpeedArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    evaluation: EvaluationArgs,
}

/// How speed is measured.
#[derive(clap::Args)]
#[command(next_help_heading = "Speed")]
pub struct SpeedArgs {
    /// Tokens of the prompt
    #[arg(short = 'p', long, value_name = "N", default_value_t = 512, value_parser = positive)]
    n_prompt: usize,
    /// Tokens to generate
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64, value_parser = positive)]
    n_gen: usize,
    /// Times that every model is measured, in turns, each time in a new process
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = positive)]
    rounds: usize,
}

/// What the advice has to keep to.
#[derive(clap::Args)]
#[command(next_help_heading = "Advice")]
struct LimitArgs {
    /// The best whose file is smaller than this, as in 600M or 2GB; may be repeated
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes)]
    under: Vec<u64>,
    /// ... that takes less memory than this
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes)]
    under_memory: Option<u64>,
    /// ... that generates so many tokens per second or more
    #[arg(long, value_name = "N")]
    min_speed: Option<f64>,
    /// ... and the smallest of those whose mean KL divergence is at most this
    #[arg(long, value_name = "NATS")]
    max_kld: Option<f64>,
}

impl LimitArgs {
    fn limits(&self) -> Vec<Limits> {
        let rest = Limits {
            file_bytes: None,
            peak_bytes: self.under_memory,
            tokens_per_second: self.min_speed,
            kld: self.max_kld,
        };
        if self.under.is_empty() {
            return if rest == Limits::default() { Vec::new() } else { vec![rest] };
        }
        self.under.iter().map(|&bytes| Limits { file_bytes: Some(bytes), ..rest }).collect()
    }
}

fn positive(text: &str) -> std::result::Result<usize, String> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| "not a number above 0".to_string())
}

pub fn run(args: Args) -> Result<()> {
    if !args.levels.is_empty() && args.models.len() > 1 {
        let text = format!("--levels makes levels of one model, and {} are given", args.models.len());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    // What cannot be written at the end is known at the beginning.
    for file in args.html.iter().chain(&args.markdown) {
        drop(AtomicFile::create(file)?);
    }
    let text = Text::read(&args.file)?;
    interrupt::install()?;
    let report = measure(&args, &text).map_err(|e| match e.kind() {
        ErrorKind::Cancelled => {
            Error::new(e.kind(), "interrupted; what is finished is kept, and the same command goes on")
        }
        _ => e,
    })?;
    if let Some(file) = &args.html {
        write(file, &html(&report)?)?;
    }
    if let Some(file) = &args.markdown {
        write(file, &table::markdown(&report))?;
    }
    if args.json {
        return output::print_json(&serde_json::json!(report));
    }
    output::print(&table::text(&report))
}

fn write(path: &Path, text: &str) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(text.as_bytes()).map_err(|e| Error::io(format!("write {}", path.display()), e))?;
    file.commit()
}

/// Everything: from the files to the report.
fn measure(args: &Args, text: &Text) -> Result<Report> {
    let folder = cache::folder()?.join("compare");
    let store = Store::open(&folder)?;
    let paths = args.models.iter().map(|name| cache::resolve(Some(name))).collect::<Result<Vec<_>>>()?;
    let reference = args.reference.as_deref().map(|name| cache::resolve(Some(name))).transpose()?;
    let mut bar = Bar::new();
    let mut field = if args.levels.is_empty() {
        Field::of_files(args, &store, text, paths.clone(), reference, &mut bar)?
    } else {
        Field::of_levels(args, &store, text, &paths[0], reference, &mut bar)?
    };
    let source = Gguf::open(&paths[0])?;
    let mut workshop = Workshop::new(args, &store, &source, &paths[0], &folder)?;
    if !args.levels.is_empty() {
        workshop.look_up(&mut field, &mut bar)?;
    }
    bar.set_total(field.work(args) + workshop.work(&field));
    while let Some(batch) = workshop.next_batch(&mut field, &mut bar)? {
        quality::measure(&mut field, &batch, args, &mut bar)?;
        speed::measure(&mut field, &batch, args, &mut bar)?;
        workshop.clear(&mut field)?;
    }
    bar.finish();
    report::make(args, &field, text)
}

/// The entries of a batch, by their index.
type Batch = Vec<usize>;

/// Whether anything of an entry is still to be measured.
fn is_wanting(entry: &Entry, is_reference: bool, rounds: usize) -> bool {
    let scores = !is_reference && entry.scores.as_ref().is_none_or(|scores| scores.n_missing() > 0);
    scores || entry.samples.len() < rounds
}
