//! The sampler as a whole: options, greedy, reproducible draws, their statistics, logprobs, and what it allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use oribi::ErrorKind;
use oribi::sampler::{MirostatVersion, Pick, Rng, Sampler, SamplerOptions, StageName};

const INF: f32 = f32::INFINITY;

fn sampler(options: SamplerOptions, n_vocab: usize) -> Sampler {
    Sampler::new(&options, n_vocab).unwrap()
}

/// A chain with nothing in it but the draw.
fn plain(seed: u64) -> SamplerOptions {
    SamplerOptions { seed: Some(seed), samplers: Vec::new(), ..Default::default() }
}

/// Logits made of integers, the same on every machine: multiples of 1/16 in [-16, 16), peaked.
fn made_logits(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(seed);
    let draw = |rng: &mut Rng| (rng.next_u64() >> 56) as f32;
    (0..n).map(|_| (draw(&mut rng) + draw(&mut rng) - 256.0).abs() / 16.0).collect()
}

/// The sampled continuation of 24 tokens over changing logits.
fn sequence(options: &SamplerOptions) -> Vec<u32> {
    let mut s = sampler(options.clone(), 5000);
    (0..24)
        .map(|step| {
            let token = s.sample(&made_logits(5000, step % 3)).unwrap().token;
            s.accept(token).unwrap();
            token
        })
        .collect()
}

/// The `n` largest logits as a GPU gives them: in no order, of equal ones the first.
fn largest(logits: &[f32], n: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(logits.iter().copied()).collect();
    let order = |&(_, x): &(u32, f32)| if x.is_nan() { INF } else { x };
    all.sort_by(|a, b| order(b).total_cmp(&order(a)));
    all.truncate(n);
    all.sort_by_key(|(token, _)| token.wrapping_mul(0x9e37_79b9));
    all
}

#[test]
fn the_largest_logits_are_enough_where_they_decide() {
    let o = || SamplerOptions { seed: Some(5), ..Default::default() };
    let names = |list: &str| StageName::parse_list(list).unwrap();
    let cases = [
        (SamplerOptions::greedy(), Some(1)),
        (o(), Some(40)),
        (SamplerOptions { top_k: 1, ..o() }, Some(1)),
        (SamplerOptions { top_k: 6000, ..o() }, Some(6000)),
        (SamplerOptions { xtc_probability: 0.5, typical_p: 0.9, temp: 1.3, ..o() }, Some(40)),
        (SamplerOptions { samplers: names("top_k;penalties;top_p"), repeat_penalty: 1.3, ..o() }, Some(40)),
        // Something looks at other logits, too.
        (SamplerOptions { top_k: 0, ..o() }, None),
        (SamplerOptions { samplers: names("top_p;top_k"), ..o() }, None),
        (SamplerOptions { repeat_penalty: 1.1, ..o() }, None),
        (SamplerOptions { repeat_penalty: 1.1, ..SamplerOptions::greedy() }, None),
        (SamplerOptions { logit_bias: vec![(7, 2.0)], ..o() }, None),
        (SamplerOptions { top_n_sigma: 2.0, ..o() }, None),
        (SamplerOptions { mirostat: Some(MirostatVersion::V2), ..o() }, None),
        (SamplerOptions { logprobs: Some(0), ..o() }, None),
    ];
    for (options, expected) in cases {
        let (mut from_all, mut from_top) = (sampler(options.clone(), 5000), sampler(options.clone(), 5000));
        assert_eq!(from_all.n_deciding(), expected, "{options:?}");
        let Some(n) = expected else {
            assert_eq!(from_top.sample_top([(0, 1.0)]).unwrap_err().kind(), ErrorKind::InvalidState);
            continue;
        };
        for step in 0..40 {
            let mut logits = made_logits(5000, step); // many are equal
            if step % 4 == 3 {
                logits.iter_mut().skip(20).for_each(|logit| *logit = -INF); // few are left
            }
            let pick = from_all.sample(&logits).unwrap();
            assert_eq!(
                from_top.sample_top(largest(&logits, n + step as usize % 3)).unwrap(),
                pick,
                "{options:?}, {step}"
            );
            from_all.accept(pick.token).unwrap();
            from_top.accept(pick.token).unwrap();
        }
        // The errors are those of all logits.
        for bad in [vec![-INF; 5000], [made_logits(4000, 1), vec![f32::NAN; 1000]].concat()] {
            let of_all = from_all.sample(&bad).unwrap_err().to_string();
            assert_eq!(from_top.sample_top(largest(&bad, n)).unwrap_err().to_string(), of_all);
        }
        let too_few = from_top.sample_top(largest(&made_logits(5000, 0), n.min(5000) - 1)).unwrap_err();
        assert_eq!(too_few.kind(), ErrorKind::InvalidArgument, "{too_few}");
        assert!(from_top.sample_top([(5000, 1.0)]).unwrap_err().to_string().contains("outside the vocabulary of 5000"));
    }
}

#[test]
fn defaults_are_llama_cpps() {
    let o = SamplerOptions::default();
    assert_eq!((o.temp, o.top_k, o.top_p, o.min_p, o.typical_p), (0.8, 40, 0.95, 0.05, 1.0));
    assert_eq!((o.repeat_penalty, o.penalty_last_n, o.dry_multiplier, o.dry_base), (1.0, 64, 0.0, 1.75));
    let list = "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature";
    assert_eq!(StageName::parse_list(list).unwrap(), o.samplers);
    assert_eq!(StageName::parse_list("").unwrap(), []);
}

#[test]
fn an_option_out_of_range_is_named() {
    let o = SamplerOptions::default;
    let cases: Vec<(&str, SamplerOptions)> = vec![
        ("temp", SamplerOptions { temp: f32::NAN, ..o() }),
        ("temp", SamplerOptions { temp: INF, ..o() }),
        ("top_p", SamplerOptions { top_p: 1.5, ..o() }),
        ("min_p", SamplerOptions { min_p: -0.1, ..o() }),
        ("typical_p", SamplerOptions { typical_p: f32::NAN, ..o() }),
        ("top_n_sigma", SamplerOptions { top_n_sigma: INF, ..o() }),
        ("xtc_probability", SamplerOptions { xtc_probability: 2.0, ..o() }),
        ("xtc_threshold", SamplerOptions { xtc_threshold: -1.0, ..o() }),
        ("repeat_penalty", SamplerOptions { repeat_penalty: 0.0, ..o() }),
        ("frequency_penalty", SamplerOptions { frequency_penalty: INF, ..o() }),
        ("presence_penalty", SamplerOptions { presence_penalty: f32::NAN, ..o() }),
        ("penalty_last_n", SamplerOptions { penalty_last_n: -2, ..o() }),
        ("dry_multiplier", SamplerOptions { dry_multiplier: -1.0, ..o() }),
        ("dry_base", SamplerOptions { dry_base: 0.5, ..o() }),
        ("dry_penalty_last_n", SamplerOptions { dry_penalty_last_n: i64::MIN, ..o() }),
        ("dry_sequence_breakers", SamplerOptions { dry_sequence_breakers: vec![vec![]], ..o() }),
        ("dynatemp_range", SamplerOptions { dynatemp_range: -1.0, ..o() }),
        ("dynatemp_exponent", SamplerOptions { dynatemp_exponent: -1.0, ..o() }),
        ("mirostat_tau", SamplerOptions { mirostat_tau: -1.0, ..o() }),
        ("mirostat_eta", SamplerOptions { mirostat_eta: f32::NAN, ..o() }),
        ("logit_bias", SamplerOptions { logit_bias: vec![(10, 0.0)], ..o() }),
        ("logit_bias", SamplerOptions { logit_bias: vec![(1, INF)], ..o() }),
        ("logit_bias", SamplerOptions { logit_bias: vec![(1, f32::NAN)], ..o() }),
        ("samplers", SamplerOptions { samplers: vec![StageName::TopK, StageName::TopK], ..o() }),
    ];
    for (name, options) in cases {
        let error = Sampler::new(&options, 10).err().unwrap_or_else(|| panic!("{name}: accepted"));
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().starts_with(name), "{name}: {error}");
    }
    assert!(Sampler::new(&o(), 0).is_err());
    let error = StageName::parse_list("top_k;topp").unwrap_err().to_string();
    assert!(error.contains("\"topp\"") && error.contains("typ_p"), "{error}");
}

#[test]
fn logits_that_cannot_be_sampled_are_errors() {
    for options in [SamplerOptions::greedy(), SamplerOptions::default(), plain(1)] {
        let mut s = sampler(options, 4);
        let message = |s: &mut Sampler, logits: &[f32]| s.sample(logits).unwrap_err().to_string();
        assert_eq!(message(&mut s, &[0.0, 1.0, f32::NAN, 2.0]), "the logit of token 2 is not a number");
        assert_eq!(message(&mut s, &[-INF; 4]), "the logits of all 4 tokens are -inf");
        assert_eq!(message(&mut s, &[0.0; 3]), "3 logits for a vocabulary of 4");
        assert_eq!(s.accept(4).unwrap_err().to_string(), "token 4 is outside the vocabulary of 4");
        assert_eq!(s.sample(&[-INF, -INF, 3.0, -INF]).unwrap().token, 2);
    }
    let banned = vec![(0, -INF), (1, -INF)];
    for temp in [0.0, 1.0] {
        let mut s = sampler(SamplerOptions { logit_bias: banned.clone(), temp, ..Default::default() }, 2);
        assert_eq!(s.sample(&[1.0, 2.0]).unwrap_err().to_string(), "every token is excluded by logit_bias");
    }
}

#[test]
fn infinite_logits_share_all_the_probability() {
    let logits = [5.0, INF, 1.0, INF, -INF];
    let mut counts = [0; 5];
    for seed in 0..200 {
        counts[sampler(plain(seed), 5).sample(&logits).unwrap().token as usize] += 1;
    }
    assert!(counts[1] > 60 && counts[3] > 60 && counts[1] + counts[3] == 200, "{counts:?}");
    for mirostat in [None, Some(MirostatVersion::V1), Some(MirostatVersion::V2)] {
        let everything = SamplerOptions {
            mirostat,
            seed: Some(1),
            typical_p: 0.9,
            top_n_sigma: 1.0,
            dynatemp_range: 0.5,
            xtc_probability: 1.0,
            dry_multiplier: 1.0,
            repeat_penalty: 1.5,
            ..Default::default()
        };
        let token = sampler(everything, 5).sample(&logits).unwrap().token;
        assert!(token == 1 || token == 3);
    }
    let mut greedy = sampler(SamplerOptions { logprobs: Some(3), ..SamplerOptions::greedy() }, 5);
    let pick = greedy.sample(&logits).unwrap();
    let half = -std::f32::consts::LN_2;
    assert_eq!(pick, Pick { token: 1, logprob: Some(half), top: vec![(1, half), (3, half), (0, -INF)] });
}

#[test]
fn temperature_zero_is_greedy_after_bias_and_penalties() {
    let logits = [1.0, 5.0, 4.9, 4.8];
    // XTC and typical would drop the largest logit; greedy does not run them.
    let o = SamplerOptions { temp: 0.0, xtc_probability: 1.0, typical_p: 0.1, ..Default::default() };
    assert_eq!(sampler(o.clone(), 4).sample(&logits).unwrap().token, 1);
    assert_eq!(sampler(SamplerOptions { temp: -1.0, ..o.clone() }, 4).sample(&logits).unwrap().token, 1);
    for version in [MirostatVersion::V1, MirostatVersion::V2] {
        let o = SamplerOptions { mirostat: Some(version), ..o.clone() };
        assert_eq!(sampler(o, 4).sample(&logits).unwrap().token, 1);
    }
    let mut penalized = sampler(SamplerOptions { repeat_penalty: 1.5, ..o.clone() }, 4);
    penalized.accept(1).unwrap();
    assert_eq!(penalized.sample(&logits).unwrap().token, 2);
    penalized.accept(2).unwrap();
    assert_eq!(penalized.sample(&logits).unwrap().token, 3);
    penalized.reset();
    assert_eq!(penalized.sample(&logits).unwrap().token, 1);
    let mut biased = sampler(SamplerOptions { logit_bias: vec![(3, 0.5), (1, -INF)], ..o }, 4);
    assert_eq!(biased.sample(&logits).unwrap().token, 3);
    assert_eq!(sampler(SamplerOptions::greedy(), 4).sample(&[2.0, 7.0, 7.0, 1.0]).unwrap().token, 1);
}

#[test]
fn the_order_of_the_chain_is_the_callers() {
    // Two tokens of 0.4 and 0.2 each, four of 0.1: top-p 0.5 keeps one token after top-k 2 (0.67), two before it.
    let logits: Vec<f32> = [0.4f64, 0.2, 0.1, 0.1, 0.1, 0.1].iter().map(|p| p.ln() as f32).collect();
    let tokens = |list: &str| -> Vec<u32> {
        let samplers = StageName::parse_list(list).unwrap();
        let mut seen: Vec<u32> = (0..100)
            .map(|seed| {
                let o = SamplerOptions { samplers: samplers.clone(), top_k: 2, top_p: 0.5, ..plain(seed) };
                sampler(o, 6).sample(&logits).unwrap().token
            })
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    };
    assert_eq!(tokens("top_k;top_p"), [0]);
    assert_eq!(tokens("top_p;top_k"), [0, 1]);
    assert_eq!(tokens(""), [0, 1, 2, 3, 4, 5]);
}

/// Committed sequences: a change of the arithmetic, of the random stream or of a tie shows here. They hold on every CPU.
#[test]
fn a_seed_gives_these_tokens_on_every_machine() {
    let base = SamplerOptions { seed: Some(42), ..Default::default() };
    let cases: [(&str, SamplerOptions, [u32; 24]); 7] = [
        (
            "default",
            base.clone(),
            [
                3273, 2001, 4104, 2099, 2888, 567, 1798, 2407, 2214, 362, 544, 3540, 1536, 1560, 3153, 542, 3751, 4136,
                2352, 138, 2724, 4562, 3985, 1145,
            ],
        ),
        (
            "plain",
            plain(42),
            [
                4108, 1560, 4928, 3358, 3816, 3122, 640, 2888, 1335, 4700, 2677, 4150, 3312, 264, 2423, 2407, 1031,
                401, 2642, 2208, 1145, 4334, 3191, 2905,
            ],
        ),
        (
            "warm",
            SamplerOptions { temp: 1.7, dynatemp_range: 0.5, top_k: 0, min_p: 0.0, ..base.clone() },
            [
                4260, 1410, 946, 1326, 121, 2178, 2099, 3561, 1185, 1183, 4288, 3188, 4926, 1879, 4808, 1665, 4684,
                3330, 669, 402, 3540, 593, 3130, 2919,
            ],
        ),
        (
            "penalties",
            SamplerOptions { repeat_penalty: 1.3, frequency_penalty: 0.2, dry_multiplier: 0.8, ..base.clone() },
            [
                3273, 2001, 4104, 2099, 3816, 567, 1798, 3490, 2214, 2253, 2078, 4885, 4195, 1560, 2215, 542, 141,
                4136, 4594, 1194, 3122, 683, 549, 4348,
            ],
        ),
        (
            "typical, xtc",
            SamplerOptions { typical_p: 0.7, xtc_probability: 0.5, xtc_threshold: 0.02, top_k: 200, ..base.clone() },
            [
                4195, 4948, 3298, 4808, 1931, 603, 960, 1428, 2600, 2664, 4908, 1185, 2161, 2240, 4041, 3588, 544,
                1280, 4255, 2953, 2743, 4108, 4684, 4498,
            ],
        ),
        (
            "mirostat 1",
            SamplerOptions { mirostat: Some(MirostatVersion::V1), ..base.clone() },
            [
                4285, 521, 504, 2099, 3985, 3122, 1162, 3490, 3074, 3605, 544, 2369, 2041, 1560, 3122, 2099, 141, 4136,
                2041, 1194, 3074, 304, 1372, 504,
            ],
        ),
        (
            "mirostat 2",
            SamplerOptions { mirostat: Some(MirostatVersion::V2), ..base.clone() },
            [
                4076, 1560, 4928, 3358, 3751, 3153, 683, 2677, 1737, 4681, 2677, 4136, 3273, 238, 2708, 2217, 1194,
                504, 2352, 2078, 1694, 4255, 2797, 3074,
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, options, want) in cases {
        let got = sequence(&options);
        if got != want {
            wrong.push(format!("{name}: {got:?}"));
        }
        assert_ne!(got, sequence(&SamplerOptions { seed: Some(43), ..options }), "{name}: the seed has no effect");
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn clones_go_on_alike_and_reset_starts_again() {
    let logits = made_logits(300, 1);
    let options = SamplerOptions { mirostat: Some(MirostatVersion::V2), repeat_penalty: 1.2, ..Default::default() };
    let mut s = sampler(options, 300);
    let run = |s: &mut Sampler, n: usize| -> Vec<u32> {
        (0..n)
            .map(|_| {
                let token = s.sample(&logits).unwrap().token;
                s.accept(token).unwrap();
                token
            })
            .collect()
    };
    let first = run(&mut s, 20);
    let mut copy = s.clone();
    assert_eq!(run(&mut s, 20), run(&mut copy, 20));
    s.reset();
    assert_eq!(run(&mut s, 20), first);
    // A drawn seed can be asked for and repeats the run.
    let mut again = sampler(
        SamplerOptions {
            seed: Some(s.seed()),
            mirostat: Some(MirostatVersion::V2),
            repeat_penalty: 1.2,
            ..Default::default()
        },
        300,
    );
    assert_eq!(run(&mut again, 20), first);
}

/// Pearson's chi-square of 20000 draws on eight known probabilities: 7 degrees of freedom, 0.1 % critical value 24.32.
#[test]
fn draws_follow_the_distribution() {
    let p = [0.3, 0.25, 0.2, 0.1, 0.08, 0.04, 0.02, 0.01f64];
    // Spread over a vocabulary that spans several blocks of the sums, the other tokens excluded.
    let mut logits = vec![-INF; 2100];
    let place = |i: usize| (i * 290 + 17) as u32;
    (0..8).for_each(|i| logits[place(i) as usize] = p[i].ln() as f32);
    for seed in 1..=3 {
        let mut s = sampler(plain(seed), 2100);
        let mut counts = [0u32; 8];
        for _ in 0..20_000 {
            let token = s.sample(&logits).unwrap().token;
            counts[(0..8).position(|i| place(i) == token).expect("an excluded token was drawn")] += 1;
        }
        let chi2: f64 = counts.iter().zip(p).map(|(&n, p)| (f64::from(n) - 2e4 * p).powi(2) / (2e4 * p)).sum();
        assert!(chi2 < 24.32, "seed {seed}: {chi2}");
    }
}

/// How often XTC acts is its probability: of 4000 draws with 0.3, within four standard deviations (29) of 1200.
#[test]
fn xtc_acts_as_often_as_told() {
    let logits = [0.6f64.ln() as f32, 0.4f64.ln() as f32];
    let o =
        SamplerOptions { samplers: vec![StageName::Xtc, StageName::TopK], xtc_probability: 0.3, top_k: 1, ..plain(9) };
    let mut s = sampler(o, 2);
    let acted = (0..4000).filter(|_| s.sample(&logits).unwrap().token == 1).count();
    assert!(acted.abs_diff(1200) < 116, "{acted}");
}

#[test]
fn logprobs_are_of_the_models_own_distribution() {
    let p = [0.1f64, 0.5, 0.25, 0.15];
    let logits: Vec<f32> = p.iter().map(|p| p.ln() as f32 + 3.0).collect();
    // Bias, temperature and top-k change what is picked, not the logprobs that are told.
    let o = SamplerOptions {
        logprobs: Some(2),
        temp: 0.3,
        top_k: 1,
        logit_bias: vec![(0, 50.0)],
        ..SamplerOptions::default()
    };
    let pick = sampler(o.clone(), 4).sample(&logits).unwrap();
    assert_eq!(pick.token, 0);
    let close = |got: f32, want: f64| (f64::from(got) - want.ln()).abs() < 2e-6;
    assert!(close(pick.logprob.unwrap(), 0.1));
    assert_eq!(pick.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 2]);
    assert!(close(pick.top[0].1, 0.5) && close(pick.top[1].1, 0.25));

    let more = SamplerOptions { logprobs: Some(100), ..o.clone() };
    assert_eq!(sampler(more, 4).sample(&logits).unwrap().top.len(), 4);
    let none = sampler(SamplerOptions { logprobs: None, ..o }, 4).sample(&logits).unwrap();
    assert_eq!((none.logprob, none.top.len()), (None, 0));

    let large = made_logits(50_000, 5);
    let pick = sampler(SamplerOptions { logprobs: Some(50_000), ..plain(3) }, 50_000).sample(&large).unwrap();
    let sum: f64 = pick.top.iter().map(|t| f64::from(t.1).exp()).sum();
    assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    assert!(pick.top.contains(&(pick.token, pick.logprob.unwrap())));
}

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed to the system allocator unchanged; the counter is a thread-local integer without a
// destructor, so touching it allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's contract is the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

#[test]
fn a_warm_sampler_allocates_nothing() {
    let logits: Vec<Vec<f32>> = (0..3).map(|seed| made_logits(20_000, seed)).collect();
    let o = || SamplerOptions {
        seed: Some(1),
        repeat_penalty: 1.1,
        dry_multiplier: 0.5,
        logit_bias: vec![(5, 1.0)],
        top_n_sigma: 3.0,
        top_k: 500,
        typical_p: 0.9,
        xtc_probability: 0.5,
        dynatemp_range: 0.2,
        logprobs: Some(0),
        ..Default::default()
    };
    let cases = [
        o(),
        SamplerOptions { mirostat: Some(MirostatVersion::V1), ..o() },
        SamplerOptions { mirostat: Some(MirostatVersion::V2), ..o() },
        SamplerOptions { temp: 0.0, ..o() },
        SamplerOptions::greedy(),
    ];
    for options in cases {
        let mut s = sampler(options, 20_000);
        let mut round = |n: usize| {
            for i in 0..n {
                let token = s.sample(&logits[i % 3]).unwrap().token;
                s.accept(token).unwrap();
            }
        };
        round(200);
        let before = ALLOCATIONS.get();
        round(100);
        assert_eq!(ALLOCATIONS.get() - before, 0);
    }
}
