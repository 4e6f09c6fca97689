//! `oribi run`: one prompt, one continuation.

use oribi::chat::Message;
use oribi::generate::StopReason;
use oribi::{Error, ErrorKind, Result};

use crate::engine::{Engine, RuntimeArgs};
use crate::generation::GenerationArgs;
use crate::options::{ModelArg, TemplateArgs};
use crate::prompt::PromptArgs;
use crate::sampling::SamplingArgs;
use crate::{cache, interrupt, output};

/// Continue a prompt.
///
/// The prompt is given to the model as it is; --chat wraps it in the model's chat template as a user's message.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Take the prompt as a user's message and apply the model's chat template
    #[arg(long)]
    chat: bool,
    #[command(flatten)]
    template: TemplateArgs,
    /// Print the prompt before its continuation
    #[arg(long, conflicts_with_all = ["json", "chat"])]
    display_prompt: bool,
    /// One JSON object on standard output, at the end
    #[arg(long)]
    json: bool,
    /// With --json: the log-probability of each token, and of the N most probable ones beside it
    #[arg(long, value_name = "N", requires = "json")]
    logprobs: Option<usize>,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(args.model.name())?;
    let text = args.prompt.text()?;
    interrupt::install()?;
    let mut engine = Engine::load(&path, &args.runtime)?;
    let prompt = if args.chat { conversation(&engine, &args, &text)? } else { engine.encode(&text)? };
    let mut sampler = engine.sampler(&args.sampling, args.logprobs)?;
    if args.display_prompt {
        output::print(&text)?;
    }
    let mut sink = |piece: &str| if args.json { Ok(()) } else { output::print(piece) };
    let answer = engine.generate(&prompt, &mut sampler, &args.generation, &mut sink)?;
    if args.json {
        output::print_json(&answer.to_json(&prompt, args.logprobs.is_some()))?;
    } else if !answer.text.ends_with('\n') {
        output::print("\n")?;
    }
    if let (StopReason::ContextFull, Some(reason)) = (answer.stop_reason, answer.cut_off()) {
        eprintln!("oribi: {reason}");
    }
    if args.runtime.verbose {
        eprintln!("seed {}; {}; stopped: {}", sampler.seed(), answer.timings_line(), answer.stop_reason);
    }
    if interrupt::requested() {
        return Err(Error::new(ErrorKind::Cancelled, "the text ends where it was interrupted"));
    }
    Ok(())
}

/// The tokens of a conversation of one message.
fn conversation(engine: &Engine, args: &Args, text: &str) -> Result<Vec<u32>> {
    let template = args.template.choose(engine.gguf())?;
    let system = args.template.system.iter().map(|system| Message::new("system", system));
    let messages: Vec<Message> = system.chain([Message::new("user", text)]).collect();
    engine.render(&template, &messages)
}
