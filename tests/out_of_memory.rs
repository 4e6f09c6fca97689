//! Memory that cannot be had: an allocator that refuses large requests, and the errors that come of it. Nothing aborts.

#[path = "common/raw_gguf.rs"]
mod raw_gguf;
#[path = "common/tiny.rs"]
mod tiny;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};

use oribi::backend::cpu::CpuOptions;
use oribi::chat::{ChatTemplate, Message, SpecialTexts};
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{Batch, Control, Pooling, Role, Session, SessionOptions};
use oribi::tokenizer::Tokenizer;
use oribi::{ErrorKind, Result};
use raw_gguf::{Raw, id};
use tiny::{Shape, tiny, write};

/// Requests of this many bytes are large; everything in these tests that an input sizes takes more.
const LARGE: usize = 64 << 10;
/// No request.
const NEVER: usize = usize::MAX;

/// Hands requests on, but for some large ones while a test asks for it.
struct Refusing;

/// Large requests from now on until one is refused; every one after that is granted.
static UNTIL_REFUSED: AtomicUsize = AtomicUsize::new(NEVER);
/// Requests of so many bytes are all refused.
static REFUSED_FROM: AtomicUsize = AtomicUsize::new(NEVER);

fn is_refused(n_bytes: usize) -> bool {
    if n_bytes >= REFUSED_FROM.load(SeqCst) {
        return true;
    }
    let next = |n: usize| if n == NEVER { None } else { Some(n.checked_sub(1).unwrap_or(NEVER)) };
    n_bytes >= LARGE && UNTIL_REFUSED.fetch_update(SeqCst, SeqCst, next) == Ok(0)
}

// SAFETY: a request is refused with null, which the contract allows, or handed to the system's allocator unchanged.
unsafe impl GlobalAlloc for Refusing {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those of the system's allocator.
        if is_refused(layout.size()) { null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above; a refused block stays as it was.
        if is_refused(new_size) { null_mut() } else { unsafe { System.realloc(ptr, layout, new_size) } }
    }
}

#[global_allocator]
static ALLOCATOR: Refusing = Refusing;

/// One test at a time: the allocator is everybody's.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Refuses the first large request of `work`, then the second, and so on until it succeeds. Every failure is an error that says
/// so. How many there were.
#[track_caller]
fn each_failure<T>(what: &str, mut work: impl FnMut() -> Result<T>) -> usize {
    for n in 0..200 {
        UNTIL_REFUSED.store(n, SeqCst);
        let result = work();
        let was_refused = UNTIL_REFUSED.swap(NEVER, SeqCst) == NEVER;
        match result {
            Ok(_) if was_refused => panic!("{what}: succeeded without large request {n}"),
            Ok(_) => {
                println!("{what}: {n} large requests");
                return n;
            }
            Err(error) => {
                assert!(was_refused, "{what}: {error}");
                assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{what}, request {n}: {error}");
            }
        }
    }
    panic!("{what}: still refused");
}

/// Refuses every request of `n_bytes` and more: an error that says so.
#[track_caller]
fn all_refused<T>(n_bytes: usize, work: impl FnOnce() -> Result<T>) {
    REFUSED_FROM.store(n_bytes, SeqCst);
    let result = work();
    REFUSED_FROM.store(NEVER, SeqCst);
    let error = result.err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::OutOfMemory, "{error}");
}

fn n_vocab() -> usize {
    LARGE + 5000
}

/// A model with a vocabulary every table of which is large.
fn model_file() -> Arc<[u8]> {
    let sizes =
        Shape { dim: 32, head_dim: 8, n_blocks: 1, ffn_dim: 32, n_vocab: n_vocab(), ..Shape::new("llama", DType::F16) };
    write(tiny(sizes)).into()
}

fn options() -> ModelOptions<'static> {
    ModelOptions { cpu: CpuOptions { n_threads: Some(1), ..Default::default() }, ..Default::default() }
}

#[test]
fn headers() {
    let _turn = turn();
    let names: Vec<String> = (0..5000).map(|i| format!("key {i}")).collect();
    let many_keys = names.iter().fold(Raw::new(3), |raw, key| raw.entry(key, id::U8, &[1]));
    let many_tensors = (0..40_000u64).fold(Raw::new(3), |raw, i| raw.tensor(&format!("t{i}"), &[8], 0, 32 * i));
    let long = "a".repeat(2 * LARGE);
    let cases = [
        ("many keys", many_keys, 1),
        ("many tensors", many_tensors.data(&vec![0; 32 * 40_000]), 3),
        ("a long text", Raw::new(3).text("text", &long), 1),
    ];
    for (what, raw, least) in cases {
        let bytes: Arc<[u8]> = raw.bytes().into();
        assert!(each_failure(what, || Gguf::from_owner(Arc::clone(&bytes))) >= least, "{what}");
        let read = |offset: u64, into: &mut [u8], bytes: &[u8]| {
            into.copy_from_slice(&bytes[offset as usize..][..into.len()]);
            Ok(into.len())
        };
        let from_host = || {
            let bytes = Arc::clone(&bytes);
            Gguf::from_read_at(bytes.len() as u64, move |offset, into| read(offset, into, &bytes))
        };
        assert!(each_failure(what, from_host) > least, "{what}, read by a callback");
    }
    let arrays =
        Raw::new(3).array("numbers", id::F32, 50_000, &vec![0; 200_000]).strings("texts", &vec![&b"a"[..]; 20_000]);
    let gguf = Gguf::from_bytes(arrays.bytes()).unwrap();
    assert_eq!(each_failure("numbers", || gguf.metadata().f32s("numbers")), 1);
    assert_eq!(each_failure("texts", || gguf.metadata().strings("texts")), 1);
}

#[test]
fn loading() {
    let _turn = turn();
    let bytes = model_file();
    let gguf = Gguf::from_owner(bytes).unwrap();
    assert!(each_failure("a vocabulary", || Tokenizer::from_gguf(&gguf)) >= 5);
    assert!(each_failure("a model", || Model::load(gguf.clone(), options())) >= 6);
}

#[test]
fn sessions() {
    let _turn = turn();
    let model = Model::load(Gguf::from_owner(model_file()).unwrap(), options()).unwrap();
    let sizes = SessionOptions { n_ctx: 40_000, n_batch: 16_384, n_sequences: 2, ..Default::default() };
    let mut session = Session::new(&model, &sizes).unwrap();
    let sequence = session.new_sequence().unwrap();
    let tokens: Vec<u32> = (0..16_384).map(|i| i % 300).collect();
    let mut batch = Batch::new();
    assert_eq!(each_failure("a batch", || Batch::new().try_reserve(tokens.len())), 1);
    batch.try_reserve(tokens.len()).unwrap();
    tokens.iter().for_each(|&token| batch.push(sequence, token, Role::Prompt, true));
    // Two sequences in turn: a run for every token.
    let other = session.new_sequence().unwrap();
    let mut mixed = Batch::new();
    tokens[..4000].iter().for_each(|&token| {
        mixed.push(sequence, token, Role::Prompt, false);
        mixed.push(other, token, Role::Prompt, false);
    });
    for (what, batch, least) in [("embeddings", &batch, 5), ("two sequences in turn", &mixed, 1)] {
        let failures = each_failure(what, || {
            let result = session.embed(batch, Pooling::Tokens, Control::default());
            let lengths = [sequence, other].map(|id| session.len(id).unwrap());
            assert!(result.is_ok() || lengths == [0, 0], "{what}: {lengths:?} after an error");
            result
        });
        assert!(failures >= least, "{what}: {failures}");
        [sequence, other].iter().for_each(|&id| session.truncate(id, 0).unwrap());
    }

    session.decode(&Batch::prompt(sequence, &tokens[..2000])).unwrap();
    session.remove(other).unwrap();
    assert!(each_failure("saving", || session.save_to_vec(&[sequence])) >= 1);
    let state = session.save_to_vec(&[sequence]).unwrap();
    let mut lie = state.clone();
    // As many positions as fit the context, and no pages for them.
    lie[72..76].copy_from_slice(&39_999u32.to_le_bytes());
    all_refused_or_wrong(LARGE, || session.restore(&lie));
    session.restore(&state).unwrap();
}

/// Refuses large requests: an error, of whatever kind, because nothing large is asked for.
#[track_caller]
fn all_refused_or_wrong<T>(n_bytes: usize, work: impl FnOnce() -> Result<T>) {
    REFUSED_FROM.store(n_bytes, SeqCst);
    let result = work();
    REFUSED_FROM.store(NEVER, SeqCst);
    let error = result.err().expect("an error");
    assert_ne!(error.kind(), ErrorKind::OutOfMemory, "{error}");
}

/// What dependencies make of an input is asked for before they get it.
#[test]
fn texts() {
    let _turn = turn();
    let tokenizer = Tokenizer::from_gguf(&Gguf::from_owner(model_file()).unwrap()).unwrap();
    let text = "word ".repeat(100_000);
    all_refused(16 << 20, || tokenizer.encode(&text, true, true));
    let ids = tokenizer.encode(&text, true, true).unwrap();
    assert!(ids.len() > 100_000);

    let template = "{% for m in messages %}{{ m.content }}{% endfor %}";
    let template = ChatTemplate::from_source(template, SpecialTexts::default()).unwrap();
    let messages = [Message::new("user", text.clone())];
    all_refused(3 << 20, || template.render(&messages, true));
    assert!(template.render(&messages, true).unwrap().len() >= text.len());
    let source = format!("{}\n", "a".repeat(100)).repeat(6000);
    all_refused(32 << 20, || ChatTemplate::from_source(source.clone(), SpecialTexts::default()));
    ChatTemplate::from_source(source, SpecialTexts::default()).unwrap();

    all_refused(LARGE, || Sampler::new(&SamplerOptions::default(), n_vocab()));
    Sampler::new(&SamplerOptions::default(), n_vocab()).unwrap();
}
