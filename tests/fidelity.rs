//! Fidelity on the real models: the reference against the golden results, then the runtime against the reference.
//!
//! `tests/data/perplexity.json` holds the reference's negative log-likelihood of every chunk of `eval-en.txt`; the slow run
//! (`make test-all`) computes some of them anew.

#![cfg(feature = "eval")]

mod common;

use oribi::eval::reference::Reference;
use oribi::eval::{
    ChunkOptions, Chunks, Comparison, LogitSource, Perplexity, Runtime, argmax, collect_logits, compare, perplexity,
};
use oribi::gguf::Gguf;
use oribi::model::{Model, ModelOptions};
use oribi::session::{KvType, Numerics, SessionOptions};
use oribi::tokenizer::Tokenizer;
use std::ops::Range;

const SMOLLM2: &str = "smollm2-135m-instruct-q4_1";
const GEMMA3: &str = "gemma-3-270m-q4_k_m";

/// Chunks that materials and peers are compared on.
const N_CHUNKS: usize = 20;

/// Chunks that the slow run evaluates with the reference, which takes about ten seconds for each.
const N_REFERENCE_CHUNKS: usize = 4;

fn open(golden: &str) -> Gguf {
    let file = common::golden(golden)["file"].as_str().unwrap().to_owned();
    Gguf::open(&common::model(&file)).unwrap()
}

fn ids(json: &serde_json::Value) -> Vec<u32> {
    json.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn eval_tokens(gguf: &Gguf) -> Vec<u32> {
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    Tokenizer::from_gguf(gguf).unwrap().encode(&text, true, false).unwrap()
}

/// One evaluation of the prompt and its golden continuation: a greedy decoder that is right so far picks the largest logit at
/// every position, so all its picks are checked at once.
fn check_golden(golden: &str) {
    let gguf = open(golden);
    let mut reference = Reference::new(&gguf).unwrap();
    for prompt in common::golden(golden)["prompts"].as_array().unwrap() {
        let text = &prompt["text"];
        let (mut tokens, greedy) = (ids(&prompt["ids"]), ids(&prompt["greedy24"]));
        let last = tokens.len() - 1;
        tokens.extend(&greedy[..greedy.len() - 1]);
        let n_tokens = tokens.len();
        let logits = collect_logits(&mut reference, &tokens, last..n_tokens).unwrap();
        let rows: Vec<&[f32]> = logits.chunks_exact(reference.n_vocab()).collect();

        let mut order: Vec<usize> = (0..rows[0].len()).collect();
        order.sort_by(|&a, &b| rows[0][b].total_cmp(&rows[0][a]));
        for (rank, want) in prompt["top10"].as_array().unwrap().iter().enumerate() {
            let (id, logit) = (want[0].as_u64().unwrap() as usize, want[1].as_f64().unwrap());
            let got = f64::from(rows[0][id]);
            assert_eq!(order[rank], id, "{golden} {text}: rank {rank}");
            assert!((got - logit).abs() <= 0.001, "{golden} {text}: token {id} has {got}, not {logit}");
        }
        let picks: Vec<u32> = rows.iter().map(|row| argmax(row).unwrap() as u32).collect();
        assert_eq!(picks, greedy, "{golden} {text}");
    }
}

#[test]
fn the_reference_has_the_golden_logits_and_continuations_of_smollm2() {
    check_golden(SMOLLM2);
}

#[test]
fn the_reference_has_the_golden_logits_and_continuations_of_gemma3() {
    check_golden(GEMMA3);
}

fn runtime(gguf: &Gguf, n_ctx: usize, numerics: Numerics) -> Runtime {
    let model = Model::load(gguf.clone(), ModelOptions::default()).unwrap();
    if numerics == Numerics::Native && !model.is_native() {
        println!("this CPU has no matrix unit: native numerics are the portable ones");
    }
    Runtime::new(&model, n_ctx, numerics).unwrap()
}

/// Logits that were computed before, as a source.
struct Computed {
    n_vocab: usize,
    positions: Range<usize>,
    logits: Vec<f32>,
}

impl LogitSource for Computed {
    fn n_vocab(&self) -> usize {
        self.n_vocab
    }

    fn max_rows(&self) -> usize {
        self.positions.len()
    }

    fn begin(&mut self, _tokens: &[u32]) -> oribi::Result<()> {
        Ok(())
    }

    fn logits(&mut self, positions: Range<usize>) -> oribi::Result<Vec<&[f32]>> {
        let first = positions.start - self.positions.start;
        Ok(self.logits.chunks_exact(self.n_vocab).skip(first).take(positions.len()).collect())
    }
}

/// The comparison at `positions` of a text.
fn divergence(
    reference: &mut dyn LogitSource,
    candidate: &mut dyn LogitSource,
    tokens: &[u32],
    positions: Range<usize>,
) -> Comparison {
    let chunks = Chunks::single(&tokens[..positions.end + 1], positions).unwrap();
    compare(reference, candidate, &chunks, &mut |_, _| Ok(())).unwrap()
}

/// What a failure shows.
fn summary(c: &Comparison) -> String {
    format!("{:?}, top1 {:?} of {} positions, ratio {:?}", c.kld, c.top1, c.n_positions(), c.perplexity_ratio)
}

/// Every token counts as part of a prompt here, so native numerics are at work everywhere.
fn check_divergence(golden: &str, positions: Range<usize>) {
    let gguf = open(golden);
    let tokens = eval_tokens(&gguf);
    let mut reference = Reference::new(&gguf).unwrap();
    let logits = collect_logits(&mut reference, &tokens[..positions.end], positions.clone()).unwrap();
    let mut expected = Computed { n_vocab: reference.n_vocab(), positions: positions.clone(), logits };
    for (numerics, max_kld) in [(Numerics::Portable, 1e-5), (Numerics::Native, 1e-3)] {
        let mut runtime = runtime(&gguf, positions.end, numerics);
        let got = divergence(&mut expected, &mut runtime, &tokens, positions.clone());
        println!("{golden}, {numerics:?}: {}", summary(&got));
        assert!(got.kld.mean <= max_kld, "{golden}, {numerics:?}: {}", summary(&got));
        assert!(got.top1.mean >= 0.95, "{golden}, {numerics:?}: {}", summary(&got));
    }
}

#[test]
fn the_runtime_is_near_the_reference_on_smollm2() {
    check_divergence(SMOLLM2, if common::test_all() { 256..1024 } else { 128..192 });
}

/// Positions beyond the sliding window of 512, so that it matters.
#[test]
fn the_runtime_is_near_the_reference_on_gemma3() {
    check_divergence(GEMMA3, if common::test_all() { 512..1024 } else { 528..560 });
}

/// What keeping keys and values in fewer bits costs, against float16 and everything else equal.
#[test]
fn coded_keys_and_values_cost_what_the_documentation_says_on_smollm2() {
    let gguf = open(SMOLLM2);
    let tokens = eval_tokens(&gguf);
    let model = Model::load(gguf.clone(), ModelOptions::default()).unwrap();
    let positions = if common::test_all() { 256..1024 } else { 192..256 };
    let with = |kv_type| {
        let options = SessionOptions { n_ctx: 1024, numerics: Numerics::Portable, kv_type, ..Default::default() };
        Runtime::with(&model, options).unwrap()
    };
    for (kv_type, most) in [(KvType::Q8_0, 4e-3), (KvType::Q4_0, 0.6)] {
        let (mut f16, mut coded) = (with(KvType::F16), with(kv_type));
        let got = divergence(&mut f16, &mut coded, &tokens, positions.clone());
        println!("{SMOLLM2} with {kv_type}: {}", summary(&got));
        assert!(got.kld.mean > 0.0 && got.kld.mean <= most, "{kv_type}: {}", summary(&got));
    }
}

/// The committed result of the reference: the negative log-likelihood of every chunk.
fn committed(golden: &str) -> Vec<f64> {
    let path = common::data("perplexity.json");
    let json: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let chunks = json[golden]["chunk_nll"].as_array().unwrap();
    assert_eq!(chunks.len(), N_CHUNKS);
    chunks.iter().map(|nll| nll.as_f64().unwrap()).collect()
}

/// The perplexity that such sums are.
fn value(chunk_nll: &[f64]) -> f64 {
    (chunk_nll.iter().sum::<f64>() / (chunk_nll.len() * 255) as f64).exp()
}

fn measure(source: &mut dyn LogitSource, gguf: &Gguf, n_chunks: usize) -> Perplexity {
    let text = std::fs::read_to_string(common::data("eval-en.txt")).unwrap();
    let options = ChunkOptions { n_chunks: Some(n_chunks), ..ChunkOptions::default() };
    let chunks = Chunks::of_text(&Tokenizer::from_gguf(gguf).unwrap(), &text, &options).unwrap();
    perplexity(source, &chunks, &mut |_, _| Ok(())).unwrap()
}

/// The runtime within 0.1 % of the reference. Native numerics are so over many tokens alone, where their noise averages out.
fn check_perplexity(golden: &str, n_chunks_normally: usize) {
    let gguf = open(golden);
    let n_chunks = if common::test_all() { N_CHUNKS } else { n_chunks_normally };
    for (numerics, n_chunks) in [(Numerics::Portable, n_chunks), (Numerics::Native, N_CHUNKS)] {
        let want = value(&committed(golden)[..n_chunks]);
        let got = measure(&mut runtime(&gguf, 512, numerics), &gguf, n_chunks);
        println!(
            "{golden}, {numerics:?}: {} +- {} over {n_chunks} of {N_CHUNKS} chunks, reference {want}",
            got.value.mean, got.value.stderr
        );
        assert!((got.value.mean / want - 1.0).abs() < 1e-3, "{golden}, {numerics:?}: {got:?} is not {want}");
    }
}

#[test]
fn the_runtime_has_the_perplexity_of_the_reference_on_smollm2() {
    check_perplexity(SMOLLM2, 2);
}

#[test]
fn the_runtime_has_the_perplexity_of_the_reference_on_gemma3() {
    check_perplexity(GEMMA3, 1);
}

/// The committed results belong to the perplexities that are published with the golden results, and to this reference.
fn check_committed(golden: &str, published: f64) {
    let whole = committed(golden);
    assert!((value(&whole) / published - 1.0).abs() < 1e-4, "{golden}: {} is not {published}", value(&whole));
    if !common::test_all() {
        println!("skipped: computing the reference's perplexity of {golden} anew (ORIBI_TEST_ALL=1)");
        return;
    }
    let gguf = open(golden);
    // Together with the sum above: no chunk depends on another.
    let got = measure(&mut Reference::new(&gguf).unwrap(), &gguf, N_REFERENCE_CHUNKS);
    for (chunk, (got, want)) in got.chunk_nll.iter().zip(&whole).enumerate() {
        assert!((got / want - 1.0).abs() < 1e-6, "{golden} chunk {chunk}: {got} is not {want}");
    }
}

#[test]
fn the_committed_perplexity_of_smollm2_is_that_of_the_reference() {
    check_committed(SMOLLM2, 7.5080);
}

#[test]
fn the_committed_perplexity_of_gemma3_is_that_of_the_reference() {
    check_committed(GEMMA3, 6.6595);
}
