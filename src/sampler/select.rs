//! The k largest of many logits, in order, without sorting the rest.
//!
//! ```text
//! for each block of 64 logits:
//!     skip it when its maximum is not above the threshold
//!     collect the logits above the threshold; when 2k are held, keep the best k, and the threshold is the k-th
//! keep the best k, sort them
//! ```
//!
//! Almost every block of a real distribution is skipped after one vector maximum, so the cost is about one pass over
//! the logits. The worst case, ascending logits, still costs O(n) selections.

use std::cmp::Ordering;

use super::math;

/// A logit and its position in the list it came from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Entry {
    pub logit: f32,
    pub index: u32,
}

/// Larger logits first, equal ones (0 and -0 too) by position: without NaN a total order, so that the result of an
/// unstable sort is unique.
pub(super) fn descending(a: &Entry, b: &Entry) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.index.cmp(&b.index))
}

/// Puts the `k` largest of `logits` into `out`, in [`descending`] order; fewer when fewer are above `-inf`. No NaN.
pub(super) fn top(logits: &[f32], k: usize, out: &mut Vec<Entry>) {
    const BLOCK: usize = 64;
    out.clear();
    let k = k.min(logits.len());
    if k == 0 {
        return;
    }
    let held = (2 * k).max(64);
    let mut threshold = f32::NEG_INFINITY;
    for (block, first) in logits.chunks(BLOCK).zip((0u32..).step_by(BLOCK)) {
        if math::max(block) <= threshold {
            continue;
        }
        for (&logit, index) in block.iter().zip(first..) {
            if logit > threshold {
                out.push(Entry { logit, index });
                if out.len() == held {
                    keep_first(out, k);
                    // Later equals of the k-th lose to it by position, so only larger ones matter from here on.
                    threshold = out.last().map_or(threshold, |e| e.logit);
                }
            }
        }
    }
    keep_first(out, k);
    out.sort_unstable_by(descending);
}

/// Keeps the first `k` entries in [`descending`] order, the k-th at the end, the others in any order.
fn keep_first(out: &mut Vec<Entry>, k: usize) {
    if out.len() > k {
        out.select_nth_unstable_by(k - 1, descending);
        out.truncate(k);
    }
}
