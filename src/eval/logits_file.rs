//! Logits of a reference in a compact file: at every scored position the most likely tokens, and how much probability the rest has.
//!
//! ```text
//! "ORIBILGT" | version u32 = 1 | k u32 | n_vocab u32 | chunk_len u32 | n_chunks u32 | scored: first u32, end u32 | name: n u32 |
//! vocabulary: 16 bytes | model: 16 bytes | name: n bytes |
//! tokens: n_chunks x chunk_len x u32 |
//! positions, chunk by chunk: { ln(sum(exp)) f64 | tail f64 | logit of the next token f32 | 0 u32 | k x logit f32 | k x token u32 } |
//! XXH3-64 of all before
//! ```
//!
//! Little-endian. The `k` tokens are the most likely, best first, the smaller of equals first; the logits are exact. `tail` is the
//! probability of all the others together. `vocabulary` is [`vocabulary_hash`], `model` is [`Model::identity`].
//!
//! **Error.** A comparison with the file has exact perplexities and first choices. Its divergence takes the tail as one token, which can
//! only lose: it is never above the exact one (the log sum inequality), and falls short of it by `tail * KL(tail || tail')`, the
//! divergence of the two tails made to sum to 1. `docs/eval.md` has that measured on real models.

use super::scores::{self, PairScore, TOP};
use super::vocabulary::vocabulary_hash;
use super::{Chunks, Comparison, LogitSource, OnChunk, Perplexity, Runtime, blocks};
use crate::atomic_file::AtomicFile;
use crate::error::{Error, Result, bail};
use crate::fallible;
use crate::mapped_file::MappedFile;
use crate::model::Model;
use rayon::prelude::*;
use std::hash::Hasher;
use std::io::{BufWriter, Write};
use std::path::Path;
use twox_hash::XxHash3_64;

const MAGIC: &[u8; 8] = b"ORIBILGT";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 40 + 32;
const RECORD_BYTES: usize = 24;
const HASH_BYTES: usize = 8;
/// The longest name of a model.
const MAX_NAME_BYTES: usize = 1 << 12;

/// Tokens that are kept at each position, if nothing else is asked for: a tail of one percent or so on ordinary text.
pub const DEFAULT_TOP: usize = 256;

/// Evaluates a model over a text and writes its logits to a file, which appears whole or not at all.
///
/// # Errors
/// `InvalidArgument` for a `k` that is less than 5 or more than the vocabulary; `Io`; those of the evaluation and of `on_chunk`.
pub fn save_logits(
    source: &mut Runtime,
    chunks: &Chunks,
    k: usize,
    name: &str,
    path: &Path,
    on_chunk: OnChunk<'_>,
) -> Result<Perplexity> {
    let model = std::sync::Arc::clone(source.model());
    let n_vocab = source.n_vocab();
    if k < TOP || k > n_vocab {
        bail!(InvalidArgument, "{k} tokens a position cannot be kept: outside {TOP}..={n_vocab}");
    }
    let mut out = Hashed { out: BufWriter::new(AtomicFile::create(path)?), hash: XxHash3_64::new() };
    out.put(&header(&model, chunks, k, name)?)?;
    let mut nll = Vec::with_capacity(chunks.n_scored());
    for (i, chunk) in chunks.iter().enumerate() {
        source.begin(chunk)?;
        for block in blocks(chunks.scored(), source.max_rows()) {
            let rows = source.logits(block.clone())?;
            let scored = rows.par_iter().zip(&chunk[block.start + 1..=block.end]);
            let records = scored.map(|(row, &next)| record(row, next, k)).collect::<Result<Vec<_>>>()?;
            for (next_nll, bytes) in records {
                nll.push(next_nll);
                out.put(&bytes)?;
            }
        }
        on_chunk(i + 1, chunks.len())?;
    }
    out.commit().map_err(|e| e.within(path.display()))?;
    Ok(Perplexity::of(nll.into_iter(), chunks.scored().len()))
}

/// A file that hashes what is written.
struct Hashed {
    out: BufWriter<AtomicFile>,
    hash: XxHash3_64,
}

impl Hashed {
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        Hasher::write(&mut self.hash, bytes);
        self.out.write_all(bytes).map_err(|e| Error::io("write logits", e))
    }

    fn commit(mut self) -> Result<()> {
        let hash = self.hash.finish();
        self.put(&hash.to_le_bytes())?;
        self.out.into_inner().map_err(|e| Error::io("write logits", e.into_error()))?.commit()
    }
}

fn header(model: &Model, chunks: &Chunks, k: usize, name: &str) -> Result<Vec<u8>> {
    let (scored, n_vocab) = (chunks.scored(), model.hparams().n_vocab);
    if name.len() > MAX_NAME_BYTES {
        bail!(InvalidArgument, "a model's name has {} bytes, more than {MAX_NAME_BYTES}", name.len());
    }
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&VERSION.to_le_bytes());
    for n in [k, n_vocab, chunks.chunk_len(), chunks.len(), scored.start, scored.end, name.len()] {
        let Ok(n) = u32::try_from(n) else { bail!(InvalidArgument, "{n} is too much for a file of logits") };
        bytes.extend_from_slice(&n.to_le_bytes());
    }
    bytes.extend_from_slice(&vocabulary_hash(model).to_le_bytes());
    bytes.extend_from_slice(&model.identity());
    bytes.extend_from_slice(name.as_bytes());
    chunks.tokens().iter().for_each(|token| bytes.extend_from_slice(&token.to_le_bytes()));
    Ok(bytes)
}

/// The negative log-likelihood of the next token, and what the file keeps of the position.
fn record(logits: &[f32], next: u32, k: usize) -> Result<(f64, Vec<u8>)> {
    let norm = scores::log_sum_exp(logits);
    let logit = scores::logit(logits, next)?;
    let top = scores::top_k(logits, k);
    let mut is_kept = vec![false; logits.len()];
    top.iter().for_each(|&token| is_kept[token as usize] = true);
    let rest = logits.iter().zip(&is_kept).filter(|(_, is_kept)| !**is_kept);
    let tail: f64 = rest.map(|(&logit, _)| (f64::from(logit) - norm).exp()).sum();
    if !norm.is_finite() || !tail.is_finite() {
        bail!(InvalidArgument, "a logit is not finite: nothing can be compared with it");
    }
    let mut bytes = Vec::with_capacity(RECORD_BYTES + 8 * k);
    bytes.extend_from_slice(&norm.to_le_bytes());
    bytes.extend_from_slice(&tail.to_le_bytes());
    bytes.extend_from_slice(&(logit as f32).to_le_bytes());
    bytes.extend_from_slice(&[0; 4]);
    top.iter().for_each(|&token| bytes.extend_from_slice(&logits[token as usize].to_le_bytes()));
    top.iter().for_each(|&token| bytes.extend_from_slice(&token.to_le_bytes()));
    Ok((norm - logit, bytes))
}

/// An open file of logits, every number of which was checked.
pub struct SavedLogits {
    map: MappedFile,
    chunks: Chunks,
    k: usize,
    n_vocab: usize,
    vocabulary: u128,
    model: [u8; 16],
    name: String,
    /// Where the positions begin.
    start: usize,
}

impl SavedLogits {
    /// Opens and checks a file, all of it.
    ///
    /// # Errors
    /// `Io`; `InvalidFile` for a file that is no file of logits, or contradicts itself; `UnsupportedVersion`; `Truncated`.
    pub fn open(path: &Path) -> Result<SavedLogits> {
        SavedLogits::of_map(MappedFile::open(path)?).map_err(|e| e.within(path.display()))
    }

    fn of_map(map: MappedFile) -> Result<SavedLogits> {
        let bytes: &[u8] = &map;
        if !bytes.starts_with(MAGIC) {
            bail!(InvalidFile, "this is no file of logits");
        }
        if bytes.len() < HEADER_BYTES + HASH_BYTES {
            bail!(Truncated, "the header of a file of logits has {HEADER_BYTES} bytes, {} are there", bytes.len());
        }
        let n = |i: usize| u32_at(bytes, 8 + 4 * i);
        if n(0) != VERSION {
            bail!(UnsupportedVersion, "version {} of a file of logits is not supported; {VERSION} is", n(0));
        }
        let [k, n_vocab, chunk_len, n_chunks, first, end, name_len] = [1, 2, 3, 4, 5, 6, 7].map(|i| n(i) as usize);
        if k < TOP || k > n_vocab || first >= end || end >= chunk_len || n_chunks == 0 || name_len > MAX_NAME_BYTES {
            bail!(InvalidFile, "the header of a file of logits contradicts itself");
        }
        let tokens_start = HEADER_BYTES + name_len;
        let start = n_chunks.checked_mul(chunk_len).and_then(|n| n.checked_mul(4)?.checked_add(tokens_start));
        let n_records = n_chunks.checked_mul(end - first);
        let len = start.zip(n_records).and_then(|(start, n)| n.checked_mul(RECORD_BYTES + 8 * k)?.checked_add(start));
        let Some((start, records_end)) = start.zip(len).filter(|(_, end)| bytes.len() - HASH_BYTES >= *end) else {
            bail!(Truncated, "{n_chunks} chunks of logits do not fit a file of {} bytes", bytes.len());
        };
        let hash = u64_at(bytes, bytes.len() - HASH_BYTES);
        if records_end != bytes.len() - HASH_BYTES || XxHash3_64::oneshot(&bytes[..records_end]) != hash {
            bail!(InvalidFile, "the file of logits is damaged: its checksum is wrong");
        }
        let Ok(name) = std::str::from_utf8(&bytes[HEADER_BYTES..tokens_start]) else {
            bail!(InvalidFile, "the model's name is not UTF-8");
        };
        let name = name.to_owned();
        let tokens = bytes[tokens_start..start].chunks_exact(4).map(|b| u32_at(b, 0));
        let chunks = Chunks::from_parts(fallible::collect(tokens, "the tokens of a file")?, chunk_len, first..end)?;
        if chunks.max_token() as usize >= n_vocab {
            bail!(InvalidFile, "token {} is beyond the vocabulary of {n_vocab}", chunks.max_token());
        }
        bytes[start..records_end]
            .par_chunks_exact(RECORD_BYTES + 8 * k)
            .enumerate()
            .try_for_each(|(i, bytes)| Record { bytes, k }.check(n_vocab, i))?;
        let (vocabulary, model) = (u128_at(bytes, 40), u128_at(bytes, 56).to_le_bytes());
        Ok(SavedLogits { map, chunks, k, n_vocab, vocabulary, model, name, start })
    }

    /// The text that they are of.
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// Tokens that were kept at each position.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The model's name, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The model's [identity](Model::identity).
    pub fn model(&self) -> [u8; 16] {
        self.model
    }

    /// The mean probability of what was not kept.
    pub fn mean_tail(&self) -> f64 {
        let n = self.chunks.n_scored();
        (0..n).map(|i| self.record(i).tail()).sum::<f64>() / n as f64
    }

    /// Whether a model has the vocabulary that the logits are of.
    ///
    /// # Errors
    /// `InvalidArgument` if it has another.
    pub fn check_vocabulary(&self, model: &Model) -> Result<()> {
        let n_vocab = model.hparams().n_vocab;
        if n_vocab != self.n_vocab {
            bail!(InvalidArgument, "the vocabularies differ: {} tokens and {n_vocab}", self.n_vocab);
        }
        if vocabulary_hash(model) != self.vocabulary {
            bail!(InvalidArgument, "the vocabularies differ: both have {n_vocab} tokens, but not the same");
        }
        Ok(())
    }

    /// Compares a candidate with the saved logits. See the module's text for the error of the divergence.
    ///
    /// # Errors
    /// Those of [`check_vocabulary`](Self::check_vocabulary), of the evaluation and of `on_chunk`.
    pub fn compare(&self, candidate: &mut Runtime, on_chunk: OnChunk<'_>) -> Result<Comparison> {
        self.check_vocabulary(candidate.model())?;
        let mut positions = Vec::with_capacity(self.chunks.n_scored());
        for (i, chunk) in self.chunks.iter().enumerate() {
            candidate.begin(chunk)?;
            for block in blocks(self.chunks.scored(), candidate.max_rows()) {
                let rows = candidate.logits(block.clone())?;
                let (first, next) = (positions.len(), &chunk[block.start + 1..=block.end]);
                let scored = rows.par_iter().zip(next).enumerate();
                let scored = scored.map(|(i, (row, &next))| self.record(first + i).score(row, next));
                positions.extend(scored.collect::<Result<Vec<PairScore>>>()?);
            }
            on_chunk(i + 1, self.chunks.len())?;
        }
        Ok(Comparison::of(positions, self.chunks.scored().len()))
    }

    fn record(&self, i: usize) -> Record<'_> {
        let len = RECORD_BYTES + 8 * self.k;
        Record { bytes: &self.map[self.start + i * len..][..len], k: self.k }
    }
}

/// What the file keeps of one position.
struct Record<'a> {
    bytes: &'a [u8],
    k: usize,
}

impl Record<'_> {
    fn norm(&self) -> f64 {
        f64::from_bits(u64_at(self.bytes, 0))
    }

    fn tail(&self) -> f64 {
        f64::from_bits(u64_at(self.bytes, 8))
    }

    fn next_logit(&self) -> f64 {
        f64::from(f32::from_bits(u32_at(self.bytes, 16)))
    }

    /// Logits and tokens, best first.
    fn top(&self) -> impl Iterator<Item = (f64, u32)> {
        let logit = |i: usize| f64::from(f32::from_bits(u32_at(self.bytes, RECORD_BYTES + 4 * i)));
        let token = |i: usize| u32_at(self.bytes, RECORD_BYTES + 4 * (self.k + i));
        (0..self.k).map(move |i| (logit(i), token(i)))
    }

    fn check(&self, n_vocab: usize, i: usize) -> Result<()> {
        let mut tokens: Vec<u32> = self.top().map(|(_, token)| token).collect();
        tokens.sort_unstable();
        let distinct = tokens.windows(2).all(|pair| pair[0] < pair[1]);
        let within = tokens.last().is_some_and(|&last| (last as usize) < n_vocab);
        let ordered = self.top().zip(self.top().skip(1)).all(|((a, _), (b, _))| a >= b);
        let mass: f64 = self.top().map(|(logit, _)| (logit - self.norm()).exp()).sum();
        let whole = (mass + self.tail() - 1.0).abs() < 1e-6 && (0.0..=1.0).contains(&self.tail());
        if !(distinct && within && ordered && whole && self.next_logit() <= self.norm()) {
            bail!(InvalidFile, "position {i} of a file of logits is impossible");
        }
        Ok(())
    }

    fn score(&self, candidate: &[f32], next: u32) -> Result<PairScore> {
        let (norm, other_norm) = (self.norm(), scores::log_sum_exp(candidate));
        let (mut kld, mut other_mass) = (0.0, 0.0);
        for (logit, token) in self.top() {
            let (ln_p, ln_q) = (logit - norm, scores::logit(candidate, token)? - other_norm);
            if ln_p != f64::NEG_INFINITY {
                kld += ln_p.exp() * (ln_p - ln_q);
            }
            other_mass += ln_q.exp();
        }
        if self.tail() > 0.0 {
            // Rounding may leave nothing of a tail that is all but empty; its weight is then as small.
            let other_tail = (1.0 - other_mass).max(f64::EPSILON);
            kld += self.tail() * (self.tail() / other_tail).ln();
        }
        let top: Vec<u32> = self.top().take(TOP).map(|(_, token)| token).collect();
        let other = scores::top_k(candidate, TOP);
        Ok(PairScore {
            reference_nll: norm - self.next_logit(),
            candidate_nll: other_norm - scores::logit(candidate, next)?,
            kld: if kld < 0.0 { 0.0 } else { kld },
            is_same_top: top.first() == other.first(),
            n_common_top: top.iter().filter(|token| other.contains(token)).count() as u8,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap_or_default())
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap_or_default())
}

fn u128_at(bytes: &[u8], at: usize) -> u128 {
    u128::from_le_bytes(bytes[at..at + 16].try_into().unwrap_or_default())
}
