//! Any template with any conversation. Parts of the input end with U+001E: the template, or the name of a built-in one; then
//! messages, each `role U+001F content`, a JSON object, or `variable=JSON`.
#![no_main]

use std::ffi::{CString, c_char};

use libfuzzer_sys::fuzz_target;
use oribi::capi::*;
use oribi_fuzz::*;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.split(|&byte| byte == 0x1e);
    let Ok(template) = CString::new(parts.next().unwrap_or_default()) else { return };
    let file = open_memory(TINY_MODEL).expect("a file");
    // SAFETY (all of it): live handles, places for results, so many bytes, names that end with NUL.
    unsafe {
        let messages = made(oribi_messages_free, |out| oribi_messages_new(out)).expect("messages");
        for part in parts {
            add(messages.raw, part);
        }
        let Some(chat) =
            made(oribi_chat_template_free, |out| oribi_chat_template_new(file.raw, template.as_ptr(), out))
        else {
            return;
        };
        lent(|text, len| oribi_chat_template_source(chat.raw, text, len)).expect("its source");
        for ask in [false, true] {
            if let Some(prompt) =
                made(oribi_text_free, |out| oribi_chat_template_render(chat.raw, messages.raw, ask, out))
            {
                text_of(&prompt);
            }
        }
    }
});

/// Adds a message or a variable, of which anything may be refused.
///
/// # Safety
/// A live handle.
unsafe fn add(messages: *mut oribi_messages, part: &[u8]) {
    let bytes = |text: &[u8]| (text.as_ptr().cast::<c_char>(), text.len());
    let split_at = |mark: u8| {
        let at = part.iter().position(|&byte| byte == mark)?;
        Some((CString::new(&part[..at]).ok()?, bytes(&part[at + 1..])))
    };
    // SAFETY (all of it): live handles, so many bytes, names that end with NUL.
    unsafe {
        if let Some((role, (text, len))) = split_at(0x1f) {
            ok(oribi_messages_add(messages, role.as_ptr(), text, len));
        } else if part.first() == Some(&b'{') {
            let (text, len) = bytes(part);
            ok(oribi_messages_add_json(messages, text, len));
        } else if let Some((name, (text, len))) = split_at(b'=') {
            ok(oribi_messages_set_variable(messages, name.as_ptr(), text, len));
        }
    }
}
