//! Compiling and linking C against the library as `cargo` has just built it.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// System libraries behind the static one (`rustc --print native-static-libs`).
#[cfg(target_os = "linux")]
const SYSTEM_LIBRARIES: &[&str] = &["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"];
#[cfg(not(target_os = "linux"))]
const SYSTEM_LIBRARIES: &[&str] = &["-lpthread", "-lm"];

/// The static library of this test run: it lies beside the test's binary.
pub fn static_library() -> PathBuf {
    let library = std::env::current_exe().expect("a path").parent().expect("a folder").join("liboribi.a");
    assert!(library.is_file(), "{} is absent", library.display());
    library
}

/// Compiles C files with all warnings as errors and links them with the static library.
pub fn build(sources: &[PathBuf], flags: &[&str], program: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or("cc".into()));
    compiler.args(["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"]);
    compiler.args(flags).arg("-I").arg(root.join("include")).args(sources).arg(static_library());
    let made = compiler.args(SYSTEM_LIBRARIES).arg("-o").arg(program).output().expect("a C compiler");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
