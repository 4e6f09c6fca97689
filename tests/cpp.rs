//! include/oribi.hpp: it compiles without a warning, alone and twice in a program, and the tests of tests/cpp pass.

#![cfg(all(unix, feature = "capi"))]

#[path = "common/c_program.rs"]
mod c_program;
#[path = "common/capi_files.rs"]
mod capi_files;
#[path = "common/tiny.rs"]
mod tiny;

use std::path::Path;
use std::process::Command;

use c_program::{CPP17, build_as};

#[test]
fn the_cpp_header_keeps_its_promises() {
    let folder = tempfile::tempdir().unwrap();
    capi_files::make(folder.path());
    // A second file that includes the header: what it defines is inline.
    let other = folder.path().join("other.cpp");
    std::fs::write(&other, "#include <oribi.hpp>\n#include <oribi.hpp>\n").unwrap();
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cpp/oribi_hpp.cpp");
    let program = folder.path().join("suite");
    build_as(
        &CPP17,
        &c_program::static_library(),
        &[suite, other],
        &["-Wconversion", "-Wshadow", "-pthread"],
        &program,
    );
    let run = Command::new(&program).arg(folder.path()).output().unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&run.stdout), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{}\n{stdout}\n{stderr}", run.status);
    assert_eq!((&*stdout, &*stderr), ("0 failures\n", ""));
}
