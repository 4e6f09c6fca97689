//! Writing that was interrupted goes on where it was, and never trusts what it finds.

use std::fs;
use std::path::{Path, PathBuf};

use oribi::dtype::DType;
use oribi::gguf::{Found, Gguf, GgufBuilder, ResumableWriter, Sink};
use oribi::{Error, ErrorKind, Result};

const NAMES: [&str; 4] = ["a", "b", "c", "d"];

fn builder() -> GgufBuilder {
    let mut builder = GgufBuilder::new();
    builder.set("general.architecture", "test").unwrap();
    // Sizes that need padding.
    NAMES.iter().for_each(|name| builder.add_tensor(name, DType::F32, &[5, 3]).unwrap());
    builder
}

fn data(index: usize) -> Vec<u8> {
    (0..60).map(|i| (i * 7 + index * 31) as u8).collect()
}

fn begin(path: &Path, job: &str) -> Result<(ResumableWriter, Found)> {
    builder().resume(path, job, false, &mut |index, mark| Ok(mark == index as u128 + 100))
}

/// Writes tensors up to `end`, in two pieces each.
fn write(writer: &mut ResumableWriter, end: usize) {
    while let Some(name) = writer.next_tensor().map(str::to_owned) {
        let index = NAMES.iter().position(|n| *n == name).unwrap();
        if index >= end {
            return;
        }
        let fill = |sink: Sink<'_>| {
            sink(&data(index)[..13])?;
            sink(&data(index)[13..])?;
            Ok(index as u128 + 100)
        };
        writer.stream_tensor(&name, fill).unwrap();
    }
}

fn interrupted(path: &Path, n_tensors: usize) {
    let (mut writer, _) = begin(path, "job").unwrap();
    write(&mut writer, n_tensors);
    writer.suspend();
}

/// Goes on, and compares the file with one that was written in one go.
fn finish(path: &Path, job: &str) -> Found {
    let (mut writer, found) = begin(path, job).unwrap();
    write(&mut writer, NAMES.len());
    writer.commit().unwrap();
    let mut whole = Vec::new();
    let mut writer = builder().write_to(&mut whole).unwrap();
    NAMES.iter().enumerate().for_each(|(i, name)| writer.write_tensor(name, &data(i)).unwrap());
    writer.finish().unwrap();
    assert!(fs::read(path).unwrap() == whole);
    assert_eq!(builder().file_bytes().unwrap(), whole.len() as u64);
    assert_eq!(Gguf::open(path).unwrap().tensors().len(), NAMES.len());
    assert_eq!(listed(path.parent().unwrap()), [path.file_name().unwrap().to_str().unwrap()]);
    found
}

fn listed(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.collect()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made.gguf");
    (folder, path)
}

#[test]
fn what_was_finished_is_kept_wherever_it_stopped() {
    for n in 0..=NAMES.len() {
        let (_folder, path) = place();
        interrupted(&path, n);
        let expected = if n == 0 { Found::Nothing } else { Found::Finished { n_tensors: n } };
        assert_eq!(finish(&path, "job"), expected, "{n}");
    }
}

#[test]
fn a_file_or_journal_cut_anywhere_is_gone_on_with() {
    for name in [".made.gguf.part", ".made.gguf.journal"] {
        let (_folder, path) = place();
        interrupted(&path, 3);
        let whole = fs::read(path.with_file_name(name)).unwrap();
        for len in (0..whole.len()).step_by(7) {
            interrupted(&path, 3);
            fs::write(path.with_file_name(name), &whole[..len]).unwrap();
            finish(&path, "job");
        }
    }
}

#[test]
fn a_changed_byte_is_found() {
    let (_folder, path) = place();
    interrupted(&path, 3);
    let part = path.with_file_name(".made.gguf.part");
    let len = fs::read(&part).unwrap().len();
    for at in (0..len).step_by(11) {
        interrupted(&path, 3);
        let mut bytes = fs::read(&part).unwrap();
        bytes[at] ^= 1;
        fs::write(&part, bytes).unwrap();
        assert_ne!(finish(&path, "job"), Found::Finished { n_tensors: 3 }, "byte {at}");
    }
}

#[test]
fn another_job_begins_again_and_says_so() {
    let (_folder, path) = place();
    interrupted(&path, 2);
    assert!(matches!(finish(&path, "another job"), Found::Useless(why) if why.contains("something else")));
    interrupted(&path, 2);
    fs::write(path.with_file_name(".made.gguf.journal"), "nonsense\n").unwrap();
    assert!(matches!(finish(&path, "job"), Found::Useless(_)));
    // A source that changed since.
    interrupted(&path, 2);
    let (writer, found) = builder().resume(&path, "job", false, &mut |index, _| Ok(index == 0)).unwrap();
    assert_eq!((found, writer.next_tensor()), (Found::Finished { n_tensors: 1 }, Some("b")));
    drop(writer);
    assert_eq!(listed(path.parent().unwrap()), ["made.gguf"]);
}

#[test]
fn an_error_leaves_nothing_and_an_old_file_stays() {
    let (folder, path) = place();
    fs::write(&path, "old").unwrap();
    let (mut writer, _) = begin(&path, "job").unwrap();
    write(&mut writer, 1);
    let fails = |_: Sink<'_>| Err(Error::new(ErrorKind::InvalidModel, "bad weights"));
    assert!(writer.stream_tensor("b", fails).is_err());
    assert!(writer.commit().is_err());
    assert_eq!(listed(folder.path()), ["made.gguf"]);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn two_writers_of_one_file_are_refused() {
    let (_folder, path) = place();
    let (first, _) = begin(&path, "job").unwrap();
    let error = begin(&path, "job").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidState, "{error}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    assert_eq!(finish(&path, "job"), Found::Nothing);
}
