//! The library of this test run, installed as `make install` does it.
#![allow(dead_code, reason = "each test binary uses some of the helpers")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

/// The text that programs continue; the model takes any.
pub const PROMPT: &str = "Once upon a time";

/// The folder of a test binary, empty at first.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(env!("CARGO_CRATE_NAME"));
        _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    })
}

/// The prefix: `bin`, `include`, `lib`.
pub fn prefix() -> &'static Path {
    static PREFIX: OnceLock<PathBuf> = OnceLock::new();
    PREFIX.get_or_init(|| {
        let prefix = scratch().join("usr");
        install(&[("PREFIX", &prefix), ("BUILT", &built())]);
        prefix
    })
}

/// `make install` with variables.
pub fn install(variables: &[(&str, &Path)]) {
    let mut make = Command::new("make");
    // Not what a `make test` above was given.
    make.env_remove("MAKEFLAGS").env_remove("MAKEOVERRIDES").env_remove("MAKELEVEL");
    make.current_dir(env!("CARGO_MANIFEST_DIR")).arg("install");
    make.args(variables.iter().map(|(name, value)| format!("{name}={}", value.display())));
    output(&mut make);
}

/// What cargo has built for this test run, in one folder: both libraries, which lie beside the test's binary, and the program.
pub fn built() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let folder = scratch().join("built");
        std::fs::create_dir_all(&folder).unwrap();
        let beside = std::env::current_exe().expect("a path");
        let links = [
            (beside.with_file_name("liboribi.so"), "liboribi.so"),
            (beside.with_file_name("liboribi.a"), "liboribi.a"),
            (PathBuf::from(env!("CARGO_BIN_EXE_oribi")), "oribi"),
        ];
        for (from, to) in links {
            std::os::unix::fs::symlink(&from, folder.join(to)).unwrap();
        }
        folder
    };
    BUILT.get_or_init(make).clone()
}

/// The version of the C library: that of the binary interface, and two numbers more.
pub fn library_version() -> String {
    let manifest = std::fs::read_to_string(repository("Cargo.toml")).unwrap();
    let section = manifest.split("[package.metadata.capi.library]").nth(1).expect("the section of the C library");
    let version = section.lines().find_map(|line| line.strip_prefix("version = ")).expect("its version");
    version.trim_matches('"').to_owned()
}

/// The shared library under its full name.
pub fn shared_library() -> PathBuf {
    std::fs::canonicalize(prefix().join("lib/liboribi.so")).unwrap()
}

/// A tiny model of the installed program.
pub fn model() -> &'static Path {
    static MODEL: OnceLock<PathBuf> = OnceLock::new();
    MODEL.get_or_init(|| {
        let path = scratch().join("tiny.gguf");
        let sizes = ["--layers", "2", "--dim", "128", "--heads", "2", "--ctx", "512", "--type", "Q8_0", "--pure"];
        output(Command::new(prefix().join("bin/oribi")).arg("synth").arg("-o").arg(&path).args(sizes));
        path
    })
}

/// What every consumer prints: the version, and the tokens that the installed program gives.
pub fn expected() -> &'static str {
    static LINE: OnceLock<String> = OnceLock::new();
    LINE.get_or_init(|| {
        let mut run = Command::new(prefix().join("bin/oribi"));
        run.arg("run").arg(model()).args(["-p", PROMPT, "-n", "8", "--temp", "0", "--ignore-eos", "--json"]);
        let json: serde_json::Value = serde_json::from_str(&output(&mut run)).unwrap();
        let tokens: Vec<String> = json["token_ids"].as_array().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(tokens.len(), 8, "{json}");
        format!("oribi {}: {}\n", env!("CARGO_PKG_VERSION"), tokens.join(" "))
    })
}

/// Standard output of a command that succeeds.
pub fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (stdout, stderr) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
    assert!(status.success(), "{command:?}: {status}\n{stdout}\n{stderr}");
    stdout.into_owned()
}

/// A file of the repository.
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The compiler of a language: `CC` or `CXX`, else the system's.
pub fn compiler(variable: &str, otherwise: &str) -> Command {
    Command::new(std::env::var_os(variable).unwrap_or(otherwise.into()))
}
