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

/// The shared library of this test run, which lies there, too: a link in `folder` with the name that programs look for.
#[cfg(target_os = "linux")]
pub fn shared_library(folder: &Path) -> PathBuf {
    let library = folder.join(concat!("liboribi.so.", env!("ORIBI_ABI_VERSION")));
    if !library.exists() {
        let built = static_library().with_file_name("liboribi.so");
        assert!(built.is_file(), "{} is absent", built.display());
        std::os::unix::fs::symlink(built, &library).expect("a link");
    }
    library
}

/// A language that programs are written in, and who compiles it unless the environment variable says otherwise.
pub struct Dialect {
    pub variable: &'static str,
    pub compiler: &'static str,
    pub flags: &'static [&'static str],
}

/// C with what the system offers beside it.
pub const C11: Dialect = Dialect { variable: "CC", compiler: "cc", flags: &["-std=c11", "-D_GNU_SOURCE"] };
/// C and nothing else.
pub const C99: Dialect = Dialect { variable: "CC", compiler: "cc", flags: &["-std=c99"] };
/// C++.
pub const CPP17: Dialect = Dialect { variable: "CXX", compiler: "c++", flags: &["-std=c++17"] };

/// Compiles C11 files and links them with the static library.
pub fn build(sources: &[PathBuf], flags: &[&str], program: &Path) {
    build_as(&C11, &static_library(), sources, flags, program);
}

/// Compiles files with all warnings as errors and links them with the static or the shared library.
pub fn build_as(dialect: &Dialect, library: &Path, sources: &[PathBuf], flags: &[&str], program: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = std::env::var_os(dialect.variable).unwrap_or(dialect.compiler.into());
    let mut compiler = Command::new(&name);
    compiler.args(dialect.flags).args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g", "-O1"]);
    compiler.args(flags).arg("-I").arg(root.join("include")).args(sources).arg(library);
    if library.extension().is_some_and(|extension| extension == "a") {
        compiler.args(SYSTEM_LIBRARIES);
    } else {
        compiler.arg(format!("-Wl,-rpath,{}", library.parent().expect("a folder").display()));
    }
    let made = compiler.arg("-o").arg(program).output().unwrap_or_else(|e| panic!("{}: {e}", name.display()));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}
