//! `make install`: what lies where, and programs that find it by pkg-config, by CMake and by name, in C, C++ and Python, with the
//! shared and with the static library. The sources of the programs are in tests/consumers.

#![cfg(all(target_os = "linux", feature = "capi", feature = "cli"))]

mod common;
#[path = "common/installed.rs"]
mod installed;

use std::path::{Path, PathBuf};
use std::process::Command;

use installed::{PROMPT, compiler, expected, install, model, output, prefix, repository, scratch};

const ABI: &str = env!("ORIBI_ABI_VERSION");

/// pkg-config's flags for the installed library.
fn pkg_config(args: &[&str]) -> Vec<String> {
    let mut command = Command::new("pkg-config");
    command.env("PKG_CONFIG_LIBDIR", prefix().join("lib/pkgconfig")).args(args).arg("oribi");
    output(&mut command).split_whitespace().map(str::to_owned).collect()
}

/// Compiles a program of tests/consumers with flags behind it.
fn compile(source: &str, flags: &[String], name: &str) -> PathBuf {
    let program = scratch().join(name);
    let mut command = if source.ends_with(".cpp") { compiler("CXX", "c++") } else { compiler("CC", "cc") };
    command.arg(if source.ends_with(".cpp") { "-std=c++17" } else { "-std=c99" });
    command.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-o"]).arg(&program);
    output(command.arg(repository("tests/consumers").join(source)).args(flags));
    program
}

/// The libraries that a program names.
fn needed(program: &Path) -> Vec<String> {
    let text = output(Command::new("readelf").args(["--wide", "--dynamic"]).arg(program));
    let names = text.lines().filter(|line| line.contains("(NEEDED)"));
    names.map(|line| line.split(['[', ']']).nth(1).unwrap().to_owned()).collect()
}

/// Runs a program, and checks that it is linked as it should be.
fn check(program: &Path, shared: bool) {
    let ours = format!("liboribi.so.{ABI}");
    assert_eq!(needed(program).contains(&ours), shared, "{}: {:?}", program.display(), needed(program));
    let mut run = Command::new(program);
    if shared {
        run.env("LD_LIBRARY_PATH", prefix().join("lib"));
    }
    assert_eq!(output(run.arg(model()).arg(PROMPT)), expected(), "{}", program.display());
}

/// Every file and link below a folder, sorted, links with what they point to.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.strip_prefix(folder).unwrap().display().to_string();
            match std::fs::read_link(&path) {
                Ok(target) => found.push(format!("{name} -> {}", target.display())),
                Err(_) if path.is_dir() => folders.push(path),
                Err(_) => found.push(name),
            }
        }
    }
    found.sort();
    found
}

fn layout(libdir: &str) -> Vec<String> {
    let shared = format!("liboribi.so.{}", installed::library_version());
    let mut files = vec![
        "bin/oribi".to_owned(),
        "include/oribi.h".to_owned(),
        "include/oribi.hpp".to_owned(),
        format!("{libdir}/cmake/oribi/oribi-config-version.cmake"),
        format!("{libdir}/cmake/oribi/oribi-config.cmake"),
        format!("{libdir}/liboribi.a"),
        format!("{libdir}/liboribi.so -> {shared}"),
        format!("{libdir}/liboribi.so.{ABI} -> {shared}"),
        format!("{libdir}/{shared}"),
        format!("{libdir}/pkgconfig/oribi.pc"),
    ];
    files.sort();
    files
}

#[test]
fn everything_is_in_its_place() {
    assert_eq!(tree(prefix()), layout("lib"));
    let header = std::fs::read(prefix().join("include/oribi.h")).unwrap();
    assert!(header == std::fs::read(repository("include/oribi.h")).unwrap());
    let dynamic = output(Command::new("readelf").arg("--dynamic").arg(installed::shared_library()));
    assert!(dynamic.contains(&format!("Library soname: [liboribi.so.{ABI}]")), "{dynamic}");
    assert_eq!(
        output(Command::new(prefix().join("bin/oribi")).arg("--version")),
        concat!("oribi ", env!("CARGO_PKG_VERSION"), "\n")
    );
}

#[test]
fn a_packager_installs_below_another_root() {
    let root = scratch().join("root");
    let variables = [
        ("DESTDIR", root.as_path()),
        ("PREFIX", Path::new("/opt/oribi")),
        ("LIBDIR", Path::new("/opt/oribi/lib/of-this-machine")),
        ("BUILT", &installed::built()),
    ];
    install(&variables);
    assert_eq!(tree(&root.join("opt/oribi")), layout("lib/of-this-machine"));
    // What is written names the places after the packager's root is gone.
    for file in ["pkgconfig/oribi.pc", "cmake/oribi/oribi-config.cmake", "cmake/oribi/oribi-config-version.cmake"] {
        let text = std::fs::read_to_string(root.join("opt/oribi/lib/of-this-machine").join(file)).unwrap();
        assert!(!text.contains('@') && !text.contains(root.to_str().unwrap()), "{file}: {text}");
    }
    let pc = std::fs::read_to_string(root.join("opt/oribi/lib/of-this-machine/pkgconfig/oribi.pc")).unwrap();
    for line in ["prefix=/opt/oribi", "libdir=/opt/oribi/lib/of-this-machine", "includedir=/opt/oribi/include"] {
        assert!(pc.lines().any(|l| l == line), "{pc}");
    }
}

#[test]
fn a_relative_prefix_is_refused() {
    let mut script = Command::new(repository("scripts/install"));
    let refused = script.args(["--prefix", "somewhere", "--built"]).arg(installed::built()).output().unwrap();
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("somewhere is not an absolute path"));
}

#[test]
fn pkg_config_links_the_shared_library() {
    let flags = pkg_config(&["--cflags", "--libs"]);
    check(&compile("main.c", &flags, "pc-c-shared"), true);
    check(&compile("main.cpp", &flags, "pc-cpp-shared"), true);
    assert_eq!(pkg_config(&["--modversion"]), [env!("CARGO_PKG_VERSION")]);
}

/// Where both libraries are there, a linker prefers the shared one; the archive is asked for by its name (docs/embedding.md).
#[test]
fn pkg_config_links_the_static_library() {
    let mut flags = pkg_config(&["--static", "--cflags", "--libs"]);
    for flag in flags.iter_mut().filter(|flag| *flag == "-loribi") {
        *flag = "-l:liboribi.a".to_owned();
    }
    check(&compile("main.c", &flags, "pc-c-static"), false);
    check(&compile("main.cpp", &flags, "pc-cpp-static"), false);
}

#[test]
fn cmake_links_both_libraries() {
    let build = scratch().join("cmake");
    let mut configure = Command::new("cmake");
    configure.arg("-S").arg(repository("tests/consumers")).arg("-B").arg(&build);
    configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display()));
    output(configure.arg(concat!("-DORIBI_WANTED=", env!("CARGO_PKG_VERSION"))));
    output(Command::new("cmake").arg("--build").arg(&build));
    for (name, shared) in [("c-shared", true), ("cpp-shared", true), ("c-static", false), ("cpp-static", false)] {
        check(&build.join(name), shared);
    }
}

#[test]
fn cmake_refuses_versions_that_are_not_there() {
    for wanted in ["0.999", "1.0"] {
        let mut configure = Command::new("cmake");
        configure.arg("-S").arg(repository("tests/consumers")).arg("-B").arg(scratch().join(format!("cmake-{wanted}")));
        configure.arg(format!("-DCMAKE_PREFIX_PATH={}", prefix().display())).arg(format!("-DORIBI_WANTED={wanted}"));
        let refused = configure.output().unwrap();
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(
            !refused.status.success() && text.contains(&format!("requested version \"{wanted}\"")),
            "{wanted}: {text}"
        );
    }
}

#[test]
fn python_loads_the_library_by_name() {
    let mut python = Command::new("python3");
    python.arg(repository("tests/consumers/main.py")).arg(format!("liboribi.so.{ABI}")).arg(model()).arg(PROMPT);
    assert_eq!(output(python.env("LD_LIBRARY_PATH", prefix().join("lib"))), expected());
}

/// cargo-c and cargo alone make the same: the files, and what pkg-config and CMake read in them. Builds the library twice for
/// release.
#[test]
fn cargo_c_installs_the_same() {
    if !common::test_all() {
        eprintln!("NOT CHECKED: the installation by cargo-c; make test-all does");
        return;
    }
    output(Command::new("cargo").args(["cinstall", "--version"]));
    let by_cargo_c = scratch().join("by-cargo-c");
    install(&[("PREFIX", &by_cargo_c)]);
    assert_eq!(tree(&by_cargo_c), tree(prefix()));
    let text = |prefix: &Path, file: &str| {
        let text = std::fs::read_to_string(prefix.join(file)).unwrap();
        text.replace(prefix.to_str().unwrap(), "PREFIX")
    };
    for file in ["lib/cmake/oribi/oribi-config.cmake", "lib/cmake/oribi/oribi-config-version.cmake", "include/oribi.h"]
    {
        assert_eq!(text(&by_cargo_c, file), text(prefix(), file), "{file}");
    }
    for args in [["--cflags"].as_slice(), &["--libs"], &["--static", "--libs"], &["--modversion"]] {
        let of = |prefix: &Path| {
            let mut command = Command::new("pkg-config");
            command.env("PKG_CONFIG_LIBDIR", prefix.join("lib/pkgconfig")).args(args).arg("oribi");
            output(&mut command).replace(prefix.to_str().unwrap(), "PREFIX")
        };
        assert_eq!(of(&by_cargo_c), of(prefix()), "{args:?}");
    }
    let dynamic = output(Command::new("readelf").arg("--dynamic").arg(by_cargo_c.join("lib/liboribi.so")));
    assert!(dynamic.contains(&format!("Library soname: [liboribi.so.{ABI}]")), "{dynamic}");
    let mut python = Command::new("python3");
    python.arg(repository("tests/consumers/main.py")).arg(by_cargo_c.join("lib/liboribi.so"));
    assert_eq!(output(python.arg(model()).arg(PROMPT)), expected());
}
