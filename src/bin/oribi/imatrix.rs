//! `oribi imatrix`: measures an importance matrix on a text, or merges such files.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oribi::eval::{Chunks, ImportanceOptions, ImportanceRun};
use oribi::importance::ImportanceMatrix;
use oribi::{Error, ErrorKind, Result};

use crate::loading::{EvaluationArgs, Text, file_name};
use crate::options::ModelArg;
use crate::progress::Progress;
use crate::{cache, interrupt, output};

/// Measure how strongly each input of a model's weight matrices is driven by a text, for `oribi quantize` and llama-quantize.
///
/// What is done is saved every so often beside the output, as NAME.checkpoint; the same command goes on from there after an interruption.
/// The output appears whole or not at all.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// The text
    #[arg(short, long, value_name = "FILE", required_unless_present = "merge")]
    file: Option<PathBuf>,
    /// Where to write the matrix, in GGUF form
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Add these matrices to what is measured, as if it had been measured on their texts, too; without -f they are merged alone
    #[arg(long, value_name = "FILE,..", value_delimiter = ',')]
    merge: Vec<PathBuf>,
    /// Measure the output head, too, which is slower
    #[arg(long)]
    process_output: bool,
    /// Save what is done after so many chunks
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    save_every: u32,
    /// Begin anew, whatever checkpoint there is
    #[arg(long)]
    restart: bool,
    #[command(flatten)]
    evaluation: EvaluationArgs,
}

pub fn run(args: Args) -> Result<()> {
    interrupt::install()?;
    let mut matrix = ImportanceMatrix::default();
    for path in &args.merge {
        matrix.merge(ImportanceMatrix::open(path)?).map_err(|e| e.within(path.display()))?;
    }
    let checkpoint = checkpoint_of(&args.output)?;
    if let Some(file) = &args.file {
        matrix.merge(measure(&args, file, &checkpoint)?)?;
    }
    matrix.write(&args.output)?;
    if args.file.is_some() && checkpoint.exists() {
        std::fs::remove_file(&checkpoint).map_err(|e| Error::io(format!("remove {}", checkpoint.display()), e))?;
    }
    output::print_line(&format!(
        "{}: {} tensors, {} chunks of {} tokens",
        args.output.display(),
        matrix.len(),
        output::human_count(matrix.chunk_count()),
        matrix.chunk_size()
    ))
}

/// `NAME.checkpoint` beside the output.
fn checkpoint_of(path: &Path) -> Result<PathBuf> {
    match path.file_name() {
        Some(name) => {
            let mut name = name.to_owned();
            name.push(".checkpoint");
            Ok(path.with_file_name(name))
        }
        None => Err(Error::new(ErrorKind::InvalidArgument, format!("{} does not name a file", path.display()))),
    }
}

fn measure(args: &Args, file: &Path, checkpoint: &Path) -> Result<ImportanceMatrix> {
    let text = Text::read(file)?;
    let path = cache::resolve(args.model.name())?;
    let model = args.evaluation.load(&path)?;
    let chunks = Chunks::of_text(model.tokenizer(), &text.text, &args.evaluation.chunk_options(None))
        .map_err(|e| e.within(text.path.display()))?;
    let options = ImportanceOptions {
        numerics: args.evaluation.numerics(),
        kv_type: args.evaluation.kv_type,
        with_output: args.process_output,
    };
    let mut run = ImportanceRun::new(&model, chunks, &options)?;
    if checkpoint.exists() && !args.restart {
        resume(&mut run, checkpoint)?;
    }
    eprintln!(
        "{}: {} chunks of {} tokens, {} numerics",
        file_name(&path),
        run.n_chunks(),
        args.evaluation.ctx,
        args.evaluation.numerics_of(&model)
    );
    let began = Instant::now();
    let first = run.n_done();
    let mut bar = Progress::chunks("measuring");
    loop {
        match run.step(&interrupt::requested) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.kind() == ErrorKind::Cancelled => {
                drop(bar);
                run.save(checkpoint)?;
                let note =
                    format!("{} of {} chunks are saved in {}", run.n_done(), run.n_chunks(), checkpoint.display());
                return Err(error.within(note));
            }
            Err(error) => return Err(error),
        }
        bar.update(run.n_done() as u64, run.n_chunks() as u64);
        if run.n_done().is_multiple_of(args.save_every as usize) && run.n_done() < run.n_chunks() {
            run.save(checkpoint)?;
        }
    }
    drop(bar);
    let seconds = began.elapsed().max(Duration::from_millis(1)).as_secs_f64();
    let n_tokens = (run.n_done() - first) * args.evaluation.ctx;
    eprintln!("{n_tokens} tokens in {seconds:.1} s, {:.0} tokens/s", n_tokens as f64 / seconds);
    Ok(run.finish(&file.to_string_lossy()))
}

fn resume(run: &mut ImportanceRun, checkpoint: &Path) -> Result<()> {
    if run.resume(checkpoint).map_err(|e| e.within("--restart begins anew"))? {
        eprintln!("going on after chunk {} of {}, from {}", run.n_done(), run.n_chunks(), checkpoint.display());
        return Ok(());
    }
    let text =
        format!("{} is of another model, text or setting; --restart begins anew and replaces it", checkpoint.display());
    Err(Error::new(ErrorKind::InvalidState, text))
}
