//! Generation: when it stops and what text it shows, on a real tokenizer and a scripted model.

mod common;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use oribi::generate::{
    DEFAULT_BREAKERS, Forward, GenerateOptions, Generation, Piece, StopReason, ban_end_of_generation, sequence_breakers,
};
use oribi::gguf::Gguf;
use oribi::sampler::{Sampler, SamplerOptions};
use oribi::session::{Logits, TopLogits};
use oribi::tokenizer::Tokenizer;
use oribi::{Error, ErrorKind, Result};

static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| {
    let gguf = Gguf::open(&common::model("SmolLM2-135M-Instruct.Q4_1.gguf")).unwrap();
    Tokenizer::from_gguf(&gguf).unwrap()
});

fn encode(text: &str) -> Vec<u32> {
    TOKENIZER.encode(text, false, false).unwrap()
}

/// A model that wants to say these tokens, whatever it is given.
struct Script {
    tokens: Vec<u32>,
    logits: Vec<f32>,
    n_past: usize,
    n_said: usize,
    n_ctx: usize,
    pause: Duration,
    fail_at: Option<(usize, ErrorKind)>,
}

impl Script {
    fn new(tokens: &[u32]) -> Self {
        Script {
            tokens: tokens.to_vec(),
            // More rows than the vocabulary has tokens, with large values: padding must never be picked.
            logits: [vec![0.0; TOKENIZER.n_vocab()], vec![99.0; 64]].concat(),
            n_past: 0,
            n_said: 0,
            n_ctx: 1000,
            pause: Duration::ZERO,
            fail_at: None,
        }
    }

    /// The text, then the end of the turn.
    fn says(text: &str) -> Self {
        Script::new(&[encode(text), vec![TOKENIZER.eos().unwrap()]].concat())
    }

    fn advance(&mut self, n: usize) -> Result<Logits<'_>> {
        std::thread::sleep(self.pause);
        if let Some((_, kind)) = self.fail_at.filter(|(at, _)| *at == self.n_said) {
            return Err(Error::new(kind, "as told"));
        }
        self.n_past += n;
        assert!(self.n_past <= self.n_ctx, "appended beyond the context");
        self.logits[..TOKENIZER.n_vocab()].fill(0.0);
        self.logits[self.tokens[self.n_said] as usize] = 12.0;
        self.n_said += 1;
        Ok(Logits::All(&self.logits))
    }
}

impl Forward for Script {
    fn prompt(&mut self, tokens: &[u32], _: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
        self.advance(tokens.len())
    }

    fn token(&mut self, token: u32, _: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
        assert_eq!(token, self.tokens[self.n_said - 1], "the model must be given what was sampled");
        self.advance(1)
    }

    fn room(&self) -> usize {
        self.n_ctx - self.n_past
    }

    fn bytes_per_token(&self) -> u64 {
        1000
    }
}

fn greedy() -> Sampler {
    Sampler::new(&SamplerOptions::greedy(), TOKENIZER.n_vocab()).unwrap()
}

/// All pieces and the reason of the end.
fn run(script: &mut Script, options: GenerateOptions) -> (Vec<Piece>, StopReason) {
    let mut sampler = greedy();
    let mut generation = Generation::new(script, &mut sampler, &TOKENIZER, &encode("Hello"), options).unwrap();
    let pieces = generation.by_ref().map(|p| p.unwrap()).collect();
    assert!(generation.next().is_none());
    (pieces, generation.summary().stop_reason.unwrap())
}

fn text(pieces: &[Piece]) -> String {
    pieces.iter().map(|p| p.text.as_str()).collect()
}

fn stop(strings: &[&str]) -> GenerateOptions {
    GenerateOptions { stop_strings: strings.iter().map(|s| s.to_string()).collect(), ..Default::default() }
}

#[test]
fn the_end_of_a_turn_ends_the_text() {
    let mut script = Script::says("The capital is Paris.");
    let (pieces, reason) = run(&mut script, GenerateOptions::default());
    assert_eq!((text(&pieces).as_str(), reason), ("The capital is Paris.", StopReason::EndOfGeneration));
    // One piece per sampled token, the ending one with them; that one is never evaluated.
    assert_eq!(pieces.iter().map(|p| p.token).collect::<Vec<_>>(), script.tokens);
    assert_eq!(script.n_past, 1 + script.tokens.len() - 1);
}

#[test]
fn a_character_of_several_tokens_comes_out_whole() {
    let said = "naïve 日本語 \u{1f9a9} ß";
    let mut script = Script::says(said);
    let (pieces, _) = run(&mut script, GenerateOptions::default());
    assert_eq!(text(&pieces), said);
    assert!(pieces.iter().filter(|p| p.text.is_empty()).count() > 1, "no character was split over tokens");
    assert!(pieces.iter().all(|p| !p.text.contains('\u{fffd}')));

    // Cut off inside the character, the generation ends with the replacement character.
    let bird = encode("\u{1f9a9}");
    assert!(bird.len() > 1);
    let cut = GenerateOptions { max_tokens: Some(bird.len() - 1), ..Default::default() };
    let (pieces, reason) = run(&mut Script::new(&bird), cut);
    assert_eq!((text(&pieces).as_str(), reason), ("\u{fffd}", StopReason::Length));
}

#[test]
fn a_stop_string_is_found_across_pieces_and_not_shown() {
    let said = "It is 42.\nQuestion: what next?";
    let (pieces, reason) = run(&mut Script::says(said), stop(&["\nQuestion:", "never"]));
    assert_eq!((text(&pieces).as_str(), reason), ("It is 42.", StopReason::StopString));
    assert!(pieces.len() < encode(said).len());
    assert!(encode("\nQuestion:").len() > 1, "the stop string must span tokens to test anything");
    // In the middle of a token as well.
    let (pieces, _) = run(&mut Script::says(said), stop(&["tion"]));
    assert_eq!(text(&pieces), "It is 42.\nQues");
}

#[test]
fn a_beginning_of_a_stop_string_is_shown_when_it_is_none() {
    let said = "one <end of line";
    for at_end in ["<end of line break>", "line!", "e\n"] {
        let (pieces, reason) = run(&mut Script::says(said), stop(&[at_end]));
        assert_eq!((text(&pieces).as_str(), reason), (said, StopReason::EndOfGeneration), "{at_end}");
    }
    let options = GenerateOptions { max_tokens: Some(encode(said).len()), ..stop(&["line!"]) };
    let (pieces, reason) = run(&mut Script::says(said), options);
    assert_eq!((text(&pieces).as_str(), reason), (said, StopReason::Length));
}

#[test]
fn stop_tokens_lengths_and_the_context_end_it() {
    let ids = encode("one two three four");
    assert_eq!(ids.len(), 4);
    let options = GenerateOptions { stop_tokens: vec![ids[2]], ..Default::default() };
    let (pieces, reason) = run(&mut Script::new(&ids), options);
    assert_eq!((text(&pieces).as_str(), reason, pieces.len()), ("one two", StopReason::StopToken, 3));

    let options = GenerateOptions { max_tokens: Some(2), ..Default::default() };
    let (pieces, reason) = run(&mut Script::new(&ids), options);
    assert_eq!((text(&pieces).as_str(), reason), ("one two", StopReason::Length));

    let options = GenerateOptions { max_tokens: Some(0), ..Default::default() };
    let mut untouched = Script::new(&ids);
    assert_eq!(run(&mut untouched, options), (vec![], StopReason::Length));
    assert_eq!(untouched.n_past, 0);

    // Room for the prompt and one token: the second one can be sampled and has no place.
    let mut small = Script::new(&ids);
    small.n_ctx = 2;
    let (pieces, reason) = run(&mut small, GenerateOptions::default());
    assert_eq!((text(&pieces).as_str(), reason), ("one two", StopReason::ContextFull));
}

#[test]
fn control_tokens_are_shown_on_request() {
    let start = TOKENIZER.bos().unwrap();
    let ids = [encode("a"), vec![start], encode("b"), vec![TOKENIZER.eos().unwrap()]].concat();
    let (pieces, _) = run(&mut Script::new(&ids), GenerateOptions::default());
    // SmolLM2's BOS is <|im_start|>, which ends no generation.
    assert_eq!(text(&pieces), "ab");
    let (pieces, _) = run(&mut Script::new(&ids), GenerateOptions { show_special: true, ..Default::default() });
    assert_eq!(text(&pieces), "a<|im_start|>b");
}

#[test]
fn cancelling_ends_it_before_the_next_token() {
    let flag = Arc::new(AtomicBool::new(false));
    let options = GenerateOptions { cancel: Some(Arc::clone(&flag)), ..Default::default() };
    let mut script = Script::says("one two three four");
    let mut sampler = greedy();
    let mut generation = Generation::new(&mut script, &mut sampler, &TOKENIZER, &[1], options.clone()).unwrap();
    assert_eq!(generation.next().unwrap().unwrap().text, "one");
    assert_eq!(generation.summary().stop_reason, None);
    flag.store(true, Ordering::Relaxed);
    assert!(generation.next().is_none());
    assert_eq!(generation.summary().stop_reason, Some(StopReason::Cancelled));
    assert_eq!(script.n_past, 1);

    // A forward pass that was interrupted is no error either.
    let mut interrupted = Script::says("one two three");
    interrupted.fail_at = Some((2, ErrorKind::Cancelled));
    let (pieces, reason) = run(&mut interrupted, GenerateOptions::default());
    assert_eq!((text(&pieces).as_str(), reason), ("one two", StopReason::Cancelled));
}

#[test]
fn an_error_is_the_last_item() {
    let mut script = Script::says("one two three");
    script.fail_at = Some((1, ErrorKind::OutOfMemory));
    let mut sampler = greedy();
    let mut generation =
        Generation::new(&mut script, &mut sampler, &TOKENIZER, &[1], GenerateOptions::default()).unwrap();
    assert!(generation.next().unwrap().is_ok());
    assert_eq!(generation.next().unwrap().unwrap_err().kind(), ErrorKind::OutOfMemory);
    assert!(generation.next().is_none());
    assert_eq!(generation.summary().stop_reason, None);
}

#[test]
fn what_cannot_be_generated_from_is_refused_at_once() {
    let refused = |prompt: &[u32], options: GenerateOptions| {
        let (mut script, mut sampler) = (Script::says("x"), greedy());
        script.n_ctx = 3;
        Generation::new(&mut script, &mut sampler, &TOKENIZER, prompt, options).err().unwrap().to_string()
    };
    let n = TOKENIZER.n_vocab();
    assert_eq!(refused(&[], GenerateOptions::default()), "the prompt has no tokens");
    assert_eq!(
        refused(&[1, 2, 3, 4], GenerateOptions::default()),
        "the prompt has 4 tokens, the context has room for 3"
    );
    let outside = format!("token {n} is outside the vocabulary of {n}");
    assert_eq!(refused(&[n as u32], GenerateOptions::default()), outside);
    let options = GenerateOptions { stop_tokens: vec![n as u32], ..Default::default() };
    assert_eq!(refused(&[1], options), outside);
    assert_eq!(refused(&[1], stop(&[""])), "stop_strings: a stop string is empty");
}

#[test]
fn the_sampler_hears_of_the_prompt_and_of_every_token() {
    let ids = encode("one two one three");
    let options = SamplerOptions { presence_penalty: 20.0, logprobs: Some(2), ..SamplerOptions::greedy() };
    let mut sampler = Sampler::new(&options, TOKENIZER.n_vocab()).unwrap();
    struct Fixed(Vec<f32>, Vec<u32>);
    impl Forward for Fixed {
        fn prompt(&mut self, _: &[u32], enough: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
            assert_eq!(enough, None, "penalties and log-probabilities need all logits");
            Ok(Logits::All(&self.0))
        }
        fn token(&mut self, token: u32, _: Option<TopLogits>, _: Option<&AtomicBool>) -> Result<Logits<'_>> {
            self.1.push(token);
            Ok(Logits::All(&self.0))
        }
        fn room(&self) -> usize {
            9
        }
        fn bytes_per_token(&self) -> u64 {
            0
        }
    }
    // The model likes token ids[0] best, then ids[1], then ids[3]; each may be said once, and the prompt said ids[0].
    let mut logits = vec![0.0; TOKENIZER.n_vocab()];
    (logits[ids[0] as usize], logits[ids[1] as usize], logits[ids[3] as usize]) = (9.0, 8.0, 7.0);
    let mut fixed = Fixed(logits, Vec::new());
    let limit = GenerateOptions { max_tokens: Some(2), ..Default::default() };
    let generation = Generation::new(&mut fixed, &mut sampler, &TOKENIZER, &ids[..1], limit).unwrap();
    let pieces: Vec<Piece> = generation.map(|p| p.unwrap()).collect();
    assert_eq!(pieces.iter().map(|p| p.token).collect::<Vec<_>>(), [ids[1], ids[3]]);
    assert_eq!(pieces[0].top.iter().map(|t| t.0).collect::<Vec<_>>(), [ids[0], ids[1]]);
    assert_eq!(pieces[0].logprob, Some(pieces[0].top[1].1));
    assert_eq!(fixed.1, [ids[1]]);
}

#[test]
fn timings_count_the_model_and_not_the_caller() {
    let mut script = Script::says("one two three four");
    script.pause = Duration::from_millis(10);
    let mut sampler = greedy();
    let prompt = encode("Hello there, world");
    let mut generation =
        Generation::new(&mut script, &mut sampler, &TOKENIZER, &prompt, GenerateOptions::default()).unwrap();
    let mut n = 0;
    for piece in generation.by_ref() {
        piece.unwrap();
        n += 1;
        std::thread::sleep(Duration::from_millis(100));
    }
    let t = generation.summary().timings;
    assert_eq!((t.prompt_tokens, t.generated_tokens, t.evaluated_tokens), (prompt.len(), n, n - 1));
    assert_eq!(n, 5);
    let ms = Duration::from_millis;
    assert!(t.prompt_time >= ms(10) && t.time_to_first_token >= t.prompt_time);
    assert!(t.generate_time >= ms(40) && t.generate_time < ms(300), "{:?}", t.generate_time);
    assert!(t.generated_tokens_per_second().unwrap() <= 100.0);
    let gigabytes = t.gigabytes_per_second().unwrap() / t.generated_tokens_per_second().unwrap();
    assert!((gigabytes - 1e-6).abs() < 1e-12);
}

#[test]
fn breakers_are_the_tokens_that_hold_or_begin_the_text() {
    let breakers = sequence_breakers(&TOKENIZER, &DEFAULT_BREAKERS).unwrap();
    assert!(breakers.len() > 100 && breakers.iter().all(|b| b.len() == 1));
    let holds = |id: u32| {
        let bytes = TOKENIZER.token_bytes(id).unwrap();
        bytes.iter().any(|b| b"\n:\"*".contains(b))
    };
    assert!(breakers.iter().all(|b| holds(b[0])));
    let n_holding = (0..TOKENIZER.n_vocab() as u32).filter(|&id| holds(id)).count();
    assert_eq!(breakers.len(), n_holding);

    // A longer text: every way to spell it that ends at a token's end is found, here "the line" + "\n" + "User".
    let breakers = sequence_breakers(&TOKENIZER, &["\nUser"]).unwrap();
    let spelled = [encode("\n"), encode("User")].concat();
    assert!(breakers.contains(&spelled), "{spelled:?}");
    assert!(sequence_breakers(&TOKENIZER, &[""]).is_err());

    // With them, DRY does not reach over a line end.
    let dry = |breakers: Vec<Vec<u32>>| {
        let options =
            SamplerOptions { dry_multiplier: 100.0, dry_sequence_breakers: breakers, ..SamplerOptions::greedy() };
        let mut sampler = Sampler::new(&options, TOKENIZER.n_vocab()).unwrap();
        let ids = encode("one two\nthree one two\n");
        ids.iter().for_each(|&id| sampler.accept(id).unwrap());
        let mut logits = vec![0.0; TOKENIZER.n_vocab()];
        logits[encode("three")[0] as usize] = 5.0;
        sampler.sample(&logits).unwrap().token == encode("three")[0]
    };
    assert!(!dry(Vec::new()), "the repetition must be penalized without breakers to test anything");
    assert!(dry(sequence_breakers(&TOKENIZER, &DEFAULT_BREAKERS).unwrap()));
}

#[test]
fn the_end_can_be_banned() {
    let mut options = SamplerOptions::greedy();
    ban_end_of_generation(&mut options, &TOKENIZER);
    let mut sampler = Sampler::new(&options, TOKENIZER.n_vocab()).unwrap();
    let mut logits = vec![0.0; TOKENIZER.n_vocab()];
    logits[TOKENIZER.eos().unwrap() as usize] = 50.0;
    logits[77] = 1.0;
    assert_eq!(sampler.sample(&logits).unwrap().token, 77);
}
