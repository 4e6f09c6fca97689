//! `oribi quantize` as a program: what it prints, what it refuses, and that it survives being killed.

mod common;
#[path = "common/tiny.rs"]
#[allow(dead_code, reason = "each test binary uses some of the helpers")]
mod tiny;

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use oribi::quant::recipes::Recipe;
use oribi::synth::{self, ShapeOptions};
use tiny::Random;

fn oribi(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
    command.current_dir(folder).arg("quantize");
    command
}

fn output(folder: &Path, args: &[&str]) -> Output {
    oribi(folder).args(args).output().unwrap()
}

fn succeeds(folder: &Path, args: &[&str]) -> (String, String) {
    let output = output(folder, args);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{args:?}: {err}");
    (out, err)
}

/// `in.gguf` with random weights.
fn with_input(options: ShapeOptions<'_>, level: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let shape = options.resolve().unwrap();
    let recipe = Recipe::find(level).unwrap();
    synth::create(&shape, &recipe, 1, &folder.path().join("in.gguf"), &|_, _| true).unwrap();
    folder
}

fn listed(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_dry_run_says_what_is_made_to_the_byte() {
    let folder = with_input(ShapeOptions { dim: Some(320), ..Default::default() }, "F16");
    let args = ["in.gguf", "out.gguf", "q4_0", "--tensor", "ffn_up=Q8_0", "--json"];
    let (dry, _) = succeeds(folder.path(), &[&args[..], &["--dry-run"]].concat());
    assert_eq!(listed(folder.path()), ["in.gguf"]);
    let (wet, _) = succeeds(folder.path(), &args);
    let [dry, wet]: [serde_json::Value; 2] = [dry, wet].map(|text| serde_json::from_str(&text).unwrap());
    let made = fs::metadata(folder.path().join("out.gguf")).unwrap().len();
    assert_eq!((&dry["file_bytes"], &wet["file_bytes"]), (&made.into(), &made.into()));
    assert_eq!((&dry["made"], &wet["made"]), (&false.into(), &true.into()));
    assert_eq!(dry["bits_per_weight"], wet["bits_per_weight"]);
    assert_eq!(wet["tensors"][0]["n_nan"], 0);
    assert_eq!(dry["tensors"].as_array().unwrap().len(), wet["tensors"].as_array().unwrap().len());
    // Rows of 320 are no whole blocks of 256.
    let (text, err) = succeeds(folder.path(), &["in.gguf", "x.gguf", "Q8_0", "--tensor", "attn_q=Q6_K", "--dry-run"]);
    assert!(text.contains("not Q6_K: rows are not whole blocks of it"), "{text}");
    assert!(err.contains("matrices with another format than is wanted"), "{err}");
}

#[test]
fn what_cannot_be_done_is_said() {
    let folder = with_input(ShapeOptions::default(), "Q8_0");
    let cases: [(&[&str], &str); 6] = [
        (&["in.gguf", "out.gguf", "Q4_0"], "--requantize"),
        (&["in.gguf", "out.gguf", "Q9_X"], "\"Q9_X\" is not known; there are F32, F16, Q4_0"),
        (&["in.gguf", "in.gguf", "F32"], "is the input"),
        (&["none.gguf", "out.gguf", "F32"], "none.gguf"),
        (&["in.gguf", "no/such/folder.gguf", "F32"], "folder"),
        (&["in.gguf", "out.gguf", "F32", "--tensor", "typo=F16"], "matches no matrix"),
    ];
    for (args, what) in cases {
        let output = output(folder.path(), args);
        let err = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {err}");
        assert!(err.contains(what), "{args:?}: {err}");
        assert_eq!(listed(folder.path()), ["in.gguf"], "{args:?}");
    }
}

/// Killed at random moments, the output is absent or whole, and the same command goes on to the same file.
#[test]
fn killed_at_any_moment_it_goes_on_to_the_same_file() {
    let shape = ShapeOptions { n_blocks: Some(6), n_vocab: Some(4000), ..Default::default() };
    let folder = with_input(shape, "F32");
    let args = ["in.gguf", "out.gguf", "Q5_1", "--pure", "-t", "2"];
    let (path, began) = (folder.path().join("out.gguf"), std::time::Instant::now());
    succeeds(folder.path(), &args);
    let took = began.elapsed();
    let whole = fs::read(&path).unwrap();
    let mut random = Random(u64::from(std::process::id()));
    let (mut n_killed, mut n_resumed) = (0, 0);
    for _ in 0..if common::test_all() { 60 } else { 12 } {
        let _ = fs::remove_file(&path);
        loop {
            let mut child =
                oribi(folder.path()).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
            std::thread::sleep(Duration::from_micros(random.next() % took.as_micros() as u64));
            child.kill().unwrap(); // SIGKILL
            let output = child.wait_with_output().unwrap();
            n_resumed += usize::from(String::from_utf8_lossy(&output.stderr).contains("went on"));
            match fs::read(&path) {
                Ok(bytes) => assert!(bytes == whole, "half a file"),
                Err(_) => assert!(!output.status.success()),
            }
            n_killed += usize::from(!output.status.success());
            if random.next().is_multiple_of(3) {
                break;
            }
        }
        let (_, err) = succeeds(folder.path(), &args);
        n_resumed += usize::from(err.contains("went on"));
        assert!(fs::read(&path).unwrap() == whole);
        assert_eq!(listed(folder.path()), ["in.gguf", "out.gguf"]);
    }
    println!("killed {n_killed} times, went on {n_resumed} times");
    assert!(n_killed > 5 && n_resumed > 0, "killed {n_killed} times, went on {n_resumed} times");
}

/// Quantizing a file of 2 GB takes less than 1 GB at its peak, mapped pages of the input included.
#[cfg(target_os = "linux")]
#[test]
fn two_gigabytes_are_quantized_in_bounded_memory() {
    let preset = if common::test_all() { "1b" } else { "135m" };
    let folder = with_input(ShapeOptions { preset: Some(preset), ..Default::default() }, "F16");
    let mut child = oribi(folder.path()).args(["in.gguf", "out.gguf", "Q8_0"]).stdout(Stdio::null()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
        peak = line.trim().trim_end_matches(" kB").parse::<u64>().unwrap().max(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let n_bytes = fs::metadata(folder.path().join("in.gguf")).unwrap().len();
    println!("{:.2} GB quantized with a peak of {:.0} MB", n_bytes as f64 / 1e9, peak as f64 / 1e3);
    assert!(folder.path().join("out.gguf").is_file());
    assert!(peak > 0 && peak < 250_000, "{peak} kB");
}
