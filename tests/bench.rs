//! `oribi bench` on tiny models: the forms of its results, comparisons, errors, and what it counts as work.

#[path = "common/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use assert_cmd::Command;
use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::bench::{Bench, BenchOptions, Kind, Test, tests};
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{KvType, Numerics, SessionOptions};
use serde_json::Value;
use tiny::{Shape, tiny, write};

/// The fields of a row, in order.
const FIELDS: &[&str] = &[
    "test",
    "n_prompt",
    "n_gen",
    "depth",
    "batch",
    "threads",
    "numerics",
    "isa",
    "kv_type",
    "tokens_per_second",
    "gb_per_second",
    "gmac_per_second",
    "share_of_limit",
    "device",
];

/// A folder with the file of a tiny model.
fn model_file(arch: &'static str, n_blocks: usize) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("tiny-{arch}.gguf"));
    std::fs::write(&path, write(tiny(Shape { n_blocks, ..Shape::new(arch, DType::Q4_0) }))).unwrap();
    (folder, path)
}

/// `oribi bench` with a model and further arguments: exit status, standard output, standard error.
fn bench(model: &Path, args: &[&str]) -> (i32, String, String) {
    let mut command = Command::cargo_bin("oribi").expect("the program is built with the tests");
    let output = command.arg("bench").arg(model).args(args).output().expect("the program runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit status"), text(output.stdout), text(output.stderr))
}

/// What `oribi bench` prints; it succeeds and says nothing else.
fn printed(model: &Path, args: &[&str]) -> String {
    let (status, stdout, stderr) = bench(model, args);
    assert_eq!((status, stderr.as_str()), (0, ""), "{args:?}");
    stdout
}

fn json(model: &Path, args: &[&str]) -> Vec<Value> {
    let text = printed(model, &[args, &["--json"]].concat());
    serde_json::from_str::<Value>(&text).unwrap().as_array().expect("a list").clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A row has the fields of the schema, and its speeds make sense.
fn check_row(row: &Value) {
    let names: Vec<&str> = row.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, FIELDS);
    let speed = &row["tokens_per_second"];
    assert_eq!(speed.as_object().unwrap().keys().collect::<Vec<_>>(), ["median", "min", "max"]);
    let [min, median, max] = ["min", "median", "max"].map(|name| number(&speed[name]));
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    assert!(number(&row["gb_per_second"]) > 0.0 && number(&row["gmac_per_second"]) > 0.0, "{row}");
}

#[test]
fn json_rows_are_all_combinations_with_the_fields_of_the_schema() {
    let (_folder, model) = model_file("llama", 2);
    let args = ["-p", "0,32", "-n", "3", "-d", "0,70", "-b", "1,3", "-t", "1,2", "-r", "2", "--numerics", "portable"];
    let rows = json(&model, &[&args[..], &["--no-limits"]].concat());
    let names: Vec<_> = rows.iter().map(|row| (row["test"].as_str().unwrap(), number(&row["threads"]))).collect();
    let tests = ["pp32", "tg3", "tg3 x 3", "pp32 @ d70", "tg3 @ d70", "tg3 x 3 @ d70"];
    let expected: Vec<_> = [1.0, 2.0].iter().flat_map(|&t| tests.map(|test| (test, t))).collect();
    assert_eq!(names, expected);
    rows.iter().for_each(check_row);
    let last = &rows[5];
    for (name, value) in [("n_prompt", 0.0), ("n_gen", 3.0), ("depth", 70.0), ("batch", 3.0)] {
        assert_eq!(number(&last[name]), value, "{last}");
    }
    assert_eq!((last["numerics"].as_str(), last["kv_type"].as_str()), (Some("portable"), Some("f16")));
    assert!(last["share_of_limit"].is_null());
}

#[test]
fn the_share_of_the_limit_is_measured() {
    let (_folder, model) = model_file("llama", 1);
    let rows = json(&model, &["-p", "16", "-n", "2", "-r", "1", "-t", "1", "--isa", "scalar", "--max-memory", "64M"]);
    for row in &rows {
        check_row(row);
        assert_eq!(row["isa"], "scalar");
        let share = number(&row["share_of_limit"]);
        assert!(share > 0.0 && share < 10.0, "{row}");
    }
}

#[test]
fn csv_and_markdown_say_the_same() {
    let (_folder, model) = model_file("llama", 1);
    let args = ["-p", "8", "-n", "2", "-r", "1", "-t", "1", "--no-limits"];
    let csv = printed(&model, &[&args[..], &["--csv"]].concat());
    let lines: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let spread = ["tokens_per_second_median", "tokens_per_second_min", "tokens_per_second_max"];
    let columns: Vec<&str> = [&FIELDS[..9], &spread, &FIELDS[10..]].concat();
    assert_eq!(lines[0], columns);
    assert!(lines.len() == 3 && lines.iter().all(|line| line.len() == columns.len()), "{csv}");
    assert_eq!((lines[1][0], lines[2][0], lines[1][14]), ("pp8", "tg2", ""));

    let table = printed(&model, &args);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!((lines[0], lines[1], lines.len()), ("tiny-llama.gguf", "", 6), "{table}");
    for (line, word) in lines[2..].iter().zip([" tokens/s ", "|---", "| pp8 ", "| tg2 "]) {
        assert!(line.contains(word) && line.len() == lines[2].len(), "{word:?}: {table}");
    }
}

#[test]
fn settings_and_models_are_compared_in_turns() {
    let (_folder, small) = model_file("llama", 1);
    let (_other, large) = model_file("llama", 7);
    let args = ["-p", "64", "-n", "4", "-r", "3", "-t", "1", "--no-limits"];
    let pairs = json(&small, &[&args[..], &["--compare", large.to_str().unwrap()]].concat());
    assert_eq!(pairs.len(), 2);
    for pair in &pairs {
        assert_eq!(pair.as_object().unwrap().keys().collect::<Vec<_>>(), ["a", "b", "ratio"]);
        let [a, b] = ["a", "b"].map(|side| pair[side]["model"].as_str().unwrap());
        assert_eq!((a, b), (small.to_str().unwrap(), large.to_str().unwrap()));
        let ratio = &pair["ratio"];
        assert!(number(&ratio["min"]) <= number(&ratio["median"]), "{ratio}");
        // One block is faster than seven, however busy the machine.
        assert!(number(&ratio["median"]) > 1.2, "{ratio}");
    }

    let versus =
        json(&small, &[&args[..], &["--versus", "isa=scalar,threads=2,numerics=portable,kv-type=q4_0"]].concat());
    let [a, b] = ["a", "b"].map(|side| &versus[0][side]);
    assert_eq!((number(&a["threads"]), a["numerics"].as_str()), (1.0, Some("native")));
    assert_eq!(
        (number(&b["threads"]), b["numerics"].as_str(), b["isa"].as_str()),
        (2.0, Some("portable"), Some("scalar"))
    );

    assert_eq!((a["kv_type"].as_str(), b["kv_type"].as_str()), (Some("f16"), Some("q4_0")));

    let table = printed(&small, &[&args[..], &["--versus", "threads=2"]].concat());
    for word in ["threads 1", "threads 2", "A / B"] {
        assert!(table.contains(word), "{word:?}: {table}");
    }
    let csv = printed(&small, &[&args[..], &["--csv", "--versus", "threads=2"]].concat());
    let header = csv.lines().next().unwrap();
    assert!(header.starts_with("a_model,a_test,") && header.ends_with(",ratio,ratio_min,ratio_max"), "{header}");
}

#[test]
fn the_machine_is_measured_alone() {
    let mut command = Command::cargo_bin("oribi").expect("the program is built with the tests");
    let output = command.args(["bench", "--machine", "--json", "-t", "1", "--max-memory", "64M"]).output().unwrap();
    assert!(output.status.success());
    let machines: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let levels: Vec<&str> =
        machines[0]["bandwidth"].as_array().unwrap().iter().map(|b| b["level"].as_str().unwrap()).collect();
    assert_eq!((machines.len(), levels), (1, vec!["L2", "L3", "DRAM"]));
    for bandwidth in machines[0]["bandwidth"].as_array().unwrap() {
        assert!((0.01..1e5).contains(&number(&bandwidth["gb_per_second"])), "{bandwidth}");
    }
    let peaks = machines[0]["peaks"].as_array().unwrap();
    assert!(peaks.iter().any(|peak| peak["isa"] == "scalar"), "{machines:?}");
    assert!(peaks.iter().all(|peak| (0.001..1e6).contains(&number(&peak["gmac_per_second"]))), "{machines:?}");
}

#[test]
fn errors_name_the_option() {
    let (_folder, model) = model_file("llama", 1);
    let refused = |args: &[&str], status: i32, words: &[&str]| {
        let (found, stdout, stderr) = bench(&model, args);
        assert_eq!((found, stdout.as_str()), (status, ""), "{args:?}: {stderr}");
        for word in words {
            assert!(stderr.contains(word), "{args:?}: {stderr:?} does not say {word:?}");
        }
    };
    refused(&["-p", "512", "-d", "600"], 1, &["-d", "600", "1112 positions", "1024"]);
    refused(&["-p", "0", "-n", "0"], 1, &["-p", "-n", "nothing"]);
    refused(&["-b", "0"], 1, &["-b"]);
    refused(&["-t", "0"], 1, &["thread count 0"]);
    refused(&["--chunk", "0"], 1, &["n_batch is 0"]);
    refused(&["--max-memory", "10K"], 1, &["--max-memory"]);
    refused(&["--compare", "/nowhere.gguf", "--no-limits"], 1, &["/nowhere.gguf"]);
    refused(&["-r", "0"], 2, &["--repetitions"]);
    refused(&["-p", "many"], 2, &["--n-prompt"]);
    refused(&["--isa", "sse9"], 2, &["sse9"]);
    refused(&["--versus", "colour=red"], 2, &["colour", "threads, isa, numerics, kv-type"]);
    refused(&["--machine"], 2, &["--machine"]);
    refused(&["--json", "--csv"], 2, &["--csv"]);
}

fn load(arch: &'static str) -> Arc<Model> {
    let gguf = Gguf::from_bytes(write(tiny(Shape::new(arch, DType::Q4_0)))).unwrap();
    let cpu = CpuOptions { n_threads: Some(1), ..CpuOptions::default() };
    Model::load(gguf, ModelOptions { cpu, ..ModelOptions::default() }).unwrap()
}

fn options(n_batch: usize) -> BenchOptions {
    let session = SessionOptions { numerics: Numerics::Portable, n_batch, ..SessionOptions::default() };
    BenchOptions { session, seed: 0 }
}

/// Weights of a tiny model's blocks and of its output head.
const BLOCKS: u64 = 7 * (2 * 256 * 256 + 2 * 256 * 128 + 3 * 256 * 512);
const HEAD: u64 = 300 * 256;

#[test]
fn work_is_what_the_shapes_say() {
    let model = load("llama");
    let generate = |n_tokens, batch, depth| Test { kind: Kind::Generate { n_tokens, batch }, depth };
    let prompt = |n_tokens, depth| Test { kind: Kind::Prompt { n_tokens }, depth };
    let all = [generate(1, 1, 0), generate(2, 3, 10), prompt(5, 100)];
    let bench = Bench::new(&model, &options(2), &all).unwrap();
    let work = all.map(|test| bench.work(&test).unwrap());

    // Scores and values are 2 * n_heads * head_dim products per block and position seen.
    let attention = |positions: u64| 7 * positions * 2 * 256;
    assert_eq!((work[0].code_macs, work[0].float_macs), (BLOCKS + HEAD, attention(1)));
    assert_eq!((work[1].code_macs, work[1].float_macs), (6 * (BLOCKS + HEAD), attention(3 * (11 + 12))));
    assert_eq!((work[2].code_macs, work[2].float_macs), (5 * BLOCKS + HEAD, attention(101 + 102 + 103 + 104 + 105)));
    assert!(work.iter().all(|work| work.bf16_macs == 0));

    // Keys and values in float16, and below with 34 bytes for 32 elements; the prompt is read in chunks of 2, 2 and 1, and the weights with each.
    let kv = |positions: u64| 7 * positions * 2 * 128 * 2;
    let (once, twice) = (work[0].read_bytes - kv(1), work[1].read_bytes - kv(3 * (11 + 12)));
    assert_eq!(2 * once, twice);
    let weights = BLOCKS + HEAD;
    assert!((weights * 18 / 32..weights * 21 / 32 + 8192).contains(&once), "{once} bytes of {weights} weights");
    assert!((2 * once..3 * once).contains(&(work[2].read_bytes - kv(102 + 104 + 105))));
    let quantized = SessionOptions { kv_type: KvType::Q8_0, ..options(2).session };
    let bench = Bench::new(&model, &BenchOptions { session: quantized, seed: 0 }, &all).unwrap();
    let saved = work[1].read_bytes - bench.work(&all[1]).unwrap().read_bytes;
    assert_eq!(saved, kv(3 * (11 + 12)) / 64 * 30);
}

#[test]
fn a_window_limits_the_work_of_attention() {
    let model = load("gemma3");
    let test = Test { kind: Kind::Generate { n_tokens: 1, batch: 1 }, depth: 99 };
    let work = Bench::new(&model, &options(512), &[test]).unwrap().work(&test).unwrap();
    // Five of six blocks see 20 positions: of seven all but the sixth.
    assert_eq!(work.float_macs, (6 * 20 + 100) * 2 * 256);
}

#[test]
fn contexts_are_kept_for_the_next_test_and_cancelling_is_an_error() {
    let model = load("llama");
    let all = tests(&[3], &[2], &[0, 70], &[1, 2]);
    let mut bench = Bench::new(&model, &options(512), &all).unwrap();
    for test in &all {
        assert!(bench.run(test, &|| false).unwrap().as_nanos() > 0);
    }
    // Two sequences of 70 positions on two pages each: filled apart, nothing shared, nothing left over.
    let page_bytes = 64 * 7 * 2 * 128 * 2;
    assert_eq!(bench.session().kv_bytes(), 4 * page_bytes);
    assert_eq!(bench.session().options().n_ctx, 73);
    assert_eq!(bench.run(&all[0], &|| true).unwrap_err().kind(), ErrorKind::Cancelled);
    bench.run(&all[0], &|| false).unwrap();

    let beyond = Test { kind: Kind::Prompt { n_tokens: 1024 }, depth: 1 };
    assert_eq!(Bench::new(&model, &options(512), &[beyond]).err().unwrap().kind(), ErrorKind::InvalidArgument);
}
