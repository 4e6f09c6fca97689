//! `oribi convert`: what it prints, and what `kill -9` leaves.

#![cfg(unix)]

#[path = "common/checkpoints.rs"]
mod checkpoints;

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use checkpoints::{Copy, Tensor, folder};
use oribi::gguf::Gguf;
use safetensors::Dtype;
use serde_json::{Value, json};

fn oribi(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oribi"));
    command.arg("convert").args(args).stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    oribi(args).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_dry_run_says_exactly_what_is_then_made() {
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("gemma.gguf");
    let input = folder("gemma3");
    let args = [text(&input), "-o", text(&out), "--type", "q8_0"];
    let said: Value = serde_json::from_str(&stdout(&run(&[&args[..], &["--dry-run", "--json"]].concat()))).unwrap();
    assert!(!out.exists());
    let made: Value = serde_json::from_str(&stdout(&run(&[&args[..], &["--json"]].concat()))).unwrap();
    assert_eq!((&said["made"], &made["made"]), (&json!(false), &json!(true)));
    assert_eq!(
        (&made["architecture"], &made["level"], &made["n_resumed"]),
        (&json!("gemma3"), &json!("Q8_0"), &json!(0))
    );
    for key in ["file_bytes", "n_elems", "tensors", "notes", "n_refitted"] {
        assert_eq!(said[key], made[key], "{key}");
    }
    assert_eq!(std::fs::metadata(&out).unwrap().len(), made["file_bytes"].as_u64().unwrap());
    let gguf = Gguf::open(&out).unwrap();
    for (tensor, wanted) in gguf.tensors().iter().zip(made["tensors"].as_array().unwrap()) {
        assert_eq!((&json!(tensor.name), &json!(tensor.dtype.name())), (&wanted["name"], &wanted["to"]));
        assert_eq!((&wanted["from"], &json!(tensor.shape)), (&json!("BF16"), &wanted["shape"]));
    }
    let table = stdout(&run(&[&args[..], &["--dry-run"]].concat()));
    assert!(
        table.contains("model.layers.6.self_attn.q_norm.weight") && table.contains("blk.6.attn_q_norm.weight"),
        "{table}"
    );
    assert!(table.lines().count() > 93, "{table}");
}

#[test]
fn messages_go_to_standard_error() {
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out.gguf");
    let output = run(&[text(&folder("qwen2")), "-o", text(&out), "--type", "Q9"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(message.contains("Q9") && message.contains("Q4_K_M"), "{message}");
    let output = run(&[text(&folder("qwen2")), "-o", text(&out)]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(message.contains("NFC"), "{message}");
    assert!(stdout(&output).starts_with(&format!("{}: qwen2 BF16, ", out.display())), "{output:?}");
}

/// A llama of these sizes with arbitrary weights.
fn larger(dim: usize, ffn: usize, n_blocks: usize) -> Copy {
    let copy = Copy::of("llama");
    copy.config(|config| {
        for (key, n) in
            [("hidden_size", dim), ("intermediate_size", ffn), ("num_hidden_layers", n_blocks), ("head_dim", dim / 4)]
        {
            config[key] = json!(n);
        }
    });
    let mut state = 1u32;
    let mut random = |name: String, shape: &[usize]| {
        let mut data = vec![0; 2 * shape.iter().product::<usize>()];
        for w in data.chunks_exact_mut(2) {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // Small values of either sign in bfloat16.
            w.copy_from_slice(&[(state >> 16) as u8, 0x3c | (state >> 24) as u8 & 0x80]);
        }
        Tensor { name, dtype: Dtype::BF16, shape: shape.to_vec(), data }
    };
    let mut tensors = vec![
        random("model.embed_tokens.weight".into(), &[336, dim]),
        random("lm_head.weight".into(), &[336, dim]),
        random("model.norm.weight".into(), &[dim]),
    ];
    for block in 0..n_blocks {
        for (part, shape) in [
            ("input_layernorm", &[dim][..]),
            ("post_attention_layernorm", &[dim]),
            ("self_attn.q_proj", &[dim, dim]),
            ("self_attn.k_proj", &[dim / 2, dim]),
            ("self_attn.v_proj", &[dim / 2, dim]),
            ("self_attn.o_proj", &[dim, dim]),
            ("mlp.gate_proj", &[ffn, dim]),
            ("mlp.up_proj", &[ffn, dim]),
            ("mlp.down_proj", &[dim, ffn]),
        ] {
            tensors.push(random(format!("model.layers.{block}.{part}.weight"), shape));
        }
    }
    copy.write("model.safetensors", &tensors);
    copy
}

/// Killed at any moment, the output is absent or whole, and who goes on makes the identical file.
#[test]
fn kill_9_leaves_nothing_or_all_and_the_same_command_goes_on() {
    let copy = larger(512, 1024, 6);
    let target = tempfile::tempdir().unwrap();
    let (once, out) = (target.path().join("once.gguf"), target.path().join("out.gguf"));
    let args =
        |out: &Path| [text(copy.path()), "-o", text(out), "--type", "Q8_0", "--name", "x", "--json"].map(str::to_owned);
    let command = |out: &Path| oribi(&args(out).iter().map(String::as_str).collect::<Vec<_>>());
    let began = Instant::now();
    stdout(&command(&once).output().unwrap());
    let whole = began.elapsed();
    let wanted = std::fs::read(&once).unwrap();
    let (mut n_killed, mut state) = (0u32, 7u64);
    while n_killed < 12 && !out.exists() {
        let mut child = command(&out).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        std::thread::sleep(whole.mul_f64((state >> 40) as f64 / (1u64 << 24) as f64 * 0.9) + Duration::from_millis(1));
        let _ = child.kill();
        child.wait().unwrap();
        n_killed += 1;
        assert!(
            !out.exists() || std::fs::read(&out).unwrap() == wanted,
            "after {n_killed} kills the file is neither absent nor whole"
        );
    }
    let last: Value = serde_json::from_str(&stdout(&command(&out).output().unwrap())).unwrap();
    println!("{n_killed} kills in runs of {whole:?}; the last run found {} tensors", last["n_resumed"]);
    assert!(std::fs::read(&out).unwrap() == wanted);
    let left: Vec<_> = std::fs::read_dir(target.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

/// Memory does not grow with the model.
#[cfg(target_os = "linux")] // how much it was is read from /proc
#[test]
fn memory_is_bounded_by_a_few_tensors() {
    if std::env::var_os("ORIBI_TEST_ALL").is_none_or(|v| v != "1") {
        println!("skipped: converting half a gigabyte (ORIBI_TEST_ALL=1)");
        return;
    }
    let copy = larger(1024, 4096, 16);
    let target = tempfile::tempdir().unwrap();
    let out = target.path().join("out.gguf");
    let mut child = oribi(&[text(copy.path()), "-o", text(&out), "--type", "F32"]).spawn().unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        peak = peak.max(line.split_whitespace().next().unwrap().parse::<u64>().unwrap());
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().unwrap().success());
    let n_bytes = std::fs::metadata(&out).unwrap().len();
    println!("peak {peak} KiB for a file of {n_bytes} bytes");
    assert!(n_bytes > 900_000_000 && peak < 150_000, "{peak} KiB");
}
