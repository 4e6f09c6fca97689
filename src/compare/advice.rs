//! What the figures mean for someone who has to choose: the Pareto front, its knee, and sentences.

use super::report::{Level, Report, human_bytes, human_kld};

/// What is weighed against divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Axis {
    /// Bytes of the file: less is better.
    Size,
    /// Generated tokens per second: more is better.
    Speed,
}

impl Axis {
    /// The level's place on the axis.
    pub fn of(self, level: &Level) -> f64 {
        match self {
            Axis::Size => level.file_bytes as f64,
            Axis::Speed => level.generated_tokens_per_second,
        }
    }

    /// The same, turned so that less is better.
    fn cost(self, level: &Level) -> f64 {
        match self {
            Axis::Size => self.of(level),
            Axis::Speed => -self.of(level),
        }
    }
}

/// The levels that no other beats on both the axis and mean divergence: indices, from the cheapest (smallest, fastest) to the
/// closest. A level whose divergence is no number is not among them.
pub fn pareto_front(levels: &[&Level], axis: Axis) -> Vec<usize> {
    let measured = |&i: &usize| levels[i].kld.mean.is_finite() && axis.of(levels[i]).is_finite();
    let mut order: Vec<usize> = (0..levels.len()).filter(measured).collect();
    let key = |i: usize| (axis.cost(levels[i]), levels[i].kld.mean);
    order.sort_by(|&a, &b| key(a).0.total_cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
    let mut best = f64::INFINITY;
    order.retain(|&i| {
        let closer = levels[i].kld.mean < best;
        best = best.min(levels[i].kld.mean);
        closer
    });
    order
}

/// The knee of the front of size against divergence: of the levels between its ends, the one farthest below the line that
/// joins the ends, with sizes and logarithms of divergences scaled to the same length (the "kneedle" of Satopää et al. 2011,
/// which takes the maximum of the same difference). `None` where no level lies below that line: then none stands out.
pub fn knee(levels: &[&Level]) -> Option<usize> {
    let front = pareto_front(levels, Axis::Size);
    // What is exact has no logarithm, and is no compromise either.
    let front: Vec<usize> = front.into_iter().filter(|&i| levels[i].kld.mean > 0.0).collect();
    let point = |i: usize| (levels[i].file_bytes as f64, levels[i].kld.mean.ln());
    let (&first, &last) = (front.first()?, front.last()?);
    let ((x0, y0), (x1, y1)) = (point(first), point(last));
    // Below the falling line from (0, 1) to (1, 0) by so much.
    let below = |&i: &usize| {
        let (x, y) = point(i);
        1.0 - (x - x0) / (x1 - x0) - (y - y1) / (y0 - y1)
    };
    let inner = front.get(1..front.len().max(2) - 1)?;
    let best = *inner.iter().max_by(|a, b| below(a).total_cmp(&below(b)))?;
    (below(&best) > 1e-9).then_some(best)
}

/// What a level must keep to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Bytes of the file, less than this.
    pub file_bytes: Option<u64>,
    /// Bytes of memory, less than this.
    pub peak_bytes: Option<u64>,
    /// Generated tokens per second, at least.
    pub tokens_per_second: Option<f64>,
    /// Mean divergence in nats, at most. With this limit the smallest level is the best, otherwise the closest.
    pub kld: Option<f64>,
}

impl Limits {
    fn allow(&self, level: &Level) -> bool {
        level.kld.mean.is_finite()
            && self.file_bytes.is_none_or(|most| level.file_bytes < most)
            && self.peak_bytes.is_none_or(|most| level.peak_bytes.is_some_and(|peak| peak < most))
            && self.tokens_per_second.is_none_or(|least| level.generated_tokens_per_second >= least)
            && self.kld.is_none_or(|most| level.kld.mean <= most)
    }

    /// The limits in words, `under 2.0 GiB, at 20 tokens/s or more`; `None` without any.
    fn words(&self) -> Option<String> {
        let parts = [
            self.file_bytes.map(|n| format!("under {}", human_bytes(n))),
            self.peak_bytes.map(|n| format!("in less than {} of memory", human_bytes(n))),
            self.tokens_per_second.map(|n| format!("at {n} tokens/s or more")),
            self.kld.map(|n| format!("with a KLD of {} or less", human_kld(n))),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}

/// Sentences for someone who has to choose a level: the best within each of `limits`, the best balance, the ends of the range,
/// and what is not worth its bytes. The reference itself is no candidate.
pub fn advise(report: &Report, limits: &[Limits]) -> Vec<String> {
    let levels: Vec<&Level> = report.levels.iter().filter(|level| !report.is_reference(level)).collect();
    let found: Vec<(String, Option<&Level>)> =
        limits.iter().filter_map(|limit| within(report, &levels, limit)).collect();
    let knee = knee(&levels);
    let is_named = knee.is_some_and(|i| found.iter().any(|(_, best)| best.is_some_and(|b| std::ptr::eq(b, levels[i]))));
    let mut sentences: Vec<String> = found.into_iter().map(|(sentence, _)| sentence).collect();
    if let Some(i) = knee {
        let what = if is_named { levels[i].level.clone() } else { figures(report, levels[i]) };
        sentences.push(format!("Best balance of size and fidelity: {what}."));
    }
    let front = pareto_front(&levels, Axis::Size);
    if let (Some(&smallest), Some(&closest)) = (front.first(), front.last()) {
        if knee.is_none() {
            sentences.push(format!("Closest to the reference: {}.", figures(report, levels[closest])));
        }
        if knee.is_none() && smallest != closest {
            sentences.push(format!("Smallest: {}.", figures(report, levels[smallest])));
        }
        sentences.extend(fastest(&levels));
        sentences.extend(beaten(&levels, &front));
    }
    let broken: Vec<&str> = levels.iter().filter(|l| !l.kld.mean.is_finite()).map(|l| l.level.as_str()).collect();
    if !broken.is_empty() {
        sentences.push(format!("Do not use {}: its logits are not numbers.", list(&broken)));
    }
    sentences
}

/// The best within limits, in a sentence and itself.
fn within<'a>(report: &Report, levels: &[&'a Level], limits: &Limits) -> Option<(String, Option<&'a Level>)> {
    let words = limits.words()?;
    let fits = levels.iter().filter(|level| limits.allow(level));
    let best = match limits.kld {
        Some(_) => fits.min_by_key(|level| level.file_bytes),
        None => fits.min_by(|a, b| a.kld.mean.total_cmp(&b.kld.mean).then(a.file_bytes.cmp(&b.file_bytes))),
    };
    let sentence = match best {
        Some(level) => format!("Best {words}: {}.", figures(report, level)),
        None => format!("No level is {words}."),
    };
    Some((sentence, best.copied()))
}

/// `Q5_K_M, 107.3 MiB (38 % of the reference), KLD 0.0062, the reference's first choice at 95.1 % of positions`.
fn figures(report: &Report, level: &Level) -> String {
    format!(
        "{}, {} ({:.0} % of the reference), KLD {}, the reference's first choice at {:.1} % of positions, {:.1} tokens/s",
        level.level,
        human_bytes(level.file_bytes),
        100.0 * level.file_bytes as f64 / report.reference.file_bytes.max(1) as f64,
        human_kld(level.kld.mean),
        100.0 * level.top1,
        level.generated_tokens_per_second
    )
}

fn fastest(levels: &[&Level]) -> Option<String> {
    let speed = |level: &Level| level.generated_tokens_per_second;
    let level = levels.iter().filter(|l| l.kld.mean.is_finite()).max_by(|a, b| speed(a).total_cmp(&speed(b)))?;
    (levels.len() > 1).then(|| format!("Fastest here: {}, {:.1} tokens/s.", level.level, speed(level)))
}

/// The levels that are not on the front of sizes, nor on that of speeds.
fn beaten(levels: &[&Level], by_size: &[usize]) -> Option<String> {
    let by_speed = pareto_front(levels, Axis::Speed);
    let beaten = |&i: &usize| levels[i].kld.mean.is_finite() && !by_size.contains(&i) && !by_speed.contains(&i);
    let names: Vec<&str> = (0..levels.len()).filter(beaten).map(|i| levels[i].level.as_str()).collect();
    let (verb, whom) = if names.len() == 1 { ("is", "it") } else { ("are", "them") };
    (!names.is_empty()).then(|| {
        let names = list(&names);
        format!("{names} {verb} beaten: for {whom} another level is smaller and closer, and another faster and closer.")
    })
}

/// `a`, `a and b`, `a, b and c`.
fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => one.to_string(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::report::{MachineInfo, Settings};
    use crate::eval::{Estimate, Kld};

    fn level(name: &str, mib: u64, kld: f64, speed: f64) -> Level {
        Level {
            level: name.to_string(),
            file_hash: name.to_string(),
            file_bytes: mib << 20,
            bits_per_weight: 4.5,
            load_ms: 1.0,
            prompt_tokens_per_second: speed,
            prompt_range: [speed; 2],
            generated_tokens_per_second: speed,
            generated_range: [speed; 2],
            peak_bytes: Some((2 * mib) << 20),
            perplexity: Estimate { mean: 7.0, stderr: 0.1 },
            kld: Kld { mean: kld, stderr: 0.0, median: kld, p99: kld, max: kld },
            top1: 0.9,
        }
    }

    fn levels() -> Vec<Level> {
        vec![
            level("a", 100, 0.001, 10.0),
            level("b", 60, 0.004, 30.0),
            level("worse", 70, 0.005, 20.0),
            level("c", 50, 0.5, 25.0),
            level("broken", 40, f64::NAN, 50.0),
        ]
    }

    fn report(levels: Vec<Level>) -> Report {
        let text = String::new;
        Report {
            oribi: text(),
            model: text(),
            machine: MachineInfo { cpu: text(), isa: text(), threads: 1, system: text() },
            settings: Settings {
                text: text(),
                text_hash: text(),
                chunk_tokens: 512,
                n_chunks: 1,
                n_scored: 255,
                quality_numerics: text(),
                speed_numerics: text(),
                kv_type: text(),
                prompt_tokens: 1,
                generated_tokens: 1,
                rounds: 1,
            },
            reference: level("f16", 200, 0.0, 5.0),
            levels,
            advice: Vec::new(),
        }
    }

    #[test]
    fn fronts_hold_what_nothing_beats() {
        let all = levels();
        let all: Vec<&Level> = all.iter().collect();
        assert_eq!(pareto_front(&all, Axis::Size), [3, 1, 0]);
        assert_eq!(pareto_front(&all, Axis::Speed), [1, 0]);
        assert!(pareto_front(&[], Axis::Size).is_empty());
        // Of equals the first stays.
        let same = [level("x", 1, 0.1, 1.0), level("y", 1, 0.1, 1.0)];
        assert_eq!(pareto_front(&[&same[0], &same[1]], Axis::Size), [0]);
    }

    #[test]
    fn the_knee_is_where_the_line_bends() {
        let all = levels();
        let all: Vec<&Level> = all.iter().collect();
        assert_eq!(knee(&all), Some(1));
        assert_eq!(knee(&all[..2]), None); // two ends and nothing between
        assert_eq!(knee(&[]), None);
        // On a straight line, and above it, none stands out.
        let straight = [level("x", 1, 0.01, 1.0), level("y", 2, 0.001, 1.0), level("z", 3, 0.0001, 1.0)];
        assert_eq!(knee(&straight.iter().collect::<Vec<_>>()), None);
        let above = [level("x", 1, 0.01, 1.0), level("y", 2, 0.008, 1.0), level("z", 3, 0.0001, 1.0)];
        assert_eq!(knee(&above.iter().collect::<Vec<_>>()), None);
        // What is exact has no logarithm: the ends are then those of the rest.
        let with_zero =
            [level("0", 300, 0.0, 1.0), level("x", 5, 0.1, 1.0), level("y", 6, 0.001, 1.0), level("z", 9, 0.0009, 1.0)];
        assert_eq!(knee(&with_zero.iter().collect::<Vec<_>>()), Some(2));
    }

    #[test]
    fn advice_keeps_to_the_limits() {
        let mut report = report(levels());
        let first = |report: &Report, limits: Limits| advise(report, &[limits])[0].clone();
        let under = |mib: u64| Limits { file_bytes: Some(mib << 20), ..Limits::default() };
        assert!(
            first(&report, under(65))
                .starts_with("Best under 65.0 MiB: b, 60.0 MiB (30 % of the reference), KLD 0.0040")
        );
        assert!(first(&report, under(60)).starts_with("Best under 60.0 MiB: c,"));
        assert_eq!(first(&report, under(45)), "No level is under 45.0 MiB.");
        let limits = Limits { tokens_per_second: Some(12.0), ..under(500) };
        assert!(first(&report, limits).starts_with("Best under 500.0 MiB, at 12 tokens/s or more: b,"));
        let limits = Limits { peak_bytes: Some(110 << 20), ..Limits::default() };
        assert!(first(&report, limits).starts_with("Best in less than 110.0 MiB of memory: c,"));
        let limits = Limits { kld: Some(0.005), ..Limits::default() };
        assert!(first(&report, limits).starts_with("Best with a KLD of 0.0050 or less: b,"));

        let all = advise(&report, &[under(65)]);
        assert_eq!(all[1], "Best balance of size and fidelity: b.");
        for word in ["Fastest here: b,", "worse is beaten", "Do not use broken"] {
            assert!(all.iter().any(|sentence| sentence.starts_with(word)), "{word}: {all:?}");
        }
        report.levels.truncate(1);
        assert!(advise(&report, &[])[0].starts_with("Closest to the reference: a,"));
        report.levels.clear();
        assert!(advise(&report, &[]).is_empty());
    }
}
