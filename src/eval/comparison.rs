//! How far one model's next-token distributions are from another's.

use super::estimate::quantile;
use super::scores::{PairScore, TOP, score_pair};
use super::{Chunks, Estimate, LogitSource, OnChunk, Perplexity, blocks};
use crate::error::{Result, bail};
use rayon::prelude::*;
use serde::Serialize;

/// The result of a comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    /// The reference's perplexity.
    pub reference: Perplexity,
    /// The candidate's.
    pub candidate: Perplexity,
    /// The candidate's perplexity divided by the reference's. Its error is that of the difference token by token, and so far
    /// smaller than those of the two: both models find the same tokens hard.
    pub perplexity_ratio: Estimate,
    /// The Kullback-Leibler divergence KL(reference || candidate) at a position.
    pub kld: Kld,
    /// The share of positions where both have the same most likely token.
    pub top1: Estimate,
    /// The share of the reference's five most likely tokens that are among the candidate's five.
    pub top5: Estimate,
    /// What was measured at every position, in order.
    pub positions: Vec<PairScore>,
}

/// A distribution of divergences, in nats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Kld {
    /// The mean over the positions.
    pub mean: f64,
    /// Its standard error, positions taken as independent.
    pub stderr: f64,
    /// The median.
    pub median: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Kld {
    /// Of these values, in any order. A NaN makes all of it NaN.
    fn of(mut values: Vec<f64>) -> Kld {
        let Estimate { mean, stderr } = Estimate::of(values.iter().copied());
        values.sort_by(f64::total_cmp);
        let [median, p99, max] = [0.5, 0.99, 1.0].map(|q| if mean.is_nan() { f64::NAN } else { quantile(&values, q) });
        Kld { mean, stderr, median, p99, max }
    }
}

impl Comparison {
    /// From the scores of all positions, (n_chunks, n_scored_per_chunk).
    pub fn of(positions: Vec<PairScore>, n_scored_per_chunk: usize) -> Comparison {
        let all = || positions.iter();
        Comparison {
            reference: Perplexity::of(all().map(|p| p.reference_nll), n_scored_per_chunk),
            candidate: Perplexity::of(all().map(|p| p.candidate_nll), n_scored_per_chunk),
            perplexity_ratio: Estimate::of(all().map(|p| p.candidate_nll - p.reference_nll)).exp(),
            kld: Kld::of(all().map(|p| p.kld).collect()),
            top1: Estimate::of_share(all().map(|p| p.is_same_top)),
            top5: Estimate::of(all().map(|p| f64::from(p.n_common_top) / TOP as f64)),
            positions,
        }
    }

    /// Positions compared.
    pub fn n_positions(&self) -> usize {
        self.positions.len()
    }
}

/// Compares a candidate with a reference over a text. Both are evaluated in one pass, block of positions by block, so that
/// no more than a block of each one's logits is held.
///
/// # Errors
/// `InvalidArgument` for vocabularies of different sizes or a token beyond them; those of the sources and of `on_chunk`.
pub fn compare(
    reference: &mut dyn LogitSource,
    candidate: &mut dyn LogitSource,
    chunks: &Chunks,
    on_chunk: OnChunk<'_>,
) -> Result<Comparison> {
    check_sizes(reference.n_vocab(), candidate.n_vocab())?;
    let max_rows = reference.max_rows().min(candidate.max_rows());
    let mut positions = Vec::with_capacity(chunks.n_scored());
    for (i, chunk) in chunks.iter().enumerate() {
        reference.begin(chunk)?;
        candidate.begin(chunk)?;
        for block in blocks(chunks.scored(), max_rows) {
            let (want, got) = (reference.logits(block.clone())?, candidate.logits(block.clone())?);
            positions.extend(score_rows(&want, &got, &chunk[block.start + 1..=block.end])?);
        }
        on_chunk(i + 1, chunks.len())?;
    }
    Ok(Comparison::of(positions, chunks.scored().len()))
}

/// Rows of the reference and of the candidate, with the tokens that follow.
pub(super) fn score_rows(reference: &[&[f32]], candidate: &[&[f32]], next: &[u32]) -> Result<Vec<PairScore>> {
    let rows = reference.par_iter().zip(candidate).zip(next);
    rows.map(|((reference, candidate), &next)| score_pair(reference, candidate, next)).collect()
}

/// Whether rows of logits can be compared.
pub(super) fn check_sizes(reference: usize, candidate: usize) -> Result<()> {
    if reference != candidate || reference == 0 {
        bail!(InvalidArgument, "vocabularies of {reference} and {candidate} tokens cannot be compared");
    }
    Ok(())
}
