//! Compiles the C kernels: one static archive per instruction set, always optimised, whatever the cargo profile.
//!
//! A file's name says its instruction set: `ref*.c` and `table.c` are portable, `x86_avx2*.c` and `x86_avx512*.c` need theirs.
//! The kernel table (`kernels/kernels.inc`) learns from ORIBI_BUILD_* which archives exist; the choice among them is made at
//! run time. Set `ORIBI_KERNELS_LINT=1` to turn warnings on and into errors.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// An instruction set: its archive, the prefix of its files, the compiler's flags, the table's define.
struct IsaGroup {
    archive: &'static str,
    file_prefix: &'static str,
    flags: &'static [&'static str],
    define: &'static str,
}

const X86_GROUPS: &[IsaGroup] = &[
    IsaGroup {
        archive: "oribi_kernels_avx2",
        file_prefix: "x86_avx2",
        flags: &["-mavx2", "-mfma", "-mf16c"],
        define: "ORIBI_BUILD_AVX2",
    },
    IsaGroup {
        archive: "oribi_kernels_avx512",
        file_prefix: "x86_avx512",
        flags: &["-mavx2", "-mfma", "-mf16c", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"],
        define: "ORIBI_BUILD_AVX512",
    },
];

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=ORIBI_KERNELS_LINT");
    let sources = c_files(Path::new("kernels"));
    // Microsoft's own compiler has neither these flags nor GNU vectors: it gets the portable kernels only.
    let tool = cc::Build::new().get_compiler();
    let knows_flags = !tool.is_like_msvc() || tool.is_like_clang_cl();
    let is_x86_64 = env::var("CARGO_CFG_TARGET_ARCH").as_deref() == Ok("x86_64");
    let groups = if is_x86_64 && knows_flags { X86_GROUPS } else { &[] };

    let mut portable = new_build(&tool);
    portable.files(sources.iter().filter(|file| !file_name(file).starts_with("x86_")));
    for group in groups {
        portable.define(group.define, None);
    }
    portable.compile("oribi_kernels_portable");
    for group in groups {
        let mut build = new_build(&tool);
        build.files(sources.iter().filter(|file| file_name(file).starts_with(group.file_prefix)));
        if build.get_files().next().is_none() {
            continue;
        }
        group.flags.iter().for_each(|flag| _ = build.flag(flag));
        build.compile(group.archive);
    }
}

/// The flags that every kernel shares. Contraction would fuse roundings that the definition keeps apart.
fn new_build(tool: &cc::Tool) -> cc::Build {
    let mut build = cc::Build::new();
    // Debug information of the specialised bodies would double the time to compile them.
    build.opt_level(3).warnings(false).debug(false);
    if tool.is_like_clang_cl() {
        build.flag("/clang:-ffp-contract=off").flag("/clang:-std=c11");
    } else if tool.is_like_msvc() {
        build.flag("/std:c11").flag("/fp:precise");
    } else {
        build.flag("-ffp-contract=off").flag("-std=c11");
    }
    if env::var_os("ORIBI_KERNELS_LINT").is_some_and(|value| value != "0") {
        build.warnings(true).extra_warnings(true).warnings_into_errors(true);
    }
    build
}

/// Every C file below a folder, in a stable order.
fn c_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("cannot list {}: {e}", folder.display()));
        for path in entries.map(|entry| entry.expect("a readable folder entry").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "c") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
