//! The one-way rule of ARCHITECTURE.md: a file imports only lower ranks, and the same rank only inside its own layer.
//! One crate does not enforce that; this test does, by reading every path in `src/`.

use std::collections::HashMap;
use std::path::Path;

/// The ranks, lowest first. One row is one layer: its units (files or folders of `src/`) may use each other.
const LAYERS: &[(u32, &[&str])] = &[
    (0, &["error", "fallible", "dtype"]),
    (1, &["gguf", "mapped_file", "atomic_file"]),
    (1, &["quant"]),
    (2, &["tokenizer"]),
    (2, &["chat"]),
    (2, &["backend"]),
    (2, &["importance"]),
    (3, &["model"]),
    (4, &["session"]),
    (4, &["sampler"]),
    (5, &["generate"]),
    (5, &["convert"]),
    (5, &["quantize"]),
    (5, &["eval"]),
    (5, &["synth"]),
    (5, &["bench"]),
    (6, &["tune"]),
    (6, &["capi"]),
    (6, &["compare"]),
];

/// What the C kernels may include besides their own headers: types, limits, intrinsics, `memcpy`. No allocation, no
/// threads, no input or output.
const KERNEL_HEADERS: &[&str] =
    &["stdint.h", "stddef.h", "stdbool.h", "string.h", "float.h", "math.h", "limits.h", "immintrin.h", "arm_neon.h"];

fn layer(unit: &str) -> Option<(u32, usize)> {
    LAYERS.iter().position(|(_, units)| units.contains(&unit)).map(|at| (LAYERS[at].0, at))
}

/// A source file: its path below `src/` with forward slashes, and its text.
type Source = (String, String);

#[test]
fn every_file_imports_only_lower_ranks() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let sources = read_tree(&root, "rs");
    assert!(sources.len() > 10, "only {} files found in {}", sources.len(), root.display());
    let found = violations(&sources);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn kernels_are_pure_functions_on_the_callers_memory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
    let sources: Vec<Source> = ["c", "h"].iter().flat_map(|ext| read_tree(&root, ext)).collect();
    let found = kernel_violations(&sources);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn a_violation_is_detected() {
    let lib =
        source("lib.rs", "mod error; pub mod gguf; pub mod generate; pub use generate::{Generation as G, Piece};");
    let cases = [
        ("gguf/reader.rs", "use crate::model::Model;", "gguf/reader.rs:1: gguf (rank 1) uses model (rank 3)"),
        ("gguf/mod.rs", "\nfn f() { crate::generate::run() }", "gguf/mod.rs:2: gguf (rank 1) uses generate (rank 5)"),
        ("gguf/mod.rs", "use crate::{error::Error, quant::{self, k}};", "uses quant (rank 1), another layer"),
        ("gguf/mod.rs", "use crate::{Piece};", "uses generate (rank 5)"),
        ("gguf/mod.rs", "use crate::G;", "uses generate (rank 5)"),
        ("gguf/deep/file.rs", "use super::super::super::model::Model;", "uses model (rank 3)"),
        ("quant/mod.rs", "mod tests { use super::super::session::Session; }", "uses session (rank 4)"),
        ("sampler/mod.rs", "use super::session::Session;", "uses session (rank 4), another layer"),
        ("newcomer.rs", "use crate::error::Error;", "newcomer has no rank"),
        ("gguf/mod.rs", "use crate::newcomer::Thing;", "uses newcomer, which has no rank"),
        ("gguf/mod.rs", "#[path = \"../model/mod.rs\"] mod model;", "includes a file by path"),
        ("bin/oribi/run.rs", "include!(\"../../model/mod.rs\");", "includes a file by path"),
    ];
    for (path, text, expected) in cases {
        let found = violations(&[lib.clone(), source(path, text)]);
        assert_eq!(found.len(), 1, "{path}: {text}: {found:?}");
        assert!(found[0].contains(expected), "{found:?} does not say {expected:?}");
    }
    let found = kernel_violations(&[source("cpu/a/ref.c", "#include <stdlib.h>\nvoid f(void) { malloc(3); }")]);
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn what_is_allowed_is_not_reported() {
    let allowed = [
        ("gguf/reader.rs", "use crate::{DType, Error, error::bail, mapped_file::MappedFile};"),
        (
            "gguf/reader.rs",
            "use super::metadata::Value; mod tests { use super::*; use super::super::metadata::Value; }",
        ),
        ("gguf/mod.rs", "// use crate::model::Model;\n/* crate::session */ const A: &str = \"crate::model::x\";"),
        ("gguf/mod.rs", "const A: char = '\"'; const B: &str = r#\"crate::model \" \"#; fn f<'a>(x: &'a u8) {}"),
        ("gguf/mod.rs", "pub(crate) fn f() {} pub(in crate::gguf) fn g() { $crate::error::Error::new() }"),
        ("session/forward.rs", "use crate::backend::Backend; use crate::model::Model;"),
        ("bin/oribi/run.rs", "use crate::args::Args; use oribi::generate::Generation;"),
    ];
    let lib = source("lib.rs", "pub use error::{Error}; pub use dtype::DType;");
    for (path, text) in allowed {
        let found = violations(&[lib.clone(), source(path, text)]);
        assert!(found.is_empty(), "{path}: {text}: {found:?}");
    }
}

fn source(path: &str, text: &str) -> Source {
    (path.to_string(), text.to_string())
}

/// Every breach of the rule in a set of files, as `path:line: what`.
fn violations(sources: &[Source]) -> Vec<String> {
    let reexports = sources.iter().find(|(path, _)| path == "lib.rs").map(|(_, text)| reexports(&blank(text)));
    let reexports = reexports.unwrap_or_default();
    let mut found = Vec::new();
    for (path, text) in sources {
        let text = blank(text);
        for word in ["#[path", "include!("] {
            if let Some(at) = text.find(word) {
                found.push(format!("{path}:{}: includes a file by path", line_of(&text, at)));
            }
        }
        let unit = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
        if path == "lib.rs" || unit == "bin" {
            continue; // the module list itself; and a crate of its own, which the compiler holds to the public names
        }
        let Some((rank, at)) = layer(unit) else {
            found.push(format!("{path}: {unit} has no rank in tests/layers.rs"));
            continue;
        };
        for (offset, name) in imports(path, &text) {
            let used = reexports.get(&name).unwrap_or(&name);
            let line = line_of(&text, offset);
            match layer(used) {
                None => found.push(format!("{path}:{line}: uses {used}, which has no rank in tests/layers.rs")),
                Some((r, a)) if a == at || r < rank => {}
                Some((r, _)) => {
                    let other = if r == rank { ", another layer of the same rank" } else { "" };
                    found.push(format!("{path}:{line}: {unit} (rank {rank}) uses {used} (rank {r}){other}"));
                }
            }
        }
    }
    found
}

/// Names that `lib.rs` re-exports at the root, with the unit that each comes from.
fn reexports(lib: &str) -> HashMap<String, String> {
    let mut names = HashMap::new();
    for statement in lib.split("pub use ").skip(1) {
        let statement = statement.split(';').next().unwrap_or("");
        let Some((unit, _)) = statement.split_once("::") else { continue };
        let unit = unit.trim_start_matches("crate::").trim();
        for part in statement.split([',', '{', '}']) {
            // `a::B as C` is known as C, `a::B` as B.
            let name = part.rsplit(" as ").next().unwrap_or(part).rsplit("::").next().unwrap_or(part).trim();
            names.insert(name.to_string(), unit.to_string());
        }
    }
    names
}

/// The first segment below the crate root of every `crate::` path and of every `super::` path that leaves its unit.
fn imports(path: &str, text: &str) -> Vec<(usize, String)> {
    let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_string).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    let mut found = Vec::new();
    let mut inline: Vec<usize> = Vec::new(); // brace depths at which inline modules began
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        let rest = &text[at..];
        let word = identifier(rest);
        match word {
            "crate" => found.extend(first_segments(&text[at + 5..]).into_iter().map(|name| (at, name))),
            "mod"
                if rest[3..].trim_start().split_once(|c: char| !is_word(c)).is_some_and(|(name, tail)| {
                    !name.is_empty()
                        && rest[3..].trim_start()[name.len()..].trim_start().starts_with('{')
                        && !tail.is_empty()
                }) =>
            {
                inline.push(depth)
            }
            "super" => {
                let mut ups = 1;
                let mut tail = &rest[5..];
                while let Some(next) = tail.trim_start().strip_prefix("::").map(str::trim_start) {
                    let Some(next) = next.strip_prefix("super") else { break };
                    ups += 1;
                    tail = next;
                }
                let here = module.len() + inline.len();
                if ups >= here {
                    found.extend(first_segments(tail).into_iter().map(|name| (at, name)));
                }
                at += rest.len() - tail.len();
                continue;
            }
            "" => {
                match rest.as_bytes()[0] {
                    b'{' => depth += 1,
                    b'}' => {
                        depth -= 1;
                        if inline.last() == Some(&depth) {
                            inline.pop();
                        }
                    }
                    _ => {}
                }
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            }
            _ => {}
        }
        at += word.len();
    }
    found
}

/// After `crate` or the last `super`: `::name` gives the name, `::{a::b, c}` gives a and c, `::*` gives nothing to judge.
fn first_segments(tail: &str) -> Vec<String> {
    let Some(tail) = tail.trim_start().strip_prefix("::").map(str::trim_start) else { return Vec::new() };
    let Some(group) = tail.strip_prefix('{') else {
        return Some(identifier(tail)).filter(|name| !name.is_empty()).map(str::to_string).into_iter().collect();
    };
    let (mut names, mut depth, mut start) = (Vec::new(), 0, true);
    for (i, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => start = true,
            c if start && is_word(c) => {
                names.push(identifier(&group[i..]).to_string());
                start = false;
            }
            _ => {}
        }
    }
    names
}

/// The text with comments and the insides of string and character literals replaced by blanks of the same length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = literal_end(bytes, at);
        for b in &mut out[at..end] {
            if *b != b'\n' {
                *b = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("blanks replace whole literals")
}

/// The end of the comment or literal that starts at `at`; `at` itself where none starts.
fn literal_end(b: &[u8], at: usize) -> usize {
    let find = |from: usize, what: &[u8]| {
        b[from.min(b.len())..].windows(what.len()).position(|w| w == what).map_or(b.len(), |p| from + p + what.len())
    };
    let after_word = at > 0 && is_word(b[at - 1] as char);
    match b[at] {
        b'/' if b.get(at + 1) == Some(&b'/') => find(at, b"\n"),
        b'/' if b.get(at + 1) == Some(&b'*') => find(at + 2, b"*/"),
        b'"' => quoted_end(b, at),
        b'r' if !after_word || b[at - 1] == b'b' => {
            let hashes = b[at + 1..].iter().take_while(|c| **c == b'#').count();
            if b.get(at + 1 + hashes) != Some(&b'"') {
                return at;
            }
            let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
            find(at + 2 + hashes, &close)
        }
        // A character, not a lifetime: 'x', '\n', '\u{..}', or a longer UTF-8 character.
        b'\'' if b.get(at + 1) == Some(&b'\\') => find(at + 3, b"'"),
        b'\'' => {
            let len = b[at + 1..].iter().take(5).position(|c| *c == b'\'').unwrap_or(0);
            let one = std::str::from_utf8(&b[at + 1..at + 1 + len]).is_ok_and(|s| s.chars().count() == 1);
            if one { at + len + 2 } else { at }
        }
        _ => at,
    }
}

fn quoted_end(b: &[u8], at: usize) -> usize {
    let mut i = at + 1;
    while i < b.len() && b[i] != b'"' {
        i += if b[i] == b'\\' { 2 } else { 1 };
    }
    (i + 1).min(b.len())
}

/// Headers and calls that a kernel must not have.
fn kernel_violations(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources {
        for (n, line) in blank(text).lines().enumerate() {
            let header = line.split_once("#include <").and_then(|(_, rest)| rest.split('>').next());
            if let Some(header) = header.filter(|header| !KERNEL_HEADERS.contains(header)) {
                found.push(format!("{path}:{}: includes <{header}>", n + 1));
            }
            for call in ["malloc(", "calloc(", "realloc(", "free(", "printf(", "pthread_", "abort(", "exit("] {
                if line.contains(call) {
                    found.push(format!("{path}:{}: {call}", n + 1));
                }
            }
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn identifier(text: &str) -> &str {
    &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())]
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// Every file below `root` with an extension, tests of the kernels excepted.
fn read_tree(root: &Path, ext: &str) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != "tests") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == ext) {
                let below = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
                found.push((below, std::fs::read_to_string(&path).expect("UTF-8 text")));
            }
        }
    }
    found
}
