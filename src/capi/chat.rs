//! Chat templates: from a conversation to a prompt.

use std::ffi::c_char;

use serde_json::Value;

use super::boundary::{Out, call, handle, name, text};
use super::file::oribi_file;
use super::handle::{Guarded, free, give};
use super::status::oribi_status;
use super::text::{Lent, oribi_text};
use crate::chat::{ChatTemplate, Message, RenderOptions};
use crate::error::{Error, ErrorKind, Result, bail};

/// A chat template: the Jinja template that a model file carries, rendered in a sandbox. Immutable.
pub struct oribi_chat_template(ChatTemplate);

/// A conversation: messages, and other variables that a template may look at.
pub struct oribi_messages(Guarded<Conversation>);

#[derive(Default)]
struct Conversation {
    messages: Vec<Message>,
    options: RenderOptions,
}

/// The template for conversations with the model of a file. `chosen` is NULL for the file's own; or a name under which the file
/// carries another; or the name of a built-in one; or a template itself. The file may be freed at any time.
///
/// The host frees the result with oribi_chat_template_free(). Threads: any. Errors: ORIBI_STATUS_TEMPLATE if there is none or it does
/// not compile, naming the line; ORIBI_STATUS_WRONG_TYPE; ORIBI_STATUS_INVALID_FILE; ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_chat_template_new(
    file: *const oribi_file,
    chosen: *const c_char,
    chat: *mut *mut oribi_chat_template,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live pointers.
        let (file, out) = unsafe { (handle(file, "file")?, Out::new(chat, "chat")?) };
        // SAFETY: not NULL here, so it ends with NUL.
        let chosen = if chosen.is_null() { None } else { Some(unsafe { name(chosen, "chosen") }?) };
        give(out, oribi_chat_template(ChatTemplate::choose(&file.0, chosen)?));
        Ok(())
    })
}

/// Free a template. NULL is allowed.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_chat_template_free(chat: *mut oribi_chat_template) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(chat) }
}

/// The text of a template: `len_bytes` bytes of UTF-8 without a NUL behind them.
///
/// Lent until the template is freed. Threads: any, several at once. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_chat_template_source(
    chat: *const oribi_chat_template,
    text: *mut *const c_char,
    len_bytes: *mut usize,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a live handle, NULL or places for results.
        let (chat, out) = unsafe { (handle(chat, "chat")?, Lent::new(text, len_bytes)?) };
        out.set(chat.0.source().as_bytes());
        Ok(())
    })
}

/// The prompt of a conversation, for oribi_tokenizer_encode_prompt(). With `add_generation_prompt` it ends where the model is to
/// speak.
///
/// The host frees the result with oribi_text_free(). Threads: any, several at once. Errors: ORIBI_STATUS_TEMPLATE if the template
/// refuses the conversation, is wrong, or goes past a limit, naming the line; ORIBI_STATUS_INVALID_ARGUMENT;
/// ORIBI_STATUS_INVALID_STATE while the messages are being changed; ORIBI_STATUS_OUT_OF_MEMORY.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_chat_template_render(
    chat: *const oribi_chat_template,
    messages: *const oribi_messages,
    add_generation_prompt: bool,
    prompt: *mut *mut oribi_text,
) -> oribi_status {
    call(|| {
        // SAFETY: NULL or live handles, NULL or a place for a result.
        let (chat, messages, out) =
            unsafe { (handle(chat, "chat")?, handle(messages, "messages")?, Out::new(prompt, "prompt")?) };
        let conversation = messages.0.read("messages handle")?;
        let rendered = chat.0.render_with(&conversation.messages, add_generation_prompt, &conversation.options)?;
        give(out, oribi_text::new(rendered)?);
        Ok(())
    })
}

/// A conversation without messages.
///
/// The host frees the result with oribi_messages_free(). Threads: any. Errors: ORIBI_STATUS_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_new(messages: *mut *mut oribi_messages) -> oribi_status {
    call(|| {
        // SAFETY: NULL or a place for a result.
        let out = unsafe { Out::new(messages, "messages") }?;
        give(out, oribi_messages(Guarded::new(Conversation::default())));
        Ok(())
    })
}

/// Free a conversation. NULL is allowed.
///
/// Threads: any, when nobody uses it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_free(messages: *mut oribi_messages) {
    // SAFETY: NULL or a live handle that nobody uses.
    unsafe { free(messages) }
}

/// A call that mutates a conversation.
///
/// # Safety
/// `messages` is NULL or a live handle.
unsafe fn change(messages: *mut oribi_messages, body: impl FnOnce(&mut Conversation) -> Result<()>) -> oribi_status {
    call(|| {
        // SAFETY: the caller's promise.
        let messages = unsafe { handle(messages, "messages") }?;
        body(&mut *messages.0.write("messages handle")?)
    })
}

/// Add a message: who speaks ("system", "user", "assistant" or what else the template knows), and what is said.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_add(
    messages: *mut oribi_messages,
    role: *const c_char,
    content: *const c_char,
    len_bytes: usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe {
        change(messages, |conversation| {
            let message = Message::new(name(role, "role")?, text(content, len_bytes, "content")?);
            conversation.messages.push(message);
            Ok(())
        })
    }
}

/// Add a message that is a JSON object: "role", "content" and whatever else the template looks at, for example "tool_calls".
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for what is no such object; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_add_json(
    messages: *mut oribi_messages,
    json: *const c_char,
    len_bytes: usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe {
        change(messages, |conversation| {
            let Value::Object(mut fields) = parse(text(json, len_bytes, "json")?)? else {
                bail!(InvalidArgument, "json is not an object");
            };
            let mut take = |key: &str| match fields.shift_remove(key) {
                Some(Value::String(text)) => Ok(text),
                // A message that only calls tools has no content.
                None | Some(Value::Null) if key == "content" => Ok(String::new()),
                _ => bail!(InvalidArgument, "json: {key:?} is not a text"),
            };
            let (role, content) = (take("role")?, take("content")?);
            conversation.messages.push(Message { role, content, extra: fields });
            Ok(())
        })
    }
}

/// Set a variable that the template may look at, a JSON value: for example "tools", an array of JSON schemas, or "enable_thinking".
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT for what is not JSON; ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_set_variable(
    messages: *mut oribi_messages,
    variable: *const c_char,
    json: *const c_char,
    len_bytes: usize,
) -> oribi_status {
    // SAFETY: NULL or live pointers.
    unsafe {
        change(messages, |conversation| {
            let (variable, value) = (name(variable, "variable")?, parse(text(json, len_bytes, "json")?)?);
            match variable {
                "tools" => conversation.options.tools = Some(value),
                _ => drop(conversation.options.variables.insert(variable.to_owned(), value)),
            }
            Ok(())
        })
    }
}

/// Take all messages out of a conversation; variables stay.
///
/// Threads: one at a time. Errors: ORIBI_STATUS_INVALID_ARGUMENT, ORIBI_STATUS_INVALID_STATE.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn oribi_messages_clear(messages: *mut oribi_messages) -> oribi_status {
    // SAFETY: NULL or a live handle.
    unsafe {
        change(messages, |conversation| {
            conversation.messages.clear();
            Ok(())
        })
    }
}

fn parse(json: &str) -> Result<Value> {
    serde_json::from_str(json).map_err(|e| Error::new(ErrorKind::InvalidArgument, format!("json: {e}")))
}
