//! Metadata changed in files: every way of it, read back by the library, and killed in the middle.

mod common;
#[path = "common/tiny.rs"]
#[allow(dead_code, reason = "each test binary uses some of the helpers")]
mod tiny;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use oribi::ErrorKind;
use oribi::dtype::DType;
use oribi::gguf::{self, Changes, Edited, Gguf, GgufBuilder, Value};
use tiny::{Random, Shape};

const NAMES: [&str; 2] = ["a.weight", "b.weight"];

/// A file with small entries, a large array and two tensors; with room or without.
fn sample(has_room: bool) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut builder = GgufBuilder::new();
    builder.set("general.architecture", "test").unwrap();
    builder.set("tokens", (0..500).map(|i| format!("token {i}")).collect::<Vec<_>>()).unwrap();
    builder.set("general.name", "a name").unwrap();
    builder.set("number", 7u32).unwrap();
    if has_room {
        builder.leave_room();
    }
    NAMES.iter().for_each(|name| builder.add_tensor(name, DType::F32, &[7, 3]).unwrap());
    let mut writer = builder.create(&path).unwrap();
    NAMES.iter().enumerate().for_each(|(i, name)| writer.write_tensor(name, &[i as u8 + 1; 84]).unwrap());
    writer.commit().unwrap();
    (folder, path)
}

fn edit(path: &Path, changes: &Changes) -> Edited {
    gguf::edit(path, changes, &mut |_, _| true).unwrap()
}

fn set(key: &str, value: impl gguf::MetadataValue) -> Changes {
    let mut changes = Changes::new();
    changes.set(key, value).unwrap();
    changes
}

/// The metadata but for the room, and a check that everything else is as it was.
fn read(path: &Path) -> Vec<(String, String)> {
    let gguf = Gguf::open(path).unwrap();
    for (i, name) in NAMES.iter().enumerate() {
        let tensor = gguf.tensor(name).unwrap();
        assert_eq!(gguf.tensor_data(tensor).unwrap(), [i as u8 + 1; 84], "{name}");
    }
    if let Ok(tokens) = gguf.metadata().strings("tokens") {
        assert!(tokens.iter().enumerate().all(|(i, token)| *token == format!("token {i}")));
    }
    let shown = |value: Value<'_>| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let entries = gguf.metadata().iter().filter(|(key, _)| !key.starts_with("oribi.room"));
    let mut entries: Vec<_> = entries.map(|(key, value)| (key.to_owned(), shown(value))).collect();
    entries.sort();
    entries
}

fn value_of(path: &Path, key: &str) -> Option<String> {
    read(path).into_iter().find(|(k, _)| k == key).map(|(_, value)| value)
}

#[test]
fn a_value_of_the_same_length_is_overwritten_in_any_file() {
    for has_room in [false, true] {
        let (_folder, path) = sample(has_room);
        let before = read(&path);
        assert_eq!(edit(&path, &set("number", 8u32)), Edited::InPlace);
        assert_eq!(value_of(&path, "number").as_deref(), Some("8"));
        assert_eq!(edit(&path, &set("number", 8u32)), Edited::Unchanged);
        assert_eq!(edit(&path, &set("general.name", "an ame")), Edited::InPlace);
        assert_eq!(edit(&path, &set("number", 7u32)), Edited::InPlace);
        assert_eq!(edit(&path, &set("general.name", "a name")), Edited::InPlace);
        assert_eq!(read(&path), before);
    }
}

#[test]
fn without_room_the_file_is_written_anew_with_room() {
    let (folder, path) = sample(false);
    assert_eq!(edit(&path, &set("general.name", "a longer name")), Edited::Rewritten);
    assert_eq!(edit(&path, &set("general.name", "a name that is longer still")), Edited::InPlace);
    assert_eq!(value_of(&path, "general.name").as_deref(), Some("a name that is longer still"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // A cancelled one leaves it as it was.
    let (folder, path) = sample(false);
    let before = fs::read(&path).unwrap();
    let error = gguf::edit(&path, &set("x", "y"), &mut |_, _| false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Cancelled);
    assert!(fs::read(&path).unwrap() == before);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn many_changes_in_place_against_a_list() {
    let (_folder, path) = sample(true);
    let len = fs::metadata(&path).unwrap().len();
    let mut expected: std::collections::BTreeMap<String, String> = read(&path).into_iter().collect();
    let mut random = Random(5);
    let mut n_in_place = 0;
    for step in 0..300 {
        let mut changes = Changes::new();
        let before = expected.clone();
        for _ in 0..1 + random.next() % 3 {
            let key = format!("key.{}", random.next() % 9);
            if random.next().is_multiple_of(3) && before.contains_key(&key) {
                changes.remove(&key);
                expected.remove(&key);
            } else {
                let text = "x".repeat((random.next() % 400) as usize) + &step.to_string();
                changes.set(&key, text.as_str()).unwrap();
                expected.insert(key, text);
            }
        }
        n_in_place += usize::from(edit(&path, &changes) == Edited::InPlace);
        let want: Vec<_> = expected.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
        assert_eq!(read(&path), want, "step {step}");
    }
    // The room of the file is a little over its small entries, and these grew; rewritten, it has more.
    assert!(n_in_place > 290, "{n_in_place}");
    assert!(fs::metadata(&path).unwrap().len() < len + 20_000);
}

#[test]
fn large_arrays_and_what_passes_the_room_write_the_file_anew() {
    let (_folder, path) = sample(true);
    assert_eq!(edit(&path, &set("text", "x".repeat(10_000))), Edited::Rewritten);
    assert_eq!(edit(&path, &set("text", "y".repeat(9_000))), Edited::InPlace);
    assert_eq!(value_of(&path, "text"), Some("y".repeat(9_000)));
    let mut changes = Changes::new();
    changes.remove("tokens");
    assert_eq!(edit(&path, &changes), Edited::Rewritten);
    assert_eq!(value_of(&path, "tokens"), None);
    assert_eq!(edit(&path, &set("floats", vec![1.5f32; 1000])), Edited::Rewritten);
    let gguf = Gguf::open(&path).unwrap();
    assert_eq!(gguf.metadata().f32s("floats").unwrap(), vec![1.5f32; 1000]);
    changes = Changes::new();
    changes.remove("absent");
    let error = gguf::edit(&path, &changes, &mut |_, _| true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::MissingKey);
    assert!(Changes::new().set("oribi.room", "mine").is_err());
}

/// Another alignment moves the tensors.
#[test]
fn another_alignment_writes_the_file_anew() {
    let (_folder, path) = sample(true);
    for alignment in [64u32, 32, 4096] {
        assert_eq!(edit(&path, &set("general.alignment", alignment)), Edited::Rewritten);
        assert_eq!(Gguf::open(&path).unwrap().alignment(), u64::from(alignment));
        read(&path);
    }
}

fn oribi(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
    command.arg("edit").args(args);
    command
}

fn model(folder: &Path) -> PathBuf {
    let path = folder.join("model.gguf");
    fs::write(&path, tiny::write(tiny::tiny(Shape::new("llama", DType::Q4_0)))).unwrap();
    path
}

fn output(args: &[&str]) -> (bool, String) {
    let Output { status, stdout, stderr } = oribi(args).output().unwrap();
    (status.success(), String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr))
}

#[test]
fn the_program_keeps_types_and_refuses_what_breaks_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let file = path.to_str().unwrap();
    let refused: [(&[&str], &str); 9] = [
        (&["--set", "llama.block_count=3"], "bound to llama.block_count"),
        (&["--remove", "tokenizer.ggml.tokens"], "bound to tokenizer.ggml.tokens"),
        (&["--remove", "llama.attention.layer_norm_rms_epsilon"], "could not be loaded"),
        (&["--set", "llama.context_length=many"], "\"many\" is no u32"),
        (&["--set", "llama.context_length:str=8"], "is u32, not str"),
        (&["--set", "my.number=5"], "my.number:u32=5"),
        (&["--set", "my.number:u33=5"], "\"u33\" is no type"),
        (&["--set", "nonsense"], "KEY=VALUE"),
        (&["--remove", "nothing"], "`nothing` is missing"),
    ];
    let before = fs::read(&path).unwrap();
    for (args, what) in refused {
        let (ok, text) = output(&[&[file], args].concat());
        assert!(!ok && text.contains(what), "{args:?}: {text}");
        assert!(fs::read(&path).unwrap() == before, "{args:?}");
    }
    let (ok, text) = output(&[file, "--set", "llama.context_length=512"]);
    assert!(ok && text.contains("changed in place"), "{text}");
    fs::write(folder.path().join("template"), "{{ messages }}\n").unwrap();
    let template = format!("tokenizer.chat_template={}", folder.path().join("template").display());
    let args =
        [file, "--set", "general.name=a=b", "--set", "tags:str[]=[\"x\",\"y\"]", "--set-file", &template, "--json"];
    let (ok, text) = output(&args);
    assert!(ok && text.contains("\"in_place\":false"), "{text}");
    let gguf = Gguf::open(&path).unwrap();
    let metadata = gguf.metadata();
    assert_eq!(metadata.u32("llama.context_length").unwrap(), 512);
    assert_eq!(metadata.str("general.name").unwrap(), "a=b");
    assert_eq!(metadata.strings("tags").unwrap(), ["x", "y"]);
    assert_eq!(metadata.str("tokenizer.chat_template").unwrap(), "{{ messages }}\n");
    drop(gguf);
    let (ok, text) = output(&[file, "--set", "llama.block_count=3", "--force"]);
    assert!(ok && text.contains("changed in place"), "{text}");
}

/// Killed at random moments, the file is as it was or as it should be; a link to it stays a link.
#[test]
fn killed_at_any_moment_the_file_is_old_or_new() {
    let folder = tempfile::tempdir().unwrap();
    let path = model(folder.path());
    let file = path.to_str().unwrap();
    let names = ["one", "another, longer name of the model", "a third"];
    let mut random = Random(u64::from(std::process::id()));
    let data = |gguf: &Gguf| gguf.tensors().iter().map(|t| gguf.tensor_data(t).unwrap().to_vec()).collect::<Vec<_>>();
    let (original, mut n_killed, mut n_changed) = (data(&Gguf::open(&path).unwrap()), 0, 0);
    let began = std::time::Instant::now();
    assert!(output(&[file, "--set", "general.name=first"]).0);
    let took = began.elapsed().as_micros() as u64;
    let mut name = "first".to_owned();
    for i in 0..if common::test_all() { 300 } else { 40 } {
        let new = names[i % 3];
        let value = format!("general.name={new}");
        // Every other time a large array comes or goes, which writes the file anew.
        let array = format!("numbers:u32[]={:?}", vec![i; 400]);
        let mut args = vec![file, "--set", &value];
        if i % 2 == 0 {
            args.extend(["--set", &array]);
        }
        let mut child = oribi(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(random.next() % took));
        child.kill().unwrap();
        n_killed += usize::from(!child.wait().unwrap().success());
        let gguf = Gguf::open(&path).unwrap_or_else(|e| panic!("after {i}: {e}"));
        let found = gguf.metadata().str("general.name").unwrap();
        assert!(found == name || found == new, "{found}");
        n_changed += usize::from(found != name);
        assert!(data(&gguf) == original);
        name = found.to_owned();
    }
    println!("killed {n_killed} times, changed {n_changed} times");
    assert!(n_killed > 5, "{n_killed}");
}
