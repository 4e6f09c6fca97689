//! Mirostat (S. Basu et al., "Mirostat: a neural text decoding algorithm that directly controls perplexity", 2020).
//!
//! Both versions steer the surprise `-log2 p` of the drawn tokens towards `tau` bits: after each draw
//! `mu -= eta * (surprise - tau)`, from `mu = 2 tau`. The surprise is that of the token in the distribution it was drawn
//! from.

use super::candidates::Candidates;
use super::draw::draw;
use super::math;
use super::rng::Rng;
use super::select::Entry;

/// How many of the most probable tokens version 1 fits Zipf's exponent to.
const N_FIT: usize = 100;

/// Which cut Mirostat makes before it draws.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MirostatVersion {
    /// Algorithm 1 of the paper: estimate the exponent of Zipf's law and keep the k that the law gives for `mu`.
    #[default]
    V1,
    /// Version 2 of the authors' code: keep the tokens whose surprise is at most `mu`.
    V2,
}

/// The state of the controller.
#[derive(Clone, Debug)]
pub struct Mirostat {
    version: MirostatVersion,
    tau: f32,
    eta: f32,
    mu: f64,
    n_vocab: usize,
    entries: Vec<Entry>, // scratch
}

impl Mirostat {
    /// `tau`: the surprise aimed at, in bits; `eta`: the learning rate.
    pub fn new(version: MirostatVersion, tau: f32, eta: f32, n_vocab: usize) -> Self {
        Mirostat { version, tau, eta, mu: 2.0 * f64::from(tau), n_vocab, entries: Vec::new() }
    }

    /// Back to `mu = 2 tau`.
    pub fn reset(&mut self) {
        self.mu = 2.0 * f64::from(self.tau);
    }

    /// The current bound on the surprise, in bits.
    pub fn mu(&self) -> f64 {
        self.mu
    }

    /// Cuts, draws, learns. `None` when there is no candidate.
    pub fn pick(&mut self, candidates: &mut Candidates, rng: &mut Rng) -> Option<u32> {
        match self.version {
            MirostatVersion::V1 => {
                let k = self.zipf_k(candidates);
                candidates.keep_top(k);
            }
            MirostatVersion::V2 => self.keep_surprise(candidates),
        }
        let drawn = draw(candidates, rng)?;
        self.mu -= f64::from(self.eta) * (drawn.surprise / std::f64::consts::LN_2 - f64::from(self.tau));
        Some(drawn.token)
    }

    /// Keeps the tokens with `-log2 p <= mu`, at least the most probable one.
    fn keep_surprise(&self, candidates: &mut Candidates) {
        let max = candidates.max();
        // -log2 p <= mu  <=>  logit >= max + ln(mass) - mu ln 2
        let mass = math::mass(candidates.logits(), max);
        let from = f64::from(max) + libm::log(mass) - self.mu * std::f64::consts::LN_2;
        candidates.keep_from(from.min(f64::from(max)));
    }

    /// Equations of section 4.1: `s` is fitted by least squares to the ratios of successive probabilities, and
    /// `k = ((s - 1) 2^mu / (1 - N^-(s - 1)))^(1/s)`.
    fn zipf_k(&mut self, candidates: &Candidates) -> usize {
        let all = self.n_vocab.max(1);
        candidates.top_entries(N_FIT, &mut self.entries);
        let (mut tb, mut tt) = (0.0, 0.0);
        for (i, pair) in self.entries.windows(2).enumerate() {
            let t = libm::log((i + 2) as f64 / (i + 1) as f64);
            // ln(p_i / p_i+1) is the difference of the logits.
            let b =
                if pair[0].logit == pair[1].logit { 0.0 } else { f64::from(pair[0].logit) - f64::from(pair[1].logit) };
            tb += t * b;
            tt += t * t;
        }
        let s = tb / tt;
        // A flat head has no law to extrapolate; a single candidate (0/0) or an infinite step has nothing to cut.
        if !s.is_finite() || s < 1e-6 {
            return if s.is_nan() || s > 0.0 && s.is_infinite() { 1 } else { all };
        }
        let e = s - 1.0;
        let n = all as f64;
        // (s - 1) / (1 - N^(1 - s)) tends to 1 / ln N as s tends to 1.
        let ratio = if e.abs() < 1e-9 { 1.0 / libm::log(n).max(1e-9) } else { e / (1.0 - libm::pow(n, -e)) };
        let k = libm::pow(ratio * libm::exp2(self.mu), 1.0 / s);
        // Not a number only for overflow on both sides; the clamp makes it all.
        if k.is_nan() { all } else { k.clamp(1.0, n) as usize }
    }
}
