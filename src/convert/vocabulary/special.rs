//! Roles of tokens, what is put around a text, and chat templates: `tokenizer_config.json`, the post-processor of
//! `tokenizer.json`, `config.json`, `generation_config.json`, `chat_template.*`.

use serde_json::Value;

use super::Vocabulary;
use crate::convert::checkpoint::Checkpoint;
use crate::convert::json::{CONFIG, Config};
use crate::error::{Error, ErrorKind, Result, bail};
use crate::gguf::GgufBuilder;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";

/// The name of a role in the checkpoint's keys, and in GGUF's.
const ROLES: [(&str, &str); 6] = [
    ("bos", "bos"),
    ("eos", "eos"),
    ("unk", "unknown"),
    // As GGUF spells it.
    ("sep", "seperator"),
    ("pad", "padding"),
    ("mask", "mask"),
];

/// What the files say.
pub(super) struct Special {
    /// GGUF's name of a role, and the id.
    ids: Vec<(&'static str, u32)>,
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    template: Option<String>,
    /// Further templates by name.
    templates: Vec<(String, String)>,
    pub notes: Vec<String>,
}

impl Special {
    pub fn read(
        checkpoint: &Checkpoint,
        config: &Config,
        fast: Option<&Value>,
        vocabulary: &Vocabulary,
    ) -> Result<Special> {
        let own = checkpoint.json(TOKENIZER_CONFIG)?.unwrap_or_default();
        let mut special =
            Special { ids: vec![], add_bos: None, add_eos: None, template: None, templates: vec![], notes: vec![] };
        for (role, name) in ROLES {
            if let Some(id) = special.id(role, &own, config, vocabulary)? {
                special.ids.push((name, id));
            }
        }
        let around = fast.and_then(|json| json.get("post_processor")).map(Around::read).unwrap_or_default();
        let text_of = |id: Option<u32>| id.map(|id| vocabulary.tokens[id as usize].text.as_str());
        let id_of = |name: &str| special.ids.iter().find(|(role, _)| *role == name).map(|(_, id)| *id);
        let (bos, eos) = (text_of(id_of("bos")), text_of(id_of("eos")));
        let adds = |said: &Option<Option<String>>, role: Option<&str>, key: &str| match said {
            Some(token) => Some(token.is_some() && token.as_deref() == role),
            None => own.get(key).and_then(Value::as_bool),
        };
        special.add_bos = adds(&around.first, bos, "add_bos_token");
        special.add_eos = adds(&around.last, eos, "add_eos_token");
        special.read_templates(checkpoint, &own)?;
        Ok(special)
    }

    /// The id of a role: its text in the tokenizer's configuration, else its id in the model's.
    fn id(&mut self, role: &str, own: &Value, config: &Config, vocabulary: &Vocabulary) -> Result<Option<u32>> {
        let entry = own.get(format!("{role}_token")).filter(|entry| !entry.is_null());
        if let Some(entry) = entry
            && let Some(text) = entry.as_str().or_else(|| entry.get("content")?.as_str())
        {
            match vocabulary.id(text) {
                Some(id) => return Ok(Some(id as u32)),
                None => self.notes.push(format!("{TOKENIZER_CONFIG}: {role}_token {text:?} is not in the vocabulary")),
            }
        }
        let key = format!("{role}_token_id");
        let id = match config.get(&key) {
            // Of several, the first.
            Some(Value::Array(ids)) => ids.first().cloned(),
            other => other,
        };
        let Some(id) = id else { return Ok(None) };
        match id.as_u64().filter(|&id| id < vocabulary.tokens.len() as u64) {
            Some(id) => Ok(Some(id as u32)),
            None if matches!(role, "bos" | "eos") => {
                bail!(InvalidModel, "{CONFIG}: {key} is {id}, outside the vocabulary of {}", vocabulary.tokens.len())
            }
            None => {
                self.notes.push(format!("{CONFIG}: {key} {id} is outside the vocabulary and left out"));
                Ok(None)
            }
        }
    }

    fn read_templates(&mut self, checkpoint: &Checkpoint, own: &Value) -> Result<()> {
        let beside = match checkpoint.file("chat_template.jinja")? {
            Some(bytes) => Some(Value::String(
                String::from_utf8(bytes)
                    .map_err(|_| Error::new(ErrorKind::InvalidFile, "chat_template.jinja is not UTF-8".to_owned()))?,
            )),
            None => checkpoint.json("chat_template.json")?.and_then(|json| json.get("chat_template").cloned()),
        };
        match own.get("chat_template").filter(|template| !template.is_null()).cloned().or(beside) {
            None => {}
            Some(Value::String(template)) => self.template = Some(template),
            Some(Value::Array(list)) => {
                for entry in &list {
                    let text = |key: &str| entry.get(key).and_then(Value::as_str).map(str::to_owned);
                    let (Some(name), Some(template)) = (text("name"), text("template")) else {
                        bail!(InvalidModel, "{TOKENIZER_CONFIG}: an entry of chat_template has no name or no template");
                    };
                    match name.as_str() {
                        "default" => self.template = Some(template),
                        _ => self.templates.push((name.replace(|c: char| !c.is_ascii_alphanumeric(), "_"), template)),
                    }
                }
            }
            Some(other) => bail!(InvalidModel, "{TOKENIZER_CONFIG}: chat_template is {other}, neither text nor a list"),
        }
        Ok(())
    }

    pub fn write(&self, builder: &mut GgufBuilder, space_prefix: Option<bool>) -> Result<()> {
        for (role, id) in &self.ids {
            builder.set(&format!("tokenizer.ggml.{role}_token_id"), *id)?;
        }
        for (key, value) in
            [("add_bos_token", self.add_bos), ("add_eos_token", self.add_eos), ("add_space_prefix", space_prefix)]
        {
            if let Some(value) = value {
                builder.set(&format!("tokenizer.ggml.{key}"), value)?;
            }
        }
        if !self.templates.is_empty() {
            let names: Vec<&str> = self.templates.iter().map(|(name, _)| name.as_str()).collect();
            builder.set("tokenizer.chat_templates", names)?;
            for (name, template) in &self.templates {
                builder.set(&format!("tokenizer.chat_template.{name}"), template)?;
            }
        }
        if let Some(template) = &self.template {
            builder.set("tokenizer.chat_template", template)?;
        }
        Ok(())
    }
}

/// What a post-processor puts around a text: outer `None` if it says nothing, inner `None` for nothing.
#[derive(Default)]
struct Around {
    first: Option<Option<String>>,
    last: Option<Option<String>>,
}

impl Around {
    fn read(post: &Value) -> Around {
        let mut around = Around::default();
        let steps = match post.get("processors").and_then(Value::as_array) {
            Some(steps) => steps.iter().collect(),
            None => vec![post],
        };
        for step in steps {
            match step.get("type").and_then(Value::as_str) {
                Some("ByteLevel") => {
                    around.first.get_or_insert_default();
                    around.last.get_or_insert_default();
                }
                Some("TemplateProcessing") => {
                    let single = step.get("single").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
                    let token = |part: Option<&Value>| Some(part?.get("SpecialToken")?.get("id")?.as_str()?.to_owned());
                    if single.len() > 1 {
                        around.first = Some(token(single.first())).filter(Option::is_some).or(around.first);
                        around.last = Some(token(single.last())).filter(Option::is_some).or(around.last);
                    }
                }
                _ => {}
            }
        }
        around
    }
}
