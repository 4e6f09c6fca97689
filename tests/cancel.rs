//! A request to stop takes effect within 50 milliseconds, wherever a model is at work: loading, a prompt of 4000 tokens, generation.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use oribi::ErrorKind;
use oribi::backend::cpu::CpuOptions;
use oribi::generate::{GenerateOptions, Generation, SequenceForward, StopReason};
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{Batch, Control, Session, SessionOptions};

const MODELS: [&str; 2] = ["SmolLM2-135M-Instruct.Q4_1.gguf", "gemma-3-270m-q4_k_m.gguf"];

/// What is promised; code that is not optimised gets more. Packing and computing are C and optimised in every build.
const LIMIT: Duration = Duration::from_millis(if cfg!(debug_assertions) { 100 } else { 50 });
/// Attempts at each moment, the best of which counts: other tests and programs run beside this one.
const ATTEMPTS: usize = 3;

fn models() -> impl Iterator<Item = PathBuf> {
    MODELS.into_iter().map(common::model)
}

fn options() -> ModelOptions<'static> {
    ModelOptions { cpu: CpuOptions { n_threads: Some(2), ..Default::default() }, ..Default::default() }
}

/// The time from the request, which another thread makes `delay` after `begin` hears of the signal, to the return of `work`; `None`
/// if the work was done before.
fn time_to_stop(delay: Duration, work: impl FnOnce(&Arc<AtomicBool>, &dyn Fn()) -> bool) -> Option<Duration> {
    let flag = Arc::new(AtomicBool::new(false));
    let (begin, begun) = mpsc::channel::<()>();
    let canceller = {
        let flag = Arc::clone(&flag);
        std::thread::spawn(move || {
            begun.recv().ok()?;
            std::thread::sleep(delay);
            let now = Instant::now();
            flag.store(true, Relaxed);
            Some(now)
        })
    };
    let was_cancelled = work(&flag, &move || begin.send(()).expect("a canceller"));
    let returned = Instant::now();
    let asked = canceller.join().unwrap();
    was_cancelled.then(|| returned.saturating_duration_since(asked.expect("a request")))
}

/// Measures the best of a few attempts, and holds it to the limit. Whether the work was stopped at all.
fn check(what: &str, mut attempt: impl FnMut() -> Option<Duration>) -> bool {
    let best = (0..ATTEMPTS).filter_map(|_| attempt()).min();
    match best {
        Some(best) => println!("{what}: stopped after {:.1} ms", best.as_secs_f64() * 1e3),
        None => println!("{what}: done before"),
    }
    assert!(best.is_none_or(|best| best <= LIMIT), "{what}: {best:?}");
    best.is_some()
}

#[test]
fn loading_stops_at_any_moment() {
    for path in models() {
        let start = Instant::now();
        drop(Model::open(&path, options()).unwrap());
        let whole = start.elapsed();
        let mut n_stopped = 0;
        for percent in [0, 5, 10, 20, 35, 50, 65, 80, 90] {
            let what = format!("{} {percent} % into loading ({whole:?})", path.display());
            let attempt = || {
                time_to_stop(whole * percent / 100, |flag, begin| {
                    begin();
                    let go_on = |_, _| !flag.load(Relaxed);
                    match Model::open(&path, ModelOptions { progress: Some(&go_on), ..options() }) {
                        Ok(_) => false,
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Cancelled, "{error}");
                            true
                        }
                    }
                })
            };
            n_stopped += usize::from(check(&what, attempt));
        }
        assert!(n_stopped >= 5, "{n_stopped} of 9 loads were stopped");
    }
}

#[test]
fn a_prompt_of_4000_tokens_stops_at_any_moment() {
    for path in models() {
        let model = Model::open(&path, options()).unwrap();
        let mut session = Session::new(&model, &SessionOptions { n_ctx: 4096, ..Default::default() }).unwrap();
        let sequence = session.new_sequence().unwrap();
        let tokens: Vec<u32> = (0..4000).map(|i| 1000 + i * 37 % 40_000).collect();
        // Where all of the context is attended to, as well as at the start.
        for n_before in [0, 3712] {
            session.truncate(sequence, 0).unwrap();
            if n_before > 0 {
                session.decode(&Batch::prompt(sequence, &tokens[..n_before])).unwrap();
            }
            for delay in [3, 31, 77] {
                let what = format!("{} {delay} ms behind token {n_before} of 4000", path.display());
                let stopped = check(&what, || {
                    time_to_stop(Duration::from_millis(delay), |flag, begin| {
                        begin();
                        let stop = || flag.load(Relaxed);
                        let control = Control { stop: Some(&stop), progress: None };
                        let result = session.decode_with(&Batch::prompt(sequence, &tokens[n_before..]), control);
                        assert_eq!(result.unwrap_err().kind(), ErrorKind::Cancelled);
                        assert_eq!(session.len(sequence).unwrap(), n_before);
                        true
                    })
                });
                assert!(stopped);
            }
        }
    }
}

#[test]
fn a_generation_stops_at_any_moment() {
    for path in models() {
        let model = Model::open(&path, options()).unwrap();
        let mut session = Session::new(&model, &SessionOptions { n_ctx: 4096, ..Default::default() }).unwrap();
        for delay in [0, 43, 120] {
            let what = format!("{} {delay} ms into generating", path.display());
            let stopped = check(&what, || {
                time_to_stop(Duration::from_millis(delay), |flag, begin| {
                    let sequence = session.new_sequence().unwrap();
                    let mut sampler = Sampler::new(&SamplerOptions::default(), model.tokenizer().n_vocab()).unwrap();
                    let mut forward = SequenceForward::new(&mut session, sequence).unwrap();
                    let options = GenerateOptions { cancel: Some(Arc::clone(flag)), ..Default::default() };
                    let prompt = [1, 20, 300, 4000];
                    let mut generation =
                        Generation::new(&mut forward, &mut sampler, model.tokenizer(), &prompt, options).unwrap();
                    generation.next().unwrap().unwrap();
                    begin();
                    generation.by_ref().for_each(|piece| drop(piece.unwrap()));
                    let reason = generation.summary().stop_reason;
                    drop(generation);
                    session.remove(sequence).unwrap();
                    reason == Some(StopReason::Cancelled)
                })
            });
            assert!(stopped || delay > 40, "a generation ended by itself at once");
        }
    }
}
