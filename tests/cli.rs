//! The program as a user meets it: real models, standard output and error apart, exit statuses.

mod common;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;
use serde_json::Value;

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const GEMMA: &str = "gemma-3-270m-q4_k_m.gguf";

fn oribi() -> Command {
    Command::cargo_bin("oribi").expect("the program is built with the tests")
}

struct Done {
    status: i32,
    stdout: String,
    stderr: String,
}

fn run(args: &[&str], stdin: &str) -> Done {
    finish(oribi().args(args).write_stdin(stdin))
}

fn finish(command: &mut Command) -> Done {
    let output = command.output().expect("the program runs");
    Done {
        status: output.status.code().expect("an exit status, not a signal"),
        stdout: String::from_utf8(output.stdout).expect("UTF-8 on standard output"),
        stderr: String::from_utf8(output.stderr).expect("UTF-8 on standard error"),
    }
}

/// A run that succeeds and prints one JSON object and nothing else.
fn json(args: &[&str], stdin: &str) -> Value {
    let done = run(args, stdin);
    assert_eq!(done.status, 0, "{args:?}: {}", done.stderr);
    serde_json::from_str(&done.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}: {}", done.stdout))
}

/// A run that fails with status 1, prints no result, and says each of `words`.
fn refused(args: &[&str], words: &[&str]) {
    let done = run(args, "");
    assert_eq!(done.status, 1, "{args:?}: {}{}", done.stdout, done.stderr);
    assert_eq!(done.stdout, "", "{args:?}");
    assert!(done.stderr.starts_with("oribi: ") && done.stderr.trim_end().lines().count() == 1, "{}", done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "{args:?}: {:?} does not say {word:?}", done.stderr);
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

#[test]
fn inspect_tells_what_a_file_holds() {
    let model = common::model(SMOLLM2);
    let found = json(&["inspect", path(&model), "--json"], "");
    assert_eq!(found["version"], 3);
    assert_eq!(found["n_bytes"], 98362432);
    assert_eq!(found["metadata"]["general.architecture"]["value"], "llama");
    assert_eq!(found["metadata"]["llama.block_count"]["value"], 30);
    assert_eq!(found["metadata"]["tokenizer.ggml.tokens"]["len"], 49152);
    assert_eq!(found["totals"]["n_elems"], 134515008);
    assert_eq!(found["tensors"].as_array().expect("a list").len(), 272);
    assert_eq!(found["tensors"][0]["shape"], serde_json::json!([576, 49152]));
    let bits = found["totals"]["bits_per_weight"].as_f64().expect("a number");
    assert!((5.7..5.8).contains(&bits), "{bits}");

    let text = run(&["inspect", "-m", path(&model)], "");
    assert_eq!((text.status, text.stderr.as_str()), (0, ""));
    for word in ["architecture llama", "5.74 bits per weight", "Q4_1  210 tensors", "blk.29.ffn_up.weight"] {
        assert!(text.stdout.contains(word), "{word:?} is not in {}", text.stdout);
    }
}

#[test]
fn inspect_reads_only_the_header_of_a_large_file() {
    // 64 GiB of one tensor, sparse on the disk; reading even a part of it would show.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("large.gguf");
    let n = 16u64 << 30;
    let mut bytes = b"GGUF".to_vec();
    bytes.extend(3u32.to_le_bytes());
    bytes.extend(1u64.to_le_bytes()); // tensors
    bytes.extend(0u64.to_le_bytes()); // metadata
    bytes.extend(1u64.to_le_bytes());
    bytes.push(b'w');
    bytes.extend(2u32.to_le_bytes());
    bytes.extend([1u64 << 20, n >> 20].iter().flat_map(|d| d.to_le_bytes()));
    bytes.extend(0u32.to_le_bytes()); // F32
    bytes.extend(0u64.to_le_bytes());
    let data_start = bytes.len().next_multiple_of(32) as u64;
    let mut out = std::fs::File::create(&file).expect("a file");
    out.write_all(&bytes).expect("a header");
    out.set_len(data_start + 4 * n).expect("a sparse file");
    drop(out);

    let began = Instant::now();
    let found = json(&["inspect", path(&file), "--json"], "");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(found["totals"]["n_bytes"], 4 * n);
}

#[test]
fn models_lists_the_cache_and_names_resolve_in_it() {
    let (smollm2, _) = (common::model(SMOLLM2), common::model(GEMMA));
    let found = json(&["models", "--json"], "");
    let models = found["models"].as_array().expect("a list");
    let entry = |name: &str| models.iter().find(|m| m["name"] == name).unwrap_or_else(|| panic!("{name} in {found}"));
    assert_eq!(entry(SMOLLM2)["default"], true);
    assert_eq!(entry(SMOLLM2)["architecture"], "llama");
    assert_eq!(entry(SMOLLM2)["level"], "Q4_1");
    assert_eq!(entry(GEMMA)["architecture"], "gemma3");
    let by_name = json(&["inspect", "SmolLM2-135M-Instruct.Q4_1", "--json"], "");
    assert_eq!(by_name["file"], path(&smollm2));
    assert_eq!(json(&["inspect", "--json"], "")["file"], path(&smollm2), "the default model");
    assert!(run(&["models"], "").stdout.contains("* SmolLM2-135M-Instruct.Q4_1.gguf"));
}

#[test]
fn without_a_default_model_the_error_says_how_to_get_one() {
    let empty = tempfile::tempdir().expect("a temporary folder");
    for command in ["inspect", "tokenize"] {
        let done = finish(oribi().arg(command).env("ORIBI_CACHE", empty.path()).write_stdin("x"));
        assert_eq!(done.status, 1, "{command}");
        assert_eq!(done.stdout, "", "{command}");
        assert!(done.stderr.contains("scripts/fetch-models --default"), "{command}: {}", done.stderr);
    }
    let listed = finish(oribi().arg("models").env("ORIBI_CACHE", empty.path()));
    assert_eq!((listed.status, listed.stdout.as_str()), (0, ""));
    assert!(listed.stderr.contains("no models in"), "{}", listed.stderr);
}

#[test]
fn files_that_cannot_be_used_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, bytes: &[u8]| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).expect("a file");
        path(&file).to_string()
    };
    let text = write("notes.gguf", b"These are my notes, not a model.");
    let model = std::fs::read(common::model(SMOLLM2)).expect("the model");
    let cut = write("cut.gguf", &model[..model.len() / 2]);
    let head = write("head.gguf", &model[..100]);
    for command in ["inspect", "tokenize"] {
        refused(&[command, &text], &["notes.gguf", "GGUF"]);
        refused(&[command, &cut], &["cut.gguf"]);
        refused(&[command, &head], &["head.gguf"]);
        refused(&[command, "/nowhere/at/all.gguf"], &["/nowhere/at/all.gguf"]);
        refused(&[command, "no-such-model"], &["no-such-model", "oribi models"]);
        refused(&[command, path(folder.path())], &[path(folder.path())]);
    }
}

#[test]
fn tokenize_gives_the_reference_ids() {
    for (file, golden) in [(SMOLLM2, "smollm2-135m-instruct-q4_1"), (GEMMA, "gemma-3-270m-q4_k_m")] {
        let model = common::model(file);
        let golden = common::golden(golden);
        // Starting the program for each text would take long with the larger vocabulary.
        let n = if file == SMOLLM2 { usize::MAX } else { 3 };
        for case in golden["tokenize"].as_array().expect("a list").iter().take(n) {
            let found = json(&["tokenize", path(&model), "--json"], case["text"].as_str().expect("a text"));
            assert_eq!(found["ids"], case["ids"], "{file}: {:?}", case["text"]);
            assert_eq!(found["ids"].as_array().map(Vec::len), found["pieces"].as_array().map(Vec::len));
        }
    }
}

#[test]
fn tokenize_has_forms_for_people_and_programs() {
    let model = common::model(SMOLLM2);
    let out = |args: &[&str]| {
        let done = run(&[&["tokenize", path(&model)], args].concat(), "");
        assert_eq!((done.status, done.stderr.as_str()), (0, ""), "{args:?}");
        done.stdout
    };
    assert_eq!(out(&["-p", "The capital of France is", "--ids"]), "[504, 3575, 282, 4649, 314]\n");
    assert_eq!(out(&["-p", "The capital of France is", "--count"]), "5\n");
    assert_eq!(out(&["-p", "Hello, world!"]), " 19556  \"Hello\"\n    28  \",\"\n   905  \" world\"\n    17  \"!\"\n");
    assert_eq!(out(&["-p", "a\\nb", "-e", "--count"]), "3\n");
    assert_eq!(out(&["-p", "<|im_end|>", "--ids"]), "[2]\n");
    assert!(out(&["-p", "<|im_end|>", "--ids", "--no-parse-special"]).split(',').count() > 1);

    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "Hello, world!").expect("a text");
    assert_eq!(out(&["-f", path(file.path()), "--ids"]), "[19556, 28, 905, 17]\n");
    std::fs::write(file.path(), b"ab\xffcd").expect("bytes");
    refused(&["tokenize", path(&model), "-f", path(file.path())], &["not UTF-8 from byte 2"]);
    let bos = json(&["tokenize", path(&common::model(GEMMA)), "-p", "Hello", "--no-bos", "--json"], "");
    assert_eq!(bos["ids"], serde_json::json!([9259]));
}

#[test]
fn wrong_arguments_have_their_own_status() {
    for args in [&["inspect", "--no-such-flag"][..], &["fly"], &[], &["inspect", "a", "-m", "b"]] {
        let done = run(args, "");
        assert_eq!(done.status, 2, "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
    }
    assert!(run(&["--version"], "").stdout.starts_with("oribi "));
}
