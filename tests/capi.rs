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

    fn run(&self, real: &Path, suites: &[&str]) -> Output {
        let program = self.folder.path().join("capi");
        Command::new(program).arg(self.folder.path()).arg(real).args(suites).output().unwrap()
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
    let Output { status, stdout, stderr } = Suite::get().run(real, suites);
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

suites! { generation status text }

#[test]
fn every_suite_has_its_test() {
    let mut files: Vec<String> =
        sources().iter().map(|file| file.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    files.retain(|name| name != "harness");
    assert_eq!(files, SUITES);
}
