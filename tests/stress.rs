//! Many threads, many sessions, one team: nothing hangs, nothing changes. `ORIBI_TEST_ALL=1` runs it for longer.

#[path = "common/tiny.rs"]
mod tiny;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::dtype::DType;
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Control, Session, SessionOptions};
use tiny::{Shape, tiny, write};

/// How long the threads go on.
fn duration() -> Duration {
    Duration::from_secs(if std::env::var_os("ORIBI_TEST_ALL").is_some() { 60 } else { 2 })
}

fn load(n_threads: usize) -> Arc<Model> {
    let cpu = CpuOptions { n_threads: Some(n_threads), ..Default::default() };
    let gguf = Gguf::from_bytes(write(tiny(Shape::new("llama", DType::Q4_0)))).unwrap();
    Model::load(gguf, ModelOptions { cpu, ..Default::default() }).unwrap()
}

fn bits(session: &Session) -> Vec<u32> {
    session.logits(0).unwrap().iter().map(|l| l.to_bits()).collect()
}

/// One conversation: a prompt, some tokens, a fork, a batch that is cancelled, another token; the logits at its end.
fn conversation(model: &Arc<Model>, seed: u32, cancel: bool) -> Vec<u32> {
    let mut session =
        Session::new(model, &SessionOptions { n_ctx: 128, n_batch: 16, n_sequences: 2, ..Default::default() }).unwrap();
    let token = |i: u32| (seed * 131 + i * 37 + 11) % 300;
    let sequence = session.new_sequence().unwrap();
    let prompt: Vec<u32> = (0..20 + seed % 30).map(token).collect();
    session.decode(&Batch::prompt(sequence, &prompt)).unwrap();
    let fork = session.fork(sequence).unwrap();
    for i in 0..5 {
        session.decode(&Batch::generated(fork, token(100 + i))).unwrap();
    }
    if cancel {
        let looks = AtomicUsize::new(0);
        let stop = || looks.fetch_add(1, Ordering::Relaxed) >= seed as usize % 3;
        let control = Control { stop: Some(&stop), progress: None };
        let error = session.decode_with(&Batch::prompt(fork, &prompt), control).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cancelled);
    }
    session.remove(sequence).unwrap();
    session.decode(&Batch::generated(fork, token(7))).unwrap();
    bits(&session)
}

/// More callers than workers, more workers than cores, cancelled batches in between: every conversation ends as it does
/// alone, and all get their turn.
#[test]
fn concurrent_sessions_neither_hang_nor_change() {
    const CALLERS: u32 = 6;
    for n_threads in [1, 2, 5] {
        let model = load(n_threads);
        let expected: Vec<_> = (0..CALLERS).map(|seed| conversation(&model, seed, false)).collect();
        let end = Instant::now() + duration() / 3;
        std::thread::scope(|scope| {
            for (seed, expected) in (0..CALLERS).zip(&expected) {
                let model = &model;
                scope.spawn(move || {
                    let mut rounds = 0;
                    while rounds < 2 || Instant::now() < end {
                        assert!(conversation(model, seed, true) == *expected, "caller {seed} of {n_threads} workers");
                        rounds += 1;
                    }
                });
            }
        });
    }
}

/// Teams that come and go while others work: workers start, stop, and never outlive their model.
#[test]
fn models_come_and_go_while_others_run() {
    let steady = load(2);
    let expected = conversation(&steady, 1, false);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let end = Instant::now() + duration() / 3;
            for i in 0.. {
                let model = load(1 + i % 4);
                assert!(conversation(&model, 1, i % 2 == 0) == expected, "model {i}");
                if i > 3 && Instant::now() > end {
                    break;
                }
            }
            over.store(true, Ordering::Relaxed);
        });
        while !over.load(Ordering::Relaxed) {
            assert!(conversation(&steady, 1, true) == expected);
        }
    });
}

/// A neighbour that keeps every core busy takes its share and no more. Not a timed test: what is asserted is that the work
/// ends and is the same.
#[test]
fn a_busy_neighbour_changes_nothing() {
    let model = load(2);
    let expected = conversation(&model, 2, false);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let end = Instant::now() + duration() / 3;
        loop {
            assert!(conversation(&model, 2, true) == expected);
            if Instant::now() > end {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
    });
}
