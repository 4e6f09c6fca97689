//! Compiles the C kernels: one static archive per instruction set, always optimised, whatever the cargo profile.
//!
//! A file's name says its instruction set: `x86_*.c` and `arm_*.c` need the one of their prefix in `kernels/isa.list`, all others
//! are portable.
//! The kernel table (`kernels/kernels.inc`) learns from ORIBI_BUILD_* which archives exist; the choice among them is made at
//! run time. Set `ORIBI_KERNELS_LINT=1` to turn warnings on and into errors.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// A row of `kernels/isa.list`.
struct IsaGroup {
    file_prefix: String,
    define: String,
    flags: Vec<String>,
}

/// The instruction sets of the target's architecture that the compiler knows.
fn isa_groups(tool: &cc::Tool) -> Vec<IsaGroup> {
    // Microsoft's own compiler has neither these flags nor GNU vectors: it gets the portable kernels only.
    if tool.is_like_msvc() && !tool.is_like_clang_cl() {
        return Vec::new();
    }
    let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let list = fs::read_to_string("kernels/isa.list").expect("kernels/isa.list");
    let rows =
        list.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = rows.filter(|row| row.len() >= 3 && row[1] == arch).map(|row| IsaGroup {
        file_prefix: row[0].to_owned(),
        define: row[2].to_owned(),
        flags: row[3..].iter().map(|&flag| flag.to_owned()).collect(),
    });
    ours.filter(|group| {
        let probe = cc::Build::new();
        let known = group.flags.iter().all(|flag| probe.is_flag_supported(flag).unwrap_or(false));
        if !known {
            println!("cargo:warning=the C compiler does not know {}: its kernels are left out", group.file_prefix);
        }
        known
    })
    .collect()
}

fn main() {
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-env-changed=ORIBI_KERNELS_LINT");
    println!("cargo:rerun-if-changed=Cargo.toml");
    shared_library(&abi_version());
    let sources = c_files(Path::new("kernels"));
    let tool = cc::Build::new().get_compiler();
    let groups = isa_groups(&tool);

    let mut portable = new_build(&tool);
    portable.files(sources.iter().filter(|file| is_portable(file)));
    for group in &groups {
        portable.define(&group.define, None);
    }
    portable.compile("oribi_kernels_portable");
    if env::var_os("CARGO_FEATURE_CUDA_EMULATED").is_some() {
        emulated_cuda();
    }
    for group in &groups {
        let mut build = new_build(&tool);
        build.files(sources.iter().filter(|file| file_name(file).starts_with(&group.file_prefix)));
        if build.get_files().next().is_none() {
            continue;
        }
        group.flags.iter().for_each(|flag| _ = build.flag(flag));
        build.compile(&format!("oribi_kernels_{}", group.file_prefix));
    }
}

/// The CUDA kernels as C++, for the CPU: tests run them without a GPU.
fn emulated_cuda() {
    let folder = Path::new("kernels/cuda/host");
    let entries = fs::read_dir(folder).expect("kernels/cuda/host").map(|entry| entry.expect("a readable entry").path());
    let mut sources: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|e| e == "cpp")).collect();
    sources.sort();
    let mut build = cc::Build::new();
    build.cpp(true).std("c++20").opt_level(2).flag("-ffp-contract=off").define("ORIBI_CUDA_EMULATED", None);
    build.warnings(false).debug(false).files(sources);
    build.compile("oribi_cuda_emulated");
}

/// The version of the binary interface: the first number of the C library's version in Cargo.toml.
fn abi_version() -> String {
    let manifest = fs::read_to_string("Cargo.toml").expect("Cargo.toml");
    let section = manifest.split("[package.metadata.capi.library]").nth(1).expect("the section of the C library");
    let version = section.lines().find_map(|line| line.strip_prefix("version = \"")).expect("its version");
    version.split('.').next().unwrap_or_default().to_owned()
}

/// What the crate and the shared library learn of the version. cargo-c gives the same name to the library that it builds.
fn shared_library(abi_version: &str) {
    println!("cargo:rustc-env=ORIBI_ABI_VERSION={abi_version}");
    // Where libraries are ELF files, as cargo-c has it.
    let os = env::var("CARGO_CFG_TARGET_OS").unwrap_or_default();
    if ["linux", "freebsd", "netbsd", "openbsd", "dragonfly", "illumos"].contains(&os.as_str()) {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-soname,liboribi.so.{abi_version}");
        // A function of the library that calls another gets that of its own copy, whoever else has one in the process.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-Bsymbolic");
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
        // Hidden: a library that links these kernels must not give them to another copy of them in the same process.
        build.flag("-ffp-contract=off").flag("-std=c11").flag("-fvisibility=hidden");
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

fn is_portable(path: &Path) -> bool {
    !["x86_", "arm_"].iter().any(|prefix| file_name(path).starts_with(prefix))
}

fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
