//! The C test suite of tests/capi, compiled against the static library and run on tiny models and the real one.

#![cfg(all(unix, feature = "capi"))]

#[path = "common/c_program.rs"]
mod c_program;
#[path = "common/capi_files.rs"]
mod capi_files;
mod common;
#[path = "common/tiny.rs"]
mod tiny;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use oribi::backend::cpu::kernels::Isa;

/// The compiled suite and its fixture.
struct Suite {
    folder: tempfile::TempDir,
}

impl Suite {
    fn get() -> &'static Suite {
        static SUITE: OnceLock<Suite> = OnceLock::new();
        SUITE.get_or_init(|| {
            let folder = tempfile::tempdir().unwrap();
            capi_files::make(folder.path());
            c_program::build(&sources(), &[], &folder.path().join("capi"));
            Suite { folder }
        })
    }

    fn command(&self, real: &Path, suites: &[&str]) -> Command {
        let mut command = Command::new(self.folder.path().join("capi"));
        command.arg(self.folder.path()).arg(real).args(suites);
        command
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The C files of the suite, sorted.
fn sources() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join("tests/capi")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "c"));
    files.sort();
    files
}

/// Runs one suite, which may say what it measured; nothing may come out on standard error, and on standard output nothing but
/// the suite's own lines, so that the library is seen to be silent.
fn run(suites: &[&str], real: &Path) {
    let Output { status, stdout, stderr } = Suite::get().command(real, suites).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    println!("{stdout}");
    assert!(status.success(), "{status}\n{stdout}\n{stderr}");
    assert_eq!(stderr, "", "the library wrote to standard error");
    let own = |line: &str| {
        ["ok ", "measured: ", &format!("{} suites, 0 failures", suites.len())].iter().any(|s| line.starts_with(s))
    };
    assert!(stdout.lines().all(own), "somebody else wrote to standard output:\n{stdout}");
}

/// One test for each suite of harness.c.
macro_rules! suites {
    ($($name:ident)*) => { $(
        #[test]
        fn $name() {
            run(&[stringify!($name)], Path::new("-"));
        }
    )*
        const SUITES: &[&str] = &[$(stringify!($name)),*];
    };
}

suites! {
    batch cancel chat cpu decoder file generation memory metadata model options order perplexity quantize sampler session state
    status tensors text threads tokenizer
}

/// The suites that say more on a real model.
#[test]
fn cancel_and_threads_on_the_real_model() {
    run(&["cancel", "threads"], &common::model("SmolLM2-135M-Instruct.Q4_1.gguf"));
}

/// Every function of the header is called by some C test.
#[test]
fn every_function_is_tested() {
    let header = std::fs::read_to_string(root().join("include/oribi.h")).unwrap();
    let functions = functions_of(&header);
    assert!(functions.len() > 100, "only {} functions were found", functions.len());
    let tests: String = sources().iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    let untested: Vec<_> = functions.iter().filter(|name| !tests.contains(&format!("{name}("))).collect();
    assert!(untested.is_empty(), "not called in tests/capi: {untested:?}");
}

/// Names of the functions that a header declares: words before a parenthesis, outside of comments.
fn functions_of(header: &str) -> Vec<String> {
    let mut text = String::new();
    for part in header.split("/*") {
        text += part.split_once("*/").map_or(part, |(_, rest)| rest);
    }
    let before = text.split('(').filter_map(|part| part.rsplit(|c: char| !c.is_alphanumeric() && c != '_').next());
    let mut names: Vec<String> = before.filter(|name| name.starts_with("oribi_")).map(str::to_owned).collect();
    names.sort();
    names.dedup();
    names
}

/// The fixture is sound: the tiny model of it opens. With `ORIBI_CAPI_FIXTURE` its files are left in that folder, for scripts that
/// run the suite elsewhere.
#[test]
fn the_fixture_is_made() {
    if let Some(folder) = std::env::var_os("ORIBI_CAPI_FIXTURE") {
        capi_files::make(Path::new(&folder));
    }
    let tiny = Suite::get().folder.path().join("tiny.gguf");
    assert_eq!(oribi::gguf::Gguf::open(&tiny).unwrap().tensors().len(), 20);
}

#[test]
fn every_suite_has_its_test() {
    let mut files: Vec<String> =
        sources().iter().map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    files.retain(|name| name != "harness");
    assert_eq!(files, SUITES);
}

/// Address and undefined-behaviour sanitizers watch the C side: every buffer that it lends and is lent, every free, every leak.
#[test]
#[cfg(target_os = "linux")]
fn clean_under_asan_and_ubsan() {
    let program = Suite::get().folder.path().join("sanitized");
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];
    c_program::build(&sources(), &flags, &program);
    let mut command = Command::new(program);
    command.args([Suite::get().folder.path(), Path::new("-")]);
    command.env("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1:detect_stack_use_after_return=1");
    finds_nothing(command);
}

/// Valgrind watches the library, too: no invalid access, no use of what was never written, no leak. It knows AVX2 and nothing
/// above it, and time under it means nothing.
#[test]
#[cfg(target_os = "linux")]
fn clean_under_memcheck() {
    if !common::test_all() {
        eprintln!("NOT CHECKED: memcheck takes minutes; ORIBI_TEST_ALL=1 asks for it");
        return;
    }
    let suite = Suite::get().command(Path::new("-"), &[]);
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=definite,indirect"]);
    command.args(["--show-leak-kinds=definite,indirect", "--fair-sched=yes"]);
    command.arg(suite.get_program()).args(suite.get_args());
    command.env("ORIBI_CAPI_UNTIMED", "1");
    let isa = if Isa::Avx2.is_available() { "avx2" } else { "scalar" };
    command.env("ORIBI_ISA", isa);
    finds_nothing(command);
}

/// A run of all suites that ends well and says nothing on standard error.
fn finds_nothing(mut command: Command) {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success() && stderr.is_empty(), "{status}\n{stdout}\n{stderr}");
    assert!(stdout.contains(&format!("{} suites, 0 failures", SUITES.len())), "{stdout}");
}

/// The guide's program is compiled as it stands there and continues a prompt.
#[test]
fn the_guides_program_runs() {
    let guide = std::fs::read_to_string(root().join("docs/embedding.md")).unwrap();
    let (_, rest) = guide.split_once("```c\n").expect("a program");
    let (program, _) = rest.split_once("```").expect("its end");
    let n_lines = program.lines().count();
    assert!(n_lines <= 30, "the first program has grown to {n_lines} lines");
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("program.c");
    std::fs::write(&source, program).unwrap();
    c_program::build(&[source], &[], &folder.path().join("program"));
    let mut command = Command::new(folder.path().join("program"));
    command.arg(common::model("SmolLM2-135M-Instruct.Q4_1.gguf")).arg("The capital of France is");
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert!(String::from_utf8_lossy(&stdout).starts_with(" Paris."), "{}", String::from_utf8_lossy(&stdout));
}
