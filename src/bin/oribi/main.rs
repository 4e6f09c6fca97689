//! The command-line program. It sees only the public interface of the library.

mod bench;
mod cache;
mod chat;
mod compare;
mod convert;
mod edit;
mod engine;
mod eval;
mod generation;
mod imatrix;
mod inspect;
mod interrupt;
mod kernels;
mod level;
mod loading;
mod memory;
mod models;
mod options;
mod output;
mod progress;
mod prompt;
mod quantize;
mod run;
mod sampling;
mod synth;
mod table;
mod tokenize;

use std::process::ExitCode;

use clap::Parser;
use oribi::ErrorKind;

/// Run quantized language models in GGUF files.
///
/// Standard output carries results only; messages go to standard error. The exit status is 0 on success, 1 on an error,
/// 2 for wrong arguments and 130 when interrupted.
#[derive(Parser)]
#[command(name = "oribi", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once")]
enum Command {
    Run(run::Args),
    Chat(chat::Args),
    Edit(edit::Args),
    Inspect(inspect::Args),
    Convert(convert::Args),
    Bench(bench::Args),
    Compare(compare::Args),
    #[command(name = compare::probe::NAME, hide = true)]
    CompareProbe(compare::probe::Args),
    Eval(eval::Args),
    Imatrix(imatrix::Args),
    Models(models::Args),
    Quantize(quantize::Args),
    Synth(synth::Args),
    Tokenize(tokenize::Args),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(args) => run::run(args),
        Command::Chat(args) => chat::run(args),
        Command::Edit(args) => edit::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Convert(args) => convert::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Compare(args) => compare::run(args),
        Command::CompareProbe(args) => compare::probe::run(args),
        Command::Eval(args) => eval::run(args),
        Command::Imatrix(args) => imatrix::run(args),
        Command::Models(args) => models::run(args),
        Command::Quantize(args) => quantize::run(args),
        Command::Synth(args) => synth::run(args),
        Command::Tokenize(args) => tokenize::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("oribi: {error}");
            ExitCode::from(if error.kind() == ErrorKind::Cancelled { interrupt::STATUS } else { 1 })
        }
    }
}
