//! `oribi eval`: perplexity of a model, its divergence from another, multiple choice.

mod report;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oribi::eval::logits_file::{self, SavedLogits};
use oribi::eval::{Chunks, Comparison, Perplexity, Runtime, Task, compare, perplexity, same_vocabulary, score_choices};
use oribi::model::Model;
use oribi::{Error, ErrorKind, Result};

use self::report::{Header, Reference};
use crate::loading::{EvaluationArgs, Text, file_name, hex};
use crate::options::ModelArg;
use crate::progress::Progress;
use crate::{cache, interrupt, output};

/// Measure what a model says about a text: its perplexity, and its divergence from another model.
///
/// The text is cut into chunks; of each the second half is scored, as llama-perplexity does it, so that figures compare. Arithmetic is
/// portable unless --native is given: the same figures on every CPU.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text
    #[arg(short, long, value_name = "FILE", required_unless_present_any = ["choices", "reference_logits"])]
    file: Option<PathBuf>,
    /// Compare with this model, of which MODEL is a version: both are evaluated in one pass
    #[arg(long, value_name = "MODEL2")]
    reference: Option<String>,
    /// Write MODEL's logits to a compact file, to compare other models with
    #[arg(long, value_name = "FILE", conflicts_with = "reference")]
    save_logits: Option<PathBuf>,
    /// Tokens that --save-logits keeps at each position; the probability of the others is kept as a sum
    #[arg(long, value_name = "N", default_value_t = logits_file::DEFAULT_TOP)]
    top: usize,
    /// Compare with saved logits; the text comes from that file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["reference", "save_logits", "chunks", "stride", "ctx"])]
    reference_logits: Option<PathBuf>,
    /// Score multiple choice: lines of JSON with a context (ctx), endings and the index of the right one (label), as HellaSwag's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "reference", "save_logits", "reference_logits", "chunks", "stride", "ctx"])]
    choices: Option<PathBuf>,
    /// Chunks overlap: each begins so many tokens after the one before, and that many are scored, its last
    #[arg(long, value_name = "N")]
    stride: Option<usize>,
    #[command(flatten)]
    evaluation: EvaluationArgs,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(args.model.name())?;
    interrupt::install()?;
    if let Some(file) = &args.choices {
        return run_choices(&args, &path, file);
    }
    if let Some(file) = &args.reference_logits {
        return run_with_logits(&args, &path, file);
    }
    let Some(file) = &args.file else {
        return Err(Error::new(ErrorKind::InvalidArgument, "-f is missing: which text"));
    };
    let text = Text::read(file)?;
    let reference = args.reference.as_deref().map(|name| cache::resolve(Some(name))).transpose()?;
    // What is wrong with the text is known before the second model is packed.
    let model = args.evaluation.load(&path)?;
    let chunks = chunks(&args, &model, &text)?;
    let mut header = Header::new(&args.evaluation, &path, &model, &chunks);
    header.set_text(&text);
    let mut runtime = runtime(&args, &model, &chunks)?;
    let Some(reference) = reference else {
        let found = measure(&args, &mut runtime, &chunks, &path)?;
        return print(&args, header.perplexity_text(&found), header.perplexity_json(&found));
    };
    let other = args.evaluation.load(&reference)?;
    check_vocabularies([&reference, &path], same_vocabulary(&other, &model))?;
    let mut other_runtime = self::runtime(&args, &other, &chunks)?;
    let mut bar = Progress::chunks("comparing");
    let found = compare(&mut other_runtime, &mut runtime, &chunks, &mut |done, all| tick(&mut bar, done, all))?;
    drop(bar);
    print_comparison(&args, &header, &Reference::of_model(&reference, &other), &found)
}

fn chunks(args: &Args, model: &Model, text: &Text) -> Result<Chunks> {
    let options = args.evaluation.chunk_options(args.stride);
    Chunks::of_text(model.tokenizer(), &text.text, &options).map_err(|e| e.within(text.path.display()))
}

fn runtime(args: &Args, model: &Arc<Model>, chunks: &Chunks) -> Result<Runtime> {
    let runtime = Runtime::with(model, args.evaluation.session_options(chunks.chunk_len()))?;
    Ok(runtime.with_stop(interrupt::requested))
}

/// The perplexity; on the way logits are saved, if that is asked for.
fn measure(args: &Args, runtime: &mut Runtime, chunks: &Chunks, path: &Path) -> Result<Perplexity> {
    let mut bar = Progress::chunks("evaluating");
    let mut on_chunk = |done, all| tick(&mut bar, done, all);
    match &args.save_logits {
        Some(file) => logits_file::save_logits(runtime, chunks, args.top, &file_name(path), file, &mut on_chunk),
        None => perplexity(runtime, chunks, &mut on_chunk),
    }
}

fn run_with_logits(args: &Args, path: &Path, file: &Path) -> Result<()> {
    let saved = SavedLogits::open(file)?;
    let model = args.evaluation.load(path)?;
    check_vocabularies([file, path], saved.check_vocabulary(&model))?;
    let chunks = saved.chunks();
    let mut header = Header::new(&args.evaluation, path, &model, chunks);
    if let Some(text) = &args.file {
        let text = Text::read(text)?;
        check_text(&text, &model, chunks, file)?;
        header.set_text(&text);
    }
    let mut runtime = runtime(args, &model, chunks)?;
    let mut bar = Progress::chunks("comparing");
    let found = saved.compare(&mut runtime, &mut |done, all| tick(&mut bar, done, all))?;
    drop(bar);
    print_comparison(args, &header, &Reference::of_logits(file, &saved), &found)
}

/// Whether saved logits are of this text: its chunks must begin with the saved ones, cut in either way.
fn check_text(text: &Text, model: &Model, saved: &Chunks, file: &Path) -> Result<()> {
    let stride = saved.chunk_len() - 1 - saved.scored().start;
    let cut = |stride| {
        let options = oribi::eval::ChunkOptions { chunk_len: saved.chunk_len(), stride, n_chunks: Some(saved.len()) };
        Chunks::of_text(model.tokenizer(), &text.text, &options)
    };
    if [None, Some(stride)].into_iter().any(|stride| cut(stride).is_ok_and(|chunks| chunks == *saved)) {
        return Ok(());
    }
    let text = format!("{} holds logits of another text than {}", file.display(), text.path.display());
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

fn run_choices(args: &Args, path: &Path, file: &Path) -> Result<()> {
    let text = Text::read(file)?;
    let tasks = Task::parse_lines(&text.text).map_err(|e| e.within(file.display()))?;
    let model = args.evaluation.load(path)?;
    let mut bar = Progress::new("choosing");
    let options = args.evaluation.session_options(0);
    let found =
        score_choices(&model, &tasks, &options, &interrupt::requested, &mut |done, all| tick(&mut bar, done, all));
    drop(bar);
    let found = found.map_err(|e| e.within(file.display()))?;
    let numerics = args.evaluation.numerics_of(&model);
    let identity = hex(&model.identity());
    print(
        args,
        report::choices_text(path, &text, numerics, &found),
        report::choices_json(path, &identity, &text, numerics, &found),
    )
}

/// An error about vocabularies names both sides.
fn check_vocabularies(sides: [&Path; 2], outcome: Result<()>) -> Result<()> {
    outcome.map_err(|e| e.within(format!("{} and {}", sides[0].display(), sides[1].display())))
}

fn tick(bar: &mut Progress, done: usize, all: usize) -> Result<()> {
    bar.update(done as u64, all as u64);
    if interrupt::requested() { Err(Error::new(ErrorKind::Cancelled, "interrupted")) } else { Ok(()) }
}

fn print_comparison(args: &Args, header: &Header, reference: &Reference, found: &Comparison) -> Result<()> {
    print(args, header.comparison_text(reference, found), header.comparison_json(reference, found))
}

fn print(args: &Args, text: String, json: serde_json::Value) -> Result<()> {
    if args.json { output::print_json(&json) } else { output::print(&text) }
}
