//! `oribi chat`: a conversation with line editing, history and commands.

mod command;
mod conversation;

use std::path::{Path, PathBuf};

use oribi::chat::ChatTemplate;
use oribi::{Error, ErrorKind, Result};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use crate::engine::{Engine, RuntimeArgs};
use crate::generation::{Answer, GenerationArgs};
use crate::options::{ModelArg, TemplateArgs};
use crate::sampling::SamplingArgs;
use crate::{cache, interrupt, output};
use command::{HELP, Line};
use conversation::Conversation;

/// Talk with a model; /help lists the commands.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArg,
    #[command(flatten)]
    template: TemplateArgs,
    #[command(flatten)]
    generation: GenerationArgs,
    #[command(flatten)]
    runtime: RuntimeArgs,
    #[command(flatten)]
    sampling: SamplingArgs,
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(args.model.name())?;
    let engine = Engine::load(&path, &args.runtime)?;
    let template = args.template.choose(engine.gguf())?;
    interrupt::install()?;
    let conversation = Conversation::new(args.template.system.clone());
    let mut chat = Chat { args, engine, template, conversation, last: None };
    eprintln!("{}; /help lists the commands, Ctrl-D ends", path.file_name().unwrap_or_default().to_string_lossy());
    chat.talk()
}

struct Chat {
    args: Args,
    engine: Engine,
    template: ChatTemplate,
    conversation: Conversation,
    last: Option<Answer>,
}

impl Chat {
    /// Reads lines until the end of the input or /exit.
    fn talk(&mut self) -> Result<()> {
        let mut editor = DefaultEditor::new().map_err(terminal_error)?;
        let history = history_file();
        if let Some(file) = &history {
            // There is none before the first chat.
            let _ = editor.load_history(file);
        }
        while let Some(line) = read_line(&mut editor)? {
            if !self.obey(&Line::parse(&line))? {
                break;
            }
            if !line.trim().is_empty() {
                editor.add_history_entry(line).map_err(terminal_error)?;
            }
        }
        if let Some(file) = &history
            && let Err(error) = editor.save_history(file)
        {
            eprintln!("the history was not saved to {}: {error}", file.display());
        }
        Ok(())
    }

    /// Does what a line asks for; false ends the chat. What goes wrong in one line does not end the conversation.
    fn obey(&mut self, line: &Line<'_>) -> Result<bool> {
        let outcome = match *line {
            Line::Empty => Ok(()),
            Line::Message(text) => self.say(text),
            Line::Help => note(HELP),
            Line::Clear => self.start_over(self.conversation.system().map(str::to_string)),
            Line::System("") => note(self.conversation.system().unwrap_or("there is no system message")),
            Line::System(text) => self.start_over(Some(text.to_string())),
            Line::Regenerate => self.regenerate(),
            Line::Undo => match self.conversation.take_back() {
                Some(text) => note(&format!("taken back: {text}")),
                None => note("there is no message to take back"),
            },
            Line::Save(file) => self.save(file),
            Line::Load(file) => self.load(file),
            Line::Stats => self.stats(),
            Line::Exit => return Ok(false),
            Line::Unknown(name) => note(&format!("/{name} is not a command; /help lists them")),
        };
        match outcome {
            Err(error) if output::is_closed_pipe(&error) => Err(error),
            Err(error) => note(&error.to_string()).map(|()| true),
            Ok(()) => Ok(true),
        }
    }

    fn say(&mut self, text: &str) -> Result<()> {
        self.conversation.ask(text);
        let answered = self.answer();
        if answered.is_err() {
            self.conversation.take_back();
        }
        answered
    }

    fn regenerate(&mut self) -> Result<()> {
        match self.conversation.drop_answer() {
            true => self.answer(),
            false => note("there is no message to answer"),
        }
    }

    /// Streams the model's answer to the conversation and adds it. The part of the conversation that the session already
    /// holds is not computed again.
    fn answer(&mut self) -> Result<()> {
        let prompt = self.engine.render(&self.template, self.conversation.messages())?;
        let mut sampler = self.engine.sampler(&self.args.sampling, None)?;
        interrupt::reset();
        let answer = self.engine.generate(&prompt, &mut sampler, &self.args.generation, &mut output::print)?;
        output::print("\n")?;
        self.conversation.answered(&answer.text);
        if let Some(reason) = answer.cut_off() {
            note(&format!("({reason})"))?;
        }
        self.last = Some(answer);
        Ok(())
    }

    fn start_over(&mut self, system: Option<String>) -> Result<()> {
        self.conversation = Conversation::new(system);
        self.last = None;
        note("a new conversation begins")
    }

    fn save(&self, file: &str) -> Result<()> {
        self.conversation.save(Path::new(named(file, "/save FILE")?))?;
        note(&format!("saved to {file}"))
    }

    fn load(&mut self, file: &str) -> Result<()> {
        self.conversation = Conversation::load(Path::new(named(file, "/load FILE")?))?;
        self.last = None;
        note(&format!("{} messages", self.conversation.messages().len()))
    }

    fn stats(&self) -> Result<()> {
        match &self.last {
            Some(answer) => note(&format!("{}; {}", answer.timings_line(), self.engine.room())),
            None => note(&self.engine.room()),
        }
    }
}

/// One line, continued while it ends in a backslash; `None` at the end of the input.
fn read_line(editor: &mut DefaultEditor) -> Result<Option<String>> {
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "> " } else { "| " };
        match editor.readline(prompt) {
            Ok(line) => match line.strip_suffix('\\') {
                Some(part) => {
                    text.push_str(part);
                    text.push('\n');
                }
                None => return Ok(Some(text + &line)),
            },
            Err(ReadlineError::Interrupted) => {
                text.clear();
                note("Ctrl-D or /exit ends the chat")?;
            }
            Err(ReadlineError::Eof) => return Ok(None),
            Err(error) => return Err(terminal_error(error)),
        }
    }
}

/// Messages of the program go to standard error; the model's words are the output.
fn note(text: &str) -> Result<()> {
    eprintln!("{text}");
    Ok(())
}

fn named<'a>(file: &'a str, usage: &str) -> Result<&'a str> {
    if file.is_empty() { Err(Error::new(ErrorKind::InvalidArgument, usage)) } else { Ok(file) }
}

fn history_file() -> Option<PathBuf> {
    let folder = cache::folder().ok()?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("chat-history"))
}

fn terminal_error(error: ReadlineError) -> Error {
    Error::new(ErrorKind::Io, format!("terminal: {error}"))
}
