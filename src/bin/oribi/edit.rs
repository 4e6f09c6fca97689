//! `oribi edit`: metadata of a file changed, in place where that can be.

use std::path::Path;

use oribi::gguf::{self, Changes, Edited, Gguf, Value, ValueType};
use oribi::model::HyperParams;
use oribi::tokenizer::Tokenizer;
use oribi::{Error, ErrorKind, Result};
use serde_json::json;

use crate::progress::Progress;
use crate::{cache, interrupt, output};

/// Keys that tensors or loaders are bound to: another value makes a file that cannot be read or computes nonsense.
const BINDING: &[&str] = &[
    "general.architecture",
    "general.alignment",
    "general.quantization_version",
    "split.no",
    "split.count",
    "split.tensors.count",
    "tokenizer.ggml.model",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.merges",
];

/// The same, after the architecture's name.
const BINDING_OF_ARCH: &[&str] = &[
    "block_count",
    "embedding_length",
    "feed_forward_length",
    "attention.head_count",
    "attention.head_count_kv",
    "attention.key_length",
    "attention.value_length",
    "rope.dimension_count",
    "vocab_size",
];

/// Change the metadata of a GGUF file.
///
/// In place where the header has room, as in files that oribi wrote; else the file is written anew, with room. It is never half
/// written, whatever happens. Do not change a file that is in use.
#[derive(clap::Args)]
pub struct Args {
    /// The file
    #[arg(value_name = "FILE")]
    file: String,
    /// Set a key; it keeps its type. A new key is a string, or of the type in KEY:TYPE=VALUE: u8 to u64, i8 to i64, f32, f64,
    /// bool, str, and arrays of them, as in KEY:str[]=["a","b"]
    #[arg(long = "set", value_name = "KEY=VALUE", required_unless_present_any = ["set_file", "remove"])]
    set: Vec<String>,
    /// Set a string to what a file holds, such as a chat template
    #[arg(long, value_name = "KEY=FILE")]
    set_file: Vec<String>,
    /// Remove a key
    #[arg(long, value_name = "KEY")]
    remove: Vec<String>,
    /// Change types and keys that tensors are bound to, and make changes after which the model cannot be loaded
    #[arg(long)]
    force: bool,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
}

pub fn run(args: Args) -> Result<()> {
    let path = cache::resolve(Some(&args.file))?;
    let changes = changes(&args, &path)?;
    if !args.force {
        expect_sound(&path, &changes)?;
    }
    interrupt::install()?;
    let mut bar = Progress::bytes("writing");
    let mut progress = |done: u64, total: u64| {
        bar.update(done, total);
        !interrupt::requested()
    };
    let edited = gguf::edit(&path, &changes, &mut progress)?;
    drop(bar);
    let how = match edited {
        Edited::Unchanged => "unchanged",
        Edited::InPlace => "changed in place",
        Edited::Rewritten => "written anew, with room for further changes",
    };
    if args.json {
        return output::print_json(&json!({
            "file": path.to_string_lossy(),
            "changed": edited != Edited::Unchanged,
            "in_place": edited == Edited::InPlace,
        }));
    }
    output::print_line(&format!("{}: {how}", path.display()))
}

fn changes(args: &Args, path: &Path) -> Result<Changes> {
    // Dropped before anything is written.
    let gguf = Gguf::open(path)?;
    let mut changes = Changes::new();
    for text in &args.set {
        let (key, asked, value) = assignment(text)?;
        let known = gguf.metadata().get(key);
        let kind = kind(key, asked, known, value, args.force)?;
        guard(key, &gguf, args.force)?;
        kind.set(&mut changes, key, value).map_err(|e| e.within(key))?;
    }
    for text in &args.set_file {
        let (key, asked, file) = assignment(text)?;
        let value = std::fs::read_to_string(file).map_err(|e| Error::io(format_args!("read {file}"), e))?;
        guard(key, &gguf, args.force)?;
        let kind = kind(key, asked, gguf.metadata().get(key), "", args.force)?;
        kind.set(&mut changes, key, &value).map_err(|e| e.within(key))?;
    }
    for key in &args.remove {
        guard(key, &gguf, args.force)?;
        changes.remove(key);
    }
    Ok(changes)
}

/// `KEY=VALUE` or `KEY:TYPE=VALUE`.
fn assignment(text: &str) -> Result<(&str, Option<Kind>, &str)> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(invalid(format!("{text:?} is not of the form KEY=VALUE")));
    };
    match key.rsplit_once(':') {
        Some((key, name)) => match Kind::parse(name) {
            Some(kind) => Ok((key, Some(kind), value)),
            None => Err(invalid(format!(
                "{name:?} is no type; there are u8 to u64, i8 to i64, f32, f64, bool, str, and TYPE[]"
            ))),
        },
        None => Ok((key, None, value)),
    }
}

/// The type that a key gets.
fn kind(key: &str, asked: Option<Kind>, known: Option<Value<'_>>, value: &str, force: bool) -> Result<Kind> {
    let old = known.map(|value| match value.as_array() {
        Some(array) => Kind { element: array.element_type(), is_array: true },
        None => Kind { element: value.value_type(), is_array: false },
    });
    match (asked, old) {
        (Some(asked), Some(old)) if asked != old && !force => {
            Err(invalid(format!("{key} is {}, not {} (--force)", old.name(), asked.name())))
        }
        (Some(kind), _) | (None, Some(kind)) => Ok(kind),
        (None, None) if serde_json::from_str::<serde_json::Value>(value).is_ok_and(|v| !v.is_string()) => {
            Err(invalid(format!("{key} is new: say which type it has, as in {key}:u32={value} or {key}:str={value}")))
        }
        (None, None) => Ok(Kind { element: ValueType::Str, is_array: false }),
    }
}

/// A type as people write it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Kind {
    element: ValueType,
    is_array: bool,
}

impl Kind {
    fn parse(name: &str) -> Option<Kind> {
        let (name, is_array) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
        let of_name = |t: &&ValueType| t.name() == name && **t != ValueType::Array;
        ValueType::ALL.iter().find(of_name).map(|&element| Kind { element, is_array })
    }

    fn name(self) -> String {
        format!("{}{}", self.element, if self.is_array { "[]" } else { "" })
    }

    /// Sets `key` to what `text` says.
    fn set(self, changes: &mut Changes, key: &str, text: &str) -> Result<()> {
        macro_rules! number {
            ($type:ty) => {
                if self.is_array {
                    changes.set(key, list::<$type>(text)?)
                } else {
                    changes.set(key, scalar::<$type>(text)?)
                }
            };
        }
        match self.element {
            ValueType::U8 => number!(u8),
            ValueType::I8 => number!(i8),
            ValueType::U16 => number!(u16),
            ValueType::I16 => number!(i16),
            ValueType::U32 => number!(u32),
            ValueType::I32 => number!(i32),
            ValueType::U64 => number!(u64),
            ValueType::I64 => number!(i64),
            ValueType::F32 => number!(f32),
            ValueType::F64 => number!(f64),
            ValueType::Bool => number!(bool),
            ValueType::Str if self.is_array => changes.set(key, list::<String>(text)?),
            ValueType::Str => changes.set(key, text),
            ValueType::Array => Err(invalid("arrays of arrays cannot be set".to_owned())),
        }
    }
}

fn scalar<T: std::str::FromStr>(text: &str) -> Result<T> {
    let name = std::any::type_name::<T>();
    text.trim().parse().map_err(|_| invalid(format!("{text:?} is no {name}")))
}

fn list<T: serde::de::DeserializeOwned>(text: &str) -> Result<Vec<T>> {
    let name = std::any::type_name::<T>().rsplit("::").next().unwrap_or_default().to_lowercase();
    serde_json::from_str(text).map_err(|e| invalid(format!("{text:?} is no JSON array of {name}: {e}")))
}

/// Refuses keys that tensors are bound to.
fn guard(key: &str, gguf: &Gguf, force: bool) -> Result<()> {
    let arch = gguf.metadata().opt_str("general.architecture").ok().flatten().unwrap_or_default();
    let of_arch = key.strip_prefix(arch).and_then(|rest| rest.strip_prefix('.'));
    if !force && (BINDING.contains(&key) || of_arch.is_some_and(|key| BINDING_OF_ARCH.contains(&key))) {
        return Err(invalid(format!("the tensors of the file are bound to {key}: another value breaks it (--force)")));
    }
    Ok(())
}

/// Refuses changes after which a model that can be loaded could not be.
fn expect_sound(path: &Path, changes: &Changes) -> Result<()> {
    let loads = |gguf: &Gguf| HyperParams::from_gguf(gguf).and_then(|_| Tokenizer::from_gguf(gguf)).map(drop);
    let before = Gguf::open(path).is_ok_and(|gguf| loads(&gguf).is_ok());
    let after = loads(&gguf::preview(path, changes)?);
    match after {
        Err(e) if before => Err(e.within("after this change the model could not be loaded (--force)")),
        _ => Ok(()),
    }
}

fn invalid(text: String) -> Error {
    Error::new(ErrorKind::InvalidArgument, text)
}
