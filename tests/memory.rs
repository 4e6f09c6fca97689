//! Memory is predicted from the header: the peak of a whole process stays below, by little, and a budget is refused before
//! anything but the header is read.

#![cfg(target_os = "linux")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use oribi::ErrorKind;
use oribi::backend::Storage;
use oribi::backend::cpu::CpuOptions;
use oribi::generate::{GenerateOptions, Generation, SequenceForward};
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{KvType, Session, SessionOptions, check_memory, predict_memory};
use oribi::tokenizer::{self, Tokenizer};

const REAL: [&str; 2] = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"];

/// Counts what the current thread holds and the most that it held, as the system's allocator rounds it.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(change: isize) {
    // A thread that is ending has no counters any more, and nothing to measure.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(held.get())));
    });
}

fn rounded(layout: Layout) -> isize {
    (layout.size() + 8).next_multiple_of(16).max(32) as isize
}

// SAFETY: every call is handed to the system's allocator unchanged; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(rounded(layout));
        // SAFETY: the caller's promises are those of the system's allocator.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-rounded(layout));
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above; the sizes are those of the call.
        unsafe {
            count(rounded(Layout::from_size_align_unchecked(new_size, layout.align())) - rounded(layout));
            System.realloc(ptr, layout, new_size)
        }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What building a tokenizer holds at most is predicted, for every vocabulary that it is built of.
#[test]
fn the_memory_of_vocabularies_is_predicted() {
    let vocabularies = std::fs::read_dir(common::vocab("ggml-vocab-gpt-2.gguf").parent().unwrap()).unwrap();
    let files =
        vocabularies.map(|entry| entry.unwrap().path()).filter(|path| path.extension().is_some_and(|e| e == "gguf"));
    let mut n_built = 0;
    for file in files.chain(REAL.map(common::model)) {
        let gguf = Gguf::open(&file).unwrap();
        let before = HELD.get();
        PEAK.set(before);
        let tokenizer = Tokenizer::from_gguf(&gguf);
        let (peak, held) = ((PEAK.get() - before) as f64, HELD.get() - before);
        let predicted = tokenizer::predicted_bytes(&gguf) as f64;
        println!("{}: held {held}, peak {peak}, {:.3} of {predicted}", file.display(), peak / predicted);
        assert!(peak <= predicted, "{}: {peak} of {predicted}", file.display());
        if tokenizer.is_ok() {
            assert!(peak > 0.5 * predicted, "{}: {peak} of {predicted}", file.display());
            n_built += 1;
        }
    }
    assert!(n_built >= 10, "{n_built}");
}

/// What the child of a test is told by its environment: the file, and the positions of its context.
const CHILD: [&str; 2] = ["ORIBI_TEST_MEMORY_FILE", "ORIBI_TEST_MEMORY_CTX"];
const N_THREADS: usize = 2;

fn sizes(n_ctx: usize) -> SessionOptions {
    SessionOptions { n_ctx, ..Default::default() }
}

fn predicted(gguf: &Gguf, n_ctx: usize) -> u64 {
    predict_memory(gguf, Storage::Packed, &sizes(n_ctx), N_THREADS).unwrap().total
}

/// Loads, evaluates a prompt that leaves 32 positions, and generates 32 tokens.
fn run_all(file: &Path, n_ctx: usize) {
    let gguf = Gguf::open(file).unwrap();
    let total = predicted(&gguf, n_ctx);
    check_memory(&gguf, Storage::Packed, &sizes(n_ctx), N_THREADS, total).unwrap();
    let cpu = CpuOptions { n_threads: Some(N_THREADS), ..Default::default() };
    let model = Model::load(gguf, ModelOptions { cpu, ..Default::default() }).unwrap();
    let mut session = Session::new(&model, &sizes(n_ctx)).unwrap();
    let sequence = session.new_sequence().unwrap();
    let prompt: Vec<u32> = (0..n_ctx as u32 - 32).map(|i| 1000 + i * 37 % 40_000).collect();
    let mut sampler = Sampler::new(&SamplerOptions::default(), model.tokenizer().n_vocab()).unwrap();
    let mut forward = SequenceForward::new(&mut session, sequence).unwrap();
    let options = GenerateOptions { max_tokens: Some(32), ..Default::default() };
    let generation = Generation::new(&mut forward, &mut sampler, model.tokenizer(), &prompt, options).unwrap();
    let pieces: Vec<_> = generation.collect::<oribi::Result<_>>().unwrap();
    assert!(!pieces.is_empty());
}

/// The peak of resident memory of this process, in bytes.
fn peak_resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() * 1024
}

/// The whole process is below the prediction, so the library is.
#[test]
fn the_peak_of_a_process_is_below_the_prediction() {
    if let [Some(file), Some(n_ctx)] = CHILD.map(std::env::var_os) {
        run_all(Path::new(&file), n_ctx.to_str().unwrap().parse().unwrap());
        println!("peak {}", peak_resident());
        return;
    }
    for file in REAL.map(common::model) {
        for n_ctx in [2048 + 32, 64] {
            let output = Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture", "the_peak_of_a_process_is_below_the_prediction"])
                .envs([(CHILD[0], file.as_os_str()), (CHILD[1], n_ctx.to_string().as_ref())])
                .output()
                .unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
            let peak =
                text.lines().find_map(|line| line.split("peak ").nth(1)).expect("a peak").parse::<u64>().unwrap();
            let total = predicted(&Gguf::open(&file).unwrap(), n_ctx);
            println!("{} {n_ctx}: peak {peak}, {:.3} of {total}", file.display(), peak as f64 / total as f64);
            assert!(peak <= total, "{} {n_ctx}: {peak} of {total}", file.display());
            assert!(peak as f64 >= 0.85 * total as f64, "{} {n_ctx}: {peak} of {total}", file.display());
        }
    }
}

/// One byte less than the prediction is refused, and nothing but the header was read.
#[test]
fn a_budget_is_refused_before_anything_is_read() {
    for file in REAL.map(common::model) {
        let bytes = std::fs::File::open(&file).unwrap();
        let n_bytes = bytes.metadata().unwrap().len();
        let header = {
            let gguf = Gguf::open(&file).unwrap();
            n_bytes - gguf.tensors().iter().map(|tensor| tensor.n_bytes()).sum::<u64>()
        };
        static END: AtomicUsize = AtomicUsize::new(0);
        END.store(0, Relaxed);
        let read = move |offset: u64, into: &mut [u8]| {
            END.fetch_max(offset as usize + into.len(), Relaxed);
            std::os::unix::fs::FileExt::read_at(&bytes, into, offset)
        };
        let gguf = Gguf::from_read_at(n_bytes, read).unwrap();
        for kv_type in [KvType::F16, KvType::Q4_0] {
            let options = SessionOptions { kv_type, ..sizes(2080) };
            let check = |allowed| check_memory(&gguf, Storage::Packed, &options, N_THREADS, allowed);
            let needed = check(u64::MAX).unwrap();
            assert_eq!(check(needed.total).unwrap(), needed);
            let error = check(needed.total - 1).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OutOfMemory);
            for figure in [needed.total, needed.total - 1, needed.weights, needed.kv_cache] {
                assert!(error.to_string().contains(&figure.to_string()), "{error}");
            }
        }
        // The header is read in pieces that double.
        let end = END.load(Relaxed) as u64;
        assert!(end <= 2 * header + 65_536, "{end} bytes read, {header} of header");
    }
}

/// More of anything takes more.
#[test]
fn the_prediction_grows_with_what_is_asked_for() {
    let gguf = Gguf::open(&common::model(REAL[0])).unwrap();
    let total = |options: &SessionOptions| predict_memory(&gguf, Storage::Packed, options, 2).unwrap().total;
    let base = SessionOptions { n_ctx: 512, ..Default::default() };
    for more in [
        SessionOptions { n_ctx: 1024, ..base.clone() },
        SessionOptions { n_sequences: 2, ..base.clone() },
        SessionOptions { n_batch: 2 * base.n_batch, ..base.clone() },
        SessionOptions { max_outputs: 100, ..base.clone() },
    ] {
        assert!(total(&more) > total(&base), "{more:?}");
    }
    assert!(total(&SessionOptions { kv_type: KvType::Q8_0, ..base.clone() }) < total(&base));
    let in_file = predict_memory(&gguf, Storage::InFile, &base, 2).unwrap();
    assert!(in_file.weights < predict_memory(&gguf, Storage::Packed, &base, 2).unwrap().weights / 10);
}
