//! `oribi quantize`: the tensors of a file in other formats.

mod target;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use oribi::dtype::DType;
use oribi::gguf::{Found, Gguf};
use oribi::importance::ImportanceMatrix;
use oribi::quant::recipes::Recipe;
use oribi::quantize::{self, NonFinite, Note, Options, Plan, Planned, RecipeFile, Report, Rule};
use oribi::{AtomicFile, Error, ErrorKind, Result, quant};
use serde_json::json;
use twox_hash::XxHash3_128;

use crate::inspect::{plain_table, printable, section};
use crate::progress::Progress;
use crate::{cache, interrupt, level, output};

use self::target::{Search, Target};

/// Where a file says how its formats were chosen.
const RECIPE_KEY: &str = "oribi.recipe";

/// Write a model in another quantization level.
///
/// The output appears whole or not at all. After an interruption, by Ctrl-C or `kill -9`, the same command goes on where it was.
/// Every figure of --dry-run is exact.
#[derive(clap::Args)]
pub struct Args {
    /// The model: a GGUF file, the first of a split model, or the name of a cached model
    #[arg(value_name = "IN")]
    input: String,
    /// Where to write
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// A level such as Q4_K_M, or a format for every matrix, such as Q4_K or MXFP4
    #[arg(value_name = "LEVEL", required_unless_present_any = ["recipe", "target_size", "target_bpw"])]
    #[arg(conflicts_with_all = ["recipe", "target_size", "target_bpw"])]
    level: Option<String>,
    /// The formats of a recipe file instead of a level's
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target_size", "target_bpw", "pure"])]
    recipe: Option<PathBuf>,
    /// Choose the formats that cost least within this size of the file, such as 1.2GB or 800MiB; needs --file
    #[arg(long, value_name = "SIZE", requires = "file", conflicts_with_all = ["target_bpw", "pure"])]
    target_size: Option<String>,
    /// Choose the formats that cost least within so many bits per weight; needs --file
    #[arg(long, value_name = "BITS", requires = "file", conflicts_with = "pure")]
    target_bpw: Option<f64>,
    /// Text to measure on what rounding each tensor costs
    #[arg(short, long, value_name = "TEXT")]
    file: Option<PathBuf>,
    /// Chunks of 256 tokens of that text
    #[arg(long, value_name = "N", default_value_t = 4)]
    chunks: usize,
    /// Where to write the recipe that was chosen [default: OUT with the ending .recipe.json]
    #[arg(long, value_name = "FILE")]
    save_recipe: Option<PathBuf>,
    /// Give the matrices whose names match a format; may be repeated, and the first that matches decides
    #[arg(long = "tensor", value_name = "REGEX=TYPE")]
    tensors: Vec<String>,
    /// Give every matrix the level's base format
    #[arg(long)]
    pure: bool,
    /// Format of the output head
    #[arg(long, value_name = "TYPE")]
    output_type: Option<String>,
    /// Format of the token embeddings
    #[arg(long, value_name = "TYPE")]
    embedding_type: Option<String>,
    /// Importance matrix (`oribi imatrix` makes one): weigh the errors of each column by how strong its inputs are
    #[arg(long, value_name = "FILE")]
    imatrix: Option<PathBuf>,
    /// Encode tensors again that are quantized already, though that adds one rounding to another
    #[arg(long)]
    requantize: bool,
    /// Replace NaN by 0 and infinities by the largest finite value of their row, instead of refusing the model
    #[arg(long)]
    repair: bool,
    /// Say what would be made, and make nothing
    #[arg(long)]
    dry_run: bool,
    /// Throw away what an interrupted run has left, instead of going on with it
    #[arg(long)]
    restart: bool,
    /// Threads [default: one per core]
    #[arg(short, long, value_name = "N")]
    threads: Option<usize>,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let input = cache::resolve(Some(&args.input))?;
    refuse_same_file(&input, &args.output)?;
    let gguf = Gguf::open(&input)?;
    let imatrix = args.imatrix.as_deref().map(ImportanceMatrix::open).transpose()?;
    let importance = |name: &str| imatrix.as_ref()?.get(name);
    let mut options = options(&args)?;
    if let (Some(file), Some(imatrix)) = (&args.imatrix, &imatrix) {
        expect_entries(&gguf, file, imatrix)?;
        options.importance = Some(&importance);
        options.metadata = origin(file, imatrix);
    }
    interrupt::install()?;
    let chosen = chosen(&args, &gguf, &options, imatrix.as_ref())?;
    if let Some(recipe) = &chosen {
        options = with_recipe(&options, recipe)?;
    }
    let plan = Plan::new(&gguf, &options)?;
    let text = Text { args: &args, options: &options, gguf: &gguf, plan: &plan };
    if args.dry_run {
        return text.print(None);
    }
    let began = Instant::now();
    let bar = Mutex::new(Progress::bytes("quantizing"));
    let progress = |done: u64, total: u64| {
        if let Ok(mut bar) = bar.lock() {
            bar.update(done, total);
        }
        !interrupt::requested()
    };
    let report = quantize::run(&gguf, &plan, &options, &args.output, &progress).map_err(|e| match e.kind() {
        ErrorKind::Cancelled => e.within("the same command goes on from here"),
        _ => e,
    })?;
    drop(bar);
    if let (Some(recipe), None) = (&chosen, &args.recipe) {
        save(recipe, &args.save_recipe.clone().unwrap_or_else(|| args.output.with_extension("recipe.json")))?;
    }
    warn(&report);
    text.print(Some((&report, began.elapsed())))
}

fn options<'a>(args: &Args) -> Result<Options<'a>> {
    let dtype = |name: &Option<String>| name.as_deref().map(level::dtype).transpose();
    Ok(Options {
        rules: args.tensors.iter().map(|text| Rule::parse(text)).collect::<Result<_>>()?,
        output_type: dtype(&args.output_type)?,
        embedding_type: dtype(&args.embedding_type)?,
        requantize: args.requantize,
        non_finite: if args.repair { NonFinite::Repair } else { NonFinite::Refuse },
        n_threads: args.threads,
        restart: args.restart,
        ..Options::new(match &args.level {
            Some(name) => level::find(name, args.pure, quant::is_encodable)?,
            None => unnamed(DType::F32), // until there is a recipe
        })
    })
}

/// A format that is no level, so that the file claims none.
fn unnamed(dtype: DType) -> Recipe {
    let mut recipe = Recipe::pure(dtype);
    recipe.file_type = None;
    recipe
}

/// The recipe that was named or is to be searched for.
fn chosen(
    args: &Args,
    gguf: &Gguf,
    options: &Options<'_>,
    imatrix: Option<&ImportanceMatrix>,
) -> Result<Option<RecipeFile>> {
    if let Some(path) = &args.recipe {
        return RecipeFile::open(path).map(Some);
    }
    let target = match (&args.target_size, args.target_bpw) {
        (Some(size), _) => Target::parse_size(size)?,
        (None, Some(bits)) => Target::parse_bits(bits)?,
        (None, None) => return Ok(None),
    };
    let Some(text) = &args.file else { return Ok(None) }; // the option demands it
    let importance_id = imatrix.map_or(String::new(), |m| format!("-{:032x}", hash_of(m)));
    let search = Search { gguf, options, target, text, n_chunks: args.chunks, importance_id };
    let found = search.run()?;
    eprintln!("expected divergence: {:.5} nats", found.expected_kld);
    Ok(Some(found.recipe))
}

/// Tells an importance matrix from others.
fn hash_of(imatrix: &ImportanceMatrix) -> u128 {
    let mut hash = XxHash3_128::new();
    for (name, entry) in imatrix.iter() {
        hash.write(name.as_bytes());
        entry.means().iter().for_each(|x| hash.write(&x.to_le_bytes()));
    }
    hash.finish_128()
}

/// The options with the formats of a recipe, which the new file carries. What was asked for by name still comes first.
fn with_recipe<'a>(options: &Options<'a>, recipe: &RecipeFile) -> Result<Options<'a>> {
    let mut options = options.clone();
    options.level = unnamed(recipe.default()?);
    options.rules.extend(recipe.rules()?);
    options.metadata.push((RECIPE_KEY.to_owned(), Note::Text(recipe.compact())));
    Ok(options)
}

fn save(recipe: &RecipeFile, path: &Path) -> Result<()> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(recipe.pretty().as_bytes()).map_err(|e| Error::io(format_args!("write {}", path.display()), e))?;
    file.commit()?;
    eprintln!("recipe: {}", path.display());
    Ok(())
}

/// Measured of some other model, a matrix would weigh nothing.
fn expect_entries(gguf: &Gguf, file: &Path, imatrix: &ImportanceMatrix) -> Result<()> {
    if gguf.tensors().iter().any(|t| imatrix.get(&t.name).is_some()) {
        return Ok(());
    }
    let text = format!("{}: it has no tensor of this model", file.display());
    Err(Error::new(ErrorKind::InvalidArgument, text))
}

/// What the new file says of the importance matrix, under the keys that the field knows.
fn origin(file: &Path, imatrix: &ImportanceMatrix) -> Vec<(String, Note)> {
    let name = file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
    let number = |n: u64| Note::Number(i32::try_from(n).unwrap_or(i32::MAX));
    let mut notes = vec![("file", Note::Text(name)), ("entries_count", number(imatrix.len() as u64))];
    if !imatrix.datasets().is_empty() {
        notes.push(("dataset", Note::Text(imatrix.datasets().join(", "))));
    }
    notes.push(("chunks_count", number(imatrix.chunk_count())));
    notes.into_iter().map(|(key, note)| (format!("quantize.imatrix.{key}"), note)).collect()
}

/// The input would be gone, and quantizing cannot be undone.
fn refuse_same_file(input: &Path, output: &Path) -> Result<()> {
    let real = |path: &Path| path.canonicalize().ok();
    if real(input).is_some_and(|input| real(output) == Some(input)) {
        let text = format!("{} is the input, which would be overwritten", output.display());
        return Err(Error::new(ErrorKind::InvalidArgument, text));
    }
    Ok(())
}

/// What somebody should know besides the result, on standard error.
fn warn(report: &Report) {
    match &report.found {
        Found::Nothing => {}
        Found::Finished { n_tensors } => {
            let n = report.tensors.len();
            eprintln!("went on with an interrupted run: {n_tensors} of {n} tensors were done");
        }
        Found::Useless(why) => eprintln!("began again, what an interrupted run had left is of no use: {why}"),
    }
    for tensor in report.tensors.iter().filter(|t| t.counts.n_bad() > 0) {
        let what = if tensor.from == tensor.to && tensor.to.block_len() > 1 { "copied" } else { "replaced" };
        eprintln!("tensor {}: {}; they were {what}", printable(&tensor.name), tensor.counts.bad());
    }
    let with_zeros: Vec<_> = report.tensors.iter().filter(|t| t.counts.n_zero_rows > 0).collect();
    if let [first, ..] = with_zeros[..] {
        let n: u64 = with_zeros.iter().map(|t| t.counts.n_zero_rows).sum();
        eprintln!("rows of zeros: {n}, in {} tensors, the first {}", with_zeros.len(), printable(&first.name));
    }
}

/// The result, for people and for programs.
struct Text<'a> {
    args: &'a Args,
    options: &'a Options<'a>,
    gguf: &'a Gguf,
    plan: &'a Plan,
}

impl Text<'_> {
    fn print(&self, done: Option<(&Report, Duration)>) -> Result<()> {
        if self.args.json {
            return output::print_json(&self.json(done));
        }
        let n_refitted = self.plan.n_refitted();
        if n_refitted > 0 {
            eprintln!(
                "matrices with another format than is wanted: {n_refitted}, whose rows are not whole blocks of it"
            );
        }
        let seconds = done.map_or(String::new(), |(_, time)| format!(", in {:.1} s", time.as_secs_f64()));
        let mut text = format!(
            "{}: {} of {}, {:.2} bits per weight{seconds}\n",
            self.args.output.display(),
            output::human_bytes(self.plan.file_bytes),
            output::human_bytes(self.gguf.file_bytes()),
            self.plan.bits_per_weight(),
        );
        match done {
            Some(_) => text += &self.formats(),
            None => text += &section("tensors", plain_table(self.plan.tensors.iter().map(row).collect(), &[4])),
        }
        output::print(&text)
    }

    /// From which formats to which.
    fn formats(&self) -> String {
        let mut groups: Vec<((_, _), u64, u64)> = Vec::new();
        for t in &self.plan.tensors {
            match groups.iter_mut().find(|group| group.0 == (t.from, t.to)) {
                Some(group) => (group.1, group.2) = (group.1 + 1, group.2 + t.to_bytes),
                None => groups.push(((t.from, t.to), 1, t.to_bytes)),
            }
        }
        let rows = groups.into_iter().map(|((from, to), n, n_bytes)| {
            let from = if from == to { "copied".to_owned() } else { format!("from {from}") };
            let tensors = format!("{n} tensor{}", if n == 1 { "" } else { "s" });
            vec![to.to_string(), tensors, output::human_bytes(n_bytes), from]
        });
        let lines = plain_table(rows.collect(), &[1, 2]);
        lines.lines().map(|line| format!("  {}\n", line.trim_end())).collect()
    }

    fn json(&self, done: Option<(&Report, Duration)>) -> serde_json::Value {
        let tensors = self.plan.tensors.iter().enumerate().map(|(i, t)| {
            let mut object = json!({
                "name": t.name,
                "from": t.from.name(),
                "to": t.to.name(),
                "wanted": t.wanted.unwrap_or(t.to).name(),
                "n_elems": t.n_elems,
                "from_bytes": t.from_bytes,
                "to_bytes": t.to_bytes,
            });
            if let Some(counts) = done.and_then(|(report, _)| report.tensors.get(i)).map(|t| t.counts) {
                object["n_nan"] = json!(counts.n_nan);
                object["n_infinite"] = json!(counts.n_infinite);
                object["n_overflow"] = json!(counts.n_overflow);
                object["n_zero_rows"] = json!(counts.n_zero_rows);
            }
            object
        });
        let n_resumed = match done.map(|(report, _)| &report.found) {
            Some(Found::Finished { n_tensors }) => *n_tensors,
            _ => 0,
        };
        json!({
            "output": self.args.output.to_string_lossy(),
            "level": self.args.level.as_ref().map(|_| self.options.level.name),
            "made": done.is_some(),
            "file_bytes": self.plan.file_bytes,
            "from_file_bytes": self.gguf.file_bytes(),
            "bits_per_weight": self.plan.bits_per_weight(),
            "n_refitted": self.plan.n_refitted(),
            "n_resumed": n_resumed,
            "seconds": done.map(|(_, time)| time.as_secs_f64()),
            "tensors": tensors.collect::<Vec<_>>(),
        })
    }
}

fn row(t: &Planned) -> Vec<String> {
    let note = match t.wanted {
        Some(wanted) => format!("not {wanted}: rows are not whole blocks of it"),
        None => String::new(),
    };
    let arrow = if t.from == t.to { "=" } else { "->" };
    let bytes = output::human_bytes(t.to_bytes);
    vec![printable(&t.name), t.from.to_string(), arrow.to_owned(), t.to.to_string(), bytes, note]
}
