//! `oribi tokenize`: text to token ids.

use oribi::Result;
use oribi::gguf::Gguf;
use oribi::tokenizer::Tokenizer;
use serde_json::json;

use crate::options::ModelArg;
use crate::prompt::PromptArgs;
use crate::{cache, output};

/// Show the tokens of a text.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    prompt: PromptArgs,
    /// Do not add the tokens that the model wants at the start and end
    #[arg(long)]
    no_bos: bool,
    /// Treat text that looks like a special token as text
    #[arg(long)]
    no_parse_special: bool,
    /// Only the ids, as a list that Python reads
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// Only the number of tokens
    #[arg(long, conflicts_with_all = ["json", "ids"])]
    count: bool,
    /// One JSON object on standard output: {"ids": [...], "pieces": [...]}
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(args.model.name())?;
    let gguf = Gguf::open(&path)?;
    let tokenizer = Tokenizer::from_gguf(&gguf).map_err(|e| e.within(path.display()))?;
    let ids = tokenizer.encode(&args.prompt.text()?, !args.no_bos, !args.no_parse_special)?;
    if args.count {
        return output::print_line(&ids.len().to_string());
    }
    if args.ids {
        return output::print_line(&format!("{ids:?}"));
    }
    let pieces: Vec<String> = ids.iter().map(|&id| piece(&tokenizer, id)).collect();
    if args.json {
        return output::print_json(&json!({"ids": ids, "pieces": pieces}));
    }
    let lines = ids.iter().zip(&pieces).map(|(id, piece)| format!("{id:>6}  {piece:?}\n"));
    output::print(&lines.collect::<String>())
}

/// The text of one token; bytes that are no characters by themselves show as the replacement character.
fn piece(tokenizer: &Tokenizer, id: u32) -> String {
    tokenizer.token_bytes(id).map_or_else(String::new, |bytes| String::from_utf8_lossy(&bytes).into_owned())
}
