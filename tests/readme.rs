//! Every `console` block of the README is run, and its output compared with what the README shows. In a shown output a
//! line `...` stands for any lines, and `..` inside a line for any text.

#![cfg(unix)] // the commands are run by a shell

mod common;

use std::path::Path;
use std::process::{Command, Stdio};

/// A command of a block, with the output shown below it.
#[derive(Debug, PartialEq)]
struct Step {
    line: usize,
    command: String,
    shown: Vec<String>,
}

#[test]
fn the_readme_shows_what_really_happens() {
    common::model("SmolLM2-135M-Instruct.Q4_1.gguf");
    let readme = std::fs::read_to_string(root().join("README.md")).expect("a README");
    let steps = steps(&readme);
    assert!(!steps.is_empty(), "the README has no console block");
    let mut wrong = Vec::new();
    for step in &steps {
        let found = run(&step.command);
        match found {
            Ok(output) if matches(&step.shown, &output) => {}
            Ok(output) => wrong.push(format!("README.md:{}: {}\nprinted\n{output}", step.line, step.command)),
            Err(error) => wrong.push(format!("README.md:{}: {}\n{error}", step.line, step.command)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Standard output of a shell command in the repository's root, `oribi` being the program under test, `$MODEL` a model file, and the shared library
/// the one of this test run.
fn run(command: &str) -> Result<String, String> {
    let folder = Path::new(env!("CARGO_BIN_EXE_oribi")).parent().expect("the program's folder");
    let old = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(folder.to_path_buf()).chain(std::env::split_paths(&old));
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(root())
        .env("PATH", std::env::join_paths(paths).expect("a search path"))
        .env("MODEL", common::model("SmolLM2-135M-Instruct.Q4_1.gguf"))
        .env("ORIBI_LIBRARY", std::env::current_exe().expect("a path").with_file_name("liboribi.so"))
        .stdin(Stdio::null())
        .output()
        .map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr)));
    }
    String::from_utf8(output.stdout).map_err(|e| e.to_string())
}

/// The commands of all `console` blocks, in order.
fn steps(markdown: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for (i, line) in markdown.lines().enumerate() {
        if line.starts_with("```") {
            inside = !inside && line == "```console";
        } else if inside {
            match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step { line: i + 1, command: command.to_string(), shown: Vec::new() }),
                (None, Some(step)) if step.command.ends_with('\\') && step.shown.is_empty() => {
                    step.command = format!("{}{}", step.command.trim_end_matches('\\'), line.trim_start());
                }
                (None, Some(step)) => step.shown.push(line.to_string()),
                (None, None) => panic!("README.md:{}: output before any command", i + 1),
            }
        }
    }
    steps
}

/// Whether the shown lines, with their ellipses, describe the output.
fn matches(shown: &[String], output: &str) -> bool {
    let trimmed = output.trim_end_matches('\n');
    let lines: Vec<&str> = if trimmed.is_empty() { Vec::new() } else { trimmed.split('\n').collect() };
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    lines_match(&shown, &lines)
}

fn lines_match(shown: &[&str], lines: &[&str]) -> bool {
    match shown.split_first() {
        None => lines.is_empty(),
        Some((&"...", rest)) => (0..=lines.len()).any(|n| lines_match(rest, &lines[n..])),
        Some((first, rest)) => {
            lines.first().is_some_and(|line| line_matches(first, line.trim_end())) && lines_match(rest, &lines[1..])
        }
    }
}

fn line_matches(shown: &str, line: &str) -> bool {
    let mut parts = shown.split("..");
    let Some(mut rest) = parts.next().and_then(|first| line.strip_prefix(first)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[test]
fn blocks_are_read_and_ellipses_match() {
    let text = "x\n```sh\n$ no\n```\n```console\n$ a b\nout\n$ c \\\n    d\n```\n";
    let step = |line, command: &str, shown: &[&str]| Step {
        line,
        command: command.to_string(),
        shown: shown.iter().map(|s| s.to_string()).collect(),
    };
    assert_eq!(steps(text), [step(6, "a b", &["out"]), step(8, "c d", &[])]);

    let yes = |shown: &[&str], output: &str| lines_match(shown, &output.lines().collect::<Vec<_>>());
    assert!(yes(&["a", "...", "z"], "a\nb\nc\nz"));
    assert!(yes(&["a", "...", "z"], "a\nz"));
    assert!(!yes(&["a", "...", "z"], "a\nz\ny"));
    assert!(yes(&["load .. ms, .. tokens"], "load 12 ms, 5 tokens"));
    assert!(!yes(&["load .. ms"], "load 12 s"));
    assert!(!yes(&["a"], "ab") && !yes(&["a"], "") && !yes(&[], "a"));
    assert!(!line_matches("ab..ba", "aba"));
}
