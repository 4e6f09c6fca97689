//! The lines of a chat: a message, or a command that begins with a slash.

/// What the user asked for.
#[derive(Debug, PartialEq)]
pub enum Line<'a> {
    /// Nothing but blanks.
    Empty,
    /// Text for the model.
    Message(&'a str),
    Help,
    /// Forget the conversation; the system message stays.
    Clear,
    /// Set the system message, or with no text show it.
    System(&'a str),
    /// Another answer to the last message.
    Regenerate,
    /// Take back the last message and its answer.
    Undo,
    /// Write the conversation to a file.
    Save(&'a str),
    /// Continue a conversation from a file.
    Load(&'a str),
    /// Speed of the last answer, and the room left.
    Stats,
    Exit,
    /// A command that does not exist.
    Unknown(&'a str),
}

pub const HELP: &str = "\
/help            this list
/clear           forget the conversation, keep the system message
/system [TEXT]   set the system message and start over; without TEXT, show it
/regen           answer the last message again
/undo            take back the last message and its answer
/save FILE       write the conversation as JSON
/load FILE       continue a conversation written by /save
/stats           speed of the last answer, room left in the context
/exit            end (also Ctrl-D)
A line that ends in \\ goes on in the next. Ctrl-C stops an answer. // at the start of a line is a message that begins with /.";

impl<'a> Line<'a> {
    /// Reads one line of input.
    pub fn parse(line: &'a str) -> Line<'a> {
        let text = line.trim();
        if text.is_empty() {
            return Line::Empty;
        }
        let Some(command) = text.strip_prefix('/') else { return Line::Message(text) };
        if command.starts_with('/') {
            return Line::Message(command);
        }
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "help" | "?" => Line::Help,
            "clear" => Line::Clear,
            "system" => Line::System(rest),
            "regen" => Line::Regenerate,
            "undo" => Line::Undo,
            "save" => Line::Save(rest),
            "load" => Line::Load(rest),
            "stats" => Line::Stats,
            "exit" | "quit" => Line::Exit,
            _ => Line::Unknown(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slash_begins_a_command_and_two_a_message() {
        assert_eq!(Line::parse("  \t"), Line::Empty);
        assert_eq!(Line::parse(" hello /help "), Line::Message("hello /help"));
        assert_eq!(Line::parse("//etc is a folder"), Line::Message("/etc is a folder"));
        assert_eq!(Line::parse("/system  Be brief. "), Line::System("Be brief."));
        assert_eq!(Line::parse("/system"), Line::System(""));
        assert_eq!(Line::parse("/save a b.json"), Line::Save("a b.json"));
        assert_eq!(Line::parse("/quit"), Line::Exit);
        assert_eq!(Line::parse("/fly away"), Line::Unknown("fly"));
        assert_eq!(Line::parse("/"), Line::Unknown(""));
    }

    #[test]
    fn the_help_names_every_command() {
        for command in ["help", "clear", "system", "regen", "undo", "save", "load", "stats", "exit"] {
            assert!(HELP.contains(&format!("/{command}")), "{command}");
        }
    }
}
