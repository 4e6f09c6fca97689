//! The same bits, however the work is divided: threads, chunks, batches, instruction sets, forks. On the real SmolLM2.

mod common;

use std::sync::Arc;

use oribi::backend::cpu::CpuOptions;
use oribi::backend::cpu::kernels::Isa;
use oribi::model::{Model, ModelOptions};
use oribi::session::{Batch, Numerics, Role, SequenceId, Session, SessionOptions};

use Numerics::{Native, Portable};

/// Prompt tokens: past a page (64) and past a split of attention (256).
const LONG: usize = 270;
/// Prompt tokens where the scalar kernels take part: past a page.
const SHORT: usize = 70;

fn load(n_threads: usize, isa: Option<Isa>) -> Arc<Model> {
    let cpu = CpuOptions { n_threads: Some(n_threads), isa, ..Default::default() };
    Model::open(common::model("SmolLM2-135M-Instruct.Q4_1.gguf"), ModelOptions { cpu, ..Default::default() }).unwrap()
}

fn tokens(model: &Model, n: usize) -> Vec<u32> {
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    let mut ids = model.tokenizer().encode(&text[..8 * n], true, true).unwrap();
    assert!(ids.len() >= n);
    ids.truncate(n);
    ids
}

fn session(model: &Arc<Model>, numerics: Numerics, n_batch: usize, n_sequences: usize) -> Session {
    let options = SessionOptions { n_ctx: 512, n_batch, n_sequences, numerics, ..Default::default() };
    Session::new(model, &options).unwrap()
}

fn bits(logits: Option<&[f32]>) -> Vec<u32> {
    logits.unwrap().iter().map(|l| l.to_bits()).collect()
}

/// The logits after a prompt and after one generated token, in a session of its own.
fn fresh(model: &Arc<Model>, numerics: Numerics, ids: &[u32], n_batch: usize) -> [Vec<u32>; 2] {
    let mut session = session(model, numerics, n_batch, 1);
    let sequence = session.new_sequence().unwrap();
    session.decode(&Batch::prompt(sequence, ids)).unwrap();
    let after_prompt = bits(session.logits(0));
    session.decode(&Batch::generated(sequence, ids[0])).unwrap();
    [after_prompt, bits(session.logits(0))]
}

#[test]
fn threads_do_not_change_a_bit() {
    let of = |n_threads| {
        let model = load(n_threads, None);
        let ids = tokens(&model, LONG);
        [Portable, Native].map(|numerics| fresh(&model, numerics, &ids, 512))
    };
    let expected = of(1);
    for n_threads in [2, 3] {
        assert!(of(n_threads) == expected, "{n_threads} threads");
    }
}

#[test]
fn chunks_do_not_change_a_bit() {
    let model = load(2, None);
    let ids = tokens(&model, LONG);
    for numerics in [Portable, Native] {
        let expected = fresh(&model, numerics, &ids, 512);
        for n_batch in [1, 7, 32] {
            assert!(fresh(&model, numerics, &ids, n_batch) == expected, "{numerics:?}, chunks of {n_batch}");
        }
    }
}

#[test]
fn instruction_sets_do_not_change_a_bit_of_portable_numerics() {
    let expected = {
        let model = load(2, Some(Isa::Scalar));
        assert!(!model.is_native());
        fresh(&model, Native, &tokens(&model, SHORT), 512)
    };
    for &isa in Isa::ALL {
        if !isa.is_available() {
            println!("not run: this CPU has no {isa}");
            continue;
        }
        let model = load(2, Some(isa));
        assert!(fresh(&model, Portable, &tokens(&model, SHORT), 512) == expected, "{isa}");
    }
}

/// What a token's role decides: prompts may differ between the numerics, and only where there is a matrix unit; generated
/// tokens never do.
#[test]
fn roles_decide_the_arithmetic() {
    let model = load(2, None);
    let ids = tokens(&model, SHORT);
    let logits = |numerics, role| {
        let mut session = session(&model, numerics, 32, 1);
        let sequence = session.new_sequence().unwrap();
        let mut batch = Batch::new();
        ids.iter().enumerate().for_each(|(i, &id)| batch.push(sequence, id, role, i + 1 == ids.len()));
        session.decode(&batch).unwrap();
        bits(session.logits(0))
    };
    let portable = logits(Portable, Role::Prompt);
    assert!(logits(Portable, Role::Generated) == portable);
    assert!(logits(Native, Role::Generated) == portable);
    assert_eq!(logits(Native, Role::Prompt) != portable, model.is_native());
}

/// Results that are wanted of some tokens equal those of all, whatever else the last block leaves out.
#[test]
fn outputs_do_not_change_a_bit() {
    let model = load(2, None);
    let ids = tokens(&model, SHORT);
    let of = |numerics, n_batch, wanted: &dyn Fn(usize) -> bool| {
        let options = SessionOptions { n_ctx: 128, n_batch, max_outputs: SHORT, numerics, ..Default::default() };
        let mut session = Session::new(&model, &options).unwrap();
        let sequence = session.new_sequence().unwrap();
        let mut batch = Batch::new();
        ids.iter().enumerate().for_each(|(i, &id)| batch.push(sequence, id, Role::Prompt, wanted(i)));
        session.decode(&batch).unwrap();
        let n = (0..SHORT).filter(|&i| wanted(i)).count();
        let prompt: Vec<_> = (0..n).map(|output| bits(session.logits(output))).collect();
        session.decode(&Batch::generated(sequence, ids[0])).unwrap();
        (prompt, bits(session.logits(0)))
    };
    for numerics in [Portable, Native] {
        let (all, next) = of(numerics, SHORT, &|_| true);
        let kept: [&[usize]; 5] = [&[], &[0], &[3, 4, 40, 69], &[69], &[31, 32, 33, 34, 35, 36]];
        for (kept, n_batch) in kept.into_iter().flat_map(|kept| [(kept, SHORT), (kept, 33)]) {
            let (some, then) = of(numerics, n_batch, &|i| kept.contains(&i));
            let expected: Vec<_> = kept.iter().map(|&i| all[i].clone()).collect();
            assert!(some == expected, "outputs {kept:?}, {numerics:?}, chunks of {n_batch}");
            assert!(then == next, "the token after outputs {kept:?}, {numerics:?}, chunks of {n_batch}");
        }
    }
}

/// Five sequences of different lengths in one batch, their tokens interleaved, equal themselves alone.
#[test]
fn company_does_not_change_a_bit() {
    let model = load(2, None);
    let ids = tokens(&model, LONG);
    let prompts: Vec<&[u32]> = [LONG, 1, 64, 65, 130].iter().enumerate().map(|(i, &n)| &ids[i..n.max(i + 1)]).collect();
    for (numerics, n_batch) in [(Portable, 512), (Native, 512), (Native, 33)] {
        let expected: Vec<_> = prompts.iter().map(|prompt| fresh(&model, numerics, prompt, 512)).collect();
        let mut session = session(&model, numerics, n_batch, 5);
        let sequences: Vec<SequenceId> = prompts.iter().map(|_| session.new_sequence().unwrap()).collect();
        let mut batch = Batch::new();
        let mut order = Vec::new();
        for i in 0..LONG {
            for (s, prompt) in prompts.iter().enumerate().filter(|(_, prompt)| i < prompt.len()) {
                let last = i + 1 == prompt.len();
                batch.push(sequences[s], prompt[i], Role::Prompt, last);
                if last {
                    order.push(s);
                }
            }
        }
        session.decode(&batch).unwrap();
        for (output, &s) in order.iter().enumerate() {
            assert!(bits(session.logits(output)) == expected[s][0], "prompt {s}, {numerics:?}, chunks of {n_batch}");
        }
        let mut step = Batch::new();
        for (s, prompt) in prompts.iter().enumerate() {
            step.push(sequences[s], prompt[0], Role::Generated, true);
        }
        session.decode(&step).unwrap();
        for (s, expected) in expected.iter().enumerate() {
            assert!(bits(session.logits(s)) == expected[1], "step of sequence {s}, {numerics:?}, chunks of {n_batch}");
        }
    }
}

/// A batch in which one sequence reads its prompt while another generates: each as if it were alone.
#[test]
fn prompts_and_generated_tokens_share_a_batch() {
    let model = load(2, None);
    let ids = tokens(&model, SHORT);
    let expected = fresh(&model, Native, &ids, 512);
    let mut session = session(&model, Native, 512, 2);
    let (ahead, behind) = (session.new_sequence().unwrap(), session.new_sequence().unwrap());
    session.decode(&Batch::prompt(ahead, &ids)).unwrap();
    let mut batch = Batch::new();
    for (i, &id) in ids.iter().enumerate() {
        if i == 30 {
            batch.push(ahead, ids[0], Role::Generated, true);
        }
        batch.push(behind, id, Role::Prompt, i + 1 == ids.len());
    }
    session.decode(&batch).unwrap();
    assert!(bits(session.logits(0)) == expected[1] && bits(session.logits(1)) == expected[0]);
}

/// A fork and what it was forked from go on independently, and a truncated sequence is as if the rest had never been.
#[test]
fn fork_and_truncate_equal_a_fresh_run() {
    let model = load(2, None);
    let ids = tokens(&model, 150);
    for shared in [1, 63, 64, 65, 100, 128] {
        let mut session = session(&model, Native, 512, 3);
        let trunk = session.new_sequence().unwrap();
        session.decode(&Batch::prompt(trunk, &ids[..shared])).unwrap();
        let fork = session.fork(trunk).unwrap();
        let other: Vec<u32> = ids[..shared].iter().chain(ids[10..30].iter()).copied().collect();
        session.decode(&Batch::prompt(fork, &ids[10..30])).unwrap();
        let forked = bits(session.logits(0));
        session.decode(&Batch::prompt(trunk, &ids[shared..])).unwrap();
        let grown = bits(session.logits(0));
        assert!(forked == fresh(&model, Native, &other, 512)[0], "fork at {shared}");
        assert!(grown == fresh(&model, Native, &ids, 512)[0], "trunk after a fork at {shared}");

        session.truncate(trunk, shared).unwrap();
        assert_eq!(session.len(trunk).unwrap(), shared);
        session.decode(&Batch::prompt(trunk, &ids[10..30])).unwrap();
        assert!(bits(session.logits(0)) == forked, "truncated to {shared}");
        session.remove(fork).unwrap();
        session.remove(trunk).unwrap();
        assert!(session.len(trunk).is_err());
    }
}

/// Two sessions on one model, from two threads.
#[test]
fn sessions_on_two_threads_equal_themselves_alone() {
    let model = load(2, None);
    let ids = tokens(&model, SHORT);
    let prompts = [&ids[..40], &ids[20..SHORT]];
    let expected = prompts.map(|prompt| fresh(&model, Native, prompt, 512));
    std::thread::scope(|scope| {
        for (prompt, expected) in prompts.iter().zip(&expected) {
            let model = &model;
            scope.spawn(move || {
                for _ in 0..3 {
                    assert!(fresh(model, Native, prompt, 16) == *expected);
                }
            });
        }
    });
}
