//! What the fuzz targets of the C interface start from: model files and saved states in `fuzz/corpus`, which this test writes with
//! `ORIBI_BLESS=1` and compares otherwise. The texts and conversations beside them are written by hand.

#![cfg(feature = "synth")]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use oribi::model::{Model, ModelOptions};
use oribi::quant::recipes::Recipe;
use oribi::session::{Batch, Session, SessionOptions};
use oribi::synth::{self, ShapeOptions};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

/// Compares a file of the corpus, or writes it.
fn same(name: &str, bytes: &[u8]) {
    let path = corpus().join(name);
    if std::env::var_os("ORIBI_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, bytes).unwrap();
    }
    let committed = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert!(committed == bytes, "{} differs: run this test with ORIBI_BLESS=1", path.display());
}

/// A model of one block, as small as a vocabulary of all bytes allows.
fn tiny(folder: &Path, arch: &str, level: &str) -> PathBuf {
    let path = folder.join(arch);
    let options = ShapeOptions {
        arch: Some(arch),
        n_blocks: Some(1),
        dim: Some(32),
        n_heads: Some(1),
        n_kv_heads: Some(1),
        head_dim: Some(32),
        ffn_dim: Some(32),
        n_vocab: Some(260),
        n_ctx: Some(64),
        tied_embeddings: Some(true),
        ..ShapeOptions::default()
    };
    synth::create(&options.resolve().unwrap(), &Recipe::find(level).unwrap(), 0, &path, &|_, _| true).unwrap();
    path
}

/// The state of a session's sequences: one alone, and two that share what they have in common.
fn states(model: &Arc<Model>) -> [Vec<u8>; 2] {
    let options = SessionOptions { n_ctx: 32, n_sequences: 4, ..SessionOptions::default() };
    let mut session = Session::new(model, &options).unwrap();
    let first = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(first, &[1, 20, 30])).unwrap();
    let alone = session.save_to_vec(&[first]).unwrap();
    let second = session.fork(first).unwrap();
    session.decode(&Batch::prompt(second, &[40, 50])).unwrap();
    [alone, session.save_to_vec(&[first, second]).unwrap()]
}

#[test]
fn the_corpus_of_the_c_interface_is_as_written_here() {
    if !corpus().is_dir() {
        println!("skipped: {} is not part of a packaged crate", corpus().display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let llama = tiny(folder.path(), "llama", "Q8_0");
    same("capi_open/llama", &std::fs::read(&llama).unwrap());
    same("capi_open/gemma3", &std::fs::read(tiny(folder.path(), "gemma3", "Q4_0")).unwrap());
    let model = Model::open(&llama, ModelOptions::default()).unwrap();
    let [alone, forked] = states(&model);
    same("capi_state/alone", &alone);
    same("capi_state/forked", &forked);
}

/// The whole corpus stays small enough to be committed.
#[test]
fn the_corpus_is_small() {
    let mut n_bytes = 0;
    let mut folders = vec![corpus()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        for entry in entries.map(|entry| entry.unwrap()) {
            match entry.metadata().unwrap() {
                found if found.is_dir() => folders.push(entry.path()),
                found => n_bytes += found.len(),
            }
        }
    }
    assert!(n_bytes < 1 << 20, "{n_bytes} bytes");
}
