//! The messages of a chat, and their JSON form: `[{"role": "user", "content": "..."}, ...]`.

use std::path::Path;

use oribi::chat::Message;
use oribi::{Error, ErrorKind, Result};
use serde_json::{Value, json};

/// A file that `/load` reads may have at most this size.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A system message perhaps, then user and assistant in turn.
pub struct Conversation {
    messages: Vec<Message>,
}

impl Conversation {
    pub fn new(system: Option<String>) -> Self {
        Conversation { messages: system.map(|text| Message::new("system", text)).into_iter().collect() }
    }

    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    pub fn system(&self) -> Option<&str> {
        self.messages.first().filter(|m| m.role == "system").map(|m| m.content.as_str())
    }

    pub fn ask(&mut self, text: &str) {
        self.messages.push(Message::new("user", text));
    }

    pub fn answered(&mut self, text: &str) {
        self.messages.push(Message::new("assistant", text));
    }

    /// Drops the last answer; whether a user's message is now last and wants one.
    pub fn drop_answer(&mut self) -> bool {
        self.messages.pop_if(|m| m.role == "assistant");
        self.messages.last().is_some_and(|m| m.role == "user")
    }

    /// Drops the last user's message and its answer; the message.
    pub fn take_back(&mut self) -> Option<String> {
        if self.drop_answer() { self.messages.pop().map(|m| m.content) } else { None }
    }

    pub fn save(&self, file: &Path) -> Result<()> {
        let messages: Vec<Value> =
            self.messages.iter().map(|m| json!({"role": m.role, "content": m.content})).collect();
        let text = format!("{:#}\n", Value::from(messages));
        std::fs::write(file, text).map_err(|e| Error::io(format!("write {}", file.display()), e))
    }

    pub fn load(file: &Path) -> Result<Self> {
        let size = file.metadata().map_err(|e| Error::io(format!("read {}", file.display()), e))?.len();
        if size > MAX_FILE_BYTES {
            return Err(invalid(file, format!("{size} bytes, at most {MAX_FILE_BYTES} are read")));
        }
        let text = std::fs::read_to_string(file).map_err(|e| Error::io(format!("read {}", file.display()), e))?;
        let list: Vec<Value> = serde_json::from_str(&text).map_err(|e| invalid(file, e))?;
        let message = |(i, value): (usize, &Value)| {
            let role = value["role"].as_str().filter(|role| ["system", "user", "assistant"].contains(role));
            match (role, value["content"].as_str()) {
                (Some(role), Some(content)) => Ok(Message::new(role, content)),
                _ => Err(invalid(file, format!("message {i} lacks a known role or a content"))),
            }
        };
        Ok(Conversation { messages: list.iter().enumerate().map(message).collect::<Result<_>>()? })
    }
}

fn invalid(file: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidArgument, format!("{}: not a saved conversation: {what}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles(conversation: &Conversation) -> Vec<&str> {
        conversation.messages().iter().map(|m| m.role.as_str()).collect()
    }

    #[test]
    fn answers_and_questions_are_taken_back_one_by_one() {
        let mut c = Conversation::new(Some("be brief".to_string()));
        assert!(!c.drop_answer());
        assert_eq!(c.take_back(), None);
        c.ask("one");
        c.answered("1");
        c.ask("two");
        c.answered("2");
        assert!(c.drop_answer());
        assert_eq!(roles(&c), ["system", "user", "assistant", "user"]);
        assert_eq!(c.take_back().as_deref(), Some("two"));
        assert_eq!(c.take_back().as_deref(), Some("one"));
        assert_eq!(c.take_back(), None);
        assert_eq!(c.system(), Some("be brief"));
    }

    #[test]
    fn what_is_saved_is_loaded_and_other_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("chat.json");
        let mut c = Conversation::new(None);
        c.ask("naïve \"quotes\"\n");
        c.answered("yes");
        c.save(&file).unwrap();
        let loaded = Conversation::load(&file).unwrap();
        assert_eq!(roles(&loaded), ["user", "assistant"]);
        assert_eq!(loaded.messages()[0].content, "naïve \"quotes\"\n");
        for text in ["", "{}", "[1]", r#"[{"role": "root", "content": "x"}]"#, r#"[{"role": "user", "content": 3}]"#] {
            std::fs::write(&file, text).unwrap();
            assert!(Conversation::load(&file).is_err(), "{text}");
        }
        assert!(Conversation::load(&folder.path().join("absent")).is_err());
    }
}
