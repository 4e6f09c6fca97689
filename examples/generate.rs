//! Continue a prompt: `cargo run --release --example generate -- MODEL.gguf "The capital of France is"`.

use std::io::Write;

use oribi::generate::{GenerateOptions, Generation, SequenceForward};
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{Session, SessionOptions};

fn main() -> oribi::Result<()> {
    let mut args = std::env::args().skip(1);
    let (Some(file), Some(prompt)) = (args.next(), args.next()) else {
        eprintln!("usage: generate MODEL.gguf PROMPT");
        std::process::exit(2);
    };
    let model = Model::open(file, ModelOptions::default())?; // immutable, shared
    let mut session = Session::new(&model, &SessionOptions::default())?; // all that changes
    let sequence = session.new_sequence()?;
    let tokenizer = model.tokenizer();
    let prompt = tokenizer.encode(&prompt, true, false)?;
    let mut sampler = Sampler::new(&SamplerOptions::greedy(), tokenizer.n_vocab())?;
    let mut forward = SequenceForward::new(&mut session, sequence)?;
    let options = GenerateOptions { max_tokens: Some(24), ..GenerateOptions::default() };
    for piece in Generation::new(&mut forward, &mut sampler, tokenizer, &prompt, options)? {
        print!("{}", piece?.text);
        // Nothing is lost if the terminal has gone; the next piece would say so.
        let _ = std::io::stdout().flush();
    }
    println!();
    Ok(())
}
