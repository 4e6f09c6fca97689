//! Conversations to prompts: the Jinja template that a model file carries, rendered in a sandbox.
//!
//! The template is the language of Jinja2 as `transformers` sets it up: `trim_blocks`, `lstrip_blocks`, loop controls, Python's methods of
//! texts and maps, `raise_exception`, `strftime_now` (UTC) and a `tojson` that keeps letters as they are. A template decides the
//! prompt and nothing else: what ends an answer is known to the tokenizer.

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result, bail};
use crate::fallible;
use crate::gguf::{Gguf, Metadata};

mod builtin;
mod clock;
mod filters;
mod json;
mod meter;
mod operators;
mod rewrite;
mod sandbox;

pub use sandbox::Limits;

/// Bytes that a byte of a message takes, nearly, until it is in the prompt: as JSON, as a value, in the output as that grows.
const RENDERED_BYTES: usize = 8;
/// Bytes that a byte of a template takes at most when it is compiled.
const COMPILED_BYTES: usize = 64;

/// One turn of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool` or what else the template knows.
    pub role: String,
    /// What is said.
    pub content: String,
    /// Other fields that a template may look at, for example `tool_calls`.
    #[serde(flatten)]
    pub extra: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message of a role with its text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Message { role: role.into(), content: content.into(), extra: serde_json::Map::new() }
    }
}

/// What a template is rendered with beside the messages.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// Descriptions of tools, an array of JSON schemas; none is `none` in the template.
    pub tools: Option<serde_json::Value>,
    /// More variables, for example `enable_thinking`.
    pub variables: serde_json::Map<String, serde_json::Value>,
    /// What the rendering may use.
    pub limits: Limits,
}

/// A chat template with the special tokens of its model.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    special: SpecialTexts,
}

/// Texts of special tokens that templates write.
#[derive(Clone, Debug, Default)]
pub struct SpecialTexts {
    /// `bos_token`.
    pub bos: String,
    /// `eos_token`.
    pub eos: String,
    /// `unk_token`, where there is one.
    pub unk: Option<String>,
    /// `pad_token`, where there is one.
    pub pad: Option<String>,
}

impl SpecialTexts {
    /// The texts of the tokens that a file names. Error: a key has the wrong type.
    pub fn from_gguf(gguf: &Gguf) -> Result<Self> {
        let meta = gguf.metadata();
        Ok(SpecialTexts {
            bos: token_text(meta, "tokenizer.ggml.bos_token_id")?.unwrap_or_default(),
            eos: token_text(meta, "tokenizer.ggml.eos_token_id")?.unwrap_or_default(),
            unk: token_text(meta, "tokenizer.ggml.unknown_token_id")?,
            pad: token_text(meta, "tokenizer.ggml.padding_token_id")?,
        })
    }
}

fn token_text(meta: &Metadata, key: &str) -> Result<Option<String>> {
    let (Some(id), Some(tokens)) = (meta.opt_u32(key)?, meta.opt_array("tokenizer.ggml.tokens")?) else {
        return Ok(None);
    };
    tokens.strings().nth(id as usize).transpose().map(|text| text.map(str::to_owned))
}

impl ChatTemplate {
    /// The default template of a file (`tokenizer.chat_template`), or nothing if it carries none. Errors: the key has the
    /// wrong type, or the template does not compile.
    pub fn from_gguf(gguf: &Gguf) -> Result<Option<Self>> {
        Self::from_key(gguf, "tokenizer.chat_template")
    }

    /// A template that the file carries under a name (`tokenizer.chat_template.NAME`), for example `tool_use`.
    pub fn named(gguf: &Gguf, name: &str) -> Result<Option<Self>> {
        Self::from_key(gguf, &format!("tokenizer.chat_template.{name}"))
    }

    /// The template for a conversation with this model: `chosen`, which is a name under which the file carries one, the name of a
    /// built-in one or a template itself, or the file's own where nothing is chosen. Errors: there is none; it does not compile.
    pub fn choose(gguf: &Gguf, chosen: Option<&str>) -> Result<Self> {
        let Some(chosen) = chosen else {
            return match Self::from_gguf(gguf)? {
                Some(template) => Ok(template),
                None => bail!(
                    Template,
                    "the model file has no chat template (tokenizer.chat_template); name one of {} or give a file",
                    Self::builtin_names().collect::<Vec<_>>().join(", ")
                ),
            };
        };
        if let Some(template) = Self::named(gguf, chosen)? {
            return Ok(template);
        }
        let special = SpecialTexts::from_gguf(gguf)?;
        match builtin::source(chosen) {
            Some(source) => Self::from_source(source, special),
            None if chosen.contains("{{") || chosen.contains("{%") => Self::from_source(chosen, special),
            None => bail!(
                Template,
                "there is no chat template named `{chosen}`; the built-in ones are {}",
                Self::builtin_names().collect::<Vec<_>>().join(", ")
            ),
        }
    }

    /// A template from its text. Error: it does not compile; the text names the line.
    pub fn from_source(source: impl Into<String>, special: SpecialTexts) -> Result<Self> {
        let source = source.into();
        fallible::expect_room(source.len().saturating_mul(COMPILED_BYTES), "a chat template")?;
        sandbox::check(&source, &Limits::default()).map_err(no_thread)?.map_err(template_error)?;
        Ok(ChatTemplate { source, special })
    }

    /// The names of the built-in templates.
    pub fn builtin_names() -> impl Iterator<Item = &'static str> {
        builtin::names()
    }

    fn from_key(gguf: &Gguf, key: &str) -> Result<Option<Self>> {
        let Some(source) = gguf.metadata().opt_str(key)? else { return Ok(None) };
        Self::from_source(source, SpecialTexts::from_gguf(gguf)?).map(Some).map_err(|e| e.within(key))
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The prompt of a conversation; with `add_generation_prompt` it ends where the assistant is to speak. Errors: the template refuses the
    /// conversation, is wrong, or goes past a limit; the text names the line.
    pub fn render(&self, messages: &[Message], add_generation_prompt: bool) -> Result<String> {
        self.render_with(messages, add_generation_prompt, &RenderOptions::default())
    }

    /// The same with tools, further variables and limits.
    pub fn render_with(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        options: &RenderOptions,
    ) -> Result<String> {
        let n_bytes: usize = messages.iter().map(|message| message.content.len()).sum();
        fallible::expect_room(n_bytes.saturating_mul(RENDERED_BYTES), "the prompt of a conversation")?;
        let mut variables = options.variables.clone();
        let mut set = |name: &str, value: serde_json::Value| drop(variables.insert(name.to_owned(), value));
        let messages = serde_json::to_value(messages)
            .map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("messages: {e}")))?;
        set("messages", messages);
        set("add_generation_prompt", add_generation_prompt.into());
        set("tools", options.tools.clone().unwrap_or_default());
        set("bos_token", self.special.bos.clone().into());
        set("eos_token", self.special.eos.clone().into());
        for (name, text) in [("unk_token", &self.special.unk), ("pad_token", &self.special.pad)] {
            if let Some(text) = text {
                set(name, text.clone().into());
            }
        }
        let root = json::to_value(&variables.into());
        sandbox::render(&self.source, root, &options.limits).map_err(no_thread)?.map_err(template_error)
    }
}

fn no_thread(error: std::io::Error) -> Error {
    Error::new(ErrorKind::OutOfMemory, format!("starting a thread for the chat template: {error}"))
}

fn template_error(error: minijinja::Error) -> Error {
    let line = error.line().map_or(String::new(), |line| format!(" (line {line})"));
    let detail = match (error.kind(), error.detail()) {
        (minijinja::ErrorKind::OutOfFuel, _) => "it takes more than its limit of steps".to_owned(),
        (kind, Some(detail)) if kind != minijinja::ErrorKind::InvalidOperation => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
        (_, Some(detail)) => detail.to_owned(),
    };
    Error::new(ErrorKind::Template, format!("chat template: {detail}{line}"))
}
