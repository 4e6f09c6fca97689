//! The committed bindings of the C headers are those that `scripts/bindgen` makes from them. Where bindgen is not installed
//! the comparison cannot be made: that is said, and in continuous integration (`CI` set) it is a failure.

#![cfg(unix)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_bindings_are_those_of_the_headers() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("bindgen").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "bindgen is not installed (cargo install bindgen-cli)");
        eprintln!("NOT CHECKED: bindgen is not installed, so the bindings were not compared with the headers");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(root.join("scripts/bindgen")).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for machine in ["cpu", "cuda"] {
        let fresh = std::fs::read_to_string(folder.path().join(format!("{machine}.rs"))).unwrap();
        let committed = std::fs::read_to_string(root.join("src/backend").join(machine).join("bindings.rs")).unwrap();
        assert!(fresh == committed, "{machine}/bindings.rs is stale: run scripts/bindgen");
    }
}
