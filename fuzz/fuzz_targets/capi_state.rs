//! Any bytes as the saved state of a session: as they are, and with the checksums and the identity of the model put right, so that
//! what lies behind them is reached. A state that is refused changes nothing; one that is accepted can be worked with.
#![no_main]

use std::ptr::null;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use oribi::capi::*;
use oribi_fuzz::*;
use twox_hash::XxHash3_64;

struct Host {
    session: Handle<oribi_session>,
    /// A sequence of two tokens that must stay as it is.
    own: u32,
    /// A valid state of this session.
    state: Vec<u8>,
}
// SAFETY: the fuzzer calls from one thread at a time.
unsafe impl Send for Host {}
// SAFETY: the same.
unsafe impl Sync for Host {}

static HOST: LazyLock<Host> = LazyLock::new(|| {
    let file = open_memory(TINY_MODEL).expect("a file");
    let options = small_options();
    // SAFETY (all of it): live handles, places for results.
    unsafe {
        let model = made(oribi_model_free, |out| oribi_model_load(file.raw, options.raw, out)).expect("a model");
        let session =
            made(oribi_session_free, |out| oribi_session_new(model.raw, options.raw, out)).expect("a session");
        let own: u32 = written(|out| oribi_session_new_sequence(session.raw, out)).expect("a sequence");
        append(session.raw, own, &[1, 20]).expect("two tokens");
        let state = save(session.raw, &[own]);
        Host { session, own, state }
    }
});

/// Adds tokens of a prompt.
///
/// # Safety
/// A live handle.
unsafe fn append(session: *mut oribi_session, sequence: u32, tokens: &[u32]) -> Option<()> {
    // SAFETY (all of it): live handles, places for results.
    unsafe {
        let batch = made(oribi_batch_free, |out| oribi_batch_new(out)).expect("a batch");
        assert!(ok(oribi_batch_add_prompt(batch.raw, sequence, tokens.as_ptr(), tokens.len())));
        ok(oribi_session_decode(session, batch.raw)).then_some(())
    }
}

/// # Safety
/// A live handle.
unsafe fn save(session: *mut oribi_session, sequences: &[u32]) -> Vec<u8> {
    // SAFETY (all of it): live handles, places for results; the library says how many bytes there are.
    unsafe {
        let n = sequences.len();
        let state =
            made(oribi_bytes_free, |out| oribi_session_save(session, sequences.as_ptr(), n, out)).expect("a state");
        let n_bytes: u64 =
            written(|out| oribi_session_state_len(session, sequences.as_ptr(), n, out)).expect("its size");
        assert_eq!(n_bytes, oribi_bytes_len(state.raw) as u64);
        std::slice::from_raw_parts(oribi_bytes_data(state.raw), n_bytes as usize).to_vec()
    }
}

/// Bytes of the header that its checksum covers, and where the identity of the model is (`src/session/state/format.rs`).
const FIELD_BYTES: usize = 64;
const IDENTITY: std::ops::Range<usize> = 16..32;

/// The same bytes as a state of this model that is not damaged.
fn put_right(state: &[u8]) -> Vec<u8> {
    let mut state = state.to_vec();
    if state.len() >= FIELD_BYTES + 8 {
        state[IDENTITY].copy_from_slice(&HOST.state[IDENTITY]);
        let checksum = XxHash3_64::oneshot(&state[..FIELD_BYTES]);
        state[FIELD_BYTES..FIELD_BYTES + 8].copy_from_slice(&checksum.to_le_bytes());
    }
    if let Some(end) = state.len().checked_sub(8).filter(|&end| end >= FIELD_BYTES + 8) {
        let checksum = XxHash3_64::oneshot(&state[..end]);
        state[end..].copy_from_slice(&checksum.to_le_bytes());
    }
    state
}

fuzz_target!(|bytes: &[u8]| {
    restore(bytes);
    restore(&put_right(bytes));
});

fn restore(state: &[u8]) {
    let session = HOST.session.raw;
    let mut sequences = [u32::MAX; 3];
    // SAFETY (all of it): a live handle, places for results, so many bytes and numbers.
    unsafe {
        let data = state.as_ptr().cast();
        let n: Option<usize> = written(|out| {
            oribi_session_restore(session, data, state.len(), sequences.as_mut_ptr(), sequences.len(), out)
        });
        let restored = &sequences[..n.unwrap_or(0)];
        for &sequence in restored {
            let len: usize = written(|out| oribi_session_len(session, sequence, out)).expect("it exists");
            // Keys and values may be no numbers: what comes of them is not a matter of memory.
            let grown = append(session, sequence, &[20]);
            assert!(grown.is_some() == (len < 32), "{len} positions: {}", last_error());
            let mut logits = null();
            let _: Option<usize> = written(|n| oribi_session_logits(session, 0, &mut logits, n));
        }
        if !restored.is_empty() {
            save(session, restored);
        }
        for &sequence in restored {
            assert!(ok(oribi_session_remove(session, sequence)));
        }
        assert_eq!(written(|out| oribi_session_len(session, HOST.own, out)), Some(2usize));
    }
    // Seldom enough not to cost: nothing of another sequence got into the host's own.
    if state.len() % 16 == 0 {
        // SAFETY: a live handle.
        assert!(unsafe { save(session, &[HOST.own]) } == HOST.state, "the host's own sequence changed");
    }
}
