//! Each stage of the sampler against a plain f64 reference and against values worked out by hand from its definition.

use oribi::sampler::{
    Candidates, Dry, LogitBias, MinP, Mirostat, MirostatVersion, Penalties, Rng, Stage, Temperature, TopK, TopNSigma,
    TopP, Typical, Xtc,
};
use proptest::prelude::*;

const NEG_INF: f32 = f32::NEG_INFINITY;

/// What a stage leaves of the logits: token and logit in the candidates' order.
fn apply(stage: &mut dyn Stage, logits: &[f32]) -> Vec<(u32, f32)> {
    apply_all(&mut [stage], logits)
}

fn apply_all(stages: &mut [&mut dyn Stage], logits: &[f32]) -> Vec<(u32, f32)> {
    let mut candidates = Candidates::new(logits.len());
    candidates.load(logits);
    let mut rng = Rng::new(0);
    stages.iter_mut().for_each(|s| s.apply(&mut candidates, &mut rng));
    assert_eq!(candidates.count(), candidates.iter().count());
    assert_eq!(candidates.max(), candidates.iter().map(|c| c.1).fold(NEG_INF, f32::max));
    candidates.iter().collect()
}

fn ids(candidates: &[(u32, f32)]) -> Vec<u32> {
    candidates.iter().map(|c| c.0).collect()
}

fn sorted_ids(candidates: &[(u32, f32)]) -> Vec<u32> {
    let mut ids = ids(candidates);
    ids.sort_unstable();
    ids
}

fn ln(probabilities: &[f64]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln() as f32).collect()
}

/// The candidates of some logits with their probabilities, most probable first, equal ones by id: the reference.
fn reference(logits: &[f32]) -> Vec<(u32, f64)> {
    let max = logits.iter().copied().fold(NEG_INF, f32::max);
    let weights = logits.iter().map(|&l| f64::from(l - max).exp());
    let sum: f64 = weights.clone().sum();
    let mut all: Vec<(u32, f64)> = (0u32..).zip(weights.map(|w| w / sum)).collect();
    all.retain(|&(id, _)| logits[id as usize] > NEG_INF);
    all.sort_by(|a, b| logits[b.0 as usize].total_cmp(&logits[a.0 as usize]).then(a.0.cmp(&b.0)));
    all
}

fn entropy(all: &[(u32, f64)]) -> f64 {
    all.iter().filter(|a| a.1 > 0.0).map(|a| -a.1 * a.1.ln()).sum()
}

// ---------------------------------------------------------------------------------------------- by hand

#[test]
fn top_k_keeps_the_largest_and_breaks_ties_by_id() {
    assert_eq!(ids(&apply(&mut TopK(3), &[1.0, 5.0, 3.0, 5.0, 3.0])), [1, 3, 2]);
    assert_eq!(ids(&apply(&mut TopK(9), &[1.0, NEG_INF, 3.0])), [2, 0]);
    assert_eq!(ids(&apply(&mut TopK(2), &[-0.0, 0.0, -0.0])), [0, 1]);
}

/// Holtzman 2019: the smallest set of the most probable tokens with at least the mass p.
#[test]
fn top_p_by_hand() {
    let logits = ln(&[0.125, 0.5, 0.25, 0.125]);
    for (p, kept) in [(0.0, vec![1]), (0.49, vec![1]), (0.51, vec![1, 2]), (0.74, vec![1, 2]), (0.76, vec![1, 2, 0])] {
        assert_eq!(ids(&apply(&mut TopP(p), &logits)), kept, "p = {p}");
    }
    assert_eq!(apply(&mut TopP(1.0), &logits).len(), 4);
}

/// Nguyen 2024: at least p times the highest probability.
#[test]
fn min_p_by_hand() {
    let logits = ln(&[0.125, 0.5, 0.25, 0.125]);
    for (p, kept) in [(0.0, vec![0, 1, 2, 3]), (0.24, vec![0, 1, 2, 3]), (0.26, vec![1, 2]), (0.51, vec![1])] {
        assert_eq!(ids(&apply(&mut MinP(p), &logits)), kept, "p = {p}");
    }
    assert_eq!(ids(&apply(&mut MinP(1.0), &[2.0, 1.0, 2.0])), [0, 2]);
}

/// Meister 2022. The entropy is 1.75 bits; the information contents are 1, 2, 3 and 3 bits, at distances of 0.75, 0.25,
/// 1.25 and 1.25: the second token is the most typical one.
#[test]
fn typical_by_hand() {
    let logits = ln(&[0.5, 0.25, 0.125, 0.125]);
    for (p, kept) in [(0.0, vec![1]), (0.24, vec![1]), (0.26, vec![0, 1]), (0.74, vec![0, 1]), (0.76, vec![0, 1, 2])] {
        assert_eq!(sorted_ids(&apply(&mut Typical::new(p), &logits)), kept, "p = {p}");
    }
}

/// Tang 2024. Mean 1, population variance 5, deviation 2.236.
#[test]
fn top_n_sigma_by_hand() {
    let logits = [4.0, NEG_INF, 2.0, 0.0, -2.0];
    for (n, kept) in [(0.5, vec![0]), (1.0, vec![0, 2]), (2.0, vec![0, 2, 3]), (3.0, vec![0, 2, 3, 4])] {
        assert_eq!(ids(&apply(&mut TopNSigma(n), &logits)), kept, "n = {n}");
    }
}

#[test]
fn xtc_by_hand() {
    let logits = ln(&[0.2, 0.4, 0.3, 0.1]);
    let kept = |probability, threshold| sorted_ids(&apply(&mut Xtc { probability, threshold }, &logits));
    assert_eq!(kept(1.0, 0.15), [0, 3]); // 0.4, 0.3 and 0.2 are top choices; the least of them stays
    assert_eq!(kept(1.0, 0.25), [0, 2, 3]);
    assert_eq!(kept(1.0, 0.35), [0, 1, 2, 3]); // only one top choice
    assert_eq!(kept(1.0, 0.45), [0, 1, 2, 3]); // none
    assert_eq!(kept(0.0, 0.15), [0, 1, 2, 3]);
}

#[test]
fn logit_bias_adds_and_excludes() {
    let mut bias = LogitBias::new(&[(2, 1.5), (0, NEG_INF), (2, 0.5), (3, NEG_INF)]);
    assert_eq!(apply(&mut bias, &[9.0, 1.0, 1.0, f32::INFINITY]), [(1, 1.0), (2, 3.0)]);
}

/// Keskar 2019 divides; logits below 0 are multiplied. Frequency counts, presence does not.
#[test]
fn penalties_by_hand() {
    let logits = [4.0, -4.0, 4.0, 1.0];
    let mut repeat = Penalties::new(Some(3), 2.0, 0.0, 0.0);
    [3, 0, 1].iter().for_each(|&t| repeat.accept(t));
    assert_eq!(apply(&mut repeat, &logits), [(0, 2.0), (1, -8.0), (2, 4.0), (3, 0.5)]);
    repeat.accept(1); // token 3 leaves the window
    assert_eq!(apply(&mut repeat, &logits), [(0, 2.0), (1, -8.0), (2, 4.0), (3, 1.0)]);
    repeat.reset();
    assert_eq!(apply(&mut repeat, &logits)[0], (0, 4.0));

    let mut counted = Penalties::new(None, 1.0, 0.5, 0.25);
    [2, 0, 2].iter().for_each(|&t| counted.accept(t));
    assert_eq!(apply(&mut counted, &logits), [(0, 3.25), (1, -4.0), (2, 2.75), (3, 1.0)]);
}

fn dry(breakers: &[Vec<u32>], tokens: &[u32]) -> Dry {
    let mut dry = Dry::new(0.8, 1.75, 2, None, breakers);
    tokens.iter().for_each(|&t| dry.accept(t));
    dry
}

/// 1 2 3 9 1 2 3: a match of 3 tokens, so 9 costs 0.8 * 1.75^(3 - 2).
#[test]
fn dry_by_hand() {
    let logits = [0.0f32; 10];
    let penalty = |breakers: &[Vec<u32>], tokens: &[u32]| -> Vec<(u32, f32)> {
        let left = apply(&mut dry(breakers, tokens), &logits);
        left.into_iter().filter(|c| c.1 != 0.0).collect()
    };
    assert_eq!(penalty(&[], &[1, 2, 3, 9, 1, 2, 3]), [(9, -1.4)]);
    assert_eq!(penalty(&[], &[2, 3, 9, 1, 2, 3]), [(9, -0.8)]);
    assert_eq!(penalty(&[], &[3, 9, 1, 2, 3]), []); // below the allowed length
    assert_eq!(penalty(&[vec![1]], &[1, 2, 3, 9, 1, 2, 3]), [(9, -0.8)]); // the match stops at the breaker
    assert_eq!(penalty(&[vec![1, 2]], &[1, 2, 3, 9, 1, 2, 3]), []);
    assert_eq!(penalty(&[vec![2, 1]], &[1, 2, 3, 9, 1, 2, 3]), [(9, -1.4)]);
    assert_eq!(penalty(&[vec![9]], &[1, 2, 3, 9, 1, 2, 3]), []); // a breaker itself is free
    // The longer of two matches counts: 8 follows "2 3" and "1 2 3".
    assert_eq!(penalty(&[], &[2, 3, 8, 1, 2, 3, 8, 7, 1, 2, 3]), [(8, -1.4)]);
    // A growing repetition of one token stays a number and never un-excludes a token.
    let mut long = Dry::new(1e6, 1e6, 1, None, &[]);
    (0..100).for_each(|_| long.accept(1));
    assert_eq!(apply(&mut long, &[0.0, 0.0])[1], (1, f32::MIN));
    assert_eq!(ids(&apply(&mut long, &[0.0, NEG_INF])), [0]);
}

#[test]
fn temperature_by_hand() {
    let mut half = Temperature { temp: 0.5, range: 0.0, exponent: 1.0 };
    assert_eq!(apply(&mut half, &[1.0, -3.0, NEG_INF]), [(0, 2.0), (1, -6.0)]);
    // A quotient beyond f32 is the limit: the maximum alone.
    let mut cold = Temperature { temp: 1e-38, range: 0.0, exponent: 1.0 };
    assert_eq!(apply(&mut cold, &[3.0, 7.0, 7.0]), [(1, 7.0)]);
}

/// Even logits have the highest entropy, a sure one the lowest; p = (0.8, 0.2) has 0.7219 of a bit.
#[test]
fn dynamic_temperature_by_hand() {
    let mut stage = Temperature { temp: 1.0, range: 0.5, exponent: 2.0 };
    let even = apply(&mut stage, &[3.0, 3.0, 3.0]);
    assert!(even.iter().all(|c| (c.1 - 2.0).abs() < 1e-6), "{even:?}");
    let sure = apply(&mut stage, &[0.0, -50.0]);
    assert!((sure[1].1 + 100.0).abs() < 1e-4, "{sure:?}");
    let between = apply(&mut stage, &ln(&[0.8, 0.2]));
    let t = 0.5 + 0.721_928_1_f64.powi(2);
    assert!((f64::from(between[1].1) - 0.2f64.ln() / t).abs() < 1e-5, "{between:?}");
}

/// Basu 2020, algorithm 1, on an exact Zipf law with s = 1.5 and N = 1000: mu = 6 gives
/// k = ((0.5 * 64) / (1 - 1000^-0.5))^(1 / 1.5) = 10.3.
#[test]
fn mirostat_1_by_hand() {
    let logits: Vec<f32> = (1..=1000).map(|i| (-1.5 * f64::from(i).ln()) as f32).collect();
    let mut candidates = Candidates::new(1000);
    candidates.load(&logits);
    let mut mirostat = Mirostat::new(MirostatVersion::V1, 3.0, 0.1, 1000);
    let token = mirostat.pick(&mut candidates, &mut Rng::new(1)).unwrap();
    assert_eq!(ids(&candidates.iter().collect::<Vec<_>>()), (0..10).collect::<Vec<_>>());
    let kept = reference(&logits[..10]);
    let surprise = -kept[token as usize].1.log2();
    assert!((mirostat.mu() - (6.0 - 0.1 * (surprise - 3.0))).abs() < 1e-5);
}

#[test]
fn mirostat_1_survives_degenerate_heads() {
    for logits in [vec![1.0], vec![1.0, 1.0, 1.0], vec![0.0, -1e30], vec![f32::INFINITY, 0.0], vec![5.0, NEG_INF]] {
        let mut candidates = Candidates::new(logits.len());
        candidates.load(&logits);
        let mut mirostat = Mirostat::new(MirostatVersion::V1, 5.0, 0.1, logits.len());
        let token = mirostat.pick(&mut candidates, &mut Rng::new(1)).unwrap();
        assert!(logits[token as usize] > NEG_INF && mirostat.mu().is_finite(), "{logits:?}");
    }
}

/// Version 2 keeps the tokens of at most mu = 2 tau bits: with tau = 1, those of p >= 1/4.
#[test]
fn mirostat_2_by_hand() {
    let logits = ln(&[0.26, 0.4, 0.1, 0.24]);
    let mut candidates = Candidates::new(4);
    candidates.load(&logits);
    let mut mirostat = Mirostat::new(MirostatVersion::V2, 1.0, 0.5, 4);
    let token = mirostat.pick(&mut candidates, &mut Rng::new(3)).unwrap();
    assert_eq!(ids(&candidates.iter().collect::<Vec<_>>()), [0, 1]);
    let surprise = -([0.26f64, 0.4][token as usize] / 0.66).log2();
    assert!((mirostat.mu() - (2.0 - 0.5 * (surprise - 1.0))).abs() < 1e-5);
}

/// The controller holds the average surprise at tau, whatever the temperature of the model.
#[test]
fn mirostat_reaches_its_target() {
    for version in [MirostatVersion::V1, MirostatVersion::V2] {
        let logits: Vec<f32> = (1..=2000).map(|i| (-1.1 * f64::from(i).ln()) as f32).collect();
        let mut mirostat = Mirostat::new(version, 4.0, 0.1, 2000);
        let mut rng = Rng::new(11);
        let mut candidates = Candidates::new(2000);
        let mut sum = 0.0;
        let n = 3000;
        for _ in 0..n {
            candidates.load(&logits);
            let before = mirostat.mu();
            mirostat.pick(&mut candidates, &mut rng).unwrap();
            sum += (before - mirostat.mu()) / 0.1f32 as f64 + 4.0;
        }
        assert!((sum / f64::from(n) - 4.0).abs() < 0.1, "{version:?}: {}", sum / f64::from(n));
    }
}

// ---------------------------------------------------------------------------------------------- properties

/// Logits with ties, excluded tokens and at least one candidate; long enough to cross the blocks of the vector code.
fn logits() -> impl Strategy<Value = Vec<f32>> {
    let logit = prop_oneof![
        6 => (-40i32..40).prop_map(|q| q as f32 * 0.25),
        3 => -12.0f32..12.0,
        1 => Just(NEG_INF),
    ];
    let any_length = prop_oneof![1usize..20, 60usize..70, 1000usize..2100];
    any_length.prop_flat_map(move |n| prop::collection::vec(logit.clone(), n)).prop_map(|mut v| {
        if v.iter().all(|&x| x == NEG_INF) {
            v[0] = 0.0;
        }
        v
    })
}

fn is_descending(kept: &[(u32, f32)]) -> bool {
    kept.windows(2).all(|w| w[0].1 > w[1].1 || (w[0].1 == w[1].1 && w[0].0 < w[1].0))
}

fn is_subset(small: &[(u32, f32)], large: &[(u32, f32)]) -> bool {
    let large = sorted_ids(large);
    small.iter().all(|c| large.binary_search(&c.0).is_ok())
}

/// A truncating stage gives the same set whether the candidates come whole or sorted, and never changes a logit.
fn same_from_any_shape(stage: &mut (impl Stage + Clone), logits: &[f32]) {
    let whole = apply(&mut stage.clone(), logits);
    let sorted = apply_all(&mut [&mut TopK(logits.len()), stage], logits);
    let biased = apply_all(&mut [&mut MinP(f32::MIN_POSITIVE), stage], logits);
    assert_eq!(sorted_ids(&whole), sorted_ids(&sorted));
    assert_eq!(sorted_ids(&whole), sorted_ids(&biased));
    assert!(!whole.is_empty());
    assert!(whole.iter().all(|&(id, logit)| logits[id as usize] == logit));
}

fn mass_of(kept: &[(u32, f32)], all: &[(u32, f64)]) -> f64 {
    let kept = sorted_ids(kept);
    all.iter().filter(|a| kept.binary_search(&a.0).is_ok()).map(|a| a.1).sum()
}

proptest! {
    #[test]
    fn top_k_is_a_prefix_of_the_sort(logits in logits(), k in 1usize..300) {
        let kept = apply(&mut TopK(k), &logits);
        let want: Vec<u32> = reference(&logits).iter().take(k).map(|a| a.0).collect();
        prop_assert_eq!(ids(&kept), want);
        prop_assert_eq!(apply_all(&mut [&mut TopK(k), &mut TopK(k)], &logits), kept);
        same_from_any_shape(&mut TopK(k), &logits);
    }

    #[test]
    fn top_p_is_the_smallest_set_of_that_mass(logits in logits(), p in 0.0f32..0.999, q in 0.0f32..0.999) {
        let kept = apply(&mut TopP(p), &logits);
        let all = reference(&logits);
        prop_assert!(is_descending(&kept));
        prop_assert_eq!(ids(&kept), all.iter().take(kept.len()).map(|a| a.0).collect::<Vec<_>>());
        prop_assert!(mass_of(&kept, &all) >= f64::from(p) - 1e-5);
        prop_assert!(kept.len() == 1 || mass_of(&kept[..kept.len() - 1], &all) < f64::from(p) + 1e-5);
        let (low, high) = (p.min(q), p.max(q));
        prop_assert!(is_subset(&apply(&mut TopP(low), &logits), &apply(&mut TopP(high), &logits)));
        same_from_any_shape(&mut TopP(p), &logits);
    }

    #[test]
    fn min_p_keeps_that_fraction_of_the_maximum(logits in logits(), p in 0.0f32..=1.0, q in 0.0f32..=1.0) {
        let kept = apply(&mut MinP(p), &logits);
        let all = reference(&logits);
        for (id, probability) in &all {
            let ratio = probability / all[0].1 - f64::from(p);
            if ratio.abs() > 1e-5 {
                prop_assert_eq!(ids(&kept).contains(id), ratio > 0.0);
            }
        }
        prop_assert_eq!(apply_all(&mut [&mut MinP(p), &mut MinP(p)], &logits), kept);
        prop_assert!(is_subset(&apply(&mut MinP(p.max(q)), &logits), &apply(&mut MinP(p.min(q)), &logits)));
        same_from_any_shape(&mut MinP(p), &logits);
    }

    #[test]
    fn typical_keeps_the_nearest_to_the_entropy(logits in logits(), p in 0.0f32..0.999) {
        let kept = apply(&mut Typical::new(p), &logits);
        let all = reference(&logits);
        let h = entropy(&all);
        let distance = |id: u32| all.iter().find(|a| a.0 == id).map(|a| (-a.1.ln() - h).abs()).unwrap();
        let farthest = kept.iter().map(|c| distance(c.0)).fold(0.0, f64::max);
        let kept_ids = sorted_ids(&kept);
        let dropped = all.iter().filter(|a| kept_ids.binary_search(&a.0).is_err());
        prop_assert!(dropped.map(|a| (-a.1.ln() - h).abs()).all(|d| d >= farthest - 1e-4));
        prop_assert!(mass_of(&kept, &all) >= f64::from(p) - 1e-5);
        // Minimal: without its least typical token (any of them, where several are as far) the mass falls short.
        let last = kept.iter().filter(|c| distance(c.0) >= farthest - 1e-4).map(|c| mass_of(&[*c], &all)).fold(0.0, f64::max);
        prop_assert!(kept.len() == 1 || mass_of(&kept, &all) - last < f64::from(p) + 1e-5);
        same_from_any_shape(&mut Typical::new(p), &logits);
    }

    #[test]
    fn top_n_sigma_keeps_logits_near_the_maximum(logits in logits(), n in 0.01f32..4.0, m in 0.01f32..4.0) {
        let kept = apply(&mut TopNSigma(n), &logits);
        let finite: Vec<f64> = logits.iter().filter(|l| **l > NEG_INF).map(|l| f64::from(*l)).collect();
        let mean = finite.iter().sum::<f64>() / finite.len() as f64;
        let sigma = (finite.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / finite.len() as f64).sqrt();
        let max = finite.iter().copied().fold(f64::MIN, f64::max);
        for (id, &logit) in logits.iter().enumerate() {
            let above = f64::from(logit) - (max - f64::from(n) * sigma);
            if above.abs() > 1e-6 {
                prop_assert_eq!(sorted_ids(&kept).contains(&(id as u32)), above > 0.0);
            }
        }
        prop_assert!(is_subset(&apply(&mut TopNSigma(n.min(m)), &logits), &apply(&mut TopNSigma(n.max(m)), &logits)));
        // It looks at the logits before any other truncation; scaling and shifting them changes nothing.
        let scaled: Vec<f32> = logits.iter().map(|l| l * 0.5).collect();
        prop_assert_eq!(sorted_ids(&apply(&mut TopNSigma(n), &scaled)), sorted_ids(&kept));
    }

    #[test]
    fn xtc_drops_all_top_choices_but_the_least(logits in logits(), threshold in 0.001f32..0.5) {
        let kept = apply(&mut Xtc { probability: 1.0, threshold }, &logits);
        let all = reference(&logits);
        prop_assume!(all.iter().all(|a| (a.1 - f64::from(threshold)).abs() > 1e-6));
        let n_top = all.iter().take_while(|a| a.1 >= f64::from(threshold)).count();
        let mut want: Vec<u32> = all.iter().skip(n_top.saturating_sub(1)).map(|a| a.0).collect();
        want.sort_unstable();
        prop_assert_eq!(sorted_ids(&kept), want);
        same_from_any_shape(&mut Xtc { probability: 1.0, threshold }, &logits);
    }

    #[test]
    fn temperature_keeps_the_order_and_moves_the_entropy(logits in logits(), t in 0.1f32..3.0, u in 0.1f32..3.0) {
        let at = |temp| apply(&mut Temperature { temp, range: 0.0, exponent: 1.0 }, &logits);
        let entropy_at = |temp| entropy(&reference(&at(temp).iter().map(|c| c.1).collect::<Vec<_>>()));
        let (cold, warm) = (t.min(u), t.max(u));
        prop_assert!(entropy_at(cold) <= entropy_at(warm) + 1e-4);
        let out = at(t);
        for (a, b) in out.iter().zip(out.iter().skip(1)) {
            let (x, y) = (logits[a.0 as usize], logits[b.0 as usize]);
            let ordered = (x > y && a.1 >= b.1) || (x < y && a.1 <= b.1) || (x == y && a.1 == b.1);
            prop_assert!(ordered, "{x} {y} became {} {}", a.1, b.1);
        }
        let one = at(1.0);
        prop_assert!(one.iter().all(|&(id, l)| logits[id as usize] == l));
    }

    #[test]
    fn dynamic_temperature_stays_in_its_range(logits in logits(), t in 0.3f32..2.0, range in 0.01f32..0.3, e in 0.1f32..3.0) {
        let out = apply(&mut Temperature { temp: t, range, exponent: e }, &logits);
        for (id, l) in out {
            let x = logits[id as usize];
            let (a, b) = (x / (t - range), x / (t + range));
            prop_assert!(l >= a.min(b) - 1e-4 * a.abs() && l <= a.max(b) + 1e-4 * a.abs(), "{x} -> {l}");
        }
    }

    #[test]
    fn penalties_match_a_plain_count(
        logits in prop::collection::vec(-8.0f32..8.0, 12),
        tokens in prop::collection::vec(0u32..12, 0..60),
        last_n in prop::option::of(1usize..50),
        (repeat, frequency, presence) in (0.5f32..2.0, -1.0f32..1.0, -1.0f32..1.0),
    ) {
        let mut stage = Penalties::new(last_n, repeat, frequency, presence);
        tokens.iter().for_each(|&t| stage.accept(t));
        let window = &tokens[tokens.len() - last_n.unwrap_or(tokens.len()).min(tokens.len())..];
        for (id, got) in apply(&mut stage.clone(), &logits) {
            let count = window.iter().filter(|t| **t == id).count() as f32;
            let l = logits[id as usize];
            let want = match count {
                0.0 => l,
                _ => (if l > 0.0 { l / repeat } else { l * repeat }) - count * frequency - presence,
            };
            prop_assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
        // The order of the chain does not matter to a stage that edits: on sorted candidates the same logits come out.
        let mut sorted = apply_all(&mut [&mut TopK(12), &mut stage], &logits);
        prop_assert!(is_descending(&sorted));
        sorted.sort_by_key(|c| c.0);
        prop_assert_eq!(sorted, apply(&mut stage, &logits));
    }

    #[test]
    fn dry_matches_a_plain_search(
        tokens in prop::collection::vec(0u32..4, 0..40),
        allowed in 1usize..4,
        last_n in prop::option::of(1usize..40),
        breakers in prop::collection::vec(prop::collection::vec(0u32..4, 1..3), 0..2),
    ) {
        let mut stage = Dry::new(0.5, 1.5, allowed, last_n, &breakers);
        tokens.iter().for_each(|&t| stage.accept(t));
        let w = &tokens[tokens.len() - last_n.unwrap_or(tokens.len()).min(tokens.len())..];
        let after_breaker = (0..=w.len())
            .rev()
            .find(|&end| breakers.iter().any(|b| w[..end].ends_with(b)))
            .map_or(w.len(), |end| w.len() - end);
        let mut longest = [0usize; 4];
        for at in 0..w.len() {
            let n = (1..=at).take_while(|&n| w[at - n] == w[w.len() - n]).count().min(after_breaker);
            longest[w[at] as usize] = longest[w[at] as usize].max(n);
        }
        for (id, got) in apply(&mut stage, &[0.0f32; 4]) {
            let n = longest[id as usize];
            let free = n < allowed || breakers.contains(&vec![id]);
            let want = if free { 0.0 } else { -0.5 * 1.5f64.powi((n - allowed) as i32) };
            prop_assert!((f64::from(got) - want).abs() <= 1e-6 * want.abs(), "token {id}: {got} {want}");
        }
    }
}
