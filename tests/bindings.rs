//! The committed bindings of the C header are those that `scripts/bindgen` makes from it. Where bindgen is not installed
//! the comparison cannot be made: that is said, and in continuous integration (`CI` set) it is a failure.

#![cfg(unix)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_committed_bindings_are_those_of_the_header() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    if Command::new("bindgen").arg("--version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "bindgen is not installed (cargo install bindgen-cli)");
        eprintln!("NOT CHECKED: bindgen is not installed, so the bindings were not compared with the header");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let fresh = folder.path().join("bindings.rs");
    let made = Command::new(root.join("scripts/bindgen")).arg(&fresh).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let committed = std::fs::read_to_string(root.join("src/backend/cpu/bindings.rs")).unwrap();
    assert!(std::fs::read_to_string(fresh).unwrap() == committed, "bindings.rs is stale: run scripts/bindgen");
}
