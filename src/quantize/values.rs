//! Values that a quantized model should not have: NaN, infinities, what is too large for F16, and rows of zeros.

use crate::dtype::DType;
use crate::error::{Result, bail};

/// From here on values round to infinity in F16: halfway between the largest finite one, 65504, and the next step.
const F16_OVERFLOW: f32 = 65520.0;
const F16_MAX: f32 = 65504.0;

/// What to do with values that are not finite, and with those that are not in the new format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NonFinite {
    /// An error that names the tensor and the first of them: such a model is broken, and so would the quantized one be.
    #[default]
    Refuse,
    /// A NaN becomes 0, an infinity the largest finite value of its row with the infinity's sign, and what is too large for
    /// F16 the largest that is not.
    Repair,
}

/// What was found in a tensor's source values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// NaNs.
    pub n_nan: u64,
    /// Infinities of either sign.
    pub n_infinite: u64,
    /// Finite values that become infinite in F16.
    pub n_overflow: u64,
    /// Rows of nothing but zeros.
    pub n_zero_rows: u64,
    /// Where the first value is that is not finite or too large: row and column.
    pub first_bad: Option<(u64, u64)>,
}

impl Counts {
    /// Counts one row that goes to `to`, and repairs it if that is asked for.
    pub(super) fn take_row(&mut self, row: u64, values: &mut [f32], to: DType, non_finite: NonFinite) {
        // Most rows are sound, and this is their whole cost: magnitudes are in the order of their bits, NaNs above infinity, and integers
        // can be compared many at once.
        let largest = values.iter().map(|x| x.to_bits() & i32::MAX as u32).fold(0, u32::max);
        let limit = if to == DType::F16 { F16_OVERFLOW } else { f32::INFINITY };
        self.n_zero_rows += u64::from(largest == 0);
        if largest < limit.to_bits() {
            return;
        }
        let is_bad = |x: f32| x.is_nan() || x.abs() >= limit;
        if let Some(column) = values.iter().position(|&x| is_bad(x)) {
            self.first_bad.get_or_insert((row, column as u64));
        }
        for &x in values.iter().filter(|x| is_bad(**x)) {
            match x {
                x if x.is_nan() => self.n_nan += 1,
                x if x.is_infinite() => self.n_infinite += 1,
                _ => self.n_overflow += 1,
            }
        }
        if non_finite == NonFinite::Repair {
            let most = if to == DType::F16 { F16_MAX } else { f32::MAX };
            let finite = values.iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs())).min(most);
            values.iter_mut().filter(|x| is_bad(**x)).for_each(|x| {
                *x = match *x {
                    x if x.is_nan() => 0.0,
                    x => finite.copysign(x),
                }
            });
        }
    }

    /// Adds what was found in the rows after these.
    pub(super) fn add(&mut self, later: Counts) {
        self.n_nan += later.n_nan;
        self.n_infinite += later.n_infinite;
        self.n_overflow += later.n_overflow;
        self.n_zero_rows += later.n_zero_rows;
        self.first_bad = self.first_bad.or(later.first_bad);
    }

    /// How many values are not finite or too large.
    pub fn n_bad(&self) -> u64 {
        self.n_nan + self.n_infinite + self.n_overflow
    }

    /// An error for values that were to be refused.
    pub(super) fn check(&self, non_finite: NonFinite) -> Result<()> {
        match self.first_bad {
            Some((row, column)) if non_finite == NonFinite::Refuse => bail!(
                InvalidModel,
                "{}, the first in row {row}, column {column}: {}",
                self.bad(),
                if self.n_nan + self.n_infinite == 0 { "BF16 has room for them" } else { "the model is broken" }
            ),
            _ => Ok(()),
        }
    }

    /// What is bad, in words; empty if nothing is.
    pub fn bad(&self) -> String {
        let parts = [(self.n_nan, "NaN"), (self.n_infinite, "infinite"), (self.n_overflow, "too large for F16")];
        let said: Vec<String> =
            parts.iter().filter(|part| part.0 > 0).map(|(n, what)| format!("{n} values are {what}")).collect();
        said.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(values: &[f32], to: DType, non_finite: NonFinite) -> (Counts, Vec<f32>) {
        let (mut counts, mut values) = (Counts::default(), values.to_vec());
        counts.take_row(7, &mut values, to, non_finite);
        (counts, values)
    }

    #[test]
    fn what_is_bad_is_counted_and_repaired() {
        let values = [1.0, f32::NAN, -3.0, f32::NEG_INFINITY, f32::INFINITY, 0.0];
        let (counts, repaired) = taken(&values, DType::Q4_K, NonFinite::Repair);
        assert_eq!((counts.n_nan, counts.n_infinite, counts.n_overflow, counts.n_zero_rows), (1, 2, 0, 0));
        assert_eq!(counts.first_bad, Some((7, 1)));
        assert_eq!(repaired, [1.0, 0.0, -3.0, -3.0, 3.0, 0.0]);
        let error = counts.check(NonFinite::Refuse).unwrap_err().to_string();
        assert!(error.contains("1 values are NaN, 2 values are infinite, the first in row 7, column 1"), "{error}");
        assert!(counts.check(NonFinite::Repair).is_ok());
    }

    #[test]
    fn f16_has_a_limit_and_zeros_are_no_error() {
        let (counts, repaired) = taken(&[65519.9, -65520.0, 1e30], DType::F16, NonFinite::Repair);
        assert_eq!((counts.n_overflow, repaired), (2, vec![65519.9, -65504.0, 65504.0]));
        assert_eq!(taken(&[65519.9, -65520.0], DType::BF16, NonFinite::Refuse).0, Counts::default());
        let (counts, _) = taken(&[0.0, -0.0], DType::F16, NonFinite::Refuse);
        assert_eq!(counts, Counts { n_zero_rows: 1, ..Counts::default() });
        let (counts, repaired) = taken(&[f32::NAN, f32::INFINITY], DType::Q8_0, NonFinite::Repair);
        assert_eq!((counts.n_bad(), repaired), (2, vec![0.0, 0.0]));
    }
}
