//! `oribi compare`: its forms, its cache, going on after kill -9, what it refuses; and real models.

mod common;
#[path = "common/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use oribi::dtype::DType;
use oribi::gguf::Gguf;
use serde_json::Value;
use tiny::{Shape, tiny, write};

const SMOLLM2: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const GEMMA3: &str = "gemma-3-270m-q4_k_m.gguf";
/// The fields of a level, in order.
const FIELDS: &[&str] = &[
    "level",
    "file_hash",
    "file_bytes",
    "bits_per_weight",
    "load_ms",
    "prompt_tokens_per_second",
    "prompt_range",
    "generated_tokens_per_second",
    "generated_range",
    "peak_bytes",
    "perplexity",
    "kld",
    "top1",
];
/// Little work for a tiny model.
const SMALL: &[&str] = &["-c", "64", "--chunks", "3", "-p", "16", "-n", "4", "--rounds", "2", "-t", "1"];

/// A folder with a tiny model, a text and a cache.
struct Place {
    folder: tempfile::TempDir,
    model: PathBuf,
}

impl Place {
    fn new(name: &str) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join(name);
        std::fs::write(&model, write(tiny(Shape { n_blocks: 2, ..Shape::new("llama", DType::F16) }))).unwrap();
        let text: String = (0..400).map(|i| ["one ", "two ", "and ", "more. "][i * i % 7 % 4]).collect();
        std::fs::write(folder.path().join("text"), text).unwrap();
        Place { folder, model }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, models: &[&Path], args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
        let small = SMALL.chunks(2).filter(|option| !args.contains(&option[0])).flatten();
        command.arg("compare").args(models).arg("-f").arg(self.path("text")).args(small).args(args);
        command.env("ORIBI_CACHE", self.path("cache")).stdin(Stdio::null());
        command
    }

    fn run(&self, models: &[&Path], args: &[&str]) -> Output {
        self.command(models, args).output().expect("the program runs")
    }

    /// The JSON form; the command succeeds.
    fn json(&self, models: &[&Path], args: &[&str]) -> Value {
        let output = self.run(models, &[args, &["--json"]].concat());
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).expect("JSON")
    }

    fn refused(&self, models: &[&Path], args: &[&str], words: &[&str]) {
        let output = self.run(models, args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{args:?}: {message}");
        for word in words {
            assert!(message.contains(word), "{args:?}: {message:?} does not say {word:?}");
        }
    }

    /// Folders of files that live for one run.
    fn n_level_folders(&self) -> usize {
        let entries = std::fs::read_dir(self.path("cache/compare")).unwrap();
        entries.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("levels-")).count()
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// A level has the fields of the schema, and they make sense.
fn check_level(level: &Value) {
    let names: Vec<&str> = level.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(names, FIELDS);
    for name in ["file_bytes", "bits_per_weight", "load_ms", "prompt_tokens_per_second", "generated_tokens_per_second"]
    {
        assert!(number(&level[name]) > 0.0, "{name}: {level}");
    }
    for (range, median) in
        [("prompt_range", "prompt_tokens_per_second"), ("generated_range", "generated_tokens_per_second")]
    {
        let (range, median) = (&level[range], number(&level[median]));
        assert!(number(&range[0]) <= median && median <= number(&range[1]), "{level}");
    }
    if cfg!(target_os = "linux") {
        assert!(number(&level["peak_bytes"]) > 1e6, "{level}");
    }
    assert!(number(&level["perplexity"]["mean"]) > 1.0 && number(&level["perplexity"]["stderr"]) > 0.0, "{level}");
    let kld = ["median", "mean", "p99", "max"].map(|name| number(&level["kld"][name]));
    assert!(kld[0] <= kld[2] && kld[1] <= kld[3] && kld[2] <= kld[3] && kld[0] >= 0.0, "{level}");
    assert!((0.0..=1.0).contains(&number(&level["top1"])), "{level}");
}

/// What does not depend on the machine.
fn quality(level: &Value) -> Vec<Value> {
    ["file_hash", "file_bytes", "bits_per_weight", "perplexity", "kld", "top1"].map(|name| level[name].clone()).to_vec()
}

fn names(report: &Value) -> Vec<&str> {
    report["levels"].as_array().unwrap().iter().map(|level| level["level"].as_str().unwrap()).collect()
}

#[test]
fn levels_are_made_measured_kept_in_the_cache_and_compared_as_files() {
    let place = Place::new("tiny.gguf");
    let (html, markdown) = (place.path("page.html"), place.path("table.md"));
    let files = ["--html", html.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let levels = ["--levels", "q8_0,Q4_0,Q8_0,IQ4_NL"];
    let args = [&levels[..], &files, &["--under", "1G", "--max-kld", "1000"]].concat();
    let report = place.json(&[&place.model], &args);
    assert_eq!(names(&report), ["Q8_0", "Q4_0", "IQ4_NL"]);
    report["levels"].as_array().unwrap().iter().for_each(check_level);
    check_level(&report["reference"]);
    assert_eq!((report["model"].as_str(), number(&report["reference"]["kld"]["mean"])), (Some("tiny"), 0.0));
    let settings = &report["settings"];
    assert_eq!((number(&settings["n_chunks"]), number(&settings["n_scored"])), (3.0, 93.0));
    assert_eq!(settings["quality_numerics"], "portable");
    let kld = |i: usize| number(&report["levels"][i]["kld"]["mean"]);
    assert!(0.0 < kld(0) && kld(0) < kld(1), "{report}");
    assert!(number(&report["levels"][1]["file_bytes"]) < number(&report["levels"][0]["file_bytes"]));
    assert!(report["advice"][0].as_str().unwrap().starts_with("Best under 1.0 GiB, with a KLD of"), "{report}");
    // Nothing of the levels stays on the disk.
    assert_eq!(place.n_level_folders(), 0);

    let page = std::fs::read_to_string(&html).unwrap();
    let table = std::fs::read_to_string(&markdown).unwrap();
    for name in ["Q8_0", "Q4_0", "IQ4_NL"] {
        assert!(page.contains(&format!("data-level=\"{name}\"")) && table.contains(&format!("| {name} ")), "{table}");
    }
    assert!(table.starts_with("# tiny: what each level costs\n\n| level "), "{table}");

    // Known results are the same to the last digit, and nothing is measured again: another machine's file would not be needed.
    assert_eq!(place.json(&[&place.model], &args), report);
    let text = String::from_utf8(place.run(&[&place.model], &levels).stdout).unwrap();
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(lines.len(), 6, "{text}");
    assert!(lines.iter().all(|line| line.chars().count() == lines[0].chars().count()), "{text}");
    assert!(lines[2].starts_with("| tiny (reference) "), "{text}");

    // One at a time on the disk, and measured again: the same quality.
    let again = place.json(&[&place.model], &[&levels[..], &["--again", "--disk", "1"]].concat());
    for i in 0..3 {
        assert_eq!(quality(&again["levels"][i]), quality(&report["levels"][i]));
    }
    assert_ne!(again["levels"][0]["load_ms"], report["levels"][0]["load_ms"]);

    // As files: the finest is the reference, and one of them.
    let kept = place.path("kept");
    place.json(&[&place.model], &[&levels[..], &["--keep", kept.to_str().unwrap()]].concat());
    let file = |level: &str| kept.join(format!("tiny.{level}.gguf"));
    let found = place.json(&[&file("Q4_0"), &place.model, &file("Q8_0"), &file("Q4_0")], &[]);
    assert_eq!(names(&found), ["tiny.Q4_0", "tiny", "tiny.Q8_0"]);
    assert_eq!(quality(&found["levels"][0]), quality(&report["levels"][1]));
    assert_eq!(quality(&found["levels"][2]), quality(&report["levels"][0]));
    assert_eq!(found["levels"][1], found["reference"]);
    // Another reference, not one of them; then one alone.
    let model = place.model.to_str().unwrap();
    let found = place.json(&[&file("Q4_0")], &["--reference", model]);
    assert_eq!((names(&found), quality(&found["levels"][0])), (vec!["tiny.Q4_0"], quality(&report["levels"][1])));
    let alone = place.json(&[&place.model], &[]);
    assert_eq!((names(&alone), number(&alone["levels"][0]["kld"]["mean"])), (vec!["tiny"], 0.0));
    assert_eq!(alone["levels"][0]["perplexity"], report["reference"]["perplexity"]);

    // Kept files are found again, foreign ones are not overwritten.
    place.json(&[&place.model], &[&levels[..], &["--keep", kept.to_str().unwrap()]].concat());
    std::fs::copy(&place.model, file("Q4_0")).unwrap();
    place.refused(
        &[&place.model],
        &[&levels[..], &["--keep", kept.to_str().unwrap()]].concat(),
        &["tiny.Q4_0.gguf", "move it away"],
    );
    assert_eq!(std::fs::read(file("Q4_0")).unwrap(), std::fs::read(&place.model).unwrap());
}

#[test]
fn after_kill_9_the_same_command_goes_on() {
    let place = Place::new("tiny.gguf");
    let args = ["--levels", "Q8_0,Q5_0,Q4_0", "--json"];
    // More chunks than before go on where fewer have ended.
    place.json(&[&place.model], &[&args[..2], &["--chunks", "1"]].concat());
    // From before anything is done to the end.
    for millis in [5, 60, 150, 300, 500, 800] {
        let mut child =
            place.command(&[&place.model], &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let report = place.json(&[&place.model], &args[..2]);
    assert_eq!(place.n_level_folders(), 0, "what killed runs have left is swept");
    let fresh = Place::new("tiny.gguf");
    let expected = fresh.json(&[&fresh.model], &args[..2]);
    for i in 0..3 {
        assert_eq!(quality(&report["levels"][i]), quality(&expected["levels"][i]));
    }
    // A damaged cache costs time and nothing else.
    for entry in std::fs::read_dir(place.path("cache/compare")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let report = place.json(&[&place.model], &args[..2]);
    for i in 0..3 {
        assert_eq!(quality(&report["levels"][i]), quality(&expected["levels"][i]));
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_and_says_so() {
    let place = Place::new("tiny.gguf");
    let mut command = place.command(&[&place.model], &["--levels", "Q8_0,Q6_K,Q5_K,Q4_K,Q3_K,Q2_K"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // So early that it is not done, so late that it listens.
    while !place.path("cache/compare").is_dir() {
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(20));
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert_eq!(place.n_level_folders(), 0);
    // A machine that was faster than the signal has finished.
    assert!(matches!(status.code(), Some(130 | 0)), "{status}");
}

#[test]
fn hostile_names_stay_text() {
    let place = Place::new("<b>|[x](y).gguf");
    let (html, markdown) = (place.path("p.html"), place.path("t.md"));
    let args = ["--html", html.to_str().unwrap(), "--markdown", markdown.to_str().unwrap()];
    let output = place.run(&[&place.model], &args);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!std::fs::read_to_string(&html).unwrap().contains("<b>"));
    let table = std::fs::read_to_string(&markdown).unwrap();
    assert!(table.contains("&lt;b>\\|\\[x\\](y) (reference)"), "{table}");
}

#[test]
fn errors_name_what_is_wrong() {
    let place = Place::new("tiny.gguf");
    let other = place.path("other.gguf");
    std::fs::write(&other, write(tiny(Shape { n_vocab: 301, n_blocks: 1, ..Shape::new("llama", DType::Q8_0) })))
        .unwrap();
    place.refused(&[&place.model, &other], &["--levels", "Q8_0"], &["--levels", "one model"]);
    place.refused(&[&place.model], &["--levels", "Q9_X"], &["Q9_X", "Q4_K_M"]);
    place.refused(&[&place.model, &other], &[], &["vocabularies differ", "other.gguf"]);
    place.refused(&[&place.model], &["--chunks", "4000"], &["chunks", "text"]);
    place.refused(&[&place.path("none.gguf")], &[], &["none.gguf"]);
    place.refused(&[&place.model], &["--html", "/nowhere/at/all.html"], &["/nowhere/at"]);
    place.refused(&[&place.model], &["--max-memory", "10K"], &["--max-memory"]);
    place.refused(&[&place.model], &["-p", "5000"], &["5000", "1024"]);
}

/// Two levels of the real model, two chunks; with ORIBI_TEST_ALL=1 every level that can be made, of both models, and the page in a
/// browser.
#[test]
fn levels_of_real_models() {
    let folder = tempfile::tempdir().unwrap();
    let runs: &[(&str, &str)] =
        if common::test_all() { &[(SMOLLM2, "all"), (GEMMA3, "all")] } else { &[(SMOLLM2, "Q8_0,Q4_K_M")] };
    for (file, levels) in runs {
        let (source, page) = (common::model(file), folder.path().join(format!("{file}.html")));
        let output = Command::new(env!("CARGO_BIN_EXE_oribi"))
            .arg("compare")
            .arg(&source)
            .args(["--levels", levels, "--chunks", "2", "-p", "32", "-n", "8", "--rounds", "1", "--json"])
            .arg("-f")
            .arg(common::data("eval-en.txt"))
            .arg("--html")
            .arg(&page)
            .env("ORIBI_CACHE", folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let all = report["levels"].as_array().unwrap();
        all.iter().for_each(check_level);
        let kld = |name: &str| {
            let level = all.iter().find(|level| level["level"] == name).unwrap_or_else(|| panic!("no {name}"));
            number(&level["kld"]["mean"])
        };
        println!("{file}: {} levels, Q8_0 {}, Q4_K_M {}", all.len(), kld("Q8_0"), kld("Q4_K_M"));
        // Gemma's file is a Q4_K_M, so that this level is the original and Q8_0, which encodes its 4-bit matrices anew, is not.
        let is_between = kld("Q8_0") < kld("Q4_K_M") && kld("Q4_K_M") < 0.5;
        assert!(kld("Q8_0") < 0.02 && if *file == GEMMA3 { kld("Q4_K_M") == 0.0 } else { is_between }, "{file}");
        if common::test_all() {
            assert!(kld("Q4_K_M") < kld("Q3_K_M") && kld("Q3_K_M") < kld("Q2_K"), "{file}");
        }
        let weights: u64 = Gguf::open(&source).unwrap().tensors().iter().map(|t| t.n_elems()).sum();
        for level in all {
            let bits = number(&level["file_bytes"]) * 8.0 / weights as f64;
            // The file is its tensors, and a header with the vocabulary.
            assert!(
                bits > number(&level["bits_per_weight"]) && bits < number(&level["bits_per_weight"]) + 1.0,
                "{level}"
            );
        }
        if common::test_all() {
            assert!(all.len() >= 20, "{}", all.len());
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser/page.mjs");
            let output = Command::new("node").arg(script).arg(&page).output().expect("node: scripts/setup --tests");
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
        }
    }
}
