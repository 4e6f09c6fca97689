//! The binary interface holds: the symbols of the shared library, its types against the recorded ones (abidiff), programs that were
//! compiled earlier, and other libraries in the same process. `make abi-baseline` writes what is compared here.

#![cfg(all(target_os = "linux", feature = "capi", feature = "cli"))]

#[path = "common/c_header.rs"]
mod c_header;
mod common;
#[path = "common/installed.rs"]
mod installed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use c_header::{build_stand_in, exported, functions, names};
use installed::{PROMPT, compiler, expected, model, output, prefix, repository, scratch, shared_library};

const ABI: &str = env!("ORIBI_ABI_VERSION");

/// The version of the headers and programs that are being frozen: MAJOR.MINOR of the crate.
const SERIES: &str = concat!(env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn header() -> String {
    read(repository("include/oribi.h"))
}

/// What is in one set only, as an error.
fn same(left: &str, a: &BTreeSet<String>, right: &str, b: &BTreeSet<String>) -> Result<(), String> {
    let only = |name: &str, a: &BTreeSet<String>, b: &BTreeSet<String>| -> String {
        a.difference(b).map(|symbol| format!("only in {name}: {symbol}\n")).collect()
    };
    let text = only(left, a, b) + &only(right, b, a);
    if text.is_empty() { Ok(()) } else { Err(text) }
}

fn recorded_symbols() -> BTreeSet<String> {
    read(repository("tests/abi/oribi.symbols")).lines().map(str::to_owned).collect()
}

/// What abidiff finds that an older program would notice: not what was added. `None` for nothing.
fn broken(old: &Path, new: &Path) -> Option<String> {
    let done = Command::new("abidiff").args(["--no-added-syms", "--no-architecture"]).args([old, new]).output();
    let done = done.unwrap_or_else(|e| panic!("abidiff: {e}; scripts/setup --tests installs it"));
    let text = String::from_utf8_lossy(&done.stdout).into_owned() + &String::from_utf8_lossy(&done.stderr);
    // Bits 1 and 2 of the exit status are errors of abidiff itself, the next two are findings.
    let status = done.status.code().expect("an exit status");
    assert_eq!(status & 3, 0, "abidiff: {text}");
    (status != 0).then_some(text)
}

fn baseline() -> PathBuf {
    repository("tests/abi/oribi.abi")
}

/// The interface of a library with debug information, without the names of places and machines.
fn write_abi(library: &Path, to: &Path) {
    let quiet = ["--no-architecture", "--no-corpus-path", "--no-show-locs", "--no-comp-dir-path", "--no-elf-needed"];
    output(Command::new("abidw").args(quiet).arg("--out-file").arg(to).arg(library));
}

/// A changed header as a stand-in library.
fn changed(name: &str, from: &str, to: &str) -> PathBuf {
    let text = header();
    assert!(text.contains(from), "the header has no {from:?}");
    build_stand_in("cc", &text.replace(from, to), "", ABI, &scratch().join(name))
}

/// Whether a recorded interface may be replaced by one that breaks it: before its series is released, or with a new number.
fn may_replace(changelog: &str, series: &str, recorded: &str, soname: &str) -> bool {
    let released = changelog.contains(&format!("## [{series}"));
    !released || !recorded.contains(&format!("soname='{soname}'"))
}

#[test]
fn the_committed_interface_is_kept() {
    let text = header();
    let now = build_stand_in("cc", &text, "", ABI, &scratch().join("now"));
    if std::env::var_os("ORIBI_WRITE_ABI").is_none_or(|value| value != "1") {
        if let Some(findings) = broken(&baseline(), &now) {
            panic!("programs that were compiled earlier would not run:\n{findings}");
        }
        same("tests/abi/oribi.symbols", &recorded_symbols(), "include/oribi.h", &names(&text))
            .unwrap_or_else(|difference| panic!("make abi-baseline after adding functions:\n{difference}"));
        return;
    }
    let changelog = read(repository("CHANGELOG.md"));
    if baseline().exists() && broken(&baseline(), &now).is_some() {
        let recorded = read(baseline());
        assert!(
            may_replace(&changelog, SERIES, &recorded, &format!("liboribi.so.{ABI}")),
            "the interface of a release is broken: raise package.metadata.capi.library.version in Cargo.toml"
        );
    }
    write_abi(&now, &baseline());
    let symbols: String = names(&text).into_iter().map(|name| name + "\n").collect();
    std::fs::write(repository("tests/abi/oribi.symbols"), symbols).unwrap();
    // The header of a series is frozen when its first version is released.
    if !changelog.contains(&format!("## [{SERIES}")) {
        std::fs::write(repository("tests/abi").join(SERIES).join("oribi.h"), text).unwrap();
    }
}

#[test]
fn a_released_interface_is_not_replaced_by_a_broken_one() {
    let (unreleased, released) = ("## [Unreleased]\n", "## [Unreleased]\n## [0.1.0] - 2027-01-01\n");
    let recorded = "<abi-corpus version='2.1' soname='liboribi.so.1'>";
    assert!(may_replace(unreleased, "0.1", recorded, "liboribi.so.1"));
    assert!(!may_replace(released, "0.1", recorded, "liboribi.so.1"));
    assert!(may_replace(released, "0.1", recorded, "liboribi.so.2"));
}

#[test]
fn the_shared_library_exports_the_functions_of_the_header_and_nothing_else() {
    let found = exported(&shared_library());
    assert!(found.len() > 100, "{found:?}");
    same("tests/abi/oribi.symbols", &recorded_symbols(), "liboribi.so", &found)
        .unwrap_or_else(|text| panic!("\n{text}"));
}

/// The test of the test above: a name too many and a name too few are found, whatever they are.
#[test]
fn a_symbol_that_is_not_declared_is_noticed() {
    let more = "int oribi_stray(void) { return 0; }\nint helper;\n";
    let library = build_stand_in("cc", &header(), more, ABI, &scratch().join("stray"));
    let mut expected = recorded_symbols();
    expected.extend(exported(&library).into_iter().filter(|name| name.starts_with("values_of_")));
    expected.insert("oribi_missing".to_owned());
    let found = same("list", &expected, "library", &exported(&library)).unwrap_err();
    assert_eq!(found, "only in list: oribi_missing\nonly in library: helper\nonly in library: oribi_stray\n");
}

/// The comparison does not depend on who compiled the stand-in.
#[test]
fn compilers_agree_on_the_interface() {
    for name in ["gcc", "clang"] {
        if Command::new(name).arg("--version").output().is_err() {
            eprintln!("NOT CHECKED: {name} is not installed");
            continue;
        }
        let library = build_stand_in(name, &header(), "", ABI, &scratch().join(format!("by-{name}")));
        assert_eq!(broken(&baseline(), &library), None, "{name}");
    }
}

/// The test of the test: what breaks programs is found.
#[test]
fn a_broken_interface_is_noticed() {
    let version = "const char *oribi_version(void);";
    let cases = [
        ("a function less", version, ""),
        ("a wider result", "uint32_t oribi_abi_version(void);", "uint64_t oribi_abi_version(void);"),
        ("another parameter", version, "const char *oribi_version(int detail);"),
        ("another number", "ORIBI_STATUS_CANCELLED = 600", "ORIBI_STATUS_CANCELLED = 601"),
        ("a value less", "    ORIBI_ROLE_TOKEN_FIM_SEP = 13,\n", ""),
        (
            "another callback",
            "typedef bool (*oribi_cancel_fn)(void *userdata);",
            "typedef int64_t (*oribi_cancel_fn)(void);",
        ),
        ("another limit", "#define ORIBI_MAX_DIMS 4", "#define ORIBI_MAX_DIMS 8"),
    ];
    for (name, from, to) in cases {
        let findings = broken(&baseline(), &changed(name, from, to));
        assert!(findings.is_some(), "{name} was not noticed");
    }
    let renumbered = build_stand_in("cc", &header(), "", "999", &scratch().join("renumbered"));
    assert!(broken(&baseline(), &renumbered).is_some(), "another SONAME was not noticed");
}

/// What older programs cannot notice is no break: functions and values may be added.
#[test]
fn an_interface_may_grow() {
    let version = "const char *oribi_version(void);";
    let grown = changed("more functions", version, &format!("{version}\nint oribi_new_function(int32_t kind);"));
    assert_eq!(broken(&baseline(), &grown), None);
    let value = "ORIBI_STATUS_CANCELLED = 600,";
    let grown = changed("more values", value, &format!("{value}\n    ORIBI_STATUS_NEW = 601,"));
    assert_eq!(broken(&baseline(), &grown), None);
}

/// Compiles the program of an earlier series against its header, and links it with the stand-in of that header: today's library
/// plays no part. Resolves every symbol when it starts.
fn old_program(series: &Path) -> (PathBuf, usize) {
    let header = read(series.join("oribi.h"));
    let folder = scratch().join(format!("old-{}", series.file_name().unwrap().display()));
    let stand_in = build_stand_in("cc", &header, "", ABI, &folder);
    let declared = functions(&header);
    let rows: String = declared.iter().map(|function| format!("    (void (*)(void)){},\n", function.name)).collect();
    let table = format!(
        "#include \"oribi.h\"\nextern void (*const every_function[])(void);\nextern const size_t n_functions;\n\
        void (*const every_function[])(void) = {{\n{rows}}};\nconst size_t n_functions = {};\n",
        declared.len()
    );
    std::fs::write(folder.join("table.c"), table).unwrap();
    let program = folder.join("program");
    let mut command = compiler("CC", "cc");
    command.args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wl,-z,now", "-I"]).arg(&folder);
    command.arg(series.join("program.c")).arg(folder.join("table.c")).arg(stand_in).arg("-o").arg(&program);
    output(&mut command);
    (program, declared.len())
}

fn series() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository("tests/abi")).unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.join("program.c").is_file()).collect();
    folders.sort();
    folders
}

#[test]
fn programs_of_earlier_versions_run_with_this_library() {
    assert!(!series().is_empty());
    for series in series() {
        let (program, n_functions) = old_program(&series);
        let with_today =
            |args: &[&str]| output(Command::new(&program).args(args).env("LD_LIBRARY_PATH", prefix().join("lib")));
        assert_eq!(with_today(&[]), format!("{n_functions} functions\n"));
        assert_eq!(with_today(&[model().to_str().unwrap(), PROMPT]), expected(), "{}", series.display());
    }
}

/// The test of the test above: a library without one of the functions, and one of another binary interface.
#[test]
fn an_older_program_fails_with_a_library_that_lacks_a_function() {
    let (program, _) = old_program(&series()[0]);
    let run = |folder: &Path| {
        let done = Command::new(&program).env("LD_LIBRARY_PATH", folder).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let without = changed("lacking", "const char *oribi_version(void);", "");
    let folder = without.parent().unwrap();
    std::fs::rename(&without, folder.join(format!("liboribi.so.{ABI}"))).unwrap();
    let (ran, error) = run(folder);
    assert!(!ran && error.contains("undefined symbol: oribi_version"), "{error}");

    let other = scratch().join("other-abi");
    std::fs::create_dir_all(&other).unwrap();
    std::fs::copy(shared_library(), other.join("liboribi.so.999")).unwrap();
    let (ran, error) = run(&other);
    assert!(!ran && error.contains(&format!("liboribi.so.{ABI}: cannot open shared object file")), "{error}");
}

#[test]
fn two_copies_work_in_one_process() {
    let program = scratch().join("copies");
    let mut command = compiler("CC", "cc");
    command.args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-I"]).arg(prefix().join("include"));
    command.arg(repository("tests/abi/copies.c")).args(["-pthread", "-ldl", "-o"]).arg(&program);
    output(&mut command);
    let copies = ["liboribi-one.so", "liboribi-other.so"].map(|name| scratch().join(name));
    for copy in &copies {
        std::fs::copy(shared_library(), copy).unwrap();
    }
    for visibility in ["local", "global"] {
        let printed = output(Command::new(&program).args(&copies).arg(model()).args([PROMPT, visibility]));
        assert_eq!(printed, expected().repeat(2), "{visibility}");
    }
}

/// Both orders of loading, with all names global: each computes what it computes alone.
#[test]
fn oribi_and_ggml_work_in_one_process() {
    if !common::test_all() {
        eprintln!("NOT CHECKED: a process with ggml; make test-all does, and fetches a wheel with its libraries");
        return;
    }
    let find = "import sys; sys.path.insert(0, 'benches/peers'); import install; print(install.python_with('ik-llama-cpp-python'))";
    let python = output(Command::new("python3").args(["-B", "-c", find]).current_dir(repository(".")));
    let lines = |order: &[&str]| -> Vec<String> {
        let mut run = Command::new(python.trim());
        run.args(["-B"]).arg(repository("tests/abi/beside_ggml.py")).arg(shared_library()).arg(model()).arg(PROMPT);
        output(run.args(order))
            .lines()
            .map(str::to_owned)
            .filter(|line| line.starts_with("oribi ") || line.starts_with("ggml:"))
            .collect()
    };
    let oribi = expected().trim_end().to_owned();
    let ggml = lines(&["ggml"]).remove(0);
    assert!(ggml.starts_with("ggml: ") && ggml.split(' ').count() == 9, "{ggml}");
    assert_eq!(lines(&["oribi", "ggml", "oribi"]), [oribi.clone(), ggml.clone(), oribi.clone()]);
    assert_eq!(lines(&["ggml", "oribi", "ggml"]), [ggml.clone(), oribi, ggml]);
}
