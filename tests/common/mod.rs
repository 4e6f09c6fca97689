//! Where the tests find real models, vocabularies and reference results. Every test binary uses its own part of this.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

use std::path::{Path, PathBuf};

/// The cache folder: `ORIBI_CACHE`, or `~/.cache/oribi`.
pub fn cache() -> PathBuf {
    match std::env::var_os("ORIBI_CACHE") {
        Some(dir) if !dir.is_empty() => PathBuf::from(dir),
        _ => std::env::home_dir().expect("a home folder, or ORIBI_CACHE").join(".cache/oribi"),
    }
}

/// A packaged model, for example `SmolLM2-135M-Instruct.Q4_1.gguf`.
pub fn model(name: &str) -> PathBuf {
    present(cache().join("models").join(name), "scripts/fetch-models")
}

/// A vocabulary file of llama.cpp's test suite, for example `ggml-vocab-gpt-2.gguf` or `ggml-vocab-gpt-2.gguf.inp`.
pub fn vocab(name: &str) -> PathBuf {
    present(cache().join("vocab").join(name), "scripts/fetch-models --vocab")
}

/// A file under `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The reference results of a model: `golden("smollm2-135m-instruct-q4_1")`.
pub fn golden(name: &str) -> serde_json::Value {
    let path = data("golden").join(format!("{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Larger reference data that is not part of the repository: the folder named by `ORIBI_SHARED`, if it is set.
pub fn shared() -> Option<PathBuf> {
    std::env::var_os("ORIBI_SHARED").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// Whether the slow matrices of `make test-all` are asked for.
pub fn test_all() -> bool {
    std::env::var_os("ORIBI_TEST_ALL").is_some_and(|v| v == "1")
}

fn present(path: PathBuf, fetched_by: &str) -> PathBuf {
    assert!(path.is_file(), "{} is absent: run {fetched_by}", path.display());
    path
}
