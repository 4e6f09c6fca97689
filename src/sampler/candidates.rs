//! The tokens that are still in the running, and their logits.

use super::math;
use super::select::{self, Entry};

/// Tokens with their logits, on the way through the chain of stages.
///
/// Three shapes, so that no stage pays for a sort it does not need:
/// * *whole*: one logit per token of the vocabulary, `-inf` for an excluded one (how every chain starts);
/// * *by id*: some tokens, ascending by id;
/// * *descending*: some tokens, larger logits first, equal logits by ascending id.
///
/// Every shape is canonical: it depends on the logits alone, never on an algorithm's choices, so that sums over the
/// candidates are the same bits everywhere.
#[derive(Clone, Debug)]
pub struct Candidates {
    logits: Vec<f32>, // (n) in the order of the shape
    ids: Vec<u32>,    // (n), unused when whole
    shape: Shape,
    entries: Vec<Entry>, // scratch of the selections
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Whole,
    ById,
    Descending,
}

impl Candidates {
    /// No candidates yet, with room for a vocabulary of `n_vocab`.
    pub fn new(n_vocab: usize) -> Self {
        Candidates { logits: Vec::with_capacity(n_vocab), ids: Vec::new(), shape: Shape::Whole, entries: Vec::new() }
    }

    /// All tokens, with these logits: `(n_vocab)`, no NaN.
    pub fn load(&mut self, logits: &[f32]) {
        self.logits.clear();
        self.logits.extend_from_slice(logits);
        self.ids.clear();
        self.shape = Shape::Whole;
    }

    /// These tokens, in any order, with these logits: no NaN. Excluded ones (`-inf`) are left out.
    pub fn load_some(&mut self, tokens: impl IntoIterator<Item = (u32, f32)>) {
        self.logits.clear();
        self.ids.clear();
        for (id, logit) in tokens {
            self.ids.push(id);
            self.logits.push(logit);
        }
        self.shape = Shape::ById;
        self.sort();
    }

    /// The candidates in order: token id and logit. Excluded tokens (`-inf`) are passed over.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        (0..self.logits.len()).filter(|&i| self.logits[i] > f32::NEG_INFINITY).map(|i| (self.id(i), self.logits[i]))
    }

    /// How many tokens are in the running.
    pub fn count(&self) -> usize {
        self.logits.iter().filter(|&&x| x > f32::NEG_INFINITY).count()
    }

    /// The largest logit, `-inf` when no token is left.
    pub fn max(&self) -> f32 {
        match self.shape {
            Shape::Descending => self.logits.first().copied().unwrap_or(f32::NEG_INFINITY),
            _ => math::max(&self.logits),
        }
    }

    /// The logits in order, `-inf` for excluded ones.
    pub(super) fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The token at position `i` of [`Self::logits`].
    pub(super) fn id(&self, i: usize) -> u32 {
        if self.shape == Shape::Whole { i as u32 } else { self.ids[i] }
    }

    /// Replaces the logits of the tokens named in `edits`, ascending by token and each named once.
    pub(super) fn edit<T>(&mut self, edits: &[(u32, T)], f: impl Fn(f32, &T) -> f32) {
        if self.shape == Shape::Whole {
            for (token, value) in edits {
                if let Some(logit) = self.logits.get_mut(*token as usize) {
                    *logit = f(*logit, value);
                }
            }
            return;
        }
        for (id, logit) in self.ids.iter().zip(&mut self.logits) {
            if let Ok(at) = edits.binary_search_by_key(id, |(token, _)| *token) {
                *logit = f(*logit, &edits[at].1);
            }
        }
        if self.shape == Shape::Descending {
            self.sort();
        }
    }

    /// Divides every logit by `divisor`, which is positive.
    pub(super) fn divide(&mut self, divisor: f32) {
        self.logits.iter_mut().for_each(|x| *x /= divisor);
    }

    /// Keeps the `k` largest, in descending order; all of them, sorted, when there are no more than `k`.
    pub fn keep_top(&mut self, k: usize) {
        if self.shape == Shape::Descending {
            self.logits.truncate(k);
            self.ids.truncate(k);
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        select::top(&self.logits, k, &mut entries);
        self.keep_entries(&entries);
        self.entries = entries;
    }

    /// The shortest prefix of the descending order whose weights sum to at least `mass`, at least one token: keeps it.
    pub(super) fn keep_mass(&mut self, mass: f64) {
        let max = self.max();
        let mut entries = std::mem::take(&mut self.entries);
        let n = self.logits.len();
        // Real distributions are decided in the first round; each further round looks eight times as far.
        for k in [64, 512, 4096, 32_768, n] {
            self.top_entries(k, &mut entries);
            let mut sum = 0.0;
            let cut = entries.iter().position(|e| {
                sum += f64::from(math::weight(e.logit, max));
                sum >= mass
            });
            if let Some(cut) = cut {
                entries.truncate(cut + 1);
            }
            if cut.is_some() || k >= n {
                break;
            }
        }
        self.keep_entries(&entries);
        self.entries = entries;
    }

    /// Keeps the candidates with a logit of at least `threshold`; their order stays.
    pub(super) fn keep_from(&mut self, threshold: f64) {
        // The smallest f32 that is not below the threshold decides the same, in f32.
        let mut floor = threshold as f32;
        if f64::from(floor) < threshold {
            floor = floor.next_up();
        }
        match self.shape {
            Shape::Descending => {
                let n = self.logits.partition_point(|&x| x >= floor);
                self.logits.truncate(n);
                self.ids.truncate(n);
            }
            _ => self.retain(|_, logit| logit >= floor),
        }
    }

    /// Keeps the candidates for which `keep(position, logit)`; their order stays. Excluded tokens go in any case.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(usize, f32) -> bool) {
        if self.shape == Shape::Whole {
            self.ids.clear();
            self.ids.extend(0..self.logits.len() as u32);
            self.shape = Shape::ById;
        }
        let mut n = 0;
        for i in 0..self.logits.len() {
            let logit = self.logits[i];
            if logit > f32::NEG_INFINITY && keep(i, logit) {
                self.logits[n] = logit;
                self.ids[n] = self.ids[i];
                n += 1;
            }
        }
        self.logits.truncate(n);
        self.ids.truncate(n);
    }

    /// The `k` largest into `entries`, in descending order, leaving the candidates as they are.
    pub(super) fn top_entries(&self, k: usize, entries: &mut Vec<Entry>) {
        if self.shape == Shape::Descending {
            entries.clear();
            entries.extend(self.logits.iter().zip(0u32..).take(k).map(|(&logit, index)| Entry { logit, index }));
        } else {
            select::top(&self.logits, k, entries);
        }
    }

    /// Sorts what is left: descending.
    pub(super) fn sort(&mut self) {
        // Positions must follow ids for ties to fall to the lower id; edits and selections may have broken that.
        let mut entries = std::mem::take(&mut self.entries);
        entries.clear();
        entries.extend((0..self.logits.len()).map(|i| Entry { logit: self.logits[i], index: self.id(i) }));
        entries.retain(|e| e.logit > f32::NEG_INFINITY);
        entries.sort_unstable_by(select::descending);
        self.logits.clear();
        self.logits.extend(entries.iter().map(|e| e.logit));
        self.ids.clear();
        self.ids.extend(entries.iter().map(|e| e.index));
        self.shape = Shape::Descending;
        self.entries = entries;
    }

    /// Keeps the entries, which are in descending order and whose indices are positions here.
    fn keep_entries(&mut self, entries: &[Entry]) {
        // Gather the ids in front of the old ones, then drop the old ones: no second buffer.
        let n_old = if self.shape == Shape::Whole { 0 } else { self.ids.len() };
        self.ids.truncate(n_old);
        for e in entries {
            let id = if self.shape == Shape::Whole { e.index } else { self.ids[e.index as usize] };
            self.ids.push(id);
        }
        self.ids.drain(..n_old);
        self.logits.clear();
        self.logits.extend(entries.iter().map(|e| e.logit));
        self.shape = Shape::Descending;
    }
}
