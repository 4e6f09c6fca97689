//! Generation with a real model: the reference continuation as text, stop rules, seeds, and a conversation that goes on.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use oribi::Result;
use oribi::generate::{GenerateOptions, Generation, Piece, SequenceForward, StopReason, Summary};
use oribi::model::{Model, ModelOptions};
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{Session, SessionOptions};

static MODEL: LazyLock<Arc<Model>> =
    LazyLock::new(|| Model::open(common::model("SmolLM2-135M-Instruct.Q4_1.gguf"), ModelOptions::default()).unwrap());

fn session(n_ctx: usize) -> Session {
    Session::new(&MODEL, &SessionOptions { n_ctx, n_batch: 64, ..Default::default() }).unwrap()
}

fn sampler(options: &SamplerOptions) -> Sampler {
    Sampler::new(options, MODEL.tokenizer().n_vocab()).unwrap()
}

fn tokens(max_tokens: usize) -> GenerateOptions {
    GenerateOptions { max_tokens: Some(max_tokens), ..Default::default() }
}

/// Token ids, text and summary of a fresh session's continuation.
fn generate(prompt: &str, sampling: &SamplerOptions, options: GenerateOptions) -> (Vec<u32>, String, Summary) {
    let prompt = MODEL.tokenizer().encode(prompt, true, true).unwrap();
    let mut session = session(256);
    let sequence = session.new_sequence().unwrap();
    let mut forward = SequenceForward::new(&mut session, sequence).unwrap();
    let mut sampler = sampler(sampling);
    let mut generation = Generation::new(&mut forward, &mut sampler, MODEL.tokenizer(), &prompt, options).unwrap();
    let (mut ids, mut text) = (Vec::new(), String::new());
    for piece in generation.by_ref() {
        let piece = piece.unwrap();
        ids.push(piece.token);
        text += &piece.text;
    }
    let summary = generation.summary();
    (ids, text, summary)
}

/// The float32 reference's greedy continuations; their smallest margins (see the file) leave no doubt about a token.
#[test]
fn greedy_text_is_the_references() {
    let golden = common::golden("smollm2-135m-instruct-q4_1");
    for case in golden["prompts"].as_array().unwrap() {
        let want: Vec<u32> = serde_json::from_value(case["greedy24"].clone()).unwrap();
        let prompt = case["text"].as_str().unwrap();
        let (ids, text, summary) = generate(prompt, &SamplerOptions::greedy(), tokens(want.len()));
        assert!(case["smallest_margin"].as_f64().unwrap() > 0.01, "{prompt}: too near a tie to be compared");
        assert_eq!(ids, want, "{prompt}");
        assert_eq!(text, MODEL.tokenizer().decode(&want).unwrap(), "{prompt}");
        assert_eq!(summary.stop_reason, Some(StopReason::Length));
        let t = summary.timings;
        assert_eq!((t.generated_tokens, t.evaluated_tokens), (want.len(), want.len() - 1));
        assert!(t.generated_tokens_per_second().unwrap() > 0.0 && t.gigabytes_per_second().unwrap() > 0.0);
        assert!(t.bytes_per_token > 80_000_000, "{}", t.bytes_per_token);
    }
}

#[test]
fn a_stop_string_cuts_the_reference_text() {
    let (_, whole, _) = generate("The capital of France is", &SamplerOptions::greedy(), tokens(24));
    let at = whole.find("\n\nThe").expect("the reference text has a second paragraph");
    let options = GenerateOptions { stop_strings: vec!["\n\nThe".into()], ..tokens(24) };
    let (_, cut, summary) = generate("The capital of France is", &SamplerOptions::greedy(), options);
    assert_eq!((cut.as_str(), summary.stop_reason), (&whole[..at], Some(StopReason::StopString)));
}

#[test]
fn an_instructed_model_ends_its_turn() {
    let prompt = "<|im_start|>user\nSay only the word: yes<|im_end|>\n<|im_start|>assistant\n";
    let (ids, text, summary) = generate(prompt, &SamplerOptions::greedy(), tokens(200));
    assert_eq!(summary.stop_reason, Some(StopReason::EndOfGeneration), "{text}");
    assert!(MODEL.tokenizer().is_end_of_generation(*ids.last().unwrap()));
    assert!(!text.contains("<|im_end|>") && !text.is_empty());
}

#[test]
fn a_seed_repeats_a_text_and_another_changes_it() {
    let seeded = |seed| SamplerOptions { seed: Some(seed), ..Default::default() };
    let (first, ..) = generate("Once upon a time", &seeded(1), tokens(20));
    let (again, ..) = generate("Once upon a time", &seeded(1), tokens(20));
    let (other, ..) = generate("Once upon a time", &seeded(2), tokens(20));
    assert_eq!(first, again);
    assert_ne!(first, other);
}

#[test]
fn the_context_ends_it_exactly_when_it_is_full() {
    let mut session = session(16);
    let sequence = session.new_sequence().unwrap();
    let prompt = MODEL.tokenizer().encode("The capital of France is", true, true).unwrap();
    let mut forward = SequenceForward::new(&mut session, sequence).unwrap();
    let mut sampler = sampler(&SamplerOptions::greedy());
    let mut generation =
        Generation::new(&mut forward, &mut sampler, MODEL.tokenizer(), &prompt, GenerateOptions::default()).unwrap();
    let n = generation.by_ref().collect::<Result<Vec<Piece>>>().unwrap().len();
    assert_eq!(generation.summary().stop_reason, Some(StopReason::ContextFull));
    // Every position is used, and the last sampled token has none.
    assert_eq!((prompt.len() + n - 1, session.len(sequence).unwrap()), (16, 16));
}

/// A conversation keeps its sequence: a second generation goes on where the first one ended and equals one long run.
#[test]
fn a_second_generation_goes_on() {
    let (long, ..) = generate("Once upon a time", &SamplerOptions::greedy(), tokens(20));
    let mut session = session(256);
    let sequence = session.new_sequence().unwrap();
    let mut sampler = sampler(&SamplerOptions::greedy());
    let mut next = MODEL.tokenizer().encode("Once upon a time", true, true).unwrap();
    let mut ids: Vec<u32> = Vec::new();
    for _ in 0..2 {
        let mut forward = SequenceForward::new(&mut session, sequence).unwrap();
        let generation = Generation::new(&mut forward, &mut sampler, MODEL.tokenizer(), &next, tokens(10)).unwrap();
        ids.extend(generation.map(|p| p.unwrap().token));
        next = vec![ids[ids.len() - 1]]; // the last sampled token is not evaluated yet
    }
    assert_eq!(ids, long);
}

#[test]
fn a_long_prompt_tells_its_progress_and_can_be_cancelled() {
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    let prompt = &MODEL.tokenizer().encode(&text[..4000], true, false).unwrap()[..200];
    let flag = Arc::new(AtomicBool::new(false));
    let mut heard = Vec::new();
    let mut session = session(256);
    let sequence = session.new_sequence().unwrap();
    let mut progress = |done, all| {
        heard.push((done, all));
        flag.store(done >= 128, Ordering::Relaxed);
    };
    let mut forward = SequenceForward::new(&mut session, sequence).unwrap().with_progress(&mut progress);
    let mut sampler = sampler(&SamplerOptions::greedy());
    let options = GenerateOptions { cancel: Some(Arc::clone(&flag)), ..Default::default() };
    let mut generation = Generation::new(&mut forward, &mut sampler, MODEL.tokenizer(), prompt, options).unwrap();
    assert!(generation.next().is_none());
    assert_eq!(generation.summary().stop_reason, Some(StopReason::Cancelled));
    assert_eq!(heard, [(64, 200), (128, 200)]);
    assert_eq!(session.len(sequence).unwrap(), 0, "a cancelled prompt leaves nothing behind");
}
