//! The steps of a decoder besides the matrix products, in float64, each as the paper states it.

use rayon::prelude::*;

/// Root mean square normalization of every run of `weight.len()` elements, then the weight: `x / sqrt(mean(x^2) + eps) * w`
/// (Zhang and Sennrich 2019). With x (n_tokens, dim) and a weight of dim that is per token; with a weight of head_dim, per head.
pub(super) fn rms_norm(x: &mut [f64], weight: &[f32], eps: f64) {
    for x in x.chunks_exact_mut(weight.len()) {
        let mean_square = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        let scale = 1.0 / (mean_square + eps).sqrt();
        x.iter_mut().zip(weight).for_each(|(v, &w)| *v *= scale * f64::from(w));
    }
}

/// Adds `y` to `x`.
pub(super) fn add(x: &mut [f64], y: &[f64]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

/// `x * sigmoid(x)`.
pub(super) fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

/// The tanh form of GELU (Hendrycks and Gimpel 2016): `x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3)))`.
pub(super) fn gelu_tanh(x: f64) -> f64 {
    let inner = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
    0.5 * x * (1.0 + inner.tanh())
}

/// `cap * tanh(x / cap)`.
pub(super) fn soft_cap(x: f64, cap: f64) -> f64 {
    cap * (x / cap).tanh()
}

/// Rotary position embedding (Su et al. 2021) of one head: the first `2 * frequencies.len()` elements are rotated in pairs by
/// `position * frequency`. `pair(i)` gives the two elements that frequency i turns.
pub(super) fn rope(head: &mut [f64], position: usize, frequencies: &[f64], pair: impl Fn(usize) -> (usize, usize)) {
    for (i, frequency) in frequencies.iter().enumerate() {
        let (sin, cos) = (position as f64 * frequency).sin_cos();
        let (a, b) = pair(i);
        (head[a], head[b]) = (head[a] * cos - head[b] * sin, head[a] * sin + head[b] * cos);
    }
}

/// What attention needs to know besides its tensors.
pub(super) struct Attention {
    pub(super) n_heads: usize,
    pub(super) n_kv_heads: usize,
    pub(super) head_dim: usize,
    /// Factor on the scores, usually `1 / sqrt(head_dim)`.
    pub(super) scale: f64,
    /// Positions that a position sees, itself included; `None`: all before it.
    pub(super) window: Option<usize>,
}

impl Attention {
    /// The first position that `position` sees.
    fn first_seen(&self, position: usize) -> usize {
        self.window.map_or(0, |window| (position + 1).saturating_sub(window))
    }

    /// Causal attention of n_tokens positions with themselves: q (n_tokens, n_heads * head_dim), k (n_tokens, n_kv_heads *
    /// head_dim), v (n_tokens, n_kv_heads * head_dim) to (n_tokens, n_heads * head_dim). Consecutive query heads share a
    /// key head (Ainslie et al. 2023).
    pub(super) fn run(&self, q: &[f64], k: &[f64], v: &[f64]) -> Vec<f64> {
        let n_tokens = q.len() / (self.n_heads * self.head_dim);
        let mut out = vec![0.0; n_tokens * self.n_heads * self.head_dim];
        out.par_chunks_mut(self.head_dim).enumerate().for_each(|(at, out)| {
            let (position, head) = (at / self.n_heads, at % self.n_heads);
            let kv_head = head / (self.n_heads / self.n_kv_heads);
            let q = &q[at * self.head_dim..][..self.head_dim];
            let seen = self.first_seen(position)..position + 1;
            let key = |p: usize| &k[(p * self.n_kv_heads + kv_head) * self.head_dim..][..self.head_dim];
            let weights = softmax(seen.clone().map(|p| self.score(q, key(p))).collect());
            for (p, weight) in seen.zip(weights) {
                let value = &v[(p * self.n_kv_heads + kv_head) * self.head_dim..][..self.head_dim];
                out.iter_mut().zip(value).for_each(|(out, v)| *out += weight * v);
            }
        });
        out
    }

    fn score(&self, q: &[f64], k: &[f64]) -> f64 {
        q.iter().zip(k).map(|(q, k)| q * k).sum::<f64>() * self.scale
    }
}

fn softmax(mut x: Vec<f64>) -> Vec<f64> {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    x.iter_mut().for_each(|x| *x = (*x - max).exp());
    let sum: f64 = x.iter().sum();
    x.iter_mut().for_each(|x| *x /= sum);
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-9)
    }

    #[test]
    fn rms_norm_scales_every_run() {
        let mut x = [3.0, 4.0, 0.0, 0.0, 6.0, 8.0];
        rms_norm(&mut x, &[1.0, 2.0], 0.0);
        let rms = 12.5f64.sqrt();
        assert!(close(&x[..2], &[3.0 / rms, 8.0 / rms]) && close(&x[4..], &[3.0 / rms, 8.0 / rms]), "{x:?}");
        assert!(x[2].is_nan(), "eps of 0 divides by 0");
        let mut x = [0.0, 0.0];
        rms_norm(&mut x, &[1.0, 2.0], 1e-6);
        assert!(close(&x, &[0.0, 0.0]));
    }

    #[test]
    fn activations_have_their_published_values() {
        assert!((silu(1.0) - 0.731_058_578_630).abs() < 1e-9);
        assert!((gelu_tanh(1.0) - 0.841_191_990_607).abs() < 1e-9);
        assert!((soft_cap(30.0, 30.0) - 30.0 * 1f64.tanh()).abs() < 1e-12);
        assert_eq!((silu(-800.0), gelu_tanh(0.0)), (0.0, 0.0));
    }

    #[test]
    fn rope_turns_the_pairs_it_is_told_and_leaves_the_rest() {
        let quarter = std::f64::consts::FRAC_PI_2;
        let mut adjacent = [1.0, 0.0, 0.0, 1.0, 7.0];
        rope(&mut adjacent, 1, &[quarter, 2.0 * quarter], |i| (2 * i, 2 * i + 1));
        assert!(close(&adjacent, &[0.0, 1.0, 0.0, -1.0, 7.0]), "{adjacent:?}");
        let mut split = [1.0, 0.0, 0.0, 1.0, 7.0];
        rope(&mut split, 2, &[quarter, quarter / 2.0], |i| (i, i + 2));
        assert!(close(&split, &[-1.0, -1.0, 0.0, 0.0, 7.0]), "{split:?}");
    }

    /// Two query heads share one key head of width 1; keys are 0, so every seen position weighs the same.
    fn uniform(window: Option<usize>) -> Vec<f64> {
        let attention = Attention { n_heads: 2, n_kv_heads: 1, head_dim: 1, scale: 1.0, window };
        attention.run(&[5.0; 8], &[0.0; 4], &[1.0, 3.0, 8.0, 0.0])
    }

    #[test]
    fn attention_sees_itself_and_the_past_up_to_its_window() {
        assert!(close(&uniform(None), &[1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 3.0, 3.0]));
        assert!(close(&uniform(Some(2)), &[1.0, 1.0, 2.0, 2.0, 5.5, 5.5, 4.0, 4.0]));
        assert!(close(&uniform(Some(1)), &[1.0, 1.0, 3.0, 3.0, 8.0, 8.0, 0.0, 0.0]));
    }

    #[test]
    fn attention_weighs_by_scaled_scores_of_its_own_key_head() {
        let attention = Attention { n_heads: 2, n_kv_heads: 2, head_dim: 2, scale: 0.5, window: None };
        // At position 1, head 0 has scores 0 and ln 3, head 1 equal ones.
        let (q, ln3) = ([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], 3f64.ln());
        let k = [0.0, 0.0, 2.0, 2.0, ln3, ln3, 4.0, 0.0];
        let v = [0.0, 1.0, 0.0, 2.0, 4.0, 5.0, 8.0, 4.0];
        assert!(close(&attention.run(&q, &k, &v)[4..], &[3.0, 4.0, 4.0, 3.0]));
    }
}
