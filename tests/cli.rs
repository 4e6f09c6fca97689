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
    for file in args.iter().filter(|arg| arg.ends_with(".gguf")) {
        assert!(done.stderr.matches(file).count() <= 1, "{args:?}: {:?} names the file again", done.stderr);
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

    let small = json(&["inspect", path(&model), "--json", "-c", "1024", "-b", "32"], "");
    assert_eq!((&found["memory"]["n_ctx"], &small["memory"]["n_ctx"]), (&8192.into(), &1024.into()));
    assert_eq!(found["memory"]["kv_cache"].as_u64(), small["memory"]["kv_cache"].as_u64().map(|n| n * 8));
    assert!(small["memory"]["scratch"].as_u64() < found["memory"]["scratch"].as_u64());

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
    for command in ["inspect", "tokenize", "run", "chat"] {
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
    let at = model.windows(13).position(|w| w == b"\x05\0\0\0\0\0\0\0llama").expect("the architecture");
    let mut renamed = model;
    renamed[at + 8..at + 13].copy_from_slice(b"lamma");
    let unknown = write("unknown.gguf", &renamed);
    refused(&["run", &unknown, "-p", "x"], &["lamma", "llama", "gemma3"]);
    for command in ["inspect", "tokenize", "run", "chat"] {
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
    for args in [
        &["inspect", "--no-such-flag"][..],
        &["fly"],
        &[],
        &["inspect", "a", "-m", "b"],
        &["run", "--temp", "warm"],
        &["run", "--logprobs", "3"],
    ] {
        let done = run(args, "");
        assert_eq!(done.status, 2, "{args:?}: {}", done.stderr);
        assert_eq!(done.stdout, "", "{args:?}");
    }
    assert!(run(&["--version"], "").stdout.starts_with("oribi "));
}

/// `oribi run` on SmolLM2, greedy.
fn greedy<'a>(rest: &[&'a str]) -> Vec<&'a str> {
    [&["run", "SmolLM2-135M-Instruct.Q4_1", "--temp", "0"], rest].concat()
}

#[test]
fn run_gives_the_reference_continuation_as_json() {
    common::model(SMOLLM2);
    let golden = common::golden("smollm2-135m-instruct-q4_1");
    let prompt = &golden["prompts"][0];
    let text = prompt["text"].as_str().expect("a text");
    let found = json(&greedy(&["--json", "-n", "12", "--logprobs", "3", "-p", text]), "");
    let expected = &prompt["greedy24"].as_array().expect("tokens")[..12];
    assert_eq!(found["token_ids"].as_array().map(Vec::as_slice), Some(expected));
    assert_eq!(found["prompt_token_ids"], prompt["ids"]);
    assert_eq!(found["stop_reason"], "length");
    assert!(found["text"].as_str().expect("a text").starts_with(" Paris."), "{found}");
    let timings = &found["timings"];
    assert_eq!(timings["prompt_tokens"], 5);
    assert_eq!(timings["generated_tokens"], 12);
    for key in ["load_ms", "prompt_tokens_per_second", "generated_tokens_per_second", "time_to_first_token_ms"] {
        assert!(timings[key].as_f64().is_some_and(|v| v > 0.0), "{key} in {timings}");
    }
    let logprobs = found["logprobs"].as_array().expect("logprobs");
    assert_eq!(logprobs.len(), 12);
    for (entry, token) in logprobs.iter().zip(expected) {
        assert_eq!(&entry["token_id"], token);
        assert_eq!(entry["top"].as_array().map(Vec::len), Some(3));
        assert_eq!(entry["top"][0]["token_id"], *token, "greedy takes the most probable");
        assert_eq!(entry["top"][0]["logprob"], entry["logprob"]);
    }
}

/// Weights in the file, packed as they are needed: slower, the same text.
#[test]
fn run_without_packing_gives_the_same_text() {
    common::model(SMOLLM2);
    let text = |options: &[&'static str]| {
        let done = run(&[&greedy(&["-n", "4", "-p", "The sea is"])[..], options].concat(), "");
        assert_eq!(done.status, 0, "{options:?}: {}", done.stderr);
        done.stdout
    };
    let expected = text(&[]);
    assert!(!expected.is_empty());
    assert_eq!(text(&["--no-pack"]), expected);
    assert_eq!(text(&["--no-huge-pages"]), expected);
}

#[test]
fn run_prints_the_continuation_and_nothing_else() {
    common::model(SMOLLM2);
    let from_flag = run(&greedy(&["-n", "6", "-p", "The capital of France is"]), "ignored");
    assert_eq!((from_flag.status, from_flag.stderr.as_str()), (0, ""));
    assert!(from_flag.stdout.starts_with(" Paris."), "{}", from_flag.stdout);
    let from_stdin = run(&greedy(&["-n", "6"]), "The capital of France is");
    assert_eq!(from_stdin.stdout, from_flag.stdout);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "The capital of France is").expect("a prompt");
    let other_flags = ["-n", "6", "-f", path(file.path()), "-t", "1", "-c", "64", "-b", "2", "--numerics", "portable"];
    assert_eq!(run(&greedy(&other_flags), "").stdout, from_flag.stdout);
    let scalar = run(&greedy(&["-n", "2", "-p", "The capital of France is", "--isa", "scalar"]), "");
    assert_eq!(scalar.stdout, " Paris.\n");
    let shown = run(&greedy(&["-n", "1", "-p", "The capital of France is", "--display-prompt", "-v"]), "");
    assert_eq!(shown.stdout, "The capital of France is Paris\n");
    for word in ["cpu: ", "threads", "Q4_1: 210 tensors; oribi_matmul_q4_1", "memory: weights", "tokens/s"] {
        assert!(shown.stderr.contains(word), "-v does not say {word:?}: {}", shown.stderr);
    }
}

#[test]
fn run_stops_where_it_is_told_to() {
    common::model(SMOLLM2);
    let france = ["--json", "-p", "The capital of France is"];
    let stopped = json(&greedy(&[&france[..], &["-n", "12", "--stop", "."]].concat()), "");
    assert_eq!((stopped["text"].as_str(), stopped["stop_reason"].as_str()), (Some(" Paris"), Some("stop_string")));
    let full = json(&greedy(&[&france[..], &["-c", "7"]].concat()), "");
    assert_eq!(full["stop_reason"], "context_full");
    let full = run(&greedy(&["-c", "7", "-p", "The capital of France is"]), "");
    assert!(full.status == 0 && full.stderr.contains("the context is full"), "{}", full.stderr);
    let none = json(&greedy(&[&france[..], &["-n", "0"]].concat()), "");
    assert_eq!((none["text"].as_str(), none["token_ids"].as_array().map(Vec::len)), (Some(""), Some(0)));
    refused(&greedy(&["-c", "4", "-p", "The capital of France is"]), &["5 tokens", "4"]);
    refused(&greedy(&["-p", ""]), &["prompt has no tokens"]);
    refused(&greedy(&["-p", "x", "--max-memory", "10M"]), &["needs", "weights", "--max-memory allows 10.0 MiB"]);
    refused(&greedy(&["-p", "x", "--top-p", "2"]), &["top_p"]);
    refused(&greedy(&["-p", "x", "--samplers", "magic"]), &["magic", "top_k"]);
    refused(&greedy(&["-p", "x", "-l", "99999+1"]), &["99999"]);
}

#[test]
fn inspect_tells_which_kernels_run() {
    let all = json(&["inspect", "--kernels", "--json"], "");
    let formats = all["formats"].as_array().expect("a list");
    assert_eq!(formats.len(), 27);
    for format in formats {
        let kernels = format["kernels"].as_array().expect("a list");
        assert!(kernels.len() >= 2 && kernels[0]["rows"] == "1", "{format}");
        assert!(kernels.iter().all(|k| k["kernel"].as_str().is_some_and(|name| name.starts_with("oribi_matmul_"))));
        assert_eq!(
            format["expanded"].as_bool(),
            Some(
                format["packed_bits_per_weight"].as_f64() > format["bits_per_weight"].as_f64().map(|bits| bits * 1.04)
            )
        );
    }
    assert!(all["operations"].as_array().is_some_and(|list| list.iter().any(|k| k["operation"] == "attention")));

    let scalar = finish(oribi().args(["inspect", "--kernels"]).env("ORIBI_ISA", "scalar"));
    assert_eq!(scalar.status, 0, "{}", scalar.stderr);
    assert!(scalar.stdout.starts_with("kernels for scalar: portable code\n"), "{}", scalar.stdout);
    let line = |format: &str| {
        let mut lines = scalar.stdout.lines();
        lines.find(|line| line.split_whitespace().next() == Some(format)).expect("a line of the format").to_string()
    };
    assert!(line("IQ2_XXS").contains("expanded to 3.38") && line("IQ2_XXS").contains("iq2_xxs_ref (scalar)"));
    assert!(!line("Q4_0").contains("expanded") && line("Q4_0").ends_with("as portable"));
    let column = |format: &str, word: &str| line(format).find(word);
    assert_eq!(column("format", "1 row"), column("Q4_0", "q4_0_ref"), "{}", scalar.stdout);
    assert_eq!(column("format", "1 row"), column("IQ2_XXS", "iq2_xxs_ref"), "{}", scalar.stdout);

    let model = common::model(SMOLLM2);
    let own = json(&["inspect", "--kernels", "--json", path(&model)], "");
    let names: Vec<_> = own["formats"].as_array().expect("a list").iter().map(|f| f["format"].as_str()).collect();
    assert_eq!(names, [Some("Q4_1"), Some("Q8_0")]);
    assert_eq!(own["formats"][0]["n_tensors"], 210);
    refused(&["inspect", "--kernels", "nowhere.gguf"], &["nowhere.gguf"]);
}

#[test]
fn synth_makes_a_file_that_runs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("made.gguf");
    let made = ["synth", "--dim", "128", "--layers", "2", "--heads", "4", "--kv-heads", "2", "--type", "Q4_0", "-o"];
    let done = run(&[&made[..], &[path(&file)]].concat(), "");
    assert_eq!(done.status, 0, "{}", done.stderr);
    assert_eq!(done.stdout, format!("{}: llama Q4_0, 623 232 weights, 376.5 KiB\n", file.display()));
    assert!(done.stderr.contains("matrices with another format than Q4_0 wants: 1,"), "{}", done.stderr);
    let text = json(&["run", path(&file), "--json", "-n", "3", "--temp", "0", "--ignore-eos", "-p", "x"], "");
    assert_eq!(text["token_ids"].as_array().map(Vec::len), Some(3));
    let unknown = ["synth", "--type", "Q9_X", "-o", path(&file)];
    refused(&unknown, &["Q9_X", "Q4_K_M", "MXFP4"]);
    refused(
        &["synth", "--heads", "5", "--head-dim", "64", "--kv-heads", "2", "-o", path(&file)],
        &["heads 5", "kv-heads 2"],
    );
    refused(&["synth", "--preset", "1t", "-o", path(&file)], &["preset", "1t", "8b"]);
    refused(&["synth", "-o", path(folder.path())], &["is a folder"]);
    assert_eq!(run(&["synth"], "").status, 2);
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_seed_decides_the_draws() {
    common::model(SMOLLM2);
    let draw = |seed: &str| {
        let args = ["run", "--json", "-n", "8", "--temp", "1.5", "--seed", seed, "-p", "Once upon a time"];
        json(&args, "")["token_ids"].clone()
    };
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
    let banned = json(&greedy(&["--json", "-n", "1", "-l", "7042-inf", "-p", "The capital of France is"]), "");
    assert_ne!(banned["token_ids"][0], 7042);
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_text_and_says_so() {
    common::model(SMOLLM2);
    let mut child = spawn(&greedy(&["--ignore-eos", "-p", "Count: 1, 2, 3,"]));
    interrupt_once_it_writes(&mut child);
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(output.status.code(), Some(130));
    assert!(output.stdout.ends_with(b"\n"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("interrupted"));
}

#[cfg(unix)]
#[test]
fn ctrl_c_in_a_chat_stops_the_answer_and_not_the_program() {
    common::model(SMOLLM2);
    let mut child = spawn(&["chat", "SmolLM2-135M-Instruct.Q4_1", "--temp", "0", "--ignore-eos"]);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"Write a long story about the sea.\n").expect("the chat reads");
    interrupt_once_it_writes(&mut child);
    stdin.write_all(b"/stats\n/exit\n").expect("the chat still reads");
    let output = child.wait_with_output().expect("the program ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stderr.contains("(interrupted)") && stderr.contains("positions used"), "{stderr}");
}

#[cfg(unix)]
fn spawn(args: &[&str]) -> std::process::Child {
    use std::process::{Command, Stdio};

    let pipe = Stdio::piped;
    let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
    command.args(args).stdin(pipe()).stdout(pipe()).stderr(pipe()).spawn().expect("the program runs")
}

/// Ctrl-C for a program whose generation is under way, which its first output shows.
#[cfg(unix)]
fn interrupt_once_it_writes(child: &mut std::process::Child) {
    use std::io::Read;

    let mut first = [0];
    child.stdout.as_mut().expect("a pipe").read_exact(&mut first).expect("some text");
    let killed = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(killed.expect("kill runs").success());
}

#[test]
fn chat_answers_and_obeys_its_commands() {
    common::model(SMOLLM2);
    let cache = tempfile::tempdir().expect("a temporary folder");
    let saved = cache.path().join("talk.json");
    let chat = |lines: &str, args: &[&str]| {
        let model = common::model(SMOLLM2);
        let all = [&["chat", path(&model), "--temp", "0", "-n", "6"], args].concat();
        let done = finish(oribi().args(all).env("ORIBI_CACHE", cache.path()).write_stdin(lines.to_string()));
        assert_eq!(done.status, 0, "{}", done.stderr);
        done
    };
    let question = "What is the capital of France?";
    let talk = format!("/stats\n{question}\n/regen\n/stats\n/save {}\n/fly\n\n/exit\nnever read\n", saved.display());
    let done = chat(&talk, &["--system", "Answer in one word."]);
    let answers: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(answers.len(), 2, "{}", done.stdout);
    assert_eq!(answers[0], answers[1], "greedy answers are the same");
    assert!(done.stderr.contains("/fly is not a command") && done.stderr.contains("positions used"), "{}", done.stderr);

    let messages: Value = serde_json::from_str(&std::fs::read_to_string(&saved).expect("a file")).expect("JSON");
    assert_eq!(messages[0], serde_json::json!({"role": "system", "content": "Answer in one word."}));
    assert_eq!(messages[1], serde_json::json!({"role": "user", "content": question}));
    assert_eq!(messages[2], serde_json::json!({"role": "assistant", "content": answers[0]}));

    // The same conversation from the file, and as a single run, gives the same answer.
    let loaded = chat(&format!("/load {}\n/undo\n{question}\n", saved.display()), &[]);
    assert_eq!(loaded.stdout, format!("{}\n", answers[0]));
    let template = ["--chat", "--system", "Answer in one word.", "-n", "6", "-p", question];
    assert_eq!(run(&greedy(&template), "").stdout, loaded.stdout);
    let nothing = chat("/load /nowhere/talk.json\n/regen\n/undo\n/help\n/system\n/clear\n", &[]);
    assert_eq!(nothing.stdout, "");
    for word in ["/nowhere/talk.json", "no message to answer", "no message to take back", "/regen", "no system message"]
    {
        assert!(nothing.stderr.contains(word), "{word:?}: {}", nothing.stderr);
    }
}

/// The peak of a whole process is below what `inspect` predicts, by little, and the predicted sum is what a budget is held against.
#[test]
#[cfg(target_os = "linux")]
fn the_peak_of_memory_is_as_predicted() {
    for file in [SMOLLM2, GEMMA] {
        let model = common::model(file);
        let predicted = json(&["inspect", "-m", path(&model), "-c", "512", "--json"], "");
        let predicted = predicted["memory"]["total"].as_u64().expect("bytes") as f64;
        // Most of the context, so that every page is in use.
        let text = "one two three ".repeat(150);
        let arguments = ["run", "-m", path(&model), "-c", "512", "-n", "60", "--temp", "0", "-p", &text];
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_oribi"))
            .args(arguments)
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .expect("the program runs");
        let mut peak = 0.0;
        while child.try_wait().expect("a child").is_none() {
            let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            if let Some(kib) = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok()) {
                peak = kib * 1024.0;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let ratio = peak / predicted;
        assert!((0.85..=1.0).contains(&ratio), "{file}: peak {peak}, predicted {predicted}, ratio {ratio}");
    }
}
