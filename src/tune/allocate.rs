//! The cheapest choice of formats within a number of bytes.

use crate::dtype::DType;

/// One format that a tensor can have.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Choice {
    /// The format.
    pub dtype: DType,
    /// Bytes of the tensor in it.
    pub n_bytes: u64,
    /// What it costs: the expected divergence, in nats.
    pub cost: f64,
}

/// A step from one choice of a tensor to a larger one.
#[derive(Clone, Copy, Debug)]
struct Step {
    tensor: usize,
    to: usize,
    gain_per_byte: f64,
}

/// Which choice each tensor gets (its index), so that the bytes stay within `budget` and the sum of costs is as small as steps along
/// the convex hulls make it; `None` if even the smallest choices take more. A tensor has at least one choice.
///
/// Without the last few steps that do not fit any more this is the optimum of the relaxed problem (Everett 1963); what is left of the
/// budget goes to whatever still fits, best first.
pub fn allocate(tensors: &[Vec<Choice>], budget: u64) -> Option<Vec<usize>> {
    let hulls: Vec<Vec<usize>> = tensors.iter().map(|choices| hull(choices)).collect();
    let mut chosen: Vec<usize> = vec![0; tensors.len()]; // positions in the hulls
    let bytes_at = |tensor: usize, at: usize| tensors[tensor][hulls[tensor][at]].n_bytes;
    let mut left = budget.checked_sub((0..tensors.len()).map(|t| bytes_at(t, 0)).sum())?;
    let mut steps: Vec<Step> = Vec::new();
    for (tensor, hull) in hulls.iter().enumerate() {
        for to in 1..hull.len() {
            let (a, b) = (tensors[tensor][hull[to - 1]], tensors[tensor][hull[to]]);
            let gain_per_byte = (a.cost - b.cost) / (b.n_bytes - a.n_bytes) as f64;
            steps.push(Step { tensor, to, gain_per_byte });
        }
    }
    // Along a hull gains only fall, so that a tensor's steps stay in order.
    steps.sort_by(|a, b| b.gain_per_byte.total_cmp(&a.gain_per_byte));
    for step in steps {
        if chosen[step.tensor] + 1 != step.to {
            continue; // an earlier step did not fit
        }
        let more = bytes_at(step.tensor, step.to) - bytes_at(step.tensor, step.to - 1);
        if more <= left {
            left -= more;
            chosen[step.tensor] = step.to;
        }
    }
    Some(chosen.iter().enumerate().map(|(tensor, &at)| hulls[tensor][at]).collect())
}

/// The choices on the lower convex hull, from the smallest to the one of least cost: their indices.
fn hull(choices: &[Choice]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    order.sort_by(|&a, &b| {
        let (a, b) = (choices[a], choices[b]);
        a.n_bytes.cmp(&b.n_bytes).then(a.cost.total_cmp(&b.cost))
    });
    let mut hull: Vec<usize> = Vec::new();
    for i in order {
        let new = choices[i];
        // Larger and no better, or of the same size.
        if hull.last().is_some_and(|&last| choices[last].cost <= new.cost || choices[last].n_bytes == new.n_bytes) {
            continue;
        }
        while let [.., a, b] = hull[..] {
            let slope = |from: Choice, to: Choice| (from.cost - to.cost) / (to.n_bytes - from.n_bytes) as f64;
            if slope(choices[a], choices[b]) > slope(choices[b], new) {
                break;
            }
            hull.pop();
        }
        hull.push(i);
    }
    hull
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice(n_bytes: u64, cost: f64) -> Choice {
        Choice { dtype: DType::F32, n_bytes, cost }
    }

    #[test]
    fn the_hull_leaves_out_what_is_never_best() {
        let choices =
            [choice(10, 1.0), choice(4, 8.0), choice(6, 7.5), choice(8, 2.0), choice(12, 1.0), choice(4, 9.0)];
        assert_eq!(hull(&choices), [1, 3, 0]);
    }

    #[test]
    fn bytes_go_where_they_save_most() {
        let dear = vec![choice(4, 100.0), choice(6, 20.0), choice(8, 5.0)];
        let cheap = vec![choice(4, 1.0), choice(6, 0.2), choice(8, 0.05)];
        let tensors = [dear, cheap];
        assert_eq!(allocate(&tensors, 7), None);
        for (budget, expected) in [(8, [0, 0]), (9, [0, 0]), (10, [1, 0]), (12, [2, 0]), (14, [2, 1]), (99, [2, 2])] {
            assert_eq!(allocate(&tensors, budget), Some(expected.to_vec()), "{budget}");
        }
    }

    /// Against trying everything: never worse than the best that leaves as much room as the largest step.
    #[test]
    fn it_is_near_the_best_of_all_choices() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (state >> 40) as f64 / (1u64 << 24) as f64
        };
        for _ in 0..50 {
            let mut tensor = || {
                let scale = 0.1 + random();
                (0..4).map(|i| choice(2 + 2 * i, scale * (0.5 + random()) / 4f64.powi(i as i32))).collect::<Vec<_>>()
            };
            let tensors: Vec<Vec<Choice>> = (0..5).map(|_| tensor()).collect();
            let cost = |chosen: &[usize]| tensors.iter().zip(chosen).map(|(t, &i)| t[i].cost).sum::<f64>();
            let bytes = |chosen: &[usize]| tensors.iter().zip(chosen).map(|(t, &i)| t[i].n_bytes).sum::<u64>();
            let budget = 24;
            let chosen = allocate(&tensors, budget).unwrap();
            assert!(bytes(&chosen) <= budget);
            let all = (0..4usize.pow(5)).map(|n| (0..5).map(|t| n / 4usize.pow(t) % 4).collect::<Vec<_>>());
            let best = all.filter(|c| bytes(c) <= budget - 6).map(|c| cost(&c)).fold(f64::INFINITY, f64::min);
            assert!(cost(&chosen) <= best + 1e-12, "{} > {best}", cost(&chosen));
        }
    }
}
