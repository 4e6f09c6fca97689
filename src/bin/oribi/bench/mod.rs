//! `oribi bench`: the speed of a model, of two models or settings in turns, or of the machine itself.

pub mod machine;
mod measure;
mod report;
mod setting;

use std::path::Path;

use oribi::bench::{Test, tests};
use oribi::session::SessionOptions;
use oribi::{Error, ErrorKind, Result};

use self::measure::{Effort, Lab, Pair, Row};
use self::setting::{SettingArgs, Versus};
use crate::options::ModelArg;
use crate::{cache, interrupt, memory, output};

/// Measure the speed of a model, or of the machine.
///
/// Like llama-bench: a prompt (pp) is computed in one batch of random tokens; generation (tg) computes one random token of
/// each sequence at a time, with its logits and without a sampler. Options with lists are measured in all combinations.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    /// Measure the machine instead: the bandwidth of memory and caches, and the peaks of the arithmetic units
    #[arg(long, conflicts_with_all = ["positional", "flag", "compare", "versus", "csv"])]
    machine: bool,
    /// Sizes of prompts; 0 for none
    #[arg(short = 'p', long = "n-prompt", value_name = "N,..", value_delimiter = ',', default_value = "512")]
    n_prompt: Vec<usize>,
    /// Tokens to generate; 0 for none
    #[arg(short = 'n', long = "n-gen", value_name = "N,..", value_delimiter = ',', default_value = "128")]
    n_gen: Vec<usize>,
    /// Tokens that are in the context before the clock starts
    #[arg(short, long, visible_alias = "n-depth", value_name = "N,..", value_delimiter = ',', default_value = "0")]
    depth: Vec<usize>,
    /// Sequences that generate together; the speed is that of all
    #[arg(short, long, value_name = "N,..", value_delimiter = ',', default_value = "1")]
    batch: Vec<usize>,
    #[command(flatten)]
    settings: SettingArgs,
    /// Prompt tokens that are computed at once
    #[arg(long, value_name = "N", default_value_t = SessionOptions::default().n_batch)]
    chunk: usize,
    /// Times that each test is measured
    #[arg(short, long, value_name = "N", default_value = "5", value_parser = clap::value_parser!(u32).range(1..))]
    repetitions: u32,
    /// Times that each test is run before
    #[arg(long, value_name = "N", default_value = "1")]
    warmup: u32,
    /// Measure this model in turns with MODEL, and print the ratio of MODEL's speed to its
    #[arg(long, value_name = "MODEL2")]
    compare: Option<String>,
    /// Measure other settings in turns with the given ones, as in isa=avx2,threads=1,numerics=portable,kv-type=q8_0
    #[arg(long, value_name = "SETTING=VALUE,..")]
    versus: Option<Versus>,
    /// Do not measure the machine, and leave out the share of its limits
    #[arg(long)]
    no_limits: bool,
    /// Refuse to use more memory than this, as in 512M or 4G [default: what is available]
    #[arg(long, value_name = "BYTES", value_parser = memory::parse_bytes)]
    max_memory: Option<u64>,
    /// JSON on standard output
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Comma-separated values on standard output
    #[arg(long)]
    csv: bool,
}

pub fn run(args: Args) -> Result<()> {
    if args.machine {
        return machine::run(&args);
    }
    let path = cache::resolve(args.model.name())?;
    let other = args.compare.as_deref().map(|name| cache::resolve(Some(name))).transpose()?;
    let tests = chosen_tests(&args)?;
    interrupt::install()?;
    let effort = Effort {
        repetitions: args.repetitions,
        warmup: args.warmup,
        chunk: args.chunk,
        max_memory: args.max_memory,
        with_limits: !args.no_limits,
    };
    let settings = args.settings.combinations();
    let n_sides = if other.is_some() || args.versus.is_some() { 2 } else { 1 };
    let mut lab = Lab::new(effort, settings.len() * tests.len() * n_sides);
    if n_sides == 1 {
        let mut rows = Vec::new();
        for setting in &settings {
            rows.extend(lab.measure(&path, setting, &tests)?);
        }
        return print_rows(&args, &path, &rows);
    }
    let other = other.as_deref().unwrap_or(&path);
    let mut pairs = Vec::new();
    for setting in &settings {
        let changed = args.versus.as_ref().map_or_else(|| setting.clone(), |versus| versus.applied_to(setting));
        pairs.extend(lab.compare([(&path, setting), (other, &changed)], &tests)?);
    }
    print_pairs(&args, [&path, other], &pairs)
}

/// The tests that were asked for.
fn chosen_tests(args: &Args) -> Result<Vec<Test>> {
    let refuse = |text: &str| Err(Error::new(ErrorKind::InvalidArgument, text));
    if args.batch.contains(&0) {
        return refuse("-b: a batch has at least one sequence");
    }
    let tests = tests(&args.n_prompt, &args.n_gen, &args.depth, &args.batch);
    if tests.is_empty() { refuse("-p and -n are 0: there is nothing to measure") } else { Ok(tests) }
}

fn print_rows(args: &Args, path: &Path, rows: &[Row]) -> Result<()> {
    if args.json {
        output::print_line(&report::rows_json(rows))
    } else if args.csv {
        output::print(&report::rows_csv(rows))
    } else {
        output::print(&report::rows_markdown(path, rows))
    }
}

fn print_pairs(args: &Args, paths: [&Path; 2], pairs: &[Pair]) -> Result<()> {
    if args.json {
        output::print_line(&report::pairs_json(paths, pairs))
    } else if args.csv {
        output::print(&report::pairs_csv(paths, pairs))
    } else {
        output::print(&report::pairs_markdown(paths, pairs))
    }
}
