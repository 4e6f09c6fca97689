//! The committed header is the one that cbindgen makes from src/capi, and it compiles wherever it is meant to.
//!
//! `scripts/header` runs the first test with `ORIBI_WRITE_HEADER=1`, which writes the file instead of comparing it.

#![cfg(all(unix, feature = "capi"))]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The files of src/capi with something to say in the header, in the header's order.
const PARTS: [&str; 23] = [
    "version",
    "status",
    "text",
    "hooks",
    "cancel",
    "options",
    "cpu",
    "file",
    "sources",
    "metadata",
    "tensors",
    "quantize",
    "model",
    "perplexity",
    "tokenizer",
    "decoder",
    "chat",
    "session",
    "state",
    "batch",
    "sampler",
    "piece",
    "generation",
];

/// The files without.
const INTERNAL: [&str; 5] = ["mod", "boundary", "handle", "settings", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Macros that cbindgen cannot make: the versions, from Cargo.toml, and a number that it cannot compute.
fn macros() -> String {
    format!(
        "\n/** The version that a program is compiled against; oribi_version() is the one that runs. */\n\
        #define ORIBI_VERSION \"{}\"\n#define ORIBI_VERSION_MAJOR {}\n#define ORIBI_VERSION_MINOR {}\n\
        #define ORIBI_VERSION_PATCH {}\n\n\
        /**\n \
        * The version of the binary interface. A program runs with a library of the same number, however much older the program\n \
        * is; compare it with oribi_abi_version() where the library is loaded by name.\n \
        */\n#define ORIBI_ABI_VERSION {}\n\n\
        /** A length that stands for \"up to the NUL\": the library measures the text itself. */\n\
        #define ORIBI_TO_NUL SIZE_MAX\n",
        env!("CARGO_PKG_VERSION"),
        env!("CARGO_PKG_VERSION_MAJOR"),
        env!("CARGO_PKG_VERSION_MINOR"),
        env!("CARGO_PKG_VERSION_PATCH"),
        env!("ORIBI_ABI_VERSION"),
    )
}

fn generated() -> String {
    let mut config = cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml");
    config.after_includes = Some(macros());
    let sources = PARTS.map(|part| root().join(format!("src/capi/{part}.rs")));
    let builder =
        sources.iter().fold(cbindgen::Builder::new().with_config(config), |builder, source| builder.with_src(source));
    let mut header = Vec::new();
    builder.generate().expect("a header").write(&mut header);
    String::from_utf8(header).expect("UTF-8")
}

#[test]
fn the_committed_header_is_that_of_the_sources() {
    let path = root().join("include/oribi.h");
    let fresh = generated();
    if std::env::var_os("ORIBI_WRITE_HEADER").is_some_and(|value| value == "1") {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, fresh).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).expect("include/oribi.h");
    assert!(committed == fresh, "include/oribi.h is stale: run scripts/header");
}

#[test]
fn every_file_of_the_interface_has_its_place() {
    let mut found: Vec<String> = std::fs::read_dir(root().join("src/capi"))
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut known: Vec<&str> = PARTS.into_iter().chain(INTERNAL).collect();
    found.sort();
    known.sort();
    assert_eq!(found, known);
}

/// As C99 and C11, and as C++11 and C++17, by every compiler that is there; alone, and included twice.
#[test]
fn the_header_compiles_without_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let source = |name: &str| -> PathBuf {
        let path = folder.path().join(name);
        let text = "#include <oribi.h>\n#include <oribi.h>\n\
            int main(void) { return oribi_abi_version() != ORIBI_ABI_VERSION || ORIBI_STATUS_OK != 0; }\n";
        std::fs::write(&path, text).unwrap();
        path
    };
    let (c, cpp) = (source("a.c"), source("a.cpp"));
    let mut n_compiled = 0;
    for (compiler, file, standards) in [
        ("gcc", &c, ["-std=c99", "-std=c11"]),
        ("clang", &c, ["-std=c99", "-std=c11"]),
        ("g++", &cpp, ["-std=c++11", "-std=c++17"]),
        ("clang++", &cpp, ["-std=c++11", "-std=c++17"]),
    ] {
        if Command::new(compiler).arg("--version").output().is_err() {
            eprintln!("NOT CHECKED: {compiler} is not installed");
            continue;
        }
        for standard in standards {
            let made = Command::new(compiler)
                .args([standard, "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-fsyntax-only", "-I"])
                .arg(root().join("include"))
                .arg(file)
                .output()
                .unwrap();
            assert!(made.status.success(), "{compiler} {standard}: {}", String::from_utf8_lossy(&made.stderr));
            n_compiled += 1;
        }
    }
    assert!(n_compiled >= 4, "no compiler for C and C++ was found");
}
