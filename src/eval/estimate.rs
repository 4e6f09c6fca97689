//! Means with their standard errors, and quantiles.

use serde::Serialize;

/// A mean and how far it is from the mean of infinitely many such values: its standard error, in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// Its standard error, `sqrt(sum((x - mean)^2) / (n * (n - 1)))`; 0 for fewer than two values.
    pub stderr: f64,
}

impl Estimate {
    /// The mean of `values`, taken as independent. NaN for none.
    pub fn of(values: impl Iterator<Item = f64> + Clone) -> Estimate {
        let (n, sum) = values.clone().fold((0usize, 0.0), |(n, sum), x| (n + 1, sum + x));
        let mean = sum / n as f64;
        let squares: f64 = values.map(|x| (x - mean) * (x - mean)).sum();
        let stderr = if n < 2 { 0.0 } else { (squares / (n as f64 * (n - 1) as f64)).sqrt() };
        Estimate { mean, stderr }
    }

    /// The share of `true` among `values`.
    pub fn of_share(values: impl Iterator<Item = bool> + Clone) -> Estimate {
        Estimate::of(values.map(|is| if is { 1.0 } else { 0.0 }))
    }

    /// e to the power of this, with the error carried along in first order: from the logarithm of a quantity to the quantity.
    pub fn exp(self) -> Estimate {
        let mean = self.mean.exp();
        Estimate { mean, stderr: mean * self.stderr }
    }
}

/// The `q`-quantile of values in ascending order, between two of them linear; NaN for none.
pub(super) fn quantile(ascending: &[f64], q: f64) -> f64 {
    let Some(last) = ascending.len().checked_sub(1) else { return f64::NAN };
    let at = q * last as f64;
    let below = (at as usize).min(last);
    let above = (below + 1).min(last);
    ascending[below] + (ascending[above] - ascending[below]) * (at - below as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_four_values() {
        let got = Estimate::of([1.0, 2.0, 3.0, 6.0].into_iter());
        assert_eq!(got.mean, 3.0);
        assert!((got.stderr - (14.0f64 / 12.0).sqrt()).abs() < 1e-15);
        assert_eq!(Estimate::of([2.5].into_iter()), Estimate { mean: 2.5, stderr: 0.0 });
        assert!(Estimate::of(std::iter::empty()).mean.is_nan());
        let share = Estimate::of_share([true, false, true, true].into_iter());
        // sqrt(p (1 - p) / (n - 1))
        assert!(share.mean == 0.75 && (share.stderr - (0.1875f64 / 3.0).sqrt()).abs() < 1e-15);
        let e = Estimate { mean: 0.0, stderr: 0.5 }.exp();
        assert_eq!((e.mean, e.stderr), (1.0, 0.5));
    }

    #[test]
    fn quantiles_lie_between_the_values() {
        let values = [1.0, 2.0, 4.0, 8.0];
        assert_eq!([0.0, 0.5, 1.0].map(|q| quantile(&values, q)), [1.0, 3.0, 8.0]);
        assert_eq!(quantile(&[5.0], 0.99), 5.0);
        assert!(quantile(&[], 0.5).is_nan());
    }
}
