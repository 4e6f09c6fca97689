//! The lanes one by one, for any CPU.

use std::ops::{Add, Div, Mul, Sub};

use super::{Lanes, PerGroup};

/// Eight lanes as eight floats.
#[derive(Clone, Copy)]
pub(in super::super) struct Portable(PerGroup);

impl Portable {
    #[inline(always)]
    fn with(self, other: Portable, op: impl Fn(f32, f32) -> f32) -> Portable {
        Portable(PerGroup(std::array::from_fn(|l| op(self.0.0[l], other.0.0[l]))))
    }
}

impl Lanes for Portable {
    #[inline(always)]
    fn load(from: &PerGroup) -> Portable {
        Portable(*from)
    }

    #[inline(always)]
    fn store(self) -> PerGroup {
        self.0
    }

    #[inline(always)]
    fn abs(self) -> Portable {
        Portable(PerGroup(self.0.0.map(f32::abs)))
    }

    #[inline(always)]
    fn max(self, other: Portable) -> Portable {
        self.with(other, |a, b| if a > b { a } else { b })
    }

    #[inline(always)]
    fn min(self, other: Portable) -> Portable {
        self.with(other, |a, b| if a < b { a } else { b })
    }

    #[inline(always)]
    fn if_less(self, than: Portable, yes: Portable, no: Portable) -> Portable {
        let pick = |l: usize| if self.0.0[l] < than.0.0[l] { yes.0.0[l] } else { no.0.0[l] };
        Portable(PerGroup(std::array::from_fn(pick)))
    }

    #[inline(always)]
    fn over(self, divisor: Portable) -> Portable {
        self.with(divisor, |a, b| if b == 0.0 { 0.0 } else { a / b })
    }
}

/// One operator, lane by lane.
macro_rules! operator {
    ($operator:ident, $method:ident) => {
        impl $operator for Portable {
            type Output = Portable;
            #[inline(always)]
            fn $method(self, other: Portable) -> Portable {
                self.with(other, |a, b| a.$method(b))
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);
