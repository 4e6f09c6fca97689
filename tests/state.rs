//! Saved sequences: they continue to the same bits, and a state that is damaged or of something else changes nothing.

mod common;
#[path = "common/tiny.rs"]
mod tiny;

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, KvType, Numerics, SequenceId, Session, SessionOptions};
use tiny::{Shape, tiny, write};
use twox_hash::XxHash3_64;

fn options(n_threads: usize) -> ModelOptions<'static> {
    ModelOptions { cpu: CpuOptions { n_threads: Some(n_threads), ..Default::default() }, ..Default::default() }
}

fn load(bytes: Vec<u8>, n_threads: usize) -> Arc<Model> {
    Model::load(Gguf::from_bytes(bytes).unwrap(), options(n_threads)).unwrap()
}

/// A model whose pages are small, so that every byte of a state can be tried.
fn small() -> Vec<u8> {
    let sizes = Shape { dim: 32, head_dim: 8, n_blocks: 1, ffn_dim: 32, ..Shape::new("llama", DType::F16) };
    write(tiny(sizes))
}

fn session(model: &Arc<Model>, options: SessionOptions) -> Session {
    let defaults = SessionOptions { n_ctx: 200, n_sequences: 4, numerics: Numerics::Portable, ..options };
    Session::new(model, &defaults).unwrap()
}

fn prompt(n: usize) -> Vec<u32> {
    (0..n as u32).map(|i| (i * 37 + 11) % 300).collect()
}

/// A session with one sequence of so many tokens.
fn after(model: &Arc<Model>, n: usize, options: SessionOptions) -> (Session, SequenceId) {
    let mut session = session(model, options);
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &prompt(n))).unwrap();
    (session, sequence)
}

/// The logits of a few tokens more, one after the other.
fn go_on(session: &mut Session, sequence: SequenceId) -> Vec<u32> {
    let mut bits = Vec::new();
    for token in [5, 60, 7, 250] {
        session.decode(&Batch::generated(sequence, token)).unwrap();
        bits.extend(session.logits(0).unwrap().iter().map(|l| l.to_bits()));
    }
    bits
}

/// What a caller can see of a session's sequences.
fn seen(session: &Session) -> Vec<(SequenceId, usize)> {
    session.sequences().into_iter().map(|id| (id, session.len(id).unwrap())).collect()
}

#[test]
fn a_restored_sequence_continues_to_the_same_bits() {
    for (arch, kv_type) in [("llama", KvType::F16), ("llama", KvType::Q8_0), ("gemma3", KvType::Q4_0)] {
        let bytes = write(tiny(Shape { head_dim: 80, n_blocks: 6, ..Shape::new(arch, DType::Q4_0) }));
        let models = [1, 2, 3].map(|n_threads| load(bytes.clone(), n_threads));
        for n in [1, 63, 64, 65, 150] {
            let sizes = |n_batch| SessionOptions { kv_type, n_batch, ..Default::default() };
            let states = [0, 1, 2].map(|i| {
                let (session, sequence) = after(&models[i], n, sizes([7, 32, 512][i]));
                session.save_to_vec(&[sequence]).unwrap()
            });
            assert!(states[0] == states[1] && states[0] == states[2], "{arch} {kv_type} {n}: threads change the state");
            let (mut uninterrupted, sequence) = after(&models[1], n, sizes(512));
            assert_eq!(uninterrupted.state_bytes(&[sequence]).unwrap(), states[0].len() as u64);
            let expected = go_on(&mut uninterrupted, sequence);
            for model in &models {
                // Into pages that held something else.
                let (mut other, gone) = after(model, 170, sizes(512));
                other.remove(gone).unwrap();
                let restored = other.restore(&states[0]).unwrap();
                assert_eq!(restored.len(), 1);
                assert_eq!(other.len(restored[0]).unwrap(), n);
                assert!(other.save_to_vec(&restored).unwrap() == states[0], "{arch} {kv_type} {n}: saved again");
                assert!(go_on(&mut other, restored[0]) == expected, "{arch} {kv_type} {n}");
            }
        }
    }
}

/// Sequences that share pages share them in the state and afterwards; of what is not saved, nothing gets into it.
#[test]
fn all_sequences_come_back_with_what_they_share() {
    let model = load(small(), 2);
    let (mut session, trunk) = after(&model, 130, SessionOptions::default());
    let fork = session.fork(trunk).unwrap();
    session.truncate(fork, 70).unwrap();
    let empty = session.new_sequence().unwrap();
    let all = session.sequences();
    assert_eq!(all, [trunk, fork, empty]);
    let state = session.save_to_vec(&all).unwrap();
    let page = session.kv_bytes() / 3;
    assert_eq!(state.len() as u64, 72 + 4 * (1 + 3) + 4 * (1 + 2) + 4 + 3 * page + 8);

    let mut other = self::session(&model, SessionOptions::default());
    let restored = other.restore(&state).unwrap();
    let lengths: Vec<usize> = restored.iter().map(|&id| other.len(id).unwrap()).collect();
    assert_eq!(lengths, [130, 70, 0]);
    assert_eq!(other.kv_bytes(), 3 * page);
    for (&old, &new) in all.iter().zip(&restored) {
        assert!(go_on(&mut session, old) == go_on(&mut other, new));
    }

    // The page that both have is the trunk's to 128, the fork's to 70.
    let (mut session, trunk) = after(&model, 130, SessionOptions::default());
    let fork = session.fork(trunk).unwrap();
    session.truncate(fork, 70).unwrap();
    let (alone, sequence) = after(&model, 70, SessionOptions::default());
    assert!(session.save_to_vec(&[fork]).unwrap() == alone.save_to_vec(&[sequence]).unwrap());

    // Nothing, and twice the same.
    assert_eq!(other.restore(&session.save_to_vec(&[]).unwrap()).unwrap(), []);
    let twice = session.save_to_vec(&[fork, fork]).unwrap();
    let restored = self::session(&model, SessionOptions::default()).restore(&twice).unwrap();
    assert_eq!(restored.len(), 2);
    session.remove(fork).unwrap();
    assert_eq!(session.save_to_vec(&[fork]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

/// The logits that a state does not hold come from decoding the last token again.
#[test]
fn logits_come_back_with_the_last_token() {
    let model = load(small(), 2);
    let (session, sequence) = after(&model, 100, SessionOptions::default());
    let mut other = self::session(&model, SessionOptions::default());
    let restored = other.restore(&session.save_to_vec(&[sequence]).unwrap()).unwrap()[0];
    assert!(other.logits(0).is_none());
    other.truncate(restored, 99).unwrap();
    other.decode(&Batch::prompt(restored, &prompt(100)[99..])).unwrap();
    assert!(other.logits(0) == session.logits(0));
}

#[test]
fn a_state_of_something_else_is_refused() {
    let bytes = small();
    let model = load(bytes.clone(), 1);
    let (source, sequence) = after(&model, 70, SessionOptions::default());
    let state = source.save_to_vec(&[sequence]).unwrap();
    let refused = |session: &mut Session, state: &[u8], kind, text: &str| {
        let before = seen(session);
        let error = session.restore(state).unwrap_err();
        assert!(error.kind() == kind && error.to_string().contains(text), "{error}");
        assert_eq!(seen(session), before);
    };

    // Other weights under the same header; another header over the same weights.
    let data = data_start(&bytes);
    let mut other_weights = bytes.clone();
    other_weights[data + 2] ^= 1;
    let mut other_header = bytes.clone();
    let at = bytes.windows(5).position(|window| window == b"<0xFE").unwrap();
    other_header[at + 4] = b'F'; // a vocabulary with <0xFF> twice
    for other in [other_weights, other_header] {
        let other = load(other, 1);
        assert_ne!(other.identity(), model.identity());
        refused(&mut session(&other, SessionOptions::default()), &state, ErrorKind::InvalidState, "another model");
    }
    assert_eq!(load(bytes, 2).identity(), model.identity());

    let coded = SessionOptions { kv_type: KvType::Q8_0, ..Default::default() };
    refused(&mut session(&model, coded), &state, ErrorKind::InvalidState, "as F16, the session as Q8_0");

    let mut short = Session::new(&model, &SessionOptions { n_ctx: 69, ..Default::default() }).unwrap();
    refused(&mut short, &state, ErrorKind::ContextFull, "70 positions");
    let (mut full, _) = after(&model, 70, SessionOptions::default());
    full.restore(&source.save_to_vec(&[sequence; 3]).unwrap()).unwrap();
    refused(&mut full, &state, ErrorKind::InvalidState, "room for 0 more");
    let foreign = b"GGUF and so on";
    for n in 1..=foreign.len() {
        refused(&mut full, &foreign[..n], ErrorKind::InvalidFile, "no saved state");
    }
}

/// Where the tensors of a file begin.
fn data_start(bytes: &[u8]) -> usize {
    let gguf = Gguf::from_bytes(bytes).unwrap();
    let tensors: u64 = gguf.tensors().iter().map(|tensor| tensor.offset() + tensor.n_bytes()).max().unwrap();
    bytes.len().next_multiple_of(32) - tensors.next_multiple_of(32) as usize
}

/// Cut anywhere, or with any byte changed: an error, and the session goes on as if nothing had been.
#[test]
fn a_damaged_state_changes_nothing() {
    let model = load(small(), 1);
    let (source, sequence) = after(&model, 70, SessionOptions::default());
    let state = source.save_to_vec(&[sequence, sequence]).unwrap();
    let (mut session, own) = after(&model, 40, SessionOptions::default());
    let before = seen(&session);
    let step = state.len() / 3000 + 1;
    for n in (0..200).chain((200..state.len()).step_by(step)) {
        let error = session.restore(&state[..n]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Truncated | ErrorKind::InvalidFile), "cut at {n}: {error}");
        let mut changed = state.clone();
        changed[n] ^= 1 << (n % 8);
        let error = session.restore(&changed).unwrap_err();
        let expected = match n {
            8..12 => ErrorKind::UnsupportedVersion,
            _ => ErrorKind::InvalidFile,
        };
        assert!(error.kind() == expected || (72..96).contains(&n), "byte {n}: {error}");
    }
    let longer = [&state[..], &[0]].concat();
    assert_eq!(session.restore(&longer).unwrap_err().kind(), ErrorKind::InvalidFile);
    assert_eq!(seen(&session), before);
    let (mut untouched, same) = after(&model, 40, SessionOptions::default());
    assert!(go_on(&mut session, own) == go_on(&mut untouched, same));
}

/// Sound checksums over numbers that lie.
#[test]
fn a_state_that_lies_changes_nothing() {
    let model = load(small(), 1);
    let (source, sequence) = after(&model, 70, SessionOptions::default());
    let state = source.save_to_vec(&[sequence]).unwrap();
    let mut session = session(&model, SessionOptions::default());
    let with = |at: usize, value: u32| {
        let mut lie = state.clone();
        lie[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let header = XxHash3_64::oneshot(&lie[..64]);
        lie[64..72].copy_from_slice(&header.to_le_bytes());
        let end = lie.len() - 8;
        let whole = XxHash3_64::oneshot(&lie[..end]);
        lie[end..].copy_from_slice(&whole.to_le_bytes());
        lie
    };
    assert!(with(8, 1) == state, "nothing changed");
    let n_positions = 72;
    // Version, type, model, layers, heads, head length, page length, page bytes, sequences, pages; positions, page numbers.
    for at in (8..64).step_by(4).chain([n_positions, n_positions + 4, n_positions + 8]) {
        let old = u32::from_le_bytes(state[at..at + 4].try_into().unwrap());
        for value in [0, 1, 2, 3, 64, 65, 128, 129, 200, 201, 1 << 16, 1 << 31, u32::MAX - 1, u32::MAX] {
            // 65 to 128 positions are two pages as well, and a shorter sequence on the same pages is a state.
            let is_a_state = value == old || (at == n_positions && value.div_ceil(64) == 2);
            match session.restore(&with(at, value)) {
                Ok(ids) => {
                    assert!(is_a_state, "{value} at {at}");
                    ids.iter().for_each(|&id| session.remove(id).unwrap());
                }
                Err(error) => assert!(!is_a_state && error.kind() != ErrorKind::Internal, "{value} at {at}: {error}"),
            }
        }
    }
    assert!(session.sequences().is_empty());
    assert!(session.kv_bytes() <= 2 * (state.len() as u64), "pages of states that were refused are used again");
}

#[test]
fn a_file_appears_whole_or_not_at_all() {
    let model = load(small(), 1);
    let (session, sequence) = after(&model, 100, SessionOptions::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.state");
    session.save_file(&[sequence], &path).unwrap();
    let saved = std::fs::read(&path).unwrap();
    assert!(saved == session.save_to_vec(&[sequence]).unwrap());
    let mut other = self::session(&model, SessionOptions::default());
    assert_eq!(other.restore_file(&path).unwrap().len(), 1);

    // An error leaves the old file, and nothing beside it.
    let missing = other.new_sequence().unwrap();
    other.remove(missing).unwrap();
    assert_eq!(other.save_file(&[missing], &path).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert!(std::fs::read(&path).unwrap() == saved);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let error = session.save_file(&[sequence], &folder.path().join("no/folder/a.state")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let error = other.restore_file(&folder.path().join("b.state")).unwrap_err();
    assert!(error.kind() == ErrorKind::Io && error.to_string().contains("b.state"), "{error}");
    std::fs::write(&path, &saved[..saved.len() / 2]).unwrap();
    let error = other.restore_file(&path).unwrap_err();
    assert!(error.kind() == ErrorKind::Truncated && error.to_string().contains("a.state"), "{error}");

    /// A disk that is full after so many bytes.
    struct Full(usize);
    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("the disk is full"))?;
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for n in [0, 72, saved.len() / 2, saved.len() - 1] {
        let error = session.save(&[sequence], &mut Full(n)).unwrap_err();
        assert!(error.kind() == ErrorKind::Io && error.to_string().contains("the disk is full"), "{n}: {error}");
    }
    session.save(&[sequence], &mut Full(saved.len())).unwrap();
}

/// The path that a child of the next test writes to.
const CRASH_FILE: &str = "ORIBI_TEST_CRASH_FILE";

/// A process that saves again and again is killed at any moment; the file is one of those it saved.
#[test]
#[cfg(unix)]
fn a_crash_in_the_middle_of_writing_leaves_a_whole_file() {
    use std::process::{Command, Stdio};
    use std::time::Duration;

    let model = load(small(), 1);
    let sources = [100, 190].map(|n| after(&model, n, SessionOptions::default()));
    if let Some(path) = std::env::var_os(CRASH_FILE) {
        loop {
            for (session, sequence) in &sources {
                session.save_file(&[*sequence], Path::new(&path)).unwrap();
            }
        }
    }
    let expected = sources.map(|(session, sequence)| session.save_to_vec(&[sequence]).unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.state");
    for i in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_crash_in_the_middle_of_writing_leaves_a_whole_file"])
            .env(CRASH_FILE, &path)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        while !path.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(3_000 + 1_700 * i));
        child.kill().unwrap();
        child.wait().unwrap();
        let found = std::fs::read(&path).unwrap();
        assert!(expected.contains(&found), "{} bytes", found.len());
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn the_real_model_continues_to_the_same_bits() {
    let open = |n_threads| Model::open(common::model("SmolLM2-135M-Instruct.Q4_1.gguf"), options(n_threads)).unwrap();
    let [model, other] = [2, 1].map(open);
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    let ids = model.tokenizer().encode(&text[..1500], true, true).unwrap();
    assert!(ids.len() > 200, "{}", ids.len());
    let sizes = SessionOptions { n_ctx: 512, ..Default::default() };
    let mut session = Session::new(&model, &sizes).unwrap();
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, &ids)).unwrap();
    let state = session.save_to_vec(&[sequence]).unwrap();
    let mut restored = Session::new(&other, &SessionOptions { n_batch: 17, ..sizes }).unwrap();
    let again = restored.restore(&state).unwrap()[0];
    assert!(go_on(&mut session, sequence) == go_on(&mut restored, again));
    assert!(session.save_to_vec(&[sequence]).unwrap() == restored.save_to_vec(&[again]).unwrap());
}
