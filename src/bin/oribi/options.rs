//! Options that several subcommands share. Names are llama.cpp's where they mean the same.

use std::path::PathBuf;

use oribi::chat::{ChatTemplate, SpecialTexts};
use oribi::gguf::Gguf;
use oribi::{Error, Result};

/// Which model.
#[derive(clap::Args)]
pub struct ModelArg {
    /// GGUF file, or the name of a cached model [default: the cached default model]
    #[arg(value_name = "MODEL")]
    positional: Option<String>,
    /// The same as MODEL
    #[arg(short = 'm', long = "model", value_name = "MODEL", conflicts_with = "positional")]
    flag: Option<String>,
}

impl ModelArg {
    /// What the user wrote, if anything.
    pub fn name(&self) -> Option<&str> {
        self.positional.as_deref().or(self.flag.as_deref())
    }
}

/// How a conversation becomes a prompt.
#[derive(clap::Args)]
pub struct TemplateArgs {
    /// The system message
    #[arg(long = "system-prompt", visible_alias = "system", value_name = "TEXT")]
    pub system: Option<String>,
    /// Chat template: a name that the file or oribi knows, or its text [default: the file's own]
    #[arg(long = "chat-template", value_name = "TEMPLATE")]
    template: Option<String>,
    /// Read the chat template from a file
    #[arg(long = "chat-template-file", value_name = "FILE", conflicts_with = "template")]
    template_file: Option<PathBuf>,
}

impl TemplateArgs {
    /// The template that was asked for, or the model's own.
    pub fn choose(&self, gguf: &Gguf) -> Result<ChatTemplate> {
        let Some(file) = &self.template_file else { return ChatTemplate::choose(gguf, self.template.as_deref()) };
        let source = std::fs::read_to_string(file).map_err(|e| Error::io(format!("read {}", file.display()), e))?;
        let special = SpecialTexts::from_gguf(gguf)?;
        ChatTemplate::from_source(source, special).map_err(|e| e.within(file.display()))
    }
}
