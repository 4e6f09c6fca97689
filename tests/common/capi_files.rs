//! The files that the C test suite opens: a tiny model, and every way in which a file can be wrong.

use std::path::Path;

use crate::tiny::{Shape, tiny, write};
use oribi::dtype::DType;
use oribi::gguf::GgufBuilder;

/// A template that shows messages, tools and variables, and refuses a conversation without messages.
const TEMPLATE: &str = "{% if not messages %}{{ raise_exception('nobody speaks') }}{% endif %}\
    {% for m in messages %}<{{ m.role }}>{{ m.content }}{% if m.calls %}[{{ m.calls }}]{% endif %}{% endfor %}\
    {% if tools %}|tools {{ tools | length }}{% endif %}{% if mood %}|{{ mood }}{% endif %}\
    {% if add_generation_prompt %}<assistant>{% endif %}";

/// Writes all files to a folder.
pub fn make(folder: &Path) {
    let put = |name: &str, bytes: &[u8]| std::fs::write(folder.join(name), bytes).expect("a fixture file");
    let sound = model(|_| {});
    put("tiny.gguf", &sound);
    put("cut.gguf", &sound[..200]);
    put("garbage.gguf", b"<!doctype html><html></html>");
    put("version-9.gguf", &[b"GGUF".as_slice(), &9u32.to_le_bytes(), &[0; 16]].concat());
    put("key-twice.gguf", &model_twice());
    put("no-architecture.gguf", &write_header(|b| b.set("general.name", "nobody").unwrap()));
    put("unknown-architecture.gguf", &model(|b| b.set("general.architecture", "mystery").unwrap()));
    put("wrong-type.gguf", &model(|b| b.set("llama.block_count", "seven").unwrap()));
    put("wrong-heads.gguf", &model(|b| b.set("llama.attention.head_count_kv", 3u32).unwrap()));
    put("wrong-template.gguf", &model(|b| b.set("tokenizer.chat_template", "{% if %}").unwrap()));
    // The tiny model at an odd place of a larger file.
    put("inside.bin", &[&[7u8; 4099], &sound[..], &[9u8; 11]].concat());
}

fn model(change: impl FnOnce(&mut GgufBuilder)) -> Vec<u8> {
    let mut parts = tiny(Shape { n_blocks: 2, ..Shape::new("llama", DType::Q8_0) });
    let b = &mut parts.builder;
    b.set("tokenizer.chat_template", TEMPLATE).unwrap();
    b.set("tokenizer.chat_template.other", "other template").unwrap();
    b.set("test.bool", true).unwrap();
    b.set("test.negative", -5i64).unwrap();
    b.set("test.huge", u64::MAX).unwrap();
    b.set("test.float", 0.5f32).unwrap();
    b.set("test.doubles", vec![0.25f64, 2.0]).unwrap();
    b.set("test.bools", vec![true, false, true]).unwrap();
    b.set("test.texts", vec!["one", "", "drei"]).unwrap();
    change(b);
    write(parts)
}

fn write_header(change: impl FnOnce(&mut GgufBuilder)) -> Vec<u8> {
    let mut builder = GgufBuilder::new();
    change(&mut builder);
    builder.write_to(Vec::new()).unwrap().finish().unwrap()
}

/// A key that is there twice, which no writer makes: a second key of the same length is renamed.
fn model_twice() -> Vec<u8> {
    let mut bytes = model(|b| b.set("test.lout", 1u32).unwrap());
    let at = bytes.windows(9).position(|w| w == b"test.lout").expect("the key");
    bytes[at..at + 9].copy_from_slice(b"test.bool");
    bytes
}
