//! `oribi convert`: a Hugging Face checkpoint to GGUF.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use oribi::convert::{Conversion, Found, Options, Summary, TensorPlan};
use oribi::{ErrorKind, Result, quant};
use serde_json::json;

use crate::inspect::{plain_table, printable, section};
use crate::progress::Progress;
use crate::{interrupt, level, output};

/// Make a GGUF file of a Hugging Face checkpoint.
///
/// The checkpoint is a folder with config.json, tokenizer.json or tokenizer.model, and *.safetensors. The output appears whole or
/// not at all. After an interruption, by Ctrl-C or `kill -9`, the same command goes on where it was.
#[derive(clap::Args)]
pub struct Args {
    /// The checkpoint's folder, or a .safetensors file with the other files beside it
    #[arg(value_name = "CHECKPOINT")]
    input: PathBuf,
    /// Where to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// A level such as F16, Q8_0 or Q4_K_M [default: the checkpoint's precision]
    #[arg(long = "type", value_name = "LEVEL")]
    level: Option<String>,
    /// Name of the splitting rules of the vocabulary, in place of what is recognised
    #[arg(long, value_name = "NAME")]
    pre_tokenizer: Option<String>,
    /// Name of the model [default: the folder's]
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Throw away what an interrupted run has left, instead of going on with it
    #[arg(long)]
    restart: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let find = |name: &String| level::find(name, false, quant::is_encodable);
    let options = Options {
        level: args.level.as_ref().map(find).transpose()?,
        pre_tokenizer: args.pre_tokenizer.as_deref(),
        name: args.name.as_deref(),
    };
    let conversion = Conversion::new(&args.input, &options)?;
    conversion.notes().iter().for_each(|note| eprintln!("{}", printable(note)));
    let text = Text { args: &args, conversion: &conversion };
    if args.dry_run {
        return text.print(None);
    }
    interrupt::install()?;
    let began = Instant::now();
    let bar = Mutex::new(Progress::bytes("converting"));
    let progress = |done: u64, total: u64| {
        if let Ok(mut bar) = bar.lock() {
            bar.update(done, total);
        }
        !interrupt::requested()
    };
    let summary = conversion.write(&args.output, args.restart, &progress).map_err(|e| match e.kind() {
        ErrorKind::Cancelled => e.within("the same command goes on from here"),
        _ => e,
    })?;
    drop(bar);
    match &summary.found {
        Found::Nothing => {}
        Found::Finished { n_tensors } => {
            let n = conversion.tensors().len();
            eprintln!("went on with an interrupted run: {n_tensors} of {n} tensors were done");
        }
        Found::Useless(why) => eprintln!("began again, what an interrupted run had left is of no use: {why}"),
    }
    text.print(Some((&summary, began.elapsed())))
}

/// The result, for people and for programs.
struct Text<'a> {
    args: &'a Args,
    conversion: &'a Conversion,
}

impl Text<'_> {
    fn print(&self, done: Option<(&Summary, Duration)>) -> Result<()> {
        let file_bytes = self.conversion.file_bytes()?;
        let n_elems: u64 = self.conversion.tensors().map(|t| n_elems(&t)).sum();
        if self.args.json {
            return output::print_json(&self.json(file_bytes, n_elems, done));
        }
        let (conversion, n_refitted) = (self.conversion, self.conversion.n_refitted());
        if n_refitted > 0 {
            eprintln!(
                "matrices with another format than {} wants: {n_refitted}, whose rows are not whole blocks of it",
                conversion.level().name
            );
        }
        let seconds = done.map_or(String::new(), |(_, time)| format!(", in {:.1} s", time.as_secs_f64()));
        let mut text = format!(
            "{}: {} {}, {} weights in {} tensors, {}{seconds}\n",
            self.args.output.display(),
            conversion.arch(),
            conversion.level().name,
            output::human_count(n_elems),
            conversion.tensors().len(),
            output::human_bytes(file_bytes),
        );
        if done.is_none() {
            text += &section("tensors", plain_table(conversion.tensors().map(row).collect(), &[]));
        }
        output::print(&text)
    }

    fn json(&self, file_bytes: u64, n_elems: u64, done: Option<(&Summary, Duration)>) -> serde_json::Value {
        let tensors = self.conversion.tensors().map(|t| {
            json!({
                "name": t.name,
                "shape": t.shape,
                "to": t.dtype.name(),
                "source": t.source,
                "from": t.source_type,
            })
        });
        let n_resumed = match done.map(|(summary, _)| &summary.found) {
            Some(Found::Finished { n_tensors }) => *n_tensors,
            _ => 0,
        };
        json!({
            "output": self.args.output.to_string_lossy(),
            "architecture": self.conversion.arch(),
            "level": self.conversion.level().name,
            "made": done.is_some(),
            "file_bytes": file_bytes,
            "n_elems": n_elems,
            "n_refitted": self.conversion.n_refitted(),
            "n_resumed": n_resumed,
            "seconds": done.map(|(_, time)| time.as_secs_f64()),
            "notes": self.conversion.notes(),
            "tensors": tensors.collect::<Vec<_>>(),
        })
    }
}

fn n_elems(t: &TensorPlan<'_>) -> u64 {
    t.shape.iter().product()
}

fn row(t: TensorPlan<'_>) -> Vec<String> {
    let source = t.source.map_or("(the configuration)".to_owned(), printable);
    let arrow = if t.source_type == t.dtype.name() { "=" } else { "->" };
    vec![
        source,
        t.source_type.to_owned(),
        arrow.to_owned(),
        t.dtype.to_string(),
        t.name.to_owned(),
        format!("{:?}", t.shape),
    ]
}
