//! From values to pixels, with round ticks.

/// A tick of an axis.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    pub value: f64,
    /// Empty for a line without a number.
    pub label: String,
}

/// An axis: values from `low` to `high` on pixels from `start` to `end`, which may run backwards.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    low: f64,
    high: f64,
    start: f64,
    end: f64,
    logarithmic: bool,
}

impl Scale {
    /// A linear axis that has room on both sides of the values.
    pub fn linear(values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Scale {
        let (min, max) = extremes(values).unwrap_or((0.0, 1.0));
        let room = if max > min { 0.08 * (max - min) } else { 0.1 * max.abs().max(1e-9) };
        // Sizes and speeds are not negative, so neither is the axis.
        let low = if min >= 0.0 { (min - room).max(0.0) } else { min - room };
        Scale { low, high: max + room, start: pixels[0], end: pixels[1], logarithmic: false }
    }

    /// A logarithmic axis that has room on both sides of the values, all of them above 0, and half a decade at least.
    pub fn logarithmic(values: impl Iterator<Item = f64>, pixels: [f64; 2]) -> Scale {
        let (min, max) = extremes(values).map_or((0.01, 0.1), |(min, max)| (min.log10(), max.log10()));
        let room = (0.1 * (max - min)).max(0.25);
        Scale { low: min - room, high: max + room, start: pixels[0], end: pixels[1], logarithmic: true }
    }

    /// The pixel of a value.
    pub fn at(&self, value: f64) -> f64 {
        let value = if self.logarithmic { value.log10() } else { value };
        self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)
    }

    /// About `n` ticks at round values, with their labels.
    pub fn ticks(&self, n: usize) -> Vec<Tick> {
        if self.logarithmic { self.decades(n) } else { self.rounds(n) }
    }

    fn rounds(&self, n: usize) -> Vec<Tick> {
        let rough = (self.high - self.low) / n.max(1) as f64;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * power).find(|s| *s >= rough * 0.999).unwrap_or(rough);
        let decimals = (-step.log10().floor()).clamp(0.0, 6.0) as usize;
        let first = (self.low / step).ceil() as i64;
        let values = (first..first + 100).map(|i| i as f64 * step).take_while(|value| *value <= self.high);
        values.map(|value| Tick { value, label: format!("{value:.decimals$}") }).collect()
    }

    /// Every decade, and 2 and 5 between where there is room for their numbers too.
    fn decades(&self, n: usize) -> Vec<Tick> {
        let n_decades = self.high - self.low;
        let every = (n_decades / n.max(1) as f64).ceil().max(1.0) as i32;
        let fine = 3.0 * n_decades <= n as f64 * 1.5;
        let mut ticks = Vec::new();
        for power in self.low.floor() as i32..=self.high.ceil() as i32 {
            for digit in [1, 2, 5] {
                let value = f64::from(digit) * 10f64.powi(power);
                if !(self.low..=self.high).contains(&value.log10()) {
                    continue;
                }
                let numbered = (digit == 1 && power.rem_euclid(every) == 0) || (digit != 1 && fine);
                if numbered || (digit == 1 || every == 1) {
                    ticks.push(Tick { value, label: if numbered { power_label(digit, power) } else { String::new() } });
                }
            }
        }
        ticks
    }
}

fn extremes(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| v.is_finite()).fold(None, |found, v| {
        let (min, max) = found.unwrap_or((v, v));
        Some((min.min(v), max.max(v)))
    })
}

/// `0.002`, `20`, `1e-6`.
fn power_label(digit: u32, power: i32) -> String {
    match power {
        0.. if power < 5 => (u64::from(digit) * 10u64.pow(power as u32)).to_string(),
        -4..0 => format!("{:.*}", -power as usize, f64::from(digit) * 10f64.powi(power)),
        _ => format!("{digit}e{power}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[Tick]) -> Vec<&str> {
        ticks.iter().map(|tick| tick.label.as_str()).filter(|label| !label.is_empty()).collect()
    }

    #[test]
    fn linear_ticks_are_round_and_inside() {
        let scale = Scale::linear([84.0, 139.0].into_iter(), [0.0, 100.0]);
        assert_eq!(labels(&scale.ticks(6)), ["80", "100", "120", "140"]);
        assert!(scale.at(84.0) > 0.0 && scale.at(139.0) < 100.0);
        let one = Scale::linear([5.0].into_iter(), [0.0, 100.0]);
        assert!((one.at(5.0) - 50.0).abs() < 1e-9 && !one.ticks(4).is_empty());
        assert!(!Scale::linear([0.0].into_iter(), [0.0, 1.0]).at(0.0).is_nan());
        assert_eq!(labels(&Scale::linear([0.01, 0.5].into_iter(), [0.0, 1.0]).ticks(3)), ["0.0", "0.2", "0.4"]);
    }

    #[test]
    fn logarithmic_ticks_are_decades_and_what_fits_between() {
        let scale = Scale::logarithmic([0.0006, 0.3].into_iter(), [100.0, 0.0]);
        assert_eq!(labels(&scale.ticks(4)), ["0.001", "0.01", "0.1"]);
        assert!(scale.at(0.3) < scale.at(0.0006));
        let narrow = Scale::logarithmic([0.01, 0.03].into_iter(), [0.0, 1.0]);
        assert_eq!(labels(&narrow.ticks(6)), ["0.01", "0.02", "0.05"]);
        let wide = Scale::logarithmic([1e-14, 1.0].into_iter(), [0.0, 1.0]);
        assert!((3..=6).contains(&labels(&wide.ticks(5)).len()), "{:?}", labels(&wide.ticks(5)));
        assert_eq!(
            (power_label(5, -6), power_label(2, 1), power_label(1, 0)),
            ("5e-6".into(), "20".into(), "1".into())
        );
    }
}
