//! What no C program can provoke: a panic inside a call. Through the pointers that a C program has, and in a process of its own
//! where its standard error is watched.

use std::ffi::CStr;
use std::process::Command;
use std::ptr::null_mut;

use super::boundary::{self, Out};
use super::handle::{Guarded, free, give};
use super::*;
use crate::error::bail;

/// A handle for the tests: guarded like those of the interface.
struct Fragile(Guarded<Vec<u32>>);

/// A call that panics while it changes a handle.
unsafe extern "C" fn provoke(fragile: *mut Fragile) -> oribi_status {
    boundary::call(|| {
        // SAFETY: NULL or a live handle.
        let mut guard = unsafe { boundary::handle(fragile, "fragile") }?.0.write("fragile handle")?;
        guard.push(1);
        panic!("provoked at {} elements", guard.len())
    })
}

/// A call that panics on the workers of a thread team, the caller among them.
unsafe extern "C" fn provoke_on_a_worker(n_threads: usize) -> oribi_status {
    boundary::call(|| {
        let team = crate::backend::cpu::team::Team::new(n_threads)?;
        team.run(|worker| panic!("provoked on worker {}", worker.id()))
    })
}

fn last_error() -> String {
    // SAFETY: the library's text, ended by NUL.
    unsafe { CStr::from_ptr(oribi_last_error()) }.to_str().unwrap().to_owned()
}

fn new_fragile() -> *mut Fragile {
    let mut fragile = null_mut();
    // SAFETY: a place for a result.
    give(unsafe { Out::new(&mut fragile, "fragile") }.unwrap(), Fragile(Guarded::new(Vec::new())));
    fragile
}

#[test]
fn a_panic_is_a_status_and_other_handles_go_on() {
    let (broken, sound) = (new_fragile(), new_fragile());
    // SAFETY: live handles, freed at the end.
    unsafe {
        assert_eq!(provoke(broken), oribi_status::INTERNAL);
        assert!(last_error().starts_with("a defect in oribi: provoked at 1 elements ("), "{}", last_error());
        // The handle whose state is half done refuses to go on; another one is as good as before, and so is the thread.
        assert_eq!(provoke(broken), oribi_status::INVALID_STATE);
        assert!(last_error().contains("unusable after an internal error"), "{}", last_error());
        assert!((*sound).0.read("fragile handle").unwrap().is_empty());
        let mut options = null_mut();
        assert_eq!(oribi_options_new(&mut options), oribi_status::OK);
        assert_eq!(oribi_options_set_int(options, c"n_ctx".as_ptr(), 64), oribi_status::OK);
        oribi_options_free(options);
        free(broken);
        free(sound);
    }
}

#[test]
fn a_panic_on_a_worker_is_a_status() {
    for n_threads in [1, 2, 4] {
        // SAFETY: no pointers.
        assert_eq!(unsafe { provoke_on_a_worker(n_threads) }, oribi_status::INTERNAL);
        assert!(last_error().contains("provoked on worker"), "{}", last_error());
    }
}

#[test]
fn a_value_that_panics_is_the_absent_one() {
    assert_eq!(boundary::value(7, || panic!("provoked")), 7);
    assert!(last_error().contains("provoked"), "{}", last_error());
    // A panic whose payload is no text, and one whose payload panics when it is dropped.
    struct Spiteful;
    impl Drop for Spiteful {
        fn drop(&mut self) {
            panic!("in a payload");
        }
    }
    assert_eq!(boundary::call(|| std::panic::panic_any(Spiteful)), oribi_status::INTERNAL);
    assert!(last_error().contains("a panic without a text"), "{}", last_error());
}

#[test]
fn an_error_with_a_nul_is_still_a_text() {
    assert_eq!(boundary::call(|| bail!(Template, "before\0after")), oribi_status::TEMPLATE);
    assert_eq!(last_error(), "before?after");
}

/// The other tests of this file once more, in a process whose standard error is captured: Rust reports panics there, the library
/// does not.
#[test]
fn panics_are_not_reported_on_standard_error() {
    let mut tests = Command::new(std::env::current_exe().unwrap());
    tests.args(["--nocapture", "--test-threads=1", "--exact"]);
    tests.args(["capi::tests::a_panic_is_a_status_and_other_handles_go_on"]);
    tests.args(["capi::tests::a_panic_on_a_worker_is_a_status", "capi::tests::a_value_that_panics_is_the_absent_one"]);
    let output = tests.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert!(String::from_utf8_lossy(&output.stdout).contains("3 passed"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
